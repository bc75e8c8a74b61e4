"""Freshness of stored series: fresh, stale or at rest, with the stalest listed first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.store import BarStore, Commit
from src.data.core.clock import ManualClock
from src.data.core.config.settings import load_settings
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import DAY_MS, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.provider_selector import ProviderSelector
from src.data.jobs.fill.freshness import SeriesHealth, series_health
from src.data.jobs.vendors.vendors import selector_of
from tests.core.cache.bars import piece

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


def test_series_are_counted_as_fresh_stale_or_at_rest(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    # Wednesday, the market has opened: Tuesday's bar is final.
    put(store, "AAPL", "2024-06-11")
    put(store, "MSFT", "2024-06-07")
    put(store, "IBM", "2024-06-10", ("raw",))
    put(store, "NVDA", "2024-02-01")
    found = series_health(store, selector, clock)
    assert (found.total, found.fresh, len(found.stale), found.at_rest, found.unread) == (
        4, 1, 2, 1, 0,
    )  # fmt: skip
    assert [(str(key), late.behind) for key, late in found.stale] == [
        ("MSFT 1d", 2), ("IBM 1d@raw", 1),
    ]  # fmt: skip
    worst = found.stale[0][1]
    assert (worst.newest_ms, worst.due_ms) == (parse_iso("2024-06-07"), parse_iso("2024-06-11"))
    assert worst.age_ms == ((2 * 6.5 + 1.5) * 3600 + 30) * 1000


def test_freshness_is_computed_again_as_time_passes(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    put(store, "AAPL", "2024-06-11")

    def looking() -> SeriesHealth:
        return series_health(store, selector, clock)

    assert len(looking().stale) == 0
    clock.set(parse_iso("2024-06-13T13:29:59"))
    assert len(looking().stale) == 0
    clock.set(parse_iso("2024-06-13T13:30:00"))
    assert len(looking().stale) == 1
    put(store, "AAPL", "2024-06-12")
    assert len(looking().stale) == 0


def test_a_folder_unchanged_for_long_is_not_read(
    store: BarStore, selector: ProviderSelector, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "AAPL", "2024-06-11")
    put(store, "MSFT", "2024-06-11")
    (folder,) = store.root.rglob("MSFT/1d")
    long_ago = clock.now_ms() / 1000 - 31 * 86_400
    os.utime(folder, (long_ago, long_ago))
    read: list[str] = []
    real = BarStore.tail

    def tail(own: BarStore, key: SeriesKey) -> Any:
        read.append(key.symbol)
        return real(own, key)

    monkeypatch.setattr(BarStore, "tail", tail)
    found = series_health(store, selector, clock)
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
    found = series_health(store, selector, clock, most=2)
    assert (len(found.stale), found.unread) == (2, 1)
    assert {key.symbol for key, _ in found.stale} == {"MSFT", "IBM"}


def test_series_with_invalid_names_are_counted_as_unread(
    store: BarStore, selector: ProviderSelector, clock: ManualClock
) -> None:
    put(store, "AAPL", "2024-06-11")
    put(store, "?!", "2024-06-11")
    found = series_health(store, selector, clock)
    assert (found.fresh, found.unread) == (1, 1)


def test_a_missing_cache_has_no_series_and_is_not_created(
    tmp_path: Path, selector: ProviderSelector, clock: ManualClock
) -> None:
    found = series_health(BarStore(tmp_path / "none", clock=clock), selector, clock)
    assert (found.total, found.stale) == (0, ())
    assert not (tmp_path / "none").exists()
