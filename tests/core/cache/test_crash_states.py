"""Tests every state of the disk that a power failure may leave, for every kind of commit.

Each scenario is run once on a disk that records its calls. Then a power failure is simulated after each
call, in every way that is possible, and a new process opens the result. It must read no torn or wrong
bar and every acknowledged one; a repair must be final, and the next commit must work.

Each precaution is also left out in turn: if no test failed without it, either the precaution or the tests
would be useless.
"""

from __future__ import annotations

import csv
import gzip
import io
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from src.data.core.cache.format.documents import YearMeta, YearState
from src.data.core.cache.format.gzip_member import Member
from src.data.core.cache.lane_files import LaneFiles
from src.data.core.cache.store import BarStore, Commit
from src.data.core.cache.write import year_commit
from src.data.core.disk.atomic import write_atomically
from src.data.core.disk.files import Disk, DiskStep
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BadRow, Bar
from src.data.errors import DataError
from tests.core.cache.bars import (  # fmt: skip
    DAILY,
    EVER,
    at,
    lane_folder,
    mark,
    no_temps,
    numbers,
    piece,
    repaired,
    store_in,
    table,
)
from tests.core.cache.counts import FULL, some
from tests.core.cache.crash import Platter, Promise, Quick, Recorder, State, states
from tests.core.cache.disks import Killed

# States of one moment: first each unsynced write is the only one lost, and the only one kept; the
# other states are random.
MOST = 100 if FULL else 3
EVERY = 1 if FULL else 3
KILLS = 99 if FULL else 3
SLOTS = range(-12, 16)
LATER = piece(12, 14)
BAD = BadRow(Bar(at(1), 1.0, 0.5, 2.0, 1.0, 1.0), "high < low")


class Violation(AssertionError):
    """The store has broken a promise."""


class Fact(NamedTuple):
    """The true state of one day, and the shift of its bar (None if there is no bar)."""

    shift: float | None
    state: str


MISSING = Fact(None, "missing")
# The states that a reader may see for each true state. A state that only metadata record may be lost,
# because that costs only another request; bars that are no longer trusted must never be trusted again.
SEEN_AS = {
    "final": {"final"},
    "provisional": {"provisional"},
    "settled": {"final", "provisional"},
    "answered": {"final", "missing"},  # without a bar, and so in no member
    "suspect": {"suspect"},
    "empty": {"empty", "missing"},
    "missing": {"missing"},
}  # fmt: skip
Facts = Mapping[int, Fact]


def facts(shift: Mapping[int, float | None] | None = None, **known: Iterable[int]) -> Facts:
    """Return the true days by state. ``shift`` maps revised days to their shift, or to None without a bar."""
    found = {}
    for state, days in known.items():
        for day in days:
            bare = None if state in ("empty", "answered") else 0.0
            found[day] = Fact((shift or {}).get(day, bare), state)
    return found


@dataclass(frozen=True)
class Scenario:
    """Commits, and the true days before the first and after each of them.

    Attributes:
        before: Commits made long ago.
        acts: Commits during which the power may fail.
        truth: True days before the first act and after each act.
        due: Number of the act, from 1, that sets when to query vendors again; None if none does.
        durable: Acts after which states that only metadata record are safe, too.
        kept: Texts that must be in the bars or in quarantine.
        kept_from: First act after which they must be there.
    """

    before: tuple[Commit, ...]
    acts: tuple[Commit, ...]
    truth: tuple[Facts, ...]
    durable: tuple[int, ...] = ()
    kept: tuple[str, ...] = ()
    due: int | None = None
    kept_from: int = 0


def bars_of(*days: int) -> Commit:
    return Commit(tuple(piece(day, day + 1) for day in days))


