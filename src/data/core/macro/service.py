"""Answers questions for macro series from a file of each series' revisions, or else from FRED."""

from __future__ import annotations

import logging
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ...errors import (
    AllProvidersFailedError,
    Attempt,
    BadRangeError,
    CacheError,
    DataError,
    IncompleteDataWarning,
    NoDataError,
    NoProviderError,
    QueryError,
)
from ..cache.format.gzip_member import inflated, zipped
from ..calendars.localtime import local_date
from ..calendars.ranges import resolve_day, resolve_last_day
from ..clock import Clock
from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..model.answer.provenance import ATTRS_KEY, freeze
from ..model.request.query import check_switches
from ..model.time.instant import HOUR_MS, date_of, iso
from ..model.words.caller import warn_user
from ..net.calls.deadline import run_call, seconds_of
from ..net.limits.locks import SeriesLocks
from ..observability.logs import Subject, running
from ..vendors.factory import downloader_for
from ..vendors.fred.series import FredDataDownloader, windows
from .history import History, Revision, as_text, chosen, extended, of_text

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

VENDOR = "fred"
FOLDER = "_series"
# FRED's days are days in St. Louis.
_ZONE = ZoneInfo("America/Chicago")
# Time for which the latest publications are not requested again.
_FRESH_MS = HOUR_MS
_NAME = re.compile(r"[A-Z0-9_]{1,64}")
_LOCK_S = 30.0


@dataclass(frozen=True)
class _Question:
    """A validated question.

    Attributes:
        name: FRED's ID of the series.
        start, end: First and last day of the periods, both inclusive; None if unbounded.
        last_day: Day, in St. Louis, by which values had to be public.
        refresh: Whether to fetch again even if the stored values suffice.
        now_ms: Time of the call (UTC milliseconds).
    """

    name: str
    start: date | None
    end: date | None
    last_day: date
    refresh: bool
    now_ms: int

    def is_answered(self, history: History) -> bool:
        """Return whether ``history`` contains everything that was published by the last day."""
        if self.refresh:
            return False
        is_over = self.last_day < local_date(_ZONE, history.fetched_ms)
        return is_over or 0 <= self.now_ms - history.fetched_ms < _FRESH_MS


