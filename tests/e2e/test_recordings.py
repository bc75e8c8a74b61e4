"""Recorded vendor responses, replayed without the vendors and their keys."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data import describe
from src.data.core.clock import ManualClock
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.net.http.recordings import Recorder, Recording
from src.data.core.vendors.factory import downloader_class
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    DataError,
    IncompleteDataWarning,
    RulesError,
    UnknownProviderError,
)
from src.data.jobs.vendors.known import known_of
from tests.conformance.sheet import sheet_of
from tests.contract.source import ROOT
from tests.live.vendors import (
    RECORDINGS,
    answers_of,
    recordings_folder,
)
from tests.vendor_server import Fault, VendorServer
from tests.vendor_server.keyed import KEY as SERVERS_KEY

DAY = ("BTCUSDT", "1h", "2024-06-01", "2024-06-01")
SPLIT = ("AAPL", "1d", "2020-08-20", "2020-09-10")  # 4:1 on 2020-08-31
KEY = "c4nary-k3y-of-the-vendor-7719"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is recorded into, named as users do: relative to where they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ONETAPE_RECORD", "seen")
    return tmp_path / "seen"


@pytest.fixture
def replay(
    tmp_path: Path, clock: ManualClock, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., pd.DataFrame]:
    """Return a function that requests bars from a recording, with no vendor and an empty cache."""

    def ask(*question: str, of: str = "seen", **how: object) -> pd.DataFrame:
        monkeypatch.delenv("ONETAPE_RECORD")
        vendors.clear_log()
        for vendor in ("binance", "yahoo"):
            vendors.fault(vendor, Fault.status(500))
        manager = DataManager(tmp_path / "other", clock=clock)
        frame = manager.get_ohlcv(*question, provider=f"replay:{of}", **how)  # type: ignore[arg-type]
        assert not vendors.count("binance") + vendors.count("yahoo")
        return frame

    return ask


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.json"))


def test_recorded_bars_are_replayed_without_the_vendor(
    folder: Path,
    make: Callable[[], DataManager],
    replay: Callable[..., pd.DataFrame],
) -> None:
    seen = make().get_ohlcv(*DAY)
    again = replay(*DAY, of="./seen")
    pd.testing.assert_frame_equal(again, seen)
    proof = again.attrs["onetape"]
    assert (proof["vendors"], proof["sample"]) == (["replay:.%2Fseen"], True)
    assert proof["complete"] and "from         replay:./seen, " in str(describe(again))
    ((file),) = files(folder)
    entry = json.loads(file.read_text("utf-8"))
    assert (entry["recording"], entry["vendor"], entry["asked_at"]) == (
        1, "binance", "2024-06-12T15:00:30Z",
    )  # fmt: skip
    assert entry["request"]["path"].endswith("/api/v3/klines")
    assert entry["request"]["params"]["symbol"] == "BTCUSDT"


@pytest.mark.parametrize("vendor, symbol", [("binance", "BTCUSDT"), ("yahoo", "AAPL"),
                                            ("fmp", "AAPL")])  # fmt: skip
def test_answers_of_vendors_without_keys_to_the_live_tests_are_kept_and_can_be_replayed(
    vendor: str,
    symbol: str,
    vendors: VendorServer,
    clock: ManualClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, rules = tmp_path / "kept", tmp_path / "live.yaml"
    base_url = vendors.base_url(vendor)
    rules.write_text(f"providers: {{{vendor}: {{base_url: '{base_url}', transport: http}}}}\n")
    monkeypatch.setattr("src.data.core.wiring.SystemClock", lambda: clock)
    monkeypatch.setenv("FMP_API_KEY", SERVERS_KEY)
    monkeypatch.setenv(RECORDINGS, str(kept))
    found = answers_of([vendor], tmp_path / "cache", rules, clock)
    # The server's prices are invented, so that they differ from the known ones.
    assert found[0].answer == "differs" and vendors.count(vendor) > 0
    if vendor == "fmp":
        assert not kept.exists(), "answers for a key are not kept"
        return
    (folder,) = kept.glob("*/*")
    assert folder == recordings_folder() / vendor
    days = list(next(k for k in known_of(vendor) if k.symbol == symbol).closes)
    again = DataManager(tmp_path / "other", clock=clock).get_ohlcv(
        symbol, "1d", days[0], days[-1], provider=f"replay:{folder}", strict=True
    )
    assert [f"{day.date()}" for day in again.index] == days
    (said,) = [a.detail for a in found if a.question.startswith(symbol)]
    assert f"close of {days[-1]} is {again['close'].iloc[-1]:.10g}," in said


def test_the_folder_of_live_recordings_is_outside_of_the_tree(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(RECORDINGS, raising=False)
    assert not recordings_folder().is_relative_to(ROOT)


@pytest.mark.parametrize("adjustment", ["raw", "split", "all"])
def test_a_replayed_recording_contains_splits_and_dividends(
    adjustment: str,
    folder: Path,
    make: Callable[[], DataManager],
    replay: Callable[..., pd.DataFrame],
) -> None:
    how = {"provider": "yahoo", "adjustment": adjustment}
    seen = make().get_ohlcv(*SPLIT, **how)  # type: ignore[arg-type]
    again = replay(*SPLIT, of="seen/yahoo", adjustment=adjustment)
    pd.testing.assert_frame_equal(again, seen)


def test_a_replayed_frame_has_the_recorded_splits_and_dividends_as_columns(
    folder: Path, make: Callable[[], DataManager], replay: Callable[..., pd.DataFrame]
) -> None:
    question, columns = ("AAPL", "1d", "2020-08-03", "2020-09-10"), ("dividend", "split")
    seen = make().get_ohlcv(*question, columns=columns)
    again = replay(*question, of="seen/yahoo", columns=columns, strict=True)
    pd.testing.assert_frame_equal(again, seen)
    assert again["split"]["2020-08-31"] == 4 and again["dividend"]["2020-08-07"] == 0.205


def test_a_chart_of_a_recording_has_its_splits_and_dividends_with_their_currency(
    folder: Path, make: Callable[[], DataManager], tmp_path: Path, clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    question = ("AAPL", "1d", "2020-08-03", "2020-09-10")
    seen: Any = make().plot(*question)
    monkeypatch.delenv("ONETAPE_RECORD")
    manager = DataManager(tmp_path / "other", clock=clock)
    again: Any = manager.plot(*question, provider="replay:seen/yahoo")
    marks = [(mark.type, mark.text) for mark in again.chart.marks]
    assert marks == [("dividend", "0.205 USD"), ("split", "4:1")]
    assert again.chart.marks == seen.chart.marks


@pytest.mark.parametrize(
    "vendor",
    [
        "alpaca",
        "alpha_vantage",
        "coingecko",
        "eodhd",
        "finnhub",
        "fmp",
        "polygon",
        "tiingo",
        "twelvedata",
    ],
)
def test_every_vendor_is_replayed_without_its_key(
    vendor: str, folder: Path, tmp_path: Path, clock: ManualClock, vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch, replay: Callable[..., pd.DataFrame],
) -> None:  # fmt: skip
    keys = sheet_of(vendor).keys if downloader_class(vendor).requires_api_key else {}
    for name, value in keys.items():
        monkeypatch.setenv(name, value)
    rules = tmp_path / "own.yaml"
    rules.write_text(json.dumps({"providers": {vendor: {"base_url": vendors.base_url(vendor)}}}))
    is_coin = vendor == "coingecko"
    question = ("BTCUSDT" if is_coin else "AAPL", "1d", "2024-06-03", "2024-06-07")
    how = {"adjustment": "raw" if vendor == "finnhub" else "split"}
    manager = DataManager(tmp_path / "first", rules, clock=clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        seen = manager.get_ohlcv(*question, provider=vendor, **how)  # type: ignore[arg-type]
        for name in keys:
            monkeypatch.delenv(name)
        again = replay(*question, of=f"seen/{vendor}", **how)
    assert len(seen) >= 5
    pd.testing.assert_frame_equal(again, seen)


def test_the_splits_of_a_recording_adjust_only_its_own_bars(
    folder: Path, make: Callable[[], DataManager], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording may be old, or made up."""
    raw = make().get_ohlcv(*SPLIT, provider="yahoo", adjustment="raw")
    monkeypatch.delenv("ONETAPE_RECORD")
    for file in files(folder):
        entry = json.loads(file.read_text("utf-8"))
        chart = json.loads(entry["response"]["text"])
        for event in chart["chart"]["result"][0].get("events", {}).get("splits", {}).values():
            event |= {"numerator": 2, "splitRatio": "2:1"}
        entry["response"]["text"] = json.dumps(chart)
        file.write_text(json.dumps(entry), "utf-8")
    manager = make()
    made_up = manager.get_ohlcv(*SPLIT, provider="replay:seen", adjustment="raw")
    assert made_up["close"].iloc[0] == pytest.approx(raw["close"].iloc[0] / 2)
    again = manager.get_ohlcv(*SPLIT, provider="yahoo", adjustment="raw")
    assert again["close"].tolist() == raw["close"].tolist()
    ratios = manager.get_actions("AAPL", "2020-08-01", "2020-09-30")["ratio"].dropna()
    assert ratios.tolist() == [4]


