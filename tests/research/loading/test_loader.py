"""Bars for a strategy: one door, many series, a failure of one is no failure of another."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from src.data.core.provider_selector import get_provider_selector
from src.data.data_manager import DataManager
from src.data.errors import DataError, QueryError
from src.data.research.loading.data_cache import DataCache
from src.data.research.loading.loader import SmartDataLoader
from tests.vendor_server import Fault, VendorServer

WEEK = date(2024, 6, 3), date(2024, 6, 7)


def bars(first: date, *closes: float) -> pl.DataFrame:
    """Return daily bars, one for each close."""
    days = [first + timedelta(days=n) for n in range(len(closes))]
    prices = {name: list(closes) for name in ("open", "high", "low", "close")}
    return pl.DataFrame({"date": days, **prices, "volume": [1] * len(closes)})


class Recorded:
    """A program's own cache: notes what it is asked for, and how many calls run at once."""

    def __init__(self, answers: dict[str, Any] | None = None, turns: int = 1) -> None:
        self.answers, self.turns = answers or {}, turns
        self.asked: list[tuple[str, str, date, date]] = []
        self.running = self.most = 0

    async def get_prices(self, symbol: str, timeframe: str, start: date, end: date) -> Any:
        self.asked.append((symbol, timeframe, start, end))
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            for _ in range(self.turns):
                await asyncio.sleep(0)
        finally:
            self.running -= 1
        answer = self.answers.get(symbol, bars(date(2024, 6, 3), 1.0, 2.0))
        if isinstance(answer, BaseException):
            raise answer
        return answer


def load(loader: SmartDataLoader, *question: Any) -> dict[str, dict[str, pl.DataFrame]]:
    """Return what a loader loads."""
    return asyncio.run(loader.load_strategy_data(*question))


def test_the_result_has_each_timeframe_of_each_symbol(manager: DataManager) -> None:
    loader = SmartDataLoader(DataCache(manager=manager))
    loaded = load(loader, ["MSFT", "AAPL", "MSFT"], ["1h", "1d"], *WEEK)
    assert list(loaded) == ["MSFT", "AAPL"]
    assert [list(frames) for frames in loaded.values()] == [["1h", "1d"]] * 2
    assert loaded["AAPL"]["1d"]["close"][-1] != loaded["MSFT"]["1d"]["close"][-1]
    assert loaded["AAPL"]["1d"]["date"][-1] == date(2024, 6, 7)
    assert loaded["AAPL"]["1h"]["timestamp"][-1].date() == date(2024, 6, 7)


@pytest.mark.parametrize(
    ("timeframe", "days"),
    [("1d", 200), ("1h", 30), ("15m", 7), ("5m", 3), ("1m", 1), ("4h", 30), ("1w", 30)],
)
def test_the_look_back_is_that_of_the_timeframe_in_calendar_days(timeframe: str, days: int) -> None:
    cache = Recorded()
    load(SmartDataLoader(cache), ["AAPL"], [timeframe], *WEEK)
    assert cache.asked == [("AAPL", timeframe, WEEK[0] - timedelta(days=days), WEEK[1])]


def test_each_timeframe_begins_at_its_own_look_back_with_any_cache(manager: DataManager) -> None:
    question = ["AAPL", "BTCUSDT"], ["1d", "1h"], *WEEK
    load(SmartDataLoader(cache := Recorded()), *question)
    days = {"1d": 200, "1h": 30}
    starts = {label: WEEK[0] - timedelta(days=count) for label, count in days.items()}
    assert sorted(asked[:3] for asked in cache.asked) == [
        (symbol, label, starts[label]) for symbol in question[0] for label in days
    ]
    frames = load(SmartDataLoader(DataCache(manager=manager)), *question)["BTCUSDT"]
    assert frames["1d"]["date"][0] == starts["1d"]
    assert frames["1h"]["timestamp"][0].date() == starts["1h"]


