"""Training pictures a second: ours against the pipeline of the 2023 report, from JPEG file to normalised batch.

Both apply the same augmentation (flip, rotation up to 10 degrees, random resized crop of 0.8 to 1, colour jitter 0.1)
to the same drawn faces, on one thread, in turn; ours without RandomErasing, which the report's has not.

Run: python benchmarks/augmentation.py [--image_size 224] [--faces 256] [--rounds 9]
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image
from torchvision import transforms
from transformers import ViTImageProcessor

from rafdb_vit import load_rafdb
from rafdb_vit.data.drawn_faces import write_drawn_faces
from rafdb_vit.model.preprocessing import build_collator, build_train_transform, with_face_transform

BATCH = 32


def build_ours(faces: Dataset, processor: ViTImageProcessor) -> Callable[[], None]:
    """Returns a function that makes every batch our way."""
    transform = build_train_transform(processor, seed=0, random_erasing=0.0)
    rows, collate = with_face_transform(faces, transform), build_collator(processor)

    def run() -> None:
        for start in range(0, len(rows), BATCH):
            collate(rows.__getitems__(list(range(start, min(start + BATCH, len(rows))))))

    return run


def build_report(faces: Dataset, size: int) -> Callable[[], None]:
    """Returns a function that makes every batch as the report does: PIL throughout, each image normalised."""
    augment = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(),
            transforms.RandomRotation(10),
            transforms.RandomResizedCrop(size, scale=(0.8, 1.0)),
            transforms.ColorJitter(brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    undecoded = faces.cast_column("image", ImageFeature(decode=False))
    paths = [image["path"] for image in undecoded["image"]]
    labels = faces["label"]

    def load(index: int) -> dict[str, Any]:
        return {"pixel_values": augment(Image.open(paths[index]).convert("RGB")), "labels": labels[index]}

    def run() -> None:
        for start in range(0, len(paths), BATCH):
            rows = [load(i) for i in range(start, min(start + BATCH, len(paths)))]
            torch.stack([row["pixel_values"] for row in rows])
            torch.tensor([row["labels"] for row in rows])

    return run


def seconds(run: Callable[[], None]) -> float:
    """Returns how long a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main() -> None:
    """Runs both in turn and prints the ratio of each round."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image_size", type=int, default=224)
    parser.add_argument("--faces", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        write_drawn_faces(folder, train_faces=options.faces, test_faces=20)
        faces = load_rafdb(folder)["train"]
        size = {"height": options.image_size, "width": options.image_size}
        ours = build_ours(faces, ViTImageProcessor(size=size))
        report = build_report(faces, options.image_size)
        ours(), report()
        times = [(seconds(ours), seconds(report)) for _ in range(options.rounds)]
    ratios = [theirs / mine for mine, theirs in times]
    for name, column in (("ours", 0), ("report", 1)):
        print(f"{name:8} {len(faces) / statistics.median(t[column] for t in times):8.0f} images/s")
    print(f"ratio    {statistics.median(ratios):8.2f} (worst {min(ratios):.2f}, best {max(ratios):.2f})")


if __name__ == "__main__":
    main()
