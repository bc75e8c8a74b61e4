"""A user's own folders of bars: kept apart by folder, and read again when the files change."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from src.data.core.bars.client import Wishes
from src.data.core.cache.layout import decode_lane, encode_lane
from src.data.core.clock import ManualClock
from src.data.core.model.time.timeframe import Timeframe
from src.data.data_manager import DataManager
from src.data.errors import (
    AllProvidersFailedError,
    IncompleteDataWarning,
    QueryError,
    UnknownSymbolError,
)
from tests.conftest import WEDNESDAY
from tests.vendor_server import Fault, VendorServer

from .oracle import ms

HEADER = "timestamp,open,high,low,close,volume\n"
DAYS = ("2024-07-01", "2024-07-02", "2024-07-03")
ASKED = ("MSFT", "1d", "2024-07-01", "2024-07-03")
DAILY = Timeframe.parse("1d")
NOW = ms("2024-08-01T12:00:00")
# Long before it is read: what changed since shows by size and time.
RESTED = 1_700_000_000


def write(folder: Path, close: float, days: tuple[str, ...] = DAYS, at: int = RESTED) -> Path:
    """Write the days of a share, with the time of the file's last change."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{day},{close},{close},{close},{close},9\n" for day in days)
    path = folder / "MSFT_1d.csv"
    path.write_text(HEADER + rows)
    os.utime(path, (at, at))
    return path


def manager(cache: Path, folder: Path, more: str = "") -> DataManager:
    """Return another project: a process with rules of its own on one cache."""
    rules = cache.with_name(f"{folder.name}.yaml")
    rules.write_text(
        f"providers: {{local: {{folder: '{folder}', adjustment: split, unit: USD{more}}}}}\n"
    )
    return DataManager(cache, rules, clock=ManualClock(NOW))


def lane_of(frame: pd.DataFrame) -> str:
    return str(frame.attrs["onetape"]["lane"])


def closes(frame: pd.DataFrame) -> list[float]:
    assert frame.attrs["onetape"]["complete"]
    return frame["close"].tolist()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """Return the path of a cache folder that does not exist yet."""
    return tmp_path / "cache"


def test_bars_of_two_own_folders_are_never_mixed(cache: Path, tmp_path: Path) -> None:
    for close, name in ((1.0, "one"), (2.0, "two")):
        write(tmp_path / name, close)
    lanes = set()
    for _ in range(2):
        for close, name in ((1.0, "one"), (2.0, "two")):
            frame = manager(cache, tmp_path / name).get_ohlcv(*ASKED, provider="local")
            assert closes(frame) == [close] * 3
            lanes.add(lane_of(frame))
    assert len(lanes) == 2
    assert all(lane[:9] == "1d@local." and len(lane) == 17 for lane in lanes)
    assert not (cache / "ohlcv").exists(), "nothing is cached"


def test_one_folder_with_two_names_has_one_lane(cache: Path, tmp_path: Path) -> None:
    write(tmp_path / "one", 1.0)
    (tmp_path / "link").symlink_to(tmp_path / "one")
    lanes = set()
    for name in ("one", "link"):
        frame = manager(cache, tmp_path / name).get_ohlcv(*ASKED, provider="local")
        assert closes(frame)
        lanes.add(lane_of(frame))
    assert len(lanes) == 1


