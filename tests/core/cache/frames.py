"""Frames for the tests of the cache, and year files as older tools wrote them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


def bars(start: str, count: int, freq: str = "1h", *, seed: int = 1) -> pd.DataFrame:
    """Return valid bars with prices that need all digits of a float64."""
    index = pd.date_range(start, periods=count, freq=freq, name="timestamp")
    random = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(random.normal(0, 0.01, count)))
    first = close * (1 + random.normal(0, 0.001, count))
    return pd.DataFrame(
        {
            "open": first,
            "high": np.maximum(first, close) * 1.001,
            "low": np.minimum(first, close) * 0.999,
            "close": close,
            "volume": random.integers(1, 10_000, count).astype(np.float64),
        },
        index=index.as_unit("ns"),
    )


def same(one: pd.DataFrame | None, other: pd.DataFrame) -> None:
    """Assert that two frames hold the same bits."""
    assert one is not None
    pd.testing.assert_frame_equal(one, other, check_exact=True, check_freq=False)


def older_file(
    folder: Path, frame: pd.DataFrame, year: int, *, label: str = "timestamp", **metadata: Any
) -> Path:
    """Write a year file into ``folder`` with pandas, and a document if facts are given."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{year}.csv.gz"
    frame.to_csv(path, index=True, index_label=label, compression="gzip")
    if metadata:
        document = {
            "symbol": folder.parent.name,
            "timeframe": folder.name,
            "year": year,
            "data_source": "binance",
            "created_at": "2025-01-15T10:30:00",
            "last_updated": "2025-01-15T10:30:00",
            "file_info": {"format": "csv.gz", "rows": len(frame)},
        } | metadata
        (folder / f"{year}.metadata.json").write_text(json.dumps(document, indent=2))
    return path
