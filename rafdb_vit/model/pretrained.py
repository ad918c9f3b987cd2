"""The only door to what transformers reads from files, or builds as a configuration says.

Everything that comes through it may be from somebody else. Code that a model brings is never run, and nobody is asked
whether it should be: transformers asks `Do you wish to run the custom code? [y/N]` wherever `trust_remote_code` is not
given.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from torch.nn.modules import module as torch_module
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from rafdb_vit.model.allow_list import check_attributes
from rafdb_vit.model.download import quiet_loading
from rafdb_vit.model.files import CONFIG_FILE, PROCESSOR_FILE
from rafdb_vit.model.received import WeightsSize
from rafdb_vit.runtime.errors import UserError, shorten

_FAULTS = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, MemoryError, NameError, OSError),
    *(RuntimeError, SafetensorError, StrictDataclassError, TypeError, ValueError),
)
"""What transformers and torch raise where a configuration holds something else than they expect.

They check few values, so that the first use of one fails, in one way or another. This is the one place where so many
kinds are taken for a fault of a file: a model was checked for all that is known by then, and only what reads, builds
or tries it runs there.
"""
_MOST_MODULES = 20_000
"""However many tensors the weights have, of which a file can list thousands that hold nothing."""
_MOST_PATCHES = 128
"""Along one side of a picture; 1024 pixels have as many of 8. Attention compares each of their square with each."""
_MOST_PAIRS = 2_000_000
"""Pairs of patches in all layers of LeViT, which goes through them in Python as it is built; LeViT-384 has 500,000."""
_SPARE_MODULES = 1_000
_MODULES_PER_TENSOR = 20
_SPARE_ELEMENTS = 10_000_000
"""For a new head and for what is computed and not stored: 40 MB."""


@contextmanager
def naming_faults(where: str, expected: str) -> Iterator[None]:
    """Turns what transformers raises while it reads or runs a received model into one line.

    Raises:
        UserError: `where`, the reason, and what was `expected`.
    """
    try:
        yield
    except _FAULTS as error:
        reason = shorten(error) or "no reason given"
        raise UserError(f"{where} ({type(error).__name__}: {reason}); {expected}") from error


def read_config(where: str, folder: Path) -> PretrainedConfig:
    """Reads the configuration of a model; how attention is computed and what is returned is not the file's to say.

    Raises:
        UserError: It holds something that transformers cannot use, or asks for too many patches.
    """
    with naming_faults(f"{where}: {CONFIG_FILE} is not a model that transformers knows", "mend it, or copy it anew"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        # None is what transformers chooses for the architecture; flex_attention, say, would start a compiler.
        config._attn_implementation = config._experts_implementation = None
        for part in _list_parts(config):
            part.output_hidden_states = part.output_attentions = False
            part.return_dict = True
            _check_patches(f"{where}: {CONFIG_FILE}", part)
        return config


def _list_parts(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """Yields a configuration and those within it."""
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from _list_parts(value)


def _check_patches(where: str, config: PretrainedConfig) -> None:
    """Refuses more patches than a picture has use for: tables and loops over them are made as a model is built."""
    sides, patches = ([*_flatten(getattr(config, key, None))] for key in ("image_size", "patch_size"))
    if not sides or not patches:
        return
    along = max(sides) / max(1, min(patches))
    if along > _MOST_PATCHES:
        raise UserError(
            f"{where}: image_size is {config.image_size} and patch_size {config.patch_size}; expected "
            f"{_MOST_PATCHES} patches along a side at most"
        )
    depths = sum(map(abs, _flatten(getattr(config, "depths", None))))
    if config.model_type == "levit" and along**4 * max(1, depths) > _MOST_PAIRS:
        raise UserError(
            f"{where}: image_size is {config.image_size}, patch_size {config.patch_size} and depths {config.depths}; "
            "expected fewer patches or layers"
        )


def _flatten(value: Any) -> Iterator[float]:
    """Yields a number, or those in a list."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, (int, float)):
            yield item


