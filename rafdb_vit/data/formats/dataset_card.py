"""Checks what a folder of a `datasets` data set says of itself, before `datasets` acts on it.

`datasets` (5.2) goes wherever a pattern of data files leads, on this machine and on the network, and makes as many
class names as a number says.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK

from rafdb_vit.data.labels import MOST_CLASSES
from rafdb_vit.runtime.disk import is_inside, parse_json, parse_yaml, read_text
from rafdb_vit.runtime.errors import UserError

CARD, SETTINGS, OLD_INFO = "README.md", ".huggingface.yaml", "dataset_infos.json"
MOST_LETTERS = 2**18
"""Of such a file; one with a few hundred class names has some kilobytes."""
_OF_CONFIG = {"config_name", "data_files", "default", "drop_labels", "drop_metadata", "description"}
"""What is taken of a configuration; other settings steer the reading of files."""
_MOST_STARS = 2
"""In the pattern of a path: the time to match grows with each as the length of a name does."""
_LINE_ENDS = re.compile(r"[\r\n]{100}")
"""Blank lines in such a number make the expression that finds the card's beginning take hours."""


def check_card(where: str, folder: Path, root: Path) -> None:
    """Checks the files with which a data set describes itself; none may be a link out of `root`.

    Raises:
        UserError: One cannot be read, names files outside the data set, or holds what is not read here; the message
            begins with `where`.
    """
    for name in (CARD, SETTINGS, OLD_INFO):
        path = folder / name
        if not (path.exists() or path.is_symlink()):
            continue
        if not is_inside(root, path):
            raise UserError(f"{where}: {name} leads out of it; expected its own files only")
        try:
            content = _read(path)
            check_features(content)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            words = "expected a file that describes a data set, or none"
            raise UserError(f"{where}: {name} cannot be read ({reason!s:.200}); {words}") from error
        if name != OLD_INFO:
            for pattern in _list_patterns(where, name, content):
                _check_pattern(where, pattern)


def _read(path: Path) -> Any:
    text = read_text(path, most=MOST_LETTERS)
    if path.name == OLD_INFO:
        return parse_json(text)
    if path.name == CARD:
        # As `datasets` has it: it begins at the first sign, and is what stands between two lines of dashes.
        if _LINE_ENDS.search(text):
            raise ValueError("a hundred blank lines; expected fewer")
        found = REGEX_YAML_BLOCK.search(text)
        text = found.group(2) if found else ""
    content = parse_yaml(text)
    if content is not None and not isinstance(content, dict):
        raise ValueError("expected names and values")
    return content or {}


def check_features(content: object) -> None:
    """Checks the classes that a description names, wherever in it they stand.

    Raises:
        ValueError: They are more than a data set has, or numbered with gaps, which would be filled.
    """
    for found in _walk(content):
        number, names = found.get("num_classes"), found.get("names")
        if number is not None and (not isinstance(number, int) or number > MOST_CLASSES):
            raise ValueError(f"{number!r} classes; expected {MOST_CLASSES} at most")
        if isinstance(names, dict) and {str(key) for key in names} != set(map(str, range(len(names)))):
            raise ValueError(f"{len(names):,} class names that are not numbered from 0 on")


def _walk(content: object) -> Iterator[dict[str, Any]]:
    waiting = [content]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            yield found
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


def _list_patterns(where: str, file: str, content: Mapping[str, Any]) -> Iterator[str]:
    """Yields the patterns of data files of every configuration.

    Raises:
        UserError: A configuration has another form.
    """
    configs = content.get("configs") or []
    for config in configs if isinstance(configs, list) else [configs]:
        if not isinstance(config, dict) or not set(config) <= _OF_CONFIG:
            found = json.dumps(config, default=str)
            words = f"expected config_name and data_files, found {found:.90}"
            raise UserError(f"{where}: {file} has a configuration that is not read here; {words}")
        name = config.get("config_name", "default")
        if not isinstance(name, str) or not re.fullmatch(r"\w[\w .-]{0,99}", name):
            raise UserError(f"{where}: {file} calls a configuration {name!r:.90}; expected a plain name")
        yield from _list_strings(where, config.get("data_files") or [])


def _list_strings(where: str, data_files: object) -> Iterator[str]:
    """Yields the patterns of `data_files`: one, several, or those of each split."""
    if isinstance(data_files, str):
        yield data_files
    elif isinstance(data_files, list):
        for entry in data_files:
            yield from _list_strings(where, entry.get("path") if isinstance(entry, dict) else entry)
    elif isinstance(data_files, dict):
        for entry in data_files.values():
            yield from _list_strings(where, entry)
    else:
        raise UserError(f"{where}: names {data_files!r:.90} as data files; expected paths")


def _check_pattern(where: str, pattern: str) -> None:
    """Refuses a pattern that could lead out of the data set, or that takes long to match."""
    parts = pattern.replace("\\", "/").split("/")
    if ":" in pattern or parts[0] in ("", "~") or ".." in parts or pattern.startswith("~"):
        raise UserError(f"{where}: names {pattern:.200}, which is not in it; expected its own files only")
    if pattern.count("*") > _MOST_STARS or re.search(r"[?\[\]{}()!]", pattern):
        raise UserError(f"{where}: names {pattern:.90} as data files; expected a name, or one like data/train-*")
