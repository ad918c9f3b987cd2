import os

import datasets
import pytest
from huggingface_hub.utils import are_progress_bars_disabled
from transformers.utils import logging

from rafdb_vit.runtime.bars import are_bars_silent, prepare_bars, show_progress, silencing_bars


def shown():
    """Whose bars are shown: ours, transformers', datasets', huggingface_hub's."""
    of_libraries = (logging.is_progress_bar_enabled(), datasets.is_progress_bar_enabled())
    return (not are_bars_silent(), *of_libraries, not are_progress_bars_disabled())


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("TQDM_DISABLE", raising=False)


@pytest.mark.parametrize("value", ["1", "true", "yes", "True"])
def test_the_variable_silences_ours(monkeypatch, capfd, value):
    monkeypatch.setenv("TQDM_DISABLE", value)
    assert are_bars_silent() and list(show_progress(range(3), "Counting")) == [0, 1, 2]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("value", ["", "0", "false", "no"])
def test_a_variable_that_says_no(monkeypatch, capfd, value):
    monkeypatch.setenv("TQDM_DISABLE", value)
    assert not are_bars_silent()
    assert len(list(show_progress(range(3), "Counting"))) == 3 and "Counting" in capfd.readouterr().err


def test_all_are_silent_in_the_block_and_as_before_after_it():
    before = shown()
    assert all(before)
    with pytest.raises(KeyError), silencing_bars(True):
        assert not any(shown())
        raise KeyError
    assert shown() == before
    with silencing_bars(None):
        assert shown() == before


def test_what_was_silent_stays_so(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    datasets.disable_progress_bars()
    try:
        with silencing_bars(False):
            assert not any(shown())
        assert not datasets.is_progress_bar_enabled() and os.environ["TQDM_DISABLE"] == "1"
    finally:
        datasets.enable_progress_bars()


def test_libraries_that_are_not_imported_yet_are_told(monkeypatch):
    names = ("HF_HUB_DISABLE_PROGRESS_BARS", "HF_DATASETS_DISABLE_PROGRESS_BARS")
    for name in names:
        monkeypatch.setenv(name, "")  # is as before after the test
        monkeypatch.delenv(name)
    prepare_bars()
    assert not any(name in os.environ for name in names)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    prepare_bars()
    assert all(os.environ[name] == "1" for name in names)
