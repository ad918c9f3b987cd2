import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rafdb_vit.runtime import hardware
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.hardware import count_cpus, default_workers, resolve_precision, set_threads


@pytest.fixture(autouse=True)
def plain_cpu(monkeypatch):
    monkeypatch.setattr(hardware, "has_bf16_instructions", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)


@pytest.mark.parametrize(
    ("device", "fp16", "bf16", "launcher", "expected"),
    [
        ("cuda", None, None, None, "fp16"),
        ("cuda", None, None, "no", "fp16"),
        ("cuda", None, None, "bf16", "bf16"),
        ("cuda", None, True, "fp16", "bf16"),
        ("cuda", False, None, None, "fp32"),
        ("cuda", None, True, None, "bf16"),
        ("cpu", None, None, None, "fp32"),
        ("cpu", None, True, None, "bf16"),
        ("cpu", False, False, None, "fp32"),
        ("cpu", None, None, "bf16", "bf16"),
        ("mps", None, None, None, "fp32"),
    ],
)
def test_flag_then_accelerate_then_device(monkeypatch, device, fp16, bf16, launcher, expected):
    if launcher:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    assert resolve_precision(device, fp16=fp16, bf16=bf16) == expected


def test_bf16_on_a_cpu_that_has_the_instructions(monkeypatch):
    monkeypatch.setattr(hardware, "has_bf16_instructions", lambda: True)
    assert resolve_precision("cpu", fp16=None, bf16=None) == "bf16"
    assert resolve_precision("cpu", fp16=None, bf16=False) == "fp32"
    assert resolve_precision("mps", fp16=None, bf16=None) == "fp32"


@pytest.mark.parametrize(
    ("device", "fp16", "bf16", "launcher", "message"),
    [
        ("cpu", True, None, None, "--fp16: fp16 needs a CUDA GPU"),
        ("mps", True, None, None, "--fp16: fp16 needs a CUDA GPU"),
        ("cpu", None, None, "fp16", "mixed precision fp16 of `accelerate"),
        ("mps", None, True, None, "--bf16"),
        ("cuda", True, True, None, "at most one"),
        ("cuda", None, None, "fp8", "fp16, bf16 or no"),
        ("cuda", False, None, "fp16", "--fp16 False: contradicts"),
    ],
)
def test_what_the_device_does_not_bear_is_refused(monkeypatch, device, fp16, bf16, launcher, message):
    if launcher:
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    with pytest.raises(UserError, match=message):
        resolve_precision(device, fp16=fp16, bf16=bf16)


def test_a_gpu_without_bf16(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: False)
    with pytest.raises(UserError, match="no bf16"):
        resolve_precision("cuda", fp16=None, bf16=True)


@pytest.mark.parametrize(("cpus", "processes", "expected"), [(16, 1, 8), (16, 4, 4), (2, 4, 1)])
def test_data_workers_on_a_gpu(monkeypatch, cpus, processes, expected):
    monkeypatch.setattr(hardware, "count_cpus", lambda: cpus)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert default_workers("cuda") == expected


LAUNCHER = '''
import os, subprocess, sys
child = """
import sys
class torch:  # in place of the real one, which takes seconds to import
    set_num_threads = staticmethod(lambda count: setattr(torch, "threads", count))
    get_num_threads = staticmethod(lambda: getattr(torch, "threads", int(os.environ["OMP_NUM_THREADS"])))
import os
sys.modules["torch"] = torch
from rafdb_vit.runtime import hardware
hardware.count_cpus = lambda: 6
print(hardware.set_threads())
"""
exported = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "ACCELERATE_MIXED_PRECISION": "no"}
subprocess.run([sys.executable, "-c", child], env={**exported, "LOCAL_WORLD_SIZE": sys.argv[1]}, check=True)
'''


@pytest.mark.parametrize(
    ("told", "flags", "processes", "threads"),
    [
        (None, [], 1, 6),
        (None, [], 2, 3),
        ("1", [], 1, 1),
        ("2", [], 1, 2),
        (None, ["--num_cpu_threads_per_process=1"], 1, 1),
    ],
)
@pytest.mark.skipif(not Path("/proc").exists(), reason="tells a launcher's choice from a person's by /proc")
def test_threads_are_the_cores_of_a_process_whatever_a_launcher_exports(told, flags, processes, threads):
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment |= {"OMP_NUM_THREADS": told} if told else {}
    command = [sys.executable, "-c", LAUNCHER, str(processes), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.stdout == f"{threads}\n", done.stderr


def test_without_a_launcher_the_persons_threads_stay(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(hardware, "count_cpus", lambda: 3)
    for name in ("LOCAL_WORLD_SIZE", "TORCHELASTIC_RUN_ID", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    try:
        assert set_threads() == 3
        torch.set_num_threads(1)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert set_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_where_nothing_tells_a_launcher_1_is_its_own(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    monkeypatch.setattr(os, "getppid", lambda: -1)
    for value, persons in (("1", False), ("4", True)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert hardware._person_set_threads() is persons


def test_cpus_are_those_of_this_process():
    assert 1 <= count_cpus() <= (os.cpu_count() or 1)
