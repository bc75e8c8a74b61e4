"""Tests API keys that are added, changed and removed while the program runs."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.request.capabilities import FetchQuery
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.http.sender import Sender
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.core.vendors.factory import DataDownloaderFactory
from src.data.core.wiring import build
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, NoProviderError
from tests.conformance.sheet import sheet_of
from tests.core.net.scripted import answer
from tests.programs import PYTHONPATH
from tests.vendor_server import VendorServer

from .scripted_vendor import provenance

ROOT = Path(__file__).resolve().parents[2]
DAY = ("2024-06-03", "2024-06-04")


class NewsApiLike(BinanceDataDownloader):
    """Serves Binance's bars to who has a key that is accepted."""

    name = "newsapi"
    display_name = "NewsAPI"
    secrets = ("NEWSAPI_API_KEY",)
    requires_api_key = True

    def bars_request(self, query: FetchQuery, cursor: str | None) -> HttpRequest:
        plain = super().bars_request(query, cursor)
        headers = {"X-Key": self.secret("NEWSAPI_API_KEY")}
        return HttpRequest(plain.url, plain.params, secret_headers=headers)


class Desk:
    """Stands before the vendor server and looks at keys."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.accepted = {"good"}
        self.seen: list[str] = []

    def send(self, request: HttpRequest) -> HttpResponse:
        self.seen.append(request.secret_headers["X-Key"])
        return self.inner.send(request) if self.seen[-1] in self.accepted else answer({}, 401)


@pytest.fixture
def rules(tmp_path: Path, vendors: VendorServer) -> Path:
    """Return a rules file whose only vendor of crypto is ``newsapi``, at the vendor server."""
    path = tmp_path / "rules.yaml"
    path.write_text(
        "crypto: {primary: newsapi, backup: []}\n"
        "providers:\n"
        f"  newsapi: {{base_url: '{vendors.base_url('binance')}'}}\n"
    )
    return path


@pytest.fixture
def desk(tmp_path: Path, rules: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Let the factory make the vendor with a key, and return who looks at its keys."""
    from src.data.core.net.http.http import HttpTransport

    desk = Desk(HttpTransport())
    create = DataDownloaderFactory.create_downloader

    def create_downloader(provider_code: str, **kwargs: Any) -> BaseDataDownloader | None:
        if provider_code != "newsapi":
            return create(provider_code, **kwargs)
        limiter = build(tmp_path / "cache", rules, clock=clock).network.limiter("newsapi")
        try:
            return NewsApiLike(**kwargs, sender=Sender(desk, limiter, clock))
        except ValueError as exc:
            logging.getLogger("tests").warning("no downloader: %s", exc)
            return None

    monkeypatch.setattr(DataDownloaderFactory, "create_downloader", create_downloader)
    monkeypatch.delenv("NEWSAPI_API_KEY", raising=False)
    return desk


def names(manager: DataManager) -> list[str]:
    return manager.provider_selector.get_provider_with_failover("BTCUSDT", "1h")


