"""Counters, hooks and log records for the steps of a request. They never influence the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ...errors import CacheError, DataError, IncompleteDataError
from ..clock import Clock
from ..model.identity.series import SeriesKey
from ..model.market.actions import Action
from ..model.request.query import BarsQuery
from ..model.stored.reasons import REJECTED, sentence
from ..model.time.instant import DAY_MS
from ..net.calls.deadline import MustWait
from ..observability.logs import context, current, next_number, running, subject_of
from ..observability.metrics import Metrics
from ..runtime.forks import renew_after_fork
from ..runtime.resources import CpuUse, memory
from .answer.answer import score_of

# The events are imported where they are emitted; most short programs never see one.
if TYPE_CHECKING:
    from types import TracebackType

    from ..cache.actions import ActionBook
    from ..cache.retention.disk_usage import Gauge
    from ..model.request.shape import ShapeChange
    from ..model.stored.stored import CommitNotice
    from ..net.http.send_records import SendRecord
    from ..net.limits.guarded_call import CircuitChange
    from ..observability.events import Event
    from .answer.answer import Answer

__all__ = ["Call", "Listener", "Observer"]

log = logging.getLogger("onetape.events")
_ROUTING = logging.getLogger("onetape.routing")

Listener = Callable[["Event"], object]
Books = Callable[[str], "ActionBook"]


class Observer:
    """Observes every call of one data manager and every request it sends to a vendor. Thread-safe.

    Args:
        clock: Clock for the times of events and the durations of calls.
        gauge: Function that measures the cache folder; if None, nothing is reported about the
            cache.
        routing_log: Logger for the selection of vendors and the attempts to query them.

    Attributes:
        metrics: Counters of calls, requests and events.
        routing_log: The logger passed in.
    """

    def __init__(
        self, clock: Clock, gauge: Gauge | None = None, routing_log: logging.Logger = _ROUTING
    ) -> None:
        self.routing_log = routing_log
        self._clock = clock
        self._gauge = gauge
        self._cpu = CpuUse(clock.monotonic)
        self.metrics = Metrics()
        # Replaced, never modified: an event goes to the listeners registered when it was emitted.
        self._listeners: tuple[EnrolledListener, ...] = ()
        # States of series whose low scores have been reported.
        self._low: dict[tuple[object, ...], object] = {}
        renew_after_fork(self.metrics)
        renew_after_fork(self._cpu)
        if gauge is not None:
            renew_after_fork(gauge)

    def snapshot(self) -> dict[str, Any]:
        """Return the counters and the resource usage of the cache and the process as a dictionary."""
        cache = self._gauge.read().to_json() if self._gauge else {}
        process = self._cpu.to_json() | memory().to_json()
        return self.metrics.snapshot() | {"cache": cache, "process": process}

    def on_event(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` with every event, in the thread where it occurs.

        A slow listener delays that call. An exception that it raises is logged once and has no
        other effect.

        Returns:
            A function that removes the listener.
        """
        enrolled = EnrolledListener(listener)
        self._listeners = (*self._listeners, enrolled)

        def remove() -> None:
            """Remove this listener."""
            self._listeners = tuple(other for other in self._listeners if other is not enrolled)

        return remove

    def call(self, query: BarsQuery, least_score: float = 0.0) -> Call:
        """Return a context manager for a call; answers with a score below ``least_score`` are reported."""
        return Call(self, self._clock, query, least_score)

    def scored_low(self, answer: Answer, score: float, least: float) -> None:
        """Report that an answer's score is below the minimum in the rules; see :meth:`quality_low`."""
        query = answer.query
        # Bars built from others belong to the lane of their sources, and change with them.
        stored = answer.facts.get("derived_from", answer.facts)
        lane = tuple(str(stored.get("lane") or "").split("@")[1:])
        problems = map(sentence, answer.facts.get("problems", ()))
        causes = tuple(dict.fromkeys([*answer.trouble, *problems]))
        key = SeriesKey(query.instrument.symbol, query.timeframe, lane)
        self.quality_low(key, answer.facts.get("generation"), round(score, 4), least, causes)

    def quality_low(
        self,
        key: SeriesKey,
        generation: object,
        score: float,
        least: float,
        causes: tuple[str, ...],
    ) -> bool:
        """Report that a series scores below the minimum in the rules, once per state and process.

        Args:
            key: The series.
            generation: Any value that changes when the state of the series changes.
            score, least: Actual and required score.
            causes: Descriptions of the reasons.

        Returns:
            Whether this call reported it.
        """
        from ..observability.events import QualityLow

        state, mine = (key, generation), object()
        if self._low.setdefault(state, mine) is not mine:
            return False
        self.tell(QualityLow, lane=key.lane_label, score=score, minimum=least, findings=causes)
        return True

    @contextmanager
    def call_beside(self, symbol: Any, timeframe: Any) -> Iterator[None]:
        """Run the block as a call for something other than bars, such as quotes; logs name the subject.

        An error raised in the block is also reported.

        Args:
            symbol, timeframe: Subject of the call as the caller wrote it; values that are not
                strings are ignored.
        """
        with running(subject_of(symbol, timeframe)):
            try:
                yield
            except DataError as error:
                self.failed(error)
                raise

    def failed(self, error: BaseException) -> None:
        """Count a call that ended with ``error``, and report the error.

        An error that ends a nested call also ends the outer call; it is reported once.
        """
        request = context()["request"]
        if request and getattr(error, "_ended", "") == request:
            return
        error._ended = request  # type: ignore[attr-defined]
        self.metrics.failed(type(error).__name__)
        if isinstance(error, DataError) and not isinstance(error, IncompleteDataError):
            from ..observability.events import CallFailed

            self.tell(CallFailed, error=type(error).__name__, message=str(error))

    def attempted(self, record: SendRecord) -> None:
        """Count an attempt to query a vendor, and report a failed one.

        An attempt that this library's limiter held back was never sent to the vendor; it is counted
        separately.
        """
        if not record.is_sent:
            self.metrics.held_back(record.vendor, record.waited_s)
            return
        self.metrics.attempted(
            record.vendor,
            record.outcome,
            record.seconds - record.waited_s,
            record.size,
            limit_wait_s=record.waited_s,
            retry_wait_s=record.wait_s,
            is_pause=record.pause_s is not None,
        )
        if record.shape is not None:
            self._count_shape_change(record.vendor, record.shape)
        if record.outcome == "ok":
            return
        from ..observability.events import AttemptFailed, VendorPaused

        self.tell(
            AttemptFailed,
            vendor=record.vendor,
            address=record.address,
            attempt=record.attempt,
            outcome=record.outcome,
            status=record.status,
            seconds=record.seconds,
            wait_s=record.wait_s,
        )
        if record.pause_s is not None:
            self.tell(VendorPaused, vendor=record.vendor, seconds=record.pause_s)

    def _count_shape_change(self, vendor: str, change: ShapeChange) -> None:
        """Count an answer in a format unknown to its parser; report the first one of each day."""
        changes = [difference.change for difference in change.differences]
        if not self.metrics.reshaped(vendor, changes, self._clock.now_ms() // DAY_MS):
            return
        from ..observability.events import ShapeChanged

        log.warning(
            "%s no longer answers as its parser expects at %s; logged once a day",
            vendor,
            change,
            extra={"provider": vendor, "differences": [vars(d) for d in change.differences]},
        )
        self.tell(
            ShapeChanged,
            vendor=vendor,
            endpoint=change.endpoint,
            differences=change.differences,
        )

    def circuit_changed(self, change: CircuitChange) -> None:
        """Report that a circuit breaker was opened or closed."""
        from ..observability.events import CircuitClosed, CircuitOpened

        if change.is_open:
            self.tell(
                CircuitOpened,
                vendor=change.vendor,
                door=change.endpoint,
                seconds=change.seconds,
                reason=change.reason,
            )
        else:
            self.tell(CircuitClosed, vendor=change.vendor, door=change.endpoint)

    def tell(self, event_type: type[Event], **facts: Any) -> None:
        """Count an event of the current request, and pass it to every listener."""
        self.metrics.count_event(event_type.__name__)
        if not self._listeners:
            return
        labels = context()
        of_request = {name: labels[name] for name in ("request", "symbol", "timeframe")}
        event = event_type(at_ms=self._clock.now_ms(), **of_request, **facts)
        for enrolled in self._listeners:
            enrolled.tell(event)


class EnrolledListener:
    """A registered listener, with a flag for whether it has already failed."""

    def __init__(self, listener: Callable[[Any], object]) -> None:
        self._listener = listener
        self._has_failed = False

    def tell(self, event: Event | CommitNotice) -> None:
        """Pass an event to the listener; an exception that the listener raises is logged once."""
        from ..vendors.foreign import call_foreign  # most programs have no listener

        try:
            call_foreign(lambda: self._listener(event), "a listener")
        except DataError as error:
            if not self._has_failed:
                self._has_failed = True
                log.error("%s at %s; logged once", error, event.name)


class Call:
    """One call in progress, with its number in the log, its duration, and its result.

    Use from one thread only. A call inside another call belongs to the outer one and is not counted.
    """

    __slots__ = (
        "_answer",
        "_before",
        "_books",
        "_clock",
        "_least_score",
        "_observer",
        "_outer",
        "_query",
        "_started",
        "_token",
        "number",
    )

    def __init__(
        self, observer: Observer, clock: Clock, query: BarsQuery, least_score: float = 0.0
    ) -> None:
        self._least_score = least_score
        self._observer = observer
        self._clock = clock
        self._query = query
        self._answer: Answer | None = None
        self._books: Books | None = None

    @property
    def symbol(self) -> str:
        """The requested symbol."""
        return self._query.instrument.symbol

    @property
    def timeframe(self) -> str:
        """The requested timeframe."""
        return self._query.timeframe.label

    def __enter__(self) -> Call:
        self._outer = outer = current.get()
        self.number = next_number() if outer is None else outer.number
        self._token = current.set(self)
        self._started = self._clock.monotonic()
        return self

    def missed(self, books: Books) -> None:
        """Remember a stock's known splits after a cache miss, so that new ones can be reported.

        ``books`` returns the known splits and dividends of a symbol.
        """
        if self._query.instrument.asset_class == "stock":
            self._books, self._before = books, _splits(books, self.symbol)

    def answered(self, answer: Answer) -> Answer:
        """Record the answer, and return it."""
        self._answer = answer
        return answer

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        _: TracebackType | None,
    ) -> None:
        if not isinstance(self._outer, Call):
            self._end(error)
        current.reset(self._token)

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, MustWait):
            return  # the same call continues in another thread
        answer, observer = self._answer, self._observer
        if answer is not None:
            attempts = answer.facts.get("attempts")
            if attempts:
                self._tell_about(answer, attempts)
            if answer.gaps or answer.doubts or answer.substitute:
                _tell_trouble(observer, answer)
            if answer.scores or answer.doubts:
                score = score_of(answer)
                if score is not None and score < self._least_score:
                    observer.scored_low(answer, score, self._least_score)
            if error is None:
                seconds = self._clock.monotonic() - self._started
                observer.metrics.answered(answer.table.stamps.size, seconds, not attempts)
        if error is not None:
            observer.failed(error)

    def _tell_about(self, answer: Answer, attempts: Sequence[Mapping[str, Any]]) -> None:
        """Report fallbacks to other vendors, the scores of the fetched bars, and any new splits."""
        from ..observability.events import FellBack, SplitFound

        for vendor, score in _scores(attempts, answer.scores):
            self._observer.metrics.scored(vendor, score)
        for vendor, (others, rows) in _fallbacks(attempts).items():
            self._observer.tell(FellBack, vendor=vendor, others=tuple(others), rows=rows)
        if self._books is None or self._before is None:
            return
        before = {(split.ex_date, split.ratio) for split in self._before}
        for split in _splits(self._books, self.symbol) or ():
            if (split.ex_date, split.ratio) not in before:
                day, ratio = split.ex_date.isoformat(), float(split.ratio)
                self._observer.tell(SplitFound, day=day, ratio=ratio)


