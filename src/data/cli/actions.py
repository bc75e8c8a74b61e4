"""``onetape actions``: splits and dividends of a share."""

from __future__ import annotations

import argparse

from . import FAILED, OK
from .answers import show_attempts
from .arguments import add_output, add_places, add_timeout
from .fetch import dated, records
from .output import asking, console, note, print_json
from .tables import TextTable, counted, moment, styled


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = (
        "Amounts are per share as shares are today; `paid` is per share as they were on the "
        "ex-date. Missing and due ones are fetched from the vendors that the rules name for days."
    )
    parser.add_argument("symbol", help="such as AAPL, BRK.B, VOD.L")
    parser.add_argument("--start", help="first ex-date; default: the earliest")
    parser.add_argument("--end", help="last ex-date; default: the last one announced")
    add_timeout(parser)
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch and show; 1 when no vendor answered for some ex-dates."""
    from ..data_manager import DataManager

    manager = DataManager(args.cache_dir, args.config)
    with asking(args) as notes:
        frame = manager.get_actions(args.symbol, args.start, args.end, timeout=args.timeout)
    provenance = frame.attrs["onetape"]
    rows = records(dated(frame))
    if args.json:
        print_json({"provenance": provenance, "rows": rows})
    else:
        screen = console()
        shown = [
            [
                row["ex_date"],
                row["type"],
                f"{row['ratio']:g}" if row["type"] == "split" else f"{row['amount']:g}",
                "-" if row["type"] == "split" else f"{row['paid']:g}",
                row["currency"] or "-",
                moment(row["pay_date"]),
                row["source"],
                row["dispute"],
            ]
            for row in rows
        ]
        title = f"{provenance['symbol']} · {counted(len(rows), 'action')}"
        names = [
            "ex-date",
            "type",
            "ratio or amount#",
            "paid#?",
            "in?",
            "paid on?",
            "from?",
            "others say?",
        ]
        screen.print(TextTable(names, shown, title))
        for one in provenance["left_out"]:
            text = (
                f"left out: {one['type']} on {one['ex_date']} ({one['source']}; {one['dispute']})"
            )
            screen.print(styled(text, "yellow"))
        asset_class = manager.provider_selector.instrument(args.symbol).asset_class
        if asset_class == "stock":
            show_attempts(screen, provenance)
        else:
            text = f"{provenance['symbol']} is {asset_class}: only shares have splits and dividends"
            screen.print(styled(text, "dim"))
    for text in notes:
        note(text)
    return OK if provenance["complete"] else FAILED
