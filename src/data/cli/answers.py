"""The display of an answer, on the screen and as JSON: its bars, its provenance and its gaps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.model.answer.provenance import ATTRS_KEY
from ..core.model.request.query import ACTION_COLUMNS, EXTRA_COLUMNS
from ..core.model.stored.reasons import sentence
from ..core.model.time.timeframe import Timeframe
from ..errors import by_vendor
from .result import Shown
from .tables import (
    Cell,
    TextTable,
    aligned,
    counted,
    milliseconds,
    moment,
    percent,
    styled,
    table,
    titled,
)

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from ..show.charts.chart import Chart

_T = TypeVar("_T")
_WIDEST_CHART = 100
_FEWEST_CHARTED = 8
_GAPS_SHOWN = 5
# The character printed above a block chart for each kind of mark.
_SIGNS = {"split": "S", "dividend": "D", "doubt": "!"}
Provenance = Mapping[str, Any]


def headline(provenance: Provenance, seconds: float | None) -> Text:
    """Return a line about an answer: series, bars, vendors and, if given, the duration in seconds."""
    vendors = ", ".join(provenance["vendors"]) or "no vendor"
    vendors += " (MADE UP)" if provenance.get("made_up") else ""
    vendors += " (SAMPLE)" if provenance.get("sample") else ""
    cached = (
        f"{percent(provenance['from_cache'])} from cache" if provenance["rows"] else "nothing found"
    )
    # Only stocks have a date up to which splits and dividends are in the prices.
    prices = f"{provenance['adjustment']} prices" if provenance["as_of"] else ""
    facts = [
        counted(provenance["rows"], "bar"),
        vendors,
        cached,
        prices,
        provenance["kind"].get("unit", ""),
        "" if seconds is None else milliseconds(seconds),
    ]
    name = f"{provenance['symbol']} {provenance['timeframe']}"
    line = titled(name, " · ".join(filter(None, facts)))
    if provenance["substitute"]:
        line.append(f" · SUBSTITUTE: {provenance['substitute']}", style="yellow")
    return line


def bars_shown(frame: pd.DataFrame, most: int) -> Shown:
    """Yield a closing-price chart, if there are enough bars, and a table of the first and last bars."""
    if len(frame) >= _FEWEST_CHARTED:
        yield _Chart(frame)
        yield ""
    yield bars_table(frame, most)


class _Chart:
    """A chart of a frame's closing prices, as wide as the screen, labelled with the first and last day."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        lines = chart(list(self._frame["close"]), width=min(options.max_width, _WIDEST_CHART))
        ends = (str(self._frame.index[i].date()) for i in (0, -1)) if lines else ()
        yield from _chart_lines(lines, *ends)


def _chart_lines(lines: Sequence[str], first: str = "", last: str = "") -> Iterator[Text]:
    """Yield a chart's lines, then a line with labels for the first and the last bar."""
    for line in lines:
        yield styled(line, "cyan")
    if lines:
        label, _sign, cells = lines[0].partition("┤")
        room = max(len(cells) - len(first), len(last) + 2)
        yield styled(f"{'':{len(label)}} {first}{last:>{room}}", "dim")


