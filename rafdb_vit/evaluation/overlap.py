"""Which of the faces that a model is scored on its training has seen, and the metrics of the others.

Only this module knows the form of `trained_on.json`, by which a run remembers its faces: JSON, which shows anyone what
is kept and how it was made, and is read in a moment (of 280,000 faces: 6 MB, 0.3 s). A hash cannot be turned back into
a face, but tells who has a picture that it was trained on: the file stays in the run folder, and is never published.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rafdb_vit.data.pixels import DIGITS, METHOD
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.reading import check_keys
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.disk import parse_json

SEEN_FILE = "trained_on.json"
MOST_BYTES = 2**28
"""Of `trained_on.json`: it has twenty for each face, and no data set of faces has ten million."""
_HASH = re.compile(rf"[0-9a-f]{{{DIGITS}}}")
_PARTS = ("train", "validation")


@dataclass(frozen=True)
class SeenFaces:
    """The faces that a run has seen, by their hashes from `rafdb_vit.data.pixels`.

    Attributes:
        train: Those that it was trained on.
        validation: Those that were used to choose its checkpoint.
    """

    train: frozenset[str]
    validation: frozenset[str]

    @classmethod
    def of_run(cls, hashes: Mapping[str, Iterable[str]], *, base: "SeenFaces | None" = None) -> "SeenFaces":
        """Returns what a run sees: its own faces, and those of the run whose model it starts from."""
        before = base or cls(frozenset(), frozenset())
        return cls(*(getattr(before, part).union(hashes[part]) for part in _PARTS))

    def render(self) -> str:
        """Renders the content of `trained_on.json`; the order of the hashes tells nothing of that of the faces."""
        content = {"hash": METHOD, **{part: sorted(getattr(self, part)) for part in _PARTS}}
        return f"{json.dumps(content, indent=0)}\n"

    @classmethod
    def read(cls, text: str) -> "SeenFaces":
        """Returns what `render` wrote.

        Raises:
            ValueError: It has another form.
        """
        content = parse_json(text)
        check_keys(content, ("hash", *_PARTS), "the file")
        if content["hash"] != METHOD:
            raise ValueError("its faces were hashed in another way than here")
        for part in _PARTS:
            hashes = content[part]
            if not isinstance(hashes, list) or not all(isinstance(h, str) and _HASH.fullmatch(h) for h in hashes):
                raise ValueError(f"{part} is not a list of hashes")
        return cls(*(frozenset(content[part]) for part in _PARTS))


@dataclass(frozen=True)
class Overlap:
    """Which of the faces that were scored the training of the model has seen.

    Attributes:
        n: Number of faces that were scored.
        trained_on: Those of them that the model was trained on.
        used_to_choose: Those of the others that were used to choose its checkpoint.
        others: Metrics of the faces that are neither; None if there are none.
    """

    n: int
    trained_on: int
    used_to_choose: int
    others: EvaluationResult | None

    @property
    def seen(self) -> int:
        """Number of faces that are not new to the model."""
        return self.trained_on + self.used_to_choose

    def describe(self) -> dict[str, Any]:
        """Returns it as it stands in `evaluation.json`."""
        return {
            "n": self.n,
            "trained_on": self.trained_on,
            "used_to_choose_checkpoint": self.used_to_choose,
            "others": self.others and self.others.describe(),
        }


def find_overlap(predictions: Predictions, hashes: Sequence[str], seen: SeenFaces) -> Overlap:
    """Finds out which faces of [N] predictions, whose [N] hashes are given, training has seen."""
    trained_on = np.array([face in seen.train for face in hashes])
    chosen = np.array([face in seen.validation for face in hashes]) & ~trained_on
    others = np.flatnonzero(~(trained_on | chosen))
    result = predictions.select(others).score() if len(others) else None
    return Overlap(len(hashes), int(trained_on.sum()), int(chosen.sum()), result)
