"""Made-up copies of the other data sets: FER2013, FER+ and AffectNet."""

import io

import numpy as np

from tests.support.faces import paint_face

FER2013_CODES = ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")
AFFECTNET_CODES = ("Neutral", "Happiness", "Sadness", "Surprise", "Fear", "Disgust", "Anger", "Contempt")
CANDIDATES = (
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    *("unknown", "NF"),
)
USAGES = {"Training": 4, "PublicTest": 1, "PrivateTest": 2}
"""Faces of each class by usage."""


def grey(code, seed):
    """Returns 48 x 48 grey levels that a tiny model tells from those of other codes."""
    return np.random.default_rng([seed, code]).integers(30 * code, 30 * code + 40, (48, 48))


def write_fer2013(path, *, usages=USAGES, columns=("emotion", "pixels", "Usage"), classes=7):
    """Writes a file in FER2013's form; returns (code, grey levels, usage) of each face."""
    faces = [
        (code, grey(code, 10 * number + i), usage)
        for number, (usage, each) in enumerate(usages.items())
        for i in range(each)
        for code in range(classes)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(columns)]
    for code, levels, usage in faces:
        fields = {"emotion": code, "pixels": " ".join(map(str, levels.ravel())), "Usage": usage}
        lines.append(",".join(str(fields[column.strip()]) for column in columns))
    path.write_text("\n".join(lines) + "\n")
    return faces


def write_votes(path, votes, usages):
    """Writes FER+'s file: for each face a mapping of votes by candidate, None for one that is not used."""
    lines = [",".join(("Usage", "Image name", *CANDIDATES))]
    for number, (of_face, usage) in enumerate(zip(votes, usages, strict=True)):
        name = "" if of_face is None else f"fer{number:07d}.png"
        lines.append(",".join([usage, name, *(str((of_face or {}).get(candidate, 0)) for candidate in CANDIDATES)]))
    path.write_text("\n".join(lines) + "\n")


def encode_npy(value):
    content = io.BytesIO()
    np.save(content, np.array(value))
    return content.getvalue()


def write_affectnet(root, *, train=3, val=2, classes=8, splits=("train_set", "val_set")):
    """Writes a tree in AffectNet's form, so many faces a class."""
    number = 0
    for split, each in zip(splits, (train, val), strict=True):
        for folder in ("images", "annotations"):
            (root / split / folder).mkdir(parents=True)
        for i in range(each):
            for code in range(classes):
                paint_face(code + 1, i).resize((40, 40)).save(root / split / "images" / f"{number}.jpg")
                annotations = {"exp": str(code), "val": "-0.17", "aro": "0.33", "lnd": np.zeros(136)}
                for kind, value in annotations.items():
                    (root / split / "annotations" / f"{number}_{kind}.npy").write_bytes(encode_npy(value))
                number += 1
    return root
