"""`summarize`: the figures of several runs that differ in their seed."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

from rafdb_vit.commands.parser import parse_arguments, switch


@dataclass
class SummarizeArguments:
    """What to summarize."""

    runs: list[str] = field(
        metadata={"help": "Folders of finished runs, alike but for their seed.", "positional": True, "nargs": "+"}
    )
    json: bool = switch("Print the summary as JSON, for programs.")


def main(argv: Sequence[str] | None = None) -> None:
    """Summarizes runs: mean and range of their test figures.

    Args:
        argv: The words of the command line; those of the process if None.

    Raises:
        UserError: A run is not finished, or differs from the others in more than its seed.
    """
    (asked,), _ = parse_arguments(
        (SummarizeArguments,),
        sys.argv[1:] if argv is None else argv,
        prog="rafdb-vit summarize",
        description="Mean and range of the test figures of runs that differ in their seed.",
        takes_config=False,
    )

    from rafdb_vit.evaluation.summary import summarize_runs
    from rafdb_vit.runtime.console import say

    summary = summarize_runs(asked.runs)
    say(json.dumps(summary.describe(), indent=2, ensure_ascii=False) if asked.json else summary.render())
