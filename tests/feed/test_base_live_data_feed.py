"""``BaseLiveDataFeed``: feeds by symbol, as older programs create, subclass and read them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd
import pytest

from src.data.core.model.time.instant import from_ms
from src.data.errors import UnavailableError
from src.data.feed.backtrader.live import BaseLiveDataFeed
from tests.feed.hands import witnessed
from tests.feed.test_backtrader_feed import wait_until

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Backtrader's own utcnow


def hours(count: int, start: str = "2026-01-01") -> pd.DataFrame:
    """Return made-up bars, the index named as another library does."""
    index = pd.date_range(start, periods=count, freq="h", name="datetime")
    columns = {"open": 100.0, "high": 200.0, "low": 99.0, "volume": 1000.0}
    closes = {"close": [100.5 + n for n in range(count)]}
    return pd.DataFrame(columns | closes, index=index)


class Stub:
    """A foreign data manager, which accepts the four usual keywords."""

    def __init__(self, frame: pd.DataFrame | None) -> None:
        self.frame = frame
        self.asked: list[dict[str, Any]] = []

    def get_ohlcv(self, *, symbol: str, timeframe: str, start_date: Any, end_date: Any) -> Any:
        self.asked.append(
            {"symbol": symbol, "timeframe": timeframe, "range": (start_date, end_date)}
        )
        return self.frame


class Own(BaseLiveDataFeed):
    """A feed of a user's: three methods."""

    latest: pd.DataFrame | None = None
    connects = True

    def _connect_realtime(self) -> bool:
        return self.connects

    def _disconnect_realtime(self) -> None:
        self.left = True

    def _get_latest_data(self) -> pd.DataFrame | None:
        return self.latest

    def _get_update_interval(self) -> float:
        return 0.01


def own(count: int = 3, **wanted: Any) -> Own:
    return Own("TEST", "1h", count, data_manager=Stub(hours(count)), **wanted)


def test_history_is_requested_with_keyword_arguments() -> None:
    feed = own(4)
    (asked,) = feed.data_manager.asked  # type: ignore[attr-defined]
    start, end = asked["range"]
    assert (asked["symbol"], asked["timeframe"]) == ("TEST", "1h")
    assert (end - start).total_seconds() == 4 * 3600
    assert len(feed.df) == 4


@pytest.mark.parametrize("frame", [None, hours(0)], ids=["None", "empty"])
def test_a_feed_without_history_raises_an_error(frame: pd.DataFrame | None) -> None:
    with pytest.raises(ValueError, match="no history of TEST 1h"):
        Own("TEST", "1h", data_manager=Stub(frame))


def test_the_base_class_is_abstract() -> None:
    with pytest.raises(TypeError, match=r"abstract.*_connect_realtime, _disconnect"):
        BaseLiveDataFeed("AAPL", "1d")


def test_a_strategy_gets_the_history_and_then_pushed_bars() -> None:
    feed = own(2)
    seen: list[Any] = []
    later = hours(3)

    def act(strategy: Any) -> None:
        seen.append(strategy.data.close[0])
        if len(seen) == 2:
            feed._process_new_data(later)  # the first two are known already
        if len(seen) == 3:
            feed.should_stop = True

    witnessed(feed, act=act)
    assert seen == [100.5, 101.5, 102.5]
    assert list(feed.df["close"]) == [100.5, 101.5, 102.5]
    assert feed.last_update == datetime(2026, 1, 1, 3)


def test_a_polling_feed_delivers_the_bars_it_requests() -> None:
    feed = own(2)
    feed.latest = hours(3)
    seen, told = witnessed(feed, act=lambda s: len(s.data) == 3 and s.env.runstop())
    assert [row[5] for row in seen] == [100.5, 101.5, 102.5]
    assert told[:2] == ["DELAYED", "LIVE"]
    assert feed.left


def test_a_polling_method_that_raises_is_called_again(caplog: pytest.LogCaptureFixture) -> None:
    feed = own(2, retry_interval=0.01)
    tries: list[int] = []

    def fail() -> bool:
        tries.append(1)
        if len(tries) == 1:
            raise RuntimeError("no line")
        return True

    feed._connect_realtime = fail
    feed.latest = hours(3)
    witnessed(feed, act=lambda s: len(s.data) == 3 and s.env.runstop())
    assert len(tries) == 2
    assert "the feed of TEST 1h failed" in caplog.text


