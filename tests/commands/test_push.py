"""`push` from end to end: the real client, in processes of its own, against a Hub on 127.0.0.1."""

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.finished_run import write_finished_run
from tests.support.hub_client import HubClient
from tests.support.loopback_hub import EXPIRED, FINE, READ, WRITE, File, LoopbackHub

ROOT = Path(__file__).parents[2]
NAME = "ada/faces"
PUBLISHED = {
    "README.md",
    "config.json",
    "figures/confusion_matrix.png",
    "figures/learning_curves.png",
    "model.safetensors",
    "preprocessor_config.json",
    "results.json",
}
SECRET = "hf_" + "S3cret" * 6


@pytest.fixture(scope="module")
def server():
    return LoopbackHub()


@pytest.fixture(scope="module")
def client(server, tmp_path_factory):
    client = HubClient(server.url, tmp_path_factory.mktemp("home"))
    yield client
    client.close()


@pytest.fixture
def hub(server):
    server.reset()
    return server


@pytest.fixture(scope="module")
def shared_run(tmp_path_factory):
    return write_finished_run(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture
def push(client, hub, shared_run):
    def run(*flags, repo_id=NAME, token=WRITE, folder=shared_run, **environ):
        environ = {"HF_TOKEN": token, **environ} if token else environ
        return client.run("push", folder, "--repo_id", repo_id, *flags, **environ)

    return run


def ours(hub, repo_id=NAME, revision="main"):
    return set(hub.files(repo_id, revision)) - {".gitattributes"}


def commits(hub, repo_id=NAME):
    return len(hub.repos[repo_id].commits) - 1


def everything_received(hub):
    """All bodies, and what stood in them as base64."""
    bodies = [body for *_, body in hub.requests]
    encoded = [text for body in bodies for text in re.findall(rb'"(?:content|sample)": ?"([A-Za-z0-9+/=]*)"', body)]
    return b"\n".join([*bodies, *map(base64.b64decode, encoded)])


def is_line(ended, *words):
    lines = [line for line in ended.err.splitlines() if "error: " in line]  # older clients leave a bar before it
    return len(lines) == 1 and "Traceback" not in ended.err and all(word in lines[0] for word in words)


def test_a_first_push_is_one_commit_of_exactly_the_run(push, hub, shared_run):
    ended = push("--tag", "v1", "--verify")
    assert ended.status == 0, ended.err
    assert ours(hub) == PUBLISHED and commits(hub) == 1
    for name in ("model.safetensors", "config.json", "preprocessor_config.json", "results.json"):
        assert hub.files(NAME)[name].content == (shared_run / name).read_bytes()
    assert hub.repos[NAME].tags == {"v1": hub.repos[NAME].heads["main"]}
    assert "equal those here" in ended.out and "largest difference of a probability 0." in ended.out
    assert ended.last == f'{hub.url}/{NAME}  pipeline("image-classification", "{NAME}", top_k=7)'


def test_again_there_is_nothing_to_do(push, hub):
    push()
    again = push("--tag", "v1")
    assert again.status == 0 and "Nothing to do" in again.out
    assert commits(hub) == 1 and list(hub.repos[NAME].tags) == ["v1"]


def test_private(push, hub):
    assert push("--private", "--verify").status == 0
    assert hub.repos[NAME].private
    assert push().status == 0 and hub.repos[NAME].private


def test_private_is_not_promised_of_a_public_repository(push, hub):
    hub.make(NAME)
    ended = push("--private")
    assert ended.status == 2 and is_line(ended, "--private", NAME, "public") and commits(hub) == 0


def test_a_branch(push, hub):
    assert push("--revision", "trial/2", "--verify").status == 0
    assert ours(hub, revision="trial/2") == PUBLISHED and ours(hub) == set()
    assert 'revision="trial/2"' in hub.files(NAME, "trial/2")["README.md"].content.decode()


def test_a_tag_on_other_files_is_refused_before_anything_is_sent(push, hub):
    repo = hub.make(NAME)
    repo.tags["v1"] = repo.heads["main"]
    ended = push("--tag", "v1")
    assert ended.status == 2 and is_line(ended, "--tag v1") and commits(hub) == 0 and not hub.blobs


@pytest.mark.parametrize(("flag", "kind"), [("--tag", "heads"), ("--revision", "tags")])
def test_a_name_that_is_a_branch_here_and_a_tag_there(push, hub, flag, kind):
    repo = hub.make(NAME)
    getattr(repo, kind)["v1"] = repo.heads["main"]
    ended = push(flag, "v1")
    assert ended.status == 2 and is_line(ended, f"{flag} v1", "of that name") and commits(hub) == 0 and not hub.blobs


def test_a_tag_that_someone_else_sets_meanwhile_is_not_ours(push, hub):
    repo = hub.make(NAME)
    hub.fail("POST", "/tag/", lambda: repo.tags.update(v1=list(repo.commits)[0]))
    ended = push("--tag", "v1")
    assert ended.status == 2 and is_line(ended, "--tag v1", "was not set") and "Tag v1: set" not in ended.out


HAND_WRITTEN = File(b"---\nlicense: mit\n---\n# My words\n")


def test_words_written_by_hand_are_kept_without_force(push, hub):
    hub.make(NAME).add("main", {"README.md": HAND_WRITTEN})
    ended = push()
    assert ended.status == 2 and is_line(ended, "README.md", "by hand", "--force")
    assert hub.files(NAME) == {"README.md": HAND_WRITTEN} and not hub.blobs
    assert push("--force").status == 0 and ours(hub) == PUBLISHED


def test_a_card_of_an_earlier_run_and_the_hubs_form_are_replaced(push, hub, tmp_path):
    hub.make(NAME).add("main", {"README.md": File(b"---\nlicense: mit\n---\n")})
    assert push().status == 0
    other = write_finished_run(tmp_path / "run", hidden_size=16)
    assert push(folder=other).status == 0 and commits(hub) == 3


def test_a_gitignore_there_would_leave_files_out(push, hub):
    hub.make(NAME).add("main", {".gitignore": File(b"*.safetensors\n")})
    ended = push()
    assert ended.status == 2 and is_line(ended, ".gitignore") and commits(hub) == 1 and not hub.blobs


def test_an_organisation(push, hub):
    assert push(repo_id="lab/faces").status == 0 and ours(hub, "lab/faces") == PUBLISHED


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (EXPIRED, ("401", "HF_TOKEN")),
        (None, ("no token", "hf auth login")),
        (READ, ("can only read",)),
        (FINE, ("can only read",)),
        ("hf_\u00e9" + "a" * 30, ("characters",)),
    ],
    ids=["wrong", "missing", "read-only", "fine-grained", "odd"],
)
def test_tokens_that_cannot_write(push, hub, token, words):
    ended = push(token=token)
    assert ended.status == 2 and is_line(ended, *words) and hub.repos == {}
    assert token is None or token not in ended.err + ended.out


