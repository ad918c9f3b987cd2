import io
import warnings

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from rafdb_vit.runtime.drawing import drawing, fit_name, fold_name, render_png
from rafdb_vit.runtime.text_width import measure_width
from tests.support.fonts import have_only, write_font

CHINESE = "\u9a5a\u304d"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("name", "most", "shown"),
    [
        ("Surprise", 8, "Surprise"),
        ("Surprise", 7, "Surpri\u2026"),
        (CHINESE * 3, 12, CHINESE * 3),
        (CHINESE * 3, 8, "\u9a5a\u304d\u9a5a\u2026"),
        ("a \n b", 9, "a b"),
        (FAMILY, 4, "\U0001f468\u2026"),
    ],
)
def test_a_name_that_is_cut(name, most, shown):
    assert fit_name(name, most) == shown and measure_width(shown) <= most


@pytest.mark.parametrize(
    "name", ["x" * 90, CHINESE * 45, "a long name " * 8, "\u0633\u0639\u0627\u062f\u0629 " * 15, "ab"]
)
def test_a_name_in_lines(name):
    lines = fold_name(name, 18, lines=2).split("\n")
    assert len(lines) <= 2 and all(measure_width(line) <= 18 for line in lines)
    assert len(name) < 36 or lines[1].endswith("\u2026") and len(lines[1]) > 6


def draw(text):
    with drawing(texts=[text]), warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = Figure(figsize=(2, 1))
        figure.text(0.1, 0.5, text, fontsize=20)
        with Image.open(io.BytesIO(render_png(figure))) as picture:
            return np.asarray(picture.convert("L"))


def test_the_letters_of_a_font_that_was_found_are_drawn(monkeypatch, tmp_path):
    have_only(monkeypatch, write_font(tmp_path / "h.ttf", "Han Test", CHINESE))
    drawn = draw(CHINESE)
    ink = drawn < 128
    # Two squares of this font, which are black; a missing letter is a frame.
    assert ink.any() and ink[ink.any(1)][:, ink.any(0)].mean() > 0.8
