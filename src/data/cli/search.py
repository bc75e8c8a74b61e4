"""``onetape search``: symbols by name."""

from __future__ import annotations

import argparse

from .arguments import add_timeout, command, option, positive
from .cached import manager_of
from .output import asking
from .result import Report
from .tables import counted

EXAMPLES = ("search apple", "search bitcoin --json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "text+", "part of a symbol or a name")
    option(parser, "--limit", "maximum number of rows (default 20)", type=positive, default=20)
    option(parser, "--offline", "search the cached names only")
    add_timeout(parser)
    command(parser, run, "Each symbol can be passed to the other commands unchanged.")


def run(args: argparse.Namespace) -> Report:
    """Search for symbols; the exit code is 1 if nothing was found, or if a vendor did not answer."""
    manager = manager_of(args, makes_folder=True)
    args.symbol = text = " ".join(args.text)
    with asking(args) as notes:
        listings = manager.search(text, args.limit, offline=args.offline, timeout=args.timeout)
    return Report.rows(
        listings,
        "symbol name venue type currency vendor?",
        f"{text} · {counted(len(listings), 'symbol')}",
        empty=f"no symbol or name matches {text!r}",
        notes=notes,
        ok=bool(listings) and not notes,
    )
