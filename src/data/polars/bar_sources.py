"""The sources of a portal's bars: the data manager, a user's source, or readers of a bundle.

Each source returns checked bars for several assets as float64. The portal, not the source, decides
which bars a backtest may see at its simulation time.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from itertools import repeat
from os import PathLike
from os.path import realpath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

import numpy as np

from ..bars.client import Wishes
from ..calendars.calendar import ALWAYS_OPEN, calendar_for, first_unclosed
from ..calendars.grid import BarGrid
from ..call_threads import LoopThread
from ..clock import Clock, SystemClock
from ..errors import DataError, DataPortalError, MissingExtraError, QueryError, install_line
from ..model.bars import BarTable
from ..model.frame import NS_IN_MS
from ..model.instant import DAY_MS, MINUTE_MS, from_ms, iso
from ..model.instrument import Instrument
from ..model.interchange import to_polars
from ..model.provenance import ATTRS_KEY
from ..model.span import Span
from ..model.timeframe import Timeframe
from ..prices.conversions import build_objection
from ..prices.resample import resample_many, source_span
from .identity import identity_of
from .panel import FIELDS, AssetBars, Market, start_of

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

    from ..bars.client import BarsClient
    from ..calendars.calendar import MarketCalendar
    from ..model.query import BarsQuery

# The time that this library's calls also wait for a vendor that sends nothing.
PATIENCE_S = 30.0
# How far after a derived bar to look for further source bars: far enough for a long weekend.
_BEHIND_MS = 5 * DAY_MS
# The longest intraday bars from which days of a market with sessions are built.
_FINE_MS = 30 * MINUTE_MS
_NAMED = 5
_NO_ENDS: Mapping[str, int] = MappingProxyType({})
# The reason of an error that is not a failure: the asset was not listed yet.
_NOTHING = "no_data"
# Kinds of datasets in a catalog that are in the data manager's store.
_LANES = ("lane", "read")


class ReadResult(NamedTuple):
    """The result of reading bars from a source.

    Attributes:
        bars: Bars for each asset, in the order of the assets; None for an asset without bars.
        is_hit: Whether the bars were read without querying a vendor or a source.
        is_complete: Whether all bars that were expected have arrived.
        complete_until: Instant up to which they have arrived in any case.
        series: Symbol and timeframe of each stored series from which the bars were built.
    """

    bars: list[AssetBars | None]
    is_hit: bool
    is_complete: bool = True
    series: frozenset[tuple[str, str]] = frozenset()
    complete_until: int = 0


class ReadRange(NamedTuple):
    """The range of bars to read for a query, often wider than the range of the query itself.

    Attributes:
        start: Stamp of the first bar to read.
        until_ms: Instant by which a bar must have closed to be read.
        ends: Maps each asset whose bars end earlier than the others' to the stamp after its last
            bar.
        is_hit: Whether the range was determined without querying a vendor.
    """

    start: int
    until_ms: int
    ends: Mapping[str, int] = _NO_ENDS
    is_hit: bool = True


class ReadLimits(NamedTuple):
    """The limits for reading more bars than a query needs, because later queries will need them.

    Attributes:
        span: Range of timestamps of the query's bars and of later bars that may be read ahead.
        horizon_ms: Instant by which all of the query's bars have closed.
        until_ms: Instant by which a bar must have closed to be read ahead.
        back: Stamp of the earliest bar that may be read.
        is_back: Whether the caller moves back in time, so that earlier bars are read as well.
    """

    span: Span
    horizon_ms: int
    until_ms: int
    back: int
    is_back: bool = False


class Assets(NamedTuple):
    """The assets in a query, in order.

    Attributes:
        names: Symbols of the assets.
        sids: Numbers of the assets in a bundle; empty if no bundle is read.
    """

    names: tuple[str, ...]
    sids: tuple[int, ...] = ()


class PortalSource(ABC):
    """The base class of a portal's sources of bars. Thread-safe.

    Args:
        validator: Object whose ``validate`` method is called with each Polars frame that is read,
            or None.
    """

    def __init__(self, validator: Any = None) -> None:
        self._validator = validator

    def now_ms(self) -> int:
        """Return the current time; a bar that closes later does not exist yet."""
        return SystemClock().now_ms()

    @abstractmethod
    def markets(self, assets: Assets, timeframe: Timeframe) -> tuple[Market, ...]:
        """Return the assets grouped by market."""

    def reach(self, assets: Assets, timeframe: Timeframe, around: ReadLimits) -> ReadRange:
        """Return the range of bars to read for a query, within the limits in ``around``."""
        return ReadRange(around.back if around.is_back else around.span.start, around.until_ms)

    @abstractmethod
    def read(
        self,
        assets: Assets,
        timeframe: Timeframe,
        span: Span,
        ends: Mapping[str, int] = _NO_ENDS,
        horizon_ms: int | None = None,
    ) -> ReadResult:
        """Return the bars with timestamps in a span.

        Args:
            assets, timeframe, span: Bars to read.
            ends: Maps an asset to the stamp before which its bars end.
            horizon_ms: Instant by which all bars of the query have closed; it is used to find the
                dataset that contains them. None means that no catalog is used.

        Raises:
            DataPortalError: The bars cannot be obtained, or are invalid.
        """

    def as_one_call(self) -> AbstractContextManager[None]:
        """Return a context manager within which a failed vendor is not queried again for the same asset."""
        return nullcontext()

    def check(self, frame: pl.DataFrame) -> None:
        """Check a frame with the user's validator, if there is one.

        Raises:
            DataPortalError: The validator rejects the frame.
        """
        if self._validator is None:
            return
        with others_code("the validator rejected the bars"):
            verdict = self._validator.validate(frame)
        if not getattr(verdict, "valid", verdict):
            raise DataPortalError(f"the validator rejected the bars: {verdict}")


class ManagerBars(PortalSource):
    """Bars from the data manager's store and, if necessary, its vendors.

    Args:
        client: Client of the data manager.
        wishes: Options for each query: the only vendor to query, if any, and whether to fetch
            stored bars again.
        validator: See :class:`PortalSource`.
    """

    def __init__(self, client: BarsClient, wishes: Wishes, validator: Any = None) -> None:
        super().__init__(validator)
        self.client, self._wishes = client, wishes

    def now_ms(self) -> int:
        """Return the data manager's time."""
        return self.client.clock.now_ms()

    def as_one_call(self) -> AbstractContextManager[None]:
        """Return a context manager within which a failed vendor is not queried again for the same asset."""
        return self.client.as_one_call()

    def _instruments(self, assets: Assets, timeframe: Timeframe) -> list[Instrument]:
        day = from_ms(self.now_ms() - DAY_MS), from_ms(self.now_ms())
        return [self.client.query(name, timeframe, *day).instrument for name in assets.names]

    def markets(self, assets: Assets, timeframe: Timeframe) -> tuple[Market, ...]:
        """Return the assets grouped by calendar."""
        positions: dict[MarketCalendar, list[int]] = {}
        for index, instrument in enumerate(self._instruments(assets, timeframe)):
            positions.setdefault(calendar_for(instrument), []).append(index)
        return tuple(Market(calendar, tuple(indices)) for calendar, indices in positions.items())

    def reach(self, assets: Assets, timeframe: Timeframe, around: ReadLimits) -> ReadRange:
        """Return the range of stored bars; if the query's bars are missing, fetch a wider range.

        A caller that steps through stored bars therefore does not cause any requests; a caller that
        steps through other bars, forward or back, causes one request for each series. Bars shorter
        than a day require many requests, so earlier ones are fetched only if the caller moves back
        in time.
        """
        span, horizon_ms = around.span, around.horizon_ms
        known = {n: self._find_known(n, timeframe, around) for n in assets.names}
        lacking = [
            name
            for name, extent in known.items()
            if extent.until_ms < horizon_ms or (around.is_back and extent.is_holed)
        ]
        if lacking:
            queries = [known[name].query for name in lacking]
            if around.is_back or not timeframe.is_intraday:
                queries = [self._further_back(query, around.back) for query in queries]
            self.client.get_missing(queries)
            for name in lacking:
                known[name] = self._find_known(name, timeframe, around)
        starts = [self._stored_since(n, timeframe, around) for n in known] if around.is_back else []
        there = {name: extent for name, extent in known.items() if extent.until_ms >= horizon_ms}
        until_ms = min(
            [horizon_ms] * (len(there) < len(known)) + [k.until_ms for k in there.values()]
        )
        ends = {name: extent.end for name, extent in there.items() if extent.end is not None}
        return ReadRange(max(starts, default=span.start), until_ms, ends, not lacking)

    def _further_back(self, query: BarsQuery, start: int) -> BarsQuery:
        """Return the query with an earlier start, or unchanged if another series would answer.

        The series can differ if a vendor's history is too short for the earlier start.
        """
        wider = replace(query, span=Span(start, query.span.end))
        try:
            is_same = self.client.series_of(wider) == self.client.series_of(query)
        except DataError:  # the query itself reports the error
            return query
        return wider if is_same else query

    def _stored_since(self, name: str, timeframe: Timeframe, around: ReadLimits) -> int:
        """Return the earliest timestamp from which all bars up to the query's first bar are stored."""
        wider = self._further_back(self._query(name, timeframe, around.span), around.back)
        before = Span(wider.span.start, around.span.start)
        if before.is_empty:
            return around.span.start
        query, missing = self._missing_spans(name, timeframe, before)
        ends = [hole.end for hole in missing if hole.start < before.end]
        if not ends:
            return before.start
        grid = BarGrid(calendar_for(query.instrument), timeframe)
        stamps = grid.opens(Span(max(ends), max(*ends, before.end)))
        return int(stamps[0]) if len(stamps) else before.end

    def _find_known(self, name: str, timeframe: Timeframe, around: ReadLimits) -> _StoredExtent:
        """Determine how far beyond the query an asset's bars are stored without a gap."""
        query, missing = self._missing_spans(name, timeframe, around.span)
        calendar = calendar_for(query.instrument)
        grid = BarGrid(calendar, query.timeframe)
        is_holed = False
        for gap in missing:
            stamps = grid.opens(gap)
            if not len(stamps):
                continue
            first, last = (int(close) for close in grid.closes(stamps[[0, -1]]))
            is_holed = is_holed or first <= around.horizon_ms
            # A gap within the query does not stop a caller that moves forward; only bars missing
            # after the query do.
            if last > around.horizon_ms:
                known_ms = min(around.until_ms, first - 1)
                end = gap.start
                if query.timeframe != timeframe:
                    end = first_unclosed(calendar, timeframe, known_ms)
                return _StoredExtent(query, known_ms, end, is_holed)
        return _StoredExtent(query, around.until_ms, None, is_holed)

    def _missing_spans(
        self, name: str, timeframe: Timeframe, span: Span
    ) -> tuple[BarsQuery, tuple[Span, ...]]:
        """Return the query for the bars (or for shorter bars to build them from), and its gaps."""
        query = self._query(name, timeframe, span)
        result = self.client.lookup(query)
        if result.source is not None:
            query = self._query(name, result.source, span)
            result = self.client.lookup(query)
        return query, result.missing

    def _query(self, name: str, timeframe: Timeframe, span: Span) -> BarsQuery:
        bounds = from_ms(span.start), from_ms(span.end - 1)
        return self.client.query(name, timeframe, *bounds, wishes=self._wishes)

    def read(
        self,
        assets: Assets,
        timeframe: Timeframe,
        span: Span,
        ends: Mapping[str, int] = _NO_ENDS,
        horizon_ms: int | None = None,
    ) -> ReadResult:
        """Return the bars that ``get_ohlcv_batch`` would return; no request is made for stored bars."""
        names = list(dict.fromkeys(assets.names))
        spans = [Span(span.start, min(span.end, ends.get(name, span.end))) for name in names]
        queries = [self._query(*row) for row in zip(names, repeat(timeframe), spans, strict=False)]
        frames = dict(zip(names, self.client.get_batch(queries), strict=True))
        attrs = [frame.attrs[ATTRS_KEY] for frame in frames.values()]
        _refuse_failed(dict(zip(frames, attrs, strict=True)))
        if self._validator is not None:
            self.check(to_polars(frames))
        bars = {name: _asset_bars(frame) for name, frame in frames.items()}
        return ReadResult(
            [bars[name] for name in assets.names],
            not any(facts.get("attempts") for facts in attrs),
            all(facts["complete"] for facts in attrs),
            frozenset(_series_of(attrs)),
        )


