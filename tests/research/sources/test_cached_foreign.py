"""A program's own source, kept: what is asked for again, what is kept, and what no fault can mix."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.errors import (
    ConfigError,
    CorruptEntryError,
    ForeignError,
    NoDataAvailableError,
    QueryError,
    ResponseFormatError,
    UnavailableError,
)
from src.data.polars import PolarsDataPortal
from src.data.polars.parquet_daily_bars import PolarsParquetDailyReader
from src.data.research.sources.cached_source import CachedDataSource
from src.data.research.sources.frame_store import FrameStore
from src.data.research.sources.source_due import (
    AlwaysStaleFreshnessPolicy,
    CacheFreshnessPolicy,
    MarketCloseFreshnessPolicy,
    NeverStaleFreshnessPolicy,
    TTLFreshnessPolicy,
)
from tests.core.cache.disks import DyingDisk, FailingDisk, Killed

from .foreign_stage import DAYS, YEAR, Own, at, got, rows

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
    data = the_file(folder)
    assert (facts["size_bytes"], facts["bundle_path"]) == (data.stat().st_size, str(data))
    assert facts["row_count"] == pl.read_parquet(data).height == 500


def test_warm_cache_fetches_once_and_the_next_read_is_a_hit(folder: Path) -> None:
    own = cached(source := Own(), folder)
    asyncio.run(own.warm_cache(["AAPL", "MSFT"], *YEAR))
    got(own, ["AAPL", "MSFT"])
    assert len(source.asked) == 1
    assert own.statistics["hit_rate"] == 50.0


def test_a_cached_source_has_the_metadata_of_its_source(folder: Path) -> None:
    own = cached(Own(source_type="mine"), folder)
    assert own.get_metadata().source_type == own.name == "mine"
    assert (own.manager, own.provider, own.supports_live()) == (None, None, False)


# --- keys ---------------------------------------------------------------------------------------

# A timeframe, such as `1d`, is refused as a symbol.
NAMES = st.text(min_size=1, max_size=6).filter(
    lambda text: not re.fullmatch(r"\s*\d+\s*\w+\s*", text)
)
SYMBOLS = st.lists(NAMES, min_size=1, max_size=4, unique=True)
MOMENTS = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1))
QUESTIONS = st.tuples(SYMBOLS, MOMENTS, MOMENTS, st.sampled_from(["1m", "1h", "1d", "1M"]))


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


def closing_over(price: float) -> Any:
    """Return a source of a class that this call has made."""

    class Local:
        async def fetch(self, *_: Any) -> pl.DataFrame:
            return rows("AAPL", DAYS[:3]).with_columns(close=price)

    return Local()


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
        (lambda: Described(1), lambda: Described("1"), False),
        (lambda: Described({"a": [1]}), lambda: Described({"a": [2]}), False),
        (lambda: Described(rows), lambda: Described(rows), True),
        (lambda: Described(rows), lambda: Described(got), False),
        (lambda: Described(lambda: 1), lambda: Described(lambda: 2), False),
        (lambda: Described(threading.Lock()), lambda: Described(threading.Lock()), False),
        (lambda: Described(1), lambda: of_another_module()(1), False),
        (lambda: Described(rows("A", DAYS[:9])), lambda: Described(rows("A", DAYS[:9])), True),
        (lambda: Described(rows("A", DAYS[:9])), lambda: Described(rows("A", DAYS[:9], 1)), False),
        (lambda: closing_over(1.0), lambda: closing_over(2.0), False),
    ],
)
def test_two_sources_share_frames_if_class_and_arguments_are_the_same(
    one: Any, other: Any, *, is_same: bool
) -> None:
    first, second = (CachedDataSource(make()).generate_cache_key(**BASE) for make in (one, other))
    assert (first == second) is is_same


def test_classes_of_two_scripts_share_no_frames_because_of_their_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cls = type("Mine", (Vendor,), {"__module__": "__main__"})
    monkeypatch.setattr(sys.modules["__main__"], "Mine", cls, raising=False)

    def key(script: str) -> str:
        monkeypatch.setattr(sys.modules["__main__"], "__file__", script, raising=False)
        return CachedDataSource(cls("a")).generate_cache_key(**BASE)

    assert key("one.py") == key("one.py") != key("other.py")


def test_times_are_instants_in_a_key(folder: Path) -> None:
    own, noon = cached(Own(), folder), pd.Timestamp("2024-01-02 12:00")
    keys = {
        own.generate_cache_key(["A"], start, "2024-01-03", "1h")
        for start in (noon, "2024-01-02 12:00", noon.tz_localize("UTC").tz_convert("Asia/Tokyo"))
    }
    assert len(keys) == 1
    assert own.generate_cache_key(["A"], "2024-01-02 12:01", "2024-01-03", "1h") not in keys


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


def test_a_frame_cached_under_a_wrong_clock_is_requested_again(folder: Path) -> None:
    """It said that the bars were final; they had not closed."""
    source = Own([day for day in DAYS if day <= datetime(2024, 6, 11)])
    policy = NeverStaleFreshnessPolicy()
    got(cached(source, folder, policy, config=CALENDAR, clock=at("2030-01-01")), ["AAPL"], *TO_NOW)
    source.stamps = DAYS
    own = cached(source, folder, policy, config=CALENDAR, clock=at("2024-06-30"))
    assert got(own, ["AAPL"], *TO_NOW).height == 10


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
    assert not folder.exists()


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


class Plain(Own):
    """A source of bars alone, as floats: its frames can be made again."""

    async def fetch(self, *question: Any) -> pl.DataFrame:
        frame = await super().fetch(*question)
        return frame.drop("answer").with_columns(pl.col(pl.Decimal).cast(pl.Float64))


class Exact(Own):
    """A source of bars alone, with more digits than floats have."""

    async def fetch(self, *question: Any) -> pl.DataFrame:
        return (await super().fetch(*question)).drop("answer")


class Further(Own):
    """A source of floats with a column more."""

    async def fetch(self, *question: Any) -> pl.DataFrame:
        return (await super().fetch(*question)).with_columns(pl.col(pl.Decimal).cast(pl.Float64))


def the_file(folder: Path) -> Path:
    (path,) = folder.glob("cache_*.parquet")
    return path


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def of_another_program(path: Path) -> None:
    pl.DataFrame({"close": [1.0]}).write_parquet(path)


DAMAGES = [flip, Path.write_bytes, cut_short, of_another_program]


@pytest.mark.parametrize("damage", [*DAMAGES, Path.unlink])
def test_a_view_that_is_missing_damaged_or_foreign_is_requested_again(
    folder: Path, caplog: pytest.LogCaptureFixture, damage: Callable[..., object]
) -> None:
    own = cached(source := Plain(), folder)
    first = got(own)
    damage(the_file(folder), *([b""] if damage is Path.write_bytes else []))
    assert got(own).equals(first)
    assert len(source.asked) == 2
    assert ("is damaged" in caplog.text) is (damage is not Path.unlink)
    assert got(own).equals(first)
    assert len(source.asked) == 2


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_only_copy_is_set_aside_and_named(
    folder: Path, damage: Callable[..., object]
) -> None:
    own = cached(source := Own(), folder)
    first = got(own)
    path = the_file(folder)
    damage(path, *([b""] if damage is Path.write_bytes else []))
    bad = path.read_bytes()
    with pytest.raises(CorruptEntryError, match="only copy") as caught:
        got(own)
    (aside,) = folder.glob("cache_*.damaged")
    assert aside.read_bytes() == bad and str(aside) in str(caught.value)
    assert len(source.asked) == 1
    assert got(own).drop("answer").equals(first.drop("answer"))
    assert len(source.asked) == 2
    path.unlink()
    assert got(own).height == first.height
    assert aside.read_bytes() == bad


def test_a_killed_write_leaves_a_whole_frame_or_none(folder: Path) -> None:
    """At each of its steps; the frame before is still there."""
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
    assert lost == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_disk_that_fails_costs_no_answer(folder: Path, code: int) -> None:
    fails_at, refusals = 0, [Warning()]
    while refusals:
        fails_at += 1
        source = Own()
        place = folder / str(fails_at)
        own = cached(source, place, disk=FailingDisk(fails_at, code, for_ever=True))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert got(own).height == 250
        refusals = [Warning(str(one.message)) for one in caught]
        assert all(" stored in " in str(refusal) for refusal in refusals)
        assert len(source.asked) == 1
    assert fails_at > 5
    assert got(cached(other := Own(), place)).height == 250
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


def size_of(folder: Path) -> int:
    return sum(FrameStore(folder, 1).sizes().values())


def size_of_one(folder: Path) -> int:
    got(cached(Plain(), folder.with_name("other")))
    return size_of(folder.with_name("other"))


def test_the_least_used_is_dropped_and_never_the_newest(folder: Path) -> None:
    limit = {"cache.max_size_bytes": int(2.5 * size_of_one(folder))}
    own = cached(source := Plain(), folder, config=limit)
    for symbol in ("A", "B", "A", "C"):  # B is the least used when C comes
        got(own, [symbol])
    assert size_of(folder) <= limit["cache.max_size_bytes"]
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


@pytest.mark.parametrize("kind", [Exact, Further])
def test_an_only_copy_is_never_dropped(folder: Path, kind: type[Own]) -> None:
    own = cached(source := kind(), folder, config={"cache.max_size_bytes": 1})
    for symbol in ("A", "B", "A", "B"):
        got(own, [symbol])
    assert len(source.asked) == 2
    got(cached(Plain(), folder, config={"cache.max_size_bytes": 1}), ["C"])
    got(own, ["A"]), got(own, ["B"])
    assert len(source.asked) == 2


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
        (lambda: got(CachedDataSource(Own()), ["A", 1]), QueryError, "list of strings"),  # type: ignore[list-item]
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
    assert the_file(folder).stat().st_mode & 0o777 == 0o600
