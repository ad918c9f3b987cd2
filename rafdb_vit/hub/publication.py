"""Publishing a run: it is staged and checked here, sent in one commit, compared with what arrived, then tagged.

Training can publish at its end: what speaks against it is said before the start, and a failure leaves the run whole.
"""

import json
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rafdb_vit.data.names import is_rafdb
from rafdb_vit.evaluation.protocol import DataProtocol
from rafdb_vit.hub.card import find_objection, was_edited
from rafdb_vit.hub.client import check_names
from rafdb_vit.hub.dry_run import show_publication
from rafdb_vit.hub.license import EXAMPLE
from rafdb_vit.hub.probe import TOLERANCE, largest_difference
from rafdb_vit.hub.repository import HubRepository, RepositoryDifference
from rafdb_vit.hub.staging import StagedRun, check_publishable, stage_run
from rafdb_vit.model.download import is_pickle
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.console import say, say_line
from rafdb_vit.runtime.errors import Interrupted, UserError, renaming_flags
from rafdb_vit.runtime.launch import render_command
from rafdb_vit.runtime.processes import broadcast_from_main, raise_on_all

MESSAGE = "Model, results and card of a rafdb_vit run"
_FLAGS_OF_TRAINING = {"--repo_id": "--hub_model_id", "--revision": "--hub_revision", "--private": "--hub_private_repo"}


@dataclass(frozen=True)
class Publication:
    """Where and how a run is published.

    Attributes:
        repo_id: `USER/NAME`.
        revision: The branch; None for `main`.
        tag: A name for the commit.
        license: The Hub's identifier of a licence, or an address; None for that of the data.
        private: Only its owners see the repository, if it is new.
        force: Publish demo and subsampled runs too, and replace a card that was edited by hand.
        verify: Load the model back and compare its predictions.
    """

    repo_id: str
    revision: str | None = None
    tag: str | None = None
    license: str | None = None
    private: bool = False
    force: bool = False
    verify: bool = False

    def __post_init__(self) -> None:
        check_names(self.repo_id, revision=self.revision, tag=self.tag)

    def check_rights(self) -> None:
        """Makes sure that publishing can succeed, as far as that can be told without a finished run.

        Raises:
            UserError: The token is missing or may not write, the repository is public and should be private, or its
                card was edited by hand.
        """
        repository, private = self._open()
        head = repository.find_head() if private is not None else None
        if head is not None:
            self._check_card(repository, head)

    def publish(self, run: str | Path) -> str:
        """Publishes a run; does nothing where the branch already holds it.

        Returns:
            The commit that holds it.

        Raises:
            UserError: It must not be published, or could not be; the line says what to run again.
            Interrupted: A signal ended it.
        """
        try:
            with self._stage(run) as staged:
                say(staged.render())
                return self._send(staged)
        except Interrupted as stop:
            raise Interrupted(
                stop.signum,
                f"publishing was broken off; {self.repo_id} has the whole model or is as it was: run the same command "
                "again",
            ) from stop

    def _stage(self, run: str | Path) -> AbstractContextManager[StagedRun]:
        return stage_run(run, repo_id=self.repo_id, license=self.license, force=self.force, revision=self.revision)

    @announcing("Asking the Hub")
    def _open(self) -> tuple[HubRepository, bool | None]:
        """Returns the repository, after the checks that need no run, and whether it is private; None if it is new."""
        repository = HubRepository(self.repo_id, revision=self.revision)
        repository.check_rights()
        private = repository.find()
        self._check_visibility(private)
        return repository, private

    def _send(self, staged: StagedRun) -> str:
        repository, private = self._open()
        repository.check_card(staged.card)
        if private is None:
            private = repository.create(private=self.private)
            self._check_visibility(private)
        has_tag = self._check_tag(repository, staged)
        head = repository.open_branch()
        found = repository.compare(staged, head)
        if found.is_equal:
            say(f"\nNothing to do: {self.repo_id} holds these files already.")
            commit = head
        else:
            self._check_replaceable(repository, head, found)
            say(f"\nPublishing to {repository.address} ({'private' if private else 'public'}) ...")
            commit = repository.commit(staged, onto=head, obsolete=found.obsolete, message=MESSAGE)
        self._prove(repository, staged, commit)
        if self.tag:
            if not has_tag:
                repository.tag(self.tag, commit)
            say(f"Tag {self.tag}: {'stands on these files already' if has_tag else 'set'}.")
        if found.others:
            say_line(f"Left in the repository as they were: {', '.join(found.others)}.")
        if pickles := [path for path in found.others if is_pickle(path)]:
            say_line(
                f"Warning: {', '.join(pickles)} can run code when loaded, and may hold a token: look at them there."
            )
        revision = f", revision={json.dumps(self.revision)}" if self.revision else ""
        classes = len(staged.probabilities[0])
        say(f'{repository.address}  pipeline("image-classification", "{self.repo_id}"{revision}, top_k={classes})')
        return commit

    def _check_visibility(self, private: bool | None) -> None:
        if self.private and private is False:
            raise UserError(
                f"--private: {self.repo_id} exists and is public; make it private in its settings, or leave this out"
            )

    def _check_replaceable(self, repository: HubRepository, head: str, found: RepositoryDifference) -> None:
        """Refuses a branch on which a commit would leave files out, or replace what a person wrote."""
        if ".gitignore" in found.others:
            raise UserError(
                f"--repo_id {self.repo_id}: has a .gitignore, by which the Hub leaves files out; delete it there"
            )
        self._check_card(repository, head)
        if found.obsolete:
            say_line(f"Deleted there, in the same commit, since loading would take them: {', '.join(found.obsolete)}.")

    def _check_card(self, repository: HubRepository, head: str) -> None:
        if not self.force and was_edited(repository.read_card(head)):
            raise UserError(
                f"--repo_id {self.repo_id}: its README.md was written or edited by hand, and would be replaced; keep "
                "its words elsewhere, then take --force, or take another --repo_id"
            )

    def _check_tag(self, repository: HubRepository, staged: StagedRun) -> bool:
        """Tells whether the tag exists already, on these files; asked before anything is uploaded."""
        tagged = repository.find_tag(self.tag) if self.tag else None
        if tagged is not None and not repository.compare(staged, tagged).is_equal:
            raise UserError(f"--tag {self.tag}: {self.repo_id} has it already, on other files; take another name")
        return tagged is not None

    def _prove(self, repository: HubRepository, staged: StagedRun, commit: str) -> None:
        """Compares every file's checksum, and with `--verify` the predictions of the model as it is loaded back."""
        differing = repository.compare(staged, commit).differing
        if differing:
            raise UserError(
                f"--repo_id {self.repo_id}: {', '.join(differing)} of commit {commit} are not what was sent; look at "
                "the repository, then run the same command again"
            )
        say(f"Checksums: all {len(staged.files)} files of commit {commit} equal those here.")
        if not self.verify:
            return
        answers = repository.probe(commit, classes=len(staged.probabilities[0]))
        difference = largest_difference(answers, staged.probabilities)
        if difference > TOLERANCE:
            raise UserError(
                f"--verify: the model loaded back from {self.repo_id} at {commit} differs by {difference:.2g} in a "
                "probability; look at the repository, then run the same command again"
            )
        say(f"Loaded back by pipeline in a fresh cache: largest difference of a probability {difference:.2g}.")


