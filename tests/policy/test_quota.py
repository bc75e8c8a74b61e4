from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.data.model.capabilities import Limits
from src.data.policy.quota import Window, longest_wait, windows_of


def test_a_window_is_full_until_its_first_spending_leaves_it() -> None:
    window = Window(10, 2)
    window.spend(1, 100)
    window.spend(1, 103)
    assert window.wait(1, 104) == 6
    assert window.wait(2, 104) == 9
    assert window.wait(1, 110) == 0
    assert window.used(110) == 1


def test_more_than_the_capacity_can_still_be_sent_alone() -> None:
    window = Window(10, 3)
    assert window.wait(50, 0) == 0
    window.spend(50, 0)
    assert window.wait(1, 1) == 9


def test_limits_become_windows() -> None:
    assert windows_of(Limits()) == []
    assert windows_of(Limits(per_minute=60)) == [Window(60, 60)]
    assert windows_of(Limits(per_second=10, burst=5, per_day=9)) == [
        Window(0.5, 5),
        Window(86400, 9),
    ]
    assert windows_of(Limits(per_second=0.5, burst=0)) == [Window(2, 1)]


def test_the_slowest_window_decides() -> None:
    windows = [Window(1, 1), Window(60, 2)]
    for at in (0, 1):
        assert longest_wait(windows, 1, at) == 0
        for window in windows:
            window.spend(1, at)
    assert longest_wait(windows, 1, 1.5) == pytest.approx(58.5)


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
    assert len(window._entries) <= 101
