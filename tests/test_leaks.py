import json

import pytest

from rafdb_vit.leaks import find_leak

TOKENS = ["hf_" + "aB3" * 11, "hf_oauth_" + "aB3" * 11, "hf_jwt_" + "a" * 30, "ghp_" + "a" * 36, "sk-" + "a" * 40]
PATHS = [
    "/home/ada/RAFDB",
    "|/home/ada/x",
    "{/home/ada/x",
    ";/home/ada/x",
    "~/x",
    "~ada/x",
    "C:\\Users\\ada",
    "file:///x",
]
HONEST = [
    "ada/multitask-facial-expression-recognition-vit-base",
    "ada/vit-mask-robust-expression-recognition-large-2026",
    "http://www.whdeld.cn/RAF/model1.html",
    "https://huggingface.co/google/vit-base-patch16-224-in21k",
    "precision / recall / F1",
    "(figures/confusion_matrix.png)",
    "google/vit-base-patch16-224-in21k",
    "17.5 MB/s and 3/4/5",
]


def leak(tmp_path, text, **settings):
    path = tmp_path / "x.md"
    path.write_text(text)
    return find_leak(path, **settings)


@pytest.mark.parametrize("token", TOKENS)
def test_tokens(tmp_path, token):
    assert "token" in leak(tmp_path, f"it is {token}.") and "token" in leak(tmp_path, f'"{token}"')


@pytest.mark.parametrize("path", PATHS)
def test_paths(tmp_path, path):
    assert "path of this machine" in leak(tmp_path, f"see {path} there")


def test_paths_in_json_however_they_are_written(tmp_path):
    file = tmp_path / "x.json"
    for text in ('{"a": "/data"}', r'{"a": "\/home\/ada"}', json.dumps({"a": r"\/home\/ada\/x"}), '{"/home/ada/x": 1}'):
        file.write_text(text)
        assert "path of this machine" in find_leak(file), text


def test_the_token_in_use_whatever_its_form(tmp_path):
    assert leak(tmp_path, "abc secret-of-another-form") is None
    assert leak(tmp_path, "abc secret-of-another-form", token="secret-of-another-form")


@pytest.mark.parametrize("text", HONEST)
def test_honest_words_pass(tmp_path, text):
    assert leak(tmp_path, f"see {text} there") is None
