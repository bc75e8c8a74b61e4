"""The last price of a symbol: from a running stream, the current minute, or the last close.

Bars are requested in the usual way (:class:`~.service.BarsService`: vendors in the order of the
rules, limits, circuits, the call's deadline). Quotes are kept only in memory, for as long as
callers allow; they are not stored as bars.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from numbers import Real
from typing import Any, NamedTuple

import numpy as np

from ....errors import (
    DataError,
    IncompleteDataWarning,
    NoDataError,
    QueryError,
    UnknownSymbolError,
)
from ...calendars.calendar import Session, calendar_for, opened_and_coming, session_date
from ...clock import Clock
from ...model.identity.instrument import Instrument
from ...model.identity.kind import NO_VOLUME, Kind
from ...model.market.quote import LivePrice, Quote, Quotes, QuoteState, aware
from ...model.request.query import check_session, distinct_symbols
from ...model.stored.coverage import WITH_BARS, Covered
from ...model.stored.reasons import sentence
from ...model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, date_of, iso
from ...model.time.timeframe import Timeframe
from ...model.words.caller import warn_user
from ...net.calls.deadline import check_time, run_call, seconds_of
from ...net.limits.locks import SeriesLocks
from ...observability.logs import running, subject_of
from ...prices.bar_rule import is_price
from ...symbols.assets import Lister
from ..answer.answer import Answer
from ..batch import in_threads
from ..observer import Observer
from ..request import RequestParser, Wishes, in_session
from ..service import BarsService

Live = Callable[[Instrument], LivePrice | None]

_MINUTE, _DAY = Timeframe(1, "m"), Timeframe(1, "d")
# Time for which a price counts as current while a market is open, as vendors publish a minute with
# a delay.
_CURRENT_FOR_MS = 2 * MINUTE_MS
# No market's calendar has a closure longer than this.
_CLOSED = timedelta(days=15)
# Range of the first search for a price in the running session. A longer one would fetch another
# minute again each minute, as soon as it has settled.
_FIRST_LOOK_MS = 2 * MINUTE_MS
# Range of the next search; this many minutes fit into one page from every vendor.
_LOOK_BACK_MS = 12 * 60 * MINUTE_MS
_LONGEST_AGE_S = 86_400.0
# Threads per vendor.
_THREADS_PER_VENDOR = 8
# Failure reasons that concern the requested minutes, not the vendors.
_REASONS_OF_MINUTES = ("no_data", "other")
_MOST_CACHED = 10_000


class _Market(NamedTuple):
    """A snapshot of a market's state.

    Attributes:
        is_open: Whether it is trading.
        newest_ms: Latest time for which there can be a price: now, or the time when trading last
            ended.
        until_ms: Time of the next change of this state.
        session: The current or most recent session; None if the calendar has no session nearby.
    """

    is_open: bool
    newest_ms: int
    until_ms: int
    session: Session | None


class _Price(NamedTuple):
    """The last price in an answer, with its time (UTC ms), its coverage entry and the answer."""

    value: float
    time_ms: int
    entry: Covered
    answer: Answer

    @property
    def unit(self) -> str:
        """The unit of the price, from the price's coverage entry or else from the answer."""
        return self.entry.kind.unit or self.answer.kind.unit


@dataclass(frozen=True)
class _KeptQuote:
    """A fetched quote that is kept for reuse.

    Attributes:
        quote: The quote as it was returned.
        requested_ms: Time of the query.
        until_ms: Time at which its market next opens or closes; the quote is not reused after that.
    """

    quote: Quote
    requested_ms: int
    until_ms: int


