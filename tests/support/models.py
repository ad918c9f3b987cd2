"""A ViT small enough for tests, and settings with which it learns."""

from pathlib import Path

from rafdb_vit.data.labels import BASIC

QUICK_TRAINING = {
    "per_device_train_batch_size": 14,
    "num_train_epochs": 3,
    "learning_rate": 3e-3,
    "bf16": False,
    "use_cpu": True,
    "disable_tqdm": True,
    "save_total_limit": None,
}
"""Training arguments with which the tiny ViT learns on the faces of `faces_dir`, 4 steps an epoch."""


def save_vit(folder: Path, *, names=BASIC.names, **changes) -> Path:
    """Saves a tiny ViT classifier with random weights and its processor."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    shape = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": 32,
        "patch_size": 8,
        "initializer_range": 0.15,
    }
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    model = ViTForImageClassification(ViTConfig(**{**shape, **labels, **changes}))
    model.save_pretrained(folder)
    side = model.config.image_size
    ViTImageProcessor(size={"height": side, "width": side}).save_pretrained(folder)
    return folder
