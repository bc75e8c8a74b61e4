"""``onetape coverage``: the cached bars of a series by span; sends no request."""

from __future__ import annotations

import argparse

from ..model.reasons import sentence
from .answers import records
from .arguments import add_series, command
from .cached import manager_of
from .report import Report
from .tables import TextTable, counted, moment


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_series(parser)
    command(
        parser,
        run,
        (
            "Spans are half-open; the time between them was never requested. `due` is the "
            "time from which a new request can change a span."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Return a series' covered spans; there are none if the series is not stored."""
    frame = manager_of(args).coverage(args.symbol, args.timeframe)
    rows = records(frame.set_index("lane"))
    name = f"{args.symbol} {args.timeframe}"
    if not rows:
        return Report(rows, [f"{name}: nothing is stored, and no span is recorded as empty"])
    cells = [
        [
            moment(row["start"]),
            moment(row["end"]),
            row["state"],
            row["vendor"] or "-",
            row["lane"] or "-",
            moment(row["next_due"]) if row["next_due"] else "never",
            sentence(row["reason"]),
        ]
        for row in rows
    ]
    names = ["from", "up to", "state", "vendor", "lane?", "due?", "why?"]
    return Report(rows, [TextTable(names, cells, f"{name} · {counted(len(rows), 'span')}")])
