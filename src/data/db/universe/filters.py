"""Applies the filters of a universe to symbols, with a reason for each excluded one. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

# Bounds on amounts of money are in this currency; amounts in other currencies do not pass.
CURRENCY = "USD"

Closes = Callable[[Sequence[str]], Mapping[str, float]]


class SymbolFigures(NamedTuple):
    """The values of an active symbol that filters use; None means unknown.

    Attributes:
        symbol: Canonical symbol.
        market_cap: Market capitalization in ``market_cap_currency``.
        market_cap_currency: Currency in which the vendor reports ``market_cap``.
        currency: Currency of the prices.
        sector: Name of the company's sector.
        avg_daily_volume: Average daily volume in shares.
    """

    symbol: str
    market_cap: Decimal | int | None
    market_cap_currency: str | None
    currency: str | None
    sector: str | None
    avg_daily_volume: Decimal | int | None


class Selection(NamedTuple):
    """The result of applying filters.

    Attributes:
        symbols: Symbols that pass all filters.
        excluded: Maps each other symbol to a text that names the first filter that it failed.
    """

    symbols: tuple[str, ...]
    excluded: dict[str, str]


def select(
    candidates: Iterable[SymbolFigures], filters: Mapping[str, Any], closes: Closes
) -> Selection:
    """Return the symbols that pass the filters, and the reasons why others do not.

    Args:
        candidates: Active symbols.
        filters: Filters, already checked by ``check_filters``.
        closes: Function that returns the last known close of each symbol, if any. It is called at
            most once, with the symbols that pass all other filters.
    """
    excluded: dict[str, str] = {}
    passed = []
    for candidate in candidates:
        reason = _objection(candidate, filters)
        if reason:
            excluded[candidate.symbol] = reason
        else:
            passed.append(candidate.symbol)
    if (least := filters.get("min_price")) is not None:
        last = closes(passed)
        for symbol in passed:
            close = last.get(symbol)
            if close is None:
                excluded[symbol] = "min_price: no close of the last 7 days is cached"
            elif close < least:
                excluded[symbol] = f"min_price: {close:g} is below {least:,}"
    return Selection(tuple(s for s in passed if s not in excluded), excluded)


def _objection(candidate: SymbolFigures, filters: Mapping[str, Any]) -> str:
    """Return the reason why a symbol fails a filter other than the price; empty if it passes."""
    for name, bound in filters.items():
        if name in ("sectors", "exclude_sectors"):
            what = _sector_objection(candidate.sector, bound, is_wanted=name == "sectors")
        elif name == "min_avg_volume":
            what = _amount_objection("its average volume", candidate.avg_daily_volume, least=bound)
        elif name == "min_price":
            what = _currency_objection("its prices are", candidate.currency)
        else:
            cap, currency = candidate.market_cap, candidate.market_cap_currency
            least, most = (bound, math.inf) if name == "min_market_cap" else (0, bound)
            what = _amount_objection("its market capitalization", cap, currency, least, most)
        if what:
            return f"{name}: {what}"
    return ""


def _sector_objection(sector: str | None, names: Iterable[str], *, is_wanted: bool) -> str:
    if sector is None:
        return "its sector is unknown"
    is_listed = sector.casefold() in {name.casefold() for name in names}
    return "" if is_listed == is_wanted else f"its sector is {sector}"


def _currency_objection(what: str, currency: str | None) -> str:
    if currency == CURRENCY:
        return ""
    return f"{what} in {currency or 'an unknown currency'} and cannot be compared with {CURRENCY}"


def _amount_objection(
    what: str,
    value: Decimal | int | None,
    currency: str | None = CURRENCY,
    least: float = 0,
    most: float = math.inf,
) -> str:
    if value is None:
        return f"{what} is unknown"
    if objection := _currency_objection(f"{what} is", currency):
        return objection
    if value < least:
        return f"{what} of {value:,} is below {least:,}"
    return f"{what} of {value:,} is above {most:,}" if value > most else ""
