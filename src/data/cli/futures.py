"""``onetape futures``: funding rates, open interest, long/short ratios for a perpetual future."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from .answers import Provenance, attempts_shown, bars_table, records
from .arguments import add_timeout, command, positive
from .cached import manager_of
from .output import asking
from .report import Report, Shown
from .tables import counted, milliseconds, percent, styled, titled

if TYPE_CHECKING:
    import pandas as pd

    from ..data_manager import DataManager

_WHAT = ("funding", "open-interest", "long-short")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("symbol", help="such as BTCUSDT, or BTCUSD_PERP (coin-margined)")
    parser.add_argument(
        "timeframe",
        nargs="?",
        default="1h",
        metavar="PERIOD",
        help="interval between rows, such as 5m, 1h (default), 1d; does not apply to funding",
    )
    parser.add_argument("--what", choices=_WHAT, default=_WHAT[0], help="default: %(default)s")
    parser.add_argument("--start", help="date or UTC time, inclusive; default: 29 days ago")
    parser.add_argument("--end", help="date or UTC time, inclusive; default: now")
    parser.add_argument("--refresh", action="store_true", help="request the whole range again")
    add_timeout(parser)
    parser.add_argument(
        "--rows", type=positive, default=10, help="rows to show on the screen (default 10)"
    )
    command(parser, run)


def run(args: argparse.Namespace) -> Report:
    """Fetch the requested data; the exit code is 1 if anything is missing."""
    manager, started = manager_of(args, makes_folder=True), time.perf_counter()
    with asking(args) as notes:
        frame = _fetch_figures(manager, args)
    provenance, seconds = frame.attrs["onetape"], time.perf_counter() - started
    return Report(
        lambda: {"provenance": provenance, "rows": records(frame)},
        _frame_shown(frame, provenance, args.rows, seconds),
        notes,
        ok=provenance["complete"],
    )


def _fetch_figures(manager: DataManager, args: argparse.Namespace) -> pd.DataFrame:
    bounds, seconds = (args.start, args.end, args.refresh), args.timeout
    if args.what == "funding":
        return manager.get_funding_rate(args.symbol, *bounds, timeout=seconds)
    if args.what == "open-interest":
        return manager.get_open_interest(args.symbol, args.timeframe, *bounds, timeout=seconds)
    return manager.get_long_short_ratio(args.symbol, args.timeframe, *bounds, timeout=seconds)


def _frame_shown(frame: pd.DataFrame, provenance: Provenance, rows: int, seconds: float) -> Shown:
    name = f"{provenance['symbol']} {provenance['measure'].replace('_', ' ')}"
    facts = [counted(provenance["rows"], "row"), f"{percent(provenance['from_cache'])} from cache"]
    yield titled(name, " · ".join([*facts, milliseconds(seconds)]))
    yield ""
    if len(frame):
        yield bars_table(frame, rows)
        yield ""
    else:
        yield styled("no rows in this range", "dim")
    yield from attempts_shown(provenance)
