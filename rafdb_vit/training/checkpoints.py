"""The checkpoints of a run: written whole or not at all, found again, compared with the run that resumes from one.

A checkpoint is written under another name, each file is brought to the disk, a list of its files follows, and only then
is it named `checkpoint-STEP`. So a killed run leaves either a whole checkpoint or a folder that is not taken for one.
Files of people that lie in a checkpoint stay when it is deleted.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from rafdb_vit.runtime.disk import is_inside, naming_disk_errors, parse_json, read_text, sync
from rafdb_vit.runtime.errors import UserError, shorten
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.runtime.processes import raise_on_all, wait_for_all

MANIFEST = "manifest.json"
_NAME = re.compile(r"checkpoint-(0|[1-9]\d*)")
_STAGED = "partial-"
_REPLACED = "replaced-"
_OWN_FILES = (
    *("config.json", "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json"),
    *("optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth", "pytorch_model_fsdp*.bin"),
    *("trainer_state.json", "progress.json", "training_args.bin", MANIFEST, f"{MANIFEST}.partial"),
    ".tmp" + "[A-Za-z0-9]" * 6,  # of safetensors 0.8, killed while it writes weights
)
"""Patterns of the files that a checkpoint can hold."""
_OWN_FOLDERS = ("optimizer_[0-9]*", "pytorch_model_fsdp_[0-9]*")
"""Patterns of the folders that FSDP writes into it, with parts of tensors and their index."""
_INDEX = ".metadata"
CHECKPOINT_FOLDERS = tuple(f"{state}checkpoint-[0-9]*" for state in ("", _STAGED, _REPLACED))
"""Patterns of the folders that are a run's own."""


def step_of(folder: Path) -> int:
    """Returns the step of a checkpoint by its name, -1 if it has none."""
    match = _NAME.fullmatch(folder.name)
    return int(match.group(1)) if match else -1


def list_checkpoints(run: Path) -> list[Path]:
    """Returns the folders named as checkpoints, the newest first, whole or not."""
    found = [path for path in run.glob("checkpoint-*") if step_of(path) >= 0 and path.is_dir()]
    found = [path for path in found if not path.is_symlink()]
    return sorted(found, key=step_of, reverse=True)


def find_fault(folder: Path) -> str | None:
    """Returns what is wrong with a checkpoint; None if each of its files exists, as large as it was written."""
    try:
        files = _read_manifest(folder)["files"]
        sizes = {name: (folder / name).stat().st_size if (folder / name).is_file() else None for name in files}
        if outside := [name for name in files if not is_inside(folder, folder / name)]:
            return f"its {MANIFEST} names {outside[0]}, which lies elsewhere"
    except FileNotFoundError:
        return f"has no {MANIFEST}, which is written last"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"its {MANIFEST} cannot be read"
    for name, size in sizes.items():
        if size is None:
            return f"{name} is missing"
        if size != files[name]:
            return f"{name} has {size} bytes, and had {files[name]} when it was written"
    return None


def _read_manifest(folder: Path) -> Mapping[str, Any]:
    """Returns the list of a checkpoint; raises ValueError, KeyError, TypeError or OSError if it is none."""
    content = parse_json(read_text(folder / MANIFEST))
    if not isinstance(content["files"], dict) or not isinstance(content.get("identity", {}), dict):
        raise TypeError("its parts are no mappings")
    return content


def recover(run: Path) -> list[str]:
    """Tidies up what a killed run left half done; returns the names of half-written checkpoints, now gone.

    One that was whole and only lacked its name gets it. What no run wrote, by the folder's list, stays.
    """
    output = OutputFolder(run, CHECKPOINT_FOLDERS)
    own = [name for name in sorted(output.hashes) if (run / name).is_dir() and not (run / name).is_symlink()]
    staged = [name for name in own if name.startswith(_STAGED)]
    whole = [name for name in staged if find_fault(run / name) is None]
    if len(whole) > 1:
        raise UserError(
            f"{run / whole[0]}: one of {len(whole)} such folders, and a run leaves one; move them elsewhere"
        )
    if whole:
        _put_in_place(output, whole[0])
    half_written = [name for name in staged if name not in whole]
    delete_checkpoints(output, *half_written, *(name for name in own if name.startswith(_REPLACED)))
    for name in half_written:
        _refuse_left(output, name)
    return half_written


