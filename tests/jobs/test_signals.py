"""A signal after the work of a job never costs its report, at any moment until it is written."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from src.data.doors.compat.gap_files import fill_gaps, validate_gaps
from src.data.jobs.fill.populate import populate_cache
from src.data.jobs.run.signals import hold_signals, job_signals
from src.data.pipeline import run_pipeline
from tests.cli.conftest import Run, bare, machine, rules, run
from tests.vendor_server import VendorServer

__all__ = ["bare", "machine", "rules", "run"]

MAY = ("--start-date", "2024-05-01", "--end-date", "2024-05-31")
# What a job does when the last series is over, one after another.
MOMENTS = {
    "the last series": "src.data.jobs.run.runner.Runner.run",
    "retention": "src.data.core.cache.facade.unified_cache.UnifiedCache.look_after",
    "incidents": "src.data.jobs.fill.populate.find_vendor_days",
    "the screen": "src.data.cli.populate.requests_shown",
    "the file": "src.data.cli.job_output.write_report",
}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the path of a cache folder that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture
def signalled_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """Return a function that makes a call send this process a signal, before or after it."""

    def patch(name: str, number: int = signal.SIGTERM, *, most: int = 1) -> list[int]:
        owner, _, attribute = name.rpartition(".")
        sent: list[int] = []
        function = _found(name)

        def signalled(*args: Any, **options: Any) -> Any:
            done = function(*args, **options) if attribute == "run" else None
            if len(sent) < most:
                sent.append(number)
                os.kill(os.getpid(), number)
            return done if attribute == "run" else function(*args, **options)

        monkeypatch.setattr(_found(owner), attribute, signalled)
        return sent

    return patch


def _found(name: str) -> Any:
    from pkgutil import resolve_name

    return resolve_name(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_signal_after_the_last_series_does_not_lose_the_report(
    moment: str, number: int, run: Run, vendors: VendorServer, tmp_path: Path,
    signalled_at: Callable[..., list[int]],
) -> None:  # fmt: skip
    sent = signalled_at(MOMENTS[moment], number)
    words = ("--symbols", "BTCUSDT", "--timeframes", "1d", *MAY, "--every", "1h")
    ran = run("populate", *words, "--report", "night.json")
    assert sent == [number] and "1 of 1 series succeeded" in ran.out
    reported = json.loads((tmp_path / "night.json").read_text())
    assert reported["success"] == ["BTCUSDT_1d"] and reported["cache_stats"]["bars_count"] == 31
    is_told = moment in ("the last series", "retention", "incidents")
    assert (reported["interrupted"], ran.code) == (is_told, int(is_told)), "it ended either way"


@pytest.mark.parametrize(
    "moment", ["run.runner.Runner.run", "fill.refresh_fundamentals.requests_between"]
)
def test_a_signal_does_not_lose_the_report_of_a_refresh(
    moment: str, run: Run, tmp_path: Path, signalled_at: Callable[..., list[int]]
) -> None:
    (tmp_path / "list.csv").write_text("AAPL,,,soon\n")
    signalled_at(f"src.data.jobs.{moment}")
    words = ("--symbols-file", "list.csv", "--data-types", "profile", "--report", "r.json")
    assert run("refresh", *words).code == 1
    reported = json.loads((tmp_path / "r.json").read_text())
    assert (reported["failed"], reported["interrupted"]) == (["AAPL"], True)


@pytest.mark.parametrize("steps", ["1", "2"])
def test_a_signal_does_not_lose_the_report_of_the_pipeline(
    steps: str, run: Run, rules: Path, cache: Path, capsys: pytest.CaptureFixture[str],
    signalled_at: Callable[..., list[int]],
) -> None:  # fmt: skip
    day = ("2024-06-10", "2024-06-10")
    populate_cache(["BTCUSDT"], ["1m"], *day, cache, config_path=rules)
    signalled_at("src.data.core.cache.facade.unified_cache.UnifiedCache.look_after")
    places = ["--config", str(rules), "--cache-dir", str(cache), "--json"]
    dates = ["--start-date", day[0], "--end-date", day[1]] if steps == "1" else []
    assert run_pipeline.main(["--steps", steps, "--tickers", "BTCUSDT", *dates, *places]) == 1
    reported = json.loads(capsys.readouterr().out)
    assert (reported["steps_executed"], reported["interrupted"]) == ([int(steps)], True)


def test_a_signal_does_not_lose_the_report_of_filled_gaps(
    run: Run, rules: Path, cache: Path, signalled_at: Callable[..., list[int]]
) -> None:
    run("populate", "--symbols", "HALTUSDT", "--timeframes", "1h", "--start", "2024-03-04",
        "--end", "2024-03-06")  # fmt: skip
    validate_gaps(None, None, cache, config_path=rules)
    sent = signalled_at("src.data.jobs.run.runner.Runner.run", signal.SIGINT)
    reported = fill_gaps(None, None, cache, config_path=rules)
    assert (sent, reported["failed"]) == ([signal.SIGINT], {})


def test_a_second_signal_ends_a_report_and_restores_the_handlers(
    run: Run, signalled_at: Callable[..., list[int]]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    signalled_at("src.data.jobs.run.runner.Runner.run", signal.SIGINT)
    signalled_at("src.data.cli.populate.requests_shown", signal.SIGINT)
    ran = run("populate", "--symbols", "BTCUSDT", "--timeframes", "1d", *MAY)
    assert (ran.code, "series succeeded" in ran.out) == (1, False)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before


def test_signals_interrupt_a_command_and_are_handled_only_in_the_main_thread() -> None:
    with job_signals() as outer, job_signals():
        hold_signals()
        os.kill(os.getpid(), signal.SIGINT)
        assert outer.is_noted
    with job_signals() as outer:
        with job_signals():
            hold_signals()
        with job_signals(), pytest.raises(KeyboardInterrupt):  # the next step
            os.kill(os.getpid(), signal.SIGINT)
        assert not outer.is_noted
    own, seen = signal.getsignal(signal.SIGINT), []

    def elsewhere() -> None:
        with job_signals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [own]
