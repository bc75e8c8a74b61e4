"""The rules of an installation: the contents of a rules file, and their parsed form.

Each section is a dataclass whose fields declare how a value is checked and parsed, and its default.
:func:`check` finds every error in one pass, :func:`overlay` overrides the packaged mapping with a
user's, and :func:`parse` converts a checked mapping to :class:`Rules`. All are pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from string import Formatter
from typing import Any, Literal

from ...errors import QueryError
from ..model.identity.classification import Classification
from ..model.stored.retention import Age, Retention
from ..model.time.timeframe import Timeframe
from ..registry import FAMILIES, canonical_vendor, family_of, is_sample, key_names
from . import classification
from .classification import CLASSIFICATION
from .schema import (
    Form,
    Path,
    Problem,
    anything,
    as_switch,
    attributes,
    contact,
    first_of,
    form,
    items,
    number,
    record,
    section,
    setting,
    settings_of,
    switch,
    table,
    text,
    timeframe,
    url,
    vendor,
    vendor_name,
    whole,
)

STOCK_RULES = ("stock_intraday", "stock_daily", "stock_weekly_monthly")
RULES = ("crypto", *STOCK_RULES, "forex", "index", "future")
# Settings that describe a vendor to people, in the order in which they are shown.
FACTS = ("type", "cost", "data_quality", "reliability", "coverage", "description")


@form(vendor_name)
def _candidate(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a vendor that can be queried, including a member of a vendor family, but not a family."""
    yield from vendor.check(value, path)
    if isinstance(value, str) and canonical_vendor(value) in FAMILIES:
        yield Problem(path, f"{value} is a family of vendors; name one of them", f"{value}:kraken")
    if isinstance(value, str) and is_sample(canonical_vendor(value)):
        yield Problem(path, f"{value} is used only in calls that name it: provider={value!r}")


@form()
def _age(value: Any, path: Path) -> Iterator[Problem]:
    """Accept an age such as ``5y``, or null."""
    try:
        _ = value is None or Age.parse(value)
    except QueryError as exc:
        yield Problem(path, f"{exc.args[0]}: {exc.hint}")


