"""Folders that `save_to_disk` of `datasets` wrote, told by the names of their files, without importing `datasets`."""

from pathlib import Path

SPLITS_FILE, STATE_FILE, INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"


def is_saved(folder: Path) -> bool:
    """Tells whether `save_to_disk` wrote a folder, by the files that it leaves there."""
    return any((folder / file).is_file() for file in (SPLITS_FILE, STATE_FILE))
