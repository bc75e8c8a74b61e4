"""Tests that a check predicts what recovery does for every kind of damage, and changes nothing."""

from __future__ import annotations

import gzip
import json
import logging
import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from src.data.core.cache.format.documents import YearMeta, load_meta
from src.data.core.cache.format.gzip_member import Header, Member, build, file_id
from src.data.core.cache.format.json_document import DamagedError, dump, load
from src.data.core.cache.recovery.check import Finding, check_series
from src.data.core.cache.recovery.recover import recover
from src.data.core.cache.store import Commit
from src.data.errors import FormatVersionError
from tests.core.cache.bars import DAILY, lane_folder, mark, piece, store_in, write_older_year
from tests.core.cache.damage import (
    DATA,
    LOG,
    META,
    change,
    flipped,
    fresh,
    members,
    three_members,
)
from tests.core.cache.disks import DyingDisk, Killed, RecordingDisk

Snapshot = dict[str, tuple[int, int, int, bytes]]
SERIES = "series.json"
HOUR_NS = 3_600 * 10**9


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Disable logging during each test."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the bars 0 to 5 in three members; never to be changed."""
    root = tmp_path_factory.mktemp("sound")
    folder = three_members(root)
    fresh(folder).commit(DAILY, Commit(next_due=7))
    return root


def snapshot(root: Path) -> Snapshot:
    """Return mode, inode, time of change and bytes of all that is there."""
    found: Snapshot = {}
    for path in (root, *root.rglob("*")):
        state = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (state.st_mode, state.st_ino, state.st_mtime_ns, content)
    return found


class Year(NamedTuple):
    """What is stored of the year that is damaged.

    Attributes:
        data, document: bytes; empty where there are none.
        rows: bars by the document; 0 where it is lost or another tool's.
        generations: of the committed state and of the pending one, 0 for none.
        kept: the bytes of all files in quarantine.
    """

    data: bytes
    document: bytes
    rows: int
    generations: tuple[int, int]
    kept: frozenset[bytes]

    @property
    def generation(self) -> int:
        """That of the only state there is."""
        assert not self.generations[1]
        return self.generations[0]

    @classmethod
    def of(cls, folder: Path) -> Year:
        data, document = (
            path.read_bytes() if path.exists() else b"" for path in (folder / DATA, folder / META)
        )
        try:
            meta = load_meta(document, file_id(DAILY, 2024)) or YearMeta()
        except (DamagedError, FormatVersionError):
            meta = YearMeta()
        pending = meta.pending.generation if meta.pending else 0
        return cls(
            data,
            document,
            meta.state.rows,
            (meta.state.generation, pending),
            frozenset(path.read_bytes() for path in folder.glob("_quarantine/*")),
        )


# --- kinds of damage -----------------------------------------------------------------------

Kind = Callable[[Path], object]


def _data(edit: Callable[[bytes], bytes]) -> Kind:
    return lambda folder: change(folder / DATA, edit)


def _document(edit: Callable[[bytes], bytes], name: str = META) -> Kind:
    return lambda folder: change(folder / name, edit)


def _without(*names: str) -> Kind:
    return lambda folder: [(folder / name).unlink() for name in names]


def _both(*kinds: Kind) -> Kind:
    return lambda folder: [kind(folder) for kind in kinds]


def _bars_behind(folder: Path) -> None:
    before = (folder / META).read_bytes()
    for first, end in ((8, 10), (10, 11)):
        fresh(folder).commit(DAILY, Commit((piece(first, end),)))
    (folder / META).write_bytes(before)


def _stray(**facts: str) -> Kind:
    """Append a sound member of another file, or one that is not chained to the others."""

    def stray(folder: Path) -> None:
        last = members(folder)[-1][1]
        header = replace(last.header, prev=last.digest[:16])
        change(folder / DATA, lambda data: data + build(replace(header, **facts), last.text()).raw)

    return stray


def _cut_at(place: int, more: int = 0) -> Kind:
    return lambda folder: change(folder / DATA, lambda d: d[: members(folder)[place][0] + more])


def _flip_in(place: int, at: int) -> Kind:
    """Flip a bit of a member, counted from its start, or from its end where negative."""

    def flip(folder: Path) -> None:
        start, member = members(folder)[place]
        change(
            folder / DATA,
            lambda data: flipped(data, start + (at if at >= 0 else len(member.raw) + at)),
        )

    return flip


