from dataclasses import dataclass, field
from pathlib import Path

import pytest

import rafdb_vit
from rafdb_vit.commands.parser import RECIPES, parse_arguments, run_command, switch
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.flag_checks import UNSUPPORTED_FLAGS
from rafdb_vit.training.flags import DataArguments, ModelArguments
from rafdb_vit.training.training_flags import read_training_flags

ALL = (DataArguments, ModelArguments, read_training_flags())


@dataclass
class Flags:
    rate: float = field(default=1.0, metadata={"help": "A rate."})
    names: list[str] = field(default_factory=lambda: ["a"])
    quick: bool = False
    mode: str = field(default="x", metadata={"choices": ["x", "y"]})


def parse(*argv, types=(Flags,), **settings):
    return parse_arguments(types, argv, prog="p", description="d", **settings)


def test_flags_win_over_the_config_and_it_over_defaults(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text("rate: 2e-5\nnames: [b, c]\nquick: true\n")
    (flags,), asked = parse("--config", str(config), "--quick", "False")
    assert flags == Flags(rate=2e-5, names=["b", "c"], quick=False)
    assert asked == {"rate": 2e-5, "names": ["b", "c"], "quick": False}


def test_an_implied_recipe_comes_first(monkeypatch, tmp_path):
    (tmp_path / "r.yaml").write_text("rate: 5\nmode: y\n")
    monkeypatch.setattr("rafdb_vit.commands.parser.RECIPES", tmp_path)
    (flags,), asked = parse("--quick", "--rate", "7", implied_recipes={"quick": "r.yaml"})
    assert flags == Flags(rate=7.0, quick=True, mode="y")
    assert asked == {"rate": 7.0, "quick": True}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rat", "1"], "--rat: no such flag; did you mean --rate?"),
        (["--zzz"], "--zzz: no such flag"),
        (["--rate", "x"], "--rate.*'x'"),
        (["--mode", "z"], "--mode.*'z'"),
        (["word"], "word"),
    ],
)
def test_a_parse_failure_is_one_line(argv, message, capsys):
    with pytest.raises(UserError, match=message) as caught:
        parse(*argv)
    assert "\n" not in caught.value.line
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rat: 1", "c.yaml: rat: no such flag; did you mean rate"),
        ("config: x.yaml", "config: no such flag"),
        ("- 1", "expected lines like"),
        ("a: [", "not a YAML file"),
        ("rate: fast", "rate: expected a number, found 'fast'"),
    ],
)
def test_a_bad_config_is_one_line(tmp_path, content, message):
    path = tmp_path / "c.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        parse("--config", str(path))
    assert "\n" not in caught.value.line


def test_a_missing_config(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        parse("--config", str(tmp_path / "none.yaml"))


def test_no_args_file_is_read(tmp_path, monkeypatch):
    (tmp_path / "train.args").write_text("--rate 9")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "train.py")])
    assert parse()[0][0].rate == 1.0


@dataclass
class Words:
    """Flags of a command that takes a word."""

    run: str = field(metadata={"help": "What to run.", "positional": True})
    name: str | None = None
    dry: bool = switch("Do nothing.")


@pytest.mark.parametrize("argv", ["--dry x --name n", "x --dry --name n", "--name n --dry x", "--name=n x --dry"])
def test_words_and_switches_stand_in_any_order(argv):
    (words,), asked = parse(*argv.split(), types=(Words,), takes_config=False)
    assert (words.run, words.name, words.dry) == ("x", "n", True) and asked == {"dry": True, "name": "n"}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--dry", "required: RUN"),
        ("x y", "unrecognized arguments: y"),
        ("x --config c.yaml", "--config: no such flag"),
        ("x --secret s", "--secret: not here"),
        ("x --secret=s", "--secret: not here"),
    ],
)
def test_words_that_are_wrong(argv, message):
    with pytest.raises(UserError, match=message):
        parse(*argv.split(), types=(Words,), takes_config=False, refused={"secret": "not here"})


def test_a_mapping_becomes_json():
    _, asked = parse("--config", str(RECIPES / "report.yaml"), "--use_cpu", types=ALL)
    assert asked["lr_scheduler_kwargs"] == '{"step_size": 10, "gamma": 0.1}'


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_recipe_is_parsed(recipe, tmp_path):
    (_, model, args), asked = parse("--config", str(recipe), "--use_cpu", "--output_dir", str(tmp_path), types=ALL)
    assert {**vars(model), **vars(args.resolve())}["num_train_epochs"] == asked["num_train_epochs"]


def test_the_report_recipe_holds_the_reports_settings(tmp_path):
    (_, model, args), _ = parse("--config", str(RECIPES / "report.yaml"), "--use_cpu", types=ALL)
    args = args.resolve()
    assert (args.learning_rate, args.per_device_train_batch_size, args.num_train_epochs) == (1e-4, 32, 25)
    assert (args.step_schedule.step_size, args.step_schedule.gamma) == (10, 0.1)
    assert (args.metric_for_best_model, args.greater_is_better, args.weight_decay) == ("loss", False, 0)
    assert (model.early_stopping_patience, model.layer_decay, model.random_erasing) == (5, 1.0, 0)


def test_recipes_travel_with_the_package():
    assert Path(rafdb_vit.__file__).parent / "recipes" == RECIPES
    assert (RECIPES / "demo.yaml").is_file()


@pytest.mark.parametrize("name", sorted(UNSUPPORTED_FLAGS))
def test_every_refused_flag_exists_and_is_refused_with_its_reason(name):
    fields = read_training_flags().__dataclass_fields__
    if name not in fields:
        assert name in ("enable_jit_checkpoint", "use_cache", "train_sampling_strategy", "fsdp_config")
        return
    flag = fields[name]
    value = "False" if flag.default is True else "True" if flag.default is False else "1"
    with pytest.raises(UserError, match=f"--{name}"):
        parse(f"--{name}", value, types=ALL, refused=UNSUPPORTED_FLAGS)


def test_run_command_turns_user_errors_into_status_2(capsys):
    def fails(argv):
        raise UserError("--x: no\ngood")

    assert run_command(fails) == 2
    assert capsys.readouterr() == ("", "error: --x: no good\n")
    assert run_command(lambda argv: None) == 0
    with pytest.raises(ZeroDivisionError):
        run_command(lambda argv: 1 / 0)


@pytest.mark.parametrize(("rank", "waits"), [("0", 0), ("1", 1)])
def test_other_processes_wait_until_the_main_one_has_said_what_is_wrong(rank, waits, monkeypatch, capsys):
    """A launcher ends all processes as soon as one has ended."""
    waited = []
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr("rafdb_vit.commands.parser.time.sleep", waited.append)

    def fails(argv):
        raise UserError("--x: wrong")

    assert run_command(fails) == 2
    assert len(waited) == waits and (capsys.readouterr().err == "") == bool(waits)
