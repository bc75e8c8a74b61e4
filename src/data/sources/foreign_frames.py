"""The bars of a custom source, cached as frames in a folder; one caller requests a frame for all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..call_threads import awaited
from ..clock import Clock
from ..errors import LockTimeoutError, NoDataAvailableError, StorageError
from ..forks import renew_after_fork
from ..model.caller import warn_user
from ..model.timeframe import Timeframe
from ..polars.frame_cache import CachedFrame, FrameCache, KeyTurn
from ..polars.identity import identity_of
from .base import DataSource
from .foreign_source import PATIENCE_S, BundlePath, SourceQuestion, fetched, ingested
from .freshness_settings import MAX_SIZE
from .newest_bars import continued, first_due, frame_state, question_from

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from ..disk.files import Disk

__all__ = ["ForeignFrames"]

_MAX_BYTES = 10 << 30


class ForeignFrames:
    """The cached frames of a custom source. Thread-safe, and can be shared by processes.

    Args:
        adapter, name: The source and its name.
        folder, disk: See :class:`.FrameCache`.
        config: Settings: the source's calendar, and the cache's maximum size in bytes.
        policy: Function that returns the freshness policy for a timeframe.
        clock: Source of the current time.

    Attributes:
        cache_dir: Folder of the frames.
        manager, provider, adjustment: None, because a custom source has none of these.
    """

    manager = provider = adjustment = None

    def __init__(
        self,
        adapter: Any,
        name: str,
        folder: Path,
        config: Mapping[str, Any],
        policy: Callable[[Timeframe], Any],
        clock: Clock,
        disk: Disk | None,
    ) -> None:
        self._adapter, self._name, self._identity = adapter, name, identity_of(adapter, name)
        max_bytes = int(config.get(MAX_SIZE, _MAX_BYTES))
        self.cache_dir, self._frames = folder, FrameCache(folder, max_bytes, disk)
        self._config, self._policy, self._clock = config, policy, clock
        self.after_fork()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Create a new lock in a forked child, where no request is in progress."""
        self._guard = threading.Lock()
        self._flights = dict[str, Future[Any]]()
        self._tasks = set[asyncio.Task[Any]]()

    def key(self, question: SourceQuestion) -> str:
        """Return the cache key for a request, as 64 hex digits."""
        return question.key(self._identity)

    def metadata(self, key: str) -> dict[str, Any] | None:
        """Return the metadata of a cached frame; see :meth:`.FrameCache.metadata`."""
        return self._frames.metadata(key)

    def ingest(
        self,
        face: DataSource,
        bundle_name: str,
        symbols: list[str],
        start: Any,
        end: Any,
        frequency: str,
        **options: Any,
    ) -> BundlePath | asyncio.Task[BundlePath]:
        """Write the bars that ``face`` fetches to a bundle; see :func:`.foreign_source.ingested`."""
        question = SourceQuestion.of(symbols, start, end, frequency)
        work = ingested(face, bundle_name, question, **options)
        try:
            task = asyncio.get_running_loop().create_task(work)
        except RuntimeError:
            return asyncio.run(work)
        self._tasks.add(task)  # an event loop keeps no strong reference to it
        task.add_done_callback(self._tasks.discard)
        return task

    async def answer(
        self, symbols: Sequence[str], start: Any, end: Any, frequency: str
    ) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether it was cached; one caller requests it for all callers."""
        question = SourceQuestion.of(symbols, start, end, frequency)
        key = self.key(question)
        while True:
            with self._guard:
                flight = self._flights.get(key)
                future = Future[Any]()
                future.set_running_or_notify_cancel()  # one caller cannot cancel it for others
                self._flights.setdefault(key, future)
            if flight is None:
                break
            frame = await asyncio.wrap_future(flight)
            if frame is not None:  # otherwise its caller was cancelled
                return frame, True
        try:
            frame, is_hit = await self._read_locked(key, question)
        except BaseException as error:  # whatever it is, callers that wait must not wait forever
            self._flights.pop(key, None)
            if isinstance(error, Exception):
                future.set_exception(error)
            else:
                future.set_result(None)
            raise
        self._flights.pop(key, None)
        future.set_result(frame)
        return frame, is_hit

    async def _read_locked(self, key: str, question: SourceQuestion) -> tuple[pl.DataFrame, bool]:
        """Return a frame, and whether it was cached, while holding the lock that other processes wait for."""
        turn = KeyTurn(partial(self._frames.lock, key))
        try:
            try:
                look = partial(turn.run, partial(self._look_up, key, question))
                entry, due = await awaited(look)
            except LockTimeoutError:
                raise
            except StorageError as error:
                warn_user(f"frames cannot be stored in {self.cache_dir}: {error}")
                return await self._fetch_frame(question), False
            if entry is not None and due is None:
                return entry.frame, True
            now_ms = self._clock.now_ms()
            frame = await self._request_from(question, entry, due)
            if entry is None or frame is not entry.frame:
                keep = partial(turn.run, partial(self._keep, key, question, frame, now_ms))
                if refusal := await awaited(keep):
                    warn_user(f"{question} were not stored in {self.cache_dir}: {refusal}")
            return frame, False
        finally:
            turn.end()

    def _look_up(
        self, key: str, question: SourceQuestion
    ) -> tuple[CachedFrame | None, pd.Timestamp | None]:
        """Return the cached frame (or None), and the time from which bars must be requested (or None)."""
        entry = self._frames.get(key)
        if entry is None:
            return None, None
        calendar, policy = self._calendar(question.timeframe), self._policy(question.timeframe)
        return entry, first_due(entry.metadata, question, policy, calendar, self._clock.now_ms())

    async def _request_from(
        self, question: SourceQuestion, entry: CachedFrame | None, due: pd.Timestamp | None
    ) -> pl.DataFrame:
        """Return the frame, requesting only bars from ``due`` on if an earlier part is cached.

        The last final bars are requested as well: if their prices have changed, so is the whole frame.
        """
        if entry is None or due is None or due == question.start:
            return await self._fetch_frame(question)
        newest = question_from(entry.frame, due, question)
        try:
            newer = await self._fetch_frame(newest)
        except NoDataAvailableError:
            return entry.frame
        if newest.start == question.start:
            return newer
        whole = await awaited(partial(continued, entry.frame, newer, due, question))
        return await self._fetch_frame(question) if whole is None else whole

    async def _fetch_frame(self, question: SourceQuestion) -> pl.DataFrame:
        """Request a frame from the source, and return it after checking it."""
        return await fetched(self._adapter, question, PATIENCE_S)

    def _keep(
        self, key: str, question: SourceQuestion, frame: pl.DataFrame, now: int
    ) -> StorageError | None:
        """Cache a frame that was requested at ``now``; return the error if that fails."""
        calendar = self._calendar(question.timeframe)
        metadata = {
            "source": self._name,
            "symbols": list(question.symbols),
            "start": question.bounds[0],
            "end": question.bounds[1],
            "frequency": question.timeframe.label,
            "fetch_timestamp": now / 1000,
        }
        try:
            self._frames.put(key, frame, metadata | frame_state(frame, question, calendar, now))
        except StorageError as error:
            return error
        return None

    def _calendar(self, timeframe: Timeframe) -> Any:
        """Return the calendar configured for the custom source; None if it is unknown."""
        calendar = getattr(self._policy(timeframe), "calendar", None)
        return self._config.get(f"{self._name}.calendar") if calendar is None else calendar
