"""``onetape replay``: bars of the past as if they closed now."""

from __future__ import annotations

import argparse

from .arguments import add_output, add_places, positive
from .following import follow


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("symbol", help="such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX")
    parser.add_argument("timeframe", help="such as 1m, 1h, 1d")
    parser.add_argument("--start", help="date (whole session) or UTC time, included")
    parser.add_argument("--end", help="date (whole session) or UTC time, included; default: now")
    parser.add_argument("--bars", type=positive, help="the last so many closed bars")
    parser.add_argument("--speed", type=float, help="times as fast as it was; 60: an hour in a "
                        "minute; 0: without waiting; default: a bar a second")  # fmt: skip
    parser.add_argument("--provider", help="bars of this vendor only")
    parser.add_argument("--offline", action="store_true", help="use the cache alone")
    parser.add_argument("--rows", type=positive, default=10, help="bars to show (default 10)")
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run, count=None)


def run(args: argparse.Namespace) -> int:
    """Show the bars one after another; 0, also when interrupted."""
    from ..data_manager import DataManager
    from ..feed.replaying import replay_feed

    manager = DataManager(args.cache_dir, args.config)
    feed = replay_feed(
        manager, args.symbol, args.timeframe, args.start, args.end, speed=args.speed,
        bars=args.bars, provider=args.provider, offline=args.offline,
    )  # fmt: skip
    return follow(feed, args)
