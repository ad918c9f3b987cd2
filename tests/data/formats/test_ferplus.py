from pathlib import Path

import numpy as np
import pytest

from rafdb_vit.data.check.check import check_data
from rafdb_vit.data.dataset import load_data, load_rafdb
from rafdb_vit.data.formats.ferplus import NO_FACE, NO_MAJORITY, UNUSED, count_votes
from rafdb_vit.data.found import Layout
from rafdb_vit.data.labels import BASIC, EIGHT
from tests.support.other_data import CANDIDATES, write_fer2013, write_votes
from tests.support.refusals import refused

NAMES = ("Anger", "Contempt", "Disgust", "Fear", "Happiness", "Neutral", "Sadness", "Surprise")
UNANIMOUS = [{name.lower(): 10} for name in ("Anger", "Disgust", "Fear", "Happiness", "Sadness", "Surprise", "Neutral")]


def count(**votes):
    """Returns what `count_votes` makes of votes by name."""
    return count_votes([votes.get(name, 0) for name in (*map(str.lower, NAMES), "unknown", "NF")])


def share(**shares):
    return [shares.get(name.lower(), 0.0) for name in NAMES]


@pytest.mark.parametrize(
    ("votes", "label", "distribution"),
    [
        ({"anger": 10}, "Anger", share(anger=1)),
        ({"anger": 6, "fear": 4}, "Anger", share(anger=0.6, fear=0.4)),
        # Single votes do not count: 5 of 8, and 2 of 3 are a majority.
        ({"anger": 5, "fear": 3, "sadness": 1, "NF": 1}, "Anger", share(anger=5 / 8, fear=3 / 8)),
        ({"contempt": 2, **dict.fromkeys(("anger", "fear", "happiness", "NF"), 1)}, "Contempt", share(contempt=1)),
        # Votes for no face weigh in the majority, but are no class.
        ({"anger": 6, "unknown": 2, "NF": 2}, "Anger", share(anger=1)),
    ],
)
def test_the_class_is_the_majority_of_votes_that_are_not_single(votes, label, distribution):
    assert count(**votes) == (NAMES.index(label), pytest.approx(distribution), "")


@pytest.mark.parametrize(
    ("votes", "reason"),
    [
        ({"anger": 5, "fear": 5}, NO_MAJORITY),
        ({"anger": 4, "fear": 3, "sadness": 3}, NO_MAJORITY),
        ({"anger": 4, "unknown": 2, "NF": 2}, NO_MAJORITY),
        (dict.fromkeys(map(str.lower, NAMES), 1), NO_MAJORITY),
        ({}, NO_MAJORITY),
        ({"unknown": 6, "anger": 4}, NO_FACE),
        ({"NF": 10}, NO_FACE),
    ],
)
def test_other_faces_are_left_out(votes, reason):
    assert count(**votes) == (None, [], reason)


def test_the_rule_is_that_of_its_authors():
    """The rule as the paper words it, in other words than ours, on ten votes drawn at random."""
    rng, seen = np.random.default_rng(0), set()
    for _ in range(3_000):
        votes = rng.multinomial(10, rng.dirichlet(np.full(10, 0.3)))
        kept = {name: n for name, n in zip((*NAMES, "unknown", "NF"), votes.tolist(), strict=True) if n >= 2}
        winners = [name for name, n in kept.items() if n > sum(kept.values()) - n]
        label, distribution, reason = count_votes(votes.tolist())
        if winners and winners[0] in NAMES:
            assert NAMES[label] == winners[0] and sum(distribution) == pytest.approx(1)
            assert int(np.argmax(distribution)) == label
        else:
            assert label is None and reason == (NO_FACE if winners else NO_MAJORITY)
        seen.add(winners[0] if winners else None)
    assert len(seen) == 11


