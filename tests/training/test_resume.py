"""Runs that are interrupted at every kind of moment, and go on as if they had not been."""

import errno
import json
import os
import pickle
import shutil
import signal

import pytest
import torch
from transformers import TrainerCallback, ViTForImageClassification, ViTImageProcessor

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.signals import SignalWatch
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.checkpoints import list_checkpoints, step_of
from rafdb_vit.training.trainer import build_trainer
from tests.support.checkpoint_content import difference
from tests.support.models import QUICK_TRAINING

EVERY_TWO_STEPS = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2, "save_steps": 2}

OLD_ARGUMENTS = b"crafdb_vit.training_arguments\nExpressionTrainingArguments\n."


class Signal(TrainerCallback):
    """Sends this process SIGTERM when an event comes for the n-th time."""

    def __init__(self, event, n):
        self.left = n
        setattr(self, event, self.count)

    def count(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(scope="module")
def faces(faces_dir):
    return load_rafdb(faces_dir, validation_fraction=0.3)


@pytest.fixture(scope="module")
def make(faces, tiny_vit, tmp_path_factory):
    """Builds a trainer of 12 steps in 3 epochs, with dropout, so that every random draw matters."""
    root = tmp_path_factory.mktemp("runs")

    def make(out, *, signals=None, patience=2, callback=None, **changes):
        settings = {**QUICK_TRAINING, "per_device_eval_batch_size": 8, **changes}
        args = ExpressionTrainingArguments(output_dir=str(root / out), **settings)
        trainer = build_trainer(
            ViTForImageClassification.from_pretrained(tiny_vit, hidden_dropout_prob=0.1),
            ViTImageProcessor.from_pretrained(tiny_vit),
            args=args,
            train=faces["train"],
            validation=faces["validation"],
            layer_decay=1.0,
            early_stopping_patience=patience,
            signals=signals,
        )
        if callback is not None:
            trainer.add_callback(callback)
        return trainer

    return make


@pytest.fixture(scope="module")
def whole(make):
    """Runs without signals, one for each set of settings."""
    runs = {}

    def whole(**settings):
        key = repr(sorted(settings.items()))
        if key not in runs:
            runs[key] = make(f"whole-{len(runs)}", **settings)
            runs[key].train()
        return runs[key]

    return whole


def assert_equal(trainer, whole):
    """Every checkpoint of the uninterrupted run is there and equal, and so is the model in the end."""
    for folder in list_checkpoints(whole.run_folder):
        assert difference(trainer.run_folder / folder.name, folder) == [], folder.name
    expected = whole.model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in trainer.model.state_dict().items())
    assert trainer.state.global_step == whole.state.global_step


def interrupt(make, out, event, n, **settings):
    """Trains until the signal; returns the trainer and what ended it."""
    with SignalWatch() as signals:
        trainer = make(out, signals=signals, callback=Signal(event, n), **settings)
        shutil.rmtree(trainer.run_folder, ignore_errors=True)
        with pytest.raises(Interrupted) as stop:
            trainer.train()
    return trainer, stop.value


@pytest.mark.parametrize(
    ("settings", "event", "n", "step"),
    [
        ({}, "on_step_end", 2, 2),
        ({}, "on_step_end", 4, 4),  # the epoch's events are still to come
        ({}, "on_prediction_step", 2, 4),  # within the evaluation, which has no checkpoint before it
        ({}, "on_prediction_step", 9, 12),  # the same after the last step
        ({}, "on_evaluate", 2, 9),  # saved as planned first
        (EVERY_TWO_STEPS, "on_step_begin", 4, 4),
        (EVERY_TWO_STEPS, "on_prediction_step", 4, 4),  # at an epoch's last step, before its end
        (EVERY_TWO_STEPS, "on_epoch_end", 1, 4),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}, "on_substep_end", 3, 1),
        ({"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}, "on_substep_end", 9, 5),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "on_prediction_step", 5, 8),
        ({"per_device_train_batch_size": 15, "dataloader_drop_last": True}, "on_step_end", 5, 5),
        ({"max_steps": 6}, "on_prediction_step", 5, 6),
        ({"save_strategy": "best"}, "on_log", 3, 8),
        ({"logging_strategy": "steps", "logging_steps": 3}, "on_step_end", 5, 5),
    ],
)
def test_interrupted_anywhere_it_goes_on_exactly(make, whole, settings, event, n, step):
    reference = whole(**settings)
    trainer, stop = interrupt(make, "interrupted", event, n, **settings)
    newest = list_checkpoints(trainer.run_folder)[0]
    assert (step_of(newest), stop.signum, stop.status) == (step, signal.SIGTERM, 143)
    assert f"at step {step} of" in stop.message and newest.name in stop.message
    resumed = make("interrupted", **settings)
    resumed.train(resume_from_checkpoint=str(newest))
    assert_equal(resumed, reference)


