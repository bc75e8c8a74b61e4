"""Tests a vendor that sends new invalid rows at each call: their record stays small, later calls cheap."""

from __future__ import annotations

import gzip
import itertools
import json
import re

import pandas as pd
import pytest

from src.data.core.cache.format.documents import SourceDocument
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import Bar
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, iso, parse_iso
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from tests.core.cache.counts import FULL

from .fixed_vendor import FixedVendor, Market
from .scripted_vendor import provenance

FIRST = parse_iso("2024-05-01T00:00:00")
MINUTES = SeriesKey("BTCUSDT", Timeframe.parse("1m"))
pytestmark = pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")


@pytest.fixture
def fixed(clock: ManualClock) -> FixedVendor:
    """Return a vendor of minutes of which every 25th is no bar, at other places each day."""
    days = [FIRST + n * DAY_MS for n in range(4)]
    stamps = [day + n * MINUTE_MS for day in days for n in range(1440)]
    fixed = FixedVendor(clock, stamps, "binance")

    def spoil(rows: list[Bar]) -> list[Bar]:
        return [row._replace(high=0.5) if is_bad(row.stamp_ms) else row for row in rows]

    fixed.spoil = spoil
    return fixed


def is_bad(stamp: int) -> bool:
    day, minute = divmod(stamp // MINUTE_MS, 1440)
    return minute % 25 == day % 20 + 1


def day_of(manager: DataManager, clock: ManualClock, number: int):  # type: ignore[no-untyped-def]
    """Ask for one day after its end."""
    start = FIRST + number * DAY_MS
    clock.set(start + DAY_MS + 60 * MINUTE_MS)
    return manager.get_ohlcv("BTCUSDT", "1m", iso(start)[:10], iso(start)[:10], columns=("state",))


def test_a_day_with_bad_rows_adds_little_to_the_documents_and_no_work_to_later_days(
    market: Market, clock: ManualClock, fixed: FixedVendor, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, entries = SourceDocument.covered, set()

    def counted(source: SourceDocument, *rest: object) -> Covered:
        # Files this young may be read again; what was read is the same, in another object.
        entries.add(re.sub(r" at 0x\w+", "", repr((source, rest))))
        return read(source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(SourceDocument, "covered", counted)
    manager, sizes, works = market.manager(fixed), [], []
    for number in range(4):
        frame = day_of(manager, clock, number)
        assert len(frame) == (frame["state"] == "final").sum() == 1440 - 58
        assert provenance(frame)["gaps_total"] == 58
        entries.clear()
        again = day_of(market.manager(fixed), clock, number)
        works.append(len(entries))
        assert again.equals(frame)
        assert provenance(again)["gaps"] == provenance(frame)["gaps"]
        folder = next(market.folder.glob("cache/ohlcv/*/1m"))
        sizes.append(sum(path.stat().st_size for path in folder.glob("*.json")))
    assert len(fixed.asked) == 4
    assert sizes[-1] - sizes[0] < 3 * 3_000
    assert max(works) <= 8, "different stretches, of one day or of four"
    lines = gzip.decompress((folder / "2024.csv.gz").read_bytes()).count(b"\n")
    assert lines == 1 + 4 * (1440 - 58)
    document = json.loads((folder / "2024.metadata.json").read_bytes())["onetape"]
    assert document["members"] == 4


def test_only_bad_rows_are_fetched_again_and_the_day_is_then_complete(
    market: Market, clock: ManualClock, fixed: FixedVendor
) -> None:
    for number in (0, 1):
        day_of(market.manager(fixed), clock, number)
    fixed.spoil = lambda rows: rows
    clock.advance(25 * 3600)
    fixed.asked.clear()
    days = iso(FIRST)[:10], iso(FIRST + DAY_MS)[:10]
    frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1m", *days, strict=True)
    assert len(frame) == 2880
    assert len(fixed.asked) <= 4
    fixed.asked.clear()
    again = market.manager(fixed).get_ohlcv("BTCUSDT", "1m", *days, strict=True)
    assert again.equals(frame)
    assert not fixed.asked
    known = market.manager(fixed).cache.store.view(MINUTES).coverage
    assert [part.state for part in known] == ["final"]


def test_bad_rows_are_fetched_again_after_the_metadata_are_lost(
    market: Market, clock: ManualClock, fixed: FixedVendor
) -> None:
    for number in (0, 1):  # the second one is appended
        day_of(market.manager(fixed), clock, number)
    next(market.folder.glob("cache/ohlcv/*/1m/2024.metadata.json")).unlink()
    fixed.spoil = lambda rows: rows
    frame = day_of(market.manager(fixed), clock, 1)
    assert len(frame) == 1440
    assert (frame["high"] > frame["low"]).all()


def test_good_bars_between_old_bad_rows_stay_final_despite_new_bad_rows(
    market: Market, clock: ManualClock, fixed: FixedVendor
) -> None:
    requests = itertools.count()

    def spoil(rows: list[Bar]) -> list[Bar]:
        bad = next(requests) * 7 % 25  # at other places with each request
        return [r._replace(high=0.5) if r.stamp_ms // MINUTE_MS % 25 == bad else r for r in rows]

    fixed.spoil = spoil
    first = iso(FIRST)[:10]
    for night in range(3 if FULL else 2):
        clock.set(FIRST + (night + 1) * DAY_MS + 60 * MINUTE_MS)
        fixed.asked.clear()
        last = iso(FIRST + night * DAY_MS)[:10]
        frame = market.manager(fixed).get_ohlcv("BTCUSDT", "1m", first, last, columns=("state",))
        assert len(fixed.asked) <= 4
        # The last five bars are compared with what comes, and doubted where that is rubbish.
        today = frame.index >= pd.Timestamp(last) - pd.Timedelta("5min")
        assert (frame["state"][~today] == "final").all()
        assert 1440 - 60 < (frame["state"][today] == "final").sum() < 1440 - 50
