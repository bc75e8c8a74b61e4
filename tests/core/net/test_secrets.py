"""API keys: removed from errors, logs and echoed responses in every form."""

from __future__ import annotations

import base64
import gzip
import logging
import pickle
import traceback
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from src.data.core.model.request.capabilities import BarPage, Capabilities, FetchQuery, Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.redact import redacted
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.http.sender import Sender
from src.data.core.vendors.base import BaseDataDownloader
from src.data.errors import AuthenticationError, DataError
from tests.core.net.scripted import reply, sender_over, serving
from tests.core.vendors.acme import query

KEY = "CANARY+key/with=odd&signs 0123"
FORMS = {
    KEY, quote(KEY), quote(KEY, safe=""), quote_plus(KEY),
    base64.b64encode(KEY.encode()).decode(),
    *(part for part in KEY.replace("/", "+").replace("=", "+").replace("&", "+").split("+")
      if part in ("CANARY",)),
}  # fmt: skip


class Keyed(BaseDataDownloader):
    """Sends its key in both ways there are."""

    name = "keyed"
    secrets = ("KEYED_API_KEY",)
    requires_api_key = True
    limits = Limits()
    capabilities = Capabilities(frozenset({"crypto"}), {"1d": "1d"})

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        key = self.secret("KEYED_API_KEY")
        return HttpRequest(
            f"{self.base_url}/bars", params={"symbol": "X"},
            secret_params={"apikey": key}, secret_headers={"X-Key": key},
        )  # fmt: skip

    def parse_bars(self, response: HttpResponse, query: FetchQuery) -> BarPage:
        return BarPage([(float(text) for text in response.json()["rows"])])  # type: ignore[list-item]


def echo(status: int, **headers: str) -> Any:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        reported = f'{{"message": "your key {KEY} is wrong", "rows": ["{KEY}"]}}'
        reply(handler, reported.encode(), status, **headers)

    return handle


def plain_echo(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, f"{KEY} is over its limit".encode())


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "999")
    handler.end_headers()
    handler.close_connection = True


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def to_elsewhere(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"", 302, Location=f"https://elsewhere.example/?k={quote(KEY)}")


def to_itself(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, b"", 302, Location=handler.path)


FAILURES = {
    **{f"status {s}": echo(s) for s in (400, 401, 402, 403, 404, 418, 422, 429, 451, 500, 503)},
    "unreadable rows": echo(200),
    "plain text": plain_echo,
    "cut off": cut,
    "hung up": hang_up,
    "redirect elsewhere": to_elsewhere,
    "redirect in circles": to_itself,
    "damaged gzip": echo(200, Content_Encoding="gzip"),
}


