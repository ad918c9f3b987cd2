import os

import pytest
import torch

from rafdb_vit import hardware
from rafdb_vit.errors import UserError
from rafdb_vit.hardware import default_workers, resolve_precision, set_threads


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


def test_threads_despite_a_launcher_and_as_the_person_says(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(hardware, "count_cpus", lambda: 3)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    try:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        assert set_threads() == 3
        torch.set_num_threads(1)
        monkeypatch.setenv("OMP_NUM_THREADS", "1")
        assert set_threads() == 1  # no launcher: the person's own choice
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
        assert set_threads() == 3
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
        assert set_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_cpus_are_those_of_this_process():
    assert 1 <= hardware.count_cpus() <= (os.cpu_count() or 1)