class _StoredExtent(NamedTuple):
    """The extent to which an asset's bars are stored.

    Attributes:
        query: Query for the bars, including those to be read ahead.
        until_ms: Last instant by which all closed bars are stored.
        end: Stamp at which the stored bars end (exclusive), or None for the end of the span.
        is_holed: Whether some bars that the caller requested are missing.
    """

    query: BarsQuery
    until_ms: int
    end: int | None = None
    is_holed: bool = False


def _refuse_failed(attrs: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise the error of the first asset that failed; an asset without data has not failed."""
    errors = {name: facts["error"] for name, facts in attrs.items() if "error" in facts}
    failures = {name: error for name, error in errors.items() if error["reason"] != _NOTHING}
    if not failures:
        return
    first, error = next(iter(failures.items()))
    others = f", and {len(failures) - 1} more" if len(failures) > 1 else ""
    refusal = DataPortalError(
        f"no bars for {first}{others}: {error['message']}", because_of=error["reason"], symbol=first
    )
    refusal.candidates = tuple(error["candidates"])
    raise refusal


def _series_of(attrs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield symbol and timeframe of each series in the answers, and of the series it is built from."""
    for facts in attrs:
        yield facts["symbol"], facts["timeframe"]
        if made_of := facts.get("derived_from"):
            yield facts["symbol"], made_of["timeframe"]


def _asset_bars(frame: pd.DataFrame) -> AssetBars | None:
    if not len(frame):
        return None
    stamps = frame.index.asi8 // NS_IN_MS  # type: ignore[attr-defined] # times
    values = np.stack([frame[name].to_numpy(dtype=np.float64) for name in FIELDS])
    return AssetBars(np.asarray(stamps, dtype=np.int64), values)


class PolarsBars(PortalSource):
    """The common base class of the two sources whose bars come in Polars frames.

    Args:
        calendar: Calendar for all assets, or None if it is unknown which bars to expect.
        cache: User's cache (an object with ``get`` and ``put``) that is queried before the source,
            or None.
        catalog: User's catalog of datasets, an object with ``find_dataset`` and
            ``get_dataset_info``, or None. It is used only with a cache.
        clock: Source of the current time; None is the system clock.
        validator: See :class:`PortalSource`.
    """

    def __init__(
        self,
        calendar: MarketCalendar | None,
        cache: Any = None,
        catalog: Any = None,
        clock: Clock | None = None,
        validator: Any = None,
    ) -> None:
        super().__init__(validator)
        unknown = calendar_for(Instrument("", "crypto", ALWAYS_OPEN))
        self._calendar, self._is_known = calendar or unknown, calendar is not None
        self._cache, self._catalog, self._clock = cache, catalog, clock or SystemClock()
        self._is_versioned = cache is not None and _takes_versions(cache.get, cache.put)

    def now_ms(self) -> int:
        """Return the current time."""
        return self._clock.now_ms()

    def markets(self, assets: Assets, timeframe: Timeframe) -> tuple[Market, ...]:
        """Return one market with all assets."""
        return (Market(self._calendar, tuple(range(len(assets.names))), self._is_known),)

    def read(
        self,
        assets: Assets,
        timeframe: Timeframe,
        span: Span,
        ends: Mapping[str, int] = _NO_ENDS,
        horizon_ms: int | None = None,
    ) -> ReadResult:
        """Return the bars from the cache or, if they are not cached, from the source."""
        import pandas as pd

        keys = self._keys(assets)
        start, end = (pd.Timestamp(from_ms(ms)) for ms in (span.start, span.end - 1))
        where = {
            "symbols": list(assets.names),
            "start_date": start,
            "end_date": end,
            "resolution": timeframe.label,
            "source": self._source_name,
        }
        # Before the frame is read: if the data change meanwhile, the frame counts as stale.
        version = {} if self._cache is None else self._version(assets, timeframe, horizon_ms)
        if self._is_versioned:
            where |= version | {"source": self._identity_for(assets, timeframe)}
        elif version:  # the key of a frame of another version is another one
            where["source"] = "@".join((self._source_name, *map(str, version.values())))
        frame = None if self._cache is None else self._call_cache(self._cache.get, where)
        is_hit = frame is not None
        if frame is None:
            frame = self._fetch(assets, timeframe, start, end)
        whole = _collect(frame, self._source_name)
        bars = bars_of(whole, keys, timeframe, span, self._source_name)
        self.check(whole)
        is_whole = not self._may_grow(assets, timeframe, span, bars)
        if self._cache is not None and not is_hit and ("generation" in version or is_whole):
            self._call_cache(self._cache.put, where | {"data": whole.lazy()})
        until = self.now_ms() - DAY_MS  # what is older than that does not come any more
        return ReadResult(bars, is_hit, is_whole, complete_until=until)

    def _may_grow(
        self, assets: Assets, timeframe: Timeframe, span: Span, bars: Sequence[AssetBars | None]
    ) -> bool:
        """Return whether an asset lacks the last bar of a range that has just ended.

        The source may get that bar later. If a frame without that bar were kept, in the cache or in
        the portal, the bar would stay hidden until the frame is stale.
        """
        if self.now_ms() - span.end > DAY_MS:
            return False
        (market,) = self.markets(assets, timeframe)
        last = start_of(market, timeframe, span.end, 1)
        return any(asset_bars is None or asset_bars.stamps[-1] < last for asset_bars in bars)

    def _identity_for(self, assets: Assets, timeframe: Timeframe) -> str:
        """Return the identity of the source that frames come from."""
        identity = self._identity(timeframe)
        if assets.sids:  # a frame has numbers, which may belong to another asset of the same name
            identity = f"{identity} {sorted(assets.sids)}"
        return identity

    def _version(
        self, assets: Assets, timeframe: Timeframe, horizon_ms: int | None
    ) -> dict[str, Any]:
        """Return the version of the source's data, keyed by the names of the cache's arguments."""
        version: dict[str, Any] = {}
        generation = self._generation(timeframe)
        if generation is not None:
            version["generation"] = generation
        if self._catalog is not None and horizon_ms is not None:
            with others_code("the catalog failed"):
                checksum = self._checksum(assets, timeframe, horizon_ms)
            if checksum is not None:
                version["checksum"] = checksum
        return version

    def _checksum(self, assets: Assets, timeframe: Timeframe, horizon_ms: int) -> str | None:
        """Return the checksum of the dataset with the assets' last bars before an instant, or None.

        A lane of the store is not such a dataset: the data manager reads it, but this source does
        not.
        """
        step_ms = min(timeframe.longest_ms, DAY_MS)
        last = from_ms((horizon_ms - 1) // step_ms * step_ms)
        label, symbols = timeframe.label, list(assets.names)
        dataset_id = self._catalog.find_dataset(symbols, last, last, label, self._catalog_source)
        if dataset_id is None:
            return None
        info = self._catalog.get_dataset_info(dataset_id)
        return None if info.get("kind") in _LANES else info["checksum"]

    @property
    def _catalog_source(self) -> str | None:
        """The name under which the source's datasets are registered; None means any."""
        return None

    def _generation(self, timeframe: Timeframe) -> int | None:
        """Return the version number of the source's data, or None if it has none."""
        return None

    @abstractmethod
    def _identity(self, timeframe: Timeframe) -> str:
        """Return a string that identifies the source in all processes."""

    @property
    @abstractmethod
    def _source_name(self) -> str:
        """The name of the frames' source, used in messages and as part of the key in the user's cache."""

    @abstractmethod
    def _keys(self, assets: Assets) -> list[Any]:
        """Return the assets' values in the column that identifies them."""

    @abstractmethod
    def _fetch(
        self, assets: Assets, timeframe: Timeframe, start: pd.Timestamp, end: pd.Timestamp
    ) -> Any:
        """Return a frame with the bars from ``start`` to ``end``, both inclusive."""

    def _call_cache(self, method: Any, where: dict[str, Any]) -> Any:
        """Call a method of the user's cache manager; its errors become this library's."""
        with others_code("the cache manager failed"):
            return method(**where)


class ForeignBars(PolarsBars):
    """Bars from a user's source: an object with ``async fetch(symbols, start, end, frequency)``.

    The source runs in its own event loop. Its bars are never stored.

    Args:
        source: User's source.
        calendar, cache, catalog, clock, validator: See :class:`PolarsBars`.
    """

    def __init__(self, source: Any, *options: Any) -> None:
        super().__init__(*options)
        self._source, self._loop = source, LoopThread("onetape-source")

    @property
    def _source_name(self) -> str:
        return type(self._source).__name__

    @property
    def _catalog_source(self) -> str | None:
        name = getattr(self._source, "name", None)
        return name if isinstance(name, str) and name else self._source_name

    def _identity(self, timeframe: Timeframe) -> str:
        return _identity_of(self._source, self._source_name)

    def _keys(self, assets: Assets) -> list[Any]:
        return list(assets.names)

    def _fetch(
        self, assets: Assets, timeframe: Timeframe, start: pd.Timestamp, end: pd.Timestamp
    ) -> Any:
        symbols = list(assets.names)
        call = partial(self._source.fetch, symbols, start, end, timeframe.label)
        what = (
            f"{self._source_name} returned no {timeframe} bars for {_names(symbols)} from {start} "
            f"to {end}"
        )
        try:
            frame, error = self._loop.run(call, PATIENCE_S)
        except TimeoutError as late:
            raise DataPortalError(
                f"{what}: no response within {PATIENCE_S:g} s", because_of="timeout"
            ) from late
        if error is None:
            return frame
        reason = error.reason if isinstance(error, DataError) else "outage"
        raise DataPortalError(f"{what}: {_text_of(error)}", because_of=reason) from error


class ReaderBars(PolarsBars):
    """Bars from a bundle's readers, which identify an asset by its number (sid).

    Args:
        daily, minute: Readers of daily and minute bars, with ``load_raw_arrays(sids, fields, start,
            end)``, or else with ``load_daily_bars`` and ``load_minute_bars``; None if there is no
            such reader. If a reader has a ``timeframe``, its bars have that one.
        calendar, cache, catalog, clock, validator: See :class:`PolarsBars`.

    Bars of other timeframes are built from the longest bars from which they can be built. A bar is
    built only if some asset has a bar in or after its last minute (or day); otherwise, the bundle
    might end in the middle of the bar.
    """

    def __init__(self, daily: Any, minute: Any, *options: Any) -> None:
        super().__init__(*options)
        self._given = (daily, "load_daily_bars", "1d"), (minute, "load_minute_bars", "1m")

    @property
    def _readers(self) -> dict[Timeframe, tuple[Any, str]]:
        """The reader and its method for each timeframe; minutes or days if it does not have one."""
        readers = {}
        for reader, method, usual in self._given:
            if reader is not None:
                with others_code("the reader's timeframe cannot be read"):
                    label = getattr(reader, "timeframe", None)
                    timeframe = Timeframe.parse(label if isinstance(label, str) else usual)
                readers[timeframe] = reader, method
        return readers

    def read(
        self,
        assets: Assets,
        timeframe: Timeframe,
        span: Span,
        ends: Mapping[str, int] = _NO_ENDS,
        horizon_ms: int | None = None,
    ) -> ReadResult:
        """Return the bars from the reader for this timeframe, or build them from shorter bars."""
        source = self._made_of(timeframe)
        if source is None:
            return super().read(assets, timeframe, span, ends, horizon_ms)
        return self._build_bars(assets, timeframe, span, source, horizon_ms)

    def _made_of(self, timeframe: Timeframe) -> Timeframe | None:
        """Return the timeframe of the bars to build the requested bars from.

        Return None if a reader has the requested bars, or if they cannot be built.
        """
        readers = self._readers
        if timeframe in readers:
            return None
        fit = [source for source in readers if self._can_build(source, timeframe)]
        return max(fit, key=lambda source: source.longest_ms, default=None)

    def _can_build(self, source: Timeframe, target: Timeframe) -> bool:
        """Return whether ``target`` bars can be built, even if the source's bars follow the clock."""
        is_fine = source.is_intraday and source.longest_ms <= _FINE_MS
        if is_fine and not target.is_intraday:
            return True
        return not build_objection(source, target, self._calendar, source_anchor="clock")

    def _build_bars(
        self,
        assets: Assets,
        timeframe: Timeframe,
        span: Span,
        source: Timeframe,
        horizon_ms: int | None,
    ) -> ReadResult:
        """Build bars from shorter ones, according to the calendar's sessions."""
        calendar, now_ms = self._calendar, self.now_ms()
        needed = source_span(span, timeframe, calendar, source=source)
        if needed.is_empty:
            return ReadResult([None] * len(assets.names), is_hit=True)
        behind = Span(needed.start, max(needed.end, min(now_ms, needed.end + _BEHIND_MS)))
        below = super().read(assets, source, behind, horizon_ms=horizon_ms)
        tables = [_table_of(bars) for bars in below.bars]
        known = max((int(t.stamps[-1]) + source.longest_ms for t in tables if len(t)), default=0)
        unknown = [Span(max(known, needed.start), needed.end)] if known < needed.end else []
        made = resample_many(
            tables,
            source,
            timeframe,
            calendar,
            span=needed,
            now_ms=now_ms,
            dense=False,
            unanswered=[unknown] * len(tables),
        )
        bars = [
            AssetBars(answer.table.stamps, np.stack(answer.table.values()[:5]))
            if len(answer.table)
            else None
            for answer in made
        ]
        return below._replace(bars=bars)

    @property
    def _source_name(self) -> str:
        return "the reader"

    def _generation(self, timeframe: Timeframe) -> int | None:
        reader, _ = self._readers.get(timeframe, (None, ""))
        with others_code("the reader's generation cannot be read"):
            generation = getattr(reader, "generation", None)
        return generation if isinstance(generation, int) else None

    def _identity(self, timeframe: Timeframe) -> str:
        reader, _ = self._readers.get(timeframe, (None, ""))
        folder = getattr(reader, "parquet_dir", None)
        if isinstance(folder, str | PathLike):
            return f"{type(reader).__qualname__} {realpath(folder)}"
        return _identity_of(reader, self._source_name)

    def _keys(self, assets: Assets) -> list[Any]:
        return list(assets.sids)

    def _fetch(
        self, assets: Assets, timeframe: Timeframe, start: pd.Timestamp, end: pd.Timestamp
    ) -> Any:
        readers = self._readers
        reader, method = readers.get(timeframe, (None, ""))
        if reader is None:
            raise QueryError(
                f"there is no reader for {timeframe} bars",
                hint=f"available readers: {', '.join(map(str, readers))}",
            )
        sids, fields = self._keys(assets), list(FIELDS)
        bounds = (start, end) if timeframe.is_intraday else (start.date(), end.date())
        with others_code(f"the reader returned no {timeframe} bars for {_names(assets.names)}"):
            if hasattr(reader, "load_raw_arrays"):
                return reader.load_raw_arrays(sids, fields, *bounds)
            return getattr(reader, method)(sids, *bounds, fields=fields)


@contextmanager
def others_code(what: str, error_type: type[DataError] = DataPortalError) -> Iterator[None]:
    """Convert errors raised by user code to this library's errors.

    This library's own errors pass through, with API keys removed from their text.

    Args:
        what: Description of the failure, for the message.
        error_type: Class of the error to raise.

    Raises:
        DataError: The user code failed; the error has the class ``kind``.
    """
    try:
        yield
    except DataError as error:
        from ..vendors.foreign import mask_keys

        mask_keys(error)
        raise
    except Exception as error:  # user code may raise any class
        raise error_type(f"{what}: {_text_of(error)}") from error


def _text_of(error: BaseException) -> str:
    from ..vendors.foreign import error_text  # not needed unless something fails

    return error_text(error)


# Identities by the ids of living objects, so that two portals over one source share frames.
_identities: dict[int, str] = {}


def _identity_of(source: Any, name: str) -> str:
    """Return an identity for a source or reader, which stays the same for the same object."""
    if id(source) not in _identities:
        identity = identity_of(source, name)
        try:
            finalize(source, _identities.pop, id(source), None).atexit = False
        except TypeError:  # nothing would say when the object is gone
            return identity
        _identities[id(source)] = identity
    return _identities[id(source)]


def _takes_versions(*methods: Any) -> bool:
    """Return whether methods have the arguments ``checksum`` and ``generation``."""
    try:
        options = [inspect.signature(method).parameters for method in methods]
    except (TypeError, ValueError):
        return False
    return all({"checksum", "generation"} <= set(names) for names in options)


# --- foreign frames -------------------------------------------------------------------------------


def _collect(frame: Any, about: str) -> pl.DataFrame:
    """Check that a value is a Polars frame, and return it, collected if it is lazy.

    Raises:
        DataPortalError: The value is not a Polars frame.
        MissingExtraError: Polars is not installed.
    """
    try:
        import polars as pl
    except ImportError as missing:
        raise MissingExtraError(
            "Polars frames need the `polars` extra", hint=install_line("polars")
        ) from missing
    try:
        whole = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    except pl.exceptions.PolarsError as error:
        raise DataPortalError(
            f"{about} returned a frame that cannot be read: {_text_of(error)}"
        ) from error
    if not isinstance(whole, pl.DataFrame):
        raise DataPortalError(
            f"{about} returned {type(frame).__name__}, not a Polars frame",
            hint="`fetch` must return a pl.DataFrame with timestamp or date, symbol and prices",
        )
    return whole


def bars_of(
    frame: pl.DataFrame, keys: Sequence[Any], timeframe: Timeframe, span: Span, about: str
) -> list[AssetBars | None]:
    """Return the bars for each key in a long frame, in the form that the portal uses.

    Rows may be in any order. Rows for other assets, and rows outside the span, are left out;
    duplicate rows are merged.

    Args:
        frame: Frame with ``timestamp`` or ``date``, with ``symbol`` or ``sid`` if there are several
            keys, and with ``open high low close``; a missing ``volume`` becomes NaN.
        keys: Symbols or sids of the requested assets, as in the frame.
        timeframe: Timeframe of the bars; the timestamps of daily bars are the dates in the column's
            time zone.
        span: Range of the requested timestamps.
        about: Name of the frame's source, for messages.

    Raises:
        DataPortalError: The frame lacks a column; contains a non-number, a non-time or an
            infinity; or has two different bars with the same stamp.
    """
    import polars as pl

    if not frame.height:
        return [None] * len(keys)
    stamp = next((name for name in ("timestamp", "date") if name in frame.columns), None)
    label = next((name for name in ("symbol", "sid") if name in frame.columns), None)
    lacking = [name for name in FIELDS[:-1] if name not in frame.columns]
    lacking += ["timestamp"] if stamp is None else []
    lacking += ["symbol"] if label is None and len(keys) > 1 else []
    if lacking or stamp is None:
        raise DataPortalError(
            f"{about} returned a frame without {', '.join(lacking)}: it has "
            f"{', '.join(frame.columns)}"
        )
    there = [name for name in FIELDS if name in frame.columns]
    dtypes = {name: frame[name].dtype for name in there}
    wrong = [f"{name} is {dtype}" for name, dtype in dtypes.items() if not _is_number(dtype)]
    if not isinstance(frame[stamp].dtype, pl.Date | pl.Datetime):
        wrong.append(f"{stamp} is {frame[stamp].dtype}")
    elif frame[stamp].null_count():
        wrong.append(f"{stamp} is null in {frame[stamp].null_count()} rows")
    if wrong:
        raise DataPortalError(f"{about} returned a frame in which {', '.join(wrong)}")
    floats = [pl.col(name).cast(pl.Float64).fill_null(float("nan")) for name in there]
    floats += [pl.lit(float("nan")).alias(name) for name in FIELDS if name not in there]
    rows = frame.select(
        _stamps(stamp, frame[stamp].dtype, timeframe).alias("stamp"),
        (pl.lit(0) if label is None else pl.col(label)).alias("key"),
        *floats,
    ).filter(pl.col("stamp") >= span.start, pl.col("stamp") < span.end)
    parts = rows.partition_by("key", as_dict=True)
    wanted = [0] if label is None else keys
    return [_check_bars(parts.get((key,)), str(key), about) for key in wanted]


def _is_number(dtype: pl.DataType) -> bool:
    import polars as pl

    return bool(dtype.is_numeric() or dtype == pl.Null)


def _stamps(name: str, dtype: pl.DataType, timeframe: Timeframe) -> pl.Expr:
    """Return the bars' timestamps in UTC milliseconds; for daily bars, 00:00 UTC on the date."""
    import polars as pl

    column = pl.col(name)
    if dtype == pl.Date:
        return column.cast(pl.Int64) * DAY_MS
    if not timeframe.is_intraday:
        return column.dt.date().cast(pl.Int64) * DAY_MS
    return column.dt.epoch("ms")


def _check_bars(rows: pl.DataFrame | None, key: str, about: str) -> AssetBars | None:
    """Return the bars for one asset, ascending and without duplicates.

    Raises:
        DataPortalError: Two different bars have the same timestamp, or a bar contains an infinite
            value.
    """
    if rows is None or not rows.height:
        return None
    rows = rows.unique().sort("stamp")
    stamps = rows["stamp"].to_numpy().astype(np.int64)
    twice = stamps[1:][stamps[1:] == stamps[:-1]]
    if len(twice):
        raise DataPortalError(
            f"{about} returned two different bars for {key} at {iso(int(twice[0]))}",
            hint="return only the right one",
        )
    values = np.ascontiguousarray(rows.select(FIELDS).to_numpy().T, dtype=np.float64)
    if np.isinf(values).any():
        at = int(stamps[np.isinf(values).any(axis=0)][0])
        raise DataPortalError(
            f"{about} returned an infinite value in the bar for {key} at {iso(at)}"
        )
    return AssetBars(stamps, values)


def _table_of(bars: AssetBars | None) -> BarTable:
    """Convert bars to a table, leaving out bars without prices."""
    if bars is None:
        return BarTable.empty()
    traded = ~np.isnan(bars.values[:4]).any(axis=0)
    return BarTable.of_columns(bars.stamps[traded], list(bars.values[:, traded]))


def _names(names: Sequence[str]) -> str:
    """Return the first few names as a string, for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
