"""Compare an answer with the truth of the vendor server, bar by bar."""

from __future__ import annotations

import pandas as pd

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from tests.vendor_server import VendorServer


def ms(text: str) -> int:
    """Return UTC milliseconds of an ISO text."""
    return parse_iso(text)


def assert_true(
    frame: pd.DataFrame, vendors: VendorServer, clock: ManualClock, symbol: str, timeframe: str,
    start: str, end: str, adjustment: str = "raw",
) -> None:  # fmt: skip
    """Assert that ``frame`` holds exactly the closed bars of ``[start, end)``."""
    rows = vendors.truth.expected(symbol, timeframe, ms(start), ms(end), adjustment, clock.now_ms())
    assert len(rows), "no true bars in this range: the test would check nothing"
    reported = [
        (int(stamp.value // 1_000_000), *(float(v) for v in values[:5]))
        for stamp, values in zip(frame.index, frame.to_numpy(), strict=True)
    ]
    assert reported == [tuple(row) for row in rows]
