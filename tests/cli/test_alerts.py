"""``onetape alerts`` over the local server, with records in memory."""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import src.data.cli.alerts as command
from src.data.clock import ManualClock
from src.data.errors import ConfigError
from src.data.jobs.alert_book import Beat
from src.data.jobs.alert_values import PriceAlert, Rearm
from src.data.model.instant import DAY_MS, MINUTE_MS
from tests.cli.conftest import Run
from tests.jobs.alert_records import MemoryRecords
from tests.net.scripted import reply, serving


@pytest.fixture
def book(monkeypatch: pytest.MonkeyPatch) -> MemoryRecords:
    records = MemoryRecords()
    monkeypatch.setattr(command, "records", lambda *, make=True: records)
    return records


def crossing(run: Run, book: MemoryRecords, clock: ManualClock) -> list[str]:
    """Add an alert of ten minutes ago, and return the minutes (UTC) on which it must fire."""
    bars = run("fetch", "BTCUSDT", "1m", "--bars", "12", "--json").json["bars"]
    closes = [(bar["timestamp"], bar["close"]) for bar in bars]
    ordered = sorted(close for _, close in closes)
    value = (ordered[5] + ordered[6]) / 2
    since_ms = clock.now_ms() - 10 * MINUTE_MS
    book.alerts[1] = PriceAlert(
        1, "local", "BTCUSDT", "1m", value=value, rearm=Rearm(), since_ms=since_ms,
        expires_ms=since_ms + DAY_MS,
    )  # fmt: skip
    # The clock stands at 15:00:30: the bar that had closed ten minutes ago is the second of these.
    pairs = pairwise(closes[1:])
    return [at for (_, before), (at, close) in pairs if before <= value < close]


def test_an_alert_is_added_listed_and_removed(run: Run, bare: Run, book: MemoryRecords) -> None:
    ran = run("alerts", "add", "aapl", "above", "1", "--timeframe", "1d", "--hysteresis", "2%")
    assert ran.code == 0, ran.err
    assert "alert 1: AAPL 1d close above 1, until 2024-09-10" in ran.out
    assert "is already above 1: the alert fires once the value has moved back" in ran.out.replace(
        "\n", " "
    )
    assert book.alerts[1].rearm == Rearm(2.0, "percentage")
    assert book.states[1].phase == "waiting" and not book.runs
    assert run("alerts", "add", "--problem", "stale").code == 0
    words = ("BTCUSDT", "below", "30", "--indicator", "rsi(14)", "--timeframe", "1h")
    assert run("alerts", "add", *words, "--cooldown", "60", "--persistence", "2").code == 0
    assert book.alerts[3].rearm == Rearm(cooldown_minutes=60, persistence_bars=2)
    listed = bare("alerts", "list", "--json").json
    assert [(one["id"], one["active"], one["ticker"]) for one in listed] == [
        (1, True, "AAPL"), (2, True, "*"), (3, True, "BTCUSDT"),
    ]  # fmt: skip
    assert "waiting" in bare("alerts", "list").out
    assert bare("alerts", "remove", "1", "9").code == 1 and sorted(book.alerts) == [2, 3]


def test_the_database_keeps_alerts_from_command_to_command(
    run: Run, bare: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sqlalchemy", reason="the extra db is not installed")
    monkeypatch.setenv("DB_URL", f"sqlite:///{tmp_path / 'records.db'}")
    assert bare("alerts", "list", "--json").json == []
    ran = run("alerts", "add", "BTCUSDT", "above", "1", "--timeframe", "1m")
    assert ran.code == 0, ran.err
    assert "alert 1: BTCUSDT 1m close above 1" in ran.out and "already above 1" in ran.out
    ran = run("alerts", "add", "BTCUSDT", "below", "1", "--timeframe", "1m", "--cooldown", "5")
    assert ran.code == 0, ran.err
    assert run("alerts", "add", "BTCUSDT", "below", "-1", "--timeframe", "1m").code == 2
    listed = bare("alerts", "list", "--json").json
    assert [(one["id"], one["state"]["phase"]) for one in listed] == [(1, "waiting"), (2, "armed")]
    done = json.loads(run("alerts", "run", "--once", "--json").out)["run"]
    assert (done["ok"], done["alerts"], done["series"]) == (True, 2, 1)
    assert bare("alerts", "remove", "2", "9").code == 1
    assert [one["id"] for one in bare("alerts", "list", "--json").json] == [1]


def test_a_run_prints_each_crossing_with_its_bar(
    run: Run, book: MemoryRecords, clock: ManualClock
) -> None:
    expected = crossing(run, book, clock)
    assert expected
    ran = run("alerts", "run", "--once")
    assert ran.code == 0, ran.err
    lines = [line for line in ran.out.splitlines() if "is above" in line]
    assert len(lines) == len(expected)
    for line, at in zip(lines, expected, strict=True):
        assert at.replace(" ", "T")[:16] in line
    assert book.beats and not book.open_runs()
    assert "above" not in run("alerts", "run", "--once").out


class FullDisk(io.RawIOBase):
    """A disk with or without space."""

    def __init__(self) -> None:
        super().__init__()
        self.is_full, self.written = True, b""

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.written += bytes(data)
        return len(data)


def test_messages_that_cannot_be_printed_are_printed_once_later(
    run: Run, book: MemoryRecords, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, disk = crossing(run, book, clock), FullDisk()
    streams = [io.TextIOWrapper(io.BufferedWriter(disk), encoding="utf-8") for _ in range(4)]
    for stream in streams:
        disk.is_full = stream is not streams[-1]
        monkeypatch.setattr(sys, "stdout", stream)
        assert run("alerts", "run", "--once").code == (1 if disk.is_full else 0)
        clock.advance(300)
    for stream in streams:
        if not stream.closed:
            stream.flush()
    for at in expected:
        assert disk.written.count(at.replace(" ", "T")[:16].encode()) == 1
    assert b"perhaps repeated" not in disk.written


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_repeated_run_ends_if_its_reader_is_gone_and_keeps_its_message(
    run: Run,
    book: MemoryRecords,
    clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
    form: Sequence[str],
) -> None:
    expected, (read, write) = crossing(run, book, clock), os.pipe()
    os.close(read)

    def fail(_: float) -> None:
        pytest.fail("the job waits for its next run")

    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=fail))
    with monkeypatch.context() as patched, open(write, "w", encoding="utf-8") as stream:
        patched.setattr(sys, "stdout", stream)
        assert run("alerts", "run", "--every", "1m", *form).code == 1
    clock.advance(60)
    ran = run("alerts", "run", "--once")
    assert ran.code == 0 and ran.out.count("is above") == len(expected)


