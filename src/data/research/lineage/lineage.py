"""``with lineage(id):`` records which bars a backtest reads, for a check a year later."""

from __future__ import annotations

import logging
import os
import threading
import uuid
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakValueDictionary

import msgspec
import numpy as np

from ..._version import __version__
from ...core.clock import Clock, SystemClock
from ...core.model.answer.reads import AppliedActions, BarsRead, RowsDigest, is_same_file
from ...core.model.market.bars import BarTable
from ...core.model.request.query import BarsQuery
from ...core.model.stored.retention import Age
from ...core.model.time.instant import date_of, iso
from ...core.model.time.span import Span, coalesce, uncovered
from ...core.model.words.caller import warn_user
from ...core.observability.reads import open_records, reads
from ...core.parts import load_part
from ...errors import DataError, QueryError
from ..settings.folder import bundles_folder
from .run_records import (
    FailedRead,
    Piece,
    RunFolder,
    RunRecord,
    SeriesRead,
    UnstoredBar,
    since,
)

if TYPE_CHECKING:
    from types import TracebackType

    from ...core.bars.client import BarsClient
    from ...core.disk.files import Disk
    from ...data_manager import DataManager
    from ..receipts.receipt import Receipt
    from .lineage_check import CheckReport

# New reads within this time after a write are not written immediately, but together with later
# ones.
_WRITTEN_TOGETHER_S = 1.0
_MOST_OUTSIDE = 100
_MOST_IRREGULAR = 512
_LONGEST_ID = 200
_warnings = logging.getLogger("onetape.lineage")


