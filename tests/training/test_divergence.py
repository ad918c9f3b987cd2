"""Training that meets a number that is not finite."""

import json
import math
import re
from types import SimpleNamespace

import pytest
import torch
from transformers import ViTForImageClassification, ViTImageProcessor

from rafdb_vit.commands.parser import run_command
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.evaluation.results import read_results
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.checkpoints import list_checkpoints, step_of
from rafdb_vit.training.divergence import Diverged, find_step_fault, find_weight_fault
from rafdb_vit.training.loss import ExpressionLoss
from rafdb_vit.training.trainer import build_trainer
from tests.support.models import QUICK_TRAINING
from tests.support.refusals import assert_one_line

NAN, INF = math.nan, math.inf


def accelerator(*, scale=None, skipped=False):
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    return SimpleNamespace(scaler=scaler, optimizer_step_was_skipped=skipped)


@pytest.mark.parametrize(
    ("loss", "norm", "state", "fault"),
    [
        (1.0, 2.0, {}, ""),
        (1.0, None, {}, ""),
        (torch.tensor(NAN), torch.tensor(1.0), {}, "the training loss"),
        (INF, NAN, {}, "the training loss"),
        (1.0, torch.tensor(INF), {}, "the gradient norm"),
        (1.0, INF, {"scale": 2048.0, "skipped": True}, ""),  # FP16 skips the step, and halves the scale
        (1.0, NAN, {"scale": 1.0, "skipped": True}, ""),
        (1.0, NAN, {"scale": 0.5, "skipped": True}, "the gradient norm"),  # but not for ever
        (1.0, INF, {"scale": 2048.0}, "the gradient norm"),  # each gradient is finite, and the step was made
        (NAN, NAN, {"scale": 2048.0, "skipped": True}, "the training loss"),  # which no scale changes
    ],
)
def test_what_is_not_finite_is_named(loss, norm, state, fault):
    assert find_step_fault(loss, norm, accelerator(**state)) == fault


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_one_weight_is_enough(value):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.tensor([0.0, -INF]))  # on purpose, as some models have it
    assert find_weight_fault(model) == ""
    with torch.no_grad():
        model[0].weight[1, 2] = value
    assert find_weight_fault(model) == "a weight"


def test_averages_of_a_batch_normalization_are_looked_at():
    model = torch.nn.BatchNorm1d(2)
    model.running_var[0] = NAN
    assert find_weight_fault(model) == "a weight"


@pytest.fixture(scope="module")
def make(faces_dir, tiny_vit, tmp_path_factory):
    """Builds a trainer of 4 steps an epoch."""
    root, splits = tmp_path_factory.mktemp("runs"), load_rafdb(faces_dir, validation_fraction=0.3)

    def make(out, **changes):
        args = ExpressionTrainingArguments(output_dir=str(root / out), **{**QUICK_TRAINING, **changes})
        model, processor = (of.from_pretrained(tiny_vit) for of in (ViTForImageClassification, ViTImageProcessor))
        data = {split: splits[split] for split in ("train", "validation")}
        return build_trainer(model, processor, args=args, layer_decay=1.0, **data)

    return make


def diverge(trainer):
    """Trains to the end that is expected; no checkpoint may hold what is not finite."""
    with pytest.raises(Diverged) as caught:
        trainer.train()
    assert_one_line(caught.value, "--learning_rate", "--warmup_steps", "--max_grad_norm")
    for checkpoint in list_checkpoints(trainer.run_folder):
        state = ViTForImageClassification.from_pretrained(checkpoint).state_dict()
        assert all(tensor.isfinite().all() for tensor in state.values())
    assert all(math.isfinite(row["loss"]) for row in trainer.state.log_history if "loss" in row)
    return caught.value


@pytest.mark.parametrize("every", ["epoch", "steps"])
def test_a_rate_that_is_far_too_high_ends_training(make, every):
    strategy = {"eval_strategy": every, "save_strategy": every}
    steps = {"eval_steps": 1, "save_steps": 1} if every == "steps" else {}
    trainer = make(f"high-{every}", learning_rate=1e37, warmup_steps=0, **strategy, **steps)
    end = diverge(trainer)
    assert end.step <= 3 and re.search(r"learning rate was \d.\de\+3[67]:", end.line) and "fp16" not in end.line
    assert "train anew" in end.line


