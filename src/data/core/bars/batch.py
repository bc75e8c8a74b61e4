"""Many symbols in one call: every symbol is in the answer, whatever happened to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol, TypeVar

from ...errors import DataError
from ..model.answer.frame import empty_frame
from ..model.answer.provenance import ATTRS_KEY, freeze
from ..model.identity.series import SeriesKey
from ..model.market.bars import BarTable
from ..model.request.capabilities import MOST_AT_ONCE
from ..model.request.query import BarsQuery, distinct_symbols
from ..model.stored.coverage import Coverage
from ..model.time.instant import iso
from ..net.calls.deadline import current_deadline, run_call
from ..observability.logs import carried, running, subject_of
from ..runtime.compute_slots import computing
from .answer.answer import Answer, Gap, Rows, provenance
from .answer.reader import attempt_entries
from .lookup import Hit
from .request import RequestParser, Wishes
from .service import BarsService

log = logging.getLogger("onetape.routing")

# Threads per vendor. Rate limits apply across threads, so with a tight limit fewer of them run at
# once.
WORKERS = MOST_AT_ONCE
_Get = Callable[[BarsQuery], Rows | None]
A = TypeVar("A")
R = TypeVar("R")


class BatchListener(Protocol):
    """Receives the progress of a batch, in the caller's thread."""

    def begin(self, total: int, missing: Sequence[BarsQuery]) -> None:
        """Called with the total number of queries, and with the queries that need vendors (at least one)."""

    def ended(self, query: BarsQuery, rows: Rows) -> None:
        """Called once per query, in query order, after it has been answered or has failed."""


def get_batch(
    bars: BarsService, queries: Sequence[BarsQuery], listener: BatchListener | None = None
) -> list[Rows]:
    """Return the rows for each query, in the order given; see :meth:`.BarsClient.get_batch`.

    Stored bars are read in the caller's thread, one query after another: reading them in several
    threads would take longer, because the threads wait for each other. Missing bars are fetched by
    a few threads per vendor.
    """
    stored = [_rows_by(bars, partial(_stored_rows, bars), query) for query in queries]
    others = [query for query, rows in zip(queries, stored, strict=True) if rows is None]
    # All queries form one call; a query with its own time limit must also meet that limit.
    times = [query.timeout_s for query in others]
    longest = None if None in times else max(filter(None, times), default=None)
    on_result: Callable[[BarsQuery, Any], object] | None = None
    # A call that may not wait ends at its first wait and is made again; only that one reports
    # progress.
    if listener is not None and others and current_deadline(bars.clock).may_wait:
        listener.begin(len(queries), others)
        on_result = listener.ended
    get = partial(_rows_by, bars, bars.get)
    pools = partial(_vendor_of, bars), WORKERS
    with bars.pulled(others):
        fetched = iter(run_call(bars.clock, longest, in_threads, get, others, *pools, on_result))
    return [next(fetched) if rows is None else rows for rows in stored]


def get_missing(bars: BarsService, queries: Sequence[BarsQuery]) -> None:
    """Fetch the missing bars of some queries; nothing is returned, raised or warned about."""

    def fill(query: BarsQuery) -> None:
        """Fetch and store the bars that a query lacks."""
        with suppress(DataError):
            bars.answered(query)

    run_call(bars.clock, None, in_threads, fill, queries, partial(_vendor_of, bars), WORKERS)


def get_by_symbol(
    parser: RequestParser,
    bars: BarsService,
    symbols: Sequence[str],
    shared: tuple[Any, tuple[Any, Any, Any], Wishes],
    listener: BatchListener | None = None,
) -> dict[str, Rows]:
    """Return the rows for each symbol, keyed by the symbol as typed.

    ``shared`` contains the timeframe, bounds and options.

    Raises:
        QueryError: An argument would fail for every symbol.
    """
    problem, wanted = parser.check_shared(*shared), distinct_symbols(symbols)
    queries: dict[str, BarsQuery] = {}
    errors: dict[str, DataError] = {}
    with running(subject_of("", shared[0])):
        for symbol in wanted:
            try:
                queries[symbol] = parser.query(symbol, *shared)
            except DataError as error:
                errors[symbol] = error
        if problem is not None and not queries:
            raise problem.with_traceback(None)
        failures = {}
        for symbol, failure in errors.items():
            query = parser.for_nothing(symbol, shared[0], shared[-1])
            failures[symbol] = _failed_rows(query, failure, query.key)
        answers = get_batch(bars, list(queries.values()), listener)
    rows = dict(zip(queries, answers, strict=True)) | failures
    return {symbol: rows[symbol] for symbol in wanted}


