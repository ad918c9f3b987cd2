import json
import os
import re
from pathlib import Path

import pytest

from rafdb_vit.data.check.result import CheckResult, Place
from rafdb_vit.data.findings import MOST_LISTED, Finding, Findings, printable
from rafdb_vit.data.found import Faces, FoundData, Layout
from rafdb_vit.data.labels import BASIC, COMPOUND, OWN, LabelSet
from rafdb_vit.data.published import RAFDB

ROOT = Path("/data/rafdb")
PLACES = {
    "/data/rafdb/a.jpg": Place("train", "Fear"),
    "/data/rafdb/b.jpg": Place("test", "Anger"),
}


def faces(*labels):
    return Faces([f"{i}.jpg" for i in range(len(labels))], list(labels), [str(i) for i in range(len(labels))])


def build(
    *findings, labels=BASIC, splits=None, root=ROOT, sizes=None, images=12_345, places=PLACES, layout=Layout.RELEASE
):
    splits = {"train": faces(0, 1, 1), "test": faces(6)} if splits is None else splits
    found = FoundData(layout, root, labels, splits, {split: split for split in splits})
    sizes = {(100, 100): 12_000, (90, 100): 300, None: 45} if sizes is None else sizes
    pictures = {"images": images, "places": places, "sizes": sizes}
    return CheckResult.build(root, found, Findings(findings), published=RAFDB.get(labels.subset), **pictures)


def repeat(kind, count, **settings):
    return [Finding(kind, f"{ROOT}/{i}.jpg: is bad", (f"{ROOT}/{i}.jpg",), **settings) for i in range(count)]


def test_the_head_and_the_counts_beside_the_published_ones():
    assert build().render() == "\n".join(
        [
            "/data/rafdb: official release, 7 classes, 12,345 images, most of 100 x 100 pixels",
            "",
            "             Surprise   Fear Disgust Happiness Sadness  Anger Neutral   total",
            "  train             1      2       0         0       0      0       0       3",
            "  published      1290    281     717      4772    1982    705    2524   12271",
            "  test              0      0       0         0       0      0       1       1",
            "  published       329     74     160      1185     478    162     680    3068",
            "",
            "Nothing found.",
        ]
    )


def test_totals_where_no_more_is_published():
    lines = build(labels=COMPOUND).render().splitlines()
    assert "11 classes" in lines[0]
    assert "  published: train 3,162, test 792" in lines
    assert not any(re.match("  published  ", line) for line in lines)


def test_classes_of_their_own_have_no_published_counts():
    labels = LabelSet(OWN, ("cat", "dog"))
    splits = {split: faces(0, 1, 1) for split in ("test", "validation", "train")}
    text = build(labels=labels, splits=splits, layout=Layout.CLASS_FOLDERS).render()
    assert "published" not in text
    assert [line.split()[0] for line in text.splitlines()[3:6]] == ["train", "validation", "test"]


def test_each_kind_has_its_count_and_its_first_five_cases():
    report = build(*repeat("odd size", 1_234, blocks=False), *repeat("bad row", 5), *repeat("not RGB", 1, blocks=False))
    text = report.render()
    assert "3 findings in 1,240 cases; training cannot use the data before what is marked * is mended." in text
    table = text.split("\n\n")[3].splitlines()
    assert table == ["      5 * bad row", "      1   not RGB", "  1,234   odd size"]
    rows, modes, sizes = text.split("\n\n")[4:]
    assert rows.splitlines() == ["bad row (5)", *(f"  {i}.jpg: is bad" for i in range(5))]
    assert modes.splitlines() == ["not RGB (1)", "  0.jpg: is bad"]
    assert sizes.splitlines() == [
        "odd size (1,234)",
        *(f"  {i}.jpg: is bad" for i in range(5)),
        "  ... and 1,229 more; --json lists 1,000 of them",
    ]


def test_what_training_takes_is_said():
    text = build(*repeat("odd size", 2, blocks=False)).render()
    assert "1 finding in 2 cases; training takes the data as it is" in text and "*" not in text


def test_a_long_message_is_cut():
    text = build(Finding("bad row", "x" * 10_000)).render()
    assert f"  {'x' * 240} ..." in text.splitlines() and len(text) < 2_000


def test_the_gravest_come_first():
    kinds = [
        *(f"{kind}{of}" for kind in ("exact duplicates", "near-duplicates") for of in ("", " with different labels")),
        *(f"exact duplicates across splits{of}" for of in ("", " with different labels")),
        "a soft one",
    ]
    findings = [Finding(kind, kind, blocks=False) for kind in kinds] + [
        Finding("z blocks", "z"),
        Finding("b blocks", "b"),
    ]
    assert list(build(*findings).kinds) == [
        "b blocks",
        "z blocks",
        "exact duplicates across splits with different labels",
        "exact duplicates with different labels",
        "near-duplicates with different labels",
        "exact duplicates across splits",
        "exact duplicates",
        "near-duplicates",
        "a soft one",
    ]


