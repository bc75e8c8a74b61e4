"""Made-up bars: always the same, on their market's calendar, and bars in every respect."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.prices.bar_rule import ordered
from src.data.core.vendors.mock.bars import MockDataDownloader
from src.data.errors import CapabilityError, NoDataError
from tests.core.cache.counts import examples
from tests.core.net.scripted import NOW_MS, ScriptedTransport, sender_over
from tests.core.vendors.acme import query

AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
BTC = Instrument("BTCUSDT", "crypto", base="BTC", quote="USDT")
FIRST = parse_iso("2024-01-02")


def mock() -> MockDataDownloader:
    return MockDataDownloader(sender=sender_over(ScriptedTransport()))


def bars(label: str, start: int, end: int, who: Instrument = BTC) -> BarTable:
    return mock().fetch(query(label, start, end, who)).table


@settings(derandomize=True, max_examples=examples(25), deadline=None)
@given(start=st.integers(0, 200), count=st.integers(1, 60))
def test_made_up_bars_of_a_window_equal_those_of_the_whole(start: int, count: int) -> None:
    whole = bars("1h", FIRST, FIRST + 300 * HOUR_MS)
    part = bars("1h", FIRST + start * HOUR_MS, FIRST + (start + count) * HOUR_MS)
    assert len(part) == count
    for mine, theirs in zip(part.values(), whole.values(), strict=True):
        assert (mine == theirs[start : start + count]).all()


# A change here changes what users' programs were tried on.
def test_made_up_bars_always_have_the_same_values() -> None:
    first = bars("1d", FIRST, FIRST + DAY_MS, AAPL)
    assert [float(column[0]) for column in first.values()] == [
        80.949596, 81.302272, 79.513973, 80.507686, 1_392_901.0,
    ]  # fmt: skip


@pytest.mark.parametrize("who", [AAPL, BTC], ids=lambda w: w.symbol)
@pytest.mark.parametrize("label", ["1m", "1h", "1d", "1w", "1M"])
def test_made_up_bars_have_ordered_prices_and_volume(who: Instrument, label: str) -> None:
    span = {"1m": 5 * DAY_MS, "1h": 30 * DAY_MS}.get(label, 900 * DAY_MS)
    table = bars(label, FIRST - span, FIRST, who)
    assert len(table) > 20
    assert ordered(table).all()
    assert (np.diff(table.stamps) > 0).all()
    assert (table.volume > 0).all()
    assert len(set(table.close.tolist())) > 1


def test_made_up_bars_follow_the_calendar_of_the_market() -> None:
    days = bars("1d", FIRST - DAY_MS, parse_iso("2024-01-17"), AAPL).stamps
    shut = {parse_iso(day) for day in ("2024-01-01", "2024-01-06", "2024-01-15")}
    assert len(days) == 10
    assert shut.isdisjoint(days.tolist())
    minutes = bars("1m", FIRST, FIRST + DAY_MS, AAPL).stamps
    assert (len(minutes), int(minutes[0])) == (390, parse_iso("2024-01-02T14:30"))


@pytest.mark.parametrize("who", [AAPL, BTC], ids=lambda w: w.symbol)
def test_opens_and_closes_of_days_equal_those_of_their_minutes(who: Instrument) -> None:
    day, minutes = (bars(label, FIRST, FIRST + DAY_MS, who) for label in ("1d", "1m"))
    assert (day.open[0], day.close[0]) == (minutes.open[0], minutes.close[-1])


def test_made_up_bars_differ_between_symbols_and_timeframes() -> None:
    end = FIRST + 5 * HOUR_MS
    other = Instrument("ETHUSDT", "crypto", base="ETH", quote="USDT")
    assert not (bars("1h", FIRST, end).close == bars("1h", FIRST, end, other).close).any()
    assert bars("1h", FIRST, end).volume[0] != bars("30m", FIRST, end).volume[0] * 2


def test_made_up_bars_that_have_not_closed_are_left_out() -> None:
    table = bars("1h", NOW_MS - 2 * HOUR_MS, NOW_MS + 5 * HOUR_MS)
    assert table.stamps.tolist() == [NOW_MS - 2 * HOUR_MS, NOW_MS - HOUR_MS]
    with pytest.raises(NoDataError) as caught:
        bars("1h", NOW_MS, NOW_MS + HOUR_MS)
    assert (caught.value.provider, caught.value.symbol) == ("mock", "BTCUSDT")
    with pytest.raises(CapabilityError):
        bars("7m", NOW_MS - DAY_MS, NOW_MS)


def test_a_direct_call_uses_the_market_of_the_symbol() -> None:
    frame = mock().get_ohlcv("AAPL", "1d", "2024-01-05", "2024-01-08")
    assert frame is not None
    assert frame["timestamp"].dt.day.tolist() == [5, 8]