def test_the_status_has_the_fields_that_older_programs_read() -> None:
    feed = own(3)
    assert feed.get_status() == {
        "symbol": "TEST", "interval": "1h", "is_connected": False, "last_update": None,
        "data_points": 3, "should_stop": False, "data_source": "Own", "state": "CLOSED",
        "reason": "not started",
    }  # fmt: skip
    feed.is_connected = True  # some subclasses say so themselves
    assert feed.get_status()["is_connected"] is True


def test_a_callback_starts_the_feed_and_gets_new_bars() -> None:
    got: list[Any] = []
    feed = own(2, on_new_bar=lambda *said: got.append(said))
    wait_until(lambda: feed.is_connected)
    feed._process_new_data(hours(3))
    wait_until(lambda: got)
    feed.stop()
    values = {"open": 100.0, "high": 200.0, "low": 99.0, "close": 102.5, "volume": 1000.0}
    assert got == [("TEST", pd.Timestamp("2026-01-01 02:00"), values)]
    assert feed.should_stop


def test_a_feed_is_iterated_without_cerebro() -> None:
    feed = own(2)
    feed.latest = hours(3)
    given = []
    for bar in feed:
        given.append(bar.close)
        if len(given) == 3:
            feed.stop()
    assert given == [100.5, 101.5, 102.5]


def test_columns_with_other_names_are_accepted() -> None:
    frame = hours(2).rename(columns={"close": "last"})
    feed = Own("TEST", "1h", 2, data_manager=Stub(frame), close="last")
    assert list(feed.df["close"]) == [100.5, 101.5]


def test_a_substitute_is_refused_as_history() -> None:
    frame = hours(2)
    facts = {"substitute": "yahoo: an average of venues", "vendors": ["yahoo"]}
    frame.attrs["onetape"] = facts
    text = r"only a substitute is available .yahoo.*; pass provider='yahoo' for a feed from there"
    with pytest.raises(ValueError, match=text):
        Own("TEST", "1h", 2, data_manager=Stub(frame))


def test_the_error_for_failed_history_gives_the_reason() -> None:
    class Down(Stub):
        def get_ohlcv(self, **_: Any) -> Any:
            raise UnavailableError("all vendors are down")

    with pytest.raises(ValueError, match=r"no history of TEST 1h .*all vendors are down"):
        Own("TEST", "1h", data_manager=Down(None))


@pytest.mark.parametrize(
    "changed",
    [
        {"low": -5.0}, {"open": 0.0, "high": 0.0, "low": 0.0, "close": 0.0}, {"high": 1e300},
        {"close": float("nan")}, {"high": 1.0},
    ],
)  # fmt: skip
def test_pushed_rows_that_cannot_be_bars_are_dropped(changed: dict[str, float]) -> None:
    feed = own()
    feed.stream.start()
    good = hours(2, "2026-01-01T03:00:00")
    spoilt = good.assign(**{name: [value, good[name].iloc[1]] for name, value in changed.items()})
    feed._process_new_data(spoilt)
    assert [bar.close for bar in feed.stream.snapshot().bars] == [good["close"].iloc[1]]
    feed.stream.stop()


def test_pushed_bars_of_the_future_are_dropped() -> None:
    feed = own()
    feed.stream.start()
    soon = from_ms(feed.live_clock.now_ms() + 3_600_000)
    feed._process_new_data(hours(1, soon.isoformat()))
    feed._process_new_data(hours(1, "2026-01-01T03:00:00"))
    assert [bar.time.hour for bar in feed.stream.snapshot().bars] == [3], "the next one is used"
    feed.stream.stop()


def test_a_history_without_a_valid_bar_raises_an_error() -> None:
    with pytest.raises(ValueError, match="the history of TEST 1h contains no valid bars"):
        Own("TEST", "1h", 3, data_manager=Stub(hours(3).assign(low=-1.0)))
