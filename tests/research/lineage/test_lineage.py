"""``with lineage(id):`` recorded reads, ids, threads, pins and faults."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import warnings
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from onetape.aio import AsyncDataManager
from src.data.bundles import DataCatalog, Lineages, lineage
from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import DAY_MS
from src.data.core.observability.reads import open_records
from src.data.data_manager import DataManager
from src.data.errors import (
    CorruptEntryError,
    FormatVersionError,
    QueryError,
    StorageError,
)
from src.data.research.lineage.lineage_export import exported
from src.data.research.lineage.run_records import RunFolder
from tests.e2e.oracle import ms
from tests.vendor_server import VendorServer, dividend, split

WEEK = ("BTCUSDT", "1h", "2024-05-01", "2024-05-07")


@pytest.fixture
def lineages(manager: DataManager, bundles: Path) -> Lineages:
    """Return the recorded runs in ``bundles``, which are compared with the bars of ``manager``."""
    return Lineages(bundles, manager)


def record_in(bundles: Path) -> tuple[Path, dict[str, Any]]:
    """Return the file of the only run, and what is in it."""
    (path,) = (bundles / ".lineage").glob("*.json")
    return path, json.loads(path.read_text())


def test_a_thousand_reads_are_one_entry_and_an_id_is_made(
    manager: DataManager, bundles: Path
) -> None:
    with lineage(folder=bundles, manager=manager) as run:
        for day in range(1, 8):
            manager.get_ohlcv(*WEEK)
            manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02", f"2024-05-{max(day, 2):02d}")
    manager.get_ohlcv("ETHUSDT", "1h", "2024-05-01", "2024-05-02")
    _, record = record_in(bundles)
    (read,) = record["reads"]
    assert str(UUID(run.id)) == run.id == record["run"]
    assert read["generation"] == 1 and read["series"] == "BTCUSDT 1h"
    assert read["actions"] == {**read["actions"], "rows": [], "as_of": None}


def test_later_reads_of_a_generation_are_added_to_its_record(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    whole = manager.get_ohlcv(*WEEK)
    with lineage("growing", folder=bundles, manager=manager):
        for day in (2, 3, 5, 1, 7):
            manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02" if day > 1 else "2024-05-01",
                              f"2024-05-{day:02d}")  # fmt: skip
    (read,) = lineages.get("growing").reads
    assert read.rows == len(whole)
    assert lineages.check("growing").is_identical


@pytest.mark.parametrize("adjustment", ["raw", "split", "all"])
def test_recorded_actions_reproduce_adjusted_prices_despite_later_ones(
    manager: DataManager,
    bundles: Path,
    lineages: Lineages,
    vendors: VendorServer,
    clock: ManualClock,
    adjustment: Any,
) -> None:
    vendors.truth.act("AAPL", dividend("2024-05-10", 0.25))
    manager.get_ohlcv("AAPL", "1d", "2024-03-01", "2024-04-30")
    vendors.truth.act("AAPL", split("2024-06-10", 4))
    clock.set(ms("2024-06-20T22:00:00"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with lineage("adjusted", folder=bundles, manager=manager):
            seen = manager.get_ohlcv(
                "AAPL", "1d", "2024-03-01", "2024-06-14", adjustment=adjustment
            )
    (bars,) = lineages.read("adjusted").values()
    for name, column in zip(
        ["open", "high", "low", "close", "volume"], bars.values(), strict=False
    ):
        assert column.tobytes() == seen[name].to_numpy().tobytes(), name
    assert lineages.check("adjusted").is_identical


@pytest.mark.parametrize("adjustment", ["raw", "split", "all"])
def test_a_later_dividend_explains_a_changed_adjusted_close_under_any_adjustment(
    manager: DataManager,
    bundles: Path,
    lineages: Lineages,
    vendors: VendorServer,
    clock: ManualClock,
    adjustment: Any,
) -> None:
    """The dividend that the run already knew is not named."""
    vendors.truth.act("AAPL", dividend("2024-04-12", 0.5))
    vendors.truth.act("AAPL", dividend("2024-05-10", 0.25))
    question = ("AAPL", "1d", "2024-04-01", "2024-04-30")
    clock.set(ms("2024-05-08T12:00:00"))
    with lineage("before", folder=bundles, manager=manager):
        seen = manager.get_ohlcv(*question, adjustment=adjustment)
    clock.set(ms("2024-05-20T12:00:00"))
    manager.get_ohlcv("AAPL", "1d", "2024-04-01", "2024-05-17")
    (read,) = lineages.check("before").series
    cells = [cell for cell in read.cells if cell.column == "adj_close"]
    assert len(cells) == len(seen) == 22
    assert read.causes == ("new action",)
    assert {cell.detail for cell in read.cells} == {"dividend of 0.25 on 2024-05-10"}
    assert {c.column for c in read.cells} == {"adj_close"} or adjustment == "all"


def test_the_rounding_of_raw_prices_after_a_split_is_not_a_correction(
    manager: DataManager,
    bundles: Path,
    lineages: Lineages,
    clock: ManualClock,
) -> None:
    """They are computed from the vendor's prices, which it divides by ten from 10 June on."""
    question = ("NVDA", "1d", "2024-05-27", "2024-06-07")
    clock.set(ms("2024-06-08T12:00:00"))
    with lineage("before", folder=bundles, manager=manager):
        seen = manager.get_ohlcv(*question, adjustment="raw")
    clock.set(ms("2024-06-17T12:00:00"))
    manager.get_ohlcv("NVDA", "1d", "2024-05-27", "2024-06-14", force_refresh=True)
    now = manager.get_ohlcv(*question, adjustment="raw")
    assert 0 < (now["high"] - seen["high"]).abs().max() < 1e-9
    (read,) = lineages.check("before").series
    assert {cell.column for cell in read.cells} > {"high", "adj_close"}
    assert read.causes == ("new action",)


