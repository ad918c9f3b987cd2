"""How metrics came about: the `protocol` part of `results.json`. Only this module knows its keys."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

from rafdb_vit.data.found import ORDER, FoundData, count_labels
from rafdb_vit.data.published import RAFDB
from rafdb_vit.data.splits import hash_files
from rafdb_vit.evaluation.intervals import METHOD
from rafdb_vit.evaluation.reading import check_counts, check_keys, check_type

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel

_LIBRARIES = (
    *("rafdb-vit", "transformers", "torch", "torchvision", "datasets"),
    *("accelerate", "evaluate", "scikit-learn", "pillow", "numpy"),
)
Part = TypeVar("Part", bound=Any)


def describe_versions() -> dict[str, str]:
    """Returns the versions of Python and of the libraries that affect metrics."""
    return {"python": platform.python_version(), **{name: version(name) for name in _LIBRARIES}}


@dataclass(frozen=True)
class DataProtocol:
    """Which data it was.

    Attributes:
        name: From `rafdb_vit.data.names.name_data`.
        found: Faces by class name, by split, as found.
        used: The same of train, validation and test as they were used.
        subsampled: Not all faces were used, but samples of them.
        sources: What the splits are called in the data.
        images: Which images these are.
        targets: What training learned.
        left_out: Faces by class name of the classes that were left out because that was asked for.
    """

    name: str
    found: Mapping[str, Mapping[str, int]]
    used: Mapping[str, Mapping[str, int]]
    subsampled: bool
    # Runs of early versions did not write these down; the defaults were then all that there was.
    sources: Mapping[str, str] = field(default_factory=lambda: {"test": "test"})
    images: str = "as found"
    targets: str = "single labels"
    left_out: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_misnamed(self) -> bool:
        """Whether it is called RAF-DB, whose licence then follows, though its own counts are not those of RAF-DB."""
        return any(of.name == self.name and not of.equals(self.found) for of in RAFDB.values())


@dataclass(frozen=True)
class SplitProtocol:
    """How validation or test came about.

    Attributes:
        carved_from: What it was split off from; None where the data has this split.
        files_sha256: Hash of the names of its files; of a test split that was split off, before a sample was drawn.
        fraction: Share of each class that was split off; None where the data has this split, as for those below.
        seed: Seed of that choice.
        kept_together: Which faces stayed on one side, in a few words; None where each was chosen for itself.
        from_sha256: Hash of the names of all files of the data that test was split off from.
    """

    carved_from: str | None
    files_sha256: str
    fraction: float | None = None
    seed: int | None = None
    kept_together: str | None = None
    from_sha256: str | None = None

    def describe(self) -> dict[str, Any]:
        """Returns it as it stands in JSON."""
        return {
            name: value
            for name, value in asdict(self).items()
            if name in ("carved_from", "files_sha256") or value is not None
        }


@dataclass(frozen=True)
class ModelProtocol:
    """What was trained.

    Attributes:
        source: A name on the Hub, the name of a folder, or a size from scratch.
        origin: `Hub`, `folder` or `scratch`.
        commit: Of the Hub; None for a folder.
        type: Its architecture, as transformers calls it.
        parameters: Number of its parameters.
        image_size: Side of its input in pixels; `patch_size` is the side of a patch.
    """

    source: str
    origin: str
    commit: str | None
    type: str
    parameters: int
    image_size: int | Sequence[int] | None
    patch_size: int | Sequence[int] | None


@dataclass(frozen=True)
class CheckpointProtocol:
    """Which checkpoint was kept, and why.

    Attributes:
        chosen_by: The rule, such as `highest macro_f1 on validation`.
        value: That metric of it, during training.
        step: Its optimizer step; `steps_trained` are those of the whole run.
        epoch: Its epoch; `epochs_trained` are those of the whole run.
        diverged_at: The step at which training diverged, and ended; None where it did not.
    """

    chosen_by: str
    value: float
    step: int
    epoch: float | None
    epochs_trained: float
    steps_trained: int
    diverged_at: int | None = None

    def describe(self) -> dict[str, Any]:
        """Returns it as it stands in JSON."""
        return {name: value for name, value in vars(self).items() if name != "diverged_at" or value is not None}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """How the metrics of a training run came about: no times and no paths, so that one command writes the same bytes.

    The parts stand in JSON in the order in which they stand here.

    Attributes:
        test: How test was scored.
        scoring: How all metrics were computed.
        files_sha256: SHA-256 by name of the files that were scored.
        training: The settings of training by name, those that affect the weights.
        intervals: How the intervals were computed.
        history: Learning curves: a row for each time that something was logged.
        versions: Of Python and of the libraries that affect metrics.
    """

    data: DataProtocol
    validation: SplitProtocol
    # Runs of early versions did not write it down; test was then always the data's own.
    test_split: SplitProtocol | None = None
    test: str = "scored once, at the end, with the chosen checkpoint"
    scoring: str = "fp32, without autocast, by the model reloaded from the run folder"
    files_sha256: Mapping[str, str] = field(default_factory=dict)
    model: ModelProtocol
    training: Mapping[str, Any]
    checkpoint: CheckpointProtocol
    intervals: str = METHOD
    history: Sequence[Mapping[str, float | None]] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=describe_versions)

    @classmethod
    def read(cls, content: Any) -> "Protocol":
        """Returns the protocol that `describe` wrote, also one of an earlier version.

        Raises:
            ValueError: It lacks something, or something in it is not what it should be; the message names it.
        """
        check_keys(content, ("test", "scoring", "versions", "training"), "protocol")
        parts: dict[str, Any] = {
            name: _read_part(kind, content.get(name), f"protocol.{name}")
            for name, kind in (
                ("data", DataProtocol),
                ("validation", SplitProtocol),
                ("model", ModelProtocol),
                ("checkpoint", CheckpointProtocol),
            )
        }
        if content.get("test_split") is not None:
            parts["test_split"] = _read_part(SplitProtocol, content["test_split"], "protocol.test_split")
        protocol = _read_part(cls, {**content, **parts}, "protocol")
        _check_settings(protocol.training)
        check_keys(protocol.versions, ("rafdb-vit",), "protocol.versions")
        for i, row in enumerate(protocol.history):
            check_type(row.get("epoch"), float, f"protocol.history[{i}].epoch")
        _check_data(protocol.data, {"validation": protocol.validation, "test": protocol.test_split})
        return protocol

    def describe(self) -> dict[str, Any]:
        """Returns the protocol as it stands in JSON."""
        test = self.test_split and self.test_split.describe()
        parts = {"validation": self.validation.describe(), "checkpoint": self.checkpoint.describe()}
        return {**asdict(self), **parts, "test_split": test}


@dataclass(frozen=True)
class EvaluationProtocol:
    """How the metrics of an evaluation came about, in `evaluation.json`; `model` is from `describe_evaluated_model`.

    The test split is given where it was scored, and is our own share of the data.
    """

    data: DataProtocol
    model: Mapping[str, Any]
    scoring: str
    intervals: str = METHOD
    versions: Mapping[str, str] = field(default_factory=describe_versions)
    test_split: SplitProtocol | None = None


def _read_part(kind: type[Part], content: Any, where: str) -> Part:
    """Makes a part of the protocol from what stands in a file, less what is not known here."""
    known, types = fields(kind), get_type_hints(kind)
    check_keys(content, [f.name for f in known if f.default is MISSING and f.default_factory is MISSING], where)
    values = {f.name: content[f.name] for f in known if f.name in content}
    for name, value in values.items():
        # Parts that are read already have been checked.
        if not any(map(is_dataclass, (types[name], *get_args(types[name])))):
            check_type(value, types[name], f"{where}.{name}")
    return kind(**values)


def _check_settings(training: Mapping[str, Any]) -> None:
    """Checks the settings that others are read with."""
    check_keys(training, ("seed", "precision", "max_steps"), "protocol.training")
    kinds = {"seed": int, "precision": str, "max_steps": int, "augmentation": Sequence[str]}
    for name, kind in kinds.items():
        if name in training:
            check_type(training[name], kind, f"protocol.training.{name}")


def _check_data(data: DataProtocol, how: Mapping[str, SplitProtocol | None]) -> None:
    """Checks that the splits are there, and hold counts."""
    check_keys(data.used, ORDER, "protocol.data.used")
    for name, splits in (("found", data.found), ("used", data.used)):
        for split, counts in splits.items():
            check_counts(counts, f"protocol.data.{name}.{split}")
    carved = {name: share for name, share in how.items() if share is not None and share.carved_from is not None}
    check_keys(data.sources, [name for name in how if name not in carved], "protocol.data.sources")
    for name, share in carved.items():
        if share.fraction is None or share.seed is None:
            raise ValueError(f"lacks fraction or seed in protocol.{'test_split' if name == 'test' else name}")


def describe_data(found: "FoundData[Dataset]") -> DataProtocol:
    """Returns which data a run or an evaluation uses."""
    return DataProtocol(
        name=found.name,
        found=dict(found.counts),
        used={split: count_labels(faces["label"][:], found.class_names) for split, faces in found.splits.items()},
        subsampled=sum(map(len, found.splits.values())) < sum(sum(of.values()) for of in found.counts.values()),
        sources=dict(found.sources),
        images=found.images,
        targets=found.targets,
        left_out=dict(found.left_out),
    )


def describe_split(found: "FoundData[Dataset]", split: str) -> SplitProtocol:
    """Returns how the validation or test split of a run came about."""
    files = hash_files(found.splits[split]["file"])
    share = found.shares.get(split)
    if share is None:
        return SplitProtocol(None, files)
    if split == "validation":
        words = "train, stratified by class"
        return SplitProtocol(words, files, share.fraction, share.seed, share.kept_together)
    chosen = (share.fraction, share.seed, share.kept_together, found.names_sha256)
    return SplitProtocol("all faces, stratified by class", share.files_sha256, *chosen)


def describe_model(model: "PreTrainedModel", *, source: str, from_scratch: bool = False) -> ModelProtocol:
    """Returns what is trained or evaluated.

    Args:
        model: The model, its commit in its configuration where it came from the Hub.
        source: A name on the Hub, a folder (of which only the name is kept) or a size from scratch.
        from_scratch: Whether it is such a size.
    """
    commit = getattr(model.config, "_commit_hash", None)
    is_folder = commit is None and not from_scratch
    return ModelProtocol(
        source=Path(os.path.abspath(source)).name if is_folder else source,
        origin="scratch" if from_scratch else "folder" if is_folder else "Hub",
        commit=commit,
        type=model.config.model_type,
        parameters=model.num_parameters(),
        image_size=getattr(model.config, "image_size", None),
        patch_size=getattr(model.config, "patch_size", None),
    )


def describe_evaluated_model(
    model: "PreTrainedModel", *, source: str, left_out: Sequence[str], files: Mapping[str, str]
) -> dict[str, Any]:
    """Returns what was evaluated, as it stands in JSON.

    Args:
        model: The model.
        source: See `describe_model`.
        left_out: Classes of the model that the data does not have.
        files: SHA-256 by name of the files that its predictions depend on.
    """
    described = asdict(describe_model(model, source=source))
    kept = {name: described[name] for name in ("source", "commit", "type", "parameters", "image_size")}
    return {**kept, "classes_left_out": list(left_out), "files_sha256": dict(files)}


def describe_evaluation(data: DataProtocol, *, split: str, model: Mapping[str, Any], device: str) -> EvaluationProtocol:
    """Returns how the metrics of one split came about; `model` is from `describe_evaluated_model`."""
    faces = sum(data.used[split].values())
    return EvaluationProtocol(data, model, f"fp32, without autocast, on {device}; {faces} faces")
