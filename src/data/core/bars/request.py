"""Decides what the arguments of a call mean: a validated query, or an error that names the argument."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import BadRangeError, BadTimeframeError, NoProviderError, QueryError
from ..calendars.ranges import closing_time, resolve_range
from ..calendars.session import ALWAYS_OPEN
from ..clock import Clock
from ..config.offered import unknown_provider
from ..model.display.texts import written
from ..model.identity.instrument import Instrument
from ..model.identity.kind import ADJUSTMENTS
from ..model.market.bars import PRICES
from ..model.request.query import EXTRA_COLUMNS, BarsQuery, check_session, check_switches
from ..model.time.instant import DAY_MS, iso
from ..model.time.span import Span
from ..model.time.timeframe import Timeframe
from ..model.words.frozen import filled
from ..model.words.suggestion import did_you_mean
from ..net.calls.deadline import seconds_of
from ..registry import is_of_files, is_whole_sample

if TYPE_CHECKING:
    from ..provider_selector import ProviderSelector


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """Options of a query, other than which bars to return; they are keyword arguments of the facade.

    Raises:
        QueryError: A switch is not True or False.
    """

    provider: str | None = None
    adjustment: str = "split"
    include_forming: bool = False
    offline: bool = False
    strict: bool = False
    refresh: bool = False
    closed_by: Any = None
    columns: Sequence[str] = ()
    version: int | None = None
    timeout: Any = None
    must_store: bool = False
    session: str = "regular"

    def __post_init__(self) -> None:
        # Nearly always all are plain booleans, and a hit has no time to lose.
        if {*map(type, (self.refresh, self.include_forming, self.offline, self.strict))} != {bool}:
            check_switches(force_refresh=self.refresh, include_forming=self.include_forming)
            check_switches(offline=self.offline, strict=self.strict)


# Columns that every frame has, if they are known at all.
_STANDARD_COLUMNS = (*PRICES, "volume", "adj_close")
_EXTRA_NAMES = ", ".join(EXTRA_COLUMNS)
# Represents every symbol of a batch while the shared arguments are checked.
_ANY_INSTRUMENT = Instrument("a batch", "crypto")


class RequestParser:
    """Builds queries from the arguments that callers pass. Thread-safe.

    Args:
        selector: Resolves symbols and names of vendors.
        clock: Source of the current time.
    """

    _known_ms: int | None = None
    _opened_ms: int | None = None

    def __init__(self, selector: ProviderSelector, clock: Clock) -> None:
        self._selector = selector
        self._clock = clock

    def at(self, known_ms: int, opened_ms: int) -> RequestParser:
        """Return a parser whose queries are answered as of a time that has passed.

        Args:
            known_ms: The time, in UTC milliseconds.
            opened_ms: Latest opening time of a session that had begun by then.
        """
        parser = copy(self)
        parser._known_ms, parser._opened_ms = known_ms, opened_ms
        return parser

    def _times(self, instrument: Instrument, wishes: Wishes, now: int) -> tuple[int, int | None]:
        """Return the time that bounds are relative to, and the latest close.

        Raises:
            BadRangeError: ``closed_by`` is not a time.
            QueryError: The forming bar is requested as of a time that has passed.
        """
        closed_by = wishes.closed_by
        if closed_by is not None:
            closed_by = closing_time(instrument, closed_by, now)
        if self._known_ms is None:
            return now, closed_by
        if wishes.include_forming:
            raise QueryError(
                f"the forming bar for {instrument.symbol} as of {iso(self._known_ms)} is not known",
                symbol=instrument.symbol,
                hint="omit include_forming",
            )
        known = self._known_ms if closed_by is None else min(closed_by, self._known_ms)
        # A bar that was forming then closes later, so that time counts as one that has passed.
        return self._known_ms + 1, known

    def query(
        self, symbol: Any, timeframe: Any, bounds: tuple[Any, Any, Any], wishes: Wishes
    ) -> BarsQuery:
        """Return the validated query for ``symbol``.

        Args:
            symbol: Symbol as the user types it; a vendor in front, as in ``BINANCE:BTCUSDT``, pins
                that vendor.
            timeframe: Timeframe such as ``1h``.
            bounds: Start, end and number of bars, as passed to the facade.
            wishes: The other options.

        Raises:
            QueryError: An argument is invalid, or symbol and options name two different vendors.
            UnknownProviderError: The pinned vendor does not exist.
        """
        typed = symbol, timeframe, *bounds
        try:
            parsed = Timeframe.parse(timeframe)
        except BadTimeframeError as error:
            _tell_swapped(error, timeframe, symbol)
            raise
        provider = wishes.provider
        if isinstance(symbol, str) and ":" in symbol:  # begins with a venue
            symbol, provider = self._selector.split_vendor(symbol, provider)
        try:
            instrument = self._selector.instrument(symbol)
        except NoProviderError:
            if not (isinstance(provider, str) and is_whole_sample(provider)):
                raise
            # The error of the sample lists the symbols that it has.
            instrument = Instrument(symbol.strip().upper(), "stock", "XNYS", "America/New_York")
        if wishes.session != "regular":
            instrument = in_session(instrument, wishes.session, parsed)
        if parsed.is_intraday and parsed.longest_ms > DAY_MS and instrument.calendar != ALWAYS_OPEN:
            text = f"{parsed} bars are longer than a session of {instrument.symbol}"
            raise BadTimeframeError(
                text, hint="use whole days, such as 2d", symbol=instrument.symbol
            )
        now = present = self._clock.now_ms()
        closed_by = wishes.closed_by
        if closed_by is not None or self._known_ms is not None:
            present, closed_by = self._times(instrument, wishes, now)
        # The end of a number of bars does not limit the splits and dividends that had come.
        opened_by = self._opened_ms and min(self._opened_ms, closed_by or self._opened_ms)
        start, end, bars = bounds
        span, count = resolve_range(instrument, parsed, start, end, present, bars, closed_by)
        if count is not None:
            # A bar off the calendar's grid also counts only if it has closed by the end.
            closing = closing_time(instrument, end, present)
            if closing is not None and closing < present:
                closed_by = closing if closed_by is None else min(closed_by, closing)
        _check(wishes, instrument.symbol)
        pinned = None if provider is None else self.pinned_vendor(provider)
        return filled(
            BarsQuery,
            instrument=instrument,
            timeframe=parsed,
            span=span,
            now_ms=now,
            bars=count,
            provider=pinned,
            folder_lane=self._selector.folder_lane(pinned)
            if pinned and is_of_files(pinned)
            else "",
            adjustment=wishes.adjustment,
            include_forming=wishes.include_forming,
            offline=wishes.offline,
            strict=wishes.strict,
            refresh=wishes.refresh,
            must_store=wishes.must_store,
            closed_by_ms=closed_by,
            opened_by_ms=opened_by,
            columns=tuple(wishes.columns),
            version=wishes.version,
            timeout_s=seconds_of(wishes.timeout, instrument.symbol),
            typed=typed,
        )

    def for_nothing(self, symbol: Any, timeframe: Any, wishes: Wishes) -> BarsQuery:
        """Return a query for an empty span, to use in place of a query whose symbol is invalid.

        Raises:
            QueryError, UnknownProviderError: See :meth:`check_shared`.
        """
        now = self._clock.now_ms()
        return BarsQuery(
            Instrument(str(symbol), "crypto"),
            Timeframe.parse(timeframe),
            Span(now, now),
            now,
            provider=self.pinned_vendor(wishes.provider),
            adjustment=wishes.adjustment,  # type: ignore[arg-type] # checked
            columns=tuple(wishes.columns),
        )

    def check_shared(
        self, timeframe: Any, bounds: tuple[Any, Any, Any], wishes: Wishes
    ) -> BadRangeError | None:
        """Check the arguments shared by all symbols of a batch; no symbol is needed.

        Return the error for a range that is invalid by UTC dates. At a venue whose date is a different
        one at present, the same range may be valid.

        Raises:
            QueryError, UnknownProviderError: The arguments would fail in :meth:`query` for every
                symbol.
        """
        start, end, bars = bounds
        check_session(wishes.session, "a batch")
        present, closed_by = self._times(_ANY_INSTRUMENT, wishes, self._clock.now_ms())
        parsed, problem = Timeframe.parse(timeframe), None
        try:
            resolve_range(_ANY_INSTRUMENT, parsed, start, end, present, bars, closed_by)
        except BadRangeError as error:
            problem = error
        _check(wishes, "a batch")
        seconds_of(wishes.timeout, "a batch")
        self.pinned_vendor(wishes.provider)
        return problem

    def pinned_vendor(self, provider: str | None) -> str | None:
        """Return the canonical name of the vendor that a call pins; None if it pins none.

        Raises:
            UnknownProviderError: The vendor does not exist.
        """
        name = self._selector.canonical(provider)
        if name is None and provider is not None:
            raise unknown_provider(provider, self._selector.provider_names())
        return name


def in_session(instrument: Instrument, session: Any, timeframe: Timeframe) -> Instrument:
    """Return an instrument with the trading hours of the requested session.

    Args:
        instrument: Instrument as the rules resolve its symbol.
        session: ``regular``, or ``extended`` for 04:00 to 20:00 New York time.
        timeframe: Length of the bars.

    Raises:
        QueryError: The session does not exist, or is not available for this market or timeframe.
    """
    symbol = instrument.symbol
    check_session(session, symbol)
    if session == "regular":
        return instrument
    if instrument.asset_class != "stock" or instrument.timezone != "America/New_York":
        raise QueryError(
            f"{symbol} has no extended hours here; only US shares have them",
            symbol=symbol,
            hint="omit session",
        )
    if not timeframe.is_intraday:
        raise QueryError(
            f"{timeframe} bars for {symbol} have regular hours only; extended hours need intraday bars",
            symbol=symbol,
            hint="omit session, or request minutes or hours",
        )
    return instrument.extended()


def _tell_swapped(error: BadTimeframeError, timeframe: Any, symbol: Any) -> None:
    """Add a hint to a timeframe error if symbol and timeframe have been swapped."""
    try:
        Timeframe.parse(symbol)
    except BadTimeframeError:
        return
    error.hint = f"the symbol must come before the timeframe: {timeframe!r:.80}, {symbol!r:.80}"


def _check(wishes: Wishes, symbol: str) -> None:
    """Check the options other than the range and the vendor.

    Raises:
        QueryError: An argument is invalid, or two arguments are mutually exclusive.
    """
    if wishes.adjustment not in ADJUSTMENTS:
        raise QueryError(
            f"unknown adjustment {wishes.adjustment!r} for {symbol}; use one of {', '.join(ADJUSTMENTS)}",
            symbol=symbol,
        )
    if wishes.include_forming and wishes.closed_by is not None:
        raise QueryError(
            f"include_forming and closed_by for {symbol} cannot be combined: a forming bar has "
            "not closed",
            symbol=symbol,
            hint="omit one of the two",
        )
    _check_columns(wishes.columns, symbol)
    if wishes.version is not None:
        _check_version(wishes, symbol)


def _check_version(wishes: Wishes, symbol: str) -> None:
    """Check that the requested version is valid and that no other option requires a vendor."""
    number = wishes.version
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise QueryError(
            f"invalid version {written(number)} for {symbol}; use a commit number, which is at least 1",
            symbol=symbol,
            hint=f"`onetape cache log {symbol} TIMEFRAME` lists them",
        )
    for name in ("refresh", "include_forming"):
        if getattr(wishes, name):
            raise QueryError(
                f"version and {'force_refresh' if name == 'refresh' else name} for {symbol} "
                "cannot be combined: a version is read from the cache, without a request",
                symbol=symbol,
                hint="omit one of the two",
            )


def _check_columns(columns: Any, symbol: str) -> None:
    if isinstance(columns, str) or not isinstance(columns, (tuple, Sequence)):
        raise QueryError(
            f"columns for {symbol} must be a list of names, not {columns!r}",
            symbol=symbol,
            hint=f'such as columns=("source",); available: {_EXTRA_NAMES}',
        )
    for index, name in enumerate(columns):
        if name in columns[:index]:
            raise QueryError(f"columns for {symbol} contain {name!r} twice", symbol=symbol)
        if name in EXTRA_COLUMNS:
            continue
        if name in _STANDARD_COLUMNS:
            where = "if the vendor supplies it" if name == "adj_close" else "anyway"
            raise QueryError(
                f"{name!r} cannot be an extra column for {symbol}: the frame contains it {where}",
                symbol=symbol,
                hint=f"extra columns: {_EXTRA_NAMES}",
            )
        raise QueryError(
            f"unknown extra column {name!r} for {symbol}",
            symbol=symbol,
            hint=f"{did_you_mean(str(name), EXTRA_COLUMNS)}available: {_EXTRA_NAMES}",
        )
