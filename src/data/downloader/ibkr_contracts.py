"""How Interactive Brokers names what trades, and what it means by its refusals."""

from __future__ import annotations

from typing import NamedTuple

from ..errors import (
    CapabilityError,
    DataError,
    EntitlementError,
    NoDataError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
)
from ..model.http import HttpResponse
from ..model.instrument import Instrument
from ..net.carriers.ibkr_carrier import CODE_HEADER
from ..net.status import error_of
from .usa import NEW_YORK, share

# Our suffix to the primary exchange. London is left out: it is not told whether prices are pence.
_EXCHANGES = {
    ".DE": "IBIS",
    ".PA": "SBF",
    ".AS": "AEB",
    ".MI": "BVME",
    ".MC": "BM",
    ".SW": "EBS",
    ".ST": "SFB",
    ".TO": "TSE",
    ".T": "TSEJ",
    ".HK": "SEHK",
    ".AX": "ASX",
}
# Longer durations are said in years.
_MOST_DAYS = 365
_PACING_S = 600.0
_NOT_SUBSCRIBED = (354, 10089, 10090, 10168, 10186, 10187, 10197)
_CODES: dict[int, type[DataError]] = {
    200: SymbolNotFoundError,
    321: CapabilityError,
    366: UnavailableError,  # the question was lost, mostly with its connection
    **dict.fromkeys(_NOT_SUBSCRIBED, EntitlementError),
    **dict.fromkeys((502, 504, 1100, 1101, 1300, 2103, 2105, 2110), UnavailableError),
}
# What the historical data service says under one and the same number, by a piece of its text.
_HISTORY = 162
_HISTORY_SAYS: dict[str, type[DataError]] = {
    "pacing violation": RateLimitedError,
    "returned no data": NoDataError,
    "no market data permissions": EntitlementError,
    "not subscribed": EntitlementError,
    "different ip address": EntitlementError,  # the same user is logged in elsewhere
    "query cancelled": UnavailableError,
}


class Contract(NamedTuple):
    """What names an instrument there, and which prices are asked for.

    Attributes:
        what: ``TRADES`` or ``MIDPOINT``.
        hours: ``regular`` or ``all``.
    """

    sec_type: str
    symbol: str
    exchange: str
    primary: str
    currency: str
    what: str
    hours: str


def contract_of(who: Instrument, vendor: str) -> Contract:
    """Return how the vendor names ``who``.

    Raises:
        CapabilityError: it is listed where it cannot be told here.
    """
    if who.asset_class == "forex":
        return Contract("CASH", str(who.base), "IDEALPRO", "", str(who.quote), "MIDPOINT", "all")
    body, dot, tail = who.symbol.rpartition(".")
    if vendor in who.spellings and who.spellings[vendor] != who.symbol and not dot:
        body = who.spellings[vendor]
    currency, primary = who.quote or "USD", ""
    if who.timezone in ("UTC", NEW_YORK):
        body = share(who, vendor, " ", " PR")
    elif f".{tail}" in _EXCHANGES:
        primary = _EXCHANGES[f".{tail}"]
        body = body.lstrip("0") if primary == "SEHK" else body.replace("-", " ")
    else:
        raise CapabilityError(f"{vendor} is not asked for stocks listed as {who.symbol}")
    return Contract("STK", body, "SMART", primary, currency, "TRADES", "regular")


def duration(days: int) -> str:
    """Return how long a range is in the vendor's words, rounded up."""
    return f"{days} D" if days <= _MOST_DAYS else f"{-(-days // _MOST_DAYS)} Y"


def error_said(response: HttpResponse) -> DataError | None:
    """Return what the gateway's number stands for; its text decides where the number is many."""
    code, said = response.headers.get(CODE_HEADER, ""), response.text.lower()
    if not code:
        return error_of(response)
    kind = _CODES.get(int(code), CapabilityError)
    if int(code) == _HISTORY:
        kind = next((k for text, k in _HISTORY_SAYS.items() if text in said), CapabilityError)
    message = f"the gateway answered code {code}"
    if kind is RateLimitedError:
        return RateLimitedError(message, _PACING_S)
    hint = "see the account's market data subscriptions" if kind is EntitlementError else None
    return kind(message, hint=hint)
