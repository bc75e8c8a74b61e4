"""``onetape sql``: SELECT statements over stored series and bundles."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager

from ..core.runtime.resources import data_bytes
from .arguments import command, option
from .cached import manager_of
from .result import Report
from .tables import TextTable

EXAMPLES = ("sql \"select * from bars('AAPL', '1d')\"", "sql \"from bundle('mine')\" --json")
SENDS_REQUESTS = False

# For DuckDB with its limit of 1 GB, and for the frame of the result.
_MOST_BYTES = 2_000_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(
        parser,
        "statement",
        "one SELECT over bars('AAPL', '1d'), bars('AAPL', '1d', 'demo'), bundle('mine')",
    )
    option(parser, "--bundles DIR", "bundle folder")
    command(parser, run, "Sends no request, changes nothing, and opens no other files.")


def run(args: argparse.Namespace) -> Report:
    """Show the rows of the result."""
    from ..research.bundles.sql import query

    manager = manager_of(args)
    with _limited_memory():
        frame = query(args.statement, manager=manager, folder=args.bundles)
    columns = [
        f"{name}#" if kind.kind in "iuf" else str(name) for name, kind in frame.dtypes.items()
    ]
    rows = frame.astype(object).where(frame.notna(), None)
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows.to_numpy()]
    return Report(rows.to_dict("records"), [TextTable(columns, cells)])


@contextmanager
def _limited_memory() -> Iterator[None]:
    """Limit what the process may allocate in this block, because DuckDB does not count single values."""
    try:
        import resource
    except ImportError:  # Windows
        yield
        return
    limits = resource.getrlimit(resource.RLIMIT_DATA)
    most = data_bytes() + _MOST_BYTES
    most = most if limits[1] < 0 else min(most, limits[1])
    resource.setrlimit(resource.RLIMIT_DATA, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, limits)
