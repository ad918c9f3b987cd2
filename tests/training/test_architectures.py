"""Every architecture that classifies images: loaded, trained, saved, read by `pipeline`, and refused when broken."""

import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, pipeline
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.images import open_row, select_undecoded
from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.inference import predict_split
from rafdb_vit.model.allow_list import MODEL_TYPES
from rafdb_vit.model.load import load_classifier, load_model
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.trainer import build_trainer
from tests.support.architectures import ARCHITECTURES, save_architecture
from tests.support.models import QUICK_TRAINING
from tests.support.refusals import refused

WEIGHTS = "model.safetensors"
OTHER_NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]


@pytest.fixture(scope="module")
def faces(faces_dir):
    splits = load_rafdb(faces_dir)
    return {"train": splits["train"].select(range(28)), "test": splits["test"].select(range(7))}


def test_each_is_there():
    classes = (MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES[kind] for kind in MODEL_TYPES)
    assert set(ARCHITECTURES) == {name for names in classes for name in ([names] if isinstance(names, str) else names)}


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def check_head(folder, capsys):
    """Loads it for seven other classes; the head is drawn anew, as much of it as for six, and the rest is loaded."""
    fewer = load_model(str(folder), BASIC.names[:6])[0]
    assert "new head of 6 classes for one of 7" in capsys.readouterr().out
    model, processor = load_model(str(folder), BASIC.names)
    assert "the checkpoint's classes are angry" in capsys.readouterr().out
    stored = state(AutoModelForImageClassification.from_pretrained(folder))
    head = {name for name, tensor in state(fewer).items() if tensor.shape != stored[name].shape}
    assert 0 < len(head) < len(stored) / 2
    for name, tensor in state(model).items():
        assert torch.equal(tensor, stored[name]) == (name not in head), name
        assert name in head or torch.equal(tensor, fewer.state_dict()[name]), name
        assert not tensor.is_floating_point() or tensor.abs().max() < 3, name
    return model, processor, head


def check_broken(folder, tmp_path, head):
    """A copy that lacks a weight, any but a whole head, is refused."""
    broken = shutil.copytree(folder, tmp_path / "broken")
    weights = load_file(broken / WEIGHTS)
    backbone = max(name for name in weights if name not in head and weights[name].ndim > 1)
    for lost in (backbone, min(head)):
        save_file({k: v for k, v in weights.items() if k != lost}, broken / WEIGHTS, metadata={"format": "pt"})
        with refused("1 weights are missing or of another shape"):
            load_model(str(broken), BASIC.names)
    with refused("1 weights do not fit"):
        load_classifier(str(broken))


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_is_loaded_trained_scored_and_read_by_others(name, faces, tmp_path, capsys, monkeypatch):
    folder = save_architecture(name, tmp_path / "start", names=OTHER_NAMES)
    with monkeypatch.context() as patch:
        patch.setattr("rafdb_vit.model.load.try_out", lambda *_: None)  # it is tried below, as it was trained
        model, processor, head = check_head(folder, capsys)
        check_broken(folder, tmp_path, head)
    start = state(model)

    args = ExpressionTrainingArguments(str(tmp_path / "run"), **{**QUICK_TRAINING, "num_train_epochs": 1})
    trainer = build_trainer(model, processor, args=args, train=faces["train"], validation=faces["test"], layer_decay=1)
    trainer.train()
    (evaluated,) = (log for log in trainer.state.log_history if "eval_macro_f1" in log)
    assert math.isfinite(evaluated["eval_loss"]) and 0 <= evaluated["eval_accuracy"] <= 1
    assert trainer.state.global_step == 2
    changed = {name for name, tensor in state(model).items() if not torch.equal(tensor.cpu(), start[name])}
    assert len(changed) > len(list(model.parameters())) / 2

    saved = trainer.state.best_model_checkpoint
    classifier = load_classifier(saved)
    for key, tensor in state(classifier.model).items():
        assert torch.equal(tensor, model.state_dict()[key].cpu()), key
    logits = torch.tensor(predict_split(classifier.model, classifier.processor, faces["test"]).logits)
    reader = pipeline("image-classification", str(saved), device="cpu", top_k=7, function_to_apply="none")
    for face, expected in zip(select_undecoded(faces["test"]), logits, strict=True):
        answer = {found["label"]: found["score"] for found in reader(open_row(face))}
        assert torch.allclose(torch.tensor([answer[label] for label in BASIC.names]), expected, atol=1e-5)
