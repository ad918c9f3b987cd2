"""A `Trainer` whose checkpoints are whole, and restored only where they have the form of the run's own state.

The private names of transformers in use are listed in `rafdb_vit.training`.
"""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils.constants import OPTIMIZER_NAME as FSDP_OPTIMIZER_NAME
from transformers import Trainer, TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCALER_NAME, SCHEDULER_NAME
from transformers.trainer_callback import ExportableState

from rafdb_vit.runtime.processes import count_processes, gather
from rafdb_vit.training.checkpoints import prune_checkpoints, write_checkpoint
from rafdb_vit.training.divergence import Diverged, describe_divergence, find_weight_fault
from rafdb_vit.training.progress import PROGRESS_FILE, STATE_FILE, naming_damage
from rafdb_vit.training.restored_state import (
    check_archive,
    check_form,
    check_optimizer,
    check_random,
    check_scaler,
    check_schedule,
    load_tensors,
)


class CheckpointingTrainer(Trainer):
    """`transformers.Trainer` with its checkpoints replaced.

    Differences from the stock Trainer:

    - a checkpoint appears whole or not at all, whichever process fails and whenever it is killed;
    - the best evaluation always has a checkpoint, and one with a metric that is not finite is never the best;
    - no checkpoint holds weights that are not finite: training ends in its place;
    - beside the stock files, a checkpoint says what the run was (`identity`) and where within its epoch it stood;
    - nothing is restored from it that has another form than the run's own state.

    Args:
        identity: What has to be the same in a resumed run; written into each checkpoint.

    Attributes:
        saved_step: The step of the newest checkpoint in the run folder, -1 if there is none.
        last_step: Gradient norm and learning rate of the last step, which the next log line will show.
        epoch_has_ended: Whether the events of the end of an epoch have come since the last step.
    """

    def __init__(self, *args: Any, identity: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        self.identity = dict(identity or {})
        self.saved_step = -1
        self.last_step: dict[str, Any] = {"grad_norm": None, "learning_rate": None}
        self.epoch_has_ended = False
        self._limit: int | None = None
        super().__init__(*args, **kwargs)

    @property
    def run_folder(self) -> Path:
        """The folder that checkpoints are written into."""
        return Path(str(self.args.output_dir))

    # ---- Saving ----

    def _determine_best_metric(self, metrics: dict[str, Any], *args: Any, **kwargs: Any) -> bool:
        """Tells whether an evaluation is the best so far; then a checkpoint is due.

        The stock Trainer saves when the schedule says so: a best evaluation in between has no checkpoint, and an older
        one is taken for the best.
        """
        if not all(math.isfinite(value) for value in metrics.values() if isinstance(value, float)):
            return False
        is_best = super()._determine_best_metric(metrics, *args, **kwargs)
        self.control.should_save |= is_best
        return is_best

    def end_if_diverged(self, fault: str) -> None:
        """Ends training; `fault` is what is not finite, empty if all is.

        Raises:
            Diverged: Something is not finite.
        """
        if not fault:
            return
        step, rate = self.state.global_step, self.last_step["learning_rate"] or self._get_learning_rate()
        line = describe_divergence(fault, step=step, rate=rate, args=self.args, best=self.state.best_model_checkpoint)
        raise Diverged(line, step=step)

    def _save_checkpoint(self, model: Any, trial: Any = None) -> None:
        """Writes a checkpoint under another name and renames it, and deletes old ones.

        The stock method writes into the final folder, so that a killed run leaves a half-written checkpoint that looks
        like a whole one, and decides by file times which checkpoints are old.
        """
        self.end_if_diverged(find_weight_fault(model))
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

    # ---- Restoring ----

    def _check_callbacks(self, written: TrainerState) -> None:
        """Checks what callbacks kept; the stock Trainer sets any attribute of a callback to any value.

        Raises:
            ValueError: A callback's state is of another form.
        """
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
