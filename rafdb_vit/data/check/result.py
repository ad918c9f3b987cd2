"""What a check found, for people and for programs."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rafdb_vit.data.findings import Finding, Findings, printable
from rafdb_vit.data.found import ORDER, Faces, FoundData, count_labels
from rafdb_vit.data.labels import LabelSet
from rafdb_vit.data.published import Published
from rafdb_vit.runtime.console import render_counts
from rafdb_vit.runtime.errors import escape

_SHOWN = 5
_LONGEST = 240


@dataclass(frozen=True)
class Place:
    """Where a face stands in the data: its split and the name of its class."""

    split: str
    label: str

    def __str__(self) -> str:
        return f"{self.split}, {self.label}"


@dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        root: The folder that was checked.
        layout: The form that it has.
        labels: Its classes.
        counts: Faces by class name, by split.
        findings: What is wrong, gravest kinds first; of each kind as many as are kept, see `Findings`.
        numbers: How many findings there were of each kind, gravest first.
        blocking: How many there were that training refuses.
        images: How many image files were looked at.
        usual_size: Width and height that the most images have.
        uniform: At least half the images have it.
        places: Split and class of every image that has a label, by path.
        published: What is published of the data set that this is meant to be; None for others.
        contents: The images that findings name and that are no files of their own, by path.
        unusable: Which faces cannot be used, and why; empty where all can.
    """

    root: Path
    layout: str
    labels: LabelSet
    counts: dict[str, dict[str, int]]
    findings: list[Finding]
    numbers: Mapping[str, int]
    blocking: int
    images: int
    usual_size: tuple[int, int] | None
    uniform: bool
    places: Mapping[str, Place]
    published: Published | None
    contents: Mapping[str, bytes]
    unusable: str

    @classmethod
    def build(
        cls,
        root: Path,
        found: FoundData[Faces],
        findings: Findings,
        *,
        images: int,
        places: Mapping[str, Place],
        sizes: Mapping[tuple[int, int] | None, int],
        published: Published | None = None,
        contents: Mapping[str, bytes] = MappingProxyType({}),
    ) -> "CheckResult":
        """Puts a result together: `findings` in any order, `sizes` with the number of images of each, else as above."""
        splits = sorted(found.splits, key=ORDER.index)
        counts = {split: count_labels(found.splits[split].labels, found.labels.names) for split in splits}
        order = sorted(findings.listed, key=lambda finding: (_rank(finding), finding.kind))
        numbers = {finding.kind: findings.counts[finding.kind] for finding in order}
        known = {size: count for size, count in sizes.items() if size is not None}
        usual = max(known, key=lambda size: known[size]) if known else None
        uniform = usual is not None and 2 * known[usual] >= sum(known.values())
        source = found.sources.get("test", "test")
        layout = found.layout.value + ("" if source == "test" else f", test is its split {source}")
        return cls(
            *(root, layout, found.labels, counts, order, numbers, findings.blocking),
            *(images, usual, uniform, places, published),
            {file: contents[file] for finding in order for file in finding.files if file in contents},
            found.describe_unusable(),
        )

    @property
    def kinds(self) -> dict[str, list[Finding]]:
        """Findings by kind, in order."""
        kinds: dict[str, list[Finding]] = {}
        for finding in self.findings:
            kinds.setdefault(finding.kind, []).append(finding)
        return kinds

    def render(self) -> str:
        """Renders the result for people: layout, counts against the published ones, each kind with its first cases."""
        width, height = self.usual_size or (0, 0)
        size = f", most of {width} x {height} pixels" if self.uniform else ""
        found = f"{len(self.labels.names)} classes, {self.images:,} images{size}"
        head = f"{printable(self.root)}: {escape(self.layout)}, {found}"
        parts = [f"{head}\n{self.unusable}".rstrip(), self._render_table()]
        if not self.findings:
            return "\n\n".join([*parts, "Nothing found."])
        kinds, total = self.kinds, sum(self.numbers.values())
        verdict = "training takes the data as it is: look at them first"
        if self.blocking:
            verdict = "training cannot use the data before what is marked * is mended"
        cases = f" in {_count(total, 'case')}" if total > len(kinds) else ""
        parts.append(f"{_count(len(kinds), 'finding')}{cases}; {verdict}.")
        rows = [
            f"{self.numbers[kind]:>7,} {'*' if any(finding.blocks for finding in of) else ' '} {escape(kind)}"
            for kind, of in kinds.items()
        ]
        parts.append("\n".join(rows))
        parts += [_render_kind(self.root, kind, of, self.numbers[kind]) for kind, of in kinds.items()]
        return "\n\n".join(parts)

    def _render_table(self) -> str:
        rows: list[tuple[str, dict[str, int]]] = []
        for split, counts in self.counts.items():
            rows.append((split, counts))
            if self.published is not None and (published := self.published.of_split(split)):
                rows.append(("published", published))
        table, of = render_counts(rows), self.published
        totals = [f"{split} {total:,}" for split, total in of.totals.items() if split not in of.counts] if of else []
        with_unusable = " (those left out too)" if of and of.with_unusable else ""
        return f"{table}\n  published: {', '.join(totals)}{with_unusable}" if totals else table

    def describe(self) -> dict[str, Any]:
        """Returns the result for programs, as it stands in JSON; paths are relative to `root`."""
        of = self.published
        return {
            "root": str(self.root),
            "layout": self.layout,
            "classes": list(self.labels.names),
            "images": self.images,
            "counts": self.counts,
            "unusable": self.unusable,
            "published_counts": {split: of.of_split(split) for split in of.counts} if of else {},
            "published_totals": dict(of.totals) if of else {},
            "summary": dict(self.numbers),
            "listed": {kind: len(of) for kind, of in self.kinds.items()},
            "findings": [
                {
                    "kind": finding.kind,
                    "blocks_training": finding.blocks,
                    "message": finding.message,
                    "files": [
                        {"path": os.path.relpath(path, self.root), **vars(self.places.get(path, Place("", "")))}
                        for path in finding.files
                    ],
                }
                for finding in self.findings
            ],
        }

    def to_json(self) -> str:
        """Renders `describe` as JSON; names that are not UTF-8 as escaped surrogates."""
        return json.dumps(self.describe(), indent=2, ensure_ascii=True)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rank(finding: Finding) -> int:
    """Returns how grave a kind is: what training refuses, then duplicates that falsify metrics, then the rest."""
    if finding.blocks:
        return 0
    if "across splits" in finding.kind or "duplicates" in finding.kind:
        differing, across = "different labels" in finding.kind, "across splits" in finding.kind
        return 1 + 2 * (not differing) + (not across)
    return 5


def _render_kind(root: Path, kind: str, findings: Sequence[Finding], number: int) -> str:
    lines = [f"{escape(kind)} ({number:,})"]
    for finding in findings[:_SHOWN]:
        message = finding.message.replace(f"{printable(root)}{os.sep}", "")
        lines.append(f"  {message if len(message) <= _LONGEST else message[:_LONGEST] + ' ...'}")
    if number > _SHOWN:
        listed = "all" if number == len(findings) else f"{len(findings):,} of them"
        lines.append(f"  ... and {number - _SHOWN:,} more; --json lists {listed}")
    return "\n".join(lines)
