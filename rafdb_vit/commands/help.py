"""The help of a command, in two pages: everyday flags, and all of them."""

import shutil
import textwrap
from argparse import SUPPRESS, Action, ArgumentParser, Namespace
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from rafdb_vit.runtime.console import say
from rafdb_vit.training.flags import GROUPS

HELP_ALL = "--help_all"
_KINDS = {"int": "NUMBER", "float": "NUMBER"}
_LEFT, _INDENT = 34, 2
"""Columns of the flags, and of the space before them."""
_WIDEST = 110


class ShowHelp(Action):
    """Prints a page of help and ends the command with status 0."""

    def __init__(
        self, option_strings: Sequence[str], *, page: "HelpPage", dest: str = SUPPRESS, **settings: Any
    ) -> None:
        super().__init__(option_strings, dest=dest, default=SUPPRESS, nargs=0, **settings)
        self.page = page

    def __call__(
        self, parser: ArgumentParser, namespace: Namespace, values: Any, option_string: str | None = None
    ) -> None:
        """Prints the page; argparse's own hook."""
        say(self.page.render(parser, every=option_string in (HELP_ALL, HELP_ALL.replace("_", "-"))))
        parser.exit()


class HelpPage:
    """What a command's help says.

    Args:
        metadata: What is said of the field of each flag, by its name: `group`, one of `GROUPS`, where it is an everyday
            flag, and `example`, a value.
        refused: Flags that the command does not take; they are not shown.
    """

    def __init__(self, metadata: dict[str, Any], refused: Collection[str]) -> None:
        self.metadata, self.refused = metadata, refused
        self.is_in_two = 0 < len(self._grouped()) < len(metadata)

    def _grouped(self) -> list[str]:
        return [name for name, words in self.metadata.items() if "group" in words]

    def render(self, parser: ArgumentParser, *, every: bool) -> str:
        """Renders the page of everyday flags, or of all of them."""
        actions = [of for of in parser._actions if of.dest in self.metadata and of.dest not in self.refused]
        shown = {of.dest: of for of in reversed(actions)}  # the --no_NAME of a flag comes after it
        words = [of for of in reversed(shown.values()) if not of.option_strings]
        flags = [shown[name] for name in self.metadata if name in shown and shown[name] not in words]
        lines = [*_wrap(f"usage: {parser.usage or self._render_usage(parser.prog, words, flags)}"), ""]
        lines += _wrap(parser.description or "")
        if self.is_in_two and not every:
            lines += _wrap(f"These are the everyday flags, each with an example; {HELP_ALL} lists every flag.")
        for title, members in self._sort(words, flags, every=every):
            lines += ["", title, *(line for of in members for line in self._render(of))]
        return "\n".join(lines)

    def _render_usage(self, prog: str, words: list[Action], flags: list[Action]) -> str:
        needed = [_render_flag(of, self.metadata[of.dest]) for of in flags if of.required]
        return " ".join([prog, *map(_render_word, words), *needed, "[flags]"])

    def _sort(self, words: list[Action], flags: list[Action], *, every: bool) -> Iterator[tuple[str, list[Action]]]:
        """Yields the groups of flags, each with its title."""
        if words:
            yield "Without a flag", words
        groups = {of.dest: self.metadata[of.dest].get("group") for of in flags}
        for group in GROUPS:
            if members := [of for of in flags if groups[of.dest] == group]:
                yield group, members
        rest = [of for of in flags if groups[of.dest] is None]
        if rest and (every or not self.is_in_two):
            yield "More flags" if self.is_in_two else "Flags", rest

    def _render(self, of: Action) -> list[str]:
        words = self.metadata[of.dest]
        text = " ".join((of.help or "").replace("%%", "%").split())
        if of.choices and not all(str(choice) in text for choice in of.choices):
            text = f"{text} One of {', '.join(map(str, of.choices))}."
        if of.default not in (None, False, "", SUPPRESS, []) and "Default:" not in text:
            default = f"{of.default:g}" if isinstance(of.default, float) else of.default
            text = f"{text} Default: {default}."
        right = _wrap(text, _width() - _LEFT - _INDENT)
        left = _render_flag(of, words) if of.option_strings else _render_word(of)
        head = f"{'':{_INDENT}}{left}"
        if len(head) >= _LEFT + _INDENT or not right:
            return [head, *(f"{'':{_LEFT + _INDENT}}{line}" for line in right)]
        lefts = [head, *[""] * (len(right) - 1)]
        return [f"{left:{_LEFT + _INDENT}}{line}" for left, line in zip(lefts, right, strict=True)]


def _width() -> int:
    return min(shutil.get_terminal_size().columns, _WIDEST)


def _wrap(text: str, width: int | None = None) -> list[str]:
    return textwrap.wrap(text, width or _width(), break_on_hyphens=False)


def _render_word(of: Action) -> str:
    name = str(of.metavar or of.dest.upper())
    return f"{name} [{name} ...]" if of.nargs == "+" else name


def _render_flag(of: Action, words: Any) -> str:
    """Renders a flag with an example, or with what kind of value it takes."""
    name = of.option_strings[0]
    if "example" in words:
        return f"{name} {words['example']}".rstrip()
    if of.nargs == 0 or (_takes_switch(of) and not of.default):
        return name
    if of.choices:
        return f"{name} {next(iter(of.choices))}"
    return f"{name} {'False' if _takes_switch(of) else _KINDS.get(getattr(of.type, '__name__', ''), 'TEXT')}"


def _takes_switch(of: Action) -> bool:
    return of.nargs == "?" and of.const is True
