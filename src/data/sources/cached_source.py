"""Sources whose bars are kept: ours by the one store, a program's own as the frames that it gave."""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from datetime import UTC
from functools import partial
from itertools import count
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeVar

from ..bundles.folder import outside_of_the_cache
from ..bundles.tables import request_key
from ..call_threads import awaited
from ..clock import Clock, SystemClock
from ..config.cache_freshness import (
    MAX_SIZE,
    checked_settings,
    foreign_setting,
    freshness_settings,
)
from ..data_manager import DataManager
from ..errors import LockTimeoutError, NoDataAvailableError, QueryError, StorageError
from ..forks import renew_after_fork
from ..model.caller import called_from, warn_user, working_for
from ..model.timeframe import Timeframe
from .base import DataSource, DataSourceMetadata
from .frame_cache import CachedFrame, FrameCache, KeyTurn
from .freshness import FreshnessPolicyFactory, source_name
from .ingest import PATIENCE_S, BundlePath, SourceQuestion, fetched, ingested
from .newest_bars import answered_apart, continued, first_due, frame_state, kept_back
from .vendor_source import SourceAnswer, VendorDataSource

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from ..disk.files import Disk

__all__ = ["CachedDataSource"]

T = TypeVar("T")

_MAX_BYTES = 10 << 30
_SHORT = 16
_PROCESS, _numbers = secrets.token_hex(8), count()


