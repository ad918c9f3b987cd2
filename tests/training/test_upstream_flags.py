import dataclasses
import importlib.util

import pytest
from transformers import HfArgumentParser, TrainingArguments
from transformers.training_args import trainer_log_levels

from rafdb_vit.training import upstream_flags
from rafdb_vit.training.arguments import ExpressionTrainingArguments
from rafdb_vit.training.training_flags import read_training_flags
from rafdb_vit.training.upstream_flags import load_parser, read_class, read_source, read_upstream_flags

COMPUTED = {"optim": "default", "log_level": "choices", "log_level_replica": "choices"}
"""What of upstream's fields stands in no literal of the source; all of these have fields of ours."""


def list_actions(flags, parser=HfArgumentParser):
    made = dataclasses.make_dataclass("Flags", flags)
    return [action for action in parser(made)._actions if action.dest != "help"]


def describe(action, leave_out=()):
    words = ("dest", "option_strings", "nargs", "const", "default", "choices", "help", "required")
    shown = {word: getattr(action, word) for word in words if word not in leave_out}
    return {word: list(value) if word == "choices" and value else value for word, value in shown.items()}


def test_the_source_gives_the_flags_of_the_class():
    of_source, of_class = list_actions(read_source()), list_actions(read_class())
    assert [action.dest for action in of_source] == [action.dest for action in of_class]
    for ours, theirs in zip(of_source, of_class, strict=True):
        left_out = (COMPUTED.get(ours.dest), "help") if ours.dest in COMPUTED else ()
        assert describe(ours, left_out) == describe(theirs, left_out)


@pytest.mark.parametrize("text", ["3", "0.5", "yes", "steps", "adamw_torch", "x"])
def test_values_are_read_as_the_class_reads_them(text):
    def read(action):
        try:
            return (action.type or str)(text)
        except Exception as error:
            return type(error)

    skipped = {"parallelism_config"}  # an object of accelerate, refused
    for ours, theirs in zip(list_actions(read_source()), list_actions(read_class()), strict=True):
        if ours.dest not in skipped:
            assert read(ours) == read(theirs), ours.dest


def test_a_source_that_is_written_in_another_way_makes_way_for_the_class(tmp_path, monkeypatch):
    read_upstream_flags.cache_clear()
    monkeypatch.setattr(upstream_flags, "_find_source", lambda module: tmp_path)
    assert [name for name, _, _ in read_upstream_flags()] == [name for name, _, _ in read_class()]
    for name in ("training_args.py", "trainer_utils.py", "debug_utils.py"):
        (tmp_path / name).write_text("class TrainingArguments:\n    seed: int = 3\n")
    with pytest.raises(LookupError, match="1 fields"):
        read_source()
    monkeypatch.undo()
    read_upstream_flags.cache_clear()


def test_the_parser_is_upstreams():
    assert load_parser().__name__ == "HfArgumentParser"
    of = [action.dest for action in list_actions(read_class(), load_parser())]
    assert of == [action.dest for action in list_actions(read_class())]


def test_a_parser_that_needs_the_rest_of_transformers_is_imported_with_it(tmp_path, monkeypatch):
    (tmp_path / "hf_argparser.py").write_text("from .no_such_module import x\n")
    load_parser.cache_clear()
    monkeypatch.setattr(upstream_flags, "_find_source", lambda module: tmp_path)
    assert load_parser() is HfArgumentParser
    monkeypatch.undo()
    load_parser.cache_clear()


def test_a_package_that_is_missing(monkeypatch):
    monkeypatch.setattr(upstream_flags, "find_spec", lambda module: None)
    with pytest.raises(ModuleNotFoundError, match="transformers") as missing:
        upstream_flags._find_source("transformers")
    assert missing.value.name == "transformers" and importlib.util.find_spec("transformers")


def test_each_flag_has_the_default_of_the_class():
    flags, theirs = read_training_flags()(), {of.name: of for of in dataclasses.fields(ExpressionTrainingArguments)}
    for of in dataclasses.fields(flags):
        made = theirs[of.name].default_factory
        expected = theirs[of.name].default if made is dataclasses.MISSING else made()
        assert getattr(flags, of.name, expected) == expected, of.name
    assert {of.name for of in dataclasses.fields(flags)} == {name for name, of in theirs.items() if of.init}


def test_choices_of_ours_are_upstreams_and_more():
    choices = {of.name: of.metadata.get("choices") for of in dataclasses.fields(read_training_flags())}
    of_class = {action.dest: action.choices for action in list_actions(read_class())}
    assert choices["lr_scheduler_type"] == [*of_class["lr_scheduler_type"], "step"]
    assert choices["optim"] == list(of_class["optim"])
    assert choices["log_level"] == choices["log_level_replica"] == list(trainer_log_levels)


def test_the_optimizer_that_is_named_is_upstreams_own_choice():
    default = {of.name: of.default for of in dataclasses.fields(TrainingArguments)}["optim"]
    assert read_training_flags()().optim == default
