"""Tests flipped bits and files that are cut, padded, emptied or swapped: an answer is correct or missing.

Damage is found by digests, never by chance. Undamaged bars are kept, lost bars are missing from the
coverage so that they are requested again, and damaged bytes are quarantined.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from src.data.core.cache import actions
from src.data.core.cache import lane_files as lanes
from src.data.core.cache.actions import ActionBook, load_book
from src.data.core.cache.format import json_document
from src.data.core.cache.format.documents import SeriesMeta, YearMeta, load_meta, load_series
from src.data.core.cache.format.gzip_member import Header, Member, build, file_id, verify, walk
from src.data.core.cache.format.json_document import DamagedError
from src.data.core.cache.read import year_file
from src.data.core.cache.recovery import recover
from src.data.core.cache.recovery import recover as salvages
from src.data.core.cache.store import BarStore, Commit, SeriesView
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BarTable
from src.data.core.model.stored.coverage import Coverage
from src.data.core.model.time.timeframe import Timeframe
from src.data.core.model.words.canonical import canonical
from src.data.errors import CorruptEntryError
from tests.core.cache.bars import (  # fmt: skip
    DAILY,
    EVER,
    at,
    days,
    mark,
    no_temps,
    numbers,
    piece,
    repaired,
    same,
    store_in,
    table,
)
from tests.core.cache.counts import FULL, some
from tests.core.cache.crash import Quick
from tests.core.cache.disks import RecordingDisk

DATA, META, SERIES = "2024.csv.gz", "2024.metadata.json", "series.json"
OTHER = SeriesKey("MSFT", Timeframe(1, "d"))
RAW = SeriesKey("AAPL", Timeframe(1, "d"), ("raw",))
SLOTS = range(-800, 40)
# All that is stored of a series differs from that of the others: prices by this, empties by days.
SHIFTS = {DAILY: 0.0, OTHER: 20.0, RAW: 30.0}
SPLIT = Action(date(2020, 8, 31), "split", at(0), 4.0, 1.0, fetched_at=1, source="acme")
# Days of 2024 by the member that holds them.
MEMBERS = ((0, 1, 2, 3), (4,), (5,), (6, 7, 9))
Edit = Callable[[bytes], bytes]


class Fact(NamedTuple):
    """What is true of a day: the bar's shift (None: no bar), and what is known about it."""

    shift: float | None
    state: str


@cache
def truth_of(key: SeriesKey) -> Mapping[int, Fact]:
    """Return what is true of every day of a series, written down by hand; 8 is a hole."""
    shift = SHIFTS[key]
    day = int(shift)
    found = dict.fromkeys(SLOTS, Fact(None, "missing"))
    found |= dict.fromkeys(range(-790 + day, -780 + day), Fact(None, "empty"))  # in series.json
    found |= dict.fromkeys(range(-730 + day, -725 + day), Fact(None, "final"))  # no bars in 2022
    found |= dict.fromkeys(range(-725 + day, -720 + day), Fact(None, "empty"))
    found |= dict.fromkeys(range(-10, -7), Fact(shift + 5, "final"))
    found |= dict.fromkeys((0, 2, 3, 4, 7, 9), Fact(shift, "final"))
    found |= {1: Fact(shift, "suspect"), 5: Fact(shift, "provisional"), 6: Fact(None, "final")}
    return found | {10: Fact(None, "empty"), 11: Fact(None, "empty")}


def commits_of(key: SeriesKey) -> list[Commit]:
    shift = SHIFTS[key]
    day = int(shift)
    late = piece(6, 10, [7, 9], shift=shift, holes=(days(8, 9),))
    return [
        Commit((piece(-10, -7, shift=shift + 5), piece(-730 + day, -725 + day, []))),
        Commit((piece(0, 4, shift=shift),)),
        Commit((piece(4, 5, shift=shift, vendor="other"),)),
        Commit((piece(5, 6, shift=shift, state="provisional"),)),
        Commit((late,)),
        Commit(marks=(mark(1, 2, "suspect"),)),
        Commit(marks=(mark(10, 12, "empty"), mark(-725 + day, -720 + day, "empty"))),
        Commit(marks=(mark(-790 + day, -780 + day, "empty"),), next_due=at(13)),
    ]


def folder_of(root: Path, key: SeriesKey = DAILY) -> Path:
    return root / "ohlcv" / key.symbol / key.folder


