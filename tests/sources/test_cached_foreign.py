"""A program's own source, kept: what is asked for again, what is kept, and what no fault can mix."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import re
import runpy
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.clock import ManualClock
from src.data.disk import lock as disk_lock
from src.data.disk.files import Disk
from src.data.errors import (
    ConfigError,
    ForeignError,
    NoDataAvailableError,
    ProviderTimeoutError,
    QueryError,
    ResponseFormatError,
    UnavailableError,
)
from src.data.polars import PolarsDataPortal
from src.data.polars.frame_cache import FrameCache
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.sources import (
    AlwaysStaleFreshnessPolicy,
    CachedDataSource,
    CacheFreshnessPolicy,
    MarketCloseFreshnessPolicy,
    NeverStaleFreshnessPolicy,
    TTLFreshnessPolicy,
    foreign_frames,
)
from tests.cache.disks import DyingDisk, FailingDisk, Killed
from tests.processes import ended, fork
from tests.programs import PYTHONPATH

from .foreign_stage import DAYS, YEAR, Own, at, got, minutes, rows

NOON = "2024-06-14 12:00"
_FORKING = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
TIMES = 1500 if os.environ.get("ONETAPE_FULL") else 20


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "frames"


def cached(source: Any, folder: Path, policy: Any = None, **options: Any) -> CachedDataSource:
    options.setdefault("clock", at(NOON))
    return CachedDataSource(source, folder, freshness_policy=policy, **options)


# --- hits and misses ----------------------------------------------------------------------------


def test_a_second_call_sends_no_request(folder: Path) -> None:
    """The printed calls; the frame comes back with each digit and column."""
    source = Own()

    async def program() -> tuple[pl.DataFrame, pl.DataFrame]:
        cached_source = CachedDataSource(
            adapter=source, cache_dir=str(folder), freshness_policy=MarketCloseFreshnessPolicy()
        )
        df1 = await cached_source.fetch(["AAPL"], YEAR[0], YEAR[1], "1d")
        df2 = await cached_source.fetch(["AAPL"], YEAR[0], YEAR[1], "1d")
        assert cached_source.statistics == {"hit_count": 1, "miss_count": 1, "hit_rate": 50.0}
        return df1, df2

    df1, df2 = asyncio.run(program())
    assert len(source.asked) == 1
    assert df1.equals(df2)
    assert df1.schema == df2.schema
    assert df2["close"][0] == Decimal("100.123456789012345678")
    assert df2["answer"].unique().to_list() == [1]
    assert got(CachedDataSource(source, folder)).equals(df1)
    assert len(source.asked) == 1


def test_the_facts_of_a_cached_frame_are_recorded(folder: Path) -> None:
    own = cached(Own(), folder)
    key = own.generate_cache_key(["MSFT", "AAPL"], *YEAR)
    assert own.find_cached_bundle(key) is None
    got(own, ["AAPL", "MSFT"])
    facts = own.find_cached_bundle(key)
    assert facts is not None
    assert facts == own.find_cached_bundle(facts["cache_key"])
    assert facts["cache_key"].startswith(key)
    assert (facts["bundle_name"], facts["symbols"]) == (f"cache_{key}", ["AAPL", "MSFT"])
    assert (facts["frequency"], facts["start"]) == ("1d", "2023-01-01T00:00:00")
    assert facts["fetch_timestamp"] == pd.Timestamp(NOON, tz="UTC").timestamp()
    data = folder / f"cache_{key}" / "data.parquet"
    assert facts["size_bytes"] == data.stat().st_size
    assert facts["row_count"] == pl.read_parquet(data).height == 500


def test_warm_cache_fetches_once_and_the_next_read_is_a_hit(folder: Path) -> None:
    own = cached(source := Own(), folder)
    asyncio.run(own.warm_cache(["AAPL", "MSFT"], *YEAR))
    got(own, ["AAPL", "MSFT"])
    assert len(source.asked) == 1
    assert own.statistics["hit_rate"] == 50.0


def test_a_source_that_streams_is_kept_as_others_are(folder: Path) -> None:
    own = cached(source := Own(source_type="stream", live=True), folder)
    assert own.supports_live()
    assert got(own).equals(got(own))
    assert len(source.asked) == 1


def test_a_cached_source_has_the_metadata_of_its_source(folder: Path) -> None:
    own = cached(Own(source_type="mine"), folder)
    assert own.get_metadata().source_type == own.name == "mine"
    assert (own.manager, own.provider, own.supports_live()) == (None, None, False)


# --- keys ---------------------------------------------------------------------------------------

SYMBOLS = st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=4, unique=True)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1))
QUESTIONS = st.tuples(SYMBOLS, MOMENTS, MOMENTS, st.sampled_from(["1m", "1h", "1d", "1M"]))


@settings(max_examples=TIMES, deadline=None)
@given(one=QUESTIONS, other=QUESTIONS, sources=st.tuples(st.text(min_size=1), st.text(min_size=1)))
def test_a_key_is_of_one_question(one: Any, other: Any, sources: tuple[str, str]) -> None:
    """Of another source, symbol, second or timeframe it is another; of another order the same."""
    questions = [(q[0], *sorted(q[1:3]), q[3]) for q in (one, other)]
    first, second = (CachedDataSource(Own([], name)) for name in sources)
    key = first._generate_cache_key(*questions[0])
    assert len(key) == 64
    assert first.generate_cache_key(*questions[0]) == key[:16]
    turned = (questions[0][0][::-1], *questions[0][1:])
    assert first._generate_cache_key(*turned) == key
    is_same = (set(one[0]), *questions[0][1:]) == (set(other[0]), *questions[1][1:])
    other_key = second._generate_cache_key(*questions[1])
    assert (other_key == key) is (is_same and sources[0] == sources[1])


@settings(max_examples=TIMES, deadline=None)
@given(
    one=QUESTIONS,
    other=QUESTIONS,
    sources=st.tuples(st.text(min_size=1), st.text(min_size=1)),
    sooner=st.timedeltas(timedelta(microseconds=1), timedelta(days=999)),
)
def test_a_key_has_each_field_of_its_question(
    one: Any, other: Any, sources: tuple[str, str], sooner: timedelta
) -> None:
    """Two questions that differ in one field alone, by however little, have two keys."""
    (symbols, timeframe), (first, last) = (one[0], one[3]), sorted(one[1:3])
    own, another = (CachedDataSource(Own([], name))._generate_cache_key for name in sources)
    key = own(symbols, first, last, timeframe)
    assert own(symbols, first - sooner, last, timeframe) != key
    assert own(symbols, first, last + sooner, timeframe) != key
    assert own([*symbols, "seventh"], first, last, timeframe) != key
    assert (own(other[0], first, last, timeframe) == key) is ({*other[0]} == {*symbols})
    assert (own(symbols, first, last, other[3]) == key) is (other[3] == timeframe)
    assert (another(symbols, first, last, timeframe) == key) is (sources[0] == sources[1])


BASE: dict[str, Any] = {
    "symbols": ["AAPL", "MSFT"],
    "start": datetime(2024, 1, 2),
    "end": datetime(2024, 3, 1),
    "frequency": "1d",
}


@pytest.mark.parametrize(
    "change",
    [
        {"symbols": ["AAPL"]},
        {"symbols": ["AAPL", "MSFT", "NVDA"]},
        {"start": datetime(2024, 1, 2, 0, 0, 1)},
        {"end": datetime(2024, 3, 1, 0, 0, 1)},
        {"frequency": "1h"},
    ],
)
def test_requests_that_differ_in_one_field_have_different_keys(change: dict[str, Any]) -> None:
    source = CachedDataSource(Own([]))
    assert source.generate_cache_key(**BASE) != source.generate_cache_key(**(BASE | change))


class Vendor:
    """A source that is no DataSource, and keeps its arguments as most classes do."""

    def __init__(self, host: str, *, factor: float = 1.0) -> None:
        self.host, self._factor = host, factor

    async def fetch(self, symbols: Any, start: Any, end: Any, frequency: str) -> pl.DataFrame:
        prices = dict.fromkeys(("open", "high", "low", "close"), pl.lit(100.0 * self._factor))
        return rows("AAPL", DAYS[:3]).with_columns(**prices)


class Opaque(Vendor):
    """A source whose arguments cannot be known."""

    def __init__(self, *parts: str) -> None:
        super().__init__(parts[0], factor=float(parts[1]))


class Described(Own):
    """A source of ours with several kinds of arguments."""

    def __init__(self, what: Any, factor: float = 1.0) -> None:
        super().__init__(DAYS[:3])
        self.factor = factor


class Hidden:
    """An object whose text does not show what it is."""

    def __init__(self, key: str) -> None:
        self.key = key

    def __repr__(self) -> str:
        return "Hidden(***)"


@dataclass
class Settings:
    """Arguments of which one is not shown."""

    host: str
    key: str = field(repr=False, default="")


def closing_over(price: float) -> Any:
    """Return a source of a class that this call has made."""

    class Local:
        async def fetch(self, *_: Any) -> pl.DataFrame:
            return rows("AAPL", DAYS[:3]).with_columns(close=price)

    return Local()


def hundred(middle: int) -> pl.DataFrame:
    """Return rows of which the text shows the first and the last."""
    return pl.DataFrame({"x": [middle if n == 50 else 0 for n in range(100)]})


def numbers(middle: float) -> Any:
    """Return the same as an array."""
    return np.array([middle if n == 2000 else 0.0 for n in range(5000)])


def endless() -> list[Any]:
    """Return a list that is in itself."""
    made: list[Any] = []
    made.append(made)
    return made


def of_another_module() -> type[Described]:
    """A class of the same name, in another module."""
    return type("Described", (Described,), {"__module__": "elsewhere"})


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (lambda: Vendor("a"), lambda: Vendor("a", factor=1.0), True),
        (lambda: Vendor("a"), lambda: Vendor("b"), False),
        (lambda: Vendor("a"), lambda: Vendor("a", factor=2.0), False),
        (lambda: Opaque("a", "1"), lambda: Opaque("a", "1"), False),
        (lambda: Described(1), lambda: Described(what=1, factor=1.0), True),
        (lambda: Described(1), lambda: Described(1, 2.0), False),
        (lambda: Described(1), lambda: Described("1"), False),
        (lambda: Described({"a": [1]}), lambda: Described({"a": [2]}), False),
        (lambda: Described({"a": {3, 1}}), lambda: Described({"a": {1, 3}}), True),
        (lambda: Described(Path("x")), lambda: Described(Path("x")), True),
        (lambda: Described(rows), lambda: Described(rows), True),
        (lambda: Described(rows), lambda: Described(got), False),
        (lambda: Described(lambda: 1), lambda: Described(lambda: 2), False),
        (lambda: Described(object()), lambda: Described(object()), False),
        (lambda: Described(1), lambda: of_another_module()(1), False),
        (lambda: Described(hundred(1)), lambda: Described(hundred(2)), False),
        (
            lambda: Described(hundred(1).to_pandas()),
            lambda: Described(hundred(2).to_pandas()),
            False,
        ),
        (lambda: Described(numbers(1)), lambda: Described(numbers(2)), False),
        (
            lambda: Described(re.compile("x" * 300 + "a")),
            lambda: Described(re.compile("x" * 300 + "b")),
            False,
        ),
        (lambda: Described(Hidden("a")), lambda: Described(Hidden("b")), False),
        (lambda: Described(Settings("h", "a")), lambda: Described(Settings("h", "b")), False),
        (lambda: Described(Settings("h", "a")), lambda: Described(Settings("h", "a")), True),
        (
            lambda: Described(pd.Timestamp("2024-01-02")),
            lambda: Described(pd.Timestamp("2024-01-02")),
            True,
        ),
        (lambda: Described(endless()), lambda: Described(endless()), False),
        (lambda: closing_over(1.0), lambda: closing_over(2.0), False),
    ],
)
def test_two_sources_share_frames_if_class_and_arguments_are_the_same(
    one: Any, other: Any, *, is_same: bool
) -> None:
    first, second = (CachedDataSource(make()).generate_cache_key(**BASE) for make in (one, other))
    assert (first == second) is is_same


SCRIPT = """
import sys
from src.data.sources import CachedDataSource

