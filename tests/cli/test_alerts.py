"""``onetape alerts`` over the local server, with records in a file."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import src.data.cli.alerts as command
import src.data.jobs.alerting.types as stored
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import MINUTE_MS
from src.data.jobs.alerting.types import TYPES
from tests.cli.conftest import Run
from tests.core.net.scripted import reply, serving
from tests.jobs.test_alerts import Drop

pytest.importorskip("sqlalchemy", reason="the extra db is not installed")


class Fallen(Drop):
    """A type of alert for a test, on which the last bar is always beyond."""

    option = ("--drop SIZE", "watch for a fall")

    def fires(self, *parts: Any) -> tuple[dict[int, str], bool | None]:
        return super().fires(*parts)[0], True


@pytest.fixture(autouse=True)
def records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DB_URL", f"sqlite:///{tmp_path / 'records.db'}")


def crossing(run: Run, clock: ManualClock) -> str:
    """Add an alert of ten minutes ago, and return the minute (UTC) on which it must fire."""
    from src.data.db.alert_records import StoredAlerts

    bars = run("fetch", "BTCUSDT", "1m", "--bars", "12", "--json").json["bars"]
    # The clock stands at 15:00:30: the bar that had closed ten minutes ago is the second of these.
    closes = [(bar["timestamp"], bar["close"]) for bar in bars][1:]
    ordered = sorted(close for _, close in closes)
    value = (ordered[4] + ordered[5]) / 2
    config = {"ticker": "BTCUSDT", "timeframe": "1m", "price": value, "condition": "above"}
    StoredAlerts().add_alert("local", config, clock.now_ms() - 10 * MINUTE_MS)
    crossed = [at for (_, before), (at, close) in pairwise(closes) if before <= value < close]
    return str(crossed[0].replace(" ", "T")[:16])


def test_an_alert_is_added_listed_and_removed(run: Run, bare: Run) -> None:
    assert bare("alerts", "list", "--json").json == []
    ran = run("alerts", "add", "aapl", "above", "1", "--timeframe", "1d")
    assert ran.code == 0, ran.err
    assert "alert 1: AAPL 1d close above 1" in ran.out
    assert "already above: it fires once the value has moved back" in ran.out.replace("\n", " ")
    assert run("alerts", "add", "AAPL", "--problem", "stale", "--timeframe", "1d").code == 0
    words = ("BTCUSDT", "below", "1", "--indicator", "rsi(14)", "--timeframe", "1h")
    assert run("alerts", "add", *words).code == 0
    listed = bare("alerts", "list", "--json").json
    assert [(one["id"], one["alert"], one["state"]) for one in listed] == [
        (1, "AAPL 1d close above 1", "new"),
        (2, "AAPL 1d: stale", "new"),
        (3, "BTCUSDT 1h rsi(14) below 1", "new"),
    ]
    assert run("alerts", "run", "--once").code == 0
    assert [one["state"] for one in bare("alerts", "list", "--json").json] == [
        "waiting", "armed", "armed"
    ]  # fmt: skip
    assert "waiting" in bare("alerts", "list").out
    assert bare("alerts", "remove", "1", "9").code == 1
    assert [one["id"] for one in bare("alerts", "list", "--json").json] == [2, 3]


def test_the_texts_and_refusals_of_another_type_of_alert_are_its_own(
    run: Run, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TYPES, "drop", Fallen())
    keys = {"OWN_KEYS": {**dict.fromkeys(stored.OWN_KEYS), "drop": None}.keys()}
    for name, value in (keys | {"ALERT_KEYS": [*stored.ALERT_KEYS, "drop"]}).items():
        monkeypatch.setattr(stored, name, value)
    for words in (("above", "5"), ("above",)):
        ran = run("alerts", "add", "AAPL", *words, "--drop", "5", "--timeframe", "1d")
        assert ran.code == 2 and "drop has no condition: 'above'" in ran.err.replace("\n", " ")
    assert bare("alerts", "list", "--json").json == []
    ran = run("alerts", "add", "AAPL", "--drop", "5", "--timeframe", "1d")
    assert ran.code == 0 and "alert 1: AAPL 1d drop 5" in ran.out
    assert "already fulfilled: it fires once the value has moved back" in ran.out.replace("\n", " ")


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_run_prints_a_crossing_once_with_its_bar(
    run: Run, clock: ManualClock, form: tuple[str, ...]
) -> None:
    at = crossing(run, clock)
    ran = run("alerts", "run", "--once", *form)
    assert ran.code == 0, ran.err
    (line,) = ran.out.splitlines()
    assert at in line and "is above" in line
    assert not form or json.loads(line)["perhaps_repeated"] is False
    assert run("alerts", "run", "--once").out == ""


class FullDisk(io.RawIOBase):
    """A disk without space."""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("form", [("--once",), ("--every", "1m", "--json")])
def test_a_message_that_cannot_be_printed_ends_the_job_and_is_printed_by_the_next(
    run: Run, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, form: Any, is_gone: bool
) -> None:
    at, (read, write) = crossing(run, clock), os.pipe()
    os.close(read)
    full = io.TextIOWrapper(io.BufferedWriter(FullDisk()), encoding="utf-8")

    def fail(_: float) -> None:
        pytest.fail("the job waits for its next run")

    monkeypatch.setattr(command, "time", SimpleNamespace(sleep=fail))
    with monkeypatch.context() as patched, open(write, "w", encoding="utf-8") as gone:
        patched.setattr(sys, "stdout", gone if is_gone else full)
        assert run("alerts", "run", *form).code == 1
    ran = run("alerts", "run", "--once")
    assert ran.code == 0 and ran.out.count(at) == 1 and "perhaps repeated" not in ran.out


def test_a_run_posts_to_a_webhook_and_tries_again(run: Run, clock: ManualClock) -> None:
    at = crossing(run, clock)
    bodies: list[dict[str, Any]] = []
    codes = [503]

    def take(h: BaseHTTPRequestHandler) -> None:
        bodies.append(json.loads(h.rfile.read(int(h.headers["Content-Length"]))))
        reply(h, b"", codes.pop() if codes else 200)

    with serving(take) as server:
        words = ("alerts", "run", "--once", "--webhook", f"{server.base}/CANARY")
        first = run(*words)
        assert (first.code, len(bodies)) == (1, 1)
        assert "later: HTTP 503" in first.err and "CANARY" not in first.err
        assert run(*words).code == 0
    assert bodies[0] == bodies[1]
    assert bodies[0].keys() == {"id", "alert", "recipient", "perhaps_repeated", "text"}
    assert at in bodies[0]["text"] and not bodies[0]["perhaps_repeated"]


@pytest.mark.parametrize(
    "words, said",
    [
        (("add", "AAPL", "abvoe", "5"), "did you mean 'above'"),
        (("add", "AAPL", "above", "nan"), "above 0"),
        (("add", "AAPL", "above", "0"), "above 0"),
        (("add", "AAPL", "above"), "price None is not valid"),
        (("add", "AAPL"), "condition None is not valid"),
        (("add",), "symbol"),
        (("add", "AAPL", "above", "5", "--timeframe", "25:00"), "timeframe"),
        (("add", "AAPL", "above", "5", "--indicator", "rsj"), "did you mean 'rsi'"),
        (("add", "NOPE", "above", "5", "--timeframe", "1d"), "NOPE"),
        (("add", "*", "above", "5", "--timeframe", "1d"), "*"),
        (("add", "AAPL", "--indicator", "rsi", "--problem", "gap"), "not allowed with"),
        (("add", "AAPL", "above", "170", "--indicator", "rsi"), "can never cross above 170"),
        (("add", "AAPL", "above", "5", "--problem", "gap"), "data has no condition: 'above'"),
        (("add", "AAPL", "--problem", "stail"), "did you mean 'stale'"),
        (("run",), "--once"),
        (("run", "--once", "--every", "1m"), "not allowed"),
        (("run", "--once", "--webhook", "http://example.com/CANARY"), "cannot be used"),
        (("remove", "0"), "positive"),
    ],
)
def test_an_invalid_alert_is_refused_and_not_stored(
    run: Run, bare: Run, words: tuple[str, ...], said: str
) -> None:
    ran = (bare if words[0] == "remove" else run)("alerts", *words)
    assert ran.code == (1 if said == "NOPE" else 2), "no vendor has bars for it"
    assert said in ran.err.replace("\n", " ") and "CANARY" not in ran.err
    assert bare("alerts", "list", "--json").json == []
