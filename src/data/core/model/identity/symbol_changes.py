"""Dated changes in the meaning of a symbol: renames, mergers, spin-offs, delistings, reuse."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal, get_args

from ..time.instant import day_ms
from ..time.span import Span

ChangeType = Literal["rename", "merger", "spinoff", "delisting", "listing"]
CHANGE_TYPES: tuple[ChangeType, ...] = get_args(ChangeType)


@dataclass(frozen=True, order=True)
class SymbolChange:
    """A change after which a symbol names a different instrument, or none, from a session date on.

    Attributes:
        ex_date: First session date on which the change applies.
        type: One of :data:`CHANGE_TYPES`; an unknown type is stored and has no effect.
        symbol: Former symbol; for a spin-off, the parent's symbol; for a listing, the symbol that
            is used again.
        successor: New symbol; for a merger, that of the remaining company; for a spin-off, that of
            the new company; empty for a delisting and a listing.
        source: Document that reports the change.
        before: For a rename or a listing, a description of what the symbol meant before; empty if
            not recorded.
        ex_at: Start of that session in UTC milliseconds, from which the change applies to intraday
            bars.
        fetched_at: Time at which the change was recorded, UTC milliseconds; for information only.
    """

    ex_date: date
    type: str
    symbol: str
    successor: str = ""
    source: str = ""
    before: str = ""
    ex_at: int = 0
    fetched_at: int = 0

    def ends(self, symbol: str) -> bool:
        """Return whether ``symbol`` stops naming its instrument on this change's date."""
        return self.symbol == symbol and self.type in ("rename", "merger", "delisting")

    def begins(self, symbol: str) -> bool:
        """Return whether ``symbol`` began to name its current instrument on this change's date."""
        new = self.symbol if self.type == "listing" else self.successor
        return new == symbol and self.type in ("rename", "spinoff", "listing")

    def concerns(self, symbol: str) -> bool:
        """Return whether the change affects the meaning of ``symbol``."""
        return self.ends(symbol) or self.begins(symbol)

    def at_ms(self, *, intraday: bool) -> int:
        """Return the earliest open time of a bar after the change, in UTC milliseconds."""
        return self.ex_at if intraday else day_ms(self.ex_date)

    def sentence(self, symbol: str) -> str:
        """Describe the effect on bars for ``symbol``, and name the symbol to use."""
        day, source = self.ex_date, f" ({self.source})" if self.source else ""
        if self.begins(symbol):
            if self.type == "spinoff":
                return f"{symbol} was spun off from {self.symbol} on {day}{source}"
            before = f"; {self.before}" if self.before else ""
            former = f"{self.symbol}, " if self.successor else ""
            return f"until {day} this instrument was {former}not {symbol}{source}{before}"
        if self.type == "delisting":
            return f"{symbol} was delisted on {day}{source}"
        if self.type == "merger":
            merged = f"{symbol} was merged into {self.successor} on {day}{source}"
            return f"{merged}; use {self.successor} from then on"
        return f"{symbol} was renamed {self.successor} on {day}{source}; use {self.successor}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored."""
        entry: dict[str, Any] = {
            "type": self.type,
            "ex_date": self.ex_date.isoformat(),
            "ex_at": self.ex_at,
            "symbol": self.symbol,
            "source": self.source,
            "fetched_at": self.fetched_at,
        }
        optional = {"successor": self.successor, "before": self.before}
        return entry | {name: value for name, value in optional.items() if value}


def known_by(changes: Iterable[SymbolChange], opened_ms: int | None) -> list[SymbolChange]:
    """Return the changes whose date had begun by a time; None means no limit."""
    return [change for change in changes if opened_ms is None or change.ex_at <= opened_ms]


def concerning(
    changes: Iterable[SymbolChange], symbol: str, span: Span, *, intraday: bool
) -> list[SymbolChange]:
    """Return the changes that affect a query for bars of ``symbol`` in ``span``, ordered by date.

    The end of a name affects every query, even for earlier bars, because vendors keep an
    instrument's bars under its latest name; the exception is a name that was reused before
    ``span``. The beginning of a name affects only queries for earlier bars.

    Args:
        changes: All recorded changes, in any order.
        symbol, span: Symbol and range (UTC milliseconds) of the query.
        intraday: Whether the bars are intraday, so that changes apply from ``ex_at``, not
            ``ex_date``.
    """
    own = sorted(change for change in changes if change.concerns(symbol))
    begun = [c for c in own if c.begins(symbol) and c.at_ms(intraday=intraday) <= span.start]
    last = max((change.ex_date for change in begun), default=date.min)
    return [c for c in own if c not in begun and (c.begins(symbol) or last < c.ex_date)]
