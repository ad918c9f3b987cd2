import pytest

from rafdb_vit.data.files import walk_images
from rafdb_vit.runtime.errors import UserError


def test_folders_without_end_are_refused_in_a_line(tmp_path):
    (tmp_path / "/".join("n" * 400)).mkdir(parents=True)
    with pytest.raises(UserError, match="folders in folders, more than 50 deep"):
        list(walk_images(tmp_path))
