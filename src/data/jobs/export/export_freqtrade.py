"""Writes stored bars of coins in the layout of freqtrade; no vendor is queried.

The layout is that of freqtrade 2026.9: ``<exchange>/BTC_USDT-1h.feather`` for spot, and
``<exchange>/futures/BTC_USDT_USDT-1h-futures.feather`` for perpetual futures, with the columns
``date open high low close volume``. freqtrade silently replaces missing bars with flat ones, so
every bar that is left out is reported.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...core.disk.atomic import put
from ...core.disk.files import Disk
from ...core.model.answer.frame import build_frame
from ...core.model.identity.instrument import Instrument
from ...core.model.identity.series import SeriesKey
from ...core.model.stored.coverage import Coverage
from ...core.model.stored.reasons import Cause
from ...core.model.time.instant import iso
from ...core.model.time.timeframe import Timeframe
from ...errors import DataError, MissingExtraError, install_line
from .export import ExportedFile, Exporter, ExportOptions, faults_of

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ["open", "high", "low", "close", "volume"]
# freqtrade's spelling of timeframes in file names, if it differs.
_SPELLINGS = {"1M": "1Mo"}
_TIMEFRAMES = frozenset("1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d 3d 1w 1M".split())
# Maps each exchange of perpetual futures to its exchange in freqtrade, and to the part of a pair in
# which profits are paid.
_FUTURES = {"binanceusdm": ("binance", "quote"), "binancecoinm": ("binance", "base")}


@dataclass(frozen=True)
class BarFile(ExportedFile):
    """One exported freqtrade file.

    Attributes:
        is_failed: Whether the bars belong in a file that could not be written.
        left_out: Maps each state other than final to the number of bars in that state; these bars
            were not written.
        missing: Number of bars missing from the cache between the first and the last bar written.
        first_gap: Time of the first missing bar, in ISO format; empty if none is missing.
    """

    is_failed: bool = False
    missing: int = 0
    first_gap: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the export as a JSON-serializable dictionary."""
        return super().to_json() | {"missing": self.missing, "first_gap": self.first_gap}


def write_files(exporter: Exporter, keys: Iterable[SeriesKey], folder: Path) -> list[BarFile]:
    """Write the final bars of each series to freqtrade's data folder, one file after another.

    Each file is replaced atomically. A series that cannot be written is reported with the reason,
    and the others are still written.

    Args:
        exporter: Exporter that reads the cache.
        keys: Series to write.
        folder: freqtrade's data folder, usually ``user_data/data``; created if necessary.

    Raises:
        MissingExtraError: pyarrow is not installed.
        StorageError: A folder cannot be created, or is inside the cache.
    """
    exporter.check_outside(folder)
    done: list[BarFile] = []
    written: dict[Path, SeriesKey] = {}
    for key in keys:
        try:
            file = _write(exporter, key, folder, written)
        except MissingExtraError:
            raise
        except DataError as error:
            file = BarFile(key, problem=str(error), is_failed=True)
        if file.path:
            written[Path(file.path)] = key
        done.append(file)
    return done


