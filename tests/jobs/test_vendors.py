"""Routes of a symbol: which vendors are queried, and the reason if one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.core.wiring import Services, build
from src.data.jobs.vendors.vendors import (
    Obstacle,
    describe_vendors,
    obstacle_of,
    routes,
)


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