class Mine:
    async def fetch(self, *question):
        return None

print(CachedDataSource(Mine(), sys.argv[1]).generate_cache_key(["A"], "2024-01-02", "2024-01-03", "1d"))
"""


@_FORKING
def test_classes_of_two_scripts_share_no_frames_because_of_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each script is run in a child of its own."""
    monkeypatch.chdir(tmp_path)

    def run(script: str) -> None:
        sys.argv = [script, str(tmp_path / "frames")]
        with Path("printed").open("a") as sys.stdout:
            runpy.run_path(script, run_name="__main__")

    for name in ("one.py", "other.py"):
        Path(name).write_text(SCRIPT)
    for name in ("one.py", "one.py", "other.py"):
        assert ended(fork(partial(run, name))) == 0
    one, again, other = Path("printed").read_text().split()
    assert len(one) == 16 and one == again != other


def test_a_symbol_that_is_not_a_text_is_an_error_of_the_question(folder: Path) -> None:
    with pytest.raises(QueryError, match="invalid symbol 1; use a string"):
        got(cached(Own(), folder), ["AAPL", 1])  # type: ignore[list-item]


def test_two_instances_of_a_class_have_frames_of_their_own(folder: Path) -> None:
    question = ["AAPL"], *YEAR
    closes = [
        asyncio.run(cached(Vendor("a", factor=factor), folder).fetch(*question))["close"][0]
        for factor in (1.0, 2.0, 1.0)
    ]
    assert closes == [100.0, 200.0, 100.0]


