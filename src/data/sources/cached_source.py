"""Sources that cache bars: in the store for packaged sources, as frames for custom sources."""

from __future__ import annotations

import asyncio
import inspect
import json
import secrets
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import fields, is_dataclass
from datetime import UTC, date, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import partial
from itertools import count
from os import PathLike
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np

from ..bundles.folder import outside_of_the_cache
from ..bundles.tables import request_key
from ..call_threads import awaited
from ..clock import Clock, SystemClock
from ..data_manager import DataManager
from ..errors import LockTimeoutError, NoDataAvailableError, QueryError, StorageError
from ..forks import renew_after_fork
from ..model.caller import called_from, warn_user, working_for
from ..model.timeframe import Timeframe
from .base import DataSource, DataSourceMetadata
from .frame_cache import CachedFrame, FrameCache, KeyTurn
from .freshness import FreshnessPolicyFactory, source_name
from .freshness_settings import (
    MAX_SIZE,
    checked_settings,
    foreign_setting,
    freshness_settings,
)
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
# Types whose ``repr`` shows the whole value.
_SHOWN_WHOLE = (
    bytes,
    complex,
    range,
    date,
    time,
    timedelta,
    Decimal,
    Fraction,
    PurePath,
    UUID,
    ZoneInfo,
    Enum,
    np.generic,
)
_PROCESS, _numbers = secrets.token_hex(8), count()


