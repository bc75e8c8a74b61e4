"""Interactive Brokers, over a real socket to a made-up gateway."""

from __future__ import annotations

import importlib.util
import logging
import re
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from src.data.core.clock import ManualClock
from src.data.core.config.gateway import Gateway, ibkr_gateway
from src.data.core.model.identity.instrument import Instrument
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpResponse
from src.data.core.model.time.instant import parse_iso
from src.data.core.net.http.retry import RetryPolicy
from src.data.core.vendors.factory import DataDownloaderFactory
from src.data.core.vendors.ibkr import carrier as ibkr_carrier
from src.data.core.vendors.ibkr.bars import IBKRDataDownloader, contract_of, error_of_answer
from src.data.core.vendors.ibkr.carrier import CODE_HEADER, IbkrCarrier
from src.data.downloader.ibkr_downloader import IBKRDownloader
from src.data.errors import (
    CapabilityError,
    ConfigError,
    DataError,
    EntitlementError,
    MissingExtraError,
    NoDataError,
    ProviderTimeoutError,
    RateLimitedError,
    SymbolNotFoundError,
    UnavailableError,
    install_line,
)
from tests.core.net.gateway import Script, gateway
from tests.core.net.scripted import NOW_MS, ScriptedTransport, sender_over
from tests.core.vendors.acme import query

HAS_IB = importlib.util.find_spec("ib_async") is not None
needs_ib = pytest.mark.skipif(not HAS_IB, reason="ib_async is not installed")
pytestmark = pytest.mark.usefixtures("_nothing_set")
AAPL = Instrument("AAPL", "stock", "XNYS", "America/New_York", quote="USD")
EURUSD = Instrument("EURUSD=X", "forex", "FX", "America/New_York", base="EUR", quote="USD")
ONCE = RetryPolicy(attempts=1)
JAN_2, JAN_5 = parse_iso("2024-01-02"), parse_iso("2024-01-05")


