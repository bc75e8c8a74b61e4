"""A feed started while a vendor fails: it is LIVE only if no bar since its first is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.calendars.grid import BarGrid
from src.data.core.clock import ManualClock
from src.data.core.model.answer.provenance import ATTRS_KEY
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus
from src.data.core.model.stored.reasons import NO_BAR, UNPUBLISHED
from src.data.core.model.time.instant import MINUTE_MS, SECOND_MS, iso, to_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.net.http.retry import RetryPolicy
from src.data.errors import AllProvidersFailedError, DataError, IncompleteDataError
from src.data.feed.sources.base import Halt
from src.data.feed.sources.history import ManagerHistory, frame_of
from src.data.feed.sources.poll import PollSource
from src.data.feed.sources.stream import (
    GapFreeSource,
    Start,
    StreamThread,
    StreamTimings,
)
from tests.core.cache.counts import crossed, examples
from tests.core.calendars.market import ALWAYS

from .hands import MONDAY, HandStream, minute

GRID = BarGrid(ALWAYS, Timeframe.parse("1m"))
LOOKBACK = 20
FAILED = "binance: HTTP 503"


def made(stamp_ms: int) -> LiveBar:
    """Return the bar of a minute."""
    return minute((stamp_ms - MONDAY) // MINUTE_MS)._replace(volume=10.0)


@dataclass
class Vendor:
    """A manager with all minutes except some, which it lacks for a reason and until a time.

    Attributes:
        asked: spans of the questions for holes.
        lacking: stamp to why it is missing and until when.
        down: no question is answered at all in these times.
        takes_s: how long an answer takes.
        waits: called with the time from which on somebody has waited for an answer.
    """

    clock: ManualClock
    asked: list[Span] = field(default_factory=list)
    lacking: dict[int, tuple[str, int]] = field(default_factory=dict)
    down: Span = Span(0, 0)
    takes_s: float = 0.0
    waits: Callable[[int], object] = lambda since: None

    def get_ohlcv(
        self, symbol: str, timeframe: str, start: Any = None, end: Any = None, *,
        bars: int | None = None, **_: Any,
    ) -> Any:  # fmt: skip
        now = self.clock.now_ms()
        closed = now // MINUTE_MS * MINUTE_MS
        span = Span(closed - (bars or 0) * MINUTE_MS, closed)
        if bars is None:
            span = Span(to_ms(start), min(to_ms(end) + 1, closed))
            self.asked.append(span)
        self.clock.advance(self.takes_s)
        self.waits(now)
        if now in self.down:
            raise AllProvidersFailedError(FAILED)
        stamps = GRID.opens(span).tolist()
        gone = {s: why for s in stamps if (why := self._why(s, now))}
        frame = frame_of(made(s) for s in stamps if s not in gone)
        gaps = [
            {"start": iso(s), "end": iso(s + MINUTE_MS), "reason": why} for s, why in gone.items()
        ]
        failed = [why for why in gone.values() if why == FAILED]
        frame.attrs[ATTRS_KEY] = {
            "gaps": gaps, "substitute": None, "unanswered": failed[0] if failed else None,
        }  # fmt: skip
        if gaps:
            raise IncompleteDataError("bars are missing", frame=frame)
        return frame

    def _why(self, stamp_ms: int, now_ms: int) -> str:
        why, until = self.lacking.get(stamp_ms, ("", 0))
        if why == NO_BAR and now_ms < stamp_ms + 3 * MINUTE_MS:
            why = UNPUBLISHED  # as it may be yet
        return why if now_ms < until else ""


class Witness:
    """A sink that writes down what it is given, and checks that LIVE is true.

    Attributes:
        bars: the closed ones.
        states: each with the time and the reason.
    """

    def __init__(
        self, clock: ManualClock, absent: Iterable[int] = (), grace_s: float = 5.0
    ) -> None:
        self._clock, self._absent, self._grace_ms = clock, set(absent), round(grace_s * SECOND_MS)
        self.bars: list[LiveBar] = []
        self.states: list[StreamStatus] = []
        self.error: DataError | None = None

    def bar(self, bar: LiveBar) -> None:
        assert not self.bars or bar.stamp_ms > self.bars[-1].stamp_ms
        self.bars.append(bar)

    def revised(self, bar: LiveBar) -> None: ...

    def status(self, status: StreamStatus) -> None:
        if not self.states or self.states[-1] != status:
            self.states.append(status)
        if status.state is StreamState.LIVE:
            self.check_whole()

    def end(self, error: DataError | None = None) -> None:
        self.error = error

    def check_whole(self) -> None:
        """Check that no bar is missing since the first, and up to a moment ago."""
        assert self.bars, "LIVE without history"
        until = (self._clock.now_ms() - self._grace_ms) // MINUTE_MS * MINUTE_MS
        first = self.bars[0].stamp_ms
        wanted = [s for s in range(first, until, MINUTE_MS) if s not in self._absent]
        given = [bar.stamp_ms for bar in self.bars]
        assert [s for s in wanted if s not in set(given)] == []

    def named(self) -> list[str]:
        """Return the states, of equal neighbours one."""
        names = [str(status.state) for status in self.states]
        return [name for n, name in enumerate(names) if n == 0 or names[n - 1] != name]


class Times:
    """A feed in one thread, on a clock that the test moves: each of its steps is a call."""

    def __init__(
        self, vendor: Vendor, witness: Witness, *, dense: bool = True,
        clock: ManualClock | None = None,
    ) -> None:  # fmt: skip
        self.stream, self.vendor, self.clock = HandStream(), vendor, clock or vendor.clock
        retry = RetryPolicy(first_s=1.0, cap_s=60.0)
        source = GapFreeSource(
            self.stream, history_of(vendor), GRID, self.clock, start=Start(LOOKBACK),
            patience=StreamTimings(tick=0.0, dense=dense, retry=retry),
        )  # fmt: skip
        self.thread = StreamThread(source, witness)
        self.pushed = list[LiveBar]()
        self.stream.start(self.thread.inbox)
        vendor.waits = self._tell

    def until(self, end_ms: int) -> None:
        """Let time pass second by second."""
        while self.clock.now_ms() < end_ms:
            self.thread.step(0.0)
            before = self.clock.now_ms()
            self.clock.advance(1.0)
            self._tell(before)

    def _tell(self, since: int) -> None:
        """Stream each minute two seconds after its close."""
        now = self.clock.now_ms()
        for due in range(since // MINUTE_MS, now // MINUTE_MS + 1):
            if since < due * MINUTE_MS + 2 * SECOND_MS <= now:
                self.pushed.append(made((due - 1) * MINUTE_MS))
                self.stream.push(self.pushed[-1])


class _Until(Halt):
    """A halt at a time of the clock."""

    def __init__(self, clock: ManualClock, until_ms: int) -> None:
        super().__init__(clock)
        self._until_ms = until_ms

    @property
    def is_set(self) -> bool:
        return self._clock.now_ms() >= self._until_ms


def history_of(vendor: Vendor) -> ManagerHistory:
    return ManagerHistory(vendor, "BTCUSDT", GRID, vendor.clock)


def poll(vendor: Vendor, witness: Witness, until_ms: int) -> None:
    """Poll in this thread until a time."""
    halt = _Until(vendor.clock, until_ms)
    source = PollSource(
        "BTCUSDT 1m", history_of(vendor), GRID, lookback=LOOKBACK, clock=vendor.clock
    )
    source.run(witness, halt)


def run(kind: str, vendor: Vendor, witness: Witness, until_ms: int) -> None:
    """Run a feed of a kind until a time."""
    if kind == "poll":
        poll(vendor, witness, until_ms)
    else:
        Times(vendor, witness, dense=kind == "dense").until(until_ms)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at Monday 2024-06-10 00:00:30 UTC."""
    return ManualClock(MONDAY + 30 * SECOND_MS)


