"""How long training will take, said once that is known."""

import time
from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from rafdb_vit.runtime.console import say_between_bars

_ENOUGH_SECONDS, _ENOUGH_STEPS = 10.0, 3
"""Of training after its first step, which is slower: then the speed is known well enough. Less is not worth a word."""
_NOTABLE_SHARE, _NOTABLE_SECONDS = 1 / 3, 60.0
"""By both of them an estimate has to be wrong to be said anew: of itself, and of what is left."""


def render_duration(seconds: float) -> str:
    """Returns a duration as people say it: `40 seconds`, `17 minutes`, `5 hours`, `3 days`."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:  # 90 minutes say more than 1 hour
            return f"{seconds / length:.0f} {unit}s"
    return "1 second" if seconds < 1.5 else f"{seconds:.0f} seconds"


class DurationCallback(TrainerCallback):
    """Says how long training will take: soon after its beginning, and after an evaluation that changes the answer.

    Args:
        steps_per_epoch: Returns the optimizer steps of an epoch.
        may_stop_early: Whether training may end before its last epoch.
    """

    def __init__(self, steps_per_epoch: Callable[[], int], *, may_stop_early: bool) -> None:
        self.steps_per_epoch = steps_per_epoch
        self.may_stop_early = may_stop_early
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._since: tuple[int, float] | None = None
        self._trained: tuple[int, float] | None = None
        self._said: float | None = None
        self._was_evaluated = False

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Forgets an earlier training."""
        self._begin_anew()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Says it as soon as some steps have been timed."""
        now = time.monotonic()
        if self._since is None:
            self._since = state.global_step, now  # the first step is slower
            return
        steps, seconds = self._trained = state.global_step - self._since[0], now - self._since[1]
        if self._said is None and steps >= _ENOUGH_STEPS and seconds >= _ENOUGH_SECONDS:
            self._say(state, seconds / steps)

    def on_evaluate(self, *args: Any, **kwargs: Any) -> None:
        """Notes that the time until the next step is an evaluation's, and a checkpoint's."""
        self._was_evaluated = True

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Says it when an evaluation and the checkpoint after it are done, and times the steps that follow."""
        if not self._was_evaluated:
            return
        now, self._was_evaluated = time.monotonic(), False
        if self._since is not None and self._trained is not None:
            steps, seconds = self._trained
            evaluation = now - self._since[1] - seconds
            self._say(state, seconds / steps + evaluation / self._evaluation_interval(args, state))
        self._since, self._trained = self._since and (state.global_step, now), None

    def _evaluation_interval(self, args: TrainingArguments, state: TrainerState) -> int:
        """Returns after how many steps an evaluation comes."""
        by_steps = getattr(args.eval_strategy, "value", args.eval_strategy) == "steps"
        return max(1, state.eval_steps if by_steps else self.steps_per_epoch())

    def _say(self, state: TrainerState, seconds_per_step: float) -> None:
        left, said = state.max_steps - state.global_step, self._said
        if said is not None:
            change = abs(seconds_per_step - said)
            if change < _NOTABLE_SHARE * said or change * left < _NOTABLE_SECONDS:
                return
        self._said = seconds_per_step
        one, rest = (render_duration(seconds_per_step * steps) for steps in (self.steps_per_epoch(), left))
        early = ", earlier if validation stops improving" if self.may_stop_early else ""
        if state.is_world_process_zero and seconds_per_step * left >= _ENOUGH_SECONDS:
            say_between_bars(f"An epoch takes about {one}; training ends in about {rest}{early}.")
