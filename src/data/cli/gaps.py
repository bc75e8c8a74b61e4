"""``onetape gaps``: every gap of what is stored, with its class, evidence and next step."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..jobs.signals import job_signals
from ..model.incident import incidents_of
from . import FAILED, OK, guarded
from .arguments import add_output, add_places, listed
from .cached import check_folder, manager_of, name_of
from .output import console, print_json
from .parser import Parser
from .tables import counted, moment, styled

if TYPE_CHECKING:
    from ..jobs.gaps import GapReport
    from ..quality.gaps import ClassifiedGap


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        "Incidents stand on top: a session that a vendor lacks for most of its symbols is one of "
        "them, and its gaps are not listed. No vendor is asked. 1: a series could not be read."
    )
    parser.add_argument("symbol", nargs="?", help="such as AAPL; its series in all timeframes")
    parser.add_argument("timeframe", nargs="?", help="such as 1h, 1d; of this one alone")
    parser.add_argument("--all", action="store_true", help="of everything that is stored")
    parser.add_argument("--start", help="date (whole session), UTC time, 2024-06 or -30d, included")
    parser.add_argument("--end", help="date (whole session) or UTC time, included; default: now")
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the gaps; 1 where a series could not be read.

    Raises:
        QueryError: neither a symbol nor ``--all``, or both.
    """
    if args.all == bool(args.symbol):
        what = "both a symbol and --all" if args.all else "no symbol"
        raise QueryError(what, hint="`onetape gaps AAPL 1d`, or `onetape gaps --all`")
    report = manager_of(args).gaps(args.symbol, args.timeframe, args.start, args.end)
    if args.json:
        print_json(report.as_dict())
    else:
        _show(report)
    return FAILED if any(one.problem for one in report.series) else OK


def _show(report: GapReport) -> None:
    screen = console()
    for incident in incidents_of(report.incidents):
        screen.print(styled(f"incident: {incident}", "bold yellow"), soft_wrap=True)
    for gap in report.gaps:
        if gap.gap_class not in ("closed", "vendor_outage"):
            _show_gap(gap)
    for one in report.series:
        if one.problem:
            screen.print(styled(f"{name_of(one.series)}: {one.problem}", "red"), soft_wrap=True)
    hidden = sum(sum(one.counts.values()) - len(one.listed) for one in report.series)
    lines = [f"{counted(hidden, 'gap')} more are not listed: --json counts them"] * bool(hidden)
    lines.append(_summary(report))
    screen.print(styled("\n".join(lines), "dim"), soft_wrap=True)


def _show_gap(gap: ClassifiedGap) -> None:
    screen, plain = console(), gap.as_dict()
    span = f"{moment(plain['start'])} to {moment(plain['end'])}"
    what = gap.gap_class.replace("_", " ")
    head = f"{name_of(gap.series)}  {span}  {counted(gap.bars, 'bar')}  {what}"
    screen.print(head, soft_wrap=True)
    # A line of its own each, however long: the next step may be a command.
    screen.print(styled(f"    {gap.evidence}", "dim"), soft_wrap=True)
    if gap.next_step:
        screen.print(styled(f"    → {gap.next_step}", "yellow"), soft_wrap=True)


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


# --- under older module names ---------------------------------------------------------------------


def main_validate(argv: Sequence[str] | None = None) -> int:
    """Run ``validate_gaps``: 0 when it was written, whatever was found; 1 failed, 2 wrong options."""
    parser = _older("validate_gaps", "Write the gaps of the cache to validate-metadata.json.")
    parser.add_argument("--validate-all", action="store_true", help="all series; the default")
    return _run_older(parser, _validate, argv)


def main_fill(argv: Sequence[str] | None = None) -> int:
    """Run ``fill_gaps``: 0 when vendors answered, 1 when they failed, 2 without the file."""
    parser = _older("fill_gaps", "Ask vendors for the gaps in validate-metadata.json.")
    parser.add_argument(
        "--max-gap-hours", type=float, default=24.0, help="leave longer gaps alone; default: 24"
    )
    return _run_older(parser, _fill, argv)


def _older(name: str, what: str) -> Parser:
    parser = Parser(prog=name, description=what)
    parser.add_argument("--symbols", type=listed, metavar="A,B", help="default: all")
    parser.add_argument("--intervals", type=listed, metavar="1h,1d", help="default: all")
    add_output(parser)
    add_places(parser)
    return parser


def _run_older(parser: Parser, run: object, argv: Sequence[str] | None) -> int:
    parser.set_defaults(run=run)
    return guarded(parser.parse_args(argv))


def _validate(args: argparse.Namespace) -> int:
    from ..jobs.gap_files import FILE, validate_gaps

    check_folder(args)
    symbols, intervals = (None, None) if args.validate_all else (args.symbols, args.intervals)
    document = validate_gaps(symbols, intervals, args.cache_dir, config_path=args.config)
    if args.json:
        print_json(document)
        return OK
    summary = document["validation_summary"]
    for name, one in document["detailed_results"].items():
        gaps = counted(one["gap_summary"]["total_gaps"], "gap")
        console().print(f"{name}: {one['overall_status']}, {gaps}", soft_wrap=True)
    counts = ", ".join(f"{name} {summary[name]}" for name in ("valid", "invalid", "missing"))
    console().print(f"{counts}; written to {FILE} in the cache folder", soft_wrap=True)
    return OK


def _fill(args: argparse.Namespace) -> int:
    from ..jobs.gap_files import fill_gaps

    check_folder(args)
    if args.max_gap_hours < 0:
        raise QueryError("--max-gap-hours is negative", hint="a number of hours from 0 on")
    with job_signals():
        report = fill_gaps(
            args.symbols,
            args.intervals,
            args.cache_dir,
            args.max_gap_hours,
            config_path=args.config,
        )
        print_json(report) if args.json else _show_filled(report)
    return FAILED if report["failed"] else OK


def _show_filled(report: dict[str, Any]) -> None:
    for name, bars in report["filled"].items():
        console().print(f"{name}: {counted(bars, 'new bar')}")
    for name, why in report["failed"].items():
        console().print(styled(f"{name}: {why}", "red"), soft_wrap=True)
    left = counted(report["too_long"], "gap")
    console().print(f"{counted(len(report['unchanged']), 'series')} as before; {left} too long")
