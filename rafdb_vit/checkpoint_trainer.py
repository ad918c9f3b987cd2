"""A `Trainer` whose checkpoints are whole, and hold all that a run needs to go on exactly."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer
from transformers.trainer_callback import ExportableState

from rafdb_vit.processes import gather
from rafdb_vit.training_checkpoint import prune_checkpoints, write_checkpoint

STATE_FILE = "trainer_state.json"
PROGRESS_FILE = "progress.json"


class CheckpointTrainer(Trainer):
    """`transformers.Trainer` with its writing of checkpoints replaced.

    Differences from the stock Trainer:

    - a checkpoint appears whole or not at all, whichever process fails and whenever it is killed;
    - the best evaluation always has a checkpoint;
    - beside the stock files, a checkpoint says what the run was (`identity`) and where within its epoch it stood.

    Args:
        identity: What has to be the same for a run that goes on; written into each checkpoint.

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
        super().__init__(*args, **kwargs)

    def steps_per_epoch(self) -> int:
        """Returns the optimizer steps of an epoch."""
        faces: Any = self.train_dataset
        batches = math.ceil(len(faces) / (self.args.train_batch_size * self.args.world_size))
        return math.ceil(batches / self.args.gradient_accumulation_steps)

    @property
    def run_folder(self) -> Path:
        """The folder that checkpoints are written into."""
        return Path(str(self.args.output_dir))

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
            prune_checkpoints(run, keep=self.args.save_total_limit, best_step=best)

    def _describe_progress(self) -> dict[str, Any]:
        """Returns what the stock Trainer keeps to itself, and a run that goes on needs to log the same figures."""
        norm = self.last_step["grad_norm"]
        return {
            "train_loss": gather(self._tr_loss.item()),
            "last_logged_step": self._globalstep_last_logged,
            "last_step": {**self.last_step, "grad_norm": norm.item() if isinstance(norm, torch.Tensor) else norm},
            "epoch_has_ended": self.epoch_has_ended,
        }

    def _write_state(self, folder: Path, progress: dict[str, Any]) -> None:
        exported = [cb for cb in [*self.callback_handler.callbacks, self.control] if isinstance(cb, ExportableState)]
        states: Any = {type(cb).__name__: cb.state() for cb in exported}
        self.state.stateful_callbacks = states
        self.state.save_to_json(str(folder / STATE_FILE))
        (folder / PROGRESS_FILE).write_text(json.dumps(progress) + "\n", encoding="utf-8")
