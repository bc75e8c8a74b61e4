"""What a fundamentals file may hold, declared; :func:`check` finds every mistake at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..model.fundamentals import DATA_TYPES
from ..model.fundamentals_rules import STRATEGIES
from ..model.length import UNIT_MS, split_length
from .rules import as_switch
from .schema import (
    Check,
    Path,
    Problem,
    first_of,
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

PRIORITY_GROUPS = (
    "raw_statements",
    "ttm_metrics",
    "company_profile",
    "share_data",
    "calendar_events",
    "dividends",
)
# What older files hold and another place decides: it has no effect, and a warning says so.
ELSEWHERE = {
    ("error_handling", "max_retries"): "failover.max_retries in provider_rules.yaml",
    ("error_handling", "retry_delay_seconds"): "failover.retry_delay in provider_rules.yaml",
    ("error_handling", "exponential_backoff"): "failover.exponential_backoff in "
    "provider_rules.yaml",
    ("symbol_mapping", "exchange_suffixes"): "symbol_classification in provider_rules.yaml",
}
_UNITS = ("d", "h", "m")
_MOST = 99_999


def _length(value: Any, path: Path) -> Iterator[Problem]:
    """Accept days, hours or minutes such as ``14d``, ``6h``, ``30m``."""
    count, unit = split_length(value) or (0, "")
    if unit not in _UNITS or not 0 < count <= _MOST:
        near = f'"{value}d"' if isinstance(value, int) and not isinstance(value, bool) else ""
        yield Problem(path, f"{value!r:.40} is not a length of time such as 14d, 6h or 30m", near)


def length_ms(text: str) -> int:
    """Return the milliseconds of a length of time that the check has accepted."""
    count, unit = split_length(text) or (0, "")
    return count * UNIT_MS[unit]


def _fixed(wanted: bool, why: str) -> Check:
    """Accept a switch that is ``wanted``; ``why`` the other value is a mistake is its message."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        yield from switch(value, path)
        if as_switch(value) is (not wanted):
            yield Problem(path, why)

    return check


def _one_of(names: tuple[str, ...], what: str) -> Check:
    """Accept one of ``names``; ``what`` they are is for the message."""

    def check(value: Any, path: Path) -> Iterator[Problem]:
        if value not in names:
            yield Problem(path, f"{value!r:.40} is no {what}", nearest(str(value), names))

    return check


_described = {"description": text(), "enabled": switch}
_percent = number(0, 100)
_vendors = items(vendor)
_grade = number(1, 5)
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
        "version": lambda value, path: iter(()),
        "description": text(),
        "provider_sequences": table(_vendors, _one_of(DATA_TYPES, "data type")),
        "refresh_intervals": table(_length, _one_of(DATA_TYPES, "data type")),
        "field_priorities": table(table(_vendors), _one_of(PRIORITY_GROUPS, "group of fields")),
        "provider_settings": table(_setting, vendor),
        "combination_strategies": record(
            {
                "priority_based": record(_described),
                "quality_based": record(_described),
                "consensus": record(
                    _described
                    | {
                        "tolerance_percentage": _percent,
                        "fallback_strategy": text(*STRATEGIES[:2]),
                    }
                ),
            }
        ),
        "cache_settings": record(
            {
                "default_ttl_days": number(0.0001, 3650),
                "max_cache_age_days": number(0, 3650),
                "cleanup_enabled": switch,
                "backup_copies": whole(1),
                "compression": _fixed(False, "files are plain JSON"),
                "validation_enabled": _fixed(True, _always),
            }
        ),
        "data_validation": record(
            {
                "enabled": _fixed(True, _always),
                "min_quality_score": number(0, 1),
                "cross_provider_validation": switch,
                "tolerance_percentage": _percent,
                "required_fields": items(text()),
            }
        ),
        "error_handling": record(
            {
                "max_retries": whole(0),
                "retry_delay_seconds": number(0, 3600),
                "exponential_backoff": switch,
                "fallback_to_lower_priority": switch,
                "graceful_degradation": switch,
                "time_budget_seconds": number(0.1, 600),
            }
        ),
        "symbol_mapping": record(
            {
                "normalize_tickers": _fixed(True, "symbols are always brought to one spelling"),
                "mappings": table(text(), text()),
                "exchange_suffixes": table(text()),
            }
        ),
    }
)


def check(mapping: Any) -> list[Problem]:
    """Return the mistakes in a fundamentals mapping, see ``first_of``; absent keys are none."""
    if not isinstance(mapping, Mapping):
        return [Problem((), "keys are needed")]
    return first_of(_file(mapping, ()))


def unread(mapping: Mapping[str, Any]) -> list[str]:
    """Return what a correct mapping says that another place decides, and where that is."""
    return [
        f"{section}.{key} is decided by {place}"
        for (section, key), place in ELSEWHERE.items()
        if key in (mapping.get(section) or {})
    ]