def test_times_are_instants_in_a_key(folder: Path) -> None:
    own, noon = cached(Own(), folder), pd.Timestamp("2024-01-02 12:00")
    keys = {
        own.generate_cache_key(["A"], start, "2024-01-03", "1h")
        for start in (noon, "2024-01-02 12:00", noon.tz_localize("UTC").tz_convert("Asia/Tokyo"))
    }
    assert len(keys) == 1
    assert own.generate_cache_key(["A"], "2024-01-02 12:01", "2024-01-03", "1h") not in keys


def test_sources_and_hours_of_one_day_do_not_collide(folder: Path) -> None:
    one, other = Own(source_type="one"), Own(DAYS[:50], source_type="other")
    frames = [got(cached(source, folder)) for source in (one, other)]
    assert not frames[0].equals(frames[1])
    stamps = minutes("2024-01-02T14:30", 60)
    own = cached(Own(stamps), folder)
    early = got(own, ["AAPL"], stamps[0], stamps[9], "1m")
    late = got(own, ["AAPL"], stamps[20], stamps[29], "1m")
    assert (early["timestamp"][0], late["timestamp"][0]) == (stamps[0], stamps[20])


# --- what is asked for again --------------------------------------------------------------------


def test_without_a_calendar_the_policy_decides_about_the_whole(folder: Path) -> None:
    clock, source = at(NOON), Own()
    own = cached(source, folder, TTLFreshnessPolicy(3600), clock=clock)
    got(own)
    clock.advance(3599)
    assert got(own)["answer"][0] == 1
    clock.advance(1)
    assert got(own)["answer"][0] == 2
    assert source.asked[1][1:] == YEAR[:2]
    always = cached(source, folder, AlwaysStaleFreshnessPolicy(), clock=clock)
    assert got(always)["answer"][0] == 3
    assert got(always)["answer"][0] == 4


CALENDAR = {"mine.calendar": "NYSE"}
TO_NOW = (pd.Timestamp("2024-06-03"), pd.Timestamp("2024-06-14"), "1d")


def days_of(source: Own) -> list[str]:
    """Return from which day on each call asked."""
    return [str(start.date()) for _, start, _ in source.asked]


def test_final_history_is_not_refetched_even_by_an_always_stale_policy(folder: Path) -> None:
    own = cached(source := Own(), folder, AlwaysStaleFreshnessPolicy(), config=CALENDAR)
    first = got(own)
    assert got(own).equals(first)
    assert own.statistics["hit_rate"] == 50.0
    assert len(source.asked) == 1


