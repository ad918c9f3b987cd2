"""Runs a model over a split in fp32, each face once, however many processes share the work."""

from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from rafdb_vit.results import EvaluationResult
from rafdb_vit.transforms import build_collator, build_eval_transform, with_face_transform


@torch.inference_mode()
def predict_logits(
    model: PreTrainedModel, processor: Any, dataset: Dataset, *, batch_size: int = 64, workers: int = 0
) -> np.ndarray:
    """Predicts a split, without autocast.

    Args:
        model: The model; moved to the process's device, in evaluation mode, at its own precision (float32).
        processor: Its image processor.
        dataset: Faces with an `image` column; a split of `load_rafdb`.
        batch_size: Faces at once on each process.
        workers: Data workers of each process.

    Returns:
        logits: [N, C] float32 raw scores in the order of `dataset`, on every process.
    """
    state = PartialState()
    share = np.array_split(np.arange(len(dataset)), state.num_processes)[state.process_index]
    faces = with_face_transform(dataset.select(share.tolist()), build_eval_transform(processor))
    loader: DataLoader[Any] = DataLoader(
        faces,
        batch_size=batch_size,
        num_workers=workers,
        collate_fn=build_collator(processor),
    )
    model = model.to(state.device).eval()
    logits: list[np.ndarray] = []
    for batch in tqdm(loader, desc="Scoring", leave=False, disable=not state.is_main_process):
        outputs = model(pixel_values=batch["pixel_values"].to(state.device))
        logits.append(outputs.logits.float().cpu().numpy())
    return np.concatenate(gather_object(logits))


def evaluate_model(
    model: PreTrainedModel, processor: Any, dataset: Dataset, *, batch_size: int = 64, workers: int = 0
) -> EvaluationResult:
    """Scores a model on a split with labels; see `predict_logits` for the arguments."""
    logits = predict_logits(model, processor, dataset, batch_size=batch_size, workers=workers)
    return EvaluationResult.from_logits(logits, np.asarray(dataset["label"]), dataset.features["label"].names)