class QuoteService:
    """Supplies last prices. Thread-safe; if several callers request a symbol, only one queries vendors.

    Args:
        bars: Answers queries for minute and daily bars.
        parser: Builds the queries for these bars.
        selector: Resolves symbols and provides the downloaders.
        clock: Source of the current time.
        observer: Notified of calls that fail.
        provider: Vendor of all prices; None for the vendors in the rules.
    """

    def __init__(
        self,
        bars: BarsService,
        parser: RequestParser,
        selector: Any,
        clock: Clock,
        observer: Observer,
        provider: str | None = None,
    ) -> None:
        self._provider = provider
        self._bars, self._parser, self._selector = bars, parser, selector
        self._clock, self._observer = clock, observer
        self._locks = SeriesLocks()
        # These map each instrument, with its session hours, to its last quote, its last failure,
        # and the close of the session before its last. Entries are replaced, never modified; a full
        # table is cleared.
        self._quotes: dict[Instrument, _KeptQuote] = {}
        self._failures: dict[Instrument, tuple[int, DataError]] = {}
        self._closes: dict[Instrument, tuple[int, date, _Price]] = {}
        # Counter for calls and failures. A failure that happens while a call waits for its turn is
        # also that call's failure.
        self._numbers = count(1)

    def get(
        self, symbol: Any, max_age: Any, timeout: Any, live: Live | None, session: Any
    ) -> Quote:
        """Return the last price of ``symbol``; see ``DataManager.get_quote``."""
        age_ms, seconds = _age_ms(max_age, symbol), seconds_of(timeout, symbol)
        with self._observer.call_beside(symbol, ""):
            instrument = in_session(self._selector.instrument(symbol), session, _MINUTE)
            return run_call(self._clock, seconds, self._get, instrument, age_ms, live)

    def get_many(
        self,
        symbols: Sequence[str],
        max_age: Any,
        timeout: Any,
        live: Live | None,
        session: Any,
    ) -> Quotes:
        """Return the last prices of ``symbols``; see ``DataManager.get_quotes``."""
        wanted = distinct_symbols(symbols)
        age_ms, seconds = _age_ms(max_age, "quotes"), seconds_of(timeout, "quotes")
        check_session(session, "quotes")
        get = partial(self._quote_or_error, age_ms=age_ms, live=live, session=session)
        with running(subject_of("", "")):
            pools = self._vendor_of, _THREADS_PER_VENDOR
            answers = run_call(self._clock, seconds, in_threads, get, wanted, *pools)
        pairs = list(zip(wanted, answers, strict=True))
        quotes = Quotes(
            {symbol: quote for symbol, quote in pairs if isinstance(quote, Quote)},
            {symbol: error for symbol, error in pairs if isinstance(error, DataError)},
        )
        if quotes.errors:
            first = next(iter(quotes.errors.items()))
            warn_user(
                f"{len(quotes.errors)} of {len(wanted)} quotes failed; {first[0]}: {first[1]}",
                IncompleteDataWarning,
            )
        return quotes

    # --- one query at a time ---------------------------------------------------------------

    def _vendor_of(self, symbol: Any) -> str:
        try:
            instrument = self._selector.instrument(symbol)
            return self._provider or self._bars.lanes.first_vendor(instrument, _MINUTE)
        except DataError:
            return ""

    def _quote_or_error(
        self, symbol: Any, age_ms: int, live: Live | None, session: Any
    ) -> Quote | DataError:
        try:
            with self._observer.call_beside(symbol, ""):
                instrument = in_session(self._selector.instrument(symbol), session, _MINUTE)
                return self._get(instrument, age_ms, live)
        except DataError as error:
            return error

    def _get(self, instrument: Instrument, age_ms: int, live: Live | None) -> Quote:
        now_ms, number = self._clock.now_ms(), next(self._numbers)
        streamed = live(instrument) if live is not None else None
        if streamed is not None and self._provider not in (None, streamed.vendor):
            streamed = None
        if streamed is not None and 0 <= now_ms - streamed.time_ms <= age_ms:
            return self._quote_of_stream(instrument, streamed, now_ms)
        if (cached := self._cached_quote(instrument, now_ms - age_ms)) is not None:
            return cached
        with self._locks.hold(("quote", instrument), self._clock):
            if (cached := self._cached_quote(instrument, now_ms - age_ms)) is not None:
                return cached
            self._raise_failure(instrument, number)
            check_time(f"the last price of {instrument.symbol}")
            try:
                return self._fetch_quote(instrument)
            except DataError as error:
                self._note_failure(instrument, error)
                raise

    def _cached_quote(self, instrument: Instrument, since_ms: int) -> Quote | None:
        """Return the cached quote if it was requested since ``since_ms`` and is still current, else None."""
        cached, now_ms = self._quotes.get(instrument), self._clock.now_ms()
        if cached is None or not since_ms <= cached.requested_ms <= now_ms < cached.until_ms:
            return None
        return cached.quote

    def _raise_failure(self, instrument: Instrument, number: int) -> None:
        """Raise the error of the call that this one waited for, if that call failed.

        ``number`` is this call's number; a failure with a higher number occurred during the wait.
        """
        failure = self._failures.get(instrument)
        if failure is not None and failure[0] > number:
            raise copy.copy(failure[1])  # each thread needs its own traceback

    def _note_failure(self, instrument: Instrument, error: DataError) -> None:
        """Keep a call's failure for callers that wait for the call, unless the call just ran out of time."""
        attempts = getattr(error, "attempts", ())
        if any(getattr(attempt.error, "by_caller", False) for attempt in attempts):
            return
        _put_entry(self._failures, instrument, (next(self._numbers), error))

    def _fetch_quote(self, instrument: Instrument) -> Quote:
        """Query vendors for the current minute or the last close, and return the quote.

        Raises:
            DataError: No price could be found.
        """
        now_ms = self._clock.now_ms()
        market = market_at(instrument, now_ms)
        price, reason = self._price(instrument, market, now_ms)
        state = state_of(price.time_ms, market)
        note = _note(state, market, price, reason)
        close = self._close_before(instrument, market, price.time_ms)
        quote = _quote(instrument, price, state, close, now_ms, note)
        _put_entry(self._quotes, instrument, _KeptQuote(quote, now_ms, market.until_ms))
        return quote

    def _quote_of_stream(self, instrument: Instrument, streamed: LivePrice, now_ms: int) -> Quote:
        market = market_at(instrument, now_ms)
        close = self._close_before(instrument, market, streamed.time_ms)
        kind = streamed.kind.filled_from(Kind(unit=instrument.quote or ""))
        if close is not None and not _are_comparable(instrument, kind, close):
            close = None
        quote = Quote(
            instrument.symbol,
            streamed.price,
            aware(streamed.time_ms),
            "live",
            streamed.vendor,
            kind.unit or (close.unit if close is not None else None),
            None,
            None,
            None,
            aware(now_ms),
        )
        return quote if close is None else _with_change(quote, close.value)

    # --- prices ----------------------------------------------------------------------------

    def _price(
        self, instrument: Instrument, market: _Market, now_ms: int
    ) -> tuple[_Price, DataError | None]:
        """Return the latest available price, and any error that prevented finding a newer one.

        Raises:
            DataError: No price could be found; this is the error of the first query.
        """
        queries = self._queries(instrument, market, now_ms)
        newest: _Price | None = None
        failure: DataError | None = None
        while queries:
            try:
                price = queries.pop(0)()
            except UnknownSymbolError:
                raise
            except DataError as error:
                if failure is None and len(queries) > 1 and error.reason not in _REASONS_OF_MINUTES:
                    del queries[0]  # it would query the same vendors, which cannot be queried now
                failure = failure or error
                continue
            if price is not None and (newest is None or price.time_ms > newest.time_ms):
                newest = price
            if newest is not None and state_of(newest.time_ms, market) != "stale":
                break
        if newest is None:
            raise failure or _no_price_error(instrument)
        return newest, failure

    def _queries(
        self, instrument: Instrument, market: _Market, now_ms: int
    ) -> list[Callable[[], _Price | None]]:
        """Return the queries that look for a price, in the order to try them.

        Each of them looks for the current minute or for the last close, and returns None if it has
        no price.
        """
        minute = partial(self._minute, instrument, now_ms)
        day = partial(self._day, instrument, now_ms)
        queries: list[Callable[[], _Price | None]] = [minute, day]
        if market.session is not None and market.newest_ms == market.session.close_ms:
            queries = [day, minute]  # the close of a session is that of its daily bar
        elif market.session is not None and market.is_open:
            opened = market.session.open_ms
            minute_ms = now_ms // MINUTE_MS * MINUTE_MS
            first = max(opened, minute_ms - _FIRST_LOOK_MS)
            queries = [partial(minute, first), day]
            if opened < first:
                start = max(opened, minute_ms - _LOOK_BACK_MS)
                queries.insert(1, partial(minute, start, first))
        return queries

    def _minute(
        self,
        instrument: Instrument,
        now_ms: int,
        start_ms: int | None = None,
        end_ms: int | None = None,
    ) -> _Price | None:
        """Return the last price from minute bars.

        Args:
            instrument, now_ms: Instrument and time of the quote.
            start_ms, end_ms: Range to search. If ``end_ms`` is None, the range extends to now and
                includes the forming bar; if both are None, only the last closed bar is used.
        """
        start = None if start_ms is None else aware(start_ms)
        end = None if end_ms is None else aware(end_ms - 1)
        bounds = (start, end, 1 if start_ms is None else None)
        wishes = Wishes(
            provider=self._provider,
            include_forming=start_ms is not None and end_ms is None,
            session=instrument.session,
        )
        query = self._parser.query(instrument.symbol, "1m", bounds, wishes)
        return self._last(self._bars.answered(query), now_ms)

    def _day(self, instrument: Instrument, now_ms: int) -> _Price | None:
        """Return the close price of the last session that has a bar; None if there is none."""
        return self._last(self._days(instrument), now_ms)

    def _days(self, instrument: Instrument) -> Answer:
        query = self._parser.query(
            instrument.symbol, "1d", (None, None, 2), Wishes(provider=self._provider)
        )
        return self._bars.answered(query)

    def _last(self, answer: Answer, now_ms: int, day: date | None = None) -> _Price | None:
        """Return the last price in an answer, or on a given session date; None if there is none.

        If the vendor may send bars for minutes without trades, these are
        also skipped, because their price is older than the bar.
        """
        instrument, timeframe = answer.query.instrument, answer.query.timeframe
        table = answer.table
        entries = [entry for entry in answer.coverage.opened() if entry.state in WITH_BARS]
        for row in range(len(table) - 1, -1, -1):
            stamp, close = int(table.stamps[row]), float(table.close[row])
            entry = next((entry for entry in entries if stamp in entry.span), None)
            if entry is None or stamp > now_ms or not is_price(close):
                continue
            if day is not None and date_of(stamp) != day:
                continue
            is_quiet = float(table.volume[row]) == 0 and instrument.asset_class not in NO_VOLUME
            if timeframe == _MINUTE and is_quiet and self._may_fill(entry):
                continue
            anchor = entry.kind.anchor or answer.kind.anchor or "session"
            closes = calendar_for(instrument).closes(timeframe, np.array([stamp], np.int64), anchor)
            return _Price(close, min(int(closes[0]), now_ms), entry, answer)
        return None

    def _may_fill(self, entry: Covered) -> bool:
        """Return whether a vendor may send minute bars even if nothing was traded.

        Some exchanges of coins fill such minutes, although others do not.
        """
        tell = getattr(self._selector.downloaders.get(entry.vendor), "is_dense", None)
        return Lister(entry.vendor, entry.kind).is_exchange or bool(tell and tell(_MINUTE))

    def _close_before(self, instrument: Instrument, market: _Market, time_ms: int) -> _Price | None:
        """Return the last close before the session that contains ``time_ms``; None if unknown."""
        now_ms = self._clock.now_ms()
        day = session_before(instrument, time_ms)
        if day is None:
            return None
        cached = self._closes.get(instrument)
        if cached is not None and cached[1] == day and now_ms < cached[0]:
            return cached[2]
        try:
            answer = self._days(instrument)
        except DataError:
            return None  # already reported for the price, or only the change is unknown
        close = None if answer.doubts or answer.substitute else self._last(answer, now_ms, day)
        if close is not None and close.entry.state == "final":
            _put_entry(self._closes, instrument, (market.until_ms, day, close))
        return close


