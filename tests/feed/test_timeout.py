"""The timeout of a feed: requests for history, for bars lost by a stream, and for polled bars."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamState
from src.data.core.model.request.query import BarsQuery
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.feed.data_feed_factory import DataFeedFactory
from src.data.feed.live_feed import LiveFeed
from src.data.feed.services import feeds_of
from src.data.feed.sources.poll import polled
from tests.feed.test_base_live_data_feed import Own, Stub, hours
from tests.vendor_server import VendorServer
from tests.vendor_server.keyed import KEY

from .conftest import PATIENCE, PULSE, FeedTimings, Stage, wait_until

KINDS = pytest.mark.parametrize("kind", ["plain", "Backtrader feeds need the `backtrader` extra"])


def times_of(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Return the time of every question for bars from now on, as a list that grows."""
    client, times = manager.client, list[float | None]()
    get = client.get

    def noted(query: BarsQuery) -> Any:
        times.append(query.timeout_s)
        return get(query)

    monkeypatch.setattr(client, "get", noted)
    return times


def feed_of(
    manager: DataManager, symbol: str, kind: str, monkeypatch: pytest.MonkeyPatch, **options: Any
) -> LiveFeed:
    if kind == "plain":
        monkeypatch.setattr("src.data.feed.selection.find_spec", lambda name: None)
    made = manager.live_feed(symbol, "1m", 20, timeout=7, **options)
    return made if isinstance(made, LiveFeed) else made.stream


@KINDS
def test_history_and_holes_of_a_stream_are_fetched_within_the_feeds_timeout(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    times = times_of(stage.manager, monkeypatch)
    feeds_of(stage.manager).tempo = FeedTimings(PULSE, PATIENCE)
    feed = feed_of(stage.manager, "BTCUSDT", kind, monkeypatch)
    with feed:
        stage.live(feed)
        history = len(times)
        stage.minute(publish=False)
        stage.minute()
        stage.live(feed)
    assert 0 < history < len(times)
    assert set(times) == {7.0}


@KINDS
def test_each_polled_bar_is_fetched_within_the_feeds_timeout(
    tmp_path: Path,
    vendors: VendorServer,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setenv("FMP_API_KEY", KEY)
    path, at = tmp_path / "rules.yaml", vendors.base_url("fmp")
    path.write_text(json.dumps({"providers": {"fmp": {"base_url": at}}}))
    manager = DataManager(tmp_path / "cache", path, clock=clock)
    times = times_of(manager, monkeypatch)
    feed = feed_of(manager, "AAPL", kind, monkeypatch, provider="fmp")
    with feed:
        wait_until(lambda: feed.status.state is StreamState.LIVE, "LIVE")
    source = polled(manager, "AAPL", "1m", provider="fmp", forming=True, timeout_s=7)
    assert source.fetch_forming is not None
    source.fetch_forming()
    assert len(times) > 1
    assert set(times) == {7.0}


def test_a_custom_data_manager_gets_the_timeout_of_the_feed(clock: ManualClock) -> None:
    class Timed(Stub):
        timeout: float | None = None

        def get_ohlcv(self, *, timeout: float | None = None, **asked: Any) -> Any:
            self.timeout = timeout
            return super().get_ohlcv(**asked)

    stand_in = Timed(hours(3))
    assert len(Own("TEST", "1h", 3, data_manager=stand_in, timeout=7).df) == 3
    assert stand_in.timeout == 7
    config = {"data_source": "yahoo", "symbol": "TEST", "interval": "1h", "data_manager": stand_in}
    assert DataFeedFactory.create_data_feed(config | {"timeout": 8}) is not None
    assert stand_in.timeout == 8


@pytest.mark.parametrize("bad", [0, -1, "x", True])
def test_an_invalid_timeout_is_refused_without_a_request(stage: Stage, bad: Any) -> None:
    with pytest.raises(QueryError, match="use a number of seconds above 0"):
        stage.manager.live_feed("BTCUSDT", "1m", timeout=bad)
    with pytest.raises(QueryError, match="use a number of seconds above 0"):
        Own("TEST", "1h", data_manager=Stub(hours(3)), timeout=bad)
    assert stage.vendors.count() == stage.streams.attempts == 0
