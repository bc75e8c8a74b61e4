"""Rows that cannot be bars, from every source: dropped and reported, and the other rows stay.

The rule is in ``core/prices/bar_rule.py``. For messages of streams, see ``tests/feed/test_refused.py``.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.bars import Bar
from src.data.core.model.time.instant import HOUR_MS, MINUTE_MS, iso
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError
from src.data.feed.replay import replay_feed
from src.data.feed.sources.base import Halt
from src.data.feed.sources.poll import polled
from tests.feed.test_poll import Notebook

from .fixed_vendor import FixedVendor, Market, at, every
from .scripted_vendor import provenance

AHEAD_MS = 3 * HOUR_MS
Change = Callable[[Bar], Bar]
SPOILT: dict[str, Change] = {
    "negative": lambda r: r._replace(open=-r.open, high=-r.low, low=-r.high, close=-r.close),
    "negative low": lambda r: r._replace(low=-0.01),
    "zero": lambda r: r._replace(open=0.0, high=0.0, low=0.0, close=0.0),
    "1e300": lambda r: r._replace(high=1e300, close=1e300),
    "a high of 1e17": lambda r: r._replace(high=1e17),
    "NaN": lambda r: r._replace(close=math.nan),
    "negative volume": lambda r: r._replace(volume=-1.0),
    "ahead": lambda r: r._replace(stamp_ms=r.stamp_ms + AHEAD_MS),
}
MINUTES = every("1m", "2024-06-12T14:00", "2024-06-12T16:30")
NOW = at("2024-06-12T15:00:30")
BAD = at("2024-06-12T14:57")
OURS = ("BTCUSDT", "1m", "2024-06-12T14:30:00", "2024-06-12T14:59:00")
GOOD = [stamp for stamp in every("1m", "2024-06-12T14:30", "2024-06-12T14:59") if stamp != BAD]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    """Ignore all warnings."""
    warnings.simplefilter("ignore")


def spoiling(how: str, stamp: int = BAD) -> Callable[[list[Bar]], list[Bar]]:
    """Return what spoils the row of a stamp."""
    return lambda rows: sorted(SPOILT[how](r) if r.stamp_ms == stamp else r for r in rows)


def vendor(clock: ManualClock, how: str, stamp: int = BAD) -> FixedVendor:
    fixed = FixedVendor(clock, MINUTES, "binance")
    fixed.spoil = spoiling(how, stamp)
    return fixed


def check(manager: DataManager, how: str, *, is_dense: bool = True, **wishes: Any) -> None:
    """Assert that an invalid row is reported, replaced if another vendor has the bar, and never stored."""
    frame = manager.get_ohlcv(*OURS, **wishes)
    stamps = [int(stamp.timestamp() * 1000) for stamp in frame.index.tz_localize("UTC")]
    assert [stamp for stamp in stamps if stamp != BAD] == GOOD
    account = provenance(frame)
    if how != "ahead":
        assert any(iso(BAD) in text for text in account["problems"]), "reported"
    if how != "ahead" or is_dense:
        assert not account["complete"]
        with pytest.raises(IncompleteDataError):
            manager.get_ohlcv(*OURS, strict=True, **wishes)
    late = manager.get_ohlcv(*OURS[:2], "2024-06-12T14:58:00", "2024-06-12T20:00:00", **wishes)
    assert int(late.index[-1].timestamp() * 1000) <= NOW
    check_store(manager, BAD)


def check_store(manager: DataManager, bad: int, now_ms: int = NOW) -> None:
    """Assert that no year file contains a row that cannot be a bar."""
    store = manager.cache.store.reading_files()
    kept = [store.read(key, Span(0, 1 << 60))[0] for key in store.keys()]
    assert sum(map(len, kept)) > 5
    for table in kept:
        assert bad not in table.stamps.tolist()
        assert int(table.stamps.max()) <= now_ms
        assert 0.4 < table.low.min() <= table.high.max() < 1e6
        assert not (table.volume < 0).any()


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_row_is_a_problem_of_the_answer_and_never_stored(
    market: Market, clock: ManualClock, how: str
) -> None:
    manager = market.manager(vendor(clock, how))
    check(manager, how)


@pytest.mark.parametrize("place", ["newest", "running"])
@pytest.mark.parametrize("how", SPOILT)
def test_a_quote_ignores_spoilt_rows(
    market: Market, clock: ManualClock, how: str, place: str
) -> None:
    newest = at("2024-06-12T14:59") if place == "newest" else at("2024-06-12T15:00")
    fixed = vendor(clock, how, newest)
    fixed.stamps = sorted({*MINUTES, *every("1d", "2024-06-01", "2024-06-12")})
    quote = market.manager(fixed).get_quote("BTCUSDT")
    assert 1 <= quote.price <= 3
    right = {fixed.bar(stamp).close for stamp in MINUTES if newest - 3 * MINUTE_MS <= stamp <= NOW}
    assert quote.price in right
    assert quote.as_dict()["time"] <= iso(clock.now_ms())


@pytest.mark.parametrize("how", ["negative low", "1e300", "ahead"])
def test_a_polled_feed_delivers_no_spoilt_row(market: Market, clock: ManualClock, how: str) -> None:
    bad = at("2024-06-12T15:02")
    fixed = vendor(clock, how, bad)
    source = polled(market.manager(fixed), "BTCUSDT", "1m", lookback=5)
    halt = Halt(clock)
    notebook = Notebook(halt, clock, NOW + 8 * MINUTE_MS)
    source.run(notebook, halt)
    stamps = [bar.stamp_ms for bar in notebook.bars]
    assert stamps == sorted(set(stamps))
    assert bad not in stamps
    assert set(stamps) >= {at("2024-06-12T15:01"), at("2024-06-12T15:03")}
    assert all(bar.stamp_ms <= clock.now_ms() for bar in (*notebook.bars, *notebook.running))
    assert all(0.4 < min(bar[1:5]) <= max(bar[1:5]) < 3 for bar in notebook.bars)
    check_store(market.manager(), bad, clock.now_ms())


@pytest.mark.parametrize("how", SPOILT)
def test_a_replay_feed_delivers_no_spoilt_row(market: Market, clock: ManualClock, how: str) -> None:
    manager = market.manager(vendor(clock, how))
    bars = list(replay_feed(manager, *OURS, speed=0, history=0))
    assert [bar.stamp_ms for bar in bars] == GOOD
    assert all(0.4 < min(bar[1:5]) <= max(bar[1:5]) < 3 for bar in bars)


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_row_of_own_files_is_a_problem_and_never_stored(
    tmp_path: Path, clock: ManualClock, how: str
) -> None:
    fixed = vendor(clock, how)
    rows = fixed.spoil([fixed.bar(stamp) for stamp in MINUTES if stamp < NOW])
    (tmp_path / "own").mkdir()
    lines = [f"{iso(r.stamp_ms)},{r.open},{r.high},{r.low},{r.close},{r.volume}" for r in rows]
    (tmp_path / "own/BTCUSDT_1m.csv").write_text(
        "\n".join(["timestamp,open,high,low,close,volume", *lines, ""])
    )
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        f"crypto: {{primary: local, backup: []}}\nproviders: {{local: {{folder: '{tmp_path / 'own'}'}}}}\n"
    )
    check(DataManager(tmp_path / "cache", rules, clock=clock), how, is_dense=False)


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_row_of_a_frame_put_by_a_program_is_never_stored(
    market: Market, clock: ManualClock, how: str
) -> None:
    fixed = vendor(clock, how)
    rows = fixed.spoil([fixed.bar(stamp) for stamp in MINUTES if stamp < NOW - MINUTE_MS])
    frame = pd.DataFrame(rows).set_index("stamp_ms")
    frame.index = pd.to_datetime(frame.index, unit="ms", utc=True)
    manager = market.manager()
    assert manager.cache.put(
        frame[["open", "high", "low", "close", "volume"]], "BTCUSDT", "1m", provider="binance"
    )
    check(manager, how, is_dense=False, offline=True)
    score = manager.cache.get_data_info("BTCUSDT", "1m", 2024)["data_quality"]
    assert score["score"] < 1.0


@pytest.mark.parametrize("how", SPOILT)
def test_a_spoilt_row_of_a_recording_is_a_problem_and_never_stored(
    make: Callable[[], DataManager], tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("ONETAPE_RECORD", str(tmp_path / "seen"))
    make().get_ohlcv(*OURS)
    monkeypatch.delenv("ONETAPE_RECORD")
    for path in (tmp_path / "seen").rglob("*.json"):
        entry = json.loads(path.read_text("utf-8"))
        body = json.loads(entry["response"]["text"])
        for row in body:
            bar = Bar(row[0], *map(float, row[1:6]))
            if bar.stamp_ms == BAD:
                changed = SPOILT[how](bar)
                row[0] = changed.stamp_ms
                row[1:6] = [repr(value) for value in changed[1:6]]
        entry["response"]["text"] = json.dumps(sorted(body))
        path.write_text(json.dumps(entry), "utf-8")
    manager = DataManager(tmp_path / "other", clock=clock)
    check(manager, how, provider=f"replay:{tmp_path / 'seen'}")
