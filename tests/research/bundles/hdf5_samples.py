"""HDF5 files of bars: written by pandas itself, and by h5py in Zipline's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

WHY = "HDF5 is in no other extra: pip install -e '.[full]' (make test-full)"
FIELDS = ("open", "high", "low", "close", "volume")


def bars(
    count: int = 5, first: float = 10.0, freq: str = "B", tz: str | None = None
) -> pd.DataFrame:
    """Return bars from 2024-01-02 on, with prices of two decimals."""
    low = first + np.arange(count) / 100
    index = pd.date_range("2024-01-02", periods=count, freq=freq, tz=tz, name="date")
    columns = (low + 0.25, low + 1, low, low + 0.5)
    prices = {name: column.round(2) for name, column in zip(FIELDS, columns, strict=False)}
    return pd.DataFrame({**prices, "volume": 100 * np.arange(1, count + 1)}, index=index)


def long(*symbols: str) -> pd.DataFrame:
    """Return the bars of several symbols, one below the other, in columns."""
    parts = [bars(first=10.0 * n).assign(symbol=name) for n, name in enumerate(symbols, 1)]
    return pd.concat(parts).reset_index()


def write(path: Path, frames: Mapping[str, pd.DataFrame], **options: Any) -> Path:
    """Write frames by their keys to one file, as users do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for key, frame in frames.items():
        frame.to_hdf(path, key=key, **options)
    return path


def zipline(path: Path, prices: np.ndarray, sids: list[int], **attributes: Any) -> Path:
    """Write daily bars in Zipline's layout: thousandths as uint32, a row for each sid, 0 for no bar."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    days = pd.date_range("2024-01-02", periods=prices.shape[1], freq="B", unit="ns")
    with h5py.File(path, "w") as file:
        file.attrs["version"] = attributes.pop("version", 0)
        group = file.create_group("US")
        group.create_dataset("index/sid", data=np.array(sids, "int64"))
        group.create_dataset("index/day", data=days.to_numpy().astype("int64"))
        for name in FIELDS:
            scale = 1 if name == "volume" else 1000
            data = group.create_dataset(
                f"data/{name}", data=prices.astype("uint32"), compression="lzf", shuffle=True
            )
            data.attrs["scaling_factor"] = attributes.get("scale", scale)
        group.create_dataset("lifetimes/start_date", data=np.zeros(len(sids), "int64"))
        group.create_dataset("currency/code", data=np.array([3 * b"X"] * len(sids)))
    return path
