"""Fingerprint and origin of a bar frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import QueryError
from ..display.texts import InLines, Line, bounded
from ..market.bars import fingerprint_of
from ..request.query import EXTRA_COLUMNS
from ..stored.reasons import sentence
from ..words.printable import printable
from .provenance import ATTRS_KEY, thaw

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

_NOT_BARS = {*EXTRA_COLUMNS, "adj_close", "contract"}


def fingerprint(df: pd.DataFrame | Mapping[str, pd.DataFrame]) -> str:
    """Return a digest of a frame's bars: timestamps, column names and every bit of every value.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> fingerprint(bars) == fingerprint(bars.copy())
        True

    Two frames have the same digest if and only if they contain the same bars. The digest of a batch
    covers the symbol and the digest of each of its frames, regardless of their order. The digest
    does not depend on where and when the bars were fetched, so the columns that describe this
    (``source``, ``state``, ``is_final``, ``fetched_at``, and ``contract`` of a continuous series)
    are left out. ``adj_close`` is also left out, because it is computed from the closes and all later
    dividends, and its last digits depend on when the dividends were fetched. ``-0.0`` and ``0.0``
    differ; all NaNs are equal.

    The result is ``sha256:`` and 64 hex digits. The hash covers the version line
    ``onetape-frame-2``, then for each column its name, a line feed, and its values as little-endian
    64-bit numbers, with the timestamps (milliseconds UTC) first.

    Raises:
        ValueError: The frame has no ``DatetimeIndex``, or has a column that is not numeric.
    """
    if isinstance(df, Mapping):
        digest = hashlib.sha256(b"onetape-batch-1\n")
        for name in sorted(df, key=str):
            digest.update(f"{name}\n{fingerprint(df[name])}\n".encode())
        return f"sha256:{digest.hexdigest()}"
    import pandas as pd  # not needed to import a module that may make a fingerprint

    if not isinstance(df.index, pd.DatetimeIndex):
        raise ValueError(f"a frame of bars needs a DatetimeIndex, not {type(df.index).__name__}")
    index = df.index.tz_convert("UTC") if df.index.tz is not None else df.index
    names = (column for column in df.columns if _field(column) not in _NOT_BARS)
    columns = ((name, _numbers(df[name])) for name in names)
    return fingerprint_of(np.asarray(index.as_unit("ms").asi8), columns)


def _numbers(column: pd.Series) -> NDArray[np.float64]:
    import pandas as pd

    try:
        return pd.to_numeric(column).to_numpy(np.float64)
    except (ValueError, TypeError) as exc:
        raise ValueError(
            f"the column {column.name!r} is not numeric: {exc}; leave it out of the frame"
        ) from exc


def _field(column: Any) -> Any:
    """Return a column's name or, for a wide frame's (field, symbol), the field."""
    return column[0] if isinstance(column, tuple) else column


@dataclass(frozen=True, repr=False)
class Description(InLines):
    """A description of where a frame came from, for people and programs.

    Attributes:
        told: Provenance as plain dicts and lists; empty if the frame has none.
        changed: Description of how the frame differs from the original answer; empty if it does
            not.
        fingerprint: Fingerprint of the frame in its current state.
    """

    told: dict[str, Any]
    changed: str
    fingerprint: str

    def to_json(self, indent: int | None = None) -> str:
        """Return the description as JSON text."""
        return json.dumps(
            {"provenance": self.told, "changed": self.changed, "fingerprint": self.fingerprint},
            indent=indent,
        )

    @property
    def title(self) -> str:
        """Always empty, because the first line already names the series."""
        return ""

    def __str__(self) -> str:
        # Not wrapped at any width, so that a fingerprint can be copied whole.
        return printable("\n".join(f"{name:12} {value}" for name, value in bounded(self.lines())))

    def lines(self) -> Iterator[Line]:
        """Yield the lines to display as (label, text) pairs."""
        yield from self._lines()

    def _lines(self) -> list[Line]:
        if not self.told:
            return [("provenance", "this frame has none"), ("bars", self.fingerprint)]
        facts = self.told
        if "symbols" in facts:
            each = [(name, extent_of(answer)) for name, answer in facts["symbols"].items()]
            lines = [("complete", "yes" if facts["complete"] else "no"), *each]
            lines += [("changed", self.changed)] if self.changed else []
            return [*lines, ("bars", self.fingerprint)]
        if "contracts" in facts:
            lines = [("continuous", f"{facts['adjustment']}, {_extent(facts)}")]
            lines += [("complete", "yes" if facts["complete"] else "no")]
            for name, answer in facts["contracts"].items():
                lines += [(name, extent_of(answer) if "rows" in answer else "no provenance")]
            lines += [("roll", f"{r['at']}: {r['from']} to {r['to']}") for r in facts["rolls"]]
            lines += [("changed", self.changed)] if self.changed else []
            return [*lines, ("bars", self.fingerprint)]
        lines = [
            ("series", f"{facts['symbol']} {facts['timeframe']}, {facts['adjustment']} prices"),
            ("answer", _extent(facts)),
            ("complete", "yes" if facts["complete"] else "no"),
        ]
        if facts.get("error"):
            lines += [("error", f"{facts['error']['type']}: {facts['error']['message']}")]
        lines += [("made up", "invented bars, not from a market")] if facts.get("made_up") else []
        lines += [("sample", "real bars of the past, not fetched from a vendor")] * bool(
            facts.get("sample")
        )
        lines += [("closed by", facts["closed_by"])] if facts.get("closed_by") else []
        lines += [(name, facts[name][:10]) for name in ("listed", "ended") if name in facts]
        lines += [("from", _span(span)) for span in facts["spans"]]
        lines += [
            ("lacking", f"{g['start']} .. {g['end']}: {sentence(g['reason'])}")
            for g in facts["gaps"]
        ]
        more = facts.get("gaps_total", 0) - len(facts["gaps"])
        lines += [("lacking", f"and {more} more gaps")] if more > 0 else []
        lines += [("problem", text) for text in facts.get("problems", ()) if not facts["complete"]]
        lines += [("substitute", facts["substitute"])] if facts.get("substitute") else []
        lines += [("changed", self.changed)] if self.changed else []
        return [*lines, ("bars", self.fingerprint)]


def describe(df: pd.DataFrame | Mapping[str, pd.DataFrame]) -> Description:
    """Describe where ``df`` came from, and how it differs from the original answer.

    Examples:
        >>> bars = manager.get_ohlcv("AAPL", "1d", start="2012-01-03", end="2012-01-05", provider="demo")
        >>> describe(bars).changed
        ''

    The result describes the original answer, and ``changed`` describes how ``df`` differs from it,
    because pandas copies provenance to derived frames unchanged, or drops it. A batch is described
    symbol by symbol.

    Raises:
        ValueError: The argument is not a frame of bars.
    """
    if isinstance(df, Mapping):
        each = {name: describe(frame) for name, frame in df.items()}
        stated = {name: p.told for name, p in each.items() if p.told}
        is_complete = len(stated) == len(each) and all(p["complete"] for p in stated.values())
        changed = "; ".join(f"{name}: {p.changed}" for name, p in each.items() if p.changed)
        facts = {"symbols": stated, "complete": is_complete} if stated else {}
        return Description(facts, changed, fingerprint(df))
    if not hasattr(df, "attrs"):
        raise QueryError(
            f"describe needs a frame of bars, not {df!r:.80}",
            hint=f"pass the result of get_ohlcv({str(df)[:80]!r}, '1d')",
        )
    provenance = thaw(df.attrs.get(ATTRS_KEY, {}))
    complete = provenance if {"spans", "symbols", "contracts"} & set(provenance) else {}
    return Description(complete, _difference(df, complete), fingerprint(df))


def _extent(facts: Mapping[str, Any]) -> str:
    if not facts["rows"]:
        return f"no bars: {sentence(facts['empty'])}" if "empty" in facts else "no bars"
    return f"{facts['rows']} bars, {facts['first']} .. {facts['last']}"


def extent_of(facts: Mapping[str, Any]) -> str:
    """Describe the bars in an answer for one symbol, or its error, as text."""
    error = facts.get("error")
    return f"{error['type']}: {error['message']}" if error else _extent(facts)


def _span(span: dict[str, Any]) -> str:
    return (
        f"{span['vendor']}, {span['rows']} bars {span['state']}, {span['start']} .. {span['end']}"
    )


def _difference(df: pd.DataFrame, provenance: dict[str, Any]) -> str:
    """Describe how a frame differs from the answer in its provenance; empty if it does not."""
    if not provenance:
        return ""
    if "symbols" in provenance:
        return _difference_of_wide(df, provenance["symbols"])
    if len(df) != provenance["rows"]:
        return f"this frame has {len(df)} rows, but the answer had {provenance['rows']}"
    ends = [_stamp(df.index[0]), _stamp(df.index[-1])] if len(df) else [None, None]
    if ends != [provenance["first"], provenance["last"]]:
        return f"this frame runs from {ends[0]} to {ends[1]}"
    return ""


def _difference_of_wide(df: pd.DataFrame, by_symbol: dict[str, dict[str, Any]]) -> str:
    """Describe how a wide frame's symbols and close counts differ from the original answer's."""
    if df.columns.nlevels == 1 or "close" not in df:
        return "this frame is part of the wide one"
    closes: Any = df["close"]
    counts = closes.count().to_dict()
    if list(counts) != list(by_symbol):
        return (
            f"this frame has the closes of {len(counts)} symbols, the answer had {len(by_symbol)}"
        )
    few = [name for name, facts in by_symbol.items() if counts[name] < facts["rows"]]
    return f"this frame has fewer bars of {', '.join(few[:5])} than the answer had" if few else ""


def _stamp(stamp: pd.Timestamp) -> str:
    naive = stamp.tz_convert("UTC").tz_localize(None) if stamp.tzinfo else stamp
    return f"{naive.isoformat(timespec='seconds')}Z"
