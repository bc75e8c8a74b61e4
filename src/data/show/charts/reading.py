"""Reads frames of bars into a chart. Pure.

This module does not determine any facts about the bars: gaps, states, vendors and doubts come from
``attrs["onetape"]`` and from the columns ``source``, ``state``, ``dividend`` and ``split``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.calendars.calendar import calendar_for
from ...core.calendars.grid import BarGrid
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.identity.kind import HUNDREDTHS
from ...core.model.market.bars import BarTable, Stamps
from ...core.model.stored.reasons import BEFORE_FIRST, Cause, cause_of, is_harmless_end, sentence
from ...core.model.time.instant import DAY_MS, MINUTE_MS, parse_iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.model.words.printable import printable
from ...core.runtime.once import cached_property
from ...errors import ConfigError, QueryError, ResponseFormatError
from .chart import Axis, AxisSpan, Chart, Flags, Ints, Mark, Series

if TYPE_CHECKING:
    import pandas as pd

    from ...core.model.identity.instrument import Instrument

# Reasons why a row is not drawn.
NO_NUMBER, DOUBLED = "price that is not a number", "time that occurs twice"
# Prices with a larger absolute value cannot be placed on an axis.
LARGEST = 1e300
# Maximum number of slots for a gap without a calendar.
_WIDEST_GAP = 1000
# If more bars than this are expected in a range, only bars missing in gaps get slots.
_MOST_SLOTS = 10_000_000
# A series whose last bar is at least so many slots before the last one of the chart has ended.
_ENDED = 10
# Maximum number of symbols in a title; the legend names all of them.
_MOST_NAMES = 6
_ADJUSTED = {
    "raw": "prices as traded",
    "split": "adjusted for splits",
    "all": "adjusted for splits and dividends",
}
_UNSETTLED = ("provisional", "forming", "suspect")
# Each column with corporate actions, and the values in it that mean that there is none.
_ACTIONS = {"split": (0.0, 1.0), "dividend": (0.0,)}


def chart_of(
    frames: pd.DataFrame | Mapping[str, pd.DataFrame],
    instruments: Mapping[str, Instrument] | None = None,
    *,
    doubts: Iterable[tuple[Span, str]] = (),
    currency: str | None = None,
) -> Chart:
    """Return the chart of one or more frames of bars.

    Args:
        frames: Frame from ``get_ohlcv``, or any frame of bars (columns ``open high low close``, a
            time index or time column); several frames, by symbol, become lines of close prices that
            are 100 at their first bar in common with another. One that has none is left out.
        instruments: Maps each symbol to its instrument, which gives the calendar and time zone. For
            a symbol without an instrument, bars are drawn side by side and labels are in UTC.
        doubts: Spans of bars that are almost certainly wrong, with the reason. They are added to
            those recorded in the frame.
        currency: Currency of the dividends; empty if it is unknown or there is more than one. None
            means the currency of the frame's prices, unless the prices are in hundredths such as
            pence.

    Raises:
        QueryError: A value is not a frame of bars, or several frames have different timeframes,
            adjustments or sessions, or no two have a bar in common.
    """
    if not isinstance(frames, Mapping):
        frames = {_facts(frames).get("symbol", ""): frames}
    parts = [
        _Part.of(str(name), frame, (instruments or {}).get(str(name)))
        for name, frame in frames.items()
    ]
    if not parts:
        raise QueryError("there is no frame to draw", hint="pass at least one frame")
    _check_alike(parts)
    parts, apart = _together(parts)
    axis = _axis(parts)
    series = tuple(part.series(axis) for part in parts)
    first, kind = parts[0], parts[0].facts.get("kind", {})
    names = [part.name for part in parts]
    if len(names) > _MOST_NAMES:
        names[_MOST_NAMES - 1 :] = [f"and {len(names) - _MOST_NAMES + 1} more"]
    names = list(filter(None, [*names, first.timeframe]))
    chart = Chart(
        printable((" " if len(parts) == 1 else " · ").join(names) or "bars"),
        "",
        axis,
        series,
        tuple(
            gap for part in parts if len(parts) == 1 or len(part.table) for gap in part.gaps(axis)
        ),
        notes=(*apart, *_notes(parts)),
        timeframe=first.timeframe,
        complete=not apart and all(part.facts.get("complete", True) for part in parts),
    )
    if len(parts) > 1:
        slots, times = np.unique(np.concatenate([one.slots for one in series]), return_counts=True)
        common = slots[times > 1]
        bases = {index: _base(one, common) for index, one in enumerate(series) if len(one)}
        first_base = min(bases.values(), default=0)
        about = f"closes, 100 at {axis.text(first_base)}" if bases else "closes"
        about += " or later: see the names" if len(set(bases.values())) > 1 else ""
        based = tuple(
            _based(one, bases[index], first_base, axis) if index in bases else one
            for index, one in enumerate(series)
        )
        return replace(chart, series=based, about=_about(axis, about, first.adjustment))
    unit = str(kind.get("unit") or "")
    if currency is None:
        # Dividends are often in the currency itself.
        currency = "" if unit in HUNDREDTHS else unit
    extended = "extended hours" if kind.get("session") == "extended" else ""
    return replace(
        chart,
        about=_about(axis, unit, extended, first.adjustment),
        marks=tuple(sorted((*first.actions(axis, currency), *first.doubts(axis, doubts)))),
        ribbon=first.ribbon(series[0]),
    )


@dataclass(frozen=True)
class _Part:
    """One frame: its rows as arrays in their original order, and its provenance (``attrs``)."""

    name: str
    frame: pd.DataFrame
    facts: Mapping[str, Any]
    table: BarTable
    instrument: Instrument | None

    @classmethod
    def of(cls, name: str, frame: pd.DataFrame, instrument: Instrument | None) -> _Part:
        """Convert a frame.

        Raises:
            QueryError: The value is not a frame of bars.
        """
        facts = _facts(frame)
        if "symbols" in facts or frame.columns.nlevels > 1:
            raise QueryError(
                "a chart needs a frame with one symbol, or several frames by symbol",
                hint='use layout="dict", or pass one frame',
            )
        if not frame.columns.is_unique:
            raise QueryError(
                "two columns of the frame have the same name", hint="remove one of them"
            )
        from ...core.model.answer.frame import (
            table_of,  # imports pandas, which pages without charts do without
        )

        timeframe = facts.get("timeframe")
        is_intraday = timeframe is not None and Timeframe.parse(timeframe).is_intraday
        try:
            table = table_of(frame if is_intraday else frame.set_axis(with_dates(frame.index)))
        except ResponseFormatError as exc:
            raise QueryError(
                f"the frame does not contain bars: {exc}", symbol=name or None
            ) from exc
        return cls(facts.get("symbol") or name, frame, facts, table, instrument)

    @property
    def timeframe(self) -> str:
        """Length of the bars, such as ``1d``; empty if it is not known."""
        return str(self.facts.get("timeframe", ""))

    @property
    def is_extended(self) -> bool:
        """Whether the bars include those outside the regular sessions."""
        return bool(self.facts.get("kind", {}).get("session") == "extended")

    @property
    def spacing(self) -> str | None:
        """The timeframe, or else the shortest distance between bars; None if unknown.

        A distance is used only if there are at least three bars.
        """
        if self.timeframe or len(self.stamps) < 3:
            return self.timeframe or None
        minutes = int(np.diff(self.stamps).min()) / MINUTE_MS
        # Days of 23 and 25 hours count as equal, and so do months of any length.
        if (days := round(minutes / 1440)) and minutes >= 20 * 60:
            return f"{round(days / 30.44)}M" if days > 27 else f"{days}d"
        return f"{minutes / 60:g}h" if minutes % 60 == 0 else f"{minutes:g}m"

    @property
    def adjustment(self) -> str:
        """A description of the price adjustment; empty if there are no splits and dividends."""
        adjustment, day = self.facts.get("adjustment"), self.facts.get("as_of")
        if not day:
            return ""
        words = _ADJUSTED.get(adjustment or "", "")
        return f"{words} as of {day}" if words and adjustment != "raw" else words

    @property
    def is_daily(self) -> bool:
        """Whether the bars are daily or longer."""
        if self.timeframe:
            return not Timeframe.parse(self.timeframe).is_intraday
        return not (self.table.stamps % DAY_MS).any()

    @cached_property
    def gap_spans(self) -> list[tuple[Span, str]]:
        """The gaps in the frame, except those before the first and after the last bar of all.

        A slice of an answer's frame still has all of the answer's gaps in its attributes; gaps
        outside the slice are left out.
        """
        spans = [
            (Span(parse_iso(g["start"]), parse_iso(g["end"])), str(g["reason"]))
            for g in self.facts.get("gaps", ())
            if g["reason"] != BEFORE_FIRST and not is_harmless_end(g["reason"])
        ]
        if self.facts.get("rows") == len(self.table):
            return spans
        extent = Span(*self.stamps[[0, -1]].tolist()) if len(self.stamps) else Span(0, 0)
        clipped = [(span.clip(extent), reason) for span, reason in spans]
        return [(span, reason) for span, reason in clipped if not span.is_empty]

    @cached_property
    def usable(self) -> Flags:
        """Mask of the rows whose prices can be drawn."""
        table = self.table
        prices = np.abs([table.open, table.high, table.low, table.close])
        return np.asarray((prices < LARGEST).all(axis=0), bool)  # false for NaN

    @cached_property
    def stamps(self) -> Stamps:
        """The rows' distinct timestamps, ascending."""
        return _distinct_stamps(self.table.stamps)

    def slots(self) -> Stamps:
        """Return the timestamps of the slots (the positions on the time axis), ascending."""
        ends = [end for span, _ in self.gap_spans for end in span]
        ends += [*self.stamps[:1].tolist(), *(self.stamps[-1:] + 1).tolist()]
        if not ends:
            return self.stamps
        expected = self._expected_stamps(Span(min(ends), max(ends)))
        return _distinct_stamps(np.concatenate([self.stamps, expected]))

    def _expected_stamps(self, span: Span) -> Stamps:
        """Return the timestamps of expected bars; without a calendar, only the timestamps in gaps."""
        timeframe = Timeframe.parse(self.timeframe) if self.timeframe else None
        step_ms = timeframe.longest_ms if timeframe else DAY_MS
        is_short = (span.end - span.start) // step_ms <= _MOST_SLOTS
        if timeframe and self.instrument is not None and is_short:
            anchor = self.facts.get("kind", {}).get("anchor") or "session"
            with suppress(ConfigError):  # the exchange has no calendar
                return BarGrid(calendar_for(self.instrument), timeframe, anchor).opens(span)
        steps = (
            np.arange(
                gap.start,
                gap.end,
                max(step_ms, (gap.end - gap.start) // _WIDEST_GAP),
                dtype=np.int64,
            )
            for gap, _ in self.gap_spans
        )
        return np.concatenate([np.empty(0, np.int64), *steps])

    def series(self, axis: Axis) -> Series:
        """Return the drawable bars in order."""
        stamps, usable = self.table.stamps, self.usable
        order = np.argsort(stamps, kind="stable")
        order = order[usable[order]]
        is_first = np.diff(stamps[order], prepend=np.iinfo(np.int64).min // 2) > 0
        kept = order[is_first]
        refused = {NO_NUMBER: int((~usable).sum()), DOUBLED: int((~is_first).sum())}
        codes, names = self._vendors(kept)
        rows = self.table.take(kept)
        slots = axis.stamps.searchsorted(rows.stamps).astype(np.int64)
        has_ended = self.facts.get("ended") or (len(slots) and len(axis) - slots[-1] > _ENDED)
        volume = np.where(np.abs(rows.volume) < LARGEST, rows.volume, np.nan)
        return Series(
            printable(self.name),
            slots,
            np.array([rows.open, rows.high, rows.low, rows.close, volume]),
            self._is_pale(kept),
            codes,
            names,
            self._segments(rows.stamps),
            len(self.table),
            {reason: count for reason, count in refused.items() if count},
            int((stamps < np.maximum.accumulate(stamps)).sum()),
            axis.text(int(slots[-1])) if len(slots) and has_ended else "",
        )

    def _segments(self, stamps: Stamps) -> Ints:
        breaks = [span.start for span, _ in self.gap_spans]
        breaks += self.table.stamps[~self.usable].tolist()
        segments = np.array(sorted(breaks), np.int64).searchsorted(stamps, side="right")
        if self.facts.get("gaps_total", 0) > len(self.facts.get("gaps", ())) and len(stamps):
            # The list of gaps is incomplete, so a line is broken at every empty slot of its own.
            slots = self.slots().searchsorted(stamps)
            segments = segments + np.cumsum(np.diff(slots, prepend=slots[0]) > 1, dtype=np.int64)
        return segments.astype(np.int64)

    @property
    def _spans(self) -> Sequence[Mapping[str, Any]]:
        """The spans in the provenance; empty if it merges spans by vendor and state."""
        spans = self.facts.get("spans", ())
        return () if any(span.get("merged") for span in spans) else spans

    def _vendors(self, kept: Ints) -> tuple[Ints, tuple[str, ...]]:
        codes, texts = self._texts("source", "vendor", kept)
        names = sorted(set(texts) - {""})
        # The last entry is for rows without a value: their code is -1.
        by_code = np.array([*(names.index(t) if t else -1 for t in texts), -1], np.int64)
        return by_code[codes], tuple(printable(name) for name in names)

    def _is_pale(self, kept: Ints) -> Flags:
        codes, texts = self._texts("state", "state", kept)
        return np.array([*(text in _UNSETTLED for text in texts), False])[codes]

    def _texts(self, column: str, entry: str, kept: Ints) -> tuple[Ints, list[str]]:
        """Return each row's text as an index (-1 for no text) into a list of texts, and that list.

        The text is the row's value in ``column``. If the frame lacks that column, it is the value
        of ``entry`` in the span of the provenance that contains the row.
        """
        if column in self.frame:
            codes, texts = self.frame[column].factorize()
            return codes[kept].astype(np.int64), [str(text) for text in texts]
        stamps, spans = self.table.stamps[kept], self._spans
        indices = np.full(len(kept), -1, np.int64)
        for index, span in enumerate(spans):
            ends = stamps.searchsorted([parse_iso(span["start"]), parse_iso(span["end"])])
            indices[slice(*ends)] = index
        return indices, [str(span[entry]) for span in spans]

    def gaps(self, axis: Axis) -> tuple[AxisSpan, ...]:
        """Return the gaps as ranges of slots; gaps that contain no slot of the axis are left out."""
        name = printable(self.name)
        placed = []
        for span, reason in self.gap_spans:
            first, end = axis.stamps.searchsorted(span).tolist()
            placed += [AxisSpan(first, end, printable(sentence(reason)), name)] * (end > first)
        return tuple(placed)

    def actions(self, axis: Axis, currency: str) -> Sequence[Mark]:
        """Return marks for the values in the frame's ``split`` and ``dividend`` columns."""
        marks = []
        for name, neutral in _ACTIONS.items():
            values = self.frame[name].to_numpy(np.float64) if name in self.frame else np.empty(0)
            for row in np.flatnonzero(np.isfinite(values) & ~np.isin(values, neutral)):
                slot = int(axis.stamps.searchsorted(self.table.stamps[row]))
                value = float(values[row])
                text = _ratio(value) if name == "split" else f"{value:g} {currency}".rstrip()
                marks.append(Mark(slot, name, printable(text)))
        return marks

    def doubts(self, axis: Axis, others: Iterable[tuple[Span, str]]) -> Sequence[Mark]:
        """Return marks for flagged rows, and for bars that are almost certainly wrong."""
        flagged = [(parse_iso(f["stamp"]), str(f["reason"])) for f in self.facts.get("flagged", ())]
        spans = [
            (Span(parse_iso(s["start"]), parse_iso(s["end"])), str(s.get("reason", "")))
            for s in self._spans
        ]
        stamps, ends = self.stamps, axis.stamps[[0, -1]].tolist() if len(axis) else [1, 0]
        flagged += [
            (stamp, reason)
            for span, reason in sorted({*spans, *others})
            if Cause.GRAVE in cause_of(reason)
            for stamp in stamps[slice(*stamps.searchsorted(span))].tolist()
        ]
        return [
            Mark(int(axis.stamps.searchsorted(stamp)), "doubt", printable(sentence(reason)))
            for stamp, reason in flagged
            if ends[0] <= stamp <= ends[1]
        ]

    def ribbon(self, series: Series) -> tuple[AxisSpan, ...]:
        """Return each run of bars from one vendor as a range of slots; no range crosses a gap."""
        codes = series.vendors
        if not len(codes):
            return ()
        is_new = (np.diff(codes) != 0) | (np.diff(series.segments) != 0)
        starts = np.concatenate([[0], np.flatnonzero(is_new) + 1])
        ends = series.slots[np.append(starts[1:], len(codes)) - 1] + 1
        runs = zip(
            series.slots[starts].tolist(), ends.tolist(), codes[starts].tolist(), strict=True
        )
        return tuple(AxisSpan(*run[:2], series.vendor_names[run[2]]) for run in runs if run[2] >= 0)

    def notes(self, *, alone: bool) -> list[str]:
        """Return notes about this answer to show below the picture, one sentence each."""
        facts: Mapping[str, Any] = self.facts
        error, empty = facts.get("error"), facts.get("empty", "the frame has no rows")
        more = facts.get("gaps_total", 0) - len(facts.get("gaps", ()))
        sentences = {
            f"ENDED: no bars since {facts.get('ended', '')[:10]}": facts.get("ended"),
            "MADE UP: invented bars, not from a market": facts.get("made_up"),
            "SAMPLE: real bars of the past, not fetched from a vendor": facts.get("sample"),
            f"SUBSTITUTE: {facts.get('substitute')}": facts.get("substitute"),
            f"{error['type']}: {error['message']}" if error else "": error,
            f"no bars in this range: {sentence(empty)}": not error and not len(self.table),
            f"{more:,} more gaps are not shaded": more > 0,
        } | {
            f"not known for all of it: {name}s": self.frame[name].isna().any()
            for name in _ACTIONS
            if alone and name in self.frame
        }
        found = [text for text, is_true in sentences.items() if is_true]
        if not (alone and self._spans):  # otherwise they are marked
            found += [sentence(t) for t in facts.get("problems", ()) if Cause.GRAVE in cause_of(t)]
        return [printable(text) for text in found]


def _notes(parts: Sequence[_Part]) -> list[str]:
    """Return the notes on all answers; if there are several answers, each note names its symbols."""
    if len(parts) == 1:
        return parts[0].notes(alone=True)
    by_note: dict[str, list[str]] = {}
    for part in parts:
        for note in part.notes(alone=False):
            by_note.setdefault(note, []).append(printable(part.name))
    return [f"{', '.join(names)}: {note}" for note, names in by_note.items()]


def _facts(frame: Any) -> Mapping[str, Any]:
    """Return a frame's provenance; empty if it has none.

    Raises:
        QueryError: The value is not a frame.
    """
    if not hasattr(frame, "attrs") or not hasattr(frame, "columns"):
        raise QueryError(
            f"a chart needs a frame of bars, not {type(frame).__name__}",
            hint="pass the result of get_ohlcv or get_ohlcv_batch",
        )
    facts = frame.attrs.get(ATTRS_KEY)
    return facts if isinstance(facts, Mapping) else {}


def with_dates(index: Any) -> Any:
    """Return a time index as dates if all its times are midnights in its time zone.

    yfinance stamps daily and longer bars in this way. Any other index is returned unchanged.
    """
    if getattr(index, "tz", None) is None:
        return index
    local = index.tz_localize(None)
    return local if (local == local.normalize()).all() else index


def _check_alike(parts: Sequence[_Part]) -> None:
    """Reject series that cannot share one axis.

    Raises:
        QueryError: The series differ.
    """
    with_bars = [part for part in parts if len(part.table)]
    what = {
        "timeframes": [p.spacing for p in with_bars],
        "adjustments": [p.facts.get("adjustment", "") for p in with_bars],
        # A coin's 24-hour day may be drawn with a stock's session; extended hours may not.
        "sessions": ["extended" if p.is_extended else "regular" for p in with_bars],
        "origins": ["made up" if p.facts.get("made_up") else "real" for p in with_bars],
    }
    for name, values in what.items():
        if len({value for value in values if value is not None}) > 1:
            pairs = zip(with_bars, values, strict=True)
            each = ", ".join(f"{p.name} {v or 'unknown'}" for p, v in pairs)
            raise QueryError(
                f"one chart cannot show different {name}: {each}",
                hint="request all of them alike, or draw separate charts",
            )


def _axis(parts: Sequence[_Part]) -> Axis:
    """Return the common axis of all series, in their time zone if they share one, otherwise in UTC."""
    stamps = _distinct_stamps(np.concatenate([part.slots() for part in parts]))
    zones = {_zone(part.instrument) for part in parts}
    zone = zones.pop() if len(zones) == 1 else "UTC"
    return Axis(stamps, zone, all(part.is_daily for part in parts))


def _distinct_stamps(stamps: Stamps) -> Stamps:
    """Return the timestamps sorted and unique (the array itself if it already is).

    Unlike ``np.unique``, this merges sorted runs in linear time.
    """
    if (np.diff(stamps) > 0).all():
        return stamps
    ascending = np.sort(stamps, kind="stable")
    once: Stamps = ascending[np.append(True, np.diff(ascending) > 0)]
    return once


def _zone(instrument: Instrument | None) -> str:
    if instrument is None:
        return "UTC"
    with suppress(ConfigError):  # the exchange has no calendar
        return calendar_for(instrument).timezone
    return instrument.timezone


def _together(parts: list[_Part]) -> tuple[list[_Part], list[str]]:
    """Return the parts without those that have no bar in common with another, and a note for each.

    Parts without bars are kept; they have a note of their own.

    Raises:
        QueryError: No two parts have a bar in common.
    """
    with_bars = [part for part in parts if len(part.stamps)]
    if len(with_bars) < 2:
        return parts, []
    stamps, counts = np.unique(np.concatenate([p.stamps for p in with_bars]), return_counts=True)
    shared = stamps[counts > 1]
    if not len(shared):
        names = ", ".join(part.name for part in with_bars)
        raise QueryError(
            f"{names} cannot be compared, because they have no bar in common",
            hint="choose a range in which all of them trade, or longer bars such as 1d",
        )
    notes, kept = [], []
    for part in parts:
        if not len(part.stamps) or np.isin(part.stamps, shared).any():
            kept.append(part)
            continue
        axis = Axis(part.stamps[[0, -1]], _zone(part.instrument), part.is_daily)
        ends = f"its bars are from {axis.text(0)} to {axis.text(1)}"
        notes.append(printable(f"{part.name} is left out, {ends}: no other series has bars then"))
    return kept, notes


def _base(series: Series, common: Ints) -> int:
    """Return the slot of a series' first bar that is in one of the common slots, and not a spike.

    Otherwise, return the slot of the first bar.
    """
    own = series.slots[np.isin(series.slots, common) & ~series.is_spike]
    return int(own[0] if len(own) else series.slots[0])


def _based(series: Series, base: int, first: int, axis: Axis) -> Series:
    """Return a series with the factor that makes its close at ``base`` 100.

    Raises:
        QueryError: That close is not above 0.
    """
    close = float(series.values[3][series.slots.searchsorted(base)])
    if close <= 0:
        raise QueryError(
            (
                f"{series.symbol} closes at {close:g} at {axis.text(base)}, so it cannot be rebased "
                "to 100 there"
            ),
            symbol=series.symbol,
            hint="draw this symbol alone, or change the start",
        )
    return replace(series, factor=100 / close, since=axis.text(base) if base > first else "")


def _about(axis: Axis, *texts: str) -> str:
    ends = dict.fromkeys((axis.text(0), axis.text(-1))) if len(axis) else {}
    return printable(" · ".join(filter(None, [" to ".join(ends), *texts])))


def _ratio(value: float) -> str:
    """Format a split as new shares to old shares, such as ``7:1`` or ``1:10``."""
    if value >= 1:
        return f"{value:g}:1"
    return f"1:{1 / value:g}" if value > 0 else f"{value:g}"
