"""transformers' `TrainingArguments` with the defaults of this package."""

import json
import os
from dataclasses import dataclass
from typing import NamedTuple

from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer_utils import SchedulerType

from rafdb_vit.runtime.bars import are_bars_silent
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import (
    ACCELERATE_PRECISION,
    EVAL_BATCH_SIZE,
    default_workers,
    pick_device,
    resolve_precision,
)
from rafdb_vit.training.flag_checks import (
    refuse_optimizer,
    refuse_sharding,
    refuse_values,
)
from rafdb_vit.training.flags import flag

NEWEST_CHECKPOINT = "newest"


class StepSchedule(NamedTuple):
    """The learning rate times `gamma` every `step_size` epochs (torch's `StepLR`, counted in epochs)."""

    step_size: int
    gamma: float


@dataclass
class ExpressionTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the defaults of this package.

    Differences from upstream, and why:

    - `learning_rate` 1e-4, `weight_decay` 0.05, cosine schedule with 10% warm-up, 25 epochs of batches of 32: what
      fine-tunes of ViTs on faces have in common (FMAE's public code), with layer-wise learning-rate decay;
    - evaluated, saved and logged once an epoch; the best checkpoint by validation macro-F1 is loaded at the end and at
      most two are kept;
    - `fp16`, `bf16`: None, so that unset can be told from False: accelerate's choice, else fp16 on CUDA, bf16 on a CPU
      that has the instructions, else fp32 (`rafdb_vit.runtime.hardware.resolve_precision`);
    - `dataloader_num_workers`: None, chosen by device;
    - `lr_scheduler_type` also takes `step`, with `--lr_scheduler_kwargs '{"step_size": 10, "gamma": 0.1}'` in epochs;
    - `resume_from_checkpoint` without a value takes the newest checkpoint of the output folder;
    - `dataloader_drop_last` is kept as `drops_last`, since upstream would leave out faces of validation as well;
    - `logging_nan_inf_filter` False: training ends where upstream would show a loss of 0;
    - `push_to_hub` is kept as `publishes`, since the Trainer's own way of publishing is not taken;
    - `remove_unused_columns` False (transforms need the columns), `ddp_find_unused_parameters` False (DDP warns else).
    """

    output_dir: str = flag("", "The run folder. Default: runs/<data>-<model>.", path=True)
    per_device_train_batch_size: int = flag(32, "Faces at once on each device.")
    per_device_eval_batch_size: int = flag(EVAL_BATCH_SIZE, "The same when evaluating.")
    num_train_epochs: float = flag(25.0, "Epochs to train, unless stopped early.")
    learning_rate: float = flag(1e-4, "Peak learning rate of the head.")
    weight_decay: float = flag(0.05, "Weight decay of matrices; no other parameter has any.")
    warmup_steps: float = flag(0.1, "Linear warm-up: a share of all steps below 1, else a number of steps.")
    lr_scheduler_type: str = flag(
        "cosine", "Learning-rate schedule.", choices=[*(schedule.value for schedule in SchedulerType), "step"]
    )
    # Wider than upstream's types: None is unset.
    fp16: bool | None = flag(  # type: ignore[assignment]
        None, "Mixed precision with float16; needs a CUDA GPU.", nargs="?", const=True
    )
    bf16: bool | None = flag(  # type: ignore[assignment]
        None, "Mixed precision with bfloat16.", nargs="?", const=True
    )
    disable_tqdm: bool | None = flag(None, "Show no progress bars.", nargs="?", const=True)
    dataloader_num_workers: int | None = flag(  # type: ignore[assignment]
        None, "Data workers of each process. Default: chosen by device."
    )
    eval_strategy: str = flag("epoch", "When to validate: steps or epoch.")
    save_strategy: str = flag("epoch", "When to save a checkpoint: steps, epoch or best.")
    logging_strategy: str = flag("epoch", "When to log: no, steps or epoch.")
    save_total_limit: int | None = flag(2, "Checkpoints to keep; the best is always kept.")
    load_best_model_at_end: bool = flag(True, "Always true here.")
    metric_for_best_model: str | None = flag(
        "macro_f1", "Metric on validation that chooses the checkpoint: loss, f1_fear, ..."
    )
    logging_nan_inf_filter: bool = flag(False, "Always false here.")
    dataloader_drop_last: bool = flag(False, "Leave out the faces of train that fill no whole step, anew each epoch.")
    push_to_hub: bool = flag(False, "Publish the run when it has been scored.")
    hub_model_id: str | None = flag(None, "USER/NAME to publish it as.")
    hub_revision: str | None = flag(None, "Branch to publish it on. Default: main.")
    hub_private_repo: bool | None = flag(None, "Make the repository private, if it is new.")
    remove_unused_columns: bool = flag(False, "Always false here.")
    ddp_find_unused_parameters: bool | None = flag(False, "Passed to DDP.")
    restore_callback_states_from_checkpoint: bool = flag(True, "Early stopping keeps its count when resuming.")
    resume_from_checkpoint: str | None = flag(
        None,
        "Checkpoint folder to go on from; without a value the newest in --output_dir.",
        nargs="?",
        const=NEWEST_CHECKPOINT,
        path=True,
    )

    def __post_init__(self) -> None:
        self.publishes, self.push_to_hub = self.push_to_hub, False
        self.drops_last, self.dataloader_drop_last = self.dataloader_drop_last, False
        self.step_schedule = self._take_step_schedule()
        device = pick_device(use_cpu=self.use_cpu)
        self.use_cpu = device == "cpu"
        self.precision = resolve_precision(device, fp16=self.fp16, bf16=self.bf16)
        self.fp16, self.bf16 = self.precision == "fp16", self.precision == "bf16"
        if ACCELERATE_PRECISION in os.environ:
            # accelerate's choice is resolved above; upstream would let it win over --fp16 False.
            os.environ[ACCELERATE_PRECISION] = self.precision.replace("fp32", "no")
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = default_workers(device)
        self.disable_tqdm = are_bars_silent() or self.disable_tqdm
        refuse_optimizer(self.optim)
        refuse_sharding(use_cpu=self.use_cpu)
        refuse_values(vars(self))
        super().__post_init__()
        try:
            for tracker in get_reporting_integration_callbacks(self.report_to):
                tracker()
        except (ValueError, RuntimeError, ImportError) as error:
            raise UserError(f"--report_to: {error}") from error
        # Upstream would split each batch over all GPUs with torch's DataParallel, which torch itself advises against.
        self._n_gpu = min(self.n_gpu, 1)

    @property
    def effective_batch_size(self) -> int:
        """The faces of an optimizer step, over all processes and accumulated batches."""
        return self.train_batch_size * self.world_size * self.gradient_accumulation_steps

    def _take_step_schedule(self) -> StepSchedule | None:
        """Reads the schedule `step`, which upstream does not know, and leaves upstream one that it does."""
        if self.lr_scheduler_type != "step":
            return None
        given = self.lr_scheduler_kwargs or {}
        try:
            schedule = StepSchedule(**(json.loads(given) if isinstance(given, str) else given))
        except (TypeError, ValueError) as error:
            raise UserError(
                f'--lr_scheduler_kwargs {given}: expected {{"step_size": EPOCHS, "gamma": FACTOR}} for step'
            ) from error
        if schedule.step_size < 1 or not 0 < schedule.gamma <= 1:
            raise UserError(f"--lr_scheduler_kwargs {given}: expected step_size 1 or more, gamma above 0 and up to 1")
        self.lr_scheduler_type, self.lr_scheduler_kwargs = "constant_with_warmup", None
        return schedule
