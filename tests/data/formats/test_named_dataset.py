"""A data set of `datasets` runs no code, and leads to no files but its own."""

import gzip
import io
import json
import os

import datasets
import PIL.Image
import pyarrow as pa
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Image
from huggingface_hub import constants, snapshot_download

from rafdb_vit.data.formats import named_dataset, stored_files
from rafdb_vit.data.formats.named_dataset import find_folder, open_named
from rafdb_vit.data.labels import BASIC
from tests.support.faces import write_system_files
from tests.support.loopback_hub import File, LoopbackHub
from tests.support.refusals import refused


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def build():
    features = Features(image=Image(), label=ClassLabel(names=list(BASIC.names)))
    splits = DatasetDict()
    for split, colour in (("train", "teal"), ("test", "navy")):
        content = io.BytesIO()
        PIL.Image.new("RGB", (8, 8), colour).save(content, "PNG")
        rows = {"image": [{"bytes": content.getvalue(), "path": None}] * 7, "label": list(range(7))}
        splits[split] = Dataset.from_dict(rows, features=features)
    return splits


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


FRONT = "---\nconfigs:\n- config_name: default\n  data_files: {}\n---\n"
CLASSES = (
    "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n"
    "    dtype:\n      class_label:\n        {}\n---\n"
)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("README.md", FRONT.format("http://127.0.0.1:9/x.parquet"), "which is not in it"),
        ("README.md", FRONT.format("hf://datasets/a/b/x.parquet"), "which is not in it"),
        ("README.md", FRONT.format("[{split: train, path: [zip://*.png::x.zip]}]"), "which is not in it"),
        ("README.md", FRONT.format("/usr/**/*.png"), "which is not in it"),
        ("README.md", FRONT.format("{train: a/../../b}"), "which is not in it"),
        ("README.md", FRONT.format("~/x.parquet"), "which is not in it"),
        ("README.md", FRONT.format("'" + "*a" * 14 + "*b'"), "data/train-*"),
        ("README.md", FRONT.format("'(a+)+[b]'"), "data/train-*"),
        ("README.md", FRONT.format("7"), "expected paths"),
        ("README.md", "---\nconfigs:\n- data_dir: ../elsewhere\n---\n", "not read here"),
        ("README.md", "---\nconfigs: [7]\n---\n", "not read here"),
        ("README.md", "---\nconfigs:\n- config_name: ../x\n---\n", "plain name"),
        ("README.md", CLASSES.format("names: {'0': a, '30000000': b}"), "not numbered from 0 on"),
        ("README.md", CLASSES.format("num_classes: 30000000"), "30000000 classes"),
        ("README.md", "---\na: &a [x]\nb: [*a, *a]\n---\n", "alias"),
        ("README.md", f"---\na: {'[' * 100_000}\n---\n", "cannot be read"),
        ("README.md", "---\n" + "\n" * 200_000, "blank lines"),
        ("README.md", "x" * 300_000, "cannot be read"),
        (".huggingface.yaml", "dataset_info: &a [*a]", "alias"),
        ("dataset_infos.json", '{"default": {"features": {"label": {"num_classes": 30000000}}}}', "30000000 classes"),
        ("dataset_infos.json", "[" * 100_000, "nested too deeply"),
    ],
)
def test_what_a_folder_says_of_itself_is_checked_before_datasets_acts_on_it(folder, monkeypatch, file, text, words):
    (folder / file).write_text(text)
    monkeypatch.setattr(named_dataset, "load_dataset_builder", None)
    with refused(f"--dataset_name {folder}: ", words):
        open_named(str(folder))


def test_cards_that_are_no_files_are_refused(folder):
    os.mkfifo(folder / ".huggingface.yaml")
    with refused(f"--dataset_name {folder}: .huggingface.yaml cannot be read (not a plain file)"):
        open_named(str(folder))
    (folder / ".huggingface.yaml").unlink()
    (folder / "README.md").symlink_to("/etc/hosts")
    with refused(f"--dataset_name {folder}: README.md leads out of it"):
        open_named(str(folder))


