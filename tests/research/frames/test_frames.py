"""Frames of Polars: the bars of many symbols as one frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from src.data.core.bars.answer.answer import Rows
from src.data.core.bars.client import Wishes
from src.data.core.model.answer.interchange import to_polars
from src.data.data_manager import DataManager
from src.data.research.frames.frames import PRICE, bars_frame, decimal_frame
from tests.research.portal.portal_stage import COIN, manager_on, put, sessions, stamp_of, table

DAYS = [stamp_of(day) for day in sessions("2024-01-01", "2024-06-14")]
NAMES = ["MSFT", "AAPL", "BTCUSDT", "NVDA"]


@pytest.fixture
def manager(tmp_path: Path) -> DataManager:
    manager = manager_on(tmp_path)
    for place, name in enumerate(("AAPL", "MSFT")):
        put(manager, name, "1d", table(DAYS[place:], place), first=DAYS[0] - 9 * 86_400_000)
    put(manager, "BTCUSDT", "1d", table(DAYS, 2), kind=COIN)
    return manager


def answers(manager: DataManager) -> dict[str, Rows]:
    """Return the stored bars of four symbols; nothing is stored for the last one."""
    bounds = "2024-01-02", "2024-06-14", None
    return manager.client.get_rows_by_symbol(NAMES, "1d", bounds, Wishes(offline=True))


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_many_symbols_become_one_frame_without_frames_of_pandas(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value is copied once, from the arrays of the answer to the column."""
    rows = answers(manager)
    expected = to_polars({name: answer.owned() for name, answer in rows.items()})
    copied: list[int] = []
    concatenate = np.concatenate

    def counted(parts: Any) -> Any:
        copied.append(sum(map(len, parts)))
        return concatenate(parts)

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a frame of pandas is built, copied or taken apart")

    for name in ("__init__", "copy", "__getitem__", "items"):
        monkeypatch.setattr(pd.DataFrame, name, refuse)
    monkeypatch.setattr("src.data.research.frames.frames.np.concatenate", counted)
    frame = bars_frame(rows)
    assert copied == [len(DAYS) * 3 - 1] * 6
    monkeypatch.undo()
    columns = ["timestamp", "symbol", "open", "high", "low", "close", "volume"]
    stamps = pl.col("timestamp").cast(pl.Datetime("us"))
    assert frame.equals(expected.select(columns).with_columns(stamps))
    assert frame["symbol"].unique(maintain_order=True).to_list() == NAMES[:3]


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_style_chooses_floats_or_decimals(manager: DataManager) -> None:
    rows = answers(manager)
    exact = bars_frame(rows, "decimal")
    assert exact.schema["close"] == PRICE
    assert exact.equals(decimal_frame(bars_frame(rows)).frame)
    assert bars_frame({}).schema == bars_frame(rows).schema


@pytest.mark.filterwarnings("ignore::src.data.errors.IncompleteDataWarning")
def test_a_column_that_a_symbol_lacks_is_nan(manager: DataManager) -> None:
    rows = answers(manager)
    part = rows["AAPL"].frame[["open", "close"]]
    frame = bars_frame({"MSFT": rows["MSFT"], "AAPL": Rows(part, {})})
    apple = frame.filter(pl.col("symbol") == "AAPL")
    assert apple["close"].to_list() == part["close"].tolist()
    assert apple["volume"].is_nan().all() and not frame["volume"].is_nan().all()
