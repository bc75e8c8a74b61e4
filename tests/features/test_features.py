"""Features as the manager returns them: from vendors' bars, over holes, timeframes and kinds."""

from __future__ import annotations

import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onetape import to_polars
from onetape.aio import AsyncDataManager
from src.data.core.calendars.calendar import calendar_for
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import date_of
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.provider_selector import ProviderSelector
from src.data.data_manager import DataManager
from src.data.errors import (
    DataError,
    FeatureError,
    ForeignError,
    IncompleteDataError,
    IncompleteDataWarning,
    MissingExtraError,
    ProviderTimeoutError,
    QueryError,
    RulesError,
    StorageError,
    UnavailableError,
)
from src.data.features import kept, recipes, rolling
from src.data.features.recipes import RECIPES, parse_recipes, register_recipe
from src.data.research.sources.frame_store import FrameStore
from tests.core.cache.counts import FULL
from tests.e2e.fixed_vendor import FixedVendor, Market, at, every
from tests.programs import ROOT
from tests.universe_doubles import DatedUniverse

from .tapes import RECIPES as RECIPES_OFF_DEFAULTS

_NOW = at("2024-06-03T00:00:00Z")
_LAST = "2024-06-02T23:00:00Z"
_HOURS = every("1h", "2022-06-01T00:00:00Z", _LAST)


class _Hours(FixedVendor):
    """Has the bars of each longer timeframe that begin at its hours."""

    def __init__(self, clock: ManualClock, stamps: list[int] = _HOURS) -> None:
        super().__init__(clock, stamps, "binance")
        self.hours = list(stamps)

    def fetch(self, query: Any) -> Any:
        self.stamps = [s for s in self.hours if s % (query.timeframe.step_ms or 1) == 0]
        return super().fetch(query)


