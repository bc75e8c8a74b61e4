"""A CSV file of the user's as a Backtrader data: all of it at once, or bar by bar as if live."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..disk.export import export_csv
from ..model.instant import DAY_MS, MINUTE_MS, from_ms
from ..model.stream import LiveBar
from ..model.timeframe import Timeframe
from .backtrader.feed import BacktraderFeed
from .close_time import Closing
from .frames import live_bars
from .live_feed import LiveFeed
from .queue import CAPACITY
from .sources.csv import CsvColumns, read_csv_bars
from .sources.replay import ReplaySource, every

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = (
    "datetime_col",
    "open_col",
    "high_col",
    "low_col",
    "close_col",
    "volume_col",
    "openinterest_col",
    "separator",
    "datetime_format",
    "timezone",
    "reverse",
)
_VALUES = ("open", "high", "low", "close", "volume")


class FileDataFeed(BacktraderFeed):
    """Bars of a CSV file; see :class:`~.csv_files.CsvColumns` for what its columns may be.

    Bars stand by the file's own stamps. Where these are opens, say ``interval``: then they stand by
    their closes, as those of all other feeds.

    Backtrader parameters: ``dataname`` (the path), ``symbol``, ``interval``, the layout
    (``datetime_col``, ``open_col`` ... ``reverse``), ``fromdate`` and ``todate`` (also as texts),
    ``simulate_realtime`` with ``realtime_interval`` seconds between two bars, and ``on_new_bar``
    (symbol, stamp, values), called for each of them in a thread of its own.

    Attributes:
        df: the bars on a naive UTC index.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no CSV of bars; the message says why.
    """

    params = (
        ("symbol", None),
        ("interval", None),
        ("datetime_col", "datetime"),
        ("open_col", "open"),
        ("high_col", "high"),
        ("low_col", "low"),
        ("close_col", "close"),
        ("volume_col", "volume"),
        ("openinterest_col", None),
        ("separator", ","),
        ("datetime_format", None),
        ("timezone", None),
        ("reverse", False),
        ("simulate_realtime", False),
        ("realtime_interval", 60),
        ("on_new_bar", None),
    )

    def __init__(self) -> None:
        self.symbol = self.p.symbol or "file_data"
        self.is_realtime = bool(self.p.simulate_realtime)
        layout = CsvColumns(**{name: getattr(self.p, name) for name in _COLUMNS})
        self.df = read_csv_bars(self.p.dataname, layout)
        self.p.fromdate, self.p.todate = _moment(self.p.fromdate), _moment(self.p.todate)
        bars = live_bars(self.df)
        self.live_given, self.live_last_ms = 0, 0
        self.live_interest = self._interest()
        timeframe = Timeframe.parse(self.p.interval or _usual_step(bars))
        closing: Callable[[int], int] = Closing(timeframe) if self.p.interval else lambda ms: ms
        played = bars if self.is_realtime else []
        pace = every(self.p.realtime_interval)
        source = ReplaySource(self.symbol, lambda: played, pace)
        # Nobody may be cut off for being slower than a file.
        stream = LiveFeed(self.symbol, timeframe.label, source, capacity=len(bars) + CAPACITY)
        super().__init__(stream, closing, () if self.is_realtime else bars)
        if self.is_realtime and self.p.on_new_bar is not None:
            stream.on_bar(self._call_back)

    def islive(self) -> bool:
        """Tell whether bars come one at a time: else all of them are loaded before the run."""
        return self.is_realtime

    def _begin(self) -> None:
        if self.is_realtime:
            super()._begin()
        else:
            self.live_is_over = True  # as soon as the file was given

    def _write(self, bar: LiveBar) -> bool:
        written = super()._write(bar)
        if written:
            self.live_given, self.live_last_ms = self.live_given + 1, bar.stamp_ms
            self.lines.openinterest[0] = self.live_interest.get(bar.stamp_ms, 0.0)
        return written

    def get_status(self) -> dict[str, Any]:
        """Return how far it is, as plain values."""
        last = from_ms(self.live_last_ms) if self.live_given else None
        return {
            "symbol": self.symbol,
            "file_path": str(self.p.dataname),
            "total_rows": len(self.df),
            "current_index": self.live_given,
            "is_realtime": self.is_realtime,
            "last_delivered": last,
            "queue_size": len(self.live_box),
            "should_stop": self.should_stop,
            "data_source": "CSV File",
        }

    @classmethod
    def create_sample_csv(
        cls, file_path: str | Path, symbol: str = "TEST", days: int = 30, interval_minutes: int = 60
    ) -> None:
        """Write a CSV of made-up bars, the same ones for the same symbol; for tries and tests.

        Raises:
            StorageError: it cannot be written.
        """
        export_csv(_made_up(symbol, days, interval_minutes), Path(file_path))

    def _interest(self) -> dict[int, float]:
        if self.p.openinterest_col is None:
            return {}
        stamps = (bar.stamp_ms for bar in live_bars(self.df))
        return dict(zip(stamps, self.df["openinterest"].tolist(), strict=True))

    def _call_back(self, bar: LiveBar) -> None:
        import pandas as pd

        values = dict(zip(_VALUES, bar[1:6], strict=True))
        self.p.on_new_bar(self.symbol, pd.Timestamp(from_ms(bar.stamp_ms)), values)


def _moment(said: Any) -> Any:
    """Read a text; a date alone means the whole day, at either end."""
    if not isinstance(said, str):
        return said
    is_date = len(said) == len("YYYY-MM-DD")
    return date.fromisoformat(said) if is_date else datetime.fromisoformat(said)


def _usual_step(bars: list[LiveBar]) -> str:
    """Return the label of the shortest distance between two bars, ``1d`` where it has none."""
    steps = [after.stamp_ms - bar.stamp_ms for bar, after in pairwise(bars)]
    minutes = min(steps, default=DAY_MS) // MINUTE_MS
    return f"{minutes}m" if 0 < minutes < DAY_MS // MINUTE_MS else "1d"


def _made_up(symbol: str, days: int, interval_minutes: int) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    count = max(1, days * 24 * 60 // interval_minutes)
    dice = np.random.default_rng(list(symbol.encode()))
    index = pd.date_range(
        "2024-01-01", periods=count, freq=f"{interval_minutes}min", name="datetime"
    )
    closes = 100.0 * np.exp(np.cumsum(dice.normal(0.0, 0.002, count)))
    opens = np.concatenate([[100.0], closes[:-1]])
    reach = 1.0 + dice.uniform(0.0, 0.002, count)
    columns = {
        "open": opens,
        "high": np.maximum(opens, closes) * reach,
        "low": np.minimum(opens, closes) / reach,
        "close": closes,
        "volume": dice.integers(100, 10_000, count).astype(np.float64),
    }
    return pd.DataFrame(columns, index=index)
