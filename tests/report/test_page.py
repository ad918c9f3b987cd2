import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from rafdb_vit.data.dataset import load_rafdb
from rafdb_vit.data.labels import BASIC
from rafdb_vit.evaluation.baselines import REPORT_OF_2023
from rafdb_vit.evaluation.overlap import Overlap
from rafdb_vit.evaluation.predictions import Predictions, read_predictions
from rafdb_vit.evaluation.protocol import DataProtocol, Protocol
from rafdb_vit.evaluation.verdict import judge
from rafdb_vit.report.evaluation import Evaluation
from rafdb_vit.report.files import EVALUATION_FILES
from rafdb_vit.report.page import render_page, write_evaluation
from rafdb_vit.report.provenance import Provenance
from rafdb_vit.report.wording import describe_errors, describe_false_calls
from rafdb_vit.runtime.errors import UserError, escape
from rafdb_vit.runtime.output_folder import OutputFolder
from tests.support.finished_run import describe_data, describe_run
from tests.support.fonts import have_only

EMPTY = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "path", "use", "rect"}


class Page(HTMLParser):
    """What a page holds; ends at a tag that closes another."""

    def __init__(self, html):
        super().__init__()
        self.html = html
        self.open, self.tags, self.words = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def evaluation(faces_dir):
    faces = load_rafdb(faces_dir)["test"]
    rng = np.random.default_rng(0)
    labels = np.asarray(faces["label"])
    logits = rng.normal(size=(len(labels), 7)).astype(np.float32)
    logits[np.arange(len(labels)), labels] += 1.5
    gender = ["male", "female"] * (len(labels) // 2)
    predictions = Predictions(list(faces["file"]), labels, logits, BASIC.names, {"gender": gender})
    protocol = Protocol.read(describe_run(describe_data(), {"model.safetensors": "ab"}))
    history = [{"epoch": 1.0, "step": 2, "eval_loss": 1.1, "eval_accuracy": 0.5, "eval_macro_f1": 0.4}]
    return Evaluation(
        model="my <model>",
        split="test",
        data=DataProtocol(**describe_data("folder in RAF-DB layout")),
        predictions=predictions,
        result=predictions.score(),
        faces=faces,
        details={"Protocol": {"scoring": "fp32", "files_sha256": {"model.safetensors": "ab" * 32}, "<i>": None}},
        trained=replace(protocol, history=history, checkpoint=replace(protocol.checkpoint, epoch=1.0)),
    )


@pytest.fixture(scope="module")
def page(evaluation):
    return Page(render_page(evaluation))


def test_it_opens_with_the_answer(page, evaluation):
    result = evaluation.result
    verdict, right = judge(result), np.trace(result.confusion_matrix)
    title, rest = page.text.split(f"my <model>: {verdict.headline} {verdict.reason}")
    assert "accuracy" in title and right / result.n == pytest.approx(result.accuracy)
    before, start = rest.split(" Scores Accuracy ")
    assert "It must not decide anything about a person." in before
    assert f"{result.accuracy:.4f}" in start and f"{result.macro_f1:.4f}" in start
    low, high = result.intervals["accuracy"]
    assert f"95% interval {low:.4f} to {high:.4f}" in start
    assert "Always answering Surprise 0.1429 0.0357" in start


def test_it_says_where_it_comes_from(evaluation, page):
    assert "Command" not in page.text and "Training took" not in page.text
    provenance = Provenance("python train.py --data_dir 'my faces'", "my faces", training_seconds=185)
    text = Page(render_page(replace(evaluation, provenance=provenance))).text
    assert "Data from my faces When 20" in text
    assert "Command python train.py --data_dir 'my faces' Training took 3 min 5 s Files" in text
    hrefs = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert {"results.json", "predictions.csv", "#top"} <= {*hrefs}
    of_model = Page(render_page(replace(evaluation, training_counts={"train": {"x": 1}})))
    assert "evaluation.json" in [attributes["href"] for tag, attributes in of_model.tags if tag == "a"]
    ids = [attributes.get("id") for _, attributes in page.tags]
    assert all(href[1:] in ids for href in hrefs if href.startswith("#"))


def test_what_only_a_statistician_asks_for_is_folded(page):
    folded = "".join(re.findall(r"<details>.*?</details>", page.html, flags=re.S))
    shown = re.sub(r"<details>.*?</details>", "", page.html, flags=re.S)
    for words in ("Brier score", "Expected calibration error", "ab" * 32, "BCa bootstrap", "fp32"):
        assert words in folded and words not in shown, words
    assert "confident by" in shown or "as sure as it is right" in shown


def test_few_validation_faces_are_said_at_the_top(evaluation, page):
    assert "which epoch is kept is partly chance" not in page.text
    data = evaluation.trained.data
    used = {**data.used, "validation": dict.fromkeys(BASIC.names, 3)}
    small = replace(evaluation.trained, data=replace(data, used=used))
    text = Page(render_page(replace(evaluation, trained=small))).text
    top = text[: text.index(" Scores Accuracy ")]
    assert "Validation has 21 faces; fewer than 10 in Surprise (3)" in top
    assert "which epoch is kept is partly chance. " in top and "--validation_fraction 0.3 sets a larger" in top


def test_where_most_of_a_class_goes_is_said(evaluation, page):
    assert "Labelled" in page.text[page.text.index("Framed: the correct answers. Predicted") :]
    own = evaluation.predictions
    predicted = np.where(own.labels == 1, 3, own.labels)
    bad = replace(own, logits=np.eye(7)[predicted] * 5)
    text = Page(render_page(replace(evaluation, predictions=bad, result=bad.score()))).text
    assert "100% of Fear goes to Happiness (4 of 4 faces)." in text
    # Of 4 answers too few are wrong for a sentence of their own; with twelve faces of each class there is one.
    rows = np.repeat(np.arange(len(own.labels)), 3)
    more = replace(bad, files=[*map(str, rows)], labels=own.labels[rows], logits=bad.logits[rows], groups={})
    result = more.score()
    assert describe_false_calls(result) == [
        "Of 24 faces that it calls Happiness, 12 are not labelled so, most often Fear (12)."
    ]
    assert describe_errors(result) == ["12 errors in all: 12 on faces labelled Fear."]


def test_every_class_with_its_intervals(page, evaluation):
    for name, row in evaluation.result.per_class.items():
        low, high = evaluation.result.intervals["per_class"][name]["f1"]
        assert re.search(rf"{name} \*? {row['precision']:.3f} .*? {row['f1']:.3f} {low:.2f}–{high:.2f} 4 ", page.text)


def test_counts_and_row_shares(page, evaluation):
    first = evaluation.result.confusion_matrix[0]
    cells = " ".join(f"{count} {count / sum(first):.0%}" for count in first)
    assert f"Surprise {cells}" in page.text


def test_groups_with_few_faces_are_marked(page, evaluation):
    rows = evaluation.result.groups["gender"]["groups"]
    assert f"female * {rows['female']['accuracy']:.3f}" in page.text and "Fewer than 30 faces" in page.text
    assert "Largest gaps" not in page.text


@pytest.mark.usefixtures("without_charts")
def test_the_largest_gap(evaluation):
    n = 80
    labels = np.arange(n) % 7
    predicted = np.where((np.arange(n) % 2 == 0) & (np.arange(n) % 3 == 0), 0, labels)
    predictions = Predictions(
        [f"f{i}" for i in range(n)], labels, np.eye(7)[predicted], BASIC.names, {"gender": ["male", "female"] * 40}
    )
    faces = evaluation.faces.select([i % len(evaluation.faces) for i in range(n)])
    text = Page(render_page(replace(evaluation, predictions=predictions, result=predictions.score(), faces=faces))).text
    gap = predictions.score().groups["gender"]["largest_gap"]["accuracy"]
    assert f"Gender, accuracy: female above male by {gap['difference']:.3f} (95% interval" in text
    assert "the largest between" not in text and "left out of the gaps" not in text


def test_every_picture_has_words_and_nothing_is_fetched(page):
    pictures = [attributes for tag, attributes in page.tags if tag == "img"]
    charts = [attributes for tag, attributes in page.tags if tag == "svg"]
    assert len(pictures) > 5 and len(charts) == 11
    assert all(
        " labelled " in f" {attributes['alt']}" and attributes["src"].startswith("data:image/jpeg")
        for attributes in pictures
    )
    assert all(attributes["aria-label"] for attributes in charts)
    assert not {"script", "link"} & {tag for tag, a in page.tags if a.get("href") != "data:,"}
    assert not any(
        str(value).startswith(("http", "//"))
        for tag, a in page.tags
        for name, value in a.items()
        if name in ("src", "href")
    )


def test_names_are_escaped(page):
    assert "my <model>" in page.text and "<i>" in page.text
    assert not [tag for tag, _ in page.tags if tag in ("model", "i")]


@pytest.fixture
def without_charts(monkeypatch):
    """Pages of which only the words matter take a tenth of the time without charts."""
    for name in ("draw_class_metrics", "draw_reliability"):
        monkeypatch.setattr(f"rafdb_vit.report.page.{name}", lambda *_: "")
    monkeypatch.setattr("rafdb_vit.report.page.draw_precision_recall", lambda *_: None)
    monkeypatch.setattr("rafdb_vit.report.page.draw_history", lambda *_, **__: [""])


@pytest.mark.usefixtures("without_charts")
def test_only_the_official_test_split_is_held_against_the_report(evaluation, page):
    assert "2023" not in page.text
    official = Page(render_page(replace(evaluation, data=DataProtocol(**describe_data("RAF-DB basic"))))).text
    assert f"Student report of 2023, the same test split {REPORT_OF_2023['accuracy']:.4f} 0.78" in official
    for change in ({"split": "validation"}, {"data": DataProtocol(**describe_data("RAF-DB compound"))}):
        assert (
            "2023"
            not in Page(
                render_page(replace(evaluation, **{"data": DataProtocol(**describe_data("RAF-DB basic")), **change}))
            ).text
        )


@pytest.mark.usefixtures("without_charts")
def test_drawn_faces_and_samples_are_called_so(evaluation, page):
    assert "faces are drawn" not in page.text and "sample" not in page.text
    assert (
        "These faces are drawn"
        in Page(render_page(replace(evaluation, data=DataProtocol(**describe_data("drawn"))))).text
    )
    sampled = replace(evaluation, data=DataProtocol(**describe_data("folder", subsampled=True)))
    text = Page(render_page(sampled)).text
    assert "A trial on 735 of 3,850 faces: do not report these numbers. They show that everything works" in text
    trained = replace(evaluation.trained, data=sampled.data)
    of_trial = Page(render_page(replace(evaluation, trained=trained, training_counts=sampled.data.used)))
    assert "A trial on 735 of 3,850 faces" in of_trial.text


@pytest.mark.usefixtures("without_charts")
def test_a_run_that_diverged_says_so(evaluation, page):
    assert "diverged" not in page.text
    checkpoint = replace(evaluation.trained.checkpoint, diverged_at=1234)
    text = Page(render_page(replace(evaluation, trained=replace(evaluation.trained, checkpoint=checkpoint)))).text
    assert "Training diverged at step 1,234" in text and "the best one before that, of step 120;" in text


@pytest.mark.usefixtures("without_charts")
def test_splits_that_the_model_knows_are_called_so(evaluation, page):
    assert "too high" not in page.text and "learned from these" not in page.text
    for split, trained_here, words in (
        ("validation", True, "The checkpoint was chosen on these faces"),
        ("validation", False, "may have been chosen on these faces"),
        ("train", True, "The model learned from these very faces"),
        ("train", False, "may have learned from these very faces"),
    ):
        trained = evaluation.trained if trained_here else None
        assert words in Page(render_page(replace(evaluation, split=split, trained=trained))).text


@pytest.mark.usefixtures("without_charts")
def test_what_it_was_trained_with_stands_apart(evaluation, page):
    assert "trained with" not in page.text
    counts = {"train": {"happy": 12_345}, "test": {"happy": 3}}
    text = Page(render_page(replace(evaluation, training_counts=counts))).text
    assert "Faces per class that the model was trained with Class Train Test happy 12,345 3 Total" in text


@pytest.mark.usefixtures("without_charts")
def test_absent_classes_have_no_metrics(evaluation):
    kept = np.flatnonzero(evaluation.predictions.labels < 5)
    own = evaluation.predictions
    some = replace(own, files=[own.files[i] for i in kept], labels=own.labels[kept], logits=own.logits[kept], groups={})
    result = some.score()
    changed = replace(evaluation, predictions=some, result=result, faces=evaluation.faces.select(kept.tolist()))
    text = Page(render_page(changed)).text
    assert "2 of 7 classes have no faces here and count as 0 in macro-F1: Anger, Neutral." in text
    assert f"Over the others it is {result.macro_f1 * 7 / 5:.4f}." in text
    assert "Anger \u2013 \u2013 \u2013 0" in text and "Anger : no faces" in text


@pytest.mark.usefixtures("without_charts")
def test_without_groups_curves_or_mistakes(evaluation):
    right = replace(evaluation.predictions, logits=np.eye(7)[evaluation.predictions.labels] * 5, groups={})
    trained = replace(evaluation.trained, history=[])
    plain = replace(evaluation, predictions=right, result=right.score(), trained=trained, without_groups="x.txt: bad")
    text = Page(render_page(plain)).text
    assert "No face is taken for another class" in text and "x.txt: bad" in text and "How it learned" not in text
    assert "95% interval unknown" in text
    assert "has no columns gender, race or age" in Page(render_page(replace(plain, without_groups=None))).text


@pytest.fixture(scope="module")
def many(evaluation):
    """A page of 60 classes, all labels of which the last 53 are never right."""
    rng = np.random.default_rng(0)
    n = len(evaluation.faces)
    names = [f"class {i:02d}" for i in range(60)]
    labels = np.concatenate([np.arange(n - 4) % 60, np.zeros(4, dtype=int)])
    predictions = Predictions([f"f{i}" for i in range(n)], labels, rng.normal(size=(n, 60)), names)
    counts = {"train": {name: 100 - i for i, name in enumerate(names)}}
    return Page(
        render_page(replace(evaluation, predictions=predictions, result=predictions.score(), training_counts=counts))
    )


def test_of_many_classes_the_weakest_and_the_most_confused_stand_in_it(many):
    assert "does not fit this page; it stands in evaluation.json" in many.text
    assert re.search(r"The \d+ pairs of classes that are confused most often Labelled Taken for", many.text)
    assert re.search(r"The \d+ weakest of 60 classes, the weakest first; the averages are over all", many.text)
    assert "trained with; the 50 classes of 60 with the fewest Class Train class 59 41" in many.text
    assert "Total of all 60" in many.text
    assert sum(tag == "svg" for tag, _ in many.tags) <= 25


HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onload='alert(1)",
    "</svg></title></style><script>",
    "<!-- -->",
    "{{ 7 * 7 }}{% raw %}",
    "$\\frac{$",
    "\0\x1b[31m\u202e",
)


