import multiprocessing
import pickle

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import (
    CLIPImageProcessor,
    ConvNextImageProcessor,
    DeiTImageProcessor,
    EfficientNetImageProcessor,
    LevitImageProcessor,
    MobileViTImageProcessor,
    PoolFormerImageProcessor,
    ViTImageProcessor,
)

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.model.preprocessing import (
    FastPreparation,
    ProcessorPreparation,
    build_collator,
    build_eval_transform,
    build_train_transform,
    choose_preparation,
    with_face_transform,
)
from rafdb_vit.runtime.errors import UserError


def processor_of(side=32, **changes):
    return ViTImageProcessor(size={"height": side, "width": side}, **changes)


def pictures(count=3, size=(100, 100)):
    generator = torch.Generator().manual_seed(1)
    arrays = torch.randint(0, 256, (count, size[1], size[0], 3), dtype=torch.uint8, generator=generator).numpy()
    return [Image.fromarray(array) for array in arrays]


def rows(transform, images, files=None):
    files = files or [f"train_{i}" for i in range(len(images))]
    batch = transform({"image": images, "label": list(range(len(images))), "file": files})
    return [dict(zip(batch, values, strict=True)) for values in zip(*batch.values(), strict=True)]


SQUARE = {"height": 48, "width": 48}
FAST = [
    processor_of(32),
    processor_of(224),
    processor_of(48, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]),
    processor_of(64, resample=3),
    processor_of(32, do_rescale=False),
    ViTImageProcessor(size={"height": 40, "width": 56}),
]
"""Processors that only resize, rescale and normalise."""
OTHERS = [
    processor_of(64, resample=0),  # takes other pixels than torchvision's "nearest"
    processor_of(32, do_normalize=False),  # multiplies by 1 / 255, which rounds otherwise than a division by 255
    ConvNextImageProcessor(size={"shortest_edge": 64}, crop_pct=0.875),
    CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE),
    DeiTImageProcessor(size={"height": 56, "width": 56}, crop_size=SQUARE),
    EfficientNetImageProcessor(size=SQUARE),  # normalises twice
    EfficientNetImageProcessor(size=SQUARE, rescale_offset=True, include_top=False),
    LevitImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE),
    MobileViTImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE),  # blue, green, red
    MobileViTImageProcessor(size=SQUARE, do_center_crop=False),
    PoolFormerImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE),
]
each_processor = pytest.mark.parametrize("processor", [*FAST, *OTHERS], ids=lambda p: type(p).__name__)


def prepared(processor, transform, images):
    batch = build_collator(processor)(rows(transform, images))
    assert batch["pixel_values"].dtype == torch.float32
    assert batch["labels"].tolist() == list(range(len(images)))
    return batch["pixel_values"]


def expected_pixels(processor, images):
    """What the processor makes of each picture by itself, as `pipeline` asks it."""
    return torch.cat([processor(image.convert("RGB"), return_tensors="pt")["pixel_values"] for image in images])


@each_processor
def test_evaluation_pixels_equal_the_processors_bit_by_bit(processor):
    images = [*pictures(2), *pictures(1, (90, 130)), *pictures(1, (300, 20)), Image.new("L", (100, 100), 77)]
    found = prepared(processor, build_eval_transform(processor), images)
    assert torch.equal(found, expected_pixels(processor, images))


@each_processor
def test_training_pixels_equal_them_too_where_nothing_is_drawn(processor):
    """So what a model is trained on differs from what it is scored on by the augmentation alone."""
    images = [*pictures(2), *pictures(1, (30, 20)), *pictures(1, (90, 130)), *pictures(1, (310, 290))]
    transform = build_train_transform(processor, seed=0, random_erasing=0.0)
    transform.turn = transform.jitter = lambda picture: picture
    transform.crop.get_params = lambda picture, scale, ratio: (0, 0, picture.height, picture.width)
    assert torch.equal(prepared(processor, transform, images), expected_pixels(processor, images))


@pytest.mark.parametrize(("processors", "way"), [(FAST, FastPreparation), (OTHERS, ProcessorPreparation)])
def test_a_processor_that_does_more_is_used_as_it_is(processors, way):
    for processor in processors:
        assert isinstance(preparation := choose_preparation(processor), way), processor
        assert preparation.size == tuple(processor(pictures(1)[0])["pixel_values"][0].shape[1:])


