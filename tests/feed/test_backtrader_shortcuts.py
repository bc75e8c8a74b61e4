"""Shortcuts around Backtrader's own code: every setting gives the same run as plain Backtrader."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import datetime, time
from typing import Any

import backtrader as bt
import pytest

from src.data.core.model.market.stream import StreamState, StreamStatus
from src.data.feed.backtrader.feed import BacktraderFeed, run_live
from src.data.feed.live_feed import LiveFeed
from tests.core.cache.counts import crossed
from tests.feed.hands import LIVE, Hand, minute

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow

_TICKS = [f"tick_{name}" for name in (*bt.DataBase.lines.getlinealiases(), "last")]
_STALE = StreamStatus(StreamState.STALE)
_BARS = [minute(n) for n in range(200) if n not in (3, 4, 9, 50, 51, 52, 53, 54, 55, 120)]


class Plain(BacktraderFeed):
    """The same data with everything of Backtrader's own that we have a shorter way for."""

    __len__ = bt.DataBase.__len__
    _tick_fill = bt.DataBase._tick_fill

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        del self.datetime, self.buflen


class Recorder(bt.Strategy):  # type: ignore[misc]
    """Trades, and writes down all that can be known of its datas at every step."""

    params = (("seen", None),)

    def __init__(self) -> None:
        self.means = [bt.indicators.SMA(data.close, period=3) for data in self.datas]
        self.ranges = [bt.indicators.ATR(data, period=2) for data in self.datas]

    def next(self) -> None:
        for data, mean, spread in zip(self.datas, self.means, self.ranges, strict=True):
            lines = [line[0] for line in data.lines if len(data)]
            ticks = [getattr(data, name, "unset") for name in _TICKS]
            known = [indicator[0] for indicator in (mean, spread) if len(indicator)]
            self.p.seen.append(repr((len(data), data.buflen(), lines, ticks, known)))
        if len(self.data) % 6 == 1:
            self.buy(exectype=bt.Order.Limit, price=self.data.close[0] - 2.5)
            self.sell(exectype=bt.Order.Stop, price=self.data.close[0] - 1.5)

    prenext = next

    def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
        self.p.seen.append((len(data), data._getstatusname(status), kwargs))

    def notify_order(self, order: Any) -> None:
        done = order.executed
        self.p.seen.append((order.ref - self.first_ref(), order.status, done.dt, done.price))

    def first_ref(self) -> int:
        """Return the number of this run's first order: Backtrader counts on from run to run."""
        self.refs = getattr(self, "refs", None) or min(o.ref for o in self.broker.orders)
        return int(self.refs)


Setting = Callable[[Any, type[BacktraderFeed]], None]


def feed(kind: type[BacktraderFeed], every: int = 1, label: str = "1m", **wanted: Any) -> Any:
    half = len(_BARS) // 2
    items = [LIVE, *_BARS[:half:every], _STALE, LIVE, *_BARS[half::every]]
    return kind(LiveFeed("BTCUSDT", label, Hand(items, ends=True)), **wanted)


def alone(**wanted: Any) -> Setting:
    return lambda cerebro, kind: cerebro.adddata(feed(kind, **wanted))


def several(cerebro: Any, kind: type[BacktraderFeed]) -> None:
    for every, label in ((1, "1m"), (5, "5m"), (3, "1m")):
        cerebro.adddata(feed(kind, every, label))


def grouped(way: str, *, beside: bool) -> Setting:
    def add(cerebro: Any, kind: type[BacktraderFeed]) -> None:
        data = feed(kind)
        if beside:
            cerebro.adddata(data)
        getattr(cerebro, way)(data, timeframe=bt.TimeFrame.Minutes, compression=5)

    return add


def filtered(cerebro: Any, kind: type[BacktraderFeed]) -> None:
    data = feed(kind)
    data.addfilter(bt.filters.SessionFilter)
    data.addfilter(bt.filters.HeikinAshi)
    cerebro.adddata(data)


_SETTINGS: dict[str, Setting] = {
    "alone": alone(),
    "dates": alone(fromdate=datetime(2024, 6, 10, 0, 20), todate=datetime(2024, 6, 10, 2)),
    "zone": alone(tz="America/New_York", sessionstart=time(9, 30), sessionend=time(16)),
    "zone of input": alone(tzinput="Europe/Berlin"),
    "several": several,
    "resampled": grouped("resampledata", beside=False),
    "resampled beside": grouped("resampledata", beside=True),
    "replayed": grouped("replaydata", beside=False),
    "replayed beside": grouped("replaydata", beside=True),
    "filters": filtered,
}  # fmt: skip


def run(kind: type[BacktraderFeed], setting: Setting, **wanted: Any) -> list[Any]:
    """Return what a strategy, its observers, analyzers and a writer know of a run."""
    seen: list[Any] = []
    written = io.StringIO()
    cerebro = bt.Cerebro()
    setting(cerebro, kind)
    cerebro.addstrategy(Recorder, seen=seen)
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer)
    cerebro.addanalyzer(bt.analyzers.Transactions)
    cerebro.addwriter(bt.WriterFile, csv=True, out=written)
    (strategy,) = run_live(cerebro, **wanted)
    seen += [repr(analyzer.get_analysis()) for analyzer in strategy.analyzers]
    return [*seen, *written.getvalue().replace(Plain.__name__, BacktraderFeed.__name__).split("\n")]


@pytest.mark.parametrize("setting", _SETTINGS)
def test_each_setting_gives_the_same_run_as_plain_backtrader_data(setting: str) -> None:
    ours = run(BacktraderFeed, _SETTINGS[setting])
    assert len(ours) > 100
    assert ours == run(Plain, _SETTINGS[setting])


_WAYS: list[dict[str, Any]] = [
    {"exactbars": -1}, {"exactbars": -2}, {"oldsync": True}, {"preload": False},
    {"runonce": False}, {"preload": False, "runonce": False},
]  # fmt: skip
_RUNS = list(crossed(("alone", "several", "resampled beside", "replayed"), _WAYS))
# Backtrader's own indicators fail where several datas of different lengths save memory.
_RUNS += [(setting, {"exactbars": 1}) for setting in ("alone", "resampled beside", "replayed")]


@pytest.mark.parametrize("setting, wanted", _RUNS, ids=str)
def test_every_cerebro_setting_gives_the_same_run_as_plain_backtrader(
    setting: str, wanted: dict[str, Any]
) -> None:
    ours = run(BacktraderFeed, _SETTINGS[setting], **wanted)
    assert ours == run(Plain, _SETTINGS[setting], **wanted)


def test_a_bound_line_is_written_together_with_its_source_line() -> None:
    data, volumes = feed(BacktraderFeed), []

    class Binding(bt.Strategy):  # type: ignore[misc]
        def __init__(self) -> None:
            self.data.openinterest.addbinding(self.data.volume)

        def next(self) -> None:
            volumes.append(self.data.volume[0])

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(data)
    cerebro.addstrategy(Binding)
    run_live(cerebro)
    assert volumes == [0.0] * len(_BARS)
