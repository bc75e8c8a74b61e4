"""The time of a job over several vendors, compared with the slowest of them on its own."""

from __future__ import annotations

from functools import cache
from itertools import islice, product
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from onetape.data.core.calendars.continuous import ContinuousCalendar
from onetape.data.core.calendars.exchange import ExchangeCalendar
from onetape.data.core.clock import ManualClock
from onetape.data.core.model.request.capabilities import Limits
from onetape.data.core.model.time.instant import to_ms
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.data_manager import DataManager
from onetape.data.jobs.fill.fill_job import Job
from onetape.data.jobs.fill.populate import fill
from onetape.data.jobs.fill.work_list import WorkItem

from .harness import Figure, Report, Row, sized
from .stage import FETCHED

SYMBOLS, ANSWER_S, _ROUNDS = sized(50, 100), 0.3, sized(2, 3)
# Maps each rule to the timeframe requested from its vendor, and to the vendor that is replaced.
_RULES = {
    "crypto": ("1h", "binance"),
    "stock_intraday": ("1h", "polygon"),
    "stock_daily": ("1d", "yahoo"),
}
_DAYS = ("2024-05-01", "2024-05-31")
_AT_ONCE = Limits().at_once  # of a custom downloader, which declares none
_NOTE = (
    f"The table shows the time in seconds for {SYMBOLS} series from each of three vendors. The "
    f"vendors have no limits and answer after {ANSWER_S:g} s:\n\n"
    f"- *one vendor alone*: its requests, {_AT_ONCE} at once, and nothing else;\n"
    "- *batches*: `get_ohlcv_batch`, one vendor after the other;\n"
    "- *again*: the same job if nothing is missing."
)


class _Slow:
    """A custom downloader whose answers take time, but no CPU time."""

    def get_ohlcv(self, symbol: str, interval: str, start: Any, end: Any) -> pd.DataFrame:
        sleep(ANSWER_S)
        bounds = Span(to_ms(start), to_ms(end) + 1)
        return _answer(bounds, interval, is_coin=symbol.endswith("USDT"))


@cache
def _answer(span: Span, interval: str, *, is_coin: bool) -> pd.DataFrame:
    """Return one bar for each that the market's calendar expects, with hours on the clock."""
    calendar = ContinuousCalendar() if is_coin else ExchangeCalendar("XNYS")
    stamps = calendar.opens(Timeframe.parse(interval), span, "clock")
    index = pd.DatetimeIndex(pd.to_datetime(stamps, unit="ms"), name="timestamp")
    columns = ("open", "high", "low", "close", "volume")
    return pd.DataFrame(dict.fromkeys(columns, np.full(len(stamps), 100.0)), index=index)


def measure() -> Report:
    """Fill three caches."""
    alone_s = SYMBOLS * ANSWER_S / _AT_ONCE
    spent: dict[str, list[float]] = {name: [] for name in ("populate", "again", "batches")}
    with (
        TemporaryDirectory() as root
    ):  # removed at the end, because deleting slows down the next round
        for round_ in range(_ROUNDS):
            folder = Path(root, str(round_))
            folder.mkdir()
            with patch.dict("os.environ", ONETAPE_STATE_DIR=str(folder)):
                _fill(folder, spent)
    figures = {name: Figure.of(values) for name, values in spent.items()}
    figures["one vendor alone"] = Figure.of([alone_s])
    return Report(
        "Jobs", _NOTE, [Row(f"{SYMBOLS} x 3", figures, "populate <= 1.2 x one vendor alone")]
    )


def _fill(folder: Path, spent: dict[str, list[float]]) -> None:
    """Fill two caches in ``folder``, and append to ``spent`` the seconds that it took."""
    manager = _manager(folder / "jobs")
    client = manager._services.client
    rows = [WorkItem(symbol, label) for label, names in _asked() for symbol in names]
    job = Job.of(rows, ("1d",), _DAYS, client.clock.now_ms())
    for name in ("populate", "again"):
        started = perf_counter()
        report = fill(client, job)
        spent[name].append(perf_counter() - started)
        assert all(result.complete for result in report.results)
    manager = _manager(folder / "batches")
    started = perf_counter()
    for label, names in _asked():
        manager.get_ohlcv_batch(names, label, *_DAYS)
    spent["batches"].append(perf_counter() - started)


def _asked() -> list[tuple[str, list[str]]]:
    """Return the timeframe and the symbols for each vendor."""
    shares = ["".join(letters) for letters in islice(product("QWZXVJK", repeat=4), SYMBOLS)]
    coins = [f"{share}USDT" for share in shares]
    return [(label, coins if rule == "crypto" else shares) for rule, (label, _) in _RULES.items()]


def _manager(folder: Path) -> DataManager:
    manager = DataManager(folder, clock=ManualClock(FETCHED))
    selector = manager.provider_selector
    rules = dict(selector.rules)
    for rule, (_, name) in _RULES.items():
        rules[rule] = rules[rule] | {"primary": name, "backup": []}
    selector.rules = rules
    selector.downloaders.update({name: _Slow() for _, name in _RULES.values()})
    return manager


if __name__ == "__main__":
    print(measure())
