"""How wide a text is in a terminal or a picture: names of classes come in any script."""

import unicodedata


def measure_width(text: str) -> int:
    """Returns how many Latin letters a text is as wide as: Chinese ones count two, accents nothing."""
    return len(text) if text.isascii() else sum(_measure_letter(letter) for letter in text)


def _measure_letter(letter: str) -> int:
    if unicodedata.east_asian_width(letter) in ("W", "F"):
        return 2
    return 0 if unicodedata.category(letter) in ("Mn", "Me", "Cf") else 1


def pad_left(text: str, width: int) -> str:
    """Returns a text with spaces before it, so wide at least: a column of a table that ends in one line."""
    return " " * (width - measure_width(text)) + text


def pad_right(text: str, width: int) -> str:
    """Returns a text with spaces after it, so wide at least: a column of a table that begins in one line."""
    return text + " " * (width - measure_width(text))
