"""Calls without a network: each host is tried once, none is paused, and no other symbol is suggested."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, CircuitOpenError

from .oracle import ms

RULES = """
crypto: {primary: binance, backup: []}
"""


def test_calls_without_a_network_fail_at_once_and_suggest_no_symbol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rules.yaml").write_text(RULES)
    clock = ManualClock(ms("2024-06-12T12:00:00"))
    manager = DataManager(tmp_path / "cache", tmp_path / "rules.yaml", clock=clock)
    asked: list[Any] = []

    def lost(host: Any, *_: Any, **__: Any) -> Any:
        asked.append(host)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", lost)
    for number in range(8):
        asked.clear()
        symbol, again = ("BTTCUSDT", "ETHUSDT")[number % 2], number in (0, 3, 5)
        if number == 3:
            clock.advance(30)
        with pytest.raises(AllProvidersFailedError, match="this machine has no network") as caught:
            manager.get_ohlcv(symbol, "1d", "2024-05-01", "2024-05-10", force_refresh=number == 5)
        assert len(asked) == again
        assert "did you mean" not in str(caught.value)
        assert caught.value.candidates == ()
        errors = [one.error for one in caught.value.attempts]
        assert not any(isinstance(error, CircuitOpenError) for error in errors)
    assert clock.slept == []
