"""Pictures of a check: class counts, and a contact sheet of the images that findings name.

They show faces of the data: they are for the person who holds it, and are not to be published.
"""

import math
import os
import textwrap
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from rafdb_vit.data.check.result import CheckResult
from rafdb_vit.data.findings import Finding
from rafdb_vit.data.images import PICTURE_ERRORS, open_picture
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.disk import is_inside, naming_disk_errors
from rafdb_vit.runtime.drawing import drawing, fold_name, render_png
from rafdb_vit.runtime.fonts import Lettering
from rafdb_vit.runtime.lock import hold
from rafdb_vit.runtime.output_folder import OutputFolder

COUNTS_FILE = "class_counts.png"
SHEET_FILE = "contact_sheet.png"
_COLOURS = {"train": "#4477aa", "validation": "#ccbb44", "test": "#cc6677"}
_FRAMES = ("#aa3377", "#228833", "#4477aa", "#ee7733", "#009988", "#bbbbbb")
_MOST_TILES = 120
_MOST_OF_KIND = 24
_COLUMNS = 8
_MOST_LINES = 4
"""Of a name beneath a bar or an image."""
_SIDE = 112
_Tile = tuple[int, Finding, str, Image.Image]
"""The number of a finding, the finding, an image's path and its thumbnail."""


def draw_pictures(result: CheckResult, folder: str | Path) -> list[Path]:
    """Draws the pictures of a check into a folder, which is made if missing.

    Raises:
        UserError: They cannot be written.
    """
    output = OutputFolder(Path(folder), (COUNTS_FILE, SHEET_FILE))
    advice = "give --figures another folder"
    with hold(output.path, flag="--figures"), naming_disk_errors(output.path, advice=advice):
        refuse_other_pictures(folder)
        output.tidy_list()
        with announcing("Drawing the pictures"):
            drawn = {COUNTS_FILE: draw_class_counts(result), SHEET_FILE: draw_contact_sheet(result)}
        return [output.write(name, picture) for name, picture in drawn.items() if picture is not None]


def refuse_other_pictures(folder: str | Path) -> None:
    """Refuses a folder in which a picture of somebody else has the name of one of a check, or a link leads out.

    Raises:
        UserError: Naming it.
    """
    OutputFolder(Path(folder), (COUNTS_FILE, SHEET_FILE)).check((COUNTS_FILE, SHEET_FILE))


def draw_class_counts(result: CheckResult) -> bytes:
    """Draws faces per class and split as bars, the published counts as marks, as PNG.

    A number, from 1, stands for the name of a class that cannot be drawn with this machine's fonts.
    """
    names = list(result.labels.names)
    with drawing(texts=names) as lettering:
        labels = [
            fold_name(name, 12, lines=_MOST_LINES) if lettering.draws(name) else str(number)
            for number, name in enumerate(names, 1)
        ]
        return render_png(_draw_bars(result, labels))


def _draw_bars(result: CheckResult, names: Sequence[str]) -> Figure:
    figure = Figure(figsize=(min(2.5 + 0.95 * len(names), 60), 4.6), dpi=120, layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(len(result.counts), 1)
    for i, (split, counts) in enumerate(result.counts.items()):
        places = [label + width * (i + 0.5) - 0.4 for label in range(len(names))]
        bars = axes.bar(places, list(counts.values()), width, color=_COLOURS.get(split), label=f"{split}, as found")
        axes.bar_label(bars, fontsize=7, padding=2)
        published = result.published.counts.get(split) if result.published else None
        if result.published and published:
            label = f"published for {result.published.name}" if i == 0 else None
            axes.plot(places, published, ls="", marker="_", ms=24 * width, mew=2, color="black", label=label)
    axes.set_xticks(range(len(names)), names, rotation=25, ha="right")
    axes.set_ylabel("faces")
    axes.set_title("Faces per class and split")
    axes.margins(y=0.12)
    if result.counts:
        axes.legend(frameon=False)
    return figure


def draw_contact_sheet(result: CheckResult) -> bytes | None:
    """Draws the images that findings name, gravest kinds first; those of one finding share a frame's colour.

    Returns:
        The PNG file's content; None if no finding names an image that can be shown.
    """
    tiles = _choose_tiles(result)
    if not tiles:
        return None
    names = [(Path(file).name, str(result.places.get(file, "no label"))) for _, _, file, _ in tiles]
    with drawing(texts=[text for of_tile in names for text in of_tile]) as lettering:
        labels = [f"{_fold(name, 24, lettering)}\n{_fold(place, 30, lettering)}" for name, place in names]
        return render_png(_draw_tiles(result, tiles, labels))


def _fold(name: str, width: int, lettering: Lettering) -> str:
    """Returns a name in a few lines, in its codes where no font has its letters."""
    return fold_name(lettering.show(name), width, lines=_MOST_LINES)


def _draw_tiles(result: CheckResult, tiles: Sequence[_Tile], labels: Sequence[str]) -> Figure:
    rows = math.ceil(len(tiles) / _COLUMNS)
    figure = Figure(figsize=(_COLUMNS * 1.75, rows * 2.4 + 0.7), dpi=110, layout="constrained")
    named = sum(len(finding.files) for finding in result.findings)
    figure.suptitle(f"{len(tiles)} of the {named} images that findings name; same frame: same finding", fontsize=10)
    for axes in (grid := figure.subplots(rows, _COLUMNS, squeeze=False)).flat:
        axes.axis("off")
    for axes, (number, finding, _, picture), label in zip(grid.flat, tiles, labels, strict=False):
        axes.axis("on")
        axes.imshow(picture)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color=_FRAMES[number % len(_FRAMES)], linewidth=3)
        axes.set_title(textwrap.fill(finding.kind, 22), fontsize=7)
        axes.set_xlabel(label, fontsize=6.5)
    return figure


def _choose_tiles(result: CheckResult) -> list[_Tile]:
    """Returns the images to show, the gravest first."""
    tiles: list[_Tile] = []
    number = 0
    for findings in result.kinds.values():
        room = min(_MOST_OF_KIND, _MOST_TILES - len(tiles))
        for finding in findings:
            pictures = [
                (file, picture) for file in finding.files[:room] if (picture := _open_small(file, result)) is not None
            ]
            tiles += [(number, finding, file, picture) for file, picture in pictures]
            room -= len(pictures)
            number += bool(pictures)
            if room <= 0:
                break
    return tiles


def _open_small(file: str, result: CheckResult) -> Image.Image | None:
    """Returns a thumbnail; None for what is no image, or may not be looked at."""
    content = result.contents.get(file)
    may_be_read = not os.path.islink(file) and os.path.isfile(file) and is_inside(result.root, file)  # noqa: PTH114
    if content is None and not may_be_read:
        return None
    try:
        picture = open_picture(file if content is None else content)
    except PICTURE_ERRORS:
        return None
    picture.thumbnail((_SIDE, _SIDE))
    return picture
