"""Fine-tune Vision Transformers to read facial expressions, on RAF-DB or any folder of labelled faces.

Importing this package costs nothing: each name loads what it needs when it is first used.

    import rafdb_vit

    faces = rafdb_vit.load_rafdb("RAFDB")
    outcome = rafdb_vit.train(data_dir="RAFDB", num_train_epochs=25)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rafdb_vit.commands.train import train as train
    from rafdb_vit.data.check.check import check_data as check_data
    from rafdb_vit.data.dataset import load_rafdb as load_rafdb
    from rafdb_vit.evaluation.comparison import compare_predictions as compare_predictions
    from rafdb_vit.evaluation.inference import evaluate_model as evaluate_model
    from rafdb_vit.evaluation.inference import predict_images as predict_images
    from rafdb_vit.evaluation.inference import predict_split as predict_split
    from rafdb_vit.evaluation.predictions import Predictions as Predictions
    from rafdb_vit.evaluation.results import EvaluationResult as EvaluationResult
    from rafdb_vit.evaluation.summary import summarize_runs as summarize_runs
    from rafdb_vit.hub.publication import publish_run as publish_run
    from rafdb_vit.model.load import load_classifier as load_classifier
    from rafdb_vit.model.load import load_model as load_model
    from rafdb_vit.model.scratch import build_model as build_model
    from rafdb_vit.runtime.errors import UserError as UserError
    from rafdb_vit.training.arguments import ExpressionTrainingArguments as ExpressionTrainingArguments
    from rafdb_vit.training.trainer import build_trainer as build_trainer

__version__ = "0.1.0"
_HOMES = {
    "load_rafdb": "data.dataset",
    "check_data": "data.check.check",
    "load_model": "model.load",
    "build_model": "model.scratch",
    "load_classifier": "model.load",
    "ExpressionTrainingArguments": "training.arguments",
    "build_trainer": "training.trainer",
    "train": "commands.train",
    "predict_split": "evaluation.inference",
    "evaluate_model": "evaluation.inference",
    "predict_images": "evaluation.inference",
    "Predictions": "evaluation.predictions",
    "EvaluationResult": "evaluation.results",
    "compare_predictions": "evaluation.comparison",
    "summarize_runs": "evaluation.summary",
    "publish_run": "hub.publication",
    "UserError": "runtime.errors",
}
"""The module of each public name."""
__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    """Loads a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Lists the public names, for `help` and completion."""
    return sorted({*globals(), *__all__})
