"""The composition root: the only place where services are made and joined."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .clock import Clock, SystemClock
from .config.rules_file import load_rules
from .config.settings import load_settings
from .model.capabilities import Limits
from .model.instant import HOUR_MS
from .model.rules import Rules
from .model.settings import Settings
from .model.vendors import family_of
from .net.forks import renew_after_fork
from .net.leases import Leases
from .net.limiter import Limiter, Limiters, VendorLimiter
from .net.shared_limiter import SharedLimiter
from .net.state import State
from .policy.quota import limits_of
from .policy.retry import RetryPolicy

if TYPE_CHECKING:
    from .cache.unified_cache import UnifiedCache
    from .fundamentals.service import FundamentalsService
    from .model.rules import ValidationRules
    from .net.circuit import CircuitHook
    from .net.http import HttpTransport
    from .net.sender import Hook, Sender
    from .net.standing import Standing
    from .provider_selector import ProviderSelector
    from .routing.asking import Asking
    from .routing.batch import BatchService
    from .routing.figures import FiguresService
    from .routing.foretelling import Foreteller
    from .routing.observing import Observer
    from .routing.service import BarsService
    from .routing.terms import Expiry

__all__ = ["Network", "Services", "build", "default_sender"]


class Network:
    """The connections and limits of one installation. Thread-safe and fork-aware.

    Args:
        clock: waits and measures for all senders.
        said: limits as they are configured, vendor to keys; a later layer rules.
        retry: how often and how long a vendor is asked again.
        modes: vendor to ``http``, ``sdk`` or ``auto``: what carries its requests.
        on_attempt: told of every HTTP attempt.
        on_circuit: told of every circuit that a call of this process opens or closes.
        state_dir: where limits, circuits and leases lie that hold for all processes; made by the
            first request. Without it this process keeps limits by itself, and no circuits.
    """

    def __init__(
        self, clock: Clock, said: Sequence[Mapping[str, Mapping[str, float]]] = (),
        retry: RetryPolicy | None = None, modes: Mapping[str, str] | None = None,
        on_attempt: Hook | None = None, *, state_dir: Path | None = None,
        on_circuit: CircuitHook | None = None,
    ) -> None:  # fmt: skip
        self._clock = clock
        self._retry = retry
        self._modes = modes or {}
        self._on_attempt = on_attempt
        self._on_circuit = on_circuit
        # Made with the first sender: an answer from the cache needs no HTTP library.
        self._transport: HttpTransport | None = None
        self._said = tuple(said)
        self._state = State(state_dir, clock) if state_dir else None
        self.limiters = Limiters(clock, make=self._new_limiter)

    def sender(self, vendor: str) -> Sender:
        """Return a sender at the pace of ``vendor``; all senders share the connections.

        Raises:
            MissingExtraError: the rules want the vendor's own package, which is not installed.
        """
        from .downloader.registry import downloader_class
        from .net.carriers import choose_transport
        from .net.http import HttpTransport
        from .net.sender import Sender

        self._transport = self._transport or HttpTransport()
        declared = downloader_class(vendor)
        transport = choose_transport(
            self._modes.get(vendor, "auto"), declared.sdk_carrier,
            preferred=declared.prefers_sdk, plain=self._transport,
        )  # fmt: skip
        limiter = self.limiter(vendor)
        return Sender(transport, limiter, self._clock, self._retry, self._on_attempt)

    @property
    def leases(self) -> Leases | None:
        """Leases that hold for all processes, or None where there is no folder for them."""
        return Leases(self._state) if self._state else None

    def standing(self) -> list[Standing]:
        """Return which vendors are left alone just now, and why."""
        from .net.standing import standing

        return standing(self._state) if self._state else []

    def unknown_symbols(self) -> dict[str, int]:
        """Return for how many symbols each vendor is not asked, because it said it knows none."""
        from .net.standing import unknown_symbols

        return unknown_symbols(self._state) if self._state else {}

    def limiter(self, vendor: str) -> Limiter:
        """Return the limiter that all senders to ``vendor`` share."""
        from .downloader.registry import usable_class

        declared = known.limits if (known := usable_class(vendor)) else None
        both = dict.fromkeys((family_of(vendor), vendor))  # what is said of a family goes first
        said = [layer[name] for layer in self._said for name in both if name in layer]
        return self.limiters.of(vendor, limits_of(declared, *said))

    def _new_limiter(self, vendor: str, limits: Limits) -> Limiter:
        from .downloader.registry import usable_class

        known = usable_class(vendor)
        is_asked = known is None or known.default_base_url
        if self._state is None or not is_asked:  # files on this machine know no limits
            return VendorLimiter(vendor, limits, self._clock)
        return SharedLimiter(vendor, limits, self._state, on_circuit=self._on_circuit)


@dataclass(frozen=True)
class Services:
    """What the facade and the jobs work with, joined."""

    settings: Settings
    clock: Clock
    network: Network
    cache: UnifiedCache
    selector: ProviderSelector
    asking: Asking
    bars: BarsService
    batch: BatchService
    observer: Observer
    expiry: Expiry
    checks: ValidationRules

    @property
    def foreteller(self) -> Foreteller:
        """What says beforehand what requests would do."""
        from .routing.foretelling import Foreteller
        from .routing.rehearsing import Theatre

        store = self.cache.store
        return Foreteller(Theatre(store, self.selector, self.clock, self.expiry, self.checks))

    # Of the next two, threads that ask first at the same time may make two: no harm is done.
    @cached_property
    def figures(self) -> FiguresService:
        """What tells funding rates, open interest and the like."""
        from .routing.figures import FiguresService

        return FiguresService(self.cache, self.selector, self.clock, self.network.leases)

    @cached_property
    def fundamentals(self) -> FundamentalsService:
        """What tells of companies and coins."""
        from .fundamentals.service import FundamentalsService

        return FundamentalsService(self.settings, self.selector, self.clock)

    @property
    def rate_limiters(self) -> Mapping[str, Limiter]:
        """Vendor name to its limiter, for all vendors there are; each made when it is named."""
        return _RateLimiters(self.network, self.selector)


class _RateLimiters(Mapping[str, Limiter]):
    """The limiters by vendor. Looking one up loads the vendor's module, holding this does not."""

    def __init__(self, network: Network, selector: ProviderSelector) -> None:
        self._network = network
        self._selector = selector

    def __getitem__(self, name: str) -> Limiter:
        if name not in self._selector.provider_names():
            raise KeyError(name)
        return self._network.limiter(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._selector.provider_names())

    def __len__(self) -> int:
        return len(self._selector.provider_names())


