"""A run folder as training leaves it, made in a moment: a tiny ViT, and figures of random logits."""

import numpy as np

from rafdb_vit.data.labels import BASIC
from rafdb_vit.data.published import RAFDB
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, EvaluationResult, render_results
from rafdb_vit.model.download import hash_model
from rafdb_vit.report.plots import plot_learning_curves
from rafdb_vit.runtime.output_folder import OutputFolder
from tests.support.models import save_vit

PUBLISHED = {split: RAFDB["basic"].of_split(split) for split in ("train", "test")}
FORM = {"sources": {"train": "train", "test": "test"}, "images": "aligned", "targets": "single labels"}


def describe_data(name="RAF-DB basic", *, subsampled=False):
    """The part `data` of a protocol."""
    if name != "RAF-DB basic":
        found = {"train": dict.fromkeys(BASIC.names, 500), "test": dict.fromkeys(BASIC.names, 50)}
    else:
        found = PUBLISHED
    validation = {label: count // 10 for label, count in found["train"].items()}
    train = {label: count - validation[label] for label, count in found["train"].items()}
    used = {"train": train, "validation": validation, "test": found["test"]}
    if subsampled:
        used["train"] = dict.fromkeys(BASIC.names, 5)
    return {"name": name, "found": found, "used": used, "subsampled": subsampled, **FORM}


def describe_run(data, files):
    """A protocol as training writes it."""
    return {
        "data": data,
        "validation": {
            "carved_from": "train, stratified by class",
            "fraction": 0.1,
            "seed": 0,
            "files_sha256": "0" * 64,
        },
        "test": "scored once, at the end, with the chosen checkpoint",
        "scoring": "fp32, without autocast, by the model reloaded from the run folder",
        "files_sha256": files,
        "model": {
            "source": "google/vit-base-patch16-224-in21k",
            "origin": "Hub",
            "commit": "b4569560a39a0f1af58e3ddaf17facf20ab919b0",
            "type": "vit",
            "parameters": 85804039,
            "image_size": 224,
            "patch_size": 16,
        },
        "training": {
            "optimizer": "adamw_torch_fused",
            "learning_rate": 0.0001,
            "schedule": "cosine",
            "schedule_settings": {},
            "epochs": 25.0,
            "max_steps": -1,
            "batch_size": 32,
            "sharding": None,
            "precision": "fp16",
            "device": "cuda",
            "seed": 42,
            "augmentation": ["RandomHorizontalFlip(p=0.5)", "ColorJitter(hue=(-0.1, 0.1))"],
        },
        "checkpoint": {
            "chosen_by": "highest macro_f1 on validation",
            "value": 0.5,
            "step": 120,
            "epoch": 3.0,
            "epochs_trained": 8.0,
            "steps_trained": 320,
        },
        "versions": {"python": "3.11.7", "rafdb-vit": "0.1.0", "transformers": "5.24.0"},
    }


def random_result(seed, names=BASIC.names):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(names)), np.arange(len(names)) * 10 + 20))
    logits = rng.normal(size=(len(labels), len(names)))
    logits[np.arange(len(labels)), labels] += 2
    return EvaluationResult.from_logits(logits, labels, names)


def write_finished_run(folder, name="RAF-DB basic", *, subsampled=False, names=BASIC.names, **changes):
    """Writes it; returns the folder."""
    save_vit(folder, names=names, **changes)
    history = [{"epoch": 1.0, "eval_loss": 1.0, "eval_macro_f1": 0.5, "eval_accuracy": 0.5, "step": 1}]
    drawn = plot_learning_curves(history, chosen_epoch=1.0)
    protocol = Protocol.read(describe_run(describe_data(name, subsampled=subsampled), hash_model(folder)))
    results = {"validation": random_result(0, names), "test": random_result(1, names), "protocol": protocol}
    write_as_a_run(folder, {"figures/learning_curves.png": drawn, RESULTS_FILE: render_results(**results)})
    return folder


def write_as_a_run(folder, files):
    """Writes files as a run does, with their hashes in its list."""
    output = OutputFolder(folder, ("*", "*/*"))
    for name, content in files.items():
        output.write(name, content)
