import errno
import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import load_file, save_file

from rafdb_vit.data.labels import BASIC
from rafdb_vit.hub.faults import Faults, UnfitFiles
from rafdb_vit.hub.staging import find_leak, stage_run
from rafdb_vit.model.download import hash_file
from rafdb_vit.runtime.errors import UserError
from tests.support.finished_run import describe_data, describe_run, random_result, write_as_a_run, write_finished_run
from tests.support.modes import odd_modes

TOKENS = ["hf_" + "aB3" * 11, "hf_oauth_" + "aB3" * 11, "hf_jwt_" + "a" * 30, "ghp_" + "a" * 36, "sk-" + "a" * 40]
PATHS = [
    "/home/ada/RAFDB",
    "|/home/ada/x",
    "{/home/ada/x",
    ";/home/ada/x",
    "~/x",
    "~ada/x",
    "C:\\Users\\ada",
    "file:///x",
]
HONEST = [
    "ada/multitask-facial-expression-recognition-vit-base",
    "ada/vit-mask-robust-expression-recognition-large-2026",
    "http://www.whdeld.cn/RAF/model1.html",
    "https://huggingface.co/google/vit-base-patch16-224-in21k",
    "precision / recall / F1",
    "(figures/confusion_matrix.png)",
    "google/vit-base-patch16-224-in21k",
    "17.5 MB/s and 3/4/5",
]


def leak(tmp_path, text, **settings):
    path = tmp_path / "x.md"
    path.write_text(text)
    return find_leak(path, **settings)


@pytest.mark.parametrize("token", TOKENS)
def test_tokens(tmp_path, token):
    assert "token" in leak(tmp_path, f"it is {token}.") and "token" in leak(tmp_path, f'"{token}"')


@pytest.mark.parametrize("path", PATHS)
def test_paths(tmp_path, path):
    assert "path of this machine" in leak(tmp_path, f"see {path} there")


def test_paths_in_json_however_they_are_written(tmp_path):
    file = tmp_path / "x.json"
    for text in ('{"a": "/data"}', r'{"a": "\/home\/ada"}', json.dumps({"a": r"\/home\/ada\/x"}), '{"/home/ada/x": 1}'):
        file.write_text(text)
        assert "path of this machine" in find_leak(file), text


def test_the_token_in_use_whatever_its_form(tmp_path):
    assert leak(tmp_path, "abc secret-of-another-form") is None
    assert leak(tmp_path, "abc secret-of-another-form", token="secret-of-another-form")


@pytest.mark.parametrize("text", HONEST)
def test_honest_words_pass(tmp_path, text):
    assert leak(tmp_path, f"see {text} there") is None


TOKEN = "hf_" + "aBc" * 11


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    return write_finished_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def run(shared_run, tmp_path):
    return Path(shutil.copytree(shared_run, tmp_path / "run"))


def stage(run, **settings):
    with stage_run(run, **{"repo_id": "ada/faces", "license": None, **settings}) as staged:
        return staged


def refused(run, **settings):
    with pytest.raises(UserError) as error:
        stage(run, **settings)
    assert "\n" not in error.value.line
    return error.value.line


def rewrite_results(run, change):
    content = json.loads((run / "results.json").read_text())
    change(content)
    write_as_a_run(run, {"results.json": json.dumps(content)})


def allow(run, name):
    """Makes a changed file the one that was measured."""
    if name.startswith("figures/"):
        return write_as_a_run(run, {name: (run / name).read_bytes()})
    rewrite_results(run, lambda content: content["protocol"]["files_sha256"].update({name: hash_file(run / name)}))


def test_it_holds_the_files_with_their_checksums_and_is_gone_at_the_end(run):
    with stage_run(run, repo_id="ada/faces", license=None) as staged:
        assert odd_modes(staged.folder) == {}
        found = {str(path.relative_to(staged.folder)) for path in staged.folder.rglob("*") if path.is_file()}
        assert found == {file.path for file in staged.files} and len(found) == 7
        for file in staged.files:
            path = staged.folder / file.path
            assert (file.size, file.sha256) == (path.stat().st_size, hash_file(path))
        assert (staged.folder / "README.md").read_text() == staged.card
        assert len(staged.probabilities[0]) == 7
    assert not staged.folder.exists()


