"""The shape of the house: rooms in one chain, sizes, and what never stands in it."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rafdb_vit"
FILES = sorted(PACKAGE.rglob("*.py"))

ROOMS = ("commands", "training", "hub", "report", "evaluation", "model", "data", "runtime")
"""An import goes to the right only."""

HEAVY = ("torch", "transformers", "datasets", "evaluate", "accelerate", "torchvision", "sklearn", "matplotlib")


def name_file(path):
    return str(path.relative_to(PACKAGE))


def room_of(path):
    return path.relative_to(PACKAGE).parts[0]


def imports_of(path):
    """Returns the module and the names of each import from this package, wherever in a file it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rafdb_vit":
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names if alias.name.split(".")[0] == "rafdb_vit")


def test_the_package_is_the_rooms_and_nothing_else():
    assert {path.name for path in PACKAGE.iterdir()} - {"__pycache__"} == {
        *ROOMS,
        *("__init__.py", "__main__.py", "py.typed", "recipes"),
    }


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in ROOMS], ids=name_file)
def test_imports_go_to_the_right_only(path):
    own = ROOMS.index(room_of(path))
    for module, names in imports_of(path):
        if module == "rafdb_vit":
            assert names == ["__version__"], module
            continue
        room = module.split(".")[1]
        assert ROOMS.index(room) >= own, f"{room_of(path)} imports {module}"
        private = [name for name in names if name.startswith("_")]
        assert not private, f"{module} keeps {private} to itself"


@pytest.mark.parametrize("path", [path for path in FILES if room_of(path) in ROOMS[2:]], ids=name_file)
def test_only_commands_and_training_see_parsed_arguments(path):
    names = ast.dump(ast.parse(path.read_text()))
    assert not any(word in names for word in ("Arguments'", "argparse", "parse_args")), path


def test_no_command_imports_another():
    for path in (PACKAGE / "commands").glob("*.py"):
        verbs = {module.split(".")[-1] for module, _ in imports_of(path) if module.startswith("rafdb_vit.commands")}
        assert verbs <= {"flag_names", "help", "parser", "settings"}, path


@pytest.mark.parametrize("path", FILES, ids=name_file)
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 45, node.name


def test_neither_the_package_nor_its_rooms_nor_help_load_anything_heavy():
    rooms = [".".join(path.parent.relative_to(ROOT).parts) for path in FILES if path.name == "__init__.py"]
    code = (
        f"import importlib, sys\nfor room in {rooms}: importlib.import_module(room)\n"
        "from rafdb_vit import __main__\n__main__._dispatch(['--help'])\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "verbs:" in done.stdout and done.stdout.splitlines()[-1] == "[]"


def test_no_image_and_no_weight_in_the_repository():
    suffixes = {".jpg", ".jpeg", ".png", ".bin", ".pt", ".pth", ".safetensors", ".arrow", ".npy", ".pkl", ".csv"}
    tracked = (path for path in ROOT.rglob("*") if not {".git", ".venv", "runs"} & set(path.relative_to(ROOT).parts))
    shown = ROOT / ".github" / "page.png"  # of drawn faces, for README.md
    assert not [path for path in tracked if path.suffix in suffixes and path != shown]
    assert shown.stat().st_size < 150_000


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.name)
def test_benchmarks_import_what_is_there(path):
    for module, names in imports_of(path):
        assert all(hasattr(importlib.import_module(module), name) for name in names), module
