"""An evaluation: the predictions of a model on a split, their metrics, and how these came about."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rafdb_vit.data.found import FoundData
from rafdb_vit.evaluation.overlap import Overlap
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.protocol import DataProtocol, EvaluationProtocol, Protocol, SplitProtocol
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.provenance import Provenance
from rafdb_vit.report.wording import tabulate_evaluation, tabulate_protocol

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class Evaluation:
    """What the page shows.

    Attributes:
        model: What the model is called.
        split: The split that was scored.
        data: Which data it was; its `used` holds the splits that are shown.
        predictions: Those of the model on the split.
        result: The metrics of the predictions.
        faces: The split, of which some faces are shown.
        details: Tables of how the metrics came about: title, then name and value.
        trained: The protocol of the run that the model comes from; None if that is not known.
        training_counts: Faces per class by split that the model was trained with, where they are not in `data`.
        test_split: How test came about, where that is what was scored and it is known.
        without_groups: Why there are no metrics by group though the data has groups; None otherwise.
        overlap: Which of the faces training has seen; None where that is not known.
        provenance: When the page was made, and how; None if that is not known.
    """

    model: str
    split: str
    data: DataProtocol
    predictions: Predictions
    result: EvaluationResult
    faces: "Dataset"
    details: Mapping[str, Mapping[str, Any]]
    trained: Protocol | None = None
    training_counts: Mapping[str, Mapping[str, int]] | None = None
    test_split: SplitProtocol | None = None
    without_groups: str | None = None
    overlap: Overlap | None = None
    provenance: Provenance | None = None

    @classmethod
    def of_run(
        cls,
        run: Path,
        data: "FoundData[Dataset]",
        predictions: Predictions,
        result: EvaluationResult,
        *,
        protocol: Protocol,
        overlap: Overlap | None = None,
        provenance: Provenance | None = None,
    ) -> "Evaluation":
        """Returns the evaluation at the end of training, of the saved model on test."""
        return cls(
            model=run.resolve().name,
            split="test",
            data=protocol.data,
            predictions=predictions,
            result=result,
            faces=data.splits["test"],
            details=tabulate_protocol(protocol),
            trained=protocol,
            test_split=protocol.test_split,
            without_groups=data.without_groups,
            overlap=overlap,
            provenance=provenance,
        )

    @classmethod
    def of_model(
        cls,
        model: str,
        data: "FoundData[Dataset]",
        predictions: Predictions,
        result: EvaluationResult,
        *,
        split: str,
        protocol: EvaluationProtocol,
        trained: Protocol | None = None,
        overlap: Overlap | None = None,
        provenance: Provenance | None = None,
    ) -> "Evaluation":
        """Returns an evaluation of a model that may have been trained elsewhere; see the class for the arguments."""
        run_tables = tabulate_protocol(trained) if trained else {}
        used, is_sample = {split: protocol.data.used[split]}, _is_sample(protocol.data, split)
        return cls(
            model=model,
            split=split,
            data=replace(protocol.data, used=used, subsampled=is_sample),
            predictions=predictions,
            result=result,
            faces=data.splits[split],
            details=tabulate_evaluation(protocol) | {f"Training run: {name}": run_tables[name] for name in run_tables},
            trained=trained,
            training_counts=trained.data.used if trained else None,
            test_split=protocol.test_split,
            without_groups=data.without_groups,
            overlap=overlap,
            provenance=provenance,
        )

    @property
    def is_of_run(self) -> bool:
        """Whether it is the one that a run ends with; else `evaluate` made it."""
        return self.trained is not None and self.training_counts is None


def _is_sample(data: DataProtocol, split: str) -> bool:
    """Tells whether the scored split was drawn from; of train, part may just have become validation."""
    if split == "train":
        return False
    return data.used[split] != data.found[split] if split in data.found else data.subsampled
