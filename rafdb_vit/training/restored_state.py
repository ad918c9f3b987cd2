"""What a checkpoint's files of tensors hold, looked at before it is restored: they may come from somebody else.

torch believes such a file. Kernels of an optimizer run over the memory of its state by the shape of the parameter,
whatever the state's own shape is; a schedule takes over any attribute; a record that is compressed needs a thousand
times its size. So nothing is restored that has another form than the live object's own.
"""

import math
import os
import pickletools
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from transformers.trainer_pt_utils import safe_globals

from rafdb_vit.runtime.disk import open_plain
from rafdb_vit.training.progress import is_number

_MOST_PICKLED = 4 * 2**20
"""Bytes of what says which tensors there are; the state of a ViT-H has 300,000."""
_CALLED = re.compile(
    r"collections OrderedDict|_codecs encode|numpy (dtype|ndarray)|numpy\._?core\.multiarray _reconstruct|"
    r"torch\._utils _rebuild_(tensor_v2|parameter)|torch (\w+Storage|bool|u?int\d+|b?float\d+)|torchao[\w.]* \w+"
)
"""What the states of optimizers, schedules and random numbers call to be made anew.

torch allows more: `bytearray`, say, which takes as much memory as a number in the file says.
"""
_CALLING = ("GLOBAL", "STACK_GLOBAL", "INST")
_END = struct.Struct("<4sQHHIIQQQQ4sIQI4s4HIIH")
"""The three records with which torch ends an archive: where the list of its parts begins, twice, and where that stands
(PKWARE's APPNOTE.TXT, 4.3.14 to 4.3.16)."""
_MOST_SMALL = 4096
"""Numbers of a table that an optimizer with few bits keeps beside a small parameter."""
_MOST_DEVICES = 1024
_MOST_DEVICE_STATE = 2**16
"""Bytes of a device's random numbers, where no such device is here to compare with."""
_DEVICES = frozenset({"cuda", "xla", "npu", "hpu", "mlu", "musa"})
_DEEPEST = 5
_CHANGED_BY_SCHEDULE = ("lr", "initial_lr")
_CHANGED_BY_STEPS = ("last_epoch", "_step_count")
_KNOWN_OPTIMIZERS = ("torch.optim.", "transformers.")


def load_tensors(path: Path) -> Any:
    """Returns what `torch.save` wrote, on the CPU; it takes no more memory than the file has bytes.

    Raises:
        ValueError: It is no such file, or holds something else than tensors and plain values.
        OSError: It cannot be read.
        RuntimeError: Likewise, by torch; so are `pickle.UnpicklingError` and others of `naming_damage`.
    """
    check_archive(path)
    try:
        with open_plain(path, most=None) as file, safe_globals():
            return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError as error:
        raise ValueError("asks for more memory than it has bytes") from error


def check_archive(path: Path) -> None:
    """Checks that a file is an archive as torch writes it: without compression, and as large as its parts.

    Raises:
        ValueError: It is none.
        OSError: It cannot be read.
    """
    with open_plain(path, most=None) as file:
        size = os.fstat(file.fileno()).st_size
        try:
            with zipfile.ZipFile(file) as archive:
                records = archive.infolist()
                _check_end(file, size, archive.start_dir)
                pickled = [archive.read(record) for record in records if _is_small_pickle(record)]
        except (zipfile.BadZipFile, struct.error, NotImplementedError, zlib.error) as error:
            raise ValueError(f"no archive of torch: {error}") from error
    if any(
        record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size for record in records
    ):
        raise ValueError("it is compressed, which torch does not do")
    if sum(record.file_size for record in records) > size:
        raise ValueError("its parts have more bytes than the file")
    if any(_is_pickle(record) and record.file_size > _MOST_PICKLED for record in records):
        raise ValueError(f"it lists its tensors in more than {_MOST_PICKLED:,} bytes")
    for content in pickled:
        for code, name, _ in pickletools.genops(content):
            if code.name in _CALLING and not _CALLED.fullmatch(str(name)):
                raise ValueError(f"it calls {name!s:.90}, which no state of a run does")


