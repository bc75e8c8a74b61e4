"""What a rules file may hold, declared; :func:`check` finds every mistake at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..errors import QueryError
from ..model.retention import Age
from ..model.rules import RULES, Classification
from ..symbols.classify import SymbolRefusal, classify, malformed
from ..vendors.registry import FAMILIES, canonical_vendor, is_sample
from .rules import as_switch
from .schema import (
    Check,
    Path,
    Problem,
    first_of,
    items,
    nearest,
    number,
    pattern,
    record,
    switch,
    table,
    text,
    text_or,
    timeframe,
    url,
    vendor,
    whole,
)

_BARS = ("open", "high", "low", "close", "volume", "adj_close")
_CLASSES = ("crypto", "stock", "forex", "index", "future")
_rate = number(0, nullable=True)
_count = whole(0, nullable=True)
_grade = number(1, 5)
_maybe = text(nullable=True)


def _symbol_text(value: Any, path: Path) -> Iterator[Problem]:
    """Accept what a symbol may look like."""
    refusal = malformed(value)
    if refusal is not None:
        yield Problem(path, refusal.message)


def _suffix(value: Any, path: Path) -> Iterator[Problem]:
    """Accept the suffix of an exchange."""
    if not str(value).startswith("."):
        yield Problem(path, "a suffix begins with a dot", f".{value}")


def _askable_vendor(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a vendor that can be asked: not a family, but a member of one."""
    yield from vendor(value, path)
    if isinstance(value, str) and canonical_vendor(value) in FAMILIES:
        yield Problem(path, f"{value} is a family of vendors: name one", f"{value}:kraken")
    if isinstance(value, str) and is_sample(canonical_vendor(value)):
        yield Problem(path, f"{value} is only for calls that name it: provider={value!r}")


def _age(value: Any, path: Path) -> Iterator[Problem]:
    """Accept an age such as 5y, or nothing."""
    try:
        _ = value is None or Age.parse(value)
    except QueryError as exc:
        yield Problem(path, f"{exc.args[0]}: {exc.hint}")


