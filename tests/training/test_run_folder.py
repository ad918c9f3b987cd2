"""The run folder: whose files are in it, and who else writes into it."""

import json
import os
import shutil
from functools import partial

import pytest

from rafdb_vit.data.drawn_faces import write_drawn_faces
from rafdb_vit.evaluation.overlap import SeenFaces
from rafdb_vit.evaluation.predictions import read_predictions
from rafdb_vit.evaluation.results import read_results
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.lock import hold
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.training.checkpoints import find_fault, write_checkpoint
from rafdb_vit.training.run_folder import DEMO_FACES, RUN_FILES, RunFolder
from tests.support.models import save_vit
from tests.support.refusals import refused

NAMES = ("a", "b")
SEEN = SeenFaces(frozenset({"a" * 16}), frozenset({"b" * 16}))


@pytest.fixture
def folder(tmp_path):
    """A run folder with a bit of everything that a run writes."""
    folder = RunFolder(tmp_path / "run")
    folder.open({"demo": True}, seen=SEEN)
    with write_checkpoint(folder.path, 3, writes=True, identity={}) as checkpoint:
        (checkpoint / "weights").write_text("x")
    for name in ("results.json", "report.html", "predictions.csv", "figures/confusion_matrix.png"):
        folder.output.write(name, "{}")
    return folder


def all_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def write_own(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")


def test_a_persons_files_in_an_otherwise_empty_folder_are_something(tmp_path):
    for name in ("partial-draft.docx", "partial-results/table.csv", "replaced-checkpoint-3/notes", "run.lock.txt"):
        run = tmp_path / name.split("/")[0]
        write_own(run, name)
        with pytest.raises(UserError, match="is not empty"):
            RunFolder(run).check(demo=False, overwrite=False)
        if not name.startswith("replaced-checkpoint-3"):
            RunFolder(run).check(demo=False, overwrite=True)
            RunFolder(run).open({})
        assert (run / name).read_text() == "mine"


def test_overwriting_deletes_what_the_run_wrote_and_nothing_else(folder):
    own = ("checkpoint-notes.md", "checkpoint-charlie/a", "figures/holiday.png", "checkpoint-3/notes", "thesis.docx")
    write_own(folder.path, *own, "evaluations/x/mine.csv")
    evaluation = OutputFolder(folder.path / "evaluations" / "x", ("report.html",), within=folder.path)
    evaluation.write("report.html", "page")
    folder.clear()
    assert all_of(folder.path) == dict.fromkeys((*own, "evaluations/x/mine.csv"), b"mine")


def test_a_run_that_ended_before_its_first_checkpoint_is_begun_again(tmp_path):
    folder = RunFolder(tmp_path / "run")
    folder.open({}, seen=SEEN)
    assert all_of(folder.path).keys() == {"files.json", "trained_on.json", "training_config.yaml"}
    folder.check(demo=False, overwrite=False)


def test_a_run_leaves_nothing_when_it_is_cleared(folder):
    OutputFolder(folder.path / "evaluations" / "x", ("report.html",), within=folder.path).write("report.html", "page")
    folder.clear()
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "named"),
    [
        *((name, name) for name in ("report.html", "config.json", "figures/learning_curves.png")),
        *((f"{name}/a", name) for name in ("checkpoint-7", "partial-model")),
    ],
)
def test_what_is_in_the_way_and_no_runs_own_is_refused_before_anything_is_lost(folder, name, named):
    folder.output.remove(["report.html"])
    write_own(folder.path, name)
    before = all_of(folder.path)
    with pytest.raises(
        UserError, match=rf"{name.split('/')[-1] if 'png' in name else name.split('/')[0]}: is in the way"
    ):
        folder.check(demo=False, overwrite=True)
    assert all_of(folder.path) == before