@pytest.mark.parametrize("how", [{}, {"provider": "local"}], ids=["by the rules", "pinned"])
@pytest.mark.parametrize("inner", ["", "bars"], ids=["the folder", "a folder above it"])
def test_a_redirected_link_is_followed_to_the_new_folder_at_once(
    how: dict[str, Any], inner: str, cache: Path, tmp_path: Path
) -> None:
    link = tmp_path / "current"
    for number in (1, 2):
        write(tmp_path / f"v{number}" / inner, float(number))
    link.symlink_to("v1")
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "stock_daily: {primary: local, backup: [], timeframes: [1d]}\n"
        f"providers: {{local: {{folder: '{link / inner}', adjustment: split, unit: USD}}}}\n"
    )
    at = DataManager(cache, rules, clock=ManualClock(NOW))
    for close, target in ((1.0, "v1"), (2.0, "v2"), (1.0, "v1")):
        other = tmp_path / "next"
        other.symlink_to(target)
        other.replace(link)
        for _ in range(3):  # from the file, then from memory
            assert closes(at.get_ohlcv(*ASKED, **how)) == [close] * 3
    assert len(at.client.series("MSFT")) == 2
    # Another folder under the name of the first, and the first under another name.
    (tmp_path / "v1").rename(tmp_path / "v0")
    (tmp_path / "v2").rename(tmp_path / "v1")
    assert closes(at.get_ohlcv(*ASKED, **how)) == [2.0] * 3
    other.symlink_to("v0")
    other.replace(link)
    assert closes(at.get_ohlcv(*ASKED, **how)) == [1.0] * 3
    assert len(at.client.series("MSFT")) == 3


def edited(folder: Path) -> None:
    write(folder, 7.0, at=RESTED + 9)


def edited_within_a_tick(folder: Path) -> None:
    """Change only prices, and keep size and time."""
    write(folder, 7.0)


def scaled(folder: Path) -> None:
    """Change all prices by an implausible factor."""
    write(folder, 100.0, at=RESTED + 9)


def shortened(folder: Path) -> None:
    write(folder, 1.0, DAYS[:1], at=RESTED + 9)


def lengthened(folder: Path) -> None:
    write(folder, 1.0, (*DAYS, "2024-07-05", "2024-07-08"), at=RESTED + 9)


def touched(folder: Path) -> None:
    write(folder, 1.0, at=RESTED + 9)


CHANGES: dict[Callable[[Path], None], list[float]] = {
    edited: [7.0] * 3,
    scaled: [100.0] * 3,
    shortened: [1.0],
    lengthened: [1.0] * 5,
    touched: [1.0] * 3,
}


