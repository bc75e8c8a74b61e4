"""Real series with known defects, where they lie beside the project; tests of them are skipped elsewhere."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import pairwise
from operator import itemgetter

import numpy as np
import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import AssetClass, Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.adjustment import BasisPart, rebase
from src.data.core.prices.judgement.series import CheckedSeries, ShareEvent
from tests.contract.source import ROOT

MARKET = ROOT.parent / "shared" / "market"
needs_market = pytest.mark.skipif(
    not MARKET.is_dir(), reason="the folder of real series is not there"
)

_COINS, _CURRENCIES = ("ADA", "BTC", "btc", "ETH", "XRP"), ("EUR", "GBP")
_CALENDARS = {"L": "XLON", "PA": "XPAR", "DE": "XETR"}


def names(folder: str = "") -> list[str]:
    """Return the series of a folder, without their suffix."""
    return sorted(p.name.removesuffix(".csv.gz") for p in (MARKET / folder).glob("*.csv.gz"))


@cache
def load(name: str) -> CheckedSeries:
    """Return one series, ascending; dividends and splits where the file has a column of them."""
    path = next(MARKET.rglob(f"{name}.csv.gz"))
    with gzip.open(path, "rt") as file:
        header, *rows = csv.reader(file)
    rows.sort(key=itemgetter(header.index("timestamp")))
    cells = dict(zip(header, zip(*rows, strict=True), strict=True))
    label = next(part for part in name.replace("_", "-").split("-") if part in _LABELS)
    timeframe = Timeframe.parse(label)
    stamps = np.array([_stamp(text, timeframe) for text in cells["timestamp"]], dtype=np.int64)

    def column(key: str) -> np.ndarray:
        return np.array([float(cell or "nan") for cell in cells[key]])

    adj = column("adj_close") if "adj_close" in cells else None
    table = BarTable(stamps, *(column(key) for key in (*_PRICES, "volume")), adj)

    def events(*keys: str) -> tuple[ShareEvent, ...] | None:
        key = next((key for key in keys if key in cells), None)
        if key is None:
            return None
        values = zip(stamps.tolist(), column(key).tolist(), strict=True)
        return tuple(ShareEvent(at, value) for at, value in values if value not in (0, 1))

    suffix = name.partition("-")[2].partition("-")[0]
    asset = (
        "crypto"
        if name.startswith(_COINS)
        else "forex"
        if name.startswith(_CURRENCIES)
        else "stock"
    )
    grid = _grid(asset, _CALENDARS.get(suffix, "XNYS"), timeframe)
    return CheckedSeries(
        timeframe,
        table,
        asset,
        events("stock_splits", "split"),
        events("dividends", "dividend"),
        suffix == "L",
        grid.opens(Span(int(stamps[0]), int(stamps[-1]) + 1)),
    )


_PRICES = ("open", "high", "low", "close")
_LABELS = ("1m", "5m", "15m", "1h", "4h", "1d", "1M")


def _stamp(text: str, timeframe: Timeframe) -> int:
    at = datetime.fromisoformat(text)
    if timeframe.is_intraday:
        return int(at.timestamp() * 1000)
    # A local midnight may lie on the UTC day before its session.
    day = (at + timedelta(hours=3)).replace(hour=0, minute=0)
    day = day.replace(day=1) if timeframe.label == "1M" else day
    return int(day.astimezone(UTC).timestamp() * 1000)


def _grid(asset: AssetClass, calendar: str, timeframe: Timeframe) -> BarGrid:
    code = {"crypto": "24/7", "forex": "FX"}.get(asset, calendar)
    # Hours of shares are labelled on the hour here.
    anchor = "clock" if timeframe.label == "1h" and asset == "stock" else "session"
    return BarGrid(calendar_for(Instrument("X", asset, code)), timeframe, anchor)


def with_factors(name: str, symbol: str) -> CheckedSeries:
    """Return a raw series adjusted for the splits of its factors file, which are known."""
    series = load(name)
    with (MARKET / "actions" / f"{symbol}-factors.csv").open() as file:
        rows = [
            (date.fromisoformat(r["date"]), float(r["split_factor"])) for r in csv.DictReader(file)
        ]
    splits: list[tuple[date, float]] = []
    for (day, factor), (_, later) in pairwise(rows):
        if later != factor:
            splits.append((day + timedelta(days=1), later / factor))
    return adjusted(series, splits)


def adjusted(series: CheckedSeries, splits: Sequence[tuple[date, float]]) -> CheckedSeries:
    """Return raw bars adjusted for splits, as the store gives them."""
    actions = [Action(d, "split", day_ms(d), round(r, 4), 1.0, source="x") for d, r in splits]
    stamps = series.table.stamps
    whole = [BasisPart(Span(int(stamps[0]), int(stamps[-1]) + 1), Basis("raw"))]
    intraday = series.timeframe.is_intraday
    table = rebase(series.table, whole, actions, "split", as_of=date(2026, 1, 1), intraday=intraday)
    return replace(series, table=table, splits=tuple(ShareEvent(day_ms(d), r) for d, r in splits))
