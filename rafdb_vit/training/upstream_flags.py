"""The flags of transformers' `TrainingArguments`, and its parser, read from the source files.

Importing the class loads torch, which takes seconds; a mistyped flag and `--help` are answered before that.
"""

import ast
from collections.abc import Iterator
from contextlib import suppress
from copy import copy
from dataclasses import MISSING, Field, field, fields
from enum import Enum
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Literal, get_type_hints

Flag = tuple[str, Any, Field[Any]]
"""A flag's name, the type of its values, and its field."""
_CLASS = "TrainingArguments"
_FILES = ("training_args.py", "trainer_utils.py", "debug_utils.py")
"""Where the class and the enumerations in its annotations are defined."""
_FEWEST = 50
"""Flags; a class with fewer is not the one that is looked for."""


class _Names(dict[str, Any]):
    """What names in annotations stand for; a type that is none of these is given as text on a command line."""

    def __missing__(self, name: str) -> Any:
        return str


def _find_source(module: str) -> Path:
    """Returns the folder of an installed package's source, without importing it.

    Raises:
        ImportError: It is not installed.
    """
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    return Path(spec.origin).parent


@cache
def load_parser() -> Any:
    """Returns the class `HfArgumentParser`, from its file alone: all of transformers takes a second to import.

    Where that file needs the rest of transformers, all of it is imported.
    """
    spec = spec_from_file_location("transformers.hf_argparser", _find_source("transformers") / "hf_argparser.py")
    try:
        if spec is None or spec.loader is None:
            raise ImportError("not a source file")
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.HfArgumentParser
    except (ImportError, OSError, AttributeError):
        from transformers import HfArgumentParser

        return HfArgumentParser


@cache
def read_upstream_flags() -> tuple[Flag, ...]:
    """Reads the fields of `TrainingArguments`: name, type and field, in upstream's order.

    They make the same flags as the class itself does (held by a test for each of them), but for the default of
    `optim`, which upstream chooses when torch is loaded. Where the source is written in an unknown way, the class is
    imported.
    """
    try:
        return read_source()
    except LookupError:
        return read_class()


def read_class() -> tuple[Flag, ...]:
    """Reads the flags of the class itself, which loads torch."""
    from transformers import TrainingArguments

    hints = get_type_hints(TrainingArguments)
    return tuple((of.name, hints[of.name], copy(of)) for of in fields(TrainingArguments) if of.init)


def read_source() -> tuple[Flag, ...]:
    """Reads the flags in the source.

    Raises:
        LookupError: It is written in an unknown way.
    """
    classes = list(_list_classes())
    names = _Names(bool=bool, int=int, float=float, str=str, dict=dict, list=list, Any=Any, Literal=Literal)
    names |= {of.name: made for of in classes if (made := _make_enum(of)) is not None}
    found = [_read(of, names) for of in _find(classes).body if isinstance(of, ast.AnnAssign) and _is_flag(of)]
    if len(found) < _FEWEST:
        raise LookupError(f"{_CLASS} has {len(found)} fields")
    return tuple(found)


def _list_classes() -> Iterator[ast.ClassDef]:
    folder = _find_source("transformers")
    for name in _FILES:
        try:
            tree = ast.parse((folder / name).read_text(encoding="utf-8"))
        except (OSError, SyntaxError) as error:
            raise LookupError(str(error)) from error
        yield from (of for of in tree.body if isinstance(of, ast.ClassDef))


def _find(classes: list[ast.ClassDef]) -> ast.ClassDef:
    for of in classes:
        if of.name == _CLASS:
            return of
    raise LookupError(f"no {_CLASS}")


def _make_enum(of: ast.ClassDef) -> Any:
    """Returns an enumeration of text that is like a class; None if the class is none."""
    bases = {base.id for base in of.bases if isinstance(base, ast.Name)}
    if not bases & {"ExplicitEnum", "Enum", "StrEnum"}:
        return None
    members = [
        (target.id, statement.value.value)
        for statement in of.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    ]
    return Enum(of.name, members, type=str)


def _is_flag(of: ast.AnnAssign) -> bool:
    """Tells whether an attribute is a field that is given to the class."""
    words = _words(of)
    return isinstance(of.target, ast.Name) and not (
        "init" in words and isinstance(words["init"], ast.Constant) and words["init"].value is False
    )


def _words(of: ast.AnnAssign) -> dict[str | None, ast.expr]:
    """Returns what is given to the `field(...)` of an attribute."""
    return {word.arg: word.value for word in of.value.keywords} if isinstance(of.value, ast.Call) else {}


def _read(of: ast.AnnAssign, names: _Names) -> Flag:
    name, words = ast.unparse(of.target), _words(of)
    try:
        kind = eval(compile(ast.Expression(of.annotation), _CLASS, "eval"), {"__builtins__": {}}, names)
    except TypeError as error:
        raise LookupError(f"{name}: {error}") from error
    return name, kind, _make_field(words, of.value, dict(_read_metadata(words.get("metadata"))))


def _read_metadata(metadata: ast.expr | None) -> Iterator[tuple[str, Any]]:
    """Yields what is said of a field, but for what is computed when the class is made."""
    if isinstance(metadata, ast.Dict):
        for key, value in zip(metadata.keys, metadata.values, strict=True):
            with suppress(ValueError):
                yield ast.literal_eval(key or value), ast.literal_eval(value)


def _make_field(words: dict[str | None, ast.expr], value: ast.expr | None, metadata: dict[str, Any]) -> Field[Any]:
    made = words.get("default_factory")
    if isinstance(made, ast.Name) and made.id in ("list", "dict"):
        return field(default_factory={"list": list, "dict": dict}[made.id], metadata=metadata)
    default = words.get("default", None if isinstance(value, ast.Call) else value)
    try:
        known: Any = MISSING if default is None else ast.literal_eval(default)
    except ValueError:  # computed when the class is made
        known = None
    return field(default=known, metadata=metadata)
