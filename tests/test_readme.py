"""The README, held against the code: its commands parse, its files exist, its snippets run."""

import re
import shlex
import shutil
from dataclasses import fields
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from rafdb_vit.commands.check import CheckArguments
from rafdb_vit.commands.compare import CompareArguments
from rafdb_vit.commands.evaluate import EvaluateArguments
from rafdb_vit.commands.parser import parse_arguments
from rafdb_vit.commands.predict import PredictArguments
from rafdb_vit.commands.push import PushArguments
from rafdb_vit.commands.summarize import SummarizeArguments
from rafdb_vit.commands.train import parse_training_arguments
from rafdb_vit.training.flags import DataArguments, FormArguments, ModelArguments
from rafdb_vit.training.training_flags import NEWEST_CHECKPOINT, read_training_flags

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.M | re.S)


COMMANDS = [line.strip() for block in blocks("bash") for line in block.splitlines()]


def test_the_first_commands_do_all_the_set_up():
    assert "pip install -e . && python train.py --demo" in COMMANDS[:1]
    assert 'pip install -e ".[test]" && pytest' in COMMANDS


def test_it_is_short_and_shows_the_page():
    assert len(README.splitlines()) <= 350
    pictures = re.findall(r'<img src="([^"]+)"', README)
    assert pictures and all((ROOT / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("command", [line for line in COMMANDS if "train.py" in line])
def test_every_training_command_is_parsed(command, monkeypatch, tmp_path):
    shutil.copytree(ROOT / "rafdb_vit" / "recipes", tmp_path / "rafdb_vit" / "recipes")
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command.split("&&")[-1].replace("$seed", "1"))
    if words[0] == "accelerate":
        launcher = launch_command_parser().parse_args(words[2:])
        assert launcher.training_script == "train.py" and Path(launcher.config_file).exists()
    else:
        assert words[:2] == ["python", "train.py"]
    data, *_ = parse_training_arguments(words[words.index("train.py") + 1 :])
    assert data.demo or data.data_dir in ("RAFDB", "FACES", "faces.csv")


def test_it_names_only_flags_that_there_are():
    flags = {of.name for made in (DataArguments, ModelArguments, read_training_flags()) for of in fields(made)}
    verbs = (CheckArguments, EvaluateArguments, PredictArguments, PushArguments, CompareArguments, SummarizeArguments)
    flags |= {of.name for made in verbs for of in fields(made)} | {"help", "help_all", "config", "config_file"}
    text = README.replace(blocks("sbatch")[0], "")
    assert {*re.findall(r"(?<![\w-])--([a-z_]+)", text)} <= flags


def test_the_checking_command_is_parsed():
    (command,) = [line for line in COMMANDS if line.startswith("rafdb-vit check RAFDB")]
    (check,), _ = parse_arguments(
        (CheckArguments,), shlex.split(command)[2:], prog="p", description="d", takes_config=False
    )
    assert (check.data_dir, check.figures) == ("RAFDB", "pictures")
    assert "rafdb-vit check FACES" in COMMANDS


@pytest.mark.parametrize(
    ("verb", "types"),
    [
        ("predict", (PredictArguments,)),
        ("evaluate", (EvaluateArguments, FormArguments)),
        ("compare", (CompareArguments,)),
        ("summarize", (SummarizeArguments,)),
    ],
)
def test_the_commands_of_a_verb_are_parsed(verb, types):
    commands = [shlex.split(line) for line in COMMANDS if line.startswith(f"rafdb-vit {verb} ")]
    for words in commands:
        parsed, asked = parse_arguments(types, words[2:], prog="p", description="d", takes_config=False)
        assert len(parsed) == len(types) and len(asked) == sum(word.startswith("--") for word in words)
    assert commands


@pytest.mark.parametrize("command", [line for line in COMMANDS if "push_to_hub.py" in line])
def test_every_publishing_command_is_parsed(command):
    words = shlex.split(command)
    assert words[:2] == ["python", "push_to_hub.py"]
    (push,), _ = parse_arguments((PushArguments,), words[2:], prog="p", description="d", takes_config=False)
    assert push.repo_id == "USER/NAME" and push.run == "runs/RAFDB-vit-base-patch16-224-in21k"


def test_the_slurm_job_is_short_and_its_command_is_parsed():
    (job,) = blocks("sbatch")
    lines = job.splitlines()
    assert len(lines) == 12
    assert {"#SBATCH --signal=TERM@120", "#SBATCH --requeue"} <= set(lines)
    (command,) = [line for line in lines if line.startswith("srun ")]
    words = shlex.split(command)
    assert words[:3] == ["srun", "python", "train.py"]
    flags = parse_training_arguments(words[3:])[2]
    assert flags.given["resume_from_checkpoint"] == NEWEST_CHECKPOINT


def tree_paths():
    """Returns the paths that the tree names, folders with a slash."""
    folders, found = [], []
    for line in README.split("## The tree")[1].split("```")[1].strip().splitlines():
        depth, name = (len(line) - len(line.lstrip())) // 2, line.split()[0]
        folders[depth:] = [name] if name.endswith("/") else []
        found.append("".join(folders) if name.endswith("/") else "".join([*folders[:depth], name]))
    return found


def test_every_path_of_the_tree_exists():
    for path in tree_paths():
        assert (ROOT / path).exists(), path


def test_every_room_is_in_the_tree_and_it_is_half_a_screen():
    rooms = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "rafdb_vit").rglob("__init__.py")}
    assert rooms <= set(tree_paths()) and len(tree_paths()) <= 18


def test_the_snippets_run(faces_dir, tiny_vit, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(faces_dir, tmp_path / "RAFDB" / "basic")
    shutil.copy(faces_dir / "Image" / "aligned" / "test_0001_aligned.jpg", tmp_path / "face.jpg")
    train, *use = sorted(blocks("python"), key=lambda block: "load_rafdb" not in block)
    assert train.count("import ") == 1 and len(train.strip().splitlines()) <= 11
    train = train.replace("google/vit-base-patch16-224-in21k", str(tiny_vit)).replace(
        "num_train_epochs=25", "num_train_epochs=1, use_cpu=True, bf16=False, per_device_train_batch_size=16"
    )
    exec(compile(train, "snippet", "exec"), {})
    assert "macro avg" in capsys.readouterr().out
    (tmp_path / "runs" / "mine" / "best").rename(tmp_path / "runs" / "RAFDB-vit-base-patch16-224-in21k")
    for snippet in use:
        names = {}
        exec(compile(snippet, "snippet", "exec"), names)
        if "vector" in names:
            assert len(names["vector"]) == 32
    assert "'Happiness'" in capsys.readouterr().out