@pytest.fixture
def data(tmp_path):
    """A folder with both files: classes as FER2013 has them, the last face of train contempt; some are left out."""
    faces = write_fer2013(tmp_path / "data" / "fer2013.csv", usages={"Training": 4, "PublicTest": 2, "PrivateTest": 2})
    votes = [dict(UNANIMOUS[code]) for code, *_ in faces]
    votes[0] = {"anger": 4, "happiness": 6}
    votes[1] = {"anger": 5, "happiness": 5}
    votes[2] = {"NF": 10}
    votes[3] = None
    votes[27] = {"contempt": 8, "neutral": 2}
    votes[28] = None
    write_votes(tmp_path / "data" / "fer2013new.csv", votes, [usage for *_, usage in faces])
    return tmp_path / "data"


def edit(path, number, change):
    lines = path.read_text().split("\n")
    lines[number - 1] = change(lines[number - 1])
    path.write_text("\n".join(lines))


def test_votes_are_distributions_and_the_majority_the_label(data):
    found = load_data(data, scored=None)
    assert (found.layout, found.class_names) == (Layout.FERPLUS, list(NAMES))
    assert NAMES == EIGHT.names
    train = found.splits["train"]
    assert {split: len(of) for split, of in found.splits.items()} == {"train": 25, "validation": 13, "test": 14}
    assert train["file"][:2] == ["fer0000000", "fer0000004"] and train["file"][-1] == "fer0000027"
    assert NAMES[train[0]["label"]] == "Happiness" and NAMES[train[24]["label"]] == "Contempt"
    assert train[0]["distribution"] == pytest.approx(share(anger=0.4, happiness=0.6))
    assert train[24]["distribution"] == pytest.approx(share(contempt=0.8, neutral=0.2))
    pictures = {face["file"]: face["image"].tobytes() for face in load_rafdb(data / "fer2013.csv")["train"]}
    assert all(pictures[f"row000{face['file'][-2:]}"] == face["image"].tobytes() for face in train)
    assert found.targets == "distribution vectors; scored on single labels"


def test_what_is_left_out_is_counted_and_said(data):
    found = load_data(data, scored=None)
    assert found.name == "folder in FER+ layout"
    assert {reason: dict(of) for reason, of in found.unusable.items()} == {
        NO_MAJORITY: {"train": 1, "validation": 0, "test": 0},
        NO_FACE: {"train": 1, "validation": 0, "test": 0},
        UNUSED: {"train": 1, "validation": 1, "test": 0},
    }
    words = "4 faces are left out: 1 without a majority of votes, 1 voted unknown or no face, 2 that FER+ does not use"
    assert words in found.describe() and "give --data_dir the file fer2013.csv itself" in found.describe()
    result = check_data(data, quiet=True, processes=1)
    assert result.render().splitlines()[1] == words
    assert "published: train 28,709, validation 3,589, test 3,589 (those left out too)" in result.render()
    (counts, *_) = result.kinds["counts are not the published ones"]
    assert counts.message == "train: 28 faces, published 28,709"
    assert result.describe()["unusable"] == words


def test_the_file_itself_is_fer2013(data):
    found = load_data(data / "fer2013.csv", scored=None)
    assert (found.layout, found.class_names, found.unusable) == (Layout.FER2013, list(BASIC.names), {})
    assert "distribution" not in found.splits["train"].column_names


def test_no_other_vectors(data, tmp_path):
    (tmp_path / "vectors.txt").write_text("fer0000000 1 0 0 0 0 0 0 0\n")
    with refused("--distribution_file", "FER+", "leave the flag out"):
        load_rafdb(data, distribution_file=tmp_path / "vectors.txt")


