import csv
import io
import os

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rafdb_vit.data.annotations import KINDS, read_annotations
from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.distributions import read_distributions
from rafdb_vit.data.findings import Reporter
from rafdb_vit.data.formats.label_file import (
    LONGEST_LINE,
    Row,
    read_csv_file,
    read_csv_rows,
    read_lines,
    read_list_file,
)
from rafdb_vit.data.labels import BASIC, COMPOUND
from rafdb_vit.runtime.errors import UserError
from tests.support.refusals import assert_one_line, refused

quick = settings(max_examples=120, deadline=None, derandomize=True, database=None)

MARKS = [" ", "  ", "\t", ",", ";", '"', "'", "\n", "\r\n", "\r", "\x0b", "\x1c", "\x85", "\u2028", "\0", "\x1b[31m"]
MARKS += ["\ufeff", "\xa0", "/", "\\", "..", "C:", "~", ".", "-", "_", "0", "1", "7", "8", "12", "1.0", "1e400", "nan"]
MARKS += ["-1", "\u0663", "\xb2", "\U0001f600", "_" * 300, "9" * 5000]


def contents(*words):
    """Bytes that a file may hold: any, any text, and text of the words that such a file is made of."""
    pieces = st.sampled_from([*words * 4, *MARKS]) | st.text(max_size=2)
    lines = st.lists(st.lists(pieces, max_size=9).map("".join), max_size=6).map("\n".join)
    separators = st.text(st.sampled_from(' ,;\t\n"0123456789.-+e/\\'), max_size=25)
    text = st.one_of(lines, lines.map("\ufeff".__add__), separators, st.text(max_size=60))
    return st.one_of(st.binary(max_size=60), *[text.map(lambda t: t.encode("utf-8", "replace"))] * 5)


@pytest.fixture(scope="session")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch")


ROWS = ["train_00001.jpg", "test_0002.jpg", " 5\n", ",5\n", "image,label\n", "train_00003.jpg 1\n", "a.jpg,7\n"]


@pytest.mark.parametrize("read", [read_list_file, read_csv_file])
@quick
@given(content=contents(*ROWS))
@example(b"\\ 1\n")
@example(b"C:\\ 1\n")
@example(b"\\,1\n")
@example(b"C:\\,1\n")
def test_whatever_a_label_file_holds_is_rows_or_one_line(scratch, read, content):
    path, findings = scratch / "labels.txt", []
    path.write_bytes(content)
    try:
        rows = read(path, BASIC, Reporter(findings.append))
    except UserError as error:
        assert_one_line(error, path)
        return
    assert all(row.image and not {*"/\\"} & {*row.image} and row.image != ".." for row in rows)
    assert {row.code for row in rows} <= set(range(1, 8))
    assert len({row.image for row in rows}) == len(rows)
    if not findings:
        assert read(path, BASIC, Reporter()) == rows
        return
    for finding in findings:
        assert_one_line(finding.message, path, ", row ")
    with pytest.raises(UserError) as caught:
        read(path, BASIC, Reporter())
    assert str(caught.value).split() == findings[0].message.split()


@quick
@given(content=contents(*ROWS))
def test_whatever_a_csv_file_holds_is_fields_or_one_line(scratch, content):
    path = scratch / "rows.csv"
    path.write_bytes(content)
    try:
        rows = list(read_csv_rows(path))
    except UserError as error:
        assert_one_line(error, path)
    else:
        assert all(any(fields) and all(field == field.strip(" \t\n") for field in fields) for _, fields in rows)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.folder)
@quick
@given(content=contents("1 2\n", "3.5\t4\n", "0\n", "1\n", "10 20 30 40\n", "1 2\n" * 5, "1 2\n" * 37))
def test_whatever_an_annotation_holds_is_values_or_one_line(scratch, kind, content):
    folder = scratch / "Annotation" / kind.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"train_00001{kind.suffix}"
    path.write_bytes(content)
    try:
        columns = read_annotations(scratch, scratch, kind, ["train_00001"], Reporter())
    except UserError as error:
        assert_one_line(error, path)
    else:
        assert list(columns) == list(kind.columns)
        assert all(len(values) == 1 and values[0] is not None for values in columns.values())


VECTOR = " 0.25 0.75 0 0 0 0 0\n"


@quick
@given(content=contents("train_00001.jpg", "a_aligned.jpg", VECTOR, f"b.jpg{VECTOR}", ",1,0,0,0,0,0,0\n", "0.5", " 0"))
@example(b" , ,\n")
@example(b"\x1b[31m.jpg -1 2 0 0 0 0 0")
def test_whatever_a_distribution_file_holds_is_vectors_or_one_line(scratch, content):
    path = scratch / "distribution.txt"
    path.write_bytes(content)
    try:
        vectors = read_distributions(path, BASIC)
    except UserError as error:
        assert_one_line(error, path)
    else:
        assert all(len(v) == 7 and min(v) >= 0 and abs(sum(v) - 1) < 1e-12 for v in vectors.values())


