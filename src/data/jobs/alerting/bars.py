"""Reads the closed bars on which alerts are evaluated, and the problems with their data."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core.calendars.calendar import calendar_for, first_unclosed
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.stored.reasons import (
    BEFORE_FIRST,
    CLOSED,
    REJECTED,
    UNASKED,
    Cause,
    cause_of,
    sentence,
)
from ...core.model.time.instant import DAY_MS, NEVER_MS, iso, parse_iso
from ...core.model.time.span import Span, subtract
from ...errors import DataError, IncompleteDataWarning, SeriesEndedWarning

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...core.bars.client import BarsClient
    from ...core.model.market.bars import Stamps
    from ...core.model.request.query import BarsQuery

# A span for which no vendor has answered delays an evaluation until it is this old.
_OLD_MS = DAY_MS
_LATE_BARS = 2
_HARMLESS = {BEFORE_FIRST, CLOSED, UNASKED}
_NS_IN_MS = 1_000_000
_Facts = Mapping[str, Any]


class Problem(NamedTuple):
    """A problem with the data of a series.

    Attributes:
        name: Name from ``PROBLEMS``.
        at_ms: Time of the problem, UTC milliseconds, which identifies it; ``NEVER_MS`` if it lasts until now.
        text: Sentence about the problem.
    """

    name: str
    at_ms: int
    text: str


@dataclass(frozen=True, eq=False)
class ClosedBars:
    """Closed bars of one series, without those that are almost certainly wrong.

    Attributes:
        stamps: Opening times of the bars, ascending, UTC milliseconds.
        closes_ms: Closing time of each bar, UTC milliseconds.
        columns: ``open high low close volume``, float64, adjusted for splits.
        splits: Times (UTC milliseconds) from which splits apply that the prices are adjusted for.
        problems: Problems with the data.
        failure: Reason why no vendor has answered for a recent span; crossings are then evaluated later.
    """

    stamps: Stamps
    closes_ms: Stamps
    columns: Mapping[str, NDArray[np.float64]]
    splits: Sequence[int] = ()
    problems: Sequence[Problem] = ()
    failure: str = ""


def read_bars(
    client: BarsClient, wanted: Sequence[tuple[str, str, int]], timeout_s: float | None = None
) -> list[ClosedBars | str]:
    """Return for each series its closed bars, fetching missing ones, or the reason why there are none.

    Args:
        client: Client to read bars through.
        wanted: Symbol, timeframe and number of bars of each series; several are fetched at once.
        timeout_s: Seconds to wait for vendors; None waits as long as pages keep arriving.
    """
    from ...core.bars.client import Wishes  # its packages take long to import

    queries, answers = dict[int, "BarsQuery"](), dict[int, ClosedBars | str]()
    wishes = Wishes(timeout=timeout_s)
    for index, (symbol, timeframe, count) in enumerate(wanted):
        try:
            queries[index] = client.query(symbol, timeframe, bars=count, wishes=wishes)
        except DataError as error:
            answers[index] = str(error)
    with warnings.catch_warnings():
        # What an answer lacks is a problem with the data, for which there are alerts.
        warnings.simplefilter("ignore", IncompleteDataWarning)
        warnings.simplefilter("ignore", SeriesEndedWarning)
        frames = client.get_batch(list(queries.values()))
    for (index, query), frame in zip(queries.items(), frames, strict=True):
        try:
            answers[index] = _closed_bars(client, query, frame)
        except DataError as error:
            answers[index] = str(error)
    return [answers[index] for index in range(len(wanted))]


def _closed_bars(client: BarsClient, query: BarsQuery, frame: Any) -> ClosedBars | str:
    """Return the bars of an answer in the form that alerts are evaluated on, or why there are none."""
    facts = frame.attrs[ATTRS_KEY]
    if "error" in facts:
        return str(facts["error"]["message"])
    if facts["substitute"]:
        return f"only bars of another kind are available: {facts['substitute']}"
    stamps = frame.index.to_numpy().view(np.int64) // _NS_IN_MS
    calendar = calendar_for(query.instrument)
    anchor = (facts["kind"] or {}).get("anchor", "session")
    grave = dict(_grave(client, query, facts, stamps))
    usable = ~np.isin(stamps, list(grave))
    if grave:
        from ..validation.accepted import accepted_stamps

        for stamp in accepted_stamps(client, client.series_of(query)).tolist():
            grave.pop(stamp, None)
    last = int(stamps[-1]) if len(stamps) else query.span.start
    unclosed = first_unclosed(calendar, query.timeframe, query.now_ms, anchor)
    behind = len(calendar.opens(query.timeframe, Span(last + 1, unclosed), anchor))
    return ClosedBars(
        stamps[usable],
        calendar.closes(query.timeframe, stamps[usable], anchor),
        dict(zip(map(str, frame.columns), frame.to_numpy()[usable].T, strict=True)),
        _splits(client, query, facts["as_of"]),
        tuple(_problems(query, facts, grave, last, behind)),
        sentence(facts["unanswered"]) if _is_waiting(client, query, facts) else "",
    )


def _grave(
    client: BarsClient, query: BarsQuery, facts: _Facts, stamps: Stamps
) -> Iterator[tuple[int, str]]:
    """Yield the timestamp of each bar that is almost certainly wrong, with the reason."""
    spans = [(Span(parse_iso(s["start"]), parse_iso(s["end"])), s) for s in facts["spans"]]
    reasons = [(span, entry.get("reason", "")) for span, entry in spans]
    if any(entry.get("merged") for entry in facts["spans"]):
        coverage = client.coverage(client.series_of(query))
        reasons = [(entry.span, entry.reason) for entry in coverage]
    for span, reason in reasons:
        if Cause.GRAVE in cause_of(reason):
            first, last = stamps.searchsorted(span)
            yield from ((int(stamp), reason) for stamp in stamps[first:last])


def _splits(client: BarsClient, query: BarsQuery, as_of: str | None) -> list[int]:
    """Return the times from which the splits apply that an answer is adjusted for."""
    if not as_of:
        return []
    day, known = date.fromisoformat(as_of[:10]), client.actions(query.instrument.symbol)
    splits = [one.action for one in known if one.counts and one.action.is_in("split", day)]
    return sorted(action.ex_at for action in splits)


def _is_waiting(client: BarsClient, query: BarsQuery, facts: _Facts) -> bool:
    """Return whether no vendor has answered for a recent span, not even that it has no bars."""
    if facts["unanswered"] is None:
        return False
    spans = [Span(parse_iso(gap["start"]), parse_iso(gap["end"])) for gap in _harmful(facts)]
    recent = [span for span in spans if query.now_ms - span.end < _OLD_MS]
    known = [entry.span for entry in client.coverage(client.series_of(query))]
    return bool(subtract(recent, known))


def _problems(
    query: BarsQuery, facts: _Facts, grave: Mapping[int, str], last: int, behind: int
) -> Iterator[Problem]:
    """Yield the problems with an answer's bars; ``behind`` is the number of bars missing after the last.

    Missing bars at the end are not a gap, because they may only be late. If there are more than two, the
    series is stale.
    """
    series = f"{query.instrument.symbol} {query.timeframe}"
    if behind > _LATE_BARS:
        why = f" ({sentence(facts['unanswered'])})" if facts["unanswered"] else ""
        text = f"{series} is stale: {behind} bars are missing since {iso(last)}{why}"
        yield Problem("stale", NEVER_MS, text)
    for gap in _harmful(facts):
        if gap["reason"].startswith(REJECTED):
            text = f"{series}: the row {gap['start']} was rejected: {sentence(gap['reason'])}"
            yield Problem("rejected", parse_iso(gap["start"]), text)
        elif parse_iso(gap["end"]) <= last:
            text = f"a gap from {gap['start']} to {gap['end']}: {sentence(gap['reason'])}"
            yield Problem("gap", parse_iso(gap["start"]), f"{series} has {text}")
    for stamp, why in grave.items():
        yield Problem("grave", stamp, f"{series}: the bar {iso(stamp)} is {sentence(why)}")


def _harmful(facts: _Facts) -> list[_Facts]:
    return [gap for gap in facts["gaps"] if gap["reason"] not in _HARMLESS]