# --- decisions ---------------------------------------------------------------------------------


def market_at(instrument: Instrument, now_ms: int) -> _Market:
    """Return the state of an instrument's market, according to its calendar."""
    opened, coming = opened_and_coming(calendar_for(instrument), now_ms)
    next_ms = coming[0].open_ms if coming else now_ms + DAY_MS
    if not opened:
        return _Market(False, now_ms, next_ms, None)
    session = opened[-1]
    if now_ms >= session.close_ms:
        return _Market(False, session.close_ms, next_ms, session)
    for pause in session.breaks:
        if now_ms in pause:
            return _Market(False, pause.start, pause.end, session)
    pauses = [pause.start for pause in session.breaks if pause.start > now_ms]
    until = min([*pauses, session.close_ms])
    return _Market(True, now_ms, until, session)


def session_before(instrument: Instrument, time_ms: int) -> date | None:
    """Return the date of the session before the one that a price at ``time_ms`` belongs to, or None.

    A price at the very end of a session still belongs to that session.
    """
    day = session_date(instrument, time_ms - 1)
    earlier = calendar_for(instrument).sessions(day - _CLOSED, day - timedelta(days=1))
    return earlier[-1].day if earlier else None


def state_of(time_ms: int, market: _Market) -> QuoteState:
    """Return the state of a price that comes from bars: ``stale``, ``forming`` or ``closed``.

    A price is stale if the market had much later prices; see :class:`QuoteState`.
    """
    if market.newest_ms - time_ms >= _CURRENT_FOR_MS:
        return "stale"
    return "forming" if market.is_open else "closed"


