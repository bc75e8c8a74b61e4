"""``onetape features``: numbers computed from the bars of one or more symbols."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .answers import records
from .arguments import QUESTION, add_recipes, add_rows, command, given, option, usual
from .cached import manager_of
from .output import asking
from .result import Line, Report
from .tables import TextTable, counted

if TYPE_CHECKING:
    import pandas as pd

    from ..data_manager import DataManager

EXAMPLES = ("features AAPL 1d -r 'rsi:14 vol:20'", "features AAPL 1h -r vwap:session --json")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    usual(parser, "question timeout")
    add_recipes(
        parser,
        "recipes such as 'rsi:14 vol:20 rsi:14@1d fund:net_income', or a YAML file",
        required=True,
    )
    add_rows(parser, "last rows to show for each symbol")
    option(parser, "--csv FILE", "write all rows as CSV (.gz: compressed)")
    option(parser, "--parquet FILE", "write all rows as Parquet")
    command(
        parser, run, "Exit code 1: bars are missing. `onetape docs features` lists the recipes."
    )


def run(args: argparse.Namespace) -> Report:
    """Return the features of each symbol; the exit code is 1 if bars are missing.

    Raises:
        QueryError: An argument or a recipe is invalid.
        StorageError: A file cannot be written.
    """
    manager = manager_of(args, makes_folder=True)
    with asking(args) as notes:
        frame = manager.features(
            args.symbols, **given(args, f"{QUESTION} recipes anchor store timeout")
        )
    written = _export(manager, frame, args)
    facts = frame.attrs["onetape"]
    document = {"features": records(frame.set_index("symbol")), "written": written}
    document |= {name: facts[name] for name in ("failed", "lead_missing", "reports_missing", "nan")}
    return Report(document, lambda: _shown(frame, args.rows, written), notes, ok=facts["complete"])


def _export(manager: DataManager, frame: pd.DataFrame, args: argparse.Namespace) -> list[str]:
    from ..core.disk.atomic import export_csv, export_parquet
    from ..jobs.export.export import Exporter

    written = []
    for name, export in ((args.csv, export_csv), (args.parquet, export_parquet)):
        if name:
            Exporter.of(manager._services).check_outside(Path(name).absolute())
            written.append(str(export(frame.set_index("symbol"), Path(name))))
    return written


def _shown(frame: pd.DataFrame, rows: int, written: list[str]) -> Iterator[Any]:
    columns = ["time", *(f"{name}#" for name in frame.columns[2:-1])]
    for symbol, own in frame.groupby("symbol", observed=False):
        cells = [
            [str(row[1])[:16], *(f"{value:.6g}" for value in row[2:-1])]
            for row in own.tail(rows).itertuples(index=False)
        ]
        shown = TextTable(columns, cells, f"{symbol} · {counted(len(own), 'row')}")
        yield shown if cells else Line(f"{symbol}: no bars in this range", "dim")
    for path in written:
        yield Line(f"written: {path}")
