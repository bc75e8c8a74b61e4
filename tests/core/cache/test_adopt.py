"""Tests files of older tools: the first access converts them, and the originals are kept."""

from __future__ import annotations

import errno
import gzip
import json
import os
import sys
import threading
import warnings
from collections.abc import Callable
from datetime import date
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TypeVar

import pytest

from src.data.core.cache.facade.unified_cache import UnifiedCache
from src.data.core.cache.format import json_document
from src.data.core.cache.format.gzip_member import is_ours
from src.data.core.cache.legacy.migrate import migrate_series, prune_series
from src.data.core.cache.read.columnar_cache import Columnar
from src.data.core.cache.read.series_reader import _reported_unconverted
from src.data.core.cache.recovery.check import check_series
from src.data.core.cache.store import Commit
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.timeframe import Timeframe
from src.data.errors import FormatVersionError, ReadOnlyCacheWarning, StorageError
from tests.core.cache.bars import (  # fmt: skip
    DAILY,
    EVER,
    OLDER_CSV,
    OLDER_DESCRIPTION,
    days,
    lane_folder,
    mark,
    no_temps,
    numbers,
    piece,
    repaired,
    states,
    store_in,
    table,
    write_older_year,
)
from tests.core.cache.counts import FULL
from tests.core.cache.crash import Platter, Quick, Recorder
from tests.core.cache.crash import states as crash_states
from tests.core.cache.disks import DyingDisk, FailingDisk, Killed
from tests.core.cache.test_write_guard import RefusingDisk

T = TypeVar("T")
SAMPLE = OLDER_DESCRIPTION | {"data_source": "mock"}
MORE_CSV = OLDER_CSV + "2024-01-07 00:00:00,1,1,1,1,1\n2024-01-08 00:00:00,1,1,1,1,1\n"