def render_named(evaluation, name):
    """A page with the name wherever one can stand."""
    own = evaluation.predictions
    names = [f"{name}{i}" for i in range(7)]
    groups = {name: [names[i % 2] for i in range(len(own.files))]}
    predictions = replace(own, names=names, files=[f"{name}{i}" for i in range(len(own.files))], groups=groups)
    counts = {name: dict.fromkeys(names, 3)}
    sources = {"test": name}
    return Page(
        render_page(
            replace(
                evaluation,
                model=name,
                data=replace(evaluation.data, name=name, used=counts, sources=sources, images=name),
                predictions=predictions,
                result=predictions.score(),
                details={name: {name: name, "x": {name: [name]}}},
                training_counts={"train": dict.fromkeys(names, 3)},
                without_groups=name,
            )
        )
    )


def test_names_of_others_are_text_wherever_they_stand(evaluation):
    def count(page):
        # Of labels of charts, long ones take two elements.
        return Counter((tag, *sorted(attributes)) for tag, attributes in page.tags if tag not in ("text", "g"))

    benign = count(render_named(evaluation, "a b"))
    for name in ("".join(HOSTILE), "".join(HOSTILE[::-1])):
        assert count(render_named(evaluation, name)) == benign, name


def test_nothing_on_it_is_hidden_or_turns_the_direction_of_text(evaluation):
    page = render_named(evaluation, "<i>a\0b\x1b[31mc\u202ed\u2066e\u00a0f\u200cg")
    lines = page.html.split("\n")
    assert [line for line in lines if escape(line) != line] == []
    assert "<i>a\\x00b\\x1b[31mc\\u202ed\\u2066e\u00a0f\u200cg" in "".join(page.words)