WITHDRAWN = "2024-01-03 00:00:00,100.2,"
SCENARIOS: dict[str, Scenario] = {
    "first file": Scenario(
        (),
        (Commit((piece(0, 5),), next_due=3),),
        (facts(), facts(final=range(5))),
        (1,),
        due=1,
    ),
    "append": Scenario(
        (Commit((piece(0, 5),)),),
        (Commit((piece(5, 7),), next_due=3),),
        (facts(final=range(5)), facts(final=range(7))),
        due=1,
    ),
    "append behind unsynced metadata": Scenario(
        (Commit((piece(0, 3),)),),
        (bars_of(3), Commit((piece(4, 6, state="provisional"),)), bars_of(6)),
        (
            facts(final=range(3)),
            facts(final=range(4)),
            facts(final=range(4), provisional=(4, 5)),
            facts(final=(0, 1, 2, 3, 6), provisional=(4, 5)),
        ),
    ),
    "hole": Scenario(
        (Commit((piece(0, 2), piece(5, 8))),),
        (Commit((piece(2, 5),)),),
        (facts(final=(0, 1, 5, 6, 7)), facts(final=range(8))),
        (1,),
    ),
    "revision": Scenario(
        (Commit((piece(0, 5),)),),
        (Commit((piece(1, 3, [1], shift=1.0),)), bars_of(5)),
        (
            facts(final=range(5)),
            facts({1: 1.0, 2: None}, final=range(5)),
            facts({1: 1.0, 2: None}, final=range(6)),
        ),
        (1,),
        (WITHDRAWN,),
    ),
    "compaction": Scenario(
        tuple(bars_of(n) for n in range(7)),
        (bars_of(7),),
        (facts(final=range(7)), facts(final=range(8))),
        (1,),
    ),
    "suspect": Scenario(
        (Commit((piece(0, 5),)),),
        (
            Commit(marks=(mark(1, 2, "suspect", reason="split"),), suspects=(BAD,)),
            bars_of(5),
            Commit((piece(3, 4, shift=1.0),)),
        ),
        (
            facts(final=range(5)),
            facts(final=(0, 2, 3, 4), suspect=(1,)),
            facts(final=(0, 2, 3, 4, 5), suspect=(1,)),
            facts({3: 1.0}, final=(0, 2, 3, 4, 5), suspect=(1,)),
        ),
        (1, 2, 3),
    ),
    "settled": Scenario(
        (Commit((piece(0, 5, state="provisional"),)),),
        (Commit((piece(5, 6),), (mark(0, 5, "final"),), next_due=3), bars_of(6)),
        (
            facts(provisional=range(5)),
            facts(settled=range(5), final=(5,)),
            facts(settled=range(5), final=(5, 6)),
        ),
        due=1,
    ),
    "withdrawn tail": Scenario(
        (Commit((piece(0, 4),)), bars_of(4)),
        (Commit((piece(4, 6, []),)), bars_of(6)),
        (
            facts(final=range(5)),
            facts(final=range(4), answered=(4, 5)),
            facts(final=(0, 1, 2, 3, 6), answered=(4, 5)),
        ),
        (1,),
        ("2024-01-05 00:00:00,100.4,",),
    ),
    "empty spans": Scenario(
        (Commit((piece(0, 3),)),),
        (Commit(marks=(mark(-400, 0, "empty"), mark(5, 9, "empty")), next_due=3), bars_of(3)),
        (
            facts(final=range(3)),
            facts(final=range(3), empty=(*range(-12, 0), *range(5, 9))),
            facts(final=range(4), empty=(*range(-12, 0), *range(5, 9))),
        ),
        due=1,
    ),
    "revision and doubt": Scenario(
        (Commit((piece(0, 5),)),),
        (Commit((piece(3, 4, shift=1.0),), (mark(1, 2, "suspect"),), next_due=3),),
        (facts(final=range(5)), facts({3: 1.0}, final=(0, 2, 3, 4), suspect=(1,))),
        (1,),
    ),
    "bad rows": Scenario(
        (Commit((piece(0, 5),)),),
        (Commit(suspects=(BAD,)), Commit(suspects=(BAD, BAD._replace(reason="odd")))),
        (facts(final=range(5)),) * 3,
        kept=(",high < low",),
        kept_from=1,
    ),
    "year border": Scenario(
        (Commit((piece(-5, 3),)),),
        (Commit((piece(-2, 6, shift=1.0),)),),
        (
            facts(final=range(-5, 3)),
            facts(dict.fromkeys(range(-2, 6), 1.0), final=range(-5, 6)),
        ),
        (1,),
    ),
}


