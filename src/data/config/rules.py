"""From the mapping of a rules file to frozen values, purely.

:func:`overlay` lays a user's mapping over the packaged one, :func:`parse` turns the result into
:class:`~..model.rules.Rules`. Both take mappings that ``config`` has checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from ..model.rules import (
    FACTS,
    RULES,
    STOCK_RULES,
    CacheRules,
    Classification,
    Exchange,
    Failover,
    JobRules,
    ProviderRules,
    Rule,
    Rules,
    ValidationRules,
)
from ..model.timeframe import Timeframe
from ..vendors.registry import canonical_vendor, family_of

_SWITCHES = {"yes": True, "on": True, "true": True, "no": False, "off": False, "false": False}

Section = TypeVar("Section", Failover, JobRules, CacheRules, ValidationRules)


def overlay(base: Mapping[str, Any], user: Mapping[str, Any]) -> dict[str, Any]:
    """Lay a checked user's mapping over a base, key by key; neither is changed.

    Lists are replaced as a whole, an empty section changes nothing. A timeframe that a rule of
    the user lists is taken from the rules of the base that the user's file does not list.
    """
    merged: dict[str, Any] = _overlaid(base, _canonical_keys(user))
    claimed = {name: _labels(user[name]) for name in RULES if _labels(user.get(name))}
    taken = {label for name in STOCK_RULES for label in claimed.get(name, ())}
    for name in STOCK_RULES:
        if name in merged and name not in claimed:
            left = [label for label in _labels(merged[name]) if label not in taken]
            merged[name] = {**merged[name], "timeframes": left}
    return merged


def parse(mapping: Mapping[str, Any]) -> Rules:
    """Turn a checked mapping into rules; what it does not mention has its default."""
    plain = _canonical_keys(mapping)
    return Rules(
        rules={name: _rule(name, plain[name]) for name in RULES if plain.get(name)},
        providers=_providers(plain.get("providers") or {}),
        classification=_classification(plain.get("symbol_classification") or {}),
        live_feeds={n: dict(f or {}) for n, f in (plain.get("live_feeds") or {}).items()},
        failover=_section(Failover, plain.get("failover")),
        jobs=_section(JobRules, plain.get("jobs")),
        cache=_section(CacheRules, plain.get("cache")),
        validation=_section(ValidationRules, plain.get("validation")),
        plain=plain,
    )


def as_switch(value: Any) -> bool | None:
    """Read a switch: a truth value or one of the texts yes, no, on and off; else None."""
    return value if isinstance(value, bool) else _SWITCHES.get(str(value).lower())


def _overlaid(base: Any, user: Any) -> Any:
    """Merge mappings key by key; anything else is replaced."""
    if not isinstance(base, Mapping):
        return user
    if user is None:
        return dict(base)
    if isinstance(user, str):  # an exchange written as its name alone
        return {**base, "name": user}
    return {**base, **{k: _overlaid(base[k], v) if k in base else v for k, v in user.items()}}


def _canonical_keys(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return the mapping with vendors under their canonical names where they are keys."""
    plain = dict(mapping)
    for section in ("providers", "live_feeds"):
        if plain.get(section):
            plain[section] = {_vendor(name): value for name, value in plain[section].items()}
    return plain


def _vendor(name: str) -> str:
    # Names of other packages' vendors are checked before; they have no aliases.
    return canonical_vendor(name) or name.strip().lower()