def quiet(call: Callable[..., Any], *args: Any, **how: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", IncompleteDataWarning)
        return call(*args, **how)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("is_new", [True, False], ids=["another process", "one process"])
def test_a_changed_own_file_is_read_again(
    change: Callable[[Path], None], is_new: bool, cache: Path, tmp_path: Path
) -> None:
    write(tmp_path / "own", 1.0)
    asked = (*ASKED[:3], "2024-07-08")
    first = manager(cache, tmp_path / "own")
    for _ in range(3):  # from the file, then from memory
        before = quiet(first.get_ohlcv, *asked, provider="local")
        assert before["close"].tolist() == [1.0] * 3
    version = before.attrs["onetape"]["generation"]
    change(tmp_path / "own")
    reader = manager(cache, tmp_path / "own") if is_new else first
    for _ in range(2):
        frame = quiet(reader.get_ohlcv, *asked, provider="local")
        assert frame["close"].tolist() == CHANGES[change]
    with pytest.raises(
        QueryError, match="your own files when it is requested, so it has no versions"
    ):
        reader.get_ohlcv(*ASKED, provider="local", version=version)


@pytest.fixture(scope="module")
def _answers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which an answer of Yahoo's is recorded, to be copied."""
    folder, clock = tmp_path_factory.mktemp("answers"), ManualClock(WEDNESDAY)
    with pytest.MonkeyPatch.context() as patch, VendorServer(clock) as vendors:
        patch.setenv("ONETAPE_STATE_DIR", str(folder / "state"))
        patch.setenv("ONETAPE_RECORD", str(folder / "seen"))
        own = {"base_url": vendors.base_url("yahoo"), "transport": "http"}
        (folder / "rules.yaml").write_text(json.dumps({"providers": {"yahoo": own}}))
        manager = DataManager(folder / "cache", folder / "rules.yaml", clock=clock)
        manager.get_ohlcv(*SPLIT, provider="yahoo", adjustment="raw")
    return folder / "seen"


@pytest.fixture
def folder_of_answers(tmp_path: Path, _answers: Path) -> Callable[..., Path]:
    """Return what lays a recorded answer of Yahoo's down in a folder, its prices and split changed."""

    def record(name: str, factor: float, ratio: int = 4) -> Path:
        shutil.copytree(_answers, tmp_path / name, dirs_exist_ok=True)
        folder = tmp_path / name / "yahoo"
        for file in folder.glob("*.json"):
            entry = json.loads(file.read_text("utf-8"))
            chart = json.loads(entry["response"]["text"])
            for result in chart["chart"]["result"]:
                quote = result["indicators"]["quote"][0]
                for column in ("open", "high", "low", "close"):
                    quote[column] = [v and v * factor for v in quote[column]]
                for event in result.get("events", {}).get("splits", {}).values():
                    event |= {"numerator": ratio, "splitRatio": f"{ratio}:1"}
            entry["response"]["text"] = json.dumps(chart)
            file.write_text(json.dumps(entry), "utf-8")
        return folder

    return record


SPLIT = ("AAPL", "1d", "2020-08-20", "2020-09-10")  # 4:1 on 2020-08-31


def test_two_recordings_with_the_same_relative_name_are_not_mixed(
    folder_of_answers: Callable[..., Path],
    make: Callable[[], DataManager],
    tmp_path: Path,
    vendors: VendorServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"provider": "replay:seen", "adjustment": "raw"}
    for name, factor, ratio in (("one", 1.0, 4), ("two", 8.0, 2)):
        folder_of_answers(f"{name}/seen", factor, ratio)
    manager = make()
    vendors.clear_log()
    found: dict[str, list[float]] = {}
    for name in ("one", "two", "one", "two"):
        monkeypatch.chdir(tmp_path / name)
        for reader in (manager, make()):
            frame = reader.get_ohlcv(*SPLIT, **asked)  # type: ignore[arg-type]
            assert closes(frame) == found.setdefault(name, closes(frame))
    # Of raw prices those before the split are told by the split of the very recording.
    assert found["two"][-1] == pytest.approx(8 * found["one"][-1])
    assert found["two"][0] == pytest.approx(8 * found["one"][0] / 2)
    assert not vendors.count("yahoo")


@pytest.mark.parametrize("is_new", [True, False], ids=["another process", "one process"])
def test_a_folder_recorded_again_is_read_again(
    is_new: bool, folder_of_answers: Callable[..., Path], make: Callable[[], DataManager],
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = folder_of_answers("seen", 1.0)
    asked = {"provider": f"replay:{tmp_path / 'seen'}", "adjustment": "raw"}
    first = make()
    for _ in range(3):
        before = first.get_ohlcv(*SPLIT, **asked)  # type: ignore[arg-type]
    version = before.attrs["onetape"]["generation"]
    shutil.rmtree(folder)
    folder_of_answers("seen", 8.0, 2)
    reader = make() if is_new else first
    for _ in range(2):
        after = reader.get_ohlcv(*SPLIT, **asked)  # type: ignore[arg-type]
        assert closes(after)[-1] == pytest.approx(8 * closes(before)[-1])
        assert closes(after)[0] == pytest.approx(8 * closes(before)[0] / 2)
    with pytest.raises(QueryError, match="it has no versions"):
        reader.get_ohlcv(*SPLIT, **asked, version=version)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["100%", "100%25", "a%2Fb"])
def test_a_percent_sign_in_the_name_of_a_recording_is_taken_literally(
    name: str, folder_of_answers: Callable[..., Path], make: Callable[[], DataManager],
    tmp_path: Path,
) -> None:  # fmt: skip
    folder_of_answers(name, 8.0)
    folder_of_answers("plain", 1.0)
    asked = [
        make().get_ohlcv(*SPLIT, provider=f"replay:{tmp_path / one}", adjustment="raw")
        for one in (name, "plain")
    ]
    assert asked[0]["close"].iloc[-1] == pytest.approx(8 * asked[1]["close"].iloc[-1])
    # As the answer names it.
    (reported,) = asked[0].attrs["onetape"]["vendors"]
    assert (
        make()
        .get_ohlcv(*SPLIT, provider=reported, adjustment="raw")["close"]
        .equals(asked[0]["close"])
    )


# --- every way to ask


def week(folder: Path, close: float) -> None:
    write(folder, close, ("2024-07-01", "2024-07-02", "2024-07-03", "2024-07-05"))


def by_range(manager: DataManager) -> Any:
    return manager.get_ohlcv("MSFT", "1d", "2024-07-01", "2024-07-05", provider="local")


def by_count(manager: DataManager) -> Any:
    return manager.get_ohlcv("MSFT", "1d", end_date="2024-07-05", bars=4, provider="local")


def of_a_week(manager: DataManager) -> Any:
    return manager.get_ohlcv("MSFT", "1w", "2024-07-01", "2024-07-05", provider="local")


def of_a_batch(manager: DataManager) -> Any:
    asked = (["MSFT"], "1d", "2024-07-01", "2024-07-05")
    return manager.get_ohlcv_batch(*asked, provider="local")["MSFT"]


def a_plan(manager: DataManager) -> Any:
    return manager.plan("MSFT", "1d", "2024-07-01", "2024-07-05", provider="local")


@pytest.mark.parametrize("way", [by_range, by_count, of_a_week, of_a_batch])
def test_every_request_reads_the_current_files_of_its_own_folder(
    way: Callable[[DataManager], Any], cache: Path, tmp_path: Path
) -> None:
    for close, name in ((1.0, "one"), (2.0, "two")):
        week(tmp_path / name, close)
    for turn in range(2):
        for close, name in ((1.0, "one"), (2.0, "two")):
            found = manager(cache, tmp_path / name)
            for _ in range(2):
                assert set(way(found)["close"]) == {close + 10 * turn}
            week(tmp_path / name, close + 10 * (turn + 1))


def test_nothing_is_covered_by_an_own_file_that_has_changed_until_it_is_read(
    cache: Path, tmp_path: Path
) -> None:
    week(tmp_path / "own", 1.0)
    reader = manager(cache, tmp_path / "own")
    by_range(reader)
    client = reader.client
    (key,) = client.series("MSFT")
    assert "suspect" not in {part.state for part in client.coverage(key)}
    assert not a_plan(reader).steps
    week(tmp_path / "own", 2.0)
    assert not client.coverage(key)
    assert not client.outline(key).coverage
    assert len(a_plan(reader).steps) == 1
    assert not client.lookup(client.query("MSFT", "1d", "2024-07-01", "2024-07-05",
                                          wishes=Wishes(provider="local"))).is_hit  # fmt: skip
    offline = reader.get_ohlcv(*ASKED, provider="local", offline=True, strict=True)
    assert closes(offline) == [2.0] * 3, "the file is on this machine"
    assert set(by_range(reader)["close"]) == {2.0}


def test_bars_of_a_file_that_became_unreadable_are_not_returned(
    cache: Path, tmp_path: Path
) -> None:
    path = write(tmp_path / "own", 1.0)
    reader = manager(cache, tmp_path / "own")
    assert closes(reader.get_ohlcv(*ASKED, provider="local")) == [1.0] * 3
    for damage, why in (
        (lambda: path.write_text(f"{HEADER}2024-07-01,one,1,1,1,9\n"), "line 2: column 'open'"),
        (path.unlink, "no file MSFT_1d"),
    ):
        damage()
        for offline in (False, True):
            with pytest.raises(AllProvidersFailedError, match=why):
                reader.get_ohlcv(*ASKED, provider="local", offline=offline)
    write(tmp_path / "own", 2.0)
    assert closes(reader.get_ohlcv(*ASKED, provider="local")) == [2.0] * 3


def test_a_changed_layout_in_the_rules_reads_own_files_again(cache: Path, tmp_path: Path) -> None:
    """Another column, and another unit: the file is as it was."""
    folder = tmp_path / "own"
    write(folder, 1.0)
    (folder / "MSFT_1d.csv").write_text(
        "timestamp,open,high,low,close,volume,last\n"
        + "".join(f"{day},1,3,1,1.0,9,2.0\n" for day in DAYS)
    )
    first = manager(cache, folder).get_ohlcv(*ASKED, provider="local")
    assert closes(first) == [1.0] * 3
    other = manager(cache, folder, ", columns: {close: last}")
    assert closes(other.get_ohlcv(*ASKED, provider="local")) == [2.0] * 3
    rules = cache.with_name("own.yaml")
    rules.write_text(rules.read_text().replace("USD", "EUR"))
    euros = DataManager(cache, rules, clock=ManualClock(NOW)).get_ohlcv(*ASKED, provider="local")
    assert (closes(euros), euros.attrs["onetape"]["kind"]["unit"]) == ([2.0] * 3, "EUR")


def test_a_lane_of_own_files_is_not_listed_as_a_timeframe(cache: Path, tmp_path: Path) -> None:
    week(tmp_path / "own", 1.0)
    reader = manager(cache, tmp_path / "own")
    by_range(reader)
    (key,) = reader.client.series()
    assert (key.lane, key.made_of) == ((key.of_folder,), "")
    assert decode_lane("MSFT", encode_lane(key)) == key
    assert encode_lane(key) == f"1d@{key.of_folder}"
    assert reader.cache.list_timeframes("MSFT") == reader.cache.store.keys() == []


@pytest.mark.parametrize("how", [{}, {"provider": "local"}], ids=["by the rules", "pinned"])
def test_a_hit_takes_one_stat_of_the_folder_and_one_of_the_file(
    how: dict[str, Any], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "own", 1.0)
    # As if it had rested for a minute when it was read.
    clock = ManualClock(path.stat().st_ctime_ns // 10**6 + 60_000)
    monkeypatch.setattr("src.data.core.vendors.local.carrier.SystemClock", lambda: clock)
    rules = tmp_path / "rules.yaml"
    rules.write_text(
        "stock_daily: {primary: local, backup: [], timeframes: [1d]}\n"
        f"providers: {{local: {{folder: '{path.parent}', adjustment: split, unit: USD}}}}\n"
    )
    reader = DataManager(cache, rules, clock=ManualClock(NOW))
    for _ in range(3):
        reader.get_ohlcv(*ASKED, **how)
    seen: list[str] = []
    real_stat, real_open = os.stat, Path.open
    monkeypatch.setattr(
        os, "stat", lambda at, *a, **k: (seen.append(str(at)), real_stat(at, *a, **k))[1]
    )
    monkeypatch.setattr(
        Path, "open", lambda at, *a, **k: (seen.append(f"open {at}"), real_open(at, *a, **k))[1]
    )
    reader.get_ohlcv(*ASKED, **how)
    places = [place for place in seen if str(path.parent) in place]
    assert places == [str(path.parent), str(path)]


def hours_of_own_minutes(cache: Path, folder: Path) -> DataManager:
    rules = cache.with_name("coins.yaml")
    rules.write_text(
        "crypto: {primary: local, backup: []}\n"
        f"providers: {{local: {{folder: '{folder}', unit: USDT, anchor: clock}}}}\n"
    )
    return DataManager(cache, rules, clock=ManualClock(NOW))


HOURS = ("BTCUSDT", "1h", "2024-07-01T00:00:00", "2024-07-01T01:59:00")


def write_minutes(folder: Path, close: float, at: int = RESTED) -> None:
    folder.mkdir(exist_ok=True)
    stamps = (f"2024-07-01T{n // 60:02}:{n % 60:02}:00" for n in range(120))
    rows = "".join(f"{stamp},{close},{close},{close},{close},9\n" for stamp in stamps)
    path = folder / "BTCUSDT_1m.csv"
    path.write_text(HEADER + rows)
    os.utime(path, (at, at))


@pytest.mark.parametrize("provider", [None, "local"], ids=["rules", "pinned"])
@pytest.mark.parametrize("step, bars", [("1h", 2), ("30m", 4), ("2h", 1)])
def test_longer_bars_are_built_from_the_minutes_of_an_own_file(
    cache: Path, tmp_path: Path, step: str, bars: int, provider: str | None
) -> None:
    write_minutes(tmp_path / "own", 1.0)
    how: dict[str, Any] = {"strict": True, "provider": provider}
    for _ in range(2):
        reader = hours_of_own_minutes(cache, tmp_path / "own")
        frame = reader.get_ohlcv(HOURS[0], step, *HOURS[2:], **how)
        assert closes(frame) == [1.0] * bars
        assert frame.attrs["onetape"]["derived_from"]["timeframe"] == "1m"
        until = "2024-07-01T02:00:00"
        counted = reader.get_ohlcv(HOURS[0], step, end_date=until, bars=bars, **how)
        assert closes(counted) == [1.0] * bars
    del how["strict"]
    none = quiet(reader.get_ohlcv, HOURS[0], step, "2024-07-02", "2024-07-02", **how)
    assert len(none) == 0 and none.attrs["onetape"]["gaps"]
    with pytest.raises(UnknownSymbolError, match="no file ETHUSDT_1h"):
        reader.get_ohlcv("ETHUSDT", *HOURS[1:], **how)


def test_bars_derived_from_a_changed_file_are_derived_again(cache: Path, tmp_path: Path) -> None:
    write_minutes(tmp_path / "own", 1.0)
    old = hours_of_own_minutes(cache, tmp_path / "own")
    old.get_ohlcv("BTCUSDT", "1m", *HOURS[2:])
    for _ in range(3):
        assert closes(old.get_ohlcv(*HOURS)) == [1.0] * 2
    write_minutes(tmp_path / "own", 7.0, RESTED + 9)
    for reader in (old, hours_of_own_minutes(cache, tmp_path / "own")):
        for _ in range(3):
            assert closes(reader.get_ohlcv(*HOURS)) == [7.0] * 2


def test_bars_calculated_from_own_files_are_in_the_lane_of_their_folder(
    cache: Path, tmp_path: Path
) -> None:
    write_minutes(tmp_path / "own", 1.0)
    client = hours_of_own_minutes(cache, tmp_path / "own").client
    client.get(client.query("BTCUSDT", "1m", start=HOURS[2], end=HOURS[3]))
    done = client.calculate(client.query(*HOURS[:2], bars=1), Timeframe.parse("1m"))
    assert (done.rows, done.key.lane) == (2, (done.key.of_folder, "from-1m"))
    assert "suspect" not in {part.state for part in client.coverage(done.key)}


# --- by the rules

OWN = ("MSFT", "1d", "2024-06-03", "2024-06-07")
OWN_DAYS = ("2024-06-03", "2024-06-04", "2024-06-05", "2024-06-06", "2024-06-07")


@pytest.fixture
def project(tmp_path: Path, rules: Path, clock: ManualClock) -> Callable[..., DataManager]:
    """Return what makes a project: its rules name these vendors for days, and perhaps a folder."""

    def make(vendors: str, folder: str = "", declared: str = "adjustment: split, unit: USD") -> Any:
        own = tmp_path / f"rules of {folder or 'none'} {vendors} {declared}.yaml"
        first, _, backups = vendors.partition(" ")
        text = rules.read_text()
        if folder:
            text += f"  local: {{folder: '{tmp_path / folder}', {declared}}}\n"
        for rule in ("stock_daily", "stock_weekly_monthly"):
            text += f"{rule}: {{primary: {first}, backup: [{backups}]}}\n"
        own.write_text(text)
        return DataManager(tmp_path / "cache", own, clock=clock)

    return make


def test_bars_of_own_files_are_not_returned_if_the_rules_do_not_name_their_folder(
    project: Callable[..., DataManager], tmp_path: Path, vendors: VendorServer
) -> None:
    for close, name in ((1.0, "one"), (2.0, "two")):
        write(tmp_path / name, close, OWN_DAYS)
    for _ in range(2):
        assert closes(project("local", "one").get_ohlcv(*OWN)) == [1.0] * 5
        assert closes(project("local", "two").get_ohlcv(*OWN)) == [2.0] * 5
        real = project("yahoo").get_ohlcv(*OWN)
        assert real.attrs["onetape"]["vendors"] == ["yahoo"]
        assert not {1.0, 2.0} & set(closes(real))
        assert project("yahoo local", "one").get_ohlcv(*OWN)["close"].equals(real["close"])
    assert vendors.count("yahoo") <= 2


@pytest.mark.parametrize("ask", ["range", "count", "weeks", "batch"])
def test_every_request_under_the_rules_reads_the_current_local_file(
    ask: str, project: Callable[..., DataManager], tmp_path: Path
) -> None:
    def asked(manager: DataManager) -> set[float]:
        if ask == "batch":
            return set(manager.get_ohlcv_batch(["MSFT"], *OWN[1:])["MSFT"]["close"])
        step = "1w" if ask == "weeks" else "1d"
        bounds = {"end_date": OWN[3], "bars": 5} if ask == "count" else {
            "start_date": OWN[2], "end_date": OWN[3]}  # fmt: skip
        return set(manager.get_ohlcv("MSFT", step, **bounds)["close"])

    write(tmp_path / "own", 1.0, OWN_DAYS)
    first = project("local", "own")
    for close in (1.0, 7.0):
        write(tmp_path / "own", close, OWN_DAYS)
        for reader in (first, project("local", "own")):
            for _ in range(3):
                assert asked(reader) == {close}


def test_backup_vendors_complete_own_files_of_the_declared_kind(
    project: Callable[..., DataManager], tmp_path: Path, vendors: VendorServer
) -> None:
    real = project("yahoo").get_ohlcv(*OWN)
    asked = vendors.count("yahoo")
    folder = tmp_path / "own"
    folder.mkdir()
    rows = real.iloc[:3]
    text = "".join(f"{at:%Y-%m-%d},{','.join(map(repr, row))}\n"
                   for at, *row in rows.itertuples() for row in [row[:5]])  # fmt: skip
    (folder / "MSFT_1d.csv").write_text(HEADER + text)
    frame = project("local yahoo", "own").get_ohlcv(*OWN, columns=("source",))
    assert frame["source"].tolist() == ["local"] * 3 + ["yahoo"] * 2
    assert frame.attrs["onetape"]["complete"]
    assert vendors.count("yahoo") > asked
    for declared in ("adjustment: split, unit: EUR", "unit: USD"):
        alone = quiet(project("local yahoo", "own", declared).get_ohlcv, *OWN, columns=("source",))
        assert alone["source"].tolist() == ["local"] * 3
        assert not alone.attrs["onetape"]["complete"]


def test_own_files_of_another_kind_are_returned_as_a_substitute(
    project: Callable[..., DataManager], tmp_path: Path, vendors: VendorServer
) -> None:
    write(tmp_path / "own", 1.0, OWN_DAYS)
    vendors.fault("yahoo", Fault.status(503))
    for _ in range(2):
        frame = quiet(project("yahoo local", "own").get_ohlcv, *OWN)
        assert frame["close"].tolist() == [1.0] * 5
        assert "local" in frame.attrs["onetape"]["substitute"]
    vendors.heal()


def test_commands_use_the_own_folder_of_the_rules(
    project: Callable[..., DataManager], tmp_path: Path
) -> None:
    for close, name in ((1.0, "one"), (2.0, "two")):
        write(tmp_path / name, close, OWN_DAYS)
        project("local", name).get_ohlcv(*OWN)
    for close, name in ((1.0, "one"), (2.0, "two")):
        reader = project("local", name)
        offline = reader.get_ohlcv(*OWN, offline=True)
        assert closes(offline) == [close] * 5
        assert reader.get_ohlcv(*OWN).attrs["onetape"]["lane"] == offline.attrs["onetape"]["lane"]
