"""Failover between a program's own providers: order, health, recovery, and what they may return."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd
import polars as pl
import pytest

from src.data.core.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, DataProviderError, QueryError
from src.data.research.loading.failover import (
    HealthStatus,
    MultiProviderDataManager,
    ProviderHealthMonitor,
)
from src.data.research.loading.providers import DataProvider, provider_for
from tests.vendor_server import Fault, VendorServer

WEEK = date(2024, 6, 3), date(2024, 6, 7)


def bars(close: float = 1.0, *days: int) -> pl.DataFrame:
    """Return daily bars of June 2024."""
    stamps = [date(2024, 6, day) for day in days or (3, 4)]
    prices = {name: [close] * len(stamps) for name in ("open", "high", "low", "close")}
    return pl.DataFrame({"date": stamps, **prices, "volume": [5] * len(stamps)})


class Own(DataProvider):
    """A program's provider: returns or raises what it was given, one after the other."""

    def __init__(self, *answers: Any, clock: ManualClock | None = None, takes: float = 0) -> None:
        self.answers, self.calls, self._clock, self._takes = list(answers), 0, clock, takes

    async def fetch_prices(self, symbol: str, timeframe: str, start: date, end: date) -> Any:
        self.calls += 1
        if self._clock is not None:
            self._clock.advance(self._takes)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return await answer if asyncio.iscoroutine(answer) else answer

    async def fetch_fundamentals(self, symbol: str) -> dict[str, Any]:
        return {}

    async def fetch_universe(self, name: str) -> list[str]:
        return []


def manager_of(clock: ManualClock, **providers: Own) -> MultiProviderDataManager:
    """Return a manager with providers in their order."""
    made = MultiProviderDataManager(clock=clock)
    for priority, (name, provider) in enumerate(providers.items()):
        made.register_provider(name, provider, priority)
    return made


def fetch(manager: MultiProviderDataManager, *question: Any) -> tuple[pl.DataFrame, str]:
    """Return what is fetched."""
    return asyncio.run(manager.fetch_with_fallback(*(question or ("AAPL", "1d", *WEEK))))


def test_the_lowest_priority_is_queried_first_in_any_order_of_registration() -> None:
    manager = MultiProviderDataManager()
    manager.register_provider("last", Own(bars(3.0)), 5)
    manager.register_provider("first", Own(bars(1.0)), 0)
    manager.register_provider("another", Own(bars(2.0)), 0)
    assert manager.provider_priority == [(0, "first"), (0, "another"), (5, "last")]
    frame, name = fetch(manager)
    assert name == "first" and frame["close"].to_list() == [1.0, 1.0]
    manager.register_provider("first", Own(bars(4.0)), 9)  # in its place
    assert fetch(manager)[1] == "another"
    assert list(manager.providers) == ["another", "last", "first"]


def test_health_is_unknown_then_healthy_or_an_error_with_its_time(clock: ManualClock) -> None:
    manager = manager_of(clock, a=Own(OSError("down")), b=Own(bars()), c=Own(bars()))
    assert manager.provider_health["a"] == {"status": "unknown", "last_check": None}
    _, name = fetch(manager)
    at = datetime(2024, 6, 12, 15, 0, 30, tzinfo=UTC)
    assert name == "b"
    assert manager.provider_health == {
        "a": {"status": "error", "last_error": "a: OSError: down", "last_check": at},
        "b": {"status": "healthy", "last_check": at},
        "c": {"status": "unknown", "last_check": None},
    }


def test_an_unhealthy_provider_is_skipped_until_one_trial_and_healthy_again_after_it(
    clock: ManualClock,
) -> None:
    bad = Own(OSError("1"), OSError("2"), bars(9.0))
    manager = manager_of(clock, bad=bad, good=Own(bars(1.0)))
    assert fetch(manager)[1] == "good" and bad.calls == 1
    clock.advance(29)
    assert fetch(manager)[1] == "good" and bad.calls == 1
    clock.advance(1)
    assert fetch(manager)[1] == "good" and bad.calls == 2  # the trial failed: twice as long
    clock.advance(59)
    assert fetch(manager)[1] == "good" and bad.calls == 2
    clock.advance(1)
    frame, name = fetch(manager)
    assert name == "bad" and frame["close"][0] == 9.0
    assert manager.provider_health["bad"]["status"] == "healthy"
    assert fetch(manager)[1] == "bad"


def test_only_one_of_several_calls_tries_an_unhealthy_provider(clock: ManualClock) -> None:
    async def late() -> pl.DataFrame:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return bars(9.0)

    bad = Own(OSError("1"), late())
    manager = manager_of(clock, bad=bad, good=Own(bars(1.0)))
    fetch(manager)
    clock.advance(30)

    async def three() -> list[str]:
        asked = [manager.fetch_with_fallback("AAPL", "1d", *WEEK) for _ in range(3)]
        return [name for _, name in await asyncio.gather(*asked)]

    assert asyncio.run(three()) == ["bad", "good", "good"]
    assert bad.calls == 2


