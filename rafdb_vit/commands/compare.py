"""`compare`: two models on the same faces, from their predictions."""

import json
from dataclasses import dataclass, field

from rafdb_vit.commands.parser import command, switch
from rafdb_vit.runtime.console import say


@dataclass
class CompareArguments:
    """What to compare."""

    first: str = field(
        metadata={
            "help": "A run folder, an evaluation's folder, or a predictions.csv.",
            "positional": True,
            "path": True,
        }
    )
    second: str = field(
        metadata={"help": "Another; differences are second less first.", "positional": True, "path": True}
    )
    json: bool = switch("Print the comparison as JSON, for programs.")


@command(
    CompareArguments,
    prog="rafdb-vit compare",
    description="Compare two models on the same faces: differences with 95% intervals, McNemar's test.",
)
def main(asked: CompareArguments) -> None:
    """Compares two models.

    Raises:
        UserError: One has no predictions, or they are not of the same faces.
    """
    from rafdb_vit.evaluation.comparison import compare_predictions
    from rafdb_vit.evaluation.predictions import read_predictions

    names = (asked.first, asked.second)
    comparison = compare_predictions(*map(read_predictions, names), names=names)
    say(json.dumps(comparison.describe(), indent=2) if asked.json else comparison.render(*names))
