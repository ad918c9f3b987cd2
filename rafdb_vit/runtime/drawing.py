"""How everything is drawn: names are text, whatever they hold, and no setting of the machine has a part in it."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rafdb_vit.runtime.errors import escape

_PLAIN: Any = {"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}
MOST_LETTERS = 40
"""Of a name in a picture; longer ones would leave no room for the rest."""


@contextmanager
def drawing(style: Any = None) -> Iterator[None]:
    """All that is drawn is drawn and saved in here, in a `style` of matplotlib's settings.

    Text is never parsed: matplotlib takes what stands between two dollar signs for a formula, and fails on most.
    """
    with rc_context({**(style or {}), **_PLAIN}), warnings.catch_warnings():
        # Of scripts that matplotlib's font lacks; in SVG, the browser has their letters.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def fit_name(name: str, most: int = MOST_LETTERS) -> str:
    """Returns a name as it stands in a picture: in one line, of at most so many letters."""
    line = escape(" ".join(name.split()))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def render_png(figure: Figure) -> bytes:
    """Returns a figure as a PNG file's content, without what would differ from run to run."""
    content = io.BytesIO()
    FigureCanvasAgg(figure).print_png(content, metadata={"Software": None})
    return content.getvalue()
