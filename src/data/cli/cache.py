"""``onetape cache``: lists cached series, maintains them, and deletes parts of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..errors import QueryError
from ..model.instant import iso
from ..model.reasons import sentence
from ..model.texts import proof_in_words
from ..model.timeframe import Timeframe
from . import cache_clean, cache_export, cache_maintenance, cache_quarantine
from .arguments import command, flag
from .cached import chosen, confirmations, entries, listed, listed_elsewhere, manager_of, meant
from .report import Line, Report, Shown
from .tables import TextTable, counted, moment, size, styled

if TYPE_CHECKING:
    from ..model.coverage import Covered

_BYTES_IN_GB = 1024**3
_DAYS_SHOWN = 14


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = actions.add_parser(
        "stats", help="size, files, newest change, damage and growth per day"
    )
    listed = actions.add_parser("list", help="list every series with its range, bars and vendors")
    info = actions.add_parser("info", help="describe one series: bars, vendors, gaps, years")
    cache_export.configure(actions)
    cache_maintenance.configure(actions)
    cache_clean.configure(actions)
    clear = actions.add_parser("clear", help="delete bars or, with --all, all bars and tables")
    flag(listed, "--check", "read every file and show the damage in each series")
    info.add_argument("symbol")
    info.add_argument("timeframe")
    clear.add_argument("symbol", nargs="?")
    clear.add_argument("timeframe", nargs="?")
    flag(clear, "--all", "delete every series, and tables such as funding rates")
    for action, work in ((stats, _stats), (listed, _list), (info, _info), (clear, _clear)):
        command(action, work)
    cache_quarantine.configure(actions)


def _stats(args: argparse.Namespace) -> Report:
    manager = manager_of(args)
    cache = manager.cache
    document = {"cache_dir": str(cache.cache_dir), **cache.overview()}
    others, notes = listed_elsewhere(manager)
    if others:
        document["series_elsewhere"] = len(others)
    return Report(document, _stats_shown(document), notes)


def _stats_shown(document: dict[str, Any]) -> Shown:
    limit, contradicted = document["max_size_gb"], document["contradicted_bars"]
    proof = proof_in_words(document["bars_count"], document["confirmed_bars"], contradicted)
    rows = [
        ["folder", document["cache_dir"]],
        ["size", size(document["total_size_gb"] * _BYTES_IN_GB)],
        ["limit", size(limit * _BYTES_IN_GB) if limit else "none"],
        ["symbols", f"{document['symbols_count']:,}"],
        ["series", f"{document['series_count']:,}{_elsewhere_text(document)}"],
        ["bars", f"{document['bars_count']:,}"],
        ["proof", styled(proof, "red" if contradicted else "")],
        ["data files", f"{document['files_count']:,}"],
        ["last updated", moment(document["last_updated"])],
        ["damage", _damage(document["health"])],
        *_quarantine_rows(document),
        *cache_clean.freeable_rows(document["freeable"]),
    ]
    yield TextTable(["cache", ""], rows)
    if document["growth"]:
        days = [_day(day) for day in document["growth"][-_DAYS_SHOWN:]]
        yield ""
        yield TextTable(["day", "bars#", "bytes#"], days)


def _elsewhere_text(stats: dict[str, Any]) -> str:
    count = stats.get("series_elsewhere")
    return f", and {count:,} that only other hosts have" if count else ""


def _damage(health: dict[str, Any]) -> Any:
    """Return a line about the damage found, with the number of files that were read."""
    read = f"{health['files_read']:,} of {counted(health['files_count'], 'file')} read"
    if not health["damaged_count"]:
        return f"none ({read})"
    more = f" and {health['damaged_count'] - 1:,} more" if health["damaged_count"] > 1 else ""
    return styled(f"{health['damage'][0]}{more} ({read}; see `onetape cache verify`)", "red")


def _quarantine_rows(stats: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the lines on quarantined bars, and on quarantined tables and fundamentals, if any."""
    rows, others = stats["quarantined_rows"], stats["quarantined_other_files"]
    files = stats["quarantined_files"] - others
    if not rows and not files:
        yield ["in quarantine", "nothing"]
    else:
        text = f"{counted(rows, 'row')}, {counted(files, 'file')}"
        yield ["in quarantine", f"{text} (see `onetape cache quarantine list`)"]
    if others:
        yield ["of other data", f"{counted(others, 'file')} in its `_quarantine` folders"]


