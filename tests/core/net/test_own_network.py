"""Connections that cannot be made: pauses that they begin, and their errors."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.limits.own_network import OWN
from src.data.core.net.limits.state import State
from src.data.core.net.limits.state_tables import Account
from src.data.core.net.limits.unknown_symbols import SymbolCheck
from src.data.errors import (
    CircuitOpenError,
    ProviderTimeoutError,
    TransientError,
    UnavailableError,
)
from tests.core.net.guarding import Circuits, limiter_of
from tests.core.net.scripted import NOW_MS

ACME, DAILY = Account("acme"), "bars/1d at acme.example"


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock fixed at ``NOW_MS``."""
    return ManualClock(NOW_MS)


@pytest.fixture
def circuits(tmp_path: Path, clock: ManualClock) -> Circuits:
    """Return circuits that are all closed."""
    return Circuits(State(tmp_path, clock))


def silence() -> TransientError:
    """Return the error for a host that does not respond."""
    return ProviderTimeoutError("no connection to acme.example in time")


def no_name() -> TransientError:
    """Return the error of a host whose name was not found."""
    error = UnavailableError(f"no connection to acme.example{OWN}")
    error.is_own = True
    return error


def fail(circuits: Circuits, error: TransientError) -> None:
    """Make a call that fails; a refusal comes out as it is."""
    with pytest.raises(type(error)), circuits.guard(ACME, DAILY):
        raise error


def is_open(circuits: Circuits) -> bool:
    return not circuits.look(ACME, DAILY).is_closed


def test_a_vendor_that_does_not_respond_is_paused_for_half_a_minute_each_time(
    circuits: Circuits, clock: ManualClock
) -> None:
    for _ in range(5):
        assert not is_open(circuits)
        fail(circuits, silence())
    for _ in range(4):
        with pytest.raises(CircuitOpenError, match="next request possible in 30 seconds"):
            fail(circuits, silence())
        clock.advance(30)
        fail(circuits, silence())
    clock.advance(30)
    with circuits.guard(ACME, DAILY):
        pass
    assert not is_open(circuits)


def test_the_pause_of_a_vendor_that_responds_badly_grows(
    circuits: Circuits, clock: ManualClock
) -> None:
    for _ in range(5):
        fail(circuits, UnavailableError("HTTP 503"))
    clock.advance(30)
    fail(circuits, UnavailableError("HTTP 503"))
    clock.advance(59)
    with pytest.raises(CircuitOpenError):
        fail(circuits, silence())


def test_a_host_name_that_is_not_found_pauses_no_vendor(circuits: Circuits) -> None:
    for _ in range(30):
        fail(circuits, no_name())
    assert not is_open(circuits)


@pytest.mark.parametrize(("error", "passes"), [(silence(), True), (UnavailableError("503"), False)])
def test_a_refresh_ignores_a_connection_pause(
    circuits: Circuits, error: TransientError, passes: bool
) -> None:
    for _ in range(5):
        fail(circuits, error)
    limiter = limiter_of(circuits.state, ACME)
    with pytest.raises(CircuitOpenError), limiter.guard(DAILY, SymbolCheck("X", "a")):
        pass
    insisting = limiter.guard(DAILY, SymbolCheck("X", "a", insist=True))
    if passes:
        with insisting:
            pass
        assert not is_open(circuits)
    else:
        with pytest.raises(CircuitOpenError), insisting:
            pass


# --- real sockets ------------------------------------------------------------------------------


@pytest.fixture
def full_port() -> Iterator[int]:
    """Yield a port of this machine at which packets are dropped: its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for one in waiting:
            one.close()


def test_a_host_that_drops_packets_raises_a_connection_timeout(
    full_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", full_port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [place])
    request: Any = HttpRequest("https://acme.example/x")
    with pytest.raises(
        ProviderTimeoutError, match=r"no connection to acme\.example/x in time"
    ) as it:
        HttpTransport((0.1, 5.0)).send(request)
    assert (it.value.is_own, it.value.was_sent) == (False, False)