def test_at_most_twenty_run_at_once_over_all_calls_of_a_loader() -> None:
    cache = Recorded(turns=5)
    loader = SmartDataLoader(cache)

    async def both() -> None:
        names = [f"S{n}" for n in range(30)]
        await asyncio.gather(
            loader.load_strategy_data(names, ["1d"], *WEEK),
            loader.load_strategy_data(names, ["1h"], *WEEK),
        )

    asyncio.run(both())
    assert cache.most == 20
    assert len(cache.asked) == 60
    asyncio.run(both())  # another event loop has slots of its own
    assert len(cache.asked) == 120


@pytest.mark.parametrize(
    "wrong", [ValueError("no such thing"), KeyError("x"), None, [1, 2]], ids=lambda one: str(one)
)
def test_a_series_that_fails_is_empty_and_logged_once_and_the_others_are_whole(
    wrong: Any, caplog: pytest.LogCaptureFixture
) -> None:
    answers = {"BAD": wrong} if wrong is not None else {"BAD": 7}
    with caplog.at_level(logging.ERROR, "onetape.v2"):
        loaded = load(SmartDataLoader(Recorded(answers)), ["BAD", "GOOD"], ["1d"], *WEEK)
    assert not len(loaded["BAD"]["1d"]) and "close" in loaded["BAD"]["1d"].columns
    assert len(loaded["GOOD"]["1d"]) == 2
    errors = [one.getMessage() for one in caplog.records if one.levelno == logging.ERROR]
    assert len(errors) == 1 and errors[0].startswith("Failed to load BAD 1d: ")


