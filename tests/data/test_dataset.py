import os
import time

import datasets
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rafdb_vit.data.check.check import check_data
from rafdb_vit.data.dataset import count_classes, load_data, load_rafdb
from rafdb_vit.data.labels import BASIC
from rafdb_vit.runtime.errors import UserError
from tests.support.checked_data import write_release, write_table
from tests.support.refusals import assert_one_line, refused


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


@pytest.fixture(scope="module")
def received(tmp_path_factory):
    """A table and a release with all that goes with it; returns the data and the file by what is damaged."""
    root = tmp_path_factory.mktemp("received")
    table, basic = write_table(root / "table") / "faces.csv", write_release(root / "release")
    rows = (basic / "EmoLabel/list_patition_label.txt").read_text().splitlines()
    vectors = [
        " ".join([name, *("1" if str(code) == own else "0" for code in range(1, 8))])
        for name, own in map(str.split, rows)
    ]
    (root / "vectors.txt").write_text("\n".join(vectors))
    return {
        "table": (table, table),
        "labels": (basic, basic / "EmoLabel/list_patition_label.txt"),
        "vectors": (basic, root / "vectors.txt"),
        "manual": (basic, basic / "Annotation/manual/train_00001_manu_attri.txt"),
        "auto": (basic, basic / "Annotation/auto/train_00001_auto_attri.txt"),
        "box": (basic, basic / "Annotation/boundingbox/train_00001_boundingbox.txt"),
    }


def take(root, vectors):
    """Loads and checks data: both work, or end in one line."""
    for read in (
        lambda: load_rafdb(root, distribution_file=vectors),
        lambda: check_data(root, quiet=True, processes=1),
    ):
        try:
            result = read()
        except UserError as error:
            assert_one_line(error)
        else:
            assert isinstance(result, datasets.DatasetDict) or result.render().isascii() is not None


ODD = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "",
            " ",
            ",",
            '"',
            "0",
            "-1",
            "8",
            "1e999",
            "nan",
            "1_0",
            "\u0661",
            "..",
            "../../etc/passwd",
            "/etc/passwd",
            "~nobody/x",
        ]
        + [
            "a0.jpg",
            "A0.JPG",
            "train_00001.jpg",
            "x" * 300,
            "x/" * 3000,
            "\\\\host\\x",
            "C:x",
            "\0",
            "\r",
            "\u2028",
            "\ufeff",
            "$\\frac{$",
        ]
    ),
)
"""What may stand in place of a line or a cell."""


def damage(content, data):
    """Returns the bytes of a file with a line, a cell or a byte replaced."""
    how = data.draw(st.sampled_from(["line", "cell", "cell", "byte", "cut"]))
    if how in ("byte", "cut"):
        at = data.draw(st.integers(0, len(content) - 1))
        return (
            content[:at]
            if how == "cut"
            else content[:at] + data.draw(st.binary(min_size=1, max_size=2)) + content[at + 1 :]
        )
    lines, odd = content.split(b"\n"), data.draw(ODD).encode(errors="surrogatepass")
    row = data.draw(st.integers(0, len(lines) - 1))
    if how == "cell":
        separator = b"," if b"," in content else b" "
        cells = lines[row].split(separator)
        cells[data.draw(st.integers(0, len(cells) - 1))] = odd
        odd = separator.join(cells)
    return b"\n".join([*lines[:row], odd, *lines[row + 1 :]])


@pytest.mark.parametrize("kind", ["table", "labels", "vectors", "manual", "auto", "box"])
def test_whatever_is_received_is_taken_or_ends_in_one_line(received, kind):
    root, path = received[kind]
    vectors = received["vectors"][1] if kind == "vectors" else None
    whole = path.read_bytes()

    @settings(
        max_examples=int(os.environ.get("FUZZ_EXAMPLES", "20" if kind == "table" else "5")),
        deadline=None,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(st.data())
    def run(data):
        path.write_bytes(damage(whole, data))
        start = time.monotonic()
        take(root, vectors)
        assert time.monotonic() - start < 30

    try:
        run()
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("name", ["x" * 300, "a\0b", "loop", "dangling", "pipe", "~nobody-of-that-name/x", "x/" * 3000])
def test_a_name_of_no_data_is_one_line(name, received, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    root, _ = received["labels"]
    for read in (load_rafdb, check_data, lambda name: load_rafdb(root, distribution_file=name)):
        with refused("no such"):
            read(name)


def test_the_home_folder_can_be_written_short(received, monkeypatch):
    table, _ = received["table"]
    monkeypatch.setenv("HOME", str(table.parent))
    assert len(load_rafdb("~/faces.csv")["test"]) == 2
    assert check_data("~/faces.csv", quiet=True, processes=1).images == 6
    root, vectors = received["vectors"]
    monkeypatch.setenv("HOME", str(vectors.parent))
    assert "distribution" in load_rafdb(root, distribution_file="~/vectors.txt")["test"].column_names
