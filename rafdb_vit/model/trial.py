"""Tries a received model out on grey pictures, before it is used: whether it works, and what one picture costs.

Most architectures are tried on torch's meta device, where tensors have a shape alone, so that a model that asks for
too much is refused before it gets any of it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel

from rafdb_vit.model.allow_list import CONFIG_FILE
from rafdb_vit.model.preprocessing import build_collator, build_eval_transform
from rafdb_vit.model.pretrained import naming_faults
from rafdb_vit.model.received import PROCESSOR_FILE, WeightsSize
from rafdb_vit.runtime.errors import UserError

_PICTURES = ((100, 100), (160, 100), (100, 160))
"""Width and height in pixels: square as RAF-DB's faces, wide and tall."""
_MOST_OPERATIONS = 20_000
"""For one picture; Swin, which has many small ones, takes 1,200 to 3,000."""
_MOST_AT_ONCE = 2**25
"""Numbers in one tensor, 134 MB, beside as many as the weights have; ViT-B has 600,000 at 224 pixels, EfficientNet-B7
17 million at 600."""
_MOST_IN_ALL = 2**32
"""Numbers in all tensors of one picture, beside `_MOST_PER_WEIGHT` for each of the weights; ViT-B has 200 million at
224 pixels. Two cores write that many in some ten seconds."""
_MOST_PER_WEIGHT = 64


def try_out(where: str, model: PreTrainedModel, processor: Any, size: WeightsSize) -> None:
    """Refuses a model that cannot read a grey picture, or only at a price that its weights do not account for.

    Args:
        where: What to call the model in errors.
        model: Its mode stays as it is.
        processor: Its image processor.
        size: How much its weights are.

    Raises:
        UserError: Its configuration or its processor contradicts itself, or asks for too much.
    """
    _check_image_size(where, model, processor)
    was_training = model.training
    expected = f"expected {CONFIG_FILE} and {PROCESSOR_FILE} that go together"
    with naming_faults(f"{where}: the model cannot read a picture", expected), torch.no_grad():
        pictures = _prepare(where, processor)
        shape = _find_shape(where, model.eval(), pictures, size)
        model.train(was_training)
    if shape != [1, model.config.num_labels]:
        raise UserError(f"{where}: the model answers with numbers of shape {shape}; expected one for each class")


class CostMeter(TorchDispatchMode):
    """Ends what runs within it where its tensors grow out of proportion to the weights.

    Raises:
        UserError: One tensor, or all together, have too many numbers, or there are too many operations.
    """

    def __init__(self, where: str, size: WeightsSize) -> None:
        super().__init__()
        self._where = where
        self._most_at_once = _MOST_AT_ONCE + size.elements
        self._most_in_all = _MOST_IN_ALL + _MOST_PER_WEIGHT * size.elements
        self._operations, self._in_all = 0, 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation and counts the numbers that it returns."""
        answer = func(*args, **(kwargs or {}))
        tensors = answer if isinstance(answer, (tuple, list)) else [answer]
        counts = [tensor.numel() for tensor in tensors if isinstance(tensor, torch.Tensor)]
        self._operations += 1
        self._in_all += sum(counts)
        for found, most, what in (
            (max(counts, default=0), self._most_at_once, "numbers at once"),
            (self._in_all, self._most_in_all, "numbers"),
            (self._operations, _MOST_OPERATIONS, "operations"),
        ):
            if found > most:
                raise UserError(
                    f"{self._where}: {CONFIG_FILE} asks for more than {most:,} {what} for one picture; expected a "
                    "smaller image_size, a larger patch_size or fewer layers"
                )
        return answer


def _prepare(where: str, processor: Any) -> torch.Tensor:
    """Returns the pixels of one grey picture, after a look at those of pictures of other shapes."""
    transform, collate = build_eval_transform(processor), build_collator(processor)
    pixels = []
    for size in _PICTURES:
        rows = transform({"image": [Image.new("RGB", size, (128, 128, 128))]})
        pixels.append(collate([{column: values[0] for column, values in rows.items()}])["pixel_values"])
    sizes = [list(found.shape[2:]) for found in pixels]
    if any(size != sizes[0] for size in sizes):
        raise UserError(
            f"{where}: {PROCESSOR_FILE} makes {sizes[0]} of a square picture, {sizes[1]} of a wide and {sizes[2]} of a "
            "tall one; expected one size: height and width, or a crop"
        )
    return pixels[0]


def _find_shape(where: str, model: PreTrainedModel, pixels: torch.Tensor, size: WeightsSize) -> list[int]:
    """Returns the shape of a model's answer, which is found without computing it where the architecture allows that."""
    state = {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    try:
        with CostMeter(where, size):
            answer = functional_call(model, state, (), {"pixel_values": pixels.to("meta")})
    except (NotImplementedError, RuntimeError):  # a value, not a shape alone, is asked for on the way
        with CostMeter(where, size):
            answer = model(pixel_values=pixels)
    return list(answer.logits.shape)


def _check_image_size(where: str, model: PreTrainedModel, processor: Any) -> None:
    """Refuses a checkpoint whose model and image processor do not agree on the size of the input."""
    expected, size = getattr(model.config, "image_size", None), getattr(processor, "size", {})
    crops = getattr(processor, "do_center_crop", None)
    found = size.get("height") if hasattr(size, "get") and not crops else None
    if isinstance(expected, int) and found is not None and found != expected:
        raise UserError(
            f"{where}: config.json says image_size {expected}, preprocessor_config.json {found}; expected one size"
        )
