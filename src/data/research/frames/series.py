"""A stored series as a lazy frame of Polars, and as the frame of ``get_ohlcv``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ...core.bars.client import Wishes
from ...core.model.answer.interchange import to_polars
from ...core.model.market.bars import PRICES
from ...core.model.request.query import EXTRA_COLUMNS
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.time.span import Span
from ...data_manager import DataManager, get_data_manager
from ...errors import QueryError
from .frames import pl

if TYPE_CHECKING:
    import pandas as pd

    from ...core.bars.client import BarsClient
    from ...core.model.identity.series import SeriesKey

__all__ = ["scan_series", "stored_frame"]

_TIME, _ADJUSTED = "timestamp", "adj_close"
_STAMP = pl.Datetime("us")
_EXTRA = (_ADJUSTED, *EXTRA_COLUMNS)


def scan_series(
    symbol: str,
    timeframe: str,
    *,
    manager: DataManager | None = None,
    columns: Sequence[str] = (),
    adjustment: str = "split",
    provider: str | None = None,
    session: str = "regular",
) -> pl.LazyFrame:
    """Return the stored bars of a series as a lazy frame; no vendor is queried.

    The frame has the bars that are stored at the time of the call, from the first to the last one,
    as ``get_ohlcv`` with ``offline=True`` returns them. Their columns are mapped into memory, so
    Polars reads only the parts that a query needs. The read is recorded in the ``lineage`` in which
    this function is called.

    Args:
        symbol, timeframe: See ``get_ohlcv``.
        manager: Data manager that reads the bars, or None for the one that ``get_data_manager``
            returns.
        columns: Further columns, as in ``get_ohlcv``: ``source``, ``state``, ``is_final``,
            ``fetched_at``, ``dividend``, ``split``, ``capital_gain``; also ``adj_close``.
        adjustment, provider, session: See ``get_ohlcv``.

    Returns:
        ``timestamp`` (``Datetime("us")``, naive UTC, the bar's opening time; for daily bars, 00:00
        of the session date), ``open high low close volume`` (``Float64``, NaN if unknown) and the
        further columns (``Float64``, ``String``, ``Boolean``, ``Datetime("us")``), ascending.

    Raises:
        QueryError: An argument is invalid.
        UnknownProviderError: The vendor does not exist.
        AllProvidersFailedError, NoProviderError: Nothing is stored for the series. A misspelled
            symbol therefore does not produce an empty frame.

    Warns:
        IncompleteDataWarning: Bars are missing between the stored ones.
    """
    if manager is not None and not isinstance(manager, DataManager):
        raise QueryError(
            f"manager must be a DataManager, not {type(manager).__name__}",
            hint="omit it to use the one that get_data_manager() returns",
        )
    names = _check_columns(columns)
    wishes = Wishes(
        provider=provider,
        adjustment=adjustment,
        offline=True,
        session=session,
        columns=[name for name in names if name in EXTRA_COLUMNS],
    )
    client = (get_data_manager() if manager is None else manager).client
    rows = to_polars(stored_frame(client, symbol, timeframe, wishes))
    if _ADJUSTED in names and _ADJUSTED not in rows.columns:
        rows = rows.with_columns(pl.lit(float("nan")).alias(_ADJUSTED))
    times = pl.col(pl.Datetime).cast(_STAMP)
    return rows.select(_TIME, *PRICES, "volume", *names).with_columns(times).lazy()


def stored_frame(client: BarsClient, symbol: str, timeframe: str, wishes: Wishes) -> pd.DataFrame:
    """Return the stored bars of a series, from the first to the last one, as ``get_ohlcv`` does.

    Args:
        client: Client of the data manager.
        symbol, timeframe: See ``get_ohlcv``.
        wishes: Further arguments of ``get_ohlcv``, with ``offline``.

    Raises:
        QueryError, UnknownProviderError, AllProvidersFailedError, NoProviderError: See
            :func:`scan_series`.
    """
    query = client.query(symbol, timeframe, wishes=wishes)
    extent = _extent(client, [client.series_of(query)])
    if extent is None:  # other stored bars answer, or bars are built from shorter ones
        symbol = query.instrument.symbol
        keys = client.lanes(symbol, query.timeframe)
        keys = keys or [series for series in client.series() if series.symbol == symbol]
        extent = _extent(client, keys)
    if extent is not None:
        span = extent.clip(Span(extent.start, query.span.end))
        query = replace(query, bars=None, span=span)
    return client.get(query)


def _extent(client: BarsClient, keys: Iterable[SeriesKey]) -> Span | None:
    """Return the span from the first to the last known bar of some series."""
    spans = [c.span for key in keys for c in client.coverage(key) if c.state in WITH_BARS]
    return Span(min(spans).start, max(span.end for span in spans)) if spans else None


def _check_columns(columns: Any) -> tuple[str, ...]:
    """Return the names of the further columns.

    Raises:
        QueryError: The columns are not a list of such names.
    """
    if isinstance(columns, str) or not isinstance(columns, Sequence):
        raise QueryError(f"columns must be a list of names, not {columns!r:.80}")
    for name in columns:
        if not isinstance(name, str) or name not in _EXTRA:
            raise QueryError(
                f"unknown extra column {name!r:.80}", hint=f"use some of {', '.join(_EXTRA)}"
            )
    return tuple(dict.fromkeys(columns))
