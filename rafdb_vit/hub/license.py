"""What a model may be used for, by the data that it was trained on."""

import re
from dataclasses import dataclass

from rafdb_vit.data.names import is_rafdb, phrase_data
from rafdb_vit.runtime.errors import UserError

RAFDB_PAGE = "http://www.whdeld.cn/RAF/model1.html"
EXAMPLE = "cc-by-nc-4.0"
"""Of an identifier, for messages and proposed commands."""


@dataclass(frozen=True)
class License:
    """What a published model may be used for.

    Attributes:
        identifier: As the Hub lists them, such as `apache-2.0`; `other` where it has none.
        name: With `other`: its name.
        link: With `other`: where it stands.
    """

    identifier: str
    name: str | None = None
    link: str | None = None


def choose_license(data_name: str, asked: str | None) -> License:
    """Returns the licence of a model: the one that is asked for, else that of RAF-DB if it was trained on it.

    Args:
        data_name: `protocol.data.name` of `results.json`.
        asked: The value of `--license`: the Hub's identifier of a licence, or the address of terms.

    Raises:
        UserError: The data is not RAF-DB, and no licence is given; or the given one is malformed.
    """
    if asked and re.fullmatch(r"https?://[^\s<>()\"'\[\]`\\|{}^]+", asked):
        return License("other", name="terms-of-the-publisher", link=asked)
    if asked == "other":
        raise UserError("--license other: says nothing of the terms; give their address (https://...) instead")
    if asked and not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", asked):
        raise UserError(f"--license {asked}: expected the Hub's identifier, such as {EXAMPLE}, or an address")
    if asked:
        return License(asked)
    if is_rafdb(data_name):
        return License("other", name="raf-db-non-commercial-research", link=RAFDB_PAGE)
    raise UserError(
        f"--license: needed, since the data is not RAF-DB as published but {phrase_data(data_name)}; give the Hub's "
        f"identifier of the licence that your data allows, such as {EXAMPLE}, or the address of its terms"
    )


def describe_license(license: License, data_name: str) -> str:
    """Returns the card's words on a licence, in Markdown; see `choose_license` for the arguments."""
    terms = (
        f"RAF-DB is free for non-commercial research only ([its terms]({RAFDB_PAGE})), and may not be passed on; no "
        "part of it is in this repository."
    )
    if license.link == RAFDB_PAGE:
        return f"For non-commercial research only, as the data that the model was trained on. {terms}"
    given = f"`{license.identifier}`, as given by the publisher."
    if license.link:
        given = f"[The publisher's terms]({license.link})."
    return f"{given} {terms}" if is_rafdb(data_name) else given
