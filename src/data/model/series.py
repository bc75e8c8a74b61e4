"""The identity of a series: instrument, timeframe, and the lane of its kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from ..vendors.registry import VENDORS, is_of_files, is_sample
from .kind import AskedSession, Kind
from .timeframe import Timeframe

_MADE_OF = "from-"
_DAY = Timeframe(1, "d")
# The parts of a lane that are sessions and anchors of intraday bars.
_OF_HOURS = ("regular", "extended", "24h", "session", "clock")
# The lane of bars of extended hours that a question names; others of them lie beside it.
EXTENDED_LANE = ("extended",)
_MADE_UP = "mock"
_FAMILIES = "|".join(name for name in VENDORS if is_of_files(name))
_OF_FOLDER = re.compile(rf"({_FAMILIES})\.[0-9a-f]{{8}}")


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
    def is_extended(self) -> bool:
        """Whether it holds minutes or hours of extended hours, which have a calendar of their own."""
        return EXTENDED_LANE[0] in self.lane and self.timeframe.is_intraday

    @property
    def session(self) -> AskedSession:
        """The hours that a question for its bars names."""
        return "extended" if self.is_extended else "regular"

    @property
    def made_of(self) -> str:
        """The timeframe out of whose bars a job calculated these; empty for bars of vendors."""
        last = self.lane[-1] if self.lane else ""
        return last.removeprefix(_MADE_OF) if last.startswith(_MADE_OF) else ""

    @property
    def days(self) -> SeriesKey:
        """The daily series beside it: hours, and what bars are counted from, name no lane of days."""
        lane = self.lane if self.made_of else tuple(p for p in self.lane if p not in _OF_HOURS)
        return SeriesKey(self.symbol, _DAY, lane)

    @property
    def of_folder(self) -> str:
        """The part of the lane that names a folder of files on this machine; empty for others."""
        first = self.lane[0] if self.lane else ""
        return first if is_of_folder(first) else ""

    @property
    def teller(self) -> str | None:
        """Under whose name the splits and dividends stand that a pinned vendor's bars are given by.

        Those of a recording stand under its folder, as its bars do. None: those of all vendors count.
        """
        if not self.lane or self.lane[0] in _OF_HOURS:
            return None
        family, dot, digest = self.of_folder.partition(".")
        return f"{family}:{digest}" if dot and is_sample(family) else self.lane[0]

    @property
    def is_sample(self) -> bool:
        """Whether its bars are samples, recorded or made up: they answer only where a call names them."""
        family = self.lane[0].partition(".")[0] if self.lane else ""
        return family == _MADE_UP or is_sample(family)

    @property
    def is_outdated(self) -> bool:
        """Whether it holds bars of a folder that nothing names: those of earlier versions."""
        return bool(self.lane) and is_of_files(self.lane[0])

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
    return (*(EXTENDED_LANE if is_extended else ()), f"{_MADE_OF}{source.folder}")


def folder_lane(family: str, path: str) -> str:
    """Return the part of a lane that names a folder of files.

    Args:
        family: the vendor that reads them, ``local`` or ``replay``.
        path: the real path of the folder: one folder has one name, however it is spelled.
    """
    return f"{family}.{sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def is_of_folder(part: str) -> bool:
    """Tell whether a part of a lane names a folder of files."""
    return _OF_FOLDER.fullmatch(part) is not None
