import errno
import json
import os
import resource
import signal
import traceback
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rafdb_vit.runtime.disk import naming_disk_errors
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.training.checkpoints import (
    CHECKPOINT_FOLDERS,
    MANIFEST,
    choose_checkpoint,
    compare_identity,
    delete_checkpoints,
    find_best,
    find_fault,
    list_checkpoints,
    prune_checkpoints,
    write_checkpoint,
)


def write(run, step, *, content="x", identity=None):
    with write_checkpoint(run, step, writes=True, identity=identity or {}) as folder:
        (folder / "model.safetensors").write_text(content * 100)
        (folder / "optimizer_0").mkdir()
        (folder / "optimizer_0" / ".metadata").write_text(content)
    return run / f"checkpoint-{step}"


def choose(run):
    said = []
    return choose_checkpoint(run, say=said.append), said


def test_a_checkpoint_is_whole(tmp_path):
    assert find_fault(write(tmp_path, 3)) is None
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint-3", "files.json"}


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda folder: (folder / "model.safetensors").write_text("x"), "model.safetensors has 1 bytes, and had 100"),
        (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda folder: (folder / MANIFEST).unlink(), f"has no {MANIFEST}"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "cannot be read"),
        (lambda folder: (folder / MANIFEST).write_text("[]"), "cannot be read"),
        (lambda folder: (folder / MANIFEST).write_bytes(b"\xff\xfe"), "cannot be read"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_and_named(tmp_path, damage, fault):
    older = write(tmp_path, 3)
    damage(write(tmp_path, 20))
    assert fault in find_fault(tmp_path / "checkpoint-20")
    chosen, said = choose(tmp_path)
    assert chosen == older
    assert len(said) == 1 and "checkpoint-20: passed over" in said[0] and fault in said[0]


ODD = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.just([]), st.just({"a": 1}))


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    manifest=st.one_of(
        st.fixed_dictionaries({"files": ODD, "identity": ODD}),
        st.fixed_dictionaries({"files": st.dictionaries(st.text(max_size=5) | st.just("../a"), ODD, max_size=3)}),
        st.dictionaries(st.sampled_from(["files", "identity", "x"]), ODD),
        ODD,
    )
)
def test_a_manifest_of_anything_is_a_fault(tmp_path_factory, manifest):
    run = tmp_path_factory.mktemp("run")
    folder = write(run, 3)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert find_fault(folder) is None or choose_fails(run)
    delete_checkpoints(OutputFolder(run, CHECKPOINT_FOLDERS), "checkpoint-3")


def choose_fails(run):
    with pytest.raises(UserError, match="no checkpoint of .* is whole"):
        choose(run)
    return True


def test_without_a_checkpoint_there_is_none_and_damaged_ones_alone_are_an_error(tmp_path):
    assert choose(tmp_path / "nowhere") == (None, [])
    assert choose(tmp_path) == (None, [])
    (write(tmp_path, 3) / "model.safetensors").unlink()
    with pytest.raises(UserError, match="no checkpoint of .* is whole .*checkpoint-3: model.safetensors is missing"):
        choose(tmp_path)
    assert (tmp_path / "checkpoint-3" / "optimizer_0" / ".metadata").exists()


class Killed:
    """Kills this process at the n-th step that changes the disk."""

    def __init__(self, n):
        self.left = n

    def before(self, function):
        def wrapped(*args, **kwargs):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped


def killed_at(n, act):
    """Runs `act` in a process that is killed at its n-th change; returns whether it got that far."""
    pid = os.fork()
    if pid == 0:
        killed = Killed(n)
        for name in ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync"):
            setattr(os, name, killed.before(getattr(os, name)))
        Path.write_text = killed.before(Path.write_text)
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def every_kill(act, prepare, root):
    """Yields a fresh folder for each moment at which `act` can be killed, after it was."""
    for n in range(1, 400):
        run = root / str(n)
        run.mkdir()
        prepare(run)
        if not killed_at(n, lambda run=run: act(run)):
            return
        yield run
    pytest.fail("it never ended")


def left_in(run):
    return {path.name for path in run.iterdir() if not path.name.startswith("files.json")}


def test_killed_at_any_moment_of_writing_a_whole_checkpoint_is_left(tmp_path):
    moments = 0
    for run in every_kill(lambda run: write(run, 7, content="new"), lambda run: write(run, 3), tmp_path):
        begun = bool(list(run.glob("partial-*")))
        chosen, said = choose(run)
        assert chosen in (run / "checkpoint-3", run / "checkpoint-7")
        assert find_fault(chosen) is None
        assert left_in(run) <= {"checkpoint-3", "checkpoint-7"}
        assert bool(said) == (begun and chosen.name == "checkpoint-3")
        moments += 1
    assert moments >= 8


def test_killed_while_a_checkpoint_is_written_anew_one_of_the_two_is_left(tmp_path):
    moments = 0
    for run in every_kill(lambda run: write(run, 3, content="new"), lambda run: write(run, 3), tmp_path):
        chosen, _ = choose(run)
        assert chosen == run / "checkpoint-3"
        assert (chosen / "optimizer_0" / ".metadata").read_text() in ("x", "new")
        assert left_in(run) == {"checkpoint-3"}
        moments += 1
    assert moments >= 8


