"""The commands where the home and the caches are closed: one process, and what it leaves."""

import ctypes
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.faces import write_official
from tests.support.models import save_vit
from tests.support.modes import odd_modes

ROOT = Path(__file__).parents[2]
VERBS = """
import os, sys
from rafdb_vit.__main__ import main
os.umask(0o002)
run = "--use_cpu --bf16 False --max_steps 2 --num_train_epochs 1 --validation_fraction 0.3".split()
few = "--per_device_train_batch_size 14 --dataloader_num_workers 0 --output_dir".split()
model = ["--model_name_or_path", "model"]
for words in (
    ["train", "--data_dir", "faces", *model, *run, *few, "run"],
    ["evaluate", "run", "--use_cpu"],
    ["predict", "face.jpg", "--model", "run", "--use_cpu"],
    ["compare", "run", "run"],
    ["check", "faces", "--figures", "pictures"],
    ["train", "--dataset_name", "folders", *model, *run, *few, "other"],
    ["train", "--data_dir", "faces", *model, *run, *few, "closed/run"],
):
    sys.argv = ["rafdb-vit", *words]
    print(words[0], "ended with", main(), file=sys.stderr, flush=True)
"""


def give_up_rights():
    """Makes permissions bind root as they bind everyone (Linux's PR_CAPBSET_DROP, for two capabilities)."""
    libc = ctypes.CDLL(None, use_errno=True)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with faces and a model, and a home that can only be read."""
    place = tmp_path_factory.mktemp("closed-home")
    basic = write_official(place / "faces", train=6, test=2)
    save_vit(place / "model")
    faces = sorted((basic / "Image/aligned").iterdir())
    (place / "face.jpg").write_bytes(faces[0].read_bytes())
    for split, start in (("train", 0), ("test", 40)):
        for code in range(7):
            (place / "folders" / split / f"class{code}").mkdir(parents=True)
            for face in faces[start + code : start + code + 9 : 7]:
                (place / "folders" / split / f"class{code}" / face.name).write_bytes(face.read_bytes())
    for name in ("home", "closed"):
        (place / name).mkdir(mode=0o555)
    return place


@pytest.fixture(scope="module")
def said(place):
    """What the commands say on stderr, by line."""
    kept = ("PATH", "LANG", "OMP_NUM_THREADS", "LD_LIBRARY_PATH")
    environ = {name: value for name, value in os.environ.items() if name in kept}
    closed = {"HOME": str(place / "home"), "TMPDIR": str(place / "closed"), "MPLCONFIGDIR": str(place / "closed")}
    environ |= {**closed, "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", VERBS],
        env=environ,
        cwd=place,
        capture_output=True,
        text=True,
        timeout=200,
        preexec_fn=give_up_rights if sys.platform == "linux" else None,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [line for line in done.stderr.splitlines() if not line.endswith(" ...")]  # what takes long is announced


def test_every_command_works_or_ends_in_one_line_without_words_of_others(said, place):
    cache, model = place / "home/.cache/huggingface", place / "closed"
    assert said == [
        "train ended with 0",
        "evaluate ended with 0",
        "predict ended with 0",
        "compare ended with 0",
        *(f"Picture  {place / 'pictures' / name}.png" for name in ("class_counts", "contact_sheet")),
        "check ended with 1",
        f"error: HF_HOME: {cache} cannot be read and written (Permission denied); set HF_HOME to a folder that can, on "
        "a disk with room",
        "train ended with 2",
        f"error: --output_dir closed/run: {model} cannot be read and written to; take another folder",
        "train ended with 2",
    ]


def test_what_was_written_has_the_modes_of_the_umask(said, place):
    before = os.umask(0o002)
    try:
        assert {name: odd_modes(place / name) for name in ("run", "pictures")} == {"run": {}, "pictures": {}}
    finally:
        os.umask(before)
    assert stat.S_IMODE((place / "run/model.safetensors").stat().st_mode) == 0o664


def test_nothing_was_left_elsewhere(said, place):
    own = {"faces", "model", "face.jpg", "folders", "home", "closed", "run", "pictures"}
    assert {path.name for path in place.iterdir()} == own
    assert not [*(place / "home").iterdir(), *(place / "closed").iterdir()]
