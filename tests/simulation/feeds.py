"""Live feeds of one installation under faults, second by second and in one thread.

The stream's frames are read by the vendor's protocol and a real session; history and store are those
of a data manager whose vendor is the scripted one. Whatever happens, the model judges what is given.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from src.data.core.bars.stream_store import Origin, StreamKeeper
from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.model.answer.frame import table_of
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus, Topic
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, from_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.net.limits.limiter import Limiter
from src.data.core.net.limits.state import State
from src.data.core.vendors.binance.stream import BinanceStream
from src.data.errors import DataError, IncompleteDataError
from src.data.feed.sources.bar_versions import StreamJudge
from src.data.feed.sources.history import ManagerHistory
from src.data.feed.sources.stream import GapFreeSource, Start, StreamThread, StreamTimings
from src.data.feed.streams.connection import ConnectionTimings, StreamSession
from src.data.feed.streams.listeners import BarListener
from tests.feed.threadless import Threadless
from tests.vendor_server import Fault, Row
from tests.vendor_server.face import Page
from tests.vendor_server.stream_faces import BinanceFace

from .fakes import is_whole
from .simulation import Profile, Simulation

TOPIC, FRAME = Topic("BTCUSDT", "1m"), Timeframe.parse("1m")
FEEDS = Profile("feeds", ("binance",), ("BTCUSDT",), ("1m",), ("crypto",))
# How long after its close a bar may be missing while a feed is LIVE: five seconds, and a look at the clock.
_GRACE_MS = 6 * SECOND_MS
# What a vendor says it lacks counts as a gap so long after its close.
_PATIENCE_MS = 120 * SECOND_MS
# And in so many seconds from the beginning of a feed it may be a hiccup.
_DOUBT_MS = 60 * SECOND_MS
# So far the clocks of vendors and of this machine may be apart, and two clocks of a vendor.
_AHEAD_MS, _VENDOR_CLOCKS_MS = 10 * SECOND_MS, SECOND_MS
# Minutes until a feed is LIVE that nothing disturbs: a bar's two and the longest wait between two
# questions; then that after a vendor failed five times in a row, or could not be read three times.
_CALM, _AFTER_FAILURES, _AFTER_RUBBISH = 5, 8, 65
# What a bar of the stream may suffer from.
DEFECTS = ("", "lost", "late", "twice", "early", "sent early", "corrected", "corrected late",
           "corrected often", "outdated", "running", "sent long ago", "of two symbols", "garbage", "ahead",
           "out of order", "spoilt")  # fmt: skip
# The volume of a message's bar, by the true one's: no two messages that differ have the same.
_VOLUMES = {"half": 0.5, "running": 0.25, "early": 0.125, "sent early": 0.125, "sent long ago": 0.75,
            "outdated": 0.625, "of two symbols": 1.5}  # fmt: skip
FAULTS: dict[str, Callable[[FeedWorld], Fault]] = {
    "is down": lambda _: Fault.status(503),
    "throttles": lambda _: Fault.throttle(30),
    "breaks off": lambda _: Fault.cut(),
    "resets": lambda _: Fault.reset(),
    "is slow": lambda _: Fault.hang(),
    "has nothing": lambda world: world.lacking(Fault.empty()),
    "drops bars": lambda world: world.lacking(Fault.drop(2, 3, -1)),
    "cuts the end": lambda world: world.lacking(Fault.cap(9)),
    "sends nulls": lambda world: world.lacking(Fault.nulls(1)),
    "is behind": lambda world: world.lacking(world.behind(90 * SECOND_MS)),
    "is far behind": lambda world: world.lacking(world.behind(200 * SECOND_MS)),
}
# With these a vendor answers, and has no bar where there was one.
LACKING = {"has nothing", "drops bars", "cuts the end", "sends nulls", "is behind", "is far behind"}


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
        began_ms: The true time at which the feed began.
        bars: closed bars in their order, as corrected.
    """

    world: FeedWorld
    began_ms: int
    bars: dict[int, LiveBar] = field(default_factory=dict)
    state: StreamState = StreamState.CONNECTING
    error: DataError | None = None

    def bar(self, bar: LiveBar) -> None:
        newest = max(self.bars, default=0)
        assert bar.stamp_ms > newest, "given twice, or out of order"
        if not bar.is_closed:
            self._check_running(bar)
            return
        close = bar.stamp_ms + MINUTE_MS
        assert close <= self.world.now + _VENDOR_CLOCKS_MS, "a running bar as closed"
        self.bars[bar.stamp_ms] = bar
        if newest:
            self._check_hole(newest, bar.stamp_ms)

    def _check_running(self, bar: LiveBar) -> None:
        assert self.state is StreamState.LIVE, "a running bar before bars that are older"
        share = bar.volume / self.world.volume(bar.stamp_ms)
        odd = {_VOLUMES["sent long ago"], _VOLUMES["of two symbols"]}
        assert not any(abs(share - one) < 1e-6 for one in odd), "not a running bar of now"

    def revised(self, bar: LiveBar) -> None:
        assert bar.is_closed
        assert bar.stamp_ms in self.bars, "a correction of a bar that was not given"
        assert bar[:6] != self.bars[bar.stamp_ms][:6], "a correction that changes nothing"
        self.bars[bar.stamp_ms] = bar

    def status(self, status: StreamStatus) -> None:
        self.state = status.state
        self.check()

    def end(self, error: DataError | None = None) -> None:
        self.error = error

    def check(self) -> None:
        """Check that LIVE is true now, by the time that the feed goes by."""
        if self.state is StreamState.LIVE and self.bars:
            until = self.world.now - self.world.slow_ms - _GRACE_MS
            self._check_hole(max(self.bars), until - MINUTE_MS + 1)

    def _check_hole(self, first: int, until: int) -> None:
        missing = range(first + MINUTE_MS, until, MINUTE_MS)
        hole = [stamp for stamp in missing if not self.world.is_gap(stamp)]
        assert not hole, f"bars are missing: {hole}"

    def check_values(self) -> None:
        """Check all bars against what was sent of them."""
        assert self.error is None
        for stamp, bar in self.bars.items():
            self.world.check_values(stamp, tuple(bar[1:6]), "given")


