"""What the page says in words: numbers, sentences that depend on the metrics, tables of how they came about."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from rafdb_vit.evaluation.overlap import Overlap
from rafdb_vit.evaluation.protocol import DataProtocol, EvaluationProtocol, Protocol, SplitProtocol
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.runtime.errors import escape

SPLIT_WARNINGS = {
    ("train", True): "The model learned from these very faces: the metrics say nothing about new ones.",
    ("train", False): "The model may have learned from these very faces: the metrics may say nothing about new ones.",
    ("validation", True): "The checkpoint was chosen on these faces: the metrics are somewhat too high.",
    ("validation", False): "The model may have been chosen on these faces: the metrics may be somewhat too high.",
}
"""What is wrong with metrics of a split that a model may know, by split and whether the model's run is known."""


_FEWEST_ERRORS = 10
"""Of all classes; fewer are seen in the confusion matrix."""


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


def join_names(names: Iterable[str], *, most: int = 12) -> str:
    """Returns names as a list in a sentence, of which only the first are named if there are many."""
    all_names = list(names)
    others = f" and {len(all_names) - most} others" if len(all_names) > most else ""
    return ", ".join(all_names[:most]) + others


def keep_flags(text: str) -> Markup:
    """Returns text for a page on which no line ends within the name of a flag."""
    return Markup(re.sub(r"--[a-z_]+", r'<span class="flag">\g<0></span>', str(Markup.escape(escape(text)))))


def render_name(name: str) -> str:
    """Renders a name of a protocol in words; names of files stay as they are."""
    return name if "." in name else name.replace("carved_from", "set_aside_from").replace("_", " ")


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


def describe_weakest(result: EvaluationResult, *, few: int) -> str:
    """Returns a sentence on the classes that the model tells worst; empty if it tells all alike.

    Args:
        result: The metrics.
        few: Classes of fewer faces are uncertain.
    """
    rows = {name: result.per_class[name] for name in result.weakest}
    if not rows:
        return ""
    faces = join_names(
        f"{escape(name)} ({render_count(int(row['support']), 'face')}"
        f"{', too few to be sure' if row['support'] < few else ''})"
        for name, row in rows.items()
    )
    if not any(row["f1"] for row in rows.values()):
        return f"Never right on {faces}."
    return "Weakest on {}: F1 {}.".format(faces, join_names(f"{row['f1']:.2f}" for row in rows.values()))


def describe_absent(result: EvaluationResult) -> str:
    """Returns a sentence on classes without faces, which count 0 in macro averages; empty if there are none."""
    absent = [name for name, row in result.per_class.items() if not row["support"]]
    if not absent:
        return ""
    f1 = [row["f1"] for row in result.per_class.values() if row["support"]]
    return (
        f"{len(absent)} of {len(result.per_class)} classes have no faces here and count as 0 in macro-F1: "
        f"{join_names(map(escape, absent))}. "
        f"Over the others it is {sum(f1) / len(f1):.4f}."
    )


def describe_overlap(overlap: Overlap) -> str:
    """Returns sentences on which of the faces the training of the model has seen, and on the metrics of the others."""
    faces, others = render_count(overlap.n, "face"), overlap.others
    if not overlap.seen:
        was = "was" if overlap.n == 1 else "were"
        missed = "copies that were resized, cut or saved again as JPEG are not found"
        return f"None of these {faces} {was} trained on, pixel for pixel; {missed}."
    if overlap.trained_on:
        sentence = f"{_render_part(overlap.trained_on, overlap.n)} trained on"
        if count := overlap.used_to_choose:
            other = render_count(count, "other")
            sentence += f", and {other} {'was' if count == 1 else 'were'} used to choose the checkpoint"
        all_seen = ": none is left to tell how good the model is on new ones"
    else:
        sentence = f"{_render_part(overlap.used_to_choose, overlap.n)} used to choose the checkpoint"
        all_seen = ", so the metrics are somewhat too high"
    if others is None:
        return f"{sentence}{all_seen}."
    metrics = (
        f"{title} {getattr(others, name):.4f} (95% interval {render_interval(others.intervals[name], 4, ' to ')})"
        for name, title in (("accuracy", "accuracy"), ("macro_f1", "macro-F1"))
    )
    on_others = f"Results on the other {others.n:,}: {', '.join(metrics)}."
    return " ".join(filter(None, (f"{sentence}.", on_others, describe_absent(others))))


