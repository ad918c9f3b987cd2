"""What has to be installed for this package to work, and the line that says so where it is not."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import NoReturn

from rafdb_vit.runtime.console import say_aside

MODULES = (
    *("PIL", "accelerate", "datasets", "evaluate", "filelock", "huggingface_hub", "imagehash", "jinja2", "markupsafe"),
    *("matplotlib", "numpy", "pyarrow", "safetensors", "scipy", "sklearn", "torch", "torchvision", "tqdm"),
    *("transformers", "yaml"),
)
"""Those that the dependencies in `pyproject.toml` bring."""
_INSTALL = "`pip install -e .` in the folder of train.py installs all that is needed"
_OTHER_TORCH = ("torchvision::", "partially initialized module 'torchvision'")
"""What torchvision says when it was built for another release of torch, and what is said of it when it has failed."""


def describe_missing_modules() -> str | None:
    """Says which modules are not installed, all of them, and what installs them; None if none is missing.

    They are looked for and not imported, which would take seconds; a library whose own import fails for want of
    another says less, or something else.
    """
    missing = [name for name in MODULES if find_spec(name) is None]
    if not missing:
        return None
    what = f"module {missing[0]} is" if len(missing) == 1 else f"modules {', '.join(missing)} are"
    return f"the Python {what} not installed; {_INSTALL}"


def describe_misfit(error: BaseException) -> str | None:
    """Says that torchvision and torch do not fit each other where that is why an import failed; None for other errors.

    transformers raises an error of its own where a module cannot be imported, so causes count too.
    """
    cause: BaseException | None = error
    while cause is not None:
        if any(words in str(cause) for words in _OTHER_TORCH):
            return (
                "torchvision does not fit torch, which is of another release; `pip install --force-reinstall torch "
                "torchvision` installs two that do"
            )
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def refusing_missing_modules() -> Iterator[None]:
    """Ends a program in one line, with status 2, where a package that it needs is not installed, or does not fit.

    Any other error of an import keeps its traceback.

    Raises:
        SystemExit: One is missing, or does not fit.
    """
    if line := describe_missing_modules():
        _refuse(line)
    try:
        yield
    except (ImportError, RuntimeError) as error:
        if line := describe_misfit(error):
            _refuse(line)
        raise


def _refuse(line: str) -> NoReturn:
    say_aside(f"error: {line}")
    raise SystemExit(2)
