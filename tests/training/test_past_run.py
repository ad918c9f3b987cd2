import os
from pathlib import Path

import pytest
import yaml

from rafdb_vit.training.past_run import find_run
from tests.support.refusals import refused


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
