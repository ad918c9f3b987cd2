"""What is said of flags that do not exist, and which flags messages name."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import rafdb_vit
from rafdb_vit.__main__ import VERBS
from rafdb_vit.commands import flag_names, parser
from rafdb_vit.commands.flag_names import describe_unknown, find_near, fold_flag
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.flag_checks import UNSUPPORTED_FLAGS

PACKAGE = Path(rafdb_vit.__file__).parent
MENTIONED = re.compile(r"(?<![\w-])--([a-z][a-z_0-9]*[a-z0-9])(?![\w*])")
OF_LAUNCHERS = {"multi_gpu", "num_processes", "mixed_precision", "nproc_per_node", "config_file", "fsdp_version"}
"""Flags of `accelerate launch` and torchrun, which messages name with their program."""
OF_STYLES = {"blue", "red", "muted", "grid", "card"}
"""Colours of the page's style sheet."""


@pytest.fixture(scope="module")
def verbs():
    """The flags of each verb, those that it refuses and what stands on its command line without one."""
    found, build = {}, parser._build_parser
    with pytest.MonkeyPatch.context() as patch:
        for verb in VERBS:
            built = []

            def keep(types, refused, *, built=built, **settings):
                built.append((build(types, refused, **settings), refused))
                raise UserError("as far as it goes")

            patch.setattr(parser, "_build_parser", keep)
            with pytest.raises(UserError, match="as far"):
                importlib.import_module(f"rafdb_vit.commands.{verb}").main(["x"])
            made, refused = built[0]
            flags = {fold_flag(option) for action in made._actions for option in action.option_strings}
            words = [action.dest for action in made._actions if not action.option_strings]
            found[verb] = flags - {"h"}, dict(refused), words
    return found


def say(verbs, verb, name):
    flags, refused, words = verbs[verb]
    return describe_unknown(name, flags, refused=refused, positionals=words)


FOREIGN = sorted(
    {name for foreign in flag_names._FOREIGN for name in foreign.names.split()} | {*flag_names._EVERYWHERE}
)


@pytest.mark.parametrize("name", FOREIGN)
def test_every_suggestion_is_a_flag_of_the_verb_that_is_not_refused(verbs, name):
    for verb, (flags, refused, words) in verbs.items():
        said = say(verbs, verb, name)
        for mentioned in MENTIONED.findall(said.replace("launch --multi_gpu", "")):
            assert mentioned in flags and mentioned not in refused, (verb, said)
        if "without a flag" in said:
            assert said.split("as ")[1].lower() in words


def test_every_foreign_name_is_answered_somewhere_and_is_no_flag_of_training(verbs):
    for name in FOREIGN:
        answers = [say(verbs, verb, name) for verb in VERBS]
        assert any(answer != flag_names.UNKNOWN for answer in answers), name
        assert name in ("repo_id", "disable_tqdm", "model") or name not in verbs["train"][0] - {*UNSUPPORTED_FLAGS}, (
            name
        )


def test_near_misses_of_every_flag_are_recognised(verbs):
    for verb, (flags, refused, _) in verbs.items():
        usable = flags - {*refused}
        for flag in usable:
            swapped = flag[:-2] + flag[-1] + flag[-2] if re.search(r"[a-z]{4}$", flag) else flag
            for written in (flag, flag.replace("_", ""), swapped):
                assert find_near(written, usable) in usable, (verb, written)


