"""Several runs that differ in their seed: mean and range of their test metrics."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import AVERAGES, RESULTS_FILE, EvaluationResult, read_results
from rafdb_vit.runtime.disk import expand
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.neighbours import check_folder
from rafdb_vit.runtime.output_folder import OutputFolder
from rafdb_vit.runtime.text_width import measure_width, pad_right

_MAY_DIFFER = ("seed", "batch", "device", "precision")
"""Settings of training that two runs of one recipe may differ in."""
_MOST_NAMED = 12
"""Of the differences between two runs."""
_MODEL = ("source", "commit", "type", "parameters", "image_size", "patch_size")


@dataclass(frozen=True)
class Summary:
    """The test metrics of several runs.

    Attributes:
        seeds: Seed of each run.
        data: What they were tested on, in a few words.
        n: Test faces.
        metrics: By name, one value for each run.
        diverged: The step at which training diverged, by the seeds of the runs that did.
    """

    seeds: list[int]
    data: str
    n: int
    metrics: dict[str, list[float]]
    diverged: dict[int, int] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """Returns the summary for programs, as it stands in JSON."""
        rows = {
            name: {"mean": fmean(values), "lowest": min(values), "highest": max(values), "values": values}
            for name, values in self.metrics.items()
        }
        diverged = [{"seed": seed, "step": step} for seed, step in self.diverged.items()]
        return {"seeds": self.seeds, "data": self.data, "n": self.n, "figures": rows, "diverged": diverged}

    def render(self) -> str:
        """Renders a table: mean, lowest and highest value of each metric."""
        metrics = [(escape(name), values) for name, values in self.metrics.items()]
        width = max(measure_width(name) for name, _ in metrics)
        seeds = ", ".join(map(str, self.seeds))
        lines = [f"{len(self.seeds)} runs, seeds {seeds}; {escape(self.data)}, test, {self.n:,} faces", ""]
        lines.append(f"{'':{width}} {'mean':>9} {'lowest':>9} {'highest':>9}")
        for name, values in metrics:
            lines.append(f"{pad_right(name, width)} {fmean(values):>9.4f} {min(values):>9.4f} {max(values):>9.4f}")
        lines += [""] if self.diverged else []
        for seed, step in self.diverged.items():
            lines.append(
                f"The run of seed {seed} diverged at step {step:,}: its scores are those of its best model before."
            )
        return "\n".join(lines)


def summarize_runs(folders: Sequence[str]) -> Summary:
    """Summarizes runs from the `results.json` in their folders.

    Raises:
        UserError: There are fewer than two, one is not finished, or they differ in more than the seed.
    """
    if len(folders) < 2:
        found = f"{folders[0]}: one run" if folders else "no run"
        raise UserError(f"{found}; expected two or more, alike but for --seed")
    tests, protocols = zip(*map(_read, folders), strict=True)
    common = [_identify(protocol) for protocol in protocols]
    seeds: dict[int, str] = {}
    for folder, test, protocol, own in zip(folders, tests, protocols, common, strict=True):
        seed = protocol.training["seed"]
        if seed in seeds:
            raise UserError(f"{folder}: has the seed of {seeds[seed]}, {seed}; expected another: train with --seed")
        seeds[seed] = folder
        differing = [key[-1] for key in {**common[0], **own} if common[0].get(key) != own.get(key)]
        if test.supports != tests[0].supports:
            differing.insert(0, "test faces")
        if differing:
            others = f" and {len(differing) - _MOST_NAMED:,} others" if len(differing) > _MOST_NAMED else ""
            names = ", ".join(f"{name:.80}" for name in differing[:_MOST_NAMED]) + others
            raise UserError(f"{folder}: differs from {folders[0]} in {names}; expected runs alike but for --seed")
    metrics = {name: [getattr(test, name) for test in tests] for name in AVERAGES}
    metrics |= {f"f1 of {name}": [float(test.per_class[name]["f1"]) for test in tests] for name in tests[0].per_class}
    ends = {protocol.training["seed"]: protocol.checkpoint.diverged_at for protocol in protocols}
    diverged = {seed: step for seed, step in ends.items() if step is not None}
    return Summary(list(seeds), protocols[0].data.name, tests[0].n, metrics, diverged)


def _read(folder: str) -> tuple[EvaluationResult, Protocol]:
    path = expand(folder)
    path = path.parent if os.path.isfile(path) else check_folder("RUNS", folder, expected="that of a finished run")
    OutputFolder(path, (RESULTS_FILE,)).refuse_changed(RESULTS_FILE, advice="restore it, or train again")
    return read_results(path)[1:]


def _identify(protocol: Protocol) -> dict[tuple[str, str], Any]:
    """Returns what runs have to have in common, by part of the protocol and name.

    Settings of training have names that others chose: these stand for nothing else.
    """
    data, test = protocol.data, protocol.test_split
    common = {
        "data": data.name,
        "images": data.images,
        "targets": data.targets,
        "subsampled": data.subsampled,
        "train faces": sum(data.used["train"].values()),
        "classes left out": sorted(data.left_out),
        "validation fraction": protocol.validation.fraction,
        "test files": test.files_sha256 if test and test.carved_from is not None else None,
        "how the checkpoint was chosen": protocol.checkpoint.chosen_by,
        **{f"model {name}": getattr(protocol.model, name) for name in _MODEL},
    }
    settings = {name: value for name, value in protocol.training.items() if name not in _MAY_DIFFER}
    return {("run", name): value for name, value in common.items()} | {
        ("training", name): value for name, value in settings.items()
    }
