"""The reachability check of an address: any answer counts, and it ends within a bounded time."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from types import SimpleNamespace

import pytest

from src.data.core.net.http import reach as module
from src.data.core.net.http.reach import ReachResult, reach, reach_all
from tests.vendor_server import Fault, VendorServer


def test_any_http_status_counts_as_reachable(vendors: VendorServer) -> None:
    assert reach(vendors.base_url("binance")).ok
    for code in (404, 429, 503):
        vendors.fault("binance", Fault.status(code), times=1)
        assert reach(vendors.base_url("binance")).ok
    assert {entry.path for entry in vendors.log()} == {"/"}


def test_a_refusal_of_the_region_is_reported(vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.status(451))
    found = reach(vendors.base_url("binance"))
    assert not found.ok
    assert "451" in found.refusal


def test_a_redirect_to_another_host_counts_as_reachable(vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.redirect("http://localhost:1/"))
    assert reach(vendors.base_url("binance")).ok


def test_a_refused_connection_is_reported_as_unreachable(vendors: VendorServer) -> None:
    found = reach(vendors.refused_url("binance"))
    assert found.refusal.startswith("no connection to 127.0.0.1")


def test_a_gateway_is_checked_by_a_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as door:
        at = f"127.0.0.1:{door.getsockname()[1]}"
        assert reach(f"ibkr://{at}").ok
    refused = os.strerror(errno.ECONNREFUSED)
    assert reach(f"ibkr://{at}").refusal == f"nothing answers at {at}: {refused}"
    assert reach(f"ibkr://{at}").refusal.startswith(f"nothing answers at {at}: ")


def test_a_host_name_that_cannot_be_resolved_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert reach("https://nowhere.invalid").refusal == (
        "the host nowhere.invalid cannot be resolved: no network, or no DNS server"
    )


def test_no_request_is_sent_to_an_unsafe_address() -> None:
    assert "TLS" in reach("http://198.51.100.7/x").refusal


def test_a_hanging_address_does_not_delay_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def knock(url: str) -> ReachResult:
        if url == "slow":
            release.wait(10)
        return ReachResult(0.01)

    monkeypatch.setattr(module, "reach", knock)
    started = time.monotonic()
    found = reach_all({"a": "slow", "b": "quick"}, within_s=0.1)
    assert time.monotonic() - started < 9
    release.set()
    assert list(found) == ["a", "b"]
    assert found["a"].refusal == "no answer within 0.1 seconds"
    assert found["b"].ok


@pytest.mark.parametrize("scheme", ["http", "ibkr"])
def test_the_response_time_is_measured(
    scheme: str, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = iter([100.0, 100.25])
    stopwatch = SimpleNamespace(perf_counter=lambda: next(ticks))
    monkeypatch.setattr(module, "time", stopwatch)
    assert reach(vendors.base_url("binance").replace("http", scheme, 1)).seconds == 0.25
