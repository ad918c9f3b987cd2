"""What reaches a terminal: names that other people chose steer nothing there, whichever verb repeats them."""

import ast
import csv
import json
import re
import sys
import warnings
from pathlib import Path

import pytest
import yaml
from tqdm import tqdm

import rafdb_vit
from rafdb_vit.__main__ import main
from rafdb_vit.commands.parser import run_command
from rafdb_vit.runtime.console import say
from rafdb_vit.runtime.errors import Interrupted, UserError
from tests.conftest import nothing_drawn
from tests.support.faces import paint_face
from tests.support.finished_run import write_as_a_run, write_finished_run
from tests.support.models import save_vit

PACKAGE = Path(rafdb_vit.__file__).parent
STEERING = "\x1b]0;X\x07\u202e"
LINE = f"\nforged{STEERING}"
BARS = re.compile(r"\x1b\[A")
"""What tqdm writes where bars stand below each other."""


def is_printed_by_its_code(text):
    return not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", text)


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a verb; checks what it prints, and returns the exit status, stdout and stderr."""

    def call(*argv, status=None):
        monkeypatch.setattr(sys, "argv", ["rafdb-vit", *map(str, argv)])
        with nothing_drawn():
            ended = main()
        out, err = capsys.readouterr()
        assert status in (None, ended), err
        assert is_printed_by_its_code(out), ascii(out)
        assert is_printed_by_its_code(BARS.sub("", err).replace("\r", "")), ascii(err)
        assert "\nforged" not in out + err, out + err
        return ended, out, err

    return call


@pytest.fixture(scope="module")
def names():
    return [f"class {i}{STEERING}" for i in range(3)]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A table of faces in a folder of such a name; data with such names of files and classes is refused."""
    folder = tmp_path_factory.mktemp("data") / f"faces{LINE}"
    folder.mkdir()
    rows = []
    for code in range(3):
        for i, split in enumerate(("train",) * 4 + ("test",) * 2):
            paint_face(code + 1, i).save(folder / f"{code}-{i}.png")
            rows.append((f"{code}-{i}.png", f"class {code}", split))
    odd_classes = [(file, label + STEERING, split) for file, label, split in rows]
    odd_files = [(f"{file}{LINE}", label, split) for file, label, split in rows]
    for name, content in (("faces", rows), ("classes", odd_classes), ("files", odd_files)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "label", "split"), *content])
    return folder / "faces.csv"


@pytest.fixture(scope="module")
def model(tmp_path_factory, names):
    return save_vit(tmp_path_factory.mktemp("models") / f"model{LINE}", names=names)


@pytest.fixture
def run(tmp_path, names):
    """A finished run whose folder and classes have such names."""
    folder = write_finished_run(tmp_path / f"run{LINE}", f"faces{STEERING}", names=names)
    content = json.loads((folder / "results.json").read_text())
    data = content["protocol"]["data"]
    for counts in (*data["found"].values(), *data["used"].values()):
        counts.clear()
        counts.update(dict.fromkeys(names, 50))
    write_as_a_run(folder, {"results.json": json.dumps(content)})
    return folder


def train(command, table, model, out, *more, **expected):
    quick = ["--use_cpu", "--bf16", "False", "--max_steps", 2, "--eval_strategy", "steps", "--save_strategy", "steps"]
    quick += ["--eval_steps", 1, "--save_steps", 1, "--dataloader_num_workers", 0, "--validation_fraction", 0.3]
    words = ["--data_dir", table, "--model_name_or_path", model, "--output_dir", out]
    return command("train", *words, *quick, *more, **expected)


