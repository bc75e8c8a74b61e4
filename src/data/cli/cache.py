"""``onetape cache``: what is held, series by series, and deleting parts of it."""

from __future__ import annotations

import argparse
from typing import Any

from . import FAILED, OK
from .arguments import add_json, add_places
from .output import console, print_json, table


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the sub-commands."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    stats = actions.add_parser("stats", help="size, files, newest change")
    shown = actions.add_parser("list", help="every series with its years, bars and vendors")
    info = actions.add_parser("info", help="the metadata of one series")
    info.add_argument("symbol")
    info.add_argument("timeframe")
    clear = actions.add_parser("clear", help="delete bars")
    clear.add_argument("symbol", nargs="?")
    clear.add_argument("timeframe", nargs="?")
    clear.add_argument("--all", action="store_true", help="delete every series")
    for action, work in ((stats, _stats), (shown, _list), (info, _info), (clear, _clear)):
        add_json(action)
        add_places(action)
        action.set_defaults(run=work)


def _cache(args: argparse.Namespace) -> Any:
    from ..data_manager import DataManager

    return DataManager(args.cache_dir, args.config).cache


def _stats(args: argparse.Namespace) -> int:
    cache = _cache(args)
    stats = {"cache_dir": str(cache.cache_dir), **cache.get_stats()}
    if args.json:
        print_json(stats)
    else:
        console().print(table("cache", ["what", "value"], [[k, str(v)] for k, v in stats.items()]))
    return OK


def _series(cache: Any) -> list[dict[str, Any]]:
    """Return one plain entry for each series and year."""
    found = []
    for symbol in cache.list_symbols():
        for timeframe in cache.list_timeframes(symbol):
            for year in cache.list_years(symbol, timeframe):
                info = cache.get_data_info(symbol, timeframe, year) or {}
                found.append(
                    {"symbol": symbol, "timeframe": timeframe, "year": year, **_brief(info)}
                )
    return found


def _brief(info: dict[str, Any]) -> dict[str, Any]:
    files = info.get("file_info", {})
    return {
        "rows": files.get("rows", 0), "size_bytes": files.get("size_bytes", 0),
        "first": info.get("start_date"), "last": info.get("end_date"),
        "vendor": info.get("data_source"), "updated": info.get("last_updated"),
    }  # fmt: skip


def _list(args: argparse.Namespace) -> int:
    entries = _series(_cache(args))
    if args.json:
        print_json(entries)
        return OK
    rows = [
        [e["symbol"], e["timeframe"], e["year"], f"{e['rows']:,}", f"{e['size_bytes'] / 1024:,.1f}",
         e["first"] or "-", e["last"] or "-", e["vendor"] or "-"]
        for e in entries
    ]  # fmt: skip
    names = ["symbol", "timeframe", "year", "bars#", "KiB#", "first", "last", "vendor"]
    console().print(table("cached series", names, rows))
    return OK


def _info(args: argparse.Namespace) -> int:
    cache = _cache(args)
    years = cache.list_years(args.symbol, args.timeframe)
    if not years:
        console(stderr=True).print(f"nothing is cached of {args.symbol} {args.timeframe}")
        return FAILED
    print_json({str(y): cache.get_data_info(args.symbol, args.timeframe, y) for y in years})
    return OK


def _clear(args: argparse.Namespace) -> int:
    if not args.symbol and not args.all:
        console(stderr=True).print("name a symbol, or say --all to delete every series")
        return 2
    _cache(args).clear(args.symbol, args.timeframe)
    what = " ".join(filter(None, (args.symbol, args.timeframe))) or "every series"
    if not args.json:
        console().print(f"deleted: {what}")
    return OK
