"""Scoring of a finished model on labelled faces: its metrics, its predictions and the page."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset

from rafdb_vit.data.found import FoundData
from rafdb_vit.data.pixels import hash_faces
from rafdb_vit.evaluation.inference import predict_split
from rafdb_vit.evaluation.overlap import Overlap, find_overlap
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.protocol import describe_data, describe_evaluated_model, describe_evaluation, describe_split
from rafdb_vit.evaluation.results import RESULTS_FILE
from rafdb_vit.evaluation.verdict import judge
from rafdb_vit.model.download import hash_model
from rafdb_vit.model.load import Classifier, load_classifier, match_outputs
from rafdb_vit.report.evaluation import Evaluation
from rafdb_vit.report.files import EVALUATION_FILES, EVALUATIONS
from rafdb_vit.report.page import write_evaluation
from rafdb_vit.report.provenance import Provenance
from rafdb_vit.report.wording import describe_absent, describe_overlap
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.console import DEMO_BANNER, quiet_libraries, say, say_line
from rafdb_vit.runtime.disk import check_writable, expand
from rafdb_vit.runtime.errors import Interrupted, UserError, escape
from rafdb_vit.runtime.hardware import default_workers, describe_device, set_threads
from rafdb_vit.runtime.lock import find_holder, hold_on_main
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.runtime.processes import (
    broadcast_from_main,
    is_main_process,
    main_process_first,
    raise_on_all,
    raise_on_one,
)
from rafdb_vit.training.flags import FormArguments, check_path
from rafdb_vit.training.past_run import PastRun
from rafdb_vit.training.run_folder import CONFIG_FILE


def score_model(
    data: FormArguments,
    run: PastRun | None,
    *,
    model: str,
    split: str,
    output_dir: str | None,
    model_revision: str | None,
    per_device_eval_batch_size: int,
    dataloader_num_workers: int | None,
    use_cpu: bool,
    command: str,
) -> Path:
    """Scores a model on a split, and returns the folder that was written.

    `run` is the training run that the model comes from, if that is known, and `command` the line that asked for this,
    which the page shows; the rest are the flags of `evaluate`.

    Raises:
        UserError: The model or the data cannot be read, or do not go together; nothing was written.
        Interrupted: A signal ended it.
    """
    quiet_libraries()
    set_threads()
    state = PartialState(cpu=use_cpu)
    output = _choose_output(output_dir, model, split, data, run)
    avoided = data if output_dir else None
    broadcast_from_main(lambda: _check_folder(output, avoided))
    with hold_on_main(output.path):
        broadcast_from_main(lambda: _check_folder(output, avoided))  # again: another command may just have ended
        _warn_of_running(run)
        with main_process_first():
            classifier = load_classifier(model, revision=model_revision)
        settings: Any = {"batch_size": per_device_eval_batch_size, "workers": dataloader_num_workers}
        settings["command"] = command
        return _score_into(output, data, run, classifier, model=model, split=split, state=state, **settings)


def _score_into(
    output: OutputFolder,
    data: FormArguments,
    run: PastRun | None,
    classifier: Classifier,
    *,
    model: str,
    split: str,
    state: PartialState,
    batch_size: int,
    workers: int | None,
    command: str,
) -> Path:
    files, found = hash_model(classifier.folder), _load_data(data, run, split)
    hashes = _hash_faces(found.splits[split], run)
    order = match_outputs(classifier.names, found.class_names, where=f"MODEL {model}")
    left_out = [name for i, name in enumerate(classifier.names) if i not in order]
    device, processes, threads = state.device.type, state.num_processes, torch.get_num_threads()
    say_line(f"Device      {describe_device(device)}, {processes} process(es) of {threads} thread(s), fp32")
    if left_out:
        say_line(f"Left out    {', '.join(left_out)}: classes of the model that the data does not have")
    settings = {"batch_size": batch_size, "workers": default_workers(device) if workers is None else workers}
    advice = "put that right and run the same command again"
    with raise_on_one(advice=advice), announcing(f"Scoring {len(found.splits[split]):,} faces"):
        predictions = predict_split(classifier.model, classifier.processor, found.splits[split], **settings)
    predictions = replace(predictions, logits=predictions.logits[:, order])
    if hash_model(classifier.folder) != files:
        raise UserError(f"MODEL {model}: its files were replaced while it was scored; run the same command again")
    overlap = find_overlap(predictions, hashes, run.seen) if hashes and run and run.seen else None
    provenance = Provenance(command, None if run and run.drew(data.data_dir) else data.source_name)
    scored = output, predictions, classifier, left_out, found, model, split, run, files
    try:
        with announcing("Drawing the page"):
            broadcast_from_main(lambda: _write(*scored, overlap=overlap, provenance=provenance))
    except Interrupted as stop:
        words = f"while {escape(str(output.path))} was written: run the same command again"
        raise Interrupted(stop.signum, stop.message or words) from stop
    return output.path


def _choose_output(
    output_dir: str | None, model: str, split: str, data: FormArguments, run: PastRun | None
) -> OutputFolder:
    """Returns where to write; an earlier evaluation in that place is replaced."""
    if output_dir:
        return OutputFolder(expand(output_dir), EVALUATION_FILES)
    name = f"{Path(os.path.realpath(expand(str(data.source)))).name.removesuffix('.csv')}-{split}"
    if sample := data.max_samples.get(split):
        name = f"{name}-{sample}"
    folder, above = expand(model), Path()
    if run is not None and not run.is_top:
        name, above = f"{Path(os.path.realpath(folder)).name}-{name}", run.folder
    elif folder.is_dir():
        above = folder
    else:
        name = f"{folder.name}-{name}"
    return OutputFolder(above / EVALUATIONS / name, EVALUATION_FILES, within=above)


def _check_folder(output: OutputFolder, data: FormArguments | None) -> None:
    """Refuses a folder that cannot be written to, or holds something else, before anything is computed."""
    folder = output.path
    check_path("--output_dir", str(folder))
    check_writable(folder)
    held = next((name for name in (RESULTS_FILE, CONFIG_FILE) if output.holds(name)), None)
    if held is not None:
        raise UserError(f"--output_dir {folder}: holds a training run ({held}); take another folder")
    if data is not None:
        data.refuse_output(folder)
    output.check(EVALUATION_FILES)


def _warn_of_running(run: PastRun | None) -> None:
    if run is not None and (holder := find_holder(run.folder)):
        say_line(f"Note        {run.folder} is being written to by {holder}: what is scored may change meanwhile")


def _load_data(data: FormArguments, run: PastRun | None, split: str) -> FoundData[Dataset]:
    drawn = run is not None and run.drew(data.data_dir)
    if drawn:
        say(DEMO_BANNER)
    found = data.load(needed=("test",) if split == "test" else ("train", "test"), scored=split, drawn=drawn)
    if run is not None:
        run.refuse_training_faces(found, data.source)
    say_line(f"Data        {found.describe()}, split {split}: {len(found.splits[split]):,} faces")
    for note in found.notes:
        say_line(f"Note        {note}")
    if found.without_groups:
        say_line(f"No metrics by gender, race and age: {found.without_groups}")
    return found


def _hash_faces(faces: Dataset, run: PastRun | None) -> Sequence[str]:
    """Returns the hash of each face, on the main process, where it is known which ones the model was trained on."""
    with raise_on_all():
        if is_main_process() and run is not None and run.seen is not None:
            return hash_faces({"": faces})[""]
    return ()


def _write(
    output: OutputFolder,
    predictions: Predictions,
    classifier: Classifier,
    left_out: Sequence[str],
    found: FoundData[Dataset],
    model: str,
    split: str,
    run: PastRun | None,
    files: Mapping[str, str],
    *,
    overlap: Overlap | None,
    provenance: Provenance,
) -> None:
    """Writes the evaluation and says what came out."""
    result = predictions.score()
    described = describe_evaluated_model(classifier.model, source=model, left_out=left_out, files=files)
    device, trained = PartialState().device.type, run.protocol if run else None
    protocol = describe_evaluation(describe_data(found), split=split, model=described, device=device)
    own = describe_split(found, "test") if split == "test" and "test" in found.shares else None
    protocol = replace(protocol, intervals=result.interval_method, test_split=own)
    evaluation = Evaluation.of_model(
        _name_model(model),
        found,
        predictions,
        result,
        split=split,
        protocol=protocol,
        trained=trained,
        overlap=overlap,
        provenance=provenance,
    )
    content = {"split": split, "figures": result.describe(), "overlap": overlap and overlap.describe()}
    write_evaluation(output, evaluation, content={**content, **asdict(protocol)})
    say(f"\n{split.capitalize()} ({result.n:,} faces)\n\n{result.render_report()}\n")
    if absent := describe_absent(result):
        say(f"{absent}\n")
    if overlap is not None:
        say(f"{describe_overlap(overlap)}\n")
    say(f"{judge(result).render()}\n")
    if run is not None and (words := run.compare(result, split=split, files=files)):
        say(words)
    place = escape(str(output.path))
    say(f"The page     {place}/report.html\nPredictions  {place}/predictions.csv")
    say(f"All metrics  {place}/evaluation.json")


def _name_model(model: str) -> str:
    """Returns what the model is called on the page: its name on the Hub, or that of its folder."""
    folder = expand(model)
    if not folder.is_dir():
        return model
    parts = Path(os.path.realpath(folder)).parts
    return "/".join(parts[-2:] if parts[-1].startswith("checkpoint-") else parts[-1:])
