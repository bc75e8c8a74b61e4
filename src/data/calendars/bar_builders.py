"""Builds intraday bars from a stream's trades, or from its closed minutes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..model.instant import MINUTE_MS
from ..model.span import Span
from ..model.stream import LiveBar, Trade
from .grid import BarGrid

_NEVER = 1 << 62


def bar_span(grid: BarGrid, ms: int) -> Span | None:
    """Return from when to when the bar lasts in which ``ms`` lies; None: no bar is expected then."""
    step = grid.timeframe.step_ms or 0
    opens = grid.opens(Span(ms - step + 1, ms + 1))
    if not len(opens):
        return None
    stamp = int(opens[-1])
    end = int(grid.closes(np.array([stamp], dtype=np.int64))[0])
    return Span(stamp, end) if ms < end else None


class TradeBars:
    """Bars of intraday timeframes, built of trades. Not thread-safe.

    A bar is closed by the first trade after it, or by the clock once ``late_ms`` have passed since
    its close, for trades are late. A bar whose beginning was not listened to is never called closed:
    it is to be had from history once it is over. A price without a size (0) moves
    the running bar and opens none. Trades that come after their bar was closed, or beside the
    calendar, change nothing.

    Args:
        grid: where bars stand.
        late_ms: how late a trade may be, and how far our clock may lie behind the vendor's.

    Attributes:
        grid: As passed.
        late: trades that came after their bar was closed.
        owed_ms: end of the last bar that is over and must come from history, UTC milliseconds; the
            caller sets it to None once it has fetched that bar.
    """

    def __init__(self, grid: BarGrid, late_ms: int = 2_000) -> None:
        self.late = 0
        self.owed_ms: int | None = None
        self.grid = grid
        self._late_ms = late_ms
        self._since_ms = _NEVER
        self._unheard_ms: int | None = None
        self._span = Span(0, 0)
        self._bar: LiveBar | None = None

    def restart(self, now_ms: int) -> None:
        """Begin to listen: what was running is forgotten."""
        self._since_ms = now_ms + self._late_ms
        self._span, self._bar = Span(0, 0), None
        running = bar_span(self.grid, self._since_ms - 1)
        self._unheard_ms = running and running.end

    def pause(self) -> None:
        """Listen no more: what is running may lack a trade, and is forgotten."""
        self._span, self._bar = Span(0, 0), None
        self._since_ms, self._unheard_ms = _NEVER, None

    def spoil(self, ms: int) -> None:
        """Leave the bar in which ``ms`` lies to history: a trade of it could not be used."""
        span = bar_span(self.grid, ms)
        if span is None or span.start < self._span.start or self._since_ms == _NEVER:
            return
        self._since_ms = max(self._since_ms, span.start + 1)
        self._unheard_ms = max(self._unheard_ms or 0, span.end)

    def take(self, trade: Trade, now_ms: int) -> list[LiveBar]:
        """Return the bar that ``trade`` closes, if any, and the running one.

        Args:
            trade: Trade that came.
            now_ms: When it came. If its bar is over by then, the bar is left to history: nobody
                can say which other trades of it are still to come.
        """
        if trade.stamp_ms < self._span.start:
            self.late += 1
            return []
        if trade.stamp_ms in self._span:
            return self._moved(trade)
        closed = self._finished()
        span = bar_span(self.grid, trade.stamp_ms)
        if span is None:
            return closed
        if now_ms >= span.end + self._late_ms:
            self.late += 1
            self._span = Span(span.end, span.end)
            if self._since_ms != _NEVER:
                self._unheard_ms = max(self._unheard_ms or 0, span.end)
            return closed
        self._span = span
        return [*closed, *self._moved(trade)]

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Return the running bar as closed if its time is over."""
        if self._unheard_ms is not None and now_ms >= self._unheard_ms + self._late_ms:
            self.owed_ms, self._unheard_ms = self._unheard_ms, None
        if self._bar is None or now_ms < self._span.end + self._late_ms:
            return []
        closed = self._finished()
        # Trades of this bar may still come, and are late then.
        self._span = Span(self._span.end, self._span.end)
        return closed

    def _moved(self, trade: Trade) -> list[LiveBar]:
        price, size = trade.price, trade.size
        old = self._bar
        if old is not None:
            self._bar = old._replace(
                high=max(old.high, price),
                low=min(old.low, price),
                close=price,
                volume=old.volume + size,
            )
        elif size > 0:
            stamp = self._span.start
            self._bar = LiveBar(stamp, price, price, price, price, size, is_closed=False)
        return [] if self._bar is None else [self._bar]

    def _finished(self) -> list[LiveBar]:
        bar, self._bar = self._bar, None
        if bar is None or self._span.start < self._since_ms:
            return []
        return [bar._replace(is_closed=True)]


# --- closed bars of minutes, as a stream sends them, to longer bars ---------------------------
#
# What comes out is what :mod:`..prices.resample` makes of the same minutes, to the last bit.

# A stream of the delayed tape is a quarter of an hour behind; what is later is no delay.
_MOST_LAG_MS = 20 * MINUTE_MS
# Corrections come half a minute after a bar, or some minutes.
_REMEMBERED = 16


