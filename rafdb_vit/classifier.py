"""A classifier that is used as it is: a run folder, a checkpoint or a model of the Hub."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from rafdb_vit.checkpoint import find_checkpoint, hash_model
from rafdb_vit.errors import UserError, renaming_flags
from rafdb_vit.labels import BASIC, COMPOUND
from rafdb_vit.model import check_image_size, load_config, load_weights_into

_UNNAMED = "LABEL_"


@dataclass(frozen=True)
class Classifier:
    """An image classifier with its processor.

    Attributes:
        model: float32, in evaluation mode.
        processor: Its image processor.
        names: What it calls its classes, in the order of its outputs.
        folder: Where its files lie.
        commit: Of the Hub; None where it is a folder.
    """

    model: PreTrainedModel
    processor: Any
    names: tuple[str, ...]
    folder: Path
    commit: str | None

    def other_names(self, order: Sequence[int]) -> list[str]:
        """Returns the classes that are not among those of `match_outputs`."""
        return [name for i, name in enumerate(self.names) if i not in order]

    def hash_files(self) -> dict[str, str]:
        """Returns the SHA-256 of each file that decides what it answers, by name."""
        return hash_model(self.folder)


def load_classifier(name_or_path: str, *, revision: str | None = None, flag: str) -> Classifier:
    """Loads an image classifier as it is: no weight missing, superfluous or of another shape.

    Args:
        name_or_path: A run folder, a checkpoint or another folder, or a repository of the Hub.
        revision: Branch, tag or commit, for the Hub.
        flag: What asked for it, for errors.

    Raises:
        UserError: It cannot be found, is no whole image classifier, or does not name its classes.
    """
    with renaming_flags({"--model_name_or_path": flag}):
        folder, commit = find_checkpoint(name_or_path, revision=revision)
        where = f"--model_name_or_path {name_or_path}"
        config, processor = load_config(where, folder)
        model, info = load_weights_into(where, folder, config)
        faults = {*info["missing_keys"], *info["unexpected_keys"], *(name for name, *_ in info["mismatched_keys"])}
        if faults:
            raise UserError(
                f"{where}: {len(faults)} weights do not fit its config.json, {min(faults)} first; expected a model "
                "that was trained to classify: train.py makes one of it"
            )
        check_image_size(where, model, processor)
        names = tuple(str(name) for _, name in sorted(config.id2label.items(), key=lambda item: int(item[0])))
        if any(name.startswith(_UNNAMED) for name in names):
            raise UserError(f"{where}: its config.json does not name its classes; write them into id2label")
        if len(set(names)) != len(names):
            raise UserError(f"{where}: two of its classes have one name ({', '.join(names)}); mend id2label")
    return Classifier(model.eval(), processor, names, folder, commit)


def match_outputs(names: Sequence[str], classes: Sequence[str], *, where: str) -> list[int]:
    """Returns which output of a model stands for each class of the data.

    Names are compared as people write them: case, spaces and hyphens aside, and with common synonyms of the seven.

    Args:
        names: What the model calls its outputs.
        classes: What the data calls its classes.
        where: What to call the model in errors.

    Raises:
        UserError: The model has no output for a class, or two.
    """
    outputs: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        outputs.setdefault(_fold(name), []).append(i)
    matched = [outputs.get(_fold(name), []) for name in classes]
    for name, found in zip(classes, matched, strict=True):
        if len(found) != 1:
            fault = "is not among them" if not found else f"is {len(found)} of them"
            raise UserError(
                f"{where}: its classes are {', '.join(names)}; expected one for each class of the data "
                f"({', '.join(classes)}), and {name} {fault}"
            )
    return [found[0] for found in matched]


def _fold(name: str) -> str:
    """Returns a class name in the form in which it is compared."""
    for labels in (BASIC, COMPOUND):
        label = labels.match(name) if not name.strip().isdecimal() else None
        if label is not None:
            return labels.names[label]
    return "".join(name.casefold().replace("-", " ").replace("_", " ").split())


def describe_classifier(classifier: Classifier, *, source: str, order: Sequence[int]) -> dict[str, Any]:
    """Returns what was evaluated, for people and programs.

    Args:
        classifier: The model.
        source: A name on the Hub, or a folder, of which only the name is kept.
        order: From `match_outputs`.
    """
    config = classifier.model.config
    return {
        "source": source if classifier.commit else Path(source).resolve().name,
        "commit": classifier.commit,
        "type": config.model_type,
        "parameters": classifier.model.num_parameters(),
        "image_size": getattr(config, "image_size", None),
        "classes_left_out": classifier.other_names(order),
        "files_sha256": classifier.hash_files(),
    }
