"""The training run that a model comes from: its data settings and its metrics, for evaluating it again."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from datasets import Dataset

from rafdb_vit.data.found import FoundData
from rafdb_vit.evaluation.overlap import SeenFaces
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult, read_results
from rafdb_vit.runtime.console import say_line
from rafdb_vit.runtime.disk import expand
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.training.checkpoints import MANIFEST, list_checkpoints, read_identity, step_of
from rafdb_vit.training.flags import FormArguments
from rafdb_vit.training.run_folder import CONFIG_FILE, RunFolder

_DATA = ("data_dir", "dataset_name")
_FORM = ("subset", "aligned", "box_margin", "per_device_eval_batch_size")
"""What a model is used with on other data too: the form of the faces that it knows."""
_DIVIDING = ("test_fraction", "split_seed", "group_column", "group_pattern", "leave_out")
"""What decides which faces are set aside as test."""
TEST_FILES = "test files"
"""Name of the hash of these faces in a checkpoint's identity."""
_BATCH_SIZE = "per_device_eval_batch_size"
_MOST_AT_ONCE = 1024
"""Faces at once that are taken over: a run may come from another person, or from a larger machine. Of large pictures
`rafdb_vit.evaluation.inference` takes fewer at a time."""


@dataclass(frozen=True)
class PastRun:
    """A finished or unfinished training run.

    Attributes:
        folder: The run folder.
        settings: Of its `training_config.yaml` what an evaluation starts from: its data, and the faces at once; not
            what belongs to its machine.
        results: Metrics on validation, on test, and the protocol; None if it is not finished.
        is_top: The model is the run's best, at the top of the folder; not one of its checkpoints.
        seen: The faces that it was trained on; None if that is not known.
    """

    folder: Path
    settings: Mapping[str, Any]
    results: tuple[EvaluationResult, EvaluationResult, Protocol] | None
    is_top: bool
    seen: SeenFaces | None

    @property
    def protocol(self) -> Protocol | None:
        """How its metrics came about; None if it is not finished."""
        return self.results[2] if self.results else None

    def drew(self, data_dir: str | None) -> bool:
        """Tells whether a folder holds the faces that this run drew for itself."""
        own = RunFolder(self.folder).demo_faces
        return data_dir is not None and own.is_dir() and os.path.realpath(expand(data_dir)) == os.path.realpath(own)

    @property
    def config(self) -> Path:
        """The file of its settings."""
        return self.folder / CONFIG_FILE

    def choose_settings(self, settings: Mapping[str, Any], *, given: Mapping[str, Any]) -> dict[str, Any]:
        """Returns how the run was given its data, by flag name, less what is given again, and says so.

        On other data than the run's own only the form of the faces is taken over.

        Args:
            settings: The run's, each of its flag's type.
            given: Flags of the command line, which win.
        """
        settings = {name: value for name, value in settings.items() if value is not None}
        if settings.pop("demo", False):
            settings["data_dir"] = str(RunFolder(self.folder).demo_faces)
        if not 1 <= settings.get(_BATCH_SIZE, 1) <= _MOST_AT_ONCE:
            del settings[_BATCH_SIZE]
        if any(name in given for name in _DATA) and not self._is_own_data(settings, given):
            settings = {name: value for name, value in settings.items() if name in _FORM}
        taken = {name: value for name, value in settings.items() if name not in given}
        if taken:
            words = ", ".join(f"--{name} {_render_value(value)}" for name, value in taken.items())
            say_line(f"Settings    of {self.folder}: {words}")
        return taken

    def _is_own_data(self, settings: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        """Tells whether the data is that of the run; other data has other columns and splits."""
        if "dataset_name" in given:
            return bool(given["dataset_name"] == settings.get("dataset_name"))
        own = settings.get("data_dir")
        return own is not None and os.path.realpath(expand(own)) == os.path.realpath(expand(given["data_dir"]))

    def refuse_training_faces(self, found: FoundData[Dataset], source: str | None) -> None:
        """Refuses data that this run set its test faces aside from, unless they are set aside again, the very same.

        It is the run's own data where it lies in the same place, in a folder of it or above it, or where its faces have
        the same names.

        Args:
            found: The data to be scored.
            source: Its folder or name.

        Raises:
            UserError: Faces of test are, or could be, those that the run was trained on.
        """
        if self.settings.get("test_fraction") is None:
            return
        trained = self.protocol.test_split if self.protocol else None
        known = trained.files_sha256 if trained else self._read_test_files()
        own = found.shares.get("test")
        if own is not None and own.files_sha256 == known:
            return
        same_names = trained is not None and found.names_sha256 == trained.from_sha256
        if not (same_names or self._overlaps(source)):
            return
        flags = " ".join(
            f"--{name} {_render_value(self.settings[name])}"
            for name in _DIVIDING
            if self.settings.get(name) is not None
        )
        if own is None:
            raise UserError(
                f"{source}: holds the faces that {self.folder} was trained on; add {flags} to score those that it set "
                "aside as test"
            )
        raise UserError(
            f"{source}: {self.folder} set other faces aside as test than these would be, and was trained on some of "
            f"them; restore the data as it was, and take the run's own flags ({flags}), or give other data"
        )

    def _read_test_files(self) -> str | None:
        """Returns the hash of the faces that an unfinished run set aside, from its newest checkpoint that has it."""
        identities = map(read_identity, list_checkpoints(self.folder))
        return next((identity[TEST_FILES] for identity in identities if TEST_FILES in identity), None)

    def _overlaps(self, source: str | None) -> bool:
        """Tells whether data lies where this run's own does, in a folder of it, or above it."""
        own = next((self.settings[name] for name in _DATA if self.settings.get(name)), None)
        if own is None or source is None:
            return False
        if own == source:
            return True
        first, second = (Path(os.path.realpath(expand(str(place)))) for place in (own, source))
        if not (first.exists() and second.exists()):
            return False
        folders = [place if place.is_dir() else place.parent for place in (first, second)]
        return folders[0].is_relative_to(folders[1]) or folders[1].is_relative_to(folders[0])

    def compare(self, result: EvaluationResult, *, split: str, files: Mapping[str, str]) -> str | None:
        """Returns how metrics compare with those that training wrote for the same faces; None for other faces.

        Args:
            result: Metrics of this model.
            split: The split that they are of.
            files: SHA-256 by name of the model's files.
        """
        metrics = escape(str(self.folder / RESULTS_FILE))
        measured = self.protocol.files_sha256 if self.protocol else {}
        changed = [name for name in files if self.is_top and measured.get(name, files[name]) != files[name]]
        if changed:
            return f"{', '.join(changed)}: not what {metrics} was measured with; changed since.\n"
        if self.results is None or not self.is_top or split not in ("validation", "test"):
            return None
        trained = self.results[0] if split == "validation" else self.results[1]
        if trained.supports != result.supports:
            return None
        theirs, ours = trained.flat(), result.flat()
        largest = max(ours, key=lambda name: abs(ours[name] - theirs[name]))
        if ours[largest] == theirs[largest]:
            return f"The same metrics as in {metrics}, to the last digit.\n"
        return (
            f"Not the metrics of {metrics}: {largest} is {ours[largest]:.6g} here and "
            f"{theirs[largest]:.6g} there. Other faces, another machine or another batch size make a difference.\n"
        )


def _render_value(value: Any) -> str:
    """Returns the value of a setting as a command line has it."""
    return shlex.join(map(str, value)) if isinstance(value, list) else shlex.quote(str(value))


def find_run(model: str) -> PastRun | None:
    """Returns the run that a model comes from: its folder, or one of its checkpoints; None if it is of none.

    Only a checkpoint of a run takes the settings of the folder above it: any other model that somebody put there is
    not that run's.

    Raises:
        UserError: A file of the run cannot be read.
    """
    place = _find_place(model)
    return place and _read_run(*place)


def find_seen(model: str) -> SeenFaces | None:
    """Returns the faces that the run was trained on which a model comes from; None if that is not known.

    Raises:
        UserError: The file of the run that tells cannot be read.
    """
    place = _find_place(model)
    return place and RunFolder(place[0]).read_seen()


def _find_place(model: str) -> tuple[Path, bool] | None:
    """Returns the folder of the run that a model comes from, and whether the model is the one at its top."""
    folder = expand(model)
    if not folder.is_dir():
        return None
    if os.path.lexists(folder / CONFIG_FILE):
        return folder, True
    place = Path(os.path.realpath(folder))
    is_checkpoint = step_of(place) >= 0 and os.path.lexists(place / MANIFEST)
    if is_checkpoint and os.path.lexists(place.parent / CONFIG_FILE):
        return place.parent, False
    return None


def _read_run(folder: Path, is_top: bool) -> PastRun:
    known = (*(field.name for field in fields(FormArguments)), "demo", _BATCH_SIZE)
    run = RunFolder(folder)
    settings = {name: value for name, value in run.read_settings().items() if name in known}
    results = read_results(folder) if os.path.lexists(folder / RESULTS_FILE) else None
    return PastRun(folder, settings, results, is_top, run.read_seen())