def _note(state: QuoteState, market: _Market, price: _Price, reason: DataError | None) -> str:
    """Return remarks for the user about a price and its state; empty if there are none."""
    notes = []
    if not market.is_open:
        notes.append(f"the market is closed until {iso(market.until_ms)}")
    if state == "stale":
        notes.append(f"the latest known price is from {iso(price.time_ms)}")
        if reason is not None:
            notes.append(reason.brief)
    if price.answer.substitute:
        notes.append(f"a substitute of a different kind: {price.answer.substitute}")
    notes += map(sentence, price.answer.doubts)
    if state == "closed" and price.entry.state == "provisional":
        notes.append("this close may still be corrected")
    return "; ".join(notes)


def _quote(
    instrument: Instrument,
    price: _Price,
    state: QuoteState,
    close: _Price | None,
    now_ms: int,
    note: str,
) -> Quote:
    quote = Quote(
        instrument.symbol,
        price.value,
        aware(price.time_ms),
        state,
        price.entry.vendor,
        price.unit or instrument.quote or None,
        None,
        None,
        None,
        aware(now_ms),
        note,
    )
    is_odd = price.answer.substitute or price.answer.doubts
    if close is None or is_odd or not _are_comparable(instrument, price.answer.kind, close):
        return quote
    return _with_change(quote, close.value)


