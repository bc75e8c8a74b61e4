"""``onetape report``: the known facts about cached series, as one page; sends no request."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..errors import QueryError
from .arguments import add_which, command, option
from .cached import manager_of
from .output import busy
from .result import Line, Report, Shown
from .tables import facts, titled

EXAMPLES = ("report AAPL 1d -o aapl.html", "report --all -o everything.html")
SENDS_REQUESTS = False

_STYLES = {"finding": "yellow", "incident": "bold yellow"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    add_which(parser, "report on all stored series")
    option(parser, "--provider PROVIDER", "report only on lanes with bars from this vendor")
    option(parser, "-o --output FILE", "write a page that works offline (.html), or JSON (.json)")
    command(
        parser,
        run,
        (
            "Exit code 0: the report was made, whatever it shows. 1: part of it could not "
            "be read, and is named. 2: invalid arguments."
        ),
    )


def run(args: argparse.Namespace) -> Report:
    """Create and write the report; the exit code is 1 if some of the data could not be read.

    Raises:
        QueryError: Neither a series nor ``--all`` is given, or both are; or the file name ends in
            neither ``.html`` nor ``.json``.
    """
    from ..show.reports.report import check_report_path

    if args.all == bool(args.symbol) or bool(args.symbol) != bool(args.timeframe):
        raise QueryError(
            "give either a symbol and a timeframe, or --all for everything that is stored",
            hint="such as `onetape report AAPL 1d -o report.html`",
        )
    manager = manager_of(args)
    if args.output is not None:
        check_report_path(Path(args.output))  # before the work
    with busy(args, "reading the cache; sends no request"):
        report = manager.report(args.symbol, args.timeframe, args.provider)
        written = "" if args.output is None else str(report.save(args.output))

    def shown() -> Shown:
        """Yield the path to which the report was written, or the report itself."""
        if written:
            yield Line(f"written to {written}")
            return
        yield titled(report.title, "")
        yield facts(report.lines(), _STYLES)

    return Report(report.to_json, shown, ok=report.is_whole, is_check=bool(written))
