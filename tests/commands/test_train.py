"""The main job, end to end, on a tiny model."""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from transformers import ViTForImageClassification, pipeline

import rafdb_vit
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.pixels import hash_faces
from rafdb_vit.evaluation.overlap import SeenFaces
from rafdb_vit.evaluation.results import read_results
from rafdb_vit.evaluation.verdict import judge
from rafdb_vit.runtime.bars import are_bars_silent
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.run_folder import RunFolder
from tests.support.models import save_vit
from tests.support.modes import odd_modes
from tests.support.shells import read_words

ROOT = Path(__file__).parents[2]


def weights(folder):
    model = ViTForImageClassification.from_pretrained(folder)
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def run(faces_dir, tiny_vit, tmp_path_factory):
    """One finished run that tests only look at."""
    from rafdb_vit.commands.train import main

    folder = tmp_path_factory.mktemp("runs") / "whole"
    return main(
        [
            *("--data_dir", str(faces_dir), "--model_name_or_path", str(tiny_vit), "--output_dir", str(folder)),
            *("--use_cpu", "--bf16", "False", "--per_device_train_batch_size", "14", "--learning_rate", "3e-3"),
            *("--num_train_epochs", "12", "--validation_fraction", "0.3", "--random_erasing", "0"),
        ]
    )


def test_the_run_folder_holds_what_the_design_says(run):
    assert {path.name for path in run.folder.iterdir() if not path.name.startswith("checkpoint-")} == {
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
        "results.json",
        "predictions.csv",
        "report.html",
        "training_config.yaml",
        "trained_on.json",
        "files.json",
        "figures",
    }
    assert {path.name for path in (run.folder / "figures").iterdir()} == {"confusion_matrix.png", "learning_curves.png"}
    for figure in (run.folder / "figures").iterdir():
        with Image.open(figure) as picture:
            assert min(picture.size) > 400


def test_it_writes_down_the_faces_that_it_was_trained_on(run, faces_dir):
    hashes = hash_faces(load_rafdb(faces_dir, validation_fraction=0.3))
    assert RunFolder(run.folder).read_seen() == SeenFaces.of_run(hashes)
    # Test faces of this data are among those of train and validation.
    seen = len(set(hashes["test"]) & {*hashes["train"], *hashes["validation"]})
    assert seen == 28 and '<p class="warning">' in (run.folder / "report.html").read_text()


def test_a_model_knows_also_the_faces_of_the_run_that_it_comes_from(run, train):
    newest = max(run.folder.glob("checkpoint-*"))
    second = train("--num_train_epochs", "1", "--max_train_samples", "14", model=newest)
    seen, before = (RunFolder(of.folder).read_seen() for of in (second, run))
    assert seen == before and len(seen.train) == 49


def test_it_learns(run):
    assert run.test.accuracy > 0.5


def test_the_saved_model_is_the_best_checkpoint(run):
    state = json.loads((max(run.folder.glob("checkpoint-*")) / "trainer_state.json").read_text())
    best = run.folder / Path(state["best_model_checkpoint"]).name
    assert equal(weights(run.folder), weights(best))


def test_pipeline_gives_the_classes_that_were_counted(run, faces_dir):
    classify = pipeline("image-classification", str(run.folder), top_k=7)
    test = load_rafdb(faces_dir)["test"]
    names = test.features["label"].names
    confusion = np.zeros((7, 7), dtype=int)
    log_likelihood = 0.0
    for face in test:
        scores = {answer["label"]: answer["score"] for answer in classify(face["image"])}
        assert set(scores) == set(names)
        confusion[face["label"], names.index(max(scores, key=scores.get))] += 1
        log_likelihood += np.log(scores[names[face["label"]]])
    assert confusion.tolist() == run.test.confusion_matrix
    assert -log_likelihood / len(test) == pytest.approx(run.test.loss, abs=1e-4)