def _render_part(count: int, total: int) -> str:
    """Renders how many of these faces it was, with the verb that follows."""
    faces, was = render_count(total, "face"), "was" if count == 1 else "were"
    if count == total:
        return f"All {faces} {was}" if total > 1 else f"The only face {was}"
    return f"{count:,} of these {faces} {was}"


def describe_calibration(calibration: Mapping[str, Any]) -> tuple[str, str]:
    """Returns whether a model is surer than it is right: a word or two, and a sentence with the numbers.

    Args:
        calibration: From `measure_calibration`.
    """
    bins = calibration["bins"]
    n = sum(row["n"] for row in bins)
    confidence, accuracy = (sum(row["n"] * row[name] for row in bins) / n for name in ("confidence", "accuracy"))
    lean = 100 * (confidence - accuracy)
    rates = (
        f"On average it gives its answer a probability of {confidence:.1%}, and {accuracy:.1%} of its answers are right"
    )
    if abs(lean) < 0.5:
        return "On the whole as sure as it is right.", f"{rates}."
    word = "Overconfident" if lean > 0 else "Underconfident"
    return f"{word} by {abs(lean):.1f} percentage points.", f"{rates}."


def describe_sample(data: DataProtocol) -> tuple[str, str]:
    """Returns sentences on what metrics of a sample of the data are good for, the most important one first."""
    used = sum(sum(counts.values()) for counts in data.used.values())
    whole = data.found if len(data.used) > 1 else {split: data.found.get(split, {}) for split in data.used}
    found = sum(sum(counts.values()) for counts in whole.values())
    sample = f"{used:,} of {found:,} faces" if found > used else "a sample of the data"
    return (
        f"A trial on {sample}: do not report these numbers.",
        "They show that everything works, not how good the model is or would be with all faces: for that, leave out "
        "--max_train_samples, --max_validation_samples and --max_test_samples.",
    )


def describe_leaks(result: EvaluationResult, *, most: int = 6) -> list[str]:
    """Returns a sentence on each class of which half the faces or more are taken for one other class.

    Args:
        result: The metrics.
        most: How many classes are named, those first that lose the largest share.
    """
    names, leaks = list(result.per_class), []
    for row, counts in enumerate(result.confusion_matrix):
        total, others = sum(counts), [0 if column == row else count for column, count in enumerate(counts)]
        if total and 2 * max(others) >= total:
            leaks.append((max(others) / total, names[row], names[others.index(max(others))], max(others), total))
    leaks.sort(key=lambda leak: -leak[0])
    return [
        f"{render_share(count, total)} of {escape(label)} goes to {escape(other)} ({count:,} of "
        f"{render_count(total, 'face')})."
        for _, label, other, count, total in leaks[:most]
    ]


def describe_false_calls(result: EvaluationResult, *, fewest: int = 10, most: int = 3) -> list[str]:
    """Returns a sentence on each class of which at least half of the model's answers are wrong.

    Args:
        result: The metrics.
        fewest: Answers below which a class is not named.
        most: How many classes are named, those first of whose answers the largest share is wrong.
    """
    names, matrix, found = list(result.per_class), result.confusion_matrix, []
    for column, name in enumerate(names):
        wrong = [0 if row == column else counts[column] for row, counts in enumerate(matrix)]
        called = sum(wrong) + matrix[column][column]
        if called >= fewest and 2 * sum(wrong) >= called:
            found.append((sum(wrong) / called, name, called, sum(wrong), names[wrong.index(max(wrong))], max(wrong)))
    found.sort(key=lambda item: -item[0])
    return [
        f"Of {render_count(called, 'face')} that it calls {escape(name)}, {wrong:,} are not labelled so, "
        f"most often {escape(other)} ({count:,})."
        for _, name, called, wrong, other, count in found[:most]
    ]


