"""The rules of an installation as values: order of vendors, their settings, symbol classification."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from ..vendors.registry import family_of
from .retention import Age, Retention
from .timeframe import Timeframe

STOCK_RULES = ("stock_intraday", "stock_daily", "stock_weekly_monthly")
RULES = ("crypto", *STOCK_RULES, "forex", "index", "future")
FACTS = ("type", "cost", "data_quality", "reliability", "coverage", "description")


@dataclass(frozen=True)
class Rule:
    """The vendors for one class of bars, in order.

    Attributes:
        name: such as ``stock_daily``.
        primary: the vendor asked first, canonical.
        backup: the vendors asked next, in order.
        timeframes: labels of the bars that the rule serves.
        description: for people.
    """

    name: str
    primary: str
    backup: tuple[str, ...] = ()
    timeframes: tuple[str, ...] = ()
    description: str = ""

    @property
    def vendors(self) -> tuple[str, ...]:
        """Primary and backups in order, each once."""
        return tuple(dict.fromkeys((self.primary, *self.backup)))


@dataclass(frozen=True)
class ProviderRules:
    """Settings of one vendor; None means as the vendor declares.

    Attributes:
        name: canonical.
        title: for people.
        settle_minutes: how long after its close an intraday bar may still change.
        rate_limits: ``requests_per_minute``, ``requests_per_second``, ``requests_per_day``,
            ``requests_per_month`` and ``burst_size``, those that are set.
        api_key_env, secret_key_env: the variables that hold its keys, where not the usual ones.
        options: settings that one vendor alone has: folder and columns of ``local``, host of ``ibkr``.
        facts: cost, data_quality, reliability, coverage, type: shown, and kept with the bars.
    """

    name: str
    title: str = ""
    base_url: str | None = None
    ws_url: str | None = None
    transport: str = "auto"
    settle_minutes: float | None = None
    rate_limits: Mapping[str, float] = field(default_factory=dict)
    api_key_required: bool = False
    api_key_env: str | None = None
    secret_key_env: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Failover:
    """Retries of a request to one vendor: how many, and after which wait in seconds."""

    enabled: bool = True
    max_retries: int = 3
    retry_delay: float = 1.0
    exponential_backoff: bool = True


@dataclass(frozen=True)
class JobRules:
    """How long a request of a job goes on without a page of any vendor, in seconds."""

    timeout_s: float = 600.0


@dataclass(frozen=True)
class CacheRules:
    """Settings of the cache; ``max_size_gb`` 0 means no limit.

    Without ``enabled`` the cache is a temporary folder of the process, gone at its exit.

    ``keep_versions`` year files stay when bars are revised, for ``keep_versions_days`` at most.
    ``min_free_mb`` MiB stay free on the disk; None: one hundredth of it, 64 to 1,024 MiB.
    ``private`` files and folders are their owner's alone.
    ``retention`` is an age such as ``5y``: whole years whose newest bar is older go; None: none go.
    """

    enabled: bool = True
    default_ttl_hours: float = 24.0
    max_size_gb: float = 10.0
    compression: str = "gzip"
    columnar: Literal["map", "read", "off"] = "map"
    keep_versions: float = 8
    keep_versions_days: float | None = None

    min_free_mb: float | None = None
    private: bool = False
    retention: str | None = None

    @property
    def versions(self) -> Retention:
        """What is kept of replaced year files."""
        return Retention(int(self.keep_versions), self.keep_versions_days)

    @property
    def max_age(self) -> Age | None:
        """How old the newest bar of a year may get before the year goes; None: any age."""
        return None if self.retention is None else Age.parse(self.retention)


@dataclass(frozen=True)
class ValidationRules:
    """Checks of answers; the score is from 0 to 1."""

    enabled: bool = True
    min_quality_score: float = 0.8
    check_gaps: bool = True
    check_duplicates: bool = True


@dataclass(frozen=True)
class Exchange:
    """A venue of stocks, by its suffix.

    Attributes:
        suffix: the canonical one, such as ``.L``; ``code`` is the short name, such as ``LSE``.
        quote: unit of prices, None where it varies from share to share.
        market: UK, EU, ASIA and so on, for fundamentals.
        bare: whether the canonical spelling of its symbols has no suffix.
    """

    suffix: str
    name: str = ""
    code: str = ""
    calendar: str = "24/5"
    timezone: str = "UTC"
    country: str = "unknown"
    currency: str = "unknown"
    quote: str | None = None
    market: str = "unknown"
    bare: bool = False


@dataclass(frozen=True)
class Classification:
    """The tables by which symbols are classified; texts are upper case."""

    symbols: Mapping[str, str | Mapping[str, Any]] = field(default_factory=dict)
    stablecoins: frozenset[str] = frozenset()
    quotes: tuple[str, ...] = ()
    assets: frozenset[str] = frozenset()
    currencies: frozenset[str] = frozenset()
    crypto_patterns: tuple[re.Pattern[str], ...] = ()
    stock_patterns: tuple[re.Pattern[str], ...] = ()
    exchanges: Mapping[str, Exchange] = field(default_factory=dict)
    indices: Mapping[str, Exchange] = field(default_factory=dict)
    etfs: frozenset[str] = frozenset()
    reits: frozenset[str] = frozenset()
    listings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def all_quotes(self) -> frozenset[str]:
        """What a pair may end with: the quotes of coins, and currencies."""
        return self.currencies.union(self.quotes)


@dataclass(frozen=True)
class Rules:
    """A whole rules file, checked; ``plain`` is the mapping it was read from."""

    rules: Mapping[str, Rule]
    providers: Mapping[str, ProviderRules]
    classification: Classification
    live_feeds: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    failover: Failover = Failover()
    jobs: JobRules = JobRules()
    cache: CacheRules = CacheRules()
    validation: ValidationRules = ValidationRules()
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def rule_for(self, asset_class: str, timeframe: Timeframe) -> Rule | None:
        """Return the rule that serves such bars, or None.

        Where two rules of stocks list a timeframe, the one that is named after it serves it.
        """
        names = (
            _usual_rule(asset_class, timeframe),
            *(STOCK_RULES if asset_class == "stock" else ()),
        )
        rules = (self.rules[name] for name in names if name in self.rules)
        return next((rule for rule in rules if timeframe.label in rule.timeframes), None)

    def provider(self, name: str) -> ProviderRules:
        """Return the settings of a vendor, else of its family, else empty ones."""
        rules = self.providers.get(name) or self.providers.get(family_of(name))
        return replace(rules, name=name) if rules else ProviderRules(name)

    @property
    def members(self) -> tuple[str, ...]:
        """The members of families that rules or settings name, such as ``ccxt:kraken``."""
        named = [*self.providers, *(v for rule in self.rules.values() for v in rule.vendors)]
        return tuple(dict.fromkeys(name for name in named if name != family_of(name)))


def _usual_rule(asset_class: str, timeframe: Timeframe) -> str:
    """Name the rule that serves such bars unless a file says otherwise."""
    if asset_class != "stock":
        return asset_class
    return STOCK_RULES[0 if timeframe.is_intraday else 1 if timeframe.unit == "d" else 2]
