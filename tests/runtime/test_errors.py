import pytest
from torch.utils.data import DataLoader

from rafdb_vit.runtime.errors import UserError, escape, is_plain, renaming_flags


class Unreadable:
    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise UserError("a/b.jpg: cannot be read; UserError: or so")


def test_line_is_one_line():
    assert UserError("two\n  lines").line == "two lines"


def test_line_survives_a_data_worker():
    with pytest.raises(UserError) as caught:
        list(DataLoader(Unreadable(), num_workers=1))
    assert "Traceback" in caught.value.args[0] and str(caught.value) == caught.value.line
    assert caught.value.line == "a/b.jpg: cannot be read; UserError: or so"


def test_flags_are_renamed_in_errors_and_nothing_else():
    with pytest.raises(UserError) as error, renaming_flags({"--model_name_or_path": "MODEL"}):
        raise UserError("--model_name_or_path a: see --model_name_or_path_other")
    assert error.value.line == "MODEL a: see --model_name_or_path_other"
    with pytest.raises(KeyError), renaming_flags({"--a": "--b"}):
        raise KeyError("--a")


def test_what_steers_a_terminal_becomes_its_code():
    assert escape("a\x1b]0;X\x07b\u202ec\x9b1m\ud800") == r"a\x1b]0;X\x07b\u202ec\x9b1m\ud800"
    assert escape("two\nlines\u2028or three") == r"two\nlines\u2028or three"


@pytest.mark.parametrize("text", ["Freude é 喜び", "Screenshot 9:41\u202fAM", "a\u00a0b", "👩\u200d🔬", "کتاب\u200cها"])
def test_what_people_write_is_shown_as_it_is(text):
    assert escape(text) == text


@pytest.mark.parametrize(
    "name", ["a\u202fb", "\u3000a", "❤\ufe0f", "e\u0301te", "שלום", "\u200eIMG", "a\u200bb", "\uf8ff", "\U0001fae8", ""]
)
def test_letters_of_every_script_and_what_stands_between_them_are_plain(name):
    assert is_plain(name)


@pytest.mark.parametrize("odd", [*"\t\n\r\x00\x1b\x7f\x85\u2028\u2029\u202a\u202e\u2066\u2069", "\ud800", "\udcff"])
def test_what_leaves_its_line_or_turns_it_is_not_plain(odd):
    assert not is_plain(f"a{odd}b") and odd not in escape(f"a{odd}b")


def test_what_nobody_sees_is_shown_as_its_code():
    assert escape("a\u200bb\u200e") == r"a\u200bb\u200e"
