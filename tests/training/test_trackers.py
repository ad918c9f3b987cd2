"""What trackers get, and what a run loses when they fail: nothing."""

import numpy as np
import pytest

from rafdb_vit.runtime.errors import UserError
from tests.support.trackers import install_mlflow, install_wandb


def test_wandb_gets_epochs_flags_results_of_test_and_the_picture(train, monkeypatch):
    wandb = install_wandb(monkeypatch)
    schedule = ("--lr_scheduler_type", "step", "--lr_scheduler_kwargs", '{"step_size": 1, "gamma": 0.5}')
    outcome = train("--num_train_epochs", "2", "--report_to", "wandb", *schedule)
    rows = {name: row[name] for row in wandb.rows for name in row}
    assert [row["eval/macro_f1"] for row in wandb.rows if "eval/loss" in row][-1] == rows["eval/macro_f1"]
    assert {name: rows[f"test/{name}"] for name in outcome.test.flat()} == outcome.test.flat()
    assert rows["test/confusion_matrix"]["image"] == (outcome.folder / "figures/confusion_matrix.png").read_bytes()
    assert {row["train/global_step"] for row in wandb.rows if any(name.startswith("test/") for name in row)} == {8}
    assert wandb.config["validation_fraction"] == 0.3 and wandb.config["layer_decay"] == 0.75
    assert wandb.config["lr_scheduler_type"] == "step" and wandb.config["learning_rate"] == 3e-3
    assert wandb.config["image_size"] == 32  # the model's: the flag was not given
    assert wandb.config["hub_token"] == "<HUB_TOKEN>"


def test_a_tracker_that_fails_at_the_end_costs_nothing_of_the_run(train, monkeypatch, capfd):
    mlflow = install_mlflow(monkeypatch)

    def fail(*args):
        raise OSError("no route\nto host")

    mlflow.log_artifact = fail
    outcome = train("--num_train_epochs", "1", "--report_to", "mlflow", "--disable_tqdm")
    seen = capfd.readouterr()
    assert [line for line in seen.err.splitlines() if line.startswith("Warning")] == [
        "Warning: --report_to mlflow: failed (OSError: no route to host); it gets nothing more of this run, which "
        "loses nothing else"
    ]
    assert (outcome.folder / "report.html").exists() and "Best model" in seen.out
    assert mlflow.rows[-1]["test_macro_f1"] == outcome.test.macro_f1


@pytest.fixture
def tracked(faces_dir, tiny_vit, tmp_path):
    """Builds a trainer of one epoch that reports to a tracker."""
    from transformers import ViTForImageClassification, ViTImageProcessor

    from rafdb_vit.data.dataset import load_rafdb
    from rafdb_vit.training.arguments import ExpressionTrainingArguments
    from rafdb_vit.training.trainer import build_trainer
    from tests.support.models import QUICK_TRAINING

    def build(report_to):
        faces = load_rafdb(faces_dir, validation_fraction=0.3)
        settings = {**QUICK_TRAINING, "num_train_epochs": 1, "report_to": report_to}
        args = ExpressionTrainingArguments(output_dir=str(tmp_path / "out"), **settings)
        model, processor = (kind.from_pretrained(tiny_vit) for kind in (ViTForImageClassification, ViTImageProcessor))
        return build_trainer(model, processor, args=args, train=faces["train"], validation=faces["validation"])

    return build


def test_mlflow_gets_all_in_one_run_which_ends_with_the_block(tracked, monkeypatch, tmp_path):
    from rafdb_vit.evaluation.results import EvaluationResult

    mlflow, picture = install_mlflow(monkeypatch), tmp_path / "matrix.png"
    trainer, result = (
        tracked(["mlflow"]),
        EvaluationResult.from_confusion(np.array([[3, 1], [0, 4]]), ["A", "B"], loss=0.5),
    )
    with trainer.trackers.reporting_run({"random_erasing": 0.25, "group_column": None}):
        trainer.train()
        assert mlflow.runs == ["open"]
        trainer.trackers.report_test(result, picture)
    assert mlflow.runs == ["ended"]
    assert mlflow.params["random_erasing"] == 0.25 and "group_column" not in mlflow.params
    assert (mlflow.rows[-1]["test_accuracy"], mlflow.rows[-1]["step"]) == (7 / 8, 4)
    assert mlflow.artifacts == [(str(picture), "test")]


def test_a_trainer_alone_closes_its_trackers_and_goes_on_without_one_that_fails(tracked, monkeypatch, capfd):
    mlflow = install_mlflow(monkeypatch)
    tracked(["mlflow"]).train()
    assert mlflow.runs == ["ended"] and any("eval_macro_f1" in row for row in mlflow.rows)
    mlflow.log_metrics = lambda **words: 1 / 0
    trainer = tracked(["mlflow"])
    trainer.train()
    assert trainer.state.global_step == 4
    assert capfd.readouterr().err.count("--report_to mlflow: failed (ZeroDivisionError") == 1


def test_a_tracker_that_cannot_be_started_ends_the_run_before_training(train, monkeypatch, tmp_path):
    mlflow = install_mlflow(monkeypatch)
    mlflow.start_run = lambda **words: 1 / 0
    with pytest.raises(UserError, match=r"^--report_to mlflow: cannot be started \(ZeroDivisionError"):
        train("--report_to", "mlflow")
    assert not list((tmp_path / "run").glob("checkpoint-*"))


def test_tensorboard_gets_the_picture(tracked, tmp_path):
    pytest.importorskip("tensorboard")
    from PIL import Image
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from rafdb_vit.evaluation.results import EvaluationResult

    Image.new("RGB", (9, 7)).save(picture := tmp_path / "matrix.png")
    trainer = tracked(["tensorboard"])
    with trainer.trackers.reporting_run({"random_erasing": 0.25}):
        trainer.train()
        trainer.trackers.report_test(
            EvaluationResult.from_confusion(np.array([[3, 1], [0, 4]]), ["A", "B"], loss=0.5), picture
        )
    events = EventAccumulator(str(next((tmp_path / "out" / "runs").iterdir())))
    events.Reload()
    (image,) = events.Images("test/confusion_matrix")
    assert (image.width, image.height, image.step) == (9, 7, 4)
    assert events.Scalars("test/accuracy")[0].value == 7 / 8
    (settings,) = events.Tensors("args/text_summary")
    assert b'"random_erasing": 0.25' in settings.tensor_proto.string_val[0]