@pytest.mark.parametrize(
    ("repo_id", "words"),
    [
        ("bob/faces", ("bob/faces", "not write there", "ada, lab")),
        ("club/faces", ("only read there", "ada, lab")),
        ("faces", ("USER/NAME",)),
        ("ada/fa ces", ("USER/NAME",)),
        ("ada/x/y", ("USER/NAME",)),
        ("../faces", ("USER/NAME",)),
    ],
)
def test_names_that_cannot_be(push, hub, repo_id, words):
    ended = push(repo_id=repo_id)
    assert ended.status == 2 and is_line(ended, "--repo_id", *words) and hub.repos == {}


@pytest.mark.parametrize(("flag", "value"), [("--tag", "a b"), ("--revision", "a..b"), ("--tag", "-x")])
def test_names_of_branches_and_tags(push, hub, flag, value):
    ended = push(f"{flag}={value}")
    assert ended.status == 2 and is_line(ended, flag) and hub.requests == []


def test_a_license_that_the_hub_does_not_know(push, hub):
    ended = push("--license", "mine-alone")
    assert ended.status == 2 and is_line(ended, "--license", "must be one of") and hub.repos == {}


@pytest.mark.parametrize("flag", ["--token", "--hub_token"])
def test_a_token_on_the_command_line_is_refused_and_not_repeated(push, hub, flag):
    ended = push(flag, SECRET)
    assert ended.status == 2 and is_line(ended, flag, "hf auth login") and SECRET not in ended.err and not hub.requests


CALLS = [
    ("GET", "whoami"),
    ("POST", "repos/create"),
    ("POST", "validate-yaml"),
    ("GET", "/revision/main"),
    ("GET", "/tree/"),
    ("POST", "preupload"),
    ("POST", "/commit/"),
    ("POST", "/tag/"),
]


def test_one_503_at_every_call_is_got_over_and_shown(push, hub):
    for method, path in CALLS:
        hub.fail(method, path, 503, message="try later")
    ended = push("--tag", "v1")
    assert ended.status == 0 and commits(hub) == 1 and ours(hub) == PUBLISHED, ended.err
    shown = ended.out.count("503 (try later); trying again in 0.05 s") + ended.err.count("HTTP Error 503")
    assert shown == len(CALLS)  # two of these calls are tried again by the client itself, which says so


