"""A bundle: an answer from ``get_ohlcv_batch`` as Parquet files, compared with the store by digest.

A bundle that was built from the store is a view, which is made again if it is damaged. Rows that a
user's program wrote into a bundle are *foreign*: the bundle is their only copy.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Unpack

import numpy as np
from numpy.typing import NDArray

from ...core.bars.client import Wishes
from ...core.calendars.calendar import calendar_for
from ...core.clock import Clock, SystemClock
from ...core.disk.files import Disk
from ...core.model.answer.frame import NS_IN_MS
from ...core.model.answer.interchange import to_polars
from ...core.model.answer.proof import fingerprint
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.display.texts import counted
from ...core.model.time.instant import day_ms, iso, parse_iso
from ...core.model.words.caller import warn_user
from ...data_manager import get_data_manager
from ...errors import (
    BadSymbolError,
    BundleError,
    CacheError,
    DataError,
    IncompleteDataWarning,
    LockTimeoutError,
    NoProviderError,
    QueryError,
    StorageError,
)
from ..frames.frames import (
    FIELDS,
    WIDE_VOLUME,
    Frequency,
    decimal_frame,
    get_schema_for_frequency,
    pl,  # its error names the missing extra
)
from ..frames.panel import Market, grid_of
from ..settings.folder import bundles_folder, registered
from .bundle_files import BundleFiles, checked_name
from .bundle_records import (
    Records,
    SymbolSource,
    bound_of,
    changed,
    damaged,
    digest_of,
    measured,
    parsed,
)
from .bundle_writer import files_of, new_records, split
from .partitions import last_day, partitions
from .request import Options, extended, is_daily, options_of, request_of

if TYPE_CHECKING:
    import pandas as pd

    from ...core.bars.client import BarsClient
    from ...core.calendars.grid import BarGrid
    from ...core.model.request.query import BarsQuery
    from ...data_manager import DataManager

__all__ = ["Bundle", "BundleChange", "BundleState", "FileProblem", "bundle_names", "repair"]

_MOST_NAMED = 5
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
    """

    written: tuple[str, ...] = ()
    failed: Mapping[str, str] = {}
    rounded: int = 0
    widened: bool = False


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
        return self._files.exists()

    def create(
        self,
        manager: DataManager,
        symbols: Sequence[str],
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        *,
        offline: bool = False,
        timeout: float | None = None,
        **options: Unpack[Options],
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
            offline: Whether to use only stored bars.
            timeout: Seconds to wait for vendors; see ``get_ohlcv``.
            **options: ``adjustment``, ``provider``, ``session``; see ``get_ohlcv``.

        Raises:
            BundleError: A bundle with this name exists, a symbol is not known at any market (the
                message has the nearest names), or none of the symbols has bars; nothing is written.
            QueryError: An argument is invalid.
            DecimalRangeError: A value does not fit into a Decimal column; nothing is written.
            StorageError, LockTimeoutError: The bundle cannot be written; nothing is written.
        """
        request = request_of(symbols, timeframe, (start_date, end_date), **options)
        if self.exists():
            raise BundleError(
                f"bundle {self.name} already exists in {self.path.parent}",
                hint=f"run `onetape bundle refresh {self.name}`, or use another name",
            )
        answers = _answers(manager, request, offline=offline, timeout=timeout)
        self._refuse_unknown(request, answers)
        if not any(len(a.rows) for a in answers.values()):
            first = next(iter(answers.values()))
            raise BundleError(
                f"bundle {self.name} would be empty: {first.error or 'there are no bars in this range'}",
                hint="nothing was written",
            )
        with self._files.locked():
            if self.exists():
                raise BundleError(
                    f"bundle {self.name} has just been created by another program",
                    hint="refresh it instead",
                )
            records = new_records(self.path)
            origin = replace(
                records.origin,
                bundle_name=self.name,
                source_type=request["provider"] or "onetape",
                resolutions={_frequency(request): request["timeframe"]},
            )
            return self._replace(replace(records, origin=origin), request, answers)

    def refresh(
        self, manager: DataManager, *, offline: bool = False, timeout: float | None = None
    ) -> BundleChange:
        """Update the bundle to the store's current answer; unchanged files stay as they are.

        A damaged file is made again. Nothing is done for a bundle whose rows user code wrote.

        Args:
            manager: Data manager that returns the bars.
            offline: Whether to use only stored bars.
            timeout: Seconds to wait for vendors.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: No bars were returned for any symbol.
            DecimalRangeError, StorageError, LockTimeoutError: The update failed; the bundle is
                unchanged.
        """
        return self._update(manager, None, offline=offline, timeout=timeout)

    def ingest(
        self,
        manager: DataManager,
        symbols: Sequence[str],
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        *,
        timeout: float | None = None,
        **options: Unpack[Options],
    ) -> BundleChange:
        """Add bars to the bundle, or create it if it does not exist (see :meth:`create`).

        Afterwards, the bundle contains the current answers for the symbols of its previous request
        and of this one, from the earlier start to the later end.

        Args:
            manager, symbols, timeframe, start_date, end_date: See :meth:`create`.
            timeout, **options: See :meth:`create`.

        Raises:
            BundleError: The bundle was written by user code, or has a different vendor, timeframe,
                adjustment or session; a symbol is not known at any market; or no bars were returned
                for any symbol. The bundle is unchanged.
            QueryError, DecimalRangeError, StorageError, LockTimeoutError: See :meth:`create`.
        """
        wanted = request_of(symbols, timeframe, (start_date, end_date), **options)
        if not self.exists():
            try:
                return self.create(manager, **wanted, timeout=timeout)
            except BundleError:
                if not self.exists():  # otherwise another program has created it meanwhile
                    raise
        return self._update(manager, wanted, timeout=timeout)

    def _update(
        self,
        manager: DataManager,
        wanted: Mapping[str, Any] | None,
        *,
        offline: bool = False,
        timeout: float | None = None,
        needs_all: bool = False,
    ) -> BundleChange:
        """Extend the bundle's request by ``wanted``, and update the bundle to the current answer.

        If another program changes the bundle meanwhile, it is read again.

        Raises:
            DataError: See :meth:`ingest`; or, with ``needs_all``, an answer is an error.
        """
        canonical = manager.provider_selector.canonical
        while True:
            before = self.records().origin
            request = extended(self.name, before.request, wanted, canonical)
            if request is None:
                return BundleChange()
            answers = _answers(manager, request, offline=offline, timeout=timeout)
            if wanted is not None:
                self._refuse_unknown(wanted, answers)
            errors = [answer.error for answer in answers.values() if answer.error]
            if len(errors) == len(answers) or (errors and needs_all):
                raise BundleError(
                    f"bundle {self.name} was not refreshed: {errors[0]}",
                    hint="the bundle was not changed",
                )
            with self._files.locked():
                records = self._files.records(has_lock=True)
                if records.origin.commit == before.commit:
                    return self._replace(records, request, answers)

    def _refuse_unknown(self, request: Mapping[str, Any], answers: Mapping[str, _Answer]) -> None:
        """Refuse symbols that are not known at any market; the errors contain the nearest names."""
        asked = [answers[symbol] for symbol in request["symbols"]]
        unknown = [answer.error for answer in asked if answer.reason == "unknown_symbol"]
        if unknown:
            raise BundleError(
                f"bundle {self.name} was not written: {'; '.join(unknown[:_MOST_NAMED])}",
                hint="correct or omit the symbol",
            )

    def _replace(
        self, records: Records, request: Mapping[str, Any], answers: Mapping[str, _Answer]
    ) -> BundleChange:
        """Replace the bundle by the answers, within its lock; files with the same rows stay.

        A symbol whose answer is an error keeps its rows.
        """
        before = records.origin
        frequency = _frequency(request)
        symbols, parts = dict(before.symbols), []
        kept = self._rows_of(records, [s.sid for n, s in symbols.items() if answers[n].error])
        for symbol, answer in answers.items():
            known = symbols.get(symbol)
            sid = known.sid if known else 1 + max((s.sid for s in symbols.values()), default=0)
            if answer.error:
                missing = max(0, answer.source.missing - len(kept.filter(pl.col("sid") == sid)))
                symbols[symbol] = replace(known or SymbolSource(sid), missing=missing)
            else:
                symbols[symbol] = replace(answer.source, sid=sid)
                number = pl.lit(sid, pl.Int64).alias("sid")
                parts.append(answer.rows.select(answer.rows.columns[0], number, *FIELDS))
        new, rounded = decimal_frame(pl.concat(parts), wide_volume=before.wide_volume)
        if len(kept):
            new = pl.concat([new, kept.cast({"volume": new.schema["volume"]})])
        origin = replace(
            changed(before, self._clock.now_ms()),
            request=request,
            symbols=symbols,
            wide_volume=new.schema["volume"] == WIDE_VOLUME,
        )
        frames = split(new, frequency)
        present = {place: self.disk.read_if_exists(self.path / place) for place in frames}
        files = {p: data for p, data in present.items() if data and _has_rows(data, frames[p])}
        new_files = files_of({p: f for p, f in frames.items() if p not in files}, origin)
        gone = [place for place in partitions(self.disk, self.path) if place not in frames]
        table = measured(frames, {**files, **new_files}).sort("file_path")
        changes: dict[str, bytes | None] = {**new_files, **dict.fromkeys(gone)}
        self._files.replace_folder(changes, Records(origin, table))
        errors = {symbol: answer.error for symbol, answer in answers.items() if answer.error}
        is_wider = origin.wide_volume and not before.wide_volume and before.commit > 0
        return BundleChange((*sorted(new_files), *gone), errors, rounded, is_wider)

    def _rows_of(self, records: Records, sids: Sequence[int]) -> pl.DataFrame:
        """Return the rows of some series, from those files that can be read."""
        request = records.origin.request
        schema = get_schema_for_frequency(_frequency(request) if request else "daily")
        parts = []
        for place in records.files if sids else ():
            with suppress(BundleError):
                if (rows := self._files.rows(place, records)) is not None:
                    parts.append(rows.select(*schema).filter(pl.col("sid").is_in(sids)))
        return pl.concat(parts) if parts else pl.DataFrame(schema=schema)

    def clean(self, manager: DataManager, before: date, *, dry_run: bool = False) -> BundleChange:
        """Drop the partitions that end before a given day.

        A partition contains one month of daily bars, or one UTC day of minute bars; the one that
        contains ``before`` stays. If the bundle was built from the store, the dropped range is also
        removed from the bundle's recorded request, so that a refresh does not fetch it again.

        Args:
            manager: Data manager with the stored bars for the shortened request. No vendor is
                queried.
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
        request, answers = records.origin.request, dict[str, _Answer]()
        if request is not None:
            first = min(last_day(place) for place in records.files if place not in old)
            # The partitions of intraday bars are days in UTC, not those of the market.
            start = first.replace(day=1).isoformat() if is_daily(request) else iso(day_ms(first))
            request = {**request, "start_date": start}
            answers = _answers(manager, request, offline=True)
        for symbol, answer in answers.items():
            source = records.origin.symbols.get(symbol)
            if answer.error and source is not None and source.fingerprint is not None:
                raise BundleError(
                    f"bundle {self.name} was not cleaned: its bars for {symbol} are not in the cache "
                    f"({answer.error})",
                    hint="name the cache that the bundle was made from: --cache-dir",
                )
        with self._files.locked():
            origin = self._files.records(has_lock=True).origin
            if origin.commit != records.origin.commit:
                raise BundleError(
                    f"bundle {self.name} has just been changed by another program",
                    hint="run the command again",
                )
            if request is not None:
                return self._replace(records, request, answers)
            after = replace(records, origin=changed(origin, self._clock.now_ms()))
            self._files.replace_files(dict.fromkeys(old), after.with_files(measured({}, {}), old))
        return BundleChange(tuple(old))

    def remove(self) -> None:
        """Remove the whole bundle; a bundle built from the store can be created again.

        Other programs see either the whole bundle or none, even if the process is killed.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            StorageError, LockTimeoutError: The bundle could not be removed.
        """
        self.records()
        with self._files.locked():
            self._files.remove()

    # --- reading ---------------------------------------------------------------------------

    def records(self) -> Records:
        """Return the bundle's records; lost records are made again and, if possible, written.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            BundleError: The records are lost, and a file of an only copy is damaged.
            FormatVersionError: The bundle was written by a newer version of this library.
        """
        return self._files.records()

    def validate(self) -> tuple[FileProblem, ...]:
        """Read every file, and return files that are missing or differ from their recorded digest.

        If the bundle is writable, the current time is recorded as ``last_validated`` in
        ``metadata.db`` for each file that has the recorded digest.

        Raises:
            BundleNotFoundError: The bundle does not exist.
        """
        # The writers' lock is not taken, so that this also works on a read-only bundle.
        records, problems = self._files.whole(self._examine)
        wrong = [problem.place for problem in problems]
        files = records.table.filter(~pl.col("file_path").is_in(wrong))
        now = pl.lit(self._clock.now_ms(), pl.Int64).alias("validated_ms")
        marked = records.with_files(files.with_columns(now))
        with suppress(StorageError, LockTimeoutError), self._files.locked():
            if self._files.records(has_lock=True).origin.commit == records.origin.commit:
                has_own = self._files.has_own_database()
                self._files.replace_files({}, marked, with_database=has_own)
        return tuple(problems)

    def _examine(self, records: Records) -> tuple[Records, list[FileProblem]]:
        """Return the records and the damaged files."""
        problems = []
        for place in sorted({*partitions(self.disk, self.path), *records.files}):
            data, record = self.disk.read_if_exists(self.path / place), records.files.get(place)
            if data is None:
                problems.append(FileProblem(place, "is missing"))
            elif record is None:
                problems.append(FileProblem(place, "is not recorded"))
            elif digest_of(data) != record.sha256:
                what = f"does not have the recorded SHA256 ({record.sha256[:12]}…)"
                problems.append(FileProblem(place, what))
        return records, problems

    def state(self, manager: DataManager) -> BundleState:
        """Read every file, and compare the bundle with the store's answer; no vendor is queried.

        Raises:
            BundleNotFoundError: The bundle does not exist.
            CacheError: The store cannot be read.
        """
        records, problems = self._files.whole(self._examine)
        if problems:
            return BundleState("corrupt", tuple(f"{p.place} {p.what}" for p in problems))
        origin = records.origin
        if origin.request is None:
            return BundleState("foreign", ("its rows were written by user code",))
        answers = _answers(manager, origin.request, offline=True)
        counts = {sid: count for sid, (count, _, _) in records.spans().items()}
        causes = [
            cause
            for symbol, answer in answers.items()
            for cause in _differences(symbol, origin.symbols.get(symbol), answer, counts)
        ]
        return BundleState("stale" if causes else "current", tuple(causes))


def repair(files: BundleFiles, places: Sequence[str], error: BaseException) -> None:
    """Make a damaged view again from the store, or set a damaged file of an only copy aside.

    Args:
        files: Files of the bundle.
        places: Files that should have been read.
        error: Error that was raised when they were read.

    Raises:
        BundleError: The bundle is an only copy, or the store does not have all of its bars; the
            message names the damaged file.

    Warns:
        UserWarning: The bundle was made again.
    """
    name = files.path.name

    def found(records: Records) -> tuple[Records, str, str]:
        """Return the first damaged file, and a description of the fault."""
        for place in places:
            try:
                if files.rows(place, records) is None:
                    return records, place, "is missing"
            except BundleError as exc:
                return records, place, str(exc).removeprefix(f"{name}/{place} ")
        raise damaged(f"{name}/{next(iter(places), '').partition('/')[0]}", error) from error

    # In one state of the files: a writer may replace some of them meanwhile.
    records, place, what = files.whole(found)
    if records.origin.request is None:
        raise files.reject(place, what) from error
    bundle = Bundle(name, files.path.parent, disk=files.disk)
    try:
        bundle._update(get_data_manager(), None, offline=True, needs_all=True)
    except DataError as exc:
        raise BundleError(
            f"{name}/{place} {what}, and the bundle cannot be made again from the stored bars: {exc}",
            hint=f"`onetape bundle refresh {name}` fetches the bars",
        ) from exc
    warn_user(f"bundle {name} was made again from the store: {place} {what}")


def bundle_names(folder: str | PathLike[str] | None = None) -> list[str]:
    """Return the sorted names of the bundles in a folder, including those registered in it."""
    root, disk = bundles_folder(folder), Disk()
    names = []
    # A process that was killed between two renames has left only the former state of a bundle.
    found = [n[1:].removesuffix(".former") if n.endswith(".former") else n for n in disk.list(root)]
    for name in sorted({*found, *registered(root)}):
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
    reason: str = ""


def _answers(
    manager: DataManager,
    request: Mapping[str, Any],
    *,
    offline: bool,
    timeout: float | None = None,
) -> dict[str, _Answer]:
    """Return the data manager's current answer (bars or an error) for each symbol."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)  # the bundle records it
        frames = manager.get_ohlcv_batch(
            request["symbols"],
            request["timeframe"],
            request["start_date"],
            request["end_date"],
            offline=offline,
            timeout=timeout,
            **options_of(request),
        )
    return {
        symbol: _answer(manager.client, symbol, frame, request) for symbol, frame in frames.items()
    }


def _answer(
    client: BarsClient, symbol: str, frame: pd.DataFrame, request: Mapping[str, Any]
) -> _Answer:
    """Convert the data manager's frame for a symbol to an answer."""
    schema = get_schema_for_frequency(_frequency(request))
    time = next(iter(schema))
    facts = frame.attrs[ATTRS_KEY]
    present = [name for name in FIELDS if name in frame.columns]
    rows = to_polars(frame[present]).select(
        pl.col("timestamp").cast(schema[time]).alias(time),
        *(n if n in present else pl.lit(None, pl.Float64).alias(n) for n in FIELDS),
    )
    stamps = frame.index.asi8 // NS_IN_MS  # type: ignore[attr-defined] # times
    missing = _count_missing(client, symbol, request, stamps)
    if (error := facts.get("error")) is not None:
        return _Answer(rows, SymbolSource(0, missing=missing), error["message"], error["reason"])
    query = _query(client, symbol, request)
    assert query is not None  # never None for an answered query
    since, until = _answered(query, request, stamps, parse_iso(facts["asked_at"]))
    source = SymbolSource(
        0,
        lane=facts["lane"],
        generation=facts["generation"],
        fingerprint=fingerprint(frame[present]),
        actions=_actions_of(client, symbol),
        asset_type=query.instrument.asset_class,
        exchange=query.instrument.exchange,
        quality=facts["quality"]["score"],
        missing=missing,
        since=since,
        until=until,
        vendors=tuple(facts["vendors"]),
    )
    return _Answer(rows, source)


def _has_rows(data: bytes, frame: pl.DataFrame) -> bool:
    """Return whether a file has exactly the rows and columns of a frame."""
    try:
        rows = parsed(data, "")
    except BundleError:
        return False
    return bool(rows.schema == frame.schema and rows.equals(frame))


def _actions_of(client: BarsClient, symbol: str) -> str | None:
    """Return the digest of a symbol's splits and dividends that apply; None if they cannot be read."""
    try:
        counting = [entry.action for entry in client.actions(symbol) if entry.counts]
    except (QueryError, CacheError):
        return None
    rows = sorted(
        f"{a.ex_date} {a.type} {a.numerator}:{a.denominator} {a.amount!r}" for a in counting
    )
    return f"sha256:{hashlib.sha256(chr(10).join(rows).encode()).hexdigest()}"


def _query(client: BarsClient, symbol: str, request: Mapping[str, Any]) -> BarsQuery | None:
    """Return the query for a symbol, or None if its market is unknown."""
    wishes = Wishes(**options_of(request))
    bounds = request["start_date"], request["end_date"]
    try:
        return client.query(symbol, request["timeframe"], *bounds, wishes=wishes)
    except (BadSymbolError, NoProviderError):
        return None


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
    _, expected = _expected(query, stamps, query.now_ms)
    return int((~np.isin(expected, stamps)).sum())


def _expected(
    query: BarsQuery, stamps: NDArray[np.int64], by_ms: int
) -> tuple[BarGrid, NDArray[np.int64]]:
    """Return the grid of an answer's bars, and the bars that a query expects by a time."""
    grid = grid_of(Market(calendar_for(query.instrument), ()), query.timeframe, stamps)
    expected = grid.opens(query.span)
    return grid, expected[grid.closes(expected) <= by_ms]


def _answered(
    query: BarsQuery, request: Mapping[str, Any], stamps: NDArray[np.int64], asked_ms: int
) -> tuple[int, int]:
    """Return the range of an answer, whichever option ends it: up to the next bar, or to the request's end.

    Args:
        query, request: Query and request.
        stamps: Timestamps of the answer's bars.
        asked_ms: Time of the query.
    """
    start = query.span.start
    grid, expected = _expected(query, stamps, asked_ms)
    until = grid.next_open(int(expected[-1]) + 1) if len(expected) else start
    since = min(start, bound_of(request["start_date"], "start", start))
    return since, min(until, bound_of(request["end_date"], "end", until) + 1)


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


def _frequency(request: Mapping[str, Any]) -> Frequency:
    return "daily" if is_daily(request) else "minute"
