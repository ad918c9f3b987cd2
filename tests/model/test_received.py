import copy
import json
import os
import resource
import shutil
import struct
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from transformers import ConvNextImageProcessor

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.inference import predict_images
from rafdb_vit.model.load import load_classifier, load_model, load_trained
from rafdb_vit.runtime.errors import UserError
from tests.support.faces import paint_face
from tests.support.models import save_vit
from tests.support.refusals import assert_one_line, refused

CONFIG, PROCESSOR, INDEX = "config.json", "preprocessor_config.json", "model.safetensors.index.json"


@pytest.fixture
def folder(tmp_path, tiny_vit):
    return shutil.copytree(tiny_vit, tmp_path / "m")


@pytest.fixture
def sharded(folder):
    return shard(folder)


def shard(folder):
    """Splits the weights of a model into two files and an index."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = [f"model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    parts = dict(sorted(weights.items())[:10]), dict(sorted(weights.items())[10:])
    for name, part in zip(files, parts, strict=True):
        save_file(part, folder / name, metadata={"format": "pt"})
    named = {key: name for name, part in zip(files, parts, strict=True) for key in part}
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": named}))
    return folder


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def load_all_ways(folder):
    """Yields what loads a model: for use as it is, for fine-tuning, and as a checkpoint."""
    yield lambda: load_classifier(str(folder))
    yield lambda: load_model(str(folder), BASIC.names)
    yield lambda: load_trained(folder)


def refuse_all_ways(folder, *parts):
    start = time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for load in load_all_ways(folder):
        with refused(folder, *parts) as caught:
            load()
        assert len(caught.value.line) < 1000
    assert time.process_time() - start < 6, "three times two seconds"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


# ---- Code ----

MAPS = {
    CONFIG: ("AutoConfig", "AutoModelForImageClassification", "AutoImageProcessor"),
    PROCESSOR: ("AutoImageProcessor", "AutoFeatureExtractor", "AutoProcessor"),
    "processor_config.json": ("AutoProcessor",),
    "video_preprocessor_config.json": ("AutoVideoProcessor",),
}


@pytest.mark.parametrize(("file", "key"), [(file, key) for file, keys in MAPS.items() for key in keys])
@pytest.mark.parametrize("source", ["evil.Evil", "{tmp}/other--evil.Evil"])
def test_code_is_refused_and_nobody_is_asked(folder, tmp_path, monkeypatch, file, key, source):
    (tmp_path / "other").mkdir()
    for place in (folder, tmp_path / "other"):
        (place / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Evil: pass\n")
    if not (folder / file).exists():
        (folder / file).write_text("{}")
    rewrite(folder / file, auto_map={key: source.format(tmp=tmp_path)}, model_type="evil")
    monkeypatch.setattr("builtins.input", lambda _: pytest.fail("somebody was asked"))
    refuse_all_ways(folder, f"brings code of its own (auto_map in {file})")
    assert not (tmp_path / "ran").exists()


def test_code_of_a_part_of_the_configuration_is_refused(folder):
    rewrite(folder / CONFIG, vision_config={"deep": [{"auto_map": {"AutoConfig": "evil.Evil"}}]})
    refuse_all_ways(folder, "auto_map in config.json")
    rewrite(folder / CONFIG, vision_config=None, _attn_implementation="someone/kernels")
    refuse_all_ways(folder, "config.json: _attn_implementation is someone/kernels")


def test_an_empty_map_of_code_is_none(folder):
    rewrite(folder / CONFIG, auto_map={})
    assert load_classifier(str(folder)).names == BASIC.names


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("configuration_files", ["config.4.0.0.json"]),
        ("transformers_weights", "../other/model.safetensors"),
        ("quantization_config", {"quant_method": "bitsandbytes"}),
        ("architecture", "hf-hub:someone/model"),
        ("backbone", "someone/model"),
    ],
)
def test_a_configuration_leads_nowhere_else(folder, key, value):
    rewrite(folder / CONFIG, **{key: value})
    refuse_all_ways(folder, f"config.json: {key}")


def test_an_adapter_is_refused(folder):
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "/elsewhere"}')
    refuse_all_ways(folder, "adapter_config.json: is an adapter")


def test_two_processors_that_differ_are_refused(folder):
    content = json.loads((folder / PROCESSOR).read_text())
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": content}))
    load_classifier(str(folder))
    rewrite(folder / PROCESSOR, image_mean=[0.1, 0.1, 0.1])
    refuse_all_ways(folder, "processor_config.json and preprocessor_config.json differ")


# ---- Files ----


@pytest.mark.parametrize(
    "name",
    [CONFIG, PROCESSOR, INDEX, "model.safetensors", "processor_config.json", "model-00001-of-00001.safetensors"],
)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder, name):
    (folder / name).unlink(missing_ok=True)
    if name == "model-00001-of-00001.safetensors":
        (folder / "model.safetensors").unlink()
        (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"classifier.bias": name}}))
    os.mkfifo(folder / name)
    refuse_all_ways(folder, f"{name} is not a plain file")


@pytest.mark.parametrize("name", [CONFIG, PROCESSOR, "model.safetensors"])
def test_a_link_out_of_the_folder_is_refused(folder, tmp_path, name):
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    refuse_all_ways(folder, f"{name} is a link out of the folder")


def test_links_within_the_cache_of_the_hub_are_followed(tmp_path, tiny_vit):
    home = tmp_path / "models--user--model"
    snapshot = home / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    shutil.copytree(tiny_vit, home / "blobs")
    for path in (home / "blobs").iterdir():
        (snapshot / path.name).symlink_to(Path("..", "..", "blobs", path.name))
    assert load_classifier(str(snapshot)).names == BASIC.names
    (tmp_path / "link").symlink_to(snapshot)
    assert load_classifier(str(tmp_path / "link")).names == BASIC.names


@pytest.mark.parametrize(
    "name", ["../m2/model-00001-of-00002.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "x.bin", "..", "", 5]
)
def test_an_index_names_files_beside_it(sharded, name):
    shutil.copytree(sharded, sharded.parent / "m2")
    content = json.loads((sharded / INDEX).read_text())
    content["weight_map"]["classifier.weight"] = name
    (sharded / INDEX).write_text(json.dumps(content))
    refuse_all_ways(
        sharded, f"{INDEX}: classifier.weight lies in {name}", "expected a model-*-of-*.safetensors beside it"
    )


def test_sharded_weights_are_loaded_and_a_missing_file_is_named(sharded):
    for load in load_all_ways(sharded):
        load()
    (sharded / "model-00002-of-00002.safetensors").unlink()
    refuse_all_ways(sharded, f"{INDEX}: model-00002-of-00002.safetensors is not there")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\udcff", '{"a": NaN}', "[" * 100_000, "{}" + " " * 5_000_000])
@pytest.mark.parametrize("name", [CONFIG, PROCESSOR, INDEX])
def test_a_file_that_is_no_object(sharded, name, text):
    (sharded / name).write_text(text, errors="surrogateescape")
    refuse_all_ways(sharded, name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff" * 8,
        struct.pack("<Q", 2**40) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 10) + b"[" * 10,
    ],
)
def test_damaged_weights(folder, content):
    (folder / "model.safetensors").write_bytes(content)
    refuse_all_ways(folder)


# ---- Sizes ----


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        (CONFIG, "num_labels", 20_000_000),
        (CONFIG, "num_labels", [10**9]),
        (CONFIG, "text_config", {"num_labels": 20_000_000}),
        (CONFIG, "num_hidden_layers", 100_000),
        (CONFIG, "attention_probs_dropout_prob", 1.5),
        (CONFIG, "hidden_dropout_prob", -1),
        (CONFIG, "depths", [60] * 9),
        (CONFIG, "num_block_repeats", [1, 1000]),
        (CONFIG, "hidden_size", 10**9),
        (CONFIG, "hidden_size", 2**13),
        (CONFIG, "intermediate_size", 10**6),
        (CONFIG, "image_size", 60_000),
        (CONFIG, "anything", 1e300),
        (CONFIG, "id2label", {str(i): "x" for i in range(100_001)}),
        (PROCESSOR, "size", {"height": 60_000, "width": 60_000}),
        (PROCESSOR, "size", 60_000),
        (PROCESSOR, "crop_size", {"height": 60_000, "width": 60_000}),
        (PROCESSOR, "pad_size", {"height": 60_000, "width": 60_000}),
        (PROCESSOR, "crop_pct", 1e-6),
    ],
)
def test_nothing_asks_for_more_than_the_weights_bear(folder, file, key, value):
    rewrite(folder / file, **{key: value})
    for load in load_all_ways(folder):
        start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with refused(folder, file):
            load()
        assert time.process_time() - start < 2
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "kilobytes"


def test_as_many_classes_as_imagenet_21k_are_allowed(tmp_path):
    folder = save_vit(tmp_path / "m", names=[f"class {i}" for i in range(21_843)])
    assert len(load_classifier(str(folder)).names) == 21_843


# ---- Classes ----


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"1": "a", "2": "b"}, "expected the numbers from 0 to 1"),
        ({"a": "b"}, "config.json"),
        ({"0": "a", "1": 5}, "config.json"),
        ({"0": "a", "1": None}, "config.json"),
        ({"0": "a", "1": " "}, "class 1 is empty"),
        ({"0": "a", "1": "b" * 201}, "class 1 is bbbb"),
        ({"0": "a", "1": "b\nc"}, "expected one line"),
        ({"0": "a", "1": "b\u2028c"}, "expected one line"),
        (["a", "b"], "expected an object of names by number"),
        ({"0": "a", "1": "a"}, "two of its classes have one name"),
    ],
)
def test_names_of_classes_are_one_line_each(tmp_path, labels, words):
    folder = save_vit(tmp_path / "m", names=["a", "b"])
    rewrite(folder / CONFIG, id2label=labels, label2id={})
    with refused(words):
        load_classifier(str(folder))


def test_names_of_classes_are_shown_escaped(tmp_path):
    folder = save_vit(tmp_path / "m", names=["\x1b[31mred", "\u202eleft"])
    picture = tmp_path / "face.png"
    paint_face(1, 1).save(picture)
    (prediction,) = predict_images(load_classifier(str(folder)), [str(picture)], device="cpu")
    assert set(prediction.probabilities) == {"\x1b[31mred", "\u202eleft"}
    assert prediction.render().isprintable()


# ---- Values ----

ODD = [
    *(None, True, 0, -1, 1, 3, 5, 99, 0.5, -0.5, 1e-9, 10**6, 10**18, 1e300, "", "x", "224", "a\nb", "../x", "\u202e"),
    *([], [1], [0.5, 0.5], [0, 0, 0], ["a"], [[1]], [None], {}, {"a": 1}, {"height": 32}, {"shortest_edge": 8}),
    *({"height": 0, "width": 0}, {"height": None}, {"0": "a"}, {"x": "y"}, "float16", "complex64"),
    *("clip", "convnext", "CLIPImageProcessor", "ConvNextImageProcessor", "AutoConfig"),
]
MORE_KEYS = {
    CONFIG: [
        "num_labels",
        "pruned_heads",
        "output_attentions",
        "return_dict",
        "problem_type",
        "dtype",
        "vision_config",
    ],
    PROCESSOR: ["do_center_crop", "crop_size", "do_pad", "pad_size", "crop_pct", "data_format", "input_data_format"],
    INDEX: ["weight_map", "metadata"],
}


def paths(value, path=()):
    """Yields the way to each value in a file, at any depth."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from paths(item, (*path, key))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = shard(save_vit(tmp_path_factory.mktemp("fuzz") / "m"))
    paint_face(1, 1).save(folder / "face.png")
    return folder, {name: json.loads((folder / name).read_text()) for name in MORE_KEYS}