# --- seeing ---------------------------------------------------------------------------------


@cache
def sent(day: int, shift: float) -> list[float]:
    """Return the values of a bar."""
    return [values[0] for values in table([day], shift).values()]


def seen(store: BarStore) -> dict[int, Fact]:
    """Return what a reader finds of each day; every bar must be a true one."""
    rows, coverage = store.read(DAILY, EVER)
    shown: dict[int, float | None] = {}
    for day, *one in zip(numbers(rows), *(v.tolist() for v in rows.values()), strict=True):
        shift = next((s for s in (0.0, 1.0) if one == sent(day, s)), None)
        if shift is None:
            raise Violation(f"day {day} is {one}, which nobody ever sent")
        shown[day] = shift
    found = {}
    for day in SLOTS:
        state = next((c.state for c in coverage if at(day) in c.span), "missing")
        found[day] = Fact(shown.pop(day, None), state)
    if shown:
        raise Violation(f"bars out of nowhere: {shown}")
    return found


def agrees(
    found: Facts, truth: Facts, days: Iterable[int] = SLOTS, *, strictly: bool = False
) -> bool:
    """Tell whether all of ``days`` were seen as they are, or, unless strictly, as less sure."""
    for day in days:
        one, true = found[day], truth.get(day, MISSING)
        best = "final" if true.state in ("settled", "answered") else true.state
        if one.shift != true.shift or one.state not in (
            {best} if strictly else SEEN_AS[true.state]
        ):
            return False
    return True


def check_levels(
    found: Facts, truth: tuple[Facts, ...], levels: range, when: str
) -> dict[int, int]:
    """Return for each year the last of ``levels`` with which it agrees; there must be one."""
    reached = {}
    for year, days in {2023: range(-12, 0), 2024: range(16)}.items():
        good = [n for n in levels if agrees(found, truth[n], days)]
        if not good:
            shown = {d: tuple(f) for d, f in found.items() if f != MISSING}
            raise Violation(f"{when}: {year} agrees with none of {list(levels)}: {shown}")
        reached[year] = good[-1]
    return reached


