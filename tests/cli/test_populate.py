from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from shutil import rmtree
from types import SimpleNamespace

import pytest

from src.data.cli.job_output import progress_shown
from src.data.cli.populate import main as older_main
from src.data.core.bars.fetch import fetcher
from src.data.core.clock import ManualClock
from src.data.core.model.request.http import HttpRequest, HttpResponse
from src.data.core.model.time.instant import HOUR_MS, parse_iso
from src.data.core.net.calls.deadline import Wait
from src.data.core.net.http.http import HttpTransport
from src.data.jobs.fill import fill_job
from src.data.jobs.progress.events import JobProgress, RunningItem
from src.data.jobs.progress.results import SeriesResult
from src.data.jobs.run.job_report import JobReport
from tests.cli.conftest import Run
from tests.programs import PYTHONPATH
from tests.vendor_server import Fault, VendorServer

MAY = ("--start-date", "2024-05-01", "--end-date", "2024-05-31")
FOUR_MONTHS = ("--symbols", "BTCUSDT", "--timeframes", "1h", "--start-date", "2024-01-01",
               "--end-date", "2024-05-31")  # fmt: skip


def test_populate_fills_and_reports_every_series(run: Run, vendors: VendorServer) -> None:
    ran = run("populate", "--symbols", "BTCUSDT,AAPL", "--timeframes", "1h,1d", *MAY)
    assert ran.code == 0
    assert [line.split()[:4] for line in ran.out.splitlines()[2:6]] == [
        ["BTCUSDT", "1h", "744", "744"], ["BTCUSDT", "1d", "31", "31"],
        ["AAPL", "1h", "154", "154"], ["AAPL", "1d", "22", "22"],
    ]  # fmt: skip
    assert ran.out.count("complete") == 4
    told = {line.split(" ", 1)[1].partition(",")[0] for line in ran.err.splitlines()}
    assert "BTCUSDT 1h 744 bars" in told and len(told) == 4
    asked = vendors.count()
    assert run("populate", "--symbols", "BTCUSDT,AAPL", "--timeframes", "1h,1d", *MAY).code == 0
    assert vendors.count() == asked, "the second run has nothing to ask"


@pytest.mark.parametrize("verdict", [True, False])
def test_the_exit_code_is_the_verdict_of_the_job(
    run: Run, monkeypatch: pytest.MonkeyPatch, verdict: bool
) -> None:
    verdicts = property(lambda _: verdict, lambda *_: None)
    monkeypatch.setattr(JobReport, "ok", verdicts, raising=False)
    populate = ("populate", "--symbols", "BTCUSDT,NOPEUSDT", "--timeframes", "1h", *MAY)
    for words in (populate, (*populate, "--dry-run"), ("sync", "BTCUSDT")):
        assert run(*words).code == (0 if verdict else 1), words


