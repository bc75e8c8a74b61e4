"""Tests that the order of vendors is remembered only while the settings it was chosen by are unchanged."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from src.data.core import provider_selector
from src.data.core.config import donotshare
from src.data.core.config.credentials import spellings_of
from src.data.core.provider_selector import ProviderSelector
from src.data.core.registry import VENDORS, key_names

CHANGES: dict[str, tuple[Callable[[ProviderSelector, pytest.MonkeyPatch], object], list[str]]] = {}


def change(expected: list[str]) -> Callable[[Any], Any]:
    """Enlist a change, with the order that follows it; before it is yahoo, tiingo."""

    def enlist(made: Any) -> Any:
        CHANGES[made.__name__] = made, expected
        return made

    return enlist


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let there be one key, and no file of this machine's."""
    for name in spellings_of([key for vendor in VENDORS for key in key_names(vendor)]):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("ONETAPE_RULES", raising=False)
    monkeypatch.setenv("TIINGO_API_KEY", "tiingo-key")
    monkeypatch.chdir(tmp_path)
    forget_private()
    yield
    forget_private()


def forget_private() -> None:
    """Have the private file read again, as a new process does."""
    donotshare.private_path.cache_clear()
    donotshare.content_of.cache_clear()


def write_private(text: str) -> None:
    path = Path("config", "donotshare", "donotshare.py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    forget_private()


def order(selector: ProviderSelector) -> list[str]:
    return selector.get_provider_with_failover("AAPL", "1d")


@change(["fmp", "tiingo"])
def other_rules(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "fmp-key")
    rule = selector.rules["stock_daily"] | {"primary": "fmp", "backup": ["tiingo"]}
    selector.rules = selector.rules | {"stock_daily": rule}


@change(["tiingo"])
def no_failover(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = selector.rules["stock_daily"] | {"primary": "tiingo"}
    selector.rules = selector.rules | {"failover": {"enabled": False}, "stock_daily": rule}


@change(["yahoo", "tiingo", "fmp"])
def a_key_that_is_set(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FMP_API_KEY", "fmp-key")


@change(["yahoo", "alpaca", "tiingo"])
def keys_under_other_names(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APCA_API_KEY_ID", "alpaca-key")
    assert order(selector) == ["yahoo", "tiingo"], "one of two does not do"
    monkeypatch.setenv("APCA_API_SECRET_KEY", "alpaca-secret")


@change(["yahoo"])
def a_key_that_is_removed(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    del os.environ["TIINGO_API_KEY"]


@change(["yahoo"])
def a_placeholder(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIINGO_API_KEY", "your_api_key")


@change(["yahoo", "fmp"])
def another_environment(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {"FMP_API_KEY": "fmp-key"})


@change(["yahoo", "tiingo", "fmp"])
def a_downloader_that_is_registered(
    selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    selector.downloaders["fmp"] = mock.Mock()


@change(["yahoo", "tiingo", "fmp"])
def other_downloaders(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    selector.downloaders = {"fmp": mock.Mock()}


@change(["yahoo", "tiingo", "fmp"])
def a_private_file(selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch) -> None:
    write_private("FMP_API_KEY = 'fmp-key'\n")


@change(["yahoo", "tiingo", "fmp"])
def a_private_file_that_reads_a_variable(
    selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_private("import os\nFMP_API_KEY = os.getenv('OF_THE_TEAM')\n")
    assert order(selector) == ["yahoo", "tiingo"]
    monkeypatch.setenv("OF_THE_TEAM", "fmp-key")


@change(["yahoo", "tiingo"])
def a_private_file_that_is_gone(
    selector: ProviderSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_private("FMP_API_KEY = 'fmp-key'\n")
    assert order(selector) == ["yahoo", "tiingo", "fmp"]
    Path("config", "donotshare", "donotshare.py").unlink()
    forget_private()


@pytest.mark.parametrize("what", CHANGES)
def test_the_very_next_call_follows(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    selector = ProviderSelector()
    assert [order(selector) for _ in range(3)] == [["yahoo", "tiingo"]] * 3
    make, expected = CHANGES[what]
    make(selector, monkeypatch)
    assert order(selector) == expected
    assert order(selector) == expected


def test_other_rules_count_for_a_programs_own_downloaders_too() -> None:
    selector = ProviderSelector()
    selector.downloaders |= {name: mock.Mock() for name in ("yahoo", "alpaca", "tiingo", "fmp")}
    assert order(selector) == ["yahoo", "alpaca", "tiingo", "fmp"]
    rule = selector.rules["stock_daily"] | {"primary": "fmp", "backup": ["yahoo"]}
    selector.rules = selector.rules | {"stock_daily": rule}
    assert order(selector) == ["fmp", "yahoo"]


def test_a_key_of_the_rules_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text("providers: {fmp: {api_key_env: OF_THE_TEAM}}\n")
    selector = ProviderSelector(path)
    assert order(selector) == ["yahoo", "tiingo"]
    monkeypatch.setenv("OF_THE_TEAM", "fmp-key")
    assert order(selector) == ["yahoo", "tiingo", "fmp"]
    monkeypatch.delenv("OF_THE_TEAM")
    assert order(selector) == ["yahoo", "tiingo"]


def test_the_order_of_vendors_is_computed_once_while_rules_are_unchanged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    selector = ProviderSelector()
    chosen = mock.Mock(wraps=selector.rule_for)
    monkeypatch.setattr(selector, "rule_for", chosen)
    found = [order(selector) for _ in range(20)]
    assert selector.get_provider_with_failover("MSFT", "1d") == ["yahoo", "tiingo"]
    assert chosen.call_count == 1, "a rule is for all symbols of an asset class"
    found[0].append("mine")
    assert order(selector) == ["yahoo", "tiingo"], "a caller's list is the caller's"
    assert selector.get_provider_with_failover("AAPL", "5m") == ["yahoo"]
    assert selector.get_provider_with_failover("?!", "1d") == []
    assert [selector.get_provider_with_failover("SOL", "1d") for _ in range(2)] == [[], []]


def test_the_orders_used_last_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_selector, "MOST_ORDERS", 2)
    selector = ProviderSelector()
    chosen = mock.Mock(wraps=selector.rule_for)
    monkeypatch.setattr(selector, "rule_for", chosen)
    for timeframe in ("1d", "1h", "1d", "5m", "1d"):
        selector.get_provider_with_failover("AAPL", timeframe)
    assert chosen.call_count == 3
    selector.get_provider_with_failover("AAPL", "1h")
    assert chosen.call_count == 4
