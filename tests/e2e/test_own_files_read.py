"""A user's own files are read when they are requested: nothing is cached, and nothing goes stale."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from src.data.cli import main
from src.data.core.cache import file_lanes
from src.data.core.cache.file_lanes import FileLanes
from src.data.core.cache.values import Commit, CommitPiece, SeriesChangedError
from src.data.core.clock import ManualClock, SystemClock
from src.data.core.model.answer.reads import is_same_file
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.bars import BarTable
from src.data.core.model.time.instant import DAY_MS
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.vendors.local import carrier
from src.data.core.vendors.local.bars import LocalDataDownloader
from src.data.core.vendors.local.carrier import FileCarrier
from src.data.data_manager import DataManager
from src.data.errors import AllProvidersFailedError, QueryError, UnknownSymbolError
from src.data.jobs.doctor.health import CHECKS, Installation
from src.data.research.lineage.lineage import Lineages, lineage
from src.data.research.lineage.lineage_check import IDENTICAL, REVISED, UNKNOWN, CheckedRead
from tests.vendor_server import VendorServer

from .oracle import ms

HEADER = "timestamp,open,high,low,close,volume\n"
NOW = ms("2024-08-01T12:00:00")
DAYS = [str(date(2024, 5, 1) + timedelta(days=n)) for n in range(60)]


def write(folder: Path, days: list[str], closes: dict[str, float] | None = None) -> Path:
    """Write the days of a coin, each with a close of 10 unless ``closes`` has another."""
    folder.mkdir(exist_ok=True)
    path = folder / "BTCUSDT_1d.csv"
    rows = (f"{day},9,99,5,{(closes or {}).get(day, 10)},5\n" for day in days)
    path.write_text(HEADER + "".join(rows))
    return path


def manager(folder: Path) -> DataManager:
    """Return a new process's manager, with the cache next to the folder."""
    rules = folder.parent / "rules.yaml"
    rules.write_text(f"providers: {{local: {{folder: '{folder}', unit: USDT}}}}\n")
    return DataManager(folder.parent / "cache", rules, clock=ManualClock(NOW))


