import datasets
import pytest

from rafdb_vit.data.dataset import count_classes, load_data, load_rafdb
from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.names import has_published_counts


def test_columns_and_features(faces_dir):
    splits = load_rafdb(faces_dir)
    assert list(splits) == ["train", "validation", "test"]
    for dataset in splits.values():
        assert dataset.column_names == ["image", "label", "file"]
        assert dataset.features["image"] == datasets.Image(mode="RGB")
        assert dataset.features["label"].names == list(BASIC.names)
    face = splits["test"][3]
    assert (face["image"].mode, face["image"].size) == ("RGB", (100, 100))
    assert (face["file"], splits["test"].features["label"].int2str(face["label"])) == ("test_0004", "Happiness")


def test_images_are_not_opened_when_loading(official):
    for image in (official / "Image/aligned").iterdir():
        image.write_bytes(b"not an image")
    assert len(load_rafdb(official)["train"]) > 0


def test_counts_include_absent_classes(faces_dir):
    test = load_rafdb(faces_dir)["test"]
    assert count_classes(test) == dict.fromkeys(BASIC.names, 4)
    assert count_classes(test.select([3]))["Fear"] == 0


def test_only_the_published_counts_make_it_rafdb():
    train, test = (dict(zip(BASIC.names, BASIC.published_counts[split], strict=True)) for split in ("train", "test"))
    assert has_published_counts(BASIC, {"train": train, "test": test})
    assert not has_published_counts(BASIC, {"train": {**train, "Fear": 280}, "test": test})
    assert not has_published_counts(BASIC, {"train": train, "test": {**test, "Fear": 75}})
    assert not has_published_counts(BASIC, {"train": {**train, "Fear": 280}, "test": {**test, "Fear": 75}})
    assert not has_published_counts(BASIC, {"train": train, "test": test, "validation": test})


@pytest.mark.parametrize("drawn", [False, True])
def test_run_data_names_and_counts_what_was_found(faces_dir, drawn):
    data = load_data(
        faces_dir,
        validation_fraction=0.1,
        split_seed=0,
        max_samples={"train": 7, "validation": None, "test": 14},
        drawn=drawn,
    )
    assert data.name == ("drawn" if drawn else "folder in RAF-DB layout")
    assert data.counts == {"train": dict.fromkeys(BASIC.names, 10), "test": dict.fromkeys(BASIC.names, 4)}
    assert {split: len(d) for split, d in data.splits.items()} == {"train": 7, "validation": 7, "test": 14}
