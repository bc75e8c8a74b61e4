"""Times as Backtrader wants them: zones with a method ``localize``, moments as numbers of days."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ...errors import ConfigError
from ...model.instant import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS

_EPOCH = date(1970, 1, 1).toordinal()


class LocalizingZone(tzinfo):
    """A zone of the standard library with the one method more. Immutable."""

    def __init__(self, zone: tzinfo) -> None:
        self._zone = zone

    def localize(self, moment: datetime) -> datetime:
        """Return a naive local time as an aware one."""
        return moment.replace(tzinfo=self)

    def utcoffset(self, moment: datetime | None) -> timedelta | None:
        """Return the offset from UTC at a local time."""
        return self._zone.utcoffset(moment and moment.replace(tzinfo=self._zone))

    def dst(self, moment: datetime | None) -> timedelta | None:
        """Return the daylight saving at a local time."""
        return self._zone.dst(moment and moment.replace(tzinfo=self._zone))

    def tzname(self, moment: datetime | None) -> str | None:
        """Return the name at a local time."""
        return self._zone.tzname(moment and moment.replace(tzinfo=self._zone))

    def fromutc(self, moment: datetime) -> datetime:
        """Return a UTC time, which carries this zone already, as local time."""
        local = self._zone.fromutc(moment.replace(tzinfo=self._zone))
        return local.replace(tzinfo=self)

    def __repr__(self) -> str:
        return f"LocalizingZone({self._zone})"


@lru_cache(64)
def localizing(zone: str | tzinfo | None) -> tzinfo | None:
    """Return ``zone``, a name or a ``tzinfo``, with a method ``localize``; None stays None.

    Raises:
        ConfigError: there is no zone of that name.
    """
    if zone is None or hasattr(zone, "localize"):
        return zone  # type: ignore[return-value]
    if isinstance(zone, tzinfo):
        return LocalizingZone(zone)
    try:
        return LocalizingZone(ZoneInfo(zone))
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise ConfigError(
            f"there is no time zone {zone!r}", hint="such as UTC or America/New_York"
        ) from exc


def day_number(at_ms: int) -> float:
    """Return a moment (UTC milliseconds) as a number of days, to the last bit as ``date2num``."""
    days, left = divmod(at_ms, DAY_MS)
    hours, left = divmod(left, HOUR_MS)
    minutes, left = divmod(left, MINUTE_MS)
    seconds, left = divmod(left, SECOND_MS)
    parts = (_EPOCH + days, hours / 24, minutes / 1440, seconds / 86_400, left * 1000 / 86_400e6)
    return math.fsum(parts)
