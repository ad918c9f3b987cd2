"""The training run that a model comes from: its data settings and its metrics, for evaluating it again."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult, read_results
from rafdb_vit.runtime.console import say
from rafdb_vit.training.run_folder import CONFIG_FILE, RunFolder

_DATA = ("data_dir", "dataset_name")
_FORM = ("subset", "aligned", "box_margin", "per_device_eval_batch_size")
"""What a model is used with on other data too: the form of the faces that it knows."""


@dataclass(frozen=True)
class PastRun:
    """A finished or unfinished training run.

    Attributes:
        folder: The run folder.
        settings: Its `training_config.yaml`.
        results: Metrics on validation, on test, and the protocol; None if it is not finished.
        is_top: The model is the run's best, at the top of the folder; not one of its checkpoints.
    """

    folder: Path
    settings: Mapping[str, Any]
    results: tuple[EvaluationResult, EvaluationResult, Protocol] | None
    is_top: bool

    @property
    def protocol(self) -> Protocol | None:
        """How its metrics came about; None if it is not finished."""
        return self.results[2] if self.results else None

    def drew(self, data_dir: str | None) -> bool:
        """Tells whether a folder holds the faces that this run drew for itself."""
        own = RunFolder(self.folder).demo_faces
        return data_dir is not None and own.is_dir() and Path(data_dir).resolve() == own.resolve()

    def render_settings(self, known: Collection[str], *, given: Mapping[str, Any]) -> list[str]:
        """Returns, as words of a command line, how the run was given its data, less what is given again.

        On other data than the run's own only the form of the faces is taken over.

        Args:
            known: Flags of the command.
            given: Those that its line has, which win.
        """
        settings = {name: value for name, value in self.settings.items() if name in known and value is not None}
        if self.settings.get("demo"):
            settings["data_dir"] = str(RunFolder(self.folder).demo_faces)
        if any(name in given for name in _DATA) and not self._is_own_data(settings, given):
            settings = {name: value for name, value in settings.items() if name in _FORM}
        taken = {name: value for name, value in settings.items() if name not in given}
        if taken:
            say(f"Settings    of {self.folder}: {', '.join(f'--{name} {value}' for name, value in taken.items())}")
        return [word for name, value in taken.items() for word in (f"--{name}", str(value))]

    def _is_own_data(self, settings: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        """Tells whether the data is that of the run; other data has other columns and splits."""
        if "dataset_name" in given:
            return bool(given["dataset_name"] == settings.get("dataset_name"))
        own = settings.get("data_dir")
        return own is not None and Path(own).expanduser().resolve() == Path(given["data_dir"]).expanduser().resolve()

    def compare(self, result: EvaluationResult, *, split: str, files: Mapping[str, str]) -> str | None:
        """Returns how metrics compare with those that training wrote for the same faces; None for other faces.

        Args:
            result: Metrics of this model.
            split: The split that they are of.
            files: SHA-256 by name of the model's files.
        """
        measured = self.protocol.files_sha256 if self.protocol else {}
        changed = [name for name in files if self.is_top and measured.get(name, files[name]) != files[name]]
        if changed:
            return f"{', '.join(changed)}: not what {self.folder / RESULTS_FILE} was measured with; changed since.\n"
        if self.results is None or not self.is_top or split not in ("validation", "test"):
            return None
        trained = self.results[0] if split == "validation" else self.results[1]
        if trained.supports != result.supports:
            return None
        theirs, ours = trained.flat(), result.flat()
        largest = max(ours, key=lambda name: abs(ours[name] - theirs[name]))
        if ours[largest] == theirs[largest]:
            return f"The same metrics as in {self.folder / RESULTS_FILE}, to the last digit.\n"
        return (
            f"Not the metrics of {self.folder / RESULTS_FILE}: {largest} is {ours[largest]:.6g} here and "
            f"{theirs[largest]:.6g} there. Other faces, another machine or another batch size make a difference.\n"
        )


def find_run(model: str) -> PastRun | None:
    """Returns the run that a model comes from: its folder, or one of its checkpoints; None if it is of none.

    Raises:
        UserError: A file of the run cannot be read.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return None
    for run in (folder, folder.resolve().parent):
        if (run / CONFIG_FILE).is_file():
            results = read_results(run) if (run / RESULTS_FILE).is_file() else None
            return PastRun(run, RunFolder(run).read_settings(), results, is_top=run == folder)
    return None
