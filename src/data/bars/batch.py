"""Many symbols in one call: every symbol is in the answer, whatever happened to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd

from ..errors import DataError, QueryError
from ..logs import carried, running, subject_of
from ..model.frame import empty_frame
from ..model.provenance import ATTRS_KEY, freeze
from ..model.query import BarsQuery
from .request import RequestParser, Wishes
from .service import BarsService

log = logging.getLogger("onetape.routing")

_WORKERS = 4
_Get = Callable[[BarsQuery], pd.DataFrame | None]


class BatchService:
    """Answers for many symbols. Thread-safe.

    What is held is read in the caller's thread, one symbol after another: a switch of threads takes
    longer than the answer. What must be fetched, or inflated first, goes to a few threads.
    """

    def __init__(self, asking: RequestParser, bars: BarsService) -> None:
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
        try:
            wanted = list(dict.fromkeys(symbols))
        except TypeError as exc:
            raise QueryError(f"symbols must be a list of texts, not {symbols!r:.80}") from exc

        def by(get: _Get, symbol: str) -> pd.DataFrame | None:
            try:
                return get(self._asking.query(symbol, timeframe, bounds, wishes))
            except DataError as error:
                log.warning(
                    "no bars for %s in a batch: %s", symbol, error, extra={"symbol": str(symbol)}
                )
                return _failed(symbol, error, wishes.columns)

        with running(subject_of("", timeframe)):
            found = {symbol: by(self._bars.held, symbol) for symbol in wanted}
            others = [symbol for symbol, frame in found.items() if frame is None]
            fetched = _in_threads(partial(by, self._bars.get), others)
        return {s: fetched[s] if frame is None else frame for s, frame in found.items()}


def _in_threads(
    get: Callable[[str], pd.DataFrame | None], symbols: Sequence[str]
) -> dict[str, pd.DataFrame]:
    """Return symbol to frame, a few at a time; no thread is started for none."""
    if not symbols:
        return {}
    from concurrent.futures import ThreadPoolExecutor  # what is held needs no threads

    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="onetape-batch") as pool:
        frames = pool.map(carried(get), symbols)
        return {s: frame for s, frame in zip(symbols, frames, strict=True) if frame is not None}


def _failed(symbol: str, error: DataError, columns: Sequence[str]) -> pd.DataFrame:
    frame = empty_frame(columns)
    frame.attrs[ATTRS_KEY] = freeze(
        {
            "symbol": str(symbol),
            "rows": 0,
            "complete": False,
            "error": {"type": type(error).__name__, "message": str(error)},
        }
    )
    return frame
