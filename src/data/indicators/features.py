"""Frames of features: the bars that they need, longer timeframes as of their close, and the two layouts."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..bars.client import Wishes
from ..calendars.calendar import MarketCalendar, calendar_for
from ..errors import BadRangeError, IncompleteDataWarning, QueryError
from ..fundamentals.request import Wish
from ..model.bars import Stamps
from ..model.caller import warn_user
from ..model.frame import NS_IN_MS, REQUIRED_COLUMNS
from ..model.fundamentals import METADATA
from ..model.instant import DAY_MS, date_of, day_ms, from_ms, parse_iso
from ..model.provenance import ATTRS_KEY, freeze
from ..model.query import BarsQuery
from ..model.reasons import AFTER_LAST, BEFORE_FIRST, CLOSED, UNASKED
from ..model.span import Span
from ..model.timeframe import Timeframe
from .blocks import Tape, block_at
from .joins import ReportUse, are_members, values_of_reports
from .kept import BlockStore, values_of
from .recipes import RecipeUse, parse_recipes
from .rolling import Values

__all__ = ["LAYOUTS", "FeatureLayout", "features"]

FeatureLayout = Literal["long", "wide"]
LAYOUTS: tuple[FeatureLayout, ...] = ("long", "wide")
LEVELS = ("recipe", "symbol")
_NOT_HOLES = {BEFORE_FIRST, CLOSED, UNASKED, AFTER_LAST}
_REFUSED = ("include_forming", "columns")
# Options of the request that do not apply when bars before its start are read.
_OF_THE_REQUEST = ("bars", "period", "refresh", "strict", "universe", "as_of")
# Longer bars that are read before the first one, so that one of them has closed.
_LONGER_BEFORE = 3


class _Series(NamedTuple):
    """The bars of one symbol in one timeframe.

    Attributes:
        tape: Bars, with those of the lead.
        closes: Closing time of each bar of the answer, UTC milliseconds.
        missing: Closing times of missing bars, UTC milliseconds, ascending.
        lacks: Reason why bars of the lead are missing; empty if none is.
    """

    tape: Tape
    closes: Stamps
    missing: Stamps
    lacks: str

    @property
    def stamps(self) -> Stamps:
        """Opening times of the bars of the answer."""
        return self.tape.stamps[self.tape.first :]

    def only(self, rows: NDArray[np.bool_]) -> _Series:
        """Return the series with some rows of the answer, without the values of its bars."""
        tape = Tape(self.tape.timeframe, self.stamps[rows], {})
        return self._replace(tape=tape, closes=self.closes[rows])


class Request(NamedTuple):
    """A request for features.

    Attributes:
        manager: The data manager.
        bounds: Start and end of the request, as given.
        options: Other options of ``get_ohlcv_batch``.
        members: Function that returns the members of a universe on a date, if rows are limited to
            these; else None.
    """

    manager: Any
    bounds: tuple[Any, Any]
    options: Mapping[str, Any]
    members: Callable[[date], Collection[str]] | None = None

    def session_of(self, timeframe: Timeframe) -> Any:
        """Return the session of bars: that of the request, or for days and longer the regular one."""
        return self.options.get("session", "regular") if timeframe.is_intraday else "regular"

    def query(self, symbol: str, timeframe: Timeframe, start: Any = None) -> BarsQuery:
        """Return a query in the session of bars of a timeframe."""
        wishes = Wishes(session=self.session_of(timeframe))
        query: BarsQuery = self.manager.client.query(symbol, timeframe, start, wishes=wishes)
        return query

    def calendar_of(self, symbol: str, timeframe: Timeframe) -> MarketCalendar:
        """Return the calendar of a symbol in the session of bars of a timeframe."""
        return calendar_for(self.query(symbol, timeframe).instrument)

    def openings(
        self, symbol: str, timeframe: Timeframe, uses: Sequence[RecipeUse]
    ) -> dict[int, int]:
        """Return the first timestamp of a range that starts on the date of each anchor, by that date."""
        found = {ms: ms for use in uses if (ms := use.anchor_ms) is not None}
        for since in filter(None, found if timeframe.is_intraday else ()):
            with suppress(BadRangeError):  # a date before 1900 or after now
                found[since] = self.query(symbol, timeframe, date_of(since)).span.start
        return found

    def read_quietly(self, symbols: Sequence[str], timeframe: Timeframe, **bounds: Any) -> Any:
        """Return bars outside of the request, whose gaps are reported as gaps of the lead."""
        options = {name: v for name, v in self.options.items() if name not in _OF_THE_REQUEST}
        options["session"] = self.session_of(timeframe)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = options | bounds | {"progress": _ignore}
            return self.manager.get_ohlcv_batch(symbols, timeframe.label, **own)


def _ignore(_: object) -> None:
    """Ignore a progress report."""


def features(
    request: Request,
    symbols: Sequence[str] | None,
    timeframe: str,
    recipes: Any,
    anchor: Any,
    store: BlockStore | None,
    layout: str,
) -> pd.DataFrame:
    """Return the features of many symbols as one frame; see ``DataManager.features``.

    Raises:
        QueryError: An argument is invalid; nothing is requested.
    """
    base, given = Timeframe.parse(timeframe), parse_recipes(recipes, anchor)
    uses = [use for use in given if isinstance(use, RecipeUse)]
    of_reports = [use for use in given if isinstance(use, ReportUse)]
    _check(base, uses, of_reports, layout, request.options, store)
    start, end = request.bounds
    frames = request.manager.get_ohlcv_batch(symbols, base.label, start, end, **request.options)
    failed = {
        n: f.attrs[ATTRS_KEY]["error"] for n, f in frames.items() if "error" in f.attrs[ATTRS_KEY]
    }
    own = [use for use in uses if use.timeframe is None]
    answered = {name: frame for name, frame in frames.items() if name not in failed}
    tapes = _series(request, base, answered, own, store is not None)
    series = {name: tapes[name] for name in answered if name in tapes}
    columns = [name for use in given for name in use.names]
    # Of all symbols, so that no value is copied once more.
    table = np.empty((len(columns), sum(len(one.closes) for one in series.values())))
    found = _parts(columns, table, series)
    for name, one in series.items():
        values_of(own, one.tape, store, found[name])
    lacks = {name: one.lacks for name, one in series.items() if one.lacks}
    for longer in dict.fromkeys(use.timeframe for use in uses if use.timeframe):
        theirs = [use for use in uses if use.timeframe == longer]
        others = _longer(request, longer, series, theirs, store is not None)
        for name, one in series.items():
            other = others.get(name)
            longs = {} if other is None else values_of(theirs, other.tape, store)
            for output in (n for use in theirs for n in use.names):
                found[name][output][:] = _as_of(one.closes, other, longs.get(output))
            if other is None or other.lacks:
                lacks[name] = f"{longer}: {other.lacks if other else 'no bars'}"
    unreported: dict[str, str] = {}
    reports: dict[str, Any] = {}
    for name, one in series.items() if of_reports else ():
        values, reasons, reports[name] = _of_reports(request, name, of_reports, one.closes)
        for column, numbers in values.items():
            found[name][column][:] = numbers
        unreported |= {name: "; ".join(reasons)} if reasons else {}
    not_members: dict[str, int] = {}
    if request.members is not None:
        rows = _rows_of_members(request, base, series)
        not_members = {name: n for name, own in rows.items() if (n := int((~own).sum()))}
        table = table[:, np.concatenate([np.empty(0, bool), *rows.values()])]
        series = {name: one.only(rows[name]) for name, one in series.items()}
        found = _parts(columns, table, series)
    if layout == "wide":
        frame = _wide(list(frames), series, found, columns)
    else:
        frame = _long(list(frames), series, dict(zip(columns, table, strict=True)))
    lacking = {"failed": list(failed), "lead_missing": lacks, "reports_missing": unreported}
    more = {"not_members": not_members, "reports": reports}
    frame.attrs[ATTRS_KEY] = freeze(_facts(frames, lacking, found) | more)
    _warn(failed, lacks, unreported, len(frames))
    return frame


def _check(
    base: Timeframe,
    uses: Sequence[RecipeUse],
    of_reports: Sequence[ReportUse],
    layout: str,
    options: Mapping[str, Any],
    store: Any = None,
) -> None:
    """Check what needs no bars.

    Raises:
        QueryError: The layout is unknown, the store is not one, an option is not served, or a
            recipe needs another timeframe.
    """
    if store is not None and not (hasattr(store, "get") and hasattr(store, "put")):
        raise QueryError(
            f"not a store: {store!r:.80}", hint="use True, or FrameStore(folder, max_bytes)"
        )
    if layout not in LAYOUTS:
        raise QueryError(f"unknown layout {layout!r:.80}; use one of {', '.join(LAYOUTS)}")
    if refused := [name for name in _REFUSED if options.get(name)]:
        raise QueryError(
            f"{refused[0]} has no effect on features", hint="they use closed bars only"
        )
    if of_reports and options.get("offline"):
        raise QueryError(f"{of_reports[0].text} is not available offline: vendors are queried")
    for use in uses:
        if use.timeframe is not None and use.timeframe.longest_ms <= base.longest_ms:
            raise QueryError(f"{use.text}: {use.timeframe} is not longer than {base}")
        needs_intraday = use.recipe.is_intraday or use.anchor == "session"
        if needs_intraday and not (use.timeframe or base).is_intraday:
            raise QueryError(f"{use.text} needs bars that are shorter than a day")


# --- bars ------------------------------------------------------------------------------------


def _series(
    request: Request,
    timeframe: Timeframe,
    frames: Mapping[str, pd.DataFrame],
    uses: Sequence[RecipeUse],
    has_store: bool,
) -> dict[str, _Series]:
    """Return the bars of each symbol that has any, with the lead of some recipes.

    Symbols with the same first bar and calendar are read together. If only windowed recipes are
    computed, the lead begins at the first bar, else at the start of its block.
    """
    groups: dict[tuple[Any, ...], list[str]] = defaultdict(list)
    for name, frame in frames.items():
        if len(frame):
            anchor = (frame.attrs[ATTRS_KEY]["kind"] or {}).get("anchor", "session")
            first_ms = frame.index[0].value // NS_IN_MS
            calendar = request.calendar_of(name, timeframe)
            groups[first_ms, calendar, anchor].append(name)
    found = {}
    for (first_ms, calendar, anchor), names in groups.items():
        openings = request.openings(names[0], timeframe, uses)
        bounds = _bounds_before(timeframe, first_ms, calendar, anchor, uses, has_store, openings)
        parts = [request.read_quietly(names, timeframe, **own) for own in bounds]
        for name in names:
            before = [part[name] for part in parts if name in part]
            found[name] = _joined(timeframe, calendar, anchor, before, frames[name], uses, openings)
    return found


def _bounds_before(
    timeframe: Timeframe,
    first_ms: int,
    calendar: MarketCalendar,
    anchor: str,
    uses: Sequence[RecipeUse],
    has_store: bool,
    openings: Mapping[int, int],
) -> Iterator[dict[str, Any]]:
    """Yield the bounds of the requests for the bars before the first one: the lead, then the anchor's."""
    lead = max((use.lead_in(timeframe) for use in uses), default=0)
    since = min(openings, default=None)
    is_free = all(use.is_free for use in uses) and not has_store
    start = first_ms if is_free else block_at(timeframe, first_ms).start
    count = lead + len(calendar.opens(timeframe, Span(start, first_ms), anchor))
    last = _bound(timeframe, first_ms - 1)
    if count and since != 0:  # with a number of bars, an instant is that by which they had closed
        yield {"end": from_ms(first_ms) if timeframe.is_intraday else last, "bars": count}
    if since is not None and openings[since] < first_ms:
        yield {"end": last} | ({"start": date_of(since)} if since else {"period": "max"})


