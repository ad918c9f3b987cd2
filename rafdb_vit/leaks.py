"""What must not leave a machine with a file: tokens, keys, and paths that tell whose machine it is."""

import json
import re
from pathlib import Path

from PIL import Image
from safetensors import safe_open

_TOKENS = re.compile(
    r"(?<![\w-])(?:hf_(?:[a-z]+_)?[A-Za-z0-9]{16,}|api_org_[A-Za-z0-9]{20,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,}"
    r"|AKIA[0-9A-Z]{16}|sk-[A-Za-z0-9_-]{30,})|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_PATHS = re.compile(
    r"""(?:^|[^\w/.<)])((?:/[\w.~@+-]+){2,}|(?<=")/\w+|~\w*/[\w.]+|[A-Za-z]:\\\\?\w+|\\\\\w+\\|file://)""", re.M
)


def find_leak(path: Path, *, token: str | None = None) -> str | None:
    """Returns what a file holds that should not leave the machine; None if nothing was found.

    Args:
        path: A JSON, Markdown, safetensors or PNG file. Of weights, the metadata are searched, not the numbers.
        token: The token in use, searched for as it stands.

    Raises:
        OSError: It is not what its name says; so do the next.
        ValueError: The same.
        SyntaxError: The same.
        SafetensorError: The same.
    """
    for text in _read_texts(path):
        if _TOKENS.search(text) or (token and token in text):
            return "what looks like a token or a key"
        if found := _PATHS.search(re.sub(r"\\+/", "/", text)):
            return f"a path of this machine, {found[1]}"
    return None


def _read_texts(path: Path) -> list[str]:
    if path.suffix == ".json":
        content = path.read_text(encoding="utf-8")
        return [content, json.dumps(json.loads(content), ensure_ascii=False)]
    if path.suffix == ".md":
        return [path.read_text(encoding="utf-8")]
    if path.suffix == ".safetensors":
        with safe_open(path, framework="pt") as weights:
            return [str(weights.metadata())]
    with Image.open(path, formats=["PNG"]) as picture:
        picture.load()
        return [str(picture.info)]