def test_what_is_drawn_changes_what_a_processor_is_given():
    """Colours flipped to blue, green, red: a picture that is red all over stays in the last channel."""
    processor = MobileViTImageProcessor(size=SQUARE, do_center_crop=False)
    transform = build_train_transform(processor, seed=0, random_erasing=0.0)
    found = prepared(processor, transform, [Image.new("RGB", (100, 100), (200, 0, 0))])
    assert found[0, 2].median() > 0.6 and found[0, :2].max() < 0.15


def test_train_pixels_have_the_models_size_and_are_not_yet_normalised():
    transform = build_train_transform(processor_of(48), seed=0, random_erasing=0.25)
    for row in rows(transform, pictures()):
        assert row["image"].shape == (3, 48, 48)
        assert row["image"].dtype == torch.uint8


def test_draws_depend_on_seed_epoch_and_file_alone():
    processor, image = processor_of(), pictures(1)[0]

    def pixels(seed, epoch, file, before=0):
        transform = build_train_transform(processor, seed=seed, random_erasing=0.25)
        transform.set_epoch(epoch)
        torch.rand(before)
        return rows(transform, [image], [file])[0]["image"]

    first = pixels(0, 0, "a")
    assert torch.equal(first, pixels(0, 0, "a", before=17))
    for other in (pixels(1, 0, "a"), pixels(0, 1, "a"), pixels(0, 0, "b")):
        assert not torch.equal(first, other)


def test_the_generator_of_torch_is_left_as_it_was():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    rows(build_train_transform(processor_of(), seed=0, random_erasing=0.25), pictures())
    assert torch.equal(torch.rand(2), expected)


def test_random_erasing_fills_with_the_mean_and_can_be_off():
    processor, image = processor_of(), Image.new("RGB", (100, 100), (255, 255, 255))
    mean = 128  # 255 / 2, rounded: almost 0 once normalised

    def share(probability):
        transform = build_train_transform(processor, seed=0, random_erasing=probability)
        pixels = torch.stack([row["image"] for row in rows(transform, [image] * 50)])
        return ((pixels == mean).all(1).flatten(1).sum(1) > 10).float().mean().item()

    assert share(0.0) == 0
    assert share(1.0) > 0.95
    assert 0.1 < share(0.3) < 0.6


@pytest.mark.parametrize(
    "build", [build_eval_transform, lambda p: build_train_transform(p, seed=0, random_erasing=0.25)]
)
def test_transforms_survive_pickling(build):
    transform = build(processor_of())
    if hasattr(transform, "set_epoch"):
        transform.set_epoch(5)
    copy = pickle.loads(pickle.dumps(transform))
    for mine, theirs in zip(rows(transform, pictures()), rows(copy, pictures()), strict=True):
        assert torch.equal(mine["image"], theirs["image"])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_see_the_epoch_and_change_nothing(faces_dir, method):
    processor = processor_of()
    transform = build_train_transform(processor, seed=0, random_erasing=0.25)
    faces = with_face_transform(load_rafdb(faces_dir)["test"], transform)
    collate = build_collator(processor)
    plain = DataLoader(faces, batch_size=7, collate_fn=collate)
    context = multiprocessing.get_context(method)
    workers = DataLoader(
        faces, batch_size=7, collate_fn=collate, num_workers=1, persistent_workers=True, multiprocessing_context=context
    )
    seen = []
    for epoch in (0, 1):
        transform.set_epoch(epoch)
        expected = torch.cat([batch["pixel_values"] for batch in plain])
        assert torch.equal(torch.cat([batch["pixel_values"] for batch in workers]), expected)
        seen.append(expected)
    assert not torch.equal(*seen)


def test_no_way_to_the_model_but_the_collator(tiny_vit):
    from transformers import ViTForImageClassification, default_data_collator

    processor = processor_of()
    model = ViTForImageClassification.from_pretrained(tiny_vit)
    for transform in (build_eval_transform(processor), build_train_transform(processor, seed=0, random_erasing=0.25)):
        raw = default_data_collator([{"image": row["image"]} for row in rows(transform, pictures())])
        with pytest.raises((TypeError, ValueError, AttributeError)):
            model(**raw)
    with pytest.raises(TypeError, match="set one first"):
        build_collator(processor)([{"image": pictures(1)[0], "label": 0}])


def test_an_unreadable_image_is_named(official):
    broken = official / "Image/aligned/test_0002_aligned.jpg"
    broken.write_bytes(broken.read_bytes()[:900])
    faces = with_face_transform(load_rafdb(official)["test"], build_eval_transform(processor_of()))
    with pytest.raises(UserError, match="test_0002_aligned.jpg: cannot be read as an image") as caught:
        faces[:]
    assert "\n" not in caught.value.line
