"""The HTTP transport on a real socket: connections, encodings, redirects and size limits."""

from __future__ import annotations

import errno
import gzip
import io
import os
import signal
import socket
import threading
import tracemalloc
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPResponse

from src.data.core.model.request.http import HttpRequest
from src.data.core.net.http.http import HttpTransport
from src.data.errors import (
    ConfigError,
    ProviderTimeoutError,
    ResponseFormatError,
    UnavailableError,
)
from tests.core.net.scripted import reply, serving
from tests.processes import ended, fork, with_locks

Handler = Callable[[BaseHTTPRequestHandler], None]


def quick(**options: float) -> HttpTransport:
    return HttpTransport(timeout=(0.3, 0.3), **options)  # type: ignore[arg-type]


def test_pages_share_one_connection_even_from_different_threads() -> None:
    with serving(reply) as server:
        transport = quick()
        for page in range(5):
            transport.send(HttpRequest(f"{server.base}/{page}"))
        thread = threading.Thread(target=transport.send, args=(HttpRequest(f"{server.base}/t"),))
        thread.start()
        thread.join()
        assert len(server.requests) == 6
        assert server.connections == 1
        transport.close()


def test_an_error_answer_and_a_redirect_keep_the_connection() -> None:
    def handle(h: BaseHTTPRequestHandler) -> None:
        if h.path == "/old":
            reply(h, b"moved", 302, Location="/new")
        else:
            reply(h, b"no", 404)

    with serving(handle) as server:
        transport = quick()
        for _ in range(3):
            assert transport.send(HttpRequest(f"{server.base}/old")).status == 404
        assert [path for path, _ in server.requests] == ["/old", "/new"] * 3
        assert server.connections == 1
        transport.close()


def test_concurrent_threads_have_their_own_connections() -> None:
    barrier = threading.Barrier(3)

    def handle(h: BaseHTTPRequestHandler) -> None:
        barrier.wait(30)
        reply(h)

    with serving(handle) as server:
        transport = quick()
        threads = [
            threading.Thread(target=transport.send, args=(HttpRequest(server.base),))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert server.connections == 3
        transport.close()


def test_an_http_request_is_sent_whole_and_its_response_is_a_value() -> None:
    with serving(lambda h: reply(h, b'{"a": 1}', X_Weight="2")) as server:
        transport = quick()
        response = transport.send(
            HttpRequest(
                f"{server.base}/x", params={"symbol": "^VIX", "n": 3}, headers={"User-Agent": "b"},
                secret_params={"key": "s e"}, secret_headers={"X-Key": "abc"},
            )
        )  # fmt: skip
        path, headers = server.requests[0]
        transport.close()
    assert path == "/x?symbol=%5EVIX&n=3&key=s+e"
    assert (headers["user-agent"], headers["x-key"]) == ("b", "abc")
    assert "gzip" in headers["accept-encoding"]
    assert "authorization" not in headers
    assert (response.status, response.json(), response.headers["x-weight"]) == (200, {"a": 1}, "2")
    assert response.url == f"{server.base}/x"


def test_a_gzip_encoded_body_is_decompressed() -> None:
    body = b"[" + b"1," * 50_000 + b"1]"
    with serving(lambda h: reply(h, gzip.compress(body), Content_Encoding="gzip")) as server:
        transport = quick()
        assert transport.send(HttpRequest(server.base)).body == body
        transport.close()


def test_a_gzip_bomb_takes_no_more_memory_than_the_cap() -> None:
    bomb, cap = gzip.compress(b"0" * 20_000_000), 8 * 1024 * 1024
    with serving(lambda h: reply(h, bomb, Content_Encoding="gzip")) as server:
        transport = HttpTransport(max_bytes=cap)
        tracemalloc.start()
        try:
            with pytest.raises(ResponseFormatError, match="larger than 8 MiB"):
                transport.send(HttpRequest(server.base))
            assert tracemalloc.get_traced_memory()[1] < 1.3 * cap
        finally:
            tracemalloc.stop()


def test_a_gzip_bomb_is_stopped_at_the_cap() -> None:
    bomb = gzip.compress(b"0" * 20_000_000)
    with serving(lambda h: reply(h, bomb, Content_Encoding="gzip")) as server:
        transport = quick(max_bytes=1_000_000)
        with pytest.raises(ResponseFormatError, match=r"127.0.0.1.* is larger than 1000000 bytes"):
            transport.send(HttpRequest(server.base))


def test_a_gzip_bomb_in_a_redirect_is_stopped_at_the_cap() -> None:
    bomb = gzip.compress(b"0" * 20_000_000)

    def handle(h: BaseHTTPRequestHandler) -> None:
        reply(h, bomb, 302, Content_Encoding="gzip", Location="/again")

    with serving(handle) as server:
        tracemalloc.start()
        with pytest.raises(ResponseFormatError, match="is larger than 1000000 bytes"):
            quick(max_bytes=1_000_000).send(HttpRequest(server.base))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip"])
def test_an_encoding_that_was_not_requested_is_refused(coding: str) -> None:
    with (
        serving(lambda h: reply(h, gzip.compress(b"[]"), Content_Encoding=coding)) as server,
        pytest.raises(ResponseFormatError, match="not requested"),
    ):
        quick().send(HttpRequest(server.base))


def test_truncated_compressed_data_is_an_error() -> None:
    """The length is right, and what is there inflates: without its end it may lack lines."""
    cut = gzip.compress(b"1,2,3\n" * 10_000)[:-20]
    with (
        serving(lambda h: reply(h, cut, Content_Encoding="gzip")) as server,
        pytest.raises(UnavailableError, match="was cut off"),
    ):
        quick().send(HttpRequest(server.base))


@pytest.mark.parametrize(
    "url",
    ["https://vendor.example@127.0.0.1/x", "http://a:b@127.0.0.1/x", "https://a\\@127.0.0.1/"],
)
def test_an_address_with_a_user_name_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="contains a user name"):
        quick().send(HttpRequest(url))


