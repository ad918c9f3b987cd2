import time

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from rafdb_vit.data.check.duplicates import _join
from rafdb_vit.data.check.fingerprint import LEAST_CORRELATION, MOST_BITS, find_near_duplicates, take_fingerprint
from tests.support.images import paint_texture, save_again


def cut(picture, share):
    margin = round(share * picture.width)
    return picture.crop((margin, margin, picture.width - margin, picture.height - margin))


ALTERED = {
    "jpeg": save_again,
    "half": lambda picture: picture.resize((picture.width // 2, picture.height // 2)),
    "double": lambda picture: picture.resize((picture.width * 2, picture.height * 2)),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.15),
    "mirrored": ImageOps.mirror,
    "cut by 4%": lambda picture: cut(picture, 0.04),
    "cut by 5%": lambda picture: cut(picture, 0.05),
    "cut and mirrored": lambda picture: ImageOps.mirror(cut(picture, 0.05)),
    "grey": lambda picture: picture.convert("L"),
}


def find(pictures, **settings):
    hashes, thumbnails = zip(*map(take_fingerprint, pictures), strict=True)
    return find_near_duplicates(np.stack(hashes), np.stack(thumbnails), **settings)


def group(pairs):
    """The groups that pairs connect."""
    return {frozenset(members) for members in _join(list(pairs), 1 + max(map(max, pairs)))}


@pytest.fixture(scope="module")
def textures():
    return [paint_texture(seed) for seed in range(36)]


@pytest.mark.parametrize("name", ALTERED)
def test_an_altered_copy_is_found(name, textures):
    originals = textures[:20]
    copies = [ALTERED[name](picture) for picture in originals]
    assert set(find([*originals, *copies])) == {(i, i + 20) for i in range(20)}


def test_what_differs_is_not_found(textures):
    assert find(textures) == {}


def test_a_copy_of_the_very_pixels_correlates_fully(textures):
    ((pair, correlation),) = find([textures[0], textures[1], textures[0].copy()]).items()
    assert pair == (0, 2) and correlation == pytest.approx(1, abs=2e-3) and correlation <= 1


def test_blanks_are_never_alike():
    flat = [Image.new("RGB", (100, 100), (level,) * 3) for level in (0, 0, 1, 100, 100, 254, 255)]
    coloured = [Image.new("RGB", (40, 70), colour) for colour in ("red", "red", "navy", "white")]
    assert find([*flat, *coloured, *map(save_again, flat)]) == {}


def test_a_thousand_blanks_take_no_time():
    hashes, thumbnails = take_fingerprint(Image.new("RGB", (100, 100), "grey"))
    start = time.perf_counter()
    assert find_near_duplicates(np.stack([hashes] * 1000), np.stack([thumbnails] * 1000)) == {}
    assert time.perf_counter() - start < 2  # each pair on its own: 6 s, and 20 minutes for 15,000


def test_next_to_blank_is_not_alike():
    noise = np.random.default_rng(0).integers(127, 130, (6, 100, 100), dtype=np.uint8)
    assert find(map(Image.fromarray, noise)) == {}


def test_a_faint_pattern_is_a_blank():
    steps = np.full((2, 100, 100), 127, np.uint8)
    steps[:, :, 50:] += 1
    steps[1] += 20
    assert find(map(Image.fromarray, steps)) == {}


def test_what_is_alike_in_a_part_alone_is_not_found(textures):
    # The hash sees the strong half alone, and takes the two for one; the thumbnail does not.
    strong, *weak = (np.asarray(picture, np.float64) for picture in textures[:3])
    pictures = []
    for other in weak:
        other = 110 + 0.25 * (other - 110)
        other[:, :50] = strong[:, :50]
        pictures.append(Image.fromarray(other.astype(np.uint8)))
    (first, _), (second, _) = map(take_fingerprint, pictures)
    assert np.bitwise_count(first[0] ^ second[0]).sum() <= MOST_BITS
    assert find(pictures) == {}


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (1, 300), (300, 2), (19, 21)])
def test_any_size_has_a_fingerprint(size):
    hashes, thumbnails = take_fingerprint(Image.new("RGB", size, "teal"))
    assert (hashes.shape, hashes.dtype) == ((4, 4), np.uint64)
    assert (thumbnails.shape, thumbnails.dtype) == ((2, 16, 16), np.float16)
    assert np.isfinite(thumbnails).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK", "P", "1"])