@pytest.mark.parametrize("accumulation", [1, 2])
def test_the_loss_of_any_batch_ends_training_at_its_step(make, accumulation):
    settings = {"per_device_train_batch_size": 14 // accumulation, "gradient_accumulation_steps": accumulation}
    trainer = make(f"planted-{accumulation}", **settings)
    loss, calls = trainer.compute_loss_func, []

    def plant(outputs, labels, num_items_in_batch=None):
        found = loss(outputs, labels, num_items_in_batch)
        if torch.is_grad_enabled():
            calls.append(1)
        return found * NAN if len(calls) == (5 if accumulation == 1 else 9) else found

    trainer.compute_loss_func = plant
    end = diverge(trainer)
    assert end.step == 5 and "the training loss is not a finite number" in end.line
    best = trainer.run_folder / "checkpoint-4"
    assert list_checkpoints(trainer.run_folder) == [best]
    assert f"from the best weights so far: --model_name_or_path {best}, with another --output_dir" in end.line


def test_weights_that_an_update_broke_are_never_evaluated_nor_saved(make):
    trainer = make("weights", num_train_epochs=2)
    step, steps = torch.optim.AdamW.step, []

    def break_one(optimizer, *args, **kwargs):
        result = step(optimizer, *args, **kwargs)
        steps.append(1)
        if len(steps) == 8:
            with torch.no_grad():
                optimizer.param_groups[0]["params"][0].view(-1)[0] = INF
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", break_one)
        end = diverge(trainer)
    assert end.step == 8 and "a weight is not a finite number" in end.line
    assert [row["step"] for row in trainer.state.log_history if "eval_loss" in row] == [4]
    assert [step_of(checkpoint) for checkpoint in list_checkpoints(trainer.run_folder)] == [4]


def test_an_evaluation_that_is_not_finite_is_never_the_best(make, capsys):
    trainer = make("evaluation")
    compute, evaluations = trainer.compute_metrics, []

    def plant(prediction):
        evaluations.append(1)
        if len(evaluations) == 1:
            prediction.predictions[0, 0] = NAN
        return compute(prediction)

    trainer.compute_metrics = plant
    trainer.train()
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("epoch ")]
    assert "nan" in lines[0] and "best so far" not in lines[0]
    assert trainer.state.best_global_step > 4 and math.isfinite(trainer.state.best_metric)


def plant_in_step(patch, step):
    """Makes the loss of a step (from 1) infinite, in every run."""
    call, calls = ExpressionLoss.__call__, []

    def plant(self, outputs, labels, num_items_in_batch=None):
        found = call(self, outputs, labels, num_items_in_batch)
        if torch.is_grad_enabled():
            calls.append(1)
        return found * INF if len(calls) == step else found

    patch.setattr(ExpressionLoss, "__call__", plant)


def test_the_best_model_before_is_scored_and_the_run_says_what_happened(train, tmp_path, monkeypatch, capfd):
    plant_in_step(monkeypatch, 6)
    assert run_command(lambda argv: train()) == 2
    run, seen = tmp_path / "run", capfd.readouterr()
    last = seen.err.strip().splitlines()[-1]
    assert last.startswith("error: training diverged at step 6, where the learning rate was ")
    assert f"{run} holds the best model before that, of step 4, and its metrics" in last
    validation, test, protocol = read_results(run)
    assert (validation.n, test.n) == (21, 28)
    assert (protocol.checkpoint.step, protocol.checkpoint.diverged_at) == (4, 6)
    best, top = (
        ViTForImageClassification.from_pretrained(folder).state_dict() for folder in (run / "checkpoint-4", run)
    )
    assert all(torch.equal(tensor, top[name]) for name, tensor in best.items())
    assert (run / "report.html").is_file()
    with pytest.raises(UserError, match="learning_rate is 0.001, was 0.003"):
        train("--resume_from_checkpoint", "--learning_rate", "1e-3")


def test_without_an_evaluation_before_nothing_looks_finished(train, tmp_path, monkeypatch):
    plant_in_step(monkeypatch, 2)
    with pytest.raises(Diverged, match="diverged at step 2") as caught:
        train()
    assert not caught.value.on_one  # said once, by the main process
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left <= {"training_config.yaml", "trained_on.json", "files.json"}
    monkeypatch.undo()
    again = train("--num_train_epochs", "1")
    assert "diverged_at" not in json.loads((again.folder / "results.json").read_text())["protocol"]["checkpoint"]
