"""Marked bars: sound on arrival, proved wrong by their whole series, then refetched and resolved."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.stored.reasons import IN_WHOLE
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning

from .fixed_vendor import Market, at
from .scripted_vendor import provenance
from .test_grave_bars import CASES, DAY, Case, ask, grave_spans

OF_SHARE, OF_COIN = CASES[0], CASES[3]


@pytest.fixture(autouse=True)
def _blind(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let bars pass as they come: what only the whole series proves is not seen beside neighbours."""
    monkeypatch.setattr("src.data.core.bars.ingest.judge.graves", lambda series: [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        yield


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-20 12:00 UTC."""
    return ManualClock(at("2024-06-20T12:00:00Z"))


@pytest.mark.parametrize("case", [OF_SHARE, OF_COIN], ids=lambda case: case.name)
def test_a_marked_bar_is_refetched_and_replaced_by_the_right_one(
    market: Market, clock: ManualClock, case: Case
) -> None:
    vendor = case.vendor(clock)
    manager = market.manager(vendor)
    ask(manager, case, strict=True)
    assert manager.validate(*case.series[:2], mark=True).marked == len(case.bad)
    asked = len(vendor.asked)
    with pytest.raises(IncompleteDataError, match="as the whole series shows"):
        ask(manager, case, strict=True)
    assert len(vendor.asked) == asked, "the mark is read from the store without a request"
    vendor.spoil = lambda rows: rows
    clock.advance(DAY + 60)
    frame = ask(manager, case, strict=True)
    assert frame["close"].max() < 103
    assert not manager.validate(*case.series[:2], mark=True).marked


def test_a_marked_bar_repeated_three_times_is_accepted_and_not_marked_again(
    market: Market, clock: ManualClock
) -> None:
    vendor = OF_COIN.vendor(clock)
    manager = market.manager(vendor)
    first = ask(manager, OF_COIN)
    manager.validate(*OF_COIN.series[:2], mark=True)
    for wait in (DAY, 2 * DAY, 4 * DAY):
        asked = len(vendor.asked)
        clock.advance(wait - 60)
        assert grave_spans(ask(manager, OF_COIN))
        assert not manager.validate(*OF_COIN.series[:2], mark=True).marked
        assert len(vendor.asked) == asked, "not before its time"
        clock.advance(120)
        frame = ask(manager, OF_COIN)
        assert len(vendor.asked) == asked + 1
    assert grave_spans(frame) == []
    assert any(
        text.startswith("settled: binance sent the same") for text in provenance(frame)["problems"]
    )
    pd.testing.assert_frame_equal(frame, first)
    report = manager.validate(*OF_COIN.series[:2], mark=True)
    assert (report.marked, report.unmarked) == (0, 0)
    assert {f.severity for f in report.findings if f.check == "unit"} == {"info"}


def test_a_marked_bar_is_replaced_by_a_different_row_of_a_second_vendor_or_settled_by_the_same(
    market: Market, clock: ManualClock
) -> None:
    for folder, right in (("other", True), ("same", False)):
        first, second = OF_COIN.vendor(clock), OF_COIN.vendor(clock, "second", right=right)
        if not right:
            honest = second.spoil
            second.spoil = lambda rows, h=honest: [r._replace(volume=r.volume + 1) for r in h(rows)]
        manager = market.manager(first, second, folder=folder)
        ask(manager, OF_COIN, strict=True)
        assert manager.validate(*OF_COIN.series[:2], mark=True).marked == 1
        clock.advance(DAY + 60)
        frame = ask(manager, OF_COIN, strict=True)
        assert bool(frame["close"].max() < 103) is right
        assert ("second" in provenance(frame)["vendors"]) is right


@pytest.mark.parametrize("batch", [False, True])
def test_bars_fetched_again_are_marked_in_the_same_call(
    market: Market, clock: ManualClock, *, batch: bool
) -> None:
    manager = market.manager(OF_COIN.vendor(clock))
    symbol, *rest = OF_COIN.series
    assert grave_spans(ask(manager, OF_COIN)) == []
    if batch:
        frame = manager.get_ohlcv_batch([symbol, "NO SUCH"], *rest, force_refresh=True)[symbol]
    else:
        frame = ask(manager, OF_COIN, force_refresh=True)
    (span,) = grave_spans(frame)
    assert span["reason"].startswith(IN_WHOLE)
    attempts = [(one["provider"], one["outcome"]) for one in provenance(frame)["attempts"]]
    assert (attempts, provenance(frame)["from_cache"]) == ([("binance", "ok")], 0.0)
    with pytest.raises(IncompleteDataError, match="almost certainly wrong"):
        ask(manager, OF_COIN, force_refresh=True, strict=True)


def test_a_strict_refresh_raises_for_bars_that_the_refresh_marked(
    market: Market, clock: ManualClock
) -> None:
    manager = market.manager(OF_COIN.vendor(clock))
    with pytest.raises(IncompleteDataError, match="as the whole series shows"):
        ask(manager, OF_COIN, force_refresh=True, strict=True)


def test_a_lane_of_own_files_is_marked_and_read_again_when_the_mark_expires(
    tmp_path: Path, clock: ManualClock
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    bars = [OF_COIN.vendor(clock).bar(stamp) for stamp in OF_COIN.stamps]
    rows = [
        f"{pd.Timestamp(b.stamp_ms, unit='ms')}," + ",".join(f"{value:.4f}" for value in b[1:6])
        for b in OF_COIN.spoil(bars)
    ]
    header = "timestamp,open,high,low,close,volume"
    (folder / "BTCUSDT_1d.csv").write_text("\n".join([header, *rows, ""]))
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"providers: {{local: {{folder: '{folder}'}}}}\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)

    def mine(**more: Any) -> pd.DataFrame:
        return manager.get_ohlcv(*OF_COIN.series, provider="local", **more)

    assert provenance(mine())["complete"]
    (lane,) = set(manager.coverage(*OF_COIN.series[:2])["lane"])
    report = manager.validate(*OF_COIN.series[:2], lane=lane, mark=True)
    assert (report.lane, report.marked) == (lane, 1)
    for more in ({}, {"offline": True}):
        with pytest.raises(IncompleteDataError, match="as the whole series shows"):
            mine(strict=True, **more)
    for wait in (DAY, 2 * DAY, 4 * DAY):
        assert grave_spans(mine())
        clock.advance(wait + 60)
        mine()
    assert provenance(mine(strict=True))["complete"], (
        "the files contain the same bar after a week, so it is settled"
    )