def test_only_the_part_of_a_frame_that_is_not_final_is_requested_again(folder: Path) -> None:
    """Thursday's bar is final when Friday's session opens; Friday's is not, until Monday's does."""
    clock = at("2024-06-14 21:00")
    own = cached(source := Own(), folder, TTLFreshnessPolicy(3600), config=CALENDAR, clock=clock)
    assert got(own, ["AAPL", "MSFT"], *TO_NOW)["answer"].unique().to_list() == [1]
    clock.advance(3599)
    got(own, ["AAPL", "MSFT"], *TO_NOW)
    assert len(source.asked) == 1
    clock.advance(1)
    frame = got(own, ["AAPL", "MSFT"], *TO_NOW)
    assert days_of(source) == ["2024-06-03", "2024-06-13"]  # Thursday's is compared
    assert frame["answer"].to_list() == [*[1] * 9, 2] * 2
    assert frame["symbol"].to_list() == ["AAPL"] * 10 + ["MSFT"] * 10
    assert frame["timestamp"].to_list() == [day for day in DAYS if day >= TO_NOW[0]] * 2
    assert got(own, ["AAPL", "MSFT"], *TO_NOW).equals(frame)


def test_bars_that_have_become_final_are_requested_under_any_policy(folder: Path) -> None:
    clock = at("2024-06-12 15:00")  # before Wednesday's close: that bar is not there yet
    source = Own([day for day in DAYS if day <= datetime(2024, 6, 11)])
    own = cached(source, folder, NeverStaleFreshnessPolicy(), config=CALENDAR, clock=clock)
    assert got(own, ["AAPL"], *TO_NOW).height == 7
    source.stamps = DAYS
    assert got(own, ["AAPL"], *TO_NOW).height == 7
    clock.advance(24 * 3600)
    assert got(own, ["AAPL"], *TO_NOW).height == 10
    assert days_of(source) == ["2024-06-03", "2024-06-11"]
    assert got(own, ["AAPL"], *TO_NOW).height == 10
    assert len(source.asked) == 2


def test_a_hole_is_refetched_when_the_freshness_policy_allows(folder: Path) -> None:
    clock = at("2024-06-30 12:00")
    source = Own([day for day in DAYS if day.day != 6])
    own = cached(source, folder, TTLFreshnessPolicy(60), config=CALENDAR, clock=clock)
    got(own, ["AAPL"], *TO_NOW)
    got(own, ["AAPL"], *TO_NOW)
    assert len(source.asked) == 1
    source.stamps = DAYS
    clock.advance(60)
    assert got(own, ["AAPL"], *TO_NOW)["answer"].to_list() == [1, 1, 1, *[2] * 7]
    clock.advance(3600)
    got(own, ["AAPL"], *TO_NOW)
    assert days_of(source) == ["2024-06-03", "2024-06-05"]


def test_a_frame_cached_under_a_wrong_clock_is_requested_again(folder: Path) -> None:
    """It said that the bars were final; they had not closed."""
    source = Own([day for day in DAYS if day <= datetime(2024, 6, 11)])
    policy = NeverStaleFreshnessPolicy()
    got(cached(source, folder, policy, config=CALENDAR, clock=at("2030-01-01")), ["AAPL"], *TO_NOW)
    source.stamps = DAYS
    own = cached(source, folder, policy, config=CALENDAR, clock=at("2024-06-30"))
    assert got(own, ["AAPL"], *TO_NOW).height == 10


def test_bars_are_judged_final_at_the_time_of_the_request(folder: Path) -> None:
    """The source takes so long that they are final when they come."""
    clock, source = at("2024-06-14 15:00"), Own()

    async def take_days() -> None:
        clock.advance(5 * 86400)

    source.during = take_days
    own = cached(source, folder, NeverStaleFreshnessPolicy(), config=CALENDAR, clock=clock)
    got(own, ["AAPL"], *TO_NOW)
    got(own, ["AAPL"], *TO_NOW)
    assert days_of(source) == ["2024-06-03", "2024-06-13"]


def test_a_symbol_without_a_row_is_a_hole(folder: Path) -> None:
    class Half(Own):
        async def fetch(self, symbols: list[str], *question: Any) -> pl.DataFrame:
            frame = await super().fetch(symbols, *question)
            return frame.filter(pl.col("symbol") != "NONE") if len(self.asked) == 1 else frame

    own = cached(source := Half(), folder, AlwaysStaleFreshnessPolicy(), config=CALENDAR)
    assert got(own, ["AAPL", "NONE"])["symbol"].unique().to_list() == ["AAPL"]
    assert got(own, ["AAPL", "NONE"]).height == 500
    got(own, ["AAPL", "NONE"])
    assert len(source.asked) == 2


def test_only_the_newest_minutes_are_requested_again(folder: Path) -> None:
    stamps = minutes("2024-06-14T13:30", 390)
    clock, source = at("2024-06-14 14:00:30"), Own(stamps[:30])
    options = {"config": CALENDAR, "clock": clock}
    own = cached(source, folder, NeverStaleFreshnessPolicy(), **options)
    question = (pd.Timestamp("2024-06-14 09:30", tz="America/New_York"), stamps[-1], "1m")
    assert got(own, ["AAPL"], *question).height == 30
    assert got(own, ["AAPL"], *question).height == 30
    assert len(source.asked) == 1
    source.stamps = stamps[:35]
    clock.advance(300)
    assert got(own, ["AAPL"], *question).height == 35
    first = source.asked[1][1]
    assert (first, str(first.tz)) == (
        pd.Timestamp("2024-06-14 13:57", tz="UTC"),
        "America/New_York",
    )


def test_an_answer_with_other_columns_is_fetched_whole(folder: Path) -> None:
    class Changing(Own):
        async def fetch(self, *question: Any) -> pl.DataFrame:
            frame = await super().fetch(*question)
            return frame if len(self.asked) == 1 else frame.with_columns(pl.lit("x").alias("note"))

    options = {"config": CALENDAR, "clock": at("2024-06-14 21:00")}
    own = cached(source := Changing(), folder, AlwaysStaleFreshnessPolicy(), **options)
    got(own, ["AAPL"], *TO_NOW)
    assert got(own, ["AAPL"], *TO_NOW)["answer"].unique().to_list() == [3]
    assert days_of(source) == ["2024-06-03", "2024-06-13", "2024-06-03"]


