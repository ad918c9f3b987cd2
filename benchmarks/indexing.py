"""Seconds until a folder of faces can be used: ours against `load_dataset("imagefolder")`.

Both get the same class folders (8 classes, train and test), empty files, since neither opens an image to index it.
Every round is a start anew: `load_dataset` goes to a fresh cache first, then finds its own cache.

Run: python benchmarks/indexing.py [--files 100000] [--rounds 3]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from datasets import disable_progress_bars, load_dataset

from rafdb_vit import load_rafdb

CLASSES = ("anger", "contempt", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")


def write_tree(root: Path, files: int) -> None:
    """Writes the class folders, nine faces of train for one of test."""
    for split in ("train", "test"):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
    for i in range(files):
        split = "test" if i % 10 == 0 else "train"
        (root / split / CLASSES[i % len(CLASSES)] / f"{i:06d}.jpg").touch()


def measure(run: Callable[[], object]) -> float:
    """Returns how many seconds a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Runs both in turn and prints the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    disable_progress_bars()
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder, "faces"), Path(folder, "cache")
        write_tree(root, options.files)
        ours, theirs = [], []
        for _ in range(options.rounds):
            ours.append(measure(lambda: load_rafdb(root)))
            theirs.append(measure(lambda: load_dataset("imagefolder", data_dir=str(root), cache_dir=str(cache))))
        assert sum(map(len, load_rafdb(root).values())) == options.files
    print(f"{options.files:,} files, {options.rounds} rounds")
    print(f"ours         median {statistics.median(ours):.2f} s")
    print(f"imagefolder  first {theirs[0]:.2f} s, cached {statistics.median(theirs[1:] or theirs):.2f} s")
    print(f"ratio        {statistics.median(theirs[1:] or theirs) / statistics.median(ours):.1f} (cached)")


if __name__ == "__main__":
    main()
