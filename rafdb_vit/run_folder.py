"""The run folder: what lies in it, when it may be written to, and what a new run may delete there."""

import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from transformers.trainer_utils import get_last_checkpoint

from rafdb_vit.checkpoint import quiet_loading
from rafdb_vit.errors import UserError
from rafdb_vit.results import RESULTS_FILE

CONFIG_FILE = "training_config.yaml"
FIGURES = "figures"
DEMO_FACES = "drawn_faces"
_WRITTEN_FILES = (
    CONFIG_FILE,
    RESULTS_FILE,
    f"{RESULTS_FILE}.partial",
    "config.json",
    "preprocessor_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
)
_WRITTEN_PATTERNS = ("checkpoint-*", "model-*-of-*.safetensors")
_NOT_SETTINGS = ("output_dir", "overwrite_output_dir", "resume_from_checkpoint", "hub_token")


class RunFolder:
    """A folder that holds one training run.

    The best model lies at the top (`config.json`, `model.safetensors`, `preprocessor_config.json`), beside
    `results.json`, `training_config.yaml`, `figures/` and `checkpoint-*/`; a demo run's faces in `drawn_faces/`.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.figures = self.path / FIGURES
        self.demo_faces = self.path / DEMO_FACES

    def check(self, *, demo: bool, overwrite: bool, resume: str | None) -> None:
        """Refuses a folder that a new run must not write into.

        Args:
            demo: The new run is a demo: it may replace an earlier demo run.
            overwrite: `--overwrite_output_dir`: it may replace any earlier run.
            resume: It goes on with the run in the folder.

        Raises:
            UserError: There is something in the way, or the folder cannot be written to.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--output_dir {self.path}: is a file; expected a folder")
        existing = next(path for path in (self.path, *self.path.absolute().parents) if path.exists())
        if not os.access(existing, os.W_OK | os.X_OK):
            raise UserError(f"--output_dir {self.path}: {existing} cannot be written to; take another folder")
        # A run that failed before its first checkpoint leaves its settings alone behind: nothing that could be lost.
        holds_something = self.path.exists() and any(path.name != CONFIG_FILE for path in self.path.iterdir())
        if not holds_something or overwrite or resume or (demo and self._is_demo_run()):
            return
        raise UserError(
            f"--output_dir {self.path}: is not empty; take another folder, --overwrite_output_dir to replace the run "
            "in it, or --resume_from_checkpoint to go on with it"
        )

    def _is_demo_run(self) -> bool:
        try:
            settings = yaml.safe_load((self.path / CONFIG_FILE).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            return False
        return isinstance(settings, dict) and settings.get("demo") is True

    def newest_checkpoint(self) -> str | None:
        """Returns the checkpoint with the highest step, None if there is none."""
        if not self.path.is_dir():
            return None
        return get_last_checkpoint(str(self.path))

    def start(self, asked: dict[str, Any], *, resuming: bool) -> None:
        """Makes the folder ready for a run, the last thing before it trains.

        Args:
            asked: The settings that were asked for, by flag name.
            resuming: Keep what the run has written so far.

        Raises:
            UserError: It cannot be written to.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not resuming:
                self.clear(keep_demo_faces=True)
            self.write_settings(asked)
        except OSError as error:
            raise UserError(f"--output_dir {self.path}: cannot be written to ({error.strerror})") from error

    def clear(self, *, keep_demo_faces: bool = False) -> None:
        """Deletes what an earlier run wrote, and nothing else; a demo run's faces on demand."""
        written = [self.path / name for name in _WRITTEN_FILES]
        written += [path for pattern in _WRITTEN_PATTERNS for path in self.path.glob(pattern)]
        written += list(self.figures.glob("*.png"))
        if self._is_demo_run() and not keep_demo_faces:
            written.append(self.demo_faces)
        for path in written:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        if self.figures.is_dir() and not any(self.figures.iterdir()):
            self.figures.rmdir()

    def write_settings(self, asked: dict[str, Any]) -> None:
        """Writes `training_config.yaml`: what was asked for, without folders to write to, resuming and tokens."""
        settings = {name: value for name, value in asked.items() if name not in _NOT_SETTINGS}
        text = yaml.safe_dump(settings, sort_keys=True, allow_unicode=True) if settings else "{}\n"
        (self.path / CONFIG_FILE).write_text(text, encoding="utf-8")

    def write_model(self, model: Any, processor: Any) -> None:
        """Writes the best model and its processor at the top of the folder."""
        with quiet_loading():
            model.save_pretrained(self.path)
            processor.save_pretrained(self.path)