def _are_comparable(instrument: Instrument, kind: Kind, close: _Price) -> bool:
    """Return whether a price of a kind has the unit of ``close`` and, for crypto, its venue."""
    differing = kind.differences(close.answer.kind)
    hard = ("unit", "venue") if instrument.asset_class == "crypto" else ("unit",)
    return not any(name in differing for name in hard)


def _with_change(quote: Quote, close: float) -> Quote:
    # Computed in decimal, as prices are written, so that 79.6 less 79.427 is exactly 0.173.
    change = float(Decimal(repr(quote.price)) - Decimal(repr(close)))
    percent = change / close * 100 if close else None
    return replace(quote, previous_close=close, change=change, change_percent=percent)


def _no_price_error(instrument: Instrument) -> DataError:
    return NoDataError(
        f"no price is known for {instrument.symbol} in recent weeks",
        symbol=instrument.symbol,
        hint="if the symbol no longer trades, get_ohlcv with a start returns its last bars",
    )


def _age_ms(max_age: Any, symbol: Any) -> int:
    """Return the maximum age of a quote in milliseconds.

    Raises:
        QueryError: The age is not a number of seconds from 0 to a day.
    """
    is_number = isinstance(max_age, Real) and not isinstance(max_age, bool)
    # An integer may be too large for a float.
    if not is_number or not 0 <= max_age <= _LONGEST_AGE_S:
        raise QueryError(
            f"invalid max_age {max_age!r:.40} for {symbol!s:.40}; use 0 to 86400 seconds",
            symbol=symbol if isinstance(symbol, str) else None,
        )
    return round(float(max_age) * SECOND_MS)


def _put_entry(table: dict[Instrument, Any], instrument: Instrument, entry: Any) -> None:
    if len(table) >= _MOST_CACHED and instrument not in table:
        table.clear()
    table[instrument] = entry
