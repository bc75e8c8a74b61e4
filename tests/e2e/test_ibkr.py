"""Interactive Brokers, reached by the rules, with a fake gateway on a real socket."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError
from tests.core.net.gateway import Bars, Script, gateway

from .scripted_vendor import provenance

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ib_async") is None, reason="ib_async is not installed"
)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Let the package ``ib_async`` log only critical records."""
    caplog.set_level(logging.CRITICAL, "ib_async")


def manager_at(
    tmp_path: Path, clock: ManualClock, port: int, rule: str = "stock_daily"
) -> DataManager:
    path = tmp_path / "rules.yaml"
    path.write_text(
        f"{rule}: {{primary: ibkr, backup: []}}\n"
        f"providers:\n  ibkr: {{host: 127.0.0.1, port: {port}, client_id: 7}}\n"
    )
    return DataManager(tmp_path / "cache", path, clock=clock)


def test_days_of_interactive_brokers_are_fetched_once(tmp_path: Path, clock: ManualClock) -> None:
    script = Script(bars=[
        ("20240102", 187.15, 188.44, 183.88, 185.64, 82488.0),
        ("20240103", 184.22, 185.88, 183.43, 184.25, 58414.0),
        ("20240104", 182.15, 183.09, 180.88, 181.91, 71983.0),
    ])  # fmt: skip
    with gateway(script) as port:
        manager = manager_at(tmp_path, clock, port)
        frame = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04")
        again = manager.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04")
    assert frame["close"].tolist() == again["close"].tolist() == [185.64, 184.25, 181.91]
    assert provenance(frame)["vendors"] == ["ibkr"]
    assert provenance(frame)["complete"]
    assert len(script.asked) == 1


def test_without_a_gateway_the_error_names_its_address(tmp_path: Path, clock: ManualClock) -> None:
    with gateway(Script()) as port:
        pass
    with pytest.raises(
        AllProvidersFailedError, match=rf"no gateway answers at 127\.0\.0\.1:{port}"
    ):
        manager_at(tmp_path, clock, port).get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04")


def minutes(day: str, price: float) -> Bars:
    """Return made-up bars of five minutes of a session in summer."""
    opened = parse_iso(f"{day}T13:30:00Z") // 1000
    return [(str(opened + 300 * n), price, price, price, price, 100.0) for n in range(78)]


def test_minutes_across_a_split_that_no_vendor_reports_are_refused_outside_one_session(
    tmp_path: Path, clock: ManualClock
) -> None:
    """The prices are made up; four new shares were given for one on 2020-08-31."""
    clock.set(parse_iso("2020-08-28T20:30:00Z"))
    script = Script(bars=minutes("2020-08-28", 400.0))
    with gateway(script) as port:
        manager = manager_at(tmp_path, clock, port, "stock_intraday")

        def closes(first: str, last: str, **wishes: Any) -> set[float]:
            return set(manager.get_ohlcv("AAPL", "5m", first, last, **wishes)["close"])

        # Of one session nothing has to be known: its own bars were traded after its splits.
        assert closes("2020-08-28", "2020-08-28") == {400.0}
        assert closes("2020-08-28", "2020-08-28", adjustment="raw") == {400.0}
        clock.set(parse_iso("2020-08-31T20:30:00Z"))
        script.bars = minutes("2020-08-28", 100.0) + minutes("2020-08-31", 101.0)
        assert closes("2020-08-31", "2020-08-31") == {101.0}
        with pytest.raises(AllProvidersFailedError, match="splits and dividends for AAPL are not"):
            closes("2020-08-28", "2020-08-31", offline=True)
        # All of it is asked for anew, in one basis; what was traded nobody can tell.
        assert closes("2020-08-28", "2020-08-31") == {100.0, 101.0}
        assert closes("2020-08-28", "2020-08-31", offline=True) == {100.0, 101.0}
        with pytest.raises(AllProvidersFailedError, match="but raw prices need them"):
            closes("2020-08-28", "2020-08-31", adjustment="raw")


def test_bars_of_today_are_appended_without_a_vendor_of_splits(
    tmp_path: Path, clock: ManualClock
) -> None:
    clock.set(parse_iso("2020-08-31T14:00:30Z"))
    script = Script(bars=minutes("2020-08-28", 100.0) + minutes("2020-08-31", 101.0)[:6])
    with gateway(script) as port:
        manager = manager_at(tmp_path, clock, port, "stock_intraday")
        assert len(manager.get_ohlcv("AAPL", "5m", bars=20)) == 20
        asked = len(script.asked)
        clock.advance(600)
        script.bars = minutes("2020-08-28", 100.0) + minutes("2020-08-31", 101.0)[:8]
        frame = manager.get_ohlcv("AAPL", "5m", bars=20)
    assert frame["close"].tolist() == [100.0] * 12 + [101.0] * 8
    assert len(script.asked) == asked + 1
    assert provenance(frame)["as_of"] == "2020-08-31"
