"""A model's predictions for a few fixed pictures, through `pipeline`, by which two copies of it are compared."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rafdb_vit.model.pretrained import naming_faults, open_pipeline
from rafdb_vit.model.received import check_received
from rafdb_vit.model.trial import try_out
from rafdb_vit.runtime.errors import UserError

PICTURES = 3
TOLERANCE = 1e-6
_SIDE = 100
_SEED = 20170721


def make_probe_images() -> list[Image.Image]:
    """Returns the fixed pictures: smooth noise of 100 x 100 pixels, the same on every machine."""
    generator = np.random.default_rng(_SEED)
    coarse = generator.integers(0, 256, (PICTURES, 10, 10, 3), dtype=np.uint8)
    return [Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC) for pixels in coarse]


def probe_model(folder: str | Path, *, classes: int) -> list[list[float]]:
    """Loads a model and its processor as users will, on the CPU, and returns its predictions for the fixed pictures.

    Returns:
        [PICTURES][classes] probabilities, in model order.

    Raises:
        UserError: `pipeline` does not give a probability for each of the classes.
    """
    where = str(folder)
    size = check_received(where, Path(folder))
    read = open_pipeline(where, Path(folder), size, top_k=classes + 1)
    try_out(where, read.model, read.image_processor, size)
    with naming_faults(f"{where}: pipeline cannot read a picture", "expected a model that it can use"):
        ids = {name: position for position, name in enumerate((read.model.config.id2label or {}).values())}
        answers = [{row["label"]: row["score"] for row in rows} for rows in read(make_probe_images())]
    if any(len(answer) != classes or abs(sum(answer.values()) - 1) > 1e-3 for answer in answers):
        raise UserError(f"{folder}: pipeline does not give a probability for each of its {classes} classes")
    return [[answer[name] for name in sorted(answer, key=ids.__getitem__)] for answer in answers]


def largest_difference(first: Sequence[Sequence[float]], second: Sequence[Sequence[float]]) -> float:
    """Returns the largest difference between two models' probabilities, in [0, 1]."""
    return float(np.abs(np.asarray(first) - np.asarray(second)).max())