@pytest.fixture(params=["ohlcv/AAPL/1d", "AAPL/1d"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder, in either place, with an older tool's AAPL 1d, bars 0 to 5 of 2024."""
    folder = tmp_path / str(request.param)
    write_older_year(folder)
    return folder


def test_the_first_read_converts_year_files_of_older_tools(old: Path, tmp_path: Path) -> None:
    before = {p.name: p.read_bytes() for p in old.iterdir()}
    store = store_in(tmp_path)
    for reader in (store, store_in(tmp_path)):
        view = reader.view(DAILY)
        assert (view.rows, view.generation, view.exists) == (5, 1, True)
        (known,) = view.coverage
        assert (known.span, known.vendor, known.basis) == (days(0, 5), "tool", Basis("unknown"))
        rows, coverage = reader.read(DAILY, EVER)
        assert numbers(rows) == [0, 1, 2, 3, 4]  # the last one may not have been closed
        assert coverage == view.coverage
        assert reader.years(DAILY) == [2024]
    folder = lane_folder(tmp_path)
    assert {p.name: p.read_bytes() for p in (folder / "_legacy").iterdir()} == before
    assert is_ours((folder / "2024.csv.gz").read_bytes())
    document = json.loads((folder / "2024.metadata.json").read_bytes())
    names = ("data_source", "last_updated")
    assert [document[n] for n in names] == [OLDER_DESCRIPTION[n] for n in names]
    (logged,) = store.log(DAILY)
    assert (logged["vendor"], logged["added"], logged["size"]) == (
        "tool", 5, (folder / "2024.csv.gz").stat().st_size,
    )  # fmt: skip
    assert old == folder or list(old.iterdir()) == []


def test_a_plan_shows_older_bars_and_changes_no_file(old: Path, tmp_path: Path) -> None:
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    store = store_in(tmp_path).preview()
    assert store.view(DAILY).rows == 5
    assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    assert check_series(store_in(tmp_path).parts, DAILY) == []
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("columnar", ["off", "map"])
@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_older_bars_in_a_folder_that_cannot_be_written_are_read_and_reported(
    old: Path, tmp_path: Path, code: int, columnar: Columnar
) -> None:
    before = {p: p.read_bytes() for p in old.iterdir()}
    _reported_unconverted.clear()
    store = store_in(tmp_path, RefusingDisk(code), columnar=columnar)
    with pytest.warns(ReadOnlyCacheWarning, match="are read but not converted: cannot "):
        assert store.view(DAILY).rows == 5
    with warnings.catch_warnings():  # it is said once
        warnings.simplefilter("error")
        assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
        assert numbers(store.stored_span(DAILY, days(1, 4)).table) == [1, 2, 3]
        assert store.years(DAILY) == [2024]
    assert {p: p.read_bytes() for p in old.iterdir() if p.name != ".lock"} == before
    store_in(tmp_path).commit(DAILY, Commit((piece(5, 7),)))  # as another process does
    assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5, 6]


def test_a_disk_that_fills_up_while_an_older_file_is_converted_loses_no_bar(
    tmp_path: Path,
) -> None:
    refused = 0
    for n in range(1, 80):
        root = tmp_path / str(n)
        write_older_year(root / "AAPL/1d")
        raw = (root / "AAPL/1d/2024.csv.gz").read_bytes()
        disk = FailingDisk(n, for_ever=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ReadOnlyCacheWarning)
            try:
                rows, _ = store_in(root, disk).read(DAILY, EVER)
            except StorageError:  # the new file has its name, but its document has not
                refused += 1
            else:
                assert numbers(rows) == [0, 1, 2, 3, 4]
        assert raw in {p.read_bytes() for p in root.rglob("*.gz")}
        assert not disk.held
        assert numbers(store_in(root).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
        if disk.failed is None:
            assert refused <= 3
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("where", ["ohlcv/AAPL/1d", "AAPL/1d"])
def test_a_process_killed_while_a_read_converts_an_older_file_loses_no_bar(
    tmp_path: Path, where: str
) -> None:
    for n in range(1, 80, 1 if FULL else 4):
        root = tmp_path / str(n)
        write_older_year(root / where)
        before = {p.name: p.read_bytes() for p in (root / where).iterdir()}
        try:
            store_in(root, DyingDisk(n)).view(DAILY)
        except Killed:
            left = {p.read_bytes() for p in root.rglob("*") if p.is_file()}
            assert left.issuperset(before.values())
            assert numbers(store_in(root).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
            view = store_in(root).view(DAILY)
            assert [c.vendor for c in view.coverage] == ["tool"]
            aside = lane_folder(root) / "_legacy"
            assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
            assert no_temps(root)
        else:
            assert n > 10
            return
    raise AssertionError("it never ended")


def test_processes_that_read_an_older_series_at_once_convert_it_once(tmp_path: Path) -> None:
    names = {year: f"{year}.csv.gz" for year in range(2010, 2024)}
    folder = tmp_path / "AAPL/1d"
    folder.mkdir(parents=True)
    for year, name in names.items():
        text = OLDER_CSV.replace("2024-", f"{year}-")
        (folder / name).write_bytes(gzip.compress(text.encode(), mtime=0))
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    code = (
        "import sys; from pathlib import Path\n"
        "from src.data.core.cache.store import BarStore\n"
        "from src.data.core.model.identity.series import SeriesKey\n"
        "from src.data.core.model.time.timeframe import Timeframe\n"
        "key = SeriesKey('AAPL', Timeframe(1, 'd'))\n"
        f"print(BarStore(Path({str(tmp_path)!r})).view(key).rows)\n"
    )
    command, root = [sys.executable, "-c", code], Path(__file__).parents[3]
    processes = [Popen(command, stdout=PIPE, cwd=root) for _ in range(3)]
    assert [p.communicate()[0].strip() for p in processes] == [b"70"] * 3
    aside = lane_folder(tmp_path) / "_legacy"
    assert {p.name: p.read_bytes() for p in aside.iterdir()} == before
    assert list(folder.iterdir()) == []
    store = store_in(tmp_path)
    assert (store.view(DAILY).rows, len(store.log(DAILY))) == (70, 14)


@pytest.mark.parametrize("where", ["ohlcv/AAPL/1d", "AAPL/1d"])
def test_an_older_file_in_a_series_of_a_newer_version_is_not_moved(
    tmp_path: Path, where: str
) -> None:
    store_in(tmp_path).commit(DAILY, Commit((piece(-9, -3),)))
    path = lane_folder(tmp_path) / "2023.metadata.json"
    document = json.loads(path.read_bytes())
    document["onetape"]["format"] = 2
    path.write_bytes(json_document.dump(document))
    write_older_year(tmp_path / where)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    store = store_in(tmp_path)
    for access in (
        lambda: store.view(DAILY),
        lambda: store.commit(DAILY, Commit((piece(5, 7),))),
        lambda: migrate_series(store.parts, DAILY, dry_run=False),
    ):
        with pytest.raises(FormatVersionError):
            access()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_another_layout_supplies_a_year_whose_better_file_is_damaged(tmp_path: Path) -> None:
    for where in ("ohlcv/AAPL/1d", "AAPL/1d"):
        write_older_year(tmp_path / where)
    damaged = lane_folder(tmp_path) / "2024.csv.gz"
    damaged.write_bytes(b"garbage")
    os.utime(damaged, (0, 0))
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    aside = (lane_folder(tmp_path) / "_legacy").glob("*.csv.gz")
    assert len(list(aside)) == 2


def test_the_first_commit_converts_year_files_of_older_tools(old: Path, tmp_path: Path) -> None:
    raw = (old / "2024.csv.gz").read_bytes()
    store_in(tmp_path).commit(DAILY, Commit((piece(5, 7),)))
    store = store_in(tmp_path)
    rows, coverage = store.read(DAILY, EVER)
    assert numbers(rows) == [0, 1, 2, 3, 4, 5, 6]
    assert rows.close.tolist() == [100 + n / 10 for n in range(5)] + table([5, 6]).close.tolist()
    assert [c.basis.adjustment for c in coverage] == ["unknown", "split"]
    kept = lane_folder(tmp_path) / "_legacy"
    assert (kept / "2024.csv.gz").read_bytes() == raw
    assert json.loads((kept / "2024.metadata.json").read_text()) == OLDER_DESCRIPTION
    if old != lane_folder(tmp_path):
        assert list(old.iterdir()) == []


def test_a_commit_to_any_year_converts_all_years_of_older_tools(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path))
    store_in(tmp_path).commit(DAILY, Commit((piece(-10, -5),)))
    assert store_in(tmp_path).view(DAILY).rows == 10
    assert (lane_folder(tmp_path) / "_legacy/2024.csv.gz").exists()


def test_a_new_answer_replaces_bars_of_an_older_file(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path))
    store_in(tmp_path).commit(DAILY, Commit((piece(1, 3, shift=5.0),)))
    rows, _ = store_in(tmp_path).read(DAILY, EVER)
    assert rows.close[1:3].tolist() == table([1, 2], 5.0).close.tolist()


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", gzip.compress(b"what,ever\n1,2\n", mtime=0)],
    ids=["empty", "garbage", "other columns"],
)
def test_unreadable_files_of_older_tools_give_no_bars_and_are_kept(
    tmp_path: Path, content: bytes
) -> None:
    write_older_year(lane_folder(tmp_path))
    (lane_folder(tmp_path) / "2024.csv.gz").write_bytes(content)
    store = store_in(tmp_path)
    assert store.view(DAILY).rows == 0
    assert len(store.read(DAILY, EVER)[0]) == 0
    store.commit(DAILY, Commit(marks=(mark(0, 3, "suspect"),)))
    assert states(store_in(tmp_path)) == [(0, 3, "suspect")]
    store.commit(DAILY, Commit((piece(3, 5),)))
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [3, 4]
    assert (lane_folder(tmp_path) / "_legacy/2024.csv.gz").read_bytes() == content


