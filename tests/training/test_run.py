"""The main job, where it ends otherwise than with a scored model."""

import pytest

from rafdb_vit.runtime.errors import UserError

STEPS = ("--eval_strategy", "steps", "--save_strategy", "steps", "--save_steps", "9", "--eval_steps", "9")


@pytest.mark.parametrize("flags", [(), STEPS], ids=["epoch", "steps"])
def test_a_run_that_ended_before_any_evaluation_says_so(train, flags):
    with pytest.raises(UserError, match="ended at step 2 before any evaluation.*lower --eval_delay"):
        train("--max_steps", "2", "--eval_delay", "99", *flags)
