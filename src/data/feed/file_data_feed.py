"""A user's CSV file as a Backtrader data feed: all bars at once, or one by one as if live."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from ..core.clock import SystemClock
from ..core.disk.atomic import export_csv
from ..core.model.market.bars import PRICES, Bar, BarTable
from ..core.model.market.stream import LiveBar
from ..core.model.time.instant import DAY_MS, MINUTE_MS, from_ms, to_ms
from ..core.model.time.timeframe import Timeframe
from ..core.prices.bar_rule import are_bars, faults_of
from ..core.vendors.local.bars import FileRows, LocalFiles, with_second_hours
from ..errors import DataError, ResponseFormatError
from .backtrader.feed import BacktraderFeed
from .close_time import CloseTimes
from .live_feed import LiveFeed
from .queue import CAPACITY
from .replay import ReplaySource, every
from .sources.history import live_bars

if TYPE_CHECKING:
    import pandas as pd

_VALUES = ("open", "high", "low", "close", "volume")


class FileDataFeed(BacktraderFeed):
    """A Backtrader data feed of bars from a CSV file; see :class:`CsvColumns` for its layout.

    Bars are stamped with the times in the file. If these are opening times, pass ``interval``: the
    bars are then stamped with their closing times, as in all other feeds.

    Backtrader parameters: ``dataname`` (the path), ``symbol``, ``interval``, the layout
    (``datetime_col``, ``open_col`` ... ``reverse``), ``fromdate`` and ``todate`` (strings are
    accepted), ``simulate_realtime`` with ``realtime_interval`` seconds between two bars, and
    ``on_new_bar``, a function called in a separate thread, for each of these bars, with the symbol,
    the timestamp and the values.

    Attributes:
        df: Bars with a naive UTC index.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a CSV file of bars; the message gives the reason.
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
        layout = CsvColumns(
            **{column.name: getattr(self.p, column.name) for column in fields(CsvColumns)}
        )
        self.df = read_csv_bars(self.p.dataname, layout)
        self.p.fromdate, self.p.todate = _moment(self.p.fromdate), _moment(self.p.todate)
        bars = live_bars(self.df)
        self.live_given, self.live_last_ms = 0, 0
        self.live_interest = self._interest()
        timeframe = Timeframe.parse(self.p.interval or _usual_step(bars))
        closing: Callable[[int], int] = CloseTimes(timeframe) if self.p.interval else lambda ms: ms
        played = bars if self.is_realtime else []
        pace = every(self.p.realtime_interval)
        source = ReplaySource(self.symbol, lambda: played, pace)
        # Capacity for all bars, so that no listener is cut off because it is slower than the file.
        stream = LiveFeed(self.symbol, timeframe.label, source, capacity=len(bars) + CAPACITY)
        super().__init__(stream, closing, () if self.is_realtime else bars)
        if self.is_realtime and self.p.on_new_bar is not None:
            stream.on_bar(self._call_back)

    def islive(self) -> bool:
        """Return whether bars arrive one at a time rather than all before the run."""
        return self.is_realtime

    def _begin(self) -> None:
        if self.is_realtime:
            super()._begin()
        else:
            self.live_is_over = True  # once the whole file was delivered

    def _write(self, bar: LiveBar) -> bool:
        written = super()._write(bar)
        if written:
            self.live_given, self.live_last_ms = self.live_given + 1, bar.stamp_ms
            self.lines.openinterest[0] = self.live_interest.get(bar.stamp_ms, 0.0)
        return written

    def get_status(self) -> dict[str, Any]:
        """Return the feed's progress as a dictionary."""
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
        """Write a CSV file of synthetic bars for experiments; the same arguments give the same bars.

        Raises:
            StorageError: The file cannot be written.
        """
        export_csv(_sample_frame(symbol, days, interval_minutes), Path(file_path))

    def _interest(self) -> dict[int, float]:
        if self.p.openinterest_col is None:
            return {}
        stamps = (bar.stamp_ms for bar in live_bars(self.df))
        return dict(zip(stamps, self.df["openinterest"].tolist(), strict=True))

    def _call_back(self, bar: LiveBar) -> None:
        import pandas as pd

        values = dict(zip(_VALUES, bar[1:6], strict=True))
        self.p.on_new_bar(self.symbol, pd.Timestamp(from_ms(bar.stamp_ms)), values)


def _moment(value: Any) -> Any:
    """Parse a range bound; a date without a time includes the whole day, both as start and as end."""
    if not isinstance(value, str):
        return value
    is_date = len(value) == len("YYYY-MM-DD")
    return date.fromisoformat(value) if is_date else datetime.fromisoformat(value)


def _usual_step(bars: list[LiveBar]) -> str:
    """Return the timeframe label of the shortest step between bars; ``1d`` for fewer than two bars."""
    steps = [after.stamp_ms - bar.stamp_ms for bar, after in pairwise(bars)]
    minutes = min(steps, default=DAY_MS) // MINUTE_MS
    return f"{minutes}m" if 0 < minutes < DAY_MS // MINUTE_MS else "1d"


def _sample_frame(symbol: str, days: int, interval_minutes: int) -> pd.DataFrame:
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


# --- reading the file: bars, whatever its columns are called

log = logging.getLogger("onetape.feed")

_TIME_COLUMNS = ("timestamp", "open_time", "close_time", "date", "time")
_INTEREST = "openinterest"


