"""``onetape bundle``: answers as folders of Parquet files, compared with the cache behind them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from ..errors import BundleError, DataError, QueryError
from ..model.instant import date_of, iso
from .arguments import add_adjustment, add_session, add_timeout, command, flag
from .cached import manager_of
from .migrate import configure_bundle
from .report import Line, Report, Shown
from .tables import TextTable, counted, moment, titled

if TYPE_CHECKING:
    from ..layer.bundle import Bundle, BundleChange

_YEARS_KEPT = 5
_MOST_LINES = 12
_MOST_TEXT = 80
_STYLES = {"current": "green", "stale": "yellow", "foreign": "", "corrupt": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="write the bars of some symbols to a bundle")
    create.add_argument("name", help="letters, digits, '.', '_' and '-'")
    create.add_argument("symbols", nargs="+", metavar="symbol", help="such as AAPL, BTCUSDT")
    create.add_argument("timeframe", help="such as 1m, 1h, 1d; applies to all symbols")
    create.add_argument("--start", help="date (whole session) or UTC time, inclusive")
    create.add_argument(
        "--end",
        help="date or UTC time, inclusive; default: now, and the time of each later refresh",
    )
    create.add_argument("--provider", help="use only this vendor")
    add_adjustment(create)
    add_session(create)
    flag(create, "--offline", "use only the cache; send no request")
    listed = actions.add_parser("list", help="list all bundles with bars, range and size")
    info = actions.add_parser(
        "info", help="show where the bars of a bundle come from, symbol by symbol"
    )
    validate = actions.add_parser(
        "validate",
        help=("compare the files with their digests and the bars with the cache; sends no request"),
    )
    refresh = actions.add_parser("refresh", help="update a bundle to the current answer")
    flag(refresh, "--offline", "use only the cache; send no request")
    configure_bundle(
        actions.add_parser(
            "migrate", help="write the bars in HDF5 files to bundles, or undo that within 7 days"
        )
    )
    clean = actions.add_parser("clean", help="drop old partitions of a bundle, or the whole bundle")
    clean.add_argument(
        "--before",
        metavar="DAY",
        help=f"drop partitions that end before this date (default: {_YEARS_KEPT} years ago)",
    )
    flag(clean, "--all", "remove the whole bundle")
    flag(clean, "--dry-run", "only show what would be removed")
    add_timeout(create)
    add_timeout(refresh)
    for action in (info, validate, refresh, clean):
        action.add_argument("name")
    works: tuple[tuple[argparse.ArgumentParser, Callable[[argparse.Namespace], Report]], ...] = (
        (create, _create),
        (listed, _list),
        (info, _info),
        (validate, _validate),
        (refresh, _refresh),
        (clean, _clean),
    )
    for action, work in works:
        action.add_argument("--bundles", metavar="DIR", help="bundle folder")
        command(action, work)


def _bundle(args: argparse.Namespace) -> Bundle:
    from ..layer.bundle import Bundle

    return Bundle(args.name, args.bundles)


def _create(args: argparse.Namespace) -> Report:
    bundle = _bundle(args)
    outcome = bundle.create(
        manager_of(args, makes_folder=True),
        args.symbols,
        args.timeframe,
        args.start,
        args.end,
        adjustment=args.adjustment,
        provider=args.provider,
        session=args.session,
        offline=args.offline,
        timeout=args.timeout,
    )
    return _report(bundle, outcome, "written")


def _refresh(args: argparse.Namespace) -> Report:
    bundle = _bundle(args)
    manager = manager_of(args)
    outcome = bundle.refresh(manager, offline=args.offline, timeout=args.timeout)
    if bundle.records().origin.request is None:  # an only copy, which nothing can make again
        outcome = outcome._replace(failed={p.place: p.what for p in bundle.validate()})
    return _report(bundle, outcome, "written")


def _report(bundle: Bundle, outcome: BundleChange, verb: str) -> Report:
    document = {
        "bundle": bundle.name,
        "path": str(bundle.path),
        "written": list(outcome.written),
        "failed": dict(outcome.failed),
        "rounded": outcome.rounded,
        "widened": outcome.widened,
    }

    def shown() -> Iterator[Any]:
        """Yield the lines for a terminal."""
        text = counted(len(outcome.written), "partition")
        yield titled(bundle.name, f"{text} {verb}" if outcome.written else "nothing has changed")
        yield Line(str(bundle.path), "dim")
        if outcome.rounded:
            yield f"values with more than eight decimals, which were rounded: {outcome.rounded:,}"
        if outcome.widened:
            yield "volumes are stored as Decimal(38, 8): at least one does not fit into 18 digits"

    errors = [f"{symbol}: {reason}" for symbol, reason in outcome.failed.items()]
    return Report(document, shown, errors=errors, ok=not errors)


def _list(args: argparse.Namespace) -> Report:
    from ..layer.bundle import bundle_names
    from ..layer.catalog import BundleMetadata
    from ..layer.folder import bundles_folder

    # A bundle outside the folder is listed by the name it was registered under.
    folder = bundles_folder(args.bundles)
    bundles, errors = [], []
    for name in bundle_names(folder):
        try:
            bundles.append(replace(BundleMetadata.load(name, folder), bundle_name=name))
        except DataError as error:
            errors.append(error)
    document = {"folder": str(folder), "bundles": [bundle.as_dict() for bundle in bundles]}
    rows = [
        [
            bundle.bundle_name,
            bundle.frequency,
            f"{len(bundle.symbols):,}",
            f"{bundle.row_count:,}",
            _day(bundle.start_date),
            _day(bundle.end_date),
            bundle.source_type[:_MOST_TEXT],
            f"{bundle.size_bytes:,}",
        ]
        for bundle in bundles
    ]

    def shown() -> Iterator[Any]:
        """Yield the lines for a terminal."""
        yield Line(str(folder), "dim")
        if not rows and not errors:
            yield Line(
                "there are no bundles; create one with `onetape bundle create NAME SYMBOL... "
                "TIMEFRAME`"
            )
        elif rows:
            columns = ["name", "bars", "symbols#", "rows#", "first", "last", "source?", "bytes#?"]
            yield TextTable(columns, rows)

    return Report(document, shown, errors=errors, ok=not errors)


def _info(args: argparse.Namespace) -> Report:
    from ..layer.catalog import BundleMetadata

    bundle = _bundle(args)
    records = bundle.records()
    stored = replace(BundleMetadata.load(args.name, args.bundles), bundle_name=args.name)
    document = {
        **stored.as_dict(),
        "path": str(bundle.path),
        "request": records.origin.request,
        "sources": {name: asdict(source) for name, source in records.origin.symbols.items()},
        "files": {
            place: {"sha256": record.sha256, "rows": record.row_count, "bytes": record.size_bytes}
            for place, record in records.files.items()
        },
    }

    def shown() -> Shown:
        """Yield the lines for a terminal."""
        text = f"{stored.frequency}  {stored.row_count:,} bars for {counted(len(stored.symbols), 'symbol')}"
        yield titled(stored.bundle_name, text)
        yield Line(str(bundle.path), "dim")
        yield f"{_day(stored.start_date)} to {_day(stored.end_date)}, from {stored.source_type:.{_MOST_TEXT}}"
        yield f"written {moment(iso(records.origin.ingested_at))}, {counted(len(records.files), 'file')}"
        yield f"quality {stored.quality_score:.3f}, {stored.missing_data_pct:.2f} % of the bars missing"
        spans = records.spans()
        rows = [
            [
                symbol[:_MOST_TEXT],
                str(source.sid),
                f"{spans.get(source.sid, (0,))[0]:,}",
                source.lane or "-",
                str(source.generation or "-"),
                (source.fingerprint or "-")[:19],
            ]
            for symbol, source in records.origin.symbols.items()
        ]
        if rows:
            yield TextTable(
                ["symbol", "sid#", "bars#", "lane", "generation#?", "fingerprint?"], rows
            )

    return Report(document, shown)


def _validate(args: argparse.Namespace) -> Report:
    bundle = _bundle(args)
    state = bundle.state(manager_of(args))
    bundle.validate()  # it records the time
    document = {"bundle": bundle.name, "state": state.state, "causes": list(state.causes)}

    def shown() -> Iterator[Any]:
        """Yield the lines for a terminal."""
        yield titled(bundle.name, state.state, _STYLES[state.state])
        for cause in state.causes[:_MOST_LINES]:
            yield Line(f"  {cause}")
        if len(state.causes) > _MOST_LINES:
            yield f"  and {len(state.causes) - _MOST_LINES:,} more (--json lists all)"

    return Report(document, shown, ok=state.state in ("current", "foreign"))


def _clean(args: argparse.Namespace) -> Report:
    bundle = _bundle(args)
    if args.all and args.before:
        raise QueryError("--all and --before cannot be used together", hint="omit one of them")
    if args.all:
        return _remove(bundle, dry_run=args.dry_run)
    manager = manager_of(args)
    outcome = bundle.clean(manager, _drop_date(args.before, manager), dry_run=args.dry_run)
    return _report(bundle, outcome, "would be dropped" if args.dry_run else "dropped or rewritten")


def _remove(bundle: Bundle, *, dry_run: bool) -> Report:
    records = bundle.records()
    if records.origin.request is None:
        raise BundleError(
            (
                f"bundle {bundle.name} was written by user code and cannot be rebuilt, so it was "
                "not removed"
            ),
            hint=f"to remove it anyway, delete the folder {bundle.path} by hand",
        )
    if not dry_run:
        bundle.remove()
    text = "would be removed" if dry_run else "removed"
    document = {"bundle": bundle.name, "path": str(bundle.path), "removed": not dry_run}
    return Report(document, [titled(bundle.name, text)])


def _drop_date(text: str | None, manager: Any) -> date:
    """Return the date before which partitions are dropped.

    Raises:
        QueryError: The text is not a date.
    """
    if text is None:
        today = date_of(manager.client.clock.now_ms())
        return today.replace(year=today.year - _YEARS_KEPT, day=min(today.day, 28))
    try:
        return date.fromisoformat(text)
    except ValueError as exc:
        raise QueryError(
            f"invalid date {text!r}", hint="use YYYY-MM-DD, such as 2020-01-31"
        ) from exc


def _day(value: Any) -> str:
    return "-" if value is None else f"{value:%Y-%m-%d}"
