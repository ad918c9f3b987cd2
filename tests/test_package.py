"""The one Python name: what it gives, when it loads it, and who sees it."""

import ast
import pydoc
from pathlib import Path

import pytest

import rafdb_vit

NAMES = {
    *("load_rafdb", "check_data", "load_model", "build_model", "load_classifier", "ExpressionTrainingArguments"),
    *("build_trainer", "train", "predict_split", "evaluate_model", "predict_images", "Predictions", "EvaluationResult"),
    *("compare_predictions", "summarize_runs", "publish_run", "UserError"),
}


def test_it_gives_what_users_need_and_nothing_else():
    assert set(rafdb_vit.__all__) == NAMES and set(dir(rafdb_vit)) >= NAMES
    assert all(callable(getattr(rafdb_vit, name)) for name in NAMES)
    with pytest.raises(AttributeError, match="has no attribute 'load_faces'"):
        _ = rafdb_vit.load_faces


def test_help_shows_each_with_its_docstring():
    text = pydoc.render_doc(rafdb_vit, renderer=pydoc.plaintext)
    assert all(name in text for name in NAMES) and "Loads RAF-DB, or any folder of labelled faces" in text


def test_type_checkers_see_each_where_it_is_loaded_from():
    tree = ast.parse(Path(rafdb_vit.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.asname: node.module for node in block.body for alias in node.names}
    assert seen == {name: f"rafdb_vit.{module}" for name, module in rafdb_vit._HOMES.items()}
