"""``onetape actions``: splits and dividends of a stock."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .answers import attempts_shown, dated, records
from .arguments import add_timeout, command
from .cached import manager_of
from .output import asking
from .report import Report, Shown
from .tables import TextTable, counted, moment, styled

if TYPE_CHECKING:
    pass


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("symbol", help="such as AAPL, BRK.B, VOD.L")
    parser.add_argument("--start", help="first ex-date; default: the earliest")
    parser.add_argument("--end", help="last ex-date; default: the last announced one")
    add_timeout(parser)
    command(
        parser,
        run,
        (
            "Amounts are per share in terms of today's shares; `paid` is per share in terms "
            "of the shares on the ex-date. Missing and due actions are fetched from the "
            "vendors that the rules name for daily bars."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Fetch splits and dividends; the exit code is 1 if no vendor answered for some ex-dates."""
    manager = manager_of(args, makes_folder=True)
    with asking(args) as notes:
        frame = manager.get_actions(args.symbol, args.start, args.end, timeout=args.timeout)
    provenance = frame.attrs["onetape"]
    rows = records(dated(frame))
    asset_class = manager.provider_selector.instrument(args.symbol).asset_class
    return Report(
        {"provenance": provenance, "rows": rows},
        _actions_shown(rows, provenance, asset_class),
        notes,
        ok=provenance["complete"],
    )


def _actions_shown(
    rows: Sequence[Mapping[str, Any]], provenance: Mapping[str, Any], asset_class: str
) -> Shown:
    cells = [
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
    names = ["ex-date", "type", "ratio or amount#", "paid#?", "in?", "paid on?", "from?"]
    title = f"{provenance['symbol']} · {counted(len(rows), 'action')}"
    yield TextTable([*names, "others say?"], cells, title)
    for action in provenance["left_out"]:
        reason = f"{action['source']}; {action['dispute']}"
        yield styled(f"not applied: {action['type']} on {action['ex_date']} ({reason})", "yellow")
    if asset_class == "stock":
        yield from attempts_shown(provenance)
    else:
        text = f"{provenance['symbol']} is {asset_class}: only stocks have splits and dividends"
        yield styled(text, "dim")
