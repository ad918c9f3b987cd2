"""Every form of data, from the folder to the figures, the card and the pipeline."""

import json
import shutil

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features
from datasets import Image as ImageFeature
from PIL import Image
from transformers import pipeline

from rafdb_vit.commands.push import main as push
from rafdb_vit.commands.train import main
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.labels import BASIC, COMPOUND
from rafdb_vit.data.splits import hash_files
from rafdb_vit.evaluation.inference import predict_split
from rafdb_vit.evaluation.results import read_results
from rafdb_vit.model.load import load_trained
from rafdb_vit.runtime.errors import UserError
from tests.conftest import nothing_drawn
from tests.support.faces import paint_face, write_official
from tests.support.models import save_vit
from tests.support.other_data import write_fer2013, write_votes

EIGHT = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
ONE_EPOCH = ("--num_train_epochs", "1", "--random_erasing", "0", "--save_total_limit", "1")


def write_class_folders(root, names, splits):
    for split, count in splits.items():
        for code, name in enumerate(names, start=1):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                paint_face(code, i).save(folder / f"{split}{i}.jpg", quality=95)
    return root


def test_the_compound_set_goes_all_the_way(train, tmp_path, capsys):
    data = write_official(tmp_path / "raf", train=4, test=1, subset="compound")
    outcome = train(
        "--subset", "compound", *ONE_EPOCH, data=data, model=save_vit(tmp_path / "vit", names=COMPOUND.names)
    )
    assert list(outcome.test.per_class) == list(COMPOUND.names)
    assert len(outcome.test.confusion_matrix) == 11 and outcome.test.n == 11
    model, _ = load_trained(outcome.folder)
    assert model.config.id2label == dict(enumerate(COMPOUND.names))
    assert f"--model {outcome.folder}" in capsys.readouterr().out
    answers = pipeline("image-classification", str(outcome.folder), top_k=11)(paint_face(11, 0))
    assert {answer["label"] for answer in answers} == set(COMPOUND.names)
    with pytest.raises(UserError, match="not ready to be published"):  # offline
        push([str(outcome.folder), "--repo_id", "ada/compound", "--dry_run", "--license", "mit"])
    card = capsys.readouterr().out
    assert "| Disgustedly Surprised |" in card and "top_k=11" in card and "name: F1 Happily Surprised" in card


def test_the_other_subset_is_named(tmp_path):
    basic = write_official(tmp_path, train=2, test=1)
    with pytest.raises(UserError, match="--subset basic"):
        load_rafdb(basic, subset="compound")
    compound = write_official(tmp_path / "two", train=2, test=1, subset="compound")
    with pytest.raises(UserError, match="--subset compound"):
        load_rafdb(compound)
    shutil.move(basic, compound.parent / "basic")
    assert len(load_rafdb(compound.parent)["test"]) == 7
    assert len(load_rafdb(compound.parent, subset="compound")["test"]) == 11


def test_eight_classes_and_a_validation_split_of_ones_own(tmp_path):
    data = write_class_folders(tmp_path / "affect", EIGHT, {"train": 4, "valid": 1, "test": 2})
    save_vit(tmp_path / "vit", names=EIGHT)
    words = [
        *(
            "--data_dir",
            str(data),
            "--model_name_or_path",
            str(tmp_path / "vit"),
            "--output_dir",
            str(tmp_path / "run"),
        ),
        *("--use_cpu", "--bf16", "False", "--per_device_train_batch_size", "8", *ONE_EPOCH),
    ]
    with pytest.raises(
        UserError, match="--validation_fraction 0.2: the data has a validation split of its own .valid."
    ):
        main([*words, "--validation_fraction", "0.2"])
    outcome = main(words)
    assert (outcome.validation.n, outcome.test.n) == (8, 16)
    assert list(outcome.test.per_class) == list(EIGHT)
    *_, protocol = read_results(outcome.folder)
    assert protocol.data.name == "folder of labelled faces"
    assert protocol.data.sources == {"test": "test", "train": "train", "validation": "valid"}
    assert protocol.validation.carved_from is None
    settings = (outcome.folder / "training_config.yaml").read_text()
    assert "validation_fraction" not in settings


