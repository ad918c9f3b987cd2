"""`python -m rafdb_vit VERB`, which is also `rafdb-vit VERB` and `accelerate launch -m rafdb_vit VERB`."""

import importlib
import sys
from collections.abc import Sequence

from rafdb_vit import __version__
from rafdb_vit.runtime.console import say
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.requirements import refusing_missing_modules

VERBS = {
    "train": "fine-tune a model, score it once on test, and save it",
    "evaluate": "score a model on labelled faces: results, predictions, a page",
    "predict": "read pictures of cropped faces",
    "compare": "hold two models against each other, on the same faces",
    "summarize": "mean and range of runs that differ in their seed",
    "check": "say what is wrong with a folder of labelled faces",
    "push": "publish a finished run on the Hugging Face Hub",
}


def _usage() -> str:
    verbs = "\n".join(f"  {verb:10} {what}" for verb, what in VERBS.items())
    return f"usage: rafdb-vit VERB [flags]\n\nverbs:\n{verbs}\n\nrafdb-vit VERB --help lists a verb's flags."


def _dispatch(argv: Sequence[str] | None) -> object:
    words = sys.argv[1:] if argv is None else argv
    if not words or words[0] in ("-h", "--help"):
        say(_usage())
    elif words[0] == "--version":
        say(f"rafdb-vit {__version__}")
    elif words[0] in VERBS:
        return importlib.import_module(f"rafdb_vit.commands.{words[0]}").main(words[1:])
    else:
        raise UserError(f"{words[0]}: no such verb; expected one of {', '.join(VERBS)}")
    return None


def main() -> int:
    """Runs the verb that the command line names; returns the exit status."""
    with refusing_missing_modules():
        from rafdb_vit.commands.parser import run_command

        return run_command(_dispatch)


if __name__ == "__main__":
    sys.exit(main())
