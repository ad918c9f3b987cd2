"""Groups files that hold the same photograph."""

from collections import defaultdict
from collections.abc import Collection, Sequence

import numpy as np

from rafdb_vit.data.check.fingerprint import find_near_duplicates
from rafdb_vit.data.check.inspection import ImageFile
from rafdb_vit.runtime.bars import show_progress


def group_exact(files: Sequence[ImageFile]) -> list[list[ImageFile]]:
    """Groups readable images by the SHA-256 of their files, singles included."""
    groups: dict[bytes, list[ImageFile]] = defaultdict(list)
    for file in files:
        if file.hashes is not None and file.digest is not None:
            groups[file.digest].append(file)
    return list(groups.values())


def group_near(exact: Sequence[Sequence[ImageFile]], *, quiet: bool) -> list[list[ImageFile]]:
    """Groups images that look the same: two or more different files, each with its exact duplicates, by path.

    Args:
        exact: From `group_exact`; near-duplicates of one of a group are of all.
        quiet: Show no progress.
    """
    if len(exact) < 2:
        return []
    firsts = [group[0] for group in exact]
    hashes = np.stack([file.hashes for file in firsts if file.hashes is not None])
    thumbnails = np.stack([file.thumbnails for file in firsts if file.thumbnails is not None])
    with show_progress(None, "Comparing", len(firsts), unit="image", quiet=quiet) as bar:
        pairs = find_near_duplicates(hashes, thumbnails, advance=bar.update)
    joined = _join(pairs, len(exact))
    return [sorted((file for i in group for file in exact[i]), key=lambda file: file.path) for group in joined]


def _join(pairs: Collection[tuple[int, int]], count: int) -> list[list[int]]:
    """Returns the connected groups of two or more."""
    labels = join_pairs(pairs, count)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in sorted({i for pair in pairs for i in pair}):
        groups[int(labels[i])].append(i)
    return list(groups.values())


def join_pairs(pairs: Collection[tuple[int, int]], count: int) -> np.ndarray:
    """Returns a number for each of `count` things, the same for those that pairs connect."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows, columns = np.asarray(list(pairs), np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), shape=(count, count))
    return connected_components(graph, directed=False)[1]
