import json
import time

import pytest
import torch
from PIL import Image
from transformers import (
    CONFIG_MAPPING,
    AutoImageProcessor,
    AutoModelForImageClassification,
    LevitConfig,
    LevitForImageClassification,
    PoolFormerConfig,
    PoolFormerForImageClassification,
    PoolFormerImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from rafdb_vit.data.labels import BASIC, label_maps
from rafdb_vit.evaluation.inference import predict_images
from rafdb_vit.model import trial
from rafdb_vit.model.allow_list import MODEL_TYPES
from rafdb_vit.model.load import load_classifier, load_model
from rafdb_vit.model.received import WeightsSize
from rafdb_vit.model.trial import CostMeter, fit_batch, takes_one_picture, try_out
from tests.support.models import save_vit
from tests.support.refusals import refused

CONFIG, PROCESSOR = "config.json", "preprocessor_config.json"


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def folder(tmp_path):
    return save_vit(tmp_path / "m")


def save_levit(folder, **changes):
    shape = {"hidden_sizes": [16, 16, 16], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1], "key_dim": [4, 4, 4]}
    config = LevitConfig(image_size=32, patch_size=16, **shape, **label_maps(BASIC.names))
    LevitForImageClassification(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    rewrite(folder / CONFIG, **changes)
    return folder


def test_an_architecture_that_loops_over_its_patches_is_not_built(tmp_path):
    load_classifier(str(save_levit(tmp_path / "whole")))
    for i, changes in enumerate([{"image_size": 1024, "patch_size": 1}, {"image_size": 512, "patch_size": 8}]):
        start = time.process_time()
        with refused("config.json: image_size is", "patch"):
            load_classifier(str(save_levit(tmp_path / str(i), **changes)))
        assert time.process_time() - start < 2


@pytest.mark.parametrize("changes", [{"image_size": 1024, "patch_size": 4}, {"image_size": [16, 900], "patch_size": 1}])
def test_a_picture_has_no_more_patches_than_it_has_use_for(folder, changes):
    rewrite(folder / CONFIG, **changes)
    with refused("config.json: image_size is", "expected 128 patches along a side at most"):
        load_classifier(str(folder))


def test_attention_between_very_many_patches_is_refused_before_it_is_computed(tmp_path):
    narrow = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1}
    folder = save_vit(tmp_path / "m", image_size=128, patch_size=1, **narrow)
    start = time.process_time()
    with refused("config.json asks for more than", "for 2 pictures; expected a smaller image_size"):
        load_classifier(str(folder))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("changes", [{"_attn_implementation": "eager"}, {"attn_implementation": "flex_attention"}])
def test_the_file_does_not_say_how_attention_is_computed(folder, changes):
    rewrite(folder / CONFIG, **changes)
    for model in (load_classifier(str(folder)).model, load_model(str(folder), BASIC.names)[0]):
        assert model.config._attn_implementation == "sdpa"


def test_the_file_does_not_say_what_is_returned(folder):
    rewrite(folder / CONFIG, output_hidden_states=True, output_attentions=True, return_dict=False)
    classifier = load_classifier(str(folder))
    answer = classifier.model(pixel_values=torch.zeros(1, 3, 32, 32))
    assert set(answer) == {"logits"}


def test_pictures_of_any_shape_have_one_size(folder):
    rewrite(folder / PROCESSOR, size={"shortest_edge": 32})
    with refused("preprocessor_config.json makes [32, 32] of a square picture, [32, 51] of a wide"):
        load_classifier(str(folder))
    rewrite(folder / PROCESSOR, size={"height": 32, "width": 32}, do_resize=False)
    with refused("preprocessor_config.json"):
        load_model(str(folder), BASIC.names)


def test_a_crop_makes_one_size(folder, tmp_path):
    edge = {"size": {"shortest_edge": 40}, "do_center_crop": True, "crop_size": {"height": 32, "width": 32}}
    rewrite(folder / PROCESSOR, image_processor_type="CLIPImageProcessor", **edge)
    Image.new("RGB", (90, 30)).save(tmp_path / "wide.png")
    (prediction,) = predict_images(load_classifier(str(folder)), [str(tmp_path / "wide.png")], device="cpu")
    assert prediction.error is None


def test_very_many_operations_are_refused(monkeypatch):
    monkeypatch.setattr("rafdb_vit.model.trial._MOST_OPERATIONS", 99)
    with CostMeter("m", WeightsSize(1, 1)):
        for _ in range(99):
            torch.zeros((), device="meta")
    with refused("m: config.json asks for more than 99 operations"), CostMeter("m", WeightsSize(1, 1)):
        for _ in range(100):
            torch.zeros((), device="meta")


def test_a_value_that_a_model_looks_at_is_not_computed(folder, monkeypatch):
    model = ViTForImageClassification.from_pretrained(folder)
    forward, seen = model.vit.forward, []

    def look(pixel_values, **settings):
        seen.append(pixel_values.device.type)
        assert bool((pixel_values > -9).all())
        return forward(pixel_values, **settings)

    monkeypatch.setattr(model.vit, "forward", look)
    try_out("m", model, AutoImageProcessor.from_pretrained(folder), WeightsSize(100, 100_000))
    assert seen == ["meta"]


