"""Tries a received model out on grey pictures, before it is used: whether it works, and what one picture costs.

It is tried on torch's meta device, where tensors have a shape alone, so that a model that asks for too much is refused
before it gets any of it.
"""

import math
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from PIL import Image
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from transformers import PreTrainedModel

from rafdb_vit.model.files import CONFIG_FILE, PROCESSOR_FILE
from rafdb_vit.model.preprocessing import build_collator, build_eval_transform, choose_preparation
from rafdb_vit.model.pretrained import naming_faults
from rafdb_vit.model.received import WeightsSize
from rafdb_vit.runtime.errors import UserError, shorten

_PICTURES = ((100, 100), (160, 100), (100, 160))
"""Width and height in pixels: square as RAF-DB's faces, wide and tall."""
_BATCH = 2
"""Pictures of a trial; a model that takes only one would fail at the first batch."""
_MOST_OPERATIONS = 20_000
"""For a batch of any size; Swin, which has many small ones, takes 1,200 to 3,000."""
_MOST_FOR_A_PICTURE = {
    "bytes at once": (2**30, 8),
    "numbers": (2**32, 64),
    "multiplications": (2**34, 2**13),
}
"""What one picture may take: a base, and beside it so many for each number in the weights.

- Bytes of all tensors that live at once: ViT-B takes 9 MB at 224 pixels and 46 MB at 384, EfficientNet-B7 200 MB at
  600, DINOv2-giant 420 MB at 518.
- Numbers that are written, or read by a pool: ViT-B has 70 million at 224 pixels; two cores take 2**32 in 2 to 10 s.
- Multiplications: 17.6e9 in ViT-B at 224 pixels. A weight is used once at each position of a picture at most, 200 times
  in ViT-B; attention adds to that: with it, ViT-B/8 has 900 to a weight, DINOv2-giant 1,600 at 518 pixels.
"""
_ATEN = torch.ops.aten
_POOLS = (_ATEN.avg_pool2d, _ATEN.avg_pool3d, _ATEN.max_pool2d_with_indices, _ATEN.max_pool3d_with_indices)
_MOST_BYTES = 2**32
"""Of a batch in memory: 480 pictures of 224 x 224 pixels through ViT-B."""
_ONE_NUMBER = "Expected more than 1 value per channel when training"
"""How torch's batch normalization refuses a batch."""
_BYTES_PER_PICTURE = "_bytes_per_picture"
"""The attribute of a model in which its trial leaves what a picture takes."""


