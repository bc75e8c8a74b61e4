"""``onetape cache quarantine list | show | restore | purge``: quarantined rows and files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..jobs.quarantine import QuarantineReport, quarantine_report, restore
from ..model.instant import iso
from ..model.reasons import sentence
from .arguments import command, flag
from .cached import chosen, manager_of, name_of, problems_json, problems_shown
from .report import Line, Report, Shown
from .tables import TextTable, counted, moment, size, styled

if TYPE_CHECKING:
    pass

_SHOWN = 50


def configure(actions: Any) -> None:
    """Add the command's sub-commands to its parser."""
    parser = actions.add_parser(
        "quarantine", help="invalid rows and damaged files, quarantined with the reason"
    )
    subcommands = parser.add_subparsers(dest="deed", metavar="ACTION", required=True)
    listed = subcommands.add_parser(
        "list", help="list each series with its quarantined rows and files"
    )
    shown = subcommands.add_parser("show", help="show every row and file, with the reason")
    restored = subcommands.add_parser(
        "restore",
        help="put back bars that their vendor withdrew, if no bar is stored at their time",
    )
    purged = subcommands.add_parser(
        "purge",
        help="delete quarantined rows and files for good, including bars that vendors withdrew",
    )
    for action, work in ((listed, _list), (shown, _show), (restored, _restore), (purged, _purge)):
        action.add_argument("symbol", nargs="?" if action in (listed, purged) else None)
        action.add_argument("timeframe", nargs="?", help="default: all timeframes")
        command(action, work)
    flag(purged, "--all", "purge every series")
    flag(purged, "--dry-run", "show what would be deleted")


def _list(args: argparse.Namespace) -> Report:
    reports = [report for report in _quarantine_reports(args) if report.rows or report.files]
    document = [report.to_json() for report in reports]
    if not reports:
        return Report(document, ["no rows or files of bars are quarantined"])
    rows = [
        [
            name_of(report.key),
            f"{len(report.rows):,}",
            f"{len(report.files):,}",
            ", ".join(
                f"{sentence(reason)} ({count})"
                for reason, count in list(report.reasons.items())[:3]
            ),
        ]
        for report in reports
    ]
    return Report(document, [TextTable(["series", "rows#", "files#", "most often?"], rows)])


def _show(args: argparse.Namespace) -> Report:
    reports = _quarantine_reports(args)
    return Report(lambda: [report.to_json(details=True) for report in reports], _details(reports))


def _quarantine_reports(args: argparse.Namespace) -> list[QuarantineReport]:
    """Return each requested series' quarantined rows and files."""
    manager = manager_of(args)
    keys = chosen(manager, args.symbol, args.timeframe)
    return [quarantine_report(manager._services.client, key) for key in keys]


def _details(reports: Sequence[QuarantineReport]) -> Shown:
    names = ["time", "open#", "high#", "low#", "close#", "volume#", "why"]
    for lane in reports:
        rows = [
            [moment(iso(bar.stamp_ms)), *(f"{value:g}" for value in bar[1:6]), sentence(reason)]
            for bar, reason in lane.rows[-_SHOWN:]
        ]
        title = f"{name_of(lane.key)} · {counted(len(lane.rows), 'row')}, {counted(len(lane.files), 'file')}"
        yield TextTable(names, rows, title) if rows else styled(title, "bold")
        if len(lane.rows) > len(rows):
            yield styled(f"the newest {len(rows)} are shown; --json lists all", "dim")
        for name, reason in lane.files:
            yield Line(f"  {name}: {reason}")


def _restore(args: argparse.Namespace) -> Report:
    manager = manager_of(args)
    done, remaining, document = 0, 0, []
    for key in chosen(manager, args.symbol, args.timeframe):
        bars, stay = restore(manager._services, key)
        done, remaining = done + len(bars), remaining + len(stay)
        document.append({"series": name_of(key), "restored": len(bars), "left": len(stay)})
    text = f"restored: {counted(done, 'bar')}; still quarantined: {counted(remaining, 'row')}"
    return Report(document, lambda: [styled(text, "bold")])


def _purge(args: argparse.Namespace) -> Report:
    if args.all == bool(args.symbol):
        raise QueryError("give either a symbol, or --all for every series")
    manager = manager_of(args)
    keys = chosen(manager, args.symbol, args.timeframe)
    purged, problems = manager.cache.maintenance.purge_quarantine(keys, dry_run=args.dry_run)
    files, freed = (
        sum(result.files for result in purged),
        sum(result.file_bytes for result in purged),
    )
    document = {"files": files, "bytes": freed, "dry_run": args.dry_run}
    would = "would be deleted" if args.dry_run else "deleted"
    summary = f"{would}: {counted(files, 'file')}, {size(freed)}"
    return Report(
        document | {"problems": problems_json(problems)},
        lambda: [styled(summary, "bold"), *problems_shown(problems)],
        ok=not problems,
    )