def _bound(timeframe: Timeframe, stamp_ms: int) -> Any:
    """Return a timestamp as a bound of a request: an instant, or the date of a session."""
    return from_ms(stamp_ms) if timeframe.is_intraday else date_of(stamp_ms)


def _joined(
    timeframe: Timeframe,
    calendar: MarketCalendar,
    anchor: str,
    before: Sequence[pd.DataFrame],
    frame: pd.DataFrame,
    uses: Sequence[RecipeUse],
    openings: Mapping[int, int],
) -> _Series:
    """Return the bars of an answer behind those of its lead; bars of another kind are not joined."""
    facts, lacks = frame.attrs[ATTRS_KEY], ""
    parts = [frame]
    for part in before:
        own = part.attrs[ATTRS_KEY]
        if "error" in own or own["unanswered"]:
            lacks = own["error"]["message"] if "error" in own else own["unanswered"]
        if len(part) and own["kind"] != facts["kind"]:
            lacks = "the bars before are of another kind"
        elif len(part) and part.index[0] < parts[0].index[0]:
            parts = [part, frame]  # both end before the frame, and one contains the other
    stamps = np.concatenate([part.index.to_numpy().view(np.int64) for part in parts]) // NS_IN_MS
    holes = [hole for part in parts for hole in _holes(calendar, timeframe, anchor, part, stamps)]
    # Every frame begins with these columns, which are read at once.
    own_columns = np.concatenate([part.to_numpy()[:, : len(REQUIRED_COLUMNS)] for part in parts])
    columns = dict(zip(REQUIRED_COLUMNS, np.ascontiguousarray(own_columns.T), strict=True))
    first = len(stamps) - len(frame)
    used = {name for use in uses for name in use.recipe.columns}
    if used & {"stamp", "opens", "day"} or any(use.anchor == "session" for use in uses):
        columns |= _session_columns(calendar, timeframe, stamps)
    positions = {int(stamps.searchsorted(hole.start)): hole.end for hole in holes}
    tape = Tape(timeframe, stamps, columns, positions, bool(lacks), first, openings)
    if lacks and not _is_short(tape, uses):
        tape, lacks = replace(tape, lacks_lead=False), ""
    missing = [
        calendar.opens(timeframe, hole, anchor) for hole in holes if hole.end > stamps[first]
    ]
    lost = np.concatenate([np.empty(0, np.int64), *missing])
    lost = lost[~np.isin(lost, stamps)] if len(lost) else lost
    closes = calendar.closes(timeframe, stamps[first:], anchor)
    return _Series(tape, closes, calendar.closes(timeframe, lost, anchor), lacks)


