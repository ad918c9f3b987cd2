"""Runs a model over a split in fp32, each face once, however many processes share the work."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from rafdb_vit.data.attributes import read_groups
from rafdb_vit.errors import UserError
from rafdb_vit.interruption import hold_signals, release_signals, shield_workers
from rafdb_vit.predictions import Predictions
from rafdb_vit.processes import gather
from rafdb_vit.results import EvaluationResult
from rafdb_vit.transforms import build_collator, build_eval_transform, with_face_transform


def predict_logits(
    model: PreTrainedModel,
    processor: Any,
    dataset: Dataset,
    *,
    batch_size: int = 64,
    workers: int = 0,
    before_batch: Callable[[], None] | None = None,
) -> np.ndarray:
    """Predicts a split, without autocast.

    Args:
        model: The model; moved to the process's device, in evaluation mode, at its own precision (float32).
        processor: Its image processor.
        dataset: Faces with an `image` column; a split of `load_rafdb`.
        batch_size: Faces at once on each process.
        workers: Data workers of each process.
        before_batch: Called before each batch, equally often on every process; may raise to end early.

    Returns:
        logits: [N, C] float32 raw scores in the order of `dataset`, on every process.
    """
    state = PartialState()
    share = np.array_split(np.arange(len(dataset)), state.num_processes)[state.process_index]
    faces = with_face_transform(dataset.select(share.tolist()), build_eval_transform(processor))
    collator = build_collator(processor)
    loader = shield_workers(DataLoader(faces, batch_size=batch_size, num_workers=workers, collate_fn=collator))
    model = model.to(state.device).eval()
    logits: list[np.ndarray] = []
    hold_signals()
    batches = iter(loader)
    release_signals()
    rounds = math.ceil(math.ceil(len(dataset) / state.num_processes) / batch_size)
    for _ in tqdm(range(rounds), desc="Scoring", leave=False, disable=not state.is_main_process):
        if before_batch is not None:
            before_batch()
        batch = next(batches, None)
        if batch is None:
            continue
        # Around the model alone: processors keep tensors for later, and those could not be trained on.
        with torch.inference_mode():
            outputs = model(pixel_values=batch["pixel_values"].to(state.device))
        logits.append(outputs.logits.float().cpu().numpy())
    return np.concatenate([part for parts in gather(logits) for part in parts])


def predict_split(model: PreTrainedModel, processor: Any, dataset: Dataset, **settings: Any) -> Predictions:
    """Predicts a split with labels, and keeps what its figures need; see `predict_logits` for the arguments.

    Groups are those of the columns `gender`, `race` and `age`, where the split has them.

    Raises:
        UserError: The model's answers are not finite; or a face cannot be read.
    """
    logits = predict_logits(model, processor, dataset, **settings)
    wrong = np.flatnonzero(~np.isfinite(logits).all(axis=1))
    if len(wrong):
        raise UserError(
            f"the model answers {len(wrong):,} of {len(dataset):,} faces with numbers that are not finite, "
            f"{dataset['file'][int(wrong[0])]} first; its weights are damaged, or its training diverged: take another"
        )
    names = dataset.features["label"].names
    return Predictions(list(dataset["file"]), np.asarray(dataset["label"]), logits, names, read_groups(dataset))


def evaluate_model(model: PreTrainedModel, processor: Any, dataset: Dataset, **settings: Any) -> EvaluationResult:
    """Scores a model on a split with labels; see `predict_logits` for the arguments and settings."""
    return predict_split(model, processor, dataset, **settings).score()
