"""Routes of a symbol: which vendors are queried, and the reason if one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.bars.client import Wishes
from src.data.jobs.vendors import (
    Obstacle,
    VendorRole,
    describe_vendors,
    obstacle_of,
    routes,
    vendor_roles,
)
from src.data.model.query import BarsQuery
from src.data.wiring import Services, build


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> object:
    """Return a maker of services from the text of a rules file; no vendor is queried."""
    monkeypatch.delenv("BINANCE_API_KEY", raising=False)
    monkeypatch.delenv("BINANCE_KEY", raising=False)

    def made(text: str = "version: 1\n") -> Services:
        path = tmp_path / "rules.yaml"
        path.write_text(text)
        return build(tmp_path / "cache", path)

    return made


def query(services: Services, symbol: str, timeframe: str, **wishes: str) -> BarsQuery:
    how = Wishes(**wishes)  # type: ignore[arg-type]
    return services.client.query(symbol, timeframe, "2024-05-01", "2024-05-31", wishes=how)


def test_a_pair_goes_to_its_venue_and_then_to_a_substitute(make) -> None:  # type: ignore[no-untyped-def]
    services = make()
    roles = vendor_roles(services.selector, query(services, "BTCUSDT", "1h"))
    assert roles[:2] == [
        VendorRole("binance", "asked"),
        VendorRole("yahoo", "substitute", "aggregate instead of binance"),
    ]
    assert VendorRole("local", "not asked", "not in the rule for this") in roles
    assert {one.role for one in roles[2:]} == {"not asked"}
    assert {one.vendor: one.why for one in roles[2:] if "not in the rule" not in one.why} == {
        "coingecko": "serves no 1h, only 30m 4h",
        "alpha_vantage": "no key: set ALPHA_VANTAGE_API_KEY or ALPHAVANTAGE_API_KEY",
    }  # fmt: skip


def test_a_vendor_that_cannot_be_queried_has_a_reason(make) -> None:  # type: ignore[no-untyped-def]
    services = make("stock_daily: {primary: newsapi, backup: [local, binance, yahoo]}\n")
    roles = vendor_roles(services.selector, query(services, "AAPL", "1d"))
    assert [one for one in roles if one.why != "not in the rule for this"] == [
        VendorRole("yahoo", "asked"),
        VendorRole("binance", "not asked", "serves no stock"),
        VendorRole("newsapi", "not asked", "this version does not support it"),
        VendorRole("local", "not asked", "no folder is set for the vendor `local`"),
    ]


def test_only_a_pinned_vendor_is_queried(make) -> None:  # type: ignore[no-untyped-def]
    services = make()
    roles = vendor_roles(services.selector, query(services, "BTCUSDT", "1h", provider="yahoo"))
    assert roles[0] == VendorRole("yahoo", "asked")
    assert {one.why for one in roles[1:]} == {"yahoo is pinned"}


def test_each_vendor_has_a_reason_if_none_can_be_queried(make) -> None:  # type: ignore[no-untyped-def]
    services = make("stock_daily: {primary: binance, backup: []}\n")
    roles = vendor_roles(services.selector, query(services, "AAPL", "1d"))
    assert roles[0] == VendorRole("binance", "not asked", "serves no stock")
    assert all(one.role == "not asked" for one in roles)


def test_other_vendors_are_listed_as_not_queried_if_failover_is_off(make) -> None:  # type: ignore[no-untyped-def]
    services = make("failover: {enabled: false}\n")
    roles = vendor_roles(services.selector, query(services, "BTCUSDT", "1h"))
    assert VendorRole("yahoo", "not asked", "the rules disable failover") in roles


def test_keys_are_described_as_set_or_not_and_never_shown(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    def keys(text: str = "version: 1\n") -> dict[str, str]:
        vendors = describe_vendors(make(text).selector)
        assert "s3cret" not in str(vendors)
        return next(v["keys"] for v in vendors if v["name"] == "binance")

    assert keys() == {"BINANCE_API_KEY": "not set", "BINANCE_API_SECRET": "not set"}
    monkeypatch.setenv("BINANCE_KEY", "s3cret-s3cret")
    assert keys()["BINANCE_API_KEY"] == "set"
    monkeypatch.setenv("BINANCE_KEY", "your_api_key")
    assert keys()["BINANCE_API_KEY"] == "placeholder"
    monkeypatch.setenv("MINE", "s3cret-s3cret")
    assert keys("providers: {binance: {api_key_env: MINE}}\n")["MINE"] == "set"


def test_the_reason_why_a_vendor_cannot_be_queried_comes_with_advice(make) -> None:  # type: ignore[no-untyped-def]
    services = make("providers: {local: {folder: x, timezone: Mars/Olympus}}\n")
    assert obstacle_of(services.selector, "binance") == Obstacle()
    assert obstacle_of(services.selector, "newsapi").reason == "this version does not support it"
    reason = obstacle_of(services.selector, "local").reason
    assert "Mars/Olympus" in reason


def test_routes_name_the_vendors_that_are_ready(make) -> None:  # type: ignore[no-untyped-def]
    reported = routes(make("stock_daily: {primary: newsapi, backup: [yahoo]}\n").selector)
    (days,) = [row for row in reported if row["rule"] == "stock_daily"]
    assert days["vendors"] == ["newsapi", "yahoo"]
    assert days["ready"] == ["yahoo"]
