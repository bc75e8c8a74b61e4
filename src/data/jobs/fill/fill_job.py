"""The work of a job: the checked series on its list, and the requests for each of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from typing import NamedTuple

from ...core.calendars.ranges import resolve_range
from ...core.config.rules import JobRules
from ...core.model.identity.instrument import Instrument
from ...core.model.identity.kind import AskedSession
from ...core.model.time.instant import DAY_MS, from_ms
from ...core.model.time.timeframe import Timeframe
from ...errors import BadTimeframeError, QueryError
from .work_list import NO_PRIORITY, WorkItem

When = date | datetime | str
# A series with more bars than this is requested in parts, so that progress can be reported and no
# frame holds ten years of minute bars.
_BARS_A_PART = 100_000
# A local day at the venue may end up to a day before or after a part, whose end is in UTC.
_LEEWAY_MS = 2 * DAY_MS
# Instrument that stands for any symbol while the range of a job is checked.
_JOB = Instrument("every symbol", "crypto")


class SeriesToFill(NamedTuple):
    """One series that a job fills.

    Attributes:
        symbol, timeframe: Symbol and timeframe; for an invalid row of the list, as written there.
        start: First session date or instant; None for the job's start.
        priority: Priority; smaller numbers come first.
        problem: Reason why the series cannot be filled; empty if it can.
        session: Trading hours that its bars cover.
        lists: Names of the lists that name it: paths of files, or ``universe NAME``.
    """

    symbol: str
    timeframe: str
    start: When | None = None
    priority: int = NO_PRIORITY
    problem: str = ""
    session: AskedSession = "regular"
    lists: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The timeframe as shown in reports, such as ``1m``, or ``1m@extended`` for extended hours."""
        return self.timeframe if self.session == "regular" else f"{self.timeframe}@{self.session}"


@dataclass(frozen=True)
class Job:
    """The work of a fill job, after all arguments have been checked.

    Attributes:
        series: Series in the order of the list, without duplicates.
        start, end: Session dates or instants, both inclusive.
        now_ms: Time of the call, UTC milliseconds.
        timeout_s: Seconds after which a request ends if no vendor has returned a page; waits for
            rate limits count.
        refresh: Whether bars that are already stored are fetched again.
    """

    series: tuple[SeriesToFill, ...]
    start: When
    end: When
    now_ms: int
    timeout_s: float = JobRules().timeout_s
    refresh: bool = False

    @classmethod
    def of(
        cls,
        symbols: Iterable[str | WorkItem],
        timeframes: Sequence[str],
        bounds: tuple[When, When],
        now_ms: int,
        session: AskedSession = "regular",
    ) -> Job:
        """Return the job for all symbols, each in its row's timeframe or else in all timeframes.

        ``session`` sets the trading hours for rows that do not specify any. If two rows name the
        same series, the earlier start and the smaller priority are used.

        Raises:
            BadTimeframeError: Some of ``timeframes`` are invalid; the message names all of them. An
                invalid timeframe or start in a row does not raise an error; only that row fails.
            BadRangeError: The bounds are invalid, or are in the wrong order.
        """
        steps = _parsed(timeframes)
        for timeframe in steps:
            resolve_range(_JOB, timeframe, *bounds, now_ms)
        labels = list(dict.fromkeys(timeframe.label for timeframe in steps))
        series: dict[tuple[str, ...], SeriesToFill] = {}
        for row in symbols:
            item = row if isinstance(row, WorkItem) else WorkItem(row)
            for wanted in _series_of_item(item, labels, bounds, now_ms, item.session or session):
                # An invalid row is kept separate, so that it is not merged with a valid one.
                key = wanted.symbol, wanted.timeframe, wanted.session, wanted.problem
                is_twin = key in series and not wanted.problem
                series[key] = _merged_rows(series[key], wanted, now_ms) if is_twin else wanted
        return cls(tuple(series.values()), *bounds, now_ms)

    def parts(self, timeframe: str, since: When | None = None) -> list[tuple[When, When]]:
        """Return the bounds of the requests for one series, oldest first."""
        start, parsed = since or self.start, Timeframe.parse(timeframe)
        if not parsed.is_intraday or parsed.step_ms is None:
            return [(start, self.end)]
        span, _ = resolve_range(_JOB, parsed, start, self.end, self.now_ms)
        size = max(_BARS_A_PART * parsed.step_ms // DAY_MS, 1) * DAY_MS
        first = span.start - span.start % DAY_MS + size
        cuts = [from_ms(ms) for ms in range(first, span.end - _LEEWAY_MS, size)]
        ends = [from_ms(ms - 1) for ms in range(first, span.end - _LEEWAY_MS, size)]
        return list(zip([start, *cuts], [*ends, self.end], strict=True))


def _series_of_item(
    item: WorkItem,
    labels: Sequence[str],
    bounds: tuple[When, When],
    now_ms: int,
    session: AskedSession,
) -> Iterator[SeriesToFill]:
    """Yield the series that a row of a list names; an invalid row yields one series with its problem."""
    wanted, problem = list(labels), item.problem
    try:
        if item.timeframe:
            wanted = [Timeframe.parse(item.timeframe).label]
        if item.start:
            resolve_range(_JOB, Timeframe.parse(wanted[0]), item.start, bounds[1], now_ms)
    except QueryError as error:
        problem = problem or str(error)
    for label in [item.timeframe] if problem else wanted:
        start, lists = item.start or None, item.lists
        yield SeriesToFill(item.symbol, label, start, item.priority, problem, session, lists)


def _merged_rows(first: SeriesToFill, second: SeriesToFill, now_ms: int) -> SeriesToFill:
    """Merge two rows for the same series; the earlier start and the smaller priority apply."""
    starts = [row.start for row in (first, second)]
    start = None if None in starts else min(starts, key=partial(_first_ms, first.timeframe, now_ms))
    priority, lists = min(first.priority, second.priority), first.lists + second.lists
    return first._replace(start=start, priority=priority, lists=lists)


def _first_ms(timeframe: str, now_ms: int, start: When | None) -> int:
    return resolve_range(_JOB, Timeframe.parse(timeframe), start, None, now_ms)[0].start


def _parsed(timeframes: Sequence[str]) -> list[Timeframe]:
    parsed, refused = [], list[BadTimeframeError]()
    for text in timeframes:
        try:
            parsed.append(Timeframe.parse(text))
        except BadTimeframeError as error:
            refused.append(error)
    if len(refused) == 1:
        raise refused[0]
    if refused:
        mistakes = "; ".join(str(error.args[0]) for error in refused)
        raise BadTimeframeError(mistakes, hint=refused[0].hint)
    return parsed
