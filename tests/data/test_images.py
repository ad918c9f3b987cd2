import io
import os
import struct
import subprocess
import sys
import warnings

import numpy as np
import PIL
import pytest
from datasets import Image as ImageFeature
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import EpsImagePlugin, Image, ImageFilter, ImageOps, UnidentifiedImageError

from rafdb_vit.data import images
from rafdb_vit.data.images import (
    MOST_SCANS,
    PICTURE_ERRORS,
    PictureTooLarge,
    cut_square,
    open_face,
    open_picture,
    open_undecoded,
    square_box,
)
from rafdb_vit.runtime.errors import UserError
from tests.support.images import EPS, HTML, encode, orientation, write_bomb
from tests.support.refusals import refused


def paint(mode="RGB", size=(13, 9), seed=0):
    """Noise, so that no two pixels, and no two ways of turning it, are the same."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(noise).convert("RGBA" if mode in ("RGBA", "LA") else "RGB").convert(mode)


def assert_same_as_datasets(path, content):
    expected = ImageFeature(mode="RGB").decode_example({"path": str(path), "bytes": None})
    for source in (str(path), content):
        picture = open_picture(source)
        assert (picture.mode, picture.size) == ("RGB", expected.size)
        assert np.array_equal(np.asarray(picture), np.asarray(expected))


@pytest.mark.parametrize(
    ("form", "mode"),
    [
        *(("JPEG", mode) for mode in ("RGB", "L", "CMYK")),
        *(("PNG", mode) for mode in ("RGB", "L", "LA", "P", "RGBA", "1")),
        *(("BMP", mode) for mode in ("RGB", "L", "P", "RGBA")),
        *(("WEBP", mode) for mode in ("RGB", "RGBA")),
        *(("GIF", mode) for mode in ("L", "P")),
        *(("TIFF", mode) for mode in ("RGB", "L", "CMYK", "P", "RGBA", "YCbCr")),
        *(("PPM", mode) for mode in ("RGB", "L", "1")),
    ],
)
def test_pixels_are_those_of_datasets(form, mode, tmp_path):
    content = encode(paint(mode), form)
    if (form, mode) == ("TIFF", "YCbCr") and int(PIL.__version__.split(".")[0]) < 13:
        pytest.skip("this Pillow cannot read what it writes")
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    assert_same_as_datasets(path, content)


@pytest.mark.parametrize("form", ["PNG", "GIF"])
@pytest.mark.parametrize("transparency", [3, bytes(range(256))])
def test_transparency_of_a_palette_is_dropped_in_silence(form, transparency, tmp_path):
    if form == "GIF" and isinstance(transparency, bytes):
        transparency = 0
    content = encode(paint("P"), form, transparency=transparency)
    path = tmp_path / "face.png"
    path.write_bytes(content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        open_picture(content)
    assert not said
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert_same_as_datasets(path, content)


@pytest.mark.parametrize("value", range(9))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_an_image_is_turned_as_its_exif_says(form, value, tmp_path):
    content = encode(paint(), form, exif=orientation(value))
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    assert_same_as_datasets(path, content)
    assert open_picture(content).size == ((9, 13) if value >= 5 else (13, 9))


def test_turned_by_a_quarter():
    stored = Image.fromarray(np.uint8([[1, 2, 3], [4, 5, 6]]))
    picture = open_picture(encode(stored, "PNG", exif=orientation(6)))
    assert np.asarray(picture)[..., 0].tolist() == [[4, 1], [5, 2], [6, 3]]


@pytest.mark.parametrize("tag", [0x0100, 0x011A], ids=["width", "resolution"])
def test_exif_of_the_wrong_type_is_no_traceback(tag, tmp_path):
    # Orientation 6, and a width or a resolution that is text: Pillow fails to write that back.
    text, six = struct.pack(">HHII", tag, 2, 6, 38), struct.pack(">HHIHH", 0x0112, 3, 1, 6, 0)
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" + min(text, six) + max(text, six) + bytes(4) + b"hello\x00"
    path = tmp_path / "face.jpg"
    path.write_bytes(encode(paint(), "JPEG", exif=exif))
    with open_undecoded(str(path)) as image:
        assert image.getexif()[0x0112] == 6
    try:
        picture = open_face({"path": str(path)})
    except UserError as error:
        assert str(path) in str(error)
    else:
        assert picture.size == (9, 13)


def test_a_deep_ramp_is_scaled_not_clipped():
    ramp = np.uint16([[0, 256, 257, 32767], [32768, 65278, 65279, 65535]])
    grey = [[0, 0, 1, 127], [127, 254, 254, 255]]
    picture = open_picture(encode(Image.fromarray(ramp), "PNG"))
    assert picture.mode == "RGB"
    assert np.asarray(picture).transpose(2, 0, 1).tolist() == [grey] * 3


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_8_bits_stored_in_16_come_back(form):
    ramp = np.arange(256, dtype=np.uint16).reshape(16, 16)
    picture = open_picture(encode(Image.fromarray(ramp * 257), form))
    assert np.array_equal(np.asarray(picture)[..., 0], ramp)


@pytest.mark.parametrize(
    ("values", "grey"), [([-1.0, 0.0, 1.0, 3.0], [0, 63, 127, 255]), ([7.0, 7.0, 7.0, 7.0], [0, 0, 0, 0])]
)
def test_floats_span_their_own_range(values, grey):
    picture = open_picture(encode(Image.fromarray(np.float32([values])), "TIFF"))
    assert np.asarray(picture)[0, :, 0].tolist() == grey


def scale_at_once(image):
    """The scale that deep pictures have, of all pixels at once."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode == "F":
        return ((values - values.min()) / max(values.max() - values.min(), 1e-12) * 255).astype(np.uint8)
    top = 65535 if values.max() > 255 else 255
    return (values.clip(0, top) * (255 / top)).astype(np.uint8)