class Everything(logging.Handler):
    """Keeps every record of every logger, formatted."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.getMessage()} {record.args!r}")


@pytest.fixture
def log() -> Iterator[Everything]:
    """Record all log lines of the process, at every level."""
    root, handler = logging.getLogger(), Everything()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


def everything_of(error: BaseException) -> str:
    """Return all texts of an error, along its whole chain, including locals of our frames."""
    texts: list[str] = []
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        exc = pending.pop()
        if exc is None or id(exc) in seen:
            continue
        seen.add(id(exc))
        texts += [str(exc), repr(exc), repr(exc.args), repr(vars(exc))]
        full = traceback.TracebackException.from_exception(exc, capture_locals=True)
        texts += [
            line for frame in full.stack if "/src/data/" in frame.filename
            for line in (frame.locals or {}).values()
        ]  # fmt: skip
        texts += list(full.format_exception_only())
        pending += [exc.__cause__, exc.__context__]
    texts.append(repr(pickle.loads(pickle.dumps(error)).__dict__))
    return "\n".join(texts)


def leaks(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


def vendor_at(base: str) -> tuple[Keyed, list[Any]]:
    reported: list[Any] = []
    sender = sender_over(
        HttpTransport(timeout=(0.3, 0.3)), retry=RetryPolicy(attempts=2), on_attempt=reported.append
    )
    return Keyed(credentials={"KEYED_API_KEY": KEY}, base_url=base, sender=sender), reported


@pytest.mark.parametrize("name", FAILURES)
def test_no_failure_shows_the_key(
    name: str, log: Everything, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(FAILURES[name]) as server, warnings.catch_warnings(record=True) as warned:
        vendor, reported = vendor_at(server.base)
        with pytest.raises(DataError) as caught:
            vendor.fetch(query("1d", 0, 1))
        assert server.requests, "the key was never sent"
        assert any(quote_plus(KEY) in path for path, _ in server.requests)
        assert server.requests[0][1]["x-key"] == KEY
    assert leaks(everything_of(caught.value)) == []
    assert leaks("\n".join(log.lines)) == []
    assert leaks(repr(reported) + repr(vendor) + repr([str(w.message) for w in warned])) == []
    assert leaks("".join(capsys.readouterr())) == []
    assert any("urllib3" in line for line in log.lines), (
        "the library logged nothing: the test would check nothing"
    )


def test_a_refused_connection_does_not_show_the_key(log: Everything) -> None:
    vendor, _ = vendor_at("http://127.0.0.1:9")
    with pytest.raises(DataError) as caught:
        vendor.fetch(query("1d", 0, 1))
    assert leaks(everything_of(caught.value)) == []
    assert leaks("\n".join(log.lines)) == []


@pytest.mark.parametrize("key", [KEY + "\n", "CANARY\u2019s", KEY + "\r\nX: y"])
def test_the_error_for_a_key_invalid_in_headers_does_not_show_it(key: str, log: Everything) -> None:
    sender: Sender = sender_over(HttpTransport(timeout=(0.3, 0.3)))
    request = HttpRequest("http://127.0.0.1:9/x", secret_headers={"X-Key": key})
    with pytest.raises(AuthenticationError, match="line break") as caught:
        sender.send(request, vendor="keyed")
    assert "CANARY" not in everything_of(caught.value)
    assert "CANARY" not in "\n".join(log.lines)


def test_success_is_logged_without_the_key(log: Everything) -> None:
    with serving(lambda h: reply(h, b"{}")) as server:
        vendor, _ = vendor_at(server.base)
        vendor.send(vendor.bars_request(query("1d", 0, 1), None))
    lines = [line for line in log.lines if "/bars" in line]
    assert lines
    assert leaks("\n".join(lines)) == []


def test_log_records_of_other_users_of_urllib3_are_not_changed(log: Everything) -> None:
    logger = logging.getLogger("urllib3.connectionpool")
    HttpTransport()
    logger.debug("%s", "/theirs?q=1")
    assert any("/theirs?q=1" in line for line in log.lines)


def test_an_echoed_key_is_masked_in_every_form() -> None:
    request = HttpRequest("https://v.example", secret_headers={"Authorization": "Token abc/defgh+"})
    body = b"a abc/defgh+ b abc%2Fdefgh%2B c YWJjL2RlZmdoKw== d Token abc/defgh+ e"
    got = redacted(HttpResponse(200, {"location": "/?t=abc%2Fdefgh%2B"}, body, "u?k=v"), request)
    assert b"defgh" not in got.body
    assert b"YWJj" not in got.body
    assert (got.headers["location"], got.url) == ("/?t=***", "u")


@pytest.mark.parametrize(
    "echo",
    [
        'ab/cd+ef=gh"ij<', "ab%2Fcd%2Bef%3Dgh%22ij%3C", "ab%2fcd%2bef=gh%22ij%3c",
        r"ab\/cd+ef=gh\"ij<", r"ab\/cd\u002bef\u003Dgh\"ij\u003c", "ab/cd+ef=gh&quot;ij&lt;",
        "ab/cd+ef=gh&#34;ij&#x3C;", "".join(f"&#{ord(c)};" for c in 'ab/cd+ef=gh"ij<'),
        "".join(f"\\u{ord(c):04x}" for c in 'ab/cd+ef=gh"ij<'),
        base64.b64encode(b'ab/cd+ef=gh"ij<').decode(),
        "".join(f"%{ord(c):02x}" for c in 'ab/cd+ef=gh"ij<'),
        "".join(f"%{ord(c):02X}" for c in 'ab/cd+ef=gh"ij<'),
        "a%62/" + "".join(f"%{ord(c):02X}" for c in 'cd+ef=gh"ij<'),
    ],
)  # fmt: skip
def test_an_escaped_key_is_masked(echo: str) -> None:
    request = HttpRequest("https://v.example", secret_params={"apikey": 'ab/cd+ef=gh"ij<'})
    got = redacted(HttpResponse(200, {"x": echo}, f"a {echo} b".encode()), request)
    assert (got.body, got.headers["x"]) == (b"a *** b", "***")


@pytest.mark.parametrize("end", ["ab/cd+", "ab/cd+ef=g", r"ab\/cd+ef\u00", "ab%2Fcd%2Bef=gh%2"])
def test_a_key_truncated_at_the_end_of_an_answer_is_masked(end: str) -> None:
    request = HttpRequest("https://v.example", secret_params={"apikey": 'ab/cd+ef=gh"ij<'})
    assert redacted(HttpResponse(200, {}, f"a {end}".encode()), request).body == b"a ***"
    for whole in (f"a {end}, and b", "a ab/cd"):
        assert redacted(HttpResponse(200, {}, whole.encode()), request).body == whole.encode()


@pytest.mark.parametrize("code", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_key_in_another_encoding_is_masked(code: str) -> None:
    request = HttpRequest("https://v.example", secret_params={"apikey": "abcdef123456"})
    for echo in ("abcdef123456", "%61bcdef123456", "a b".join(["", "abcdef123456", ""])):
        body = f'{{"error": "no plan for {echo}"}}'.encode(code)
        got = redacted(HttpResponse(403, {}, body), request).body
        assert b"cdef123" not in got.replace(b"\0", b"") and b"***" in got.replace(b"\0", b"")
    other = "plans: abcde, 123456, ähnlich".encode(code)
    assert redacted(HttpResponse(403, {}, other), request).body == other


def test_a_key_inside_gzip_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    request = HttpRequest("https://v.example", secret_params={"apikey": "abcdef123456"})
    text = b"time,key\n1,abcdef123456\n2,x\n"
    for body in (gzip.compress(text), gzip.compress(text[:5]) + gzip.compress(text[5:])):
        got = redacted(HttpResponse(200, {}, body), request).body
        assert gzip.decompress(got) == text.replace(b"abcdef123456", b"***")
    torn = gzip.compress(bytes(range(256)) * 30 + text)[:-9]
    assert b"abcdef1" not in gzip.decompress(redacted(HttpResponse(200, {}, torn), request).body)
    for other in (gzip.compress(b"0" * 5000), b"\x1f\x8bno gzip at all"):
        assert redacted(HttpResponse(200, {}, other), request).body == other
    monkeypatch.setattr("src.data.core.net.http.redact.MOST_UNPACKED", 4999)
    long = redacted(HttpResponse(200, {}, gzip.compress(b"0" * 5000)), request).body
    assert gzip.decompress(long) == b"***", "a body that is not searched is not shown"


def test_bars_are_not_changed_by_keys_that_look_like_numbers() -> None:
    rows = b'[[1717200000000,"67540.01","67599.98"]]'
    for key in ("171720", "67540.01", "0000000000"):
        request = HttpRequest("https://v.example", secret_params={"apikey": f"{key}abcdef"})
        assert redacted(HttpResponse(200, {}, rows), request).body == rows


def test_keys_shorter_than_six_characters_are_not_masked() -> None:
    request = HttpRequest("https://v.example", secret_params={"apikey": "demo"})
    assert redacted(HttpResponse(200, {}, b"demolition"), request).body == b"demolition"
    request = HttpRequest("https://v.example", secret_params={"apikey": "k3y456"})
    assert redacted(HttpResponse(200, {}, b"a k3y456"), request).body == b"a ***"