def test_the_card_that_push_to_hub_writes_is_read(folder):
    names = "".join(f"\n          '{i}': {name}" for i, name in enumerate(BASIC.names))
    text = CLASSES.format(f"names:{names}").removesuffix("---\n")
    configs = "configs:\n- config_name: default\n  data_files:\n  - split: train\n    path: data/train-*\n"
    (folder / "data").mkdir()
    (folder / "train.parquet").rename(folder / "data/train-00000-of-00001.parquet")
    (folder / "README.md").write_text(f"{text}license: mit\n{configs}---\n# Faces\n")
    (split,) = open_named(str(folder)).values()
    assert len(split) == 7 and split.features["label"].names == list(BASIC.names)


def test_too_many_classes_of_a_saved_data_set_are_refused(saved):
    change(saved / "train/dataset_info.json", features={"label": {"num_classes": 30_000_000, "_type": "ClassLabel"}})
    with refused(f"--dataset_name {saved}: cannot be loaded (30000000 classes"):
        open_named(str(saved))


PACKED = gzip.compress(b"image,label\n" + b"a.png,b\n" * 100_000)


@pytest.mark.parametrize("name", ["train.csv.gz", "train.csv", "train.json", "train.zip", "train.txt", "train.tar"])
def test_packed_files_are_refused(folder, name, tmp_path):
    for path in folder.glob("*.parquet"):
        path.unlink()
    (folder / name).write_bytes(PACKED)
    with refused(f"--dataset_name {folder}: "):
        open_named(str(folder))
    assert not list((tmp_path / "cache").rglob("*extracted*/*"))


def test_what_is_refused_leaves_nothing_in_the_cache(folder, tmp_path, monkeypatch):
    for path in folder.glob("*.parquet"):
        path.unlink()
    (folder / "train.csv").write_text("image,label\n" + "a.png,b\n" * 20)
    monkeypatch.setattr(stored_files, "MOST_ROWS", 10)
    with refused(f"--dataset_name {folder}: cannot be loaded (20 rows, more than 10)"):
        open_named(str(folder))
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]


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


@pytest.fixture
def on_hub(tmp_path, monkeypatch):
    """A Hub on this machine with the empty data set ada/faces, whose files are to be put in."""
    hub = LoopbackHub()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(
        named_dataset,
        "snapshot_download",
        lambda *a, **more: snapshot_download(*a, **more, endpoint=hub.url, cache_dir=tmp_path / "hub"),
    )
    yield hub, hub.make("ada/faces").commits[hub.repos["ada/faces"].heads["main"]]
    hub.server.shutdown()


def test_a_data_set_on_the_hub_is_read_like_a_folder(on_hub, folder, monkeypatch):
    hub, files = on_hub
    files |= {f"data/{path.name}": File(path.read_bytes()) for path in folder.glob("*.parquet")}
    files |= {"README.md": File(b"# Faces\n"), "script.py": File(b"raise"), "more.zip": File(b"PK")}
    assert {split: len(faces) for split, faces in open_named("ada/faces").items()} == {"train": 7, "test": 7}
    assert not hub.asked("GET", "script|more")
    hub.reset()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert len(open_named("ada/faces")["test"]) == 7, "from the cache"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("README.md", FRONT.format("http://127.0.0.1:9/x.parquet").encode(), "which is not in it"),
        ("README.md", CLASSES.format("num_classes: 30000000").encode(), "30000000 classes"),
        ("dataset_infos.json", b"[" * 100_000, "nested too deeply"),
        ("train.csv", PACKED, "is packed (gzip)"),
        ("train.zip", PACKED, "unpack archives"),
    ],
)
def test_a_data_set_on_the_hub_is_checked_like_a_folder(on_hub, monkeypatch, name, content, words):
    on_hub[1][name] = File(content)
    monkeypatch.setattr(named_dataset, "_build", None)
    with refused("--dataset_name ada/faces: ", words):
        open_named("ada/faces")


