"""Squares around faces in original photographs."""

from collections.abc import Sequence

from rafdb_vit.errors import UserError

MOST_MARGIN = 5.0


def square_box(box: Sequence[float], *, margin: float) -> list[int]:
    """Returns the square to cut out for a face: centred on its box, as wide as the box's longer side and the margin.

    A square, so that nothing is squashed when it is resized to the model's square input. It may reach over the edge of
    the photograph; see `rafdb_vit.picture.cut_square`.

    Args:
        box: xmin, ymin, xmax, ymax in pixels.
        margin: Context to bring in on each side, as a share of the box's longer side; 0 is none. Below 0 cuts closer.

    Returns:
        left, top and side in pixels.
    """
    xmin, ymin, xmax, ymax = box
    side = max(1, round(max(xmax - xmin, ymax - ymin) * (1 + 2 * margin)))
    return [round((xmin + xmax - side) / 2), round((ymin + ymax - side) / 2), side]


def check_margin(margin: float) -> None:
    """Checks the value of `--box_margin`.

    Raises:
        UserError: It is out of range.
    """
    if not -0.4 <= margin <= MOST_MARGIN:
        raise UserError(f"--box_margin {margin}: expected a share of the box's longer side, -0.4 to {MOST_MARGIN:g}")
