"""``onetape refresh``: fetch stale fundamentals again, the oldest first."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..jobs.signals import job_signals
from .arguments import add_timeout, command, flag, listed
from .execution import guarded
from .job_output import (
    MOST_SHOWN,
    add_trial,
    check_report,
    costs_shown,
    present_job,
    progress_shown,
    reasons_shown,
    requests_shown,
)
from .parser import Parser
from .report import Report, Shown
from .tables import TextTable, counted, styled

if TYPE_CHECKING:
    from ..jobs.refresh_fundamentals import Refresh

# Commands with older names always had this pause.
_OLDER_DELAY_S = 1.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    from ..jobs import refresh_plan

    _add_whose(parser, refresh_plan.REFRESHED_TYPES).add_argument(
        "--symbols-file",
        metavar="FILE",
        help=(
            "a list as for `onetape populate`, of which symbol and priority are used; -: "
            "standard input"
        ),
    )
    flag(parser, "--force-refresh", "also refetch data that is still fresh")
    parser.add_argument(
        "--delay",
        type=float,
        default=0.0,
        metavar="SECONDS",
        help=(
            "request one symbol at a time from each vendor, with this pause; default: "
            "several at once, as fast as its limits allow"
        ),
    )
    parser.add_argument(
        "--max-symbols", type=int, default=0, metavar="N", help="maximum number of symbols; 0: all"
    )
    flag(parser, "--shuffle", "in random order")
    parser.add_argument("--seed", type=int, help="seed of the random order")
    parser.add_argument(
        "--stale-min-days", type=float, metavar="DAYS", help="only data at least this old"
    )
    parser.add_argument(
        "--stale-fraction",
        type=float,
        metavar="PART",
        help="minimum age as a fraction of --stale-ttl-days",
    )
    parser.add_argument(
        "--stale-ttl-days",
        type=float,
        default=refresh_plan.DEFAULT_TTL_DAYS,
        metavar="DAYS",
        help="default: %(default)g",
    )
    parser.add_argument(
        "--chunk-fraction",
        type=float,
        metavar="PART",
        help="only the oldest part, such as 0.25; each run continues with the next part",
    )
    add_trial(parser)


def configure_periodic(parser: argparse.ArgumentParser) -> None:
    """Add the few options of the periodic job; all other options keep the command's defaults."""
    from ..jobs import refresh_plan

    whole = argparse.ArgumentParser(add_help=False)
    configure(whole)
    parser.set_defaults(**vars(whole.parse_args([])))
    _add_whose(parser, refresh_plan.PERIODIC_TYPES)
    parser.add_argument(
        "--max-symbols",
        type=int,
        default=refresh_plan.PERIODIC_SYMBOLS,
        metavar="N",
        help="default: %(default)d; 0: all",
    )


def _add_whose(parser: argparse.ArgumentParser, types: Sequence[str]) -> Any:
    """Add the options for symbols and data types; return the group of the symbol options."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--symbols", type=listed, metavar="A,B,C", help="only these symbols")
    flag(group, "--all-symbols", "all cached symbols (default)")
    flag(group, "--cleanup-only", "delete copies that have been replaced by newer, good ones")
    parser.add_argument(
        "--data-types",
        type=listed,
        default=list(types),
        metavar="A,B",
        help=f"default: {','.join(types)}",
    )
    add_timeout(
        parser,
        (
            "time for one data type of a symbol from one vendor, including waits for its "
            "limits; default: jobs.timeout_s in the rules"
        ),
    )
    command(parser, run)
    return group


def run(args: argparse.Namespace) -> Report | int:
    """Refresh or clean up; the exit code is 1 if anything could not be refreshed."""
    return _clean(args) if args.cleanup_only else _refresh(args)


def _clean(args: argparse.Namespace) -> Report:
    from ..jobs.refresh_fundamentals import cleanup_fundamentals

    result = cleanup_fundamentals(args.cache_dir, config_path=args.config, dry_run=args.dry_run)
    would = "would be deleted" if args.dry_run else "deleted"
    return Report(result, [f"{counted(result['total_removed_files'], 'replaced copy')} {would}"])


def _refresh(args: argparse.Namespace) -> int:
    from ..jobs.refresh_fundamentals import refresh_fundamentals

    check_report(args)
    with job_signals():
        with progress_shown() as listener:
            report = refresh_fundamentals(
                wanted(args),
                args.cache_dir,
                config_path=args.config,
                progress=listener,
                timeout=args.timeout,
            )
        ok = not (report["failed"] or any(group["failed"] for group in report["reasons"]))
        ok &= not report["interrupted"]
        shown = _plan_shown(report) if args.dry_run else _report_shown(report)
        note = "data fetched so far is kept; run the command again to continue"
        return present_job(report, shown, args, ok=ok, interrupted=note)


def wanted(args: argparse.Namespace) -> Refresh:
    """Return the job's options; raise ``QueryError`` if the list of symbols cannot be read."""
    from ..jobs.refresh_fundamentals import Refresh
    from ..jobs.refresh_plan import Choice
    from ..jobs.work_list import read_work_list

    symbols = read_work_list(args.symbols_file) if args.symbols_file else args.symbols
    choice = Choice(
        args.stale_min_days,
        args.stale_fraction,
        args.stale_ttl_days,
        args.chunk_fraction,
        args.max_symbols,
        args.shuffle,
        args.seed,
    )
    return Refresh(symbols, args.data_types, choice, args.force_refresh, args.delay, args.dry_run)


def _plan_shown(report: dict[str, Any]) -> Shown:
    selected = report["selected"]
    if len(selected) <= MOST_SHOWN:
        rows = [[row["symbol"], _days(row["age_days"])] for row in selected]
        yield TextTable(["selected", "age#"], rows)
    yield from costs_shown(report["vendors"], "data types")
    yield from reasons_shown(report["reasons"], "data types")
    text = (
        f"{counted(len(selected), 'symbol')} selected, "
        f"{counted(report['requests'], 'request')} in total"
    )
    yield styled(text, "dim")


def _report_shown(report: dict[str, Any]) -> Shown:
    results = report["results"]
    rows = [
        [
            r["symbol"],
            _days(r["age_days"]),
            ", ".join(
                f"{data_type} {result['fields_count']}"
                for data_type, result in r["data_types"].items()
                if result["success"]
            )
            or "-",
        ]
        for r in (results if len(results) <= MOST_SHOWN else ())
    ]
    if rows:
        yield TextTable(["symbol", "age before#", "fields"], rows)
    yield from reasons_shown(report["reasons"], "data types")
    yield from requests_shown(report["requests"])
    good, failures = len(report["successful"]), len(report["failed"])
    yield styled(f"{good:,} of {counted(good + failures, 'symbol')} refreshed", "dim")


def _days(age: float | None) -> str:
    return "none cached" if age is None else f"{age:.1f}d"


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``refresh`` under an older module name, with the same options."""
    return _run_older("refresh_fundamentals_cache", configure, argv)


def main_periodic(argv: Sequence[str] | None = None) -> int:
    """Run the periodic job under an older module name: 50 symbols, ratios and profiles."""
    return _run_older("periodic_fundamentals_refresh", configure_periodic, argv)


def _run_older(name: str, add_options: Any, argv: Sequence[str] | None) -> int:
    parser = Parser(prog=name, description="Refresh cached fundamentals.")
    add_options(parser)
    parser.set_defaults(delay=_OLDER_DELAY_S)
    return guarded(parser.parse_args(argv))
