from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import src.data.core.vendors as package
import src.data.downloader as older
from src.data.core.config.credentials import known_keys
from src.data.core.observability.masking import without_keys
from src.data.core.registry import SERVED, VENDORS
from src.data.core.vendors.binance.bars import BinanceDataDownloader
from src.data.core.vendors.factory import DataDownloaderFactory, downloader_class
from src.data.core.vendors.tiingo.bars import TiingoDataDownloader
from src.data.errors import ConfigError, UnknownProviderError
from tests.core.net.scripted import ScriptedTransport, sender_over

FOLDER = Path(next(iter(package.__path__)))


def test_the_folder_is_the_registry() -> None:
    having_bars = {name for name, row in VENDORS.items() if row.bars}
    assert {p.parent.name for p in FOLDER.glob("*/bars.py")} == having_bars


@pytest.mark.parametrize("name", SERVED)
def test_the_declarations_of_every_vendor_agree_with_the_registry(name: str) -> None:
    cls = downloader_class(name)
    assert cls.name == name
    assert cls.display_name
    assert cls.aliases == VENDORS[name].aliases
    assert not cls.secrets or cls.secrets == VENDORS[name].keys
    assert cls.capabilities.timeframes
    assert cls.capabilities.asset_classes
    assert cls.sdk_carrier == "" or ":" in cls.sdk_carrier


@pytest.mark.parametrize(
    "code, name", [("bnc", "binance"), ("YF", "yahoo"), ("yfinance", "yahoo"), ("local", "local")]
)
def test_aliases_resolve_to_the_vendors_canonical_name(code: str, name: str) -> None:
    assert DataDownloaderFactory.get_provider_by_code(code) == name
    assert DataDownloaderFactory.PROVIDER_MAP[code.lower()] == name


def test_downloaders_are_created_by_alias() -> None:
    sender = sender_over(ScriptedTransport())
    made = DataDownloaderFactory.create_downloader("bnc", sender=sender, api_key="k")
    assert isinstance(made, BinanceDataDownloader)


@pytest.mark.parametrize("code", ["nobody", "", None, 5])
def test_unknown_vendors_are_none(code: str, caplog: pytest.LogCaptureFixture) -> None:
    assert DataDownloaderFactory.create_downloader(code) is None
    assert DataDownloaderFactory.get_provider_by_code(code) is None
    assert "no downloader" in caplog.text
    with pytest.raises(UnknownProviderError, match="binance"):
        downloader_class(code)


def test_a_downloader_that_cannot_be_created_is_none_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert DataDownloaderFactory.create_downloader("local") is None
    assert "providers.local.folder" in caplog.text
    assert DataDownloaderFactory.create_downloader("binance", nonsense=1) is None


@pytest.mark.parametrize("key", [12345678, b"12345678", True, ["12345678"]])
def test_a_key_that_is_not_a_string_is_refused_and_not_searched_for(key: Any) -> None:
    for vendor, options in (
        ("fmp", {"api_key": key}),
        ("alpaca", {"api_key": "a", "secret_key": key}),
    ):
        assert DataDownloaderFactory.create_downloader(vendor, **options) is None
    with pytest.raises(ConfigError, match="the key for Tiingo is not a string") as caught:
        TiingoDataDownloader(api_key=key)
    assert "12345678" not in str(caught.value)
    assert without_keys("a text", known_keys().values()) == "a text"


def test_provider_info_lists_every_vendor_and_its_codes() -> None:
    info = DataDownloaderFactory.get_provider_info()
    assert list(info) == DataDownloaderFactory.list_providers() == list(SERVED)
    assert info["yahoo"] == {
        "codes": ["yahoo", "yf", "yf_finance", "yfinance"],
        "name": "Yahoo Finance",
        "requires_api_key": False,
    }
    assert set(DataDownloaderFactory.get_supported_providers()) >= {"bnc", "binance", "yf"}
    assert DataDownloaderFactory.get_spec("yf").canonical == "yahoo"


def test_the_vendors_that_older_programs_know_can_be_imported_from_the_older_package() -> None:
    others = {"BaseDataDownloader", "DataDownloaderFactory"}
    classes = {name: getattr(older, name) for name in set(older.__all__) - others}
    assert len(classes) == 16
    for name, cls in classes.items():
        assert (cls.__name__, downloader_class(cls.name)) == (name, cls)
    with pytest.raises(AttributeError, match="NobodyDataDownloader"):
        older.__getattr__("NobodyDataDownloader")
