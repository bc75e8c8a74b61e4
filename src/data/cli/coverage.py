"""``onetape coverage``: the cached bars of a series by span; sends no request."""

from __future__ import annotations

import argparse

from . import OK
from .arguments import add_output, add_places, add_series
from .cached import manager_of
from .fetch import records
from .output import console, print_json
from .tables import TextTable, counted, moment


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        "Spans are half-open; the time between them was never requested. `due` is when a new request "
        "can change a span."
    )
    add_series(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the stretches; a series that is not stored has none."""
    frame = manager_of(args).coverage(args.symbol, args.timeframe)
    rows = records(frame.set_index("lane"))
    if args.json:
        print_json(rows)
        return OK
    shown = [
        [
            moment(row["start"]),
            moment(row["end"]),
            row["state"],
            row["vendor"] or "-",
            row["lane"] or "-",
            moment(row["next_due"]) if row["next_due"] else "never",
            row["reason"],
        ]
        for row in rows
    ]
    if not rows:
        console().print(
            f"nothing of {args.symbol} {args.timeframe} is stored, or known to be empty"
        )
        return OK
    title = f"{args.symbol} {args.timeframe} · {counted(len(rows), 'span')}"
    names = ["from", "up to", "state", "vendor", "lane?", "due?", "why?"]
    console().print(TextTable(names, shown, title))
    return OK