@settings(max_examples=120, derandomize=True, deadline=None, database=None)
@given(data=st.data())
def test_an_odd_value_is_used_or_refused_in_one_line(whole, data):
    folder, contents = whole
    name = data.draw(st.sampled_from(sorted(contents)))
    content = copy.deepcopy(contents[name])
    path = data.draw(st.sampled_from([*paths(content), *((key,) for key in MORE_KEYS[name])]))
    target = content
    for key in path[:-1]:
        target = target[key]
    if data.draw(st.integers(0, 9)) == 0:
        target.pop(path[-1], None) if isinstance(target, dict) else target.pop(path[-1])
    else:
        target[path[-1]] = data.draw(st.sampled_from(ODD))
    (folder / name).write_text(json.dumps(content))
    try:
        predictions = list(predict_images(load_classifier(str(folder)), [str(folder / "face.png")], device="cpu"))
        assert len(predictions) == 1
    except UserError as error:
        assert_one_line(error, folder)
        assert len(error.line) < 1000
    finally:
        (folder / name).write_text(json.dumps(contents[name]))


def test_a_processor_of_another_architecture_is_tried_out(folder):
    ConvNextImageProcessor(size={"shortest_edge": 16}, crop_pct=0.875).save_pretrained(folder)
    refused_line = "the model cannot read a picture"
    for load in list(load_all_ways(folder))[:2]:
        with refused(folder, refused_line):
            load()


def test_many_empty_tensors_allow_no_more_layers(folder):
    names = {f"{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(19_900)}
    head = json.dumps({"__metadata__": {"format": "pt"}, **names}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    rewrite(folder / CONFIG, num_hidden_layers=19_900)
    refuse_all_ways(folder, "num_hidden_layers is 19900; expected 1,000 at most")


@pytest.mark.parametrize("kind", [torch.int8, torch.bool, torch.complex64])
def test_weights_that_are_no_numbers_to_reckon_with_are_refused(folder, kind):
    weights = {name: tensor.to(kind) for name, tensor in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    refuse_all_ways(folder, "model.safetensors has tensors of ", "expected weights of 16, 32 or 64 bits")
