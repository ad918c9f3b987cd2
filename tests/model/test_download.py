import os
import shlex
import shutil

import pytest

from rafdb_vit.model.download import find_checkpoint, hash_model
from rafdb_vit.runtime.errors import UserError
from tests.support.refusals import refused


@pytest.mark.parametrize(
    "name", ["myrun", "a/b/c", "./a", "/nowhere/a", "a" * 300, "user/" + "a" * 300, "a\0b", "u/a\0b"]
)
def test_what_is_no_name_of_the_hub_is_never_asked_for_there(name, monkeypatch):
    monkeypatch.setattr("rafdb_vit.model.download._download", lambda *_: pytest.fail("the Hub was asked"))
    with refused("no folder", "a model of the Hub is USER/NAME"):
        find_checkpoint(name)


def test_a_user_who_is_not_there():
    with refused("~nobody-of-that-name/model", "there is no such user"):
        find_checkpoint("~nobody-of-that-name/model")


@pytest.mark.parametrize("revision", ["", "a\0b", "a\nb", "a" * 300])
def test_what_can_be_no_revision(revision):
    with refused("--model_revision", "expected a branch, a tag or a commit"):
        find_checkpoint("user/model", revision=revision)


@pytest.mark.parametrize("name", ["m", "it's", '"; touch ran; "', "$(touch ran)", "`touch ran`", "a\ntouch ran\n"])
def test_the_command_that_converts_does_nothing_else(tmp_path, tiny_vit, name):
    folder = shutil.copytree(tiny_vit, tmp_path / name)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError) as caught:
        find_checkpoint(str(folder))
    command = caught.value.line.split("convert it with: ")[1].removesuffix(" and copy its *.json files")
    program, flag, code = shlex.split(command)
    assert (program, flag) == ("python", "-c")
    asked = []

    class Stub:
        @staticmethod
        def from_pretrained(source, **settings):
            asked.append((source, settings))
            return Stub

        @staticmethod
        def save_pretrained(target):
            asked.append(target)

    exec(code.split("; ", 1)[1], {"M": Stub})
    assert asked == [(str(folder), {"use_safetensors": False, "trust_remote_code": False}), "converted"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_folder_that_cannot_be_read(tmp_path):
    (tmp_path / "m").mkdir(mode=0)
    with refused("cannot be read; check the folder's permissions"):
        find_checkpoint(str(tmp_path / "m"))


@pytest.mark.parametrize("kind", ["pipe", "folder"])
def test_what_is_no_file_any_more_is_not_hashed(tmp_path, tiny_vit, kind):
    folder = shutil.copytree(tiny_vit, tmp_path / "m")
    assert set(hash_model(folder)) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    weights = folder / "model.safetensors"
    weights.unlink()
    os.mkfifo(weights) if kind == "pipe" else weights.mkdir()
    with refused(weights, "cannot be read", "restore it"):
        hash_model(folder)
