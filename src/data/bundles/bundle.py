"""A bundle: an answer from ``get_ohlcv_batch`` as Parquet files, compared with the store by digest.

A bundle that was built from the store can always be rebuilt from it. Rows that a user's program
wrote into a bundle are *foreign*: they can be checked but not recreated.

In this package, a *place* is the path of a file relative to its bundle, with ``/``.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from functools import partial
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._version import __version__
from ..bars.client import Wishes
from ..calendars.calendar import ALWAYS_OPEN, FIRST_YEAR, LAST_YEAR, calendar_for
from ..calendars.ranges import moment_of, resolve_instants
from ..calendars.written_times import days_of
from ..clock import Clock, SystemClock
from ..disk.files import Disk
from ..errors import (
    BadSymbolError,
    BundleError,
    BundleNotFoundError,
    CacheError,
    DataError,
    IncompleteDataWarning,
    LockTimeoutError,
    NoProviderError,
    QueryError,
    StorageError,
)
from ..layer.frames import FIELDS, PRICES, Frequency, float_frame, get_schema_for_frequency, pl
from ..layer.panel import Market, grid_of
from ..model.bars import fingerprint_of
from ..model.frame import NS_IN_MS
from ..model.instant import DAY_MS, date_of, day_ms, iso
from ..model.instrument import Instrument
from ..model.interchange import to_polars
from ..model.proof import fingerprint
from ..model.provenance import ATTRS_KEY
from ..model.span import uncovered
from ..model.texts import counted
from ..model.timeframe import Timeframe
from .bundle_records import (
    REWRITTEN,
    FileRecord,
    Records,
    SymbolSource,
    digest_of,
    has_database,
    set_aside,
)
from .commit import METADATA, BundleFiles, FileChanges, checked_name
from .folder import bundles_folder, registered
from .parquet_writer import ParquetWriter, Written, parsed, rebuilt
from .partitions import last_day, partitions
from .request import SELECTS_SERIES, extended, options_of, request_of, symbols_to_answer

if TYPE_CHECKING:
    import pandas as pd

    from ..bars.client import BarsClient
    from ..data_manager import DataManager
    from ..model.query import BarsQuery

__all__ = ["Bundle", "BundleState", "BundleChange", "FileProblem", "bundle_names"]

_NO_FILES: Mapping[str, Any] = {}
_FIRST_DAY, _LAST_DAY = date(FIRST_YEAR, 1, 1), date(LAST_YEAR, 12, 31)
# Within this time of its ex-date, an action may start to count merely because time passes.
_NEWS_MS = 3 * DAY_MS
State = Literal["current", "stale", "foreign", "corrupt"]


class FileProblem(NamedTuple):
    """A damaged file in a bundle: its path, and a description of the fault."""

    place: str
    what: str


class BundleState(NamedTuple):
    """The result of comparing a bundle with the store.

    Attributes:
        state: ``current``: the bundle contains the bars that the store returns; ``stale``: the
            store now returns different bars; ``foreign``: the bundle was not built from the store;
            ``corrupt``: some files are missing, or were changed since they were written.
        causes: Differences that were found, each as a sentence.
    """

    state: State
    causes: tuple[str, ...] = ()


class BundleChange(NamedTuple):
    """The result of changing a bundle.

    Attributes:
        written: Paths of the partitions that were written or removed.
        failed: Maps each symbol for which no bars were returned to the reason; its bars in the
            bundle stay unchanged.
        rounded: Number of values that were rounded because they had more than eight decimals.
        widened: Whether the type of the volumes was changed to ``Decimal(38, 8)``.
        quarantined: Damaged files that were set aside in the bundle's ``_quarantine`` folder.
    """

    written: tuple[str, ...] = ()
    failed: Mapping[str, str] = {}
    rounded: int = 0
    widened: bool = False
    quarantined: tuple[str, ...] = ()


class Bundle:
    """A bundle of bars in Parquet files. Thread-safe; several processes may use the same bundle.

    Args:
        name: Name of the bundle's folder, or the name under which ``DataCatalog.register_bundle``
            registered it: letters, digits, ``.``, ``_`` and ``-``. A bundle in the bundles folder
            takes precedence.
        folder: Bundles folder, or None for the configured one.
        disk: File access; None is the file system, with permissions according to the umask.
        clock: Source of the time that :meth:`validate` records; None is the system clock.

    Attributes:
        name: Name as passed.
        path: Absolute path of the bundle's folder.
        is_elsewhere: Whether the bundle was registered and is outside the bundles folder.
        disk: File access.

    Raises:
        QueryError: The name is invalid.
        ConfigError: The folder cannot be used.
    """

    def __init__(
        self,
        name: str,
        folder: str | PathLike[str] | None = None,
        *,
        disk: Disk | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.name, self._clock = checked_name(name), clock or SystemClock()
        local = bundles_folder(folder) / name
        elsewhere = None if local.exists() else registered(local.parent).get(name)
        self.path, self.is_elsewhere = elsewhere or local, elsewhere is not None
        self._files = BundleFiles(self.path, disk)
        self.disk = self._files.disk

    def exists(self) -> bool:
        """Return whether the bundle exists, even if only partly."""
        if self.disk.stat(self.path) is None or self._files.is_removed():
            return False
        return bool(self.disk.stat(self.path / METADATA) or self._places() or self._files.pending())

    def create(
        self,
        manager: DataManager,
        symbols: Sequence[str],
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        *,
        adjustment: Any = "split",
        provider: str | None = None,
        session: Any = "regular",
        offline: bool = False,
        timeout: float | None = None,
    ) -> BundleChange:
        """Create the bundle from the bars that ``get_ohlcv_batch`` returns for these arguments.

        Args:
            manager: Data manager that returns the bars.
            symbols: Symbols as for ``get_ohlcv``; they are numbered (``sid``) 1, 2, 3 … in this
                order.
            timeframe: Timeframe of the bars. Bars of a day or longer are stored in ``daily_bars``,
                shorter ones in ``minute_bars``.
            start_date, end_date: Range as for ``get_ohlcv``, ends inclusive. If the end is None, it
                moves forward with each refresh.
            adjustment, provider, session: See ``get_ohlcv``.
            offline: Whether to use only stored bars.
            timeout: Seconds to wait for vendors; see ``get_ohlcv``.

        Raises:
            BundleError: A bundle with this name exists, or none of the symbols has bars.
            QueryError: An argument is invalid.
            DecimalRangeError: A value does not fit into a Decimal column; nothing is written.
            StorageError, LockTimeoutError: The bundle cannot be written; nothing is written.
        """
        request = request_of(
            symbols,
            timeframe,
            (start_date, end_date),
            adjustment=adjustment,
            provider=provider,
            session=session,
        )
        if self.exists():
            raise BundleError(
                f"bundle {self.name} already exists in {self.path.parent}",
                hint=f"run `onetape bundle refresh {self.name}`, or use another name",
            )
        answers = _answers(manager, request, request["symbols"], offline=offline, timeout=timeout)
        if not any(len(a.rows) for a in answers.values()):
            first = next(iter(answers.values()))
            raise BundleError(
                f"bundle {self.name} would be empty: {first.error or 'there are no bars in this range'}",
                hint="nothing was written",
            )
        with self._files.writing() as commit:
            if Records.read(self._files, self.disk, self.path / METADATA) is not None:
                raise BundleError(
                    f"bundle {self.name} has just been created by another program",
                    hint="refresh it instead",
                )
            records = rebuilt(self._files, commit)
            origin = replace(
                records.origin,
                bundle_name=self.name,
                source_type=provider or "onetape",
                request=request,
                resolutions={_frequency(request): request["timeframe"]},
            )
            return self._put(commit, replace(records, origin=origin), answers, ())

    def refresh(
        self, manager: DataManager, *, offline: bool = False, timeout: float | None = None
    ) -> BundleChange:
        """Update the bundle to the store's current answer; unchanged partitions are not written.

        A damaged partition is rebuilt. If part of it cannot be rebuilt, because a user's program
        wrote it, the file is set aside in the bundle's ``_quarantine`` folder.

        Args:
            manager: Data manager that returns the bars; nothing is queried for a foreign bundle
                (one whose rows user code wrote).
            offline: Whether to use only stored bars.
            timeout: Seconds to wait for vendors.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: No bars were returned for any symbol.
            DecimalRangeError, StorageError, LockTimeoutError: The update failed; the bundle is
                unchanged.
        """
        return self._update_to_answer(manager, None, offline=offline, timeout=timeout)

    def ingest(
        self,
        manager: DataManager,
        symbols: Sequence[str],
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        *,
        adjustment: Any = "split",
        provider: str | None = None,
        session: Any = "regular",
        timeout: float | None = None,
    ) -> BundleChange:
        """Add bars to the bundle, or create it if it does not exist (see :meth:`create`).

        Afterwards, the bundle contains the symbols of its previous request and of this one, from
        the earlier start to the later end. If it already covered that range, and the range had
        ended when the bundle was written, only the symbols of this request are updated; the others
        stay unchanged until :meth:`refresh`.

        Args:
            manager, symbols, timeframe, start_date, end_date: See :meth:`create`.
            adjustment, provider, session, timeout: See :meth:`create`.

        Raises:
            BundleError: The bundle was written by user code, or has a different vendor, timeframe,
                adjustment or session; or no bars were returned for any symbol. The bundle is
                unchanged.
            QueryError, DecimalRangeError, StorageError, LockTimeoutError: See :meth:`create`.
        """
        wanted = request_of(
            symbols,
            timeframe,
            (start_date, end_date),
            adjustment=adjustment,
            provider=provider,
            session=session,
        )
        if not self.exists():
            try:
                return self.create(manager, **wanted, timeout=timeout)
            except BundleError:
                if not self.exists():  # otherwise another program has created it meanwhile
                    raise
        return self._update_to_answer(manager, wanted, timeout=timeout)

    def _update_to_answer(
        self,
        manager: DataManager,
        wanted: Mapping[str, Any] | None,
        *,
        offline: bool = False,
        timeout: float | None = None,
    ) -> BundleChange:
        """Extend the bundle's request by ``wanted``, and update the bundle to the current answer.

        1. Read the records, without the lock.
        2. Get the answers of the symbols whose rows may differ, which may take long.
        3. Under the lock, check that the bundle is still as it was read, and write the answers. If
           another program has changed it, begin again with step 2.
        """
        canonical = manager.provider_selector.canonical
        instants_of = partial(_instants_of, manager.client)
        origin = self.records().origin
        request = extended(self.name, origin.request, wanted, canonical, instants_of)
        may_skip = not self._files.read_whole(self._examine)[1]
        while True:
            answers: dict[str, _Answer] = {}
            same: set[str] = set()
            if request is not None:
                requests = origin.request, request, wanted
                symbols = symbols_to_answer(*requests, origin.ingested_at, instants_of)
                if may_skip:
                    same = _unchanged(manager.client, request, origin.symbols, offline=offline)
                symbols = [symbol for symbol in symbols if symbol not in same]
                answers = _answers(manager, request, symbols, offline=offline, timeout=timeout)
            is_whole = request is not None and len(answers) == len(request["symbols"])
            if is_whole and all(a.error for a in answers.values()):
                raise BundleError(
                    f"bundle {self.name} was not refreshed: {next(iter(answers.values())).error}",
                    hint="the bundle was not changed",
                )
            with self._files.writing(make=False) as commit:
                records, problems = self._examine(commit=commit)
                recorded = records.origin.request
                now = extended(self.name, recorded, wanted, canonical, instants_of)
                is_as_read = records.origin.commit == origin.commit and not problems
                if now == request and (is_as_read or not same):
                    records = replace(records, origin=replace(records.origin, request=request))
                    return self._put(commit, records, answers, [p.place for p in problems])
            # Another program has changed the bundle in the meantime.
            request, origin, may_skip = now, records.origin, False

    def clean(self, manager: DataManager, before: date, *, dry_run: bool = False) -> BundleChange:
        """Drop the partitions that end before a given day.

        A partition contains one month of daily bars, or one UTC day of minute bars; the one that
        contains ``before`` stays. If the bundle was built from the store, the dropped range is also
        removed from the bundle's recorded request, so that a refresh does not fetch it again.

        1. Find the partitions to drop, and shorten the request.
        2. Compute the records of the symbols from the rows that stay. If that is impossible, get the
           stored answers for the shortened request.
        3. Under the lock, check that the bundle is still as it was read. Then drop the partitions
           or, with answers from step 2, write these in place of the bundle's rows.

        Args:
            manager: Data manager whose stored bars are used if the bundle's fingerprints cannot be
                computed from its own rows because some of them were rounded. No vendor is queried.
            before: First day to keep.
            dry_run: Whether to only report what would be dropped.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: Nothing would be left, or a required answer is not in the store.
            StorageError, LockTimeoutError: The bundle cannot be written; it is unchanged.
        """
        records = self.records()
        old = [place for place in records.files if last_day(place) < before]
        if old and len(old) == len(records.files):
            raise BundleError(
                f"no bars would be left in bundle {self.name}: its last bar is before {before}",
                hint=f"`onetape bundle clean {self.name} --all` removes the bundle",
            )
        if not old or dry_run:
            return BundleChange(tuple(old))
        request = records.origin.request
        if request is not None:
            first = min(last_day(place) for place in records.files if place not in old)
            # The partitions of intraday bars are days in UTC, not those of the market.
            is_daily = _frequency(request) == "daily"
            start = first.replace(day=1).isoformat() if is_daily else iso(day_ms(first))
            request = {**request, "start_date": start}
        client = manager.client
        sources = (
            {} if request is None else self._sources_after_clean(client, request, records, old)
        )
        answers: dict[str, _Answer] = {}
        if request is not None and sources is None:
            answers = self._stored_answers(manager, request, records)
        with self._files.writing(make=False) as commit:
            if self._examine()[0] != records:
                raise BundleError(
                    f"bundle {self.name} has just been changed by another program",
                    hint="run the command again",
                )
            if request is not None:
                symbols = sources or records.origin.symbols
                records = replace(
                    records, origin=replace(records.origin, request=request, symbols=symbols)
                )
            if answers:
                return self._put(commit, records, answers, ())
            for place in old:
                commit.remove(place)
            records.with_files((), old).put(commit, self._files)
        return BundleChange(tuple(old))

    def _stored_answers(
        self, manager: DataManager, request: Mapping[str, Any], records: Records
    ) -> dict[str, _Answer]:
        """Return the store's answer for each symbol in a shortened request.

        Raises:
            BundleError: The store no longer has an answer for a symbol whose bars came from it.
        """
        answers = _answers(manager, request, request["symbols"], offline=True)
        for symbol, answer in answers.items():
            source = records.origin.symbols.get(symbol)
            if answer.error and source is not None and source.fingerprint is not None:
                raise BundleError(
                    (
                        f"bundle {self.name} was not cleaned: its bars for {symbol} differ from the cached "
                        f"ones, and the cache could not supply them ({answer.error})"
                    ),
                    hint="name the cache that the bundle was made from: --cache-dir",
                )
        return answers

    def _sources_after_clean(
        self,
        client: BarsClient,
        request: Mapping[str, Any],
        records: Records,
        old: Sequence[str],
    ) -> dict[str, SymbolSource] | None:
        """Return the symbols' records as they will be after the partitions ``old`` are removed.

        The records are computed from the bundle's rows. Return None if the existing rows do not
        match the recorded digests, because values were rounded when they were written.
        """
        try:
            frames = {
                place: parsed(self.disk.read(self.path / place), f"{self.name}/{place}")
                for place in records.files
            }
        except BundleError:
            return None
        time = next(iter(frames.values())).columns[0]
        whole = pl.concat(
            float_frame(frame.select(time, "sid", *FIELDS)).with_columns(
                left=pl.lit(place not in old)
            )
            for place, frame in frames.items()
        )
        sources = dict(records.origin.symbols)
        for symbol, before in sources.items():
            rows = whole.filter(pl.col("sid") == before.sid).sort(time)
            source = before
            if symbol in request["symbols"]:
                stamps = rows.filter("left")[time].cast(pl.Datetime("ms")).cast(pl.Int64).to_numpy()
                source = replace(before, missing=_count_missing(client, symbol, request, stamps))
            sources[symbol] = source
            if source.fingerprint is None:
                continue
            for names in (FIELDS, PRICES):  # some have no volume
                if _digest(rows, time, names) == source.fingerprint:
                    digest = _digest(rows.filter("left"), time, names)
                    sources[symbol] = replace(source, fingerprint=digest)
                    break
            else:
                return None
        return sources

    def remove(self) -> None:
        """Remove the whole bundle; a bundle built from the store can be created again.

        Other programs see either the whole bundle or none, even if the process is killed. In that
        case the next change or removal of a bundle with this name finishes the work.

        Raises:
            BundleNotFoundError: The bundle does not exist, and none of its files are left.
            StorageError, LockTimeoutError: Some files could not be removed. Call this method again
                to remove them, even if the bundle itself is already gone.
        """
        if not self.exists() and not self._files.has_traces():
            raise self._not_found()
        with self._files.writing(make=False) as commit:
            if self.exists():
                commit.remove_all(self._places())
        self._files.drop_folder(unless=self.exists)

    def _put(
        self,
        commit: FileChanges,
        records: Records,
        answers: Mapping[str, _Answer],
        damaged: Sequence[str],
    ) -> BundleChange:
        """Add the bars of the answers to a change, and set aside damaged files.

        1. Number new symbols, and select the answers that differ from the bundle's rows.
        2. Set aside those damaged files that the answers cannot rebuild.
        3. Merge the selected rows into their partitions.
        """
        origin = records.origin
        frequency: Frequency = _frequency(origin.request) if origin.request else "daily"
        symbols, counts = dict(origin.symbols), _counts(records, frequency)
        parts, drop = [], []
        numbers = {source.sid for source in symbols.values()} | records.spans().keys()
        last_sid = max(numbers, default=0)
        for symbol, answer in answers.items():
            before = symbols.get(symbol)
            if before is None:
                last_sid += 1
            sid = before.sid if before else last_sid
            count = counts.get(sid, 0)
            if answer.error:  # the bundle keeps the bars that it has
                missing = max(0, answer.source.missing - count)
                symbols[symbol] = replace(before or SymbolSource(sid), missing=missing)
                continue
            others = before.others if before else {}
            symbols[symbol] = replace(answer.source, sid=sid, others=others)
            is_same = before is not None and before.fingerprint == answer.source.fingerprint
            if is_same and count == len(answer.rows) and not damaged:
                continue  # its bars exist
            drop.append(sid)
            parts.append(answer.rows.with_columns(pl.lit(sid, pl.Int64).alias("sid")))
        sids = {symbols[symbol].sid for symbol, answer in answers.items() if not answer.error}
        quarantined = []
        for place in damaged:
            data = self.disk.read_if_exists(self.path / place)
            record = records.files.get(place)
            if data is not None and (record is None or not sids >= set(record.sids.sids.tolist())):
                quarantined.append(set_aside(commit, place, data))
        schema = get_schema_for_frequency(frequency)
        columns = [next(iter(schema)), "sid", *FIELDS]
        rows = (
            pl.concat([p.select(columns) for p in parts]) if parts else pl.DataFrame(schema=schema)
        )
        records = replace(records, origin=replace(origin, symbols=symbols))
        writer = ParquetWriter(self.path, disk=self.disk)
        result: Written = writer.replace_rows(
            commit, records, frequency, rows, anew=damaged, drop=drop
        )
        errors = {symbol: a.error for symbol, a in answers.items() if a.error}
        return BundleChange(
            result.places, errors, result.rounded, result.widened, tuple(quarantined)
        )

    # --- reading ---------------------------------------------------------------------------

    def records(self) -> Records:
        """Return the bundle's records; lost records are rebuilt and, if possible, written again.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: The records are lost, and a partition is damaged.
            FormatVersionError: The bundle was written by a newer version of this library.
        """
        self._files.finish()
        if not self.exists():
            raise self._not_found()
        stored: Records | None = self._files.read_whole(
            lambda path_of, _: Records.read(self._files, self.disk, path_of(METADATA))
        )
        if stored is not None:
            return stored
        try:
            with self._files.writing(make=False) as commit:
                # Another call may have rebuilt them in the meantime.
                records = Records.read(self._files, self.disk, self.path / METADATA)
                if records is None:
                    records = rebuilt(self._files, commit)
                    records.put(commit, self._files)
        except StorageError:  # the folder may be read-only; then the next call rebuilds them
            records = rebuilt(self._files)
        return records

    def _not_found(self) -> BundleNotFoundError:
        return BundleNotFoundError(
            f"bundle {self.name} does not exist in {self.path.parent}",
            hint="`onetape bundle list` lists the bundles",
        )

    def validate(self) -> tuple[FileProblem, ...]:
        """Read every file, and return files that are missing or differ from their recorded digest.

        If the bundle is writable, the result is recorded. For a file that has the recorded digest,
        the current time is recorded as ``last_validated`` in ``metadata.db``. A file whose content
        changed although its size and times did not is marked, so that :meth:`state` and
        :meth:`refresh` read it again instead of trusting its size and times.

        Raises:
            BundleNotFoundError: The bundle does not exist.
        """
        self.records()
        # The writers' lock is not taken, so that this also works on a read-only bundle.
        records, problems = self._files.read_whole(partial(self._examine, thorough=True))
        wrong = {problem.place for problem in problems}
        now_ms = self._clock.now_ms()
        updates = []
        for place, record in records.files.items():
            if place not in wrong:
                updates.append(replace(record, validated_ms=now_ms))
            elif record.is_unchanged(self.disk.stat(self.path / place)):
                updates.append(replace(record, state=None))
        if updates:
            with (
                suppress(StorageError, LockTimeoutError),
                self._files.writing(make=False) as commit,
            ):
                if Records.read(self._files, self.disk, self.path / METADATA) == records:
                    marked = records.with_files(updates)
                    marked.put(commit, self._files, with_database=has_database(self._files))
        return tuple(problems)

    def _examine(
        self,
        path_of: Callable[[str], Path] | None = None,
        pending: Mapping[str, Any] = _NO_FILES,
        commit: FileChanges | None = None,
        *,
        thorough: bool = False,
    ) -> tuple[Records, list[FileProblem]]:
        """Return the records and the damaged files.

        Must be called within the lock or from :meth:`BundleFiles.read_whole`. A file that still has
        the recorded state (size, times and so on) is not read, unless ``thorough`` is set.
        """
        path_of = path_of or self.path.joinpath
        records = Records.read(self._files, self.disk, path_of(METADATA))
        if records is None:
            return rebuilt(self._files, commit), []
        removals = {place for place, name in pending.items() if name is None}
        places = sorted({*self._places(), *records.files} - removals)
        problems, updates = [], []
        for place in places:
            path, record = path_of(place), records.files.get(place)
            now = self.disk.stat(path)
            if record is not None and not thorough and record.is_unchanged(now):
                continue
            if what := self._fault(path, record):
                problems.append(FileProblem(place, what))
            elif (
                record is not None and now is not None
            ):  # a copy, for example, which is known from now on
                updates.append(record.seen(now))
        return records.with_files(updates) if updates else records, problems

    def _fault(self, path: Path, record: FileRecord | None) -> str | None:
        data = self.disk.read_if_exists(path)
        if data is None:
            return "is missing"
        if record is None:
            return "is not recorded"
        if digest_of(data) != record.sha256:
            return f"does not have the recorded SHA256 ({record.sha256[:12]}…)"
        return None

    def _places(self) -> list[str]:
        root = str(self.path)
        return [
            p for frequency in ("daily", "minute") for p in partitions(self.disk, root, frequency)
        ]

    def state(self, manager: DataManager) -> BundleState:
        """Compare the bundle with the store's current answer; no vendor is queried.

        Only files that were modified since they were written are read; :meth:`validate` reads
        every file.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            CacheError: The store cannot be read.
        """
        self.records()
        problems = self._files.read_whole(self._examine)[1]
        if problems:
            return BundleState("corrupt", tuple(f"{p.place} {p.what}" for p in problems))
        records = self.records()
        origin = records.origin
        if origin.request is None:
            return BundleState("foreign", ("its rows were written by user code",))
        same = _unchanged(manager.client, origin.request, origin.symbols, offline=True)
        symbols = [symbol for symbol in origin.request["symbols"] if symbol not in same]
        answers = _answers(manager, origin.request, symbols, offline=True)
        counts = _counts(records, _frequency(origin.request))
        causes = [
            cause
            for symbol, answer in answers.items()
            for cause in _differences(symbol, origin.symbols.get(symbol), answer, counts)
        ]
        return BundleState("stale" if causes else "current", tuple(causes))


def bundle_names(folder: str | PathLike[str] | None = None) -> list[str]:
    """Return the sorted names of the bundles in a folder, including those registered in it."""
    root, disk = bundles_folder(folder), Disk()
    names = []
    for name in sorted({*disk.list(root), *registered(root)}):
        try:
            if Bundle(name, root).exists():
                names.append(name)
        except DataError:
            continue
    return names


# --- answers -----------------------------------------------------------------------------------


class _Answer(NamedTuple):
    """The bars for one symbol with their source, or the reason that there are no bars."""

    rows: pl.DataFrame
    source: SymbolSource
    error: str = ""


def _answers(
    manager: DataManager,
    request: Mapping[str, Any],
    symbols: Sequence[str],
    *,
    offline: bool,
    timeout: float | None = None,
) -> dict[str, _Answer]:
    """Return the data manager's current answer (bars or an error) for each symbol."""
    if not symbols:
        return {}
    before = {symbol: _actions_of(manager.client, symbol) for symbol in symbols}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)  # the bundle records it
        frames = manager.get_ohlcv_batch(
            symbols,
            request["timeframe"],
            request["start_date"],
            request["end_date"],
            offline=offline,
            timeout=timeout,
            **options_of(request),
        )
    return {
        symbol: _answer(manager, symbol, frame, request, before[symbol])
        for symbol, frame in frames.items()
    }


