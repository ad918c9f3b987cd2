"""transformers' `TrainingArguments` with the defaults of this package."""

import os
from dataclasses import dataclass

from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from rafdb_vit.runtime.bars import are_bars_silent
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import (
    ACCELERATE_PRECISION,
    default_workers,
    pick_device,
    resolve_precision,
)
from rafdb_vit.training.flag_checks import (
    refuse_optimizer,
    refuse_sharding,
    refuse_values,
)
from rafdb_vit.training.training_flags import StepSchedule, TrainingDefaults, read_step_schedule


@dataclass
class ExpressionTrainingArguments(TrainingDefaults, TrainingArguments):  # type: ignore[misc] # None is unset
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
        schedule = read_step_schedule(self.lr_scheduler_type, self.lr_scheduler_kwargs)
        if schedule is not None:
            self.lr_scheduler_type, self.lr_scheduler_kwargs = "constant_with_warmup", None
        return schedule
