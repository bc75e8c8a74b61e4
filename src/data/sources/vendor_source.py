"""Sources based on the data manager, with bars from one vendor or from all vendors in the rules."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import errors
from ..bundles.bundle import Bundle, BundleChange
from ..call_threads import awaited
from ..config.credentials import note_key
from ..data_manager import DataManager, get_data_manager
from ..errors import (
    DataError,
    IncompleteDataWarning,
    NoDataAvailableError,
    QueryError,
    UnknownProviderError,
)
from ..forks import renew_after_fork
from ..jobs.vendors import describe_vendor, has_stream, keys_of, use_keys, vendor_of
from ..layer.frames import decimal_frame, pl
from ..model.caller import called_from, warn_user, working_for
from ..model.frame import REQUIRED_COLUMNS as FIELDS
from ..model.interchange import to_polars
from ..model.provenance import ATTRS_KEY
from ..model.query import check_no_string
from ..model.suggestion import did_you_mean
from ..model.timeframe import Timeframe
from .adapter_settings import adapter_settings
from .base import DataSource, DataSourceMetadata
from .foreign_source import BundlePath, begun

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import pandas as pd

__all__ = ["OnetapeDataSource", "SourceAnswer", "VendorDataSource"]

_MOST_NAMED = 5
_LIMITS = "requests keep to the vendor's limits, `rate_limits` in the rules"
_RETRIES = "`failover` in the rules decides how failed requests are repeated"
_ACTIONS = "splits and dividends of shares are fetched with their bars, and stored"
# Arguments of documented constructors that the rules decide for all programs, and the rule settings
# that apply instead.
_INSTEAD: Mapping[str, str] = {
    "request_delay": _LIMITS,
    "rate_limit_per_second": _LIMITS,
    "tier": _LIMITS,
    "max_retries": _RETRIES,
    "initial_retry_delay": _RETRIES,
    "backoff_factor": _RETRIES,
    "fetch_dividends": _ACTIONS,
    "fetch_splits": _ACTIONS,
    "asset_type": "a symbol is classified by its spelling: AAPL, BTCUSDT, EURUSD=X",
}
_HOLDS: Mapping[str, object] = {"fetch_dividends": True, "fetch_splits": True}
# Arguments of which only one value matches the bars that a vendor serves here.
_ONLY: Mapping[str, tuple[object, str]] = {
    "testnet": (False, "bars from a test network are not market data"),
    "is_paper": (True, "bars are the same for both kinds of accounts"),
}


class SourceAnswer(NamedTuple):
    """Bars for some symbols, with the provenance of each.

    Attributes:
        frame: Frame as returned by :meth:`.DataSource.fetch`.
        attrs: Maps each symbol to ``attrs["onetape"]`` of its answer from ``get_ohlcv``.
        is_hit: True if no vendor was queried.
    """

    frame: pl.DataFrame
    attrs: Mapping[str, Mapping[str, Any]]
    is_hit: bool


class VendorDataSource(DataSource):
    """A source of bars from one vendor, or from all vendors in the rules, based on a data manager.

    Thread-safe.

    Args:
        manager: Data manager to use; None means :func:`~onetape.data.get_data_manager`, called on first use.
        provider: Name of the vendor, if the class does not determine it.
        **config: ``timeout``: seconds allowed for each call; ``adjustment``: ``raw``, ``split``
            (default) or ``all``, see ``get_ohlcv``; ``api_key`` and ``api_secret``: keys to use
            instead of those in the environment. Other arguments of documented constructors
            (``request_delay``, ``tier``, ``max_retries`` …) have no effect, because the rules
            decide; one warning states what applies instead. Arguments that are not given are taken
            from ``config/data_adapters.yaml`` in the working directory, if it contains them.

    Attributes:
        name: Name of the source.
        provider: Name of the vendor; None means all vendors in the rules.
        adjustment: Adjustment of the prices.

    Raises:
        QueryError: An argument is unknown, or requests something unsupported (a
            ``ValueError``).
        UnknownProviderError: The vendor does not exist.
    """

    name: str = ""
    provider: str | None = None

    def __init__(
        self, manager: DataManager | None = None, *, provider: str | None = None, **config: Any
    ) -> None:
        if provider is not None:
            if self.provider or self.name:
                raise QueryError(
                    f"{type(self).__name__} does not take a provider: its bars come only from {self.name}"
                )
            if vendor_of(provider) is None:
                raise UnknownProviderError(
                    f"unknown vendor {provider!r:.80}", hint="`onetape providers` lists them"
                )
            self.name = self.provider = provider
        if manager is not None and not isinstance(manager, DataManager):
            # The value is not shown, because it may be a key passed by position.
            raise QueryError(
                f"{type(self).__name__}: manager is a {type(manager).__name__}, not a data manager",
                hint="pass the other arguments by name",
            )
        # For ccxt, the settings also contain the exchange, which the class for ccxt uses.
        for argument, value in adapter_settings(self.name).items():
            if argument in ("timeout", "adjustment"):
                config.setdefault(argument, value)
        self._given, self._timeout = manager, config.pop("timeout", None)
        self.adjustment = config.pop("adjustment", "split")
        self._keys = self._keys_of(config.pop("api_key", None), config.pop("api_secret", None))
        self._check(config)
        self._own: DataManager | None = None
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child."""
        # Prevents several threads from creating the manager at the same time.
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def manager(self) -> DataManager:
        """The data manager in use.

        If this source has its own keys, a separate manager is created on first use.
        """
        base = self._given or get_data_manager()
        if not self._is_apart:
            return base
        with self._guard:
            if self._own is None:
                self._own = self._separate_manager(base)
            return self._own

    @property
    def _is_apart(self) -> bool:
        """Whether the source needs its own manager."""
        return bool(self._keys)

    def _separate_manager(self, base: DataManager) -> DataManager:
        """Return a data manager with the same cache and rules, and with the keys of this source."""
        manager = manager_like(base, base.provider_selector.rules)
        self._use_keys(manager)
        return manager

    def _use_keys(self, manager: DataManager) -> None:
        """Make a manager used only by this source use the source's keys, if it has any."""
        if self._keys:
            use_keys(manager.provider_selector, str(self.provider), self._keys)

    def _keys_of(self, *keys: Any) -> tuple[str, ...]:
        """Return the given keys after checking them.

        Raises:
            QueryError: A key is not a string, or the first one is missing.

        Warns:
            UserWarning: The vendor does not need such a key.
        """
        given = tuple(key for key in keys if key is not None)
        if not all(isinstance(key, str) and key.strip() for key in given):
            raise QueryError(f"{self.name}: a key must be a non-empty string")
        for key in given:
            note_key(key.strip())  # from here on, logs and messages never show it
        names = keys_of(self.provider) if given else ()
        if given and keys[0] is None:
            raise QueryError(f"{self.name}: api_secret was given without api_key")
        if len(given) > len(names):
            extra = ("api_key", "api_secret")[len(names) :]
            warn_user(
                f"{self.name}: {', '.join(extra)} has no effect, because bars need no such key"
            )
        return tuple(key.strip() for key in given[: len(names)])

    def _check(self, config: Mapping[str, Any]) -> None:
        """Reject invalid arguments; warn about arguments that have no effect because the rules decide.

        Raises:
            QueryError: An argument is unknown, or requests something unsupported.
        """
        every = (*_INSTEAD, *_ONLY, "adjustment", "timeout", "api_key", "api_secret")
        for name, value in config.items():
            if name not in every:
                hint = did_you_mean(name, every) + f"arguments: manager, {', '.join(every)}"
                raise QueryError(f"{type(self).__name__} has no argument {name}", hint=hint)
            if name in _ONLY and value is not _ONLY[name][0]:
                raise QueryError(
                    f"{self.name}: {name}={value!r:.20} is not supported: {_ONLY[name][1]}"
                )
        names = [n for n, value in config.items() if n in _INSTEAD and value is not _HOLDS.get(n)]
        if names:
            texts = "; ".join(dict.fromkeys(_INSTEAD[name] for name in names))
            warn_user(f"{self.name}: {', '.join(names)} has no effect: {texts}")

    # --- bars -------------------------------------------------------------------------------

    def answer(
        self,
        symbols: Sequence[str],
        start: Any,
        end: Any,
        frequency: str,
        *,
        refresh: bool,
        offline: bool = False,
        timeout: float | None = None,
    ) -> SourceAnswer:
        """Return bars from ``start`` to ``end``, both inclusive, with their provenance.

        Args:
            symbols, frequency: See ``get_ohlcv_batch``; rows are in the order of the symbols.
            start, end: See ``get_ohlcv_batch``; for daily and longer bars, midnight UTC stands for
                the session of that date.
            refresh: Whether to request everything from the vendor again; if False, only bars that
                are not stored are requested.
            offline: Whether to return only stored bars.
            timeout: Timeout for this call; see the constructor.

        Raises:
            NoDataAvailableError: No symbol has any bars in the range.
            DataError: A symbol failed; the error is that of the first such symbol, and its message
                says how many others failed.
            QueryError: An argument is invalid (a ``ValueError``).

        Warns:
            IncompleteDataWarning: Some bars are missing; see ``attrs``.
        """
        check_no_string(symbols, hint=f"[{symbols!r}]")
        timeframe = Timeframe.parse(frequency)
        frames = self.manager.get_ohlcv_batch(
            symbols,
            str(timeframe),
            bound_of(start, timeframe),
            bound_of(end, timeframe),
            force_refresh=refresh,
            offline=offline,
            provider=self.provider,
            adjustment=self.adjustment,
            timeout=self._timeout if timeout is None else timeout,
        )
        attrs = {symbol: frame.attrs[ATTRS_KEY] for symbol, frame in frames.items()}
        _refuse_failed(attrs)
        if not any(map(len, frames.values())):
            raise NoDataAvailableError(
                f"{self.name} has no {timeframe} bar for {_join_symbols(frames)} from {start} to {end}",
                symbol=next(iter(frames)) if len(frames) == 1 else None,
            )
        is_hit = not any(facts.get("attempts") for facts in attrs.values())
        return SourceAnswer(_combine_frames(frames), attrs, is_hit)

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Request bars from the vendor, store them, and return them.

        Stored bars are requested again, unlike in :meth:`answer`, which describes the arguments,
        errors and warnings. The event loop is not blocked.
        """
        return (await self._answer_later(symbols, start, end, frequency)).frame

    async def _answer_later(self, *question: Any) -> SourceAnswer:
        caller = called_from()

        def ask() -> SourceAnswer:
            """Query the vendor; warnings point to the line of user code that awaits it."""
            with working_for(caller):
                return self.answer(*question, refresh=True)

        return await awaited(ask)

    def ingest_to_bundle(  # type: ignore[override] # a task, or a path that may be awaited
        self,
        bundle_name: str,
        symbols: list[str],
        start: pd.Timestamp,
        end: pd.Timestamp,
        frequency: str,
        *,
        folder: str | PathLike[str] | None = None,
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write bars to a new or existing bundle of this source; return the bundle's folder.

        If an event loop is running in this thread, the result is a task, which begins immediately;
        otherwise, the bars have been written when the method returns. Both results can be awaited.
        No vendor is queried for stored bars.

        Args:
            bundle_name: Name of the bundle.
            symbols, start, end, frequency: See :meth:`answer`.
            folder: Folder that contains the bundles; None means the configured one.

        Raises:
            BundleError: The bundle has a different vendor, timeframe or adjustment, or there was no
                answer for any symbol; the bundle is unchanged.
            QueryError: An argument is invalid (a ``ValueError``).

        Warns:
            IncompleteDataWarning: Some symbols failed; the bundle contains the others.
        """
        timeframe = Timeframe.parse(frequency)
        bounds = bound_of(start, timeframe), bound_of(end, timeframe)
        bundle = Bundle(bundle_name, folder)

        def write() -> Path:
            """Write the bundle, and warn about symbols that are missing from it."""
            change = self._write_bundle(bundle, symbols, str(timeframe), bounds)
            if change.failed:
                texts = "; ".join(f"{symbol}: {why}" for symbol, why in change.failed.items())
                warn_user(f"bundle {bundle_name} lacks {texts}", IncompleteDataWarning)
            return bundle.path

        return begun(write)

    def _write_bundle(
        self, bundle: Bundle, symbols: Sequence[str], timeframe: str, bounds: tuple[Any, Any]
    ) -> BundleChange:
        """Write bars into a bundle."""
        return bundle.ingest(
            self.manager,
            symbols,
            timeframe,
            *bounds,
            adjustment=self.adjustment,
            provider=self.provider,
            timeout=self._timeout,
        )

    # --- description -------------------------------------------------------------------------

    def get_metadata(self) -> DataSourceMetadata:
        """Return the facts about the vendor from its class and the rules, without querying it.

        ``additional_info`` contains ``provider``, ``asset_classes``, ``adjustment``, ``keys``
        (whether each environment variable for a key is set) and, if the vendor cannot be queried
        here, the reason as ``why_not``.
        """
        selector = self.manager.provider_selector
        provider = selector.canonical(self.provider) or str(self.provider)
        facts = describe_vendor(selector, provider)
        reported = "asset_classes", "adjustment", "keys", "why_not"
        return DataSourceMetadata(
            source_type=self.name,
            source_url=facts["base_url"],
            supports_live=has_stream(provider),
            rate_limit=facts["per_minute"],
            auth_required=facts["requires_api_key"],
            supported_frequencies=tuple(facts["timeframes"]),
            additional_info={"provider": provider} | {name: facts[name] for name in reported},
        )

    def supports_live(self) -> bool:
        """Return whether the vendor has a stream; to open one, use ``live_feed`` of the data manager."""
        return self.get_metadata().supports_live


