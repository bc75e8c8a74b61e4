"""Reports of unknown symbols: how long each one holds."""

from __future__ import annotations

from src.data.core.net.limits.unknown_symbols import UnknownSymbol, reported_again

HOUR = 3600.0
WEEK = 7 * 86_400.0


def said_at(*instants: float) -> list[UnknownSymbol]:
    """Return the stored report after each of several reports on one symbol."""
    found: list[UnknownSymbol] = []
    for now_s in instants:
        found.append(reported_again(found[-1] if found else None, now_s))
    return found


def test_the_first_report_of_an_unknown_symbol_holds_for_15_minutes() -> None:
    (known,) = said_at(1000)
    assert known == UnknownSymbol(1000, 1900, 1)
    assert known.holds(1899.9)
    assert not known.holds(1900)


def test_a_report_of_an_unknown_symbol_holds_twice_as_long_each_time_up_to_six_hours() -> None:
    at = 0.0
    known = reported_again(None, at)
    terms = [known.until_s - at]
    for _ in range(99):
        at = known.until_s
        known = reported_again(known, at)
        terms.append(known.until_s - at)
    assert [term / HOUR for term in terms[:7]] == [0.25, 0.5, 1, 2, 4, 6, 6]
    assert terms[-1] == 6 * HOUR


def test_a_report_of_an_unknown_symbol_after_a_quiet_week_counts_as_first() -> None:
    first, second = said_at(0, 900 + WEEK)
    assert second.times == first.times + 1
    _, late = said_at(0, 901 + WEEK)
    assert late.times == 1
