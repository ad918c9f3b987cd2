"""Finds a checkpoint, on disk or on the Hugging Face Hub, and refuses what is not safe or not complete."""

import hashlib
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from transformers.utils import logging

from rafdb_vit.model.files import CONFIG_FILE, INDEX_FILE, PROCESSOR_FILE, SHARD_FILES, WEIGHTS_FILE
from rafdb_vit.model.names import describe_absent, describe_uncached, find_model_folder
from rafdb_vit.runtime.caches import naming_caches
from rafdb_vit.runtime.console import say
from rafdb_vit.runtime.disk import open_plain, share_mode
from rafdb_vit.runtime.errors import UserError

CHECKPOINT_FILES = (
    *(CONFIG_FILE, PROCESSOR_FILE),
    *(WEIGHTS_FILE, INDEX_FILE, SHARD_FILES),
)
PICKLE_FILES = ("pytorch_model*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_HUB_TIMEOUT = 5.0


def find_checkpoint(name_or_path: str, *, revision: str | None = None) -> tuple[Path, str | None]:
    """Returns a folder that holds a checkpoint, downloaded if it has to be.

    Args:
        name_or_path: A folder, or a repository of the Hub such as `google/vit-base-patch16-224-in21k`.
        revision: Branch, tag or commit, for the Hub.

    Returns:
        The folder, and its commit where it came from the Hub.

    Raises:
        UserError: There is no such folder or repository, the Hub cannot be reached, or the weights are pickled.
    """
    where, folder = f"--model_name_or_path {name_or_path}", find_model_folder(name_or_path, revision=revision)
    if folder is not None:
        _check_files(where, str(folder), folder)
        return folder, None
    folder = _download(name_or_path, revision)
    _check_files(where, name_or_path, folder)
    return folder, folder.name


def is_pickle(path: str) -> bool:
    """Tells whether a file's name is one under which pickles are saved."""
    return any(fnmatch(path.rsplit("/", 1)[-1], name) for name in (*PICKLE_FILES, "*.bin", "*.pickle"))


def hash_model(folder: Path) -> dict[str, str]:
    """Returns the SHA-256, by name, of each file that the predictions of a saved model depend on.

    Raises:
        UserError: One of them cannot be read, or is no plain file.
    """
    paths, hashes = sorted({path for pattern in CHECKPOINT_FILES for path in folder.glob(pattern)}), {}
    for path in paths:
        try:
            hashes[path.name] = hash_file(path)
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); restore it, and try again") from error
    return hashes


def hash_file(path: Path) -> str:
    """Returns the SHA-256 of a file's content.

    Raises:
        OSError: It cannot be read, or is a pipe or a device, which might never end.
    """
    with open_plain(path, most=None) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(name: str, revision: str | None) -> Path:
    """Returns the folder in the cache that holds a repository's files, after fetching what is missing."""
    flag, offline, patterns = "--model_name_or_path", constants.HF_HUB_OFFLINE, list(CHECKPOINT_FILES)
    try:
        if not offline:
            # One short request first: the downloads would retry each file for half a minute.
            HfApi().model_info(name, revision=revision, timeout=_HUB_TIMEOUT)
    except GatedRepoError as error:
        raise UserError(
            f"{flag} {name}: access to it must be granted; ask on its page, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(f"{flag}: {describe_absent(name)}") from error
    except RevisionNotFoundError as error:
        raise UserError(f"--model_revision {revision}: {name} has no such branch, tag or commit") from error
    except HfHubHTTPError as error:
        raise UserError(f"{flag} {name}: the Hub answered {error.response.status_code}; try again later") from error
    except (HTTPError, OSError):
        offline = True
    try:
        with naming_caches():
            folder = snapshot_download(name, revision=revision, allow_patterns=patterns, local_files_only=offline)
    except LocalEntryNotFoundError as error:
        reason = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
        raise UserError(f"{flag}: {describe_uncached(name, reason)}") from error
    except (HTTPError, OSError) as error:
        raise UserError(
            f"{flag} {name}: the download broke off ({error}); run the command again to go on with it"
        ) from error
    if offline and not constants.HF_HUB_OFFLINE:
        say(f"The Hub cannot be reached: using the copy of {name} in the cache.")
    return Path(folder)


def _check_files(where: str, source: str, folder: Path) -> None:
    if not os.path.lexists(folder / CONFIG_FILE):
        raise UserError(f"{where}: has no {CONFIG_FILE}; expected a model saved with save_pretrained")
    if not any(os.path.lexists(folder / name) for name in (WEIGHTS_FILE, INDEX_FILE)):
        pickled = [path.name for pattern in PICKLE_FILES for path in folder.glob(pattern)]
        found = f"its weights are pickled ({pickled[0]}), which can run code" if pickled else f"has no {WEIGHTS_FILE}"
        raise UserError(
            f"{where}: {found}; if you trust its source, convert it with: {_render_conversion(source)} and copy its "
            "*.json files"
        )
    if not os.path.lexists(folder / PROCESSOR_FILE):
        raise UserError(f"{where}: has no {PROCESSOR_FILE}; copy it from the model this one was made from")


def _render_conversion(source: str) -> str:
    """Returns the command that makes safetensors of a model's pickles; its name may hold what a shell acts upon."""
    return "python -c " + shlex.quote(
        "from transformers import AutoModelForImageClassification as M; "
        f"M.from_pretrained({source!r}, use_safetensors=False, trust_remote_code=False).save_pretrained('converted')"
    )


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silences the reports and bars of `from_pretrained`; callers check what it reports."""
    verbosity, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()


@contextmanager
def quiet_saving(folder: Path, *, writes: bool = True) -> Iterator[None]:
    """Silences `save_pretrained` as `quiet_loading` does, and gives the weights the mode of the other files.

    Of several processes, one `writes`.
    """
    with quiet_loading():
        yield
    if writes:
        share_mode(folder / CONFIG_FILE, (path for name in (WEIGHTS_FILE, SHARD_FILES) for path in folder.glob(name)))
