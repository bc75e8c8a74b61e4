"""``onetape search``: symbols by name."""

from __future__ import annotations

import argparse

from . import FAILED, OK
from .arguments import add_output, add_places, add_timeout, positive
from .output import asking, console, note, print_json
from .tables import TextTable, counted, styled


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = "Each symbol can be passed to the other commands as it is."
    parser.add_argument("text", nargs="+", help="a part of a symbol or a name")
    parser.add_argument(
        "--limit", type=positive, default=20, help="maximum number of rows (default 20)"
    )
    parser.add_argument("--offline", action="store_true", help="search the cached names only")
    add_timeout(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Search and show; 1 where nothing was found, or not all vendors answered."""
    from ..data_manager import DataManager

    manager = DataManager(args.cache_dir, args.config)
    args.symbol = text = " ".join(args.text)
    with asking(args) as notes:
        listings = manager.search(text, args.limit, offline=args.offline, timeout=args.timeout)
    if args.json:
        print_json([listing.as_dict() for listing in listings])
    elif listings:
        names = ["symbol", "name", "venue", "type", "currency", "from?"]
        rows = [
            [one.symbol, one.name, one.venue, one.type, one.currency, one.vendor]
            for one in listings
        ]
        console().print(TextTable(names, rows, f"{text} · {counted(len(listings), 'symbol')}"))
    else:
        console().print(styled(f"no symbol or name fits {text!r}", "dim"))
    for line in notes:
        note(line)
    return OK if listings and not notes else FAILED
