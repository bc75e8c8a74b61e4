"""The digests of receipts: prices as integers on a grid, actions as text, months. Pure.

``docs/receipt-format.md`` describes them for checkers in other languages.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from fractions import Fraction
from itertools import islice, product
from struct import pack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...core.model.market.bars import BarTable

# Half a cell must be larger than this many steps of float32 at the highest price.
_STEPS = 8
_FINEST, _COARSEST = 15, -9
# Fewer bars or actions than this have no digest of their own ...
FEWEST = 5
# ... nor have bars with fewer possibilities than 2 to this power, which could be tried out.
_LEAST_BITS = 128
# Dividends are compared in ten-thousandths, volumes in units; further from an integer than this, exactly.
_PAID, _NEAR_PAID, _NEAR_VOLUME = 4, 0.4, 0.01
_MOST_EXACT = float(1 << 53)
_MONTH_BYTES = 8
# Both cells are tried for this many prices at the edge of one.
_MOST_EDGES = 10
Ints = NDArray[np.int64]


class Paid(NamedTuple):
    """A split or a dividend: ex-date, ``split`` or ``dividend``, and its ratio or its amount as paid."""

    day: date
    type: str
    value: Fraction

    def __str__(self) -> str:
        value = self.value if self.type == "split" else float(self.value)
        return f"{self.type} of {value} on {self.day}"


class Grid(NamedTuple):
    """The grid of a series' values, as a receipt's line states it.

    Attributes:
        decimals: Decimals of prices.
        is_exact: Whether prices are too close to the edges of cells, so that their bits count.
        has_fractions: Whether the bits of volumes count, because they are not all integers.
    """

    decimals: int
    is_exact: bool
    has_fractions: bool

    def __str__(self) -> str:
        return "exact " * self.is_exact + self.words

    @property
    def words(self) -> str:
        """The grid itself, without ``exact``."""
        return f"raw/{self.decimals}" + " exact-volume" * self.has_fractions

    @classmethod
    def parse(cls, text: str) -> Grid:
        """Return the grid that a line states."""
        words = text.split()
        return cls(
            int(words[words[0] == "exact"][4:]), words[0] == "exact", "exact-volume" in words
        )


def finest_of(table: BarTable) -> tuple[int, float]:
    """Return the most decimals whose cells are wide enough for the highest price, and the least half cell."""
    top = float(np.max(np.abs(np.concatenate(table.values()[:4])), initial=0.0))
    step = _STEPS * float(np.spacing(np.float32(top)))
    finest = range(_FINEST, _COARSEST, -1)
    return next((d for d in finest if 0.5 * 10.0**-d > step), _COARSEST), step


def grid_of(table: BarTable) -> Grid:
    """Return the grid for bars: the finest one if no price is near the edge of a cell.

    Else it is the next one, if all prices are in the middle of its cells, so that it hides nothing; else
    their bits count.
    """
    prices, (finest, step) = np.concatenate(table.values()[:4]), finest_of(table)
    volume = table.volume
    whole = (np.abs(volume - np.rint(volume)) <= _NEAR_VOLUME) & (np.abs(volume) < _MOST_EXACT)
    coarser = max(finest - 1, _COARSEST)
    is_apart = np.all(_off_middle(prices, finest) < 0.5 - _scaled(step, finest))
    is_coarser = not is_apart and np.all(_off_middle(prices, coarser) <= _scaled(step, coarser))
    decimals = coarser if is_coarser else finest
    return Grid(decimals, not (is_apart or is_coarser), not bool(whole.all()))


def readings(table: BarTable, grid: Grid) -> Iterator[BarTable]:
    """Yield bars, then those with some of the prices near the edge of a cell in the other cell."""
    yield table
    prices, (_, step) = np.concatenate(table.values()[:4]), finest_of(table)
    is_near = _off_middle(prices, grid.decimals) >= 0.5 - _scaled(step, grid.decimals)
    near = np.flatnonzero(is_near)
    choices = product((False, True), repeat=len(near) if len(near) <= _MOST_EDGES else 0)
    for chosen in islice(choices, 1, None):
        at, moved = near[np.array(chosen, bool)], prices.copy()
        scaled = _scaled(prices[at], grid.decimals)
        cells = np.floor(scaled + 0.5)
        moved[at] = _scaled(cells + np.where(scaled < cells, -1, 1), -grid.decimals)
        yield BarTable.of_columns(table.stamps, [*np.split(moved, 4), table.volume])


def _off_middle(prices: NDArray[np.float64], decimals: int) -> NDArray[np.float64]:
    """Return how far prices are from the middle of their cells, in cells."""
    scaled = _scaled(prices, decimals)
    return np.abs(scaled - np.rint(scaled))


def _scaled(values: NDArray[np.float64] | float, decimals: int) -> NDArray[np.float64]:
    power = 10.0 ** abs(decimals)
    return np.asarray(values) * power if decimals >= 0 else np.asarray(values) / power


def _cells(values: NDArray[np.float64], decimals: int) -> Ints:
    return np.floor(_scaled(values, decimals) + 0.5).astype("<i8")


def _bits(values: NDArray[np.float64]) -> Ints:
    """Return the bits of values, with one NaN and one zero."""
    return np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").view("<i8")


def _rows(table: BarTable, grid: Grid) -> Ints:
    """Return six integers for each bar: stamp, open, high, low, close, volume."""
    prices = table.values()[:4]
    exact = grid.is_exact or grid.has_fractions
    volume = _bits(table.volume) if exact else np.rint(table.volume).astype("<i8")
    values = [_bits(p) if grid.is_exact else _cells(p, grid.decimals) for p in prices]
    return np.column_stack([table.stamps, *values, volume]).astype("<i8")


def has_digest(table: BarTable, grid: Grid) -> bool:
    """Return whether bars have a digest: enough of them, and not to be found by trying.

    Counted are the ways to choose open, high, low and close of each bar between the lowest and the
    highest price, in steps that all prices share. Volumes are not counted.
    """
    if len(table) < FEWEST:
        return False
    cells = _cells(np.concatenate(table.values()[:4]), grid.decimals)
    offsets = cells - cells.min()
    steps = int(offsets.max()) // max(1, int(np.gcd.reduce(offsets))) + 1
    ways = steps * (steps + 1) ** 2 * (steps + 2) // 12
    return len(table) * math.log2(ways) >= _LEAST_BITS


def digests_of(table: BarTable, grid: Grid, joined: Sequence[Paid] | None) -> tuple[str, ...]:
    """Return the digests of bars: of exact values if the grid says so, on the grid, of its prices alone.

    ``joined`` are actions that are part of the digests, or None.
    """
    on_grid = grid._replace(is_exact=False)
    exact = (_digest(table, grid, joined),) if grid.is_exact else ()
    return (*exact, _digest(table, on_grid, joined), _digest(table, on_grid, joined, "prices"))


def _digest(table: BarTable, grid: Grid, joined: Sequence[Paid] | None, only: str = "") -> str:
    words = "exact" if grid.is_exact else f"raw/{grid.decimals} prices" if only else grid.words
    rows = _rows(table, grid)
    rows = np.ascontiguousarray(rows[:, :5]) if only else rows
    data = f"onetape-bars-1 {words}\n".encode() + rows.tobytes()
    return sha256(data if joined is None else data + actions_text(joined))


def sha256(data: bytes) -> str:
    """Return the digest of bytes as ``sha256:`` and 64 hex digits."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def actions_text(actions: Iterable[Paid]) -> bytes:
    """Return the text of actions, a line for each, ascending; what their digest is over."""
    rows = sorted(actions)
    amounts = [float(a.value) * 10.0**_PAID for a in rows if a.type == "dividend"]
    on_grid = all(abs(amount - round(amount)) <= _NEAR_PAID for amount in amounts)
    lines = ["onetape-actions-1" + " exact" * (not on_grid)]
    for row in rows:
        value = f"{row.value.numerator}/{row.value.denominator}"
        if row.type == "dividend" and on_grid:
            value = str(math.floor(float(row.value) * 10.0**_PAID + 0.5))
        elif row.type == "dividend":
            value = pack(">d", float(row.value)).hex()
        lines.append(f"{row.day} {row.type} {value}")
    return "".join(f"{line}\n" for line in lines).encode()


def months_of(table: BarTable, grid: Grid) -> list[bytes]:
    """Return eight bytes for each month (UTC) from the first bar's to the last's.

    They are the first of the month's digest, or zeros if it has none.
    """
    months = table.stamps.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    found = []
    for month in range(int(months[0]), int(months[-1]) + 1):
        part = table.take(months == month)
        digest = _digest(part, grid, None) if has_digest(part, grid) else "sha256:" + "0" * 64
        found.append(bytes.fromhex(digest[7:])[:_MONTH_BYTES])
    return found


def month_of(ms: int) -> int:
    """Return the number of the month (UTC) of a time in milliseconds, counted from January 1970."""
    return int(np.datetime64(ms, "ms").astype("datetime64[M]").astype(np.int64))
