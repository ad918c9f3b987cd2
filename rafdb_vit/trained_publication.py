"""Publishing at the end of training: what speaks against it is said before, and a failure costs nothing of the run."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rafdb_vit.console import say
from rafdb_vit.errors import Interrupted, UserError
from rafdb_vit.processes import fails_together, from_main
from rafdb_vit.publication import Publication
from rafdb_vit.staging import check_publishable

_FLAGS_OF_TRAINING = {"repo_id": "hub_model_id", "revision": "hub_revision", "private": "hub_private_repo"}


def plan_publication(data: Mapping[str, Any], *, repo_id: str, **settings: Any) -> Publication:
    """Plans to publish a run that is yet to be trained, on all its processes.

    Args:
        data: The part `data` of the run's protocol.
        repo_id: `USER/NAME`.
        **settings: The other attributes of `Publication`.

    Raises:
        UserError: What speaks against it: the data, a name, the token, or its right to write.
    """
    with fails_together(), _naming_flags_of_training():
        publication = Publication(repo_id, **settings)
        check_publishable({"data": data}, license=publication.license, force=publication.force)
    with _naming_flags_of_training():
        from_main(publication.check_rights)
    return publication


@contextmanager
def _naming_flags_of_training() -> Iterator[None]:
    """Names flags in errors as training has them."""
    try:
        yield
    except UserError as error:
        line = error.line
        for flag, name in _FLAGS_OF_TRAINING.items():
            line = re.sub(rf"--{flag}\b", f"--{name}", line)
        raise UserError(line) from error


def publish_trained(publication: Publication, run: str | Path) -> str:
    """Publishes a run that this process has just trained; see `Publication.publish`.

    Raises:
        UserError: It could not be published; the line says that the run is whole, and what publishes it.
        Interrupted: A signal ended it; likewise.
    """
    again = f"the trained run in {run} is whole; publish it with: {_render_command(publication, run)}"
    try:
        with _naming_flags_of_training():
            return publication.publish(run)
    except UserError as error:
        raise UserError(f"not published: {error.line}; {again}") from error
    except Interrupted as stop:
        raise Interrupted(stop.signum, f"{stop.message}; {again}") from stop
    except Exception:
        say(f"Not published, by a fault of this program; {again}")
        raise


def _render_command(publication: Publication, run: str | Path) -> str:
    names = ("repo_id", "revision", "tag", "license")
    words = [w for name in names if (value := getattr(publication, name)) for w in (f"--{name}", value)]
    words += [f"--{name}" for name in ("private", "force", "verify") if getattr(publication, name)]
    return shlex.join(["python", "push_to_hub.py", str(run), *words])