def test_pipeline_gives_the_probabilities_that_were_scored(run, faces_dir):
    from rafdb_vit.evaluation.inference import predict_logits
    from rafdb_vit.model.load import load_trained

    test = load_rafdb(faces_dir)["test"]
    logits = predict_logits(*load_trained(run.folder), test, batch_size=5)
    expected = torch.tensor(logits).softmax(-1).numpy()
    classify = pipeline("image-classification", str(run.folder), top_k=7)
    for row, answers in zip(expected, classify([face["image"] for face in test]), strict=True):
        for answer in answers:
            assert answer["score"] == pytest.approx(row[BASIC.names.index(answer["label"])], abs=1e-4)


def test_code_4_comes_out_as_happiness(run, faces_dir):
    rows = (faces_dir / "EmoLabel" / "list_patition_label.txt").read_text().splitlines()
    stem = next(row.split(".")[0] for row in rows if row.startswith("test_") and row.endswith(" 4"))
    classify = pipeline("image-classification", str(run.folder))
    image = faces_dir / "Image" / "aligned" / f"{stem}_aligned.jpg"
    assert run.test.per_class["Happiness"]["recall"] == 1.0
    assert classify(str(image))[0]["label"] == "Happiness"


def test_results_are_those_of_the_outcome_and_name_the_protocol(run):
    validation, test, protocol = read_results(run.folder)
    assert (validation, test) == (run.validation, run.test)
    assert protocol.data.name == "folder in RAF-DB layout"
    assert protocol.data.found["train"] == dict.fromkeys(BASIC.names, 10)
    assert protocol.data.used["validation"] == dict.fromkeys(BASIC.names, 3)
    assert protocol.data.subsampled is False
    assert protocol.checkpoint.chosen_by == "highest macro_f1 on validation"
    assert protocol.training["precision"] == "fp32"
    assert (protocol.training["optimizer"], protocol.training["schedule"]) == ("adamw_torch_fused", "cosine")
    assert protocol.training["layer_decay"] == 0.75
    text = (run.folder / "results.json").read_text()
    assert str(run.folder.parent) not in text and "/" not in text.replace("/", "", 0).split('"data"')[0]


def test_settings_run_again_to_the_same_results(run, tmp_path):
    from rafdb_vit.commands.train import main

    settings = run.folder / "training_config.yaml"
    assert "output_dir" not in yaml.safe_load(settings.read_text())
    again = main(["--config", str(settings), "--output_dir", str(tmp_path / "again")])
    assert (again.folder / "results.json").read_bytes() == (run.folder / "results.json").read_bytes()


def test_data_workers_change_nothing(train, tmp_path):
    first = train("--num_train_epochs", "1", out="a")
    second = train("--num_train_epochs", "1", "--dataloader_num_workers", "2", out="b")
    assert (first.folder / "results.json").read_bytes() == (second.folder / "results.json").read_bytes()


def test_noise_in_the_test_labels_changes_nothing_but_test(train, faces_dir, tmp_path):
    noisy = shutil.copytree(faces_dir, tmp_path / "noisy" / "basic")
    labels = noisy / "EmoLabel" / "list_patition_label.txt"
    rng = np.random.default_rng(0)
    rows = [
        f"{row.split()[0]} {rng.integers(1, 8)}" if row.startswith("test_") else row
        for row in labels.read_text().splitlines()
    ]
    labels.write_text("\n".join(rows))
    clean, noise = train(out="clean"), train(out="noise", data=noisy)
    assert equal(weights(clean.folder), weights(noise.folder))
    assert clean.validation == noise.validation
    protocols = [read_results(outcome.folder)[2] for outcome in (clean, noise)]
    assert protocols[0].checkpoint == protocols[1].checkpoint
    assert clean.test.confusion_matrix != noise.test.confusion_matrix


def test_test_is_scored_once(train, monkeypatch):
    from rafdb_vit.evaluation import inference

    scored = []
    predict = inference.predict_logits
    monkeypatch.setattr(
        inference, "predict_logits", lambda m, p, data, **k: scored.append(len(data)) or predict(m, p, data, **k)
    )
    train("--num_train_epochs", "1")
    assert scored == [21, 28]


