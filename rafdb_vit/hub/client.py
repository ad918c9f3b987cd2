"""The client's side of the Hugging Face Hub: names, the token and its rights, and one call.

A call is tried again after transient faults; other faults become one line for the person.
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from huggingface_hub import constants, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, HTTPError, LocalEntryNotFoundError
from huggingface_hub.utils import get_session, validate_repo_id

from rafdb_vit.runtime.console import say_line
from rafdb_vit.runtime.errors import UserError

Answer = TypeVar("Answer")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./-]*")
WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further try."""
ANSWER_TIMEOUT = 60.0
"""Seconds without a byte after which a call has failed; the client by itself waits for ever."""
COMMIT_TIMEOUT = 600.0
"""The same for a commit, in which the Hub looks at every file."""
_LONGEST_WAIT = 60.0
_TRANSIENT = (404, 408, 425, 429, 500, 502, 503, 504)  # 404: a copy of the Hub that has not heard of it yet
_WRAPPERS = ("Error while uploading", "LFS batch API returned errors", "Malformed response", "Consistency check failed")
_AGAIN = "run the same command again: it completes the publication, or says that there is nothing to do"
_ADVICE = {
    401: "it does not accept the token: `hf auth login`, or set HF_TOKEN to a valid one",
    403: "take a token that may do this, or another --repo_id",
    412: "the branch has changed since it was read, by someone else: look at it, then run the command again",
    413: "a file is too large for it",
}
HUB_ERRORS = (HTTPError, OSError, RuntimeError, ValueError)
"""What the client raises for faults of the Hub and of the network, among bugs of ours."""


def check_names(repo_id: str | None, *, revision: str | None = None, tag: str | None = None) -> None:
    """Refuses names that no repository, branch (`revision`) or tag can have, without network.

    Raises:
        UserError: One of them is malformed, or the repository has none.
    """
    check_repo_id(repo_id)
    check_reference("--revision", revision)
    check_reference("--tag", tag)


def check_repo_id(repo_id: str | None) -> None:
    """Refuses a name that no repository can have; see `check_names`.

    Raises:
        UserError: It is malformed, or there is none.
    """
    expected = "expected USER/NAME or ORGANISATION/NAME, of letters, digits, '-', '_' and '.'"
    if repo_id is None:
        raise UserError(f"--repo_id: {expected}")
    try:
        validate_repo_id(repo_id)
        well_formed = repo_id.count("/") == 1
    except HFValidationError:
        well_formed = False
    if not well_formed:
        raise UserError(f"--repo_id {repo_id}: {expected}")


def check_reference(flag: str, name: str | None) -> None:
    """Refuses a name that no branch or tag can have; None is none at all. See `check_names`.

    Raises:
        UserError: It is malformed.
    """
    if name is None:
        return
    if not _NAME.fullmatch(name) or ".." in name or name.endswith((".", "/", ".lock")):
        raise UserError(f"{flag} {name}: no name of a branch or tag; expected letters, digits, '-', '_', '.', '/'")
    if re.fullmatch(r"[0-9a-f]{40}", name):
        raise UserError(f"{flag} {name}: is a commit; expected the name of a {flag.strip('-')}")


def check_endpoint() -> None:
    """Makes sure that the Hub may be asked, and has an address; no connection is opened.

    Raises:
        UserError: It may not, or has none.
    """
    if constants.is_offline_mode():
        raise UserError("HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE is set: publishing needs the Hub; unset it")
    if not constants.ENDPOINT.startswith(("https://", "http://")):
        raise UserError(f"HF_ENDPOINT {constants.ENDPOINT}: expected an address such as https://huggingface.co")