def test_a_sharded_model(run):
    weights = load_file(run / "model.safetensors")
    (run / "model.safetensors").unlink()
    halves = [dict(list(weights.items())[i::2]) for i in range(2)]
    names = [f"model-0000{i + 1}-of-00002.safetensors" for i in range(2)]
    for half, name in zip(halves, names, strict=True):
        save_file(half, run / name, metadata={"format": "pt"})
    index = {
        "metadata": {},
        "weight_map": {key: name for half, name in zip(halves, names, strict=True) for key in half},
    }
    (run / "model.safetensors.index.json").write_text(json.dumps(index))
    rewrite_results(run, lambda content: content["protocol"]["files_sha256"].pop("model.safetensors"))
    for name in (*names, "model.safetensors.index.json"):
        allow(run, name)
    assert {*names, "model.safetensors.index.json"} <= {file.path for file in stage(run).files}


def test_a_run_without_results(run):
    (run / "results.json").unlink()
    assert "results.json: no such file; expected the folder of a finished training run" in refused(run, force=True)
    assert "RUN: no folder" in refused(run / "elsewhere")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "preprocessor_config.json"])
def test_only_what_was_measured_is_published(run, name):
    with (run / name).open("ab") as file:
        file.write(b" ")
    assert f"{name}: is not the file that the metrics in results.json were measured with" in refused(run)
    (run / name).unlink()
    assert f"{name}: no such file" in refused(run)


def test_what_was_changed_after_the_run_is_not_published(run):
    content = (run / "results.json").read_text()
    (run / "results.json").write_text(content.replace('"seed": 42', '"seed": 43'))
    assert "results.json: was changed after the run; restore it, or train again" in refused(run)
    (run / "results.json").write_text(content)
    stage(run)
    (run / "files.json").unlink()
    assert "cannot be told without files.json" in refused(run)


def test_a_file_that_lies_elsewhere_is_not_published(run, tmp_path):
    (run / "config.json").rename(tmp_path / "mine.json")
    (run / "config.json").symlink_to(tmp_path / "mine.json")
    assert "config.json: leads out of the run" in refused(run)


def test_a_figure_that_was_changed_by_hand(run):
    rewrite_results(run, lambda content: content["test"].update(macro_f1=0.99))
    assert "macro_f1 of test is not what its confusion matrix gives" in refused(run)


PARTS = ["model", "training", "checkpoint", "versions", "data", "validation", "test", "scoring"]


@pytest.mark.parametrize("part", [*PARTS, "validation seed", "checkpoint step", "versions rafdb-vit", "data used"])
def test_results_of_another_form(run, part):
    *outer, last = part.split()

    def remove(content):
        inner = content["protocol"]
        for name in outer:
            inner = inner[name]
        inner.pop(last)

    rewrite_results(run, remove)
    assert re.search(rf"results.json: .*lacks .*{last}.*train again to write it", refused(run))


def test_what_else_stands_in_the_results_stays_here(run):
    rewrite_results(run, lambda content: content.update(predictions=["train_00001"]))
    with stage_run(run, repo_id="ada/faces", license=None) as staged:
        assert "train_00001" not in (staged.folder / "results.json").read_text()


def test_results_and_runs_that_cannot_be_read(run):
    rewrite_results(run, lambda content: content["test"].update(loss=float("inf")))
    assert "results.json" in refused(run)
    (run / "results.json").unlink()
    (run / "results.json").mkdir()
    assert "results.json: cannot be read (not a plain file)" in refused(run)
    assert "there is no such user" in refused("~nosuchuser/run") and "RUN: no folder xxx" in refused("x" * 5000)


def test_results_that_name_no_files(run):
    rewrite_results(run, lambda content: content["protocol"].pop("files_sha256"))
    assert "does not say which files were measured" in refused(run)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (TOKEN, "looks like a token"),
        ("/home/ada/RAFDB", "a path of this machine, /home/ada/RAFDB"),
        ("/data", "a path of this machine, /data"),
        ("from /mnt/disk/x.bin on", "a path of this machine, /mnt/disk/x.bin"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "results.json"])
def test_what_must_not_leave_the_machine(run, name, value, words):
    content = json.loads((run / name).read_text())
    (content if name == "config.json" else content["protocol"]["training"])["note"] = value
    text = json.dumps(content).replace("/", "\\/")
    (run / name).write_text(text)
    if name == "config.json":
        allow(run, name)
    else:
        write_as_a_run(run, {name: text})
    line = refused(run)
    assert f"{name}: holds" in line and words in line and TOKEN not in line