@pytest.fixture
def market(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Market:
    return Market(tmp_path, ManualClock(_NOW), monkeypatch)


@pytest.fixture
def vendor(market: Market) -> FixedVendor:
    return _Hours(market.clock)


@pytest.fixture
def manager(market: Market, vendor: FixedVendor) -> DataManager:
    return market.manager(vendor)


@pytest.fixture
def registered() -> Iterator[None]:
    before = dict(RECIPES)
    yield
    RECIPES.clear()
    RECIPES.update(before)


DAY = ("BTCUSDT", "1h", "2024-05-10", "2024-05-10")


def ask(
    manager: DataManager, *wanted: Any, symbol: str = "BTCUSDT", **options: Any
) -> pd.DataFrame:
    start, end = options.pop("start", "2024-05-10"), options.pop("end", "2024-05-10")
    return manager.features(
        [symbol], options.pop("timeframe", "1h"), start, end, list(wanted), **options
    )


def test_values_are_those_of_the_bars_and_name_their_close(manager: DataManager) -> None:
    frame = ask(manager, "sma:3", "ret:2", "dow", "session_minute")
    bars = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-09", "2024-05-10")
    np.testing.assert_allclose(
        frame["sma:3"], bars["close"].rolling(3).mean().iloc[24:], rtol=1e-12
    )
    np.testing.assert_allclose(frame["ret:2"], bars["close"].pct_change(2).iloc[24:], rtol=1e-9)
    assert list(frame.columns) == [
        "symbol",
        "timestamp",
        "sma:3",
        "ret:2",
        "dow",
        "session_minute",
        "closed_by",
    ]
    assert (frame["closed_by"] - frame["timestamp"] == pd.Timedelta("1h")).all()
    assert frame["dow"].eq(4).all()
    assert frame["session_minute"].tolist() == [60.0 * n for n in range(24)]
    assert frame["symbol"].eq("BTCUSDT").all()
    assert frame.attrs["onetape"]["complete"]


def test_any_range_gives_the_same_bits(manager: DataManager) -> None:
    wanted = (
        "rsi:14",
        "sma:20",
        "vwap:session",
        "macd:12,26,9",
        "vol:10",
        "rsi:5@4h",
        "obv:2024-01-01",
    )
    whole = ask(manager, *wanted, start="2023-11-01").set_index("timestamp")
    for start, end in (("2024-05-10", "2024-05-10"), ("2024-01-02T05:00:00", "2024-01-02T09:00:00"),
                       ("2023-12-28", "2024-01-05")):  # fmt: skip
        some = ask(manager, *wanted, start=start, end=end).set_index("timestamp")
        for name in whole.columns.drop(["symbol", "closed_by"]):
            assert (
                some[name].to_numpy().tobytes() == whole[name].loc[some.index].to_numpy().tobytes()
            ), name
    streamed = ask(
        manager, *wanted, start="2024-05-10", end="2024-05-31", closed_by="2024-05-10T12:00:00"
    )
    assert len(streamed) == 12
    own = streamed.set_index("timestamp")["rsi:14"]
    assert own.to_numpy().tobytes() == whole["rsi:14"].loc[own.index].to_numpy().tobytes()


def test_bars_are_requested_from_the_lead_of_the_block_and_no_earlier(
    manager: DataManager, vendor: FixedVendor
) -> None:
    block = 512 * 24 * 3_600_000
    start = at("2023-12-25T00:00:00Z")
    for text, first in (("sma:20", start), ("ema:20", start // block * block)):
        lead = recipes.parse_recipe(text).lead
        ask(manager, text, start="2023-12-25", end="2023-12-26")
        assert min(span.start for span in vendor.asked) == first - lead * 3_600_000
        vendor.asked.clear()
        ask(manager, text, start="2023-12-25", end="2023-12-26")
        assert vendor.asked == []


def test_a_missing_bar_is_a_hole_and_nothing_is_filled(market: Market) -> None:
    vendor = _Hours(market.clock)
    vendor.hours.remove(at("2024-05-10T05:00:00Z"))
    manager = market.manager(vendor)
    with pytest.warns(IncompleteDataWarning):
        frame = ask(manager, "ret:2", "ema:2", "rsi:2@4h")
    hours = frame["timestamp"].dt.hour
    assert 5 not in hours.tolist()
    assert hours[frame["ret:2"].isna()].tolist() == [6, 7]
    assert hours[frame["ema:2"].isna()].tolist() == [6, 7, 8, 9, 10, 11]
    assert frame.attrs["onetape"]["nan"]["BTCUSDT"]["ret:2"] == 2


def test_a_longer_timeframe_is_joined_as_of_its_close(manager: DataManager) -> None:
    frame = ask(manager, "ret:1@4h", end="2024-05-11").set_index("timestamp")["ret:1@4h"]
    longer = ask(manager, "ret:1", timeframe="4h", start="2024-05-09", end="2024-05-11")
    by_close = longer.set_index("closed_by")["ret:1"]
    for stamp, value in frame.items():
        close = pd.Timestamp(str(stamp)) + pd.Timedelta("1h")
        assert value == by_close[by_close.index <= close].iloc[-1]


def test_a_longer_bar_that_is_missing_is_not_replaced_by_an_earlier_one(market: Market) -> None:
    vendor = _Hours(market.clock)
    fetch = vendor.fetch

    def without_one(query: Any) -> Any:
        gone = at("2024-05-10T08:00:00Z")
        vendor.hours = [s for s in _HOURS if s != gone or query.timeframe.label == "1h"]
        return fetch(query)

    vendor.fetch = without_one  # type: ignore[method-assign]
    manager = market.manager(vendor)
    frame = ask(manager, "donchian:1@4h")
    lacking = frame["timestamp"].dt.hour[frame["donchian:1@4h.upper"].isna()]
    assert lacking.tolist() == [11, 12, 13, 14]


def test_holes_beyond_those_that_an_answer_lists(market: Market) -> None:
    many = every("8h", "2024-03-12T00:00:00Z", "2024-04-20T00:00:00Z")
    lost = {*many, at("2024-05-09T23:00:00Z")}
    manager = market.manager(_Hours(market.clock, [stamp for stamp in _HOURS if stamp not in lost]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        day = ask(manager, "sma:2", "ema:2")
        whole = ask(manager, "sma:2", start="2024-03-11")
    assert np.isnan(day["sma:2"].iloc[0]), "the bar before the range is missing"
    assert day["ema:2"].iloc[:6].isna().all()
    assert whole["sma:2"].isna().sum() == len(lost)


def by_timeframe(vendor: FixedVendor, minutes: list[int], days: list[int]) -> FixedVendor:
    """Let a vendor send other timestamps for days and longer than for shorter timeframes."""
    fetch = vendor.fetch

    def fetch_those(query: Any) -> Any:
        vendor.stamps = minutes if query.timeframe.is_intraday else days
        return fetch(query)

    vendor.fetch = fetch_those  # type: ignore[method-assign]
    return vendor


def test_daily_values_follow_the_close_over_summer_time_and_early_closes(
    market: Market,
) -> None:
    days = every("1d", "2022-01-01T00:00:00Z", "2024-05-31T00:00:00Z")
    minutes = every("30m", "2023-11-20T14:30:00Z", "2023-11-28T21:00:00Z")
    vendor = by_timeframe(FixedVendor(market.clock, [], "yahoo"), minutes, days)
    manager = market.manager(vendor)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.features(
            ["AAPL"], "30m", "2023-11-22", "2023-11-27", ["change:1@1d", "dow@1d"]
        )
        daily = manager.features(["AAPL"], "1d", "2023-11-20", "2023-11-27", ["dow"])
    closes = dict(zip(daily["timestamp"].dt.strftime("%m-%d"), daily["closed_by"], strict=True))
    assert str(closes["11-24"]) == "2023-11-24 18:00:00"  # half a day
    for row in frame.itertuples():
        closed = daily[daily["closed_by"] <= row.closed_by]
        assert row[4] == closed["dow"].iloc[-1]


def test_days_beside_extended_hours_are_those_of_regular_hours(market: Market) -> None:
    span = Span(at("2024-02-20T00:00:00Z"), at("2024-03-20T00:00:00Z"))
    minutes = _opening("AAPL", "30m", span, "extended")
    days = [stamp for stamp in every("1d", "2024-01-01T00:00:00Z", "2024-03-20T00:00:00Z")
            if date_of(stamp).weekday() < 5]  # fmt: skip
    vendor = by_timeframe(FixedVendor(market.clock, [], "alpaca"), minutes, days)
    manager = market.manager(vendor)
    asked = (["AAPL"], "1h", "2024-03-08", "2024-03-11", ["dow@1d", "sma:2@1w", "sma:2@2h"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        frame = manager.features(*asked, session="extended").set_index("closed_by")
        plans = manager.plan(
            asked[0], *asked[1:4], recipes=asked[4], session="extended", store=False
        )
    assert sum("1d" in plan.title for plan in plans.values()) >= 1
    assert frame["dow@1d"].loc["2024-03-08 20:00"] == 3.0
    assert frame["dow@1d"].loc["2024-03-08 21:00":"2024-03-11 19:00"].eq(4.0).all()
    assert frame["dow@1d"].loc["2024-03-11 20:00"] == 0.0  # an hour earlier in summer
    assert frame.notna().all(axis=None)


def test_offline_a_missing_lead_makes_rows_missing_and_is_reported(
    manager: DataManager, vendor: FixedVendor
) -> None:
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-10", "2024-05-12")
    vendor.asked.clear()
    with pytest.warns(
        IncompleteDataWarning, match="1 symbols have too few bars before the range: BTCUSDT"
    ):
        frame = ask(manager, "sma:20", "dow", "rsi:2", end="2024-05-12", offline=True)
    assert vendor.asked == []
    assert frame["sma:20"].isna().sum() == 19
    assert frame["rsi:2"].isna().sum() == recipes.parse_recipe("rsi:2").lead
    assert not frame["dow"].isna().any()
    assert set(frame.attrs["onetape"]["lead_missing"]) == {"BTCUSDT"}
    assert not frame.attrs["onetape"]["complete"]


def test_one_symbol_without_bars_is_named_and_others_are_answered(manager: DataManager) -> None:
    with pytest.warns(IncompleteDataWarning, match="1 of 2 symbols have no bars: NOPE1"):
        long = manager.features(["BTCUSDT", "NOPE1"], *DAY[1:], ["sma:2"])
    assert set(long["symbol"]) == {"BTCUSDT"}
    assert long.attrs["onetape"]["failed"] == ["NOPE1"]
    with pytest.warns(IncompleteDataWarning):
        wide = manager.features(["BTCUSDT", "NOPE1"], *DAY[1:], ["sma:2", "macd"], layout="wide")
    assert wide["sma:2", "NOPE1"].isna().all()
    assert wide["sma:2"]["BTCUSDT"].tolist() == long["sma:2"].tolist()
    assert wide.columns.names == ["recipe", "symbol"]
    assert len(wide.columns) == 2 * 4


def test_members_of_a_universe_and_no_symbols_at_all(manager: DataManager) -> None:
    manager.universes = DatedUniverse(
        {"BTCUSDT": ("2020-01-01", None), "ETHUSDT": ("2024-05-11", None)}
    )  # type: ignore[assignment]
    frame = manager.features(None, *DAY[1:], ["sma:2"], universe="mine", as_of="2024-05-10")
    assert set(frame["symbol"]) == {"BTCUSDT"}
    assert manager.features([], *DAY[1:], ["sma:2"], layout="wide").shape == (0, 0)
    assert manager.features([], *DAY[1:], ["sma:2"]).shape == (0, 4)


async def _awaited(manager: DataManager) -> pd.DataFrame:
    found: pd.DataFrame = await AsyncDataManager(manager).afeatures(
        ["BTCUSDT"], *DAY[1:], ["sma:2"]
    )
    return found


def test_the_awaitable_twin_and_a_polars_table(manager: DataManager) -> None:
    import asyncio

    plain = ask(manager, "sma:2")
    pd.testing.assert_frame_equal(asyncio.run(_awaited(manager)), plain)
    table = to_polars(plain)
    assert table.columns == ["symbol", "timestamp", "sma:2", "closed_by"]
    assert table["symbol"].to_list() == ["BTCUSDT"] * 24


def test_anchors(manager: DataManager) -> None:
    frame = ask(manager, "vwap", "obv", anchor="2024-05-01")
    assert [*frame.columns[2:4]] == ["vwap:2024-05-01", "obv:2024-05-01"]
    bars = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-01", "2024-05-10")
    price = (bars["high"] + bars["low"] + bars["close"]) / 3
    vwap = (price * bars["volume"]).cumsum() / bars["volume"].cumsum()
    np.testing.assert_allclose(frame["vwap:2024-05-01"], vwap.iloc[-24:], rtol=1e-12)
    later = ask(manager, "drawdown:2024-05-10", "drawdown:2024-05-11", "drawdown:session")
    assert later["drawdown:2024-05-11"].isna().all()
    assert later["drawdown:2024-05-10"].tolist() == later["drawdown:session"].tolist()


def _opening(symbol: str, step: str, span: Span, session: str = "regular") -> list[int]:
    """Return where the bars of a symbol open by its calendar."""
    instrument = ProviderSelector().instrument(symbol)
    if session == "extended":
        instrument = instrument.extended()
    calendar = calendar_for(instrument)
    return [int(stamp) for stamp in calendar.opens(Timeframe.parse(step), span, "clock")]


def test_a_bar_that_begins_before_its_session_is_the_first_of_it(market: Market) -> None:
    span = Span(at("2024-01-10T00:00:00Z"), at("2024-02-01T00:00:00Z"))
    vendor = FixedVendor(market.clock, _opening("EUR/USD", "1h", span), "eodhd")
    frame = ask(
        market.manager(vendor), "dow", "session_minute", "obv:session", "drawdown:session",
        symbol="EUR/USD", timeframe="4h", start="2024-01-26", end="2024-01-29",
    )  # fmt: skip
    monday = frame[frame["timestamp"] >= "2024-01-28"]
    assert str(monday["timestamp"].iloc[0]) == "2024-01-28 21:00:00"  # the market opens at 22:00
    assert monday["dow"].tolist() == [0.0] * 7
    assert monday["session_minute"].tolist()[:2] == [-60.0, 180.0]
    assert monday["obv:session"].iloc[0] == 0
    assert monday["drawdown:session"].iloc[0] == 0
    alone = ask(
        market.manager(vendor), "obv:session", symbol="EUR/USD", timeframe="4h",
        start="2024-01-28T21:00:00", end="2024-01-29",
    )  # fmt: skip
    assert alone["obv:session"].tolist() == monday["obv:session"].tolist()


@pytest.mark.parametrize(
    "symbol, like, session, first",
    [
        ("ES=F", "yahoo", "regular", "2024-01-28T23:00:00"),
        ("BHP.AX", "yahoo", "regular", "2024-01-28T23:00:00"),
        # The extended hours of Friday end on Saturday (UTC).
        ("AAPL", "alpaca", "extended", "2024-01-29T09:00:00"),
    ],
)  # fmt: skip
def test_the_date_of_an_anchor_is_that_of_a_session(
    market: Market, symbol: str, like: str, session: str, first: str
) -> None:
    span = Span(at("2024-01-10T00:00:00Z"), at("2024-02-03T00:00:00Z"))
    vendor = FixedVendor(market.clock, _opening(symbol, "30m", span, session), like)
    manager = market.manager(vendor)
    bounds = {"symbol": symbol, "timeframe": "30m", "session": session}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        days = ("2024-01-27", "2024-01-29")
        frames = [ask(manager, *(f"vwap:{day}" for day in days), start=start, **bounds, end="2024-01-29")
                  for start in ("2024-01-25", "2024-01-29", first, f"{first[:14]}30:00")]  # fmt: skip
        bars = manager.get_ohlcv(symbol, "30m", "2024-01-29", "2024-01-29", session=session)
    price = (bars["high"] + bars["low"] + bars["close"]) / 3
    expected = (price * bars["volume"]).cumsum() / bars["volume"].cumsum()
    assert str(bars.index[0]) == first.replace("T", " ")
    for frame in frames:
        rows = frame.set_index("timestamp")
        for day in days:
            own = rows[f"vwap:{day}"].dropna()
            assert own.index[0] == max(bars.index[0], rows.index[0])
            np.testing.assert_allclose(own, expected[own.index], rtol=1e-12)


def test_recipes_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipes.yaml"
    path.write_text("recipes:\n  - sma:3\n  - macd:12,30@4h\n  - vwap:session\n")
    found = [use.text for use in parse_recipes(path)]
    assert found == ["sma:3", "macd:12,30,9@4h", "vwap:session"]
    assert [use.text for use in parse_recipes(str(path))] == found
    monkeypatch.chdir(tmp_path)
    for given in ("recipes.yaml", "./recipes.yaml", Path("recipes.yaml")):
        assert [use.text for use in parse_recipes(given)] == found
    assert [use.text for use in parse_recipes("rsi rsi:14 rsi:14@1d")] == ["rsi:14", "rsi:14@1d"]
    path.write_text("- sma:3\n")
    with pytest.raises(RulesError):
        parse_recipes(path)
    with pytest.raises(StorageError):
        parse_recipes(tmp_path / "none.yaml")
    path.write_text("recipes: {sma: 3}\n")
    with pytest.raises(QueryError, match="recipes must be a list"):
        parse_recipes(path)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ("rsj:14", "did you mean 'rsi'"), ("kama:10", "not proved"), ("rsi:0", "whole number of at least 1"),
        ("rsi:1000000", "longest period served is 230"), ("sma:5002", "longest period served is 5,001"),
        ("ema:1000", "longest period served is 440"), ("rsi:x", "invalid period 'x'"),
        ("rsi:nan", "invalid period 'nan'"), ("bbands:20,nan", "invalid width"), ("ret:-5", "look ahead"),
        ("rsi:1.5", "whole number"), ("rsi:14,2", "too many parameters"), ("vwap", "needs an anchor"),
        ("vwap:monday", "invalid anchor"), ("rsi:14@30m", "is not longer than 1h"),
        ("rsi:14@1x", "unknown timeframe"),
        ("vwap:session@1d", "shorter than a day"), ("", "invalid recipe"), ("rsi(14)", "invalid recipe"),
        ("sma:" + "9" * 20, "below 9,007,199,254,740,992"),
        (None, "invalid recipe"), (7, "invalid recipe"), ("macd:12,600,9", "longest slow served is"),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_served_is_refused_before_any_request(
    manager: DataManager, vendor: FixedVendor, wanted: Any, words: str
) -> None:
    with pytest.raises(QueryError) as caught:
        ask(manager, wanted)
    assert words in f"{caught.value}"
    assert vendor.asked == []


def test_other_arguments_that_cannot_be_served(manager: DataManager, vendor: FixedVendor) -> None:
    for options in (
        {"layout": "dict"}, {"include_forming": True}, {"columns": ("source",)}, {"store": "folder"},
        {"store": Path("folder")},
    ):  # fmt: skip
        with pytest.raises(QueryError):
            ask(manager, "sma:2", **options)
    with pytest.warns(IncompleteDataWarning, match="1 of 1 symbols have no bars: None"):
        assert manager.features([None], *DAY[1:], ["sma:2"]).empty  # type: ignore[list-item]
    with pytest.raises(QueryError, match="invalid anchor noon for 'vwap'"):
        ask(manager, "vwap", anchor="noon")
    for wanted in ([], "", None, 5, {}):
        with pytest.raises(QueryError, match="recipes must be a list"):
            manager.features(["BTCUSDT"], *DAY[1:], wanted)  # type: ignore[arg-type]
    assert vendor.asked == []


def test_without_the_extra_all_recipes_work_and_keeping_names_it(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = ask(manager, *RECIPES_OFF_DEFAULTS)
    for place in (rolling, kept, recipes):
        monkeypatch.setattr(place, "library", lambda name: None)
    plain = ask(manager, *RECIPES_OFF_DEFAULTS)
    for name in usual.columns[2:-1]:
        np.testing.assert_allclose(plain[name], usual[name], rtol=1e-9, atol=1e-12)
    with pytest.raises(MissingExtraError, match="features"):
        ask(manager, "sma:5", store=FrameStore(Path("unused"), 1))
    with pytest.raises(QueryError, match="unknown recipe"):
        ask(manager, "kama:5")


# --- registered functions ----------------------------------------------------------------------


def gap(bars: pd.DataFrame) -> Any:
    return bars["open"] / bars["close"].shift(1) - 1


@pytest.mark.usefixtures("registered")
def test_a_registered_function_is_a_recipe(manager: DataManager) -> None:
    register_recipe("gap", gap, lead=1)
    register_recipe(
        "band", lambda bars, n: pd.concat([bars["high"].rolling(n).max(), bars["low"]], axis=1),
        lead=lambda n: int(n) - 1, defaults={"n": 3}, outputs=("top", "low"),
    )  # fmt: skip
    frame = ask(manager, "gap", "band:5", "donchian:5")
    bars = manager.get_ohlcv("BTCUSDT", "1h", "2024-05-09T23:00:00", "2024-05-10")
    np.testing.assert_allclose(frame["gap"], gap(bars).iloc[1:], rtol=1e-12)
    assert frame["band:5.top"].tolist() == frame["donchian:5.upper"].tolist()
    with pytest.raises(QueryError, match="packaged recipe"):
        register_recipe("rsi", gap, lead=1)
    with pytest.raises(QueryError, match="invalid name"):
        register_recipe("My Gap", gap, lead=1)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"lead": -1}, "whole number from 0 to 5,000; a negative one would look ahead"),
        ({"lead": 6_000}, "not a number of bars: 6000"),
        ({"lead": 2.5}, "not a number of bars: 2.5"),
        ({"lead": None}, "not a number of bars: None"),
        ({"lead": lambda: -1}, "a negative one would look ahead"),
        ({"lead": lambda: 6_000}, "not a number of bars: 6000"),
        ({"lead": lambda n: n / 4, "defaults": {"n": 2}}, "not a number of bars: 0.5"),
        ({"lead": lambda n: n, "defaults": {"n": 6_000}}, "longest n served is 5,000"),
        ({"lead": 0, "defaults": {"n": -1}}, "invalid defaults of mine: {'n': -1}"),
        ({"lead": 0, "defaults": {"n": "3"}}, "invalid defaults"),
        ({"lead": 0, "defaults": ["n"]}, "map each parameter"),
        ({"lead": 0, "outputs": "ab"}, "invalid outputs of mine: 'ab'"),
        ({"lead": 0, "outputs": ("a", "a")}, "different names"),
        ({"lead": 0, "name": "timestamp"}, "or of a column"),
    ],
)
def test_a_recipe_with_invalid_arguments_is_refused(
    manager: DataManager, vendor: FixedVendor, arguments: dict[str, Any], words: str
) -> None:
    def register_and_ask() -> None:
        register_recipe(**{"name": "mine", "function": gap} | arguments)
        ask(manager, "mine")

    with pytest.raises(QueryError) as caught:
        register_and_ask()
    assert words in str(caught.value)
    assert vendor.asked == []


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("default", "text"),
    [(np.int64(3), "mine:3"), (np.float64(2.5), "mine:2.5"), (np.float32(0.5), "mine:0.5")],
)
def test_the_parameters_and_outputs_of_a_recipe_can_come_from_numpy_and_pandas(
    manager: DataManager, default: Any, text: str
) -> None:
    outputs: Any = pd.Index(["high", "low"])
    register_recipe(
        "mine", lambda bars, n: bars[["high", "low"]] * n, lead=0,
        defaults=MappingProxyType({"n": default}), outputs=outputs,
    )  # fmt: skip
    names = [f"{text}.high", f"{text}.low"]
    assert ask(manager, "mine").columns.tolist()[2:4] == names
    assert ask(manager, text).columns.tolist()[2:4] == names


def _ahead(bars: pd.DataFrame) -> Any:
    return bars["close"].shift(-1)


def _mutates(bars: pd.DataFrame) -> Any:
    bars["twice"] = bars["close"] * 2
    return bars["twice"]


def _raises(bars: pd.DataFrame) -> Any:
    raise KeyError("nothing here")


def _exits(bars: pd.DataFrame) -> Any:
    raise SystemExit(3)


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (_ahead, FeatureError, "looks ahead: its value for 20"),
        (lambda bars: bars["close"] - bars["close"].mean(), FeatureError, "looks ahead"),
        (lambda bars: bars["close"].rolling(5, center=True).mean(), FeatureError, "looks ahead"),
        (_mutates, FeatureError, "changed its frame"),
        (lambda bars: bars["close"].dropna().iloc[1:], FeatureError, "another index"),
        (lambda bars: bars["close"].reset_index(drop=True), FeatureError, "another index"),
        (lambda bars: np.zeros(3), FeatureError, "of shape"),
        (lambda bars: 7.0, FeatureError, "of shape"),
        (lambda bars: None, FeatureError, "of shape"),
        (lambda bars: ["a"] * len(bars), FeatureError, "not numbers"),
        (lambda bars: bars["close"] * 1j, FeatureError, "not numbers"),
        (lambda bars: bars[["close", "open"]], FeatureError, "2 outputs"),
        (_raises, ForeignError, "nothing here"),
        (_exits, ForeignError, "SystemExit"),
    ],
)
def test_a_function_that_is_no_feature_is_refused(
    manager: DataManager, function: Any, error: type[DataError], words: str
) -> None:
    register_recipe("mine", function, lead=2)
    with pytest.raises(error, match=words):
        ask(manager, "mine")


@pytest.mark.usefixtures("registered")
def test_a_function_that_hangs_ends_with_the_call_and_one_that_prints_is_heard(
    manager: DataManager, capsys: pytest.CaptureFixture[str]
) -> None:
    ask(manager, "sma:5")
    free = threading.Event()

    def hangs(bars: pd.DataFrame) -> Any:
        free.wait()
        return bars["close"]

    register_recipe("hangs", hangs, lead=0)
    with pytest.raises(ProviderTimeoutError, match="recipe hangs did not return in time"):
        ask(manager, "hangs", timeout=0.2)
    free.set()
    register_recipe("loud", lambda bars: print("loud") or bars["close"], lead=0)
    assert len(ask(manager, "loud")) == 24
    assert "loud" in capsys.readouterr().out


# --- blocks that are kept ----------------------------------------------------------------------


class _Store(FrameStore):
    """Counts the frames that are read and written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 1 << 30)
        self.read = self.written = 0

    def get(self, key: str) -> Any:
        found = super().get(key)
        self.read += found is not None
        return found

    def put(self, *args: Any, **kwargs: Any) -> Any:
        self.written += 1
        return super().put(*args, **kwargs)


def test_kept_blocks_are_read_again_to_the_bit(manager: DataManager, tmp_path: Path) -> None:
    store = _Store(tmp_path / "kept")
    wanted = ("rsi:5", "bbands:7,2", "vwap:session")
    plain = ask(manager, *wanted, start="2023-04-01")
    for count in range(2):
        frame = ask(manager, *wanted, start="2023-04-01", store=store)
        pd.testing.assert_frame_equal(frame, plain, check_exact=True)
        assert (store.written, store.read) == (2, 2 * count)
    ask(manager, *reversed(wanted), start="2024-05-01", store=store)
    assert store.written == 2


def test_recipes_of_equal_leads_and_columns_are_kept_apart(
    manager: DataManager, tmp_path: Path
) -> None:
    store = _Store(tmp_path / "kept")
    for recipe in ("sma:20", "wma:20", "sma:20"):
        frame = ask(manager, recipe, start="2023-04-01", store=store)
        plain = ask(manager, recipe, start="2023-04-01")
        pd.testing.assert_frame_equal(frame, plain, check_exact=True)
    assert (store.written, store.read) == (4, 2)


def test_a_corrected_bar_dirties_its_block_and_those_whose_lead_holds_it(
    market: Market, vendor: FixedVendor, tmp_path: Path
) -> None:
    block = 512 * 24 * 3_600_000
    edge = at("2024-05-10T00:00:00Z") // block * block
    store, manager = _Store(tmp_path / "kept"), market.manager(vendor)
    for stamp, dirty in (
        (edge - 3 * 3_600_000, 2),
        (edge - 30 * 3_600_000, 1),
        (edge + 3_600_000, 1),
    ):
        ask(manager, "sma:20", start="2023-04-01", store=store)
        before, usual = store.written, vendor.bar

        def corrected(asked: int, stamp: int = stamp, usual: Any = usual) -> Any:
            bar = usual(asked)
            return bar._replace(close=bar.close + 0.01) if asked == stamp else bar

        vendor.bar = corrected  # type: ignore[method-assign]
        manager.get_ohlcv("BTCUSDT", "1h", "2022-11-01", "2024-05-10", refresh=True)
        frame = ask(manager, "sma:20", start="2023-04-01", store=store)
        assert store.written - before == dirty
        assert frame.equals(ask(manager, "sma:20", start="2023-04-01"))


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-40], lambda b: b[:90] + bytes([b[90] ^ 1]) + b[91:], lambda b: b""]
)
def test_a_damaged_or_missing_file_is_computed_anew(
    manager: DataManager, tmp_path: Path, damage: Any
) -> None:
    plain = ask(manager, "ema:5", store=FrameStore(tmp_path / "kept", 1 << 30))
    (path,) = (tmp_path / "kept").glob("cache_*.parquet")
    path.write_bytes(damage(path.read_bytes()))
    store = _Store(tmp_path / "kept")
    assert ask(manager, "ema:5", store=store).equals(plain)
    assert (store.read, store.written) == (0, 1)
    path.unlink()
    assert ask(manager, "ema:5", store=store).equals(plain)
    assert store.written == 2


def test_blocks_that_an_earlier_version_compressed_are_read(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import polars as pl

    write = pl.DataFrame.write_parquet
    with monkeypatch.context() as patch:
        patch.setattr(
            pl.DataFrame,
            "write_parquet",
            lambda *args, **own: write(*args, **own | {"compression": "zstd"}),
        )
        plain = ask(manager, "ema:5", store=FrameStore(tmp_path / "kept", 1 << 30))
    store = _Store(tmp_path / "kept")
    assert ask(manager, "ema:5", store=store).equals(plain)
    assert (store.read, store.written) == (1, 0)


def test_a_full_disk_loses_no_answer(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = ask(manager, "ema:5")
    store = FrameStore(tmp_path / "kept", 1 << 30)

    def full(*_: Any, **__: Any) -> Any:
        raise StorageError("no space left on device")

    monkeypatch.setattr(store, "put", full)
    with pytest.warns(UserWarning, match="features were not kept: no space left"):
        assert ask(manager, "ema:5", store=store).equals(plain)


def test_two_threads_keep_one_block(manager: DataManager, tmp_path: Path) -> None:
    plain, answers = ask(manager, "ema:5"), list[pd.DataFrame]()
    stores = [FrameStore(tmp_path / "kept", 1 << 30) for _ in range(4)]
    threads = [
        threading.Thread(target=lambda s=s: answers.append(ask(manager, "ema:5", store=s)))
        for s in stores
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answer.equals(plain) for answer in answers] == [True] * 4
    assert len(list((tmp_path / "kept").iterdir())) == 1


# Polars' threads do not survive a fork, so each process is started anew.
_KEEPING = """
import sys
from pathlib import Path
from src.data import DataManager
from src.data.research.sources.frame_store import FrameStore
folder = Path(sys.argv[1])
manager, store = DataManager(folder / "cache"), FrameStore(folder / "kept", 1 << 30)
year = ("AAPL", "1d", "2012-01-03", "2012-12-31")
manager.get_ohlcv(*year, provider="demo")
print("ready", flush=True)
sys.stdin.readline()
for _ in range(2):
    frame = manager.features([year[0]], *year[1:], ["ema:5", "vol:7"], provider="demo", store=store)
    print(frame["vol:7"].iloc[-1].hex(), flush=True)
"""


def _keeping(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _KEEPING, str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=ROOT)


def test_two_processes_keep_one_block(tmp_path: Path) -> None:
    with _keeping(tmp_path) as one, _keeping(tmp_path) as other:
        for process in (one, other):
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        values = [process.communicate()[0].split() for process in (one, other)]
    assert len({*values[0], *values[1]}) == 1
    assert [len(lines) for lines in values] == [2, 2]
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".parquet"]


@pytest.mark.parametrize("name", ["_EDITION", "versions"])
def test_a_block_of_another_version_is_computed_anew(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    plain = ask(manager, "ema:5", store=FrameStore(tmp_path / "kept", 1 << 30))
    store = _Store(tmp_path / "kept")
    monkeypatch.setattr(kept, name, 0 if name == "_EDITION" else lambda: {"numpy": "1"})
    assert ask(manager, "ema:5", store=store).equals(plain)
    assert (store.read, store.written) == (0, 1)


def test_one_symbol_without_bars_among_many(manager: DataManager) -> None:
    names = [f"A{chr(65 + n // 26)}{chr(65 + n % 26)}USDT" for n in range(500 if FULL else 40)]
    names[17] = "NOPE1"
    with pytest.warns(IncompleteDataWarning) as caught:
        frame = manager.features(names, *DAY[1:], ["dow"])
    (warning,) = caught
    assert str(warning.message).startswith(f"1 of {len(names)} symbols have no bars: NOPE1;")
    assert frame.attrs["onetape"]["failed"] == ["NOPE1"]
    assert frame["symbol"].value_counts().loc[lambda own: own > 0].to_dict() == dict.fromkeys(
        [name for name in names if name != "NOPE1"], 24
    )


def test_features_are_kept_in_the_folder_of_cached_frames(
    manager: DataManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "src.data.research.settings.folder.frames_folder", lambda: tmp_path / "frames"
    )
    frame = ask(manager, "ema:5", store=True)
    assert len(list((tmp_path / "frames").glob("cache_*.parquet"))) == 1
    assert ask(manager, "ema:5", store=True).equals(frame)


def test_a_vendor_that_fails_before_the_range_is_reported(
    market: Market, vendor: FixedVendor
) -> None:
    manager = market.manager(vendor)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-05-10", "2024-05-10")
    vendor.errors = [UnavailableError("down", provider="binance")] * 50
    with pytest.warns(IncompleteDataWarning, match="BTCUSDT"):
        frame = ask(manager, "sma:5")
    assert frame["sma:5"].isna().sum() == 4
    assert "BTCUSDT" in frame.attrs["onetape"]["lead_missing"]


_QUARTERS = every("15m", "2023-06-01T00:00:00Z", "2024-06-02T23:45:00Z")


def short_history(market: Market) -> FixedVendor:
    """Return a vendor whose bars of 15 minutes reach back 59 days."""
    vendor = FixedVendor(market.clock, _QUARTERS, "binance")
    # Without shorter bars: those of a century would be looked for, to build earlier ones.
    own = {"15m": vendor.capabilities.timeframes["15m"]}
    vendor.capabilities = replace(vendor.capabilities, depth_days={"15m": 59}, timeframes=own)
    return vendor


@pytest.mark.parametrize("moves", [False, True], ids=["still", "a-day-later-at-each-request"])
def test_a_history_that_begins_in_the_lead_is_not_a_listing(market: Market, moves: bool) -> None:
    other = FixedVendor(market.clock, _QUARTERS, "binance")
    other.listed_ms = _QUARTERS[0]
    whole = market.manager(other, folder="whole")
    wanted = ("ema:200", "macd", "sma:96", "drawdown:listing", "obv:2024-03-01", "vwap:2024-05-20")
    true = ask(whole, *wanted, timeframe="15m", start="2024-04-04", end="2024-06-01")
    assert true["drawdown:listing"].notna().all()
    vendor, found = short_history(market), dict[str, pd.DataFrame]()
    manager, fetch = market.manager(vendor), vendor.fetch

    def fetch_later(query: Any) -> Any:
        days = vendor.capabilities.depth_days["15m"] - moves
        vendor.capabilities = replace(vendor.capabilities, depth_days={"15m": days})
        return fetch(query)

    vendor.fetch = fetch_later  # type: ignore[method-assign]
    for start in ("2024-05-20", "2024-04-20", "2024-05-01", "2024-04-01"):
        with pytest.warns(IncompleteDataWarning):
            frame = ask(manager, *wanted, timeframe="15m", start=start, end="2024-06-01")
        facts = frame.attrs["onetape"]
        assert "15m bars" in facts["lead_missing"]["BTCUSDT"]
        assert not facts["complete"]
        assert facts["nan"]["BTCUSDT"]["drawdown:listing"] == len(frame)
        assert facts["nan"]["BTCUSDT"]["obv:2024-03-01"] == len(frame)
        found[start] = frame.set_index("timestamp")
        known = true.set_index("timestamp").reindex(found[start].index)
        for name in frame.columns[2:-1]:
            has_value = found[start][name].notna()
            np.testing.assert_allclose(
                found[start][name][has_value], known[name][has_value], rtol=1e-8, err_msg=name
            )
        assert found[start].loc["2024-05-20":, ["ema:200", "sma:96"]].notna().all(axis=None)
    for one in found.values():
        for name in ("ema:200", "macd:12,26,9.line", "sma:96", "vwap:2024-05-20"):
            same = found["2024-04-20"][name].reindex(one.index)
            both = one[name].notna() & same.notna()
            assert both.sum() > 500
            assert one[name][both].to_numpy().tobytes() == same[both].to_numpy().tobytes()


def test_a_lead_that_begins_a_little_before_the_history_is_a_lack(market: Market) -> None:
    manager = market.manager(short_history(market))
    asked = {"timeframe": "15m", "start": "2024-04-06", "end": "2024-04-08"}
    with pytest.warns(IncompleteDataWarning, match="too few bars before the range: BTCUSDT"):
        facts = ask(manager, "sma:150", **asked).attrs["onetape"]
    assert facts["symbols"]["BTCUSDT"]["complete"]
    assert facts["lead_missing"]["BTCUSDT"] == "binance serves 15m bars only 59 days back"
    assert facts["nan"]["BTCUSDT"]["sma:150"] == 149 - 96
    assert not facts["complete"]


@pytest.mark.parametrize("timeframe", ["1d", "1w"])
def test_the_sample_begins_after_its_block_and_no_value_lacks_anything(
    manager: DataManager, timeframe: str
) -> None:
    asked = {"timeframe": timeframe, "start": "2011-06-20", "end": "2011-06-30", "provider": "demo"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        frame = ask(manager, "rsi:14", "vol:20", symbol="AAPL", strict=True, **asked)
    facts = frame.attrs["onetape"]
    assert (facts["lead_missing"], facts["nan"], facts["complete"]) == ({}, {}, True)
    asked |= {"start": "2000-03-15", "end": "2011-06-30"}
    with pytest.warns(IncompleteDataWarning, match="too few bars before the range: AAPL"):
        early = ask(manager, "rsi:14", "vol:20", symbol="AAPL", **asked)
    assert 0 < early["vol:20"].isna().sum() < 20
    assert not early.attrs["onetape"]["complete"]
    both = early.set_index("timestamp").loc[frame["timestamp"]]
    spans = manager.coverage("AAPL", "1d", provider="demo")
    assert str(spans["start"].min())[:10] == "2000-03-01", "the sample is not said to have a hole"
    for name in ("rsi:14", "vol:20"):
        assert both[name].to_numpy().tobytes() == frame[name].to_numpy().tobytes()


def test_the_first_day_of_a_share_in_the_sample_is_its_listing(manager: DataManager) -> None:
    asked = {"timeframe": "1d", "start": "2004-08-16", "end": "2004-12-31", "provider": "demo"}
    with warnings.catch_warnings():
        warnings.simplefilter("error", IncompleteDataWarning)
        frame = ask(manager, "drawdown:listing", "sma:2", symbol="GOOG", strict=True, **asked)
    assert str(frame["timestamp"].iloc[0])[:10] == "2004-08-19"
    assert frame["drawdown:listing"].notna().all()
    found = manager.gaps("GOOG", "1d", provider="demo").gaps
    holes = [gap.evidence for gap in found if gap.gap_class == "vendor_hole"]
    assert set(holes) <= {"the data ends on 2013-03-01"}
    with pytest.warns(IncompleteDataWarning, match="demo has no bars before 2000-03-01"):
        manager.get_ohlcv("IBM", "1d", "2000-02-28", "2000-03-03", provider="demo")


@pytest.mark.parametrize("step", ["15m", "1h"])
@pytest.mark.parametrize("store", [False, True], ids=["computed", "kept"])
def test_a_lead_is_missing_only_if_a_value_is(
    market: Market, step: str, store: bool, tmp_path: Path
) -> None:
    vendor = FixedVendor(market.clock, every(step, "2024-03-01T00:00:00Z", _LAST), "binance")
    manager, kept = (
        market.manager(vendor),
        FrameStore(tmp_path / "frames", 1 << 20) if store else None,
    )
    wanted = ("rsi:14", "sma:20", "rsi:1", "vwap:session")
    for start, lacks in [("2024-03-20", False), ("2024-03-04", True), ("2024-03-20", False)]:
        asked = {"timeframe": step, "start": start, "end": "2024-03-22", "store": kept}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            facts = ask(manager, *wanted, **asked).attrs["onetape"]
        assert [("before the range" in str(one.message)) for one in caught] == [True] * lacks
        assert (bool(facts["nan"]), bool(facts["lead_missing"])) == (lacks, lacks)
        assert facts["complete"] is not lacks
    with pytest.raises(
        IncompleteDataError, match="too few bars before the range: BTCUSDT"
    ) as raised:
        ask(manager, *wanted, timeframe=step, start="2024-03-04", end="2024-03-05", strict=True)
    assert raised.value.frame is not None
    assert raised.value.frame["rsi:14"].isna().any()


def test_strict_features_name_a_symbol_that_failed(manager: DataManager) -> None:
    with pytest.raises(IncompleteDataError, match="1 of 2 symbols have no bars: NOPE1"):
        manager.features(["BTCUSDT", "NOPE1"], *DAY[1:], ["sma:2"], strict=True)


def test_a_date_whose_bars_are_missing_up_to_the_first_block_is_no_anchor(market: Market) -> None:
    first = at("2024-05-10T00:00:00Z") // (512 * 24 * 3_600_000) * 512 * 24 * 3_600_000
    missing = Span(at("2023-03-01T00:00:00Z"), first)
    manager = market.manager(_Hours(market.clock, [s for s in _HOURS if s not in missing]))
    with pytest.warns(IncompleteDataWarning, match="BTCUSDT: the vendor has no bar"):
        frame = ask(manager, "obv:2023-03-01", f"drawdown:{date_of(first)}")
    assert frame["obv:2023-03-01"].isna().all()
    assert frame[f"drawdown:{date_of(first)}"].notna().all()


@pytest.mark.parametrize("timeframe", ["15m", "45m"])
def test_a_listing_that_a_vendor_reports_is_one(market: Market, timeframe: str) -> None:
    vendor = FixedVendor(market.clock, _QUARTERS, "binance")
    vendor.listed_ms = _QUARTERS[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = ask(
            market.manager(vendor), "drawdown:listing", "ema:2", timeframe=timeframe,
            start="2023-06-02", end="2023-06-03",
        )  # fmt: skip
    assert frame.notna().all(axis=None)
    assert frame.attrs["onetape"]["complete"]
