"""The run folder: what lies in it, when it may be written to, and what a new run may delete there."""

import platform
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from rafdb_vit.data.drawn_faces import write_drawn_faces
from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult, write_results
from rafdb_vit.model.download import hash_file, quiet_loading
from rafdb_vit.report.evaluation import EVALUATION_FILES, EVALUATIONS, REPORT_FILE
from rafdb_vit.report.plots import (
    CONFUSION_FILE,
    CURVES_FILE,
    PLOTS_FOLDER,
    plot_confusion_matrix,
    plot_learning_curves,
)
from rafdb_vit.runtime.console import say
from rafdb_vit.runtime.disk import check_writable, naming_disk_errors, read_yaml
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.processes import broadcast_from_main, raise_on_all
from rafdb_vit.training.checkpoints import choose_checkpoint, compare_identity, find_fault

CONFIG_FILE = "training_config.yaml"
DEMO_FACES = "drawn_faces"
_WRITTEN_FILES = (
    CONFIG_FILE,
    *(name + end for name in (RESULTS_FILE, PREDICTIONS_FILE, REPORT_FILE) for end in ("", ".partial")),
    *("config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json"),
)
_STAGED_MODEL = "partial-model"
_LEFTOVERS = ("partial-*", "replaced-checkpoint-*")
_WRITTEN_PATTERNS = ("checkpoint-*", "model-*-of-*.safetensors", *_LEFTOVERS)
_NOT_SETTINGS = (
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint"),
    *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_revision", "hub_token", "license"),
)


def _plain(value: Any) -> Any:
    """Returns a setting as YAML has it, names in place of transformers' enumerations."""
    return [_plain(item) for item in value] if isinstance(value, list) else getattr(value, "value", value)