@dataclass(frozen=True)
class CsvColumns:
    """The layout of a CSV file.

    Attributes:
        datetime_col: Column of the timestamps; if the file lacks this column, the usual names are
            tried. If dates are in ``Date`` and times of day in ``Time``, both are used.
        open_col, high_col, low_col, close_col, volume_col: Columns of the prices and the volume.
        openinterest_col: Column of the open interest, or None.
        separator: Separator between columns.
        datetime_format: ``strptime`` format of the timestamps; not needed for ISO 8601, such as
            ``2024-01-02`` or ``20240102``, or for epoch seconds or milliseconds.
        timezone: Time zone of naive timestamps; UTC by default.
        reverse: Whether the latest row comes first in the file. If several rows have the same
            timestamp, the latest one is used.
    """

    datetime_col: str | None = "datetime"
    open_col: str = "open"
    high_col: str = "high"
    low_col: str = "low"
    close_col: str = "close"
    volume_col: str = "volume"
    openinterest_col: str | None = None
    separator: str = ","
    datetime_format: str | None = None
    timezone: str | None = None
    reverse: bool = False

    def files(self, path: Path) -> LocalFiles:
        """Return the layout of a file as one of the user's own files."""
        return LocalFiles(
            path.parent,
            symbol=path.stem,
            columns={name: getattr(self, f"{name}_col") for name in (*_VALUES, _INTEREST)},
            time_column=self.datetime_col or "datetime",
            time_format=self.datetime_format or "",
            timezone=self.timezone or "UTC",
        )


def read_csv_bars(path: str | Path, columns: CsvColumns | None = None) -> pd.DataFrame:
    """Return the bars in a CSV file, with a naive UTC index ``timestamp``, ascending and unique.

    Columns: ``open high low close volume openinterest``. Invalid rows are left out, with a warning
    in the log. A row is invalid if a number is missing or cannot be read, if a price is impossible in
    any market, if its high or low contradicts the other prices, if it has no time, or if its time is
    more than a day ahead of the system clock.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not CSV, lacks a column, contains an invalid timestamp, or does not
            contain any bars.
    """
    import pandas as pd

    laid_out, place = columns or CsvColumns(), Path(path)
    if not place.is_file():
        raise FileNotFoundError(f"the CSV file does not exist: {path}")
    refused = list[str]()
    try:
        data = place.read_bytes()
        text = (gzip.decompress(data) if place.suffix == ".gz" else data).decode()
        files = laid_out.files(place)
        needed = _VALUES if laid_out.openinterest_col is None else (*_VALUES, _INTEREST)
        rows = FileRows(text, files, str(path), laid_out.separator, needed, _TIME_COLUMNS)

        def bar(row: Sequence[str]) -> tuple[Bar, float]:
            """Return the bar in a row, and its open interest."""
            if not rows.text(row, "timestamp"):
                raise ValueError("it has no time")
            *values, interest = (rows.number(row, name) for name in (*_VALUES, _INTEREST))
            try:
                moment = rows.moment(row)
            except ValueError as exc:
                said = str(exc).replace("time_format: ", "datetime_format=")
                reason = f"{path}: the time column does not contain times: {said}"
                raise ResponseFormatError(reason) from exc
            return Bar(to_ms(moment), *values), interest

        read = list(rows.parsed(bar, lambda reason, _: refused.append(reason)))
        bars = [bar for bar, _ in read]
        if bars and not files.written_time(rows.last_time).tzinfo:
            bars = with_second_hours(bars, ZoneInfo(files.timezone))
    except DataError as exc:
        raise ValueError(str(exc.args[0])) from exc
    except (OSError, EOFError, TypeError, UnicodeDecodeError) as exc:
        raise ValueError(f"{path} cannot be read as CSV: {str(exc)[:200]}") from exc
    if refused:
        log.warning("%d rows were left out, the first: %s", len(refused), refused[0])
    frame = pd.DataFrame(bars, columns=Bar._fields).assign(openinterest=[one for _, one in read])
    stamps = pd.to_datetime(frame["stamp_ms"], unit="ms")
    frame.index = pd.DatetimeIndex(stamps, name="timestamp").as_unit("ns")
    frame = frame[[*_VALUES, _INTEREST]].astype("float64").fillna({_INTEREST: 0.0})
    return _checked(frame.iloc[::-1] if laid_out.reverse else frame, path)


def _checked(frame: pd.DataFrame, path: str | Path) -> pd.DataFrame:
    import numpy as np

    stamps = frame.index.to_numpy("datetime64[ms]").astype(np.int64)
    values = [frame[name].to_numpy(np.float64) for name in (*PRICES, "volume")]
    table = BarTable.of_columns(stamps, values)
    # A date begins in the east long before it begins in UTC.
    latest_ms = SystemClock().now_ms() + DAY_MS
    valid = are_bars(table, latest_ms)
    if not valid.all():
        bad = table.take(~valid)
        first, reason = frame.index[~valid][0], faults_of(bad, latest_ms)[0]
        log.warning(
            "%s: %d of %d rows were left out, the first at %s: %s",
            path,
            len(bad),
            len(frame),
            first,
            reason,
        )
    kept: pd.DataFrame = frame[valid].sort_index(kind="stable")
    doubled = kept.index.duplicated(keep="last")
    if doubled.any():
        log.warning("%s: %d rows were left out: a later one has its time", path, doubled.sum())
    kept = kept.loc[~doubled]
    if kept.empty:
        raise ValueError(f"{path} contains no valid bars")
    return kept
