"""Plots by the facade: its own answers, with vendors, gaps, actions and doubtful bars marked."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from onetape.aio import AsyncDataManager
from src.data import plot
from src.data.core.model.stored.reasons import GRAVE
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError, IncompleteDataWarning, QueryError
from src.data.show.charts.picture import ChartPicture
from tests.vendor_server import Fault, VendorServer

HOURS = ("BTCUSDT", "1h", "2024-06-01", "2024-06-02")
DAYS = ("AAPL", "1d", "2024-03-01", "2024-05-31")


def drawn(picture: object) -> ChartPicture:
    assert isinstance(picture, ChartPicture)
    return picture


def test_a_plot_draws_the_bars_of_get_ohlcv(manager: DataManager, vendors: VendorServer) -> None:
    picture = drawn(manager.plot(*HOURS))
    frame = manager.get_ohlcv(*HOURS)
    assert vendors.count() == 1
    (series,) = picture.chart.series
    columns = ["open", "high", "low", "close", "volume"]
    assert np.array_equal(series.values, frame[columns].to_numpy().T)
    assert series.vendor_names == ("binance",) and not picture.chart.gaps
    assert picture.chart.axis.zone == "UTC" and picture.chart.complete
    assert picture.chart.counts() == (48, 48, 0, 0)
    again = plot(frame)
    assert again.chart.ribbon == picture.chart.ribbon
    assert again.svg() == picture.svg(), "the frame contains all information"


def test_plot_takes_the_arguments_of_get_ohlcv_except_columns() -> None:
    plotted, asked = (
        inspect.signature(method).parameters for method in (DataManager.plot, DataManager.get_ohlcv)
    )
    assert list(plotted) == [name for name in asked if name != "columns"]
    for name in set(plotted) - {"symbol"}:
        assert plotted[name] == asked[name], name


def test_a_share_is_drawn_in_the_time_of_its_exchange(manager: DataManager) -> None:
    chart = drawn(manager.plot(*DAYS)).chart
    assert chart.axis.zone == "America/New_York" and chart.axis.is_daily
    frame = manager.get_ohlcv(*DAYS, columns=["split", "dividend"])
    reported = (frame["split"] > 0).sum() + (frame["dividend"] > 0).sum()
    assert sum(mark.type in ("split", "dividend") for mark in chart.marks) == reported


def test_a_vendor_that_is_down_leaves_a_gap(manager: DataManager, vendors: VendorServer) -> None:
    manager.get_ohlcv(*HOURS)
    for name in ("binance", "yahoo"):
        vendors.fault(name, Fault.status(503))
    with pytest.warns(IncompleteDataWarning):
        picture = drawn(manager.plot(*HOURS[:3], "2024-06-03"))
    (gap,) = picture.chart.gaps
    assert (gap.first, gap.end) == (48, 72) and "binance" in gap.text
    assert not picture.chart.complete
    with pytest.raises(IncompleteDataError):
        manager.plot(*HOURS[:3], "2024-06-03", strict=True)


def test_several_symbols_are_drawn_as_lines_and_a_failed_one_is_named(manager: DataManager) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        chart = drawn(manager.plot(["BTCUSDT", "ETHUSDT", "NOPE5USDT"], *HOURS[1:])).chart
    assert [one.symbol for one in chart.series] == ["BTCUSDT", "ETHUSDT", "NOPE5USDT"]
    assert chart.is_indexed and not chart.complete
    assert any(note.startswith("NOPE5USDT: ") for note in chart.notes)
    assert len(drawn(manager.plot(["BTCUSDT"], *HOURS[1:])).chart.series) == 1
    with pytest.raises(QueryError, match="a version needs exactly one symbol"):
        manager.plot(["BTCUSDT", "ETHUSDT"], *HOURS[1:], version=1)


def test_a_plot_marks_grave_bars_even_if_the_spans_are_merged(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many stretches the provenance puts together those of one vendor; the series has each."""
    manager.get_ohlcv(*HOURS)
    client = manager.client
    get, stored = client.get, client.coverage

    def cut(query: object) -> pd.DataFrame:
        frame = get(query)  # type: ignore[arg-type]
        facts = frame.attrs["onetape"].copy()
        facts["spans"] = [span | {"merged": True} for span in facts["spans"]]
        frame.attrs["onetape"] = facts
        return frame

    monkeypatch.setattr(client, "get", cut)
    monkeypatch.setattr(
        client,
        "coverage",
        lambda key: [replace(part, reason=f"{GRAVE}day x100") for part in stored(key)],
    )
    chart = drawn(manager.plot(*HOURS[:3], "2024-06-01")).chart
    assert {mark.text for mark in chart.marks} == {"almost certainly wrong: day x100"}
    assert chart.ribbon, "vendors are those of the source column"


def test_aplot_draws_the_same_picture_as_plot(manager: DataManager) -> None:
    async def ask() -> object:
        return await AsyncDataManager(manager).aplot(*HOURS)

    assert drawn(asyncio.run(ask())).svg() == drawn(manager.plot(*HOURS)).svg()


def test_a_plot_without_bars_shows_a_text_instead(
    make: Callable[[], DataManager], tmp_path: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        picture = drawn(make().plot("BTCUSDT", "1h", "2010-01-01", "2010-01-03"))
    assert "no bar to draw" in picture.svg()
    assert picture.save(tmp_path / "none.png").stat().st_size > 1000
