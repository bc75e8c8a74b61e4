"""Presets of feeds: found, strictly read, and every mistake with its line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.data.core.config.feed_presets import PACKAGED, load_preset
from src.data.core.config.packaged import packaged_path, rules_of_testnets
from src.data.core.config.rules_file import load_rules
from src.data.errors import ConfigError, RulesError

GOOD = {"data_source": "yahoo", "symbol": "MSFT", "interval": "1d", "lookback_bars": 250}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def own(name: str, text: str) -> Path:
    path = Path("config/data") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_a_packaged_preset_is_found_by_name() -> None:
    assert load_preset("binance_btcusdt")["symbol"] == "BTCUSDT"
    assert all(packaged_path(f"{name}.json").is_file() for name in PACKAGED)


def test_ones_own_goes_first_and_a_path_is_taken_as_it_is() -> None:
    path = own("binance_btcusdt.json", json.dumps(GOOD))
    assert load_preset("binance_btcusdt") == GOOD
    assert load_preset(path) == load_preset(str(path)) == GOOD


def test_one_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(ConfigError, match=r"no feed preset 'nothing'.*binance_btcusdt"):
        load_preset("nothing")
    with pytest.raises(ConfigError, match=r"nothing\.json cannot be read"):
        load_preset("nothing.json")
    with pytest.raises(ConfigError, match="no feed preset"):
        load_preset("../data/yahoo_aapl")


@pytest.mark.parametrize(
    "change, told",
    [
        ({"lookback_bar": 5}, "lookback_bar"),
        ({"lookback_bars": 0}, "lookback_bars"),
        ({"lookback_bars": 1.5}, "lookback_bars"),
        ({"interval": "1x"}, "interval"),
        ({"testnet": "maybe"}, "testnet"),
        ({"port": -1}, "port"),
        ({"symbol": None}, "symbol"),
        ({"market": "future"}, "market.*did you mean futures"),
        ({"market": "futures"}, "market: yahoo has no futures here; only binance does"),
        ({"data_source": "binance", "market": "futures", "testnet": True}, "testnet: binance's"),
    ],
)
def test_every_mistake_is_told(change: dict[str, object], told: str) -> None:
    path = own("mine.json", json.dumps(GOOD | change, indent=1))
    with pytest.raises(RulesError, match=rf"mine\.json has 1 mistake:\n  {told}.*\(line \d+\)"):
        load_preset(path)


def test_a_preset_may_name_its_market() -> None:
    futures = GOOD | {"data_source": "Binance", "market": "futures", "testnet": False}
    assert load_preset(own("f.json", json.dumps(futures))) == futures
    assert load_preset(own("s.json", json.dumps(GOOD | {"market": "spot"})))["market"] == "spot"


def test_what_lacks_and_what_stands_twice_is_told() -> None:
    with pytest.raises(RulesError, match="interval"):
        load_preset(own("a.json", '{"data_source": "yahoo", "symbol": "A"}'))
    with pytest.raises(RulesError, match="data_source is missing"):
        load_preset(own("empty.json", ""))
    with pytest.raises(RulesError):
        load_preset(own("b.json", '{"data_source": "yahoo", "data_source": "file"}'))
    with pytest.raises(RulesError):
        load_preset(own("c.json", "[1, 2"))


def test_the_rules_of_test_networks_are_rules() -> None:
    said = load_rules(rules_of_testnets()).provider("binance")
    assert "testnet" in (said.base_url or "") and "testnet" in (said.ws_url or "")