def test_killed_while_old_ones_are_deleted_nothing_is_damaged(tmp_path):
    def prepare(run):
        for step in (1, 2, 3, 4):
            write(run, step)

    for run in every_kill(lambda run: prune_checkpoints(run, keep=2, best_step=1), prepare, tmp_path):
        chosen, said = choose(run)
        assert (chosen.name, said) == ("checkpoint-4", [])
        assert all(find_fault(folder) is None for folder in list_checkpoints(run))


@pytest.mark.parametrize(
    ("keep", "best", "left"),
    [
        (None, 1, [12, 9, 3, 1]),
        (0, None, [12, 9, 3, 1]),
        (3, None, [12, 9, 3]),
        (2, None, [12, 9]),
        (2, 12, [12, 9]),
        (2, 1, [12, 1]),
        (1, None, [12]),
        (1, 12, [12]),
        (1, 3, [12, 3]),
    ],
)
def test_the_newest_and_the_best_stay(tmp_path, keep, best, left):
    for step in (1, 3, 12, 9):
        write(tmp_path, step)
    prune_checkpoints(tmp_path, keep=keep, best_step=best)
    assert [int(path.name.split("-")[1]) for path in list_checkpoints(tmp_path)] == left
    assert len(list(tmp_path.iterdir())) == len(left) + 1


def test_another_runs_checkpoint_is_refused_by_the_name_of_each_difference(tmp_path):
    folder = write(tmp_path, 3, identity={"batch size": 16, "seed": 1, "steps": (1, 2), "of an older release": 1})
    compare_identity(folder, {"batch size": 16, "seed": 1, "steps": [1, 2], "of a newer release": 2})
    with pytest.raises(UserError, match="batch size is 8, was 16; seed is 2, was 1"):
        compare_identity(folder, {"batch size": 8, "seed": 2, "steps": [1, 2]})


def test_the_best_checkpoint_is_found_after_the_run_was_moved(tmp_path):
    run = tmp_path / "run"
    newest, best = write(run, 9), write(run, 3)
    moved = run.rename(tmp_path / "moved")
    found = find_best(moved / newest.name, 3, run=tmp_path / "other")
    assert found == moved / best.name
    (found / "model.safetensors").unlink()
    with pytest.raises(UserError, match="checkpoint-3 model.safetensors is missing"):
        find_best(moved / newest.name, 3, run=moved)


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("{")])
def test_notes_in_a_checkpoint_without_a_list_stay_when_it_is_deleted(tmp_path, damage):
    folder = write(tmp_path, 3)
    (folder / "notes.txt").write_text("mine")
    (folder / "optimizer_0" / "notes.txt").write_text("mine")
    damage(folder / MANIFEST)
    delete_checkpoints(OutputFolder(tmp_path, CHECKPOINT_FOLDERS), folder.name)
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert left == {"notes.txt", "optimizer_0", "optimizer_0/notes.txt"}


def test_notes_in_a_half_written_checkpoint_stay_and_are_named(tmp_path):
    write(tmp_path, 3)
    staged = OutputFolder(tmp_path, CHECKPOINT_FOLDERS).make_folder("partial-checkpoint-7")
    for name in ("optimizer.pt", "model.safetensors", ".tmpaB3xyZ", "manifest.json.partial"):
        (staged / name).write_text("x")
    (staged / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="partial-checkpoint-7: .* holds notes.txt.* move the folder elsewhere"):
        choose(tmp_path)
    assert [path.name for path in staged.iterdir()] == ["notes.txt"]


def test_notes_stay_when_a_write_fails(tmp_path):
    with pytest.raises(UserError), write_checkpoint(tmp_path, 7, writes=True, identity={}) as folder:
        (folder / "config.json").write_text("x")
        (folder / "notes.txt").write_text("mine")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in (tmp_path / "partial-checkpoint-7").iterdir()] == ["notes.txt"]


def test_a_failing_write_leaves_nothing_and_is_one_line(tmp_path):
    older = write(tmp_path, 3)

    def fail():
        with write_checkpoint(tmp_path, 7, writes=True, identity={}) as folder:
            (folder / "model.safetensors").write_text("x")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(UserError, match="checkpoint-7: cannot be written .No space left on device.*resume_from"):
        fail()
    assert {path.name for path in tmp_path.iterdir()} == {older.name, "files.json"}
    assert find_fault(older) is None


@pytest.mark.parametrize(
    "save",
    [
        lambda path: torch.save({"weights": torch.zeros(10000)}, path),
        lambda path: save_file({"weights": torch.zeros(10000)}, path),
        lambda path: path.write_text("x" * 10000),
    ],
)
def test_what_every_library_raises_when_it_cannot_write_on_is_one_line(save, tmp_path):
    pid = os.fork()
    if pid == 0:
        # As on a full disk, the first bytes go through.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        try:
            with naming_disk_errors(tmp_path / "checkpoint-4"):
                save(tmp_path / "file")
        except UserError as error:
            os._exit(7 if "checkpoint-4: cannot be written (" in error.line else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_bug_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(RuntimeError, match="shapes"), naming_disk_errors(tmp_path):
        raise RuntimeError("shapes do not match")


def test_the_manifest_lists_every_file(tmp_path):
    manifest = json.loads((write(tmp_path, 3, identity={"seed": 1}) / MANIFEST).read_text())
    assert manifest == {"files": {"model.safetensors": 100, "optimizer_0/.metadata": 1}, "identity": {"seed": 1}}