@pytest.mark.parametrize("path", ["repos/create", "/tree/", "preupload", "/commit/", "/tag/"])
def test_a_repository_that_is_gone_in_between_is_a_line(push, hub, path):
    hub.fail("GET" if path == "/tree/" else "POST", path, 404, times=9, headers={"X_Error_Code": "RepoNotFound"})
    ended = push("--tag", "v1")
    assert ended.status == 2 and is_line(ended, "404")


def test_pages_in_place_of_answers(push, hub):
    for method, path in (("GET", "whoami"), ("POST", "validate-yaml"), ("POST", "preupload"), ("POST", "/commit/")):
        hub.fail(method, path, "page")
    ended = push("--tag", "v1")
    assert ended.status == 0 and commits(hub) == 1 and ended.out.count("not the Hub") >= 3, ended.err


@pytest.mark.parametrize("path", ["config.json", "model.safetensors"])
def test_faults_while_it_is_loaded_back(push, hub, path):
    hub.fail("GET", f"/resolve/.*/{path}", 503)
    hub.fail("HEAD", f"/resolve/.*/{path}", "reset")
    assert push("--verify", "--tag", "v1").status == 0 and list(hub.repos[NAME].tags) == ["v1"]
    hub.fail("GET", f"/resolve/.*/{path}", 403, times=99)
    ended = push("--verify", "--tag", "v2")
    assert ended.status == 2 and is_line(ended, "403") and list(hub.repos[NAME].tags) == ["v1"]


@pytest.mark.parametrize("path", ["/lfs/objects/batch", r"/lfs/\w+$", "/verify"])
def test_faults_of_the_upload_itself(push, hub, path):
    hub.fail("PUT" if path.endswith("$") else "POST", path, 503)
    assert push().status == 0 and commits(hub) == 1 and ours(hub) == PUBLISHED


def test_429_waits_as_long_as_the_hub_asks(push, hub):
    hub.fail("POST", "/commit/", 429, headers={"Retry-After": "2"})
    begun = time.monotonic()
    ended = push()
    assert ended.status == 0 and "trying again in 2 s" in ended.out and time.monotonic() - begun > 2


def test_a_reset_within_the_upload(push, hub):
    hub.fail("PUT", "/lfs/", "reset")
    assert push().status == 0 and commits(hub) == 1 and ours(hub) == PUBLISHED


@pytest.mark.parametrize(("method", "path"), [("PUT", "/lfs/"), ("POST", "preupload"), ("POST", "/commit/")])
def test_413_is_final(push, hub, method, path):
    hub.fail(method, path, 413, times=9, message="too big")
    ended = push()
    assert ended.status == 2 and is_line(ended, "413", "too big") and commits(hub) == 0
    assert hub.asked(method, path) <= 3  # one for each large file at most


def test_403_says_what_the_hub_says(push, hub):
    hub.fail("POST", "/commit/", 403, message=f"storage is over its limit {WRITE}")
    ended = push()
    assert ended.status == 2 and is_line(ended, "403", "storage is over its limit <token>")


def test_a_commit_whose_answer_is_lost_is_found_and_not_made_twice(push, hub):
    hub.fail("POST", "/commit/", "lost")
    ended = push("--tag", "v1")
    assert ended.status == 0 and commits(hub) == 1 and hub.asked("POST", "/commit/") == 1
    assert hub.repos[NAME].tags == {"v1": hub.repos[NAME].heads["main"]}


def test_a_lost_answer_and_then_a_hub_that_is_down(push, hub):
    hub.fail("POST", "/commit/", "lost")
    hub.fail("GET", "/revision/main", lambda: None)  # the read before the commit
    hub.fail("GET", "/revision/main", 503)
    ended = push()
    assert ended.status == 0 and commits(hub) == 1, ended.err


def test_an_answer_that_does_not_come(push, hub):
    hub.fail("GET", "whoami", lambda: time.sleep(1.5))
    hub.fail("POST", "/commit/", lambda: time.sleep(1.5))  # it lands when the client has given up
    ended = push()
    assert ended.status == 0 and commits(hub) == 1 and ours(hub) == PUBLISHED, ended.err
    assert ended.out.count("the Hub cannot be reached (ReadTimeout") == 2


