"""Names of models as people write them: a folder, or a repository of the Hub. Looked at without torch."""

import os
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import HFValidationError
from huggingface_hub.file_download import repo_folder_name
from huggingface_hub.utils import validate_repo_id

from rafdb_vit.runtime.disk import expand
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.neighbours import describe_missing, find_near

_MOST_REVISION = 256
"""Letters; a file in the cache has its name."""


def find_model_folder(name: str, *, revision: str | None = None, flag: str = "--model_name_or_path") -> Path | None:
    """Returns the folder that a model's name stands for; None for a name that the Hub has to be asked for.

    No connection is opened. What can be refused without one is refused here.

    Args:
        name: A folder, or a repository of the Hub such as `google/vit-base-patch16-224-in21k`.
        revision: Branch, tag or commit, for the Hub.
        flag: The flag that the name was given to, for errors.

    Raises:
        UserError: It is neither, and the message says what lies near; or the folder cannot be read.
    """
    folder, where = expand(name), f"{flag} {name}"
    if not name.strip() or os.path.isfile(folder):
        found = "is a file" if name.strip() else "is empty"
        raise UserError(f"{where}: {found}; expected a model's folder, or a Hub name")
    if os.path.isdir(folder):
        if not os.access(folder, os.R_OK | os.X_OK):
            raise UserError(f"{where}: cannot be read; check the folder's permissions")
        if revision is not None:
            raise UserError(f"--model_revision {revision}: {name} is a folder; revisions are for Hub models")
        return folder
    if not _may_be_on_hub(name):
        raise UserError(f"{flag}: {describe_missing(name)}; a model of the Hub is USER/NAME")
    if revision is not None and not (revision.isprintable() and 0 < len(revision) < _MOST_REVISION):
        raise UserError(f"--model_revision {revision}: expected a branch, a tag or a commit")
    if constants.HF_HUB_OFFLINE and not _is_in_cache(name):
        raise UserError(f"{flag}: {describe_uncached(name, 'HF_HUB_OFFLINE is set')}")
    return None


def describe_absent(name: str) -> str:
    """Says of a model's name that neither a folder nor a model of the Hub has it."""
    return f"{_describe_no_folder(name)}, and no such model on the Hub (a private one needs `hf auth login`)"


def describe_uncached(name: str, reason: str) -> str:
    """Says of a model that cannot be fetched for this `reason` what lies near, and how it is fetched."""
    missing = _describe_no_folder(name)
    if find_near(name) is not None:
        return f"{missing}; nor is a model of the Hub of this name in the cache, and {reason}"
    return (
        f"{missing}; {reason} and no copy is in the cache; where there is a network, `hf download {name}` fetches it; "
        "copy the folder here and give its path, or share the cache and set HF_HUB_OFFLINE=1"
    )


def _describe_no_folder(name: str) -> str:
    """Says what lies near a name that may be one of the Hub's, where it is most likely a mistyped folder."""
    return f"no folder {name}" if find_near(name) is None else describe_missing(name)


def _may_be_on_hub(name: str) -> bool:
    """Tells whether a name is USER/NAME, so that a mistyped folder is not asked for on the Hub."""
    if name.startswith((".", "~", "/")) or name.count("/") != 1:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def _is_in_cache(name: str) -> bool:
    return os.path.isdir(Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model"))
