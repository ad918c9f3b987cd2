import json
from pathlib import Path

import pytest

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.protocol import Protocol
from rafdb_vit.evaluation.results import RESULTS_FILE, render_results
from rafdb_vit.evaluation.summary import Summary, summarize_runs
from rafdb_vit.runtime.errors import UserError
from rafdb_vit.runtime.text_width import measure_width
from tests.support.finished_run import describe_data, describe_run, random_result, write_as_a_run


def write(folder, seed, *, data="RAF-DB basic", split_seed=0, diverged_at=None, **training):
    protocol = describe_run(describe_data(data), {"model.safetensors": f"{seed:064x}"})
    protocol["training"] |= {"seed": seed, **training}
    protocol["validation"]["seed"] = split_seed
    protocol["checkpoint"]["diverged_at"] = diverged_at
    results = {"validation": random_result(seed), "test": random_result(seed)}
    folder.mkdir()
    write_as_a_run(folder, {RESULTS_FILE: render_results(**results, protocol=Protocol.read(protocol))})
    return str(folder)


def change(folder, act):
    """Changes results as if the run had written them so."""
    content = json.loads((folder / RESULTS_FILE).read_text())
    act(content)
    write_as_a_run(folder, {RESULTS_FILE: json.dumps(content)})


def test_mean_and_range_of_every_metric(tmp_path):
    folders = [write(tmp_path / f"seed-{seed}", seed, split_seed=seed) for seed in (1, 2, 5)]
    summary = summarize_runs(folders)
    tests = [random_result(seed) for seed in (1, 2, 5)]
    values = [test.per_class["Fear"]["f1"] for test in tests]
    assert summary.seeds == [1, 2, 5] and summary.metrics["f1 of Fear"] == values
    described = json.loads(json.dumps(summary.describe()))["figures"]
    assert described["f1 of Fear"]["mean"] == pytest.approx(sum(values) / 3)
    assert (described["accuracy"]["lowest"], described["accuracy"]["highest"]) == (
        min(test.accuracy for test in tests),
        max(test.accuracy for test in tests),
    )
    lines = summary.render().splitlines()
    assert lines[0] == f"3 runs, seeds 1, 2, 5; RAF-DB basic, test, {tests[0].n} faces"
    (row,) = [line for line in lines if line.startswith("f1 of Fear")]
    assert row.split()[-3:] == [f"{sum(values) / 3:.4f}", f"{min(values):.4f}", f"{max(values):.4f}"]


def refused(folders, words):
    with pytest.raises(UserError, match=words) as error:
        summarize_runs(folders)
    assert (
        error.value.line.startswith((folders[-1], f"RUNS: no folder {folders[-1]}; ")) and "\n" not in error.value.line
    )


def test_runs_that_differ_in_more_than_the_seed_are_refused(tmp_path):
    first = write(tmp_path / "first", 1)
    refused([first], "one run")
    refused([first, write(tmp_path / "same", 1)], "has the seed of")
    refused([first, write(tmp_path / "rate", 2, learning_rate=1e-3)], "in learning_rate; expected")
    refused([first, write(tmp_path / "new", 3, dropout=0.1)], "in dropout; expected")
    refused([first, write(tmp_path / "data", 4, data="folder")], "in data, train faces; expected")
    refused([first, str(tmp_path / "nothing")], "RUNS: no folder")


