"""Ask a downloader that is not ours by the one method it must have, ``get_ohlcv``."""

from __future__ import annotations

from typing import Any

from ..errors import NoDataError, ResponseFormatError
from ..model.bars import BarTable
from ..model.capabilities import Capabilities, Fetched, FetchQuery
from ..model.instant import from_ms
from ..model.instrument import Instrument
from ..model.kind import Basis, Kind
from ..model.timeframe import Timeframe
from .foreign import OwnSender, call_own


def fetch_legacy(
    downloader: Any, query: FetchQuery, name: str, make_sender: OwnSender | None = None
) -> Fetched:
    """Return the bars of ``downloader.get_ohlcv(symbol, timeframe, start, end)``.

    It is called with naive UTC datetimes, both ends inclusive. Nothing is known about its bars:
    not their kind (but for the volume, see :func:`kind_of`), not their adjustment, not whether a
    missing one is a hole.

    Args:
        downloader: any object with a ``get_ohlcv``; duck-typed.
        query: what is wanted.
        name: the vendor's name, for errors and provenance.
        make_sender: limits, repeats and counts the calls; without it there is one, as it is.

    Raises:
        NoDataError: it returned None or an empty frame.
        ResponseFormatError: it returned something that holds no bars.
        ForeignError: it raised something of its own.
        CircuitOpenError: it failed lately; it was not asked.
        DataError: it raised this, each time that it was asked.
    """
    symbol = query.instrument.spelling(name)
    start, end = from_ms(query.span.start), from_ms(query.span.end - 1)
    door = f"bars/{query.instrument.asset_class}/{query.timeframe}"
    table = call_own(
        lambda: _table(downloader.get_ohlcv(symbol, query.timeframe.label, start, end)),
        name,
        door,
        make_sender,
    )
    if not len(table):
        raise NoDataError(
            f"{name} has nothing for {symbol} {query.timeframe}", provider=name, symbol=symbol
        )
    return Fetched(
        table=table,
        vendor=name,
        kind=kind_of(downloader, query.instrument, query.timeframe),
        basis=Basis("unknown"),
        server_now_ms=query.now_ms,
        dense=False,
        dated=False,
    )


def kind_of(downloader: Any, instrument: Instrument, timeframe: Timeframe) -> Kind:
    """Return the kind of its bars: not known, but that they have no volume may be declared.

    It is by the volume ``none`` of a kind in its ``capabilities``, where it has any.
    """
    told = getattr(downloader, "capabilities", None)
    has_none = isinstance(told, Capabilities) and told.kind(instrument, timeframe).volume == "none"
    return Kind(session="", anchor="", volume="none" if has_none else "")


def _table(answer: Any) -> BarTable:
    """Read what came back; None and an empty frame are no rows.

    Raises:
        ResponseFormatError: it is no frame, or a frame without bars in it.
    """
    import pandas as pd  # loaded by those who need it

    from ..model.frame import table_of

    if answer is None:
        return BarTable.empty()
    if not isinstance(answer, pd.DataFrame):
        raise ResponseFormatError(f"get_ohlcv returned a {type(answer).__name__}, not a DataFrame")
    return BarTable.empty() if answer.empty else table_of(answer)
