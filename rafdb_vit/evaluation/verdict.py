"""The verdict on a model: whether it is better than always answering the class that most faces have."""

from dataclasses import dataclass

import numpy as np

from rafdb_vit.evaluation.baselines import score_majority
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.errors import escape


@dataclass(frozen=True)
class Verdict:
    """Whether a model has learned anything, by the 95% interval of its accuracy.

    Attributes:
        is_better: The whole interval lies above the accuracy of always answering the largest class.
        headline: A few words, such as `no better than always answering Happiness`.
        reason: Sentences with the numbers that it follows from.
    """

    is_better: bool
    headline: str
    reason: str

    def render(self) -> str:
        """Returns the verdict as a paragraph."""
        return f"{self.headline[:1].upper()}{self.headline[1:]}. {self.reason}"


def judge(result: EvaluationResult) -> Verdict:
    """Returns the verdict on a model by its metrics on one split."""
    largest, baseline = score_majority(result)
    name, share = _quote(largest), _render_percent(baseline.accuracy)
    if sum(count > 0 for count in result.supports.values()) < 2:
        return Verdict(False, f"not to be judged: every face here is of the class {name}", _right(result))
    always = f"always answering {name}"
    answers = np.flatnonzero(np.asarray(result.confusion_matrix).sum(axis=0))
    if len(answers) == 1:
        only = _quote(list(result.per_class)[int(answers[0])])
        headline = f"of no use: it answers {only} to every face"
        return Verdict(False, headline, f"{_right(result)} It does not look at the face.")
    low, high = find_ends(result)
    reason = f"{_right(result, (low, high))} {always[:1].upper()}{always[1:]} would be right on {share}."
    if low > baseline.accuracy:
        return Verdict(True, f"better than {always}", reason)
    headline = f"worse than {always}" if high < baseline.accuracy else f"no better than {always}"
    return Verdict(False, headline, f"{reason}{_compare_recall(result)}")


def _quote(name: str) -> str:
    """Returns the name of a class as it stands in a sentence: in quotation marks if it has several words."""
    return f'"{escape(name)}"' if " " in name else escape(name)


def find_ends(result: EvaluationResult) -> tuple[float, float]:
    """Returns the 95% interval of the accuracy; the exact binomial one where the bootstrap cannot tell it."""
    if ends := result.intervals["accuracy"]:
        return ends[0], ends[1]
    from scipy.stats import binomtest

    exact = binomtest(int(np.trace(result.confusion_matrix)), result.n).proportion_ci()
    return float(exact.low), float(exact.high)


def _right(result: EvaluationResult, ends: tuple[float, float] | None = None) -> str:
    interval = f" (95% interval {' to '.join(map(_render_percent, ends))})" if ends else ""
    right = int(np.trace(result.confusion_matrix))
    return f"It is right on {right:,} of {result.n:,} faces, {_render_percent(result.accuracy)}{interval}."


def _compare_recall(result: EvaluationResult) -> str:
    """Returns what recall says where accuracy says that nothing was learned; empty where it says the same.

    Answers that have nothing to do with the face find one face in C of each class on average, whatever they are.
    """
    ends, classes = result.intervals["macro_recall"], len(result.per_class)
    if not ends or ends[0] * classes <= 1:
        return ""
    present = sum(count > 0 for count in result.supports.values())
    found = _render_percent(result.macro_recall * classes / present)
    guessed = _render_percent(1 / present)
    return (
        f" It does tell some classes apart, at the price of {escape(score_majority(result)[0])}: on average it finds "
        f"{found} of the faces of a class, and guessing would find {guessed}."
    )


def _render_percent(share: float) -> str:
    return f"{100 * share:.1f}%"
