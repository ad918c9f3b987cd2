"""A `Trainer` whose runs survive: whole checkpoints, exact resuming, signals that end it at one step everywhere.

The private names of transformers in use are listed in `rafdb_vit.training`.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils.constants import OPTIMIZER_NAME as FSDP_OPTIMIZER_NAME
from transformers import Trainer, TrainerCallback, TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import ExportableState
from transformers.trainer_utils import TrainOutput

from rafdb_vit.model.download import quiet_loading
from rafdb_vit.runtime.errors import Interrupted
from rafdb_vit.runtime.processes import count_processes, gather, process_index
from rafdb_vit.runtime.signals import SignalWatch, hold_signals, release_signals
from rafdb_vit.training.checkpoints import find_best, prune_checkpoints, write_checkpoint
from rafdb_vit.training.progress import PROGRESS_FILE, STATE_FILE, naming_damage, read_progress
from rafdb_vit.training.restored_state import (
    check_archive,
    check_form,
    check_optimizer,
    check_random,
    check_scaler,
    check_schedule,
    load_tensors,
)


class ResumableTrainer(Trainer):
    """`transformers.Trainer` with its checkpoints, its resuming and its end by a signal replaced.

    It knows nothing of faces. Differences from the stock Trainer:

    - a checkpoint appears whole or not at all, whichever process fails and whenever it is killed;
    - the best evaluation always has a checkpoint;
    - beside the stock files, a checkpoint says what the run was (`identity`) and where within its epoch it stood;
    - a run that is resumed anywhere, also within an epoch, within an accumulated step or before an evaluation that was
      due, continues as the uninterrupted one did: the same weights, optimizer, schedule, best step, early-stopping
      count and logged losses;
    - SIGINT and SIGTERM, noted by a `SignalWatch`, end training where all processes stand at the same step: with a
      checkpoint, and an `Interrupted` that says so.

    Args:
        identity: What has to be the same in a resumed run; written into each checkpoint.
        signals: Notes signals; None leaves them to the caller.

    Attributes:
        saved_step: The step of the newest checkpoint in the run folder, -1 if there is none.
        last_step: Gradient norm and learning rate of the last step, which the next log line will show.
        epoch_has_ended: Whether the events of the end of an epoch have come since the last step.
    """

    def __init__(
        self, *args: Any, identity: Mapping[str, Any] | None = None, signals: SignalWatch | None = None, **kwargs: Any
    ) -> None:
        self.identity = dict(identity or {})
        self.signals, self.saved_step = signals, -1
        self.last_step: dict[str, Any] = {"grad_norm": None, "learning_rate": None}
        self.epoch_has_ended = False
        self._resumed_from: Path | None = None
        self._progress: dict[str, Any] = {}
        self._had_stopped = False
        self._limit: int | None = None
        self._at_step_begin: tuple[torch.Tensor, Any, torch.Tensor, Any] | None = None
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains as the stock method does; `resume_from_checkpoint` is a folder."""
        if resume_from_checkpoint:
            self._resumed_from = Path(resume_from_checkpoint)
            self._progress = read_progress(self._resumed_from)
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

    def steps_per_epoch(self) -> int:
        """Returns the optimizer steps of an epoch."""
        faces: Any = self.train_dataset
        batches = math.ceil(len(faces) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(batches / self.args.gradient_accumulation_steps)

    @property
    def run_folder(self) -> Path:
        """The folder that checkpoints are written into."""
        return Path(str(self.args.output_dir))

    # ---- Checkpoints ----

    def _determine_best_metric(self, *args: Any, **kwargs: Any) -> bool:
        """Tells whether an evaluation is the best so far; then a checkpoint is due.

        The stock Trainer saves when the schedule says so: a best evaluation in between has no checkpoint, and an older
        one is taken for the best.
        """
        is_best = super()._determine_best_metric(*args, **kwargs)
        self.control.should_save |= is_best
        return is_best

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """Writes a checkpoint under another name and renames it, and deletes old ones.

        The stock method writes into the final folder, so that a killed run leaves a half-written checkpoint that looks
        like a whole one, and decides by file times which checkpoints are old.
        """
        self.store_flos()
        run, step, best = self.run_folder, self.state.global_step, self.state.best_global_step
        progress = self._describe_progress()
        if best and (best == step or (run / f"checkpoint-{best}").is_dir()):
            self.state.best_model_checkpoint = str(run / f"checkpoint-{best}")
        writes = self.args.should_save
        with write_checkpoint(run, step, writes=writes, identity=self.identity) as folder:
            self.save_model(str(folder), _internal_call=True)
            self._save_optimizer_and_scheduler(str(folder))
            self._save_scaler(str(folder))
            self._save_rng_state(str(folder))
            if writes:
                self._write_state(folder, progress)
        self.saved_step = step
        if writes:
            prune_checkpoints(run, keep=self._limit, best_step=best)

    def _describe_progress(self) -> dict[str, Any]:
        """Returns what the stock Trainer does not save, and a resumed run needs to log the same metrics."""
        norm = self.last_step["grad_norm"]
        return {
            "train_loss": gather(self._tr_loss.item()),
            "last_logged_step": self._globalstep_last_logged,
            "last_step": {**self.last_step, "grad_norm": norm.item() if isinstance(norm, torch.Tensor) else norm},
            "epoch_has_ended": self.epoch_has_ended,
        }

    def _write_state(self, folder: Path, progress: dict[str, Any]) -> None:
        states: Any = self._describe_callbacks()
        self.state.stateful_callbacks = states
        self.state.save_to_json(str(folder / STATE_FILE))
        (folder / PROGRESS_FILE).write_text(json.dumps(progress) + "\n", encoding="utf-8")

    def _describe_callbacks(self) -> dict[str, Any]:
        """Returns what the callbacks keep, by class."""
        exported = [cb for cb in [*self.callback_handler.callbacks, self.control] if isinstance(cb, ExportableState)]
        return {type(cb).__name__: cb.state() for cb in exported}

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
            self._check_restored(written, max_steps)
            found = super()._init_training_state(max_steps, *args, **kwargs)
        # The stock Trainer goes by the intervals in the file; they are this run's flags.
        self.state.compute_steps(self.args, max_steps)
        self.state.best_model_checkpoint = None
        if written.best_global_step:
            best = find_best(self._resumed_from, written.best_global_step, run=self.run_folder)
            self.state.best_model_checkpoint = str(best)
        self._had_stopped = self.control.should_training_stop
        if self._resumed_from.resolve().parent == self.run_folder.resolve():
            self.saved_step = self.state.global_step
        return found

    def _check_restored(self, written: TrainerState, max_steps: int) -> None:
        """Checks what depends on this run; the stock Trainer sets any attribute of a callback to any value.

        Raises:
            ValueError: The checkpoint is of a run of another length, or a callback's state is of another form.
        """
        if written.max_steps != max_steps:
            raise ValueError(f"max_steps is {written.max_steps}, and {max_steps} in this run")
        states: Any = written.stateful_callbacks
        for name, own in self._describe_callbacks().items():
            if name in states:
                check_form(states[name], own, name)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Restores optimizer and schedule, after a look at what the files hold; a sharded optimizer's is not known."""
        if checkpoint is None:
            return super()._load_optimizer_and_scheduler(checkpoint)
        folder, optimizer, schedule = Path(checkpoint), cast(Any, self.optimizer), cast(Any, self.lr_scheduler)
        with naming_damage(folder, SCHEDULER_NAME):
            steps = load_tensors(folder / SCHEDULER_NAME)
            check_schedule(steps, schedule.state_dict(), most_steps=(self.state.global_step + 1) * count_processes())
        if self.is_fsdp_enabled:
            whole = folder / f"{FSDP_OPTIMIZER_NAME}.bin"
            with naming_damage(folder, FSDP_OPTIMIZER_NAME):
                if whole.exists():
                    check_archive(whole)
                return super()._load_optimizer_and_scheduler(checkpoint)
        with naming_damage(folder, OPTIMIZER_NAME):
            restored = load_tensors(folder / OPTIMIZER_NAME)
            check_optimizer(restored, optimizer)
            optimizer.load_state_dict(restored)
        schedule.load_state_dict(steps)

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Restores loss scaling (FP16), after a look at what the file holds."""
        if checkpoint is None or not os.path.lexists(path := Path(checkpoint) / SCALER_NAME):
            return
        with naming_damage(Path(checkpoint), SCALER_NAME):
            scaler: Any = self.accelerator.scaler
            if scaler is None:
                raise ValueError("this run trains without loss scaling")
            restored = load_tensors(path)
            check_scaler(restored, scaler.state_dict())
            scaler.load_state_dict(restored)

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Restores torch's, NumPy's and Python's random numbers, after a look at what the file holds."""
        if checkpoint is None:
            return
        several = self.args.world_size > 1
        name = f"rng_state_{self.args.process_index}.pth" if several else "rng_state.pth"
        with naming_damage(Path(checkpoint), name):
            if os.path.lexists(Path(checkpoint) / name):
                check_random(load_tensors(Path(checkpoint) / name))
            super()._load_rng_state(checkpoint)

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