@dataclass
class FeedWorld:
    """A market, an installation whose feed listens to it, and all that can go wrong.

    Attributes:
        denied: Bars that the vendor did not have when it was queried after their close, to the last time.
        first_versions: Bars of which the stream last sent a version that it corrects later.
        wrong_at_connection: By how much the clock was wrong when the feed was connected.
        slow_ms: How far the time that the feed goes by may be behind. It is that of the connection
            until a bar has just closed by the clock of now.
        faults, had_faults: Names of faults of the vendor: those of now, and all so far.
        latest_clock: The latest time that the clock of the machine has shown.
    """

    sim: Simulation
    denied: dict[int, int] = field(default_factory=dict)
    first_versions: set[int] = field(default_factory=set)
    due: list[tuple[int, str, int]] = field(default_factory=list)
    faults: set[str] = field(default_factory=set)
    had_faults: set[str] = field(default_factory=set)
    is_connected: bool = False
    wrong_at_connection: int = 0
    slow_ms: int = 0
    latest_clock: int = 0
    judges: list[Judge] = field(default_factory=list)
    _not_sent: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.grid = BarGrid(calendar_for(self._instrument()), FRAME, "clock")
        carry = self.sim.vendors.carry

        def carried(request: HttpRequest) -> HttpResponse:
            """Return the vendor's answer; bars that it lacks count once it has arrived."""
            self._not_sent.clear()
            self._note_clock()
            try:
                response = carry(request)
            finally:
                self.deliver()
            if is_whole(response.body):
                self.denied |= dict.fromkeys(self._not_sent, self.now)
            return response

        self.sim.vendors.carry = carried  # type: ignore[method-assign]

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

    def volume(self, stamp: int) -> float:
        """Return the true volume of a bar."""
        return self.row(stamp).volume or 0.0

    def is_gap(self, stamp: int) -> bool:
        """Return whether a missing bar may count as a gap."""
        is_firm = self.denied.get(stamp, 0) >= self.judges[-1].began_ms + _DOUBT_MS
        return is_firm and stamp + MINUTE_MS + _PATIENCE_MS <= self.latest_clock

    def check_values(self, stamp: int, values: tuple[Any, ...], what: str) -> None:
        """Check that values are those of the true bar, or of the version that was not corrected yet."""
        true = self.row(stamp)[1:6]
        allowed = [true]
        if stamp in self.first_versions:
            allowed.append((*true[:4], self.volume(stamp) * _VOLUMES["half"]))
        assert values in allowed, f"{stamp}: what is {what} is not the truth: {values}, {true}"

    # --- what happens ----------------------------------------------------------------------

    def begin(self, lookback: int) -> None:
        """Begin a feed; one that runs is stopped before."""
        if self.judges:
            self.judges[-1].check_values()
        manager, clock = self.sim.manager, self.sim.clock
        selector, store = manager.provider_selector, manager.cache.store
        keeper = StreamKeeper(selector, store, clock)
        origin = Origin("binance", BinanceStream().kind(self._instrument()), 0, Basis("raw"))

        def keep(bars: Sequence[LiveBar], *, is_revision: bool = False) -> None:
            keeper.keep(self._instrument(), self.grid, origin, [bar.bar for bar in bars],
                        is_revision=is_revision)  # fmt: skip

        judge = Judge(self, self.now)
        source = GapFreeSource(
            self,  # type: ignore[arg-type]
            ManagerHistory(manager, "BTCUSDT", self.grid, clock), self.grid, clock,
            start=Start(lookback), keep=keep, correct=lambda bar: keep([bar], is_revision=True),
            patience=StreamTimings(tick=0.0, dense=True, retry=RetryPolicy(first_s=1.0, cap_s=60.0)),
        )  # fmt: skip
        self.judges.append(judge)
        self.thread = StreamThread(source, judge)
        self.listener = BarListener(self.thread.inbox, clock, self.grid)
        self.judge = StreamJudge(self.listener, TOPIC, BinanceStream(), clock)
        self.connection = Threadless(
            TOPIC, self.judge, BinanceStream(), Dead,
            Limiter("x", Limits(), State(None, clock)), clock, ConnectionTimings(scale=1e6),
        )  # fmt: skip
        self.connect()

    def doubt(self, reason: str, silent_s: float) -> None:
        """Connect anew: the feed doubts the connection."""
        if self.is_connected:
            self.cut()
            self.connect()

    def connect(self) -> None:
        """Open the connection."""
        self.is_connected, self.wrong_at_connection = True, self.sim.clock.wrong_ms
        self.slow_ms = max(0, -self.wrong_at_connection)
        self.session = StreamSession(self.connection, Dead())  # type: ignore[arg-type]
        self.judge.connected()

    def cut(self) -> None:
        """Lose the connection, and what is on its way."""
        self.is_connected = False
        self.due.clear()
        self.listener.lost("cut")

    def set_clock(self, wrong_s: float) -> None:
        """Set the clock of the machine."""
        if self.judges:
            self.thread.step(0.0)  # a connection of just now has taken the time of then
        self.sim.set_clock(wrong_s)
        # A bar that is read as late as the clock is behind seems to prove that clock right.
        behind_ms = -self.sim.clock.wrong_ms
        if behind_ms <= MINUTE_MS:
            self.slow_ms = max(self.slow_ms, behind_ms)

    def spoil(self, name: str, times: int | None) -> None:
        """Let the vendor's answers suffer from a fault."""
        self.faults.add(name)
        self.had_faults.add(name)
        self.sim.vendors.fault("binance", FAULTS[name](self), times=times)

    def lacking(self, fault: Fault) -> Fault:
        """Return a fault that lacks rows, and notes which closed bars these are."""
        change = fault.rows
        assert change is not None

        def changed(page: Page) -> Page:
            sent = change(page)
            there = {row.stamp_ms for row in sent.rows if row.open is not None}
            closed = {row.stamp_ms for row in page.rows if row.closes_ms <= self.now}
            self._not_sent |= closed - there
            return sent

        return replace(fault, rows=changed)

    def behind(self, late_ms: int) -> Fault:
        """Return the fault of a vendor that has bars so long after their close."""

        def change(page: Page) -> Page:
            until = self.now - late_ms
            return page.pick([i for i, row in enumerate(page.rows) if row.closes_ms <= until])

        return Fault.on_rows("behind", change)

    def heal(self) -> None:
        """Let the vendor be well."""
        self.sim.vendors.heal()
        self.faults.clear()

    def ask(self) -> None:
        """Let another process of the user ask for bars."""
        try:
            self.sim.new_manager().get_ohlcv("BTCUSDT", "1m", bars=5)
        except DataError:
            pass

    def calm_down(self) -> None:
        """Let nothing go wrong any more but what the vendor lacks: the feed becomes LIVE, and stays it."""
        longest = _CALM
        if self.had_faults - LACKING:
            longest = _AFTER_RUBBISH if "breaks off" in self.had_faults else _AFTER_FAILURES
        if self.faults - LACKING:
            self.heal()
        self.set_clock(0)
        if not self.is_connected:
            self.connect()
        self.pass_minutes([""] * 2)
        for _ in range(2, longest):
            if self.judges[-1].state is not StreamState.LIVE:
                self.pass_minutes([""])
        self.pass_minutes([""] * 2, is_live=True)

    # --- time --------------------------------------------------------------------------------

    def pass_minutes(self, defects: Sequence[str], *, is_live: bool = False) -> None:
        """Let minutes pass; the bar of each comes by the stream with its defect.

        Args:
            defects: One for each minute.
            is_live: Whether the feed must be LIVE all the time.
        """
        for defect in defects:
            stamp = self.now // MINUTE_MS * MINUTE_MS
            self.due += _course(defect, stamp)
            while self.now < stamp + MINUTE_MS:
                self.second()
                state = self.judges[-1].state
                assert not is_live or state is StreamState.LIVE, f"it stays {state}"

    def second(self) -> None:
        """Let a second pass."""
        self.sim.true.advance(1.0)
        self._note_clock()
        self.deliver()
        if self.is_connected:
            self.session.watchdog()
        self.thread.step(0.0)
        self.judges[-1].check()

    def _note_clock(self) -> None:
        self.latest_clock = max(self.latest_clock, self.sim.clock.now_ms())

    def deliver(self) -> None:
        """Let messages arrive whose time has come."""
        for at, what, stamp in sorted(one for one in self.due if one[0] <= self.now):
            self.due.remove((at, what, stamp))
            if self.is_connected:
                self.session.dispatch(self._frame(what, stamp))
                self._note_version(what, stamp)

    def _note_version(self, what: str, stamp: int) -> None:
        """Note whether a closed bar that was sent is the true one, or a version to be corrected."""
        ours = self.now + max(self.wrong_at_connection, self.sim.clock.wrong_ms)
        if stamp + MINUTE_MS > ours + _AHEAD_MS:
            return  # by the clock of the machine it has not closed
        bars = self.judges[-1].bars
        if what == "half":
            self.first_versions.add(stamp)
        elif what == "" and bars and (stamp in bars or stamp > max(bars)):
            # A bar that an earlier feed gave is corrected in the store once it has settled.
            self.first_versions.discard(stamp)

    def _frame(self, what: str, stamp: int) -> str:
        """Return a message about a bar."""
        row = self.row(stamp)
        message = json.loads(BinanceFace().bar("BTCUSDT", "1m", row, is_closed=what != "running"))
        data, k = message["data"], message["data"]["k"]
        data["E"] = self.now
        k["v"] = f"{self.volume(stamp) * _VOLUMES.get(what, 1.0):.8f}"
        if what == "sent long ago":
            data["E"], k["x"] = self.now - 600_000, False
        elif what == "outdated":
            data["E"] = stamp + MINUTE_MS + 1_000
        elif what == "sent early":
            data["E"] = stamp + MINUTE_MS - 5 * SECOND_MS
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
        self.calm_down()
        judge = self.judges[-1]
        judge.check_values()
        self._check_store()
        first, last = min(judge.bars), max(judge.bars)
        # What had not settled, and its vendor did not have the next time, is a gap until it is asked again.
        self._check_answer(first, last, judge.bars.keys() - self.denied.keys())
        # A while later all that had not settled was fetched again: the versions, too. One that the vendor
        # did not have any more then is suspect, and is asked for again later.
        self.sim.true.advance(3600.0)
        self.first_versions &= self.denied.keys()
        self._check_answer(first, last, set(judge.bars))

    def _check_store(self) -> None:
        key, span = SeriesKey("BTCUSDT", FRAME), Span(self.now - 2 * DAY_MS, self.now + 2 * DAY_MS)
        table, _ = self.sim.manager.cache.store.read(key, span)
        rows = zip(table.stamps.tolist(), *(c.tolist() for c in table.values()), strict=True)
        for stamp, *values in rows:
            assert stamp + MINUTE_MS <= self.now, "a bar is stored that runs"
            self.check_values(stamp, tuple(values), "stored")

    def _check_answer(self, first: int, last: int, wanted: set[int]) -> None:
        """Check that an answer has the bars that the feed gave; more only where it passed a gap over."""
        given = set(self.judges[-1].bars)
        try:
            frame = self.sim.manager.get_ohlcv("BTCUSDT", "1m", from_ms(first), from_ms(last))
        except IncompleteDataError as error:
            frame = error.frame
        table = table_of(frame)
        stamps = set(table.stamps.tolist())
        assert wanted <= stamps, "bars that were given are not in the answer"
        assert stamps - given <= self.denied.keys(), "bars in the answer were not given"
        rows = zip(table.stamps.tolist(), *(c.tolist() for c in table.values()), strict=True)
        for stamp, *values in rows:
            self.check_values(stamp, tuple(values), "answered")