def test_an_empty_frame_asks_the_next_and_is_no_illness(clock: ManualClock) -> None:
    empty = Own(bars()[:0])
    manager = manager_of(clock, empty=empty, full=Own(bars()))
    assert [fetch(manager)[1] for _ in range(2)] == ["full", "full"]
    assert empty.calls == 2 and manager.provider_health["empty"]["status"] == "healthy"


def test_nobody_has_bars_is_an_empty_frame_not_an_error(clock: ManualClock) -> None:
    manager = manager_of(clock, bad=Own(OSError("x")), empty=Own(pl.DataFrame()))
    frame, name = fetch(manager)
    assert (len(frame), name) == (0, "empty")
    assert frame.columns == ["date", "open", "high", "low", "close", "volume", "adj_close"]
    both = manager_of(clock, first=Own(bars()[:0]), second=Own(pl.DataFrame()))
    assert fetch(both)[1] == "first"


def test_when_all_fail_the_error_lists_each_reason(clock: ManualClock) -> None:
    manager = manager_of(clock, a=Own(OSError("down")), b=Own(ValueError("no such symbol")))
    with pytest.raises(DataProviderError, match="All providers failed for AAPL 1d") as raised:
        fetch(manager)
    assert isinstance(raised.value, AllProvidersFailedError)
    assert [one.provider for one in raised.value.attempts] == ["a", "b"]
    assert "down" in str(raised.value) and "no such symbol" in str(raised.value)
    with pytest.raises(DataProviderError, match="skipped for another 30 s after: a: OSError: down"):
        fetch(manager)


def _with(**columns: Any) -> pl.DataFrame:
    return bars().with_columns(**columns)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (None, "returned a builtins.NoneType, not a Polars frame"),
        (bars().to_dict(), "builtins.dict"),
        (pd.DataFrame({"close": [1.0]}), "DataFrame, not a Polars frame"),
        (bars().drop("close"), "no close"),
        (bars().drop("date"), "neither a date nor a timestamp column"),
        (_with(open=pl.lit("x")), "odd returned open as String, the first 'x', not as a number"),
        (_with(symbol=pl.lit("MSFT")), "odd returned bars for 'MSFT', not for 'AAPL'"),
        (_with(high=pl.lit(0.5)), "rows that cannot be bars: 2, the first at 2024-06-03"),
        (_with(close=pl.lit(None, pl.Float64)), "price missing"),
        (pl.concat([bars(), bars()]), "2024-06-03"),
        (bars(1.0, 3, 10), "1 row outside the range 2024-06-03"),
    ],
)
def test_what_is_no_frame_of_bars_of_the_range_is_an_error_and_the_next_is_asked(
    answer: Any, reason: str, clock: ManualClock
) -> None:
    manager = manager_of(clock, odd=Own(answer), good=Own(bars(2.0)))
    frame, name = fetch(manager)
    assert name == "good" and frame["close"].to_list() == [2.0, 2.0]
    assert reason in manager.provider_health["odd"]["last_error"]


def test_aware_unsorted_and_decimal_rows_come_in_the_usual_columns(clock: ManualClock) -> None:
    stamps = [datetime(2024, 6, 3, hour, tzinfo=UTC) for hour in (15, 14)]
    frame = pl.DataFrame({
        "timestamp": pl.Series(stamps).dt.convert_time_zone("America/New_York"),
        "open": ["2", "1"], "high": ["2", "1"], "low": ["2", "1"], "close": ["2", "1"],
        "volume": [1.5, 2.0],
    }).with_columns(pl.col("open", "high", "low", "close").cast(pl.Decimal(18, 8)))  # fmt: skip
    found, _ = fetch(manager_of(clock, own=Own(frame)), "X", "1h", *WEEK)
    assert found["timestamp"].to_list() == [datetime(2024, 6, 3, 14), datetime(2024, 6, 3, 15)]
    assert found["close"].to_list() == [1.0, 2.0]
    assert found["volume"].to_list() == [2.0, 1.5]
    assert found["adj_close"].null_count() == 2


