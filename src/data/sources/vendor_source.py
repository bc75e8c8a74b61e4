"""Sources over the data manager: a vendor, or the router, which asks the vendors of the rules."""

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
from ..config.data_adapters import adapter_settings
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
from ..model.caller import called_from, warn_user, working_for
from ..model.frame import REQUIRED_COLUMNS as FIELDS
from ..model.interchange import to_polars
from ..model.provenance import ATTRS_KEY
from ..model.suggestion import did_you_mean
from ..model.timeframe import Timeframe
from ..polars import pl  # says which extra is missing
from ..polars.decimals import decimal_frame
from .base import DataSource, DataSourceMetadata
from .ingest import BundlePath, begun

if TYPE_CHECKING:
    from os import PathLike
    from pathlib import Path

    import pandas as pd

__all__ = ["OnetapeDataSource", "SourceAnswer", "VendorDataSource"]

_MOST_NAMED = 5
_LIMITS = "requests keep to the vendor's limits, `rate_limits` of the rules"
_RETRIES = "failed requests are repeated by `failover` of the rules"
_ACTIONS = "splits and dividends of shares are fetched with their bars, and stored"
# Arguments of documented constructors about what the rules decide for all programs, and what holds.
_INSTEAD: Mapping[str, str] = {
    "request_delay": _LIMITS,
    "rate_limit_per_second": _LIMITS,
    "tier": _LIMITS,
    "max_retries": _RETRIES,
    "initial_retry_delay": _RETRIES,
    "backoff_factor": _RETRIES,
    "fetch_dividends": _ACTIONS,
    "fetch_splits": _ACTIONS,
    "asset_type": "a symbol says itself what it is: AAPL, BTCUSDT, EURUSD=X",
}
_HOLDS: Mapping[str, object] = {"fetch_dividends": True, "fetch_splits": True}
# Those of which one value alone has the bars that a vendor serves here.
_ONLY: Mapping[str, tuple[object, str]] = {
    "testnet": (False, "bars of a test network are no market's"),
    "is_paper": (True, "bars are the same for accounts of both kinds"),
}


class SourceAnswer(NamedTuple):
    """Bars of some symbols, with the provenance of each.

    Attributes:
        frame: as :meth:`.DataSource.fetch` returns it.
        attrs: symbol to what ``attrs["onetape"]`` of ``get_ohlcv`` says.
        is_hit: whether no vendor was asked.
    """

    frame: pl.DataFrame
    attrs: Mapping[str, Mapping[str, Any]]
    is_hit: bool


