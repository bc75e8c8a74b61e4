"""``onetape populate`` and ``onetape sync``: fill the cache for many series, or update them all."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, DataError, QueryError
from ..jobs.signals import job_signals
from ..model.coverage import VendorDay
from ..model.incident import incidents_of
from .arguments import add_session, add_timeout, add_universe, command, every, listed, members_of
from .execution import guarded
from .job_output import (
    MOST_REASONS,
    MOST_SHOWN,
    add_trial,
    check_report,
    costs_shown,
    present_job,
    progress_shown,
    reasons_shown,
    requests_shown,
)
from .output import complain_about
from .parser import Parser
from .report import FAILED, OK, Shown
from .tables import TextTable, counted, styled

if TYPE_CHECKING:
    from rich.text import Text

_Run = Callable[[argparse.Namespace], int]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    symbols_help = (
        "the symbols to fill; or use --symbols-file or --universe (`onetape sync` "
        "updates everything that is stored)"
    )
    add_universe(parser, "on any day from --start to --end")
    _add_series(parser, partial(_run_listed, parser), symbols_help)


def _add_series(parser: argparse.ArgumentParser, run: _Run, symbols_help: str) -> None:
    """Add the options that select the series, and those that control how they are filled."""
    parser.add_argument("--symbols", "--tickers", type=listed, metavar="A,B,C", help=symbols_help)
    parser.add_argument(
        "--timeframes",
        "--intervals",
        type=listed,
        metavar="1h,1d",
        help="default: 5m,15m,30m,1h,4h,1d",
    )
    parser.add_argument(
        "--symbols-file",
        metavar="FILE",
        help=(
            "a list: one symbol per line, or CSV or YAML with symbol, timeframe, from, "
            "priority; -: standard input"
        ),
    )
    parser.add_argument(
        "--start",
        "--start-date",
        dest="start_date",
        metavar="DATE",
        help="first session; default: 2020-01-01",
    )
    parser.add_argument(
        "--end",
        "--end-date",
        dest="end_date",
        metavar="DATE",
        help="last session; default: today",
    )
    add_session(parser)
    parser.set_defaults(all_stored=False)
    _add_job(parser, run)


def configure_sync(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape sync``."""
    parser.add_argument(
        "patterns",
        metavar="pattern",
        nargs="*",
        default=["*"],
        help="symbols such as AAPL or 'BTC*', or a symbol and timeframe such as '* 1d'; default: all",
    )
    add_universe(parser, "on any day")
    defaults: dict[str, None] = dict.fromkeys(("symbols", "timeframes", "start_date", "end_date"))
    parser.set_defaults(**defaults, all_stored=True)
    _add_job(parser, run)


def _add_job(parser: argparse.ArgumentParser, run: _Run) -> None:
    add_trial(parser)
    parser.add_argument(
        "--every",
        type=every,
        metavar="TIME",
        help="repeat at this interval, such as 15m or 1d, until Ctrl-C or SIGTERM",
    )
    add_timeout(
        parser,
        ("a request ends after this time without a page; default: jobs.timeout_s in the rules"),
    )
    command(parser, run)


