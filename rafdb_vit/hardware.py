"""The machine under a run: device, precision, threads and data workers."""

import os
import platform
from dataclasses import dataclass

import torch

from rafdb_vit.errors import UserError

ACCELERATE_PRECISION = "ACCELERATE_MIXED_PRECISION"
_LAUNCHER_MARKS = (ACCELERATE_PRECISION, "TORCHELASTIC_RUN_ID")


@dataclass(frozen=True)
class Hardware:
    """What a run computes on.

    Attributes:
        device: `cuda`, `mps` or `cpu`.
        precision: `fp16`, `bf16` or `fp32`; the first two are mixed precision, weights stay float32.
        workers: Data workers of each process.
    """

    device: str
    precision: str
    workers: int


def pick_device(*, use_cpu: bool) -> str:
    """Returns `cuda`, else `mps`, else `cpu`; `cpu` if that is asked for."""
    if use_cpu:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def has_bf16_instructions() -> bool:
    """Tells whether this CPU multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX or the Arm extension).

    Without them autocast to bfloat16 runs, many times slower than float32.
    """
    if platform.machine() in ("arm64", "aarch64"):
        return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(device: str, *, fp16: bool | None, bf16: bool | None) -> str:
    """Chooses the precision: the flag, else accelerate's choice, else the fastest that the device bears.

    Args:
        device: From `pick_device`.
        fp16: The flag `--fp16`; None if it was not given.
        bf16: The flag `--bf16`; None if it was not given.

    Raises:
        UserError: Both flags are set, or the device does not compute in the precision asked for.
    """
    if fp16 and bf16:
        raise UserError("--fp16, --bf16: at most one of them; leave one out")
    chosen, source = next(((name, f"--{name}") for name, flag in (("fp16", fp16), ("bf16", bf16)) if flag), (None, ""))
    launcher = os.environ.get(ACCELERATE_PRECISION, "no")
    if chosen is None and launcher != "no":
        chosen, source = launcher, f"mixed precision {launcher} of `accelerate config` or `accelerate launch`"
    if chosen is None:
        if device == "cuda":
            return "fp32" if fp16 is False else "fp16"
        return "bf16" if device == "cpu" and bf16 is not False and has_bf16_instructions() else "fp32"
    if chosen not in ("fp16", "bf16"):
        raise UserError(f"{source}: expected fp16, bf16 or no")
    if {"fp16": fp16, "bf16": bf16}[chosen] is False:
        raise UserError(f"--{chosen} False: contradicts the {source}; change one of them")
    if chosen == "fp16" and device != "cuda":
        raise UserError(f"{source}: fp16 needs a CUDA GPU, and this run is on {device}; leave it out or take --bf16")
    if chosen == "bf16" and device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(f"{source}: this GPU has no bf16 (it came with Ampere); take --fp16")
    if chosen == "bf16" and device == "mps":
        raise UserError(f"{source}: mixed precision is not supported on {device}; leave it out")
    return chosen


def count_cpus() -> int:
    """Returns the CPUs that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _local_processes() -> int:
    return max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def default_workers(device: str) -> int:
    """Returns how many data workers a process starts unless told: GPUs starve without, CPUs are busy with the model."""
    return min(8, max(1, count_cpus() // _local_processes())) if device == "cuda" else 0


def set_threads() -> int:
    """Gives torch the CPUs of this process; returns how many threads it now uses.

    Launchers export `OMP_NUM_THREADS=1`, with which training on a CPU runs on one core. A person's own setting stays.
    """
    asked = os.environ.get("OMP_NUM_THREADS")
    launched = any(mark in os.environ for mark in _LAUNCHER_MARKS)
    if asked is None or (asked == "1" and launched):
        torch.set_num_threads(max(1, count_cpus() // _local_processes()))
    return torch.get_num_threads()


def describe_device(device: str) -> str:
    """Returns the device's name for the start of a run, such as `cuda (NVIDIA H200)`."""
    if device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    return f"{device} ({platform.processor() or platform.machine()})"
