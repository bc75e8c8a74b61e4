"""``onetape cache``: what is held, series by series, and deleting parts of it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from . import FAILED, OK
from .arguments import add_output, add_places
from .output import complain, console, print_json
from .tables import Grid, counted, moment, size, styled

if TYPE_CHECKING:
    from ..cache.store import SeriesView
    from ..data_manager import DataManager
    from ..model.coverage import Covered

_BYTES_IN_GB = 1024**3


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = actions.add_parser("stats", help="size, files, newest change")
    shown = actions.add_parser("list", help="every series with its range, bars and vendors")
    info = actions.add_parser("info", help="what is known of one series, and from whom")
    clear = actions.add_parser("clear", help="delete bars")
    info.add_argument("symbol")
    info.add_argument("timeframe")
    clear.add_argument("symbol", nargs="?")
    clear.add_argument("timeframe", nargs="?")
    clear.add_argument("--all", action="store_true", help="delete every series")
    for action, work in ((stats, _stats), (shown, _list), (info, _info), (clear, _clear)):
        add_output(action)
        add_places(action)
        action.set_defaults(run=work)


def _manager(args: argparse.Namespace) -> DataManager:
    from ..data_manager import DataManager

    return DataManager(args.cache_dir, args.config)


def _stats(args: argparse.Namespace) -> int:
    cache = _manager(args).cache
    told = {"cache_dir": str(cache.cache_dir), **cache.get_stats()}
    if args.json:
        print_json(told)
        return OK
    limit = told["max_size_gb"]
    rows = [
        ["folder", told["cache_dir"]],
        ["size", size(told["total_size_gb"] * _BYTES_IN_GB)],
        ["limit", f"{limit:g} GB" if limit else "none"],
        ["symbols", f"{told['symbols_count']:,}"],
        ["series", f"{told['series_count']:,}"],
        ["bars", f"{told['bars_count']:,}"],
        ["data files", f"{told['files_count']:,}"],
        ["last updated", moment(told["last_updated"])],
    ]
    console().print(Grid(["cache", ""], rows))
    return OK


# --- list ------------------------------------------------------------------------------------


def _list(args: argparse.Namespace) -> int:
    manager = _manager(args)
    entries = _entries(manager, _keys(manager))
    if args.json:
        print_json(entries)
        return OK
    if not entries:
        console().print(f"no bars in {manager.cache.cache_dir}", soft_wrap=True)
        return OK
    rows = [
        [e["symbol"], e["timeframe"], e["lane"] or "-", f"{e['rows']:,}",
         ", ".join(e["vendors"]) or "-", moment(e["first"]), moment(e["last"]),
         moment(e["updated"]), e["problem"]]
        for e in entries
    ]  # fmt: skip
    names = ["symbol", "timeframe", "kind?", "bars#", "from?", "first?", "last", "updated?"]
    has_problems = any(e["problem"] for e in entries)
    names += ["problem"] if has_problems else []
    console().print(Grid(names, [row[: len(names)] for row in rows]))
    return FAILED if has_problems else OK


def _keys(manager: DataManager) -> list[Any]:
    """Return every series that is held, in all its lanes, older tools' among them."""
    from ..model.series import SeriesKey
    from ..model.timeframe import Timeframe

    cache = manager.cache
    listed = [SeriesKey(symbol, Timeframe.parse(label))
              for symbol in cache.list_symbols() for label in cache.list_timeframes(symbol)]  # fmt: skip
    return list(dict.fromkeys([*cache.store.keys(), *listed]))


def _entries(manager: DataManager, keys: list[Any]) -> list[dict[str, Any]]:
    """Return one plain entry for each series; one that cannot be read says why."""
    from ..errors import DataError

    found = []
    for key in keys:
        entry = {
            "symbol": key.symbol, "timeframe": key.timeframe.label, "lane": key.lane_label,
            "rows": 0, "first": None, "last": None, "vendors": [], "updated": None, "problem": "",
        }  # fmt: skip
        try:
            entry |= _facts(manager.cache.store.view(key))
        except DataError as error:
            entry["problem"] = str(error)
        found.append(entry)
    return found