@form()
def _delimiter(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a character that separates CSV fields, or null."""
    if value is not None and value not in (",", ";", "|", "\t"):
        text = repr(value) if isinstance(value, str) else type(value).__name__
        yield Problem(path, f'it is {text}, but must be one of "," ";" "|" "\\t"')


_maybe = text(nullable=True)
_PATTERN_FIELDS = ("symbol", "timeframe", "base", "quote")
# A file name has at most 255 bytes, some of which the symbol needs.
_LONGEST_PATTERN = 200


def pattern_fault(pattern: str) -> str:
    """Return why a string is not a file name pattern; empty if it is one."""
    accepted = "only {symbol}, {timeframe}, {base} and {quote} are filled in"
    if len(pattern) > _LONGEST_PATTERN:
        return f"it has {len(pattern):,} characters; at most {_LONGEST_PATTERN} are allowed"
    if not pattern.isprintable():
        return "it has control characters, but must be a file name"
    try:
        fields = [(name, f"{spec}{way or ''}") for _, name, spec, way in Formatter().parse(pattern)]
    except ValueError:
        return f"it has an unmatched brace; {accepted}"
    for name, more in fields:
        if name is not None and (name not in _PATTERN_FIELDS or more):
            return f"it has the field {{{name:.40}}}{' with a format' * bool(more)}; {accepted}"
    return ""


@form()
def _pattern(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a pattern for file names, or null."""
    yield from _maybe.check(value, path)
    if isinstance(value, str) and (reason := pattern_fault(value)):
        yield Problem(path, reason)


_rate = number(0, nullable=True).to(lambda value: None if value is None else float(value))
_count = whole(0, nullable=True).to(_rate.parse)
_grade = number(1, 5)
# Limits on requests to a vendor. Fractions are allowed, because half a request per minute is not
# none.
RATE_LIMITS = {
    "requests_per_minute": _count,
    "requests_per_second": _rate,
    "requests_per_day": _count,
    "requests_per_month": _count,
    "burst_size": _count,
}


@dataclass(frozen=True)
class Rule:
    """A rule: the vendors that are queried for one class of bars, in order.

    Attributes:
        name: Name of the rule, such as ``stock_daily``.
        primary: Vendor queried first, by its canonical name.
        backup: Vendors queried next, in order.
        timeframes: Labels of the bars that the rule serves.
        description: Description for people; it has no effect.
    """

    name: str
    primary: str = setting(_candidate)
    backup: tuple[str, ...] = setting(items(_candidate), ())
    timeframes: tuple[str, ...] = setting(items(timeframe), ())
    description: str = setting(text(), "")

    @property
    def vendors(self) -> tuple[str, ...]:
        """The primary and backup vendors in order, without duplicates."""
        return tuple(dict.fromkeys((self.primary, *self.backup)))


@dataclass(frozen=True)
class ProviderRules:
    """Settings of one vendor; None means that the vendor's own declaration applies.

    Attributes:
        name: Canonical name.
        title: Display name.
        type, description, cost, data_quality, reliability, coverage: See :attr:`facts`.
        rate_limits: Limits that the file sets.
        api_key_env, secret_key_env: Environment variables that contain the vendor's keys; None for
            the usual ones.
        settle_minutes: Minutes after an intraday bar closes during which it may still change.
        options: Settings that only this vendor has, such as the folder and columns of ``local`` or
            the host of ``ibkr``.
    """

    name: str
    title: str = setting(text(), "", key="name")
    type: str | None = setting(text("crypto", "stock", "mixed"), None)
    description: str | None = setting(text(), None)
    rate_limits: Mapping[str, float] = setting(record(RATE_LIMITS), factory=dict)
    cost: str | None = setting(text(), None)
    data_quality: float | None = setting(_grade, None)
    reliability: float | None = setting(_grade, None)
    coverage: str | None = setting(text(), None)
    api_key_required: bool = setting(switch, False)
    api_key_env: str | None = setting(_maybe, None)
    secret_key_env: str | None = setting(_maybe, None)
    base_url: str | None = setting(url("http"), None)
    ws_url: str | None = setting(url("ws"), None)
    transport: str = setting(text("auto", "sdk", "http"), "auto")
    settle_minutes: float | None = setting(number(0, 1440, nullable=True), None)
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """The descriptive settings in the file, shown and stored with the bars; see :data:`FACTS`."""
        facts = {name: getattr(self, name) for name in FACTS}
        return {name: value for name, value in facts.items() if value is not None}

    @property
    def keys(self) -> dict[str, str]:
        """The vendor's keys that the file itself contains: the contact for ``sec``."""
        contact = self.options.get("contact")
        return {key_names(self.name)[0]: contact} if contact else {}


@dataclass(frozen=True)
class Failover:
    """Settings for retrying a request to a vendor: the number of retries, and the delays in seconds."""

    enabled: bool = setting(switch, True)
    max_retries: int = setting(whole(0, 20), 3)
    retry_delay: float = setting(number(0, 3600), 1.0)
    exponential_backoff: bool = setting(switch, True)


@dataclass(frozen=True)
class JobRules:
    """Settings for jobs.

    ``timeout_s`` is the time in seconds after which a job's request ends if no vendor has returned
    another page.
    """

    timeout_s: float = setting(number(0.1, 86_400), 600.0)


@dataclass(frozen=True)
class CacheRules:
    """Settings of the cache.

    ``max_size_gb`` is the cache's size limit; 0 means no limit. If ``enabled`` is false, the cache
    is a temporary folder that is deleted when the process exits. ``keep_versions`` is the number of
    replaced year files to keep when bars are revised, for at most ``keep_versions_days``.
    ``min_free_mb`` is the space to leave free on the disk in MiB; None means 1 % of the disk, but
    at least 64 and at most 1,024 MiB. If ``private``, files and folders are accessible only to
    their owner. ``retention`` is an age such as ``5y``: a year of bars is deleted when its latest
    bar is older. None means that nothing is deleted because of its age.
    """

    enabled: bool = setting(switch, True)
    default_ttl_hours: float = setting(number(0), 24.0)
    max_size_gb: float = setting(number(0), 10.0)
    compression: str = setting(text(), "gzip")
    columnar: Literal["map", "read", "off"] = setting(text("map", "read", "off"), "map")
    keep_versions: float = setting(whole(0), 8)
    keep_versions_days: float | None = setting(number(0, nullable=True), None)
    min_free_mb: float | None = setting(number(0, nullable=True), None)
    private: bool = setting(switch, False)
    retention: str | None = setting(_age, None)

    @property
    def versions(self) -> Retention:
        """The number of replaced year files to keep, and for how long."""
        return Retention(int(self.keep_versions), self.keep_versions_days)

    @property
    def max_age(self) -> Age | None:
        """The age of a year's latest bar at which the year is deleted; None to keep all years."""
        return None if self.retention is None else Age.parse(self.retention)


@dataclass(frozen=True)
class ValidationRules:
    """Settings for checking answers; quality scores range from 0 to 1."""

    enabled: bool = setting(switch, True)
    min_quality_score: float = setting(number(0, 1), 0.8)
    check_gaps: bool = setting(switch, True)
    check_duplicates: bool = setting(switch, True)


@form()
def _server(value: Any, path: Path) -> Iterator[Problem]:
    """Accept the address of a PostgreSQL server; it is never shown, because it contains a password."""
    schemes = ("postgresql://", "postgres://")
    if not isinstance(value, str) or not value.startswith(schemes) or not value.isprintable():
        yield Problem(path, "must be an address postgresql://user:password@host:5432/database")
        return
    # The driver would take the rest of such a password for the host, and show it in its errors.
    server, _, rest = value.partition("://")[2].partition("/")
    if server.count("@") > 1 or "@" in rest.partition("?")[0]:
        yield Problem(
            path, "must be an address with a percent-encoded password: @ is %40, / is %2F"
        )


@dataclass(frozen=True)
class StoreRules:
    """Settings of the store that many hosts share; there is such a store only if ``url`` is set."""

    url: str = setting(_server, "")

    def __repr__(self) -> str:
        return f"StoreRules(is_set={bool(self.url)})"


_store = record(settings_of(StoreRules))
_provider = settings_of(ProviderRules)
_bars = dict.fromkeys(("open", "high", "low", "close", "volume", "adj_close"), text())
_options: dict[str | None, dict[str, Form]] = {
    "local": {
        "folder": _maybe,
        "pattern": _pattern,
        "symbol": _maybe,
        "symbol_column": _maybe,
        "columns": record(_bars | {"volume": _maybe}),
        "delimiter": _delimiter,
        "time_column": _maybe,
        "timezone": _maybe,
        "label": text("start", "end", nullable=True),
        "anchor": text("clock", "session", nullable=True),
        "adjustment": text("raw", "split", "all", "unknown", nullable=True),
        "unit": _maybe,
        "time_format": _maybe,
        "timeframes": table(text(), timeframe),
        "dense": switch,
    },
    "ibkr": {"host": text(), "port": whole(1), "client_id": whole(0)},
    "sec": {"contact": contact},
}


def _check_providers(value: Any, path: Path) -> Iterator[Problem]:
    """Check the settings of each vendor; some vendors accept additional keys."""
    yield from table(anything, vendor).check(value, path)
    for name, settings in value.items() if isinstance(value, Mapping) else ():
        keys = _provider | _options.get(canonical_vendor(str(name)), {})
        yield from record(keys).check(settings, (*path, name))


def _parse_providers(mapping: Mapping[str, Any] | None) -> dict[str, ProviderRules]:
    """Parse the settings of each vendor; a vendor family's settings also apply to its members."""
    entries = mapping or {}
    return {
        name: _provider_rules(name, {**(entries.get(family_of(name)) or {}), **(entry or {})})
        for name, entry in entries.items()
    }


def _provider_rules(name: str, entry: Mapping[str, Any]) -> ProviderRules:
    others = sorted(key for key in set(entry) - set(_provider) if entry[key] is not None)
    values = {"title": name, **attributes(_provider, entry)}
    return ProviderRules(name, options={key: entry[key] for key in others}, **values)


_live_feed = record(
    {
        "class": text(),
        "websocket": switch,
        "polling_interval": number(1),
        "supported_timeframes": items(timeframe),
        "description": text(),
    }
)
_live_feeds = Form(
    table(_live_feed, vendor).check,
    lambda plain: {name: dict(entry or {}) for name, entry in (plain or {}).items()},
)


@dataclass(frozen=True)
class Rules:
    """The checked content of a complete rules file; ``plain`` is the mapping it was parsed from."""

    rules: Mapping[str, Rule]
    providers: Mapping[str, ProviderRules] = setting(
        Form(_check_providers, _parse_providers), factory=dict
    )
    live_feeds: Mapping[str, Mapping[str, Any]] = setting(_live_feeds, factory=dict)
    failover: Failover = setting(section(Failover), Failover())
    jobs: JobRules = setting(section(JobRules), JobRules())
    cache: CacheRules = setting(section(CacheRules), CacheRules())
    validation: ValidationRules = setting(section(ValidationRules), ValidationRules())
    store: StoreRules = setting(_store.into(StoreRules), StoreRules())
    classification: Classification = setting(
        CLASSIFICATION, factory=Classification, key="symbol_classification"
    )
    plain: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def rule_for(self, asset_class: str, timeframe: Timeframe) -> Rule | None:
        """Return the rule for an asset class and timeframe, or None.

        If two stock rules list a timeframe, the rule named after the timeframe applies.
        """
        names = (
            _usual_rule(asset_class, timeframe),
            *(STOCK_RULES if asset_class == "stock" else ()),
        )
        rules = (self.rules[name] for name in names if name in self.rules)
        return next((rule for rule in rules if timeframe.label in rule.timeframes), None)

    def provider(self, name: str) -> ProviderRules:
        """Return a vendor's settings, or else its vendor family's settings, or else the defaults."""
        rules = self.providers.get(name) or self.providers.get(family_of(name))
        if rules is None:
            return ProviderRules(name)
        return rules if rules.name == name else replace(rules, name=name)

    @property
    def members(self) -> tuple[str, ...]:
        """Members of vendor families, such as ``ccxt:kraken``, that are named in rules or settings."""
        names = [*self.providers, *(v for rule in self.rules.values() for v in rule.vendors)]
        return tuple(dict.fromkeys(name for name in names if name != family_of(name)))


def _usual_rule(asset_class: str, timeframe: Timeframe) -> str:
    """Return the name of the rule that applies unless a rules file specifies another."""
    if asset_class != "stock":
        return asset_class
    return STOCK_RULES[0 if timeframe.is_intraday else 1 if timeframe.unit == "d" else 2]


_rule = settings_of(Rule)
_sections = settings_of(Rules)
_file = record(
    dict.fromkeys(RULES, record(_rule))
    | {"version": number(1, 1), "description": text()}
    | _sections
)


def check(mapping: Any) -> list[Problem]:
    """Return the errors in a rules mapping, up to a limit; keys may be absent."""
    return first_of(_file.check(mapping, ()))


def check_whole(rules: Mapping[str, Any]) -> list[Problem]:
    """Return the missing keys and dangling references in a complete, otherwise correct mapping."""
    return first_of(_whole_problems(rules))


def _whole_problems(rules: Mapping[str, Any]) -> Iterator[Problem]:
    for name in RULES:
        if rules.get(name) and "primary" not in rules[name]:
            yield Problem((name,), "primary is missing")
    yield from classification.check_whole(rules.get("symbol_classification") or {})


def not_obeyed(mapping: Mapping[str, Any]) -> list[Problem]:
    """Return the settings in a valid mapping that are ignored, each with the actual behavior.

    Some older files turn off checks that keep wrong bars out of the store. Such files are still
    accepted, but these settings are ignored.
    """
    cache, validation = (mapping.get(name) or {} for name in ("cache", "validation"))
    problems = []
    if as_switch(validation.get("enabled")) is False:
        problems.append(Problem(("validation", "enabled"), "answers are always checked"))
    if as_switch(validation.get("check_duplicates")) is False:
        path = ("validation", "check_duplicates")
        problems.append(Problem(path, "one of two rows with the same stamp is always kept"))
    if cache.get("compression", "gzip") != "gzip":
        problems.append(Problem(("cache", "compression"), "files are always gzip"))
    return problems


def overlay(base: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Return a base mapping overridden, key by key, by a user's checked one; neither is modified.

    Lists are replaced as a whole, and an empty section does not change anything. If one of the
    user's rules lists a timeframe, the timeframe is removed from the base rules that the user's
    file does not override.
    """
    merged: dict[str, Any] = _overlay(base, _canonical_keys(user))
    claimed = {name: _labels(user[name]) for name in RULES if _labels(user.get(name))}
    claimed_labels = {label for name in STOCK_RULES for label in claimed.get(name, ())}
    for name in STOCK_RULES:
        if name in merged and name not in claimed:
            remaining = [label for label in _labels(merged[name]) if label not in claimed_labels]
            merged[name] = {**merged[name], "timeframes": remaining}
    return merged


def parse(mapping: Mapping[str, Any]) -> Rules:
    """Convert a checked mapping to rules; keys that it does not contain get their defaults."""
    clean = _canonical_keys(mapping)
    rules = {
        name: Rule(name, **attributes(_rule, clean[name])) for name in RULES if clean.get(name)
    }
    return Rules(rules, plain=clean, **attributes(_sections, clean))


def _overlay(base: Any, user: Any) -> Any:
    """Merge two mappings key by key; values other than mappings are replaced by the user's."""
    if not isinstance(base, Mapping):
        return user
    if user is None:
        return dict(base)
    if isinstance(user, str):  # a string means only the name of an exchange
        return {**base, "name": user}
    return {**base, **{k: _overlay(base[k], v) if k in base else v for k, v in user.items()}}


def _canonical_keys(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping, replacing keys that are vendor names with canonical names."""
    rules = dict(mapping)
    for name in ("providers", "live_feeds"):
        if rules.get(name):
            rules[name] = {vendor_name(key): value for key, value in rules[name].items()}
    return rules


def _labels(rule: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the timeframes that a rule lists, in this library's spelling."""
    return tuple(_rule["timeframes"].parse((rule or {}).get("timeframes") or ()))