def contents(root: Path) -> dict[str, bytes]:
    """Return every file but locks."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def plain_rows(root: Path) -> list[int]:
    """Return the days in the files as any tool reads them."""
    days = []
    for path in sorted(lane_folder(root).glob("*.csv.gz")):
        rows = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode("ascii"))))
        assert rows[0] == ["timestamp", "open", "high", "low", "close", "volume"]
        days += [row[0] for row in rows[1:]]
    assert days == sorted(set(days))
    return [int(n) for n in (_days(days) if days else [])]


def _days(texts: list[str]) -> list[int]:
    return [(date.fromisoformat(text[:10]) - date(2024, 1, 1)).days for text in texts]


def check(root: Path, scenario: Scenario, state: State) -> None:
    """Open what is left as a new process does, and hold it against the truth.

    Raises:
        Violation: a promise is broken.
    """
    state.tree.put(root)
    truth = scenario.truth
    try:
        shown = seen(fresh(root))
        view = repaired(fresh(root), DAILY)
        found = seen(fresh(root))
        for reported, begun in state.promises:
            trusted = max((n for n in scenario.durable if n <= reported), default=0)
            before = check_levels(shown, truth, range(trusted, begun + 1), "at first sight")
            after = check_levels(found, truth, range(reported, begun + 1), "after repair")
            if any(after[year] < before[year] for year in before):
                raise Violation(f"time went back from {shown} to {found}")
        if view.next_due is not None and not any(
            agrees(found, later, strictly=True) for later in truth[scenario.due :]
        ):
            raise Violation("nothing is due, says a commit that was lost")
        if view != fresh(root).view(DAILY) or view.rows != sum(
            f.shift is not None for f in found.values()
        ):
            raise Violation("views differ")
        if max(reported for reported, _ in state.promises) >= scenario.kept_from:
            check_kept(root, scenario)
        once = contents(root)
        repaired(fresh(root), DAILY)
        if contents(root) != once:
            raise Violation("repairing twice is not repairing once")
        fresh(root).commit(DAILY, Commit((LATER,)))
        after = seen(fresh(root))
        due = dict(found) | {day: Fact(0.0, "final") for day in (12, 13)}
        if after != due:
            raise Violation(f"the next commit: {after}")
        if plain_rows(root) != [day for day, fact in after.items() if fact.shift is not None]:
            raise Violation("other tools see something else")
        if not no_temps(root):
            raise Violation("temporary files are left")
    except (DataError, EOFError, gzip.BadGzipFile) as error:
        raise Violation(f"behind step {state.step}: {error!r}") from error


def check_kept(root: Path, scenario: Scenario) -> None:
    """Check that withdrawn bars are in quarantine unless they are still stored."""
    folder = lane_folder(root)
    files = [*folder.glob("*.csv.gz"), *folder.glob("_quarantine/*.rows.csv.gz")]
    for text in scenario.kept:
        if not any(text in gzip.decompress(path.read_bytes()).decode() for path in files):
            raise Violation(f"{text} is nowhere")


def fresh(root: Path) -> BarStore:
    return store_in(root, Quick())


# --- running --------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of repairs would write as many warnings."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def prepared(root: Path, scenario: Scenario) -> Platter:
    root.mkdir()
    for commit in scenario.before:
        fresh(root).commit(DAILY, commit)
    return Platter(root)


def played(root: Path, scenario: Scenario, disk: Recorder) -> Platter:
    """Run the scenario on ``disk`` and return the disk as it was before."""
    before = prepared(root, scenario)
    play(store_in(root, disk), scenario, disk)
    return before


def play(store: BarStore, scenario: Scenario, disk: Recorder) -> None:
    for level, commit in enumerate(scenario.acts, 1):
        disk.events.append(Promise("begun", level))
        store.commit(DAILY, commit)
        disk.events.append(Promise("told", level))


def fail_everywhere(
    tmp_path: Path, scenario: Scenario, before: Platter, disk: Recorder, start: int = 0,
    most: int = 0, keeps: bytes = b"", every: int = 1,
) -> int:  # fmt: skip
    """Let the power fail behind each step from ``start`` on; return the number of states.

    Args:
        tmp_path, scenario: where and what.
        before, disk: the disk at first, and what was done to it.
        start: the first step.
        most: states of one instant.
        keeps: bytes that must be found in some file, always.
        every: of so many states one is checked.
    """
    found = states(before, disk.events, most or MOST, start)
    for state in found[::every]:
        check(tmp_path / "left", scenario, state)
        files = (path for path in (tmp_path / "left").rglob("*") if path.is_file())
        if keeps and not any(keeps in path.read_bytes() for path in files):
            raise Violation(f"behind step {state.step}: what was there is thrown away")
    return len(found)


def survive(tmp_path: Path, name: str, disk: Recorder | None = None, most: int = 0) -> int:
    """Run a scenario and let the power fail everywhere."""
    scenario, disk = SCENARIOS[name], disk or Recorder()
    before = played(tmp_path / "live", scenario, disk)
    return fail_everywhere(tmp_path, scenario, before, disk, most=most, every=EVERY)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_power_failure_at_any_time_loses_no_acknowledged_bar(tmp_path: Path, name: str) -> None:
    assert survive(tmp_path, name) >= 10


def test_a_power_failure_during_a_rewrite_keeps_a_bar_suspect(tmp_path: Path) -> None:
    """Of twelve states of one moment, one shows a document that is on disk before its data."""
    assert survive(tmp_path, "revision and doubt", most=12) >= 10


@pytest.mark.parametrize("metadata", [None, b""])
def test_a_generation_is_never_used_twice(tmp_path: Path, metadata: bytes | None) -> None:
    """Of the last commit only ``series.json`` survived, which is written last."""
    fresh(tmp_path).commit(DAILY, Commit((piece(0, 3, state="provisional"),)))
    fresh(tmp_path).commit(DAILY, Commit(marks=(mark(0, 3, "final"),), next_due=3))
    folder = lane_folder(tmp_path)
    (folder / "2024.log").unlink()
    (folder / "2024.metadata.json").unlink()
    if metadata is not None:
        (folder / "2024.metadata.json").write_bytes(metadata)
    view = repaired(fresh(tmp_path), DAILY)
    assert [c.state for c in view.coverage] == ["provisional"]
    assert (view.generation, view.next_due) == (3, None)


# --- first killed, then the power fails -----------------------------------------------------


def after_a_kill(
    tmp_path: Path, name: str, dies_in: int, then: Callable[[BarStore, Commit], int],
    forgets: Callable[[DiskStep], bool] = lambda step: False, most: int = 0,
) -> None:  # fmt: skip
    """Kill the first act, let another process do something, and then let the power fail.

    Args:
        tmp_path: where.
        name: the scenario.
        dies_in: calls that the writer makes before it is killed.
        then: what the other process does; returns the level it was shown.
        forgets: syncs to leave out.
    """
    whole = SCENARIOS[name]
    # Marks that only metadata hold may be lost again: showing them promised nothing.
    scenario = replace(whole, acts=whole.acts[:1], truth=whole.truth[:2], durable=())
    disk = Recorder(forgets)
    before = prepared(tmp_path / f"live{dies_in}", scenario)
    disk.events.append(Promise("begun", 1))
    disk.dies_in = dies_in
    with pytest.raises(Killed):
        store_in(tmp_path / f"live{dies_in}", disk).commit(DAILY, scenario.acts[0])
    disk.dies_in, step = None, len(disk.events)
    shown = then(store_in(tmp_path / f"live{dies_in}", disk), scenario.acts[0])
    disk.events.append(Promise("told", shown))
    fail_everywhere(tmp_path, scenario, before, disk, step, most)


def repairs_and_reads(name: str) -> Callable[[BarStore, Commit], int]:
    def then(store: BarStore, commit: Commit) -> int:
        repaired(store, DAILY)
        return check_levels(seen(store), SCENARIOS[name].truth, range(2), "to a reader")[2024]

    return then


def commits_again(store: BarStore, commit: Commit) -> int:
    store.commit(DAILY, commit)
    return 1


def kills(tmp_path: Path, name: str) -> list[int]:
    """Return before which calls of the first act to kill it: also after an append wrote its bars."""
    scenario, disk = SCENARIOS[name], Recorder()
    played(tmp_path / "whole", replace(scenario, acts=scenario.acts[:1]), disk)
    return sorted({1, *some(range(len(disk.disk_calls())), KILLS)})


@pytest.mark.parametrize("name", ["first file", "append", "revision", "compaction"])
def test_bars_that_were_read_after_a_kill_survive_a_crash(tmp_path: Path, name: str) -> None:
    for dies_in in kills(tmp_path, name):
        after_a_kill(tmp_path, name, dies_in, repairs_and_reads(name), most=12 if FULL else MOST)


@pytest.mark.parametrize("name", ["first file", "revision", "bad rows"])
def test_a_commit_after_a_kill_survives_a_crash(tmp_path: Path, name: str) -> None:
    for dies_in in kills(tmp_path, name):
        after_a_kill(tmp_path, name, dies_in, commits_again, most=12 if FULL else 3)


# --- files of older tools -------------------------------------------------------------------


OLDER = {"beside ours": "ohlcv/AAPL/1d", "in the flat layout": "AAPL/1d"}


def older(root: Path, folder: str) -> None:
    """Write the bars 0 to 4 as another tool did."""
    rows = table(range(5))
    lines = ["timestamp,open,high,low,close,volume"]
    for place in range(5):
        values = ",".join(repr(float(v[place])) for v in rows.values())
        lines.append(f"2024-01-{place + 1:02d},{values}")
    (root / folder).mkdir(parents=True)
    (root / folder / "2024.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode() + b"\n"))
    (root / folder / "2024.metadata.json").write_text('{"data_source": "acme", "year": 2024}')


def take_over(tmp_path: Path, place: str, forgets: Callable[[DiskStep], bool]) -> int:
    root, disk = tmp_path / "live", Recorder(forgets)
    scenario = Scenario(
        (), (Commit((piece(4, 7),)), bars_of(7)),
        (facts(final=range(4)), facts(final=range(7)), facts(final=range(8))),
    )  # fmt: skip
    older(root, OLDER[place])
    before = Platter(root)
    store = store_in(root, disk)
    play(store, scenario, disk)
    content = (root / "ohlcv/AAPL/1d/_legacy/2024.csv.gz").read_bytes()
    return fail_everywhere(tmp_path, scenario, before, disk, keeps=content, every=EVERY)


@pytest.mark.parametrize("place", OLDER)
def test_a_power_failure_during_the_adoption_of_an_older_file_loses_no_bar(
    tmp_path: Path, place: str
) -> None:
    assert take_over(tmp_path, place, lambda step: False) > 10


def test_a_power_failure_during_a_conversion_leaves_no_document_without_bars(
    tmp_path: Path,
) -> None:
    """The document alone would hide the older tool's file in its old folder."""
    root, disk = tmp_path / "live", Recorder()
    older(root, OLDER["in the flat layout"])
    before = Platter(root)
    assert store_in(root, disk).view(DAILY).rows == 4
    for state in states(before, disk.events, 1000):
        state.tree.put(tmp_path / "left")
        rows, _ = store_in(tmp_path / "left").read(DAILY, EVER)
        assert numbers(rows) == [0, 1, 2, 3], f"after step {state.step}"


