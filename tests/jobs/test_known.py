"""Known questions to vendors, against local servers that answer right, wrongly, late, or with a page."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import main
from src.data.core.clock import SystemClock
from src.data.core.config.settings import load_settings
from src.data.core.model.time.instant import parse_iso
from src.data.jobs.vendors import known
from src.data.jobs.vendors.known import Answer, vendor_answers
from src.data.jobs.vendors.vendors import selector_of
from tests.core.net.scripted import Recorder, reply, serving

Handle = Callable[[BaseHTTPRequestHandler], None]
Ask = Callable[..., dict[tuple[str, str], Answer]]
# As Binance's archive, the consolidated tape and S&P have them, written here a second time.
BTC = {"2024-01-01": 44179.55, "2024-01-02": 44946.91, "2024-01-03": 42845.23}
AAPL = {"2020-08-28": 124.8075, "2020-08-31": 129.04, "2020-09-01": 134.18}
AAPL_RAW = AAPL | {"2020-08-28": 499.23}
SPX = {"2020-03-12": 2480.64, "2020-03-13": 2711.02, "2020-03-16": 2386.13}
PAGE = b"<!doctype html><title>Welcome to the hotel</title>"
SPLIT = {"1598880600": {"date": 1598880600, "numerator": 4, "denominator": 1, "splitRatio": "4:1"}}


def binance(closes: dict[str, float]) -> Handle:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        rows = [
            [parse_iso(day), f"{c}", f"{c + 9}", f"{c - 9}", f"{c}", "5", parse_iso(day) + 86_399_999,
             "9", 7, "1", "1", "0"]
            for day, c in closes.items()
        ]  # fmt: skip
        reply(handler, json.dumps(rows if "klines" in handler.path else {}).encode(), 200)

    return handle


def yahoo(share: dict[str, float], index: dict[str, float] = SPX, events: Any = SPLIT) -> Handle:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        is_share = "AAPL" in handler.path
        closes = share if is_share else index
        values = list(closes.values())
        quote = {
            "open": values,
            "high": values,
            "low": values,
            "close": values,
            "volume": [9] * len(values),
        }
        meta = {"currency": "USD", "symbol": "AAPL" if is_share else "^GSPC", "dataGranularity": "1d",
                "instrumentType": "EQUITY" if is_share else "INDEX", "exchangeName": "NMS",
                "exchangeTimezoneName": "America/New_York", "gmtoffset": -14400}  # fmt: skip
        stamps = [parse_iso(f"{day}T13:30") // 1000 for day in closes]
        found = {
            "meta": meta,
            "timestamp": stamps,
            "indicators": {"quote": [quote], "adjclose": [{"adjclose": values}]},
        }
        if is_share:
            found["events"] = {"splits": events}
        reply(handler, json.dumps({"chart": {"result": [found], "error": None}}).encode(), 200)

    return handle


def tiingo(closes: dict[str, float], factor: float = 4.0) -> Handle:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        rows = [
            {"date": f"{day}T00:00:00.000Z", "open": c, "high": c, "low": c, "close": c, "volume": 3,
             "divCash": 0.0, "splitFactor": factor if day == "2020-08-31" else 1.0}
            for day, c in closes.items()
        ]  # fmt: skip
        reply(handler, json.dumps(rows if "AAPL" in handler.path else []).encode(), 200)

    return handle


def page(handler: BaseHTTPRequestHandler) -> None:
    reply(handler, PAGE, 200)


@pytest.fixture
def servers() -> dict[str, Recorder]:
    return {}


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, servers: dict[str, Recorder]
) -> Iterator[Callable[..., list[str]]]:
    """Yield a function that starts servers and returns the options of a command that uses them."""
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("TIINGO_API_KEY", "CANARY-0123456789")
    monkeypatch.chdir(tmp_path)
    with ExitStack() as stack:

        def start(**handles: Handle) -> list[str]:
            lines = ["providers:"]
            for name, handle in handles.items():
                servers[name] = stack.enter_context(serving(handle))
                more = "" if name == "tiingo" else ", transport: http"
                lines.append(f"  {name}: {{base_url: '{servers[name].base}'{more}}}")
            path = tmp_path / "rules.yaml"
            path.write_text("\n".join(lines))
            monkeypatch.setattr(known, "market_vendors", lambda: [*handles])
            return ["--config", str(path), "--cache-dir", str(tmp_path / "cache")]

        yield start


@pytest.fixture
def ask(machine: Callable[..., list[str]], tmp_path: Path) -> Ask:
    def ask(within_s: float = 60.0, **handles: Handle) -> dict[tuple[str, str], Answer]:
        machine(**handles)
        selector = selector_of(load_settings(tmp_path / "cache", tmp_path / "rules.yaml"))
        found = vendor_answers(
            selector, [*handles], SystemClock(), reach_s=within_s, within_s=within_s
        )
        assert not (tmp_path / "cache").exists()
        return {(a.vendor, a.question.partition(" ")[0]): a for a in found}

    return ask


def test_right_answers_on_the_basis_of_each_vendor(ask: Ask, servers: dict[str, Recorder]) -> None:
    found = ask(binance=binance(BTC), yahoo=yahoo(AAPL), tiingo=tiingo(AAPL_RAW))
    stock = {key: (a.answer, a.detail) for key, a in found.items() if key[1] != "BTC-USD"}
    assert stock == {
        ("binance", "BTCUSDT"): ("right", ""),
        ("yahoo", "AAPL"): ("right", ""),
        ("yahoo", "^GSPC"): ("right", ""),
        ("tiingo", "AAPL"): ("right", ""),
    }
    for server in servers.values():
        asked = [path for path, _ in server.requests if path.partition("?")[0] != "/"]
        assert 1 <= len(asked) <= 2


@pytest.mark.parametrize(
    "handles, key, detail",
    [
        ({"binance": binance(BTC | {"2024-01-02": 45946.91})}, ("binance", "BTCUSDT"),
         "close of 2024-01-02 is 45946.91, not 44946.91"),
        ({"binance": binance({d: c for d, c in BTC.items() if d != "2024-01-02"})},
         ("binance", "BTCUSDT"), "no bar of 2024-01-02"),
        # Each close stands one day too late.
        ({"binance": binance(dict(zip(BTC, [1.0, *BTC.values()], strict=False)) | {"2024-01-01": 42283.58})},
         ("binance", "BTCUSDT"), "close of 2024-01-01 is 42283.58, not 44179.55"),
        ({"yahoo": yahoo(AAPL_RAW)}, ("yahoo", "AAPL"), "close of 2020-08-28 is 499.23, not 124.8075"),
        ({"yahoo": yahoo(AAPL, events={})}, ("yahoo", "AAPL"), "splits are not reported, not 4:1"),
        ({"tiingo": tiingo(AAPL_RAW, 2.0)}, ("tiingo", "AAPL"), "not 4:1 on 2020-08-31"),
        ({"tiingo": tiingo(AAPL)}, ("tiingo", "AAPL"), "close of 2020-08-28 is 124.8075, not 499.23"),
    ],
)  # fmt: skip
def test_one_wrong_bar_or_split_is_named(
    ask: Ask, handles: dict[str, Handle], key: tuple[str, str], detail: str
) -> None:
    found = ask(**handles)[key]
    assert found.answer == "differs" and detail in found.detail


def test_a_page_and_a_refusal_do_not_affect_the_other_vendors(ask: Ask) -> None:
    found = ask(binance=page, yahoo=yahoo(AAPL), tiingo=lambda handler: reply(handler, b"{}", 403))
    assert found["binance", "BTCUSDT"].answer == "a page instead of an answer"
    assert "proxy" not in found["binance", "BTCUSDT"].detail
    assert found["tiingo", "AAPL"].answer == "refused by plan"
    assert found["yahoo", "AAPL"].answer == found["yahoo", "^GSPC"].answer == "right"


def test_a_proxy_that_answers_for_all_vendors_is_named(ask: Ask) -> None:
    found = ask(binance=page, yahoo=page, tiingo=page)
    assert {a.answer for a in found.values()} == {"a page instead of an answer"}
    assert all("a proxy or a login page" in a.detail for a in found.values())


def test_a_vendor_that_does_not_answer_in_time_is_late(ask: Ask) -> None:
    release = threading.Event()

    def hold(handler: BaseHTTPRequestHandler) -> None:
        if "klines" in handler.path:
            release.wait(60)
        reply(handler, b"[]", 200)

    try:
        assert ask(1.0, binance=hold)["binance", "BTCUSDT"].answer == "late"
    finally:
        release.set()


def test_without_a_network_nothing_is_asked_and_each_vendor_has_one_line(
    machine: Callable[..., list[str]], servers: dict[str, Recorder],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    where = machine(binance=page, yahoo=page, tiingo=page)
    for server in servers.values():
        server.server_close()  # refuses connections from here on
    assert main(["doctor", "--vendors", *where]) == 1
    shown = capsys.readouterr()
    rows = [line.split(" | ") for line in shown.out.splitlines() if line.startswith("| ")][2:]
    assert [(row[0], row[2]) for row in rows] == [
        ("| binance", "unreachable"), ("| yahoo", "unreachable"), ("| tiingo", "unreachable"),
    ]  # fmt: skip
    assert "at most 2 requests for bars each: binance, yahoo, tiingo" in shown.err.replace(
        "\n", " "
    )


def test_the_command_prints_a_dated_table_and_its_exit_code_shows_a_difference(
    machine: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    where = machine(binance=binance(BTC), yahoo=yahoo(AAPL))
    assert main(["doctor", "--vendors", *where]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("onetape ") and "asked on 20" in lines[0]
    assert lines[2] == "| vendor | question | answer | detail | requests |"
    assert lines[4] == "| binance | BTCUSDT 1d 2024-01-01 .. 2024-01-03 | right |  | 1 |"
    where = machine(binance=binance(BTC | {"2024-01-02": 45946.91}), yahoo=yahoo(AAPL))
    assert main(["doctor", "--vendors", "--json", *where]) == 1
    answers = json.loads(capsys.readouterr().out)["answers"]
    assert [a["answer"] for a in answers] == ["differs", "right", "right"]
    assert main(["doctor", "--vendors", "--watch", *where]) == 2