@pytest.mark.parametrize(("anchor", "minute"), [("clock", "00"), ("session", "30")])
def test_hourly_bars_on_the_clock_are_expected_on_the_clock(
    tmp_path: Path, bundles: Path, anchor: str, minute: str
) -> None:
    """A bar that had not closed at the read has not changed, and a lost bar is still expected."""
    path, clock = tmp_path / "own" / "AAPL_1h.csv", ManualClock(ms("2024-06-12T19:45:00"))
    path.parent.mkdir()
    rules = tmp_path / "rules.yaml"
    rules.write_text(f"providers:\n  local: {{folder: {path.parent}, unit: USD, anchor: {anchor}, "
                     "adjustment: raw}\n")  # fmt: skip
    manager = DataManager(tmp_path / "cache", rules, clock=clock)

    def read(*hours: int) -> int:
        lines = [f"2024-06-12 {hour}:{minute},{hour},{hour},{hour},{hour},1" for hour in hours]
        path.write_text("\n".join(["timestamp,open,high,low,close,volume", *lines]) + "\n")
        os.utime(path, (1_700_000_000 + len(hours),) * 2)
        day = ("2024-06-12", "2024-06-12")
        return len(manager.get_ohlcv("AAPL", "1h", *day, provider="local", adjustment="raw"))

    with lineage("open", folder=bundles, manager=manager):
        assert read(13, 14, 15, 16, 17, 18) == 6
    clock.set(ms("2024-06-13T12:00:00"))
    assert read(13, 14, 15, 16, 17, 18, 19) == 7
    assert Lineages(bundles, manager).check("open").is_identical
    with lineage("closed", folder=bundles, manager=manager):
        assert read(13, 14, 15, 16, 17, 18, 19) == 7
    assert read(13, 14, 15, 17, 18, 19) == 6
    (lost,) = Lineages(bundles, manager).check("closed").series
    # The file is the only copy of its rows, so the record shows that they are others, not which.
    assert (lost.state, lost.bars, lost.causes) == ("revised", 7, ("correction of the vendor",))


@pytest.fixture
def around_a_split(
    manager: DataManager, bundles: Path, vendors: VendorServer, clock: ManualClock
) -> Callable[[str, str, str], None]:
    """Return a function that records a read of extended hours at two times, before a split and after it."""

    def record(start: str, before: str, after: str) -> None:
        vendors.truth.change("AAPL", extended=True)
        vendors.truth.act("AAPL", split(after[:10], 4))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for end in (before, after):
                clock.set(ms(f"{end}:00"))
                with lineage(end, folder=bundles, manager=manager):
                    manager.get_ohlcv("AAPL", "15m", start, end, session="extended")

    return record