def test_the_home_of_nobody_is_told(tmp_path):
    with refused("--dataset_name ~nobody-of-that-name/faces: there is no such user"):
        find_folder("~nobody-of-that-name/faces")


def test_a_table_of_which_a_part_is_missing_is_refused(folder):
    (folder / "train.parquet").rename(folder / "train-00000-of-00003.parquet")
    with refused("train-*-of-00003.parquet are 1 files; expected 3: copy the others too"):
        open_named(str(folder))


@pytest.mark.parametrize("form", ["card", "saved"])
def test_classes_that_a_card_numbers_otherwise_than_the_table_are_refused(tmp_path, folder, form):
    if form == "saved":
        folder = tmp_path / "saved"
        build().save_to_disk(folder)
        for path in folder.rglob("dataset_info.json"):
            features = json.loads(path.read_text())["features"]
            features["label"]["names"].reverse()
            change(path, features=features)
    else:
        names = "".join(f"        {i}: {name}\n" for i, name in enumerate(reversed(BASIC.names)))
        feature = (
            f"  - name: label\n    dtype:\n      class_label:\n        names:\n{names.replace('        ', ' ' * 10)}"
        )
        card = f"---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n{feature}---\n"
        (folder / "README.md").write_text(card)
    with refused("column label of", "has the classes Surprise, Fear, ", "by itself, and Neutral, Anger, "):
        open_named(str(folder))


def test_a_card_may_name_the_classes_of_a_table_otherwise(folder):
    for names in (("happy", "sad"), ("HAPPINESS", "Sadness"), ("other", "more")):
        rows = {"image": [None] * 2, "label": [0, 1]}
        table = Dataset.from_dict(
            rows, features=Features(image=Image(), label=ClassLabel(names=["Happiness", "Sadness"]))
        )
        table.to_parquet(folder / "train.parquet")
        table.to_parquet(folder / "test.parquet")
        card = "---\ndataset_info:\n  features:\n  - name: image\n    dtype: image\n  - name: label\n    dtype:\n"
        card += f"      class_label:\n        names:\n          0: {names[0]}\n          1: {names[1]}\n---\n"
        (folder / "README.md").write_text(card)
        assert open_named(str(folder))["train"].features["label"].names == list(names)


def test_columns_that_share_their_bytes_are_counted_each(tmp_path, monkeypatch):
    monkeypatch.setattr(stored_files, "MOST_UNPACKED", 100_000)
    shared = pa.array(list(range(2_000)), pa.int64())
    table = pa.table({str(i): shared for i in range(40)})
    with pa.ipc.new_stream(tmp_path / "data.arrow", table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="unpack to more than"), monkeypatch.context() as patch:
        patch.setattr(stored_files, "MOST_TIMES", 0.5)
        stored_files.check_arrow(tmp_path / "data.arrow", stored_files.Extent())


def test_what_systems_leave_in_a_data_set_is_no_part_of_it(folder):
    write_system_files(folder)
    assert {split: len(faces) for split, faces in open_named(str(folder)).items()} == {"train": 7, "test": 7}


def save_pictures(folder, label="label", *, kind="csv"):
    """Writes a folder of pictures with a metadata file in each split."""
    for split in ("train", "test"):
        (folder / split).mkdir(parents=True)
        rows = [(f"{split}{i}.png", name) for i, name in enumerate(BASIC.names)]
        for i, (file, _) in enumerate(rows):
            PIL.Image.new("RGB", (8, 8), (i * 9, len(split), 9)).save(folder / split / file)
        table = Dataset.from_dict({"file_name": [row[0] for row in rows], label: [row[1] for row in rows]})
        path = str(folder / split / f"metadata.{kind}")
        {"csv": table.to_csv, "jsonl": table.to_json, "parquet": table.to_parquet}[kind](path)
    return folder


