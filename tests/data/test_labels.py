import time
from contextlib import suppress

import pytest

from rafdb_vit.data.labels import BASIC, COMPOUND, LABEL_SETS, OWN, LabelSet, match_classes, resolve_classes
from rafdb_vit.runtime.errors import UserError

SEVEN = ["surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"]
CODES = [str(code) for code in range(1, 8)]


def refusal(*arguments, **settings):
    """Returns the message with which classes are refused, after checking that it is one line."""
    with pytest.raises(UserError) as caught:
        resolve_classes(*arguments, where="DATA", **settings)
    message = str(caught.value)
    assert message.isprintable() and message.startswith("DATA: "), ascii(message)
    return message


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


def test_compound_classes():
    assert len(set(COMPOUND.names)) == 11
    assert COMPOUND.names[0] == "Happily Surprised" and COMPOUND.names[10] == "Disgustedly Surprised"
    assert (COMPOUND.codes, COMPOUND.id_of_code(11), COMPOUND.code_of_id(0)) == (range(1, 12), 10, 1)
    with pytest.raises(ValueError, match="1 to 11"):
        COMPOUND.id_of_code(12)


def test_label_sets_go_by_their_subsets():
    assert LABEL_SETS == {"basic": BASIC, "compound": COMPOUND}


@pytest.mark.parametrize(
    ("label", "written"),
    [
        (0, ["Surprise", "surprise", "SURPRISED", "1"]),
        (1, ["Fear", "fearful", "Afraid", "scared", "2", "02"]),
        (2, ["Disgust", "disgusted", "dis-gust", "3"]),
        (3, ["Happiness", "happy", "JOY", "joyful", " Happy ", "hap_pi ness", "4", "0004"]),
        (4, ["Sadness", "sad", "SAD", "5"]),
        (5, ["Anger", "angry", "6"]),
        (6, ["Neutral", "neutrality", "neutral\n", "7"]),
        (
            None,
            ["", "contempt", "0", "8", "-1", "4.0", "1e0", "\u0664", "\xb2", "9" * 5000, "Happily Surprised", "none"],
        ),
    ],
)
def test_a_class_as_people_write_it(label, written):
    assert {name: BASIC.match(name) for name in written} == dict.fromkeys(written, label)


@pytest.mark.parametrize(
    ("written", "label"),
    [
        ("happily surprised", 0),
        ("HappilySurprised", 0),
        ("DISGUSTEDLY_SURPRISED", 10),
        ("11", 10),
        ("12", None),
        ("happy", None),
        ("Surprise", None),
    ],
)
def test_a_compound_class_as_people_write_it(written, label):
    assert COMPOUND.match(written) == label


def test_own_classes_have_no_codes_and_no_synonyms():
    own = LabelSet(OWN, ("Happiness", "contempt"))
    assert [own.match(name) for name in ("happiness", "CONTEMPT", "happy", "1", "2")] == [0, 1, None, None, None]


@pytest.mark.parametrize(
    ("written", "asked", "expected"),
    [
        (SEVEN, BASIC, BASIC),
        (BASIC.names, BASIC, BASIC),
        ([*SEVEN, *BASIC.names, "joy"], BASIC, BASIC),
        (CODES, BASIC, BASIC),
        (["1", "2", "3", "happy", "sad", "6", "7"], BASIC, BASIC),
        (["1", "2"], BASIC, BASIC),
        (CODES, COMPOUND, COMPOUND),
        ([str(code) for code in range(1, 12)], COMPOUND, COMPOUND),
        (COMPOUND.names, COMPOUND, COMPOUND),
        (COMPOUND.names, BASIC, COMPOUND),
        ([name.lower().replace(" ", "_") for name in COMPOUND.names], BASIC, COMPOUND),
    ],
)
def test_whose_classes_these_are(written, asked, expected):
    assert resolve_classes(written, asked, where="DATA") is expected
    assert resolve_classes(written[::-1], asked, where="DATA") is expected


@pytest.mark.parametrize(
    ("written", "names"),
    [
        ([*SEVEN, "contempt"], ("angry", "contempt", "disgust", "fear", "happy", "neutral", "sad", "surprise")),
        (SEVEN[:6], ("angry", "disgust", "fear", "happy", "sad", "surprise")),
        (["b", "C", "a"], ("a", "b", "C")),
        (["Smile", "smile", "no_smile", "No smile"], ("No smile", "Smile")),
        (COMPOUND.names[:10], tuple(sorted(COMPOUND.names[:10]))),
    ],
)
def test_other_classes_are_alphabetical(written, names):
    for order in (written, written[::-1]):
        own = resolve_classes(order, BASIC, where="DATA")
        assert (own.subset, own.names) == (OWN, names)