def test_answers_lost_elsewhere(push, hub):
    for path in ("repos/create", "/tag/"):
        hub.fail("POST", path, "lost")
    assert push("--tag", "v1").status == 0
    assert commits(hub) == 1 and list(hub.repos[NAME].tags) == ["v1"]


def test_a_branch_that_someone_else_changed_is_left_to_them(push, hub):
    repo = hub.make(NAME)
    theirs = {"theirs.txt": File(b"x")}
    hub.fail("POST", "/commit/", lambda: repo.add("main", theirs))
    ended = push()
    assert ended.status == 2 and is_line(ended, "412", "changed since it was read")
    assert hub.files(NAME) == theirs and hub.asked("POST", "/commit/") == 1
    assert push().status == 0 and ours(hub) == {*PUBLISHED, "theirs.txt"}


def test_a_hub_that_stays_away_ends_it_within_bounds(push, hub):
    hub.fail("POST", "/commit/", 503, times=99)
    ended = push()
    assert ended.status == 2 and is_line(ended, "503", "run the same command again") and commits(hub) == 0
    assert hub.asked("POST", "/commit/") == 5
    hub.faults.clear()
    assert push().status == 0 and commits(hub) == 1


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_within_the_upload_it_is_completed_by_the_same_command(client, push, hub, shared_run, signum):
    process = []
    hub.fail("PUT", "/lfs/", lambda: (os.kill(process[0], signum), time.sleep(0.3)))
    process.append(client.start("push", shared_run, "--repo_id", NAME, HF_TOKEN=WRITE))
    ended = client.wait()
    assert ended.status == (-signum if signum == signal.SIGKILL else 128 + signum)
    assert commits(hub) == 0
    if signum != signal.SIGKILL:
        assert "run the same command again" in ended.err and "Traceback" not in ended.err
    assert push("--verify").status == 0 and commits(hub) == 1 and ours(hub) == PUBLISHED


def test_a_checksum_that_differs_is_no_success_and_no_tag(push, hub):
    def spoil():
        hub.files(NAME)["model.safetensors"].sha256 = "0" * 64

    hub.fail("GET", "/tree/", lambda: None, times=1)
    hub.fail("GET", "/tree/", spoil)
    ended = push("--tag", "v1")
    assert ended.status == 2 and is_line(ended, "model.safetensors", "not what was sent") and not hub.repos[NAME].tags


def test_weights_of_an_earlier_publication_do_not_stay_beside(push, hub):
    old = {"model.safetensors.index.json": b"{}", "model-00001-of-00002.safetensors": b"x", "training_args.bin": b"p"}
    old["processor_config.json"] = b"{}"  # loading would take it before ours
    hub.make(NAME).add("main", {name: File(content) for name, content in old.items()})
    ended = push()
    assert ended.status == 0 and set(hub.files(NAME)) == {*PUBLISHED, "training_args.bin"}
    assert "Warning: training_args.bin can run code" in ended.out
    assert "Nothing to do" in push().out


def test_what_is_not_on_the_list_never_leaves_the_machine(push, hub, shared_run, tmp_path):
    folder = Path(shutil.copytree(shared_run, tmp_path / "run"))
    planted = [
        ".env",
        "training_args.bin",
        ".cache/huggingface/token",
        "predictions.csv",
        "runs/events.1",
        "a.safetensors",
    ]
    planted += [
        "checkpoint-4/optimizer.pt",
        "training_config.yaml",
        "figures/worst_faces.png",
        "report.html",
        "log.json",
    ]
    for name in planted:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"token {SECRET}")
    ended = push(folder=folder)
    assert ended.status == 0 and ours(hub) == PUBLISHED
    sent = everything_received(hub)
    assert SECRET.encode() not in sent and str(tmp_path).encode() not in sent and WRITE.encode() not in sent
    assert not [name for name in planted if name.encode() in sent]


def test_a_dry_run_opens_no_socket(push, hub, shared_run, client):
    ended = push("--dry_run")
    assert ended.status == 0 and hub.requests == [] and "error" not in ended.err, ended.err
    for name in PUBLISHED:
        assert f"  {name}\n" in ended.out
    assert "pipeline_tag: image-classification" in ended.out and f"Target: {NAME}, branch main" in ended.out