def build(
    cache_dir: str | Path | None = None, config_path: str | Path | None = None, *,
    clock: Clock | None = None, retry: RetryPolicy | None = None,
) -> Services:  # fmt: skip
    """Make everything for one cache folder and one set of rules.

    Raises:
        ConfigError: the configuration is wrong.
        StorageError: the cache folder cannot be used.
    """
    from .cache.gauge import Gauge
    from .cache.unified_cache import UnifiedCache
    from .provider_selector import ProviderSelector
    from .routing.asking import Asking
    from .routing.batch import BatchService
    from .routing.observing import Observer
    from .routing.service import BarsService
    from .routing.supplying import Supply
    from .routing.terms import Expiry

    settings = load_settings(cache_dir, config_path)
    ticking = clock or SystemClock()
    rules = load_rules(settings.rules_path)
    observer = Observer(ticking, Gauge(settings.cache_dir, ticking))
    network = network_of(settings, rules, ticking, retry, observer)
    selector = ProviderSelector(settings=settings, make_sender=network.sender)
    cache = UnifiedCache(
        settings.cache_dir, settings.max_size_gb, clock=ticking,
        instrument_of=selector.instrument, vendor_facts=facts_of(rules),
        columnar=rules.cache.columnar, min_free_mb=rules.cache.min_free_mb,
        must_keep=Supply(selector, ticking), retention=rules.cache.retention,
    )  # fmt: skip
    expiry = Expiry(recent_ms=round(rules.cache.default_ttl_hours * HOUR_MS))
    asking = Asking(selector, ticking)
    bars = BarsService(
        cache.store, selector, ticking, expiry, rules.validation, network.leases, observer
    )  # fmt: skip
    return Services(settings, ticking, network, cache, selector, asking, bars,
                    BatchService(asking, bars), observer, expiry, rules.validation)  # fmt: skip


def network_of(
    settings: Settings, rules: Rules, clock: Clock, retry: RetryPolicy | None = None,
    observer: Observer | None = None,
) -> Network:  # fmt: skip
    """Return the connections and limits as settings and rules want them; nothing is made."""
    said = {name: vendor.rate_limits for name, vendor in rules.providers.items()}
    modes = {name: vendor.transport for name, vendor in rules.providers.items()}
    return Network(
        clock, (said, settings.rate_limits), retry or RetryPolicy.of(rules.failover), modes,
        observer.attempted if observer else None, state_dir=settings.state_dir,
        on_circuit=observer.circuit_changed if observer else None,
    )  # fmt: skip


def facts_of(rules: Rules) -> dict[str, dict[str, Any]]:
    """Return what the metadata tell other tools of each vendor: reliability (0 to 1), limit."""
    facts: dict[str, dict[str, Any]] = {}
    for name, said in rules.providers.items():
        facts[name] = told = {}
        if (grade := said.facts.get("reliability")) is not None:
            told["reliability"] = grade / 5
        if limit := said.rate_limits.get("requests_per_minute"):
            told["rate_limit"] = f"{limit:g}/minute"
    return facts


def told_by(downloader: Any, symbol: str, now_ms: int) -> dict[str, Any] | None:
    """Return a vendor's fundamentals of a symbol; see ``fundamentals.asking.profile_by_table``."""
    from .fundamentals.asking import profile_by_table

    return profile_by_table(downloader, symbol, now_ms)


class _Default:
    """What a downloader that somebody builds by hand works with: one network a process."""

    def __init__(self) -> None:
        # Guards the network against threads that build their first downloader at once.
        self._lock = threading.Lock()
        self._network: Network | None = None
        renew_after_fork(self)

    def network(self) -> Network:
        with self._lock:
            if self._network is None:
                own = load_settings()
                self._network = Network(SystemClock(), (own.rate_limits,), state_dir=own.state_dir)
            return self._network

    def after_fork(self) -> None:
        """Start with a lock of our own."""
        self._lock = threading.Lock()


_default = _Default()


def default_sender(vendor: str) -> Sender:
    """Return a sender to ``vendor`` on the process's own network."""
    return _default.network().sender(vendor)
