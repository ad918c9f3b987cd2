import numpy as np
import pytest

from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.evaluation.verdict import find_ends, judge

NAMES = ("Happiness", "Fear", "Anger")


def judge_counts(*rows, names=NAMES):
    return judge(EvaluationResult.from_confusion(np.array(rows), names, loss=1.0))


def test_better_by_the_whole_interval():
    verdict = judge_counts([45, 5, 0], [5, 25, 0], [2, 3, 15])
    assert verdict.is_better and verdict.headline == "better than always answering Happiness"
    assert verdict.reason.startswith("It is right on 85 of 100 faces, 85.0% (95% interval 7")
    assert verdict.reason.endswith("Always answering Happiness would be right on 50.0%.")
    assert verdict.render().startswith("Better than always answering Happiness. It is right on 85 of")


def test_a_little_more_of_few_faces_is_no_better():
    verdict = judge_counts([8, 1, 1], [3, 2, 0], [3, 0, 2])
    assert 12 / 20 > 10 / 20 and not verdict.is_better
    assert verdict.headline == "no better than always answering Happiness"
    many = judge_counts([800, 100, 100], [300, 200, 0], [300, 0, 200])
    assert many.is_better


def test_worse():
    verdict = judge_counts([200, 400, 400], [30, 40, 30], [30, 30, 40])
    assert verdict.headline == "worse than always answering Happiness" and "tell some" not in verdict.reason


def test_a_model_that_knows_the_rare_classes_is_not_called_blind():
    verdict = judge_counts([600, 200, 200], [20, 80, 0], [20, 0, 80])
    assert verdict.headline == "worse than always answering Happiness"
    assert "at the price of Happiness: on average it finds 73.3% of the faces of a class" in verdict.reason
    assert verdict.reason.endswith("guessing would find 33.3%.")


def test_guesses_are_not_taken_for_knowledge():
    assert "tell some" not in judge_counts([400, 300, 300], [40, 30, 30], [40, 30, 30]).reason


@pytest.mark.parametrize("answer", [0, 1])
def test_one_answer_for_every_face(answer):
    rows = np.zeros((3, 3), int)
    rows[:, answer] = (10, 5, 5)
    verdict = judge_counts(*rows)
    assert verdict.headline == f"of no use: it answers {NAMES[answer]} to every face" and not verdict.is_better


def test_faces_of_one_class_say_nothing():
    verdict = judge_counts([9, 1, 0], [0, 0, 0], [0, 0, 0])
    assert verdict.headline == "not to be judged: every face here is of the class Happiness"


def test_all_right_is_as_sure_as_the_number_of_faces():
    assert judge_counts([2, 0, 0], [0, 1, 0], [0, 0, 0]).headline.startswith("no better")
    assert judge_counts([30, 0, 0], [0, 30, 0], [0, 0, 30]).is_better
    low, high = find_ends(EvaluationResult.from_confusion(np.diag([10, 10, 10]), NAMES, loss=1.0))
    assert low == pytest.approx(0.025 ** (1 / 30)) and high == 1  # Clopper and Pearson


def test_names_are_of_one_line():
    assert "a\\nb" in judge_counts([8, 1], [1, 5], names=("a\nb", "c")).render()
