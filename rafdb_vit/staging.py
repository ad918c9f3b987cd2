"""A run as it will be published: the files on an allow-list, copied to a clean folder and checked there."""

import errno
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, get_token
from jinja2 import UndefinedError
from safetensors import SafetensorError

from rafdb_vit.checkpoint import CHECKPOINT_FILES, hash_file, hash_model
from rafdb_vit.errors import UserError
from rafdb_vit.figures import CONFUSION_FILE, CURVES_FILE, plot_confusion_matrix
from rafdb_vit.leaks import find_leak
from rafdb_vit.license import choose_license
from rafdb_vit.model_card import find_objection, render_card
from rafdb_vit.probe import probe_model
from rafdb_vit.results import RESULTS_FILE, EvaluationResult, read_results, write_results

CARD_FILE = "README.md"
FIGURES = "figures"
_PREFIX = "rafdb_vit-publication-"
_NEEDED_METADATA = ("pipeline_tag", "library_name", "license", "tags", "model-index")


@dataclass(frozen=True)
class StagedFile:
    """One file of a publication.

    Attributes:
        path: Its path in the repository.
        size: In bytes.
        sha256: Of its content, in hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class StagedRun:
    """A run ready to be published.

    Attributes:
        folder: Holds exactly the files to publish.
        files: Those files, by path.
        card: The text of its README.md.
        probabilities: [N][C] what the staged model answers to the pictures of `rafdb_vit.probe`.
    """

    folder: Path
    files: tuple[StagedFile, ...]
    card: str
    probabilities: list[list[float]]


def check_publishable(protocol: Mapping[str, Any], *, license: str | None, force: bool) -> None:
    """Refuses what must not be published, by what is known of a run; before training already.

    Args:
        protocol: At least the part `data` of a run's protocol.
        license: The value of `--license`.
        force: `--force`: demo and subsampled runs too.

    Raises:
        UserError: It is a demo or a subsampled run, or a licence has to be given.
    """
    objection = find_objection(protocol)
    if objection and not force:
        raise UserError(f"this run should not be published: {objection}; --force publishes it, with that in its card")
    choose_license(protocol["data"]["name"], license)


@contextmanager
def stage_run(
    run: str | Path, *, repo_id: str, license: str | None, force: bool = False, revision: str | None = None
) -> Iterator[StagedRun]:
    """Copies what is published of a run to a temporary folder, and checks it there, without network.

    Args:
        run: The folder of a finished run.
        repo_id: `USER/NAME`, for the card.
        license: The licence; None for that of the data.
        force: Demo and subsampled runs too.
        revision: The branch, for the card.

    Yields:
        The staged run; its folder is deleted at the end.

    Raises:
        UserError: Something is missing, is not what was measured, or must not leave this machine.
    """
    run = _find_run(run)
    validation, test, protocol = read_results(run)
    with _naming_faults(run):
        check_publishable(protocol, license=license, force=force)
        card = render_card(
            validation=validation,
            test=test,
            protocol=protocol,
            repo_id=repo_id,
            license=choose_license(protocol["data"]["name"], license),
            revision=revision,
            has_curves=(run / FIGURES / CURVES_FILE).is_file(),
        )
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as temporary:
        folder = Path(temporary)
        _fill(run, folder, card=str(card), validation=validation, test=test, protocol=protocol)
        probabilities = probe_model(folder, classes=len(test.per_class))
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = tuple(StagedFile(str(p.relative_to(folder)), p.stat().st_size, hash_file(p)) for p in paths)
        yield StagedRun(folder, files, str(card), probabilities)


def _find_run(run: str | Path) -> Path:
    try:
        folder = Path(run).expanduser()
        if not folder.is_dir():
            raise FileNotFoundError
        return folder
    except (OSError, RuntimeError) as error:  # too long a name; ~USER of nobody
        raise UserError(f"{run}: no such folder; expected that of a finished training run") from error


@contextmanager
def _naming_faults(run: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError, UndefinedError) as error:
        raise UserError(
            f"{run / RESULTS_FILE}: lacks what a model card needs ({error}); train again to write it"
        ) from error


def _fill(
    run: Path,
    folder: Path,
    *,
    card: str,
    validation: EvaluationResult,
    test: EvaluationResult,
    protocol: Mapping[str, Any],
) -> None:
    with _naming_full_disk(folder):
        _copy(run, folder)
        (folder / CARD_FILE).write_text(card, encoding="utf-8")
        with _naming_faults(run):
            # Written anew from what the card was rendered from: nothing else that stands in the file goes along.
            write_results(folder, validation=validation, test=test, protocol=protocol)
    _check_measured(run, folder, protocol)
    _check_contents(run, folder)
    _check_labels(run, folder, test)
    _check_card(folder)
    with _naming_full_disk(folder):
        title = f"Test faces, {protocol['data']['name']}"
        plot_confusion_matrix(test, folder / FIGURES / CONFUSION_FILE, title=title)


def _copy(run: Path, folder: Path) -> None:
    paths = {path for pattern in CHECKPOINT_FILES for path in run.glob(pattern)}
    for path in sorted({*paths, run / FIGURES / CURVES_FILE}):
        if path.is_file():
            target = folder / path.relative_to(run)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


@contextmanager
def _naming_full_disk(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        name = (error.filename2 if full else None) or error.filename or folder
        free = f"{shutil.disk_usage(folder).free / 1e6:.0f} MB free"
        advice = f"{free}: make room, or set TMPDIR to a folder with more" if full else "make it readable"
        raise UserError(f"{name}: cannot be staged ({error.strerror}); nothing was published; {advice}") from error


def _check_measured(run: Path, folder: Path, protocol: Mapping[str, Any]) -> None:
    """Refuses a model other than the one whose figures are in `results.json`."""
    curves = folder / FIGURES / CURVES_FILE
    staged = hash_model(folder) | ({f"{FIGURES}/{CURVES_FILE}": hash_file(curves)} if curves.is_file() else {})
    measured = protocol.get("files_sha256")
    if not measured:
        raise UserError(f"{run / RESULTS_FILE}: does not say which files were measured; train again to write it")
    for name in sorted({*measured, *staged}):
        if name not in staged:
            raise UserError(f"{run / name}: no such file; the figures in {RESULTS_FILE} were measured with it")
        if measured.get(name) != staged[name]:
            raise UserError(
                f"{run / name}: is not the file that the figures in {RESULTS_FILE} were measured with; restore it, or "
                "train again"
            )


def _check_contents(run: Path, folder: Path) -> None:
    """Refuses files that are not what their names say, or hold a path of this machine or what looks like a token."""
    token = get_token()
    # The card last: what stands in it comes from the others, where it can be mended.
    paths = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.name == CARD_FILE)
    for path in paths:
        name = run / path.relative_to(folder)
        try:
            leak = find_leak(path, token=token)
        except (OSError, ValueError, SafetensorError, SyntaxError) as error:
            reason = str(error).replace(str(folder), str(run))
            raise UserError(f"{name}: is damaged ({reason}); restore it, or train again") from error
        if leak:
            raise UserError(f"{name}: holds {leak}; nothing was published: take it out")


def _check_labels(run: Path, folder: Path, test: EvaluationResult) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = [name for _, name in sorted((config.get("id2label") or {}).items(), key=lambda item: int(item[0]))]
    if found != list(test.per_class):
        raise UserError(
            f"{run / 'config.json'}: its classes are {found or 'not named'}; expected those of {RESULTS_FILE}, "
            f"{', '.join(test.per_class)}"
        )


def _check_card(folder: Path) -> None:
    """Checks that the card's metadata are read back as they were meant; a fault here is one of ours."""
    data = ModelCard((folder / CARD_FILE).read_text(encoding="utf-8")).data.to_dict()
    missing = [name for name in _NEEDED_METADATA if not data.get(name)]
    if missing:
        raise ValueError(f"the rendered card lacks {', '.join(missing)}")
