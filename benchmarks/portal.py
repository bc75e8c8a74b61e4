"""Values of 500 stocks at a time in a backtest: the last one, and a window of 20 bars."""

from __future__ import annotations

from datetime import date
from tempfile import TemporaryDirectory
from time import perf_counter

import polars as pl

from onetape.data.core.model.answer.interchange import to_polars
from onetape.data.data_manager import DataManager
from onetape.data.research.lineage.lineage import lineage
from onetape.data.research.portal.polars_portal import PolarsDataPortal

from .harness import Call, Figure, Report, Row, race
from .lineage import Recorded, not_recording
from .stage import crowd_stage

_NOTE = (
    "The table shows the time in milliseconds of a call that is answered from memory, with "
    "Decimal columns. *filter / ours* is the time that Polars takes in the same round, divided "
    "by ours. Polars filters the same values from one long frame in memory (500 shares, five "
    "years), sorts them into the order of the assets and converts them to Decimals.\n\n"
    "- *walk*: a call for each of 250 sessions (all sessions of 2023 for 500 shares), including "
    "the first read, per session; it sends no request;\n"
    "- *hits*: the number of hits in 100 calls;\n"
    "- *recorded / plain*: within a lineage, in the same round."
)
_DAY, _COUNT = date(2022, 6, 15), 500
_DECIMAL = pl.Decimal(18, 8)


def measure() -> Report:
    """Race the portal against a filter, in one process."""
    with crowd_stage(_COUNT) as (manager, symbols), TemporaryDirectory() as folder:
        portal = PolarsDataPortal(data_source=manager)
        whole = to_polars(manager.get_ohlcv_batch(symbols, "1d", "2019-01-01", "2023-12-31"))
        with not_recording(lineage(folder=folder, manager=manager)) as recorded:
            rows = [
                _spot(portal, whole, symbols, recorded),
                _window(portal, whole, symbols, recorded),
            ]
        rows.append(_walk(manager, symbols, 1))
        rows.append(_walk(manager, symbols[:20], 20))
    more, less = ("filter / ours", "hits"), ("recorded / plain",)
    return Report("The portal", _NOTE, rows, more=more, less=less)


def _spot(
    portal: PolarsDataPortal, whole: pl.DataFrame, symbols: list[str], recorded: Recorded
) -> Row:
    def ours() -> pl.Series:
        return portal.get_spot_value(symbols, "close", _DAY, "daily")

    def theirs() -> pl.Series:
        there = whole.filter(pl.col("timestamp") == pl.lit(_DAY))
        places = pl.DataFrame({"symbol": symbols}).join(there, on="symbol", how="left")
        return places["close"].cast(_DECIMAL)

    if ours().to_list() != theirs().to_list():
        raise RuntimeError("the values differ")
    return _row(
        f"the close of {_COUNT} shares",
        (ours, theirs, recorded(ours)),
        "ms <= 0.2, recorded <= 1.2",
    )


def _window(
    portal: PolarsDataPortal, whole: pl.DataFrame, symbols: list[str], recorded: Recorded
) -> Row:
    def ours() -> pl.DataFrame:
        return portal.get_history_window(symbols, _DAY, 20, "1d", "close", "daily")

    first = ours()["date"][0]

    def theirs() -> pl.DataFrame:
        there = whole.filter(pl.col("timestamp").is_between(pl.lit(first), pl.lit(_DAY)))
        wide = there.pivot(on="symbol", index="timestamp", values="close")
        return wide.select("timestamp", *symbols).with_columns(pl.col(symbols).cast(_DECIMAL))

    if ours().select(symbols).rows() != theirs().select(symbols).rows():
        raise RuntimeError("the windows differ")
    return _row(
        f"20 bars of {_COUNT} shares", (ours, theirs, recorded(ours)), "ms <= 0.3, recorded <= 1.2"
    )


def _row(name: str, calls: tuple[Call, Call, Call], goal: str) -> Row:
    took = race(dict(zip(("ours", "filter", "recorded"), calls, strict=True)))
    ours = took["ours"]
    figures = {
        "ms": Figure.of([us / 1000 for us in ours]),
        "filter / ours": Figure.of([a / b for a, b in zip(took["filter"], ours, strict=True)]),
        "recorded / plain": Figure.of([a / b for a, b in zip(took["recorded"], ours, strict=True)]),
    }
    return Row(name, figures, goal)


def _walk(manager: DataManager, symbols: list[str], count: int) -> Row:
    """Time walks that read the last value or a window of each share."""
    sessions = manager.get_ohlcv(symbols[0], "1d", "2023-01-01", "2023-12-31").index[:250]
    each_ms, rates = list[float](), list[float]()
    for _ in range(1 if count == 1 else 5):
        portal = PolarsDataPortal(data_source=manager)
        started = perf_counter()
        for session in sessions:
            portal.set_simulation_time(session)
            if count == 1:
                portal.get_spot_value(symbols, "close", session, "daily")
            else:
                portal.get_history_window(symbols, session, count, "1d", "close", "daily")
        each_ms.append((perf_counter() - started) * 1000 / len(sessions))
        rates.append(portal.cache_hit_rate)
    figures = {"ms": Figure.of(each_ms), "hits": Figure.of(rates)}
    name = f"a walk, {len(symbols)} shares" + f", {count} bars" * (count > 1)
    return Row(name, figures, "hits > 80")