def test_a_split_explains_changes_of_a_winter_evening_that_has_its_date_in_utc(
    around_a_split: Callable[[str, str, str], None], lineages: Lineages
) -> None:
    around_a_split("2024-03-07T22:00", "2024-03-08T00:40", "2024-03-08T16:00")
    (read,) = lineages.check("2024-03-08T00:40").series
    assert read.causes == ("new action",)
    assert max(cell.stamp for cell in read.cells) > "2024-03-08T00:00:00"


def test_bars_before_the_open_of_a_splits_date_are_reproduced(
    around_a_split: Callable[[str, str, str], None], lineages: Lineages
) -> None:
    """The split is recorded with the open of regular hours, and applies to the whole date."""
    around_a_split("2024-06-05T18:00", "2024-06-06T10:00", "2024-06-06T14:00")
    assert lineages.check("2024-06-06T14:00").is_identical
    (early,) = lineages.check("2024-06-06T10:00").series
    assert early.is_reproducible and early.causes == ("new action",)
    assert {cell.stamp[:10] for cell in early.cells} == {"2024-06-05"}


def test_weeks_built_from_days_are_recorded_as_reads_of_the_days(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    with lineage("weeks", folder=bundles, manager=manager):
        manager.get_ohlcv("AAPL", "1w", "2024-03-04", "2024-05-03")
    (read,) = lineages.get("weeks").reads
    assert (read.series, read.made) == ("AAPL 1d", ("1w",))
    assert read.rows > 40
    assert lineages.check("weeks").is_identical


def test_a_running_bar_is_recorded_with_its_values_and_then_final(
    manager: DataManager, bundles: Path, lineages: Lineages, clock: ManualClock, tmp_path: Path
) -> None:
    with lineage("running", folder=bundles, manager=manager):
        frame = manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12", include_forming=True)
    (read,) = lineages.get("running").reads
    (running,) = read.unstored
    assert running.values == tuple(frame.iloc[-1][["open", "high", "low", "close", "volume"]])
    table = exported(lineages.export("running", tmp_path / "run"))[1][0][1]
    assert table.close.tolist() == frame["close"].tolist()
    clock.advance(2 * DAY_MS / 1000)
    manager.get_ohlcv("BTCUSDT", "1h", "2024-06-12")
    (one,) = lineages.check("running").series
    assert {(cell.stamp, cell.causes) for cell in one.cells} == {
        (running.stamp, ("provisional became final",))
    }


def test_failed_symbols_empty_answers_and_gaps_are_recorded(
    manager: DataManager, bundles: Path, lineages: Lineages, vendors: VendorServer
) -> None:
    with lineage("mixed", folder=bundles, manager=manager), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager.get_ohlcv_batch(["BTCUSDT", "NOSUCHUSDT"], "1h", "2024-05-01", "2024-05-02")
        manager.get_ohlcv("AAPL", "1d", "2024-05-25", "2024-05-26")  # a weekend
    record = lineages.get("mixed")
    assert [(one.symbol, one.timeframe) for one in record.failed] == [("NOSUCHUSDT", "1h")]
    assert sorted((read.series, read.rows) for read in record.reads) == [
        ("AAPL 1d", 0),
        ("BTCUSDT 1h", 48),
    ]
    assert lineages.check("mixed").is_identical


def test_a_backtest_id_is_refused_a_second_time_unless_forgotten(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    for wrong in ("", " ", "a\nb", "x" * 300):
        with (
            pytest.raises(QueryError, match="invalid backtest id"),
            lineage(wrong, folder=bundles),
        ):
            pass
    with lineage("once", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    with pytest.raises(QueryError, match="already"), lineage("once", folder=bundles):
        pytest.fail("the block must not run")
    lineages.forget("once")
    with pytest.raises(QueryError, match="does not exist"):
        lineages.check("once")
    with lineage("once", folder=bundles, manager=manager):
        pass
    assert lineages.get("once").reads == []


def test_a_read_in_a_nested_lineage_is_recorded_in_both(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    with lineage("outer", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
        with lineage("inner", folder=bundles, manager=manager):
            manager.get_ohlcv("ETHUSDT", "1h", "2024-05-01", "2024-05-02")
    names = {run: [r.series for r in lineages.get(run).reads] for run in ("outer", "inner")}
    assert names == {"outer": ["BTCUSDT 1h", "ETHUSDT 1h"], "inner": ["ETHUSDT 1h"]}


def test_only_reads_of_tasks_and_threads_with_the_context_are_recorded(
    manager: DataManager, bundles: Path, lineages: Lineages, caplog: pytest.LogCaptureFixture
) -> None:
    async def read() -> None:
        aio = AsyncDataManager(manager)
        with lineage("aio", folder=bundles, manager=manager):
            await asyncio.gather(
                aio.aget_ohlcv(*WEEK), aio.aget_ohlcv("ETHUSDT", "1h", "2024-05-01", "2024-05-02")
            )
            context = copy_context()
            inside = threading.Thread(
                target=context.run, args=(manager.get_ohlcv, "BTCUSDT", "1d", "2024-05-01")
            )
            outside = threading.Thread(
                target=manager.get_ohlcv, args=("ETHUSDT", "1d", "2024-05-01")
            )
            for thread in (inside, outside):
                thread.start()
                thread.join()
        context.run(manager.get_ohlcv, "SOLUSDT", "1d", "2024-05-01")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        asyncio.run(read())
    reads = lineages.get("aio").reads
    assert sorted(one.series for one in reads) == ["BTCUSDT 1d", "BTCUSDT 1h", "ETHUSDT 1h"]
    assert "after the end of lineage aio" in caplog.text


def test_reads_of_a_killed_run_are_recorded_without_an_end(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    context = lineage("killed", folder=bundles, manager=manager)

    def run() -> None:
        context.__enter__()
        manager.get_ohlcv(*WEEK)

    copy_context().run(run)
    open_records.remove(context)  # as in a new process
    report = lineages.check("killed")
    assert [one.state for one in report.series] == ["identical"]
    assert not report.is_identical and report.record.ended == ""


def test_a_full_disk_is_an_error_at_the_end_of_a_lineage_and_affects_no_answer(
    manager: DataManager, bundles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (  # noqa: PT012 - the disk is full from then on
        pytest.raises(StorageError, match="full"),
        lineage("full", folder=bundles, manager=manager),
    ):
        monkeypatch.setattr(RunFolder, "write", refuse)
        assert len(manager.get_ohlcv(*WEEK)) == 168
    monkeypatch.undo()
    monkeypatch.setattr(RunFolder, "write", refuse)
    with pytest.raises(StorageError), lineage("full2", folder=bundles, manager=manager):
        pytest.fail("the block must not run")
    monkeypatch.undo()
    with pytest.raises(ZeroDivisionError) as caught:  # noqa: PT012, SIM117 - both are told
        with lineage("both", folder=bundles, manager=manager):
            monkeypatch.setattr(RunFolder, "write", refuse)
            manager.get_ohlcv(*WEEK)
            _ = 1 / 0
    assert "is incomplete: the disk is full" in caught.value.__notes__[0]


def refuse(*_: object, **__: object) -> None:
    raise StorageError("the disk is full")


def test_a_cleared_series_is_reported_as_gone_and_equal_bars_fetched_again_as_identical(
    manager: DataManager, bundles: Path, lineages: Lineages, clock: ManualClock
) -> None:
    with lineage("cleared", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    manager.cache.clear("BTCUSDT", "1h")
    (one,) = lineages.check("cleared").series
    assert (one.state, one.is_reproducible) == ("gone", False)
    clock.advance(3600)
    manager.get_ohlcv(*WEEK)
    (one,) = lineages.check("cleared").series
    assert one.state == "identical" and "latest bars are the same" in one.detail


def test_check_names_a_different_version_of_the_library(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    with lineage("old", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    path, record = record_in(bundles)
    other = path.read_text().replace(record["reads"][0]["pieces"][0][3], "sha256:" + 64 * "0")
    path.write_text(other.replace('"library":"', '"library":"0.0.'))
    (one,) = lineages.check("old").series
    assert (one.state, one.causes, one.bars) == ("revised", ("version of the library",), 168)
    path.write_text(other)
    (one,) = lineages.check("old").series
    assert one.causes == ("unexplained",)


def test_a_lineage_check_as_today_repeats_the_call_without_a_request(
    manager: DataManager, bundles: Path, lineages: Lineages, vendors: VendorServer
) -> None:
    with lineage("today", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    report = lineages.check("today", as_today=True)
    assert report.is_identical and report.as_today
    manager.cache.clear("BTCUSDT", "1h")
    vendors.clear_log()
    assert not lineages.check("today").is_identical
    assert vendors.count() == 0


def test_a_kept_generation_survives_revisions_until_it_expires(
    manager: DataManager, bundles: Path, lineages: Lineages, clock: ManualClock
) -> None:
    def pinned() -> list[int]:
        return [c.generation for c in manager.client.commits(key) if c.is_pinned]

    for wrong in ("soon", "0d", 3):
        with pytest.raises(QueryError), lineage(keep=wrong, folder=bundles):
            pytest.fail("the block must not run")
    for run, keep in (("half", "180d"), ("ever", True), ("none", None)):
        with lineage(run, keep=keep, folder=bundles, manager=manager):  # type: ignore[arg-type]
            frame = manager.get_ohlcv(*WEEK)
    key = manager.client.series_of(manager.client.query(*WEEK))
    generation = frame.attrs["onetape"]["generation"]
    assert pinned() == [generation]
    clock.advance(181 * DAY_MS / 1000)
    lineages.list()
    assert pinned() == [generation]  # another run keeps it
    lineages.forget("ever")
    assert pinned() == []
    manager.client.pin(key, generation)  # a pin of the user's own stays
    with lineage("later", keep="1d", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    lineages.forget("later")
    assert pinned() == [generation]


def test_an_expired_pin_is_released_by_the_next_call(
    manager: DataManager, bundles: Path, lineages: Lineages, clock: ManualClock
) -> None:
    with lineage("short", keep="2d", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    key = manager.client.series_of(manager.client.query(*WEEK))
    clock.advance(DAY_MS / 1000)
    lineages.list()
    assert any(c.is_pinned for c in manager.client.commits(key))
    clock.advance(DAY_MS / 1000 + 1)
    with lineage("next", folder=bundles, manager=manager):
        assert not any(c.is_pinned for c in manager.client.commits(key))
    manager.client.pin(key, 1)  # a pin of the user's own, set later, stays
    lineages.list()
    assert any(c.is_pinned for c in manager.client.commits(key))


def test_a_newer_or_a_damaged_record_is_named_and_hides_no_other(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    with lineage("mine", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    path, _ = record_in(bundles)
    whole = path.read_text()
    with lineage("other", folder=bundles, manager=manager):
        pass
    for wrong, error in (
        (whole.replace('"adjustment":"split"', '"adjustments":"split"'), CorruptEntryError),
        (whole[:-9], CorruptEntryError),
        (whole.replace('"format":1', '"format":2'), FormatVersionError),
    ):
        path.write_text(wrong)
        with pytest.raises(error, match=path.name):
            lineages.get("mine")
        with pytest.warns(UserWarning, match=path.name):
            assert [one.run for one in lineages.list()] == ["other"]
    path.write_text(whole)
    assert lineages.check("mine").is_identical


def test_runs_of_an_earlier_version_are_named(bundles: Path, lineages: Lineages) -> None:
    bundles.mkdir()
    (bundles / "catalog.jsonl").write_text("{}\n")
    with pytest.warns(UserWarning, match="catalog.jsonl has runs from an earlier version"):
        assert lineages.list() == []


def test_a_run_that_keeps_bars_of_another_cache_is_not_forgotten(
    manager: DataManager, bundles: Path, lineages: Lineages, tmp_path: Path
) -> None:
    with lineage("kept", keep=True, folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    elsewhere = Lineages(bundles, DataManager(tmp_path / "elsewhere"))
    with pytest.raises(QueryError, match=f"keeps bars in the cache .*{manager.client.folder.name}"):
        elsewhere.forget("kept")
    lineages.forget("kept")
    assert lineages.list() == []


def test_a_damaged_export_is_refused(
    manager: DataManager, bundles: Path, lineages: Lineages, tmp_path: Path
) -> None:
    with lineage("out", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    folder = lineages.export("out", tmp_path / "run")
    with pytest.raises(StorageError, match="is not an empty folder"):
        lineages.export("out", folder)
    data = (folder / "bars-0000.csv").read_text()
    (folder / "bars-0000.csv").write_text(data.replace("5", "6", 1))
    with pytest.raises(CorruptEntryError):
        exported(folder)
    (folder / "bars-0000.csv").write_text(data)
    record = (folder / "lineage.json").read_text()
    (folder / "lineage.json").write_text(record.replace("BTCUSDT 1h", "ETHUSDT 1h"))
    with pytest.raises(CorruptEntryError, match="differs from the exported one"):
        exported(folder)
    (folder / "lineage.json").unlink()
    with pytest.raises(StorageError):
        exported(folder)
    manager.cache.clear("BTCUSDT", "1h")
    with pytest.raises(QueryError, match="cannot be exported"):
        lineages.export("out", tmp_path / "later")
    assert not (tmp_path / "later").exists()


# --- what is not a proof -------------------------------------------------------------------------


def test_a_run_without_a_read_is_not_reported_as_identical(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    with lineage("nothing", folder=bundles, manager=manager):
        pass
    report = lineages.check("nothing")
    assert not report.is_identical and report.to_json()["identical"] is False


def test_a_read_outside_of_the_record_is_warned_of_once_in_a_run(
    manager: DataManager, bundles: Path, lineages: Lineages
) -> None:
    def outside() -> None:
        for _ in range(2):
            manager.get_ohlcv(*WEEK)
        with pytest.raises(QueryError):
            manager.get_ohlcv("BTCUSDT", "1h", "2024-05-02", "2024-05-01")

    def elsewhere() -> list[str]:
        with warnings.catch_warnings(record=True) as reported:
            warnings.simplefilter("always")
            thread = threading.Thread(target=outside)
            thread.start()
            thread.join()
        return [str(one.message) for one in reported if "is not recorded" in str(one.message)]

    manager.get_ohlcv(*WEEK)
    assert elsewhere() == []  # no run is open
    for run in ("one", "two"):
        with lineage(run, folder=bundles, manager=manager):
            (message,) = elsewhere()
            assert f"lineage {run}" in message and "BTCUSDT 1h" in message
            assert elsewhere() == []
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                manager.get_ohlcv(*WEEK)
    assert elsewhere() == []
    assert [len(lineages.get(run).reads) for run in ("one", "two")] == [1, 1]
    checked = lineages.check("two").to_json()
    assert (checked["unrecorded"], checked["identical"]) == (["BTCUSDT 1h"], False)
    with lineage("three", folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    checked = lineages.check("three").to_json()
    assert (checked["unrecorded"], checked["identical"]) == ([], True)


@pytest.mark.parametrize("run", ["日本", "a/b", "\"back\\slash'"])
def test_a_run_id_of_any_text_is_found_and_cannot_be_reused(
    manager: DataManager, bundles: Path, lineages: Lineages, run: str
) -> None:
    with lineage(run, keep=True, folder=bundles, manager=manager):
        manager.get_ohlcv(*WEEK)
    assert [one.run for one in lineages.list()] == [run]
    assert len(lineages.get(run).reads) == 1
    assert lineages.check(run).is_identical
    with pytest.raises(QueryError, match="already"), lineage(run, folder=bundles):
        pytest.fail("the block must not run")
    catalog = DataCatalog(bundles / "metadata.db")
    assert len(catalog.get_datasets_for_backtest(run)) == 1
    assert catalog.get_datasets_for_backtest("another") == []
    lineages.forget(run)
    assert lineages.list() == []
    key = manager.client.series_of(manager.client.query("BTCUSDT", "1h"))
    assert not any(commit.is_pinned for commit in manager.client.commits(key))
