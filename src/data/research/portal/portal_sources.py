"""The sources of a portal's bars: the data manager, a user's source, or readers of a bundle.

Each source returns checked bars for several assets as float64. The portal, not the source, decides
which bars a backtest may see at its simulation time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from os import PathLike
from os.path import realpath
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...core.bars.client import Wishes
from ...core.calendars.calendar import ALWAYS_OPEN, calendar_for
from ...core.calendars.grid import BarGrid
from ...core.clock import SystemClock
from ...core.interface import LoopThread, error_text, mask_keys
from ...core.model.answer.frame import NS_IN_MS
from ...core.model.identity.instrument import Instrument
from ...core.model.market.bars import BarTable
from ...core.model.time.instant import DAY_MS, from_ms, iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...core.prices.resample import resample, source_span
from ...errors import DataError, DataPortalError, QueryError
from ..frames.panel import FIELDS, AssetBars, Market, end_of, start_of
from ..sources.identity import identity_of

if TYPE_CHECKING:
    import pandas as pd

    from ...core.bars.client import BarsClient, Rows
    from ...core.calendars.calendar import MarketCalendar
    from ...core.model.request.query import BarsQuery
    from ..frames.frames import pl

# The time that this library's calls also wait for a vendor that sends nothing.
PATIENCE_S = 30.0
_NAMED = 5
_MINUTE = Timeframe(1, "m")
# The reason of an error that is not a failure: the asset was not listed yet.
_NOTHING = "no_data"
# Kinds of datasets in a catalog that are in the data manager's store.
_LANES = ("lane", "read")
_NO_SCALES: Mapping[str, str] = MappingProxyType({})


class Assets(NamedTuple):
    """The assets in a query, in order.

    Attributes:
        names: Symbols of the assets.
        sids: Numbers of the assets in a bundle; empty if no bundle is read.
    """

    names: tuple[str, ...]
    sids: tuple[int, ...] = ()


class Wanted(NamedTuple):
    """The bars to read for a query.

    Attributes:
        assets, timeframe: Assets and timeframe of the bars.
        markets: The assets grouped by market.
        starts: Stamp of the first bar in each market.
        horizon_ms: Instant by which all bars that the query needs have closed.
        until_ms: Instant by which all bars to read have closed.
    """

    assets: Assets
    timeframe: Timeframe
    markets: tuple[Market, ...]
    starts: tuple[int, ...]
    horizon_ms: int
    until_ms: int

    def spans(self) -> list[tuple[Market, Span]]:
        """Return each market with the range of timestamps of its bars."""
        return [
            (market, Span(start, end_of(market, self.timeframe, self.until_ms)))
            for market, start in zip(self.markets, self.starts, strict=True)
        ]


class ReadResult(NamedTuple):
    """The result of reading bars from a source.

    Attributes:
        bars: Bars for each asset, in the order of the assets; None for an asset without bars.
        is_hit: Whether the bars were read without querying a vendor or a source.
        is_complete: Whether all bars that were expected have arrived.
        series: Symbol and timeframe of each stored series from which the bars were built.
        scales: Maps each asset to its price scale, see :class:`.Panel`.
    """

    bars: list[AssetBars | None]
    is_hit: bool
    is_complete: bool = True
    series: frozenset[tuple[str, str]] = frozenset()
    scales: Mapping[str, str] = _NO_SCALES


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

    @abstractmethod
    def reach(self, wanted: Wanted, backs: Sequence[int], *, is_back: bool) -> tuple[Wanted, bool]:
        """Return the bars to read for a query, and whether no vendor was queried to find them.

        Args:
            wanted: Bars that the query needs, with those after them that may be read as well.
            backs: Stamp of the earliest bar that may be read, for each market.
            is_back: Whether the caller moves back in time, so that earlier bars are read as well.
        """

    @abstractmethod
    def read(self, wanted: Wanted) -> ReadResult:
        """Return the bars that are wanted.

        Raises:
            DataPortalError: The bars cannot be obtained, or are invalid.
        """

    def as_one_call(self) -> AbstractContextManager[None]:
        """Return a context in which a failed vendor is not queried again for the same asset."""
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
        """Return a context in which a failed vendor is not queried again for the same asset."""
        return self.client.as_one_call()

    def markets(self, assets: Assets, timeframe: Timeframe) -> tuple[Market, ...]:
        """Return the assets grouped by calendar."""
        day = from_ms(self.now_ms() - DAY_MS), from_ms(self.now_ms())
        positions: dict[MarketCalendar, list[int]] = {}
        for index, name in enumerate(assets.names):
            instrument = self.client.query(name, timeframe, *day).instrument
            positions.setdefault(calendar_for(instrument), []).append(index)
        return tuple(Market(calendar, tuple(indices)) for calendar, indices in positions.items())

    def reach(self, wanted: Wanted, backs: Sequence[int], *, is_back: bool) -> tuple[Wanted, bool]:
        """Return the stored bars around a query; if the query's bars are missing, fetch all of them.

        A caller that steps through stored bars therefore does not cause any requests; a caller that
        steps through other bars, forward or back, causes one request for each series.
        """
        names, spans = wanted.assets.names, wanted.spans()
        firsts = backs if is_back else wanted.starts
        places = {names[n]: at for at, m in enumerate(wanted.markets) for n in m.columns}
        extents = {n: self._extent(n, wanted, spans[at], firsts[at]) for n, at in places.items()}
        lacking = [name for name, extent in extents.items() if extent.is_lacking]
        if lacking:
            self.client.get_missing(
                [
                    self._wide(n, extents[n].timeframe, spans[places[n]][1], backs[places[n]])
                    for n in lacking
                ]
            )
            for name in lacking:
                at = places[name]
                extents[name] = self._extent(name, wanted, spans[at], firsts[at])
        starts = tuple(max(extents[names[n]].start for n in m.columns) for m in wanted.markets)
        until_ms = min(extent.until_ms for extent in extents.values())
        return wanted._replace(starts=starts, until_ms=until_ms), not lacking

    def _extent(
        self, name: str, wanted: Wanted, needed: tuple[Market, Span], first: int
    ) -> _Extent:
        """Determine how far around a query an asset's bars are stored without a gap."""
        market, span = needed
        query = self._wide(name, wanted.timeframe, span, first)
        result = self.client.lookup(query)
        if result.source is not None:
            query = self._wide(name, result.source, span, first)
            result = self.client.lookup(query)
        grid = BarGrid(market.calendar, query.timeframe)
        start, until_ms, is_lacking = query.span.start, wanted.until_ms, False
        for gap in result.missing:
            stamps = grid.opens(gap)
            if not len(stamps):
                continue
            earliest, latest = map(int, grid.closes(stamps[[0, -1]]))
            if gap.start < span.start:
                start = max(start, min(gap.end, span.start))
            if latest > wanted.horizon_ms:
                until_ms = min(until_ms, max(wanted.horizon_ms, earliest - 1))
            is_lacking = is_lacking or (gap.end > span.start and earliest <= wanted.horizon_ms)
        return _Extent(query.timeframe, start, until_ms, is_lacking)

    def _wide(self, name: str, timeframe: Timeframe, span: Span, back: int) -> BarsQuery:
        """Return the query for all bars that may be read for an asset.

        It begins later if another series would answer it, because of a vendor's short history.
        """
        query = self._query(name, timeframe, span)
        if back == span.start:
            return query
        wider = replace(query, span=Span(back, query.span.end))
        try:
            is_same = self.client.series_of(wider) == self.client.series_of(query)
        except DataError:  # the query itself reports the error
            return query
        return wider if is_same else query

    def _query(self, name: str, timeframe: Timeframe, span: Span) -> BarsQuery:
        bounds = from_ms(span.start), from_ms(span.end - 1)
        return self.client.query(name, timeframe, *bounds, wishes=self._wishes)

    def read(self, wanted: Wanted) -> ReadResult:
        """Return the bars that ``get_ohlcv_batch`` would return; no request is made for stored bars."""
        answers: dict[str, Rows] = {}
        before = {name: self._scale(name) for name in wanted.assets.names}
        for market, span in wanted.spans():
            names = [wanted.assets.names[index] for index in market.columns]
            asked = wanted.timeframe, (from_ms(span.start), from_ms(span.end - 1), None)
            answers |= self.client.get_rows_by_symbol(names, *asked, self._wishes)
        facts = {name: answer.facts for name, answer in answers.items()}
        _refuse_failed(facts)
        if self._validator is not None:
            from ..frames.frames import bars_frame

            self.check(bars_frame(answers))
        return ReadResult(
            [_asset_bars(answers[name]) for name in wanted.assets.names],
            not any(one.get("attempts") for one in facts.values()),
            all(one["complete"] for one in facts.values()),
            frozenset(_series_of(facts.values())),
            # If it changed while the bars were read, the scale is equal to no other one.
            {n: was if (now := self._scale(n)) == was else was + now for n, was in before.items()},
        )

    def _scale(self, name: str) -> str:
        """Return the splits and dividends that an asset's prices are adjusted for, as text."""
        try:
            known = self.client.actions(name, self._wishes.provider)
        except DataError:  # the read reports or repairs it
            return ""
        return str(
            [
                (one.action.ex_date, one.action.numerator, one.action.denominator, one.amount)
                for one in known
                if one.counts
            ]
        )


