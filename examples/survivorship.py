"""Survivorship bias in one number: the first day's members and today's, over the same days.

    python examples/survivorship.py

The market has 24 synthetic stocks, whose prices are random without a trend. Its index contains the
twelve largest and is revised twice a year: falling stocks leave, rising ones join, and those that
lose three quarters of their value are delisted. Equal amounts in the members of the first day earn
as much as the market. Equal amounts in today's members, which nobody could have known then, earn a
multiple of that. Needs the extra `db`; queries no vendor.
"""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from onetape import DataManager, IncompleteDataWarning
from onetape.db import Database, StoredUniverses

FIRST, LAST = "2015-01-02", "2024-12-31"
SYMBOLS = [f"Q{letter}X" for letter in "ABCDEFGHIJKLMNOPQRSTUVWY"]
LISTED = 12
RULES = """providers:
  local: {{folder: {folder}, pattern: "{{symbol}}-{{timeframe}}.csv", adjustment: raw, unit: USD}}
"""


def make_market(root: Path) -> DataManager:
    """Return a data manager that reads synthetic bars from CSV files, with a universe ``index``."""
    (root / "rules.yaml").write_text(RULES.format(folder=root))
    manager = DataManager(cache_dir=root / "cache", config_path=root / "rules.yaml")
    days = manager.sessions(SYMBOLS[0], FIRST, LAST).index
    steps = np.random.default_rng(0).normal(0.0, 0.022, (len(days), len(SYMBOLS)))
    closes = pd.DataFrame(100 * np.exp(np.cumsum(steps - 0.00024, axis=0)), days, SYMBOLS).round(2)
    is_delisted = (closes < 25).cummax()  # delisted from the next session on
    closes = closes.mask(is_delisted.shift(fill_value=False))
    for symbol, column in closes.items():
        bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), column.dropna()))
        bars.assign(volume=1000).to_csv(root / f"{symbol}-1d.csv", index_label="timestamp")
    (root / "index.csv").write_text(_membership(closes))
    manager.universes = universes = StoredUniverses(
        Database(f"sqlite:///{root}/onetape.db"), manager
    )
    universes.import_file("index", root / "index.csv")
    return manager


def panel(manager: DataManager, as_of: str | None) -> pd.DataFrame:
    """Return all bars of the members on a day (None: today's), with columns (field, symbol)."""
    return manager.get_ohlcv_batch(
        None, "1d", FIRST, LAST, universe="index", as_of=as_of, layout="wide",
        provider="local", adjustment="raw",
    )  # fmt: skip


def value(bars: pd.DataFrame) -> pd.Series:
    """Return the value of equal amounts in each member, starting at 1; the last price is kept."""
    closes = bars["close"].ffill()
    return (closes / closes.iloc[0]).mean(axis=1)


def _membership(closes: pd.DataFrame) -> str:
    """Return the index as lines ``symbol,from,to``: its members are the largest listed stocks."""
    revisions = closes.groupby([closes.index.year, closes.index.month > 6]).head(1)
    members = revisions.rank(axis=1, ascending=False, method="first") <= LISTED
    members = members.reindex(closes.index).ffill().astype(bool) & closes.notna()
    lines = ["symbol,from,to"]
    for symbol, is_member in members.items():
        edges = is_member.index[is_member != is_member.shift(fill_value=False)].strftime("%Y-%m-%d")
        ends = [*edges[1::2], ""][: len(edges[::2])]
        lines += [f"{symbol},{begin},{end}" for begin, end in zip(edges[::2], ends, strict=True)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the example."""
    warnings.simplefilter(
        "ignore", IncompleteDataWarning
    )  # the days without bars are printed below
    with tempfile.TemporaryDirectory() as folder:
        manager = make_market(Path(folder))
        for as_of in (FIRST, None):
            bars = panel(manager, as_of)
            proof = bars.attrs["onetape"]["universe"]
            print(f"members of {as_of or 'today'}: {value(bars).iloc[-1] - 1:+.1%}")
            for symbol, runs in proof["without_bars"].items():
                print(
                    f"    {symbol}: no bar in {runs[0]['sessions']} sessions from {runs[0]['first']} on"
                )


if __name__ == "__main__":
    main()