def _answer(
    manager: DataManager,
    symbol: str,
    frame: pd.DataFrame,
    request: Mapping[str, Any],
    before: _Actions | None,
) -> _Answer:
    """Convert the data manager's frame for a symbol to an answer.

    ``before`` describes the splits and dividends that were stored before the frame was read.
    """
    frequency = _frequency(request)
    facts = frame.attrs[ATTRS_KEY]
    time = next(iter(get_schema_for_frequency(frequency)))
    rows = to_polars(frame[[name for name in FIELDS if name in frame.columns]])
    rows = rows.with_columns(
        pl.lit(None, pl.Float64).alias(n) for n in FIELDS if n not in rows.columns
    )
    stamps = pl.col("timestamp").cast(get_schema_for_frequency(frequency)[time]).alias(time)
    error, client = facts.get("error"), manager.client
    present = frame.index.asi8 // NS_IN_MS  # type: ignore[attr-defined] # times
    missing = _count_missing(client, symbol, request, present)
    if error is not None:
        source = SymbolSource(0, missing=missing)
        return _Answer(rows.select(stamps, *FIELDS), source, error["message"])
    query = _query(client, symbol, request)
    assert query is not None  # never None for an answered query
    instrument = query.instrument
    actions = _actions_of(client, symbol)
    seal = _seal(client, query, request, actions) if actions == before else None
    # The seal was computed after the answer; it is valid only if nothing was stored in between.
    is_sealed = seal is not None and (
        (seal.folder, seal.generation) == (facts["lane"], facts["generation"])
        and not (facts["flagged"] or facts["substitute"])
    )
    source = SymbolSource(
        0,
        lane=facts["lane"],
        generation=facts["generation"],
        fingerprint=fingerprint(frame[[name for name in FIELDS if name in frame.columns]]),
        actions=actions and actions.digest,
        asset_type=instrument.asset_class,
        exchange=instrument.exchange,
        quality=facts["quality"]["score"],
        missing=missing,
        seal=seal.text if seal is not None and is_sealed else None,
    )
    return _Answer(rows.select(stamps, *FIELDS), source)


