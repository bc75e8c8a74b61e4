"""Tests the series in which new bars are judged."""

from __future__ import annotations

import numpy as np
import pytest

from src.data.core.bars.ingest.judge import _at_own_level

from .answers import bar, table


@pytest.mark.parametrize(
    ("last", "wanted"),
    [(10.0, [0.98, 1.0]), (0.98, [9.604, 0.98]), (1.0, [9.8, 1.0])],
    ids=["after an unknown reverse split", "below", "level"],
)
def test_an_adjusted_close_is_lowered_to_the_level_of_its_bars_and_never_raised(
    last: float, wanted: list[float]
) -> None:
    adj = [100.0 * last * 0.98 if last == 10.0 else 100.0 * 9.8 * last, 100.0 * last, np.nan]
    rows = table(bar(n) for n in range(3)).with_adj_close(np.array(adj))
    judged = _at_own_level(rows).adj_close
    assert judged is not None
    assert judged[:2] / rows.close[:2] == pytest.approx(wanted)
    assert np.isnan(judged[2])


def test_bars_without_an_adjusted_close_are_judged_as_they_are() -> None:
    rows = table([bar(0), bar(1)])
    assert _at_own_level(rows) is rows
    none = rows.with_adj_close(np.full(2, np.nan))
    assert _at_own_level(none) is none
