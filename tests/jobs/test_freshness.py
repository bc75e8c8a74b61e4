"""Freshness of stored series: fresh, stale or at rest, with the stalest listed first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from src.data.cache.store import BarStore, Commit
from src.data.clock import ManualClock
from src.data.config.settings import load_settings
from src.data.jobs.status import SeriesWatch
from src.data.jobs.vendors import selector_of
from src.data.model.instant import DAY_MS, parse_iso
from src.data.model.series import SeriesKey
from src.data.model.timeframe import Timeframe
from src.data.provider_selector import ProviderSelector
from tests.cache.bars import piece

DAILY = Timeframe.parse("1d")


@pytest.fixture
def store(tmp_path: Path, clock: ManualClock) -> BarStore:
    """Return an empty bar store at 2024-06-12 15:00:30 UTC."""
    return BarStore(tmp_path / "cache", clock=clock)


@pytest.fixture
def selector() -> ProviderSelector:
    """Return a selector with the packaged rules."""
    return selector_of(load_settings())


def put(store: BarStore, symbol: str, last: str, lane: tuple[str, ...] = ()) -> None:
    """Store two days of final bars, the last of them stamped ``last``."""
    number = (parse_iso(last) - parse_iso("2024-01-01")) // DAY_MS
    rows = piece(number - 1, number + 1, vendor="yahoo", fetched_at=parse_iso(last) + 2 * DAY_MS)
    store.commit(SeriesKey(symbol, DAILY, lane), Commit(pieces=(rows,)))


def watch(
    store: BarStore, selector: ProviderSelector, clock: ManualClock, **how: int
) -> SeriesWatch:
    return SeriesWatch(store.root, selector, clock, **how)


def test_series_are_counted_as_fresh_stale_or_at_rest(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    # Wednesday, the market has opened: Tuesday's bar is final.
    put(store, "AAPL", "2024-06-11")
    put(store, "MSFT", "2024-06-07")
    put(store, "IBM", "2024-06-10", ("raw",))
    put(store, "NVDA", "2024-02-01")
    found = watch(store, selector, clock).health()
    assert (found.total, found.fresh, found.stale, found.at_rest, found.unread) == (4, 1, 2, 1, 0)
    reported = [one.to_json() for one in found.stalest]
    assert [(t["symbol"], t["timeframe"], t["behind"]) for t in reported] == [
        ("MSFT", "1d", 2), ("IBM", "1d@raw", 1),
    ]  # fmt: skip
    assert reported[0]["newest"] == "2024-06-07T00:00:00Z"
    assert reported[0]["due"] == "2024-06-11T00:00:00Z"
    assert reported[0]["age_s"] == (2 * 6.5 + 1.5) * 3600 + 30


def test_freshness_is_computed_again_as_time_passes(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    put(store, "AAPL", "2024-06-11")
    looking = watch(store, selector, clock)
    assert looking.health().stale == 0
    clock.set(parse_iso("2024-06-13T13:29:59"))
    assert looking.health().stale == 0
    clock.set(parse_iso("2024-06-13T13:30:00"))
    assert looking.health().stale == 1
    put(store, "AAPL", "2024-06-12")
    assert looking.health().stale == 0


def test_a_folder_unchanged_for_long_is_not_read(
    store: BarStore, selector: ProviderSelector, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "AAPL", "2024-06-11")
    put(store, "MSFT", "2024-06-11")
    (folder,) = store.root.rglob("MSFT/1d")
    long_ago = clock.now_ms() / 1000 - 31 * 86_400
    os.utime(folder, (long_ago, long_ago))
    looking = watch(store, selector, clock)
    read: list[str] = []
    real = BarStore.tail

    def tail(own: BarStore, key: SeriesKey) -> Any:
        read.append(key.symbol)
        return real(own, key)

    monkeypatch.setattr(BarStore, "tail", tail)
    found = looking.health()
    assert (found.fresh, found.at_rest) == (1, 1)
    assert read == ["AAPL"]


def test_only_the_most_recently_changed_of_very_many_series_are_examined(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    for number, symbol in enumerate(["AAPL", "MSFT", "IBM"]):
        put(store, symbol, "2024-06-05")
        (folder,) = store.root.rglob(f"{symbol}/1d")
        at = clock.now_ms() / 1000 + number
        os.utime(folder, (at, at))
    found = watch(store, selector, clock, most=2).health()
    assert (found.stale, found.unread) == (2, 1)
    assert {one.key.symbol for one in found.stalest} == {"MSFT", "IBM"}


def test_the_twenty_stalest_series_are_listed_first(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    for number in range(22):
        put(store, f"AAA{chr(65 + number)}", "2024-06-07" if number else "2024-06-05")
    found = watch(store, selector, clock).health()
    assert (found.stale, len(found.stalest)) == (22, 20)
    assert found.stalest[0].key.symbol == "AAAA"


def test_series_with_invalid_names_are_counted_as_unread(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    put(store, "AAPL", "2024-06-11")
    put(store, "?!", "2024-06-11")
    found = watch(store, selector, clock).health()
    assert (found.fresh, found.unread) == (1, 1)


def test_a_missing_cache_has_no_series_and_is_not_created(
    tmp_path: Path, selector: ProviderSelector, clock: ManualClock
) -> None:
    found = SeriesWatch(tmp_path / "none", selector, clock).health()
    assert (found.total, found.stalest) == (0, ())
    assert not (tmp_path / "none").exists()