def _digest(rows: pl.DataFrame, time: str, names: Sequence[str]) -> str:
    """Return the digest that :func:`.fingerprint` returns for a frame with these rows."""
    stamps = rows[time].cast(pl.Datetime("ms")).cast(pl.Int64).to_numpy()
    return fingerprint_of(stamps, ((name, rows[name].to_numpy()) for name in names))


class _Actions(NamedTuple):
    """A digest of the splits and dividends that apply to a symbol's prices, and the latest ex-date.

    The latest ex-date may belong to a reported action that is not applied.
    """

    digest: str
    newest: date


def _actions_of(client: BarsClient, symbol: str) -> _Actions | None:
    """Return the digest and the latest ex-date of a symbol's stored splits and dividends.

    Return None if they cannot be read or the symbol is invalid.
    """
    try:
        every = client.actions(symbol)
    except (QueryError, CacheError):
        return None
    counting = [entry.action for entry in every if entry.counts]
    rows = sorted(
        f"{a.ex_date} {a.type} {a.numerator}:{a.denominator} {a.amount!r}" for a in counting
    )
    digest = hashlib.sha256(chr(10).join(rows).encode()).hexdigest()
    newest = max((entry.action.ex_date for entry in every), default=date.min)
    return _Actions(f"sha256:{digest}", newest)


