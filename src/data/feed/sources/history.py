"""The past bars that a feed requests: those before its start, and those that its stream lost."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime
from numbers import Real
from threading import TIMEOUT_MAX
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...core.calendars.calendar import MarketCalendar, first_unclosed
from ...core.calendars.grid import BarGrid
from ...core.clock import Clock
from ...core.model.answer.frame import build_frame, table_of
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.market.bars import Bar, BarTable, Stamps, merge
from ...core.model.market.stream import LiveBar, Origin
from ...core.model.stored.reasons import DELETED, NO_BAR, UNASKED, UNPUBLISHED, sentence
from ...core.model.time.instant import DAY_MS, date_of, from_ms, iso, parse_iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.prices.bar_rule import are_bars, faults_of
from ...errors import BadRangeError, ConfigError, IncompleteDataError, UnavailableError

if TYPE_CHECKING:
    import pandas as pd


log = logging.getLogger("onetape.feed")


class Manager(Protocol):
    """The part of a data manager that feeds need."""

    def get_ohlcv(self, symbol: str, timeframe: str, *args: Any, **kwargs: Any) -> pd.DataFrame:
        """See :meth:`~.data_manager.DataManager.get_ohlcv`."""


class FilledHistory(NamedTuple):
    """The answer to a request for past bars.

    Attributes:
        bars: Closed bars in the requested span.
        absent: Timestamps of expected bars that definitely do not exist, or for which only an
            invalid row exists.
        why: Reason why other bars are missing; empty if none are missing.
        hole_ms: Timestamp of the first missing bar that may still become available; None if none
            of them can.
        anchor: Origin of the bars' grid, if the answer gives it.
    """

    bars: list[LiveBar]
    absent: list[int]
    why: str = ""
    hole_ms: int | None = None
    anchor: str = ""

    @property
    def until_ms(self) -> int:
        """The time from which a feed resumes: the first gap or, without one, the end of ``bars``.

        ``bars`` must not be empty.
        """
        return self.bars[-1].stamp_ms + 1 if self.hole_ms is None else self.hole_ms

    @property
    def doubted(self) -> FilledHistory:
        """This answer with its absent bars counted as missing, i.e. as if they could still arrive."""
        holes = [*self.absent[:1], *([] if self.hole_ms is None else [self.hole_ms])]
        return FilledHistory(self.bars, [], self.why or NO_BAR, min(holes, default=None))

    def joined(self, later: FilledHistory) -> FilledHistory:
        """Return this answer with the answer for a later span."""
        holes = [hole for hole in (self.hole_ms, later.hole_ms) if hole is not None]
        bars, absent = self.bars + later.bars, self.absent + later.absent
        return FilledHistory(bars, absent, self.why or later.why, min(holes, default=None))


def hole_in_history(hole: Span, why: str) -> str:
    """Return a message about the first gap in a feed's initial history."""
    return f"its history lacks bars from {iso(hole.start)} on: {why or 'they are being fetched'}"


class History(Protocol):
    """A source of historical (closed) bars. Its methods may raise any ``DataError``."""

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        """Return the last ``count`` closed bars, or all that exist, and the gaps between them.

        With ``again``, a very recent answer is not reused.
        """

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        """Return the bars in ``span``; with ``again``, a very recent answer is not reused."""