def test_an_older_tools_file_is_kept_before_it_is_replaced(tmp_path: Path) -> None:
    with pytest.raises(Violation):
        take_over(tmp_path, "in the flat layout", syncs("fsync_dir", "1d/_legacy"))


# --- actions --------------------------------------------------------------------------------


SPLIT = Action(date(2020, 8, 31), "split", at(0), 4.0, 1.0)
DIVIDEND = Action(date(2021, 2, 5), "dividend", at(1), amount=0.2)


def told_actions(store: BarStore, *actions: Action) -> None:
    store.add_actions("AAPL", actions, EVER, "acme", at(9))


def check_actions(root: Path, state: State, truth: tuple[set[date], ...]) -> None:
    state.tree.put(root)
    try:
        found = {action.ex_date for action in fresh(root).actions("AAPL").actions}
        for reported, begun in state.promises:
            if found not in truth[reported : begun + 1]:
                raise Violation(f"behind step {state.step}: {found}")
        told_actions(fresh(root), SPLIT, DIVIDEND)
        if len(fresh(root).actions("AAPL").actions) != 2 or not no_temps(root):
            raise Violation("the next answer is not kept, or temporary files are")
    except DataError as error:
        raise Violation(f"behind step {state.step}: {error!r}") from error


def survive_actions(
    tmp_path: Path, forgets: Callable[[DiskStep], bool], dies_in: int | None
) -> None:
    root, disk = tmp_path / f"live{dies_in}", Recorder(forgets)
    root.mkdir()
    before = Platter(root)
    disk.events.append(Promise("begun", 1))
    if dies_in is not None:
        disk.dies_in = dies_in
        with pytest.raises(Killed):
            told_actions(store_in(root, disk), SPLIT)
        disk.dies_in = None
    told_actions(store_in(root, disk), SPLIT)
    disk.events += [Promise("told", 1), Promise("begun", 2)]
    told_actions(store_in(root, disk), DIVIDEND)
    disk.events.append(Promise("told", 2))
    days = (SPLIT.ex_date, DIVIDEND.ex_date)
    for state in states(before, disk.events, MOST):
        check_actions(tmp_path / "left", state, tuple(set(days[:n]) for n in range(3)))