class _Seal(NamedTuple):
    """A digest of everything in the store that an answer depends on.

    As long as the digest stays the same, so does the answer. ``folder`` is the lane (stored bars of
    one kind for one series) from which the answer came, and ``generation`` is the version of the
    bars in it.
    """

    text: str
    folder: str
    generation: int


def _seal(
    client: BarsClient,
    query: BarsQuery | None,
    request: Mapping[str, Any],
    actions: _Actions | None,
) -> _Seal | None:
    """Return a digest that changes whenever the store may return a different answer.

    No bars are read. Return None if the answer depends on anything that the digest does not cover:
    the time, a second series, the user's files, or bars that are not settled or were never
    requested.
    """
    if query is None or actions is None:
        return None
    try:
        series = client.series_of(query)
        outline = client.outline(series)
    except (QueryError, CacheError):
        return None
    now, span = query.now_ms, query.span
    entries = [entry for entry in outline.coverage if entry.span.overlaps(span)]
    is_open = any(e.state == "provisional" or (e.expires or now + 1) <= now for e in entries)
    is_open = is_open or query.bars is not None or span.end > now
    is_news = actions.newest > date_of(now - _NEWS_MS)
    # Prices adjusted for dividends also depend on daily close prices.
    is_of_two = request["adjustment"] == "all" and query.instrument.asset_class == "stock"
    if (
        is_open
        or is_news
        or is_of_two
        or series.of_folder
        or uncovered(span, (e.span for e in entries))
    ):
        return None
    facts = [
        __version__,
        str(series),
        outline.generation,
        *(value for name, value in options_of(request).items() if name not in SELECTS_SERIES),
        actions.digest,
        *span,
    ]
    facts += [(*e.span, e.state, e.vendor, str(e.basis), e.fetched_at) for e in entries]
    text = digest_of(repr(facts).encode())[:32]
    return _Seal(text, series.folder, outline.generation)


