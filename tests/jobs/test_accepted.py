"""Accepted findings: a known one ends a night with 0, and comes back when its bars change."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import day_ms
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import QueryError
from src.data.jobs.validation.accepted import accepted_stamps, is_known
from src.data.jobs.validation.service import EVER
from src.data.jobs.validation.validate import accept_finding
from tests.cli.conftest import Run, bare, cache, machine, rules, run
from tests.jobs.validation.test_service import BAD, filled, frame_of, manager
from tests.vendor_server import VendorServer

__all__ = ["bare", "cache", "filled", "machine", "manager", "rules", "run"]

KEY = SeriesKey(BAD, Timeframe.parse("1d"))


def ids(manager: DataManager) -> list[str]:
    return [one.id for one in manager.validate(BAD, "1d").not_accepted("warning")]


def night(bare: Run, manager: DataManager, *words: str) -> int:
    return bare("validate", "--all", *words, "--cache-dir", str(manager.cache.cache_dir)).code


def change(manager: DataManager, row: int, factor: float) -> None:
    """Store one bar of the series again, with other prices."""
    table = manager._services.client.columns(KEY, EVER).table
    bar = frame_of(table).iloc[row : row + 1].copy()
    bar.iloc[:, :4] *= factor
    manager.cache.put(bar, BAD, "1d", provider="yahoo")


def test_a_night_with_a_known_finding_ends_with_0_and_still_shows_it(
    bare: Run, filled: DataManager
) -> None:
    assert night(bare, filled) == 1
    (known,) = ids(filled)
    folder = str(filled.cache.cache_dir)
    ran = bare("validate", "--accept", known, "--reason", "pounds", "--cache-dir", folder)
    assert (ran.code, ran.out) == (0, f"accepted: {known}\n")
    ran = bare("validate", "--all", "--cache-dir", folder)
    assert ran.code == 0 and "none with findings" in ran.out
    (entry,) = bare("validate", BAD, "1d", "--json", "--cache-dir", folder).json
    (accepted,) = [one for one in entry["findings"] if one["id"] == known]
    assert accepted["severity"] == "error" and accepted["accepted"]["reason"] == "pounds"
    shown = bare("validate", BAD, "1d", "--cache-dir", folder).out
    assert "accepted by" in shown and "pounds" in shown
    assert len(accepted_stamps(filled._services.client, KEY)) == 4, "alerts leave these bars out"
    assert bare("validate", "--accept", known, "--undo", "--cache-dir", folder).code == 0
    assert night(bare, filled) == 1
    assert len(accepted_stamps(filled._services.client, KEY)) == 0


def test_a_changed_bar_brings_an_accepted_finding_back_and_other_bars_do_not(
    filled: DataManager,
) -> None:
    (known,) = ids(filled)
    accept_finding(filled._services, known)
    change(filled, 10, 1.0001)
    assert ids(filled) == [], "the bar is not one of those that were judged"
    change(filled, 101, 1.0001)
    assert ids(filled) == [known], "the same finding, about another bar than the accepted one"


def test_a_second_finding_in_the_series_still_fails_the_night(
    bare: Run, filled: DataManager
) -> None:
    (known,) = ids(filled)
    accept_finding(filled._services, known)
    assert night(bare, filled) == 0
    change(filled, 180, 0.01)
    (second,) = ids(filled)
    assert second != known and night(bare, filled) == 1


def test_an_accepted_finding_does_not_cover_another_one_about_the_same_bars(
    filled: DataManager,
) -> None:
    bars = frame_of(filled._services.client.columns(KEY, EVER).table).iloc[98:106].copy()
    bars["volume"] = 0.0
    filled.cache.put(bars, BAD, "1d", provider="yahoo")
    grave, slight = ids(filled)
    accept_finding(filled._services, slight)
    assert ids(filled) == [grave]
    assert len(accepted_stamps(filled._services.client, KEY)) == 4, "the bars without the grave one"
    accept_finding(filled._services, grave)
    assert len(accepted_stamps(filled._services.client, KEY)) == 8


@pytest.mark.parametrize("word", [f"{BAD}:1d:unit:1999-01-01", "VOD:1d:unit"])
def test_an_unknown_id_is_refused_with_the_nearest(
    bare: Run, filled: DataManager, word: str
) -> None:
    folder = str(filled.cache.cache_dir)
    ran = bare("validate", "--accept", word, "--cache-dir", folder)
    assert ran.code == 2 and f"{BAD}:1d:" in " ".join(ran.err.split())
    with pytest.raises(QueryError, match="no accepted finding"):
        accept_finding(filled._services, ids(filled)[0], undo=True)


def _accept(task: tuple[Path, str]) -> None:
    folder, finding = task
    accept_finding(DataManager(folder)._services, finding)


def test_two_processes_accept_at_once(filled: DataManager) -> None:
    change(filled, 180, 0.01)
    findings = [one.id for one in filled.validate(BAD, "1d").findings]
    assert len(findings) > 1
    folder = Path(filled.cache.cache_dir)
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        list(pool.map(_accept, [(folder, finding) for finding in findings]))
    assert len(filled._services.client.acceptances.of(KEY)) == len(findings)
    assert ids(filled) == []


def night_until(run: Run, end: str) -> int:
    """Populate AAPL, and return the exit code; what it lacks is shown either way."""
    span = ("--start-date", "2023-01-03", "--end-date", end)
    ran = run("populate", "--symbols", "AAPL", "--timeframes", "1d", *span)
    assert ("AAPL 1d: accepted: " if ran.code == 0 else "AAPL 1d: ") in ran.out
    return ran.code


def accept_all(run: Run) -> None:
    (report,) = run("validate", "AAPL", "1d", "--json").json
    for finding in report["findings"]:
        if finding["severity"] != "info":
            assert run("validate", "--accept", finding["id"]).code == 0


def test_a_job_over_a_known_gap_ends_with_0_and_with_1_if_another_gap_appears(
    run: Run, vendors: VendorServer
) -> None:
    outages = [(f"2024-06-{day:02}T00:00", f"2024-06-{day + 1:02}T00:00") for day in (3, 6)]
    vendors.truth.add(replace(vendors.truth.listing("AAPL"), outages=tuple(outages)))
    assert night_until(run, "2024-06-04") == 1
    accept_all(run)
    assert night_until(run, "2024-06-04") == 0
    assert night_until(run, "2024-06-05") == 0, "the ID stays the same if other bars arrive"
    assert night_until(run, "2024-06-07") == 1
    accept_all(run)
    assert night_until(run, "2024-06-07") == 0


def test_an_incomplete_result_whose_fault_is_not_in_the_accepted_bars_is_not_known(
    filled: DataManager,
) -> None:
    filled.validate(BAD, "1d", mark=True)
    for known in ids(filled):
        accept_finding(filled._services, known)
    stamps = frame_of(filled._services.client.columns(KEY, EVER).table).index
    assert is_known(filled._services, KEY, stamps[98], stamps[110])
    assert not is_known(filled._services, KEY, stamps[200], stamps[210]), "what is it then?"


def test_a_job_over_a_known_grave_bar_ends_with_0_until_the_bar_changes(
    run: Run, vendors: VendorServer, clock: ManualClock
) -> None:
    day, end, long = day_ms(date(2024, 5, 29)), "2024-06-05", clock.now_ms() + 10**9
    outage = ("2024-06-06T00:00", "2024-06-07T00:00")
    vendors.truth.add(replace(vendors.truth.listing("AAPL"), outages=(outage,)))
    vendors.revise("AAPL", "1d", day, 0.01, long)
    assert night_until(run, end) == 1
    accept_all(run)
    assert night_until(run, end) == 0
    assert night_until(run, "2024-06-07") == 1, "the gap of that day is another fault"
    vendors.revise("AAPL", "1d", day, 0.0101, long)
    run("fetch", "AAPL", "1d", "--start", "2024-05-28", "--end", "2024-05-30", "--refresh")
    assert night_until(run, end) == 1
