import ast
import importlib.util
import re
from collections import Counter
from copy import deepcopy
from html.parser import HTMLParser

import numpy as np
import pytest
from huggingface_hub import ModelCard
from PIL import Image

from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.predictions import Predictions
from rafdb_vit.evaluation.protocol import DataProtocol, Protocol
from rafdb_vit.evaluation.results import EvaluationResult, read_results
from rafdb_vit.hub.card import find_objection, render_card, was_edited
from rafdb_vit.hub.license import choose_license
from rafdb_vit.runtime.errors import escape
from tests.support.finished_run import describe_data, describe_run, random_result, write_finished_run
from tests.support.fonts import have_only, write_font


def render(data=None, *, license=None, repo_id="ada/faces", revision=None, names=BASIC.names, **model):
    data = deepcopy(data or describe_data())
    for counts in data["used"].values():
        counts.update(dict.fromkeys({*names} - {*counts}, 9))
    protocol = describe_run(data, {})
    protocol["model"] |= model
    return render_card(
        validation=random_result(0, names),
        test=random_result(1, names),
        protocol=Protocol.read(protocol),
        repo_id=repo_id,
        license=choose_license(data["name"], license),
        revision=revision,
    )


OTHER = "folder in RAF-DB layout"


def test_metadata_are_read_back_as_they_were_meant():
    data, test = ModelCard(str(render())).data, random_result(1)
    assert (data.pipeline_tag, data.library_name) == ("image-classification", "transformers")
    assert data.base_model == "google/vit-base-patch16-224-in21k"
    assert (data.license, data.license_name) == ("other", "raf-db-non-commercial-research")
    assert {"facial-expression-recognition", "vit"} <= set(data.tags)
    figures = {result.metric_name: result.metric_value for result in data.eval_results}
    assert figures["Accuracy"] == round(test.accuracy, 4) and figures["Macro-F1"] == round(test.macro_f1, 4)
    assert all(figures[f"F1 {name}"] == round(test.per_class[name]["f1"], 4) for name in BASIC.names)
    assert {(result.dataset_name, result.dataset_split) for result in data.eval_results} == {("RAF-DB basic", "test")}


def test_every_figure_of_the_table_is_that_of_the_results():
    text, test = str(render()), random_result(1)
    rows = {
        row[0]: row[1:] for row in (re.split(r" *\| *", line.strip("| ")) for line in text.splitlines() if "|" in line)
    }
    for name, figures in test.per_class.items():
        expected = [f"{figures[figure]:.4f}" for figure in ("precision", "recall", "f1")]
        low, high = test.intervals["per_class"][name]["f1"]
        assert rows[name][:5] == [*expected, f"{low:.4f} to {high:.4f}", str(figures["support"])]
    assert rows["**Macro average**"][2] == f"{test.macro_f1:.4f}"
    majority = max(test.supports.values()) / test.n
    assert f"Always answering Neutral would have an accuracy of\n{majority:.4f}" in text