def test_a_body_of_exactly_the_cap_is_accepted() -> None:
    with serving(lambda h: reply(h, b"x" * 1000)) as server:
        transport = quick(max_bytes=1000)
        assert len(transport.send(HttpRequest(server.base)).body) == 1000
        transport.close()


@pytest.mark.parametrize(
    "location",
    ["https://elsewhere.example/x?key=CANARY", "//elsewhere.example", "http://127.0.0.1:1/"],
)
def test_a_redirect_to_another_host_is_refused(location: str) -> None:
    with (
        serving(lambda h: reply(h, b"", 302, Location=location)) as server,
        pytest.raises(ResponseFormatError, match="redirects to another host") as caught,
    ):
        quick().send(HttpRequest(server.base, secret_headers={"X-Key": "CANARY"}))
    assert "CANARY" not in str(caught.value)


def test_a_redirect_loop_ends_with_an_error() -> None:
    with serving(lambda h: reply(h, b"", 301, Location="/again")) as server:
        with pytest.raises(ResponseFormatError, match="redirect loop"):
            quick().send(HttpRequest(server.base))
        assert len(server.requests) == 4


def test_a_silent_server_times_out() -> None:
    release = threading.Event()

    def handle(h: BaseHTTPRequestHandler) -> None:
        release.wait(3)
        h.close_connection = True

    with serving(handle) as server:
        with pytest.raises(ProviderTimeoutError, match="did not answer in time"):
            HttpTransport(timeout=(0.3, 0.1)).send(HttpRequest(server.base))
        release.set()


def test_a_slowly_sending_server_is_cut_off() -> None:
    done = threading.Event()

    def drip(h: BaseHTTPRequestHandler) -> None:
        h.send_response(200)
        h.send_header("Content-Length", "1000")
        h.end_headers()
        while not done.wait(0.02):
            try:
                h.wfile.write(b"x")
            except OSError:
                return

    with serving(drip) as server:
        with pytest.raises(ProviderTimeoutError, match=r"more than 0.15 s"):
            HttpTransport(timeout=(0.3, 0.3), total_s=0.15).send(HttpRequest(server.base))
        done.set()


def test_a_truncated_answer_is_an_error() -> None:
    def cut(h: BaseHTTPRequestHandler) -> None:
        h.send_response(200)
        h.send_header("Content-Length", "1000")
        h.end_headers()
        h.wfile.write(b"[1, 2")
        h.close_connection = True

    with serving(cut) as server, pytest.raises(UnavailableError, match="was cut off"):
        quick().send(HttpRequest(server.base))


def test_damaged_gzip_is_an_error() -> None:
    damaged = b"\x1f\x8b\x08" + b"garbage" * 10
    with (
        serving(lambda h: reply(h, damaged, Content_Encoding="gzip")) as server,
        pytest.raises(UnavailableError, match="was cut off"),
    ):
        quick().send(HttpRequest(server.base))


def test_a_refused_connection_raises_unavailable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(UnavailableError, match=r"no connection to 127\.0\.0\.1/x"):
        quick().send(HttpRequest(f"http://127.0.0.1:{port}/x"))


OWN = {
    "no name server": socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
    "no name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "no network": OSError(errno.ENETUNREACH, "Network is unreachable"),
    "no way": OSError(errno.EHOSTUNREACH, "No route to host"),
    "down": OSError(errno.ENETDOWN, "Network is down"),
}


