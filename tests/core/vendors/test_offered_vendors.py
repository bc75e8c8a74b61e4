from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.data.core.config.offered import known_names, known_vendor, offers
from src.data.core.config.rules_file import load_rules
from src.data.core.config.settings import load_settings
from src.data.core.vendors.base import BaseDataDownloader
from src.data.core.vendors.factory import (
    SERVED,
    DataDownloaderFactory,
    canonical_name,
    downloader_class,
    downloader_for,
    names,
    usable_class,
)
from src.data.errors import ConfigError, RulesError, UnknownProviderError
from src.data.jobs.vendors.vendors import describe_vendors, selector_of
from tests.core.vendors.packages import PackageFolder, package_folder
from tests.e2e.fresh import Fresh

GOOD = """
from src.data.downloader.base_data_downloader import BaseDataDownloader


class Acme(BaseDataDownloader):
    name = "acme"
    display_name = "Acme"


class Beta(BaseDataDownloader):
    name = "beta"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageFolder]:
    """Yield a folder for packages on ``sys.path``, still empty."""
    folder = tmp_path / "site"
    folder.mkdir()
    with package_folder(folder, monkeypatch) as made:
        yield made


def test_an_installed_package_adds_a_vendor(site: PackageFolder) -> None:
    assert canonical_name("acme") is None
    site.put("acme_one", GOOD, {"acme": "acme_one:Acme"})
    assert canonical_name(" Acme ") == "acme"
    assert names() == (*SERVED, "acme")
    assert known_names()[-1] == "acme"
    assert "acme_one" not in sys.modules, "naming it imports nothing"
    cls = downloader_class("ACME")
    assert issubclass(cls, BaseDataDownloader)
    assert downloader_class("acme") is cls
    assert DataDownloaderFactory.list_providers()[-1] == "acme"
    assert DataDownloaderFactory.PROVIDER_MAP["acme"] == "acme"
    assert DataDownloaderFactory.get_provider_info()["acme"] == {
        "codes": ["acme"], "name": "Acme", "requires_api_key": False,
    }  # fmt: skip
    assert type(DataDownloaderFactory.create_downloader("acme")) is cls


BROKEN = {
    "it raises": ("raise RuntimeError('at https://x.example/?key=CANARY')", "raised RuntimeError"),
    "it misses something": ("import nothing_of_this_name", "ModuleNotFoundError"),
    "no such class": ("", "AttributeError"),
    "no class": ("Acme = 5", "not a subclass of BaseDataDownloader"),
    "another class": ("class Acme: name = 'acme'", "not a subclass of BaseDataDownloader"),
    "another name": (GOOD.replace('"acme"', '"ekme"'), "its `name` is 'ekme', not 'acme'"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_vendor_plugin_is_reported_and_breaks_no_other(
    how: str, site: PackageFolder, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    code, said = BROKEN[how]
    site.put("bad", code, {"acme": "bad:Acme"})
    site.put("good", GOOD, {"beta": "good:Beta"})
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            with pytest.raises(UnknownProviderError, match="'acme', bad:Acme from bad") as raised:
                downloader_class("acme")
            assert said in str(raised.value)
            assert raised.value.provider == "acme"
    assert len([r for r in caplog.records if "cannot be used" in r.message]) == 1, "said once"
    assert "CANARY" not in caplog.text
    assert usable_class("acme") is None
    assert DataDownloaderFactory.create_downloader("acme") is None
    assert {"binance", "beta"} <= set(DataDownloaderFactory.get_provider_info())
    assert "acme" not in DataDownloaderFactory.get_provider_info()
    selector = selector_of(load_settings(tmp_path / "cache"))
    reported = {v["name"]: v for v in describe_vendors(selector)}
    assert said in reported["acme"]["why_not"]
    assert reported["beta"]["ready"]
    assert downloader_for(selector, "acme") is None
    assert downloader_for(selector, "beta") is not None


def test_vendor_names_that_are_taken_or_invalid_are_refused(
    site: PackageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    refused = ("binance", "bnc", "ibkr", "Acme", "a-b", "../x", "9lives")
    before = [canonical_name(name) for name in refused]
    site.put("acme_one", GOOD, dict.fromkeys(refused, "acme_one:Acme") | {"beta": "acme_one:Beta"})
    with caplog.at_level(logging.WARNING):
        assert list(offers()) == ["beta"]
    for name in refused:
        assert f"provider {name!r} of acme-one is ignored" in caplog.text
    assert [canonical_name(name) for name in refused] == before


def test_the_first_package_by_name_provides_a_vendor_offered_by_two(
    site: PackageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    site.put("zzz", GOOD, {"acme": "zzz:Acme"})
    site.put("aaa", GOOD, {"acme": "aaa:Acme"})
    with caplog.at_level(logging.WARNING):
        assert downloader_class("acme").__module__ == "aaa"
    assert "of zzz is ignored: aaa already uses this name" in caplog.text


def test_a_package_installed_twice_counts_once(
    site: PackageFolder, caplog: pytest.LogCaptureFixture
) -> None:
    site.put("acme_one", GOOD, {"acme": "acme_one:Acme"}, "acme-one")
    site.put("acme_one", GOOD, {"acme": "acme_one:Acme"}, "acme-one-editable")
    assert list(offers()) == ["acme"]
    assert not caplog.records


def test_rules_may_name_a_vendor_plugin_and_a_typo_suggests_its_name(
    site: PackageFolder, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("crypto: {primary: ACME, backup: [binance]}\nproviders: {Acme: {name: A}}\n")
    with pytest.raises(RulesError, match="not a vendor"):
        load_rules(path)
    site.put("acme_one", GOOD, {"acme": "acme_one:Acme"})
    rules = load_rules(path)
    assert rules.rules["crypto"].vendors == ("acme", "binance")
    assert rules.provider("acme").title == "A"
    path.write_text("crypto: {primary: acmee}\n")
    with pytest.raises(ConfigError, match="acme"):
        load_rules(path)


def test_installed_packages_are_not_searched_for_built_in_vendor_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("src.data.core.config.offered.offers", lambda: pytest.fail("looked up"))
    assert known_vendor("yf") == "yahoo"
    assert canonical_name("BNC") == "binance"
    assert downloader_class("local").name == "local"


def test_importing_the_package_and_loading_rules_reads_no_package_metadata(fresh: Fresh) -> None:
    code = (
        "import sys, src.data, src.data.data_manager, src.data.core.vendors.factory as r\n"
        "from src.data.core.config.rules_file import load_rules\n"
        "load_rules(None); r.downloader_class('binance')\n"
        "from src.data.core.config.offered import _installed_offers\n"
        "print(_installed_offers.cache_info().misses)"
    )
    assert fresh.run(code) == "0\n"
