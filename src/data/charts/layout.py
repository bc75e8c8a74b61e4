"""The layout of a chart: positions of all shapes and labels in pixels, for any renderer. Pure.

Every picture of a chart, whatever its format, is built from the same :class:`ChartLayout`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import QueryError
from ..model.instant import DAY_MS, HOUR_MS, MINUTE_MS, from_ms
from .chart import Axis, Chart, Counts, Flags, Floats, Ints, Mark, Series

# Maps the name of each paint to its colour on light paper and on dark paper.
PAINTS = {
    "paper": ("#ffffff", "#14181f"),
    "ink": ("#1c2430", "#e4e8ee"),
    "faint": ("#5d6878", "#9aa5b5"),
    "line": ("#e3e7ec", "#2a323e"),
    "gap": ("#f3e3c3", "#4a3d22"),
    "gap-name": ("#8a5c00", "#e0ae4a"),
    "up": ("#0b7a5c", "#35c391"),
    "down": ("#c2362b", "#ff7b6b"),
    "up-pale": ("#a5d3c5", "#1f5a48"),
    "down-pale": ("#efb9b4", "#6e3a35"),
    "volume": ("#b4bdc9", "#4b5668"),
    "split": ("#7a3fc4", "#c39bff"),
    "dividend": ("#1f5fbf", "#7fb0ff"),
    "doubt": ("#c2362b", "#ff7b6b"),
    "hue-0": ("#1f5fbf", "#7fb0ff"),
    "hue-1": ("#c25a00", "#ffab5e"),
    "hue-2": ("#0b7a5c", "#35c391"),
    "hue-3": ("#a32f7a", "#f08ccb"),
    "hue-4": ("#5d6878", "#aab4c3"),
    "hue-5": ("#8a6d00", "#d9bd45"),
}
_HUES = 6
# Minimum width of a bar, including the gap to the next one.
_NARROWEST = 2
# Maximum width of its body.
_WIDEST = 24.0
# Limits on the size of a picture, in pixels.
SMALLEST, LARGEST = 200, 8000
_CHAR = 0.6  # upper bound on a letter's width divided by the size of its font
_TITLE, _TEXT, _ABOUT, _NOTE = 21.0, 16.0, 15.0, 14.0
_LEFT, _GUTTER = 12.0, 8.0
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
# Maximum number of lines of notes.
_MOST_NOTES = 3
_TICK_ROOM = 96.0
# Maps each kind of user-supplied marks to its paint, and to whether it is drawn below the bar.
_OWN_MARKS = {"buy": ("up", True), "sell": ("down", False), "note": ("hue-0", False)}


class Box(NamedTuple):
    """A rectangle, in pixels from the upper left corner of the picture."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def width(self) -> float:
        """Width in pixels."""
        return self.right - self.left

    @property
    def height(self) -> float:
        """Height in pixels."""
        return self.bottom - self.top


class Rects(NamedTuple):
    """Filled rectangles in one colour; each row of ``corners`` is left, top, right and bottom."""

    paint: str
    corners: Floats


class Lines(NamedTuple):
    """Separate lines in one colour; each is an array of points, of shape (points, 2)."""

    paint: str
    width: float
    points: tuple[Floats, ...]
    name: str = ""


class Label(NamedTuple):
    """A text centred vertically at ``y``; ``anchor`` (``start``, ``middle``, ``end``) aligns it."""

    x: float
    y: float
    text: str
    size: float
    paint: str = "ink"
    anchor: str = "start"
    is_bold: bool = False


Shape = Rects | Lines | Label


@dataclass(frozen=True)
class DrawnColumns:
    """The columns of bars to draw; bars that share a column are merged.

    Arrays have shape (columns,) unless stated otherwise.

    Attributes:
        first, last: Indices of each column's first and last bar among the bars of the series.
        positions: Position of each column in the picture, in units of columns.
        values: First open, highest high, lowest low, last close, sum of the volumes; shape (5,
            columns).
        pale: Whether any bar in the column may still change.
        with_volume: Number of bars in the column that have a volume.
    """

    first: Ints
    last: Ints
    positions: Ints
    values: Floats
    pale: Flags
    with_volume: Ints

    @property
    def mean_volumes(self) -> Floats:
        """Mean bar volume in each column, ignoring bars without a volume.

        The mean is NaN if no bar in the column has a volume. The mean is drawn instead of the sum,
        which would depend on the number of bars in the column.
        """
        means: Floats = self.values[4] / np.maximum(self.with_volume, 1)
        return means


