"""Random windows and page sizes: the joined pages equal the true bars, none lost and none doubled."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.time.span import Span
from src.data.core.vendors.factory import downloader_class
from src.data.core.vendors.paging import windows
from tests.core.cache.counts import FULL, MANY

from .bench import Bench
from .sheet import examined, inapplicable, sheet_of

EXAMPLES = MANY if FULL else 6
PAGED = [vendor for vendor in examined() if sheet_of(vendor).paging]


@pytest.mark.parametrize("vendor", PAGED)
def test_pages_of_any_size_join_without_lost_or_doubled_bars(
    vendor: str, bench_of: Callable[[str], Bench]
) -> None:
    bench = bench_of(vendor)
    series = bench.paged
    whole = series.span
    # Where both ends of a page are part of it, a bar on the border comes with either.
    by_days = bench.sheet.paging == "days"

    @settings(derandomize=True, deadline=None, max_examples=EXAMPLES, database=None)
    @given(st.integers(0, 1000), st.integers(1, 1000), st.integers(1, 9))
    def join(start: int, length: int, size: int) -> None:
        begins = whole.start + (whole.end - whole.start) * start // 1001
        ends = min(whole.end, begins + 1 + (whole.end - whole.start) * length // 1000)
        span = Span(begins, ends)
        wanted = bench.truth(series, span)
        with pytest.MonkeyPatch.context() as bench.patch:
            bench.turn_pages(size)
            if not wanted:
                bench.refuses("nothing", series, span)
                return
            found = bench.checked(series, span)
        assert bench.told(found.good) == wanted
        borders = len(windows(span, series.frame, days=size)) - 1 if by_days else 0
        assert found.duplicates <= borders, "a bar came twice"

    join()


def test_a_class_with_pages_has_a_sheet_with_paging() -> None:
    """Without `paging`, the checks of pages are not run, which only a vendor without pages may have."""
    without = [vendor for vendor in examined() if not sheet_of(vendor).paging]
    for vendor in without:
        declared = downloader_class(sheet_of(vendor).vendor).capabilities
        assert not (declared.page_bars or declared.page_days), (
            f"{vendor}: name `paging` in its sheet"
        )
        assert "pages_travel_over_one_connection" in inapplicable(vendor)
