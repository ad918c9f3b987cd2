"""Fonts of a few letters, and a machine that has these fonts and no others."""

from functools import cache
from pathlib import Path

from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from rafdb_vit.runtime import fonts


def write_font(path: Path, family: str, letters: str, *, outlines: bool = True) -> Path:
    """Writes a font whose letters are all the same square, or without `outlines` nothing."""
    names = [".notdef", *(f"u{ord(letter):04x}" for letter in letters)]
    pen = TTGlyphPen(None)
    if outlines:
        pen.moveTo((50, 0))
        for corner in ((50, 700), (550, 700), (550, 0)):
            pen.lineTo(corner)
        pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap({ord(letter): name for letter, name in zip(letters, names[1:], strict=True)})
    builder.setupGlyf(dict.fromkeys(names, square))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (600, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(usWeightClass=400)
    builder.setupPost()
    builder.save(path)
    return path


def have_only(monkeypatch, *paths: Path) -> None:
    """Makes this a machine with matplotlib's own fonts, and those at these paths, which were installed since."""
    own = [entry for entry in font_manager.fontManager.ttflist if entry.name.startswith(("DejaVu", "Last Resort"))]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    find = font_manager.findSystemFonts
    installed = [str(path) for path in paths]
    monkeypatch.setattr(
        font_manager, "findSystemFonts", lambda own=None, **kind: find(own, **kind) if own else installed
    )
    monkeypatch.setattr(font_manager, "json_dump", lambda *words: None)  # of the list that this machine keeps
    monkeypatch.setattr(fonts, "_search", cache(fonts._search.__wrapped__))  # and forgets it
    font_manager.fontManager._findfont_cached.cache_clear()
