"""A run as it will be published: the files on an allow-list, copied to a clean folder and checked there.

A file that holds a token, a key, or a path that tells whose machine it is does not leave the machine.
"""

import json
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, get_token
from PIL import Image
from safetensors import SafetensorError, safe_open

from rafdb_vit.evaluation.protocol import DataProtocol, Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult, read_results, write_results
from rafdb_vit.hub.card import find_objection, render_card
from rafdb_vit.hub.faults import Faults, UnfitFiles
from rafdb_vit.hub.license import EXAMPLE, License, choose_license
from rafdb_vit.hub.probe import probe_model
from rafdb_vit.model.download import CHECKPOINT_FILES, hash_file, hash_model
from rafdb_vit.model.files import CONFIG_FILE
from rafdb_vit.model.received import check_received
from rafdb_vit.report.files import CONFUSION_FILE, CURVES_FILE, PLOTS_FOLDER
from rafdb_vit.report.plots import plot_confusion_matrix
from rafdb_vit.runtime.announcement import announcing
from rafdb_vit.runtime.disk import is_inside, naming_disk_errors, parse_json, read_text
from rafdb_vit.runtime.errors import UserError, shorten
from rafdb_vit.runtime.neighbours import check_folder
from rafdb_vit.runtime.output_folder import OutputFolder

CARD_FILE = "README.md"
_STAGING_ADVICE = (
    "nothing was published; make it readable, make room, or set TMPDIR to a folder on a disk with more room"
)
_MOST_SIDE = 4_000
"""Pixels of a figure; those that are drawn here have 1,500."""
_NEEDED_METADATA = ("pipeline_tag", "library_name", "license", "tags", "model-index")
_TOKENS = re.compile(
    r"(?<![\w-])(?:hf_(?:[a-z]+_)?[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9_-]{30,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_PATHS = re.compile(
    r"""(?:^|[^\w/.<)])((?:/[\w.~@+-]+){2,}|(?<=")/\w+|~\w*/[\w.]+|[A-Za-z]:\\\\?\w+|\\\\\w+\\|file://)""", re.M
)


def find_leak(path: Path, *, token: str | None = None) -> str | None:
    """Returns what a JSON, Markdown, safetensors or PNG file holds that should not leave the machine; None if nothing.

    Of weights, the metadata are searched, not the numbers. `token` is the token in use, in whatever form.

    Raises:
        OSError, ValueError, SyntaxError, SafetensorError, DecompressionBombError: The file is not what its name says,
            or is a picture of too many pixels.
    """
    for text in _read_texts(path):
        if _TOKENS.search(text) or (token and token in text):
            return "what looks like a token or a key"
        if found := _PATHS.search(re.sub(r"\\+/", "/", text)):
            return f"a path of this machine, {found[1]}"
    return None


def _read_texts(path: Path) -> list[str]:
    if path.suffix == ".json":
        content = read_text(path)
        return [content, json.dumps(parse_json(content), ensure_ascii=False)]
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as weights:
            return [str(weights.metadata())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with Image.open(path, formats=["PNG"]) as picture:
            if max(picture.size) > _MOST_SIDE:  # before its pixels are read
                raise ValueError(
                    f"it has {picture.width:,} x {picture.height:,} pixels, expected {_MOST_SIDE:,} a side"
                )
            picture.load()
            return [str(picture.info)]


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

    @classmethod
    def of(cls, path: Path, folder: Path) -> "StagedFile":
        """Describes a file in the folder that is published."""
        return cls(str(path.relative_to(folder)), path.stat().st_size, hash_file(path))


@dataclass(frozen=True)
class StagedRun:
    """A run ready to be published.

    Attributes:
        folder: Holds exactly the files to publish.
        files: Those files, by path.
        card: The text of its README.md.
        probabilities: [N][C] predictions of the staged model for the pictures of `rafdb_vit.hub.probe`.
    """

    folder: Path
    files: tuple[StagedFile, ...]
    card: str
    probabilities: list[list[float]]

    def render(self) -> str:
        """Renders what is to be published: sizes, checksums, and what was checked."""
        rows = [f"{file.size:>13,}  {file.sha256}  {file.path}" for file in self.files]
        total = sum(file.size for file in self.files)
        return "\n".join(
            [
                f"{'bytes':>13}  {'SHA-256':64}  file",
                *rows,
                f"{total:>13,}  in {len(rows)} files",
                "Checked: the files that were measured, loaded by pipeline, "
                f"{len(self.probabilities[0])} classes named; no pickle, no path of this machine, no token.",
            ]
        )


def check_publishable(data: DataProtocol, *, license: str | None, force: bool) -> None:
    """Refuses what must not be published, by what is known of a run before it is trained.

    Raises:
        UserError: It is a demo or a subsampled run and not forced, or a licence has to be given.
    """
    _refuse_trial(data, force=force)
    choose_license(data.name, license)


def _refuse_trial(data: DataProtocol, *, force: bool) -> None:
    objection = find_objection(data)
    if objection and not force:
        raise UserError(f"this run should not be published: {objection}; --force publishes it, with that in its card")


@contextmanager
def stage_run(
    run: str | Path,
    *,
    repo_id: str,
    license: str | None,
    force: bool = False,
    revision: str | None = None,
    faults: Faults | None = None,
) -> Iterator[StagedRun]:
    """Copies what is published of a run to a temporary folder, and checks it there, without network.

    The arguments are those of `rafdb_vit.hub.publication.Publication`; the folder is deleted at the end. With `faults`
    that collect, it goes on where the run is a trial or has no licence.

    Raises:
        UserError: Something is missing, is not what was measured, or must not leave this machine.
    """
    run, faults = check_folder("RUN", run, expected="the folder of a finished training run"), faults or Faults()
    _refuse_changed(run)
    validation, test, protocol = read_results(run)
    data, chosen = protocol.data, License(EXAMPLE)
    with faults.noting():
        _refuse_trial(data, force=force)
    with faults.noting():
        chosen = choose_license(data.name, license)
    results: Any = {"validation": validation, "test": test}
    has_curves = os.path.isfile(run / PLOTS_FOLDER / CURVES_FILE)
    words: Any = {"protocol": protocol, "repo_id": repo_id, "revision": revision, "has_curves": has_curves}
    card = str(render_card(**results, **words, license=chosen))
    with tempfile.TemporaryDirectory(prefix="rafdb_vit-publication-") as temporary:
        folder = Path(temporary)
        with announcing("Copying what is to be published, and checking the copy"):
            with naming_disk_errors(folder, act="staged", advice=_STAGING_ADVICE):
                _copy(run, folder)
                (folder / CARD_FILE).write_text(card, encoding="utf-8")
                # Written anew from what the card was rendered from: nothing else in the run's file goes along.
                write_results(folder, **results, protocol=protocol)
            _check_files(run, folder, protocol)
            check_received(str(run), folder)
            _check_labels(run, folder, test)
            _check_card(card)
            _draw(folder, test, data)
            probabilities = probe_model(folder, classes=len(test.per_class))
            files = tuple(StagedFile.of(path, folder) for path in _list_files(folder))
        yield StagedRun(folder, files, card, probabilities)


def _refuse_changed(run: Path) -> None:
    """Refuses a run whose metrics or learning curves are not what training wrote."""
    names = (RESULTS_FILE, f"{PLOTS_FOLDER}/{CURVES_FILE}")
    OutputFolder(run, names).refuse_changed(*names, advice="restore it, or train again")


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy(run: Path, folder: Path) -> None:
    paths = {path for pattern in CHECKPOINT_FILES for path in run.glob(pattern)}
    for path in sorted({*paths, run / PLOTS_FOLDER / CURVES_FILE}):
        if not is_inside(run, path):
            raise UserError(f"{path}: leads out of the run; copy what it points to into it")
        if os.path.isfile(path):
            target = folder / path.relative_to(run)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)


