from types import SimpleNamespace

import pytest

from rafdb_vit.training.callbacks import EpochLineCallback


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"max_steps": -1, "num_train_epochs": 25.0}, "epoch 1.2/25"),
        ({"max_steps": 12, "num_train_epochs": 1.0}, "step  6/12  epoch 1.2"),  # not 1.2/1, which nobody asked for
    ],
)
def test_a_line_says_how_far_training_is_by_what_was_asked_for(asked, place, capsys):
    callback, args = EpochLineCallback(), SimpleNamespace(**asked, metric_for_best_model="loss")
    state = SimpleNamespace(is_world_process_zero=True, best_metric=0.1, global_step=6, max_steps=12)
    callback.on_train_begin()
    args.greater_is_better = False
    callback.on_log(args, state, None, logs={"epoch": 1.2, "eval_loss": 0.5})
    assert capsys.readouterr().out.startswith(f"{place}  validation loss 0.5000  ")
