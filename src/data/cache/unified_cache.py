"""The cache as programs of old know it: ``put`` and ``get`` of frames, lists, statistics.

A thin face on the store of bars: what is put here is found by the data manager on the same folder
and the other way round.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..clock import Clock, SystemClock
from ..config.settings import load_settings
from ..disk.export import export_csv
from ..disk.files import Disk
from ..errors import CacheError, DataError, StorageError
from ..model.instant import DAY_MS
from ..model.instrument import Instrument
from ..model.series import SeriesKey
from ..model.timeframe import Timeframe
from . import derived, eviction
from .catalogue import SAMPLE_LANE, Catalogue
from .ledger import year_span
from .legacy import SAMPLE_VENDORS
from .meaning import configured_instrument, span_to_read
from .offered import Offer, asked_span, to_commit
from .showing import stored_frame
from .store import BarStore
from .tables import TableStore

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

BARS = "ohlcv"
_PUTS_BETWEEN_LOOKS = 64


class UnifiedCache:
    """Bars and other dated tables of one cache folder. Thread-safe, and safe across processes.

    Args:
        cache_dir: the folder; it is made if need be. Default: ``DATA_CACHE_DIR``, else an
            existing ``./data-cache``, else the user's cache folder.
        max_size_gb: limit of the whole folder, 0 for none. Default: ``CACHE_MAX_SIZE_GB``, else
            that of the rules (10).
        clock: another clock than the machine's.
        instrument_of: tells what a symbol is, for dates as bounds. Default: the installed rules.
        can_supply: tells whether a vendor could supply bars again; only such bars may be dropped
            to keep the limit. Default: none may.

    Attributes:
        cache_dir, ohlcv_dir, metadata_dir: the folder, its bars, the summaries for other programs.
        max_size_gb: the limit.
        store: the store of bars behind it.

    Raises:
        StorageError: the folder cannot be made, or is none.
        ConfigError: the configuration is wrong.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        max_size_gb: float | None = None,
        *,
        clock: Clock | None = None,
        instrument_of: Callable[[str], Instrument] | None = None,
        can_supply: eviction.CanSupply | None = None,
    ) -> None:
        self.cache_dir, self.max_size_gb = _places(cache_dir, max_size_gb)
        self.ohlcv_dir = self.cache_dir / BARS
        self.metadata_dir = self.ohlcv_dir / derived.FOLDER
        self._disk = Disk()
        self._clock = clock or SystemClock()
        self._instrument_of = instrument_of or configured_instrument
        self._can_supply = can_supply
        self._puts = 0
        self._disk.make_folders(self.cache_dir)
        self.store = BarStore(self.cache_dir, self._disk, self._clock)
        self._catalogue = Catalogue(self.cache_dir, self.store, self._disk)

    def __repr__(self) -> str:
        return f"UnifiedCache({str(self.cache_dir)!r}, max_size_gb={self.max_size_gb:g})"

    # --- bars in and out -------------------------------------------------------------------

    def put(
        self,
        df: pd.DataFrame | None,
        symbol: str,
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        provider: str = "unknown",
        data_type: str = BARS,
        **kwargs: Any,
    ) -> bool:
        """Store a frame; stored rows that it does not contain stay, of equal ones it wins.

        Stamps are the ``DatetimeIndex`` or a column ``timestamp``: aware ones are converted to
        UTC (days: to the date at the venue), naive ones mean UTC. Bars still forming are left
        out. Rows that cannot be bars are kept apart and given back by :meth:`get`.

        Args:
            df: bars, or for another ``data_type`` any dated table.
            symbol, timeframe: whose.
            start_date, end_date: what was asked of the vendor, both inclusive; by this a stretch
                without bars is told from one never asked.
            provider: who supplied it. Sample data (``mock``) are kept apart and never answer a
                question put to the data manager.
            data_type: ``ohlcv``, or the name of another folder such as ``funding_rate``.
            kwargs: ``adjustment`` (``raw``, ``split``, ``all``) where the caller knows what the
                prices are adjusted for, and ``as_of``, the date up to which.

        Returns:
            Whether anything was stored. Frames, symbols and timeframes that cannot be stored are
            logged, not raised.

        Raises:
            CacheError: the folder could not be written.
        """
        if df is None or len(df) == 0:
            return False
        try:
            key = SeriesKey(symbol, Timeframe.parse(timeframe))
            instrument = self._instrument_of(symbol)
            offer = Offer(instrument, key.timeframe, start_date, end_date, provider, **kwargs)
            if data_type == BARS:
                stored = self._put_bars(df, key, offer)
            else:
                stored = self._put_table(df, key, offer, data_type)
        except CacheError:
            raise
        except (DataError, ValueError, TypeError, AttributeError) as exc:
            log.error("%s %s of %s was not stored: %s", symbol, timeframe, provider, exc)
            return False
        if stored:
            self._after_put()
        return stored

    def get(
        self,
        symbol: str,
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        format: str = "csv",
        data_type: str = BARS,
    ) -> pd.DataFrame | None:
        """Return what is stored of a range, both ends inclusive, or None when nothing is.

        Bars come as the data manager gives them: naive UTC index ``timestamp``, float64 columns,
        adjusted for splits where that is exact. Rows that cannot be bars are among them, logged.

        Args:
            symbol, timeframe: whose.
            start_date, end_date: datetimes are UTC instants; dates, and an end at midnight, mean
                the whole day. Default: the last 30 days.
            format: kept for old callers; there is one format.
            data_type: as for :meth:`put`.

        Raises:
            QueryError: symbol, timeframe or bounds cannot be understood.
            CacheError: the folder could not be read.
        """
        key = SeriesKey(symbol, Timeframe.parse(timeframe))
        instrument, now = self._instrument_of(symbol), self._clock.now_ms()
        span = span_to_read(instrument, key.timeframe, start_date, end_date, now)
        if data_type != BARS:
            return self._tables(data_type).read(key, span)
        return stored_frame(self.store, self._catalogue.lane_of(key), span, instrument)

    # --- what there is ---------------------------------------------------------------------

    def list_symbols(self) -> list[str]:
        """Return the symbols that have bars, sorted."""
        return self._catalogue.symbols()

    def list_timeframes(self, symbol: str) -> list[str]:
        """Return the timeframes of which ``symbol`` has bars, shortest first; months are ``1M``."""
        return [frame.label for frame in self._catalogue.timeframes(symbol)]

    def list_years(self, symbol: str, timeframe: str) -> list[int]:
        """Return the years of which bars are stored, ascending."""
        return self._catalogue.years(self._lane(symbol, timeframe))

    def get_data_info(self, symbol: str, timeframe: str, year: int) -> dict[str, Any] | None:
        """Return the metadata of one year, or None where it has no bars."""
        return self._catalogue.document(self._lane(symbol, timeframe), int(year))

    def get_stats(self) -> dict[str, Any]:
        """Return ``total_size_gb``, ``files_count``, ``last_updated`` (naive UTC text) and more.

        The summaries for other programs are brought up to date with it.
        """
        years = list(self._catalogue.all_years())
        stats = self._catalogue.stats(years, self.max_size_gb)
        self._summarise(years, stats)
        return stats

    def write_summaries(self) -> bool:
        """Bring ``_metadata/*.json`` up to date; return whether that was possible."""
        if not self.ohlcv_dir.is_dir():  # removed meanwhile, and not for us to make again
            return False
        try:
            years = list(self._catalogue.all_years())
            return self._summarise(years, self._catalogue.stats(years, self.max_size_gb))
        except CacheError as exc:
            log.debug("summaries were not made: %s", exc)
            return False

    # --- removing --------------------------------------------------------------------------

    def clear(self, symbol: str | None = None, timeframe: str | None = None) -> None:
        """Delete bars: of a series, of a symbol, of a timeframe of all symbols, or everything."""
        if timeframe is not None:
            for name in self.list_symbols() if symbol is None else [symbol]:
                self.clear_symbol_timeframe(name, timeframe)
        elif symbol is not None:
            self.clear_symbol(symbol)
        else:
            self.clear_all()

    def clear_symbol_timeframe(self, symbol: str, timeframe: str, data_type: str = BARS) -> None:
        """Delete one series for good, in all its lanes."""
        key = SeriesKey(symbol, Timeframe.parse(timeframe))
        if data_type != BARS:
            self._tables(data_type).clear(key=key)
        else:
            self._catalogue.clear(symbol, [key.timeframe])
            derived.mark_stale(self)

    def clear_symbol(self, symbol: str, data_type: str = BARS) -> None:
        """Delete all bars of a symbol, and its splits and dividends."""
        if data_type != BARS:
            self._tables(data_type).clear(symbol)
        else:
            self._catalogue.clear(symbol)
            derived.mark_stale(self)

    def clear_all(self, data_type: str | None = None) -> None:
        """Delete all bars and tables, or those of one data type; the cache works on."""
        for name in self._catalogue.data_types() if data_type is None else [data_type]:
            if name != BARS:
                self._tables(name).clear()
        if data_type in (None, BARS):
            for symbol in self._catalogue.every_symbol():
                self.clear_symbol(symbol)

    def cleanup_old_data(self, max_age_days: float = 365) -> int:
        """Delete years that nobody updated for so many days; return how many.

        The age is that of the last update in the metadata, so a quiet year that was checked
        lately stays. What a deleted year answered for is asked again when somebody wants it.
        """
        oldest = self._clock.now_ms() - round(max_age_days * DAY_MS)
        found = list(self._catalogue.unchanged_since(oldest))
        derived.mark_stale(self)
        return sum(self.store.clear_years(key, years) for key, years in found)

    def enforce_limit(self) -> int:
        """Drop what can be had again until the folder is within its limit; return years dropped.

        First goes what can be made again from bars, then bars that a configured vendor could
        supply again, the longest unchanged first. What remains above the limit is logged once.
        """
        limit = round(self.max_size_gb * eviction.BYTES_IN_GB)
        may_go = self._catalogue.replaceable(self._can_supply) if self._can_supply else ()
        chosen = eviction.enforce(self.cache_dir, self._disk, limit, may_go)
        return sum(self.store.clear_years(item.key, [item.year]) for item in chosen)

    # --- private names that tools use ------------------------------------------------------

    def _get_available_years(self, symbol: str, timeframe: str) -> list[int]:
        return self.list_years(symbol, timeframe)

    def _load_year_data(self, symbol: str, timeframe: str, year: int) -> pd.DataFrame | None:
        key = self._lane(symbol, timeframe)
        return stored_frame(self.store, key, year_span(int(year)), self._instrument_of(symbol))

    def _save_compressed_csv(self, df: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
        """Write a plain gzip CSV; stored series change under their lock only, by :meth:`put`."""
        target = Path(path)
        root, folder = os.path.realpath(self.cache_dir), Path(os.path.realpath(target)).parent
        if Path(root) in folder.parents:
            raise StorageError(
                f"{target.name} would lie among the stored series",
                hint="use put(), or a path outside of the cache",
            )
        return export_csv(df, target)

    # --- inside ----------------------------------------------------------------------------

    def _lane(self, symbol: str, timeframe: str) -> SeriesKey:
        return self._catalogue.lane_of(SeriesKey(symbol, Timeframe.parse(timeframe)))

    def _tables(self, data_type: str) -> TableStore:
        return TableStore(self.cache_dir, data_type, self._disk, self._clock)

    def _put_bars(self, df: pd.DataFrame, key: SeriesKey, offer: Offer) -> bool:
        commit = to_commit(df, offer, self._clock.now_ms())
        if commit is None:
            log.info("%s: no bar of the frame has closed yet", key)
            return False
        lane = SAMPLE_LANE if offer.vendor.lower() in SAMPLE_VENDORS else ()
        self.store.commit(replace(key, lane=lane), commit)
        derived.mark_stale(self)
        return True

    def _put_table(self, df: pd.DataFrame, key: SeriesKey, offer: Offer, data_type: str) -> bool:
        span = asked_span(offer, self._clock.now_ms())
        return self._tables(data_type).put(key, df, span, offer.vendor) > 0

    def _after_put(self) -> None:
        """Look at the limit now and then: measuring a folder takes longer than a put."""
        self._puts += 1
        if self._puts % _PUTS_BETWEEN_LOOKS == 0:
            self.enforce_limit()

    def _summarise(self, years: list[derived.YearInfo], stats: dict[str, Any]) -> bool:
        contents = derived.summaries(years, stats)
        written = derived.write_summaries(self._disk, self.ohlcv_dir, contents)
        if written:
            derived.mark_fresh(self)
        return written


def _places(
    cache_dir: str | os.PathLike[str] | None, max_size_gb: float | None
) -> tuple[Path, float]:
    """Return folder and limit; the configuration is only read for what was not given."""
    if cache_dir and max_size_gb is not None:
        return Path(os.path.abspath(Path(cache_dir).expanduser())), float(max_size_gb)
    settings = load_settings(cache_dir)
    limit = settings.max_size_gb if max_size_gb is None else float(max_size_gb)
    return settings.cache_dir, limit


# --- one cache a process -------------------------------------------------------------------

# Guards the cache below against threads that configure or ask for it at the same time.
_lock = threading.RLock()
_cache: UnifiedCache | None = None


def configure_unified_cache(
    cache_dir: str | os.PathLike[str] | None = None, max_size_gb: float | None = None
) -> UnifiedCache:
    """Make the cache that :func:`get_unified_cache` returns from now on. Thread-safe."""
    global _cache
    with _lock:
        _cache = UnifiedCache(cache_dir, max_size_gb)
        return _cache


def get_unified_cache() -> UnifiedCache:
    """Return the one cache of this process, with the default folder if none was configured."""
    with _lock:
        return _cache if _cache is not None else configure_unified_cache()


def _after_fork() -> None:
    """Give a forked child its own lock: another thread of the parent may hold it."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