KINDS = pytest.mark.parametrize("kind", ["poll", "dense", "sparse"])


def at(number: int) -> int:
    return MONDAY + number * MINUTE_MS


@KINDS
def test_a_hole_in_the_history_is_filled_before_the_feed_is_live(
    clock: ManualClock, kind: str
) -> None:
    vendor = Vendor(clock, lacking={at(n): (FAILED, at(4)) for n in (-9, -8, -3)})
    witness = Witness(clock)
    run(kind, vendor, witness, at(7))
    assert witness.named()[-2:] == ["INCOMPLETE", "LIVE"]
    hole = next(one for one in witness.states if one.state is StreamState.INCOMPLETE)
    assert "2024-06-09T23:51" in hole.reason  # at(-9)
    assert at(4) <= witness.states[-1].at_ms <= at(7)
    assert [bar.stamp_ms for bar in witness.bars][:20] == [at(n) for n in range(-20, 0)]
    assert {bar.origin for bar in witness.bars if bar.stamp_ms == at(-5)} == {"history"}
    assert len(vendor.asked) <= 30  # waits between questions grow


@KINDS
def test_bars_before_a_hole_are_delivered_at_once_and_later_ones_held_back(
    clock: ManualClock, kind: str
) -> None:
    vendor = Vendor(clock, lacking={at(-9): (FAILED, at(400))})
    witness = Witness(clock)
    run(kind, vendor, witness, at(7))
    assert [bar.stamp_ms for bar in witness.bars] == [at(n) for n in range(-20, -9)]
    assert witness.named()[-1] == "INCOMPLETE"
    assert FAILED in witness.states[-1].reason