class Adjusting(Own):
    """A source that divides all of a symbol's prices as soon as it knows of a split."""

    def __init__(self, *options: Any) -> None:
        super().__init__(*options)
        self.factors: dict[str, float] = {}

    async def fetch(self, symbols: Any, start: Any, end: Any, frequency: str) -> pl.DataFrame:
        dates = start.tz_localize(None), end.tz_localize(None)
        frame = await super().fetch(symbols, *dates, frequency)
        factor = pl.col("symbol").replace_strict(self.factors, default=1.0)
        names = ("open", "high", "low", "close")
        return frame.with_columns((pl.col(name).cast(pl.Float64) / factor) for name in names)


@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo"])
def test_prices_that_the_source_has_adjusted_meanwhile_are_all_requested_again(
    folder: Path, zone: str | None
) -> None:
    """A frame never has bars from before and after a split; a rounding error is not one."""
    source, clock = Adjusting(DAYS), at("2024-06-07 21:00")
    policy, symbols = AlwaysStaleFreshnessPolicy(), ["AAPL", "NVDA"]
    question = (
        pd.Timestamp("2024-06-03", tz=zone),
        pd.Timestamp("2024-06-14 23:00", tz=zone),
        "1d",
    )
    own = cached(source, folder, policy, config=CALENDAR, clock=clock)
    source.stamps = [day for day in DAYS if day <= datetime(2024, 6, 7)]
    got(own, symbols, *question)
    source.stamps, source.factors = DAYS, {"AAPL": 1 + 1e-7}
    clock.advance(4 * 86400)
    answers = got(own, symbols, *question)["answer"].to_list()
    assert answers == [*[1] * 4, *[2] * 6] * 2
    source.factors = {"NVDA": 10.0}
    clock.advance(86400)
    assert got(own, symbols, *question)["answer"].to_list() == [4] * 20
    assert [str(day) for day in days_of(source)] == [
        "2024-06-03", "2024-06-06", "2024-06-10", "2024-06-03",
    ]  # fmt: skip


def test_a_symbol_whose_last_final_bar_is_no_longer_returned_is_requested_whole(
    folder: Path,
) -> None:
    """Nothing shows that its earlier prices are still the same."""

    class Dropping(Own):
        async def fetch(self, *question: Any) -> pl.DataFrame:
            frame = await super().fetch(*question)
            is_dropped = (pl.col("symbol") == "MSFT") & (pl.col("timestamp").dt.day() == 13)
            return frame if len(self.asked) == 1 else frame.filter(~is_dropped)

    options = {"config": CALENDAR, "clock": at("2024-06-14 21:00")}
    own = cached(source := Dropping(), folder, AlwaysStaleFreshnessPolicy(), **options)
    got(own, ["AAPL", "MSFT"], *TO_NOW)
    assert got(own, ["AAPL", "MSFT"], *TO_NOW)["answer"].to_list() == [3] * 19
    assert days_of(source) == ["2024-06-03", "2024-06-13", "2024-06-03"]


class Mixed(Own):
    """A source of a share, which trades on weekdays, and of a coin, which trades on every day."""

    has_monday_of_share = True

    async def fetch(self, *question: Any) -> pl.DataFrame:
        frame = await super().fetch(*question)
        day = pl.col("timestamp")
        is_shut = day.dt.weekday() > 5
        if not self.has_monday_of_share:
            is_shut |= day == datetime(2024, 6, 10)
        return frame.filter((pl.col("symbol") == "BTC") | ~is_shut)


def test_a_share_that_rests_while_a_coin_trades_does_not_have_its_history_requested_again(
    folder: Path,
) -> None:
    clock = at("2024-06-10 21:00")  # Monday's bars are not final, and the share has none on Sunday
    source = Mixed([datetime(2024, 6, day) for day in range(3, 11)])
    policy, symbols = AlwaysStaleFreshnessPolicy(), ["AAPL", "BTC"]
    own = cached(source, folder, policy, config=CALENDAR, clock=clock)
    assert got(own, symbols, *TO_NOW).height == 6 + 8
    source.stamps.append(datetime(2024, 6, 11))
    clock.advance(86400)
    answers = got(own, symbols, *TO_NOW)["answer"].to_list()
    assert days_of(source) == ["2024-06-03", "2024-06-07"]
    assert answers == [*[1] * 5, 2, 2, *[1] * 7, 2, 2]


def test_the_newest_bar_of_a_share_stays_if_only_its_last_final_bar_is_returned(
    folder: Path,
) -> None:
    clock = at("2024-06-10 21:00")
    source = Mixed([datetime(2024, 6, day) for day in range(3, 11)])
    policy, symbols = AlwaysStaleFreshnessPolicy(), ["AAPL", "BTC"]
    own = cached(source, folder, policy, config=CALENDAR, clock=clock)
    before = got(own, symbols, *TO_NOW)
    source.has_monday_of_share = False
    clock.advance(3600)
    after = got(own, symbols, *TO_NOW)
    assert days_of(source) == ["2024-06-03", "2024-06-07"]
    assert after.drop("answer").equals(before.drop("answer"))
    assert after["answer"].to_list() == [*[1] * 6, *[1] * 7, 2]


