"""Tests the attributes and the messages of errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data import errors
from src.data.cli.output import described
from src.data.core.clock import ManualClock
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
    QueryError,
    RateLimitedError,
    RegionError,
    UnknownSymbolError,
)
from tests.core.cache.counts import FULL
from tests.vendor_server import VendorServer

CLASSES = [
    each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, DataError)
]
PAGE = Path(__file__).parents[1] / "docs" / "errors.md"


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_reason_and_a_sentence_for_end_users(kind: type[DataError]) -> None:
    text = "GET https://api.acme.com/v1 answered 500"
    error = kind(text, provider="acme", symbol="AAPL", hint="set ACME_API_KEY")
    assert (str(error), error.hint) == (f"{text} (set ACME_API_KEY)", "set ACME_API_KEY")
    assert error.reason in REASONS
    assert error.brief.endswith(".") and len(error.brief) < 100
    assert not re.search(r"acme|http|Error|_|[{}\n]", error.brief), error.brief
    assert "AAPL" in error.brief or error.reason in (
        "question", "configuration", "cache", "database",
    )  # fmt: skip


WORDS = " ".join(["word"] * 100)  # 499 characters


@pytest.mark.parametrize(
    "text, shown",
    [
        ("a" * 400, "a" * 400),
        ("a" * 39 + "b" * 360 + "cd", "a" * 39 + "b…cd"),
        (f"not a symbol: '{'a' * 400}'", f"not a symbol: '{'a' * 39}…a'"),
        (WORDS, f"{WORDS[:200]}…{WORDS[-200:]}"),
        (f"{'a' * 300}\n{WORDS[:400]}", f"{'a' * 300}\n{WORDS[:400]}"),
        (f"{'a' * 300}\n{WORDS[:401]}", f"{'a' * 300}\n{WORDS[:200]}…{WORDS[201:401]}"),
    ],
    ids=["400", "a word", "a value", "a line", "a line of 400", "a line of 401"],
)
def test_overlong_values_and_lines_are_left_out_in_the_middle(text: str, shown: str) -> None:
    assert str(QueryError(text)) == shown
    assert QueryError("unknown", hint=text).hint == shown


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
        ([AuthenticationError("wrong key"), RegionError("does not exist")], "no_key"),
        ([ProviderTimeoutError("late"), CircuitOpenError("down")], "outage"),
    ],
)
def test_the_reason_of_several_failures_is_the_most_actionable_one(
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


@pytest.mark.parametrize(
    "typed, candidates, brief",
    [
        (
            "BTC",
            ("BTCUSDT", "BTC-USD", "BTC.US"),
            "BTC may be BTCUSDT, BTC-USD or BTC.US.",
        ),
        ("$BTC", ("BTCUSDT", "BTC-USD", "BTC.US"), "$BTC may be BTCUSDT, BTC-USD or BTC.US."),
        ("bitcoin", ("BTCUSDT", "BTC-USD"), "bitcoin may be BTCUSDT or BTC-USD."),
        ("microsft", ("MSFT",), "microsft may be MSFT."),
        ("KRAKEN:BTCUSDT", ("BTCUSDT",), "KRAKEN:BTCUSDT may be BTCUSDT."),
        ("zzzzzzzz", (), "No data source is set up for zzzzzzzz."),
        ("AA PL", ("AA.LS",), "AA PL may be AA.LS."),
        ("A_A/ ?", (), "A_A/ ? is not a valid symbol."),
    ],
)
def test_an_ambiguous_symbol_gets_suggestions_without_a_network(
    tmp_path: Path, clock: ManualClock, typed: str, candidates: tuple[str, ...], brief: str
) -> None:
    """On a fresh cache, by every method that takes a symbol; the command line tells the same."""
    manager = DataManager(tmp_path / "cache", clock=clock)
    calls: list[Callable[[], object]] = [
        lambda: manager.get_ohlcv(typed, "1d", bars=5),
        lambda: manager.plan(typed, "1d", bars=5),
        lambda: manager.explain(typed, "1d"),
        lambda: manager.get_quote(typed),
        lambda: manager.get_actions(typed),
        lambda: manager.coverage(typed, "1d"),
        lambda: manager.sessions(typed, "2024-01-02", "2024-01-03"),
        lambda: manager.validate(typed, "1d"),
        lambda: manager.get_funding_rate(typed),
        lambda: manager.live_feed(typed, "1d"),
    ]
    for call in calls if FULL or typed == "BTC" else calls[:1]:
        with pytest.raises(DataError) as caught:
            call()
        assert (caught.value.candidates, caught.value.brief) == (candidates, brief)
    frame = manager.get_ohlcv_batch([typed], "1d", bars=5)[typed]
    told = frame.attrs["onetape"]["error"]
    assert (told["candidates"], told["brief"]) == (list(candidates), brief)
    assert described(caught.value)["candidates"] == list(candidates)


@pytest.mark.parametrize("as_unknown", [True, False], ids=["unknown", "outage"])
def test_a_misspelt_ticker_leads_to_the_packaged_names_unless_no_vendor_answered(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock, as_unknown: bool
) -> None:
    rules = tmp_path / "rules.yaml"
    url = vendors.base_url("yahoo") if as_unknown else vendors.refused_url("yahoo")
    rules.write_text(f"providers: {{yahoo: {{base_url: '{url}', transport: http}}}}\n")
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("APPL", "1d", bars=5)
    assert isinstance(caught.value, UnknownSymbolError) is as_unknown
    assert ("did you mean AAPL (Apple Inc.)" in str(caught.value)) is as_unknown
    if as_unknown:
        assert caught.value.candidates[0] == "AAPL"
        assert caught.value.nearest == caught.value.candidates
        assert caught.value.brief.startswith("APPL may be AAPL")
    else:
        assert caught.value.brief.startswith("The data source for APPL cannot be reached")
        assert caught.value.candidates == ()


def test_a_failed_call_has_a_reason_and_a_brief_sentence(
    tmp_path: Path, clock: ManualClock
) -> None:
    manager = DataManager(tmp_path / "cache", clock=clock)
    with pytest.raises(AllProvidersFailedError) as caught:
        manager.get_ohlcv("BTCUSDT", "1h", period="1d", offline=True)
    assert caught.value.reason == "other"
    assert caught.value.brief == "The data for BTCUSDT is not available."


def test_get_actions_raises_an_outage_and_not_no_data_if_the_only_vendor_is_down(
    tmp_path: Path, vendors: VendorServer, clock: ManualClock
) -> None:
    rules = tmp_path / "rules.yaml"
    url = vendors.refused_url("yahoo")
    rules.write_text(f"providers: {{yahoo: {{base_url: '{url}', transport: http}}}}")
    with pytest.raises(AllProvidersFailedError) as caught:
        DataManager(tmp_path / "cache", rules, clock=clock).get_actions("AAPL")
    assert caught.value.reason == "outage"


def test_the_install_line_of_an_extra_fits_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = PAGE.parents[1]
    assert errors.install_line("demo") == f'pip install -e "{checkout}[demo]"'
    monkeypatch.setattr(errors, "__file__", str(tmp_path / "src" / "data" / "errors.py"))
    assert errors.install_line("demo") == 'pip install "onetape[demo]"'
