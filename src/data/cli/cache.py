"""``onetape cache``: lists cached series, maintains them, and deletes parts of them."""

from __future__ import annotations

import argparse
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ..core.model.display.texts import series_name
from ..core.model.time.instant import iso
from ..core.model.time.timeframe import Timeframe
from ..errors import DataError, QueryError
from . import cache_clean, cache_export, cache_maintenance, cache_quarantine
from .arguments import Actions, add_series, add_which, option
from .cached import chosen, entries, listed, listed_elsewhere, manager_of, meant
from .result import Report, Shown
from .tables import counted, fields, size, styled, table

if TYPE_CHECKING:
    from ..core.model.stored.coverage import Covered

EXAMPLES = ("cache list", "cache export AAPL 1d --out aapl.parquet")
SENDS_REQUESTS = False

_BYTES_IN_GB = 1024**3
_DAYS_SHOWN = 14


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    actions.add(_stats)
    option(actions.add(_list), "--check", "read every file and show the damage in each series")
    add_series(actions.add(_info))
    cache_export.configure(actions)
    cache_maintenance.configure(actions)
    cache_clean.configure(actions)
    add_which(actions.add(_clear), "delete every series, and tables such as funding rates")
    cache_quarantine.configure(actions)


def _stats(args: argparse.Namespace) -> Report:
    """Show size, files, newest change, damage and growth per day."""
    manager = manager_of(args)
    cache = manager.cache
    document = {"cache_dir": str(cache.cache_dir), **cache.overview()}
    others, notes = listed_elsewhere(manager)
    if others:
        document["series_elsewhere"] = len(others)
    return Report(document, _stats_shown(document), notes)


def _stats_shown(document: dict[str, Any]) -> Shown:
    limit = document["max_size_gb"]
    elsewhere = document.get("series_elsewhere")
    series = f"{document['series_count']:,}"
    rows, others = document["quarantined_rows"], document["quarantined_other_files"]
    files = document["quarantined_files"] - others
    aside = (
        f"{counted(rows, 'row')}, {counted(files, 'file')} (see `onetape cache quarantine list`)"
    )
    other_files = f"{counted(others, 'file')} in its `_quarantine` folders"
    damage = document["health"]["damaged_count"]
    facts = {
        "folder": document["cache_dir"],
        "size": size(document["total_size_gb"] * _BYTES_IN_GB),
        "limit": size(limit * _BYTES_IN_GB) if limit else "none",
        "symbols": document["symbols_count"],
        "series": f"{series}, and {elsewhere:,} that only other hosts have"
        if elsewhere
        else series,
        "bars": document["bars_count"],
        "data files": document["files_count"],
        "last updated": document["last_updated"],
        "damage": _damage(document["health"]),
        "in quarantine": aside if rows or files else "nothing",
        "of other data": other_files if others else None,
        **cache_clean.freeable(document["freeable"]),
    }
    styles = {"damage": "red" if damage else ""}
    yield fields(facts, styles=styles)
    if document["growth"]:
        yield ""
        yield table(document["growth"][-_DAYS_SHOWN:], "date bars# bytes#")


def _damage(health: dict[str, Any]) -> str:
    """Return a line about the damage found, with the number of files that were read."""
    read = f"{health['files_read']:,} of {counted(health['files_count'], 'file')} read"
    if not health["damaged_count"]:
        return f"none ({read})"
    more = f" and {health['damaged_count'] - 1:,} more" if health["damaged_count"] > 1 else ""
    return f"{health['damage'][0]}{more} ({read}; see `onetape cache verify`)"


def _list(args: argparse.Namespace) -> Report:
    """List every series with its range, bars and vendors."""
    manager = manager_of(args)
    others, notes = listed_elsewhere(manager)
    rows = listed(manager, check=args.check) + others
    return Report.rows(
        rows,
        "symbol timeframe lane? rows# vendors? first? last updated? elsewhere! problem!",
        empty=f"there are no bars in {manager.cache.cache_dir}",
        notes=notes,
        # Programs find the problem in each entry; for them the list itself is a success.
        ok=args.json or not any(row["problem"] for row in rows),
    )


# --- info ------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> Report:
    """Describe one series: bars, vendors, gaps, years."""
    manager = manager_of(args)
    symbol, frame = meant(manager, args.symbol), Timeframe.parse(args.timeframe).label
    keys = chosen(manager, args.symbol, args.timeframe)
    document = [
        {
            **entry,
            "spans": [
                _span(covered) for covered in manager.cache.store.view(key).coverage.opened()
            ],
        }
        for key, entry in zip(keys, entries(manager, keys), strict=True)
    ]
    years = {
        y: manager.cache.get_data_info(symbol, frame, y)
        for y in manager.cache.list_years(symbol, frame)
    }
    items = (item for entry in document for item in _series_shown(entry))
    return Report({"series": document, "years": years}, items)


def _span(entry: Covered) -> dict[str, Any]:
    return {
        "start": iso(entry.span.start),
        "end": iso(entry.span.end),
        "state": entry.state,
        "vendor": entry.vendor,
        "adjustment": "" if entry.state == "empty" else entry.basis.adjustment,
        "reason": entry.reason,
        "basis": entry.basis.to_json(),
        "fetched_at": iso(entry.fetched_at // 1000 * 1000) if entry.fetched_at else None,
        "expires": iso(entry.expires) if entry.expires else None,
    }


def _series_shown(entry: dict[str, Any]) -> Shown:
    title = f"{series_name(entry)} · {counted(entry['rows'], 'bar')}"
    yield table(entry["spans"], "start end state vendor adjustment? fetched_at? reason?", title)
    yield ""


# --- clear -----------------------------------------------------------------------------------


def _clear(args: argparse.Namespace) -> Report:
    """Delete bars or, with --all, all bars and tables; forget series that have never had a bar."""
    from ..jobs.run.nights import forget

    if args.all == bool(args.symbol):
        raise QueryError("give either a symbol, or --all to delete every series")
    manager = manager_of(args)
    frame = Timeframe.parse(args.timeframe).label if args.timeframe else None
    forgotten = forget(manager._services, args.symbol, frame)
    keys = []
    with suppress(*[DataError] * bool(forgotten)):
        keys = chosen(manager, args.symbol, args.timeframe)
    deleted = entries(manager, keys)
    others = manager.cache.maintenance.others() if args.all else []
    tables = sum(part.is_table for part in others)
    if keys or args.all:
        manager.cache.clear(meant(manager, args.symbol) if args.symbol else None, frame)
    bars = sum(entry["rows"] for entry in deleted)
    summary = f"deleted: {counted(len(deleted), 'series')}, {counted(bars, 'bar')}"
    summary += f", {counted(tables, 'table')}" if tables else ""
    summary += f"; {forgotten:,} that never had a bar forgotten" if forgotten else ""
    document = {"deleted": deleted, "bars": bars, "tables": tables, "forgotten": forgotten}
    return Report(document, [styled(summary, "bold")])
