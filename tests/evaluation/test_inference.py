import os
import weakref

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ConvNextImageProcessor, pipeline

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.images import open_face
from rafdb_vit.evaluation import inference
from rafdb_vit.evaluation.image_predictions import list_images
from rafdb_vit.evaluation.inference import predict_images, predict_logits
from rafdb_vit.model import preprocessing, trial
from rafdb_vit.model.load import load_classifier
from tests.support.faces import paint_face
from tests.support.models import save_vit
from tests.support.refusals import refused


@pytest.fixture
def pictures(tmp_path):
    for i in range(1, 6):
        paint_face(i, i).save(tmp_path / f"{i}.png")
    return tmp_path


def read(files, tiny_vit, **settings):
    classifier = load_classifier(str(tiny_vit), flag="--model")
    return list(predict_images(classifier, files, device="cpu", **settings))


def test_it_reads_what_pipeline_reads(pictures, tiny_vit):
    Image.new("L", (50, 90), 99).save(pictures / "grey.png")
    files = list_images([str(pictures)])
    theirs = pipeline("image-classification", str(tiny_vit), top_k=7)(files)
    for prediction, expected in zip(read(files, tiny_vit, batch_size=4), theirs, strict=True):
        assert list(prediction.probabilities) == [row["label"] for row in expected]
        np.testing.assert_allclose(
            list(prediction.probabilities.values()), [row["score"] for row in expected], atol=1e-6
        )
        assert sum(prediction.probabilities.values()) == pytest.approx(1)
        assert prediction.describe()["label"] == expected[0]["label"]


def test_what_cannot_be_read_is_named_and_the_rest_go_on(pictures, tiny_vit):
    (pictures / "2.png").write_bytes(b"no image")
    (pictures / "3.png").write_bytes((pictures / "3.png").read_bytes()[:200])
    files = [str(pictures / f"{i}.png") for i in range(1, 7)]
    predictions = read(files, tiny_vit, batch_size=2)
    assert [prediction.file for prediction in predictions] == files
    assert [prediction.error is None for prediction in predictions] == [True, False, False, True, True, False]
    assert "no known format" in predictions[1].error and "no such file" in predictions[5].error
    assert predictions[1].describe() == {"file": files[1], "error": predictions[1].error}
    assert predictions[1].render().startswith(f"not read: {files[1]}: ")


def test_only_what_cannot_be_read(pictures, tiny_vit):
    assert [prediction.probabilities for prediction in read(["a.png", "b.png"], tiny_vit)] == [None, None]


def test_a_line_has_every_class(pictures, tiny_vit):
    (prediction,) = read([str(pictures / "1.png")], tiny_vit)
    assert prediction.render().split("  ")[0] == str(pictures / "1.png")
    assert len(prediction.render().split("  ")) == 8


def test_folders_stand_for_the_images_below_them(pictures, tmp_path):
    (pictures / "below").mkdir()
    paint_face(1, 1).save(pictures / "below" / "6.JPG", "JPEG")
    (pictures / "notes.txt").write_text("")
    names = [f"{i}.png" for i in range(1, 6)] + ["below/6.JPG"]
    assert list_images([str(pictures)]) == [str(pictures / name) for name in names]
    assert list_images(["x.png", "y"]) == ["x.png", "y"]
    (tmp_path / "empty").mkdir()
    assert list_images(["x.png", str(tmp_path / "empty")]) == ["x.png", str(tmp_path / "empty")]


def test_a_link_in_a_folder_leads_to_nothing_outside(pictures, tiny_vit, tmp_path_factory):
    outside = tmp_path_factory.mktemp("elsewhere") / "outside.png"
    paint_face(1, 1).save(outside)
    (pictures / "0.png").symlink_to(outside)
    (pictures / "00.png").symlink_to(pictures / "1.png")
    odd, *rest = read(list_images([str(pictures)]), tiny_vit)
    assert f"{pictures / '0.png'}: leads out of {pictures} to {outside}" in odd.error
    assert [prediction.error for prediction in rest[:2]] == [None, None]
    (named,) = read([str(pictures / "0.png")], tiny_vit)
    assert named.error is None


