"""TLS verification by every transport: servers whose certificate or host name has a single fault."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import certifi
import pytest

from src.data.core.config.certificates import VARIABLES
from src.data.core.model.market.stream import StreamAddress
from src.data.core.model.request.http import HttpRequest
from src.data.core.net.http.http import HttpTransport
from src.data.core.net.http.reach import reach
from src.data.core.net.http.websocket import Dialer
from src.data.core.vendors.alpaca.carrier import AlpacaCarrier
from src.data.core.vendors.binance.carrier import BinanceCarrier
from src.data.core.vendors.ccxt.carrier import CcxtCarrier
from src.data.core.vendors.yahoo.carrier import YFinanceCarrier
from src.data.errors import UnavailableError
from tests.core.net.authority import FAULTS, Authority, serving_tls
from tests.core.net.scripted import Recorder, reply
from tests.core.vendors.fresh_yfinance import forget_yfinance
from tests.core.vendors.test_carriers import BAR, CHART

KEY = "canary0123456789"
PAIR = {"symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
        "isSpotTradingAllowed": True, "filters": []}  # fmt: skip


def vendors(handler: BaseHTTPRequestHandler) -> None:
    """Answer as Binance and Yahoo do."""
    answers = {"exchangeInfo": {"symbols": [PAIR]}, "klines": [BAR], "chart": CHART}
    found = [body for name, body in answers.items() if name in handler.path]
    reply(handler, json.dumps(found[0] if found else "crumb").encode())


def plain(base: str) -> None:
    transport = HttpTransport()
    try:
        assert transport.send(HttpRequest(f"{base}/x", secret_params={"key": KEY})).status == 200
    finally:
        transport.close()


def browser_like_session(base: str) -> None:
    YFinanceCarrier(through_sdk=False).send(HttpRequest(f"{base}/v8/finance/chart/AAPL"))


def yfinance(base: str) -> None:
    YFinanceCarrier().send(HttpRequest(f"{base}/v8/finance/chart/AAPL"))


def python_binance(base: str) -> None:
    BinanceCarrier().send(HttpRequest(f"{base}/api/v3/klines", {"symbol": "BTCUSDT"}))


def alpaca_py(base: str) -> None:
    keys = {"APCA-API-KEY-ID": KEY, "APCA-API-SECRET-KEY": KEY}
    AlpacaCarrier().send(HttpRequest(f"{base}/v2/stocks/bars", secret_headers=keys))


def ccxt(base: str) -> None:
    asked: dict[str, str | int] = {
        "symbol": "BTC/USDT", "timeframe": "1d", "since": BAR[0], "limit": 9,
    }  # fmt: skip
    CcxtCarrier("binance").send(HttpRequest(f"{base}/binance/bars", asked))


def doctor(base: str) -> None:
    if refusal := reach(base).refusal:
        raise UnavailableError(refusal)


def websocket(base: str) -> None:
    url = base.replace("https://", "wss://")
    Dialer(lambda: StreamAddress(f"{url}/x?token={KEY}", url))().abort()


PACKAGES = {browser_like_session: "curl_cffi", yfinance: "yfinance", python_binance: "binance",
            alpaca_py: "alpaca", ccxt: "ccxt", websocket: "websocket"}  # fmt: skip
TRANSPORTS = [pytest.param(ask, id=ask.__name__) for ask in (plain, doctor, *PACKAGES)]
Ask = Callable[[str], None]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return an authority made for these tests, which no system trusts."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _trusted(authority: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trust the authority by each library's own variable, without proxies."""
    for name in (*VARIABLES, "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.setenv(name, str(authority.bundle))
    forget_yfinance(monkeypatch, tmp_path)


def needs_package_of(ask: Ask) -> None:
    if ask in PACKAGES:
        pytest.importorskip(PACKAGES[ask])


def secure(server: Recorder) -> str:
    return server.base.replace("http://", "https://")


@pytest.mark.parametrize("ask", TRANSPORTS)
def test_a_sound_certificate_is_accepted(ask: Ask, authority: Authority) -> None:
    """Without this one the refusals below might have any other reason."""
    needs_package_of(ask)
    with serving_tls(authority.context(), vendors) as server:
        ask(secure(server))
        assert server.requests


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("ask", TRANSPORTS)
def test_a_certificate_with_one_fault_is_refused_before_anything_is_sent(
    ask: Ask, fault: str, authority: Authority
) -> None:
    needs_package_of(ask)
    with serving_tls(authority.context(fault), vendors) as server:
        with pytest.raises(UnavailableError, match=r"(?i)certificate") as caught:
            ask(secure(server))
        assert server.requests == []
    assert KEY not in f"{caught.value!r} {vars(caught.value)}"


@pytest.mark.filterwarnings("ignore:.*TLSv1:DeprecationWarning")
@pytest.mark.parametrize("ask", TRANSPORTS)
def test_an_outdated_version_of_tls_is_refused(ask: Ask, authority: Authority) -> None:
    needs_package_of(ask)
    context, careless = authority.context(), ssl.create_default_context(cafile=authority.bundle)
    for side in (context, careless):
        side.set_ciphers("ALL:@SECLEVEL=0")
        side.minimum_version, side.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with serving_tls(context, vendors) as server:
        raw = socket.create_connection(server.server_address[:2])
        with careless.wrap_socket(raw, server_hostname="127.0.0.1") as end:
            assert end.version() == "TLSv1.1", "the server speaks no such version"
        with pytest.raises(UnavailableError):
            ask(secure(server))
        assert server.requests == []


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("ask", TRANSPORTS)
def test_all_transports_trust_the_certificates_of_the_first_variable_set(
    ask: Ask, variable: str, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_package_of(ask)
    for name in (*VARIABLES, "WEBSOCKET_CLIENT_CA_BUNDLE"):
        monkeypatch.delenv(name)
    with serving_tls(authority.context(), vendors) as server:
        for name in VARIABLES[VARIABLES.index(variable) + 1 :]:
            monkeypatch.setenv(name, certifi.where())  # comes later: it does not count
        monkeypatch.setenv(variable, str(authority.bundle))
        ask(secure(server))
        asked = len(server.requests)
        monkeypatch.setenv(variable, certifi.where())
        with pytest.raises(UnavailableError, match=r"(?i)certificate"):
            ask(secure(server))
        monkeypatch.setenv(variable, str(authority.folder / "none.pem"))
        with pytest.raises(UnavailableError, match=r"there are no certificates at .*none\.pem"):
            ask(secure(server))
        assert len(server.requests) == asked


def test_a_websocket_has_its_own_variable_for_certificates(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_package_of(websocket)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.folder / "none.pem"))
    with serving_tls(authority.context(), vendors) as server:
        websocket(secure(server))
        assert len(server.requests) == 1