class Blocks:
    """One series of a chart, drawn with block characters; gaps are shaded, and marks are above.

    Args:
        picture: Chart to draw from.
        place: Position of the series in the chart.
    """

    def __init__(self, picture: Chart, index: int = 0) -> None:
        self._chart, self._series = picture, picture.series[index]

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        axis, series = self._chart.axis, self._series
        if not len(series):
            return
        values = [math.nan] * len(axis)
        for slot, close in zip(series.slots.tolist(), series.closes.tolist(), strict=True):
            values[slot] = close
        marks = [(mark.slot, _SIGNS[mark.type]) for mark in self._chart.marks]
        for slot in series.slots[self._chart.outside(series)].tolist():
            values[slot] = math.nan
            marks.append((slot, _SIGNS["doubt"]))
        shaded = [False] * len(axis)
        for gap in (gap for gap in self._chart.gaps if gap.symbol == series.symbol):
            shaded[gap.first : gap.end] = [True] * (gap.end - gap.first)
        width = min(options.max_width, _WIDEST_CHART)
        lines = chart(values, width=width, shaded=shaded)
        label, _sign, cells = lines[0].partition("┤")
        signs = [" "] * len(cells)
        for slot, sign in marks:
            # The last column whose first slot, as in `_grouped`, is not after the mark.
            signs[((slot + 1) * len(cells) - 1) // len(axis)] = sign
        if "".join(signs).strip():
            yield styled(f"{'':{len(label)}} {''.join(signs)}", "magenta")
        yield from _chart_lines(lines, axis.text(0), axis.text(-1))


def bars_table(frame: pd.DataFrame, most: int) -> TextTable:
    """Return the first and last bars of a frame as a table of at most ``most`` rows."""
    head = len(frame) if len(frame) <= most else most // 2
    positions = [*range(head), *range(max(len(frame) - (most - head), head), len(frame))]
    shown = frame.iloc[positions]
    is_daily = not Timeframe.parse(frame.attrs[ATTRS_KEY]["timeframe"]).is_intraday
    stamps = [t.strftime("%Y-%m-%d" if is_daily else "%Y-%m-%d %H:%M") for t in shown.index]
    cells = [_cells(name, list(shown[name])) for name in shown.columns]
    rows: list[Sequence[str]] = list(zip(stamps, *cells, strict=True))
    if len(positions) < len(frame):
        rows.insert(head, ["…", *("" for _ in shown.columns)])
    names = [_heading(str(name)) for name in shown.columns]
    return TextTable(["time (UTC)" if not is_daily else "session", *names], rows)


def _heading(name: str) -> str:
    if name in EXTRA_COLUMNS:
        return f"{name}?"
    return f"{name}#" if name == "close" else f"{name}#?"


def _cells(name: str, values: Sequence[Any]) -> Sequence[Cell]:
    """Return one column's cells; only prices and volumes are formatted as numbers."""
    if name == "fetched_at":
        return [t.strftime("%Y-%m-%d %H:%M:%S") if t == t else "-" for t in values]
    if name == "is_final":
        return ["yes" if value else "no" for value in values]
    if name in ACTION_COLUMNS:
        return ["-" if not value else "?" if value != value else f"{value:g}" for value in values]
    return [str(v) for v in values] if name in EXTRA_COLUMNS else aligned(list(map(float, values)))


def attempts_shown(provenance: Provenance) -> Shown:
    """Yield a line for each vendor queried in this call, with the result or the reason for a failure."""
    attempts = provenance["attempts"]
    if not attempts:
        yield styled("no request sent: everything was cached", "dim")
        return
    rows = [a | {"time": milliseconds(a["seconds"]), "bars": a["rows"]} for a in attempts]
    columns = "provider outcome bars# requests#? time# start? end?"
    yield table(rows, columns)
    for a in attempts:
        if a["message"]:
            yield styled(f"  {by_vendor(a['provider'], a['message'])}", "yellow")


def gaps_shown(provenance: Provenance) -> Shown:
    """Yield the first gaps with their reasons; a single gap is omitted, as the warning mentions it."""
    if provenance["gaps_total"] == 1 and not provenance["complete"]:
        return
    for gap in provenance["gaps"][:_GAPS_SHOWN]:
        span = f"{moment(gap['start'])} → {moment(gap['end'])}"
        yield styled(f"no bars {span}: {sentence(gap['reason'])}", "yellow")
    if provenance["gaps_total"] > _GAPS_SHOWN:
        yield styled(f"and {provenance['gaps_total'] - _GAPS_SHOWN} more gaps", "yellow")


# --- frames as plain values


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as JSON-serializable dictionaries, with ISO times (None if missing)."""
    table = frame.reset_index()
    for name in table.select_dtypes("datetime").columns:
        times = table[name].dt.strftime("%Y-%m-%dT%H:%M:%SZ").astype(object)
        table[name] = times.where(times.notna(), None)
    return [{str(k): v for k, v in row.items()} for row in table.to_dict(orient="records")]


def dated(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with session dates as strings instead of timestamps."""
    index = frame.index.strftime("%Y-%m-%d")  # type: ignore[attr-defined]
    return frame.set_axis(index.set_names(frame.index.name), axis=0)


# --- a small chart of a series in text

_BLOCKS = " ▁▂▃▄▅▆▇█"
_GAP = "░"
_SMALLEST = 8


def chart(
    values: Sequence[float], *, width: int, height: int = 6, shaded: Sequence[bool] = ()
) -> list[str]:
    """Return an area chart of block characters, labelled with the highest and the lowest value.

    The latest value is on the right.

    Args:
        values: Values to draw; missing ones (NaN) are skipped.
        width: Maximum number of characters in a line, including the labels.
        height: Number of lines.
        shaded: Whether each value is in a gap. If given, missing values keep their place: in a gap
            they are shaded, elsewhere they are blank.
    """
    finite = [float(v) for v in values if math.isfinite(v)]
    if not finite:
        return []
    labels = aligned([max(finite), min(finite)])
    label_width = max(map(len, labels))
    room = max(width - label_width - 2, _SMALLEST)
    columns = _columns(values if shaded else finite, room)
    gaps = [any(group) for group in _grouped(shaded, room)] if shaded else [False] * len(columns)
    known = [v for v in columns if v is not None]
    low, high = min(known), max(known)
    scale = (height * 8 - 1) / (high - low) if high > low else 0.0
    filled = [None if v is None else int((v - low) * scale) + 1 for v in columns]
    lines = []
    for row in range(height - 1, -1, -1):
        label = labels[0] if row == height - 1 else labels[1] if row == 0 else ""
        cells = "".join(
            (_GAP if is_gap else " ") if f is None else _BLOCKS[min(max(f - row * 8, 0), 8)]
            for f, is_gap in zip(filled, gaps, strict=True)
        )
        lines.append(f"{label:>{label_width}} ┤{cells}")
    return lines


def _columns(values: Sequence[float], most: int) -> list[float | None]:
    """Return one value for each column of a chart; None for a column without values.

    If several values share a column, the one farthest from the overall mean represents it, so that
    a one-bar crash among thousands of bars stays visible.
    """
    groups = [[v for v in group if math.isfinite(v)] for group in _grouped(values, most)]
    finite = [v for group in groups for v in group]
    mean = sum(finite) / len(finite)
    return [max(group, key=lambda v: abs(v - mean), default=None) for group in groups]


def _grouped(values: Sequence[_T], most: int) -> list[Sequence[_T]]:
    """Split values into at most ``most`` parts whose lengths differ by at most one."""
    count = min(len(values), most)
    edges = [i * len(values) // count for i in range(count + 1)]
    return [values[a:b] for a, b in itertools.pairwise(edges)]