def _query(client: BarsClient, symbol: str, request: Mapping[str, Any]) -> BarsQuery | None:
    """Return the query for a symbol, or None if its market is unknown."""
    wishes = Wishes(**options_of(request))
    bounds = request["start_date"], request["end_date"]
    try:
        return client.query(symbol, request["timeframe"], *bounds, wishes=wishes)
    except (BadSymbolError, NoProviderError):
        return None


def _instants_of(
    client: BarsClient, request: Mapping[str, Any], which: str, bound: str
) -> list[int]:
    """Return the instant of a request's bound in each of its symbols' markets; see ``InstantsOf``.

    The timestamps of daily bars are dates, which are the same in every market.
    """
    if moment_of(bound) is None and days_of(bound.strip()) is None:
        return []
    markets = [Instrument("", "crypto", ALWAYS_OPEN)]
    if _frequency(request) == "minute":
        of_now = {**request, "start_date": None, "end_date": None}
        queries = [_query(client, symbol, of_now) for symbol in request["symbols"]]
        markets = [query.instrument for query in queries if query is not None] or markets
    first, last = (bound, _LAST_DAY) if which == "start" else (_FIRST_DAY, bound)
    spans = [resolve_instants(market, first, last, client.clock.now_ms()) for market in markets]
    return [span.start if which == "start" else span.end for span in spans]