def lineage(
    backtest_id: object = None,
    keep: str | bool | None = None,
    folder: str | os.PathLike[str] | None = None,
    manager: DataManager | None = None,
) -> LineageRun:
    """Record which bars are read in a ``with`` block: series, generation, actions and digest.

    The record includes every answer that a manager returns in this thread, in tasks of its event
    loop, and in threads that got a copy of the context; and every call that failed. It has one
    entry for each generation of a series, however often that is read. Runs may be nested: the outer
    run also records the reads of the inner one.

    Args:
        backtest_id: Text, number or UUID by which the run can be found; None means a new UUID.
        keep: How long the store keeps the generations (versions of the stored bars) that are read,
            even if bars are revised: a duration from the last read, such as ``180d`` or ``5y``, or
            True to keep them until the run is forgotten. None means that they are not kept.
        folder: Bundles folder; if None, see :func:`.folder.bundles_folder`.
        manager: Data manager whose store keeps the generations; None means ``get_data_manager()``,
            called on first use.

    Returns:
        The run, a context manager for one block. Its ``id`` identifies it in later checks.

    Raises:
        QueryError: The id or ``keep`` is invalid; when the block begins: the id is in use.
        ConfigError: The folder cannot be used.
        StorageError, LockTimeoutError: When the block begins: its record cannot be written; when it
            ends: the reads could not be recorded, or their generations could not be kept.

    Warns:
        UserWarning: Bars were read in a thread that is not part of the run; once per run.
    """
    text = str(uuid.uuid4()) if backtest_id is None else str(backtest_id).strip()
    if not text or len(text) > _LONGEST_ID or not text.isprintable():
        raise QueryError(
            f"invalid backtest id {text!r:.60}",
            hint=f"use a printable string of up to {_LONGEST_ID} characters",
        )
    return LineageRun(text, keep, bundles_folder(folder), manager)


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
        self.id, self.folder = backtest_id, folder
        self._clock = clock or (manager.client.clock if manager else SystemClock())
        self._age = Age.parse(keep) if keep and keep is not True else None
        self._runs, self._manager = RunFolder(folder, disk), manager
        kept = str(self._age) if self._age else keep or None
        self._record = RunRecord(backtest_id, "", kept)
        self._outer: Any = None
        self._lock = threading.RLock()
        self._kept: dict[tuple[Any, ...], _KeptReads] = {}
        # Recorded answers, by the identity of the answer, and by the identity of its source.
        self._noted: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._by_key: dict[Hashable, _KeptReads] = {}
        self._failed: dict[tuple[str, str, str], FailedRead] = {}
        self._others: dict[str, None] = {}
        self._applied: dict[tuple[Any, ...], tuple[Any, AppliedActions, bytes]] = {}
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
            kept = self._by_key.get(key) if key is not None else None
            if kept is not None and kept.has(handed.span()):
                kept.asked_ms = max(kept.asked_ms, answer.query.now_ms)
            else:
                kept = self._note(handed.read())
            # `_applied` keeps books alive, so that no other book can get the id that the key uses.
            if key is not None:
                self._by_key[key] = kept
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
        query, applied = read.query, self._applied.get((id(read.book), read.as_of))
        if applied is None:
            actions = replace(read.applied(), closes=None)
            applied = read.book, actions, msgspec.json.encode(actions)
            self._applied[id(read.book), read.as_of] = applied
        origin = read.root, read.series, read.generation, read.is_made, read.substitute
        key = *origin, query.adjustment, query.provider, query.opened_by_ms, applied[2]
        if (kept := self._kept.get(key)) is None:
            self._kept[key] = kept = _KeptReads(read, applied[1])
        kept.add(read)
        now = self._clock.monotonic()
        if not kept.is_written and (
            self._written_s is None or not 0 <= now - self._written_s < _WRITTEN_TOGETHER_S
        ):
            self._written_s = now
            self._write()
        return kept

    def failed(self, query: BarsQuery, error: DataError) -> None:
        """Record a failed call, but only once for each symbol, timeframe and error."""
        if self._outer is not None:
            self._outer.failed(query, error)
        key = query.instrument.symbol, query.timeframe.label, type(error).__name__
        with self._lock:
            self._failed.setdefault(key, FailedRead(*key, str(error)))

    def noted(self, text: str) -> None:
        """Record a read of something other than bars, as the line of a receipt."""
        if self._outer is not None:
            self._outer.noted(text)
        with self._lock:
            self._others[text] = None

    def missed(self, query: BarsQuery | str) -> None:
        """Note a call from a thread outside the run, and warn about the first such call."""
        name = query if isinstance(query, str) else f"{query.instrument.symbol} {query.timeframe}"
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

    # --- writing ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Write the record, still without reads, and release expired pins of earlier runs.

        Raises:
            QueryError: The id is in use.
            StorageError, LockTimeoutError: The record cannot be written.
        """
        self._record.started = iso(self._clock.now_ms())
        self._runs.write(self._record, is_new=True)
        self._runs.release_expired(self._clock.now_ms(), self._client)

    def save(self) -> None:
        """Write a durable record of everything read so far; the run continues.

        Raises:
            StorageError, LockTimeoutError: The reads are not written.
        """
        self._save(is_last=False)

    def end(self) -> None:
        """Record the remaining reads and the end of the run; raises the errors of :meth:`save`."""
        self._save(is_last=True)

    def receipt(self, path: str | os.PathLike[str] | None = None) -> Receipt:
        """Return the receipt of the run, which has ended; see :func:`onetape.receipts.make`.

        Args:
            path: File to write it to; None means that nothing is written.

        Raises:
            QueryError: The run has not ended, something was read and not recorded, or bars no longer
                exist.
            StorageError: A file could not be read or written.
        """
        made: Receipt = load_part("research.receipts.made").make(
            self.id, path, folder=self.folder, manager=self._manager
        )
        return made

    def _save(self, *, is_last: bool) -> None:
        # The callbacks use other locks, so the run's lock must not be held.
        for callback in list(self._before_writing):
            callback(is_last=is_last)
        with self._lock:
            if is_last:
                self._before_writing.clear()
                self._is_open = False
                self._record.ended = iso(self._clock.now_ms())
            self._write()
            if self._error is not None:
                raise self._error

    def _write(self) -> None:
        """Write the record, and pin the generations in it.

        An error is kept, and raised by :meth:`save` or :meth:`end`.
        """
        record, every = self._record, list(self._kept.values())
        try:
            new = [
                kept
                for kept in every
                if kept.read.generation is not None
                and not (kept.is_written or kept.read.series.is_of_files)
            ]
            if record.keep and new:
                self._claim(new)
            if self._age:
                record.keep_until_ms = self._age.after(self._clock.now_ms())
            record.reads = [kept.value(self._client) for kept in every]
            record.failed, record.unrecorded = list(self._failed.values()), list(self._outside)
            record.others = list(self._others)
            self._runs.write(record)
            for kept in new if record.keep else ():
                self._client().pin(kept.read.series, kept.read.generation or 0)
            for kept in every:
                kept.is_written = True
        except DataError as error:
            self._error = self._error or error

    def _claim(self, new: list[_KeptReads]) -> None:
        """Decide which pins are the run's: those that only runs have set, or none yet.

        Raises:
            QueryError: The bars come from a cache other than the manager's.
        """
        client = self._client()
        for kept in new:
            read = kept.read
            if Path(read.root).resolve() != client.folder.resolve():
                raise QueryError(
                    f"{read.series} was read from the cache {read.root} and cannot be kept in "
                    f"{client.folder}",
                    hint="pass the manager that reads the bars: "
                    "lineage(..., keep=..., manager=manager)",
                )
            pinned = {c.generation for c in client.commits(read.series) if c.is_pinned}
            # A run is written before it pins, so the records are read after the pins.
            kept.is_pinned = read.generation not in pinned or any(
                (str(read.root), str(read.series), read.generation) in run.pins()
                for run in self._runs.all()
            )

    def _client(self) -> BarsClient:
        return client_of(self._manager)


def client_of(manager: DataManager | None) -> BarsClient:
    """Return the client of a manager; None means the process-wide manager."""
    if manager is None:
        from ...data_manager import get_data_manager

        manager = get_data_manager()
    return manager.client


class _Stretch:
    """A contiguous range of timestamps that was read, with a digest of its bars."""

    def __init__(self, start: int) -> None:
        self.span, self.rows, self.digest = Span(start, start), 0, RowsDigest()

    def grow(self, end: int, table: BarTable) -> None:
        """Extend the range to a new end, and add the bars in ``table`` to the digest."""
        self.span, self.rows = Span(self.span.start, end), self.rows + len(table)
        self.digest.add(table)

    def start(self) -> int:
        """Return the start of the range."""
        return self.span.start


class _KeptReads:
    """A run's reads from one generation of a series; guarded by the run's lock.

    Attributes:
        read: First answer from this generation.
        is_written: Whether the record has been written since the first answer.
        is_pinned: Whether the run has the pin, see :class:`.run_records.SeriesRead`.
        asked_ms: Time of the last read, UTC milliseconds.
    """

    def __init__(self, read: BarsRead, actions: AppliedActions) -> None:
        self.read, self._actions = read, actions
        self.is_written, self.is_pinned = False, False
        self.asked_ms = 0
        self._made: set[str] = set()
        self._stretches: list[_Stretch] = []  # ascending, disjoint
        self._closes: dict[Any, float | None] | None = None
        self._irregular: list[Span] = []
        self._unstored: dict[int, UnstoredBar] = {}

    def add(self, read: BarsRead) -> None:
        """Add the bars of an answer that have not been read before."""
        table = read.table
        self.asked_ms = max(self.asked_ms, read.query.now_ms)
        if read.is_made:
            table = BarTable.empty()  # the bars that these are built from are read at the end
            self._made.add(read.query.timeframe.label)
        elif read.unstored:
            table = self._split_off_unstored(read)
        near = self._stretches_near(read.span)
        for gap in uncovered(read.span, [s.span for s in near]):
            last = next((s for s in near if s.span.end == gap.start), None)
            if last is None:
                last = _Stretch(gap.start)
                insort(self._stretches, last, key=_Stretch.start)
            last.grow(gap.end, table.within(gap))
            odd = (*read.lacking, *read.unexpected)
            self._irregular += [span.clip(gap) for span in odd if span.overlaps(gap)]
        if read.closes is not None:
            self._closes = {**(self._closes or {}), **read.closes}

    def has(self, span: Span) -> bool:
        """Return whether the whole span has already been read."""
        return not uncovered(span, [s.span for s in self._stretches_near(span)])

    def _stretches_near(self, span: Span) -> list[_Stretch]:
        """Return the ranges that overlap a span or end at its start."""
        first = max(0, bisect_right(self._stretches, span.start, key=_Stretch.start) - 1)
        last = bisect_left(self._stretches, span.end, lo=first, key=_Stretch.start)
        return self._stretches[first:last]

    def _split_off_unstored(self, read: BarsRead) -> BarTable:
        """Return the rows of an answer that are in the store; set the others aside."""
        table, reasons = read.table, dict(read.unstored)
        aside = np.isin(table.stamps, list(reasons))
        for stamp, *values in (bar[:6] for bar in table.take(aside).bars()):
            cells = tuple(None if value != value else value for value in values)
            self._unstored[stamp] = UnstoredBar(iso(stamp), cells, reasons[stamp])
        return table.take(~aside)

    def value(self, client: Callable[[], BarsClient]) -> SeriesRead:
        """Return the reads of this generation in the form that is recorded.

        Args:
            client: Function that returns the client, which reads the bars from which the answers
                were built.
        """
        read, spans = self.read, coalesce(self._irregular)
        if len(spans) > _MOST_IRREGULAR:  # the rest counts as irregular as a whole
            spans[_MOST_IRREGULAR - 1 :] = [Span(spans[_MOST_IRREGULAR - 1].start, spans[-1].end)]
        first = self._stretches[0].span.start if self._stretches else read.span.start
        value = SeriesRead(
            str(read.series),
            read.generation,
            tuple(
                Piece(iso(s.span.start), iso(s.span.end), s.rows, str(s.digest))
                for s in self._stretches
            ),
            read.query.adjustment,
            read.query.provider,
            replace(since(self._actions, date_of(first)), closes=self._closes),
            tuple(sorted(self._made)),
            tuple((iso(span.start), iso(span.end)) for span in spans),
            tuple(bar for _, bar in sorted(self._unstored.items())),
            read.substitute,
            self.asked_ms,
            str(read.root),
            __version__,
            self.is_pinned,
            read.query.opened_by_ms,
        )
        if not self._made or value.generation is None or not value.pieces:
            return value
        again = client().read_again(value.stored(of_then=True))
        if read.series.is_of_files and not is_same_file(value.generation, again.generation):
            return replace(value, generation=None)  # nobody can read these bars any more
        return replace(value, pieces=value.pieces_of(again.table))


# --- afterwards ----------------------------------------------------------------------------


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
        self._runs, self._manager = RunFolder(bundles_folder(folder)), manager
        self._clock = manager.client.clock if manager else SystemClock()

    @property
    def client(self) -> BarsClient:
        """The client that reads stored bars."""
        return client_of(self._manager)

    def list(self) -> list[RunRecord]:
        """Return the runs, oldest first.

        Raises:
            StorageError: The records cannot be read.

        Warns:
            UserWarning: A record is damaged, or there are runs from an earlier version.
        """
        self._runs.report_older()
        return self._runs.release_expired(self._clock.now_ms(), lambda: self.client)

    def get(self, run: str) -> RunRecord:
        """Return the record of a run.

        Raises:
            QueryError: The run does not exist.
            FormatVersionError, CorruptEntryError, StorageError: The record cannot be read.
        """
        self._runs.release_expired(self._clock.now_ms(), lambda: self.client)
        return self._runs.get(run)

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
            FormatVersionError, CorruptEntryError, StorageError: The record or the store cannot be
                read.
        """
        from .lineage_check import check

        return check(self.client, self.get(run), as_today=as_today, timeout=timeout)

    def read(self, run: str) -> dict[str, BarTable]:
        """Return the bars exactly as a run read them, keyed by series, generation and adjustment.

        Raises:
            QueryError: The run does not exist, or some of its bars no longer exist.
        """
        from .lineage_export import bars_of

        return {
            f"{read.series} #{read.generation} {read.adjustment}": bars_of(self.client, read)
            for read in self.get(run).reads
        }

    def export(self, run: str, folder: str | os.PathLike[str]) -> Path:
        """Write the record and bars of a run to a new folder; see :func:`.lineage_export.export`.

        Raises:
            QueryError: The run does not exist, some of its bars no longer exist, or the folder is
                not empty.
            StorageError: A file could not be written.
        """
        from .lineage_export import export

        return export(self.client, self.get(run), folder)

    def forget(self, run: str) -> None:
        """Remove the record of a run, and unpin the generations that only this run needs.

        Raises:
            QueryError: The run does not exist, or it keeps generations in another cache.
            StorageError, LockTimeoutError: The run is not forgotten, or some generation is still
                pinned.
        """
        record = self.get(run)
        if record.pins():
            self._runs.release([record], self.client)
        if pins := record.pins():
            raise QueryError(
                f"lineage {run!r} keeps bars in the cache {min(pins)[0]}",
                hint="name that cache, so that the bars are no longer kept",
            )
        self._runs.remove(run)
