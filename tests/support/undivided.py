"""Labelled faces without splits, with duplicates among them, of persons whose names stand in those of the files."""

from tests.support.images import encode, paint_texture, save_again

CLASSES = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
PERSONS, EACH = 5, 10


def write_undivided(root, classes=CLASSES[:2], *, copies=True):
    """Writes folders of ten faces a class, two of each of five persons, and copies of some; returns the root.

    Of each class face 0 is there three times: as it is, copied, and saved again under another name; face 1 of the first
    class stands, saved again, in the second class and under another person's name.
    """
    for number, name in enumerate(classes):
        folder = root / name
        folder.mkdir(parents=True)
        for i in range(EACH):
            face = paint_texture(100 * number + i, 48)
            path = folder / f"p{i % PERSONS}_{name}{i}.png"
            path.write_bytes(encode(face, "PNG"))
            if i == 0 and copies:
                (folder / f"p0_{name}copy.png").write_bytes(path.read_bytes())
                (folder / f"p0_{name}again.jpg").write_bytes(encode(save_again(face, 80), "PNG"))
    if copies:
        again = encode(save_again(paint_texture(1, 48), 80), "PNG")
        (root / classes[1] / f"p2_{classes[1]}alike.png").write_bytes(again)
    return root
