"""The augmentation of training in words, from what torchvision calls it."""

import re
from collections.abc import Callable, Mapping, Sequence

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def describe_augmentation(steps: Sequence[str]) -> str:
    """Returns a sentence on what is done to a training face; empty where nothing is.

    Args:
        steps: Transforms as torchvision writes them; one that is not known here stands as it is.
    """
    words = [_describe_step(step) for step in steps]
    if not words:
        return ""
    listed = f"{', '.join(words[:-1])}, and {words[-1]}" if len(words) > 1 else words[0]
    return f"Each time training sees a face it is changed a little, at random: {listed}. Validation and test are not."


def _describe_step(step: str) -> str:
    describe = _WORDS.get(step.split("(", 1)[0])
    try:
        return describe(step) if describe else step
    except (LookupError, ValueError):  # another version of torchvision may write it in another way
        return step


def _read(step: str, name: str) -> list[float]:
    """Returns the numbers of an argument."""
    found = re.search(rf"\b{name}=(\([^)]*\)|\[[^\]]*\]|[^,)]*)", step)
    return [float(number) for number in _NUMBER.findall(found[1])] if found else []


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"


def _describe_flip(step: str) -> str:
    return f"mirrored ({_percent(_read(step, 'p')[0])} of the time)"


def _describe_rotation(step: str) -> str:
    return f"turned by up to {_read(step, 'degrees')[1]:g} degrees"


def _describe_crop(step: str) -> str:
    return f"cropped to {_percent(_read(step, 'scale')[0])} of its area or more"


def _describe_jitter(step: str) -> str:
    ranges = {name: _read(step, name) for name in ("brightness", "contrast", "saturation", "hue")}
    by = {name: _percent(ends[1] - (name != "hue")) for name, ends in ranges.items() if ends}  # hue is 0 if unchanged
    if len(by) > 1 and len(set(by.values())) == 1:
        *others, last = by
        return f"its {', '.join(others)} and {last} changed by up to {by[last]}"
    return "its " + ", its ".join(f"{name} changed by up to {share}" for name, share in by.items())


def _describe_erasing(step: str) -> str:
    (low, high), share = _read(step, "scale"), _percent(_read(step, "p")[0])
    return f"a rectangle of {_percent(low)} to {_percent(high)} of its area blanked ({share} of the time)"


_WORDS: Mapping[str, Callable[[str], str]] = {
    "RandomHorizontalFlip": _describe_flip,
    "RandomRotation": _describe_rotation,
    "RandomResizedCrop": _describe_crop,
    "ColorJitter": _describe_jitter,
    "RandomErasing": _describe_erasing,
}
