"""Command lines: dataclasses into arguments, recipes in front of them, one line for each error, exit statuses."""

import atexit
import gc
import re
import signal
import sys
import time
from argparse import SUPPRESS, Action, ArgumentError, Namespace
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import field, fields
from functools import wraps
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn, TypeVar

from rafdb_vit.commands.flag_names import UNKNOWN, describe_unknown, find_positional, fold_flag
from rafdb_vit.commands.help import HELP_ALL, HelpPage, ShowHelp
from rafdb_vit.commands.settings import SettingsReader, check_number, check_text
from rafdb_vit.runtime.bars import prepare_bars
from rafdb_vit.runtime.caches import naming_caches, prepare_caches
from rafdb_vit.runtime.console import escaping_warnings, refuse_lost_output, say_aside, steady_streams
from rafdb_vit.runtime.disk import expand, read_yaml
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.processes import is_main_process
from rafdb_vit.training.flags import NOT_ARGPARSE, OUTPUT, check_path
from rafdb_vit.training.upstream_flags import load_parser

_NONE: Mapping[str, Any] = MappingProxyType({})
_NOT_GIVEN = object()
_LOOKS_LIKE_A_FLAG = re.compile(r"--|-[A-Za-z]")
_PATIENCE = 5.0
"""Seconds; the launcher's signal ends them when the main process has ended."""
RECIPES = Path(__file__).parents[1] / "recipes"
Result = TypeVar("Result")


def switch(text: str) -> Any:
    """Returns the field of a flag that takes no value and is off unless it is given; `text` is its help."""
    return field(default=False, metadata={"help": text, "switch": True})


def command(*dataclass_types: Any, **settings: Any) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Makes a command's `main(argv=None)` of a function that takes its parsed flags, an instance of each dataclass.

    `argv` holds the words of the command line; None stands for those of the process. `settings` are those of
    `parse_arguments`.
    """

    def decorate(work: Callable[..., Result]) -> Callable[..., Result]:
        """Returns the `main` of the function that does a command's work."""

        @wraps(work)
        def main(argv: Sequence[str] | None = None) -> Result:
            """Parses the command line and does the work; carries the docstring of the function that does it."""
            words = sys.argv[1:] if argv is None else argv
            parsed, _ = parse_arguments(dataclass_types, words, takes_config=False, **settings)
            return work(*parsed)

        return main

    return decorate


def _build_parser(
    types: Sequence[Any], refused: Mapping[str, str], *, takes_config: bool, **settings: str | None
) -> Any:
    hf_parser = load_parser()

    class OneLineParser(hf_parser):  # type: ignore[misc, valid-type]
        """Raises a `UserError` where argparse prints a page of usage and exits; knows positionals and switches too."""

        @staticmethod
        def _parse_dataclass_field(parser: Any, field: Any) -> None:
            name, words = field.name, field.metadata
            if words.get("positional"):
                parser.add_argument(name, help=words["help"], metavar=name.upper(), nargs=words.get("nargs"))
            elif words.get("switch"):
                written = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))  # as upstream has the others
                parser.add_argument(*written, help=words["help"], action="store_true")
            else:
                known = copy(field)
                known.metadata = {word: value for word, value in words.items() if word not in NOT_ARGPARSE}
                hf_parser._parse_dataclass_field(parser, known)

        def _get_value(self, action: Action, arg_string: str) -> Any:
            try:
                value = super()._get_value(action, check_text(arg_string))
                return check_number(value) if isinstance(value, int | float) else value
            except ValueError as error:
                raise ArgumentError(action, str(error)) from error

        def error(self, message: str) -> NoReturn:
            """Refuses a command line; argparse's own hook."""
            raise UserError(f"{message} (--help lists the flags)")

    parser = OneLineParser(types, allow_abbrev=False, add_help=False, **settings)
    metadata = {of.name: dict(of.metadata) for each in reversed(types) for of in fields(each) if of.init}
    if takes_config:
        config = "A YAML file of flags to start from; flags given beside it win."
        parser.add_argument("--config", help=config)
        metadata["config"] = {"group": OUTPUT, "example": "settings.yaml"}
    page = HelpPage(metadata, refused)
    pages = ("-h", "--help", *(page.is_in_two * (HELP_ALL, HELP_ALL.replace("_", "-"))))
    parser.add_argument(*pages, action=ShowHelp, page=page)
    return parser


def read_config(path: str | Path, reader: SettingsReader) -> dict[str, Any]:
    """Reads a YAML file of settings: flag names, and scalars, lists (several values) or mappings (as JSON).

    Raises:
        UserError: The file cannot be read, is no such mapping, names a flag that does not exist, or has a value of
            another type than the flag's.
    """
    where = f"--config {path}"
    check_path("--config", str(path))
    return reader.read(read_yaml(expand(path), where=where, expected="lines like 'learning_rate: 1e-4'"), where=where)


