"""A copy of the release that a check finds nothing in, and the same faces as a table."""

from PIL import Image

from tests.support.faces import write_official
from tests.support.images import encode, paint_texture, save_again

SIDE = 40


IMAGES = "Image/aligned"


ANNOTATIONS = {
    "manual/{}_manu_attri.txt": "10 20\n" * 5 + "0\n1\n2\n",
    "auto/{}_auto_attri.txt": "10.5 20.5\n" * 37,
    "boundingbox/{}_boundingbox.txt": "10 20 60 70\n",
}


def paint_all(root):
    for seed, path in enumerate(sorted(root.rglob("*.jpg"))):
        paint(path, seed)
    return root


def paint(path, seed, **changes):
    path.write_bytes(encode(paint_texture(seed, SIDE), "JPEG", quality=95, **changes))


def face(basic, name):
    return basic / IMAGES / f"{name}_aligned.jpg"


def again(source, target):
    """Puts a near-duplicate in the place of an image."""
    with Image.open(source) as picture:
        target.write_bytes(encode(save_again(picture.convert("RGB"), 70), "PNG"))


def write_release(root, *, train=2, test=1):
    basic = paint_all(write_official(root, train=train, test=test))
    for path in (basic / IMAGES).iterdir():
        for place, text in ANNOTATIONS.items():
            annotation = basic / "Annotation" / place.format(path.name.removesuffix("_aligned.jpg"))
            annotation.parent.mkdir(parents=True, exist_ok=True)
            annotation.write_text(text)
    return basic


def write_table(root):
    root.mkdir()
    rows = [f"{label}{i}.jpg,{label},{split}" for label in "ab" for i, split in enumerate(("train", "train", "test"))]
    for row in rows:
        (root / row.split(",")[0]).touch()
    (root / "faces.csv").write_text("\n".join(["image,label,split", *rows, ""]))
    return paint_all(root)