def test_a_vendor_is_available_while_its_key_is_set(
    manager: DataManager, desk: Desk, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    for _ in range(3):
        with pytest.raises(NoProviderError):
            manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    assert len([r for r in caplog.records if "no downloader" in r.message]) == 1, "logged once"
    monkeypatch.setenv("NEWSAPI_API_KEY", "good")
    assert names(manager) == ["newsapi"]
    assert len(manager.get_ohlcv("BTCUSDT", "1h", *DAY, strict=True)) == 48
    monkeypatch.delenv("NEWSAPI_API_KEY")
    assert names(manager) == []
    assert len(manager.get_ohlcv("BTCUSDT", "1h", *DAY, strict=True)) == 48, "it is in the cache"
    monkeypatch.setenv("NEWSAPI_API_KEY", "good")
    assert names(manager) == ["newsapi"]


def test_the_error_of_a_pinned_vendor_names_the_missing_key(
    manager: DataManager, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWSAPI_API_KEY", "good")
    assert names(manager) == ["newsapi"]
    monkeypatch.delenv("NEWSAPI_API_KEY")
    with pytest.raises(AllProvidersFailedError, match="set NEWSAPI_API_KEY"):
        manager.get_ohlcv("BTCUSDT", "1h", *DAY, provider="newsapi")
    assert desk.seen == []


def test_the_error_names_a_key_that_was_removed_after_its_vendor_was_queried(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shares.yaml"
    path.write_text(
        "stock_daily: {primary: tiingo, backup: []}\n"
        f"providers: {{tiingo: {{base_url: '{vendors.base_url('tiingo')}'}}}}\n"
    )
    monkeypatch.setenv("TIINGO_API_KEY", sheet_of("tiingo").keys["TIINGO_API_KEY"])
    manager = DataManager(tmp_path / "cache", path, clock=clock)
    assert len(manager.get_ohlcv("NVDA", "1d", "2024-05-20", "2024-05-24")) == 5
    monkeypatch.delenv("TIINGO_API_KEY")
    with pytest.raises(NoProviderError, match="tiingo: no key: set TIINGO_API_KEY"):
        manager.get_ohlcv("AAPL", "1d", "2024-05-20", "2024-05-24")


def test_after_a_refused_key_the_next_one_works_at_once(
    manager: DataManager, make: Callable[[], DataManager], desk: Desk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("NEWSAPI_API_KEY", "revoked")
    with pytest.raises(AllProvidersFailedError, match="401"):
        manager.get_ohlcv("BTCUSDT", "1h", *DAY)
    for one in (manager, make()):
        with pytest.raises(AllProvidersFailedError, match="is paused for bars/1h"):
            one.get_ohlcv("BTCUSDT", "1h", *DAY)
    assert desk.seen == ["revoked"]
    monkeypatch.setenv("NEWSAPI_API_KEY", "good")
    frame = manager.get_ohlcv("BTCUSDT", "1h", *DAY, strict=True)
    assert list(provenance(frame)["vendors"]) == ["newsapi"]
    assert set(desk.seen[1:]) == {"good"}


def test_a_test_double_for_a_vendor_needs_no_key(
    manager: DataManager, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    double = mock.Mock()
    with mock.patch.dict(manager.provider_selector.downloaders, {"newsapi": double}):
        assert names(manager) == ["newsapi"]
        assert manager.provider_selector.get_best_downloader("BTCUSDT", "1h") is double
        monkeypatch.setenv("NEWSAPI_API_KEY", "good")
        monkeypatch.delenv("NEWSAPI_API_KEY")
        assert manager.provider_selector.get_best_downloader("BTCUSDT", "1h") is double
    assert names(manager) == []


def test_a_downloader_set_by_the_user_stays_when_its_key_leaves_the_environment(
    manager: DataManager, desk: Desk, clock: ManualClock, tmp_path: Path, rules: Path
) -> None:
    limiter = build(tmp_path / "cache", rules, clock=clock).network.limiter("newsapi")
    own = NewsApiLike(
        credentials={"NEWSAPI_API_KEY": "good"}, sender=Sender(desk, limiter, clock),
        base_url="http://127.0.0.1:9",
    )  # fmt: skip
    manager.provider_selector.downloaders["newsapi"] = own
    assert names(manager) == ["newsapi"]
    manager.provider_selector.rules = dict(manager.provider_selector.rules)
    assert manager.provider_selector.get_best_downloader("BTCUSDT", "1h") is own


def test_new_rules_apply_to_downloaders_created_before(
    manager: DataManager, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEWSAPI_API_KEY", "good")
    selector = manager.provider_selector
    before = selector.get_best_downloader("BTCUSDT", "1h")
    rules = dict(selector.rules)
    rules["providers"] = {"newsapi": {"base_url": "https://mirror.example"}}
    selector.rules = rules
    after = selector.get_best_downloader("BTCUSDT", "1h")
    assert after is not before
    assert after is not None
    assert after.base_url == "https://mirror.example"


def test_a_vendor_without_a_key_is_not_created_again_for_each_call(
    manager: DataManager, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = mock.Mock(wraps=DataDownloaderFactory.create_downloader)
    monkeypatch.setattr(DataDownloaderFactory, "create_downloader", tried)
    for key, expected in (("", []), ("good", ["newsapi"]), ("", []), ("better", ["newsapi"])):
        monkeypatch.setenv("NEWSAPI_API_KEY", key)
        assert [names(manager) for _ in range(20)] == [expected] * 20
    assert tried.call_count == 2, "once without a key, once with one; then it is reused"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
def test_keys_in_a_file_count_only_if_they_are_exported(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NEWSAPI_API_KEY=from-a-file\nPOLYGON_KEY='of two spellings'\n")
    show = (
        "from src.data.core.config.credentials import all_credentials as c; "
        "print(c().get('NEWSAPI_API_KEY'), c().get('POLYGON_API_KEY'))"
    )
    script = (
        f'"{sys.executable}" -c "{show}"; set -a; . ./.env; set +a; "{sys.executable}" -c "{show}"'
    )
    ran = subprocess.run(
        ["/bin/sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": PYTHONPATH, "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert ran.stdout.splitlines() == ["None None", "from-a-file of two spellings"]
