"""Stream logins with a key: recorded in the audit log without the key; refusals are events."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import StreamRefusal, StreamState
from src.data.core.model.request.http import HttpRequest
from src.data.core.model.time.instant import parse_iso
from src.data.core.net.http.sender import Sender
from src.data.core.observability.events import CallFailed, Event
from src.data.core.observability.logs import ContextFilter
from src.data.core.vendors.polygon.stream import PolygonStream
from src.data.data_manager import DataManager
from src.data.feed import live_feeds
from src.data.feed.live_feed import LiveFeed
from src.data.feed.live_feeds import FeedTimings
from src.data.feed.services import feeds_of
from tests.core.net.scripted import ScriptedTransport, answer
from tests.vendor_server import VendorServer
from tests.vendor_server.streams import StreamServer, refusing

from .conftest import PATIENCE, PULSE, wait_until
from .test_live_feeds import KEYS, TAPES, OfTruth

Make = Callable[..., tuple[DataManager, LiveFeed]]
OWN = {"alpaca": ("ALPACA_API_KEY", "ALPACA_SECRET_KEY"), "polygon": ("POLYGON_API_KEY",),
       "finnhub": ("FINNHUB_API_KEY",)}  # fmt: skip


@pytest.fixture
def streams(vendors: VendorServer) -> Iterator[StreamServer]:
    """Yield the stream server; it is 2024-07-10 14:00:01 UTC, half an hour after New York opens."""
    vendors.clock.set(parse_iso("2024-07-10T14:00:01Z"))
    with StreamServer(vendors.clock, vendors.truth) as server:
        yield server


@pytest.fixture
def make(
    tmp_path: Path, vendors: VendorServer, streams: StreamServer, monkeypatch: pytest.MonkeyPatch
) -> Make:
    """Return a maker of a manager and a feed of one vendor."""
    monkeypatch.setattr(live_feeds, "ManagerHistory", lambda *_, **__: OfTruth(vendors))

    def made(vendor: str, keys: dict[str, str] = KEYS) -> tuple[DataManager, LiveFeed]:
        for name, key in keys.items():
            monkeypatch.setenv(name, key)
        path = tmp_path / "rules.yaml"
        url = streams.url(vendor) + TAPES.get(vendor, "")
        path.write_text(json.dumps({"providers": {vendor: {"ws_url": url}}}))
        manager = DataManager(tmp_path / "cache", path, clock=vendors.clock)
        feeds_of(manager).tempo = FeedTimings(PULSE, PATIENCE)
        feed = feeds_of(manager).find("AAPL", "1m", 0, provider=vendor)
        assert feed is not None
        return manager, feed

    return made


@pytest.fixture
def records(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str], list[logging.LogRecord]]]:
    """Return what gives the records of a logger, with the context that they had."""
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.INFO, "onetape.audit")
    context = ContextFilter()
    caplog.handler.addFilter(context)
    yield lambda name: [record for record in caplog.records if record.name == name]
    caplog.handler.removeFilter(context)


@pytest.mark.parametrize("vendor", OWN)
def test_a_login_is_in_the_audit_log_without_the_key(
    make: Make, vendor: str, records: Callable[[str], list[logging.LogRecord]],
    caplog: pytest.LogCaptureFixture, clock: ManualClock,
) -> None:  # fmt: skip
    manager, feed = make(vendor)
    with feed:
        wait_until(lambda: feed.status.state is StreamState.LIVE)
    (record,) = records("onetape.audit")
    told = vars(record)
    assert (told["vendor"], told["method"], told["attempt"], told["outcome"]) == (
        vendor, "LOGIN", 1, "ok",
    )  # fmt: skip
    assert told["address"] == f"127.0.0.1/{vendor}{TAPES.get(vendor, '')}"
    for name in OWN[vendor]:
        assert KEYS[name] not in caplog.text + repr(told)
    # A request over HTTP with the same keys is that of the same account.
    http = Sender(ScriptedTransport(answer([1])), manager.rate_limiters[vendor], clock).variant(
        None, {name: KEYS[name] for name in OWN[vendor]}
    )
    http.send(HttpRequest("https://x.example/y", secret_params={"k": "some key"}), vendor=vendor)
    assert vars(records("onetape.audit")[-1])["account"] == told["account"] != "-"


@pytest.mark.parametrize("vendor", ["alpaca", "polygon"])
def test_a_refused_login_is_in_the_audit_log_and_sends_an_event(
    make: Make, vendor: str, records: Callable[[str], list[logging.LogRecord]]
) -> None:
    manager, feed = make(vendor, KEYS | {OWN[vendor][0]: "bad"})
    heard: list[Event] = []
    manager.on_event(heard.append)
    feed.start()
    wait_until(lambda: feed.status.state is StreamState.CLOSED)
    (record,) = records("onetape.audit")
    assert vars(record)["outcome"] == "AuthenticationError"
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    assert (failed.symbol, failed.timeframe) == ("AAPL", "1m")
    assert failed.error == "AuthenticationError"
    assert failed.request
    assert manager.metrics()["calls"]["failed"] == {"AuthenticationError": 1}
    (line,) = [r for r in records("onetape.feed") if "the live feed ends" in r.getMessage()]
    told = vars(line)
    assert (told["request"], told["symbol"], told["timeframe"]) == (failed.request, "AAPL", "1m")
    feed.stop()


def test_a_refused_key_in_an_address_is_in_the_audit_log(
    make: Make, streams: StreamServer, records: Callable[[str], list[logging.LogRecord]]
) -> None:
    streams.handshakes.append(refusing("401 Unauthorized"))
    _, feed = make("finnhub")
    feed.start()
    wait_until(lambda: feed.status.state is StreamState.CLOSED)
    (record,) = records("onetape.audit")
    assert vars(record)["outcome"] == "AuthenticationError"
    feed.stop()


def test_a_refusal_that_quotes_a_key_of_another_vendor_is_masked(
    make: Make, streams: StreamServer, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(
        PolygonStream, "read", lambda *_: [StreamRefusal("not for fm-key-123", True)]
    )
    manager, feed = make("polygon", KEYS | {"FMP_API_KEY": "fm-key-123"})
    heard: list[Event] = []
    manager.on_event(heard.append)
    feed.start()
    wait_until(lambda: feed.status.state is StreamState.CLOSED)
    feed.stop()
    (failed,) = [event for event in heard if isinstance(event, CallFailed)]
    assert "not for ***" in failed.message
    assert "not for ***" in feed.status.reason
    assert "fm-key-123" not in failed.message + feed.status.reason + caplog.text


def test_a_stopped_feed_is_not_recorded_as_a_failure(make: Make, clock: ManualClock) -> None:
    manager, feed = make("alpaca")
    with feed:
        wait_until(lambda: feed.status.state is StreamState.LIVE)
    assert manager.metrics()["calls"]["failed"] == {}
