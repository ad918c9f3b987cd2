"""Opens image files that may be anything, and cuts faces out of photographs."""

import errno
import io
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from PIL import Image, UnidentifiedImageError

from rafdb_vit.runtime.disk import open_plain, read_bytes
from rafdb_vit.runtime.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset

FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM", "AVIF", "JPEG2000")
"""Formats that are decoded within this process; EPS, for example, would start another program."""
MOST_PIXELS = 90_000_000
"""More would take gigabytes of memory: a photograph has fewer, a decompression bomb has more."""
MOST_SIDE = 65_535
"""Pixels, as a JPEG has at most; Pillow keeps a pointer and a few bytes for each line."""
MOST_BYTES = 3 * MOST_PIXELS
"""Of an image file: what `MOST_PIXELS` take uncompressed. A sparse file claims any size and holds nothing."""
MOST_SCANS = 50
"""Of a JPEG, each of which goes over all pixels; encoders write about ten, a file can hold thousands."""
MOST_SCANNED = 12 * MOST_PIXELS
"""Pixels over which all scans of a JPEG go: one to six seconds."""
MOST_EXIF = 50
"""Parts of the Exif data of a JPEG; Pillow copies what it has for each. Cameras write one."""
MOST_FRACTIONS = 10_000
"""In the tags of a TIFF, or of Exif data; Pillow takes 30 microseconds for each. A camera writes twenty."""
MOST_COMMENTS = 1_000
"""In a PPM whose pixels are written out as text; Pillow copies what is left of a block for each."""
MOST_READS = 500_000
"""Pieces in which a file is read; one of `MOST_BYTES` in blocks of 8 kilobytes has a hundred thousand."""
PICTURE_ERRORS = (
    *(OSError, SyntaxError, ValueError, ArithmeticError, EOFError, Image.DecompressionBombError),
    *(TypeError, AttributeError, LookupError, RuntimeError, struct.error),
)
"""What Pillow raises for files that are no whole images; the second line, for damaged tags of TIFF and EXIF."""
_START = 64
"""Bytes by which Pillow tells formats apart; it takes sixteen."""
_SCAN = b"\xff\xda"
"""Begins a scan of a JPEG; it stands nowhere in the pixels."""
_MOST_RUNS = 2**22
"""Pixels of a BMP that is stored as runs, which Pillow unpacks in Python: two seconds."""
_MOST_SIDES = 12
"""How much larger than its photograph a face's square may be: a box as large, and the widest margin."""
_EXIF = b"Exif\0\0"
_ORIENTATION = 274
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By the Exif tag of that number."""
_FRACTIONS = (5, 10)
"""Types of a TIFF's tags, with and without a sign."""
_STRIP_HEIGHT, _TILE_WIDTH, _TILE_HEIGHT = 278, 322, 323
"""Tags of TIFF: the size of the parts in which a picture is stored."""
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
_MOST_TILE = 2**20
"""Pixels of such an image that are scaled at once."""
_PART_SIZES = (279, 325)
"""Tags of a TIFF: the bytes of each strip, and of each tile."""
_MOST_PARTS = 4
"""How often the bytes of a TIFF may be unpacked; of one that was cut short, its parts are larger than the file."""


def is_image(path: str) -> bool:
    """Tells by the first bytes of a file whether it is of a format that is read, whatever its name.

    A file that cannot be read, and what is no plain file, is none.
    """
    try:
        with open_plain(path, most=None) as file:
            start = file.read(_START)
    except OSError:
        return False
    Image.init()
    # A text may begin as a PPM does: that has to have its suffix.
    accept = (Image.OPEN[name][1] for name in FORMATS if name != "PPM")
    return any(accepts is not None and accepts(start) is True for accepts in accept)


class PictureTooLarge(ValueError):
    """An image has more than `MOST_PIXELS`, `MOST_BYTES`, `MOST_SCANS` or `MOST_READS`."""


