"""Command lines: dataclasses into arguments, recipes in front of them, one line for each error, exit statuses."""

import difflib
import json
import signal
import sys
from argparse import ArgumentDefaultsHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any, NoReturn

from rafdb_vit.runtime.disk import read_yaml
from rafdb_vit.runtime.errors import Interrupted, UserError
from rafdb_vit.runtime.processes import is_main_process

_NONE: Mapping[str, str] = MappingProxyType({})
RECIPES = Path(__file__).parents[1] / "recipes"


def switch(text: str) -> Any:
    """Returns the field of a flag that is off unless it stands there, and takes no value.

    Args:
        text: What the flag does, for `--help`.
    """
    return field(default=False, metadata={"help": text, "switch": True})


def _build_parser(dataclass_types: Sequence[Any], *, prog: str, description: str, takes_config: bool) -> Any:
    from transformers import HfArgumentParser

    class OneLineParser(HfArgumentParser):
        """Raises a `UserError` where argparse would print a page of usage and exit; knows words and switches too."""

        @staticmethod
        def _parse_dataclass_field(parser: Any, field: Any) -> None:
            if field.metadata.get("positional"):
                name, words = field.name, field.metadata
                parser.add_argument(name, help=words["help"], metavar=name.upper(), nargs=words.get("nargs"))
            elif field.metadata.get("switch"):
                parser.add_argument(f"--{field.name}", help=field.metadata["help"], action="store_true")
            else:
                HfArgumentParser._parse_dataclass_field(parser, field)

        def error(self, message: str) -> NoReturn:
            """Refuses a command line; argparse's own hook."""
            raise UserError(f"{message} (--help lists the flags)")

    class Formatter(ArgumentDefaultsHelpFormatter):
        """Shows defaults, and percent signs in upstream's help as they are."""

        def _expand_help(self, action: Any) -> str:
            try:
                return super()._expand_help(action) or ""
            except (ValueError, TypeError, KeyError):
                return action.help or ""

    parser = OneLineParser(
        dataclass_types, prog=prog, description=description, allow_abbrev=False, formatter_class=Formatter
    )
    if takes_config:
        parser.add_argument("--config", metavar="FILE.yaml", help="Settings to start from; flags given beside it win.")
    return parser


def _check_known(parser: Any, argv: Sequence[str], refused: Mapping[str, str]) -> None:
    known = [option for action in parser._actions for option in action.option_strings]
    for word in argv:
        flag = word.split("=", 1)[0]
        if flag.startswith("--") and flag not in known:
            if flag[2:] in refused:
                raise UserError(f"{flag}: {refused[flag[2:]]}")
            close = difflib.get_close_matches(flag, known, n=1)
            raise UserError(f"{flag}: no such flag" + (f"; did you mean {close[0]}?" if close else "; see --help"))


def config_arguments(path: str | Path, known: Sequence[str]) -> list[str]:
    """Turns a YAML file of settings into command-line words.

    Args:
        path: A mapping of flag names to values: scalars, lists (several values) or mappings (as JSON).
        known: Names that are flags, without the dashes.

    Raises:
        UserError: The file cannot be read, is no such mapping, or names a flag that does not exist.
    """
    content = read_yaml(Path(path), where=f"--config {path}", expected="lines like 'learning_rate: 1e-4'")
    for name in content:
        if name not in known or name == "config":
            close = difflib.get_close_matches(str(name), known, n=1)
            raise UserError(f"--config {path}: {name} is no flag" + (f"; did you mean {close[0]}?" if close else ""))
    return words_of_settings(content)


def words_of_settings(settings: Mapping[str, Any]) -> list[str]:
    """Turns settings by flag name into command-line words.

    Args:
        settings: Scalars, lists (several values) or mappings (as JSON); None leaves a flag out.
    """
    words: list[str] = []
    for name, value in settings.items():
        if value is None:
            continue
        words.append(f"--{name}")
        if isinstance(value, dict):
            words.append(json.dumps(value))
        elif isinstance(value, list | tuple):
            words += [str(item) for item in value]
        else:
            words.append(str(value))
    return words


def parse_arguments(
    dataclass_types: Sequence[Any],
    argv: Sequence[str],
    *,
    prog: str,
    description: str,
    implied_recipes: Mapping[str, str] | None = None,
    refused: Mapping[str, str] = _NONE,
    takes_config: bool = True,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Parses a command line, with the settings of its `--config` placed before it.

    Args:
        dataclass_types: Their fields are the flags.
        argv: The words of the command line.
        prog: The command's name, for `--help`.
        description: What it does, for `--help`.
        implied_recipes: Flag name to the recipe that this flag stands for, placed before everything else.
        refused: Flag name to the reason why any value but its default is refused.
        takes_config: There is a `--config`.

    Returns:
        An instance of each dataclass, and the settings that were asked for, by flag name.

    Raises:
        UserError: A flag is unknown or its value not accepted; one line says which and why.
    """
    parser = _build_parser(dataclass_types, prog=prog, description=description, takes_config=takes_config)
    _mark_refused(parser, refused)
    known = [action.dest for action in parser._actions if action.dest != "help" and action.option_strings]
    _check_known(parser, argv, refused)
    namespace = parser.parse_args(words := list(argv))
    if takes_config and namespace.config is not None:
        words = config_arguments(namespace.config, known) + words
        namespace = parser.parse_args(words)
    asked = _asked_settings(parser, words)
    _check_refused(parser, asked, refused)
    for flag, recipe in (implied_recipes or {}).items():
        if getattr(namespace, flag):
            words = config_arguments(RECIPES / recipe, known) + words
    try:
        parsed = parser.parse_args_into_dataclasses(words, look_for_args_file=False)[: len(dataclass_types)]
    except (ValueError, TypeError, ImportError, OSError) as error:
        raise UserError(" ".join(str(error).split())) from error
    return tuple(parsed), asked


def _mark_refused(parser: Any, refused: Mapping[str, str]) -> None:
    """Puts the reason in place of upstream's help, which promises what is not done here."""
    for action in parser._actions:
        if action.dest in refused:
            action.help = f"Refused: {refused[action.dest]}."


def _check_refused(parser: Any, asked: Mapping[str, Any], refused: Mapping[str, str]) -> None:
    for name in asked:
        if name in refused and asked[name] != parser.get_default(name):
            raise UserError(f"--{name}: {refused[name]}")


def _asked_settings(parser: Any, words: Sequence[str]) -> dict[str, Any]:
    """Returns the values of the flags that stand in `words`, without the defaults of the others."""
    dests = {option: action.dest for action in parser._actions for option in action.option_strings}
    given = {dests[word.split("=", 1)[0]] for word in words if word.split("=", 1)[0] in dests}
    values = vars(parser.parse_args(list(words)))
    return {name: values[name] for name in sorted(given) if name != "config"}


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
