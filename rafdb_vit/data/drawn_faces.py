"""Draws schematic faces as a small RAF-DB-shaped tree, for trying the package without any photograph.

Each expression is a set of facial action units (AUs), the muscle movements of the Facial Action Coding System
(Ekman, Friesen and Hager, "Facial Action Coding System: Investigator's Guide", 2002, table of emotion prototypes). An
intensity between 0.3 and 1 scales them, so that a weak expression is hard to tell from Neutral, as on real faces.
Everything else that varies (roll, place, size, light, blur, skin, hair, glasses, JPEG quality) is drawn without
regard to the expression, so that a model must look at brows, eyes, nose and mouth. No face has a gender, a race or an
age, and no metric reached on these drawings says anything about real faces.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from rafdb_vit.data.labels import BASIC
from rafdb_vit.runtime.bars import show_progress

_LABEL_FILE = "list_patition_label.txt"
ACTION_UNITS: dict[str, dict[int, float]] = {
    "Surprise": {1: 1.0, 2: 1.0, 5: 0.8, 26: 1.0},
    "Fear": {1: 1.0, 2: 0.3, 4: 0.6, 5: 1.0, 20: 1.0, 25: 1.0, 26: 0.15},
    "Disgust": {4: 0.4, 7: 0.6, 9: 1.0, 10: 1.0, 15: 0.4, 17: 0.6},
    "Happiness": {6: 0.8, 12: 1.0, 25: 0.7},
    "Sadness": {1: 1.0, 4: 0.4, 15: 1.0, 17: 0.5, 43: 0.35},
    "Anger": {4: 1.0, 5: 0.3, 7: 0.6, 22: 0.5, 23: 1.0},
    "Neutral": {},
}
"""Strength in [0, 1] of each action unit at full intensity: 1 and 2 inner and outer brow raiser, 4 brow lowerer,
5 upper lid raiser, 6 cheek raiser, 7 lid tightener, 9 nose wrinkler, 10 upper lip raiser, 12 lip corner puller,
15 lip corner depressor, 17 chin raiser, 20 lip stretcher, 22 lip funneler, 23 lip tightener, 25 lips part,
26 jaw drop, 43 eyes closing."""

RELATIVE_COUNTS = dict(zip(BASIC.names, (2.0, 1.0, 1.3, 6.0, 2.6, 1.3, 3.2), strict=True))
"""How often each expression is drawn: the order of RAF-DB's own class sizes, its imbalance of 17:1 softened to 6:1."""

TRAIN_FACES, TEST_FACES = 800, 700
SIZE = 100  # pixels, the side of RAF-DB's aligned images
_OVERSAMPLING = 3
_ALL_UNITS = sorted({unit for strengths in ACTION_UNITS.values() for unit in strengths})
_LOOK = {"eye_distance": (0.38, 0.46), "eye_size": (0.9, 1.15), "mouth": (0.9, 1.12)}
_LOOK |= {"brow_height": (-1, 1), "brow_width": (0.7, 1.2)}
Point = tuple[float, float]
Points = list[Point]
Colour = tuple[int, ...]
Weights = dict[Any, float]


@dataclass
class _Canvas:
    """A drawing surface in face coordinates: (0, 0) is the face's centre, one unit half its width, y points down."""

    image: Image.Image
    scale: float
    centre: Point
    roll: float

    def points(self, points: Points) -> Points:
        """Turns face coordinates into pixels, rolled by `roll` radians."""
        cos, sin = math.cos(self.roll) * self.scale, math.sin(self.roll) * self.scale
        return [(self.centre[0] + x * cos - y * sin, self.centre[1] + x * sin + y * cos) for x, y in points]

    def fill(self, points: Points, colour: Colour) -> None:
        """Fills a polygon."""
        ImageDraw.Draw(self.image).polygon(self.points(points), fill=colour)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """Draws a line through points; `width` is in face coordinates."""
        pixels = max(1, round(width * self.scale))
        ImageDraw.Draw(self.image).line(self.points(points), fill=colour, width=pixels, joint="curve")

    def fill_inside(self, outline: Points, shapes: list[tuple[Points, Colour]]) -> None:
        """Fills shapes, as far as they lie inside an outline."""
        pixels = self.points(outline)
        left, top = (math.floor(min(values)) for values in zip(*pixels, strict=True))
        width, height = (math.ceil(max(values) - min(values)) + 2 for values in zip(*pixels, strict=True))
        patch, mask = Image.new("RGB", (width, height)), Image.new("L", (width, height), 0)
        ImageDraw.Draw(mask).polygon([(x - left, y - top) for x, y in pixels], fill=255)
        for points, colour in shapes:
            ImageDraw.Draw(patch).polygon([(x - left, y - top) for x, y in self.points(points)], fill=colour)
        self.image.paste(patch, (left, top), mask)


