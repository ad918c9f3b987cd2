"""Settings from files and programs: values of their flags' types, whatever stands in them."""

import os
from dataclasses import dataclass, field, fields
from enum import Enum
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rafdb_vit.commands.check import CheckArguments
from rafdb_vit.commands.compare import CompareArguments
from rafdb_vit.commands.evaluate import EvaluateArguments
from rafdb_vit.commands.parser import check_settings, parse_arguments
from rafdb_vit.commands.predict import PredictArguments
from rafdb_vit.commands.push import PushArguments
from rafdb_vit.commands.summarize import SummarizeArguments
from rafdb_vit.commands.train import parse_training_arguments, train
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.training.flags import DataArguments, ModelArguments
from rafdb_vit.training.past_run import find_run
from rafdb_vit.training.training_flags import read_training_flags
from tests.support.refusals import assert_one_line, refused


class Colour(Enum):
    RED = "red"


@dataclass
class Flags:
    rate: float = 1.0
    count: int | None = None
    names: list[str] = field(default_factory=lambda: ["a"])
    trackers: None | str | list[str] = None
    quick: bool = False
    half: bool | None = field(default=None, metadata={"nargs": "?", "const": True})
    mode: str = field(default="x", metadata={"choices": ["x", "y"]})
    title: str | None = None
    resume: str | None = field(default=None, metadata={"nargs": "?", "const": "newest"})
    more: dict | str | None = None


def parse(values=(), argv=(), **more):
    return parse_arguments((Flags,), argv, prog="p", description="d", settings=dict(values), **more)


GOOD = [
    ("rate", 2, 2.0),
    ("rate", "2e-5", 2e-5),
    ("rate", -0.5, -0.5),
    ("rate", np.float64(0.5), 0.5),
    ("count", -3, -3),
    ("count", "7", 7),
    ("count", np.int64(7), 7),
    ("names", ["--rate", "b c", "d=e", "-1"], ["--rate", "b c", "d=e", "-1"]),
    ("names", [], []),
    ("names", "--rate=5", ["--rate=5"]),
    ("trackers", ["wandb", "--title=x"], ["wandb", "--title=x"]),
    ("trackers", "none", "none"),
    ("quick", True, True),
    ("quick", "yes", True),
    ("half", False, False),
    ("mode", "y", "y"),
    ("title", "--rate=5", "--rate=5"),
    ("title", "a b=c 'd' \"e\" $(f)", "a b=c 'd' \"e\" $(f)"),
    ("title", "", ""),
    ("title", "--", "--"),
    ("title", "-1", "-1"),
    ("title", "2024-01-02", "2024-01-02"),
    ("title", Path("a/b"), "a/b"),
    ("title", Colour.RED, "red"),
    ("resume", True, "newest"),
    ("resume", "a", "a"),
    ("more", {"--rate": 3, "b": [1, None]}, '{"--rate": 3, "b": [1, null]}'),
    ("more", '{"a": 1}', '{"a": 1}'),
]


@pytest.mark.parametrize(("name", "value", "expected"), GOOD, ids=str)
def test_a_setting_is_the_value_of_its_flag_and_of_no_other(name, value, expected):
    (flags,), asked = parse({name: value})
    assert flags == Flags(**{name: expected}) and asked == {name: expected}
    assert type(asked[name]) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "expected"), [of for of in GOOD if isinstance(of[1], str | int | float | list | dict)], ids=str
)
def test_so_it_is_in_a_file(name, value, expected, tmp_path):
    value = value.item() if isinstance(value, np.generic) else value
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({name: value}))
    (flags,), _ = parse(argv=["--config", str(tmp_path / "c.yaml")])
    assert flags == Flags(**{name: expected})


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("rate", "--title=x", "a number"),
        ("rate", True, "a number"),
        ("rate", [1.0], "a number"),
        ("rate", float("nan"), "a number"),
        ("rate", float("inf"), "a number"),
        ("rate", "nan", "a number"),
        ("count", 1.5, "a whole number"),
        ("count", "1.5", "a whole number"),
        ("count", 10**5000, "a whole number"),
        ("count", "9" * 4000, "a whole number"),
        ("count", "9" * 9000, "a whole number"),
        ("names", 3, "a list of text"),
        ("names", [3], "a list of text"),
        ("names", ["a", None], "a list of text"),
        ("trackers", {"a": 1}, "text .* or a list of text"),
        ("quick", 1, "true or false"),
        ("quick", "maybe", "true or false"),
        ("quick", [], "true or false"),
        ("mode", "z", "one of x, y"),
        ("mode", ["x"], "one of x, y"),
        ("title", 5, "text"),
        ("title", False, "text"),
        ("title", {"a": "b"}, "text"),
        ("title", ["a"], "text"),
        ("title", "a\0b", "text"),
        ("title", "\ud800", "text"),
        ("title", len, "text"),
        ("resume", False, "text"),
        ("more", [1], "names and values"),
        ("more", {"a": {1, 2}}, "names and values"),
    ],
    ids=lambda value: repr(value)[:30] if not isinstance(value, int) or value < 9 else "large",
)
def test_a_value_of_another_type_is_refused_by_name(name, value, expected, tmp_path):
    with pytest.raises(UserError, match=f"^--{name}: expected .*{expected}.*, found ") as caught:
        parse({name: value})
    assert_one_line(caught.value)
    assert len(str(caught.value)) < 250
    with pytest.raises(UserError, match=f"^run/c.yaml: {name}: expected .*{expected}"):
        check_settings((Flags,), {name: value}, where="run/c.yaml")