class CachedDataSource(DataSource):
    """A source whose bars are cached, so that final bars are requested only once. Thread-safe.

    If the source is a packaged one, the four methods call the data manager: bars are in its store,
    and no files are created here. The freshness policy decides whether bars that are not final yet
    may be requested again. Earlier bars are fetched if they are missing; once stored, they are
    never fetched again, whatever the policy says. If neither an argument nor the configuration
    names a policy, the data manager's own rule applies: a bar is requested when it is due.

    If the source is a custom one, its frames are cached in a folder, one file each. One caller
    requests a frame while the others wait, across all threads and processes. If the calendar is
    known (``<source>.calendar`` in the configuration, or the policy's), a frame whose bars were all
    final when it arrived is kept permanently. For other frames, bars are requested again from the
    first one that was missing or not final. If the calendar is unknown, the policy decides about
    the whole frame. Without a policy, :class:`.FreshnessPolicyFactory` chooses one.

    Args:
        adapter: A packaged source, or an object with ``fetch(symbols, start, end,
            frequency)``.
        cache_dir: Folder of frames; None: next to the cache of bars, in the user's cache folder.
        config: Settings that override ``./config/cache_freshness.yaml``: keys as in
            :meth:`.FreshnessPolicyFactory.create`, and ``cache.max_size_bytes``, 10 GiB by default:
            above this the least recently used frames are dropped.
        freshness_policy: Object with ``is_fresh``.
        clock: Clock for a custom source; None is the system clock.
        disk: File access for frames; None sets permissions according to the umask.

    Attributes:
        adapter, freshness_policy: See the arguments.
        name: Name of the source.
        cache_dir: Folder of frames; None for packaged sources.
        config: Settings in effect.

    Raises:
        QueryError: The source has no ``fetch`` or is cached already, or the policy has no
            ``is_fresh``.
        ConfigError: A setting is invalid, or the folder is inside the cache of bars, which may
            delete its content.

    Warns:
        UserWarning: A folder or size is given, and the source is a packaged one.
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
            raise QueryError(f"freshness_policy of type {kind} has no method is_fresh")
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
                f"{'cache_dir' if cache_dir is not None else MAX_SIZE} has no effect: bars of "
                f"{self._ours.name} are stored by the data manager, which has its own limit"
            )
        self._policies = dict[str, Any]()
        self._hits = self._misses = 0
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child, where no request is in progress."""
        self._guard = threading.Lock()
        self._flights = dict[str, Future[Any]]()
        self._tasks = set[asyncio.Task[Any]]()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.name}>"

    @property
    def manager(self) -> DataManager | None:
        """The data manager of the packaged source, from which a portal reads directly.

        None if the source is a custom one.
        """
        return self._ours.manager if self._ours is not None else None

    @property
    def provider(self) -> str | None:
        """The vendor of the packaged source, or None if the source is a custom one."""
        return self._ours.provider if self._ours is not None else None

    @property
    def adjustment(self) -> str | None:
        """The price adjustment of the packaged source, or None if the source is a custom one."""
        return self._ours.adjustment if self._ours is not None else None

    # --- bars ------------------------------------------------------------------------------

    async def fetch(
        self, symbols: list[str], start: pd.Timestamp, end: pd.Timestamp, frequency: str
    ) -> pl.DataFrame:
        """Return cached or newly requested bars from ``start`` to ``end``, both inclusive.

        The event loop is not blocked. Bars that arrive after the call was cancelled are cached,
        too.

        Args:
            symbols, start, end, frequency: See :meth:`.DataSource.fetch`.

        Returns:
            A frame as returned by :meth:`.DataSource.fetch`. A frame from a custom source
            has its original values and further columns, with rows by symbol in the order in which
            the symbols were first requested.

        Raises:
            NoDataAvailableError: No symbol has a bar.
            DataError: The source failed, or returned data that cannot be bars.
            QueryError: An argument is invalid (a ``ValueError``).
            LockTimeoutError: Another process has been requesting the same for more than a minute.

        Warns:
            IncompleteDataWarning: Bars from the packaged source are missing.
            UserWarning: A frame cannot be kept, or has rows that were not requested.
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
        """Fetch missing bars for later calls; see :meth:`fetch`."""
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
        """Write the bars that :meth:`fetch` returns to a bundle, and return the bundle's folder.

        If an event loop is running in this thread, the result is a task, which begins immediately.
        Folder and task can both be awaited.

        Args:
            bundle_name: Name of the bundle; bars are added to an existing bundle from this source.
            symbols, start, end, frequency: See :meth:`fetch`.
            **options: ``folder``: folder of bundles; None: the configured one.

        Raises:
            BundleError: The bundle belongs to another source.
            DataError: See :meth:`fetch`; nothing is written.
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
        self._tasks.add(task)  # an event loop keeps no strong reference to it
        task.add_done_callback(self._tasks.discard)
        return task

    def get_metadata(self) -> DataSourceMetadata:
        """Return the source's description of itself."""
        metadata: DataSourceMetadata | None = self.adapter.get_metadata()
        return metadata or DataSourceMetadata(self.name)

    def supports_live(self) -> bool:
        """Return whether the source also streams."""
        return bool(self.adapter.supports_live())

    @property
    def statistics(self) -> dict[str, float]:
        """The ``hit_count``, ``miss_count`` and ``hit_rate`` (in percent) of this object.

        A hit is a call that requests nothing from the source.
        """
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
        """Return the first 16 digits of a request's key, which are part of its folder's name.

        Raises:
            QueryError: An argument is invalid.
        """
        return self._generate_cache_key(symbols, start, end, frequency)[:_SHORT]

    def _generate_cache_key(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> str:
        """Return the key of a request.

        The key is the SHA256 of the source, its arguments, the symbols regardless of their order,
        the full times and the timeframe.
        """
        return self._key(SourceQuestion.of(symbols, start, end, frequency))

    def _key(self, question: SourceQuestion) -> str:
        bounds = _instant(question.start), _instant(question.end)
        return request_key(self._identity, question.symbols, *bounds, question.timeframe.label)

    def find_cached_bundle(self, cache_key: str) -> dict[str, Any] | None:
        """Return the metadata of a frame by its key (64 digits or the first 16), or None.

        Returns:
            ``cache_key``, ``bundle_name``, ``bundle_path``, ``source``, ``symbols``, ``start``,
            ``end``, ``frequency``, ``fetch_timestamp`` and ``last_accessed`` (UTC seconds),
            ``size_bytes``, ``row_count`` and others.

        Raises:
            QueryError: The string is not a key.
            StorageError: The folder cannot be read.
        """
        return None if self._ours is not None else self._frames.metadata(cache_key)

    # --- packaged sources ---------------------------------------------------------------------

    def _policy(self, timeframe: Timeframe) -> Any:
        """Return the policy for a timeframe; None means the data manager's own rule."""
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
        """Return the answer from a packaged source, without requests that a policy disallows."""
        timeframe = Timeframe.parse(question[-1])
        policy = self._policy(timeframe)
        kept = {} if policy is None else kept_back(source, policy, symbols, *question)
        if not kept:
            return source.answer(symbols, *question, refresh=False)
        return answered_apart(source, symbols, kept, *question)

    # --- custom sources ---------------------------------------------------------------

    async def _shared(self, question: SourceQuestion) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether it was cached; one caller requests it for all callers."""
        key = self._key(question)
        while True:
            with self._guard:
                flight = self._flights.get(key)
                own = Future[Any]()
                own.set_running_or_notify_cancel()  # one caller cannot cancel it for others
                self._flights.setdefault(key, own)
            if flight is None:
                break
            frame = await asyncio.wrap_future(flight)
            if frame is not None:  # otherwise its caller was cancelled
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
        """Return a frame, and whether it was cached; other processes wait meanwhile."""
        turn = KeyTurn(partial(self._frames.lock, key))
        try:
            try:
                look = partial(turn.run, partial(self._look, key, question))
                entry, due = await awaited(look)
            except LockTimeoutError:
                raise
            except StorageError as error:
                warn_user(f"frames cannot be stored in {self.cache_dir}: {error}")
                return await self._fetched(question), False
            if entry is not None and due is None:
                return entry.frame, True
            now = self._clock.now_ms()
            frame = await self._asked(question, entry, due)
            if entry is None or frame is not entry.frame:
                keep = partial(turn.run, partial(self._keep, key, question, frame, now))
                if refusal := await awaited(keep):
                    warn_user(f"{question} were not stored in {self.cache_dir}: {refusal}")
            return frame, False
        finally:
            turn.end()

    def _look(
        self, key: str, question: SourceQuestion
    ) -> tuple[CachedFrame | None, pd.Timestamp | None]:
        """Return the cached frame (or None), and the time from which bars must be requested."""
        entry = self._frames.get(key)
        if entry is None:
            return None, None
        calendar, policy = self._calendar(question.timeframe), self._policy(question.timeframe)
        return entry, first_due(entry.metadata, question, policy, calendar, self._clock.now_ms())

    async def _asked(
        self, question: SourceQuestion, entry: CachedFrame | None, due: pd.Timestamp | None
    ) -> pl.DataFrame:
        """Return the frame, requesting only bars from ``due`` on if an earlier part is cached."""
        if entry is None or due is None or due == question.start:
            return await self._fetched(question)
        try:
            newer = await self._fetched(question._replace(start=due))
        except NoDataAvailableError:
            return entry.frame
        whole = await awaited(partial(continued, entry.frame, newer, due))
        return await self._fetched(question) if whole is None else whole

    async def _fetched(self, question: SourceQuestion) -> pl.DataFrame:
        """Return the source's frame, checked."""
        return await fetched(self.adapter, question, PATIENCE_S)

    def _keep(
        self, key: str, question: SourceQuestion, frame: pl.DataFrame, now: int
    ) -> StorageError | None:
        """Cache a frame that was requested at ``now``; return the error if that fails."""
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
        """Return the calendar of a custom source, as configured; None if it is unknown."""
        own = getattr(self._policy(timeframe), "calendar", None)
        return self.config.get(f"{self.name}.calendar") if own is None else own


def _identity(adapter: Any, name: str) -> str:
    """Return a string that identifies a source's frames by the source's class and arguments."""
    if isinstance(adapter, VendorDataSource):
        return name
    metadata = adapter.get_metadata() if callable(getattr(adapter, "get_metadata", None)) else None
    address = str(getattr(metadata, "source_url", ""))
    return json.dumps([name, address, _code_name(type(adapter)), _arguments(adapter)])


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
        else:  # attributes with the names of the arguments, as in most classes
            own = getattr(adapter, "__dict__", {})
            names = {n: n if n in own else f"_{n}" for n in signature.parameters}
            given = {name: own[attribute] for name, attribute in names.items()}
        return sorted([name, _plain(value)] for name, value in given.items())
    except (KeyError, TypeError, ValueError, RecursionError):
        return [_alone(adapter)]


def _plain(value: Any) -> Any:
    """Return the JSON form of an argument's value; different values never look the same.

    A string from ``repr`` is used only if it is complete; the strings of frames, arrays and others
    leave values out.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        parts = {one.name: getattr(value, one.name) for one in fields(value)}
        return [_named(type(value)), _plain(parts)]
    if isinstance(value, Mapping):
        return ["map", *sorted(([_plain(k), _plain(v)] for k, v in value.items()), key=repr)]
    if isinstance(value, list | tuple | set | frozenset):
        items = [_plain(one) for one in value]
        ordered = sorted(items, key=repr) if isinstance(value, set | frozenset) else items
        return [type(value).__name__, *ordered]
    if isinstance(value, type) or inspect.isfunction(value):
        return ["code", _code_name(value)]
    return [_named(type(value)), repr(value)] if isinstance(value, _SHOWN_WHOLE) else _alone(value)


def _code_name(code: Any) -> str:
    """Return a string that identifies a class or function, whichever program imports it."""
    if "<" in code.__qualname__:  # a lambda, or a closure that differs with each call
        return _alone(code)
    if code.__module__ != "__main__":
        return _named(code)
    script = getattr(sys.modules["__main__"], "__file__", None)  # every script is "__main__"
    return f"{Path(script).resolve()} {_named(code)}" if script else _alone(code)


def _named(kind: Any) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _alone(value: Any) -> str:
    """Return a unique string, so that an object that cannot be described shares no frames."""
    return f"{_named(type(value))} {next(_numbers)} {_PROCESS}"


def _instant(moment: pd.Timestamp) -> str:
    """Return a time in UTC, in full; naive times are UTC."""
    plain = moment if moment.tzinfo is None else moment.tz_convert(UTC).tz_localize(None)
    return str(plain.isoformat())


def _for_caller(work: Callable[[], T]) -> Callable[[], T]:
    """Return work for a thread whose warnings name the line that awaits it."""
    place = called_from()

    def run() -> T:
        """Do the work."""
        with working_for(place):
            return work()

    return run