def _oval(x: float, y: float, radius_x: float, radius_y: float) -> Points:
    turn = np.linspace(0, 2 * math.pi, 41)
    return [(x + radius_x * math.cos(a), y + radius_y * math.sin(a)) for a in turn]


def _arc(start: Point, middle: Point, end: Point) -> Points:
    """Returns 13 points of the parabola through three points (`middle` at half the way)."""
    t = np.linspace(0, 1, 13)[:, None]
    first, last = np.asarray(start), np.asarray(end)
    bend = 2 * np.asarray(middle) - (first + last) / 2
    return [(x, y) for x, y in ((1 - t) ** 2 * first + 2 * t * (1 - t) * bend + t**2 * last).tolist()]


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(int(min(255, c * factor)) for c in colour)


def _draw_eye(canvas: _Canvas, side: int, units: Weights, look: Weights, skin: Colour) -> None:
    x, y, half = side * look["eye_distance"], -0.2, 0.2 * look["eye_size"]
    opening = max(0.0, 0.095 + 0.10 * units[5] - 0.03 * units[7] - 0.03 * units[6] - 0.12 * units[43] - 0.02 * units[9])
    lower = max(0.0, 0.075 + 0.03 * units[5] - 0.055 * units[7] - 0.065 * units[6] - 0.03 * units[9])
    outline = _arc((x - half, y), (x, y - opening), (x + half, y)) + _arc((x + half, y), (x, y + lower), (x - half, y))
    iris, pupil = _oval(x, y - 0.01, 0.095, 0.095), _oval(x, y - 0.01, 0.045, 0.045)
    canvas.fill_inside(outline, [(outline, (245, 243, 240)), (iris, (95, 65, 45)), (pupil, (15, 12, 12))])
    canvas.line(outline[:13], (35, 20, 20), 0.035)
    canvas.line(outline[13:], _shade(skin, 0.6), 0.018)
    if units[6] > 0.05:
        crease = _arc((x - half, y + 0.14), (x, y + 0.2 - 0.05 * units[6]), (x + half, y + 0.12))
        canvas.line(crease, _shade(skin, 1 - 0.35 * units[6]), 0.03)


def _draw_brow(canvas: _Canvas, side: int, units: Weights, look: Weights, hair: Colour) -> None:
    x, y = side * look["eye_distance"], -0.42 - 0.03 * look["brow_height"]
    inner = (x - side * (0.24 + 0.05 * units[4]), y - 0.18 * units[1] + 0.17 * units[4] + 0.09 * units[9])
    middle = (x, y - 0.05 - 0.08 * units[1] - 0.13 * units[2] + 0.08 * units[4] + 0.04 * units[9])
    outer = (x + side * 0.25, y + 0.03 - 0.15 * units[2] + 0.04 * units[1] * (1 - units[2]) - 0.03 * units[4])
    canvas.line(_arc(inner, middle, outer), hair, 0.065 * look["brow_width"])


def _draw_nose(canvas: _Canvas, units: Weights, skin: Colour) -> None:
    shadow, lift = _shade(skin, 0.62), 0.05 * units[9]
    canvas.line(_arc((-0.12, 0.18 - lift), (0, 0.24 - lift), (0.12, 0.18 - lift)), shadow, 0.035)
    for side in (-1, 1):
        if units[9] > 0.05:
            for row in range(3):
                height = -0.16 + 0.09 * row
                wrinkle = _arc((side * 0.02, height), (side * 0.07, height - 0.02), (side * 0.12, height + 0.05))
                canvas.line(wrinkle, _shade(skin, 1 - 0.55 * units[9]), 0.03)
        fold = max(units[9], units[10], 0.7 * units[12])
        if fold > 0.05:
            points = _arc((side * 0.17, 0.15), (side * 0.3, 0.26), (side * 0.4, 0.46 - 0.06 * units[12]))
            canvas.line(points, _shade(skin, 1 - 0.4 * fold), 0.03)


