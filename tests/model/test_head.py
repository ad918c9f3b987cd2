import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, CLIPForImageClassification, PoolFormerForImageClassification

from rafdb_vit.data.labels import BASIC
from rafdb_vit.model.head import Head, WeightFaults
from rafdb_vit.model.load import load_model
from tests.support.architectures import save_architecture
from tests.support.refusals import refused

WEIGHTS = "model.safetensors"
NORMS = {
    "CvtForImageClassification": {"layernorm.weight", "layernorm.bias"},
    "LevitForImageClassification": {
        f"classifier.batch_norm.{name}"
        for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    },
    "PoolFormerForImageClassification": {"norm.weight", "norm.bias"},
}


def faults(*, missing=(), mismatched=()):
    return WeightFaults(frozenset(missing), frozenset(mismatched), frozenset())


def test_what_a_checkpoint_may_lack_is_a_whole_head():
    head = Head(frozenset({"head.weight", "head.bias"}), frozenset({"norm.weight"}))
    for lacking, lost in [
        (faults(), set()),
        (faults(missing=head.weights), set()),
        (faults(mismatched=head.weights), set()),
        (faults(missing=head.weights | head.norms), set()),
        (faults(missing={"head.bias"}), {"head.bias"}),
        (faults(missing={"norm.weight"}), {"norm.weight"}),
        (faults(missing={"norm.weight"}, mismatched=head.weights), {"norm.weight"}),
        (faults(missing=head.weights | {"layer.0.weight"}), {"layer.0.weight"}),
        (faults(missing=head.weights, mismatched={"layer.0.weight"}), {"layer.0.weight"}),
    ]:
        assert head.list_lost(lacking) == lost, lacking


@pytest.mark.parametrize("name", NORMS)
def test_a_model_without_a_head_gets_one_with_its_normalization(name, tmp_path, capsys):
    folder = save_architecture(name, tmp_path / "m")
    whole = load_file(folder / WEIGHTS)
    AutoModel.from_pretrained(folder).save_pretrained(folder)
    assert NORMS[name] < set(whole) - set(load_file(folder / WEIGHTS))
    model, _ = load_model(str(folder), BASIC.names)
    assert "Classification head: replaced" in capsys.readouterr().out
    fresh = model.state_dict()
    for key in NORMS[name] - {"classifier.batch_norm.num_batches_tracked"}:
        assert torch.unique(fresh[key]).tolist() == [float(key.endswith(("weight", "var")))], "as torch begins"

    del whole[sorted(NORMS[name])[0]]
    save_file(whole, folder / WEIGHTS, metadata={"format": "pt"})
    with refused("1 weights are missing or of another shape"):
        load_model(str(folder), BASIC.names)


def test_a_head_is_drawn_as_transformers_draws_one_that_is_missing_and_nothing_else_changes(tmp_path):
    """CLIP's tower lies outside `base_model_prefix`; it was once drawn anew with the head."""
    folder = save_architecture("CLIPForImageClassification", tmp_path / "m")
    model = CLIPForImageClassification.from_pretrained(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    head = Head(frozenset({"classifier.weight", "classifier.bias"}), frozenset())
    torch.manual_seed(1)
    head.reset(model)

    kept = {name: tensor for name, tensor in load_file(folder / WEIGHTS).items() if name not in head.weights}
    save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
    torch.manual_seed(1)
    expected = CLIPForImageClassification.from_pretrained(folder).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) == (name not in head.weights), name
        assert torch.equal(tensor, expected[name]), name


def test_a_norm_whose_shape_depends_on_the_classes_is_reset_to_ones(tmp_path):
    model = PoolFormerForImageClassification.from_pretrained(
        save_architecture("PoolFormerForImageClassification", tmp_path / "m")
    )
    Head(frozenset({"norm.weight", "norm.bias"}), frozenset()).reset(model)
    assert model.norm.weight.eq(1).all() and model.norm.bias.eq(0).all()