class ManagerHistory:
    """History from a data manager, with the same routing and store as any other call.

    Args:
        manager: Data manager that supplies the bars.
        symbol: Symbol as the user writes it.
        grid: Grid of the series.
        clock: Source of the current time, for the age of bars.
        patience_ms: Milliseconds after a bar's close from which a vendor's report that the bar does
            not exist is trusted; before that, the bar may just be late.
        pinned: The only vendor whose bars are used; None for all vendors.
        adjustment: Adjustment of the prices.
        timeout_s: Seconds allowed for each request, like ``timeout=`` of ``get_ohlcv``; if None, a
            request may take as long as pages keep arriving.

    Attributes:
        grid: Grid of the series; once there is an answer, anchored like its bars.
    """

    def __init__(
        self,
        manager: Manager,
        symbol: str,
        grid: BarGrid,
        clock: Clock,
        *,
        patience_ms: int = 120_000,
        pinned: str | None = None,
        adjustment: str = "split",
        timeout_s: float | None = None,
    ) -> None:
        self._manager = manager
        self._symbol = symbol
        self.grid = grid
        self._clock = clock
        self._patience_ms = patience_ms
        self._options: dict[str, Any] = {"strict": True, "adjustment": adjustment}
        self._adjustment = adjustment
        # The end of the last answer of `last`, and the date up to which it includes splits.
        self._begun_ms, self._as_of = 0, ""
        if pinned is not None:
            self._options["provider"] = pinned
        if timeout_s is not None:
            self._options["timeout"] = timeout_s

    def last(self, count: int, *, again: bool = False) -> FilledHistory:
        """Return the last ``count`` closed bars, or all that exist, and the gaps between them.

        If no vendor serves the beginning of the range, the bars begin after that part. If an
        expected bar is missing from an answer that does not report a gap there, the bar does not
        exist. If vendors have no bars at all, ``why`` explains why bars may still arrive.

        Raises:
            UnavailableError: No bars are available because a vendor failed.
        """
        frame = self._ask(bars=count, force_refresh=again)
        anchor = str(frame.attrs.get(ATTRS_KEY, {}).get("kind", {}).get("anchor", ""))
        self.grid = replace(self.grid, anchor=anchor or self.grid.anchor)
        self._as_of = _as_of(frame)
        bars, gaps = bars_of(frame, "history"), _gaps(frame)
        self._begun_ms = bars[-1].stamp_ms + 1 if bars else 0
        if not bars:
            may_pass = [g for g in gaps if not (g.is_nothing or g.is_unserved)]
            reason = _reasons(may_pass)
            if any(gap.has_failed for gap in may_pass):
                raise UnavailableError(reason)
            return FilledHistory([], [], reason)
        last = bars[-1].stamp_ms
        begin = max((g.span.end for g in gaps if g.is_unserved and g.span.end <= last), default=0)
        bars = [bar for bar in bars if bar.stamp_ms >= begin]
        span = Span(bars[0].stamp_ms, last + 1)
        expected = self.grid.opens(span)
        named = expected[_lie_in(expected, [gap.span for gap in gaps])]
        return self._distinguish_missing(named, bars, frame, gaps)._replace(anchor=anchor)

    def between(self, span: Span, *, again: bool = False) -> FilledHistory:
        """Return the bars in ``span``, in the basis of the last answer of :meth:`last`.

        Prices of the bars after that answer are not adjusted for anything.
        """
        wishes: dict[str, Any] = {} if self._adjustment == "raw" else {"columns": ("split",)}
        if self._adjustment == "all" and span.start < self._begun_ms < span.end:
            before = self.between(Span(span.start, self._begun_ms), again=again)
            return before.joined(self.between(Span(self._begun_ms, span.end), again=again))
        if self._adjustment == "all" and span.start >= self._begun_ms:
            wishes["adjustment"] = "split"  # without the dividends since then
        label = self.grid.timeframe
        if label.is_intraday:
            first: Any = from_ms(span.start)
            last: Any = from_ms(span.end - 1)
        else:
            first, last = date_of(span.start), date_of(span.end - 1)
        frame = self._ask(first, last, force_refresh=again, **wishes)
        self._as_of = self._as_of or _as_of(frame)
        bars = self._without_new_splits(bars_of(frame, "backfill"), frame)
        bars = [bar for bar in bars if bar.stamp_ms in span]
        return self._distinguish_missing(self.grid.opens(span), bars, frame, _gaps(frame))

    def _without_new_splits(self, bars: list[LiveBar], frame: pd.DataFrame) -> list[LiveBar]:
        """Undo the adjustment for the frame's splits since the last answer of :meth:`last`."""
        if "split" not in frame or not self._as_of:
            return bars
        for stamp, ratio in zip(_stamps_of(frame).tolist(), frame["split"].tolist(), strict=True):
            if ratio > 0 and date_of(stamp).isoformat() > self._as_of:
                bars = [_multiplied(bar, ratio) if bar.stamp_ms < stamp else bar for bar in bars]
        return bars

    def _distinguish_missing(
        self, expected: Stamps, bars: list[LiveBar], frame: pd.DataFrame, gaps: Sequence[_Gap]
    ) -> FilledHistory:
        """Return an answer that distinguishes bars that do not exist from bars that are still missing."""
        present = np.array([bar.stamp_ms for bar in bars], dtype=np.int64)
        missing = np.setdiff1d(expected, present)
        if not len(missing):
            return FilledHistory(bars, [])
        # For these there is only an invalid row.
        is_none = np.isin(missing, _stamps_of(frame))
        is_none |= _lie_in(missing, [gap.span for gap in gaps if gap.is_nothing])
        is_none &= self.grid.closes(missing) + self._patience_ms <= self._clock.now_ms()
        absent, holes = missing[is_none].tolist(), missing[~is_none].tolist()
        if not holes:
            return FilledHistory(bars, absent)
        reason = _reasons(gap for gap in gaps if not gap.is_nothing)
        return FilledHistory(bars, absent, reason or "not published yet", holes[0])

    def _ask(self, start: Any = None, end: Any = None, **wishes: Any) -> pd.DataFrame:
        """Return the requested frame, without a warning about gaps, because the feed handles gaps itself."""
        label = self.grid.timeframe.label
        try:
            return self._manager.get_ohlcv(
                self._symbol, label, start, end, **(self._options | wishes)
            )
        except IncompleteDataError as error:
            if error.frame is None or error.frame.attrs[ATTRS_KEY]["substitute"]:
                raise
            return error.frame


