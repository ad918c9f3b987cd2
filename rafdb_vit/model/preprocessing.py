"""Preprocessing of faces: augmentation for training, the processor's resize for evaluation, one collator for both.

A transform (for `Dataset.set_transform`) turns a batch of columns into resized uint8 pixels; `FaceCollator` alone makes
the model's `pixel_values` of them, normalised as the checkpoint's processor says. Pixels that bypass the collator do
not reach a model, since no transform returns a column of that name that is not normalised.

The training augmentation is that of the 2023 report, reordered for speed: everything on uint8, and colour jitter, its
slowest part, on whichever has fewer pixels: the picture as stored (100 x 100 in RAF-DB) or the crop for the model.
RandomErasing is added to it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from datasets import Dataset
from PIL import Image
from torchvision import transforms
from torchvision.transforms.v2 import functional as F

from rafdb_vit.data.images import open_face, select_undecoded
from rafdb_vit.runtime.errors import UserError

_LONGEST = 50
"""How many times as long as its shorter side the longer side of a picture may be."""
_COLUMNS = ("image", "label", "file", "crop", "distribution")


def _open_faces(batch: Mapping[str, Sequence[Any]]) -> Iterator[Image.Image]:
    """Yields the faces of a batch of columns `image`, `file` and perhaps `crop`.

    Each is opened when it is asked for: a whole batch of photographs takes gigabytes. `map` lets go of one before it
    asks for the next, which a loop does not.
    """
    count = len(batch["image"])
    rows = zip(batch["image"], batch.get("file", [""] * count), batch.get("crop", [None] * count), strict=True)
    return (open_face(image, file, crop) for image, file, crop in rows)


def _keep(batch: Mapping[str, Sequence[Any]], *columns: str) -> dict[str, Any]:
    """Returns the columns that a model or a loss needs beside the picture."""
    return {name: batch[name] for name in ("label", "file", *columns) if name in batch}


@contextmanager
def _seeded(seed: int, epoch: int, file: str) -> Iterator[None]:
    """Makes torch's random draws within a function of (seed, epoch, file), and leaves its generator as it was.

    Only the CPU's default generator is touched: `torch.manual_seed` would reset the one of the GPU too.
    """
    digest = hashlib.blake2b(f"{seed}/{epoch}/{file}".encode(), digest_size=8).digest()
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(int.from_bytes(digest, "little", signed=True))
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


class FaceGeometry:
    """What a checkpoint's image processor says about pixels.

    Attributes:
        size: Height and width of the model's input.
        interpolation: How pictures are resized to it.
        mean: Per channel, in units of uint8 pixels, what `FaceCollator` subtracts.
        std: Per channel, in units of uint8 pixels, what it divides by.
    """

    def __init__(self, processor: Any) -> None:
        size = processor.crop_size if getattr(processor, "do_center_crop", None) else processor.size
        self.size = [size.get(side, size.get("shortest_edge")) for side in ("height", "width")]
        self.interpolation = F.InterpolationMode(
            Image.Resampling(2 if processor.resample is None else processor.resample).name.lower()
        )
        scale = 1 / processor.rescale_factor if processor.do_rescale else 1.0
        self.mean = torch.tensor(processor.image_mean) * scale if processor.do_normalize else torch.zeros(3)
        self.std = torch.tensor(processor.image_std) * scale if processor.do_normalize else torch.full((3,), scale)


class TrainTransform:
    """The training augmentation; see the module's docstring. Made by `build_train_transform`."""

    def __init__(self, geometry: FaceGeometry, *, seed: int, random_erasing: float) -> None:
        self.seed = seed
        # Shared memory, so that data workers that are already running see the next epoch too.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.turn = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomRotation(10)])
        self.jitter = transforms.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1)
        interpolation = geometry.interpolation
        self.crop = transforms.RandomResizedCrop(geometry.size, scale=(0.8, 1.0), interpolation=interpolation)
        self.to_pixels = transforms.PILToTensor()
        # The mean colour is 0 once normalised: an erased patch tells the model nothing.
        fill = geometry.mean.round().tolist()
        self.erase = transforms.RandomErasing(random_erasing, value=fill) if random_erasing else None

    def describe(self) -> list[str]:
        """Returns the steps of the augmentation, as torchvision writes them."""
        steps = [*self.turn.transforms, self.jitter, self.crop, self.erase]
        return [" ".join(repr(step).split()) for step in steps if step is not None]

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (from 0) that the draws depend on, here and in running data workers."""
        self.epoch.fill_(epoch)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Turns the column `image` into uint8 tensors [3, H, W]; other columns that are needed stay."""
        images, epoch = [], int(self.epoch)
        for picture, file in zip(_open_faces(batch), batch["file"], strict=True):
            with _seeded(self.seed, epoch, file):
                images.append(self._augment(picture))
        return {**_keep(batch, "distribution"), "image": images}

    def _augment(self, picture: Image.Image) -> torch.Tensor:
        height, width = self.crop.size
        if height * width < picture.height * picture.width:
            pixels = self.to_pixels(self.jitter(self.crop(self.turn(picture))))
        else:
            pixels = self.crop(self.to_pixels(self.jitter(self.turn(picture))))
        return self.erase(pixels) if self.erase else pixels