class _Extent(NamedTuple):
    """The extent to which an asset's bars are stored.

    Attributes:
        timeframe: Timeframe of the stored bars, from which others may be built.
        start: Stamp from which on the bars before the needed ones are stored.
        until_ms: Last instant by which all closed bars after the needed ones are stored.
        is_lacking: Whether some of the needed bars are missing.
    """

    timeframe: Timeframe
    start: int
    until_ms: int
    is_lacking: bool


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


def _series_of(attrs: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield symbol and timeframe of each series in the answers, and of the series it is built from."""
    for facts in attrs:
        yield facts["symbol"], facts["timeframe"]
        if made_of := facts.get("derived_from"):
            yield facts["symbol"], made_of["timeframe"]


def _asset_bars(answer: Rows) -> AssetBars | None:
    columns, stamps, values = answer.arrays()
    if not len(stamps):
        return None
    return AssetBars(stamps // NS_IN_MS, values[[columns.index(name) for name in FIELDS]])


class FrameBars(PortalSource):
    """The common base class of the two sources whose bars come in Polars frames.

    Args:
        calendar: Calendar for all assets, or None if it is unknown which bars to expect.
        cache: User's cache (an object with ``get`` and ``put``) that is queried before the source,
            or None.
        catalog: User's catalog of datasets, an object with ``find_dataset`` and
            ``get_dataset_info``, or None. It is used only with a cache.
        validator: See :class:`PortalSource`.
    """

    def __init__(
        self, calendar: MarketCalendar | None, cache: Any, catalog: Any, validator: Any
    ) -> None:
        super().__init__(validator)
        unknown = calendar_for(Instrument("", "crypto", ALWAYS_OPEN))
        self._calendar, self._is_known = calendar or unknown, calendar is not None
        self._cache, self._catalog = cache, catalog

    def markets(self, assets: Assets, timeframe: Timeframe) -> tuple[Market, ...]:
        """Return one market with all assets."""
        return (Market(self._calendar, tuple(range(len(assets.names))), self._is_known),)

    def reach(self, wanted: Wanted, backs: Sequence[int], *, is_back: bool) -> tuple[Wanted, bool]:
        """Return all bars around a query, without those of the last day, which may come later."""
        until_ms = max(wanted.horizon_ms, min(wanted.until_ms, self.now_ms() - DAY_MS))
        starts = tuple(backs) if is_back else wanted.starts
        return wanted._replace(starts=starts, until_ms=until_ms), True

    def read(self, wanted: Wanted) -> ReadResult:
        """Return the bars from the cache or, if they are not cached, from the source."""
        import pandas as pd

        (assets, timeframe, *_), ((market, span),) = wanted, wanted.spans()
        start, end = (pd.Timestamp(from_ms(ms)) for ms in (span.start, span.end - 1))
        where: dict[str, Any] = {}
        frame, version = None, list[Any]()
        if self._cache is not None:
            # Before the frame is read: if the data change meanwhile, the frame counts as stale.
            version = self._version(assets, timeframe, wanted.horizon_ms)
            where = {
                "symbols": list(assets.names),
                "start_date": start,
                "end_date": end,
                "resolution": timeframe.label,
                "source": "@".join(map(str, (self._identity(assets, timeframe), *version))),
            }
            frame = self._call_cache(self._cache.get, where)
        is_hit = frame is not None
        if frame is None:
            frame = self._fetch(assets, timeframe, start, end)
        keys = list(assets.sids or assets.names)
        whole = _collect(frame, self._name)
        bars = bars_of(whole, keys, timeframe, span, self._name)
        self.check(whole)
        # An asset that lacks the last bar of a range that has just ended may get it later.
        last = start_of(market, timeframe, span.end, 1)
        is_whole = self.now_ms() - wanted.until_ms >= DAY_MS or all(
            one is not None and one.stamps[-1] >= last for one in bars
        )
        if where and not is_hit and (version or is_whole):
            self._call_cache(self._cache.put, where | {"data": whole.lazy()})
        return ReadResult(bars, is_hit, is_whole)

    def _version(self, assets: Assets, timeframe: Timeframe, horizon_ms: int) -> list[Any]:
        """Return the generation and the checksum of the source's data, as far as there are any."""
        version: list[Any] = [self._generation(timeframe)]
        if self._catalog is not None:
            with others_code("the catalog failed"):
                version.append(self._checksum(assets, timeframe, horizon_ms))
        return [part for part in version if part is not None]

    def _checksum(self, assets: Assets, timeframe: Timeframe, horizon_ms: int) -> str | None:
        """Return the checksum of the dataset with the assets' last bars before an instant, or None.

        A lane of the store is not such a dataset: the data manager reads it, but this source does
        not.
        """
        step_ms = min(timeframe.longest_ms, DAY_MS)
        last = from_ms((horizon_ms - 1) // step_ms * step_ms)
        question = list(assets.names), last, last, timeframe.label, self._catalog_name
        dataset_id = self._catalog.find_dataset(*question)
        if dataset_id is None:
            return None
        info = self._catalog.get_dataset_info(dataset_id)
        return None if info.get("kind") in _LANES else info["checksum"]

    # The name under which the source's datasets are registered; None means any.
    _catalog_name: str | None = None

    @property
    @abstractmethod
    def _name(self) -> str:
        """The name of the frames' source, used in messages."""

    def _generation(self, timeframe: Timeframe) -> int | None:
        """Return the version number of the source's data, or None if it has none."""
        return None

    @abstractmethod
    def _identity(self, assets: Assets, timeframe: Timeframe) -> str:
        """Return a string that identifies the frames' source in all processes."""

    @abstractmethod
    def _fetch(
        self, assets: Assets, timeframe: Timeframe, start: pd.Timestamp, end: pd.Timestamp
    ) -> Any:
        """Return a frame with the bars from ``start`` to ``end``, both inclusive."""

    def _call_cache(self, method: Any, where: dict[str, Any]) -> Any:
        """Call a method of the user's cache manager; its errors become this library's."""
        with others_code("the cache manager failed"):
            return method(**where)


class ForeignBars(FrameBars):
    """Bars from a user's source: an object with ``async fetch(symbols, start, end, frequency)``.

    The source runs in its own event loop. Its bars are never stored.

    Args:
        source: User's source.
        calendar, cache, catalog, validator: See :class:`FrameBars`.
    """

    def __init__(self, source: Any, *options: Any) -> None:
        super().__init__(*options)
        self._source, self._loop = source, LoopThread("onetape-source")
        name = getattr(source, "name", None)
        self._catalog_name = name if isinstance(name, str) and name else self._name

    @property
    def _name(self) -> str:
        return type(self._source).__name__

    def _identity(self, assets: Assets, timeframe: Timeframe) -> str:
        return identity_of(self._source, self._name)

    def _fetch(
        self, assets: Assets, timeframe: Timeframe, start: pd.Timestamp, end: pd.Timestamp
    ) -> Any:
        symbols = list(assets.names)
        call = partial(self._source.fetch, symbols, start, end, timeframe.label)
        what = (
            f"{self._name} returned no {timeframe} bars for {_names(symbols)} from {start} to {end}"
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
        raise DataPortalError(f"{what}: {error_text(error)}", because_of=reason) from error


class ReaderBars(FrameBars):
    """Bars from a bundle's readers, which identify an asset by its number (sid).

    Args:
        daily, minute: Readers of daily and minute bars, with ``load_raw_arrays(sids, fields, start,
            end)``, or else with ``load_daily_bars`` and ``load_minute_bars``; None if there is no
            such reader. If a reader has a ``timeframe``, its bars have that one. Bars that no reader
            has are built from minutes.
        calendar, cache, catalog, validator: See :class:`FrameBars`.
    """

    def __init__(self, daily: Any, minute: Any, *options: Any) -> None:
        super().__init__(*options)
        self._given = (daily, "load_daily_bars", "1d"), (minute, "load_minute_bars", "1m")

    def read(self, wanted: Wanted) -> ReadResult:
        """Return the bars of a reader, or bars that are built from its minutes."""
        target, readers = wanted.timeframe, self._readers()
        if target in readers or _MINUTE not in readers:
            return super().read(wanted)
        ((market, span),) = wanted.spans()
        source = source_span(span, target, market.calendar, source=_MINUTE)
        result = super().read(wanted._replace(timeframe=_MINUTE, starts=(source.start,)))

        def built(minutes: AssetBars | None) -> AssetBars | None:
            """Return the bars that had closed; a minute without a bar is one without trades."""
            if minutes is None:
                return None
            table = BarTable(minutes.stamps, *minutes.values)
            made = resample(
                table,
                _MINUTE,
                target,
                market.calendar,
                span=span,
                now_ms=wanted.until_ms,
                dense=False,
            ).table
            return AssetBars(made.stamps, np.array(made.values()[: len(FIELDS)])) if made else None

        return result._replace(bars=[built(one) for one in result.bars])

    def _readers(self) -> dict[Timeframe, tuple[Any, str]]:
        """Return each reader and its method, by the timeframe of its bars."""
        readers: dict[Timeframe, tuple[Any, str]] = {}
        for reader, method, usual in self._given:
            if reader is not None:
                with others_code("the reader's timeframe cannot be read"):
                    label = getattr(reader, "timeframe", None)
                    own = Timeframe.parse(label if isinstance(label, str) else usual)
                readers[own] = reader, method
        return readers

    def _reader(self, timeframe: Timeframe) -> tuple[Any, str]:
        """Return the reader that has bars of a timeframe, and its method.

        Raises:
            QueryError: The reader does not exist.
        """
        readers = self._readers()
        if timeframe not in readers:
            raise QueryError(
                f"there is no reader for {timeframe} bars",
                hint=f"available readers: {', '.join(map(str, readers))}",
            )
        return readers[timeframe]

    @property
    def _name(self) -> str:
        return "the reader"

    def _generation(self, timeframe: Timeframe) -> int | None:
        reader, _ = self._reader(timeframe)
        with others_code("the reader's generation cannot be read"):
            generation = getattr(reader, "generation", None)
        return generation if isinstance(generation, int) else None

    def _identity(self, assets: Assets, timeframe: Timeframe) -> str:
        reader, _ = self._reader(timeframe)
        folder: Any = getattr(reader, "parquet_dir", None)
        named = isinstance(folder, str | PathLike)
        own = realpath(folder) if named else identity_of(reader, self._name)
        # A frame has numbers, which may belong to another asset of the same name.
        return f"{type(reader).__qualname__} {own} {sorted(assets.sids)}"

    def _fetch(
        self, assets: Assets, timeframe: Timeframe, start: pd.Timestamp, end: pd.Timestamp
    ) -> Any:
        reader, method = self._reader(timeframe)
        sids, fields = list(assets.sids), list(FIELDS)
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
        mask_keys(error)
        raise
    except Exception as error:  # user code may raise any class
        raise error_type(f"{what}: {error_text(error)}") from error


# --- foreign frames -------------------------------------------------------------------------------


def _collect(frame: Any, about: str) -> pl.DataFrame:
    """Check that a value is a Polars frame, and return it, collected if it is lazy.

    Raises:
        DataPortalError: The value is not a Polars frame.
        MissingExtraError: Polars is not installed.
    """
    from ..frames.frames import pl

    try:
        whole = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    except pl.exceptions.PolarsError as error:
        raise DataPortalError(
            f"{about} returned a frame that cannot be read: {error_text(error)}"
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
    from ..frames.frames import pl

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
    from ..frames.frames import pl

    return bool(dtype.is_numeric() or dtype == pl.Null)


def _stamps(name: str, dtype: pl.DataType, timeframe: Timeframe) -> pl.Expr:
    """Return the bars' timestamps in UTC milliseconds; for daily bars, 00:00 UTC on the date."""
    from ..frames.frames import pl

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


def _names(names: Sequence[str]) -> str:
    """Return the first few names as a string, for a message."""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"
