"""What a mistake has to look like."""

from contextlib import contextmanager

import pytest

from rafdb_vit.runtime.errors import UserError


@contextmanager
def refused(*parts):
    """Checks that the block ends in a UserError of one printable line that holds all `parts`."""
    with pytest.raises(UserError) as caught:
        yield caught
    assert_one_line(caught.value, *parts)


def assert_one_line(error, *parts):
    message = str(error)
    assert message.isprintable(), ascii(message)
    for part in parts:
        assert str(part) in message, message