def _put_in_place(output: OutputFolder, staged: str) -> None:
    target = staged.removeprefix(_STAGED)
    replaced = _REPLACED + target
    output.refuse_others([target])
    if output.holds(target):
        delete_checkpoints(output, replaced)
        output.rename_folders({target: replaced})
    output.rename_folders({staged: target})
    delete_checkpoints(output, replaced)


def _refuse_left(output: OutputFolder, staged: str) -> None:
    """Refuses to train until files of people are out of the way of the checkpoint that is to be written there again."""
    left = next(((output.path / staged).rglob("*")), None)
    if left is not None:
        raise UserError(
            f"{output.path / staged}: was half written when its run was killed, and holds {left.name}, which no run "
            "writes there and which was left; move the folder elsewhere"
        )


def delete_checkpoints(output: OutputFolder, *names: str) -> None:
    """Deletes checkpoints of a run's own folder: the files that they were written with, and what is empty then.

    Which these are, a checkpoint without a readable list does not say; then all that are named as its files are.
    """
    output.remove_folders({name: _tell_own(output.path / name) for name in names})


def _tell_own(folder: Path) -> Callable[[str], bool]:
    """Returns what tells of a path in a checkpoint whether a run wrote it."""
    try:
        files = {*_read_manifest(folder)["files"], MANIFEST}
    except (OSError, ValueError, KeyError, TypeError):
        return _is_named_as_own
    return files.__contains__


def find_note(folder: Path) -> Path | None:
    """Returns a file of a person's in a checkpoint, which would keep its folder from being deleted; or None."""
    is_own = _tell_own(folder)
    paths = (path for path in sorted(folder.rglob("*")) if path.is_symlink() or not path.is_dir())
    return next((path for path in paths if not is_own(path.relative_to(folder).as_posix())), None)


def _is_named_as_own(name: str) -> bool:
    """Tells whether a file of a checkpoint, by its path in it, has a name that a run gives."""
    folder, _, file = name.rpartition("/")
    if folder:
        is_part = file == _INDEX or fnmatchcase(file, "*.distcp")
        return is_part and any(fnmatchcase(folder, own) for own in _OWN_FOLDERS) and "/" not in folder
    return any(fnmatchcase(file, own) for own in _OWN_FILES)


@contextmanager
def write_checkpoint(run: Path, step: int, *, writes: bool, identity: Mapping[str, Any]) -> Iterator[Path]:
    """Gives a folder to write a checkpoint's files into, and makes it a checkpoint when the block ends well.

    Every process of a run has to call it, and may write files.

    Args:
        run: The run folder.
        step: The optimizer step.
        writes: Whether this process makes, names and removes folders; exactly one does.
        identity: What has to be the same in a run that resumes from it; see `compare_identity`.

    Raises:
        UserError: On every process: one could not write. Nothing half written is left.
    """
    target = run / f"checkpoint-{step}"
    staged, output = run / f"{_STAGED}{target.name}", OutputFolder(run, CHECKPOINT_FOLDERS)
    try:
        with raise_on_all(), naming_disk_errors(target):
            if writes:
                delete_checkpoints(output, staged.name)
                output.make_folder(staged.name)
        with raise_on_all(), naming_disk_errors(target):
            yield staged
        with raise_on_all(), naming_disk_errors(target):
            if writes:
                _write_manifest(staged, identity)
                _put_in_place(output, staged.name)
                sync(run)
    except UserError:
        if writes:
            delete_checkpoints(output, staged.name)
        raise
    wait_for_all()


def _write_manifest(folder: Path, identity: Mapping[str, Any]) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        sync(path)
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    partial = folder / f"{MANIFEST}.partial"
    partial.write_text(json.dumps({"files": sizes, "identity": identity}, indent=2) + "\n", encoding="utf-8")
    sync(partial)
    partial.rename(folder / MANIFEST)


