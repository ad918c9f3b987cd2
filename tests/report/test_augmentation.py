from transformers import ViTImageProcessor

from rafdb_vit.model.preprocessing import build_train_transform
from rafdb_vit.report.augmentation import describe_augmentation


def test_the_steps_of_training_are_told_in_words():
    transform = build_train_transform(ViTImageProcessor(size={"height": 32, "width": 32}), seed=0, random_erasing=0.25)
    assert describe_augmentation(transform.describe()) == (
        "Each time training sees a face it is changed a little, at random: mirrored (50% of the time), turned by up to "
        "10 degrees, cropped to 80% of its area or more, its brightness, contrast, saturation and hue changed by up to "
        "10%, and a rectangle of 2% to 33% of its area blanked (25% of the time). Validation and test are not."
    )


def test_what_is_not_known_stands_as_it_is():
    assert describe_augmentation([]) == ""
    words = describe_augmentation(["Blur(3)", "RandomRotation(odd)", "ColorJitter(hue=(-0.1, 0.1))"])
    assert "at random: Blur(3), RandomRotation(odd), and its hue changed by up to 10%." in words
    assert "its brightness changed by up to 20%, its hue" in describe_augmentation(
        ["ColorJitter(brightness=(0.8, 1.2), hue=(-0.1, 0.1))"]
    )
