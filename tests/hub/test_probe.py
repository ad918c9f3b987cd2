import numpy as np
import pytest
import torch
from transformers import ViTForImageClassification, ViTImageProcessor

from rafdb_vit.hub.probe import largest_difference, make_probe_images, probe_model
from rafdb_vit.runtime.errors import UserError


def test_answers_are_the_models_probabilities_in_its_order(tiny_vit):
    model, processor = ViTForImageClassification.from_pretrained(tiny_vit), ViTImageProcessor.from_pretrained(tiny_vit)
    with torch.no_grad():
        expected = model.eval()(**processor(make_probe_images(), return_tensors="pt")).logits.softmax(-1)
    assert largest_difference(probe_model(str(tiny_vit), classes=7), expected.tolist()) < 1e-6


def test_the_pictures_never_change():
    first, again = ([np.asarray(picture) for picture in make_probe_images()] for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[0].shape == (100, 100, 3) and not (first[0] == first[1]).all()


def test_a_model_of_other_classes(tiny_vit):
    with pytest.raises(UserError, match="each of its 8 classes"):
        probe_model(str(tiny_vit), classes=8)