def _unchanged(
    client: BarsClient,
    request: Mapping[str, Any],
    sources: Mapping[str, SymbolSource],
    *,
    offline: bool,
) -> set[str]:
    """Return the symbols whose rows still match the current answer, without reading any bars.

    Unless ``offline`` is set, symbols for which a vendor would have to be queried are left out.
    """
    same = set()
    for symbol in request["symbols"]:
        source = sources.get(symbol)
        if source is None or source.seal is None or source.fingerprint in (None, REWRITTEN):
            continue
        query, actions = _query(client, symbol, request), _actions_of(client, symbol)
        seal = _seal(client, query, request, actions)
        is_same = seal is not None and seal.text == source.seal
        is_same = is_same and actions is not None and actions.digest == source.actions
        if is_same and query is not None and (offline or client.lookup(query).is_hit):
            same.add(symbol)
    return same


def _count_missing(
    client: BarsClient, symbol: str, request: Mapping[str, Any], stamps: NDArray[np.int64]
) -> int:
    """Return the number of bars missing from a request, according to the calendar.

    The market of an invalid symbol is unknown. For such a symbol, return the largest number that
    would result for another requested symbol with the same bars.

    Args:
        client, symbol, request: Client, symbol and request.
        stamps: Timestamps of the bars that are present.
    """
    query = _query(client, symbol, request)
    if query is None:
        others = [other for other in request["symbols"] if other != symbol]
        of_others = {**request, "symbols": others}
        return max(
            (_count_missing(client, other, of_others, stamps) for other in others), default=0
        )
    if query.bars is not None:  # no start: this many bars up to the end
        return max(0, query.bars - len(stamps))
    grid = grid_of(Market(calendar_for(query.instrument), ()), query.timeframe, stamps)
    expected = grid.opens(query.span)
    expected = expected[grid.closes(expected) <= query.now_ms]
    return int((~np.isin(expected, stamps)).sum())


