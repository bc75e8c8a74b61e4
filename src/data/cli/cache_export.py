"""``onetape cache export``: bars as files for other programs; no vendor is queried."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CacheError, QueryError
from .arguments import Actions, add_adjustment, add_series, add_span, option
from .cached import check_folder, chosen
from .result import Report
from .tables import counted, styled

if TYPE_CHECKING:
    from ..core.model.identity.series import SeriesKey
    from ..jobs.export.export import ExportedFile, ExportOptions

_COLUMNS = "symbol timeframe lane? rows# first? last? left_out! missing#! first_gap? problem! path"


def configure(actions: Actions) -> None:
    """Add this action, with its options, to ``onetape cache``."""
    export = actions.add(_export)
    add_series(export, optional=True)
    option(export, "--out FILE", "output file (.gz: compressed CSV)")
    option(export, "--all DIR", "export every series to this folder, one file each")
    option(export, "--format", "default: from the file name, else csv", choices=("csv", "parquet"))
    option(
        export,
        "--for",
        "write the files of freqtrade below its data folder, such as user_data/data",
        nargs=2,
        dest="tool",
        metavar=("freqtrade", "DIR"),
    )
    add_span(export)
    option(
        export,
        "--lane KIND",
        "such as raw, extended or a vendor; default: the usual lane of the series",
    )
    prices = export.add_mutually_exclusive_group()
    add_adjustment(prices)
    export.set_defaults(adjustment=None)
    option(prices, "--raw", "write the prices as stored, whatever their adjustment")


def _export(args: argparse.Namespace) -> Report:
    """Write bars to CSV or Parquet; sends no request."""
    if args.tool:
        return _for_freqtrade(args)
    from ..core.wiring import build
    from ..jobs.export.export import Exporter
    from ..jobs.run.other_hosts import pull_elsewhere

    is_one = bool(args.symbol and args.timeframe and args.out)
    if is_one == bool(args.all) or (args.all and (args.symbol or args.out or args.lane)):
        raise QueryError("give either SYMBOL TIMEFRAME --out FILE, or --all DIR")
    if "-" in (args.out, args.all):
        raise QueryError(
            "cannot export to standard output: '-'",
            hint="name a file, or use `onetape fetch SYMBOL TIMEFRAME --offline --csv -`",
        )
    check_folder(args)
    services = build(args.cache_dir, args.config)
    exporter = Exporter.of(services)
    if args.all:
        pull_elsewhere(services.cache.store)
        keys, folder = services.cache.maintenance.series(), Path(args.all)
        done = exporter.write_all(keys, folder, _wanted_bars(args))
    else:
        key = _requested_series(services, args)
        done = [exporter.write(key, Path(args.out), _wanted_bars(args))]
    notes = [f"incomplete: {f.key}: {'; '.join(f.faults)}" for f in done if f.faults]
    ok = not (notes or any(file.problem for file in done))
    bars = sum(file.rows for file in done if not file.problem)
    no_bars = f"there are no bars in {services.cache.cache_dir}"
    return _files_report(done, f", {counted(bars, 'bar')}", no_bars, notes=notes, ok=ok)


def _files_report(done: Sequence[ExportedFile], more: str, empty: str, **others: Any) -> Report:
    files = counted(sum(not file.problem for file in done), "file")
    below = [styled(f"written: {files}{more}", "bold")] if done or not empty else []
    return Report.rows(done, _COLUMNS, empty=empty, below=below, **others)


def _for_freqtrade(args: argparse.Namespace) -> Report:
    """Write files in another tool's format, and report the bars that are left out."""
    from ..core.wiring import build
    from ..jobs.export.export import Exporter
    from ..jobs.export.export_freqtrade import write_files
    from ..jobs.run.other_hosts import pull_elsewhere

    tool, folder = args.tool
    others = ("out", "all", "format", "start", "end", "lane", "raw", "adjustment")
    if tool != "freqtrade":
        raise QueryError(f"cannot export for {tool!r}", hint="known: freqtrade")
    if folder.startswith("--"):  # the parser of Python 3.15 takes an option for the folder
        raise QueryError("argument --for: expected 2 arguments", hint="freqtrade DIR")
    if refused := [name for name in others if getattr(args, name)]:
        raise QueryError(
            f"--{refused[0]} cannot be combined with --for", hint="give only symbol and timeframe"
        )
    check_folder(args)
    services = build(args.cache_dir, args.config)
    if not args.symbol:
        pull_elsewhere(services.cache.store)
    keys = services.cache.maintenance.series()
    if args.symbol:
        keys = chosen(services, args.symbol, args.timeframe)
    done = write_files(Exporter.of(services), keys, Path(folder))
    gaps = sum(file.missing > 0 for file in done if file.path)
    note = f"{counted(gaps, 'file')} with missing bars, which freqtrade fills with flat ones"
    is_whole = any(file.path for file in done) and not any(file.is_failed for file in done)
    return _files_report(done, "", "", notes=[note] if gaps else (), ok=is_whole and not gaps)


def _wanted_bars(args: argparse.Namespace) -> ExportOptions:
    from ..jobs.export.export import ExportOptions

    is_parquet = Path(args.out or "").suffix.lower() == ".parquet"
    return ExportOptions(
        args.start,
        args.end,
        None if args.raw else args.adjustment or "split",
        args.format or ("parquet" if is_parquet else "csv"),
    )


def _requested_series(services: Any, args: argparse.Namespace) -> SeriesKey:
    """Return the requested series, in the lane (bars of one kind and source) named by ``--lane``."""
    keys = chosen(services, args.symbol, args.timeframe)
    candidates = keys if args.lane else services.client.answering(keys)
    lane = next((key for key in candidates if not args.lane or key.lane_label == args.lane), None)
    if lane is None:
        lanes = ", ".join(key.lane_label or "(none)" for key in keys)
        raise CacheError(
            f"{args.symbol} {args.timeframe} has no bars in "
            + (f"lane {args.lane!r}" if args.lane else "its usual lane"),
            symbol=args.symbol,
            hint=f"--lane accepts: {lanes}",
        )
    return lane