def test_none_leaves_a_flag_out():
    assert parse({"rate": None, "quick": None}) == ((Flags(),), {})


def test_flags_win_over_settings_and_these_over_a_file(tmp_path):
    (tmp_path / "c.yaml").write_text("rate: 2\ncount: 2\ntitle: file\n")
    (flags,), _ = parse({"config": str(tmp_path / "c.yaml"), "count": 3, "title": "program"}, ["--title", "line"])
    assert (flags.rate, flags.count, flags.title) == (2.0, 3, "line")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"rat": 1}, "--rat: no such flag; did you mean --rate?"),
        ({"zzz": 1}, "--zzz: no such flag; see --help"),
        ({"hub_token": "x"}, "--hub_token: not here"),
    ],
)
def test_a_setting_that_is_none(values, message):
    with refused(message):
        parse(values, refused={"hub_token": "not here"})


@pytest.mark.parametrize("argv", [["--count", "9" * 4000], ["--rate", "nan"], ["--rate", "-inf"], ["--title", "a\0"]])
def test_a_command_line_takes_no_such_value_either(argv):
    with refused(argv[0]):
        parse(argv=argv)


def test_train_takes_values(tmp_path, faces_dir):
    with refused("--learning_rate: expected a number, found '--output_dir=/x'"):
        train(data_dir=str(faces_dir), learning_rate="--output_dir=/x")
    with refused("--data_dir: expected", "one of the three"):
        train(model_revision="--demo")
    given = {"data_dir": faces_dir, "output_dir": tmp_path / "o", "report_to": ["none"], "use_cpu": True, "bf16": False}
    data, _, flags, asked = parse_training_arguments([], {**given, "lr_scheduler_kwargs": {"num_cycles": 0.5}})
    args = flags.resolve()
    assert data.data_dir == str(faces_dir) and args.output_dir == str(tmp_path / "o") and args.report_to == []
    assert args.lr_scheduler_kwargs == {"num_cycles": 0.5} and asked["report_to"] == ["none"]


def make_config(tmp_path, kind):
    path = tmp_path / "c.yaml"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "device":
        return Path("/dev/zero")
    elif kind == "a gigabyte":
        with path.open("wb") as file:
            file.truncate(2**30)
    elif kind == "link to itself":
        path.symlink_to(path)
    elif kind == "no such user":
        return "~nobody-of-this-name/c.yaml"
    elif kind == "long name":
        return tmp_path / ("x" * 300)
    else:
        path.write_bytes({"empty": b"", "binary": bytes(range(256)), "nul": b'title: "\\0"', "list": b"- 1"}[kind])
    return path


KINDS = "pipe,folder,device,a gigabyte,link to itself,no such user,long name,empty,binary,nul,list"


@pytest.mark.parametrize("kind", KINDS.split(","))
def test_a_file_that_holds_no_settings_is_one_line(tmp_path, kind):
    with refused("--config"):
        parse(argv=["--config", str(make_config(tmp_path, kind))])