def test_sample_bars_of_an_older_tool_are_not_covered(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path), about=OLDER_DESCRIPTION | {"data_source": "mock"})
    assert store_in(tmp_path).view(DAILY).coverage == ()


@pytest.mark.parametrize("where", ["ohlcv/AAPL/1d", "AAPL/1d"])
def test_a_process_killed_while_converting_an_older_file_loses_no_bar(
    tmp_path: Path, where: str
) -> None:
    for n in range(1, 80, 1 if FULL else 6):
        root = tmp_path / str(n)
        write_older_year(root / where)
        try:
            store_in(root, DyingDisk(n)).commit(DAILY, Commit((piece(5, 7),)))
        except Killed:
            assert numbers(store_in(root).read(DAILY, EVER)[0])[:5] == [0, 1, 2, 3, 4]
            repaired(store_in(root), DAILY)
            assert numbers(store_in(root).read(DAILY, EVER)[0])[:5] == [0, 1, 2, 3, 4]
            store_in(root).commit(DAILY, Commit((piece(5, 7),)))
            assert numbers(store_in(root).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4, 5, 6]
        else:
            return
    raise AssertionError("it never ended")


def test_an_adjusted_close_that_cannot_be_stored_is_unknown(old: Path, tmp_path: Path) -> None:
    lines = OLDER_CSV.splitlines()
    values = ["adj_close", "50", "inf", "-inf", "52", "53", "54"]
    text = "\n".join(map(",".join, zip(lines, values, strict=True))) + "\n"
    write_older_year(old, text)
    rows, _ = store_in(tmp_path).read(DAILY, EVER)
    assert numbers(rows) == [0, 1, 2, 3, 4]
    assert rows.adj_close is not None
    assert str(rows.adj_close.tolist()) == "[50.0, nan, nan, 52.0, 53.0]"


