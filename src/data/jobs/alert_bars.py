"""Reads closed bars for alerts from the client, and finds problems in the data.

Each series is read once for all of its alerts.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from ..bars.client import Wishes
from ..calendars.calendar import MarketCalendar, calendar_for, first_unclosed
from ..errors import DataError, IncompleteDataWarning, SeriesEndedWarning, by_vendor
from ..model.instant import NEVER_MS, date_of, day_ms, iso, parse_iso
from ..model.provenance import ATTRS_KEY
from ..model.reasons import BEFORE_FIRST, CLOSED, GRAVE, UNASKED, sentence
from ..model.span import Span, subtract
from ..observability.events import AttemptFailed, Event, QualityLow, ShapeChanged
from .alert_evaluator import ClosedBars, SplitStart
from .alert_values import data_problem
from .alerts import NoBars, WantedBars

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import BarsClient
    from ..model.bars import Stamps
    from ..model.query import BarsQuery
    from ..model.timeframe import Timeframe
    from .perishable import PerishableSeries

__all__ = ["ClientBars"]

# The next session begins within this time, even after the longest closure of an exchange.
_NEAR = timedelta(days=15)
_NS_IN_MS = 1_000_000
_MOST_OTHERS = 256
# A series that lacks at most this many of its latest bars is not stale: vendors are often late.
_LATE_BARS = 2
_HARMLESS = {BEFORE_FIRST, CLOSED, UNASKED}
_REFUSALS = {"AuthenticationError", "EntitlementError", "RegionError"}
# Outcomes of attempts that would recur in the next run.
_LASTING = _REFUSALS | {"UnsupportedError", "SymbolNotFoundError", "CapabilityError"}
# Reasons of errors that would recur in the next run.
_RECURRING = {
    "question",
    "unknown_symbol",
    "no_vendor",
    "configuration",
    "no_key",
    "plan",
    "region",
    "unsupported",
}


class ClientBars:
    """Reads closed, split-adjusted bars for the alert job, fetching missing ones.

    Use ``read`` from one thread only; events can come from any thread.

    Args:
        client: Client to read bars through.
        perishing: Function that returns the stored series with missing bars that vendors will soon
            stop serving. With None, such series are not reported.
        timeout_s: Seconds that a run waits for vendors. None waits as long as pages keep arriving.
    """

    def __init__(
        self,
        client: BarsClient,
        perishing: Callable[[], Iterable[PerishableSeries]] | None = None,
        timeout_s: float | None = None,
    ) -> None:
        self._client, self._perishing = client, perishing
        self._wishes = Wishes(timeout=timeout_s)
        # Filled by the thread in which an event happens, emptied by the reading thread. Each of
        # these steps is atomic.
        self._others: dict[tuple[str, ...], dict[str, Any]] = {}
        # Maps each series in the last call of `read` to its names in the alerts.
        self._names: dict[str, dict[str, None]] = {}

    def hear(self, event: Event) -> None:
        """Record an event if it shows a problem with the data; pass this method to ``on_event``."""
        day = date_of(event.at_ms).isoformat()
        series = f"{event.symbol} {event.timeframe}".strip()
        if isinstance(event, QualityLow):
            facts = {"score": event.score, "minimum": event.minimum}
            self._note("quality", series, day, **facts, findings="; ".join(event.findings[:3]))
        elif isinstance(event, ShapeChanged):
            vendor = event.vendor
            self._note("shape", series, vendor, day, vendor=vendor, endpoint=event.endpoint)
        elif isinstance(event, AttemptFailed) and event.outcome in _REFUSALS:
            vendor, request = event.vendor, series or "a request"
            self._note(
                "key", series, vendor, day, vendor=vendor, request=request, outcome=event.outcome
            )

    def _note(self, *named: str, **facts: Any) -> None:
        if len(self._others) < _MOST_OTHERS:
            self._others[named] = facts

    def other_problems(self) -> Mapping[str, str]:
        """Return the problems recorded since the last call, and the series that will soon lose data."""
        noted, self._others = self._others, {}
        others = dict(
            data_problem(name, own_name, *parts, **facts)
            for (name, series, *parts), facts in noted.items()
            for own_name in self._names_of(series)
        )
        if self._perishing is None:
            return others
        soon = (
            data_problem(
                "perishes",
                own_name,
                data=series,
                vendor=series.vendor,
                last=iso(series.last_ms),
                lost=date_of(series.lost_ms),
                command=series.command,
            )
            for series in self._perishing()
            for own_name in self._names_of(str(series.key))
        )
        return {**others, **dict(soon)}

    def _names_of(self, series: str) -> Iterable[str]:
        """Return the names of a series in the alerts, or its own name if it has none."""
        return self._names.get(series, (series,))

    def read(self, wanted: Sequence[WantedBars]) -> Sequence[ClosedBars | NoBars]:
        """Return the closed bars of each series; missing bars are fetched for several series at once."""
        queries: dict[int, BarsQuery] = {}
        answers: dict[int, ClosedBars | NoBars] = {}
        self._names = {}
        now_ms = self._client.clock.now_ms()
        for index, series in enumerate(wanted):
            try:
                count = series.needed.bars_at(series.timeframe, now_ms)
                query = queries[index] = self._client.query(
                    series.symbol, series.timeframe, bars=count, wishes=self._wishes
                )
                name = f"{query.instrument.symbol} {query.timeframe}"
                self._names.setdefault(name, {})[f"{series.symbol} {series.timeframe}"] = None
            except DataError as error:
                answers[index] = _failure(str(error), error.reason)
        with warnings.catch_warnings():
            # The gaps in an answer are problems of the data, and are reported as such.
            warnings.simplefilter("ignore", IncompleteDataWarning)
            warnings.simplefilter("ignore", SeriesEndedWarning)
            frames = self._client.get_batch(list(queries.values()))
        for (index, query), frame in zip(queries.items(), frames, strict=True):
            try:
                answers[index] = self._bars(query, frame, wanted[index])
            except DataError as error:
                answers[index] = _failure(str(error), error.reason)
        return [answers[index] for index in range(len(wanted))]

    def _bars(
        self, query: BarsQuery, frame: pd.DataFrame, wanted: WantedBars
    ) -> ClosedBars | NoBars:
        facts = frame.attrs[ATTRS_KEY]
        if "error" in facts:
            return _failure(facts["error"]["message"], facts["error"]["reason"])
        stamps = frame.index.to_numpy().view(np.int64) // _NS_IN_MS
        calendar = calendar_for(query.instrument)
        anchor = (facts["kind"] or {}).get("anchor") or "session"
        closes = calendar.closes(query.timeframe, stamps, anchor)
        # All at once: column by column takes ten times as long.
        columns = dict(zip(map(str, frame.columns), frame.to_numpy().T, strict=True))
        grave = dict(self._grave(query, facts, stamps))
        series, problems = f"{wanted.symbol} {wanted.timeframe}", dict[str, str]()
        if wanted.with_problems:
            unclosed = first_unclosed(calendar, query.timeframe, query.now_ms, anchor)
            last = int(stamps[-1]) if len(stamps) else query.span.start
            behind = len(calendar.opens(query.timeframe, Span(last + 1, unclosed), anchor))
            problems = dict(_problems(series, facts, grave, last, behind))
        splits = self._splits(query, facts)
        missing, unavailable = self._missing(query, facts)
        is_lacking = missing or unavailable or facts["substitute"]
        return ClosedBars(
            stamps,
            closes,
            columns,
            grave | _of_another_kind(facts, stamps),
            splits,
            {ex_ms: _split_start(calendar, query.timeframe, ex_ms, anchor) for ex_ms, _ in splits},
            problems,
            sentence(facts["unanswered"] or "") if is_lacking else "",
            tuple(missing),
            unavailable,
        )

    def _grave(
        self, query: BarsQuery, facts: Mapping[str, Any], stamps: Stamps
    ) -> Iterator[tuple[int, str]]:
        """Yield the timestamp of each bar that is almost certainly wrong, with the reason."""
        spans = [
            (entry["start"], entry["end"], entry.get("reason", "")) for entry in facts["spans"]
        ]
        reasons = [(Span(parse_iso(a), parse_iso(b)), why) for a, b, why in spans]
        if any(entry.get("merged") for entry in facts["spans"]):
            coverage = self._client.coverage(self._client.series_of(query))
            reasons = [(entry.span, entry.reason) for entry in coverage]
        for span, reason in reasons:
            if reason.startswith(GRAVE):
                first, last = stamps.searchsorted(span)
                yield from ((int(stamp), reason) for stamp in stamps[first:last])

    def _missing(
        self, query: BarsQuery, facts: Mapping[str, Any]
    ) -> tuple[Sequence[Span], Mapping[Span, str]]:
        """Return the spans for which no vendor has answered, and those that no vendor can serve.

        The second value maps each span to the reason. If another vendor has reported that it has no
        bars in a span, the store has a record of it. If not all gaps are listed, there may be more
        after the last one. A substitute has no such spans, because its bars are not used.
        """
        gaps = [gap for gap in facts["gaps"] if gap["reason"] not in _HARMLESS]
        if not gaps or facts["substitute"]:
            return (), {}
        waiting, lasting = list[Span](), dict[Span, str]()
        for gap in gaps:
            span = Span(parse_iso(gap["start"]), parse_iso(gap["end"]))
            if _is_lasting(gap["reason"], facts["attempts"]):
                lasting[span] = sentence(gap["reason"])
            elif facts["unanswered"] is not None:
                waiting.append(span)
        if facts["unanswered"] is not None and facts["gaps_total"] > len(facts["gaps"]):
            waiting.append(Span(parse_iso(facts["gaps"][-1]["end"]), NEVER_MS))
        if not (waiting or lasting):
            return (), {}
        known = [entry.span for entry in self._client.coverage(self._client.series_of(query))]
        unserved = {
            rest: reason for span, reason in lasting.items() for rest in subtract([span], known)
        }
        return subtract(waiting, known), unserved

    def _splits(self, query: BarsQuery, facts: Mapping[str, Any]) -> tuple[tuple[int, float], ...]:
        """Return the splits that the prices in an answer are adjusted for."""
        if not facts["as_of"]:
            return ()
        actions = self._client.actions(query.instrument.symbol)
        splits = (
            (day_ms(recorded.action.ex_date), float(recorded.action.ratio))
            for recorded in actions
            if recorded.counts and recorded.action.type == "split" and recorded.action.is_sound
        )
        as_of = day_ms(date_of(parse_iso(facts["as_of"])))
        return tuple(sorted(split for split in splits if split[0] <= as_of))


def _is_lasting(reason: str, attempts: Iterable[Mapping[str, Any]]) -> bool:
    """Return whether the reason for a gap consists only of failures that would recur in the next run.

    A vendor may be paused because it refused earlier requests; its message then names the refusal.
    """
    rest = reason
    for attempt in attempts:
        vendor, message = attempt["provider"], attempt["message"]
        if attempt["outcome"] in _LASTING or any(f"last with {e}:" in message for e in _REFUSALS):
            rest = rest.replace(by_vendor(vendor, message), "")
    return rest != reason and not rest.strip("; ")


def _of_another_kind(facts: Mapping[str, Any], stamps: Stamps) -> dict[int, str]:
    """Map every timestamp to a reason not to use its bar, if bars of a substitute kind were returned.

    Otherwise, the mapping is empty. A substitute's prices may differ from those requested.
    """
    what = facts["substitute"]
    return dict.fromkeys(stamps.tolist(), f"substitute: {what}") if what else {}


def _split_start(
    calendar: MarketCalendar, timeframe: Timeframe, ex_ms: int, anchor: str
) -> SplitStart:
    """Return the time from which a split applies; ``ex_ms`` is 00:00 UTC of its ex-date."""
    sessions = calendar.sessions(date_of(ex_ms), date_of(ex_ms) + _NEAR)
    open_ms = sessions[0].open_ms if sessions else ex_ms
    return SplitStart(open_ms, first_unclosed(calendar, timeframe, open_ms, anchor))


def _problems(
    series: str, facts: Mapping[str, Any], grave: Mapping[int, str], last: int, behind: int
) -> Iterator[tuple[str, str]]:
    """Yield the problems with an answer's bars, each with a key that identifies it and a sentence.

    Missing bars at the end are not a gap, because they may just be late; if there are more than a
    few, the series is stale.
    """
    if behind > _LATE_BARS:
        yield data_problem("stale", series, bars=behind, newest=iso(last))
    for gap in facts["gaps"]:
        if gap["reason"] not in _HARMLESS and parse_iso(gap["end"]) <= last:
            start, reason = gap["start"], sentence(gap["reason"])
            yield data_problem("gap", series, start, start=start, end=gap["end"], reason=reason)
    for stamp, why in grave.items():
        bar = iso(stamp)
        yield data_problem("grave", series, bar, bar=bar, reason=sentence(why))


def _failure(message: str, reason: str) -> NoBars:
    return NoBars(message, reason in _RECURRING)
