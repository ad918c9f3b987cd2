import pytest

from rafdb_vit.labels import BASIC


def test_codes_are_those_of_the_readme():
    readme = {1: "Surprise", 2: "Fear", 3: "Disgust", 4: "Happiness", 5: "Sadness", 6: "Anger", 7: "Neutral"}
    assert {code: BASIC.names[BASIC.id_of_code(code)] for code in BASIC.codes} == readme


def test_codes_and_ids_are_inverse():
    assert [BASIC.code_of_id(BASIC.id_of_code(code)) for code in BASIC.codes] == list(range(1, 8))


@pytest.mark.parametrize("code", [0, 8, -1])
def test_a_code_out_of_range_is_refused(code):
    with pytest.raises(ValueError, match="1 to 7"):
        BASIC.id_of_code(code)


@pytest.mark.parametrize("label", [-1, 7])
def test_an_id_out_of_range_is_refused(label):
    with pytest.raises(ValueError, match="0 to 6"):
        BASIC.code_of_id(label)


def test_published_totals():
    assert {split: sum(counts) for split, counts in BASIC.published_counts.items()} == {"train": 12271, "test": 3068}
