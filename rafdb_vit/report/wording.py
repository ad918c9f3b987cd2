"""Numbers and values as the page writes them, and its sentences that depend on the figures."""

from collections.abc import Mapping, Sequence
from typing import Any

from rafdb_vit.results import EvaluationResult

_SPLIT_WARNINGS = {
    ("train", True): "The model learned from these very faces: the figures say nothing about new ones.",
    ("train", False): "The model may have learned from these very faces: the figures may say nothing about new ones.",
    ("validation", True): "The checkpoint was chosen on these faces: the figures are somewhat too high.",
    ("validation", False): "The model may have been chosen on these faces: the figures may be somewhat too high.",
}


def render_interval(ends: Sequence[float] | None, digits: int = 2, between: str = "\u2013") -> str:
    """Renders an interval, such as 0.79-0.86; `unknown` if there is none."""
    if ends is None:
        return "unknown"
    return between.join(f"{end:.{digits}f}" for end in ends).replace("-", "\u2212")


def render_count(count: int, noun: str = "") -> str:
    """Renders a number of things, such as 1 face or 3,068 faces."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}" if noun else f"{count:,}"


def render_share(count: int, total: int) -> str:
    """Renders a share in percent; 0% and 100% are nothing and all."""
    if 0 < count < total:
        share = 100 * count / total
        return "<1%" if share < 0.5 else ">99%" if share >= 99.5 else f"{share:.0f}%"
    return "100%" if count and count == total else "0%"


def render_name(name: str) -> str:
    """Renders a name of a protocol in words; names of files stay as they are."""
    return name if "." in name else name.replace("_", " ")


def render_plain(value: Any) -> str:
    """Renders a value of a protocol as people read it."""
    if isinstance(value, Mapping) and value:
        return ", ".join(f"{render_name(str(name))}: {render_plain(item)}" for name, item in value.items())
    if isinstance(value, list | tuple) and value:
        return "; ".join(map(render_plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) > 99_999 else str(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "none" if value is None or value in ({}, [], ()) else str(value)


def warn_of_split(split: str, *, trained_here: bool) -> str | None:
    """Returns what is wrong with figures of a split that a model may know; None for test.

    Args:
        split: The split that was scored.
        trained_here: The run that made the model is known.
    """
    return _SPLIT_WARNINGS.get((split, trained_here))


def describe_weakest(result: EvaluationResult, *, few: int) -> str:
    """Returns a sentence on the classes with the lowest F1; empty if all have the same.

    Args:
        result: The figures.
        few: Classes of fewer faces are uncertain.
    """
    known = {name: row for name, row in result.per_class.items() if row["support"]}
    lowest = min(row["f1"] for row in known.values())
    weakest = {name: int(row["support"]) for name, row in known.items() if row["f1"] == lowest}
    if len(weakest) == len(known):
        return ""
    faces = ", ".join(
        f"{name} ({render_count(count, 'face')}{', too few to be sure' if count < few else ''})"
        for name, count in weakest.items()
    )
    return f"Never right on {faces}." if lowest == 0 else f"Weakest on {faces}: F1 {lowest:.2f}."


def describe_absent(result: EvaluationResult) -> str:
    """Returns a sentence on classes without faces, which count 0 in macro averages; empty if there are none."""
    absent = [name for name, row in result.per_class.items() if not row["support"]]
    if not absent:
        return ""
    f1 = [row["f1"] for row in result.per_class.values() if row["support"]]
    shown = ", ".join(absent[:12]) + (" and others" if len(absent) > 12 else "")
    return (
        f"{len(absent)} of {len(result.per_class)} classes have no faces here and count as 0 in macro-F1: {shown}. "
        f"Over the others it is {sum(f1) / len(f1):.4f}."
    )


def describe_calibration(calibration: Mapping[str, Any]) -> str:
    """Returns a sentence on whether a model is surer than it is right, or less sure.

    Args:
        calibration: From `measure_calibration`.
    """
    bins = calibration["bins"]
    lean = sum(row["n"] * (row["confidence"] - row["accuracy"]) for row in bins) / sum(row["n"] for row in bins)
    if abs(lean) < 0.005:
        return "On the whole it is as sure as it is right."
    return f"On the whole it is {'surer' if lean > 0 else 'less sure'} than it is right, by {abs(lean):.3f}."
