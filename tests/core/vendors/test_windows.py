from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.time.instant import DAY_MS, HOUR_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.paging import windows

HOUR, MONTH = Timeframe.parse("1h"), Timeframe.parse("1M")


def test_a_span_without_limits_is_one_window() -> None:
    assert windows(Span(0, 10**12), HOUR) == [Span(0, 10**12)]


def test_an_empty_span_is_split_into_no_windows() -> None:
    assert windows(Span(5, 5), HOUR, bars=1) == []


def test_a_window_is_limited_by_bars_or_days_whichever_is_shorter() -> None:
    span = Span(0, 3 * DAY_MS)
    assert windows(span, HOUR, bars=36) == [Span(0, 36 * HOUR_MS), Span(36 * HOUR_MS, 3 * DAY_MS)]
    assert len(windows(span, HOUR, bars=36, days=1)) == 3
    assert len(windows(span, HOUR, bars=12, days=1)) == 6


def test_a_page_of_months_never_exceeds_the_limit() -> None:
    assert all(w.end - w.start <= 2 * 28 * DAY_MS for w in windows(Span(0, 10**11), MONTH, bars=2))


@settings(max_examples=80, derandomize=True)
@given(st.integers(-(10**12), 10**12), st.integers(1, 10**9), st.integers(0, 40), st.integers(0, 3))
def test_windows_cover_the_span_exactly_once(start: int, length: int, bars: int, days: int) -> None:
    span = Span(start, start + length)
    cut = windows(span, HOUR, bars=bars, days=days)
    assert cut[0].start == span.start
    assert cut[-1].end == span.end
    assert all(a.end == b.start for a, b in pairwise(cut))
    assert not any(w.is_empty for w in cut)
    for window in cut:
        assert not bars or window.end - window.start <= bars * HOUR_MS
        assert not days or window.end - window.start <= days * DAY_MS
