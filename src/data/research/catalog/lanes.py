"""Presents lanes of the store as datasets, based on the store's current state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import NAMESPACE_URL, uuid5

from ...core.model.stored.coverage import WITH_BARS
from ...core.model.time.span import Span, coalesce
from ...core.model.time.timeframe import Timeframe
from ...errors import DataError, NoProviderError, QueryError
from ..bundles.catalog_tables import CoveredRange, Dataset, RangeRow, SymbolRow
from ..lineage.run_records import key_of

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.model.identity.instrument import Instrument
    from ...core.model.identity.kind import AskedSession
    from ...core.model.identity.series import SeriesKey
    from ...core.model.stored.stored import CoverageSpan

__all__ = ["Lane", "LaneDatasets", "lane_id", "lane_place", "lane_source"]


class Lane(NamedTuple):
    """A lane as a dataset; its place is the cache folder and the series, separated by a newline."""

    place: str
    dataset: Dataset


class LaneDatasets:
    """The lanes (stored bars of one kind for one series) in one cache folder.

    Thread-safe.

    Args:
        client: Function that returns the client for reading stored bars; called on first use.
    """

    def __init__(self, client: Callable[[], BarsClient]) -> None:
        self._client = client
        self._measured: dict[SeriesKey, tuple[tuple[CoverageSpan, ...], Dataset]] = {}

    def find(
        self,
        symbol: str,
        resolution: str,
        start: int,
        end: int,
        source: str | None,
        session: AskedSession = "regular",
    ) -> Lane | None:
        """Return the lane that covers a range for a symbol, or None if there is none.

        Args:
            symbol, resolution: Symbol and timeframe as the caller names them.
            start, end: Range in UTC seconds, ends included.
            source: Vendor, or vendor and lane; None means the lane from which the rules would
                answer.
            session: Trading hours of the lane's bars.

        Raises:
            CacheError: The store cannot be read.
        """
        asset = self.instrument(symbol, resolution)
        keys = self._client().lanes(asset.symbol, Timeframe.parse(resolution)) if asset else []
        keys = [key for key in keys if key.session == session]
        for key in keys if source else keys[:1]:
            # These lanes answer only queries that name them.
            if not source and (key.is_sample or key.made_of):
                continue
            lane = self.get(key)
            if lane is None or source not in (None, lane.source, lane.source.rpartition("/")[0]):
                continue
            if any(part.start <= start and end <= part.end for part in lane.covers):
                return Lane(self.place(key), lane)
        return None

    def get(self, key: SeriesKey) -> Dataset | None:
        """Return the current state of a lane, or None if it contains no bars.

        Raises the errors of :meth:`find`.
        """
        coverage = self._client().coverage(key)
        cached = self._measured.get(key)
        if cached is None or cached[0] != coverage:
            if not any(entry.state in WITH_BARS for entry in coverage):
                return None
            cached = self._measured[key] = coverage, self._measure(key, coverage)
        return cached[1]

    def at(self, place: str) -> Lane | None:
        """Return the lane at a place; None if the lane is not in this cache or cannot be read."""
        try:
            key = key_of(place.partition("\n")[2])
            lane = self.get(key) if self.place(key) == place else None
        except (ValueError, DataError):
            return None
        return None if lane is None else Lane(place, lane)

    def all(self) -> Iterator[Lane]:
        """Yield the stored lanes, except those that cannot be read."""
        for key in self._client().series():  # `onetape cache list` reports those
            if (lane := self.at(self.place(key))) is not None:
                yield lane

    def place(self, key: SeriesKey) -> str:
        """Return the place of a lane in the store."""
        return lane_place(str(self._client().folder), key)

    def instrument(self, symbol: str, resolution: str) -> Instrument | None:
        """Return the instrument that a symbol stands for under the rules; None if unclear."""
        try:
            return self._client().query(symbol, resolution).instrument
        except (QueryError, NoProviderError):
            return None

    def _measure(self, key: SeriesKey, coverage: Sequence[CoverageSpan]) -> Dataset:
        # Gaps that will be requested again and suspect bars do not count as present.
        whole = [
            entry.span
            for entry in coverage
            if entry.state in ("final", "provisional")
            or (entry.state == "empty" and entry.expires is None)
        ]
        stretches = coalesce(whole)
        stored = self._client().columns(key, Span(coverage[0].span.start, coverage[-1].span.end))
        stamps = stored.table.stamps
        ranges = [
            RangeRow(
                key.symbol,
                span.start // 1000,
                (span.end - 1) // 1000,
                int(stamps.searchsorted(span.end) - stamps.searchsorted(span.start)),
                len(stretches) > 1,
            )
            for span in stretches
        ]
        times = sorted(entry.fetched_at // 1000 for entry in coverage if entry.fetched_at) or [0]
        vendors = sorted(
            {v for entry in coverage if entry.state in WITH_BARS for v in entry.vendor.split(",")}
        )
        instrument = self._client().instrument(key)
        label = key.timeframe.label
        return Dataset(
            lane_id(self.place(key)),
            lane_source(",".join(vendors), key),
            label,
            int(stamps[0]) // 1000 if len(stamps) else coverage[0].span.start // 1000,
            int(stamps[-1]) // 1000 if len(stamps) else coverage[-1].span.end // 1000,
            f"generation {stored.generation}",
            "",
            times[0],
            times[-1],
            len(stamps),
            0,
            (SymbolRow(key.symbol, instrument.asset_class, instrument.exchange),),
            tuple(row for row in ranges if row.bars),
            (),
            tuple(CoveredRange(key.symbol, label, row.start, row.end) for row in ranges),
            options={"session": key.session},
        )


def lane_place(cache: str, series: SeriesKey) -> str:
    """Return the place of a lane: the cache folder and the series, separated by a newline."""
    return f"{Path(cache).resolve()}\n{series}"


def lane_id(place: str) -> str:
    """Return the dataset id of a lane, which depends only on the cache folder and the series."""
    return str(uuid5(NAMESPACE_URL, f"onetape lane {place}"))


def lane_source(vendor: str, series: SeriesKey) -> str:
    """Return vendor and lane as the source of a dataset, such as ``yahoo/1d@raw``."""
    return f"{vendor}/{str(series).rpartition(' ')[2]}"
