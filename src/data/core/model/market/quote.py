"""Quotes: the last price of a symbol, its time, and how current it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, get_args

from ....errors import DataError
from ..display.texts import InLines, Line, counted
from ..identity.kind import Kind
from ..time.instant import from_ms, iso, to_ms

__all__ = ["QUOTE_STATES", "Quote", "QuoteState", "Quotes"]

QuoteState = Literal["live", "forming", "closed", "stale"]
QUOTE_STATES: tuple[QuoteState, ...] = get_args(QuoteState)


@dataclass(frozen=True, repr=False)
class Quote(InLines):
    """The latest price of a symbol.

    Examples:
        >>> quote = manager.get_quote("AAPL")
        >>> text = f"{quote.price} {quote.currency} at {quote.time}, {quote.state}"

    Attributes:
        symbol: Canonical symbol, such as ``BRK-B``.
        price: Last price up to ``time``, adjusted for splits as of today.
        time: Aware UTC time; the price was traded at this time or earlier. It is the arrival of a
            price from a stream, the time of the query for a minute in progress, or the end of a
            closed bar.
        state: ``live``: from a running stream in this process. ``forming``: the market is open, and
            the price is the close of the minute in progress, or of a minute that closed less than
            two minutes before ``asked_at``. ``closed``: the market is closed, and the price is the
            last close. ``stale``: anything older; ``note`` explains why.
        vendor: Vendor that supplied the price.
        currency: Currency of the price as the vendor writes it (``USD``, ``USDT``, ``GBp``); None
            if unknown.
        change: ``price`` minus ``previous_close``; None if ``previous_close`` is unknown.
        change_percent: ``change`` as a percentage of ``previous_close``.
        previous_close: Close of the session before the one that contains ``time``, or of the
            previous UTC day if the market never closes; None if unknown.
        asked_at: Aware UTC time of the request. A quote that is reused within ``max_age`` keeps the
            time of its original request.
        note: Sentence that explains the state further; may be empty.
    """

    symbol: str
    price: float
    time: datetime
    state: QuoteState
    vendor: str
    currency: str | None
    change: float | None
    change_percent: float | None
    previous_close: float | None
    asked_at: datetime
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON-compatible values, keyed by name; times are ISO strings with Z."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values | {name: iso(to_ms(values[name])) for name in ("time", "asked_at")}

    @property
    def title(self) -> str:
        """The quote as one line of text."""
        return str(self)

    def lines(self) -> Iterator[Line]:
        """Yield each known attribute with its name."""
        yield from ((key, str(v)) for key, v in self.as_dict().items() if v not in (None, ""))

    def __str__(self) -> str:
        money = f"{self.price:.12g} {self.currency}" if self.currency else f"{self.price:.12g}"
        change = "" if self.change_percent is None else f" ({self.change_percent:+.2f} %)"
        return (
            f"{self.symbol} {money}{change}, {self.state}, {iso(to_ms(self.time))}, {self.vendor}"
        )


class Quotes(InLines, dict[str, Quote]):
    """A mapping of symbols, as typed, to quotes; looking up a symbol that failed raises its error.

    Examples:
        >>> quotes = manager.get_quotes(["AAPL", "BTCUSDT"])
        >>> prices = {symbol: quote.price for symbol, quote in quotes.items()}
        >>> quotes.errors
        {}

    Attributes:
        errors: Maps each symbol without a quote to its error.
    """

    def __init__(
        self,
        quotes: Mapping[str, Quote] | None = None,
        errors: Mapping[str, DataError] | None = None,
    ) -> None:
        super().__init__(quotes or {})
        self.errors: dict[str, DataError] = dict(errors or {})

    @property
    def title(self) -> str:
        """The number of quotes, and the number of symbols without a quote."""
        text = f", {len(self.errors):,} failed" if self.errors else ""
        return f"{counted(len(self), 'quote')}{text}"

    def lines(self) -> Iterator[Line]:
        """Yield one line per symbol: its quote or its error."""
        for symbol, quote in self.items():
            yield symbol, str(quote)
        for symbol, error in self.errors.items():
            yield symbol, f"{type(error).__name__}: {error}"

    def __missing__(self, symbol: str) -> Quote:
        if symbol in self.errors:
            raise self.errors[symbol]
        raise KeyError(symbol)


class LivePrice(NamedTuple):
    """The latest price from a stream: its time in UTC milliseconds, its vendor, and the bars' kind."""

    price: float
    time_ms: int
    vendor: str
    kind: Kind


def aware(ms: int) -> datetime:
    """Return UTC milliseconds as an aware datetime."""
    return from_ms(ms).replace(tzinfo=UTC)
