import pytest
from matplotlib import font_manager, ft2font

from rafdb_vit.runtime import fonts
from rafdb_vit.runtime.fonts import (
    DEFAULT_FAMILY,
    choose_lettering,
    compose,
    is_drawn_everywhere,
    number_undrawn,
)
from tests.support.fonts import have_only, write_font

CHINESE, THAI = "\u9a5a\u304d", "\u0e19\u0e49\u0e33"
ARABIC, HEBREW, HINDI = "\u0633\u0639\u0627\u062f\u0629", "\u05d7\u05d6\u05df", "\u0928\u092e\u0938\u094d\u0924\u0947"


def without_shaping(monkeypatch):
    monkeypatch.setattr(ft2font, "__libraqm_version__", None, raising=False)


def test_latin_costs_nothing(monkeypatch):
    monkeypatch.setattr(fonts, "_search", lambda letters: pytest.fail("fonts were looked for"))
    lettering = choose_lettering(["Surprise", "Ärger", "Vi\u0165", "a\u0301", "\x1b]0;"])
    assert lettering.families == (DEFAULT_FAMILY,) and lettering.draws("Surprise")
    assert number_undrawn(["Surprise", "\xc9tonnement"]) == {}
    assert is_drawn_everywhere("Surprise")


def test_greek_and_cyrillic_are_in_matplotlibs_own(monkeypatch):
    have_only(monkeypatch)
    lettering = choose_lettering(["\u03c7\u03b1\u03c1\u03ac", "\u0420\u0430\u0434\u043e\u0441\u0442\u044c"])
    assert lettering.families == (DEFAULT_FAMILY,) and not lettering.missing
    assert is_drawn_everywhere("\u0420\u0430\u0434\u043e\u0441\u0442\u044c")


def test_a_font_that_was_installed_since_is_found(monkeypatch, tmp_path):
    have_only(monkeypatch, write_font(tmp_path / "h.ttf", "Han Test", CHINESE))
    lettering = choose_lettering(["Surprise", CHINESE])
    assert lettering.families == (DEFAULT_FAMILY, "Han Test") and lettering.show(CHINESE) == CHINESE
    assert number_undrawn(["Surprise", CHINESE]) == {}
    assert not is_drawn_everywhere(CHINESE)  # another machine need not have it


def test_letters_of_two_fonts(monkeypatch, tmp_path):
    paths = [write_font(tmp_path / f"{i}.ttf", f"Test {i}", letter) for i, letter in enumerate(CHINESE)]
    have_only(monkeypatch, *paths)
    assert choose_lettering([CHINESE]).families == (DEFAULT_FAMILY, "Test 0", "Test 1")


def test_without_a_font_there_are_numbers(monkeypatch):
    have_only(monkeypatch)
    names = ["Surprise", CHINESE, "Fear", f"{CHINESE} 2"]
    lettering = choose_lettering(names)
    assert lettering.draws("Surprise") and not lettering.draws(CHINESE)
    assert lettering.show(f"{CHINESE} 2") == "\\u9a5a\\u304d 2"
    assert number_undrawn(names) == {2: CHINESE, 4: f"{CHINESE} 2"}


@pytest.mark.parametrize("family", ["Adobe Blank", ".LastResort", "Last Resort High-Efficiency"])
def test_fonts_with_a_box_for_every_letter_do_not_count(monkeypatch, tmp_path, family):
    have_only(monkeypatch, write_font(tmp_path / "f.ttf", family, CHINESE))
    assert not choose_lettering([CHINESE]).draws(CHINESE)


def test_a_letter_without_an_outline_does_not_count(monkeypatch, tmp_path):
    have_only(monkeypatch, write_font(tmp_path / "f.ttf", "Colours", CHINESE, outlines=False))
    assert not choose_lettering([CHINESE]).draws(CHINESE)


@pytest.mark.parametrize("content", [b"", b"\0\1\0\0" * 40, None])
def test_fonts_that_are_none_or_gone_are_passed_over(monkeypatch, tmp_path, content):
    paths = [tmp_path / "a.ttf", write_font(tmp_path / "b.ttf", "Han Test", CHINESE)]
    if content is not None:
        paths[0].write_bytes(content)
    have_only(monkeypatch, *paths)
    assert choose_lettering([CHINESE]).families == (DEFAULT_FAMILY, "Han Test")


def test_a_font_that_was_removed_since(monkeypatch, tmp_path):
    gone = write_font(tmp_path / "g.ttf", "Han Gone", CHINESE)
    have_only(monkeypatch)
    font_manager.fontManager.addfont(gone)
    gone.unlink()
    assert not choose_lettering([CHINESE]).draws(CHINESE)


@pytest.mark.parametrize("name", [ARABIC, HEBREW, HINDI, THAI, "\U0001f468\u200d\U0001f469"])
def test_scripts_that_have_to_be_shaped_are_numbers_where_matplotlib_does_not(monkeypatch, tmp_path, name):
    have_only(monkeypatch, write_font(tmp_path / "f.ttf", "Has It", "".join(dict.fromkeys(name))))
    without_shaping(monkeypatch)
    assert not choose_lettering([name]).draws(name)
    assert not is_drawn_everywhere(name)


@pytest.mark.skipif(not getattr(ft2font, "__libraqm_version__", None), reason="matplotlib before 3.11")
@pytest.mark.parametrize("name", [ARABIC, HEBREW, HINDI, THAI])
def test_they_are_drawn_where_it_does(monkeypatch, tmp_path, name):
    have_only(monkeypatch, write_font(tmp_path / "f.ttf", "Has It", "".join(dict.fromkeys(name))))
    assert choose_lettering([name]).draws(name)


def test_accents_that_were_taken_apart_are_put_together(monkeypatch):
    without_shaping(monkeypatch)
    have_only(monkeypatch)
    apart = "a\u0301e\u0308"
    assert compose(apart) == "\xe1\xeb" and choose_lettering([apart]).show(apart) == "\xe1\xeb"


def test_what_is_hidden_is_shown_as_its_code(monkeypatch):
    have_only(monkeypatch)
    lettering = choose_lettering(["a\u202eb", "\ue000"])
    assert lettering.show("a\u202eb") == "a\\u202eb" and lettering.show("\ue000") == "\\ue000"
