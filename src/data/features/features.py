"""Frames of features: the bars that they need, longer timeframes as of their close, and the two layouts."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..core.bars.client import Wishes
from ..core.calendars.calendar import MarketCalendar, calendar_for
from ..core.interface import Wish
from ..core.model.answer.frame import NS_IN_MS, REQUIRED_COLUMNS
from ..core.model.answer.provenance import ATTRS_KEY, freeze
from ..core.model.market.bars import Stamps
from ..core.model.market.fundamentals import METADATA
from ..core.model.request.query import BarsQuery
from ..core.model.stored.reasons import AFTER_LAST, BEFORE_FIRST, CLOSED, UNASKED
from ..core.model.time.instant import DAY_MS, date_of, day_ms, from_ms, parse_iso
from ..core.model.time.span import Span
from ..core.model.time.timeframe import Timeframe
from ..core.model.words.caller import warn_user
from ..errors import BadRangeError, IncompleteDataError, IncompleteDataWarning, QueryError
from .blocks import Tape, block_at, rows_without_lead
from .joins import ReportUse, values_of_report
from .kept import values_of
from .recipes import RecipeUse, parse_recipes
from .rolling import Values

__all__ = ["LAYOUTS", "FeatureLayout", "features"]

FeatureLayout = Literal["long", "wide"]
LAYOUTS: tuple[FeatureLayout, ...] = ("long", "wide")
LEVELS = ("recipe", "symbol")
_NOT_HOLES = (BEFORE_FIRST, CLOSED, UNASKED, AFTER_LAST)
_REFUSED = ("include_forming", "columns")
# Options of the request that do not apply when bars before its start are read.
_OF_THE_REQUEST = ("bars", "period", "refresh", "strict", "universe", "as_of")
# Longer bars that are read before the first one, so that one of them has closed.
_LONGER_BEFORE = 3


class _Series(NamedTuple):
    """The bars of one symbol in one timeframe.

    Attributes:
        tape: Bars, with those of the lead.
        uses: Recipes, with the openings of their anchors.
        closes: Closing time of each bar of the answer, UTC milliseconds.
        missing: Closing times of missing bars, UTC milliseconds, ascending.
        lacks: Reason why bars of the lead are missing; empty if no value of the answer needs them.
    """

    tape: Tape
    uses: Sequence[RecipeUse]
    closes: Stamps
    missing: Stamps
    lacks: str

    @property
    def stamps(self) -> Stamps:
        """Opening times of the bars of the answer."""
        return self.tape.stamps[self.tape.first :]


class Request(NamedTuple):
    """A request for features.

    Attributes:
        manager: The data manager.
        bounds: Start and end of the request, as given.
        options: Other options of ``get_ohlcv_batch``.
        members: Function that returns the members of a universe on a date, if rows are limited to
            these; else None.
        store: Store in which blocks are kept, if they are; else None or False.
    """

    manager: Any
    bounds: tuple[Any, Any]
    options: Mapping[str, Any]
    members: Callable[[date], Collection[str]] | None = None
    store: Any = None

    def session_of(self, timeframe: Timeframe) -> Any:
        """Return the session of bars: that of the request, or for days and longer the regular one."""
        return self.options.get("session", "regular") if timeframe.is_intraday else "regular"

    def query(self, symbol: str, timeframe: Timeframe, *bounds: Any) -> BarsQuery:
        """Return a query in the session of bars of a timeframe; its bounds are start, end and bars."""
        closed_by = self.options.get("closed_by")
        wishes = Wishes(session=self.session_of(timeframe), closed_by=closed_by)
        query: BarsQuery = self.manager.client.query(symbol, timeframe, *bounds, wishes=wishes)
        return query

    def calendar_of(self, symbol: str, timeframe: Timeframe) -> MarketCalendar:
        """Return the calendar of a symbol in the session of bars of a timeframe."""
        return calendar_for(self.query(symbol, timeframe).instrument)

    def opened(
        self, uses: Sequence[RecipeUse], symbol: str, timeframe: Timeframe
    ) -> Iterator[RecipeUse]:
        """Yield recipes whose dated anchors begin where a range that starts on their date does."""
        for use in uses:
            opening = use.anchor_ms
            if opening and timeframe.is_intraday:
                with suppress(BadRangeError):  # a date before 1900 or after now
                    opening = self.query(symbol, timeframe, date_of(opening)).span.start
            yield replace(use, anchor_ms=opening)

    def read_quietly(self, symbols: Sequence[str], timeframe: Timeframe, **bounds: Any) -> Any:
        """Return bars outside of the request, whose gaps are reported as gaps of the lead."""
        options = {name: v for name, v in self.options.items() if name not in _OF_THE_REQUEST}
        options |= {"session": self.session_of(timeframe), "progress": lambda _: None}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.manager.get_ohlcv_batch(symbols, timeframe.label, **options | bounds)


def features(
    request: Request,
    symbols: Sequence[str] | None,
    timeframe: str,
    recipes: Any,
    anchor: Any,
    layout: str,
) -> pd.DataFrame:
    """Return the features of many symbols as one frame; see ``DataManager.features``.

    Raises:
        QueryError: An argument is invalid; nothing is requested.
        IncompleteDataError: ``strict`` is set and the answer is incomplete.
    """
    base, given, store = Timeframe.parse(timeframe), parse_recipes(recipes, anchor), request.store
    if store is not None and not (hasattr(store, "get") and hasattr(store, "put")):
        raise QueryError(
            f"not a store: {store!r:.80}", hint="use True, or FrameStore(folder, max_bytes)"
        )
    uses = [use for use in given if isinstance(use, RecipeUse)]
    of_reports = [use for use in given if isinstance(use, ReportUse)]
    _check(base, uses, of_reports, layout, request.options)
    frames = request.manager.get_ohlcv_batch(
        symbols, base.label, *request.bounds, **request.options
    )
    facts = {name: frame.attrs[ATTRS_KEY] for name, frame in frames.items()}
    failed = {name: own["error"]["message"] for name, own in facts.items() if "error" in own}
    answered = {name: frame for name, frame in frames.items() if name not in failed}
    tapes = _series(request, base, answered, [use for use in uses if use.timeframe is None])
    series = {name: tapes[name] for name in answered if name in tapes}
    columns = [name for use in given for name in use.names]
    # Of all symbols, so that no value is copied once more.
    ends = np.cumsum([0, *(len(one.closes) for one in series.values())], dtype=np.int64)
    table = np.empty((len(columns), ends[-1]))
    found = {
        name: dict(zip(columns, part, strict=True))
        for name, part in zip(series, np.split(table, ends[1:], axis=1), strict=False)
    }
    lacks, unreported, reports = dict[str, str](), dict[str, str](), dict[str, Any]()
    for name, one in series.items():
        values_of(one.uses, one.tape, store, found[name])
        if one.lacks:
            lacks[name] = one.lacks
    for longer in dict.fromkeys(use.timeframe for use in uses if use.timeframe):
        theirs = [use for use in uses if use.timeframe == longer]
        others = _longer(request, longer, series, theirs)
        for name, one in series.items():
            other = others.get(name)
            longs = {} if other is None else values_of(other.uses, other.tape, store)
            for output in (n for use in theirs for n in use.names):
                found[name][output][:] = _as_of(one.closes, other, longs.get(output))
            if other is None or other.lacks:
                lacks[name] = f"{longer}: {other.lacks if other else 'no bars'}"
    for name, one in series.items() if of_reports else ():
        why, reports[name] = _of_reports(request, name, of_reports, base, one.closes, found[name])
        unreported |= {name: why} if why else {}
    frame = _long(list(frames), series, dict(zip(columns, table, strict=True)))
    not_members: dict[Any, int] = {}
    if request.members is not None:
        is_member = _are_members(request.members, request, base, series)
        left_out = frame["symbol"][~is_member].value_counts(sort=False)
        not_members = left_out[left_out > 0].to_dict()
        frame = frame[is_member].reset_index(drop=True)
    counts = frame[columns].isna().groupby(frame["symbol"], observed=True).sum()
    nan = {name: own[own > 0].to_dict() for name, own in counts.iterrows() if own.any()}
    lacking = {"failed": list(failed), "lead_missing": lacks, "reports_missing": unreported}
    is_complete = not any(lacking.values()) and all(own["complete"] for own in facts.values())
    more = {"nan": nan, "not_members": not_members, "reports": reports, "complete": is_complete}
    frame = _wide(frame, columns) if layout == "wide" else frame
    frame.attrs[ATTRS_KEY] = freeze({"symbols": facts, **lacking, **more})
    _report(
        {"no bars": failed, "too few bars before the range": lacks, "missing reports": unreported},
        len(frames),
        frame if request.options.get("strict") else None,
    )
    return frame


def _check(
    base: Timeframe,
    uses: Sequence[RecipeUse],
    of_reports: Sequence[ReportUse],
    layout: str,
    options: Mapping[str, Any],
) -> None:
    """Check what needs no bars.

    Raises:
        QueryError: The layout is unknown, an option is not served, or a recipe needs another
            timeframe.
    """
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
) -> dict[str, _Series]:
    """Return the bars of each symbol that has any, with the lead of some recipes.

    Symbols with the same first bar and calendar are read together.
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
        opened = [*request.opened(uses, names[0], timeframe)]
        market = _Market(calendar, timeframe, anchor, opened, bool(request.store))
        bounds = market.bounds_before(first_ms)
        parts = [request.read_quietly(names, timeframe, **own) for own in bounds]
        for name in names:
            before = [part[name] for part in parts if name in part]
            found[name] = market.joined(before, frames[name])
    return found


