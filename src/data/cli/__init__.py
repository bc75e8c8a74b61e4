"""The command ``onetape``: one file a command, imported when it is used."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from .._version import __version__
from ..errors import ConfigError, DataError, QueryError

# Command to what `onetape --help` says about it; the modules are loaded on use.
COMMANDS = {
    "fetch": "show or export bars of one symbol",
    "populate": "fill the cache for many symbols",
    "cache": "what the cache holds; delete parts of it",
    "providers": "the vendors, what they serve and what they lack here",
    "doctor": "check keys, extras, network, cache and state",
    "demo": "the main job on this machine, without any key",
}

OK, FAILED, USAGE = 0, 1, 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: it failed, or not all of it could be had. 2: the question was wrong.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    parser = _parser(arguments)
    args = parser.parse_args(arguments)
    if args.command is None:
        parser.print_help()
        return OK
    _quiet(verbose=args.verbose)
    return run(lambda: int(args.run(args)))


def run(work: object) -> int:
    """Run ``work()``; print a typed error as one line and turn it into an exit code."""
    assert callable(work)
    try:
        return int(work())
    except (QueryError, ConfigError) as error:
        print(f"onetape: {error}", file=sys.stderr)
        return USAGE
    except DataError as error:
        print(f"onetape: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("onetape: interrupted; what was committed is kept", file=sys.stderr)
        return FAILED
    except BrokenPipeError:
        # The reader (`head`, `less`) went away: nothing left to say it to.
        sys.stderr.close()
        return OK


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """Build the parser; only the command that is used is imported and gets its options."""
    parser = argparse.ArgumentParser(
        prog="onetape", description="One door to market data.",
        epilog="`onetape COMMAND --help` explains a command.",
    )  # fmt: skip
    parser.add_argument("--version", action="version", version=f"onetape {__version__}")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what is logged")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    used = next((a for a in arguments if a in COMMANDS), None)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary.capitalize() + ".")
        if name == used:
            import_module(f".{name}", __name__).configure(command)
    return parser


def _quiet(*, verbose: bool) -> None:
    """Log to the terminal only when asked to; warnings of ours are printed by the commands."""
    level = logging.DEBUG if verbose else logging.CRITICAL
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("onetape").setLevel(level)
    warnings.filterwarnings("ignore", module=r"exchange_calendars")
