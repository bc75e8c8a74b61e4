"""``onetape gaps``: every gap of what is stored, with its class, evidence and next step."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..jobs.signals import job_signals
from ..model.incident import incidents_of
from . import guarded
from .arguments import command, listed
from .cached import check_folder, manager_of, name_of
from .parser import Parser
from .report import Line, Report, Shown, present
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


# --- under older module names ---------------------------------------------------------------------


def main_validate(argv: Sequence[str] | None = None) -> int:
    """Run ``validate_gaps``: 0 when it was written, whatever was found; 1 failed, 2 wrong options."""
    what = "Write the gaps of the cache to validate-metadata.json."
    parser = _older("validate_gaps", what, _validate)
    parser.add_argument("--validate-all", action="store_true", help="all series; the default")
    return guarded(parser.parse_args(argv))


def main_fill(argv: Sequence[str] | None = None) -> int:
    """Run ``fill_gaps``: 0 when vendors answered, 1 when they failed, 2 without the file."""
    parser = _older("fill_gaps", "Ask vendors for the gaps in validate-metadata.json.", _fill)
    parser.add_argument(
        "--max-gap-hours", type=float, default=24.0, help="leave longer gaps alone; default: 24"
    )
    return guarded(parser.parse_args(argv))


def _older(name: str, what: str, run: Callable[[argparse.Namespace], Report | int]) -> Parser:
    parser = Parser(prog=name, description=what)
    parser.add_argument("--symbols", type=listed, metavar="A,B", help="default: all")
    parser.add_argument("--intervals", type=listed, metavar="1h,1d", help="default: all")
    command(parser, run)
    return parser


def _validate(args: argparse.Namespace) -> Report:
    from ..jobs.gap_files import validate_gaps

    check_folder(args)
    symbols, intervals = (None, None) if args.validate_all else (args.symbols, args.intervals)
    document = validate_gaps(symbols, intervals, args.cache_dir, config_path=args.config)
    return Report(document, _validated_shown(document))


def _validated_shown(document: dict[str, Any]) -> Shown:
    from ..jobs.gap_files import FILE

    for name, one in document["detailed_results"].items():
        gaps = counted(one["gap_summary"]["total_gaps"], "gap")
        yield Line(f"{name}: {one['overall_status']}, {gaps}")
    summary = document["validation_summary"]
    counts = ", ".join(f"{name} {summary[name]}" for name in ("valid", "invalid", "missing"))
    yield Line(f"{counts}; written to {FILE} in the cache folder")


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
        return present(Report(report, _filled_shown(report), ok=not report["failed"]), args)


def _filled_shown(report: dict[str, Any]) -> Shown:
    for name, bars in report["filled"].items():
        yield f"{name}: {counted(bars, 'new bar')}"
    for name, why in report["failed"].items():
        yield Line(f"{name}: {why}", "red")
    left = counted(report["too_long"], "gap")
    yield f"{counted(len(report['unchanged']), 'series')} as before; {left} too long"
