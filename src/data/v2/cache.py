"""``get_prices``: the data manager's bars for programs that await Polars frames."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data_manager import DataManager, get_data_manager
from ..errors import DataError, QueryError, UnsupportedError
from ..model.provenance import ATTRS_KEY
from ..model.timeframe import Timeframe
from ..sources.vendor_source import recorded_error
from .asking import in_thread, prices
from .frames import has_inner_gap, prices_frame

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    import pandas as pd

    from ..polars import pl

__all__ = ["DataCache", "PriceFrames"]


class PriceFrames(dict[str, "pl.DataFrame | DataError"]):
    """The frames of a batch, or errors in their place.

    Attributes:
        without_gaps: Symbols whose answers have no gap between their first and last bar.
    """

    def __init__(self) -> None:
        super().__init__()
        self.without_gaps: set[str] = set()


class DataCache:
    """The data manager's bars as Polars frames, from its cache and, if missing there, from vendors.

    Constructing it neither opens a connection nor needs an event loop. Usable from several threads
    and event loops at once.

    Args:
        redis_client, db_session: Must be None: bars are kept in the files of the data manager.
        manager: Data manager to use; None means :func:`~src.data.get_data_manager`, called on
            first use.

    Raises:
        UnsupportedError: A client or a session is given.
        QueryError: The manager is not a data manager.
    """

    def __init__(
        self,
        redis_client: None = None,
        db_session: None = None,
        *,
        manager: DataManager | None = None,
    ) -> None:
        if redis_client is not None or db_session is not None:
            raise UnsupportedError(
                "DataCache has no tiers in Redis or a database; bars are in the manager's files",
                hint="DataCache()",
            )
        if manager is not None and not isinstance(manager, DataManager):
            raise QueryError(f"manager is a {type(manager).__name__}, not a data manager")
        self._given = manager

    def __repr__(self) -> str:
        return "<DataCache>" if self._given is None else f"<DataCache of {self._given!r}>"

    @property
    def manager(self) -> DataManager:
        """The data manager in use."""
        return self._given or get_data_manager()

    async def get_prices(
        self, symbol: str, timeframe: str, start: date | datetime, end: date | datetime
    ) -> pl.DataFrame:
        """Return bars from ``start`` to ``end``, both inclusive, as :func:`.prices_frame` does.

        Any part of a range that was fetched before is answered from the cache. If no bars
        exist, the frame is empty.

        Raises:
            DataError: As for ``get_ohlcv``.

        Warns:
            IncompleteDataWarning: Bars are missing.
        """
        return await prices(self.manager, symbol, timeframe, start, end)

    async def get_prices_batch(
        self,
        symbols: Sequence[str],
        timeframe: str,
        start: date | datetime,
        end: date | datetime,
    ) -> PriceFrames:
        """Return each symbol's frame, or its error, in one call.

        Args:
            symbols: Symbols, each once in the result.
            timeframe, start, end: See :meth:`get_prices`.
        """
        manager = self.manager

        def ask() -> PriceFrames:
            frames = manager.get_ohlcv_batch(list(symbols), timeframe, start, end, progress=_quiet)
            return _shaped(manager, frames, Timeframe.parse(timeframe))

        return await in_thread(ask, looks=True)


def _quiet(_: object) -> None:
    """Show no progress."""


def _shaped(
    manager: DataManager, frames: dict[str, pd.DataFrame], timeframe: Timeframe
) -> PriceFrames:
    """Return a batch's frames as :func:`.prices_frame` does, or errors in their place."""
    found, like = PriceFrames(), None
    for symbol, frame in frames.items():
        provenance = frame.attrs[ATTRS_KEY]
        error = provenance.get("error")
        if error is not None and error["reason"] != "no_data":
            found[symbol] = recorded_error(error, symbol)
            continue
        is_share = manager.provider_selector.instrument(symbol).asset_class == "stock"
        shaped = prices_frame(frame, timeframe, is_share=is_share, like=like)
        found[symbol], like = shaped, (frame, shaped)
        if len(frame) and not has_inner_gap(provenance):
            found.without_gaps.add(symbol)
    return found
