"""``-q``: commands that fetch, write or check print nothing on success."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run
from tests.vendor_server import Fault, VendorServer

JOB = (
    "populate",
    "--symbols",
    "BTCUSDT",
    "--timeframes",
    "1d",
    "--start",
    "2024-05-01",
    "--end",
    "2024-05-31",
)


def test_a_job_and_its_checks_are_silent(run: Run) -> None:
    for words in (JOB, ("sync",), ("validate", "--all"), ("cache", "verify")):
        ran = run("-q", *words)
        assert (ran.code, ran.out, ran.err) == (0, "", ""), words
        assert run(*words).out, "without -q there is a result"


def test_a_failure_is_printed(run: Run, vendors: VendorServer) -> None:
    vendors.fault("yahoo", Fault.status(403, "no"))
    ran = run(
        "-q", "populate", "--symbols", "BTCUSDT,AAPL", "--timeframes", "1d", "--start", "2024-05-01"
    )
    assert ran.code == 1 and "AAPL" in ran.out and "1 of 2 series succeeded" in ran.out


def test_quiet_commands_print_nothing_on_success(run: Run, tmp_path: Path) -> None:
    bars = ("1d", "--start", "2024-05-01", "--end", "2024-05-10")
    for words in (
        ("fetch", "BTCUSDT", *bars),
        ("fetch", "BTCUSDT", "ETHUSDT", *bars),
        ("fetch", "BTCUSDT", *bars, "--csv", str(tmp_path / "a.csv")),
        ("plot", "BTCUSDT", *bars, "-o", str(tmp_path / "a.html")),
        ("report", "BTCUSDT", "1d", "-o", str(tmp_path / "r.html")),
    ):
        ran = run("-q", *words)
        assert (ran.code, ran.out, ran.err) == (0, "", ""), words
    assert len(list(tmp_path.glob("*.*"))) >= 3
    lacking = run("-q", "fetch", "HALTUSDT", "1h", "--start", "2024-03-04", "--end", "2024-03-06")
    assert lacking.code == 1 and "HALTUSDT 1h" in lacking.out


def test_quiet_still_prints_the_requested_output(run: Run) -> None:
    words = ("-q", "fetch", "BTCUSDT", "1d", "--start", "2024-05-01")
    assert run(*words, "--csv", "-").out.startswith("timestamp,")
    assert run(*words, "--json").json["provenance"]["complete"]
    assert "BTCUSDT 1d" in run("-q", "plot", "BTCUSDT", "1d", "--start", "2024-05-01").out
    assert "report of BTCUSDT 1d" in run("-q", "report", "BTCUSDT", "1d").out
    assert run("-q", *JOB, "--json").json["failed"] == []
