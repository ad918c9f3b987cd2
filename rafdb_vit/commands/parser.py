"""Command lines: dataclasses into arguments, recipes in front of them, one line for each error, exit statuses."""

import difflib
import json
import signal
import sys
from argparse import ArgumentDefaultsHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import wraps
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn, TypeVar

from rafdb_vit.runtime.disk import read_yaml
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.processes import is_main_process

_NONE: Mapping[str, str] = MappingProxyType({})
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


class _Formatter(ArgumentDefaultsHelpFormatter):
    """Shows defaults, and percent signs in upstream's help as they are."""

    def _expand_help(self, action: Any) -> str:
        try:
            return super()._expand_help(action) or ""
        except (ValueError, TypeError, KeyError):
            return action.help or ""


def _build_parser(types: Sequence[Any], refused: Mapping[str, str], *, takes_config: bool, **settings: str) -> Any:
    from transformers import HfArgumentParser

    class OneLineParser(HfArgumentParser):
        """Raises a `UserError` where argparse prints a page of usage and exits; knows positionals and switches too."""

        @staticmethod
        def _parse_dataclass_field(parser: Any, field: Any) -> None:
            name, words = field.name, field.metadata
            if words.get("positional"):
                parser.add_argument(name, help=words["help"], metavar=name.upper(), nargs=words.get("nargs"))
            elif words.get("switch"):
                parser.add_argument(f"--{name}", help=words["help"], action="store_true")
            else:
                HfArgumentParser._parse_dataclass_field(parser, field)

        def error(self, message: str) -> NoReturn:
            """Refuses a command line; argparse's own hook."""
            raise UserError(f"{message} (--help lists the flags)")

    parser = OneLineParser(types, allow_abbrev=False, formatter_class=_Formatter, **settings)
    for action in parser._actions:
        if action.dest in refused:  # upstream's help promises what is not done here
            action.help = f"Refused: {refused[action.dest]}."
    if takes_config:
        parser.add_argument("--config", metavar="FILE.yaml", help="Settings to start from; flags given beside it win.")
    return parser


def _suggest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""


def config_arguments(path: str | Path, known: Sequence[str]) -> list[str]:
    """Turns a YAML file of settings into words of a command line.

    Args:
        path: A mapping of flag names to values: scalars, lists (several values) or mappings (as JSON).
        known: The names of the flags, without the dashes.

    Raises:
        UserError: The file cannot be read, is no such mapping, or names a flag that does not exist.
    """
    content = read_yaml(Path(path), where=f"--config {path}", expected="lines like 'learning_rate: 1e-4'")
    for name in content:
        if name not in known:
            raise UserError(f"--config {path}: {name} is no flag{_suggest(str(name), known)}")
    return words_of_settings(content)


def words_of_settings(settings: Mapping[str, Any]) -> list[str]:
    """Turns settings by flag name into words of a command line: a list into several, a dictionary into JSON.

    None leaves a flag out.
    """
    words: list[str] = []
    for name, value in settings.items():
        if value is None:
            continue
        words.append(f"--{name}")
        if isinstance(value, dict):
            words.append(json.dumps(value))
        elif isinstance(value, list | tuple):
            words += map(str, value)
        else:
            words.append(str(value))
    return words


def parse_arguments(
    dataclass_types: Sequence[Any],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    implied_recipes: Mapping[str, str] = _NONE,
    refused: Mapping[str, str] = _NONE,
    takes_config: bool = True,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parses a command line.

    The settings of its `--config` file, if it `takes_config`, stand before its flags, so that these win. A flag in
    `implied_recipes` stands for a recipe, a file with settings that come before all others. A flag in `refused` takes
    no value but its default, for the reason that is given there.

    Returns:
        An instance of each dataclass, whose fields are the flags, and the settings that were asked for, by flag name.

    Raises:
        UserError: A flag is unknown or its value not accepted; one line says which and why.
    """
    parser = _build_parser(dataclass_types, refused, takes_config=takes_config, prog=prog, description=description)
    dests = {option: action.dest for action in parser._actions for option in action.option_strings}
    known = [name for name in dict.fromkeys(dests.values()) if name not in ("help", "config")]
    _check_known(argv, [*dests], refused)
    words = list(argv)
    namespace = parser.parse_args(words)
    if takes_config and namespace.config is not None:
        words = config_arguments(namespace.config, known) + words
        namespace = parser.parse_args(words)
    given = {dests.get(word.split("=", 1)[0]) for word in words}
    asked = {name: getattr(namespace, name) for name in sorted(known) if name in given}
    for name, value in asked.items():
        if name in refused and value != parser.get_default(name):
            raise UserError(f"--{name}: {refused[name]}")
    for flag, recipe in implied_recipes.items():
        if getattr(namespace, flag):
            words = config_arguments(RECIPES / recipe, known) + words
    try:
        parsed = parser.parse_args_into_dataclasses(words, look_for_args_file=False)[: len(dataclass_types)]
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise UserError(" ".join(str(error).split())) from error
    return tuple(parsed), asked


def _check_known(argv: Sequence[str], known: Sequence[str], refused: Mapping[str, str]) -> None:
    for word in argv:
        flag = word.split("=", 1)[0]
        if flag.startswith("--") and flag not in known:
            if flag[2:] in refused:
                raise UserError(f"{flag}: {refused[flag[2:]]}")
            raise UserError(f"{flag}: no such flag{_suggest(flag, known) or '; see --help'}")


def run_command(main: Callable[[Sequence[str] | None], Any]) -> int:
    """Runs a command's `main` on the command line and returns its exit status.

    0: done, or the number that `main` returns. 2: a person's mistake, one line on stderr. 130, 143: ended by SIGINT, by
    SIGTERM, which a command may also handle itself. A bug raises through, with its traceback and status 1.
    """
    previous = {signum: signal.signal(signum, _interrupt) for signum in (signal.SIGINT, signal.SIGTERM)}
    try:
        status = main(None)
    except UserError as error:
        if is_main_process() or error.on_one:
            print(f"error: {error.line}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        if is_main_process():
            print(f"{stop.name}: {stop.message or 'ended before anything was done'}", file=sys.stderr)
        return stop.status
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
    return status if isinstance(status, int) else 0


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(signum)
