"""Loads models: the right head, the right class names, and every weight accounted for."""

import copy
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel

from rafdb_vit.data.labels import BASIC, COMPOUND, fold_name
from rafdb_vit.model.download import find_checkpoint
from rafdb_vit.model.files import CONFIG_FILE
from rafdb_vit.model.head import Head, WeightFaults, set_classes
from rafdb_vit.model.pretrained import build_empty, list_shapes, read_config, read_model, read_processor
from rafdb_vit.model.received import WeightsSize, check_names, check_received
from rafdb_vit.model.trial import try_out
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.console import say_line
from rafdb_vit.runtime.errors import UserError, renaming_flags, shorten


@announcing("Loading the model")
def load_model(name_or_path: str, names: Sequence[str], *, revision: str | None = None) -> tuple[PreTrainedModel, Any]:
    """Loads an image classifier for fine-tuning, with a head for `names`, and its image processor.

    A head for other classes is replaced, with one printed line; any other weight that is missing or of another shape
    is an error, since such a model would silently train from partly random weights.

    Args:
        name_or_path: A folder, or a repository of the Hub.
        names: Class names in model order.
        revision: Branch, tag or commit, for the Hub.

    Returns:
        The model (float32) and its processor.

    Raises:
        UserError: It cannot be found, is no image classifier, needs remote code, or its weights do not fit.
    """
    folder, commit = find_checkpoint(name_or_path, revision=revision)
    where = f"--model_name_or_path {name_or_path}"
    received = _Received.open(where, folder, commit)
    old_names = list((received.config.id2label or {}).values())
    set_classes(received.config, names)
    model, faults = received.read_weights()
    head = received.find_head(model)
    if lost := head.list_lost(faults):
        raise UserError(
            f"{where}: {len(lost)} weights are missing or of another shape, {shorten(min(lost))} first; "
            "expected a checkpoint whose config.json and weights belong together"
        )
    if faults.lacking:
        say_line(f"Classification head: replaced (new head of {len(names)} classes for one of {len(old_names)}).")
    elif old_names != list(names):
        head.reset(model)
        say_line(
            f"Classification head: replaced (the checkpoint's classes are {shorten(', '.join(map(str, old_names)))})."
        )
    try_out(where, model, received.processor, received.size)
    numbers = (*model.named_parameters(), *model.named_buffers())
    if damaged := next((name for name, weight in numbers if not weight.isfinite().all()), None):
        raise UserError(f"{where}: the weight {damaged} holds numbers that are not finite; take another checkpoint")
    return model, received.processor


@dataclass(frozen=True)
class Classifier:
    """An image classifier that is used as it is: a run folder, a checkpoint or a model of the Hub.

    Attributes:
        model: float32, in evaluation mode.
        names: What the model calls its classes, in the order of its outputs.
    """

    model: PreTrainedModel
    processor: Any
    names: tuple[str, ...]
    folder: Path


@announcing("Loading the model")
def load_classifier(name_or_path: str, *, revision: str | None = None, flag: str = "MODEL") -> Classifier:
    """Loads an image classifier as it is: no weight missing, superfluous or of another shape.

    Args:
        name_or_path: A run folder, a checkpoint or another folder, or a repository of the Hub.
        revision: Branch, tag or commit, for the Hub.
        flag: The flag that asked for it, for errors.

    Raises:
        UserError: It cannot be found, is no whole image classifier, or does not name its classes.
    """
    with renaming_flags({"--model_name_or_path": flag}):
        folder, commit = find_checkpoint(name_or_path, revision=revision)
        where = f"--model_name_or_path {name_or_path}"
        received = _Received.open(where, folder, commit)
        model = received.read_whole("expected a model that was trained to classify: train.py makes one of it")
        names = check_names(where, model.config.id2label or {})
        if any(name.startswith("LABEL_") for name in names):  # so transformers calls classes without names
            raise UserError(f"{where}: its config.json does not name its classes; write them into id2label")
        if len(set(names)) != len(names):
            raise UserError(f"{where}: two of its classes have one name ({shorten(', '.join(names))}); mend id2label")
    return Classifier(model, received.processor, names, folder)


def load_trained(folder: str | Path) -> tuple[PreTrainedModel, Any]:
    """Loads a run folder or a checkpoint as it is: float32, evaluation mode, no weight missing.

    Raises:
        UserError: A file is missing, or a weight is missing, superfluous or of another shape.
    """
    found, _ = find_checkpoint(str(folder))
    received = _Received.open(str(folder), found, None)
    return received.read_whole("copy it anew"), received.processor