def bars_of(frame: pd.DataFrame, origin: Origin) -> list[LiveBar]:
    """Return the valid rows of a frame as bars, in order.

    If nothing better is available, a frame contains invalid rows, which are marked and left out
    here.
    """
    values = [
        frame[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")
    ]
    table = BarTable.of_columns(_stamps_of(frame), values)
    ok = are_bars(table)
    if not ok.all():
        bad = table.take(~ok)
        first, reason = from_ms(int(bad.stamps[0])), faults_of(bad)[0]
        log.warning("%d invalid rows were left out, the first at %s: %s", len(bad), first, reason)
        table = table.take(ok)
    stamps, columns = table.stamps.tolist(), [column.tolist() for column in table.values()]
    return [
        LiveBar(stamp, o, h, low, c, volume, True, origin)
        for stamp, o, h, low, c, volume in zip(stamps, *columns, strict=True)
    ]


def _multiplied(bar: LiveBar, ratio: float) -> LiveBar:
    """Return a bar with its prices multiplied by ``ratio``, and its volume divided by it."""
    o, h, low, c = (price * ratio for price in bar[1:5])
    return bar._replace(open=o, high=h, low=low, close=c, volume=bar.volume / ratio)


def _as_of(frame: pd.DataFrame) -> str:
    """Return the date up to which a frame includes splits; empty if unknown."""
    return str(frame.attrs.get(ATTRS_KEY, {}).get("as_of") or "")


def _stamps_of(frame: pd.DataFrame) -> Stamps:
    stamps: Stamps = frame.index.to_numpy("datetime64[ms]").astype(np.int64)
    return stamps


class _Gap(NamedTuple):
    """A span without bars in an answer, with the reason.

    Attributes:
        span, reason: Span and reason of the gap, from the provenance of the answer.
        has_failed: Whether a vendor failed for this or another span of the answer.
    """

    span: Span
    reason: str
    has_failed: bool

    @property
    def is_nothing(self) -> bool:
        """Whether the vendors report that the gap contains no bars."""
        return self.reason.startswith(NO_BAR)

    @property
    def is_unserved(self) -> bool:
        """Whether a retry is pointless, because no vendor failed but none serves such bars."""
        may_come = self.is_nothing or self.reason in (UNPUBLISHED, DELETED)
        return not (self.has_failed or may_come)


def _gaps(frame: pd.DataFrame) -> list[_Gap]:
    """Return the gaps in a frame's provenance, ascending, leaving out spans with a closed market."""
    facts = frame.attrs.get(ATTRS_KEY, {})
    has_failed = facts.get("unanswered") is not None
    return [
        _Gap(
            Span(parse_iso(g["start"]), parse_iso(g["end"])),
            str(g["reason"]),
            has_failed,
        )
        for g in facts.get("gaps", ())
        if g["reason"] != UNASKED
    ]


def _reasons(gaps: Iterable[_Gap]) -> str:
    return "; ".join(dict.fromkeys(sentence(gap.reason) for gap in gaps))


def _lie_in(stamps: Stamps, spans: Sequence[Span]) -> NDArray[np.bool_]:
    """Return a mask of the timestamps inside ``spans``, which are ascending and disjoint."""
    starts = np.array([span.start for span in spans], dtype=np.int64)
    ends = np.array([0, *(span.end for span in spans)], dtype=np.int64)
    return stamps < ends[np.searchsorted(starts, stamps, side="right")]


# --- frames as live bars, and live bars as frames


def live_bars(frame: pd.DataFrame, origin: Origin = "history") -> list[LiveBar]:
    """Return a frame's rows as ascending bars; of several rows with one timestamp, the last is used.

    Raises:
        ResponseFormatError: The value is not a frame of bars.
    """
    return bars_of(build_frame(merge(BarTable.empty(), table_of(frame))), origin)


def frame_of(bars: Iterable[LiveBar]) -> pd.DataFrame:
    """Return closed bars as a canonical frame, indexed by their opening times."""
    return build_frame(BarTable.from_bars([Bar(*bar[:6]) for bar in bars]))


# --- the range of the last closed bars

_MONTH_MS = 31 * DAY_MS
_MOST = 10_000_000


def check_lookback(count: object) -> None:
    """Reject a ``lookback_bars`` that is not a valid number of bars.

    Raises:
        ConfigError: The value is not an integer, or is outside the supported range.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST:
        raise ConfigError(
            f"invalid lookback_bars {count!r}", hint=f"use an integer from 1 to {_MOST:,}"
        )


def check_seconds(name: str, seconds: object) -> None:
    """Reject a number of seconds that is not above 0, or longer than a thread can wait.

    Raises:
        ConfigError: The value is not such a number.
    """
    is_number = isinstance(seconds, Real) and not isinstance(seconds, bool)
    if not is_number or not 0 < seconds <= TIMEOUT_MAX:  # type: ignore[operator] # a number
        hint = f"use a number of seconds above 0 and up to {TIMEOUT_MAX:,.0f}"
        raise ConfigError(f"invalid {name} {seconds!r:.40}", hint=hint)


def lookback_range(
    market: MarketCalendar | None, timeframe: Timeframe, count: int, now_ms: int
) -> dict[str, Any]:
    """Return the ``start_date`` and ``end_date``, both inclusive, of the last ``count`` closed bars.

    Both bounds are dates for daily and longer bars, and naive UTC times for other bars. If the
    market is unknown, or the calendar does not expect that many bars, the range is simply as long
    as ``count`` bars.
    """
    start, end = _stamps(market, timeframe, count, now_ms)
    return {"start_date": _bound_of(timeframe, start), "end_date": _bound_of(timeframe, end)}


def _stamps(
    market: MarketCalendar | None, timeframe: Timeframe, count: int, now_ms: int
) -> tuple[int, int]:
    if market is not None:
        try:
            coming = first_unclosed(market, timeframe, now_ms)
            start, end = market.back(timeframe, coming, count), market.back(timeframe, coming, 1)
            return start, max(end, start + 1)  # never empty, even for one bar
        except BadRangeError:
            pass  # earlier than any calendar: no history is that long
    step_ms = timeframe.step_ms or _MONTH_MS * timeframe.count
    return now_ms - count * step_ms, now_ms


def _bound_of(timeframe: Timeframe, stamp_ms: int) -> datetime | date:
    return from_ms(stamp_ms) if timeframe.is_intraday else date_of(stamp_ms)
