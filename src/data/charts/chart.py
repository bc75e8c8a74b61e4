"""The content of a chart of bars: a frozen value built from a frame and its provenance. Pure.

This module does not determine any facts about the bars: gaps, states, vendors and doubts come from
``attrs["onetape"]`` and from the columns ``source``, ``state``, ``dividend`` and ``split``.
Instants are UTC milliseconds. A *slot* is a place on the time axis: there is one for each bar that
the market's calendar expects and for each bar that exists, so nights, weekends and holidays take no
room.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from ..calendars.calendar import calendar_for
from ..calendars.grid import BarGrid
from ..calendars.localtime import offset_ms
from ..errors import ConfigError, QueryError, ResponseFormatError
from ..model.bars import BarTable, Stamps
from ..model.instant import DAY_MS, MINUTE_MS, from_ms, parse_iso
from ..model.kind import HUNDREDTHS
from ..model.printable import printable
from ..model.provenance import ATTRS_KEY
from ..model.reasons import BEFORE_FIRST, GRAVE, UNEXPECTED, is_harmless_end, sentence
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..once import cached_property

if TYPE_CHECKING:
    import pandas as pd

    from ..model.instrument import Instrument

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Reasons why a row is not drawn.
NO_NUMBER, DOUBLED = "price that is not a number", "time that occurs twice"
# Prices with a larger absolute value cannot be placed on an axis.
_LARGEST = 1e300
# Maximum number of slots for a gap without a calendar.
_WIDEST_GAP = 1000
# If more bars than this are expected in a range, only bars missing in gaps get slots.
_MOST_SLOTS = 10_000_000
_ADJUSTED = {
    "raw": "prices as traded",
    "split": "adjusted for splits",
    "all": "adjusted for splits and dividends",
}
_UNSETTLED = ("provisional", "forming", "suspect")
# Names of the extra columns in a frame.
_ACTIONS = (("split", "split"), ("dividend", "dividend"))


class Counts(NamedTuple):
    """Counts of a frame's rows, by how they are drawn.

    Attributes:
        given: Number of rows in the frame.
        drawn: Number of columns of bars, or points of lines, in the picture.
        merged: Number of rows that share a column or point with a drawn row, and count toward its
            high and low.
        refused: Number of rows that cannot be drawn. ``drawn + merged + refused`` is ``given``.
    """

    given: int
    drawn: int
    merged: int
    refused: int

    def __str__(self) -> str:
        return (
            f"{self.given:,} bar{'s' * (self.given != 1)} given: {self.drawn:,} drawn, "
            f"{self.merged:,} merged, {self.refused:,} refused"
        )

    def __add__(self, other: object) -> Counts:
        if not isinstance(other, Counts):
            return NotImplemented
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))


class AxisSpan(NamedTuple):
    """A labelled range ``[first, end)`` of positions (slots) on the time axis, and its symbol."""

    first: int
    end: int
    text: str
    symbol: str = ""


class Mark(NamedTuple):
    """A mark at one slot (position on the time axis).

    Attributes:
        slot: Index of the slot.
        type: ``split``, ``dividend`` or ``doubt``; for user-supplied marks, ``buy``, ``sell`` or
            ``note``.
        text: Ratio of a split, amount and currency of a dividend, reason for a doubt, or
            user-supplied text.
    """

    slot: int
    type: str
    text: str

    @property
    def label(self) -> str:
        """The mark's text, including its kind, for output that has no column for the kind."""
        return self.text if self.type in ("doubt", "note") else f"{self.type} {self.text}".strip()


class Overlay(NamedTuple):
    """A user-supplied line over the bars; ``values`` contains a number for each slot (NaN for a break)."""

    name: str
    values: Floats