def test_a_model_that_takes_one_picture_alone_is_refused(folder, monkeypatch):
    model = ViTForImageClassification.from_pretrained(folder)
    forward = model.vit.forward
    monkeypatch.setattr(model.vit, "forward", lambda pixels, **k: forward(pixels.reshape(1, 3, 32, 32), **k))
    with refused("m: the model cannot read a picture (RuntimeError: "):
        try_out("m", model, AutoImageProcessor.from_pretrained(folder), WeightsSize(100, 100_000))


def save_poolformer(folder, *, side, **changes):
    shape = {"hidden_sizes": [4] * 4, "depths": [1] * 4, "patch_sizes": [7, 3, 3, 3], "padding": [3, 1, 1, 1]}
    config = PoolFormerConfig(**shape, **label_maps(BASIC.names), **changes)
    PoolFormerForImageClassification(config).save_pretrained(folder)
    size = {"height": side, "width": side}
    PoolFormerImageProcessor(size=size, crop_size=size, crop_pct=1.0).save_pretrained(folder)
    return str(folder)


def test_what_pools_read_is_counted(tmp_path):
    load_classifier(save_poolformer(tmp_path / "whole", side=224))
    wide = {"strides": [1, 1, 1, 1], "pool_size": 63}
    with refused("config.json asks for more than", "numbers for 2 pictures"):
        load_classifier(save_poolformer(tmp_path / "m", side=512, **wide))


@pytest.mark.parametrize(
    ("run", "what", "count"),
    [
        (lambda x: torch.nn.functional.avg_pool2d(x, 3, 1, 1), "numbers", 8 * 8 * 10),
        (lambda x: torch.nn.functional.max_pool2d(x, (2, 4), 1), "numbers", 7 * 5 * 9 + 7 * 5 * 9),
        (lambda x: torch.nn.functional.avg_pool2d(x, 500, 1, 250), "numbers", 9 * 9 * 65),
        (lambda x: torch.nn.functional.conv2d(x, x), "multiplications", 64),
        (lambda x: x[0] @ x[0], "multiplications", 8**3),
        (lambda x: [x + 1 for _ in range(9)], "bytes at once", 9 * 4 * 64),
        (lambda x: [(x + 1).sum() for _ in range(9)], "bytes at once", 4 * 64 + 9 * 4),
        (lambda x: [x.view(64) for _ in range(9)], "bytes at once", 0),
    ],
)
def test_what_an_operation_takes_is_counted(monkeypatch, run, what, count):
    pixels, size = torch.empty(1, 1, 8, 8, device="meta"), WeightsSize(1, 0)
    monkeypatch.setitem(trial._MOST_FOR_A_PICTURE, what, (count / 2, 0))
    with CostMeter("m", size) as meter:
        run(pixels)
    assert what != "bytes at once" or meter.peak == count
    monkeypatch.setitem(trial._MOST_FOR_A_PICTURE, what, (count / 2 - 1, 0))
    with refused("m: config.json asks for more than"), CostMeter("m", size):
        run(pixels + 1 if count == 0 else pixels)


def test_what_a_picture_takes_stays_with_the_model_and_bounds_a_batch(tmp_path):
    """Of 4,096 patches and 8,192 numbers each, one picture takes 300 MB; of an ordinary ViT, 9 MB."""
    shape = {"hidden_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1}
    for load in (load_classifier, lambda folder: load_model(folder, BASIC.names)):
        folder = save_vit(tmp_path / "m", image_size=1024, patch_size=16, intermediate_size=8192, **shape)
        loaded = load(str(folder))
        model, processor = loaded if isinstance(loaded, tuple) else (loaded.model, loaded.processor)
        assert fit_batch(64, model, processor) == 15
    with torch.device("meta"):
        base = ViTForImageClassification(ViTConfig(**label_maps(BASIC.names)))
    try_out("m", base, ViTImageProcessor(), WeightsSize(200, base.num_parameters()))
    assert fit_batch(10**6, base, ViTImageProcessor()) > 400


@pytest.mark.parametrize("kind", sorted(MODEL_TYPES))
def test_every_architecture_passes_with_its_own_settings(kind, monkeypatch):
    config = CONFIG_MAPPING[kind]()
    names = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[kind]
    if kind == "pvt":  # has a field for their number, beside their names
        config.num_labels, config.id2label = 2, {0: "a", 1: "b"}
    config.architectures = [names if isinstance(names, str) else names[0]]
    with torch.device("meta"):
        model = AutoModelForImageClassification.from_config(config)
    side = getattr(getattr(config, "vision_config", config), "image_size", None) or 224
    sides = side if isinstance(side, (list, tuple)) else (side, side)
    monkeypatch.setattr(trial, "_prepare", lambda *_: torch.empty(1, 3, *sides))
    try_out("m", model, None, WeightsSize(1000, model.num_parameters()))
    processor = ViTImageProcessor(size=dict(zip(("height", "width"), sides, strict=True)))
    assert 1 <= fit_batch(64, model, processor) <= 64
    assert takes_one_picture(model, processor) is (kind != "levit"), "its head begins with batch normalization"
    assert model.training, "as it was before"
