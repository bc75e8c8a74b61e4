"""``onetape sql``: SELECT statements over stored series and bundles."""

from __future__ import annotations

import argparse

from .arguments import command, option
from .cached import manager_of
from .report import Report
from .tables import TextTable


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "statement", "one SELECT over bars('AAPL', '1d') and bundle('mine')")
    option(parser, "--bundles DIR", "bundle folder")
    command(parser, run, "Sends no request, changes nothing, and opens no other files.")


def run(args: argparse.Namespace) -> Report:
    """Show the rows of the result."""
    from ..layer.sql import query

    frame = query(args.statement, manager=manager_of(args), folder=args.bundles)
    columns = [
        f"{name}#" if kind.kind in "iuf" else str(name) for name, kind in frame.dtypes.items()
    ]
    rows = frame.astype(object).where(frame.notna(), None)
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows.to_numpy()]
    return Report(rows.to_dict("records"), [TextTable(columns, cells)])