def test_a_policy_of_two_times(folder: Path) -> None:
    class MyCustomFreshnessPolicy(CacheFreshnessPolicy):
        def is_fresh(self, cache_time: pd.Timestamp, current_time: pd.Timestamp) -> bool:  # type: ignore[override]
            return (current_time - cache_time).total_seconds() < 7200  # 2 hours

    clock = at(NOON)
    own = cached(source := Own(), folder, MyCustomFreshnessPolicy(), clock=clock)
    got(own)
    clock.advance(7199)
    got(own)
    assert len(source.asked) == 1
    clock.advance(1)
    got(own)
    assert len(source.asked) == 2


# --- one asks, the others wait ------------------------------------------------------------------


def test_concurrent_callers_send_one_request(folder: Path) -> None:
    own = cached(source := Own(), folder)

    async def program() -> list[pl.DataFrame]:
        calls = (own.fetch(["AAPL"], *YEAR) for _ in range(20))
        return list(await asyncio.gather(*calls))

    frames = asyncio.run(program())
    assert all(frame.equals(frames[0]) for frame in frames)
    assert len(source.asked) == 1
    assert own.statistics == {"hit_count": 19, "miss_count": 1, "hit_rate": 95.0}


def test_callers_in_several_event_loops_send_one_request(folder: Path) -> None:
    """Each thread has a loop of its own; the frame is another's, or that of the folder."""
    own, begin = cached(source := Own(), folder), threading.Barrier(4)
    frames = list[pl.DataFrame]()

    def work() -> None:
        begin.wait(10)
        frames.append(got(own))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(frames) == 4
    assert len(source.asked) == 1


def test_a_waiting_caller_takes_over_from_a_cancelled_one(folder: Path) -> None:
    own, go = cached(source := Own(), folder), asyncio.Event()
    source.during = go.wait

    async def program() -> pl.DataFrame:
        first = asyncio.create_task(own.fetch(["AAPL"], *YEAR))
        while not source.asked:
            await asyncio.sleep(0)
        second = asyncio.create_task(own.fetch(["AAPL"], *YEAR))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        go.set()
        return await second

    assert asyncio.run(program()).height == 250
    assert len(source.asked) == 2
    assert got(own).height == 250
    assert len(source.asked) == 2


def test_a_failure_is_that_of_all_that_wait(folder: Path) -> None:
    own = cached(source := Own(), folder)
    source.error = ValueError("no such key")

    async def program() -> list[Any]:
        calls = (own.fetch(["AAPL"], *YEAR) for _ in range(3))
        return list(await asyncio.gather(*calls, return_exceptions=True))

    assert {type(error) for error in asyncio.run(program())} == {ForeignError}
    assert len(source.asked) == 1
    source.error = None
    assert got(own).height == 250


def test_a_process_waits_for_the_request_of_another(folder: Path) -> None:
    """Two objects share nothing but the folder, as two processes do."""
    one, other = Own(), Own()
    first, second = cached(one, folder), cached(other, folder)
    is_asked = asyncio.Event()

    async def let_the_other_try() -> None:
        with pytest.raises(TimeoutError):  # it does not: it waits
            await asyncio.wait_for(is_asked.wait(), 0.05)

    async def tell() -> None:
        is_asked.set()

    async def program() -> None:
        one.during, other.during = let_the_other_try, tell
        begun = asyncio.create_task(first.fetch(["AAPL"], *YEAR))
        while not one.asked:
            await asyncio.sleep(0)
        waiting = asyncio.create_task(second.fetch(["AAPL"], *YEAR))
        assert (await begun).equals(await waiting)

    asyncio.run(program())
    assert (len(one.asked), len(other.asked)) == (1, 0)


@_FORKING
def test_a_forked_child_waits_for_the_lock_of_its_parent(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, key = frames(folder), "0" * 64
    (begun, begin), (output, into) = os.pipe(), os.pipe()

    def report() -> AbstractContextManager[None]:
        os.write(into, b"waits ")
        return nullcontext()

    def work() -> None:
        monkeypatch.setattr(disk_lock, "waiting", report)
        os.read(begun, 1)
        with cache.lock(key):
            os.write(into, b"child")

    child = fork(work)
    with cache.lock(key):
        os.write(begin, b"1")
        assert os.read(output, 6) == b"waits "
        os.write(into, b"parent ")
    assert ended(child) == 0
    assert os.read(output, 1000).replace(b"waits ", b"") == b"parent child"
    for end in (begun, begin, output, into):
        os.close(end)


FORKED = """
import asyncio, os, sys
from pathlib import Path
from src.data.sources import CachedDataSource
from tests.sources.foreign_stage import YEAR, Own, got

log, source = Path(sys.argv[1], "asked"), Own()

async def note():
    with log.open("a") as file:
        file.write("asked\\n")
    await asyncio.sleep(0.02)

source.during = note
own = CachedDataSource(source, sys.argv[1])
child = os.fork()
height = got(own).height
if child == 0:
    os._exit(0 if height == 250 else 1)
assert height == 250 and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print(log.read_text().count("asked"))
"""


@_FORKING
def test_a_forked_child_waits_for_its_parent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": PYTHONPATH},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.stdout == "1\n", done.stderr


# --- faults -------------------------------------------------------------------------------------


def test_a_wrong_answer_of_a_source_is_not_cached(folder: Path) -> None:
    class Strange(Own):
        frame: Any = None

        async def fetch(self, *question: Any) -> Any:
            await super().fetch(*question)
            return self.frame

    own = cached(source := Strange(), folder)
    for frame, kind in (
        (None, ResponseFormatError), (pl.DataFrame({"a": [1]}), ResponseFormatError),
        (pl.DataFrame(), ResponseFormatError),
    ):  # fmt: skip
        source.frame = frame
        with pytest.raises(kind):
            got(own)
    empty = cached(Own([]), folder)
    for _ in range(2):
        with pytest.raises(NoDataAvailableError):
            got(empty)
    assert len(empty.adapter.asked) == 2
    assert not [name for name in os.listdir(folder) if name.startswith("cache_")]


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (ValueError("no such key"), ForeignError, "ValueError: no such key"),
        (UnavailableError("down"), UnavailableError, "down"),
        (asyncio.CancelledError(), ForeignError, "CancelledError"),
    ],
)
def test_a_source_that_fails_is_one_error(
    folder: Path, error: BaseException, kind: type[Exception], text: str
) -> None:
    own = cached(source := Own(), folder)
    source.error = error
    with pytest.raises(kind, match=text):
        got(own)
    source.error = None
    assert got(own).height == 250


