"""``onetape cache export``: bars as files for other programs; no vendor is queried."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CacheError, QueryError
from .arguments import add_adjustment, command, flag
from .cached import check_folder, chosen, name_of
from .report import Line, Report, Shown
from .tables import TextTable, counted, moment, styled

if TYPE_CHECKING:
    from ..jobs.export import ExportedFile, ExportOptions
    from ..model.series import SeriesKey


def configure(actions: Any) -> None:
    """Add this sub-command, with its options, to ``onetape cache``."""
    export = actions.add_parser("export", help="write bars to CSV or Parquet; sends no request")
    export.add_argument("symbol", nargs="?")
    export.add_argument("timeframe", nargs="?")
    export.add_argument("--out", metavar="FILE", help="output file (.gz: compressed CSV)")
    export.add_argument(
        "--all", metavar="DIR", help="export every series to this folder, one file each"
    )
    export.add_argument(
        "--format", choices=("csv", "parquet"), help="default: from the file name, else csv"
    )
    export.add_argument(
        "--for",
        nargs=2,
        dest="tool",
        metavar=("freqtrade", "DIR"),
        help="write the files of freqtrade below its data folder, such as user_data/data",
    )
    export.add_argument("--start", help="date (whole session) or UTC time, inclusive")
    export.add_argument("--end", help="date (whole session) or UTC time, inclusive")
    export.add_argument(
        "--lane",
        metavar="KIND",
        help="such as raw, extended or a vendor; default: the usual lane of the series",
    )
    prices = export.add_mutually_exclusive_group()
    add_adjustment(prices)
    export.set_defaults(adjustment=None)
    flag(prices, "--raw", "write the prices as stored, whatever their adjustment")
    command(export, _export)


def _export(args: argparse.Namespace) -> Report:
    if args.tool:
        return _for_freqtrade(args)
    from ..jobs.export import Exporter
    from ..jobs.other_hosts import pull_elsewhere
    from ..wiring import build

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
        done = exporter.write_all(
            services.cache.maintenance.series(), Path(args.all), _wanted_bars(args)
        )
    else:
        key = _requested_series(services, args)
        done = [exporter.write(key, Path(args.out), _wanted_bars(args))]
    document = [file.to_json() for file in done]
    no_bars = Line(f"there are no bars in {services.cache.cache_dir}")
    notes = [f"incomplete: {name_of(f.key)}: {'; '.join(f.faults)}" for f in done if f.faults]
    ok = not (notes or any(file.problem for file in done))
    return Report(document, _exports_shown(done) if done else [no_bars], notes, ok=ok)


def _for_freqtrade(args: argparse.Namespace) -> Report:
    """Write files in another tool's format, and report the bars that are left out."""
    from ..jobs.export import Exporter
    from ..jobs.export_freqtrade import write_files
    from ..jobs.other_hosts import pull_elsewhere
    from ..wiring import build

    tool, folder = args.tool
    others = ("out", "all", "format", "start", "end", "lane", "raw", "adjustment")
    if tool != "freqtrade":
        raise QueryError(f"cannot export for {tool!r}", hint="known: freqtrade")
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
    rows = [
        [
            name_of(file.key),
            f"{file.rows:,}",
            moment(file.first),
            moment(file.last),
            _left_out(file),
            f"{file.missing:,} from {moment(file.first_gap)}" if file.missing else "-",
            styled(file.problem, "red") if file.problem else file.path,
        ]
        for file in done
    ]
    names = ["series", "bars#", "first?", "last?", "left out", "missing", "file"]
    good = [file for file in done if file.path]
    gaps = sum(file.missing > 0 for file in good)
    notes = [f"{counted(gaps, 'file')} with missing bars, which freqtrade fills with flat ones"]
    return Report(
        [file.to_json() for file in done],
        [TextTable(names, rows), styled(f"written: {counted(len(good), 'file')}", "bold")],
        notes=notes if gaps else (),
        ok=bool(good) and not gaps and not any(file.is_failed for file in done),
    )


def _left_out(file: ExportedFile) -> str:
    return ", ".join(f"{count:,} {reason}" for reason, count in file.left_out.items()) or "-"


def _wanted_bars(args: argparse.Namespace) -> ExportOptions:
    from ..jobs.export import ExportOptions

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


def _exports_shown(done: list[ExportedFile]) -> Shown:
    rows = [
        [
            name_of(file.key),
            f"{file.rows:,}",
            moment(file.first),
            moment(file.last),
            _left_out(file),
            styled(file.problem, "red") if file.problem else file.path,
        ]
        for file in done
    ]
    yield TextTable(["series", "bars#", "first?", "last?", "left out", "file"], rows)
    good = [file for file in done if not file.problem]
    summary = f"written: {counted(len(good), 'file')}, {counted(sum(f.rows for f in good), 'bar')}"
    yield styled(summary, "bold")
