"""Polled feeds for vendors without a stream: queried when bars close, on a stopped clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from src.data.core.calendars.calendar import calendar_for
from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus
from src.data.core.model.time.instant import HOUR_MS, MINUTE_MS, SECOND_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import BadSymbolError, DataError, UnavailableError
from src.data.feed.sources.base import Halt
from src.data.feed.sources.history import FilledHistory
from src.data.feed.sources.poll import PollSource

NOON = parse_iso("2024-06-12T16:00:00Z")
SHUT = Span(parse_iso("2024-06-12T20:00:00Z"), parse_iso("2024-06-13T13:30:00Z"))
STOCK = Instrument("AAPL", "stock", "XNYS", "America/New_York")


def bar(stamp_ms: int, close: float = 1.0) -> LiveBar:
    """Return a made-up bar."""
    return LiveBar(stamp_ms, 1.0, 2.0, 0.5, close, 10.0, True, "backfill")


@dataclass
class Vendor:
    """Has every minute ``lag_ms`` after its close, except those that a test removes.

    Attributes:
        asked: the time of every question, with the span; None for the first.
        never: stamps that it says do not exist.
        late: stamps it has only after this time.
        changed: stamps to another close, from some time on.
        errors: raised one after another.
    """

    clock: ManualClock
    grid: BarGrid
    lag_ms: int = 0
    asked: list[tuple[int, Span | None]] = field(default_factory=list)
    never: set[int] = field(default_factory=set)
    late: dict[int, int] = field(default_factory=dict)
    changed: dict[int, tuple[int, float]] = field(default_factory=dict)
    errors: list[DataError | None] = field(default_factory=list)

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        self._ask(None)
        now = self.clock.now_ms()
        coming = self.grid.back(now + 1, 1)
        bars = self._bars(Span(self.grid.back(coming, count), coming))
        return FilledHistory([one._replace(origin="history") for one in bars], [])

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        self._ask(span)
        bars = self._bars(span)
        stamps = {one.stamp_ms for one in bars}
        lacking = [s for s in self.grid.opens(span).tolist() if s not in stamps]
        absent = [stamp for stamp in lacking if stamp in self.never]
        why = "not published yet" if len(absent) < len(lacking) else ""
        return FilledHistory(bars, absent, why)

    def _ask(self, span: Span | None) -> None:
        self.asked.append((self.clock.now_ms(), span))
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error

    def _bars(self, span: Span) -> list[LiveBar]:
        now = self.clock.now_ms()
        stamps = self.grid.opens(span).tolist()
        there = [s for s in stamps if s + MINUTE_MS + self.lag_ms <= now and s not in self.never]
        return [bar(s, self._close(s)) for s in there if now >= self.late.get(s, 0)]

    def _close(self, stamp_ms: int) -> float:
        since, value = self.changed.get(stamp_ms, (0, 1.0))
        return value if self.clock.now_ms() >= since else 1.0


class Notebook:
    """A sink that writes down, and ends the source after so many closed bars."""

    def __init__(self, halt: Halt, clock: ManualClock, until_ms: int) -> None:
        self.halt, self.clock, self.until_ms = halt, clock, until_ms
        self.bars: list[LiveBar] = []
        self.revisions: list[LiveBar] = []
        self.states: list[StreamStatus] = []
        self.running: list[LiveBar] = []

    def bar(self, bar: LiveBar) -> None:
        (self.bars if bar.is_closed else self.running).append(bar)
        self._look()

    def revised(self, bar: LiveBar) -> None:
        self.revisions.append(bar)

    def status(self, status: StreamStatus) -> None:
        if not self.states or self.states[-1].state is not status.state:
            self.states.append(status)
        self._look()

    def end(self, error: DataError | None = None) -> None:
        raise AssertionError("a poll never ends by itself")

    def _look(self) -> None:
        if self.clock.now_ms() >= self.until_ms:
            self.halt.set()


Polled = Callable[..., Notebook]


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-12 16:00:05 UTC, five seconds after ``NOON``."""
    return ManualClock(NOON + 5 * SECOND_MS)


