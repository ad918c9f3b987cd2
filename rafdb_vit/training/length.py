"""How many steps a run has, and whether one that was begun with fewer may go on to more."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rafdb_vit.runtime.errors import UserError

_INTERVALS = ("eval", "save", "logging")


@dataclass(frozen=True)
class RunLength:
    """How many steps a run has, and what depends on their number.

    Attributes:
        steps: The optimizer steps of the run, unless it stops early.
        steps_per_epoch: Those of an epoch.
        rate_of: Returns the schedule of a run of so many steps, a factor by step (from 0); None for one that goes by
            the metrics alone.
        args: The training arguments.
    """

    steps: int
    steps_per_epoch: int
    rate_of: Callable[[int], Callable[[int], float] | None]
    args: Any

    def refuse_other(self, checkpoint: Path, state: Mapping[str, Any], *, start: Path) -> None:
        """Refuses to go on with other steps than a run was begun with, where that is not the same run, only longer.

        It is where nothing that was done up to the checkpoint depended on the number of steps.

        Args:
            checkpoint: The checkpoint to resume from.
            state: What its `trainer_state.json` holds.
            start: A model to start a new run from instead.

        Raises:
            UserError: There are fewer steps, or the rates up to the checkpoint, or the steps at which it was logged,
                evaluated and saved, would have been others.
        """
        begun, args = state["max_steps"], self.args
        if reason := self._find_reason(state):
            name = "max_steps" if args.max_steps > 0 else "num_train_epochs"
            raise UserError(
                f"--{name} {getattr(args, name):g}: {checkpoint} is of a run of {begun:,} steps, and this one has "
                f"{self.steps:,}: {reason}. Go on with as many as it had, or start a new run from its weights: "
                f"--model_name_or_path {start}, with another --output_dir"
            )

    def _find_reason(self, state: Mapping[str, Any]) -> str:
        if self.steps == state["max_steps"]:
            return ""
        if self.steps < state["max_steps"]:
            return "only more steps than that can be asked for"
        return self._compare_rates(state) or self._find_share() or self._find_evaluation(state)

    def _compare_rates(self, state: Mapping[str, Any]) -> str:
        """Returns at which step the learning rate would have been another; empty if at none."""
        before, now = self.rate_of(state["max_steps"]), self.rate_of(self.steps)
        if before is None or now is None:
            return ""
        step = next((step for step in range(state["global_step"]) if before(step) != now(step)), None)
        if step is None:
            return ""
        args = self.args
        schedule = "step" if args.step_schedule else getattr(args.lr_scheduler_type, "value", args.lr_scheduler_type)
        warm_up = f", --warmup_steps {args.warmup_steps:g}" if 0 < args.warmup_steps < 1 else ""
        was, would = (args.learning_rate * factor(step) for factor in (before, now))
        return (
            f"the learning rate depends on their number (--lr_scheduler_type {schedule}{warm_up}), it was {was:.3g} at "
            f"step {step + 1} and would have been {would:.3g}"
        )

    def _find_share(self) -> str:
        """Returns which interval is a share of all steps; empty if none is."""
        for name in _INTERVALS:
            strategy, every = getattr(self.args, f"{name}_strategy"), getattr(self.args, f"{name}_steps")
            if getattr(strategy, "value", strategy) == "steps" and 0 < (every or 0) < 1:
                return f"--{name}_steps {every:g} is a share of their number"
        return ""

    def _find_evaluation(self, state: Mapping[str, Any]) -> str:
        """Returns that the run was evaluated at its end though none was due there; empty if that is not so."""
        step, interval = state["global_step"], self.steps_per_epoch
        if getattr(self.args.eval_strategy, "value", self.args.eval_strategy) == "steps":
            interval = int(self.args.eval_steps)
        evaluated = any(row["step"] == step and "eval_loss" in row for row in state["log_history"])
        if step < state["max_steps"] or not evaluated or step % interval == 0:
            return ""
        return (
            f"the evaluation at its end, step {step:,}, would not have come in a longer run; an earlier checkpoint can "
            "go on: --resume_from_checkpoint CHECKPOINT"
        )
