"""A chart as PNG or SVG, drawn by matplotlib: no window, no pyplot, none of the user's settings."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ...core.model.display.texts import counted
from ...core.model.words.html import escaped
from ...core.runtime.forks import renew_after_fork
from ...errors import MissingExtraError, QueryError, install_line
from .chart import Chart, Floats, Overlay, Series
from .paints import PAINTS, dash, hue
from .ticks import price_ticks, time_ticks

# Limits on the size of a picture, in pixels.
SMALLEST, LARGEST = 200, 8000
_DPI = 72  # a point is a pixel
_TITLE, _TEXT, _NOTE = 21, 16, 14
_LEFT, _GUTTER, _TOP = 12, 8, 62
_CHAR = 0.6  # usual width of a letter divided by the size of its font
_LINE = _NOTE + 5
_NARROWEST = 2  # minimum width of a column of bars, in pixels
_MOST_NOTES = 3
# Maps each kind of mark to its sign and its meaning in the legend.
_SIGNS = {
    "split": ("|", "split"),
    "dividend": ("◇", "dividend"),
    "doubt": ("!", "doubtful bar"),
    "buy": ("▲", "buy"),
    "sell": ("▼", "sale"),
    "note": ("▾", "note"),
}
# Styles of lines, each with its sign in the legend: more than eight colours cannot be told apart.
_DASHES = ("-", "--", ":", "-.")
_DASH_SIGNS = ("—", "- -", "···", "—·")
# A legend's texts, each with the name of its colour.
_Texts = list[tuple[str, str]]


class _DrawingLock:
    """A lock that lets only one thread draw at a time, because matplotlib is not thread-safe."""

    def __init__(self) -> None:
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child, because a thread of the parent may have held it."""
        self.lock = threading.Lock()


_drawing = _DrawingLock()


def png_of(chart: Chart, width: int = 800, height: int = 500) -> bytes:
    """Return a chart as a PNG on a light background.

    The PNG's metadata contains the title and the counts of rows. Thread-safe.

    Args:
        chart: Chart to draw.
        width, height: Size in pixels, from 200 to 8,000.

    Raises:
        MissingExtraError: matplotlib is not installed (extra ``plot``).
        QueryError: The size is invalid.
    """
    # Without the first entry, matplotlib would write its web address into the file.
    return _Drawing(chart, width, height).saved("png", {"Software": None})


def svg_of(chart: Chart, width: int = 800, height: int = 500) -> str:
    """Return a chart as an SVG element on a light background, for use in a page or as a file.

    The element loads nothing, contains no script, and shrinks with the page. For arguments and
    errors, see :func:`png_of`.
    """
    drawing = _Drawing(chart, width, height)
    # Without these entries, matplotlib would write web addresses into the file.
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    text = drawing.saved("svg", nothing).decode()
    inside = text[text.index(">", text.index("<svg")) + 1 :]
    # A tenth of a pixel is enough.
    inside = re.sub(r' d="[^"]*"', lambda path: re.sub(r"(\.\d)\d+", r"\1", path[0]), inside)
    marks = (mark.label for mark in chart.marks[:20])
    gaps = (f"no bars: {gap.text}" for gap in chart.gaps[:20])
    words = ". ".join([chart.about, str(drawing.counts), *marks, *gaps, *chart.notes])
    svg = (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'style="max-width:100%;height:auto"><title>{escaped(chart.title)}</title>'
        f"<desc>{escaped(words)}</desc>{inside}"
    )
    # XML must not contain these characters.
    return svg.replace("\ufffe", "\ufffd").replace("\uffff", "\ufffd")


