"""The metrics of an evaluation, and the one place that knows `results.json`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from rafdb_vit.data.found import ATTRIBUTES, MOST_GROUPS
from rafdb_vit.evaluation.groups import Confusions, find_wrong_group, score_groups
from rafdb_vit.evaluation.intervals import describe_intervals, describe_method
from rafdb_vit.evaluation.metrics import (
    AVERAGE_RATES,
    BINS,
    CLASS_METRICS,
    compute_rates,
    count_confusions,
    is_wrong,
    name_rates,
)
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.reading import check_entries, check_keys, check_matrix, check_names, check_type
from rafdb_vit.runtime.disk import check_inside, parse_json, read_text, write_whole
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.text_width import measure_width, pad_left

RESULTS_FILE = "results.json"
AVERAGES = ("loss", *AVERAGE_RATES)
_CLASS_ROW: Mapping[str, type] = {**dict.fromkeys(CLASS_METRICS, float), "support": int}
_BIN: Mapping[str, type] = {"from": float, "to": float, "n": int, "confidence": float, "accuracy": float}
_MOST_BYTES = 256 * 2**20
"""Of `results.json`: confusion matrices of 500 classes for each group of people take more than half of that."""
_MOST_LISTS, _MOST_VALUES = 1_000_000, 20_000_000
"""Of `results.json`; a few bytes of it can else become a hundred in memory."""


def flat_name(metric: str, class_name: str) -> str:
    """Returns the name under which a metric of a class is logged, such as `f1_fear`."""
    return f"{metric}_{class_name.lower().replace(' ', '_')}"


@dataclass(frozen=True)
class EvaluationResult:
    """The metrics of one model on one split.

    Macro averages are means over all classes of the label set, an absent class counting 0 (`zero_division=0`);
    weighted averages are weighted by support.

    Attributes:
        n: Number of faces.
        loss: Mean cross-entropy of the logits, in nats.
        accuracy: Share of faces whose most probable class is the labelled one, in [0, 1], as all rates here.
        macro_recall: Also called mean class accuracy or balanced accuracy.
        macro_f1: Mean of the classes' F1.
        weighted_recall: Equals the accuracy.
        per_class: `precision`, `recall`, `f1` and `support` (number of faces) by class name, in model order.
        confusion_matrix: Counts; rows are the labelled classes, columns the predicted ones, in model order.
        calibration: From `rafdb_vit.evaluation.metrics.measure_calibration`; None where probabilities are not known.
        group_confusions: From `rafdb_vit.evaluation.groups.count_groups`; None where the data names no groups.
    """

    n: int
    loss: float
    accuracy: float
    macro_precision: float
    macro_recall: float
    macro_f1: float
    weighted_precision: float
    weighted_recall: float
    weighted_f1: float
    per_class: dict[str, dict[str, float | int]]
    confusion_matrix: list[list[int]]
    calibration: dict[str, Any] | None = None
    group_confusions: Confusions | None = None

    @classmethod
    def from_logits(cls, logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> "EvaluationResult":
        """Computes the metrics, those of calibration and of groups aside.

        Args:
            logits: [N, C] raw scores.
            labels: [N] label ids in [0, C).
            names: The C class names in model order.
        """
        from scipy.special import log_softmax

        log_probabilities = log_softmax(logits.astype(np.float64), axis=-1)
        loss = float(-log_probabilities[np.arange(len(labels)), labels].mean())
        return cls.from_predictions(labels, logits.argmax(axis=-1), names, loss=loss)

    @classmethod
    def from_predictions(
        cls, labels: np.ndarray, predicted: np.ndarray, names: Sequence[str], *, loss: float
    ) -> "EvaluationResult":
        """Computes the metrics from [N] label ids and [N] predicted ids; see `from_confusion` for the rest."""
        return cls.from_confusion(count_confusions(labels, predicted, len(names)), names, loss=loss)

    @classmethod
    def from_confusion(cls, confusion: np.ndarray, names: Sequence[str], *, loss: float) -> "EvaluationResult":
        """Computes the metrics from a confusion matrix.

        Args:
            confusion: [C, C] counts; rows are the labelled classes.
            names: The C class names in model order.
            loss: Mean cross-entropy, which does not follow from predicted classes.
        """
        rates = name_rates(compute_rates(confusion).tolist(), names)
        supports = dict(zip(names, confusion.sum(axis=1).tolist(), strict=True))
        rates["per_class"] = {name: {**row, "support": supports[name]} for name, row in rates["per_class"].items()}
        return cls(n=int(confusion.sum()), loss=loss, confusion_matrix=confusion.tolist(), **rates)

    def find_contradiction(self) -> str | None:
        """Returns the name of a metric that contradicts the confusion matrix; None if none does.

        Loss and Brier score do not follow from it.
        """
        expected = self.from_confusion(np.asarray(self.confusion_matrix), list(self.per_class), loss=self.loss)
        ours, theirs = ({"n": result.n, **result.flat(), **result.supports} for result in (self, expected))
        wrong = next((name for name, value in theirs.items() if not np.isclose(ours[name], value, atol=1e-9)), None)
        if wrong is None and self.calibration and is_wrong(self.calibration, n=self.n, accuracy=self.accuracy):
            wrong = "calibration"
        return wrong or find_wrong_group(self.group_confusions or {}, self.confusion_matrix)

    @cached_property
    def intervals(self) -> dict[str, Any]:
        """95% bootstrap intervals of every metric, from the confusion matrix; see `rafdb_vit.evaluation.intervals`."""
        return describe_intervals(self.confusion_matrix, list(self.per_class))

    @cached_property
    def groups(self) -> dict[str, Any] | None:
        """Metrics of groups, from `rafdb_vit.evaluation.groups.score_groups`; None where the data names no groups."""
        return None if self.group_confusions is None else score_groups(self.group_confusions)

    def describe(self) -> dict[str, Any]:
        """Returns the metrics as they stand in `results.json`, those of groups and intervals among them."""
        described = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "group_confusions"}
        return {**described, "groups": self.groups, "intervals": self.intervals}

    @classmethod
    def from_description(cls, content: Any, where: str = "it") -> "EvaluationResult":
        """Returns the metrics that `describe` wrote; intervals and metrics of groups are computed anew when asked for.

        Args:
            content: What stands in the file.
            where: Where it stands, for errors.

        Raises:
            ValueError: A metric is missing, or is none; the message says which.
        """
        check_keys(content, ["n", *AVERAGES, "per_class", "confusion_matrix"], where)
        check_type(content["n"], int, f"{where}.n")
        for name in AVERAGES:
            check_type(content[name], float, f"{where}.{name}")
        check_names(content["per_class"], f"{where}.per_class")
        per_class = {
            name: _read_row(row, _CLASS_ROW, f"{where}.per_class.{name:.80}")
            for name, row in content["per_class"].items()
        }
        check_matrix(content["confusion_matrix"], len(per_class), f"{where}.confusion_matrix")
        return cls(
            **{name: content[name] for name in ("n", *AVERAGES, "confusion_matrix")},
            per_class=per_class,
            calibration=_read_calibration(content.get("calibration"), f"{where}.calibration"),
            group_confusions=_read_groups(content.get("groups"), len(per_class), f"{where}.groups"),
        )

    @property
    def interval_method(self) -> str:
        """How the intervals are computed, in words."""
        return describe_method(int(np.count_nonzero(self.confusion_matrix)))

    @property
    def supports(self) -> dict[str, int]:
        """Number of faces by class name."""
        return {name: int(values["support"]) for name, values in self.per_class.items()}

    @property
    def weakest(self) -> list[str]:
        """The classes with faces that the model tells worst, the worst first; empty if it tells all alike.

        Those that it never gets right; else those with the lowest or second lowest F1, but never all.
        """
        known = {name: row["f1"] for name, row in self.per_class.items() if row["support"]}
        ordered = sorted(known, key=lambda name: known[name])
        bounds = [0] if 0 in known.values() else [known[name] for name in reversed(ordered[:2])]
        groups = ([name for name in ordered if known[name] <= bound] for bound in bounds)
        return next((group for group in groups if len(group) < len(known)), [])

    def flat(self) -> dict[str, float]:
        """Returns the metrics as flat scalars (`macro_f1`, `f1_fear`, ...), the form that experiment trackers log."""
        averages = {name: getattr(self, name) for name in AVERAGES}
        rows = self.per_class.items()
        return averages | {flat_name(key, name): float(row[key]) for name, row in rows for key in CLASS_METRICS}

    def render_report(self) -> str:
        """Renders the classification report: each class, accuracy, averages; F1 and accuracy with their intervals."""
        ends, by_class, n = self.intervals, self.intervals["per_class"], str(self.n)
        names = [escape(name) for name in self.per_class]
        rows = [["", "precision", "recall", "f1-score", "95% interval", "support"], []]
        for shown, (name, row) in zip(names, self.per_class.items(), strict=True):
            rates = [f"{row[metric]:.4f}" for metric in CLASS_METRICS]
            rows.append([shown, *rates, _render_ends(by_class[name]["f1"]), f"{row['support']}"])
        rows += [[], ["accuracy", "", "", f"{self.accuracy:.4f}", _render_ends(ends["accuracy"]), n]]
        for average in ("macro", "weighted"):
            rates = [f"{getattr(self, f'{average}_{metric}'):.4f}" for metric in CLASS_METRICS]
            rows.append([f"{average} avg", *rates, _render_ends(ends[f"{average}_f1"]), n])
        widths = (max(map(measure_width, [*names, "weighted avg"])), 10, 10, 10, 15, 10)
        return "\n".join(" ".join(pad_left(cell, w) for cell, w in zip(row, widths, strict=False)) for row in rows)


def _render_ends(ends: Sequence[float] | None) -> str:
    return f"{ends[0]:.4f}-{ends[1]:.4f}" if ends else "unknown"


def _read_row(row: Any, kinds: Mapping[str, type], where: str) -> dict[str, Any]:
    """Returns the values of a row that are known here."""
    check_keys(row, list(kinds), where)
    for name, kind in kinds.items():
        check_type(row[name], kind, f"{where}.{name}")
    return {name: row[name] for name in kinds}


def _read_calibration(content: Any, where: str) -> dict[str, Any] | None:
    if content is None:
        return None
    errors = _read_row(content, {"expected_calibration_error": float, "brier_score": float}, where)
    check_entries(content.get("bins"), list, f"{where}.bins")
    bins = [_read_row(row, _BIN, f"{where}.bins[{i}]") for i, row in enumerate(content["bins"][: BINS + 1])]
    return {**errors, "bins": bins}


def _read_groups(content: Any, classes: int, where: str) -> Confusions | None:
    """Returns the confusion matrices of groups, from which all else about them follows."""
    if content is None:
        return None
    check_names(content, where, known=ATTRIBUTES)
    counted: dict[str, dict[str, list[list[int]]]] = {}
    for attribute, own in content.items():
        check_keys(own, ("groups",), f"{where}.{attribute}")
        check_names(own["groups"], f"{where}.{attribute}.groups", most=MOST_GROUPS)
        counted[attribute] = {}
        for name, row in own["groups"].items():
            place = f"{where}.{attribute}.{name:.80}"
            check_keys(row, ("confusion_matrix",), place)
            check_matrix(row["confusion_matrix"], classes, f"{place}.confusion_matrix")
            counted[attribute][name] = row["confusion_matrix"]
    return counted


def render_results(*, validation: EvaluationResult, test: EvaluationResult, protocol: Protocol) -> str:
    """Renders the content of `results.json`.

    Args:
        validation: Metrics of the chosen checkpoint on validation.
        test: Its metrics on test, scored once.
        protocol: How they came about.
    """
    content = {"validation": validation.describe(), "test": test.describe(), "protocol": protocol.describe()}
    return f"{json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)}\n"


def write_results(folder: str | Path, **content: Any) -> Path:
    """Writes `results.json` into a folder, whole or not at all; see `render_results` for the content."""
    return write_whole(Path(folder) / RESULTS_FILE, render_results(**content))


def read_results(folder: str | Path) -> tuple[EvaluationResult, EvaluationResult, Protocol]:
    """Reads `results.json` from a run folder.

    Returns:
        The validation metrics, the test metrics and the protocol.

    Raises:
        UserError: The folder has no `results.json`, or not one of this form; or a metric in it was changed.
    """
    path = Path(folder) / RESULTS_FILE
    check_inside(Path(folder), path)
    try:
        content = _parse(read_text(path, most=_MOST_BYTES))
        check_keys(content, ("validation", "test", "protocol"), "the file")
        results = {split: EvaluationResult.from_description(content[split], split) for split in ("validation", "test")}
        protocol = Protocol.read(content["protocol"])
        _check_classes(results, protocol)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; expected the folder of a finished training run") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise UserError(f"{path}: not the results of a training run ({error}); train again to write it") from error
    if fault := _find_change(results, protocol):
        raise UserError(f"{path}: {fault}; it was changed after the run: train again, or restore the file")
    return results["validation"], results["test"], protocol


def _parse(text: str) -> Any:
    """Parses `results.json`; raises ValueError where it is none, or would take much more memory than any has."""
    for sign, most in (("[", _MOST_LISTS), ("{", _MOST_LISTS), (",", _MOST_VALUES)):
        if text.count(sign) > most:
            raise ValueError(f"it holds more values than any results, {text.count(sign):,} times a {sign!r}")
    return parse_json(text)


def _check_classes(results: Mapping[str, EvaluationResult], protocol: Protocol) -> None:
    """Checks that results and data are of the same classes."""
    for split, result in results.items():
        for own in ("train", split):
            if missing := [name for name in result.per_class if name not in protocol.data.used[own]]:
                raise ValueError(f"protocol.data.used.{own} lacks the class {missing[0]!r:.80} of {split}")


def _find_change(results: Mapping[str, EvaluationResult], protocol: Protocol) -> str | None:
    """Returns what contradicts something else in the same file; None if all agrees."""
    for split, result in results.items():
        if name := result.find_contradiction():
            return f"{name} of {split} is not what its confusion matrix gives"
    name = protocol.data.name
    return f"the data is called {name}, and its counts are not those of {name}" if protocol.data.is_misnamed else None