@pytest.fixture
def vendor(clock: ManualClock) -> Vendor:
    """Return a vendor of minute bars for ``STOCK``, which goes by the clock."""
    return Vendor(clock, BarGrid(calendar_for(STOCK), Timeframe.parse("1m")))


@pytest.fixture
def poll(clock: ManualClock, vendor: Vendor) -> Polled:
    """Return what polls for so many minutes, in the test's own thread."""

    def poll(minutes: float, **wanted: object) -> Notebook:
        source = PollSource("AAPL 1m", vendor, vendor.grid, lookback=10, clock=clock, **wanted)  # type: ignore[arg-type]
        halt = Halt(clock)
        until = clock.now_ms() + round(minutes * MINUTE_MS)
        notebook = Notebook(halt, clock, until)
        source.run(notebook, halt)
        return notebook

    return poll


def check_whole(notebook: Notebook) -> None:
    """Check that every minute is there once, in order."""
    stamps = [one.stamp_ms for one in notebook.bars]
    assert stamps == list(range(stamps[0], stamps[-1] + 1, MINUTE_MS))


def test_a_polled_feed_delivers_history_and_then_every_bar_as_it_closes(
    poll: Polled, vendor: Vendor
) -> None:
    notebook = poll(4.9)
    check_whole(notebook)
    assert len(notebook.bars) == 15
    assert [one.origin for one in notebook.bars] == ["history"] * 10 + ["live"] * 5
    assert [(one.state, one.reason) for one in notebook.states] == [
        (StreamState.BACKFILLING, "it answers"), (StreamState.LIVE, ""),
    ]  # fmt: skip


def test_a_polled_feed_requests_each_bar_once_right_after_its_close(
    poll: Polled, vendor: Vendor
) -> None:
    poll(4.9)
    assert len(vendor.asked) == 6
    for at, _ in vendor.asked[1:]:
        assert 2_000 <= at % MINUTE_MS <= 2_400


def test_a_late_vendor_is_queried_again_and_no_bar_is_delivered_twice(
    poll: Polled, vendor: Vendor
) -> None:
    vendor.lag_ms = 20_000
    notebook = poll(4)
    check_whole(notebook)
    assert StreamState.DELAYED not in [one.state for one in notebook.states]
    assert len(vendor.asked) <= 5 * 6  # after 2, 4, 8, 16 ... seconds


def test_bars_after_a_missing_bar_wait_for_it(poll: Polled, vendor: Vendor) -> None:
    lacking = NOON + MINUTE_MS
    vendor.late[lacking] = NOON + 4 * MINUTE_MS
    notebook = poll(6)
    check_whole(notebook)
    states = [one.state for one in notebook.states]
    assert states == [
        StreamState.BACKFILLING,
        StreamState.LIVE,
        StreamState.DELAYED,
        StreamState.LIVE,
    ]
    origins = {one.stamp_ms: one.origin for one in notebook.bars}
    assert origins[lacking] == "backfill"


def test_a_bar_that_does_not_exist_is_skipped(poll: Polled, vendor: Vendor) -> None:
    vendor.never.add(NOON + MINUTE_MS)
    notebook = poll(5)
    stamps = [one.stamp_ms for one in notebook.bars]
    assert NOON + MINUTE_MS not in stamps and NOON + 2 * MINUTE_MS in stamps
    assert [one.state for one in notebook.states][-1] is StreamState.LIVE


def test_a_feed_of_a_silent_vendor_becomes_stale(poll: Polled, vendor: Vendor) -> None:
    for n in range(20):
        vendor.late[NOON + n * MINUTE_MS] = NOON + 60 * MINUTE_MS
    notebook = poll(8)
    assert notebook.states[-1].state is StreamState.STALE
    assert notebook.states[-1].reason == "not published yet"


