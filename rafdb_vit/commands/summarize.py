"""`summarize`: the metrics of several runs that differ in their seed."""

import json
from dataclasses import dataclass, field

from rafdb_vit.commands.parser import command, switch
from rafdb_vit.runtime.console import say


@dataclass
class SummarizeArguments:
    """What to summarize."""

    runs: list[str] = field(
        metadata={
            "help": "Folders of finished runs, alike but for their seed.",
            "positional": True,
            "nargs": "+",
            "path": True,
        }
    )
    json: bool = switch("Print the summary as JSON, for programs.")


@command(
    SummarizeArguments,
    prog="rafdb-vit summarize",
    description="Mean and range of the test scores of runs that differ in their seed.",
)
def main(asked: SummarizeArguments) -> None:
    """Summarizes runs: mean and range of their test metrics.

    Raises:
        UserError: A run is not finished, or differs from the others in more than its seed.
    """
    from rafdb_vit.evaluation.summary import summarize_runs

    summary = summarize_runs(asked.runs)
    say(json.dumps(summary.describe(), indent=2) if asked.json else summary.render())
