"""Files of tensors that somebody sent, held against the live objects that they are to replace."""

import copy
import random
import struct
import zipfile

import numpy as np
import pytest
import torch
from transformers.optimization import Adafactor

from rafdb_vit.training.restored_state import (
    check_optimizer,
    check_random,
    check_scaler,
    check_schedule,
    load_tensors,
)


def build(kind=torch.optim.AdamW, **settings):
    """Returns an optimizer of a small network, before its first step."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.LayerNorm(3))
    return kind(network.parameters(), lr=0.1, **settings)


def stepped(kind=torch.optim.AdamW, **settings):
    """Returns the state of one after a few steps, as it comes out of a file."""
    optimizer = build(kind, **settings)
    for _ in range(3):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.rand_like(parameter)
        optimizer.step()
    return copy.deepcopy(optimizer.state_dict())


KINDS = [
    (torch.optim.AdamW, {"fused": True}),
    (torch.optim.AdamW, {"amsgrad": True}),
    (torch.optim.SGD, {}),
    (torch.optim.SGD, {"momentum": 0.9}),
    (torch.optim.RMSprop, {"centered": True}),
    (torch.optim.Adagrad, {}),
    (torch.optim.NAdam, {}),
    (torch.optim.Rprop, {}),
    (torch.optim.ASGD, {}),
    (Adafactor, {"relative_step": False, "scale_parameter": False}),
    (Adafactor, {"relative_step": False, "beta1": 0.9}),
]


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=str)
def test_each_optimizers_own_state_is_taken(kind, settings):
    check_optimizer(stepped(kind, **settings), build(kind, **settings))


@pytest.mark.parametrize(("kind", "settings"), KINDS, ids=str)
def test_no_tensor_of_another_form_is_taken(kind, settings):
    state = stepped(kind, **settings)
    for place, entry in state["state"].items():
        for name, value in entry.items():
            for wrong in ("x", None, [1.0], torch.ones(7), torch.ones((4, 3)).T[:1]):
                changed = copy.copy(state)
                changed["state"] = {**state["state"], place: {**entry, name: wrong}}
                if type(wrong) is type(value) is torch.Tensor and wrong.shape == value.shape:
                    continue
                if value is not None or wrong is not None:
                    with pytest.raises(ValueError, match=r"state\[\d\]\.\w+ "):
                        check_optimizer(changed, build(kind, **settings))


def first_entry(**changes):
    return lambda state: state["state"][0].update(changes)


def first_group(**changes):
    return lambda state: state["param_groups"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (first_entry(exp_avg=torch.full((1,), 7.0)), r"exp_avg is a tensor \(1,\) .* expected a tensor \(3, 4\)"),
        (first_entry(exp_avg=torch.zeros(1).expand(3, 4)), "otherwise in memory"),
        (first_entry(exp_avg=torch.zeros(3, 4, device="meta")), "no plain tensor"),
        (first_entry(exp_avg=torch.zeros(3, 4).to_sparse()), "no plain tensor"),
        (first_entry(exp_avg=torch.zeros(3, 4, dtype=torch.complex64)), "complex64"),
        (first_entry(step=torch.tensor(-1.0)), "count of steps"),
        (first_entry(step=torch.tensor(float("nan"))), "count of steps"),
        (first_entry(max_exp_avg_sq=torch.zeros(3, 4)), "other names"),
        (lambda state: state["state"][0].pop("exp_avg"), "other names"),
        (lambda state: state["state"].update({99: {}}), "no parameter"),
        (lambda state: state.update(more=1), "other parts"),
        (lambda state: state.update(state=[]), "no mapping"),
        (first_group(lr="x"), "lr is 'x'"),
        (first_group(lr=float("nan")), "lr is nan"),
        (first_group(lr=-0.1), "expected a learning rate"),
        (first_group(capturable=True), "capturable is True, and False"),
        (first_group(betas=(0.5, 0.5)), "betas"),
        (first_group(fused=True), "fused"),
        (first_group(params=[1, 0, 2, 3]), "other parameters"),
        (first_group(more=1), "other names"),
        (lambda state: state["param_groups"].pop(), "not a list of 1"),
    ],
)
def test_what_another_optimizer_would_hold_is_refused(change, message):
    state = stepped()
    change(state)
    with pytest.raises(ValueError, match=message):
        check_optimizer(state, build())


def test_a_parameter_without_gradients_has_no_state():
    state = stepped()
    del state["state"][2]
    check_optimizer(state, build())


class Own(torch.optim.AdamW):
    """An optimizer of which nothing is known."""


Own.__module__ = "elsewhere.optimizers"


def test_of_an_unknown_optimizer_no_tensor_is_larger_than_its_parameter():
    check_optimizer(stepped(Own), build(Own))
    for wrong in (torch.zeros(5000), torch.zeros(12), torch.zeros(1).expand(3, 4), object()):
        state = stepped(Own)
        state["state"][0]["exp_avg"] = wrong
        with pytest.raises(ValueError, match=r"state\[0\]"):
            check_optimizer(state, build(Own))


def double(step):
    return 2.0**step


def schedule(kind):
    optimizer = build()
    if kind == "plateau":
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, double)


@pytest.mark.parametrize("kind", ["plateau", "lambda"])
def test_a_schedules_own_state_is_taken_and_no_other(kind):
    live = schedule(kind).state_dict()
    state = {**copy.deepcopy(live), "last_epoch": 3, "_last_lr": [0.05]}
    check_schedule(state, live, most_steps=4)
    wrong = [
        ("step", 1),
        ("last_epoch", "a"),
        ("last_epoch", 5),
        ("last_epoch", -1),
        ("_last_lr", []),
        ("_last_lr", [1j]),
    ]
    for name, value in wrong:
        with pytest.raises(ValueError, match="."):
            check_schedule({**state, name: value}, live, most_steps=4)
    with pytest.raises(ValueError, match="other names"):
        check_schedule({"step": 1}, live, most_steps=4)


def random_state():
    return {"python": random.getstate(), "numpy": np.random.get_state(), "cpu": torch.get_rng_state()}  # noqa: NPY002


def test_random_numbers_are_taken_and_nothing_else():
    check_random(random_state())
    check_random({**random_state(), "cuda": [torch.get_rng_state()[:16]] * 2})
    version, numbers, _ = random.getstate()
    name, array, *rest = np.random.get_state()  # noqa: NPY002
    for wrong in (
        {"python": (version, numbers[:-1], None)},
        {"python": (version, (*numbers[:-1], 2**40), None)},
        {"python": (version, numbers, "x")},
        {"python": [1]},
        {"numpy": (name, array[:5], *rest)},
        {"numpy": (name, array.astype(object), *rest)},
        {"numpy": (name, array, 10**9, 0, 0.0)},
        {"numpy": (name, array, 1, 0, "x")},
        {"cpu": torch.get_rng_state()[:-1]},
        {"cpu": torch.zeros(1, dtype=torch.uint8).expand(torch.get_rng_state().numel())},
        {"cuda": [1]},
        {"more": 1},
    ):
        with pytest.raises(ValueError, match="."):
            check_random({**random_state(), **wrong})


def test_loss_scaling_is_taken_and_no_factor_of_zero():
    live = {
        "scale": 65536.0,
        "growth_factor": 2.0,
        "backoff_factor": 0.5,
        "growth_interval": 2000,
        "_growth_tracker": 0,
    }
    check_scaler({**live, "scale": 1024.0, "_growth_tracker": 7}, live)
    for wrong in ({"scale": 0.0}, {"scale": "x"}, {"growth_interval": 0}, {"_growth_tracker": -1}, {"more": 1}):
        with pytest.raises(ValueError, match="."):
            check_scaler({**live, **wrong}, live)


def end_as_torch(path):
    """Ends an archive of `zipfile` with the records that torch writes, too."""
    content = path.read_bytes()
    *_, count, length, start, _ = struct.unpack("<4s4HIIH", content[-22:])
    place = struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start)
    place += struct.pack("<4sIQI", b"PK\6\7", 0, len(content) - 22, 1)
    path.write_bytes(content[:-22] + place + content[-22:])


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1000)}, tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(tmp_path / "small.pt", "w") as small:
        for record in plain.infolist():
            small.writestr(record.filename, plain.read(record), zipfile.ZIP_DEFLATED)
    end_as_torch(tmp_path / "small.pt")
    assert torch.load(tmp_path / "small.pt", weights_only=True)["a"].shape == (1000,)
    with pytest.raises(ValueError, match="compressed"):
        load_tensors(tmp_path / "small.pt")


def test_records_that_share_their_bytes_are_refused(tmp_path):
    path = tmp_path / "shared.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data/0", b"x" * 5000)
        archive.filelist += archive.filelist * 9
    end_as_torch(path)
    with pytest.raises(ValueError, match="more bytes than the file"):
        load_tensors(path)


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06", b"no archive", b"\x80\x02}."])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError, match="no archive of torch"):
        load_tensors(tmp_path / "x.pt")


def test_an_array_that_asks_for_more_memory_than_there_is_is_refused(tmp_path):
    class Vast:
        def __reduce__(self):
            return np._core.multiarray._reconstruct, (np.ndarray, (2**60,), b"b")

    torch.save({"numpy": Vast()}, tmp_path / "x.pt")
    with pytest.raises(ValueError, match="more memory"):
        load_tensors(tmp_path / "x.pt")


def test_an_archive_whose_list_torch_would_read_elsewhere_is_refused(tmp_path):
    torch.save({"a": torch.zeros(9)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    start, length = struct.unpack("<QQ", whole[-98 + 40 : -98 + 56])[::-1]
    entries = whole[start : start + length]
    for name, content in {
        "twice": whole[: start + length] + entries + whole[start + length :],
        "after": whole + b"rest",
        "before": b"rest" + whole,
        "comment": whole[:-2] + b"\x04\x00rest",
        "short": whole[-98:],
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match="no archive of torch"):
            load_tensors(tmp_path / name)


@pytest.mark.parametrize("name", ["data.pkl", "DATA.PKL"])
@pytest.mark.parametrize(
    "call", ["builtins bytearray", "torch._utils _rebuild_device_tensor_from_cpu_tensor", "os system", "torch zeros"]
)
def test_what_a_state_does_not_call_is_not_called(tmp_path, name, call):
    writer = torch._C.PyTorchFileWriter(str(tmp_path / "bytes.pt"))
    called = "c" + call.replace(" ", "\n") + "\n"
    pickled = b"\x80\x02" + called.encode() + b"\x8a\x05" + (9 * 10**9).to_bytes(5, "little") + b"\x85R."
    writer.write_record(name, pickled, len(pickled))
    writer.write_end_of_file()
    with pytest.raises(ValueError, match=f"it calls {call}, which no state of a run does"):
        load_tensors(tmp_path / "bytes.pt")