def try_out(where: str, model: PreTrainedModel, processor: Any, size: WeightsSize) -> None:
    """Refuses a model that cannot read grey pictures, or only at a price that its weights do not account for.

    What a picture takes stays with the model, for `fit_batch`.

    Args:
        where: What to call the model in errors.
        model: Its mode stays as it is.
        processor: Its image processor.
        size: How much its weights are.

    Raises:
        UserError: Its configuration or its processor contradicts itself, or asks for too much.
    """
    _check_image_size(where, model, processor)
    was_training, meter = model.training, CostMeter(where, size)
    expected = f"expected {CONFIG_FILE} and {PROCESSOR_FILE} that go together"
    with naming_faults(f"{where}: the model cannot read a picture", expected), torch.no_grad():
        pixels = _prepare(where, processor).to("meta").expand(_BATCH, -1, -1, -1)
        model.eval()
        with meter:
            answer = functional_call(model, _to_meta(model), (), {"pixel_values": pixels})
        model.train(was_training)
        shape = list(answer.logits.shape)
    if shape != [_BATCH, classes := len(model.config.id2label or {})]:
        raise UserError(
            f"{where}: the model answers {_BATCH} pictures with numbers of shape {shape}; expected one for each of "
            f"{classes} classes (id2label in {CONFIG_FILE})"
        )
    setattr(model, _BYTES_PER_PICTURE, meter.peak // _BATCH)


def fit_batch(asked: int, model: PreTrainedModel, processor: Any) -> int:
    """Returns how many pictures to take at once: as `asked`, or fewer where a batch would take more than 4 GB.

    Of a model that was not tried out, the pixels are what is known: they may take a quarter of that.
    """
    pixels = 4 * 3 * math.prod(choose_preparation(processor).size)
    return max(1, min(asked, _MOST_BYTES // max(4 * pixels, getattr(model, _BYTES_PER_PICTURE, 0))))


def takes_one_picture(model: PreTrainedModel, processor: Any) -> bool:
    """Tells whether a model in training takes a batch of one: batch normalization needs several numbers a channel."""
    pixels = torch.empty(1, 3, *choose_preparation(processor).size, device="meta")
    was_training = model.training
    try:
        with torch.no_grad(), _ShapesAlone():
            functional_call(model.train(), _to_meta(model), (), {"pixel_values": pixels})
    except ValueError as error:
        return _ONE_NUMBER not in str(error)
    finally:
        model.train(was_training)
    return True


def _to_meta(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: tensor.to("meta") for name, tensor in (*model.named_parameters(), *model.named_buffers())}


class _ShapesAlone(TorchDispatchMode):
    """Runs a model whose tensors are on the meta device; where a value is asked for, it is 1."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation."""
        if func is _ATEN._local_scalar_dense.default:
            return torch.ones((), dtype=args[0].dtype, device="cpu").item()
        return func(*args, **(kwargs or {}))


class CostMeter(_ShapesAlone):
    """Ends what a batch of `_BATCH` pictures runs within it where that grows out of proportion to the weights.

    Attributes:
        peak: The bytes of all tensors that lived at once, at most, beside those that were there before.

    Raises:
        UserError: Tensors have too many bytes or numbers, or there are too many multiplications or operations.
    """

    def __init__(self, where: str, size: WeightsSize) -> None:
        super().__init__()
        self.peak = 0
        self._where, self._spent = where, Counter[str]()
        self._most = {
            what: _BATCH * (most + each * size.elements) for what, (most, each) in _MOST_FOR_A_PICTURE.items()
        } | {"operations": _MOST_OPERATIONS}
        self._live: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Runs an operation and counts what it takes."""
        answer, kind = super().__torch_dispatch__(func, types, args, kwargs), func.overloadpacket
        self._spend("operations", 1)
        if kind in flop_registry:
            self._spend("multiplications", flop_registry[kind](*args, **(kwargs or {}), out_val=answer) // 2)
        for tensor in answer if isinstance(answer, (tuple, list)) else [answer]:
            if isinstance(tensor, torch.Tensor) and not func.is_view:
                window = _count_window(args[0], args[1]) if kind in _POOLS else 0
                self._spend("numbers", tensor.numel() * (1 + window))
                self._hold(tensor.untyped_storage())
        return answer

    def _hold(self, memory: torch.UntypedStorage) -> None:
        """Counts the bytes of a tensor for as long as it lives; what is changed in place has none of its own."""
        key, size = memory._cdata, memory.nbytes()
        if key not in self._live:
            self._live.add(key)
            weakref.finalize(memory, self._release, key, size)
            self._spend("bytes at once", size)
            self.peak = max(self.peak, self._spent["bytes at once"])

    def _release(self, key: int, size: int) -> None:
        self._live.discard(key)
        self._spent["bytes at once"] -= size

    def _spend(self, what: str, count: int) -> None:
        self._spent[what] += count
        if self._spent[what] > self._most[what]:
            raise UserError(
                f"{self._where}: {CONFIG_FILE} asks for more than {self._most[what]:,} {what} for {_BATCH} pictures; "
                "expected a smaller image_size, a larger patch_size or fewer layers"
            )


def _count_window(pooled: torch.Tensor, sides: Sequence[int]) -> int:
    """Returns of how many numbers a pool makes one, all of a tensor at most; one side stands for each."""
    within = pooled.shape[2:]
    return math.prod(map(min, within, sides if len(sides) > 1 else [*sides] * len(within)))


def _check_processor(where: str, processor: Any) -> None:
    """Refuses a processor whose pixels are not all that it gives, or not those that its saved copy will give."""
    picture = Image.effect_noise((90, 130), 64).convert("RGB")
    found = processor(picture, return_tensors="pt")
    if set(found) != {"pixel_values"}:
        raise UserError(
            f"{where}: {PROCESSOR_FILE} makes {shorten(', '.join(sorted(found)))} of a picture; expected pixel_values "
            "alone, which is what a model is trained on here"
        )
    for other in (processor, type(processor).from_dict(processor.to_dict())):
        if not torch.equal(other(picture, return_tensors="pt")["pixel_values"], found["pixel_values"]):
            raise UserError(f"{where}: {PROCESSOR_FILE} makes other pixels of the same picture each time; mend it")


def _prepare(where: str, processor: Any) -> torch.Tensor:
    """Returns the pixels of one grey picture, after a look at those of pictures of other shapes."""
    _check_processor(where, processor)
    transform, collate = build_eval_transform(processor), build_collator(processor)
    pixels = []
    for size in _PICTURES:
        rows = transform({"image": [Image.new("RGB", size, (128, 128, 128))]})
        pixels.append(collate([{column: values[0] for column, values in rows.items()}])["pixel_values"])
    if not all(found.isfinite().all() for found in pixels):
        raise UserError(f"{where}: {PROCESSOR_FILE} makes numbers that are not finite of a grey picture; mend it")
    sizes = [list(found.shape[2:]) for found in pixels]
    if any(size != sizes[0] for size in sizes):
        raise UserError(
            f"{where}: {PROCESSOR_FILE} makes {sizes[0]} of a square picture, {sizes[1]} of a wide and {sizes[2]} of a "
            "tall one; expected one size: height and width, or a crop"
        )
    return pixels[0]


def _check_image_size(where: str, model: PreTrainedModel, processor: Any) -> None:
    """Refuses a checkpoint whose model and image processor do not agree on the size of the input."""
    expected, size = getattr(model.config, "image_size", None), getattr(processor, "size", {})
    crops = getattr(processor, "do_center_crop", None)
    found = size.get("height") if hasattr(size, "get") and not crops else None
    if isinstance(expected, int) and found is not None and found != expected:
        raise UserError(
            f"{where}: config.json says image_size {expected}, preprocessor_config.json {found}; expected one size"
        )
