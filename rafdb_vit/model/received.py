"""Checks the files of a model, which may come from anybody, before transformers reads them.

Nothing in them may be code or lead to code, to another folder or to another model; and nothing may ask for more time
and memory than the weights that came with it.
"""

import math
import os
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from rafdb_vit.data.labels import MOST_LETTERS
from rafdb_vit.model.allow_list import check_keys, check_kind, walk
from rafdb_vit.model.files import (
    ADAPTER_FILE,
    ALSO_READ,
    CONFIG_FILE,
    INDEX_FILE,
    NESTED_FILE,
    PROCESSOR_FILE,
    SHARD_FILES,
    SURPLUS_FILES,
    WEIGHTS_FILE,
)
from rafdb_vit.runtime.disk import parse_json, read_bytes
from rafdb_vit.runtime.errors import UserError, shorten

MOST_CLASSES = 100_000
"""ImageNet-21k has 21,843."""
MOST_SIDE = 1024
"""Pixels of a picture's side; a batch of 32 such pictures has 400 MB. Most image classifiers take 224 to 512."""
_MOST_NUMBER = 1_000_000
"""In config.json; the largest that means something there are the words of a language, 250,000."""
_MOST_TENSORS = 20_000
"""The largest vision transformers have 3,000."""
_MOST_BYTES = 4 * 2**20
"""Of a JSON file; config.json for ImageNet-21k has 2 MB."""
_MOST_HEADER = 8 * 2**20
"""Bytes of the list of tensors in a weight file; one of `_MOST_TENSORS` has 2 MB."""
_LEAST_CROP = 0.1
_KINDS = frozenset({"F16", "BF16", "F32", "F64", "I32", "I64"})
"""Types of tensors; whole numbers count positions and batches."""

_MOST_LAYERS = 1_000
"""DINOv2-giant, the deepest in common use, has 40."""
_COUNT = re.compile(r"(^|_)(layers?|depths?|blocks|stages|repeats)$")
_SIDE = re.compile(r"(^|_)(image|input|crop|pad)_size$")


@dataclass(frozen=True)
class WeightsSize:
    """How much the weights of a model are: tensors, and numbers in all of them."""

    tensors: int
    elements: int


def check_received(where: str, folder: Path, *, from_hub: bool = False) -> WeightsSize:
    """Refuses a model that brings code, names files that are not its own, or asks for too much.

    Args:
        where: What to call the model in errors.
        folder: Where it lies.
        from_hub: Whether the folder belongs to the cache of the Hub, whose files are links into it.

    Raises:
        UserError: The message names the file and, where it is one value, its key.
    """
    read = (CONFIG_FILE, PROCESSOR_FILE, WEIGHTS_FILE, INDEX_FILE, *SURPLUS_FILES)
    _check_files(where, folder, [name for name in read if os.path.lexists(folder / name)], from_hub=from_hub)
    if os.path.lexists(folder / ADAPTER_FILE):
        raise UserError(f"{where}: {ADAPTER_FILE}: is an adapter; merge it into its model")
    contents = {name: _read_object(where, folder / name) for name in (CONFIG_FILE, PROCESSOR_FILE)}
    contents |= {name: _read_object(where, folder / name) for name in ALSO_READ if os.path.lexists(folder / name)}
    for name, content in contents.items():
        check_keys(where, name, content)
    check_kind(f"{where}: {CONFIG_FILE}", contents[CONFIG_FILE])
    nested = contents.get(NESTED_FILE, {}).get("image_processor")
    if nested is not None and nested != contents[PROCESSOR_FILE]:
        raise UserError(f"{where}: {NESTED_FILE} and {PROCESSOR_FILE} differ; expected one image processor")
    weights = _list_weights(where, folder)
    _check_files(where, folder, weights, from_hub=from_hub)
    size = _measure_weights(where, folder, weights)
    _check_config(f"{where}: {CONFIG_FILE}", contents[CONFIG_FILE], size)
    _check_processor(f"{where}: {PROCESSOR_FILE}", contents[PROCESSOR_FILE])
    return size


