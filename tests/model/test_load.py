import http.server
import json
import os
import shutil
import socket
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    PvtConfig,
    PvtForImageClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

from rafdb_vit.data.labels import BASIC
from rafdb_vit.model.load import load_classifier, load_model, load_trained, load_weights, match_outputs
from rafdb_vit.model.scratch import build_model
from rafdb_vit.runtime.errors import UserError
from tests.support.models import save_vit


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second, *, prefix=""):
    names = [name for name in first if name.startswith(prefix)]
    return bool(names) and all(torch.equal(first[name], second[name]) for name in names)


def test_every_weight_is_loaded_and_names_are_in_the_config(tiny_vit):
    model, processor = load_model(str(tiny_vit), BASIC.names)
    assert same(state(ViTForImageClassification.from_pretrained(tiny_vit)), state(model))
    assert model.config.id2label == dict(enumerate(BASIC.names))
    assert model.config.label2id["Happiness"] == 3
    assert model.dtype == torch.float32
    assert processor.size["height"] == 32


def test_a_head_of_another_size_is_replaced_with_one_line(tmp_path, capsys):
    folder = save_vit(tmp_path / "m", names=[f"c{i}" for i in range(10)])
    capsys.readouterr()
    model, _ = load_model(str(folder), BASIC.names)
    said = capsys.readouterr()
    assert said.out.splitlines() == ["Classification head: replaced (new head of 7 classes for one of 10)."]
    assert said.err == ""
    assert model.classifier.weight.shape == (7, 32)
    assert same(state(ViTForImageClassification.from_pretrained(folder)), state(model), prefix="vit.")


def test_a_backbone_without_a_head_gets_one(tmp_path, capsys):
    folder = save_vit(tmp_path / "m")
    backbone = ViTModel.from_pretrained(folder)
    backbone.save_pretrained(folder)
    capsys.readouterr()
    model, _ = load_model(str(folder), BASIC.names)
    assert "Classification head: replaced" in capsys.readouterr().out
    assert same({f"vit.{k}": v for k, v in state(backbone).items() if "pooler" not in k}, state(model), prefix="vit.")


def test_a_head_of_the_right_size_for_other_classes_is_replaced(tmp_path, capsys):
    folder = save_vit(tmp_path / "m", names=["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"])
    model, _ = load_model(str(folder), BASIC.names)
    assert "the checkpoint's classes are angry, disgust" in capsys.readouterr().out
    stored = ViTForImageClassification.from_pretrained(folder)
    assert not torch.equal(stored.classifier.weight, model.classifier.weight)
    assert same(state(stored), state(model), prefix="vit.")


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_a_missing_weight_is_an_error(tmp_path):
    folder = save_vit(tmp_path / "m")
    rewrite(folder, lambda weights: weights.pop("vit.encoder.layer.1.attention.attention.key.weight"))
    with pytest.raises(UserError, match="1 weights are missing"):
        load_model(str(folder), BASIC.names)


def test_a_weight_of_another_shape_is_an_error(tmp_path):
    folder = save_vit(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_size": 64}))
    with pytest.raises(UserError, match="position_embeddings"):
        load_model(str(folder), BASIC.names)


def test_a_processor_of_another_size_is_an_error(tmp_path, tiny_vit):
    folder = shutil.copytree(tiny_vit, tmp_path / "m")
    build_model("tiny", BASIC.names)[1].save_pretrained(folder)
    with pytest.raises(UserError, match="image_size 32, preprocessor_config.json 64"):
        load_model(str(folder), BASIC.names)


@pytest.mark.parametrize("fault", ["no folder", "no config", "no processor", "pickled", "no weights", "unknown type"])
def test_a_folder_that_is_no_checkpoint(tmp_path, tiny_vit, fault):
    folder = shutil.copytree(tiny_vit, tmp_path / "m")
    weights = folder / "model.safetensors"
    if fault == "no folder":
        shutil.rmtree(folder)
    elif fault == "no config":
        (folder / "config.json").unlink()
    elif fault == "no processor":
        (folder / "preprocessor_config.json").unlink()
    elif fault == "pickled":
        torch.save(load_file(weights), folder / "pytorch_model.bin")
        weights.unlink()
    elif fault == "no weights":
        weights.unlink()
    else:
        (folder / "config.json").write_text('{"model_type": "from_the_future"}')
    expected = {
        "no folder": "no folder",
        "no config": "config.json",
        "no processor": "preprocessor_config.json",
        "pickled": "pytorch_model.bin.*save_pretrained",
        "no weights": "model.safetensors",
        "unknown type": "from_the_future",
    }
    with pytest.raises(UserError, match=expected[fault]):
        load_model(str(folder), BASIC.names)


def test_a_truncated_weight_file_is_an_error(tmp_path, tiny_vit):
    folder = shutil.copytree(tiny_vit, tmp_path / "m")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match="weights cannot be read"):
        load_model(str(folder), BASIC.names)