@pytest.mark.parametrize("tile", [1000, 100, 2**20])
def test_deep_pictures_are_scaled_part_by_part_as_they_would_be_at_once(monkeypatch, tile):
    draw = np.random.default_rng(0)
    every = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    pictures = [Image.fromarray(every), Image.frombytes("I;16B", (256, 256), every.tobytes())]
    pictures += [Image.fromarray(draw.integers(-9, most, (40, 70)).astype(np.int32)) for most in (200, 300, 70000)]
    pictures += [Image.fromarray((draw.normal(size=(70, 40)) * size).astype(np.float32)) for size in (1e-20, 1, 1e20)]
    pictures.append(Image.fromarray(np.float32([[np.nan, 1, 2], [3, np.nan, 4]])))
    expected = list(map(scale_at_once, pictures))
    whole = []
    monkeypatch.setattr(images, "_MOST_TILE", tile)
    monkeypatch.setattr(np, "nan_to_num", lambda values, real=np.nan_to_num: whole.append(values.size) or real(values))
    for picture, grey in zip(pictures, expected, strict=True):
        content = encode(picture, "TIFF")
        assert np.array_equal(np.asarray(open_picture(content))[..., 0], grey)
    assert max(whole) <= tile


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("P", (8, 8), colour) for colour in (1, 2, 3)]
    for frame in frames:
        frame.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250])
    content = encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40)
    with Image.open(io.BytesIO(content)) as image:
        assert image.n_frames == 3
    assert open_picture(content).getcolors() == [(64, (250, 0, 0))]
    (tmp_path / "face.gif").write_bytes(content)
    assert_same_as_datasets(tmp_path / "face.gif", content)


@pytest.mark.parametrize("side", [20_000, 12_000, 9_487])
def test_a_bomb_is_refused(side, tmp_path):
    path = write_bomb(tmp_path / "bomb.jpg", side)
    assert path.stat().st_size < 300_000
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for source in (str(path), path.read_bytes()):
            with pytest.raises(PictureTooLarge, match=r"^[^\n]+$"):
                open_picture(source)


def test_just_below_a_bomb(tmp_path):
    # 9,480 squared is more than what Pillow warns of, and less than what is refused.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_undecoded(str(write_bomb(tmp_path / "large.png", 9_480))) as image:
            assert image.size == (9_480, 9_480)