def test_any_mode_has_a_fingerprint(mode, textures):
    assert take_fingerprint(textures[0].convert(mode))[0].shape == (4, 4)


def mixed(textures):
    """40 pictures of which some are alike, in pairs and in threes."""
    altered = [change(textures[i]) for i, change in enumerate(ALTERED.values())]
    blanks = [Image.new("RGB", (100, 100), colour) for colour in ("grey", "white")]
    again = [save_again(textures[i], 30) for i in range(5)]
    return [*blanks, *textures[:24], *altered, *again]


def test_the_order_does_not_matter(textures):
    pictures = mixed(textures)
    assert len(pictures) == 40
    found = find(pictures)
    order = np.random.default_rng(1).permutation(40)
    again = find([pictures[i] for i in order])
    named = [(int(order[i]), int(order[j])) for i, j in again]
    assert group(named) == group(found) and len(named) == len(found) >= 9 + 5


def test_the_same_as_comparing_each_with_each(textures):
    prints = [take_fingerprint(picture) for picture in mixed(textures)]
    expected = {}
    for i, (hashes, thumbnails) in enumerate(prints):
        for j, (others, other_thumbnails) in enumerate(prints):
            for view in range(4):
                bits = sum(bin(int(a) ^ int(b)).count("1") for a, b in zip(hashes[0], others[view], strict=True))
                other = other_thumbnails[view // 2].astype(float)
                alike = float((thumbnails[0].astype(float) * (np.fliplr(other) if view in (1, 3) else other)).sum())
                if i != j and bits <= MOST_BITS and alike >= LEAST_CORRELATION:
                    pair = (min(i, j), max(i, j))
                    expected[pair] = max(expected.get(pair, 0), min(alike, 1))
    done = []
    found = find(mixed(textures), advance=done.append)
    assert group(found) == group(expected) and found.keys() <= expected.keys()
    assert all(LEAST_CORRELATION <= found[pair] <= expected[pair] + 1e-4 for pair in found)
    assert sum(done) == 40


def test_a_thousand_copies_are_one_group_and_take_no_time(textures):
    hashes, thumbnails = take_fingerprint(textures[0])
    found = find_near_duplicates(np.stack([hashes] * 1000), np.stack([thumbnails] * 1000))
    assert len(found) == 999 and len(group(found)) == 1


def test_among_many_pictures_all_but_the_least_alike_are_found():
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, (3000, 4, 4), dtype=np.uint64)
    thumbnails = rng.normal(size=(3000, 2, 16, 16))
    thumbnails = (thumbnails / np.linalg.norm(thumbnails, axis=(2, 3), keepdims=True)).astype(np.float16)
    for i in range(100):  # each copy is one view of the picture, with 24 of 256 bits turned
        bits = np.unpackbits(hashes[i, i % 4].view(np.uint8))
        bits[rng.choice(256, 24, replace=False)] ^= 1
        hashes[i + 100, 0] = np.packbits(bits).view(np.uint64)
        thumbnails[i + 100, 0] = thumbnails[i, i % 4 // 2, :, :: -1 if i % 2 else 1]
    assert set(find_near_duplicates(hashes, thumbnails)) == {(i, i + 100) for i in range(100)}


def test_of_nothing_nothing_is_found():
    assert find_near_duplicates(np.empty((0, 4, 4), np.uint64), np.empty((0, 2, 16, 16), np.float16)) == {}
