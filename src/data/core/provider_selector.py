"""Finds the instrument that a symbol means, the vendors that the rules name, and their downloaders."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from importlib.util import find_spec
from operator import is_
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from ..errors import BadSymbolError, DataError, NoProviderError, QueryError
from .config.credentials import (
    Credentials,
    KeyState,
    lacks_key,
    note_variables,
    vendor_credentials,
)
from .config.offered import known_vendor, program_offers
from .config.rules import Rule, Rules
from .config.rules_file import RELATIVE, load_rules, rules_of
from .config.settings import load_settings
from .model.identity.instrument import Instrument
from .model.identity.series import SeriesKey, folder_lane
from .model.request.capabilities import Capabilities, Supply
from .model.request.settings import Settings
from .model.time.timeframe import Timeframe
from .model.words.caller import warn_user
from .registry import VENDORS, canonical_vendor, family_of, is_of_files, row_of
from .runtime.forks import renew_after_fork
from .runtime.singleton import Singleton
from .symbols import tickers
from .symbols.classify import SymbolRefusal, classify
from .symbols.tickers import ProviderConfig, TickerInfo

if TYPE_CHECKING:
    from .vendors.factory import DownloaderPool

__all__ = [
    "ProviderConfig",
    "ProviderSelector",
    "TickerInfo",
    "get_provider_selector",
    "reset_provider_selector",
]

_NO_PROVIDER = "No suitable provider found"
# Maximum number of cached symbols, and of vendor orders, one per asset class and timeframe.
_MOST_SYMBOLS = 16_384
MOST_ORDERS = 256


class VendorOrder:
    """The usable vendors for a series, in order, and all data on which the choice depends. Immutable.

    The selector returns the same object as long as the order is valid, so callers can use the
    object as a cache key.

    Args:
        names: Usable vendors, in order.
        keys: State of the environment variables with the keys on which the choice depends, read
            before the choice.
        aliases: Names under which the vendors may appear among the downloaders.
        downloaders: Maps names to downloaders, as of the choice.
    """

    __slots__ = ("_registered", "_supplied", "_keys", "_aliases", "names")

    def __init__(
        self,
        names: tuple[str, ...],
        keys: KeyState,
        aliases: Iterable[str],
        downloaders: Mapping[str, Any],
    ) -> None:
        self.names, self._keys, self._aliases = names, keys, tuple(aliases)
        self._supplied = tuple(map(downloaders.get, self._aliases))
        self._registered = program_offers()

    def holds(self, downloaders: Mapping[str, Any]) -> bool:
        """Return whether the choice of vendors is still valid for ``downloaders``."""
        return (
            self._keys.holds()
            and self._registered is program_offers()
            and all(map(is_, map(downloaders.get, self._aliases), self._supplied))
        )


class _Slot:
    """Holds the vendor orders for one asset class and timeframe; an order is replaced, never changed.

    Attributes:
        order: Order of the vendors whose downloaders can be built.
        at_hand: Order determined without loading any vendor's module, which may therefore include a
            vendor whose downloader cannot be built.
    """

    __slots__ = ("at_hand", "order")

    def __init__(self) -> None:
        self.order: VendorOrder | None = None
        self.at_hand: VendorOrder | None = None


class ProviderSelector:
    """Selects the vendors to query for a series, according to the rules.

    Examples:
        >>> selector = ProviderSelector()
        >>> selector.get_best_provider("BTCUSDT", "1h")
        'binance'

    Args:
        config_path: Rules file that overrides the packaged one; it must exist.
        cache_dir: Value of the attribute ``cache_dir``; the selector itself does not store anything
            there.
        settings: Resolved settings, used instead of ``config_path`` and ``cache_dir``.
        make_sender: Function that returns the object that sends a downloader's requests; by
            default, this process's sender is used.
        own_sender: Function that takes the name, the downloader and the transport of a user's own
            downloader, and returns the object that limits, retries and counts its calls. If None,
            the calls are made directly.

    Attributes:
        downloaders: Maps each vendor name to its downloader; filled on demand, and may be patched.
        config_path: The user's rules file, or the default path of such a file.
        cache_dir: Root of the cache.

    Thread-safe. Methods that can return None or an empty list never raise an error because of their
    arguments; use :meth:`instrument` and :meth:`rule_for` to get the reason as an error.

    Raises:
        RulesError: The rules file is invalid; the message lists every error.
        ConfigError: The rules file does not exist.
    """

    def __init__(
        self,
        config_path: str | Path | None = None,
        cache_dir: str | Path | None = None,
        *,
        settings: Settings | None = None,
        make_sender: Callable[[str], Any] | None = None,
        own_sender: Callable[[str, object, Any], Any] | None = None,
    ) -> None:
        resolved = load_settings(cache_dir, config_path) if settings is None else settings
        self.config_path = str(resolved.rules_path or RELATIVE)
        self.cache_dir = str(resolved.cache_dir)
        self.downloaders: dict[str, Any] = {}
        self.make_sender = make_sender
        self.own_sender = own_sender
        # Ensures that threads which need the same downloader at the same time build only one.
        self._building = threading.RLock()
        self._workshop: DownloaderPool | None = None
        self._plain: dict[str, Any] | None = None
        renew_after_fork(self)
        path = resolved.rules_path
        self._rules_from = f"rules of {path}" if path else "packaged rules"
        self._use(load_rules(path))

    def after_fork(self) -> None:
        """Replace the lock in a forked child, because a thread of the parent may have held it."""
        self._building = threading.RLock()

    def __repr__(self) -> str:
        return f"<ProviderSelector: {self.about}>"

    @property
    def about(self) -> str:
        """A description of the selector: the source of the rules and the number of vendors."""
        return f"{self._rules_from}, {len(self.provider_names())} vendors"

    # --- the rules -------------------------------------------------------------------------

    @property
    def rules(self) -> dict[str, Any]:
        """The rules as a plain mapping. To change them, assign another; changes in place are ignored.

        Raises:
            RulesError: The assigned mapping is invalid.
        """
        with self._building:
            if self._plain is None:
                # Copied because the whole process shares the rules, and users modify dicts.
                self._plain = copy.deepcopy(dict(self._rules.plain))
            return self._plain

    @rules.setter
    def rules(self, mapping: Mapping[str, Any]) -> None:
        self._use(rules_of(mapping, "selector.rules"))
        self._rules_from = "rules of the program"

    @property
    def parsed_rules(self) -> Rules:
        """The rules in parsed, immutable form."""
        return self._rules

    def _use(self, rules: Rules) -> None:
        with self._building:
            self._rules = rules
            for vendor in rules.providers.values():
                note_variables(vendor.api_key_env, vendor.secret_key_env)
            self._plain = None
            if self._workshop is not None:
                self._workshop.remove_made(self.downloaders)
            self._workshop = None
        tables = rules.classification
        self._classified = lru_cache(_MOST_SYMBOLS)(lambda symbol: classify(symbol, tables))
        # Set last, so that the new store contains only orders that were chosen by these rules.
        self._slots = lru_cache(MOST_ORDERS)(lambda asset_class, timeframe: _Slot())
        # Symbols served by the same rule share an order.
        self._orders: dict[tuple[str, ...], VendorOrder] = {}

    def rule_for(self, instrument: Instrument, timeframe: Timeframe | str) -> Rule:
        """Return the rule that serves bars of this instrument and timeframe.

        Raises:
            BadTimeframeError: The timeframe is invalid.
            NoProviderError: No rule lists the timeframe; a ``ValueError`` and a ``RuntimeError``.
        """
        wanted = Timeframe.parse(timeframe)
        rule = self._rules.rule_for(instrument.asset_class, wanted)
        if rule is None:
            lacking = f"no rule for {instrument.asset_class} lists this timeframe"
            raise NoProviderError(
                f"{_NO_PROVIDER} for {instrument.symbol} {wanted}: {lacking}",
                symbol=instrument.symbol,
                hint=f"add {wanted} to the timeframes of a rule in {self.config_path}",
            )
        return rule

    # --- symbols ---------------------------------------------------------------------------

    def instrument(self, symbol: Any) -> Instrument:
        """Return the instrument that ``symbol`` means.

        Raises:
            BadSymbolError: The value is not a symbol, or is ambiguous; ``candidates`` lists the
                symbols that may be meant.
            NoProviderError: No rule classifies the symbol (a ``ValueError`` and a
                ``RuntimeError``). If the symbol resembles the name of well-known shares or coins,
                ``candidates`` lists their symbols.
        """
        verdict = self._verdict(symbol)
        if isinstance(verdict, Instrument):
            return verdict
        name, hint = symbol if isinstance(symbol, str) else None, verdict.hint or None
        if verdict.reason != "unknown":
            refused = BadSymbolError(verdict.message, symbol=name, hint=hint)
            refused.candidates = verdict.candidates or verdict.meant
            raise refused
        message = f"{_NO_PROVIDER} for {symbol!r}: {verdict.message}"
        unknown = NoProviderError(message, symbol=name, hint=hint)
        if name:
            # Imported here because most symbols are recognized.
            from .config.common_names import common_listings
            from .symbols.name_search import nearest, propose

            propose(unknown, nearest(name.strip(), common_listings()))
        raise unknown

    def spelling(self, symbol: Any) -> str:
        """Return a symbol's canonical spelling, or the symbol in uppercase if ambiguous or not covered.

        Raises:
            BadSymbolError: The value cannot be a symbol.
        """
        verdict = self._verdict(symbol)
        if isinstance(verdict, Instrument):
            return verdict.symbol
        if verdict.reason == "unknown" or verdict.candidates:
            return str(symbol).strip().upper()
        return self.instrument(symbol).symbol  # raises the error that describes the fault

    def split_vendor(self, symbol: Any, provider: str | None = None) -> tuple[Any, str | None]:
        """Return a symbol without its vendor prefix, and the vendor pinned by prefix or ``provider``.

        ``BINANCE:BTCUSDT`` is the same as ``BTCUSDT`` with ``provider="binance"``. A prefix that
        names the exchange of a listing does not pin a vendor and is kept.

        Raises:
            QueryError: ``provider`` names a different vendor.
        """
        if not isinstance(symbol, str) or ":" not in symbol:
            return symbol, provider
        head, _, body = symbol.strip(" ").rpartition(":")
        vendor = self.canonical(head)
        if vendor is None:
            return symbol, provider
        if provider is not None and self.canonical(provider) != vendor:
            raise QueryError(
                f"{symbol!r:.80} names the vendor {vendor}, but provider is {provider!r:.40}",
                symbol=body,
                hint="omit one of the two",
            )
        return body, vendor

    def classify_symbol(self, symbol: Any) -> str:
        """Return ``crypto``, ``stock`` (also for an index) or ``unknown`` (also for a currency or future)."""
        return tickers.symbol_type(self._instrument_of(symbol))

    _classify_symbol = classify_symbol

    def get_ticker_info(self, symbol: Any) -> TickerInfo:
        """Return a description of a ticker, as a dict whose entries are also attributes."""
        instrument = self._instrument_of(symbol)
        first = self._named_first(instrument, "1d")
        return tickers.ticker_info(symbol, instrument, self._rules.classification, first)

    def validate_ticker(self, symbol: Any) -> dict[str, Any]:
        """Return a dict with ``valid`` and the ticker's description, or ``error`` and ``suggestions``."""
        verdict = self._verdict(symbol)
        candidates = verdict.candidates if isinstance(verdict, SymbolRefusal) else ()
        tables = self._rules.classification
        return tickers.ticker_verdict(symbol, self._instrument_of(symbol), tables, candidates)

    def classify_symbol_for_fundamentals(self, symbol: Any) -> dict[str, Any]:
        """Return a symbol's type, market, exchange, country, currency and depth of fundamental data."""
        return tickers.fundamentals_profile(
            symbol, self._instrument_of(symbol), self._rules.classification
        )

    def _verdict(self, symbol: Any) -> Instrument | SymbolRefusal:
        # Only strings are cached; other values may not be hashable.
        if isinstance(symbol, str):
            return self._classified(symbol)
        return classify(symbol, self._rules.classification)

    def _instrument_of(self, symbol: Any) -> Instrument | None:
        verdict = self._verdict(symbol)
        return verdict if isinstance(verdict, Instrument) else None

    def provider_names(self) -> list[str]:
        """Return the canonical names of all vendors, including named members of families."""
        from .vendors.factory import DataDownloaderFactory

        return [*DataDownloaderFactory.list_providers(), *self._rules.members]

    def canonical(self, provider: Any) -> str | None:
        """Return the canonical name for a vendor, an alias, or an entry in ``downloaders``."""
        if not isinstance(provider, str):
            return None
        family, _, folder = provider.partition(":")
        may_be_escaped = "%" in folder and row_of(family.lower()).of_folders
        if may_be_escaped and Path(folder).expanduser().is_dir():
            # If a folder has exactly this name, the percent sign is not an escape.
            provider = f"{family}:{quote(folder, safe='')}"
        return known_vendor(provider) or (provider if provider in self.downloaders else None)

    def get_provider_with_failover(self, symbol: Any, timeframe: str) -> list[str]:
        """Return the usable vendors for a series, in the order of its rule; [] if no rule matches.

        A vendor is usable if its downloader can be built, which requires its key. Whether it serves
        the data, is available and has quota left is considered only in the fetch plan. The order is
        cached until the rules, keys or downloaders change.
        """
        if not (isinstance(symbol, str) and isinstance(timeframe, str)):
            return list(self._choose(symbol, timeframe).names)  # may not be hashable
        slot = self._slot(symbol, timeframe)
        order = slot.order
        if order is None or not order.holds(self.downloaders):
            order = slot.order = self._choose(symbol, timeframe)
        return list(order.names)

    def order_at_hand(self, symbol: str, timeframe: str) -> VendorOrder | None:
        """Return the order of :meth:`get_provider_with_failover` without loading any vendor's module.

        A vendor that is not loaded is included if its keys are set, even if its downloader cannot
        be built. The same object is returned as long as the rules, keys and downloaders stay the
        same. The result is None if user code has replaced :meth:`get_provider_with_failover`.
        """
        if getattr(self.get_provider_with_failover, "__func__", None) is not _FAILOVER:
            return None
        slot = self._slot(symbol, timeframe)
        order = slot.order
        if order is not None and order.holds(self.downloaders):
            return order
        order = slot.at_hand
        if order is None or not order.holds(self.downloaders):
            order = slot.at_hand = self._order_at_hand(symbol, timeframe)
        return order

    def _slot(self, symbol: str, timeframe: str) -> _Slot:
        """Return the orders for a series; a rule is for all symbols of an asset class."""
        instrument = self._instrument_of(symbol)
        return self._slots(instrument and instrument.asset_class, timeframe)

    def _order_at_hand(self, symbol: str, timeframe: str) -> VendorOrder:
        orders = self._orders  # read before the rules, as a slot is
        vendors = self._named_vendors(symbol, timeframe)
        with self._building:
            order = orders.get(("at hand", *vendors))
            if order is not None and order.holds(self.downloaders):
                return order
            codes = {name: canonical_vendor(name) or name for name in vendors}
            keys = {code: self._credentials(code) for code in codes.values()}
            state = KeyState(v for credentials in keys.values() for v in credentials.variables)
            names = tuple(n for n, code in codes.items() if self._may_be(n, code, keys[code]))
            aliases = (name for pair in codes.items() for name in pair)
            order = VendorOrder(names, state, aliases, self.downloaders)
            orders[("at hand", *vendors)] = order
            return order

    def _credentials(self, code: str) -> Credentials:
        rules = self._rules.provider(code)
        return vendor_credentials(code, rules.api_key_env, rules.secret_key_env)

    def _may_be(self, name: str, code: str, credentials: Credentials) -> bool:
        """Return whether a vendor's downloader can probably be built, without loading its module."""
        downloader = self.downloaders.get(code, self.downloaders.get(name))
        if downloader is not None:
            return self._workshop is None or not self._workshop.is_out(downloader)
        if code in VENDORS and not VENDORS[code].bars:
            return False
        row = row_of(family_of(code))
        if row.is_family and find_spec(row.package) is None:
            return False
        return not lacks_key(code, credentials)

    def _named_vendors(self, symbol: Any, timeframe: str) -> tuple[str, ...]:
        """Return the vendors that the rules name for a series, in order."""
        try:
            rule = self.rule_for(self.instrument(symbol), timeframe)
        except QueryError:
            return ()
        return rule.vendors if self._rules.failover.enabled else (rule.primary,)

    def _choose(self, symbol: Any, timeframe: str) -> VendorOrder:
        orders = self._orders  # read before the rules, as a slot is
        vendors = self._named_vendors(symbol, timeframe)
        with self._building:
            order = orders.get(vendors)
            if order is not None and order.holds(self.downloaders):
                return order
            # Read before the choice, so that the next call notices a change made meanwhile.
            keys = KeyState(v for name in vendors for v in self._shop().variables(name))
            names = tuple(n for n in vendors if self.downloader(n) is not None)
            aliases = (text for name in vendors for text in (canonical_vendor(name) or name, name))
            orders[vendors] = order = VendorOrder(names, keys, aliases, self.downloaders)
            return order

    def get_best_provider(self, symbol: Any, timeframe: str) -> str | None:
        """Return the first vendor that can be queried, or None.

        If no rule lists the timeframe, this is the vendor of the shorter bars from which such bars
        are built.
        """
        vendors = self.get_provider_with_failover(symbol, timeframe)
        instrument = self._instrument_of(symbol)
        if vendors or instrument is None or self._named_first(instrument, timeframe):
            return next(iter(vendors), None)
        for source in self._sources(instrument, timeframe):
            if vendors := self.get_provider_with_failover(symbol, source.label):
                return vendors[0]
        return None

    def supply(
        self, instrument: Instrument, timeframe: Timeframe, vendor: str | None = None
    ) -> Supply:
        """Return the vendor that is queried first for bars, and how far back the available vendors go.

        Health and quota are not considered. If ``vendor`` is given, only this vendor is considered.
        """
        symbol, label = instrument.symbol, timeframe.label
        vendors = [vendor] if vendor else self.get_provider_with_failover(symbol, label)
        depths: dict[str, int | None] = {}
        for name in vendors:
            capabilities = getattr(self.downloader(name), "capabilities", None)
            if not isinstance(capabilities, Capabilities):
                continue
            if label in capabilities.serving(instrument).labels(instrument.asset_class):
                depths[name] = capabilities.depth_days.get(label)
        if not depths:  # derived bars, or downloaders from outside this library
            return Supply(self.get_best_provider(symbol, label) or "", None)
        limits = [days for days in depths.values() if days is not None]
        return Supply(next(iter(depths)), max(limits) if len(limits) == len(depths) else None)

    def folder_lane(self, vendor: str) -> str:
        """Return the part of a lane's name that stands for the folder from which a vendor reads files.

        The result is empty for a vendor that does not read files. ``vendor`` is a canonical name.
        """
        if not is_of_files(vendor):
            return ""
        lane = getattr(self.downloader(vendor), "folder_lane", "")
        # A vendor that is not one of this library's file readers, or cannot be built, has no
        # folder.
        return lane if isinstance(lane, str) and lane else folder_lane(family_of(vendor), "")

    def stored_supply(self, key: SeriesKey) -> Supply | None:
        """Return :meth:`supply` for a stored series; None if no rule recognizes its symbol."""
        try:
            return self.supply(self.instrument(key.symbol), key.timeframe)
        except DataError:  # stored by an older tool
            return None

    def _sources(self, instrument: Instrument, timeframe: str) -> list[Timeframe]:
        """Return the timeframes in the rules from which ``timeframe`` can be built, longest first."""
        from .calendars.calendar import calendar_for
        from .prices.conversions import sources_for

        listed = {label for rule in self._rules.rules.values() for label in rule.timeframes}
        available = [Timeframe.parse(label) for label in sorted(listed)]
        try:
            return sources_for(Timeframe.parse(timeframe), available, calendar_for(instrument))
        except QueryError:
            return []

    def get_best_downloader(self, symbol: Any, timeframe: str) -> Any | None:
        """Return the downloader for :meth:`get_best_provider`'s vendor, or None."""
        name = self.get_best_provider(symbol, timeframe)
        return None if name is None else self.downloader(name)

    def get_data_provider_config(self, symbol: Any, interval: str | None = None) -> ProviderConfig:
        """Return the vendor for ``symbol``, and the arguments for calling it, by default for 1d bars."""
        timeframe = interval or "1d"
        instrument = self._instrument_of(symbol)
        first = self._named_first(instrument, timeframe)
        best = self.get_best_provider(symbol, timeframe)
        info = tickers.ticker_info(symbol, instrument, self._rules.classification, first)
        return tickers.provider_config(info, instrument, timeframe, best)

    def _named_first(self, instrument: Instrument | None, timeframe: str) -> str:
        """Return the vendor that the rules name first, or an empty string."""
        try:
            return self.rule_for(instrument, timeframe).primary if instrument else ""
        except QueryError:
            return ""

    def downloader(self, name: str) -> Any | None:
        """Return the downloader for a vendor or alias, built on first use; None if it cannot be built."""
        with self._building:
            return self._shop().supply(name, self.downloaders)

    _initialize_downloader = downloader

    def _shop(self) -> DownloaderPool:
        """Return the pool that builds downloaders according to the rules; requires the lock."""
        if self._workshop is None:
            from .vendors.factory import DownloaderPool

            self._workshop = DownloaderPool(self._rules, self.make_sender)
        return self._workshop

    def _get_provider_capabilities(self) -> dict[str, dict[str, Any]]:
        """Return for each vendor in the rules whether it can be queried and which data it serves."""
        from .vendors.factory import usable_class, vendor_summary

        return {
            name: vendor_summary(rule, self.downloader(name), usable_class(name))
            for name, rule in self._rules.providers.items()
        }


_FAILOVER = ProviderSelector.get_provider_with_failover


_selector: Singleton[ProviderSelector] = Singleton("selector", warn_user)


def get_provider_selector(
    config_path: str | Path | None = None, cache_dir: str | Path | None = None
) -> ProviderSelector:
    """Return the single selector of this process, creating it on the first call.

    Examples:
        >>> get_provider_selector().classify_symbol("BTCUSDT")
        'crypto'

    Thread-safe; a forked child creates its own selector. If later calls have different arguments,
    these are ignored, with a warning.
    """
    return _selector.get(ProviderSelector, config_path, cache_dir)


def reset_provider_selector() -> None:
    """Forget this process's selector, so that the next call creates a new one. For tests."""
    _selector.forget()
