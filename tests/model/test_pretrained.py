import ast
from pathlib import Path

import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

import rafdb_vit
from rafdb_vit.model.pretrained import build_empty, naming_faults
from rafdb_vit.runtime.errors import UserError
from tests.support.refusals import refused

PACKAGE = Path(rafdb_vit.__file__).parent
DOORS = ("from_pretrained", "from_config", "pipeline", "get_class_from_dynamic_module")
"""What of transformers may run the code of a model."""


def names_in(node):
    """Returns what a node of the syntax tree names, under whatever name it is imported."""
    if isinstance(node, ast.Attribute):
        return [node.attr]
    if isinstance(node, ast.Name):
        return [node.id]
    return [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []


def test_one_module_asks_transformers_and_never_trusts():
    asking, calls = set(), []
    for path in PACKAGE.rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        if any(name in DOORS for node in nodes for name in names_in(node)):
            asking.add(str(path.relative_to(PACKAGE)))
        calls += [n for n in nodes if isinstance(n, ast.Call) and set(names_in(n.func)) & set(DOORS)]
    assert asking == {"model/pretrained.py"}
    assert len(calls) == 6
    for call in calls:
        (trust,) = [word.value for word in call.keywords if word.arg == "trust_remote_code"]
        assert isinstance(trust, ast.Constant) and trust.value is False, ast.unparse(call)


def test_the_stock_trainer_asks_for_no_model():
    """What it loads itself, when it resumes or takes the best checkpoint, is replaced."""
    from transformers import trainer

    from rafdb_vit.training.trainer import ExpressionTrainer

    nodes = list(ast.walk(ast.parse(Path(trainer.__file__).read_text())))
    assert not [node.lineno for node in nodes if set(names_in(node)) & set(DOORS)]
    for name in ("_load_from_checkpoint", "_load_best_model"):
        assert getattr(ExpressionTrainer, name) is not getattr(trainer.Trainer, name)


@pytest.mark.parametrize(
    "error", [TypeError("a\nb"), ZeroDivisionError(), KeyError("x" * 9999), RecursionError("deep")]
)
def test_a_fault_of_a_file_is_one_short_line(error):
    with (
        refused("config.json of m", type(error).__name__, "; mend it") as caught,
        naming_faults("config.json of m", "mend it"),
    ):
        raise error
    assert len(caught.value.line) < 400 and caught.value.__cause__ is error


def test_what_is_no_fault_of_a_file_passes():
    with pytest.raises(UserError, match="^mine$"), naming_faults("m", "mend it"):
        raise UserError("mine")
    with pytest.raises(KeyboardInterrupt), naming_faults("m", "mend it"):
        raise KeyboardInterrupt


def test_an_empty_model_draws_no_random_numbers():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    config = ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8, image_size=16)
    assert isinstance(build_empty(config), ViTForImageClassification)
    assert torch.equal(torch.rand(1), expected)
