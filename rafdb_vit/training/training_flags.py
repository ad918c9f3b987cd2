"""The flags of training: those of transformers' `TrainingArguments`, with the defaults of this package.

They are parsed and checked without torch, which `rafdb_vit.training.arguments` loads for the class itself.
"""

import json
from collections.abc import Mapping
from copy import copy
from dataclasses import Field, dataclass, fields, make_dataclass
from enum import Enum
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import EVAL_BATCH_SIZE, resolve_precision
from rafdb_vit.training.flag_checks import refuse_optimizer, refuse_values
from rafdb_vit.training.flags import OUTPUT, PUBLISHING, TRAINING, flag
from rafdb_vit.training.upstream_flags import read_upstream_flags

if TYPE_CHECKING:
    from rafdb_vit.training.arguments import ExpressionTrainingArguments

NEWEST_CHECKPOINT = "newest"
_LOG_LEVELS = ["detail", "debug", "info", "warning", "error", "critical", "passive"]
"""Those of transformers' Trainer, which are computed there when torch is loaded."""
_MORE_CHOICES = "choices_beside_upstreams"


@dataclass
class TrainingDefaults:
    """Fields of `TrainingArguments` that have another default, type or help here; None is unset."""

    output_dir: str = flag(
        "", "The run folder. Default: runs/<data>-<model>.", path=True, example="runs/first", group=OUTPUT
    )
    per_device_train_batch_size: int = flag(32, "Faces at once on each device.", example="16", group=TRAINING)
    per_device_eval_batch_size: int = flag(EVAL_BATCH_SIZE, "The same when evaluating.")
    num_train_epochs: float = flag(25.0, "Epochs to train, unless stopped early.", example="10", group=TRAINING)
    learning_rate: float = flag(1e-4, "Peak learning rate of the head.", example="3e-5", group=TRAINING)
    weight_decay: float = flag(0.05, "Weight decay of matrices; no other parameter has any.")
    warmup_steps: float = flag(0.1, "Linear warm-up: a share of all steps below 1, else a number of steps.")
    optim: str = flag("adamw_torch_fused", "Optimizer.", choices_beside_upstreams=[])
    gradient_accumulation_steps: int = flag(
        1,
        "Batches whose gradients make up one step: 2 with half the batch is the same step in less memory.",
        example="2",
        group=TRAINING,
    )
    seed: int = flag(
        42, "Seed of the head's weights, the order of faces and the augmentation.", example="1", group=TRAINING
    )
    use_cpu: bool = flag(False, "Leave GPUs alone.", example="", group=TRAINING)
    report_to: None | str | list[str] = flag(
        "none",
        "Where to follow training: tensorboard, wandb, mlflow, ...",
        nargs="+",
        example="tensorboard",
        group=OUTPUT,
    )
    lr_scheduler_type: str = flag("cosine", "Learning-rate schedule.", choices_beside_upstreams=["step"])
    fp16: bool | None = flag(
        None,
        "Mixed precision with float16; needs a CUDA GPU, and is the default there.",
        nargs="?",
        const=True,
        example="",
        group=TRAINING,
    )
    bf16: bool | None = flag(
        None,
        "Mixed precision with bfloat16. Default: on a CPU that has instructions for it.",
        nargs="?",
        const=True,
        example="",
        group=TRAINING,
    )
    log_level: str = flag(
        "passive", "Messages of the libraries to show; passive: as they are set.", choices=_LOG_LEVELS
    )
    log_level_replica: str = flag("warning", "The same in all processes but the main one.", choices=_LOG_LEVELS)
    disable_tqdm: bool | None = flag(None, "Show no progress bars.", nargs="?", const=True)
    dataloader_num_workers: int | None = flag(
        None, "Data workers of each process. Default: chosen by device.", example="4", group=TRAINING
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
    push_to_hub: bool = flag(False, "Publish the run when it has been scored.", example="", group=PUBLISHING)
    hub_model_id: str | None = flag(None, "USER/NAME to publish it as.", example="USER/NAME", group=PUBLISHING)
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
        example="",
        group=OUTPUT,
    )