@KINDS
def test_a_bar_reported_missing_by_the_vendor_is_a_gap_after_two_minutes(
    clock: ManualClock, kind: str
) -> None:
    never = [at(-9), at(-1)]
    vendor = Vendor(clock, lacking=dict.fromkeys(never, (NO_BAR, at(9999))))
    witness = Witness(clock, never)
    run(kind, vendor, witness, at(5))
    live = next(one for one in witness.states if one.state is StreamState.LIVE)
    assert at(2) <= live.at_ms <= at(4)  # two minutes after the close of the newest
    given = {bar.stamp_ms for bar in witness.bars}
    assert given >= {at(n) for n in range(-20, 2)} - set(never)
    assert not given & set(never)


@KINDS
def test_a_feed_does_not_wait_for_bars_older_than_vendors_serve(
    clock: ManualClock, kind: str
) -> None:
    vendor = Vendor(clock, lacking={at(-9): ("demo serves 1m bars only 7 days back", at(9999))})
    witness = Witness(clock)
    run(kind, vendor, witness, at(3))
    assert witness.bars[0].stamp_ms == at(-8)
    assert witness.named()[-1] == "LIVE"


@KINDS
def test_a_feed_is_not_live_while_all_its_history_has_failed(clock: ManualClock, kind: str) -> None:
    vendor = Vendor(clock, lacking={at(n): (FAILED, at(3)) for n in range(-30, 20)})
    witness = Witness(clock)
    run(kind, vendor, witness, at(7))
    assert witness.named()[-1] == "LIVE"
    assert witness.bars[0].stamp_ms <= at(-16)


@KINDS
def test_a_feed_becomes_live_if_a_vendor_has_no_history_at_all(
    clock: ManualClock, kind: str
) -> None:
    never = [at(n) for n in range(-30, 2)]
    vendor = Vendor(clock, lacking=dict.fromkeys(never, (NO_BAR, at(9999))))
    witness = Witness(clock, never)
    run(kind, vendor, witness, at(6))
    live = next(one for one in witness.states if one.state is StreamState.LIVE)
    assert live.at_ms >= at(1)
    assert witness.named()[-1] == "LIVE"
    assert witness.bars[-1].stamp_ms == at(5) - MINUTE_MS
    if kind != "poll":  # the stream has them
        assert witness.bars[0].stamp_ms == at(0)
        assert live.at_ms <= at(3)


