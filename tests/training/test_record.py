"""What a run writes down of its learning curves."""

from transformers import TrainerState

from rafdb_vit.training import record
from rafdb_vit.training.record import describe_history


def history(losses, evaluations):
    rows = [{"epoch": i / losses, "step": i, "loss": 1.0} for i in range(losses)]
    every = max(losses // max(evaluations, 1), 1)
    rows += [{"epoch": i / losses, "step": i, "eval_loss": 1.0} for i in range(0, losses, every)][:evaluations]
    return TrainerState(log_history=sorted(rows, key=lambda row: row["step"]))


def test_a_long_history_is_thinned_evenly_and_keeps_its_evaluations(monkeypatch):
    monkeypatch.setattr(record, "MOST_ENTRIES", 100)
    rows = describe_history(history(1000, 20))
    losses = [row["step"] for row in rows if "loss" in row]
    assert len(rows) == 100 and sum("eval_loss" in row for row in rows) == 20
    assert losses[-1] == 999 and {later - earlier for earlier, later in zip(losses, losses[1:], strict=False)} <= {
        12,
        13,
    }
    assert [row["step"] for row in rows] == sorted(row["step"] for row in rows)
    assert len(describe_history(history(200, 200))) == 100


def test_a_short_history_is_whole():
    assert len(describe_history(history(50, 5))) == 55
