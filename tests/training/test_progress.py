"""Where a run stood, read from files that may hold anything."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rafdb_vit.runtime.errors import UserError
from rafdb_vit.training.progress import PROGRESS_FILE, STATE_FILE, read_progress

FILES = {
    STATE_FILE: {
        "global_step": 4,
        "max_steps": 12,
        "epoch": 1.0,
        "best_global_step": 4,
        "best_metric": 0.5,
        "best_model_checkpoint": "run/checkpoint-4",
        "log_history": [{"epoch": 1.0, "step": 4, "loss": 2.0}, {"epoch": 1.0, "step": 4, "eval_loss": float("nan")}],
        "stateful_callbacks": {"EarlyStoppingCallback": {"args": {}, "attributes": {}}},
    },
    PROGRESS_FILE: {
        "train_loss": [0.5],
        "last_logged_step": 4,
        "last_step": {"grad_norm": None, "learning_rate": 1e-4},
        "epoch_has_ended": True,
    },
}
ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=5), st.just([]), st.just({})
)


def write(folder, files=FILES):
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))
    return folder


def places(content, way=()):
    """Every place in a file's content, as the keys that lead to it."""
    yield way
    rows = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in rows:
        yield from places(value, (*way, key))


def replaced(content, way, value):
    if not way:
        return value
    content = copy.deepcopy(content)
    inner = content
    for key in way[:-1]:
        inner = inner[key]
    inner[way[-1]] = value
    return content


def test_what_was_written_is_read(tmp_path):
    assert read_progress(write(tmp_path)) == FILES[PROGRESS_FILE]


@settings(max_examples=150, derandomize=True, deadline=None)
@given(place=st.sampled_from([(name, way) for name, content in FILES.items() for way in places(content)]), value=ODD)
def test_any_value_in_any_place_is_read_or_is_one_line(tmp_path_factory, place, value):
    (name, way), folder = place, tmp_path_factory.mktemp("checkpoint")
    write(folder, {**FILES, name: replaced(FILES[name], way, value)})
    try:
        read_progress(folder)
    except UserError as error:
        assert f"{name}: is damaged" in error.line and "older checkpoint" in error.line


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[" * 9999, b"{", b"null", b'{"global_step": 9' + b"9" * 5000 + b"}"]
)
@pytest.mark.parametrize("name", [STATE_FILE, PROGRESS_FILE])
def test_what_is_no_json_is_one_line(tmp_path, name, content):
    (write(tmp_path) / name).write_bytes(content)
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        read_progress(tmp_path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        *((STATE_FILE, {key: value}) for key in ("total_flos", "eval_steps") for value in ("x", 0 - 1, [])),
        (STATE_FILE, {"total_flos": None}),
        (STATE_FILE, {"epoch": 10**400}),
        (STATE_FILE, {"epoch": 1e50}),
        (STATE_FILE, {"best_metric": float("nan")}),
        (STATE_FILE, {"log_history": [{"epoch": 1.0, "step": 4, "loss": 10**400}]}),
        (STATE_FILE, {"global_step": 10**12, "max_steps": 10**13}),
        (STATE_FILE, {"global_step": 13}),
        (STATE_FILE, {"best_global_step": 5}),
        (STATE_FILE, {"is_hyper_param_search": True}),
        (STATE_FILE, {"from_elsewhere": 1}),
        (PROGRESS_FILE, {"train_loss": [10**400]}),
        (PROGRESS_FILE, {"train_loss": [1e99]}),
        (PROGRESS_FILE, {"last_logged_step": 5}),
    ],
    ids=str,
)
def test_what_no_run_writes_is_one_line(tmp_path, name, change):
    (folder := tmp_path / "checkpoint-4").mkdir()
    write(folder, {**FILES, name: {**FILES[name], **change}})
    with pytest.raises(UserError, match=f"{name}: is damaged"):
        read_progress(folder)


def test_a_missing_file_is_one_line(tmp_path):
    (write(tmp_path) / STATE_FILE).unlink()
    with pytest.raises(UserError, match=r"trainer_state.json: is damaged \(FileNotFoundError"):
        read_progress(tmp_path)
