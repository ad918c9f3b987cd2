import os

import pytest

from rafdb_vit.data.pool import map_images
from rafdb_vit.runtime.errors import UserError

PATHS = [f"/{i}.jpg" for i in range(150)]


def note_process(path):
    return path, os.getpid()


def die_at_100(image):
    if "100" in image[0]:
        os._exit(1)
    return image


def refuse_100(path):
    if "100" in path:
        raise UserError(f"{path}: cannot be read")
    return path


@pytest.mark.parametrize(("count", "processes"), [(0, 4), (64, 4), (150, 1)])
def test_little_work_starts_no_process(count, processes):
    found = map_images(note_process, PATHS[:count], processes=processes)
    assert list(found) == [(path, os.getpid()) for path in PATHS[:count]]


def test_much_work_is_done_elsewhere_and_comes_back_in_order():
    paths, processes = zip(*map_images(note_process, iter(PATHS * 20), processes=2), strict=True)
    assert list(paths) == PATHS * 20 and os.getpid() not in processes


def test_a_process_that_dies_is_one_line():
    with pytest.raises(UserError, match=r"^'/\d+\.jpg': a process .* was killed; was memory short\?$"):
        list(map_images(die_at_100, ((path, b"") for path in PATHS), processes=2))


@pytest.mark.parametrize("processes", [1, 2])
def test_what_is_raised_for_an_image_is_raised_here(processes):
    with pytest.raises(UserError, match="^/100.jpg: cannot be read$"):
        list(map_images(refuse_100, PATHS, processes=processes))


def test_ending_early_leaves_no_process():
    found = map_images(note_process, PATHS, processes=2)
    assert next(found)[0] == "/0.jpg"
    found.close()
