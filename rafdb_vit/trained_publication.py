"""Publishing at the end of training: what speaks against it is said before, and a failure costs nothing of the run."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rafdb_vit.console import say
from rafdb_vit.errors import Interrupted, UserError, renaming_flags
from rafdb_vit.processes import fails_together, from_main
from rafdb_vit.publication import Publication
from rafdb_vit.staging import check_publishable

_FLAGS_OF_TRAINING = {
    "--repo_id": "--hub_model_id",
    "--revision": "--hub_revision",
    "--private": "--hub_private_repo",
}


def plan_publication(data: Mapping[str, Any], *, repo_id: str, **settings: Any) -> Publication:
    """Plans to publish a run that is yet to be trained, on all its processes.

    Args:
        data: The part `data` of the run's protocol.
        repo_id: `USER/NAME`.
        **settings: The other attributes of `Publication`.

    Raises:
        UserError: What speaks against it: the data, a name, the token, or its right to write.
    """
    with fails_together(), renaming_flags(_FLAGS_OF_TRAINING):
        publication = Publication(repo_id, **settings)
        check_publishable({"data": data}, license=publication.license, force=publication.force)
    with renaming_flags(_FLAGS_OF_TRAINING):
        from_main(publication.check_rights)
    return publication


def publish_trained(publication: Publication, run: str | Path) -> str:
    """Publishes a run that this process has just trained; see `Publication.publish`.

    Raises:
        UserError: It could not be published; the line says that the run is whole, and what publishes it.
        Interrupted: A signal ended it; likewise.
    """
    again = f"the trained run in {run} is whole; publish it with: {_render_command(publication, run)}"
    try:
        with renaming_flags(_FLAGS_OF_TRAINING):
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
