"""Quota windows: their contents, and how long a request waits for room."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.core.model.request.capabilities import Limits
from src.data.core.net.limits.quota import Pause, QuotaReport, SpentUnits, Window, windows_of


def test_a_full_window_has_room_when_its_oldest_spending_expires() -> None:
    window = Window(10, 2)
    window.spend(1, 100)
    window.spend(1, 103)
    assert window.wait(1, 104) == 6
    assert window.wait(2, 104) == 9
    assert window.wait(1, 110) == 0
    assert window.used(110) == 1


def test_a_request_above_the_capacity_is_allowed_in_an_empty_window() -> None:
    window = Window(10, 3)
    assert window.wait(50, 0) == 0
    window.spend(50, 0)
    assert window.wait(1, 1) == 9


def test_rate_limits_become_quota_windows() -> None:
    assert windows_of(Limits()) == []
    assert windows_of(Limits(per_minute=60)) == [Window(60, 60)]
    assert windows_of(Limits(per_second=10, burst=5, per_day=9)) == [
        Window(0.5, 5),
        Window(86400, 9),
    ]
    assert windows_of(Limits(per_second=0.5, burst=0)) == [Window(2, 1)]
    assert windows_of(Limits(per_second=1, burst=60, per_minute=50)) == [Window(60, 50)]


def test_the_slowest_window_decides() -> None:
    windows = [Window(1, 1), Window(60, 2)]
    for at in (0, 1):
        assert [window.wait(1, at) for window in windows] == [0, 0]
        for window in windows:
            window.spend(1, at)
    assert max(window.wait(1, 1.5) for window in windows) == pytest.approx(58.5)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 3), st.integers(1, 4)), min_size=1, max_size=60),
    st.floats(0.5, 30),
    st.integers(1, 12),
)
def test_no_window_anywhere_holds_more_than_its_capacity(
    steps: list[tuple[float, int]], length: float, capacity: int
) -> None:
    """Obey the waits, keep an exact record beside, and look at every window there is."""
    window, now, sent = Window(length, capacity), 0.0, list[tuple[float, int]]()
    for pause, cost in steps:
        cost = min(cost, capacity)
        now += pause
        while (wait := window.wait(cost, now)) > 0:
            assert wait <= length + 1e-9
            now += wait + 1e-9
        window.spend(cost, now)
        sent.append((now, cost))
    for start, _ in sent:
        inside = sum(cost for at, cost in sent if start <= at < start + length - 1e-6)
        assert inside <= capacity


def test_thousands_of_spendings_are_kept_as_few_entries() -> None:
    window = Window(60, 1_000_000)
    for i in range(20_000):
        window.spend(1, i * 0.002)
    assert window.used(40) == 20_000
    assert len(window.entries) <= 101


def test_units_of_one_entry_count_until_the_last_of_them_expires() -> None:
    window = Window(100, 2)
    window.spend(1, 0.0)
    window.spend(1, 0.9)
    assert len(window.entries) == 1
    assert window.used(100.5) == 2
    assert window.wait(1, 100.5) == pytest.approx(0.4)


def test_a_monthly_window_has_31_days() -> None:
    (month,) = windows_of(Limits(per_month=10))
    month.spend(10, 0)
    assert month.wait(1, 0) == 31 * 86_400


def test_units_of_unanswered_requests_count_until_their_answer() -> None:
    window = Window(60, 10)
    window.spend(4, 0)
    assert window.wait(2, 1, in_flight=4) == 0
    assert window.wait(3, 1, in_flight=4) == 59, "the oldest spending expires first"
    assert window.wait(9, 1, in_flight=4) == 60, (
        "no expired spending suffices: a request must be answered"
    )


def test_half_of_a_window_is_reserved_if_earlier_spending_is_unknown() -> None:
    window = Window(60, 10)
    assert window.unknown(None, 5) == 0
    assert window.unknown(0, 59) == 5
    assert window.unknown(0, 60) == 0


def test_a_window_continues_from_its_stored_spending() -> None:
    window = Window(60, 10, [SpentUnits(0, 1, 6), SpentUnits(30, 30, 4)])
    assert window.wait(1, 50) == 11
    window.spend(0, 62)
    assert window.used(62) == 4


def test_a_quota_is_raised_to_the_count_of_the_vendor_and_never_lowered() -> None:
    windows = windows_of(Limits(per_minute=100, per_day=1000))
    for window in windows:
        window.spend(30, 0)
    assert QuotaReport(70, length_s=60).lacking(windows, 1, in_flight=10) == 30
    assert QuotaReport(20, length_s=60).lacking(windows, 1, in_flight=0) == 0, "never lowered"
    assert QuotaReport(50, is_left=True).lacking(windows, 1, in_flight=0) == 20
    assert QuotaReport(200, is_left=True).lacking(windows, 1, in_flight=0) == 0
    assert QuotaReport(500, length_s=86_400).lacking(windows, 1, in_flight=0) == 470
    assert QuotaReport(500, length_s=10).lacking(windows, 1, in_flight=0) == 0, (
        "no such window here"
    )


def test_a_requested_pause_is_kept_and_the_longer_one_counts() -> None:
    pause = Pause().after(30, 100).after(5, 101)
    assert pause.left_s(101) == 29
    assert Pause().after(0, 100).left_s(100) == 0
    assert Pause().after(10**9, 0).left_s(0) == 7 * 86_400, "every pause ends"


def test_a_pause_without_a_given_length_grows_until_it_is_reset() -> None:
    pause, now, lengths = Pause(), 0.0, []
    for _ in range(4):
        pause = pause.after(None, now)
        assert pause.after(None, now + 1) is pause, (
            "a request in flight is not counted as a further refusal"
        )
        lengths.append(pause.left_s(now))
        now += pause.left_s(now)
    assert lengths == [15, 40, 60, 60]
    assert pause.after(None, now + 601).left_s(now + 601) == 15