def _delimiter(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a character that parts the fields of CSV, or nothing."""
    if value is not None and value not in (",", ";", "|", "\t"):
        shown = repr(value) if isinstance(value, str) else type(value).__name__
        yield Problem(path, f'it is {shown}, one of "," ";" "|" "\\t" is needed')


_rule = record(
    {
        "primary": _askable_vendor,
        "backup": items(_askable_vendor),
        "timeframes": items(timeframe),
        "description": text(),
    }
)
_provider: dict[str, Check] = {
    "name": text(),
    "type": text("crypto", "stock", "mixed"),
    "description": text(),
    "rate_limits": record(
        {
            "requests_per_minute": _count,
            "requests_per_second": _rate,
            "requests_per_day": _count,
            "requests_per_month": _count,
            "burst_size": _count,
        }
    ),
    "cost": text(),
    "data_quality": _grade,
    "reliability": _grade,
    "coverage": text(),
    "api_key_required": switch,
    "api_key_env": _maybe,
    "secret_key_env": _maybe,
    "base_url": url("http"),
    "ws_url": url("ws"),
    "transport": text("auto", "sdk", "http"),
    "settle_minutes": number(0, 1440, nullable=True),
}
_local: dict[str, Check] = {
    "folder": _maybe,
    "pattern": _maybe,
    "columns": record(dict.fromkeys(_BARS, text()) | {"volume": _maybe}),
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
}
_own_keys: dict[str | None, dict[str, Check]] = {
    "local": _local,
    "ibkr": {"host": text(), "port": whole(1), "client_id": whole(0)},
}
_exchange = record(
    {
        "name": text(),
        "exchange": text(),
        "calendar": text(),
        "timezone": text(),
        "country": text(),
        "market": text(),
        "currency": text(),
        "quote": _maybe,
        "same_as": text(),
        "bare": switch,
    }
)
_symbol = record(
    {
        "asset_class": text(*_CLASSES),
        "calendar": text(),
        "timezone": text(),
        "exchange": text(),
        "base": text(),
        "quote": text(),
        "spellings": table(text(), vendor),
    },
    "asset_class",
    "calendar",
)
_classification = record(
    {
        "symbols": table(text_or(_symbol), _symbol_text),
        "crypto": record(
            {
                "patterns": items(pattern),
                "stablecoins": items(text()),
                "suffixes": items(text()),
                "known_assets": items(text()),
            }
        ),
        "stock": record(
            {
                "patterns": items(pattern),
                "exchange_suffixes": table(text_or(_exchange), _suffix),
                "etfs": items(text()),
                "reits": items(text()),
                "listings": table(items(text())),
            }
        ),
        "forex": record({"currencies": items(text())}),
        "index": record({"venues": table(text())}),
    }
)
_live_feed = record(
    {
        "class": text(),
        "websocket": switch,
        "polling_interval": number(1),
        "supported_timeframes": items(timeframe),
        "description": text(),
    }
)


def _anything(value: Any, path: Path) -> Iterator[Problem]:
    """Accept whatever stands there."""
    return iter(())


def _providers(value: Any, path: Path) -> Iterator[Problem]:
    """Check the vendors' settings; some have keys of their own."""
    yield from table(_anything, vendor)(value, path)
    for name, settings in value.items() if isinstance(value, Mapping) else ():
        keys = _provider | _own_keys.get(canonical_vendor(str(name)), {})
        yield from record(keys)(settings, (*path, name))


_file = record(
    dict.fromkeys(RULES, _rule)
    | {
        "version": number(1, 1),
        "description": text(),
        "providers": _providers,
        "live_feeds": table(_live_feed, vendor),
        "failover": record(
            {
                "enabled": switch,
                "max_retries": number(0, 20),
                "retry_delay": number(0, 3600),
                "exponential_backoff": switch,
            }
        ),
        "jobs": record({"timeout_s": number(0.1, 86_400)}),
        "cache": record(
            {
                "enabled": switch,
                "default_ttl_hours": number(0),
                "max_size_gb": number(0),
                "compression": text(),
                "columnar": text("map", "read", "off"),
                "keep_versions": whole(0),
                "keep_versions_days": number(0, nullable=True),
                "min_free_mb": number(0, nullable=True),
                "private": switch,
                "retention": _age,
            }
        ),
        "validation": record(
            {
                "enabled": switch,
                "min_quality_score": number(0, 1),
                "check_gaps": switch,
                "check_duplicates": switch,
            }
        ),
        "symbol_classification": _classification,
    }
)


def check(mapping: Any) -> list[Problem]:
    """Return the mistakes in a rules mapping, see ``first_of``; absent keys are none."""
    return first_of(_file(mapping, ()))


def not_obeyed(mapping: Mapping[str, Any]) -> list[Problem]:
    """Return what a correct mapping asks for and what holds instead.

    Older files switch off what keeps wrong bars out of the store: they go on working, these keys
    do not.
    """
    cache, validation = (mapping.get(name) or {} for name in ("cache", "validation"))
    problems = []
    if as_switch(validation.get("enabled")) is False:
        problems.append(Problem(("validation", "enabled"), "answers are always checked"))
    if as_switch(validation.get("check_duplicates")) is False:
        path = ("validation", "check_duplicates")
        problems.append(Problem(path, "of two rows of one stamp one is always kept"))
    if cache.get("compression", "gzip") != "gzip":
        problems.append(Problem(("cache", "compression"), "files are always gzip"))
    return problems


def check_whole(plain: Mapping[str, Any]) -> list[Problem]:
    """Return what a whole, otherwise correct mapping lacks, and names in it that lead nowhere."""
    return first_of(_of_whole(plain))


def _of_whole(plain: Mapping[str, Any]) -> Iterator[Problem]:
    for name in RULES:
        if plain.get(name) and "primary" not in plain[name]:
            yield Problem((name,), "primary is missing")
    meanings = plain.get("symbol_classification") or {}
    suffixes = (meanings.get("stock") or {}).get("exchange_suffixes") or {}
    at = ("symbol_classification", "stock", "exchange_suffixes")
    for suffix, venue in suffixes.items():
        same = venue.get("same_as") if isinstance(venue, Mapping) else None
        target = suffixes.get(same)
        if same and (target is None or (isinstance(target, Mapping) and "same_as" in target)):
            yield Problem((*at, suffix, "same_as"), f"{same} is no suffix of its own")
    for index, suffix in ((meanings.get("index") or {}).get("venues") or {}).items():
        if suffix not in suffixes:
            path = ("symbol_classification", "index", "venues", index)
            yield Problem(path, f"{suffix} is no known suffix", nearest(suffix, suffixes))


def check_symbols(tables: Classification) -> list[Problem]:
    """Return the user's symbols whose meaning is not understood."""
    verdicts = ((text, classify(text, tables)) for text in tables.symbols)
    return first_of(
        Problem(("symbol_classification", "symbols", text), verdict.message)
        for text, verdict in verdicts
        if isinstance(verdict, SymbolRefusal)
    )
