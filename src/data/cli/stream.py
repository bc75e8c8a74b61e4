"""``onetape stream``: bars of one symbol as they close, until Ctrl-C."""

from __future__ import annotations

import argparse

from .arguments import (
    add_adjustment,
    add_series,
    add_timeout,
    command,
    positive,
    seconds,
)
from .cached import manager_of
from .live import follow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_series(parser)
    parser.add_argument("--provider", help="stream or poll this vendor only")
    add_adjustment(parser)
    parser.add_argument(
        "--rows",
        type=positive,
        default=10,
        help="history bars to start with and to show (default 10)",
    )
    parser.add_argument(
        "--forming", action="store_true", help="also print the forming bar whenever it changes"
    )
    parser.add_argument("--count", type=positive, metavar="N", help="stop after N new bars")
    parser.add_argument(
        "--every",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help=(
            "for a vendor without a stream: longest time between two requests for a late bar "
            "or, with --forming, for the forming bar (default 60)"
        ),
    )
    add_timeout(
        parser,
        (
            "time for each request for bars (history, bars that the stream lost, late "
            "bars); default: 30 s without a response"
        ),
    )
    command(parser, run)


def run(args: argparse.Namespace) -> int:
    """Show bars as they close; the exit code is 0, even after Ctrl-C, which is the normal way to stop."""
    from ..feed.selection import plain_feed

    manager = manager_of(args, makes_folder=True)
    # A feed runs in threads of its own, so a wrong query is rejected before it starts.
    manager.plan(
        args.symbol,
        args.timeframe,
        bars=args.rows,
        provider=args.provider,
        adjustment=args.adjustment,
    )
    feed = plain_feed(
        manager,
        (args.symbol, args.timeframe, args.rows),
        provider=args.provider,
        interval_s=args.every,
        forming=args.forming,
        adjustment=args.adjustment,
        timeout=args.timeout,
    )
    return follow(feed, args)
