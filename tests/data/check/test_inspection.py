import hashlib
import os

import numpy as np
import pytest
from PIL import Image

from rafdb_vit.data.check import inspection
from rafdb_vit.data.check.inspection import (
    DEEP,
    NOT_RGB,
    ROTATED,
    TOO_LARGE,
    TRUNCATED,
    UNREADABLE,
    inspect_file,
    inspect_files,
)
from tests.support.images import EPS, HTML, encode, orientation, paint_texture, write_bomb

FACE = paint_texture(0, 40)
WHOLE = encode(FACE, "JPEG", quality=95)


def with_bad_offset(content):
    # The type of the tag StripOffsets becomes text, which Pillow takes for a place in the file.
    at = content.index(b"\x11\x01", 8)
    return content[: at + 2] + b"\x02\x00" + content[at + 4 :]


def with_flipped_byte(content, at):
    return content[:at] + bytes([content[at] ^ 255]) + content[at + 1 :]


CONTENTS = {
    "whole": (WHOLE, []),
    "PNG": (encode(FACE, "PNG"), []),
    "EXIF upright": (encode(FACE, "JPEG", exif=orientation(1)), []),
    "EXIF of 0": (encode(FACE, "JPEG", exif=orientation(0)), []),
    "zero bytes": (b"", [(UNREADABLE, "zero bytes")]),
    "HTML": (HTML, [(UNREADABLE, "not an image of a known format")]),
    "EPS": (EPS, [(UNREADABLE, "not an image of a known format")]),
    "a few bytes": (WHOLE[:3], [(UNREADABLE, "not an image of a known format")]),
    "half": (WHOLE[: len(WHOLE) // 2], [(TRUNCATED, "truncated")]),
    "half a PNG": (encode(FACE, "PNG")[:900], [(TRUNCATED, "truncated")]),
    "a PNG with damage": (with_flipped_byte(encode(FACE, "PNG"), 700), [(TRUNCATED, "")]),
    "a TIFF with damage": (with_bad_offset(encode(FACE, "TIFF")), [(TRUNCATED, "")]),
    "grey": (encode(FACE.convert("L"), "JPEG"), [(NOT_RGB, "JPEG of mode L")]),
    "CMYK": (encode(FACE.convert("CMYK"), "JPEG"), [(NOT_RGB, "JPEG of mode CMYK")]),
    "palette": (encode(FACE.convert("P"), "GIF"), [(NOT_RGB, "GIF of mode P")]),
    "RGBA": (encode(FACE.convert("RGBA"), "PNG"), [(NOT_RGB, "PNG of mode RGBA")]),
    "transparent": (
        encode(FACE.convert("P"), "PNG", transparency=1),
        [(NOT_RGB, "PNG of mode P with transparency")],
    ),
    "deep": (encode(Image.fromarray(np.uint16([[0, 65535]])), "PNG"), [(DEEP, "PNG of mode I;16: scaled")]),
    "turned": (encode(FACE, "JPEG", exif=orientation(6)), [(ROTATED, "EXIF orientation 6")]),
    "grey and turned": (
        encode(FACE.convert("L"), "JPEG", exif=orientation(3)),
        [(NOT_RGB, "JPEG of mode L"), (ROTATED, "EXIF orientation 3")],
    ),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_a_file_holds(name, tmp_path):
    content, faults = CONTENTS[name]
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    found = inspect_file(str(path))
    assert [kind for kind, _ in found.faults] == [kind for kind, _ in faults]
    for (_, words), (_, expected) in zip(found.faults, faults, strict=True):
        assert expected in words and "\n" not in words
    decoded = not {UNREADABLE, TRUNCATED} & {kind for kind, _ in faults}
    assert (found.hashes is not None) is (found.thumbnails is not None) is decoded
    assert found.digest == (hashlib.sha256(content).digest() if content else None)


def test_sizes(tmp_path):
    for content, size in ((WHOLE, (40, 40)), (WHOLE[:700], (40, 40)), (HTML, None), (b"", None)):
        (tmp_path / "face.jpg").write_bytes(content)
        assert inspect_file(str(tmp_path / "face.jpg")).size == size


def test_a_bomb_is_not_decoded(tmp_path):
    found = inspect_file(str(write_bomb(tmp_path / "bomb.jpg", 20_000)))
    assert [kind for kind, _ in found.faults] == [TOO_LARGE] and found.hashes is None and found.digest is not None


def test_a_file_that_claims_gigabytes_is_neither_read_nor_hashed(tmp_path):
    path = tmp_path / "sparse.jpg"
    path.write_bytes(WHOLE)
    os.truncate(path, 30 * 2**30)
    found = inspect_file(str(path))
    assert found.faults == ((TOO_LARGE, "32,212,254,720 bytes, expected 270,000,000 at most"),)
    assert found.digest is None


def test_what_is_no_file(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    for name in ("folder.jpg", "circle.jpg", "pipe.jpg", "nothing.jpg", "x" * 300 + ".jpg"):
        found = inspect_file(str(tmp_path / name))
        assert found.faults == ((UNREADABLE, "not a file"),) and found.digest is None, name


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    path = tmp_path / "face.jpg"
    path.write_bytes(WHOLE)

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refused)
    assert inspect_file(str(path)).faults == ((UNREADABLE, "cannot be read (Permission denied)"),)


def test_memory_that_runs_out_is_a_fault(tmp_path, monkeypatch):
    def exhausted(path):
        raise MemoryError

    (tmp_path / "face.jpg").write_bytes(WHOLE)
    monkeypatch.setattr(inspection, "open_picture", exhausted)
    assert [kind for kind, _ in inspect_file(str(tmp_path / "face.jpg")).faults] == [TRUNCATED]


def test_words_of_several_lines_become_one(tmp_path, monkeypatch):
    def failing(path):
        raise OSError("broken\n  data")

    (tmp_path / "face.jpg").write_bytes(WHOLE)
    monkeypatch.setattr(inspection, "open_picture", failing)
    assert inspect_file(str(tmp_path / "face.jpg")).faults == ((TRUNCATED, "broken data"),)


def write_many(folder, count=150):
    contents = [content for content, _ in CONTENTS.values()]
    paths = [folder / f"{i}.jpg" for i in range(count)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(paint_texture(i, 24), "PNG") if i % 7 else contents[i // 7 % len(contents)])
    return list(map(str, paths))


def as_words(file):
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in vars(file).items()}


def test_several_processes_say_what_one_says(tmp_path, monkeypatch):
    monkeypatch.delitem(CONTENTS, "a TIFF with damage")
    paths = write_many(tmp_path)
    here, there = [list(map(as_words, inspect_files(paths, processes=n))) for n in (1, 3)]
    assert [file["path"] for file in here] == paths
    assert here == there


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_random_damage_is_never_raised(tmp_path):
    rng = np.random.default_rng(0)
    contents = [content for name, (content, _) in CONTENTS.items() if content and name != "a TIFF with damage"]
    path = tmp_path / "face.jpg"
    for _ in range(400):
        content = np.frombuffer(contents[rng.integers(len(contents))], np.uint8).copy()
        content[rng.integers(0, len(content), 6)] = rng.integers(0, 256, 6)
        path.write_bytes(content.tobytes())
        assert "\n" not in str(inspect_file(str(path)).faults)
