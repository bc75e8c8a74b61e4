"""Ten scripts in the manner of public ones that use yfinance: only their import is another.

Which names, arguments and columns such scripts use was looked up in public repositories; the scripts
are written for this test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.core.cache.counts import FULL
from tests.programs import PYTHONPATH

from .conftest import Both

pytestmark = pytest.mark.filterwarnings("ignore")

_CLOSES = """
data = yf.download("ACME", "2024-05-01", "2024-06-01")
result = data.Close
"""
_RSI = """
df = yf.download("ACME", period="1y", interval="1d", auto_adjust=True)
if df.empty:
    raise ValueError("no data")
if isinstance(df.columns, pd.MultiIndex):
    df.columns = df.columns.get_level_values(0)
change = df["Close"].diff()
gain, loss = (side.clip(lower=0).rolling(14).mean() for side in (change, -change))
result = 100 - 100 / (1 + gain / loss)
"""
_WATCHLIST = """
history = yf.download(tickers=["ACME", "DIVI"], period="6mo", interval="1d", auto_adjust=False,
                      group_by="Ticker", threads=True, progress=False)
frames = {one: history[one].dropna(how="all") for one in ("ACME", "DIVI")}
result = pd.DataFrame({one: frame["Adj Close"].pct_change().tail(20) for one, frame in frames.items()})
"""
_STACKED = """
data = yf.download(tickers=["ACME", "DIVI"], group_by="ticker", period="1mo")
long = data.stack(level=0).rename_axis(["Date", "Ticker"]).reset_index(level=1)
result = long.sort_values(["Ticker", "Date"])[["Ticker", "Close", "Volume"]]
"""
_FLAT = """
data = yf.download(["ACME", "DIVI"], "2024-05-01", "2024-06-01")
data.columns = data.columns.map("_".join)
result = data.apply(pd.to_numeric, errors="coerce")
"""
_MINUTES = """
ticker = yf.Ticker("ACME")
live = ticker.history(period="1d", interval="5m")
live.reset_index(inplace=True)
result = live[["Datetime", "Open", "Close", "Volume"]]
"""
_INCOME = """
ticker = yf.Ticker("ACME")
hist = ticker.history(period="max")
paid = ticker.dividends
per_year = paid.groupby(paid.index.year).sum()
splits = [{"date": day.to_pydatetime(), "ratio": ratio} for day, ratio in ticker.splits.to_dict().items()]
result = pd.DataFrame({"paid": per_year, "close": hist["Close"].groupby(hist.index.year).last()})
assert len(splits) == 2
"""
_RETURNS = """
closes = yf.download(["ACME", "DIVI", "NEWS.L"], start="2024-01-01", progress=False)["Close"]
result = closes.ffill().pct_change().dropna().corr()
"""
_PRICE = """
info = yf.Ticker("ACME").fast_info
result = pd.Series({"price": info["lastPrice"], "high": info.day_high, "currency": info["currency"]})
"""
_LOOP = """
rows = {}
for symbol in ["ACME", "NOPE", "DIVI"]:
    try:
        df = yf.Ticker(symbol).history(period="5d")
        if df.empty:
            continue
        rows[symbol] = df["Close"].iloc[-1]
    except Exception as error:
        rows[symbol] = repr(error)
result = pd.Series(rows)
"""
SCRIPTS = {
    "closes of one": _CLOSES, "an index of strength": _RSI, "a watchlist": _WATCHLIST,
    "tickers below each other": _STACKED, "columns with one name": _FLAT, "minutes": _MINUTES,
    "what was paid": _INCOME, "correlations": _RETURNS, "a price": _PRICE, "a loop": _LOOP,
}  # fmt: skip


def run(script: str, line: str) -> Any:
    """Run a script below the line that imports ``yf``."""
    names: dict[str, Any] = {}
    exec(f"import pandas as pd\n{line}\n{script}", names)
    return names["result"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_runs_with_one_other_line(name: str, both: Both) -> None:
    ours = run(SCRIPTS[name], "from onetape import yf")
    assert len(ours)
    if FULL and name != "a price":  # yfinance looks for it around the true time
        theirs = run(SCRIPTS[name], "import yfinance as yf")
        compare = (
            pd.testing.assert_series_equal if ours.ndim == 1 else pd.testing.assert_frame_equal
        )
        compare(ours, theirs)


def test_ten_yfinance_scripts_are_tested() -> None:
    assert len(SCRIPTS) == 10


def test_the_yf_import_works_without_yfinance_and_onetape_does_not_load_pandas(
    tmp_path: Path,
) -> None:
    code = (
        "import sys; sys.modules['yfinance'] = None\n"
        "import onetape\n"
        "assert not {'pandas', 'numpy', 'onetape.yf', 'onetape.data.doors.yf'} & set(sys.modules)\n"
        "from onetape import yf\n"
        "print(callable(yf.download), 'curl_cffi' in sys.modules)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=200,
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
    )  # fmt: skip
    assert ran.stdout == "True False\n", ran.stderr