class MacroService:
    """Answers questions for macro series. Thread-safe, and safe across processes.

    ``<cache>/_series/<ID>.csv.gz`` contains every revision of a series, so each vintage is fetched
    once. The file may be deleted at any time; a damaged one counts as missing.

    Args:
        cache_dir: Root of the cache.
        selector: Creates downloaders. It is duck-typed.
        clock: Source of the current time.
        on_failure: Function called with the error if a call has no result; it must not raise.
    """

    def __init__(
        self,
        cache_dir: Path,
        selector: Any,
        clock: Clock,
        on_failure: Callable[[DataError], object] = lambda error: None,
    ) -> None:
        self._folder = cache_dir / FOLDER
        self._disk = Disk(root=cache_dir, private=selector.parsed_rules.cache.private)
        self._selector = selector
        self._clock = clock
        self._on_failure = on_failure
        self._locks = SeriesLocks()

    def get(
        self,
        series: Any,
        start: Any = None,
        end: Any = None,
        *,
        as_of: Any = None,
        refresh: bool = False,
        timeout: Any = None,
    ) -> pd.DataFrame:
        """Return a series' values as they were published by a day; see the data manager.

        Raises:
            QueryError: An argument is invalid, or the series was first published later.
            MissingCredentialsError: ``FRED_API_KEY`` is not set.
            AllProvidersFailedError: FRED did not answer, and nothing suitable is stored.

        Warns:
            IncompleteDataWarning: FRED did not answer; the answer contains what was public when it
                last did.
        """
        with running(Subject(series if isinstance(series, str) else "")):
            try:
                question = self._question(series, (start, end), as_of, refresh)
                seconds = seconds_of(timeout, question.name)
                return run_call(self._clock, seconds, self._answer, question)
            except DataError as exc:
                self._on_failure(exc)
                raise

    def _question(
        self, series: Any, bounds: tuple[Any, Any], as_of: Any, refresh: bool
    ) -> _Question:
        """Return the validated question.

        Raises:
            QueryError: An argument is invalid.
        """
        check_switches(refresh=refresh)
        now_ms = self._clock.now_ms()
        name = series.strip().upper() if isinstance(series, str) else ""
        if not _NAME.fullmatch(name):
            raise QueryError(
                f"invalid series {series!r:.80}", hint="use FRED's ID of a series, such as CPIAUCSL"
            )
        start, end = (
            resolve_day(name, side, value, now_ms)
            for side, value in zip(("start", "end"), bounds, strict=True)
        )
        if start is not None and end is not None and end < start:
            raise BadRangeError(f"end {end} is before start {start}", symbol=name)
        today = local_date(_ZONE, now_ms)
        last_day = resolve_last_day(name, "as_of", as_of, now_ms, _ZONE) or today
        if last_day > date_of(now_ms):
            raise BadRangeError(
                f"as_of {as_of!s:.40} is in the future (now: {iso(now_ms)})", symbol=name
            )
        return _Question(name, start, end, min(last_day, today), refresh, now_ms)

    def _answer(self, question: _Question) -> pd.DataFrame:
        history, attempts = self._stored(question.name), list[Attempt]()
        is_stored = question.is_answered(history)
        if not is_stored:
            with self._locks.hold(question.name, self._clock):
                history = self._stored(question.name)  # the previous caller may have fetched it
                is_stored = question.is_answered(history)
                if not is_stored:
                    history = self._fetched(question, history, attempts)
        vintages = [day for day in history.vintages() if day <= question.last_day]
        if not vintages:
            first = next(iter(history.vintages()), None)
            raise NoDataError(
                f"{question.name} has no value that was public on {question.last_day}",
                symbol=question.name,
                hint=f"its first vintage is {first}" if first else None,
            )
        valid = history.as_of(question.last_day)
        frame = _frame(chosen(valid, question.start, question.end), vintages[-1])
        frame.attrs[ATTRS_KEY] = freeze(
            {
                "symbol": question.name,
                "vendor": VENDOR,
                "as_of": question.last_day.isoformat(),
                "vintage": vintages[-1].isoformat(),
                "rows": len(frame),
                "from_cache": float(is_stored or bool(attempts)),
                "fetched_at": iso(history.fetched_ms),
                "complete": not attempts,
                "attempts": [
                    {"vendor": each.provider, "error": each.outcome, "message": each.message}
                    for each in attempts
                ],
            }
        )
        return frame

    def _fetched(self, question: _Question, stored: History, attempts: list[Attempt]) -> History:
        """Return the history up to now, and store it; if FRED fails, return what is stored.

        Raises:
            NoProviderError: The rules disable FRED, or its key is missing.
            AllProvidersFailedError: FRED did not answer, and nothing is stored.
        """
        vendor = self._vendor()
        began_s = self._clock.monotonic()
        try:
            history = self._requested(vendor, question, History() if question.refresh else stored)
        except DataError as error:
            seconds = self._clock.monotonic() - began_s
            attempts.append(Attempt(VENDOR, type(error).__name__, str(error), seconds, error=error))
            if not stored.revisions:
                raise AllProvidersFailedError(
                    f"All providers failed for {question.name}: {VENDOR}: {error}",
                    attempts=attempts,
                    symbol=question.name,
                ) from error
            message = (
                f"{question.name}: {VENDOR}: {error}; the answer contains what was public by "
                f"{iso(stored.fetched_ms)}"
            )
            log.warning("%s", message)
            warn_user(message, IncompleteDataWarning)
            return stored
        self._store(question.name, history)
        return history

    def _vendor(self) -> FredDataDownloader:
        """Return the downloader.

        Raises:
            NoProviderError: None can be created.
        """
        vendor = downloader_for(self._selector, VENDOR)
        if isinstance(vendor, FredDataDownloader):
            return vendor
        FredDataDownloader()  # raises if the key is missing
        raise NoProviderError(f"No suitable provider found: the rules do not allow {VENDOR}")

    def _requested(
        self, vendor: FredDataDownloader, question: _Question, known: History
    ) -> History:
        # Further values may have been published on the day of the last answer.
        known_until = local_date(_ZONE, known.fetched_ms) - timedelta(days=1)
        last = max((day for day in known.vintages() if day <= known_until), default=date.min)
        revisions = known.revisions
        for part in windows([day for day in vendor.vintages(question.name) if day > last]):
            revisions = extended(revisions, vendor.values(question.name, part), part[0], part[-1])
        return History(revisions, question.now_ms)

    # --- the file -----------------------------------------------------------------------------

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.csv.gz"

    def _stored(self, name: str) -> History:
        """Return the stored history; empty if there is none, it cannot be read or it is from the future."""
        try:
            content = self._disk.read_if_exists(self._path(name))
            history = History() if content is None else of_text(inflated(content))
            if history.fetched_ms > self._clock.now_ms() + _FRESH_MS:  # a clock was ahead
                raise ValueError(f"they were fetched in the future, {iso(history.fetched_ms)}")
            return history
        except (CacheError, ValueError, zlib.error) as error:
            log.warning("the stored revisions of %s are not read: %s", name, error)
            return History()

    def _store(self, name: str, history: History) -> None:
        try:
            self._disk.make_folders(self._folder, durable=False)
            with self._disk.lock(self._folder / ".lock", _LOCK_S):
                if self._stored(name).fetched_ms <= history.fetched_ms:
                    write_atomically(self._disk, self._path(name), zipped(as_text(history)))
        except CacheError as error:
            log.warning("revisions of %s are returned, but cannot be kept: %s", name, error)


def _frame(revisions: list[Revision], vintage: date) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(
        {
            "date": pd.to_datetime([each.day for each in revisions]).as_unit("ns"),
            "value": pd.Series([each.value for each in revisions], dtype="float64"),
            "released": pd.to_datetime([each.released for each in revisions]).as_unit("ns"),
            "vintage": pd.to_datetime([vintage] * len(revisions)).as_unit("ns"),
        }
    )
