"""What experiment trackers get of a run, through transformers' own callbacks, which `--report_to` chooses."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.integrations import INTEGRATION_TO_CALLBACK

from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.console import say_aside_between_bars
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.arguments import ExpressionTrainingArguments

TEST_PICTURE = "test/confusion_matrix"
"""What the picture of the confusion matrix is called in a tracker."""


def _send_to_tensorboard(tracker: Any, picture: Path, step: int) -> None:
    import numpy as np
    from PIL import Image

    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    tracker.tb_writer.add_image(TEST_PICTURE, pixels, step, dataformats="HWC")
    tracker.tb_writer.flush()


def _send_to_wandb(tracker: Any, picture: Path, step: int) -> None:
    import wandb

    # The Trainer's steps are a metric of their own there: wandb counts its calls.
    wandb.log({TEST_PICTURE: wandb.Image(str(picture)), "train/global_step": step})


def _send_to_mlflow(tracker: Any, picture: Path, step: int) -> None:
    import mlflow

    mlflow.log_artifact(str(picture), Path(TEST_PICTURE).parent.name)


PICTURE_SENDERS: Mapping[str, Callable[[Any, Path, int], None]] = {
    "tensorboard": _send_to_tensorboard,
    "wandb": _send_to_wandb,
    "mlflow": _send_to_mlflow,
}
"""How a tracker takes a picture; the others get the metrics alone."""


class _ReportedArguments(ExpressionTrainingArguments):
    """Training arguments as a tracker shows them: as they were asked for, and the package's own flags beside them."""

    flags: Mapping[str, Any] = {}

    def to_dict(self) -> dict[str, Any]:
        """Returns every flag, tokens left out, as all of transformers' trackers read it."""
        schedule = self.step_schedule
        resolved: dict[str, Any] = {"push_to_hub": self.publishes, "dataloader_drop_last": self.drops_last}
        if schedule is not None:
            resolved |= {"lr_scheduler_type": "step", "lr_scheduler_kwargs": schedule._asdict()}
        # transformers puts the model's settings beside these, whose image_size an unset flag would hide.
        given = {name: value for name, value in self.flags.items() if value is not None}
        return {**given, **super().to_dict(), **resolved}


class TrackersCallback(TrainerCallback):
    """transformers' callbacks of trackers, taken together: what fails in one of them costs the run nothing.

    A tracker that fails while it is set up ends the run, before training. One that fails later gets nothing more, and
    one line says so.

    Args:
        trackers: The callbacks by their names in `--report_to`.
    """

    def __init__(self, trackers: Mapping[str, TrainerCallback]) -> None:
        self.trackers = dict(trackers)
        self._flags: Mapping[str, Any] = {}
        self._stays_open = False
        self._end: tuple[Any, TrainerState, TrainerControl, dict[str, Any]] | None = None

    @contextmanager
    def reporting_run(self, flags: Mapping[str, Any]) -> Iterator[None]:
        """Keeps the trackers open when training ends, until the block does, so that they also get the results of test.

        Args:
            flags: The package's own flags, which stand beside those of `TrainingArguments`.
        """
        self._flags, self._stays_open = flags, True
        try:
            yield
        finally:
            self._stays_open = False
            if self._end is not None:
                args, state, control, more = self._end
                self._tell_all("on_train_end", args, state, control, **more)

    def report_test(self, result: EvaluationResult, picture: Path) -> None:
        """Sends the results of test, after training; the picture of the confusion matrix where a tracker takes it."""
        if self._end is None:
            return
        args, state, control, more = self._end
        logs = {f"test_{name}": value for name, value in result.flat().items()}
        with announcing(f"Sending the results of test to {', '.join(self.trackers)}"):
            self._tell_all("on_log", args, state, control, **more, logs=logs)
            for name, tracker in [*self.trackers.items()] if state.is_world_process_zero else []:
                if name in PICTURE_SENDERS:
                    with self._leaving_out(name):
                        PICTURE_SENDERS[name](tracker, picture, state.global_step)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Sets the trackers up.

        Raises:
            UserError: One of them could not be.
        """
        for name, tracker in self.trackers.items():
            try:
                tracker.on_train_begin(self._describe(args), state, control, **more)
            except Exception as error:  # a tracker's client raises what it likes
                words = "put that right, or train without it"
                raise UserError(f"--report_to {name}: cannot be started ({_name(error)}); {words}") from error

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        """Closes the trackers; in a whole run that comes later, see `reporting_run`."""
        if self._stays_open:
            self._end = args, state, control, more
        else:
            self._tell_all("on_train_end", args, state, control, **more)

    def _tell_all(self, event: str, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        for name, tracker in [*self.trackers.items()]:
            with self._leaving_out(name):
                getattr(tracker, event)(self._describe(args), state, control, **more)

    def _describe(self, args: ExpressionTrainingArguments) -> ExpressionTrainingArguments:
        described = copy.copy(args)
        described.__class__ = _ReportedArguments
        described.flags = self._flags  # type: ignore[attr-defined]
        return described

    @contextmanager
    def _leaving_out(self, name: str) -> Iterator[None]:
        """Leaves a tracker out from now on if a block, which tells it something, fails."""
        try:
            yield
        except Exception as error:  # a tracker's client raises what it likes
            del self.trackers[name]
            lost = "it gets nothing more of this run, which loses nothing else"
            say_aside_between_bars(f"Warning: --report_to {name}: failed ({_name(error)}); {lost}")


def _name(error: Exception) -> str:
    """Returns an error in one line, as it stands in a message."""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.200}"


def _passing_on(event: str) -> Callable[..., None]:
    def tell(self: TrackersCallback, args: Any, state: TrainerState, control: TrainerControl, **more: Any) -> None:
        self._tell_all(event, args, state, control, **more)

    tell.__name__ = event
    return tell


for _event in (name for name in vars(TrainerCallback) if name.startswith("on_")):
    if _event not in vars(TrackersCallback):
        setattr(TrackersCallback, _event, _passing_on(_event))


def gather_trackers(callbacks: list[Any]) -> TrackersCallback:
    """Takes the callbacks of trackers out of a Trainer's, and returns them as one, which is to be added instead."""
    names = {callback: name for name, callback in INTEGRATION_TO_CALLBACK.items()}
    trackers = [callback for callback in callbacks if type(callback) in names]
    for tracker in trackers:
        callbacks.remove(tracker)
    return TrackersCallback({names[type(tracker)]: tracker for tracker in trackers})
