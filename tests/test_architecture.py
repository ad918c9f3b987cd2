"""The shape of the house: who may import whom, sizes, and what never stands in it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rafdb_vit"
FILES = sorted(PACKAGE.rglob("*.py"))

LAYERS = [
    {"confusion", "cpus", "errors"},
    {"intervals"},
    {"calibration", "disk", "groups", "labels", "picture"},
    {
        "cli",
        "console",
        "data",
        "data_arguments",
        "drawn_faces",
        "flag_values",
        "losses",
        "optim",
        "processes",
        "refusals",
        "results",
    },
    {
        "baselines",
        "checkpoint",
        "figures",
        "hardware",
        "hub_access",
        "hub_call",
        "interruption",
        "launch",
        "leaks",
        "license",
        "metrics",
        "predictions",
        "sampler",
        "scratch",
        "summary",
        "transforms",
    },
    {
        "callbacks",
        "comparison",
        "data_check",
        "inference",
        "model",
        "model_card",
        "probe",
        "reading",
        "report",
        "training_arguments",
        "training_checkpoint",
    },
    {"arguments", "checkpoint_trainer", "classifier", "protocol", "run_folder", "staging"},
    {"hub", "trained_run"},
    {"publication"},
    {"trained_publication"},
    {"resumable_trainer"},
    {"expression_trainer"},
    {"trainer"},
    {"commands"},
    {"__main__"},
]
"""Lower layers first; a module imports from layers below its own."""

BRICKS_WITHOUT_ARGUMENTS = {
    "data",
    "data_check",
    "picture",
    "transforms",
    "model",
    "optim",
    "inference",
    "results",
    "metrics",
    "figures",
    "run_folder",
    "losses",
    "sampler",
    "processes",
    "interruption",
    "training_checkpoint",
    "model_card",
    "probe",
    "staging",
    "hub_access",
    "hub_call",
    "hub",
    "publication",
    "trained_publication",
    "baselines",
    "calibration",
    "classifier",
    "comparison",
    "confusion",
    "groups",
    "intervals",
    "predictions",
    "reading",
    "report",
    "scratch",
    "summary",
    "trained_run",
    "leaks",
    "license",
}


def module_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports_of(path):
    """Returns our modules that a file imports, wherever in it the import stands."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("rafdb_vit."):
            found.add(node.module.split(".")[1])
    return found - {module_of(path)}


def layer_of(module):
    return next(level for level, modules in enumerate(LAYERS) if module in modules)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downwards(path):
    module = module_of(path)
    if module == "__init__":
        assert not imports_of(path)
        return
    for imported in imports_of(path):
        assert layer_of(imported) < layer_of(module), f"{module} imports {imported}"


def test_no_command_imports_another():
    for path in (PACKAGE / "commands").glob("*.py"):
        assert "rafdb_vit.commands" not in path.read_text(), path


@pytest.mark.parametrize("module", sorted(BRICKS_WITHOUT_ARGUMENTS))
def test_bricks_never_see_the_parsed_arguments(module):
    for path in FILES:
        if module_of(path) == module:
            assert not imports_of(path) & {"arguments", "cli", "training_arguments"}, path


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_modules_and_functions_are_short(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 250
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 45, node.name


def test_heavy_libraries_are_not_imported_by_the_command_line_itself():
    heavy = {"torch", "transformers", "datasets", "evaluate", "accelerate", "torchvision", "sklearn", "matplotlib"}
    for name in (
        "cli.py",
        "errors.py",
        "__main__.py",
        *(f"commands/{path.name}" for path in (PACKAGE / "commands").glob("*.py")),
    ):
        tree = ast.parse((PACKAGE / name).read_text())
        for node in tree.body:
            modules = (
                [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", "") or ""]
            )
            assert not {module.split(".")[0] for module in modules} & heavy, name


def test_no_image_and_no_weight_in_the_repository():
    suffixes = {".jpg", ".jpeg", ".png", ".bin", ".pt", ".pth", ".safetensors", ".arrow", ".npy", ".pkl", ".csv"}
    tracked = (path for path in ROOT.rglob("*") if not {".git", ".venv", "runs"} & set(path.relative_to(ROOT).parts))
    assert not [path for path in tracked if path.suffix in suffixes]
