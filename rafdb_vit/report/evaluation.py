"""An evaluation: what a model answers to a split, its figures, and how they came about."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datasets import Dataset

from rafdb_vit.data.found import FoundData
from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE, Predictions
from rafdb_vit.evaluation.protocol import DataProtocol, EvaluationProtocol, Protocol
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.wording import tabulate_evaluation, tabulate_protocol

EVALUATIONS = "evaluations"
"""Folder of evaluations, in a run folder or where one stands."""
EVALUATION_FILE = "evaluation.json"
REPORT_FILE = "report.html"
EVALUATION_FILES = tuple(
    f"{name}{end}" for name in (EVALUATION_FILE, PREDICTIONS_FILE, REPORT_FILE) for end in ("", ".partial")
)


@dataclass(frozen=True)
class Evaluation:
    """What the page shows.

    Attributes:
        model: What the model is called.
        split: The split that was scored.
        data: Which data it was; its `used` holds the splits that are shown.
        trained_here: The run that made the model is known.
        training_counts: Faces per class by split that the model was trained with, where they are not in `data`.
        predictions: What the model answers.
        result: The figures of that.
        faces: The split itself, of which some faces are shown.
        details: Tables of how the figures came about: title, then name and value.
        history: The Trainer's log, if the model was trained here.
        chosen_epoch: Epoch of the checkpoint that was kept.
        without_groups: Why there are no figures by group though the data has groups; None otherwise.
    """

    model: str
    split: str
    data: DataProtocol
    trained_here: bool
    predictions: Predictions
    result: EvaluationResult
    faces: Dataset
    details: Mapping[str, Mapping[str, Any]]
    history: Sequence[Mapping[str, Any]] = field(default_factory=tuple)
    chosen_epoch: float | None = None
    training_counts: Mapping[str, Mapping[str, int]] | None = None
    without_groups: str | None = None

    @classmethod
    def of_run(
        cls,
        run: Path,
        data: FoundData[Dataset],
        predictions: Predictions,
        result: EvaluationResult,
        *,
        protocol: Protocol,
    ) -> "Evaluation":
        """Returns the evaluation at the end of training.

        Args:
            run: The run folder.
            data: Its data.
            predictions: What the saved model answers to test.
            result: The metrics of that.
            protocol: How they came about.
        """
        return cls(
            model=run.resolve().name,
            split="test",
            data=protocol.data,
            trained_here=True,
            predictions=predictions,
            result=result,
            faces=data.splits["test"],
            details=tabulate_protocol(protocol),
            history=protocol.history,
            chosen_epoch=protocol.checkpoint.epoch,
            without_groups=data.without_groups,
        )

    @classmethod
    def of_model(
        cls,
        model: str,
        data: FoundData[Dataset],
        predictions: Predictions,
        result: EvaluationResult,
        *,
        split: str,
        protocol: EvaluationProtocol,
        trained: Protocol | None = None,
    ) -> "Evaluation":
        """Returns an evaluation of a model that may have been trained elsewhere.

        Args:
            model: What it is called.
            data: The data.
            predictions: What the model answers.
            result: The metrics of that.
            split: The split that was scored.
            protocol: How they came about.
            trained: The protocol of the run that it comes from; None if that is not known.
        """
        own = tabulate_protocol(trained) if trained else {}
        used, is_sample = {split: protocol.data.used[split]}, _is_sample(protocol.data, split)
        return cls(
            model=model,
            split=split,
            data=replace(protocol.data, used=used, subsampled=is_sample),
            trained_here=trained is not None,
            training_counts=trained.data.used if trained else None,
            predictions=predictions,
            result=result,
            faces=data.splits[split],
            details={**tabulate_evaluation(protocol), **{f"Training run: {title}": own[title] for title in own}},
            history=trained.history if trained else (),
            chosen_epoch=trained.checkpoint.epoch if trained else None,
            without_groups=data.without_groups,
        )


def _is_sample(data: DataProtocol, split: str) -> bool:
    if split == "train":
        return False
    return data.used[split] != data.found[split] if split in data.found else data.subsampled
