"""Presents lanes of the store as datasets, based on the store's current state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from ..errors import DataError, NoProviderError, QueryError
from ..model.coverage import WITH_BARS
from ..model.span import Span, coalesce
from ..model.timeframe import Timeframe
from .catalog_rows import DatasetLocation, lane_id, lane_location, lane_source
from .catalog_tables import CoveredRange, Dataset, RangeRow, SymbolRow
from .lineage_lines import key_of

if TYPE_CHECKING:
    from ..bars.client import BarsClient
    from ..model.instrument import Instrument
    from ..model.series import SeriesKey
    from ..model.stored import CoverageSpan

__all__ = ["LaneDatasets"]


class LaneDatasets:
    """The lanes (stored bars of one kind for one series) in one cache folder.

    Thread-safe.

    Args:
        client: Function that returns the client for reading stored bars; called on first use.
    """

    def __init__(self, client: Callable[[], BarsClient]) -> None:
        self._client = client
        self._measured: dict[SeriesKey, tuple[tuple[CoverageSpan, ...], Dataset]] = {}
        self._instruments: dict[tuple[str, str], Instrument | None] = {}

    def find(
        self, symbol: str, resolution: str, start: int, end: int, source: str | None
    ) -> tuple[SeriesKey, Dataset] | None:
        """Return the lane that covers a range for a symbol, or None if there is none.

        Args:
            symbol, resolution: Symbol and timeframe as the caller names them.
            start, end: Range in UTC seconds, ends included.
            source: Vendor, or vendor and lane; None means the lane from which the rules would
                answer.

        Raises:
            CacheError: The store cannot be read.
        """
        asset = self.instrument(symbol, resolution)
        keys = self._client().lanes(asset.symbol, Timeframe.parse(resolution)) if asset else []
        for key in keys if source else keys[:1]:
            # These lanes answer only queries that name them.
            if not source and (key.is_sample or key.made_of):
                continue
            lane = self.get(key)
            if lane is None or source not in (None, lane.source, lane.source.rpartition("/")[0]):
                continue
            if lane.covered(resolution, start, end):
                return key, lane
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

    def at(self, location: DatasetLocation) -> Dataset | None:
        """Return the lane at a location; None if the lane is not in this cache or cannot be read."""
        try:
            key = key_of(location.key.partition("\n")[2])
            return self.get(key) if self.location(key).key == location.key else None
        except (ValueError, DataError):
            return None

    def all(self) -> Iterator[tuple[SeriesKey, Dataset]]:
        """Yield the stored lanes, except those that cannot be read."""
        for key in self._client().series():
            try:
                lane = self.get(key)
            except DataError:
                continue  # `onetape cache list` reports the fault
            if lane is not None:
                yield key, lane

    def location(self, key: SeriesKey) -> DatasetLocation:
        """Return the location of a lane in the store."""
        return lane_location(str(self._client().folder), str(key))._replace(type="lane")

    def instrument(self, symbol: str, resolution: str) -> Instrument | None:
        """Return the instrument that a symbol stands for under the rules; None if unclear."""
        if (symbol, resolution) not in self._instruments:
            try:
                instrument: Instrument | None = self._client().query(symbol, resolution).instrument
            except (QueryError, NoProviderError):
                instrument = None
            self._instruments[symbol, resolution] = instrument
        return self._instruments[symbol, resolution]

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
            lane_id(self.location(key)),
            lane_source(",".join(vendors), str(key)),
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
        )
