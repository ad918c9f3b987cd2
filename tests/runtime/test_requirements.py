import re
import tomllib
from pathlib import Path

import pytest

from rafdb_vit.runtime import requirements
from rafdb_vit.runtime.requirements import MODULES, describe_misfit, describe_missing_modules, refusing_missing_modules

ROOT = Path(__file__).parents[2]
OTHERWISE = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "huggingface_hub": "huggingface-hub"}


@pytest.fixture
def without(monkeypatch):
    def hide(*names):
        usual = requirements.find_spec
        monkeypatch.setattr(requirements, "find_spec", lambda name: None if name in names else usual(name))

    return hide


def test_the_modules_are_those_of_the_dependencies():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    names = {re.match(r"[\w-]+", text)[0] for text in dependencies}
    assert sorted(OTHERWISE.get(name, name) for name in MODULES) == sorted(names)


def test_all_that_is_missing_is_named_with_the_line_that_installs_it(without):
    assert describe_missing_modules() is None
    without("yaml")
    assert describe_missing_modules() == (
        "the Python module yaml is not installed; `pip install -e .` in the folder of train.py installs all that is "
        "needed"
    )
    without("yaml", "torch")
    assert describe_missing_modules().startswith("the Python modules torch, yaml are not installed; `pip install -e .`")


def test_the_install_line_is_that_of_the_readme():
    assert "pip install -e ." in (ROOT / "README.md").read_text()


def test_a_missing_module_ends_the_program_in_one_line(without, capsys):
    without("yaml")
    with pytest.raises(SystemExit) as end, refusing_missing_modules():
        pytest.fail("it went on")
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: the Python module yaml is not installed; `pip install -e .`")


def test_torchvision_for_another_torch_ends_it_too_also_where_transformers_hides_it(capsys):
    with pytest.raises(SystemExit) as end, refusing_missing_modules():
        try:
            raise RuntimeError("operator torchvision::nms does not exist")
        except RuntimeError as error:
            raise ModuleNotFoundError("Could not import module 'AutoImageProcessor'.") from error
    err = capsys.readouterr().err
    assert end.value.code == 2 and err.count("\n") == 1 and "torchvision does not fit torch" in err


@pytest.mark.parametrize("error", [ImportError("cannot import name 'x'"), RuntimeError("a bug"), KeyError("x")])
def test_other_errors_keep_their_traceback(error):
    assert describe_misfit(error) is None
    with pytest.raises(type(error)), refusing_missing_modules():
        raise error


@pytest.mark.parametrize("program", ["train.py", "push_to_hub.py", "rafdb_vit/__main__.py"])
def test_every_program_looks_before_it_imports_anything_else(program):
    text = (ROOT / program).read_text()
    assert text.index("with refusing_missing_modules():") < text.index("from rafdb_vit.commands.parser import")
