"""The table of returns in a report: months, and the twelve months of years."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from src.data.show.charts.reading import chart_of
from src.data.show.charts.returns import returns_of
from tests.show.frames import SHARE, frame_of


def test_the_returns_of_months_and_of_twelve_months_are_those_of_the_closes() -> None:
    """A month without a bar has no return, and neither has the month after it."""
    times = pd.to_datetime(
        ["2022-11-30", "2022-12-30", "2023-01-31", "2023-03-31", "2023-04-28", "2024-01-05"]
    )
    chart = chart_of(frame_of([100, 110, 99, 50, 75, 60], times=times), {"ACME": SHARE})
    years = {year["year"]: year for year in returns_of(chart)["years"]}
    assert list(years) == ["2022", "2023", "2024"]
    assert years["2022"]["months"][10:] == [None, 0.1]
    assert years["2023"]["months"][:5] == [-0.1, None, None, 0.5, None]
    assert [years[year]["whole"] for year in years] == [None, None, None]
    days = frame_of(np.linspace(100, 300, 600), "2022-06-01")
    closes = days["close"]
    whole = [year["whole"] for year in returns_of(chart_of(days, {"ACME": SHARE}))["years"]]
    last = [closes[str(year)].iloc[-1] for year in (2022, 2023, 2024)]
    assert whole == [
        None,
        pytest.approx(last[1] / last[0] - 1),
        pytest.approx(last[2] / last[1] - 1),
    ]
    assert returns_of(chart_of(frame_of([]), {"ACME": SHARE}))["years"] == []