def test_a_bomb_takes_no_memory(tmp_path):
    paths = [str(write_bomb(tmp_path / f"{side}.png", side)) for side in (20_000, 12_000)]
    code = (
        "import resource, sys\n"
        "from rafdb_vit.data.images import PictureTooLarge, open_picture\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_picture(path)\n"
        "    except PictureTooLarge: print('refused', peak() - before < 10_000)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("refused True\n" * 2, "")


def test_postscript_under_another_name_is_not_interpreted(tmp_path, monkeypatch):
    path = tmp_path / "face.jpg"
    path.write_bytes(EPS)
    with Image.open(path) as image:
        assert image.format == "EPS"
    started = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: started.append(1))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: started.append(1))
    for source in (str(path), EPS):
        with pytest.raises(UnidentifiedImageError):
            open_picture(source)
    with pytest.raises(UserError, match="cannot be read as an image"):
        open_face({"path": str(path)})
    assert not started


WHOLE = encode(paint(size=(60, 60)), "JPEG")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HTML,
        EPS,
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:30],
        encode(paint(size=(60, 60)), "PNG")[:-200],
        encode(paint(), "TIFF")[:-60],
    ],
    ids=["zero bytes", "html", "eps", "half", "header", "png", "tiff"],
)
def test_what_is_no_whole_image_is_named_in_one_line(content, tmp_path):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with pytest.raises(PICTURE_ERRORS):
        open_picture(str(path))
    for crop in (None, (0, 0, 4)):
        with pytest.raises(UserError) as caught:
            open_face({"path": str(path), "bytes": None}, "train_00001", crop)
        message = str(caught.value)
        assert message.startswith(f"{path}: cannot be read as an image (") and "\n" not in message


@pytest.mark.parametrize("make", ["mkdir", "nothing"])
def test_what_cannot_be_opened_is_named_in_one_line(make, tmp_path):
    path = tmp_path / "face.jpg"
    if make == "mkdir":
        path.mkdir()
    with pytest.raises(UserError, match=f"^{path}: cannot be read .*; check the file and its permissions"):
        open_face({"path": str(path)}, "train_00001")


@pytest.mark.parametrize("image", [None, {}, {"path": None, "bytes": None}])
def test_a_face_without_an_image_is_named(image):
    with pytest.raises(UserError, match="^train_00001: the data has no image for this face"):
        open_face(image, "train_00001")


def test_a_face_of_bytes_is_named_by_the_data():
    assert open_face({"path": None, "bytes": WHOLE}, "train_00001").size == (60, 60)
    with pytest.raises(UserError, match="^train_00001: "):
        open_face({"path": None, "bytes": WHOLE[:99]}, "train_00001")


def test_a_box_outside_its_photograph_is_named(tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(WHOLE)
    for crop, words in (((60, 0, 5), "outside the photograph of 60 x 60"), ((0, 0, 9_500), "9500 pixels wide")):
        with pytest.raises(UserError, match=f"^{path}: .*{words}"):
            open_face({"path": str(path)}, crop=crop)


def test_a_picture_is_taken_as_it_is_or_cut():
    picture = paint()
    assert open_face(picture) is picture
    assert open_face(paint("L")).mode == "RGB"
    assert open_face(picture, crop=(2, 1, 4)).tobytes() == picture.crop((2, 1, 6, 5)).tobytes()


PHOTO = Image.fromarray(np.uint8([[[10 * y + x] * 3 for x in range(4)] for y in range(3)]))


@pytest.mark.parametrize(
    ("square", "grey"),
    [
        ((1, 1, 2), [[11, 12], [21, 22]]),
        ((0, 0, 3), [[0, 1, 2], [10, 11, 12], [20, 21, 22]]),
        ((3, 2, 1), [[23]]),
        ((-1, 0, 3), [[0, 0, 1], [10, 10, 11], [20, 20, 21]]),
        ((2, 0, 3), [[2, 3, 3], [12, 13, 13], [22, 23, 23]]),
        ((1, -2, 3), [[1, 2, 3], [1, 2, 3], [1, 2, 3]]),
        ((1, 1, 3), [[11, 12, 13], [21, 22, 23], [21, 22, 23]]),
        ((0, 0, 4), [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23], [20, 21, 22, 23]]),
        ((-1, -1, 2), [[0, 0], [0, 0]]),
        ((3, 2, 2), [[23, 23], [23, 23]]),
        ((-1, -1, 6), [[0, 0, 1, 2, 3, 3]] * 2 + [[10, 10, 11, 12, 13, 13]] + [[20, 20, 21, 22, 23, 23]] * 3),
    ],
)
def test_a_square_repeats_the_edge_it_reaches_over(square, grey):
    cut = cut_square(PHOTO, square)
    assert cut.mode == "RGB"
    assert np.asarray(cut).transpose(2, 0, 1).tolist() == [grey] * 3


