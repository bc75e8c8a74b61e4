"""``onetape doctor``: checks which parts work on this machine, and shows how to fix the others."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from ..core.model.time.instant import iso
from ..errors import QueryError
from .arguments import command, option, seconds
from .output import note
from .result import OK, Line, Report, Shown
from .tables import counted, findings, moment, styled

if TYPE_CHECKING:
    from ..jobs.vendors.checks import Check

EXAMPLES = ("doctor --watch --every 5", "doctor --vendors")

# Default time between two updates of ``--watch``, in seconds.
_EVERY_S = 5.0
# Mark, style of the mark, style of the remedy.
_MARKS = {
    "ok": ("✓", "green", "yellow"),
    "note": ("·", "dim", "yellow"),
    "fault": ("✗", "bold red", "red"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(parser, "--no-network", "do not contact the vendors")
    option(parser, "--full", "read every data file, however long it takes")
    option(parser, "--watch", "repeat until Ctrl-C")
    option(parser, "--every SECONDS", "interval of --watch (default: 5)", type=seconds)
    option(
        parser,
        "--vendors",
        (
            "ask each vendor for bars whose closes are known, at most two requests each, and print "
            "a dated table"
        ),
    )
    command(parser, run)


def run(args: argparse.Namespace) -> Report | int:
    """Return the checks, section by section; the exit code is 1 if any of them failed.

    Raises:
        QueryError: ``--every`` was given without ``--watch``, ``--full`` with it, or another option
            with ``--vendors``.
    """
    if args.every and not args.watch:
        raise QueryError("--every needs --watch", hint="add --watch, or omit --every")
    if args.full and args.watch:
        raise QueryError("--full and --watch cannot be used together", hint="omit one of them")
    if args.vendors:
        if args.watch or args.full or args.no_network:
            raise QueryError(
                "--vendors cannot be combined with other options", hint="omit the other options"
            )
        return _vendors(args)
    if args.watch:
        return watch(args)
    from ..jobs.doctor.health import checkup

    checks = checkup(args.cache_dir, args.config, network=not args.no_network, full=args.full)
    return _report(checks, lambda: _checks_shown(checks))


def _vendors(args: argparse.Namespace) -> Report:
    """Ask the vendors, and return their answers; the exit code is 0 only if all answers are right.

    Vendors that were not asked, or refused, do not count, but at least one answer must be right.
    """
    from ..core.clock import SystemClock
    from ..core.config.settings import load_settings
    from ..jobs.vendors.known import MOST_REQUESTS, market_vendors, table_of, vendor_answers
    from ..jobs.vendors.vendors import selector_of

    clock = SystemClock()
    selector = selector_of(load_settings(args.cache_dir, args.config), clock)
    names = [name for name in market_vendors() if selector.downloader(name) is not None]
    note(f"at most {MOST_REQUESTS} requests for bars each: {', '.join(names) or 'no vendor'}")
    answers = vendor_answers(selector, market_vendors(), clock)
    found = {answer.answer for answer in answers}
    lines = [Line(line) for line in table_of(answers, clock.now_ms())]
    document = {"at": iso(clock.now_ms()), "answers": [answer.to_json() for answer in answers]}
    return Report(document, lines, ok="right" in found and "differs" not in found)


def watch(args: argparse.Namespace) -> Report | int:
    """Show the checks of what changes by itself until Ctrl-C, or once with ``--json``.

    Returns:
        Exit code 0, even after Ctrl-C, which is the normal way to stop.
    """
    from ..core.interface import reach_all
    from ..jobs.doctor.health import WATCHED, Installation
    from .live import Screen

    reach = None if args.no_network else reach_all
    watched = Installation(args.cache_dir, args.config, reach=reach)
    if args.json:
        return _report(watched.shown(WATCHED), ok=True)
    try:
        with Screen() as screen:
            while True:
                at = moment(iso(watched.clock.now_ms() // 1000 * 1000))
                screen.update(_watch_shown(at, watched.shown(WATCHED)))
                watched.clock.sleep(args.every or _EVERY_S)
    except KeyboardInterrupt:
        return OK


def _report(
    checks: list[Check], shown: Callable[[], Shown] | Shown = (), *, ok: bool = False
) -> Report:
    is_good = not _faults(checks)
    document = {"ok": is_good, "checks": [check.to_json() for check in checks]}
    return Report(document, shown, ok=ok or is_good, is_check=True)


def _faults(checks: Iterable[Check]) -> list[Check]:
    return [check for check in checks if check.level == "fault"]


def _checks_shown(checks: list[Check]) -> Shown:
    """Yield all checks, then the faults again, so that a terminal shows them at the end."""
    width = max(len(check.topic) for check in checks)
    for section in dict.fromkeys(check.section for check in checks):
        yield styled(section, "bold")
        yield findings([_row(c) for c in checks if c.section == section], width)
        yield ""
    if faults := _faults(checks):
        yield styled(f"{counted(len(faults), 'thing')} to fix:", "bold red")
        yield findings([_row(check) for check in faults], width)
    else:
        yield styled("everything works", "bold green")


def _watch_shown(at: str, checks: list[Check]) -> Shown:
    """Yield the faults first, because a short terminal cuts off the end, then all other checks."""
    yield styled(f"onetape at {at} UTC", "bold")
    faults = _faults(checks)
    yield from [] if faults else [styled("✓ no problems", "bold green")]
    width = max(len(check.topic) for check in checks)
    yield findings(
        [_row(check) for check in sorted(checks, key=lambda one: one not in faults)], width
    )
    yield styled("Ctrl-C to stop", "dim")


def _row(check: Check) -> tuple[Any, str, list[Any]]:
    cells: list[Any] = [check.sentence]
    mark, style, of_remedy = _MARKS[check.level]
    if check.remedy:
        cells.append(styled(f"→ {check.remedy}", of_remedy))
    return styled(mark, style), check.topic, cells