def ask(reader: DataManager, first: str, last: str, **how: Any) -> list[float]:
    frame = reader.get_ohlcv("BTCUSDT", "1d", first, last, provider="local", **how)
    return frame["close"].tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a folder of files that does not exist yet."""
    return tmp_path / "own"


def recorded(folder: Path, first: str, last: str) -> None:
    """Record the bars of a range in a run."""
    reader = manager(folder)
    with lineage("run", folder=folder.parent / "bundles", manager=reader):
        assert ask(reader, first, last)


def checked(folder: Path) -> CheckedRead:
    """Check the run in another process."""
    (series,) = Lineages(folder.parent / "bundles", manager(folder)).check("run").series
    return series


def test_a_lineage_of_an_own_file_stays_identical_if_rows_are_appended_and_fewer_are_read(
    folder: Path,
) -> None:
    write(folder, DAYS[:50])
    recorded(folder, DAYS[0], DAYS[49])
    write(folder, DAYS[:51])
    assert ask(manager(folder), DAYS[40], DAYS[50]) == [10] * 11
    series = checked(folder)
    assert (series.state, series.bars, series.detail) == (IDENTICAL, 0, "")


def test_rows_appended_within_the_recorded_range_are_no_revision(folder: Path) -> None:
    write(folder, DAYS[:50])
    recorded(folder, DAYS[0], DAYS[55])
    write(folder, DAYS[:60])
    assert checked(folder).state == IDENTICAL


@pytest.mark.parametrize(
    ("change", "state", "why"),
    [
        (lambda own: write(own, DAYS[:50], {DAYS[7]: 11}), REVISED, "other rows"),
        (lambda own: write(own, DAYS[:45]), REVISED, "other rows"),
        (lambda own: (own / "BTCUSDT_1d.csv").unlink(), UNKNOWN, "no file"),
        (lambda own: write(own, [*DAYS[:50], "soon"]), UNKNOWN, "line 52"),
        (lambda own: write(own, DAYS[:60], {DAYS[55]: 11}), IDENTICAL, ""),
    ],
    ids=["a row corrected", "rows gone", "the file gone", "unreadable", "a row that was not read"],
)
def test_a_lineage_of_an_own_file_compares_the_rows_that_were_read(
    change: Callable[[Path], object], state: str, why: str, folder: Path
) -> None:
    write(folder, DAYS[:50])
    recorded(folder, DAYS[0], DAYS[49])
    change(folder)
    series = checked(folder)
    assert series.state == state
    assert why in series.detail


def test_nothing_is_written_for_own_files_and_their_bars_have_no_versions(folder: Path) -> None:
    write(folder, DAYS[:50])
    reader = manager(folder)
    for _ in range(2):
        frame = reader.get_ohlcv("BTCUSDT", "1d", DAYS[0], DAYS[49], provider="local", strict=True)
        assert len(frame) == 50
    assert not list((folder.parent / "cache").glob("ohlcv/*"))
    version = frame.attrs["onetape"]["generation"]
    other = manager(folder).get_ohlcv("BTCUSDT", "1d", DAYS[0], DAYS[49], provider="local")
    assert other.attrs["onetape"]["generation"] == version, "of the content, in every process"
    with pytest.raises(
        QueryError, match="your own files when it is requested, so it has no versions"
    ):
        ask(reader, DAYS[0], DAYS[1], version=version)


# --- files that change while they are read


def change_during(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[int], None], calls: type = FileCarrier
) -> list[int]:
    """Call ``change`` with the number of the read after each read of a table from disk."""
    reads, real = list[int](), calls._read  # type: ignore[attr-defined]

    def read(carrier: FileCarrier, path: Path) -> bytes:
        body: bytes = real(carrier, path)
        reads.append(len(reads))
        change(len(reads))
        return body

    monkeypatch.setattr(calls, "_read", read)
    return reads


def test_a_file_that_is_rewritten_while_it_is_read_is_read_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, DAYS[:10])

    def change(reads: int) -> None:
        if reads < 3:  # the second one has begun with the content of the first
            write(folder, DAYS[:10], dict.fromkeys(DAYS, 20 + reads))

    change_during(monkeypatch, change)
    assert ask(manager(folder), DAYS[0], DAYS[9], strict=True) == [22] * 10


def test_a_file_that_never_rests_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, DAYS[:10])
    change_during(monkeypatch, lambda n: void(write(folder, DAYS[: 10 + n])))
    with pytest.raises(AllProvidersFailedError, match="changed while it was being read"):
        ask(manager(folder), DAYS[0], DAYS[9])


def void(_: object) -> None:
    """Drop a value."""


def test_bars_of_two_contents_are_never_in_one_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is replaced after its bars are parsed, before they are in memory."""
    write(folder, DAYS[:50])
    reader, real, parsed = manager(folder), LocalDataDownloader.parse_bars, list[float]()

    def parse(vendor: LocalDataDownloader, response: Any, query: Any) -> Any:
        page = real(vendor, response, query)
        parsed.append(page.bars.close[0])
        if len(parsed) == 2:  # first, the time of its bars, and then the bars
            write(folder, DAYS[:50], dict.fromkeys(DAYS, 11))
        return page

    monkeypatch.setattr(LocalDataDownloader, "parse_bars", parse)
    assert ask(reader, DAYS[0], DAYS[49], strict=True) == [11] * 50
    assert parsed[:3] == [10, 10, 11]


def test_a_commit_of_the_content_before_is_not_added_to_that_of_now() -> None:
    lanes, key = FileLanes(), SeriesKey("BTCUSDT", Timeframe.parse("1d"), ("local.00c0ffee",))
    span, kind = Span(0, 3 * DAY_MS), Kind()
    table = BarTable.of_columns(np.array([0, DAY_MS]), [np.ones(2)] * 5)
    piece = CommitPiece(table, span, "local", 1, kind, Basis(), "final")
    assert lanes.begin(key, "one")
    assert not lanes.begin(key, "one")
    first = lanes.commit(key, Commit((piece,), source="one"))
    assert lanes.begin(key, "two")
    assert not lanes.get(key).view.exists
    with pytest.raises(SeriesChangedError):
        lanes.commit(key, Commit((piece,), source="one"))
    assert not lanes.get(key).view.exists
    second = lanes.commit(key, Commit((piece,), source="two"))
    assert not is_same_file(first, second)
    other = FileLanes()
    other.begin(key, "two")
    assert other.commit(key, Commit((piece,), source="two")) == second


# --- many files


def test_each_of_300_files_is_read_once_and_then_only_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    symbols = [f"C{number:03}USDT" for number in range(300)]
    for symbol in symbols:
        rows = "".join(f"{day},9,12,8,10,5\n" for day in DAYS[:5])
        (folder / f"{symbol}_1d.csv").write_text(HEADER + rows)
    # As if they had rested for a minute.
    clock = ManualClock(SystemClock().now_ms() + 60_000)
    monkeypatch.setattr(carrier, "SystemClock", lambda: clock)
    reads = change_during(monkeypatch, void)
    reader = manager(folder)
    for count in (300, 0):
        reads.clear()
        frames = reader.get_ohlcv_batch(symbols, "1d", DAYS[0], DAYS[4], provider="local")
        assert all(len(frame) == 5 for frame in frames.values())
        assert len(reads) == count