def test_a_provider_that_hangs_is_left_after_its_time() -> None:
    manager = MultiProviderDataManager(timeout=0.01)
    manager.register_provider("hangs", Own(_never()), 0)
    manager.register_provider("good", Own(bars()), 1)
    assert fetch(manager)[1] == "good"
    assert "did not answer within 0.01 s" in manager.provider_health["hangs"]["last_error"]


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_a_provider_that_swallows_its_cancellation_holds_up_nobody(is_cancelled: bool) -> None:
    async def scenario() -> Any:
        over, begun = asyncio.Event(), asyncio.Event()

        async def stubborn() -> None:
            begun.set()
            while not over.is_set():
                with suppress(asyncio.CancelledError):
                    await over.wait()

        manager = MultiProviderDataManager(timeout=60 if is_cancelled else 0.01)
        manager.register_provider("stubborn", Own(stubborn()), 0)
        manager.register_provider("good", Own(bars()), 1)
        task = asyncio.ensure_future(manager.fetch_with_fallback("AAPL", "1d", *WEEK))
        await begun.wait()
        if is_cancelled:
            task.cancel()
        try:
            done, _ = await asyncio.wait({task}, timeout=10)
        finally:
            over.set()
        assert done, "the call waits for the provider's end"
        return "cancelled" if task.cancelled() else task.result()[1]

    assert asyncio.run(scenario()) == ("cancelled" if is_cancelled else "good")


async def _never() -> None:
    await asyncio.Event().wait()


def test_a_cancelled_call_says_nothing_about_its_provider(clock: ManualClock) -> None:
    manager = manager_of(clock, own=Own(_never()))

    async def cancelled() -> None:
        task = asyncio.ensure_future(manager.fetch_with_fallback("AAPL", "1d", *WEEK))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert manager.provider_health["own"]["status"] == "unknown"


@pytest.mark.parametrize(
    "question",
    [
        ("AAPL", "7x", *WEEK),
        ("AAPL", "1d", WEEK[1], WEEK[0]),
        ("AAPL", "1d", "2024-06-03", WEEK[1]),
    ],
)
def test_a_wrong_question_is_refused_and_no_provider_is_blamed(
    question: Any, clock: ManualClock
) -> None:
    own = Own(bars())
    manager = manager_of(clock, own=own)
    with pytest.raises(QueryError):
        fetch(manager, *question)
    assert not own.calls


def test_an_invalid_provider_is_not_registered() -> None:
    manager = MultiProviderDataManager()
    for name, provider, priority in (("", Own(), 0), ("x", object(), 0), ("x", Own(), "0")):
        with pytest.raises(QueryError):
            manager.register_provider(name, provider, priority)  # type: ignore[arg-type]
    with pytest.raises(QueryError, match="no provider is registered"):
        fetch(manager)


@pytest.mark.parametrize(
    ("answer", "takes", "status", "message"),
    [
        (bars(1.0, 11), 10.0, "healthy", ""),
        (bars(1.0, 11), 10.5, "slow", "Response time: 10.5s"),
        (pl.DataFrame(), 1.0, "degraded", "No data returned"),
        (OSError("down"), 1.0, "error", "x: OSError: down"),
        (7, 1.0, "error", "x returned a builtins.int, not a Polars frame"),
        (
            pd.DataFrame({"close": [1.0]}),
            1.0,
            "error",
            f"x returned a {pd.DataFrame.__module__}.DataFrame, not a Polars frame",
        ),
        (
            bars(1.0, 11).drop("close"),
            1.0,
            "error",
            "x: the frame has no close; its columns are date, open, high, low, volume",
        ),
    ],
)
def test_a_health_check_has_the_statuses_of_the_design(
    answer: Any, takes: float, status: str, message: str, clock: ManualClock
) -> None:
    monitor = ProviderHealthMonitor(clock=clock)
    found = asyncio.run(monitor.health_check(Own(answer, clock=clock, takes=takes), "x"))
    assert (found.status, found.message) == (status, message)
    assert found.response_time == (None if status == "error" else takes)
    assert monitor.metrics == {"x": found} and isinstance(found, HealthStatus)


def test_a_vendor_that_is_down_is_not_healthy_because_its_bars_are_cached(
    manager: DataManager, vendors: VendorServer, clock: ManualClock
) -> None:
    yahoo, monitor = provider_for("yahoo", manager=manager), ProviderHealthMonitor(clock=clock)
    assert asyncio.run(monitor.health_check(yahoo, "yahoo")).status == "healthy"
    vendors.fault("yahoo", Fault.status(401))
    found = asyncio.run(monitor.health_check(yahoo, "yahoo"))
    assert found.status == "degraded" and "HTTP 401" in found.message


def test_a_health_check_asks_for_the_last_five_days_of_spy(clock: ManualClock) -> None:
    asked: list[Any] = []

    class Noting(Own):
        """Notes what it is asked for."""

        async def fetch_prices(self, *question: Any) -> Any:
            asked.append(question)
            return await super().fetch_prices(*question)

    asyncio.run(ProviderHealthMonitor(clock=clock).health_check(Noting(bars()), "x"))
    today = date(2024, 6, 12)
    assert asked == [("SPY", "1d", today - timedelta(days=5), today)]
