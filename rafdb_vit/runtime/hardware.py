"""The machine under a run: CPUs, device, precision, threads and data workers."""

import os
import platform
from pathlib import Path

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.processes import count_local_processes, is_launched

ACCELERATE_PRECISION = "ACCELERATE_MIXED_PRECISION"
EVAL_BATCH_SIZE = 64
"""Faces at once on each process, where nothing is trained."""
_THREADS = "OMP_NUM_THREADS"


def count_cpus() -> int:
    """Returns the CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(*, use_cpu: bool) -> str:
    """Returns `cuda`, else `mps`, else `cpu`; `cpu` if that is asked for."""
    import torch

    if not use_cpu and torch.cuda.is_available():
        return "cuda"
    return "mps" if not use_cpu and torch.backends.mps.is_available() else "cpu"


def has_bf16_instructions() -> bool:
    """Tells whether this CPU multiplies bfloat16 matrices in hardware (AVX512-BF16, AMX or the Arm extension).

    Without them autocast to bfloat16 runs, many times slower than float32.
    """
    import torch

    if platform.machine() in ("arm64", "aarch64"):
        return bool(torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def resolve_precision(device: str, *, fp16: bool | None, bf16: bool | None) -> str:
    """Chooses the precision: the flag, else accelerate's choice, else the fastest that the device supports.

    `fp16` and `bf16` are the flags, None where they were not given.

    Raises:
        UserError: Both flags are set, or the device does not compute in the precision asked for.
    """
    if fp16 and bf16:
        raise UserError("--fp16, --bf16: at most one of them; leave one out")
    chosen = os.environ.get(ACCELERATE_PRECISION, "no")
    source = f"mixed precision {chosen} of `accelerate config` or `accelerate launch`"
    if fp16 or bf16:
        chosen = "fp16" if fp16 else "bf16"
        source = f"--{chosen}"
    elif chosen == "no" and device == "cuda":
        return "fp32" if fp16 is False else "fp16"
    elif chosen == "no":
        return "bf16" if device == "cpu" and bf16 is not False and has_bf16_instructions() else "fp32"
    if chosen not in ("fp16", "bf16"):
        raise UserError(f"{source}: expected fp16, bf16 or no")
    if {"fp16": fp16, "bf16": bf16}[chosen] is False:
        raise UserError(f"--{chosen} False: contradicts the {source}; change one of them")
    if chosen == "fp16" and device != "cuda":
        raise UserError(f"{source}: fp16 needs a CUDA GPU, and this run is on {device}; leave it out or take --bf16")
    if chosen == "bf16" and device == "cuda" and not _gpu_has_bf16():
        raise UserError(f"{source}: this GPU has no bf16 (it came with Ampere); take --fp16")
    if chosen == "bf16" and device == "mps":
        raise UserError(f"{source}: mixed precision is not supported on {device}; leave it out")
    return chosen


def _gpu_has_bf16() -> bool:
    import torch

    return torch.cuda.is_bf16_supported(including_emulation=False)


def default_workers(device: str) -> int:
    """Returns how many data workers a process starts by default: GPUs wait without, CPUs are busy with the model."""
    return min(8, max(1, count_cpus() // count_local_processes())) if device == "cuda" else 0


def set_threads() -> int:
    """Gives torch the CPUs of this process; returns how many threads it now uses.

    Launchers export `OMP_NUM_THREADS`, mostly 1, with which training on a CPU runs on one core. What a person set for
    the launcher, or for a process without one, stays.
    """
    import torch

    if not _person_set_threads():
        torch.set_num_threads(max(1, count_cpus() // count_local_processes()))
    return torch.get_num_threads()


def _person_set_threads() -> bool:
    if _THREADS not in os.environ or not is_launched():
        return _THREADS in os.environ
    launcher = Path(f"/proc/{os.getppid()}")
    try:
        environment, words = ((launcher / name).read_bytes().split(b"\0") for name in ("environ", "cmdline"))
    except OSError:
        # No /proc (macOS, Windows): launchers export 1 unless told otherwise.
        return os.environ[_THREADS] != "1"
    told = any(word.startswith(b"--num_cpu_threads_per_process") for word in words)
    return told or any(entry.startswith(f"{_THREADS}=".encode()) for entry in environment)


def describe_device(device: str) -> str:
    """Returns the device's name for the start of a run, such as `cuda (NVIDIA H200)`."""
    import torch

    if device == "cuda":
        idle = torch.cuda.device_count() - count_local_processes()
        hint = f", {idle} more idle: `accelerate launch --multi_gpu` uses all" if idle > 0 else ""
        return f"cuda ({torch.cuda.get_device_name()}){hint}"
    return f"{device} ({platform.processor() or platform.machine()})"