def open_undecoded(source: str | bytes) -> Image.Image:
    """Opens an image, a path or the bytes of a file, without decoding its pixels: format, size and mode are known.

    Raises:
        PictureTooLarge: It has too many pixels or bytes.
        OSError: It cannot be read, or is no image; or another of `PICTURE_ERRORS`.
    """
    content = source if isinstance(source, bytes) else read_file(source)
    if len(content) > MOST_BYTES:
        raise PictureTooLarge(f"{len(content):,} bytes, more than {MOST_BYTES:,}")
    if (parts := content.count(_EXIF)) > MOST_EXIF:
        raise PictureTooLarge(f"{parts:,} parts of Exif data, more than {MOST_EXIF}")
    _check_tags(content)
    if content[:2] in (b"P1", b"P2", b"P3") and (comments := content.count(b"#")) > MOST_COMMENTS:
        raise PictureTooLarge(f"{comments:,} comments, more than {MOST_COMMENTS:,}")
    Image.init()  # a format that is named has to be known
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(_Metered(content), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise PictureTooLarge(str(error).split(",", 1)[0]) from error
    try:
        _check_extent(image, content)
    except BaseException:
        image.close()
        raise
    return image


class _Metered(io.BytesIO):
    """The bytes of a file, of which millions of tiny parts are not read: Pillow takes microseconds for each."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Reads some bytes.

        Raises:
            PictureTooLarge: That was tried `MOST_READS` times.
        """
        self._reads += 1
        if self._reads > MOST_READS:
            raise PictureTooLarge(f"more than {MOST_READS:,} parts")
        return super().read(size)


def read_file(path: str) -> bytes:
    """Reads an image file; what is no plain file, which might never end, is not read.

    Raises:
        PictureTooLarge: It has more than `MOST_BYTES`.
        OSError: It is none, or cannot be read.
    """
    try:
        return read_bytes(path, most=MOST_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise PictureTooLarge(error.strerror) from error
        raise


def _check_tags(content: bytes) -> None:
    """Checks the tags of a TIFF, as which Exif data is stored too; of other content there is nothing to check."""
    order, is_big = {b"II": "<", b"MM": ">"}.get(content[:2]), b"+" in content[2:4]
    if order is None:
        return
    try:
        (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), content, 8 if is_big else 4)
        (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), content, start)
    except struct.error:
        return
    form = struct.Struct(order + ("HHQ8x" if is_big else "HHI4x"))
    tags = content[start + (8 if is_big else 2) :][: count * form.size]
    found = form.iter_unpack(tags[: len(tags) // form.size * form.size])
    if (fractions := sum(number for _, kind, number in found if kind in _FRACTIONS)) > MOST_FRACTIONS:
        raise PictureTooLarge(f"{fractions:,} fractions in its tags, more than {MOST_FRACTIONS:,}")


def _check_extent(image: Image.Image, content: bytes) -> None:
    _check_tags(image.info.get("exif", b"").removeprefix(_EXIF))
    is_run = image.format == "BMP" and any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ()))
    if image.width * image.height > (most := _MOST_RUNS if is_run else MOST_PIXELS):
        raise PictureTooLarge(f"{image.width} x {image.height} pixels, more than {most:,}")
    if max(image.size) > MOST_SIDE:
        raise PictureTooLarge(f"{image.width} x {image.height} pixels, more than {MOST_SIDE:,} along a side")
    if image.format == "TIFF" and _sum_parts(image) > _MOST_PARTS * len(content):
        raise PictureTooLarge("parts of it stand in the file more than once, which takes long to unpack")
    if (pixels := _count_pixels_of_scan(image)) and (scans := content.count(_SCAN)) > 1:
        share = pixels / max(image.width * image.height, 1)  # a TIFF has one for each part of the picture
        if scans * share > MOST_SCANS or scans * pixels > MOST_SCANNED:
            raise PictureTooLarge(f"{scans:,} scans of {pixels:,} pixels, more than can be gone over")


def _sum_parts(image: Image.Image) -> int:
    """Returns how many bytes the strips or tiles of a TIFF have, as it says itself."""
    tags: Any = getattr(image, "tag_v2", {})
    counts = [count for tag in _PART_SIZES for count in (tags.get(tag) or ())]
    return sum(count for count in counts if isinstance(count, int))


def _count_pixels_of_scan(image: Image.Image) -> int:
    """Returns over how many pixels a scan goes, where the image is made of JPEGs; 0 where it is not."""
    if image.format in ("JPEG", "MPO"):
        return image.width * image.height
    if image.format == "TIFF" and image.info.get("compression") in ("jpeg", "tiff_jpeg"):
        tags: Any = getattr(image, "tag_v2", {})
        wide, high = tags.get(_TILE_WIDTH, image.width), tags.get(_TILE_HEIGHT, tags.get(_STRIP_HEIGHT, image.height))
        return min(wide, image.width) * min(high, image.height)
    return 0


def open_picture(source: str | bytes) -> Image.Image:
    """Opens an image, a path or the bytes of a file, as RGB, turned upright as its EXIF says.

    The pixels are those of `datasets.Image(mode="RGB")` and of transformers' pipelines, but for 16-bit images: those
    clip what is above 255 to white, here the range is scaled.

    Raises:
        OSError: It cannot be read, or is no whole image; or another of `PICTURE_ERRORS`.
    """
    with warnings.catch_warnings():
        # Of odd tags, which do not concern the pixels and of which a file can have thousands; and of transparency,
        # which is dropped.
        warnings.filterwarnings("ignore", category=UserWarning)
        with open_undecoded(source) as image:
            image.load()
            # As ImageOps.exif_transpose, which would also make objects of all other tags.
            turn = _TURNS.get(image.getexif().get(_ORIENTATION, 1))
            upright = image.copy() if turn is None else image.transpose(turn)
        del image  # the pixels as they were stored
        if is_deep(upright):
            upright = _scale_depth(upright)
        return upright if upright.mode == "RGB" else upright.convert("RGB")


def is_deep(image: Image.Image) -> bool:
    """Tells whether an image has more than 8 bits, which are scaled here, and clipped by transformers' pipelines."""
    return image.mode in _DEEP


