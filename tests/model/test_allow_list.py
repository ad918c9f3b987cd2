import json
import shutil
import sys
import types

import pytest
from transformers import CONFIG_MAPPING

from rafdb_vit.data.labels import BASIC
from rafdb_vit.model.allow_list import MODEL_TYPES, check_keys, check_kind
from rafdb_vit.model.load import load_classifier, load_model
from tests.support.models import save_vit
from tests.support.refusals import refused

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


@pytest.fixture
def folder(tmp_path, tiny_vit):
    return shutil.copytree(tiny_vit, tmp_path / "m")


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def timm(monkeypatch):
    """A library that another one hands its keys to; it may not be asked."""
    stub = types.ModuleType("timm")
    stub.create_model = lambda *_, **__: pytest.fail("timm was asked")
    monkeypatch.setitem(sys.modules, "timm", stub)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "timm_wrapper", "architecture": None},
        {"model_type": "timm_backbone"},
        *({"model_type": kind} for kind in ("dinat", "imagegpt", "pp_lcnet", "shieldgemma2", "siglip2")),
        {"model_type": "bert"},
        {"model_type": ["vit"]},
        {"model_type": None},
        {"vision_config": {"model_type": "timm_wrapper"}},
        {"anything": [{"backbone_config": {"model_type": "timm_backbone"}}]},
    ],
)
def test_only_image_classifiers_of_transformers_are_read(folder, timm, changes):
    rewrite(folder / CONFIG, **changes)
    with refused(folder, "config.json: model_type"):
        load_classifier(str(folder))


def test_an_architecture_that_is_refused_is_refused_by_its_name_and_the_reason(folder):
    rewrite(folder / CONFIG, model_type="pp_lcnet")
    with refused(folder, "config.json: model_type is pp_lcnet, which gives no logits"):
        load_model(str(folder), ["a", "b"])


def test_a_folder_of_timm_is_not_read(folder, timm):
    (folder / CONFIG).write_text(json.dumps({"architecture": "resnet18", "pretrained_cfg": {"file": "a.bin"}}))
    with refused(folder, "config.json: ", "another library"):
        load_classifier(str(folder))


@pytest.mark.parametrize("file", [CONFIG, PROCESSOR])
@pytest.mark.parametrize(
    "key",
    [
        *("model_args", "backbone_kwargs", "use_timm_backbone", "use_pretrained_backbone", "checkpoint_path"),
        *("backbone", "pretrained_cfg", "pretrained_cfg_overlay", "file", "url", "hf_hub_id", "architecture"),
    ],
)
def test_no_key_leads_to_another_library(folder, file, key):
    rewrite(folder / file, **{key: None})
    load_classifier(str(folder))
    rewrite(folder / file, deep=[{"deeper": {key: "x"}}])
    with refused(folder, f"{file}: {key}"):
        load_classifier(str(folder))


@pytest.mark.parametrize("key", ["image_processor_type", "feature_extractor_type"])
@pytest.mark.parametrize("kind", ["TimmWrapperImageProcessor", "BertTokenizer", "AutoModel", 5, ["ViTImageProcessor"]])
def test_only_processors_of_image_classifiers_are_read(folder, key, kind):
    rewrite(folder / PROCESSOR, **{"image_processor_type": None, key: kind})
    with refused(folder, f"{PROCESSOR}: {key}", "expected the processor of an image classifier"):
        load_classifier(str(folder))


@pytest.mark.parametrize("kind", ["ViTImageProcessorFast", "ViTFeatureExtractor", "ConvNextImageProcessorPil"])
def test_old_names_of_processors_are_known(kind):
    check_keys("m", PROCESSOR, {"image_processor_type": kind})


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        *((file, key, value) for file in (CONFIG, PROCESSOR) for key, value in [("save_pretrained", 1)]),
        (CONFIG, "to_json_file", "x"),
        (CONFIG, "keys_to_ignore_at_inference", 5),
        (CONFIG, "attribute_map", {"hidden_size": "x"}),
        (CONFIG, "sub_configs", {}),
        (CONFIG, "_auto_class", "AutoConfig"),
        (CONFIG, "__module__", "os"),
        (CONFIG, "__class__", "x"),
        (CONFIG, "use_return_dict", True),
        (CONFIG, "per_layer_config", {"0": {"hidden_size": 5}}),
        (PROCESSOR, "_auto_class", "AutoImageProcessor"),
        (PROCESSOR, "preprocess", 1),
        (PROCESSOR, "__call__", 1),
        (PROCESSOR, "_preprocess", 1),
    ],
)
def test_no_key_replaces_what_transformers_has_for_itself(folder, capfd, file, key, value):
    rewrite(folder / file, **{key: value})
    with refused(folder, f"{file}: {key}"):
        load_classifier(str(folder))
    assert not capfd.readouterr().err, "transformers had something to say too"


def test_classes_may_have_any_name(tmp_path):
    names = ["backbone", "file", "_auto_class", "save_pretrained", "model_type", "auto_map", "num_labels"]
    assert load_classifier(str(save_vit(tmp_path / "m", names=names))).names == tuple(names)


def test_what_transformers_writes_is_read():
    for kind in sorted(MODEL_TYPES):
        written = json.loads(CONFIG_MAPPING[kind]().to_json_string(use_diff=False))
        check_keys("m", CONFIG, written)
        check_kind("m", written)
        CONFIG_MAPPING[kind](**written)


def test_what_older_versions_wrote_is_read(folder):
    rewrite(
        folder / CONFIG, _name_or_path="/x", _commit_hash=None, _attn_implementation_autoset=True, torchscript=False
    )
    rewrite(folder / PROCESSOR, _valid_processor_keys=["images"], _processor_class=None)
    assert load_classifier(str(folder)).names == BASIC.names