def _run_listed(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Fill the listed series; if none are listed, print the usage instead of filling all series.

    Raises:
        QueryError: No symbols are given.
    """
    is_listed = args.symbols is not None or args.symbols_file is not None
    if is_listed and args.universe is not None:
        raise QueryError("--universe cannot be combined with --symbols or --symbols-file")
    if not is_listed and args.universe is None:
        parser.print_usage(sys.stderr)
        raise QueryError(
            ("no symbols are given; use --symbols A,B,C, --symbols-file FILE or --universe NAME"),
            hint="`onetape sync` updates everything that is stored",
        )
    return run(args)


def run(args: argparse.Namespace, *, may_lack: bool = False) -> int:
    """Fill the cache once or repeatedly, and print the report each time.

    With ``--every``, an error is printed, and the next run tries again, unless the first run finds
    that the arguments are invalid.

    Returns:
        Exit code: 0 if no series failed and, unless ``may_lack`` is set, no series lacks bars;
        otherwise 1.
    """
    check_report(args)
    is_first = True
    while True:
        began_s = time.monotonic()
        with job_signals() as signals:
            try:
                code, is_interrupted = _run_once(args, may_lack=may_lack)
            except DataError as error:
                is_of_arguments = is_first and isinstance(error, QueryError | ConfigError)
                if args.dry_run or args.every is None or is_of_arguments:
                    raise
                complain_about(error)  # the next run continues
                code, is_interrupted = FAILED, False
        if args.dry_run or args.every is None or is_interrupted or signals.is_noted:
            return code
        try:
            time.sleep(max(0.0, args.every - (time.monotonic() - began_s)))
        except KeyboardInterrupt:  # the usual way to stop it between two runs
            return code
        is_first = False


def _run_once(args: argparse.Namespace, *, may_lack: bool) -> tuple[int, bool]:
    """Fill the cache and print the report; return the exit code, and whether it was interrupted."""
    report = _populate(args)
    if args.dry_run:
        is_done, shown = not report["reasons"], _cost_shown(report)
    else:
        is_done = not report["failed"] and not report["interrupted"]
        is_done &= may_lack or all(result["complete"] for result in report["results"])
        shown = _report_shown(report)
    note = "committed bars are kept; run the command again to continue"
    code = present_job(report, shown, args, ok=is_done, interrupted=note)
    return code, bool(report.get("interrupted"))


def _populate(args: argparse.Namespace) -> dict[str, Any]:
    from ..jobs.populate import DEFAULT_START, populate_cache, sync_cache

    start = None if args.all_stored else args.start_date or DEFAULT_START
    members = members_of(args, start, args.end_date)
    with progress_shown() as listener:
        options: dict[str, Any] = {
            "cache_dir": args.cache_dir,
            "config_path": args.config,
            "dry_run": args.dry_run,
            "progress": listener,
            "timeout": args.timeout,
        }
        if args.all_stored:
            report = sync_cache(args.patterns, symbols=members, **options)
        else:
            report = populate_cache(
                args.symbols if members is None else members,
                args.timeframes,
                args.start_date,
                args.end_date,
                symbols_file=args.symbols_file,
                session=args.session,
                **options,
            )
    if members is not None:
        report["universe"] = members.as_dict()
    if not (report["series"] if args.dry_run else report["results"]):
        if samples := report.get("samples"):
            more = f" and {len(samples) - 1:,} more" if len(samples) > 1 else ""
            symbol, _, lane = samples[0].partition(" ")
            timeframe = lane.partition("@")[0]
            raise QueryError(
                f"nothing to fill: only sample bars are cached ({samples[0]}{more})",
                hint=f"`onetape fetch {symbol} {timeframe}` requests bars from vendors",
            )
        raise QueryError(
            "nothing to fill: no matching series is cached",
            hint="name the symbols: onetape populate --symbols AAPL,BTCUSDT",
        )
    return report


def _report_shown(report: dict[str, Any]) -> Shown:
    results = report["results"]
    rows = [
        [
            r["symbol"],
            r["timeframe"],
            f"{r['rows']:,}",
            f"{r['fetched']:,}",
            ", ".join(r["vendors"]) or "-",
            r["gaps"] or "-",
            _state(r),
        ]
        for r in (results if len(results) <= MOST_SHOWN else ())
    ]
    if rows:
        names = ["symbol", "timeframe", "bars#", "new#?", "from?", "gaps#?", "state"]
        yield TextTable(names, rows)
    yield from reasons_shown(report["reasons"])
    yield from requests_shown(report["requests"])
    yield from _incidents_shown(report)
    for name, count in list(report["marked"].items())[:MOST_REASONS]:
        text = (
            f"{name}: {counted(count, 'bar')} marked as certainly wrong; `onetape validate` "
            "shows why"
        )
        yield styled(text, "yellow")
    for lost in report["perishable"][:MOST_REASONS]:
        name, deleted_at = f"{lost['symbol']} {lost['timeframe']}", lost["lost"]
        text = (
            f"{name}: no {lost['what']} after {lost['last']}; {lost['vendor']} deletes the next "
            f"one at {deleted_at}"
        )
        yield styled(text, "yellow")
    good, failures = len(report["success"]), len(report["failed"])
    fetched = counted(sum(r["fetched"] for r in results), "new bar")
    yield styled(f"{good:,} of {counted(good + failures, 'series')} succeeded, {fetched}", "dim")


def _incidents_shown(report: dict[str, Any]) -> Shown:
    incidents = incidents_of(map(VendorDay.from_json, report["incidents"]))
    for incident in incidents[:MOST_REASONS]:
        yield styled(f"incident: {incident}; `onetape gaps --all` shows it", "yellow")


def _cost_shown(report: dict[str, Any]) -> Shown:
    yield from costs_shown(report["vendors"])
    yield from reasons_shown(report["reasons"])
    yield from _incidents_shown(report)
    hits = f"{report['held']:,} of {counted(report['series'], 'series')} need no vendor"
    yield styled(f"{hits}, {counted(report['requests'], 'request')} in total", "dim")


def _state(result: dict[str, Any]) -> Text:
    if result["error"]:
        return styled("failed", "red")
    return styled("complete", "green") if result["complete"] else styled("incomplete", "yellow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``populate`` under an older module name; return 0 if every series succeeded, else 1."""
    parser = Parser(prog="populate_cache", description="Fill the cache.")
    _add_series(parser, partial(run, may_lack=True), "default: every symbol in the cache")
    parser.set_defaults(universe=None, as_of=None)
    return OK if guarded(parser.parse_args(argv)) == OK else FAILED