def find_token() -> str:
    """Returns the token of the environment or the login file; no connection is opened.

    Raises:
        UserError: There is none, or it is malformed.
    """
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
    """Makes sure that a token may write under the owner's name; `me` is what the Hub answers to `whoami`.

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


def call_hub(
    target: str,
    call: Callable[[], Answer],
    *,
    token: str | None = None,
    through: tuple[type[Exception], ...] = (),
    timeout: float | None = None,
) -> Answer:
    """Makes a call, with at most `len(WAITS)` further tries after transient faults, each one shown.

    Args:
        target: What the call is about, at the start of every line about it: `--repo_id USER/NAME`.
        call: Makes the call; it may be made several times.
        token: Cut out of whatever is shown.
        through: Errors that are answers to the caller, such as `RepositoryNotFoundError`.
        timeout: Seconds without a byte; None for `ANSWER_TIMEOUT`.

    Raises:
        UserError: The Hub refused the call, or could not be reached.
    """
    logging.getLogger("huggingface_hub.utils._http").addFilter(_cut_signatures)
    tries = 0
    while True:
        try:
            get_session().timeout = timeout or ANSWER_TIMEOUT
            return call()
        except HUB_ERRORS as error:
            cause = _find_cause(error)
            if isinstance(error, through) or not _is_of_the_hub(cause):
                raise
            status, reason = _read_status(cause), _describe(cause)
            if token:
                reason = reason.replace(token, "<token>")
            if tries == len(WAITS) or (status is not None and status not in _TRANSIENT):
                raise UserError(f"{target}: {reason}; {_ADVICE.get(status or 0, _AGAIN)}") from error
            wait = min(max(WAITS[tries], _read_asked_wait(cause)), _LONGEST_WAIT)
            tries += 1
            say_line(f"{target}: {reason}; trying again in {wait:g} s ({tries} of {len(WAITS)})")
            time.sleep(wait)


def _find_cause(error: BaseException) -> BaseException:
    """Returns what went wrong, where the client wraps it."""
    wraps = isinstance(error, LocalEntryNotFoundError) or str(error).startswith(_WRAPPERS)
    return error.__cause__ if wraps and error.__cause__ else error


def _is_of_the_hub(cause: BaseException) -> bool:
    known = (HTTPError, ConnectionError, TimeoutError, LocalEntryNotFoundError, json.JSONDecodeError)
    return isinstance(cause, known) or str(cause).startswith(_WRAPPERS) or "xet" in str(cause).lower()


def _read_status(cause: BaseException) -> int | None:
    """Returns the status that the Hub answered with; the Xet client (Rust) has it only in its message."""
    if isinstance(cause, HfHubHTTPError):
        return cause.response.status_code
    found = re.search(r"HTTP status \w+ error \((\d{3})\b", str(cause))
    return int(found[1]) if found else None


def _read_asked_wait(cause: BaseException) -> float:
    """Returns the seconds that the Hub asked to wait, in either of its headers; 0 if it did not."""
    if not isinstance(cause, HfHubHTTPError):
        return 0.0
    headers = cause.response.headers
    asked = headers.get("Retry-After", "")
    window = re.search(r"\bt=(\d+)", headers.get("RateLimit", ""))
    return float(asked) if asked.isdigit() else float(window[1]) if window else 0.0


def _describe(cause: BaseException) -> str:
    if isinstance(cause, HfHubHTTPError):
        message = cause.server_message or cause.response.reason_phrase
        return f"the Hub answered {cause.response.status_code} ({' '.join(str(message).split())})"
    if isinstance(cause, json.JSONDecodeError):
        return "what answered is not the Hub (no JSON; a proxy or a login page?)"
    words = " ".join(re.sub(r"\?\S+", "", str(cause)).split())
    if status := _read_status(cause):
        return f"the Hub's storage answered {status} ({words})"
    return f"the Hub cannot be reached ({type(cause).__name__}: {words})"


def _cut_signatures(record: logging.LogRecord) -> bool:
    """Cuts the query from addresses in the log: those of uploads are signed, and whoever has one may upload."""
    record.msg, record.args = re.sub(r"(https?://[^\s?]+)\?\S+", r"\1", record.getMessage()), ()
    return True