@pytest.mark.parametrize(
    "name",
    ["figures", "partial-model", "evaluations", "checkpoint-7", "partial-checkpoint-9", "report.html.partial"]
    + ["results.json.partial", "training_config.yaml", "evaluations/x", "figures/learning_curves.png", "drawn_faces"],
)
@pytest.mark.parametrize("resume", [False, True])
def test_a_link_that_leads_out_is_refused_and_nothing_there_is_touched(folder, tmp_path, name, resume):
    elsewhere = tmp_path / "elsewhere"
    write_own(elsewhere, "a.png", "confusion_matrix.png", "deep/thesis.docx")
    before = all_of(elsewhere)
    link = folder.path / name
    link.parent.mkdir(exist_ok=True)
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(elsewhere if "." not in link.name else elsewhere / "a.png")
    with pytest.raises(UserError, match=rf"{link.name}: is a link that leads out of the folder"):
        if resume:
            folder.find_start(None, demo=False, overwrite=False)
        else:
            folder.check(demo=False, overwrite=True)
    try:
        folder.clear()
    except UserError:
        pass
    assert all_of(elsewhere) == before


def test_a_link_that_leads_nowhere_is_no_output_folder(tmp_path):
    (tmp_path / "run").symlink_to(tmp_path / "nowhere")
    with pytest.raises(UserError, match="--output_dir .*run: is a link that leads nowhere"):
        RunFolder(tmp_path / "run").check(demo=False, overwrite=False)
    with pytest.raises(UserError, match="there is no such user"):
        RunFolder("~nobody-of-that-name/run")
    with pytest.raises(UserError, match=r"--output_dir .*File name too long"):
        RunFolder(tmp_path / ("x" * 300)).check(demo=False, overwrite=False)


def test_a_run_of_the_first_versions_is_gone_on_with_and_not_overwritten(folder):
    (folder.path / "files.json").unlink()
    before = all_of(folder.path)
    with pytest.raises(UserError, match="training_config.yaml: is in the way, and by files.json"):
        folder.check(demo=False, overwrite=True)
    assert all_of(folder.path) == before
    assert folder.find_start(None, demo=False, overwrite=False).name == "checkpoint-3"
    folder.open({}, resume_from=folder.path / "checkpoint-3")
    folder.clear()
    assert list(folder.path.iterdir()) == []


def test_a_checkpoint_that_was_copied_back_is_the_runs_own(folder, tmp_path):
    shutil.copytree(folder.path / "checkpoint-3", folder.path / "checkpoint-8")
    assert folder.find_start(None, demo=False, overwrite=False).name == "checkpoint-8"
    folder.open({}, resume_from=folder.path / "checkpoint-8")
    folder.clear()
    assert list(folder.path.iterdir()) == []


def test_a_checkpoint_of_another_run_stays_whoever_asks_to_go_on_with_it(folder, tmp_path):
    with write_checkpoint(tmp_path / "other", 9, writes=True, identity={"seed": 1}) as checkpoint:
        (checkpoint / "weights").write_text("mine")
    shutil.copytree(tmp_path / "other" / "checkpoint-9", folder.path / "checkpoint-9")
    before = all_of(folder.path)
    newest = folder.find_start(None, demo=False, overwrite=False)
    with pytest.raises(UserError, match="differs from the one that wrote it"):
        folder.open({}, resume_from=newest, identity={"seed": 0})
    with pytest.raises(UserError, match="checkpoint-9: is in the way, and by files.json it was not written here"):
        folder.check(demo=False, overwrite=True)
    assert all_of(folder.path) == before


def test_a_copy_of_a_checkpoint_under_a_name_of_ones_own_stays(folder):
    shutil.copytree(folder.path / "checkpoint-3", folder.path / "checkpoint-0003")
    folder.open({}, resume_from=folder.find_start(None, demo=False, overwrite=False))
    folder.clear()
    assert [path.name for path in folder.path.iterdir()] == ["checkpoint-0003"]


@pytest.mark.parametrize("name", ["adapter_config.json", "processor_config.json", "video_preprocessor_config.json"])
def test_what_would_be_read_with_the_model_is_found_before_training_and_other_files_may_lie_there(folder, name):
    write_own(folder.path, "notes.json/mine", "big.safetensors/mine")
    folder.check(demo=False, overwrite=True)
    write_own(folder.path, name)
    with pytest.raises(UserError, match=f"{name}: is in the way"):
        folder.check(demo=False, overwrite=True)


