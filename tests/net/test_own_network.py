"""Failed connections: whether the vendor or this machine's network is at fault."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from src.data.clock import ManualClock
from src.data.errors import (
    CircuitOpenError,
    ProviderTimeoutError,
    TransientError,
    UnavailableError,
)
from src.data.model.http import HttpRequest
from src.data.net.guarded_call import CircuitChange
from src.data.net.http import HttpTransport
from src.data.net.own_network import Contacts
from src.data.net.state import State
from src.data.net.state_tables import Account
from src.data.net.unknown_symbols import SymbolCheck
from tests.net.guarding import Circuits, limiter_of
from tests.net.scripted import NOW_MS

ACME, APEX = Account("acme"), Account("apex", ("key",))
DAILY, HOURLY = "bars/1d at acme.example", "bars/1h at acme.example"
LOST = "no connection to acme.example: this machine has no network"


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock fixed at ``NOW_MS``."""
    return ManualClock(NOW_MS)


@pytest.fixture
def changes() -> list[CircuitChange]:
    """Return the list to which each change of a circuit is appended."""
    return []


@pytest.fixture
def circuits(tmp_path: Path, clock: ManualClock, changes: list[CircuitChange]) -> Circuits:
    """Return circuits that are all closed, whose changes are appended to ``told``."""
    return Circuits(State(tmp_path, clock), changes.append)


def silence() -> TransientError:
    """Return the error for a host that does not respond."""
    error = ProviderTimeoutError("no connection to acme.example in time")
    error.is_unconnected = True
    return error


def no_name() -> TransientError:
    """Return the error of a host whose name was not found."""
    error = UnavailableError(LOST)
    error.is_unconnected = error.is_own = True
    return error


def fail(
    circuits: Circuits, account: Account, error: TransientError, door: str = DAILY
) -> TransientError:
    """Make a call that fails, and return its error; a refusal comes out as it is."""
    with pytest.raises(type(error)) as caught, circuits.guard(account, door):
        raise error
    return caught.value


def answer(circuits: Circuits, account: Account, door: str = DAILY) -> None:
    """Make a call that its vendor answers."""
    with circuits.guard(account, door) as call:
        assert call is not None
        call.is_answered = True


def is_open(circuits: Circuits, account: Account, door: str = DAILY) -> bool:
    return not circuits.look(account, door).is_closed


def test_a_single_vendor_that_does_not_respond_is_paused(circuits: Circuits) -> None:
    errors = [fail(circuits, ACME, silence()) for _ in range(5)]
    assert not any(error.is_own for error in errors)
    assert is_open(circuits, ACME)


def test_packets_that_are_lost_on_the_way_to_several_vendors_pause_none(
    circuits: Circuits, clock: ManualClock
) -> None:
    assert not fail(circuits, ACME, silence()).is_own
    for _ in range(30):
        clock.advance(15)
        for account in (APEX, ACME):
            error = fail(circuits, account, silence())
            assert error.is_own
            assert "this machine has no network" in str(error)
    assert not is_open(circuits, ACME)
    assert not is_open(circuits, APEX)


def test_failures_that_are_far_apart_have_no_common_cause(
    circuits: Circuits, clock: ManualClock
) -> None:
    fail(circuits, APEX, silence())
    clock.advance(121)
    for _ in range(5):
        assert not fail(circuits, ACME, silence()).is_own
    assert is_open(circuits, ACME)


def test_a_vendor_that_does_not_respond_while_another_does_is_paused(circuits: Circuits) -> None:
    fail(circuits, APEX, silence())
    answer(circuits, APEX)
    for _ in range(5):
        assert not fail(circuits, ACME, silence()).is_own
        answer(circuits, APEX)
    assert is_open(circuits, ACME)


def test_a_host_name_not_found_while_another_vendor_answers_counts_against_the_vendor(
    circuits: Circuits,
) -> None:
    assert fail(circuits, ACME, no_name()).is_own
    for _ in range(5):
        answer(circuits, APEX)
        error = fail(circuits, ACME, no_name())
        assert not error.is_own
        assert str(error) == "no connection to acme.example: other vendors can be reached"
    assert is_open(circuits, ACME)


def test_host_names_not_found_for_all_vendors_pause_none(circuits: Circuits) -> None:
    answer(circuits, APEX)
    for _ in range(10):
        assert fail(circuits, ACME, no_name()).is_own
        assert fail(circuits, APEX, no_name()).is_own
    assert not is_open(circuits, ACME)


def test_the_first_answer_after_a_lost_network_lifts_the_pauses_that_it_made(
    circuits: Circuits, changes: list[CircuitChange]
) -> None:
    for _ in range(5):
        fail(circuits, ACME, silence())
    fail(circuits, APEX, silence())
    down = Account("down")
    for _ in range(5):
        fail(circuits, down, UnavailableError("HTTP 503"))
    assert is_open(circuits, ACME)
    changes.clear()
    answer(circuits, APEX)
    assert not is_open(circuits, ACME)
    assert is_open(circuits, down), "it returned a bad answer"
    assert changes == [CircuitChange("acme", DAILY, is_open=False)]
    answer(circuits, ACME)


def test_an_answer_ends_other_connection_pauses_of_the_same_vendor(
    circuits: Circuits, clock: ManualClock
) -> None:
    for _ in range(5):
        fail(circuits, ACME, silence(), HOURLY)
    answer(circuits, ACME)
    assert not is_open(circuits, ACME, HOURLY)


@pytest.mark.parametrize(("error", "passes"), [(silence(), True), (UnavailableError("503"), False)])
def test_a_refresh_ignores_a_connection_pause(
    circuits: Circuits, error: TransientError, passes: bool
) -> None:
    for _ in range(5):
        fail(circuits, ACME, error)
    limiter = limiter_of(circuits.state, ACME)
    with pytest.raises(CircuitOpenError), limiter.guard(DAILY, SymbolCheck("X", "a")):
        pass
    insisting = limiter.guard(DAILY, SymbolCheck("X", "a", insist=True))
    if passes:
        with insisting:
            pass
        assert not is_open(circuits, ACME)
    else:
        with pytest.raises(CircuitOpenError), insisting:
            pass


def test_another_host_of_a_vendor_does_not_count_as_another_vendor() -> None:
    contacts = Contacts({"acme-archive": 5.0})
    assert not contacts.is_own("acme", 6.0, is_unresolved=False)
    assert contacts.is_own("apex", 6.0, is_unresolved=False)


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
    assert (it.value.is_unconnected, it.value.is_own, it.value.was_sent) == (True, False, False)


def test_a_timeout_on_this_machine_does_not_count_as_a_lost_network(full_port: int) -> None:
    with pytest.raises(ProviderTimeoutError) as it:
        HttpTransport((0.1, 5.0)).send(HttpRequest(f"http://127.0.0.1:{full_port}/x"))
    assert not it.value.is_unconnected
