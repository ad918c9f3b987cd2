"""What the JSON files of a received model may ask transformers for: the kinds of models and processors, and the keys.

transformers sets every key of these files as an attribute, and some kinds of models hand keys on to other libraries,
which read other files, with pickles among them. So kinds stand on a list of what is allowed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cache
from inspect import getattr_static
from typing import Any

from transformers import CONFIG_MAPPING, PretrainedConfig
from transformers.image_processing_backends import PilBackend, TorchvisionBackend
from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES

from rafdb_vit.model.files import CONFIG_FILE
from rafdb_vit.runtime.errors import UserError, shorten

_NOT_ALLOWED = {
    "dinat": "needs a library, natten, whose work cannot be counted before it is done",
    "imagegpt": "reads a list of colours in place of pixels",
    "pp_lcnet": "gives no logits, so that neither a loss nor pipeline finds its answer",
    "shieldgemma2": "holds a language model",
    "siglip2": "reads patches in place of pictures of one size; take a SigLIP 2 model whose model_type is siglip",
    "timm_wrapper": "hands what it is told to timm, which opens any file as a pickle; take the same model in "
    "transformers' own form",
}
"""Architectures of transformers that are refused, and why."""
MODEL_TYPES = frozenset(MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES) - frozenset(_NOT_ALLOWED)
"""Architectures of transformers that classify images by themselves."""

_ELSEWHERE = {
    "configuration_files": "names other files for the configuration",
    "transformers_weights": "names another file for the weights",
    "quantization_config": "is quantized; expected plain weights",
    "per_layer_config": "makes layers that differ; expected layers of one kind",
} | dict.fromkeys(
    (
        *("architecture", "backbone", "backbone_kwargs", "checkpoint_path", "file", "hf_hub_id", "model_args", "url"),
        *("use_pretrained_backbone", "use_timm_backbone"),
    ),
    "leads to another library or another model; expected a model that transformers reads by itself",
)
_TIMM = "pretrained_cfg"
_LABELS = ("id2label", "label2id")
_CODE = ("auto_map", "custom_pipelines")
_IMPLEMENTATION = re.compile(r"_?(attn|experts)_implementation(_internal)?")
_PROCESSOR_TYPES = ("image_processor_type", "feature_extractor_type")
_OF_TRAINERS = "keys_to_ignore_at_inference"
"""What transformers' Trainer asks a class of configurations for, whether the class says it or not."""
_PRIVATE = frozenset(
    {
        *("_name_or_path", "_commit_hash", "_num_labels", "_flash_attn_2_enabled", "_attn_implementation_autoset"),
        *("_processor_class", "_valid_processor_keys", "_valid_kwargs_names", "_label_trainable_num_channels"),
    }
)
"""What versions of transformers have written; any other name of this form would replace what is its own."""


def walk(content: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields key and value of all that stands in an object, at any depth; what stands in lists has the list's key.

    The names of classes are nobody's keys, and not among them.
    """
    waiting: list[tuple[str, Any]] = list(content.items())
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, dict) and key not in _LABELS:
            waiting += value.items()
        elif isinstance(value, list):
            waiting += ((key, item) for item in value)


def check_keys(model: str, name: str, content: Mapping[str, Any]) -> None:
    """Refuses keys that bring code or lead to it, to other files or to other libraries, or replace what is private.

    Args:
        model: What to call the model in errors.
        name: Name of the file.
        content: The object in it.

    Raises:
        UserError: The message names the file and the key.
    """
    where = f"{model}: {name}"
    if name != CONFIG_FILE:
        for key in content:
            _check_own(where, key, TorchvisionBackend, PilBackend)
    for key, value in walk(content):
        if key in _CODE and value:
            raise UserError(
                f"{model}: brings code of its own ({key} in {name}), which is not run; take a model of an architecture "
                f"that transformers has, or remove {key} if it is one"
            )
        reason = _ELSEWHERE.get("url" if key.startswith(_TIMM) else key)
        if reason and value:
            raise UserError(f"{where}: {shorten(key)}: {reason}")
        if _IMPLEMENTATION.fullmatch(key):
            if value is not None and not (isinstance(value, str) and not re.search("[/:@]", value)):
                raise UserError(f"{where}: {key} is {shorten(value)}; expected nothing that lies elsewhere")
        elif key.startswith("_") and key not in _PRIVATE:
            raise UserError(f"{where}: {shorten(key)} is no key of a {name}; remove it, or take another model")
        if key in _PROCESSOR_TYPES and value is not None and _fold(value) not in _processor_types():
            raise UserError(f"{where}: {key} is {shorten(value)}; expected the processor of an image classifier")


def check_kind(where: str, config: Mapping[str, Any]) -> None:
    """Refuses a configuration that is not that of an image classifier of transformers, or holds one of another model.

    Raises:
        UserError: The message names the type.
    """
    kind, expected = (
        config.get("model_type"),
        "expected an image classifier that transformers reads by itself: vit, say",
    )
    if isinstance(kind, str) and kind in _NOT_ALLOWED:
        raise UserError(f"{where}: model_type is {kind}, which {_NOT_ALLOWED[kind]}; {expected}")
    if not isinstance(kind, str) or kind not in MODEL_TYPES:
        raise UserError(f"{where}: model_type is {shorten(kind)}; {expected}")
    parts = CONFIG_MAPPING[kind].sub_configs
    for key in config:
        _check_own(where, key, CONFIG_MAPPING[kind])
        if key in parts and isinstance(config[key], dict):
            for name in config[key]:
                _check_own(where, name, parts[key])
    allowed = {*MODEL_TYPES, *(part.model_type for part in parts.values())}
    for key, value in walk(config):
        if key == "model_type" and not (isinstance(value, str) and value in allowed):
            raise UserError(f"{where}: model_type of a part is {shorten(value)}; {expected}")


def check_attributes(where: str, received: Any) -> None:
    """Refuses a processor one of whose keys took the place of a method of its class.

    Raises:
        UserError: The message names the key.
    """
    for key in vars(received):
        _check_own(where, key, type(received))


def _check_own(where: str, key: str, *kinds: type) -> None:
    """Refuses a key that a class has for something else than a value of this name."""
    for kind in kinds:
        own = getattr_static(kind, key, None)
        is_taken = isinstance(own, (classmethod, staticmethod)) or callable(own)
        is_taken |= isinstance(own, property) and own.fset is None
        if issubclass(kind, PretrainedConfig) and key not in ("model_type", *(field.name for field in fields(kind))):
            # What a class says of all its configurations is no field of one.
            is_declared = key in (*kind.__dataclass_fields__, _OF_TRAINERS) or hasattr(PretrainedConfig, key)
            is_taken |= is_declared and not isinstance(own, property)
        if is_taken:
            raise UserError(f"{where}: {shorten(key)} is a name that {kind.__name__} has for itself; remove it")


def _fold(name: Any) -> str:
    """Returns the name under which transformers looks for a processor's class."""
    return str(name).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast")


@cache
def _processor_types() -> frozenset[str]:
    names = (IMAGE_PROCESSOR_MAPPING_NAMES.get(kind, {}) for kind in MODEL_TYPES)
    return frozenset(name for by_backend in names for name in by_backend.values() if name)