def test_folders_without_end_are_refused_in_a_line(folder):
    (folder.path / "/".join("a" * 400)).mkdir(parents=True)
    for check in (folder.check, partial(folder.find_start, None)):
        with pytest.raises(UserError, match="folders in folders, more than 50 deep"):
            check(demo=True, overwrite=True)


def test_a_link_in_a_circle_is_refused_in_a_line(folder):
    (folder.path / "checkpoint-3" / "weights").unlink()
    (folder.path / "checkpoint-3" / "weights").symlink_to("weights")
    with pytest.raises(UserError, match="checkpoint-3/weights: is a link"):
        folder.find_start(None, demo=False, overwrite=False)
    assert find_fault(folder.path / "checkpoint-3")


def test_a_second_run_is_refused_and_changes_nothing(folder, train):
    before = all_of(folder.path)
    with hold(folder.path):
        for flags in (("--overwrite_output_dir",), ("--resume_from_checkpoint",)):
            with pytest.raises(UserError, match=rf"--output_dir .*process {os.getpid()} on .* is writing into it"):
                train(*flags, out=folder.path)
    assert all_of(folder.path) == before


def test_weights_that_another_process_has_replaced_are_not_scored(folder, tmp_path):
    from rafdb_vit.model.load import load_trained

    model, processor = load_trained(save_vit(tmp_path / "vit", names=NAMES))
    folder.write_model(model, processor)
    folder.check_model()
    assert set(json.loads((folder.path / "files.json").read_text())["files"]) >= {"config.json", "model.safetensors"}
    with (folder.path / "model.safetensors").open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match="model.safetensors: is not the file that this run wrote"):
        folder.check_model()


def test_what_a_run_writes_can_be_its_own():
    output = OutputFolder(RunFolder("x").path, RUN_FILES)
    for name in (
        "checkpoint-12",
        "partial-checkpoint-12",
        "model-00001-of-00002.safetensors",
        "figures/learning_curves.png",
    ):
        assert output.is_known(name)
    for name in ("checkpoint-notes.md", "figures/x.png", "notes", "partial-draft.docx", "figures"):
        assert not output.is_known(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("checkpoint-3/notes", "checkpoint-3/notes: is in the way, and no run wrote it"),
        ("replaced-checkpoint-2/mine", "replaced-checkpoint-2: is in the way"),
        ("evaluations/x/files.json", "evaluations/x/files.json: not the list"),
        ("drawn_faces/mine", "drawn_faces: is in the way"),
    ],
)
def test_notes_are_found_before_the_earlier_run_is_lost(folder, name, words):
    write_own(folder.path, name)
    before = all_of(folder.path)
    with pytest.raises(UserError, match=words):
        folder.check(demo=True, overwrite=True)
    assert all_of(folder.path) == before


def test_a_checkpoint_that_is_a_link_is_not_resumed_from_and_nothing_is_lost(folder):
    (folder.path / "copy").mkdir()
    (folder.path / "checkpoint-3").rename(folder.path / "copy" / "checkpoint-3")
    (folder.path / "checkpoint-3").symlink_to("copy/checkpoint-3")
    before = all_of(folder.path)
    for asked in (None, str(folder.path / "checkpoint-3")):
        with pytest.raises(UserError):
            folder.find_start(asked, demo=False, overwrite=False)
    assert all_of(folder.path) == before


def test_a_run_whose_folder_was_replaced_writes_into_no_other(folder, tmp_path):
    with hold(folder.path):
        folder.path.rename(tmp_path / "moved")
        for there in (False, True):
            if there:
                folder.path.mkdir()
            with pytest.raises(UserError, match="run: was moved, replaced or deleted while it was written to"):
                folder.output.write("results.json", "x")
        assert list(folder.path.iterdir()) == []


def test_a_list_of_thousands_of_checkpoints_is_read_a_few_times(folder, monkeypatch):
    folder.output.claim(*(f"checkpoint-{i}" for i in range(10, 6010)))
    read, reads = OutputFolder._read_list, []
    monkeypatch.setattr(OutputFolder, "_read_list", lambda self: (reads.append(1), read(self))[1])
    folder.check(demo=False, overwrite=True)
    folder.clear()
    assert len(reads) < 100 and list(folder.path.iterdir()) == []


