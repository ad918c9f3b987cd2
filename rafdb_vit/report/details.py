"""Tables of how figures came about, for the page, from the protocol of a run."""

from collections.abc import Mapping
from typing import Any

_OWN_TABLES = ("data", "validation", "model", "training", "checkpoint", "versions", "history", "files_sha256")


def tabulate_evaluation(described: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the tables of an evaluation: title, then name and value.

    Args:
        described: From `rafdb_vit.protocol.describe_evaluation`.
    """
    data = described["data"]
    return {
        "This evaluation": {
            "data": data["name"],
            **{name: data[name] for name in ("images", "sources") if name in data},
            "scoring": described["scoring"],
        },
        "Model": dict(described["model"]),
        "Environment": dict(described["versions"]),
    }


def tabulate_protocol(protocol: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the tables of a run's protocol: title, then name and value.

    Args:
        protocol: From `results.json`.
    """
    data = protocol["data"]
    tables = {
        "Protocol": {
            **{name: value for name, value in protocol.items() if name not in _OWN_TABLES},
            "data": data["name"],
            **{name: data[name] for name in ("images", "targets", "sources") if name in data},
            "validation": {k: v for k, v in protocol["validation"].items() if k != "files_sha256"},
            "checkpoint": protocol["checkpoint"],
        },
        "Model": {**protocol["model"], "SHA-256 of files": protocol.get("files_sha256")},
        "Training settings": _tabulate_training(protocol["training"]),
        "Environment": protocol["versions"],
    }
    return {title: dict(rows) for title, rows in tables.items()}


def _tabulate_training(training: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings that were made: no limit of -1 steps, no schedule without settings."""
    unset = {name for name, value in training.items() if value in (None, {}) or (name == "max_steps" and value < 0)}
    return {name: value for name, value in training.items() if name not in unset}
