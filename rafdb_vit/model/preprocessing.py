"""Preprocessing of faces: augmentation for training, the processor's resize for evaluation, one collator for both.

A transform (for `Dataset.set_transform`) turns a batch of columns into pixels of the model's size; `FaceCollator` alone
makes the model's `pixel_values` of them, normalised as the checkpoint's processor says. Pixels that bypass the
collator do not reach a model, since no transform returns a column of that name that is not normalised.

Training and evaluation prepare a picture in one way (`choose_preparation`), which gives the processor's own pixels;
training draws changes before that. They are those of the 2023 report, reordered for speed: colour jitter, the slowest,
works on whichever has fewer pixels: the picture as stored (100 x 100 in RAF-DB) or as the model takes it. RandomErasing
is added to them.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms.v2 import functional as F

from rafdb_vit.data.images import open_face, select_undecoded
from rafdb_vit.runtime.errors import UserError

if TYPE_CHECKING:
    from datasets import Dataset

_LONGEST = 50
"""How many times as long as its shorter side the longer side of a picture may be."""
_PROBES = ((100, 100), (90, 130), (130, 90), (300, 260))
"""Height and width of the pictures that show what a processor does: square, wide, tall and larger than most models'."""
_SIDES = ("height", "width")
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


@dataclass(frozen=True)
class FastPreparation:
    """Resizes pictures to uint8, as a processor does that only resizes, rescales and normalises.

    `FaceCollator` normalises a whole batch at once, which is faster than the processor.

    Attributes:
        size: Height and width of the model's input, in pixels.
        interpolation: How pictures are resized to it.
        mean: Per channel, in units of uint8 pixels, what `FaceCollator` subtracts.
        std: Per channel, in units of uint8 pixels, what it divides by.
    """

    size: tuple[int, int]
    interpolation: F.InterpolationMode
    mean: tuple[float, ...]
    std: tuple[float, ...]

    column = "image"

    @classmethod
    def read(cls, processor: Any) -> "FastPreparation":
        """Reads what a processor says that it does, whether or not it does more.

        Raises:
            AttributeError, TypeError, ValueError: It does not say so in the usual way.
        """
        resample = Image.Resampling(2 if processor.resample is None else processor.resample)
        scale = 1 / processor.rescale_factor if processor.do_rescale else 1.0
        mean = torch.tensor(processor.image_mean) * scale if processor.do_normalize else torch.zeros(3)
        std = torch.tensor(processor.image_std) * scale if processor.do_normalize else torch.full((3,), scale)
        height, width = (int(processor.size.get(side) or processor.size["shortest_edge"]) for side in _SIDES)
        interpolation = F.InterpolationMode(resample.name.lower())
        return cls((height, width), interpolation, tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def blank(self) -> list[int]:
        """The mean colour: what is nothing to the model once it is normalised."""
        return [round(value) for value in self.mean]

    def __call__(self, picture: Image.Image, file: str = "") -> torch.Tensor:
        """Returns uint8 pixels [3, H, W] of a picture; `file` is not asked for."""
        return F.resize(F.pil_to_tensor(picture), list(self.size), interpolation=self.interpolation, antialias=True)


@dataclass(frozen=True)
class ProcessorPreparation:
    """Runs a processor that does more than resize, rescale and normalise (a centre crop, say) as it is.

    Attributes:
        processor: The checkpoint's image processor.
        size: Height and width of the model's input, in pixels.
    """

    processor: Any
    size: tuple[int, int]

    column = "pixel_values"
    blank = 0

    def __call__(self, picture: Image.Image, file: str = "") -> torch.Tensor:
        """Returns normalised pixels [3, H, W], float32; `file` is what an error calls the picture.

        Raises:
            UserError: The picture is far too long and thin.
        """
        if max(picture.size) > _LONGEST * min(picture.size):
            # Where the shorter side is resized to that of the model, the longer one would take all memory.
            raise UserError(f"{file}: {picture.width} x {picture.height} pixels are no face; take it out")
        return self.processor(picture, return_tensors="pt")["pixel_values"][0]


Preparation = FastPreparation | ProcessorPreparation


def choose_preparation(processor: Any) -> Preparation:
    """Returns how pictures become what `processor` makes of them, after the collator: bit by bit.

    Random pictures of several shapes show whether the fast way gives its pixels; if not, it is run as it is.
    """
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.randint(0, 256, (3, *size), dtype=torch.uint8, generator=generator) for size in _PROBES)
    pictures = [F.to_pil_image(of_one) for of_one in pixels]
    expected = [processor(picture, return_tensors="pt")["pixel_values"] for picture in pictures]
    exact = ProcessorPreparation(processor, (expected[0].shape[-2], expected[0].shape[-1]))
    try:
        fast = FastPreparation.read(processor)
    except (AttributeError, KeyError, TypeError, ValueError):
        return exact
    collate = FaceCollator(fast)
    found = (collate([{"image": fast(picture)}])["pixel_values"] for picture in pictures)
    return fast if all(map(torch.equal, found, expected)) else exact


