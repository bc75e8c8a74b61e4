"""The series of the labelled list, as the checks see them; none is copied, all are read where they lie."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import numpy as np

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.bars import BarTable
from src.data.core.model.request.http import HttpRequest
from src.data.core.model.time.instant import DAY_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.judgement.series import CheckedSeries, DailySessions, ShareEvent
from src.data.core.vendors.demo.carrier import SampleCarrier
from src.data.errors import ConfigError
from tests.conformance.recordings import known, question_of, vendor_over
from tests.core.prices.judgement.market import MARKET, load, with_factors
from tests.core.vendors.acme import recorded
from tests.reference import reference

from .labels import Entry

_GOLDEN = Path(__file__).parents[1] / "golden" / "answers"
_PRICES = ("open", "high", "low", "close")


def digest_of(entry: Entry) -> str:
    """Return the SHA-256 of the file of an entry as it is now."""
    group, _, name = entry.file.partition("/")
    if group == "demo":
        return sha256(_demo_text(name)).hexdigest()
    path = _GOLDEN / name if group == "golden" else reference(entry.file)
    return sha256(path.read_bytes()).hexdigest()


@cache
def series_of(entry: Entry) -> CheckedSeries:
    """Return the bars of an entry, ascending, with what its file knows of splits and dividends."""
    group, _, name = entry.file.partition("/")
    if group == "market":
        return load(name.rpartition("/")[2].removesuffix(".csv.gz"))
    if group == "recordings":
        _, vendor, recording = name.removesuffix(".json").split("/")
        return _recorded(vendor, recording)
    if group == "demo":
        return demo_series(name)
    return _golden(name)


def weeks_of(series: CheckedSeries) -> CheckedSeries:
    """Return the weeks of a series of days, with these days beside them."""
    table = series.table
    weeks = (table.stamps // DAY_MS + 3) // 7
    first = np.flatnonzero(np.diff(weeks, prepend=weeks[0] - 1))
    last = np.append(first[1:], len(weeks)) - 1
    week = BarTable(
        (weeks[first] * 7 - 3) * DAY_MS,
        table.open[first],
        np.maximum.reduceat(table.high, first),
        np.minimum.reduceat(table.low, first),
        table.close[last],
        np.add.reduceat(table.volume, first),
    )
    return CheckedSeries(Timeframe(1, "w"), week, series.asset_class, days=table)


def beside_days(series: CheckedSeries, is_right: np.ndarray) -> CheckedSeries:
    """Return the right ones of hours or minutes beside the days that they make up."""
    table = series.table.take(is_right)
    return replace(series, table=table, expected=None, sessions=sessions_of(table))


def sessions_of(table: BarTable) -> DailySessions:
    """Return the days that shorter bars make up, each from midnight to midnight."""
    days = table.stamps // DAY_MS
    first = np.flatnonzero(np.diff(days, prepend=-1))
    last = np.append(first[1:], len(days)) - 1
    stamps = days[first] * DAY_MS
    made = BarTable(
        stamps,
        table.open[first],
        np.maximum.reduceat(table.high, first),
        np.minimum.reduceat(table.low, first),
        table.close[last],
        np.add.reduceat(table.volume, first),
    )
    return DailySessions(stamps, stamps + DAY_MS, made)


# Days whose splits and dividends a file of factors tells; the split factor that the prices are at.
_WITH_ACTIONS = {
    "market/AAPL-1d-1998-2021-raw.csv.gz": ("AAPL", 1.0),
    "market/AAPL-1d-2004-2018-yahoo.csv.gz": ("AAPL", 0.25),
    "market/SPY-1d-1998-2021-raw.csv.gz": ("SPY", 1.0),
    "market/SPY-1d-2008-2017-yahoo.csv.gz": ("SPY", 1.0),
}


def series_with_actions(entry: Entry) -> CheckedSeries | None:
    """Return the bars of an entry with splits and dividends from elsewhere, adjusted for these splits.

    None of an entry that has no such file.
    """
    if entry.file not in _WITH_ACTIONS:
        return None
    symbol, basis = _WITH_ACTIONS[entry.file]
    name = entry.file.removeprefix("market/").removesuffix(".csv.gz")
    raw = name.endswith("raw")
    series = with_factors(name, symbol) if raw else series_of(entry)
    first, last = int(series.table.stamps[0]), int(series.table.stamps[-1])
    dividends = [one for one in _dividends(symbol, basis) if first < one.at_ms <= last]
    return replace(series, splits=series.splits or (), dividends=tuple(dividends))


def _dividends(symbol: str, basis: float) -> Iterator[ShareEvent]:
    """Yield what was paid, for a share as shares are where the split factor is ``basis``."""
    with (MARKET / "actions" / f"{symbol}-factors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row, later in pairwise(rows):
        share = 1 - float(row["price_factor"]) / float(later["price_factor"])
        if share > 1e-6:
            paid = float(row["reference_price"]) * share * float(row["split_factor"]) / basis
            yield ShareEvent(day_ms(date.fromisoformat(row["date"]) + timedelta(days=1)), paid)


def _recorded(vendor: str, name: str) -> CheckedSeries:
    one = known(vendor)[name]
    _, response = recorded(vendor, name)
    asked = question_of(one)
    page = vendor_over(vendor).parse_bars(response, asked)
    rows = {bar.stamp_ms: bar for bar in page.bars if not np.isnan(bar.open)}
    table = BarTable.from_bars([rows[stamp] for stamp in sorted(rows)])
    return _series(table, asked.instrument, asked.timeframe)


def _demo_text(symbol: str) -> bytes:
    return SampleCarrier().send(HttpRequest(f"file:///{symbol}")).body


def demo_series(symbol: str) -> CheckedSeries:
    """Return the sample bars of a share as its vendor sends them: raw."""
    rows = list(csv.DictReader(_demo_text(symbol).decode().splitlines()))
    return _series(_table(rows, "date"), Instrument(symbol, "stock", "XNYS"), Timeframe(1, "d"))


def _golden(name: str) -> CheckedSeries:
    with (_GOLDEN / name).open(newline="") as file:
        rows = list(csv.DictReader(file))
    label = next((part for part in ("1h", "1mo") if f"-{part}" in name), "1d")
    timeframe = Timeframe.parse(label.replace("mo", "M"))
    crypto = timeframe.label == "1h"
    instrument = Instrument(name, "crypto", "24/7") if crypto else Instrument(name, "stock", "XNYS")
    return _series(_table(rows, "timestamp"), instrument, timeframe)


def _table(rows: list[dict[str, str]], stamp: str) -> BarTable:
    stamps = np.array([parse_iso(row[stamp][:19].replace(" ", "T")) for row in rows])
    columns = [
        np.array([float(row[name] or "nan") for row in rows]) for name in (*_PRICES, "volume")
    ]
    order = np.argsort(stamps)
    return BarTable(stamps[order].astype(np.int64), *(column[order] for column in columns))


def _series(table: BarTable, instrument: Instrument, timeframe: Timeframe) -> CheckedSeries:
    expected = None
    # Few bars of many exchanges: their calendars take longer than all checks, and prove nothing here.
    if len(table) and instrument.calendar in ("XNYS", "24/7"):
        reach = Span(int(table.stamps[0]), int(table.stamps[-1]) + 1)
        try:
            expected = BarGrid(calendar_for(instrument), timeframe, "session").opens(reach)
        except ConfigError:
            expected = None
    return CheckedSeries(timeframe, table, instrument.asset_class, expected=expected)
