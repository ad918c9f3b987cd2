"""Settings: values of flags that come from a file or from Python, checked against the types of their fields.

They stay values and never become words of a command line, where a value such as `--output_dir=elsewhere` would be read
as another flag.
"""

import json
import os
from argparse import Action, ArgumentError, ArgumentParser
from collections.abc import Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from rafdb_vit.commands.flag_names import describe_unknown
from rafdb_vit.runtime.errors import UserError

_LARGEST = 2**63
"""No flag takes a larger number, and Python refuses to write out one of more than 4,300 digits."""
_LONGEST = 80
"""Characters of a value that a message repeats."""
_EXPECTED = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text (a number, a date or a word such as no has to stand in quotes)",
    list: "a list of text",
    dict: "names and values",
}


def check_number(value: Any) -> Any:
    """Returns a number that a flag may have; raises ValueError for NaN, infinity and more than 64 bits."""
    if not abs(value) < _LARGEST:
        raise ValueError(f"expected a number of less than {_LARGEST:,}")
    return value


def check_text(text: str) -> str:
    """Returns text that the system takes as a name; raises ValueError where there is a NUL or half a character."""
    try:
        name = os.fsencode(text)
    except UnicodeEncodeError as error:
        raise ValueError("expected whole characters") from error
    if b"\0" in name:
        raise ValueError("expected text without a NUL character")
    return text


class SettingsReader:
    """Checks settings against the flags of a command.

    Args:
        parser: Knows how text becomes a value of each flag.
        dataclass_types: Their fields are the flags.
        refused: Flags that the command does not have, with the reason for each.
    """

    def __init__(self, parser: ArgumentParser, dataclass_types: Sequence[Any], refused: Mapping[str, str]) -> None:
        hints = {name: hint for of in dataclass_types for name, hint in get_type_hints(of).items()}
        self.parser, self.refused = parser, refused
        # A flag's --no_NAME comes after it, for the same field.
        self.actions = {action.dest: action for action in reversed(parser._actions) if action.dest in hints}
        self.kinds = {name: _list_kinds(hints[name]) for name in self.actions}

    def read(self, settings: Mapping[str, Any], *, where: str | None) -> dict[str, Any]:
        """Returns the values of settings as a command line gives them; what is None is left out.

        Args:
            settings: Values by the names of the flags: of the field's type, text that the command line would take for
                it, or, in place of JSON, a dictionary.
            where: The file that they stand in; None for settings that a program gave.

        Raises:
            UserError: One is unknown, or has a value of another type.
        """
        for name in settings:
            if name not in self.actions:
                raise UserError(self._describe_unknown(name, where))
        return {name: self._read(name, value, where) for name, value in settings.items() if value is not None}

    def _describe_unknown(self, name: str, where: str | None) -> str:
        place, dashes = (f"--{name}", "--") if where is None else (f"{where}: {name}", "")
        return f"{place}: {describe_unknown(name, self.actions, refused=self.refused, dashes=dashes)}"

    def _read(self, name: str, value: Any, where: str | None) -> Any:
        action, kinds = self.actions[name], self.kinds[name]
        try:
            return self._take(value, action, kinds)
        except (ValueError, ArgumentError) as error:
            place = f"--{name}" if where is None else f"{where}: {name}"
            raise UserError(f"{place}: expected {_describe(action, kinds)}, found {_show(value)}") from error

    def _take(self, value: Any, action: Action, kinds: Sequence[Any]) -> Any:
        """Returns a value as a flag's field takes it; raises ValueError or ArgumentError if it does not."""
        value = value.value if isinstance(value, Enum) else value
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(value, str):
            return [self._take_text(value, action)] if action.nargs == "+" else self._take_text(value, action)
        if isinstance(value, bool):
            return _take_switch(value, action, kinds)
        if isinstance(value, list | tuple) and list in kinds:
            return [self._take_text(item, action) for item in value]
        if isinstance(value, dict) and dict in kinds:
            return _render_json(value)
        for kind, number in ((int, Integral), (float, Real)):
            if kind in kinds and isinstance(value, number):
                return kind(check_number(value))
        raise ValueError("of another type")

    def _take_text(self, text: Any, action: Action) -> Any:
        if not isinstance(text, str):
            raise ValueError("no text")
        value = self.parser._get_value(action, text)
        self.parser._check_value(action, value)
        return value


def _list_kinds(hint: Any) -> list[Any]:
    """Returns the types that a field takes, without what they hold: `list` for `list[str]`."""
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [get_origin(member) or member for member in members]


def _take_switch(value: bool, action: Action, kinds: Sequence[Any]) -> Any:
    if bool in kinds:
        return value
    if value and action.nargs == "?":  # the flag without a value
        return action.const
    raise ValueError("of another type")


def _render_json(value: Mapping[Any, Any]) -> str:
    try:
        return json.dumps(value)
    except (TypeError, RecursionError) as error:
        raise ValueError("not what JSON holds") from error


def _describe(action: Action, kinds: Sequence[Any]) -> str:
    """Says what a flag takes."""
    if action.choices is not None:
        return f"one of {', '.join(map(str, action.choices))}"
    return " or ".join(words for kind, words in _EXPECTED.items() if kind in kinds) or "another value"


def _show(value: Any) -> str:
    """Returns a value for a message, however large it is."""
    if isinstance(value, int) and abs(value) >= _LARGEST:
        return "a number of too many digits"
    if isinstance(value, list | tuple | dict):
        return "names and values" if isinstance(value, dict) else "a list"
    shown = repr(value)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
