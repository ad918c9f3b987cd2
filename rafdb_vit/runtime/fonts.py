"""Which of this machine's fonts have the letters of a text; matplotlib's own has Latin, Greek and Cyrillic ones."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from rafdb_vit.runtime.errors import escape

DEFAULT_FAMILY = "DejaVu Sans"
"""It comes with matplotlib."""
_PLAIN_END = 0x250
"""Latin letters of all kinds come before it; the default font has each."""
_WITHOUT_SHAPE = ("Zs", "Cf", "Me", "Mn")
"""Unicode's categories of spaces, and of what changes the letter before it; fonts need not have the latter."""
_SHAPED = ("Mn", "Mc", "Me", "Cf")
"""Of what is placed by the letters round it."""
_RIGHT_TO_LEFT = ("R", "AL")
_NO_LETTERS = ("lastresort", "blank")
"""Families of these names have a box, or nothing, for every letter."""
_REGULAR = (400, "normal", "regular", "book")
_LAST = ("mono", "serif", "condensed", "italic", "black", "light")
_FAULTS = (OSError, RuntimeError, ValueError, LookupError)
"""What reading a damaged font raises."""


@dataclass(frozen=True)
class Lettering:
    """With what a picture is lettered.

    Attributes:
        families: Names of font families for matplotlib, which takes for each letter the first that has it.
        missing: Letters that none of them has, or that matplotlib cannot place.
    """

    families: tuple[str, ...] = (DEFAULT_FAMILY,)
    missing: frozenset[str] = frozenset()

    def draws(self, text: str) -> bool:
        """Tells whether a text can be drawn."""
        return not self.missing.intersection(compose(text))

    def show(self, text: str) -> str:
        """Returns a text as it can be drawn: where it has letters that cannot, they and all others become codes."""
        drawn = compose(text)
        return drawn if self.draws(text) else drawn.encode("ascii", "backslashreplace").decode()


def compose(text: str) -> str:
    """Returns a text as it is drawn: what is hidden as codes, letters and accents in one, which macOS takes apart."""
    return unicodedata.normalize("NFC", escape(text))


def choose_lettering(texts: Iterable[str]) -> Lettering:
    """Returns the fonts for a picture's texts; nothing is looked for where they are Latin."""
    letters = {letter for text in texts for letter in compose(text) if ord(letter) >= _PLAIN_END}
    return _search(frozenset(letters)) if letters else Lettering()


def number_undrawn(names: Sequence[str]) -> dict[int, str]:
    """Returns the names that pictures cannot show, by the number, from 1, that stands there in place of each."""
    lettering = choose_lettering(names)
    return {number: name for number, name in enumerate(names, 1) if not lettering.draws(name)}


def is_drawn_everywhere(text: str) -> bool:
    """Tells whether a text can be drawn on every machine, whichever fonts it has."""
    letters = {letter for letter in compose(text) if ord(letter) >= _PLAIN_END}
    if not letters:
        return True
    from matplotlib import font_manager

    default = font_manager.fontManager.findfont(DEFAULT_FAMILY)
    return not any(map(_is_shaped, letters)) and letters == _find_letters(default, letters)


@cache
def _search(letters: frozenset[str]) -> Lettering:
    from matplotlib import ft2font

    if getattr(ft2font, "__libraqm_version__", None):  # since matplotlib 3.11
        unplaced: set[str] = set()
    else:
        unplaced = {letter for letter in letters if _is_shaped(letter)}
    missing = {one for one in letters - unplaced if unicodedata.category(one) not in _WITHOUT_SHAPE}
    families: list[str] = []
    for family, path in _list_fonts():
        if not missing:
            break
        if found := _find_letters(path, missing):
            families.append(family)
            missing -= found
    return Lettering(tuple(dict.fromkeys((DEFAULT_FAMILY, *families))), frozenset(missing | unplaced))


def _is_shaped(letter: str) -> bool:
    """Tells whether a letter's form or place depends on those beside it, or it is written from the right."""
    return unicodedata.category(letter) in _SHAPED or unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT


def _list_fonts() -> Iterator[tuple[str, Any]]:
    """Yields each font family and its regular font's path, the default first; last those that were installed since.

    matplotlib keeps its list of fonts, and does not look for new ones while all on it are there.
    """
    from matplotlib import font_manager

    manager: Any = font_manager.fontManager
    seen: set[str] = set()
    for look_again in (False, True):
        if look_again:
            _add_new_fonts(manager)
        regular = {entry.name for entry in manager.ttflist if entry.style == "normal" and entry.weight in _REGULAR}
        families = sorted(regular - seen, key=_rank)
        for family in families:
            seen.add(family)
            if any(word in family.lower().replace(" ", "") for word in _NO_LETTERS):
                continue
            try:
                yield family, manager.findfont(family, fallback_to_default=False, rebuild_if_missing=False)
            except _FAULTS:  # deleted since
                continue


def _rank(family: str) -> tuple[bool, int, str]:
    name = family.lower()
    plain = 0 if "sans" in name else 1
    return family != DEFAULT_FAMILY, plain + 2 * any(word in name.replace("sans", "") for word in _LAST), name


def _add_new_fonts(manager: Any) -> None:
    from matplotlib import font_manager

    known = {str(entry.fname) for entry in manager.ttflist}
    for path in sorted({*font_manager.findSystemFonts()} - known):
        try:
            manager.addfont(path)
        except _FAULTS:  # damaged, or of pixels in colour, as emoji are
            continue


def _find_letters(path: Any, letters: Iterable[str]) -> set[str]:
    """Returns the letters that a font has an outline for."""
    from matplotlib.font_manager import get_font

    found = set()
    try:
        font = get_font(path)
        for letter in letters:
            if index := font.get_char_index(ord(letter)):
                font.load_glyph(index)
                vertices, _ = font.get_path()
                if len(vertices):
                    found.add(letter)
    except _FAULTS:
        return set()
    return found