@pytest.mark.parametrize("name", OWN)
def test_a_network_that_is_down_is_not_the_vendors_failure(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OWN[name]

    if isinstance(OWN[name], socket.gaierror):
        monkeypatch.setattr(socket, "getaddrinfo", fail)
    else:
        place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
        monkeypatch.setattr(socket.socket, "connect", fail)
    with pytest.raises(
        UnavailableError, match=r"acme\.example/x: this machine has no net"
    ) as caught:
        quick().send(HttpRequest("https://acme.example/x"))
    assert (caught.value.is_own, caught.value.was_sent) == (True, False)


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE])
def test_a_connection_that_is_refused_or_breaks_is_the_vendors_failure(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> Any:
        raise OSError(number, "no")

    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 443))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
    monkeypatch.setattr(socket.socket, "connect", fail)
    with pytest.raises(UnavailableError, match=r"no connection to acme\.example/x$") as caught:
        quick().send(HttpRequest("https://acme.example/x"))
    assert not caught.value.is_own


@pytest.mark.parametrize(
    "url", ["http://vendor.example/x", "ftp://127.0.0.1/x", "vendor.example/x", "", "http://[::1"]
)
def test_plain_http_is_allowed_only_to_this_machine(url: str) -> None:
    with pytest.raises(ConfigError, match="TLS"):
        quick().send(HttpRequest(url))


def test_an_invalid_address_is_refused() -> None:
    with pytest.raises((ConfigError, UnavailableError)):
        quick().send(HttpRequest("https://exa mple:notaport/x"))


def test_loopback_requests_bypass_the_proxy_and_netrc_is_not_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    netrc = f"{tmp_path}/netrc"
    with open(netrc, "w") as file:
        file.write("machine 127.0.0.1 login me password CANARY\n")
    monkeypatch.setenv("NETRC", netrc)
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(reply) as server:
        transport = quick()
        transport.send(HttpRequest(server.base))
        transport.close()
        assert "authorization" not in server.requests[0][1]


def test_cookies_are_not_kept() -> None:
    with serving(lambda h: reply(h, Set_Cookie="a=b; Path=/")) as server:
        transport = quick()
        for _ in range(2):
            transport.send(HttpRequest(server.base))
        transport.close()
        assert all("cookie" not in headers for _, headers in server.requests)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_child_opens_its_own_connection() -> None:
    with serving(reply) as server:
        transport, (lock,) = with_locks(quick)
        transport.send(HttpRequest(server.base))

        def send_as_a_child() -> None:
            signal.alarm(20)
            assert transport.send(HttpRequest(server.base)).status == 200

        with lock:
            child = fork(send_as_a_child)
        assert ended(child) == 0
        transport.send(HttpRequest(server.base))
        assert server.connections == 2
        transport.close()


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what each request is verified against; none of them leaves."""
    found: list[Any] = []

    def stop(self: HTTPAdapter, prepared: Any, **options: Any) -> Any:
        found.append(options["verify"])
        raise requests.exceptions.SSLError(
            "https://acme.example/?key=CANARY: self-signed", request=prepared
        )

    monkeypatch.setattr(HTTPAdapter, "send", stop)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
    return found


def test_certificates_are_verified_and_the_error_does_not_show_the_query(
    verified: list[Any],
) -> None:
    with pytest.raises(
        UnavailableError, match=r"certificate of acme\.example/x could not"
    ) as caught:
        quick().send(HttpRequest("https://acme.example/x", secret_params={"key": "CANARY"}))
    assert verified == [True]
    assert "CANARY" not in f"{caught.value!r} {vars(caught.value)}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_certificates_are_verified_with_the_first_bundle_of_the_environment(
    verified: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"):
        path = tmp_path / f"{name}.pem"
        path.touch()
        monkeypatch.setenv(name, f" {path}")
        with pytest.raises(UnavailableError, match="certificate of acme"):
            quick().send(HttpRequest("https://acme.example/x"))
        assert verified.pop() == str(path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    with pytest.raises(UnavailableError):
        quick().send(HttpRequest("https://acme.example/x"))
    assert verified.pop() == str(tmp_path / "CURL_CA_BUNDLE.pem")
    path.with_name("CURL_CA_BUNDLE.pem").unlink()
    with pytest.raises(
        UnavailableError, match=r"no certificates at .*pem \(CURL_CA_BUNDLE must name"
    ):
        quick().send(HttpRequest("https://acme.example/x"))
    assert verified == []


def _nothing() -> HTTPResponse:
    return HTTPResponse(body=io.BytesIO(b""), preload_content=False)


@pytest.mark.parametrize("location", ["http://acme.example/x", "https://acme.example:444/x"])
def test_a_redirect_without_tls_or_to_another_port_is_refused(
    location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[str] = []

    def move(self: HTTPAdapter, prepared: Any, **_: Any) -> requests.Response:
        sent.append(prepared.url)
        answer = requests.Response()
        answer.status_code, answer.url, answer.raw = 302, prepared.url, _nothing()
        answer.headers["location"], answer.request = location, prepared
        return answer

    monkeypatch.setattr(HTTPAdapter, "send", move)
    with pytest.raises(ResponseFormatError, match="not followed"):
        quick().send(HttpRequest("https://acme.example/x"))
    assert sent == ["https://acme.example/x"]
