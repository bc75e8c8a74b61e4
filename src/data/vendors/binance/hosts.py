"""What Binance's hosts have in common."""

from __future__ import annotations

import re

_SPOT = re.compile(r"https://(data-api\.binance\.vision|api\d?(-gcp)?\.binance\.com)")
# Milliseconds have 13 digits until the year 2286; the archive's stamps have 16 since 2025-01-01.
_MICROSECONDS = 10**14


def is_own(base_url: str) -> bool:
    """Tell whether a host serves the vendor's spot API alone; any other one speaks for all of it."""
    return _SPOT.fullmatch(base_url) is not None


def milliseconds(stamp: int) -> int:
    """Return a stamp of the vendor's in milliseconds."""
    return stamp // 1000 if stamp >= _MICROSECONDS else stamp
