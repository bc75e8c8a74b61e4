"""The ``symbol_classification`` section of a rules file: the tables used to classify symbols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..model.identity.classification import Classification, Exchange
from ..symbols.classify import SymbolRefusal, classify, malformed
from .schema import (
    Form,
    Path,
    Problem,
    anything,
    first_of,
    form,
    items,
    nearest,
    pattern,
    record,
    switch,
    table,
    text,
    text_or,
    vendor,
)

_CLASSES = ("crypto", "stock", "forex", "index", "future")


@form(str.upper)
def _symbol(value: Any, path: Path) -> Iterator[Problem]:
    """Accept a string that could be a symbol."""
    refusal = malformed(value)
    if refusal is not None:
        yield Problem(path, refusal.message)


@form()
def _suffix(value: Any, path: Path) -> Iterator[Problem]:
    """Accept an exchange's symbol suffix, which begins with a dot."""
    if not str(value).startswith("."):
        yield Problem(path, "a suffix must begin with a dot", f".{value}")


def _exchanges(given: Mapping[str, Any] | None) -> dict[str, Exchange]:
    """Parse a mapping of symbol suffixes to exchanges; suffixes of the same venue get equal values."""
    entries = {
        k.upper(): {"name": v} if isinstance(v, str) else dict(v) for k, v in (given or {}).items()
    }
    return {
        k: _exchange(v.get("same_as", k), entries.get(v.get("same_as", k), v))
        for k, v in entries.items()
    }


def _exchange(suffix: str, entry: Mapping[str, Any]) -> Exchange:
    usual = {"code": entry.get("name", suffix), "quote": entry.get("currency")}
    return Exchange(suffix, **{**usual, **_venue.parse(entry)})


def _venues_by_symbol(listings: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {symbol: venue for venue, symbols in listings.items() for symbol in symbols}


_names = items(text().to(str.upper))
_name_set = _names.to(frozenset)
_meaning = record(
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
).to(lambda entry: {**entry, "spellings": entry.get("spellings", {})})
_venue = record(
    {
        "name": text().named("name"),
        "exchange": text().named("code"),
        "calendar": text().named("calendar"),
        "timezone": text().named("timezone"),
        "country": text().named("country"),
        "market": text().named("market"),
        "currency": text().named("currency"),
        "quote": text(nullable=True).named("quote"),
        "same_as": text(),
        "bare": switch.named("bare"),
    }
).into(dict)
_suffixes = table(text_or(_venue), _suffix)
CLASSIFICATION = record(
    {
        "symbols": table(text_or(_meaning), _symbol).named("symbols"),
        "crypto": record(
            {
                "patterns": items(pattern).named("crypto_patterns"),
                "stablecoins": _name_set.named("stablecoins"),
                "suffixes": _name_set.named("suffixes"),
                "known_assets": _name_set.named("assets"),
            }
        ),
        "stock": record(
            {
                "patterns": items(pattern).named("stock_patterns"),
                "exchange_suffixes": Form(_suffixes.check, _exchanges).named("exchanges"),
                "etfs": _name_set.named("etfs"),
                "reits": _name_set.named("reits"),
                "listings": table(_names).to(_venues_by_symbol).named("listings"),
            }
        ),
        "forex": record({"currencies": _name_set.named("currencies")}),
        "index": record({"venues": table(text(), anything.to(str.upper)).named("venues")}),
    }
).into(Classification)


def check_whole(rules: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield a problem for each reference to an unknown suffix in an otherwise correct section."""
    suffixes = (rules.get("stock") or {}).get("exchange_suffixes") or {}
    at = ("symbol_classification", "stock", "exchange_suffixes")
    for suffix, venue in suffixes.items():
        same = venue.get("same_as") if isinstance(venue, Mapping) else None
        target = suffixes.get(same)
        if same and (target is None or (isinstance(target, Mapping) and "same_as" in target)):
            yield Problem((*at, suffix, "same_as"), f"{same} is not a suffix with its own venue")
    for index, suffix in ((rules.get("index") or {}).get("venues") or {}).items():
        if suffix not in suffixes:
            path = ("symbol_classification", "index", "venues", index)
            yield Problem(path, f"unknown suffix {suffix}", nearest(suffix, suffixes))


def check_symbols(tables: Classification) -> list[Problem]:
    """Return a problem for each invalid definition in the user's table of symbols."""
    verdicts = ((text, classify(text, tables)) for text in tables.symbols)
    return first_of(
        Problem(("symbol_classification", "symbols", text), verdict.message)
        for text, verdict in verdicts
        if isinstance(verdict, SymbolRefusal)
    )
