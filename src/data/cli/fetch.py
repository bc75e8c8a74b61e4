"""``onetape fetch``: bars of one symbol, in the terminal, as JSON, or as a file."""

from __future__ import annotations

import argparse
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import FAILED, OK
from .arguments import add_json, add_places
from .output import bars_table, chart, console, print_json, table

if TYPE_CHECKING:
    import pandas as pd


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("symbol", help="such as BTCUSDT, AAPL, BRK.B, VOD.L, ^VIX")
    parser.add_argument("timeframe", help="such as 1m, 1h, 1d, 1w, 1M")
    parser.add_argument("--start", help="date (whole session) or UTC time, included")
    parser.add_argument("--end", help="date (whole session) or UTC time, included; default: now")
    parser.add_argument("--bars", type=int, help="the last so many closed bars")
    parser.add_argument("--provider", help="ask this vendor only")
    parser.add_argument("--adjustment", choices=("raw", "split", "all"), default="split")
    parser.add_argument("--forming", action="store_true", help="add the bar not closed yet")
    parser.add_argument("--offline", action="store_true", help="use the cache alone")
    parser.add_argument("--strict", action="store_true", help="fail if anything is lacking")
    parser.add_argument("--refresh", action="store_true", help="ask for all of it again")
    parser.add_argument("--rows", type=int, default=10, help="rows to show (default 10)")
    parser.add_argument("--csv", metavar="FILE", help="write the bars as CSV (.gz compresses)")
    parser.add_argument("--parquet", metavar="FILE", help="write the bars as Parquet")
    add_json(parser)
    add_places(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Fetch and show."""
    from ..data_manager import DataManager

    manager = DataManager(args.cache_dir, args.config)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        frame = manager.get_ohlcv(
            args.symbol, args.timeframe, args.start, args.end, args.refresh, bars=args.bars,
            provider=args.provider, adjustment=args.adjustment, include_forming=args.forming,
            offline=args.offline, strict=args.strict,
        )  # fmt: skip
    seconds = time.perf_counter() - started
    written = _export(frame, args)
    told = frame.attrs["onetape"]
    if args.json:
        print_json({"provenance": told, "bars": _records(frame)})
        return OK
    _show(frame, told, args, seconds)
    for path in written:
        console().print(f"written: {path}")
    for warning in caught:
        console(stderr=True).print(f"[yellow]incomplete:[/] {warning.message}", soft_wrap=True)
    return OK if len(frame) else FAILED


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the bars as plain mappings with ISO stamps."""
    plain = frame.reset_index()
    plain["timestamp"] = plain["timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%SZ")
    return [{str(k): v for k, v in row.items()} for row in plain.to_dict(orient="records")]


def _export(frame: pd.DataFrame, args: argparse.Namespace) -> list[str]:
    """Write the files asked for; a failed write leaves no half file behind."""
    from ..disk.export import export_csv, export_parquet

    written = []
    if args.csv:
        written.append(str(export_csv(frame, Path(args.csv))))
    if args.parquet:
        written.append(str(export_parquet(frame, Path(args.parquet))))
    return written


def _show(
    frame: pd.DataFrame, told: dict[str, Any], args: argparse.Namespace, seconds: float
) -> None:
    screen = console()
    screen.print(f"[bold]{told['symbol']} {told['timeframe']}[/]  {headline(told, seconds)}")
    if len(frame):
        for line in chart(list(frame["close"])):
            screen.print(f"[cyan]{line}[/]")
        screen.print(bars_table(frame, max(args.rows, 2)))
    if told["attempts"]:
        screen.print(attempts_table(told))
    for gap in told["gaps"][:5]:
        screen.print(f"  gap {gap['start']} .. {gap['end']}: {gap['reason']}", soft_wrap=True)


def headline(told: dict[str, Any], seconds: float) -> str:
    """Return one line about an answer: bars, vendors, share from the cache, time."""
    vendors = ", ".join(told["vendors"]) or "nobody"
    cached = f"{told['from_cache']:.0%} from cache" if told["rows"] else "nothing"
    substitute = f" · SUBSTITUTE {told['substitute']}" if told["substitute"] else ""
    return (
        f"{told['rows']:,} bars from {vendors} · {cached} · {told['adjustment']} prices · "
        f"{seconds * 1000:,.1f} ms{substitute}"
    )


def attempts_table(told: dict[str, Any]) -> Any:
    """Return who was asked in this call, and how it ended."""
    rows = [
        [a["provider"], a["start"], a["end"], a["rows"], a["requests"], f"{a['seconds']:.2f}",
         a["outcome"] if a["outcome"] == "ok" else f"{a['outcome']}: {a['message'][:160]}"]
        for a in told["attempts"]
    ]  # fmt: skip
    columns = ["vendor", "from", "to", "bars#", "requests#", "seconds#", "outcome"]
    return table("asked now", columns, rows)
