"""Lineage of a backtest after revisions and a split: each cause of a change is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.bundles import Lineages, lineage
from src.data.core.cache.store import Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.research.lineage import lineage_check as check
from src.data.research.lineage.lineage_export import exported
from tests.e2e.oracle import ms
from tests.vendor_server import VendorServer

AAPL = SeriesKey("AAPL", Timeframe(1, "d"))
SPRING = ("AAPL", "1d", "2024-05-01", "2024-06-11")
COLUMNS = ["open", "high", "low", "close", "volume"]
Revise = Callable[..., None]


@pytest.fixture
def evening(clock: ManualClock) -> ManualClock:
    """Return a clock at the evening of a session: its bar is provisional."""
    clock.set(ms("2024-06-11T22:00:00"))
    return clock


@pytest.fixture
def revise(manager: DataManager, evening: ManualClock) -> Revise:
    """Return what stores other values of one stored day."""

    def commit(
        day: str, by: float, vendor: str = "yahoo", of: str = "", column: str = "close"
    ) -> None:
        store = manager.cache.store
        span = Span(ms(day), ms(day) + 86_400_000)
        rows, coverage = store.read(AAPL, Span(ms(of or day), ms(of or day) + 1))
        changed = {"stamps": rows.stamps * 0 + ms(day), column: getattr(rows, column) * by}
        other = replace(rows, **changed)
        part = next(part for part in coverage if part.state != "empty")
        piece = CommitPiece(other, span, vendor, evening.now_ms(), part.kind, part.basis, "final")
        store.commit(AAPL, Commit((piece,)))

    return commit


@pytest.fixture
def ran(
    manager: DataManager, bundles: Path, evening: ManualClock, vendors: VendorServer
) -> pd.DataFrame:
    """Let a backtest read a spring; return what it saw."""
    with lineage("spring", folder=bundles, manager=manager) as run:
        frame = manager.get_ohlcv(*SPRING)
        assert run.id == "spring"
    vendors.clear_log()
    return frame


@pytest.fixture
def lineages(manager: DataManager, bundles: Path) -> Lineages:
    """Return the recorded runs in ``bundles``, which are compared with the bars of ``manager``."""
    return Lineages(bundles, manager)


def by_day(one: check.CheckedRead) -> dict[str, set[tuple[str, ...]]]:
    days: dict[str, set[tuple[str, ...]]] = {}
    for cell in one.cells:
        days.setdefault(cell.stamp[:10], set()).add(cell.causes)
    return days


def correct_calendar(monkeypatch: pytest.MonkeyPatch) -> None:
    import numpy as np

    from src.data.core.bars import outline
    from src.data.core.calendars.grid import BarGrid, grid_for

    class Corrected:
        def __init__(self, calendar: Any) -> None:
            self._calendar = calendar

        def __getattr__(self, name: str) -> Any:
            return getattr(self._calendar, name)

        def opens(self, timeframe: Any, span: Span, anchor: str) -> Any:
            memorial = ms("2024-05-27")
            if span.start == memorial:
                return np.array([memorial])
            return self._calendar.opens(timeframe, span, anchor)

    def corrected_grid(*series: Any) -> BarGrid:
        grid = grid_for(*series)
        return replace(grid, calendar=Corrected(grid.calendar))

    monkeypatch.setattr(outline, "grid_for", corrected_grid)


def test_a_repeated_run_with_unchanged_bars_is_identical(
    ran: pd.DataFrame, lineages: Lineages
) -> None:
    report = lineages.check("spring")
    assert report.is_identical and report.series[0].is_reproducible
    assert report.series[0].read.rows == len(ran) == 29


def test_each_of_five_causes_of_a_change_is_named(
    manager: DataManager,
    ran: pd.DataFrame,
    lineages: Lineages,
    revise: Revise,
    evening: ManualClock,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    revise("2024-05-08", 1.01)  # the vendor corrects a bar
    revise("2024-06-11", 1.002)  # the last one was provisional
    revise("2024-05-15", 1.005, "tiingo")  # another vendor's bar stands there now
    revise("2024-05-27", 1.0, of="2024-05-24")  # and one on what was held to be a holiday
    correct_calendar(monkeypatch)
    report = lineages.check("spring")
    (one,) = report.series
    assert by_day(one) == {
        "2024-05-08": {(check.CORRECTION,)},
        "2024-06-11": {(check.BECAME_FINAL,)},
        "2024-05-15": {(check.OTHER_VENDOR,)},
        "2024-05-27": {(check.CALENDAR,)},
    }
    assert (one.state, one.bars, one.is_reproducible) == (check.REVISED, 4, True)
    evening.set(ms("2024-06-14T22:00:00"))
    split = Action(date(2024, 6, 13), "split", day_ms(date(2024, 6, 13)), 4.0, 1.0)
    ever = Span(0, ms("2024-06-15"))
    manager.cache.store.add_actions("AAPL", (split,), ever, "yahoo", evening.now_ms())
    (one,) = lineages.check("spring").series
    days = by_day(one)
    assert len(days) == 30
    both = {"2024-05-08": check.CORRECTION, "2024-06-11": check.BECAME_FINAL,
            "2024-05-15": check.OTHER_VENDOR}  # fmt: skip
    for day, causes in days.items():
        if day in both:
            assert causes == {(check.NEW_ACTION,), (check.NEW_ACTION, both[day])}
        else:
            assert causes == {(check.CALENDAR if day == "2024-05-27" else check.NEW_ACTION,)}
    cell = next(c for c in one.cells if c.causes == (check.NEW_ACTION,))
    assert cell.detail == "split of 4:1 on 2024-06-13"
    # The same run, by its recorded generations and actions: bit for bit.
    (bars,) = lineages.read("spring").values()
    for name, column in zip(COLUMNS, bars.values(), strict=False):
        assert column.tobytes() == ran[name].to_numpy().tobytes()
    assert vendors.count() == 0


@pytest.mark.parametrize("as_today", [False, True])
def test_a_run_that_read_as_of_a_time_before_a_split_is_identical_until_something_changes(
    manager: DataManager,
    bundles: Path,
    evening: ManualClock,
    lineages: Lineages,
    revise: Revise,
    *,
    as_today: bool,
) -> None:
    manager.get_ohlcv(*SPRING)
    evening.set(ms("2024-06-14T22:00:00"))
    _split(manager, evening, 4.0)
    past = manager.at("2024-06-07")
    with lineage("past", folder=bundles, manager=manager):
        then = past.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-07")
    today = manager.get_ohlcv("AAPL", "1d", "2024-05-01", "2024-06-07")
    assert then["close"].iloc[0] == pytest.approx(4 * today["close"].iloc[0])
    report = lineages.check("past", as_today=as_today)
    assert report.is_identical and report.series[0].is_reproducible
    _split(manager, evening, 5.0)  # the vendor corrects a split that had not come
    assert lineages.check("past", as_today=as_today).is_identical
    revise("2024-05-08", 1.01)
    (one,) = lineages.check("past", as_today=as_today).series
    assert by_day(one) == {"2024-05-08": {(check.CORRECTION,)}}


def _split(manager: DataManager, clock: ManualClock, ratio: float) -> None:
    """Store a split of 2024-06-13."""
    split = Action(date(2024, 6, 13), "split", day_ms(date(2024, 6, 13)), ratio, 1.0)
    ever = Span(0, ms("2024-06-15"))
    manager.cache.store.add_actions("AAPL", (split,), ever, "yahoo", clock.now_ms())


@pytest.mark.parametrize("as_today", [False, True])
def test_a_changed_adjusted_close_is_reported_as_a_correction(
    ran: pd.DataFrame, lineages: Lineages, revise: Revise, *, as_today: bool
) -> None:
    assert ran["adj_close"].notna().all()
    assert lineages.check("spring", as_today=as_today).is_identical
    revise("2024-05-08", 1.01, column="adj_close")
    report = lineages.check("spring", as_today=as_today)
    assert not report.is_identical
    (one,) = report.series
    (cell,) = one.cells
    assert (cell.column, cell.causes) == ("adj_close", (check.CORRECTION,))
    assert cell.before == ran["adj_close"]["2024-05-08"]
    assert cell.now == pytest.approx(1.01 * cell.before)
    assert one.is_reproducible and one.bars == 1


def test_rounding_by_a_vendor_is_not_a_correction_where_an_action_changes_the_cell(
    manager: DataManager,
    ran: pd.DataFrame,
    lineages: Lineages,
    revise: Revise,
    evening: ManualClock,
) -> None:
    """Prices adjusted by the vendor itself differ by up to 1e-4; without an action it is a correction."""
    revise("2024-05-08", 1 + 5e-5)
    revise("2024-05-09", 1 + 5e-4)
    (one,) = lineages.check("spring").series
    both = {"2024-05-08": {(check.CORRECTION,)}, "2024-05-09": {(check.CORRECTION,)}}
    assert by_day(one) == both
    evening.set(ms("2024-06-14T22:00:00"))
    split = Action(date(2024, 6, 13), "split", day_ms(date(2024, 6, 13)), 4.0, 1.0)
    ever = Span(0, ms("2024-06-15"))
    manager.cache.store.add_actions("AAPL", (split,), ever, "yahoo", evening.now_ms())
    (one,) = lineages.check("spring").series
    days = by_day(one)
    assert days["2024-05-08"] == {(check.NEW_ACTION,)}
    assert days["2024-05-09"] == {(check.NEW_ACTION,), (check.NEW_ACTION, check.CORRECTION)}
    assert len(days) == 29


def test_an_exported_lineage_is_proven_without_store_and_network(
    ran: pd.DataFrame, lineages: Lineages, revise: Revise, tmp_path: Path
) -> None:
    before = exported(lineages.export("spring", tmp_path / "before"))[0]["fingerprint"]
    revise("2024-05-08", 1.01)
    plain, ((_, table),) = exported(lineages.export("spring", tmp_path / "after"))
    assert plain["fingerprint"] == before
    assert table.close.tobytes() == ran["close"].to_numpy().tobytes()
    assert json.loads((tmp_path / "after/lineage.json").read_text())["run"] == "spring"
