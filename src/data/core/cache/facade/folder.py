"""One cache folder: lists, statistics and removal, and the parsing of its calls' arguments."""

from __future__ import annotations

import itertools
import logging
import math
import os
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import CacheError, ConfigError, QueryError, StorageError
from ...calendars.ranges import resolve_range
from ...clock import Clock, SystemClock
from ...config.rules_file import load_rules
from ...config.settings import (
    find_rules,
    is_private,
    load_settings,
    named_path,
    shared_store,
    working_dir,
)
from ...disk.calls import or_none
from ...disk.files import Disk
from ...model.display.texts import counted
from ...model.identity.instrument import Instrument
from ...model.identity.series import SeriesKey
from ...model.stored.retention import Age, Retention
from ...model.time.instant import DAY_MS, iso
from ...model.time.span import Span
from ...model.time.timeframe import Timeframe
from ...parts import load_part
from ...symbols.classify import SymbolRefusal, classify
from ..layout import BARS as BARS
from ..layout import SHARED
from ..legacy.reader import symbol_of
from ..read.columnar_cache import Columnar, fitting
from ..retention import eviction
from ..retention.manager import RetentionLimits, RetentionManager
from ..store import BarStore
from . import summaries
from .listing import Catalog

if TYPE_CHECKING:
    from ..beside.tables import TableStore
    from ..retention.age import Aged, AgeRetention
    from ..retention.inventory import Holdings, Inventory
    from ..retention.trim import Trimmed
    from ..upkeep.maintenance import Maintenance

log = logging.getLogger(__name__)

_MOST_SERIES_AT_EXIT = 500
# Time that statistics spend on searching for damage.
_DAMAGE_SEARCH_S = 0.1
# The name under which the index records the folder state that the summaries describe.
_SUMMARIES_FACT = "summaries"


