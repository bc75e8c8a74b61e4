"""Tests of ``provider``: each question about one symbol takes it, in Python and as a command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.clock import ManualClock
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import Bar
from src.data.data_manager import DataManager
from src.data.errors import CacheError, UnknownProviderError

from .fixed_vendor import FixedVendor, Market, at, days

OF_2012 = {"start": "2012-01-03", "end": "2012-03-30"}


class Dividends(FixedVendor):
    """Reports one dividend, of the given amount, and prices times ten of it."""

    amount = 0.25

    def fetch_actions(self, *_: Any, **__: Any) -> Any:
        """Return the dividend."""
        day = date(2024, 5, 10)
        paid = Action(
            day, "dividend", at("2024-05-10T13:30:00"), amount=self.amount, currency="USD"
        )
        return (replace(paid, source=self.name, fetched_at=self.clock.now_ms()),)

    def bar(self, stamp: int) -> Bar:
        """Return a bar whose price is that of the vendor."""
        price = 400 * self.amount
        return Bar(stamp, price, price + 1, price - 1, price, 7.0)


@pytest.fixture
def vendors(clock: ManualClock) -> tuple[Dividends, Dividends]:
    """Return two vendors that differ."""
    stamps = [at(f"{day}T00:00:00") for day in map(str, _dates())]
    first, second = (Dividends(clock, stamps, name) for name in ("yahoo", "tiingo"))
    second.amount = 0.5
    return first, second


def _dates() -> list[date]:
    closed = {date(2024, 5, 27)}
    return [day for day in days("2024-05-01", "2024-06-11") if day not in closed]


@pytest.fixture
def manager(
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    vendors: tuple[Dividends, Dividends],
) -> DataManager:
    """Return a manager with bars of a vendor in the rules, of another vendor, and of the sample."""
    made = Market(tmp_path, clock, monkeypatch).manager(*vendors)
    for provider in (None, "tiingo"):
        made.get_ohlcv("IBM", "1d", start="2024-05-01", end="2024-06-11", provider=provider)
    made.get_ohlcv("IBM", "1d", **OF_2012, provider="demo")
    return made


def test_coverage_gaps_and_validate_are_about_one_vendor(manager: DataManager) -> None:
    assert set(manager.coverage("IBM", "1d")["vendor"]) == {"yahoo", "tiingo", "demo"}
    for vendor in ("yahoo", "tiingo", "demo"):
        spans = manager.coverage("IBM", "1d", provider=vendor)
        assert set(spans["vendor"]) == {vendor}
        (series,) = manager.gaps("IBM", "1d", provider=vendor).series
        (lane,) = set(spans["lane"])
        assert series.series.lane_label == lane
        assert manager.validate("IBM", "1d", provider=vendor).lane == lane
    assert {one.series.lane_label for one in manager.gaps(provider="demo").series} == {"demo"}
    assert manager.coverage("IBM", "1d", provider="fmp").empty
    for ask in (manager.gaps, manager.validate):
        with pytest.raises(CacheError, match="nothing from fmp is cached for IBM 1d"):
            ask("IBM", "1d", provider="fmp")


def test_actions_are_those_of_one_vendor(manager: DataManager) -> None:
    assert manager.get_actions("IBM", provider="tiingo")["paid"].tolist() == [0.5]
    assert manager.get_actions("IBM", provider="yahoo")["paid"].tolist() == [0.25]
    of_sample = manager.get_actions("IBM", "2010-01-01", "2010-12-31", provider="demo")
    assert of_sample["paid"].tolist() == [0.55, 0.65, 0.65, 0.65]
    assert set(of_sample["source"]) == {"demo"}
    then = manager.at("2010-09-01").get_actions("IBM", "2010-01-01", provider="demo")
    assert then["paid"].tolist() == [0.55, 0.65, 0.65]


def test_quotes_are_of_one_vendor_and_are_not_mixed_up(
    manager: DataManager,
) -> None:
    first = manager.get_quote("IBM", max_age=3600)
    second = manager.get_quote("IBM", max_age=3600, provider="tiingo")
    assert (first.vendor, first.price) == ("yahoo", 100.0)
    assert (second.vendor, second.price) == ("tiingo", 200.0)
    assert manager.get_quote("IBM", max_age=3600).price == 100.0
    assert manager.get_quotes(["IBM"], max_age=3600, provider="tiingo")["IBM"].price == 200.0


@pytest.mark.parametrize(
    "ask",
    [
        lambda m: m.coverage("IBM", "1d", provider="nix"),
        lambda m: m.gaps("IBM", "1d", provider="nix"),
        lambda m: m.validate("IBM", "1d", provider="nix"),
        lambda m: m.get_quote("IBM", provider="nix"),
        lambda m: m.get_quotes(["IBM"], provider="nix"),
        lambda m: m.get_actions("IBM", provider="nix"),
    ],
)
def test_an_unknown_vendor_is_rejected(
    manager: DataManager, ask: Callable[[DataManager], object]
) -> None:
    with pytest.raises(UnknownProviderError, match="unknown provider 'nix'"):
        ask(manager)


def test_the_commands_take_the_vendor(
    manager: DataManager, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> Any:
        """Return the JSON that a command prints."""
        main([*words, "--json", "--cache-dir", str(manager.cache.cache_dir)])
        return json.loads(capsys.readouterr().out)

    gaps = run("gaps", "IBM", "1d", "--provider", "demo")
    assert {span["vendor"] for span in gaps["spans"]} == {"demo"}
    assert {one["lane"] for one in gaps["series"]} == {"demo"}
    reports = run("validate", "IBM", "1d", "--provider", "demo")
    assert [one["lane"] for one in reports] == ["demo"]
    actions = run("fundamentals", "IBM", "--type", "actions", "--provider", "demo")
    assert {row["source"] for row in actions["rows"]} == {"demo"}
    brief = run("brief", "IBM", "--provider", "demo")
    assert brief["last"]["vendors"] == ["demo"]
    (quote,) = run("quote", "IBM", "--provider", "demo")["quotes"]
    assert (quote["vendor"], quote["state"], quote["time"][:10]) == ("demo", "stale", "2013-03-01")


@pytest.mark.parametrize(
    "words, text",
    [
        (("validate", "--all", "--provider", "demo"), "every vendor"),
        (("fundamentals", "IBM", "--type", "actions", "--provider", "demo,yahoo"), "one vendor"),
        (("fundamentals", "BTCUSDT", "--type", "funding", "--provider", "demo"), "--provider"),
    ],
)
def test_a_vendor_that_a_command_cannot_use_is_an_error(
    manager: DataManager, words: tuple[str, ...], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--cache-dir", str(manager.cache.cache_dir)]) == 2
    assert text in " ".join(capsys.readouterr().err.split())
