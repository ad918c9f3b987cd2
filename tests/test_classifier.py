import json

import pytest
from transformers import ViTConfig, ViTImageProcessor, ViTModel

from rafdb_vit.checkpoint import hash_model
from rafdb_vit.classifier import load_classifier, match_outputs
from rafdb_vit.errors import UserError
from rafdb_vit.labels import BASIC
from tests.conftest import save_vit


def refused(folder, words):
    with pytest.raises(UserError, match=words) as error:
        load_classifier(str(folder), flag="MODEL")
    assert error.value.line.startswith(f"MODEL {folder}: ") and "\n" not in error.value.line


def test_a_classifier_is_loaded_as_it_is(tiny_vit):
    classifier = load_classifier(str(tiny_vit), flag="MODEL")
    assert classifier.names == BASIC.names and classifier.commit is None
    assert not classifier.model.training and classifier.hash_files() == hash_model(tiny_vit)


def test_a_model_without_a_head_is_refused(tmp_path):
    ViTModel(ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=32)).save_pretrained(
        tmp_path
    )
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    refused(tmp_path, "trained to classify")


def test_classes_without_names_are_refused(tmp_path):
    refused(save_vit(tmp_path / "m", names=[f"LABEL_{i}" for i in range(7)]), "does not name its classes")
    twice = save_vit(tmp_path / "twice")
    config = json.loads((twice / "config.json").read_text())
    config["id2label"]["6"] = "Fear"
    (twice / "config.json").write_text(json.dumps(config))
    refused(twice, "two of its classes have one name")


def test_what_is_no_model_is_refused(tmp_path, tiny_vit):
    refused(tmp_path, "no config.json")
    refused(tmp_path / "nothing", "no such folder")
    folder = save_vit(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    refused(folder, "weights do not fit")


def test_outputs_are_found_by_name():
    assert match_outputs(BASIC.names, BASIC.names, where="m") == list(range(7))
    written = ("angry", "disgust", "FEAR", "happy", "Neutral", "sad", "surprised", "contempt")
    order = match_outputs(written, BASIC.names, where="m")
    assert order == [6, 2, 1, 3, 5, 0, 4]
    assert match_outputs(("Happily Surprised", "smile face"), ("smile-face", "happily_surprised"), where="m") == [1, 0]


@pytest.mark.parametrize(
    ("names", "classes", "words"),
    [
        (("happy", "sad"), ("happy", "fear"), "fear is not among them"),
        (("happy", "joy", "sad"), ("Happiness", "Sadness"), "Happiness is 2 of them"),
    ],
)
def test_a_class_without_an_output_or_with_two_is_refused(names, classes, words):
    with pytest.raises(UserError, match=words):
        match_outputs(names, classes, where="MODEL m")
