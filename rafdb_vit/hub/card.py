"""The model card of a run, rendered from its `results.json`: nothing in it is typed by hand."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rafdb_vit.data.names import DRAWN, is_rafdb, phrase_data
from rafdb_vit.evaluation.baselines import score_majority
from rafdb_vit.evaluation.groups import FEW
from rafdb_vit.evaluation.protocol import DataProtocol, Protocol
from rafdb_vit.evaluation.results import EvaluationResult
from rafdb_vit.hub.license import License, describe_license
from rafdb_vit.hub.markdown import finalize, is_on_hub, link_model, quote_code, quote_python
from rafdb_vit.report.charts import rank_weakest
from rafdb_vit.report.files import CONFUSION_FILE, CURVES_FILE
from rafdb_vit.report.wording import describe_left_out, describe_test_share, join_names
from rafdb_vit.runtime.errors import escape
from rafdb_vit.runtime.fonts import is_drawn_everywhere

_TEMPLATE = Path(__file__).with_name("model_card.md")
_METRICS = {
    "Accuracy": ("accuracy", "accuracy"),
    "Macro-F1": ("f1", "macro_f1"),
    "Macro precision": ("precision", "macro_precision"),
    "Macro recall": ("recall", "macro_recall"),
}
_SIGNATURE = "<!-- Rendered by rafdb_vit from results.json; SHA-256 of all above: {}. An edited card is kept. -->"
_MOST_CLASSES = 50
"""In the tables; of more classes, the weakest are shown."""
_NOT_SHOWN = ("batch", "max_steps", "schedule_settings", "sharding")
_SETTING_NAMES = {
    "epochs": "epochs, unless stopped early",
    "batch_size": "batch size, on all devices",
    "warmup_steps": "warm-up (share of all steps below 1, else steps)",
    "early_stopping_patience": "early stopping patience (evaluations)",
    "layer_decay": "layer-wise learning-rate decay",
    "random_erasing": "random erasing (probability)",
}


def find_objection(data: DataProtocol) -> str | None:
    """Returns why a run on this data should not be published as it is; None if nothing speaks against it."""
    if data.name == DRAWN:
        return "it was trained and tested on drawn faces; its scores say nothing about real ones"
    if data.subsampled:
        used, found = sum(_count_faces(data.used).values()), sum(_count_faces(data.found).values())
        return f"it is a trial on a sample, {used:,} of {found:,} faces"
    return None


def _count_faces(splits: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    return {split: sum(counts.values()) for split, counts in splits.items()}


def render_card(
    *,
    validation: EvaluationResult,
    test: EvaluationResult,
    protocol: Protocol,
    repo_id: str,
    license: License,
    revision: str | None = None,
    has_curves: bool = False,
) -> ModelCard:
    """Renders the card of a run, from its metrics on validation and test and from how they came about.

    The run is published as `repo_id` (`USER/NAME`) on the branch `revision` (None for `main`), the picture of its
    learning curves beside the card if it `has_curves`.
    """
    data, name = protocol.data, repo_id.split("/")[-1]
    environment = Environment(undefined=StrictUndefined, autoescape=False, finalize=finalize)
    environment.filters.update(interval=_render_interval, code=quote_code, python=quote_python, model=link_model)
    text = environment.from_string(_TEMPLATE.read_text("utf-8")).render(
        card_data=Markup(_build_metadata(test, protocol, name=name, license=license).to_yaml()),
        title=name,
        repo_id=repo_id,
        revision=revision,
        test=test,
        validation=validation,
        protocol=protocol,
        counts=_count_faces(data.used),
        data_phrase=phrase_data(data.name),
        found=" + ".join(f"{count:,}" for count in _count_faces(data.found).values()),
        is_rafdb=is_rafdb(data.name),
        majority=score_majority(test),
        weakest=_describe_weakest(test),
        objection=find_objection(data),
        settings=_list_settings(protocol),
        about_data=" ".join(filter(None, (describe_test_share(protocol.test_split), describe_left_out(data)))),
        confusion_file=Markup(CONFUSION_FILE),
        curves_file=Markup(CURVES_FILE) if has_curves else None,
        shown=_choose_classes(test),
        numbered=_number_names(list(test.per_class)),
        method=test.interval_method,
        few=FEW,
        license_text=Markup(describe_license(license, data.name)),
    )
    return ModelCard(f"{text.rstrip()}\n\n{_SIGNATURE.format(_hash_text(text))}\n")


def was_edited(card: str) -> bool:
    """Tells whether a README.md on the Hub has words that `render_card` did not write.

    Metadata alone, which the Hub's form for a new card writes, do not count as words.
    """
    # The last one: the metadata may hold names that look like one.
    *_, signature = None, *re.finditer(_SIGNATURE.format("([0-9a-f]{64})").replace(".", r"\."), card)
    if signature is None:
        return bool(re.sub(r"\A---\n.*?\n---\s*", "", card, flags=re.S).strip())
    return signature[1] != _hash_text(card[: signature.start()]) or bool(card[signature.end() :].strip())


def _render_interval(ends: Sequence[float] | None) -> str:
    return "unknown" if ends is None else f"{ends[0]:.4f} to {ends[1]:.4f}"


def _hash_text(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()


def _build_metadata(test: EvaluationResult, protocol: Protocol, *, name: str, license: License) -> ModelCardData:
    model, data_name = protocol.model, escape(protocol.data.name)
    scores = {label: (metric, getattr(test, field)) for label, (metric, field) in _METRICS.items()}
    scores |= {f"F1 {escape(label)}": ("f1", test.per_class[label]["f1"]) for label in _choose_classes(test)}
    return ModelCardData(
        base_model=model.source if model.origin == "Hub" and is_on_hub(model.source) else None,
        datasets=[data_name] if "/" in data_name and is_on_hub(data_name) else None,
        library_name="transformers",
        pipeline_tag="image-classification",
        license=license.identifier,
        license_name=license.name,
        license_link=license.link,
        tags=["facial-expression-recognition", "emotion-recognition", escape(model.type), "rafdb_vit"],
        metrics=["accuracy", "f1", "precision", "recall"],
        model_name=name,
        eval_results=[
            EvalResult(
                task_type="image-classification",
                task_name="Facial expression recognition",
                dataset_type=data_name if "/" in data_name else data_name.lower().replace(" ", "-"),
                dataset_name=data_name,
                dataset_split="test",
                metric_type=metric,
                metric_name=label,
                metric_value=round(value, 4),
                metric_args={"average": "macro"} if label.startswith("Macro") else None,
            )
            for label, (metric, value) in scores.items()
        ],
    )


def _number_names(names: Sequence[str]) -> dict[int, str]:
    """Returns the names for which a picture may have a number, by these; which fonts drew it does not matter."""
    numbered = {number: name for number, name in enumerate(names, 1) if not is_drawn_everywhere(name)}
    return numbered if len(names) <= _MOST_CLASSES else {}


def _choose_classes(test: EvaluationResult) -> list[str]:
    """Returns the classes that the card shows: all, or the weakest of many."""
    if len(test.per_class) <= _MOST_CLASSES:
        return list(test.per_class)
    return rank_weakest(test)[:_MOST_CLASSES]


def _describe_weakest(test: EvaluationResult) -> str:
    """Returns a sentence on the classes that the model cannot tell, or tells worst; empty if it tells all alike."""
    weakest = {name: test.per_class[name] for name in test.weakest}
    names = [f"{name} (F1 {row['f1']:.2f}, {row['support']} test faces)" for name, row in weakest.items()]
    if names and not any(row["recall"] for row in weakest.values()):
        return f"Not one test face was recognised of: {join_names(names)}."
    listed = join_names(names) if len(names) > 2 else " and ".join(names)
    return f"Weakest on {listed}." if names else ""


def _list_settings(protocol: Protocol) -> dict[str, Any]:
    """Returns the settings of training, by what they are called in the card."""
    training, model = protocol.training, protocol.model
    shown = {name: value for name, value in training.items() if name not in _NOT_SHOWN and value is not None}
    if training["max_steps"] > 0:
        shown = {"optimizer steps": training["max_steps"], **shown}
        shown.pop("epochs", None)
    settings = {_SETTING_NAMES.get(name, name.replace("_", " ")): value for name, value in shown.items()}
    settings["augmentation"] = "; ".join(training.get("augmentation", ["not written down"]))
    for name, size in (("image size", model.image_size), ("patch size", model.patch_size)):
        if isinstance(size, int):
            settings[f"{name} (pixels)"] = size
    settings["versions"] = ", ".join(f"{name} {version}" for name, version in protocol.versions.items())
    return settings
