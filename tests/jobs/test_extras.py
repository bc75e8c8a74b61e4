"""Extras: which optional packages are installed, hidden by a file, or needed by the transport."""

from __future__ import annotations

import importlib
import re
from configparser import ConfigParser
from pathlib import Path

import pytest

from src.data.core.config.settings import load_settings
from src.data.core.provider_selector import ProviderSelector
from src.data.errors import install_line
from src.data.jobs.vendors import extras
from src.data.jobs.vendors.checks import Check
from src.data.jobs.vendors.extras import (
    EXTRAS,
    GROUPS,
    Extra,
    extra_state,
    group_state,
    installed,
    without_effect,
)
from src.data.jobs.vendors.vendors import selector_of
from tests.contract.source import ROOT


def selector(folder: Path, rules: str = "version: 1\n") -> ProviderSelector:
    path = folder / "rules.yaml"
    path.write_text(rules)
    return selector_of(load_settings(folder / "cache", path))


def test_every_extra_of_the_setup_is_listed_with_its_package() -> None:
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras_of_setup = dict(setup["options.extras_require"])
    packages = {name: re.split(r">=|\[", text.strip())[0] for name, text in extras_of_setup.items()}
    assert {name: extra.distribution for name, extra in EXTRAS.items()} == {
        name: packages[name]
        for name in set(packages)
        - {"all", "bot", "browser", "dev", "docs", "full", "release", "test"}
    }

    for name, parts in GROUPS.items():
        assert {"onetape", *parts} == set(re.findall(r"\w+", extras_of_setup[name])), name


