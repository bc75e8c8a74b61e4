"""The series of the labelled list, as the checks see them; none is copied, all are read where they lie."""

from __future__ import annotations

import csv
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from src.data.calendars.calendar import calendar_for
from src.data.calendars.gaps import BarGrid
from src.data.errors import ConfigError
from src.data.model.bars import BarTable
from src.data.model.http import HttpRequest
from src.data.model.instant import parse_iso
from src.data.model.instrument import Instrument
from src.data.model.span import Span
from src.data.model.timeframe import Timeframe
from src.data.quality.series import CheckedSeries
from src.data.vendors.demo.carrier import SampleCarrier
from tests.conformance.recordings import known, question_of, vendor_over
from tests.quality.market import load
from tests.reference import reference
from tests.vendors.acme import recorded

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
        return _demo(name)
    return _golden(name)


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


def _demo(symbol: str) -> CheckedSeries:
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
