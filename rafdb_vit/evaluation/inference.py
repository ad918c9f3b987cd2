"""Runs a model in fp32: over a split, each face once, however many processes share the work, or over picture files."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from rafdb_vit.evaluation.image_predictions import ImagePrediction, find_fault
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.model.load import Classifier
from rafdb_vit.model.preprocessing import build_collator, build_eval_transform, with_face_transform
from rafdb_vit.model.trial import fit_batch
from rafdb_vit.runtime.bars import show_progress
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import EVAL_BATCH_SIZE, pick_device
from rafdb_vit.runtime.processes import gather
from rafdb_vit.runtime.signals import hold_signals, release_signals, shield_workers

if TYPE_CHECKING:  # a picture is read without them
    from datasets import Dataset
    from transformers import PreTrainedModel

_CPU_ALLOCATOR = "DefaultCPUAllocator"


def predict_logits(
    model: "PreTrainedModel",
    processor: Any,
    dataset: "Dataset",
    *,
    batch_size: int = EVAL_BATCH_SIZE,
    workers: int = 0,
    before_batch: Callable[[], None] | None = None,
) -> np.ndarray:
    """Predicts a split, without autocast.

    Args:
        model: It is moved to the process's device and set to evaluation mode; its precision stays (float32).
        processor: Its image processor.
        dataset: Faces with an `image` column; a split of `load_rafdb`.
        batch_size: Faces at once on each process; fewer where those would take more than 4 GB.
        workers: Data workers of each process.
        before_batch: Called before each batch, equally often on every process; may raise to end early.

    Returns:
        logits: [N, C] float32 raw scores in the order of `dataset`, on every process.

    Raises:
        UserError: Memory does not hold a batch.
    """
    from accelerate import PartialState

    state = PartialState()
    share = np.array_split(np.arange(len(dataset)), state.num_processes)[state.process_index]
    faces = with_face_transform(dataset.select(share.tolist()), build_eval_transform(processor))
    collator, asked = build_collator(processor), batch_size
    batch_size = fit_batch(batch_size, model, processor)
    loader = shield_workers(DataLoader(faces, batch_size=batch_size, num_workers=workers, collate_fn=collator))
    model, logits = model.to(state.device).eval(), list[np.ndarray]()
    hold_signals()
    batches = iter(loader)
    release_signals()
    rounds = math.ceil(math.ceil(len(dataset) / state.num_processes) / batch_size)
    for _ in show_progress(range(rounds), "Scoring", quiet=not state.is_main_process):
        if before_batch is not None:
            before_batch()
        with _naming_lack_of_memory(f"--per_device_eval_batch_size {asked}"):
            if batch := next(batches, None):
                logits.append(_compute_logits(model, batch["pixel_values"].to(state.device)))
    return np.concatenate([part for parts in gather(logits) for part in parts])


def _compute_logits(model: "PreTrainedModel", pixels: torch.Tensor) -> np.ndarray:
    # Around the model alone: processors keep tensors for later, and those could not be trained on.
    with torch.inference_mode():
        return model(pixel_values=pixels).logits.float().cpu().numpy()


@contextmanager
def _naming_lack_of_memory(flag: str) -> Iterator[None]:
    """Turns what torch raises where memory is short into one line; `flag` is what chose how much is needed.

    Raises:
        UserError: It is.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        # On a CPU torch raises a plain RuntimeError; any other of these is a bug.
        is_lack = isinstance(error, (MemoryError, torch.OutOfMemoryError)) or _CPU_ALLOCATOR in str(error)
        if not is_lack:
            raise
        raise UserError(f"{flag}: memory does not hold so many pictures at once; take fewer") from error


def predict_split(model: "PreTrainedModel", processor: Any, dataset: "Dataset", **settings: Any) -> Predictions:
    """Predicts a split with labels, and keeps what its metrics need; see `predict_logits` for the arguments.

    Groups are those of the columns `gender`, `race` and `age`, where the split has them.

    Raises:
        UserError: The model's scores are not finite, or a face cannot be read.
    """
    from rafdb_vit.data.attributes import read_groups

    logits = predict_logits(model, processor, dataset, **settings)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(wrong):
        raise UserError(
            f"the model answers {len(wrong):,} of {len(dataset):,} faces with numbers that are not finite, "
            f"{dataset['file'][int(wrong[0])]} first; its weights are damaged, or its training diverged: take another"
        )
    names = dataset.features["label"].names
    return Predictions(list(dataset["file"]), np.asarray(dataset["label"]), logits, names, read_groups(dataset))


def evaluate_model(model: "PreTrainedModel", processor: Any, dataset: "Dataset", **settings: Any) -> EvaluationResult:
    """Scores a model on a split with labels; see `predict_logits` for the arguments and settings."""
    return predict_split(model, processor, dataset, **settings).score()


def predict_images(
    classifier: Classifier, files: Iterable[str], *, device: str | None = None, batch_size: int = 32
) -> Iterator[ImagePrediction]:
    """Predicts the expression in pictures of one cropped face each, in fp32.

    A file that cannot be read does not keep the others from it.

    Args:
        classifier: From `load_classifier`; its model is moved to the device.
        files: Paths of the pictures.
        device: Where to compute; None for a GPU where there is one.
        batch_size: Pictures at once; fewer where those would take more than 4 GB.

    Yields:
        A prediction for each file, in their order.

    Raises:
        UserError: Memory does not hold a batch.
    """
    from scipy.special import softmax

    device = device or pick_device(use_cpu=False)
    model, names = classifier.model.to(device).eval(), classifier.names  # type: ignore[arg-type]
    transform, collate = build_eval_transform(classifier.processor), build_collator(classifier.processor)
    remaining = iter(files)
    at_once = fit_batch(batch_size, classifier.model, classifier.processor)
    while batch := list(islice(remaining, at_once)):
        rows = [_prepare(file, transform) for file in batch]
        answers: Iterator[np.ndarray] = iter(())
        if whole := [row for row in rows if not isinstance(row, str)]:
            with _naming_lack_of_memory(f"--batch_size {batch_size}"):
                logits = _compute_logits(model, collate(whole)["pixel_values"].to(device))
            answers = iter(softmax(logits.astype(np.float64), axis=-1))
        for file, row in zip(batch, rows, strict=True):
            if isinstance(row, str):
                yield ImagePrediction(file, error=row)
            elif not np.isfinite(shares := next(answers)).all():
                yield ImagePrediction(file, error=f"{file}: the model's answer is not finite; its weights are damaged")
            else:
                order = np.argsort(-shares, kind="stable")
                yield ImagePrediction(file, {names[label]: float(shares[label]) for label in order})


def _prepare(file: str, transform: Callable[..., dict[str, Any]]) -> dict[str, Any] | str:
    """Returns a picture in the model's size, or why it cannot be read; the picture itself is not kept."""
    if fault := find_fault(file):
        return fault
    try:
        rows = transform({"image": [{"path": file, "bytes": None}], "file": [file]})
        return {column: values[0] for column, values in rows.items()}
    except UserError as error:
        return error.line