class MinuteBars:
    """Bars of intraday timeframes, built of closed minutes. Not thread-safe.

    A bar is closed by its last minute, by the first minute after it, or by the clock once
    ``late_ms`` have passed since its close; where the stream is behind, as much later. A minute in
    without trades is not sent. A bar is never emitted as closed, and must come from history, where
    its first minute was missed, or where no minute came for longer than ``quiet_ms``: a lack of
    trades and a broken stream look alike then. A minute that comes again, or late, replaces the
    earlier one; where its bar was closed already, that bar is returned once more.

    Args:
        grid: where the longer bars stand; full minutes divide them.
        quiet_ms: a healthy stream is never silent for longer while shares are traded.
        late_ms: how late a minute may be sent, and how far our clock may lie beside the vendor's.

    Attributes:
        grid: As passed.
        owed_ms: end of the last bar that is over and must come from history, UTC milliseconds; the
            caller sets it to None once it has fetched that bar.
    """

    def __init__(self, grid: BarGrid, quiet_ms: int, late_ms: int = 4_000) -> None:
        self.owed_ms: int | None = None
        self.grid = grid
        # Two minutes that are sent lie at least a minute apart.
        self._silence_ms, self._late_ms = quiet_ms - MINUTE_MS, late_ms
        self._since_ms = 0
        self._newest_ms = self._lag_ms = 0
        self._span: Span | None = None  # of the running bar, or of the next one
        self._minutes: dict[int, LiveBar] = {}
        self._closed: dict[Span, dict[int, LiveBar]] = {}

    def restart(self, now_ms: int) -> None:
        """Begin to listen: what was running is forgotten.

        The minute that runs now is sent whole when it closes.
        """
        self._since_ms = now_ms + self._late_ms - MINUTE_MS
        self._move(bar_span(self.grid, now_ms) or self._from(now_ms))

    def pause(self) -> None:
        """Listen no more: what is running may lack a minute, and is forgotten."""
        self._span = None

    def spoil(self, ms: int) -> None:
        """Leave the bar in which ``ms`` lies to history: a minute of it could not be used."""
        span = bar_span(self.grid, ms)
        if span is not None and self._span is not None and span.start >= self._span.start:
            self._since_ms = max(self._since_ms, span.start + 1)

    def take(self, minute: LiveBar, now_ms: int) -> list[LiveBar]:
        """Return the bars that a minute closes or corrects, and the running one if all of it is known.

        Args:
            minute: closed.
            now_ms: when it came.
        """
        if minute.stamp_ms >= self._newest_ms:
            behind = now_ms - minute.stamp_ms - MINUTE_MS
            self._newest_ms, self._lag_ms = minute.stamp_ms, min(max(behind, 0), _MOST_LAG_MS)
        if self._span is None or minute.stamp_ms < self._span.start:
            return self._corrected(minute)
        bars: list[LiveBar] = []
        while minute.stamp_ms >= self._span.end:
            bars += self._finished(self._span)
        if minute.stamp_ms < self._span.start:  # beside the session
            return bars
        self._minutes[minute.stamp_ms] = minute
        if minute.stamp_ms + MINUTE_MS >= self._span.end:
            return bars + self._finished(self._span)
        if self._is_whole(self._span, minute.stamp_ms + MINUTE_MS):
            bars.append(_folded(self._span, self._minutes, is_closed=False))
        return bars

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Return the bars whose time is over as closed."""
        bars: list[LiveBar] = []
        while self._span and now_ms >= self._span.end + self._late_ms + self._lag_ms:
            bars += self._finished(self._span)
        return bars

    def _finished(self, span: Span) -> list[LiveBar]:
        """Go over to the next bar; return the one before if it can be trusted."""
        minutes, is_whole = self._minutes, self._is_whole(span, span.end)
        self._move(self._from(span.end))
        if not is_whole:
            self.owed_ms = span.end
            return []
        if not minutes:
            return []
        self._closed[span] = minutes
        if len(self._closed) > _REMEMBERED:
            del self._closed[next(iter(self._closed))]
        return [_folded(span, minutes)]

    def _corrected(self, minute: LiveBar) -> list[LiveBar]:
        for span, minutes in self._closed.items():
            if minute.stamp_ms in span:
                minutes[minute.stamp_ms] = minute
                return [_folded(span, minutes)]
        return []

    def _is_whole(self, span: Span, until_ms: int) -> bool:
        """Tell whether a bar was listened to from its beginning, without a long silence."""
        if span.start < self._since_ms:
            return False
        heard = [span.start]
        for stamp in sorted(self._minutes):
            heard += (stamp, stamp + MINUTE_MS)
        silences = zip(heard[::2], [*heard[1::2], until_ms], strict=True)
        return all(end - start <= self._silence_ms for start, end in silences)

    def _from(self, ms: int) -> Span:
        """Return the first bar that begins at ``ms`` or later."""
        span = bar_span(self.grid, self.grid.next_open(ms))
        assert span is not None, "an expected bar lasts for some time"
        return span

    def _move(self, span: Span) -> None:
        self._span, self._minutes = span, {}


def _folded(span: Span, minutes: dict[int, LiveBar], *, is_closed: bool = True) -> LiveBar:
    """Make one bar of minutes."""
    parts = [minutes[stamp] for stamp in sorted(minutes)]
    return LiveBar(
        span.start,
        parts[0].open,
        max(p.high for p in parts),
        min(p.low for p in parts),
        parts[-1].close,
        _sum(p.volume for p in parts),
        is_closed,
    )


def _sum(volumes: Iterable[float]) -> float:
    # The order of additions decides on the last bit.
    return float(np.add.reduceat(np.array([*volumes]), [0])[0])
