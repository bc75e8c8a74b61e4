"""``onetape populate`` and ``onetape sync``: fill the cache, and bring what it has up to date."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..core.registry import canonical_vendor, is_free
from ..errors import ConfigError, DataError, QueryError, short_words
from ..jobs.fill import refresh_plan
from ..jobs.run.signals import job_signals
from .arguments import (
    add_session,
    add_timeout,
    add_universe,
    command,
    every,
    listed,
    members_of,
    option,
)
from .execution import guarded
from .job_output import (
    MOST_REASONS,
    MOST_SHOWN,
    add_trial,
    begin,
    check_report,
    costs_shown,
    present_job,
    progress_shown,
    reasons_shown,
    requests_shown,
)
from .output import complain_about
from .parser import Parser
from .result import FAILED, OK, Report, Shown, present
from .tables import counted, styled, table

EXAMPLES = ("populate --symbols AAPL,MSFT --timeframes 1d", "populate --fundamentals")

# Whether a run is done, its report, and the report for display.
_Done = tuple[bool, dict[str, Any], Shown]
# Options that apply only to bars, and those that apply only to fundamentals.
_BARS = ("timeframes", "start_date", "end_date", "universe", "session")
_FUNDAMENTALS = (
    "all_symbols", "cleanup_only", "data_types", "force_refresh", "delay", "max_symbols", "shuffle",
    "seed", "stale_min_days", "stale_fraction", "stale_ttl_days", "chunk_fraction",
)  # fmt: skip
# Commands with older names always had this pause.
_OLDER_DELAY_S = 1.0


# --- options -----------------------------------------------------------------------------------


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape populate``."""
    add_universe(parser, "on any day from --start to --end")
    _add_symbols(parser, "; or use --symbols-file or --universe (`onetape sync`: all)")
    _add_bars(parser)
    option(parser, "--fundamentals", "refetch stale fundamentals instead of bars, the oldest first")
    _add_fundamentals(parser, refresh_plan.REFRESHED_TYPES)
    _add_job(parser, partial(_run_listed, parser))


def _add_symbols(parser: argparse.ArgumentParser, default: str) -> None:
    text = f"the symbols to fill{default}"
    option(parser, "--symbols --tickers A,B,C", text, type=listed)
    option(
        parser,
        "--symbols-file FILE",
        (
            "a list: one symbol per line, or CSV or YAML with symbol, timeframe, from, "
            "priority; -: standard input"
        ),
    )


def _add_bars(parser: argparse.ArgumentParser) -> None:
    option(parser, "--timeframes --intervals 1h,1d", "default: 5m,15m,30m,1h,4h,1d", type=listed)
    for name, text in (("start", "first session; default: 2020-01-01"),
                       ("end", "last session; default: today")):  # fmt: skip
        names = f"--{name}", f"--{name}-date"
        parser.add_argument(*names, dest=f"{name}_date", metavar="DATE", help=text)
    add_session(parser)
    parser.set_defaults(all_stored=False)


def _add_fundamentals(parser: argparse.ArgumentParser, types: Sequence[str], most: int = 0) -> None:
    """Add the options that select stale fundamentals; by default, those of all cached symbols."""
    group = parser.add_argument_group("with --fundamentals")
    which = group.add_mutually_exclusive_group()
    option(which, "--all-symbols", "all cached symbols (default)")
    option(which, "--cleanup-only", "delete copies that have been replaced by newer, good ones")
    option(
        group, "--data-types A,B", f"default: {','.join(types)}", type=listed, default=list(types)
    )
    option(group, "--force-refresh", "also refetch data that is still fresh")
    option(
        group,
        "--delay SECONDS",
        (
            "request one symbol at a time from each vendor, with this pause; default: "
            "several at once, as fast as its limits allow"
        ),
        type=float,
        default=0.0,
    )
    text = "maximum number of symbols; 0: all; default: %(default)d"
    option(group, "--max-symbols N", text, type=int, default=most)
    option(group, "--shuffle", "in random order")
    option(group, "--seed", "seed of the random order", type=int)
    for name, metavar, default, text in (
        ("--stale-min-days", "DAYS", None, "only data at least this old"),
        ("--stale-fraction", "PART", None, "minimum age as a fraction of --stale-ttl-days"),
        ("--stale-ttl-days", "DAYS", refresh_plan.DEFAULT_TTL_DAYS, "default: %(default)g"),
        (
            "--chunk-fraction",
            "PART",
            None,
            "only the oldest part, such as 0.25; each run continues with the next part",
        ),
    ):
        option(group, f"{name} {metavar}", text, type=float, default=default)


