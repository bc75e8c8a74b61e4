"""A frame that is loaded once, when it is first used; and older strategies on new bars."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from datetime import date, datetime
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.research.frames.lazy import LazyDataFrame
from src.data.research.loading.data_cache import DataCache
from src.data.research.loading.v1 import V1CompatibilityAdapter


class Loader:
    """Loads ten rows, and counts how often."""

    def __init__(self, fails: int = 0) -> None:
        self.calls, self.fails = 0, fails

    def __call__(self) -> pl.DataFrame:
        self.calls += 1
        if self.calls <= self.fails:
            raise OSError("not now")
        return pl.DataFrame({"close": range(10)})


class Slicing(Loader):
    """A loader that can load some of the rows."""

    def load_slice(self, start: int, length: int | None = None) -> pl.DataFrame:
        return pl.DataFrame({"part": [start, length]})


def test_nothing_is_loaded_before_the_first_use_and_then_once() -> None:
    loader = Loader()
    frame = LazyDataFrame(loader, "AAPL:1d")
    assert repr(frame) == "<LazyDataFrame AAPL:1d, not loaded>"
    assert not loader.calls and not frame.is_loaded
    assert frame.height == 10 and frame["close"].sum() == 45 and len(frame) == 10
    assert [column.name for column in frame] == ["close"]
    assert loader.calls == 1 and repr(frame) == "<LazyDataFrame AAPL:1d, 10 rows>"


def test_threads_that_look_at_once_load_it_once() -> None:
    loader, frames, second = Loader(), [], threading.Event()

    def load() -> pl.DataFrame:
        """Load, once another call has begun or cannot begin."""
        found = loader()
        if loader.calls > 1:
            second.set()
        second.wait(0.2)
        return found

    frame = LazyDataFrame(load, "x")
    barrier = threading.Barrier(8)

    def look() -> None:
        barrier.wait()
        frames.append(frame.collect())

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loader.calls == 1 and len({id(one) for one in frames}) == 1


def test_a_slice_is_loaded_alone_if_the_loader_can_and_else_with_the_whole() -> None:
    slicing, whole = LazyDataFrame(Slicing(), "x"), LazyDataFrame(Loader(), "x")
    assert slicing.slice(2, 3).to_dict(as_series=False) == {"part": [2, 3]}
    assert not slicing.is_loaded
    assert whole.slice(7)["close"].to_list() == [7, 8, 9]
    assert whole.slice(-2, 1)["close"].to_list() == [8]
    assert slicing.height == 10 and slicing.slice(2, 3)["close"].to_list() == [2, 3, 4]


def test_a_loader_that_fails_is_asked_again_at_the_next_look() -> None:
    frame = LazyDataFrame(Loader(fails=1), "x")
    with pytest.raises(OSError, match="not now"):
        len(frame)
    assert len(frame) == 10


@pytest.mark.parametrize(
    "way", [copy.copy, copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))]
)
def test_copies_and_pickles_load_for_themselves(way: Any) -> None:
    frame = LazyDataFrame(Loader(), "x")
    assert len(frame) == 10
    other = way(frame)
    assert not other.is_loaded and len(other) == 10


def test_an_attribute_that_does_not_exist_is_an_attribute_error() -> None:
    frame = LazyDataFrame(Loader(), "x")
    with pytest.raises(AttributeError):
        _ = frame.nonsense
    assert not hasattr(LazyDataFrame(Loader(), "x"), "_nonsense")


# --- strategies of the first data layer -----------------------------------------------------------


def test_old_strategies_get_dates_and_plain_numbers(caplog: pytest.LogCaptureFixture) -> None:
    adapter = V1CompatibilityAdapter(None)
    frame = pl.DataFrame({
        "timestamp": [datetime(2024, 6, 3, 14, 30), datetime(2024, 6, 4, 14, 30)],
        "open": [1.0, 2.0], "close": ["1.5", "2.5"],
    }).with_columns(pl.col("close").cast(pl.Decimal(18, 8)))  # fmt: skip
    with caplog.at_level(logging.WARNING, "onetape.v2"):
        old = adapter.convert_to_v1_format(frame)
    assert isinstance(old, pd.DataFrame)
    assert old["date"].tolist() == [date(2024, 6, 3), date(2024, 6, 4)]
    assert type(old["date"][0]) is date
    assert old["close"].tolist() == [1.5, 2.5] and old["close"].dtype == float
    lacking = [one.rsplit(" for", 1)[0].split()[-1] for one in caplog.messages]
    assert lacking == ["high", "low", "volume"]
    old.loc[0, "open"] = 9.0
    assert frame["open"][0] == 1.0


class Crossing:
    """A strategy of the first data layer; buys where the close rises."""

    def get_config(self) -> dict[str, int]:
        return {"lag": 1}

    def compute_indicators(self, bars: pd.DataFrame, config: dict[str, int]) -> pd.DataFrame:
        return bars.assign(change=bars["close"].diff(config["lag"]))

    def generate_signals(self, bars: pd.DataFrame, config: dict[str, int]) -> pd.Series[Any]:
        return bars["change"] > 0

    def execute_trades(
        self, bars: pd.DataFrame, signals: pd.Series[Any], config: dict[str, int]
    ) -> list[date]:
        days: list[date] = bars["date"][signals].tolist()
        return days


def test_an_old_strategy_trades_on_new_bars(manager: DataManager) -> None:
    cache = DataCache(manager=manager)
    question = "AAPL", "1d", date(2024, 5, 6), date(2024, 5, 17)
    trades = asyncio.run(
        V1CompatibilityAdapter(cache).run_v1_strategy_on_v2_data(Crossing(), *question)
    )
    bars = manager.get_ohlcv(*question)
    rises = bars.index[bars["close"].diff() > 0]
    assert trades == [stamp.date() for stamp in rises] and trades


def test_what_is_no_strategy_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(QueryError, match=r"object has no get_config, compute_indicators"):
        asyncio.run(
            V1CompatibilityAdapter(None).run_v1_strategy_on_v2_data(
                object(), "AAPL", "1d", date(2024, 5, 6), date(2024, 5, 17)
            )
        )
