"""``onetape populate``: fill the cache for many symbols and timeframes."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from . import FAILED, OK, USAGE
from . import run as guarded
from .arguments import add_json, add_places, listed
from .output import console, print_json, table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--symbols", "--tickers", type=listed, help="A,B,C; default: all cached")
    parser.add_argument("--timeframes", "--intervals", type=listed,
                        default=["5m", "15m", "30m", "1h", "4h", "1d"])  # fmt: skip
    parser.add_argument("--start-date", "--start", default="2020-01-01", help="first session")
    parser.add_argument("--end-date", "--end", help="last session; default: today")
    add_json(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch what is missing, showing progress, and print the report."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from ..jobs.populate import populate_cache

    screen = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=screen, disable=args.json) as progress:
        task = progress.add_task("populate", total=None)

        def tell(number: int, total: int, result: Any) -> None:
            progress.update(task, total=total, completed=number,
                            description=f"{result.symbol} {result.timeframe}")  # fmt: skip

        told = populate_cache(
            args.symbols, args.timeframes, args.start_date, args.end_date,
            args.cache_dir, config_path=args.config, progress=tell,
        )  # fmt: skip
    if args.json:
        print_json(told)
    else:
        _show(told)
    return code_of(told)


def code_of(told: dict[str, Any]) -> int:
    """Return the exit code of a report: 0 only when nothing failed and nothing is lacking."""
    whole = all(r["complete"] for r in told["results"])
    return OK if whole and not told["failed"] and not told["interrupted"] else FAILED


def _show(told: dict[str, Any]) -> None:
    rows = [
        [r["symbol"], r["timeframe"], f"{r['rows']:,}", f"{r['fetched']:,}",
         ", ".join(r["vendors"]) or "-", r["gaps"], _state(r)]
        for r in told["results"]
    ]  # fmt: skip
    names = ["symbol", "timeframe", "bars#", "fetched now#", "vendors", "gaps#", "state"]
    console().print(table("populate", names, rows))
    if told["interrupted"]:
        console().print("[yellow]interrupted[/]: what was committed is kept; run it again to go on")


def _state(result: dict[str, Any]) -> str:
    if result["error"]:
        return f"[red]failed[/] {result['error'][:120]}"
    return "[green]complete[/]" if result["complete"] else "[yellow]incomplete[/]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run as the older module name: 0 when everything could be had, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="populate_cache", description=__doc__)
    configure(parser)
    args = parser.parse_args(argv)
    code = guarded(lambda: run(args))
    return FAILED if code == USAGE else code