def _last_replaced(made: Callable[[Member], bytes]) -> Kind:
    def put(folder: Path) -> None:
        start, last = members(folder)[-1]
        change(folder / DATA, lambda data: data[:start] + made(last))

    return put


def _newer_member(last: Member) -> bytes:
    class Newer(Header):
        def to_json(self) -> dict[str, object]:
            return super().to_json() | {"need": ["x"]}

    plain = {name: getattr(last.header, name) for name in Header.__dataclass_fields__}
    return build(Newer(**plain), last.text()).raw


def _newer_document(data: bytes) -> bytes:
    plain = load(data)
    plain["onetape"]["format"] = 2
    return dump(plain)


def _another_year(folder: Path) -> None:
    fresh(folder).commit(DAILY, Commit((piece(-5, 0),)))
    shutil.copy(folder / "2023.metadata.json", folder / META)


def _another_symbol(folder: Path) -> None:
    other = replace(DAILY, symbol="MSFT")
    store = store_in(folder.parents[2])
    store.commit(other, Commit((piece(0, 6, shift=7.0),)))
    for name in (DATA, META):
        shutil.copy(lane_folder(folder.parents[2], other) / name, folder / name)


def _mixture(folder: Path) -> None:
    first = members(folder)[0][1]
    fresh(folder).commit(DAILY, Commit((piece(0, 2, shift=1.0),)))
    change(folder / DATA, lambda new: first.raw + new[len(first.raw) :])


def _another_tools_file(folder: Path) -> None:
    ours = (folder / META).read_bytes()
    write_older_year(folder)
    (folder / META).write_bytes(ours)


def _half_adopted(folder: Path) -> None:
    (folder / DATA).unlink()
    recover(fresh(folder).parts.lane(DAILY), 2024)  # its document knows of no file
    _another_tools_file(folder)


def _foreign(folder: Path) -> None:
    write_older_year(folder)
    (folder / DATA).write_bytes(gzip.compress(b"timestamp,open,high,low,close,volume\n"))


def _killed(commit: Commit, *, replaced: bool) -> Kind:
    """Stop a commit while its rewrite is pending, before or after the new file took its name."""

    def kill(folder: Path) -> None:
        before = folder.parent / "before"
        shutil.copytree(folder, before)
        for n in range(1, 99):
            try:
                store_in(folder.parents[2], DyingDisk(n)).commit(DAILY, commit)
            except Killed:
                pass
            is_pending = "pending" in json.loads((folder / META).read_bytes())["onetape"]
            is_replaced = (folder / DATA).read_bytes() != (before / DATA).read_bytes()
            if is_pending and is_replaced is replaced:
                shutil.rmtree(before)
                return
            shutil.rmtree(folder)
            shutil.copytree(before, folder)
        raise AssertionError("never pending")

    return kill


REVISION = Commit((piece(1, 2, shift=1.0),))
SMALLER = Commit((piece(0, 6, [2]),))
DOUBT = Commit(marks=(mark(0, 5, "suspect", reason="split"),))

KINDS: dict[str, Kind] = {
    "nothing": lambda folder: None,
    "left-overs": lambda folder: (folder / ".2024.csv.gz.1.2.3.tmp").write_bytes(b"x"),
    "bars behind": _bars_behind,
    "bars behind, torn": _both(_bars_behind, _data(lambda data: data + b"torn")),
    "torn": _data(lambda data: data + b"\x1f\x8b\x08\x04 torn"),
    "stray member": _stray(id="0" * 16),
    "unchained member": _stray(prev="f" * 16),
    "no metadata": _without(META),
    "no metadata and log": _without(META, LOG),
    "no metadata, garbage behind": _both(_without(META), _data(lambda data: data + b"garbage")),
    **{f"metadata {loss!r}": _document(lambda _, loss=loss: loss)  # type: ignore[misc]
       for loss in (b"", b"{}", b"[1]", b"\xff\xfe")},
    "metadata damaged, data too": _both(_document(lambda _: b"{}"), _flip_in(1, 60)),
    "metadata damaged, no data": _both(_document(lambda _: b"{}"), _without(DATA)),
    "metadata of another year": _another_year,
    "metadata newer": _document(_newer_document),
    "series.json damaged, no metadata": _both(_document(lambda _: b"{}", SERIES), _without(META)),
    "no data": _without(DATA),
    "nothing at all": _without(DATA, META),
    "cut behind the first": _cut_at(1),
    "cut in the last": _cut_at(2, 40),
    "empty": _data(lambda _: b""),
    "zeros": _data(lambda data: bytes(len(data))),
    **{f"flip at {at} of member {place}": _flip_in(place, at)
       for place in range(3) for at in (0, 17, 25, 60, -3)},
    "doubts, damaged": _both(lambda folder: fresh(folder).commit(DAILY, DOUBT), _flip_in(2, 60)),
    "bomb": _last_replaced(lambda last: build(replace(last.header, rows=1), b"0" * 10**6).raw),
    "member newer": _last_replaced(_newer_member),
    "member newer, no metadata": _both(_last_replaced(_newer_member), _without(META)),
    "another symbol": _another_symbol,
    "two versions": _mixture,
    "another tool's": _foreign,
    "another tool's in place of ours": _another_tools_file,
    "half adopted": _half_adopted,
    "rewrite, old file": _killed(REVISION, replaced=False),
    "rewrite, new file": _killed(REVISION, replaced=True),
    "rewrite, neither": _both(_killed(REVISION, replaced=True), _flip_in(2, 60)),
    "rewrite, smaller": _killed(SMALLER, replaced=False),
}  # fmt: skip


