import subprocess
import sys

import pytest
from huggingface_hub import constants

from rafdb_vit.model.names import describe_absent, describe_uncached, find_model_folder
from tests.support.refusals import refused


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path


def test_a_folder_is_found_and_a_name_of_the_hub_is_left_to_it(monkeypatch):
    assert str(find_model_folder("runs/demo")) == "runs/demo"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    assert find_model_folder("google/vit") is None and find_model_folder("runs/nope") is None


@pytest.mark.parametrize("name", ["nope", "./nope", "a/b/c"])
def test_what_can_be_no_model_of_the_hub(name):
    with refused(f"--model: no folder {name}; the current folder holds runs; a model of the Hub is USER/NAME"):
        find_model_folder(name, flag="--model")


def test_offline_what_is_not_in_the_cache_is_refused_with_what_lies_near(here):
    with refused("MODEL: no folder runs/nope; runs/ holds demo; nor is", "HF_HUB_OFFLINE is set"):
        find_model_folder("runs/nope", flag="MODEL")
    with refused("MODEL: no folder google/vit; HF_HUB_OFFLINE is set", "`hf download google/vit` fetches it"):
        find_model_folder("google/vit", flag="MODEL")
    (here / "cache" / "models--google--vit").mkdir(parents=True)
    assert find_model_folder("google/vit") is None


def test_what_is_said_when_the_hub_has_been_asked():
    assert describe_absent("runs/nope").startswith(
        "no folder runs/nope; runs/ holds demo, and no such model on the Hub"
    )
    assert describe_absent("google/nope").startswith("no folder google/nope, and no such model on the Hub")
    assert describe_uncached("runs/nope", "the Hub cannot be reached").endswith("and the Hub cannot be reached")


def test_names_are_looked_at_without_torch():
    code = "import rafdb_vit.model.names, sys; sys.exit(bool({'torch', 'transformers', 'datasets'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
