"""Conversion of frames of bars to tables of other libraries (Polars and Arrow).

With pandas 3, which copies on write, numeric and time columns are handed over without copying, and
later writes to the frame do not affect the table. Older pandas writes in place, so the columns are
copied.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ....errors import MissingExtraError, QueryError, install_line
from .frame import empty_frame
from .provenance import ATTRS_KEY

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

_COPIES_ON_WRITE = int(pd.__version__.split(".")[0]) >= 3
_SYMBOL, _TIME = "symbol", "timestamp"
# Types as pandas infers them: strings, and mixed values, which neither Polars nor Arrow can store.
_TEXTS = ("string", "empty")
_MIXED = ("mixed", "mixed-integer", "unknown-array")
_NUMBERS = "biufm"


def to_polars(frames: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pl.DataFrame:
    """Return a frame, or a batch as one long table, as a Polars frame.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> to_polars(bars)["close"].to_list()
        [411.23, 413.44, 418.03]

    The index becomes the first column, ``timestamp`` (``Datetime("ns")``, naive UTC, the bar's
    opening time); the other columns keep their names and order: ``Float64``, ``String``
    (``source``, ``state``), ``Boolean``, ``Datetime("ns")``. NaN stays NaN; a missing text or time
    is null. For a batch, the first column is ``symbol`` (``String``); symbols are in the order of
    the batch, rows in the order of their frame, and a column that a symbol does not have is null in
    its rows. A symbol that failed has no rows. Provenance is dropped because Polars cannot store
    it; use ``describe(frame)`` or :func:`to_arrow`.

    With pandas 3, numbers and times are not copied. Later changes to the frame never affect the
    table.

    Args:
        frames: Frame from ``get_ohlcv``, or any frame with one level of column names; or the dict
            from ``get_ohlcv_batch``.

    Raises:
        MissingExtraError: Polars is not installed (extra ``polars``).
        QueryError: The argument is not such a frame, two columns have the same name, or a column
            has values of several types.
    """
    try:
        import polars as pl
    except ImportError as missing:
        raise MissingExtraError("to_polars needs Polars", hint=install_line("polars")) from missing

    def table(frame: pd.DataFrame, symbol: str | None) -> pl.DataFrame:
        """Return one frame as a Polars frame, with ``symbol`` as its first column if there is one."""
        series = [_polars_series(pl, column) for column in _columns(frame, symbol)]
        return pl.DataFrame(series)

    if not isinstance(frames, Mapping):
        return table(frames, None)
    tables = [table(frame, str(symbol)) for symbol, frame in _batch(frames)]
    try:
        whole = pl.concat(tables, how="diagonal", rechunk=False)
    except pl.exceptions.PolarsError as error:
        raise _schema_error(error) from error
    return whole


def to_arrow(frames: pd.DataFrame | Mapping[str, pd.DataFrame]) -> pa.Table:
    """Return a frame, or a batch as one long table, as an Arrow table that carries its provenance.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> to_arrow(bars).num_rows
        3

    Columns and rows are those of :func:`to_polars`, with the types ``timestamp[ns]`` (naive UTC),
    ``double``, ``string`` and ``bool``. The schema's metadata contains ``attrs["onetape"]`` as JSON
    under ``b"onetape"``; for a batch it is ``{"symbols": {symbol: attrs}}``, with the error of each
    failed symbol. Parquet, Feather and Flight preserve this metadata.

    With pandas 3, numbers and times are not copied. Later changes to the frame never affect the
    table. A batch has one chunk per symbol.

    Args:
        frames: See :func:`to_polars`.

    Raises:
        MissingExtraError: pyarrow is not installed (extra ``parquet``).
        QueryError: The same errors as in :func:`to_polars`.
    """
    try:
        import pyarrow as pa
    except ImportError as missing:
        raise MissingExtraError("to_arrow needs pyarrow", hint=install_line("parquet")) from missing

    def table(frame: pd.DataFrame, symbol: str | None) -> pa.Table:
        """Return one frame as an Arrow table, with ``symbol`` as its first column if there is one."""
        columns = _columns(frame, symbol)
        return pa.table({column.name: _arrow_array(pa, column) for column in columns})

    if not isinstance(frames, Mapping):
        return _with_metadata(table(frames, None), frames.attrs.get(ATTRS_KEY))
    tables = [table(frame, str(symbol)) for symbol, frame in _batch(frames)]
    try:
        whole = pa.concat_tables(tables, promote_options="default")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _schema_error(error) from error
    by_symbol = {str(symbol): frame.attrs.get(ATTRS_KEY) for symbol, frame in frames.items()}
    return _with_metadata(whole, {"symbols": by_symbol})


def _batch(frames: Mapping[str, pd.DataFrame]) -> Sequence[tuple[str, pd.DataFrame]]:
    """Return (symbol, frame) pairs; an empty batch gives one empty frame with the bar columns."""
    return list(frames.items()) or [("", empty_frame())]


def _schema_error(error: Exception) -> QueryError:
    return QueryError(
        f"the frames of the batch cannot be combined into one table: {error}",
        hint="pass frames in which columns with the same name have the same type",
    )


def _with_metadata(table: pa.Table, provenance: Any) -> pa.Table:
    if provenance is None:
        return table
    return table.replace_schema_metadata({ATTRS_KEY: json.dumps(provenance)})


# --- columns, independent of the target library ------------------------------------------------


class _Column(NamedTuple):
    """A column to convert: an array of numbers or times, or a list with None for missing values."""

    name: str
    values: NDArray[Any] | list[Any]
    is_text: bool = False


class _Symbol(NamedTuple):
    """The symbol column of a batch: the same string in every row."""

    text: str
    rows: int
    name: str = _SYMBOL


class _Lent:
    """Array memory shared with a frame.

    A second frame that refers to the same memory is kept alive, so that pandas copies the data
    before writing to the user's frame.
    """

    def __init__(self, values: NDArray[Any], holder: pd.DataFrame) -> None:
        self.__array_interface__ = values.__array_interface__
        self._values, self._holder = values, holder


def _columns(frame: pd.DataFrame, symbol: str | None) -> list[_Column | _Symbol]:
    """Return the columns of the Polars or Arrow table for a frame.

    Raises:
        QueryError: The argument is not a frame, or a column has values of several types or shares
            its name with another column.
    """
    if not isinstance(frame, pd.DataFrame):
        raise QueryError(
            f"expected a frame of bars or a dict of frames, not {type(frame).__name__}"
        )
    if frame.columns.nlevels > 1 or frame.index.nlevels > 1:
        raise QueryError(
            "the frame has several rows of column names or several indexes; a table has one of each",
            hint='pass the dict of frames (layout="dict"), or a single field such as wide["close"]',
        )
    holder = pd.DataFrame(frame)  # unlike a shallow copy, without a copy of the provenance
    sources: list[tuple[str, Any]] = [(str(name), column) for name, column in holder.items()]
    index = holder.index
    if isinstance(index, pd.DatetimeIndex) or index.name is not None:
        sources.insert(0, (str(index.name or _TIME), index))
    columns: list[_Column | _Symbol] = [] if symbol is None else [_Symbol(symbol, len(frame))]
    columns += [_column(name, values, holder) for name, values in sources]
    names = [column.name for column in columns]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise QueryError(
            f"two columns of the table would have the same name: {', '.join(twice)}",
            hint="rename or drop one of the two",
        )
    return columns


def _column(name: str, source: pd.Series[Any] | pd.Index[Any], holder: pd.DataFrame) -> _Column:
    dtype = source.dtype
    if isinstance(dtype, pd.DatetimeTZDtype) or dtype.kind == "M":
        times = source if isinstance(source, pd.DatetimeIndex) else pd.DatetimeIndex(source)
        if times.tz is not None:
            times = times.tz_convert("UTC").tz_localize(None)
        if times.unit != "ns":  # `as_unit` would copy even nanoseconds
            times = times.as_unit("ns")
        return _Column(name, _share_or_copy(times.to_numpy(), holder))
    if isinstance(dtype, np.dtype) and dtype.kind in _NUMBERS:
        return _Column(name, _share_or_copy(source.to_numpy(), holder))
    values = source.to_numpy(object)
    inferred_type = pd.api.types.infer_dtype(values, skipna=True)
    if inferred_type in _MIXED:
        raise QueryError(
            f"the column {name!r} contains values of several types; a table column has only one",
            hint="convert the column with astype, or drop it",
        )
    cells = [None if is_na else value for value, is_na in zip(values, pd.isna(values), strict=True)]
    return _Column(name, cells, is_text=inferred_type in _TEXTS)


def _share_or_copy(values: NDArray[Any], holder: pd.DataFrame) -> NDArray[Any]:
    """Return ``values`` itself if the memory can be shared, otherwise a copy."""
    if not (_COPIES_ON_WRITE and values.flags.c_contiguous and values.dtype.isnative):
        return np.array(values, dtype=values.dtype.newbyteorder("="), order="C")
    return np.asarray(_Lent(values, holder))


def _polars_series(pl: Any, column: _Column | _Symbol) -> pl.Series:
    if isinstance(column, _Symbol):
        text = pl.Series(column.name, [column.text], dtype=pl.String)
        return text.new_from_index(0, column.rows)
    name, values = column.name, column.values
    if isinstance(values, list):
        return pl.Series(name, values, dtype=pl.String if column.is_text else None)
    # NaT is the smallest integer: finding the minimum is faster than checking each value.
    if values.dtype.kind != "M" or values.view(np.int64).min(initial=0) == pd.NaT.value:
        return pl.Series(name, values)
    # Polars would copy times; it takes numbers without a copy, and the cast back moves nothing.
    return pl.Series(name, values.view(np.int64)).cast(pl.Datetime("ns"))


def _arrow_array(pa: Any, column: _Column | _Symbol) -> pa.Array:
    if isinstance(column, _Symbol):
        return pa.repeat(column.text, column.rows)
    return pa.array(column.values, type=pa.string() if column.is_text else None)
