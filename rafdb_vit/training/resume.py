"""A `Trainer` whose runs survive: whole checkpoints, exact resuming, signals that end it at one step everywhere.

The private names of transformers in use are listed in `rafdb_vit.training`.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerState
from transformers.trainer_utils import TrainOutput
from transformers.utils import CONFIG_NAME

from rafdb_vit.model.download import quiet_loading
from rafdb_vit.runtime.console import say_line
from rafdb_vit.runtime.errors import Interrupted
from rafdb_vit.runtime.processes import count_processes, process_index
from rafdb_vit.runtime.signals import SignalWatch, hold_signals, release_signals
from rafdb_vit.training.checkpointing import CheckpointingTrainer
from rafdb_vit.training.checkpoints import find_best, prune_checkpoints
from rafdb_vit.training.divergence import find_step_fault, find_weight_fault
from rafdb_vit.training.length import RunLength
from rafdb_vit.training.progress import STATE_FILE, naming_damage, read_progress, read_state


class ResumableTrainer(CheckpointingTrainer):
    """`CheckpointingTrainer` with the stock Trainer's resuming and its ways to end before its time replaced.

    It knows nothing of faces. Differences from the stock Trainer, besides `CheckpointingTrainer`'s:

    - a run that is resumed anywhere, also within an epoch, within an accumulated step or before an evaluation that was
      due, continues as the uninterrupted one did: the same weights, optimizer, schedule, best step, early-stopping
      count and logged losses;
    - it may go on to more steps than it was begun with, where that is the same as having asked for them at once
      (`rafdb_vit.training.length`);
    - SIGINT and SIGTERM, noted by a `SignalWatch`, end training where all processes stand at the same step: with a
      checkpoint, and an `Interrupted` that says so;
    - so does a loss, a gradient norm or a weight that is not finite, with a `Diverged`, and without a checkpoint.

    Args:
        signals: Notes signals; None leaves them to the caller.
    """

    def __init__(self, *args: Any, signals: SignalWatch | None = None, **kwargs: Any) -> None:
        self.signals = signals
        self._resumed_from: Path | None = None
        self._progress: dict[str, Any] = {}
        self._had_stopped = False
        self._at_step_begin: tuple[torch.Tensor, Any, torch.Tensor, Any] | None = None
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains as the stock method does; `resume_from_checkpoint` is a folder."""
        if resume_from_checkpoint:
            self._resumed_from = Path(resume_from_checkpoint)
            self._progress = read_progress(self._resumed_from)
            self.check_length(self._resumed_from)
            # It was done when the run began, and early stopping would count it twice.
            self.args.eval_on_start = False
        # Last of all callbacks: an evaluation that was still due is shown by those before it.
        self.remove_callback(ResumeCallback)
        self.add_callback(ResumeCallback(self))
        # With a limit of 1 the stock method ends by deleting every folder whose name begins as a checkpoint's does.
        self._limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            outcome = super().train(resume_from_checkpoint, *args, **kwargs)
            if self.args.should_save:
                prune_checkpoints(self.run_folder, keep=self._limit, best_step=self.state.best_global_step, ended=True)
            return outcome
        finally:
            self.args.save_total_limit = self._limit

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates as the stock method does, without advancing torch's random numbers.

        A data loader draws from them when it starts; training would continue differently after an evaluation that was
        interrupted and repeated.
        """
        state = torch.get_rng_state()
        self._hold_signals()
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            release_signals()
            torch.set_rng_state(state)

    # ---- Length ----

    def steps_per_epoch(self) -> int:
        """Returns the optimizer steps of an epoch."""
        faces: Any = self._get_train_sampler(self.train_dataset)
        batches = math.ceil(len(faces) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(batches / self.args.gradient_accumulation_steps)

    def total_steps(self) -> int:
        """Returns the optimizer steps of the run, unless it stops early."""
        if self.args.max_steps > 0:
            return self.args.max_steps
        return math.ceil(self.args.num_train_epochs * self.steps_per_epoch())

    def check_length(self, checkpoint: Path) -> None:
        """Refuses to resume from a checkpoint of a run of another length, where that gives another run.

        Raises:
            UserError: It does; see `RunLength.refuse_other`.
        """
        run = checkpoint.resolve().parent
        start = run if (run / CONFIG_NAME).is_file() else checkpoint
        length = RunLength(self.total_steps(), self.steps_per_epoch(), self._rate_of, self.args)
        length.refuse_other(checkpoint, read_state(checkpoint), start=start)

    def _rate_of(self, steps: int) -> Callable[[int], float] | None:
        """Returns the schedule of a run of so many steps, a factor by step; None where it goes by the metrics."""
        stands_in = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
        kept, self.lr_scheduler = self.lr_scheduler, None
        factors = getattr(self.create_scheduler(steps, stands_in), "lr_lambdas", [None])
        self.lr_scheduler = kept
        factor: Callable[[int], float] | None = factors[0]
        return factor

    # ---- Going on ----

    def resume(self) -> None:
        """Takes up what was under way when the checkpoint was written, before the first step."""
        if self._resumed_from is None:
            return
        progress = self._progress
        losses, self.last_step = progress["train_loss"], progress["last_step"]
        same = len(losses) == count_processes()
        self._tr_loss.fill_(losses[process_index()] if same else sum(losses) / len(losses))
        self._globalstep_last_logged = progress["last_logged_step"]
        self.epoch_has_ended = progress["epoch_has_ended"]
        # For the checkpoint that may be written at once; the stock Trainer restores them after the first batch.
        self._load_rng_state(str(self._resumed_from))
        self.control.should_save &= self.control.should_evaluate
        self.control.should_training_stop |= self._had_stopped
        self._finish_pending()
        if not self.epoch_has_ended and (self._had_stopped or self._is_last_step()):
            # The stock Trainer begins the next epoch, and what is due at the end of this one is never done.
            self.epoch_has_ended = True
            self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
            self._finish_pending()

    def _init_training_state(self, max_steps: int, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Restores the trainer's state; finds the best checkpoint also in a run folder that was moved."""
        if self._resumed_from is None:
            return super()._init_training_state(max_steps, *args, **kwargs)
        with quiet_loading(), naming_damage(self._resumed_from, STATE_FILE):
            written = TrainerState.load_from_json(str(self._resumed_from / STATE_FILE))
            self._check_callbacks(written)
            found = super()._init_training_state(max_steps, *args, **kwargs)
        # The stock Trainer goes by the intervals in the file; they are this run's flags.
        self.state.compute_steps(self.args, max_steps)
        self.state.best_model_checkpoint = None
        if written.best_global_step:
            best = find_best(self._resumed_from, written.best_global_step, run=self.run_folder)
            self.state.best_model_checkpoint = str(best)
        self._had_stopped = self.control.should_training_stop = self._tell_stopped(written, max_steps)
        if self._resumed_from.resolve().parent == self.run_folder.resolve():
            self.saved_step = self.state.global_step
        return found

    def _tell_stopped(self, written: TrainerState, max_steps: int) -> bool:
        """Tells whether a resumed run had stopped: early, or at its end, from where a longer one goes on."""
        stopped, is_longer = self.control.should_training_stop, max_steps > written.max_steps
        if stopped and is_longer and written.global_step >= written.max_steps:
            early = [cb for cb in self.callback_handler.callbacks if isinstance(cb, EarlyStoppingCallback)]
            stopped = any(cb.early_stopping_patience_counter >= cb.early_stopping_patience for cb in early)
        if stopped and is_longer:
            say_line(f"Early stopping ended the run at step {written.global_step}: more steps train it no further.")
        return stopped

    def _finish_pending(self) -> None:
        step = self.last_step
        self._log_save_evaluate(
            self._tr_loss,
            step["grad_norm"],
            self.model_wrapped,
            None,
            self.state.epoch,
            None,
            time.time(),
            learning_rate=step["learning_rate"],
        )

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Runs an epoch, unless the resumed run had already stopped; can end within an accumulated step."""
        if self.control.should_training_stop:
            return
        self._hold_signals()
        try:
            super()._run_epoch(*args, **kwargs)
        except Interrupted as stop:
            if stop.message:
                raise
            self._back_to_step_begin()
            self._save_and_stop(stop)
        finally:
            release_signals()

    def _hold_signals(self) -> None:
        """Lets signals wait while data workers are started, until the first batch is there."""
        if self.signals is not None:
            hold_signals()

    # ---- Ending early ----

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *args: Any, **kwargs: Any) -> None:
        """Logs, evaluates and saves what is due, unless a signal has come: that comes first."""
        self.last_step = {"grad_norm": grad_norm, "learning_rate": kwargs.get("learning_rate")}
        self.end_if_diverged(find_step_fault(tr_loss, grad_norm, self.accelerator))
        ends = self.control.should_training_stop or self.control.should_epoch_stop or self._is_last_step()
        if self.signals is None or (ends and not self.epoch_has_ended):
            # The end of the epoch follows at once, and may have more to do at this step.
            return self._log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)
        try:
            self.signals.raise_if_signalled()
        except Interrupted as stop:
            due = self.control.should_evaluate, self.control.should_save
            self.control.should_evaluate = self.control.should_save = False
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)
            self.control.should_evaluate, self.control.should_save = due
            self._save_and_stop(stop)
        return self._log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        if self.control.should_evaluate:
            self.end_if_diverged(find_weight_fault(self.model_wrapped))
        try:
            super()._maybe_log_save_evaluate(*args, **kwargs)
        except Interrupted as stop:
            # Out of the evaluation, which stays due: the checkpoint says so, and `resume` makes up for it.
            self._save_and_stop(stop)

    def _is_last_step(self) -> bool:
        return self.state.global_step % self.steps_per_epoch() == 0

    def _save_and_stop(self, stop: Interrupted) -> None:
        """Writes a checkpoint of where the run stands, and raises."""
        step = self.state.global_step
        if step == 0:
            raise Interrupted(stop.signum, "before the first step was done: there is nothing to save") from stop
        if self.saved_step != step:
            self._save_checkpoint(self.model_wrapped, None)
        message = f"at step {step} of {self.state.max_steps}: {self.args.output_dir}/checkpoint-{step} is written"
        raise Interrupted(stop.signum, message) from stop

    def raise_if_signalled(self) -> None:
        """Raises `Interrupted` on every process if any has been signalled; all have to call it at the same point."""
        if self.signals is not None:
            self.signals.raise_if_signalled()

    def note_step_begin(self) -> None:
        """Keeps what `_back_to_step_begin` needs, and lets signals through again."""
        release_signals()
        if self.args.gradient_accumulation_steps == 1:
            return
        cuda = torch.cuda.get_rng_state() if self.args.device.type == "cuda" else None
        self._at_step_begin = torch.get_rng_state(), cuda, self._tr_loss.clone(), self.current_flos

    def _back_to_step_begin(self) -> None:
        """Undoes what the accumulated batches of an unfinished step changed, besides gradients."""
        if self._at_step_begin is not None:
            cpu, cuda, loss, self.current_flos = self._at_step_begin
            torch.set_rng_state(cpu)
            if cuda is not None:
                torch.cuda.set_rng_state(cuda)
            self._tr_loss.copy_(loss)


class ResumeCallback(TrainerCallback):
    """Calls `ResumableTrainer` at the Trainer's events."""

    def __init__(self, trainer: ResumableTrainer) -> None:
        self.trainer = trainer

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Takes up what was under way when the run broke off."""
        self.trainer.resume()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Notes that what is due at the end of this step's epoch is still to come."""
        self.trainer.epoch_has_ended = False

    def on_epoch_end(self, *args: Any, **kwargs: Any) -> None:
        """Notes that it is due."""
        self.trainer.epoch_has_ended = True

    def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
        """Keeps what is needed to end within an accumulated step; the data workers have been started."""
        self.trainer.note_step_begin()

    def on_substep_end(self, *args: Any, **kwargs: Any) -> None:
        """Ends training after a signal."""
        self.trainer.raise_if_signalled()

    def on_prediction_step(self, *args: Any, **kwargs: Any) -> None:
        """Ends training after a signal, also out of an evaluation; its data workers have been started."""
        release_signals()
        if self.trainer.is_in_train:
            self.trainer.raise_if_signalled()