def _differences(
    symbol: str, before: SymbolSource | None, now: _Answer, counts: Mapping[int, int]
) -> Iterable[str]:
    """Yield the differences between an answer and the one from which the bundle was built.

    ``counts`` maps each series number to its number of rows in the bundle.
    """
    if now.error:
        had = before is not None and before.fingerprint is not None
        what = "the cache no longer has an answer" if had else "there has never been an answer"
        yield f"{symbol}: {what}: {now.error}"
        return
    if before is None or before.fingerprint is None:
        yield f"{symbol}: there was no answer when the bundle was written"
        return
    if before.lane != now.source.lane:
        yield (
            f"{symbol}: the answer comes from lane {now.source.lane}, and came from {before.lane}"
        )
    if before.fingerprint != now.source.fingerprint:
        yield (
            f"{symbol}: its bars differ (generation {before.generation}, now {now.source.generation})"
        )
    elif (count := counts.get(before.sid, 0)) != len(now.rows):
        # A partition can be lost unnoticed only together with the records.
        yield f"{symbol}: the bundle has {count:,} of its {counted(len(now.rows), 'bar')}"
    if before.actions != now.source.actions:
        yield f"{symbol}: its splits and dividends differ"


def _counts(records: Records, frequency: Frequency) -> dict[int, int]:
    """Return the number of rows of each series, by its number, in partitions of one frequency."""
    return {sid: count for sid, (count, _, _) in records.spans(f"{frequency}_bars/").items()}


def _frequency(request: Mapping[str, Any]) -> Frequency:
    label = str(Timeframe.parse(request["timeframe"]))
    return "daily" if label[-1] in "dwo" or label.endswith("M") else "minute"