@pytest.mark.parametrize("square", [(4, 0, 2), (-2, 0, 2), (0, 3, 2), (0, -2, 2), (9, 9, 9), (1, 1, 0)])
def test_a_square_outside_is_refused(square):
    with pytest.raises(ValueError, match="outside the photograph of 4 x 3"):
        cut_square(PHOTO, square)


def test_a_square_of_next_to_nothing_is_refused():
    with pytest.raises(ValueError, match="9500 pixels wide"):
        cut_square(PHOTO, (0, 0, 9_500))


def test_a_cut_of_a_turned_photograph_counts_from_its_upright_corner():
    stored = ImageOps.mirror(PHOTO)
    face = open_face({"bytes": encode(stored, "PNG", exif=orientation(2))}, crop=(0, 0, 2))
    assert np.asarray(face)[..., 0].tolist() == [[0, 1], [10, 11]]


quick = settings(max_examples=120, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("box", "margin", "expected"),
    [
        ((10, 20, 50, 60), 0, [10, 20, 40]),
        ((10, 20, 50, 40), 0, [10, 10, 40]),  # 40 wide, 20 high: 10 more above and below
        ((10, 20, 30, 60), 0, [0, 20, 40]),  # 20 wide, 40 high: 10 more left and right
        ((10, 20, 50, 40), 0.25, [0, 0, 60]),  # 10 more on each side
        ((10, 20, 50, 40), 1, [-30, -30, 120]),
        ((10, 20, 50, 40), -0.25, [20, 20, 20]),  # 10 less on each side
        ((0, 0, 3, 2), 0.5, [-2, -2, 6]),
        ((10.4, 20.4, 50.4, 60.4), 0, [10, 20, 40]),
        ((10.6, 20.6, 50.6, 60.6), 0, [11, 21, 40]),
        ((5, 5, 5.1, 5.2), 0, [5, 5, 1]),
        ((-8, -4, 8, 4), 0, [-8, -8, 16]),
    ],
)
def test_the_square_around_a_box(box, margin, expected):
    square = square_box(box, margin=margin)
    assert square == expected
    assert all(type(number) is int for number in square)


numbers = st.integers(-1000, 1000)


@quick
@given(numbers, numbers, st.integers(1, 900), st.integers(1, 900), st.floats(0, 5))
def test_the_square_holds_the_box_and_its_margin(left, top, width, height, margin):
    at = square_box((left, top, left + width, top + height), margin=margin)
    longer = max(width, height)
    assert abs(at[2] - longer * (1 + 2 * margin)) <= 0.5
    for start, low, extent in ((at[0], left, width), (at[1], top, height)):
        assert abs(start + at[2] / 2 - (low + extent / 2)) <= 0.5
        assert start <= low + 1 and start + at[2] >= low + extent - 1


ROWS, COLUMNS = 30, 40
PIXELS = np.stack(np.broadcast_arrays(np.arange(ROWS)[:, None], np.arange(COLUMNS), 7), axis=-1).astype(np.uint8)
PHOTOGRAPH = Image.fromarray(PIXELS)


@pytest.mark.parametrize("square", [(10, 5, 20), (0, 0, 30), (39, 29, 1), (-5, 10, 25), (20, 20, 30), (-10, -10, 60)])
def test_pixels_are_cut_and_not_squashed(square):
    left, top, side = square
    cut = cut_square(PHOTOGRAPH, square)
    assert (cut.size, cut.mode) == ((side, side), "RGB")
    rows, columns = np.arange(top, top + side).clip(0, ROWS - 1), np.arange(left, left + side).clip(0, COLUMNS - 1)
    assert np.array_equal(np.asarray(cut), PIXELS[np.ix_(rows, columns)])


