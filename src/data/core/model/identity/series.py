"""The identity of a series: symbol, timeframe, and lane (the folder for its kind of bars)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

from ...registry import VENDORS, is_of_files, is_sample
from ..time.timeframe import Timeframe
from .kind import AskedSession, Kind

_MADE_OF = "from-"
_DAY = Timeframe(1, "d")
# Parts of a lane's name that denote sessions and anchors of intraday bars.
_OF_HOURS = ("regular", "extended", "24h", "session", "clock")
# The lane of extended-hours bars that a query names; other lanes of such bars exist next to it.
EXTENDED_LANE = ("extended",)
_MADE_UP = "mock"
_FAMILIES = "|".join(name for name in VENDORS if is_of_files(name))
_OF_FOLDER = re.compile(rf"({_FAMILIES})\.[0-9a-f]{{8}}")


@dataclass(frozen=True)
class SeriesKey:
    """Identity of a series, and its location in the store.

    Attributes:
        symbol: Canonical symbol.
        timeframe: Length of the bars.
        lane: Differences from the default kind of bars, such as ``("raw",)`` or ``("yahoo",)``.
    """

    symbol: str
    timeframe: Timeframe
    lane: tuple[str, ...] = ()

    def __hash__(self) -> int:
        # Avoids calling the timeframe's own hash, because every access to the store comes through
        # here.
        return hash((self.symbol, self.timeframe.count, self.timeframe.unit, self.lane))

    @property
    def lane_label(self) -> str:
        """The lane (the part of the folder name that names the kind of bars); empty for the default lane."""
        return "@".join(self.lane)

    @property
    def entries(self) -> dict[str, str]:
        """The entries that identify the series in documents and results."""
        return {"symbol": self.symbol, "timeframe": self.timeframe.label, "lane": self.lane_label}

    @property
    def is_extended(self) -> bool:
        """Whether the series contains intraday bars with extended hours, which have their own calendar."""
        return EXTENDED_LANE[0] in self.lane and self.timeframe.is_intraday

    @property
    def session(self) -> AskedSession:
        """The name that queries use for the trading hours of the series' bars."""
        return "extended" if self.is_extended else "regular"

    @property
    def made_of(self) -> str:
        """The timeframe of the bars from which a job calculated the series; empty for vendors' bars."""
        last = self.lane[-1] if self.lane else ""
        return last.removeprefix(_MADE_OF) if last.startswith(_MADE_OF) else ""

    @property
    def days(self) -> SeriesKey:
        """The daily series of the same kind; its lane does not include session and anchor."""
        lane = self.lane if self.made_of else tuple(p for p in self.lane if p not in _OF_HOURS)
        return SeriesKey(self.symbol, _DAY, lane)

    @property
    def of_folder(self) -> str:
        """The part of the lane's name that stands for a folder of local files; empty for other lanes."""
        return self.lane[0] if self.lane and is_of_folder(self.lane[0]) else ""

    @property
    def is_of_files(self) -> bool:
        """Whether the bars are read from local files, not calculated from such bars by a job."""
        return bool(self.lane) and bool(self.of_folder) and not self.made_of

    @property
    def action_key(self) -> str | None:
        """The name under which the splits and dividends for a pinned vendor's bars are stored.

        None means that all vendors' actions are used. Actions from a recording, like its bars, are
        stored under the recording's folder.
        """
        if not self.lane or self.lane[0] in _OF_HOURS:
            return None
        family, dot, digest = self.of_folder.partition(".")
        return f"{family}:{digest}" if dot and is_sample(family) else self.lane[0]

    @property
    def is_sample(self) -> bool:
        """Whether the bars are samples, recorded or synthetic.

        Samples are returned only if a call names their source.
        """
        family = self.lane[0].partition(".")[0] if self.lane else ""
        return family == _MADE_UP or is_sample(family)

    @property
    def folder(self) -> str:
        """The lane's folder name, such as ``1d`` or ``1d@raw``."""
        return "@".join((self.timeframe.folder, *self.lane))

    def __str__(self) -> str:
        return f"{self.symbol} {'@'.join((self.timeframe.label, *self.lane))}"


def lane_of(kind: Kind, default: Kind | None) -> tuple[str, ...]:
    """Return the parts of a lane's name for bars of a kind: their differences from the default lane.

    The result is empty, meaning the default lane, if that lane contains bars of the same kind or no
    bars (``default`` is None).
    """
    return () if default is None else tuple(mine for mine, _ in kind.differences(default).values())


def calculated_lane(source: Timeframe, *, is_extended: bool) -> tuple[str, ...]:
    """Return the lane for bars that a job calculates from ``source`` bars.

    That lane never contains bars from vendors.
    """
    return (*(EXTENDED_LANE if is_extended else ()), f"{_MADE_OF}{source.folder}")


def folder_lane(family: str, path: str) -> str:
    """Return the part of a lane's name that stands for a folder of files.

    Args:
        family: Vendor that reads the files, ``local`` or ``replay``.
        path: Real path of the folder, so that each folder has only one name, no matter how its path
            is spelled.
    """
    return f"{family}.{sha256(path.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def is_of_folder(part: str) -> bool:
    """Return whether a part of a lane's name stands for a folder of files."""
    return _OF_FOLDER.fullmatch(part) is not None
