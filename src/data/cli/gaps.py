"""``onetape gaps``: every gap of what is stored, with its class, evidence and next step."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import QueryError
from ..model.incident import incidents_of
from .arguments import command
from .cached import manager_of, name_of
from .report import Line, Report, Shown
from .tables import counted, moment

if TYPE_CHECKING:
    from ..jobs.gaps import GapReport
    from ..quality.gaps import ClassifiedGap


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("symbol", nargs="?", help="such as AAPL; its series in all timeframes")
    parser.add_argument("timeframe", nargs="?", help="such as 1h, 1d; of this one alone")
    parser.add_argument("--all", action="store_true", help="of everything that is stored")
    parser.add_argument("--start", help="date (whole session), UTC time, 2024-06 or -30d, included")
    parser.add_argument("--end", help="date (whole session) or UTC time, included; default: now")
    command(
        parser,
        run,
        "Incidents stand on top: a session that a vendor lacks for most of its symbols is one of "
        "them, and its gaps are not listed. No vendor is asked. 1: a series could not be read.",
    )


def run(args: argparse.Namespace) -> Report:
    """Return the gaps; 1 where a series could not be read.

    Raises:
        QueryError: neither a symbol nor ``--all``, or both.
    """
    if args.all == bool(args.symbol):
        what = "both a symbol and --all" if args.all else "no symbol"
        raise QueryError(what, hint="`onetape gaps AAPL 1d`, or `onetape gaps --all`")
    report = manager_of(args).gaps(args.symbol, args.timeframe, args.start, args.end)
    ok = not any(one.problem for one in report.series)
    return Report(report.as_dict, _shown(report), ok=ok)


def _shown(report: GapReport) -> Shown:
    for incident in incidents_of(report.incidents):
        yield Line(f"incident: {incident}", "bold yellow")
    for gap in report.gaps:
        if gap.gap_class not in ("closed", "vendor_outage"):
            yield from _gap_shown(gap)
    for one in report.series:
        if one.problem:
            yield Line(f"{name_of(one.series)}: {one.problem}", "red")
    hidden = sum(sum(one.counts.values()) - len(one.listed) for one in report.series)
    if hidden:
        yield Line(f"{counted(hidden, 'gap')} more are not listed: --json counts them", "dim")
    yield Line(_summary(report), "dim")


def _gap_shown(gap: ClassifiedGap) -> Shown:
    plain = gap.as_dict()
    span = f"{moment(plain['start'])} to {moment(plain['end'])}"
    what = gap.gap_class.replace("_", " ")
    yield Line(f"{name_of(gap.series)}  {span}  {counted(gap.bars, 'bar')}  {what}")
    yield Line(f"    {gap.evidence}", "dim")
    if gap.next_step:  # may be a command
        yield Line(f"    → {gap.next_step}", "yellow")


def _summary(report: GapReport) -> str:
    counts: dict[str, int] = {}
    for one in report.series:
        for name, count in one.counts.items():
            counts[name] = counts.get(name, 0) + count
    series = counted(len(report.series), "series")
    if not counts:
        return f"{series}, no gap"
    parts = ", ".join(f"{n.replace('_', ' ')} {count:,}" for n, count in sorted(counts.items()))
    return f"{series}; {parts}"
