"""What a checkpoint holds, in a form that tests compare."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

CLOCKS = ("runtime", "per_second", "preparation_time")


def flatten(value, prefix=""):
    """Returns the leaves of nested dictionaries and lists by their path."""
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        return {prefix: value}
    return {path: leaf for key, part in items for path, leaf in flatten(part, f"{prefix}/{key}").items()}


def read_checkpoint(folder: Path) -> dict:
    """Returns weights, optimizer, schedule, random numbers and the trainer's state, without times and places."""
    state = json.loads((folder / "trainer_state.json").read_text())
    state["best_model_checkpoint"] = state["best_model_checkpoint"] and Path(state["best_model_checkpoint"]).name
    state["log_history"] = [
        {name: value for name, value in row.items() if not any(clock in name for clock in CLOCKS)}
        for row in state["log_history"]
    ]
    optimizer = folder / "optimizer.pt"
    content = {
        "weights": load_file(folder / "model.safetensors"),
        "optimizer": torch.load(optimizer if optimizer.is_file() else folder / "optimizer.bin", weights_only=True),
        "scheduler": torch.load(folder / "scheduler.pt", weights_only=True),
        "random": {
            path.name: torch.load(path, weights_only=False)["cpu"] for path in sorted(folder.glob("rng_state*.pth"))
        },
        "state": state,
        "progress": json.loads((folder / "progress.json").read_text()),
    }
    return flatten(content)


def difference(first: Path, second: Path) -> list[str]:
    """Returns the paths of what differs between two checkpoints; empty if they are equal to the last bit."""
    one, other = read_checkpoint(first), read_checkpoint(second)
    differing = [path for path in {**one, **other} if (path in one) != (path in other)]
    for path in one.keys() & other.keys():
        same = torch.equal(one[path], other[path]) if isinstance(one[path], torch.Tensor) else one[path] == other[path]
        if not same:
            differing.append(path)
    return sorted(differing)
