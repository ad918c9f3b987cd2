"""Whether validation is too small to choose a checkpoint by: the thresholds, and what a person is told."""

import math
from collections.abc import Mapping

from rafdb_vit.evaluation.protocol import DataProtocol, SplitProtocol
from rafdb_vit.runtime.errors import escape

FEWEST_IN_ALL, FEWEST_OF_CLASS = 200, 10
"""Faces of validation; with fewer, chance has a large part in which checkpoint is kept."""
_LARGEST_FRACTION = 0.3
"""Of train; what training lacks then costs more than what validation gains."""
_MOST_NAMED = 5
_MOST_OF_SHARE = 0.75
"""Of the faces that a fraction should give; groups that stay together let a share miss it a little."""


def describe_small_validation(
    data: DataProtocol, validation: SplitProtocol, test: SplitProtocol | None = None
) -> list[str]:
    """Returns sentences on a small validation split: what is found, what it means, what to do; none if it is not small.

    Args:
        data: The data of the run.
        validation: How its validation split came about.
        test: How its test split came about; None if that is not known.
    """
    train, counts = data.used["train"], data.used["validation"]
    known = {name: count for name, count in counts.items() if count or train.get(name)}
    total, few = sum(known.values()), {name: count for name, count in known.items() if count < FEWEST_OF_CLASS}
    if total >= FEWEST_IN_ALL and not few:
        return []
    found = f"Validation has {_count(total)}{_name_few(few)}."
    return [found, _explain(total, few), _advise(data, validation, test, known)]


def _count(faces: int) -> str:
    return f"{faces:,} face{'' if faces == 1 else 's'}"


def _name_few(few: Mapping[str, int]) -> str:
    if not few:
        return ""
    fewest = sorted(few.items(), key=lambda item: item[1])
    named = ", ".join(f"{escape(name)} ({count})" for name, count in fewest[:_MOST_NAMED])
    unnamed = len(few) - _MOST_NAMED
    others = f" and {unnamed} other class{'' if unnamed == 1 else 'es'}" if unnamed > 0 else ""
    return f"; fewer than {FEWEST_OF_CLASS} in {named}{others}"


def _explain(total: int, few: Mapping[str, int]) -> str:
    """Returns what it means: the largest half-width of a 95% interval of so many faces, and what one face weighs."""
    points = min(98 / math.sqrt(max(total, 1)), 50)
    meaning = f"Its accuracy can be off by about {points:.0f} percentage points either way"
    fewest = min((item for item in few.items() if item[1]), key=lambda item: item[1], default=None)
    if fewest:
        change = f"{100 / fewest[1]:.0f} points"
        meaning += f", and one face more or less found changes the recall of {escape(fewest[0])} by {change}"
    return f"{meaning}: which epoch is kept is partly chance."


def _advise(data: DataProtocol, validation: SplitProtocol, test: SplitProtocol | None, known: Mapping[str, int]) -> str:
    divides_test = test is not None and test.carved_from is not None
    # Another --split_seed sets other test faces aside: the runs could not be summarized.
    seeds = "--seed" if divides_test or validation.fraction is None else "--seed and --split_seed"
    several = f"train several times with other values of {seeds}, and take the mean with `rafdb-vit summarize`"
    if _is_sampled(data, validation, test):
        return "Leave out --max_validation_samples, or raise it, for scores that count."
    if validation.fraction is None:
        return f"This is the data's own validation split: {several}."
    larger, is_enough = _find_fraction(known, validation.fraction)
    if larger <= validation.fraction:
        lacking = "" if is_enough else "More faces would help most. "
        return f"{lacking}{several[0].upper()}{several[1:]}."
    still = "" if is_enough else ", though still a small one (more faces would help most)"
    return f"--validation_fraction {larger:g} sets a larger share aside{still}; or {several}."


def _is_sampled(data: DataProtocol, validation: SplitProtocol, test: SplitProtocol | None) -> bool:
    """Tells whether validation is a sample of what was set aside, or of the data's own split."""
    used = sum(data.used["validation"].values())
    if validation.fraction is None:
        return used < sum(data.found.get("validation", {}).values())
    of_train = sum(data.found.get("train", {}).values()) * (1 - ((test and test.fraction) or 0))
    return data.subsampled and used < _MOST_OF_SHARE * validation.fraction * of_train


def _find_fraction(known: Mapping[str, int], fraction: float) -> tuple[float, bool]:
    """Returns the share, in steps of 0.05, with which validation is not small, and whether there is one."""
    needed = [(FEWEST_IN_ALL, sum(known.values())), *((FEWEST_OF_CLASS, count) for count in known.values())]
    shares = [fraction * fewest / max(count, 0.5) for fewest, count in needed]
    within = [share for share in shares if share <= _LARGEST_FRACTION]
    # What no share can bring does not drive it up, but where faces lack in all.
    largest = max(within, default=fraction) if shares[0] in within else _LARGEST_FRACTION
    return math.ceil(round(20 * largest, 6)) / 20, len(within) == len(shares)