def _day(day: dict[str, Any]) -> list[str]:
    sign = "-" if day["bytes"] < 0 else "+"
    return [day["date"], f"{day['bars']:+,}", f"{sign}{size(abs(day['bytes']))}"]


# --- list ------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> Report:
    manager = manager_of(args)
    document = listed(manager, check=args.check)
    others, notes = listed_elsewhere(manager)
    document += others
    if not document:
        none = Line(f"there are no bars in {manager.cache.cache_dir}")
        return Report(document, [none], notes)
    rows = [
        [
            e["symbol"],
            e["timeframe"],
            e["lane"] or "-",
            "not here yet" if e.get("elsewhere") else f"{e['rows']:,}",
            ", ".join(e["vendors"]) or "-",
            moment(e["first"]),
            moment(e["last"]),
            moment(e["updated"]),
            e["problem"],
        ]
        for e in document
    ]
    names = ["symbol", "timeframe", "kind?", "bars#", "from?", "first?", "last", "updated?"]
    has_problems = any(e["problem"] for e in document)
    names += ["problem"] if has_problems else []
    table = TextTable(names, [row[: len(names)] for row in rows])
    # Programs find the problem in each entry; for them the list itself is a success.
    return Report(document, [table], notes, ok=args.json or not has_problems)


# --- info ------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> Report:
    manager = manager_of(args)
    symbol, frame = meant(manager, args.symbol), Timeframe.parse(args.timeframe).label
    keys = chosen(manager, args.symbol, args.timeframe)
    document = [
        {
            **entry,
            "spans": [
                _span(covered) for covered in manager.cache.store.view(key).coverage.opened()
            ],
            "proof": [confirmation.to_json() for confirmation in confirmations(manager, key)],
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
        "reason": entry.reason,
        "basis": entry.basis.to_json(),
        "fetched_at": iso(entry.fetched_at // 1000 * 1000) if entry.fetched_at else None,
        "expires": iso(entry.expires) if entry.expires else None,
    }


def _series_shown(entry: dict[str, Any]) -> Shown:
    lane = f" {entry['lane']}" if entry["lane"] else ""
    title = f"{entry['symbol']} {entry['timeframe']}{lane} · {counted(entry['rows'], 'bar')}"
    rows = [
        [
            moment(s["start"]),
            moment(s["end"]),
            s["state"],
            s["vendor"] or "-",
            "-" if s["state"] == "empty" else s["basis"]["adjustment"],
            moment(s["fetched_at"]),
            sentence(s["reason"]),
        ]
        for s in entry["spans"]
    ]
    names = ["from", "up to", "state", "vendor", "prices?", "fetched?", "why?"]
    yield TextTable(names, rows, title)
    confirmed, contradicted = (
        sum(confirmation[name] for confirmation in entry["proof"])
        for name in ("confirmed", "contradicted")
    )
    text = proof_in_words(entry["rows"], confirmed, contradicted)
    yield styled(text, "red" if contradicted else "dim")
    for proof in (proof for proof in entry["proof"] if proof["contradicted"]):
        span = f"{moment(proof['start'])} .. {moment(proof['end'])}, first {moment(proof['first'])}"
        yield Line(f"  {proof['vendor']}, {span}: {proof['said']}", "red")
    yield ""


# --- clear -----------------------------------------------------------------------------------


def _clear(args: argparse.Namespace) -> Report:
    if args.all == bool(args.symbol):
        raise QueryError("give either a symbol, or --all to delete every series")
    manager = manager_of(args)
    doomed = chosen(manager, args.symbol, args.timeframe)
    deleted = entries(manager, doomed)
    others = manager.cache.maintenance.others() if args.all else []
    tables = sum(part.is_table for part in others)
    symbol = meant(manager, args.symbol) if args.symbol else None
    manager.cache.clear(symbol, Timeframe.parse(args.timeframe).label if args.timeframe else None)
    bars = sum(entry["rows"] for entry in deleted)
    summary = f"deleted: {counted(len(deleted), 'series')}, {counted(bars, 'bar')}"
    summary += f", {counted(tables, 'table')}" if tables else ""
    document = {"deleted": deleted, "bars": bars, "tables": tables}
    return Report(document, lambda: [styled(summary, "bold")])
