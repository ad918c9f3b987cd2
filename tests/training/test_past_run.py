import json
import os
import shutil
from pathlib import Path

import pytest
import yaml

from rafdb_vit.data.dataset import load_data
from rafdb_vit.data.form import DataForm
from rafdb_vit.data.splits import hash_files
from rafdb_vit.training.past_run import find_run
from tests.support.finished_run import write_finished_run
from tests.support.refusals import refused
from tests.support.undivided import write_undivided


def write_run(folder, **settings):
    folder.mkdir(parents=True)
    (folder / "training_config.yaml").write_text(yaml.safe_dump(settings))
    return folder


def choose(run, **given):
    past = find_run(str(run))
    return past.choose_settings(past.settings, given=given)


def test_a_run_and_its_checkpoints_have_its_settings(tmp_path):
    run = write_run(tmp_path / "run", data_dir="a", seed=3)
    checkpoint = run / "checkpoint-12"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{}")
    (tmp_path / "link").symlink_to(checkpoint)
    assert find_run(str(run)).is_top and find_run(str(run)).settings == {"data_dir": "a"}
    for place in (checkpoint, tmp_path / "link", f"{checkpoint}/../checkpoint-12"):
        past = find_run(str(place))
        assert not past.is_top and past.folder == Path(os.path.realpath(run)) and past.settings == {"data_dir": "a"}


@pytest.mark.parametrize("name", ["checkpoint-12", "checkpoint-x", "checkpoint-1-old", "best", "my-checkpoint-3"])
def test_no_other_folder_in_a_run_has_its_settings(tmp_path, name):
    model = write_run(tmp_path / "run", data_dir="a") / name
    model.mkdir()
    assert find_run(str(model)) is None
    if name != "checkpoint-12":
        (model / "manifest.json").write_text("{}")
        assert find_run(str(model)) is None
    (model / "training_config.yaml").write_text("data_dir: own")
    assert find_run(str(model)).settings == {"data_dir": "own"}


def test_no_folder_is_no_run(tmp_path):
    assert find_run("USER/NAME") is None and find_run(str(tmp_path)) is None
    with refused("no such user"):
        find_run("~nobody-of-this-name")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("training_config.yaml", kind) for kind in ("pipe", "folder", "lost link")),
        *(("results.json", kind) for kind in ("folder", "lost link")),
    ],
)
def test_a_file_of_the_run_that_is_none_is_named(tmp_path, name, kind):
    run = write_run(tmp_path / "run", data_dir="a")
    (run / name).unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(run / name)
    elif kind == "folder":
        (run / name).mkdir()
    else:
        (run / name).symlink_to(tmp_path / "nothing")
    with refused(run / name):
        find_run(str(run))


def test_on_other_data_only_the_form_of_the_faces_is_taken_over(tmp_path, capsys):
    run = write_run(tmp_path / "run", data_dir="~/a", subset="compound", split_seed=3, max_test_samples=None)
    assert choose(run) == {"data_dir": "~/a", "subset": "compound", "split_seed": 3}
    assert choose(run, data_dir=str(Path.home() / "a")) == {"subset": "compound", "split_seed": 3}
    assert choose(run, data_dir="b") == {"subset": "compound"} == choose(run, dataset_name="a/b")
    assert choose(run, data_dir="b", subset="basic") == {}
    assert capsys.readouterr().out.splitlines()[-1] == f"Settings    of {run}: --subset compound"


@pytest.mark.parametrize(("size", "taken"), [(1, True), (1024, True), (1025, False), (0, False), (-1, False)])
def test_faces_at_once_are_taken_over_up_to_a_bound(tmp_path, size, taken):
    run = write_run(tmp_path / "run", per_device_eval_batch_size=size)
    assert choose(run) == ({"per_device_eval_batch_size": size} if taken else {})


def test_what_is_said_of_settings_is_quoted_and_one_line(tmp_path, capsys):
    run = write_run(tmp_path / "run", data_dir="it's $(x)\n\x1b]0;X\x07", label_column_name="a b", box_margin=-0.1)
    assert choose(run)["data_dir"] == "it's $(x)\n\x1b]0;X\x07"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("--box_margin -0.1, --data_dir 'it'\"'\"'s $(x)\\n\\x1b]0;X\\x07', --label_column_name 'a b'")


def found(root, fraction=0.2, **form):
    return load_data(root, DataForm(needed=("test",), **form), test_fraction=fraction)


@pytest.fixture(scope="module")
def undivided(tmp_path_factory):
    return write_undivided(tmp_path_factory.mktemp("undivided") / "data")


@pytest.fixture
def past(undivided, tmp_path):
    """An unfinished run on a share of data without splits."""
    run = write_run(tmp_path / "run", data_dir=str(undivided), test_fraction=0.2, leave_out=["a b"])
    checkpoint = run / "checkpoint-3"
    checkpoint.mkdir()
    known = found(undivided).shares["test"].files_sha256
    (checkpoint / "manifest.json").write_text(json.dumps({"files": {}, "identity": {"test files": known}}))
    return find_run(str(checkpoint))


def test_the_share_that_a_run_set_aside_may_be_scored(past, undivided):
    past.refuse_training_faces(found(undivided), str(undivided))


def test_the_rest_of_its_data_may_not(past, undivided):
    words = "add --test_fraction 0.2 --leave_out 'a b' to score those that it set aside as test"
    for place in (undivided, undivided.parent, undivided / "Anger"):
        with refused(f"{place}: holds the faces that {past.folder} was trained on; {words}"):
            past.refuse_training_faces(found(undivided, None), str(place))
    with refused("set other faces aside as test than these would be", "restore the data as it was"):
        past.refuse_training_faces(found(undivided, 0.3), str(undivided))


def test_other_data_may(past, undivided, tmp_path):
    other = write_undivided(tmp_path / "other", ("Fear", "Disgust"))
    past.refuse_training_faces(found(other, None), str(other))
    past.refuse_training_faces(found(other, 0.3), str(other))
    past.refuse_training_faces(found(other, None), "USER/FACES")


def test_a_run_on_a_test_split_of_the_datas_own_may_score_anything(undivided, tmp_path):
    past = find_run(str(write_run(tmp_path / "run", data_dir=str(undivided))))
    past.refuse_training_faces(found(undivided, None), str(undivided))


def test_a_copy_of_its_data_is_known_by_the_names_of_the_faces(undivided, tmp_path):
    run = tmp_path / "run"
    write_finished_run(run)
    (run / "training_config.yaml").write_text(yaml.safe_dump({"data_dir": "gone", "test_fraction": 0.2}))
    content = json.loads((run / "results.json").read_text())
    data, names = found(undivided), hash_files(load_data(undivided, DataForm(needed=("test",))).splits["test"]["file"])
    split = {"carved_from": "all faces", "fraction": 0.2, "seed": 0, "from_sha256": names}
    content["protocol"]["test_split"] = {**split, "files_sha256": data.shares["test"].files_sha256}
    (run / "results.json").write_text(json.dumps(content))
    copy, past = shutil.copytree(undivided, tmp_path / "copy"), find_run(str(run))
    past.refuse_training_faces(found(copy), str(copy))
    with refused(f"{copy}: holds the faces that {run} was trained on; add --test_fraction 0.2"):
        past.refuse_training_faces(found(copy, None), str(copy))


def test_a_setting_of_several_values_is_said_as_it_is_given(tmp_path, capsys):
    run = write_run(tmp_path / "run", leave_out=["Contempt", "a b"])
    assert choose(run) == {"leave_out": ["Contempt", "a b"]}
    assert capsys.readouterr().out.endswith("--leave_out Contempt 'a b'\n")
