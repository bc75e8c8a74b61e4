"""Backtrader's ``optstrategy`` on several processes: each process receives the whole data."""

from __future__ import annotations

import io
import multiprocessing
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

from src.data.core.model.answer.frame import build_frame
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.feed.backtrader.backtest import BacktestFeed
from tests.core.cache.counts import FULL
from tests.pages import pages

from .conftest import Stage

MONDAY = parse_iso("2024-06-10T00:00:00")
SPANS = (2, 3, 5)


class Waves:
    """A manager with sixty hours of one coin."""

    def get_ohlcv(self, *_: Any, **__: Any) -> pd.DataFrame:
        stamps = MONDAY + HOUR_MS * np.arange(60)
        close = 100 + 10 * np.sin(np.arange(60) / 4)
        return build_frame(BarTable(stamps, close, close + 1, close - 1, close, close))


class Averages(bt.Strategy):
    """Buys above its average, and keeps what it saw for its result."""

    params = (("span", 2),)

    def __init__(self) -> None:
        self.above = self.data.close > bt.ind.SMA(period=self.p.span)

    def next(self) -> None:
        if self.above[0] and not self.position:
            self.buy(size=1)
        elif not self.above[0] and self.position:
            self.close()


class Seen(bt.Analyzer):
    """What a run saw: how many bars, the first and the last close by time, the value at the end."""

    def start(self) -> None:
        self.bars: list[tuple[str, float]] = []

    def next(self) -> None:
        self.bars.append((self.data.datetime.datetime(0).isoformat(), self.data.close[0]))

    def stop(self) -> None:
        self.value = self.strategy.broker.getvalue()

    def get_analysis(self) -> tuple[Any, ...]:
        return len(self.bars), self.bars[0], self.bars[-1], self.value


# The lines that the page of live feeds shows for a run on several processors.
(BEFORE_THE_RUN,) = (block.code for block in pages()["live-feeds.md"] if ".strats" in block.code)


def optimization(processes: int) -> bt.Cerebro:
    cerebro = bt.Cerebro(maxcpus=processes)
    cerebro.adddata(BacktestFeed(Waves(), "BTCUSDT", "1h"))
    cerebro.optstrategy(Averages, span=SPANS)
    cerebro.addanalyzer(Seen)
    return cerebro


def results(processes: int, wanted: dict[str, Any]) -> list[tuple[int, Any]]:
    cerebro = optimization(processes)
    if processes > 1:
        exec(BEFORE_THE_RUN, {"cerebro": cerebro})
    runs = cerebro.run(**wanted)
    return [(run.p.span, run.analyzers[0].get_analysis()) for (run,) in runs]


@contextmanager
def started_by(method: str) -> Iterator[None]:
    """Have Backtrader start its processes by ``method``, whatever this Python's own is."""
    before = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(method, force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(before, force=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forks beside threads of other tests
@pytest.mark.parametrize(
    "wanted", [{}, {"optdatas": False}, {"preload": False}, {"optreturn": False}], ids=str
)
def test_two_processes_have_the_results_of_one(wanted: dict[str, Any]) -> None:
    with started_by("fork"):
        here, there = results(1, wanted), results(2, wanted)
    assert here == there
    assert [span for span, _ in there] == list(SPANS)
    assert {analysis[0] for _, analysis in there} == {60}
    assert {analysis[2][0] for _, analysis in there} == {"2024-06-12T12:00:00"}
    assert len({analysis[3] for _, analysis in there}) == len(SPANS)


# Each of their processes imports everything, which takes seconds: in a full run.
@pytest.mark.enable_socket  # the server of `forkserver` listens on a socket in the file system
@pytest.mark.skipif(not FULL, reason="in a full run")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_start_methods_have_the_same_results(method: str) -> None:
    with started_by(method):
        assert results(2, {}) == results(1, {})


class Sent(pickle.Pickler):
    """A pickler that notes the objects of ``itertools``, which Python 3.14 and newer do not pickle."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO())
        self.of_itertools: list[str] = []

    def reducer_override(self, item: Any) -> Any:
        if type(item).__module__ == "itertools":
            self.of_itertools.append(type(item).__name__)
            return list, ()
        return NotImplemented


def test_the_pages_two_lines_leave_nothing_of_itertools_to_send() -> None:
    cerebro = optimization(2)
    (without := Sent()).dump(cerebro)
    assert {"product", "count"} & set(without.of_itertools), (
        "Backtrader has changed: drop the lines"
    )
    exec(BEFORE_THE_RUN, {"cerebro": cerebro})
    (sent := Sent()).dump(cerebro)
    assert sent.of_itertools == []
    cerebro.adddata(BacktestFeed(Waves(), "BTCUSDT", "1h"))
    assert len({data._id for data in cerebro.datas}) == 2


def test_a_pickled_feed_can_be_used_in_another_process() -> None:
    sent = pickle.loads(pickle.dumps(BacktestFeed(Waves(), "BTCUSDT", "1h")))
    cerebro = bt.Cerebro()
    cerebro.adddata(sent)
    cerebro.addanalyzer(Seen)
    (run,) = cerebro.run()
    assert run.analyzers[0].get_analysis()[0] == 60
    assert (sent.stream.symbol, sent.timeframe, sent.is_running) == ("BTCUSDT", "1h", False)


def test_pickling_a_live_feed_raises_an_error_that_names_the_alternative(stage: Stage) -> None:
    feed = stage.manager.live_feed("BTCUSDT", "1m", 5)
    with pytest.raises(TypeError, match=r"BTCUSDT 1m belongs to one process.*use a BacktestFeed"):
        pickle.dumps(feed)
