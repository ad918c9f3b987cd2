"""Looks into one image file, whatever it may be, and into thousands of them side by side."""

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from rafdb_vit.data.check.fingerprint import take_fingerprint
from rafdb_vit.data.images import PICTURE_ERRORS, PictureTooLarge, is_deep, open_picture, open_undecoded, read_file
from rafdb_vit.data.pool import map_images

UNREADABLE = "unreadable image"
TRUNCATED = "truncated or damaged image"
TOO_LARGE = "far too large"
NOT_RGB = "not RGB"
DEEP = "more than 8 bits"
ROTATED = "turned by EXIF"
Source = str | tuple[str, bytes]
"""The path of an image file, or a name and the content of a file."""


@dataclass(frozen=True)
class ImageFile:
    """What one image file holds.

    Attributes:
        path: Where it lies.
        faults: Kind and words of what is wrong with it.
        digest: SHA-256 of the file; None if it cannot be read.
        size: Width and height in pixels, None if it is no image.
        hashes: From `take_fingerprint`; None if the image cannot be decoded.
        thumbnails: Likewise.
    """

    path: str
    faults: tuple[tuple[str, str], ...] = ()
    digest: bytes | None = None
    size: tuple[int, int] | None = None
    hashes: np.ndarray | None = None
    thumbnails: np.ndarray | None = None


def inspect_file(source: Source) -> ImageFile:
    """Looks into an image file; whatever it holds, the answer says so, and nothing is raised or warned of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _inspect_file(source) if isinstance(source, str) else _inspect_content(*source)


def _inspect_file(path: str) -> ImageFile:
    try:
        if not os.path.isfile(path):
            return ImageFile(path, ((UNREADABLE, "not a file"),))
        if not os.path.getsize(path):  # noqa: PTH202
            return ImageFile(path, ((UNREADABLE, "zero bytes"),))
        content = read_file(path)
    except PictureTooLarge as error:
        return ImageFile(path, ((TOO_LARGE, str(error)),))
    except OSError as error:
        return ImageFile(path, ((UNREADABLE, f"cannot be read ({error.strerror})"),))
    return _inspect_content(path, content)


def _inspect_content(path: str, content: bytes) -> ImageFile:
    digest = hashlib.sha256(content).digest()
    size: tuple[int, int] | None = None
    try:
        with open_undecoded(content) as image:
            size, soft = image.size, tuple(_find_oddities(image))
        hashes, thumbnails = take_fingerprint(open_picture(content))
    except UnidentifiedImageError:
        return ImageFile(path, ((UNREADABLE, "not an image of a known format"),), digest)
    except PictureTooLarge as error:
        return ImageFile(path, ((TOO_LARGE, str(error)),), digest)
    except (*PICTURE_ERRORS, MemoryError) as error:
        return ImageFile(path, ((TRUNCATED, " ".join(str(error).split())),), digest, size)
    return ImageFile(path, soft, digest, size, hashes, thumbnails)


def _find_oddities(image: Image.Image) -> Iterator[tuple[str, str]]:
    """Yields what is odd about an image that is not yet decoded."""
    if is_deep(image):
        words = "scaled to 8 bits here, and clipped to white by transformers' pipeline; convert it to 8 bits before"
        yield DEEP, f"{image.format} of mode {image.mode}: {words} you train a model that others run by pipeline"
    elif image.mode != "RGB":
        transparent = " with transparency" if "transparency" in image.info else ""
        yield NOT_RGB, f"{image.format} of mode {image.mode}{transparent}"
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if orientation not in (0, 1):
        yield ROTATED, f"EXIF orientation {orientation}; it is turned upright when it is loaded"


def inspect_files(sources: Iterable[Source], *, processes: int) -> Iterator[ImageFile]:
    """Looks into many image files, in order; see `map_images`.

    Images that are no files of their own are given by their name and content.

    Raises:
        UserError: A process died, as it does when memory runs out.
    """
    return map_images(inspect_file, sources, processes=processes)