@pytest.mark.parametrize("square", [(40, 0, 5), (0, 30, 5), (-5, 0, 5), (0, -9, 9), (-(10**6), -(10**6), 2 * 10**6)])
def test_a_square_that_holds_nothing_is_told_with_the_name_of_the_file(square, tmp_path):
    PHOTOGRAPH.save(tmp_path / "train_00001.png")
    with pytest.raises(ValueError, match="the face's box"):
        cut_square(PHOTOGRAPH, square)
    with refused(tmp_path / "train_00001.png", "the face's box"):
        open_face({"path": str(tmp_path / "train_00001.png")}, "train_00001", square)


def write_sparse(path, size):
    path.write_bytes(encode(paint(), "JPEG"))
    os.truncate(path, size)
    return path


def insert(content, at, more):
    return content[:at] + more + content[at:]


JPEG = encode(paint(), "JPEG")
PROGRESSIVE = encode(paint(), "JPEG", progressive=True)
SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (insert(JPEG, 2, b"\xff\xe5\0\2" * 600_000), "parts"),
        (insert(JPEG, 2, b"\xff" * 600_000), "parts"),
        (b"P6\n#" + b"c" * 600_000 + b"\n2 2\n255\n" + bytes(12), "parts"),
        (insert(PROGRESSIVE, len(PROGRESSIVE) - 2, SCAN * 2_000), "scans"),
        (insert(JPEG, len(JPEG) - 2, JPEG[JPEG.rindex(b"\xff\xda") : -2] * 2_000), "scans"),
        (insert(JPEG, 2, b"\xff\xe1\0\x08Exif\0\0" * 2_000), "Exif"),
    ],
    ids=["segments", "fill", "comment", "scans", "scans of a plain one", "exif"],
)
def test_a_small_file_that_takes_hours_is_refused(content, words, tmp_path):
    path = tmp_path / "face.jpg"
    path.write_bytes(content)
    with refused(path, "cannot be read as an image", words):
        open_face({"path": str(path), "bytes": None})
    with pytest.raises(PictureTooLarge, match=words):
        open_picture(content)


def test_a_few_scans_of_all_too_many_pixels_are_refused(monkeypatch):
    monkeypatch.setattr(images, "MOST_SCANNED", 13 * 9 * 10)
    scans = PROGRESSIVE.count(b"\xff\xda")
    assert open_picture(PROGRESSIVE).size == (13, 9)
    with pytest.raises(PictureTooLarge, match="scans of 117 pixels"):
        open_picture(insert(PROGRESSIVE, len(PROGRESSIVE) - 2, SCAN * (11 - scans)))


def test_a_tiff_of_many_jpegs_is_opened_unless_one_has_too_many_scans():
    picture = paint(size=(40, 4_000)).filter(ImageFilter.GaussianBlur(3))
    content = encode(picture, "TIFF", compression="jpeg", strip_size=40 * 3 * 16)
    assert content.count(b"\xff\xda") > 2 * MOST_SCANS
    assert open_picture(content).size == (40, 4_000)
    whole = encode(picture, "TIFF", compression="jpeg", strip_size=2**24)
    with pytest.raises(PictureTooLarge, match="scans"):
        open_picture(whole + b"\xff\xda" * 100)


def test_what_encoders_write_is_no_such_file():
    picture = paint(size=(700, 700)).filter(ImageFilter.GaussianBlur(3))
    content = encode(picture, "JPEG", progressive=True, exif=orientation(1), icc_profile=b"x" * 300_000)
    assert 5 < content.count(b"\xff\xda") < MOST_SCANS / 3
    assert open_picture(content).size == (700, 700)


def test_a_file_that_claims_gigabytes_is_not_read(tmp_path):
    path = write_sparse(tmp_path / "face.jpg", 30 * 2**30)
    with refused(path, "32,212,254,720 bytes, expected 270,000,000 at most"):
        open_face({"path": str(path), "bytes": None})
    assert open_picture(str(write_sparse(path, 10**6))).size == (13, 9)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "face.jpg")
    with refused(tmp_path / "face.jpg", "not a plain file"):
        open_face({"path": str(tmp_path / "face.jpg"), "bytes": None})


