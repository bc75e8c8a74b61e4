"""Live feeds of one installation under faults, second by second and in one thread.

The stream's frames are read by the vendor's protocol and a real session; history and store are those
of a data manager whose vendor is the scripted one. Whatever happens, the model judges what is given.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from src.data.bars.stream_store import Origin, StreamKeeper
from src.data.calendars.calendar import calendar_for
from src.data.calendars.grid import BarGrid
from src.data.errors import DataError
from src.data.feed.sources.history import ManagerHistory
from src.data.feed.sources.stream import GapFreeSource, Start, StreamThread, StreamTimings
from src.data.feed.streams.connection import Connection, ConnectionTimings, StreamSession
from src.data.feed.streams.listeners import BarListener
from src.data.model.capabilities import Limits
from src.data.model.instant import DAY_MS, MINUTE_MS, SECOND_MS
from src.data.model.kind import Basis
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from src.data.model.stream import LiveBar, StreamState, StreamStatus, Topic
from src.data.model.timeframe import Timeframe
from src.data.net.limiter import Limiter
from src.data.net.retry import RetryPolicy
from src.data.net.state import State
from src.data.vendors.binance.stream import BinanceStream
from tests.vendor_server import Fault, Row
from tests.vendor_server.stream_faces import BinanceFace

from .simulation import Profile, Simulation

TOPIC, FRAME = Topic("BTCUSDT", "1m"), Timeframe.parse("1m")
FEEDS = Profile("feeds", ("binance",), ("BTCUSDT",), ("1m",), ("crypto",))
# How long after its close a bar may be missing while a feed is LIVE.
_GRACE_MS = 6 * SECOND_MS
# What a vendor says it lacks counts as a gap so long after its close.
_PATIENCE_MS = 120 * SECOND_MS
# What a bar of the stream may suffer from.
DEFECTS = ("", "lost", "late", "twice", "early", "corrected", "running", "sent long ago", "of two symbols",
           "garbage", "ahead", "out of order", "spoilt")  # fmt: skip
FAULTS = {
    "is down": lambda: Fault.status(503),
    "has nothing": Fault.empty,
    "drops bars": lambda: Fault.drop(2, 3, -1),
    "cuts the end": lambda: Fault.cap(9),
    "sends nulls": lambda: Fault.nulls(1),
    "throttles": lambda: Fault.throttle(30),
    "breaks off": Fault.cut,
    "resets": Fault.reset,
    "is slow": Fault.hang,
}
# With these a vendor says that it has no bar where there was one.
LACKING = {"has nothing", "drops bars", "cuts the end", "sends nulls"}


class Dead:
    """A socket on which nothing comes by itself."""

    def send(self, text: str) -> None: ...

    def ping(self) -> None: ...

    def abort(self) -> None: ...

    def receive(self, timeout: float) -> None: ...


@dataclass
class Judge:
    """What one feed has given, and what must be true of it: a sink.

    Attributes:
        world: the simulation.
        bars: closed bars in their order, as corrected.
    """

    world: FeedWorld
    bars: dict[int, LiveBar] = field(default_factory=dict)
    state: StreamState = StreamState.CONNECTING
    error: DataError | None = None

    def bar(self, bar: LiveBar) -> None:
        if not bar.is_closed:
            return
        assert bar.stamp_ms > max(self.bars, default=0), "given twice, or out of order"
        assert bar.stamp_ms + MINUTE_MS <= self.world.now + 10_000, "a running bar as closed"
        self.bars[bar.stamp_ms] = bar
        stamps = [*self.bars][-2:]
        self._check_hole(stamps[0], bar.stamp_ms)

    def revised(self, bar: LiveBar) -> None:
        assert bar.stamp_ms in self.bars, "a correction of a bar that was not given"
        self.bars[bar.stamp_ms] = bar

    def status(self, status: StreamStatus) -> None:
        self.state = status.state
        self.check()

    def end(self, error: DataError | None = None) -> None:
        self.error = error

    def check(self) -> None:
        """Check that LIVE is true now."""
        if self.state is StreamState.LIVE and self.world.is_timely:
            assert self.bars, "LIVE without a bar"
            self._check_hole(max(self.bars), self.world.now - MINUTE_MS - _GRACE_MS + 1)

    def _check_hole(self, first: int, until: int) -> None:
        expected = range(first + MINUTE_MS, until, MINUTE_MS)
        hole = [stamp for stamp in expected if stamp >= self.world.denied_before]
        assert not hole, f"bars are missing: {hole}"

    def check_values(self) -> None:
        """Check all bars against the truth, each as it was corrected."""
        assert self.error is None
        for stamp, bar in self.bars.items():
            if stamp not in self.world.uncorrected:
                assert tuple(bar[1:6]) == self.world.row(stamp)[1:6], "not the true bar"


@dataclass
class FeedWorld:
    """A market, an installation whose feed listens to it, and all that can go wrong.

    Attributes:
        denied_before: Bars before this the vendor may have said it lacks, late enough to be believed.
        uncorrected: stamps of bars whose correction could not be sent.
    """

    sim: Simulation
    denied_before: int = 0
    uncorrected: set[int] = field(default_factory=set)
    due: list[tuple[int, str, int]] = field(default_factory=list)
    faults: set[str] = field(default_factory=set)
    is_connected: bool = False
    is_timely: bool = True
    judges: list[Judge] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.grid = BarGrid(calendar_for(self._instrument()), FRAME, "clock")
        self.ticked = self.now

    def _instrument(self) -> Any:
        return self.sim.manager.provider_selector.instrument("BTCUSDT")

    @property
    def now(self) -> int:
        """The true time."""
        return self.sim.true.now_ms()

    def row(self, stamp: int) -> Row:
        """Return the true bar of a stamp."""
        [row] = self.sim.truth.rows("BTCUSDT", "1m", stamp, stamp + 1, "raw", stamp + DAY_MS)
        return row

    # --- what happens ----------------------------------------------------------------------

    def begin(self, lookback: int) -> None:
        """Begin a feed; one that runs is stopped before."""
        manager, clock = self.sim.manager, self.sim.clock
        selector, store = manager.provider_selector, manager.cache.store
        keeper = StreamKeeper(selector, store, clock)
        origin = Origin("binance", BinanceStream().kind(self._instrument()), 0, Basis("raw"))

        def keep(bars: Sequence[LiveBar], *, is_revision: bool = False) -> None:
            keeper.keep(self._instrument(), self.grid, origin, [bar.bar for bar in bars],
                        is_revision=is_revision)  # fmt: skip

        judge = Judge(self)
        source = GapFreeSource(
            self,  # type: ignore[arg-type]
            ManagerHistory(manager, "BTCUSDT", self.grid, clock), self.grid, clock,
            start=Start(lookback), keep=keep, correct=lambda bar: keep([bar], is_revision=True),
            patience=StreamTimings(tick=0.0, dense=True, retry=RetryPolicy(first_s=1.0, cap_s=60.0)),
        )  # fmt: skip
        self.judges.append(judge)
        self.thread = StreamThread(source, judge)
        self.connection = Connection(
            BinanceStream(), Dead, Limiter("x", Limits(), State(None, clock)), clock,  # type: ignore[arg-type]
            ConnectionTimings(scale=1e6),
        )  # fmt: skip
        self.listener = BarListener(self.thread.inbox, clock, self.grid)
        self.connection._listeners[TOPIC] = (self.listener,)
        self.connect()

    def doubt(self, reason: str, silent_s: float) -> None:
        """Connect anew: the feed doubts the connection."""
        if self.is_connected:
            self.cut()
            self.connect()

    def connect(self) -> None:
        """Open the connection."""
        self.is_connected, self.is_timely = True, self.sim.clock.wrong_ms == 0
        self.session = StreamSession(self.connection, Dead())  # type: ignore[arg-type]
        self.listener.connected()

    def cut(self) -> None:
        """Lose the connection, and what is on its way."""
        self.is_connected = False
        self.uncorrected |= {stamp for _, what, stamp in self.due if what == "the true one"}
        self.due = [one for one in self.due if one[1] != "the true one"]
        self.listener.lost("cut")

    def set_clock(self, wrong_s: float) -> None:
        """Set the clock of the machine."""
        self.sim.set_clock(wrong_s)
        self.is_timely &= not wrong_s

    def spoil(self, name: str, times: int | None) -> None:
        """Let the vendor's answers suffer from a fault."""
        self.faults.add(name)
        self.sim.vendors.fault("binance", FAULTS[name](), times=times)

    def heal(self) -> None:
        """Let the vendor be well."""
        self.sim.vendors.heal()
        self.faults.clear()

    def ask(self) -> None:
        """Let another process of the user ask for bars."""
        try:
            self.sim._manager().get_ohlcv("BTCUSDT", "1m", bars=5)
        except DataError:
            pass

    # --- time --------------------------------------------------------------------------------

    def pass_minutes(self, defects: Sequence[str]) -> None:
        """Let minutes pass; the bar of each comes by the stream with its defect."""
        for defect in defects:
            stamp = self.now // MINUTE_MS * MINUTE_MS
            self.due += _course(defect, stamp)
            while self.now < stamp + MINUTE_MS:
                self.second()

    def second(self) -> None:
        """Let a second pass."""
        self.sim.true.advance(1.0)
        if self.faults & LACKING:
            until = min(self.now, self.sim.clock.now_ms() - _PATIENCE_MS)
            self.denied_before = max(self.denied_before, until)
        for at, what, stamp in sorted(one for one in self.due if one[0] <= self.now):
            self.due.remove((at, what, stamp))
            if self.is_connected:
                self.session._take(self._frame(what, stamp))
            elif what == "the true one":
                self.uncorrected.add(stamp)
        if self.is_connected:
            self.session._watchdog()
        self.thread._read(0.0)
        self.thread._go_on()
        self.judges[-1].check()

    def _frame(self, what: str, stamp: int) -> str:
        """Return a message about a bar."""
        row = self.row(stamp)
        message = json.loads(BinanceFace().bar("BTCUSDT", "1m", row, is_closed=what != "running"))
        data, k = message["data"], message["data"]["k"]
        data["E"] = self.now
        if what in ("half", "early", "running", "sent long ago", "of two symbols"):
            k["v"] = f"{row.volume / 2:.8f}"
        if what == "sent long ago":
            data["E"], k["x"] = self.now - 600_000, False
        elif what == "of two symbols":
            data["s"] = "ETHUSDT"
        elif what == "ahead":
            k["t"] += DAY_MS
        elif what == "spoilt":
            k["l"] = "-1"
        return "<html>" if what == "garbage" else json.dumps(message)

    # --- the end -------------------------------------------------------------------------------

    def end(self) -> None:
        """Heal everything: the feed becomes LIVE, and all that it gave and stored is true."""
        self.heal()
        self.set_clock(0)
        if self.is_connected:
            self.cut()
        self.connect()
        for _ in range(40):
            self.pass_minutes(("",))
            if self.judges[-1].state is StreamState.LIVE:
                break
        assert self.judges[-1].state is StreamState.LIVE, f"it stays {self.judges[-1].state}"
        for judge in self.judges:
            judge.check_values()
        key, span = SeriesKey("BTCUSDT", FRAME), Span(self.now - 2 * DAY_MS, self.now + 2 * DAY_MS)
        table, _ = self.sim.manager.cache.store.read(key, span)
        for stamp, *values in zip(
            table.stamps.tolist(), *(c.tolist() for c in table.values()), strict=True
        ):
            assert stamp + MINUTE_MS <= self.now, "a bar is stored that runs"
            if stamp not in self.uncorrected:
                assert tuple(values) == self.row(stamp)[1:6], "what is stored is not the truth"


def _course(defect: str, stamp: int) -> list[tuple[int, str, int]]:
    """Return when the stream sends what of a bar: instant, message, stamp."""
    close = stamp + MINUTE_MS
    first = (close + 1_000, "", stamp)
    more: dict[str, list[tuple[int, str, int]]] = {
        "lost": [],
        "late": [(close + 20_000, "", stamp)],
        "twice": [first, (close + 2_000, "", stamp)],
        "early": [(stamp + 15_000, "early", stamp), first],
        "corrected": [(close + 1_000, "half", stamp), (close + 11_000, "the true one", stamp)],
        "running": [(stamp + 20_000, "running", stamp), (stamp + 40_000, "running", stamp), first],
        "sent long ago": [(stamp + 30_000, "sent long ago", stamp), first],
        "of two symbols": [(stamp + 30_000, "of two symbols", stamp), first],
        "garbage": [(stamp + 30_000, "garbage", stamp), first],
        "ahead": [(stamp + 30_000, "ahead", stamp), first],
        "out of order": [(close + 62_000, "", stamp)],
        "spoilt": [(close + 1_000, "spoilt", stamp)],
    }
    return more.get(defect, [first])
