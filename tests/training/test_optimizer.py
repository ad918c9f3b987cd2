import pytest
import torch
from transformers import (
    ConvNextConfig,
    ConvNextForImageClassification,
    SwinConfig,
    SwinForImageClassification,
    ViTForImageClassification,
)

from rafdb_vit.data.labels import BASIC
from rafdb_vit.model.scratch import build_model
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.optimizer import build_parameter_groups


def groups_of(model, **changes):
    settings = {"learning_rate": 1e-3, "weight_decay": 0.05, "layer_decay": 0.5, **changes}
    return build_parameter_groups(model, **settings)


def setting(model, groups, name, key):
    parameter = dict(model.named_parameters())[name]
    return next(group[key] for group in groups if any(p is parameter for p in group["params"]))


@pytest.fixture(scope="module")
def vit(tiny_vit):
    return ViTForImageClassification.from_pretrained(tiny_vit)


def test_every_parameter_is_in_one_group(vit):
    ids = [id(p) for group in groups_of(vit) for p in group["params"]]
    assert sorted(ids) == sorted(id(p) for p in vit.parameters())


def test_rates_of_a_model_of_two_layers(vit):
    groups = groups_of(vit)
    expected = {
        "classifier.weight": 1e-3,
        "vit.layernorm.weight": 1e-3,
        "vit.layers.1.attention.q_proj.weight": 5e-4,
        "vit.layers.0.attention.q_proj.weight": 2.5e-4,
        "vit.embeddings.position_embeddings": 1.25e-4,
        "vit.embeddings.patch_embeddings.projection.weight": 1.25e-4,
    }
    names = {name.replace("vit.layers", "vit.layers"): name for name, _ in vit.named_parameters()}
    for name, rate in expected.items():
        assert setting(vit, groups, names[name], "lr") == pytest.approx(rate)
    assert len({group["lr"] for group in groups}) == 2 + 2
    assert groups[0]["lr"] == 1e-3


def test_weight_decay_on_matrices_only(vit):
    groups = groups_of(vit)
    for name, parameter in vit.named_parameters():
        matrix = name.endswith("weight") and "norm" not in name
        assert setting(vit, groups, name, "weight_decay") == (0.05 if matrix else 0.0), name
        assert not matrix or parameter.ndim > 1


def test_without_layer_decay_there_is_one_rate(vit):
    groups = groups_of(vit, layer_decay=1.0)
    assert len(groups) == 2
    assert {group["lr"] for group in groups} == {1e-3}


def test_base_has_fourteen_rates():
    with torch.device("meta"):
        model, _ = build_model("base", BASIC.names)
    rates = sorted({group["lr"] for group in groups_of(model, layer_decay=0.75)})
    assert rates == pytest.approx([1e-3 * 0.75**k for k in range(13, -1, -1)])


SWIN = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 1], "image_size": 32, "patch_size": 4, "window_size": 4}


@pytest.mark.parametrize(
    "build",
    [
        lambda: ConvNextForImageClassification(ConvNextConfig(hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1])),
        lambda: SwinForImageClassification(SwinConfig(**SWIN)),
    ],
)
def test_a_model_of_stages_is_refused_unless_layer_decay_is_off(build):
    model = build()
    with pytest.raises(UserError, match="--layer_decay 1"):
        groups_of(model)
    assert sum(len(group["params"]) for group in groups_of(model, layer_decay=1.0)) == len(list(model.parameters()))


@pytest.mark.parametrize("layer_decay", [0, -1, 1.1])
def test_a_decay_out_of_range_is_refused(vit, layer_decay):
    with pytest.raises(UserError, match="--layer_decay"):
        groups_of(vit, layer_decay=layer_decay)
