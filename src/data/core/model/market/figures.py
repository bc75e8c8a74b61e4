"""Data on perpetual futures other than bars: funding, open interest, long/short ratio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..identity.instrument import Instrument
from ..time.span import Span
from ..time.timeframe import Timeframe

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Measure:
    """A quantity published for perpetual futures, such as the funding rate.

    Attributes:
        name: Name of the quantity's folder in the cache.
        columns: Columns of the frame, with the exchange's names.
        title: Name for display.
    """

    name: str
    columns: tuple[str, ...]
    title: str

    def __str__(self) -> str:
        return self.title


FUNDING = Measure("funding_rate", ("fundingRate",), "funding rates")
OPEN_INTEREST = Measure(
    "open_interest", ("sumOpenInterest", "sumOpenInterestValue"), "open interest"
)
LONG_SHORT = Measure(
    "long_short_ratio", ("longShortRatio", "longAccount", "shortAccount"), "long/short ratios"
)
MEASURES = {measure.name: measure for measure in (FUNDING, OPEN_INTEREST, LONG_SHORT)}
# Funding rates have no fixed period (it is mostly 8 hours); this label names their folder.
FUNDING_PERIOD = "8h"


class Figure(NamedTuple):
    """One row: its timestamp in UTC milliseconds, and the values of the measure's columns."""

    stamp_ms: int
    values: tuple[float, ...]


@dataclass(frozen=True)
class FigureQuery:
    """A query to one vendor: rows ``[start, end)`` for one perpetual future.

    Attributes:
        measure: Quantity to fetch, such as funding rates.
        instrument: Pair that the future trades; a pair quoted in ``USD`` means the future settled
            in the coin.
        period: Label of the time between two rows; funding rates have no fixed period.
        span: Half-open span, in UTC milliseconds.
        now_ms: Time of the request, UTC milliseconds.
        insist: Whether to query the vendor even if it recently did not recognize the symbol.
    """

    measure: Measure
    instrument: Instrument
    period: Timeframe
    span: Span
    now_ms: int
    insist: bool = False

    def __str__(self) -> str:
        return f"{self.measure} of {self.instrument.symbol} {self.period}"


@dataclass(frozen=True)
class ServedMeasure:
    """A vendor's declaration of how it serves one measure.

    Attributes:
        page_rows: Maximum number of rows in one answer.
        periods: Labels of the periods served; empty if rows have no fixed period.
        depth_days: How many days back the history goes; 0 means that it goes back to the listing.
        settle_ms: Milliseconds after the end of a row's period by which the row is certain to be
            available.
    """

    page_rows: int
    periods: tuple[str, ...] = ()
    depth_days: int = 0
    settle_ms: int = 0


@dataclass(frozen=True)
class FetchedFigures:
    """Everything that one vendor returned for one query, over all its pages.

    Attributes:
        rows: Rows within the requested span, ascending and unique.
        server_now_ms: Time of the request (UTC milliseconds) by the local clock or the vendor's,
            whichever is earlier.
        requests: Number of HTTP requests sent.
    """

    rows: Sequence[Figure]
    server_now_ms: int
    requests: int


def figures_frame(measure: Measure, rows: Sequence[Figure]) -> pd.DataFrame:
    """Build a frame with float64 columns and a naive UTC index ``timestamp`` in nanoseconds."""
    import pandas as pd

    stamps = np.array([row.stamp_ms for row in rows], dtype="M8[ms]").astype("M8[ns]")
    values = np.array([row.values for row in rows], dtype=np.float64)
    index = pd.DatetimeIndex(stamps, name="timestamp")
    shape = (len(rows), len(measure.columns))
    return pd.DataFrame(values.reshape(shape), index=index, columns=list(measure.columns))
