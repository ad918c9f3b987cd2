import os
import shlex
import sys
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

from rafdb_vit.runtime.errors import Interrupted, escape
from rafdb_vit.runtime.launch import naming_resume_command, render_command, render_resume_command
from tests.support.shells import read_words

CONFIGS = Path(__file__).parents[2] / "rafdb_vit" / "recipes" / "accelerate"


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--data_dir", "my faces"], "--data_dir 'my faces' --resume_from_checkpoint"),
        (["--resume_from_checkpoint", "--seed", "1"], "--seed 1 --resume_from_checkpoint"),
        (["--resume_from_checkpoint", "a/checkpoint-3", "--seed", "1"], "--seed 1 --resume_from_checkpoint"),
        (["--resume_from_checkpoint=a/checkpoint-3", "--seed", "1"], "--seed 1 --resume_from_checkpoint"),
        (["--seed", "1", "--overwrite_output_dir"], "--seed 1 --resume_from_checkpoint"),
    ],
)
def test_the_line_that_goes_on(monkeypatch, argv, expected):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert render_resume_command(argv) == f"python train.py {expected}"


@pytest.mark.parametrize(
    ("program", "environment", "start"),
    [
        ("/usr/bin/rafdb-vit", {}, "rafdb-vit train"),
        ("/x/rafdb_vit/__main__.py", {}, "python -m rafdb_vit train"),
        ("my_thesis.py", {}, "rafdb-vit train"),
        ("my_thesis.py", {"ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch -m rafdb_vit train"),
        ("train.py", {"ACCELERATE_MIXED_PRECISION": "no"}, "accelerate launch train.py"),
        ("train.py", {"ACCELERATE_MIXED_PRECISION": "bf16"}, "accelerate launch --mixed_precision bf16 train.py"),
        ("train.py", {"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4"}, "torchrun --nproc_per_node 4 train.py"),
    ],
)
def test_the_launcher_is_kept(monkeypatch, program, environment, start):
    monkeypatch.setattr(sys, "argv", [program])
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "LOCAL_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert render_resume_command([]) == f"{start} --resume_from_checkpoint"


def test_an_interruption_says_how_to_go_on():
    with pytest.raises(Interrupted) as stop, naming_resume_command(["--seed", "1"]):
        raise Interrupted(15)
    assert "before results.json was written. Go on with:\n" in stop.value.message
    assert stop.value.message.endswith("--seed 1 --resume_from_checkpoint")


def test_there_is_a_file_for_each_kind_of_launch():
    assert {path.name for path in CONFIGS.iterdir()} == {
        "one_gpu.yaml",
        "several_gpus.yaml",
        "fsdp.yaml",
        "two_machines.yaml",
    }


@pytest.mark.parametrize("path", sorted(CONFIGS.iterdir()), ids=lambda path: path.name)
def test_accelerate_reads_each_file_and_leaves_the_precision_to_us(path, monkeypatch):
    config = load_config_from_file(str(path))
    assert config.mixed_precision == "no"
    for name in [name for name in os.environ if name.startswith(("ACCELERATE_", "FSDP_"))]:
        monkeypatch.delenv(name)
    args, *_ = _validate_launch_command(launch_command_parser().parse_args(["--config_file", str(path), "train.py"]))
    assert args.num_processes == yaml.safe_load(path.read_text())["num_processes"]
    assert (args.use_fsdp, args.multi_gpu) == (path.name == "fsdp.yaml", "gpus" in path.name or "two" in path.name)
    if args.use_fsdp:
        assert int(args.fsdp_version) == 2


WORDS = ("a", "", "-x", "~", 'it\'s $(touch x) "q"', "a\nb", "\t", "\x1b]0;X\x07'\\", "\u202eé", "\u202f", "x\udcff")


@pytest.mark.parametrize("word", WORDS)
def test_a_shell_reads_the_words_that_were_rendered(word):
    line = render_command(["rafdb-vit", word, "b c"])
    assert read_words(line) == ["rafdb-vit", word, "b c"]
    assert escape(line) == line
    if escape(word) == word:
        assert shlex.split(line) == ["rafdb-vit", word, "b c"]


def test_the_line_that_goes_on_is_quoted(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["my $(x)/train.py"])
    line = render_resume_command(["--data_dir", "it's $(touch x)", "--run_name=a b"])
    assert read_words(line)[1:4] == ["my $(x)/train.py", "--data_dir", "it's $(touch x)"]


@pytest.mark.parametrize("flag", ["--overwrite-output-dir", "--resume-from-checkpoint", "--overwrite_output_dir"])
@pytest.mark.parametrize("value", [[], ["True"]])
def test_the_line_that_goes_on_leaves_flags_out_however_they_are_joined(monkeypatch, flag, value):
    monkeypatch.setattr(sys, "argv", ["train.py"])
    line = render_resume_command([flag, *value, "--data-dir", "faces"])
    assert read_words(line)[1:] == ["train.py", "--data-dir", "faces", "--resume_from_checkpoint"]
