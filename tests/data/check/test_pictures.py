import io
import os
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from rafdb_vit.data.check import pictures
from rafdb_vit.data.check.pictures import draw_class_counts, draw_contact_sheet, draw_pictures, refuse_other_pictures
from rafdb_vit.data.check.result import CheckResult, Place
from rafdb_vit.data.findings import Finding, Findings
from rafdb_vit.data.found import Faces, FoundData, Layout
from rafdb_vit.data.labels import BASIC, OWN, LabelSet
from rafdb_vit.runtime.errors import UserError
from tests.support.fonts import have_only
from tests.support.images import HTML, encode, paint_texture, write_bomb


def build(*findings, labels=BASIC, splits=("train", "test"), places=None):
    count = len(labels.names)
    faces = {split: Faces(["x.jpg"] * count, list(range(count)), list(map(str, range(count)))) for split in splits}
    found = FoundData(Layout.RELEASE, Path("/"), labels, faces, {split: split for split in faces})
    return CheckResult.build(Path("/"), found, Findings(findings), images=9, places=places or {}, sizes={(40, 40): 9})


def of_files(*paths, kind="odd size"):
    return Finding(kind, "odd", tuple(map(str, paths)), blocks=False)


@pytest.fixture
def faces(tmp_path):
    paths = [tmp_path / f"{i}.jpg" for i in range(3)]
    for i, path in enumerate(paths):
        path.write_bytes(encode(paint_texture(i, 40), "JPEG"))
    return paths


def read(png):
    with Image.open(io.BytesIO(png), formats=["PNG"]) as picture:
        assert not picture.info.keys() - {"dpi"}
        return np.asarray(picture.convert("RGB"))


def shows(sheet, number):
    """Tells whether a frame of the colour of a finding, counted from 0, is in a contact sheet."""
    colour = pictures._FRAMES[number].lstrip("#")
    return (read(sheet) == list(bytes.fromhex(colour))).all(-1).sum() > 500


@pytest.mark.parametrize("splits", [("train", "test"), ("train", "validation", "test"), ("train",), ()])
@pytest.mark.parametrize("labels", [BASIC, LabelSet(OWN, ("cat", "a very long name of a class"))])
def test_class_counts(splits, labels, tmp_path):
    path = draw_class_counts(build(labels=labels, splits=splits))
    height, width, _ = read(path).shape
    assert 400 < height < 800 and 300 < width < 1500
    if splits:
        assert read(path).reshape(-1, 3).std(0).min() > 5


def test_hundreds_of_classes_fit_a_picture(tmp_path):
    labels = LabelSet(OWN, tuple(f"class {i}" for i in range(90)))
    height, width, _ = read(draw_class_counts(build(labels=labels))).shape
    assert height < 5_000 and width < 10_000


def test_no_class_at_all(tmp_path):
    report = build(labels=LabelSet(OWN, ()), splits=())
    assert draw_pictures(report, tmp_path) == [tmp_path / "class_counts.png"]


def test_the_contact_sheet_shows_what_findings_name(faces, tmp_path):
    report = build(of_files(*faces[:2]), of_files(faces[2]), places={str(faces[0]): Place("train", "Fear")})
    sheet = draw_contact_sheet(report)
    height, width, _ = read(sheet).shape
    assert 200 < height < 500 and 1_000 < width < 2_000
    assert shows(sheet, 0) and shows(sheet, 1) and not shows(sheet, 2)


def test_the_sheet_grows_by_rows_and_ends(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_COLUMNS", 2)
    monkeypatch.setattr(pictures, "_MOST_TILES", 4)
    findings = [of_files(faces[i % 3]) for i in range(9)]
    first, second, last = (len(read(draw_contact_sheet(build(*findings[:count])))) for count in (2, 3, 9))
    assert first < second == last


def test_no_kind_takes_all_the_room(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_OF_KIND", 2)
    kinds = [of_files(faces[0], kind=kind) for kind in ("a", "a", "a", "b")]
    sheet = draw_contact_sheet(build(*kinds))
    assert shows(sheet, 2) and not shows(sheet, 3)


def test_many_findings_are_not_all_opened(faces, tmp_path, monkeypatch):
    opened = []
    real = pictures.open_picture
    monkeypatch.setattr(pictures, "open_picture", lambda file: opened.append(file) or real(file))
    draw_contact_sheet(build(*(of_files(faces[i % 3]) for i in range(2_000))))
    assert 24 <= len(opened) <= 200


def test_of_a_large_group_some_are_shown(faces, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "_MOST_OF_KIND", 2)
    assert draw_contact_sheet(build(of_files(*faces))) is not None


def test_no_sheet_where_nothing_can_be_shown(tmp_path):
    (tmp_path / "html.jpg").write_bytes(HTML)
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    write_bomb(tmp_path / "bomb.jpg", 20_000)
    names = ("html", "empty", "folder", "bomb", "nothing")
    findings = [of_files(tmp_path / f"{name}.jpg") for name in names]
    for report in (build(), build(Finding("bad row", "row 1")), build(*findings)):
        assert draw_contact_sheet(report) is None


def test_what_cannot_be_shown_is_left_out(faces, tmp_path):
    report = build(of_files(tmp_path / "nothing.jpg"), of_files(faces[0], tmp_path / "nothing.jpg"))
    sheet = draw_contact_sheet(report)
    assert shows(sheet, 0) and not shows(sheet, 1)


@pytest.mark.parametrize("target", ["image", "pipe"])
def test_links_are_not_opened(target, faces, tmp_path, monkeypatch):
    link = tmp_path / "link.jpg"
    if target == "pipe":
        os.mkfifo(tmp_path / "pipe")
    link.symlink_to(faces[0] if target == "image" else tmp_path / "pipe")
    monkeypatch.setattr(pictures, "open_picture", lambda file: pytest.fail(f"{file} was opened"))
    assert draw_contact_sheet(build(of_files(link))) is None


def test_a_pipe_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe.jpg")
    monkeypatch.setattr(pictures, "open_picture", lambda file: pytest.fail(f"{file} was opened"))
    assert draw_contact_sheet(build(of_files(tmp_path / "pipe.jpg"))) is None


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize(
    "name", ["$a_$.jpg", r"$\frac{.jpg$", "a\nb.jpg", os.fsdecode(b"\xff.jpg"), "人.jpg", "x" * 240 + ".jpg"]
)
def test_names_of_any_kind(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(encode(paint_texture(0, 40), "JPEG"))
    assert shows(draw_contact_sheet(build(of_files(path))), 0)


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("name", ["$a_$", "a\nb", os.fsdecode(b"\xff")])
def test_classes_of_any_name(name, faces, tmp_path):
    labels = LabelSet(OWN, ("cat", name))
    report = build(of_files(faces[0]), labels=labels, places={str(faces[0]): Place("train", name)})
    assert len(draw_pictures(report, tmp_path / "figures")) == 2


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 2)])
def test_images_of_any_shape(size, tmp_path):
    Image.new("RGB", size, "teal").save(tmp_path / "x.png")
    assert shows(draw_contact_sheet(build(of_files(tmp_path / "x.png"))), 0)


