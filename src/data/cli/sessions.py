"""``onetape sessions``: when a symbol's market trades, by its calendar; sends no request."""

from __future__ import annotations

import argparse
from typing import Any

from .answers import dated, records
from .arguments import command
from .cached import manager_of
from .report import Report
from .tables import TextTable, counted, moment


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("symbol", help="such as AAPL, VOD.L, EURUSD=X, BTCUSDT")
    parser.add_argument(
        "start", help="date (whole session), UTC time or -30d, inclusive; may be in the future"
    )
    parser.add_argument("end", help="date (whole session) or UTC time, inclusive")
    command(
        parser,
        run,
        (
            "Times are UTC. `final` is the time from which the daily bar of a session no "
            "longer changes. `holiday?`: the calendar has no holidays on record for that "
            "time, and treats every weekday as a session."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Return the market's sessions in the range."""
    frame = manager_of(args, makes_folder=True).sessions(args.symbol, args.start, args.end)
    rows = records(dated(frame))
    cells = [
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
    blocks: list[Any] = [TextTable(["session", "open", "close", "", "final?"], cells, title)]
    if unknown:
        text = "at a time whose holidays are unknown; every weekday counts as a session"
        blocks.append(f"{counted(unknown, 'session')} {text}")
    return Report(rows, blocks)


def _remark(row: dict[str, Any]) -> str:
    if not row["holidays_known"]:
        return "holiday?"
    return "early" if row["early_close"] else ""
