import base64
import io

import numpy as np
import pytest
from PIL import Image

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.report.mistakes import embed_faces, find_confusions, find_mistakes

NAMES = ("a", "b", "c")


@pytest.fixture
def predictions():
    """Two of a for b, one of c for a, one of b for c, four right."""
    labels = np.array([0, 0, 0, 1, 1, 2, 2, 1])
    predicted = np.array([0, 1, 1, 1, 2, 0, 2, 1])
    logits = np.eye(3)[predicted] * np.array([9, 1, 5, 9, 2, 7, 9, 9])[:, None]
    return Predictions([f"f{i}" for i in range(8)], labels, logits, NAMES)


def test_every_mistake_the_surest_first(predictions):
    mistakes = find_mistakes(predictions)
    assert [(m.file, m.label, m.predicted) for m in mistakes] == [
        ("f5", "c", "a"),
        ("f2", "a", "b"),
        ("f4", "b", "c"),
        ("f1", "a", "b"),
    ]
    assert [m.confidence for m in mistakes] == sorted((m.confidence for m in mistakes), reverse=True)
    assert mistakes[0].confidence == pytest.approx(np.exp(7) / (np.exp(7) + 2))


def test_pairs_by_how_often_then_by_share(predictions):
    pairs = find_confusions(predictions, find_mistakes(predictions), most=3, examples=1)
    assert [(p.label, p.predicted, p.count) for p in pairs] == [("a", "b", 2), ("c", "a", 1), ("b", "c", 1)]
    assert [p.share for p in pairs] == ["67%", "50%", "33%"]
    assert [m.file for m in pairs[0].examples] == ["f2"]


def test_faces_are_embedded_as_they_look(official):
    faces = load_rafdb(official)["test"]
    pictures = embed_faces(faces, [3, 0, 3])
    assert list(pictures) == [3, 0]
    kind, data = pictures[3].split(",")
    assert kind == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(data)))
    expected = np.asarray(faces[3]["image"].resize(picture.size), dtype=float)
    assert picture.size == (96, 96)
    assert abs(np.asarray(picture, dtype=float) - expected).mean() < 12
