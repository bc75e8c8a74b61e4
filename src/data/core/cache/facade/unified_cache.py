"""The cache interface for older programs: ``put`` and ``get`` for frames, lists, statistics.

The interface is a thin layer over the store of bars. A data manager on the same folder finds bars
stored here under its own spelling of the symbol, such as ``BTCUSDT``, and its bars are found here under
any spelling, such as ``BTC/USDT``.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import CacheError, DataError, QueryError, StorageError
from ...disk.atomic import export_csv
from ...model.identity.series import SeriesKey
from ...model.request.query import only_given
from ...model.time.span import year_span
from ...model.time.timeframe import Timeframe
from ...registry import MADE_UP, is_of_files, is_sample
from ..legacy.reader import SAMPLE_LANE
from .folder import BARS, CacheFolder, span_to_read

if TYPE_CHECKING:
    import pandas as pd

    from ...model.identity.instrument import Instrument
    from ...model.time.span import Span
    from .frames import FrameUpload

log = logging.getLogger(__name__)

# The limit is checked once in this many calls of put.
PUTS_BETWEEN_LOOKS = 64
_SAID_BY_CALLERS = ("adjustment", "as_of")


class UnifiedCache(CacheFolder):
    """Bars and other dated tables in one cache folder. Thread-safe, and safe across processes.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> cache = UnifiedCache("my-cache")
        >>> cache.put(bars, "AAPL", "1d", provider="acme")
        True
        >>> len(cache.get("AAPL", "1d", start="2012-01-03", end="2012-01-05"))
        3

    Args:
        cache_dir: Folder, created if necessary. Default: ``DATA_CACHE_DIR``, else an existing
            ``./data-cache``, else the user's cache folder.
        max_size_gb: Size limit for the whole folder; 0 means unlimited. Default:
            ``CACHE_MAX_SIZE_GB``, else the limit in the rules (10).
        clock: Clock to use instead of the system clock.
        instrument_of: Function that returns the instrument for a symbol, which determines the
            meaning of dates as bounds. Default: the installed rules decide.
        must_keep: Function that returns the reason why no vendor could supply bars again, or an
            empty string if one could. Only bars that can be supplied again may be dropped to stay
            within the limit. Default: no bars are dropped.
        vendor_facts: Maps each vendor to its ``reliability`` (0 to 1) and ``rate_limit`` (text),
            which are written to the metadata for other tools.
        retention: Number of replaced year files to keep for ``version=``. Default: 8.
        max_age: Maximum age of bars: a year is deleted once its latest bar is older, as checked
            from time to time; see :meth:`delete_older_than`. Default: nothing is deleted because of
            its age.
        columnar: Whether bars are also kept in column files, for speed. ``map`` maps these files
            into memory, ``read`` reads them (if memory maps are unreliable, as on network disks),
            and ``off`` means that there are none.
        min_free_mb: MiB that must stay free on the disk; bars that would need this space are not
            stored. 0 means no reserve. Default: 1% of the disk, but at least 64 and at most 1,024.
        private: Whether only the owner may access new files and folders (0600 and 0700), from the
            first byte. Default: ``cache.private`` in the rules, which is false.
        make_store: Class of the underlying store. Default: that of the store which many hosts
            share, if ``ONETAPE_STORE`` or the rules name one, else a store of only this folder.
        may_do_without: Whether to continue without storing anything, after one warning, if the
            folder cannot be created; otherwise that is an error.

    Attributes:
        cache_dir, ohlcv_dir, metadata_dir: Cache folder, folder of bars, and folder of summaries
            for other programs.
        max_size_gb: Size limit.
        store: Underlying store of bars.

    Raises:
        StorageError: The folder is a file, cannot be created, or is a copy of a shared store while
            none is configured.
        MissingExtraError: A shared store is configured, and the extra ``postgres`` is not installed.
        ConfigError: The configuration is invalid.

    Warns:
        ReadOnlyCacheWarning: ``may_do_without`` is set, and the folder cannot be created.
    """

    # --- storing and reading bars --------------------------------------------------------------

    def put(
        self,
        df: pd.DataFrame | None,
        symbol: str,
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        provider: str = "unknown",
        data_type: str = BARS,
        *,
        start: Any = None,
        end: Any = None,
        **kwargs: Any,
    ) -> bool:
        """Store a frame; its rows replace stored rows with the same timestamps, and other rows are kept.

        Timestamps are the ``DatetimeIndex`` or a column ``timestamp``. Aware timestamps are
        converted to UTC (for daily bars: to the date at the venue); naive ones mean UTC. Bars that
        are still forming are left out. Rows that are not valid bars are stored separately, and are
        returned by :meth:`get`.

        Args:
            df: Bars, or for another ``data_type`` any dated table.
            symbol, timeframe: Series of the bars. The data manager finds them only if the symbol is in
                its own spelling: ``BTCUSDT``, not ``BTC/USDT``.
            start_date, end_date: Range requested from the vendor, both inclusive. Spans without
                bars in this range are recorded as empty; all other spans count as never requested.
            start, end: Short names of ``start_date`` and ``end_date``.
            provider: Vendor that supplied the frame. Sample data (``mock``) is kept separately and
                never returned for a query to the data manager. ``local`` and ``replay`` stand for
                files in a folder. Because a frame does not come from a folder, it is stored under
                ``unknown`` instead.
            data_type: ``ohlcv``, or the name of another folder such as ``funding_rate``.
            kwargs: ``adjustment`` (``raw``, ``split``, ``all``), if known, and ``as_of``, the date
                up to which the prices are adjusted. Default: the last session that has opened.

        Returns:
            Whether anything was stored. A frame, symbol or timeframe that cannot be stored is
            logged; no error is raised.

        Raises:
            CacheError: The folder could not be written.
            QueryError: Some rows in the frame are filled-in rows, not bars, or a bound is given
                twice.
        """
        from ...model.answer.frame import WITHOUT_FILLED, filled_rows
        from .frames import FrameUpload

        start_date = only_given(start_date=start_date, start=start)
        end_date = only_given(end_date=end_date, end=end)
        if df is None or len(df) == 0:
            return False
        if data_type == BARS and (filled := filled_rows(df)):
            raise QueryError(
                f"{symbol} {timeframe}: filled-in rows ({filled}) cannot be stored as bars",
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
            self._check_size()
        return stored

    def get(
        self,
        symbol: str,
        timeframe: str,
        start_date: Any = None,
        end_date: Any = None,
        format: str = "csv",
        data_type: str = BARS,
        *,
        start: Any = None,
        end: Any = None,
    ) -> pd.DataFrame | None:
        """Return the stored bars in a range, both ends inclusive, or None if none are stored.

        Bars have the form that the data manager returns: naive UTC index ``timestamp``, float64
        columns, adjusted for splits if that is exact. Rows that are not valid bars are included and
        logged.

        Args:
            symbol, timeframe: Series to read; bars stored under another spelling of the symbol are
                found if there are none under this one.
            start_date, end_date: Bounds: datetimes are UTC instants; dates, and an end at midnight,
                mean the whole day. Default: the last 30 days.
            start, end: Short names of ``start_date`` and ``end_date``.
            format: Accepted for the sake of old callers, but not used.
            data_type: See :meth:`put`.

        Raises:
            QueryError: The symbol, timeframe or bounds are invalid.
            CacheError: The folder could not be read.
        """
        start_date = only_given(start_date=start_date, start=start)
        end_date = only_given(end_date=end_date, end=end)
        key = SeriesKey(symbol, Timeframe.parse(timeframe))
        instrument, now_ms = self._instrument_of(symbol), self._clock.now_ms()
        span = span_to_read(instrument, key.timeframe, start_date, end_date, now_ms)
        if data_type != BARS:
            return self.tables(data_type).read(key, span)
        key = replace(key, symbol=self._stored_name(symbol))
        with suppress(StorageError):  # what is not here yet may be on other hosts
            self.store.hosts.pull([(key.symbol, key.timeframe)], is_first=True)
        return self._stored_frame(self._catalog.lane_of(key), span, instrument)

    # --- private names that tools use ------------------------------------------------------

    def _get_available_years(self, symbol: str, timeframe: str) -> list[int]:
        return self.list_years(symbol, timeframe)

    def _load_year_data(self, symbol: str, timeframe: str, year: int) -> pd.DataFrame | None:
        key = self._lane(symbol, timeframe)
        return self._stored_frame(key, year_span(int(year)), self._instrument_of(symbol))

    def _save_compressed_csv(self, df: pd.DataFrame, path: str | os.PathLike[str]) -> Path:
        """Write a plain gzip CSV file; stored series are only changed by :meth:`put`, under their lock."""
        target = Path(path)
        root, folder = os.path.realpath(self.cache_dir), Path(os.path.realpath(target)).parent
        if Path(root) in folder.parents:
            raise StorageError(
                f"{target.name} would be written among the stored series",
                hint="use put(), or a path outside the cache",
            )
        return export_csv(df, target)

    # --- inside ----------------------------------------------------------------------------

    def _stored_frame(
        self, key: SeriesKey, span: Span, instrument: Instrument
    ) -> pd.DataFrame | None:
        from .frames import stored_frame

        return stored_frame(self._catalog, key, span, instrument)

    def _put_bars(self, df: pd.DataFrame, key: SeriesKey, offer: FrameUpload) -> bool:
        from .frames import to_commit

        commit = to_commit(df, offer, self._clock.now_ms())
        if commit is None:
            log.info("%s: none of the bars in the frame has closed yet", key)
            return False
        vendor = offer.vendor.lower()
        lane = SAMPLE_LANE if vendor in MADE_UP else (vendor,) if is_sample(vendor) else ()
        self.store.commit(replace(key, lane=lane), commit)
        return True

    def _put_table(
        self, df: pd.DataFrame, key: SeriesKey, offer: FrameUpload, data_type: str
    ) -> bool:
        from .frames import requested_span

        span = requested_span(offer, self._clock.now_ms())
        return self.tables(data_type).put(key, df, span, offer.vendor) > 0

    def _check_size(self) -> None:
        """Check the size limit after some puts only, because measuring a folder takes longer."""
        if next(self._puts) % PUTS_BETWEEN_LOOKS == 0:
            self.enforce_limit()


def _supported_options(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the options that callers may pass with the bars.

    Other options, which old programs pass, are ignored.
    """
    if unknown := sorted(set(kwargs) - set(_SAID_BY_CALLERS)):
        log.warning("put() ignores %s", ", ".join(unknown))
    return {name: value for name, value in kwargs.items() if name in _SAID_BY_CALLERS}


# --- one cache per process -----------------------------------------------------------------

# Guards the cache below against threads that configure or request it at the same time.
_lock = threading.RLock()
_cache: UnifiedCache | None = None


def configure_unified_cache(
    cache_dir: str | os.PathLike[str] | None = None, max_size_gb: float | None = None
) -> UnifiedCache:
    """Create the cache that later calls of :func:`get_unified_cache` return. Thread-safe."""
    global _cache
    with _lock:
        _cache = UnifiedCache(cache_dir, max_size_gb)
        return _cache


def get_unified_cache() -> UnifiedCache:
    """Return the cache that this process shares, in the default folder if none was configured."""
    with _lock:
        return _cache if _cache is not None else configure_unified_cache()


def _after_fork() -> None:
    """Give a forked child its own lock, because a thread of the parent may hold the current one."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork)
