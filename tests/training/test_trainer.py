import copy
import json

import numpy as np
import pytest
import torch
from transformers import ResNetConfig, ResNetForImageClassification, ViTForImageClassification, ViTImageProcessor

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.labels import BASIC, label_maps
from rafdb_vit.model.load import load_model
from rafdb_vit.model.scratch import build_model
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.trainer import build_trainer
from tests.support.models import QUICK_TRAINING


@pytest.fixture(scope="module")
def faces(faces_dir):
    return load_rafdb(faces_dir, validation_fraction=0.3)


@pytest.fixture
def make(faces, tiny_vit, tmp_path):
    """Builds a trainer on the tiny model; `trainer` settings and training arguments by keyword."""

    def make(out="out", model=None, trainer=None, **changes):
        model = model or ViTForImageClassification.from_pretrained(tiny_vit)
        args = ExpressionTrainingArguments(output_dir=str(tmp_path / out), **{**QUICK_TRAINING, **changes})
        processor = ViTImageProcessor.from_pretrained(tiny_vit)
        built = {"train": faces["train"], "validation": faces["validation"], "layer_decay": 1.0, **(trainer or {})}
        return build_trainer(model, processor, args=args, **built)

    return make


def state(model):
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def largest_difference(first, second):
    assert first.keys() == second.keys()
    return max((first[name] - second[name]).abs().max().item() for name in first)


def plant_metric(trainer, name, values):
    """Makes evaluation report planned values of one figure, whatever the model does."""
    compute, plan = trainer.compute_metrics, iter(values)
    trainer.compute_metrics = lambda prediction: {**compute(prediction), name: next(plan)}


def test_the_best_checkpoint_is_loaded_truly_when_it_is_not_the_last(make, tmp_path):
    trainer = make(num_train_epochs=4)
    plant_metric(trainer, "macro_f1", [0.1, 0.9, 0.2, 0.3])
    trainer.train()
    assert trainer.state.best_model_checkpoint.endswith(f"checkpoint-{trainer.state.max_steps // 2}")
    best = ViTForImageClassification.from_pretrained(trainer.state.best_model_checkpoint)
    last = ViTForImageClassification.from_pretrained(str(tmp_path / "out" / f"checkpoint-{trainer.state.max_steps}"))
    assert largest_difference(state(trainer.model), state(best)) == 0
    assert largest_difference(state(best), state(last)) > 0


def test_the_loss_chooses_the_checkpoint_when_asked(make):
    trainer = make(metric_for_best_model="loss")
    plant_metric(trainer, "loss", [2.0, 1.0, 3.0])
    trainer.train()
    assert trainer.state.best_metric == 1.0
    assert trainer.state.best_global_step == trainer.state.max_steps * 2 // 3


@pytest.mark.parametrize("step", [4, 5])
def test_a_resumed_run_equals_the_uninterrupted_one(make, tmp_path, step):
    every_step = {"save_strategy": "steps", "save_steps": 1, "eval_strategy": "steps", "eval_steps": 1}
    patient = {"early_stopping_patience": None}
    whole = make("whole", trainer=patient, **every_step)
    whole.train()
    resumed = make("resumed", trainer=patient, **every_step)
    resumed.train(resume_from_checkpoint=str(tmp_path / "whole" / f"checkpoint-{step}"))
    last = [
        ViTForImageClassification.from_pretrained(str(tmp_path / run / f"checkpoint-{whole.state.global_step}"))
        for run in ("whole", "resumed")
    ]
    assert whole.state.global_step > step
    assert largest_difference(state(last[0]), state(last[1])) == 0
    assert whole.state.best_metric == resumed.state.best_metric


def test_early_stopping_counts_evaluations_without_improvement(make):
    trainer = make(num_train_epochs=10, trainer={"early_stopping_patience": 2})
    plant_metric(trainer, "macro_f1", [0.1, 0.5, 0.4, 0.3, 0.2, 0.1])
    trainer.train()
    assert trainer.state.epoch == 4
    patient = make("patient", num_train_epochs=4, trainer={"early_stopping_patience": None})
    plant_metric(patient, "macro_f1", [0.5, 0.4, 0.3, 0.2])
    patient.train()
    assert patient.state.epoch == 4


def rates(trainer):
    return [row["learning_rate"] for row in trainer.state.log_history if "learning_rate" in row]


@pytest.mark.parametrize(
    ("metric", "values", "falls"),
    [
        ("macro_f1", [0.1, 0.2, 0.3, 0.4, 0.5], False),
        ("macro_f1", [0.5, 0.4, 0.3, 0.2, 0.1], True),
        ("loss", [5.0, 4.0, 3.0, 2.0, 1.0], False),
        ("loss", [1.0, 2.0, 3.0, 4.0, 5.0], True),
    ],
)
def test_reduce_on_plateau_knows_the_direction(make, metric, values, falls):
    trainer = make(
        num_train_epochs=5,
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs={"patience": 0, "factor": 0.1},
        metric_for_best_model=metric,
    )
    plant_metric(trainer, metric, values)
    trainer.train()
    assert (trainer.optimizer.param_groups[0]["lr"] < 3e-3) == falls


