"""``onetape sessions``: when the market of a symbol trades, by its calendar; no vendor is asked."""

from __future__ import annotations

import argparse
from typing import Any

from . import OK
from .arguments import add_output, add_places
from .fetch import dated, records
from .output import console, print_json
from .tables import TextTable, counted, moment


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        "Times are UTC. `final` is from when the daily bar of a session does not change any more. "
        "`holiday?`: the calendar has no holidays of that time on record, and takes every weekday."
    )
    parser.add_argument("symbol", help="such as AAPL, VOD.L, EURUSD=X, BTCUSDT")
    parser.add_argument(
        "start", help="date (whole session), UTC time or -30d, inclusive; may be in the future"
    )
    parser.add_argument("end", help="date (whole session) or UTC time, inclusive")
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the sessions."""
    from ..data_manager import DataManager

    frame = DataManager(args.cache_dir, args.config).sessions(args.symbol, args.start, args.end)
    rows = records(dated(frame))
    if args.json:
        print_json(rows)
        return OK
    shown = [
        [
            row["session"],
            moment(row["open"]),
            moment(row["close"]),
            _remark(row),
            moment(row["next_due"]),
        ]
        for row in rows
    ]
    unknown = sum(not row["holidays_known"] for row in rows)
    title = f"{args.symbol} · {counted(len(rows), 'session')}"
    console().print(TextTable(["session", "open", "close", "", "final?"], shown, title))
    if unknown:
        console().print(
            f"{counted(unknown, 'session')} of a time whose holidays are unknown: any weekday"
        )
    return OK


def _remark(row: dict[str, Any]) -> str:
    if not row["holidays_known"]:
        return "holiday?"
    return "early" if row["early_close"] else ""
