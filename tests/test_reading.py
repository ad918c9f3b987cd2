import os

import numpy as np
import pytest
from PIL import Image
from transformers import pipeline

from rafdb_vit.classifier import load_classifier
from rafdb_vit.reading import list_pictures, read_pictures
from tests.conftest import paint_face


@pytest.fixture
def pictures(tmp_path):
    for i in range(1, 6):
        paint_face(i, i).save(tmp_path / f"{i}.png")
    return tmp_path


def read(files, tiny_vit, **settings):
    classifier = load_classifier(str(tiny_vit), flag="--model")
    return list(
        read_pictures(classifier.model, classifier.processor, classifier.names, files, device="cpu", **settings)
    )


def test_it_reads_what_pipeline_reads(pictures, tiny_vit):
    Image.new("L", (50, 90), 99).save(pictures / "grey.png")
    files = list_pictures([str(pictures)])
    theirs = pipeline("image-classification", str(tiny_vit), top_k=7)(files)
    for reading, expected in zip(read(files, tiny_vit, batch_size=4), theirs, strict=True):
        assert list(reading.probabilities) == [row["label"] for row in expected]
        np.testing.assert_allclose(list(reading.probabilities.values()), [row["score"] for row in expected], atol=1e-6)
        assert sum(reading.probabilities.values()) == pytest.approx(1)
        assert reading.describe()["label"] == expected[0]["label"]


def test_what_cannot_be_read_is_named_and_the_rest_go_on(pictures, tiny_vit):
    (pictures / "2.png").write_bytes(b"no image")
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:200])
    files = [str(pictures / f"{i}.png") for i in range(1, 7)]
    readings = read(files, tiny_vit, batch_size=2)
    assert [reading.file for reading in readings] == files
    assert [reading.error is None for reading in readings] == [True, False, False, True, True, False]
    assert "no known format" in readings[1].error and "no such file" in readings[5].error
    assert readings[1].describe() == {"file": files[1], "error": readings[1].error}
    assert readings[1].render().startswith(f"not read: {files[1]}: ")


def test_only_what_cannot_be_read(pictures, tiny_vit):
    assert [reading.probabilities for reading in read(["a.png", "b.png"], tiny_vit)] == [None, None]


def test_a_line_has_every_class(pictures, tiny_vit):
    (reading,) = read([str(pictures / "1.png")], tiny_vit)
    assert reading.render().split("  ")[0] == str(pictures / "1.png")
    assert len(reading.render().split("  ")) == 8


def test_folders_stand_for_the_images_below_them(pictures, tmp_path):
    (pictures / "below").mkdir()
    paint_face(1, 1).save(pictures / "below" / "6.JPG", "JPEG")
    (pictures / "notes.txt").write_text("")
    names = [f"{i}.png" for i in range(1, 6)] + ["below/6.JPG"]
    assert list_pictures([str(pictures)]) == [str(pictures / name) for name in names]
    assert list_pictures(["x.png", "y"]) == ["x.png", "y"]
    (tmp_path / "empty").mkdir()
    assert list_pictures(["x.png", str(tmp_path / "empty")]) == ["x.png", str(tmp_path / "empty")]


def test_a_folder_without_images_is_named_and_the_rest_go_on(pictures, tiny_vit):
    (pictures / "empty").mkdir()
    files = list_pictures([str(pictures / "empty"), str(pictures / "1.png")])
    empty, whole = read(files, tiny_vit)
    assert empty.error == f"{pictures / 'empty'}: holds no image" and whole.error is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(pictures, tiny_vit):
    (pictures / "closed").mkdir(mode=0)
    *_, last = read(list_pictures([str(pictures)]), tiny_vit)
    assert last.error == f"{pictures / 'closed'}: the folder cannot be read"
