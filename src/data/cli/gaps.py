"""``onetape gaps``: the cached spans of a series, and every gap with its class and next step."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..core.members import NOTHING_STORED
from ..core.model.stored.incident import incidents_of
from .answers import records
from .arguments import add_span, add_universe, add_which, check_one, command, members_of, usual
from .cached import manager_of
from .result import Line, Report, Shown
from .tables import counted, table

if TYPE_CHECKING:
    from ..jobs.validation.gaps import GapReport

EXAMPLES = ("gaps AAPL 1d", "gaps --all --json")
SENDS_REQUESTS = False

_SPANS = "start end state vendor? lane? next_due? reason?"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_which(parser, "list the gaps of all stored series except samples")
    add_universe(parser, "on any day of the range")
    add_span(parser)
    usual(parser, "provider")
    command(
        parser,
        run,
        (
            "For a symbol and a timeframe, the cached spans are listed first (half-open; the time "
            "between them was never requested; next due: when a request can change a span). A "
            "session that a vendor lacks for most of its symbols is an incident, and its gaps are "
            "not listed separately. Exit code 1: a series could not be read."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Return spans and gaps; the exit code is 1 if a series could not be read.

    Raises:
        QueryError: Not exactly one of a symbol, ``--universe`` and ``--all`` is given.
    """
    check_one(args, "gaps AAPL 1d")
    manager = manager_of(args)
    spans = []
    if args.symbol and args.timeframe:
        spans = records(
            manager.coverage(args.symbol, args.timeframe, args.provider).set_index("lane")
        )
    symbols = members_of(args, args.start, args.end) or args.symbol
    report = manager.gaps(symbols, args.timeframe, args.start, args.end, args.provider)
    ok = not any(series.problem for series in report.series) and not report.absent
    document = {"spans": spans} | report.as_dict()
    return Report(document, _report_shown(args, spans, report), ok=ok)


def _report_shown(
    args: argparse.Namespace, spans: list[dict[str, Any]], report: GapReport
) -> Shown:
    if spans:
        name = f"{args.symbol} {args.timeframe} · {counted(len(spans), 'span')}"
        yield table(spans, _SPANS, name)
        yield ""
    for incident in incidents_of(report.incidents):
        yield Line(f"incident: {incident}", "bold yellow")
    for gap in report.gaps:
        if gap.is_notable:
            yield Line(f"{gap.series}  {gap.text}")
            yield Line(f"    {gap.evidence}", "dim")
            if gap.next_step:  # may be a command
                yield Line(f"    → {gap.next_step}", "yellow")
    for series in report.series:
        if series.problem:
            yield Line(f"{series.series}: {series.problem}", "red")
    for symbol in report.absent:
        yield Line(f"{symbol}: {NOTHING_STORED}", "red")
    if report.unlisted:
        text = f"{counted(report.unlisted, 'gap')} more are not listed; --json includes the count"
        yield Line(text, "dim")
    yield Line(report.title, "dim")