def test_remote_code_is_refused_and_not_run(tmp_path, tiny_vit):
    folder = shutil.copytree(tiny_vit, tmp_path / "m")
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Config: pass\n")
    config = {"model_type": "evil", "auto_map": {"AutoConfig": "evil.Config"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="code of its own"):
        load_model(str(folder), BASIC.names)
    assert not (tmp_path / "ran").exists()


def test_a_revision_is_for_the_hub(tiny_vit):
    with pytest.raises(UserError, match="--model_revision main"):
        load_model(str(tiny_vit), BASIC.names, revision="main")


def test_offline_without_a_copy_says_how_to_go_on():
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set .*hf download user/model"):
        load_model("user/model", BASIC.names)


def ask_hub(endpoint, home, seconds=60):
    """Loads a Hub model in a process of its own (the endpoint is read at import); returns its error and duration."""
    code = (
        "import time, sys; from rafdb_vit.runtime.errors import UserError\n"
        "from rafdb_vit.model import download; from rafdb_vit.model.load import load_model\n"
        "assert download._HUB_TIMEOUT == 5.0; download._HUB_TIMEOUT = 0.2\n"
        "start = time.monotonic()\n"
        "try:\n    load_model('user/model', ['a'])\n"
        "except UserError as error:\n    print(error.line)\n"
        "print(time.monotonic() - start)"
    )
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=seconds, check=True
    )
    *lines, duration = done.stdout.splitlines()
    return lines, done.stderr, float(duration)


def test_a_hub_that_does_not_answer(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        lines, noise, duration = ask_hub(f"http://127.0.0.1:{silent.getsockname()[1]}", tmp_path)
    assert len(lines) == 1
    assert "the Hub cannot be reached and no copy is in the cache" in lines[0]
    assert "hf download user/model" in lines[0]
    assert noise == "Loading the model ...\n"  # what took so long
    assert duration < 8


class NoSuchModel(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.end_headers()

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


def test_a_model_that_the_hub_does_not_have(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), NoSuchModel)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    lines, noise, _ = ask_hub(f"http://127.0.0.1:{server.server_port}", tmp_path)
    server.shutdown()
    assert len(lines) == 1 and "no such model on the Hub" in lines[0]
    assert noise == ""


def test_load_weights_copies_every_weight(tmp_path, tiny_vit):
    model = ViTForImageClassification.from_pretrained(tiny_vit)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    model.save_pretrained(tmp_path / "c")
    build_model("tiny", BASIC.names, image_size=32)[1].save_pretrained(tmp_path / "c")
    live = ViTForImageClassification.from_pretrained(tiny_vit)
    load_weights(live, tmp_path / "c")
    assert same(state(model), state(live))


def test_load_trained_refuses_a_superfluous_weight(tmp_path, tiny_vit):
    folder = shutil.copytree(tiny_vit, tmp_path / "m")
    rewrite(folder, lambda weights: weights.update({"vit.pooler.dense.bias": torch.zeros(32)}))
    with pytest.raises(UserError, match="1 weights do not fit"):
        load_trained(folder)
    assert not load_trained(tiny_vit)[0].training


def refused(folder, words):
    with pytest.raises(UserError, match=words) as error:
        load_classifier(str(folder), flag="MODEL")
    assert (
        error.value.line.startswith((f"MODEL {folder}: ", f"MODEL: no folder {folder}; "))
        and "\n" not in error.value.line
    )


def test_a_classifier_is_loaded_as_it_is(tiny_vit):
    classifier = load_classifier(str(tiny_vit), flag="MODEL")
    assert classifier.names == BASIC.names and classifier.model.config._commit_hash is None
    assert not classifier.model.training and classifier.folder == tiny_vit


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
    refused(tmp_path / "nothing", "no folder")
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


def test_classes_without_an_output_can_be_left_out():
    classes = ("happy", "contempt", "a b", "sad")
    with pytest.raises(UserError, match="contempt is not among them; --leave_out 'contempt,a b' scores the others"):
        match_outputs(("Happiness", "Sadness"), classes, where="MODEL m")
    with pytest.raises(UserError) as error:
        match_outputs(("Happiness", "Sadness"), ("contempt", "happy"), where="MODEL m")
    assert "--leave_out" not in str(error.value)


def test_the_number_of_classes_is_that_of_their_names_where_a_configuration_has_both(tmp_path, capsys):
    config = PvtConfig(
        image_size=32,
        num_encoder_blocks=2,
        depths=[1, 1],
        hidden_sizes=[8, 8],
        sequence_reduction_ratios=[1, 1],
        patch_sizes=[4, 2],
        strides=[4, 2],
        num_attention_heads=[1, 1],
        mlp_ratios=[1, 1],
        num_labels=10,
    )
    config.id2label = dict(enumerate(BASIC.names))
    model = PvtForImageClassification(config)
    model.save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model, _ = load_model(str(tmp_path), BASIC.names)
    assert model.classifier.out_features == 7
    with pytest.raises(UserError, match=r"answers 2 pictures with numbers of shape \[2, 10\]; expected .* 7 classes"):
        load_classifier(str(tmp_path))


def test_weights_that_are_not_finite_are_not_trained_on(tmp_path):
    folder = save_vit(tmp_path / "m")
    weights = load_file(folder / "model.safetensors")
    weights["vit.encoder.layer.0.output.dense.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"the weight vit.*bias holds numbers that are not finite"):
        load_model(str(folder), BASIC.names)