@pytest.fixture
def _nothing_set(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Unset the variables for host, port and client; let ``ib_async`` log only critical records."""
    caplog.set_level(logging.CRITICAL, "ib_async")
    for name in ("IBKR_HOST", "IBKR_PORT", "IBKR_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def script() -> Script:
    """Return the script of the gateway, which has no bars yet."""
    return Script()


@pytest.fixture
def port(script: Script) -> Iterator[int]:
    """Yield the port of a local gateway that follows ``script``."""
    with gateway(script) as running:
        yield running


def vendor(port: int, clock: ManualClock | None = None, **limits: Any) -> IBKRDataDownloader:
    carrier = IbkrCarrier(1, clock=clock or ManualClock(NOW_MS), **limits)
    return IBKRDataDownloader(
        port=port, sender=sender_over(ScriptedTransport(), retry=ONCE), carrier=carrier
    )


def ask(label: str, start: str, end: str, who: Instrument = AAPL) -> FetchQuery:
    return query(label, parse_iso(start), parse_iso(end), who)


@needs_ib
class TestOverTheSocket:
    def test_days_are_stamped_with_session_dates_and_use_regular_trades(
        self, script: Script, port: int
    ) -> None:
        script.bars = [
            ("20231229", 9, 9, 9, 9, 9),
            ("20240102", 187.15, 188.44, 183.88, 185.64, 82488.0),
            ("20240103", 184.22, 185.88, 183.43, 184.25, 0),
        ]
        found = vendor(port).fetch(ask("1d", "2024-01-02", "2024-01-05"))
        assert found.table.stamps.tolist() == [JAN_2, JAN_2 + 86_400_000]
        assert found.table.open.tolist() == [187.15, 184.22]
        assert found.table.volume.tolist() == [82488.0, 0.0], "no trade is a volume, too"
        assert (found.basis.adjustment, found.kind.session, found.kind.unit) == (
            "split", "regular", "USD",
        )  # fmt: skip
        assert script.asked == [{
            "symbol": "AAPL", "secType": "STK", "exchange": "SMART", "primary": "",
            "currency": "USD", "end": "20240105-00:00:00", "bar_size": "1 day",
            "duration": "4 D", "rth": "1", "what": "TRADES", "format": "2",
        }]  # fmt: skip

    def test_minutes_are_stamped_by_instants_and_midpoints_have_no_volume(
        self, script: Script, port: int
    ) -> None:
        script.bars = [(str(JAN_2 // 1000 + 60), 1.1, 1.2, 1.0, 1.15, -1)]
        found = vendor(port).fetch(ask("1m", "2024-01-02", "2024-01-03", EURUSD))
        assert found.table.stamps.tolist() == [JAN_2 + 60_000]
        assert found.table.volume.tolist() == pytest.approx([float("nan")], nan_ok=True)
        assert not found.dense
        [asked] = script.asked
        assert (asked["secType"], asked["symbol"], asked["currency"]) == ("CASH", "EUR", "USD")
        assert (asked["what"], asked["rth"], asked["exchange"]) == ("MIDPOINT", "0", "IDEALPRO")

    def test_one_connection_serves_all(self, script: Script, port: int) -> None:
        script.bars, ibkr = [("20240103", 1, 2, 1, 2, 3)], vendor(port)
        for end in ("2024-01-05", "2024-01-06"):
            ibkr.fetch(ask("1d", "2024-01-02", end))
        assert script.logins == 1

    def test_requests_for_long_ranges_begin_with_the_first_available_bar(
        self, script: Script, port: int
    ) -> None:
        script.head = str(parse_iso("2024-01-01T14:30") // 1000)
        script.bars = [(str(JAN_2 // 1000 + 52_200), 1, 2, 1, 2, 3)]
        ibkr = vendor(port)
        ibkr.fetch(ask("5m", "2010-01-01", "2024-01-20"))
        assert (script.heads, len(script.asked)) == (1, 1)
        with pytest.raises(NoDataError, match="before the first trade"):
            ibkr.fetch(ask("5m", "2010-01-01", "2012-01-01"))

    @pytest.mark.parametrize(
        "refusal, kind",
        [
            ((162, "Historical Market Data Service error message:HMDS query returned no data: X"),
             NoDataError),
            ((162, "Historical Market Data Service error message:API historical data query "
              "cancelled: pacing violation"), RateLimitedError),
            ((162, "Historical Market Data Service error message:No market data permissions for "
              "NYSE STK"), EntitlementError),
            ((200, "No security definition has been found for the request"), SymbolNotFoundError),
            ((354, "Requested market data is not subscribed."), EntitlementError),
            ((366, "No historical data query found for ticker id"), UnavailableError),
            ((502, "Couldn't connect to TWS"), UnavailableError),
            ((321, "Error validating request"), CapabilityError),
        ],
        ids=lambda value: str(value[0]) if isinstance(value, tuple) else value.__name__,
    )  # fmt: skip
    def test_each_refusal_becomes_a_typed_error(
        self, script: Script, port: int, refusal: tuple[int, str], kind: type[DataError]
    ) -> None:
        script.refusal = refusal
        with pytest.raises(kind) as caught:
            vendor(port).fetch(ask("1d", "2024-01-02", "2024-01-05"))
        assert type(caught.value) is kind
        assert (caught.value.provider, caught.value.symbol) == ("ibkr", "AAPL")

    def test_a_gateway_that_does_not_answer_times_out(self, script: Script, port: int) -> None:
        script.is_mute = True
        with pytest.raises(ProviderTimeoutError, match=rf"127.0.0.1:{port} did not .* 0.05 s"):
            vendor(port, timeout_s=0.05).fetch(ask("1d", "2024-01-02", "2024-01-05"))

    def test_a_lost_connection_to_the_gateway_is_made_again(
        self, script: Script, port: int
    ) -> None:
        script.drops, ibkr = True, vendor(port)
        with pytest.raises(UnavailableError, match="closed the connection"):
            ibkr.fetch(ask("1d", "2024-01-02", "2024-01-05"))
        script.drops, script.bars = False, [("20240103", 1, 2, 1, 2, 3)]
        assert len(ibkr.fetch(ask("1d", "2024-01-02", "2024-01-06")).table) == 1
        assert script.logins == 2

    def test_the_same_request_is_not_sent_again_within_15_seconds(
        self, script: Script, port: int
    ) -> None:
        script.bars, clock = [("20240103", 1, 2, 1, 2, 3)], ManualClock(NOW_MS)
        ibkr, asked = vendor(port, clock), ask("1d", "2024-01-02", "2024-01-05")
        ibkr.fetch(asked)
        clock.advance(5)
        with pytest.raises(RateLimitedError) as caught:
            ibkr.fetch(asked)
        assert caught.value.retry_after == 10
        clock.advance(10)
        ibkr.fetch(asked)
        assert len(script.asked) == 2


@needs_ib
def test_an_error_about_a_missing_gateway_contains_the_remedy() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(UnavailableError, match=rf"127\.0\.0\.1:{port}.*start TWS") as caught:
            vendor(port).fetch(ask("1d", "2024-01-02", "2024-01-05"))
    assert "IBKR_PORT" in str(caught.value)


@needs_ib
def test_a_client_that_is_passed_in_is_used() -> None:
    class Client:
        """Stands for an ``ib_async.IB`` that the user has connected."""

        RaiseRequestErrors = False

        def __init__(self) -> None:
            import ib_async

            self.errorEvent = ib_async.IB().errorEvent

        def isConnected(self) -> bool:
            return True

        async def reqHistoricalDataAsync(self, contract: Any, *_: Any, **__: Any) -> Any:
            import datetime

            import ib_async

            day = datetime.date(2024, 1, 3)
            return [ib_async.BarData(day, 1, 2, 0.5, 1.5, 7)] if contract.symbol == "AAPL" else []

    ibkr = IBKRDownloader(Client(), sender=sender_over(ScriptedTransport()))  # type: ignore[arg-type]
    frame = ibkr.get_ohlcv("AAPL", "1d", "2024-01-02", "2024-01-05")
    assert frame is not None
    assert frame.index.name == "timestamp"
    assert frame["close"].tolist() == [1.5]
    assert isinstance(ibkr, IBKRDataDownloader)


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ibkr_carrier, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=re.escape(install_line("ibkr"))):
        IbkrCarrier(1)
    assert DataDownloaderFactory.create_downloader("ibkr") is None


@pytest.mark.parametrize(
    "said, environ, expected",
    [
        ({}, {}, Gateway("127.0.0.1", 7497, 1)),
        ({}, {"IBKR_HOST": "10.0.0.5", "IBKR_PORT": "4002"}, Gateway("10.0.0.5", 4002, 1)),
        ({"port": 4001, "client_id": 0}, {"IBKR_PORT": "9"}, Gateway("127.0.0.1", 4001, 0)),
        ({"port": 65535, "client_id": 2147483647}, {}, Gateway("127.0.0.1", 65535, 2147483647)),
    ],
)
def test_the_address_of_the_gateway_follows_from_arguments_and_environment(
    said: Any, environ: dict[str, str], expected: Gateway
) -> None:
    assert ibkr_gateway(said, environ) == expected


@pytest.mark.parametrize("value", ["65536", "70000", "x", "-1", "7497.5"])
def test_an_invalid_port_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="IBKR_PORT"):
        ibkr_gateway({}, {"IBKR_PORT": value})


def test_a_client_id_of_more_than_31_bits_is_refused() -> None:
    with pytest.raises(ConfigError, match="client_id '2147483648' is not an integer"):
        ibkr_gateway({"client_id": 2147483648}, {})


@pytest.mark.parametrize("status, kind", [(200, type(None)), (503, UnavailableError)])
def test_an_error_without_a_code_is_classified_by_its_status(status: int, kind: type) -> None:
    assert type(error_of_answer(HttpResponse(status))) is kind
    unknown = error_of_answer(HttpResponse(400, {CODE_HEADER: "9999"}))
    assert type(unknown) is CapabilityError


def stock(symbol: str, zone: str, quote: str) -> Instrument:
    return Instrument(symbol, "stock", "X", zone, quote=quote)


@pytest.mark.parametrize(
    "who, symbol, primary, currency",
    [
        (stock("BRK-B", "America/New_York", "USD"), "BRK B", "", "USD"),
        (stock("BAC-PL", "America/New_York", "USD"), "BAC PRL", "", "USD"),
        (stock("BHP.AX", "Australia/Sydney", "AUD"), "BHP", "ASX", "AUD"),
        (stock("0700.HK", "Asia/Hong_Kong", "HKD"), "700", "SEHK", "HKD"),
        (stock("BMW.DE", "Europe/Berlin", "EUR"), "BMW", "IBIS", "EUR"),
    ],
    ids=lambda value: value.symbol if isinstance(value, Instrument) else None,
)
def test_shares_are_sent_in_the_vendors_spelling(
    who: Instrument, symbol: str, primary: str, currency: str
) -> None:
    found = contract_of(who, "ibkr")
    assert IBKRDataDownloader(sender=sender_over(ScriptedTransport())).spelled(who) == symbol
    assert (found.symbol, found.primary, found.currency) == (symbol, primary, currency)


def test_shares_of_london_are_refused_without_a_request() -> None:
    with pytest.raises(CapabilityError, match=r"VOD\.L"):
        contract_of(stock("VOD.L", "Europe/London", "GBp"), "ibkr")
