"""What it costs to understand a symbol and to find who serves it."""

from __future__ import annotations

from src.data.bars.selection.candidates import candidates_of, route
from src.data.model.query import BarsQuery
from src.data.model.timeframe import Timeframe
from src.data.provider_selector import ProviderSelector

from .harness import Call, Figure, Report, Row, race
from .stage import YEAR, stage

_NOTE = "Microseconds of one call. *remembered*: the symbol has been asked for before."


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
                f"what {symbol} is, and who is asked, in order",
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
    return Report("Classifying and routing", _NOTE, rows)


def _figures(selector: ProviderSelector, symbol: str) -> dict[str, Figure]:
    timeframe = Timeframe.parse("1d")

    def remembered() -> object:
        return selector.rule_for(selector.instrument(symbol), timeframe)

    def new() -> object:
        selector._classified.cache_clear()
        return remembered()

    return _of(race({"remembered": remembered, "new": new}))


def _order(selector: ProviderSelector, symbol: str) -> Call:
    """Return a call that classifies a symbol and names its vendors, keys and health minded."""
    return lambda: (
        selector.classify_symbol(symbol),
        selector.get_provider_with_failover(symbol, "1d"),
    )


def _way(selector: ProviderSelector, symbol: str) -> Call:
    """Return a call that sorts the vendors of a symbol into lanes, as every miss does."""
    instrument, timeframe = selector.instrument(symbol), Timeframe.parse("1d")
    query = BarsQuery(instrument, timeframe, YEAR, YEAR.end)
    return lambda: route(query, candidates_of(selector, query), None)


def _of(found: dict[str, list[float]]) -> dict[str, Figure]:
    return {name: Figure.of(values) for name, values in found.items()}


if __name__ == "__main__":
    print(measure())
