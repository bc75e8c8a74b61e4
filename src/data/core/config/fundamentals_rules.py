"""The allowed contents of a fundamentals file, and the rules they represent.

For each key, the layout of the file names the field of :class:`FundamentalsRules` that it sets.
:func:`check` finds every error in one pass; :func:`parse` converts a checked mapping to rules.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..model.market.fundamentals import DATA_TYPES, canonical_field
from ..model.time.instant import DAY_MS
from ..model.time.length import UNIT_MS, split_length
from .schema import (
    Form,
    Path,
    Problem,
    anything,
    as_switch,
    attributes,
    first_of,
    form,
    items,
    nearest,
    number,
    record,
    switch,
    table,
    text,
    vendor,
    whole,
)

STRATEGIES = ("priority_based", "quality_based", "consensus")
PRIORITY_GROUPS = (
    "raw_statements",
    "ttm_metrics",
    "company_profile",
    "share_data",
    "calendar_events",
    "dividends",
)
# Keys in older files that are now set elsewhere. They have no effect, which a warning says.
ELSEWHERE = {
    ("error_handling", "max_retries"): "failover.max_retries in provider_rules.yaml",
    ("error_handling", "retry_delay_seconds"): "failover.retry_delay in provider_rules.yaml",
    ("error_handling", "exponential_backoff"): "failover.exponential_backoff in "
    "provider_rules.yaml",
    ("symbol_mapping", "exchange_suffixes"): "symbol_classification in provider_rules.yaml",
}
_UNITS = ("d", "h", "m")
_MOST = 99_999


@dataclass(frozen=True)
class FundamentalsRules:
    """The checked content of a complete fundamentals file.

    Attributes:
        sequences: Maps each data type to its vendors, most trusted first.
        ttl_ms: Maps each data type to the time in milliseconds for which an answer stays fresh.
        default_ttl_ms: Time in milliseconds for which an answer with any other data type stays
            fresh.
        field_priorities: Maps each field to the vendors that take precedence over the usual
            sequence for this field.
        grades: Maps each vendor to its quality, 1 to 5, as used by the strategy ``quality_based``.
        tolerance: Relative difference from which values conflict.
        consensus_tolerance: Relative difference up to which values may be averaged.
        consensus_fallback: Strategy to use if the values differ too much to be averaged.
        reports_conflicts: Whether a record lists the conflicts between vendors.
        required_fields: Fields that a record lists as missing if they have no value.
        min_quality: Fraction of an older copy's quality that a newer copy needs to replace it.
        stale_ms: Maximum age in milliseconds of a stored copy that is returned because the vendor
            failed.
        serves_stale: Whether a stored copy may be returned if the vendor fails.
        asks_others: Whether a lookup queries the vendors after the first in a sequence.
        budget_s: Maximum number of seconds for a lookup, however many vendors are queried.
        cleans_up: Whether older copies are deleted.
        copies: Number of copies to keep for each vendor and type if older copies are deleted.
        symbols: Maps each symbol to the name that is used to query vendors for it.
    """

    sequences: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    ttl_ms: Mapping[str, int] = field(default_factory=dict)
    default_ttl_ms: int = 7 * DAY_MS
    field_priorities: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    grades: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 0.1
    consensus_tolerance: float = 0.1
    consensus_fallback: str = "priority_based"
    reports_conflicts: bool = True
    required_fields: tuple[str, ...] = ()
    min_quality: float = 0.8
    stale_ms: int = 30 * DAY_MS
    serves_stale: bool = True
    asks_others: bool = True
    budget_s: float = 20.0
    cleans_up: bool = True
    copies: int = 1
    symbols: Mapping[str, str] = field(default_factory=dict)

    def ttl_of(self, data_type: str) -> int:
        """Return how long (in milliseconds) a response with this data type stays fresh."""
        return self.ttl_ms.get(data_type, self.default_ttl_ms)

    def order(self, data_type: str, name: str = "") -> tuple[str, ...]:
        """Return the vendors for a data type or, if ``name`` is given, for a field, most trusted first."""
        usual = self.sequences.get(data_type, self.sequences.get("profile", ()))
        of_field = self.field_priorities.get(canonical_field(name), ()) if name else ()
        return tuple(dict.fromkeys((*of_field, *usual)))


def _length_ms(text: str) -> int:
    count, unit = split_length(text) or (0, "")
    return count * UNIT_MS[unit]


@form(_length_ms)
def _length(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a number of days, hours or minutes, such as ``14d``, ``6h`` or ``30m``."""
    count, unit = split_length(value) or (0, "")
    if unit not in _UNITS or not 0 < count <= _MOST:
        near = f'"{value}d"' if isinstance(value, int) and not isinstance(value, bool) else ""
        yield Problem(path, f"{value!r:.40} is not a duration such as 14d, 6h or 30m", near)


