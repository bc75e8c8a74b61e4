"""Functions shared by the long jobs: progress, reasons for missing data, the report file."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.model.display.texts import duration
from ..core.model.time.instant import SECOND_MS, iso
from .arguments import option
from .output import console
from .result import Report, Shown, present
from .tables import counted, shortened, styled, table

if TYPE_CHECKING:
    from ..jobs.progress.events import Listener, Progress

REPORT_HELP = "write the full report to this file: HTML if its name ends in .html, else JSON"
# With more series than this, only incomplete ones are shown, and progress only from time to time.
MOST_SHOWN, MOST_REASONS = 40, 20
_REPORT_S = 30.0


def add_trial(parser: argparse.ArgumentParser) -> None:
    """Add the options ``--dry-run`` and ``--report`` to a job's parser."""
    option(parser, "--dry-run", "show the requests and their cost, but send none")
    option(parser, "--report FILE", REPORT_HELP)


def check_report(args: argparse.Namespace) -> None:
    """Raise ``StorageError`` if the ``--report`` path cannot be written.

    This is checked before the work starts, because the work can take all night.
    """
    from ..core.disk.atomic import check_target

    if args.report is not None:
        check_target(Path(args.report))


def _now_ms() -> int:
    from ..core.clock import SystemClock

    return SystemClock().now_ms()


def begin(args: argparse.Namespace, job: str) -> None:
    """Note the job of a command and the start of its run, for the report."""
    args.job, args.begun_ms = job, _now_ms()


def write_report(report: dict[str, Any], args: argparse.Namespace) -> None:
    """Write a report to the ``--report`` path, as HTML or JSON; raise ``StorageError`` on failure."""
    from ..core.disk.atomic import put

    if args.report is None:
        return
    path = Path(args.report)
    if path.suffix.lower() in (".html", ".htm"):
        from ..core.wiring import build
        from ..jobs.run.nights import nights_of
        from ..show.reports.night import night_page

        started, written = (iso(ms // SECOND_MS * SECOND_MS) for ms in (args.begun_ms, _now_ms()))
        record = nights_of(build(args.cache_dir, args.config))["nights"]
        data = night_page(report, args.job, started, written, record)
    else:
        data = json.dumps(report, indent=2, default=str) + "\n"
    put(path, data.encode())


def present_job(
    report: dict[str, Any],
    shown: Shown,
    args: argparse.Namespace,
    *,
    ok: bool,
    interrupted: str,
) -> int:
    """Print the report of a job, write it to the ``--report`` path, and return the exit code.

    Args:
        report: Report of the job.
        shown: The report for display.
        args: Arguments of the command.
        ok: Whether the exit code is 0.
        interrupted: Note to print if the job was interrupted.
    """
    notes = [f"interrupted: {interrupted}"] if report.get("interrupted") else []
    code = present(Report(report, shown, notes, ok=ok, is_check=True), args)
    write_report(report, args)
    return code


@contextmanager
def progress_shown() -> Iterator[Listener]:
    """Yield a listener that shows progress on standard error: a bar in a terminal, otherwise lines."""
    from ..jobs.progress.bar import bar_on

    screen = console(stderr=True)
    if not screen.is_terminal:
        yield _Lines(screen.print).listen
        return
    with bar_on(screen) as show:
        yield show


class _Lines:
    """Shows progress as lines: one per series in a short job, or one at intervals in a long job.

    In a short job, a series that starts waiting gets a line immediately; while it is waiting,
    further lines are half a minute apart.
    """

    def __init__(self, show: Callable[..., object]) -> None:
        self._show, self._last_s, self._waits = show, time.monotonic(), ""

    def listen(self, now: Progress) -> None:
        """Print a line of progress, unless the last one is too recent."""
        now_s = time.monotonic()
        waits = now.result.name if now.waiting else ""
        is_long = now.total > MOST_SHOWN
        is_again = waits != "" and waits == self._waits
        if (is_long or is_again) and now_s - self._last_s < _REPORT_S:
            return
        self._waits = waits
        if is_long or now.is_over or waits:
            self._last_s = now_s
            done = "" if now.waiting else f"{now.done:,}/{now.total:,} "
            self._show(f"{done}{now.text()}", soft_wrap=True)


def reasons_shown(reasons: Sequence[dict[str, Any]], what: str = "series") -> Shown:
    """Yield one line for each reason why series are incomplete, with the affected series."""
    from ..jobs.progress.results import ReasonGroup

    for reason in reasons[:MOST_REASONS]:
        group = ReasonGroup(shortened(reason["why"]), reason["series"], noun=what)
        is_failure = reason["failed"] and len(group.series) > 1
        yield styled(str(group), "red" if is_failure else "yellow")
    more = len(reasons) - MOST_REASONS
    if more > 0:
        yield styled(f"and {counted(more, 'other reason')}; --report writes them all", "yellow")


def requests_shown(requests: dict[str, dict[str, int]]) -> Shown:
    """Yield a line for each vendor: the number of requests, and of requests without a result."""
    for vendor, counts in requests.items():
        sent, answered = counts["sent"], counts["answered"]
        unanswered = f", {sent - answered:,} without a result" if sent > answered else ""
        yield styled(f"{vendor}: {counted(sent, 'request')}{unanswered}", "dim")


def costs_shown(vendors: dict[str, dict[str, Any]], what: str = "series") -> Shown:
    """Yield a table with the requests that each vendor would receive and the time they would take.

    Args:
        vendors: Maps each vendor to its cost.
        what: Name for the number of things requested.
    """
    rows = [
        {"vendor": vendor, what.replace(" ", "_"): cost["series"], **cost}
        for vendor, cost in vendors.items()
    ]
    for row in rows:
        days, takes = row["days"], f"about {duration(row['takes_s'])}"
        row["takes"] = f"{days:,} days" if days > 1 else takes
    if rows:
        yield table(rows, f"vendor {what.replace(' ', '_')}# requests# units#? takes")
