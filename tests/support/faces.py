"""Made-up faces, in the layouts in which people hold RAF-DB."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from rafdb_vit.data.annotations import KINDS

COLOURS = ((20, 20, 20), (235, 235, 235), (220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 220, 30), (220, 30, 220))


def paint_face(code: int, seed: int) -> Image.Image:
    """Returns a picture that even a tiny model tells from those of other codes: a noisy plane of a colour per code."""
    if code > len(COLOURS):
        return paint_face(code - len(COLOURS), seed).transpose(Image.Transpose.ROTATE_90)
    noise = np.random.default_rng([seed, code]).normal(0, 12, (100, 100, 3))
    return Image.fromarray((np.asarray(COLOURS[code - 1]) + noise).clip(0, 255).astype(np.uint8))


def write_official(root: Path, *, train: int = 6, test: int = 3, subset: str = "basic") -> Path:
    """Writes a tree in the official layout, so many faces a class; returns the `basic` or `compound` folder."""
    basic, classes = root / subset, {"basic": 7, "compound": 11}[subset]
    (basic / "EmoLabel").mkdir(parents=True)
    images = basic / "Image" / "aligned"
    images.mkdir(parents=True)
    rows = []
    for split, per_class, digits in (("train", train, 5), ("test", test, 4)):
        for i in range(per_class * classes):
            code, stem = i % classes + 1, f"{split}_{i + 1:0{digits}d}"
            paint_face(code, i).save(images / f"{stem}_aligned.jpg", quality=95)
            rows.append(f"{stem}.jpg {code}")
    (basic / "EmoLabel" / "list_patition_label.txt").write_text("\n".join(rows))
    return basic


def write_kaggle(root: Path, *, train: int = 6, test: int = 3) -> Path:
    """Writes the same faces in the Kaggle layout; returns the folder that holds `DATASET` and the CSV files."""
    for split, per_class, digits in (("train", train, 5), ("test", test, 4)):
        rows = ["image,label"]
        for i in range(per_class * 7):
            code, name = i % 7 + 1, f"{split}_{i + 1:0{digits}d}_aligned.jpg"
            folder = root / "DATASET" / split / str(code)
            folder.mkdir(parents=True, exist_ok=True)
            paint_face(code, i).save(folder / name, quality=95)
            rows.append(f"{name},{code}")
        (root / f"{split}_labels.csv").write_text("\n".join(rows) + "\n")
    return root


MANUAL = "38 52\n62.5\t52\n50 66\n40 80\n61 80\n1\n2\n3\n"


AUTOMATIC = "".join(f"{i}\t{i + 0.5}\n" for i in range(37))


def write_annotations(basic):
    """Writes all three kinds for every face, and its photograph; the box of face i begins at (10, 20 + i)."""
    for folder in ("Annotation/manual", "Annotation/auto", "Annotation/boundingbox", "Image/original"):
        (basic / folder).mkdir(parents=True)
    for number, aligned in enumerate(sorted((basic / "Image/aligned").iterdir())):
        file = aligned.stem.removesuffix("_aligned")
        texts = MANUAL.replace("\n1\n2\n3", f"\n{number % 3}\n2\n3"), AUTOMATIC, f"10 {20 + number} 50 {40 + number}\n"
        for kind, text in zip(KINDS, texts, strict=True):
            (basic / "Annotation" / kind.folder / f"{file}{kind.suffix}").write_text(text)
        photograph = np.full((120, 160, 3), 99, np.uint8)
        photograph[20 + number : 40 + number, 10:50] = 200
        Image.fromarray(photograph).save(basic / "Image/original" / f"{file}.png")
    label_file = basic / "EmoLabel/list_patition_label.txt"
    label_file.write_text(label_file.read_text().replace(".jpg", ".png"))
    for aligned in (basic / "Image/aligned").iterdir():
        aligned.rename(aligned.with_suffix(".png"))
    return basic


SYSTEM_FOLDERS = (
    *("__MACOSX", ".ipynb_checkpoints", "@eaDir", "$RECYCLE.BIN", "lost+found", "System Volume Information"),
    *("#recycle", "@Recycle", "#snapshot", "__pycache__", "Network Trash Folder", ".Trash-1000"),
)
SYSTEM_FILES = (
    *("Thumbs.db", "desktop.ini", ".DS_Store", "._face.png", "ehthumbs.db", "Icon\r", "face.png:Zone.Identifier"),
    *("Picasa.ini", "~$faces.csv"),
)


def write_system_files(*folders):
    """Writes what systems leave in folders, pictures among it; a class of them would be called `zzz`."""
    content = io.BytesIO()
    Image.new("RGB", (8, 8)).save(content, "PNG")
    for folder in folders:
        for name in SYSTEM_FOLDERS:
            (folder / name / "train" / "zzz").mkdir(parents=True)
            for place in (".", "train/zzz"):
                (folder / name / place / "thumbnail.png").write_bytes(content.getvalue())
        for name in SYSTEM_FILES:
            (folder / name).write_bytes(b"of a system")