def _fixed_switch(wanted: bool, reason: str) -> Form:
    """Return a form that accepts only ``wanted`` for a switch, with the error message ``reason``."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        yield from switch.check(value, path)
        if as_switch(value) is (not wanted):
            yield Problem(path, reason)

    return Form(_check)


def _one_of(names: tuple[str, ...], what: str) -> Form:
    """Return a form that accepts one of ``names``, which messages describe as ``what``."""

    def _check(value: Any, path: Path) -> Iterator[Problem]:
        if value not in names:
            yield Problem(path, f"{value!r:.40} is not a {what}", nearest(str(value), names))

    return Form(_check)


def _flatten(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Flatten groups of fields into a single mapping with one entry per field."""
    return {canonical_field(name): v for group in groups.values() for name, v in group.items()}


def _days(low: float) -> Form:
    """Return a form that accepts a number of days up to ten years and parses it to milliseconds."""
    return number(low, 3650).to(lambda days: round(days * DAY_MS))


_data_type = _one_of(DATA_TYPES, "data type")
_described = {"description": text(), "enabled": switch}
_percent = number(0, 100).to(lambda percent: percent / 100)
_vendors = items(vendor).to(lambda names: tuple(dict.fromkeys(names)))
_grade = number(1, 5).to(float)
_always = "answers are always checked; this cannot be switched off"
_setting = record(
    {
        "name": text(),
        "priority": whole(1),
        "rate_limits": table(number(0, nullable=True)),
        "data_quality": _grade,
        "reliability": _grade,
        "coverage": text(),
        "cost": text(),
        "api_key_required": switch,
        "api_key_env": text(nullable=True),
        "strengths": items(text()),
        "limitations": items(text()),
    }
)
_file = record(
    {
        "version": anything,
        "description": text(),
        "provider_sequences": table(_vendors, _data_type).named("sequences"),
        "refresh_intervals": table(_length, _data_type).named("ttl_ms"),
        "field_priorities": table(table(_vendors), _one_of(PRIORITY_GROUPS, "group of fields"))
        .to(_flatten)
        .named("field_priorities"),
        "provider_settings": table(_setting, vendor).named("settings"),
        "combination_strategies": record(
            {
                "priority_based": record(_described),
                "quality_based": record(_described),
                "consensus": record(
                    _described
                    | {
                        "tolerance_percentage": _percent.named("consensus_tolerance"),
                        "fallback_strategy": text(*STRATEGIES[:2]).named("consensus_fallback"),
                    }
                ),
            }
        ),
        "cache_settings": record(
            {
                "default_ttl_days": _days(0.0001).named("default_ttl_ms"),
                "max_cache_age_days": _days(0).named("stale_ms"),
                "cleanup_enabled": switch.named("cleans_up"),
                "backup_copies": whole(1).to(int).named("copies"),
                "compression": _fixed_switch(False, "files are plain JSON"),
                "validation_enabled": _fixed_switch(True, _always),
            }
        ),
        "data_validation": record(
            {
                "enabled": _fixed_switch(True, _always),
                "min_quality_score": number(0, 1).to(float).named("min_quality"),
                "cross_provider_validation": switch.named("reports_conflicts"),
                "tolerance_percentage": _percent.named("tolerance"),
                "required_fields": items(text()).named("required_fields"),
            }
        ),
        "error_handling": record(
            {
                "max_retries": whole(0),
                "retry_delay_seconds": number(0, 3600),
                "exponential_backoff": switch,
                "fallback_to_lower_priority": switch.named("asks_others"),
                "graceful_degradation": switch.named("serves_stale"),
                "time_budget_seconds": number(0.1, 600).to(float).named("budget_s"),
            }
        ),
        "symbol_mapping": record(
            {
                "normalize_tickers": _fixed_switch(True, "symbols are always normalized"),
                "mappings": table(text(), text().to(str.upper)).named("symbols"),
                "exchange_suffixes": table(text()),
            }
        ),
    }
)


def check(mapping: Any) -> list[Problem]:
    """Return the errors in a fundamentals mapping, up to a limit; keys may be absent."""
    if not isinstance(mapping, Mapping):
        return [Problem((), "must contain keys")]
    return first_of(_file.check(mapping, ()))


def parse(mapping: Mapping[str, Any]) -> FundamentalsRules:
    """Convert a checked mapping to rules; keys that it does not contain get their defaults."""
    values = attributes(_file.keys, mapping)
    settings = values.pop("settings", {})
    # A vendor that a sequence does not name, but that has a priority, is added at the end of it.
    ranked = sorted(
        (name for name in settings if "priority" in settings[name]),
        key=lambda name: settings[name]["priority"],
    )
    sequences = values.pop("sequences", {})
    return FundamentalsRules(
        sequences={n: tuple(dict.fromkeys((*v, *ranked))) for n, v in sequences.items()},
        grades={n: s["data_quality"] for n, s in settings.items() if "data_quality" in s},
        **values,
    )


def unread(mapping: Mapping[str, Any]) -> list[str]:
    """Return the keys of a correct mapping that have no effect here because they are set elsewhere."""
    return [
        f"{section}.{key} is set by {setter}"
        for (section, key), setter in ELSEWHERE.items()
        if key in (mapping.get(section) or {})
    ]
