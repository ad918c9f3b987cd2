import hashlib
import io

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as Pictures

from rafdb_vit.data import pixels
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.pixels import hash_faces
from tests.support.images import encode, orientation, paint_texture, save_again
from tests.support.refusals import refused

FACE = Pictures.open(io.BytesIO(encode(paint_texture(0, 40), "JPEG", quality=90))).convert("RGB")


def hash_images(*images, **columns):
    """The hashes of images, each a path or the content of a file."""
    rows = [{"bytes": image, "path": None} if isinstance(image, bytes) else image for image in images]
    features = Features({"image": Image(mode="RGB"), "file": Value("string")})
    faces = Dataset.from_dict({"image": rows, "file": [f"face {i}" for i in range(len(rows))]}, features=features)
    for name, values in columns.items():
        faces = faces.add_column(name, values)
    return hash_faces({"train": faces})["train"]


def test_a_hash_is_that_of_size_and_pixels():
    content = b"\x02\0\0\0\x01\0\0\0" + bytes([1, 2, 3, 4, 5, 6])
    wide = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    wide, high = (encode(Pictures.fromarray(array), "PNG") for array in (wide, wide.swapaxes(0, 1)))
    found = hash_images(wide, high)
    assert found[0] == hashlib.sha256(content).hexdigest()[:16] and found[1] != found[0]


def test_one_picture_has_one_hash_in_whatever_file_it_is(tmp_path):
    jpeg = encode(paint_texture(0, 40), "JPEG", quality=90)
    (tmp_path / "face.jpg").write_bytes(jpeg)
    turned = encode(FACE.transpose(Pictures.Transpose.ROTATE_90), "PNG", exif=orientation(6))
    same = [str(tmp_path / "face.jpg"), jpeg, encode(FACE, "PNG"), encode(FACE, "BMP"), turned]
    assert len(set(hash_images(*same, jpeg + b"a comment"))) == 1


def test_a_picture_that_looks_the_same_has_another():
    again = encode(save_again(FACE, 90), "PNG")
    assert len(set(hash_images(encode(FACE, "PNG"), again, encode(FACE.resize((41, 41)), "PNG")))) == 3


def test_a_row_of_fer2013_is_the_picture_that_others_have_as_a_file(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (48, 48), np.uint8)
    pixels_of_row, usages = " ".join(map(str, levels.ravel())), ("Training", "PublicTest", "PrivateTest")
    rows = [f"{code},{pixels_of_row},{usage}" for code in range(7) for usage in usages]
    (tmp_path / "fer2013.csv").write_text("\n".join(["emotion,pixels,Usage", *rows]))
    found = hash_faces(load_rafdb(tmp_path))
    assert found.keys() == {"train", "validation", "test"}
    assert found["test"] == 7 * hash_images(encode(Pictures.fromarray(levels), "PNG"))


def test_of_a_photograph_it_is_the_face_that_was_cut_out():
    crops = [[0, 0, 20], [5, 10, 20], [5, 10, 20]]
    photograph, face = encode(FACE, "PNG"), encode(FACE.crop((5, 10, 25, 30)), "PNG")
    found = hash_images(photograph, photograph, photograph, crop=crops)
    assert found[0] != found[1] and found[1:] == hash_images(face) * 2


def test_hashes_are_by_split_and_in_order_on_several_processes_too(monkeypatch):
    contents = [encode(paint_texture(i, 8), "PNG") for i in range(90)]
    features = Features({"image": Image(mode="RGB"), "file": Value("string")})
    rows = {"image": [{"bytes": content, "path": None} for content in contents], "file": list(map(str, range(90)))}
    faces = Dataset.from_dict(rows, features=features)
    splits, found = {"train": faces.select(range(85)), "test": faces.select(range(85, 90))}, []
    for processes in (1, 2):
        monkeypatch.setattr(pixels, "count_cpus", lambda processes=processes: processes)
        found.append(hash_faces(splits))
    assert found[0] == found[1] and found[0]["train"] + found[0]["test"] == hash_images(*contents)


def test_a_picture_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "half.png"
    path.write_bytes(encode(FACE, "PNG")[:300])
    for image, name in ((str(path), path), (path.read_bytes(), "face 0")):
        with refused(f"{name}: cannot be read as an image"):
            hash_images(image)