def test_groups_stand_in_it_but_for_those_of_few_faces_and_their_names_are_text():
    labels = np.arange(140) % 7
    names = ["<b>|x\n\n# y", "male", "few"]
    groups = {"gender": [names[i % 2] if i < 120 else names[2] for i in range(140)]}
    predictions = Predictions([str(i) for i in range(140)], labels, np.eye(7)[labels // 2] * 3, BASIC.names, groups)
    data = describe_data()
    text = str(
        render_card(
            validation=random_result(0),
            test=predictions.score(),
            protocol=Protocol.read(describe_run(data, {})),
            repo_id="ada/faces",
            license=choose_license(data["name"], None),
        )
    )
    assert "| gender: &#60;b&#62;&#124;x &#35; y | 0." in text and "| gender: male | 0." in text
    assert "gender: few" not in text and "\n# y" not in text
    assert "expected calibration error" in text


HOSTILE = (
    "![t](https://example.org/x.png)",
    "[t](https://example.org)",
    "[t]: https://example.org",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<!-- x -->",
    "-->",
    "a\n\n# Heading\n\n- list\n\n```\ncode\n```\n",
    "a\n---\nlicense: mit\n---\n# b",
    "a\r\n===",
    "x | y | z |",
    "https://example.org and www.example.org, example.org, //example.org, ada@example.org, @ada",
    "<https://example.org>",
    "*a* **b** _c_ __d__ ~~e~~ ==f== ++g++ ^h^ ~i~ $$j$$ `k` ``l``",
    "`",
    "``` x",
    "# a",
    "- a",
    "+ a",
    "1. a",
    "12) a",
    "> a",
    "    code",
    "\ta",
    "&lt;b&gt; &#42;a&#42;",
    "\\",
    "a\\|b",
    "[^1]",
    "\u202ea\u0000b\x85c",
    "{{ protocol }}{% raw %}",
    '"+exit()+"',
    "===",
    "***",
    "|---|",
)


def rename(value, name):
    """A value of JSON with every text in it replaced, and the names of its mappings where they are free."""
    if isinstance(value, dict):
        return {key: rename(item, name) for key, item in value.items()}
    if isinstance(value, list):
        return [rename(item, name) for item in value]
    return name if isinstance(value, str) else value


def render_with(name, *, origin, carved):
    """A card whose every text is a name that somebody else chose."""
    classes = [f"{name}{end}" for end in ("", "2", " 3")]
    labels = np.arange(120) % 3
    groups = {name: [classes[i % 2] for i in range(120)]}
    result = Predictions([str(i) for i in labels], labels, np.eye(3)[labels // 2] * 3, classes, groups).score()
    protocol = rename(describe_run(describe_data(OTHER), {}), name)
    counts = {split: dict.fromkeys(classes, 40) for split in ("train", "validation", "test")}
    protocol["data"] |= {"found": counts, "used": counts, "subsampled": True}
    protocol["data"]["sources"] = dict.fromkeys(("validation", "test"), name)
    protocol["model"]["origin"] = origin
    protocol["validation"]["carved_from"] = name if carved else None
    protocol["training"] |= {name: name, "mapping": {name: [name]}}
    protocol["versions"] |= {name: name}
    license = choose_license(OTHER, "mit")
    return render_card(
        validation=result, test=result, protocol=Protocol.read(protocol), repo_id="ada/faces", license=license
    )


def renderers():
    """Two renderers of Markdown, both as lax as they can be."""
    import mistune
    from markdown_it import MarkdownIt

    plugins = ("strikethrough", "footnotes", "table", "url", "task_lists", "def_list", "abbr", "mark", "insert")
    more = ("superscript", "subscript", "math", "ruby", "spoiler")
    linkify = importlib.util.find_spec("linkify_it") is not None
    strict = MarkdownIt("commonmark", {"html": True, "linkify": linkify})
    strict.enable(["table", "strikethrough", *(["linkify"] if linkify else [])])
    return mistune.create_markdown(escape=False, plugins=[*plugins, *more]), strict.render


class Elements(HTMLParser):
    """The elements of a page with their addresses, and its text."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = Counter(), ""
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.found[tag, *(value for name, value in attributes if name in ("href", "src"))] += 1
        assert not [name for name, _ in attributes if name.startswith("on") or name == "srcdoc"]

    def handle_comment(self, data):
        self.found["comment"] += 1

    def handle_data(self, data):
        self.text += data.replace("\u2060", "")


@pytest.mark.parametrize(("origin", "carved"), [("Hub", True), ("folder", False)])
def test_names_of_others_are_text_in_every_renderer(origin, carved):
    expected = [Elements(render(render_with("a b", origin=origin, carved=carved).text)) for render in renderers()]
    for name in HOSTILE[:: 1 if carved else 3]:
        card = render_with(name, origin=origin, carved=carved)
        assert not was_edited(str(card)) and card.data.license == "mit" and card.data.library_name == "transformers"
        for render, benign in zip(renderers(), expected, strict=True):
            page = Elements(render(card.text))
            assert page.found == benign.found, (name, page.found - benign.found, benign.found - page.found)
            assert page.text.count(escape(" ".join(name.split()))) > 20, (name, page.text)


def test_code_of_use_holds_any_name():
    branch = 'a"b\\`\u00e9\U0001f600'
    code = re.search(r"```python\n(.*?)```", str(render(revision=branch)), re.S)[1]
    (call,) = [
        node for node in ast.walk(ast.parse(code)) if getattr(getattr(node, "func", None), "id", "") == "pipeline"
    ]
    assert {word.arg: word.value.value for word in call.keywords}["revision"] == branch


def test_of_many_classes_the_weakest_stand_in_it():
    names = [f"class {i:03d}" for i in range(120)]
    labels = np.repeat(np.arange(120), 4)
    result = EvaluationResult.from_predictions(
        labels, np.where(np.arange(480) % 4 < labels % 4, 0, labels), names, loss=1
    )
    protocol = describe_run(describe_data(OTHER), {})
    protocol["data"]["used"] = {split: dict.fromkeys(names, 4) for split in ("train", "validation", "test")}
    card = render_card(
        validation=result,
        test=result,
        protocol=Protocol.read(protocol),
        repo_id="ada/faces",
        license=choose_license(OTHER, "mit"),
    )
    assert "one of 120 classes" in card.text and "The 50 weakest of 120 classes" in card.text
    assert card.text.count("| class ") == 50 and len(str(card)) < 40_000


def test_nothing_is_left_open():
    for card in (render(), render(describe_data(OTHER), license="mit")):
        text = str(card)
        assert "More information needed" not in text and "{{" not in text and "{%" not in text
        assert "None" not in text and "Undefined" not in text
        for part in ("## Use", "## Figures", "Validation", "Checkpoint", "scored once", "## Training settings"):
            assert part in text
        assert "2024/1689" in text and "not what a person feels" in text and "bibtex" in text


def test_only_rafdb_is_called_rafdb():
    rafdb, other = str(render()), str(render(describe_data(OTHER), license="mit"))
    assert "on RAF-DB basic, 12,271 + 3,068 faces: trained on 11,0" in rafdb and "li2017reliable" in rafdb
    assert "non-commercial research" in rafdb
    assert "on a folder in RAF-DB layout, 3,500 + 350 faces" in other and "li2017reliable" not in other
    assert "RAF-DB" not in other.replace("folder in RAF-DB layout", "") and "non-commercial" not in other


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("Hub", "fine-tuned from [x/y](https://huggingface.co/x/y)"),
        ("folder", "fine-tuned from a local checkpoint named `x/y`"),
        ("scratch", "trained from scratch"),
    ],
)
def test_the_base_model_is_named_where_it_is_on_the_hub(origin, words):
    card = render(source="x/y", origin=origin)
    assert words in str(card) and card.data.base_model == ("x/y" if origin == "Hub" else None)


def test_a_run_that_diverged_says_so():
    described = describe_run(describe_data(), {})
    described["checkpoint"]["diverged_at"] = 321
    settings = {"repo_id": "USER/NAME", "license": choose_license("RAF-DB basic", None), "revision": None}
    results = {"validation": random_result(0), "test": random_result(1)}
    text = str(render_card(**results, protocol=Protocol.read(described), **settings))
    assert "Training diverged at step 321," in text and "diverged" not in str(render())


def test_trials_say_so():
    drawn, sample = describe_data("drawn"), describe_data(subsampled=True)
    assert "drawn faces" in find_objection(DataProtocol(**drawn)) and "on a sample" in find_objection(
        DataProtocol(**sample)
    )
    assert find_objection(DataProtocol(**describe_data())) is None
    assert "> **Not for use: it was trained and tested on drawn faces" in str(render(drawn, license="mit"))
    assert "> **Not for use: it is a trial on a sample," in str(render(sample))
    assert "Not for use" not in str(render())


def test_the_lines_of_use_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = write_finished_run(tmp_path / "ada" / "faces")
    Image.new("RGB", (100, 100), "grey").save("face.jpg")
    code = re.search(r"```python\n(.*?)```", str(render()), re.S)[1]
    assert len(code.strip().splitlines()) == 4
    exec(compile(code, "card", "exec"), {})
    assert capsys.readouterr().out.count("'label'") == 7 and read_results(folder)
    assert 'revision="trial"' in str(render(revision="trial"))


def test_a_model_of_another_kind_has_no_holes():
    for sizes in ({"image_size": None, "patch_size": None}, {"image_size": [224, 224], "patch_size": 4}):
        text = str(render(type="resnet", parameters=12345, **sizes))
        assert "None" not in text and "image classifier (resnet)" in text and "12,345 parameters" in text


def test_classes_that_were_never_right_are_all_named():
    result = random_result(1)
    text = str(render())
    worst = min(result.per_class, key=lambda name: result.per_class[name]["f1"])
    assert f"Weakest on {worst} (F1 {result.per_class[worst]['f1']:.2f}, " in text
    labels, names = np.array([0, 0, 1, 2, 3, 4, 5, 6]), list(BASIC.names)
    blind = EvaluationResult.from_predictions(labels, np.full(8, 6), names, loss=1.0)
    protocol = Protocol.read(describe_run(describe_data(), {}))
    license = choose_license("RAF-DB basic", None)
    card = render_card(validation=blind, test=blind, protocol=protocol, repo_id="ada/faces", license=license)
    assert "Not one test face was recognised of: " + ", ".join(f"{name} (F1 0.00" for name in ["Surprise"]) in str(card)
    assert all(f"{name} (F1 0.00, " in str(card) for name in names[:6])


def test_a_card_tells_whether_it_was_edited():
    card = str(render())
    assert (
        not was_edited(card)
        and not was_edited(card + "\n")
        and not was_edited("---\nlicense: mit\n---\n")
        and not was_edited("")
    )
    assert was_edited(card.replace("## Use", "## My use")) and was_edited(card + "More words.") and was_edited("# Mine")
    assert was_edited("---\nlicense: mit\n---\n# Mine\n")


def test_photographs_are_not_called_aligned():
    data = describe_data()
    assert "cut out and aligned as the training faces were" in str(render(data))
    data["images"] = "original, cut to a square around the face's box with margin 0.2"
    text = str(render(data))
    assert "cut out as the training faces were" in text and "**Images**: original, cut to a square" in text


def test_a_run_of_an_earlier_version_has_a_card_too():
    data = describe_data()
    for name in ("sources", "images", "targets"):
        del data[name]
    assert "**Images**: as found. **Trained on** single labels." in str(render(data))


def test_our_own_test_split_and_what_was_left_out_are_told():
    data = {**describe_data("folder of labelled faces"), "sources": {"train": "train"}, "left_out": {"Contempt": 1234}}
    protocol = describe_run(data, {})
    share = {"carved_from": "all faces", "fraction": 0.25, "seed": 3, "files_sha256": "0" * 64, "from_sha256": "1" * 64}
    protocol["test_split"] = {**share, "kept_together": "duplicates"}
    license = choose_license(data["name"], "mit")
    results = {"validation": random_result(0), "test": random_result(1)}
    text = str(render_card(**results, protocol=Protocol.read(protocol), repo_id="ada/faces", license=license))
    assert "- **Test**: scored once" in text and "25% of each class, chosen with seed 3, not by person" in text
    assert "Left out on demand: Contempt (1,234 faces)." in text


def test_a_split_of_the_datas_own_is_named():
    data = describe_data("user/affectnet")
    data["sources"] = {"train": "train", "validation": "valid", "test": "val"}
    protocol = describe_run(data, {})
    protocol["validation"] = {"carved_from": None, "files_sha256": "0" * 64}
    license = choose_license(data["name"], "mit")
    results = {"validation": random_result(0), "test": random_result(1)}
    text = str(render_card(**results, protocol=Protocol.read(protocol), repo_id="ada/faces", license=license))
    assert "- **Validation**: the data's own split, `valid`. Early stopping" in text
    assert "- **Test**: the data's split `val`, scored once" in text and "on the data set user/affectnet" in text


def test_names_that_a_picture_may_have_numbers_for_are_listed(monkeypatch, tmp_path):
    plain = str(render())
    assert "A number in the picture" not in plain
    names = ("Wut", "\u9a5a\u304d", "\u0633\u0639\u0627\u062f\u0629", "\u0420\u0430\u0434\u043e\u0441\u0442\u044c")
    cards = []
    for paths in ((), (write_font(tmp_path / "h.ttf", "Han Test", names[1]),)):
        with monkeypatch.context() as patch:
            have_only(patch, *paths)
            cards.append(str(render(names=names)))
    assert cards[0] == cards[1]  # whichever machine rendered it
    assert f"could not be drawn: 2 {names[1]}, 3 {names[2]}.\n" in cards[0]
