import importlib
import json
import logging

import pytest
from huggingface_hub.errors import HfHubHTTPError, HTTPError, RepositoryNotFoundError

from rafdb_vit.hub import client as hub_call
from rafdb_vit.hub.client import call_hub
from rafdb_vit.runtime.errors import UserError

httpx = importlib.import_module(HTTPError.__module__.split(".")[0])  # httpx2 with newer releases of the client


def answered(status, headers=None, kind=HfHubHTTPError):
    request = httpx.Request("GET", "http://127.0.0.1/x")
    return kind("failed", response=httpx.Response(status, headers=headers or {}, request=request))


def wrapped(error):
    """As the client wraps what makes an upload fail."""
    outer = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
    outer.__cause__ = error
    return outer


@pytest.fixture
def waits(monkeypatch):
    slept = []
    monkeypatch.setattr(hub_call.time, "sleep", slept.append)
    return slept


def failing(*errors):
    rest = list(errors)

    def call():
        if rest:
            raise rest.pop(0)
        return "done"

    return call


TRANSIENT = [answered(503), answered(429), answered(408), ConnectionResetError("x"), TimeoutError("x")]
TRANSIENT += [httpx.ConnectError("x"), wrapped(answered(502)), RuntimeError("Xet upload failed"), OSError("xet: x")]


@pytest.mark.parametrize("error", TRANSIENT, ids=repr)
def test_transient_faults_are_tried_again(waits, error):
    assert call_hub("t", failing(error)) == "done" and waits == [1.0]


@pytest.mark.parametrize("status", [400, 401, 403, 409, 412, 413])
@pytest.mark.parametrize("wrap", [lambda e: e, wrapped])
def test_final_ones_are_not(waits, status, wrap):
    with pytest.raises(UserError, match=f"t: the Hub answered {status}"):
        call_hub("t", failing(wrap(answered(status))))
    assert waits == []


def test_tries_are_bounded_and_wait_ever_longer(waits):
    with pytest.raises(UserError, match="503.*run the same command again"):
        call_hub("t", failing(*[answered(503)] * 9))
    assert waits == [1.0, 2.0, 4.0, 8.0]


def test_the_hubs_own_wait_is_kept_within_a_minute(waits):
    call_hub("t", failing(answered(429, {"Retry-After": "7"}), answered(429, {"Retry-After": "900"})))
    call_hub("t", failing(answered(429, {"RateLimit": '"api";r=0;t=55'})))
    assert waits == [7.0, 60.0, 55.0]


def test_bugs_and_missing_repositories_go_through(waits):
    for error in (
        RuntimeError("a bug"),
        OSError("disk"),
        ValueError("a bug"),
        answered(404, kind=RepositoryNotFoundError),
    ):
        with pytest.raises(type(error)) as raised:
            call_hub("t", failing(error), through=(RepositoryNotFoundError,))
        assert raised.value is error


def test_a_missing_repository_is_a_line_where_nobody_asked_for_it(waits):
    with pytest.raises(UserError, match="the Hub answered 404"):
        call_hub("t", failing(*[answered(404, kind=RepositoryNotFoundError)] * 9))


def test_a_page_in_place_of_an_answer(waits):
    page = [json.JSONDecodeError("Expecting value", "<html>", 0)]
    assert call_hub("t", failing(*page)) == "done"
    with pytest.raises(UserError, match="not the Hub"):
        call_hub("t", failing(*page * 9))


@pytest.mark.parametrize(("status", "tries"), [(401, 0), (403, 0), (503, 4)])
def test_the_storages_status_stands_in_the_words_of_its_client(waits, status, tries):
    error = ConnectionError(f"HTTP status client error ({status} X), domain: http://127.0.0.1/xet?sig=secret")
    with pytest.raises(UserError, match=f"storage answered {status}") as raised:
        call_hub("t", failing(*[error] * 9))
    assert len(waits) == tries and "secret" not in str(raised.value)


def test_signed_addresses_do_not_get_into_the_clients_log(waits, caplog):
    call_hub("t", failing())
    log = logging.getLogger("huggingface_hub.utils._http")
    log.propagate, before = True, log.propagate
    log.warning("HTTP Error 503 thrown while requesting %s", "PUT https://s3/x?X-Amz-Signature=secret")
    log.propagate = before
    assert "https://s3/x" in caplog.text + "https://s3/x" and "secret" not in caplog.text


def test_the_token_is_cut_out_of_every_line(waits, capsys):
    with pytest.raises(UserError) as error:
        call_hub("t", failing(*[ConnectionError("sent hf_secret")] * 9), token="hf_secret")
    assert "hf_secret" not in str(error.value) + capsys.readouterr().out
