"""What happens at the Trainer's events: the transform learns the epoch, the person gets a line for each."""

import math
from typing import Any

from transformers import ProgressCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rafdb_vit.model.preprocessing import TrainTransform
from rafdb_vit.runtime.console import say_between_bars
from rafdb_vit.training.sampler import EpochSampler


class EpochCallback(TrainerCallback):
    """Tells the training transform and the sampler which epoch their draws are for."""

    def __init__(self, *listeners: TrainTransform | EpochSampler) -> None:
        self.listeners = listeners

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Sets the epoch; also right after resuming within one."""
        for listener in self.listeners:
            listener.set_epoch(int(state.epoch or 0))


class BarsCallback(ProgressCallback):
    """The stock progress bars, without the dictionaries that the stock callback writes between them."""

    def on_log(self, *args: Any, **kwargs: Any) -> None:
        """Writes nothing; see `EpochLineCallback`."""

    def close(self) -> None:
        """Ends bars that an error left open, so that what is printed next starts on a line of its own."""
        for bar in (self.prediction_bar, self.training_bar):
            if bar is not None:
                bar.close()
        self.prediction_bar = self.training_bar = None


class EpochLineCallback(TrainerCallback):
    """Writes one line for each evaluation during training, with or without progress bars."""

    def __init__(self) -> None:
        self.train_loss: float | None = None
        self.learning_rate: float | None = None
        self.training = False

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Evaluations are part of training from here on."""
        self.training = True

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        """Evaluations are no part of training any more."""
        self.training = False

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Keeps what training logs for the next line, and writes the line when an evaluation logs its metrics."""
        self.train_loss = logs.get("loss", self.train_loss)
        self.learning_rate = logs.get("learning_rate", self.learning_rate)
        if self.training and state.is_world_process_zero and "eval_loss" in logs:
            say_between_bars(self._line(args, state, logs))

    def _line(self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]) -> str:
        train_loss = "" if self.train_loss is None else f"train loss {self.train_loss:.4f}  "
        rate = "" if self.learning_rate is None else f"  rate {self.learning_rate:.1e}"
        return (
            f"{self._place(args, state, logs)}  {train_loss}validation loss {logs['eval_loss']:.4f}  "
            f"accuracy {logs.get('eval_accuracy', float('nan')):.4f}  "
            f"macro-F1 {logs.get('eval_macro_f1', float('nan')):.4f}{rate}{self._mark(args, state, logs)}"
        )

    def _place(self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]) -> str:
        """Says how far training is: in epochs, and in steps first where their number was asked for."""
        epoch = f"{logs.get('epoch', 0):.4g}"
        if args.max_steps > 0:
            return f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}  epoch {epoch}"
        most = f"{args.num_train_epochs:.4g}"
        return f"epoch {epoch.rjust(len(most))}/{most}"

    def _mark(self, args: TrainingArguments, state: TrainerState, logs: dict[str, float]) -> str:
        """Marks an evaluation that beats the best before it: `state.best_metric` is updated only after this event."""
        name = f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"
        value, best = logs.get(name), state.best_metric
        if value is None or not math.isfinite(value):
            return ""
        better = best is None or (value > best if args.greater_is_better else value < best)
        return "  best so far" if better else ""
