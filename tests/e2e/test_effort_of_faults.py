"""The cost of faults in an answer, in counted calls: proportional to the number of rows."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from src.data.core.clock import ManualClock
from src.data.core.model.time.instant import HOUR_MS, MINUTE_MS, iso, parse_iso
from src.data.core.vendors.local.columns import Columns
from src.data.data_manager import DataManager
from tests.core.cache.counts import FULL
from tests.effort import calls_of

pytestmark = pytest.mark.usefixtures("young_files")

FIRST = parse_iso("2024-03-04")
LATER = parse_iso("2024-06-03T12:00:00")
HOURS = (3, 6, 12) if FULL else (2, 4, 8)
HEADER = "timestamp,open,high,low,close,volume\n"


class Mix(NamedTuple):
    """Shares of the rows that are missing, a second late, impossible, or sent twice."""

    missing: float = 0.0
    late: float = 0.0
    impossible: float = 0.0
    doubles: float = 0.0


MEASURED = [Mix(0.2, 0.25, 0.2, 0.05)]


def random_mixes(count: int) -> Iterator[Mix]:
    chance = random.Random(4)
    for _ in range(count):
        yield Mix(*(chance.choice([0.0, 0.02, 0.1, 0.24]) for _ in Mix._fields))


MIXES = MEASURED if not FULL else [*MEASURED, *random_mixes(40)]


def rows_of(hours: int, mix: Mix, seed: int) -> str:
    """Return a file of minutes with faults, as many in each part of it."""
    chance = random.Random(seed)
    lines = [HEADER]
    for stamp in range(FIRST, FIRST + hours * HOUR_MS, MINUTE_MS):
        close = 100 + chance.random()
        kind = chance.random()
        high, low = close + 1, close - 1
        if kind < sum(mix[:1]):
            continue
        if kind < sum(mix[:2]):
            stamp += 1000
        elif kind < sum(mix[:3]):
            high, low = low, high
        text = iso(stamp).rstrip("Z")
        lines.append(f"{text},{close:.4f},{high:.4f},{low:.4f},{close:.4f},3\n")
        if sum(mix[:3]) <= kind < sum(mix):
            lines.append(f"{text},{close:.4f},{high + 1:.4f},{low:.4f},{close:.4f},3\n")
    return "".join(lines)


class Folder:
    """A folder of the user's files, and managers on one cache beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = ManualClock(LATER)
        root.mkdir()
        (root / "rules.yaml").write_text(f"providers:\n  local: {{folder: {root}}}\n")
        self.write("ETHUSDT", rows_of(1, Mix(0.1, 0.1, 0.1, 0.1), 0))
        self.ask(self.manager(), "ETHUSDT", 1)  # loads what a fetch takes

    def write(self, symbol: str, text: str) -> None:
        (self.root / f"{symbol}_1m.csv").write_text(text)

    def manager(self) -> DataManager:
        return DataManager(self.root / "cache", self.root / "rules.yaml", clock=self.clock)

    def ask(self, manager: DataManager, symbol: str, hours: int) -> None:
        end = FIRST + hours * HOUR_MS - 1
        manager.get_ohlcv(symbol, "1m", iso(FIRST), iso(end), provider="local")


def efforts(root: Path, hours: int, mix: Mix, *, is_whole: bool = True) -> dict[str, int]:
    """Return the calls of a fetch and a hit; of a hit in a new process, and a fetch without faults."""
    folder = Folder(root)
    folder.write("BTCUSDT", rows_of(hours, mix, 1))
    manager = folder.manager()
    made: dict[str, Callable[[], None]] = {
        "fetch": lambda: folder.ask(manager, "BTCUSDT", hours),
        "hit": lambda: folder.ask(manager, "BTCUSDT", hours),
    }
    if is_whole:
        made["hit of a new process"] = lambda: folder.ask(folder.manager(), "BTCUSDT", hours)
    counts = {name: calls_of(work) for name, work in made.items()}
    if is_whole:
        folder.write("BTCUSDT", rows_of(hours, Mix(), 1))
        counts["repaired file"] = calls_of(made["fetch"])
    return counts


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mix", MIXES, ids=lambda mix: "-".join(map(str, mix)))
def test_the_effort_of_faults_is_at_most_proportional_to_the_rows(tmp_path: Path, mix: Mix) -> None:
    once, twice, four = (efforts(tmp_path / str(hours), hours, mix) for hours in HOURS)
    for what, calls in once.items():
        assert twice[what] < 2.05 * calls, (what, calls, twice[what])
        assert four[what] < 2.05 * twice[what], (what, twice[what], four[what])


@pytest.mark.filterwarnings("ignore")
def test_an_hour_with_faults_takes_a_small_multiple_of_the_work_of_a_clean_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Rows that are parsed at once take no calls.
    monkeypatch.setattr(Columns, "table", lambda *_: None)

    def work_of_an_hour(name: str, mix: Mix) -> dict[str, float]:
        few, many = HOURS[1:]
        less, more = (efforts(tmp_path / f"{name}{h}", h, mix, is_whole=False) for h in (few, many))
        return {what: (more[what] - less[what]) / (many - few) for what in less}

    clean = work_of_an_hour("clean", Mix())["fetch"]
    assert work_of_an_hour("impossible", Mix(impossible=0.2))["fetch"] < 1.6 * clean
    assert work_of_an_hour("late", Mix(missing=0.3, late=0.4))["fetch"] < 1.7 * clean
    assert work_of_an_hour("doubles", Mix(doubles=0.3))["fetch"] < 1.35 * clean
    everything = work_of_an_hour("all", Mix(0.1, 0.15, 0.2, 0.3))
    assert everything["fetch"] < 2.2 * clean
    assert everything["hit"] < 0.25 * clean
