"""The length of a bar, as a value: ``1m`` is a minute, ``1M`` a month."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ..errors import BadTimeframeError
from .instant import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS

_SHAPE = re.compile(r"([1-9][0-9]{0,3})([mhdwM])")
_LONGEST_MONTH_MS = 31 * DAY_MS
_UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
# Spellings users of other tools type; the case of `m` and `M` is never folded.
_ALIASES = {"60m": "1h", "1wk": "1w", "1mo": "1M", "1H": "1h", "1D": "1d", "1W": "1w", "4H": "4h"}
_USUAL = "1m 5m 15m 30m 1h 4h 1d 1w 1M"


@dataclass(frozen=True)
class Timeframe:
    """A count of minutes ``m``, hours ``h``, days ``d``, weeks ``w`` or months ``M``.

    Case matters. Thread-safe, as every value here.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: Any) -> Timeframe:
        """Read ``"1m"``, ``"4h"``, ``"1d"``, ``"1w"``, ``"1M"`` and their likes.

        Raises:
            BadTimeframeError: anything else, naming the nearest valid one.
        """
        if isinstance(text, Timeframe):
            return text
        timeframe = _read(text) if isinstance(text, str) else None
        if timeframe is None:
            import difflib  # a right one needs no help

            near = difflib.get_close_matches(str(text), _USUAL.split(), n=1, cutoff=0.3)
            hint = (f"did you mean {near[0]!r}? " if near else "") + f"usual ones: {_USUAL}"
            raise BadTimeframeError(f"unknown timeframe {text!r}", hint=hint)
        return timeframe

    @property
    def label(self) -> str:
        """The text form used in the API, such as ``1M``."""
        return f"{self.count}{self.unit}"

    @property
    def folder(self) -> str:
        """The text form used on disk: months are ``mo``, safe where case is folded."""
        return f"{self.count}mo" if self.unit == "M" else self.label

    @property
    def step_ms(self) -> int | None:
        """Length in milliseconds, or None for months, which have no fixed length."""
        size = _UNIT_MS.get(self.unit)
        return None if size is None else self.count * size

    @property
    def longest_ms(self) -> int:
        """Longest time in milliseconds that one bar can take: months count as 31 days."""
        return self.step_ms or self.count * _LONGEST_MONTH_MS

    @property
    def is_intraday(self) -> bool:
        """Tell whether bars are stamped by instants rather than by session dates."""
        return self.unit in "mh"

    def __str__(self) -> str:
        return self.label


_NORMAL = {
    (60, "m"): Timeframe(1, "h"),
    (120, "m"): Timeframe(2, "h"),
    (240, "m"): Timeframe(4, "h"),
    (24, "h"): Timeframe(1, "d"),
    (7, "d"): Timeframe(1, "w"),
}


# The same few are asked for with every question.
@lru_cache
def _read(text: str) -> Timeframe | None:
    match = _SHAPE.fullmatch(_ALIASES.get(text, text))
    if match is None:
        return None
    count, unit = int(match[1]), match[2]
    return _NORMAL.get((count, unit)) or Timeframe(count, unit)