def test_a_model_of_another_head_ends_up_with_the_seven_names(train, tmp_path, capsys):
    other = save_vit(tmp_path / "imagenet", names=[f"c{i}" for i in range(12)])
    outcome = train("--num_train_epochs", "1", model=other)
    config = json.loads((outcome.folder / "config.json").read_text())
    assert config["id2label"] == {str(i): name for i, name in enumerate(BASIC.names)}
    assert "new head of 7 classes for one of 12" in capsys.readouterr().out


def test_from_scratch_and_samples(train, tmp_path):
    outcome = train(
        *("--from_scratch", "tiny", "--image_size", "32", "--patch_size", "16", "--num_train_epochs", "1"),
        *("--max_train_samples", "14", "--max_validation_samples", "7", "--max_test_samples", "10"),
    )
    protocol = read_results(outcome.folder)[2]
    assert (outcome.validation.n, outcome.test.n) == (7, 10)
    assert protocol.data.subsampled is True
    assert protocol.model.source == "tiny" and protocol.training["layer_decay"] == 1.0  # as in Python


def test_what_a_person_sees(train, capfd):
    outcome = train("--num_train_epochs", "2")
    seen = capfd.readouterr()
    assert re.search(r"Device +cpu .*1 process\(es\) of \d+ thread\(s\)", seen.out)
    assert "fp32 in training" in seen.out
    assert re.search(r"train +7 +7 +7 +7 +7 +7 +7 +49", seen.out)
    lines = [line for line in seen.out.splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    assert re.fullmatch(
        r"epoch 1/2  train loss \S+  validation loss \S+  accuracy \S+  macro-F1 \S+  rate \S+  best so far",
        lines[0],
    )
    assert outcome.test.render_report() in seen.out and f"\n{judge(outcome.test).render()}\n" in seen.out
    assert re.search(
        r"Few faces +Validation has 21 faces; fewer than 10 in .*\nFew faces +Its accuracy can be", seen.out
    )
    assert re.search(r"Few faces .*--validation_fraction|Few faces .*rain several times", seen.out)
    (predict,) = [line for line in seen.out.splitlines() if " predict " in line and line.startswith("  ")]
    *_, face, flag, folder = read_words(predict)
    assert os.path.isfile(face) and (flag, folder) == ("--model", str(outcome.folder))
    assert " --repo_id USER/NAME --license cc-by-nc-4.0 --dry_run" in seen.out
    assert "arn" not in re.sub(r"[lL]earn", "", seen.err), seen.err


def test_without_bars_only_lines_are_left(train, capfd):
    outcome = train("--num_train_epochs", "2", "--disable_tqdm")
    seen = capfd.readouterr()
    assert len([line for line in seen.out.splitlines() if line.startswith("epoch ")]) == 2
    assert seen.err == "" and "\r" not in seen.out
    assert not are_bars_silent()  # what a flag asked for ends with the run
    assert odd_modes(outcome.folder) == {}


def test_a_folder_with_something_in_it_is_refused(train, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.doc").write_text("years of work")
    with pytest.raises(UserError, match="--output_dir .*run: is not empty"):
        train()
    train("--overwrite_output_dir", "--num_train_epochs", "1")
    (tmp_path / "run" / "figures" / "mine.svg").write_text("keep")
    second = train("--overwrite_output_dir", "--num_train_epochs", "2")
    assert (tmp_path / "run" / "thesis.doc").read_text() == "years of work"
    assert (tmp_path / "run" / "figures" / "mine.svg").exists()
    steps = sorted(int(path.name.split("-")[1]) for path in second.folder.glob("checkpoint-*"))
    assert steps == [4, 8]


def test_nothing_of_an_earlier_run_is_lost_when_the_new_one_cannot_start(train, tmp_path):
    first = train("--num_train_epochs", "1")
    before = (first.folder / "results.json").read_bytes()
    for flags in (["--layer_decay", "7"], ["--max_train_samples", "0"], ["--metric_for_best_model", "joy"]):
        with pytest.raises(UserError):
            train("--overwrite_output_dir", *flags)
    assert (first.folder / "results.json").read_bytes() == before
    assert list(first.folder.glob("checkpoint-*"))


def test_resuming_in_the_folder(train, tmp_path, capsys):
    whole = train("--num_train_epochs", "3", out="whole")
    resumed = train("--num_train_epochs", "3", "--resume_from_checkpoint", out="run")
    assert "starting from the beginning" in capsys.readouterr().out
    (tmp_path / "run" / "results.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoint-12")
    resumed = train("--num_train_epochs", "3", "--resume_from_checkpoint", out="run")
    for name in ("results.json", "trained_on.json"):
        assert (resumed.folder / name).read_bytes() == (whole.folder / name).read_bytes()
    with pytest.raises(UserError, match="--resume_from_checkpoint: no folder nowhere"):
        train("--resume_from_checkpoint", "nowhere", out="run")


def test_an_unreadable_image_ends_the_run_with_its_name(official, train, capfd, monkeypatch, tmp_path):
    from rafdb_vit.commands.parser import run_command

    broken = official / "Image/aligned/train_00010_aligned.jpg"
    broken.write_bytes(broken.read_bytes()[:700])
    assert run_command(lambda argv: train(data=official)) == 2
    assert not (tmp_path / "run").exists()
    # As if it had been whole when the run began.
    monkeypatch.setattr("rafdb_vit.training.run.hash_faces", lambda splits: dict.fromkeys(splits, ()))
    for workers in ("0", "2"):
        with pytest.raises(UserError, match="train_00010_aligned.jpg") as caught:
            train("--dataloader_num_workers", workers, data=official)
        assert caught.value.line.startswith(str(broken))
    capfd.readouterr()
    assert run_command(lambda argv: train(data=official)) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"error: {broken}: cannot be read as an image")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--data_dir"),
        (["--data_dir", "x", "--demo"], "--data_dir"),
        (["--data_dir", "nowhere"], "nowhere: no such folder"),
        (["--data_dir", ".", "--output_dir", "faces"], "--output_dir faces: lies in the data, ."),
        (["--data_dir", "."], "is empty; expected the folder that holds the faces"),
        (["--data_dir", "x", "--output_dir", "\udcff"], "is no name in UTF-8"),
        (["--demo", "--model_name_or_path", "x"], "--model_name_or_path: has no effect with --demo"),
        (["--data_dir", "x", "--from_scratch", "tiny", "--model_revision", "v1"], "no effect with --from_scratch tiny"),
        (["--data_dir", ".", "--fp16", "--use_cpu"], "--fp16"),
        (["--data_dir", ".", "--hub_token", "secret-word"], "--hub_token"),
        (["--data_dir", ".", "--warmup_steps", "-1"], "--warmup_steps -1.0: expected 0 or more"),
    ],
)
def test_mistakes_before_the_start(flags, message, tmp_path, monkeypatch):
    from rafdb_vit.commands.train import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message) as caught:
        main(flags)
    assert "secret-word" not in caught.value.line


def test_a_run_does_not_replace_the_model_that_it_starts_from(tiny_vit, faces_dir, tmp_path):
    for out in (tiny_vit, tiny_vit.parent):
        with pytest.raises(UserError, match=r"holds the model to start from, .*tiny"):
            rafdb_vit.train(data_dir=faces_dir, model_name_or_path=tiny_vit, output_dir=out, overwrite_output_dir=True)


def test_a_mistake_at_the_command_line_is_one_line_and_status_2(tmp_path, forks):
    done = forks.run("train.py", "--data_dir", tmp_path / "none")
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert done.err.startswith(f"error: {tmp_path / 'none'}: no such folder")
    assert not (ROOT / "runs" / "none-vit-base-patch16-224-in21k").exists()