@pytest.mark.parametrize("dies_in", [None, *range(9)])
def test_acknowledged_actions_survive_a_power_failure(tmp_path: Path, dies_in: int | None) -> None:
    survive_actions(tmp_path, lambda step: False, dies_in)


@pytest.mark.parametrize("forgets", [
    lambda step: step.name == "fsync", lambda step: step.name == "fsync_dir" and step.path.name == "AAPL",
])  # fmt: skip
def test_actions_are_lost_without_a_sync(
    tmp_path: Path, forgets: Callable[[DiskStep], bool]
) -> None:
    with pytest.raises(Violation):
        survive_actions(tmp_path, forgets, None)


# --- the power fails while damage is repaired -----------------------------------------------


@dataclass(frozen=True)
class Damage:
    """A file that is not as it was written: what is cut off or bent, and what can be saved."""

    bend: Callable[[bytes], bytes]
    left: Facts
    lost: Callable[[bytes], bytes]


THREE = (Commit((piece(0, 2),)), Commit((piece(2, 4, vendor="b"),)), Commit((piece(4, 6),)))
DAMAGES = {
    "torn tail": Damage(
        lambda data: data + b"torn" * 40, facts(final=range(6)), lambda bent: bent[-160:]
    ),
    "bad member": Damage(
        lambda data: data[:60] + b"\0" + data[61:], facts(final=range(2, 6)), lambda bent: bent
    ),
    "bad last member": Damage(
        lambda data: data[:-60] + b"\0" + data[-59:], facts(final=range(4)), lambda bent: bent
    ),
}  # fmt: skip


