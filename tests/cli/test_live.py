from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import parse_iso
from src.data.data_manager import DataManager
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer


class RoundsClock(ManualClock):
    """A clock on which Ctrl-C is pressed after so many rounds."""

    rounds = 3

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds)
        if len(self.slept) == self.rounds:
            raise KeyboardInterrupt


@pytest.fixture
def clock() -> RoundsClock:
    return RoundsClock(parse_iso("2024-06-12T15:00:30"))


@pytest.fixture(autouse=True)
def standing_still(clock: RoundsClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.jobs.doctor.health.SystemClock", lambda: clock)
    monkeypatch.setattr("src.data.jobs.doctor.health.memory", lambda: _memory())


def _memory() -> object:
    from src.data.core.runtime.resources import Memory

    return Memory(used=50_000_000, free=9_000_000_000)


@pytest.fixture
def followed(rules: object, cache: object, clock: ManualClock, vendors: VendorServer) -> None:
    """Have a series that is behind."""
    DataManager(cache, rules, clock=clock).get_ohlcv("BTCUSDT", "1h", "2024-06-11")  # type: ignore[arg-type]
    clock.advance(3 * 3600)


@pytest.mark.usefixtures("followed")
def test_doctor_watch_without_a_terminal_prints_one_line_block_per_round(
    run: Run, clock: RoundsClock
) -> None:
    ran = run("doctor", "--watch", "--every", "60")
    assert ran.code == 0, "Ctrl-C is how it ends"
    assert ran.err == ""
    assert clock.slept == [60.0] * 3
    rounds = ran.out.split("onetape at ")[1:]
    assert [each[:23] for each in rounds] == [
        f"2024-06-12 18:0{minute}:30 UTC" for minute in range(3)
    ]
    texts = [" ".join(each.split()) for each in rounds]
    assert "✓ no problems" in texts[0] and "50 MB used by this process" in texts[0]
    assert "1 series: 0 fresh, 1 behind; BTCUSDT 1h lacks 3 bars" in texts[0]
    assert "BTCUSDT 1h lacks 4 bars" in texts[2], "the bar of 17:00 settled at 18:02"


@pytest.mark.usefixtures("followed")
def test_doctor_watch_with_json_prints_one_document_and_ends(run: Run, clock: RoundsClock) -> None:
    ran = run("doctor", "--watch", "--json")
    assert (ran.code, clock.slept) == (0, [])
    checks = {check["name"]: check for check in ran.json["checks"]}
    assert "BTCUSDT 1h lacks 3 bars" in checks["health freshness"]["sentence"]
    assert checks.keys() >= {"vendors binance", "vendors yahoo"}
    assert ran.json["ok"] is True


class Terminal(io.StringIO):
    """A screen that somebody looks at."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def seen(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return what a terminal shows in the end, without colours."""

    def look(*words: str, columns: str = "100") -> str:
        screen = Terminal()
        monkeypatch.setenv("COLUMNS", columns)
        monkeypatch.setenv("LINES", "60")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        monkeypatch.setattr(sys, "stdout", screen)
        assert run(*words).code == 0
        return screen.getvalue()

    return look


@pytest.mark.usefixtures("followed")
@pytest.mark.parametrize("columns", ["100", "60", "40"])
def test_a_terminal_shows_one_screen_that_is_painted_anew(
    columns: str, seen: Callable[..., str]
) -> None:
    shown = seen("doctor", "--watch", "--no-network", columns=columns)
    assert shown.count("onetape at 2024-06-12 18:00:3") >= 2
    assert "\x1b[1A" in shown, "the cursor goes up again"
    for said in ("no problems", "1 behind", "BTCUSDT 1h", "freshness"):
        assert said in shown


@pytest.mark.parametrize("words", [["--every", "0"], ["--every", "soon"], ["--every", "1e9"]])
def test_rounds_of_no_length(words: list[str], run: Run) -> None:
    ran = run("doctor", "--watch", *words)
    assert ran.code == 2
    assert "number of seconds" in ran.err


@pytest.mark.parametrize("where", ["before", "behind"])
def test_log_lines_are_json_on_request(where: str, bare: Run, rules: object, cache: object) -> None:
    words = ["fetch", "BTCUSDT", "1h", "--start", "2024-06-11", "--end", "2024-06-11",
             "--config", str(rules), "--cache-dir", str(cache)]  # fmt: skip
    how = ["--log", "json", "-v"]
    ran = bare(*how, *words) if where == "before" else bare(*words, *how)
    assert ran.code == 0
    lines = [json.loads(line) for line in ran.err.splitlines()]
    (sent,) = [line for line in lines if line["logger"].endswith(".sender")]
    assert (sent["symbol"], sent["timeframe"], sent["provider"]) == ("BTCUSDT", "1h", "binance")
    assert (sent["outcome"], sent["status"], sent["level"]) == ("ok", 200, "DEBUG")
    assert len({line["request"] for line in lines if "request" in line}) == 1


def test_the_environment_asks_for_a_log_and_is_checked(
    run: Run, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.vendor_server import Fault

    vendors.fault("binance", Fault.status(403))
    monkeypatch.setenv("ONETAPE_LOG", "json")
    said = run("fetch", "BTCUSDT", "1h", "--start", "2024-06-11", "--provider", "binance").err
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    assert {line["level"] for line in lines} == {"WARNING"}
    monkeypatch.setenv("ONETAPE_LOG", "xml")
    ran = run("fetch", "BTCUSDT", "1h")
    assert ran.code == 2
    assert "'xml'" in ran.err