def test_an_extra_that_installs_others_names_those_that_lack(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = group_state("bot")
    monkeypatch.setitem(EXTRAS, "db", Extra("no_such_package", "no-such-package", "nothing"))
    lacks = group_state("bot")
    assert (whole.level, lacks.level) == ("ok", "note")
    assert (lacks.sentence, lacks.remedy[-5:-1]) == ("not installed: db", "bot]")


HTTP = "is queried over plain HTTP"
SDK, AUTO, PLAIN = "(transport: sdk)", "(transport: auto)", "(transport: http)"
NEED = "not installed and not needed"
BROWSER = "sends Yahoo's requests as a browser would"
STATES = [
    ("alpaca", "sdk", "9.1", "ok", f"alpaca-py 9.1: sends Alpaca's requests {SDK}", ""),
    ("alpaca", "auto", "9.1", "note", f"alpaca-py 9.1, not used: Alpaca {HTTP} {AUTO}", ""),
    ("alpaca", "http", "9.1", "note", f"alpaca-py 9.1, not used: Alpaca {HTTP} {PLAIN}", ""),
    ("alpaca", "sdk", "", "fault", "transport: sdk needs alpaca-py, which is not installed", "both"),
    ("alpaca", "auto", "", "note", f"{NEED}: Alpaca {HTTP} {AUTO}", ""),
    ("alpaca", "http", "", "note", f"{NEED}: Alpaca {HTTP} {PLAIN}", ""),
    ("binance", "sdk", "9.1", "ok", f"python-binance 9.1: sends Binance's requests {SDK}", ""),
    ("binance", "auto", "9.1", "note", f"python-binance 9.1, not used: Binance {HTTP} {AUTO}", ""),
    ("binance", "sdk", "", "fault", "transport: sdk needs python-binance, which is not installed",
     "both"),
    ("yahoo", "sdk", "9.1", "ok", f"yfinance 9.1: {BROWSER} {SDK}", ""),
    ("yahoo", "auto", "9.1", "ok", f"the session of yfinance 9.1: {BROWSER} {AUTO}", ""),
    ("yahoo", "http", "9.1", "note", f"yfinance 9.1, not used: Yahoo Finance {HTTP} {PLAIN}", ""),
    ("yahoo", "auto", "", "note", f"not installed: yfinance {BROWSER} {AUTO}; over plain HTTP, Yahoo "
     "Finance may reject requests (HTTP 429 or 401)", "install"),
    ("yahoo", "sdk", "", "fault", "transport: sdk needs yfinance, which is not installed", "both"),
    ("ccxt", "sdk", "9.1", "ok", "ccxt 9.1: fetches from any of a hundred exchanges, such as ccxt:kraken",
     ""),
    ("ccxt", "http", "", "note",
     "not installed: ccxt fetches from any of a hundred exchanges, such as ccxt:kraken", "install"),
    ("ibkr", "auto", "9.1", "ok", "ib_async 9.1: connects to your own gateway of Interactive Brokers",
     ""),
]  # fmt: skip


@pytest.mark.parametrize("name, mode, version, level, said, remedy", STATES)
def test_the_state_of_an_extra_depends_on_the_transport(
    name: str,
    mode: str,
    version: str,
    level: str,
    said: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(extras, "installed", lambda _: (version, ""))
    line = install_line(name)
    remedy = {"": "", "install": line, "both": f"{line}, or set transport: http"}[remedy]
    chosen = selector(tmp_path, f"providers: {{{name}: {{transport: {mode}}}}}\n")
    assert extra_state(chosen, name) == Check(level, f"installation extra {name}", said, remedy)


def test_the_state_of_an_extra_without_vendors_does_not_depend_on_the_rules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = selector(tmp_path)
    monkeypatch.setattr(extras, "installed", lambda _: ("9.1", ""))
    name, use = "installation extra live", "receives vendors' streams"
    assert extra_state(chosen, "live") == Check("ok", name, f"websocket-client 9.1: {use}")
    monkeypatch.setattr(extras, "installed", lambda _: ("", ""))
    assert extra_state(chosen, "live") == Check(
        "note",
        "installation extra live",
        f"not installed: websocket-client {use}",
        install_line("live"),
    )


@pytest.mark.parametrize(
    "mode, version, level",
    [("sdk", "9.1", "fault"), ("sdk", "", "fault"), ("auto", "9.1", "note"), ("http", "", "note")],
)
def test_a_file_that_hides_a_package_is_a_fault_only_if_the_transport_needs_the_package(
    mode: str, version: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "installed", lambda _: (version, "mine/alpaca.py"))
    found = extra_state(
        selector(tmp_path, f"providers: {{alpaca: {{transport: {mode}}}}}\n"), "alpaca"
    )
    assert found.level == level
    assert ("mine/alpaca.py is imported instead of alpaca-py" in found.sentence) is (
        level == "fault"
    )
    assert ("remove or rename it, or start from another folder" in found.remedy) is (
        level == "fault"
    )


NAME = "onetape_sample_package"
SAMPLE = Extra(NAME, "onetape-sample", "is a sample")


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of installed packages, and before it that of the user's program."""
    site, program = tmp_path / "site", tmp_path / "program"
    for folder in (site, program):
        folder.mkdir()
        monkeypatch.syspath_prepend(str(folder))
    return site


def put(site: Path, *, is_one_file: bool = False) -> None:
    place = site / f"{NAME}.py" if is_one_file else site / NAME / "__init__.py"
    place.parent.mkdir(exist_ok=True)
    place.write_text("raise RuntimeError('nothing imports it')\n")
    (site / "onetape_sample-9.1.dist-info").mkdir()
    (site / "onetape_sample-9.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: onetape-sample\nVersion: 9.1\n"
    )
    importlib.invalidate_caches()


@pytest.mark.parametrize("is_one_file", [False, True])
def test_the_reported_version_is_that_of_the_package(site: Path, is_one_file: bool) -> None:
    assert installed(SAMPLE) == ("", "")
    put(site, is_one_file=is_one_file)
    assert installed(SAMPLE) == ("9.1", "")


@pytest.mark.parametrize("is_one_file", [False, True])
def test_a_file_of_the_user_that_hides_a_package_is_reported(site: Path, is_one_file: bool) -> None:
    put(site, is_one_file=is_one_file)
    mine = site.parent / "program" / f"{NAME}.py"
    mine.write_text("raise RuntimeError('nothing imports it')\n")
    importlib.invalidate_caches()
    assert installed(SAMPLE) == ("9.1", str(mine))


def test_a_folder_with_the_name_of_a_package_is_not_an_installation(site: Path) -> None:
    (site.parent / "program" / NAME).mkdir()
    assert installed(SAMPLE) == ("", "")
    put(site)
    assert installed(SAMPLE) == ("9.1", "")


def test_a_module_without_a_distribution_is_not_an_installation(site: Path) -> None:
    mine = site.parent / "program" / f"{NAME}.py"
    mine.write_text("")
    importlib.invalidate_caches()
    assert installed(SAMPLE) == ("", str(mine))


def test_vendors_with_a_transport_setting_without_effect_are_listed(tmp_path: Path) -> None:
    rules = "providers: {fmp: {transport: sdk}, ccxt: {transport: sdk}, yahoo: {transport: sdk}}\n"
    assert without_effect(selector(tmp_path, rules)) == ["fmp", "ccxt"]
    assert without_effect(selector(tmp_path)) == []
