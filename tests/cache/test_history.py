"""What was stored after an earlier commit, while it can still be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from src.data.cache.store import Commit
from src.data.errors import QueryError
from tests.cache.bars import (
    DAILY,
    EVER,
    days,
    lane_folder,
    mark,
    numbers,
    piece,
    same,
    store_in,
    table,
)


def test_every_commit_before_a_compaction_can_be_read_again(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 3),)))
    store.commit(DAILY, Commit((piece(3, 5),)))
    store.commit(DAILY, Commit((piece(1, 2, shift=1.0),)))
    store.commit(DAILY, Commit((piece(-3, 0),)))
    store.commit(DAILY, Commit((piece(5, 6), piece(0, 1, []))))
    told = {}
    for generation in range(1, 6):
        rows, coverage = store.read_version(DAILY, EVER, generation)
        told[generation] = numbers(rows), rows.close.tolist()
        assert sum(c.span.end - c.span.start for c in coverage) >= len(rows) * 86_400_000
    plain = table(range(5)).close.tolist()
    revised = [plain[0], plain[1] + 1.0, *plain[2:]]
    assert told[1] == ([0, 1, 2], plain[:3])
    assert told[2] == ([0, 1, 2, 3, 4], plain)
    assert told[3] == ([0, 1, 2, 3, 4], revised)
    assert told[4] == ([-3, -2, -1, 0, 1, 2, 3, 4], table([-3, -2, -1]).close.tolist() + revised)
    assert told[5][0] == [-3, -2, -1, 1, 2, 3, 4, 5]
    now, _ = store.read(DAILY, EVER)
    assert told[5] == (numbers(now), now.close.tolist())
    assert numbers(store.read_version(DAILY, days(1, 3), 2)[0]) == [1, 2]


def test_what_compaction_joined_is_refused_not_guessed(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    for n in range(10):
        store.commit(DAILY, Commit((piece(n, n + 1),)))
    with pytest.raises(QueryError, match="not kept any more"):
        store.read_version(DAILY, EVER, 5)
    assert same(store.read_version(DAILY, EVER, 9)[0], table(range(9)))


@pytest.mark.parametrize("generation", [-1, 0, 3])
def test_what_never_was(tmp_path: Path, generation: int) -> None:
    store = store_in(tmp_path)
    with pytest.raises(QueryError, match="no version"):
        store.read_version(DAILY, EVER, generation)
    store.commit(DAILY, Commit((piece(0, 1),)))
    store.commit(DAILY, Commit((piece(1, 2),)))
    with pytest.raises(QueryError, match="versions 1 to 2"):
        store.read_version(DAILY, EVER, generation)


def test_the_log_of_all_years(tmp_path: Path) -> None:
    store = store_in(tmp_path)
    assert store.log(DAILY) == []
    store.commit(DAILY, Commit((piece(-2, 2),)))
    store.commit(DAILY, Commit(marks=(mark(2, 3, "empty"),)))
    path = lane_folder(tmp_path) / "2024.log"
    path.write_bytes(path.read_bytes() + b'{"generation": 9, "tor')
    told = [(e["generation"], e["year"], e["added"]) for e in store.log(DAILY)]
    assert told == [(1, 2023, 2), (1, 2024, 2), (2, 2024, 0)]
    store.commit(DAILY, Commit((piece(3, 4),)))
    assert [e["generation"] for e in store.log(DAILY)] == [1, 1, 2, 3]


@pytest.mark.parametrize("log_lost", [True, False])
def test_recovery_is_logged_too(tmp_path: Path, log_lost: bool) -> None:
    store = store_in(tmp_path)
    store.commit(DAILY, Commit((piece(0, 2),)))
    metadata, log = (lane_folder(tmp_path) / f"2024.{end}" for end in ("metadata.json", "log"))
    before = metadata.read_bytes(), log.read_bytes()
    store.commit(DAILY, Commit((piece(2, 5),)))
    metadata.write_bytes(before[0])
    if log_lost:
        log.write_bytes(before[1])
    store_in(tmp_path).repair(DAILY)
    last = store_in(tmp_path).log(DAILY)[-1]
    told = (last["generation"], last["added"], last["recovered"])
    assert told == (3, 3 if log_lost else 0, True)
    assert len(store_in(tmp_path).read_version(DAILY, EVER, 3)[0]) == 5
    assert len(store_in(tmp_path).read_version(DAILY, EVER, 1)[0]) == 2