@pytest.mark.parametrize("settings", [{}, EVERY_TWO_STEPS, {"eval_on_start": True}])
def test_from_each_checkpoint_it_goes_on_exactly(make, whole, settings):
    reference = whole(**settings)
    for folder in list_checkpoints(reference.run_folder):
        resumed = make("again", **settings)
        shutil.rmtree(resumed.run_folder, ignore_errors=True)
        for earlier in list_checkpoints(reference.run_folder):
            if step_of(earlier) <= step_of(folder):
                shutil.copytree(earlier, resumed.run_folder / earlier.name)
        resumed.train(resume_from_checkpoint=str(resumed.run_folder / folder.name))
        assert_equal(resumed, reference)


def test_a_run_that_had_stopped_early_does_not_go_on(make, whole):
    # A figure that never rises: training stops after 1 + 2 evaluations, of 6 that are planned.
    settings = {"num_train_epochs": 6, "learning_rate": 0.0}
    reference = whole(**settings)
    newest = list_checkpoints(reference.run_folder)[0]
    assert step_of(newest) == 12
    resumed = make("stopped", **settings)
    shutil.copytree(reference.run_folder, resumed.run_folder, dirs_exist_ok=True)
    resumed.train(resume_from_checkpoint=str(resumed.run_folder / newest.name))
    assert_equal(resumed, reference)


def test_every_best_evaluation_has_a_checkpoint(make):
    trainer = make("best", eval_strategy="steps", save_strategy="steps", eval_steps=1, save_steps=3)
    trainer.train()
    best = trainer.run_folder / f"checkpoint-{trainer.state.best_global_step}"
    assert trainer.state.best_model_checkpoint == str(best)
    saved = ViTForImageClassification.from_pretrained(best).state_dict()
    assert all(torch.equal(tensor, saved[name]) for name, tensor in trainer.model.state_dict().items())
    figures = {row["step"]: row["eval_macro_f1"] for row in trainer.state.log_history if "eval_macro_f1" in row}
    assert figures[trainer.state.best_global_step] == max(figures.values())


def test_a_moved_run_keeps_its_best_checkpoint(make, whole):
    reference = whole()
    resumed = make("moved")
    shutil.copytree(reference.run_folder, resumed.run_folder, dirs_exist_ok=True)
    for checkpoint in list_checkpoints(resumed.run_folder):
        # As one from before the modules were moved: its arguments are of a class that is not there any more.
        pickled = checkpoint / "training_args.bin"
        pickled.write_bytes(OLD_ARGUMENTS.ljust(pickled.stat().st_size, b"\0"))
    newest = list_checkpoints(resumed.run_folder)[0]
    resumed.train(resume_from_checkpoint=str(newest))
    assert resumed.state.best_model_checkpoint.startswith(str(resumed.run_folder))
    assert_equal(resumed, reference)


def seal(folder, name):
    """Puts a file of a checkpoint on its list, as large as it is."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = (folder / name).stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))


def edited(name, change):
    """Changes what a checkpoint's file of JSON or tensors holds."""

    def edit(folder):
        path = folder / name
        is_json = name.endswith(".json")
        content = json.loads(path.read_text()) if is_json else torch.load(path, weights_only=False)
        change(content)
        path.write_text(json.dumps(content)) if is_json else torch.save(content, path)
        seal(folder, name)

    return name, edit


def short_state(content):
    """Every state has one number, where fused kernels read and write as many as the parameter has."""
    for entry in content["state"].values():
        entry["exp_avg"] = torch.full((1,), 7.0)


def callbacks(**changes):
    return lambda content: content["stateful_callbacks"]["EarlyStoppingCallback"].update(changes)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("optimizer.pt", b"no pickle"),
        edited("optimizer.pt", short_state),
        edited("scheduler.pt", lambda content: content.update(step=1)),
        edited("scheduler.pt", lambda content: content.update(last_epoch=10**9)),
        edited("rng_state.pth", lambda content: content.update(cpu=torch.zeros(5, dtype=torch.uint8))),
        edited("trainer_state.json", callbacks(attributes={"on_evaluate": 1})),
        edited("trainer_state.json", callbacks(attributes={"early_stopping_patience_counter": "x"})),
        edited("trainer_state.json", lambda content: content["stateful_callbacks"].update(TrainerControl=1)),
        edited("trainer_state.json", lambda content: content.update(global_step=3)),
        edited("trainer_state.json", lambda content: content.update(made_up=1)),
        ("scaler.pt", lambda folder: torch.save({"scale": 1.0}, folder / "scaler.pt")),
        ("scheduler.pt", b""),
        ("rng_state.pth", pickle.dumps({"python": 1})),
        ("trainer_state.json", b"{}"),
        ("trainer_state.json", None),
        ("progress.json", b"[]"),
    ],
)
def test_a_damaged_file_is_one_line_that_names_it(make, whole, name, content):
    checkpoint = whole().run_folder / "checkpoint-4"
    trainer = make("damaged")
    copy = trainer.run_folder / "checkpoint-4"
    shutil.rmtree(trainer.run_folder, ignore_errors=True)
    shutil.copytree(checkpoint, copy)
    if content is None:
        state = json.loads((copy / name).read_text())
        state["stateful_callbacks"]["EarlyStoppingCallback"] = {"args": {"x": 1}}
        content = json.dumps(state).encode()
    content(copy) if callable(content) else (copy / name).write_bytes(content)
    seal(copy, name)
    with pytest.raises(UserError, match=f"checkpoint-4/{name}: is damaged .*older checkpoint") as error:
        trainer.train(resume_from_checkpoint=str(copy))
    assert "\n" not in error.value.line