def configure_sync(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape sync``."""
    option(
        parser,
        "patterns* pattern",
        "symbols such as AAPL or 'BTC*', or a symbol and timeframe such as '* 1d'; default: all",
        default=["*"],
    )
    add_universe(parser, "on any day")
    defaults: dict[str, None] = dict.fromkeys(("symbols", "timeframes", "start_date", "end_date"))
    parser.set_defaults(**defaults, all_stored=True, fundamentals=False)
    _add_job(parser, run)


def _add_job(
    parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int | Report]
) -> None:
    add_trial(parser)
    option(
        parser,
        "--every TIME",
        "repeat at this interval, such as 15m or 1d, until Ctrl-C or SIGTERM",
        type=every,
    )
    text = "a request ends after this time without a page; default: jobs.timeout_s in the rules"
    add_timeout(parser, text)
    parser.add_argument("--provider", help=argparse.SUPPRESS)
    command(parser, run)


def _run_listed(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Fill the listed series; if none are listed, refuse instead of filling all series.

    Raises:
        QueryError: No symbols are given, or an option does not apply.
    """
    _refuse_provider(args)
    for name in _BARS if args.fundamentals else _FUNDAMENTALS:
        if getattr(args, name) != parser.get_default(name):
            option = f"--{name.removesuffix('_date').replace('_', '-')}"
            without = "does not apply to" if args.fundamentals else "needs"
            raise QueryError(f"{option} {without} --fundamentals")
    is_listed = args.symbols is not None or args.symbols_file is not None
    if is_listed and args.universe is not None:
        raise QueryError("--universe cannot be combined with --symbols or --symbols-file")
    if not (is_listed or args.fundamentals or args.universe is not None):
        raise QueryError(
            ("no symbols are given; use --symbols A,B,C, --symbols-file FILE or --universe NAME"),
            hint="`onetape sync` updates everything that is stored",
        )
    return run(args)


# --- runs --------------------------------------------------------------------------------------


def run(args: argparse.Namespace, *, may_lack: bool = False) -> int:
    """Fill the cache once or repeatedly, and print the report each time.

    With ``--every``, an error is printed, and the next run tries again, unless the first run finds
    that the arguments are invalid.

    Returns:
        Exit code: 0 if nothing failed and, unless ``may_lack`` is set, no series lacks bars;
        otherwise 1.
    """
    if args.fundamentals and args.cleanup_only:
        return present(_clean(args), args)
    _refuse_provider(args)
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


def _refuse_provider(args: argparse.Namespace) -> None:
    """Refuse a vendor's name, because the rules name the vendors of these commands.

    Raises:
        QueryError: A vendor is named.
    """
    provider = getattr(args, "provider", None)  # the older modules have none
    if provider is None:
        return
    name = canonical_vendor(provider) or provider
    why = "this command queries the vendors in the rules"
    if is_free(name):
        why = "your own files are read when requested, and nothing of them is cached"
    raise QueryError(
        f"--provider {short_words(provider)}: {why}",
        hint="name the vendor in the rules, or use `onetape fetch SYMBOL 1d --provider NAME`",
    )


def _run_once(args: argparse.Namespace, *, may_lack: bool) -> tuple[int, bool]:
    """Do the work and print the report; return the exit code, and whether it was interrupted."""
    name = getattr(args, "command", "populate")  # the older modules have none
    begin(args, "populate --fundamentals" if args.fundamentals else name)
    if args.fundamentals:
        is_done, report, shown = _refresh(args)
    else:
        is_done, report, shown = _populate(args, may_lack=may_lack)
    kept = "data fetched so far is" if args.fundamentals else "committed bars are"
    note = f"{kept} kept; run the command again to continue"
    code = present_job(report, shown, args, ok=is_done, interrupted=note)
    return code, bool(report.get("interrupted"))


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {"cache_dir": args.cache_dir, "config_path": args.config, "timeout": args.timeout}


def _populate(args: argparse.Namespace, *, may_lack: bool) -> _Done:
    from ..jobs.fill.populate import DEFAULT_START, populate_cache, sync_cache

    start = None if args.all_stored else args.start_date or DEFAULT_START
    members = members_of(args, start, args.end_date)
    with progress_shown() as listener:
        options = _options(args) | {"dry_run": args.dry_run, "progress": listener}
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
    if not (report["series"] if args.dry_run else report["results"]):
        raise _nothing_to_fill(report)
    if args.dry_run:
        return report.ok, report, _cost_shown(report)
    for result in report["results"]:
        is_whole = "complete" if result["complete"] else "incomplete"
        result["state"] = "failed" if result["error"] else is_whole
    is_done = report.ok or (may_lack and not (report["failed"] or report["interrupted"]))
    return is_done, report, _report_shown(report)


def _nothing_to_fill(report: dict[str, Any]) -> QueryError:
    samples = report.get("samples")
    if not samples:
        has_files = report.get("own_files") or report.get("reads_own_files")
        own = "; your own files are read when requested" if has_files else ""
        return QueryError(
            f"nothing to fill: no matching series is cached{own}",
            hint="name the symbols: onetape populate --symbols AAPL,BTCUSDT",
        )
    more = f" and {len(samples) - 1:,} more" if len(samples) > 1 else ""
    symbol, _, lane = samples[0].partition(" ")
    return QueryError(
        f"nothing to fill: only sample bars are cached ({samples[0]}{more})",
        hint=f"`onetape fetch {symbol} {lane.partition('@')[0]}` requests bars from vendors",
    )


def _report_shown(report: dict[str, Any]) -> Shown:
    from ..jobs.run.job_report import perishable_text, title_of

    results = report["results"]
    if len(results) <= MOST_SHOWN:
        yield table(results, "symbol timeframe rows# fetched#? vendors? gaps#? state")
    yield from reasons_shown(report["reasons"])
    yield from requests_shown(report["requests"])
    yield from _incidents_shown(report)
    if own := report.get("own_files"):
        text = f"{counted(len(own), 'series')} of your own files left out: they are read when requested"
        yield styled(text, "dim")
    for name, count in list(report["marked"].items())[:MOST_REASONS]:
        text = f"{counted(count, 'bar')} marked as certainly wrong; `onetape validate` shows why"
        yield styled(f"{name}: {text}", "yellow")
    for lost in report["perishable"][:MOST_REASONS]:
        yield styled(perishable_text(lost), "yellow")
    yield styled(title_of(report), "dim")


def _incidents_shown(report: dict[str, Any]) -> Shown:
    from ..jobs.run.job_report import incident_texts

    for incident in incident_texts(report)[:MOST_REASONS]:
        yield styled(f"incident: {incident}; `onetape gaps --all` shows it", "yellow")


def _cost_shown(report: dict[str, Any]) -> Shown:
    yield from costs_shown(report["vendors"])
    yield from reasons_shown(report["reasons"])
    yield from _incidents_shown(report)
    hits = f"{report['held']:,} of {counted(report['series'], 'series')} need no vendor"
    yield styled(f"{hits}, {counted(report['requests'], 'request')} in total", "dim")


# --- fundamentals ------------------------------------------------------------------------------


def _clean(args: argparse.Namespace) -> Report:
    from ..jobs.fill.refresh_fundamentals import cleanup_fundamentals

    result = cleanup_fundamentals(args.cache_dir, config_path=args.config, dry_run=args.dry_run)
    would = "would be deleted" if args.dry_run else "deleted"
    return Report(result, [f"{counted(result['total_removed_files'], 'replaced copy')} {would}"])


def _refresh(args: argparse.Namespace) -> _Done:
    from ..jobs.fill.refresh_fundamentals import Refresh, refresh_fundamentals
    from ..jobs.fill.work_list import read_work_list

    symbols = read_work_list(args.symbols_file) if args.symbols_file else args.symbols
    choice = refresh_plan.Choice(
        args.stale_min_days,
        args.stale_fraction,
        args.stale_ttl_days,
        args.chunk_fraction,
        args.max_symbols,
        args.shuffle,
        args.seed,
    )
    wanted = Refresh(symbols, args.data_types, choice, args.force_refresh, args.delay, args.dry_run)
    with progress_shown() as listener:
        report = refresh_fundamentals(wanted, progress=listener, **_options(args))
    return report.ok, report, _refresh_shown(report, args.dry_run)


def _refresh_shown(report: dict[str, Any], dry_run: bool) -> Shown:
    rows = report["selected"] if dry_run else [_refreshed(row) for row in report["results"]]
    if 0 < len(rows) <= MOST_SHOWN:
        yield table(rows, "symbol age_days# fields?")
    if dry_run:
        yield from costs_shown(report["vendors"], "data types")
    yield from reasons_shown(report["reasons"], "data types")
    if dry_run:
        requests = counted(report["requests"], "request")
        text = f"{counted(len(rows), 'symbol')} selected, {requests} in total"
    else:
        yield from requests_shown(report["requests"])
        good, failures = len(report["successful"]), len(report["failed"])
        text = f"{good:,} of {counted(good + failures, 'symbol')} refreshed"
    yield styled(text, "dim")


def _refreshed(row: dict[str, Any]) -> dict[str, Any]:
    types = row["data_types"].items()
    return row | {"fields": [f"{t} {one['fields_count']}" for t, one in types if one["success"]]}


# --- older module names ------------------------------------------------------------------------


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``populate`` under an older module name; return 0 if every series succeeded, else 1."""
    parser = Parser(prog="populate_cache", description="Fill the cache.")
    _add_symbols(parser, "; default: every symbol in the cache")
    _add_bars(parser)
    _add_job(parser, partial(run, may_lack=True))
    parser.set_defaults(universe=None, as_of=None, fundamentals=False)
    return OK if guarded(parser.parse_args(argv)) == OK else FAILED


def main_refresh(argv: Sequence[str] | None = None) -> int:
    """Run ``populate --fundamentals`` under an older module name, with the same options."""
    return _run_refresh("refresh_fundamentals_cache", refresh_plan.REFRESHED_TYPES, 0, argv)


def main_periodic(argv: Sequence[str] | None = None) -> int:
    """Run the periodic job under an older module name: 50 symbols, ratios and profiles."""
    name, most = "periodic_fundamentals_refresh", refresh_plan.PERIODIC_SYMBOLS
    return _run_refresh(name, refresh_plan.PERIODIC_TYPES, most, argv)


def _run_refresh(name: str, types: Sequence[str], most: int, argv: Sequence[str] | None) -> int:
    parser = Parser(prog=name, description="Refresh cached fundamentals.")
    _add_symbols(parser, "; default: every symbol with cached fundamentals")
    _add_fundamentals(parser, types, most)
    _add_job(parser, run)
    parser.set_defaults(fundamentals=True, delay=_OLDER_DELAY_S)
    return guarded(parser.parse_args(argv))
