"""Checks of healthy answers: exactly the requested bars."""

from __future__ import annotations

from contextlib import suppress

import pytest

from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.time.instant import DAY_MS, iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.prices.quality import CheckedRows
from src.data.errors import CapabilityError, NoDataError

from .bench import Bench
from .sheet import Series

_SHORT = {"1m": ("2024-06-10T14:00", "2024-06-10T14:40"), "1M": ("2024-02-01", "2024-05-01")}
_UNHEARD_OF = Timeframe.parse("7m")


def every_bar_is_as_traded(bench: Bench) -> None:
    """Each series of the sheet comes out as the truth has it."""
    for series in bench.sheet.series:
        wanted = bench.truth(series)
        assert len(wanted) >= 4, f"{series} asks for too little"
        assert bench.bars(series) == wanted, series


def a_range_ends_before_its_end(bench: Bench) -> None:
    """Of two neighbouring bars each is had alone: the end is not part of a range."""
    for series in bench.sheet.series:
        wanted = bench.truth(series)
        first, second = int(wanted[0][0]), int(wanted[1][0])
        assert bench.bars(series, Span(first, second)) == wanted[:1], series
        assert bench.bars(series, Span(first, second + 1)) == wanted[:2], series
        assert bench.bars(series, Span(first + 1, second + 1)) == wanted[1:2], series


def the_same_question_has_the_same_answer(bench: Bench) -> None:
    """Nothing is left behind by an answer that would change the next one."""
    vendor, asked = bench.downloader(), bench.query(bench.sheet.main)
    first, second = vendor.fetch(asked), vendor.fetch(asked)
    assert bench.told(first.table) == bench.told(second.table)
    assert (first.kind, first.basis, first.dense) == (second.kind, second.basis, second.dense)


def the_running_bar_is_the_only_one_beyond_what_has_closed(bench: Bench) -> None:
    """Up to now there are the closed bars, and perhaps the one that forms."""
    now_ms, settle_ms = bench.clock.now_ms(), bench.downloader().capabilities.settle_ms
    forming = 0
    for series in bench.sheet.series:
        span = Span(now_ms - 9 * (series.frame.step_ms or 31 * DAY_MS), now_ms)
        rows = bench.rows(series, span)
        running = [row.stamp_ms for row in rows if row.closes_ms > now_ms]
        forming += len(running)
        if not (closed := bench.truth(series, span)):
            continue
        found = bench.outcome(series, span)
        # What has not settled may be late: nothing of it, or a part.
        late = settle_ms if series.frame.is_intraday else 0
        ripe = sum(row.closes_ms <= now_ms - late for row in rows)
        assert isinstance(found, CheckedRows) or (type(found), ripe) == (NoDataError, 0), series
        told = bench.told(found.good) if isinstance(found, CheckedRows) else []
        got = [bar for bar in told if bar[0] not in running]
        assert got == closed[: len(got)], series
        assert len(got) >= ripe, f"closed bars of {series} are not there"
    assert forming, "no bar forms"


def a_minute_is_not_a_month(bench: Bench) -> None:
    """``1m`` and ``1M`` are what they say or are not served."""
    main, served = bench.sheet.main, bench.downloader().capabilities
    for label, (start, end) in _SHORT.items():
        series = Series(main.symbol, label, start, end, "clock", main.listing)
        if label in served.labels(series.instrument.asset_class):
            assert bench.bars(series) == bench.truth(series), label
            continue
        before = bench.asked()
        with pytest.raises(CapabilityError):
            bench.fetch(series)
        assert bench.asked() == before, f"it was asked for {label}"


def what_is_not_declared_is_not_asked(bench: Bench) -> None:
    """Another timeframe or asset class is refused by name before anything is sent."""
    vendor, asked = bench.downloader(), bench.query(bench.sheet.main)
    served = vendor.capabilities.asset_classes
    others = [c for c in ("stock", "crypto", "forex", "index", "future") if c not in served]
    frames = [(asked.instrument, _UNHEARD_OF)]
    frames += [(Instrument("AAPL", c), asked.timeframe) for c in others]  # type: ignore[arg-type]
    for who, frame in frames:
        question = bench.query(bench.sheet.main)
        with pytest.raises(CapabilityError, match=bench.name):
            vendor.fetch(type(question)(who, frame, question.span, question.now_ms))
    assert bench.asked() == 0


def a_range_deeper_than_declared_is_not_asked(bench: Bench) -> None:
    """What the vendor keeps for some days alone is refused beyond them, with the bound."""
    series, vendor = bench.sheet.main, bench.downloader()
    for label, days in vendor.capabilities.depth_days.items():
        start = bench.clock.now_ms() - (days + 3) * DAY_MS
        deep = Series(series.symbol, label, iso(start), iso(start + DAY_MS))
        with pytest.raises(CapabilityError, match=str(days)):
            vendor.fetch(bench.query(deep))
    assert bench.asked() == 0


def every_timeframe_builds_a_request(bench: Bench) -> None:
    """Each declared timeframe is asked at the vendor's host, or refused with a reason."""
    vendor = bench.downloader()
    end = bench.clock.now_ms() // DAY_MS * DAY_MS - 2 * DAY_MS
    built = 0
    for series in bench.sheet.series:
        for label in vendor.capabilities.labels(series.instrument.asset_class):
            asked = bench.query(
                Series(
                    series.symbol, label, iso(end - 5 * DAY_MS), iso(end), listing=series.listing
                )
            )
            with suppress(CapabilityError):  # it says why: days that begin at another hour
                assert vendor.bars_request(asked, None).url.startswith(bench.url()), label
                built += 1
    assert built


def before_its_listing_there_is_nothing(bench: Bench) -> None:
    """A range that begins before the listing has the bars since; one wholly before has none."""
    young = bench.sheet.young
    wanted = bench.truth(young)
    assert wanted and wanted[0][0] > young.span.start + DAY_MS
    assert bench.bars(young) == wanted
    bench.refuses("before_listing", young, Span(young.span.start, int(wanted[0][0]) - DAY_MS))


def after_its_delisting_there_is_nothing(bench: Bench) -> None:
    """A range that outlives the listing has the bars until then; one wholly after has none."""
    gone = bench.sheet.gone
    wanted = bench.truth(gone)
    assert wanted and wanted[-1][0] < gone.span.end - 2 * DAY_MS
    assert bench.bars(gone) == wanted
    bench.refuses("after_delisting", gone, Span(int(wanted[-1][0]) + 2 * DAY_MS, gone.span.end))


def the_future_is_not_there(bench: Bench) -> None:
    """A range that has not begun is an error with a name."""
    start = bench.clock.now_ms() // DAY_MS * DAY_MS + 10 * DAY_MS
    bench.refuses("future", bench.sheet.main, Span(start, start + 7 * DAY_MS))