def _labels(rule: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the timeframes that a rule lists, in our spelling."""
    return tuple(Timeframe.parse(text).label for text in (rule or {}).get("timeframes") or ())


def _rule(name: str, plain: Mapping[str, Any]) -> Rule:
    backup = tuple(_vendor(vendor) for vendor in plain.get("backup", ()))
    primary = _vendor(plain["primary"])
    return Rule(name, primary, backup, _labels(plain), plain.get("description", ""))


def _providers(plain: Mapping[str, Any]) -> dict[str, ProviderRules]:
    """Return what is said of each vendor; what is said of a family holds for its members, too."""
    return {
        name: _provider(name, {**(plain.get(family_of(name)) or {}), **(entry or {})})
        for name, entry in plain.items()
    }


def _provider(name: str, plain: Mapping[str, Any]) -> ProviderRules:
    own = {f.name for f in fields(ProviderRules)} - {"name", "title", "options", "facts"}
    values = {key: plain[key] for key in own & set(plain) if plain[key] is not None}
    limits = {k: float(v) for k, v in (plain.get("rate_limits") or {}).items() if v is not None}
    facts = {key: plain[key] for key in FACTS if key in plain}
    rest = set(plain) - own - set(FACTS) - {"name"}
    values |= {
        "rate_limits": limits,
        "api_key_required": bool(as_switch(plain.get("api_key_required"))),
    }
    options = {key: plain[key] for key in sorted(rest) if plain[key] is not None}
    return ProviderRules(name, plain.get("name", name), options=options, facts=facts, **values)


def _section(section: type[Section], plain: Mapping[str, Any] | None) -> Section:
    """Build one of the small sections; switches may be written yes and no."""
    switches = {f.name for f in fields(section) if f.type == "bool"}
    values: dict[str, Any] = {
        key: as_switch(value) if key in switches else value for key, value in (plain or {}).items()
    }
    return section(**values)


def _classification(plain: Mapping[str, Any]) -> Classification:
    """Turn the checked section ``symbol_classification`` into values."""
    crypto, stock = plain.get("crypto") or {}, plain.get("stock") or {}
    exchanges = _exchanges(stock.get("exchange_suffixes") or {})
    venues = (plain.get("index") or {}).get("venues") or {}
    listings = stock.get("listings") or {}
    stable = _upper(crypto.get("stablecoins", ()))
    return Classification(
        symbols={
            key.upper(): _symbol(value) for key, value in (plain.get("symbols") or {}).items()
        },
        stablecoins=frozenset(stable),
        quotes=tuple(sorted({*_upper(crypto.get("suffixes", ())), *stable}, key=_longest_first)),
        assets=frozenset(_upper(crypto.get("known_assets", ()))),
        currencies=frozenset(_upper((plain.get("forex") or {}).get("currencies", ()))),
        crypto_patterns=tuple(re.compile(p) for p in crypto.get("patterns", ())),
        stock_patterns=tuple(re.compile(p) for p in stock.get("patterns", ())),
        exchanges=exchanges,
        indices={k.upper(): exchanges[v] for k, v in venues.items() if v in exchanges},
        etfs=frozenset(_upper(stock.get("etfs", ()))),
        reits=frozenset(_upper(stock.get("reits", ()))),
        listings={symbol: venue for venue, names in listings.items() for symbol in _upper(names)},
    )


def _symbol(meaning: str | Mapping[str, Any]) -> str | Mapping[str, Any]:
    """Return the meaning of a user's symbol with canonical vendors in its spellings."""
    if isinstance(meaning, str):
        return meaning
    spellings = {_vendor(k): v for k, v in (meaning.get("spellings") or {}).items()}
    return {**meaning, "spellings": spellings}


def _exchanges(plain: Mapping[str, Any]) -> dict[str, Exchange]:
    """Return the venues by suffix; suffixes of one venue share its value."""
    entries = {k.upper(): {"name": v} if isinstance(v, str) else dict(v) for k, v in plain.items()}
    return {
        k: _exchange(v.get("same_as", k), entries.get(v.get("same_as", k), v))
        for k, v in entries.items()
    }


def _exchange(suffix: str, plain: Mapping[str, Any]) -> Exchange:
    others = {
        key: plain[key] for key in plain if key not in ("exchange", "quote", "bare", "same_as")
    }
    return Exchange(
        suffix,
        code=plain.get("exchange", plain.get("name", suffix)),
        quote=plain.get("quote", plain.get("currency")),
        bare=bool(as_switch(plain.get("bare"))),
        **others,
    )


def _upper(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.upper() for name in names)


def _longest_first(text: str) -> tuple[int, str]:
    return -len(text), text