def test_train(command, table, model, tmp_path):
    out_dir = tmp_path / f"out{LINE}"
    _, out, _ = train(command, table, model, out_dir, status=0)
    assert "Run folder  " in out and "replaced (the checkpoint's classes are class 0\\x1b]0;X" in out
    _, _, err = train(command, table, model, out_dir, status=2)
    assert "is not empty" in err and len(err.splitlines()) == 1
    train(command, table, model, out_dir, "--resume_from_checkpoint", f"nothing{LINE}", status=2)
    train(command, table, tmp_path / f"nothing{LINE}", tmp_path / "o", status=2)
    train(command, table, model, tmp_path / "o", f"--nothing{LINE}", status=2)
    for name in ("classes", "files"):
        _, _, err = train(command, table.with_stem(name), model, tmp_path / "o", status=2)
        assert "\\x1b]0;X\\x07\\u202e" in err
    _, out, _ = command("evaluate", out_dir, "--use_cpu", status=0)
    assert "Settings    of " in out and "The same metrics as in" in out


def test_evaluate(command, table, model, tmp_path):
    extra = save_vit(tmp_path / f"extra{LINE}", names=[*(f"class {i}" for i in range(3)), f"other{STEERING}"])
    words = ["--data_dir", table, "--output_dir", tmp_path / f"out{LINE}", "--use_cpu"]
    _, out, _ = command("evaluate", extra, *words, status=0)
    assert "Left out    other\\x1b]0;X" in out
    command("evaluate", model, *words, status=2)
    command("evaluate", f"nothing{LINE}", "--data_dir", table, status=2)
    (extra / "training_config.yaml").write_text(yaml.safe_dump({"split_seed": f"x{LINE}"}))
    _, _, err = command("evaluate", extra, *words, status=2)
    assert "split_seed: expected a whole number, found 'x\\nforged" in err


def test_predict(command, table, model, tmp_path):
    bad = tmp_path / f"bad{LINE}.png"
    bad.write_bytes(b"")
    _, out, err = command("predict", table.parent, bad, "--model", model, "--use_cpu", status=1)
    assert len(out.splitlines()) == 18 and len(err.splitlines()) == 1 and "bad forged\\x1b" in err
    _, out, _ = command("predict", table.parent, bad, "--model", model, "--json", "--use_cpu", status=1)
    assert out.isascii() and json.loads(out)[-1]["file"] == str(bad)
    command("predict", table, "--model", f"nothing{LINE}", status=2)


def test_compare_and_summarize(command, tmp_path, names, run):
    for name in ("a", "b"):
        folder = tmp_path / f"{name}{LINE}"
        folder.mkdir()
        head = ["file", "label", "predicted", *(f"probability_{n}" for n in names), f"group_g{STEERING}"]
        with (folder / "predictions.csv").open("w", newline="") as file:
            rows = [(f"{i}{LINE}", label, names[0], 0.5, 0.25, 0.25, f"h{LINE}") for i, label in enumerate(names * 3)]
            csv.writer(file).writerows([head, *rows])
    folders = [tmp_path / f"{name}{LINE}" for name in ("a", "b")]
    _, out, _ = command("compare", *folders, status=0)
    assert "f1 of class 0\\x1b]0;X" in out
    _, out, _ = command("compare", *folders, "--json", status=0)
    assert out.isascii() and json.loads(out)
    command("compare", folders[0], f"nothing{LINE}", status=2)
    other = Path(f"{run} 2")
    content = json.loads((run / "results.json").read_text())
    content["protocol"]["training"]["seed"] = 7
    write_as_a_run(other, {"results.json": json.dumps(content)})
    _, out, _ = command("summarize", run, other, status=0)
    assert "f1 of class 0\\x1b]0;X" in out or "class 0\\x1b]0;X" in out
    _, out, _ = command("summarize", run, other, "--json", status=0)
    assert out.isascii() and json.loads(out)
    command("summarize", run, run, status=2)
    command("summarize", run, f"nothing{LINE}", status=2)


def test_check(command, table, tmp_path):
    _, out, err = command("check", table, "--figures", tmp_path / f"figures{LINE}", status=0)
    assert "class 0" in out and "Picture  " in err
    for name in ("classes", "files"):
        _, out, err = command("check", table.with_stem(name))
        assert "\\x1b]0;X\\x07\\u202e" in out + err
    for name, status in (("faces", 0), ("files", 1)):
        _, out, _ = command("check", table.with_stem(name), "--json", status=status)
        assert out.isascii() and json.loads(out)
    command("check", f"nothing{LINE}", status=2)
    command("check", table, "--subset", f"x{LINE}", status=2)


