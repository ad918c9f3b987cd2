"""What a model gets wrong: the classes it confuses most, the errors it is surest of, and their faces."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from datasets import Dataset

from rafdb_vit.data.images import open_row, select_undecoded
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.report.wording import render_share

_SIDE = 96


@dataclass(frozen=True)
class Mistake:
    """A face that the model gets wrong.

    Attributes:
        row: Its place in the split.
        file: Its name.
        label: Its labelled class.
        predicted: The predicted class.
        confidence: The probability of the predicted class, in [0, 1].
    """

    row: int
    file: str
    label: str
    predicted: str
    confidence: float


@dataclass(frozen=True)
class Confusion:
    """Two classes of which one is taken for the other.

    Attributes:
        label: The labelled class.
        predicted: The predicted class.
        count: How many faces.
        share: Their share of the labelled class, as the page shows it.
        examples: Some of them, the surest first.
    """

    label: str
    predicted: str
    count: int
    share: str
    examples: list[Mistake]


def find_mistakes(predictions: Predictions) -> list[Mistake]:
    """Returns every face that the model gets wrong, those first of which it is surest."""
    confidences, predicted, names = predictions.probabilities.max(axis=1), predictions.predicted, predictions.names
    wrong = np.flatnonzero(predicted != predictions.labels)
    return [
        Mistake(int(i), predictions.files[i], names[predictions.labels[i]], names[predicted[i]], float(confidences[i]))
        for i in wrong[np.argsort(-confidences[wrong], kind="stable")]
    ]


def find_confusions(
    predictions: Predictions, mistakes: Sequence[Mistake], *, most: int = 5, examples: int = 5
) -> list[Confusion]:
    """Returns the `most` pairs of classes that the model confuses most often, each with a few `examples`."""
    by_pair: dict[tuple[str, str], list[Mistake]] = {}
    for mistake in mistakes:
        by_pair.setdefault((mistake.label, mistake.predicted), []).append(mistake)
    of_class = Counter(predictions.names[label] for label in predictions.labels)
    pairs = sorted(by_pair.items(), key=lambda pair: (-len(pair[1]), -len(pair[1]) / of_class[pair[0][0]]))
    return [
        Confusion(label, predicted, len(found), render_share(len(found), of_class[label]), found[:examples])
        for (label, predicted), found in pairs[:most]
    ]


def embed_faces(faces: Dataset, rows: Sequence[int]) -> dict[int, str]:
    """Returns small pictures of faces as `data:` addresses, by their row in the split."""
    undecoded = select_undecoded(faces)
    return {row: _embed(undecoded[row]) for row in dict.fromkeys(rows)}


def _embed(face: dict) -> str:
    picture = open_row(face)
    picture.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
