"""``onetape bundle ingest``: writes bars from a source as a bundle, and lists the available sources."""

from __future__ import annotations

import argparse
import asyncio
import inspect
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..core.clock import SystemClock
from ..core.config.credentials import note_key
from ..core.config.settings import working_dir
from ..core.model.time.instant import date_of, iso
from ..core.model.time.timeframe import Timeframe
from ..core.vendors.foreign import masked
from ..errors import (
    BundleError,
    DataError,
    ForeignError,
    IncompleteDataWarning,
    ProviderTimeoutError,
    QueryError,
)
from .arguments import add_timeout, command, listed, option
from .cached import manager_of
from .output import note
from .result import Line, Report, Shown
from .tables import counted, fields, titled

if TYPE_CHECKING:
    from ..research.bundles.bundle import Bundle
    from ..research.catalog.catalog import BundleMetadata
    from ..research.sources.sources import DataSource

# Days between the default start and now.
_DAYS_BACK, _DAYS_BACK_INTRADAY = 365, 30
# Options that hold keys; and the constructor argument for each option.
_KEYS = ("api_key", "api_secret")
_ARGUMENTS = {
    "exchange": "exchange_id",
    "csv_dir": "csv_dir",
    "api_key": "api_key",
    "api_secret": "api_secret",
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    option(
        parser,
        "source? SOURCE",
        (
            "such as yfinance, ccxt:binance, csv, onetape (the vendors in the rules), or "
            "module:Class for your own"
        ),
        type=_checked_name,
    )
    option(parser, "--source SOURCE", "the same as SOURCE", dest="source_option")
    option(parser, "--symbols A,B", "such as AAPL,MSFT or BTC/USDT", type=listed)
    option(parser, "-b --bundle NAME", "name of the bundle (default: the name of the source)")
    option(
        parser,
        "--start TIME",
        (
            f"date or UTC time, inclusive (default: {_DAYS_BACK} days ago; "
            f"{_DAYS_BACK_INTRADAY} for bars shorter than a day)"
        ),
    )
    option(parser, "--end TIME", "date or UTC time, inclusive (default: now)")
    option(parser, "--frequency TIMEFRAME", "such as 1m, 1h, 1d (default 1d)", default="1d")
    option(parser, "--exchange NAME", "exchange for ccxt, such as binance")
    option(parser, "--csv-dir DIR", "folder with the files for csv")
    option(
        parser,
        "--api-key KEY",
        (
            "API key; others on this machine can see it here, so prefer the variable that "
            "`onetape providers NAME` names"
        ),
    )
    option(parser, "--api-secret SECRET", "API secret; see --api-key")
    option(parser, "--bundles DIR", "bundle folder")
    add_timeout(parser)
    either = parser.add_mutually_exclusive_group()
    option(either, "--list-sources", "list the available sources")
    option(either, "--source-info NAME", "show what a source serves and needs")
    option(either, "--list-exchanges", "list the exchanges whose bars ccxt can fetch")
    command(parser, run)


def _checked_name(name: str) -> str:
    """Check that a source exists, and return its name.

    A name of the form ``module:Class`` is checked later. Other names are checked here, because
    ``--help`` after a wrong name would hide the error.

    Raises:
        ArgumentTypeError: The source does not exist.
    """
    from ..research.sources.vendor_sources import DataSourceRegistry

    if name.strip() and ":" not in name and not DataSourceRegistry.is_registered(name):
        try:
            DataSourceRegistry.get_source_info(name)
        except DataError as error:
            raise argparse.ArgumentTypeError(f"{error.args[0]} ({error.hint})") from error
    return name


def run(args: argparse.Namespace) -> Report:
    """Write a bundle, or list the sources; the exit code is 1 if part of it could not be fetched.

    Raises:
        QueryError: A source or symbols are missing, or options cannot be combined.
        DataError: Nothing was written.
    """
    if args.list_sources:
        return _sources()
    if args.source_info is not None:
        return _source_info(args.source_info)
    if args.list_exchanges:
        from .providers import family

        return family("ccxt")
    return _run_ingest(args)


# --- ingestion ---------------------------------------------------------------------------------


def _run_ingest(args: argparse.Namespace) -> Report:
    from ..research.bundles.bundle import Bundle
    from ..research.catalog.catalog import BundleMetadata

    name = _name(args)
    if not args.symbols:
        raise QueryError("no symbols are given", hint="add them, such as --symbols AAPL,MSFT")
    timeframe = Timeframe.parse(args.frequency)
    bundle = Bundle(args.bundle or _bundle_name(name), args.bundles)
    _warn_of_keys(args)
    errors: list[str] = []
    notes: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            source = _source(args, name)
            _ingest(args, source, bundle, timeframe)
        except DataError as error:  # errors from the user's code may quote a key
            error.args = tuple(masked(str(text)) for text in error.args)
            raise
    for warning in caught:
        is_lacking = issubclass(warning.category, IncompleteDataWarning)
        (errors if is_lacking else notes).append(masked(str(warning.message)))
    if not bundle.exists():
        raise BundleError(
            f"{name} did not write bundle {bundle.name} to {bundle.path.parent}",
            hint=(
                "its ingest_to_bundle must write the bundle, or return the result of "
                "DataSource.ingest_to_bundle"
            ),
        )
    stored = BundleMetadata.load(bundle.name, bundle.path.parent)
    odd = getattr(source, "findings", {})  # set by adapters that validate their bars
    document = {
        "source": name,
        "path": str(bundle.path),
        **stored.as_dict(),
        "findings": {
            symbol: [finding.as_dict() for finding in findings] for symbol, findings in odd.items()
        },
    }

    def shown() -> Shown:
        """Yield the facts about the bundle, then what the source found in its bars."""
        yield from stored_shown(stored, bundle)
        for symbol, findings in odd.items():
            yield from (f"{symbol}: {finding.text}" for finding in findings)

    return Report(document, shown, dict.fromkeys(notes), dict.fromkeys(errors), ok=not errors)


def _name(args: argparse.Namespace) -> str:
    """Return the source named on the command line.

    Raises:
        QueryError: No source is given, or two different ones are.
    """
    given: set[str] = {text for text in (args.source, args.source_option) if text}
    if len(given) == 1:
        return given.pop()
    if given:
        raise QueryError(f"two sources are given: {', '.join(sorted(given))}", hint="give only one")
    raise QueryError(
        "no source is given",
        hint=(
            "such as `onetape bundle ingest yfinance --symbols AAPL`; --list-sources lists the sources"
        ),
    )


def _bundle_name(source: str) -> str:
    """Convert a source's name to a bundle name: ``ccxt:binance`` becomes ``ccxt-binance``."""
    return "".join(sign if sign.isalnum() or sign in "._-" else "-" for sign in source)


def _warn_of_keys(args: argparse.Namespace) -> None:
    """Warn that other users can see keys given as options, and mask the keys in all later output."""
    keys = {name: value for name in _KEYS if (value := getattr(args, name)) is not None}
    for value in keys.values():
        note_key(value.strip())
    if keys:
        options = " and ".join(f"--{name.replace('_', '-')}" for name in keys)
        note(
            f"{options}: other users of this machine can see the value, and it is kept in "
            "the shell history; environment variables are safer (`onetape providers NAME` "
            "names them)"
        )


def _source(args: argparse.Namespace, name: str) -> DataSource:
    """Return the source with a name, or an instance of the class named by ``module:Class``.

    Raises:
        QueryError: The source does not exist, or does not accept these options.
    """
    from ..research.portal.portal_sources import others_code
    from ..research.sources.vendor_sources import (
        DataSourceRegistry,
        VendorDataSource,
        source_classes,
    )

    config = {to: value for option, to in _ARGUMENTS.items() if (value := getattr(args, option))}
    family = name.partition(":")[0].lower()
    is_named = ":" not in name or family in DataSourceRegistry.list_sources()
    with others_code(f"{name} is not a source", QueryError):
        make: Any = partial(DataSourceRegistry.get_source, name) if is_named else _named_class(name)
        is_ours = is_named and name.strip().lower() not in source_classes()
        if is_ours or (isinstance(make, type) and issubclass(make, VendorDataSource)):
            config["manager"] = manager_of(args, makes_folder=True)
            if args.timeout is not None:
                config["timeout"] = args.timeout
        source: DataSource = make(**config)
        if not callable(getattr(source, "ingest_to_bundle", None)):
            raise TypeError("it has no ingest_to_bundle method; subclass DataSource")
        return source


def _named_class(name: str) -> Any:
    """Import the class named by ``module:Class``; the working directory is also searched."""
    module, _, attribute = name.partition(":")
    here = str(working_dir())
    if here not in sys.path:
        sys.path.append(here)
    return getattr(import_module(module), attribute)


def _ingest(
    args: argparse.Namespace, source: DataSource, bundle: Any, timeframe: Timeframe
) -> None:
    """Let a source write the bundle.

    Raises:
        DataError: The source cannot write the bundle, or a user-defined source raised an error.
    """
    import pandas as pd

    from ..research.portal.portal_sources import others_code
    from ..research.sources.vendor_sources import VendorDataSource

    is_ours = isinstance(source, VendorDataSource)
    clock = source.manager.client.clock if isinstance(source, VendorDataSource) else SystemClock()
    now_ms = clock.now_ms()
    back = timedelta(_DAYS_BACK_INTRADAY if timeframe.is_intraday else _DAYS_BACK)
    start: Any = args.start or (date_of(now_ms) - back).isoformat()
    end: Any = args.end
    if not is_ours:  # sources from programs take times, and no open end
        with others_code(f"not valid times: {start} to {end or 'now'}", QueryError):
            start, end = pd.Timestamp(start), pd.Timestamp(end or iso(now_ms).removesuffix("Z"))
    options = {} if args.bundles is None else {"folder": args.bundles}
    write: Any = source.ingest_to_bundle
    if options and "folder" not in inspect.signature(write).parameters:
        raise QueryError(
            f"ingest_to_bundle of {type(source).__name__} does not accept a folder",
            hint="omit --bundles; config/data_catalog.yaml sets the folder for all bundles",
        )
    question = bundle.name, args.symbols, start, end, timeframe.label
    if is_ours:
        write(*question, **options)
        return
    with others_code(f"{type(source).__name__} did not write bundle {bundle.name}", ForeignError):
        try:
            asyncio.run(_run_work(partial(write, *question, **options), args.timeout))
        except TimeoutError as late:
            if args.timeout is None:  # the source's own timeout
                raise
            raise ProviderTimeoutError(
                f"{type(source).__name__} did not finish within {args.timeout:g} s",
                hint="allow more time with --timeout, or request fewer symbols",
            ) from late


async def _run_work(work: Callable[[], Any], seconds: float | None) -> None:
    """Call a method of a user-defined source, and await the result if it is awaitable."""
    done = work()
    if inspect.isawaitable(done):
        await asyncio.wait_for(done, seconds)


def stored_shown(stored: BundleMetadata, bundle: Bundle) -> Shown:
    """Yield the facts about a stored bundle."""
    symbols = counted(len(stored.symbols), "symbol")
    yield titled(stored.bundle_name, f"{stored.frequency}  {stored.row_count:,} bars for {symbols}")
    yield Line(str(bundle.path), "dim")
    if stored.start_date is not None and stored.end_date is not None:
        span = f"{stored.start_date:%Y-%m-%d} to {stored.end_date:%Y-%m-%d}"
        yield f"{span}, from {stored.source_type:.80}"
    yield f"quality {stored.quality_score:.3f}, {stored.missing_data_pct:.2f} % of the bars missing"


# --- sources -----------------------------------------------------------------------------------


def _sources() -> Report:
    from ..research.sources.vendor_sources import DataSourceRegistry

    every = [_source_json(name) for name in DataSourceRegistry.list_sources()]
    return Report.rows(every, "name class_name? auth_required? supported_frequencies")


def _source_info(name: str) -> Report:
    stored = _source_json(name)
    every = stored | stored["metadata"]
    every |= every.pop("additional_info")
    del every["metadata"]
    return Report(stored, lambda: [fields(every)])


def _source_json(name: str) -> dict[str, Any]:
    """Return the registry's information on a source."""
    from ..research.sources.vendor_sources import DataSourceRegistry

    stored = DataSourceRegistry.get_source_info(name)
    return stored | {"metadata": asdict(stored["metadata"])}
