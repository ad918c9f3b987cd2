import pytest

from rafdb_vit.hub.license import License, choose_license, describe_license
from rafdb_vit.runtime.errors import UserError

OTHER = "folder in RAF-DB layout"


def test_rafdb_has_its_own_terms_and_other_data_needs_some():
    terms = choose_license("RAF-DB basic", None)
    assert (
        terms.identifier == "other"
        and terms.link
        and "non-commercial research only" in describe_license(terms, "RAF-DB basic")
    )
    for name in ("drawn", OTHER):
        with pytest.raises(UserError, match="--license: needed"):
            choose_license(name, None)


def test_a_given_one_wins():
    given = choose_license("RAF-DB basic", "cc-by-nc-4.0")
    assert given == License("cc-by-nc-4.0")
    assert "RAF-DB is free for non-commercial research only" in describe_license(given, "RAF-DB basic")
    assert "RAF-DB" not in describe_license(given, OTHER)


def test_terms_of_ones_own_have_an_address():
    given = choose_license(OTHER, "https://example.org/terms")
    assert given == License("other", name="terms-of-the-publisher", link="https://example.org/terms")
    assert "(https://example.org/terms)" in describe_license(given, OTHER)


@pytest.mark.parametrize("asked", ["other", "MIT", "my own", "https://a b", "x\udcff", "ftp://x"])
def test_what_says_nothing(asked):
    with pytest.raises(UserError, match="--license"):
        choose_license(OTHER, asked)
