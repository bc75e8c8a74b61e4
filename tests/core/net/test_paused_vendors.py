"""The list of paused vendors: which ones, why and for how long."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import Limits
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.net.limits.vendor_status import VendorPause, vendor_pauses
from src.data.errors import CircuitOpenError, EntitlementError
from tests.core.net.scripted import NOW_MS


def test_paused_vendors_are_listed_with_the_length_of_the_pause(tmp_path: Path) -> None:
    clock = ManualClock(NOW_MS)
    state = State(tmp_path / "state", clock)
    assert vendor_pauses(state) == []
    assert not (tmp_path / "state").exists(), "reading creates no file"
    Limiter("zeta", Limits(), state).acting_for(["key"]).pause(60)
    acme = Limiter("acme", Limits(), state)
    with acme.guard("bars/1h"):
        pass
    with pytest.raises(EntitlementError), acme.guard("bars/1d"):
        raise EntitlementError("not in your plan")
    assert vendor_pauses(state) == [
        VendorPause("zeta", "", NOW_MS + 60_000, "it asked us to pause"),
        VendorPause("acme", "bars/1d", NOW_MS + 900_000, "EntitlementError: not in your plan"),
    ]
    clock.advance(900)
    assert vendor_pauses(state) == []


def test_a_paused_family_member_is_listed_with_its_full_name(tmp_path: Path) -> None:
    state = State(tmp_path / "state", ManualClock(NOW_MS))
    Limiter("ccxt:okx", Limits(), state).pause(60)
    assert [one.vendor for one in vendor_pauses(state)] == ["ccxt:okx"]


def test_a_reopened_circuit_allows_one_trial(tmp_path: Path) -> None:
    acme = Limiter("acme", Limits(), State(tmp_path / "state", ManualClock(NOW_MS)))
    acme.reopen("bars/1d")
    for refusals in range(2):
        with pytest.raises(EntitlementError), acme.guard("bars/1d"):
            raise EntitlementError(f"not in your plan, {refusals}")
        with pytest.raises(CircuitOpenError), acme.guard("bars/1d"):
            pytest.fail("the door is shut")
        acme.reopen("bars/1d")
    with acme.guard("bars/1d"):
        pass
    with acme.guard("bars/1d"):
        pass