@pytest.fixture(scope="session")
def table_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outer") / "table"
    folder.mkdir()
    for name in ("train_00001.jpg", "test_0001.jpg", "a.jpg", "b.jpg"):
        (folder / name).touch()
    (folder.parent / "secret.jpg").touch()
    return folder


HEADER = "image,label,split\n"
GOOD = "train_00001.jpg,happy,train\n", "test_0001.jpg,happy,test\n", "a.jpg,sad,train\n", "b.jpg,sad,val\n"
WORDS = HEADER, *GOOD, "".join([HEADER, *GOOD]), "image,", "label,", "a.jpg,", "happy,", "../secret.jpg,", "train\n"


@quick
@given(content=contents(*WORDS))
def test_whatever_a_table_holds_is_faces_or_one_line(table_folder, content):
    path = table_folder / "labels.csv"
    path.write_bytes(content)
    try:
        splits = load_rafdb(path)
    except UserError as error:
        assert_one_line(error)
    else:
        files = [file for dataset in splits.values() for file in dataset["file"]]
        assert len(files) == len(set(files))
        assert set(files) <= {"train_00001", "test_0001", "a", "b"}


fields = st.sampled_from(["a.jpg", "b.jpg", "./a.jpg", "train_00001.jpg", "../secret.jpg", "happy", "joy", "1", "12"])
fields = st.one_of(fields, st.sampled_from(["", "x", "no\nne", "\x1b", "train", "test", "val", "con\ntempt"]))
rows = st.lists(st.lists(fields, min_size=3, max_size=3), max_size=6)


@quick
@given(
    rows=rows, header=st.sampled_from(["image,label,split", "label,image,usage", "a,b,c", "image,label", '"a\nb",c,d'])
)
def test_rows_of_a_table_in_any_order_are_faces_or_one_line(table_folder, rows, header):
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    path = table_folder / "labels.csv"
    path.write_text(f"{header}\n{text.getvalue()}")
    try:
        splits = load_rafdb(path)
    except UserError as error:
        assert_one_line(error)
    else:
        assert all(splits[split]["file"] for split in ("train", "test"))


newlines = st.sampled_from(["\n", "\r\n", "\r"])
names = st.text(st.characters(categories=("L", "N", "P", "S"), exclude_characters="/\\:"), min_size=1, max_size=12)
names = names.filter(lambda name: name not in (".", "..")).map(lambda name: f"{name}.jpg")
codes = st.integers(1, 7)


@quick
@given(
    pairs=st.dictionaries(names, codes, max_size=8),
    newline=newlines,
    gap=st.sampled_from([" ", "\t", "   ", "\xa0"]),
    edge=st.sampled_from(["", " ", "\t"]),
    blank=st.integers(0, 2),
    bom=st.booleans(),
)
def test_a_list_file_comes_back_as_it_was_written(scratch, pairs, newline, gap, edge, blank, bom):
    lines = [""] * blank + [f"{edge}{name}{gap}{code}{edge}" for name, code in pairs.items()]
    path = scratch / "list.txt"
    path.write_bytes(("\ufeff" * bom + newline.join(lines)).encode())
    expected = [Row(number, *pair) for number, pair in enumerate(pairs.items(), start=1 + blank)]
    assert read_list_file(path, BASIC, Reporter()) == expected


spaced = st.lists(names, min_size=1, max_size=3).map(" ".join)


@quick
@given(
    pairs=st.dictionaries(spaced, codes, max_size=8),
    newline=newlines,
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
    header=st.sampled_from([[], ["image", "label"], ["pth", "emotion code"], ["\u540d", ""]]),
    zeros=st.sampled_from(["", "0", "000"]),
    bom=st.booleans(),
)
def test_a_csv_file_comes_back_as_it_was_written(scratch, pairs, newline, quoting, header, zeros, bom):
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=newline)
    writer.writerows([header] if header else [])
    writer.writerows((name, f"{zeros}{code}") for name, code in pairs.items())
    path = scratch / "list.csv"
    path.write_bytes(("\ufeff" * bom + text.getvalue()).encode())
    expected = [Row(number, *pair) for number, pair in enumerate(pairs.items(), start=1 + bool(header))]
    assert read_csv_file(path, BASIC, Reporter()) == expected


BAD = "a.jpg 1\nb.jpg\nc.jpg 8\n../d.jpg 2\na.jpg 1\ne.jpg 5\na.jpg 3\nf.jpg 07\n"
FAULTS = [
    ("bad row", "row 2: expected a row like 'train_00001.jpg 5', found 'b.jpg'"),
    ("bad row", "row 3: expected a code from 1 to 7 (Surprise to Neutral) for c.jpg, found '8'; --subset compound"),
    ("bad row", "row 4: expected the plain name of an image file, found '../d.jpg'"),
    ("image listed twice", "row 5: a.jpg is listed twice (first in row 1)"),
    ("image with two labels", "row 7: a.jpg has two labels, 1 and 3 (first in row 1)"),
]


