"""Two processes on this machine's CPUs, over gloo."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from rafdb_vit.commands.evaluate import main as evaluate
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.pixels import hash_faces
from rafdb_vit.evaluation.overlap import SEEN_FILE, SeenFaces
from rafdb_vit.evaluation.predictions import read_predictions
from rafdb_vit.runtime import processes
from rafdb_vit.runtime.errors import UserError
from tests.support.faces import write_official
from tests.support.finished_run import write_as_a_run
from tests.support.models import save_vit
from tests.support.modes import odd_modes
from tests.support.two_processes import build, logged

ROOT = Path(__file__).parents[2]


def launch(*words, cwd=ROOT, processes=2):
    """Runs a program under torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Faces and a model, and what one process with the batch of two logs on them."""
    folder = tmp_path_factory.mktemp("processes")
    write_official(folder / "faces", train=10, test=4)
    save_vit(folder / "model")
    hashes = hash_faces(load_rafdb(folder / "faces", validation_fraction=0.3))
    write_as_a_run(folder / "model", {"training_config.yaml": "{}", SEEN_FILE: SeenFaces.of_run(hashes).render()})
    rows = (folder / "faces" / "basic" / "EmoLabel" / "list_patition_label.txt").read_text().splitlines()
    vectors = [[0.7 if code == int(row[-1]) else 0.05 for code in range(1, 8)] for row in rows]
    lines = [f"{row[:-2]} {' '.join(map(str, vector))} " for row, vector in zip(rows, vectors, strict=True)]
    (folder / "distribution_basic.txt").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def alone(folder):
    trainer = build(folder, "one", batch=16)
    trainer.train()
    return logged(trainer)


@pytest.fixture(scope="module")
def soft_alone(folder):
    trainer = build(folder, "soft-one", batch=16, soft=True)
    trainer.train()
    return logged(trainer)


def largest_difference(folder, alone, name="logged.json"):
    found = json.loads((folder / name).read_text())
    assert found.keys() == alone.keys() and len(found) > 12
    return max(abs(found[name] - alone[name]) for name in found)


SCENARIOS = "tests/support/two_processes.py"


def test_two_processes_follow_one(folder, alone, forks):
    done = forks.launch(SCENARIOS, "shared", folder)
    assert done.status == 0, done.err[-3000:]
    assert odd_modes(folder / "two") == odd_modes(folder / "evaluated") == {}
    assert largest_difference(folder, alone) < 1e-5
    for left in ("resumed", "logged.json"):
        path = folder / left
        path.rename(folder / f"{left}-shared")


def test_two_processes_that_shard_the_model_follow_one(folder, alone, forks):
    done = forks.launch(SCENARIOS, "sharded", folder)
    assert done.status == 0, done.err[-3000:]
    assert odd_modes(folder / "sharded") == {}
    assert largest_difference(folder, alone) < 1e-5


def test_two_processes_evaluate_as_one(folder, tmp_path):
    evaluate([str(folder / "model"), "--data_dir", str(folder / "faces"), "--output_dir", str(tmp_path), "--use_cpu"])
    two, one = (read_predictions(place) for place in (folder / "evaluated", tmp_path))
    assert two.files == one.files and two.predicted.tolist() == one.predicted.tolist()
    np.testing.assert_allclose(two.probabilities, one.probabilities, atol=1e-6)
    assert (folder / "evaluated" / "report.html").is_file()
    two, one = (
        json.loads((place / "evaluation.json").read_text())["overlap"] for place in (folder / "evaluated", tmp_path)
    )
    assert two["trained_on"] + two["used_to_choose_checkpoint"] == two["n"] == 28
    assert two["trained_on"] and two == one


def test_two_processes_follow_one_on_distribution_vectors(folder, alone, soft_alone):
    assert largest_difference(folder, soft_alone, "logged-soft.json") < 1e-5
    losses = [name for name in alone if name.endswith("/loss")]
    assert all(abs(soft_alone[name] - alone[name]) > 1e-3 for name in losses)  # another target than the labels


def test_without_incomplete_steps_two_processes_follow_one(folder):
    dropped = build(folder, "dropped-one", batch=16, dataloader_drop_last=True)
    dropped.train()
    assert dropped.state.max_steps == 9  # 3 x 16 of 49 faces, in 3 epochs
    assert largest_difference(folder, logged(dropped), "logged-dropped.json") < 1e-5
    accumulated = build(
        folder, "dropped-accumulated", batch=8, gradient_accumulation_steps=2, dataloader_drop_last=True
    )
    accumulated.train()
    assert largest_difference(folder, logged(accumulated), "logged-dropped.json") < 1e-5


def test_two_processes_end_without_aborting(folder, forks):
    """To repeat it: `torchrun --nproc_per_node 2 tests/support/two_processes.py end FOLDER`."""
    done = forks.launch(SCENARIOS, "end", folder)
    assert done.status == 0, done.err[-3000:]


@pytest.mark.parametrize("soft", [False, True])
def test_accumulated_batches_follow_one(folder, alone, soft_alone, soft):
    trainer = build(folder, f"accumulated-{soft}", batch=8, gradient_accumulation_steps=2, soft=soft)
    trainer.train()
    found, expected = logged(trainer), soft_alone if soft else alone
    assert found.keys() == expected.keys()
    assert max(abs(found[name] - expected[name]) for name in found) < 1e-5


def test_a_mistake_is_said_once_under_a_launcher(tmp_path):
    done = launch(ROOT / "train.py", "--data_dir", tmp_path / "none", "--use_cpu", cwd=tmp_path)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert lines == [f"error: {tmp_path / 'none'}: no such folder; expected the folder that holds RAF-DB"] or (
        len(lines) == 1 and str(tmp_path / "none") in lines[0]
    )
    assert "UserError" not in done.stderr


def test_what_one_process_alone_finds_wrong_is_said_and_nobody_hangs(folder, forks, tmp_path):
    broken = write_official(tmp_path / "faces", train=10, test=4) / "Image/aligned/train_00010_aligned.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    words = ["--data_dir", tmp_path / "faces", "--model_name_or_path", folder / "model"]
    words += ["--output_dir", tmp_path / "run", "--use_cpu", "--bf16", "False", "--per_device_train_batch_size", 8]
    done = forks.launch("train.py", *words)
    assert done.status != 0
    said = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert any(line.startswith(f"error: {broken}: cannot be read as an image") for line in said), done.err[-2000:]


def test_alone_nothing_waits():
    assert processes.gather(3) == [3]
    assert processes.all_reduce_max(3) == 3
    assert processes.broadcast_from_main(lambda: 3) == 3
    processes.wait_for_all()
    with pytest.raises(UserError, match="mistake"), processes.main_process_first():
        raise UserError("mistake")


def test_a_broken_connection_is_named_only_among_several(monkeypatch):
    lost = RuntimeError("[gloo/pair.cc:1] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(RuntimeError, match="gloo"), processes.raise_on_one():
        raise lost
    monkeypatch.setattr(processes, "count_processes", lambda: 2)
    with pytest.raises(UserError, match="connection to another process") as caught, processes.raise_on_one():
        raise lost
    assert caught.value.on_one
    with pytest.raises(RuntimeError, match="shapes"), processes.raise_on_one():
        raise RuntimeError("shapes")
