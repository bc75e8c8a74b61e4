"""``onetape gaps``: every gap in stored series, with its class, evidence and next step."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..members import NOTHING_STORED
from ..model.incident import incidents_of
from .arguments import add_universe, check_one, command, members_of
from .cached import manager_of, name_of
from .report import Line, Report, Shown
from .tables import counted

if TYPE_CHECKING:
    from ..jobs.gaps import GapReport
    from ..quality.gaps import ClassifiedGap


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("symbol", nargs="?", help="such as AAPL; by default in all timeframes")
    parser.add_argument("timeframe", nargs="?", help="such as 1h, 1d; default: all timeframes")
    parser.add_argument("--all", action="store_true", help="list the gaps of all stored series")
    add_universe(parser, "on any day of the range")
    parser.add_argument(
        "--start", help="date (whole session), UTC time, 2024-06 or -30d, inclusive"
    )
    parser.add_argument("--end", help="date (whole session) or UTC time, inclusive; default: now")
    command(
        parser,
        run,
        (
            "Incidents are listed first: a session that a vendor lacks for most of its "
            "symbols is an incident, and its gaps are not listed separately. No vendor is "
            "queried. Exit code 1: a series could not be read."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Return the gaps; the exit code is 1 if a series could not be read.

    Raises:
        QueryError: Not exactly one of a symbol, ``--universe`` and ``--all`` is given.
    """
    check_one(args, "gaps AAPL 1d")
    manager = manager_of(args)
    symbols = members_of(args, args.start, args.end) or args.symbol
    report = manager.gaps(symbols, args.timeframe, args.start, args.end)
    ok = not any(series.problem for series in report.series) and not report.absent
    return Report(report.as_dict, _report_shown(report), ok=ok)


def _report_shown(report: GapReport) -> Shown:
    for incident in incidents_of(report.incidents):
        yield Line(f"incident: {incident}", "bold yellow")
    for gap in report.gaps:
        if gap.is_notable:
            yield from _gap_shown(gap)
    for series in report.series:
        if series.problem:
            yield Line(f"{name_of(series.series)}: {series.problem}", "red")
    for symbol in report.absent:
        yield Line(f"{symbol}: {NOTHING_STORED}", "red")
    if report.unlisted:
        text = f"{counted(report.unlisted, 'gap')} more are not listed; --json includes the count"
        yield Line(text, "dim")
    yield Line(report.title, "dim")


def _gap_shown(gap: ClassifiedGap) -> Shown:
    yield Line(f"{name_of(gap.series)}  {gap.text}")
    yield Line(f"    {gap.evidence}", "dim")
    if gap.next_step:  # may be a command
        yield Line(f"    → {gap.next_step}", "yellow")
