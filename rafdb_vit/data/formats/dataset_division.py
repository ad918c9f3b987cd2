"""Tells which split of a `datasets` data set is train, validation and test, by their names or those of the files."""

from collections.abc import Collection

from datasets import DatasetDict

from rafdb_vit.data.findings import TEST_SHARE, printable
from rafdb_vit.data.found import ORDER, SPLITS
from rafdb_vit.data.labels import LABEL_SETS, LabelSet
from rafdb_vit.data.splits import find_split, is_misplaced, split_of_file, validation_as_test
from rafdb_vit.runtime.errors import UserError


def divide_dataset(
    where: str, loaded: DatasetDict, needed: Collection[str], labels: LabelSet
) -> tuple[DatasetDict, dict[str, str]]:
    """Returns train, test and perhaps validation, and what each is called in the data.

    Args:
        where: What to call the data set in errors.
        loaded: Its splits, each with the column `file`.
        needed: The splits that it has to have.
        labels: Its classes.

    Raises:
        UserError: It cannot be told which split is which, or one that is needed is not there.
    """
    if len(loaded) == 1:
        return _divide_single(where, loaded, needed)
    found, names = {}, {}
    for name, dataset in loaded.items():
        split = find_split(name)
        if split is None or split in found:
            listed = ", ".join(loaded)
            raise UserError(f"{where}: has the splits {listed}; expected train, test and perhaps validation")
        found[split], names[split] = dataset, name
    found, names = validation_as_test(found), validation_as_test(names)
    if not set(needed) <= set(found):
        raise UserError(f"{where}: has the splits {', '.join(loaded)}; expected {' and '.join(needed)}")
    splits = DatasetDict({split: found[split] for split in ORDER if split in found})
    # Names are RAF-DB's where all are; with other classes it is other data, in which they may be anything.
    for split, dataset in splits.items() if labels.subset in LABEL_SETS else ():
        wrong = next((file for file in dataset["file"][:] if is_misplaced(file, split, splits)), None)
        if wrong is not None:
            raise UserError(f"{where}: {printable(wrong)} of another split stands in {names[split]}; expected none")
    return splits, names


def _divide_single(where: str, loaded: DatasetDict, needed: Collection[str]) -> tuple[DatasetDict, dict[str, str]]:
    """Divides a single split by its files' names, unless what is needed is held out anyway."""
    ((name, dataset),) = loaded.items()
    official = [split_of_file(file) for file in dataset["file"][:]]
    if set(official) == {"train", "test"}:
        rows = {split: [i for i, own in enumerate(official) if own == split] for split in SPLITS}
        splits = DatasetDict({split: dataset.select(chosen) for split, chosen in rows.items()})
        return splits, dict.fromkeys(SPLITS, f"{name}, divided by file names")
    if "train" not in needed:
        return DatasetDict(test=dataset), {"test": name}
    if "test" not in needed and find_split(name) != "test":
        return DatasetDict(train=dataset), {"train": name}
    raise UserError(
        f"{where}: has a single split ({name}), and file names do not say which faces are RAF-DB's test split; "
        f"expected the splits train and test, or names like train_00001.jpg and test_0001.jpg; or {TEST_SHARE}"
    )