def _is_short(tape: Tape, uses: Sequence[RecipeUse]) -> bool:
    """Return whether bars of a lead are missing, or bars since an anchor."""
    block = block_at(tape.timeframe, int(tape.stamps[tape.first]))
    before = int(tape.stamps.searchsorted(block.start))
    return any(
        (tape.first if use.is_free else before) < use.lead_in(tape.timeframe)
        if (opening := tape.opening(use)) is None
        else opening < tape.stamps[0]
        for use in uses
    )


def _holes(
    calendar: MarketCalendar, timeframe: Timeframe, anchor: str, part: pd.DataFrame, stamps: Stamps
) -> Iterator[Span]:
    """Yield the spans in which a part of the bars lacks some that the market had."""
    facts, start = part.attrs[ATTRS_KEY], 0
    for gap in facts["gaps"]:
        span = Span(parse_iso(gap["start"]), parse_iso(gap["end"]))
        start = span.end
        if gap["reason"] not in _NOT_HOLES:
            yield span
    if facts["gaps_total"] > len(facts["gaps"]):
        # Only the first gaps are listed: after them, and up to the next part, every expected bar
        # that is missing counts as a hole.
        last = int(stamps.searchsorted(part.index[-1].value // NS_IN_MS))
        end = int(stamps[last : last + 2][-1])
        expected = calendar.required(timeframe, Span(start, max(start, end)), anchor)
        yield from (Span(stamp, stamp + 1) for stamp in np.setdiff1d(expected, stamps).tolist())


def _session_columns(
    calendar: MarketCalendar, timeframe: Timeframe, stamps: Stamps
) -> dict[str, Values]:
    """Return the columns ``stamp``, ``opens`` and ``day``."""
    if not timeframe.is_intraday:
        return {"day": (stamps // DAY_MS).astype(np.float64)}
    sessions = calendar.sessions(
        date_of(int(stamps[0]) - 4 * DAY_MS), date_of(int(stamps[-1]) + DAY_MS)
    )
    opens = np.array([session.open_ms for session in sessions])
    closes = np.array([session.close_ms for session in sessions])
    days = np.array([day_ms(session.day) // DAY_MS for session in sessions])
    rows = np.maximum(opens.searchsorted(stamps, "right") - 1, 0)
    # A bar by the clock may begin before its session opens.
    later = np.minimum(rows + 1, len(opens) - 1)
    is_before = (stamps >= closes[rows]) & (opens[later] < stamps + timeframe.longest_ms)
    rows = np.where(is_before, later, rows)
    own = {"stamp": stamps, "opens": opens[rows], "day": days[rows]}
    return {name: values.astype(np.float64) for name, values in own.items()}


# --- longer timeframes -----------------------------------------------------------------------


def _longer(
    request: Request,
    timeframe: Timeframe,
    series: Mapping[str, _Series],
    uses: Sequence[RecipeUse],
    has_store: bool,
) -> dict[str, _Series]:
    """Return the longer bars that had closed by the bars of each symbol's answer."""
    groups: dict[int, list[str]] = defaultdict(list)
    for name, one in series.items():
        calendar, first_ms = request.calendar_of(name, timeframe), int(one.stamps[0])
        groups[calendar.back(timeframe, first_ms, _LONGER_BEFORE)].append(name)
    found: dict[str, _Series] = {}
    for start_ms, names in groups.items():
        bounds = {"start": _bound(timeframe, start_ms), "end": request.bounds[1]}
        frames = request.read_quietly(names, timeframe, **bounds)
        answered = {n: f for n, f in frames.items() if "error" not in f.attrs[ATTRS_KEY]}
        found |= _series(request, timeframe, answered, uses, has_store)
    return found


def _as_of(closes: Stamps, other: _Series | None, values: Values | None) -> Values:
    """Return the value of the last longer bar that had closed by each bar's close.

    It is NaN if that bar is missing, even if earlier ones exist.
    """
    if other is None or values is None:
        return np.full(len(closes), np.nan)
    all_closes = np.concatenate([other.closes, other.missing])
    order = np.argsort(all_closes, kind="stable")
    padded = np.concatenate([values, np.full(len(other.missing), np.nan)])[order]
    rows = all_closes[order].searchsorted(closes, "right") - 1
    return np.where(rows < 0, np.nan, padded[np.maximum(rows, 0)])


def reads_before(
    request: Request, symbol: str, timeframe: str, recipes: Any, anchor: Any, has_store: bool
) -> Iterator[tuple[str, Timeframe, dict[str, Any]]]:
    """Yield the requests that features need in addition to that for the range, for a plan.

    It is assumed that the first bar of the range is the first one that its calendar expects.

    Yields:
        A phrase, the timeframe, and the bounds and session of each request; other options are the
        same.

    Raises:
        QueryError: An argument is invalid.
    """
    base = Timeframe.parse(timeframe)
    uses = [use for use in parse_recipes(recipes, anchor) if isinstance(use, RecipeUse)]
    _check(base, uses, (), LAYOUTS[0], request.options)
    session = Wishes(session=request.options["session"], closed_by=request.options["closed_by"])
    bars = request.options.get("bars")
    query = request.manager.client.query(symbol, base, *request.bounds, bars, session)
    first_ms = request.calendar_of(symbol, base).next_open(base, query.span.start)
    for longer in dict.fromkeys([None, *(use.timeframe for use in uses)]):
        own = [use for use in uses if use.timeframe == longer]
        name, since_ms = longer or base, first_ms
        calendar, hours = request.calendar_of(symbol, name), {"session": request.session_of(name)}
        if longer is not None:
            since_ms = calendar.back(longer, first_ms, _LONGER_BEFORE)
            bounds = {"start": _bound(longer, since_ms), "end": request.bounds[1]}
            yield f"{longer} bars", longer, bounds | hours
        openings = request.openings(symbol, name, own)
        spans = {
            request.manager.client.query(
                symbol, name, b.get("start"), b["end"], b.get("bars")
            ).span.start: b
            for b in _bounds_before(name, since_ms, calendar, "session", own, has_store, openings)
        }
        if spans:  # one of them contains the others
            yield f"{name} bars before", name, spans[min(spans)] | hours


# --- reports and members ---------------------------------------------------------------------


def _of_reports(
    request: Request, symbol: str, uses: Sequence[ReportUse], closes: Stamps
) -> tuple[dict[str, Values], list[str], dict[str, Any]]:
    """Return the values of reports that had been filed, why some are missing, vendors and currencies."""
    wish = Wish(data_type="statements", needs_filing_days=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = request.manager._services.fundamentals.get(symbol, wish)
    reports, facts = record.get("statements", ()), record.get(METADATA, {})
    values, lacks, currencies = values_of_reports(uses, reports, closes)
    failures = [str(one.message) for one in caught if one.category is IncompleteDataWarning]
    names = ("providers_not_asked", "providers_failed")
    vendors = {"vendor": reports[0]["vendor"] if reports else None} | {
        n: facts.get(n, {}) for n in names
    }
    vendors["currencies"] = currencies
    return values, failures[:1] or lacks, vendors


def _rows_of_members(
    request: Request, timeframe: Timeframe, series: Mapping[str, _Series]
) -> dict[str, NDArray[np.bool_]]:
    """Return which rows of each symbol are of a day on which it was a member."""
    assert request.members is not None
    members, found = cache(request.members), {}
    for name, one in series.items():
        days = ((one.closes - 1) // DAY_MS).astype(np.float64)
        if timeframe.is_intraday:
            calendar = request.calendar_of(name, timeframe)
            days = _session_columns(calendar, timeframe, one.stamps)["day"]
        found[name] = are_members(name, days, members)
    return found


# --- frames ----------------------------------------------------------------------------------


def _parts(
    columns: Sequence[str], table: Values, series: Mapping[str, _Series]
) -> dict[str, dict[str, Values]]:
    """Return the part of a table that each symbol has, by symbol and column; the rows are columns."""
    ends = np.cumsum([len(one.closes) for one in series.values()])
    parts = np.split(table, ends[:-1], axis=1)
    return {n: dict(zip(columns, own, strict=True)) for n, own in zip(series, parts, strict=False)}


def _long(
    symbols: Sequence[str], series: Mapping[str, _Series], columns: Mapping[str, Values]
) -> pd.DataFrame:
    """Return one row for each bar of each symbol."""
    lengths = [len(one.closes) for one in series.values()]
    numbers = {name: number for number, name in enumerate(symbols)}
    codes = np.repeat(np.array([numbers[name] for name in series], np.int32), lengths)
    body: dict[str, Any] = {
        "symbol": pd.Categorical.from_codes(
            codes, categories=pd.Index(list(map(str, symbols)), dtype=str)
        ),
        "timestamp": _times([one.stamps for one in series.values()]),
    }
    body |= columns
    body["closed_by"] = _times([one.closes for one in series.values()])
    return pd.DataFrame(body, copy=False)


def _times(parts: Sequence[Stamps]) -> NDArray[np.datetime64]:
    stamps = np.concatenate([np.empty(0, np.int64), *parts])
    stamps *= NS_IN_MS
    return stamps.view("M8[ns]")


def _wide(
    symbols: Sequence[str],
    series: Mapping[str, _Series],
    found: Mapping[str, Mapping[str, Values]],
    columns: Sequence[str],
) -> pd.DataFrame:
    """Return one row for each timestamp of any symbol, and a column for each recipe and symbol."""
    own = {name: one.stamps for name, one in series.items()}
    distinct = {stamps.tobytes(): stamps for stamps in own.values()}
    stamps = np.unique(np.concatenate([np.empty(0, np.int64), *distinct.values()]))
    values = np.full((len(columns), len(symbols), len(stamps)), np.nan)
    for number, name in enumerate(symbols):
        if name in own:
            rows = stamps.searchsorted(own[name])
            for row, column in enumerate(columns):
                values[row, number, rows] = found[name][column]
    levels = pd.MultiIndex.from_product([columns, list(map(str, symbols))], names=LEVELS)
    index = pd.DatetimeIndex(_times([stamps]), name="timestamp")
    return pd.DataFrame(
        values.reshape(len(levels), len(stamps)).T, index=index, columns=levels, copy=False
    )


def _facts(
    frames: Mapping[str, pd.DataFrame],
    lacking: Mapping[str, Any],
    found: Mapping[str, Mapping[str, Values]],
) -> dict[str, Any]:
    """Return the provenance of a frame of features; ``lacking`` has what is missing, by reason."""
    facts = {name: frame.attrs[ATTRS_KEY] for name, frame in frames.items()}
    nan = {
        name: {c: int(n) for c, v in own.items() if (n := np.isnan(v).sum())}
        for name, own in found.items()
    }
    is_complete = not any(lacking.values()) and all(own["complete"] for own in facts.values())
    nan = {name: own for name, own in nan.items() if own}
    return {"symbols": facts, **lacking, "nan": nan, "complete": is_complete}


def _warn(
    failed: Mapping[str, Any], lacks: Mapping[str, str], unreported: Mapping[str, str], total: int
) -> None:
    """Issue a warning about symbols without bars, one about missing leads, one about reports."""
    for names, what in (
        (failed, "no bars"),
        (lacks, "no bars before the range"),
        (unreported, "missing reports"),
    ):
        if names:
            first = next(iter(names))
            own: Any = names[first]
            reason = own if isinstance(own, str) else own["message"]
            shown = ", ".join(map(str, list(names)[:20])) + (", ..." if len(names) > 20 else "")
            text = f"{len(names)} of {total} symbols have {what}: {shown}; {first}: {reason}"
            warn_user(text, IncompleteDataWarning)
