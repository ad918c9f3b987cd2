"""Text from results and data as plain text in Markdown: names of other people make no links, pictures or headings."""

import re
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from markupsafe import Markup

from rafdb_vit.runtime.errors import escape

_ACTIVE = re.compile(r"""[&<>\\`*\[\]|$~#^"]|([=+])(?=\1)|(?<=([=+]))\2|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])""")
"""What marks something wherever it stands; a single = or +, or an underscore within a word, does not."""
_LEADING = re.compile(r"[-+=:!]|\d+[.)](?=\s|$)")
"""What makes a list or an underlined heading of a line that begins with it."""
_LINKING = re.compile(r"(?<=:)(?=//)|(?<=/)(?=/)|(?<=@)|(?<=\w)(?=@)|(?<=\w\.)(?=[^\W\d_])")
"""Places within what many renderers take for an address: https://x, //x, a@b, @a, www.x, x.org."""
_JOINER = "&#8288;"
"""A word joiner: without width, but no part of an address."""


def finalize(value: Any) -> Any:
    """Returns what stands in the place of an expression in a template: only `Markup` is markup, all else is text."""
    if isinstance(value, Markup | int | float):
        return value
    return escape_text(str(value))


def escape_text(text: str) -> Markup:
    """Returns text that every renderer of Markdown shows as it is, in one line, also one that lets HTML through."""
    line = escape(" ".join(text.split()))
    broken = _LINKING.sub("\\0", line)  # no control character is left in it
    return Markup(_escape_marks(broken).replace("\0", _JOINER))


def _escape_marks(line: str) -> str:
    first = _LEADING.match(line)
    active = {first.end() - 1} if first else set()
    active |= {found.start() for found in _ACTIVE.finditer(line)}
    return "".join(f"&#{ord(character)};" if i in active else character for i, character in enumerate(line))


def quote_code(value: Any) -> Markup:
    """Returns text as a code span, which knows no escapes: backticks in it become their code."""
    line = escape(" ".join(str(value).split())).replace("`", "\\x60")
    return Markup(f"`{line or ' '}`")


def quote_python(value: str) -> Markup:
    """Returns text as Python writes it, in double quotes, for a block of code."""
    written = value.encode("unicode_escape").decode("ascii").replace('"', '\\"').replace("`", "\\x60")
    return Markup(f'"{written}"')


def link_model(name: str) -> Markup:
    """Returns the name of a model as a link to the Hub; as code where it can be none."""
    if not is_on_hub(name):
        return quote_code(name)
    return Markup(f"[{_escape_marks(name)}](https://huggingface.co/{name})")


def is_on_hub(name: str) -> bool:
    """Tells whether a name can be that of a model on the Hub."""
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True
