"""How many steps a run has, and whether one that was begun with fewer may go on to more."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rafdb_vit.runtime.errors import UserError

_INTERVALS = ("eval", "save", "logging")


def refuse_other_length(
    checkpoint: Path,
    state: Mapping[str, Any],
    *,
    steps: int,
    steps_per_epoch: int,
    rate_of: Callable[[int], Callable[[int], float] | None],
    args: Any,
    start: Path,
) -> None:
    """Refuses to go on with more steps, or fewer, than a run was begun with, where that gives another run.

    It is the same run, only longer, where nothing that has been done hung on the number of steps.

    Args:
        checkpoint: The checkpoint to resume from.
        state: What its `trainer_state.json` holds.
        steps: The steps of this run.
        steps_per_epoch: Those of an epoch.
        rate_of: Returns the schedule of a run of so many steps, a factor by step (from 0); None for one that goes by
            the metrics alone.
        args: The training arguments of this run.
        start: A model to start a new run from instead.

    Raises:
        UserError: The rates up to the checkpoint, or the steps at which it was logged, evaluated and saved, are others
            in a run of this length.
    """
    begun, done = state["max_steps"], state["global_step"]
    if steps == begun:
        return
    why = "only more steps than that can be asked for"
    if steps > begun:
        why = (
            _name_rates(rate_of(begun), rate_of(steps), done=done, args=args)
            or _name_share(args)
            or _name_evaluation(state, steps_per_epoch, args)
        )
    if why:
        name = "max_steps" if args.max_steps > 0 else "num_train_epochs"
        raise UserError(
            f"--{name} {getattr(args, name):g}: {checkpoint} is of a run of {begun:,} steps, and this one has "
            f"{steps:,}: {why}. Go on with as many as it had, or start a new run from its weights: "
            f"--model_name_or_path {start}, with another --output_dir"
        )


def _name_rates(
    before: Callable[[int], float] | None, now: Callable[[int], float] | None, *, done: int, args: Any
) -> str:
    if before is None or now is None:
        return ""
    step = next((step for step in range(done) if before(step) != now(step)), None)
    if step is None:
        return ""
    schedule = "step" if args.step_schedule else getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
    warm_up = f", --warmup_steps {args.warmup_steps:g}" if 0 < args.warmup_steps < 1 else ""
    was, would = (args.learning_rate * factor(step) for factor in (before, now))
    return (
        f"the learning rate depends on their number (--lr_scheduler_type {schedule}{warm_up}), it was {was:.3g} at "
        f"step {step + 1} and would have been {would:.3g}"
    )


def _name_share(args: Any) -> str:
    """Returns which interval is a share of all steps; empty if none is."""
    for name in _INTERVALS:
        strategy, every = getattr(args, f"{name}_strategy"), getattr(args, f"{name}_steps")
        if getattr(strategy, "value", strategy) == "steps" and 0 < (every or 0) < 1:
            return f"--{name}_steps {every:g} is a share of their number"
    return ""


def _name_evaluation(state: Mapping[str, Any], steps_per_epoch: int, args: Any) -> str:
    """Returns that the run was evaluated at its end though none was due there; empty if that is not so."""
    step, interval = state["global_step"], steps_per_epoch
    if getattr(args.eval_strategy, "value", args.eval_strategy) == "steps":
        interval = int(args.eval_steps)
    evaluated = any(row["step"] == step and "eval_loss" in row for row in state["log_history"])
    if step < state["max_steps"] or not evaluated or step % interval == 0:
        return ""
    return (
        f"the evaluation at its end, step {step:,}, would not have come in a longer run; an earlier checkpoint can "
        "go on: --resume_from_checkpoint CHECKPOINT"
    )
