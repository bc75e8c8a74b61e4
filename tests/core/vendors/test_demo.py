"""The sample bars: as the extra has them, with splits and dividends that their own column proves."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.identity.kind import Basis
from src.data.core.model.market.actions import Action
from src.data.core.model.request.http import HttpRequest
from src.data.core.model.time.instant import date_of, day_ms, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.vendors.demo import bars as demo
from src.data.core.vendors.demo.carrier import SampleCarrier
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    CapabilityError,
    IncompleteDataWarning,
    MissingExtraError,
    SymbolNotFoundError,
    UnknownSymbolError,
    install_line,
)
from tests.core.net.scripted import NOW_MS, sender_over
from tests.core.vendors.acme import query

STOCKS = pytest.importorskip("bokeh_sampledata.stocks")
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
EVER = Span(0, NOW_MS)


def vendor() -> demo.DemoDataDownloader:
    return demo.DemoDataDownloader(sender=sender_over(None))


def whole(symbol: str) -> Any:
    return vendor().fetch(query("1d", "2000-01-01", "2014-01-01", Instrument(symbol, "stock")))


def actions(symbol: str) -> list[Action]:
    return list(vendor().actions_of(Instrument(symbol, "stock"), EVER, NOW_MS))


@pytest.mark.parametrize("symbol", ["AAPL", "FB", "GOOG", "IBM", "MSFT"])
def test_every_bar_equals_the_sample(symbol: str) -> None:
    got, there = whole(symbol), getattr(STOCKS, symbol)
    assert [str(date_of(int(stamp))) for stamp in got.table.stamps] == list(there["date"])
    for name in ("open", "high", "low", "close"):
        assert getattr(got.table, name).tolist() == list(there[name])
    # Half of the volume is lacking in the sample on the first day of a split.
    ratio = got.table.volume / np.array(there["volume"])
    doubled = {str(date_of(int(stamp))) for stamp in got.table.stamps[ratio == 2]}
    assert doubled == {"AAPL": {"2000-06-21", "2005-02-28"}, "MSFT": {"2003-02-18"}}.get(
        symbol, set()
    )
    assert set(ratio.tolist()) <= {1.0, 2.0}
    assert (got.basis, got.kind.unit, got.table.adj_close) == (Basis("raw"), "USD", None)


def test_the_split_adjusted_volume_agrees_with_another_source() -> None:
    """Yahoo's file of 2018 has 162,902,600 shares for 2005-02-28, after the 7:1 split of 2014."""
    got = whole("AAPL").table
    (volume,) = got.volume[got.stamps == parse_iso("2005-02-28")]
    assert volume * 7 == 162_902_600


@pytest.mark.parametrize(
    ("symbol", "count"), [("AAPL", 5), ("FB", 0), ("GOOG", 0), ("IBM", 52), ("MSFT", 38)]
)
def test_the_adjusted_column_changes_only_at_known_splits_and_dividends(
    symbol: str, count: int
) -> None:
    """``adj_close`` is the close times a factor; where it changes, there is a split or a dividend."""
    sample = getattr(STOCKS, symbol)
    closes, adjusted = (np.array(sample[name]) for name in ("close", "adj_close"))
    factor = adjusted / closes
    at = np.flatnonzero(np.abs(factor[:-1] / factor[1:] - 1) > 1e-9) + 1
    found = {sample["date"][i]: float(factor[i - 1] / factor[i]) for i in at}
    close_on = dict(zip(sample["date"], sample["close"], strict=True))
    said = {}
    for one in actions(symbol):
        day = str(one.ex_date)
        close = Fraction(str(close_on[day]))
        # This column takes the close of the ex-date for a dividend.
        said[day] = float(
            1 / one.ratio if one.type == "split" else close / (close + Fraction(str(one.amount)))
        )
    assert said == pytest.approx(found, rel=1e-11)
    assert len(said) == count


def test_demo_actions_cover_only_the_time_of_the_sample() -> None:
    reported = vendor().actions_of(AAPL, EVER, NOW_MS)
    assert getattr(reported, "until", None) == parse_iso("2013-03-02")
    last = parse_iso(STOCKS.AAPL["date"][-1])
    assert max(day_ms(one.ex_date) for one in reported) <= last < parse_iso("2013-03-02")
    assert {(one.source, one.fetched_at) for one in reported} == {("demo", NOW_MS)}
    assert all(one.as_paid for one in reported if one.type == "dividend")