def prune_checkpoints(run: Path, *, keep: int | None, best_step: int | None, ended: bool = False) -> None:
    """Deletes the oldest checkpoints beyond `keep`; the newest and the best always stay.

    Args:
        run: The run folder.
        keep: How many to keep; None or 0 keeps all.
        best_step: The step of the best checkpoint, None if there is none yet.
        ended: Training has ended: nothing is resumed from the newest any more.
    """
    found = list_checkpoints(run)
    if not keep or not found:
        return
    older = found if ended else found[1:]
    older.sort(key=lambda folder: (step_of(folder) == best_step, step_of(folder)), reverse=True)
    room = keep if ended else max(keep - 1, int(any(step_of(folder) == best_step for folder in older)))
    output = OutputFolder(run, CHECKPOINT_FOLDERS)
    own = output.hashes
    with naming_disk_errors(run):
        # Renamed first: a run that is killed meanwhile leaves nothing that looks like a damaged checkpoint.
        replaced = {folder.name: _REPLACED + folder.name for folder in older[room:] if folder.name in own}
        output.rename_folders(replaced)
        delete_checkpoints(output, *replaced.values())


def choose_checkpoint(run: Path, *, say: Callable[[str], None]) -> Path | None:
    """Returns the newest whole checkpoint of a run folder, None if there is none.

    Args:
        run: The run folder.
        say: Takes a line for each checkpoint that is passed over, with its name and the reason.

    Raises:
        UserError: There are checkpoints, and none is whole.
    """
    if not run.is_dir():
        return None
    for name in recover(run):
        say(f"{run / name}: half written when its run was killed; passed over and deleted.")
    found = list_checkpoints(run)
    faults = []
    for folder in found:
        fault = find_fault(folder)
        if fault is None:
            return folder
        faults.append(f"{folder.name} {fault}" if fault.startswith("has") else f"{folder.name}: {fault}")
        say(f"{folder}: passed over, {fault}.")
    if faults:
        raise UserError(
            f"--resume_from_checkpoint: no checkpoint of {run} is whole ({'; '.join(faults)}); copy one back, or start "
            "anew with --overwrite_output_dir"
        )
    return None


def compare_identity(folder: Path, identity: Mapping[str, Any]) -> None:
    """Refuses to resume from a checkpoint with the settings of another run.

    Args:
        folder: A whole checkpoint.
        identity: Values by name, of the run that is to resume.

    Raises:
        UserError: It names each setting that differs, with both values.
    """
    if differing := find_differences(folder, identity):
        raise UserError(
            f"--resume_from_checkpoint {folder}: this run differs from the one that wrote it: {'; '.join(differing)}. "
            f"Repeat its settings, or start a new run, from its weights with --model_name_or_path {folder}"
        )


def read_identity(folder: Path) -> Mapping[str, Any]:
    """Returns what the run of a checkpoint was, see `compare_identity`; nothing where that cannot be read."""
    try:
        return _read_manifest(folder).get("identity", {})
    except (ValueError, KeyError, TypeError, OSError):
        return {}


def find_differences(folder: Path, identity: Mapping[str, Any]) -> list[str]:
    """Returns in what a whole checkpoint's run differs from another, with both values; see `compare_identity`."""
    written, now = _read_manifest(folder).get("identity", {}), json.loads(json.dumps(identity))
    # Another release of transformers may know other flags.
    differing = [name for name in written if name in now and written[name] != now[name]]
    return [f"{name} is {now[name]}, was {shorten(written[name])}" for name in differing]


def find_best(folder: Path, best_step: int, *, run: Path) -> Path:
    """Returns the best checkpoint that a checkpoint refers to, also if the run folder has been moved.

    It lies beside it, or in the run folder; the path that is written in a checkpoint may lead anywhere.

    Args:
        folder: The checkpoint to resume from.
        best_step: The step of the best checkpoint.
        run: The run folder to write to.

    Raises:
        UserError: It is not there, or not whole.
    """
    name = f"checkpoint-{best_step}"
    places = [folder.parent / name, run / name]
    best = next((place for place in places if place.is_dir()), places[0])
    fault = find_fault(best) if best.is_dir() else "is missing"
    if fault:
        raise UserError(
            f"--resume_from_checkpoint {folder}: its run's best checkpoint {best} {fault}; copy it back, or start anew"
        )
    return best
