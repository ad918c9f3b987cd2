"""Help in two pages, and what is answered before anything heavy is imported."""

import re
import subprocess
import sys

import pytest

from rafdb_vit.__main__ import VERBS
from rafdb_vit.commands.parser import run_command
from rafdb_vit.training.flag_checks import UNSUPPORTED_FLAGS
from rafdb_vit.training.flags import GROUPS
from rafdb_vit.training.training_flags import read_training_flags

HEAVY = ["torch", "transformers", "datasets", "evaluate", "accelerate", "numpy", "scipy", "PIL", "matplotlib"]


def show(verb, page, capsys, monkeypatch, columns=110):
    from importlib import import_module

    monkeypatch.setenv("COLUMNS", str(columns))
    with pytest.raises(SystemExit) as ended:
        import_module(f"rafdb_vit.commands.{verb}").main([page])
    assert ended.value.code == 0
    return capsys.readouterr().out


def list_flags(page):
    return re.findall(r"(?m)^  (--\w+)", page)


def test_everyday_flags_stand_once_each_with_an_example_and_their_group(capsys, monkeypatch):
    page = show("train", "--help", capsys, monkeypatch)
    flags = list_flags(page)
    assert len(flags) == len(set(flags)) and 20 <= len(flags) <= 32
    assert re.findall(r"(?m)^(\w+)$", page) == list(GROUPS)
    assert {"--data_dir", "--learning_rate", "--num_train_epochs", "--output_dir", "--push_to_hub", "--seed"} <= {
        *flags
    }
    assert re.search(r"--learning_rate 3e-5 .*Default: 0\.0001\.", page) and "--data_dir RAFDB" in page
    assert page.startswith("usage: python train.py --data_dir RAFDB [flags]") and "--help_all lists every flag" in page


def test_the_second_page_has_every_flag_that_works(capsys, monkeypatch):
    everyday, every = (show("train", page, capsys, monkeypatch) for page in ("--help", "--help-all"))
    flags, known = list_flags(every), {*vars(read_training_flags())["__dataclass_fields__"]}
    assert len(flags) == len(set(flags)) and {*list_flags(everyday)} < {*flags}
    shown = {flag.removeprefix("--") for flag in flags}
    assert known - shown == {name for name in UNSUPPORTED_FLAGS if name in known} and not shown & {*UNSUPPORTED_FLAGS}


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_lines_stay_within_the_terminal(columns, capsys, monkeypatch):
    page = show("evaluate", "--help_all", capsys, monkeypatch, columns)
    assert all(len(line) <= max(columns, 80) for line in page.splitlines())


@pytest.mark.parametrize("verb", sorted({*VERBS} - {"train", "evaluate"}))
def test_other_commands_have_one_page(verb, capsys, monkeypatch):
    page = show(verb, "-h", capsys, monkeypatch)
    assert "--help_all" not in page and list_flags(page) and "usage: " in page
    with pytest.raises(SystemExit):
        raise SystemExit(
            run_command(lambda _: __import__("rafdb_vit.commands.check").commands.check.main(["--help_all"]))
        )
    assert "--help_all: no such flag" in capsys.readouterr().err


def test_help_and_mistakes_are_answered_before_anything_heavy_is_imported(tmp_path):
    """Every verb in one process, since a process costs a tenth of a second."""
    wrong = [
        ["train", "--lr", "3"],
        ["train", "--data_dir", str(tmp_path / "none"), "--seed", "x"],
        ["train", "--data_dir", str(tmp_path), "--learning_rate", "-1"],
        ["train", "--data_dir", str(tmp_path), "--report_to", "none", "--run_name", "x"],
        ["train", "--config", str(tmp_path / "none.yaml")],
        ["predict", "x.jpg"],
        ["evaluate", str(tmp_path), "--split", "dev"],
        ["check"],
    ]
    helped = [[verb, "--help"] for verb in VERBS] + [["train", "--help_all"], ["evaluate", "--help_all"]]
    code = (
        "import sys\nfrom rafdb_vit.__main__ import _dispatch\nfrom rafdb_vit.commands.parser import run_command\n"
        f"for words in {wrong}:\n    assert run_command(lambda _: _dispatch(words)) == 2, words\n"
        f"for words in {helped}:\n    try: _dispatch(words)\n    except SystemExit as end: assert end.code == 0\n"
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and len(done.stderr.splitlines()) == len(wrong)


@pytest.mark.parametrize("data", ["none", "file.txt", "empty", "columns.csv"])
def test_wrong_data_is_answered_without_torch(data, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "columns.csv").write_text("Who;Where;When\na;b;c\n")
    (tmp_path / "file.txt").write_text("x")
    code = (
        "import sys\nfrom rafdb_vit.commands.train import main\nfrom rafdb_vit.commands.parser import run_command\n"
        f"status = run_command(lambda _: main(['--data_dir', {str(tmp_path / data)!r}]))\n"
        "print(status, sorted({'torch', 'transformers', 'datasets', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "2 []" and data in done.stderr and len(done.stderr.splitlines()) == 1


def test_pictures_that_are_not_there_are_named_without_torch(tmp_path):
    (tmp_path / "model").mkdir()
    words = ["predict", "none.jpg", str(tmp_path / "other.png"), "--model", str(tmp_path / "model")]
    code = (
        "import sys\nfrom rafdb_vit.__main__ import _dispatch\nfrom rafdb_vit.commands.parser import run_command\n"
        f"status = run_command(lambda _: _dispatch({words}))\nprint(status, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.strip() == "1 False"
    assert [line.split(";")[0] for line in done.stderr.splitlines()] == [
        "not read: none.jpg: no such file",
        f"not read: {tmp_path / 'other.png'}: no such file",
    ]


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        (["check", "--data_dir", "/none"], "/none: no such folder"),
        (["check", "--data-dir=/none"], "/none: no such folder"),
        (["predict", "--image", "/none.jpg", "--model", "."], "not read: /none.jpg"),
        (["predict", "--model", ".", "--source", "/none.jpg", "/other.jpg"], "not read: /other.jpg"),
        (["evaluate", "--model", "/none"], "MODEL: no folder /none"),
        (["evaluate", "--checkpoint", "/none", "--split", "test"], "MODEL: no folder /none"),
        (["push", "--run", "/none", "--repo_id", "a/b"], "RUN: no folder /none"),
    ],
)
def test_a_flag_before_what_stands_without_one_is_taken_as_meant(words, taken, capsys):
    from rafdb_vit.__main__ import _dispatch

    assert run_command(lambda _: _dispatch(words)) in (1, 2)
    assert taken in capsys.readouterr().err


def test_what_needs_no_model_imports_no_torch(tmp_path):
    from tests.support.faces import paint_face
    from tests.support.finished_run import write_finished_run

    for name in ("happy", "sad"):
        (tmp_path / "faces" / "train" / name).mkdir(parents=True)
        for number in range(2):
            paint_face(number + 2 * len(name), number).save(tmp_path / "faces" / "train" / name / f"{number}.png")
    runs = [str(write_finished_run(tmp_path / name) or tmp_path / name) for name in ("one", "two")]
    words = [["check", str(tmp_path / "faces")], ["summarize", *runs], ["compare", *runs]]
    code = (
        "import sys\nfrom rafdb_vit.__main__ import _dispatch\nfrom rafdb_vit.commands.parser import run_command\n"
        f"print([run_command(lambda _: _dispatch(line)) for line in {words}])\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'accelerate', 'evaluate', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