@pytest.mark.parametrize("timeframe", ["1d", "1h"])
def test_a_symbol_that_has_gone_is_noted_in_one_night_and_fails_in_none(
    run: Run, clock: ManualClock, tmp_path: Path, timeframe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hours are requested in several parts, most of which are behind its end."""
    monkeypatch.setattr(fill_job, "_BARS_A_PART", 5000)
    report = tmp_path / "night.json"
    ended = {"1d": "2022-05-14T00:00:00Z", "1h": "2022-05-13T01:00:00Z"}[timeframe]
    populate = ("populate", "--symbols", "ETHUSDT,OLDUSDT", "--timeframes", timeframe,
                "--start-date", "2022-04-01")  # fmt: skip
    noted = []
    for night in (populate, ("sync",), ("sync",), ("sync",)):  # it is checked again in the third
        ran = run(*night, "--report", str(report))
        told = json.loads(report.read_text())
        assert (ran.code, told["failed"]) == (0, [])
        (gone,) = (each for each in told["results"] if each["symbol"] == "OLDUSDT")
        assert (gone["complete"], gone["ended"]) == (True, ended)
        noted += [(group["series"], group["why"]) for group in told["reasons"]]
        clock.advance(13 * 24 * 3600)
    ((series, why),) = noted
    assert series == [f"OLDUSDT {timeframe}"]
    assert why.startswith("no bars since 2022-05-1")
    assert why.endswith("(binance); the symbol has ended or been renamed")


def test_a_repeated_sync_continues_after_an_error_and_an_invalid_one_does_not_begin(
    run: Run, vendors: VendorServer, clock: ManualClock, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert run("populate", "--symbols", "BTCUSDT", "--timeframes", "1d", *MAY).code == 0
    folder, cycles = tmp_path / "reports", list[int]()
    folder.mkdir()

    def sleep(_: float) -> None:
        cycles.append(vendors.count())
        clock.advance(86_400)
        if len(cycles) == 1:
            rmtree(folder)
        elif len(cycles) == 2:
            folder.mkdir()
        else:
            raise KeyboardInterrupt

    times = SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep)
    monkeypatch.setattr("src.data.cli.populate.time", times)
    ran = run("sync", "--every", "1h", "--report", str(folder / "night.json"))
    assert ran.code == 0, "the last run"
    first, second, third = cycles
    assert first < second < third, "each run has fetched the new day"
    assert ran.err.count("onetape: ") == 1 and "night.json" in ran.err
    assert run("sync", "--every", "1h", "--report", str(folder / "none" / "x.json")).code == 1
    assert run("sync", "NONE*", "--every", "1h").code == 2
    assert len(cycles) == 3, "neither waited for a second run"


def test_populate_says_why_a_series_is_incomplete(bare: Run, tmp_path: Path) -> None:
    (tmp_path / "AAPL_1d.csv").write_text(
        "timestamp,open,high,low,close,volume\n2024-05-01,10,11,9,10.5,1000\n"
    )
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"stock_daily: {{primary: local, backup: []}}\n"
        f"providers: {{local: {{folder: '{tmp_path}', adjustment: raw}}}}\n"
    )
    ran = bare("populate", "--symbols", "AAPL", "--timeframes", "1d", "--start", "2024-05-01",
               "--end", "2024-05-01", "--config", str(path))  # fmt: skip
    assert ran.code == 1
    assert "AAPL 1d: answered by a substitute of a different kind: raw prices" in ran.out


def test_older_flags_mean_the_same(run: Run) -> None:
    ran = run("populate", "--tickers", "BTCUSDT", "--intervals", "1d", *MAY, "--json")
    assert ran.code == 0
    assert ran.json["success"] == ["BTCUSDT_1d"]
    assert (
        ran.err.splitlines()
        == ["0/1 BTCUSDT 1d", "0/1 BTCUSDT 1d 31 bars", "1/1 BTCUSDT 1d 31 bars"][-1:]
    )


def test_a_bad_symbol_fails_its_series_alone(run: Run) -> None:
    ran = run("populate", "--symbols", "ZZZZQ,EURUSD,AAPL", "--timeframes", "1d", *MAY, "--json")
    assert ran.code == 1
    told = ran.json
    assert told["success"] == ["AAPL_1d"]
    assert told["failed"] == ["ZZZZQ_1d", "EURUSD_1d"]
    assert "unknown symbol" in told["errors"]["ZZZZQ_1d"]
    assert "ambiguous" in told["errors"]["EURUSD_1d"]


def test_the_session_is_that_of_every_series(run: Run, vendors: VendorServer) -> None:
    ran = run("populate", "--symbols", "AAPL", "--timeframes", "1d", "--session", "extended", *MAY)
    assert ran.code == 1
    assert "AAPL 1d@extended failed" in ran.err, "bars of days have no extended hours"
    assert vendors.count() == 0


def test_the_reasons_are_shown(run: Run) -> None:
    ran = run("populate", "--symbols", "ZZZZQ,HALTUSDT", "--timeframes", "1h",
              "--start-date", "2024-03-04", "--end-date", "2024-03-06")  # fmt: skip
    assert ran.code == 1
    assert "ZZZZQ 1h: unknown symbol 'ZZZZQ'" in ran.out
    hole = "2024-03-05T02:00:00Z..2024-03-05T05:00:00Z"
    assert f"HALTUSDT 1h: no bars {hole}: the vendor has no bar" in " ".join(ran.out.split())
    assert "ZZZZQ 1h failed" in ran.err
    assert "1 of 2 series succeeded" in ran.out


@pytest.mark.parametrize(
    "words, said",
    [
        (["--timeframes", "1d,1x,5z"], ["'1x'", "'5z'"]),
        (["--timeframes", "1d", "--start-date", "2024-05-02", "--end-date", "2024-05-01"],
         ["every symbol", "is before"]),
        (["--timeframes", "1d", "--start-date", "2031-01-01"], ["future"]),
    ],
)  # fmt: skip
def test_an_invalid_populate_job_is_one_error_before_any_request(
    words: list[str], said: list[str], run: Run, vendors: VendorServer
) -> None:
    ran = run("populate", "--symbols", "BTCUSDT,AAPL", *words)
    assert ran.code == 2
    assert ran.err.count("onetape:") == 1
    assert all(text in ran.err for text in said)
    assert ran.out == ""
    assert vendors.count() == 0


@pytest.mark.parametrize("words", [[], ["--timeframes", "1d", *MAY], ["--dry-run"], ["--json"]])
def test_populate_without_symbols_is_refused_and_sends_no_request(
    words: list[str], run: Run, vendors: VendorServer
) -> None:
    run("fetch", "AAPL", "1d", "--bars", "3")
    vendors.clear_log()
    ran = run("populate", *words)
    assert (ran.code, vendors.count()) == (2, 0)
    assert "no symbols are given" in ran.err and "--symbols-file" in ran.err
    assert "onetape sync" in ran.err
    assert bool(ran.out) == ("--json" in words)


def test_the_older_name_of_populate_fills_the_cached_series_by_default(
    run: Run, rules: Path, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run("fetch", "AAPL", "1d", "--bars", "3")
    places = ["--config", str(rules), "--cache-dir", str(cache), "--json"]
    assert older_main(["--intervals", "1d", *MAY, *places]) == 0
    assert json.loads(capsys.readouterr().out)["success"] == ["AAPL_1d"]


def test_ctrl_c_keeps_fetched_bars_and_the_next_run_fetches_the_rest(
    run: Run, vendors: VendorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetcher, "PAGES_A_COMMIT", 1)
    send, april = HttpTransport.send, parse_iso("2024-04-01")

    def interrupted_in_april(self: HttpTransport, request: HttpRequest) -> HttpResponse:
        if int(request.params["startTime"]) >= april:
            raise KeyboardInterrupt
        return send(self, request)

    with monkeypatch.context() as patched:
        patched.setattr(HttpTransport, "send", interrupted_in_april)
        ran = run("populate", *FOUR_MONTHS, "--json")
    assert ran.code == 1
    assert ran.json["interrupted"] is True
    assert ran.json["errors"] == {"BTCUSDT_1h": "interrupted"}
    assert ran.json["results"][0]["next_step"] == "run the job again"
    assert "run the command again" in ran.err
    kept = ran.json["cache_stats"]["bars_count"]
    assert kept >= 2000
    vendors.clear_log()
    again = run("populate", *FOUR_MONTHS, "--json")
    assert again.code == 0
    assert again.json["results"][0]["rows"] == 152 * 24
    assert again.json["results"][0]["fetched"] == 152 * 24 - kept
    asked = [int(entry.params["startTime"]) for entry in vendors.log("binance")]
    assert min(asked) == parse_iso("2024-01-01") + kept * HOUR_MS, "what was committed is not asked"


def listening() -> None:
    """Let Ctrl-C through: what is started in the background is started deaf to it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_populate_with_a_report_and_the_next_run_fetches_the_rest(
    number: int, run: Run, rules: Path, cache: Path, vendors: VendorServer, tmp_path: Path
) -> None:
    vendors.fault("binance", Fault.hang(), symbol="ETHUSDT")
    words = ("populate", "--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "1d", *MAY,
             "--report", str(tmp_path / "night.json"))  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "src.data", *words, "--config", str(rules), "--cache-dir", str(cache)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": PYTHONPATH}, preexec_fn=listening,
    )  # fmt: skip
    assert process.stderr is not None
    assert "BTCUSDT 1d 31 bars" in process.stderr.readline(), "it is over"
    assert vendors.wait_for("binance", 2, timeout_s=30)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, "Traceback" in err) == (1, False), err
    assert "ETHUSDT 1d: interrupted" in out
    assert "committed bars are kept" in err
    told = json.loads((tmp_path / "night.json").read_text())
    assert told["interrupted"] and told["results"][0]["complete"]
    vendors.heal()
    vendors.clear_log()
    assert run(*words).code == 0
    assert [entry.params["symbol"] for entry in vendors.log("binance")] == ["ETHUSDT"]


