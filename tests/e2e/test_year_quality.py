"""The quality score of a year: based on all its bars, whatever was requested last."""

from __future__ import annotations

import json
from typing import Any

import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.clock import ManualClock
from src.data.core.model.answer.frame import build_frame
from src.data.core.model.market.bars import Bar, BarTable
from src.data.core.model.stored.coverage import Coverage

from .fixed_vendor import FixedVendor, Market, at, every, serving
from .scripted_vendor import provenance

pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")

MARCH = every("1h", "2024-03-04T00:00", "2024-03-08T23:00")
LOST = every("1h", "2024-03-05T02:00", "2024-03-05T04:00")
BAD = at("2024-03-05T09:00")


def poor(rows: list[Bar]) -> list[Bar]:
    """Return an answer without three hours and with one row that cannot be a bar."""
    return [
        r._replace(low=-1.0) if r.stamp_ms == BAD else r for r in rows if r.stamp_ms not in LOST
    ]


def quality(cache: UnifiedCache, year: int) -> dict[str, Any]:
    """Return the documented key of a year's metadata."""
    found: dict[str, Any] = cache.get_data_info("BTCUSDT", "1h", year)["data_quality"]
    cache.get_stats()
    summary = json.loads((cache.metadata_dir / "quality_scores.json").read_text())
    assert summary["BTCUSDT"]["1h"][str(year)] == found
    return found


ASK = [("2024-03-04", "2024-03-05"), ("2024-03-06", "2024-03-06"), ("2024-03-07", "2024-03-08")]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_quality_of_a_year_keeps_problems_of_earlier_answers(
    market: Market, clock: ManualClock, order: tuple[int, ...]
) -> None:
    fixed = FixedVendor(clock, MARCH, "binance")
    fixed.spoil = poor
    for number in order:
        manager = market.manager(fixed)
        manager.get_ohlcv("BTCUSDT", "1h", *ASK[number])
    found = quality(manager.cache, 2024)
    # Of 120 expected bars three did not come and one is none.
    assert found["score"] == pytest.approx(116 / 120, abs=1e-6)
    assert found["gaps"] == 1
    assert "3 of 120 expected bars are missing" in found["validation_errors"]
    assert "2024-03-05T09:00:00Z: price not positive" in found["validation_errors"]


def test_the_quality_of_a_year_drops_problems_that_were_corrected(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, MARCH, "binance")
    fixed.spoil = poor
    market.manager(fixed).get_ohlcv("BTCUSDT", "1h", "2024-03-04", "2024-03-08")
    fixed.spoil = list
    clock.advance(26 * 3600)
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-03-04", "2024-03-08", strict=True)
    assert quality(manager.cache, 2024) == {
        "score": 1.0,
        "validation_errors": [],
        "gaps": 0,
        "duplicates": 0,
    }


def test_each_year_has_its_own_quality_score(market: Market, clock: ManualClock) -> None:
    winter = every("1h", "2023-12-30T00:00", "2024-01-02T23:00")
    fixed = FixedVendor(clock, [s for s in winter if not winter[5] <= s < winter[8]], "binance")
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1h", "2023-12-30", "2024-01-02")
    assert quality(manager.cache, 2023)["score"] == pytest.approx(45 / 48, abs=1e-6)
    assert quality(manager.cache, 2024)["score"] == 1.0
    assert quality(manager.cache, 2024)["validation_errors"] == []


def test_a_hole_over_the_end_of_a_year_lowers_the_score_of_both_years(
    market: Market, clock: ManualClock
) -> None:
    winter = every("1h", "2023-12-30T00:00", "2024-01-02T23:00")
    fixed = FixedVendor(clock, [s for s in winter if not winter[46] <= s < winter[52]], "binance")
    manager = market.manager(fixed)
    manager.get_ohlcv("BTCUSDT", "1h", "2023-12-30", "2024-01-02")
    assert quality(manager.cache, 2023)["score"] == pytest.approx(46 / 48, abs=1e-6)
    assert quality(manager.cache, 2024)["score"] == pytest.approx(44 / 48, abs=1e-6)


def test_the_quality_of_a_year_counts_frames_put_into_the_cache(
    market: Market, clock: ManualClock
) -> None:
    fixed = FixedVendor(clock, MARCH, "binance")
    cache = market.manager(fixed).cache
    for day in (MARCH[24:48], MARCH[48:72]):
        rows = poor([fixed.bar(stamp) for stamp in day])
        frame = build_frame(BarTable.from_bars(rows), Coverage())
        assert cache.put(frame, "BTCUSDT", "1h", None, None)
    found = quality(cache, 2024)
    assert found["score"] == pytest.approx(44 / 48, abs=1e-6)
    assert found["gaps"] == 1
    assert any("price not positive" in text for text in found["validation_errors"])


def test_the_quality_of_a_year_survives_compaction(market: Market, clock: ManualClock) -> None:
    fixed = FixedVendor(clock, MARCH, "binance")
    fixed.spoil = poor
    manager = market.manager(fixed)
    for ask in ASK:
        manager.get_ohlcv("BTCUSDT", "1h", *ask)
    before = quality(manager.cache, 2024)
    upkeep = manager.cache.maintenance
    upkeep.compact(upkeep.series())
    assert quality(market.manager(fixed).cache, 2024) == before


# --- problems of answers -----------------------------------------------------------------------


@pytest.mark.parametrize("vendor", serving("crypto"))
@pytest.mark.parametrize("dense", [True, False])
def test_problems_of_a_year_are_reported_with_every_answer(
    market: Market, clock: ManualClock, vendor: str, dense: bool
) -> None:
    fixed = FixedVendor(clock, MARCH, vendor, dense=dense)
    fixed.spoil = poor
    ask = ("BTC-USD" if vendor != "binance" else "BTCUSDT", "1h", "2024-03-04", "2024-03-08")
    first = provenance(market.manager(fixed).get_ohlcv(*ask))["problems"]
    assert "3 of 120 expected bars are missing" in first
    assert any("price not positive" in text for text in first)
    fixed.asked.clear()
    again = provenance(market.manager(fixed).get_ohlcv(*ask))
    assert fixed.asked == []
    assert again["problems"] == first
    part = provenance(market.manager(fixed).get_ohlcv(*ask[:2], "2024-03-07", "2024-03-08"))
    assert part["problems"] == []
    version = again["generation"]
    assert provenance(market.manager(fixed).get_ohlcv(*ask, version=version))["problems"] == first