class OnetapeDataSource(VendorDataSource):
    """A source of the bars that ``get_ohlcv`` returns, from all vendors in the rules. Thread-safe.

    For the arguments, see :class:`VendorDataSource`; API keys are not accepted.
    """

    name = "onetape"

    def get_metadata(self) -> DataSourceMetadata:
        """Return a description with the rules' timeframes, and their ``vendors`` in ``additional_info``."""
        rules = self.manager.provider_selector.parsed_rules.rules.values()
        labels = {label for rule in rules for label in rule.timeframes}
        vendors = sorted({vendor for rule in rules for vendor in rule.vendors})
        return DataSourceMetadata(
            source_type=self.name,
            supports_live=True,
            supported_frequencies=tuple(
                sorted(labels, key=lambda label: Timeframe.parse(label).longest_ms)
            ),
            additional_info={"provider": None, "vendors": vendors},
        )


def manager_like(base: DataManager, rules: dict[str, Any]) -> DataManager:
    """Return a data manager with the cache and clock of ``base``, but with different rules."""
    selector = base.provider_selector
    made = DataManager(selector.cache_dir, selector.config_path, clock=base.client.clock)
    made.provider_selector.rules = rules
    return made


def _combine_frames(frames: Mapping[str, pd.DataFrame]) -> pl.DataFrame:
    """Combine the frames of a batch into one, with the columns of :meth:`.DataSource.fetch`.

    Raises:
        DecimalRangeError: A value is too large for the frame's decimal type.
    """
    columns = {s: f[[name for name in FIELDS if name in f.columns]] for s, f in frames.items()}
    rows = to_polars(columns)
    lacking = (pl.lit(None, pl.Float64).alias(n) for n in FIELDS if n not in rows.columns)
    stamps = pl.col("timestamp").cast(pl.Datetime("us"))
    return decimal_frame(rows.with_columns(*lacking).select(stamps, "symbol", *FIELDS)).frame


