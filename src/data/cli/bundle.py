"""``onetape bundle``: answers as folders of Parquet files, compared with the cache behind them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from typing import TYPE_CHECKING, Any

from ..core.config.terms import terms_of
from ..core.model.time.instant import date_of, iso
from ..errors import BundleError, DataError, QueryError
from . import ingest, lineage_command, migrate
from .arguments import Actions, add_span, add_timeout, given, option, usual
from .cached import manager_of
from .result import Line, Report, Shown
from .tables import counted, moment, table, titled

if TYPE_CHECKING:
    from ..research.bundles.bundle import Bundle, BundleChange

EXAMPLES = ("bundle create mine AAPL MSFT 1d --start 2020-01-01", "bundle validate mine")

_YEARS_KEPT = 5
_MOST_LINES = 12
_MOST_TEXT = 80
_STYLES = {"current": "green", "stale": "yellow", "foreign": "", "corrupt": "red"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's actions to its parser."""
    actions = Actions(parser)
    create = actions.add(_create)
    option(create, "name", "letters, digits, '.', '_' and '-'")
    option(create, "symbols+ symbol", "such as AAPL, BTCUSDT")
    option(create, "timeframe", "such as 1m, 1h, 1d; applies to all symbols")
    add_span(create)
    option(create, "--provider PROVIDER", "use only this vendor")
    usual(create, "adjustment session")
    listed = actions.add(_list)
    info, validate, refresh = actions.add(_info), actions.add(_validate), actions.add(_refresh)
    text = "write the bars in HDF5 files to bundles"
    migrate.configure_bundle(actions.nest("migrate", f"{text}, or undo that within 7 days"))
    migrate.configure(actions.nest("migrate-hdf5-to-parquet", text))
    text = "write bars from a source to a bundle, or list the sources"
    ingest.configure(actions.nest("ingest", text))
    text = "which bars a backtest read, and whether they are still the same"
    lineage_command.configure(actions.nest("lineage", text))
    clean = actions.add(_clean)
    text = f"drop partitions that end before this date (default: {_YEARS_KEPT} years ago)"
    option(clean, "--before DAY", text)
    option(clean, "--all", "remove the whole bundle")
    option(clean, "--dry-run", "only show what would be removed")
    for action in (info, validate, refresh, clean):
        option(action, "name")
    for action in (create, refresh):
        option(action, "--offline", "use only the cache; send no request")
        add_timeout(action)
    for action in (create, listed, info, validate, refresh, clean):
        option(action, "--bundles DIR", "bundle folder")


def _bundle(args: argparse.Namespace) -> Bundle:
    from ..research.bundles.bundle import Bundle

    return Bundle(args.name, args.bundles)


def _create(args: argparse.Namespace) -> Report:
    """Write the bars of some symbols to a bundle."""
    from ..research.bundles.request import DEFAULTS

    bundle = _bundle(args)
    what = args.symbols, args.timeframe, args.start, args.end
    options = given(args, " ".join(["offline timeout", *DEFAULTS]))
    outcome = bundle.create(manager_of(args, makes_folder=True), *what, **options)
    return _report(bundle, outcome, "written")


def _refresh(args: argparse.Namespace) -> Report:
    """Update a bundle to the current answer."""
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
    """List all bundles with bars, range and size."""
    from ..research.bundles.bundle import bundle_names
    from ..research.catalog.catalog import BundleMetadata
    from ..research.settings.folder import bundles_folder

    # A bundle outside the folder is listed by the name it was registered under.
    folder = bundles_folder(args.bundles)
    bundles, errors = [], []
    for name in bundle_names(folder):
        try:
            bundles.append(replace(BundleMetadata.load(name, folder), bundle_name=name).as_dict())
        except DataError as error:
            errors.append(error)

    def shown() -> Shown:
        """Yield the folder and its bundles."""
        yield Line(str(folder), "dim")
        if bundles:
            yield table(
                [bundle | {"symbols": len(bundle["symbols"])} for bundle in bundles],
                "bundle_name frequency symbols# row_count# start_date end_date source_type? "
                "size_bytes#?",
            )
        elif not errors:
            example = "onetape bundle create NAME SYMBOL... TIMEFRAME"
            yield Line(f"there are no bundles; create one with `{example}`")

    return Report({"folder": str(folder), "bundles": bundles}, shown, errors=errors, ok=not errors)


def _info(args: argparse.Namespace) -> Report:
    """Show where the bars of a bundle come from, symbol by symbol."""
    from ..research.catalog.catalog import BundleMetadata

    bundle = _bundle(args)
    records = bundle.records()
    stored = replace(BundleMetadata.load(args.name, args.bundles), bundle_name=args.name)
    sources, spans = records.origin.symbols, records.spans()
    document = {
        **stored.as_dict(),
        "path": str(bundle.path),
        "request": records.origin.request,
        "sources": {name: asdict(source) for name, source in sources.items()},
        "terms": terms_of(vendor for source in sources.values() for vendor in source.vendors),
        "files": {
            place: {"sha256": record.sha256, "rows": record.row_count, "bytes": record.size_bytes}
            for place, record in records.files.items()
        },
    }

    def shown() -> Shown:
        """Yield the lines for a terminal."""
        yield from ingest.stored_shown(stored, bundle)
        written = moment(iso(records.origin.ingested_at))
        yield f"written {written}, {counted(len(records.files), 'file')}"
        said = [f"{vendor} {terms['word']}" for vendor, terms in document["terms"].items()]
        yield from [f"terms: {', '.join(said)}"] if said else []
        rows = [
            asdict(source)
            | {"symbol": symbol[:_MOST_TEXT], "bars": spans.get(source.sid, (0,))[0]}
            | {"fingerprint": (source.fingerprint or "")[:19]}
            for symbol, source in sources.items()
        ]
        if rows:
            yield table(rows, "symbol sid# bars# lane? generation? fingerprint?")

    return Report(document, shown)


def _validate(args: argparse.Namespace) -> Report:
    """Compare the files with their digests and the bars with the cache; sends no request."""
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
    """Drop old partitions of a bundle, or the whole bundle."""
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