def test_a_run_posts_to_a_webhook_and_tries_again(
    run: Run, book: MemoryRecords, clock: ManualClock
) -> None:
    expected = crossing(run, book, clock)
    bodies: list[dict[str, Any]] = []
    codes = [503]

    def take(h: BaseHTTPRequestHandler) -> None:
        bodies.append(json.loads(h.rfile.read(int(h.headers["Content-Length"]))))
        reply(h, b"", codes.pop() if codes else 200)

    with serving(take) as server:
        words = ("alerts", "run", "--once", "--webhook", f"{server.base}/CANARY")
        first = run(*words)
        assert (first.code, len(bodies)) == (1, 1)
        assert "ended as later" in first.err and "CANARY" not in first.err
        clock.advance(60)
        assert run(*words).code == 0
    assert len(bodies) == len(expected) + 1
    assert len({body["id"] for body in bodies}) == len(expected)
    assert not any(body["perhaps_repeated"] for body in bodies)


def test_a_run_as_lines_of_json(run: Run, book: MemoryRecords, clock: ManualClock) -> None:
    expected = crossing(run, book, clock)
    lines = [json.loads(line) for line in run("alerts", "run", "--once", "--json").out.splitlines()]
    assert [line["events"][0]["name"] for line in lines[:-1]] == ["fired"] * len(expected)
    assert lines[-1]["run"]["ok"] is True and lines[-1]["run"]["alerts"] == 1


@pytest.mark.parametrize(
    "words, said",
    [
        (("add", "AAPL", "abvoe", "5"), "did you mean 'above'"),
        (("add", "AAPL", "above", "nan"), "above 0"),
        (("add", "AAPL", "above", "0"), "above 0"),
        (("add", "AAPL", "above"), "a symbol, a condition and a value"),
        (("add",), "a symbol, a condition and a value"),
        (("add", "AAPL", "above", "5", "--timeframe", "25:00"), "timeframe"),
        (("add", "AAPL", "above", "5", "--indicator", "rsj"), "did you mean 'rsi'"),
        (("add", "NOPE", "above", "5", "--timeframe", "1d"), "NOPE"),
        (("add", "*", "above", "5", "--timeframe", "1d"), "*"),
        (
            ("add", "AAPL", "above", "5", "--indicator", "rsi", "--problem", "gap"),
            "cannot be combined",
        ),
        (("add", "AAPL", "above", "170", "--indicator", "rsi"), "can never cross above 170"),
        (("add", "AAPL", "above", "5", "--hysteresis", "x%"), "hysteresis"),
        (("add", "AAPL", "above", "5", "--expires", "2001-01-01"), "expires"),
        (
            ("add", "AAPL", "above", "5", "--problem", "gap"),
            "--problem cannot be combined with a condition, a value or --indicator",
        ),
        (("add", "--problem", "stail"), "did you mean 'stale'"),
        (("add", "--problem", "stale", "--cooldown", "5"), "omit them"),
        (("run",), "--once"),
        (("run", "--once", "--every", "1m"), "not allowed"),
        (("run", "--once", "--webhook", "http://example.com/CANARY"), "cannot be used"),
        (("remove", "0"), "positive"),
    ],
)
def test_an_invalid_alert_is_refused_and_not_stored(
    run: Run, bare: Run, book: MemoryRecords, words: tuple[str, ...], said: str
) -> None:
    ran = (bare if words[0] == "remove" else run)("alerts", *words)
    assert ran.code == 2
    assert said in ran.err.replace("\n", " ") and "CANARY" not in ran.err
    assert not book.alerts


def test_doctor_reports_an_alert_job_that_does_not_run(
    run: Run, book: MemoryRecords, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    monkeypatch.setattr("src.data.clock.SystemClock", lambda: clock)
    now = clock.now_ms()
    book.alerts[1] = replace(
        PriceAlert(1, "local", "AAPL", "1d"), since_ms=now, expires_ms=now + DAY_MS
    )
    book.beat(Beat(now - DAY_MS, now - DAY_MS + 10 * MINUTE_MS))
    ran = run("doctor", "--no-network", "--json")
    (check,) = [one for one in ran.json["checks"] if one["topic"] == "alerts"]
    assert check["ok"] is False and "1 alert, last run 24 hours ago" in check["said"]
    assert "onetape alerts run" in check["advice"]
    book.beat(Beat(now, now + MINUTE_MS))
    ran = run("doctor", "--no-network", "--json")
    (check,) = [one for one in ran.json["checks"] if one["topic"] == "alerts"]
    assert check["ok"] is True


def test_alerts_without_a_database_module_are_a_config_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(command, "RECORDS", "db.no_such_module")
    with pytest.raises(
        ConfigError, match="this installation cannot store alerts: its database has no alert table"
    ):
        command.records()
