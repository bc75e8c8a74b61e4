"""A short text about a symbol whose numbers may be quoted, because each has its time and source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from ..core.model.answer.provenance import ATTRS_KEY
from ..core.model.display.texts import InLines, Line, counted, moment
from ..core.model.stored.outside import is_own_error, is_own_note, is_own_reason, sends_nothing
from ..core.model.stored.reasons import sentence
from ..core.model.time.instant import DAY_MS, date_of, iso, parse_iso
from ..core.model.words.printable import printable
from ..errors import DataError
from .facts import Answer, Facts

__all__ = ["Brief", "brief_of"]

_CLOSES, _ACTIONS, _GAPS, _TEXT = 5, 5, 3, 200
T = TypeVar("T")
_RULE = "Quote a number only with its time and vendor. What is not listed here is not known."


@dataclass(frozen=True, repr=False)
class Brief(InLines):
    """The known facts about a symbol: last price, age, kind, source, closes, actions and gaps.

    Attributes:
        symbol: Symbol as typed.
        as_of: Time of the brief, ISO 8601 in UTC.
        last: The last bars of the series whose last bar is the youngest; None if no bar is known.
        quote: Quote from a vendor, as from ``Quote.as_dict``; None if none could be requested.
        closes: The last bars of the daily series, or those of ``last`` if no daily bars are known.
        actions: Splits and dividends whose ex-date has come.
        why: Reasons why a part is missing.
    """

    symbol: str
    as_of: str
    last: Answer | None
    quote: dict[str, Any] | None
    closes: Answer | None
    actions: Answer | None
    why: tuple[str, ...]

    @property
    def is_known(self) -> bool:
        """Whether a price is known."""
        return self.last is not None or self.quote is not None

    @property
    def is_live(self) -> bool:
        """Whether the price is of this minute."""
        return self.quote is not None and self.quote["state"] in ("live", "forming")

    @property
    def title(self) -> str:
        """The symbol and the time of the brief; midnight is the end of the day before."""
        end_ms = parse_iso(self.as_of)
        is_end = end_ms % DAY_MS == 0
        time = f"the end of {date_of(end_ms - 1)}" if is_end else moment(self.as_of)
        return f"{self.symbol} as of {time} UTC"

    def lines(self) -> Iterator[Line]:
        """Yield each fact with its name: about thirty lines."""
        yield from self._price()
        if self.last is not None:
            facts = self.last.facts
            kind = facts["kind"]
            yield "kind", f"{kind.get('session', '')} session, {kind['adjustment']} prices"
            vendors = ", ".join(facts["vendors"])
            sample = " (SAMPLE)" if facts["is_sample"] else ""
            states = ", ".join(facts["states"])
            yield "source", f"{vendors}{sample}, {states}, version {facts['generation']}"
            yield "series", f"{facts['symbol']} {facts['timeframe']}"
            yield "bars", self.last.digest
        if self.closes is not None:
            for bar in map(self.closes.row, range(len(self.closes.rows) - 1, -1, -1)):
                yield moment(bar["opened"]), f"close {_number(bar['close'])}"
        yield from self._actions()
        yield from self._gaps()
        for text in self.why:
            yield "not known", text
        yield "rule", _RULE

    def _price(self) -> Iterator[Line]:
        quote, last = self.quote, self.last
        if quote is not None:
            price = f"{_number(quote['price'])} {quote['currency'] or ''}".rstrip()
            yield "price", f"{price}, {quote['state']}, from {quote['vendor']}"
            yield "time", f"{moment(quote['time'])} UTC"
            if quote["note"]:
                yield (
                    "note",
                    quote["note"] if is_own_note(quote["note"]) else _outside(quote["note"]),
                )
        elif last is not None:
            row = last.row(-1)
            price = f"{_number(row['close'])} {last.facts['currency'] or ''}".rstrip()
            yield "price", f"{price}, not live: the close of a stored bar"
            yield "time", f"bar of {last.facts['timeframe']} that opened {moment(row['opened'])}"
        else:
            yield "price", "not known; do not estimate one"
        if last is not None:
            about = "stored bars end" if quote is not None else "that bar closed"
            yield "age", f"{about} {last.facts['age']} ago"

    def _actions(self) -> Iterator[Line]:
        if self.actions is None or not self.actions.rows:
            yield "actions", "no split or dividend is known"
            return
        rows = self.actions.rows
        yield "actions", f"{len(rows):,} known, the last {min(len(rows), _ACTIONS)}:"
        for row in rows[-_ACTIONS:]:
            size = f"{row['ratio']:g} for 1" if row["type"] == "split" else _number(row["paid"])
            unit = f" {row['currency']}" if row["currency"] else ""
            yield row["ex_date"], f"{row['type']} {size}{unit}, from {row['source']}"

    def _gaps(self) -> Iterator[Line]:
        if self.closes is None or self.closes.frame is None:
            return
        facts = self.closes.frame.attrs[ATTRS_KEY]
        if not facts["gaps_total"]:
            yield "gaps", "none in these bars"
        else:
            yield "gaps", f"{counted(facts['gaps_total'], 'gap')} in these bars:"
        for gap in facts["gaps"][:_GAPS]:
            why = sentence(gap["reason"])
            text = why if is_own_reason(gap["reason"]) else _outside(why)
            yield moment(gap["start"]), f"to {moment(gap['end'])}: {text}"

    def to_json(self) -> dict[str, Any]:
        """Return the facts as a JSON-serializable dictionary; ``text`` contains the brief itself."""
        parts = {"last": self.last, "closes": self.closes, "actions": self.actions}
        return {
            "symbol": self.symbol,
            "as_of": self.as_of,
            "quote": self.quote,
            **{name: part and part.to_json() for name, part in parts.items()},
            "not_known": list(self.why),
            "text": str(self),
        }


def brief_of(facts: Facts, symbol: str, provider: str | None = None) -> Brief:
    """Return the brief on a symbol, with data from the vendors in the rules or from one vendor.

    Raises:
        QueryError: The symbol or the vendor is invalid.
    """
    why: list[str] = []
    label, last = facts.newest(symbol, provider), None
    closes = last
    bars_of = partial(facts.bars, symbol, bars=_CLOSES, provider=provider)
    if label is None:
        fetch = "" if sends_nothing(provider) else f": `onetape fetch {symbol} 1d` fetches some"
        why.append(f"no bars of {symbol} are known{fetch}")
    else:
        last = closes = bars_of(label)
        if label != "1d" and "1d" in facts.timeframes(symbol, provider):
            closes = _part(facts, lambda: bars_of("1d"), why) or last
    quote = None
    if facts.may_fetch and not facts.is_past:
        quote = _part(
            facts, lambda: facts.manager.get_quote(symbol, provider=provider).as_dict(), why
        )
    actions = _part(facts, lambda: facts.actions(symbol, provider), why)
    return Brief(symbol, iso(facts.now_ms), last, quote, closes, actions, tuple(why))


def _part(facts: Facts, find: Callable[[], T], why: list[str]) -> T | None:
    """Return a part of the brief, or None, with the reason added to ``why``."""
    try:
        return find()
    except DataError as error:
        is_own = is_own_error(error, is_sent=facts.may_fetch)
        why.append(str(error) if is_own else _outside(str(error)))
        return None


def _number(value: float) -> str:
    return f"{value:.12g}"


def _outside(text: str) -> str:
    """Return a text that may quote a vendor, as one short line that is marked as untrusted."""
    line = " ".join(printable(text).split())
    return f"(untrusted text) {line[:_TEXT]}{'…' if len(line) > _TEXT else ''}"