def fresh(root: Path) -> BarStore:
    return store_in(root, Quick())


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of three series, as it was written; never to be changed."""
    root = tmp_path_factory.mktemp("sound")
    for key in SHIFTS:
        for commit in commits_of(key):
            fresh(root).commit(key, commit)
        assert judge(root, key) == set()
        assert (folder_of(root, key) / "2022.metadata.json").exists()
        assert not (folder_of(root, key) / "2022.csv.gz").exists()
    for symbol in ("AAPL", "MSFT"):
        fresh(root).add_actions(symbol, (SPLIT,), EVER, "acme", at(9))
    return root


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging during each test."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def judge(root: Path, key: SeriesKey = DAILY, *, doubts_lost: bool = False) -> set[int]:
    """Read a series as a new process does; return the days of which something is lost.

    Raises:
        AssertionError: an answer is wrong, or more is claimed than is known.
    """
    foreseen = previewed(root, key)
    rows, coverage = fresh(root).read(key, EVER)
    assert fresh(root).view(key).coverage == coverage
    assert same(foreseen[0], rows), "a plan predicts other bars than a repair leaves"
    view = fresh(root).view(key)
    assert view.generation >= foreseen[2].generation, "a repair gives the series a later one"
    assert foreseen[1:] == (coverage, replace(view, generation=foreseen[2].generation))
    shown = dict(zip(numbers(rows), range(len(rows)), strict=True))
    assert set(shown) <= set(SLOTS)
    lost = set()
    for day, true in truth_of(key).items():
        state = next((c.state for c in coverage if at(day) in c.span), "missing")
        if day in shown:
            assert true.shift is not None, f"{day}: a bar that never was"
            right = table([day], true.shift)
            here = [values[shown[day]] for values in rows.values()]
            assert here == [values[0] for values in right.values()], f"{day}: a wrong bar"
            assert state != "missing", f"{day}: a bar that nobody answers for"
        elif state != "missing":
            assert true.shift is None, f"{day}: {state}, and the bar is not there"
        assert state in _may_be(true.state, doubts_lost), f"{day}: {state}, but is {true.state}"
        if state != true.state:
            lost.add(day)
    return lost


def previewed(root: Path, key: SeriesKey) -> tuple[BarTable, Coverage, SeriesView]:
    """Return the bars that a plan reads from a series, without a repair."""
    disk = RecordingDisk()
    shown = store_in(root, disk).preview()
    rows, coverage = shown.read(key, EVER)
    assert not disk.names()
    return rows, coverage, shown.view(key)


def _may_be(state: str, doubts_lost: bool) -> set[str]:
    if state == "suspect" and doubts_lost:
        return {"suspect", "final", "missing"}
    return {state, "missing"}


def damaged(sound: Path, tmp_path: Path, name: str, edit: Edit, key: SeriesKey = DAILY) -> Path:
    """Return a copy of the cache in which one file of a series is bent."""
    root = tmp_path / "cache"
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(folder_of(sound, key), folder_of(root, key))
    path = folder_of(root, key) / name
    path.write_bytes(edit(path.read_bytes()))
    return root


def kept(root: Path, content: bytes, key: SeriesKey = DAILY) -> bool:
    """Tell whether these bytes are in quarantine."""
    return any(p.read_bytes() == content for p in folder_of(root, key).glob("_quarantine/*"))


def heal(root: Path, lost: set[int]) -> None:
    """Ask again for what is missing, as a caller does, and find everything there."""
    for commit in commits_of(DAILY):
        fresh(root).commit(DAILY, commit)
    assert judge(root) == set()
    assert no_temps(root)


def layout(data: bytes) -> list[tuple[int, Member]]:
    return list(walk(data, file_id(DAILY, 2024)))


def held_by(place: int) -> set[int]:
    return set(MEMBERS[place])


def flip(position: int, bit: int) -> Edit:
    return lambda data: data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


# --- flipped bits ---------------------------------------------------------------------------


def classes(data: bytes) -> dict[str, list[int]]:
    """Return the bytes of a year file by what they are, in all its members."""
    found: dict[str, list[int]] = {}
    for at_, member in layout(data):
        edges = {
            "magic": (0, 10), "extra length": (10, 12), "field id": (12, 14),
            "field length": (14, 16), "size": (16, 20), "digest": (20, 52),
            "facts": (52, member.body_at), "bars": (member.body_at, len(member.raw) - 8),
            "checksum": (len(member.raw) - 8, len(member.raw) - 4),
            "length": (len(member.raw) - 4, len(member.raw)),
        }  # fmt: skip
        for name, (start, end) in edges.items():
            found.setdefault(name, []).extend(range(at_ + start, at_ + end))
    assert sorted(p for places in found.values() for p in places) == list(range(len(data)))
    return found


def test_every_flipped_bit_of_the_bars_is_detected(sound: Path) -> None:
    """All of them, straight at the verification: a flip costs its member and no other."""
    data = (folder_of(sound) / DATA).read_bytes()
    identity = file_id(DAILY, 2024)
    whole = layout(data)
    ends = [at_ + len(m.raw) for at_, m in whole]
    for position in range(0, len(data), 1 if FULL else 3):
        place = next(n for n, end in enumerate(ends) if position < end)
        for bit in range(8) if FULL else (position % 8,):
            bent = flip(position, bit)(data)
            seen = [member.digest for _, member in walk(bent, identity)]
            assert seen == [member.digest for _, member in whole[:place]]


@pytest.mark.parametrize("name", [
    "magic", "extra length", "field id", "field length", "size", "digest", "facts", "bars",
    "checksum", "length",
])  # fmt: skip
def test_a_flipped_bit_loses_only_its_own_member(sound: Path, tmp_path: Path, name: str) -> None:
    data = (folder_of(sound) / DATA).read_bytes()
    ends = [at_ + len(m.raw) for at_, m in layout(data)]
    for position in some(classes(data)[name], 3):
        place = next(n for n, end in enumerate(ends) if position < end)
        root = damaged(sound, tmp_path, DATA, flip(position, position % 8))
        bent = (folder_of(root) / DATA).read_bytes()
        assert judge(root) == held_by(place), position
        assert kept(root, bent)
        assert judge(root) == held_by(place), "the second reader reads other bars"
    heal(root, held_by(place))


@pytest.mark.parametrize("lost", [[META], [META, "2024.log", SERIES]])
def test_a_flipped_bit_without_metadata_loses_only_its_own_member(
    sound: Path, tmp_path: Path, lost: list[str]
) -> None:
    data = (folder_of(sound) / DATA).read_bytes()
    ends = [at_ + len(m.raw) for at_, m in layout(data)]
    for position in some(range(len(data)), 5):
        place = next(n for n, end in enumerate(ends) if position < end)
        root = damaged(sound, tmp_path, DATA, flip(position, position % 8))
        for name in lost:
            (folder_of(root) / name).unlink()
        gone = judge(root, doubts_lost=True)
        assert held_by(place) - {1} <= gone
        assert not gone & {n for p, ns in enumerate(MEMBERS) for n in ns if p != place} - {1}


def test_a_flipped_bit_in_one_of_twenty_members_loses_only_its_bars(tmp_path: Path) -> None:
    store = fresh(tmp_path)
    for n in range(20):
        store.commit(DAILY, Commit((piece(n, n + 1, vendor=f"v{n % 2}"),)))
    path = folder_of(tmp_path) / DATA
    data = path.read_bytes()
    found = layout(data)
    assert len(found) == 20
    at_, tenth = found[10]
    path.write_bytes(flip(at_ + tenth.body_at + 9, 3)(data))
    rows, coverage = fresh(tmp_path).read(DAILY, EVER)
    assert numbers(rows) == [n for n in range(20) if n != 10]
    assert [at(10) in c.span for c in coverage].count(True) == 0
    assert len(layout(path.read_bytes())) == 19
    kept_bodies = [m.raw[m.body_at :] for _, m in layout(path.read_bytes())]
    assert kept_bodies == [m.raw[m.body_at :] for _, m in found if m is not tenth]


DOCUMENTS: dict[str, Callable[[bytes], object]] = {
    META: lambda data: load_meta(data, file_id(DAILY, 2024)),
    "2022.metadata.json": lambda data: load_meta(data, file_id(DAILY, 2022)),
    SERIES: lambda data: load_series(data, DAILY),
    "../actions.json": lambda data: load_book(data, "AAPL"),
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flipped_bit_of_a_document_is_detected(sound: Path, name: str) -> None:
    """A document is read exactly as written, or counts as lost."""
    data = (folder_of(sound) / name).read_bytes()
    load = DOCUMENTS[name]
    true, lost = load(data), 0
    for position in range(len(data)):
        for bit in range(8) if FULL else (position % 8,):
            try:
                assert load(flip(position, bit)(data)) == true, (position, bit)
            except DamagedError:
                lost += 1
    assert lost > len(data) * 0.9


@pytest.mark.parametrize("name", [META, "2022.metadata.json", SERIES])
def test_a_flipped_bit_of_a_document_loses_no_bar(sound: Path, tmp_path: Path, name: str) -> None:
    size = (folder_of(sound) / name).stat().st_size
    bars = {day for day, fact in truth_of(DAILY).items() if fact.shift is not None}
    for position in some(range(size), 6):
        root = damaged(sound, tmp_path, name, flip(position, position % 8))
        assert not judge(root, doubts_lost=True) & bars - {1}
    heal(root, set())


def test_damaged_actions_are_refused_until_they_are_fetched_again(
    sound: Path, tmp_path: Path
) -> None:
    data = (sound / "ohlcv/AAPL/actions.json").read_bytes()
    path = tmp_path / "ohlcv/AAPL/actions.json"
    path.parent.mkdir(parents=True)
    edits = [flip(n, n % 8) for n in some(range(len(data) - 1), 4)]
    edits += [lambda data, n=n: data[:n] for n in some(range(len(data) - 2), 4)]
    for edit in [*edits, lambda data: bytes(len(data)), lambda data: data + b"x"]:
        path.write_bytes(edit(data))
        with pytest.raises(CorruptEntryError, match="AAPL"):
            fresh(tmp_path).actions("AAPL")
        fresh(tmp_path).add_actions("AAPL", (SPLIT,), EVER, "acme", at(9))
        assert fresh(tmp_path).actions("AAPL").splits == (SPLIT,)
        assert any(p.read_bytes() == edit(data) for p in path.parent.glob("_quarantine/*"))


# --- lengths --------------------------------------------------------------------------------


def lengths(size: int, ends: list[int]) -> list[int]:
    """Return to which lengths to cut: at and around the borders, and some between."""
    near = {n + m for n in [0, *ends] for m in ((-9, -1, 0, 1, 20, 60) if FULL else (-1, 20))}
    return sorted({*some(range(size), 4), *(n for n in near if 0 <= n < size)})


@pytest.mark.parametrize("lost", [[], [META]])
def test_a_year_file_truncated_anywhere_loses_only_the_bars_that_are_cut_off(
    sound: Path, tmp_path: Path, lost: list[str]
) -> None:
    data = (folder_of(sound) / DATA).read_bytes()
    ends = [at_ + len(m.raw) for at_, m in layout(data)]
    for size in lengths(len(data), ends):
        root = damaged(sound, tmp_path, DATA, lambda data, size=size: data[:size])
        for name in lost:
            (folder_of(root) / name).unlink()
        gone = judge(root, doubts_lost=bool(lost))
        for place, end in enumerate(ends):
            assert (held_by(place) - {1} <= gone) is (end > size), (size, place)
        assert size in (0, *ends) or lost or kept(root, data[:size]), size
    heal(root, gone)


@pytest.mark.parametrize("name", [META, "2022.metadata.json", SERIES])
def test_a_document_truncated_anywhere_loses_no_bar(sound: Path, tmp_path: Path, name: str) -> None:
    size = (folder_of(sound) / name).stat().st_size
    bars = {day for day, fact in truth_of(DAILY).items() if fact.shift is not None}
    for end in some(range(size - 1), 5):
        root = damaged(sound, tmp_path, name, lambda data, end=end: data[:end])
        assert not judge(root, doubts_lost=True) & bars - {1}


GARBAGE: dict[str, Edit] = {
    "one zero": lambda data: b"\0",
    "a page of zeros": lambda data: bytes(4096),
    "noise": lambda data: bytes(n * 7 % 256 for n in range(300)),
    "itself": lambda data: data,
    "its last member": lambda data: layout(data)[-1][1].raw,
    "half a member": lambda data: layout(data)[1][1].raw[:-30],
    "a foreign gzip member": lambda data: gzip.compress(b"2024-02-01 00:00:00,1,1,1,1,1\n"),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_after_the_last_member_is_quarantined_and_no_bar_is_lost(
    sound: Path, tmp_path: Path, what: str
) -> None:
    data = (folder_of(sound) / DATA).read_bytes()
    tail = GARBAGE[what](data)
    root = damaged(sound, tmp_path, DATA, lambda data: data + tail)
    assert judge(root) == set()
    repaired(fresh(root), DAILY)
    assert judge(root) == set()
    assert (folder_of(root) / DATA).read_bytes() == data
    assert kept(root, tail) or kept(root, data + tail)


@pytest.mark.parametrize("block", [64, 512])
def test_a_block_of_zeros_loses_only_the_members_it_overwrites(
    sound: Path, tmp_path: Path, block: int
) -> None:
    data = (folder_of(sound) / DATA).read_bytes()
    found = layout(data)
    for start in range(0, len(data), block) if FULL else some(range(0, len(data), block), 3):
        end = min(start + block, len(data))
        bent = data[:start] + bytes(end - start) + data[end:]
        root = damaged(sound, tmp_path, DATA, lambda _, bent=bent: bent)
        hit = {n for n, (a, m) in enumerate(found) if a < end and a + len(m.raw) > start}
        assert judge(root) == set().union(*(held_by(place) for place in hit))
        assert kept(root, bent)


# --- files that are not what they should be -------------------------------------------------


@pytest.mark.parametrize("names", [[DATA], [META], [DATA, META], [SERIES], ["2022.metadata.json"]])
def test_an_empty_file_is_not_taken_for_a_year_without_bars(
    sound: Path, tmp_path: Path, names: list[str]
) -> None:
    root = damaged(sound, tmp_path, names[0], lambda data: b"")
    for name in names[1:]:
        (folder_of(root) / name).write_bytes(b"")
    gone = judge(root, doubts_lost=META in names)
    in_2024 = {day for held in MEMBERS for day in held}
    assert (in_2024 - {1} <= gone) is (DATA in names)
    heal(root, gone)


SWAPS = {
    "two years": (DAILY, "2023", DAILY, "2024"),
    "an empty year": (DAILY, "2022", DAILY, "2023"),
    "two symbols": (DAILY, "2024", OTHER, "2024"),
    "two empty years of two symbols": (DAILY, "2022", OTHER, "2022"),
    "two lanes": (DAILY, "2024", RAW, "2024"),
    "what has no year": (DAILY, "series", OTHER, "series"),
    "what has no year, of two lanes": (DAILY, "series", RAW, "series"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("what", "suffix"),
    [
        (what, suffix)
        for what, (_, first, _, _) in SWAPS.items()
        for suffix in (["json"] if first == "series" else ["csv.gz", "metadata.json", "both"])
    ],
)
def test_swapped_files_give_no_bars_of_another_series(
    sound: Path, tmp_path: Path, what: str, suffix: str
) -> None:
    one, first, other, second = SWAPS[what]
    root = tmp_path / "cache"
    shutil.copytree(sound, root)
    suffixes = ["csv.gz", "metadata.json"] if suffix == "both" else [suffix]
    swapped = sum(
        swap(folder_of(root, one) / f"{first}.{s}", folder_of(root, other) / f"{second}.{s}")
        for s in suffixes
    )
    for key in SHIFTS:
        gone = judge(root, key, doubts_lost=True)
        assert bool(gone) <= bool(swapped)
        assert judge(root, key, doubts_lost=True) == gone
    store = fresh(root)
    assert store.view(one).next_due in (None, at(13))
    for commit in commits_of(one):
        store.commit(one, commit)
    assert judge(root, one) == set()


def swap(one: Path, other: Path) -> bool:
    if not (one.exists() or other.exists()):
        return False
    spare = one.with_name("spare")
    for source, target in ((one, spare), (other, one), (spare, other)):
        if source.exists():
            source.rename(target)
    return True


def test_a_lane_folder_copied_to_another_symbol_has_no_bars(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(folder_of(sound, OTHER), folder_of(tmp_path))
    rows, coverage = fresh(tmp_path).read(DAILY, EVER)
    assert (len(rows), coverage) == (0, ())


def test_an_action_book_of_another_symbol_is_corrupt(sound: Path, tmp_path: Path) -> None:
    shutil.copytree(sound / "ohlcv/MSFT", tmp_path / "ohlcv/AAPL")
    with pytest.raises(CorruptEntryError, match="AAPL"):
        fresh(tmp_path).actions("AAPL")


def revised(sound: Path, tmp_path: Path) -> tuple[Path, bytes, bytes]:
    """Return the old and the new data file around a revision of day 4, and a copy to bend."""
    root = tmp_path / "revised"
    shutil.copytree(folder_of(sound), folder_of(root))
    fresh(root).commit(DAILY, Commit((piece(4, 5, shift=5.0, vendor="other"),)))
    old, new = ((folder_of(r) / DATA).read_bytes() for r in (sound, root))
    return root, old, new


def test_a_file_mixed_from_two_versions_has_no_wrong_bar(sound: Path, tmp_path: Path) -> None:
    after, old, new = revised(sound, tmp_path)
    cuts = {at_ for data in (old, new) for at_, _ in layout(data)}
    cuts |= set(range(0, len(new), 10 if FULL else 2_100))
    for number, cut in enumerate(sorted(cuts)):
        for begin, end in ((old, new), (new, old)):
            for base in (sound, after) if FULL else ((sound, after)[number % 2],):
                root = damaged(base, tmp_path, DATA, lambda _, c=cut, b=begin, e=end: b[:c] + e[c:])
                rows, coverage = fresh(root).read(DAILY, EVER)
                closes = dict(zip(numbers(rows), rows.close.tolist(), strict=True))
                for day, fact in truth_of(DAILY).items():
                    state = next((c.state for c in coverage if at(day) in c.span), "missing")
                    if day not in closes:
                        assert fact.shift is None or state == "missing"
                        continue
                    shifts = (fact.shift, 5.0) if day == 4 else (fact.shift,)
                    assert closes[day] in [table([day], s or 0.0).close[0] for s in shifts]


def test_bars_restored_from_a_backup_are_used_even_if_the_metadata_are_of_another_version(
    sound: Path, tmp_path: Path
) -> None:
    """A backup brought one of two files back: the data count, and no bar is made up or lost."""
    after, old, new = revised(sound, tmp_path)
    for base, data, close in ((after, old, 0.0), (sound, new, 5.0)):
        root = damaged(base, tmp_path, DATA, lambda _, data=data: data)
        rows, _ = fresh(root).read(DAILY, EVER)
        assert rows.within(days(4, 5)).close.tolist() == table([4], close).close.tolist()
        assert len(rows) == 11
        assert (folder_of(root) / DATA).read_bytes() == data


# --- a right digest over nonsense -----------------------------------------------------------


NONSENSE = (None, "x", [[1]], 10**30)
NO_SPANS = [{"span": ["a", "b"], "state": "final"}]


class Odd(Header):
    """A header with one value that no writer produces."""

    said: dict[str, object]

    def to_json(self) -> dict[str, object]:
        return super().to_json() | self.said


@pytest.mark.parametrize("key", [
    "rows", "first", "last", "span", "vendor", "fetched_at", "kind", "basis", "holes", "prev", "seq",
])  # fmt: skip
def test_a_member_with_invalid_header_values_loses_only_its_bars(
    sound: Path, tmp_path: Path, key: str
) -> None:
    data = (folder_of(sound) / DATA).read_bytes()
    at_, last = layout(data)[-1]
    odd = Odd(**{name: getattr(last.header, name) for name in Header.__dataclass_fields__})
    for value in NONSENSE:
        object.__setattr__(odd, "said", {key: value})
        raw = build(odd, last.text()).raw
        root = damaged(sound, tmp_path, DATA, lambda data, raw=raw: data[:at_] + raw)
        assert judge(root) <= held_by(-1)
        (folder_of(root) / META).unlink()
        judge(root, doubts_lost=True)
        fresh(root).commit(DAILY, Commit((piece(20, 21),)))


@pytest.mark.parametrize("name, keys", [
    (META, ("generation", "size", "rows", "first", "head", "columns", "coverage", "pending")),
    (SERIES, ("generation", "kind", "empties")),
])  # fmt: skip
def test_a_document_with_invalid_values_is_handled_like_a_lost_one(
    sound: Path, tmp_path: Path, name: str, keys: tuple[str, ...]
) -> None:
    plain = json_document.load((folder_of(sound) / name).read_bytes())
    ours = plain.get("onetape", plain)
    for key in keys:
        before = ours.get(key)
        for value in (*NONSENSE, NO_SPANS) if FULL else (*NONSENSE[len(key) % 2 :: 2], NO_SPANS):
            ours[key] = value
            forged = json_document.dump(plain)
            root = damaged(sound, tmp_path, name, lambda _, forged=forged: forged)
            judge(root, doubts_lost=True)
        ours[key] = before


# --- what each guard is good for ------------------------------------------------------------


def test_the_checksums_of_gzip_miss_damage_that_the_store_detects(sound: Path) -> None:
    """What other tools can notice is less: they read a bent header, and a file without its end."""
    data = (folder_of(sound) / DATA).read_bytes()
    last, _ = layout(data)[-1]
    assert gzip.decompress(data[:last])
    assert gzip.decompress(data + bytes(512)) == gzip.decompress(data)
    assert gzip.decompress(b"") == b""
    unnoticed = 0
    for position in range(60):
        try:
            unnoticed += gzip.decompress(flip(position, 0)(data)) == gzip.decompress(data)
        except (OSError, EOFError, zlib.error):
            continue
    assert unnoticed > 30


def _unsealed(data: bytes) -> bytes:
    try:
        document = {k: v for k, v in json.loads(data).items() if k != "sha256"}
    except (ValueError, AttributeError) as exc:
        raise DamagedError("no JSON") from exc
    return canonical(document).encode("ascii")


def _of_anyone(data: bytes, identity: str) -> Iterator[tuple[int, Member]]:
    offset = 0
    while (member := verify(data, offset)) is not None:
        yield offset, member
        offset += len(member.raw)


def _meta_of_anyone(data: bytes, identity: str) -> YearMeta:
    return load_meta(data, json.loads(data)["onetape"]["id"])


def _series_of_anyone(data: bytes, key: SeriesKey) -> SeriesMeta:
    plain = json.loads(data)
    lane = tuple(plain["lane"].split("@")) if plain["lane"] else ()
    return load_series(data, SeriesKey(plain["symbol"], DAILY.timeframe, lane))


def _book_of_anyone(data: bytes, symbol: str) -> ActionBook:
    return load_book(data, json.loads(data)["symbol"])


WORSE: dict[str, tuple[list[tuple[object, str, object]], Callable[[Path, Path], object]]] = {
    "documents without digest": (
        [(json_document, "text_of", _unsealed)],
        lambda sound, tmp: test_every_flipped_bit_of_a_document_is_detected(sound, META),
    ),
    "metadata of anyone": (
        [(lanes, "load_meta", _meta_of_anyone)],
        lambda sound, tmp: test_swapped_files_give_no_bars_of_another_series(
            sound, tmp, "two empty years of two symbols", "metadata.json"
        ),
    ),
    "series of anyone": (
        [(lanes, "load_series", _series_of_anyone)],
        lambda sound, tmp: test_swapped_files_give_no_bars_of_another_series(
            sound, tmp, "what has no year", "json"
        ),
    ),
    "actions of anyone": (
        [(actions, "load_book", _book_of_anyone)],
        lambda sound, tmp: test_an_action_book_of_another_symbol_is_corrupt(sound, tmp),
    ),
    "members of anyone": (
        [(year_file, "walk", _of_anyone), (salvages, "walk", _of_anyone),
         (lanes, "load_meta", _meta_of_anyone)],
        lambda sound, tmp: test_swapped_files_give_no_bars_of_another_series(
            sound, tmp, "two symbols", "both"
        ),
    ),
    "nothing kept aside": (
        [(recover, "keep_file", lambda *args: None)],
        lambda sound, tmp: test_a_flipped_bit_loses_only_its_own_member(sound, tmp, "bars"),
    ),
    "nothing saved from a damaged file": (
        [(recover, "salvage", lambda seen, identity: [])],
        lambda sound, tmp: test_a_flipped_bit_in_one_of_twenty_members_loses_only_its_bars(tmp),
    ),
    "only members before the damage saved": (
        [(salvages, "_members_after", lambda content, start: iter(()))],
        lambda sound, tmp: test_a_flipped_bit_in_one_of_twenty_members_loses_only_its_bars(tmp),
    ),
    "metadata not compared with the data": (
        [(year_file, "check_members", lambda found, state, most_rows: None)],
        lambda sound, tmp: test_a_flipped_bit_loses_only_its_own_member(sound, tmp, "bars"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WORSE)
def test_with_a_guard_removed_the_damage_tests_fail(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    patches, attack = WORSE[what]
    for owner, name, worse in patches:
        monkeypatch.setattr(owner, name, worse)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        attack(sound, tmp_path)
