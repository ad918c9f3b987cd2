import pytest

from rafdb_vit.runtime.text_width import measure_width, pad_left, pad_right

CHINESE = "\u9a5a\u304d"
FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), (CHINESE, 4), ("a\u0301", 1), ("", 0), (FAMILY, 6), ("\uff21", 2)]
)
def test_width(text, width):
    assert measure_width(text) == width


@pytest.mark.parametrize("text", ["abc", CHINESE, "e\u0301", ""])
def test_columns_are_as_wide_as_they_look(text):
    assert measure_width(pad_left(text, 6)) == measure_width(pad_right(text, 6)) == 6
    assert pad_left(text, 6).endswith(text) and pad_right(text, 6).startswith(text)
    assert pad_left(text, 1).strip() == text
