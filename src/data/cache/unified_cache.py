"""The cache as older programs use it: ``put`` and ``get`` of frames, lists, statistics.

A thin face on the store of bars: what is put here is found by the data manager on the same folder
and the other way round.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.atomic import export_csv
from ..errors import CacheError, DataError, QueryError, StorageError
from ..model.series import SeriesKey
from ..model.timeframe import Timeframe
from ..vendors.registry import is_of_files, is_sample
from .facade.folder import BARS, CacheFolder, span_to_read
from .legacy.reader import SAMPLE_LANE, SAMPLE_VENDORS
from .write.coverage_update import year_span

if TYPE_CHECKING:
    import pandas as pd

    from ..model.instrument import Instrument
    from ..model.span import Span
    from .facade.frames import FrameUpload

log = logging.getLogger(__name__)

# The limit is looked at once in so many calls of put.
PUTS_BETWEEN_LOOKS = 64
_SAID_BY_CALLERS = ("adjustment", "as_of")


class UnifiedCache(CacheFolder):
    """Bars and other dated tables of one cache folder. Thread-safe, and safe across processes.

    Args:
        cache_dir: the folder; it is made if need be. Default: ``DATA_CACHE_DIR``, else an
            existing ``./data-cache``, else the user's cache folder.
        max_size_gb: limit of the whole folder, 0 for none. Default: ``CACHE_MAX_SIZE_GB``, else
            that of the rules (10).
        clock: another clock than the machine's.
        instrument_of: tells what a symbol is, for dates as bounds. Default: the installed rules.
        must_keep: tells why no vendor could supply bars again; only others may be dropped to keep
            the limit. Default: none may.
        vendor_facts: vendor to its ``reliability`` (0 to 1) and ``rate_limit`` (text), told to
            other tools in the metadata.
        retention: how many replaced year files are kept, for ``version=``. Default: 8.
        max_age: years whose newest bar is older are deleted now and then; see
            :meth:`delete_older_than`. Default: none are.
        columnar: whether bars are kept as columns too, for speed: ``map`` them into memory,
            ``read`` them where maps are not to be trusted (network disks), or ``off``.
        min_free_mb: MiB that must stay free on its disk, else bars are not stored; 0: none.
            Default: one hundredth of the disk, at least 64 and at most 1,024.
        private: whether new files and folders are their owner's alone (0600 and 0700), from the
            first byte. Default: ``cache.private`` of the rules, which is false.
        may_do_without: whether a folder that cannot be made is no error: nothing is stored then,
            which one warning says.

    Attributes:
        cache_dir, ohlcv_dir, metadata_dir: the folder, its bars, the summaries for other programs.
        max_size_gb: the limit.
        store: the store of bars behind it.

    Raises:
        StorageError: the folder is a file, or cannot be made.
        ConfigError: the configuration is wrong.

    Warns:
        ReadOnlyCacheWarning: ``may_do_without``, and the folder cannot be made.
    """

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
            symbol, timeframe: of the series.
            start_date, end_date: what was asked of the vendor, both inclusive; by this a stretch
                without bars, before, between or behind them, is told from one never asked.
            provider: the vendor that supplied it. Sample data (``mock``) are kept apart and never answer a
                question put to the data manager. ``local`` and ``replay`` mean the files of a folder,
                which no frame is: it is stored as of ``unknown``.
            data_type: ``ohlcv``, or the name of another folder such as ``funding_rate``.
            kwargs: ``adjustment`` (``raw``, ``split``, ``all``) where the caller knows what the
                prices are adjusted for, and ``as_of``, the date up to which.

        Returns:
            Whether anything was stored. Frames, symbols and timeframes that cannot be stored are
            logged, not raised.

        Raises:
            CacheError: the folder could not be written.
            QueryError: rows of the frame are filled, and no bars.
        """
        from ..model.frame import WITHOUT_FILLED, filled_rows
        from .facade.frames import FrameUpload

        if df is None or len(df) == 0:
            return False
        if data_type == BARS and (filled := filled_rows(df)):
            raise QueryError(
                f"{symbol} {timeframe}: {filled} rows are filled, and only bars are stored",
                symbol=str(symbol),
                hint=WITHOUT_FILLED,
            )
        try:
            key = SeriesKey(symbol, Timeframe.parse(timeframe))
            instrument = self._instrument_of(symbol)
            values = _supported_options(kwargs)
            provider = "unknown" if is_of_files(provider.lower()) else provider
            offer = FrameUpload(instrument, key.timeframe, start_date, end_date, provider, **values)
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
            symbol, timeframe: of the series.
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
            return self.tables(data_type).read(key, span)
        return self._stored_frame(self._catalogue.lane_of(key), span, instrument)

    # --- private names that tools use ------------------------------------------------------

    def _get_available_years(self, symbol: str, timeframe: str) -> list[int]:
        return self.list_years(symbol, timeframe)

    def _load_year_data(self, symbol: str, timeframe: str, year: int) -> pd.DataFrame | None:
        key = self._lane(symbol, timeframe)
        return self._stored_frame(key, year_span(int(year)), self._instrument_of(symbol))

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

    def _stored_frame(
        self, key: SeriesKey, span: Span, instrument: Instrument
    ) -> pd.DataFrame | None:
        from .facade.frames import stored_frame

        return stored_frame(self._catalogue, key, span, instrument)

    def _put_bars(self, df: pd.DataFrame, key: SeriesKey, offer: FrameUpload) -> bool:
        from .facade.frames import to_commit

        commit = to_commit(df, offer, self._clock.now_ms())
        if commit is None:
            log.info("%s: no bar of the frame has closed yet", key)
            return False
        vendor = offer.vendor.lower()
        lane = SAMPLE_LANE if vendor in SAMPLE_VENDORS else (vendor,) if is_sample(vendor) else ()
        self.store.commit(replace(key, lane=lane), commit)
        return True

    def _put_table(
        self, df: pd.DataFrame, key: SeriesKey, offer: FrameUpload, data_type: str
    ) -> bool:
        from .facade.frames import asked_span

        span = asked_span(offer, self._clock.now_ms())
        return self.tables(data_type).put(key, df, span, offer.vendor) > 0

    def _after_put(self) -> None:
        """Look at the limit now and then: measuring a folder takes longer than a put."""
        if next(self._puts) % PUTS_BETWEEN_LOOKS == 0:
            self.enforce_limit()


def _supported_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return what callers may say beside the bars; programs of old said more, to no effect."""
    if unknown := sorted(set(kwargs) - set(_SAID_BY_CALLERS)):
        log.warning("put() ignores %s", ", ".join(unknown))
    return {name: value for name, value in kwargs.items() if name in _SAID_BY_CALLERS}


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