class StepSchedule(NamedTuple):
    """The learning rate times `gamma` every `step_size` epochs (torch's `StepLR`, counted in epochs)."""

    step_size: int
    gamma: float


def read_step_schedule(schedule: str, settings: Mapping[str, Any] | str | None) -> StepSchedule | None:
    """Reads `--lr_scheduler_kwargs` of the schedule `step`; returns None for another schedule.

    Raises:
        UserError: They are not those of a step schedule.
    """
    if schedule != "step":
        return None
    given = settings or {}
    try:
        read = StepSchedule(**(json.loads(given) if isinstance(given, str) else given))
    except (TypeError, ValueError) as error:
        raise UserError(
            f'--lr_scheduler_kwargs {given}: expected {{"step_size": EPOCHS, "gamma": FACTOR}} for step'
        ) from error
    if read.step_size < 1 or not 0 < read.gamma <= 1:
        raise UserError(f"--lr_scheduler_kwargs {given}: expected step_size 1 or more, gamma above 0 and up to 1")
    return read


class TrainingFlags:
    """Flags of training; one that was not given has its default.

    `read_training_flags` makes the dataclass that knows them all.

    Attributes:
        given: Those that were given, by name.
    """

    output_dir: str
    resume_from_checkpoint: str | None

    def __init__(self, **given: Any) -> None:
        self.given = given
        vars(self).update(given)

    @property
    def values(self) -> Mapping[str, Any]:
        """All of them by name, as the checks of `rafdb_vit.training.flag_checks` take them."""
        values = {of.name: getattr(self, of.name, None) for of in fields(self)}  # type: ignore[arg-type]
        named = values["report_to"] or []
        trackers = [name for name in ([named] if isinstance(named, str) else named) if name != "none"]
        return values | {"report_to": trackers, "publishes": values["push_to_hub"]}

    def check(self) -> None:
        """Refuses values that cannot work, as far as that can be told without torch.

        Raises:
            UserError: The first of them.
        """
        values = self.values
        refuse_optimizer(values["optim"])
        refuse_values(values)
        if values["use_cpu"] and (values["fp16"] or values["bf16"]):
            resolve_precision("cpu", fp16=values["fp16"], bf16=values["bf16"])
        read_step_schedule(values["lr_scheduler_type"], values["lr_scheduler_kwargs"])

    def resolve(self) -> "ExpressionTrainingArguments":
        """Loads torch and transformers, and returns what training takes.

        Raises:
            UserError: A value is not accepted.
        """
        from rafdb_vit.training.arguments import ExpressionTrainingArguments

        given = {name: _as_upstream_reads(value) for name, value in self.given.items()}
        try:
            return ExpressionTrainingArguments(**given)
        except (ValueError, TypeError, ImportError, OSError) as error:
            raise UserError(" ".join(str(error).split())) from error


def _as_upstream_reads(value: Any) -> Any:
    """Returns the words of a list of choices, which are upstream's own enumeration there."""
    if isinstance(value, list) and any(isinstance(item, Enum) for item in value):
        return " ".join(item.value for item in value)
    return value


@cache
def read_training_flags() -> type[TrainingFlags]:
    """Makes the dataclass of all flags of training, in upstream's order, ours in place of those that they replace."""
    ours = {of.name: of for of in fields(TrainingDefaults)}
    made = [
        (name, ours[name].type, _replace(kind, ours[name])) if name in ours else (name, kind, of)
        for name, kind, of in read_upstream_flags()
    ]
    return make_dataclass("TrainingFlags", made, bases=(TrainingFlags,), init=False)


def _replace(kind: Any, ours: Field[Any]) -> Field[Any]:
    """Returns a field of ours for one of upstream's, whose choices are added to its own where it says so."""
    replaced, words = copy(ours), dict(ours.metadata)
    if _MORE_CHOICES in words:
        values = [
            member.value for of in get_args(kind) if isinstance(of, type) and issubclass(of, Enum) for member in of
        ]
        words["choices"] = [*values, *words.pop(_MORE_CHOICES)]
        replaced.metadata = MappingProxyType(words)
    return replaced