def test_files_are_read_again_if_memory_holds_only_one_of_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_lanes, "_most_rows", lambda: 1)
    write(folder, DAYS[:50])
    (folder / "ETHUSDT_1d.csv").write_text((folder / "BTCUSDT_1d.csv").read_text())
    reader = manager(folder)
    for _ in range(2):
        for symbol in ("BTCUSDT", "ETHUSDT"):
            frame = reader.get_ohlcv(symbol, "1d", DAYS[0], DAYS[49], provider="local", strict=True)
            assert len(frame) == 50
            assert [key.symbol for key in reader.client.series()] == [symbol]


def test_a_row_between_two_requested_ranges_is_found_once_it_is_added(folder: Path) -> None:
    write(folder, [*DAYS[:20], *DAYS[21:50]])
    reader = manager(folder)
    assert len(ask(reader, DAYS[0], DAYS[9])) == 10
    assert len(ask(reader, DAYS[30], DAYS[39])) == 10
    write(folder, DAYS[:50])
    assert len(ask(reader, DAYS[0], DAYS[49], strict=True)) == 50


# --- lanes that an earlier version has cached


@pytest.fixture
def lane_of_before(folder: Path) -> SeriesKey:
    """Return a series on disk as an earlier version cached it: ten days with a close of 7."""
    write(folder, DAYS[:10])
    reader = manager(folder)
    ask(reader, DAYS[0], DAYS[9])
    (key,) = reader.client.series()
    table = reader.client.columns(key, Span(0, NOW)).table
    sevens = BarTable.of_columns(table.stamps, [*table.values()[:3], table.close - 3, table.volume])
    span = Span(int(table.stamps[0]), int(table.stamps[-1]) + DAY_MS)
    kind = Kind("", "", "", "USDT")
    reader.cache.store.commit(
        key, Commit((CommitPiece(sevens, span, "local", NOW, kind, Basis(), "final"),))
    )
    return key


@pytest.mark.parametrize("is_there", [True, False])
def test_a_lane_of_before_is_neither_read_nor_lost(
    lane_of_before: SeriesKey, is_there: bool, folder: Path, tmp_path: Path
) -> None:
    if not is_there:
        (folder / "BTCUSDT_1d.csv").unlink()
    reader = manager(folder)
    for offline in (False, True):
        if is_there:
            assert ask(reader, DAYS[0], DAYS[9], offline=offline) == [10] * 10
        else:
            with pytest.raises(AllProvidersFailedError, match="no file"):
                ask(reader, DAYS[0], DAYS[9], offline=offline)
    assert reader.cache.store.view(lane_of_before).rows == 10