def _draw(folder: Path, test: EvaluationResult, data: DataProtocol) -> None:
    matrix = plot_confusion_matrix(test, title=f"Test faces, {data.name}")
    with naming_disk_errors(folder, act="staged", advice=_STAGING_ADVICE):
        (folder / PLOTS_FOLDER).mkdir(exist_ok=True)
        (folder / PLOTS_FOLDER / CONFUSION_FILE).write_bytes(matrix)


def _check_files(run: Path, folder: Path, protocol: Protocol) -> None:
    """Refuses files other than those that were measured, and those that hold what must not leave this machine."""
    faults = _find_unmeasured(run, folder, protocol)
    token = get_token()
    # The card last: what stands in it comes from the other files, where it can be mended.
    for path in sorted(_list_files(folder), key=lambda path: path.name == CARD_FILE):
        name = run / path.relative_to(folder)
        if name in faults or (faults and path.name == CARD_FILE):
            continue
        if fault := _describe_fault(run, folder, path, token=token):
            faults[name] = f"{name}: {fault}"
    if faults:
        raise UnfitFiles(list(faults.values()))


def _find_unmeasured(run: Path, folder: Path, protocol: Protocol) -> dict[Path, str]:
    """Returns what is said of each file of a model other than the one whose metrics are in `results.json`."""
    measured, staged, faults = protocol.files_sha256, hash_model(folder), {}
    if not measured:
        path = run / RESULTS_FILE
        return {path: f"{path}: does not say which files were measured; train again to write it"}
    for name in sorted({*measured, *staged}):
        path = run / name
        if name not in staged:
            faults[path] = f"{path}: no such file; the metrics in {RESULTS_FILE} were measured with it"
        elif measured.get(name) != staged[name]:
            faults[path] = (
                f"{path}: is not the file that the metrics in {RESULTS_FILE} were measured with; restore it, or train "
                "again"
            )
    return faults


def _describe_fault(run: Path, folder: Path, path: Path, *, token: str | None) -> str | None:
    """Says of a staged file that it is not what its name says, or what it holds that must not leave this machine."""
    try:
        leak = find_leak(path, token=token)
    except (OSError, ValueError, SafetensorError, SyntaxError, Image.DecompressionBombError) as error:
        reason = str(error).replace(str(folder), str(run))
        return f"is damaged ({reason}); restore it, or train again"
    return f"holds {leak}; nothing was published: take it out" if leak else None


def _check_labels(run: Path, folder: Path, test: EvaluationResult) -> None:
    labels = parse_json(read_text(folder / CONFIG_FILE)).get("id2label") or {}
    numbers = [str(label) for label in range(len(labels))]
    if set(labels) != set(numbers):
        raise UserError(
            f"{run / CONFIG_FILE}: id2label has the keys {shorten(', '.join(labels))}; expected the numbers from 0 to "
            f"{len(labels) - 1}"
        )
    found = [labels[number] for number in numbers]
    if found != list(test.per_class):
        raise UserError(
            f"{run / CONFIG_FILE}: its classes are {shorten(found or 'not named')}; expected those of {RESULTS_FILE}, "
            f"{', '.join(test.per_class)}"
        )


def _check_card(card: str) -> None:
    """Checks that the card's metadata are read back as they were meant; if not, that is a bug of this program."""
    data = ModelCard(card).data.to_dict()
    missing = [name for name in _NEEDED_METADATA if not data.get(name)]
    if missing:
        raise ValueError(f"the rendered card lacks {', '.join(missing)}")
