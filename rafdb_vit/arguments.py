"""The flags of training, as dataclasses: ours, beside those of `ExpressionTrainingArguments`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rafdb_vit.cli import parse_arguments
from rafdb_vit.data_arguments import DataArguments
from rafdb_vit.errors import UserError
from rafdb_vit.flag_values import refuse_without_effect
from rafdb_vit.refusals import REFUSED_FLAGS
from rafdb_vit.training_arguments import ExpressionTrainingArguments


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
    license: str | None = field(default=None, metadata={"help": "Licence of the published model; see push_to_hub.py."})

    @property
    def source(self) -> str:
        """What is trained: a size, a folder or a name on the Hub."""
        return self.from_scratch or self.model_name_or_path

    @property
    def recipe(self) -> dict[str, Any]:
        """The settings of training that are not among `TrainingArguments`."""
        return {name: getattr(self, name) for name in ("layer_decay", "random_erasing", "early_stopping_patience")}

    def __post_init__(self) -> None:
        if self.from_scratch is None and (self.image_size or self.patch_size):
            flag = "--image_size" if self.image_size else "--patch_size"
            raise UserError(f"{flag}: goes with --from_scratch; a pretrained model has its own size")
        if self.early_stopping_patience < 0:
            raise UserError(f"--early_stopping_patience {self.early_stopping_patience}: expected 0 (never) or more")
        if self.layer_decay is None:
            self.layer_decay = 1.0 if self.from_scratch else 0.75


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
    if [bool(data.data_dir), bool(data.dataset_name), data.demo].count(True) != 1:
        raise UserError(
            "--data_dir: expected the folder that holds RAF-DB, or --dataset_name, or --demo for drawn faces (one "
            "of the three)"
        )
    if args.publishes and (data.demo or any(data.max_samples.values())):
        raise UserError("--push_to_hub: demo and subsampled runs are trials; push_to_hub.py --force publishes one")
    if not args.output_dir:
        source = f"scratch-{model.from_scratch}" if model.from_scratch else Path(model.model_name_or_path).name
        name = "demo" if data.demo else f"{Path(str(data.source)).resolve().name.removesuffix('.csv')}-{source}"
        args.output_dir = str(Path("runs") / name)
    return data, model, args, asked