def test_odd_tags_do_not_flood_the_terminal():
    tags = b"".join(struct.pack("<HHII", 0x9000 + i, 7, 60_000, 0) for i in range(100))
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 101) + struct.pack("<HHII", 0x112, 3, 1, 6) + tags + bytes(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert open_picture(encode(paint(), "PNG", exif=exif)).size == (9, 13)


def write_tiff_of_one_strip(strips, size):
    """A TIFF whose strips all stand in the same place: little endian, one channel, a row a strip."""
    data, sizes, places = b"\0" * size, struct.pack("<I", size) * strips, struct.pack("<I", 8) * strips
    at = 8 + size
    entries = [(256, 4, 1, 16), (257, 4, 1, strips), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1)]
    entries += [(273, 4, strips, at), (277, 3, 1, 1), (278, 4, 1, 1), (279, 4, strips, at + 4 * strips)]
    head = b"II*\0" + struct.pack("<I", at + 8 * strips)
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return head + data + places + sizes + struct.pack("<H", len(entries)) + rows + struct.pack("<I", 0)


def test_a_tiff_whose_strips_stand_in_one_place_is_refused():
    assert open_picture(write_tiff_of_one_strip(2, 16)).size == (16, 2)
    with pytest.raises(PictureTooLarge, match="stand in the file more than once"):
        open_picture(write_tiff_of_one_strip(500, 20_000))


@pytest.mark.parametrize("start", [b"P3\n", b"P2\n", b"P1\n"])
def test_a_picture_of_comments_is_not_gone_through(start):
    with pytest.raises(PictureTooLarge, match="300,000 comments"):
        open_picture(start + b"#\n" * 300_000 + b"1 1\n255\n0 0 0\n")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_tags_of_a_hundred_thousand_fractions_are_not_read(order, big):
    mark = {"<": b"II", ">": b"MM"}[order]
    if big:
        head = mark + struct.pack(f"{order}HHHQ", 43, 8, 0, 16)
        content = head + struct.pack(f"{order}QHHQQ", 1, 274, 5, 100_000, 64)
    else:
        content = mark + struct.pack(f"{order}HIHHHIII", 42, 8, 1, 274, 5, 100_000, 64, 0)
    content += b"\1" * 800_000
    files = [content]
    if not big:
        png = io.BytesIO()
        Image.new("RGB", (9, 9)).save(png, "PNG", exif=b"Exif\0\0" + content)
        files.append(png.getvalue())
    for file in files:
        with pytest.raises(PictureTooLarge, match="100,000 fractions in its tags"):
            open_picture(file)
    for cut in range(40):
        with pytest.raises(PICTURE_ERRORS):
            open_picture(content[:cut])


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_a_picture_like_a_thread_is_not_decoded(size):
    png = io.BytesIO()
    Image.new("1", size).save(png, "PNG")
    with pytest.raises(PictureTooLarge, match="more than 65,535 along a side"):
        open_picture(png.getvalue())


def test_a_bmp_of_runs_is_as_large_as_can_be_unpacked_in_time():
    def write(side, runs):
        head = struct.pack("<IiiHHIIiiII", 40, side, side, 1, 8, 1, len(runs), 1, 1, 256, 0)
        table = bytes(1024)
        start = 14 + len(head) + len(table)
        return struct.pack("<2sIHHI", b"BM", start + len(runs), 0, 0, start) + head + table + runs

    assert open_picture(write(8, b"\x08\x00\x00\x00" * 8 + b"\x00\x01")).size == (8, 8)
    with pytest.raises(PictureTooLarge, match="9480 x 9480 pixels, more than 4,194,304"):
        open_picture(write(9480, b"\0\0" * 9480 + b"\0\1"))


def test_a_file_that_may_not_be_read_is_not_called_broken(tmp_path, monkeypatch):
    def refuse(source):
        raise PermissionError(13, "Permission denied", source)

    monkeypatch.setattr("rafdb_vit.data.images.open_picture", refuse)
    with pytest.raises(UserError, match=r"^a.jpg: cannot be read \(Permission denied\); check the file and its perm"):
        open_face({"path": "a.jpg"})