def test_corrections_of_the_last_bars_are_delivered_as_revisions(
    poll: Polled, vendor: Vendor
) -> None:
    changed = NOON
    vendor.changed[changed] = (NOON + 2 * MINUTE_MS, 1.5)
    notebook = poll(5)
    assert [(one.stamp_ms, one.close) for one in notebook.revisions] == [(changed, 1.5)]
    check_whole(notebook)


def test_a_polled_feed_survives_temporary_errors_of_a_vendor(poll: Polled, vendor: Vendor) -> None:
    down = UnavailableError("down")
    vendor.errors = [down, down, None, None, down, down, down, None]
    notebook = poll(8)
    check_whole(notebook)
    states = [one.state for one in notebook.states]
    assert states.count(StreamState.CONNECTING) == 2
    assert states[-1] is StreamState.LIVE
    assert notebook.states[0].reason == "down"
    assert states[:3] == [StreamState.CONNECTING, StreamState.BACKFILLING, StreamState.LIVE]


def test_an_error_that_cannot_pass_ends_a_polled_feed(poll: Polled, vendor: Vendor) -> None:
    vendor.errors = [BadSymbolError("no symbol")]
    with pytest.raises(BadSymbolError):
        poll(5)


def test_no_request_is_sent_while_the_market_is_closed(
    poll: Polled, vendor: Vendor, clock: ManualClock
) -> None:
    clock.set(parse_iso("2024-06-12T19:58:05Z"))  # two minutes before New York closes
    looks: list[int] = []
    notebook = poll(17.6 * 60 + 3, fetch_forming=lambda: looks.append(clock.now_ms()))
    asked = [at for at, _ in vendor.asked]
    night = [at for at in asked if SHUT.start + MINUTE_MS < at < SHUT.end]
    assert night == []
    assert [at for at in looks if SHUT.start < at < SHUT.end] == []
    assert notebook.bars[-1].stamp_ms >= SHUT.end
    assert StreamState.STALE not in [one.state for one in notebook.states]


def test_the_forming_bar_is_polled_on_request(poll: Polled, vendor: Vendor) -> None:
    looked: list[int] = []

    def running() -> LiveBar:
        looked.append(vendor.clock.now_ms())
        return bar(vendor.clock.now_ms() // MINUTE_MS * MINUTE_MS)

    notebook = poll(3, fetch_forming=running, interval_s=10.0)
    assert len(looked) == pytest.approx(18, abs=3)
    assert all(not one.is_closed for one in notebook.running)
    closed = {one.stamp_ms for one in notebook.bars}
    assert all(one.stamp_ms in closed or one.stamp_ms > max(closed) for one in notebook.running)


def test_a_jump_of_the_clock_moves_no_bar(poll: Polled, vendor: Vendor, clock: ManualClock) -> None:
    slept = clock.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        if len(clock.slept) == 50:
            clock.set(clock.now_ms() - 120_000)
        if len(clock.slept) == 900:
            clock.set(clock.now_ms() + 240_000)

    clock.sleep = sleep  # type: ignore[method-assign]
    check_whole(poll(12))


def test_a_clock_set_at_night_is_noticed_within_a_minute(
    poll: Polled, vendor: Vendor, clock: ManualClock
) -> None:
    clock.set(SHUT.start + HOUR_MS)
    slept = clock.sleep

    def sleep(seconds: float) -> None:
        slept(seconds)
        if len(clock.slept) == 1000:
            clock.set(SHUT.end + 5 * MINUTE_MS)

    clock.sleep = sleep  # type: ignore[method-assign]
    poll(16.7 * 60)
    assert clock.now_ms() > SHUT.end, "it went through the night"
    first = next(at for at, _ in vendor.asked if at >= SHUT.end)
    assert first <= SHUT.end + 6 * MINUTE_MS