def _course(defect: str, stamp: int) -> list[tuple[int, str, int]]:
    """Return when the stream sends what of a bar: instant, message, stamp."""
    close = stamp + MINUTE_MS
    first = (close + 1_000, "", stamp)
    half = (close + 1_000, "half", stamp)
    more: dict[str, list[tuple[int, str, int]]] = {
        "lost": [],
        "late": [(close + 20_000, "", stamp)],
        "twice": [first, (close + 2_000, "", stamp)],
        "early": [(stamp + 15_000, "early", stamp), first],
        "sent early": [(close + 1_000, "sent early", stamp), (close + 3_000, "", stamp)],
        "corrected": [half, (close + 11_000, "", stamp)],
        "corrected late": [half, (close + 130_000, "", stamp)],
        "corrected often": [
            (close + 1_000 * n, "" if n % 2 else "half", stamp) for n in range(2, 12)
        ],
        "outdated": [(close + 3_000, "", stamp), (close + 5_000, "outdated", stamp)],
        "running": [(stamp + 20_000, "running", stamp), (stamp + 40_000, "running", stamp), first],
        "sent long ago": [(stamp + 30_000, "sent long ago", stamp), first],
        "of two symbols": [(stamp + 30_000, "of two symbols", stamp), first],
        "garbage": [(stamp + 30_000, "garbage", stamp), first],
        "ahead": [(stamp + 30_000, "ahead", stamp), first],
        # Not as late as any clock is wrong: such a bar would prove that clock right.
        "out of order": [(close + 75_000, "", stamp)],
        "spoilt": [(close + 1_000, "spoilt", stamp)],
    }
    return more.get(defect, [first])
