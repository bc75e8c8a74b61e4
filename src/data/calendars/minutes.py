"""Closed bars of minutes, as a stream sends them, to longer bars.

What comes out is what :mod:`.resample` makes of the same minutes, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..model.instant import MINUTE_MS
from ..model.span import Span
from ..model.stream import LiveBar
from .ticks import TradeGrid, bar_span

# A stream of the delayed tape is a quarter of an hour behind; what is later is no delay.
_MOST_LAG_MS = 20 * MINUTE_MS
# Corrections come half a minute after a bar, or some minutes.
_REMEMBERED = 16


class MinuteBars:
    """Bars of intraday timeframes, built of closed minutes. Not thread-safe.

    A bar is closed by its last minute, by the first minute after it, or by the clock once
    ``late_ms`` have passed since its close; where the stream is behind, as much later. A minute in
    which nobody traded is not sent. A bar is never called closed, and is to be had from history,
    where its first minute was not listened to, or where nothing came in it for longer than
    ``quiet_ms``: nobody can tell then whether nobody traded. A minute that comes again, or late,
    takes the place of what is known of it; where its bar was closed already, that bar is returned
    once more.

    Args:
        grid: where the longer bars stand; full minutes divide them.
        quiet_ms: a healthy stream is never silent for longer while shares are traded.
        late_ms: how late a minute may be sent, and how far our clock may lie beside the vendor's.

    Attributes:
        owed_ms: the end of the last bar that is over and can be told by history alone; whoever has
            seen to that sets it to None.
    """

    def __init__(self, grid: TradeGrid, quiet_ms: int, late_ms: int = 4_000) -> None:
        self.owed_ms: int | None = None
        self._grid = grid
        # From one minute sent to the next one a minute passes at least.
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
        self._move(bar_span(self._grid, now_ms) or self._from(now_ms))

    def pause(self) -> None:
        """Listen no more: what is running may lack a minute, and is forgotten."""
        self._span = None

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
        found: list[LiveBar] = []
        while minute.stamp_ms >= self._span.end:
            found += self._finished(self._span)
        if minute.stamp_ms < self._span.start:  # beside the session
            return found
        self._minutes[minute.stamp_ms] = minute
        if minute.stamp_ms + MINUTE_MS >= self._span.end:
            return found + self._finished(self._span)
        if self._is_whole(self._span, minute.stamp_ms + MINUTE_MS):
            found.append(_folded(self._span, self._minutes, is_closed=False))
        return found

    def closed_by(self, now_ms: int) -> list[LiveBar]:
        """Return the bars whose time is over as closed."""
        found: list[LiveBar] = []
        while self._span and now_ms >= self._span.end + self._late_ms + self._lag_ms:
            found += self._finished(self._span)
        return found

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
        found = bar_span(self._grid, self._grid.next_open(ms))
        assert found is not None, "an expected bar lasts for some time"
        return found

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
