"""Webhooks on a real socket: the result of each way a POST can end, and the secret address."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from src.data.core.clock import ManualClock
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.webhook import Webhook
from src.data.errors import QueryError
from tests.core.net.scripted import NOW_MS, reply, serving

PATH = "/hooks/CANARY-path?token=CANARY-query"


def hook(base: str) -> Webhook:
    return Webhook(base + PATH, ManualClock(NOW_MS), HttpTransport(timeout=(0.3, 0.3)))


def test_a_message_is_posted_as_json() -> None:
    bodies = []

    def take(h: BaseHTTPRequestHandler) -> None:
        body = h.rfile.read(int(h.headers["Content-Length"]))
        bodies.append((h.command, h.path, h.headers["Content-Type"], json.loads(body)))
        reply(h, b"ok")

    with serving(take) as server:
        outcome = hook(server.base).post({"text": "é <b>", "events": []})
    assert (outcome.status, outcome.reason) == ("sent", "HTTP 200 from 127.0.0.1")
    assert bodies == [("POST", PATH, "application/json", {"text": "é <b>", "events": []})]


@pytest.mark.parametrize(
    "status, headers, expected, wait",
    [
        (204, {}, "sent", 0),
        (429, {"Retry-After": "7"}, "later", 7),
        (503, {}, "later", 0),
        (500, {"Retry-After": "soon"}, "later", 0),
        (408, {}, "later", 0),
        (504, {}, "unknown", 0),
        (400, {}, "refused", 0),
        (403, {}, "refused", 0),
        (304, {}, "refused", 0),
    ],
)
def test_each_http_status_of_a_webhook_is_sent_refused_or_tried_later(
    status: int, headers: dict[str, str], expected: str, wait: float
) -> None:
    with serving(lambda h: reply(h, b"", status, **headers)) as server:
        outcome = hook(server.base).post({})
    assert (outcome.status, outcome.wait_s) == (expected, wait)


def _cut(h: BaseHTTPRequestHandler) -> None:
    h.connection.shutdown(socket.SHUT_RDWR)


def _half(h: BaseHTTPRequestHandler) -> None:
    h.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    h.wfile.flush()
    h.connection.shutdown(socket.SHUT_RDWR)


def _stall(h: BaseHTTPRequestHandler) -> None:
    h.connection.settimeout(5)
    h.rfile.read(1)  # until the client gives up


@pytest.mark.parametrize("fault", [_cut, _half, _stall])
def test_a_lost_answer_of_a_webhook_has_an_unknown_outcome(
    fault: Callable[[BaseHTTPRequestHandler], None],
) -> None:
    def take(h: BaseHTTPRequestHandler) -> None:
        h.rfile.read(int(h.headers["Content-Length"]))
        fault(h)

    with serving(take) as server:
        assert hook(server.base).post({}).status == "unknown"


def test_a_webhook_message_without_a_connection_is_tried_later() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    outcome = hook(f"http://127.0.0.1:{port}").post({})
    assert outcome.status == "later" and "127.0.0.1" in outcome.reason


def test_the_address_of_a_webhook_is_in_no_record_reason_or_repr(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    texts = []
    with serving(lambda h: reply(h, b"no", 403)) as server:
        one = hook(server.base)
        texts += [repr(one), one.post({}).reason]
    texts.append(one.post({}).reason)  # the server is gone
    with pytest.raises(QueryError) as caught:
        Webhook("http://example.com" + PATH, ManualClock(NOW_MS))
    texts += [str(caught.value), repr(caught.value.__context__), caplog.text]
    assert "127.0.0.1" in caplog.text
    assert "CANARY" not in " ".join(texts)


@pytest.mark.parametrize(
    "url", ["", "x", "ftp://a/b", "https://", "https://u:p@a/b", "http://[::1/x"]
)
def test_a_bad_address_of_a_webhook_is_refused(url: str) -> None:
    with pytest.raises(QueryError, match="cannot be used"):
        Webhook(url, ManualClock(NOW_MS))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_refused_and_the_message_posted_once(status: int) -> None:
    """What was sent once is not sent to another place, of the same host neither."""
    paths = []

    def take(h: BaseHTTPRequestHandler) -> None:
        h.rfile.read(int(h.headers.get("Content-Length", 0)))
        paths.append(h.path)
        reply(h, b"", status, Location="/elsewhere")

    with serving(take) as server:
        outcome = hook(server.base).post({"text": "x"})
    assert (outcome.status, paths) == ("refused", [PATH])
    assert outcome.reason == f"HTTP {status} from 127.0.0.1"