def load_weights(model: PreTrainedModel, folder: str | Path) -> None:
    """Copies the weights of a checkpoint into a live model, every one of them.

    `from_pretrained` turns the Hub's key names into the live model's; loading the file's keys directly would leave
    every encoder layer as it is (huggingface/transformers#48805).

    Raises:
        UserError: The checkpoint does not hold exactly the model's weights.
    """
    trained, _ = load_trained(folder)
    try:
        model.load_state_dict(trained.state_dict(), strict=True)
    except RuntimeError as error:
        raise UserError(f"{folder}: its weights do not fit the model in training ({error})") from error


def build_from_weights(config: PretrainedConfig, weights: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """Makes a whole model of the gathered weights of a sharded one, without advancing torch's random numbers."""
    model = build_empty(config)
    model.load_state_dict(weights, strict=True)
    return model


def match_outputs(names: Sequence[str], classes: Sequence[str], *, where: str) -> list[int]:
    """Returns which output of a model stands for each class of the data.

    Names are compared without case, spaces and hyphens, and with common synonyms of the seven basic expressions.

    Args:
        names: What the model calls its outputs.
        classes: What the data calls its classes.
        where: What to call the model in errors.

    Raises:
        UserError: The model has no output for a class, or two.
    """
    meanings, order = [_meaning(name) for name in names], []
    for name in classes:
        count = meanings.count(_meaning(name))
        if count != 1:
            raise UserError(
                f"{where}: its classes are {shorten(', '.join(names))}; expected one for each class of the data "
                f"({', '.join(classes)}), and {name} is {f'{count} of' if count else 'not among'} them"
                f"{_offer_leaving_out(meanings, classes)}"
            )
        order.append(meanings.index(_meaning(name)))
    return order


def _offer_leaving_out(meanings: Sequence[str], classes: Sequence[str]) -> str:
    """Returns the end of a message that offers the flag by which the other classes can be scored."""
    lost = [name for name in classes if meanings.count(_meaning(name)) != 1]
    if len(classes) - len(lost) < 2:
        return ""
    return f"; --leave_out {shlex.quote(','.join(lost))} scores the others"


def _meaning(name: str) -> str:
    """Returns what a class name is compared by: RAF-DB's name where it means one of its classes; codes mean none."""
    for labels in (BASIC, COMPOUND):
        label = None if name.strip().isdecimal() else labels.match(name)
        if label is not None:
            return labels.names[label]
    return fold_name(name)


@dataclass(frozen=True)
class _Received:
    """A model's folder whose files were checked, and what was read of them.

    Attributes:
        where: What to call it in errors.
        commit: Its commit, where it came from the Hub.
    """

    where: str
    folder: Path
    commit: str | None
    size: WeightsSize
    config: Any
    processor: Any

    @classmethod
    def open(cls, where: str, folder: Path, commit: str | None) -> "_Received":
        """Checks a model's files, then reads its configuration and its processor; see the class for the arguments.

        Raises:
            UserError: One of them is not as it should be.
        """
        size = check_received(where, folder, from_hub=commit is not None)
        return cls(where, folder, commit, size, read_config(where, folder), read_processor(where, folder))

    def read_weights(self) -> tuple[PreTrainedModel, WeightFaults]:
        """Loads the weights that fit; returns the model, and those that do not."""
        model, info = read_model(self.where, self.folder, self.config, self.size)
        model.config._commit_hash = self.commit
        mismatched = frozenset(name for name, *_ in info["mismatched_keys"])
        return model, WeightFaults(frozenset(info["missing_keys"]), mismatched, frozenset(info["unexpected_keys"]))

    def find_head(self, model: PreTrainedModel) -> Head:
        """Finds the classification head of the model that was read."""
        config = copy.deepcopy(self.config)
        set_classes(config, [str(i) for i in range(config.num_labels + 1)])
        return Head.find(model, list_shapes(self.where, config, self.size))

    def read_whole(self, advice: str) -> PreTrainedModel:
        """Loads the weights, every one and no other, and tries them out; the model is in evaluation mode."""
        model, faults = self.read_weights()
        if unfit := faults.lacking | faults.surplus:
            raise UserError(
                f"{self.where}: {len(unfit)} weights do not fit its {CONFIG_FILE}, {shorten(min(unfit))} first; "
                f"{advice}"
            )
        try_out(self.where, model, self.processor, self.size)
        return model.eval()