def test_a_persons_picture_among_the_drawn_faces_stays(folder):
    folder.output.claim(DEMO_FACES)
    for name in ("train_00001", "train_99999"):
        write_own(folder.path, f"{DEMO_FACES}/basic/Image/aligned/{name}_aligned.jpg")
    with pytest.raises(UserError, match="train_99999_aligned.jpg: is in the way, and no run wrote it"):
        folder.check(demo=True, overwrite=True)


def test_a_run_is_not_replaced_from_within(folder, monkeypatch):
    before = all_of(folder.path)
    monkeypatch.chdir(folder.path / "figures")
    for act in (folder.check, partial(folder.find_start, None)):
        with pytest.raises(UserError, match="holds the current folder, .*figures; change to another one first"):
            act(demo=False, overwrite=True)
    assert all_of(folder.path) == before
    monkeypatch.chdir(folder.path)
    folder.check(demo=False, overwrite=True)


def test_many_listed_folders_are_deleted_with_a_few_looks_at_the_list(folder, monkeypatch):
    names = [f"{state}checkpoint-{i}" for i in range(300) for state in ("partial-", "replaced-", "")]
    for name in names:
        (folder.path / name).mkdir(exist_ok=True)
    folder.output.claim(*names)
    written, write = [], OutputFolder._write_list
    monkeypatch.setattr(OutputFolder, "_write_list", lambda self, hashes: written.append(1) or write(self, hashes))
    assert folder.find_start(None, demo=False, overwrite=False).name == "checkpoint-3"
    folder.clear()
    assert list(folder.path.iterdir()) == [] and len(written) < 10


def test_a_run_that_is_being_evaluated_is_not_replaced(folder):
    before = all_of(folder.path)
    evaluation = folder.path / "evaluations" / "x"
    with hold(evaluation), pytest.raises(UserError, match=r"evaluations/x: process \d+ on .* is writing into it; wait"):
        folder.check(demo=True, overwrite=True)
    assert all_of(folder.path) == before


def test_a_demo_that_was_stopped_while_it_drew_begins_again(tmp_path):
    folder = RunFolder(tmp_path / "demo")
    write_drawn_faces(folder.output.make_folder(DEMO_FACES), train_faces=7, test_faces=7)
    folder.check(demo=True, overwrite=False)
    with pytest.raises(UserError, match="is not empty"):
        folder.check(demo=False, overwrite=False)


def test_the_faces_that_a_run_was_trained_on_are_read_again(folder):
    assert folder.read_seen() == SEEN
    (folder.path / "files.json").unlink()  # as in a copy of some files of the run
    assert folder.read_seen() == SEEN
    (folder.path / "trained_on.json").unlink()
    assert folder.read_seen() is None


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize(
    "damage", [lambda text: text[:-20], lambda text: text.replace("aa", "xx"), lambda text: "\udcff"]
)
def test_a_damaged_file_of_such_faces_is_one_line(folder, damage, listed):
    path = folder.path / "trained_on.json"
    path.write_text(damage(path.read_text()), errors="surrogateescape")
    if not listed:
        (folder.path / "files.json").unlink()
    words = "was changed after the run" if listed else "not what training writes there"
    with refused(f"{path}: {words}", "restore it, or delete it: then it is not known which faces were trained on"):
        folder.read_seen()


@pytest.mark.parametrize(
    "name", ["files.json", "results.json", "training_config.yaml", "predictions.csv", "trained_on.json"]
)
def test_what_a_run_says_of_itself_is_not_read_elsewhere(folder, tmp_path, name):
    (folder.path / name).rename(tmp_path / "mine")
    (folder.path / name).symlink_to(tmp_path / "mine")
    read = {
        "files.json": lambda _: folder.output.hashes,
        "results.json": read_results,
        "training_config.yaml": lambda _: folder.read_settings(),
        "predictions.csv": read_predictions,
        "trained_on.json": lambda _: folder.read_seen(),
    }[name]
    with pytest.raises(UserError, match=f"{name}: (is a link that leads out|leads out of)"):
        read(folder.path)
