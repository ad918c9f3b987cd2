import hashlib

import numpy as np
from PIL import Image

from rafdb_vit.data.dataset import count_classes, load_rafdb
from rafdb_vit.data.drawn_faces import ACTION_UNITS, draw_face, list_drawn_files, write_drawn_faces
from rafdb_vit.data.labels import BASIC


def digest(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(path.name.encode() + path.read_bytes() for path in files)).hexdigest()


def test_a_tree_in_the_official_layout(tmp_path):
    write_drawn_faces(tmp_path, train_faces=60, test_faces=20)
    splits = load_rafdb(tmp_path)
    counts = count_classes(splits["test"])
    assert set(counts) == set(BASIC.names)
    assert min(counts.values()) >= 1
    assert splits["train"][0]["image"].size == (100, 100)
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert written == list_drawn_files(train_faces=60, test_faces=20)


def test_the_same_seed_draws_the_same_bytes(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_drawn_faces(tmp_path / name, train_faces=14, test_faces=7, seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b") != digest(tmp_path / "c")


def test_the_imbalance_is_about_six_to_one(tmp_path):
    write_drawn_faces(tmp_path, train_faces=175, test_faces=7)
    splits = load_rafdb(tmp_path)
    counts = {n: c + count_classes(splits["validation"])[n] for n, c in count_classes(splits["train"]).items()}
    assert max(counts.values()) / min(counts.values()) == 6


def test_every_expression_differs_from_neutral_and_the_others():
    def pixels(name, intensity):
        return np.asarray(draw_face(name, intensity, np.random.default_rng(4)), dtype=float)

    faces = {name: pixels(name, 1.0) for name in ACTION_UNITS}
    assert set(faces) == set(BASIC.names)
    for name, face in faces.items():
        others = [np.abs(face - other).mean() for key, other in faces.items() if key != name]
        assert min(others) > 0.5, name
        if name != "Neutral":
            assert np.abs(pixels(name, 0.3) - faces["Neutral"]).mean() < np.abs(face - faces["Neutral"]).mean()


def test_look_does_not_depend_on_the_expression():
    """Mean colours of two expressions, drawn from the same seeds, are the same but for what the mouth adds."""
    means = {
        name: np.mean(
            [np.asarray(draw_face(name, 0.6, np.random.default_rng(i))).mean((0, 1)) for i in range(20)], axis=0
        )
        for name in ("Sadness", "Neutral", "Happiness")
    }
    for name in ("Sadness", "Happiness"):
        assert np.abs(means[name] - means["Neutral"]).max() < 8


def test_a_face_is_a_picture():
    face = draw_face("Fear", 1.0, np.random.default_rng(0))
    assert isinstance(face, Image.Image) and face.mode == "RGB"