def test_what_is_best_is_not_taken_from_elsewhere(make, whole, tmp_path):
    reference = whole()
    resumed = make("received")
    shutil.copytree(reference.run_folder, resumed.run_folder, dirs_exist_ok=True)
    shutil.copytree(reference.run_folder / "checkpoint-4", tmp_path / "elsewhere")
    copy = resumed.run_folder / "checkpoint-12"
    _, edit = edited(
        "trainer_state.json", lambda content: content.update(best_model_checkpoint=str(tmp_path / "elsewhere"))
    )
    edit(copy)
    resumed.train(resume_from_checkpoint=str(copy))
    assert resumed.state.best_model_checkpoint == str(copy.parent / f"checkpoint-{reference.state.best_global_step}")


def test_intervals_are_this_runs_whatever_the_checkpoint_says(make, whole):
    reference = whole(**EVERY_TWO_STEPS)
    resumed = make("intervals", **EVERY_TWO_STEPS)
    shutil.copytree(reference.run_folder, resumed.run_folder, dirs_exist_ok=True)
    copy = resumed.run_folder / "checkpoint-4"
    edited("trainer_state.json", lambda content: content.update(eval_steps=5, save_steps=5, logging_steps=5))[1](copy)
    resumed.train(resume_from_checkpoint=str(copy))
    assert resumed.state.eval_steps == resumed.state.save_steps == 2
    assert resumed.state.global_step == reference.state.global_step
    assert [row["step"] for row in resumed.state.log_history] == [row["step"] for row in reference.state.log_history]


@pytest.mark.parametrize(
    "settings",
    [
        {"optim": "adafactor"},
        {"optim": "sgd", "optim_args": "momentum=0.9"},
        {"optim": "adagrad"},
        {"optim": "rmsprop"},
        {"lr_scheduler_type": "reduce_lr_on_plateau"},
    ],
    ids=str,
)
def test_every_optimizer_and_schedule_goes_on_exactly(make, settings):
    reference = make("reference", max_steps=8, **settings)
    shutil.rmtree(reference.run_folder, ignore_errors=True)
    reference.train()
    resumed = make("other", max_steps=8, **settings)
    shutil.rmtree(resumed.run_folder, ignore_errors=True)
    for folder in list_checkpoints(reference.run_folder)[-2:]:
        shutil.copytree(folder, resumed.run_folder / folder.name)
    resumed.train(resume_from_checkpoint=str(list_checkpoints(resumed.run_folder)[0]))
    assert_equal(resumed, reference)


@pytest.mark.parametrize("limit", [1, 2])
def test_old_checkpoints_are_deleted_and_no_folder_that_is_called_so(make, limit):
    trainer = make(f"limit-{limit}", save_total_limit=limit)
    names = ("checkpoint-4-backup", "checkpoint-9 my notes", "checkpoint-x")
    own = [trainer.run_folder / name / "mine" for name in names]
    for path in own:
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    trainer.train()
    assert all(path.read_text() == "mine" for path in own)
    kept = {path.name for path in list_checkpoints(trainer.run_folder)}
    assert f"checkpoint-{trainer.state.best_global_step}" in kept and len(kept) <= limit
    assert trainer.args.save_total_limit == limit


def test_before_the_first_step_there_is_nothing_to_save(make):
    settings = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}
    trainer, stop = interrupt(make, "early", "on_step_begin", 1, **settings)
    assert "nothing to save" in stop.message
    assert list_checkpoints(trainer.run_folder) == []


def test_a_full_disk_ends_the_run_and_leaves_the_checkpoint_before(make, whole, monkeypatch):
    trainer = make("full")
    save = trainer._save_rng_state

    def full(folder):
        if trainer.state.global_step > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(folder)

    monkeypatch.setattr(trainer, "_save_rng_state", full)
    with pytest.raises(UserError, match="checkpoint-8: cannot be written .No space left on device"):
        trainer.train()
    assert {path.name for path in trainer.run_folder.iterdir()} == {"checkpoint-4", "files.json"}
    resumed = make("full")
    resumed.train(resume_from_checkpoint=str(trainer.run_folder / "checkpoint-4"))
    assert_equal(resumed, whole())


def test_signals_are_the_callers_without_an_interruption(make):
    caught = []
    previous = signal.signal(signal.SIGTERM, lambda *args: caught.append(True))
    try:
        make("free", callback=Signal("on_step_end", 1), max_steps=2).train()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert caught == [True]
