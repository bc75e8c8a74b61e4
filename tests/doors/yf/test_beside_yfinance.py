"""Each call gives the frame that the real yfinance gives, on the same local server."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from onetape import yf
from tests.contract.source import ROOT

from .calls import CALLS, DIFFERENT
from .conftest import Both

pytestmark = pytest.mark.filterwarnings("ignore")
PAGE = ROOT / "docs" / "coming-from-yfinance.md"


def expect_equal(ours: Any, theirs: Any) -> None:
    """Compare values, columns, index, types, units, zones and names; frames of many, whatever the order."""
    if isinstance(theirs, pd.Series):
        pd.testing.assert_series_equal(ours, theirs)
        return
    if theirs.columns.nlevels == 2 and theirs.columns.names[0] == "Ticker":
        # yfinance shows tickers in the order in which their answers came.
        assert sorted(ours) == sorted(theirs)
        theirs = theirs[ours.columns]
    pd.testing.assert_frame_equal(ours, theirs)


@pytest.mark.parametrize("name", CALLS)
def test_our_frames_equal_those_of_yfinance_except_for_listed_differences(
    name: str, both: Both
) -> None:
    theirs, ours = CALLS[name](both.real), CALLS[name](yf)
    if name not in DIFFERENT:
        expect_equal(ours, theirs)
        return
    with pytest.raises(AssertionError):
        expect_equal(ours, theirs)
    columns = list(DIFFERENT[name][1])
    expect_equal(ours[columns], theirs[columns])


def test_sixty_calls_are_compared_and_their_differences_are_documented() -> None:
    assert len(CALLS) >= 60
    text = re.sub(r"\s+", " ", PAGE.read_text("utf-8"))
    assert [words for words, _ in DIFFERENT.values() if words not in text] == []
    assert set(DIFFERENT) <= set(CALLS)
