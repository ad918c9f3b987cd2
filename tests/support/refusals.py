"""What a mistake has to look like."""

from contextlib import contextmanager

import pytest

from rafdb_vit.runtime.errors import UserError, escape


@contextmanager
def refused(*parts):
    """Checks that the block ends in a UserError of one line, which steers no terminal and holds all `parts`."""
    with pytest.raises(UserError) as caught:
        yield caught
    assert_one_line(caught.value, *parts)


def assert_one_line(error, *parts):
    message = str(error)
    assert message == escape(message), ascii(message)
    for part in parts:
        assert str(part) in message, message
