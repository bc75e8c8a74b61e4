"""What the caller wants, understood and checked."""

from __future__ import annotations

from dataclasses import dataclass, field

from .instrument import Instrument
from .kind import Adjustment
from .span import Span
from .timeframe import Timeframe

# What can be told beside each bar, in columns of its own; no part of the bars themselves.
EXTRA_COLUMNS = ("source", "state", "is_final", "fetched_at")

_DAY = Timeframe(1, "d")


@dataclass(frozen=True)
class BarsQuery:
    """One request for bars, after normalisation.

    Attributes:
        instrument: what the symbol means.
        timeframe: length of the bars.
        span: stamps wanted, half-open; its end is one millisecond behind an inclusive bound.
            With ``bars`` only the end counts until the calendar has told the start.
        now_ms: the time of asking.
        bars: the number of bars wanted up to the end, or None where the span rules.
        provider: the pinned vendor, canonical, or None.
        adjustment: ``raw``, ``split`` or ``all``.
        include_forming: whether the running bar is wanted too.
        offline: answer from the cache alone.
        strict: holes are an error.
        refresh: ask for everything again.
        closed_by_ms: bars that close later are not known yet; ``span`` is cut by it already. None
            where all is known that is known now.
        columns: what is told beside each bar, of ``EXTRA_COLUMNS``, in the order asked for.
        version: answer as the series stood right after this commit to it; None: as it is.
        timeout_s: seconds after which nothing is waited for any more; None: as long as pages come.
            It changes nothing of what is asked.
    """

    instrument: Instrument
    timeframe: Timeframe
    span: Span
    now_ms: int
    bars: int | None = None
    provider: str | None = None
    adjustment: Adjustment = "split"
    include_forming: bool = False
    offline: bool = False
    strict: bool = False
    refresh: bool = False
    closed_by_ms: int | None = None
    columns: tuple[str, ...] = ()
    version: int | None = None
    timeout_s: float | None = field(default=None, compare=False)

    @property
    def is_of_whole_weeks(self) -> bool:
        """Tell whether bars of shares longer than a day are asked for."""
        step = self.timeframe
        return self.instrument.asset_class == "stock" and not step.is_intraday and step != _DAY

    @property
    def pinned(self) -> tuple[str, ...]:
        """What the lane is named by that answers it: the pinned vendor, or nothing."""
        return (self.provider,) if self.provider else ()

    def __str__(self) -> str:
        return f"{self.instrument.symbol} {self.timeframe}"