def _tell_trouble(observer: Observer, answer: Answer) -> None:
    from ..observability.events import AnswerIncomplete

    if trouble := answer.trouble:
        gaps = answer.harmful_gaps
        observer.metrics.troubled(len(gaps), sum(g.reason.startswith(REJECTED) for g in gaps))
        observer.tell(AnswerIncomplete, trouble=tuple(trouble))


def _splits(books: Books, symbol: str) -> tuple[Action, ...] | None:
    """Return the known splits of a symbol; None if no vendor has been queried for them yet."""
    try:
        book = books(symbol)
    except CacheError:
        return None
    return book.splits if book.answers else None


def _scores(
    attempts: Sequence[Mapping[str, Any]], scores: Sequence[float]
) -> Iterable[tuple[str, float]]:
    """Pair each score with its vendor; scores belong to the most recent successful attempts."""
    well = [attempt["provider"] for attempt in attempts if attempt["outcome"] == "ok"]
    count = min(len(well), len(scores))
    return zip(well[len(well) - count :], scores[len(scores) - count :], strict=True)


def _fallbacks(
    attempts: Sequence[Mapping[str, Any]],
) -> dict[str, tuple[list[str], int]]:
    """Return, for each fallback vendor, the vendors that it replaced and the number of its bars."""
    fallbacks: dict[str, tuple[list[str], int]] = {}
    for index, entry in enumerate(attempts):
        if entry["outcome"] != "ok" or not entry["rows"]:
            continue
        before = [
            a["provider"]
            for a in attempts[:index]
            if a["provider"] != entry["provider"]
            and a["start"] < entry["end"]
            and entry["start"] < a["end"]
        ]
        if before:
            others, rows = fallbacks.get(entry["provider"], ([], 0))
            fallbacks[entry["provider"]] = (
                list(dict.fromkeys([*others, *before])),
                rows + entry["rows"],
            )
    return fallbacks
