"""`evaluate`: scores a model on labelled faces, and writes figures, predictions and the page."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rafdb_vit.commands.parser import parse_arguments
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import EVAL_BATCH_SIZE
from rafdb_vit.training.flags import FormArguments

if TYPE_CHECKING:
    from datasets import Dataset

    from rafdb_vit.data.found import FoundData
    from rafdb_vit.evaluation.predictions import Predictions
    from rafdb_vit.model.load import Classifier
    from rafdb_vit.training.past_run import PastRun


@dataclass
class EvaluateArguments:
    """What to evaluate, and how."""

    model: str = field(
        metadata={"help": "A run folder, a checkpoint, or a model of the Hub (USER/NAME).", "positional": True}
    )
    split: str = field(
        default="test",
        metadata={"help": "The split to score.", "choices": ["train", "validation", "test"]},
    )
    output_dir: str | None = field(
        default=None,
        metadata={"help": "Folder for what is written. Default: evaluations/DATA-SPLIT in the model's folder."},
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    per_device_eval_batch_size: int = field(
        default=EVAL_BATCH_SIZE, metadata={"help": "Faces at once on each process."}
    )
    dataloader_num_workers: int | None = field(
        default=None, metadata={"help": "Data workers of each process. Default: by the device."}
    )
    use_cpu: bool = field(default=False, metadata={"help": "Leave GPUs alone."})

    def __post_init__(self) -> None:
        for name, least in (("per_device_eval_batch_size", 1), ("dataloader_num_workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UserError(f"--{name} {value}: expected {least} or more")


def main(argv: Sequence[str] | None = None) -> Path:
    """Evaluates a model.

    Args:
        argv: The words of the command line; those of the process if None.

    Returns:
        The folder that was written.

    Raises:
        UserError: The model or the data cannot be read, or do not go together; nothing was written.
        Interrupted: A signal ended it.
    """
    asked, data, run = _parse(sys.argv[1:] if argv is None else argv)

    from accelerate import PartialState

    from rafdb_vit.model.load import load_classifier, match_outputs
    from rafdb_vit.runtime.console import quiet_libraries
    from rafdb_vit.runtime.hardware import set_threads
    from rafdb_vit.runtime.processes import broadcast_from_main, main_process_first, raise_on_one

    quiet_libraries()
    set_threads()
    PartialState(cpu=asked.use_cpu)
    folder = _choose_folder(asked, data, run)
    broadcast_from_main(lambda: _check_folder(folder))
    with main_process_first():
        classifier = load_classifier(asked.model, revision=asked.model_revision)
    found = _load_data(data, run, split=asked.split)
    order = match_outputs(classifier.names, found.class_names, where=f"MODEL {asked.model}")
    left_out = [name for i, name in enumerate(classifier.names) if i not in order]
    with raise_on_one(advice="put that right and run the same command again"):
        predictions = _predict(classifier, found, asked, order=order, left_out=left_out)
    broadcast_from_main(lambda: _write(folder, predictions, classifier, found, asked, run, left_out=left_out))
    return folder


def _parse(argv: Sequence[str]) -> tuple[EvaluateArguments, FormArguments, "PastRun | None"]:
    """Parses the command line, with the data settings of the run that the model is of in front of it."""
    from rafdb_vit.training.past_run import find_run

    def parse(words: Sequence[str]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Parses words."""
        return parse_arguments(
            (EvaluateArguments, FormArguments),
            words,
            prog="rafdb-vit evaluate",
            description="Score a model on labelled faces; write figures, predictions.csv and report.html.",
            takes_config=False,
        )

    (asked, data), given = parse(argv)
    _refuse_without_effect(asked.split, given)
    run = find_run(asked.model)
    if run is not None:
        known = {*vars(asked), *vars(data)} - {"model", "model_revision", "output_dir", "split", "use_cpu"}
        (asked, data), _ = parse([*run.render_settings(known, given=given), *argv])
    if [bool(data.data_dir), bool(data.dataset_name)].count(True) != 1:
        raise UserError("--data_dir: expected the folder of labelled faces, or --dataset_name (one of the two)")
    if run is not None and data.data_dir and "data_dir" not in given and not Path(data.data_dir).exists():
        raise UserError(f"--data_dir: the run was trained on {data.data_dir}, which is not there now; give its folder")
    return asked, data, run


def _refuse_without_effect(split: str, given: Mapping[str, Any]) -> None:
    """Refuses flags of other splits than the one that is scored."""
    bears_on = {
        "max_test_samples": ["test"],
        "max_validation_samples": ["validation"],
        "validation_fraction": ["train", "validation"],
    }
    for name, splits in bears_on.items():
        if name in given and split not in splits:
            raise UserError(f"--{name}: has no effect on the split {split}; leave it out, or take another --split")


