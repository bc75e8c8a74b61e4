"""The wide layout of a batch: its frames side by side on one index."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Literal, TypedDict, get_args

import numpy as np
import pandas as pd

from ....errors import IncompleteDataWarning, QueryError
from ..identity.kind import AskedAdjustment, AskedSession
from ..request.query import EXTRA_COLUMNS, ExtraColumn
from ..words.caller import warn_user
from .frame import REQUIRED_COLUMNS, empty_frame
from .member_frames import MemberFrames
from .provenance import ATTRS_KEY, freeze

# Form of a batch's answer: a dict of frames, or one frame.
Layout = Literal["dict", "wide"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
LEVELS = ("field", "symbol")


class BatchWishes(TypedDict, total=False):
    """Keyword arguments of ``get_ohlcv_batch`` other than ``layout`` and a universe, for type checkers."""

    start: datetime | date | timedelta | str | None
    end: datetime | date | timedelta | str | None
    refresh: bool
    bars: int | None
    period: str | timedelta | None
    provider: str | None
    adjustment: AskedAdjustment
    closed_by: datetime | date | timedelta | str | None
    include_forming: bool
    offline: bool
    strict: bool
    columns: Sequence[ExtraColumn]
    timeout: float | None
    session: AskedSession
    progress: Callable[[Any], object] | None


def check_layout(layout: object) -> None:
    """Reject an unknown layout.

    Raises:
        QueryError: The layout is unknown.
    """
    if layout not in LAYOUTS:
        raise QueryError(f"unknown layout {layout!r}; use one of {', '.join(LAYOUTS)}")


def wide_frame(frames: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Combine the frames of a batch into one, with columns (field, symbol) and all timestamps.

    Fields have the order of a frame's columns, with ``adj_close`` if any symbol has it. Symbols
    have the order of ``frames``, and each symbol has every field. In a row for which a symbol has
    no bar, numbers are NaN, strings are missing, times are NaT, and ``is_final`` (then of dtype
    ``boolean``) is NA. ``attrs["onetape"]`` contains ``symbols`` (maps each symbol to the
    provenance of its frame), ``failed`` (symbols whose provenance has an ``error``), ``complete``
    (whether every frame is complete) and, if the symbols are the members of a universe,
    ``universe``.

    Warns:
        IncompleteDataWarning: Symbols failed; issued once, naming all of them.
    """
    symbols = [str(symbol) for symbol in frames]
    parts = list(frames.values())
    # Most symbols in a batch have the same timestamps, which are merged only once.
    indexes = [frame.index.to_numpy() for frame in parts or [empty_frame()]]
    each = {stamps.tobytes(): stamps for stamps in indexes}
    stamps = np.unique(np.concatenate([*each.values()]))
    index = pd.DatetimeIndex(stamps, name="timestamp")
    adjusted = ["adj_close"] if any("adj_close" in frame for frame in parts) else []
    numbers = [*REQUIRED_COLUMNS, *adjusted]
    values = np.full((len(numbers), len(parts), len(stamps)), np.nan)
    for number, frame in enumerate(parts):
        rows = np.searchsorted(stamps, frame.index.to_numpy())
        for field, name in enumerate(numbers):
            if name in frame:
                values[field, number, rows] = frame[name].to_numpy()
    columns = pd.MultiIndex.from_product([numbers, symbols], names=LEVELS)
    rows_first = values.reshape(len(columns), len(stamps)).T
    wide = pd.DataFrame(rows_first, index=index, columns=columns, copy=False)
    # In the order requested, which is that of every frame.
    for name in (str(name) for name in (parts[0] if parts else ()) if name in EXTRA_COLUMNS):
        wide = pd.concat([wide, _extra(name, symbols, parts, index)], axis=1)
    of_universe = {"universe": frames.as_dict()} if isinstance(frames, MemberFrames) else {}
    wide.attrs[ATTRS_KEY] = freeze(_provenance(symbols, parts) | of_universe)
    return wide


def _extra(
    name: str, symbols: list[str], parts: list[pd.DataFrame], index: pd.DatetimeIndex
) -> pd.DataFrame:
    """Return one extra column for all symbols; booleans get a dtype that allows missing values."""
    is_truth = name == "is_final"
    columns = (frame[name].astype("boolean") if is_truth else frame[name] for frame in parts)
    columns_by_number = {number: column.reindex(index) for number, column in enumerate(columns)}
    return pd.DataFrame(columns_by_number).set_axis(
        pd.MultiIndex.from_product([[name], symbols], names=LEVELS), axis=1
    )


def _provenance(symbols: list[str], parts: list[pd.DataFrame]) -> dict[str, Any]:
    by_symbol = {symbol: df.attrs[ATTRS_KEY] for symbol, df in zip(symbols, parts, strict=True)}
    failed = [symbol for symbol, facts in by_symbol.items() if "error" in facts]
    if failed:
        first = by_symbol[failed[0]]["error"]
        warn_user(
            f"{len(failed)} of {len(symbols)} symbols have no bars: {', '.join(failed[:20])}"
            f"{', ...' if failed[20:] else ''}; {failed[0]}: {first['message']}",
            IncompleteDataWarning,
        )
    complete = all(facts["complete"] for facts in by_symbol.values())
    return {"symbols": by_symbol, "failed": failed, "complete": complete}
