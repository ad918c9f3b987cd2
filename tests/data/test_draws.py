from collections import Counter

import pytest

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.draws import draw_samples
from rafdb_vit.runtime.errors import UserError


@pytest.mark.parametrize("count", [7, 20, 55])
def test_samples_are_stratified_and_exact(faces_dir, count):
    train = load_rafdb(faces_dir)["train"]
    drawn = draw_samples(train, count, seed=0, flag="--max_train_samples")
    counts = Counter(drawn["label"])
    assert len(drawn) == count
    assert set(drawn["file"]) <= set(train["file"])
    assert max(counts.values()) - min(counts[i] for i in range(7)) <= 1


def test_fewer_samples_than_classes(faces_dir):
    train = load_rafdb(faces_dir)["train"]
    assert len(draw_samples(train, 3, seed=0, flag="--max_train_samples")) == 3


def test_no_limit_keeps_all(faces_dir):
    train = load_rafdb(faces_dir)["train"]
    assert draw_samples(train, None, seed=0, flag="f") is train
    assert draw_samples(train, 10**6, seed=0, flag="f") is train
    with pytest.raises(UserError, match="--max_train_samples 0"):
        draw_samples(train, 0, seed=0, flag="--max_train_samples")
