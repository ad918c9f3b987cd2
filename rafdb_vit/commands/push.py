"""`push`: publishes a finished run on the Hub, in one commit, and checks that the Hub holds what was measured."""

from dataclasses import dataclass, field

from rafdb_vit.commands.parser import command, switch
from rafdb_vit.runtime.announcement import LOADING, announcing
from rafdb_vit.runtime.console import quiet_libraries
from rafdb_vit.runtime.neighbours import check_folder
from rafdb_vit.training.flags import flag

_TOKEN = "a token on the command line ends up in logs and histories; use `hf auth login` or HF_TOKEN"


@dataclass
class PushArguments:
    """What to publish, and where."""

    run: str = field(metadata={"help": "Folder of a finished training run.", "positional": True, "path": True})
    repo_id: str | None = flag(None, "USER/NAME or ORGANISATION/NAME; made if it is not there.")
    private: bool = switch("Make it private, if it is new.")
    revision: str | None = flag(None, "Branch to publish on; made if it is not there.")
    tag: str | None = flag(None, "Name for the commit, set after everything was proved.")
    license: str | None = flag(
        None, "Licence: the Hub's identifier, or an address. Default: RAF-DB's terms, for RAF-DB."
    )
    dry_run: bool = switch("Show files, checksums, card and target, list all that is missing, and send nothing.")
    verify: bool = switch("Load the model back from the Hub and compare what it answers.")
    force: bool = switch("Publish demo and subsampled runs too, and replace a card that was edited by hand.")


@command(
    PushArguments,
    prog="push_to_hub.py",
    description="Publish a training run on the Hugging Face Hub.",
    refused={"token": _TOKEN, "hub_token": _TOKEN},
)
def main(push: PushArguments) -> None:
    """Publishes a run.

    Raises:
        UserError: It must not be published, or could not be; the branch holds the whole model or is as it was.
        Interrupted: A signal ended it.
    """
    if not push.dry_run:  # which says this too, beside what else is missing
        check_folder("RUN", push.run, expected="the folder of a finished training run")

    with announcing(LOADING):
        from rafdb_vit.hub.publication import publish_run

    quiet_libraries()
    publish_run(**vars(push))