@pytest.mark.parametrize("kind", ["poll", "dense", "sparse"])
def test_a_vendor_that_fails_for_all_history_is_not_taken_for_one_without_history(
    clock: ManualClock, kind: str
) -> None:
    vendor = Vendor(clock, lacking={at(n): (FAILED, at(9999)) for n in range(-30, 20)})
    witness = Witness(clock)
    run(kind, vendor, witness, at(9))
    assert not {"LIVE", "INCOMPLETE"} & set(witness.named())
    assert not witness.bars


@pytest.mark.parametrize(
    ("of", "fails_first"),
    crossed([range(-20, 0), range(-15, -1), range(-12, -3)], [False, True]),
)
def test_bars_briefly_reported_missing_are_not_a_gap_of_a_dense_stream(
    clock: ManualClock, of: range, *, fails_first: bool
) -> None:
    healthy_ms = at(1)
    vendor = Vendor(clock, lacking={at(n): (NO_BAR, healthy_ms) for n in of})
    if fails_first:
        vendor.down = Span(MONDAY, MONDAY + 40 * SECOND_MS)
    witness = Witness(clock)
    run("dense", vendor, witness, at(4))
    assert witness.named()[-1] == "LIVE"
    given = [bar.stamp_ms for bar in witness.bars]
    assert given == list(range(given[0], at(3), MINUTE_MS))
    assert given[0] <= at(-20) + 2 * MINUTE_MS


def test_a_bar_of_an_outage_first_reported_missing_is_not_a_gap(
    clock: ManualClock,
) -> None:
    """The stream loses bars for minutes, and history fails for longer; then it is empty once."""
    vendor = Vendor(clock, down=Span(at(2), at(7)))
    vendor.lacking = {at(n): (NO_BAR, at(7) + 50 * SECOND_MS) for n in (1, 2, 3)}
    witness = Witness(clock)
    times = Times(vendor, witness)
    told, vendor.waits = vendor.waits, lambda since: None
    times.until(at(1))
    times._tell = lambda since: None  # type: ignore[method-assign]
    times.until(at(4) + 30 * SECOND_MS)
    times._tell = told  # type: ignore[method-assign, assignment]
    times.until(at(10))
    assert witness.named()[-1] == "LIVE"
    given = [bar.stamp_ms for bar in witness.bars]
    assert given == list(range(given[0], at(9), MINUTE_MS))


def test_bars_reported_missing_before_a_failure_are_requested_again(clock: ManualClock) -> None:
    vendor = Vendor(clock, down=Span(MONDAY + 31 * SECOND_MS, MONDAY + 120 * SECOND_MS))
    vendor.lacking = {at(n): (NO_BAR, MONDAY + 200 * SECOND_MS) for n in range(-12, -3)}
    witness = Witness(clock)
    run("dense", vendor, witness, at(6))
    assert witness.named()[-1] == "LIVE"
    assert {bar.stamp_ms for bar in witness.bars} >= {at(n) for n in range(-20, 5)}


def test_each_report_of_missing_bars_is_doubted_as_long_as_the_first(clock: ManualClock) -> None:
    """A program suspended for minutes requests bars that closed long ago."""
    vendor, witness = Vendor(clock), Witness(clock)
    vendor.lacking = {at(n): (NO_BAR, MONDAY + 50 * SECOND_MS) for n in range(-12, -3)}
    times = Times(vendor, witness)
    times.until(at(2))
    assert witness.named()[-1] == "LIVE"
    witness.check_whole = lambda: None  # type: ignore[method-assign]  # it is not told so at once
    clock.advance(400)
    vendor.lacking = {at(n): (NO_BAR, clock.now_ms() + 30 * SECOND_MS) for n in range(3, 7)}
    times.until(at(12))
    del witness.check_whole
    witness.check_whole()
    assert witness.named()[-1] == "LIVE"


