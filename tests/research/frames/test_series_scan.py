"""A stored series as a lazy frame: the bars of get_ohlcv, and no more of them than a query needs."""

from __future__ import annotations

import warnings
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from src.data.bundles import lineage
from src.data.core.bars.client import BarsClient
from src.data.core.model.answer.interchange import to_polars
from src.data.core.model.market.actions import Action
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    QueryError,
    UnknownProviderError,
)
from src.data.polars import scan_series
from tests.core.cache.counts import crossed
from tests.research.portal.portal_stage import (
    COIN,
    NOW,
    manager_on,
    put,
    sessions,
    stamp_of,
    table,
    value_of,
)

Engine = Literal["in-memory", "streaming"]
ENGINES: tuple[Engine, ...] = ("in-memory", "streaming")
FIRST = parse_iso("2024-01-01")
HOURS = [FIRST + n * HOUR_MS for n in range(24 * 60)]
stamp, close = pl.col("timestamp"), pl.col("close")
JAN, FEB = datetime(2024, 1, 20), datetime(2024, 2, 1)
SCHEMA = {"timestamp": pl.Datetime("us")} | dict.fromkeys(
    ("open", "high", "low", "close", "volume"), pl.Float64()
)


@pytest.fixture
def manager(tmp_path: Path) -> DataManager:
    """Return a manager with 60 days of hours of BTCUSDT."""
    manager = manager_on(tmp_path)
    put(manager, "BTCUSDT", "1h", table(HOURS), kind=COIN)
    return manager


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every query for bars that the client gets."""
    seen: list[Any] = []
    real = BarsClient.get

    def get(self: BarsClient, query: Any) -> Any:
        seen.append(query)
        return real(self, query)

    monkeypatch.setattr(BarsClient, "get", get)
    return seen


def answer(manager: DataManager, symbol: str, timeframe: str, **options: Any) -> pl.DataFrame:
    """Return the answer to the same question as a Polars frame."""
    bounds = date(2023, 1, 1), date(2024, 6, 14)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        frame = manager.get_ohlcv(symbol, timeframe, *bounds, offline=True, **options)
    return to_polars(frame).with_columns(pl.col(pl.Datetime).cast(pl.Datetime("us")))


_whole: list[pl.DataFrame] = []


@pytest.fixture
def whole(manager: DataManager) -> pl.DataFrame:
    """Return all hours of BTCUSDT, which are the same of every manager of these tests."""
    if not _whole:
        _whole.append(answer(manager, "BTCUSDT", "1h"))
    return _whole[0]


def bits(frame: pl.DataFrame) -> list[bytes]:
    return [frame[name].to_numpy().tobytes() for name in frame.columns]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scan_has_the_bars_of_get_ohlcv_bit_by_bit(manager: DataManager, engine: Engine) -> None:
    bars = table(HOURS)
    bars.volume[3] = np.nan
    put(manager, "ETHUSDT", "1h", bars, kind=COIN)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        lazy = scan_series(symbol, "1h", manager=manager)
        assert isinstance(lazy, pl.LazyFrame)
        assert lazy.collect_schema() == SCHEMA
        frame = lazy.collect(engine=engine)
        assert frame.schema == SCHEMA and len(frame) == len(HOURS)
        assert bits(frame) == bits(answer(manager, symbol, "1h"))
        assert bits(lazy.collect(engine=engine)) == bits(frame)


@pytest.mark.parametrize("adjustment", ["raw", "split"])
def test_prices_have_the_adjustment_that_get_ohlcv_gives_them(
    tmp_path: Path, adjustment: str
) -> None:
    manager = manager_on(tmp_path)
    days = [stamp_of(day) for day in sessions("2024-01-02", "2024-06-14")]
    put(manager, "AAPL", "1d", table(days))
    split = Action(date(2024, 6, 10), "split", parse_iso("2024-06-10"), 4, 1)
    manager.cache.store.add_actions("AAPL", [split], Span(days[0], NOW), "yahoo", NOW)
    lazy = scan_series("AAPL", "1d", manager=manager, adjustment=adjustment)
    whole = answer(manager, "AAPL", "1d", adjustment=adjustment)
    assert bits(lazy.collect()) == bits(whole)
    first = whole["close"][0] * (4 if adjustment == "split" else 1)
    assert first == pytest.approx(value_of(days[0]))
    since, until = stamp >= datetime(2024, 5, 1), stamp < date(2024, 6, 1)
    for chosen in (stamp.dt.month() == 5, since & until):
        assert bits(lazy.filter(chosen).collect()) == bits(whole.filter(chosen))


FILTERS = [
    stamp >= JAN,
    stamp.is_between(JAN, FEB, closed="left"),
    (stamp >= date(2024, 1, 20)) & (stamp <= date(2024, 2, 1)) & (close > 150),
    (stamp < JAN) | (stamp > FEB),
    ~(stamp < FEB),
    stamp.dt.date() == date(2024, 1, 20),
    stamp.is_in([JAN, FEB]),
    stamp != JAN,
    stamp > stamp.shift(1),
    stamp == stamp.max(),
    stamp + timedelta(days=1) > FEB,
    stamp.cast(pl.Date) == date(2024, 1, 20),
    stamp >= pl.lit(None, pl.Datetime("us")),
    stamp > pl.lit(JAN).cast(pl.Datetime("ns")),
    stamp > pl.lit(JAN).cast(pl.Datetime("ms")),
    stamp > datetime.max,
    stamp < datetime.max,
    stamp < datetime.min,
    stamp >= datetime.min,
    stamp.is_between(FEB, JAN),
    (stamp > FEB) & (stamp < JAN),
    stamp.is_between(pl.lit(None, pl.Datetime("us")), FEB),
    close > 150,
    (close > 150) & stamp.map_batches(lambda at: at.dt.hour() == 3, return_dtype=pl.Boolean),
    pl.lit(False),
    pl.lit(True),
    close.is_null() | (stamp > FEB),
]


@pytest.mark.parametrize(("chosen", "engine"), crossed(FILTERS, ENGINES))
def test_every_filter_selects_the_same_rows_as_after_reading(
    manager: DataManager, whole: pl.DataFrame, chosen: pl.Expr, engine: Engine
) -> None:
    lazy = scan_series("BTCUSDT", "1h", manager=manager)
    frame = lazy.filter(chosen).collect(engine=engine)
    assert bits(frame) == bits(whole.filter(chosen))
    some = lazy.filter(chosen).select("close", "timestamp").collect(engine=engine)
    assert bits(some) == bits(frame.select("close", "timestamp"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_limit_and_columns(manager: DataManager, whole: pl.DataFrame, engine: Engine) -> None:
    lazy = scan_series("BTCUSDT", "1h", manager=manager)
    queries: list[tuple[pl.LazyFrame, pl.DataFrame]] = [
        (lazy.head(3), whole.head(3)),
        (lazy.limit(0), whole.head(0)),
        (lazy.tail(2), whole.tail(2)),
        (lazy.filter(stamp > JAN).head(2), whole.filter(stamp > JAN).head(2)),
        (lazy.head(400).filter(stamp > JAN), whole.head(400).filter(stamp > JAN)),
        (lazy.select("volume"), whole.select("volume")),
        (lazy.select(pl.len()), whole.select(pl.len())),
        (lazy.select(close.max()), whole.select(close.max())),
        (lazy.select("low", stamp), whole.select("low", stamp)),
    ]
    for query, expected in queries:
        assert query.collect(engine=engine).equals(expected)


def test_further_columns_are_those_of_get_ohlcv(manager: DataManager) -> None:
    extra = ["source", "adj_close", "state", "is_final", "fetched_at", "dividend", "split"]
    frame = scan_series("BTCUSDT", "1h", manager=manager, columns=extra).collect()
    assert frame.columns == [*SCHEMA, *extra]
    others = [name for name in extra if name != "adj_close"]
    expected = answer(manager, "BTCUSDT", "1h", columns=others)
    assert frame.select(expected.columns).equals(expected)
    assert frame["adj_close"].is_nan().all()


def test_a_frame_keeps_the_bars_that_were_stored_when_it_was_made(
    manager: DataManager, tmp_path: Path
) -> None:
    lazy = scan_series("BTCUSDT", "1h", manager=manager)
    before = lazy.collect()
    other = DataManager(tmp_path / "cache", clock=manager.client.clock)
    more = [HOURS[-1] + n * HOUR_MS for n in range(5)]
    put(other, "BTCUSDT", "1h", table(more, 7), kind=COIN)
    assert bits(lazy.collect()) == bits(before)
    after = scan_series("BTCUSDT", "1h", manager=manager).collect()
    assert len(after) == len(before) + 4
    last = table(more[:1], 7).close[0]  # the other writer has corrected it
    assert after.filter(stamp == before["timestamp"][-1])["close"].item() == last
    assert before["close"][-1] != last


def test_a_scan_of_a_derived_timeframe_equals_get_ohlcv(manager: DataManager) -> None:
    whole = answer(manager, "BTCUSDT", "4h")
    assert len(whole) == len(HOURS) // 4
    lazy = scan_series("BTCUSDT", "4h", manager=manager)
    assert bits(lazy.collect()) == bits(whole)
    chosen = stamp.is_between(JAN, FEB)
    assert bits(lazy.filter(chosen).collect()) == bits(whole.filter(chosen))


def test_a_scan_without_cached_bars_raises_the_error_of_get_ohlcv(
    manager: DataManager,
) -> None:
    for symbol in ("ETHUSDT", "AAPL"):
        with pytest.raises(AllProvidersFailedError, match="is not cached"):
            manager.get_ohlcv(symbol, "1h", offline=True)
        with pytest.raises(AllProvidersFailedError, match="is not cached"):
            scan_series(symbol, "1h", manager=manager)
    manager.cache.clear("BTCUSDT")
    with pytest.raises(AllProvidersFailedError, match="is not cached"):
        scan_series("BTCUSDT", "1h", manager=manager)


def test_a_range_without_bars_is_empty_and_a_hole_is_warned_about_at_the_callers_line(
    tmp_path: Path,
) -> None:
    manager = manager_on(tmp_path)
    for part in (HOURS[:10], HOURS[30:40]):
        put(manager, "BTCUSDT", "1h", table(part), kind=COIN, now=part[-1] + HOUR_MS)
    with pytest.warns(IncompleteDataWarning, match="1 gap") as warned:
        lazy = scan_series("BTCUSDT", "1h", manager=manager)
    assert [Path(one.filename).name for one in warned] == [Path(__file__).name]
    times = [datetime(2024, 1, 1, hour) for hour in range(24)]
    assert len(lazy.collect()) == 20 and len(lazy.filter(stamp <= times[9]).collect()) == 10
    assert lazy.filter(stamp >= datetime(2025, 1, 1)).collect().schema == SCHEMA
    assert lazy.filter(stamp.is_between(times[15], times[20])).collect().is_empty()


def test_a_scan_in_a_lineage_is_recorded(manager: DataManager, tmp_path: Path) -> None:
    with lineage("scanned", folder=tmp_path / "bundles", manager=manager) as run:
        scan_series("BTCUSDT", "1h", manager=manager).filter(stamp < JAN).collect()
        assert "1 reads" in repr(run)


BAD_INPUT: list[tuple[tuple[Any, Any], dict[str, Any], type[Exception]]] = [
    (("BTCUSDT", "7q"), {}, QueryError),
    (("", "1h"), {}, QueryError),
    ((None, "1h"), {}, QueryError),
    ((["BTCUSDT"], "1h"), {}, QueryError),
    (("BTCUSDT\0", "1h"), {}, QueryError),
    (("../../etc", "1h"), {}, QueryError),
    (("BTCUSDT", None), {}, QueryError),
    (("BTCUSDT", "1h"), {"adjustment": "none"}, QueryError),
    (("BTCUSDT", "1h"), {"session": "night"}, QueryError),
    (("BTCUSDT", "1h"), {"provider": "nobody"}, UnknownProviderError),
    (("BTCUSDT", "1h"), {"columns": "state"}, QueryError),
    (("BTCUSDT", "1h"), {"columns": ["colour"]}, QueryError),
    (("BTCUSDT", "1h"), {"columns": [["state"]]}, QueryError),
    (("BTCUSDT", "1h"), {"columns": 5}, QueryError),
    (("BTCUSDT", "1h"), {"manager": "cache"}, QueryError),
]


def test_bad_input_is_an_error_of_the_call(manager: DataManager) -> None:
    for arguments, options, error in BAD_INPUT:
        with pytest.raises(error):
            scan_series(*arguments, **{"manager": manager, **options})


def test_a_filter_on_something_else_is_the_error_of_polars(manager: DataManager) -> None:
    lazy = scan_series("BTCUSDT", "1h", manager=manager)
    with pytest.raises(pl.exceptions.ColumnNotFoundError):
        lazy.filter(pl.col("vwap") > 1).collect()
    with pytest.raises(pl.exceptions.PolarsError):
        lazy.filter(stamp > "2024-01-20").collect()
    aware = pl.lit(JAN).dt.replace_time_zone("UTC")
    with pytest.raises(pl.exceptions.PolarsError):
        lazy.filter(stamp > aware).collect()


def test_a_series_of_days_ends_with_the_day_of_its_last_bar(tmp_path: Path) -> None:
    manager = manager_on(tmp_path)
    days = [FIRST + n * DAY_MS for n in range(100)]
    put(manager, "BTCUSDT", "1d", table(days), kind=COIN)
    frame = scan_series("BTCUSDT", "1d", manager=manager).collect()
    assert frame["timestamp"][-1] == datetime(2024, 1, 1) + timedelta(days=99)
