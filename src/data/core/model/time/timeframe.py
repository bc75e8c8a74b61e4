"""Timeframes: the length of a bar as a value, where ``1m`` is a minute and ``1M`` a month."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ....errors import BadTimeframeError
from ...runtime.once import cached_property
from ..words.suggestion import did_you_mean
from .instant import DAY_MS, HOUR_MS, MINUTE_MS, WEEK_MS

LABEL = re.compile(r"([1-9][0-9]{0,3})([mhdwM])")
_LONGEST_MONTH_MS = 31 * DAY_MS
_UNIT_MS = {"m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS, "w": WEEK_MS}
# Spellings used by other tools. Case is always significant in `m` and `M`, which are ambiguous on
# their own.
_WORD = re.compile(r"([0-9]{0,4})([A-Za-z]+)")
_NAMES = {"hourly": "h", "daily": "d", "weekly": "w", "monthly": "M"}
_UNITS = {
    "m": ("min", "mins", "minute", "minutes"),
    "h": ("h", "hr", "hrs", "hour", "hours"),
    "d": ("d", "day", "days"),
    "w": ("w", "wk", "week", "weeks"),
    "M": ("mo", "mon", "month", "months"),
}
_UNIT_OF = {word: unit for unit, words in _UNITS.items() for word in words}
# Spellings that are not accepted, but whose meaning is clear: names in front of them, units in front
# of the number, and pandas' aliases.
_PREFIX = re.compile(r"(?i)PERIOD_|TIME_SERIES_|TIMEFRAME_")
_TOO_SHORT = re.compile(r"(?i)[0-9]{0,4} ?(s|secs?|seconds?|ticks?|ms)|s[0-9]+")
_UNIT_IN_FRONT = {"MN": "M", "M": "m"}
_PANDAS = {"T": "m", "B": "d", "BD": "d", "ME": "M", "MS": "M", "BME": "M", "BMS": "M"}
_USUAL = "1m 5m 15m 30m 1h 4h 1d 1w 1M"


@dataclass(frozen=True)
class Timeframe:
    """The length of a bar: a number of minutes (``m``), hours (``h``), days (``d``), weeks or months.

    Weeks are ``w`` and months ``M``; case matters. Immutable, and therefore thread-safe.
    """

    count: int
    unit: str

    @classmethod
    def parse(cls, text: Any) -> Timeframe:
        """Parse a timeframe such as ``"1m"``, ``"4h"``, ``"1d"``, ``"1w"`` or ``"1M"``.

        Unambiguous spellings from other tools are also accepted: ``D``, ``daily``, ``1day``,
        ``60m``, ``1Hour``, ``5min``, ``1mo``. ``M`` and ``60`` by themselves are rejected.

        Raises:
            BadTimeframeError: The text is not a timeframe; the message names the nearest valid one.
        """
        if isinstance(text, Timeframe):
            return text
        timeframe = _read(text) if isinstance(text, str) else None
        if timeframe is None:
            hint = f"{_suggestion(str(text))}usual ones: {_USUAL}"
            raise BadTimeframeError(f"unknown timeframe {text!r}", hint=hint)
        return timeframe

    @cached_property
    def label(self) -> str:
        """The spelling used in the API, such as ``1M``."""
        return f"{self.count}{self.unit}"

    @property
    def folder(self) -> str:
        """The spelling used on disk, where months are ``mo`` because some file systems ignore case."""
        return f"{self.count}mo" if self.unit == "M" else self.label

    @cached_property
    def step_ms(self) -> int | None:
        """Length of a bar in milliseconds, or None for months, which have no fixed length."""
        size = _UNIT_MS.get(self.unit)
        return None if size is None else self.count * size

    @property
    def longest_ms(self) -> int:
        """Maximum length of one bar in milliseconds, counting a month as 31 days."""
        return self.step_ms or self.count * _LONGEST_MONTH_MS

    @cached_property
    def is_intraday(self) -> bool:
        """Whether bars have instants rather than session dates as timestamps."""
        return self.unit in "mh"

    def __str__(self) -> str:
        return self.label


# Units, each with the next one and how many make one of it.
_LARGER = {"m": ("h", 60), "h": ("d", 24), "d": ("w", 7)}


# Every query uses one of the same few timeframes.
@lru_cache
def _read(text: str) -> Timeframe | None:
    match = LABEL.fullmatch(text) or LABEL.fullmatch(_usual_spelling(text))
    if match is None:
        return None
    count, unit = int(match[1]), match[2]
    while unit in _LARGER and count % _LARGER[unit][1] == 0:
        unit, size = _LARGER[unit]
        count //= size
    return Timeframe(count, unit)


def _usual_spelling(text: str) -> str:
    """Translate another tool's spelling into this library's; empty if it is unknown."""
    match = _WORD.fullmatch(text)
    if match is None:
        return ""
    word = match[2].lower()
    unit = _NAMES.get(word, "") if not match[1] else _UNIT_OF.get(word, "")
    return f"{match[1] or 1}{unit or _UNIT_OF.get(word, '')}"


def meant_timeframe(text: str) -> str:
    """Return the timeframe that an unaccepted spelling of another tool means; empty if unknown.

    Such spellings are a number of minutes, pandas' aliases (``15T``, ``ME``, ``W-FRI``), words with
    spaces (``1 day``) and units in front (``H4``, ``MN1``, ``PERIOD_D1``), quarters and years.
    """
    word = _PREFIX.sub("", text.strip()).replace(" ", "").replace("_", "")
    if word.isdigit():
        word += "m"
    front = re.fullmatch(r"([A-Za-z]{1,3})([0-9]{1,3})", word)
    if front is not None:
        word = f"{front[2]}{_UNIT_IN_FRONT.get(front[1].upper(), front[1])}"
    alias = re.fullmatch(r"([0-9]{0,3})(T|ME|MS|BME|BMS|B|BD|W-[A-Z]{3})", word)
    if alias is not None:
        word = f"{alias[1] or 1}{_PANDAS.get(alias[2], 'w')}"
    long = re.fullmatch(r"([0-9]{0,2})(q|quarters?|y|yrs?|years?)", word, re.IGNORECASE)
    if long is not None:
        word = f"{int(long[1] or 1) * (3 if long[2][0] in 'qQ' else 12)}M"
    timeframe = _read(word)
    return timeframe.label if timeframe is not None else ""


def _suggestion(text: str) -> str:
    """Return a question that suggests another spelling, or an empty string if none is similar."""
    if text in ("m", "M"):
        return "did you mean '1m' (a minute) or '1M' (a month)? "
    if _TOO_SHORT.fullmatch(text):
        return "bars are at least a minute long; "
    meant = meant_timeframe(text)
    if meant:
        return f"did you mean '{text}m'? " if text.isdigit() else f"did you mean {meant!r}? "
    return did_you_mean(text, _USUAL.split(), cutoff=0.3)
