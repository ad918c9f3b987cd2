"""The run folder: what lies in it, when it may be written to, and what a new run may delete there."""

import os
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rafdb_vit.data.drawn_faces import list_drawn_files, write_drawn_faces
from rafdb_vit.evaluation.overlap import MOST_BYTES, SEEN_FILE, SeenFaces
from rafdb_vit.evaluation.predictions import PREDICTIONS_FILE
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult, render_results
from rafdb_vit.model.files import SURPLUS_FILES
from rafdb_vit.report.files import CONFUSION_FILE, CURVES_FILE, EVALUATION_FILES, EVALUATIONS, PLOTS_FOLDER, REPORT_FILE
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.bars import are_bars_silent
from rafdb_vit.runtime.console import say_line
from rafdb_vit.runtime.disk import check_inside, check_writable, expand, naming_disk_errors, read_text, read_yaml
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.lock import LOCK_FILE, find_holder
from rafdb_vit.runtime.neighbours import check_folder
from rafdb_vit.runtime.output_folder import LIST_FILE, OutputFolder, is_staged_list
from rafdb_vit.runtime.processes import broadcast_from_main, raise_on_all
from rafdb_vit.training.checkpoints import (
    CHECKPOINT_FOLDERS,
    choose_checkpoint,
    compare_identity,
    delete_checkpoints,
    find_differences,
    find_fault,
    find_note,
    list_checkpoints,
    recover,
    step_of,
)

CONFIG_FILE = "training_config.yaml"
DEMO_FACES = "drawn_faces"
_STAGED_MODEL = "partial-model"
_TOP_FILES = (
    *(CONFIG_FILE, SEEN_FILE, RESULTS_FILE, PREDICTIONS_FILE, REPORT_FILE),
    *("config.json", "preprocessor_config.json", "model.safetensors", "model.safetensors.index.json"),
    *(f"{PLOTS_FOLDER}/{name}" for name in (CONFUSION_FILE, CURVES_FILE)),
)
RUN_FILES = (*_TOP_FILES, "model-*-of-*.safetensors", _STAGED_MODEL, DEMO_FACES, *CHECKPOINT_FOLDERS)
"""Patterns of what a run writes into its folder."""
_LEFTOVERS = ("partial-", "replaced-")
"""What a run that ended before its first checkpoint leaves, beside its settings."""
_NOT_SETTINGS = (
    *("output_dir", "overwrite_output_dir", "resume_from_checkpoint"),
    *("push_to_hub", "hub_model_id", "hub_private_repo", "hub_revision", "hub_token", "license"),
)


def _strip(name: str) -> Path:
    """Returns the name of a checkpoint without what says that it is half written, or half deleted."""
    return Path(name.removeprefix("replaced-").removeprefix("partial-"))


def _plain(value: Any) -> Any:
    """Returns a setting as YAML has it, names in place of transformers' enumerations."""
    return [_plain(item) for item in value] if isinstance(value, list) else getattr(value, "value", value)


