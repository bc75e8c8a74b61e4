"""What errors say to programs and to the people who use them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from src.data import errors
from src.data.clock import ManualClock
from src.data.data_manager import DataManager
from src.data.errors import (
    REASONS,
    AllProvidersFailedError,
    Attempt,
    AuthenticationError,
    CircuitOpenError,
    DataError,
    NoDataError,
    ProviderTimeoutError,
    RateLimitedError,
    RegionError,
    UnknownSymbolError,
)
from tests.vendor_server import VendorServer

CLASSES = [
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, DataError)
]
PAGE = Path(__file__).parents[1] / "docs" / "errors.md"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_reason_and_a_sentence_for_end_users(kind: type[DataError]) -> None:
    text = "GET https://api.acme.com/v1 answered 500"
    error = kind(text, provider="acme", symbol="AAPL", hint="set ACME_API_KEY")
    assert error.reason in REASONS
    assert error.brief.endswith(".") and len(error.brief) < 100
    assert not re.search(r"acme|http|Error|_|[{}\n]", error.brief), error.brief
    assert "AAPL" in error.brief or error.reason in ("question", "configuration", "cache")


def test_all_reasons_are_used_and_explained() -> None:
    page = PAGE.read_text(encoding="utf-8")
    listed = {
        word
        for line in page.splitlines()
        if re.match(r"\| `[a-z_`, ]+` \| ", line)
        for word in re.findall("`([a-z_]+)`", line.split("|")[1])
    }
    assert listed == set(REASONS)
    assert {kind("x").reason for kind in CLASSES} | {"no_data"} == set(REASONS)


@pytest.mark.parametrize(
    "failures, reason",
    [
        ([], "other"),
        ([NoDataError("none")], "no_data"),
        ([NoDataError("none"), RateLimitedError("slow down")], "quota"),
        ([AuthenticationError("wrong key"), RateLimitedError("slow down")], "quota"),
        ([AuthenticationError("wrong key"), RegionError("not there")], "no_key"),
        ([ProviderTimeoutError("late"), CircuitOpenError("down")], "outage"),
    ],
)
def test_of_several_reasons_the_one_that_says_what_to_do(
    failures: list[DataError], reason: str
) -> None:
    attempts = [Attempt("acme", type(error).__name__, error=error) for error in failures]
    assert AllProvidersFailedError("all failed", attempts=attempts).reason == reason
    assert UnknownSymbolError("unknown", attempts=attempts).reason == "unknown_symbol"


@pytest.mark.parametrize(
    "vendor, message, text",
    [
        ("yahoo", "HTTP 503", "yahoo: HTTP 503"),
        ("yahoo", "yahoo: its limit of 60 a minute is used up", "yahoo: its limit of 60 a minute is used up"),
        ("yahoo", "Yahoo Finance: No data found", "Yahoo Finance: No data found"),
        ("alpha_vantage", "Alpha Vantage needs a key", "Alpha Vantage needs a key"),
        ("replay:rec%2Fyahoo", "HTTP 503", "replay:rec/yahoo: HTTP 503"),
        ("replay:rec%2Fyahoo", "replay:rec%2Fyahoo serves stock", "replay:rec/yahoo serves stock"),
    ],
)  # fmt: skip
def test_an_attempt_names_its_vendor_once(vendor: str, message: str, text: str) -> None:
    assert str(Attempt(vendor, "failed", message)) == text


def test_a_symbol_in_a_sentence_is_short_and_plain() -> None:
    error = RateLimitedError("slow down", symbol="\x1b[31m" + "A" * 500)
    assert "\x1b" not in error.brief and len(error.brief) < 150
    assert "this symbol" in RateLimitedError("slow down").brief


def test_a_call_that_fails_says_why(tmp_path: Path, clock: ManualClock) -> None:
    manager = DataManager(tmp_path / "cache", clock=clock)
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("BTCUSDT", "1h", period="1d", offline=True)
    assert caught.value.reason == "other"
    assert caught.value.brief == "The data of BTCUSDT is not available."


def test_splits_that_no_vendor_could_be_asked_for_are_not_said_to_be_none(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules = tmp_path / "rules.yaml"
    url = vendors.refused_url("yahoo")
    rules.write_text(f"providers: {{yahoo: {{base_url: '{url}', transport: http}}}}")
    with pytest.raises(AllProvidersFailedError) as caught:
        DataManager(tmp_path / "cache", rules, clock=clock).get_actions("AAPL")
    assert caught.value.reason == "outage"


def test_the_line_that_installs_an_extra_works_where_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = PAGE.parents[1]
    assert errors.install_line("demo") == f'pip install -e "{checkout}[demo]"'
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "src" / "data" / "errors.py"))
    assert errors.install_line("demo") == 'pip install "onetape[demo]"'