@dataclass(frozen=True)
class Axis:
    """The time axis, which is divided into slots: one for each time at which there can be a bar.

    Attributes:
        stamps: Opening time of each slot in UTC milliseconds, int64 of shape (slots,), ascending.
        zone: IANA name of the time zone of the labels.
        is_daily: Whether the timestamps are session dates at 00:00, which are not converted to a
            time zone.
    """

    stamps: Stamps
    zone: str = "UTC"
    is_daily: bool = True

    def __len__(self) -> int:
        return len(self.stamps)

    def local(self, slot: int) -> int:
        """Return the local wall-clock time of a slot in milliseconds, as if it were UTC.

        A session date is returned unchanged.
        """
        ms = int(self.stamps[slot])
        return ms if self.is_daily else ms + offset_ms(ZoneInfo(self.zone), ms)

    def walls(self, slots: Ints) -> Ints:
        """Return the wall-clock times of many slots, as :meth:`local` does for one."""
        import pandas as pd

        stamps = self.stamps[slots]
        if self.is_daily or self.zone == "UTC":
            return stamps
        times = pd.DatetimeIndex(stamps.astype("M8[ms]"), tz="UTC").tz_convert(self.zone)
        walls: Ints = times.tz_localize(None).as_unit("ms").asi8
        return walls

    def text(self, slot: int) -> str:
        """Return a slot's date as text, with the time in the axis' zone unless bars are daily."""
        time = from_ms(self.local(slot))
        return f"{time:%Y-%m-%d}" if self.is_daily else f"{time:%Y-%m-%d %H:%M}"


@dataclass(frozen=True)
class Series:
    """The bars of one symbol, as arrays in order of time; each slot of the axis has at most one bar.

    Arrays have shape (bars,) unless stated otherwise.

    Attributes:
        symbol: Symbol, as human-readable text.
        slots: Slot of each bar on the axis.
        values: Open, high, low, close, volume; shape (5, bars).
        pale: Whether each bar may still change, because it is provisional, forming or suspect.
        vendors: Vendor of each bar, as an index into ``vendor_names``; -1 if not known.
        vendor_names: Names of the vendors, as human-readable text.
        segments: Number of gaps before each bar; a line does not join bars from different segments.
        given: Number of rows in the frame.
        refused: Maps each reason to the number of rows that are not drawn because of it.
        unordered: Number of rows that were out of order and were sorted.
        factor: Factor by which closes are multiplied, so that several series start at 100; 1.0 for
            a single series.
    """

    symbol: str
    slots: Ints
    values: Floats
    pale: Flags
    vendors: Ints
    vendor_names: tuple[str, ...]
    segments: Ints
    given: int
    refused: Mapping[str, int]
    unordered: int = 0
    factor: float = 1.0

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def closes(self) -> Floats:
        """The closing prices, multiplied by ``factor``."""
        closes: Floats = self.values[3] * self.factor
        return closes