def test_a_share_that_is_not_in_the_sample_is_refused() -> None:
    with pytest.raises(CapabilityError, match="only for AAPL, FB, GOOG, IBM, MSFT"):
        vendor().actions_of(Instrument("TSLA", "stock"), EVER, NOW_MS)


def test_an_error_lists_the_symbols_dates_and_timeframes_of_the_sample() -> None:
    with pytest.raises(SymbolNotFoundError, match="available: AAPL, FB, GOOG, IBM, MSFT"):
        whole("TSLA")
    with pytest.raises(CapabilityError, match="from 2000-03-01 to 2013-03-01"):
        vendor().fetch(query("1d", "2024-01-01", "2024-02-01", AAPL))
    with pytest.raises(CapabilityError, match="timeframes 1d, not 1h"):
        vendor().fetch(query("1h", "2012-01-01", "2012-02-01", AAPL))


@pytest.mark.parametrize("symbol", ["ZZZZ", "NOSUCH", "nosuchatall"])
def test_an_unknown_symbol_gets_the_same_answer_whatever_its_length(
    tmp_path: Path, symbol: str
) -> None:
    manager = DataManager(tmp_path / "cache")
    with pytest.raises(UnknownSymbolError, match="available: AAPL, FB, GOOG, IBM, MSFT") as raised:
        manager.get_ohlcv(symbol, "1d", "2012-01-03", "2012-01-31", provider="demo")
    assert raised.value.reason == "unknown_symbol"
    assert "doctor" not in str(raised.value)


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_a_range_before_a_listing_is_empty_for_that_reason(tmp_path: Path, timeframe: str) -> None:
    manager = DataManager(tmp_path / "cache")
    asked = {"start": "2011-01-03", "end": "2011-06-30", "provider": "demo", "strict": True}
    frame = manager.get_ohlcv("FB", timeframe, **asked)  # type: ignore[arg-type]
    facts = frame.attrs["onetape"]
    assert (len(frame), facts["complete"], facts["empty"]) == (0, True, "before the first bar")
    across = manager.get_ohlcv("FB", timeframe, "2012-05-01", "2012-06-29", provider="demo")
    assert [gap["reason"] for gap in across.attrs["onetape"]["gaps"]] == ["before the first bar"]
    then = manager.at("2011-06-30").get_ohlcv("FB", timeframe, bars=2, provider="demo")
    assert (len(then), "2012" in str(then.attrs["onetape"]["gaps"])) == (0, False)
    with pytest.raises(AllProvidersFailedError, match="no bars before 2000-03-01"):
        manager.get_ohlcv("IBM", timeframe, "1998-01-05", "1998-06-30", provider="demo")


def test_a_number_of_bars_is_counted_back_from_the_end_of_the_sample(tmp_path: Path) -> None:
    manager = DataManager(tmp_path / "cache")
    with pytest.warns(IncompleteDataWarning, match="the data ends on 2013-03-01"):
        frame = manager.get_ohlcv("AAPL", "1d", bars=2, provider="demo")
    assert [str(day)[:10] for day in frame.index] == ["2013-02-28", "2013-03-01"]
    found = manager.gaps("AAPL", "1d", provider="demo")
    assert "onetape fetch" not in str(found)
    assert {gap.evidence for gap in found.gaps} == {"the data ends on 2013-03-01"}


def test_samples_with_other_numbers_than_the_checked_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older release has volumes that are adjusted for splits under the same prices."""
    volumes = [volume * 2 for volume in STOCKS.AAPL["volume"]]
    monkeypatch.setattr(STOCKS, "AAPL", {**STOCKS.AAPL, "volume": volumes})
    with pytest.raises(
        MissingExtraError,
        match=re.escape('install them with pip install "bokeh_sampledata==2026.1"'),
    ):
        whole("AAPL")


def test_without_the_demo_extra_the_error_contains_its_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bokeh_sampledata.stocks", None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("demo"))):
        SampleCarrier().send(HttpRequest("file:///AAPL"))
    monkeypatch.setattr(demo, "PACKAGE", "no_such_package_here")
    with pytest.raises(MissingExtraError, match=re.escape(install_line("demo"))):
        vendor()
