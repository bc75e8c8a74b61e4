"""Series for tests of recipes: recorded and made ones, with a fall, with holes, and across a block."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from src.data.core.calendars.calendar import named_calendar
from src.data.core.model.time.instant import HOUR_MS
from src.data.core.model.time.timeframe import Timeframe
from src.data.features.blocks import Tape, block_at
from src.data.features.features import _session_columns
from src.data.features.recipes import RecipeUse, parse_recipe
from tests.core.prices.judgement.market import MARKET, load

HOURS = Timeframe.parse("1h")
COLUMNS = ("open", "high", "low", "close", "volume")
# Every recipe, with parameters off their defaults.
RECIPES = (
    "sma:7", "wma:9", "volume:5", "change:3", "ret:4", "logret:2", "vol:11", "zscore:13", "close",
    "bbands:17,2.5", "donchian:19", "willr:9", "stoch:11,4", "cci:13", "mfi:9", "aroon:12", "dow",
    "session_minute", "ema:9", "rsi:7", "macd:5,14,4", "atr:6", "adx:5", "vwap:session",
    "obv:session", "drawdown:session",
)  # fmt: skip
USES = {text: parse_recipe(text) for text in RECIPES}


def walk(count: int, seed: int = 5) -> dict[str, np.ndarray]:
    """Return bars that wander, as float64 columns."""
    dice = np.random.default_rng(seed)
    closes = 100 * np.exp(np.cumsum(dice.normal(0, 0.01, count)))
    opens = np.concatenate([[100.0], closes[:-1]])
    high = np.maximum(opens, closes) * np.exp(dice.uniform(0, 0.01, count))
    low = np.minimum(opens, closes) * np.exp(-dice.uniform(0, 0.01, count))
    return dict(
        zip(COLUMNS, (opens, high, low, closes, dice.integers(0, 5_000, count) * 1.0), strict=True)
    )


def recorded(count: int) -> dict[str, np.ndarray]:
    """Return recorded bars where they are at hand, else bars that wander."""
    if not MARKET.is_dir():
        return walk(count, 8)
    table = load("XRPUSDT-PERP-1h-freqtrade").table
    columns = {name: np.ascontiguousarray(getattr(table, name)[:count]) for name in COLUMNS}
    repeated = -(-count // len(columns["close"]))
    return {name: np.tile(column, repeated)[:count] for name, column in columns.items()}


def fallen(count: int) -> dict[str, np.ndarray]:
    """Return bars that lose eight orders of magnitude within two bars, as a coin did."""
    columns = walk(count, 13)
    for name in COLUMNS[:4]:
        columns[name][count // 2 :] *= 1e-8
    columns["high"][count // 2] = columns["high"][count // 2 - 1]
    return columns


def tape(
    columns: dict[str, np.ndarray],
    holes: Iterable[int] = (),
    *,
    before: float = 0.4,
    first: int = 0,
) -> Tape:
    """Return hours in a row, of which a block ends after a fraction of them."""
    count = len(columns["close"])
    end = block_at(HOURS, 1_600_000_000_000).end
    stamps = end + HOUR_MS * (np.arange(count) - int(count * before))
    calendar = named_calendar("24/7")
    assert calendar is not None
    own = columns | _session_columns(calendar, HOURS, stamps)
    return Tape(HOURS, stamps, own, {hole: int(stamps[hole]) for hole in holes}, first=first)


def with_holes(count: int) -> Tape:
    """Return bars with missing ones and with values that are not finite, on both sides of a block's end."""
    columns, edge = walk(count, 21), int(count * 0.4)
    for name, row in (
        ("close", edge + 90),
        ("high", edge - 60),
        ("volume", edge + 200),
        ("close", count // 10),
    ):
        columns[name][row] = np.nan
    return tape(columns, (edge - 20, edge + 40, edge + 41, count // 4, count - 50))


def part(whole: Tape, start: int, stop: int, first: int) -> Tape:
    """Return some bars of a tape, of which the answer begins at a position of the whole tape."""
    columns = {name: column[start:stop] for name, column in whole.columns.items()}
    holes = {hole - start: end for hole, end in whole.holes.items() if start <= hole < stop}
    return Tape(whole.timeframe, whole.stamps[start:stop], columns, holes, first=first - start)


def needed(use: RecipeUse, whole: Tape, first: int) -> int:
    """Return the position of the first bar that a request from a position would read."""
    block = block_at(whole.timeframe, int(whole.stamps[first]))
    start = first if use.is_free else int(whole.stamps.searchsorted(block.start))
    return max(0, start - use.lead_in(whole.timeframe))
