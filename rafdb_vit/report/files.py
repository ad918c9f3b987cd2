"""Writes an evaluation into a folder: figures for programs, predictions, the page."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rafdb_vit.data import RunData
from rafdb_vit.disk import write_whole
from rafdb_vit.errors import Interrupted, UserError
from rafdb_vit.predictions import PREDICTIONS_FILE, Predictions
from rafdb_vit.report.evaluation import EVALUATION_FILE, REPORT_FILE, Evaluation
from rafdb_vit.report.page import render_page
from rafdb_vit.results import EvaluationResult


def write_evaluation(folder: str | Path, evaluation: Evaluation, *, content: Mapping[str, Any] | None = None) -> None:
    """Writes `predictions.csv`, `report.html` and perhaps `evaluation.json`, each whole or not at all.

    All are made before the first is written.

    Args:
        folder: Made if missing.
        evaluation: What was found.
        content: Of `evaluation.json`; None where `results.json` holds the figures.

    Raises:
        UserError: They cannot be written.
    """
    folder, page = Path(folder), render_page(evaluation)
    text = None if content is None else json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        evaluation.predictions.write(folder / PREDICTIONS_FILE)
        write_whole(folder / REPORT_FILE, page)
        if text is not None:
            write_whole(folder / EVALUATION_FILE, f"{text}\n")
    except OSError as error:
        raise UserError(
            f"{folder}: predictions and page cannot be written ({error.strerror}); make room, or take another folder"
        ) from error


def write_run_page(
    run: Path, data: RunData, predictions: Predictions, result: EvaluationResult, *, protocol: Mapping[str, Any]
) -> None:
    """Writes predictions and page of a run that is whole without them; see `Evaluation.of_run` for the arguments.

    Raises:
        UserError: They cannot be written; the line says that the run is whole.
        Interrupted: A signal ended it; likewise.
    """
    again = f"`rafdb-vit evaluate {run}` writes one"
    try:
        write_evaluation(run, Evaluation.of_run(run, data, predictions, result, protocol=protocol))
    except UserError as error:
        raise UserError(
            f"the run in {run} is whole, but its page could not be written: {error.line}; {again}"
        ) from error
    except Interrupted as stop:
        raise Interrupted(stop.signum, f"the run in {run} is whole, but its page was not written; {again}") from stop