def test_the_step_schedule_equals_torchs(make):
    kwargs = {"step_size": 2, "gamma": 0.1}
    trainer = make(
        num_train_epochs=5,
        lr_scheduler_type="step",
        lr_scheduler_kwargs=json.dumps(kwargs),
        warmup_steps=0,
        logging_strategy="steps",
        logging_steps=1,
        trainer={"early_stopping_patience": None},
    )
    trainer.train()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-3)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, **kwargs)
    expected = []
    for _ in range(5):
        expected += [schedule.get_last_lr()[0]] * (trainer.state.max_steps // 5)
        optimizer.step()
        schedule.step()
    assert rates(trainer) == pytest.approx(expected)


def test_warm_up_then_cosine(make):
    trainer = make(
        num_train_epochs=4,
        warmup_steps=0.25,
        logging_strategy="steps",
        logging_steps=1,
        trainer={"early_stopping_patience": None},
    )
    trainer.train()
    found, steps = rates(trainer), trainer.state.max_steps
    warm = steps // 4
    expected = [min(i / warm, 0.5 * (1 + np.cos(np.pi * max(0, i - warm) / (steps - warm)))) for i in range(steps)]
    assert found == pytest.approx([3e-3 * value for value in expected], abs=1e-9)


def test_unless_told_only_a_pretrained_model_has_layer_decay(make, tiny_vit):
    pretrained, _ = load_model(str(tiny_vit), BASIC.names)
    assert make(model=pretrained, trainer={"layer_decay": None}).layer_decay == 0.75
    random, _ = build_model("tiny", BASIC.names)
    assert make(model=random, trainer={"layer_decay": None}).layer_decay == 1.0


def test_layer_decay_reaches_the_optimizer(make):
    trainer = make(trainer={"layer_decay": 0.5}, max_steps=1, lr_scheduler_type="constant", warmup_steps=0)
    trainer.train()
    assert sorted({group["lr"] for group in trainer.optimizer.param_groups}) == pytest.approx(
        [3e-3 * 0.5**k for k in (3, 2, 1, 0)]
    )


def test_evaluation_takes_no_more_faces_at_once_than_a_batch_may_take(make, monkeypatch):
    trainer = make()
    monkeypatch.setattr("rafdb_vit.model.trial._MOST_BYTES", 3 * 10**9)
    trainer.network._bytes_per_picture = 10**9
    sizes = [len(batch["labels"]) for batch in trainer.get_eval_dataloader()]
    assert max(sizes) == 3 and sum(sizes) == len(trainer.eval_dataset)
    assert len(next(iter(trainer.get_train_dataloader()))["labels"]) == 14


def test_evaluation_logs_the_mean_loss_despite_label_smoothing(make, faces):
    trainer = make(label_smoothing_factor=0.3)
    metrics = trainer.evaluate()
    prediction = trainer.predict(trainer.eval_dataset)
    logits, labels = torch.tensor(prediction.predictions), torch.tensor(prediction.label_ids)
    assert metrics["eval_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
    assert labels.tolist() == faces["validation"]["label"]
    assert {"eval_macro_f1", "eval_accuracy", "eval_f1_fear"} <= metrics.keys()


def test_the_order_of_random_draws_outside_changes_nothing(make, tmp_path):
    first = make("a")
    first.train()
    second = make("b")
    second.train_dataset = copy.copy(second.train_dataset)
    torch.rand(5)
    second.train()
    assert largest_difference(state(first.model), state(second.model)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metric_for_best_model": "f1_joy"}, "f1_joy.*macro_f1.*f1_fear"),
        ({"remove_unused_columns": True}, "--remove_unused_columns"),
        ({"trainer": {"random_erasing": 1.5}}, "--random_erasing 1.5"),
    ],
)
def test_values_that_cannot_work_are_refused_before_training(make, changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_a_last_batch_of_one_face_is_refused_where_batch_normalization_needs_more(make, faces):
    shape = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}
    count = len(faces["train"])
    for image_size, batch_size, taken in ((8, 4, count % 4 != 1), (8, count - 1, False), (64, count - 1, True)):
        model = ResNetForImageClassification(ResNetConfig(**shape, **label_maps(BASIC.names)))
        trainer = make(model=model, per_device_train_batch_size=batch_size)
        trainer.processing_class.size = {"height": image_size, "width": image_size}
        before = state(model)
        if taken:
            trainer.check_batches()
        else:
            with pytest.raises(
                UserError,
                match=f"--per_device_train_batch_size {batch_size}: leaves a batch of a single.*--dataloader_drop_last",
            ):
                trainer.check_batches()
            trainer = make(model=model, per_device_train_batch_size=batch_size, dataloader_drop_last=True)
            trainer.processing_class.size = {"height": image_size, "width": image_size}
            trainer.check_batches()
        assert largest_difference(state(model), before) == 0


@pytest.mark.parametrize("accumulation", [1, 2])
def test_faces_that_fill_no_step_are_left_out_of_training_alone(make, faces, accumulation):
    size = 16 // accumulation
    trainer = make(
        dataloader_drop_last=True,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        per_device_eval_batch_size=8,
    )
    assert [len(batch["labels"]) for batch in trainer.get_train_dataloader()] == [size] * (48 // size)
    assert sum(len(batch["labels"]) for batch in trainer.get_eval_dataloader()) == len(faces["validation"]) == 21
    trainer.train()
    assert (trainer.steps_per_epoch(), trainer.state.global_step, trainer.state.epoch) == (3, 9, 3)


def test_a_step_of_more_faces_than_there_are_is_refused(make):
    with pytest.raises(UserError, match="--dataloader_drop_last: leaves out all 49 faces of train, .* a step takes 50"):
        make(dataloader_drop_last=True, per_device_train_batch_size=50).check_batches()
    make(per_device_train_batch_size=50).check_batches()