class _Market(NamedTuple):
    """A market whose bars are read in one timeframe.

    Attributes:
        calendar: Calendar, for the session of the bars.
        timeframe: Timeframe.
        anchor: Where bars begin in a session, as in the kind of the bars.
        uses: Recipes, with the openings of their anchors.
        has_store: Whether blocks are kept.
    """

    calendar: MarketCalendar
    timeframe: Timeframe
    anchor: str
    uses: Sequence[RecipeUse]
    has_store: bool

    def bounds_before(self, first_ms: int) -> Iterator[dict[str, Any]]:
        """Yield the bounds of the requests for the bars before the first one: the lead, then the anchor's.

        If only windowed recipes are computed, the lead begins at the first bar, else at the start of
        its block.
        """
        lead = max((use.lead_in(self.timeframe) for use in self.uses), default=0)
        since = min((ms for use in self.uses if (ms := use.anchor_ms) is not None), default=None)
        is_free = all(use.is_free for use in self.uses) and not self.has_store
        start = first_ms if is_free else block_at(self.timeframe, first_ms).start
        count = lead + len(self.calendar.opens(self.timeframe, Span(start, first_ms), self.anchor))
        last = _bound(self.timeframe, first_ms - 1)
        # With a number of bars, an instant is that by which they had closed.
        end = from_ms(first_ms) if self.timeframe.is_intraday else last
        if count and since != 0:
            yield {"end": end, "bars": count}
        if since is not None and since < first_ms:
            begin = {"start": _bound(self.timeframe, since)} if since else {"period": "max"}
            yield {"end": last} | begin

    def joined(self, before: Sequence[pd.DataFrame], frame: pd.DataFrame) -> _Series:
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
        stamps = np.concatenate([part.index.to_numpy().view(np.int64) for part in parts])
        stamps //= NS_IN_MS
        # Bars may exist before the first one, even if no vendor reaches back to them. New names of the
        # symbol, and the number of shorter bars, are in front of a reason.
        fronts = [
            gap["reason"]
            for part in before
            for gap in part.attrs[ATTRS_KEY]["gaps"]
            if not gap["reason"].endswith(_NOT_HOLES) and parse_iso(gap["start"]) < stamps[0]
        ]
        lacks = lacks or next(iter(fronts), "")
        holes = [hole for part in parts for hole in self._holes(part, stamps)]
        # Every frame begins with these columns, which are read at once.
        numbers = np.concatenate([part.to_numpy()[:, : len(REQUIRED_COLUMNS)] for part in parts])
        columns = dict(zip(REQUIRED_COLUMNS, np.ascontiguousarray(numbers.T), strict=True))
        first = len(stamps) - len(frame)
        used = {name for use in self.uses for name in use.recipe.columns}
        if used & {"stamp", "opens", "day"} or any(use.anchor == "session" for use in self.uses):
            columns |= _session_columns(self.calendar, self.timeframe, stamps)
        lacks = lacks if self._is_short(stamps, first) else ""
        positions = {int(stamps.searchsorted(hole.start)): hole.end for hole in holes}
        tape = Tape(self.timeframe, stamps, columns, positions, bool(lacks), first)
        is_nan = any(first < rows_without_lead(use, tape) for use in self.uses)
        late = [hole for hole in holes if hole.end > stamps[first]]
        missing = [self.calendar.opens(self.timeframe, hole, self.anchor) for hole in late]
        lost = np.concatenate([np.empty(0, np.int64), *missing])
        lost = lost[~np.isin(lost, stamps)] if len(lost) else lost
        closes, ends = (
            self.calendar.closes(self.timeframe, opens, self.anchor)
            for opens in (stamps[first:], lost)
        )
        return _Series(tape, self.uses, closes, ends, lacks if is_nan else "")

    def _is_short(self, stamps: Stamps, first: int) -> bool:
        """Return whether bars of a lead are missing, or bars since an anchor."""
        before = int(stamps.searchsorted(block_at(self.timeframe, int(stamps[first])).start))
        return any(
            (first if use.is_free else before) < use.lead_in(self.timeframe)
            if use.anchor_ms is None
            else use.anchor_ms < stamps[0]
            for use in self.uses
        )

    def _holes(self, part: pd.DataFrame, stamps: Stamps) -> Iterator[Span]:
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
            rest = Span(start, max(start, int(stamps[last : last + 2][-1])))
            expected = self.calendar.required(self.timeframe, rest, self.anchor)
            yield from (Span(ms, ms + 1) for ms in np.setdiff1d(expected, stamps).tolist())


