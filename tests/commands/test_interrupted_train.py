"""The main job, killed, interrupted and taken up again, in processes of its own."""

import json
import multiprocessing
import os
import shlex
import shutil
import signal
import time
from pathlib import Path

import pytest

from rafdb_vit.commands.parser import run_command
from rafdb_vit.commands.train import main
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.training.checkpoints import CHECKPOINT_FOLDERS
from tests.conftest import nothing_drawn
from tests.support.models import save_vit


@pytest.fixture(scope="module")
def words(faces_dir, tiny_vit):
    paths = ("--data_dir", str(faces_dir), "--model_name_or_path", str(tiny_vit))
    return [
        *("train.py", *paths, "--use_cpu", "--bf16", "False", "--learning_rate", "3e-3"),
        *("--num_train_epochs", "6", "--per_device_train_batch_size", "14", "--validation_fraction", "0.3"),
        *("--early_stopping_patience", "0", "--dataloader_num_workers", "2", "--save_total_limit", "3"),
        *("--disable_tqdm", "True"),
    ]


@pytest.fixture(scope="module")
def whole(words, forks, tmp_path_factory):
    """The results.json of the uninterrupted run."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert forks.run(*words, "--output_dir", out).status == 0
    return (out / "results.json").read_bytes()


def start(forks, words, out):
    """Starts training as a terminal does, in a group of its own; returns its process when there is a checkpoint."""
    process = forks.start(*words, "--output_dir", out)
    while not list(out.glob("checkpoint-*")):
        assert Path(f"/proc/{process}").exists() or not Path("/proc").exists()
        time.sleep(0.02)
    return process


def test_killed_and_taken_up_by_the_same_command(words, forks, whole, tmp_path):
    out = tmp_path / "run"
    os.kill(start(forks, words, out), signal.SIGKILL)
    assert forks.wait().status == -signal.SIGKILL
    OutputFolder(out, CHECKPOINT_FOLDERS).make_folder("partial-checkpoint-9999")
    done = forks.run(*words, "--output_dir", out, "--resume_from_checkpoint")
    assert done.status == 0, done.err
    assert "partial-checkpoint-9999: half written" in done.out
    assert "Going on from " in done.out
    assert (out / "results.json").read_bytes() == whole


def test_a_signal_to_all_its_processes_ends_it_with_a_line_that_goes_on(words, forks, whole, tmp_path):
    out = tmp_path / "run"
    process = start(forks, words, out)
    since = time.monotonic()
    os.killpg(process, signal.SIGTERM)
    ended = forks.wait()
    assert ended.status == 143, ended.err
    assert time.monotonic() - since < 30
    assert not (out / "results.json").exists()
    head, line = ended.err.splitlines()[-2:]
    assert head.startswith("SIGTERM: the run ended at step ") and "Traceback" not in ended.err
    assert shlex.split(line)[0] == "python"
    assert forks.run(*shlex.split(line)[1:]).status == 0
    assert (out / "results.json").read_bytes() == whole


def test_interrupted_while_scoring_there_are_no_results(train, tmp_path, monkeypatch):
    from rafdb_vit.evaluation import inference

    reference = train("--num_train_epochs", "1", out="whole")
    predict = inference.predict_logits

    def interrupted(model, processor, dataset, **settings):
        if len(dataset) == 28:  # test, after validation
            os.kill(os.getpid(), signal.SIGINT)
        return predict(model, processor, dataset, **settings)

    monkeypatch.setattr(inference, "predict_logits", interrupted)
    with pytest.raises(Interrupted) as stop:
        train("--num_train_epochs", "1")
    assert stop.value.status == 130
    assert "before results.json was written" in stop.value.message
    assert not (tmp_path / "run" / "results.json").exists()
    monkeypatch.undo()
    resumed = train("--num_train_epochs", "1", "--resume_from_checkpoint")
    assert (resumed.folder / "results.json").read_bytes() == (reference.folder / "results.json").read_bytes()


def test_before_training_a_signal_ends_at_once_and_in_one_line(capsys):
    def main(argv):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    before = signal.getsignal(signal.SIGTERM)
    assert run_command(main) == 143
    assert capsys.readouterr().err == "SIGTERM: ended before anything was done\n"
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.fixture(scope="module")
def two_epochs(words, tmp_path_factory):
    """A run with checkpoints, as the fixture `train` makes them."""
    out = tmp_path_factory.mktemp("two-epochs") / "run"
    own = ("--num_train_epochs", "2", "--early_stopping_patience", "5", "--dataloader_num_workers", "0")
    with nothing_drawn():
        main([*words[1:], *own, "--save_total_limit", "2", "--output_dir", str(out)])
    return out


@pytest.fixture
def begun(two_epochs, tmp_path):
    """A copy of it, where `train` goes on."""
    return shutil.copytree(two_epochs, tmp_path / "run")


@pytest.mark.parametrize(
    ("flags", "difference"),
    [
        (["--per_device_train_batch_size", "7"], "batch size is 7, was 14"),
        (["--validation_fraction", "0.2"], "validation data is 14 faces .*validation_fraction is 0.2, was 0.3"),
        (["--split_seed", "3"], "train data is .*split_seed is 3, was 0"),
        (["--learning_rate", "1e-3"], "learning_rate is 0.001, was 0.003"),
        (["--num_train_epochs", "3"], "--num_train_epochs 3: .* depends on their number"),
        (["--early_stopping_patience", "3"], "early_stopping_patience is 3, was 5"),
        (["--layer_decay", "0.5"], "layer_decay is 0.5, was 0.75"),
        (["--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "500"], "eval_strategy is steps"),
        (["--from_scratch", "tiny", "--image_size", "32"], "model source is tiny, was tiny-vit"),
    ],
)
def test_a_run_that_differs_is_refused_and_nothing_is_lost(begun, train, flags, difference):
    before = {path: path.stat().st_mtime_ns for path in begun.rglob("*")}
    with pytest.raises(UserError, match=difference):
        train("--num_train_epochs", "2", "--resume_from_checkpoint", *flags)
    assert {path: path.stat().st_mtime_ns for path in begun.rglob("*")} == before


def test_other_labels_or_pictures_are_other_data(begun, train, faces_dir, tiny_vit, tmp_path):
    other = shutil.copytree(faces_dir, tmp_path / "other" / "basic")
    labels = other / "EmoLabel" / "list_patition_label.txt"
    labels.write_text(labels.read_text().replace("test_0001.jpg 1", "test_0001.jpg 2"))
    with pytest.raises(UserError, match="test data is 28 faces"):
        train("--num_train_epochs", "2", "--resume_from_checkpoint", data=other)
    other_model = save_vit(tmp_path / "wider" / "tiny-vit", hidden_size=64)
    with pytest.raises(UserError, match="model parameters is"):
        train("--num_train_epochs", "2", "--resume_from_checkpoint", model=other_model)


def test_what_may_differ_does(begun, train):
    shutil.rmtree(begun / "checkpoint-8")
    accumulated = ["--per_device_train_batch_size", "7", "--gradient_accumulation_steps", "2"]
    outcome = train("--num_train_epochs", "2", "--resume_from_checkpoint", *accumulated, "--save_total_limit", "5")
    assert outcome.folder == begun and (begun / "checkpoint-8").is_dir()


def test_a_checkpoint_of_another_folder_needs_an_empty_one(begun, train, tmp_path):
    checkpoint = str(begun / "checkpoint-4")
    resumed = train("--num_train_epochs", "2", "--resume_from_checkpoint", checkpoint, out="other")
    assert (resumed.folder / "results.json").read_bytes() == (begun / "results.json").read_bytes()
    with pytest.raises(UserError, match="is not empty"):
        train("--num_train_epochs", "2", "--resume_from_checkpoint", checkpoint, out="other")
    (begun / "checkpoint-4" / "optimizer.pt").write_bytes(b"")
    with pytest.raises(UserError, match="not a whole checkpoint, optimizer.pt has 0 bytes"):
        train("--num_train_epochs", "2", "--resume_from_checkpoint", checkpoint, out="third")


def test_a_finished_run_without_checkpoints_is_not_begun_anew(begun, train):
    for checkpoint in begun.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    results = (begun / "results.json").read_bytes()
    with pytest.raises(UserError, match="is not empty"):
        train("--num_train_epochs", "2", "--resume_from_checkpoint")
    assert (begun / "results.json").read_bytes() == results
    train("--num_train_epochs", "2", "--resume_from_checkpoint", "--overwrite_output_dir")


def test_a_disk_that_fills_up_at_the_end_keeps_the_checkpoints(train, tmp_path, monkeypatch):
    from rafdb_vit.training import run_folder

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run_folder, "render_results", full)
    with pytest.raises(UserError, match="run: cannot be written .No space left on device"):
        train("--num_train_epochs", "1")
    monkeypatch.undo()
    outcome = train("--num_train_epochs", "1", "--resume_from_checkpoint")
    assert json.loads((outcome.folder / "results.json").read_text())["test"]["n"] == 28


def test_workers_that_are_spawned_change_nothing(train):
    """As on macOS and Windows, where a data worker begins with an empty memory."""
    one = train("--num_train_epochs", "1", out="none")
    before = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        other = train("--num_train_epochs", "1", "--dataloader_num_workers", "1", out="one_worker")
    finally:
        multiprocessing.set_start_method(before, force=True)
    assert (one.folder / "results.json").read_bytes() == (other.folder / "results.json").read_bytes()