def test_pictures_that_systems_keep_are_in_no_class(tmp_path):
    for split in ("train", "test"):
        for i, name in enumerate(("happy", "sad")):
            (tmp_path / split / name).mkdir(parents=True)
            PIL.Image.new("RGB", (8, 8), (i * 9, len(split), 9)).save(tmp_path / split / name / "0.png")
    write_system_files(tmp_path / "test/sad")
    loaded = open_named(str(tmp_path))
    assert {split: len(faces) for split, faces in loaded.items()} == {"train": 2, "test": 2}
    assert loaded["train"].features["label"].names == ["happy", "sad"]


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_a_metadata_file_above_the_splits_is_not_passed_over(tmp_path, name):
    folder = save_pictures(tmp_path / "pictures", kind=name.split(".")[1])
    for split in ("train", "test"):
        (folder / split / name).rename(folder / name)
    words = "give --data_dir" if name.endswith("csv") else "write a CSV file"
    with refused(f"--dataset_name {folder}: {folder / name} is not read, since it lies above the folders", words):
        open_named(str(folder))


def write_repository(tmp_path, folder, *revisions):
    """Writes a repository as the Hub's cache has it: links to files that are named by their content."""
    repository = tmp_path / "datasets--ada--faces"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    for i, revision in enumerate(revisions):
        (repository / "snapshots" / revision).mkdir(parents=True)
        for path in folder.glob("*.parquet"):
            (repository / "blobs" / f"{i}{path.stem}").write_bytes(path.read_bytes())
            (repository / "snapshots" / revision / path.name).symlink_to(f"../../blobs/{i}{path.stem}")
    return repository


def test_a_repository_in_the_hubs_cache_is_read(tmp_path, folder):
    repository = write_repository(tmp_path, folder, "abc", "def")
    assert len(open_named(str(repository / "snapshots/abc"))["train"]) == 7
    with refused(f"--dataset_name {repository}: holds 2 revisions of a data set", "give the folder of one"):
        open_named(str(repository))
    (repository / "refs/main").write_text("def")
    assert len(open_named(str(repository))["train"]) == 7
    (repository / "snapshots/def/train.parquet").unlink()
    (repository / "snapshots/def/train.parquet").symlink_to(folder / "train.parquet")
    with refused("which is not in it"):
        open_named(str(repository))


def test_what_datasets_keeps_in_its_cache_is_read_where_it_is_one(tmp_path, folder):
    cache = tmp_path / "kept"
    datasets.load_dataset(str(folder), cache_dir=str(cache))
    assert len(open_named(str(cache))["test"]) == 7
    (tmp_path / "more").mkdir()
    for split, dataset in build().items():
        dataset.to_parquet(tmp_path / "more" / f"{split}.parquet")
    datasets.load_dataset(str(tmp_path / "more"), cache_dir=str(cache))
    with refused(f"--dataset_name {cache}: holds 2 data sets (", "give the folder of one"):
        open_named(str(cache))


def test_a_saved_data_set_may_lie_one_folder_below(tmp_path):
    build().save_to_disk(tmp_path / "unpacked/faces")
    assert len(open_named(str(tmp_path / "unpacked"))["test"]) == 7


def test_a_file_is_no_data_set(folder):
    with refused(f"--dataset_name {folder / 'train.parquet'}: is a file; expected the folder"):
        open_named(str(folder / "train.parquet"))


def test_what_systems_leave_does_not_tell_what_kind_of_data_it_is(tmp_path, folder):
    (folder / "test.parquet").unlink()
    (folder / "train.parquet").rename(folder / "faces [1].parquet")
    write_system_files(folder)
    assert {split: len(faces) for split, faces in open_named(str(folder)).items()} == {"train": 7}
