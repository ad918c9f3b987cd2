"""How everything is drawn: names are text, whatever they hold, and no setting of the machine has a part in it."""

import io
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rafdb_vit.runtime.fonts import Lettering, choose_lettering, compose
from rafdb_vit.runtime.text_width import measure_width

_PLAIN: Any = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}
MOST_LETTERS = 40
"""Of a name in a picture; longer ones would leave no room for the rest."""
_JOINER = "\u200d"
_FILLER = "\ue000"
"""Stands beside a letter of double width while lines are folded; `compose` leaves none in a name."""


@contextmanager
def drawing(style: Any = None, *, texts: Iterable[str] = ()) -> Iterator[Lettering]:
    """All that is drawn is drawn and saved in here, in a `style` of matplotlib's settings.

    Text is never parsed: matplotlib takes what stands between two dollar signs for a formula, and fails on most.

    Args:
        style: matplotlib's settings.
        texts: What is written and may be in any script: fonts are found for it. In SVG the browser has its own.

    Yields:
        What tells of each text whether it can be drawn.
    """
    lettering = choose_lettering(texts)
    settings: Any = {**(style or {}), **_PLAIN, "font.family": [*lettering.families]}
    with rc_context(settings), warnings.catch_warnings():
        # In SVG, the browser has the letters that matplotlib's font lacks, and shapes those that matplotlib cannot.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")  # before 3.11
        yield lettering


def fit_name(name: str, most: int = MOST_LETTERS) -> str:
    """Returns a name as it stands in a picture: in one line, as wide as so many Latin letters at most."""
    line = compose(" ".join(name.split()))
    return line if measure_width(line) <= most else _cut(line, most)


def _cut(line: str, most: int) -> str:
    """Returns the beginning of a line, so wide at most, and an ellipsis."""
    kept, width = "", 1
    for letter in line:
        width += measure_width(letter)
        if width > most:
            break
        kept += letter
    return f"{kept.rstrip(_JOINER)}…"


def fold_name(name: str, width: int, *, lines: int) -> str:
    """Returns a name in a few lines, each as wide as so many Latin letters; of a longer one, the beginning."""
    filled = "".join(c + _FILLER if measure_width(c) > 1 else c for c in compose(name))
    folded = [line.replace(_FILLER, "") for line in textwrap.wrap(filled, width)]
    kept = folded if len(folded) <= lines else [*folded[: lines - 1], _cut(folded[lines - 1], width)]
    return "\n".join(kept)


def render_png(figure: Figure) -> bytes:
    """Returns a figure as a PNG file's content, without what would differ from run to run."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()
