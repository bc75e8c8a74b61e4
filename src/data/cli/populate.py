"""``onetape populate`` and ``onetape sync``: fill the cache for many series; bring all up to date."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..jobs.signals import job_signals
from ..model.coverage import VendorDay
from ..model.incident import incidents_of
from . import FAILED, OK, guarded
from .arguments import add_output, add_places, add_session, add_timeout, every, listed
from .output import console, note, print_json
from .parser import Parser
from .tables import TextTable, counted, shortened, styled

if TYPE_CHECKING:
    from rich.text import Text

    from ..jobs.progress import Listener, Progress

# Of more series those alone are shown that are not complete, and progress once in a while.
MOST_SHOWN, _MOST_REASONS = 40, 20
_REPORT_S = 30.0


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    _add_series(parser, "this or --symbols-file; `onetape sync` is for everything stored")
    parser.set_defaults(run=partial(_run_listed, parser))


def _add_series(parser: argparse.ArgumentParser, symbols_help: str) -> None:
    """Add which series are filled, and how."""
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
        help="a list: one symbol a line, or CSV or YAML with symbol, timeframe, from, priority; "
        "-: standard input",
    )
    parser.add_argument(
        "--start-date", "--start", metavar="DATE", help="first session; default: 2020-01-01"
    )
    parser.add_argument("--end-date", "--end", metavar="DATE", help="last session; default: today")
    add_session(parser)
    parser.set_defaults(all_stored=False)
    _add_job(parser)


def configure_sync(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``onetape sync``."""
    parser.add_argument(
        "pattern",
        nargs="?",
        default="*",
        help="symbols such as 'BTC*', or symbol and timeframe such as '* 1d'; default: all",
    )
    nothing: dict[str, None] = dict.fromkeys(("symbols", "timeframes", "start_date", "end_date"))
    parser.set_defaults(**nothing, all_stored=True, run=run)
    _add_job(parser)


def _add_job(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="show the requests and their cost; send none"
    )
    parser.add_argument(
        "--report", metavar="FILE", help="write the full report to this file, as JSON"
    )
    parser.add_argument(
        "--every",
        type=every,
        metavar="TIME",
        help="repeat after this time, such as 15m or 1d, until Ctrl-C or SIGTERM",
    )
    add_timeout(
        parser,
        "a request ends after this long without a page; default: jobs.timeout_s of the rules",
    )
    add_output(parser)
    add_places(parser)


def run(args: argparse.Namespace) -> int:
    """Fill, and print the report; 1 when anything is lacking."""
    return _run_by(args, _is_whole)


def _run_listed(parser: argparse.ArgumentParser, args: argparse.Namespace) -> int:
    """Fill the series of a list; without one print the usage, for all that is stored may be thousands.

    Raises:
        QueryError: no list is given.
    """
    if args.symbols is None and args.symbols_file is None:
        parser.print_usage(sys.stderr)
        raise QueryError(
            "name the symbols: --symbols A,B,C or --symbols-file FILE",
            hint="`onetape sync` brings everything that is stored up to date",
        )
    return run(args)


def _is_whole(report: dict[str, Any]) -> bool:
    return all(result["complete"] for result in report["results"])


def _run_as_before(args: argparse.Namespace) -> int:
    """Fill, and print the report; 1 when a series failed."""
    return _run_by(args, lambda _: True)


def _run_by(args: argparse.Namespace, is_enough: Callable[[dict[str, Any]], bool]) -> int:
    """Do it once, or again and again; 0 where no series failed and the report is enough."""
    while True:
        began_s = time.monotonic()
        with job_signals() as signals:
            report = _fill_and_show(args)
        if args.dry_run:
            return FAILED if report["reasons"] else OK
        is_done = is_enough(report) and not report["failed"] and not report["interrupted"]
        if args.every is None or report["interrupted"] or signals.is_noted:
            return OK if is_done else FAILED
        try:
            time.sleep(max(0.0, args.every - (time.monotonic() - began_s)))
        except KeyboardInterrupt:  # between two runs this is how it ends
            return OK if is_done else FAILED


def _fill_and_show(args: argparse.Namespace) -> dict[str, Any]:
    """Fetch what is missing, showing progress, and print what came of it."""
    check_report(args)
    report = _populated(args)
    if args.dry_run:
        print_json(report) if args.json else _show_cost(report)
        write_report(report, args)
        return report
    if args.json:
        print_json(report)
    else:
        _show(report)
    if report["interrupted"]:
        note("interrupted: committed bars are kept; run it again to continue")
    write_report(report, args)
    return report


def check_report(args: argparse.Namespace) -> None:
    """Refuse a place for ``--report`` that cannot be written; raises ``StorageError``.

    Before the work, which may take a night.
    """
    from ..disk.atomic import check_target

    if args.report is not None:
        check_target(Path(args.report))