def _choose_folder(asked: EvaluateArguments, data: FormArguments, run: "PastRun | None") -> Path:
    """Returns where to write; what is there of an earlier evaluation is replaced."""
    from rafdb_vit.report.evaluation import EVALUATIONS

    if asked.output_dir:
        return Path(asked.output_dir).expanduser()
    name = f"{Path(str(data.source)).resolve().name.removesuffix('.csv')}-{asked.split}"
    if sample := data.max_samples.get(asked.split):
        name = f"{name}-{sample}"
    model = Path(asked.model).expanduser()
    if run is not None and not run.is_top:
        return run.folder / EVALUATIONS / f"{model.resolve().name}-{name}"
    return model / EVALUATIONS / name if model.is_dir() else Path(EVALUATIONS) / f"{model.name}-{name}"


def _name_model(model: str) -> str:
    """Returns what the model is called on the page: its name on the Hub, or that of its folder."""
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return model
    parts = folder.resolve().parts
    return "/".join(parts[-2:] if parts[-1].startswith("checkpoint-") else parts[-1:])


def _check_folder(folder: Path) -> None:
    """Refuses a folder that cannot be written to, or holds a run, before anything is computed."""
    from rafdb_vit.evaluation.results import RESULTS_FILE
    from rafdb_vit.runtime.disk import check_writable
    from rafdb_vit.training.run_folder import CONFIG_FILE

    check_writable(folder)
    held = next((name for name in (RESULTS_FILE, CONFIG_FILE) if (folder / name).exists()), None)
    if held is not None:
        raise UserError(f"--output_dir {folder}: holds a training run ({held}); take another folder")


def _load_data(data: FormArguments, run: "PastRun | None", *, split: str) -> "FoundData[Dataset]":
    from rafdb_vit.runtime.console import DEMO_BANNER, say
    from rafdb_vit.runtime.processes import main_process_first, raise_on_all

    drawn = run is not None and run.drew(data.data_dir)
    if drawn:
        say(DEMO_BANNER)
    with main_process_first() if data.dataset_name else raise_on_all():
        needed = ("test",) if split == "test" else ("train", "test")
        found = data.load(needed=needed, scored=split, drawn=drawn)
    say(f"Data        {found.describe()}, split {split}: {len(found.splits[split]):,} faces")
    if found.without_groups:
        say(f"No figures by gender, race and age: {found.without_groups}")
    return found


def _predict(
    classifier: "Classifier",
    found: "FoundData[Dataset]",
    asked: EvaluateArguments,
    *,
    order: Sequence[int],
    left_out: Sequence[str],
) -> "Predictions":
    """Returns the predictions, in the data's order of classes; other outputs of the model are left out."""
    from dataclasses import replace

    import torch
    from accelerate import PartialState

    from rafdb_vit.evaluation.inference import predict_split
    from rafdb_vit.runtime.console import say
    from rafdb_vit.runtime.hardware import default_workers, describe_device

    device, processes = PartialState().device.type, PartialState().num_processes
    workers = default_workers(device) if asked.dataloader_num_workers is None else asked.dataloader_num_workers
    say(f"Device      {describe_device(device)}, {processes} process(es) of {torch.get_num_threads()} thread(s), fp32")
    if left_out:
        say(f"Left out    {', '.join(left_out)}: classes of the model that the data does not have")
    settings = {"batch_size": asked.per_device_eval_batch_size, "workers": workers}
    predictions = predict_split(classifier.model, classifier.processor, found.splits[asked.split], **settings)
    return replace(predictions, logits=predictions.logits[:, order])


def _write(
    folder: Path,
    predictions: "Predictions",
    classifier: "Classifier",
    found: "FoundData[Dataset]",
    asked: EvaluateArguments,
    run: "PastRun | None",
    *,
    left_out: Sequence[str],
) -> None:
    from dataclasses import asdict

    from accelerate import PartialState

    from rafdb_vit.evaluation.protocol import describe_data, describe_evaluated_model, describe_evaluation
    from rafdb_vit.model.download import hash_model
    from rafdb_vit.report.evaluation import Evaluation
    from rafdb_vit.report.page import write_evaluation
    from rafdb_vit.report.wording import describe_absent
    from rafdb_vit.runtime.console import say

    result, split, files = predictions.score(), asked.split, hash_model(classifier.folder)
    model = describe_evaluated_model(classifier.model, source=asked.model, left_out=left_out, files=files)
    device = PartialState().device.type
    protocol = describe_evaluation(describe_data(found), split=split, model=model, device=device)
    trained = run.protocol if run is not None else None
    evaluation = Evaluation.of_model(
        _name_model(asked.model), found, predictions, result, split=split, protocol=protocol, trained=trained
    )
    content = {"split": split, "figures": result.describe(), **asdict(protocol)}
    write_evaluation(folder, evaluation, content=content)
    say(f"\n{split.capitalize()} ({result.n:,} faces)\n\n{result.render_report()}\n")
    if absent := describe_absent(result):
        say(f"{absent}\n")
    if run is not None and (words := run.compare(result, split=split, files=files)):
        say(words)
    say(f"The page     {folder}/report.html\nPredictions  {folder}/predictions.csv")
    say(f"All figures  {folder}/evaluation.json")
