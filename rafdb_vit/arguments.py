"""The flags of training, as dataclasses: ours, and transformers' `TrainingArguments` with our defaults."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from transformers import TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks
from transformers.trainer_utils import SchedulerType

from rafdb_vit.cli import parse_arguments
from rafdb_vit.errors import UserError
from rafdb_vit.flag_values import refuse_values, refuse_without_effect
from rafdb_vit.hardware import ACCELERATE_PRECISION, default_workers, pick_device, resolve_precision
from rafdb_vit.refusals import REFUSED_FLAGS, refuse_optimizer, refuse_sharding

NEWEST_CHECKPOINT = "newest"


class StepSchedule(NamedTuple):
    """The learning rate times `gamma` every `step_size` epochs (torch's `StepLR`, counted in epochs)."""

    step_size: int
    gamma: float


@dataclass
class DataArguments:
    """What to train on."""

    data_dir: str | None = field(
        default=None, metadata={"help": "Folder in RAF-DB's official or Kaggle layout, or one above it."}
    )
    demo: bool = field(
        default=False, metadata={"help": "Train on drawn faces, with settings for a few minutes on a CPU."}
    )
    validation_fraction: float = field(
        default=0.1, metadata={"help": "Share of each class of train that is set aside for validation."}
    )
    split_seed: int = field(default=0, metadata={"help": "Seed of the validation split and of the --max_* draws."})
    max_train_samples: int | None = field(default=None, metadata={"help": "Train on a stratified sample of so many."})
    max_validation_samples: int | None = field(default=None, metadata={"help": "Likewise for validation."})
    max_test_samples: int | None = field(default=None, metadata={"help": "Likewise for test."})

    @property
    def max_samples(self) -> dict[str, int | None]:
        """The size of the sample of each split, None for all."""
        return {name: getattr(self, f"max_{name}_samples") for name in ("train", "validation", "test")}


@dataclass
class ModelArguments:
    """What to train."""

    model_name_or_path: str = field(
        default="google/vit-base-patch16-224-in21k",
        metadata={"help": "Image classifier to fine-tune: a name on the Hub or a folder."},
    )
    model_revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit on the Hub."})
    from_scratch: str | None = field(
        default=None,
        metadata={
            "help": "Train a ViT with random weights of this size instead.",
            "choices": ["tiny", "small", "base"],
        },
    )
    image_size: int | None = field(default=None, metadata={"help": "Input side in pixels, with --from_scratch."})
    patch_size: int | None = field(default=None, metadata={"help": "Patch side in pixels, with --from_scratch."})
    early_stopping_patience: int = field(
        default=5, metadata={"help": "End after so many evaluations without an improvement; 0: never."}
    )
    layer_decay: float | None = field(
        default=None,
        metadata={"help": "Layer-wise learning-rate decay; 1: off. Default: 0.75, and 1 with --from_scratch."},
    )
    random_erasing: float = field(default=0.25, metadata={"help": "Probability of RandomErasing; 0: off."})
    overwrite_output_dir: bool = field(
        default=False, metadata={"help": "Delete what an earlier run wrote into --output_dir."}
    )

    def __post_init__(self) -> None:
        if self.from_scratch is None and (self.image_size or self.patch_size):
            flag = "--image_size" if self.image_size else "--patch_size"
            raise UserError(f"{flag}: goes with --from_scratch; a pretrained model has its own size")
        if self.early_stopping_patience < 0:
            raise UserError(f"--early_stopping_patience {self.early_stopping_patience}: expected 0 (never) or more")
        if self.layer_decay is None:
            self.layer_decay = 1.0 if self.from_scratch else 0.75


def _optional_bool(text: str) -> Any:
    return field(default=None, metadata={"help": text, "nargs": "?", "const": True})


@dataclass
class ExpressionTrainingArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the defaults of this package.

    Differences from upstream, and why:

    - `learning_rate` 1e-4, `weight_decay` 0.05, cosine schedule with 10% warm-up, 25 epochs of batches of 32: what
      fine-tunes of ViTs on faces have in common (FMAE's public code), with layer-wise learning-rate decay;
    - evaluated, saved and logged once an epoch; the best checkpoint by validation macro-F1 is loaded at the end and at
      most two are kept;
    - `fp16`, `bf16`: None, so that unset can be told from False: accelerate's choice, else fp16 on CUDA, bf16 on a CPU
      that has the instructions, else fp32 (`rafdb_vit.hardware.resolve_precision`);
    - `dataloader_num_workers`: None, chosen by device;
    - `lr_scheduler_type` also takes `step`, with `--lr_scheduler_kwargs '{"step_size": 10, "gamma": 0.1}'` in epochs;
    - `resume_from_checkpoint` without a value takes the newest checkpoint of the output folder;
    - `remove_unused_columns` False (transforms need the columns), `ddp_find_unused_parameters` False (DDP warns else).
    """

    output_dir: str = field(default="", metadata={"help": "The run folder. Default: runs/<data>-<model>."})
    per_device_train_batch_size: int = field(default=32, metadata={"help": "Faces at once on each device."})
    per_device_eval_batch_size: int = field(default=64, metadata={"help": "The same when evaluating."})
    num_train_epochs: float = field(default=25.0, metadata={"help": "Epochs to train, unless stopped early."})
    learning_rate: float = field(default=1e-4, metadata={"help": "Peak learning rate of the head."})
    weight_decay: float = field(
        default=0.05, metadata={"help": "Weight decay of matrices; no other parameter has any."}
    )
    warmup_steps: float = field(
        default=0.1,
        metadata={"help": "Linear warm-up: a share of all steps below 1, else a number of steps."},
    )
    lr_scheduler_type: str = field(
        default="cosine",
        metadata={"help": "Learning-rate schedule.", "choices": [*(t.value for t in SchedulerType), "step"]},
    )
    fp16: bool | None = _optional_bool(  # type: ignore[assignment]  # wider than upstream: None is unset
        "Mixed precision with float16; needs a CUDA GPU."
    )
    bf16: bool | None = _optional_bool(  # type: ignore[assignment]
        "Mixed precision with bfloat16."
    )
    dataloader_num_workers: int | None = field(  # type: ignore[assignment]
        default=None, metadata={"help": "Data workers of each process. Default: chosen by device."}
    )
    eval_strategy: str = field(default="epoch", metadata={"help": "When to validate: steps or epoch."})
    save_strategy: str = field(default="epoch", metadata={"help": "When to save a checkpoint: steps, epoch or best."})
    logging_strategy: str = field(default="epoch", metadata={"help": "When to log: no, steps or epoch."})
    save_total_limit: int | None = field(default=2, metadata={"help": "Checkpoints to keep; the best is always kept."})
    load_best_model_at_end: bool = field(default=True, metadata={"help": "Always true here."})
    metric_for_best_model: str | None = field(
        default="macro_f1",
        metadata={"help": "Figure of validation that chooses the checkpoint, such as loss, f1_fear."},
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Always false here."})
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "Passed to DDP."})
    restore_callback_states_from_checkpoint: bool = field(
        default=True, metadata={"help": "Early stopping keeps its count when resuming."}
    )
    resume_from_checkpoint: str | None = field(
        default=None,
        metadata={
            "help": "Checkpoint folder to go on from; without a value the newest in --output_dir.",
            "nargs": "?",
            "const": NEWEST_CHECKPOINT,
        },
    )

    def __post_init__(self) -> None:
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


def parse_training_arguments(
    argv: Sequence[str],
) -> tuple[DataArguments, ModelArguments, ExpressionTrainingArguments, dict[str, Any]]:
    """Parses the command line of training.

    Args:
        argv: Its words, without the program.

    Returns:
        Data, model and training arguments, and the settings that were asked for, by flag name.

    Raises:
        UserError: A flag is unknown, refused or its value not accepted.
    """
    (data, model, args), asked = parse_arguments(
        (DataArguments, ModelArguments, ExpressionTrainingArguments),
        argv,
        prog="train.py",
        description="Fine-tune a Vision Transformer to read facial expressions.",
        implied_recipes={"demo": "demo.yaml"},
        refused=REFUSED_FLAGS,
    )
    refuse_without_effect(asked, vars(args))
    if bool(data.data_dir) == data.demo:
        raise UserError("--data_dir: expected the folder that holds RAF-DB, or --demo for drawn faces (one of the two)")
    if not args.output_dir:
        source = f"scratch-{model.from_scratch}" if model.from_scratch else Path(model.model_name_or_path).name
        name = "demo" if data.demo else f"{Path(data.data_dir).resolve().name}-{source}"
        args.output_dir = str(Path("runs") / name)
    return data, model, args, asked