CHANGES = {
    "images": lambda p: p["data"].update(images="original"),
    "targets": lambda p: p["data"].update(targets="vectors"),
    "subsampled": lambda p: p["data"].update(subsampled=True),
    "train faces": lambda p: p["data"]["used"]["train"].update(Fear=5),
    "validation fraction": lambda p: p["validation"].update(fraction=0.2),
    "how the checkpoint was chosen": lambda p: p["checkpoint"].update(chosen_by="lowest loss"),
    "model commit": lambda p: p["model"].update(commit="b" * 40),
    "model patch_size": lambda p: p["model"].update(patch_size=32),
    "model source": lambda p: p["model"].update(source="other"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_difference_but_the_seed_is_named(tmp_path, name):
    folders = [write(tmp_path / f"{seed}", seed) for seed in (1, 2)]
    change(tmp_path / "2", lambda content: CHANGES[name](content["protocol"]))
    refused(folders, f"in {name}; expected")


@pytest.mark.parametrize("hidden", [{"data": 5, "model parameters": 0}, {"data": "x", "model commit": None}])
def test_settings_of_training_hide_no_difference(tmp_path, hidden):
    folders = [write(tmp_path / f"{seed}", seed) for seed in (1, 2)]
    for folder in folders:
        change(Path(folder), lambda content: content["protocol"]["training"].update(hidden))
    assert summarize_runs(folders).render().startswith("2 runs, seeds 1, 2; RAF-DB basic, test")
    change(tmp_path / "2", lambda content: content["protocol"]["model"].update(parameters=7, commit="b" * 40))
    refused(folders, "in model commit, model parameters; expected")


def test_many_differences_are_said_in_one_line(tmp_path):
    folders = [write(tmp_path / "1", 1), write(tmp_path / "2", 2, **{f"{i}" * 1000: i for i in range(500)})]
    refused(folders, " and 488 others; expected")
    with pytest.raises(UserError, match="no run; expected two"):
        summarize_runs([])


def test_other_test_faces_and_results_that_lack_something(tmp_path):
    folders = [write(tmp_path / f"{seed}", seed) for seed in (1, 2)]
    other = random_result(0, BASIC.names[:6])
    change(tmp_path / "2", lambda content: content.update(test=other.describe()))
    refused(folders, "in test faces; expected")
    change(tmp_path / "2", lambda content: content["protocol"].pop("training"))
    with pytest.raises(UserError, match="2/results.json: .*lacks training in protocol"):
        summarize_runs(folders)


def test_how_the_batch_was_shared_is_not_the_recipe(tmp_path):
    batches = ({"processes": 1}, {"processes": 4})
    folders = [write(tmp_path / f"{i}", i, batch=batch) for i, batch in enumerate(batches)]
    assert summarize_runs(folders).seeds == [0, 1]


def test_results_that_were_changed_after_the_run(tmp_path):
    folders = [write(tmp_path / f"seed-{seed}", seed) for seed in (1, 2)]
    path = tmp_path / "seed-2" / RESULTS_FILE
    path.write_text(path.read_text().replace('"seed": 2', '"seed": 3'))
    with pytest.raises(UserError, match="seed-2/results.json: was changed after the run"):
        summarize_runs(folders)


def test_names_cannot_forge_lines_of_the_table():
    metrics = {"f1 of a\nb": [0.5, 0.6], "accuracy": [0.5, 0.6]}
    lines = Summary([1, 2], "data\nset", 5, metrics).render().splitlines()
    assert len(lines) == 5 and "data\\nset" in lines[0] and lines[3].startswith("f1 of a\\nb ")
    assert len(lines[3]) == len(lines[4])


def test_names_in_wide_letters_leave_the_columns_in_line():
    metrics = {"f1 of \u9a5a\u304d": [0.5, 0.6], "accuracy": [0.5, 0.6]}
    lines = Summary([1, 2], "data", 5, metrics).render().splitlines()
    assert len({measure_width(line) for line in lines[2:]}) == 1


def test_a_run_that_diverged_is_named(tmp_path):
    folders = [write(tmp_path / "1", 1), write(tmp_path / "2", 2, diverged_at=1234)]
    summary = summarize_runs(folders)
    assert summary.describe()["diverged"] == [{"seed": 2, "step": 1234}]
    last = "The run of seed 2 diverged at step 1,234: its scores are those of its best model before."
    assert summary.render().splitlines()[-2:] == ["", last]
    assert "diverged" not in summarize_runs([folders[0], write(tmp_path / "3", 3)]).render()
