"""The command onetape: one module for each command, imported on use.

A module has ``configure``, which adds the options and the function to run, ``EXAMPLES``, two example
calls, and ``SENDS_REQUESTS = False`` if the command queries no vendor; all others take
``--timeout``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

from .._version import __version__
from .parser import Parser

# The line for each command in `onetape --help`; the modules are loaded on use.
COMMANDS = {
    "fetch": "show or export bars of one or more symbols",
    "plot": "draw a chart of one or more symbols: here, or as PNG, SVG or HTML",
    "features": "indicators and other numbers computed from the bars of one or more symbols",
    "quote": (
        "the last price of one or more symbols, its time, and the change since the last close"
    ),
    "brief": "a short text about a symbol whose numbers may be quoted; sends no request",
    "search": "find symbols by name, with venue, type and currency",
    "plan": "the requests that a call would cost, and the vendors it would use; sends none",
    "gaps": "the cached spans of a series, and why bars are missing; sends no request",
    "report": (
        "chart, coverage, gaps and findings for cached series on one page; sends no request"
    ),
    "sessions": "the trading hours of a symbol's market; sends no request",
    "fundamentals": (
        "facts about a company, coin or future: ratios, statements, splits, funding rates"
    ),
    "populate": "fill the cache for many symbols; with --fundamentals, refetch stale fundamentals",
    "sync": "bring every stored series up to date",
    "stream": "stream the bars of one symbol as they close, or replay past bars",
    "alerts": "alerts on prices, indicators and data problems, and the job that sends them",
    "cache": "list, check, repair, export or delete the cache",
    "hosts": "attach this cache folder to a store that many hosts share, or detach it",
    "validate": "find faults in cached bars; sends requests only with --level",
    "verify": "compare the cache with its vendors, or two vendors with each other",
    "check": "find look-ahead and other faults in your own features, on cached bars",
    "providers": "the vendors, what they serve, and what is missing here to use them",
    "db": "the optional database: its tables, symbol metadata, and universes of symbols",
    "doctor": "check keys, extras, network, cache and state",
    "demo": "a quick demonstration on this machine, without a key",
    "bundle": "bars as folders of Parquet files, and which bars a backtest read",
    "receipt": "what a backtest read, as a file that anybody can verify",
    "sql": "query stored series and bundles with DuckDB; sends no request",
    "serve": "pages on what needs attention, and bars for other programs; read-only",
    "mcp": "tools for agents, over standard input and output; read-only",
    "docs": "the documentation, in the terminal or the browser",
    "setup": "shell completion, and the older import path src.data",
}
# Other spellings of commands, which the help text does not list. Two words come before one.
ALIASES = {
    "ingest migrate-hdf5-to-parquet": "bundle migrate-hdf5-to-parquet",
    "ingest": "bundle ingest",
    "lineage": "bundle lineage",
    "explain": "plan",
    "coverage": "gaps",
    "refresh": "populate --fundamentals",
    "replay": "stream --replay",
    "actions": "fundamentals --type actions",
    "futures": "fundamentals --type funding",
    "symbols": "db symbols",
    "universe": "db universe",
    "completion": "setup completion",
    "link": "setup link",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    The code is 0 if the command succeeded, 1 if it failed or its result is incomplete, and 2 if the
    arguments are invalid.

    Raises:
        SystemExit: The parser exits: after ``--help`` with 0, after an unknown option with 2.
    """
    words = sys.argv[1:] if argv is None else argv
    arguments = _usual_spelling(words)
    meant = partial(_meant_line, words)
    try:
        parser = _parser(arguments, meant)
        args = parser.parse_args(arguments)
        if args.command is None:
            parser.print_help()
            return 0
        # Imported here because the help text needs none of it.
        from .execution import guarded
    except KeyboardInterrupt:  # during the import of the command
        from .execution import report_interrupt

        return report_interrupt()
    return guarded(args, meant)


def _meant_line(words: Sequence[str]) -> str:
    """Return the command line that was probably meant by words that cannot run; empty if unknown."""
    from .guessed import meant_line  # most command lines are right

    return meant_line(words, _usual_spelling(words), _parser)


def _usual_spelling(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with another spelling of a command replaced by the usual one."""
    for at, word in enumerate(arguments):
        if word in COMMANDS:
            break
        for words in (" ".join(arguments[at : at + 2]), word):
            if words in ALIASES:
                end = at + words.count(" ") + 1
                return [*arguments[:at], *ALIASES[words].split(), *arguments[end:]]
    return list(arguments)


def whole_parser() -> argparse.ArgumentParser:
    """Return the parser with the options of all commands."""
    return _parser((), every=True)


def _parser(
    arguments: Sequence[str], meant: Callable[[], str] | None = None, *, every: bool = False
) -> argparse.ArgumentParser:
    """Build the parser with only the requested command or, if ``every`` is set, with all commands.

    ``meant`` returns the command line that errors suggest.
    """
    parser = Parser(
        meant=meant,
        prog="onetape",
        description="Market data behind one call: bars, quotes, fundamentals and live feeds, cached.",
        epilog=(
            "`onetape COMMAND --help` explains a command; `onetape docs` shows the pages. "
            "Exit codes: 0 done, 1 failed or incomplete, 2 invalid arguments."
        ),
    )
    parser.examples = ("demo", "fetch AAPL 1d --period 1y")
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
        command = commands.add_parser(
            name, help=summary, description=f"{summary[0].upper()}{summary[1:]}."
        )
        if name in (COMMANDS if every else used):
            module = import_module(f".{name}", __name__)
            command.examples = module.EXAMPLES
            module.configure(command)
    return parser