def test_a_replay_names_the_request_that_was_not_recorded(
    folder: Path, make: Callable[[], DataManager], replay: Callable[..., pd.DataFrame]
) -> None:
    make().get_ohlcv(*DAY)
    with pytest.raises(
        AllProvidersFailedError, match=r"recording .*seen.* has no answer for GET .*ETHUSDT"
    ):
        replay("ETHUSDT", *DAY[1:])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "is damaged"),
        (lambda text: "", "is damaged"),
        (lambda text: "[]", "is damaged"),
        (lambda text: text.replace('"status": 200', '"status": "well"'), "is damaged"),
        (lambda text: text.replace('"status": 200', '"status": -200'), "is damaged"),
        (lambda text: text.replace('"status": 200', '"status": Infinity'), "is damaged"),
        (lambda text: text.replace('"recording": 1', '"recording": Infinity'), "has version inf"),
        (lambda text: "[" * 100_000, "is damaged"),
        (lambda text: text.replace("BTCUSDT", "ETHUSDT"), "contains a different request than its name"),
        (lambda text: text.replace('"recording": 1', '"recording": 2'), "release reads only 1"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_named(
    damage: Callable[[str], str], said: str, folder: Path, make: Callable[[], DataManager],
    replay: Callable[..., pd.DataFrame],
) -> None:  # fmt: skip
    make().get_ohlcv(*DAY)
    ((file),) = files(folder)
    file.write_text(damage(file.read_text("utf-8")), "utf-8")
    with pytest.raises(DataError, match=said) as caught:
        replay(*DAY)
    assert file.name in str(caught.value)


def test_a_replay_of_a_folder_with_several_vendors_or_none_is_refused(
    folder: Path, make: Callable[[], DataManager], replay: Callable[..., pd.DataFrame]
) -> None:
    manager = make()
    manager.get_ohlcv(*DAY)
    manager.get_ohlcv(*SPLIT, provider="yahoo")
    with pytest.raises(
        UnknownProviderError, match=r"2 vendors \(binance, yahoo\).*replay:seen/binance"
    ):
        replay(*DAY)
    for nothing in ("nowhere", "seen/binance/deeper", "%00", "x" * 300):
        with pytest.raises(UnknownProviderError):
            manager.get_ohlcv(*DAY, provider=f"replay:{nothing}")


@pytest.mark.parametrize("method", ["is_dir", "iterdir"])
def test_a_recording_that_this_user_may_not_read_is_a_typed_error(
    folder: Path, manager: DataManager, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    (folder / "binance").mkdir(parents=True)
    real = getattr(Path, method)

    def refusing(path: Path) -> object:
        if path.name == folder.name:
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(Path, method, refusing)
    with pytest.raises(DataError, match=r"recordings in .*seen cannot be read: Permission denied"):
        manager.get_ohlcv(*DAY, provider=f"replay:{folder}")


def test_several_answers_to_one_request_are_replayed_in_their_order(
    folder: Path, make: Callable[[], DataManager], replay: Callable[..., pd.DataFrame]
) -> None:
    for _ in range(2):
        make().get_ohlcv(*DAY, force_refresh=True)
    first, second = files(folder)
    entry = json.loads(second.read_text("utf-8"))
    rows = json.loads(entry["response"]["text"])
    rows[0][5] = "1.5"
    entry["response"]["text"] = json.dumps(rows)
    second.write_text(json.dumps(entry), "utf-8")
    recording = Recording(folder / "binance")
    asked = HttpRequest("http://any.where" + entry["request"]["path"], entry["request"]["params"])
    answers = [json.loads(recording.send(asked).text)[0][5] for _ in range(3)]
    assert answers == [
        json.loads(json.loads(first.read_text())["response"]["text"])[0][5],
        "1.5",
        "1.5",
    ]


def test_a_recording_contains_no_key(
    folder: Path,
    vendors: VendorServer,
    tmp_path: Path,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither those that are sent nor those that an answer quotes, of this vendor or another."""
    other = "an0ther-k3y-of-tiingo-5521"
    monkeypatch.setenv("FMP_API_KEY", KEY)
    monkeypatch.setenv("TIINGO_API_KEY", other)
    rules = tmp_path / "fmp.yaml"
    rules.write_text(json.dumps({"providers": {"fmp": {"base_url": vendors.base_url("fmp")}}}))
    vendors.fault(
        "fmp", Fault.status(403, json.dumps({"Error Message": f"Invalid API KEY {KEY} {other}"}))
    )
    manager = DataManager(tmp_path / "cache", rules, clock=clock)
    with pytest.raises(DataError):
        manager.get_ohlcv("AAPL", "1d", "2024-06-03", "2024-06-07", provider="fmp")
    texts = [file.read_text("utf-8") for file in files(folder)]
    assert texts
    assert not any(KEY in text or other in text for text in texts)
    assert "Invalid API KEY *** ***" in texts[0]


def test_a_recording_folder_that_cannot_be_written_is_logged_and_affects_no_call(
    folder: Path, make: Callable[[], DataManager], caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file")
    manager = make()
    assert len(manager.get_ohlcv(*DAY)) == 24
    assert len(manager.get_ohlcv("ETHUSDT", *DAY[1:])) == 24
    assert len([r for r in caplog.records if "ONETAPE_RECORD" in r.getMessage()]) == 1


@pytest.mark.parametrize("name", ["replay", "replay:"])
def test_a_replay_without_a_folder_is_refused(name: str, manager: DataManager) -> None:
    with pytest.raises(
        UnknownProviderError,
        match=r"replay needs a folder of recordings .*replay:recordings/binance",
    ):
        manager.get_ohlcv(*DAY, provider=name)


def test_a_request_with_half_a_surrogate_pair_is_recorded_and_replayed(tmp_path: Path) -> None:
    request = HttpRequest("http://any.where/bars", {"symbol": "\udc80"})
    Recorder(tmp_path).keep("acme", request, HttpResponse(200, body=b"[]"), 0)
    assert Recording(tmp_path / "acme").send(request).body == b"[]"


def test_rules_that_name_a_recording_are_refused(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("crypto: {primary: 'replay:seen'}\n")
    with pytest.raises(RulesError, match="only in calls that name it"):
        DataManager(tmp_path / "cache", rules)