def test_a_held_out_split_is_scored_once_whatever_it_is_called(tmp_path):
    data = write_class_folders(tmp_path / "two", BASIC.names, {"train": 4, "val": 2})
    splits = load_rafdb(data, validation_fraction=0.25)
    assert {split: len(faces) for split, faces in splits.items()} == {"train": 21, "validation": 7, "test": 14}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A release with photographs of grey in which the face is a patch of its code's colour, and its box."""
    basic = write_official(tmp_path_factory.mktemp("photographs"), train=4, test=2)
    originals, boxes = basic / "Image" / "original", basic / "Annotation" / "boundingbox"
    originals.mkdir()
    boxes.mkdir(parents=True)
    for i, aligned in enumerate(sorted((basic / "Image" / "aligned").iterdir())):
        stem = aligned.stem.removesuffix("_aligned")
        left, top, width, height = 10 + i % 30, 5 + i % 20, 60, 40 + i % 20
        photograph = Image.new("RGB", (160, 120), (128, 128, 128))
        with Image.open(aligned) as face:
            photograph.paste(face.resize((width, height)), (left, top))
        photograph.save(originals / f"{stem}.jpg", quality=95)
        (boxes / f"{stem}_boundingbox.txt").write_text(f"{left} {top} {left + width} {top + height} ")
    return basic


def test_faces_are_cut_out_of_photographs(photographs, train):
    outcome = train("--aligned", "false", "--box_margin", "0.1", *ONE_EPOCH, data=photographs)
    *_, protocol = read_results(outcome.folder)
    assert protocol.data.images == "original, cut to a square around the face's box with margin 0.1"
    classify = pipeline("image-classification", str(outcome.folder), top_k=7, function_to_apply="none")
    splits = load_rafdb(photographs, aligned=False, box_margin=0.1)
    confusion = np.zeros((7, 7), dtype=int)
    for face in splits["test"]:
        left, top, side = face["crop"]
        box = face["box"]
        assert side == round(1.2 * max(box[2] - box[0], box[3] - box[1]))
        if left >= 0 and top >= 0:
            cut = face["image"].crop((left, top, left + side, top + side))
        else:  # the edge's pixels are repeated
            pixels = np.pad(np.asarray(face["image"]), ((20, 20), (20, 20), (0, 0)), mode="edge")
            cut = Image.fromarray(pixels).crop((left + 20, top + 20, left + side + 20, top + side + 20))
        answers = {answer["label"]: answer["score"] for answer in classify(cut)}
        confusion[face["label"], BASIC.names.index(max(answers, key=answers.get))] += 1
    assert confusion.tolist() == outcome.test.confusion_matrix


def test_photographs_need_boxes(photographs, official, tmp_path):
    with pytest.raises(UserError, match="Image/original: no such folder"):
        load_rafdb(official, aligned=False)
    with pytest.raises(UserError, match="--box_margin 0.2: goes with --aligned False"):
        load_rafdb(official, box_margin=0.2)
    copy = shutil.copytree(photographs, tmp_path / "basic")
    (copy / "Annotation" / "boundingbox" / "test_0003_boundingbox.txt").unlink()
    with pytest.raises(UserError, match="test_0003_boundingbox.txt: no such file"):
        load_rafdb(copy, aligned=False)
    shutil.rmtree(copy / "Annotation")
    with pytest.raises(UserError, match="boundingbox: .*no such folder"):
        load_rafdb(copy, aligned=False)