# ---- Files ----


def _check_files(where: str, folder: Path, names: Iterable[str], *, from_hub: bool) -> None:
    """Refuses what is not a plain file, and links that lead out of the folder."""
    home = folder.resolve()
    # Of a folder within the Hub's cache, every file is a link to a blob that the cache has checked.
    allowed = [home, *([home.parents[1] / "blobs"] if home.parent.name == "snapshots" else [])]
    for path in (folder / name for name in names):
        if not os.path.isfile(path):
            found = "a folder" if os.path.isdir(path) else "not a plain file"
            raise UserError(f"{where}: {path.name} is {found}; expected the file itself")
        if path.is_symlink() and not from_hub and not any(path.resolve().is_relative_to(place) for place in allowed):
            raise UserError(f"{where}: {path.name} is a link out of the folder; expected the file itself")


def _read_object(where: str, path: Path) -> dict[str, Any]:
    try:
        content = parse_json(read_bytes(path, most=_MOST_BYTES).decode("utf-8"))
    except OSError as error:
        raise UserError(f"{where}: {path.name} cannot be read ({error.strerror or error})") from error
    except ValueError as error:
        raise UserError(f"{where}: {path.name} is not JSON ({shorten(error)}); copy it anew") from error
    if not isinstance(content, dict):
        raise UserError(f"{where}: {path.name}: expected an object of JSON, found {type(content).__name__}")
    return content


# ---- Values ----


def _check_config(where: str, config: Mapping[str, Any], size: WeightsSize) -> None:
    for key, value in walk(config):
        if key in ("num_labels", "num_classes") and _largest(value) > MOST_CLASSES:
            raise UserError(f"{where}: {key} is {shorten(value)}; expected {MOST_CLASSES:,} at most")
        if key in ("id2label", "label2id") and value is not None:
            _check_labels(f"{where}: {key}", value)
        if _SIDE.search(key) and max(map(abs, _list_numbers(value)), default=0) > MOST_SIDE:
            raise UserError(f"{where}: {key} is {shorten(value)}; expected {MOST_SIDE:,} pixels at most")
        if _COUNT.search(key) and _largest(value) > _MOST_LAYERS:
            raise UserError(f"{where}: {key} is {shorten(value)}; expected {_MOST_LAYERS:,} at most")
        if _COUNT.search(key) and _largest(value) > max(size.tensors, 100):
            raise UserError(
                f"{where}: {key} is {shorten(value)}, and the weights have {size.tensors:,} tensors in all; expected "
                f"a {CONFIG_FILE} that belongs to them"
            )
        if "drop" in key and any(not 0 <= rate <= 1 for rate in _list_numbers(value)):
            raise UserError(f"{where}: {key} is {shorten(value)}; expected a rate from 0 to 1")
        if _largest(value) > _MOST_NUMBER:
            raise UserError(f"{where}: {key} is {shorten(value)}; expected {_MOST_NUMBER:,} at most")


def _largest(value: Any) -> float:
    """Returns the size of a number, or of the numbers in a list together; 0 for what is none."""
    return sum(map(abs, _list_numbers(value)), 0.0)


def _list_numbers(value: Any) -> list[float]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, (int, float)) and not isinstance(item, bool)]


def _check_labels(where: str, labels: Any) -> None:
    if not isinstance(labels, dict):
        raise UserError(f"{where}: expected an object of names by number, found {type(labels).__name__}")
    if len(labels) > MOST_CLASSES:
        raise UserError(f"{where} has {len(labels):,} classes; expected {MOST_CLASSES:,} at most")


