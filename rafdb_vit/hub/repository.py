"""A model repository on the Hugging Face Hub: what it holds, one commit to it, and its branches and tags."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, constants
from huggingface_hub.errors import EntryNotFoundError, GatedRepoError, RepositoryNotFoundError
from huggingface_hub.utils import get_session, hf_raise_for_status

from rafdb_vit.hub.client import COMMIT_TIMEOUT, HUB_ERRORS, call_hub, check_endpoint, check_owner, find_token
from rafdb_vit.hub.probe import probe_model
from rafdb_vit.hub.staging import CARD_FILE, StagedRun
from rafdb_vit.model.download import CHECKPOINT_FILES
from rafdb_vit.runtime.errors import UserError

Answer = TypeVar("Answer")

_CACHE_PREFIX = "rafdb_vit-download-"
_READ_BY_LOADING = (*CHECKPOINT_FILES, "processor_config.json", "adapter_config.json", "adapter_model.safetensors")
"""Files that loading would take too, beside those that are published or in place of them."""


@dataclass(frozen=True)
class RepositoryDifference:
    """How a commit differs from what is to be published.

    Attributes:
        differing: Files that it lacks or has with other content.
        obsolete: Weights of an earlier publication, which loading could pick up.
        others: Files that are not ours.
    """

    differing: list[str]
    obsolete: list[str]
    others: list[str]

    @property
    def is_equal(self) -> bool:
        """Nothing is left to do."""
        return not self.differing and not self.obsolete


class HubRepository:
    """One model repository, on one branch, `main` unless `revision` names another.

    Raises:
        UserError: The Hub may not be asked, or there is no token.
    """

    def __init__(self, repo_id: str, *, revision: str | None = None) -> None:
        self.repo_id = repo_id
        self.branch = revision or constants.DEFAULT_REVISION
        check_endpoint()
        self._token = find_token()
        self._api = HfApi(token=self._token)

    @property
    def address(self) -> str:
        """Its page."""
        page = f"{self._api.endpoint}/{self.repo_id}"
        return page if self.branch == constants.DEFAULT_REVISION else f"{page}/tree/{self.branch}"

    def _call(self, call: Callable[[], Answer], **settings: Any) -> Answer:
        return call_hub(f"--repo_id {self.repo_id}", call, token=self._token, **settings)

    def _ask(self, call: Callable[..., Answer], **arguments: Any) -> Answer:
        """Calls a method of the API that is about this repository."""
        return self._call(partial(call, self.repo_id, **arguments))

    def check_rights(self) -> None:
        """Makes sure that the token may write under the owner's name; the Hub says the rest when it is written to.

        Raises:
            UserError: The token is not valid, or it may not.
        """
        try:
            me = self._call(self._api.whoami)
        except (ImportError, ValueError) as error:
            raise UserError(
                f"the connection to the Hub cannot be set up ({error}); look at the proxy settings"
            ) from error
        check_owner(self.repo_id, me)

    def check_card(self, card: str) -> None:
        """Has the Hub check a card's metadata, before anything is made there.

        Raises:
            UserError: It does not accept them, such as a licence that it does not know.
        """

        def find_errors() -> list[dict[str, str]]:
            """Returns what the Hub says against the card."""
            # `ModelCard.validate` of older releases asks huggingface.co whatever HF_ENDPOINT says.
            url = f"{self._api.endpoint}/api/validate-yaml"
            response = get_session().post(url, json={"repoType": "model", "content": card})
            if response.status_code != 400:  # 400 comes with the errors
                hf_raise_for_status(response)
            return response.json().get("errors") or []

        if errors := self._call(find_errors):
            faults = "; ".join(" ".join(str(error.get("message")).split()) for error in errors)
            raise UserError(f"--license: the Hub refuses the card's metadata: {faults}")

    def find(self) -> bool | None:
        """Returns whether the repository is private; None if there is none."""
        try:
            info = self._call(partial(self._api.model_info, self.repo_id), through=(RepositoryNotFoundError,))
        except GatedRepoError as error:
            raise UserError(f"--repo_id {self.repo_id}: access to it must be granted; ask on its page") from error
        except RepositoryNotFoundError:
            return None
        if info.id != self.repo_id:
            raise UserError(f"--repo_id {self.repo_id}: is called {info.id} now; give that name")
        return bool(info.private)

    def create(self, *, private: bool) -> bool:
        """Makes the repository, empty; `private` False leaves it to the owner's default, which is public.

        Returns:
            Whether it is private.
        """
        visibility = True if private else None
        self._ask(self._api.create_repo, private=visibility, exist_ok=True)
        return bool(self._ask(self._api.model_info).private)

    def find_tag(self, name: str) -> str | None:
        """Returns the commit of a tag; None if there is no such tag.

        Raises:
            UserError: It is the name of a branch.
        """
        branches, tags = self._list_names()
        if name in branches:
            raise UserError(f"--tag {name}: {self.repo_id} has a branch of that name; take another")
        return tags.get(name)

    def _list_names(self) -> tuple[dict[str, str], dict[str, str]]:
        """Returns the commits of the branches and of the tags."""
        refs = self._ask(self._api.list_repo_refs)
        branches, tags = ({ref.name: ref.target_commit for ref in kind} for kind in (refs.branches, refs.tags))
        return branches, tags

    def find_head(self) -> str | None:
        """Returns the commit at the head of the branch; None if there is no such branch yet.

        Raises:
            UserError: It is the name of a tag.
        """
        branches, tags = self._list_names()
        if self.branch in tags:
            raise UserError(f"--revision {self.branch}: {self.repo_id} has a tag of that name; expected a branch")
        return self._head() if self.branch in branches else None

    def open_branch(self) -> str:
        """Returns the commit at the head of the branch, which is made from `main` if it is missing."""
        head = self.find_head()
        if head is None:
            self._ask(self._api.create_branch, branch=self.branch, exist_ok=True)
        return head or self._head()

    def _head(self) -> str:
        return str(self._ask(self._api.model_info, revision=self.branch).sha)

    def compare(self, staged: StagedRun, revision: str) -> RepositoryDifference:
        """Compares a commit with what is to be published, by the checksums that the Hub has."""
        found = self._ask(self._api.verify_repo_checksums, revision=revision, local_dir=staged.folder)
        obsolete = [path for path in found.missing_paths if any(fnmatch(path, name) for name in _READ_BY_LOADING)]
        return RepositoryDifference(
            differing=[*(mismatch["path"] for mismatch in found.mismatches), *found.extra_paths],
            obsolete=obsolete,
            others=[path for path in found.missing_paths if path not in obsolete and path != ".gitattributes"],
        )

    def read_card(self, revision: str) -> str:
        """Returns the card of a commit; empty if it has none."""

        def read() -> str:
            """Returns the card, or raises what the client does."""
            with tempfile.TemporaryDirectory(prefix=_CACHE_PREFIX) as cache:
                path = self._api.hf_hub_download(self.repo_id, CARD_FILE, revision=revision, cache_dir=cache)
                return Path(path).read_text(encoding="utf-8", errors="replace")

        try:
            return self._call(read, through=(EntryNotFoundError,))
        except EntryNotFoundError:
            return ""

    def commit(self, staged: StagedRun, *, onto: str, obsolete: Sequence[str], message: str) -> str:
        """Publishes the staged files, and deletes the obsolete ones, in one commit, which is returned.

        `onto` is the head of the branch as it was read. If the commit seems to fail, the branch is compared with the
        staged files first: the commit may have succeeded and only its answer been lost.

        Raises:
            UserError: It was refused, or the Hub could not be reached; the branch is then as it was, unless the Hub
                could not be asked.
        """

        def attempt() -> str:
            """Commits once; returns the commit."""
            changes: list[CommitOperationAdd | CommitOperationDelete] = [
                *(CommitOperationAdd(file.path, staged.folder / file.path) for file in staged.files),
                *(CommitOperationDelete(path) for path in obsolete),
            ]
            try:
                return self._api.create_commit(
                    self.repo_id, changes, commit_message=message, revision=self.branch, parent_commit=onto
                ).oid
            except HUB_ERRORS:
                head = self._head()
                if head != onto and self.compare(staged, head).is_equal:
                    return head
                raise

        return self._call(attempt, timeout=COMMIT_TIMEOUT)

    def probe(self, commit: str, *, classes: int) -> list[list[float]]:
        """Downloads the model at a commit, into a fresh cache, and probes it; see `rafdb_vit.hub.probe`."""
        with tempfile.TemporaryDirectory(prefix=_CACHE_PREFIX) as cache:
            folder = self._ask(self._api.snapshot_download, revision=commit, cache_dir=cache)
            return probe_model(folder, classes=classes)

    def tag(self, name: str, commit: str) -> None:
        """Sets a tag on a commit.

        Raises:
            UserError: Someone else set it on another commit meanwhile.
        """
        self._ask(self._api.create_tag, tag=name, revision=commit, exist_ok=True)
        if self.find_tag(name) != commit:
            raise UserError(f"--tag {name}: was not set, it stands on another commit now; take another name")
