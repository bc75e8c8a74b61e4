"""Tests damaged files of fundamentals: set aside with the reason, never served, never lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from src.data.core.cache.beside.fundamentals_cache import FundamentalsCache
from src.data.core.cache.format import json_document
from src.data.core.clock import ManualClock
from src.data.core.disk.files import Disk
from src.data.core.model.time.instant import DAY_MS, from_ms
from src.data.errors import DataError, StorageError
from tests.conftest import WEDNESDAY
from tests.processes import together

from .counts import FULL
from .crash import Platter, Promise, Quick, Recorder, states
from .damage import flipped
from .disks import Killed
from .test_table_faults import Dying, Failing

OLD, NEW = ({"market_cap": 3.0e12, "pe_ratio": ratio} for ratio in (25.5, 26.5))
LATER = ManualClock(WEDNESDAY + DAY_MS)


def opened(root: Path, disk: Disk | None = None) -> FundamentalsCache:
    """Return a cache as a new process has it, a day later."""
    return FundamentalsCache(root, clock=LATER, disk=disk or Quick())


def written(root: Path) -> tuple[Path, Path]:
    """Store yesterday's answer and today's, both long settled; return their files."""
    cache = opened(root)
    paths = [
        Path(cache.write_json("AAPL", "fmp", data, from_ms(WEDNESDAY + n * DAY_MS)))
        for n, data in enumerate((OLD, NEW))
    ]
    for path in paths:
        os.utime(path, (1.7e9, 1.7e9))
    return paths[0], paths[1]


def ratio(root: Path) -> float | None:
    """Return the newest ratio that is served, by each way of asking for it."""
    cache = opened(root)
    found = cache.latest("AAPL").get("fmp")
    newest = cache.find_latest_json("AAPL")
    if found is None or newest is None:
        assert found is newest
        return None
    value = float(found.facts["pe_ratio"].value)
    assert (cache.read_json(newest.file_path) or {})["pe_ratio"] == value
    return value


def quarantined(root: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(root.glob("fundamentals/AAPL/_quarantine/*"))}


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda data: data[:-10],
    "empty": lambda data: b"",
    "garbage": lambda data: b"\xff\x00" * 40,
    "zeros": lambda data: bytes(len(data)),
    "a number": lambda data: data.replace(b"26.5", b"26.4"),
    "text for a number": lambda data: data.replace(b"26.5", b'"many"'),
    "not by its head": lambda data: data.replace(b'"provider":"fmp"', b'"provider":"fmq"'),
    "another symbol": lambda data: json_document.dump(
        json.loads(data) | {"metadata": json.loads(data)["metadata"] | {"symbol": "MSFT"}}
    ),
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_file_is_set_aside_and_the_previous_copy_is_used(
    tmp_path: Path, how: str
) -> None:
    _, path = written(tmp_path)
    damaged = DAMAGE[how](path.read_bytes())
    path.write_bytes(damaged)
    os.utime(path, (1.7e9, 1.7e9))
    if how != "another symbol":  # only the folder tells whose a file is to be
        assert opened(tmp_path).read_json(path) is None
    (found,) = opened(tmp_path).damage("AAPL")
    assert (found.path, found.content) == (path, damaged)
    assert ratio(tmp_path) == 25.5
    (kept, note) = quarantined(tmp_path).items()
    assert kept[1] == damaged
    assert json_document.load(note[1])["reason"] == found.reason
    entries = [
        json.loads(line)
        for line in (tmp_path / "fundamentals/AAPL/files.log").read_text().splitlines()
    ]
    assert [e.get("written") for e in entries[:2]] == [
        "fmp_20240612_150030.json", "fmp_20240613_150030.json",
    ]  # fmt: skip
    assert (entries[2]["quarantined"], entries[2]["reason"]) == (kept[0], found.reason)
    assert opened(tmp_path).damage("AAPL") == []
    before = quarantined(tmp_path)
    opened(tmp_path).write_json("AAPL", "fmp", NEW, from_ms(WEDNESDAY + DAY_MS))
    assert ratio(tmp_path) == 26.5
    assert quarantined(tmp_path) == before


def test_any_flipped_bit_of_a_fundamentals_file_is_detected(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    content = path.read_bytes()
    for place in range(0, len(content), 1 if FULL else 7):
        path.write_bytes(flipped(content, place))
        os.utime(path, (1.7e9, 1.7e9))
        served = ratio(tmp_path)
        # The name of the digest itself may be hit: then nothing else was.
        assert served == 25.5 or content[max(0, place - 8) : place + 8].count(b"sha256"), place
        path.write_bytes(content)


def test_text_in_place_of_a_number_in_another_tools_file_is_ignored(tmp_path: Path) -> None:
    head = {"provider": "fmp", "symbol": "AAPL", "timestamp": "2024-06-13T15:00:30"}
    path = tmp_path / "fundamentals/AAPL/fmp_20240613_150030.json"
    path.parent.mkdir(parents=True)
    inner = {"market_cap": "many", "pe_ratio": 25.5}
    path.write_text(json.dumps({"metadata": head, "fundamentals": inner}))
    assert ratio(tmp_path) == 25.5  # what merges leaves the text out: see policy.plausible


@pytest.mark.parametrize("name", ["fmp_20240613_150030.json", ".lock", "files.log"])
def test_a_folder_in_place_of_a_file_affects_at_most_that_file(tmp_path: Path, name: str) -> None:
    folder = written(tmp_path)[0].parent
    (folder / name).unlink()
    (folder / name).mkdir()
    (folder / name / "inside").write_bytes(b"mine")
    if name.endswith(".json"):
        assert ratio(tmp_path) == 25.5, "the previous copy"
        with pytest.raises(StorageError, match=name):
            opened(tmp_path).damage("AAPL")
    else:
        assert ratio(tmp_path) == 26.5
    if name == ".lock":
        with pytest.raises(StorageError):
            opened(tmp_path).write_json("AAPL", "fmp", NEW)
    assert (folder / name / "inside").read_bytes() == b"mine"


def test_a_recently_written_damaged_file_is_not_moved_until_a_repair(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-10])
    assert ratio(tmp_path) == 25.5
    assert path.exists()
    opened(tmp_path).repair("AAPL")
    assert not path.exists()
    assert len(quarantined(tmp_path)) == 2


def check(root: Path, told: int, begun: int) -> None:
    """Assert that exactly the acknowledged data are served, without damage."""
    assert ratio(root) in [(None, 25.5, 26.5)[n] for n in range(told, begun + 1)]
    assert opened(root).damage("AAPL") == []
    assert quarantined(root) == {}
    opened(root).write_json("AAPL", "fmp", NEW, from_ms(WEDNESDAY + DAY_MS))
    assert ratio(root) == 26.5


def write_both(root: Path, disk: Disk, told: Callable[[int], object]) -> None:
    for number, data in enumerate((OLD, NEW), 1):
        when = from_ms(WEDNESDAY + (number - 1) * DAY_MS)
        opened(root, disk).write_json("AAPL", "fmp", data, when)
        told(number)


def test_a_writer_killed_before_any_disk_call_loses_no_fundamentals(tmp_path: Path) -> None:
    for dies_at in range(1, 100):
        root, done = tmp_path / str(dies_at), []
        try:
            write_both(root, Dying(dies_at), done.append)
        except Killed:
            check(root, len(done), min(len(done) + 1, 2))
            continue
        break
    assert 10 < dies_at < 99


@pytest.mark.parametrize("for_ever", [False, True])
def test_a_full_disk_loses_no_fundamentals(tmp_path: Path, for_ever: bool) -> None:
    for fails_at in range(1, 100):
        root, done = tmp_path / str(fails_at), []
        disk = Failing(fails_at, for_ever=for_ever)
        try:
            write_both(root, disk, done.append)
        except DataError:
            assert not disk.held, "a file is left open"
        if disk.failed is None:
            break
        check(root, len(done), min(len(done) + 1, 2))
    assert 10 < fails_at < 99


def test_a_power_failure_after_any_disk_call_loses_no_acknowledged_fundamentals(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    root.mkdir()
    disk, before = Recorder(), Platter(root)
    disk.events.append(Promise("begun", 1))

    def tell(number: int) -> None:
        disk.events += [Promise("told", number), Promise("begun", min(number + 1, 2))]

    write_both(root, disk, tell)
    found = states(before, disk.events, 60 if FULL else 6)
    assert len(found) >= 30
    for state in found:
        for reported, begun in state.promises:
            state.tree.put(root)
            check(root, reported, begun)


def test_a_process_killed_while_setting_a_file_aside_loses_no_fundamentals(tmp_path: Path) -> None:
    for dies_at in range(1, 100):
        root = tmp_path / str(dies_at)
        _, path = written(root)
        damaged = path.read_bytes()[:-10]
        path.write_bytes(damaged)
        os.utime(path, (1.7e9, 1.7e9))
        try:
            opened(root, Dying(dies_at)).latest("AAPL")
        except Killed:
            assert ratio(root) == 25.5
            assert damaged in quarantined(root).values()
            continue
        break
    assert 10 < dies_at < 99


def test_two_processes_that_write_fundamentals_lose_none(tmp_path: Path) -> None:
    def write(part: int) -> None:
        for n in range(part, 40, 2):
            opened(tmp_path).write_json("AAPL", "fmp", NEW, from_ms(WEDNESDAY + n * 1000))

    together(2, write)
    assert opened(tmp_path).get_cache_stats("AAPL")["files"] == 40
    assert opened(tmp_path).damage("AAPL") == []
    lines = (tmp_path / "fundamentals/AAPL/files.log").read_text().splitlines()
    assert len({json.loads(line)["written"] for line in lines}) == 40