def check_names(where: str, labels: Any) -> tuple[str, ...]:
    """Returns the names of a model's classes in the order of its outputs.

    Args:
        where: What to call the model in errors.
        labels: `id2label` of its configuration.

    Raises:
        UserError: A name is missing, no text, too long to be shown, or of several lines; or two are the same.
    """
    where = f"{where}: {CONFIG_FILE}: id2label"
    if set(labels) != set(range(len(labels))):
        raise UserError(f"{where}: expected the numbers from 0 to {len(labels) - 1}, found {shorten(sorted(labels))}")
    names = tuple(labels[i] for i in range(len(labels)))
    for i, name in enumerate(names):
        if not isinstance(name, str) or not name.strip():
            raise UserError(f"{where}: the name of class {i} is {shorten(name) or 'empty'}; expected text")
        if len(name) > MOST_LETTERS or len(name.splitlines()) > 1:
            raise UserError(
                f"{where}: the name of class {i} is {shorten(name, 40)}; expected one line of {MOST_LETTERS} letters "
                "at most"
            )
    return names


def _check_processor(where: str, processor: Mapping[str, Any]) -> None:
    for key, value in walk(processor):
        if not isinstance(value, list) and _largest(value) > MOST_SIDE:
            raise UserError(f"{where}: {key} is {shorten(value)}; expected {MOST_SIDE:,} at most")
        if key == "crop_pct" and isinstance(value, (int, float)) and value < _LEAST_CROP:
            raise UserError(f"{where}: {key} is {value}; expected {_LEAST_CROP} or more")


# ---- Weights ----


def _measure_weights(where: str, folder: Path, names: Iterable[str]) -> WeightsSize:
    """Reads how many tensors and numbers the weights have, without reading them."""
    tensors, elements = 0, 0
    for name in names:
        try:
            _check_header(folder / name)
            with safe_open(folder / name, framework="pt") as file:
                slices = [file.get_slice(key) for key in file.keys()]  # noqa: SIM118 (it is no mapping)
                tensors += len(slices)
                elements += sum(math.prod(part.get_shape()) for part in slices)
                kinds = {part.get_dtype() for part in slices} - _KINDS
        except (OSError, SafetensorError) as error:
            reason = getattr(error, "strerror", None) or shorten(error)
            raise UserError(
                f"{where}: the weights cannot be read ({name}: {reason}); download the model again"
            ) from error
        if kinds:
            raise UserError(f"{where}: {name} has tensors of {min(kinds)}; expected weights of 16, 32 or 64 bits")
        if tensors > _MOST_TENSORS:
            raise UserError(f"{where}: {name} brings the tensors to {tensors:,}; expected {_MOST_TENSORS:,} at most")
    return WeightsSize(tensors, elements)


def _check_header(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(8)
    if len(start) == 8 and struct.unpack("<Q", start)[0] > _MOST_HEADER:
        raise OSError(f"its header is longer than {_MOST_HEADER:,} bytes")


def _list_weights(where: str, folder: Path) -> list[str]:
    """Returns the names of the files that hold the weights, as transformers chooses them."""
    if os.path.isfile(folder / WEIGHTS_FILE):
        return [WEIGHTS_FILE]
    where, content = f"{where}: {INDEX_FILE}", _read_object(where, folder / INDEX_FILE)
    named, about = content.get("weight_map"), content.get("metadata")
    if not isinstance(named, dict) or not named or not isinstance(about, dict):
        raise UserError(f"{where}: expected metadata, and in weight_map a file for each weight; copy it anew")
    if len(named) > _MOST_TENSORS:
        raise UserError(f"{where}: weight_map has {len(named):,} weights; expected {_MOST_TENSORS:,} at most")
    for weight, name in named.items():
        if not isinstance(name, str) or name != os.path.basename(name) or not fnmatchcase(name, SHARD_FILES):  # noqa: PTH119
            raise UserError(f"{where}: {shorten(weight)} lies in {shorten(name)}; expected a {SHARD_FILES} beside it")
    names = sorted(set(named.values()))
    for name in names:
        if not os.path.lexists(folder / name):
            raise UserError(f"{where}: {shorten(name)} is not there; copy it too")
    return names
