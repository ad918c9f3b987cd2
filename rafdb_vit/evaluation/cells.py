"""Cells of a CSV file: text that no spreadsheet takes for a formula, and back."""

import re

_FORMULA = re.compile(r"""[\s"'\x00-\x1f\u200b-\u200f\u2060\ufeff]*[\t\r\n=+@＝＋＠﹦﹢﹫−－﹣-]""")
"""What a spreadsheet may run: also behind spaces, quotes and marks that nobody sees, and in wide letters."""

_BEHIND = re.compile(rf"[;|\t\r\n](?={_FORMULA.pattern})")
_MARKED = re.compile(rf"([;|\t\r\n])'(?={_FORMULA.pattern})")
"""A spreadsheet to which one of these ends a cell, as `;` does in many countries, finds one behind it."""

_SPECIAL = re.compile(r"""[,"\r\n]""")


def guard(text: str) -> str:
    """Returns text as it is written: an apostrophe before what could be a formula says that it is text."""
    marked = _BEHIND.sub(r"\g<0>'", text)
    return f"'{marked}" if _FORMULA.match(marked) else marked


def unguard(cell: str) -> str:
    """Returns the text that was given to `guard`."""
    plain = cell[1:] if cell.startswith("'") and _FORMULA.match(cell, 1) else cell
    return _MARKED.sub(r"\1", plain)


def quote(cell: str) -> str:
    """Returns a cell as it stands between commas.

    Python's writer leaves a carriage return bare, which its reader takes for the end of a row, up to version 3.12.
    """
    return f'"{cell.replace(chr(34), chr(34) * 2)}"' if _SPECIAL.search(cell) else cell