def test_it_is_written_whole_beside_its_predictions(evaluation, tmp_path):
    output = OutputFolder(tmp_path / "new", EVALUATION_FILES)
    write_evaluation(output, evaluation, content={"split": "test"})
    assert {path.name for path in (tmp_path / "new").iterdir()} == {*EVALUATION_FILES, "files.json"}
    assert not any(output.is_changed(name) for name in EVALUATION_FILES)
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8").rstrip().endswith("</html>")
    assert read_predictions(tmp_path / "new").score().accuracy == evaluation.result.accuracy


def test_a_disk_that_is_full(evaluation, tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("rafdb_vit.runtime.place.Place.write", refuse)
    with pytest.raises(UserError, match="No space left on device") as error:
        write_evaluation(OutputFolder(tmp_path, EVALUATION_FILES), evaluation)
    assert "\n" not in error.value.line
    assert list(tmp_path.iterdir()) == []


def test_names_that_the_picture_has_numbers_for_are_listed(evaluation, page, monkeypatch):
    assert "confusion_matrix.png" not in page.text
    have_only(monkeypatch)
    names = ["\u9a5a\u304d", *BASIC.names[1:]]
    result = replace(evaluation.predictions, names=names).score()
    shown = Page(render_page(replace(evaluation, result=result))).text
    assert "a number stands for a name that could not be drawn: 1 \u9a5a\u304d ." in shown
    of_model = replace(evaluation, result=result, training_counts=evaluation.data.used)  # which draws no picture
    assert "confusion_matrix.png" not in Page(render_page(of_model)).text


def test_what_training_has_seen_stands_on_the_page_in_place_of_what_a_split_lets_guess(evaluation):
    others = evaluation.predictions.select(np.arange(14)).score()
    for split in ("test", "train"):
        page = render_page(replace(evaluation, split=split, overlap=Overlap(28, 12, 2, others)))
        assert '<p class="warning">12 of these 28 faces were trained on, and 2 others were used to choose' in page
        assert f"Results on the other 14: accuracy {others.accuracy:.4f}" in page and "these very faces" not in page
    new = replace(evaluation, overlap=Overlap(28, 0, 0, evaluation.result))
    assert '<p class="note">None of these 28 faces were trained on, pixel for pixel;' in render_page(new)


def test_what_training_has_seen_may_be_unknown(evaluation):
    unknown = "Which pictures the model was trained on is not known here"
    assert unknown in render_page(replace(evaluation, trained=None)) and unknown not in render_page(evaluation)
    assert unknown not in render_page(replace(evaluation, trained=None, split="train"))
