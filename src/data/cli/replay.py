"""``onetape replay``: past bars as if they closed now."""

from __future__ import annotations

import argparse

from .arguments import (
    add_adjustment,
    add_freshness,
    add_range,
    add_series,
    add_timeout,
    command,
    positive,
)
from .cached import manager_of
from .live import follow
from .output import asking, note


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_series(parser)
    add_range(parser)
    parser.add_argument(
        "--speed",
        type=float,
        help=(
            "speed relative to real time; 60: an hour takes a minute; 0: without waiting; "
            "default: a bar per second"
        ),
    )
    parser.add_argument("--provider", help="only bars from this vendor")
    add_adjustment(parser)
    add_freshness(parser)
    add_timeout(parser)
    parser.add_argument(
        "--rows", type=positive, default=10, help="bars to show on a terminal (default 10)"
    )
    parser.set_defaults(count=None, forming=False)
    command(parser, run)


def run(args: argparse.Namespace) -> int:
    """Replay the bars one after another; the exit code is 0, even if interrupted."""
    from ..feed.replay import replay_feed

    manager = manager_of(args, makes_folder=True)
    with asking(args) as notes:
        feed = replay_feed(
            manager,
            args.symbol,
            args.timeframe,
            args.start,
            args.end,
            speed=args.speed,
            bars=args.bars,
            period=args.period,
            provider=args.provider,
            adjustment=args.adjustment,
            offline=args.offline,
            force_refresh=args.refresh,
            timeout=args.timeout,
        )
    for text in notes:
        note(text)
    return follow(feed, args)
