"""A request for bars, normalised and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from ..errors import QueryError
from .instrument import Instrument
from .kind import SESSIONS, Adjustment
from .series import EXTENDED_LANE, SeriesKey
from .span import Span
from .timeframe import Timeframe

# Extra columns that a caller may ask for; no part of the bars themselves.
ExtraColumn = Literal["source", "state", "is_final", "fetched_at", "dividend", "split"]
EXTRA_COLUMNS: tuple[ExtraColumn, ...] = get_args(ExtraColumn)
# Those that tell what happened to a share, and not where a bar is from.
ACTION_COLUMNS = frozenset({"dividend", "split"})

_DAY = Timeframe(1, "d")


def distinct_symbols(symbols: Any) -> list[Any]:
    """Return the symbols of a batch as they were typed, each once, in their order.

    Raises:
        QueryError: it is a text, or no list of texts.
    """
    if isinstance(symbols, str):
        raise QueryError(f"symbols must be a list, not the text {symbols!r}")
    try:
        return list(dict.fromkeys(symbols))
    except TypeError as exc:
        raise QueryError(f"symbols must be a list of texts, not {symbols!r:.80}") from exc


def check_session(session: Any, symbol: str) -> None:
    """Refuse what is no session that bars may be wanted of.

    Raises:
        QueryError: it is none; it tells which there are.
    """
    if session not in SESSIONS:
        raise QueryError(
            f"session {session!r:.80} for {symbol} is not one of {', '.join(SESSIONS)}",
            symbol=symbol,
            hint="overnight sessions (20:00 to 04:00) are not served",
        )


@dataclass(frozen=True)
class BarsQuery:
    """One request for bars, after normalisation.

    Attributes:
        instrument: what the symbol means.
        timeframe: length of the bars.
        span: stamps wanted, half-open; its end is one millisecond behind an inclusive bound.
            With ``bars`` only the end counts until the calendar has given the start.
        now_ms: the time of the request, UTC milliseconds.
        bars: the number of bars wanted up to the end, or None where the span rules.
        provider: the pinned vendor, canonical, or None.
        folder_lane: of a pinned vendor that answers from files the part of a lane that names their
            folder; else empty.
        adjustment: ``raw``, ``split`` or ``all``.
        include_forming: whether the running bar is wanted too.
        offline: answer from the cache alone.
        strict: holes are an error.
        refresh: fetch everything again.
        must_store: what comes and cannot be stored is an error; else it is part of the answer.
        closed_by_ms: leave out bars that close later, ``span`` is cut by it already; UTC
            milliseconds. None: no such cut.
        columns: extra columns, of ``EXTRA_COLUMNS``, in the order requested.
        version: answer as the series stood right after this commit to it; None: as it is.
        timeout_s: seconds after which the call ends; None: as long as pages come. No part of the
            identity of a query.
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
    columns: tuple[str, ...] = ()
    version: int | None = None
    timeout_s: float | None = field(default=None, compare=False)

    @property
    def is_of_whole_weeks(self) -> bool:
        """Whether these are bars of shares longer than a day."""
        step = self.timeframe
        return self.instrument.asset_class == "stock" and not step.is_intraday and step != _DAY

    @property
    def wants_actions(self) -> bool:
        """Whether splits or dividends of a share are wanted on the rows."""
        is_share = self.instrument.asset_class == "stock"
        return is_share and not ACTION_COLUMNS.isdisjoint(self.columns)

    @property
    def home(self) -> tuple[str, ...]:
        """The lane of the first vendor's bars: the default one (empty), or that of extended hours."""
        return EXTENDED_LANE if self.instrument.is_extended else ()

    @property
    def home_key(self) -> SeriesKey:
        """The series in the lane :attr:`home`, whichever vendor is pinned."""
        return SeriesKey(self.instrument.symbol, self.timeframe, self.home)

    @property
    def pinned(self) -> tuple[str, ...]:
        """The lane of the pinned vendor, for its hours; empty where none is pinned."""
        return (self.folder_lane or self.provider, *self.home) if self.provider else ()

    @property
    def key(self) -> SeriesKey:
        """The series of the pinned vendor, or that of :attr:`home`."""
        return SeriesKey(self.instrument.symbol, self.timeframe, self.pinned or self.home)

    @property
    def teller(self) -> str | None:
        """Under whose name the splits and dividends stand that count for a pinned vendor's bars."""
        return self.key.teller

    def __str__(self) -> str:
        hours = " (extended hours)" if self.instrument.is_extended else ""
        return f"{self.instrument.symbol} {self.timeframe}{hours}"