@pytest.mark.parametrize("read", [read_list_file, read_csv_file])
def test_checking_collects_every_bad_row_and_keeps_the_good(tmp_path, read):
    path, findings = tmp_path / "labels", []
    path.write_text(BAD if read is read_list_file else BAD.replace(" ", ","))
    rows = read(path, BASIC, Reporter(findings.append))
    assert rows == [Row(1, "a.jpg", 1), Row(6, "e.jpg", 5), Row(8, "f.jpg", 7)]
    assert sorted(finding.kind for finding in findings) == sorted(kind for kind, _ in FAULTS)
    for finding in findings:
        words = dict((text[:5], text) for _, text in FAULTS)[finding.message.split(", ", 1)[1][:5]]
        assert_one_line(finding.message, path, words if read is read_list_file else words.split("'train")[0][:9])
        assert finding.blocks


def test_compound_codes_go_to_eleven(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("train_0001.jpg 11\n")
    assert read_list_file(path, COMPOUND, Reporter()) == [Row(1, "train_0001.jpg", 11)]
    with refused(f"{path}, row 1", "1 to 7", "'11'", "--subset compound takes 1 to 11"):
        read_list_file(path, BASIC, Reporter())
    path.write_text("train_0001.jpg 12\n")
    with refused("1 to 11 (Happily Surprised to Disgustedly Surprised)", "'12'"):
        read_list_file(path, COMPOUND, Reporter())


def test_an_unclosed_quote_does_not_swallow_the_file(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text('image,label\n"a.jpg,1\n' + "b.jpg,2\n" * 20_000)
    with refused(f"{path}, row ", "not a row of a CSV file"):
        read_csv_file(path, BASIC, Reporter())


def test_a_file_that_is_far_too_large_is_not_read(tmp_path):
    path = tmp_path / "labels.csv"
    path.touch()
    os.truncate(path, 257 * 2**20)
    with refused(path, "269,484,032 bytes", "expected a table"):
        list(read_lines(path, what="a table"))


@pytest.mark.parametrize("name", ["nowhere.txt", "x" * 300, "."])
def test_a_file_that_cannot_be_read(tmp_path, name):
    with refused(tmp_path / name, "cannot be read"):
        list(read_lines(tmp_path / name, what="a table"))


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "labels.csv")
    with refused(tmp_path / "labels.csv", "not a plain file"):
        list(read_lines(tmp_path / "labels.csv", what="a table"))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x" * LONGEST_LINE + "x\n", "row 1 is longer than 1,048,576 letters"),
        ("a.jpg 1\nb.jpg\0 1\n", "row 2 holds a NUL byte"),
        ("a.jpg 1\nb.jpg 1\n\udcff", "from row 3 on it is not UTF-8"),
        ("\n" * 1_000_001, "more than 1,000,000 rows"),
    ],
    ids=["long", "NUL", "not UTF-8", "rows"],
)
def test_what_is_no_file_of_rows_is_told(tmp_path, content, words):
    path = tmp_path / "labels.txt"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with refused(path, words, "expected a table"):
        list(read_lines(path, what="a table"))


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_quote_that_is_never_closed_hides_no_rows(tmp_path, end):
    path = tmp_path / "labels.csv"
    path.write_text('image,label,notes\na.jpg,1,"x\ny"\nb.jpg,2,"looks away\nc.jpg,3,\n' + end)
    with refused(f"{path}, row 4", "never closed"):
        list(read_csv_rows(path))
    path.write_text('image,label,notes\na.jpg,1,"x\ny"\nb.jpg,2,"looks away"\nc.jpg,3,' + end)
    assert [fields[0] for _, fields in read_csv_rows(path)] == ["image", "a.jpg", "b.jpg", "c.jpg"]


@pytest.mark.parametrize("header", ["", "image,label\n"])
@pytest.mark.parametrize(("code", "number"), [("4.0", 4), ("4.", 4), ("04.000", 4), ("4.5", None), ("8.0", None)])
def test_a_code_that_became_a_decimal_is_the_code(tmp_path, header, code, number):
    found = []
    (tmp_path / "list.txt").write_text(f"a.jpg {code}\n")
    (tmp_path / "list.csv").write_text(f"{header}a.jpg,{code}\n")
    rows = read_list_file(tmp_path / "list.txt", BASIC, Reporter(found.append))
    rows += read_csv_file(tmp_path / "list.csv", BASIC, Reporter(found.append))
    assert [row.code for row in rows] == ([number] * 2 if number else [])
    assert [f"found '{code}'" in finding.message for finding in found] == ([] if number else [True] * 2)


@pytest.mark.parametrize(
    ("separator", "encoding", "end"), [(";", "utf-8", ""), ("\t", "utf-16", ""), (",", "utf-8", ",")]
)
def test_a_csv_file_from_a_spreadsheet(tmp_path, separator, encoding, end):
    rows = ["image,label", "a.jpg,4", "b.jpg,5"]
    text = "\r\n".join(row.replace(",", separator) + end for row in rows)
    (tmp_path / "list.csv").write_bytes(text.encode(encoding))
    assert read_csv_file(tmp_path / "list.csv", BASIC, Reporter()) == [Row(2, "a.jpg", 4), Row(3, "b.jpg", 5)]