def bound_of(value: Any, timeframe: Timeframe) -> Any:
    """Convert a bound for ``get_ohlcv``; for daily bars, midnight UTC stands for a session date."""
    if timeframe.is_intraday or not isinstance(value, datetime) or value != value:  # not a time
        return value
    moment = value if value.tzinfo is None else value.astimezone(UTC)
    return moment.date() if moment.time() == time() else value


def _refuse_failed(attrs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise the error of the first failed symbol, ignoring symbols without data."""
    every = {symbol: facts["error"] for symbol, facts in attrs.items() if "error" in facts}
    failures = {symbol: error for symbol, error in every.items() if error["reason"] != "no_data"}
    if not failures:
        return
    symbol, entry = next(iter(failures.items()))
    more = f", and {len(failures) - 1} more symbols failed" if len(failures) > 1 else ""
    raise recorded_error(entry, symbol, more)


def recorded_error(entry: Mapping[str, Any], symbol: str, more: str = "") -> DataError:
    """Return the error that ``attrs["onetape"]["error"]`` of a frame describes.

    Args:
        entry: Description of the error.
        symbol: Symbol that failed.
        more: Text to add to the message.
    """
    error_type: type[DataError] = getattr(errors, entry["type"], DataError)
    error = error_type(f"{entry['message']}{more}", symbol=symbol)
    error.candidates = tuple(entry["candidates"])
    if error.reason != entry["reason"]:
        vars(error)["because"] = entry["reason"]
    return error


def _join_symbols(symbols: Mapping[str, Any]) -> str:
    names = list(symbols)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