def _at_random(seed: int) -> Kind:
    """Flip a bit of a file or of both, cut it, or repeat a part of it at its end."""
    rng = random.Random(seed)

    def bend(folder: Path) -> None:
        for name in rng.choice(([DATA], [META], [DATA, META])):
            data = (folder / name).read_bytes()
            place = rng.randrange(len(data))
            bent = (flipped(data, place), data[:place], data + data[place : place + 200])
            (folder / name).write_bytes(rng.choice(bent))

    return bend


SOUND = {"nothing", "left-overs", "nothing at all", "another tool's"}
KINDS |= {f"at random {seed}": _at_random(seed) for seed in range(20)}


# --- the property --------------------------------------------------------------------------

# What a finding says in figures, and the same from the files before and after recovery.
FIGURES: dict[str, Callable[[Year, Year], int]] = {
    r"data file is gone, and ([\d,]+) bar": lambda before, after: before.rows - after.rows,
    r"not read: ([\d,]+) bar": lambda before, after: after.rows - before.rows,
    r"an interrupted append left ([\d,]+) bytes": lambda before, after: (
        len(before.data) - len(after.data)
    ),
    r"rebuilt from the ([\d,]+) bar": lambda before, after: after.rows,
    r"replacement has ([\d,]+) bar": lambda before, after: after.rows,
    r"fetched again: ([\d,]+) bar": lambda before, after: before.rows - after.rows,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_check_predicts_what_recovery_does_and_changes_no_file(
    sound: Path, tmp_path: Path, kind: str
) -> None:
    root = tmp_path / "cache"
    shutil.copytree(sound, root)
    folder = lane_folder(root)
    KINDS[kind](folder)
    age(root)
    untouched, before = snapshot(root), Year.of(folder)

    disk = RecordingDisk()
    findings = found(root, disk)
    assert snapshot(root) == untouched
    assert not disk.names()

    newer = [one for one in findings if one.cure == "none"]
    if newer:
        with pytest.raises(FormatVersionError):
            recover(fresh(folder).parts.lane(DAILY), 2024)
        assert (findings, Year.of(folder)) == (newer, before)
        return
    recover(fresh(folder).parts.lane(DAILY), 2024)
    after = Year.of(folder)
    is_converted = kind == "another tool's"
    assert (after == before) is (not findings and not is_converted), (
        "the repair changes files, but the check reported nothing"
    )
    assert (not findings) is (kind in SOUND)
    for one in findings:
        words = f"{one.what}; {one.remedy}"
        for pattern, figure in FIGURES.items():
            if match := re.search(pattern, words):
                assert int(match[1].replace(",", "")) == figure(before, after), words
        if "quarantine" in words:
            assert after.kept - before.kept, words
        if "the old file is kept" in words or "the new file" in words:
            is_new = "the new file" in words
            assert after.data == before.data
            assert after.generation == before.generations[is_new], words
    age(root)
    assert found(root) == []


def age(root: Path) -> None:
    """Let all files be an hour old: no commit is on its way."""
    then = root.stat().st_mtime_ns - HOUR_NS
    for path in root.rglob("*"):
        os.utime(path, ns=(then, then))


def found(root: Path, disk: RecordingDisk | None = None) -> list[Finding]:
    """Return the findings of a check for the damaged year."""
    findings = check_series(store_in(root, disk).parts, DAILY)
    return [one for one in findings if one.where == "2024"]