def read_processor(where: str, folder: Path) -> Any:
    """Reads the image processor of a model.

    Raises:
        UserError: It holds something that transformers cannot use.
    """
    with naming_faults(f"{where}: {PROCESSOR_FILE} is no image processor", "mend it, or copy it anew"):
        processor = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
        check_attributes(f"{where}: {PROCESSOR_FILE}", processor)
        return processor


def read_model(
    where: str, folder: Path, config: PretrainedConfig, size: WeightsSize
) -> tuple[PreTrainedModel, dict[str, Any]]:
    """Reads an image classifier in float32.

    Returns:
        The model, and what transformers says about the weights: `missing_keys`, `mismatched_keys`, `unexpected_keys`.

    Raises:
        UserError: The configuration does not go with the weights, or one of them cannot be read.
    """
    options: dict[str, Any] = {"use_safetensors": True, "ignore_mismatched_sizes": True, "output_loading_info": True}
    faults = naming_faults(f"{where}: the model cannot be read", f"expected weights and {CONFIG_FILE} of one model")
    with quiet_loading(), _bounding(where, size), faults:
        return AutoModelForImageClassification.from_pretrained(
            folder, config=config, dtype=torch.float32, trust_remote_code=False, **options
        )


def build_empty(config: PretrainedConfig) -> PreTrainedModel:
    """Builds an image classifier in float32 whose weights are still to be set, without advancing random numbers."""
    with torch.random.fork_rng(devices=[]):
        return AutoModelForImageClassification.from_config(config, dtype=torch.float32, trust_remote_code=False)


def list_shapes(where: str, config: PretrainedConfig, size: WeightsSize) -> dict[str, torch.Size]:
    """Returns the shape of each tensor that a configuration asks for, by name, without taking memory for it.

    Raises:
        UserError: It asks for far more than the weights have.
    """
    faults = naming_faults(f"{where}: the model cannot be built", f"expected weights and {CONFIG_FILE} of one model")
    with quiet_loading(), _bounding(where, size), faults, torch.device("meta"):
        model = AutoModelForImageClassification.from_config(config, trust_remote_code=False)
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def open_pipeline(where: str, folder: Path, size: WeightsSize, *, top_k: int) -> Any:
    """Opens a model on the CPU as users do, with `pipeline`.

    Raises:
        UserError: transformers cannot use it.
    """
    from transformers import pipeline

    config = read_config(where, folder)
    faults = naming_faults(f"{where}: pipeline cannot read the model", "expected one that it can")
    with quiet_loading(), _bounding(where, size), faults:
        return pipeline(
            "image-classification", str(folder), config=config, device="cpu", top_k=top_k, trust_remote_code=False
        )


@contextmanager
def _bounding(where: str, size: WeightsSize) -> Iterator[None]:
    """Ends the building of a model that is far larger than its weights, before memory is taken for it.

    transformers builds a model on torch's meta device first, where tensors have a shape alone.

    Raises:
        UserError: It is.
    """
    modules, elements = 0, 0
    most_modules = min(_SPARE_MODULES + _MODULES_PER_TENSOR * size.tensors, _MOST_MODULES)
    most_elements = _SPARE_ELEMENTS + 2 * size.elements
    expected = f"expected a {CONFIG_FILE} that belongs to the weights"

    def count_module(*_: Any) -> None:
        """Counts a module that is built; torch's hook."""
        nonlocal modules
        modules += 1
        if modules > most_modules:
            raise UserError(
                f"{where}: {CONFIG_FILE} asks for more than {most_modules:,} modules, and the weights have "
                f"{size.tensors:,} tensors; {expected}"
            )

    def count_tensor(_: Any, name: str, tensor: torch.Tensor | None) -> None:
        """Counts the numbers of a parameter or a buffer that is made; torch's hook."""
        nonlocal elements
        elements += tensor.numel() if tensor is not None and tensor.is_meta else 0
        if elements > most_elements:
            raise UserError(
                f"{where}: {CONFIG_FILE} asks for {elements:,} numbers and more (as far as {name}), and the "
                f"weights have {size.elements:,}; {expected}"
            )

    hooks = [
        torch_module.register_module_module_registration_hook(count_module),
        torch_module.register_module_parameter_registration_hook(count_tensor),
        torch_module.register_module_buffer_registration_hook(count_tensor),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