def describe_errors(result: EvaluationResult) -> list[str]:
    """Returns a sentence on the classes that most of the errors are made on; none where there are few errors."""
    errors = {name: sum(counts) - counts[row] for row, (name, counts) in enumerate(_list_rows(result))}
    total = sum(errors.values())
    if total < _FEWEST_ERRORS:
        return []
    first, *others = sorted(errors, key=lambda name: -errors[name])
    words = f"{errors[first]:,} on faces labelled {escape(first)}"
    if others and errors[others[0]]:
        words += f", {errors[others[0]]:,} on {escape(others[0])}"
    return [f"{total:,} errors in all: {words}."]


def _list_rows(result: EvaluationResult) -> list[tuple[str, Sequence[int]]]:
    return list(zip(result.per_class, result.confusion_matrix, strict=True))


def describe_test_share(split: SplitProtocol | None) -> str:
    """Returns sentences on a test split that is our own share of the data; empty where the data has one of its own."""
    if split is None or split.carved_from is None:
        return ""
    kept = split.kept_together or ""
    share = f"{100 * (split.fraction or 0):g}% of each class, chosen with seed {split.seed}"
    duplicates = " Duplicates of a picture are on its side." if "duplicates" in kept else ""
    if "persons" in kept:
        words = f"{share} and by person, none of whom is also in training"
    else:
        words = f"{share}, not by person: one may be in training too"
    return f"Test is our own share of the data: {words}.{duplicates}"


def describe_left_out(data: DataProtocol) -> str:
    """Returns a sentence on the faces that were left out; empty where none were."""
    if not data.left_out:
        return ""
    counted = (f"{escape(name)} ({render_count(count, 'face')})" for name, count in data.left_out.items())
    return f"Left out on demand: {join_names(counted)}."


def tabulate_evaluation(protocol: EvaluationProtocol) -> dict[str, dict[str, Any]]:
    """Returns the tables of an evaluation: title, then name and value."""
    data = protocol.data
    about: dict[str, Any] = {"data": data.name, "images": data.images, "sources": data.sources}
    about |= _tabulate_test(protocol.test_split) | _tabulate_left_out(data) | {"scoring": protocol.scoring}
    return {"This evaluation": about, "Model": dict(protocol.model), "Environment": dict(protocol.versions)}


def _tabulate_left_out(data: DataProtocol) -> dict[str, Any]:
    return {"left out": data.left_out} if data.left_out else {}


def _tabulate_test(split: SplitProtocol | None) -> dict[str, Any]:
    is_own = split is None or split.carved_from is None
    return {} if split is None or is_own else {"test split": _without_hashes(split.describe())}


def _without_hashes(described: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in described.items() if not name.endswith("sha256")}


def tabulate_protocol(protocol: Protocol) -> dict[str, dict[str, Any]]:
    """Returns the tables of a run's protocol: title, then name and value."""
    data, described, training = protocol.data, protocol.describe(), protocol.training
    # No limit of -1 steps, and no schedule without settings.
    unset = {name for name, value in training.items() if value in (None, {}) or (name == "max_steps" and value < 0)}
    return {
        "Protocol": {
            **{name: described[name] for name in ("test", "scoring", "intervals")},
            "data": data.name,
            "images": data.images,
            "targets": data.targets,
            "sources": data.sources,
            **_tabulate_left_out(data),
            **_tabulate_test(protocol.test_split),
            "validation": _without_hashes(described["validation"]),
            "checkpoint": described["checkpoint"],
        },
        "Model": {**described["model"], "SHA-256 of files": described["files_sha256"]},
        "Training settings": {name: value for name, value in training.items() if name not in unset},
        "Environment": described["versions"],
    }