def _is_pickle(record: zipfile.ZipInfo) -> bool:
    """Tells whether torch may take a part for the pickle, whose name it finds in capitals too."""
    return record.filename.lower().endswith(".pkl")


def _is_small_pickle(record: zipfile.ZipInfo) -> bool:
    return _is_pickle(record) and record.compress_type == zipfile.ZIP_STORED and record.file_size <= _MOST_PICKLED


def _check_end(file: BinaryIO, size: int, start: int) -> None:
    """Checks that an archive has one list of its parts, right before its end, and that this is the one that was read.

    Of two, torch would read the other.
    """
    file.seek(max(0, size - _END.size))
    parts = _END.unpack(file.read(_END.size))
    length, offset, short, comment = (parts[i] for i in (8, 9, 20, 21))
    marked = (parts[0], parts[10], parts[14]) == (b"PK\6\6", b"PK\6\7", b"PK\5\6")
    alike = offset == start and short in (offset, 2**32 - 1) and parts[12] == size - _END.size
    if not marked or not alike or offset + length + _END.size != size or comment:
        raise ValueError("no archive of torch: its list of parts is not where torch writes it")


def check_form(value: Any, live: Any, where: str) -> None:
    """Checks that a value has the form of the one that it is to replace: the same names, lengths and types.

    Numbers may differ; whole ones stay so, and none turns negative or infinite. Texts may not differ.

    Raises:
        ValueError: It has another; the message says where.
    """
    if isinstance(live, Mapping):
        if not isinstance(value, Mapping) or value.keys() != live.keys():
            raise ValueError(f"{where} has other names than {', '.join(map(str, live))}")
        for name in live:
            check_form(value[name], live[name], f"{where}.{name}")
    elif isinstance(live, list | tuple):
        if type(value) is not type(live) or len(value) != len(live):
            raise ValueError(f"{where} is not a {type(live).__name__} of {len(live)}")
        for i, item in enumerate(live):
            check_form(value[i], item, f"{where}[{i}]")
    elif not _is_alike(value, live):
        raise ValueError(f"{where} is {_describe(value)}, expected a value like {live!r:.40}")


def _is_alike(value: Any, live: Any) -> bool:
    if isinstance(live, bool):
        return isinstance(value, bool)
    if isinstance(live, int):
        return is_number(value, whole=True) and (value >= 0 or live < 0)
    if isinstance(live, float):
        return is_number(value) or (isinstance(value, float) and value == live)
    return type(value) is type(live) and isinstance(live, str | None) and value == live