def _scale_depth(image: Image.Image) -> Image.Image:
    """Returns an image of more than 8 bits as 8-bit grey: 65535 is white; floats span their own range."""
    import numpy as np  # which nearly no picture needs

    extremes = [(values.min(), values.max()) for _, values in _iterate_tiles(image)]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    top = 65535 if high > 255 else 255
    grey = Image.new("L", image.size)
    for box, values in _iterate_tiles(image):
        if image.mode == "F":
            scaled = (values - low) / max(high - low, 1e-12) * 255
        else:
            scaled = values.clip(0, top) * (255 / top)
        grey.paste(Image.fromarray(scaled.astype(np.uint8)), box)
    return grey


def _iterate_tiles(image: Image.Image) -> Iterator[tuple[tuple[int, int, int, int], "np.ndarray"]]:
    """Yields boxes of `_MOST_TILE` pixels, and their values: of all pixels at once they would take gigabytes."""
    import numpy as np

    wide = min(image.width, _MOST_TILE)
    high = _MOST_TILE // max(wide, 1)
    for top in range(0, image.height, high):
        for left in range(0, image.width, wide):
            box = (left, top, min(left + wide, image.width), min(top + high, image.height))
            yield box, np.nan_to_num(np.asarray(image.crop(box), dtype=np.float64))


def cut_square(picture: Image.Image, square: Sequence[int]) -> Image.Image:
    """Cuts a square out of an RGB photograph; what reaches over its edge is filled with the pixels of the edge.

    The square is left, top and side in pixels.

    Raises:
        ValueError: The square lies outside the photograph, or is so large that it holds next to nothing of it.
    """
    import numpy as np

    left, top, side = square
    inside = (max(left, 0), max(top, 0), min(left + side, picture.width), min(top + side, picture.height))
    if inside[0] >= inside[2] or inside[1] >= inside[3]:
        raise ValueError(f"the face's box lies outside the photograph of {picture.width} x {picture.height} pixels")
    if side * side > MOST_PIXELS or side > _MOST_SIDES * max(picture.size):
        size = f"{picture.width} x {picture.height}"
        raise ValueError(f"the face's box is {side} pixels wide with its margin, the photograph {size}")
    cut = picture.crop(inside)
    if cut.size == (side, side):
        return cut
    before, after = (inside[0] - left, inside[1] - top), (left + side - inside[2], top + side - inside[3])
    padding = ((before[1], after[1]), (before[0], after[0]), (0, 0))
    return Image.fromarray(np.pad(np.asarray(cut), padding, mode="edge"))


def open_face(
    image: Image.Image | Mapping[str, Any] | None, file: str = "", crop: Sequence[int] | None = None
) -> Image.Image:
    """Returns a face as an RGB picture, decoding it if it is still a file, and cut out if it is a photograph.

    Args:
        image: A picture, or the `path` and `bytes` of an undecoded `datasets.Image`.
        file: The face's name, for errors where there is no path.
        crop: left, top and side of the square to cut out, in pixels; None takes the whole picture.

    Raises:
        UserError: The file cannot be read as an image; the message names it, which the library's own does not.
    """
    if isinstance(image, Image.Image):
        picture = image if image.mode == "RGB" else image.convert("RGB")
        return picture if crop is None else cut_square(picture, crop)
    image = image or {}
    name, source = image.get("path") or file, image.get("bytes") or image.get("path")
    if source is None:
        raise UserError(f"{name}: the data has no image for this face; expected one for every label")
    try:
        picture = open_picture(source)
    except PICTURE_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{name}: cannot be read ({error.strerror}); check the file and its permissions") from error
        reason = "no known format" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(f"{name}: cannot be read as an image ({reason}); put a whole one in its place") from error
    try:
        return picture if crop is None else cut_square(picture, crop)
    except ValueError as error:
        raise UserError(f"{name}: {error}; mend its file in Annotation/boundingbox") from error


def square_box(box: Sequence[float], *, margin: float) -> list[int]:
    """Returns the square to cut out for a face: centred on its box, as wide as the box's longer side and the margin.

    A square, so that nothing is squashed when it is resized to the model's square input. It may reach over the edge of
    the photograph; see `cut_square`. The margin is context on each side, as a share of the box's longer side; below 0
    it cuts closer. `box` is xmin, ymin, xmax, ymax, the square left, top and side, in pixels.
    """
    xmin, ymin, xmax, ymax = box
    side = max(1, round(max(xmax - xmin, ymax - ymin) * (1 + 2 * margin)))
    return [round((xmin + xmax - side) / 2), round((ymin + ymax - side) / 2), side]


def select_undecoded(faces: "Dataset", columns: Sequence[str] = ("image", "file", "crop")) -> "Dataset":
    """Returns those of `columns` that a split has, by default what `open_row` needs; images stay undecoded files.

    `datasets` would decode them itself, without telling which file it could not read.
    """
    from datasets import Image as ImageFeature

    needed = [name for name in columns if name in faces.column_names]
    return faces.with_format(None).select_columns(needed).cast_column("image", ImageFeature(mode="RGB", decode=False))


def open_row(face: Mapping[str, Any]) -> Image.Image:
    """Opens the face of a row of `select_undecoded`; see `open_face`."""
    return open_face(face["image"], face["file"], face.get("crop"))
