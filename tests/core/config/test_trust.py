"""A file that merely lies in the working directory sends nothing anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from src.data import DataManager
from src.data.core.config import donotshare
from src.data.core.config.feed_presets import load_preset
from src.data.core.config.fundamentals_config_validator import validate_fundamentals_config
from src.data.core.config.fundamentals_file import find_file
from src.data.core.config.gateway import ibkr_gateway
from src.data.core.config.settings import load_settings
from src.data.core.config.survey import survey
from src.data.core.config.trust import host_of, is_own_host
from src.data.core.registry import MEMBERS, SERVED, VENDORS, key_names, load
from src.data.core.vendors.factory import downloader_class
from src.data.errors import ConfigError, RulesError

FOREIGN = "https://attacker.example"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return ``config/data`` of a working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ONETAPE_RULES", raising=False)
    folder = tmp_path / "config" / "data"
    folder.mkdir(parents=True)
    return folder


def family(vendor: str) -> str:
    return "binance" if "binance" in vendor else vendor


def rules(vendor: str, key: str, value: str) -> str:
    return f"providers:\n  {vendor}:\n    {key}: '{value}'\n"


@pytest.mark.parametrize("vendor", sorted({*SERVED} - {"local", "mock", "ibkr", "ccxt"}))
@pytest.mark.parametrize("key", ["base_url", "ws_url"])
def test_an_address_of_a_foreign_host(folder: Path, vendor: str, key: str) -> None:
    address = FOREIGN if key == "base_url" else "wss://attacker.example"
    (folder / "provider_rules.yaml").write_text(rules(vendor, key, address))
    with pytest.raises(RulesError, match=rf"{vendor}\.{key}: .*line 3") as caught:
        DataManager()
    assert "ONETAPE_RULES" in str(caught.value)
    assert "attacker" not in str(caught.value)


@pytest.mark.parametrize("vendor", sorted(filter(key_names, VENDORS)))
@pytest.mark.parametrize("key", ["api_key_env", "secret_key_env"])
@pytest.mark.parametrize("variable", ["AWS_SECRET_ACCESS_KEY", "${HOME}"])
def test_a_variable_of_other_keys(folder: Path, vendor: str, key: str, variable: str) -> None:
    (folder / "provider_rules.yaml").write_text(rules(vendor, key, variable))
    with pytest.raises(RulesError, match=rf"providers\.{vendor}\.{key}: not a variable"):
        DataManager()


@pytest.mark.parametrize(
    "vendor, key, value",
    [
        ("fmp", "base_url", "https://financialmodelingprep.com.attacker.example"),
        ("fmp", "base_url", "https://xfinancialmodelingprep.com"),
        ("fmp", "base_url", "https://api.tiingo.com"),
        ("ccxt:kraken", "base_url", FOREIGN),
        ("massive", "base_url", FOREIGN),
        ("ibkr", "host", "203.0.113.9"),
        ("local", "folder", "/data/${HOME}"),
    ],
)
def test_a_found_file_may_not_redirect_requests_or_read_folders(
    folder: Path, vendor: str, key: str, value: str
) -> None:
    (folder / "provider_rules.yaml").write_text(rules(f"'{vendor}'", key, value))
    with pytest.raises(RulesError, match=key):
        load_settings()
    assert survey().errors != ()


@pytest.mark.parametrize(
    "vendor, key, value",
    [
        ("binance", "base_url", "https://testnet.binance.vision"),
        ("binance", "base_url", "https://api3.binance.com"),
        ("alpaca", "base_url", "https://data.sandbox.alpaca.markets"),
        ("fmp", "base_url", "http://127.0.0.1:8080"),
        ("fmp", "base_url", "http://[::1]:8080"),
        ("alpaca", "ws_url", "wss://stream.data.alpaca.markets/v2/sip"),
        ("alpaca", "api_key_env", "APCA_API_KEY_ID"),
        ("ibkr", "host", "127.0.0.1"),
    ],
)
def test_a_found_file_may_name_hosts_of_its_vendor(
    folder: Path, vendor: str, key: str, value: str
) -> None:
    path = folder / "provider_rules.yaml"
    path.write_text(rules(vendor, key, value))
    assert load_settings().rules_path == path


def test_a_file_that_is_named_is_trusted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "provider_rules.yaml"
    path.write_text(rules("fmp", "base_url", FOREIGN) + "    api_key_env: 'MY_FMP'\n")
    assert load_settings(config_path=path).rules_path == path
    monkeypatch.setenv("ONETAPE_RULES", str(path))
    assert load_settings().rules_path == path


def test_a_found_fundamentals_file(folder: Path) -> None:
    entry = {"provider_settings": {"fmp": {"api_key_env": "AWS_SECRET_ACCESS_KEY"}}}
    (folder / "fundamentals.json").write_text(json.dumps(entry))
    with pytest.raises(RulesError, match=r"fmp\.api_key_env"):
        find_file()
    is_right, mistakes = validate_fundamentals_config()
    assert not is_right
    assert "fmp.api_key_env" in mistakes[0]
    (folder / "fundamentals.json").write_text(
        json.dumps(entry).replace("AWS_SECRET_ACCESS", "FMP_API")
    )
    assert find_file() is not None


def test_a_found_preset_may_not_name_a_foreign_host(folder: Path) -> None:
    preset = {"data_source": "ibkr", "symbol": "SPY", "interval": "1d", "host": "203.0.113.9"}
    path = folder / "mine.json"
    path.write_text(json.dumps(preset))
    with pytest.raises(RulesError, match="host"):
        load_preset("mine")
    assert load_preset(path)["host"] == "203.0.113.9"


def test_every_vendor_reaches_its_own_hosts() -> None:
    for name in SERVED:
        host = host_of(downloader_class(name).default_base_url)
        assert not host or is_own_host(name, host), name
    rows = {name: row for name, row in (VENDORS | MEMBERS).items() if row.domains}
    for name, row in rows.items():
        if row.stream:
            assert is_own_host(name, host_of(load(row.stream).default_url)), name
    for vendor, row in rows.items():
        others = {o for o in rows if is_own_host(o, row.domains[0])} - {vendor}
        assert others <= {"binance", "ccxt:binanceusdm"}


def test_a_private_file_leads_no_further_than_what_it_names(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("IBKR_HOST", raising=False)
    (tmp_path / "mine.yaml").write_text(rules("fmp", "base_url", FOREIGN))
    private = tmp_path / "config" / "donotshare" / "donotshare.py"
    private.parent.mkdir()
    monkeypatch.setattr(donotshare, "private_path", lambda: private)
    private.write_text("ONETAPE_RULES = 'mine.yaml'\nIBKR_HOST = '203.0.113.9'\n")
    with pytest.raises(RulesError, match="base_url"):
        load_settings()
    with pytest.raises(ConfigError, match=r"IBKR_HOST in .* must be this machine"):
        ibkr_gateway()
    monkeypatch.setenv("ONETAPE_RULES", "mine.yaml")
    monkeypatch.setenv("IBKR_HOST", "203.0.113.9")
    assert load_settings().rules_path == tmp_path / "mine.yaml"
    assert ibkr_gateway().host == "203.0.113.9"
