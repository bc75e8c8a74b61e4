"""Whatever time is asked for, nothing is in an answer that had not closed by the simulation's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import polars as pl
import pytest

from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, date_of, from_ms, parse_iso
from src.data.errors import LookaheadError, NoDataAvailableError
from src.data.polars import PolarsDataPortal
from tests.core.prices.judgement.market import MARKET, load

from .portal_stage import COIN, Fake, manager_on, put, table

TIMES = 1500 if os.environ.get("ONETAPE_FULL") else 36
FIELDS = ("open", "high", "low", "close", "volume")


@dataclass(frozen=True)
class Series:
    """A stored series, and when each of its bars has closed, by another way than the library's."""

    symbol: str
    label: str
    bars: BarTable
    closes: np.ndarray
    is_share: bool

    def seen(self, horizon: int) -> dict[int, float]:
        """Return stamp to close of the bars that may be seen."""
        last = int((self.closes <= horizon).sum())
        return dict(
            zip(self.bars.stamps[:last].tolist(), self.bars.close[:last].tolist(), strict=True)
        )


@cache
def _closes(first: str, last: str) -> dict[date, int]:
    """Return when New York closed, by the library of calendars itself."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XNYS", start=first, end=last)
    return {day.date(): close.value // 1_000_000 for day, close in calendar.closes.items()}


def _real(name: str, symbol: str, label: str) -> Series:
    bars = load(name).table
    if label == "1d" and symbol in ("AAPL", "MSFT"):
        ends = _closes("2012-01-03", "2014-12-31")
        closes = np.array([ends[date_of(stamp)] for stamp in bars.stamps.tolist()])
        return Series(symbol, label, bars, closes, is_share=True)
    length = MINUTE_MS if label == "1m" else DAY_MS
    return Series(symbol, label, bars, bars.stamps + length, is_share=False)


def _made(symbol: str, label: str) -> Series:
    """Return made-up bars with holes, for where the real ones are not there."""
    dice = Random(symbol)
    first = parse_iso("2013-03-01T00:00:00")
    step = MINUTE_MS if label == "1m" else DAY_MS
    stamps = [first + n * step for n in range(1500) if dice.random() > 0.2]
    bars = table(stamps)
    return Series(symbol, label, bars, bars.stamps + step, is_share=False)


CASES: dict[str, Callable[[], list[Series]]] = {
    "made up": lambda: [_made("BTCUSDT", "1d"), _made("ETHUSDT", "1d")],
    "made up minutes": lambda: [_made("BTCUSDT", "1m")],
}
if MARKET.is_dir():
    CASES |= {
        "shares": lambda: [
            _real("AAPL-1d-2012-2014-csvdir", "AAPL", "1d"),
            _real("MSFT-1d-2012-2014-csvdir", "MSFT", "1d"),
        ],
        "a share and a coin": lambda: [
            _real("AAPL-1d-2012-2014-csvdir", "AAPL", "1d"),
            _made("BTCUSDT", "1d"),
        ],
        "coins": lambda: [_real("BTCUSD-1d-2014-2018-coinbase", "BTCUSDT", "1d")],
        "sparse minutes": lambda: [_real("XRPETH-1m-freqtrade", "XRPUSDT", "1m")],
    }


def _stored(folder: Path, every: list[Series]) -> PolarsDataPortal:
    now = max(int(one.bars.stamps[-1]) for one in every) + 30 * DAY_MS
    manager = manager_on(folder, now)
    first = min(int(one.bars.stamps[0]) for one in every) - 900 * DAY_MS
    for one in every:
        kind: dict[str, Any] = {} if one.is_share else {"kind": COIN}
        put(manager, one.symbol, one.label, one.bars, first=first, now=now, **kind)
    return PolarsDataPortal(data_source=manager)


def _given(_: Path, every: list[Series]) -> PolarsDataPortal:
    """Return a portal over a source that gives all it has, the future too."""
    frames = [
        pl.DataFrame({"timestamp": [from_ms(s) for s in one.bars.stamps.tolist()], "symbol": one.symbol,
                      **{name: getattr(one.bars, name) for name in FIELDS}})
        for one in every
    ]  # fmt: skip
    return PolarsDataPortal(data_source=Fake(pl.concat(frames)))


@pytest.mark.parametrize("made", [_stored, _given])
@pytest.mark.parametrize("case", CASES)
def test_no_answer_of_a_portal_has_look_ahead(
    case: str, made: Callable[[Path, list[Series]], PolarsDataPortal], tmp_path: Path
) -> None:
    every = CASES[case]()
    portal, dice = made(tmp_path, every), Random(7)
    symbols, label = [one.symbol for one in every], every[0].label
    is_stored, is_daily = made is _stored, every[0].label == "1d"
    first = min(int(one.bars.stamps[0]) for one in every)
    last = max(int(one.bars.stamps[-1]) for one in every)
    refused = answered = 0
    for _ in range(TIMES):
        simulated = dice.randrange(first, last)
        portal.set_simulation_time(from_ms(simulated))
        asked = simulated + dice.choice([0, 0, 0, 1, -1, 977]) * dice.randrange(1, 40_000_000)
        by_date = is_daily and dice.random() < 0.4
        dt: date | datetime = date_of(asked) if by_date else from_ms(asked)
        count = dice.choice([1, 2, 20, 60])
        try:
            window = portal.get_history_window(symbols, dt, count, label, "close", "minute")
            spot = portal.get_spot_value(symbols, "close", from_ms(min(asked, simulated)), label)
        except LookaheadError:
            refused += 1
            assert by_date or asked > simulated
            continue
        except NoDataAvailableError:
            continue
        answered += 1
        assert by_date or asked <= simulated
        horizon = simulated if by_date else asked
        stamps = [_stamp(value) for value in window[window.columns[0]].to_list()]
        assert stamps == sorted(set(stamps))
        assert len(stamps) == count or not is_stored
        for place, one in enumerate(every):
            seen = one.seen(horizon) if is_stored or not one.is_share else _by_utc_day(one, horizon)
            values = window[one.symbol].to_list()
            there = {s: float(v) for s, v in zip(stamps, values, strict=True) if v is not None}
            assert there.items() <= seen.items()
            # And nothing that may be seen lacks.
            assert {s for s in seen if s >= stamps[0]} - there.keys() <= _behind(dt, seen, by_date)
            if spot[place] is not None:
                assert float(spot[place]) in seen.values() or by_date
    assert answered > TIMES // 4
    assert refused


def _stamp(value: date | datetime) -> int:
    if isinstance(value, datetime):
        return int(value.timestamp() * 1000)
    return (value - date(1970, 1, 1)) // timedelta(days=1) * DAY_MS


def _by_utc_day(one: Series, horizon: int) -> dict[int, float]:
    """Return what may be seen of a source without a calendar: a day closes with its UTC day."""
    pairs = zip(one.bars.stamps.tolist(), one.bars.close.tolist(), strict=True)
    return {stamp: value for stamp, value in pairs if stamp + DAY_MS <= horizon}


def _behind(dt: date | datetime, seen: dict[int, float], by_date: bool) -> set[int]:
    """Return the bars behind the date that was asked for, which need not be there."""
    return {stamp for stamp in seen if by_date and date_of(stamp) > dt}  # type: ignore[operator]