def _stored_rows(bars: BarsService, query: BarsQuery) -> Rows | None:
    """Return the rows for a query, or None if not all of its bars are stored."""
    result = bars.lookup(query)
    return result.rows if isinstance(result, Hit) else None


def _rows_by(bars: BarsService, get: _Get, query: BarsQuery) -> Rows | None:
    try:
        return get(query)
    except DataError as error:
        return _failed_rows(query, error, _series_of(bars, query))


def _series_of(bars: BarsService, query: BarsQuery) -> SeriesKey:
    try:
        return bars.lanes.find(query).key
    except DataError:  # the full call raises it again
        return query.key


def _vendor_of(bars: BarsService, query: BarsQuery) -> str:
    return query.provider or bars.lanes.first_vendor(query.instrument, query.timeframe)


def in_threads(
    get: Callable[[A], R],
    items: Sequence[A],
    vendor_of: Callable[[A], str],
    most: int,
    on_result: Callable[[A, R], object] | None = None,
) -> list[R]:
    """Return the result of ``get`` for each item; no thread is started for a single item.

    Each vendor has its own ``most`` threads, so that a slow vendor does not delay the others. The
    calls count as those of one job, or of the job in which this is called; so after a pause, a
    vendor is queried for all items at once, until the first failure.

    Args:
        get: Function to call with each item.
        items: Values to pass to ``get``.
        vendor_of: Function that returns the vendor queried for an item.
        most: Maximum number of concurrent items per vendor.
        on_result: Function to call with each item and its result, in order, in the calling thread.
    """
    if len(items) < 2:
        return list(_report_each(items, map(get, items), on_result))
    from concurrent.futures import Future, ThreadPoolExecutor  # not needed if everything is stored

    from ..net.limits.guarded_call import JobCalls

    job, pools = JobCalls.current(), dict[str, ThreadPoolExecutor]()

    def in_slot(item: A) -> R:
        """Return the result for an item, after waiting for a free slot of its vendor."""
        with computing(job.slots):
            return get(item)

    with job.shared():
        work = carried(in_slot)
    futures: list[Future[R]] = []
    try:
        for item in items:
            vendor = vendor_of(item)
            if vendor not in pools:
                pools[vendor] = ThreadPoolExecutor(most, f"onetape-batch-{vendor}")
            futures.append(pools[vendor].submit(work, item))
        return list(_report_each(items, (future.result() for future in futures), on_result))
    finally:
        for pool in pools.values():
            pool.shutdown(wait=False, cancel_futures=True)
        for pool in pools.values():
            pool.shutdown()


def _report_each(
    items: Iterable[A], results: Iterable[R], on_result: Callable[[A, R], object] | None
) -> Iterator[R]:
    for item, result in zip(items, results, strict=True):
        if on_result is not None:
            on_result(item, result)
        yield result


def _failed_rows(query: BarsQuery, error: DataError, key: SeriesKey) -> Rows:
    """Return no rows, with a provenance that has the usual entries of an answer, and the error.

    ``key`` is the series that would have answered the query.
    """
    symbol = query.instrument.symbol
    log.warning("no bars for %s in a batch: %s", symbol, error, extra={"symbol": symbol})
    gap = Gap(query.span, str(error), failed=True)
    facts = {
        "lane": key.folder,
        "generation": None,
        "problems": [],
        "attempts": attempt_entries(getattr(error, "attempts", ())),
        "rejected": {},
        "empty": str(error),
        "asked_at": iso(query.now_ms),
        "error": {
            "type": type(error).__name__,
            "message": str(error),
            "reason": error.reason,
            "brief": error.brief,
            "candidates": list(error.candidates),
        },
    }
    # If a number of bars was requested, the start of the gap is unknown.
    gaps = () if query.span.is_empty or query.bars is not None else (gap,)
    answer = Answer(query, BarTable.empty(), Coverage(), gaps, facts=facts)
    frame = empty_frame(query.columns)
    attrs = provenance(answer) | {"complete": False, "unanswered": gap.reason}
    frame.attrs[ATTRS_KEY] = freeze(attrs)
    return Rows(frame, frame.attrs[ATTRS_KEY])