PATHS = {
    CheckArguments: "data_dir figures",
    CompareArguments: "first second",
    EvaluateArguments: "model output_dir",
    PredictArguments: "model",  # pictures that cannot be read do not keep others from being read
    PushArguments: "run",
    SummarizeArguments: "runs",
    DataArguments: "data_dir dataset_name distribution_file",
    ModelArguments: "model_name_or_path",
    read_training_flags(): "output_dir resume_from_checkpoint",
}


@pytest.mark.parametrize(("of", "names"), PATHS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_path_that_the_system_does_not_take_is_refused_by_its_flag(of, names, tmp_path):
    assert {one.name for one in fields(of) if one.metadata.get("path")} == set(names.split())
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    paths = {
        "x" * 300: "File name too long",
        "a/" * 3000: "File name too long",
        "~nobody-of-this-name/x": "no such user",
        str(tmp_path / "loop"): "Too many levels",
    }
    required = {"model": "m", "repo_id": "a/b", "images": "i", "data_dir": "d", "first": "f", "second": "s", "run": "r"}
    for one in fields(of):
        for path, words in paths.items() if one.metadata.get("path") else ():
            argv = []
            for other in fields(of):
                positional = other.metadata.get("positional")
                if (
                    other.name == one.name
                    or positional
                    or (other.name in required and of in (PredictArguments, PushArguments))
                ):
                    value = path if other.name == one.name else required.get(other.name, "w")
                    argv += [value] if positional else [f"--{other.name}", value]
            label = one.name.upper() if one.metadata.get("positional") else f"--{one.name}"
            with refused(f"{label} ", words) as caught:
                parse_arguments((of,), argv, prog="p", description="d", takes_config=False)
            assert len(str(caught.value)) < 400


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
odd = scalars | st.sampled_from(
    [10**400, -(2**63), "--output_dir=/x", "~nobody-of-this-name", "x" * 300, "{", "{}", "[1]"]
)
odd = odd | st.sampled_from(['{"a": {"b": 1}}', "1e999", "\u202e", "a\nb", "\x1b]0;X\x07", "2001-01-01", "0x10"])
odd = odd | st.lists(odd, max_size=3) | st.dictionaries(st.text(max_size=5) | st.integers(), odd, max_size=3)
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))


@settings(derandomize=True, database=None, deadline=None, max_examples=EXAMPLES)
@given(st.data())
def test_any_value_in_a_config_is_taken_or_refused(tmp_path_factory, data):
    of = (DataArguments, ModelArguments, read_training_flags())
    names = sorted(one.name for each in of for one in fields(each) if one.init)
    name, value = data.draw(st.sampled_from(names)), data.draw(odd)
    path = tmp_path_factory.getbasetemp() / "odd.yaml"
    path.write_text(yaml.safe_dump({"data_dir": "d", "use_cpu": True, "bf16": False, name: value}), encoding="utf-8")
    try:
        with patch.dict(os.environ):  # transformers hands some settings to accelerate there
            parse_training_arguments(["--config", str(path)])[2].resolve()
    except UserError as error:
        assert error.line == escape(error.line)


@settings(derandomize=True, database=None, deadline=None, max_examples=EXAMPLES)
@given(st.data())
def test_any_value_in_a_runs_settings_is_taken_or_refused(tmp_path_factory, data):
    run = tmp_path_factory.getbasetemp() / "odd-run"
    run.mkdir(exist_ok=True)
    of = (EvaluateArguments, DataArguments)
    names = sorted({one.name for each in of for one in fields(each)})
    name, value = data.draw(st.sampled_from(names)), data.draw(odd)
    content = {"data_dir": "d", "subset": "basic", "per_device_eval_batch_size": 5, name: value}
    (run / "training_config.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    given = data.draw(st.sampled_from([{}, {"data_dir": "d"}, {"dataset_name": "a/b"}]))
    try:
        past = find_run(str(run))
        taken = past.choose_settings(check_settings(of, past.settings, where=str(past.config)), given=given)
        parsed, asked = parse_arguments(of, [str(run)], prog="p", description="d", settings=taken, takes_config=False)
    except UserError as error:
        assert error.line == escape(error.line)
    else:
        assert parsed[0].output_dir is None and parsed[0].model == str(run) and asked == taken
        assert 1 <= parsed[0].per_device_eval_batch_size <= 1024