@pytest.mark.parametrize("is_there", [True, False])
def test_a_lane_of_before_is_exported_named_by_doctor_and_cleaned_if_its_file_is_there(
    lane_of_before: SeriesKey,
    is_there: bool,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if not is_there:
        (folder / "BTCUSDT_1d.csv").unlink()
    monkeypatch.setenv("ONETAPE_STATE_DIR", str(tmp_path / "state"))
    where = "--config", str(tmp_path / "rules.yaml"), "--cache-dir", str(tmp_path / "cache")

    def run(*words: str) -> str:
        capsys.readouterr()
        main([*words, *where])
        return " ".join(capsys.readouterr().out.split())

    def doctor() -> list[str]:
        place = Installation(tmp_path / "cache", tmp_path / "rules.yaml", reach=None)
        found = place.checks(CHECKS)
        return [check.sentence for check in found if check.name == "health own files"]

    out = tmp_path / "out.csv"
    run("cache", "export", "BTCUSDT", "1d", "--lane", lane_of_before.lane_label, "--out", str(out))
    assert out.read_text().count(",7.0,") == 10
    named = "cached from your own files, which are now read when requested"
    assert doctor() == [f"BTCUSDT 1d@{lane_of_before.lane_label}: {named}"]
    would = run("cache", "clean", "--dry-run")
    assert ("would remove 1 series" in would) == is_there
    assert manager(folder).cache.store.view(lane_of_before).rows == 10
    cleaned = run("cache", "clean")
    assert ("removed 1 series of your own files" in cleaned) == is_there
    assert bool(doctor()) != is_there, "the only copy of bars stays"


# --- longer bars of a folder with several timeframes


@pytest.mark.parametrize("offline", [False, True])
@pytest.mark.parametrize("step", ["3d", "1w", "1M"])
def test_longer_bars_are_built_from_the_same_file_whatever_was_requested_before(
    step: str, offline: bool, folder: Path
) -> None:
    """The hours are only those of the last days, but all that was requested of them is in memory."""
    write(folder, DAYS)
    hours = "".join(f"{day}T{n:02}:00:00Z,9,99,5,10,1\n" for day in DAYS[-3:] for n in range(24))
    (folder / "BTCUSDT_1h.csv").write_text(HEADER + hours)
    asked: dict[str, Any] = {"provider": "local", "offline": offline}
    wanted = manager(folder).get_ohlcv("BTCUSDT", step, DAYS[0], DAYS[-1], **asked)
    assert len(wanted)
    reader = manager(folder)
    reader.get_ohlcv("BTCUSDT", "1h", DAYS[0], DAYS[-1], **asked)
    frame = reader.get_ohlcv("BTCUSDT", step, DAYS[0], DAYS[-1], **asked)
    assert frame.equals(wanted)
    account, of_wanted = frame.attrs["onetape"], wanted.attrs["onetape"]
    assert account["derived_from"] == of_wanted["derived_from"]
    assert account["gaps"] == of_wanted["gaps"]


# --- other vendors behind the file


@pytest.fixture
def filled(folder: Path, vendors: VendorServer) -> Callable[[], DataManager]:
    """Return a maker of managers with Binance behind the file, in which a day stands alone.

    The file has ten days of Binance's bars and, after a hole, one with a higher high.
    """
    rules = folder.parent / "rules.yaml"
    rules.write_text(
        "crypto: {primary: local, backup: [binance]}\n"
        f"providers:\n  local: {{folder: '{folder}', unit: USDT, anchor: clock}}\n"
        f"  binance: {{base_url: '{vendors.base_url('binance')}', transport: http}}\n"
    )

    def make() -> DataManager:
        return DataManager(folder.parent / "cache", rules, clock=ManualClock(NOW))

    bars = make().get_ohlcv("BTCUSDT", "1d", DAYS[0], DAYS[39], provider="binance")
    folder.mkdir()
    lone = bars.iloc[24:25].assign(high=bars["high"].iloc[24] * 1.002)
    rows = pd.concat([bars.iloc[:10], lone])
    rows.rename_axis("timestamp").to_csv(folder / "BTCUSDT_1d.csv")
    return make


def test_a_refresh_leaves_the_rows_of_the_file_in_place_of_another_vendors(
    filled: Callable[[], DataManager],
) -> None:
    reader = filled()
    frames = [
        reader.get_ohlcv("BTCUSDT", "1d", DAYS[0], DAYS[39], refresh=refresh)
        for refresh in (False, True, False)
    ]
    for frame in frames:
        account = frame.attrs["onetape"]
        vendors = [span["vendor"] for span in account["spans"]]
        assert vendors == ["local", "binance", "local", "binance"]
        assert all(attempt["outcome"] == "ok" for attempt in account["attempts"])
        assert frame.equals(frames[0])


def test_a_pinned_file_answers_alone_whatever_the_rules_were_asked_before(
    filled: Callable[[], DataManager],
) -> None:
    fresh = filled().get_ohlcv("BTCUSDT", "1d", DAYS[0], DAYS[39], provider="local")
    reader = filled()
    for pinned in (False, True, True, False, True):
        options = {"provider": "local"} if pinned else {}
        frame = reader.get_ohlcv("BTCUSDT", "1d", DAYS[0], DAYS[39], **options)
        vendors = {*frame.attrs["onetape"]["vendors"]}
        assert vendors == ({"local"} if pinned else {"local", "binance"})
        assert not pinned or frame.equals(fresh)
    last = reader.get_ohlcv("BTCUSDT", "1d", bars=3, provider="local")
    assert last.attrs["onetape"]["vendors"] in (["local"], [])


# --- files that are not there


@pytest.mark.parametrize("asked", [{}, {"provider": "local"}, {"offline": True}, {"bars": 3}])
@pytest.mark.parametrize("was_there", [False, True], ids=["never", "deleted"])
def test_the_error_for_a_missing_file_names_it_and_its_folder_and_no_other_symbols(
    folder: Path, asked: dict[str, Any], *, was_there: bool
) -> None:
    write(folder, DAYS[:50])
    manager(folder)
    rules = folder.parent / "rules.yaml"
    rules.write_text(f"crypto: {{primary: local, backup: []}}\n{rules.read_text()}")
    reader = DataManager(folder.parent / "cache", rules, clock=ManualClock(NOW))
    bounds = {} if "bars" in asked else {"start_date": DAYS[0], "end_date": DAYS[9]}
    if was_there:
        assert len(reader.get_ohlcv("BTCUSDT", "1d", **bounds, **asked))
    (folder / "BTCUSDT_1d.csv").unlink()
    with pytest.raises(UnknownSymbolError) as raised:
        reader.get_ohlcv("BTCUSDT", "1d", **bounds, **asked)
    said, names = str(raised.value), "BTCUSDT_1d.csv (or .csv.gz, .parquet, .feather)"
    assert said.startswith("no file has bars for 'BTCUSDT'. ")
    assert f"local: there is no file {names} in {folder}" in said
    assert "did you mean" not in said
    assert raised.value.candidates == ()
