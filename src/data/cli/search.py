"""``onetape search``: symbols by name."""

from __future__ import annotations

import argparse

from .arguments import add_timeout, command, positive
from .cached import manager_of
from .output import asking
from .report import Report
from .tables import TextTable, counted, styled


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("text", nargs="+", help="part of a symbol or a name")
    parser.add_argument(
        "--limit", type=positive, default=20, help="maximum number of rows (default 20)"
    )
    parser.add_argument("--offline", action="store_true", help="search the cached names only")
    add_timeout(parser)
    command(parser, run, "Each symbol can be passed to the other commands unchanged.")


def run(args: argparse.Namespace) -> Report:
    """Search for symbols; the exit code is 1 if nothing was found, or if a vendor did not answer."""
    manager = manager_of(args, makes_folder=True)
    args.symbol = text = " ".join(args.text)
    with asking(args) as notes:
        listings = manager.search(text, args.limit, offline=args.offline, timeout=args.timeout)
    if not listings:
        no_match = f"no symbol or name matches {text!r}"
        return Report([], lambda: [styled(no_match, "dim")], notes, ok=False)
    names = ["symbol", "name", "venue", "type", "currency", "from?"]
    rows = [
        [hit.symbol, hit.name, hit.venue, hit.type, hit.currency, hit.vendor] for hit in listings
    ]
    table = TextTable(names, rows, f"{text} · {counted(len(listings), 'symbol')}")
    return Report([hit.as_dict() for hit in listings], [table], notes, ok=not notes)
