"""Who may write where on the Hugging Face Hub: names, the token, what the Hub says of it."""

import re
from collections.abc import Mapping
from typing import Any

from huggingface_hub import constants, get_token
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from rafdb_vit.errors import UserError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")


def check_names(repo_id: str, *, revision: str | None = None, tag: str | None = None) -> None:
    """Refuses names that no repository, branch or tag can have, without network.

    Args:
        repo_id: `USER/NAME` or `ORGANISATION/NAME`.
        revision: The branch.
        tag: The tag.

    Raises:
        UserError: One of them is malformed.
    """
    try:
        validate_repo_id(repo_id)
        well_formed = repo_id.count("/") == 1
    except HFValidationError:
        well_formed = False
    if not well_formed:
        raise UserError(
            f"--repo_id {repo_id}: expected USER/NAME or ORGANISATION/NAME, of letters, digits, '-', '_' and '.'"
        )
    for flag, name in (("--revision", revision), ("--tag", tag)):
        if name is None:
            continue
        if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", "/", ".lock")):
            raise UserError(f"{flag} {name}: no name of a branch or tag; expected letters, digits, '-', '_', '.', '/'")
        if _COMMIT.fullmatch(name):
            raise UserError(f"{flag} {name}: is a commit; expected the name of a {flag.strip('-')}")


def find_token() -> str:
    """Returns the token of the environment or the login file; no connection is opened.

    Raises:
        UserError: There is none, it is malformed, or the Hub may not be asked.
    """
    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: publishing needs the Hub; unset it")
    if not constants.ENDPOINT.startswith(("https://", "http://")):
        raise UserError(f"HF_ENDPOINT {constants.ENDPOINT}: expected an address such as https://huggingface.co")
    try:
        token = get_token()
    except (OSError, ValueError) as error:
        raise UserError(f"the token for the Hub cannot be read ({error}); `hf auth login`, or set HF_TOKEN") from error
    if not token:
        raise UserError("no token for the Hub: `hf auth login`, or set HF_TOKEN to one with write access")
    if not (token.isascii() and token.isprintable() and " " not in token):
        raise UserError("the token for the Hub has characters that none has; `hf auth login`, or set HF_TOKEN anew")
    return token


def check_owner(repo_id: str, me: Mapping[str, Any]) -> None:
    """Makes sure that a token may write under the owner's name.

    Args:
        repo_id: `OWNER/NAME`.
        me: What the Hub says of the token's user (`whoami`).

    Raises:
        UserError: It may not.
    """
    owner, user = repo_id.split("/")[0], me.get("name")
    roles = {org.get("name"): org.get("roleInOrg") for org in me.get("orgs") or []}
    if owner != user and roles.get(owner, "read") == "read":
        writable = ", ".join(name for name in (user, *roles) if name and roles.get(name) != "read")
        reason = "only read there" if owner in roles else "not write there"
        raise UserError(f"--repo_id {repo_id}: you may {reason}; take one of these owners: {writable}")
    if _can_only_read((me.get("auth") or {}).get("accessToken") or {}):
        raise UserError(
            f"--repo_id {repo_id}: the token can only read; make one with write access in the Hub's settings, then "
            "`hf auth login` or set HF_TOKEN"
        )


def _can_only_read(token: Mapping[str, Any]) -> bool:
    """Tells whether what the Hub says of a token leaves no doubt that it can write nowhere."""
    scopes = (token.get("fineGrained") or {}).get("scoped") or []
    permissions = {permission for scope in scopes for permission in scope.get("permissions") or []}
    return token.get("role") == "read" or (bool(permissions) and "repo.write" not in permissions)
