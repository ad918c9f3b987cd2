"""How long training takes, by a clock that the test moves."""

from types import SimpleNamespace

import pytest

from rafdb_vit.training import duration
from rafdb_vit.training.duration import DurationCallback, render_duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (1, "1 second"),
        (40.4, "40 seconds"),
        (119, "119 seconds"),
        (1000, "17 minutes"),
        (5400, "90 minutes"),
        (18_000, "5 hours"),
        (259_200, "3 days"),
    ],
)
def test_durations(seconds, words):
    assert render_duration(seconds) == words


class Run:
    """Training of 10 steps an epoch, evaluated after each, whose steps and evaluations take what the test says."""

    def __init__(self, monkeypatch, *, epochs, step, evaluation, start=0, patience=False, every=None):
        self.now, self.step, self.evaluation, self.every = 0.0, step, evaluation, every or 10
        monkeypatch.setattr(duration.time, "monotonic", lambda: self.now)
        self.callback = DurationCallback(lambda: 10, may_stop_early=patience)
        self.args = SimpleNamespace(eval_strategy="steps" if every else "epoch")
        self.state = SimpleNamespace(
            global_step=start, max_steps=10 * epochs, eval_steps=every, is_world_process_zero=True
        )

    def train(self, steps):
        self.callback.on_train_begin(self.args, self.state, None)
        for number in range(steps):
            self.callback.on_step_begin(self.args, self.state, None)
            self.now += self.step if number else 20 * self.step  # the first is slower
            self.state.global_step += 1
            self.callback.on_step_end(self.args, self.state, None)
            if self.state.global_step % self.every == 0:
                self.callback.on_evaluate(self.args, self.state, None)
                self.now += self.evaluation


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        # 10 x 1 s and 5 s: 15 s an epoch, of which 9 are left.
        ({"epochs": 10}, "An epoch takes about 15 seconds; training ends in about 2 minutes."),
        ({"epochs": 10, "start": 90}, None),  # all that is left is over before it is known
        ({"epochs": 10, "start": 75}, "An epoch takes about 15 seconds; training ends in about 30 seconds."),
        ({"epochs": 3, "every": 1}, "An epoch takes about 60 seconds; training ends in about 3 minutes."),
        (
            {"epochs": 10, "patience": True},
            "An epoch takes about 15 seconds; training ends in about 2 minutes, earlier if validation stops improving.",
        ),
    ],
)
def test_it_is_said_after_the_first_evaluation(settings, words, monkeypatch, capsys):
    Run(monkeypatch, **{"step": 1.0, "evaluation": 5.0, **settings}).train(15 if settings.get("start") != 90 else 10)
    assert capsys.readouterr().out.splitlines() == ([words] if words else [])


def test_long_epochs_are_said_early_and_mended_once_when_evaluation_changes_the_answer(monkeypatch, capsys):
    run = Run(monkeypatch, epochs=5, step=60.0, evaluation=600.0)
    run.train(4)
    # Three steps of a minute each after the first: 46 of 50 are left.
    first = "An epoch takes about 10 minutes; training ends in about 46 minutes."
    assert capsys.readouterr().out.splitlines() == [first]
    run = Run(monkeypatch, epochs=5, step=60.0, evaluation=600.0)
    run.train(45)
    again = "An epoch takes about 20 minutes; training ends in about 80 minutes."
    assert capsys.readouterr().out.splitlines() == [first, again]
