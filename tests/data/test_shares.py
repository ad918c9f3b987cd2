import time
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rafdb_vit.data.shares import choose_share
from rafdb_vit.runtime.errors import UserError
from tests.support.refusals import refused


def choose(labels, groups=None, *, fraction=0.2, seed=0, files=None):
    files = files or [f"face{i:05d}" for i in range(len(labels))]
    return choose_share(labels, files, fraction=fraction, seed=seed, flag="--test_fraction", groups=groups)


def taken_of(labels, chosen):
    return Counter(labels[i] for i in chosen)


def test_groups_of_one_are_drawn_as_without_groups():
    labels = [0] * 50 + [1] * 20 + [2] * 2 + [3]
    assert choose(labels, list(range(73))) == choose(labels)
    assert taken_of(labels, choose(labels)) == {0: 10, 1: 4, 2: 1}


def test_the_one_way_to_meet_the_fraction_is_found():
    # Persons of 6, 3 and 1 faces: only the last is a tenth of the class, and 3 + 1 four tenths.
    labels, groups = [0] * 10, [7] * 6 + [5] * 3 + [9]
    assert choose(labels, groups, fraction=0.1) == [9]
    assert choose(labels, groups, fraction=0.4) == [6, 7, 8, 9]
    assert choose(labels, groups, fraction=0.6) == [0, 1, 2, 3, 4, 5]


def test_the_classes_of_a_person_go_together():
    # Each of five persons has two faces of either class: a fifth is one person.
    labels, groups = [0, 0, 1, 1] * 5, [i // 4 for i in range(20)]
    chosen = choose(labels, groups)
    assert len(chosen) == 4 and len({groups[i] for i in chosen}) == 1
    assert len({tuple(choose(labels, groups, seed=seed)) for seed in range(30)}) == 5


def test_a_rare_class_of_two_persons_is_on_both_sides():
    # Half of it is far from a tenth, and yet better than none.
    labels, groups = [0] * 100 + [1] * 8, [*range(100), *[200] * 4, *[201] * 4]
    assert taken_of(labels, choose(labels, groups, fraction=0.1)) == {0: 10, 1: 4}
    assert taken_of(labels, choose(labels, groups, fraction=0.9)) == {0: 90, 1: 4}


def test_a_class_of_one_person_stays_in_train():
    labels, groups = [0] * 20 + [1] * 5, [*range(20), *[99] * 5]
    for fraction in (0.1, 0.5, 0.9):
        assert 1 not in taken_of(labels, choose(labels, groups, fraction=fraction))


def test_groups_and_single_faces_both_give_their_share():
    # 30 pairs and 40 single faces: were pairs taken first, test would hold nothing else.
    labels, groups = [0] * 100, [*(i // 2 for i in range(60)), *range(100, 140)]
    chosen = choose(labels, groups)
    assert len(chosen) == 20 and sum(i < 60 for i in chosen) == 12


@pytest.mark.parametrize(
    ("labels", "groups", "words"),
    [
        (
            [0, 0, 0],
            [1, 1, 1],
            "belong together (1 person or group of duplicates was found: is that what --group_pattern",
        ),
        ([0, 1], None, "one face"),
    ],
)
def test_nothing_to_set_aside(labels, groups, words):
    with refused("--test_fraction: ", words):
        choose(labels, groups)


@pytest.mark.parametrize("fraction", [0, 1, -0.2, float("nan"), float("inf")])
def test_a_share_that_is_none(fraction):
    with refused(f"--test_fraction {fraction}: expected a share"):
        choose([0] * 9, fraction=fraction)


FACES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), min_size=2, max_size=60)
FRACTIONS = st.floats(0.05, 0.95)


@settings(max_examples=60, deadline=None)
@given(FACES, FRACTIONS, st.integers(0, 5), st.randoms())
def test_no_group_is_on_both_sides_and_the_order_has_no_effect(faces, fraction, seed, random):
    labels, groups = map(list, zip(*faces, strict=True))
    files = [f"face{i}" for i in range(len(faces))]
    try:
        chosen = choose(labels, groups, fraction=fraction, seed=seed, files=files)
    except UserError as error:
        assert "none to set aside" in str(error)
        return
    inside = set(chosen)
    assert not {groups[i] for i in chosen} & {groups[i] for i in range(len(faces)) if i not in inside}
    order = random.sample(range(len(faces)), len(faces))
    numbers = {group: number for number, group in enumerate(random.sample(range(13), 13))}
    shuffled = [labels[i] for i in order], [numbers[groups[i]] for i in order]
    again = choose(*shuffled, fraction=fraction, seed=seed, files=[files[i] for i in order])
    assert {files[order[i]] for i in again} == {files[i] for i in chosen}


@settings(max_examples=50, deadline=None)
@given(FACES, FRACTIONS, st.integers(0, 5))
def test_of_groups_of_one_class_each_class_is_on_both_sides(faces, fraction, seed):
    labels, groups = [label for label, _ in faces], [100 * label + group for label, group in faces]
    of_class = defaultdict(set)
    for label, group in zip(labels, groups, strict=True):
        of_class[label].add(group)
    several = {label for label, own in of_class.items() if len(own) > 1}
    if several:
        chosen = choose(labels, groups, fraction=fraction, seed=seed)
        rest = [label for i, label in enumerate(labels) if i not in set(chosen)]
        assert {labels[i] for i in chosen} == several and set(rest) == set(labels)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10**6), FRACTIONS)
def test_many_persons_meet_the_fraction(seed, fraction):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 80, 1500).tolist()
    labels = rng.choice(7, 1500, p=[0.4, 0.2, 0.15, 0.1, 0.08, 0.05, 0.02]).tolist()
    counts, taken = Counter(labels), taken_of(labels, choose(labels, groups, fraction=fraction))
    assert all(abs(taken[label] - fraction * count) <= max(3, 0.06 * count) for label, count in counts.items())


def test_ten_thousand_persons_take_a_moment():
    rng = np.random.default_rng(0)
    groups, labels = rng.integers(0, 10_000, 40_000).tolist(), rng.integers(0, 8, 40_000).tolist()
    started = time.perf_counter()
    chosen = choose(labels, groups)
    assert time.perf_counter() - started < 10 and abs(len(chosen) - 8_000) < 80