def _describe(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a tensor {tuple(value.shape)} of {value.dtype}"
    return (
        f"{value!r:.40}" if isinstance(value, bool | float | str | None) else f"a value of type {type(value).__name__}"
    )


# ---- Optimizer ----


def check_optimizer(state: Any, optimizer: Any) -> None:
    """Checks that an optimizer's state goes with the parameters and settings of the one that it is to replace.

    An optimizer of torch or transformers is asked what its state looks like, by a step that it takes with zeros of the
    parameter's shape. Of others, it is known only that no tensor is larger than its parameter.

    Args:
        state: From `load_tensors`.
        optimizer: The run's own, perhaps wrapped by accelerate; before its first step.

    Raises:
        ValueError: It does not; the message says where.
    """
    own = getattr(optimizer, "optimizer", optimizer)
    live = own.state_dict()
    if not isinstance(state, dict) or state.keys() != live.keys():
        raise ValueError(f"it has other parts than {', '.join(live)}")
    is_known = f"{type(own).__module__}.".startswith(_KNOWN_OPTIMIZERS)
    _check_groups(state["param_groups"], live["param_groups"], exactly=is_known)
    parameters = [(parameter, group) for group in own.param_groups for parameter in group["params"]]
    entries, forms = state["state"], _Forms(type(own))
    if not isinstance(entries, dict):
        raise ValueError("state is no mapping")
    for place, entry in entries.items():
        if type(place) is not int or not 0 <= place < len(parameters):
            raise ValueError(f"state[{_describe(place)}] is of no parameter: there are {len(parameters)}")
        parameter, group = parameters[place]
        if is_known:
            _check_entry(entry, forms.of(parameter, group), f"state[{place}]")
        else:
            _check_bounded(entry, parameter, f"state[{place}]")


def _check_groups(saved: Any, live: list[dict[str, Any]], *, exactly: bool) -> None:
    if not isinstance(saved, list) or len(saved) != len(live):
        raise ValueError(f"param_groups is not a list of {len(live)}")
    for i, (group, own) in enumerate(zip(saved, live, strict=True)):
        where = f"param_groups[{i}]"
        check_form(group, own, where)
        if group["params"] != own["params"]:
            raise ValueError(f"{where}.params are other parameters")
        for name in own:
            if name in _CHANGED_BY_SCHEDULE and not group[name] >= 0:
                raise ValueError(f"{where}.{name} is {group[name]}, expected a learning rate")
            if exactly and name not in _CHANGED_BY_SCHEDULE and group[name] != own[name]:
                raise ValueError(f"{where}.{name} is {_describe(group[name])}, and {_describe(own[name])} in this run")


class _Forms:
    """What an optimizer keeps for a parameter, learned from a step with zeros of its shape."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def of(self, parameter: torch.Tensor, group: Mapping[str, Any]) -> dict[str, Any]:
        """Returns the form of each part of the state of a parameter in a group of settings, by name."""
        key = (parameter.shape, parameter.stride(), parameter.dtype, parameter.device)
        if key not in self._known:
            zeros = torch.nn.Parameter(torch.zeros_like(parameter, requires_grad=False))
            zeros.grad = torch.zeros_like(zeros)
            optimizer = self._kind([{**group, "params": [zeros]}])
            optimizer.step()
            self._known[key] = {
                # Only the form is kept; the values would take a parameter's memory each.
                name: value.to("meta") if isinstance(value, torch.Tensor) else value
                for name, value in optimizer.state[zeros].items()
            }
        return self._known[key]


def _check_entry(entry: Any, form: Mapping[str, Any], where: str) -> None:
    if not isinstance(entry, dict) or entry.keys() != form.keys():
        raise ValueError(f"{where} has other names than {', '.join(form)}")
    for name, expected in form.items():
        value, place = entry[name], f"{where}.{name}"
        if not isinstance(expected, torch.Tensor):
            check_form(value, expected, place)
        elif type(value) is not torch.Tensor or (value.shape, value.dtype) != (expected.shape, expected.dtype):
            raise ValueError(f"{place} is {_describe(value)}, expected {_describe(expected)}")
        else:
            _check_memory(value, place, stride=expected.stride())
        if name == "step" and not (is_number(count := float(value)) and count >= 0):
            raise ValueError(f"{place} is {count}, expected a count of steps")


def _check_memory(value: torch.Tensor, where: str, *, stride: tuple[int, ...] = ()) -> None:
    """Checks that each number of a tensor has its own place in memory, in the usual order or the given one."""
    if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
        raise ValueError(f"{where} is no plain tensor")
    if not value.is_contiguous() and value.stride() != stride:
        raise ValueError(f"{where} lies otherwise in memory than the parameter")


def _check_bounded(value: Any, parameter: torch.Tensor, where: str, depth: int = 0) -> None:
    """Checks the state of an optimizer of which nothing else is known."""
    if isinstance(value, torch.Tensor):
        # A class of its own, such as of torchao, is loaded only if that library is in use; it checks itself.
        if type(value) is torch.Tensor:
            _check_memory(value, where, stride=parameter.stride())
        same_size = value.numel() == parameter.numel() > 1
        if value.numel() > max(parameter.numel(), _MOST_SMALL) or (same_size and value.shape != parameter.shape):
            raise ValueError(f"{where} is {_describe(value)}, of a parameter {tuple(parameter.shape)}")
    elif isinstance(value, dict | list | tuple) and depth < _DEEPEST:
        for name, item in value.items() if isinstance(value, dict) else enumerate(value):
            _check_bounded(item, parameter, f"{where}.{name!s:.40}", depth + 1)
    elif not (is_number(value) or isinstance(value, bool | str | None)):
        raise ValueError(f"{where} is {_describe(value)}")


# ---- Schedule, loss scaling and random numbers ----


def check_schedule(state: Any, live: Mapping[str, Any], *, most_steps: int) -> None:
    """Checks a schedule's state against that of the run's own, which has done at most so many steps.

    Raises:
        ValueError: It has another form, or more steps.
    """
    check_form(state, live, "it")
    for name in (name for name in _CHANGED_BY_STEPS if name in live):
        if state[name] > most_steps:
            raise ValueError(f"{name} is {state[name]:,}, expected {most_steps:,} at most")


def check_scaler(state: Any, live: Mapping[str, Any]) -> None:
    """Checks the state of loss scaling (FP16) against that of the run's own.

    Raises:
        ValueError: It has another form, or its factors are not above 0.
    """
    check_form(state, live, "it")
    for name in (name for name in live if not name.startswith("_")):
        if not state[name] > 0:
            raise ValueError(f"{name} is {state[name]}, expected a number above 0")


def check_random(state: Any) -> None:
    """Checks the random numbers of Python, NumPy, torch and the devices.

    Raises:
        ValueError: They are none that these would take over whole.
    """
    if not isinstance(state, dict) or not {"python", "numpy", "cpu"} <= state.keys() <= {
        *("python", "numpy", "cpu"),
        *_DEVICES,
    }:
        raise ValueError("it does not hold the random numbers of python, numpy and cpu")
    _check_python(state["python"])
    _check_numpy(state["numpy"])
    _check_bytes(state["cpu"], {torch.get_rng_state().numel()}, "cpu")
    for name in _DEVICES & state.keys():
        states = state[name] if isinstance(state[name], list | tuple) else [state[name]]
        if len(states) > _MOST_DEVICES:
            raise ValueError(f"{name} has {len(states):,} devices")
        is_here = name == "cuda" and torch.cuda.is_available()
        sizes = {torch.cuda.get_rng_state().numel()} if is_here else range(_MOST_DEVICE_STATE)
        for one in states:
            _check_bytes(one, sizes, name)


def _check_python(state: Any) -> None:
    version, numbers, _ = random.getstate()
    if not isinstance(state, tuple) or len(state) != 3 or type(state[0]) is not int or state[0] != version:
        raise ValueError("python is no state of Python's random numbers")
    _, found, normal = state
    if not isinstance(found, tuple) or len(found) != len(numbers):
        raise ValueError(f"python does not hold {len(numbers)} numbers")
    if not all(type(number) is int and 0 <= number < 2**32 for number in found) or found[-1] >= len(numbers):
        raise ValueError("python holds something else than whole numbers of 32 bits")
    if not (normal is None or isinstance(normal, float) and math.isfinite(normal)):
        raise ValueError(f"python has {_describe(normal)}, expected a number or none")


def _check_numpy(state: Any) -> None:
    if not isinstance(state, tuple) or len(state) != 5:
        raise ValueError("numpy is no state of NumPy's random numbers")
    name, numbers, place, has_normal, normal = state
    if not isinstance(name, str) or name != "MT19937" or type(numbers) is not np.ndarray:
        raise ValueError("numpy is no state of NumPy's random numbers")
    if numbers.dtype != np.uint32 or numbers.shape != (624,):
        raise ValueError("numpy does not hold 624 numbers of 32 bits")
    if not is_number(place, whole=True) or not 0 <= place <= 624:
        raise ValueError(f"numpy stands at {_describe(place)}")
    if type(has_normal) is not int or has_normal not in (0, 1) or not is_number(normal):
        raise ValueError("numpy has no next number")


def _check_bytes(value: Any, sizes: Iterable[int], where: str) -> None:
    if type(value) is not torch.Tensor or value.dtype != torch.uint8 or value.ndim != 1 or value.numel() not in sizes:
        raise ValueError(f"{where} is {_describe(value)}, which is no state of random numbers")
    _check_memory(value, where)