def write_vectors(faces_dir, path, favour=0.7):
    rows = (faces_dir / "EmoLabel" / "list_patition_label.txt").read_text().splitlines()
    rest = (1 - favour) / 6
    lines = [
        f"{row[:-2]} {' '.join(str(favour if code == int(row[-1]) else rest) for code in range(1, 8))} " for row in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_distribution_vectors_teach_and_labels_score(train, faces_dir, tmp_path):
    path = write_vectors(faces_dir, tmp_path / "vectors.txt")
    soft = train("--distribution_file", str(path), *ONE_EPOCH, out="soft")
    hard = train(*ONE_EPOCH, out="hard")
    *_, protocol = read_results(soft.folder)
    assert protocol.data.targets == "distribution vectors; scored on single labels"
    weights = [load_trained(outcome.folder)[0].classifier.weight for outcome in (soft, hard)]
    assert not torch.equal(*weights)
    certain = write_vectors(faces_dir, tmp_path / "certain.txt", favour=1.0)
    same = train("--distribution_file", str(certain), *ONE_EPOCH, out="same")
    assert torch.allclose(load_trained(same.folder)[0].classifier.weight, weights[1], atol=1e-5)
    assert same.test == pytest.approx(hard.test) or same.test.confusion_matrix == hard.test.confusion_matrix


def test_other_vectors_are_another_run(train, faces_dir, tmp_path):
    path = write_vectors(faces_dir, tmp_path / "vectors.txt")
    train("--distribution_file", str(path), *ONE_EPOCH)
    write_vectors(faces_dir, path, favour=0.8)
    with pytest.raises(UserError, match="train data is"):
        train("--distribution_file", str(path), *ONE_EPOCH, "--resume_from_checkpoint")


def test_votes_of_fer_plus_go_all_the_way(tmp_path, capsys):
    faces = write_fer2013(tmp_path / "fer" / "fer2013.csv", usages={"Training": 4, "PublicTest": 2, "PrivateTest": 2})
    own = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    votes = [{own[code]: 7, "contempt": 3} for code, *_ in faces]
    votes[0], votes[1] = {"contempt": 10}, {"anger": 5, "fear": 5}
    write_votes(tmp_path / "fer" / "fer2013new.csv", votes, [usage for *_, usage in faces])
    words = ("--from_scratch", "tiny", "--image_size", "48", "--patch_size", "16", *ONE_EPOCH)
    base = [
        *("--data_dir", str(tmp_path / "fer"), *words, "--output_dir", str(tmp_path / "run"), "--use_cpu"),
        *("--bf16", "False", "--per_device_train_batch_size", "14", "--dataloader_num_workers", "0"),
    ]
    with nothing_drawn():
        outcome = main(base)
    assert (outcome.validation.n, outcome.test.n) == (14, 14)
    assert "1 face without a majority of votes is left out" in capsys.readouterr().out
    *_, protocol = read_results(outcome.folder)
    assert protocol.data.name == "folder in FER+ layout"
    assert protocol.data.targets == "distribution vectors; scored on single labels"
    assert protocol.data.sources == {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    test = load_rafdb(tmp_path / "fer")["test"]
    predictions = predict_split(*load_trained(outcome.folder), test, batch_size=8)
    assert predictions.score().confusion_matrix == outcome.test.confusion_matrix
    assert predictions.files[0] == test[0]["file"] == "fer0000042"


def test_a_data_set_by_name(official, tiny_vit, tmp_path, capsys):
    def rows():
        for split, folder in (("train", 6), ("test", 3)):
            for i in range(folder * 7):
                name = f"{split}_{i + 1:0{5 if split == 'train' else 4}d}"
                content = (official / "Image/aligned" / f"{name}_aligned.jpg").read_bytes()
                yield {"picture": {"bytes": content, "path": f"{name}_aligned.jpg"}, "emotion": i % 7}

    features = Features(picture=ImageFeature(), emotion=ClassLabel(names=[name.lower() for name in BASIC.names]))
    whole = Dataset.from_generator(rows, features=features, cache_dir=str(tmp_path / "cache"))
    whole.save_to_disk(str(tmp_path / "single"))
    words = [
        *("--model_name_or_path", str(tiny_vit), "--use_cpu", "--bf16", "False", *ONE_EPOCH),
        *("--per_device_train_batch_size", "14", "--output_dir", str(tmp_path / "run"), "--validation_fraction", "0.3"),
    ]
    outcome = main(["--dataset_name", str(tmp_path / "single"), *words])
    assert (outcome.validation.n, outcome.test.n) == (14, 21)
    *_, protocol = read_results(outcome.folder)
    assert protocol.data.name == "data set on disk"
    assert protocol.validation.files_sha256 == hash_of_validation(official)
    results = json.loads((outcome.folder / "results.json").read_text())
    assert str(tmp_path) not in json.dumps(results)
    folder = main(["--data_dir", str(official), *words, "--overwrite_output_dir"])
    assert folder.test.confusion_matrix == outcome.test.confusion_matrix
    assert folder.test.loss == pytest.approx(outcome.test.loss, abs=1e-6)


def hash_of_validation(official):
    return hash_files(load_rafdb(official, validation_fraction=0.3)["validation"]["file"])


def test_one_source_of_data(train):
    with pytest.raises(UserError, match="one of the three"):
        train("--dataset_name", "user/faces")


def test_a_test_image_that_cannot_be_read_is_told_before_training(train, official, tmp_path):
    broken = official / "Image/aligned/test_0002_aligned.jpg"
    broken.write_bytes(broken.read_bytes()[:900])
    with pytest.raises(UserError, match="test_0002_aligned.jpg: cannot be read as an image"):
        train(*ONE_EPOCH, data=official)
    assert not (tmp_path / "run").exists()


def test_a_box_outside_its_photograph_is_told_as_such(photographs, train, tmp_path):
    copy = shutil.copytree(photographs, tmp_path / "basic")
    (copy / "Annotation" / "boundingbox" / "test_0003_boundingbox.txt").write_text("900 900 950 950")
    with pytest.raises(UserError, match="test_0003.jpg: the face's box lies outside .* mend its file in Annotation"):
        train("--aligned", "false", *ONE_EPOCH, data=copy)
