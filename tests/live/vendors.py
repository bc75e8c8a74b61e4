"""Who is asked for what by `make test-live`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from src.data import DataManager
from src.data.core.config.settings import user_folder
from src.data.core.registry import SERVED
from src.data.core.vendors.factory import downloader_class

# What everybody who serves the class has, as each one spells it.
STOCK, COIN = "AAPL", "BTC-USD"
_COINS: Mapping[str, str] = {"binance": "BTCUSDT", "ccxt:kraken": "BTC/USD"}
# Made-up bars, sample bars and the user's own files are no vendors.
_NOT_ASKED = ("mock", "demo", "local", "ccxt")
TIMEFRAME = "1d"
RECORDINGS = "ONETAPE_LIVE_RECORDINGS"


def asked_vendors() -> dict[str, str]:
    """Return each vendor with the symbol that it is asked for."""
    names = [*(name for name in SERVED if name not in _NOT_ASKED), "ccxt:kraken"]
    classes = {name: downloader_class(name).capabilities.asset_classes for name in names}
    return {n: STOCK if "stock" in classes[n] else _COINS.get(n, COIN) for n in names}


def settled_days(now: datetime | None = None) -> tuple[str, str]:
    """Return the first and last of eight days that free plans serve and nobody revises."""
    last = (now or datetime.now(UTC)).date() - timedelta(days=5)
    return f"{last - timedelta(days=7)}", f"{last}"


def recordings_folder(now: datetime | None = None) -> Path:
    """Return the folder for the answers of today's run, which by default is outside of the tree."""
    named = os.environ.get(RECORDINGS)
    folder = Path(named) if named else user_folder("cache", None) / "onetape-live"
    return folder.absolute() / f"{(now or datetime.now(UTC)).date()}"


def bars_from(
    vendor: str, symbol: str, span: tuple[str, str], cache: Path, rules: Path | None = None
) -> pd.DataFrame | None:
    """Return the bars that a vendor answers; the answers of vendors without keys are recorded."""
    with pytest.MonkeyPatch.context() as patch:
        if not downloader_class(vendor).requires_api_key:
            patch.setenv("ONETAPE_RECORD", str(recordings_folder()))
        manager = DataManager(cache, rules)
    return manager.get_ohlcv(symbol, TIMEFRAME, *span, provider=vendor, strict=True)


def announcement(vendors: Mapping[str, str]) -> Iterator[str]:
    """Yield what is asked of whom, as the library itself plans it; nothing is asked for that."""
    start, end = settled_days()
    yield f"real vendors are asked for {TIMEFRAME} bars, {start} .. {end}:"
    with tempfile.TemporaryDirectory() as folder:
        manager = DataManager(cache_dir=folder)
        for name, symbol in vendors.items():
            plan = manager.plan(symbol, TIMEFRAME, start, end, provider=name)
            refused = next((r for r in str(plan).splitlines() if r.startswith("lacking")), "")
            told = refused.rpartition(": ")[2] or str(plan).partition(": ")[2].splitlines()[0]
            yield f"  {name:<14} {symbol:<8} {told}"
    yield f"answers of vendors without keys are kept in {recordings_folder()} ({RECORDINGS})"
