import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rafdb_vit.data.crop import check_margin, square_box
from rafdb_vit.picture import cut_square, open_face
from tests.data.test_label_file import refused

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


@pytest.mark.parametrize("margin", [-0.4, 0, 0.3, 5])
def test_margins_that_are_taken(margin):
    check_margin(margin)


@pytest.mark.parametrize("margin", [-0.41, -1, 5.1, float("inf"), float("nan")])
def test_a_margin_out_of_range(margin):
    with refused(f"--box_margin {margin}", "-0.4 to 5"):
        check_margin(margin)


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