def test_a_dry_run_goes_to_the_end_and_lists_all_that_is_to_be_done(push, hub, tmp_path):
    folder = write_finished_run(tmp_path / "run", "drawn")
    ended = push("--dry_run", "--tag", "a..b", repo_id="faces", token=None, folder=folder)
    lines = ended.err.splitlines()
    todo = [line for line in lines if line.startswith("to do: ")]
    for line, words in zip(
        todo, ["--repo_id faces", "--tag a..b", "no token", "drawn faces", "--license"], strict=True
    ):
        assert words in line
    assert lines[-1] == "error: not ready to be published: 5 things are to be done, as listed above"
    assert ended.status == 2 and hub.requests == [] and len(lines) == len({*lines})
    assert "model.safetensors\n" in ended.out and "pipeline_tag: image-classification" in ended.out
    ended = push("--dry_run", "--force", "--license", "mit", token=None, folder=folder)
    assert ended.status == 2 and is_line(ended, "not ready to be published: no token for the Hub", "hf auth login")


def test_without_a_repository_a_dry_run_shows_what_there_is(client, hub, shared_run):
    ended = client.run("push", shared_run, "--dry_run", HF_TOKEN=WRITE)
    assert ended.status == 2 and is_line(ended, "--repo_id: expected USER/NAME") and "Target: USER/NAME" in ended.out
    ended = client.run("push", shared_run, HF_TOKEN=WRITE)
    assert ended.status == 2 and is_line(ended, "--repo_id: expected USER/NAME") and ended.out == ""


@pytest.mark.parametrize("name", ["drawn", "folder in RAF-DB layout"])
def test_trials_and_other_data(push, hub, tmp_path, name):
    folder = write_finished_run(tmp_path / "run", name, subsampled=name != "drawn")
    ended = push("--license", "mit", folder=folder)
    assert ended.status == 2 and is_line(ended, "--force") and hub.requests == []
    ended = push("--force", folder=folder)
    assert ended.status == 2 and is_line(ended, "--license") and hub.requests == []
    assert push("--force", "--license", "mit", folder=folder).status == 0
    assert "Not for use" in hub.files(NAME)["README.md"].content.decode()


def test_the_script_and_xet(hub, shared_run, tmp_path):
    environ = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environ |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": WRITE}
    command = [sys.executable, "push_to_hub.py", str(shared_run), "--repo_id", NAME]
    ended = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert hub.xorbs and not hub.blobs and ours(hub) == PUBLISHED and commits(hub) == 1


def train_flags(faces_dir, tiny_vit, folder):
    return [
        *("--data_dir", faces_dir, "--model_name_or_path", tiny_vit, "--output_dir", folder, "--use_cpu"),
        *("--bf16", "False", "--per_device_train_batch_size", "14", "--num_train_epochs", "1", "--license", "mit"),
        *("--validation_fraction", "0.3", "--dataloader_num_workers", "0", "--push_to_hub", "--hub_model_id", NAME),
    ]


def test_training_publishes_at_its_end(client, hub, faces_dir, tiny_vit, tmp_path):
    ended = client.run("train", *train_flags(faces_dir, tiny_vit, tmp_path / "run"), HF_TOKEN=WRITE)
    assert ended.status == 0, ended.err
    assert ours(hub) == PUBLISHED and commits(hub) == 1 and WRITE.encode() not in everything_received(hub)
    assert json.loads(hub.files(NAME)["results.json"].content) == json.loads(
        (tmp_path / "run/results.json").read_text()
    )
    assert ended.last.startswith(f"{hub.url}/{NAME}  pipeline(")


def test_a_failed_publication_costs_no_run(client, hub, push, faces_dir, tiny_vit, tmp_path):
    hub.fail("POST", "/commit/", 403, message="no storage left")
    ended = client.run("train", *train_flags(faces_dir, tiny_vit, tmp_path / "run"), HF_TOKEN=WRITE)
    assert "--repo_id ada" not in ended.err.split("publish it with")[0] and "--hub_model_id" in ended.err
    again = f"python push_to_hub.py {tmp_path / 'run'} --repo_id {NAME} --license mit"
    assert ended.status == 2 and is_line(ended, "no storage left", "is whole", again)
    assert (tmp_path / "run" / "results.json").is_file() and commits(hub) == 0
    assert push("--license", "mit", folder=tmp_path / "run").status == 0 and ours(hub) == PUBLISHED


@pytest.mark.parametrize(("token", "words"), [(READ, "can only read"), (None, "no token"), (EXPIRED, "401")])
def test_the_right_to_write_is_checked_before_training(client, hub, faces_dir, tiny_vit, tmp_path, token, words):
    environ = {"HF_TOKEN": token} if token else {}
    ended = client.run("train", *train_flags(faces_dir, tiny_vit, tmp_path / "run"), **environ)
    assert ended.status == 2 and is_line(ended, words) and not (tmp_path / "run").exists()
