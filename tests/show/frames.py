"""Frames of bars with the provenance that answers carry, for tests of charts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from src.data.core.model.answer.provenance import freeze
from src.data.core.model.identity.instrument import Instrument

SHARE = Instrument("ACME", "stock", "XNYS", "America/New_York")
COIN = Instrument("BTCUSDT", "crypto")


def frame_of(
    closes: Sequence[float],
    start: str = "2024-01-02",
    *,
    step: str = "1d",
    symbol: str = "ACME",
    times: Any = None,
    **facts: Any,
) -> pd.DataFrame:
    """Return bars with these closes: opens are the closes before, highs and lows a hundredth beyond."""
    close = np.array(closes, float)
    opened = np.concatenate([close[:1], close[:-1]])
    frequency = {"1d": "B" if symbol == "ACME" else "D", "1m": "min", "1h": "h"}[step]
    index = pd.DatetimeIndex(
        times if times is not None else pd.date_range(start, periods=len(close), freq=frequency),
        name="timestamp",
    ).as_unit("ns")
    frame = pd.DataFrame(
        {
            "open": opened,
            "high": np.maximum(opened, close) * 1.01,
            "low": np.minimum(opened, close) * 0.99,
            "close": close,
            "volume": np.arange(1.0, len(close) + 1),
        },
        index=index,
    )
    frame.attrs["onetape"] = freeze(
        {
            "symbol": symbol,
            "timeframe": step,
            "adjustment": "split",
            "as_of": "2024-12-31",
            "kind": {"session": "regular", "anchor": "session", "unit": "USD"},
            "rows": len(frame),
            "spans": [],
            "gaps": [],
            "gaps_total": len(facts.get("gaps", ())),
            "flagged": [],
            "complete": True,
            **facts,
        }
    )
    return frame


def gap(start: str, end: str, reason: str = "the vendor has no bar") -> dict[str, str]:
    """Return a gap as a provenance has it, half-open."""
    return {"start": f"{start}Z", "end": f"{end}Z", "reason": reason}