def _draw_mouth(canvas: _Canvas, units: Weights, look: Weights, lips: Colour) -> None:
    half = 0.3 + 0.1 * units[12] + 0.12 * units[20] - 0.07 * units[26] - 0.07 * units[23] - 0.03 * units[22]
    half *= look["mouth"]
    y = 0.52 + 0.02 * units[26] - 0.03 * units[17]
    corner = y - 0.15 * units[12] + 0.15 * units[15] + 0.04 * units[20]
    top = y - 0.03 * units[12] - 0.12 * units[10] - 0.05 * units[26] - 0.02 * units[25] - 0.05 * units[15]
    bottom = y + 0.32 * units[26] + 0.13 * units[25] + 0.04 * units[12] - 0.06 * units[15] + 0.01 * units[10]
    thick = 0.05 * (1 - 0.55 * units[23] + 0.3 * units[22])
    upper = _arc((-half, corner), (0, top), (half, corner))
    lower = _arc((half, corner), (0, bottom), (-half, corner))
    canvas.fill(upper + lower, (60, 20, 25))
    if units[25] > 0.05 or units[10] > 0.05:
        show, rim = min(0.08, 0.6 * (bottom - top)), corner + 0.1 * (top - corner)
        edge = _arc((half * 0.85, rim), (0, top + show), (-half * 0.85, rim))
        canvas.fill(upper[1:-1] + edge, (240, 236, 228))
    canvas.line(upper, lips, 2 * thick * 0.6)
    canvas.line(lower, lips, 2 * thick * 0.75)
    if units[17] > 0.05:
        canvas.line(_arc((-0.16, y + 0.27), (0, y + 0.2), (0.16, y + 0.27)), _shade(lips, 1 - 0.2 * units[17]), 0.03)


def _draw_glasses(canvas: _Canvas, look: Weights, colour: Colour) -> None:
    for side in (-1, 1):
        canvas.line(_oval(side * look["eye_distance"], -0.19, 0.28, 0.24), colour, 0.03)
    canvas.line([(-look["eye_distance"] + 0.27, -0.2), (look["eye_distance"] - 0.27, -0.2)], colour, 0.03)


def _draw_head(canvas: _Canvas, skin: Colour, hair: Colour, rng: np.random.Generator) -> None:
    canvas.fill(_oval(0, -0.25, rng.uniform(1.02, 1.15), rng.uniform(1.1, 1.4)), hair)
    canvas.fill(_oval(0, 0.0, 0.98, rng.uniform(1.15, 1.35)), skin)
    canvas.fill(_oval(rng.uniform(-0.2, 0.2), -1.05, rng.uniform(0.7, 0.85), rng.uniform(0.25, 0.45)), hair)