def test_a_vendor_that_fails_for_one_symbol_leaves_the_others(
    manager: DataManager, vendors: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    vendors.fault("yahoo", Fault.status(404), symbol="MSFT", times=None)
    with caplog.at_level(logging.ERROR, "onetape.v2"):
        loaded = load(SmartDataLoader(DataCache(manager=manager)), ["AAPL", "MSFT"], ["1d"], *WEEK)
    assert len(loaded["AAPL"]["1d"]) > 100 and not len(loaded["MSFT"]["1d"])
    assert [one for one in caplog.messages if one.startswith("Failed to load MSFT 1d: ")]


def test_the_quality_log_names_empty_sparse_and_outlying_series(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = date(2024, 1, 1)
    flat = [100.0] * 300
    answers = {
        "EMPTY": pl.DataFrame(),
        "BTCUSDT": bars(first, *flat).gather_every(2),
        "ETHUSDT": bars(first, *flat).filter(pl.int_range(pl.len()) % 25 != 7),  # 4 % missing
        "HIGH": bars(first, *flat[:-1], 1001.0),
        "FINE": bars(first, *flat[:-1], 999.0),
        "LOW": bars(first, *flat[:-1], 9.9),
    }
    with caplog.at_level(logging.WARNING, "onetape.v2"):
        load(loader := SmartDataLoader(Recorded(answers)), list(answers), ["1d"], *WEEK)
    (text,) = [one for one in caplog.messages if one.startswith("Data quality issues found:")]
    assert "EMPTY 1d: No data" in text
    assert "BTCUSDT 1d: 49.8% missing data" in text or "BTCUSDT 1d: 50.0% missing data" in text
    assert "HIGH 1d: 1 price outliers in close" in text
    assert "LOW 1d: 1 price outliers in close" in text
    assert "ETHUSDT" not in text
    assert "FINE 1d: 1 price outliers" not in text
    caplog.clear()
    lone = {name: {"1d": answers[name]} for name in ("HIGH", "FINE", "LOW")}
    loader._validate_data_quality(lone, [(name, "1d") for name in lone])
    outliers = [line for line in text.splitlines() if "outliers" in line]
    assert caplog.messages[0].splitlines()[1:] == outliers, "in series that lack no bars, too"


def missing(name: str, frame: pl.DataFrame, timeframe: str, caplog: Any) -> float:
    """Return the percentage that the log says is missing; 0 if it says nothing."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "onetape.v2"):
        load(SmartDataLoader(Recorded({name: frame})), [name], [timeframe], *WEEK)
    found = re.findall(r"([\d.]+)% missing data", caplog.text)
    return float(found[0]) if found else 0.0


def quality(name: str, frame: pl.DataFrame, caplog: Any) -> list[str]:
    """Return what the quality log says about a frame."""
    caplog.clear()
    with caplog.at_level(logging.WARNING, "onetape.v2"):
        load(SmartDataLoader(Recorded({name: frame})), [name], ["1d"], *WEEK)
    return [line.split(": ", 1)[1] for text in caplog.messages for line in text.splitlines()[1:]]


@pytest.mark.parametrize(
    ("absent", "said"), [(49, []), (50, []), (51, ["5.1% missing data"])], ids=str
)
def test_more_than_a_twentieth_of_the_bars_is_said_to_be_missing(
    absent: int, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    whole = bars(date(2021, 1, 1), *[100.0] * 1000)
    thin = pl.concat([whole[:1], whole[1 + absent :]])
    assert quality("BTCUSDT", thin, caplog) == said


@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
@pytest.mark.parametrize(
    ("number", "usual", "odd", "is_outlier"),
    [
        # The outer hundredths of 401 prices begin with the fifth one from each end.
        (6, 200.0, 1999.0, False), (6, 200.0, 2001.0, True),
        (6, 50.0, 5.01, False), (6, 50.0, 4.99, True),
        (3, 200.0, 999.0, False), (3, 200.0, 1001.0, True),
        (3, 50.0, 10.01, False), (3, 50.0, 9.99, True),
    ],
)  # fmt: skip
def test_an_outlier_is_ten_times_beyond_the_outer_hundredths_of_a_column(
    number: int, usual: float, odd: float, is_outlier: bool, column: str,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Some prices next to the odd one are at the usual price; all others are at 100."""
    prices = [100.0] * (400 - number) + [usual] * number
    frame = bars(date(2021, 1, 1), *prices, 100.0)
    other = pl.Series([*prices, odd])
    found = quality("BTCUSDT", frame.with_columns(other.alias(column)), caplog)
    assert found == [f"1 price outliers in {column}"] * is_outlier


def test_missing_bars_are_counted_by_the_calendar_in_every_form_of_times_and_prices(
    caplog: pytest.LogCaptureFixture,
) -> None:
    flat = bars(date(2024, 1, 1), *[100.0] * 140)
    days = flat.filter(pl.col("date").dt.weekday() <= 5, pl.col("date") <= date(2024, 5, 3))
    # Of the 90 weekdays up to 3 May, the exchange is closed on 4; every third of the others stays.
    closed = [date(2024, 1, 1), date(2024, 1, 15), date(2024, 2, 19), date(2024, 3, 29)]
    days = days.filter(~pl.col("date").is_in(closed))
    assert len(days) == 86
    third = days.gather_every(3)
    span = days.filter(pl.col("date").is_between(third["date"][0], third["date"][-1]))
    expected = round((len(span) - len(third)) / len(span) * 100, 1)
    forms = {
        "dates": third,
        "stamps": third.with_columns(pl.col("date").cast(pl.Datetime("ns"))),
        "aware": third.with_columns(
            pl.col("date").cast(pl.Datetime("ms")).dt.replace_time_zone("UTC")
        ),
        "decimals": third.with_columns(pl.col("open", "close").cast(pl.Decimal(18, 4))),
        "integers": third.with_columns(pl.col("high").cast(pl.Int64)),
        "null": span.with_columns(
            pl.when(pl.col("date").is_in(third["date"].implode())).then("low")
        ),
        "nan": span.with_columns(
            close=pl.when(pl.col("date").is_in(third["date"].implode()))
            .then("close")
            .otherwise(float("nan"))
        ),
    }
    for name, frame in forms.items():
        assert missing("AAPL", frame, "1d", caplog) == expected, name
    assert missing("AAPL", days, "1d", caplog) == 0.0
    hours = pl.DataFrame(
        {
            "timestamp": pl.datetime_range(
                datetime(2024, 6, 3), datetime(2024, 6, 7), "2h", eager=True
            )
        }
    )
    hours = hours.with_columns(pl.lit(1.0).alias(name) for name in ("open", "high", "low", "close"))
    assert missing("BTCUSDT", hours, "1h", caplog) == round(48 / 97 * 100, 1)
    assert missing("BTCUSDT", hours.reverse(), "1h", caplog) == 0.0  # not ascending: not counted


def test_the_quality_log_searches_no_names_for_a_symbol_that_is_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nearest(*_: Any) -> Any:
        raise AssertionError("searched")

    monkeypatch.setattr("src.data.core.symbols.name_search.nearest", nearest)
    with pytest.raises(AssertionError, match="searched"):
        get_provider_selector().instrument("S17")
    assert len(load(SmartDataLoader(Recorded()), ["S17"], ["1d"], *WEEK)["S17"]["1d"]) == 2


def test_our_own_cache_is_asked_once_for_all_symbols_of_a_timeframe(manager: DataManager) -> None:
    class Counted(DataCache):
        """Notes its batches."""

        async def get_prices_batch(self, *question: Any) -> dict[str, pl.DataFrame | DataError]:
            asked.append(question[:2])
            return await super().get_prices_batch(*question)

    asked: list[Any] = []
    loaded = load(SmartDataLoader(Counted(manager=manager)), ["AAPL", "MSFT"], ["1d", "1h"], *WEEK)
    assert asked == [(["AAPL", "MSFT"], "1d"), (["AAPL", "MSFT"], "1h")]
    assert all(len(frame) for frames in loaded.values() for frame in frames.values())


def test_a_loader_needs_no_event_loop_to_be_built_and_leaves_nothing_behind(
    recwarn: pytest.WarningsRecorder,
) -> None:
    loader = SmartDataLoader(Recorded())

    async def loaded() -> int:
        await loader.load_strategy_data(["A", "B"], ["1d"], *WEEK)
        return len(asyncio.all_tasks())

    assert [asyncio.run(loaded()) for _ in range(20)] == [1] * 20
    gc.collect()
    assert not loader._slots  # those of loops that have ended
    assert not [one for one in recwarn if "never awaited" in str(one.message)]


@pytest.mark.parametrize(
    ("symbols", "timeframes", "start", "end"),
    [
        ("AAPL", ["1d"], *WEEK),
        (["AAPL"], "1d", *WEEK),
        (["AAPL"], ["7x"], *WEEK),
        (["AAPL"], ["1d"], WEEK[1], WEEK[0]),
        (["AAPL"], ["1d"], "2024-06-03", WEEK[1]),
    ],
)
def test_a_wrong_question_is_refused_before_anything_is_asked(
    symbols: Any, timeframes: Any, start: Any, end: Any
) -> None:
    cache = Recorded()
    with pytest.raises(DataError):
        load(SmartDataLoader(cache), symbols, timeframes, start, end)
    assert not cache.asked


def test_a_load_without_symbols_or_timeframes_is_empty() -> None:
    assert load(SmartDataLoader(Recorded()), [], ["1d"], *WEEK) == {}
    assert load(SmartDataLoader(Recorded()), ["A"], [], *WEEK) == {"A": {}}


def test_an_object_that_is_not_a_cache_is_refused(manager: DataManager) -> None:
    with pytest.raises(QueryError, match="object has no get_prices"):
        SmartDataLoader(object())
    with pytest.raises(QueryError, match="manager is a str"):
        DataCache(manager="x")  # type: ignore[arg-type]


def test_a_string_is_not_a_batch_of_its_letters(
    manager: DataManager, vendors: VendorServer
) -> None:
    week = date(2024, 6, 3), date(2024, 6, 7)
    with pytest.raises(QueryError, match="not the string 'AAPL'"):
        asyncio.run(DataCache(manager=manager).get_prices_batch("AAPL", "1d", *week))
    assert not vendors.count()


def test_an_error_of_a_batch_says_what_the_call_for_its_symbol_would_have_said(
    manager: DataManager, vendors: VendorServer
) -> None:
    week = date(2024, 6, 3), date(2024, 6, 7)
    manager.get_ohlcv("AAPL", "1d", *week)  # what is stored is proposed first, in both calls
    with pytest.raises(DataError) as alone:
        manager.get_ohlcv("APPL", "1d", *week)
    found = asyncio.run(DataCache(manager=manager).get_prices_batch(["APPL", "AAPL"], "1d", *week))
    error = found["APPL"]
    assert isinstance(error, type(alone.value)) and len(found["AAPL"]) == 5
    assert (error.reason, error.candidates) == (alone.value.reason, alone.value.candidates)
    assert error.candidates