class _Drawing:
    """A picture that is being drawn.

    Raises:
        QueryError: The size is not an integer from 200 to 8,000.
    """

    def __init__(self, chart: Chart, width: int, height: int) -> None:
        for name, size in (("width", width), ("height", height)):
            is_whole = isinstance(size, int) and not isinstance(size, bool)
            if not is_whole or not SMALLEST <= size <= LARGEST:
                raise QueryError(
                    f"invalid {name} {size!r}",
                    hint=f"use an integer number of pixels from {SMALLEST} to {LARGEST:,}",
                )
        self.chart, self.width, self.height = chart, width, height
        volumes = chart.series[0].values[4]
        self.has_volume = not chart.is_indexed and bool((volumes > 0).any())
        self.low, self.high = self._extent()
        self.ticks, self.labels = price_ticks(self.low, self.high, max(height // 75, 2))
        self.right = width - _GUTTER - max(map(len, self.labels)) * _TEXT * _CHAR - 4
        self.right = max(self.right, _LEFT + 40)
        self.each = chart.axis.each(max(int((self.right - _LEFT) // _NARROWEST), 1))
        self.counts = chart.counts(1 if chart.is_indexed else self.each)
        self.count = -(-len(chart.axis) // self.each) or 1
        self.legend = _flowed(self._legend(), width - 2 * _LEFT)
        below = len(self.legend) * _LINE + (26 if chart.has_ribbon else 18) + 16
        self.floor = max(height - _GUTTER - below, _TOP + 40)
        self.bottom = self.floor - (self.floor - _TOP) * 0.2 * self.has_volume

    def saved(self, form: str, metadata: dict[str, str | None]) -> bytes:
        """Draw and return the picture in a format.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """
        try:
            import matplotlib as mpl
            from matplotlib.figure import Figure
        except ImportError as missing:
            raise MissingExtraError(
                f"drawing a chart as {form.upper()} needs the `plot` extra",
                hint=install_line("plot"),
            ) from missing
        own: dict[str, Any] = {"font.family": "DejaVu Sans", "text.parse_math": False}
        own |= {"svg.fonttype": "none", "svg.hashsalt": "onetape", "hatch.linewidth": 0.5}
        target = io.BytesIO()
        with _drawing.lock, mpl.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from (current )?font")
            mpl.rcdefaults()
            mpl.rcParams.update(own)
            # The canvas truncates fractions, and a quotient may be just below an integer.
            size = ((self.width + 0.001) / _DPI, (self.height + 0.001) / _DPI)
            self.figure = Figure(size, dpi=_DPI, facecolor=PAINTS["paper"][0])
            self._draw()
            if form == "png":
                metadata |= {"Title": self.chart.title, "Description": str(self.counts)}
            self.figure.savefig(target, format=form, dpi=_DPI, metadata=metadata)
        return target.getvalue()

    # --- what is drawn

    def _draw(self) -> None:
        self.prices = self._axes(_TOP, self.bottom, self.low, self.high)
        chart = self.chart
        if chart.is_indexed:
            for index, series in enumerate(chart.series):
                self._curve(series, series.closes, index)
                self._outside(series, hue(index))
        else:
            series = chart.series[0]
            if chart.gaps:
                self._gaps()
            self._bars(series)
            for index, line in self._lines():
                self._curve(series, line.values[series.slots], index)
            if chart.marks:
                self._marks(series)
            if chart.has_ribbon:
                self._ribbon(series)
        self._scales()
        self._texts()

    def _axes(self, top: float, bottom: float, low: float, high: float) -> Any:
        """Return axes without a frame between two heights in pixels; x is in slots."""
        box = (_LEFT, self.height - bottom, self.right - _LEFT, bottom - top)
        axes = self.figure.add_axes(np.array(box) / np.array((self.width, self.height) * 2))
        axes.set_axis_off()
        axes.set_xlim(0, self.count * self.each)
        axes.set_ylim(low, high)
        return axes

    def _extent(self) -> tuple[float, float]:
        """Return the lowest and highest price on the axis, with some room around the bars."""
        chart = self.chart
        drawn = [np.array(chart.extent)] if chart.is_indexed else [chart.series[0].values[:4]]
        drawn += [line.values[np.isfinite(line.values)] for line in chart.lines]
        ends = [end for values in drawn if values.size for end in (values.min(), values.max())]
        low, high = (float(min(ends)), float(max(ends))) if ends else (0.0, 1.0)
        room = (high / 2 - low / 2) * 0.12 or abs(high) * 0.01 or 1.0
        return low - room, high + room

    def _middles(self, positions: Any) -> Floats:
        """Return the middle of columns, in slots."""
        return np.asarray((positions + 0.5) * self.each, np.float64)

    def _gaps(self) -> None:
        """Hatch the gaps, each at least a pixel and a half wide."""
        least = 1.5 * self.count * self.each / (self.right - _LEFT)
        axes = self._axes(_TOP, self.floor, 0, 1)
        axes.set_zorder(-1)
        spans = [(gap.first, max(gap.end - gap.first, least)) for gap in self.chart.gaps]
        colors = {"facecolor": _color("gap"), "edgecolor": _color("gap-name")}
        axes.broken_barh(spans, (0, 1), hatch="///", lw=0, **colors)

    def _bars(self, series: Series) -> None:
        columns = series.merged(self.each)
        opens, highs, lows, closes, volumes = columns.values
        x, pixel = self._middles(columns.positions), (self.right - _LEFT) / self.count
        slots = self.each / pixel  # a pixel's width
        body = min(max(pixel * 0.7, 1.2), 24.0) * slots / 2
        wick = min(max(pixel * 0.12, 1.0), 2.0) * slots / 2
        least = (self.high / 2 - self.low / 2) / (self.bottom - _TOP)  # half a pixel
        top, bottom = np.maximum(opens, closes), np.minimum(opens, closes)
        top, bottom = np.maximum(top, bottom + least), np.minimum(bottom, top - least)
        wicks = np.array([x - wick, lows, x + wick, highs])
        bodies = np.array([x - body, bottom, x + body, top])
        rises, pale = closes >= opens, columns.pale
        for paint, rows in {
            "up-pale": rises & pale,
            "down-pale": ~rises & pale,
            "up": rises & ~pale,
            "down": ~rises & ~pale,
        }.items():
            self._boxes(self.prices, paint, np.hstack([wicks[:, rows], bodies[:, rows]]))
        if self.has_volume:
            # A column's mean, because a sum would depend on the number of its bars.
            means = volumes / np.maximum(columns.with_volume, 1)
            means, x = means[means > 0], x[means > 0]
            half = body if pixel > 4 else self.each / 2
            axes = self._axes(self.bottom, self.floor, 0, float(means.max()) / 0.9)
            self._boxes(axes, "volume", np.array([x - half, 0 * x, x + half, means]))

    def _boxes(self, axes: Any, paint: str, boxes: Floats) -> None:
        """Draw rectangles (left, low, right, high; shape (4, boxes)) in one colour, as one shape."""
        from matplotlib.patches import PathPatch
        from matplotlib.path import Path

        if not boxes.size:
            return
        points = boxes[[0, 1, 2, 1, 2, 3, 0, 3, 0, 1]].T.reshape(-1, 2)
        codes = [Path.MOVETO, *[Path.LINETO] * 3, Path.CLOSEPOLY] * boxes.shape[1]
        path = Path(points, codes)
        path.should_simplify = False
        axes.add_artist(PathPatch(path, facecolor=_color(paint), lw=0, snap=False))

    def _curve(self, series: Series, values: Floats, index: int) -> None:
        """Draw values at the bars of a series as a line that is broken at the series' own gaps.

        A value between two gaps is a dot. The colour and style are those of the line at ``index``.
        """
        color = _color(hue(index))
        ends = np.flatnonzero(np.diff(series.segments, append=np.inf)) + 1
        x, y = (np.insert(row, ends, np.nan) for row in (series.slots + 0.5, values))
        self.prices.plot(x, y, _DASHES[dash(index)], color=color, lw=2)
        alone = ends[np.diff(ends, prepend=0) == 1] - 1
        self.prices.plot(series.slots[alone] + 0.5, values[alone], ".", color=color, ms=4)

    def _outside(self, series: Series, paint: str) -> None:
        """Mark the closes outside of the scale by arrows at the edge."""
        for row in self.chart.outside(series):
            is_above = series.closes[row] > self.high
            place = self.high if is_above else self.low
            sign = "^" if is_above else "v"
            at = float(series.slots[row]) + 0.5
            self.prices.plot(at, place, sign, color=_color(paint), ms=9, clip_on=False)

    def _lines(self) -> Iterable[tuple[int, Overlay]]:
        """Return the lines with their indices, which are not those of the vendors in the ribbon."""
        first = len(self.chart.series[0].vendor_names) if self.chart.has_ribbon else 1
        return enumerate(self.chart.lines, first)

    def _marks(self, series: Series) -> None:
        """Draw splits and doubts as lines over the whole height, and other marks as signs."""
        from matplotlib.transforms import ScaledTranslation

        axes = self._axes(_TOP, self.floor, 0, 1)
        dividends = [mark.slot // self.each for mark in self.chart.marks if mark.type == "dividend"]
        x = self._middles(np.array(dividends))
        pixels = (self.right - _LEFT) / (self.count * self.each)
        x = x[np.diff(x, prepend=-np.inf) * pixels > 4]
        axes.plot(x, 0 * x + 0.03, "D", mfc="none", mec=_color("dividend"), ms=7)
        for mark in self.chart.marks:
            at, color = float(self._middles(np.int64(mark.slot // self.each))), _color(mark.type)
            if mark.type in ("split", "doubt"):
                axes.axvline(at, color=color, lw=1.5 if mark.type == "split" else 1)
                is_left = at > 0.8 * len(self.chart.axis)
                text = mark.label if mark.type == "split" else "!"
                shown = {"va": "top", "weight": "bold", "size": _TEXT, "color": color}
                side = {"ha": "right" if is_left else "left", **shown}
                axes.text(at, 1, f" {text} ", **side)
            elif mark.type != "dividend":
                is_below = mark.type == "buy"
                row = int(np.minimum(series.slots.searchsorted(mark.slot), len(series) - 1))
                price = series.values[2 if is_below else 1][row]
                move = ScaledTranslation(
                    0, (-9 if is_below else 9) / _DPI, self.figure.dpi_scale_trans
                )
                sign = "^" if is_below else "v"
                place = self.prices.transData + move
                self.prices.plot(at, price, sign, color=color, ms=9, transform=place)

    def _ribbon(self, series: Series) -> None:
        """Draw the vendor of each run of bars below them, in the vendor's colour."""
        axes = self._axes(self.floor + 26, self.floor + 32, 0, 1)
        for index, name in enumerate(series.vendor_names):
            runs = [(run.first, 0, run.end, 1) for run in self.chart.ribbon if run.text == name]
            self._boxes(axes, hue(index), np.array(runs, float).T)

    # --- axes and texts

    def _scales(self) -> None:
        for y, label in zip(self.ticks, self.labels, strict=True):
            self.prices.axhline(y, color=_color("line"), lw=1, zorder=-2)
            at = self.bottom - (y - self.low) / (self.high - self.low) * (self.bottom - _TOP)
            self._text(self.width - _GUTTER, at, label, _TEXT, "faint", ha="right")
        pixel, end = (self.right - _LEFT) / (self.count * self.each), 0.0
        for slot, label in time_ticks(self.chart.axis, max(int(self.right - _LEFT) // 96, 2)):
            x, half = _LEFT + slot * pixel, len(label) * _TEXT * _CHAR / 2
            inside = min(max(x, half + 2), self.width - half - 2)
            if ":" in label and inside - half < end:  # an hour gives way to a date
                continue
            end = inside + half + 5
            self._text(inside, self.floor + 14, label, _TEXT, "faint", ha="center")
            self.prices.axvline(slot, color=_color("line"), lw=1, zorder=-2)

    def _texts(self) -> None:
        chart, room = self.chart, self.width - 2 * _LEFT
        series = chart.series[0]
        title = _fitting(chart.title, room, _TITLE * 1.1)
        self._text(_LEFT, 18, title, _TITLE, "ink", weight="bold")
        has_last = len(series) and not chart.is_indexed
        words = f"last {series.values[3][-1]:,.{chart.places}f}" if has_last else ""
        if len(title) * _TITLE * 0.7 + len(words) * _TEXT * 0.7 + 24 < room:
            self._text(self.width - _GUTTER, 18, words, _TEXT, "ink", weight="bold", ha="right")
        self._text(_LEFT, 43, _fitting(chart.about, room, 15), 15, "faint")
        y = self.height - _GUTTER - (len(self.legend) - 0.5) * _LINE
        for line in self.legend:
            x = float(_LEFT)
            for text, paint in line:
                self._text(x, y, text, _NOTE, paint)
                x += (len(text) + 2) * _NOTE * _CHAR
            y += _LINE
        if not self.counts.drawn:
            middle = ((_LEFT + self.right) / 2, (_TOP + self.bottom) / 2)
            self._text(*middle, "no bar to draw", _TITLE, "faint", ha="center")

    def _text(self, x: float, y: float, text: str, size: float, paint: str, **how: Any) -> None:
        how |= {"size": size, "color": _color(paint), "va": "center_baseline"}
        self.figure.text(x / self.width, 1 - y / self.height, text, **how)

    def _legend(self) -> _Texts:
        """Return the legend, the notes and the counts; an empty text begins a line."""
        remarks = self.chart.remarks()
        if len(remarks) > _MOST_NOTES:
            more = len(remarks) - _MOST_NOTES + 1
            remarks = [*remarks[: _MOST_NOTES - 1], f"and {more} more notes"]
        axis = self.chart.axis
        zone = "dates of sessions" if axis.is_daily else f"time in {axis.zone}"
        texts = [*self._key(self.chart.series[0])]
        for remark in remarks:
            texts += [("", ""), (remark, "ink")]
        return [*texts, ("", ""), (f"{self.counts} · {zone}", "faint")]

    def _key(self, series: Series) -> Iterator[tuple[str, str]]:
        """Yield the meaning of each sign and colour in the picture."""
        chart = self.chart
        if chart.is_indexed:
            for index, one in enumerate(chart.series):
                last = f"{one.closes[-1]:.2f}" if len(one) else "–"
                yield f"{_DASH_SIGNS[dash(index)]} {one.title} {last}", hue(index)
        elif series.pale.any():
            yield "pale: may still change", "faint"
        if chart.gaps:
            yield f"{'' if chart.is_indexed else '▨ '}{counted(len(chart.gaps), 'gap')}", "gap-name"
        kinds = Counter(mark.type for mark in chart.marks)
        for kind, (sign, meaning) in _SIGNS.items():
            if kinds[kind]:
                yield f"{sign} {counted(kinds[kind], meaning)}", kind
        for index, line in self._lines():
            yield f"{_DASH_SIGNS[dash(index)]} {line.name}", hue(index)
        used = {run.text for run in chart.ribbon}
        for index, name in enumerate(series.vendor_names):
            if name in used:
                yield (f"■ {name}", hue(index)) if used - {name} else (f"from {name}", "faint")


def _flowed(texts: _Texts, room: float) -> list[_Texts]:
    """Return texts as lines, each of which fits into so many pixels; an empty text begins a line."""
    lines: list[_Texts] = [[]]
    for text, paint in texts:
        wide = [*(t for t, _ in lines[-1]), text]
        if not text or (sum(len(t) + 2 for t in wide) * _NOTE * _CHAR > room and lines[-1]):
            lines.append([])
        if text:
            lines[-1].append((_fitting(text, room, _NOTE), paint))
    return [line for line in lines if line]


def _color(paint: str) -> str:
    return PAINTS[paint][0]


def _fitting(text: str, room: float, size: float) -> str:
    """Return ``text`` as a single line, shortened to fit ``room`` pixels at this font size."""
    text = " ".join(text.split())
    most = int(room / (size * _CHAR))
    return text if len(text) <= most else f"{text[: most - 1]}…" if most > 1 else ""