def _write(
    exporter: Exporter, key: SeriesKey, folder: Path, written: dict[Path, SeriesKey]
) -> BarFile:
    answer = exporter.stored(key, ExportOptions(adjustment=None))
    name, why = _file_name(key, answer.query.instrument, answer.kind.venue)
    if why:
        return BarFile(key, problem=why)
    path = folder / name
    if path in written:
        return BarFile(key, problem=f"{written[path]} has the same pair, timeframe and exchange")
    frame = build_frame(answer.table, answer.coverage, ())
    left_out, final = _final_bars(frame, answer.coverage)
    if not len(final):
        return BarFile(key, problem="no bar is final yet", left_out=left_out)
    index = cast("pd.DatetimeIndex", final.index)
    missing, first_gap = _missing_bars(index, key.timeframe)
    exporter.check_outside(path)  # a link in the folder may lead there
    data = _feather(final)
    if refusal := _objection(path, index):
        return BarFile(key, problem=refusal, is_failed=True, left_out=left_out)
    Disk().make_folders(path.parent)
    put(path, data)
    ends = [iso(int(index[n].value) // 1_000_000) for n in (0, -1)]
    of_bars = key, str(path), len(final), ends[0], ends[1]
    faults = faults_of(answer)
    return BarFile(*of_bars, left_out=left_out, faults=faults, missing=missing, first_gap=first_gap)


def _file_name(key: SeriesKey, instrument: Instrument, venue: str) -> tuple[str, str]:
    """Return a series' file name, or else the reason why it has none in freqtrade.

    The other of the two strings is empty.
    """
    base, quote = instrument.base, instrument.quote
    if instrument.asset_class != "crypto" or not base or not quote:
        return "", "not a pair of coins"
    # The venue becomes a folder; one stored by another program might lead out of the data folder.
    if key.is_sample or key.of_folder or not venue.isalnum() or venue == "aggregate":
        return "", "its bars are not from an exchange"
    if key.timeframe.label not in _TIMEFRAMES:
        return "", f"freqtrade has no {key.timeframe}"
    timeframe = _SPELLINGS.get(key.timeframe.label, key.timeframe.label)
    if venue not in _FUTURES:
        return f"{venue}/{base}_{quote}-{timeframe}.feather", ""
    exchange, paid_in = _FUTURES[venue]
    paid = quote if paid_in == "quote" else base
    return f"{exchange}/futures/{base}_{quote}_{paid}-{timeframe}-futures.feather", ""


def _final_bars(frame: pd.DataFrame, coverage: Coverage) -> tuple[dict[str, int], pd.DataFrame]:
    """Return the bar count for each state other than final, and the final bars."""
    stamps = cast("pd.DatetimeIndex", frame.index).as_unit("ms").asi8
    keep, left_out = stamps != stamps, dict[str, int]()
    for opened in (opened for entry in coverage for opened in entry.opened):
        inside = (stamps >= opened.span.start) & (stamps < opened.span.end)
        state = "suspect" if Cause.GRAVE in opened.cause else opened.state
        if state == "final":
            keep |= inside
        elif inside.any():
            left_out[state] = left_out.get(state, 0) + int(inside.sum())
    unknown = len(stamps) - int(keep.sum()) - sum(left_out.values())
    return left_out | ({"unknown": unknown} if unknown else {}), frame[keep]


def _missing_bars(index: pd.DatetimeIndex, timeframe: Timeframe) -> tuple[int, str]:
    """Return the number of bars missing between the first and the last one, and the first missing time."""
    import pandas as pd

    unit = "MS" if timeframe.unit == "M" else pd.Timedelta(milliseconds=timeframe.step_ms or 1)
    gone = pd.date_range(index[0], index[-1], freq=unit).difference(index)
    return len(gone), iso(int(gone[0].value) // 1_000_000) if len(gone) else ""


def _objection(path: Path, index: pd.DatetimeIndex) -> str:
    """Return why an existing file must not be replaced; empty if no bar in it would be lost."""
    import pandas as pd

    if not path.exists():
        return ""
    try:
        dates = pd.to_datetime(pd.read_feather(path, columns=["date"])["date"], utc=True)
    except (OSError, ValueError, TypeError, KeyError, NotImplementedError) as exc:
        return f"{path} exists and does not contain bars: {exc}"
    ours = index.tz_localize("UTC")
    lost = int((~dates.isin(ours)).sum())
    if not lost:
        return ""
    return f"{path} has {lost:,} bars that the cache does not have as final; move it away first"


def _feather(frame: pd.DataFrame) -> bytes:
    import pandas as pd

    dates = pd.DatetimeIndex(frame.index).as_unit("ms").tz_localize("UTC")
    table = frame[_COLUMNS].astype("float64").reset_index(drop=True)
    table.insert(0, "date", dates)
    table.attrs.clear()
    file = io.BytesIO()
    try:
        table.to_feather(file, compression="lz4", compression_level=9)
    except ImportError as exc:
        hint = install_line("parquet")
        raise MissingExtraError("Feather files need pyarrow", hint=hint) from exc
    return file.getvalue()
