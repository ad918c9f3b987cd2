"""Where a run stood when a checkpoint was written, read from files that may be damaged or come from elsewhere."""

import math
import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerState

from rafdb_vit.runtime.disk import parse_json, read_text
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.checkpoints import step_of

STATE_FILE = "trainer_state.json"
"""What the stock Trainer saves of where it stands."""
PROGRESS_FILE = "progress.json"
"""What it does not save, and a resumed run needs to log the same metrics."""
_DAMAGE = (
    *(OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError),
    pickle.UnpicklingError,
)
"""What torch and transformers raise where a file of a checkpoint holds something else than they wrote."""


_LARGEST = 2**53
"""Of whole numbers: up to there a number of 64 bits has each of them."""
_LARGEST_LOSS = 3.4e38
"""Of a number of 32 bits."""
_LARGEST_FLOAT = 1e100
"""Sums and products of a few of them are still finite."""


def is_number(value: Any, *, whole: bool = False) -> bool:
    """Tells whether a value is a finite number with which can be reckoned; on demand a whole one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < _LARGEST
    return not whole and isinstance(value, float) and abs(value) < _LARGEST_FLOAT


def _is_logged(value: Any) -> bool:
    """Tells whether a value is what a loss or another figure can be; in a run that diverged it is not finite."""
    return is_number(value) or (isinstance(value, float) and not math.isfinite(value))


def _is_count(value: Any) -> bool:
    return is_number(value, whole=True) and value >= 0


def _is_interval(value: Any) -> bool:
    return value is None or (is_number(value) and value > 0)


def _is_epoch(value: Any) -> bool:
    return is_number(value) and 0 <= value < _LARGEST


def _is_loss(value: Any) -> bool:
    return _is_logged(value) and not _LARGEST_LOSS < abs(value) < math.inf


def _is_step(row: Any) -> bool:
    named = isinstance(row, dict) and _is_epoch(row.get("epoch")) and _is_count(row.get("step"))
    return named and all(map(_is_logged, row.values()))


def _is_none(value: Any) -> bool:
    return value is None


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


_STATE: Mapping[str, Callable[[Any], bool]] = {
    "global_step": _is_count,
    "max_steps": _is_count,
    "epoch": _is_epoch,
    "best_global_step": lambda value: value is None or _is_count(value),
    "best_metric": lambda value: value is None or is_number(value),
    "best_model_checkpoint": lambda value: value is None or isinstance(value, str),
    "log_history": lambda value: isinstance(value, list) and all(map(_is_step, value)),
    "stateful_callbacks": lambda value: isinstance(value, dict),
}
_STATE_DEFAULTS: Mapping[str, Callable[[Any], bool]] = {
    "logging_steps": _is_interval,
    "eval_steps": _is_interval,
    "save_steps": _is_interval,
    "train_batch_size": lambda value: value is None or (_is_count(value) and value > 0),
    "num_train_epochs": _is_count,
    "num_input_tokens_seen": _is_count,
    "total_flos": lambda value: _is_logged(value) and value >= 0,
    "is_local_process_zero": _is_bool,
    "is_world_process_zero": _is_bool,
    # Of a search for hyperparameters, which this package does not do.
    "is_hyper_param_search": lambda value: value is False,
    "trial_name": _is_none,
    "trial_params": _is_none,
}
"""What may be missing."""
_PROGRESS: Mapping[str, Callable[[Any], bool]] = {
    "train_loss": lambda value: isinstance(value, list) and bool(value) and all(map(_is_loss, value)),
    "last_logged_step": _is_count,
    "last_step": lambda value: (
        isinstance(value, dict)
        and {"grad_norm", "learning_rate"} <= {*value}
        and all(number is None or _is_logged(number) for number in value.values())
    ),
    "epoch_has_ended": lambda value: isinstance(value, bool),
}


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """Returns what `progress.json` of a checkpoint holds, after looking at `trainer_state.json` too.

    Raises:
        UserError: One of them is damaged; the message names it.
    """
    state = read_state(checkpoint)
    progress = _read(checkpoint, PROGRESS_FILE, _PROGRESS)
    with naming_damage(checkpoint, PROGRESS_FILE):
        if progress["last_logged_step"] > state["global_step"]:
            raise ValueError(f"last_logged_step is {progress['last_logged_step']}, later than the checkpoint")
    return progress


def read_state(checkpoint: Path) -> dict[str, Any]:
    """Returns what `trainer_state.json` of a checkpoint holds.

    Raises:
        UserError: It is damaged.
    """
    state = _read(checkpoint, STATE_FILE, _STATE)
    with naming_damage(checkpoint, STATE_FILE):
        _check_state(state, named=step_of(checkpoint))
    return state


def _check_state(state: Mapping[str, Any], *, named: int) -> None:
    """Checks what `trainer_state.json` may lack, and its steps against each other and the checkpoint's name."""
    for key in state.keys() - _STATE.keys():
        if key not in {field.name for field in fields(TrainerState)}:
            raise ValueError(f"{key!r:.60} is unknown")
        if key in _STATE_DEFAULTS and not _STATE_DEFAULTS[key](state[key]):
            raise ValueError(f"{key} is {state[key]!r:.60}")
    step, best, most = state["global_step"], state["best_global_step"] or 0, state["max_steps"]
    if named >= 0 and step != named:
        raise ValueError(f"global_step is {step}, in the checkpoint of step {named}")
    if not best <= step <= most:
        raise ValueError(f"global_step is {step}; expected {best} (best_global_step) to {most} (max_steps)")


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
