"""The cost of resolving a symbol and finding the vendors that serve it."""

from __future__ import annotations

import logging
from typing import Any
from unittest.mock import patch

import pandas as pd

from onetape.data.core.bars.selection.candidates import candidates_of
from onetape.data.core.bars.selection.route import find_route
from onetape.data.core.model.request.query import BarsQuery
from onetape.data.core.model.time.timeframe import Timeframe
from onetape.data.core.provider_selector import ProviderSelector
from onetape.data.data_manager import DataManager
from onetape.data.errors import UnavailableError

from .harness import Call, Figure, Report, Row, race
from .stage import YEAR, stage

_NOTE = (
    "The table shows the time in microseconds of one call:\n\n"
    "- *remembered*: the symbol has been requested before;\n"
    "- *first*: a day of hourly bars is fetched from a vendor that answers immediately;\n"
    "- *second*: the same, but the vendor before it fails."
)
_DAY = ("2024-05-01", "2024-05-01")


class _Vendor:
    """A custom downloader that answers immediately, or fails."""

    def __init__(self, *, fails: bool) -> None:
        self._fails = fails

    def get_ohlcv(self, *_: Any) -> pd.DataFrame:
        if self._fails:
            raise UnavailableError("down")
        index = pd.date_range(_DAY[0], periods=24, freq="h", name="timestamp")
        columns = ("open", "high", "low", "close", "volume")
        return pd.DataFrame(dict.fromkeys(columns, 100.0), index=index)


def measure() -> Report:
    """Race a remembered symbol against a new one each time."""
    with stage() as manager:
        selector = manager.provider_selector
        rows = [
            Row(f"what {symbol} is, and its rule", _figures(selector, symbol), "<= 20")
            for symbol in ("AAPL", "BTCUSDT")
        ]
        rows += [
            Row(
                f"what {symbol} is, and its vendors in order",
                _of(race({"remembered": call})),
                "<= 20",
            )
            for symbol in ("AAPL", "BTCUSDT")
            for call in [_order(selector, symbol)]
        ]
        rows += [
            Row(
                f"the same for a miss, in lanes of one kind: {symbol}",
                _of(race({"remembered": call})),
                "",
            )
            for symbol in ("AAPL", "BTCUSDT")
            for call in [_way(selector, symbol)]
        ]
        rows.append(Row("a miss of a coin, its vendors in this process", _fallback(manager), ""))
    return Report("Classifying and routing", _NOTE, rows)


def _fallback(manager: DataManager) -> dict[str, Figure]:
    """Race an answer from the first vendor in the order against one from the second."""
    selector = manager.provider_selector
    selector.downloaders.update(down=_Vendor(fails=True), up=_Vendor(fails=False))

    def ask(symbol: str, names: list[str]) -> Call:
        def call() -> object:
            with patch.object(selector, "get_provider_with_failover", lambda *_: names):
                return manager.get_ohlcv(symbol, "1h", *_DAY, force_refresh=True)

        return call

    quiet = logging.getLogger("onetape").level
    logging.getLogger("onetape").setLevel(logging.CRITICAL)
    try:
        calls = {"first": ask("ETHUSDT", ["up"]), "second": ask("SOLUSDT", ["down", "up"])}
        return _of(race(calls, rounds=20))
    finally:
        logging.getLogger("onetape").setLevel(quiet)


def _figures(selector: ProviderSelector, symbol: str) -> dict[str, Figure]:
    timeframe = Timeframe.parse("1d")

    def remembered() -> object:
        return selector.rule_for(selector.instrument(symbol), timeframe)

    def new() -> object:
        selector._classified.cache_clear()
        return remembered()

    return _of(race({"remembered": remembered, "new": new}))


def _order(selector: ProviderSelector, symbol: str) -> Call:
    """Return a call that classifies a symbol and names its vendors, considering keys and health."""
    return lambda: (
        selector.classify_symbol(symbol),
        selector.get_provider_with_failover(symbol, "1d"),
    )


def _way(selector: ProviderSelector, symbol: str) -> Call:
    """Return a call that sorts the vendors for a symbol into lanes, as every miss does."""
    instrument, timeframe = selector.instrument(symbol), Timeframe.parse("1d")
    query = BarsQuery(instrument, timeframe, YEAR, YEAR.end)
    return lambda: find_route(query, candidates_of(selector, query))


def _of(results: dict[str, list[float]]) -> dict[str, Figure]:
    return {name: Figure.of(values) for name, values in results.items()}


if __name__ == "__main__":
    print(measure())
