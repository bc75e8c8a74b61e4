"""What CoinGecko can be asked for, in its terms: whole days back from now, and closes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import CapabilityError, NoDataError, ResponseFormatError
from ..model.capabilities import FetchQuery
from ..model.instant import DAY_MS, MINUTE_MS, SECOND_MS

# The ranges in days that come in bars of this length; no others may be asked for.
LENGTHS: Mapping[str, Sequence[int]] = {"30m": (1,), "4h": (7, 14, 30)}
# 2026-09: an end a few seconds ahead of its clock is refused.
_BEHIND_MS = MINUTE_MS


def days_back(query: FetchQuery) -> int:
    """Return the shortest range from now that holds the span in bars of its length.

    Raises:
        CapabilityError: the span begins before the longest such range.
    """
    label, step = query.timeframe.label, query.timeframe.step_ms or 0
    back = query.now_ms - (query.span.start + step)
    if fitting := [days for days in LENGTHS[label] if back <= days * DAY_MS]:
        return fitting[0]
    raise CapabilityError(
        f"coingecko serves {label} bars of the last {LENGTHS[label][-1]} days only"
    )


def bounds_of_closes(query: FetchQuery) -> dict[str, str | int]:
    """Return the bounds of the closes of a span as they are sent: seconds, both inclusive.

    Raises:
        NoDataError: none of its bars has closed yet.
    """
    step = query.timeframe.step_ms or 0
    first = query.span.start + step
    last = min(query.span.end - 1 + step, query.now_ms - _BEHIND_MS)
    if last < first:
        raise NoDataError(f"no {query.timeframe} bar of this range has closed")
    return {"from": -(-first // SECOND_MS), "to": last // SECOND_MS}


def opens_of(closes: Sequence[int], step: int) -> list[int]:
    """Return the opens of bars that are labelled with their close.

    The running bar, which is the latest, may be labelled with the time of asking. Of others beside
    the grid the open is beside it, too.

    Raises:
        ResponseFormatError: most of them are not on the grid of ``step``: they are other bars.
    """
    latest = max(closes, default=0)
    beside = {close for close in closes if close % step and close != latest}
    if 2 * len(beside) > len(closes):
        raise ResponseFormatError("closes beside the grid of their timeframe")
    return [close - step if close in beside else (close - 1) // step * step for close in closes]