def test_the_size_that_most_have():
    assert build(sizes={(9, 9): 2, (8, 8): 3, None: 9}).usual_size == (8, 8)
    assert build(sizes={None: 9}).usual_size is None
    assert build(sizes={}).usual_size is None


def test_sizes_of_which_most_have_none():
    report = build(sizes={(100 + i, 100): 2 + (i == 5) for i in range(9)})
    assert "most of" not in report.render()


def test_json_is_complete():
    pair = (f"{ROOT}/a.jpg", f"{ROOT}/b.jpg")
    report = build(
        Finding("bad row", "row 1"),
        Finding("odd size", "tiny", (f"{ROOT}/deep/c.jpg",), blocks=False),
        Finding("near-duplicates", "a = b", pair, blocks=False),
    )
    content = json.loads(report.to_json())
    assert content == report.describe()
    assert content["root"] == "/data/rafdb"
    assert (content["layout"], content["images"], content["classes"]) == ("official release", 12_345, list(BASIC.names))
    assert content["counts"]["train"] == {**dict.fromkeys(BASIC.names, 0), "Surprise": 1, "Fear": 2}
    assert content["published_counts"]["test"] == RAFDB["basic"].of_split("test")
    assert content["published_totals"] == {"train": 12271, "test": 3068}
    assert content["summary"] == {"bad row": 1, "near-duplicates": 1, "odd size": 1}
    assert content["findings"] == [
        {"kind": "bad row", "blocks_training": True, "message": "row 1", "files": []},
        {
            "kind": "near-duplicates",
            "blocks_training": False,
            "message": "a = b",
            "files": [
                {"path": "a.jpg", "split": "train", "label": "Fear"},
                {"path": "b.jpg", "split": "test", "label": "Anger"},
            ],
        },
        {
            "kind": "odd size",
            "blocks_training": False,
            "message": "tiny",
            "files": [{"path": "deep/c.jpg", "split": "", "label": ""}],
        },
    ]


def test_json_holds_every_case():
    assert len(json.loads(build(*repeat("odd size", 999, blocks=False)).to_json())["findings"]) == 999


@pytest.mark.parametrize(
    "name", ["plain.jpg", "é 人.jpg", "a\nb.jpg", 'q"\\.jpg', os.fsdecode(b"\xff\xfe.jpg"), "\x1b[31m.jpg"]
)
def test_names_of_any_kind(name):
    path = f"{ROOT}/{name}"
    report = build(Finding("unusable file name", f"{printable(path)}: rename it", (path,)))
    text = report.to_json()
    assert text.isascii()
    file = json.loads(text)["findings"][0]["files"][0]
    assert os.fsencode(ROOT / file["path"]) == os.fsencode(path)
    lines = report.render().splitlines()
    assert lines[-1] == f"  {printable(name)}: rename it" and "\x1b" not in lines[-1]
    report.render().encode()


def test_a_root_that_is_no_utf8():
    root = Path(os.fsdecode(b"/data/\xff"))
    report = build(Finding("bad row", f"{printable(root)}/a.txt, row 1", (f"{root}/a.txt",)), root=root, places={})
    assert os.fsencode(json.loads(report.to_json())["root"]) == b"/data/\xff"
    assert report.render().startswith("/data/\\udcff: ") and "\n  a.txt, row 1" in report.render()


def test_data_of_nothing():
    report = build(*repeat("bad row", 2), splits={}, labels=LabelSet(OWN, ()), images=0, sizes={})
    assert json.loads(report.to_json())["counts"] == {}
    assert "bad row (2)" in report.render()


def test_of_many_findings_a_thousand_of_a_kind_are_kept_and_all_are_counted():
    result = build(*repeat("bad row", 2_500), *repeat("bad row", 3, blocks=False), *repeat("odd size", 7, blocks=False))
    content = json.loads(result.to_json())
    assert content["summary"] == {"bad row": 2_503, "odd size": 7}
    assert content["listed"] == {"bad row": MOST_LISTED + 3, "odd size": 7}
    assert len(content["findings"]) == MOST_LISTED + 10
    text = result.render()
    assert "2 findings in 2,510 cases; training cannot use the data before what is marked * is mended." in text
    assert "  2,503 * bad row" in text and "... and 2,498 more; --json lists 1,003 of them" in text


def test_what_splits_are_called_forges_no_lines():
    found = FoundData(Layout.CLASS_FOLDERS, ROOT, BASIC, {"test": faces(0)}, {"test": "val\n\n9 findings"})
    result = CheckResult.build(ROOT, found, Findings(), images=1, places={}, sizes={})
    assert (
        result.render().splitlines()[0].startswith("/data/rafdb: class folders, test is its split val\\n\\n9 findings,")
    )