class CachedDataSource(DataSource):
    """A source whose bars are kept, so that what is final is asked for once. Thread-safe.

    Over a source of ours it is the data manager behind four methods: bars lie in its store, and no files
    are made here. The freshness policy decides whether bars that are not final yet may be asked for
    again: those before them are fetched where they lack, and never again, whatever it says. Without a
    policy, and where the configuration names none, the data manager's own rule stands: a bar is asked for
    when it is due.

    Over a program's own source it keeps the frames, a file each, in a folder. One caller asks for a frame,
    the others wait, in all threads and processes. Where the calendar is known (``<source>.calendar`` of
    the configuration, or the policy's) a frame whose bars were all final when it came stands, and of others
    only the bars from the first one that was not final, or that lacks, are asked for again; else the policy
    decides about the whole frame. Without one :class:`.FreshnessPolicyFactory` chooses.

    Args:
        adapter: the source: one of ours, or an object with ``fetch(symbols, start, end, frequency)``.
        cache_dir: the folder of frames; None: beside the cache of bars, in the user's cache folder.
        config: over ``./config/cache_freshness.yaml``: keys as of :meth:`.FreshnessPolicyFactory.create`,
            and ``cache.max_size_bytes``, 10 GiB: beyond it the least used frames are dropped.
        freshness_policy: an object with ``is_fresh``.
        clock: the time of a program's own source; None is the system's.
        disk: writes the frames; None: permissions by the umask.

    Attributes:
        adapter, freshness_policy: as passed.
        name: of the source.
        cache_dir: the folder of frames; None over a source of ours.
        config: what holds.

    Raises:
        QueryError: the source has no ``fetch``, is cached already, or the policy has no ``is_fresh``.
        ConfigError: a setting is none, or the folder lies in the cache of bars, which drops what it can
            fetch again.

    Warns:
        UserWarning: a folder or size was given, and the source is one of ours.
    """

    def __init__(
        self,
        adapter: Any,
        cache_dir: str | PathLike[str] | None = None,
        config: Mapping[str, Any] | None = None,
        freshness_policy: Any = None,
        *,
        clock: Clock | None = None,
        disk: Disk | None = None,
    ) -> None:
        if isinstance(adapter, CachedDataSource) or not callable(getattr(adapter, "fetch", None)):
            what = "is cached already" if hasattr(adapter, "fetch") else "has no fetch"
            kind = type(adapter).__name__
            raise QueryError(f"adapter of type {kind} {what}", hint="such as YFinanceDataSource()")
        decide = getattr(freshness_policy, "is_fresh", None)
        if freshness_policy is not None and not callable(decide):
            kind = type(freshness_policy).__name__
            raise QueryError(f"freshness_policy of type {kind} has no is_fresh")
        self.adapter, self.freshness_policy = adapter, freshness_policy
        own = checked_settings(config)
        self.config = freshness_settings() | own
        self._ours = adapter if isinstance(adapter, VendorDataSource) else None
        self._clock = clock or SystemClock()
        self.name = source_name(adapter)
        self._identity = _identity(adapter, self.name)
        self.cache_dir = None
        if self._ours is None:
            path = foreign_setting(cache_dir)
            self.cache_dir = outside_of_the_cache(path, f"cache_dir {path}")
            size = int(self.config.get(MAX_SIZE, _MAX_BYTES))
            self._frames = FrameCache(self.cache_dir, size, disk)
        elif cache_dir is not None or MAX_SIZE in own:
            warn_user(
                f"no effect of {'cache_dir' if cache_dir is not None else MAX_SIZE}: bars of "
                f"{self._ours.name} lie in the store of the data manager, which has a limit of its own"
            )
        self._policies = dict[str, Any]()
        self._hits = self._misses = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Have a lock of its own in a forked child, where nothing is under way."""
        self._guard = threading.Lock()
        self._flights = dict[str, Future[Any]]()
        self._tasks = set[asyncio.Task[Any]]()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}>"

    @property
    def manager(self) -> DataManager | None:
        """The data manager of a source of ours, which a portal reads by its own rule; else None."""
        return self._ours.manager if self._ours is not None else None

    @property
    def provider(self) -> str | None:
        """The vendor of a source of ours; else None."""
        return self._ours.provider if self._ours is not None else None

    @property
    def adjustment(self) -> str | None:
        """Of the prices of a source of ours; else None."""
        return self._ours.adjustment if self._ours is not None else None

    # --- bars ------------------------------------------------------------------------------

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive: kept ones, others asked for now.

        The loop goes on meanwhile. What comes after the call was cancelled is kept.

        Args:
            symbols, start, end, frequency: as of :meth:`.DataSource.fetch`.

        Returns:
            A frame as :meth:`.DataSource.fetch` returns it; of a program's own source with its values and
            further columns as they came, rows by symbol in the order in which they were asked for first.

        Raises:
            NoDataAvailableError: there is no bar of any symbol.
            DataError: the source failed, or gave what cannot be bars.
            QueryError: an argument cannot be understood (a ``ValueError``).
            LockTimeoutError: another process asks for the same, and takes longer than a minute.

        Warns:
            IncompleteDataWarning: bars of ours lack.
            UserWarning: a frame cannot be kept, or has rows that were not asked for.
        """
        if self._ours is not None:
            work = partial(self._answer, self._ours, symbols, start, end, frequency)
            answer = await awaited(_for_caller(work))
            self._count(answer.is_hit)
            return answer.frame
        question = SourceQuestion.of(symbols, start, end, frequency)
        frame, is_hit = await self._shared(question)
        self._count(is_hit)
        return frame

    async def warm_cache(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> None:
        """Fetch what lacks, for later calls; arguments, errors and warnings as of :meth:`fetch`."""
        await self.fetch(symbols, start, end, frequency)

    def ingest_to_bundle(  # type: ignore[override] # may be awaited, and need not
        self,
        bundle_name: str,
        symbols: list[str],
        start: pd.Timestamp,
        end: pd.Timestamp,
        frequency: str,
        **options: Any,
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write the bars that :meth:`fetch` returns into a bundle, and return the bundle's folder.

        Where a loop runs in this thread it is a task, which begins at once; both may be awaited.

        Args:
            bundle_name: of the bundle; one that this source has written is widened.
            symbols, start, end, frequency: as of :meth:`fetch`.
            **options: ``folder``: of bundles; None: the configured one.

        Raises:
            BundleError: the bundle is of another source.
            DataError: as of :meth:`fetch`; nothing is written.
        """
        if self._ours is not None:
            return self._ours.ingest_to_bundle(
                bundle_name, symbols, start, end, frequency, **options
            )
        question = SourceQuestion.of(symbols, start, end, frequency)
        work = ingested(self, bundle_name, question, **options)
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            return asyncio.run(work)
        self._tasks.add(task)  # a loop keeps no reference to it
        task.add_done_callback(self._tasks.discard)
        return task

    def get_metadata(self) -> DataSourceMetadata:
        """Return what the source says of itself."""
        metadata: DataSourceMetadata | None = self.adapter.get_metadata()
        return metadata or DataSourceMetadata(self.name)

    def supports_live(self) -> bool:
        """Tell whether the source also streams."""
        return bool(self.adapter.supports_live())

    @property
    def statistics(self) -> dict[str, float]:
        """``hit_count`` and ``miss_count`` of this object, ``hit_rate`` of 100: a hit asks nothing."""
        with self._guard:
            total = self._hits + self._misses
            rate = 100.0 * self._hits / total if total else 0.0
            return {"hit_count": self._hits, "miss_count": self._misses, "hit_rate": rate}

    def _count(self, is_hit: bool) -> None:
        with self._guard:
            self._hits, self._misses = self._hits + is_hit, self._misses + (not is_hit)

    # --- keys ------------------------------------------------------------------------------

    def generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the first 16 digits of the key of a question, which name its folder.

        Raises:
            QueryError: an argument cannot be understood.
        """
        return self._generate_cache_key(symbols, start, end, frequency)[:_SHORT]

    def _generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the SHA256 of source, its arguments, symbols in any order, full times, and timeframe."""
        return self._key(SourceQuestion.of(symbols, start, end, frequency))

    def _key(self, question: SourceQuestion) -> str:
        bounds = _instant(question.start), _instant(question.end)
        return request_key(self._identity, question.symbols, *bounds, question.timeframe.label)

    def find_cached_bundle(self, cache_key: str) -> dict[str, Any] | None:
        """Return what is recorded of a frame by its key, of 64 digits or the first 16; None without one.

        Returns:
            ``cache_key``, ``bundle_name``, ``bundle_path``, ``source``, ``symbols``, ``start``, ``end``,
            ``frequency``, ``fetch_timestamp`` and ``last_accessed`` (UTC seconds), ``size_bytes``,
            ``row_count`` and others.

        Raises:
            QueryError: it is no key.
            StorageError: the folder cannot be read.
        """
        return None if self._ours is not None else self._frames.metadata(cache_key)

    # --- sources of ours ---------------------------------------------------------------------

    def _policy(self, timeframe: Timeframe) -> Any:
        """Return the policy for a timeframe; None: the data manager's own rule."""
        if self.freshness_policy is not None:
            return self.freshness_policy
        if self._ours is not None and not self._is_configured(self._ours.name):
            return None
        label = timeframe.label
        if label not in self._policies:
            create = FreshnessPolicyFactory.create
            self._policies[label] = create(self.adapter, label, self.config)
        return self._policies[label]

    def _is_configured(self, name: str) -> bool:
        return any(key.startswith(f"{name}.") for key in self.config)

    def _answer(
        self, source: VendorDataSource, symbols: Sequence[str], *question: Any
    ) -> SourceAnswer:
        """Return what a source of ours answers; bars that a policy keeps back are not asked for."""
        timeframe = Timeframe.parse(question[-1])
        policy = self._policy(timeframe)
        kept = {} if policy is None else kept_back(source, policy, symbols, *question)
        if not kept:
            return source.answer(symbols, *question, refresh=False)
        return answered_apart(source, symbols, kept, *question)

    # --- sources of programs -----------------------------------------------------------------

    async def _shared(self, question: SourceQuestion) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether nothing was asked for it: by one caller for all that want it."""
        key = self._key(question)
        while True:
            with self._guard:
                flight = self._flights.get(key)
                own = Future[Any]()
                own.set_running_or_notify_cancel()  # a caller that gives up cancels it for no other
                self._flights.setdefault(key, own)
            if flight is None:
                break
            frame = await asyncio.wrap_future(flight)
            if frame is not None:  # else its caller was cancelled
                return frame, True
        try:
            frame, is_hit = await self._alone(key, question)
        except BaseException as error:
            self._flights.pop(key, None)
            if isinstance(error, Exception):
                own.set_exception(error)
            else:
                own.set_result(None)
            raise
        self._flights.pop(key, None)
        own.set_result(frame)
        return frame, is_hit

    async def _alone(self, key: str, question: SourceQuestion) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether nothing was asked for it; other processes wait."""
        turn = KeyTurn(partial(self._frames.lock, key))
        try:
            try:
                look = partial(turn.run, partial(self._look, key, question))
                entry, due = await awaited(look)
            except LockTimeoutError:
                raise
            except StorageError as error:
                warn_user(f"frames are not kept in {self.cache_dir}: {error}")
                return await self._fetched(question), False
            if entry is not None and due is None:
                return entry.frame, True
            now = self._clock.now_ms()
            frame = await self._asked(question, entry, due)
            if entry is None or frame is not entry.frame:
                keep = partial(turn.run, partial(self._keep, key, question, frame, now))
                if refusal := await awaited(keep):
                    warn_user(f"{question} are not kept in {self.cache_dir}: {refusal}")
            return frame, False
        finally:
            turn.end()

    def _look(
        self, key: str, question: SourceQuestion
    ) -> tuple[CachedFrame | None, pd.Timestamp | None]:
        """Return the frame that is kept, and from when on bars are to be asked for."""
        entry = self._frames.get(key)
        if entry is None:
            return None, None
        calendar, policy = self._calendar(question.timeframe), self._policy(question.timeframe)
        return entry, first_due(entry.metadata, question, policy, calendar, self._clock.now_ms())

    async def _asked(
        self, question: SourceQuestion, entry: CachedFrame | None, due: pd.Timestamp | None
    ) -> pl.DataFrame:
        """Return what the source gives, from a time on where the frame before it is kept."""
        if entry is None or due is None or due == question.start:
            return await self._fetched(question)
        try:
            newer = await self._fetched(question._replace(start=due))
        except NoDataAvailableError:
            return entry.frame
        whole = await awaited(partial(continued, entry.frame, newer, due))
        return await self._fetched(question) if whole is None else whole

    async def _fetched(self, question: SourceQuestion) -> pl.DataFrame:
        """Return what the source gives, checked."""
        return await fetched(self.adapter, question, PATIENCE_S)

    def _keep(
        self, key: str, question: SourceQuestion, frame: pl.DataFrame, now: int
    ) -> StorageError | None:
        """Keep a frame that was asked for at a time; return the error where that cannot be."""
        calendar = self._calendar(question.timeframe)
        metadata = {
            "source": self.name,
            "symbols": list(question.symbols),
            "start": _instant(question.start),
            "end": _instant(question.end),
            "frequency": question.timeframe.label,
            "fetch_timestamp": now / 1000,
        }
        try:
            self._frames.put(key, frame, metadata | frame_state(frame, question, calendar, now))
        except StorageError as error:
            return error
        return None

    def _calendar(self, timeframe: Timeframe) -> Any:
        """Return the calendar of a program's own source, as it was named; None: it is not known."""
        own = getattr(self._policy(timeframe), "calendar", None)
        return self.config.get(f"{self.name}.calendar") if own is None else own


def _identity(adapter: Any, name: str) -> str:
    """Return what tells the frames of a source from those of others: its class and its arguments."""
    if isinstance(adapter, VendorDataSource):
        return name
    metadata = adapter.get_metadata() if callable(getattr(adapter, "get_metadata", None)) else None
    address = str(getattr(metadata, "source_url", ""))
    return json.dumps([name, address, _named(type(adapter)), _arguments(adapter)])


def _arguments(adapter: Any) -> list[Any]:
    """Return the arguments of a source, by name, as plain values."""
    kind = type(adapter)
    try:
        signature = inspect.signature(kind)
        if isinstance(adapter, DataSource):
            args, options = vars(adapter)["_arguments"]
            bound = signature.bind(*args, **options)
            bound.apply_defaults()
            given = dict(bound.arguments)
        else:  # kept under their names, as most classes do
            own = getattr(adapter, "__dict__", {})
            names = {n: n if n in own else f"_{n}" for n in signature.parameters}
            given = {name: own[attribute] for name, attribute in names.items()}
    except (KeyError, TypeError, ValueError):
        return [_alone(adapter)]
    return sorted([name, _plain(value)] for name, value in given.items())


def _plain(value: Any) -> Any:
    """Return a value of a source's argument as JSON has it, two that differ never alike."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return ["map", *sorted(([_plain(k), _plain(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(one) for one in value]
        ordered = sorted(items, key=repr) if isinstance(value, set | frozenset) else items
        return [type(value).__name__, *ordered]
    if isinstance(value, type) or inspect.isfunction(value):
        is_found = "<" not in value.__qualname__  # a lambda is none
        return ["code", _named(value)] if is_found else _alone(value)
    shown = repr(value)
    return _alone(value) if " at 0x" in shown else [_named(type(value)), shown]


def _named(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _alone(value: Any) -> str:
    """Return what no other object has: what cannot be described shares its frames with none."""
    return f"{_named(type(value))} {next(_numbers)} {_PROCESS}"


def _instant(moment: pd.Timestamp) -> str:
    """Return a time in UTC, in full; naive ones are UTC."""
    plain = moment if moment.tzinfo is None else moment.tz_convert(UTC).tz_localize(None)
    return str(plain.isoformat())


def _for_caller(work: Callable[[], T]) -> Callable[[], T]:
    """Return work for a thread, whose warnings name the line that awaits it."""
    place = called_from()

    def run() -> T:
        """Work."""
        with working_for(place):
            return work()

    return run
