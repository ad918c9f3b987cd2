"""What a classifier reads in picture files of cropped faces."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from rafdb_vit.data.folder import walk_images
from rafdb_vit.errors import UserError, escape
from rafdb_vit.picture import open_face
from rafdb_vit.transforms import build_collator, build_eval_transform


@dataclass(frozen=True)
class Reading:
    """What was read in one file.

    Attributes:
        file: Its path.
        probabilities: By class name, the most probable first; None if the file could not be read.
        error: Why it could not; None if it could.
    """

    file: str
    probabilities: dict[str, float] | None = None
    error: str | None = None

    def describe(self) -> dict[str, Any]:
        """Returns the reading for programs, as it stands in JSON."""
        if self.probabilities is None:
            return {"file": self.file, "error": self.error}
        return {"file": self.file, "label": next(iter(self.probabilities)), "probabilities": self.probabilities}

    def render(self) -> str:
        """Renders the reading in one line."""
        if self.probabilities is None:
            return f"not read: {self.error}"
        return "  ".join([escape(self.file), *(f"{name} {share:.4f}" for name, share in self.probabilities.items())])


def list_pictures(paths: Sequence[str]) -> list[str]:
    """Returns the files that paths stand for: files as they are, folders as the images in and below them.

    Folders without an image, and those that cannot be read, stand for themselves: reading them names them.
    """
    files: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            files.append(path)
            continue
        unreadable: list[OSError] = []
        found = list(walk_images(Path(path), on_error=unreadable.append))
        closed = [str(error.filename) for error in unreadable]
        files += [*found, *closed] or [path]
    return files


def read_pictures(
    model: Any, processor: Any, names: Sequence[str], files: Iterable[str], *, device: str, batch_size: int = 32
) -> Iterator[Reading]:
    """Reads pictures, in fp32; a file that cannot be read does not keep the others from it.

    Args:
        model: The classifier; moved to the device.
        processor: Its image processor.
        names: What its outputs are called.
        files: Paths.
        device: Where to compute.
        batch_size: Pictures at once.

    Yields:
        A reading a file, in their order.
    """
    from scipy.special import softmax

    model, transform, collate = model.to(device).eval(), build_eval_transform(processor), build_collator(processor)
    remaining = iter(files)
    while batch := list(islice(remaining, batch_size)):
        opened = {i: _open(file) for i, file in enumerate(batch)}
        pictures = [picture for picture in opened.values() if isinstance(picture, Image.Image)]
        answers: Iterator[np.ndarray] = iter(())
        if pictures:
            prepared = transform({"image": pictures})
            (column,) = prepared
            pixels = collate([{column: tensor} for tensor in prepared[column]])["pixel_values"]
            with torch.inference_mode():
                logits = model(pixel_values=pixels.to(device)).logits.float().cpu().numpy()
            answers = iter(softmax(logits.astype(np.float64), axis=-1))
        for i, file in enumerate(batch):
            picture = opened[i]
            if isinstance(picture, str):
                yield Reading(file, error=picture)
            elif not np.isfinite(shares := next(answers)).all():
                yield Reading(file, error=f"{file}: the model's answer is not finite; its weights are damaged")
            else:
                order = np.argsort(-shares, kind="stable")
                yield Reading(file, {names[label]: float(shares[label]) for label in order})


def _open(file: str) -> Image.Image | str:
    """Returns a picture, or why it cannot be read."""
    try:
        if os.path.isdir(file):
            closed = not os.access(file, os.R_OK | os.X_OK)
            raise UserError(f"{file}: {'the folder cannot be read' if closed else 'holds no image'}")
        if not os.path.isfile(file):
            raise UserError(f"{file}: no such file")
        return open_face({"path": file, "bytes": None})
    except UserError as error:
        return error.line
