"""``onetape stream``: bars of one symbol as they close, or past bars as if they closed now."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from ..errors import QueryError
from .arguments import (
    add_adjustment,
    add_range,
    add_rows,
    add_series,
    command,
    given,
    option,
    positive,
    seconds,
    usual,
)
from .cached import manager_of
from .live import follow
from .output import asking, note

if TYPE_CHECKING:
    from ..feed.live_feed import LiveFeed

EXAMPLES = ("stream BTCUSDT 1m", "stream AAPL 1d --replay --start 2024-01-01 --speed 0")

# Options of --replay.
_REPLAY = ("start", "end", "bars", "period", "speed", "offline", "refresh")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_series(parser)
    option(parser, "--provider PROVIDER", "only bars from this vendor, streamed or polled")
    add_adjustment(parser)
    option(parser, "--forming", "also print the forming bar whenever it changes")
    option(parser, "--count N", "stop after N new bars", type=positive)
    option(
        parser,
        "--every SECONDS",
        (
            "for a vendor without a stream: longest time between two requests for a late bar "
            "or, with --forming, for the forming bar (default 60)"
        ),
        type=seconds,
        default=60.0,
    )
    option(parser, "--replay", "replay past bars instead, as if they were closing now")
    add_range(parser)
    option(
        parser,
        "--speed",
        (
            "speed of --replay relative to real time; 60: an hour takes a minute; 0: without "
            "waiting; default: a bar per second"
        ),
        type=float,
    )
    usual(parser, "freshness timeout")
    add_rows(parser, "bars to show on a terminal, and history bars to start with")
    command(parser, run, f"Only with --replay: {' '.join(f'--{name}' for name in _REPLAY)}.")


def run(args: argparse.Namespace) -> int:
    """Show bars as they close; the exit code is 0, even after Ctrl-C, which is the normal way to stop.

    Raises:
        QueryError: An option applies only to ``--replay``, or the query is invalid.
    """
    if args.replay:
        return follow(_replay(args), args)
    values = given(args, " ".join(_REPLAY))
    misplaced = [name for name, value in values.items() if value is not None and value is not False]
    if misplaced:
        raise QueryError(f"--{misplaced[0]} needs --replay", hint="add --replay, or omit it")
    from ..feed.selection import plain_feed

    manager = manager_of(args, makes_folder=True)
    options = given(args, "provider adjustment")
    # A feed runs in threads of its own, so a wrong query is rejected before it starts.
    manager.plan(args.symbol, args.timeframe, bars=args.rows, **options)
    series = args.symbol, args.timeframe, args.rows
    options |= given(args, "forming timeout") | {"interval_s": args.every}
    return follow(plain_feed(manager, series, **options), args)


def _replay(args: argparse.Namespace) -> LiveFeed:
    """Return a feed of past bars; notes about missing ones are printed."""
    from ..feed.replay import replay_feed

    manager = manager_of(args, makes_folder=True)
    with asking(args) as notes:
        names = "symbol timeframe provider adjustment timeout"
        feed = replay_feed(manager, **given(args, f"{names} {' '.join(_REPLAY)}"))
    for text in notes:
        note(text)
    return feed
