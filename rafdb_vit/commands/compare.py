"""`compare`: two models on the same faces, from what they answered."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rafdb_vit.commands.parser import parse_arguments, switch


@dataclass
class CompareArguments:
    """What to compare."""

    first: str = field(
        metadata={"help": "A run folder, an evaluation's folder, or a predictions.csv.", "positional": True}
    )
    second: str = field(metadata={"help": "Another; differences are second less first.", "positional": True})
    json: bool = switch("Print the comparison as JSON, for programs.")


def main(argv: Sequence[str] | None = None) -> None:
    """Compares two models.

    Args:
        argv: The words of the command line; those of the process if None.

    Raises:
        UserError: One has no predictions, or they are not of the same faces.
    """
    (asked,), _ = parse_arguments(
        (CompareArguments,),
        sys.argv[1:] if argv is None else argv,
        prog="rafdb-vit compare",
        description="Compare two models on the same faces: differences with 95% intervals, McNemar's test.",
        takes_config=False,
    )

    from rafdb_vit.evaluation.comparison import compare_predictions
    from rafdb_vit.evaluation.predictions import read_predictions
    from rafdb_vit.runtime.console import say

    names = (asked.first, asked.second)
    comparison = compare_predictions(*map(read_predictions, names), names=names)
    say(json.dumps(comparison.describe(), indent=2) if asked.json else comparison.render(*names))
