import pytest

from rafdb_vit.data.form import DEFAULT_FORM, DataForm
from rafdb_vit.data.labels import BASIC, COMPOUND
from tests.support.refusals import refused


def test_the_subset_says_which_classes_to_look_for():
    assert (DEFAULT_FORM.labels, DataForm("compound").labels) == (BASIC, COMPOUND)
    with refused("--subset extended: expected one of basic, compound"):
        DataForm("extended")


@pytest.mark.parametrize("margin", [-0.4, 0, 0.3, 5])
def test_margins_that_are_taken(margin):
    assert DataForm(aligned=False, box_margin=margin).box_margin == margin


@pytest.mark.parametrize("margin", [-0.41, -1, 5.1, float("inf"), float("nan")])
def test_a_margin_out_of_range(margin):
    with refused(f"--box_margin {margin}", "-0.4 to 5"):
        DataForm(aligned=False, box_margin=margin)


def test_a_margin_without_effect():
    with refused("--box_margin 0.2: goes with --aligned False"):
        DataForm(box_margin=0.2)