def test_a_source_that_hangs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign_frames, "PATIENCE_S", 0.02)
    own = cached(source := Own(), folder)
    source.during = asyncio.Event().wait
    with pytest.raises(ProviderTimeoutError, match="no answer within"):
        got(own)
    source.during = None
    assert got(own).height == 250


def the_file(folder: Path, name: str) -> Path:
    (path,) = folder.glob(f"cache_*/{name}")
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def be_newer(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 9}))


def be_younger(path: Path) -> None:
    facts = json.loads(path.read_text())
    path.write_text(json.dumps(facts | {"fetch_timestamp": facts["fetch_timestamp"] + 9}))


@pytest.mark.parametrize(
    ("name", "damage", "is_named"),
    [
        ("data.parquet", flip, True),
        ("data.parquet", lambda path: path.write_bytes(b""), True),
        ("data.parquet", Path.unlink, False),  # orphaned metadata
        ("metadata.json", Path.unlink, False),
        ("metadata.json", lambda path: path.write_text("{"), True),
        ("metadata.json", lambda path: path.write_text("[1]"), True),
        ("metadata.json", be_newer, True),
        ("metadata.json", be_younger, True),
        ("last_accessed", lambda path: path.write_text("x"), None),
    ],
)
def test_a_damaged_frame_is_reported_and_fetched_again(
    folder: Path, caplog: pytest.LogCaptureFixture,
    name: str, damage: Callable[[Path], object], is_named: bool | None,
) -> None:  # fmt: skip
    own = cached(source := Own(), folder)
    first = got(own)
    damage(the_file(folder, name))
    again = got(own)
    assert again.drop("answer").equals(first.drop("answer"))
    assert len(source.asked) == (1 if is_named is None else 2)
    assert ("is damaged" in caplog.text) is bool(is_named)
    assert got(own).equals(again)


def test_a_killed_write_leaves_a_whole_frame_or_none(folder: Path) -> None:
    """At each of its steps; but for those between its two files the frame before is still there."""
    got(cached(Own(), folder))
    dies_at = lost = 0
    is_killed = True
    while is_killed:
        dies_at += 1
        source = Own()
        source.asked = [(["AAPL"], *YEAR[:2])] * dies_at  # its answer differs from the one before
        own = cached(source, folder, AlwaysStaleFreshnessPolicy(), disk=DyingDisk(dies_at))
        try:
            got(own)
            is_killed = False
        except Killed:
            frame = got(cached(other := Own(), folder, NeverStaleFreshnessPolicy()))
            assert frame.height == 250
            assert frame["answer"].n_unique() == 1
            lost += len(other.asked)
    assert dies_at > 5
    assert lost <= 3
    assert not list(folder.glob("cache_*/.*.tmp"))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_costs_no_answer(folder: Path, code: int) -> None:
    fails_at, refusals = 0, [Warning()]
    while refusals:
        fails_at += 1
        source = Own()
        own = cached(source, folder, disk=FailingDisk(fails_at, code, for_ever=True))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert got(own).height == 250
        refusals = [Warning(str(one.message)) for one in caught]
        assert all(" stored in " in str(refusal) for refusal in refusals)
        assert len(source.asked) == 1
    assert fails_at > 5
    assert got(cached(other := Own(), folder)).height == 250
    assert not other.asked


def test_a_frame_that_parquet_cannot_store_is_returned_with_a_warning(folder: Path) -> None:
    class Objects(Own):
        async def fetch(self, *question: Any) -> pl.DataFrame:
            frame = await super().fetch(*question)
            notes = pl.Series("note", [object()] * frame.height, dtype=pl.Object)
            return frame.with_columns(notes)

    own = cached(source := Objects(), folder)
    for _ in range(2):
        with pytest.warns(UserWarning, match="the frame cannot be stored as Parquet"):
            assert got(own).height == 250
    assert len(source.asked) == 2


# --- the limit ----------------------------------------------------------------------------------


def frames(folder: Path) -> FrameCache:
    return FrameCache(folder, 1 << 30)


def size_of_one(folder: Path) -> int:
    own = cached(Own(), folder.with_name("other"))
    got(own)
    return frames(folder.with_name("other")).size_bytes()


def test_the_least_used_is_dropped_and_never_the_newest(folder: Path) -> None:
    limit = {"cache.max_size_bytes": int(2.5 * size_of_one(folder))}
    own = cached(source := Own(), folder, config=limit)
    for symbol in ("A", "B", "A", "C"):  # B is the least used when C comes
        got(own, [symbol])
    assert frames(folder).size_bytes() <= limit["cache.max_size_bytes"]
    asked = len(source.asked)
    got(own, ["A"])
    got(own, ["C"])
    assert len(source.asked) == asked
    got(own, ["B"])
    assert len(source.asked) == asked + 1
    (other := folder / "cache_0123456789abcdef").mkdir()
    (other / "data.parquet").write_text("of another program")
    tiny = cached(source, folder, config={"cache.max_size_bytes": 1})
    got(tiny, ["D"])
    got(tiny, ["D"])
    assert len(source.asked) == asked + 2
    assert len(list(folder.glob("cache_*"))) == 2
    assert (other / "data.parquet").exists()


