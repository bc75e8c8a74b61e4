"""The command ``onetape``: one module for each command, imported on use."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

from .._version import __version__
from .parser import Parser

# The line for each command in `onetape --help`; the modules are loaded on use.
COMMANDS = {
    "fetch": "show or export bars of one or more symbols",
    "plot": "draw a chart of one or more symbols: here, or as PNG, SVG or HTML",
    "quote": (
        "the last price of one or more symbols, its time, and the change since the last close"
    ),
    "brief": "a short text about a symbol whose numbers may be quoted; sends no request",
    "search": "find symbols by name, with venue, type and currency",
    "futures": "funding, open interest and long/short ratios of a perpetual future",
    "plan": "the requests that a call would cost; sends none",
    "explain": "which vendors a call would use and why, and what is cached",
    "actions": "splits and dividends of a stock",
    "coverage": "the cached bars of a series by span; sends no request",
    "gaps": "why cached series lack bars: class, evidence and next step; sends no request",
    "report": (
        "chart, coverage, gaps and findings for cached series on one page; sends no request"
    ),
    "sessions": "the trading hours of a symbol's market; sends no request",
    "fundamentals": "facts about a company or coin, field by field, with the vendor of each",
    "refresh": "refetch stale fundamentals",
    "populate": "fill the cache for many symbols",
    "sync": "bring every stored series up to date",
    "stream": "stream the bars of one symbol as they close",
    "replay": "replay past bars as if they were closing now",
    "alerts": "alerts on prices, indicators and data problems, and the job that sends them",
    "lineage": (
        "which bars a backtest read, and whether they are still the same; sends no request"
    ),
    "cache": "list, check, repair, export or delete the cache",
    "hosts": "attach this cache folder to a store that many hosts share, or detach it",
    "validate": "find faults in cached bars; sends requests only with --level",
    "verify": "compare the cache with its vendors, or two vendors with each other",
    "providers": "the vendors, what they serve, and what is missing here to use them",
    "symbols": "symbol metadata and dated renames, kept in the optional database",
    "db": "create, upgrade, check or back up the optional database",
    "doctor": "check keys, extras, network, cache and state",
    "demo": "a quick demonstration on this machine, without a key",
    "universe": "named lists of symbols with dated members and the evidence for them",
    "bundle": "store answers as folders of Parquet files, and compare them with the cache",
    "sql": "query stored series and bundles with DuckDB; sends no request",
    "ingest": "write bars from a source to a bundle, or list the sources",
    "serve": "pages on what needs attention, and bars for other programs; read-only",
    "mcp": "tools for agents, over standard input and output; read-only",
    "docs": "the documentation, in the terminal or the browser",
    "link": "make the older import path src.data work beside an installed package, or undo it",
    "completion": "completion script for bash, zsh or fish",
}
# Commands whose module has another name because the command's name is taken.
_MODULES = {"lineage": "lineage_command", "report": "report_command"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    The code is 0 if the command succeeded, 1 if it failed or its result is incomplete, and 2 if the
    arguments are invalid.

    Raises:
        SystemExit: The parser exits: after ``--help`` with 0, after an unknown option with 2.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        parser = _parser(arguments)
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return 0
        # Imported here because the help text needs none of it.
        from .execution import guarded
    except KeyboardInterrupt:  # during the import of the command
        from .execution import report_interrupt

        return report_interrupt()
    return guarded(args)


def whole_parser() -> argparse.ArgumentParser:
    """Return the parser with the options of all commands."""
    return _parser((), every=True)


def _parser(arguments: Sequence[str], *, every: bool = False) -> argparse.ArgumentParser:
    """Build the parser with only the requested command or, if ``every`` is set, with all commands."""
    parser = Parser(
        prog="onetape",
        description="Market data behind one call: bars, quotes, fundamentals and live feeds, cached.",
        epilog=(
            "`onetape COMMAND --help` explains a command; `onetape docs` shows the pages. "
            "Exit codes: 0 done, 1 failed or incomplete, 2 invalid arguments."
        ),
    )
    parser.add_argument("--version", action="version", version=f"onetape {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the log")
    parser.add_argument("-q", "--quiet", action="store_true", help="print only results and errors")
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        metavar="FORMAT",
        help="write the log to standard error as text or json; -v for everything",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    used = next(([a] for a in arguments if a in COMMANDS), [])
    # After a command, neither help nor errors show the other commands, and adding all of them takes
    # 5 ms.
    visible = used if used and used[0] == arguments[0] else COMMANDS
    for name in visible:
        summary = COMMANDS[name]
        command = commands.add_parser(name, help=summary, description=f"{summary.capitalize()}.")
        if name in (COMMANDS if every else used):
            import_module(f".{_MODULES.get(name, name)}", __name__).configure(command)
    return parser