@pytest.mark.parametrize("about", [SAMPLE, OLDER_DESCRIPTION], ids=["sample", "damaged"])
def test_a_plan_and_a_conversion_use_the_first_file_with_bars(
    tmp_path: Path, about: dict[str, object]
) -> None:
    write_older_year(tmp_path / "ohlcv/aapl/1d", MORE_CSV, about)
    write_older_year(tmp_path / "AAPL/1d")
    first = tmp_path / "ohlcv/aapl/1d/2024.csv.gz"
    if about != SAMPLE:
        first.write_bytes(b"garbage")
        os.utime(first, (0, 0))
    for store in (store_in(tmp_path).preview(), store_in(tmp_path), store_in(tmp_path)):
        assert numbers(store.read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    assert len(list((lane_folder(tmp_path) / "_legacy").glob("*.csv.gz"))) == 2


def older_rows(first: int, end: int, price: float = 100.0) -> str:
    """Return the bars ``first`` to ``end`` - 1 as an older tool writes them."""
    rows = [f"2024-01-{n + 1:02d} 00:00:00,{price},101,99,{price},{n}\n" for n in range(first, end)]
    return "".join([OLDER_CSV.partition("\n")[0], "\n", *rows])


@pytest.mark.parametrize("is_whole_second", [False, True], ids=["apart", "overlapping"])
def test_a_year_in_both_older_layouts_has_the_bars_of_both(
    tmp_path: Path, is_whole_second: bool
) -> None:
    one, two = lane_folder(tmp_path), tmp_path / "AAPL/1d"
    write_older_year(one, older_rows(0, 6))
    other = OLDER_DESCRIPTION | {"data_source": "other"}
    write_older_year(two, older_rows(0 if is_whole_second else 6, 12), other)
    originals = {path.read_bytes() for path in (*one.glob("2024.*"), *two.iterdir())}
    planned = migrate_series(store_in(tmp_path).parts, DAILY, dry_run=True)
    assert [file.taken for file in planned] == [5, 6 if is_whole_second else 5]
    assert {file.said for file in planned} == {"taken over"}
    kept = [0, 1, 2, 3, 4, *([5] if is_whole_second else []), 6, 7, 8, 9, 10]
    for store in (store_in(tmp_path).preview(), store_in(tmp_path), store_in(tmp_path)):
        rows, coverage = store.read(DAILY, EVER)
        assert numbers(rows) == kept
        assert [c.vendor for c in coverage] == ["tool", "other"]
        assert {c.state for c in coverage} == {"final"}
    assert check_series(store_in(tmp_path).parts, DAILY) == []
    assert {path.read_bytes() for path in (one / "_legacy").iterdir()} == originals
    assert list(two.iterdir()) == []
    assert {file.rows - file.held for file in prune_series(store.parts, DAILY, dry_run=True)} == (
        {0, 1} if is_whole_second else {1}
    )


def test_a_damaged_file_that_another_layout_hides_stays_in_its_place(tmp_path: Path) -> None:
    write_older_year(lane_folder(tmp_path))
    hidden = tmp_path / "AAPL/1d/2024.csv.gz"
    write_older_year(hidden.parent)
    hidden.write_bytes(b"an older tool may still be writing this")
    with warnings.catch_warnings():
        warnings.simplefilter("error", ReadOnlyCacheWarning)
        assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    assert hidden.exists()
    assert (lane_folder(tmp_path) / "_legacy/2024.csv.gz").exists()


def test_hours_of_two_layouts_that_begin_at_other_minutes_are_not_mixed(tmp_path: Path) -> None:
    hours = SeriesKey("AAPL", Timeframe(1, "h"))
    for folder, minute in ((lane_folder(tmp_path, hours), "00"), (tmp_path / "AAPL/1h", "30")):
        rows = [f"2024-01-02 {hour:02d}:{minute}:00,1,1,1,1,{minute}\n" for hour in range(9, 14)]
        write_older_year(folder, "timestamp,open,high,low,close,volume\n" + "".join(rows))
    for store in (store_in(tmp_path).preview(), store_in(tmp_path), store_in(tmp_path)):
        rows_read, coverage = store.read(hours, EVER)
        assert rows_read.volume.tolist() == [0, 0, 0, 0]
        assert len(rows_read.within(coverage[0].span)) == 4


def test_a_killed_conversion_of_both_older_layouts_loses_no_bar(tmp_path: Path) -> None:
    for n in range(1, 120, 1 if FULL else 5):
        root = tmp_path / str(n)
        write_older_year(lane_folder(root), older_rows(0, 6))
        write_older_year(root / "AAPL/1d", older_rows(6, 12))
        try:
            store_in(root, DyingDisk(n)).read(DAILY, EVER)
        except Killed:
            for _ in range(2):
                rows = store_in(root).read(DAILY, EVER)[0]
                assert numbers(rows) == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
        else:
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("where", ["one file", "two files"])
def test_rows_of_older_tools_that_contradict_each_other_are_suspect(
    tmp_path: Path, where: str
) -> None:
    twice = older_rows(3, 4, 100.5).partition("\n")[2]
    again = older_rows(2, 3).partition("\n")[2]  # equal rows are no contradiction
    if where == "one file":
        write_older_year(
            lane_folder(tmp_path),
            older_rows(0, 4) + twice + again + older_rows(4, 7).partition("\n")[2],
        )
    else:
        write_older_year(
            lane_folder(tmp_path), older_rows(0, 3) + twice + older_rows(4, 7).partition("\n")[2]
        )
        write_older_year(tmp_path / "AAPL/1d", older_rows(0, 7))
    for store in (store_in(tmp_path).preview(), store_in(tmp_path), store_in(tmp_path)):
        rows, coverage = store.read(DAILY, EVER)
        assert numbers(rows) == [0, 1, 2, 3, 4, 5]
        assert rows.open.tolist()[3] == 100.5
        (doubted,) = [c for c in coverage if c.state != "final"]
        assert (doubted.span, doubted.state) == (days(3, 4), "suspect")
        assert doubted.reason == "doubtful: rows of older tools contradict each other"
        assert not doubted.is_valid(0), "fetched again with the next request"
    assert any(file.problem for file in prune_series(store.parts, DAILY, dry_run=True))
    (lane_folder(tmp_path) / "2024.metadata.json").write_bytes(b"{}")
    repaired(store_in(tmp_path), DAILY)
    found = {(c.span, c.state) for c in store_in(tmp_path).view(DAILY).coverage}
    assert (days(3, 4), "provisional") in found, "not trusted even if its document is lost"


@pytest.mark.parametrize(
    "named, vendor",
    [
        ("x" * 4000, "unknown"), ("x" * 64, "x" * 64), ("one,two", "unknown"), ("a\nb", "unknown"),
        ("\ud800", "unknown"), (" yahoo ", "yahoo"), ("  ", "unknown"), (7, "unknown"),
    ],
)  # fmt: skip
def test_an_impossible_name_of_a_source_counts_as_unknown(
    tmp_path: Path, named: object, vendor: str, caplog: pytest.LogCaptureFixture
) -> None:
    write_older_year(lane_folder(tmp_path), about=OLDER_DESCRIPTION | {"data_source": named})
    for store in (store_in(tmp_path), store_in(tmp_path)):
        assert store.view(DAILY).rows == 5
        assert {c.vendor for c in store.view(DAILY).coverage} == {vendor}
    is_odd = isinstance(named, str) and bool(named.strip()) and vendor == "unknown"
    assert ("not the name of a vendor" in caplog.text) is is_odd


@pytest.mark.parametrize(
    "named", ["Mock", " mock ", "mock,yahoo", "sample data", "mock" + " x" * 999]
)
def test_a_source_named_after_samples_is_sample_data(tmp_path: Path, named: str) -> None:
    write_older_year(lane_folder(tmp_path), about=OLDER_DESCRIPTION | {"data_source": named})
    assert store_in(tmp_path).view(DAILY).coverage == ()


def test_metadata_of_one_folder_do_not_describe_the_files_of_another(tmp_path: Path) -> None:
    real, sample = tmp_path / "ohlcv/AAPL/1d", tmp_path / "AAPL/1d"
    for folder, year, vendor in ((real, 2023, "tool"), (sample, 2024, "mock")):
        folder.mkdir(parents=True)
        text = OLDER_CSV.replace("2024-", f"{year}-")
        (folder / f"{year}.csv.gz").write_bytes(gzip.compress(text.encode()))
        (folder / "metadata.json").write_text(json.dumps({"provider": vendor}))
    cache = UnifiedCache(tmp_path, 1.0)
    for _ in range(2):
        frame = cache.get("AAPL", "1d", date(2022, 1, 1), date(2025, 1, 1))
        assert frame is not None
        assert {stamp.year for stamp in frame.index} == {2023}
        assert len(frame) == 6


@pytest.mark.parametrize("where", ["ohlcv/aapl/1d", "AAPL/1d"])
def test_a_power_failure_never_makes_bars_of_sample_data(tmp_path: Path, where: str) -> None:
    write_older_year(tmp_path / where, about=SAMPLE)
    before, disk = Platter(tmp_path), Recorder()
    assert store_in(tmp_path, disk).view(DAILY).rows == 0
    for state in crash_states(before, disk.events, 40):
        state.tree.put(tmp_path)
        assert store_in(tmp_path, Quick()).view(DAILY).rows == 0


class MeddlingDisk(Disk):
    """A disk that lets something else happen once, after or before a step."""

    def __init__(self, step: str, path: Path, then: Callable[[], object], *, after: bool) -> None:
        super().__init__()
        self.step, self.path, self.then, self.after = step, path, then, after

    def perform(self, step: DiskStep, call: Callable[[], T]) -> T:
        then, is_it = self.then, (step.name, step.path) == (self.step, self.path)
        if is_it:
            self.then = lambda: None
        if is_it and not self.after:
            then()
        result = call()
        if is_it and self.after:
            then()
        return result


def test_a_thread_that_lists_the_folder_while_another_converts_sees_all_bars(
    tmp_path: Path,
) -> None:
    write_older_year(tmp_path / "AAPL/1d")
    lane_folder(tmp_path).mkdir(parents=True)

    def convert() -> None:
        other = threading.Thread(target=lambda: store.read(DAILY, EVER))
        other.start()
        other.join()

    store = store_in(tmp_path, MeddlingDisk("list", lane_folder(tmp_path), convert, after=True))
    assert store.view(DAILY).rows == 5
    assert (lane_folder(tmp_path) / "_legacy/2024.csv.gz").exists()


def test_a_file_that_an_older_tool_is_still_writing_is_not_moved(old: Path, tmp_path: Path) -> None:
    path = old / "2024.csv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    _reported_unconverted.clear()
    with pytest.warns(ReadOnlyCacheWarning, match="may still be written"):
        assert store_in(tmp_path).view(DAILY).rows == 0
    assert path.exists()
    path.write_bytes(whole)
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("is_in_place", [False, True])
def test_a_file_that_an_older_tool_replaces_during_its_conversion_is_read_again(
    old: Path, tmp_path: Path, is_in_place: bool
) -> None:
    path, newer = old / "2024.csv.gz", old / "newer"
    content = gzip.compress(MORE_CSV.encode())

    def replace_file() -> None:
        (path if is_in_place else newer).write_bytes(content)
        if not is_in_place:
            os.replace(newer, path)

    aside = lane_folder(tmp_path) / "_legacy"
    disk = MeddlingDisk("fsync_dir", aside, replace_file, after=True)
    assert numbers(store_in(tmp_path, disk).read(DAILY, EVER)[0]) == list(range(7))
    assert content in {p.read_bytes() for p in aside.iterdir()}


def test_an_original_that_an_older_tool_replaces_before_its_removal_stays(tmp_path: Path) -> None:
    path = tmp_path / "AAPL/1d/2024.csv.gz"
    write_older_year(path.parent)
    log = lane_folder(tmp_path) / "2024.log"
    disk = MeddlingDisk("create", log, lambda: path.write_bytes(b"newer"), after=True)
    assert numbers(store_in(tmp_path, disk).read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    assert path.read_bytes() == b"newer"


def test_a_file_that_an_older_tool_writes_over_a_converted_one_is_converted(
    tmp_path: Path,
) -> None:
    write_older_year(lane_folder(tmp_path))
    assert store_in(tmp_path).view(DAILY).rows == 5
    content = gzip.compress(MORE_CSV.encode())
    (lane_folder(tmp_path) / "2024.csv.gz").write_bytes(content)
    assert numbers(store_in(tmp_path).read(DAILY, EVER)[0]) == list(range(7))
    assert content in {p.read_bytes() for p in (lane_folder(tmp_path) / "_legacy").iterdir()}


def test_a_check_reports_bars_that_an_older_tool_has_overwritten(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 7),)))
    (lane_folder(tmp_path) / "2024.csv.gz").write_bytes(gzip.compress(OLDER_CSV.encode()))
    (found,) = check_series(store_in(tmp_path).parts, DAILY)
    assert (found.where, found.what) == (
        "2024", "another tool has replaced the data file, and 7 bars with it",
    )  # fmt: skip
    assert found.remedy.startswith("its file is converted: 5 bars;")
    assert numbers(repaired(store, DAILY) and store.read(DAILY, EVER)[0]) == [0, 1, 2, 3, 4]
    assert check_series(store_in(tmp_path).parts, DAILY) == []