@dataclass(frozen=True)
class Chart:
    """The content of a chart, before it is drawn.

    Attributes:
        title: Symbol and timeframe.
        about: Second line of the title: range, currency, trading hours and adjustment.
        axis: Time axis.
        series: Series to draw: a single one as bars with volume, several series as lines of close
            prices that are 100 at their first common bar.
        gaps: Ranges in which bars are missing, with the reason.
        marks: Splits, dividends, and bars that are almost certainly wrong.
        ribbon: Vendor of each run of consecutive bars; only for a single series.
        notes: Sentences shown below the picture.
        timeframe: Label of the timeframe; empty if not known.
        complete: Whether every answer is complete, i.e. reports nothing as missing.
        lines: User-supplied lines over the bars of one symbol.
    """

    title: str
    about: str
    axis: Axis
    series: tuple[Series, ...]
    gaps: tuple[AxisSpan, ...] = ()
    marks: tuple[Mark, ...] = ()
    ribbon: tuple[AxisSpan, ...] = ()
    notes: tuple[str, ...] = ()
    timeframe: str = ""
    complete: bool = True
    lines: tuple[Overlay, ...] = ()

    @property
    def is_indexed(self) -> bool:
        """Whether the chart shows several series, as lines that start at 100."""
        return len(self.series) > 1

    @property
    def given(self) -> int:
        """Number of rows in all frames together."""
        return sum(series.given for series in self.series)


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
            are 100 at the first common bar.
        instruments: Maps each symbol to its instrument, which gives the calendar and time zone. For
            a symbol without an instrument, bars are drawn side by side and labels are in UTC.
        doubts: Spans of bars that are almost certainly wrong, with the reason. They are added to
            those recorded in the frame.
        currency: Currency of the dividends; empty if it is unknown or there is more than one. None
            means the currency of the frame's prices, unless the prices are in hundredths such as
            pence.

    Raises:
        QueryError: A value is not a frame of bars, or several frames have different timeframes,
            adjustments or sessions, or no bar in common.
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
    axis = _axis(parts)
    series = tuple(part.series(axis) for part in parts)
    notes = _notes(parts)
    complete = all(part.facts.get("complete", True) for part in parts)
    first = parts[0]
    if len(parts) > 1:
        series = _index_to_100(series, axis)
        kept = [one for one in series if len(one)]
        base = _common_slot(kept)
        at = "" if base is None else f", 100 at {axis.text(base)}"
        return Chart(
            printable(" · ".join([*(part.name for part in parts), first.timeframe])),
            _join_texts(_range(axis), f"closes{at}", first.adjustment),
            axis,
            series,
            tuple(s for part in parts if len(part.table) for s in part.gaps(axis)),
            notes=tuple(notes),
            timeframe=first.timeframe,
            complete=complete,
        )
    kind = first.facts.get("kind", {})
    if currency is None:
        unit = str(kind.get("unit") or "")
        # Dividends are often in the currency itself.
        currency = "" if unit in HUNDREDTHS else unit
    return Chart(
        printable(f"{first.name} {first.timeframe}".strip() or "bars"),
        _join_texts(
            _range(axis),
            kind.get("unit"),
            "extended hours" if kind.get("session") == "extended" else "",
            first.adjustment,
        ),
        axis,
        series,
        first.gaps(axis),
        tuple(sorted((*first.actions(axis, currency), *first.doubts(axis, doubts)))),
        first.ribbon(series[0]),
        tuple(notes),
        first.timeframe,
        complete,
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
        from ..model.frame import table_of  # imports pandas, which pages without charts do without

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
        words = _ADJUSTED.get(adjustment or "", "")
        return (
            f"{words} as of {day}"
            if words and day and adjustment != "raw"
            else words
            if day
            else ""
        )

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
        flags = np.ones(len(self.table), bool)
        for prices in (self.table.open, self.table.high, self.table.low, self.table.close):
            flags &= np.abs(prices) < _LARGEST  # false for NaN
        return flags

    @cached_property
    def stamps(self) -> Stamps:
        """The rows' distinct timestamps, ascending."""
        return _distinct_stamps(self.table.stamps)

    def slots(self) -> Stamps:
        """Return the timestamps of the slots (the positions on the time axis), ascending."""
        stamps = self.stamps
        ends = [span for span, _ in self.gap_spans]
        starts = [*(s.start for s in ends), *stamps[:1].tolist()]
        last = [*(s.end for s in ends), *(stamps[-1:] + 1).tolist()]
        if not starts:
            return stamps
        span = Span(min(starts), max(last))
        return _distinct_stamps(np.concatenate([stamps, self._expected_stamps(span)]))

    def _expected_stamps(self, span: Span) -> Stamps:
        """Return the timestamps of expected bars; without a calendar, only the timestamps in gaps."""
        step_ms = Timeframe.parse(self.timeframe).longest_ms if self.timeframe else DAY_MS
        is_short = (span.end - span.start) // step_ms <= _MOST_SLOTS
        if self.timeframe and self.instrument is not None and is_short:
            anchor = self.facts.get("kind", {}).get("anchor") or "session"
            grid = BarGrid(calendar_for(self.instrument), Timeframe.parse(self.timeframe), anchor)
            try:
                return grid.opens(span)
            except ConfigError:  # the exchange has no calendar
                pass
        return np.concatenate(
            [np.empty(0, np.int64), *(self._slots_in(gap, step_ms) for gap, _ in self.gap_spans)]
        )

    def _slots_in(self, gap: Span, step_ms: int) -> Stamps:
        step_ms = max(step_ms, (gap.end - gap.start) // _WIDEST_GAP)
        return np.arange(gap.start, gap.end, step_ms, dtype=np.int64)

    def series(self, axis: Axis) -> Series:
        """Return the drawable bars in order."""
        stamps, usable = self.table.stamps, self.usable
        later = np.maximum.accumulate(stamps)
        order = np.argsort(stamps, kind="stable")
        order = order[usable[order]]
        ascending = stamps[order]
        is_first = np.ones(len(order), bool)
        is_first[1:] = ascending[1:] != ascending[:-1]
        kept = order[is_first]
        refused = {NO_NUMBER: int((~usable).sum()), DOUBLED: int((~is_first).sum())}
        codes, names = self._vendors(kept)
        rows = self.table.take(kept)
        volume = np.where(np.abs(rows.volume) < _LARGEST, rows.volume, np.nan)
        slots = axis.stamps.searchsorted(rows.stamps).astype(np.int64)
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
            int((stamps < later).sum()),
        )

    def _segments(self, stamps: Stamps) -> Ints:
        breaks = [span.start for span, _ in self.gap_spans]
        breaks += self.table.stamps[~self.usable].tolist()
        segments = np.array(sorted(breaks), np.int64).searchsorted(stamps, side="right")
        if self.facts.get("gaps_total", 0) > len(self.facts.get("gaps", ())):
            # The list of gaps is incomplete, so a line is broken at every empty slot of its own.
            slots = self.slots().searchsorted(stamps)
            segments = segments + np.concatenate([[0], np.cumsum(np.diff(slots) > 1)])[: len(slots)]
        return segments.astype(np.int64)

    @property
    def _spans(self) -> Sequence[Mapping[str, Any]]:
        """The spans in the provenance; empty if it merges spans by vendor and state."""
        spans = self.facts.get("spans", ())
        return () if any(span.get("merged") for span in spans) else spans

    def _vendors(self, kept: Ints) -> tuple[Ints, tuple[str, ...]]:
        codes, texts = self._texts("source", "vendor", kept)
        names = sorted(set(texts) - {""})
        index_of = {name: index for index, name in enumerate(names)} | {"": -1}
        # The last entry is for rows without a value: their code is -1.
        by_code = np.array([*(index_of[text] for text in texts), -1], np.int64)
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
        spans = []
        for span, reason in self.gap_spans:
            first, end = axis.stamps.searchsorted(span).tolist()
            if end > first:
                spans.append(
                    AxisSpan(first, end, printable(sentence(reason)), printable(self.name))
                )
        return tuple(spans)

    def actions(self, axis: Axis, currency: str) -> Sequence[Mark]:
        """Return marks for the values in the frame's ``split`` and ``dividend`` columns."""
        marks = []
        for name, neutral in (("split", (0.0, 1.0)), ("dividend", (0.0,))):
            if name not in self.frame:
                continue
            values = self.frame[name].to_numpy(np.float64)
            for row in np.flatnonzero(np.isfinite(values) & ~np.isin(values, neutral)):
                slot = int(axis.stamps.searchsorted(self.table.stamps[row]))
                value = float(values[row])
                text = ratio(value) if name == "split" else f"{value:g} {currency}".rstrip()
                marks.append(Mark(slot, name, printable(text)))
        return marks

    def doubts(self, axis: Axis, others: Iterable[tuple[Span, str]]) -> Sequence[Mark]:
        """Return marks for flagged rows, and for bars that are almost certainly wrong."""
        flagged = [(parse_iso(f["stamp"]), str(f["reason"])) for f in self.facts.get("flagged", ())]
        spans = [
            (Span(parse_iso(s["start"]), parse_iso(s["end"])), str(s.get("reason", "")))
            for s in self._spans
        ]
        grave = {(s, reason) for s, reason in (*spans, *others) if reason.startswith(GRAVE)}
        stamps = self.stamps
        flagged += [
            (stamp, reason)
            for span, reason in sorted(grave)
            for stamp in stamps[slice(*stamps.searchsorted(span))].tolist()
        ]
        inside = [(stamp, reason) for stamp, reason in flagged if _is_within(axis, stamp)]
        return [
            Mark(int(axis.stamps.searchsorted(stamp)), "doubt", printable(sentence(reason)))
            for stamp, reason in inside
        ]

    def ribbon(self, series: Series) -> tuple[AxisSpan, ...]:
        """Return each run of bars from one vendor as a range of slots; no range crosses a gap."""
        codes = series.vendors
        if not len(codes) or (codes < 0).all():
            return ()
        is_new = (np.diff(codes) != 0) | (np.diff(series.segments) != 0)
        starts = np.concatenate([[0], np.flatnonzero(is_new) + 1])
        ends = series.slots[np.append(starts[1:], len(codes)) - 1] + 1
        named = (series.vendor_names[c] if c >= 0 else "" for c in codes[starts].tolist())
        runs = zip(series.slots[starts].tolist(), ends.tolist(), named, strict=True)
        return tuple(AxisSpan(*run) for run in runs if run[2])

    def notes(self, *, alone: bool) -> list[str]:
        """Return notes about this answer to show below the picture, one sentence each."""
        facts: Mapping[str, Any] = self.facts
        ended = facts.get("ended", "")[:10]
        sentences = [f"ENDED: no bars since {ended}"] * bool(ended)
        if facts.get("made_up"):
            sentences.append("MADE UP: invented bars, not from a market")
        if facts.get("sample"):
            sentences.append("SAMPLE: real bars of the past, not fetched from a vendor")
        if facts.get("substitute"):
            sentences.append(f"SUBSTITUTE: {facts['substitute']}")
        if facts.get("error"):
            sentences.append(f"{facts['error']['type']}: {facts['error']['message']}")
        if not len(self.table) and not facts.get("error"):
            why = sentence(facts.get("empty", "the frame has no rows"))
            sentences.append(f"no bars in this range: {why}")
        flagged = [
            parse_iso(f["stamp"]) for f in facts.get("flagged", ()) if f["reason"] != UNEXPECTED
        ]
        if np.isin(self.stamps, flagged).any():
            sentences.append("rows that cannot be bars are included, and marked with !")
        more = facts.get("gaps_total", 0) - len(facts.get("gaps", ()))
        if more > 0:
            sentences.append(f"{more:,} more gaps are not shaded")
        for name, _ in _ACTIONS if alone else ():
            if name in self.frame and self.frame[name].isna().any():
                sentences.append(f"not known for all of it: {name}s")
        return [printable(note) for note in (*sentences, *self._unmarked(alone=alone))]

    def _unmarked(self, *, alone: bool) -> list[str]:
        """Return notes about bars that are almost certainly wrong, unless :meth:`doubts` marks them."""
        if alone and self._spans:
            return []
        return [sentence(text) for text in self.facts.get("problems", ()) if text.startswith(GRAVE)]


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
        "sessions": [_session(p) for p in with_bars],
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


def _session(part: _Part) -> str:
    return "extended" if part.facts.get("kind", {}).get("session") == "extended" else "regular"


def _axis(parts: Sequence[_Part]) -> Axis:
    """Return the common axis of all series, in their time zone if they share one, otherwise in UTC."""
    slots = [part.slots() for part in parts]
    stamps = slots[0] if len(slots) == 1 else _distinct_stamps(np.concatenate(slots))
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
    try:
        return calendar_for(instrument).timezone
    except ConfigError:
        return instrument.timezone


def _index_to_100(series: Sequence[Series], axis: Axis) -> tuple[Series, ...]:
    """Return the series with factors that make every close at the first common bar 100.

    Raises:
        QueryError: The series have no bar in common, or a close there that is not above 0.
    """
    base = _common_slot([one for one in series if len(one)])
    if base is None:
        return tuple(series)
    return tuple(_rebase(one, base, axis) if len(one) else one for one in series)


def _common_slot(series: Sequence[Series]) -> int | None:
    """Return the first slot in which all series have a bar; None if there is no series.

    Raises:
        QueryError: The series have no slot in common.
    """
    if not series:
        return None
    shared = series[0].slots
    for other in series[1:]:
        shared = np.intersect1d(shared, other.slots, assume_unique=True)
    if not len(shared):
        names = ", ".join(other.symbol for other in series)
        raise QueryError(
            f"{names} cannot be compared, because they have no bar in common",
            hint="choose a range in which all of them trade, or longer bars such as 1d",
        )
    return int(shared[0])


def _rebase(series: Series, base: int, axis: Axis) -> Series:
    close = float(series.values[3][series.slots.searchsorted(base)])
    if close <= 0:
        raise QueryError(
            (
                f"{series.symbol} closes at {close:g} at {axis.text(base)}, so it cannot be rebased "
                "to 100 there"
            ),
            symbol=series.symbol,
            hint="draw it alone, or choose another start",
        )
    return replace(series, factor=100 / close)


def _is_within(axis: Axis, stamp: int) -> bool:
    return bool(len(axis)) and int(axis.stamps[0]) <= stamp <= int(axis.stamps[-1])


def _range(axis: Axis) -> str:
    if not len(axis):
        return ""
    first, last = axis.text(0), axis.text(-1)
    return first if first == last else f"{first} to {last}"


def _join_texts(*texts: str | None) -> str:
    return printable(" · ".join(filter(None, texts)))


def ratio(value: float) -> str:
    """Format a split as new shares to old shares, such as ``7:1`` or ``1:10``."""
    if value >= 1:
        return f"{value:g}:1"
    return f"1:{1 / value:g}" if value > 0 else f"{value:g}"