def test_both_are_drawn_into_a_folder(faces, tmp_path):
    drawn = draw_pictures(build(of_files(*faces)), tmp_path / "new" / "figures")
    assert [path.name for path in drawn] == ["class_counts.png", "contact_sheet.png"]
    assert all(path.is_file() for path in drawn) and len(list((tmp_path / "new/figures").iterdir())) == 3
    assert [path.name for path in draw_pictures(build(), tmp_path / "plain")] == ["class_counts.png"]


def test_a_folder_that_cannot_be_written(faces):
    with pytest.raises(UserError, match=f"^{faces[0]}/x: cannot be written .*take another folder"):
        draw_pictures(build(), faces[0] / "x")


def test_the_same_report_gives_the_same_bytes(faces, tmp_path):
    report = build(of_files(*faces))
    first, second = ([path.read_bytes() for path in draw_pictures(report, tmp_path / name)] for name in "ab")
    assert first == second


def test_names_are_no_formulas(faces, tmp_path, recwarn):
    names = ("pay $5_$", r"$\frac{$", "_hidden", "a$b$c", r"\$", "^")
    odd = tmp_path / r"$\frac{$.jpg"
    faces[0].rename(odd)
    finding = of_files(odd, kind=r"odd $\frac{$")
    report = build(finding, labels=LabelSet(OWN, names), places={str(odd): Place("$x_$", r"$\frac{$")})
    assert len(draw_pictures(report, tmp_path / "figures")) == 2
    assert not recwarn.list


def test_a_persons_pictures_stay(tmp_path):
    (tmp_path / "class_counts.png").write_text("mine")
    with pytest.raises(UserError, match="class_counts.png: is in the way"):
        refuse_other_pictures(tmp_path)
    with pytest.raises(UserError, match="class_counts.png: is in the way"):
        draw_pictures(build(), tmp_path)
    assert (tmp_path / "class_counts.png").read_text() == "mine"
    draw_pictures(build(), tmp_path / "own")
    refuse_other_pictures(tmp_path / "own")
    draw_pictures(build(), tmp_path / "own")
    (tmp_path / "own" / "class_counts.png").unlink()
    (tmp_path / "own" / "class_counts.png").symlink_to(tmp_path / "class_counts.png")
    with pytest.raises(UserError, match="is a link that leads out"):
        refuse_other_pictures(tmp_path / "own")


def test_a_picture_does_not_grow_with_names(tmp_path, faces):
    labels = LabelSet(OWN, ("cat", *(f"{i}{'long ' * 4_000}" for i in range(3))))
    height, width, _ = read(draw_class_counts(build(labels=labels))).shape
    assert height < 800 and width < 1500
    place = {str(faces[0]): Place("train", "x" * 4_000)}
    sheet = draw_contact_sheet(build(of_files(*faces), places=place))
    assert read(sheet).shape[0] < 1000


def test_nothing_outside_the_data_is_shown(tmp_path, faces):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(Path(faces[0]).parent)
    report = build(of_files(str(tmp_path / "data" / "link" / Path(faces[0]).name)))
    assert draw_contact_sheet(replace(report, root=tmp_path / "data")) is None


def test_names_that_no_font_has(monkeypatch, faces):
    have_only(monkeypatch)
    written = []
    draw = Text.draw
    monkeypatch.setattr(Text, "draw", lambda self, *words: written.append(self.get_text()) or draw(self, *words))
    chinese = "\u9a5a\u304d"
    path = faces[0].rename(faces[0].with_name(f"{chinese}.jpg"))
    labels = LabelSet(OWN, ("cat", chinese))
    result = build(of_files(path), labels=labels, places={str(path): Place("train", chinese)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_class_counts(result)
        assert {"cat", "2"} <= {*written}
        draw_contact_sheet(replace(result, root=path.parent))
    assert any("\\u9a5a\\u304d.jpg\n" in text for text in written) and "".join(written).isascii()
