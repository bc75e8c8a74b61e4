"""The truth is what every oracle rests on: it must agree with itself in every direction."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from onetape.data.core.model.time.instant import DAY_MS, HOUR_MS, MINUTE_MS, iso, parse_iso

from .ground_truth import Expected, Truth
from .listings import Listing, dividend, split

AT = parse_iso
MARCH = AT("2024-03-04"), AT("2024-03-09")


@pytest.fixture
def truth() -> Truth:
    return Truth()


def folded(bars: list[Expected]) -> tuple[float, ...]:
    """Make one bar of several, the slow and obvious way."""
    return (
        bars[0][1], max(b[2] for b in bars), min(b[3] for b in bars), bars[-1][4],
        round(sum(b[5] for b in bars), 6),
    )  # fmt: skip


def rounded(bar: Expected) -> tuple[float, ...]:
    return (*bar[1:5], round(bar[5], 6))


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHBTC", "THINUSDT", "AAPL", "VOD.L"])
def test_every_bar_can_be_a_bar(truth: Truth, symbol: str) -> None:
    for timeframe in ("1m", "30m", "1h", "1d"):
        bars = truth.raw(symbol, timeframe, *MARCH)
        assert bars and all(a[0] < b[0] for a, b in pairwise(bars))
        for _, o, h, low, c, v in bars:
            assert 0 < low <= min(o, c) and max(o, c) <= h and v > 0


@pytest.mark.parametrize("symbol", ["BTCUSDT", "THINUSDT", "HALTUSDT"])
@pytest.mark.parametrize(("long", "short", "step"), [("1h", "1m", HOUR_MS), ("1d", "1h", DAY_MS)])
def test_longer_bars_of_coins_are_derived_from_shorter_ones(
    truth: Truth, symbol: str, long: str, short: str, step: int
) -> None:
    shorts = truth.raw(symbol, short, *MARCH)
    for bar in truth.raw(symbol, long, *MARCH):
        parts = [b for b in shorts if bar[0] <= b[0] < bar[0] + step]
        assert rounded(bar) == folded(parts)


def test_days_of_shares_are_made_of_their_hours_and_weeks_of_days(truth: Truth) -> None:
    hours = truth.raw("AAPL", "1h", *MARCH)
    days = truth.raw("AAPL", "1d", *MARCH)
    assert [iso(d[0])[:10] for d in days] == [f"2024-03-{d:02}" for d in range(4, 9)]
    for day in days:
        assert rounded(day) == folded([h for h in hours if h[0] // DAY_MS == day[0] // DAY_MS])
    (week,) = truth.raw("AAPL", "1w", *MARCH)
    assert iso(week[0]) == "2024-03-04T00:00:00Z" and rounded(week) == folded(days)


def test_a_window_does_not_change_its_bars(truth: Truth) -> None:
    whole = truth.raw("BTCUSDT", "15m", *MARCH)
    start, end = MARCH[0] + 7 * HOUR_MS, MARCH[0] + 9 * HOUR_MS
    part = Truth().raw("BTCUSDT", "15m", start, end)
    assert part == [b for b in whole if start <= b[0] < end] and len(part) == 8
    assert truth.bar("BTCUSDT", "15m", start) == part[0]


def test_hours_of_shares_count_from_the_open_and_end_with_the_session(truth: Truth) -> None:
    day = AT("2024-07-03"), AT("2024-07-04")  # closes at 13:00 New York
    rows = truth.rows("AAPL", "1h", *day)
    assert [iso(r.opens_ms)[11:16] for r in rows] == ["13:30", "14:30", "15:30", "16:30"]
    assert iso(rows[-1].closes_ms) == "2024-07-03T17:00:00Z"
    clock = truth.rows("AAPL", "1h", *day, anchor="clock")
    assert [iso(r.stamp_ms)[11:16] for r in clock] == ["13:00", "14:00", "15:00", "16:00"]


def test_true_days_skip_holidays_and_months_end_at_the_next_month(truth: Truth) -> None:
    days = truth.raw("AAPL", "1d", AT("2024-03-27"), AT("2024-04-03"))
    assert [iso(d[0])[:10] for d in days] == [
        "2024-03-27",
        "2024-03-28",
        "2024-04-01",
        "2024-04-02",
    ]
    months = truth.rows("BTCUSDT", "1M", AT("2024-01-01"), AT("2024-04-01"))
    assert [(iso(r.stamp_ms)[:10], iso(r.closes_ms)[:10]) for r in months] == [
        ("2024-01-01", "2024-02-01"), ("2024-02-01", "2024-03-01"), ("2024-03-01", "2024-04-01"),
    ]  # fmt: skip


def test_listing_delisting_outages_and_quiet_minutes(truth: Truth) -> None:
    assert iso(truth.raw("NEWUSDT", "1m", 0, AT("2024-06-04"))[0][0]) == "2024-06-03T10:30:00Z"
    assert (
        iso(truth.raw("OLDUSDT", "1m", AT("2022-05-12"), AT("2023-01-01"))[-1][0])
        == "2022-05-13T00:29:00Z"
    )
    halted = {b[0] for b in truth.raw("HALTUSDT", "5m", *MARCH)}
    assert AT("2024-03-05T01:55") in halted and AT("2024-03-05T05:30") in halted
    assert not halted & set(range(AT("2024-03-05T02:00"), AT("2024-03-05T05:30"), 5 * MINUTE_MS))
    assert 300 < len(truth.raw("THINUSDT", "1m", MARCH[0], MARCH[0] + DAY_MS)) < 600


def test_a_forming_bar_grows_into_its_final_self(truth: Truth) -> None:
    opens = AT("2024-03-05T10:00")
    final = truth.bar("BTCUSDT", "1h", opens)
    assert final is not None
    seen = []
    for seconds in (0, 30, 1800, 3599):
        (row,) = truth.rows("BTCUSDT", "1h", opens, opens + HOUR_MS, "raw", opens + seconds * 1000)
        assert row.open == final[1] and row.closes_ms == opens + HOUR_MS
        seen.append(row)
        assert (
            truth.expected("BTCUSDT", "1h", opens, opens + HOUR_MS, "raw", opens + seconds * 1000)
            == []
        )
    assert seen[0].open == seen[0].high == seen[0].low == seen[0].close and seen[0].volume == 0
    assert all(a.volume < b.volume and a.high <= b.high for a, b in pairwise(seen))  # type: ignore[operator]
    assert truth.expected("BTCUSDT", "1h", opens, opens + HOUR_MS, "raw", opens + HOUR_MS) == [
        final
    ]


def test_a_split_is_applied_from_its_session_on_and_not_before(truth: Truth) -> None:
    before, ex = AT("2024-06-07"), AT("2024-06-10T13:30")
    (raw,) = truth.raw("NVDA", "1d", before, before + DAY_MS)
    (early,) = truth.expected("NVDA", "1d", before, before + DAY_MS, "split", ex - 1)
    (late,) = truth.expected("NVDA", "1d", before, before + DAY_MS, "split", ex)
    assert early == raw
    assert (
        late[1:5] == pytest.approx([p / 10 for p in raw[1:5]], rel=1e-15) and late[5] == raw[5] * 10
    )
    (first,) = truth.raw("NVDA", "1d", AT("2024-06-10"), AT("2024-06-11"))
    assert first[1] == pytest.approx(late[4], rel=0.1), "raw prices fall by the ratio"


def test_dividends_lower_all_that_came_before(truth: Truth) -> None:
    truth.add(Listing("PAYS", "stock", 100.0, calendar="XNYS", timezone="America/New_York",
                      actions=(dividend("2024-03-06", 2.0), split("2024-03-08", 2))))  # fmt: skip
    split_only = truth.expected("PAYS", "1d", *MARCH, "split")
    everything = truth.expected("PAYS", "1d", *MARCH, "all")
    raw = truth.raw("PAYS", "1d", *MARCH)
    factor = 1 - 2.0 / raw[1][4]  # the raw close of the 5th
    for i, (one, all_) in enumerate(zip(split_only, everything, strict=True)):
        assert all_[4] == pytest.approx(one[4] * (factor if i < 2 else 1.0), rel=1e-12)
    assert split_only[0][4] == raw[0][4] / 2 and split_only[-1][4] == raw[-1][4]


def test_an_action_added_later_leaves_older_raw_bars_alone(truth: Truth) -> None:
    before = truth.raw("MSFT", "1d", *MARCH)
    truth.act("MSFT", split("2024-06-20", 3))
    assert truth.raw("MSFT", "1d", *MARCH) == before
    assert truth.expected("MSFT", "1d", *MARCH, "split")[0][4] == pytest.approx(before[0][4] / 3)


def test_a_year_of_hours_is_quick(truth: Truth) -> None:
    start = time.process_time()
    assert len(truth.raw("ETHUSDT", "1h", AT("2023-01-01"), AT("2024-01-01"))) == 8760
    assert time.process_time() - start < 1.0  # 0.15 s on an idle machine