@dataclass(frozen=True)
class ChartLayout:
    """The layout of a picture.

    Attributes:
        width, height: Size in pixels.
        shapes: Shapes, in painting order.
        counts: Numbers of rows that are drawn, merged and refused.
        plot: Area in which prices are drawn.
        pitch: Width of a column in pixels.
        columns: Columns of bars, or None if the chart shows lines.
    """

    width: int
    height: int
    shapes: tuple[Shape, ...]
    counts: Counts
    plot: Box
    pitch: float
    columns: DrawnColumns | None = None


def layout_of(chart: Chart, width: int, height: int) -> ChartLayout:
    """Return the layout of ``chart`` in an image of the given size, in pixels.

    Raises:
        QueryError: The size is not an integer from 200 to 8,000.
    """
    for name, size in (("width", width), ("height", height)):
        if isinstance(size, bool) or not isinstance(size, int) or not SMALLEST <= size <= LARGEST:
            raise QueryError(
                f"invalid {name} {size!r}",
                hint=f"use an integer number of pixels from {SMALLEST} to {LARGEST:,}",
            )
    return _Drawing(chart, width, height).layout()


def thinned(series: Series, slots: int, most: int) -> DrawnColumns:
    """Merge the bars of a series into at most ``most`` columns (one per slot if they fit).

    All columns except the last cover the same number of slots. No extreme is lost: a column's high
    and low are the highest and lowest of its bars.
    """
    positions = series.slots // slots_each(slots, most)
    starts = _starts(positions)
    if not len(positions):
        empty = np.empty((5, 0))
        return DrawnColumns(positions, positions, positions, empty, np.empty(0, bool), positions)
    last = np.append(starts[1:], len(positions)) - 1
    opens, highs, lows, closes, volumes = series.values
    present = ~np.isnan(volumes)
    summed = np.add.reduceat(np.where(present, volumes, 0.0), starts)
    counted = np.add.reduceat(present, starts, dtype=np.int64)
    values = np.array(
        [
            opens[starts],
            np.maximum.reduceat(highs, starts),
            np.minimum.reduceat(lows, starts),
            closes[last],
            np.where(counted > 0, summed, np.nan),
        ]
    )
    pale = np.logical_or.reduceat(series.pale, starts)
    return DrawnColumns(starts, last, positions[starts], values, pale, counted)


def thinned_line(series: Series, slots: int, most: int) -> list[Ints]:
    """Return the indices of the bars to draw as points of a line, with one array per unbroken part.

    Of the bars that share a column, the first, the lowest, the highest and the last close are kept.
    """
    if not len(series):
        return []
    positions, closes = series.slots // slots_each(slots, most), series.closes
    keys = np.stack([series.segments, positions])
    starts = np.concatenate([[0], np.flatnonzero(np.diff(keys, axis=1).any(axis=0)) + 1])
    ends = np.append(starts[1:], len(closes))
    # If closes in one column are equal, the first represents them all.
    order = np.lexsort((closes, np.repeat(np.arange(len(starts)), ends - starts)))
    kept = np.unique(np.concatenate([starts, ends - 1, order[starts], order[ends - 1]]))
    breaks = np.flatnonzero(np.diff(series.segments[kept])) + 1
    return [run.astype(np.int64) for run in np.split(kept, breaks)]


