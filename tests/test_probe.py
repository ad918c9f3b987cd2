import numpy as np
import pytest
import torch
from transformers import ViTForImageClassification, ViTImageProcessor

from rafdb_vit.errors import UserError
from rafdb_vit.probe import draw_pictures, largest_difference, probe_model


def test_answers_are_the_models_probabilities_in_its_order(tiny_vit):
    model, processor = ViTForImageClassification.from_pretrained(tiny_vit), ViTImageProcessor.from_pretrained(tiny_vit)
    with torch.no_grad():
        expected = model.eval()(**processor(draw_pictures(), return_tensors="pt")).logits.softmax(-1)
    assert largest_difference(probe_model(str(tiny_vit), classes=7), expected.tolist()) < 1e-6


def test_the_pictures_never_change():
    first, again = ([np.asarray(picture) for picture in draw_pictures()] for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert first[0].shape == (100, 100, 3) and not (first[0] == first[1]).all()


def test_a_model_of_other_classes(tiny_vit):
    with pytest.raises(UserError, match="each of its 8 classes"):
        probe_model(str(tiny_vit), classes=8)
