"""The page of an evaluation: how good a model is, for whom, and how sure that is."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import Dataset
from jinja2 import Environment, StrictUndefined

from rafdb_vit.data.found import FoundData
from rafdb_vit.data.names import DRAWN
from rafdb_vit.evaluation.baselines import REPORT_OF_2023, is_official_test, score_majority
from rafdb_vit.evaluation.groups import FEW
from rafdb_vit.evaluation.intervals import METHOD
from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE, Predictions
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.report.charts import (
    MOST_CLASSES,
    draw_class_metrics,
    draw_history,
    draw_precision_recall,
    draw_reliability,
)
from rafdb_vit.report.evaluation import EVALUATION_FILE, REPORT_FILE, Evaluation
from rafdb_vit.report.mistakes import embed_faces, find_confusions, find_mistakes
from rafdb_vit.report.wording import (
    SPLIT_WARNINGS,
    describe_absent,
    describe_calibration,
    describe_weakest,
    render_count,
    render_interval,
    render_name,
    render_plain,
    render_share,
)
from rafdb_vit.runtime.disk import naming_disk_errors, write_whole
from rafdb_vit.runtime.errors import Interrupted, UserError, escape
from rafdb_vit.runtime.launch import render_command

_TEMPLATE = Path(__file__).with_name("page.html")
_MOST_ERRORS = 15
_MOST_CLASSES = 12
"""Tables of more columns do not fit a page."""
_LONG_WORD = 9
"""Letters; heads of columns with longer words stand upright."""


def render_page(evaluation: Evaluation) -> str:
    """Renders the page: one HTML file with everything in it."""
    environment = Environment(undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(interval=render_interval, plain=render_plain, count=render_count, words=render_name)
    result, data, predictions = evaluation.result, evaluation.data, evaluation.predictions
    majority, baseline = score_majority(result)
    calibration, groups = result.calibration or {}, result.groups or {}
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8")).render(
        evaluation=evaluation,
        result=result,
        data=data,
        names=list(result.per_class),
        warnings=_find_warnings(evaluation),
        majority={"name": majority, "result": baseline},
        report=REPORT_OF_2023 if is_official_test(data, evaluation.split) else None,
        sentences=[describe_weakest(result, few=FEW), describe_absent(result)],
        class_chart=draw_class_metrics(result),
        curves={name: draw_precision_recall(predictions, label) for label, name in enumerate(predictions.names)},
        calibration=calibration,
        reliability_chart=draw_reliability(calibration),
        verdict=describe_calibration(calibration),
        matrix=_describe_matrix(result),
        gaps=_describe_gaps(groups),
        unknown=_lacks_interval(result),
        any_few=any(row["few"] for content in groups.values() for row in content["groups"].values()),
        few=FEW,
        most_drawn=MOST_CLASSES,
        method=METHOD,
        history_charts=_draw_history(evaluation.trained),
        **_show_mistakes(evaluation),
    )


def _find_warnings(evaluation: Evaluation) -> list[str]:
    warnings = []
    if evaluation.data.name == DRAWN:
        drawn = "These faces are drawn. The metrics say nothing about real faces"
        warnings.append(f"{drawn}; they show that the way from data to metrics works.")
    if evaluation.data.subsampled:
        warnings.append("A trial on a sample of the data: not to be quoted.")
    if warning := SPLIT_WARNINGS.get((evaluation.split, evaluation.trained is not None)):
        warnings.append(warning)
    return warnings


def _draw_history(trained: Protocol | None) -> list[str]:
    if trained is None or not trained.history:
        return []
    return draw_history(trained.history, chosen_epoch=trained.checkpoint.epoch or 0.0)


def _show_mistakes(evaluation: Evaluation) -> dict[str, Any]:
    mistakes = find_mistakes(evaluation.predictions)
    confusions = find_confusions(evaluation.predictions, mistakes)
    shown = mistakes[:_MOST_ERRORS]
    rows = [mistake.row for mistake in shown + [face for pair in confusions for face in pair.examples]]
    return {
        "mistakes": len(mistakes),
        "surest": shown,
        "confusions": confusions,
        "pictures": embed_faces(evaluation.faces, rows),
    }


def _describe_matrix(result: EvaluationResult) -> dict[str, Any]:
    """Returns the confusion matrix as a table, and what decides how its columns fit."""
    names, rows = list(result.per_class), []
    for name, counts in zip(names, result.confusion_matrix, strict=True):
        total = sum(counts)
        cells = [(count, render_share(count, total), count / max(total, 1)) for count in counts]
        rows.append({"name": name, "total": total, "cells": cells})
    digits = len(str(max(max(counts) for counts in result.confusion_matrix)))
    longest = max(len(word) for name in names for word in name.replace("-", " ").split())
    return {
        "rows": rows,
        "fits": len(names) <= _MOST_CLASSES,
        "upright": len(names) > 8 or longest > _LONG_WORD,
        "ems": round(max(0.62 * digits, 2.3) + 0.4, 2),
    }


def _lacks_interval(result: EvaluationResult) -> bool:
    """Tells whether an interval of a class with faces, or of the whole, is unknown."""
    rows = (row for name, row in result.intervals["per_class"].items() if result.supports[name])
    ends = [result.intervals["accuracy"], result.intervals["macro_f1"], *(end for row in rows for end in row.values())]
    return None in ends


def _describe_gaps(groups: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Returns the largest gaps in accuracy and macro-F1, by attribute."""
    titles = {"accuracy": "accuracy", "macro_f1": "macro-F1"}
    return [
        {"attribute": attribute, "metric": titles[metric], **gap}
        for attribute, content in groups.items()
        for metric, gap in (content["largest_gap"] or {}).items()
    ]


def write_evaluation(folder: str | Path, evaluation: Evaluation, *, content: Mapping[str, Any] | None = None) -> None:
    """Writes `predictions.csv`, `report.html` and perhaps `evaluation.json`, each whole or not at all.

    The first is written only when all are made.

    Args:
        folder: Made if missing.
        evaluation: What the page shows.
        content: Of `evaluation.json`; None where `results.json` holds the metrics.

    Raises:
        UserError: They cannot be written.
    """
    folder, page = Path(folder), render_page(evaluation)
    text = None if content is None else json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    with naming_disk_errors(folder, advice="make room, or take another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        evaluation.predictions.write(folder / PREDICTIONS_FILE)
        write_whole(folder / REPORT_FILE, page)
        if text is not None:
            write_whole(folder / EVALUATION_FILE, f"{text}\n")


def write_run_page(
    run: Path, data: FoundData[Dataset], predictions: Predictions, result: EvaluationResult, *, protocol: Protocol
) -> None:
    """Writes predictions and page of a run, which is whole without them; see `Evaluation` for the arguments.

    Raises:
        UserError: They cannot be written; the message says that the run is whole.
        Interrupted: A signal ended it; likewise.
    """
    again = f"`{render_command(['rafdb-vit', 'evaluate', str(run)])}` writes one"
    try:
        write_evaluation(run, Evaluation.of_run(run, data, predictions, result, protocol))
    except UserError as error:
        words = f"the run in {run} is whole, but its page could not be written"
        raise UserError(f"{words}: {error.line}; {again}") from error
    except Interrupted as stop:
        words = f"the run in {escape(str(run))} is whole, but its page was not written"
        raise Interrupted(stop.signum, f"{words}; {again}") from stop
