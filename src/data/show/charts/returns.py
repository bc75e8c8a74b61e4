"""The returns of a chart's bars, by month and over twelve months. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np

from .chart import Chart


def returns_of(chart: Chart) -> dict[str, Any]:
    """Return the returns of a chart of one symbol, as fractions.

    ``years`` has an entry for each year: its name, the return of each month, and ``whole``, the
    return over the twelve months of the year. A return is from the last close of the month (or
    year) before to the last close of the month; it is None if one of these months has no bar, and
    the return of the last year is up to its last bar. ``about`` says how prices are adjusted.
    """
    series, axis = chart.series[0], chart.axis
    months = axis.walls(series.slots).astype("M8[ms]").astype("M8[M]").astype(np.int64)
    last = np.flatnonzero(np.diff(months, append=np.iinfo(np.int64).max))
    closes = dict(zip(months[last].tolist(), series.values[3][last].tolist(), strict=True))
    newest = max(closes, default=0)

    def change(month: int, months_back: int) -> float | None:
        before, now = closes.get(month - months_back), closes.get(month)
        return round(now / before - 1, 6) if now is not None and before and before > 0 else None

    years = []
    for year in sorted({month // 12 for month in closes}):
        december = 12 * year + 11
        end = min(december, newest)
        monthly = [change(12 * year + month, 1) for month in range(12)]
        whole = change(end, end - 12 * year + 1)
        years.append({"year": str(1970 + year), "months": monthly, "whole": whole})
    return {"years": years, "about": chart.about.rpartition(" · ")[2]}