def _bound(timeframe: Timeframe, stamp_ms: int) -> Any:
    """Return a timestamp as a bound of a request: an instant, or the date of a session."""
    return from_ms(stamp_ms) if timeframe.is_intraday else date_of(stamp_ms)


def _session_columns(
    calendar: MarketCalendar, timeframe: Timeframe, stamps: Stamps
) -> dict[str, Values]:
    """Return the columns ``stamp``, ``opens`` and ``day``."""
    if not timeframe.is_intraday:
        return {"day": (stamps // DAY_MS).astype(np.float64)}
    sessions = calendar.sessions(
        date_of(int(stamps[0]) - 4 * DAY_MS), date_of(int(stamps[-1]) + DAY_MS)
    )
    opens = np.array([session.open_ms for session in sessions], np.int64)
    closes = np.array([session.close_ms for session in sessions], np.int64)
    days = np.array([day_ms(session.day) // DAY_MS for session in sessions], np.int64)
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
        found |= _series(request, timeframe, answered, uses)
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
    request: Request, symbol: str, timeframe: str, recipes: Any, anchor: Any
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
    query = request.query(symbol, base, *request.bounds, request.options.get("bars"))
    first_ms = request.calendar_of(symbol, base).next_open(base, query.span.start)
    for longer in dict.fromkeys([None, *(use.timeframe for use in uses)]):
        own = [use for use in uses if use.timeframe == longer]
        name, since_ms = longer or base, first_ms
        calendar, hours = request.calendar_of(symbol, name), {"session": request.session_of(name)}
        if longer is not None:
            since_ms = calendar.back(longer, first_ms, _LONGER_BEFORE)
            bounds = {"start": _bound(longer, since_ms), "end": request.bounds[1]}
            yield f"{longer} bars", longer, bounds | hours
        opened = [*request.opened(own, symbol, name)]
        market = _Market(calendar, name, "session", opened, bool(request.store))
        spans = {
            request.query(symbol, name, b.get("start"), b["end"], b.get("bars")).span.start: b
            for b in market.bounds_before(since_ms)
        }
        if spans:  # one of them contains the others
            yield f"{name} bars before", name, spans[min(spans)] | hours


# --- reports and members ---------------------------------------------------------------------


def _of_reports(
    request: Request,
    symbol: str,
    uses: Sequence[ReportUse],
    timeframe: Timeframe,
    closes: Stamps,
    into: Mapping[str, Values],
) -> tuple[str, dict[str, Any]]:
    """Fill in the values of reports that had been filed; return why some are missing, and their sources."""
    times = (int(closes[0]), int(closes[-1])) if len(closes) else None
    wish = Wish(data_type="statements", needs_filing_days=True, times=times)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = request.manager._services.fundamentals.get(symbol, wish)
    reports, facts = record.get("statements", ()), record.get(METADATA, {})

    def opens_after(time_ms: int) -> int:
        """Return the open of the first session at or after an instant."""
        days = date_of(time_ms) - timedelta(days=1), date_of(time_ms) + timedelta(days=10)
        sessions = request.calendar_of(symbol, timeframe).sessions(*days)
        return next((s.open_ms for s in sessions if s.open_ms >= time_ms), time_ms)

    failures = [str(one.message) for one in caught if one.category is IncompleteDataWarning]
    names = ("providers_not_asked", "providers_failed")
    sources = {"vendor": reports[0]["vendor"] if reports else None}
    sources |= {name: facts.get(name, {}) for name in names}
    lacks, amounts = list[str](), dict[str, list[str]]()
    for use in uses:
        into[use.text][:], reasons, currencies = values_of_report(use, reports, closes, opens_after)
        lacks += reasons
        amounts |= {use.text: currencies} if use.is_amount else {}
    return "; ".join(failures[:1] or lacks), sources | {"currencies": amounts}


def _are_members(
    members: Callable[[date], Collection[str]],
    request: Request,
    timeframe: Timeframe,
    series: Mapping[str, _Series],
) -> NDArray[np.bool_]:
    """Return for each row whether its symbol was a member on the bar's day."""
    members_on, found = cache(members), [np.empty(0, bool)]
    for name, one in series.items():
        days = ((one.closes - 1) // DAY_MS).astype(np.float64)
        if timeframe.is_intraday:
            calendar = request.calendar_of(name, timeframe)
            days = _session_columns(calendar, timeframe, one.stamps)["day"]
        distinct, rows = np.unique(days, return_inverse=True)
        are = [name in members_on(date_of(int(day) * DAY_MS)) for day in distinct]
        found.append(np.array(are, bool)[rows])
    return np.concatenate(found)


# --- frames ----------------------------------------------------------------------------------


def _long(
    symbols: Sequence[str], series: Mapping[str, _Series], columns: Mapping[str, Values]
) -> pd.DataFrame:
    """Return one row for each bar of each symbol."""
    lengths = [len(one.closes) for one in series.values()]
    numbers = [number for number, name in enumerate(symbols) if name in series]
    codes = np.repeat(np.array(numbers, np.int32), lengths)
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


def _wide(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return one row for each timestamp of any symbol, and a column for each recipe and symbol."""
    symbols = frame["symbol"].cat
    stamps, rows = np.unique(frame["timestamp"].to_numpy(), return_inverse=True)
    values = np.full((len(columns), len(symbols.categories), len(stamps)), np.nan)
    for number, column in enumerate(columns):
        values[number, symbols.codes, rows] = frame[column]
    levels = pd.MultiIndex.from_product([columns, symbols.categories], names=LEVELS)
    index = pd.DatetimeIndex(stamps, name="timestamp")
    return pd.DataFrame(
        values.reshape(len(levels), len(stamps)).T, index=index, columns=levels, copy=False
    )


def _report(
    lacking: Mapping[str, Mapping[str, str]], total: int, strict: pd.DataFrame | None
) -> None:
    """Issue a warning for each thing that symbols lack, with the reason for the first one.

    Raises:
        IncompleteDataError: Something is lacking, and the frame is given because of ``strict``.
    """
    for what, names in lacking.items():
        if names:
            first, reason = next(iter(names.items()))
            shown = ", ".join(map(str, list(names)[:20])) + (", ..." if len(names) > 20 else "")
            text = f"{len(names)} of {total} symbols have {what}: {shown}; {first}: {reason}"
            if strict is not None:
                raise IncompleteDataError(text, frame=strict)
            warn_user(text, IncompleteDataWarning)
