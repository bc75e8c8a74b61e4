"""Tracebacks of a caller's mistake: few frames of this package below the caller's line."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data import DataManager
from src.data.errors import AllProvidersFailedError, QueryError
from tests.contract.source import PACKAGE

_MOST, _MONTH = 5, ("2024-01-01", "2024-02-01")


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.get_ohlcv("AAPL", "7q"),
        lambda m: m.get_ohlcv("", "1d"),
        lambda m: m.get_ohlcv("AAPL", "1d", "2024-13-01"),
        lambda m: m.get_ohlcv("AAPL", "1d", "2024-01-01", "2024-13-01"),
        lambda m: m.get_ohlcv("AAPL", "1d", "2024-02-01", "2024-01-01"),
        lambda m: m.get_ohlcv("AAPL", "1d", period="5 parsecs"),
        lambda m: m.get_ohlcv("AAPL", "1d", bars=0),
        lambda m: m.get_ohlcv("AAPL", "1d", adjustment="none"),
        lambda m: m.get_ohlcv_batch(["AAPL"], "7q", "2024-01-01", "2024-02-01"),
        lambda m: m.plot("AAPL", "7q"),
        lambda m: m.plan("AAPL", "7q"),
        lambda m: m.explain("AAPL", "7q"),
        lambda m: m.coverage("AAPL", "7q"),
        lambda m: m.gaps("AAPL", "7q"),
        lambda m: m.get_quote("???"),
        lambda m: m.search(""),
        lambda m: m.validate("AAPL", "7q"),
        lambda m: m.validate("AAPL", "1d", "2024-13-01"),
        lambda m: m.get_ohlcv_batch(["AAPL"], "1d", "2024-02-01", "2024-01-01"),
        lambda m: m.get_ohlcv_batch(["AAPL"], "1d", "2024-01-01", "2024-13-01"),
        lambda m: m.plan("AAPL", "1d", "2024-02-01", "2024-01-01"),
        lambda m: m.report("AAPL"),
        lambda m: m.report("AAPL", "7q"),
        lambda m: m.report("", "1d"),
        lambda m: m.plot("AAPL", "1d", "2024-02-01", "2024-01-01"),
        lambda m: m.plot(["AAPL", "MSFT"], "1d", "2024-02-01", "2024-01-01"),
        lambda m: m.plot(["AAPL", "MSFT"], "1d", "2024-01-01", "2024-13-01"),
        lambda m: m.plot(["AAPL", "MSFT"], "1d", version=1),
        lambda m: m.get_ohlcv("AAPL", "1d", *_MONTH, version=5),
        lambda m: m.get_ohlcv("AAPL", "1d", *_MONTH, offline=True),
        lambda m: m.get_ohlcv("AAPL", "1d", *_MONTH, offline=True, timeout=5),
        lambda m: m.plot("AAPL", "1d", *_MONTH, offline=True),
    ],
)  # fmt: skip
def test_the_traceback_of_an_invalid_call_has_few_frames(
    ask: Callable[[DataManager], Any], tmp_path: Path
) -> None:
    with pytest.raises((QueryError, AllProvidersFailedError)) as raised:
        ask(DataManager(tmp_path / "cache"))
    frames = traceback.extract_tb(raised.value.__traceback__)
    own = [frame.name for frame in frames if frame.filename.startswith(str(PACKAGE))]
    assert 1 <= len(own) <= _MOST, own
