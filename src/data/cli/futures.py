"""``onetape futures``: funding rates, open interest, long/short ratios of a perpetual future."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

from . import FAILED, OK
from .answers import bars_table, show_attempts
from .arguments import add_output, add_places, add_timeout, positive
from .fetch import records
from .output import asking, console, note, print_json
from .tables import counted, milliseconds, styled

if TYPE_CHECKING:
    import pandas as pd

    from ..data_manager import DataManager

_WHAT = ("funding", "open-interest", "long-short")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("symbol", help="such as BTCUSDT, or BTCUSD_PERP (settled in the coin)")
    parser.add_argument(
        "timeframe",
        nargs="?",
        default="1h",
        metavar="PERIOD",
        help="between two rows, such as 5m, 1h (default), 1d; not of funding",
    )
    parser.add_argument("--what", choices=_WHAT, default=_WHAT[0], help="default: %(default)s")
    parser.add_argument("--start", help="date or UTC time, inclusive; default: 29 days ago")
    parser.add_argument("--end", help="date or UTC time, inclusive; default: now")
    parser.add_argument("--refresh", action="store_true", help="ask for all of it again")
    add_timeout(parser)
    parser.add_argument(
        "--rows", type=positive, default=10, help="rows to show on the screen (default 10)"
    )
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch and show; 1 when something is lacking."""
    from ..data_manager import DataManager

    manager, started = DataManager(args.cache_dir, args.config), time.perf_counter()
    with asking(args) as notes:
        frame = _fetch_figures(manager, args)
    provenance = frame.attrs["onetape"]
    if args.json:
        print_json({"provenance": provenance, "rows": records(frame)})
    else:
        _show(frame, provenance, args.rows, time.perf_counter() - started)
    for text in notes:
        note(text)
    return OK if provenance["complete"] else FAILED


def _fetch_figures(manager: DataManager, args: argparse.Namespace) -> pd.DataFrame:
    bounds, seconds = (args.start, args.end, args.refresh), args.timeout
    if args.what == "funding":
        return manager.get_funding_rate(args.symbol, *bounds, timeout=seconds)
    if args.what == "open-interest":
        return manager.get_open_interest(args.symbol, args.timeframe, *bounds, timeout=seconds)
    return manager.get_long_short_ratio(args.symbol, args.timeframe, *bounds, timeout=seconds)


def _show(frame: pd.DataFrame, provenance: Any, rows: int, seconds: float) -> None:
    from rich.text import Text

    screen = console()
    name = f"{provenance['symbol']} {provenance['measure'].replace('_', ' ')}"
    facts = [counted(provenance["rows"], "row"), f"{provenance['from_cache']:.0%} from cache"]
    line = " · ".join([*facts, milliseconds(seconds)])
    screen.print(Text.assemble((name, "bold"), "  ", line))
    screen.print()
    if len(frame):
        screen.print(bars_table(frame, rows))
        screen.print()
    else:
        screen.print(styled("nothing in this range", "dim"))
    show_attempts(screen, provenance)
