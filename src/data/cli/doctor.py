"""``onetape doctor``: what works on this machine, what does not, and what to do about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from . import FAILED, OK
from .arguments import add_output, add_places, seconds
from .output import console, print_json
from .tables import counted, findings, styled

if TYPE_CHECKING:
    from ..jobs.checkup import Check

_MARKS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--no-network", action="store_true", help="do not contact the vendors")
    parser.add_argument(
        "--full", action="store_true", help="read every data file, however long that takes"
    )
    parser.add_argument("--watch", action="store_true", help="repeat until Ctrl-C")
    parser.add_argument(
        "--every", type=seconds, metavar="SECONDS", help="interval of --watch (default: 5)"
    )
    add_output(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the checks, section by section; 1 when something does not work.

    Raises:
        QueryError: ``--every`` without ``--watch``, or ``--full`` with it.
    """
    if args.every and not args.watch:
        raise QueryError("--every needs --watch", hint="add --watch, or leave --every out")
    if args.full and args.watch:
        raise QueryError("--full does not go with --watch", hint="leave one of the two out")
    if args.watch:
        from .watch_screen import run_watch

        return run_watch(args)
    from ..jobs.checkup import checkup

    checks = checkup(args.cache_dir, args.config, network=not args.no_network, full=args.full)
    broken = [check for check in checks if check.ok is False]
    if args.json:
        print_json({"ok": not broken, "checks": [check.to_json() for check in checks]})
    else:
        _show(checks, broken)
    return FAILED if broken else OK


def _show(checks: list[Check], broken: list[Check]) -> None:
    """Print all checks, and those that failed once more at the end: a terminal shows its last lines."""
    screen = console()
    width = max(len(check.topic) for check in checks)
    for section in dict.fromkeys(check.section for check in checks):
        screen.print(styled(section, "bold"))
        screen.print(findings([_row(c) for c in checks if c.section == section], width))
        screen.print()
    if not broken:
        screen.print(styled("everything works", "bold green"))
        return
    screen.print(styled(f"{counted(len(broken), 'thing')} to fix:", "bold red"))
    screen.print(findings([_row(check) for check in broken], width))


def _row(check: Check) -> tuple[Any, str, list[Any]]:
    cells: list[Any] = [check.said]
    if check.advice:
        cells.append(styled(f"→ {check.advice}", "red" if check.ok is False else "yellow"))
    mark, style = _MARKS[check.ok]
    return styled(mark, style), check.topic, cells
