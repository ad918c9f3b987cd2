import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rafdb_vit.data.formats.metadata_files import find_metadata, has_labels


def write(folder, kind, *columns):
    path = folder / f"metadata.{kind}"
    if kind == "csv":
        path.write_text(",".join(columns) + "\n0.png,sad\n")
    elif kind == "jsonl":
        path.write_text("{" + ", ".join(f'"{name}": "x"' for name in columns) + "}\n")
    else:
        pq.write_table(pa.table({name: ["x"] for name in columns}), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("columns", "asked", "has"),
    [
        (("file_name", "label"), None, True),
        (("image_file_name", "Emotion"), None, True),
        (("file_name", "text"), None, False),
        (("file_name", "text"), "text", True),
        (("path", "label"), None, False),
    ],
)
def test_metadata_names_images_and_labels(tmp_path, kind, columns, asked, has):
    path = write(tmp_path, kind, *columns)
    assert has_labels(path, asked) == has and list(find_metadata(tmp_path)) == [path]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("content", [b"\xff\xd8\xff\xe0", b'{"a": ' * 3, b'{"a": ' * 100_000, b"\0"])
def test_metadata_that_cannot_be_read_may_be_some(tmp_path, kind, content):
    path = tmp_path / f"metadata.{kind}"
    path.write_bytes(content)
    assert has_labels(path, None) in (True, False)
    path.unlink()
    os.mkfifo(path)
    assert not list(find_metadata(tmp_path))