def write_report(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Write a report as JSON where ``--report`` wants it; raises ``StorageError``."""
    from ..disk.atomic import put

    if args.report is not None:
        data = json.dumps(report, indent=2, default=str) + "\n"
        put(Path(args.report), data.encode())


def _populated(args: argparse.Namespace) -> dict[str, Any]:
    from ..jobs.populate import populate_cache, sync_cache

    with progress_of(args) as listener:
        places: dict[str, Any] = {
            "cache_dir": args.cache_dir,
            "config_path": args.config,
            "dry_run": args.dry_run,
            "progress": listener,
            "timeout": args.timeout,
        }
        if args.all_stored:
            report = sync_cache(args.pattern, **places)
        else:
            report = populate_cache(
                args.symbols,
                args.timeframes,
                args.start_date,
                args.end_date,
                symbols_file=args.symbols_file,
                session=args.session,
                **places,
            )
    if not (report["series"] if args.dry_run else report["results"]):
        raise QueryError(
            "nothing to fill: no such series is cached",
            hint="name some: onetape populate --symbols AAPL,BTCUSDT",
        )
    return report


@contextmanager
def progress_of(args: argparse.Namespace) -> Iterator[Listener]:
    """Show on standard error how far it is: a bar on a terminal, else lines."""
    from ..jobs.progress_bar import bar_on

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _Lines(screen.print).listen
        return
    with bar_on(screen) as show:
        yield show


class _Lines:
    """Progress in lines: each series of a short job, of a long one how far it is now and then.

    A series that waits has a line at once, and the next one half a minute later.
    """

    def __init__(self, show: Callable[..., object]) -> None:
        self._show, self._last_s, self._waits = show, time.monotonic(), ""

    def listen(self, now: Progress) -> None:
        """Print what is worth a line."""
        now_s = time.monotonic()
        waits = now.result.name if now.waiting else ""
        is_long = now.total > MOST_SHOWN
        is_again = waits != "" and waits == self._waits
        if (is_long or is_again) and now_s - self._last_s < _REPORT_S:
            return
        self._waits = waits
        if is_long or now.is_over or waits:
            self._last_s = now_s
            done = "" if now.waiting else f"{now.done:,}/{now.total:,} "
            self._show(f"{done}{now.text()}", soft_wrap=True)


def _show(report: dict[str, Any]) -> None:
    results = report["results"]
    few = len(results) <= MOST_SHOWN
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
        for r in (results if few else ())
    ]
    screen = console()
    if rows:
        names = ["symbol", "timeframe", "bars#", "new#?", "from?", "gaps#?", "state"]
        screen.print(TextTable(names, rows))
    show_reasons(report["reasons"])
    show_requests(report["requests"])
    _show_incidents(report)
    for one in report["perishable"][:_MOST_REASONS]:
        name, lost = f"{one['symbol']} {one['timeframe']}", one["lost"]
        text = f"{name} has no {one['what']} after {one['last']}; {one['vendor']} drops the next at {lost}"
        screen.print(styled(text, "yellow"))
    good, failed = len(report["success"]), len(report["failed"])
    fetched = counted(sum(r["fetched"] for r in results), "new bar")
    screen.print(
        styled(f"{good:,} of {counted(good + failed, 'series')} succeeded, {fetched}", "dim")
    )


def show_reasons(reasons: Sequence[dict[str, Any]], what: str = "series") -> None:
    """Print why series are not complete, those alike in one line."""
    from ..jobs.fill_report import ReasonGroup

    screen = console()
    for reason in reasons[:_MOST_REASONS]:
        group = ReasonGroup(shortened(reason["why"]), reason["series"], noun=what)
        is_failure = reason["failed"] and len(group.series) > 1
        screen.print(styled(str(group), "red" if is_failure else "yellow"))
    more = len(reasons) - _MOST_REASONS
    if more > 0:
        text = f"and {counted(more, 'other reason')}; --report has them all"
        screen.print(styled(text, "yellow"))


def _show_incidents(report: dict[str, Any]) -> None:
    incidents = incidents_of(map(VendorDay.from_json, report["incidents"]))
    for incident in incidents[:_MOST_REASONS]:
        text = f"incident: {incident}; `onetape gaps --all` shows it"
        console().print(styled(text, "yellow"))


def show_requests(requests: dict[str, dict[str, int]]) -> None:
    """Print how many requests each vendor was sent, and how many brought nothing of use."""
    for vendor, counts in requests.items():
        sent, answered = counts["sent"], counts["answered"]
        lost = f", {sent - answered:,} without result" if sent > answered else ""
        console().print(styled(f"{vendor}: {counted(sent, 'request')}{lost}", "dim"))


def _show_cost(report: dict[str, Any]) -> None:
    show_vendor_costs(report["vendors"])
    show_reasons(report["reasons"])
    _show_incidents(report)
    hits = f"{report['held']:,} of {counted(report['series'], 'series')} need no vendor"
    console().print(styled(f"{hits}, {counted(report['requests'], 'request')} in all", "dim"))


def show_vendor_costs(vendors: dict[str, dict[str, Any]], what: str = "series") -> None:
    """Print what each vendor would be asked for, and how long that takes."""
    rows = [
        [
            vendor,
            f"{cost['series']:,}",
            f"{cost['requests']:,}",
            f"{cost['units']:,}",
            _takes(cost),
        ]
        for vendor, cost in vendors.items()
    ]
    if rows:
        names = ["vendor", f"{what}#", "requests#", "units#?", "at your plan"]
        console().print(TextTable(names, rows))


def _takes(cost: dict[str, Any]) -> str:
    from ..model.texts import duration

    return f"{cost['days']:,} days" if cost["days"] > 1 else f"about {duration(cost['takes_s'])}"


def _state(result: dict[str, Any]) -> Text:
    if result["error"]:
        return styled("failed", "red")
    return styled("complete", "green") if result["complete"] else styled("incomplete", "yellow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run under an older module name: 0 when every series succeeded, 1 otherwise."""
    parser = Parser(prog="populate_cache", description="Fill the cache.")
    _add_series(parser, "default: every symbol in the cache")
    args = parser.parse_args(argv)
    args.run = _run_as_before
    return OK if guarded(args) == OK else FAILED
