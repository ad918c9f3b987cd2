"""The page of an evaluation: how good a model is, for whom, and how sure that is."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from rafdb_vit.data.found import FoundData
from rafdb_vit.data.names import DRAWN, phrase_data
from rafdb_vit.evaluation.baselines import REPORT_OF_2023, is_official_test, score_majority
from rafdb_vit.evaluation.groups import FEW
from rafdb_vit.evaluation.intervals import MOST_OUTCOMES
from rafdb_vit.evaluation.overlap import Overlap
from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE, Predictions
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult
from rafdb_vit.evaluation.small_data import describe_small_validation
from rafdb_vit.evaluation.verdict import judge
from rafdb_vit.report.augmentation import describe_augmentation
from rafdb_vit.report.charts import (
    MOST_CLASSES,
    draw_class_metrics,
    draw_history,
    draw_precision_recall,
    draw_reliability,
    rank_weakest,
)
from rafdb_vit.report.evaluation import Evaluation
from rafdb_vit.report.files import EVALUATION_FILE, REPORT_FILE
from rafdb_vit.report.mistakes import embed_faces, find_confusions, find_mistakes
from rafdb_vit.report.provenance import Provenance
from rafdb_vit.report.wording import (
    SPLIT_WARNINGS,
    describe_absent,
    describe_calibration,
    describe_errors,
    describe_false_calls,
    describe_leaks,
    describe_left_out,
    describe_overlap,
    describe_sample,
    describe_test_share,
    describe_weakest,
    keep_flags,
    render_count,
    render_interval,
    render_name,
    render_plain,
    render_share,
)
from rafdb_vit.runtime.disk import naming_disk_errors
from rafdb_vit.runtime.errors import Interrupted, UserError, escape
from rafdb_vit.runtime.fonts import number_undrawn
from rafdb_vit.runtime.launch import render_command
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.runtime.text_width import measure_width

_TEMPLATE = Path(__file__).with_name("page.html")
_MOST_ERRORS = 15
_MOST_COLUMNS = 12
"""Tables of more columns do not fit a page."""
_MOST_ROWS = 50
"""Of classes in a table; of more, those are shown that matter most."""
_MOST_CURVES = 30
"""Classes that all have a chart of their own; of more, as many as other charts show."""
_MOST_PAIRS, _MOST_EXAMPLES = 20, 5
"""Pairs of classes that stand in a table, and those with pictures."""
_LONG_WORD = 9
"""Letters; heads of columns with longer words stand upright."""


def render_page(evaluation: Evaluation) -> str:
    """Renders the page: one HTML file with everything in it."""
    result, data, predictions = evaluation.result, evaluation.data, evaluation.predictions
    majority, baseline = score_majority(result)
    weakest = rank_weakest(result)
    calibration, groups = result.calibration or {}, result.groups or {}
    return _read_template().render(
        evaluation=evaluation,
        file=RESULTS_FILE if evaluation.is_of_run else EVALUATION_FILE,
        predictions_file=PREDICTIONS_FILE,
        result=result,
        data=data,
        data_phrase=phrase_data(data.name),
        is_drawn=data.name == DRAWN,
        names=list(result.per_class),
        shown=list(result.per_class) if len(result.per_class) <= _MOST_ROWS else weakest[:_MOST_ROWS],
        counted=_list_counts(evaluation),
        warnings=_find_warnings(evaluation),
        overlap=_describe_overlap(evaluation),
        majority={"name": majority, "result": baseline},
        report=REPORT_OF_2023 if is_official_test(data, evaluation.split) else None,
        about_data=[describe_test_share(evaluation.test_split), describe_left_out(data)],
        sentences=[describe_weakest(result, few=FEW), describe_absent(result)],
        class_chart=draw_class_metrics(result),
        curves=_draw_curves(predictions, weakest),
        chances={name: np.mean(predictions.labels == label) for label, name in enumerate(predictions.names)},
        calibration=calibration,
        reliability_chart=draw_reliability(calibration),
        trust=describe_calibration(calibration),
        verdict=judge(result),
        augmentation=_describe_augmentation(evaluation.trained),
        errors=[*describe_leaks(result), *describe_false_calls(result), *describe_errors(result)],
        matrix=_describe_matrix(result),
        numbered=_number_names(evaluation),
        gaps=_describe_gaps(groups),
        unknown=_lacks_interval(result),
        any_few=any(row["few"] for content in groups.values() for row in content["groups"].values()),
        few=FEW,
        most_drawn=MOST_CLASSES,
        method=result.interval_method,
        history_charts=_draw_history(evaluation.trained),
        **_show_mistakes(evaluation),
    )


def _read_template() -> Template:
    environment = Environment(
        undefined=StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True, finalize=_escape_hidden
    )
    environment.filters.update(interval=render_interval, plain=render_plain, count=render_count, words=render_name)
    environment.filters["flags"] = keep_flags
    return environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))


def _escape_hidden(value: Any) -> Any:
    """Returns a value as it stands on the page: of text, what turns its direction or hides in it becomes a code."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return escape(value)


