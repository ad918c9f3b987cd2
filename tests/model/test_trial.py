import json
import time

import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    LevitConfig,
    LevitForImageClassification,
    ViTForImageClassification,
    ViTImageProcessor,
)

from rafdb_vit.data.labels import BASIC, label_maps
from rafdb_vit.evaluation.inference import predict_images
from rafdb_vit.model.load import load_classifier, load_model
from rafdb_vit.model.received import WeightsSize
from rafdb_vit.model.trial import CostMeter, try_out
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
    with refused("config.json asks for more than", "for one picture; expected a smaller image_size"):
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


def test_what_looks_at_values_is_tried_in_earnest(folder, monkeypatch):
    model = ViTForImageClassification.from_pretrained(folder)
    forward, seen = model.vit.forward, []

    def look(pixel_values, **settings):
        seen.append(pixel_values.device.type)
        assert bool((pixel_values > -9).all())
        return forward(pixel_values, **settings)

    monkeypatch.setattr(model.vit, "forward", look)
    processor = AutoImageProcessor.from_pretrained(folder)
    try_out("m", model, processor, WeightsSize(100, 100_000))
    assert seen == ["meta", "cpu"]
    with refused("m: config.json asks for more than"):
        monkeypatch.setattr("rafdb_vit.model.trial._MOST_IN_ALL", 0)
        try_out("m", model, processor, WeightsSize(1, 1))
