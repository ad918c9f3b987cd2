"""The metrics of `EvaluationResult` as an `evaluate.Metric`, and the Trainer's `compute_metrics` hook."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from transformers import EvalPrediction

from rafdb_vit.evaluation.results import EvaluationResult


class ExpressionMetric(evaluate.Metric):
    """Classification metrics as flat scalars, computed without the Hub.

    `evaluate` carries no metric itself: `evaluate.load("f1")` downloads code and fails offline.

    Differences from `evaluate.Metric`: `names` are the class names in model order, `predictions` are logits, and
    nothing is written to the user's cache, which may be closed to this user.
    """

    def __init__(self, names: Sequence[str], **kwargs: Any) -> None:
        self.names = list(names)
        super().__init__(keep_in_memory=True, **kwargs)

    def _build_data_dir(self) -> str:
        """Names the folder of a metric's files without making it, which evaluate does also where it needs none.

        Seen with evaluate 0.4.6; delete when `keep_in_memory=True` makes no folder.
        """
        return ""

    def _info(self) -> evaluate.MetricInfo:
        features = {
            "predictions": datasets.List(datasets.Value("float32")),
            "references": datasets.Value("int64"),
        }
        return evaluate.MetricInfo(
            description="Loss, accuracy, macro and weighted averages, and each class's precision, recall and F1.",
            citation="",
            inputs_description="predictions: [N, C] logits; references: [N] label ids",
            features=datasets.Features(features),
        )

    def _compute(self, *, predictions: Any, references: Any) -> dict[str, float]:
        result = EvaluationResult.from_logits(np.asarray(predictions), np.asarray(references), self.names)
        return result.flat()


def build_compute_metrics(names: Sequence[str]) -> Callable[[EvalPrediction], dict[str, float]]:
    """Builds the hook that gives the Trainer `eval_macro_f1`, `eval_f1_fear` and so on.

    Its `loss` replaces the Trainer's, which averages over batches and over the padding of several processes, and would
    include label smoothing.

    Args:
        names: Class names in model order.
    """
    metric = ExpressionMetric(names)

    def compute_metrics(prediction: EvalPrediction) -> dict[str, float]:
        """Returns the metrics of one evaluation; of logits that are not finite, none is a number."""
        metrics = metric.compute(predictions=prediction.predictions, references=prediction.label_ids)
        is_finite = bool(np.isfinite(prediction.predictions).all())
        return metrics if is_finite else dict.fromkeys(metrics, math.nan)

    return compute_metrics