def _light_and_lens(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shrinks a drawn face to its final size, mirrors half of them, blurs, lights and adds noise."""
    small = image.reduce(_OVERSAMPLING)
    if rng.random() < 0.5:
        small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    small = small.filter(ImageFilter.GaussianBlur(rng.uniform(0.0, 1.0)))
    angle, strength = rng.uniform(0, 2 * math.pi), rng.uniform(0, 0.35)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    light = rng.uniform(0.65, 1.15) * (1 + strength * (math.cos(angle) * columns + math.sin(angle) * rows))
    pixels = np.asarray(small, dtype=np.float32) * light[..., None]
    pixels += rng.normal(0, rng.uniform(1, 9), pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def draw_face(expression: str, intensity: float, rng: np.random.Generator) -> Image.Image:
    """Draws one face, an RGB picture of 100 x 100 pixels, with an expression of `ACTION_UNITS`.

    `intensity` is how strongly the expression is shown, in [0, 1]; 0 is a neutral face. The look of the face, the light
    and the lens come from `rng`.
    """
    strengths = ACTION_UNITS[expression]
    # As many draws for every expression: from one seed comes one look, whatever it expresses.
    units = {
        unit: abs(rng.normal(0, 0.04)) + strengths.get(unit, 0) * intensity * rng.uniform(0.85, 1.15)
        for unit in _ALL_UNITS
    }
    look = {name: rng.uniform(low, high) for name, (low, high) in _LOOK.items()}
    tone = rng.random()
    skin = tuple(int(a + (b - a) * tone + rng.normal(0, 4)) for a, b in ((92, 238), (58, 204), (42, 180)))
    hair = _shade((200, 160, 110), rng.uniform(0.15, 0.6))
    lips = tuple(int(0.75 * s + 0.25 * r) for s, r in zip(_shade(skin, 0.78), (150, 40, 50), strict=True))
    side = SIZE * _OVERSAMPLING
    image = Image.new("RGB", (side, side), tuple(int(c) for c in rng.integers(30, 226, 3)))
    centre = (side * (0.5 + rng.uniform(-0.03, 0.03)), side * (0.5 + rng.uniform(-0.03, 0.03)))
    canvas = _Canvas(image, side * rng.uniform(0.39, 0.44), centre, math.radians(rng.uniform(-5, 5)))
    _draw_head(canvas, skin, hair, rng)
    for eye_side in (-1, 1):
        _draw_eye(canvas, eye_side, units, look, skin)
        _draw_brow(canvas, eye_side, units, look, hair)
    _draw_nose(canvas, units, skin)
    _draw_mouth(canvas, units, look, lips)
    if rng.random() < 0.25:
        _draw_glasses(canvas, look, _shade((120, 110, 110), rng.uniform(0.2, 1.2)))
    return _light_and_lens(image, rng)


def list_drawn_files(*, train_faces: int = TRAIN_FACES, test_faces: int = TEST_FACES) -> set[str]:
    """Returns the files that `write_drawn_faces` writes, by their paths below the root."""
    stems = [stem for of_split in _list_faces(train_faces, test_faces) for stem, _ in of_split]
    images = {f"{BASIC.subset}/Image/aligned/{stem}_aligned.jpg" for stem in stems}
    return images | {f"{BASIC.subset}/EmoLabel/{_LABEL_FILE}"}


def _list_faces(train_faces: int, test_faces: int) -> Iterator[list[tuple[str, str]]]:
    """Yields the faces of train and of test: the beginning of a file's name, and an expression, still in order."""
    for prefix, digits, total in (("train", 5, train_faces), ("test", 4, test_faces)):
        share = total / sum(RELATIVE_COUNTS.values())
        expressions = [name for name, weight in RELATIVE_COUNTS.items() for _ in range(max(1, round(share * weight)))]
        yield [(f"{prefix}_{number:0{digits}d}", name) for number, name in enumerate(expressions, start=1)]


def write_drawn_faces(
    root: str | Path, *, train_faces: int = TRAIN_FACES, test_faces: int = TEST_FACES, seed: int = 0
) -> Path:
    """Writes drawn faces in RAF-DB's official basic layout, for `load_rafdb(root)`; returns the `basic` folder.

    `root` is made if missing. The faces are about as many as asked for, shared out by `RELATIVE_COUNTS`. The same
    arguments give the same files, byte for byte, on one installation of Pillow and NumPy.
    """
    basic = Path(root) / BASIC.subset
    images, label_folder = basic / "Image" / "aligned", basic / "EmoLabel"
    images.mkdir(parents=True, exist_ok=True)
    label_folder.mkdir(exist_ok=True)
    rows = []
    for split, faces in enumerate(_list_faces(train_faces, test_faces)):
        expressions = [expression for _, expression in faces]
        np.random.default_rng([seed, split]).shuffle(expressions)
        drawn = list(enumerate(zip(faces, expressions, strict=True), start=1))
        for number, ((stem, _), expression) in show_progress(drawn, "Drawing faces", unit="face"):
            rng = np.random.default_rng([seed, split, number])
            face = draw_face(expression, rng.uniform(0.3, 1.0), rng)
            face.save(images / f"{stem}_aligned.jpg", quality=int(rng.integers(70, 96)))
            rows.append(f"{stem}.jpg {BASIC.code_of_id(BASIC.names.index(expression))}")
    (label_folder / _LABEL_FILE).write_text("\n".join(rows), encoding="ascii")
    return basic