def _find_warnings(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Returns what speaks against the metrics: of each the most important sentence, and the others."""
    warnings = []
    if evaluation.data.name == DRAWN:
        nothing = "The metrics say nothing about real faces; they show that the way from data to metrics works."
        warnings.append(("These faces are drawn.", nothing))
    if evaluation.trained is not None and (step := evaluation.trained.checkpoint.diverged_at) is not None:
        kept = f"The model is the best one before that, of step {evaluation.trained.checkpoint.step:,}"
        diverged = f"Training diverged at step {step:,}: its numbers were not finite any more, and it ended there."
        warnings.append((diverged, f"{kept}; a run with a lower learning rate may do better."))
    known = [evaluation.data, *([evaluation.trained.data] if evaluation.trained else [])]
    if sample := next((data for data in known if data.subsampled), None):
        warnings.append(describe_sample(sample))
    warning = SPLIT_WARNINGS.get((evaluation.split, evaluation.trained is not None))
    if warning and evaluation.overlap is None:
        warnings.append((warning, ""))
    if small := _describe_small_validation(evaluation.trained):
        warnings.append((small[0], " ".join(small[1:])))
    return warnings


def _describe_overlap(evaluation: Evaluation) -> dict[str, Any] | None:
    """Returns what is known of faces that training has seen; None where a warning of the split says it."""
    if evaluation.overlap is not None:
        return {"words": describe_overlap(evaluation.overlap), "is_warning": evaluation.overlap.seen > 0}
    if evaluation.trained is not None or evaluation.split != "test":
        return None
    unknown = "Which pictures the model was trained on is not known here: some of these faces may be among them."
    return {"words": unknown, "is_warning": False}


def _describe_small_validation(trained: Protocol | None) -> list[str]:
    return describe_small_validation(trained.data, trained.validation, trained.test_split) if trained else []


def _describe_augmentation(trained: Protocol | None) -> str:
    return describe_augmentation(trained.training.get("augmentation", [])) if trained else ""


def _draw_history(trained: Protocol | None) -> list[str]:
    if trained is None or not trained.history:
        return []
    return draw_history(trained.history, chosen_epoch=trained.checkpoint.epoch or 0.0)


def _show_mistakes(evaluation: Evaluation) -> dict[str, Any]:
    mistakes = find_mistakes(evaluation.predictions)
    pairs = find_confusions(evaluation.predictions, mistakes, most=_MOST_PAIRS)
    confusions, shown = pairs[:_MOST_EXAMPLES], mistakes[:_MOST_ERRORS]
    rows = [mistake.row for mistake in shown + [face for pair in confusions for face in pair.examples]]
    return {
        "mistakes": len(mistakes),
        "surest": shown,
        "confusions": confusions,
        "pairs": pairs,
        "pictures": embed_faces(evaluation.faces, rows),
    }


def _draw_curves(predictions: Predictions, weakest: Sequence[str]) -> dict[str, tuple[str, float] | None]:
    """Draws precision by recall of every class, or of the weakest of many."""
    names = list(predictions.names) if len(predictions.names) <= _MOST_CURVES else weakest[:MOST_CLASSES]
    ids = {name: label for label, name in enumerate(predictions.names)}
    return {name: draw_precision_recall(predictions, ids[name]) for name in names}


def _list_counts(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Returns the tables of faces per class: of each its title, the classes that it shows, and of how many."""
    tables = []
    for title, counted, names in (
        ("Faces per class, as they were used", evaluation.data.used, list(evaluation.result.per_class)),
        (
            "Faces per class that the model was trained with",
            evaluation.training_counts,
            list((evaluation.training_counts or {}).get("train", {})),
        ),
    ):
        if counted:
            first = next(iter(counted.values()))
            fewest = sorted(names, key=lambda name: first.get(name, 0))[:_MOST_ROWS]
            shown = names if len(names) <= _MOST_ROWS else fewest
            tables.append({"title": title, "splits": counted, "names": shown, "of": len(names)})
    return tables


def _describe_matrix(result: EvaluationResult) -> dict[str, Any]:
    """Returns the confusion matrix as a table, and what decides how its columns fit."""
    names, rows = list(result.per_class), []
    if len(names) > _MOST_COLUMNS:
        return {"fits": False}
    for name, counts in zip(names, result.confusion_matrix, strict=True):
        total = sum(counts)
        cells = [(count, render_share(count, total), count / max(total, 1)) for count in counts]
        rows.append({"name": name, "total": total, "cells": cells})
    digits = len(str(max(max(counts) for counts in result.confusion_matrix)))
    longest = max(measure_width(word) for name in names for word in name.replace("-", " ").split())
    return {
        "rows": rows,
        "fits": True,
        "upright": len(names) > 8 or longest > _LONG_WORD,
        "ems": round(max(0.62 * digits, 2.3) + 0.4, 2),
    }


def _number_names(evaluation: Evaluation) -> dict[int, str]:
    """Returns the names that a run's own picture of the matrix cannot show, by the numbers that stand there."""
    return number_undrawn(list(evaluation.result.per_class)) if evaluation.is_of_run else {}


def _lacks_interval(result: EvaluationResult) -> bool:
    """Tells whether an interval of a class with faces, or of the whole, is unknown, though intervals are computed."""
    if np.count_nonzero(result.confusion_matrix) > MOST_OUTCOMES:
        return False
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


def write_evaluation(output: OutputFolder, evaluation: Evaluation, *, content: Mapping[str, Any] | None = None) -> None:
    """Writes `predictions.csv`, `report.html` and perhaps `evaluation.json`: all or none, in place of earlier ones.

    Args:
        output: Where to.
        evaluation: What the page shows.
        content: Of `evaluation.json`; None where `results.json` holds the metrics.

    Raises:
        UserError: They cannot be written, or something else is in the way.
    """
    texts = {PREDICTIONS_FILE: evaluation.predictions.render(), REPORT_FILE: render_page(evaluation)}
    if content is not None:
        texts[EVALUATION_FILE] = f"{json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)}\n"
    with naming_disk_errors(output.path, advice="make room, or take another folder"):
        output.tidy_list()
        output.write_together(texts)


def write_run_page(
    output: OutputFolder,
    data: FoundData[Dataset],
    predictions: Predictions,
    result: EvaluationResult,
    *,
    protocol: Protocol,
    overlap: Overlap | None = None,
    provenance: Provenance | None = None,
) -> None:
    """Writes predictions and page of a run, which is whole without them; see `Evaluation` for the arguments.

    Raises:
        UserError: They cannot be written; the message says that the run is whole.
        Interrupted: A signal ended it; likewise.
    """
    run = output.path
    again = f"`{render_command(['rafdb-vit', 'evaluate', str(run)])}` writes one"
    record: dict[str, Any] = {"overlap": overlap, "provenance": provenance}
    evaluation = Evaluation.of_run(run, data, predictions, result, protocol=protocol, **record)
    try:
        write_evaluation(output, evaluation)
    except UserError as error:
        words = f"the run in {run} is whole, but its page could not be written"
        raise UserError(f"{words}: {error.line}; {again}") from error
    except Interrupted as stop:
        words = f"the run in {escape(str(run))} is whole, but its page was not written"
        raise Interrupted(stop.signum, f"{words}; {again}") from stop
