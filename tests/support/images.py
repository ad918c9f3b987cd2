"""Image files of all kinds, and textures that fingerprints tell apart."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n0 0 10 10 rectfill\nshowpage\n%%EOF\n"


HTML = b"<!DOCTYPE html><html><body>404: not found</body></html>"


def encode(picture, form, **settings):
    content = io.BytesIO()
    picture.save(content, form, **settings)
    return content.getvalue()


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def write_bomb(path, side):
    """Writes a whole PNG of black pixels, a bit each: 20,000 x 20,000 in 50 kB."""
    rows = zlib.compress(bytes((1 + -(-side // 8)) * side), 1)
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)), (b"IDAT", rows), (b"IEND", b""))
    parts = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


def paint_texture(seed, side=100):
    """Returns a picture of two dozen random waves: smooth like a photograph, and unlike that of any other seed."""
    rng = np.random.default_rng([7, seed])
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    waves = np.zeros((side, side, 3))
    for across, down, phase, *tint in rng.uniform((-7, -7, 0, 0.5, 0.5, 0.5), (7, 7, 1, 1, 1, 1), (24, 6)):
        waves += np.cos(2 * np.pi * (across * x + down * y + phase))[..., None] * tint
    return Image.fromarray((110 + 90 * waves / np.abs(waves).max()).astype(np.uint8))


def save_again(picture, quality=60):
    content = io.BytesIO()
    picture.save(content, "JPEG", quality=quality)
    return Image.open(content)


def draw_a_dot(content: object, **words: object) -> bytes:
    """Stands in for a plot: a picture of one pixel."""
    png = io.BytesIO()
    Image.new("RGB", (1, 1)).save(png, "PNG")
    return png.getvalue()
