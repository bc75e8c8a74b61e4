"""A request for bars, after its arguments have been normalized and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from numbers import Integral
from typing import Any, Literal, get_args

from ....errors import QueryError
from ..display.texts import written
from ..identity.instrument import Instrument
from ..identity.kind import SESSIONS, Adjustment
from ..identity.series import EXTENDED_LANE, SeriesKey
from ..time.span import Span
from ..time.timeframe import LABEL, Timeframe

# Extra columns that a caller may request in addition to the bars themselves.
ExtraColumn = Literal[
    "source", "state", "is_final", "fetched_at", "dividend", "split", "capital_gain"
]
EXTRA_COLUMNS: tuple[ExtraColumn, ...] = get_args(ExtraColumn)
# Columns about corporate actions rather than the origin of a bar.
ACTION_COLUMNS = frozenset({"dividend", "split", "capital_gain"})

_DAY = Timeframe(1, "d")
_ONE = "give at most one timeframe, after the symbols; quotes have none"


def distinct_symbols(symbols: Any) -> list[Any]:
    """Return the symbols of a batch as typed, without duplicates, in their original order.

    Raises:
        QueryError: The argument is a string, or not a list of strings, or a timeframe is among
            them.
    """
    check_no_string(symbols)
    try:
        names = list(dict.fromkeys(symbols))
    except TypeError as exc:
        raise QueryError(f"symbols must be a list of strings, not {symbols!r:.80}") from exc
    for name in filter(LABEL.fullmatch, map(str, names)):
        raise QueryError(f"{name!r} is a timeframe, not a symbol", hint=_ONE)
    return names


def check_no_string(symbols: object, hint: str | None = None) -> None:
    """Reject a string passed in place of a list of symbols.

    Raises:
        QueryError: The argument is a string.
    """
    if isinstance(symbols, str):
        hint = hint or f"write {symbols.replace(',', ' ').split()!r:.80}"
        raise QueryError(f"symbols must be a list, not the string {symbols!r}", hint=hint)


def check_switches(**values: object) -> None:
    """Check options that are on or off; None, integers and booleans of numpy are accepted, too.

    Raises:
        QueryError: A value is something else, such as ``"false"``, which Python takes for true.
    """
    for name, value in values.items():
        is_known = value is None or isinstance(value, Integral)
        if not (is_known or type(value).__name__ in ("bool", "bool_")):
            raise QueryError(f"{name} must be True or False, not {written(value):.80}")


def only_given(**values: Any) -> Any:
    """Return the value of an argument that has several names; None if it is given under none of them.

    None and False count as not given.

    Raises:
        QueryError: The argument is given under more than one name.
    """
    given = {name: each for name, each in values.items() if each is not None and each is not False}
    if len(given) > 1:
        raise QueryError(
            f"{' and '.join(given)} are two names for the same argument",
            hint=f"give only {list(given)[-1]}",
        )
    return next(iter(given.values()), None)


def check_session(session: Any, symbol: str) -> None:
    """Reject an unknown trading session.

    Raises:
        QueryError: The session is unknown; the message lists the valid ones.
    """
    if session not in SESSIONS:
        raise QueryError(
            f"unknown session {session!r:.80} for {symbol}; use one of {', '.join(SESSIONS)}",
            symbol=symbol,
            hint="overnight (20:00 to 04:00 in New York) is another kind: a vendor must send it apart",
        )


@dataclass(frozen=True)
class BarsQuery:
    """One request for bars, after its arguments have been normalized.

    Attributes:
        instrument: Instrument that the symbol stands for.
        timeframe: Length of the bars.
        span: Requested range, half-open; its end is one millisecond after the caller's inclusive
            end. If ``bars`` is set, only the end is meaningful until the start has been found with
            the calendar.
        now_ms: Time of the request, UTC milliseconds.
        bars: Number of bars requested, counted back from the end; None if the whole span is
            requested.
        provider: Canonical name of the pinned vendor, or None.
        folder_lane: For a pinned vendor that reads files, the part of the lane (the folder for one
            kind of bars) that identifies the folder of those files; otherwise empty.
        adjustment: ``raw``, ``split`` or ``all``.
        include_forming: Whether to include the forming bar.
        offline: Whether to answer only from the cache, without querying a vendor.
        strict: Whether gaps are an error.
        refresh: Whether to fetch everything again.
        must_store: Whether it is an error if fetched bars cannot be stored; otherwise they are
            returned anyway.
        closed_by_ms: UTC milliseconds; bars that close later are left out, and ``span`` already
            reflects this. None means no limit.
        opened_by_ms: Prices are adjusted only for splits and dividends for which a session had
            opened by then (UTC milliseconds). None means all that are known; otherwise the query
            is answered as of a past time.
        columns: Extra columns from ``EXTRA_COLUMNS``, in the order requested.
        version: Number of the commit as of which the series is read; None for the current state.
        timeout_s: Seconds after which the call ends; if None, the call continues as long as pages
            arrive. Ignored when queries are compared.
        typed: Symbol, timeframe, start, end and number of bars as the caller wrote them, for
            messages; empty for the library's own queries. Ignored when queries are compared.
    """

    instrument: Instrument
    timeframe: Timeframe
    span: Span
    now_ms: int
    bars: int | None = None
    provider: str | None = None
    folder_lane: str = ""
    adjustment: Adjustment = "split"
    include_forming: bool = False
    offline: bool = False
    strict: bool = False
    refresh: bool = False
    must_store: bool = False
    closed_by_ms: int | None = None
    opened_by_ms: int | None = None
    columns: tuple[str, ...] = ()
    version: int | None = None
    timeout_s: float | None = field(default=None, compare=False)
    typed: tuple[Any, ...] = field(default=(), compare=False)

    @property
    def not_cached(self) -> str:
        """A message for a query that the cache cannot answer, with the command that fetches the bars."""
        import shlex  # most queries are answered

        own = self.instrument.symbol, self.timeframe, None, None, self.bars
        symbol, timeframe, start, end, bars = self.typed or own
        words = ["onetape", "fetch", str(symbol), str(timeframe)]
        named = ("--period" if hasattr(start, "value") else "--start", start), ("--end", end)
        pinned = None if ":" in str(symbol) else self.provider
        hours = "extended" if self.instrument.is_extended else None
        for name, value in (*named, ("--bars", bars), ("--provider", pinned), ("--session", hours)):
            text = str(value).replace(" ", "T")
            given = [f"{name}={text}"] if text.startswith("-") else [name, text]
            words += [] if value is None else given
        what = f"{symbol} {timeframe} is not cached"
        what += "" if (start, end) == (None, None) else " in this range"
        return f"{what}; `{shlex.join(words)}` fetches it"

    @property
    def is_of_whole_weeks(self) -> bool:
        """Whether the query is for weekly or monthly bars of a stock."""
        timeframe, is_stock = self.timeframe, self.instrument.asset_class == "stock"
        return is_stock and not timeframe.is_intraday and timeframe != _DAY

    @property
    def wants_actions(self) -> bool:
        """Whether splits or dividends of a stock are requested as columns."""
        is_share = self.instrument.asset_class == "stock"
        return is_share and not ACTION_COLUMNS.isdisjoint(self.columns)

    @property
    def home(self) -> tuple[str, ...]:
        """The lane used if no vendor is pinned: () for the default lane, or the extended-hours lane."""
        return EXTENDED_LANE if self.instrument.is_extended else ()

    @property
    def home_key(self) -> SeriesKey:
        """The series in the lane :attr:`home`, even if a vendor is pinned."""
        return SeriesKey(self.instrument.symbol, self.timeframe, self.home)

    @property
    def pinned(self) -> tuple[str, ...]:
        """The lane of the pinned vendor for the requested hours; empty if no vendor is pinned."""
        return (self.folder_lane or self.provider, *self.home) if self.provider else ()

    @property
    def key(self) -> SeriesKey:
        """The pinned vendor's series, or else the series in :attr:`home`."""
        return SeriesKey(self.instrument.symbol, self.timeframe, self.pinned or self.home)

    @property
    def action_key(self) -> str | None:
        """The name under which the splits and dividends for a pinned vendor's bars are stored.

        The name is None if no vendor is pinned; all vendors' actions are used in that case.
        """
        return self.key.action_key if self.provider else None

    def __str__(self) -> str:
        hours = " (extended hours)" if self.instrument.is_extended else ""
        return f"{self.instrument.symbol} {self.timeframe}{hours}"
