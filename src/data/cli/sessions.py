"""``onetape sessions``: when a symbol's market trades, by its calendar; sends no request."""

from __future__ import annotations

import argparse

from .answers import dated, records
from .arguments import command, option
from .cached import manager_of
from .result import Report
from .tables import counted

EXAMPLES = ("sessions AAPL -5d today", "sessions VOD.L 2024-12-20 2025-01-05")
SENDS_REQUESTS = False


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "symbol", "such as AAPL, VOD.L, EURUSD=X, BTCUSDT")
    option(
        parser, "start", "date (whole session), UTC time or -30d, inclusive; may be in the future"
    )
    option(parser, "end", "date (whole session) or UTC time, inclusive")
    command(
        parser,
        run,
        (
            "Times are UTC. `next due` is the time from which the daily bar of a session no longer "
            "changes. Without known holidays, the calendar treats every weekday as a session."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Return the market's sessions in the range."""
    frame = manager_of(args, makes_folder=True).sessions(args.symbol, args.start, args.end)
    rows = records(dated(frame))
    unknown = sum(not row["holidays_known"] for row in rows)
    unknown_sessions = f"{counted(unknown, 'session')} at a time whose holidays are unknown"
    text = f"{unknown_sessions}; every weekday counts as a session"
    return Report.rows(
        rows,
        "session open close early_close? next_due?",
        f"{args.symbol} · {counted(len(rows), 'session')}",
        below=[text] if unknown else (),
    )