def test_the_older_name_counts_failures_only(
    run: Run, rules: Path, cache: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = ["--config", str(rules), "--cache-dir", str(cache)]
    outage = ["--intervals", "1h", "--start-date", "2024-03-04", "--end-date", "2024-03-06"]
    monkeypatch.setenv("COLUMNS", "100")
    assert older_main(["--tickers", "HALTUSDT", *outage, *places]) == 0
    assert "incomplete" in capsys.readouterr().out
    assert older_main(["--tickers", "HALTUSDT,ZZZZQ", *outage, *places]) == 1
    assert older_main(["--tickers", "HALTUSDT", "--intervals", "1x", *places]) == 1
    assert "'1x'" in capsys.readouterr().err
    assert older_main(["--tickers", "BTCUSDT", *outage, *places, "--dry-run"]) == 0
    assert "binance" in capsys.readouterr().out
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        raise KeyboardInterrupt

    monkeypatch.setattr("src.data.cli.populate.time.sleep", rest)
    assert older_main(["--tickers", "HALTUSDT", *outage, *places, "--every", "1h"]) == 0
    assert len(rests) == 1


@pytest.mark.parametrize(
    "module", ["src.data.cache.populate_cache", "src.data.utils.populate_cache"]
)
def test_the_modules_of_old_end_with_1_when_a_vendor_is_down(
    module: str, run: Run, rules: Path, cache: Path, vendors: VendorServer,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert run("populate", "--symbols", "BTCUSDT", "--timeframes", "1h", "--start", "2024-05-01",
               "--end", "2024-05-03").code == 0  # fmt: skip
    # No retry waits: a mistake of the server's would take seconds of a real clock.
    vendors.fault("binance", Fault.status(451))
    words = ["--tickers", "BTCUSDT", "--intervals", "1h", "--start-date", "2024-05-01",
             "--end-date", "2024-05-31", "--config", str(rules), "--cache-dir", str(cache)]  # fmt: skip
    monkeypatch.setattr(sys, "argv", [module, *words])
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__")
    out, err = capsys.readouterr()
    assert ended.value.code == 1, err
    assert "0 of 1 series succeeded" in out


def test_a_narrow_terminal_leaves_columns_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    ran = run("populate", "--symbols", "BTCUSDT", "--timeframes", "1d", *MAY)
    assert ["BTCUSDT", "1d", "31", "complete"] in [line.split() for line in ran.out.splitlines()]
    assert max(map(len, ran.out.splitlines())) <= 40


# --- lists, dry runs, reports ------------------------------------------------------------------


def test_a_symbols_file_is_read_and_its_invalid_rows_are_reported(run: Run, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(
        b"\xef\xbb\xbfsymbol,timeframe,from,priority\r\n\r\n# coins\r\nBTCUSDT,1h,2024-05-20,2\r\n"
        b"ETHUSDT,,,1\r\nBTCUSDT,60m,2024-05-10\r\nNOPE?,1d\r\nAAPL,1q\r\nSOLUSDT,1d,2031-01-01\r\n"
    )
    ran = run("populate", "--symbols-file", "list.csv", "--timeframes", "1d", *MAY, "--json")
    assert ran.code == 1
    told = {r["symbol"]: r for r in ran.json["results"]}
    assert [r["symbol"] for r in ran.json["results"]] == [
        "BTCUSDT", "ETHUSDT", "NOPE?", "AAPL", "SOLUSDT",
    ]  # fmt: skip
    assert (told["BTCUSDT"]["rows"], told["BTCUSDT"]["timeframe"]) == (22 * 24, "1h")
    assert told["ETHUSDT"]["rows"] == 31
    assert "'?'" in told["NOPE?"]["error"] and "'1q'" in told["AAPL"]["error"]
    assert "future" in told["SOLUSDT"]["error"]
    assert run("populate", "--symbols-file", "nowhere.csv").code == 2


def test_a_dry_run_of_populate_predicts_the_requests_that_are_then_sent(
    run: Run, vendors: VendorServer, cache: Path
) -> None:
    words = ("populate", "--symbols", "BTCUSDT,ETHUSDT,AAPL,ZZ?", "--timeframes", "1h,1d", *MAY)
    told = run(*words, "--dry-run", "--json")
    assert (told.code, told.json["series"], told.json["held"]) == (1, 8, 0)
    assert vendors.count() == 0 and not list(cache.iterdir())
    assert [(group["count"], group["failed"]) for group in told.json["reasons"]] == [(2, True)]
    shown = run(*words, "--dry-run").out
    assert "ZZ? 1h" in shown and "binance" in shown and "takes" in shown
    run(*words)
    sent = {name: cost["requests"] for name, cost in told.json["vendors"].items()}
    assert sent == {name: vendors.count(name) for name in ("binance", "yahoo")}
    after = run("populate", "--symbols", "BTCUSDT,AAPL", *words[3:], "--dry-run", "--json")
    assert (after.code, after.json["held"], after.json["requests"]) == (0, 4, 0)


def test_days_at_your_plan(run: Run, rules: Path) -> None:
    limit = "rate_limits: {requests_per_day: 3}"
    rules.write_text(rules.read_text().replace("  binance: {", f"  binance: {{{limit}, "))
    words = ("--symbols", "BTCUSDT,ETHUSDT,SOLUSDT,HALTUSDT", "--timeframes", "1h", *MAY)
    told = run("populate", *words, "--dry-run", "--json").json["vendors"]["binance"]
    assert told["days"] == 1 + (told["units"] - 1) // 3
    assert f"{told['days']} days" in run("populate", *words, "--dry-run").out


def test_a_row_with_a_mistake_is_one_failure_and_hides_behind_no_other_row(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "list.csv").write_text("BTCUSDT\nBTCUSDT,1d,,soon\nBTCUSDT,1d,2024,1,x\n,1d\n,,\n")
    ran = run("populate", "--symbols-file", "list.csv", "--timeframes", "1h,1d", *MAY)
    assert ran.code == 1
    for text in (
        "BTCUSDT 1d: line 2: the priority is not an integer: 'soon'",
        "BTCUSDT: line 3 has too many columns: 5; at most 4 are accepted",
        "line 4 1d: line 4 has no symbol",
        "2 of 5 series succeeded",
    ):
        assert text in ran.out
    assert [line.split(" ")[0] for line in ran.err.splitlines()][-1] == "5/5", "as in the report"
    told = run("refresh", "--symbols-file", "list.csv", "--data-types", "profile", "--json").json
    assert len(told["failed"]) >= 3
    assert {"line 2: the priority is not an integer: 'soon'", "line 4 has no symbol"} <= {
        group["why"] for group in told["reasons"]
    }


def test_a_long_wait_counts_down_and_has_a_line_each_half_minute(
    clock: ManualClock, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("src.data.cli.populate.time.monotonic", clock.monotonic)
    end_s = clock.monotonic() + 60
    wait, series = Wait("acme", "its limit is used up", end_s), SeriesResult("AAPL", "1d")
    with progress_shown() as listener:
        progress = JobProgress(clock, listener, 1, 1)
        for _ in range(20):
            progress.tell_quiet(series, [RunningItem(None, 5.0)] * 3, "acme", wait)
            clock.advance(5)
    assert capsys.readouterr().err.splitlines() == [
        "AAPL 1d waits 60 seconds for acme: its limit is used up; 2 more wait as well",
        "AAPL 1d waits 30 seconds for acme: its limit is used up; 2 more wait as well",
        "AAPL 1d waiting for acme for 5 seconds; 2 more wait as well",
        "AAPL 1d waiting for acme for 5 seconds; 2 more wait as well",
    ]


def test_failures_alike_are_one_line(run: Run, vendors: VendorServer) -> None:
    vendors.fault("binance", Fault.status(451))
    names = [f"{name}USDT" for name in ("HALT", "NEW", "GONE", "BTC", "ETH", "SOL")]
    ran = run("populate", "--symbols", ",".join([*names, "ZZZZQ"]), "--timeframes", "1h,4h", *MAY)
    assert ran.code == 1
    said = [line for line in ran.out.splitlines() if " series (" in line]
    assert sum(int(line.split()[0]) for line in said) >= 12, "refused, left alone, unknown"
    assert len(said) <= 3


def test_the_report_is_written(run: Run, tmp_path: Path, vendors: VendorServer) -> None:
    words = ("populate", "--symbols", "BTCUSDT,ZZZZQ", "--timeframes", "1d", *MAY)
    assert run(*words, "--report", "night.json").code == 1
    told = json.loads((tmp_path / "night.json").read_text())
    assert told["requests"]["binance"]["answered"] == 1
    (group,) = told["reasons"]
    assert (group["series"], group["failed"]) == (["ZZZZQ 1d"], True)
    assert told["results"][1]["reason"] == "unknown_symbol" and told["results"][1]["next_step"]
    vendors.clear_log()
    words = ("populate", "--symbols", "ETHUSDT", "--timeframes", "1d", *MAY, "--report")
    for place, why in [("no/folder.json", "no does not exist"), (".", "it is a folder")]:
        ran = run(*words, place)
        assert (ran.code, vendors.count()) == (1, 0), "before anything is asked"
        assert why in ran.err


def test_quiet_and_many_series(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.data.cli.populate.MOST_SHOWN", 8)
    names = ",".join(f"Z{n}USDT" for n in range(8))
    ran = run("-q", "populate", "--symbols", f"BTCUSDT,{names}", "--timeframes", "1d", *MAY)
    assert ran.err == ""
    assert "BTCUSDT" not in ran.out, "what is complete of so many is not listed"
    assert (
        "8 series (Z0USDT 1d, Z1USDT 1d, Z2USDT 1d, Z3USDT 1d, Z4USDT 1d and 3 more): "
        in " ".join(ran.out.split())
    )


# --- sync --------------------------------------------------------------------------------------


def test_sync_updates_every_cached_series(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    assert run("sync").code == 2, "there is nothing yet"
    days = ("--start-date", "2024-06-05", "--end-date", "2024-06-07")
    run("populate", "--symbols", "BTCUSDT,ETHUSDT", "--timeframes", "1h", *days)
    run("fetch", "AAPL", "1d", "--start", "2024-05-20", "--end", "2024-05-31")
    ran = run("sync", "--json")
    assert ran.code == 0
    assert {(r["symbol"], r["timeframe"]): r["fetched"] > 0 for r in ran.json["results"]} == {
        ("BTCUSDT", "1h"): True, ("ETHUSDT", "1h"): True, ("AAPL", "1d"): True,
    }  # fmt: skip
    vendors.clear_log()
    again = run("sync", "--json")
    assert (again.code, vendors.count()) == (0, 0)
    clock.advance(86_400)
    told = run("sync", "BTC*", "--json").json["results"]
    assert [(r["symbol"], r["fetched"]) for r in told] == [("BTCUSDT", 25)], (
        "with the bar before, for late revisions"
    )
    told = run("sync", "* 1d", "--dry-run", "--json").json
    assert (told["series"], list(told["vendors"])) == (1, ["yahoo"])
    told = run("sync", "AAPL", "ETH*", "--dry-run", "--json").json
    assert (told["series"], list(told["vendors"])) == (2, ["yahoo", "binance"])
    ran = run("sync", "BTCUSDT", "MSFT", "--json")
    assert (ran.code, ran.json["success"]) == (1, ["BTCUSDT_1h"])
    (reason,) = ran.json["errors"].values()
    assert "nothing is cached for it" in reason


def test_sync_with_samples_alone_says_how_to_query_vendors(run: Run, vendors: VendorServer) -> None:
    pytest.importorskip("bokeh_sampledata.stocks")
    span = ("--start", "2012-01-03", "--end", "2012-01-09")
    assert run("fetch", "AAPL", "1d", *span, "--provider", "demo").code == 0
    for symbols in ((), ("AAPL",), ("AAPL", "--dry-run")):
        ran = run("sync", *symbols)
        assert (ran.code, vendors.count()) == (2, 0)
        assert "only sample bars are cached (AAPL 1d@demo)" in ran.err
        assert "`onetape fetch AAPL 1d` requests bars from vendors" in ran.err
    assert "no matching series is cached" in run("sync", "MSFT").err


def test_every_so_often_until_a_signal(
    run: Run, monkeypatch: pytest.MonkeyPatch, clock: ManualClock
) -> None:
    run("fetch", "BTCUSDT", "1h", "--bars", "3")
    rests: list[float] = []

    def rest(seconds: float) -> None:
        rests.append(seconds)
        clock.advance(seconds)
        if len(rests) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("src.data.cli.populate.time.sleep", rest)
    monkeypatch.setattr("src.data.core.clock.SystemClock", lambda: clock)
    ran = run("sync", "--every", "1h", "--report", "night.html")
    assert (ran.code, ran.out.count("1 of 1 series succeeded")) == (0, 3)
    assert "begun 2024-06-12 17:" in Path("night.html").read_text(), "the third run"
    assert all(3500 < seconds <= 3600 for seconds in rests)
    assert run("sync", "--every", "soon").code == 2
