"""``onetape plot``: a chart of one symbol or several, in the terminal or as a file."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .answers import Blocks
from .arguments import QUESTION, command, given, option, usual
from .cached import manager_of
from .output import asking
from .result import Line, Report, Shown
from .tables import styled, titled

if TYPE_CHECKING:
    from ..show.charts.chart import Chart

EXAMPLES = ("plot AAPL 1d --period 1y -o aapl.png", "plot AAPL MSFT 1d --period 5y -o both.html")

_MOST_LINES = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    usual(parser, "question forming timeout version")
    option(
        parser,
        "-o --out FILE",
        "write a .png or .svg (extra plot) or .html file; default: draw the chart here",
    )
    command(
        parser,
        run,
        (
            "Several symbols are drawn as lines of their closes, each rebased to 100 at its "
            "first bar in common with another; one that has none is left out. In the terminal "
            "a gap is shaded; S, D and ! above it mark a split, a dividend and a doubtful bar."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Draw the chart; the exit code is 1 if bars are missing.

    Raises:
        QueryError: The file name does not determine the format, or the query is invalid.
        StorageError: The file cannot be written.
    """
    if args.out is not None:
        from pathlib import Path

        from ..core.disk.atomic import check_target
        from ..show.charts.picture import picture_ending

        picture_ending(args.out)
        check_target(Path(args.out))
    from ..show.charts.picture import ChartPicture
    from ..show.charts.values import chart_values

    manager = manager_of(args, makes_folder=True)
    with asking(args) as notes:
        options = given(args, f"{QUESTION} include_forming strict version timeout")
        picture = manager.plot(args.symbols, **options)
    assert isinstance(picture, ChartPicture)
    chart = picture.chart
    written = [str(picture.save(args.out))] if args.out is not None else []
    return Report(
        lambda: chart_values(chart) | {"complete": chart.complete, "written": written},
        lambda: _chart_shown(chart, written),
        notes,
        ok=chart.complete,
        is_check=bool(written),
    )


def _chart_shown(chart: Chart, written: list[str]) -> Iterator[Any]:
    yield titled(chart.title, chart.about)
    if not written:
        yield from _blocks(chart)
    yield styled(str(chart.counts()), "dim")
    for remark in chart.remarks()[: -len(chart.notes) or None]:
        yield styled(remark, "yellow")
    for path in written:
        yield Line(f"written: {path}")


def _blocks(chart: Chart) -> Shown:
    """Yield each series, drawn with block characters, and a description of gaps and marks."""
    for index, series in enumerate(chart.series):
        yield ""
        if chart.is_indexed:
            last = f"{series.closes[-1]:.1f}" if len(series) else "no bars"
            yield titled(series.title, last)
        yield Blocks(chart, index)
    yield ""
    axis = chart.axis
    for mark in chart.marks[:_MOST_LINES]:
        yield styled(f"{axis.text(mark.slot)} {mark.label}", "magenta")
    for gap in chart.gaps[:_MOST_LINES]:
        span = f"{axis.text(gap.first)} → {axis.text(gap.end - 1)}"
        symbol = f"{gap.symbol}: " if chart.is_indexed else ""
        yield styled(f"{symbol}no bars {span}: {gap.text}", "yellow")
    more = [
        (len(chart.marks) - _MOST_LINES, "mark"),
        (len(chart.gaps) - _MOST_LINES, "gap"),
    ]
    for count, noun in more:
        if count > 0:
            yield styled(f"and {count:,} more {noun}{'s' * (count > 1)}", "dim")
    if vendors := ", ".join(dict.fromkeys(run.text for run in chart.ribbon)):
        yield f"from {vendors}"
    yield from chart.notes
