"""The end of a polled feed: when it counts as a failed call, and what is logged meanwhile."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamState
from src.data.core.model.time.instant import parse_iso
from src.data.core.observability.events import CallFailed, Event
from src.data.core.observability.logs import ContextFilter
from src.data.data_manager import DataManager
from src.data.errors import UnknownProviderError
from src.data.feed.backtrader.live import PolledLiveDataFeed
from src.data.feed.live_feed import LiveFeed
from src.data.feed.selection import live_feed, live_feed_or_none, plain_feed
from src.data.feed.sources.base import ThreadedSource
from src.data.feed.sources.poll import PollSource
from tests.vendor_server import VendorServer
from tests.vendor_server.keyed import KEY

from .conftest import wait_until

Records = Callable[[str], list[logging.LogRecord]]


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock at 2024-06-12 15:00:05 UTC."""
    return ManualClock(parse_iso("2024-06-12T15:00:05Z"))


@pytest.fixture
def manager(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> DataManager:
    """Return a manager that queries a vendor with a key and without a stream."""
    monkeypatch.setenv("FMP_API_KEY", KEY)
    path, at = tmp_path / "rules.yaml", vendors.base_url("fmp")
    path.write_text(json.dumps({"providers": {"fmp": {"base_url": at}}}))
    return DataManager(tmp_path / "cache", path, clock=clock)


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[Records]:
    """Return what gives the records of a logger, with the context that they had."""
    for name in ("onetape", "onetape.audit"):
        caplog.set_level(logging.DEBUG, name)
    context = ContextFilter()
    caplog.handler.addFilter(context)
    yield lambda name: [record for record in caplog.records if record.name == name]
    caplog.handler.removeFilter(context)


def events_of(manager: DataManager) -> list[Event]:
    heard: list[Event] = []
    manager.on_event(heard.append)
    return heard


def run_until_there_is_no_vendor(feed: LiveFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(feed.source, PollSource)

    def nobody(*_: object, **__: object) -> None:
        raise UnknownProviderError("provider 'fmp' cannot be used", provider="fmp")

    monkeypatch.setattr(feed.source.history, "between", nobody)
    feed.start()
    wait_until(lambda: feed.status.state is StreamState.CLOSED, "the end")
    feed.stop()
    assert feed.snapshot().bars


def test_a_feed_from_an_unknown_vendor_is_refused_at_once(manager: DataManager) -> None:
    with pytest.raises(UnknownProviderError, match="nosuch"):
        plain_feed(manager, ("AAPL", "5m", 3), provider="nosuch")


@pytest.mark.parametrize("kind", ["plain", "for Backtrader"])
def test_a_polled_feed_that_ends_permanently_is_recorded_as_a_failed_call(
    manager: DataManager, records: Records, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    heard = events_of(manager)
    if kind == "plain":
        feed = plain_feed(manager, ("AAPL", "5m", 3), provider="fmp")
    else:
        made = live_feed(manager, "AAPL", "5m", 3, provider="fmp")
        assert isinstance(made, PolledLiveDataFeed)
        feed = made.stream
    run_until_there_is_no_vendor(feed, monkeypatch)
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    assert (failed.symbol, failed.timeframe) == ("AAPL", "5m")
    assert failed.error == "UnknownProviderError"
    assert manager.metrics()["calls"]["failed"] == {"UnknownProviderError": 1}
    (line,) = [r for r in records("onetape.feed") if "the feed of AAPL 5m ends" in r.getMessage()]
    told = vars(line)
    assert (told["request"], told["symbol"], told["timeframe"]) == (failed.request, "AAPL", "5m")
    asked = [vars(record) for record in records("onetape.audit")]
    assert asked
    if kind == "plain":  # else history was a call of its own
        assert {record["request"] for record in asked} == {failed.request}
    assert {(r["vendor"], r["symbol"], r["timeframe"]) for r in asked} == {("fmp", "AAPL", "5m")}
    assert KEY not in repr(asked)


def test_a_stopped_polled_feed_is_not_recorded_as_a_failure(manager: DataManager) -> None:
    feed = plain_feed(manager, ("AAPL", "5m", 3), provider="fmp")
    with feed:
        wait_until(lambda: feed.snapshot().bars, "history")
    assert manager.metrics()["calls"]["failed"] == {}


def test_a_fault_of_a_source_is_recorded_as_a_failed_call(
    manager: DataManager, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = events_of(manager)
    feed = plain_feed(manager, ("AAPL", "5m", 3), provider="fmp")
    assert isinstance(feed.source, ThreadedSource)

    def fails(*_: object) -> None:
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr(feed.source, "run", fails)
    feed.start()
    wait_until(lambda: feed.status.state is StreamState.CLOSED, "the end")
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    assert failed.error == "ForeignError"
    assert failed.message == "the feed of AAPL 5m raised ZeroDivisionError: of ours"
    (line,) = [one for one in records("onetape.feed") if one.levelno > logging.INFO]
    assert (vars(line)["request"], vars(line)["symbol"]) == (failed.request, "AAPL")
    assert line.exc_info, "a fault of ours has its traceback"
    assert "of ours" in feed.status.reason
    feed.stop()


def test_a_callback_logs_under_the_name_of_its_run(
    manager: DataManager, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = plain_feed(manager, ("AAPL", "5m", 3), provider="fmp")

    def raising(bar: object) -> None:
        raise OSError("the disk of the callback is full")

    feed.on_bar(raising)
    feed.start()
    wait_until(lambda: len([r for r in records("onetape.feed") if "callback" in r.getMessage()]))
    feed.stop()
    told = vars(next(r for r in records("onetape.feed") if "callback" in r.getMessage()))
    asked = vars(records("onetape.audit")[0])
    assert told["request"] == asked["request"] != ""
    assert (told["symbol"], told["timeframe"]) == ("AAPL", "5m")


def test_a_request_for_an_impossible_feed_is_recorded_as_a_failed_call(
    manager: DataManager, records: Records
) -> None:
    heard = events_of(manager)
    with pytest.warns(UserWarning, match="unknown timeframe"):
        assert live_feed_or_none(manager, "AAPL", "1x") is None
    (failed,) = heard
    assert isinstance(failed, CallFailed)
    (line,) = records("onetape.feed")
    told = vars(line)
    assert (told["request"], told["symbol"], told["timeframe"]) == (failed.request, "AAPL", "1x")