def slots_each(slots: int, most: int) -> int:
    """Return the smallest number of slots per column that gives at most ``most`` columns."""
    return -(-slots // most) or 1


def _starts(positions: Ints) -> Ints:
    if not len(positions):
        return positions
    return np.concatenate([[0], np.flatnonzero(np.diff(positions)) + 1]).astype(np.int64)


class _Drawing:
    """A picture whose shapes are being computed."""

    def __init__(self, chart: Chart, width: int, height: int) -> None:
        self.chart, self.width, self.height = chart, width, height
        self.shapes: list[Shape] = [
            Rects("paper", np.array([[0.0, 0.0, float(width), float(height)]]))
        ]
        self.slots = max(len(chart.axis), 1)

    def layout(self) -> ChartLayout:
        """Lay out everything and return the result."""
        chart = self.chart
        has_volume = not chart.is_indexed and bool(np.isfinite(chart.series[0].values[4]).any())
        low, high = self._extent()
        ticks, labels = price_ticks(low, high, max(int(self.height // 75), 2))
        right = self.width - _GUTTER - max(len(label) for label in labels) * _TEXT * _CHAR
        notes_at = self.height - _GUTTER
        lines = self._notes(has_volume=has_volume)
        bottom = notes_at - len(lines) * (_NOTE + 5) - (22 if self._has_ribbon else 0) - 26
        top = 62.0
        price_bottom = bottom - ((bottom - top) * 0.2 if has_volume else 0)
        self.plot = Box(_LEFT, top, max(right - _GUTTER, _LEFT + 40), max(price_bottom, top + 20))
        self.floor = max(bottom, self.plot.bottom)
        self.low, self.high = low, high
        self.most = max(int(self.plot.width // _NARROWEST), 1)
        self.each = slots_each(self.slots, self.most)
        self.count = -(-self.slots // self.each)
        self.pitch = self.plot.width / self.count
        self._gaps()
        self._prices(ticks, labels)
        self._times()
        counts, columns = self._lines() if chart.is_indexed else self._bars(has_volume)
        self._overlays()
        self._marks()
        self._ribbon()
        self._texts(counts, lines)
        return ChartLayout(
            self.width,
            self.height,
            tuple(self.shapes),
            counts,
            self.plot,
            self.pitch,
            columns,
        )

    # --- positions

    def _extent(self) -> tuple[float, float]:
        """Return the lowest and highest price on the axis, with some room around the bars."""
        values = [
            *(e for line in self.chart.lines for e in _edges(line.values)),
            *(
                edge
                for series in self.chart.series
                if len(series)
                for edge in (
                    (series.closes.min(), series.closes.max())
                    if self.chart.is_indexed
                    else (
                        series.values[2].min(),
                        series.values[1].max(),
                        series.values[:4].min(),
                        series.values[:4].max(),
                    )
                )
            ),
        ]
        low, high = (float(min(values)), float(max(values))) if values else (0.0, 1.0)
        room = (high / 2 - low / 2) * 0.12 or abs(high) * 0.01 or 1.0
        return low - room, high + room

    def _y(self, prices: Floats) -> Floats:
        # Halved, because the difference of the largest numbers would overflow.
        share = (prices / 2 - self.low / 2) / (self.high / 2 - self.low / 2)
        return np.asarray(self.plot.bottom - share * self.plot.height, dtype=np.float64)

    def _x(self, slot: float) -> float:
        """Return the horizontal position of a slot's left edge."""
        return self.plot.left + self.pitch * slot / self.each

    def _center(self, slot: int) -> float:
        return self.plot.left + (slot // self.each + 0.5) * self.pitch

    # --- below the bars

    def _gaps(self) -> None:
        if self.chart.gaps:
            corners = [
                (left, self.plot.top, max(right, left + 1.5), self.floor)
                for left, right in ((self._x(g.first), self._x(g.end)) for g in self.chart.gaps)
            ]
            self.shapes.append(Rects("gap", np.array(corners)))

    def _prices(self, ticks: Sequence[float], labels: Sequence[str]) -> None:
        heights = self._y(np.array(ticks))
        ends = (self.plot.left, self.plot.right)
        lines = tuple(np.array([[ends[0], y], [ends[1], y]]) for y in heights)
        self.shapes.append(Lines("line", 1, lines))
        for y, text in zip(heights, labels, strict=True):
            right = self.width - _GUTTER
            self.shapes.append(Label(right, float(y), text, _TEXT, "faint", "end"))

    def _times(self) -> None:
        axis = self.chart.axis
        if not len(axis):
            return
        slots = np.arange(self.count) * self.each
        ticks = time_ticks(axis, slots, max(int(self.plot.width // _TICK_ROOM), 2))
        y, lines, taken = self.floor + 14, [], list[tuple[float, float]]()
        # Dates come first: an hour whose label would touch one is left out.
        for slot, text in sorted(ticks, key=lambda tick: _is_hour(tick[1])):
            x = self._x(slot)
            half = len(text) * _TEXT * _CHAR / 2
            at = min(max(x, half + 2), self.width - half - 2)
            left, right = at - half - 5, at + half + 5
            if any(left < end and right > begin for begin, end in taken):
                continue
            taken.append((left, right))
            lines.append(np.array([[x, self.plot.top], [x, self.floor + 4]]))
            self.shapes.append(Label(at, y, text, _TEXT, "faint", "middle"))
        self.shapes.append(Lines("line", 1, tuple(lines)))

    # --- the bars

    def _bars(self, has_volume: bool) -> tuple[Counts, DrawnColumns]:
        series = self.chart.series[0]
        columns = thinned(series, self.slots, self.most)
        opens, highs, lows, closes, _ = columns.values
        left = self.plot.left + columns.positions * self.pitch
        center = left + self.pitch / 2
        body, wick = min(max(self.pitch * 0.7, 1.2), _WIDEST), min(max(self.pitch * 0.12, 1.0), 2.0)
        if has_volume:
            self._volumes(center, body if self.pitch > 4 else self.pitch, columns.mean_volumes)
        top, bottom = self._y(np.maximum(opens, closes)), self._y(np.minimum(opens, closes))
        flat = bottom - top < 1
        top, bottom = np.where(flat, top - 0.5, top), np.where(flat, bottom + 0.5, bottom)
        wicks = np.stack([center - wick / 2, self._y(highs), center + wick / 2, self._y(lows)], 1)
        bodies = np.stack([center - body / 2, top, center + body / 2, bottom], 1)
        rises = closes >= opens
        for paint, chosen in (
            ("up-pale", rises & columns.pale),
            ("down-pale", ~rises & columns.pale),
            ("up", rises & ~columns.pale),
            ("down", ~rises & ~columns.pale),
        ):
            if chosen.any():
                self.shapes.append(Rects(paint, np.concatenate([wicks[chosen], bodies[chosen]])))
        return _counts(series, len(columns.first)), columns

    def _volumes(self, center: Any, body: float, volumes: Floats) -> None:
        traded = np.isfinite(volumes) & (volumes > 0)
        if not traded.any():
            return
        most, room = volumes[traded].max(), (self.floor - self.plot.bottom) * 0.9
        heights = volumes[traded] / most * room
        middle, floor = center[traded], np.full(int(traded.sum()), self.floor)
        corners = np.stack([middle - body / 2, floor - heights, middle + body / 2, floor], 1)
        self.shapes.append(Rects("volume", corners))

    def _lines(self) -> tuple[Counts, None]:
        counts = Counts(0, 0, 0, 0)
        for index, series in enumerate(self.chart.series):
            runs = thinned_line(series, self.slots, self.most)
            counts += _counts(series, sum(map(len, runs)))
            points = []
            for run in runs:
                positions = series.slots[run] // self.each
                x = self.plot.left + (positions + 0.5) * self.pitch
                y = self._y(series.closes[run])
                if len(run) == 1:  # a bar between two gaps is a dot
                    x, y = np.array([x[0] - 1, x[0] + 1]), np.array([y[0], y[0]])
                points.append(np.stack([x, y], 1))
            if points:
                self.shapes.append(Lines(f"hue-{index % _HUES}", 2, tuple(points), series.symbol))
        return counts, None

    # --- above the bars

    def _overlays(self) -> None:
        """Draw user-supplied lines, in hues that the vendors do not use."""
        for index, line in enumerate(self.chart.lines, self._line_hue):
            slots = np.flatnonzero(np.isfinite(line.values))
            # If values share a column, the last one is drawn.
            columns = slots // self.each
            slots = slots[np.append(columns[1:] != columns[:-1], True)[: len(slots)]]
            # A column without a value breaks the line, unless it has no bar either.
            breaks = np.flatnonzero(self._is_broken(slots, line.values)) + 1
            points = tuple(
                np.stack(
                    [
                        self.plot.left + (run // self.each + 0.5) * self.pitch,
                        self._y(line.values[run]),
                    ],
                    1,
                )
                for run in np.split(slots, breaks)
                if len(run) > 1
            )
            if points:
                self.shapes.append(Lines(f"hue-{index % _HUES}", 2, points, line.name))

    @property
    def _line_hue(self) -> int:
        """The index of the first line's hue; if a ribbon is drawn, the vendors' hues come first."""
        return len(self.chart.series[0].vendor_names) if self._has_ribbon else 1

    def _is_broken(self, slots: Ints, values: Floats) -> Flags:
        """Return, for each pair of consecutive slots, whether a bar between them has no value."""
        empty = np.zeros(len(values) + 1, np.int64)
        slots_of_bars = self.chart.series[0].slots
        empty[1:] = np.cumsum(np.isin(np.arange(len(values)), slots_of_bars) & ~np.isfinite(values))
        return np.diff(empty[slots]) > 0

    def _marks(self) -> None:
        """Draw splits as lines with their ratio, dividends as diamonds, and doubts as signs at the top.

        User-supplied marks are triangles: a buy is below its bar and points up; a sale or a note is
        above it.
        """
        self._own_marks()
        for mark_type in ("dividend", "split", "doubt"):
            taken = -1e9
            for mark in (m for m in self.chart.marks if m.type == mark_type):
                x = self._center(mark.slot)
                if mark_type == "split":
                    ends = np.array([[x, self.plot.top], [x, self.floor]])
                    self.shapes.append(Lines("split", 1.5, (ends,), mark.label))
                if x - taken < 4 and mark_type != "split":
                    continue
                taken = x
                self._mark(mark, x)

    def _own_marks(self) -> None:
        series = self.chart.series[0]
        for mark_type, (paint, is_below) in _OWN_MARKS.items():
            for mark in (m for m in self.chart.marks if m.type == mark_type and len(series)):
                row = min(int(series.slots.searchsorted(mark.slot)), len(series) - 1)
                price = series.values[2 if is_below else 1][row : row + 1]
                x, down = self._center(mark.slot), 1.0 if is_below else -1.0
                y = float(self._y(price)[0]) + 4 * down
                triangle = np.array([[x, y], [x + 5, y + 9 * down], [x - 5, y + 9 * down], [x, y]])
                self.shapes.append(Lines(paint, 2.5, (triangle,), mark.label))

    def _mark(self, mark: Mark, x: float) -> None:
        if mark.type == "split":
            width = len(mark.label) * _TEXT * _CHAR
            is_left = x + width + 6 > self.plot.right
            at, anchor = (x - 5, "end") if is_left else (x + 5, "start")
            self.shapes.append(
                Label(at, self.plot.top + 9, mark.label, _TEXT, "split", anchor, True)
            )
        elif mark.type == "dividend":
            y = self.plot.bottom - 8
            diamond = np.array([[x, y - 5], [x + 4, y], [x, y + 5], [x - 4, y], [x, y - 5]])
            self.shapes.append(Lines("dividend", 1.5, (diamond,), mark.label))
        else:
            ends = np.array([[x, self.plot.top + 18], [x, self.plot.bottom]])
            self.shapes.append(Lines("doubt", 1, (ends,), mark.label))
            self.shapes.append(Label(x, self.plot.top + 9, "!", _TITLE, "doubt", "middle", True))

    @property
    def _has_ribbon(self) -> bool:
        """Whether the bars came from two or more vendors, which the ribbon shows."""
        return len({run.text for run in self.chart.ribbon}) > 1

    def _ribbon(self) -> None:
        """Draw the ribbon below the bars, in which each vendor has its own hue."""
        chart = self.chart
        if not self._has_ribbon:
            return
        names, top = chart.series[0].vendor_names, self.floor + 26
        for index, name in enumerate(names):
            paint = f"hue-{index % _HUES}"
            corners = [
                (left, top, max(right, left + 1.5), top + 6)
                for left, right in (
                    (self._x(run.first), self._x(run.end))
                    for run in chart.ribbon
                    if run.text == name
                )
            ]
            if corners:
                self.shapes.append(Rects(paint, np.array(corners)))

    # --- texts

    def _texts(self, counts: Counts, lines: Sequence[Sequence[tuple[str, str]]]) -> None:
        chart, room = self.chart, self.width - 2 * _LEFT
        if chart.is_indexed:
            self._names(room)
        else:
            title = fitting(chart.title, room, _TITLE * 1.1)
            self.shapes.append(Label(_LEFT, 18, title, _TITLE, is_bold=True))
            beside = _LEFT + len(title) * _TITLE * _CHAR * 1.15 + 12
            last = self._last()
            if last and beside + len(last) * _TEXT * _CHAR < self.width - _LEFT:
                right = self.width - _GUTTER
                self.shapes.append(Label(right, 18, last, _TEXT, "ink", "end", True))
        subtitle = fitting(chart.about, room, _ABOUT)
        self.shapes.append(Label(_LEFT, 43, subtitle, _ABOUT, "faint"))
        y = self.height - _GUTTER - (len(lines) - 0.5) * (_NOTE + 5)
        for line in lines:
            x = _LEFT
            for text, paint in line:
                text = fitting(text.replace("{counts}", str(counts)), self.width - x - 4, _NOTE)
                if text:
                    self.shapes.append(Label(x, y, text, _NOTE, paint))
                x += (len(text) + 2) * _NOTE * _CHAR
            y += _NOTE + 5
        if not counts.drawn:
            middle = (self.plot.left + self.plot.right) / 2, (self.plot.top + self.plot.bottom) / 2
            text = fitting("no bar to draw", room, _TITLE)
            self.shapes.append(Label(*middle, text, _TITLE, "faint", "middle"))

    def _names(self, room: float) -> None:
        """Draw each line's symbol in the line's hue, with its rebased value at the last bar."""
        x = _LEFT
        for index, series in enumerate(self.chart.series):
            last = f" {series.closes[-1]:.1f}" if len(series) else " -"
            text = fitting(f"{series.symbol}{last}", room - x, _TITLE * 0.9)
            if not text:
                break
            paint = f"hue-{index % _HUES}"
            self.shapes.append(Label(x, 18, text, _TITLE * 0.9, paint, is_bold=True))
            x += (len(text) + 1.5) * _TITLE * 0.9 * _CHAR * 1.1

    def _last(self) -> str:
        series = self.chart.series[0]
        if not len(series):
            return ""
        return f"last {short_number(float(series.values[3][-1]))}"

    def _notes(self, *, has_volume: bool) -> list[list[tuple[str, str]]]:
        """Return the text lines below the picture, legend first, with the colour of each part."""
        chart, key = self.chart, []
        zone = "dates of sessions" if chart.axis.is_daily else f"time in {chart.axis.zone}"
        counts = [(f"{{counts}} · {zone}", "faint")]
        if chart.series[0].pale.any() and not chart.is_indexed:
            key.append(("pale: may still change", "faint"))
        if chart.gaps:
            count = len(chart.gaps)
            key.append((f"▮ {count} gap{'s' * (count > 1)}", "gap-name"))
        mark_types = [mark.type for mark in chart.marks]
        for mark_type, sign in (
            ("dividend", "◇"),
            ("doubt", "!"),
            ("buy", "▲"),
            ("sell", "▼"),
            ("note", "▾"),
        ):
            if count := mark_types.count(mark_type):
                paint = _OWN_MARKS[mark_type][0] if mark_type in _OWN_MARKS else mark_type
                key.append((f"{sign} {count} {mark_type}{'s' * (count > 1)}", paint))
        key += [
            (f"— {line.name}", f"hue-{n % _HUES}")
            for n, line in enumerate(chart.lines, self._line_hue)
        ]
        if not chart.is_indexed:
            series = chart.series[0]
            used = {run.text for run in chart.ribbon}
            key += [
                (f"■ {name}", f"hue-{index % _HUES}")
                if self._has_ribbon
                else (f"from {name}", "faint")
                for index, name in enumerate(series.vendor_names)
                if name in used
            ]
            if len(series) and has_volume and (nans := int(np.isnan(series.values[4]).sum())):
                key.append((f"{nans:,} without volume", "faint"))
        remarks = [
            (f"{name}{count:,} with a {reason}", "doubt")
            for series in chart.series
            for name in ([f"{series.symbol}: "] if chart.is_indexed else [""])
            for reason, count in series.refused.items()
        ]
        remarks += [
            (
                f"{series.unordered:,} rows of {series.symbol or 'the frame'} were sorted by time",
                "doubt",
            )
            for series in chart.series
            if series.unordered
        ]
        remarks += [(note, "ink") for note in chart.notes]
        if len(remarks) > _MOST_NOTES:
            remarks = [
                *remarks[: _MOST_NOTES - 1],
                (f"and {len(remarks) - _MOST_NOTES + 1} more notes", "ink"),
            ]
        return [*([key] if key else []), *([remark] for remark in remarks), counts]


def _edges(values: Floats) -> tuple[float, ...]:
    """Return the lowest and highest finite value, or an empty tuple if there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if len(finite) else ()


def _counts(series: Series, drawn: int) -> Counts:
    refused = sum(series.refused.values())
    return Counts(series.given, drawn, series.given - refused - drawn, refused)


# --- numbers on the axes


def price_ticks(low: float, high: float, most: int) -> tuple[list[float], list[str]]:
    """Return about ``most`` round prices between two prices, with their labels."""
    rough = (high / most - low / most) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in _STEPS if s * power >= rough * 0.999)
    first, last = math.ceil(low / step), math.floor(high / step)
    ticks = [n * step for n in range(first, last + 1)] if last - first <= 2 * most + 2 else []
    ticks = ticks or [low / 2 + high / 2]
    decimals = max(0, -math.floor(math.log10(step) + 1e-9)) + (step / power == 2.5 and power < 10)
    if decimals > 12 or max(map(abs, (low, high))) >= 1e12:
        return ticks, [f"{tick:.4g}" for tick in ticks]
    return ticks, [f"{tick + 0.0:,.{decimals}f}" for tick in ticks]


def short_number(value: float) -> str:
    """Format a price with as many digits as are useful, up to eight significant digits."""
    if value and not 1e-4 <= abs(value) < 1e12:
        return f"{value:.6g}"
    return f"{value:,.{max(2, min(8, 5 - int(math.log10(abs(value) or 1))))}f}".rstrip("0").rstrip(
        "."
    )


_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# 1970-01-01 was a Thursday, and weeks begin on Monday.
_TO_MONDAY = 3 * DAY_MS


class _Unit(NamedTuple):
    """A time unit on the axis: a number of months, or of milliseconds from a Monday, 00:00."""

    months: int = 0
    length: int = 0

    def of(self, local: Ints) -> Ints:
        """Return the index of the time unit that contains each wall-clock time."""
        if self.length:
            return (local + _TO_MONDAY) // self.length
        months = local.astype("M8[ms]").astype("M8[M]").astype(np.int64)
        return np.asarray(months // self.months, dtype=np.int64)

    def text(self, ms: int, before: int | None) -> str:
        """Return the label of a wall-clock time; the year is included only if it has changed."""
        time, last = from_ms(ms), None if before is None else from_ms(before)
        month, is_new = _NAMES[time.month - 1], last is None or last.year != time.year
        if self.months >= 12:
            return str(time.year)
        if self.months:
            return f"{month} {time.year}" if is_new else month
        if self.length >= DAY_MS:
            return f"{time.day} {month} {time.year}" if is_new else f"{time.day} {month}"
        return f"{time.hour:02}:{time.minute:02}"


_DAYS = (
    *(_Unit(months=n) for n in (240, 120, 60, 24, 12, 6, 3, 1)),
    *(_Unit(length=n * DAY_MS) for n in (7, 1)),
)
# Number of dates without a month that fit into the space of one date with a month.
_SHORT_DATES = 1.8
_HOURS = tuple(_Unit(length=n * HOUR_MS) for n in (12, 6, 3, 1))
_MINUTES = tuple(_Unit(length=n * MINUTE_MS) for n in (30, 15, 5, 1))


def time_ticks(axis: Axis, slots: Ints, most: int) -> list[tuple[int, str]]:
    """Return the slots to label on the time axis, with labels in the axis' time zone.

    Labelled slots begin a new unit of time (such as a day); the unit is the smallest that needs at
    most ``most`` labels. If there are only a few bars, each has its own label.

    Args:
        axis: Time axis.
        slots: First slot of each column in the picture, ascending.
        most: Number of labels that fit.
    """
    if len(slots) <= 2:
        return [(int(slot), axis.text(int(slot))) for slot in slots]
    local = axis.walls(slots)
    if not axis.is_daily and (dated := _dated_ticks(axis, slots, local, most)):
        return dated
    unit, begins = _DAYS[0], np.empty(0, np.int64)
    for grid in _DAYS:
        positions = np.flatnonzero(np.diff(grid.of(local))) + 1
        if len(positions) > most:
            break
        if len(positions) > len(begins):
            unit, begins = grid, positions
    if len(begins) < 2:
        return [(int(slots[at]), axis.text(int(slots[at]))) for at in (0, -1)]
    ticks: list[tuple[int, str]] = []
    before = None
    for index in begins.tolist():
        slot = _begin(axis, unit, int(slots[index - 1]), int(slots[index]))
        at = axis.local(slot)
        ticks.append((slot, unit.text(at, before)))
        before = at
    return ticks


def _dated_ticks(axis: Axis, slots: Ints, local: Ints, most: int) -> list[tuple[int, str]]:
    """Return a labelled slot for each new day, with hours in between; empty if dates do not fit."""
    day = _DAYS[-1]
    starts = np.flatnonzero(np.diff(day.of(local))) + 1
    if len(starts) >= most * _SHORT_DATES:
        return []
    is_short = len(starts) >= most

    def begun(unit: _Unit, positions: Ints) -> list[int]:
        """Return the slot at which a new unit of time begins in each of the columns ``positions``."""
        return [_begin(axis, unit, *slots[at - 1 : at + 1].tolist()) for at in positions.tolist()]

    dated, before = dict[int, str](), None
    for slot in (int(slots[0]), *begun(day, starts)):
        at = axis.local(slot)
        text = day.text(at, before)
        if is_short:  # only the number, and the month on its first day
            is_same = before is not None and from_ms(before).month == from_ms(at).month
            text = " ".join(text.split()[: 1 if is_same else 2])
        dated[slot], before = text, at
    hours = dict[int, str]()
    for unit in () if is_short else (*_HOURS, *_MINUTES):
        positions = np.flatnonzero(np.diff(unit.of(local))) + 1
        if len(positions) > most:
            break
        hours = {slot: unit.text(axis.local(slot), None) for slot in begun(unit, positions)}
    return sorted((hours | dated).items())


def _is_hour(text: str) -> bool:
    """Return whether a label is a time of day, not a date."""
    return ":" in text and "-" not in text


def _begin(axis: Axis, unit: _Unit, before: int, inside: int) -> int:
    """Return the first slot after ``before`` that is in the same unit of time as ``inside``."""

    def number(slot: int) -> int:
        """Return the index of the time unit that contains a slot."""
        return int(unit.of(np.array([axis.local(slot)], np.int64))[0])

    return before + 1 + bisect_left(range(before + 1, inside), number(inside), key=number)


def column_texts(axis: Axis, count: int) -> list[str]:
    """Return, for each of a picture's ``count`` columns, its first and last time as a string."""
    each = slots_each(len(axis), count)
    ends = ((first, min(first + each, len(axis)) - 1) for first in range(0, len(axis), each))
    return [" to ".join(axis.text(at) for at in dict.fromkeys(both)) for both in ends]


def fitting(text: str, room: float, size: float) -> str:
    """Return ``text`` as a single line, shortened to fit ``room`` pixels at this font size."""
    text = " ".join(text.split())
    most = int(room / (size * _CHAR))
    return text if len(text) <= most else f"{text[: most - 1]}…" if most > 1 else ""
