"""The main job, where it ends otherwise than with a scored model."""

import pytest

from rafdb_vit.runtime.errors import UserError


@pytest.mark.parametrize("strategy", ["epoch", "steps"])
def test_a_run_that_ended_before_any_evaluation_says_so(train, strategy):
    flags = ("--eval_strategy", strategy, "--save_strategy", strategy, "--save_steps", "9", "--eval_steps", "9")
    with pytest.raises(UserError, match="ended at step 2 before any evaluation.*lower --eval_delay"):
        train("--max_steps", "2", "--eval_delay", "99", *flags)
