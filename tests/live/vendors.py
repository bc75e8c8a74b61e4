"""Who is asked for what by `make test-live`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from src.data import DataManager
from src.data.vendors.factory import downloader_class
from src.data.vendors.registry import SERVED

# What everybody who serves the class has, as each one spells it.
STOCK, COIN = "AAPL", "BTC-USD"
_COINS: Mapping[str, str] = {"binance": "BTCUSDT", "ccxt:kraken": "BTC/USD"}
# Made-up bars, sample bars and the user's own files are no vendors.
_NOT_ASKED = ("mock", "demo", "local", "ccxt")
TIMEFRAME = "1d"


def asked_vendors() -> dict[str, str]:
    """Return each vendor with the symbol that it is asked for."""
    names = [*(name for name in SERVED if name not in _NOT_ASKED), "ccxt:kraken"]
    classes = {name: downloader_class(name).capabilities.asset_classes for name in names}
    return {n: STOCK if "stock" in classes[n] else _COINS.get(n, COIN) for n in names}


def settled_days(now: datetime | None = None) -> tuple[str, str]:
    """Return the first and last of eight days that free plans serve and nobody revises."""
    last = (now or datetime.now(UTC)).date() - timedelta(days=5)
    return f"{last - timedelta(days=7)}", f"{last}"


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
