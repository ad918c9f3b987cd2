"""A `Trainer` whose runs survive: resuming is exact, signals end them where all processes stand at the same step."""

import json
import time
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME
from transformers.trainer_utils import TrainOutput

from rafdb_vit.callbacks import FlowCallback
from rafdb_vit.checkpoint import quiet_loading
from rafdb_vit.checkpoint_trainer import PROGRESS_FILE, STATE_FILE, CheckpointTrainer
from rafdb_vit.errors import Interrupted
from rafdb_vit.interruption import Interruption, hold_signals, release_signals
from rafdb_vit.processes import count_processes, process_index
from rafdb_vit.training_checkpoint import find_best


class ResumableTrainer(CheckpointTrainer):
    """`CheckpointTrainer` with its resuming and its end by a signal replaced.

    Differences from the stock Trainer, besides `CheckpointTrainer`'s:

    - a run that is resumed anywhere, also within an epoch, within an accumulated step or before an evaluation that was
      due, goes on as the uninterrupted one did: the same weights, optimizer, schedule, best step, early-stopping count
      and logged losses;
    - SIGINT and SIGTERM, noted by an `Interruption`, end training where all processes stand at the same step: with a
      checkpoint, and an `Interrupted` that says so.

    Args:
        interruption: Notes signals; None leaves them to the caller.
    """

    def __init__(self, *args: Any, interruption: Interruption | None = None, **kwargs: Any) -> None:
        self.interruption = interruption
        self._resumed_from: Path | None = None
        self._had_stopped = False
        self._at_step_begin: tuple[torch.Tensor, Any, torch.Tensor, Any] | None = None
        super().__init__(*args, **kwargs)

    def train(self, resume_from_checkpoint: Any = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Trains as the stock method does; `resume_from_checkpoint` is a folder."""
        if resume_from_checkpoint:
            self._resumed_from = Path(resume_from_checkpoint)
            # It was done when the run began, and early stopping would count it twice.
            self.args.eval_on_start = False
        # Last of all callbacks: an evaluation that was still due is shown by those before it.
        self.remove_callback(FlowCallback)
        self.add_callback(FlowCallback(self))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Evaluates as the stock method does, without advancing torch's random numbers.

        A data loader draws from them when it starts; training would go on differently after an evaluation that was
        interrupted and repeated.
        """
        state = torch.get_rng_state()
        self._hold_signals()
        try:
            return super().evaluate(*args, **kwargs)
        finally:
            release_signals()
            torch.set_rng_state(state)

    # ---- Going on ----

    def go_on(self) -> None:
        """Takes up what was under way when the checkpoint was written, before the first step."""
        if self._resumed_from is None:
            return
        progress = json.loads((self._resumed_from / PROGRESS_FILE).read_text(encoding="utf-8"))
        losses, self.last_step = progress["train_loss"], progress["last_step"]
        same = len(losses) == count_processes()
        self._tr_loss.fill_(losses[process_index()] if same else sum(losses) / len(losses))
        self._globalstep_last_logged = progress["last_logged_step"]
        self.epoch_has_ended = progress["epoch_has_ended"]
        # For the checkpoint that may be written at once; the stock Trainer restores them after the first batch.
        self._load_rng_state(str(self._resumed_from))
        self.control.should_save &= self.control.should_evaluate
        self.control.should_training_stop |= self._had_stopped
        self._do_what_is_due()
        if not self.epoch_has_ended and (self._had_stopped or self._is_last_step()):
            # The stock Trainer begins the next epoch, and what is due at the end of this one is never done.
            self.epoch_has_ended = True
            self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
            self._do_what_is_due()

    def _init_training_state(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """Restores the trainer's state; finds the best checkpoint also in a run folder that was moved."""
        if self._resumed_from is None:
            return super()._init_training_state(*args, **kwargs)
        written = TrainerState.load_from_json(str(self._resumed_from / STATE_FILE))
        with quiet_loading():
            found = super()._init_training_state(*args, **kwargs)
        if written.best_global_step:
            best = find_best(
                self._resumed_from,
                written.best_global_step,
                run=self.run_folder,
                recorded=written.best_model_checkpoint,
            )
            self.state.best_model_checkpoint = str(best)
        self._had_stopped = self.control.should_training_stop
        if self._resumed_from.resolve().parent == self.run_folder.resolve():
            self.saved_step = self.state.global_step
        return found

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        """Restores optimizer and schedule.

        transformers 5.17 restores them on several CPU processes to the device `cpu:0`, which torch does not know.
        Delete when the oldest supported release is one that says `cpu`, as 5.24 does.
        """
        if checkpoint is None or self.is_fsdp_enabled or self.args.device.type != "cpu":
            return super()._load_optimizer_and_scheduler(checkpoint)
        for name, target in ((OPTIMIZER_NAME, self.optimizer), (SCHEDULER_NAME, self.lr_scheduler)):
            restored: Any = target
            restored.load_state_dict(torch.load(Path(checkpoint) / name, map_location="cpu", weights_only=True))

    def _do_what_is_due(self) -> None:
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
        """Runs an epoch, unless the run that goes on had already stopped; ends within an accumulated step too."""
        if self.control.should_training_stop:
            return
        self._hold_signals()
        try:
            super()._run_epoch(*args, **kwargs)
        except Interrupted as stop:
            if stop.message:
                raise
            self._back_to_step_begin()
            self._leave(stop)
        finally:
            release_signals()

    def _hold_signals(self) -> None:
        """Lets signals wait while data workers are started, until the first batch is there."""
        if self.interruption is not None:
            hold_signals()

    # ---- Ending early ----

    def _maybe_log_save_evaluate(self, tr_loss: Any, grad_norm: Any, *args: Any, **kwargs: Any) -> None:
        """Logs, evaluates and saves what is due, unless a signal has come: that comes first."""
        self.last_step = {"grad_norm": grad_norm, "learning_rate": kwargs.get("learning_rate")}
        ends = self.control.should_training_stop or self.control.should_epoch_stop or self._is_last_step()
        if self.interruption is None or (ends and not self.epoch_has_ended):
            # The end of the epoch follows at once, and may have more to do at this step.
            return self._log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)
        try:
            self.interruption.raise_if_requested()
        except Interrupted as stop:
            due = self.control.should_evaluate, self.control.should_save
            self.control.should_evaluate = self.control.should_save = False
            super()._maybe_log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)
            self.control.should_evaluate, self.control.should_save = due
            self._leave(stop)
        return self._log_save_evaluate(tr_loss, grad_norm, *args, **kwargs)

    def _log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        try:
            super()._maybe_log_save_evaluate(*args, **kwargs)
        except Interrupted as stop:
            # Out of the evaluation, which stays due: the checkpoint says so, and `go_on` makes up for it.
            self._leave(stop)

    def _is_last_step(self) -> bool:
        return self.state.global_step % self.steps_per_epoch() == 0

    def _leave(self, stop: Interrupted) -> None:
        """Writes a checkpoint of where the run stands, and raises."""
        step = self.state.global_step
        if step == 0:
            raise Interrupted(stop.signum, "before the first step was done: there is nothing to save") from stop
        if self.saved_step != step:
            self._save_checkpoint(self.model_wrapped, None)
        message = f"at step {step} of {self.state.max_steps}: {self.args.output_dir}/checkpoint-{step} is written"
        raise Interrupted(stop.signum, message) from stop

    def raise_if_interrupted(self) -> None:
        """Raises `Interrupted` on every process if any has been signalled; all have to call it at the same point."""
        if self.interruption is not None:
            self.interruption.raise_if_requested()

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