@pytest.mark.parametrize("place", ["file", "folder"])
def test_votes_without_faces(data, place):
    (data / "fer2013.csv").unlink()
    with refused(data / "fer2013new.csv", "votes of FER+ and no faces", "fer2013.csv"):
        load_rafdb(data / "fer2013new.csv" if place == "file" else data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda row: row.rsplit(",", 1)[0], "expected 12 columns, found 11"),
        (lambda row: f"{row},0", "expected 12 columns"),
        (lambda row: f"{row.rsplit(',', 1)[0]},-1", "a number of votes"),
        (lambda row: f"{row.rsplit(',', 1)[0]},x", "a number of votes"),
        (lambda row: f"{row.rsplit(',', 1)[0]},{10**9}", "a number of votes"),
    ],
)
def test_a_malformed_row_is_named(data, change, words):
    edit(data / "fer2013new.csv", 7, change)
    with refused(f"{data / 'fer2013new.csv'}, row 7: ", words):
        load_rafdb(data)


def test_a_check_goes_on_after_a_malformed_row(data):
    edit(data / "fer2013new.csv", 7, lambda row: f"{row},0")
    result = check_data(data, quiet=True, processes=1)
    assert result.numbers["bad row"] == 1 and sum(result.counts["train"].values()) == 24


def test_rows_that_do_not_belong_together(data):
    votes = data / "fer2013new.csv"
    whole = votes.read_text()
    edit(votes, 7, lambda row: row.replace("Training", "PrivateTest"))
    with refused(f"{data / 'fer2013.csv'}, row 7: ", "'Training' here", f"'PrivateTest' in row 7 of {votes}"):
        load_rafdb(data)
    for text, words in ((whole.rsplit("\n", 2)[0], "more rows"), (f"{whole}PrivateTest,{',0' * 10}\n", "fewer rows")):
        votes.write_text(text)
        with refused(data / "fer2013.csv", words, votes):
            load_rafdb(data)


def test_faces_have_the_names_of_ferplus_whatever_their_rows(data):
    votes = data / "fer2013new.csv"
    named = [face["file"] for face in load_rafdb(data)["test"]]
    votes.write_text(votes.read_text().replace(",fer00", ",fer01"))
    assert [face["file"] for face in load_rafdb(data)["test"]] == [name.replace("fer00", "fer01") for name in named]
    lines = votes.read_text().splitlines()
    lines[2], lines[5] = lines[5], lines[2]
    votes.write_text("\n".join(lines))
    with refused(votes, "comes after 'fer01", "expected FER+'s order: copy it anew"):
        load_rafdb(data)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no column 'usage'"),
        ("Usage,Image name,neutral\n", "no column 'anger'"),
        (f"Usage,Image name,{','.join(CANDIDATES)}\n", "more rows than"),
        ("\0", "NUL byte"),
    ],
)
def test_a_file_that_is_broken_is_one_line(data, content, words):
    (data / "fer2013new.csv").write_text(content)
    with refused(data / "fer2013new.csv", words):
        load_rafdb(data)


def test_votes_in_a_folder_beside_that_of_the_faces_are_read(data):
    expected = load_rafdb(data)["test"]["file"][:]
    for name, folder in (("fer2013.csv", "faces"), ("fer2013new.csv", "FERPlus")):
        (data / folder).mkdir()
        (data / name).rename(data / folder / name)
    assert load_rafdb(data)["test"]["file"][:] == expected


def test_a_row_that_holds_something_else_than_votes_is_named(data):
    edit(data / "fer2013new.csv", 7, lambda row: row.rsplit(",", 1)[0] + ",-1")
    with refused("fer2013new.csv, row 7: expected a number of votes for each class, found '-1'; copy the file anew"):
        load_rafdb(data)
    edit(data / "fer2013new.csv", 7, lambda row: row.rsplit(",", 1)[0])
    with refused("fer2013new.csv, row 7: expected 12 columns, found 11"):
        load_rafdb(data)


def test_votes_that_lie_elsewhere_are_not_read(data, tmp_path):
    votes: Path = data / "fer2013new.csv"
    votes.rename(tmp_path / "votes.csv")
    votes.symlink_to(tmp_path / "votes.csv")
    with refused(votes, "leads out of"):
        load_rafdb(data)