def test_secrets_in_weights_and_pictures(run):
    weights = load_file(run / "model.safetensors")
    save_file(weights, run / "model.safetensors", metadata={"format": "pt", "token": TOKEN})
    allow(run, "model.safetensors")
    assert "model.safetensors: holds what looks like a token" in refused(run)
    save_file(weights, run / "model.safetensors", metadata={"format": "pt"})
    allow(run, "model.safetensors")
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "made in /home/ada/runs", zip=True)
    Image.new("RGB", (4, 4)).save(run / "figures" / "learning_curves.png", pnginfo=text)
    allow(run, "figures/learning_curves.png")
    assert "learning_curves.png: holds a path" in refused(run)


def test_a_file_that_is_not_what_its_name_says(run, tmp_path):
    (run / "figures" / "learning_curves.png").write_text("token")
    assert "learning_curves.png: was changed after the run" in refused(run)
    allow(run, "figures/learning_curves.png")
    assert f"{run}/figures/learning_curves.png: is damaged" in refused(run)
    torch.save({"a": torch.zeros(1)}, run / "model.safetensors")
    (run / "figures" / "learning_curves.png").unlink()
    allow(run, "model.safetensors")
    assert "model.safetensors: is damaged" in refused(run)


def test_labels_have_to_be_named_in_the_order_of_the_figures(run, tmp_path):
    swapped = ["Fear", "Surprise", *BASIC.names[2:]]
    config = json.loads((run / "config.json").read_text())
    config["id2label"] = {str(i): name for i, name in enumerate(swapped)}
    (run / "config.json").write_text(json.dumps(config))
    allow(run, "config.json")
    assert "config.json: its classes are ['Fear', 'Surprise'" in refused(run)


@pytest.mark.parametrize("key", ["x", "9" * 5000, "07", "-1", " 7", "7.0"])
def test_labels_have_numbers(run, key):
    config = json.loads((run / "config.json").read_text())
    config["id2label"][key] = "Contempt"
    (run / "config.json").write_text(json.dumps(config))
    allow(run, "config.json")
    line = refused(run)
    assert "config.json: id2label has the keys 0, 1, 2" in line and len(line) < 1000


def test_a_figure_of_very_many_pixels_is_not_unpacked(run):
    for size in [(20_000, 20_000), (4_001, 1)]:
        Image.new("1", size).save(run / "figures" / "learning_curves.png")
        allow(run, "figures/learning_curves.png")
        assert "learning_curves.png: is damaged (" in refused(run)


def test_trials_need_force_and_other_data_a_license(tmp_path):
    run = write_finished_run(tmp_path / "run", "drawn")
    assert "drawn faces" in refused(run, license="mit") and "--license: needed" in refused(run, force=True)
    assert "Not for use" in stage(run, license="mit", force=True).card


def test_a_full_disk_while_staging(run, monkeypatch):
    copyfile, left = shutil.copyfile, [2]

    def fail(source, target, **more):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device", str(source), None, str(target))
        return copyfile(source, target, **more)

    monkeypatch.setattr(shutil, "copyfile", fail)
    line = refused(run)
    assert "cannot be staged (No space left on device" in line and "TMPDIR" in line


def test_the_fixtures_data_are_those_of_the_release():
    protocol = describe_run(describe_data(), {})
    assert sum(map(sum, (counts.values() for counts in protocol["data"]["found"].values()))) == 15339
    assert random_result(0).find_contradiction() is None


def test_of_several_files_each_fault_is_listed_and_the_first_is_the_message(run):
    for name in ("config.json", "preprocessor_config.json"):
        content = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps({**content, "note": TOKEN}))
    with pytest.raises(UnfitFiles) as caught:
        stage(run)
    assert [fault.split(": ")[0] for fault in caught.value.faults] == [
        str(run / name) for name in ("config.json", "preprocessor_config.json")
    ]
    assert caught.value.line == f"{caught.value.faults[0]} (and 1 more, which --dry_run lists)"


def test_a_dry_run_stages_a_trial_and_notes_what_speaks_against_it(tmp_path):
    run, faults = write_finished_run(tmp_path / "run", "drawn"), Faults(collects=True)
    with stage_run(run, repo_id="ada/faces", license=None, faults=faults) as staged:
        assert "license: cc-by-nc-4.0" in staged.card
    with pytest.raises(UserError, match="2 things are to be done"):
        faults.refuse()
