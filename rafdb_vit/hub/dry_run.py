"""A dry run of publishing: shows what would be published, and all that is missing for it; no socket is opened."""

from functools import partial
from pathlib import Path
from typing import Any

from rafdb_vit.hub.client import check_endpoint, check_reference, check_repo_id, find_token
from rafdb_vit.hub.faults import Faults
from rafdb_vit.hub.staging import stage_run
from rafdb_vit.runtime.console import say, say_line

_NO_NAME = "USER/NAME"
"""Stands in the card where no repository was named."""


def show_publication(
    run: str | Path,
    repo_id: str | None,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    license: str | None = None,
    force: bool = False,
) -> None:
    """Shows the files, checksums, card and target of a run; for the settings see `publication.Publication`.

    Raises:
        UserError: Something is missing, or speaks against publishing; all of it was said.
    """
    faults, target, branch = Faults(collects=True), _NO_NAME, None
    with faults.noting():
        check_repo_id(repo_id)
        target = str(repo_id)
    with faults.noting():
        check_reference("--revision", revision)
        branch = revision
    for check in (partial(check_reference, "--tag", tag), check_endpoint, find_token):
        with faults.noting():
            check()
    settings: Any = {"repo_id": target, "license": license, "force": force, "revision": branch}
    with faults.noting(), stage_run(run, **settings, faults=faults) as staged:
        say(staged.render())
        say(f"\n{staged.card}\n")
    visibility = "private" if private else "public, unless its owner's default is private"
    words = f"{target}, branch {branch or 'main'}{f', tag {tag}' if tag else ''}"
    say_line(f"Dry run, nothing was sent. Target: {words}. If it is new: {visibility}. The Hub checks licences.")
    faults.refuse()
