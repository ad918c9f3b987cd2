"""The private names of the libraries in use, held against the release that is installed."""

import ast
import inspect
import re
from pathlib import Path

import pytest
import transformers
from evaluate import EvaluationModule
from transformers import HfArgumentParser, PretrainedConfig, PreTrainedModel, Trainer, TrainingArguments

import rafdb_vit.training

CLASSES = {
    "Trainer": Trainer,
    "TrainingArguments": TrainingArguments,
    "HfArgumentParser": HfArgumentParser,
    "PreTrainedModel": PreTrainedModel,
    "PretrainedConfig": PretrainedConfig,
    "EvaluationModule": EvaluationModule,
}
LISTED = re.findall(r"^    (\w+)\.(_\w+)(?:\((.*)\))?$", rafdb_vit.training.__doc__, re.M)
PACKAGE = Path(rafdb_vit.training.__file__).parents[1]


def private_names(path):
    """Returns the private attributes and methods that a file uses or defines."""
    for node in ast.walk(ast.parse(path.read_text())):
        name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "name", None)
        if isinstance(name, str) and name.startswith("_") and not name.startswith("__"):
            yield name


def test_the_list_is_there():
    assert len(LISTED) >= 20 and {owner for owner, *_ in LISTED} == set(CLASSES)


@pytest.mark.parametrize(("owner", "name", "parameters"), LISTED, ids=lambda value: str(value)[:30])
def test_each_exists_with_its_signature(owner, name, parameters):
    found = getattr(CLASSES[owner], name, None)
    if not parameters:
        assert found is not None or re.search(rf"\b{name}\b", inspect.getsource(inspect.getmodule(CLASSES[owner])))
        return
    expected, names = parameters.split(", "), list(inspect.signature(found).parameters)
    if expected[-1] == "...":
        expected, names = expected[:-1], names[: len(expected) - 1]
    assert names == expected


def test_no_other_is_in_use():
    listed = {name for _, name, _ in LISTED}
    upstream = {name for owner in (Trainer, HfArgumentParser) for name in vars(owner)}
    upstream |= set(re.findall(r"\bself\.(_[a-z]\w*)", inspect.getsource(Trainer)))
    for room in ("training", "commands"):
        for path in (PACKAGE / room).glob("*.py"):
            assert not set(private_names(path)) & upstream - listed, path


def test_the_next_major_release_is_not_installed_unasked():
    project = (PACKAGE.parent / "pyproject.toml").read_text()
    assert re.search(r'"transformers>=[\d.]+,<6"', project) and transformers.__version__.startswith("5.")