def test_bars_that_overlap_are_converted_once(old: Path, tmp_path: Path) -> None:
    hours = SeriesKey("AAPL", Timeframe(1, "h"))
    folder = old.with_name("1h")
    times = ["08:00", "09:00", "09:30", "10:30", "11:30", "12:00"]
    text = "timestamp,open,high,low,close,volume\n"
    text += "".join(f"2024-01-02 {time}:00,1,1,1,1,{n}\n" for n, time in enumerate(times))
    write_older_year(folder, text)
    for store in (store_in(tmp_path).preview(), store_in(tmp_path), store_in(tmp_path)):
        rows, coverage = store.read(hours, EVER)
        assert rows.volume.tolist() == [0, 1, 2, 3, 4]
        assert sum(entry.span.end - entry.span.start for entry in coverage) == 4 * 3_600_000
        assert store.view(hours).rows == 5


def test_a_file_with_more_bars_than_a_year_can_have_is_kept_unread(
    old: Path, tmp_path: Path
) -> None:
    hours = SeriesKey("AAPL", Timeframe(1, "h"))
    folder = old.with_name("1h")
    lines = [f"2024-{1 + n // 672:02d}-{1 + n // 24 % 28:02d} {n % 24:02d}" for n in range(8064)]
    rows = [f"{hour}:00:00,1,1,1,1,1\n" for hour in lines]
    rows += [
        f"{hour}:{minute:02d}:00,1,1,1,1,1\n" for hour in lines[:100] for minute in range(1, 60)
    ]
    write_older_year(folder, "timestamp,open,high,low,close,volume\n" + "".join(rows))
    os.utime(folder / "2024.csv.gz", (0, 0))
    content = (folder / "2024.csv.gz").read_bytes()
    for store in (store_in(tmp_path), store_in(tmp_path)):
        assert store.view(hours).rows == 0
    aside = lane_folder(tmp_path).with_name("1h") / "_legacy/2024.csv.gz"
    assert aside.read_bytes() == content
