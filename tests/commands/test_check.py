"""`check` from the command line to its exit status."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rafdb_vit.__main__ import main
from rafdb_vit.data.published import RAFDB
from tests.support.checked_data import again, face, paint, write_release, write_table

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write_release(tmp_path_factory.mktemp("whole") / "data")


@pytest.fixture
def damaged(whole, tmp_path):
    basic = shutil.copytree(whole, tmp_path / "data" / "basic")
    face(basic, "train_00009").write_bytes(b"")
    again(face(basic, "train_00002"), face(basic, "test_0003"))
    paint(basic / os.fsdecode(b"\xff.jpg"), 99)
    return basic.parent


@pytest.fixture
def check(monkeypatch, capsys):
    """Runs the command; returns the exit status, stdout, and stderr without its progress bars."""

    def run(*argv):
        monkeypatch.setattr(sys, "argv", ["rafdb-vit", "check", *map(str, argv)])
        status = main()
        out, err = capsys.readouterr()
        lines = [line for line in err.replace("\r", "\n").splitlines() if "image" not in line or "error" in line]
        return status, out, [line for line in lines if line.strip()]

    return run


def run_check(*argv, **settings):
    command = [sys.executable, "-m", "rafdb_vit", "check", *map(str, argv)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings)


def test_status_0_where_nothing_is_found(whole, check, monkeypatch):
    for split, each in (("train", 2), ("test", 1)):
        monkeypatch.setitem(RAFDB["basic"].counts, split, (each,) * 7)
        monkeypatch.setitem(RAFDB["basic"].totals, split, 7 * each)
    status, out, err = check(whole)
    assert (status, err) == (0, [])
    assert out.startswith(f"{whole}: official release, 7 classes, 21 images") and out.endswith("\nNothing found.\n")
    assert check(whole, "--json")[0] == 0


def test_status_1_where_something_is_found(damaged, check):
    before = {path: path.lstat().st_mtime_ns for path in damaged.rglob("*")}
    status, out, err = check(damaged)
    assert (status, err) == (1, [])
    assert "4 findings in 5 cases; training cannot use the data before what is marked * is mended." in out
    assert "      1 * unreadable image\n" in out
    assert "\n  basic/Image/aligned/train_00009_aligned.jpg: zero bytes\n" in out
    assert "\n  basic/\\udcff.jpg: no label speaks of this image" in out
    assert before == {path: path.lstat().st_mtime_ns for path in damaged.rglob("*")}


def test_json_is_all_that_stands_on_stdout(damaged, check):
    status, out, err = check(damaged, "--json")
    content = json.loads(out)
    assert (status, err) == (1, [])
    assert content["summary"] == {
        "unreadable image": 1,
        "near-duplicates across splits with different labels": 1,
        "counts are not the published ones": 2,
        "image without label": 1,
    }
    paths = [file["path"] for finding in content["findings"] for file in finding["files"]]
    assert len(paths) == 4 and all((damaged / path).is_file() for path in paths)


def test_as_a_process_of_its_own(damaged):
    process = run_check(damaged, "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and len(json.loads(out)["findings"]) == 5
    assert b"Traceback" not in err and b"Warning" not in err


def test_nobody_reading_any_more_is_no_fault(damaged):
    process = run_check(damaged)
    process.stdout.close()
    with process.stderr as errors:
        text = errors.read()
    assert process.wait(60) == 1 and b"Traceback" not in text and b"BrokenPipe" not in text


def test_help_imports_none_of_the_heavy_libraries():
    code = (
        "import sys\n"
        "sys.argv = ['rafdb-vit', 'check', '--help']\n"
        "from rafdb_vit.__main__ import main\n"
        "try: main()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = ('torch', 'torchvision', 'datasets', 'transformers.models', 'matplotlib', 'pandas', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"
    for words in ("DATA_DIR", "--subset", "--aligned", "--json", "--figures", "0 nothing found, 1 findings, 2"):
        assert words in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["."], "is empty"),
        ([], "DATA_DIR"),
        (["a", "b"], "unrecognized arguments: b"),
        (["a", "--jsn"], "--jsn: no such flag; did you mean --json?"),
        (["a", "--subset", "both"], "--subset"),
        (["a", "--figures"], "--figures"),
        (["a", "--config", "x.yaml"], "--config: no such flag"),
        (["x" * 5000], "cannot be looked at (File name too long)"),
        (["a", "--figures", "x" * 300], "cannot be looked at (File name too long)"),
        (["a", "--figures", "x/" * 5000], "cannot be looked at (File name too long)"),
        (["a", "--figures", "~nobody-of-that-name"], "--figures ~nobody-of-that-name: there is no such user"),
        (["~nobody-of-that-name"], "~nobody-of-that-name: there is no such user"),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else None,
)
def test_a_mistake_is_one_line_and_status_2(argv, words, check, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = check(*argv)
    assert (status, out, len(err)) == (2, "", 1)
    assert err[0].startswith("error: ") and words in err[0]


@pytest.mark.parametrize("place", ["", "Image", "new/deep"])
def test_pictures_do_not_go_into_the_data(place, whole, check):
    status, out, (line,) = check(whole, "--figures", whole / place)
    assert (status, out) == (2, "") and "lies in the data" in line
    assert not (whole / "new").exists()


@pytest.mark.parametrize("layout", ["link to the data", "table"])
def test_pictures_do_not_go_into_the_data_by_another_name(layout, whole, check, tmp_path):
    data, figures = whole, tmp_path / "link" / "figures"
    if layout == "table":
        data = write_table(tmp_path / "data") / "faces.csv"
        figures = data.parent / "figures"
    else:
        (tmp_path / "link").symlink_to(whole)
    status, out, (line,) = check(data, "--figures", figures)
    assert (status, out) == (2, "") and "lies in the data" in line
    assert not figures.exists()


@pytest.mark.parametrize(
    "make", [Path.touch, os.mkfifo, lambda path: path.symlink_to(path), lambda path: path.symlink_to("nowhere")]
)
def test_pictures_do_not_go_into_a_file(make, whole, check, tmp_path):
    make(tmp_path / "figures")
    status, out, (line,) = check(whole, "--figures", tmp_path / "figures")
    assert (status, out) == (2, "") and f"--figures {tmp_path / 'figures'}: " in line


def test_pictures_that_cannot_be_written(whole, check, tmp_path):
    (tmp_path / "file").touch()
    status, _, (line,) = check(whole, "--figures", tmp_path / "file" / "figures")
    assert status == 2 and line.endswith("cannot be written (Not a directory); take another folder")


def test_pictures_are_named_beside_the_report(damaged, check, tmp_path):
    status, out, err = check(damaged, "--json", "--figures", tmp_path / "new" / "figures")
    assert status == 1 and json.loads(out)
    paths = [tmp_path / "new/figures" / name for name in ("class_counts.png", "contact_sheet.png")]
    assert err == [f"Picture  {path}" for path in paths] and all(path.stat().st_size > 5_000 for path in paths)


def test_paths_below_home_can_be_written_short(whole, check, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "data")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    status, out, _ = check("~/data", "--figures", "~/figures")
    assert status == 1 and out.startswith(f"{tmp_path}/data: official release")
    assert (tmp_path / "figures/class_counts.png").is_file() and not (tmp_path / "~").exists()


def test_original_photographs(whole, check, tmp_path):
    status, _, (line,) = check(whole, "--aligned", "False")
    assert status == 2 and "Image/original: no such folder" in line
    basic = shutil.copytree(whole, tmp_path / "basic")
    (basic / "Image/original").mkdir()
    for path in (basic / "Image/aligned").iterdir():
        path.rename(basic / "Image/original" / path.name.replace("_aligned", ""))
    status, out, _ = check(basic, "--no_aligned")
    assert status == 1 and "21 images" in out and "1 finding in 2 cases" in out
