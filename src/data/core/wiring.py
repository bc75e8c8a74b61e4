"""The composition root: the only module that creates the services and connects them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .clock import Clock, SystemClock
from .config.rules import Rules
from .config.rules_file import load_rules
from .config.settings import load_settings, shared_store
from .disk.scratch import process_folder
from .model.request.settings import Settings
from .model.time.instant import HOUR_MS
from .model.words.caller import warn_user
from .observability.logs import write_as_environment_says
from .runtime.forks import renew_after_fork
from .runtime.once import cached_property
from .runtime.singleton import Singleton

if TYPE_CHECKING:
    from .bars.client import BarsClient
    from .bars.figures.figures import FiguresService
    from .bars.figures.symbol_search import NameService
    from .bars.observer import Observer
    from .cache.facade.unified_cache import UnifiedCache
    from .filings.service import FilingsService
    from .fundamentals.service import FundamentalsService
    from .macro.service import MacroService
    from .net.http.http import Transport
    from .net.http.retry import RetryPolicy
    from .net.http.sender import Sender
    from .net.http.sender_pool import ShareLimits
    from .net.limits.leases import Leases
    from .net.limits.limiter import Limiter
    from .provider_selector import ProviderSelector
    from .vendors.network import Network

__all__ = ["Services", "build", "network_of"]


class _Networks:
    """An installation's network, created when first needed. Thread-safe; usable after a fork.

    Answers from the cache do not need the network, and importing it is slow.

    Args:
        make: Function that creates the network; it is called only once.
    """

    def __init__(self, make: Callable[[], Network]) -> None:
        self._make = make
        # Ensures that threads which need the network at the same moment create only one.
        self._lock = threading.Lock()
        self._network: Network | None = None
        renew_after_fork(self)

    def get(self) -> Network:
        """Return the network, creating it on the first call."""
        with self._lock:
            if self._network is None:
                self._network = self._make()
            return self._network

    def sender(self, vendor: str) -> Sender:
        """Return a sender of requests to ``vendor``; see :meth:`.Network.sender`."""
        return self.get().sender(vendor)

    def own_sender(self, name: str, downloader: object, carrier: Transport) -> Sender:
        """Return a sender of requests for a user's own downloader; see :meth:`.Network.own_sender`."""
        return self.get().own_sender(name, downloader, carrier)

    def leases(self) -> Leases | None:
        """Return the leases that make processes take turns at fetching; see :attr:`.Network.leases`."""
        return self.get().leases

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._lock = threading.Lock()


# This process's data manager. It is here because modules that the facade imports also need it.
MANAGER: Singleton[Any] = Singleton(
    "data manager",
    warn_user,
    lambda made: (made._services.settings.cache_dir, made._services.settings.rules_path),
)


@dataclass(frozen=True)
class Services:
    """The services that the facade and the jobs use, wired together."""

    settings: Settings
    clock: Clock
    networks: _Networks
    cache: UnifiedCache
    selector: ProviderSelector
    client: BarsClient
    observer: Observer

    @property
    def network(self) -> Network:
        """The connections and rate limits that all services share."""
        return self.networks.get()

    # If two threads first use one of the next four simultaneously, it may be created twice, but
    # both use the same.
    @cached_property
    def figures(self) -> FiguresService:
        """The service for funding rates, open interest and similar figures."""
        from .bars.figures.figures import FiguresService

        leases = self.networks.leases
        return FiguresService(self.cache, self.selector, self.clock, self.observer, leases)

    @cached_property
    def fundamentals(self) -> FundamentalsService:
        """The service for fundamentals of companies and coins."""
        from .fundamentals.service import FundamentalsService

        return FundamentalsService(
            self.settings,
            self.selector,
            self.clock,
            self.observer.failed,
            lambda question: self.filings.snapshot(question),
        )

    @cached_property
    def filings(self) -> FilingsService:
        """The service for filings with the SEC."""
        from .filings.service import FilingsService

        changes, leases = self.client.symbol_changes, self.networks.leases
        return FilingsService(self.settings.cache_dir, self.selector, self.clock, changes, leases)

    @cached_property
    def macro(self) -> MacroService:
        """The service for macro series."""
        from .macro.service import MacroService

        return MacroService(
            self.settings.cache_dir, self.selector, self.clock, self.observer.failed
        )

    @cached_property
    def names(self) -> NameService:
        """The service that finds symbols by name."""
        from .bars.figures.symbol_search import NameService
        from .cache.beside.names import NameCache

        is_private = self.selector.parsed_rules.cache.private
        cache = NameCache(self.cache.cache_dir, private=is_private)
        return NameService(cache, self.selector, self.clock)

    @property
    def rate_limiters(self) -> Mapping[str, Limiter]:
        """Maps the name of every vendor to its rate limiter, which is created when it is looked up."""
        return _RateLimiters(self.networks, self.selector)


