"""``onetape cache quarantine list | show | restore | purge``: quarantined rows and files."""

from __future__ import annotations

import argparse

from ..core.model.display.texts import series_name
from ..errors import QueryError
from ..jobs.validation.quarantine import QuarantineReport, quarantine_report, restore
from .arguments import Actions, add_series, option
from .cached import chosen, manager_of, named, problem_rows, problems_shown
from .result import Line, Report, Shown
from .tables import counted, size, styled, table

_SHOWN = 50


def configure(actions: Actions) -> None:
    """Add these actions to ``onetape cache``."""
    text = "invalid rows and damaged files, quarantined with the reason"
    actions = Actions(actions.nest("quarantine", text))
    purge = actions.add(_purge)
    for action in (actions.add(_list), purge):
        add_series(action, optional=True)
    for action in (actions.add(_show), actions.add(_restore)):
        option(action, "symbol")
        option(action, "timeframe?", "default: all timeframes")
    option(purge, "--all", "purge every series")
    option(purge, "--dry-run", "show what would be deleted")


def _reports(args: argparse.Namespace) -> list[QuarantineReport]:
    """Return each requested series' quarantined rows and files."""
    manager = manager_of(args)
    keys = chosen(manager, args.symbol, args.timeframe)
    return [quarantine_report(manager._services.client, key) for key in keys]


def _list(args: argparse.Namespace) -> Report:
    """List each series with its quarantined rows and files."""
    return Report.rows(
        [report for report in _reports(args) if report.rows or report.files],
        "symbol timeframe lane? rows# files# reasons?",
        empty="no rows or files of bars are quarantined",
    )


def _show(args: argparse.Namespace) -> Report:
    """Show every row and file, with the reason."""
    document = [report.to_json(details=True) for report in _reports(args)]

    def shown() -> Shown:
        """Yield the newest rows and all files of each series."""
        for series in document:
            rows, files = series["rows_kept"], series["files_kept"]
            title = f"{series_name(series)} · {counted(len(rows), 'row')}, {counted(len(files), 'file')}"
            columns = "timestamp open# high# low# close# volume# reason"
            yield table(rows[-_SHOWN:], columns, title) if rows else styled(title, "bold")
            if len(rows) > _SHOWN:
                yield styled(f"the newest {_SHOWN} are shown; --json lists all", "dim")
            for file in files:
                yield Line(f"  {file['file']}: {file['reason']}")

    return Report(document, shown)


def _restore(args: argparse.Namespace) -> Report:
    """Put back bars that their vendor withdrew, if no bar is stored at their time."""
    manager = manager_of(args)
    rows = []
    for key in chosen(manager, args.symbol, args.timeframe):
        bars, stay = restore(manager._services, key)
        rows.append(named(key) | {"restored": len(bars), "left": len(stay)})
    return Report.rows(rows, "symbol timeframe lane? restored# left#")


def _purge(args: argparse.Namespace) -> Report:
    """Delete quarantined rows and files for good, including bars that vendors withdrew."""
    if args.all == bool(args.symbol):
        raise QueryError("give either a symbol, or --all for every series")
    manager = manager_of(args)
    keys = chosen(manager, args.symbol, args.timeframe)
    purged, problems = manager.cache.maintenance.purge_quarantine(keys, dry_run=args.dry_run)
    files = sum(result.files for result in purged)
    freed = sum(result.file_bytes for result in purged)
    would = "would be deleted" if args.dry_run else "deleted"
    summary = styled(f"{would}: {counted(files, 'file')}, {size(freed)}", "bold")
    document = {"files": files, "bytes": freed, "dry_run": args.dry_run}
    return Report(
        document | {"problems": problem_rows(problems)},
        [summary, *problems_shown(problems)],
        ok=not problems,
    )
