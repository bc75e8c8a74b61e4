"""``with lineage(id):`` records which bars a backtest reads, for a check a year later."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import numpy as np

from .._version import __version__
from ..clock import Clock, SystemClock
from ..errors import DataError, QueryError
from ..model.bars import BarTable
from ..model.caller import warn_user
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.length import UNIT_MONTHS, UNIT_MS, months_before, split_length
from ..model.query import BarsQuery
from ..model.reads import AppliedActions, BarsRead, RowsDigest
from ..model.retention import Age
from ..model.span import Span, coalesce, uncovered
from ..observability.reads import open_records, reads
from .catalog_log import CatalogLog
from .folder import bundles_folder
from .lineage_lines import (
    FORMAT,
    LINEAGE,
    MOST_LISTED,
    Piece,
    PinClaim,
    RunRecord,
    SeriesRead,
    UnstoredBar,
    claims_in,
    key_of,
    let_go,
    record_of,
    runs_in,
)

if TYPE_CHECKING:
    from types import TracebackType

    from ..bars.client import BarsClient
    from ..data_manager import DataManager
    from ..disk.files import Disk
    from .lineage_check import CheckReport

# New reads within this time after a write are not written immediately, but together with later
# ones.
_WRITTEN_TOGETHER_S = 1.0
_MOST_OUTSIDE = 100
_LONGEST_ID = 200
_FEW_SPANS = 64
_warnings = logging.getLogger("onetape.lineage")


def lineage(
    backtest_id: object = None,
    keep: str | bool | None = None,
    folder: str | os.PathLike[str] | None = None,
    manager: DataManager | None = None,
) -> LineageRun:
    """Record which bars are read in a ``with`` block: series, generation, actions and digest.

    The record includes every answer that a manager returns in this thread, in tasks of its event
    loop, and in threads that got a copy of the context; and every call that failed. There is one
    line in ``catalog.jsonl`` for each generation of a series, however often it is read, and another
    line if more of that generation is read later. Runs may be nested: the outer run also records
    the reads of the inner one.

    Args:
        backtest_id: Text, number or UUID by which the run can be found; None means a new UUID.
        keep: How long the store keeps the generations (versions of the stored bars) that are read,
            even if bars are revised: a duration from now, such as ``180d`` or ``5y``, or True to
            keep them until the run is forgotten. None means that they are not kept.
        folder: Bundles folder; if None, see :func:`.folder.bundles_folder`.
        manager: Data manager whose store keeps the generations; None means ``get_data_manager()``,
            called on first use.

    Returns:
        The run, a context manager for one block. Its ``id`` identifies it in later checks.

    Raises:
        QueryError: The id or ``keep`` is invalid; when the block begins: the id is in use.
        ConfigError: The folder cannot be used.
        StorageError, LockTimeoutError: When the block begins: its first line cannot be written;
            when it ends: the reads could not be recorded, or their generations could not be kept.

    Warns:
        UserWarning: Bars were read in a thread that is not part of the run; once per run.
    """
    return LineageRun(_id_of(backtest_id), keep, bundles_folder(folder), manager)


def _id_of(given: object) -> str:
    text = str(uuid.uuid4()) if given is None else str(given).strip()
    if not text or len(text) > _LONGEST_ID or not text.isprintable():
        raise QueryError(
            f"invalid backtest id {text!r:.60}",
            hint=f"use a printable string of up to {_LONGEST_ID} characters",
        )
    return text


class LineageRun:
    """A run whose reads are being recorded. Thread-safe.

    Attributes:
        id: Id by which the run can be found.
        folder: Bundles folder.
    """

    def __init__(
        self,
        backtest_id: str,
        keep: str | bool | None,
        folder: Path,
        manager: DataManager | None = None,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        self.id, self.folder, self._keep = backtest_id, folder, keep or None
        self._clock = clock or (manager.client.clock if manager else SystemClock())
        self._age = Age.parse(keep) if keep and keep is not True else None
        self._log, self._manager = CatalogLog(folder, disk, self._clock), manager
        self._outer: Any = None
        self._lock = threading.RLock()
        self._kept: dict[tuple[Any, ...], _KeptReads] = {}
        # Recorded answers, by the identity of the answer, and by the identity of its source.
        self._noted: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._by_key: dict[Hashable, _KeptReads] = {}
        self._failed: dict[tuple[str, str, str], dict[str, Any]] = {}
        self._applied: dict[tuple[Any, ...], tuple[Any, AppliedActions, str]] = {}
        self._before_writing: list[Callable[..., object]] = []
        self._written_s: float | None = None
        # Series that were read in threads outside of the run, up to :data:`_MOST_OUTSIDE`.
        self._outside: dict[str, None] = {}
        self._is_open, self._error = True, cast("DataError | None", None)

    def __repr__(self) -> str:
        return f"LineageRun({self.id!r}, {len(self._kept)} reads)"

    def __enter__(self) -> LineageRun:
        self.begin()
        self._outer, self._token = reads.get(), reads.set(self)
        open_records.append(self)
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        open_records.remove(self)
        reads.reset(self._token)
        try:
            self.end()
        except DataError as second:
            if error is None:
                raise
            error.add_note(f"lineage {self.id} is incomplete: {second}")

    # --- called through `reads` ------------------------------------------------------------

    def answered(self, answer: Any, handed_on: Callable[[Any], Any]) -> None:
        """Record an answer; see :data:`.reads.reads`.

        Disk errors are raised when the run ends.
        """
        if self._outer is not None:
            self._outer.answered(answer, handed_on)
        with self._lock:
            if not self._is_open:
                _warnings.warning("%s was read after the end of lineage %s", answer.query, self.id)
                return
            if self._noted.get(id(answer)) is answer:
                return  # the same answer object, from memory
            handed = handed_on(answer)
            key = handed.data_key()
            earlier = self._by_key.get(key) if key is not None else None
            if earlier is not None and earlier.has(handed.span()):
                earlier.asked_ms = max(earlier.asked_ms, answer.query.now_ms)
                self._noted[id(answer)] = answer
                return
            series = self._note(handed.read())
            # `_applied` keeps books alive, so that no other book can get the id that the key
            # uses.
            if key is not None:
                self._by_key[key] = series
            self._noted[id(answer)] = answer

    @property
    def is_open(self) -> bool:
        """Whether the run is still in progress."""
        return self._is_open

    def before_writing(self, callback: Callable[..., object]) -> None:
        """Register ``callback(is_last=...)``, which :meth:`save` and :meth:`end` call first.

        It is meant for objects that hold answers of which the caller has seen only a part; the
        callback records that part. ``is_last`` is True at the end of the run.
        """
        self._before_writing.append(callback)

    def _note(self, read: BarsRead) -> _KeptReads:
        """Record the bars of an answer that are not recorded yet; return the updated reads."""
        applied, digest = self._applied_of(read)
        query = read.query
        key = (
            read.root,
            read.series,
            read.generation,
            query.adjustment,
            query.provider,
            read.is_made,
            read.substitute,
            digest,
        )
        series = self._kept.get(key)
        if series is None:
            self._kept[key] = series = _KeptReads(len(self._kept), read, applied)
        series.add(read)
        if series.is_new:
            self._write_soon()
        return series

    def failed(self, query: BarsQuery, error: DataError) -> None:
        """Record a failed call, but only once for each symbol, timeframe and error."""
        if self._outer is not None:
            self._outer.failed(query, error)
        symbol, timeframe = query.instrument.symbol, query.timeframe.label
        with self._lock:
            entry = {"symbol": symbol, "timeframe": timeframe, "error": type(error).__name__}
            self._failed.setdefault(
                (symbol, timeframe, type(error).__name__), {**entry, "message": str(error)}
            )

    def missed(self, query: BarsQuery) -> None:
        """Note a call from a thread outside the run, and warn about the first such call."""
        name = f"{query.instrument.symbol} {query.timeframe}"
        with self._lock:
            is_first = not self._outside
            if len(self._outside) < _MOST_OUTSIDE:
                self._outside[name] = None
        if is_first:
            warn_user(
                f"{name} was read in a thread that is not part of lineage {self.id}, so the "
                "read is not recorded; start the thread with contextvars.copy_context().run to "
                "include it"
            )

    def _applied_of(self, read: BarsRead) -> tuple[AppliedActions, str]:
        """Return the splits and dividends applied to a read, and their digest.

        Both are computed once for each book (a symbol's recorded splits and dividends).
        """
        key = (id(read.book), read.as_of)
        cached = self._applied.get(key)
        if cached is None or cached[0] is not read.book:
            applied = read.applied()
            digest = AppliedActions(applied.as_of, applied.rows, applied.own).to_json()["digest"]
            self._applied[key] = cached = (read.book, applied, digest)
        return cached[1], cached[2]

    # --- writing ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Write the first line, and release expired pins of earlier runs.

        Raises:
            QueryError: The id is in use.
            StorageError, LockTimeoutError: The line cannot be written.
        """
        keep = str(self._age) if self._age else self._keep
        entry = {"run": self.id, "event": "begin", "keep": keep, "library": __version__}
        self._log.append_all(LINEAGE, [entry], FORMAT, self._check_unused)
        release_expired(self._log, self._clock.now_ms(), self._client)

    def _check_unused(self) -> None:
        record = runs_in(self._log, self.id).get(self.id)
        if record is not None and not record.is_forgotten:
            raise QueryError(
                f"lineage {self.id!r} already exists, started {record.started}",
                hint="choose another id, or remove that one first with `onetape lineage forget`",
            )

    def save(self) -> None:
        """Write a durable record of everything read so far; the run continues.

        Raises:
            StorageError, LockTimeoutError: The reads are not written.
        """
        self._call_listeners(is_last=False)
        with self._lock:
            self._write([series for series in self._kept.values() if series.is_changed])
            if self._error is not None:
                raise self._error

    def end(self) -> None:
        """Record the remaining reads and the end of the run; raises the errors of :meth:`save`."""
        self._call_listeners(is_last=True)
        self._before_writing.clear()
        with self._lock:
            self._is_open = False
            changed = [series for series in self._kept.values() if series.is_changed]
            failures = [{"run": self.id, "event": "failed", **e} for e in self._failed.values()]
            end = {"run": self.id, "event": "end", "unrecorded": list(self._outside)}
            self._write(changed, [*failures, end])
            if self._error is not None:
                raise self._error

    def _call_listeners(self, *, is_last: bool) -> None:
        """Call the registered callbacks.

        The callbacks use other locks, so the run's lock must not be held.
        """
        for callback in list(self._before_writing):
            callback(is_last=is_last)

    def _write_soon(self) -> None:
        now = self._clock.monotonic()
        if self._written_s is None or not 0 <= now - self._written_s < _WRITTEN_TOGETHER_S:
            self._written_s = now
            self._write([kept for kept in self._kept.values() if kept.is_new])

    def _write(self, changed: list[_KeptReads], more: list[dict[str, Any]] | None = None) -> None:
        """Write the log lines for these reads, and pin their generations.

        An error is kept, and raised by :meth:`save` or :meth:`end`.
        """
        try:
            entries = [self._line(series) for series in changed]
            self._log.append_all(LINEAGE, [*entries, *(more or ())], FORMAT)
            for series in changed:
                is_new, series.is_new, series.is_changed = series.is_new, False, False
                if is_new and series.pin:
                    self._client().pin(series.read.series, series.read.generation or 0)
        except DataError as error:
            self._error = self._error or error

    def _line(self, kept: _KeptReads) -> dict[str, Any]:
        if self._keep and kept.is_new and kept.read.generation is not None and not kept.pin:
            kept.pin = self._pin_of(kept.read)
        made = tuple(sorted(kept.made))
        if made:
            kept.read_source(self._client())
        read = kept.value(made)
        return {"run": self.id, "event": "read", **read.to_json()}

    def _pin_of(self, read: BarsRead) -> dict[str, Any]:
        """Return the pin for a read's generation.

        ``until`` is the end of the pin, and ``own`` is whether only lineages have pinned the
        generation.

        Raises:
            QueryError: The bars come from a cache other than the manager's.
        """
        client = self._client()
        if Path(read.root).resolve() != Path(client.folder).resolve():
            raise QueryError(
                (
                    f"{read.series} was read from the cache {read.root} and cannot be kept in "
                    f"{client.folder}"
                ),
                hint="pass the manager that reads the bars: lineage(..., keep=..., manager=manager)",
            )
        claim = PinClaim(self.id, str(read.root), str(read.series), read.generation or 0)
        claimed = [
            p for c, p in claims_in(self._log).items() if c.generation_key == claim.generation_key
        ]
        pinned = {c.generation for c in client.commits(read.series) if c.is_pinned}
        is_own = any(p["own"] for p in claimed) if claimed else claim.generation not in pinned
        until = None if self._age is None else end_of(self._age, self._clock.now_ms())
        return {"until": until, "own": is_own}

    def _client(self) -> BarsClient:
        return client_of(self._manager)


def client_of(manager: DataManager | None) -> BarsClient:
    """Return the client of a manager; None means the process-wide manager."""
    if manager is None:
        from ..data_manager import get_data_manager

        manager = get_data_manager()
    return manager.client


def end_of(age: Age, now_ms: int) -> int:
    """Return the end (UTC milliseconds) of a pin, which keeps bars for ``age`` from now on."""
    count, unit = split_length(str(age)) or (0, "d")
    if unit in UNIT_MS:
        return now_ms + count * UNIT_MS[unit]
    later = months_before(date_of(now_ms), -count * UNIT_MONTHS[unit])
    return day_ms(later) + now_ms % DAY_MS


class _Stretch:
    """A contiguous range of timestamps that was read, with a digest of its bars."""

    def __init__(self, span: Span) -> None:
        self.span, self.rows, self.digest = span, 0, RowsDigest()

    def grow(self, end: int, table: BarTable) -> None:
        """Extend the range to a new end, and add the bars in ``table`` to the digest."""
        self.span, self.rows = Span(self.span.start, end), self.rows + len(table)
        self.digest.add(table)


class _Spans:
    """A set of timestamps, to which spans are added one at a time."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._most = _FEW_SPANS

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans; they may overlap those already in the set."""
        self._spans += spans
        if len(self._spans) > self._most:  # rarely true: it looks at all spans
            self._most = _FEW_SPANS + 2 * len(self.coalesced())

    def coalesced(self) -> list[Span]:
        """Return the whole set as ascending, disjoint spans."""
        self._spans = coalesce(self._spans)
        return self._spans


class _KeptReads:
    """A run's reads from one generation of a series; guarded by the run's lock.

    Attributes:
        read: First answer from this generation.
        made: Timeframes of the bars that were built from this generation and read in its place.
        is_new: Whether no line has been written for this generation yet.
        is_changed: Whether it has reads that are not written yet.
        asked_ms: Time of the last read, UTC milliseconds.
        pin: Pin, which keeps the generation in the store; see :class:`.lineage_lines.SeriesRead`.
    """

    def __init__(self, number: int, read: BarsRead, applied: AppliedActions) -> None:
        self.number, self.read, self.applied = number, read, applied
        self.made: set[str] = set()
        self.is_new, self.is_changed = True, True
        self.pin: dict[str, Any] = {}
        self._stretches: list[_Stretch] = []  # ascending, disjoint
        self._starts: list[int] = []
        self._closes: dict[Any, float | None] | None = None
        self._lacking, self._unexpected = _Spans(), _Spans()
        self._unstored: dict[int, UnstoredBar] = {}
        self.asked_ms = 0

    def add(self, read: BarsRead) -> None:
        """Add the bars of an answer that have not been read before."""
        query, table, span = read.query, read.table, read.span
        if read.is_made:
            table = BarTable.empty()
            self.made.add(query.timeframe.label)
        self.asked_ms = max(self.asked_ms, query.now_ms)
        if not read.unstored and self.has(span):
            return
        self.is_changed = True
        if read.unstored and not read.is_made:
            table = self._split_off_unstored(read)
        overlapping = self._stretches_near(span)
        for gap in uncovered(span, [s.span for s in overlapping]):
            rows = table.within(gap)
            last = next((s for s in overlapping if s.span.end == gap.start), None)
            if last is None:
                last = _Stretch(Span(gap.start, gap.start))
                position = bisect_left(self._starts, gap.start)
                self._starts.insert(position, gap.start)
                self._stretches.insert(position, last)
            last.grow(gap.end, rows)
        if read.closes is not None:
            self._closes = self._closes or {}
            self._closes.update(read.closes)
        self._lacking.add(read.lacking)
        self._unexpected.add(read.unexpected)

    def has(self, span: Span) -> bool:
        """Return whether the whole span has already been read."""
        return not uncovered(span, [s.span for s in self._stretches_near(span)])

    def _stretches_near(self, span: Span) -> list[_Stretch]:
        """Return the ranges that overlap a span or end at its start."""
        first = max(0, bisect_right(self._starts, span.start) - 1)
        return self._stretches[first : bisect_left(self._starts, span.end, lo=first)]

    def _split_off_unstored(self, read: BarsRead) -> BarTable:
        """Return the rows of an answer that are in the store; set the others aside."""
        table, reasons = read.table, dict(read.unstored)
        aside = np.isin(table.stamps, list(reasons))
        rows = table.take(aside)
        columns = [column.tolist() for column in rows.values()[:5]]
        for stamp, *values in zip(rows.stamps.tolist(), *columns, strict=True):
            cells = tuple(None if value != value else value for value in values)
            self._unstored[stamp] = UnstoredBar(stamp, cells, reasons[stamp])
        return table.take(~aside)

    def read_source(self, client: BarsClient) -> None:
        """Read the bars from which the answers were built, to compute the digests."""
        value = self.value(())
        if value.generation is None:
            return
        for stretch in self._stretches:
            again = _Stretch(Span(stretch.span.start, stretch.span.start))
            stored = replace(value.stored(of_then=True), spans=(stretch.span,))
            again.grow(stretch.span.end, client.read_again(stored).table)
            stretch.rows, stretch.digest = again.rows, again.digest

    def value(self, timeframes: tuple[str, ...]) -> SeriesRead:
        """Return the reads of this generation as one :class:`SeriesRead`, the form that is logged.

        Args:
            timeframes: Timeframes built from the bars; empty if the bars themselves were read.
        """
        read, unstored = self.read, sorted(self._unstored.values())
        closes = None if self._closes is None else dict(self._closes)
        applied = AppliedActions(self.applied.as_of, self.applied.rows, self.applied.own, closes)
        lacking, unexpected = self._lacking.coalesced(), self._unexpected.coalesced()
        return SeriesRead(
            self.number,
            read.series,
            read.generation,
            tuple(Piece(s.span, s.rows, str(s.digest)) for s in self._stretches),
            read.query.adjustment,
            read.query.provider,
            applied,
            timeframes,
            tuple(lacking[:MOST_LISTED]),
            tuple(unexpected[:MOST_LISTED]),
            tuple(unstored[:MOST_LISTED]),
            max(0, len(unstored) - MOST_LISTED),
            max(0, len(lacking) - MOST_LISTED),
            read.substitute,
            self.asked_ms,
            str(read.root),
            __version__,
            self.pin,
        )


# --- afterwards ----------------------------------------------------------------------------


def release_expired(log: CatalogLog, now_ms: int, client: Any) -> None:
    """Unpin generations that no run needs any longer.

    Pins in another cache stay until this is called with a client of that cache.

    Args:
        log: Log in which the pins are recorded.
        now_ms: Current time, UTC milliseconds.
        client: Function that returns the client; called only if a pin has expired.
    """
    claims = claims_in(log)
    over = [c for c, pin in claims.items() if pin["until"] is not None and pin["until"] <= now_ms]
    if over:
        _release(log, claims, over, client())


def _release(log: CatalogLog, claims: Any, over: list[PinClaim], client: BarsClient) -> None:
    here = [claim for claim in over if Path(claim.cache).resolve() == client.folder.resolve()]
    for claim in let_go(log, claims, here):
        client.unpin(key_of(claim.series), claim.generation)


class Lineages:
    """The recorded runs in one bundles folder. Thread-safe.

    Args:
        folder: Bundles folder; if None, see :func:`.folder.bundles_folder`.
        manager: Data manager whose store is read; None means ``get_data_manager()``, called on
            first use.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        manager: DataManager | None = None,
    ) -> None:
        clock = manager.client.clock if manager else None
        self.log = CatalogLog(bundles_folder(folder), clock=clock)
        self._clock, self._manager = clock or SystemClock(), manager

    @property
    def client(self) -> BarsClient:
        """The client that reads stored bars."""
        return client_of(self._manager)

    def list(self) -> list[RunRecord]:
        """Return the runs, oldest first.

        Raises:
            FormatVersionError, CorruptEntryError, StorageError: The log cannot be read.
        """
        self._release_expired()
        return [record for record in runs_in(self.log).values() if not record.is_forgotten]

    def get(self, run: str) -> RunRecord:
        """Return the record of a run.

        Raises ``QueryError`` if there is none, and the errors of :meth:`list`.
        """
        self._release_expired()
        return record_of(self.log, run)

    def check(
        self, run: str, *, as_today: bool = False, timeout: float | None = None
    ) -> CheckReport:
        """Compare a run's bars with the bars that are stored now; see :func:`.lineage_check.check`.

        Args:
            run: Id of the run.
            as_today: Whether to compare with the bars that the same calls return now; vendors may
                be queried.
            timeout: Seconds to wait for vendors for each series.

        Raises:
            QueryError: The run does not exist.
            FormatVersionError, CorruptEntryError, StorageError: The log or the store cannot be
                read.
        """
        from .lineage_check import check

        return check(self.client, self.get(run), as_today=as_today, timeout=timeout)

    def read(self, run: str) -> dict[str, BarTable]:
        """Return the bars exactly as a run read them, keyed by series, generation and adjustment.

        Raises:
            QueryError: The run does not exist, or some of its bars no longer exist.
        """
        from .export import bars_of

        return {
            f"{read.series} #{read.generation} {read.adjustment}": bars_of(self.client, read)
            for read in self.get(run).reads
        }

    def export(self, run: str, folder: str | os.PathLike[str]) -> Path:
        """Write the record and bars of a run to a new folder; see :func:`.export.export`.

        Raises:
            QueryError: The run does not exist, some of its bars no longer exist, or the folder is
                not empty.
            StorageError: A file could not be written.
        """
        from .export import export

        return export(self.client, self.get(run), folder)

    def forget(self, run: str) -> None:
        """Forget a run, and unpin the generations that only this run needs.

        The lines of the run stay in the log.

        Raises:
            QueryError: The run does not exist.
            StorageError, LockTimeoutError: The run is not forgotten, or some generation is still
                pinned.
        """
        self.get(run)
        claims = claims_in(self.log)
        claims_of_run = [claim for claim in claims if claim.run == run]
        if claims_of_run:
            _release(self.log, claims, claims_of_run, self.client)
        self.log.append(LINEAGE, {"run": run, "event": "forget"}, FORMAT)

    def _release_expired(self) -> None:
        release_expired(self.log, self._clock.now_ms(), lambda: self.client)