class _RateLimiters(Mapping[str, "Limiter"]):
    """The rate limiters by vendor; a vendor's module is loaded only when its limiter is looked up."""

    def __init__(self, networks: _Networks, selector: ProviderSelector) -> None:
        self._networks = networks
        self._selector = selector

    def __getitem__(self, name: str) -> Limiter:
        if name not in self._selector.provider_names():
            raise KeyError(name)
        return self._networks.get().limiter(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._selector.provider_names())

    def __len__(self) -> int:
        return len(self._selector.provider_names())


def build(
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
    *,
    clock: Clock | None = None,
    retry: RetryPolicy | None = None,
    observer: Observer | None = None,
) -> Services:
    """Create all services for one cache folder and one set of rules.

    Args:
        cache_dir, config_path, clock: See the data manager.
        retry: Policy for how often and for how long requests are retried; by default, the rules'
            policy.
        observer: Observer that counts calls and forwards events; by default, a new observer.

    Raises:
        ConfigError: The configuration is invalid.
        StorageError: The cache folder cannot be used.
    """
    from .bars.client import BarsClient
    from .bars.observer import Observer
    from .bars.refetchable import Refetchability
    from .bars.service import BarsService
    from .bars.validity import Expiry
    from .cache.facade.unified_cache import UnifiedCache
    from .cache.retention.disk_usage import Gauge
    from .cache.store import BarStore
    from .provider_selector import ProviderSelector

    write_as_environment_says()
    settings = load_settings(cache_dir, config_path)
    ticking = clock or SystemClock()
    rules = load_rules(settings.rules_path)
    if not rules.cache.enabled:
        settings = replace(
            settings,
            cache_dir=process_folder("onetape-cache-"),
            cache_dir_from="cache.enabled: false in the rules",
        )
    observer = observer or Observer(ticking, Gauge(lambda: cache.holdings(), ticking))
    shared, hosts = shared_store(rules), None
    if shared.url:
        from .hosts.connect import connect

        hosts = connect(shared, ticking, settings.state_dir)
    limits = hosts.limits if hosts else None
    networks = _Networks(lambda: network_of(settings, rules, ticking, retry, observer, limits))
    selector = ProviderSelector(
        settings=settings, make_sender=networks.sender, own_sender=networks.own_sender
    )
    leases = hosts.share_leases(networks.leases) if hosts else networks.leases
    cache = UnifiedCache(
        settings.cache_dir,
        settings.max_size_gb,
        clock=ticking,
        instrument_of=selector.instrument,
        vendor_facts=facts_of(rules),
        columnar=rules.cache.columnar,
        min_free_mb=rules.cache.min_free_mb,
        private=rules.cache.private,
        must_keep=Refetchability(selector),
        retention=rules.cache.versions,
        max_age=rules.cache.max_age,
        may_do_without=True,
        make_store=hosts.make_store if hosts else BarStore,
    )
    ttl_hours = min(rules.cache.default_ttl_hours, 87_600)  # ten years
    expiry = Expiry(recent_ms=round(ttl_hours * HOUR_MS))
    checks = rules.validation
    store = cache.store.reading_files()
    service = BarsService(store, selector, ticking, expiry, checks, leases, observer)
    client = BarsClient(store, selector, ticking, service, observer, leases, expiry, checks)
    return Services(settings, ticking, networks, cache, selector, client, observer)


def network_of(
    settings: Settings,
    rules: Rules,
    clock: Clock,
    retry: RetryPolicy | None = None,
    observer: Observer | None = None,
    shared_limits: ShareLimits | None = None,
) -> Network:
    """Return the connections and limits for these settings and rules; no connection is opened yet."""
    from .net.http.sender_pool import senders_of
    from .vendors.network import Network

    attempted, changed = (
        (observer.attempted, observer.circuit_changed) if observer else (None, None)
    )
    return Network(senders_of(settings, rules, clock, retry, attempted, changed, shared_limits))


def facts_of(rules: Rules) -> dict[str, dict[str, Any]]:
    """Return each vendor's reliability (0 to 1) and rate limit, for the cache's metadata."""
    facts: dict[str, dict[str, Any]] = {}
    for name, vendor in rules.providers.items():
        facts[name] = entry = {}
        if (grade := vendor.facts.get("reliability")) is not None:
            entry["reliability"] = grade / 5
        if limit := vendor.rate_limits.get("requests_per_minute"):
            entry["rate_limit"] = f"{limit:g}/minute"
    return facts