@KINDS
@given(
    began=st.integers(-4, 4), lasts=st.integers(0, 5), takes=st.sampled_from((0.0, 0.5, 70.0, 200.0)),
    second=st.integers(0, 59), holes=st.sets(st.integers(-20, 8), max_size=6),
    never=st.sets(st.integers(-20, 8), max_size=4),
)  # fmt: skip
@settings(max_examples=examples(60), deadline=None)
def test_a_feed_begun_in_any_phase_of_an_outage_loses_no_bar(
    kind: str, began: int, lasts: int, takes: float, second: int, holes: set[int], never: set[int]
) -> None:
    clock = ManualClock(MONDAY + second * SECOND_MS)
    lacking = dict.fromkeys((at(n) for n in never), (NO_BAR, at(9999)))
    lacking |= {at(n): (FAILED, at(began + lasts)) for n in holes - never}
    down = Span(at(began), at(began + lasts))
    vendor = Vendor(clock, lacking=lacking, down=down, takes_s=takes)
    witness = Witness(clock, [at(n) for n in never], grace_s=5.0)
    run(kind, vendor, witness, at(30))
    assert witness.named()[-1] == "LIVE" or takes > 60


# --- how much waits --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("what", ["no history at all", "one hole in it"])
def test_waiting_bars_are_bounded_and_the_rest_is_fetched_later(
    clock: ManualClock, kind: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.feed.sources.stream._MOST_WAITING", 10)
    vendor, witness = Vendor(clock), Witness(clock)
    if what == "one hole in it":
        vendor.lacking = {at(-9): (FAILED, at(60))}
    else:
        vendor.down = Span(MONDAY, at(60))
    times = Times(vendor, witness, dense=kind == "dense")
    times.until(at(59))
    streamed = sum(bar.stamp_ms >= MONDAY for bar in times.pushed)
    delivered = sum(bar.stamp_ms >= MONDAY for bar in witness.bars)
    assert streamed == 58 and streamed - delivered - times.thread.passed_on <= 10
    assert "LIVE" not in witness.named()
    times.until(at(64))
    assert witness.named()[-1] == "LIVE"
    given = [bar.stamp_ms for bar in witness.bars]
    assert given[-1] == at(62)
    assert given == list(range(given[0], at(63), MINUTE_MS))
    if what == "one hole in it":
        assert witness.named()[-2:] == ["BACKFILLING", "LIVE"]


# --- clocks that are set -----------------------------------------------------------------------

JUMPS = [sign * far for far in (60, 86_400, 31_536_000) for sign in (-1, 1)]
# Begun a year ahead, a feed asks for all minutes of that year: that takes this test too long.
PHASES = [
    (phase, jump)
    for phase in (-40, 100, 260)
    for jump in JUMPS
    if (phase, jump) != (-40, JUMPS[-1])
]


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("phase_s, jump_s", PHASES)
def test_a_clock_that_is_set_in_any_phase_of_an_outage_loses_no_bar(
    clock: ManualClock, kind: str, phase_s: int, jump_s: int
) -> None:
    """The clock is set before, during or after the outage, and corrected, with a new connection, later."""
    vendor = Vendor(clock, down=Span(at(1), at(4)))
    witness = Witness(clock)
    times = Times(vendor, witness, dense=kind == "dense")
    times.until(at(1) + phase_s * SECOND_MS)
    # The market, its stream and history go by the true time.
    vendor.clock = witness._clock = true = ManualClock(clock.now_ms())
    vendor.waits = lambda since: None
    clock.set(clock.now_ms() + jump_s * SECOND_MS)

    def go_on(until_ms: int) -> None:
        while (before := true.now_ms()) < until_ms:
            times.thread.step(0.0)
            clock.advance(1.0)
            true.advance(1.0)
            if (true.now_ms() - 2 * SECOND_MS) // MINUTE_MS > (before - 2 * SECOND_MS) // MINUTE_MS:
                times.stream.push(made(before // MINUTE_MS * MINUTE_MS - MINUTE_MS))

    go_on(at(20))
    seen = [bar.stamp_ms for bar in witness.bars]
    assert seen[-1] >= at(17), "the feed does not stall"
    clock.set(true.now_ms())
    for state in (StreamState.CONNECTING, StreamState.BACKFILLING):
        times.stream.push(StreamStatus(state, "anew"))
    go_on(at(23) + 30 * SECOND_MS)
    given = [bar.stamp_ms for bar in witness.bars]
    assert given == list(range(given[0], at(23), MINUTE_MS))
    assert all(bar[1:6] == made(bar.stamp_ms)[1:6] for bar in witness.bars)
    assert witness.named()[-1] == "LIVE"


@pytest.mark.parametrize(
    ("kind", "jump_s"), crossed(["dense", "sparse"], [-86_400, -60, -15, 15, 60, 86_400])
)
def test_a_feed_connected_under_a_wrong_clock_is_right_from_the_next_bar_on(
    clock: ManualClock, kind: str, jump_s: int
) -> None:
    true = ManualClock(clock.now_ms())
    vendor, witness = Vendor(clock), Witness(true)
    clock.set(true.now_ms() + jump_s * SECOND_MS)
    times = Times(vendor, witness, dense=kind == "dense")
    vendor.clock = true
    vendor.waits = lambda since: None

    def go_on(until_ms: int, lost: int = 0) -> None:
        while (before := true.now_ms()) < until_ms:
            times.thread.step(0.0)
            clock.advance(1.0)
            true.advance(1.0)
            closed = (true.now_ms() - 2 * SECOND_MS) // MINUTE_MS
            if closed > (before - 2 * SECOND_MS) // MINUTE_MS and closed != lost // MINUTE_MS:
                times.stream.push(made((closed - 1) * MINUTE_MS))

    go_on(at(3))
    clock.set(true.now_ms())
    go_on(at(5) + 30 * SECOND_MS)
    assert witness.named()[-1] == "LIVE"
    go_on(at(6) + 20 * SECOND_MS, lost=at(6))
    newest = at(5) if kind == "dense" else at(4)  # silence may be that of the market
    assert witness.bars[-1].stamp_ms == newest
    assert {bar.stamp_ms for bar in witness.bars} >= {at(n) for n in range(5)}


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(
    "what", ["slow", "slow and connected anew", "empty first", "failing first"]
)
@pytest.mark.parametrize("jump_s", [-31_536_000, *JUMPS[2:5], -60, 60])
def test_a_clock_that_is_set_while_history_is_loaded_loses_no_bar(
    clock: ManualClock, kind: str, what: str, jump_s: int
) -> None:
    """The load lasts over two closes; the clock is set in its middle, and set right later."""
    true = ManualClock(clock.now_ms())
    vendor, witness = Vendor(true), Witness(true, grace_s=66.0)  # as late as the clock may make it
    if what == "failing first":
        vendor.down = Span(MONDAY, at(1))
    if what == "empty first":
        vendor.lacking = {at(n): (NO_BAR, at(1)) for n in range(-30, 0)}
    times = Times(vendor, witness, dense=kind == "dense", clock=clock)  # of the machine
    vendor.waits, pushed, is_set = lambda since: None, set[int](), list[bool]()

    def second() -> None:
        true.advance(1)
        clock.advance(1)
        stamp = (true.now_ms() - 2 * SECOND_MS) // MINUTE_MS * MINUTE_MS - MINUTE_MS
        if stamp not in pushed and stamp >= MONDAY:
            pushed.add(stamp)
            times.stream.push(made(stamp))

    def waits(since: int) -> None:
        if is_set:
            return
        is_set.append(True)
        for number in range(130):
            second()
            if number == 40:
                clock.set(clock.now_ms() + jump_s * SECOND_MS)
            if number == 80 and what == "slow and connected anew":
                for state in (StreamState.CONNECTING, StreamState.BACKFILLING):
                    times.stream.push(StreamStatus(state, "anew"))

    vendor.waits = waits

    def go_on(until_ms: int) -> None:
        while true.now_ms() < until_ms:
            times.thread.step(0.0)
            second()

    go_on(at(6))
    clock.set(true.now_ms())
    go_on(at(12) + 30 * SECOND_MS)
    given = [bar.stamp_ms for bar in witness.bars]
    assert given == list(range(given[0], at(12), MINUTE_MS))
    assert given[0] <= at(-17) or what == "empty first"
    assert witness.named()[-1] == "LIVE"