class RunFolder:
    """A folder that holds one training run.

    The best model lies at the top (`config.json`, `model.safetensors`, `preprocessor_config.json`), beside
    `results.json`, `predictions.csv`, `report.html`, `training_config.yaml`, `figures/` and `checkpoint-*/`; a demo
    run's faces in `drawn_faces/`; what `evaluate` wrote of it in `evaluations/`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.plots = self.path / PLOTS_FOLDER
        self.demo_faces = self.path / DEMO_FACES

    def check(self, *, demo: bool, overwrite: bool) -> None:
        """Refuses a folder that a new run must not write into.

        Args:
            demo: The new run is a demo: it may replace an earlier demo run.
            overwrite: `--overwrite_output_dir`: it may replace any earlier run.

        Raises:
            UserError: There is something in the way, or the folder cannot be written to.
        """
        check_writable(self.path)
        if not self._holds_something() or overwrite or (demo and self._is_demo_run()):
            return
        raise UserError(
            f"--output_dir {self.path}: is not empty; take another folder, --overwrite_output_dir to replace the run "
            "in it, or --resume_from_checkpoint to go on with it"
        )

    def _holds_something(self) -> bool:
        """Tells whether something could be lost: a run that ended before its first checkpoint leaves nothing."""
        nothing = {CONFIG_FILE, *(path.name for pattern in _LEFTOVERS for path in self.path.glob(pattern))}
        return self.path.exists() and any(path.name not in nothing for path in self.path.iterdir())

    def _is_demo_run(self) -> bool:
        try:
            return self.read_settings().get("demo") is True
        except UserError:
            return False

    def read_settings(self) -> dict[str, Any]:
        """Returns the settings of the run, as `training_config.yaml` holds them.

        Raises:
            UserError: There is no such file, or it holds something else.
        """
        path = self.path / CONFIG_FILE
        return read_yaml(path, where=str(path), expected="the settings of a run: restore it, or delete it")

    def find_start(self, asked: str | None, *, demo: bool, overwrite: bool) -> Path | None:
        """Returns the checkpoint to resume from.

        Args:
            asked: The checkpoint that was asked for; None for the newest whole one of this folder.
            demo: See `check`.
            overwrite: See `check`.

        Returns:
            The checkpoint; None if none was asked for by name and the folder has none, and may be begun in.

        Raises:
            UserError: The checkpoint is not whole, or the folder holds something else.
        """
        check_writable(self.path)
        if asked is None:
            newest = choose_checkpoint(self.path, say=say)
            if newest is None:
                self.check(demo=demo, overwrite=overwrite)
                say(f"No checkpoint in {self.path} yet: starting from the beginning.")
            return newest
        checkpoint = Path(asked).expanduser()
        if not checkpoint.is_dir():
            raise UserError(f"--resume_from_checkpoint {asked}: no such folder; expected a run's checkpoint-STEP")
        if fault := find_fault(checkpoint):
            raise UserError(f"--resume_from_checkpoint {asked}: not a whole checkpoint, {fault}; take another")
        if checkpoint.resolve().parent != self.path.resolve():
            self.check(demo=demo, overwrite=overwrite)
        return checkpoint

    def open(
        self, asked: Mapping[str, Any], *, resume_from: Path | None = None, identity: Mapping[str, Any] | None = None
    ) -> None:
        """Makes the folder ready for a run, the last thing before it trains; every process has to call it.

        Args:
            asked: The settings that were asked for, by flag name.
            resume_from: The checkpoint that the run resumes from; what it has written so far is kept.
            identity: What that checkpoint has to share with the run.

        Raises:
            UserError: On every process: it cannot be written to, the checkpoint is another run's, or another machine of
                the run does not see it.
        """
        broadcast_from_main(lambda: self._start(asked, resume_from, identity or {}))
        with raise_on_all():
            if not (self.path / CONFIG_FILE).is_file():
                raise UserError(
                    f"--output_dir {self.path.absolute()}: not seen on {platform.node()}; expected a folder on a disk "
                    "that all machines of the run share"
                )

    def _start(self, asked: Mapping[str, Any], resume_from: Path | None, identity: Mapping[str, Any]) -> None:
        if resume_from is not None:
            compare_identity(resume_from, identity)
            say(f"Going on from {resume_from}.")
        with naming_disk_errors(self.path, advice="take another --output_dir"):
            self.path.mkdir(parents=True, exist_ok=True)
            if resume_from is None:
                self.clear(keep_demo_faces=True)
            settings = {name: _plain(value) for name, value in asked.items() if name not in _NOT_SETTINGS}
            text = yaml.safe_dump(settings, sort_keys=True, allow_unicode=True) if settings else "{}\n"
            (self.path / CONFIG_FILE).write_text(text, encoding="utf-8")

    def clear(self, *, keep_demo_faces: bool = False) -> None:
        """Deletes what an earlier run, and evaluations of it, wrote, and nothing else; a demo run's faces on demand."""
        written = [self.path / name for name in _WRITTEN_FILES]
        written += [path for pattern in _WRITTEN_PATTERNS for path in self.path.glob(pattern)]
        written += list(self.plots.glob("*.png"))
        evaluations = self.path / EVALUATIONS
        found = [] if evaluations.is_symlink() else [evaluations, *evaluations.glob("*")]
        evaluated = [path for path in found if path.is_dir() and not path.is_symlink()]
        written += [path / name for path in evaluated for name in EVALUATION_FILES]
        if self._is_demo_run() and not keep_demo_faces:
            written.append(self.demo_faces)
        for path in written:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        for folder in (self.plots, *reversed(evaluated)):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def draw_demo_faces(self) -> None:
        """Draws the faces of a demo run, in place of what an earlier run wrote."""
        say("Drawing faces ...")
        self.clear()
        write_drawn_faces(self.demo_faces)

    def write_model(self, model: Any, processor: Any) -> None:
        """Writes the best model and its processor at the top of the folder, each file whole or not at all.

        Raises:
            UserError: They cannot be written.
        """
        staged = self.path / _STAGED_MODEL
        try:
            with naming_disk_errors(self.path), quiet_loading():
                model.save_pretrained(staged)
                processor.save_pretrained(staged)
                for path in staged.iterdir():
                    path.replace(self.path / path.name)
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def write_results(self, *, validation: EvaluationResult, test: EvaluationResult, protocol: Protocol) -> None:
        """Writes the plots, and `results.json` last: a folder that has it holds a finished run.

        Raises:
            UserError: They cannot be written.
        """
        with naming_disk_errors(self.path):
            title = f"Test faces, {protocol.data.name}"
            plot_confusion_matrix(test, self.plots / CONFUSION_FILE, title=title)
            chosen = protocol.checkpoint.epoch or 0.0
            curves = plot_learning_curves(protocol.history, self.plots / CURVES_FILE, chosen_epoch=chosen)
            files = {**protocol.files_sha256, f"{PLOTS_FOLDER}/{CURVES_FILE}": hash_file(curves)}
            write_results(self.path, validation=validation, test=test, protocol=replace(protocol, files_sha256=files))
