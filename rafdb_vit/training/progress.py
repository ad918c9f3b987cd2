"""Where a run stood when a checkpoint was written, read from files that may be damaged or come from elsewhere."""

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from rafdb_vit.runtime.disk import parse_json, read_text
from rafdb_vit.runtime.errors import UserError

STATE_FILE = "trainer_state.json"
"""What the stock Trainer saves of where it stands."""
PROGRESS_FILE = "progress.json"
"""What it does not save, and a resumed run needs to log the same metrics."""
_DAMAGE = (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, pickle.UnpicklingError)
"""What torch and transformers raise where a file of a checkpoint holds something else than they wrote."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_step(row: Any) -> bool:
    named = isinstance(row, dict) and _is_number(row.get("epoch")) and _is_count(row.get("step"))
    return named and all(_is_number(value) for value in row.values())


_STATE: Mapping[str, Callable[[Any], bool]] = {
    "global_step": _is_count,
    "max_steps": _is_count,
    "epoch": _is_number,
    "best_global_step": lambda value: value is None or _is_count(value),
    "best_metric": lambda value: value is None or _is_number(value),
    "best_model_checkpoint": lambda value: value is None or isinstance(value, str),
    "log_history": lambda value: isinstance(value, list) and all(map(_is_step, value)),
    "stateful_callbacks": lambda value: isinstance(value, dict),
}
_PROGRESS: Mapping[str, Callable[[Any], bool]] = {
    "train_loss": lambda value: isinstance(value, list) and bool(value) and all(map(_is_number, value)),
    "last_logged_step": _is_count,
    "last_step": lambda value: (
        isinstance(value, dict)
        and {"grad_norm", "learning_rate"} <= {*value}
        and all(number is None or _is_number(number) for number in value.values())
    ),
    "epoch_has_ended": lambda value: isinstance(value, bool),
}


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Returns what `progress.json` of a checkpoint holds, after looking at `trainer_state.json` too.

    Raises:
        UserError: One of them is damaged; the message names it.
    """
    _read(checkpoint, STATE_FILE, _STATE)
    return _read(checkpoint, PROGRESS_FILE, _PROGRESS)


def _read(checkpoint: Path, name: str, expected: Mapping[str, Callable[[Any], bool]]) -> dict[str, Any]:
    with naming_damage(checkpoint, name):
        # Not as the standard has it: a loss that is not finite stands in it as NaN.
        content = parse_json(read_text(checkpoint / name), finite=False)
        if not isinstance(content, dict):
            raise ValueError("expected a mapping")
        for key, holds in expected.items():
            if not holds(content.get(key)):
                raise ValueError(f"{key} is {content.get(key)!r:.60}")
        return content


@contextmanager
def naming_damage(checkpoint: Path, what: str) -> Iterator[None]:
    """Turns what reading a file of a checkpoint raises into one line that names it; `what` is the file's name.

    Raises:
        UserError: The file holds something else than was written.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{checkpoint / what}: is damaged ({type(error).__name__}: {reason:.160}); copy it back, or go on from an "
            "older checkpoint with --resume_from_checkpoint CHECKPOINT"
        ) from error