class RunFolder:
    """A folder that holds one training run.

    The best model lies at the top (`config.json`, `model.safetensors`, `preprocessor_config.json`), beside
    `results.json`, `predictions.csv`, `report.html`, `training_config.yaml`, `figures/` and `checkpoint-*/`; a demo
    run's faces in `drawn_faces/`; what `evaluate` wrote of it in `evaluations/`. `trained_on.json` tells the faces that
    it was trained on. `files.json` lists what the run wrote: that alone is replaced or deleted.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = expand(path)
        self.output = OutputFolder(self.path, RUN_FILES)
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
        self._refuse_start_within()
        if self._holds_something(demo=demo) and not overwrite and not (demo and self._is_demo_run()):
            raise UserError(
                f"--output_dir {self.path}: is not empty; take another folder, --overwrite_output_dir to replace the "
                "run in it, or --resume_from_checkpoint to go on with it"
            )
        self._refuse_in_the_way()
        self._refuse_notes(demo=demo)

    def _refuse_start_within(self) -> None:
        """Refuses to write from within a folder that may have to be deleted."""
        here = Path.cwd()
        if self.path.resolve() in here.parents:
            raise UserError(f"--output_dir {self.path}: holds the current folder, {here}; change to another one first")

    def _refuse_in_the_way(self) -> None:
        """Refuses what would only be found in the way when the earlier run is gone, or when training has ended."""
        self.output.check([*_TOP_FILES, *self._list_written()])
        self.output.refuse_others(SURPLUS_FILES)
        for evaluation in self._find_evaluations():
            OutputFolder(evaluation, EVALUATION_FILES, within=self.path).check(())
            if holder := find_holder(evaluation):
                raise UserError(f"{evaluation}: {holder} is writing into it; wait until it has ended")

    def _refuse_notes(self, *, demo: bool) -> None:
        """Refuses a person's files within folders that a new run has to delete and make anew."""
        own = self.output.hashes
        notes = [find_note(self.path / name) for name in own if step_of(Path(name)) >= 0 and self.output.holds(name)]
        if demo:
            self.output.refuse_others([DEMO_FACES])
            paths = self.demo_faces.rglob("*") if self.demo_faces.is_dir() else ()
            drawn = list_drawn_files()
            for path in paths:
                is_drawn = path.is_file() and path.relative_to(self.demo_faces).as_posix() in drawn
                notes += [path] if path.is_symlink() or not (is_drawn or path.is_dir()) else []
        if note := next(filter(None, notes), None):
            raise UserError(f"{note}: is in the way, and no run wrote it; move it elsewhere, or take another folder")

    def _holds_something(self, *, demo: bool) -> bool:
        """Tells whether something could be lost: a run that ended before its first checkpoint leaves nothing."""
        leftovers = (CONFIG_FILE, SEEN_FILE, *_LEFTOVERS, *((DEMO_FACES,) if demo else ()))
        own = {name for name in self.output.hashes if name.startswith(leftovers)}
        there = {path.name for path in self.path.iterdir()} if self.path.exists() else set()
        return not {name for name in there if not is_staged_list(name)} <= {*own, LIST_FILE, LOCK_FILE}

    def _list_written(self) -> list[str]:
        """Returns what lies where a run writes: its files, whoever wrote them, and checkpoints by their number."""
        there = [path.name for path in self.path.iterdir()] if self.path.is_dir() else []
        numbered = [name for name in there if step_of(_strip(name)) >= 0]
        shards = [name for name in there if self.output.is_known(name) and name.endswith(".safetensors")]
        return [name for name in (*_TOP_FILES, _STAGED_MODEL, *numbered, *shards) if self.output.holds(name)]

    def _is_demo_run(self) -> bool:
        try:
            return CONFIG_FILE in self.output.hashes and self.read_settings().get("demo") is True
        except UserError:
            return False

    def read_settings(self) -> dict[str, Any]:
        """Returns the settings of the run, as `training_config.yaml` holds them.

        Raises:
            UserError: There is no such file, or it holds something else.
        """
        path = self.path / CONFIG_FILE
        check_inside(self.path, path)
        return read_yaml(path, where=str(path), expected="the settings of a run: restore it, or delete it")

    def read_seen(self) -> SeenFaces | None:
        """Returns the faces that the run was trained on; None where it did not write them down, as early versions.

        Raises:
            UserError: The file that tells is damaged, or cannot be read.
        """
        path = self.path / SEEN_FILE
        if not self.output.holds(SEEN_FILE):
            return None
        check_inside(self.path, path)
        advice = "restore it, or delete it: then it is not known which faces were trained on"
        if self.output.has_list:
            self.output.refuse_changed(SEEN_FILE, advice=advice)
        try:
            return SeenFaces.read(read_text(path, most=MOST_BYTES))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); {advice}") from error
        except ValueError as error:
            raise UserError(f"{path}: not what training writes there ({error}); {advice}") from error

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
        self._refuse_start_within()
        self.output.refuse_links()
        if asked is None:
            newest = choose_checkpoint(self.path, say=say_line)
            if newest is None:
                self.check(demo=demo, overwrite=overwrite)
                say_line(f"No checkpoint in {self.path} yet: starting from the beginning.")
            return newest
        checkpoint = check_folder("--resume_from_checkpoint", asked, expected="a run's checkpoint-STEP")
        if fault := find_fault(checkpoint):
            raise UserError(f"--resume_from_checkpoint {asked}: not a whole checkpoint, {fault}; take another")
        if checkpoint.is_symlink():
            raise UserError(f"--resume_from_checkpoint {asked}: is a link; give the folder that it leads to")
        if not self._is_own(checkpoint):
            self.check(demo=demo, overwrite=overwrite)
        return checkpoint

    def _is_own(self, checkpoint: Path) -> bool:
        """Tells whether a checkpoint lies in this folder, however its path is written."""
        return Path(os.path.abspath(checkpoint)).parent.resolve() == self.path.resolve()

    def _adopt(self, identity: Mapping[str, Any]) -> None:
        """Lists whole checkpoints of this run, which may have been copied back; without a list, all that it wrote.

        Runs of the first versions kept none.

        Raises:
            UserError: Something else is in the way.
        """
        whole = [path for path in list_checkpoints(self.path) if find_fault(path) is None]
        others = {path.name for path in whole if find_differences(path, identity)}
        names = [path.name for path in whole] if self.output.has_list else self._list_written()
        self.output.claim(*(name for name in names if name not in others))
        self._refuse_in_the_way()
        recover(self.path)

    def open(
        self,
        asked: Mapping[str, Any],
        *,
        resume_from: Path | None = None,
        identity: Mapping[str, Any] | None = None,
        check: Callable[[Path], None] | None = None,
        seen: SeenFaces | None = None,
    ) -> None:
        """Makes the folder ready for a run, the last thing before it trains; every process has to call it.

        Args:
            asked: The settings that were asked for, by flag name.
            resume_from: The checkpoint that the run resumes from; what it has written so far is kept.
            identity: What that checkpoint has to share with the run.
            check: Refuses that checkpoint for another reason.
            seen: The faces that it sees, where that is to be written down; on the main process.

        Raises:
            UserError: On every process: it cannot be written to, the checkpoint is another run's, or another machine of
                the run does not see it.
        """
        broadcast_from_main(lambda: self._start(asked, resume_from, identity or {}, check, seen))
        with raise_on_all():
            if not (self.path / CONFIG_FILE).is_file():
                raise UserError(
                    f"--output_dir {self.path.absolute()}: not seen on {platform.node()}; expected a folder on a disk "
                    "that all machines of the run share"
                )

    def _start(
        self,
        asked: Mapping[str, Any],
        resume_from: Path | None,
        identity: Mapping[str, Any],
        check: Callable[[Path], None] | None,
        seen: SeenFaces | None,
    ) -> None:
        if resume_from is not None:
            compare_identity(resume_from, identity)
            if check is not None:
                check(resume_from)
            if self._is_own(resume_from):
                self._adopt(identity)
            say_line(f"Going on from {resume_from}.")
        with naming_disk_errors(self.path, advice="take another --output_dir"):
            if resume_from is None or not self._is_own(resume_from):
                self.clear(keep_demo_faces=True)
            self.output.tidy_list()
            settings = {name: _plain(value) for name, value in asked.items() if name not in _NOT_SETTINGS}
            text = yaml.safe_dump(settings, sort_keys=True, allow_unicode=True) if settings else "{}\n"
            self.output.write_together({**({SEEN_FILE: seen.render()} if seen else {}), CONFIG_FILE: text})

    def clear(self, *, keep_demo_faces: bool = False) -> None:
        """Deletes what an earlier run, and evaluations of it, wrote, and nothing else; a demo run's faces on demand."""
        self.output.tidy_list()
        own = self.output.hashes
        checkpoints = [name for name in own if step_of(_strip(name)) >= 0]
        delete_checkpoints(self.output, *checkpoints)
        self.output.remove_folder(_STAGED_MODEL)
        if DEMO_FACES in own and not keep_demo_faces:
            self.output.remove_folder(DEMO_FACES, holds=list_drawn_files().__contains__)
        self.output.remove(name for name in own if name not in {DEMO_FACES, _STAGED_MODEL, *checkpoints})
        for evaluation in self._find_evaluations():
            OutputFolder(evaluation, EVALUATION_FILES, within=self.path).remove()
        for folder in (*self._find_evaluations(), self.path / EVALUATIONS):
            if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
                folder.rmdir()

    def _find_evaluations(self) -> list[Path]:
        folder = self.path / EVALUATIONS
        found = folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ()
        return [path for path in found if path.is_dir() and not path.is_symlink()]

    def draw_demo_faces(self) -> None:
        """Draws the faces of a demo run, in place of what an earlier run wrote."""
        with (
            announcing("Drawing faces", quiet=not are_bars_silent()),
            naming_disk_errors(self.path, advice="take another --output_dir"),
        ):
            self.clear()
            write_drawn_faces(self.output.make_folder(DEMO_FACES))

    def write_model(self, model: Any, processor: Any) -> None:
        """Writes the best model and its processor at the top of the folder, each file whole or not at all.

        Raises:
            UserError: They cannot be written.
        """
        with naming_disk_errors(self.path):
            from rafdb_vit.model.download import quiet_saving

            staged = self.output.make_folder(_STAGED_MODEL)
            try:
                with quiet_saving(staged):
                    model.save_pretrained(staged)
                    processor.save_pretrained(staged)
                for path in staged.iterdir():
                    self.output.take(path.name, staged=f"{_STAGED_MODEL}/{path.name}")
            finally:
                self.output.remove_folder(_STAGED_MODEL)

    def check_model(self) -> None:
        """Makes sure that the model at the top of the folder is the one that this run wrote.

        Raises:
            UserError: Another process has replaced it meanwhile.
        """
        from rafdb_vit.model.download import hash_model

        written, found = self.output.hashes, hash_model(self.path)
        expected = [name for name in written if name.endswith((".safetensors", "config.json"))]
        for name in {*expected, *found}:
            if written.get(name) is None or written[name] != found.get(name):
                raise UserError(
                    f"{self.path / name}: is not the file that this run wrote, and was replaced meanwhile; the "
                    "checkpoints are whole: go on with --resume_from_checkpoint when nothing else writes there"
                )

    def write_results(self, *, validation: EvaluationResult, test: EvaluationResult, protocol: Protocol) -> None:
        """Writes `results.json`, with which a folder holds a finished run, and then the plots.

        Raises:
            UserError: They cannot be written.
        """
        from rafdb_vit.report.plots import plot_confusion_matrix, plot_learning_curves

        with naming_disk_errors(self.path):
            self.output.write(RESULTS_FILE, render_results(validation=validation, test=test, protocol=protocol))
        drawn = f"the run in {self.path} is whole, but its pictures could not be drawn"
        with naming_disk_errors(self.path, advice=drawn):
            matrix = plot_confusion_matrix(test, title=f"Test faces, {protocol.data.name}")
            self.output.write(f"{PLOTS_FOLDER}/{CONFUSION_FILE}", matrix)
            curves = plot_learning_curves(protocol.history, chosen_epoch=protocol.checkpoint.epoch or 0.0)
            self.output.write(f"{PLOTS_FOLDER}/{CURVES_FILE}", curves)