def test_a_frame_in_use_is_not_evicted(folder: Path) -> None:
    own = cached(Own(), folder, config={"cache.max_size_bytes": 1})
    got(own, ["A"])
    key = own._generate_cache_key(["A"], *YEAR)
    other = frames(folder)
    with other.lock(key):
        got(own, ["B"])
        assert other.metadata(key) is not None
    got(own, ["C"])
    assert other.metadata(key) is None


def test_a_folder_that_is_nearly_full_is_named_once(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    own = cached(Own(), folder, config={"cache.max_size_bytes": int(3.2 * size_of_one(folder))})
    caplog.clear()
    for symbol in ("A", "B"):
        got(own, [symbol])
    assert not caplog.text
    for symbol in ("C", "D", "E"):
        got(own, [symbol])
    assert caplog.text.count("cache.max_size_bytes allows more") == 1


# --- where it works -----------------------------------------------------------------------------


def test_a_portal_over_a_kept_source(folder: Path) -> None:
    source = Own(DAYS)

    def prices() -> list[Any]:
        portal = PolarsDataPortal(data_source=cached(source, folder), use_cache=True)
        spot = portal.get_spot_value(["AAPL", "MSFT"], "close", pd.Timestamp("2023-02-01"), "1d")
        portal.get_history_window(["AAPL"], pd.Timestamp("2023-02-01"), 20, "1d", "close", "1d")
        return list(spot)

    first, asked = prices(), len(source.asked)
    assert str(first[0]).endswith(".12345679")
    assert prices() == first
    assert len(source.asked) == asked


@pytest.mark.parametrize("in_a_loop", [False, True])
def test_cached_bars_are_ingested_into_a_bundle_with_and_without_a_loop(
    folder: Path, tmp_path: Path, in_a_loop: bool
) -> None:
    """A bundle is written of the frame that is kept, in a thread with a loop and without."""
    own, bundles = cached(source := Own(), folder), tmp_path / "bundles"
    got(own)

    async def program() -> Path:
        task = own.ingest_to_bundle("mine", ["AAPL"], *YEAR, folder=bundles)
        assert isinstance(task, asyncio.Task)
        return await task

    def write() -> Any:
        if in_a_loop:
            return asyncio.run(program())
        return own.ingest_to_bundle("mine", ["AAPL"], *YEAR, folder=bundles)

    with pytest.warns(UserWarning, match="rounded to eight decimals"):
        path = write()
    assert path == bundles / "mine"
    assert len(source.asked) == 1
    bars = PolarsParquetDailyReader(path).load_daily_bars([1], YEAR[0].date(), YEAR[1].date())
    assert bars.height == 250


def test_the_folder_of_cached_frames_is_the_default_or_the_given_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("DATA_CACHE_DIR", str(tmp_path / "caches" / "onetape"))
    default = CachedDataSource(Own()).cache_dir
    assert default == tmp_path / "caches" / "onetape-foreign"
    assert not default.exists()
    named = CachedDataSource(Own(), cache_dir="~/.rustybt/cache").cache_dir
    assert named == tmp_path / "home" / ".rustybt" / "cache"
    with pytest.raises(ConfigError, match="is inside the cache folder"):
        CachedDataSource(Own(), tmp_path / "caches" / "onetape" / "frames")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file"):
        CachedDataSource(Own(), tmp_path / "file")
    with pytest.raises(ConfigError, match="is empty"):
        CachedDataSource(Own(), "")


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: CachedDataSource(None), QueryError, "adapter of type NoneType has no fetch"),
        (lambda: CachedDataSource(CachedDataSource(Own())), QueryError, "is cached already"),
        (lambda: CachedDataSource(Own(), freshness_policy=5), QueryError, "has no method is_fresh"),
        (lambda: CachedDataSource(Own(), config={"cache.size": 1}), ConfigError, "cache.size"),
        (lambda: CachedDataSource(Own()).find_cached_bundle("../x"), QueryError, "invalid cache key"),
        (lambda: got(CachedDataSource(Own()), []), QueryError, "symbols must be a list"),
        (lambda: got(CachedDataSource(Own()), ["A"], 5, "x", "1d"), QueryError, "invalid start or end"),
        (
            lambda: got(CachedDataSource(Own()), ["A"], YEAR[1], YEAR[0], "1d"),
            QueryError, "is not before",
        ),
    ],
)  # fmt: skip
def test_invalid_arguments_of_a_cached_source_raise(
    make: Any, kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind, match=text):
        make()


def test_a_clock_and_a_disk_of_the_program(folder: Path) -> None:
    own = CachedDataSource(Own(), folder, clock=ManualClock(0), disk=Disk(private=True))
    got(own)
    assert the_file(folder, "data.parquet").stat().st_mode & 0o777 == 0o600


def test_an_invalid_time_of_last_use_does_not_affect_the_frame(folder: Path) -> None:
    own = cached(Own(DAYS[:3]), folder)
    got(own)
    (path,) = folder.rglob("last_accessed")
    for stamp in ("9" * 5000, "x", "-1", ""):
        path.write_text(stamp)
        own = cached(Own(DAYS[:3]), folder)  # the first one knows when it used the frame
        facts = own.find_cached_bundle(own.generate_cache_key(["AAPL"], *YEAR))
        assert facts is not None and facts["last_accessed"] == 0
        assert len(got(own)) > 0
        got(own, ["MSFT"])
