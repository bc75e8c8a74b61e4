"""``onetape doctor``: checks which parts work on this machine, and shows how to fix the others."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from .arguments import command, option, seconds
from .report import Report, Shown
from .tables import counted, findings, styled

if TYPE_CHECKING:
    from ..jobs.checkup import Check

_MARKS = {True: ("✓", "green"), False: ("✗", "bold red"), None: ("·", "dim")}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "--no-network", "do not contact the vendors")
    option(parser, "--full", "read every data file, however long it takes")
    option(parser, "--watch", "repeat until Ctrl-C")
    option(parser, "--every SECONDS", "interval of --watch (default: 5)", type=seconds)
    command(parser, run)


def run(args: argparse.Namespace) -> Report | int:
    """Return the checks, section by section; the exit code is 1 if any of them failed.

    Raises:
        QueryError: ``--every`` was given without ``--watch``, or ``--full`` with it.
    """
    if args.every and not args.watch:
        raise QueryError("--every needs --watch", hint="add --watch, or omit --every")
    if args.full and args.watch:
        raise QueryError("--full and --watch cannot be used together", hint="omit one of them")
    if args.watch:
        from .live import watch

        return watch(args)
    from ..jobs.checkup import checkup

    checks = checkup(args.cache_dir, args.config, network=not args.no_network, full=args.full)
    failed = [check for check in checks if check.ok is False]
    document = {"ok": not failed, "checks": [check.to_json() for check in checks]}
    return Report(document, _checks_shown(checks, failed), ok=not failed, is_check=True)


def _checks_shown(checks: list[Check], failed: list[Check]) -> Shown:
    """Yield all checks, then the failed ones again, so that a terminal shows them at the end."""
    width = max(len(check.topic) for check in checks)
    for section in dict.fromkeys(check.section for check in checks):
        yield styled(section, "bold")
        yield findings([_row(c) for c in checks if c.section == section], width)
        yield ""
    if failed:
        yield styled(f"{counted(len(failed), 'thing')} to fix:", "bold red")
        yield findings([_row(check) for check in failed], width)
    else:
        yield styled("everything works", "bold green")


def _row(check: Check) -> tuple[Any, str, list[Any]]:
    cells: list[Any] = [check.said]
    if check.advice:
        cells.append(styled(f"→ {check.advice}", "red" if check.ok is False else "yellow"))
    mark, style = _MARKS[check.ok]
    return styled(mark, style), check.topic, cells
