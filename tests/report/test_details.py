from rafdb_vit.labels import BASIC
from rafdb_vit.protocol import describe_evaluation
from rafdb_vit.report.details import tabulate_evaluation, tabulate_protocol
from tests.finished_run import describe_data, describe_run


def test_every_part_of_a_protocol_stands_in_a_table():
    protocol = describe_run(describe_data(), {"model.safetensors": "ab"})
    tables = tabulate_protocol({**protocol, "history": [{"epoch": 1.0}], "intervals": "95%"})
    assert list(tables) == ["Protocol", "Model", "Training settings", "Environment"]
    assert tables["Protocol"]["test"] == protocol["test"] and tables["Protocol"]["intervals"] == "95%"
    assert tables["Protocol"]["data"] == "RAF-DB basic" and "history" not in tables["Protocol"]
    assert tables["Protocol"]["checkpoint"] == protocol["checkpoint"]
    unset = {"schedule_settings": {}, "max_steps": -1, "sharding": None}
    assert {**tables["Training settings"], **unset} == protocol["training"]
    assert not unset.keys() & tables["Training settings"].keys()
    assert tables["Model"]["SHA-256 of files"] == {"model.safetensors": "ab"}
    assert tables["Environment"] == protocol["versions"]


def test_an_evaluation_says_what_was_scored():
    described = describe_evaluation(data=describe_data(), split="test", model={"source": "m"}, device="cpu")
    assert described["scoring"] == f"fp32, without autocast, on cpu; {sum(BASIC.published_counts['test'])} faces"
    tables = tabulate_evaluation(described)
    assert tables["This evaluation"]["images"] == "aligned" and tables["Model"] == {"source": "m"}
    assert "torch" in tables["Environment"]
