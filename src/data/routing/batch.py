"""Many symbols in one call: every symbol is in the answer, whatever happened to it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pandas as pd

from ..errors import DataError, QueryError
from ..logs import Subject, carried, running
from ..model.frame import empty_frame
from ..model.provenance import ATTRS_KEY, freeze
from .asking import Asking, Wishes
from .service import BarsService

log = logging.getLogger("onetape.routing")

_WORKERS = 4


class BatchService:
    """Answers for many symbols with a bounded number of threads. Thread-safe."""

    def __init__(self, asking: Asking, bars: BarsService) -> None:
        self._asking = asking
        self._bars = bars

    def get(
        self, symbols: Sequence[str], timeframe: Any, bounds: tuple[Any, Any, Any], wishes: Wishes
    ) -> dict[str, pd.DataFrame]:
        """Return symbol to frame, in the order given; a failed symbol is an empty frame.

        The error of a failed symbol stands in ``attrs["onetape"]["error"]``.

        Raises:
            QueryError: an argument that all symbols share is wrong.
        """
        if isinstance(symbols, str):
            raise QueryError(f"symbols must be a list, not the text {symbols!r}")
        self._asking.check_shared(timeframe, bounds, wishes)
        wanted = list(dict.fromkeys(symbols))

        def one(symbol: str) -> pd.DataFrame:
            try:
                return self._bars.get(self._asking.query(symbol, timeframe, bounds, wishes))
            except DataError as error:
                log.warning("no bars for %s in a batch: %s", symbol, error,
                            extra={"symbol": str(symbol)})  # fmt: skip
                return _failed(symbol, error, wishes.columns)

        with (
            running(Subject()),
            ThreadPoolExecutor(_WORKERS, thread_name_prefix="onetape-batch") as pool,
        ):
            return dict(zip(wanted, pool.map(carried(one), wanted), strict=True))


def _failed(symbol: str, error: DataError, columns: Sequence[str]) -> pd.DataFrame:
    frame = empty_frame(columns)
    frame.attrs[ATTRS_KEY] = freeze(
        {"symbol": str(symbol), "rows": 0, "complete": False,
         "error": {"type": type(error).__name__, "message": str(error)}}
    )  # fmt: skip
    return frame