def test_a_folder_without_images_is_named_and_the_rest_go_on(pictures, tiny_vit):
    (pictures / "empty").mkdir()
    files = list_images([str(pictures / "empty"), str(pictures / "1.png")])
    empty, whole = read(files, tiny_vit)
    assert empty.error == f"{pictures / 'empty'}: holds no image" and whole.error is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read_is_named(pictures, tiny_vit):
    (pictures / "closed").mkdir(mode=0)
    *_, last = read(list_images([str(pictures)]), tiny_vit)
    assert last.error == f"{pictures / 'closed'}: the folder cannot be read"


@pytest.fixture(params=["resizes", "crops"])
def any_vit(request, tmp_path):
    """A model whose processor only resizes, and one whose processor does more and is used as it is."""
    folder = save_vit(tmp_path / "m")
    if request.param == "crops":
        ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(folder)
    return folder


def test_no_two_pictures_are_held_at_a_time(pictures, any_vit, monkeypatch):
    opened = []

    def open_and_watch(*args):
        assert not [picture for picture in opened if picture() is not None]
        picture = open_face(*args)
        opened.append(weakref.ref(picture))
        return picture

    monkeypatch.setattr(preprocessing, "open_face", open_and_watch)
    files = list_images([str(pictures)])
    classifier = load_classifier(str(any_vit))
    assert [row.error for row in predict_images(classifier, files, device="cpu")] == [None] * 5
    transform = preprocessing.build_eval_transform(classifier.processor)
    before = len(opened)
    transform({"image": [{"path": file} for file in files], "file": files})
    assert len(opened) == before + 5


def test_a_picture_that_no_memory_would_hold_when_resized_is_named(pictures, tmp_path):
    folder = save_vit(tmp_path / "m", image_size=32)
    ConvNextImageProcessor(size={"shortest_edge": 32}, crop_pct=0.875).save_pretrained(folder)
    Image.new("RGB", (50_000, 2)).save(pictures / "0.png")
    narrow, whole, *_ = read(list_images([str(pictures)]), folder)
    assert narrow.error == f"{pictures / '0.png'}: 50000 x 2 pixels are no face; take it out" and whole.error is None


def fail(error):
    def forward(*_, **__):
        raise error

    return forward


@pytest.mark.parametrize(
    "forward",
    [
        lambda *_, **__: torch.empty(2**45),
        fail(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")),
        fail(MemoryError()),
    ],
)
def test_a_batch_that_memory_does_not_hold_is_one_line(pictures, tiny_vit, faces_dir, monkeypatch, forward):
    classifier = load_classifier(str(tiny_vit))
    monkeypatch.setattr(classifier.model, "forward", forward)
    with refused("--batch_size 4: memory does not hold so many pictures at once; take fewer"):
        list(predict_images(classifier, list_images([str(pictures)]), device="cpu", batch_size=4))
    with refused("--per_device_eval_batch_size 5: memory does not hold"):
        predict_logits(classifier.model, classifier.processor, load_rafdb(faces_dir)["test"], batch_size=5)


def test_another_error_of_a_model_is_a_bug(pictures, tiny_vit, monkeypatch):
    classifier = load_classifier(str(tiny_vit))
    monkeypatch.setattr(classifier.model, "forward", fail(RuntimeError("shapes")))
    with pytest.raises(RuntimeError, match="^shapes$"):
        list(predict_images(classifier, list_images([str(pictures)]), device="cpu"))


@pytest.mark.parametrize("cost", [0, 100_000])
def test_fewer_pictures_are_taken_at_once_where_they_would_take_too_much(
    pictures, tiny_vit, faces_dir, monkeypatch, cost
):
    classifier, taken = load_classifier(str(tiny_vit)), []
    faces = load_rafdb(faces_dir)["test"]
    expected = predict_logits(classifier.model, classifier.processor, faces)
    compute = inference._compute_logits
    monkeypatch.setattr(trial, "_MOST_BYTES", 3 * max(4 * 4 * 3 * 32 * 32, cost) + 1)
    monkeypatch.setattr(inference, "_compute_logits", lambda model, x: taken.append(len(x)) or compute(model, x))
    setattr(classifier.model, trial._BYTES_PER_PICTURE, cost)
    found = predict_logits(classifier.model, classifier.processor, faces, batch_size=1024)
    assert max(taken) == 3 and sum(taken) == len(faces)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    taken.clear()
    rows = list(predict_images(classifier, list_images([str(pictures)]), device="cpu", batch_size=1024))
    assert taken == [3, 2] and all(row.error is None for row in rows)