class CacheFolder:
    """The methods of a cache that list, count and remove a folder's contents.

    See :class:`~.unified_cache.UnifiedCache` for the arguments and attributes.

    Thread-safe, and safe across processes.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        max_size_gb: float | None = None,
        *,
        clock: Clock | None = None,
        instrument_of: Callable[[str], Instrument] | None = None,
        must_keep: eviction.Keeps = eviction.keep_all,
        vendor_facts: Mapping[str, Mapping[str, Any]] | None = None,
        columnar: Columnar = "map",
        retention: Retention | None = None,
        max_age: Age | None = None,
        min_free_mb: float | None = None,
        private: bool | None = None,
        may_do_without: bool = False,
        make_store: Callable[..., BarStore] | None = None,
    ) -> None:
        self.cache_dir, self.max_size_gb = _folder_and_limit(cache_dir, max_size_gb)
        self.ohlcv_dir = self.cache_dir / BARS
        self.metadata_dir = self.ohlcv_dir / summaries.FOLDER
        self._disk = Disk(root=self.cache_dir, private=is_private() if private is None else private)
        self._clock = clock or SystemClock()
        self._instrument_of = instrument_of or configured_instrument
        self._puts = itertools.count(1)
        self._warned: set[str] = set()
        try:
            is_file = bool(or_none(self.cache_dir.stat)) and not self.cache_dir.is_dir()
        except OSError as exc:  # this user may not search a parent folder
            reason = f"the cache folder {self.cache_dir} cannot be accessed: {exc.strerror}"
            raise StorageError(reason, hint="name another folder") from exc
        if is_file:
            raise StorageError(
                f"the cache folder {self.cache_dir} is a file", hint="name another folder"
            )
        make_store = make_store or _configured_store()
        if make_store is BarStore and (self.cache_dir / SHARED).exists():
            raise StorageError(
                f"the cache folder {self.cache_dir} is a copy of a shared store, which is not set here",
                hint="set ONETAPE_STORE, or run `onetape hosts detach`",
            )
        self.store = make_store(
            self.cache_dir,
            self._disk,
            self._clock,
            vendor_facts=vendor_facts,
            columnar=fitting(columnar, self.cache_dir),
            retention=retention,
        )
        if may_do_without:
            self.store.make_folder()
        else:
            self._disk.make_folders(self.cache_dir)
        self.max_age = max_age
        limits = RetentionLimits(self._limit, min_free_mb, must_keep, self._retain)
        self.store.listener = self._retention_manager = RetentionManager(
            self.store, self._clock, limits
        )
        self._catalog = Catalog(self.cache_dir, self.store, self._disk, lambda: self._inventory)
        summaries.finish_at_exit(self)

    def __repr__(self) -> str:
        return f"UnifiedCache({str(self.cache_dir)!r}, max_size_gb={self.max_size_gb:g})"

    @property
    def _inventory(self) -> Inventory:
        return self._retention_manager.inventory

    @property
    def maintenance(self) -> Maintenance:
        """An object that checks, repairs, compacts and migrates the folder, and reports its history."""
        from ..upkeep.maintenance import Maintenance

        return Maintenance(self.store.parts, self._catalog, self._clock)

    def meaning_of(self, symbol: str) -> Instrument:
        """Return the instrument that a symbol means; raises ``QueryError`` if it is unknown."""
        return self._instrument_of(symbol)

    # --- contents ------------------------------------------------------------------------------

    def stored_series(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[SeriesKey]:
        """Return the series like :meth:`.Maintenance.series`, without importing what maintains them."""
        return self._catalog.stored_keys(symbol, timeframe)

    def list_symbols(self) -> list[str]:
        """Return the symbols that have bars, sorted."""
        return self._catalog.symbols()

    def list_timeframes(self, symbol: str) -> list[str]:
        """Return the timeframes for which ``symbol`` has bars, shortest first.

        Monthly bars are listed as ``1M``.
        """
        return [frame.label for frame in self._catalog.timeframes(self._stored_name(symbol))]

    def list_years(self, symbol: str, timeframe: str) -> list[int]:
        """Return the years for which bars are stored, in ascending order."""
        return self._catalog.years(self._lane(symbol, timeframe))

    def get_data_info(self, symbol: str, timeframe: str, year: int) -> dict[str, Any] | None:
        """Return the metadata of one year of a series, or None if the year has no bars."""
        return self._catalog.document(self._lane(symbol, timeframe), int(year))

    def get_stats(self, holdings: Holdings | None = None) -> dict[str, Any]:
        """Return ``total_size_gb``, ``files_count``, ``last_updated`` (naive UTC text) and more.

        ``quarantined_rows`` and ``quarantined_files`` count the contents of the quarantines, which
        ``onetape cache quarantine list`` shows for each series; among the files are
        ``quarantined_other_files`` of tables and fundamentals, which it does not show. ``health`` is
        the result of reading files for a tenth of a second: ``ok`` is False if there is damage, None
        if not all files were read; :attr:`maintenance` reads all of them. The summaries for other
        programs are updated at the same time. ``holdings`` are the folder's contents, if already
        known.
        """
        return self._stats(holdings or self._catalog.holdings())

    def overview(self) -> dict[str, Any]:
        """Return :meth:`get_stats`, plus ``freeable`` (see :meth:`freeable`) and the daily ``growth``."""
        holdings = self._inventory.contents("growth")
        freeable = self._retention_manager.freeable(holdings).to_json()
        growth = self.maintenance.growth(holdings)
        return self._stats(holdings) | {"freeable": freeable, "growth": growth}

    def _stats(self, holdings: Holdings) -> dict[str, Any]:
        # Done first, because reading documents repairs damaged ones.
        health = self.maintenance.inspect(_DAMAGE_SEARCH_S, holdings).to_json()
        stats = self._catalog.stats(self.max_size_gb, holdings)
        if not self._summaries_are_current(holdings):
            self._summarize(stats, holdings)
        return stats | {"health": health}

    def _summaries_are_current(self, holdings: Holdings) -> bool:
        """Return whether the summaries match the folder's current state."""
        state = holdings.state
        if not state or state != self._inventory.index.fact(_SUMMARIES_FACT):
            return False
        return all(self._disk.stat(self.metadata_dir / name) for name in summaries.FILES)

    def holdings(self) -> Holdings:
        """Return the contents of the folder, from its index; raises ``StorageError``."""
        return self._catalog.holdings()

    def write_summaries(self) -> bool:
        """Update ``_metadata/*.json``; return whether that succeeded."""
        if not self.ohlcv_dir.is_dir():  # removed by someone else in the meantime; not recreated
            return False
        try:
            holdings = self._catalog.holdings()
            return self._summarize(self._catalog.stats(self.max_size_gb, holdings), holdings)
        except CacheError as exc:
            log.debug("summaries were not written: %s", exc)
            return False

    def finish(self) -> None:
        """Update the summaries if this object changed anything and the cache is small.

        A large cache is skipped so that exiting is not delayed by reading thousands of documents;
        jobs also write summaries.
        """
        self._retention_manager.write_uses()
        if self.store.changed and len(self.store.keys()) <= _MOST_SERIES_AT_EXIT:
            self.write_summaries()

    # --- removing --------------------------------------------------------------------------

    def clear(self, symbol: str | None = None, timeframe: str | None = None) -> None:
        """Delete the bars of a series, of a symbol, of a timeframe for all symbols, or all bars."""
        if timeframe is not None:
            Timeframe.parse(timeframe)  # fails even if nothing is cached
            for name in self.list_symbols() if symbol is None else [symbol]:
                self.clear_symbol_timeframe(name, timeframe)
        elif symbol is not None:
            self.clear_symbol(symbol)
        else:
            self.clear_all()

    def clear_symbol_timeframe(self, symbol: str, timeframe: str, data_type: str = BARS) -> None:
        """Permanently delete one series in all lanes (folders for different kinds of bars)."""
        key = SeriesKey(symbol, Timeframe.parse(timeframe))
        if data_type != BARS:
            self.tables(data_type).clear(key=key)
        else:
            self._catalog.clear(self._stored_name(symbol), [key.timeframe])
            self.store.changed = True

    def clear_symbol(self, symbol: str, data_type: str = BARS) -> None:
        """Delete all bars of a symbol, and its splits and dividends."""
        if data_type != BARS:
            self.tables(data_type).clear(symbol)
        else:
            self._catalog.clear(self._stored_name(symbol))
            self.store.changed = True

    def clear_all(self, data_type: str | None = None) -> None:
        """Delete all bars and tables, or those of one data type; the cache remains usable."""
        for name in self._catalog.data_types() if data_type is None else [data_type]:
            if name != BARS:
                self.tables(name).clear()
        if data_type in (None, BARS):
            for symbol in self._catalog.every_symbol():
                self.clear_symbol(symbol)

    def cleanup_old_data(self, max_age_days: float = 365) -> int:
        """Delete years not updated for ``max_age_days`` days; return the number of deleted years.

        The age is measured from the last update recorded in the metadata, so an old year that was
        checked recently is kept. A deleted year is requested again by the next query for it.

        Raises:
            QueryError: The age is negative or not a number.
        """
        if not 0 <= max_age_days < math.inf:
            raise QueryError(
                f"max_age_days is {max_age_days!r}, but must be 0 or more days",
                hint="0 deletes everything that was not updated just now",
            )
        oldest = self._clock.now_ms() - round(max_age_days * DAY_MS)
        stale = list(self._catalog.unchanged_since(oldest))
        self.store.changed = True
        return sum(
            self.store.clear_years(key, years, by="cleanup_old_data") for key, years in stale
        )

    def delete_older_than(
        self, age: Age | str | None = None, *, dry_run: bool = False, every: bool = False
    ) -> Aged:
        """Delete whole years of bars and tables whose latest row is older than ``age``.

        Return the deleted years.

        Year files are deleted only as a whole; fundamentals, splits and dividends are never
        deleted. Bars are deleted even if no vendor can supply them any more. Each deletion is
        recorded in the log of its series.

        Args:
            age: Age such as ``5y``, ``18mo``, ``2w`` or ``90d``; None means ``cache.retention.age`` in
                the rules.
            dry_run: Whether to report the years without deleting them.
            every: Whether to delete even if no bars would be left.

        Raises:
            QueryError: The age is invalid, or no bars would be left and ``every`` is not set.
            CacheError: This machine's clock is behind the latest commit, or a file could not be
                deleted or written.
        """
        age = Age.parse(age) if isinstance(age, str) else age or self.max_age
        if age is None:
            raise QueryError(
                "no age was given, and the rules set none",
                hint="give an age, such as 5y, or set cache.retention in the rules",
            )
        retention, now_ms = self._retention(), self._clock.now_ms()
        retention.check_clock(now_ms)
        aged = retention.find(age.before(now_ms))
        if dry_run:
            return aged
        if aged.is_all and not every:
            raise QueryError(
                f"all bars in the cache are older than {age}, so all of them would be deleted",
                hint="to delete them anyway, use `--all`, or every=True in programs",
            )
        return retention.delete(aged)

    def enforce_limit(self) -> int:
        """Evict bars until the folder is within its limit; return the number of years dropped.

        Columnar files, which can be rebuilt, are deleted first, then replaced year files (older
        versions), then years that a configured vendor could supply again, the least recently used
        first. Any remaining excess over the limit is logged once.
        """
        return self._retention_manager.enforce()

    def freeable(self) -> eviction.Freeable:
        """Return how many bytes of the folder could be evicted, and why the rest must be kept."""
        return self._retention_manager.freeable()

    def tables(self, data_type: str) -> TableStore:
        """Return the dated tables of one data type, such as ``funding_rate``."""
        from ..beside.tables import TableStore

        return TableStore(self.cache_dir, data_type, self._disk, self._clock)

    def look_after(self) -> Holdings:
        """Record when series were used, enforce the limits on size and age, and tidy up.

        Jobs call this when they end.

        Returns:
            Contents of the folder afterwards, for reports.
        """
        return self._retention_manager.look_after()

    def tidy(self, *, dry_run: bool = False) -> Trimmed:
        """Remove old files from the quarantines and return their amount; a dry run removes nothing."""
        return self._retention_manager.tidy(dry_run=dry_run)

    def last_used_ms(self, key: SeriesKey) -> int:
        """Return when a series was last read or changed (UTC milliseconds); 0 if unknown."""
        return self._retention_manager.last_uses()(key).last_ms

    # --- inside ----------------------------------------------------------------------------

    def _retention(self) -> AgeRetention:
        from ..retention.age import AgeRetention

        return AgeRetention(
            self.store, self._catalog, self._disk, self.tables, self._retention_manager.last_uses
        )

    def _retain(self) -> None:
        """Delete data older than the rules' limit.

        If the clock cannot be trusted or everything would be deleted, this is logged once and
        nothing is deleted. Age is measured from the latest answer in the store, so a clock that is
        ahead does not cause deletions.
        """
        if self.max_age is None:
            return
        retention, now_ms = self._retention(), self._clock.now_ms()
        if not retention.find(self.max_age.before(now_ms)).years:
            return
        try:
            newest = retention.check_clock(now_ms)
        except CacheError as exc:
            self._say_once(f"cache.retention: {exc}")
            return
        before = self.max_age.before(min(now_ms, newest))
        aged = retention.find(before)
        if aged.is_all:
            self._say_once(
                f"cache.retention: all bars in the cache are from before {iso(before)[:10]}, and "
                "are not deleted automatically; use `onetape cache clean --all`"
            )
            return
        deleted = retention.delete(retention.unused(aged, now_ms), wait_s=0.0).years
        if deleted:
            rows = counted(sum(year.rows for year in deleted), "row")
            log.info("cache.retention: deleted %s, %s", counted(len(deleted), "year"), rows)

    def _say_once(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    def _limit(self) -> int:
        return round(min(self.max_size_gb, 1e9) * eviction.BYTES_IN_GB)  # an exabyte

    def _lane(self, symbol: str, timeframe: str) -> SeriesKey:
        key = SeriesKey(self._stored_name(symbol), Timeframe.parse(timeframe))
        return self._catalog.lane_of(key)

    def _stored_name(self, symbol: str) -> str:
        """Return the symbol under which bars are stored: as passed, or the spelling of the data manager.

        The data manager stores the bars of ``BTC/USDT`` under ``BTCUSDT``. The bars of an older tool's
        folder ``brk.b`` are stored under ``BRK.B``.
        """
        try:
            name = self._instrument_of(symbol).symbol
        except QueryError:  # a program may have stored bars under any name
            name = symbol
        if name == symbol == symbol.upper():
            return symbol
        spellings = (symbol, name, symbol_of(symbol))
        return next((each for each in spellings if self._catalog.timeframes(each)), name)

    def _summarize(self, stats: dict[str, Any], holdings: Holdings) -> bool:
        contents = summaries.summaries(self._catalog.all_years(), stats)
        written = summaries.write_summaries(self._disk, self.ohlcv_dir, contents)
        if written:
            self.store.changed = False
            if holdings.state:
                self._inventory.index.keep_fact(_SUMMARIES_FACT, holdings.state)
        return written


def _folder_and_limit(
    cache_dir: str | os.PathLike[str] | None, max_size_gb: float | None
) -> tuple[Path, float]:
    """Return the cache folder and its size limit; a missing argument is taken from the configuration."""
    if max_size_gb is not None and not 0 <= max_size_gb < math.inf:
        raise ConfigError(
            f"max_size_gb is {max_size_gb!r}, but must be 0 or more gigabytes", hint="0: no limit"
        )
    if cache_dir and max_size_gb is not None:
        folder = named_path(cache_dir, "cache_dir", working_dir())
        return Path(os.path.abspath(folder)), float(max_size_gb)
    settings = load_settings(cache_dir)
    limit = settings.max_size_gb if max_size_gb is None else float(max_size_gb)
    return settings.cache_dir, limit


def _configured_store() -> Callable[..., BarStore]:
    """Return the class of the store that many hosts share, if one is configured, else the usual class."""
    rules = shared_store(load_rules(find_rules(None, None, working_dir())))
    make_store: Callable[..., BarStore] = BarStore
    if rules.url:
        make_store = load_part("core.hosts.connect").make_store_of(rules)
    return make_store


# --- arguments ---------------------------------------------------------------------------

InstrumentOf = Callable[[str], Instrument]
DEFAULT_DAYS = 30


@cache
def _configured() -> InstrumentOf:
    rules = load_rules(find_rules(None, None, working_dir()))
    return lambda symbol: instrument_in(rules.classification, symbol)


def configured_instrument(symbol: str) -> Instrument:
    """Return the instrument for ``symbol`` by this installation's rules.

    See :func:`instrument_in`.
    """
    return _configured()(symbol)


def instrument_in(tables: Any, symbol: str) -> Instrument:
    """Return the instrument for ``symbol``.

    An unknown or ambiguous symbol is not an error here, because the cache stores anything it is
    given: the instrument then trades around the clock, in UTC.
    """
    meaning = classify(symbol, tables)
    return Instrument(symbol, "crypto") if isinstance(meaning, SymbolRefusal) else meaning


def span_to_read(
    instrument: Instrument, timeframe: Timeframe, start: Any, end: Any, now_ms: int
) -> Span:
    """Convert the caller's inclusive ``start`` and ``end`` to a span.

    Dates are whole sessions at the venue. For intraday bars, an end at midnight includes the whole
    of that day, because programs write ``datetime(2024, 12, 31)`` for "until the end of the year".
    The default end is now, and the default start is 30 days before the end.

    Raises:
        BadRangeError: A bound is not a time, or the end is before the start.
    """
    whole_day = timeframe.is_intraday and _is_midnight(end)
    if start is None:
        last = resolve_range(
            instrument, timeframe, datetime(1900, 1, 1), _day(end, whole_day), now_ms
        )
        return Span(last[0].end - DEFAULT_DAYS * DAY_MS, last[0].end)
    if _is_instant(start) and _is_instant(end) and not whole_day and start == end:
        far = resolve_range(instrument, timeframe, start, None, now_ms)[0]
        return Span(far.start, far.start + 1)
    return resolve_range(instrument, timeframe, start, _day(end, whole_day), now_ms)[0]


def _is_instant(value: Any) -> bool:
    return isinstance(value, datetime)


def _is_midnight(value: Any) -> bool:
    return (
        isinstance(value, datetime) and value.tzinfo is None and value.time() == datetime.min.time()
    )


def _day(value: Any, whole_day: bool) -> Any:
    return value.date() if whole_day else value