class TrainTransform:
    """The training augmentation; see the module's docstring. Made by `build_train_transform`.

    Whatever is drawn, the pixels of a picture are then prepared as those of evaluation are.
    """

    def __init__(self, prepare: Preparation, *, seed: int, random_erasing: float) -> None:
        self.seed, self.prepare = seed, prepare
        # Shared memory, so that data workers that are already running see the next epoch too.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self.turn = transforms.Compose([transforms.RandomHorizontalFlip(), transforms.RandomRotation(10)])
        mode = getattr(prepare, "interpolation", F.InterpolationMode.BILINEAR)
        self.crop = transforms.RandomResizedCrop(prepare.size, scale=(0.8, 1.0), interpolation=mode)
        self.jitter = transforms.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1)
        self.erase = transforms.RandomErasing(random_erasing, value=prepare.blank) if random_erasing else None

    def describe(self) -> list[str]:
        """Returns the steps of the augmentation, as torchvision writes them."""
        steps = [*self.turn.transforms, self.crop, self.jitter, self.erase]
        return [" ".join(repr(step).split()) for step in steps if step is not None]

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (from 0) that the draws depend on, here and in running data workers."""
        self.epoch.fill_(epoch)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Turns the column `image` into tensors [3, H, W] for `FaceCollator`; other columns that are needed stay."""
        images, epoch = [], int(self.epoch)
        for picture, file in zip(_open_faces(batch), batch["file"], strict=True):
            with _seeded(self.seed, epoch, file):
                images.append(self._augment(picture, file))
        return {**_keep(batch, "distribution"), self.prepare.column: images}

    def _augment(self, picture: Image.Image, file: str) -> torch.Tensor:
        picture = self._cut(self.turn(picture))
        height, width = self.prepare.size
        if isinstance(self.prepare, FastPreparation) and height * width < picture.height * picture.width:
            pixels = F.pil_to_tensor(self.jitter(F.to_pil_image(self.prepare(picture))))
        else:
            pixels = self.prepare(self.jitter(picture), file)
        return self.erase(pixels) if self.erase else pixels

    def _cut(self, picture: Image.Image) -> Image.Image:
        """Returns the part of a picture that RandomResizedCrop draws, not yet resized."""
        top, left, height, width = self.crop.get_params(picture, self.crop.scale, self.crop.ratio)
        return F.crop(picture, top, left, height, width)


@dataclass
class EvalTransform:
    """Prepares pictures as the processor does, and changes nothing else. Made by `build_eval_transform`."""

    prepare: Preparation

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """Turns the column `image` into tensors [3, H, W] for `FaceCollator`; `label` and `file` stay as they are."""
        files = batch.get("file", [""] * len(batch["image"]))
        return {**_keep(batch), self.prepare.column: list(map(self.prepare, _open_faces(batch), files))}


@dataclass
class FaceCollator:
    """Makes a batch for the model: the only way from a transform's pixels to `pixel_values`."""

    prepare: Preparation

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
        elif isinstance(self.prepare, FastPreparation) and _are_pixels(faces[0].get("image")):
            stacked = torch.stack([face["image"] for face in faces]).to(torch.float32)
            pixels = F.normalize(stacked, list(self.prepare.mean), list(self.prepare.std), inplace=True)
        else:
            raise TypeError("FaceCollator takes rows of build_train_transform or build_eval_transform: set one first")
        batch = {"pixel_values": pixels}
        if "distribution" in faces[0]:
            batch["labels"] = torch.tensor([face["distribution"] for face in faces], dtype=torch.float32)
        elif "label" in faces[0]:
            batch["labels"] = torch.tensor([face["label"] for face in faces], dtype=torch.int64)
        return batch


def _are_pixels(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.uint8


def build_train_transform(processor: Any, *, seed: int, random_erasing: float) -> TrainTransform:
    """Builds the training transform: with nothing drawn, its pixels equal those of evaluation bit by bit.

    Args:
        processor: The checkpoint's image processor, which says what pixels the model takes.
        seed: Every draw is a function of this seed, the epoch (`set_epoch`) and the face's `file`.
        random_erasing: Probability of RandomErasing (Zhong et al., 2020), in [0, 1]; 0 is off.
    """
    return TrainTransform(choose_preparation(processor), seed=seed, random_erasing=random_erasing)


def build_eval_transform(processor: Any) -> EvalTransform:
    """Builds the evaluation transform: after the collator, the pixels equal `processor(picture)` bit by bit."""
    return EvalTransform(choose_preparation(processor))


def build_collator(processor: Any) -> FaceCollator:
    """Builds the collator that normalises as `processor` does."""
    return FaceCollator(choose_preparation(processor))


def with_face_transform(dataset: "Dataset", transform: Any) -> "Dataset":
    """Returns a split with a transform set on it, its images decoded by `open_face`."""
    return select_undecoded(dataset, _COLUMNS).with_transform(transform)