def repair_and_fail(tmp_path: Path, what: str, forgets: Callable[[DiskStep], bool]) -> int:
    damage, root = DAMAGES[what], tmp_path / "live"
    scenario = Scenario(THREE, (), (damage.left, damage.left))
    prepared(root, scenario)
    data = lane_folder(root) / "2024.csv.gz"
    bent = damage.bend(data.read_bytes())
    data.write_bytes(bent)
    before, disk = Platter(root), Recorder(forgets)
    repaired(store_in(root, disk), DAILY)
    return fail_everywhere(tmp_path, scenario, before, disk, keeps=damage.lost(bent), every=EVERY)


@pytest.mark.parametrize("what", DAMAGES)
def test_an_interrupted_repair_can_be_completed(tmp_path: Path, what: str) -> None:
    assert repair_and_fail(tmp_path, what, lambda step: False) > 10


# --- what each precaution is good for -------------------------------------------------------


def syncs(name: str, text: str) -> Callable[[DiskStep], bool]:
    """Return which syncs to leave out: of this name, on paths whose last parts hold ``text``."""
    return lambda step: step.name == name and text in "/".join(step.path.parts[-3:])


SYNCS = {
    "bars of an append": ("append", syncs("fdatasync", "2024.csv.gz")),
    "bars of a rewrite": ("hole", syncs("fsync", ".2024.csv.gz.")),
    "metadata that take trust away": ("suspect", syncs("fsync", ".metadata.json.")),
    "the name of such metadata": ("suspect", syncs("fsync_dir", "AAPL/1d")),
    "names in a rewrite": ("revision and doubt", syncs("fsync_dir", "AAPL/1d")),
    "names of a first file": ("first file", syncs("fsync_dir", "AAPL/1d")),
    "folders of a first file": ("first file", lambda s: s.name == "fsync_dir" and s.path.name != "1d"),
    "withdrawn bars": ("revision", syncs("fsync", ".2024.rows.csv.gz.")),
    "the name of withdrawn bars": ("revision", syncs("fsync_dir", "_quarantine")),
}  # fmt: skip


@pytest.mark.parametrize("what", SYNCS)
def test_each_sync_is_needed(tmp_path: Path, what: str) -> None:
    name, forgets = SYNCS[what]
    with pytest.raises(Violation):
        survive(tmp_path, name, Recorder(forgets))


def test_recovery_serves_no_bars_before_their_fsync(tmp_path: Path) -> None:
    forgets = syncs("fsync", "1d/2024.csv.gz")
    with pytest.raises(Violation):
        after_a_kill(tmp_path, "append", 1, repairs_and_reads("append"), forgets)


def test_folders_that_a_killed_writer_made_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of_them(root: Path) -> None:
        root.mkdir()
        for dies_in in range(12) if FULL else (0, 6):
            after_a_kill(root, "first file", dies_in, commits_again, most=MOST)

    all_of_them(tmp_path / "with")
    monkeypatch.setattr(LaneFiles, "make_folders_durable", lambda self: None)
    with pytest.raises(Violation):
        all_of_them(tmp_path / "without")


