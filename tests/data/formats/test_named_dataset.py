"""A data set of `datasets` runs no code, and leads to no files but its own."""

import io
import json
import os

import datasets
import PIL.Image
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image

from rafdb_vit.data.formats.named_dataset import find_folder, open_named
from rafdb_vit.data.labels import BASIC
from tests.support.refusals import refused


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def build():
    content = io.BytesIO()
    PIL.Image.new("RGB", (8, 8)).save(content, "PNG")
    rows = {"image": [{"bytes": content.getvalue(), "path": None}] * 7, "label": list(range(7))}
    features = Features(image=Image(), label=ClassLabel(names=list(BASIC.names)))
    return DatasetDict({split: Dataset.from_dict(rows, features=features) for split in ("train", "test")})


@pytest.fixture
def saved(tmp_path):
    build().save_to_disk(tmp_path / "faces")
    return tmp_path / "faces"


@pytest.fixture
def folder(tmp_path):
    """A folder that `load_dataset` reads, and another beside it."""
    for name in ("faces", "elsewhere"):
        (tmp_path / name).mkdir()
        for split, dataset in build().items():
            dataset.to_parquet(tmp_path / name / f"{split}.parquet")
    return tmp_path / "faces"


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_no_code_of_a_data_set_runs(folder, tmp_path):
    code = f"open({str(tmp_path / 'ran')!r}, 'w')"
    for name in ("setup.py", "conftest.py", "__init__.py"):
        (folder / name).write_text(code)
    assert len(open_named(str(folder))["train"]) == 7
    (folder / "faces.py").write_text(code)
    with refused(f"--dataset_name {folder}: cannot be loaded (Dataset scripts are no longer supported"):
        open_named(str(folder))
    (folder / "faces.py").unlink()
    for path in folder.glob("*.parquet"):
        path.unlink()
    with refused(f"--dataset_name {folder}: cannot be loaded"):
        open_named(str(folder))
    (folder / "train.pkl").write_bytes(b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "ran") + b"'\ntR.")
    with refused(f"--dataset_name {folder}: cannot be loaded"):
        open_named(str(folder))
    assert not (tmp_path / "ran").exists()
    assert not hasattr(pa, "PyExtensionType"), "which unpickled what a file's columns said"


@pytest.mark.parametrize("card", ["README.md", ".huggingface.yaml"])
@pytest.mark.parametrize("named", ["{beside}/train.parquet", "../elsewhere/*.parquet", "{beside}/**", "link.parquet"])
def test_data_files_elsewhere_are_refused(folder, card, named):
    beside = folder.parent / "elsewhere"
    (folder / "link.parquet").symlink_to(beside / "train.parquet")
    text = f"configs:\n- config_name: default\n  data_files: {named.format(beside=beside)!r}\n"
    (folder / card).write_text(f"---\n{text}---\n" if card == "README.md" else text)
    with refused(f"--dataset_name {folder}: names ", "which is not in it"):
        open_named(str(folder))


@pytest.mark.parametrize("named", ["https://localhost:9/x.parquet", "zip://x.parquet::{beside}/x.zip", "/etc/passwd"])
def test_data_files_that_cannot_be_had_are_refused(folder, named):
    text = f"configs:\n- config_name: default\n  data_files: {named.format(beside=folder.parent)!r}\n"
    (folder / "README.md").write_text(f"---\n{text}---\n")
    with refused(f"--dataset_name {folder}: "):
        open_named(str(folder))


def test_data_files_of_its_own_are_read(folder):
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: t*.parquet\n---\n"
    )
    assert {split: len(faces) for split, faces in open_named(str(folder)).items()} == {"test": 14}


def test_a_folder_called_like_a_format_is_a_folder(folder, monkeypatch):
    folder.rename(folder.parent / "parquet")
    monkeypatch.chdir(folder.parent)
    assert len(open_named("parquet")["test"]) == 7


@pytest.mark.parametrize("place", ["{other}/data-00000-of-00001.arrow", "../../other/data-00000-of-00001.arrow"])
def test_saved_files_elsewhere_are_refused(saved, place):
    other = saved.parent / "other"
    build()["train"].save_to_disk(other)
    change(saved / "train/state.json", _data_files=[{"filename": place.format(other=other)}])
    with refused(f"--dataset_name {saved}: names ", "which is not in it"):
        open_named(str(saved))


@pytest.mark.parametrize("split", ["../other", "{other}"])
def test_saved_splits_elsewhere_are_refused(saved, split):
    other = saved.parent / "other"
    build()["train"].save_to_disk(other)
    change(saved / "dataset_dict.json", splits=["train", split.format(other=other)])
    with refused(f"--dataset_name {saved}: names ", "which is not in it"):
        open_named(str(saved))


@pytest.mark.parametrize("file", ["dataset_info.json", "state.json", "data-00000-of-00001.arrow"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to(path)])
def test_saved_files_that_are_none_are_refused(saved, file, make):
    (saved / "train" / file).unlink()
    make(saved / "train" / file)
    with refused(f"--dataset_name {saved}: "):
        open_named(str(saved))


@pytest.mark.parametrize(
    "state",
    [
        "[" * 100_000,
        "[]",
        "{}",
        '{"_data_files": [1]}',
        '{"_data_files": [{"filename": "a\\u0000b"}]}',
        '{"_data_files": [{"filename": "' + "x" * 5000 + '"}]}',
    ],
)
def test_a_damaged_state_is_one_line(saved, state):
    (saved / "train/state.json").write_text(state)
    with refused(f"--dataset_name {saved}: "):
        open_named(str(saved))


def test_a_form_that_was_saved_hides_no_columns(saved):
    change(saved / "train/state.json", _format_type="numpy", _format_columns=["label"])
    assert set(open_named(str(saved))["train"][0]) == {"image", "label"}


def test_the_home_of_nobody_is_told(tmp_path):
    with refused("--dataset_name ~nobody-of-that-name/faces: there is no such user"):
        find_folder("~nobody-of-that-name/faces")
