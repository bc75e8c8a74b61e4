"""A gateway of Interactive Brokers, reached by the rules; it is a made-up one on a real socket."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path

import pytest

from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError
from tests.net.gateway import Script, gateway

from .twin import told

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ib_async") is None, reason="ib_async is not installed"
)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "ib_async")


def manager_at(tmp_path: Path, clock: ManualClock, port: int) -> DataManager:
    path = tmp_path / "rules.yaml"
    path.write_text(
        "stock_daily: {primary: ibkr, backup: []}\n"
        f"providers:\n  ibkr: {{host: 127.0.0.1, port: {port}, client_id: 7}}\n"
    )
    return DataManager(tmp_path / "cache", path, clock=clock)


def test_days_are_fetched_once_and_kept(tmp_path: Path, clock: ManualClock) -> None:
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
    assert told(frame)["vendors"] == ["ibkr"]
    assert told(frame)["complete"]
    assert len(script.asked) == 1


def test_without_a_gateway_the_answer_says_what_to_do(tmp_path: Path, clock: ManualClock) -> None:
    with gateway(Script()) as port:
        pass
    with pytest.raises(
        AllProvidersFailedError, match=rf"no gateway answers at 127\.0\.0\.1:{port}"
    ):
        manager_at(tmp_path, clock, port).get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-04")