@dataclass
class EvalTransform:
    """Resizes as the processor does, to uint8. Made by `build_eval_transform`."""

    geometry: FaceGeometry

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Turns the column `image` into uint8 tensors [3, H, W]; `label` and `file` stay as they are."""
        return {**_keep(batch), "image": list(map(self._resize, _open_faces(batch)))}

    def _resize(self, picture: Image.Image) -> torch.Tensor:
        size, mode = self.geometry.size, self.geometry.interpolation
        return F.resize(F.pil_to_tensor(picture), size, interpolation=mode, antialias=True)


@dataclass
class ProcessorTransform:
    """Runs a processor that does more than resize, rescale and normalise (a centre crop, say) as it is."""

    processor: Any

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Turns the column `image` into normalised `pixel_values` [3, H, W]."""
        files = batch.get("file", [""] * len(batch["image"]))
        return {**_keep(batch), "pixel_values": list(map(self._prepare, _open_faces(batch), files))}

    def _prepare(self, picture: Image.Image, file: str) -> torch.Tensor:
        if max(picture.size) > _LONGEST * min(picture.size):
            # Where the shorter side is resized to that of the model, the longer one would take all memory.
            raise UserError(f"{file}: {picture.width} x {picture.height} pixels are no face; take it out")
        return self.processor(picture, return_tensors="pt")["pixel_values"][0]


@dataclass
class FaceCollator:
    """Makes a batch for the model: the only way from a transform's pixels to `pixel_values`."""

    geometry: FaceGeometry

    def __call__(self, faces: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Stacks the rows of a transform of this module, `image` or `pixel_values`, and normalises them.

        Returns:
            `pixel_values` [B, 3, H, W] float32, normalised; `labels` where the rows have any: [B, C] float32
            probabilities if they have a `distribution`, which only the training transform passes on, else [B] int64.

        Raises:
            TypeError: The rows hold neither, so no transform of this module was set.
        """
        if "pixel_values" in faces[0]:
            pixels = torch.stack([face["pixel_values"] for face in faces])
        elif isinstance(faces[0].get("image"), torch.Tensor) and faces[0]["image"].dtype == torch.uint8:
            stacked = torch.stack([face["image"] for face in faces]).to(torch.float32)
            pixels = F.normalize(stacked, self.geometry.mean.tolist(), self.geometry.std.tolist(), inplace=True)
        else:
            raise TypeError("FaceCollator takes rows of build_train_transform or build_eval_transform: set one first")
        batch = {"pixel_values": pixels}
        if "distribution" in faces[0]:
            batch["labels"] = torch.tensor([face["distribution"] for face in faces], dtype=torch.float32)
        elif "label" in faces[0]:
            batch["labels"] = torch.tensor([face["label"] for face in faces], dtype=torch.int64)
        return batch


def build_train_transform(processor: Any, *, seed: int, random_erasing: float) -> TrainTransform:
    """Builds the training transform.

    Args:
        processor: The checkpoint's image processor: size, mean and resampling come from it.
        seed: Every draw is a function of this seed, the epoch (`set_epoch`) and the face's `file`.
        random_erasing: Probability of RandomErasing (Zhong et al., 2020), in [0, 1]; 0 is off.
    """
    return TrainTransform(FaceGeometry(processor), seed=seed, random_erasing=random_erasing)


def build_collator(processor: Any) -> FaceCollator:
    """Builds the collator that normalises as `processor` does."""
    return FaceCollator(FaceGeometry(processor))


def with_face_transform(dataset: Dataset, transform: Any) -> Dataset:
    """Returns a split with a transform set on it, its images decoded by `open_face`."""
    return select_undecoded(dataset, _COLUMNS).with_transform(transform)


def build_eval_transform(processor: Any) -> EvalTransform | ProcessorTransform:
    """Builds the evaluation transform: after the collator, the pixels equal `processor(picture)` bit by bit.

    Resizing to uint8 and normalising a whole batch is faster than the processor, where the processor does no more than
    that; two random pictures show whether it does, and any other processor is used as it is.
    """
    generator = torch.Generator().manual_seed(0)
    fast, collate = EvalTransform(FaceGeometry(processor)), build_collator(processor)
    for height, width in ((100, 100), (90, 130)):
        pixels = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)
        picture = F.to_pil_image(pixels)
        found = collate([{"image": fast({"image": [picture]})["image"][0]}])["pixel_values"]
        if not torch.equal(found, processor(picture, return_tensors="pt")["pixel_values"]):
            return ProcessorTransform(processor)
    return fast
