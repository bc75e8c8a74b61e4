"""Note files of a folder: truncated lines, and bounded growth."""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest

from src.data.disk.files import Disk
from src.data.hosts.log import LogPosition
from src.data.hosts.notes import Note, Notes
from tests.cache.bars import DAILY


def note(seq: int) -> Note:
    """Return the note of an entry."""
    return Note(LogPosition(seq, b"12345678"), {2023: 1, 2024: seq}, seq)


@pytest.mark.parametrize("lost", [1, 2, 50])
def test_a_truncated_line_leaves_the_note_before_it(tmp_path: Path, lost: int) -> None:
    notes = Notes(tmp_path, Disk())
    path = notes.lane(DAILY)
    notes.join("a store")
    for seq in (1, 2, 3):
        notes.keep(path, note(seq))
    os.truncate(path, path.stat().st_size - lost)
    assert notes.read(path) == note(2)
    assert notes.stores_noted() == {"a store"}
    notes.keep(path, note(4))
    assert notes.read(path) == note(4)
    with path.open("ab") as file:
        file.write(b"{}\n")
    assert notes.read(path) is None, "a damaged complete line is not skipped"


def test_the_length_of_a_note_is_bounded(tmp_path: Path) -> None:
    notes = Notes(tmp_path, Disk())
    path, sizes = notes.lane(DAILY), list[int]()
    for seq in range(1, 400):
        notes.keep(path, note(seq))
        assert notes.read(path) == note(seq)
        sizes.append(path.stat().st_size)
    assert max(sizes) < 20_000
    assert sum(after < before for before, after in pairwise(sizes)) > 2
