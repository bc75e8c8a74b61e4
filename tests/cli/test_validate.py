"""``onetape validate``: the report, its exit codes, every series one after another."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from src.data.cli import whole_parser
from src.data.data_manager import DataManager
from src.data.errors import IncompleteDataError
from tests.cli.conftest import Run
from tests.conformance.sheet import sheet_of
from tests.jobs.validation.test_service import BAD, GOOD, filled, manager
from tests.vendor_server import VendorServer

__all__ = ["filled", "manager"]


@pytest.fixture
def folder(filled: DataManager) -> str:
    return str(filled.cache.cache_dir)


def test_findings_are_shown_with_the_next_step(bare: Run, folder: str) -> None:
    ran = bare("validate", BAD, "1d", "--cache-dir", folder)
    assert ran.code == 1
    assert "error  unit (cause certain): 4 rows 100 times too small" in ran.out
    (line,) = {*re.findall(r"→ fetch these bars again .*`onetape (.*)`", ran.out)}
    assert line == f"fetch {BAD} 1d --start 2015-05-25 --end 2015-05-28 --refresh"
    assert whole_parser().parse_args(shlex.split(line)).run
    assert "not checked  dividend" in ran.out


def test_validate_of_a_clean_series_exits_with_0(bare: Run, folder: str) -> None:
    ran = bare("validate", GOOD, "1d", "--cache-dir", folder)
    assert (ran.code, ran.out.splitlines()[-1]) == (0, "1 series: none with findings")
    assert bare("validate", BAD, "1d", "--cache-dir", folder, "--severity", "info").code == 1


def test_all_of_them_and_the_same_report_as_the_facade(
    bare: Run, folder: str, filled: DataManager
) -> None:
    ran = bare("validate", "--all", "--json", "--cache-dir", folder)
    assert ran.code == 1
    assert ran.json == [filled.validate(s, "1d").as_dict() for s in (GOOD, BAD)]
    text = bare("validate", "--all", "--cache-dir", folder).out
    assert "2 series: 1 with findings" in text
    assert GOOD not in text


def test_bars_that_are_wrong_for_certain_are_marked_on_request(
    bare: Run, folder: str, filled: DataManager
) -> None:
    words = ("validate", BAD, "1d", "--cache-dir", folder)
    (plain,) = bare(*words, "--json").json
    assert (plain["marked"], plain["unmarked"]) == (0, 0)
    ran = bare(*words, "--mark", "--json")
    assert (ran.code, ran.json[0]["marked"]) == (1, 4), "exit code 1: something was found"
    assert ran.json[0] == plain | {"marked": 4}
    with pytest.raises(IncompleteDataError, match="as the whole series shows: unit"):
        filled.get_ohlcv(BAD, "1d", "2000-01-01", offline=True, adjustment="raw", strict=True)
    again = bare(*words, "--mark", "--json")
    assert (again.code, again.json[0]["marked"]) == (1, 0)
    assert (
        "mark bars that are certainly wrong, so that every later answer reports them; changes no bar"
        in " ".join(bare("validate", "--help").out.split())
    )


def test_all_series_are_marked(bare: Run, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run_on, tasks = "src.data.jobs.validation.validate.run_on", list[Any]()
    monkeypatch.setattr(
        run_on, lambda make, work, given: tasks.extend((work, t) for t in given) or []
    )
    bare("validate", "--all", "--mark", "--processes", "2", "--cache-dir", folder)
    assert [work(task).marked for work, task in tasks] == [0, 4], "workers mark, too"
    ran = bare("validate", "--all", "--mark", "--cache-dir", folder)
    assert "marked" not in ran.out, "all of it is marked already"


@pytest.mark.parametrize(
    "words",
    [(), (BAD,), (BAD, "1d", "--all"), ("--all", "--dry-run"), ("--all", "--level", "corroborated"),
     (BAD, "1d", "--level", "sure"), (BAD, "1d", "--mark", "--dry-run"),
     (BAD, "1d", "--mark", "--start", "2020-01-01")],
)  # fmt: skip
def test_wrong_questions_exit_with_2(bare: Run, folder: str, words: tuple[str, ...]) -> None:
    assert bare("validate", *words, "--cache-dir", folder).code == 2


def test_validate_reports_a_damaged_series_and_continues_with_the_others(
    bare: Run, folder: str
) -> None:
    for path in (Path(folder) / "ohlcv" / BAD / "1d").glob("*.json"):
        path.write_text("{")
    for path in (Path(folder) / "ohlcv" / BAD / "1d").glob("*.gz"):
        path.write_bytes(b"no gzip")
    ran = bare("validate", "--all", "--cache-dir", folder)
    assert "2 series" in ran.out or "1 series" in ran.out


def test_validate_prints_the_requests_per_vendor_before_sending_them(
    bare: Run, folder: str, vendors: VendorServer, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("providers:\n" + "".join(
        f"  {name}: {{base_url: '{vendors.refused_url(name)}', transport: http}}\n"
        for name in ("binance", "yahoo")
    ))  # fmt: skip
    places = ("--cache-dir", folder, "--config", str(path))
    ran = bare("validate", GOOD, "1d", "--level", "corroborated", *places)
    assert "querying vendors: yahoo 1 request" in ran.err


@pytest.mark.parametrize("symbol", ["BTCUSDT", "AAPL"])
def test_a_dry_run_of_validate_predicts_the_requests_to_each_vendor(
    run: Run, vendors: VendorServer, rules: Path, monkeypatch: pytest.MonkeyPatch,
    symbol: str,
) -> None:  # fmt: skip
    monkeypatch.setenv("FMP_API_KEY", sheet_of("fmp").keys["FMP_API_KEY"])
    text = rules.read_text() + f"  fmp: {{base_url: '{vendors.base_url('fmp')}'}}\n"
    rules.write_text(f"stock_daily: {{primary: yahoo, backup: [fmp]}}\n{text}")
    words = (symbol, "1d", "--level", "authoritative")  # beside a second vendor, too
    fetched = run("fetch", symbol, "1d", "--start", "2023-01-02", "--end", "2024-05-31")
    assert fetched.code == 0, fetched.err
    vendors.clear_log()
    dry = run("validate", *words, "--dry-run", "--json")
    assert dry.code == 0, (dry.out, dry.err)
    told = dry.json
    assert (vendors.count(), told["requests"]) == (0, sum(map(_requests, told["vendors"].values())))
    assert run("validate", *words, "--dry-run").out.endswith(
        f"{told['requests']} requests in total\n"
    )
    (report,) = run("validate", *words, "--json").json
    sent = {name: vendors.count(name) for name in told["vendors"]}
    assert sent == {name: _requests(cost) for name, cost in told["vendors"].items()}
    assert report["requests"] == vendors.count() == told["requests"] > 1
    assert ("exchange" in told["not_checked"]) == (symbol == "AAPL")


def _requests(cost: dict[str, Any]) -> int:
    return int(cost["requests"])
