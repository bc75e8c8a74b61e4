"""A portal within a lineage: it reads ahead, and the record has what single reads would have put there."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from src.data.bundles import Lineages, lineage
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, MINUTE_MS, day_ms, parse_iso
from src.data.core.model.time.span import Span, coalesce
from src.data.data_manager import DataManager
from src.data.errors import NoDataAvailableError
from src.data.polars import PolarsDataPortal
from src.data.research.lineage.run_records import SeriesRead
from src.data.research.portal.portal_reads import PanelReads
from tests.reachable import reachable

from .portal_stage import COIN, NOW, manager_on, put, sessions, stamp_of, table

WALKS = 15 if os.environ.get("ONETAPE_FULL") else 1
DAYS = sessions("2023-06-01", "2024-06-14")
STAMPS = [stamp_of(day) for day in DAYS]
COIN_DAYS = list(range(STAMPS[0], stamp_of(date(2024, 6, 15)), DAY_MS))
MINUTES = list(range(parse_iso("2024-05-01"), parse_iso("2024-05-03"), MINUTE_MS))
FIRST = STAMPS[0] - 5 * DAY_MS
SPLIT = Action(date(2024, 6, 3), "split", day_ms(date(2024, 6, 3)), 4.0, 1.0)
ASSETS = (["AAPL"], ["AAPL", "MSFT"], ["AAPL", "BTCUSDT"], ["MSFT"])


class Look(NamedTuple):
    """A call of a backtest: the last rows of some assets at a time; of no asset, a revision."""

    assets: list[str]
    label: str = "1d"
    rows: int = 1
    place: int = 0


def stage(folder: Path) -> DataManager:
    """Return a manager with two shares and a coin; MSFT begins in 2024, lacks a day, and AAPL splits."""
    manager = manager_on(folder)
    late = [
        s for s in STAMPS if s >= stamp_of(date(2024, 1, 2)) and s != stamp_of(date(2024, 3, 5))
    ]
    put(manager, "AAPL", "1d", table(STAMPS), first=FIRST)
    put(manager, "MSFT", "1d", table(late, 1), first=FIRST)
    put(manager, "BTCUSDT", "1d", table(COIN_DAYS, 2), first=FIRST, kind=COIN)
    put(manager, "BTCUSDT", "1m", table(MINUTES, 2), first=MINUTES[0] - 30 * DAY_MS, kind=COIN)
    manager.cache.store.add_actions("AAPL", (SPLIT,), Span(FIRST, NOW), "yahoo", NOW)
    return manager


def revise(manager: DataManager) -> None:
    """Have the vendor correct all bars of a share."""
    put(manager, "AAPL", "1d", table(STAMPS, 5), first=FIRST)


def looks_of(dice: random.Random) -> list[Look]:
    """Return the calls of a backtest: forward in time, some of them out of order."""
    place, revised, looks = dice.randrange(90, 180), dice.randrange(40), list[Look]()
    for number in range(20):
        if number == revised:
            looks.append(Look([]))
        place += dice.choice((0, 1, 1, 1, 2, 9, -15))
        assets, label = dice.choice(ASSETS), dice.choice(("1d", "1d", "1m", "1w"))
        if label != "1d":
            assets = ["BTCUSDT"] if label == "1m" else ["AAPL"]
        looks.append(Look(assets, label, dice.choice((1, 1, 3, 10)), place))
    return looks


def time_of(place: int) -> datetime:
    return datetime(2024, 5, 1, 12) + timedelta(minutes=3 * place)


def through_a_portal(manager: DataManager, looks: list[Look]) -> None:
    portal = PolarsDataPortal(data_source=manager)
    for assets, label, rows, place in looks:
        if not assets:
            revise(manager)
            continue
        time, kind = (time_of(place), "minute") if label == "1m" else (DAYS[place], "daily")
        with suppress(NoDataAvailableError):
            if rows == 1 and label != "1w":
                portal.get_spot_value(assets, "close", time, kind)
            else:
                portal.get_history_window(assets, time, rows, label, "close", kind)


def one_by_one(manager: DataManager, looks: list[Look]) -> None:
    """Read just the bars of each look, by bounds that are counted out here."""
    for assets, label, rows, place in looks:
        if not assets:
            revise(manager)
        for asset in assets:
            first, last = DAYS[place - rows + 1], DAYS[place + 1] - timedelta(days=1)
            if label == "1m":
                last = time_of(place) - timedelta(milliseconds=1)
                first = time_of(place) - timedelta(minutes=rows)
            elif asset == "BTCUSDT":
                first, last = DAYS[place] - timedelta(days=rows - 1), DAYS[place]
            manager.get_ohlcv(asset, label, first, last)


def recorded(
    folder: Path, read: Callable[[DataManager, list[Look]], None], looks: list[Look]
) -> tuple[list[Any], Lineages]:
    """Return what a lineage has of some reads, comparable, and the lineages."""
    manager = stage(folder)
    with lineage("walk", folder=folder / "bundles", manager=manager):
        read(manager, looks)
    lineages = Lineages(folder / "bundles", manager)
    return sorted(map(plain, lineages.get("walk").reads), key=str), lineages


def plain(read: SeriesRead) -> Any:
    """Return all of a recorded read but its number and folder, and in how many pieces it came."""
    return (
        read.series, read.generation, coalesce(read.spans), read.rows, read.adjustment,
        read.provider, read.made, read.irregular, read.unstored, read.substitute, read.actions,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_the_record_of_a_walk_is_that_of_single_reads(tmp_path: Path) -> None:
    for seed in range(WALKS):
        looks = [look for look in looks_of(random.Random(seed)) if look.label != "1w"]
        ahead, lineages = recorded(tmp_path / f"ahead{seed}", through_a_portal, looks)
        single, _ = recorded(tmp_path / f"single{seed}", one_by_one, looks)
        assert ahead == single, seed
        assert all(one.is_reproducible for one in lineages.check("walk").series)


def test_derived_bars_are_recorded_as_they_are_shown(tmp_path: Path) -> None:
    """It is seen by the first of them, which is read once more."""
    looks = [Look(["AAPL"], "1w", 3, place) for place in (100, 101, 100, 106)]
    _, lineages = recorded(tmp_path, through_a_portal, looks)
    report = lineages.check("walk")
    assert [(one.read.series, one.read.made, one.state) for one in report.series] == [
        ("AAPL 1d", ("1w",), "identical")
    ]
    assert max(span.end for span in report.series[0].read.spans) <= stamp_of(DAYS[110])


@pytest.mark.parametrize("day", ["2024-02-09", "2024-02-14"])
def test_no_week_before_the_shown_ones_is_recorded(tmp_path: Path, day: str) -> None:
    """A Friday, with which a week closes, and a Wednesday, on which a week is forming."""
    manager = stage(tmp_path)
    with lineage("run", folder=tmp_path / "bundles", manager=manager):
        portal = PolarsDataPortal(data_source=manager)
        window = portal.get_history_window(["AAPL"], day, 2, "1w", "close", "daily")
    assert window["date"].to_list() == [date(2024, 1, 29), date(2024, 2, 5)]
    (read,) = Lineages(tmp_path / "bundles", manager).get("run").reads
    (piece,) = read.pieces
    assert (piece.start[:10], piece.rows) == ("2024-01-29", 10)


def test_shown_bars_are_recorded_when_a_panel_is_dropped_saved_or_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a panel that a commit has dropped, it is of the generation that was shown."""
    manager = stage(tmp_path)
    lineages = Lineages(tmp_path / "bundles", manager)
    portal = PolarsDataPortal(data_source=manager)

    def look(day: str) -> None:
        portal.get_spot_value(["AAPL"], "close", day, "daily")

    def ends() -> list[tuple[int | None, str]]:
        return [(r.generation, r.pieces[-1].end[:10]) for r in lineages.get("run").reads]

    with lineage("run", folder=tmp_path / "bundles", manager=manager) as run:
        look("2024-02-01")
        assert ends() == [(1, "2024-02-02")]
        look("2024-02-05")
        assert ends() == [(1, "2024-02-02")]
        run.save()
        assert ends() == [(1, "2024-02-06")]
        look("2024-02-06")
        revise(manager)
        look("2024-02-08")
        run.save()
        assert ends() == [(1, "2024-02-07"), (2, "2024-02-09")]
        look("2024-02-13")
        context = copy_context()
    assert ends() == [(1, "2024-02-07"), (2, "2024-02-14")]
    assert not any(one is run for one in reachable(portal))
    thread = threading.Thread(target=context.run, args=(look, "2024-02-20"))
    thread.start()
    thread.join()
    assert ends() == [(1, "2024-02-07"), (2, "2024-02-14")]


def test_many_looks_are_handed_over_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.research.portal.portal_reads._MOST_LOOKS", 5)
    handed: list[int] = []
    real = PanelReads.hand_over
    monkeypatch.setattr(
        PanelReads, "hand_over", lambda self: handed.append(len(self._looks)) or real(self)
    )
    manager = stage(tmp_path)
    portal = PolarsDataPortal(data_source=manager)
    with lineage("run", folder=tmp_path / "bundles", manager=manager):
        for day in DAYS[100:120]:
            portal.get_spot_value(["AAPL"], "close", day, "daily")
    assert handed == [1, 6, 6, 6, 1]
    (read,) = Lineages(tmp_path / "bundles", manager).get("run").reads
    assert (len(read.pieces), read.rows) == (1, 20)
