"""``onetape populate``: fill the cache for many symbols and timeframes."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from . import FAILED, OK, guarded
from .arguments import add_output, add_places, add_timeout, listed
from .output import console, note, print_json
from .parser import Parser
from .tables import TextTable, counted, styled

if TYPE_CHECKING:
    from rich.text import Text

    from ..jobs.populate import Listener, Progress

_LONGEST_REASON = 300


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--symbols",
        "--tickers",
        type=listed,
        metavar="A,B,C",
        help="default: every symbol in the cache",
    )
    parser.add_argument(
        "--timeframes",
        "--intervals",
        type=listed,
        metavar="1h,1d",
        help="default: 5m,15m,30m,1h,4h,1d",
    )
    parser.add_argument(
        "--start-date", "--start", metavar="DATE", help="first session; default: 2020-01-01"
    )
    parser.add_argument("--end-date", "--end", metavar="DATE", help="last session; default: today")
    add_timeout(
        parser,
        "a request goes on for so long without a page; default: jobs.timeout_s of the rules",
    )
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fill, and print the report; 1 when anything is lacking, or nothing could be stored."""
    report = _fill_and_show(args)
    whole = report["stored"] and all(result["complete"] for result in report["results"])
    return OK if whole and not report["failed"] and not report["interrupted"] else FAILED


def _run_as_before(args: argparse.Namespace) -> int:
    """Fill, and print the report; 1 when a series failed."""
    report = _fill_and_show(args)
    return FAILED if report["failed"] or report["interrupted"] else OK


def _fill_and_show(args: argparse.Namespace) -> dict[str, Any]:
    """Fetch what is missing, showing progress, and print what came of it."""
    from ..errors import ReadOnlyCacheWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ReadOnlyCacheWarning)
        report = _populated(args)
    unstored = [str(w.message) for w in caught if issubclass(w.category, ReadOnlyCacheWarning)]
    report["stored"] = not unstored
    if args.json:
        print_json(report)
    else:
        _show(report)
    for text in dict.fromkeys(unstored):
        note(text)
    if report["interrupted"]:
        note("interrupted: what was committed is kept; run it again to go on")
    return report


def _populated(args: argparse.Namespace) -> dict[str, Any]:
    from ..errors import QueryError
    from ..jobs.populate import populate_cache

    with _progress(args) as listener:
        report = populate_cache(
            args.symbols,
            args.timeframes,
            args.start_date,
            args.end_date,
            args.cache_dir,
            config_path=args.config,
            progress=listener,
            timeout=args.timeout,
        )
    if not report["results"]:
        raise QueryError(
            "there is nothing to fill: the cache holds no symbol yet",
            hint="name some: --symbols AAPL,BTCUSDT",
        )
    return report


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[Listener]:
    """Show on standard error how far it is: a bar on a terminal, else one line a series."""
    from rich import progress as rich

    screen = console(stderr=True)
    shown = screen.is_terminal and not args.json
    columns = (
        rich.TextColumn("{task.description}", markup=False),
        rich.BarColumn(bar_width=None),
        rich.MofNCompleteColumn(),
        rich.TimeElapsedColumn(),
    )
    bar = rich.Progress(*columns, console=screen, disable=not shown, transient=True)
    # Older versions of rich end even a bar that is not shown with an empty line.
    with bar if shown else nullcontext():
        task = bar.add_task("looking", total=None)

        def listen(now: Progress) -> None:
            name = f"{now.result.symbol} {now.result.timeframe}"
            progress = f"{name} {counted(now.result.rows, 'bar')}" if now.result.rows else name
            if now.waiting:
                progress = f"{name} {now.waiting}"
            bar.update(task, total=now.total, completed=now.done, description=progress)
            if now.waiting and not args.json and not shown:
                screen.print(progress, soft_wrap=True)
            if now.is_over and not args.json and not shown:
                screen.print(f"{now.done}/{now.total} {progress}", soft_wrap=True)

        yield listen


def _show(report: dict[str, Any]) -> None:
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
        for r in report["results"]
    ]
    screen = console()
    names = ["symbol", "timeframe", "bars#", "new#?", "from?", "gaps#?", "state"]
    screen.print(TextTable(names, rows))
    for result in report["results"]:
        reason = result["error"] or ("" if result["complete"] else result["lacking"])
        if reason:
            name = f"{result['symbol']} {result['timeframe']}"
            screen.print(styled(f"{name}: {reason[:_LONGEST_REASON]}", "yellow"))
    good, failed = len(report["success"]), len(report["failed"])
    fetched = counted(sum(r["fetched"] for r in report["results"]), "new bar")
    screen.print(styled(f"{good} of {counted(good + failed, 'series')} answered, {fetched}", "dim"))


def _state(result: dict[str, Any]) -> Text:
    if result["error"]:
        return styled("failed", "red")
    return styled("complete", "green") if result["complete"] else styled("incomplete", "yellow")


def main(argv: Sequence[str] | None = None) -> int:
    """Run under an older module name: 0 when every series could be had, 1 otherwise."""
    parser = Parser(prog="populate_cache", description="Fill the cache.")
    configure(parser)
    args = parser.parse_args(argv)
    args.run = _run_as_before
    return OK if guarded(args) == OK else FAILED
