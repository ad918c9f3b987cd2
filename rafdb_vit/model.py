"""Loads models: the right head, the right class names, and every weight accounted for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from rafdb_vit.checkpoint import find_checkpoint, quiet_loading
from rafdb_vit.console import say
from rafdb_vit.errors import UserError
from rafdb_vit.labels import label_maps


def _head_names(model: PreTrainedModel) -> set[str]:
    prefix = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix)}


def load_model(name_or_path: str, names: Sequence[str], *, revision: str | None = None) -> tuple[PreTrainedModel, Any]:
    """Loads an image classifier for fine-tuning, with a head for `names`, and its image processor.

    A head for other classes is replaced, with one printed line; any other weight that is missing or of another shape
    is an error, since such a model would train from partly random weights without a word.

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
    config, processor = load_config(where, folder)
    old_names = list(config.id2label.values())
    config.id2label, config.label2id = label_maps(names).values()
    model, info = load_weights_into(where, folder, config)
    head = _head_names(model)
    missing = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
    if missing - head:
        raise UserError(
            f"{where}: {len(missing - head)} weights are missing or of another shape, {min(missing - head)} first; "
            "expected a checkpoint whose config.json and weights belong together"
        )
    if missing:
        say(f"Classification head: replaced (new head of {len(names)} classes for one of {len(old_names)}).")
    elif old_names != list(names):
        _reset_head(model, head)
        say(f"Classification head: replaced (the checkpoint's classes are {', '.join(map(str, old_names))}).")
    model.config._commit_hash = commit
    check_image_size(where, model, processor)
    return model, processor


def load_config(where: str, folder: Path) -> tuple[Any, Any]:
    """Loads the configuration and the image processor of a checkpoint.

    Args:
        where: What to call it in errors.
        folder: Holds it.

    Raises:
        UserError: It is no model of transformers, or needs code of its own.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        return config, AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    except (ValueError, OSError, KeyError) as error:
        if "trust_remote_code" in str(error):
            raise UserError(
                f"{where}: brings code of its own, which is not run; convert it to a transformers architecture first"
            ) from error
        raise UserError(f"{where}: not a model that transformers knows ({error})") from error


def load_weights_into(where: str, folder: Path, config: Any) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Loads the weights that fit, and returns with the model what did not.

    Args:
        where: What to call the checkpoint in errors.
        folder: Holds it.
        config: Of the model.

    Raises:
        UserError: It is no image classifier, or its weights cannot be read.
    """
    try:
        with quiet_loading():
            return AutoModelForImageClassification.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except ValueError as error:
        raise UserError(f"{where}: {config.model_type} is no image classifier of transformers") from error
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UserError(f"{where}: the weights cannot be read ({error}); download the model again") from error


def _reset_head(model: PreTrainedModel, head: set[str]) -> None:
    """Draws a head of the right size but for other classes anew, as a new one would be."""
    std = getattr(model.config, "initializer_range", 0.02)
    for name, parameter in model.named_parameters():
        if name in head:
            torch.nn.init.trunc_normal_(parameter, std=std) if parameter.ndim > 1 else torch.nn.init.zeros_(parameter)


def check_image_size(where: str, model: PreTrainedModel, processor: Any) -> None:
    """Refuses a checkpoint whose model and image processor do not agree on the size of the input.

    Args:
        where: What to call it in errors.
        model: Its model.
        processor: Its image processor.

    Raises:
        UserError: They do not.
    """
    expected = getattr(model.config, "image_size", None)
    found = processor.size.get("height") if not getattr(processor, "do_center_crop", None) else None
    if isinstance(expected, int) and found is not None and found != expected:
        raise UserError(
            f"{where}: config.json says image_size {expected}, preprocessor_config.json {found}; expected one size"
        )


def load_trained(folder: str | Path) -> tuple[PreTrainedModel, Any]:
    """Loads a run folder or a checkpoint as it is: float32, evaluation mode, no weight missing.

    Raises:
        UserError: A file is missing, or a weight is missing, superfluous or of another shape.
    """
    find_checkpoint(str(folder))
    with quiet_loading():
        model, info = AutoModelForImageClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    faults = {
        *info["missing_keys"],
        *info["unexpected_keys"],
        *(name for name, *_ in info["mismatched_keys"]),
    }
    if faults:
        raise UserError(
            f"{folder}: {len(faults)} weights do not fit its config.json, {min(faults)} first; copy it anew"
        )
    return model.eval(), AutoImageProcessor.from_pretrained(folder)


def build_from_weights(config: PretrainedConfig, weights: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    """Makes a whole model of the gathered weights of a sharded one, without advancing torch's random numbers.

    Args:
        config: The model's configuration.
        weights: Its state dictionary, every tensor whole.
    """
    with torch.random.fork_rng(devices=[]):
        model = AutoModelForImageClassification.from_config(config, dtype=torch.float32)
    model.load_state_dict(weights, strict=True)
    return model


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
