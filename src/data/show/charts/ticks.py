"""Labels for the axes of a picture. Pure."""

from __future__ import annotations

from datetime import datetime

import numpy as np

from ...core.model.time.instant import DAY_MS, from_ms
from .chart import Axis, Ints
from .heat import MONTHS_OF_YEAR

# Units of time that labels can mark, as numpy names them.
_UNITS = "1m 5m 15m 30m 1h 3h 6h 12h 1D 1W 1M 3M 6M 1Y 2Y 5Y 10Y 20Y 50Y".split()
# Number of dates without a month that fit into the space of a date with a month.
_SHORT_DATES = 1.8


def time_ticks(axis: Axis, most: int) -> list[tuple[int, str]]:
    """Return the slots to label on the time axis, with labels in the axis' time zone.

    Labels are where a unit of time (such as a day) begins; the unit is the smallest that needs at
    most ``most`` labels. The first label has the year, and every day of intraday bars its date, if
    there is room for all dates.

    Args:
        axis: Time axis.
        most: Number of labels that fit.
    """
    if len(axis) < 3:
        return [(slot, axis.text(slot)) for slot in range(len(axis))]
    walls, room = axis.walls(np.arange(len(axis), dtype=np.int64)), 0.75 * len(axis) / most
    dates = _begins(walls, "1D")
    is_short = not axis.is_daily and most < len(dates) < most * _SHORT_DATES
    found = ((unit, _begins(walls, unit)) for unit in _UNITS)
    unit, begins = next(((unit, at) for unit, at in found if len(at) <= most), ("50Y", dates[:1]))
    if is_short:
        unit, begins = "1D", dates
    elif unit[-1] in "mh":
        is_far = np.abs(begins[:, None] - dates).min(axis=1) > room
        begins = begins[is_far | np.isin(begins, dates)]
    elif axis.is_daily and len(begins) > 1 and begins[1] < room:
        begins = begins[1:]
    ticks, before = [], None
    for slot in begins.tolist():
        time = from_ms(int(walls[slot]))
        ticks.append((slot, _label(time, before, unit, is_short=is_short)))
        before = time
    return ticks


def _begins(walls: Ints, unit: str) -> Ints:
    """Return the slots at which another unit of time begins, and the first slot."""
    # 1970-01-01 was a Thursday, and weeks begin on Monday.
    times = walls + 3 * DAY_MS * (unit == "1W")
    numbers = times.astype("M8[ms]").astype(f"M8[{unit}]").astype(np.int64)
    return np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))


def _label(time: datetime, before: datetime | None, unit: str, *, is_short: bool) -> str:
    """Return the label of a time; what it has in common with the one before it is left out."""
    if before is not None and before.date() == time.date():
        return f"{time.hour:02}:{time.minute:02}"
    parts = [str(time.day), MONTHS_OF_YEAR[time.month - 1], str(time.year)]
    parts = parts["DWMY".find(unit[-1]) - 1 :] if unit[-1] in "MY" else parts
    if before is None or before.year != time.year:
        return " ".join(parts)
    return parts[0] if is_short and before.month == time.month else " ".join(parts[:-1])


def price_ticks(low: float, high: float, most: int) -> tuple[list[float], list[str]]:
    """Return about ``most`` round prices between two prices, with labels of equal places."""
    rough = (high / most - low / most) or 1.0
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(s * power for s in (1.0, 2.0, 2.5, 5.0, 10.0) if s * power >= rough * 0.999)
    first, last = np.ceil(low / step), np.floor(high / step)
    ticks = (
        [n * step for n in np.arange(first, last + 1, dtype=np.float64)]
        if last - first <= 2 * most + 2
        else []
    )
    ticks = ticks or [low / 2 + high / 2]
    places = max(0, -int(np.floor(np.log10(step) + 1e-9))) + (step == 2.5 * power and power < 10)
    if places > 12 or max(map(abs, (low, high))) >= 1e12:
        return ticks, [f"{tick:.4g}" for tick in ticks]
    return ticks, [f"{tick + 0.0:,.{places}f}" for tick in ticks]