def check_settings(dataclass_types: Sequence[Any], settings: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Returns the values of settings that stand in a file, as flags of these dataclasses; see `SettingsReader.read`.

    Raises:
        UserError: One has a value of another type than the flag's.
    """
    parser = _build_parser(dataclass_types, {}, takes_config=False)
    return SettingsReader(parser, dataclass_types, {}).read(settings, where=where)


def parse_arguments(
    dataclass_types: Sequence[Any],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    usage: str | None = None,
    settings: Mapping[str, Any] = _NONE,
    implied_recipes: Mapping[str, str] = _NONE,
    refused: Mapping[str, str] = _NONE,
    takes_config: bool = True,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parses a command line.

    Its flags win over `settings`, values by flag name, and these over the settings of its `--config` file, if it
    `takes_config`. A flag in `implied_recipes` stands for a recipe, a file with settings that all others win over. A
    flag in `refused` takes no value but its default, for the reason that is given there.

    Returns:
        An instance of each dataclass, whose fields are the flags, and the settings that were asked for, by flag name.

    Raises:
        UserError: A flag is unknown or its value not accepted; one line says which and why.
    """
    parser = _build_parser(
        dataclass_types, refused, takes_config=takes_config, prog=prog, description=description, usage=usage
    )
    reader = SettingsReader(parser, dataclass_types, refused)
    words, typed, config = _parse_words(parser, argv, refused)
    settings = dict(settings)
    config = config or (settings.pop("config", None) if takes_config else None)
    asked = reader.read(settings, where=None) | typed
    if config is not None:
        asked = read_config(config, reader) | asked
    for name, value in asked.items():
        if name in refused and value != parser.get_default(name):
            raise UserError(f"--{name}: {refused[name]}")
    values = words | asked
    for flag, recipe in implied_recipes.items():
        if values.get(flag):
            values = read_config(RECIPES / recipe, reader) | values
    return tuple(_make(of, values) for of in dataclass_types), dict(sorted(asked.items()))


def _parse_words(
    parser: Any, argv: Sequence[str], refused: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, Any], str | None]:
    """Returns what stands on a command line: its words, its flags, both by name, and the file of `--config`."""
    flags = {action.dest for action in parser._actions if action.option_strings and action.dest != SUPPRESS}
    argv = list(_take_positionals(argv, parser))
    _check_known(argv, parser, refused)
    given = vars(parser.parse_args(argv, Namespace(**dict.fromkeys(flags, _NOT_GIVEN))))
    config = given.pop("config", _NOT_GIVEN)
    typed = {name: value for name, value in given.items() if name in flags and value is not _NOT_GIVEN}
    words = {name: value for name, value in given.items() if name not in flags}
    return words, typed, None if config is _NOT_GIVEN else config


def _make(dataclass_type: Any, values: Mapping[str, Any]) -> Any:
    """Returns an instance of a dataclass, after its paths were tried.

    Raises:
        UserError: A value is not accepted.
    """
    own = {of.name: of for of in fields(dataclass_type) if of.init and of.name in values}
    for name, of in own.items():
        if of.metadata.get("path"):
            label = name.upper() if of.metadata.get("positional") else f"--{name}"
            for path in values[name] if isinstance(values[name], list) else [values[name]]:
                check_path(label, path)
    try:
        return dataclass_type(**{name: values[name] for name in own})
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise UserError(" ".join(str(error).split())) from error


def _take_positionals(argv: Sequence[str], parser: Any) -> Iterator[str]:
    """Yields the words of a command line, without flags before what stands there without one: `--image FACE.jpg`."""
    written = {option for action in parser._actions for option in action.option_strings}
    positionals = [action.dest for action in parser._actions if not action.option_strings]
    for word in argv:
        flag, joined, value = word.partition("=")
        if not flag.startswith("--") or flag in written or not find_positional(fold_flag(flag), positionals):
            yield word
        elif joined:
            yield value


def _check_known(argv: Sequence[str], parser: Any, refused: Mapping[str, str]) -> None:
    """Refuses a word that looks like a flag and is none of a parser's.

    Raises:
        UserError: Saying what it is called here, where that is known.
    """
    written = {option for action in parser._actions for option in action.option_strings}
    positionals = [action.dest for action in parser._actions if not action.option_strings]
    for word in argv:
        flag = word.split("=", 1)[0]
        if _LOOKS_LIKE_A_FLAG.match(flag) and flag not in written:
            known = {fold_flag(option) for option in written if option.startswith("--")}
            said = describe_unknown(flag, known, refused=refused, positionals=positionals)
            if flag.startswith("--") or said != UNKNOWN:  # -inf is a value
                raise UserError(f"{flag}: {said}")


def run_command(main: Callable[[Sequence[str] | None], Any]) -> int:
    """Runs a command's `main` on the command line and returns its exit status.

    0: done, or the number that `main` returns. 2: a person's mistake, one line on stderr. 130, 143: ended by SIGINT, by
    SIGTERM, which a command may also handle itself. A bug raises through, with its traceback and status 1.
    """
    # At its end the interpreter looks through all objects for those not in use: with torch loaded, for a second.
    atexit.register(gc.freeze)
    previous = {signum: signal.signal(signum, _interrupt) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        with steady_streams(), escaping_warnings():
            return _run(main)
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)


def _run(main: Callable[[Sequence[str] | None], Any]) -> int:
    try:
        _refuse_lost_folder()
        prepare_caches()
        prepare_bars()
        with naming_caches():
            status = main(None)
        refuse_lost_output()
    except UserError as error:
        say_aside(f"error: {error.line}", on_every_process=error.on_one)
        if not (is_main_process() or error.on_one):
            _wait_for_main()
        return 2
    except Interrupted as stop:
        say_aside(f"{stop.name}: {stop.message or 'ended before anything was done'}")
        return stop.status
    return status if isinstance(status, int) else 0


def _wait_for_main() -> None:
    """Gives the main process time to say what is wrong: a launcher ends all processes as soon as one has ended."""
    with suppress(Interrupted):
        time.sleep(_PATIENCE)


def _refuse_lost_folder() -> None:
    try:
        Path.cwd()
    except OSError as error:
        raise UserError(
            f"the current folder is not there any more ({error.strerror}); change to another one"
        ) from error


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(signum)