def test_push(command, run):
    _, out, _ = command("push", run, "--repo_id", "a/b", "--license", "mit", "--dry_run", "--force", status=2)
    assert "Dry run, nothing was sent" in out
    _, _, err = command("push", f"nothing{LINE}", "--repo_id", "a/b", "--dry_run", status=2)
    assert "\\x1b]0;X\\x07" in err and "no folder" in err
    _, _, err = command("push", run, "--repo_id", f"a/b{LINE}", "--license", "mit", "--dry_run", "--force", status=2)
    assert "\\x1b]0;X\\x07" in err and "--repo_id a/b" in err


def test_no_verb(command):
    _, _, err = command(f"nothing{LINE}", status=2)
    assert "\\x1b]0;X\\x07" in err and "no such verb" in err
    _, out, _ = command("--version", status=0)
    assert out.startswith("rafdb-vit ")


def test_names_that_people_write_are_shown_as_they_are(command, model, tmp_path):
    names = ["Screenshot 9:41\u202fAM.png", "👩\u200d🔬.png", "喜び é.png"]
    for i, name in enumerate(names):
        paint_face(1, i).save(tmp_path / name)
    _, out, _ = command("predict", tmp_path, "--model", model, "--use_cpu", status=0)
    assert all(name in out for name in names)


def test_errors_warnings_and_logs_of_libraries_too(capsys, caplog):
    import logging

    handler = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger("somebody")
    logger.addHandler(handler)
    logger.propagate = False

    def work(argv):
        logger.warning("a %s b", LINE)
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            sys.stderr.write(warnings.formatwarning(STEERING, UserWarning, "x.py", 1))
        raise Interrupted(15, f"saved {STEERING}")

    assert run_command(work) == 143
    logger.removeHandler(handler)
    err = capsys.readouterr().err
    assert is_printed_by_its_code(err) and err.count("\\u202e") == 3, err

    def fail(argv):
        raise UserError(f"a{LINE}")

    assert run_command(fail) == 2
    assert capsys.readouterr().err == "error: a forged\\x1b]0;X\\x07\\u202e\n"
    assert warnings.formatwarning(STEERING, UserWarning, "x.py", 1).count(STEERING) == 1


def name_call(node):
    """Returns what a call calls, as it is written: `sys.stdout.write`."""
    return ast.unparse(node.func)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_module_prints(path):
    if path.name == "console.py":
        return
    calls = {name_call(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    writing = re.compile(r"print|pprint|tqdm\.write|.*\bstd(out|err)\.(write|writelines|buffer\.write)|os\.write")
    assert not [call for call in calls if writing.fullmatch(call)]
    assert "sys.stdout" not in path.read_text() and "sys.stderr" not in path.read_text()
    dumps = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    if path.parent.name == "commands":  # what is printed for programs stays ASCII
        assert not [node for node in dumps if any(word.arg == "ensure_ascii" for word in node.keywords)]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that stands for a full disk")
def test_a_full_disk_under_stdout_is_said_when_all_is_done_and_one_under_stderr_is_not(monkeypatch, capsys):
    for stream, status in (("stdout", 2), ("stderr", 0)):
        done = []
        with Path("/dev/full").open("w") as full, monkeypatch.context() as patch:
            patch.setattr(sys, stream, full)
            assert run_command(lambda argv, done=done: done.extend(say(f"{i}") for i in tqdm(range(3)))) == status
        assert len(done) == 3
    out, err = capsys.readouterr()
    assert out == "0\n1\n2\n"
    assert "error: stdout: cannot be written (No space left on device); the files that were written are whole" in err


def test_a_current_folder_that_was_deleted_is_one_line(tmp_path, monkeypatch, capsys):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    assert run_command(main) == 2
    assert capsys.readouterr().err.startswith("error: the current folder is not there any more")
