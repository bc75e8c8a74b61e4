"""``onetape stream`` and ``onetape replay``: output on a terminal, in a file, and as JSON."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from src.data.cli.live import feed_shown
from src.data.core.clock import ManualClock
from src.data.core.model.market.stream import LiveBar, StreamState, StreamStatus, Topic
from src.data.core.model.request.capabilities import Limits
from src.data.core.model.time.instant import MINUTE_MS, parse_iso
from src.data.core.vendors.binance.stream import BinanceStream
from src.data.errors import UnavailableError
from src.data.feed.live_feed import FeedSnapshot, LiveFeed
from tests.cli.conftest import Run
from tests.vendor_server import VendorServer
from tests.vendor_server.streams import StreamServer

RANGE = ("--start", "2024-06-10", "--end", "2024-06-10")
NOON = parse_iso("2024-06-12T12:00:00Z")


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_replay_prints_every_bar_and_its_status(run: Run, vendors: VendorServer) -> None:
    ran = run("replay", "BTCUSDT", "1h", *RANGE, "--speed", "0")
    assert ran.code == 0
    bars = ran.out.splitlines()
    assert len(bars) == 24 and all(line.startswith("2024-06-10T") for line in bars)
    states = ran.err.splitlines()
    assert (states[-2:]) == ["LIVE: replayed", "CLOSED: it has ended"]
    assert run("replay", "BTCUSDT", "1h", *RANGE, "--speed", "0", "-q").err == ""


def test_a_replay_obeys_a_period(run: Run) -> None:
    ran = run("replay", "BTCUSDT", "1d", "--period", "3d", "--speed", "0")
    assert len([line for line in ran.out.splitlines() if " open " in line]) == 3


def test_a_replay_gives_a_bar_a_second_of_any_length(run: Run, clock: ManualClock) -> None:
    run("replay", "AAPL", "1d", "--start", "2024-05-01", "--end", "2024-05-10", "--speed", "0")
    for name in ("1d", "1h"):
        began = clock.now_ms()
        said = run("replay", "AAPL", name, "--start", "2024-05-01", "--end", "2024-05-10").out
        bars = len([line for line in said.splitlines() if line.startswith("2024-05")])
        assert bars > 7
        assert clock.now_ms() - began == pytest.approx((bars - 1) * 1000, abs=3000)


def test_a_replay_waits_as_long_as_the_bars_took(run: Run, clock: ManualClock) -> None:
    before = clock.monotonic()
    assert run("replay", "BTCUSDT", "1h", *RANGE, "--speed", "3600").code == 0
    assert clock.monotonic() - before == pytest.approx(23.0, abs=0.1)


def test_json_is_one_document_a_line(run: Run, vendors: VendorServer) -> None:
    ran = run("replay", "BTCUSDT", "1h", *RANGE, "--speed", "0", "--json")
    bars = [one["bar"] for one in lines(ran.out)]
    start, end = parse_iso("2024-06-10"), parse_iso("2024-06-11")
    truth = vendors.truth.expected("BTCUSDT", "1h", start, end, "raw", end)
    assert [bar["close"] for bar in bars] == [row[4] for row in truth]
    assert set(bars[0]) == {
        "timestamp",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "closed",
        "origin",
    }
    assert lines(ran.err)[-1]["status"]["state"] == "CLOSED"


@pytest.mark.parametrize(
    "words, code, why",
    [
        (
            ("replay", "BTCUSDT", "1h", "--speed", "-1"),
            2,
            "invalid replay speed -1; use 0 or a positive number",
        ),
        (("replay", "BTCUSDT", "1h", *RANGE, "--offline"), 1, "BTCUSDT"),
        (("replay", "BTCUSDT", "1x"), 2, "unknown timeframe '1x'"),
        (("stream", "NOSUCHTHING123", "1h"), 2, "NOSUCHTHING123"),
        (("stream", "BTCUSDT", "1x"), 2, "unknown timeframe '1x'"),
        (("stream", "BTCUSDT", "1h", "--rows", "99999999"), 2, "would go back beyond 1900"),
    ],
)
def test_stream_and_replay_name_a_wrong_argument(
    run: Run, words: tuple[str, ...], code: int, why: str
) -> None:
    ran = run(*words)
    assert (ran.code, why in ran.err) == (code, True), ran.err


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Return rules by which files of the user have six days as traded, not yesterday."""
    days = [f"2024-06-{day:02}" for day in (3, 4, 5, 6, 7, 10)]
    folder = tmp_path / "files"
    folder.mkdir()
    rows = [f"{day},10,11,9,10.5,1000" for day in days]
    (folder / "AAPL_1d.csv").write_text("\n".join(["timestamp,open,high,low,close,volume", *rows]))
    path = tmp_path / "held.yaml"
    path.write_text(f"providers: {{local: {{folder: '{folder}', adjustment: raw}}}}\n")
    return path