@pytest.mark.parametrize(
    "written",
    [
        ["0", "1", "2", "3", "4", "5", "6"],
        [*CODES, "8"],
        [*CODES, "contempt"],
        ["1.0", "2.0", "3.0", "4.0", "5.0", "6.0", "7.0"],
        ["-1", "-2"],
        ["\u0661", "\u0662"],
        ["9" * 5000],
    ],
)
def test_numbers_whose_order_is_not_known_are_refused(written):
    message = refusal(written, BASIC)
    assert "codes 1 to 7" in message and "nothing says which number is which expression" in message
    assert "compound" not in message


@pytest.mark.parametrize("name", ["9" * 20_000 + "x", "_" * 20_000 + "x", "+" + "9" * 20_000 + "."])
def test_a_long_name_takes_no_time(name):
    started = time.perf_counter()
    with suppress(UserError):
        resolve_classes([name, "smile"], BASIC, where="DATA")
    assert time.perf_counter() - started < 0.5


def test_a_class_that_no_model_could_be_loaded_with_is_refused_before_training():
    assert "a class of 201 letters; expected 200 at most" in refusal(["a" * 201, "smile"], BASIC)
    assert resolve_classes(["a" * 200, "smile"], BASIC, where="DATA").names == ("a" * 200, "smile")


@pytest.mark.parametrize("name", ["tr\u00e8s\u00a0content", "\u4e2d\u3000\u6587", "\u0646\u200c\u0627"])
def test_letters_of_other_scripts_are_names(name):
    assert name in resolve_classes([name, "smile"], BASIC, where="DATA").names


def test_eleven_numbers_may_be_compound():
    assert "with --subset compound, 1 to 11" in refusal([str(code) for code in range(1, 12)], BASIC)


@pytest.mark.parametrize("written", [SEVEN, BASIC.names, COMPOUND.names[:10], ["a", "b"], [*CODES, "12"], ["0", "1"]])
def test_compound_was_asked_for_and_is_not_there(written):
    message = refusal(written, COMPOUND)
    assert "expected the classes of RAF-DB's compound set (1 to 11, Happily Surprised to Disgustedly" in message
    assert "leave out --subset" in message


@pytest.mark.parametrize("name", ["con\ntempt", "con\x1b[31mtempt", "con\udcfftempt"])
def test_a_name_that_cannot_be_written_is_refused(name):
    refusal([*SEVEN, name], BASIC)


def test_ids_of_the_classes_of_a_split():
    written = ["joy", "1", "NEUTRAL"]
    assert match_classes(written, BASIC, where="DATA") == {"joy": 3, "1": 0, "NEUTRAL": 6}
    assert match_classes(["sad", "sad"], BASIC, where="DATA") == {"sad": 4}


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (["happy", "sad", "Happiness"], "DATA: 'happy' and 'Happiness' both mean Happiness; expected one of them"),
        (["4", "04"], "DATA: '4' and '04' both mean Happiness"),
        (["happy", "contempt"], "DATA: 'contempt' is no class; expected one of Surprise, Fear, Disgust"),
        (["con\ntempt"], "DATA: 'con\\ntempt' is no class"),
    ],
)
def test_classes_that_a_split_cannot_have(written, words):
    with pytest.raises(UserError) as caught:
        match_classes(written, BASIC, where="DATA")
    assert str(caught.value).startswith(words) and str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("written", "words"),
    [
        (["hapy", *BASIC.names], ["'hapy'", "nearly 'happy'"]),
        (["angry", "Anger", "contempt"], ["'Anger' and 'angry' both mean Anger"]),
        (["sad", "contempt", "suprise"], ["'suprise'", "nearly 'surprise'"]),
    ],
)
def test_slips_of_the_pen_make_no_classes(written, words):
    message = refusal(written, BASIC)
    assert all(word in message for word in words)


def test_a_column_that_is_not_of_labels():
    assert "9,000 different labels" in refusal([f"n{i}" for i in range(9000)], BASIC)


@pytest.mark.parametrize(
    "names", [("valence -1", "valence 1"), ("C", "C-"), ("AU1", "AU-1"), ("m2", "m²"), ("1st", "1_st-")]
)
def test_names_that_differ_in_a_sign_are_not_taken_for_one_class(names):
    assert "differ in a sign alone; expected one of them" in refusal([*names, "other"], BASIC)
    assert len(resolve_classes(["sad face", "sad-face", "Sad_Face", "other"], BASIC, where="DATA").names) == 2
    assert "is the only class" in refusal(["sad face", "sad-face", "Sad_Face"], BASIC)


def test_a_name_composed_or_not_is_one_name():
    labels = resolve_classes(["caf\u00e9", "cafe\u0301", "smile"], BASIC, where="DATA")
    assert len(labels.names) == 2
