"""The identity of a series: instrument, timeframe, and the lane of its kind."""

from __future__ import annotations

from dataclasses import dataclass

from .kind import Kind
from .timeframe import Timeframe

_MADE_OF = "from-"


@dataclass(frozen=True)
class SeriesKey:
    """Identity of a series; also its place in the store.

    Attributes:
        symbol: canonical symbol.
        timeframe: length of its bars.
        lane: what differs from the default kind, such as ``("raw",)`` or ``("yahoo",)``.
    """

    symbol: str
    timeframe: Timeframe
    lane: tuple[str, ...] = ()

    @property
    def lane_label(self) -> str:
        """The lane as one text, empty for the default one."""
        return "@".join(self.lane)

    @property
    def made_of(self) -> str:
        """The timeframe out of whose bars a job calculated these; empty for bars of vendors."""
        last = self.lane[-1] if self.lane else ""
        return last.removeprefix(_MADE_OF) if last.startswith(_MADE_OF) else ""

    @property
    def folder(self) -> str:
        """The lane's folder name, such as ``1d`` or ``1d@raw``."""
        return "@".join((self.timeframe.folder, *self.lane))

    def __str__(self) -> str:
        return f"{self.symbol} {'@'.join((self.timeframe.label, *self.lane))}"


def lane_of(kind: Kind, default: Kind) -> tuple[str, ...]:
    """Name a lane after the hard attributes in which ``kind`` differs from ``default``."""
    return tuple(mine for mine, _ in kind.differences(default).values())


def lane_beside(kind: Kind, stored: Kind | None) -> tuple[str, ...]:
    """Return the lane of bars of a kind, where the default lane holds bars of the kind ``stored``.

    That is the default one (empty) where it holds none, or bars of that kind.
    """
    return () if stored is None else lane_of(kind, stored)


def calculated_lane(source: Timeframe, *, is_extended: bool) -> tuple[str, ...]:
    """Name the lane of bars that a job calculates out of ``source`` bars: no vendor's stand there."""
    return (*(["extended"] if is_extended else []), f"{_MADE_OF}{source.folder}")
