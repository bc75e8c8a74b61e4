"""Bars from vendors without a stream: requested when they close, then pushed like streamed bars.

Requests go through the data manager like all others, with the same routing, limits, checks and
cache; every closed bar is stored when it arrives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...core.calendars.calendar import calendar_for, first_unclosed
from ...core.calendars.grid import BarGrid
from ...core.clock import Clock
from ...core.model.identity.instrument import Instrument
from ...core.model.market.stream import LiveBar, StreamState, StreamStatus
from ...core.model.time.instant import SECOND_MS, from_ms
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...errors import AllProvidersFailedError, CacheError, ProviderError, UnavailableError
from ..continuation import Continuation
from ..services import clock_of, market_of, services_of
from .base import Halt, Sink, ThreadedSource, log
from .history import FilledHistory, History, Manager, ManagerHistory, bars_of, hole_in_history

# Errors that may be temporary; any other error is permanent and ends the feed.
_PASSING = (ProviderError, AllProvidersFailedError, CacheError)
# Number of closed bars included in every request again, to catch corrections.
_OVERLAP = 3
# Time after its close when a bar is requested, and after which a missing one is reported.
_GRACE_S = 2.0
_LATE_MS = 120_000
_FIRST_RETRY_S = 2.0
# The longest wait, so that a change of the clock is noticed.
_LONGEST_S = 60.0


class PollSource(ThreadedSource):
    """A source that requests each bar of a series when it closes.

    Missing bars are requested again after 2, 4, 8 ... seconds, up to ``interval_s``, and later bars
    are held back until the missing ones arrive; a bar is skipped only if a vendor reports that it
    does not exist. Errors at vendors never end the source.

    Args:
        name: Name of the series.
        history: Source of the bars; its requests are paced by the vendors' limits.
        grid: Grid of the expected bars; the first answer determines its anchor.
        lookback: Number of closed bars of history to deliver first.
        interval_s: Maximum number of seconds between two requests for missing bars, and number of
            seconds between two requests for the forming bar.
        fetch_forming: Function that requests the forming bar; None if the forming bar is not needed,
            which saves requests.
        on_ask: Function called before every request.
        clock: Clock used for waiting.
        call: Returns a context manager that makes a run count as a call: it is named in logs, and
            its final error is reported.

    Attributes:
        asked_ms: Time of the last request (UTC milliseconds), or None.
        history: Source of the bars; see above.
        has_answered: Whether any request has been answered since the start.
    """

    def __init__(
        self,
        name: str,
        history: History,
        grid: BarGrid,
        *,
        lookback: int = 1000,
        interval_s: float = 60.0,
        fetch_forming: Callable[[], LiveBar | None] | None = None,
        on_ask: Callable[[], object] = lambda: None,
        clock: Clock | None = None,
        call: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        super().__init__(name, clock, call)
        self.asked_ms: int | None = None
        self.has_answered = self._is_up = False
        self.history, self._grid, self._lookback = history, grid, lookback
        self._interval_s, self.fetch_forming, self._on_ask = interval_s, fetch_forming, on_ask

    def run(self, sink: Sink, halt: Halt) -> None:
        """Request bars, push them and wait for the next, until stopped.

        Raises:
            QueryError: The series does not exist, or no vendor serves it.
            ConfigError: No vendor can be queried with this configuration.
        """
        self.has_answered = self._is_up = False
        poll: _Poll | None = None
        retry = _FIRST_RETRY_S
        while not halt.is_set:
            try:
                poll = poll or self._start_polling(sink)
                if self._fetch_lacking(poll, sink, again=retry > _FIRST_RETRY_S):
                    retry = _FIRST_RETRY_S
                    self._look_until_due(poll, sink, halt)
                    continue
            except _PASSING as error:
                log.warning("%s could not be requested: %s", self.name, error)
                self._is_up = False
                self._tell(sink, StreamState.CONNECTING, str(error))
            halt.wait(retry * (1 + self.clock.jitter() / 4))
            retry = min(retry * 2, max(self._interval_s, _FIRST_RETRY_S))

    def _start_polling(self, sink: Sink) -> _Poll:
        self._note_request()
        now_ms = self.clock.now_ms()  # bars may close while it is loaded
        filled = self.history.last(self._lookback)
        self._grid = replace(self._grid, anchor=filled.anchor or self._grid.anchor)
        coming = self._first_open_ms(now_ms)
        if filled.why and not filled.bars:
            raise UnavailableError(filled.why)
        self._answered(sink)
        poll = _Poll(self._grid, filled, filled.until_ms if filled.bars else coming)
        for bar in poll.given:
            sink.bar(bar)
        return poll

    def _fetch_lacking(self, poll: _Poll, sink: Sink, *, again: bool) -> bool:
        """Request the missing bars and push any that arrive; return whether all of them have arrived."""
        filled, frontier = FilledHistory([], []), -1
        # Bars after a gap in the history are requested as soon as the gap is filled.
        while frontier < min(poll.line.frontier, poll.loaded_ms + 1):
            frontier, coming = poll.line.frontier, self._first_open_ms(self.clock.now_ms())
            span = poll.wanted(coming)
            if span is None:
                break
            self._note_request()
            filled = self.history.between(span, again=again)
            self._answered(sink)
            for bar in poll.revised(filled.bars):
                sink.revised(bar)
            for bar in poll.add_answer(filled, self._grid.back(coming, 1)):
                sink.bar(bar)
        self.has_answered = True
        return self._judge(poll, coming, filled.why, sink)

    def _answered(self, sink: Sink) -> None:
        """After the first answer, report the feed as connected, although no connection stays open."""
        if not self._is_up:
            self._is_up = True
            self._tell(sink, StreamState.BACKFILLING, "it answers")

    def _judge(self, poll: _Poll, coming: int, reason: str, sink: Sink) -> bool:
        # Bars may have closed during the request; one that closed a moment ago may not be available
        # yet.
        on_its_way = self.clock.now_ms() - round(_GRACE_S * SECOND_MS)
        lacking = poll.line.gap(max(coming, self._first_open_ms(on_its_way)))
        if lacking is None:
            self._tell(sink, StreamState.LIVE, "")
            return True
        if lacking.start < poll.loaded_ms:
            self._tell(sink, StreamState.INCOMPLETE, hole_in_history(lacking, reason))
            return False
        late = self.clock.now_ms() - int(self._grid.closes(np.array([lacking.start], np.int64))[0])
        if poll.line.waiting:
            self._tell(
                sink, StreamState.DELAYED, reason or "a bar is missing; later bars are held back"
            )
        elif late > _LATE_MS:
            self._tell(
                sink,
                StreamState.STALE,
                reason or f"a bar is more than {_LATE_MS // 60_000} minutes late",
            )
        return False

    def _look_until_due(self, poll: _Poll, sink: Sink, halt: Halt) -> None:
        """Wait until the next bar closes, requesting the forming bar from time to time."""
        stamp = self._grid.next_open(poll.line.frontier)
        close = int(self._grid.closes(np.array([stamp], np.int64))[0])
        while not halt.is_set and (left := self._left_s(close)) > 0:
            if self.fetch_forming is not None and stamp <= self.clock.now_ms():
                self._poll_forming(self.fetch_forming, sink)
                left = min(left, self._interval_s)
            halt.wait(min(left, _LONGEST_S))

    def _poll_forming(self, fetch_forming: Callable[[], LiveBar | None], sink: Sink) -> None:
        self._note_request()
        try:
            bar = fetch_forming()
        except _PASSING as error:
            log.info("the forming bar of %s could not be requested: %s", self.name, error)
            return
        if bar is not None:
            sink.bar(bar._replace(is_closed=False, origin="live"))

    def _left_s(self, close_ms: int) -> float:
        return (close_ms - self.clock.now_ms()) / 1000 + _GRACE_S

    def _first_open_ms(self, now_ms: int) -> int:
        """Return the timestamp of the first bar that has not closed at ``now_ms``."""
        return first_unclosed(self._grid.calendar, self._grid.timeframe, now_ms, self._grid.anchor)

    def _note_request(self) -> None:
        self.asked_ms = self.clock.now_ms()
        self._on_ask()

    def _tell(self, sink: Sink, state: StreamState, reason: str) -> None:
        sink.status(StreamStatus(state, reason, self.clock.now_ms()))


class _Poll:
    """The state of one run: the delivered bars, and the bars to request. Use from one thread only.

    Args:
        grid: Grid of the series.
        history: History with which the run begins.
        start_ms: Time before which all bars in ``history`` are delivered immediately.

    Attributes:
        given: Bars delivered immediately.
        loaded_ms: Time of the last bar in the history; any bar missing before this time is missing
            from the history.
        line: Queue of the later bars, which holds a bar back until the missing bars before it
            arrive.
    """

    def __init__(self, grid: BarGrid, history: FilledHistory, start_ms: int) -> None:
        self.given = [bar for bar in history.bars if bar.stamp_ms < start_ms]
        self.loaded_ms = history.bars[-1].stamp_ms if history.bars else 0
        self._recent = {bar.stamp_ms: bar for bar in self.given[-_OVERLAP:]}
        self.line = Continuation(grid, start_ms)
        self.line.learn(history.bars, history.absent)

    def wanted(self, coming_ms: int) -> Span | None:
        """Return the span to request, or None if no bar is missing.

        The span contains the missing bars, and the last bars delivered, which may have been
        corrected.
        """
        lacking = self.line.gap(coming_ms)
        if lacking is None:
            return None
        # Bars after a gap were received but not delivered, so they are included; those in history
        # wait.
        end = lacking.end if lacking.start < self.loaded_ms else coming_ms
        return Span(min([lacking.start, *self._recent]), end)

    def revised(self, bars: Sequence[LiveBar]) -> list[LiveBar]:
        """Return those of ``bars`` whose earlier delivery had different values."""
        changed = [
            bar
            for bar in bars
            if bar.stamp_ms in self._recent and not _is_same(bar, self._recent[bar.stamp_ms])
        ]
        self._recent |= {bar.stamp_ms: bar for bar in changed}
        return changed

    def add_answer(self, filled: FilledHistory, newest_ms: int) -> list[LiveBar]:
        """Add an answer; return the bars that are next in order, marked as live or backfilled."""
        self.line.learn(filled.bars, filled.absent)
        bars_given = [
            bar
            if bar.origin == "history"
            else bar._replace(origin="live" if bar.stamp_ms >= newest_ms else "backfill")
            for bar in self.line.take_ready()
        ]
        recent = [*self._recent.items(), *((bar.stamp_ms, bar) for bar in bars_given)]
        self._recent = dict(recent[-_OVERLAP:])
        return bars_given


def _is_same(bar: LiveBar, other: LiveBar) -> bool:
    """Return whether a bar equals an earlier version, apart from the factor of a new dividend.

    If a bar has only one price, no factor can be distinguished from a correction of the price.
    """
    factors = [price / before for price, before in zip(bar[1:5], other[1:5], strict=True)]
    factor = factors[0] if bar.high > bar.low and 0.5 < factors[0] < 1.0 else 1.0
    if not all(math.isclose(each, factor, rel_tol=1e-9) for each in factors):
        return False
    volume, before = bar.volume, other.volume
    return math.isclose(volume, before, rel_tol=1e-9) or (volume != volume and before != before)


# --- for any symbol that a data manager supports


def polled(
    manager: Manager,
    symbol: str,
    timeframe: str,
    *,
    lookback: int = 1000,
    provider: str | None = None,
    interval_s: float = 60.0,
    forming: bool = False,
    adjustment: str = "split",
    timeout_s: float | None = None,
    on_ask: Callable[[], object] = lambda: None,
) -> PollSource:
    """Return a source that requests bars from ``manager`` whenever a bar closes.

    Args:
        manager: Data manager that supplies the bars.
        symbol, timeframe: Symbol and timeframe of the bars.
        lookback: Number of closed bars of history to deliver first.
        provider: The only vendor to query; None to let the rules decide.
        interval_s: See :class:`PollSource`.
        forming: Whether the forming bar is requested every ``interval_s``.
        adjustment: Adjustment of the prices.
        timeout_s: Seconds allowed for each request; if None, a request may take as long as pages
            keep arriving.
        on_ask: Function called before every request.
    """
    parsed, clock = Timeframe.parse(timeframe), clock_of(manager)
    # A symbol without a known market may trade at any time.
    market = market_of(manager, symbol) or calendar_for(Instrument(symbol, "crypto"))
    grid = BarGrid(market, parsed)
    history = ManagerHistory(
        manager,
        symbol,
        grid,
        clock,
        pinned=provider,
        adjustment=adjustment,
        timeout_s=timeout_s,
    )

    def fetch_forming() -> LiveBar | None:
        """Request and return the forming bar, or None if it does not exist."""
        options: dict[str, Any] = {} if provider is None else {"provider": provider}
        if timeout_s is not None:
            options["timeout"] = timeout_s
        start = from_ms(history.grid.back(clock.now_ms() + 1, 1))
        frame = manager.get_ohlcv(
            symbol,
            parsed.label,
            start if parsed.is_intraday else start.date(),
            include_forming=True,
            columns=("state",),
            adjustment=adjustment,
            **options,
        )
        forms = frame[frame["state"] == "forming"]
        return bars_of(forms, "live")[-1] if len(forms) else None

    services = services_of(manager)
    call = partial(services.observer.call_beside, symbol, parsed.label) if services else nullcontext
    return PollSource(
        f"{symbol} {parsed}",
        history,
        grid,
        lookback=lookback,
        interval_s=interval_s,
        fetch_forming=fetch_forming if forming else None,
        on_ask=on_ask,
        clock=clock,
        call=call,
    )