def publish_run(
    run: str | Path,
    repo_id: str | None,
    *,
    private: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    license: str | None = None,
    force: bool = False,
    verify: bool = False,
    dry_run: bool = False,
) -> str | None:
    """Publishes a finished run on the Hub, in one commit, and checks that the Hub holds what was measured.

    See `Publication` for the settings. A `dry_run` shows files, checksums, card and target, says all that is missing,
    and sends nothing; it does without a `repo_id`.

    Returns:
        The commit that holds the run; None for a dry run.

    Raises:
        UserError: It must not be published, or could not be; the line says what to run again.
        Interrupted: A signal ended it.
    """
    settings: Any = {"revision": revision, "tag": tag, "license": license, "private": private, "force": force}
    if dry_run:
        show_publication(run, repo_id, **settings)
        return None
    check_names(repo_id)
    return Publication(str(repo_id), verify=verify, **settings).publish(run)


def plan_publication(data: DataProtocol, *, repo_id: str, **settings: Any) -> Publication:
    """Plans, on all processes, to publish a run that is yet to be trained; `settings` are those of `Publication`.

    Raises:
        UserError: What speaks against it: the data, a name, the token, or its right to write.
    """
    with raise_on_all(), renaming_flags(_FLAGS_OF_TRAINING):
        publication = Publication(repo_id, **settings)
        check_publishable(data, license=publication.license, force=publication.force)
    with renaming_flags(_FLAGS_OF_TRAINING):
        broadcast_from_main(publication.check_rights)
    return publication


def propose_publication(data: DataProtocol, *, license: str | None) -> list[str] | None:
    """Returns the words that publish a run, after its folder; None where it is a trial that should not be published.

    `license` is the one that was asked for. Where one is needed and none was, an example stands in its place.
    """
    if find_objection(data):
        return None
    needed = license or (None if is_rafdb(data.name) else EXAMPLE)
    return ["--repo_id", "USER/NAME", *(["--license", needed] if needed else [])]


def publish_trained(publication: Publication, run: str | Path) -> str:
    """Publishes a run that this process has just trained; see `Publication.publish`.

    Raises:
        UserError: It could not be published; the line says that the run is whole, and what publishes it.
        Interrupted: A signal ended it; likewise.
    """
    again = f"the trained run in {run} is whole; publish it with: {_render_command(publication, run)}"
    try:
        with renaming_flags(_FLAGS_OF_TRAINING):
            return publication.publish(run)
    except UserError as error:
        raise UserError(f"not published: {error.line}; {again}") from error
    except Interrupted as stop:
        raise Interrupted(stop.signum, f"{stop.message}; {again}") from stop
    except Exception:
        say(f"Not published, by a fault of this program; {again}")
        raise


def _render_command(publication: Publication, run: str | Path) -> str:
    words = ["python", "push_to_hub.py", str(run)]
    for name, value in vars(publication).items():
        if value:
            words += [f"--{name}"] if value is True else [f"--{name}", value]
    return render_command(words)