@pytest.mark.parametrize(
    ("verb", "flag", "said"),
    [
        ("train", "--lr", "here it is --learning_rate"),
        ("train", "-lr", "here it is --learning_rate"),
        ("train", "--epochs", "here it is --num_train_epochs"),
        ("train", "--batch-size", "here it is --per_device_train_batch_size"),
        ("train", "--Batch_Size", "here it is --per_device_train_batch_size"),
        ("evaluate", "--batch_size", "here it is --per_device_eval_batch_size"),
        ("train", "--model", "here it is --model_name_or_path"),
        ("evaluate", "--model", "here it stands without a flag, as MODEL"),
        ("push", "--model", "here it stands without a flag, as RUN"),
        ("train", "--data", "here it is --data_dir"),
        ("check", "--data_dir", "here it stands without a flag, as DATA_DIR"),
        ("train", "--workers", "here it is --dataloader_num_workers"),
        ("train", "--save-dir", "here it is --output_dir"),
        ("train", "--resume", "here it is --resume_from_checkpoint"),
        ("train", "--patience", "here it is --early_stopping_patience"),
        ("train", "--img_size", "here it is --image_size, with --from_scratch; a pretrained model has its own"),
        ("train", "--load-best-model-at-end", UNSUPPORTED_FLAGS["load_best_model_at_end"]),
        ("train", "--rate", flag_names.UNKNOWN),
        ("train", "--zzz", flag_names.UNKNOWN),
        ("train", "--fp32", flag_names.UNKNOWN),
        ("summarize", "--device", flag_names.UNKNOWN),
        ("train", "--leaning_rate", "no such flag; did you mean --learning_rate?"),
        ("train", "--max_step", "no such flag; did you mean --max_steps?"),
        ("train", "--dataloader_workers", flag_names.UNKNOWN),
        ("predict", "--models", "no such flag; did you mean --model?"),
    ],
)
def test_what_is_said(verbs, verb, flag, said):
    assert say(verbs, verb, flag) == said


@pytest.mark.parametrize("name", ["device", "gpu", "gpus"])
@pytest.mark.parametrize("verb", ["train", "evaluate", "predict"])
def test_how_a_gpu_is_chosen(verbs, verb, name):
    said = say(verbs, verb, name)
    assert "CUDA_VISIBLE_DEVICES" in said and "--use_cpu" in said


@pytest.mark.parametrize("verb", ["evaluate", "check", "predict", "push"])
def test_bars_of_other_verbs(verbs, verb):
    assert "TQDM_DISABLE=1" in say(verbs, verb, "--disable_tqdm")


def test_a_setting_of_a_file_or_of_python_is_answered_alike(tmp_path):
    (tmp_path / "c.yaml").write_text("lr: 1")
    with pytest.raises(UserError, match=r"c\.yaml: lr: here it is learning_rate$"):
        rafdb_vit.train(config=str(tmp_path / "c.yaml"))
    with pytest.raises(UserError, match="^--lr: here it is --learning_rate$"):
        rafdb_vit.train(lr=1)


def test_hyphens_are_underscores_for_switches_too(verbs):
    made = parser._build_parser(
        (importlib.import_module("rafdb_vit.commands.push").PushArguments,), {}, takes_config=False
    )
    assert made.parse_args(["run", "--repo-id", "a/b", "--dry-run"]).dry_run


def literals(path):
    """Returns the texts of a file that are no docstrings."""
    tree = ast.parse(path.read_text())
    bodies = [node.body for node in ast.walk(tree) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)]
    said = {id(line.value) for body in bodies for line in body if isinstance(line, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_messages_name_flags_that_exist_and_are_not_refused(verbs, path):
    known = set.union(*(flags for flags, _, _ in verbs.values()))
    refused = {*UNSUPPORTED_FLAGS}
    for text in literals(path):
        for flag in {*MENTIONED.findall(re.sub(r"var\(--\w+\)", "", text))} - OF_LAUNCHERS - OF_STYLES - {"version"}:
            assert flag in known, f"{flag} in {text!r}"
            is_refusal = text.startswith(f"--{flag} ")
            assert flag not in refused or is_refusal, f"{flag} in {text!r}"


@pytest.mark.parametrize(
    "steps", [("2", "3"), ("0.1", "3"), ("0.2", "0.3"), ("3", "0.5")], ids=lambda steps: "-".join(steps)
)
def test_checkpoints_between_evaluations(steps, tmp_path):
    flags = {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": steps[0], "save_steps": steps[1]}
    with pytest.raises(UserError, match="^--save_steps .*expected a multiple of --eval_steps") as caught:
        rafdb_vit.train(data_dir=str(tmp_path), use_cpu=True, **flags)
    assert "load_best_model_at_end" not in caught.value.line