@pytest.mark.parametrize("what, text", [
    ("torn tail", "_quarantine/.2024."), ("torn tail", "1d/_quarantine"), ("bad member", "1d/_quarantine"),
])  # fmt: skip
def test_bad_bytes_are_quarantined_before_they_are_removed(
    tmp_path: Path, what: str, text: str
) -> None:
    with pytest.raises(Violation):
        repair_and_fail(
            tmp_path, what, lambda s: syncs("fsync", text)(s) or syncs("fsync_dir", text)(s)
        )


Rewrite = Callable[..., YearMeta]


def in_place(lane: LaneFiles, year: int, *, members: list[Member], state: YearState, meta: YearMeta,
             keep_version: bool) -> YearMeta:  # fmt: skip
    data = lane.paths.data(year)
    handle = lane.disk.create(data) if lane.disk.stat(data) is None else lane.disk.open_write(data)
    lane.disk.truncate(handle, 0)
    lane.disk.write(handle, b"".join(m.raw for m in members), 0)
    lane.disk.sync(handle)
    lane.disk.close(handle)
    return _final(lane, year, meta.committed(state))


def without_pending(lane: LaneFiles, year: int, *, members: list[Member], state: YearState,
                    meta: YearMeta, keep_version: bool) -> YearMeta:  # fmt: skip
    data = lane.paths.data(year)
    write_atomically(lane.disk, data, b"".join(m.raw for m in members))
    return _final(lane, year, meta.committed(state))


def metadata_first(lane: LaneFiles, year: int, *, members: list[Member], state: YearState,
                   meta: YearMeta, keep_version: bool) -> YearMeta:  # fmt: skip
    _final(lane, year, meta.committed(state))
    data = lane.paths.data(year)
    write_atomically(lane.disk, data, b"".join(m.raw for m in members))
    return meta.committed(state)


def data_before_pending(lane: LaneFiles, year: int, *, members: list[Member], state: YearState,
                        meta: YearMeta, keep_version: bool) -> YearMeta:  # fmt: skip
    data = lane.paths.data(year)
    write_atomically(lane.disk, data, b"".join(m.raw for m in members))
    lane.write_meta(year, meta.replaced(pending=state), durable=True)
    return _final(lane, year, meta.committed(state))


def _final(lane: LaneFiles, year: int, meta: YearMeta) -> YearMeta:
    lane.write_meta(year, meta, durable=True)
    return meta


@pytest.mark.parametrize("worse", [in_place, without_pending, metadata_first, data_before_pending])
def test_each_other_order_of_a_rewrite_breaks_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worse: Rewrite
) -> None:
    monkeypatch.setattr(year_commit, "rewrite", worse)
    with pytest.raises(Violation):
        survive(tmp_path, "revision and doubt")


class _AnyGeneration(int):
    """A generation that is taken for any other."""

    def __eq__(self, other: object) -> bool:
        return True

    __hash__ = int.__hash__


def _documents_of_any_time(
    self: LaneFiles, years: list[int], *, has_series: bool = True,
    documents: Callable[..., Any] = LaneFiles.documents,
) -> Any:  # fmt: skip
    """Give a ``next_due`` that was written with other years, too."""
    states, series = documents(self, years, has_series=has_series)
    if series is not None:
        series = replace(series, years_generation=_AnyGeneration(series.years_generation))
    return states, series


@pytest.mark.parametrize("owner, name, worse, scenario", [
    (LaneFiles, "sweep", lambda self: self.disk.list(self.paths.folder), "hole"),
    (Disk, "truncate", lambda *_: None, "append"),
    (LaneFiles, "documents", _documents_of_any_time, "empty spans"),
    (year_commit, "takes_trust", lambda before, after: False, "suspect"),
])  # fmt: skip
def test_with_a_guard_removed_a_power_failure_breaks_a_promise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: object, name: str,
    worse: Callable[..., object], scenario: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(owner, name, worse)
    with pytest.raises(Violation):
        survive(tmp_path, scenario)