def test_a_replay_accepts_the_option_that_its_hint_advises(bare: Run, held: Path) -> None:
    words = ("replay", "AAPL", "1d", "--start", "2024-06-03", "--end", "2024-06-10", "--speed", "0",
             "--provider", "local", "--config", str(held))  # fmt: skip
    instead = bare(*words)
    assert (instead.code, "adjustment='raw' does not need any" in instead.err) == (0, True)
    shown = bare(*words, "--adjustment", "raw")
    assert (shown.code, shown.out.count("close 10.5")) == (0, 6)


def test_a_stream_accepts_the_option_that_its_hint_advises(
    bare: Run, held: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []

    def show(_: str, item: Any) -> None:
        shown.append(item)
        if isinstance(item, LiveBar) or "adjustment='raw' does not need any" in item.reason:
            raise KeyboardInterrupt

    monkeypatch.setattr("src.data.cli.live.print_item", show)
    words = ("stream", "AAPL", "1d", "--rows", "3", "--provider", "local", "--config", str(held))
    bare(*words)
    assert "adjustment='raw' does not need any" in shown[-1].reason
    bare(*words, "--adjustment", "raw")
    assert shown[-1].close == 10.5


def test_a_range_without_bars_is_named(bare: Run, held: Path) -> None:
    ran = bare("replay", "AAPL", "1d", "--start", "2024-06-01", "--end", "2024-06-02", "--speed",
               "0", "--provider", "local", "--adjustment", "raw", "--config", str(held))  # fmt: skip
    assert ran.code == 1
    said = "no bars to replay for AAPL 1d from 2024-06-01 up to 2024-06-02\n"
    assert said in ran.err


def test_missing_bars_of_a_replay_are_one_line(bare: Run, held: Path) -> None:
    ran = bare("replay", "AAPL", "1d", "--start", "2024-06-10", "--end", "2024-06-11", "--speed",
               "0", "--provider", "local", "--adjustment", "raw", "--config", str(held))  # fmt: skip
    (said,) = (line for line in ran.err.splitlines() if "incomplete" in line)
    assert said.startswith("incomplete: AAPL 1d: 1 gap, first")


@pytest.fixture
def streams(
    clock: ManualClock, vendors: VendorServer, rules: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StreamServer]:
    """Yield the server of sockets, in the rules besides the other one."""
    free = replace(BinanceStream.traits, connects=Limits(), spacing_s=0.0)
    monkeypatch.setattr(BinanceStream, "traits", free)
    with StreamServer(clock, vendors.truth) as server:
        text = rules.read_text()
        rules.write_text(
            text.replace("  binance: {", f"  binance: {{ws_url: '{server.url('binance')}', ")
        )
        yield server


def test_a_stream_shows_history_then_bars_as_they_close(
    run: Run, clock: ManualClock, streams: StreamServer, cache: Path
) -> None:
    bitcoin = Topic("BTCUSDT", "1m")

    def publish() -> None:
        # A minute that passes while history is asked for would end that call.
        while not (streams.listening(bitcoin) and any(cache.rglob("*.csv.gz"))):
            threading.Event().wait(0.005)
        clock.advance(60)
        streams.publish("binance", *bitcoin, clock.now_ms() // MINUTE_MS * MINUTE_MS - MINUTE_MS)

    venue = threading.Thread(target=publish, daemon=True)
    venue.start()
    ran = run("stream", "BTCUSDT", "1m", "--rows", "5", "--count", "1", "--json")
    venue.join()
    assert ran.code == 0, ran.err
    bars = [one["bar"] for one in lines(ran.out) if "bar" in one]
    assert [bar["origin"] for bar in bars][:5] == ["history"] * 5
    assert bars[-1]["timestamp"] == "2024-06-12T15:00:00Z"
    stamps = [parse_iso(bar["timestamp"]) for bar in bars]
    assert stamps == list(range(stamps[0], stamps[-1] + 1, MINUTE_MS))


@pytest.mark.parametrize("words", [("--forming",), ()])
@pytest.mark.parametrize("form", [("--json",), ()])
def test_running_bars_are_printed_where_they_are_wanted(
    run: Run, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], form: tuple[str, ...]
) -> None:
    closed = LiveBar(NOON, 1.0, 2.0, 0.5, 1.5, 10.0)
    asked: list[bool] = []

    class Running:
        def start(self, sink: Any) -> None:
            sink.bar(closed._replace(stamp_ms=NOON - MINUTE_MS))
            sink.bar(closed._replace(is_closed=False, close=1.25))
            sink.end()

        def stop(self) -> None:
            """Have nothing to stop."""

    def made(_: object, wanted: tuple[str, str, int], *, forming: bool, **__: object) -> LiveFeed:
        asked.append(forming)
        return LiveFeed(*wanted[:2], Running())

    monkeypatch.setattr("src.data.feed.selection.plain_feed", made)
    ran = run("stream", "BTCUSDT", "1m", *words, *form)
    assert asked == [bool(words)]
    assert len(ran.out.splitlines()) == (2 if words else 1)
    assert ("1.25" in ran.out) is bool(words)
    assert "CLOSED" in ran.err and "CLOSED" not in ran.out
    if form:
        assert [one["bar"]["closed"] for one in lines(ran.out)] == [True, False][: 1 + len(words)]
    elif words:
        assert ran.out.splitlines()[1].endswith("close 1.25  volume 10  forming")


def test_an_error_of_the_feed_ends_the_command(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def start(self, sink: Any) -> None:
            sink.end(UnavailableError("the venue is gone"))

        def stop(self) -> None:
            """Have nothing to stop."""

    monkeypatch.setattr("src.data.feed.replay.ReplaySource", lambda *_, **__: Broken())
    ran = run("replay", "BTCUSDT", "1h", *RANGE)
    assert (ran.code, "the venue is gone" in ran.err) == (1, True)


def test_ctrl_c_ends_replay_with_exit_code_0(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("src.data.cli.live.print_item", interrupted)
    ran = run("replay", "BTCUSDT", "1h", *RANGE)
    assert (ran.code, ran.err) == (0, "")
    assert not [t.name for t in threading.enumerate() if t.name.startswith("onetape feed BTC")]


def shown(forming: LiveBar | None = None, **said: Any) -> str:
    closed = [LiveBar(NOON + n * MINUTE_MS, 1.0, 2.0, 0.5, 1.5 + n, 10.0) for n in range(20)]
    snapshot = FeedSnapshot(
        "BTCUSDT", "1m", StreamStatus(StreamState.LIVE), tuple(closed), forming, given=20
    )
    screen = Console(file=io.StringIO(), width=80, color_system=None)
    for part in feed_shown(replace(snapshot, **said), rows=3, forming=forming is not None):
        screen.print(part)
    return str(screen.file.getvalue())  # type: ignore[attr-defined]


def test_the_screen_shows_the_last_bars_and_marks_the_running_one() -> None:
    running = LiveBar(NOON + 20 * MINUTE_MS, 1.0, 2.0, 0.5, 99.25, 1.0, False)
    text = shown(forming=running)
    assert "BTCUSDT 1m  LIVE  20 bars" in text
    assert text.count("closed") == 3 and "12:16" not in text
    (line,) = (line for line in text.splitlines() if "99.25" in line)
    assert "12:20" in line and "○ forming" in line


def test_the_screen_of_a_stream_gives_the_reason_for_its_status() -> None:
    status = StreamStatus(StreamState.STALE, "no response")
    text = shown(status=status, bars=(), given=0, revisions=2)
    assert "STALE  0 bars, 2 corrections  no response" in text


def test_the_time_of_each_question_is_the_commands(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    times: list[float | None] = []

    def refused(*_: object, timeout: float | None, **__: object) -> None:
        times.append(timeout)
        raise UnavailableError("no feed today")

    monkeypatch.setattr("src.data.feed.selection.plain_feed", refused)
    assert run("stream", "BTCUSDT", "1m", "--timeout", "7").code == 1
    assert run("stream", "BTCUSDT", "1m").code == 1
    assert times == [7.0, None]


def test_states_that_no_reader_takes_end_no_stream(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    ran = run("replay", "BTCUSDT", "1h", *RANGE, "--speed", "0")
    assert (ran.code, len(ran.out.splitlines())) == (0, 24)