class VendorDataSource(DataSource):
    """Bars of one vendor, or of all by the rules: the data manager behind four methods. Thread-safe.

    Args:
        manager: answers; None: :func:`~src.data.get_data_manager`, from the first use on.
        provider: name of the vendor, where the class does not say it.
        **config: ``timeout``: seconds after which vendors are waited for no more; ``adjustment``: ``raw``,
            ``split`` (default) or ``all``, as for ``get_ohlcv``; ``api_key`` and ``api_secret``: in place of
            those of the environment. Further arguments of documented constructors
            are about what the rules decide (``request_delay``, ``tier``, ``max_retries`` …): one
            warning says what holds. Those that are not given are taken from
            ``config/data_adapters.yaml`` in the working directory, where it has them.

    Attributes:
        name: of the source.
        provider: name of the vendor; None: those of the rules.
        adjustment: of the prices.

    Raises:
        QueryError: an argument is not known, or asks for what is not served (a ``ValueError``).
        UnknownProviderError: there is no such vendor.
    """

    name: str = ""
    provider: str | None = None

    def __init__(
        self, manager: DataManager | None = None, *, provider: str | None = None, **config: Any
    ) -> None:
        if provider is not None:
            if self.provider or self.name:
                raise QueryError(f"{type(self).__name__} takes no provider: it is {self.name}")
            if vendor_of(provider) is None:
                raise UnknownProviderError(
                    f"there is no vendor {provider!r:.80}", hint="`onetape providers` lists them"
                )
            self.name = self.provider = provider
        if manager is not None and not isinstance(manager, DataManager):
            # Of a key that stands in its place nothing is shown.
            raise QueryError(
                f"{type(self).__name__}: manager is a {type(manager).__name__}, no data manager",
                hint="name the other arguments",
            )
        # Of ccxt also the exchange, which its class takes.
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
        """Have a lock of its own in a forked child."""
        # Guards the manager against threads that need it first at once.
        self._guard = threading.Lock()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    @property
    def manager(self) -> DataManager:
        """The data manager that answers; made at the first use where this source has keys of its own."""
        base = self._given or get_data_manager()
        if not self._is_apart:
            return base
        with self._guard:
            if self._own is None:
                self._own = self._apart(base)
            return self._own

    @property
    def _is_apart(self) -> bool:
        """Whether it needs a manager of its own."""
        return bool(self._keys)

    def _apart(self, base: DataManager) -> DataManager:
        """Return a manager on the same cache and rules that has the keys of this source."""
        own = manager_like(base, base.provider_selector.rules)
        use_keys(own.provider_selector, str(self.provider), self._keys)
        return own

    def _keys_of(self, *keys: Any) -> tuple[str, ...]:
        """Return the keys that are given, checked.

        Raises:
            QueryError: one is no text, or the first is missing.

        Warns:
            UserWarning: the vendor needs no such key.
        """
        given = tuple(key for key in keys if key is not None)
        if not all(isinstance(key, str) and key.strip() for key in given):
            raise QueryError(f"{self.name}: a key is not empty text")
        for key in given:
            note_key(key.strip())  # no log and no message shows it from here on
        names = keys_of(self.provider) if given else ()
        if given and keys[0] is None:
            raise QueryError(f"{self.name}: api_secret is given without api_key")
        if len(given) > len(names):
            extra = ("api_key", "api_secret")[len(names) :]
            warn_user(f"{self.name}: no effect of {', '.join(extra)}: bars need no such key")
        return tuple(key.strip() for key in given[: len(names)])

    def _check(self, config: Mapping[str, Any]) -> None:
        """Warn of what the rules decide.

        Raises:
            QueryError: an argument is not known, or asks for what is not served.
        """
        every = (*_INSTEAD, *_ONLY, "adjustment", "timeout", "api_key", "api_secret")
        for name, value in config.items():
            if name not in every:
                hint = did_you_mean(name, every) + f"there are: manager, {', '.join(every)}"
                raise QueryError(f"{type(self).__name__} takes no {name}", hint=hint)
            if name in _ONLY and value is not _ONLY[name][0]:
                raise QueryError(
                    f"{self.name}: {name}={value!r:.20} is not served: {_ONLY[name][1]}"
                )
        names = [n for n, value in config.items() if n in _INSTEAD and value is not _HOLDS.get(n)]
        if names:
            texts = "; ".join(dict.fromkeys(_INSTEAD[name] for name in names))
            warn_user(f"{self.name}: no effect of {', '.join(names)}: {texts}")

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
            symbols, frequency: as for ``get_ohlcv_batch``; rows are in this order.
            start, end: as there; of days and longer bars a midnight in UTC is a session's date.
            refresh: ask the vendor for all of it again; False: only for what is not stored.
            offline: return what is stored alone.
            timeout: as of the constructor, for this call.

        Raises:
            NoDataAvailableError: there is no bar of any symbol.
            DataError: a symbol failed, by its own error; its message counts the others.
            QueryError: an argument cannot be understood (a ``ValueError``).

        Warns:
            IncompleteDataWarning: something lacks; ``attrs`` says what.
        """
        if isinstance(symbols, str):
            raise QueryError(f"symbols are a list, not the text {symbols!r}", hint=f"[{symbols!r}]")
        timeframe = Timeframe.parse(frequency)
        frames = self.manager.get_ohlcv_batch(
            symbols,
            str(timeframe),
            _bound(start, timeframe),
            _bound(end, timeframe),
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
                f"{self.name} has no {timeframe} bar of {_named(frames)} from {start} to {end}",
                symbol=next(iter(frames)) if len(frames) == 1 else None,
            )
        is_hit = not any(one.get("attempts") for one in attrs.values())
        return SourceAnswer(_standard(frames), attrs, is_hit)

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return bars that the vendor was asked for now; what it sends is stored.

        The loop goes on meanwhile. Arguments, columns, errors and warnings as of :meth:`answer`, which gives
        stored bars, too.
        """
        return (await self._awaited(symbols, start, end, frequency)).frame

    async def _awaited(self, *question: Any) -> SourceAnswer:
        place = called_from()

        def ask() -> SourceAnswer:
            """Ask; warnings name the line that awaits it."""
            with working_for(place):
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
        """Write bars into a bundle, or widen one that has bars of this source; return its folder.

        In a thread whose event loop runs it is a task, which begins at once; elsewhere it is done on
        return. Both may be awaited. Bars that are stored ask no vendor.

        Args:
            bundle_name: its name.
            symbols, start, end, frequency: as of :meth:`answer`.
            folder: of bundles; None: the configured one.

        Raises:
            BundleError: the bundle has bars of another vendor, timeframe or adjustment, or no symbol
                could be answered; it is as it was.
            QueryError: an argument cannot be understood (a ``ValueError``).

        Warns:
            IncompleteDataWarning: symbols failed; the bundle has the others.
        """
        timeframe = Timeframe.parse(frequency)
        bounds = _bound(start, timeframe), _bound(end, timeframe)
        bundle = Bundle(bundle_name, folder)

        def write() -> Path:
            """Write, and warn of what the bundle lacks."""
            change = self._written(bundle, symbols, str(timeframe), bounds)
            if change.failed:
                texts = "; ".join(f"{symbol}: {why}" for symbol, why in change.failed.items())
                warn_user(f"bundle {bundle_name} lacks {texts}", IncompleteDataWarning)
            return bundle.path

        return begun(write)

    def _written(
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

    # --- what it is -------------------------------------------------------------------------

    def get_metadata(self) -> DataSourceMetadata:
        """Return what is known of the vendor by its class and the rules; it is not asked.

        ``additional_info`` has ``provider``, ``asset_classes``, ``adjustment``, ``keys`` (variable of the
        environment to ``set`` or not), and ``why_not`` where it cannot be asked here.
        """
        selector = self.manager.provider_selector
        provider = selector.canonical(self.provider) or str(self.provider)
        facts = describe_vendor(selector, provider)
        told = "asset_classes", "adjustment", "keys", "why_not"
        return DataSourceMetadata(
            source_type=self.name,
            source_url=facts["base_url"],
            supports_live=has_stream(provider),
            rate_limit=facts["per_minute"],
            auth_required=facts["requires_api_key"],
            supported_frequencies=tuple(facts["timeframes"]),
            additional_info={"provider": provider} | {name: facts[name] for name in told},
        )

    def supports_live(self) -> bool:
        """Tell whether there is a stream, which ``live_feed`` of the data manager opens."""
        return self.get_metadata().supports_live


class OnetapeDataSource(VendorDataSource):
    """Bars of the vendors that the rules name, unpinned: what ``get_ohlcv`` answers. Thread-safe.

    Arguments as of :class:`VendorDataSource`, without keys.
    """

    name = "onetape"

    def get_metadata(self) -> DataSourceMetadata:
        """Return what the rules serve: their timeframes, and in ``additional_info`` their ``vendors``."""
        rules = self.manager.provider_selector.parsed_rules.rules.values()
        labels = {label for rule in rules for label in rule.timeframes}
        vendors = sorted({vendor for rule in rules for vendor in rule.vendors})
        return DataSourceMetadata(
            source_type=self.name,
            supports_live=True,
            supported_frequencies=tuple(
                sorted(labels, key=lambda one: Timeframe.parse(one).longest_ms)
            ),
            additional_info={"provider": None, "vendors": vendors},
        )


def manager_like(base: DataManager, rules: dict[str, Any]) -> DataManager:
    """Return a manager on the cache and with the clock of another, by other rules."""
    selector = base.provider_selector
    made = DataManager(selector.cache_dir, selector.config_path, clock=base.client.clock)
    made.provider_selector.rules = rules
    return made


def _standard(frames: Mapping[str, pd.DataFrame]) -> pl.DataFrame:
    """Return the frames of a batch as one, in the columns of :meth:`.DataSource.fetch`.

    Raises:
        DecimalRangeError: a value does not fit.
    """
    own = {s: f[[name for name in FIELDS if name in f.columns]] for s, f in frames.items()}
    rows = to_polars(own)
    lacking = (pl.lit(None, pl.Float64).alias(n) for n in FIELDS if n not in rows.columns)
    stamps = pl.col("timestamp").cast(pl.Datetime("us"))
    return decimal_frame(rows.with_columns(*lacking).select(stamps, "symbol", *FIELDS)).frame


def _bound(value: Any, timeframe: Timeframe) -> Any:
    """Return a bound as ``get_ohlcv`` takes it: of days a midnight in UTC is a session's date."""
    if timeframe.is_intraday or not isinstance(value, datetime) or value != value:  # not a time
        return value
    moment = value if value.tzinfo is None else value.astimezone(UTC)
    return moment.date() if moment.time() == time() else value


def _refuse_failed(attrs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise the error of the first symbol that failed, but for one of which nothing is there."""
    every = {symbol: facts["error"] for symbol, facts in attrs.items() if "error" in facts}
    failed = {symbol: error for symbol, error in every.items() if error["reason"] != "no_data"}
    if not failed:
        return
    symbol, entry = next(iter(failed.items()))
    more = f", and {len(failed) - 1} more symbols failed" if len(failed) > 1 else ""
    kind: type[DataError] = getattr(errors, entry["type"], DataError)
    error = kind(f"{entry['message']}{more}", symbol=symbol)
    error.candidates = tuple(entry["candidates"])
    if error.reason != entry["reason"]:
        vars(error)["because"] = entry["reason"]
    raise error


def _named(symbols: Mapping[str, Any]) -> str:
    names = list(symbols)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