def _facts(view: SeriesView) -> dict[str, Any]:
    from ..model.instant import iso

    with_bars = [part for part in view.coverage if part.state != "empty"]
    updated = max((part.fetched_at for part in view.coverage), default=0)
    return {
        "rows": view.rows,
        "first": None if view.first is None else iso(view.first),
        "last": None if view.last is None else iso(view.last),
        "vendors": sorted({part.vendor for part in with_bars if part.vendor}),
        "updated": iso(updated // 1000 * 1000) if updated else None,
    }


# --- info ------------------------------------------------------------------------------------


def _info(args: argparse.Namespace) -> int:
    manager = _manager(args)
    symbol, frame = _meant(manager, args.symbol), _label(args.timeframe)
    keys = [k for k in _keys(manager) if (k.symbol, k.timeframe.label) == (symbol, frame)]
    if not keys:
        complain(f"nothing is cached of {symbol} {frame}", ["`onetape cache list` shows what is"])
        return FAILED
    told = [
        {**entry, "spans": [_span(part) for part in manager.cache.store.view(key).coverage]}
        for key, entry in zip(keys, _entries(manager, keys), strict=True)
    ]
    years = {y: manager.cache.get_data_info(symbol, frame, y)
             for y in manager.cache.list_years(symbol, frame)}  # fmt: skip
    if args.json:
        print_json({"series": told, "years": years})
        return OK
    for entry in told:
        _show_series(entry)
    return OK


def _span(part: Covered) -> dict[str, Any]:
    from ..model.instant import iso

    return {
        "start": iso(part.span.start), "end": iso(part.span.end), "state": part.state,
        "vendor": part.vendor, "reason": part.reason, "basis": part.basis.to_json(),
        "fetched_at": iso(part.fetched_at // 1000 * 1000) if part.fetched_at else None,
        "expires": iso(part.expires) if part.expires else None,
    }  # fmt: skip


def _show_series(entry: dict[str, Any]) -> None:
    lane = f" {entry['lane']}" if entry["lane"] else ""
    title = f"{entry['symbol']} {entry['timeframe']}{lane} · {counted(entry['rows'], 'bar')}"
    rows = [
        [moment(s["start"]), moment(s["end"]), s["state"], s["vendor"] or "-",
         "-" if s["state"] == "empty" else s["basis"]["adjustment"], moment(s["fetched_at"]),
         s["reason"]]
        for s in entry["spans"]
    ]  # fmt: skip
    names = ["from", "up to", "state", "vendor", "prices?", "fetched?", "why?"]
    screen = console()
    screen.print(Grid(names, rows, title))
    screen.print()


# --- clear -----------------------------------------------------------------------------------


def _clear(args: argparse.Namespace) -> int:
    from ..errors import QueryError

    if args.all == bool(args.symbol):
        raise QueryError("name a symbol, or say --all to delete every series, and not both")
    manager = _manager(args)
    symbol = _meant(manager, args.symbol) if args.symbol else None
    frame = _label(args.timeframe) if args.timeframe else None
    doomed = [
        key for key in _keys(manager)
        if symbol in (None, key.symbol) and frame in (None, key.timeframe.label)
    ]  # fmt: skip
    what = " ".join(filter(None, (symbol, frame))) or "anything"
    if not doomed and not args.all:
        complain(f"nothing is cached of {what}", ["`onetape cache list` shows what is"])
        return FAILED
    entries = _entries(manager, doomed)
    manager.cache.clear(symbol, frame)
    bars = sum(entry["rows"] for entry in entries)
    if args.json:
        print_json({"deleted": entries, "bars": bars})
    else:
        gone = f"deleted: {counted(len(entries), 'series')}, {counted(bars, 'bar')}"
        console().print(styled(gone, "bold"))
    return OK


def _meant(manager: DataManager, text: str) -> str:
    """Return the cached symbol that is meant: as it lies there, or as it is understood."""
    if text in manager.cache.list_symbols():
        return text
    return manager.provider_selector.instrument(text).symbol


def _label(text: str) -> str:
    from ..model.timeframe import Timeframe

    return Timeframe.parse(text).label
