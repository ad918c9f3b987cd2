"""`evaluate`, `compare` and `summarize`, from a trained run to what a person sees."""

import csv
import io
import json
import shutil
import signal
import sys

import numpy as np
import pytest
import yaml
from safetensors.torch import load_file, save_file
from sklearn.metrics import classification_report, confusion_matrix, log_loss
from transformers import pipeline

from rafdb_vit.__main__ import main
from rafdb_vit.commands.evaluate import main as evaluate
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.splits import hash_files
from rafdb_vit.evaluation.results import read_results
from rafdb_vit.evaluation.verdict import judge
from rafdb_vit.runtime.errors import Interrupted, UserError
from tests.conftest import nothing_drawn
from tests.support.faces import paint_face, write_annotations, write_official
from tests.support.models import save_vit
from tests.support.shells import read_words
from tests.support.undivided import CLASSES, write_undivided


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_annotations(write_official(tmp_path_factory.mktemp("release"), train=8, test=3))


@pytest.fixture(scope="module")
def run(release, tiny_vit, tmp_path_factory):
    """A run on originals, with settings that an evaluation has to know of."""
    from rafdb_vit.commands.train import main as train

    folder = tmp_path_factory.mktemp("runs") / "run"
    train(
        [
            *("--data_dir", str(release), "--model_name_or_path", str(tiny_vit), "--output_dir", str(folder)),
            *("--use_cpu", "--bf16", "False", "--num_train_epochs", "2", "--learning_rate", "3e-3"),
            *("--validation_fraction", "0.3", "--split_seed", "3", "--aligned", "False", "--box_margin", "0.1"),
            *("--per_device_eval_batch_size", "5", "--per_device_train_batch_size", "14", "--seed", "1"),
        ]
    )
    return folder


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a verb; returns the exit status, stdout, and the lines of stderr that are not progress."""

    def call(*argv):
        monkeypatch.setattr(sys, "argv", ["rafdb-vit", *map(str, argv)])
        status = main()
        out, err = capsys.readouterr()
        lines = [line for line in err.replace("\r", "\n").splitlines() if line.strip() and "it/s" not in line]
        return status, out, [line for line in lines if "Scoring" not in line]

    return call


def read_rows(folder):
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_figures_of_training_to_the_last_digit(run, command):
    status, out, _ = command("evaluate", run, "--use_cpu")
    folder = run / "evaluations" / "basic-test"
    assert status == 0 and "The same metrics as in" in out and "to the last digit" in out
    assert "--aligned False, --box_margin 0.1" in out.replace("'", "") and "--per_device_eval_batch_size 5" in out
    assert {path.name for path in folder.iterdir()} == {
        "predictions.csv",
        "report.html",
        "evaluation.json",
        "files.json",
    }
    content = json.loads((folder / "evaluation.json").read_text())
    assert content["figures"] == json.loads((run / "results.json").read_text())["test"]
    _, test, _ = read_results(run)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert judge(test).render() in out and judge(test).headline in page
    assert f"rafdb-vit evaluate {run}" in page and "Training took" not in page
    assert content["split"] == "test" and content["model"]["source"] == "run"
    # The photographs of this data differ in where the face is; cut out, the faces are one picture.
    assert content["overlap"] == {"n": 21, "trained_on": 21, "used_to_choose_checkpoint": 0, "others": None}
    assert "All 21 faces were trained on: none is left to tell how good the model is on new ones." in out
    assert (folder / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()


def test_validation_too_and_elsewhere(run, command, tmp_path):
    status, out, _ = command("evaluate", run, "--split", "validation", "--output_dir", tmp_path / "out", "--use_cpu")
    assert status == 0 and "The same metrics as in" in out
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    trained = json.loads((run / "results.json").read_text())["validation"]
    assert content["figures"].pop("groups")["gender"]["groups"]["male"]["few"] and trained.pop("groups") is None
    assert content["figures"] == trained


def test_every_figure_is_scikit_learns_on_the_predictions(run):
    rows = read_rows(run)
    _, test, _ = read_results(run)
    labels, predicted = [row["label"] for row in rows], [row["predicted"] for row in rows]
    report = classification_report(labels, predicted, labels=BASIC.names, output_dict=True, zero_division=0)
    for name in BASIC.names:
        assert list(test.per_class[name].values())[:3] == list(report[name].values())[:3]
    assert test.macro_f1 == pytest.approx(report["macro avg"]["f1-score"], abs=1e-15)
    assert test.confusion_matrix == confusion_matrix(labels, predicted, labels=BASIC.names).tolist()
    shares = np.array([[float(row[f"probability_{name}"]) for name in sorted(BASIC.names)] for row in rows])
    assert test.loss == pytest.approx(log_loss(labels, shares, labels=sorted(BASIC.names)), rel=1e-12)
    for name, group in test.groups["gender"]["groups"].items():
        own = [row for row in rows if row["group_gender"] == name]
        assert group["n"] == len(own)
        assert group["accuracy"] == pytest.approx(np.mean([row["label"] == row["predicted"] for row in own]))


def test_the_page_of_a_run_has_everything(run, release):
    html = (run / "report.html").read_text(encoding="utf-8")
    for words in (
        "Scores",
        "Confusion matrix",
        "By gender",
        "How it learned",
        "Training settings",
        "How to read a curve",
    ):
        assert words in html
    assert "2023" not in html and html.count("<svg") == 11
    assert "Training took" in html and "Each time training sees a face" in html and "Validation has 14 faces" in html
    assert f"<bdi>{release.name}</bdi>" in html and 'train <span class="flag">--data_dir</span>' in html


def test_nothing_of_faces_is_published(run):
    from rafdb_vit.hub.staging import stage_run

    with stage_run(run, repo_id="ada/faces", license="mit", force=True) as staged:
        names = {file.path for file in staged.files}
        assert not any("report" in name or "predictions" in name or "evaluation" in name for name in names)
        texts = [path.read_text() for path in staged.folder.rglob("*") if path.suffix in (".md", ".json")]
        assert not any("test_0001" in text or "data:image" in text for text in texts)
        assert (run / "trained_on.json").is_file() and "trained_on.json" not in names
        hashes = json.loads((run / "trained_on.json").read_text())["train"]
        assert hashes and not any(found in text for text in texts for found in [*hashes, "trained_on"])
        assert "95% interval" in staged.card and "gender:" not in staged.card  # of fewer than 30 faces each


def test_a_checkpoint_knows_its_runs_data(run, command, tmp_path):
    checkpoint = max(run.glob("checkpoint-*"))
    status, out, _ = command("evaluate", checkpoint, "--use_cpu")
    assert status == 0 and "--box_margin 0.1" in out and "figures as in" not in out
    assert (run / "evaluations" / f"{checkpoint.name}-basic-test" / "report.html").is_file()


def test_a_model_from_elsewhere_with_other_names_and_order(faces_dir, tmp_path, command):
    ours = dict(zip(("angry", "happy", "sad", "surprised"), ("Anger", "Happiness", "Sadness", "Surprise"), strict=True))
    names = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprised", "contempt")
    model = save_vit(tmp_path / "model", names=names)
    status, out, _ = command("evaluate", model, "--data_dir", faces_dir, "--use_cpu")
    assert status == 0 and "Left out    contempt" in out
    folder = model / "evaluations" / f"{faces_dir.name}-test"
    rows, content = read_rows(folder), json.loads((folder / "evaluation.json").read_text())
    assert content["model"]["classes_left_out"] == ["contempt"]
    assert content["overlap"] is None and "trained on" not in out
    page = (folder / "report.html").read_text()
    assert "Which pictures the model was trained on is not known here: some of these faces may be among them." in page
    assert list(content["figures"]["per_class"]) == list(BASIC.names)
    test = load_rafdb(faces_dir)["test"]
    answers = pipeline("image-classification", str(model), top_k=8)(list(test["image"]))
    assert [row["label"] for row in rows] == [BASIC.names[label] for label in test["label"]]
    expected = [next(row["label"] for row in answer if row["label"] != "contempt") for answer in answers]
    assert [row["predicted"] for row in rows] == [ours.get(name, name.capitalize()) for name in expected]


def test_other_data_has_its_own_splits_and_the_base_models_revision_is_not_the_runs(run, tmp_path, command):
    other = write_official(tmp_path / "other", train=2, test=1)
    copy = shutil.copytree(run, tmp_path / "copy", ignore=shutil.ignore_patterns("checkpoint-*", "evaluations"))
    settings = yaml.safe_load((copy / "training_config.yaml").read_text())
    settings |= {"model_revision": "main", "max_test_samples": 5, "aligned": True, "box_margin": 0.0}
    (copy / "training_config.yaml").write_text(yaml.safe_dump(settings))
    status, out, _ = command("evaluate", copy, "--data_dir", other, "--use_cpu")
    assert status == 0 and "--validation_fraction" not in out and "--max_test_samples" not in out
    assert "test: 7 faces" in out
    assert json.loads((copy / "evaluations" / "basic-test" / "evaluation.json").read_text())["figures"]["n"] == 7


@pytest.fixture
def changed(run, tmp_path):
    """A copy of the run, to be changed at will."""
    return shutil.copytree(run, tmp_path / "changed", ignore=shutil.ignore_patterns("checkpoint-*", "evaluations"))


def test_weights_that_were_changed_since_are_named(changed, command, tmp_path):
    weights = load_file(changed / "model.safetensors")
    weights["classifier.bias"] += 1
    save_file(weights, changed / "model.safetensors", metadata={"format": "pt"})
    (changed / "trained_on.json").unlink()  # as in a run of an early version
    status, out, _ = command("evaluate", changed, "--output_dir", tmp_path / "out", "--use_cpu")
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["overlap"] is None
    assert not any("trained on" in text for text in (out, (tmp_path / "out" / "report.html").read_text()))
    assert status == 0 and "model.safetensors: not what" in out and "The same metrics" not in out


def test_a_sample_has_a_folder_of_its_own_and_is_called_so(changed, command):
    status, _, _ = command("evaluate", changed, "--max_test_samples", 9, "--use_cpu")
    page = (changed / "evaluations" / "basic-test-9" / "report.html").read_text()
    assert status == 0 and "A trial on 9 of " in page and "do not report these numbers" in page


@pytest.mark.parametrize("part", ["data", "training", "checkpoint", "validation", "model"])
def test_results_that_lack_something_are_a_line_before_anything_is_scored(changed, command, part):
    content = json.loads((changed / "results.json").read_text())
    content["protocol"][part] = []
    (changed / "results.json").write_text(json.dumps(content))
    status, out, err = command("evaluate", changed, "--use_cpu")
    assert status == 2 and len(err) == 1 and "results.json" in err[0] and "Device" not in out


def test_a_damaged_list_of_trained_faces_is_a_line_before_anything_is_scored(changed, command):
    with (changed / "trained_on.json").open("a") as file:
        file.write("]")
    status, out, err = command("evaluate", changed, "--use_cpu")
    assert status == 2 and len(err) == 1 and "Device" not in out
    assert err[0].startswith(
        f"error: {changed}/trained_on.json: was changed after the run; restore it, or delete it: then"
    )


def test_data_that_is_not_where_the_run_had_it(changed, command):
    settings = yaml.safe_load((changed / "training_config.yaml").read_text())
    (changed / "training_config.yaml").write_text(yaml.safe_dump({**settings, "data_dir": "../gone"}))
    status, _, err = command("evaluate", changed, "--use_cpu")
    assert status == 2 and err == [
        "error: --data_dir: the run was trained on ../gone, which is not there now; give its folder"
    ]


OF_DATA = ("aligned", "subset", "split_seed", "box_margin", "data_dir", "max_test_samples", "demo")


@pytest.mark.parametrize("name", OF_DATA)
def test_no_setting_of_a_run_becomes_another_flag(name, faces_dir, tiny_vit, tmp_path, command):
    run = shutil.copytree(tiny_vit, tmp_path / "received")
    settings = {"data_dir": str(faces_dir), name: f"--output_dir={tmp_path / 'elsewhere'}"}
    (run / "training_config.yaml").write_text(yaml.safe_dump(settings))
    status, _, err = command("evaluate", run, "--use_cpu")
    assert status == 2 and len(err) == 1 and not (tmp_path / "elsewhere").exists()
    where = f"{run}/training_config.yaml: {name}"
    if name == "data_dir":
        where = "--data_dir: the run was trained on --output_dir="
    assert err[0].startswith(f"error: {where}")


def test_what_belongs_to_the_machine_of_a_run_is_not_taken_over(faces_dir, tiny_vit, tmp_path, command, monkeypatch):
    run = shutil.copytree(tiny_vit, tmp_path / "my run")
    of_machine = {"dataloader_num_workers": 10**6, "use_cpu": False, "fp16": True, "bf16": "x", "output_dir": "/x"}
    settings = {"data_dir": str(faces_dir), "split_seed": 3, "per_device_eval_batch_size": 10**9, "title": "$(x)"}
    (run / "training_config.yaml").write_text(yaml.safe_dump(settings | of_machine))
    status, out, _ = command("evaluate", run, "--use_cpu")
    assert status == 0 and f"Settings    of {run}: --data_dir {faces_dir}, --split_seed 3\n" in out


def test_the_folder_above_a_model_is_not_its_run(faces_dir, tiny_vit, tmp_path, command):
    (tmp_path / "training_config.yaml").write_text(yaml.safe_dump({"data_dir": str(faces_dir)}))
    for name in ("model", "checkpoint-3"):
        model = shutil.copytree(tiny_vit, tmp_path / name)
        status, _, err = command("evaluate", model, "--use_cpu")
        assert status == 2 and len(err) == 1 and "--data_dir: expected the folder" in err[0]


def test_a_runs_own_files_are_not_overwritten(run, faces_dir, tiny_vit, command):
    before = {path.name: path.read_bytes() for path in run.glob("*.*")}
    status, _, err = command("evaluate", tiny_vit, "--data_dir", faces_dir, "--output_dir", run, "--use_cpu")
    assert status == 2 and len(err) == 1 and "holds a training run" in err[0]
    assert {path.name: path.read_bytes() for path in run.glob("*.*")} == before


def test_answers_that_are_no_numbers_are_a_line(faces_dir, tmp_path, command):
    model = save_vit(tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][2] = float("nan")
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    status, _, err = command("evaluate", model, "--data_dir", faces_dir, "--use_cpu")
    assert status == 2 and len(err) == 1 and "28 of 28 faces with numbers that are not finite" in err[0]
    picture = faces_dir / "Image" / "aligned" / "test_0001_aligned.jpg"
    status, out, err = command("predict", picture, "--model", model, "--json", "--use_cpu")
    assert status == 1 and set(json.loads(out)[0]) == {"file", "error"} and "not finite" in err[0]


def test_a_run_without_its_page_is_whole(faces_dir, tiny_vit, train, tmp_path, monkeypatch, capsys):
    def fail(evaluation):
        raise UserError("x.jpg: cannot be read as an image")

    monkeypatch.setattr("rafdb_vit.report.page.render_page", fail)
    with pytest.raises(UserError, match="is whole, but its page could not be written: x.jpg"):
        train("--num_train_epochs", "1", out="pageless")
    assert "macro avg" in capsys.readouterr().out

    def interrupt(evaluation):
        raise Interrupted(signal.SIGTERM)

    monkeypatch.setattr("rafdb_vit.report.page.render_page", interrupt)
    with pytest.raises(Interrupted) as stop:
        train("--num_train_epochs", "1", out="it's $(touch x)")
    assert "is whole, but its page was not written; `rafdb-vit evaluate" in stop.value.message
    assert read_words(stop.value.message.split("`")[1]) == ["rafdb-vit", "evaluate", str(tmp_path / "it's $(touch x)")]
    assert (tmp_path / "it's $(touch x)" / "results.json").is_file()
    names = {path.name for path in (tmp_path / "pageless").iterdir()}
    assert "results.json" in names and not names & {"predictions.csv", "report.html"}


def test_mistakes_are_one_line_and_write_nothing(run, faces_dir, tmp_path, command, tiny_vit):
    (tmp_path / "file").write_text("")
    eleven = save_vit(tmp_path / "eleven", names=[f"class {i}" for i in range(11)])
    for argv, words in (
        ((tiny_vit,), "--data_dir"),
        ((tiny_vit, "--data_dir", faces_dir, "--dataset_name", "a/b"), "one of the two"),
        ((tiny_vit, "--data_dir", tmp_path / "nothing"), "no such folder"),
        ((tmp_path / "nothing", "--data_dir", faces_dir), "MODEL: no folder"),
        ((tmp_path / "nothing",), "/ holds eleven; a model of the Hub"),
        ((eleven, "--data_dir", faces_dir), "expected one for each class of the data"),
        ((tiny_vit, "--data_dir", faces_dir, "--output_dir", tmp_path / "file"), "is a file"),
        ((tiny_vit, "--data_dir", faces_dir, "--split", "dev"), "--split"),
        ((tiny_vit, "--data_dir", faces_dir, "--per_device_eval_batch_size", 0), "expected 1 or more"),
        ((tiny_vit, "--data_dir", faces_dir, "--dataloader_num_workers", 10**9), "expected less than 1024"),
        ((tiny_vit, "--data_dir", faces_dir, "--split_seed", -1), "--split_seed -1: expected 0 or more"),
        ((tiny_vit, "--data_dir", faces_dir, "--model_revision", "v1"), "is a folder"),
        ((tmp_path / "file", "--data_dir", faces_dir), "is a file; expected a model's folder"),
        (("", "--data_dir", faces_dir), "is empty"),
        ((tiny_vit, "--data_dir", faces_dir, "--max_validation_samples", 3), "no effect on the split test"),
        ((tiny_vit, "--data_dir", faces_dir, "--validation_fraction", 0.2), "no effect on the split test"),
        ((tiny_vit, "--data_dir", faces_dir, "--split", "train", "--max_test_samples", 3), "on the split train"),
    ):
        status, out, err = command("evaluate", *argv, "--use_cpu")
        assert status == 2 and len(err) == 1 and words in err[0], (argv, err)
        assert "report.html" not in out
    assert not (tiny_vit / "evaluations").exists() and not (eleven / "evaluations").exists()


def test_an_unreadable_face_is_named(official, tiny_vit, command, tmp_path):
    (official / "Image" / "aligned" / "test_0002_aligned.jpg").write_bytes(b"")
    status, _, err = command("evaluate", tiny_vit, "--data_dir", official, "--output_dir", tmp_path / "o", "--use_cpu")
    assert status == 2 and len(err) == 1 and "test_0002_aligned.jpg" in err[0]
    assert not (tmp_path / "o").exists()


def test_a_demo_run_knows_its_faces_and_a_new_run_deletes_what_was_written(faces_dir, tiny_vit, tmp_path, capsys):
    run = save_vit(tmp_path / "demo")
    shutil.copytree(faces_dir, run / "drawn_faces" / "basic")
    (run / "training_config.yaml").write_text(yaml.safe_dump({"demo": True}))
    evaluate([str(run), "--use_cpu"])
    assert "These faces are drawn" in (run / "evaluations" / "drawn_faces-test" / "report.html").read_text()
    (run / "evaluations" / "mine.txt").write_text("")
    from rafdb_vit.training.run_folder import RunFolder

    RunFolder(run).clear()
    assert [path.name for path in (run / "evaluations").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("link", ["evaluations", "evaluations/other"])
def test_nothing_outside_the_run_is_deleted(tmp_path, link):
    from rafdb_vit.training.run_folder import RunFolder

    elsewhere, run = tmp_path / "elsewhere", tmp_path / "run"
    for folder in (elsewhere / "mine", (run / link).parent):
        folder.mkdir(parents=True)
    for folder in (elsewhere, elsewhere / "mine"):
        (folder / "report.html").write_text("precious")
    (run / link).symlink_to(elsewhere)
    RunFolder(run).clear()
    assert len(list(elsewhere.rglob("report.html"))) == 2


def test_compare_two_models(run, faces_dir, release, tiny_vit, tmp_path, command):
    evaluate([str(tiny_vit), "--data_dir", str(release), "--output_dir", str(tmp_path / "other"), "--use_cpu"])
    status, out, _ = command("compare", tmp_path / "other", run)
    assert status == 0 and "McNemar's exact test: p = " in out and "f1 of Fear" in out
    status, out, _ = command("compare", tmp_path / "other" / "predictions.csv", run, "--json")
    assert json.loads(out)["n"] == 21
    command("evaluate", tiny_vit, "--data_dir", faces_dir, "--output_dir", tmp_path / "third", "--use_cpu")
    status, out, err = command("compare", tmp_path / "third", run)
    assert (status, out) == (2, "") and len(err) == 1 and "not the same faces" in err[0]
    status, _, err = command("compare", tmp_path, run)
    assert status == 2 and "no such file" in err[0]


def test_summarize(run, command):
    status, _, err = command("summarize", run, run)
    assert status == 2 and len(err) == 1 and "has the seed of" in err[0]


def test_predict(tmp_path, tiny_vit, command):
    for i in range(1, 4):
        paint_face(i, i).save(tmp_path / f"{i}.png")
    status, out, err = command("predict", tmp_path, "--model", tiny_vit, "--use_cpu")
    assert (status, len(out.splitlines()), err) == (0, 3, [])
    (tmp_path / "4.png").write_bytes(b"")
    status, out, err = command("predict", tmp_path / "4.png", tmp_path / "1.png", "--model", tiny_vit, "--json")
    assert status == 1 and len(err) == 1 and "4.png" in err[0]
    failed, read = json.loads(out)
    assert set(failed) == {"file", "error"} and set(read["probabilities"]) == set(BASIC.names)
    status, out, err = command("predict", tmp_path, "--model", tmp_path / "nothing")
    assert (status, out) == (2, "") and err[0].startswith("error: --model: no folder ")


def test_predict_as_rows_of_a_table(tmp_path, command):
    model = save_vit(tmp_path / "model", names=("=a", 'b "c", d'))
    names = ["1.png", 'x, "y".png', "=1+1.png"]
    for i, name in enumerate(names, start=1):
        paint_face(i, i).save(tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"")
    words = [tmp_path / name for name in (names[0], "2.png", *names[1:])]
    status, out, err = command("predict", *words, "--model", model, "--csv", "--use_cpu")
    assert status == 1 and len(err) == 1 and "2.png" in err[0]
    head, *rows = csv.reader(io.StringIO(out))
    assert head == ["file", "expression", "probability_=a", 'probability_b "c", d']
    assert [row[0] for row in rows] == [str(tmp_path / name) for name in names]
    _, answers, _ = command("predict", *words, "--model", model, "--json", "--use_cpu")
    answers = [answer for answer in json.loads(answers) if "error" not in answer]
    for row, answer in zip(rows, answers, strict=True):
        assert row[1] == {"=a": "'=a"}.get(answer["label"], answer["label"])
        assert [float(cell) for cell in row[2:]] == [answer["probabilities"][name] for name in ("=a", 'b "c", d')]
    status, out, err = command("predict", tmp_path / "1.png", "--model", model, "--csv", "--json")
    assert (
        status == 2
        and out == ""
        and err == ["error: --csv: --json prints the same for programs; leave one of them out"]
    )


def test_a_model_is_scored_without_the_classes_that_it_does_not_know(tmp_path, tiny_vit, command):
    data = write_undivided(tmp_path / "data", CLASSES, copies=False)
    status, _, err = command("evaluate", tiny_vit, "--data_dir", data, "--use_cpu")
    assert status == 2 and err[-1].endswith("Contempt is not among them; --leave_out Contempt scores the others")
    output = tmp_path / "out"
    words = ("--data_dir", data, "--leave_out", "contempt", "--output_dir", output, "--use_cpu")
    status, out, _ = command("evaluate", tiny_vit, *words)
    assert status == 0 and "left out: Contempt (10)" in out and "split test: 70 faces" in out
    content = json.loads((output / "evaluation.json").read_text())
    assert content["data"]["left_out"] == {"Contempt": 10} and list(content["figures"]["per_class"]) == list(
        BASIC.names
    )
    assert "Left out on demand: Contempt (10 faces)." in (output / "report.html").read_text()


def test_a_run_on_data_without_splits_is_scored_on_what_it_set_aside(tmp_path, tiny_vit, command, capsys):
    from rafdb_vit.commands.train import main as train

    data, run = write_undivided(tmp_path / "data", CLASSES), tmp_path / "run"
    words = ["--data_dir", str(data), "--model_name_or_path", str(tiny_vit), "--output_dir", str(run), "--use_cpu"]
    words += ["--bf16", "False", "--num_train_epochs", "1", "--test_fraction", "0.2", "--leave_out", "Contempt"]
    with nothing_drawn():
        train([*words, "--group_pattern", "^(p[0-9])_"])
    out = capsys.readouterr().out
    pictures = "Looking for duplicates among 84 pictures before test is set aside ..."
    assert pictures in out and "Note        7 groups of duplicates stay on one side" in out
    *_, protocol = read_results(run)
    assert protocol.data.left_out == {"Contempt": 13} and protocol.data.found.keys() == {"train"}
    rows = read_rows(run)
    assert protocol.test_split.files_sha256 == hash_files([row["file"] for row in rows]) and len(rows) == 14
    assert (protocol.test_split.fraction, protocol.test_split.seed) == (0.2, 0)
    assert protocol.test_split.kept_together == "duplicates and persons (file names, ^(p[0-9])_)"
    settings = yaml.safe_load((run / "training_config.yaml").read_text())
    assert (settings["test_fraction"], settings["leave_out"]) == (0.2, ["Contempt"])
    with nothing_drawn():
        status, out, _ = command("evaluate", run, "--use_cpu")
    assert status == 0 and "The same metrics as in" in out and (run / "evaluations/data-test/predictions.csv").is_file()
    copy = shutil.copytree(data, tmp_path / "copy")
    assert "None of these 14 faces were trained on, pixel for pixel" in out
    status, _, err = command("evaluate", run, "--data_dir", copy, "--leave_out", "Contempt", "--use_cpu")
    assert status == 2 and "holds the faces that" in err[-1] and "add --test_fraction 0.2 --group_pattern" in err[-1]
    check_copy_with_other_names(run, copy, command)
    with pytest.raises(UserError, match="this run differs from the one that wrote it: .*test files is"):
        train([*words, "--group_pattern", "^(p[0-9])_", "--split_seed", "1", "--resume_from_checkpoint"])


def check_copy_with_other_names(run, copy, command):
    """Of a copy of its data with a face fewer and other names, the faces that are new have the metrics of its test."""
    tested = {row["file"] for row in read_rows(run)}
    removed = next(path for path in sorted(copy.rglob("p*.*")) if path.stem not in tested)
    removed.unlink()
    for number, path in enumerate(sorted(copy.rglob("p*.*"))):
        path.rename(path.with_name(f"{number}{path.suffix}"))
    status, out, _ = command("evaluate", run, "--data_dir", copy, "--leave_out", "Contempt", "--use_cpu")
    folder = run / "evaluations" / "copy-test"
    overlap = json.loads((folder / "evaluation.json").read_text())["overlap"]
    results = json.loads((run / "results.json").read_text())
    trained, chosen = overlap["trained_on"], overlap["used_to_choose_checkpoint"]
    assert (overlap["n"], trained + chosen, chosen) == (83, 69, results["validation"]["n"])
    assert status == 0 and f"{trained} of these 83 faces were trained on, and {chosen} others were used to" in out
    assert overlap["others"]["confusion_matrix"] == results["test"]["confusion_matrix"]
    assert f"Results on the other 14: accuracy {results['test']['accuracy']:.4f} (95% interval" in out


def test_the_settings_of_a_run_that_cannot_be_read(tmp_path):
    run = save_vit(tmp_path / "run")
    (run / "training_config.yaml").write_text("a: [")
    with pytest.raises(UserError, match="expected the settings of a run"):
        evaluate([str(run), "--data_dir", "."])


@pytest.fixture
def in_between(monkeypatch):
    """Does something between the scoring of a model and the writing of what came out."""
    from rafdb_vit.training import scoring

    def between(act):
        predict = scoring.predict_split

        def then(*args, **kwargs):
            predictions = predict(*args, **kwargs)
            act()
            return predictions

        monkeypatch.setattr(scoring, "predict_split", then)

    return between


def test_a_model_that_is_replaced_while_it_is_scored(changed, command, in_between):
    def replace():
        with (changed / "model.safetensors").open("ab") as file:
            file.write(b" ")

    in_between(replace)
    status, _, err = command("evaluate", changed, "--use_cpu")
    assert status == 2 and "its files were replaced while it was scored; run the same command again" in err[-1]
    assert not list((changed / "evaluations").rglob("evaluation.json"))


def test_nobody_else_writes_into_an_evaluation_that_is_under_way(changed, command, tmp_path, in_between, train):
    refused = []

    def interfere():
        with pytest.raises(UserError, match=r"process \d+ on .* is writing into it") as error:
            train("--overwrite_output_dir", out=tmp_path / "out")
        refused.append(error)

    in_between(interfere)
    assert command("evaluate", changed, "--output_dir", tmp_path / "out", "--use_cpu")[0] == 0 and refused


def test_a_persons_own_page_and_predictions_stay(changed, faces_dir, command, tmp_path):
    for name in ("report.html", "predictions.csv", "evaluation.json.partial"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text("mine")
        status, _, err = command("evaluate", changed, "--output_dir", folder, "--use_cpu")
        assert status == 2 and f"{name}: is in the way" in err[-1] and (folder / name).read_text() == "mine"
    data = faces_dir / "DATASET" / "train" / "1"
    status, _, err = command("evaluate", changed, "--data_dir", faces_dir, "--output_dir", data / "x", "--use_cpu")
    assert status == 2 and "lies in the data" in err[-1] and not (data / "x").exists()
