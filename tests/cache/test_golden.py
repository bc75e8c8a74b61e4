"""A cache written by the first version of format 1 opens for ever, and is written on."""

from __future__ import annotations

import gzip
import math
import shutil
from datetime import date
from pathlib import Path

import pytest

from src.data.cache.store import Commit
from src.data.model.instant import day_ms
from src.data.model.kind import Basis
from src.data.model.series import SeriesKey
from src.data.model.span import Span
from tests.cache.bars import BASIS, DAILY, EVER, KIND, at, lane_folder, numbers, piece, store_in
from tests.cache.disks import CountingDisk

GOLDEN = Path(__file__).with_name("golden") / "format-1"
# What was stored, written down by hand.
CLOSES = [
    0.1,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    0.30000000000000004,
    math.nan,
    101.4,
    100.5,
    100.6,
]
ADJUSTED = [49.9, 49.95, 50.0, 50.05, 50.1, 50.15, math.nan, math.nan, math.nan]
OTHERS = Basis("raw", date(2024, 1, 6))
COVERAGE = [
    # from, to (days of 2024), state, vendor, basis, reason, expires
    (-800, -370, "empty", "acme", Basis(), "before the listing", None),
    (-2, 1, "final", "acme", BASIS, "", None),
    (1, 2, "suspect", "acme", BASIS, "near a split", at(9)),
    (2, 4, "final", "acme", BASIS, "", None),
    (4, 6, "final", "other", OTHERS, "", None),
    (6, 7, "provisional", "acme", BASIS, "", None),
    (7, 9, "empty", "acme", Basis(), "no bar", at(20)),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "cache")
    return tmp_path / "cache"


def texts(values: list[float]) -> list[str]:
    """Return the values as texts, which also tell -0.0 and NaN."""
    return [repr(value) for value in values]


def test_every_bar_and_all_that_is_known(root: Path) -> None:
    disk = CountingDisk()
    store = store_in(root, disk)
    assert store.keys() == [DAILY]
    rows, coverage = store.read(DAILY, EVER)
    assert numbers(rows) == [-2, -1, 0, 1, 2, 3, 4, 5, 6]
    assert texts(rows.close.tolist()) == texts(CLOSES)
    assert rows.adj_close is not None
    assert texts(rows.adj_close.tolist()) == texts(ADJUSTED)
    assert rows.volume.tolist() == [-20.0, -10.0, 0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0]
    view = store.view(DAILY)
    assert coverage == view.coverage
    assert [(c.span, c.state, c.vendor, c.basis, c.reason, c.expires) for c in view.coverage] == [
        (Span(at(a), at(b)), *rest) for a, b, *rest in COVERAGE
    ]
    assert {c.kind for c in view.coverage if c.state != "empty"} == {KIND}
    assert (view.generation, view.next_due, view.kind) == (4, at(9), KIND)
    assert disk.names() == []


def test_the_rows_that_are_no_bars(root: Path) -> None:
    (found,) = store_in(root).suspects(DAILY, EVER)
    assert found.reason == 'high < low, "odd"'
    assert texts(list(found.bar)) == texts([at(9), 1.0, 0.5, 2.0, math.nan, math.inf, math.nan])


def test_the_actions(root: Path) -> None:
    book = store_in(root).actions("AAPL")
    (split,), (dividend,) = book.splits, book.dividends
    assert (split.ex_date, split.ex_at, split.ratio) == (date(2020, 8, 31), 1598880600000, 4)
    assert (dividend.ex_date, dividend.amount, dividend.source) == (date(2024, 2, 9), 0.24, "acme")
    assert book.covers(Span(day_ms(date(2019, 1, 1)), day_ms(date(2025, 1, 1))))


def test_without_metadata_too(root: Path) -> None:
    for path in root.rglob("*.metadata.json"):
        path.unlink()
    rows, coverage = store_in(root).read(DAILY, EVER)
    assert texts(rows.close.tolist()) == texts(CLOSES)
    held = [(c.span, c.state) for c in coverage if c.state != "empty"]
    assert held == [
        (Span(at(-2), at(1)), "final"), (Span(at(1), at(2)), "provisional"),
        (Span(at(2), at(4)), "final"), (Span(at(4), at(6)), "final"),
        (Span(at(6), at(7)), "provisional"),
    ]  # fmt: skip


def test_it_is_written_on(root: Path) -> None:
    before = (lane_folder(root) / "2024.csv.gz").read_bytes()
    view = store_in(root).commit(DAILY, Commit((piece(7, 8, adj=True),)))
    assert (view.rows, view.generation) == (10, 5)
    assert (lane_folder(root) / "2024.csv.gz").read_bytes().startswith(before)


def test_older_versions_are_plain_files(root: Path) -> None:
    text = gzip.decompress((lane_folder(root) / "_versions/2024.3.csv.gz").read_bytes())
    assert b"2024-01-05 00:00:00,100.4," in text
    assert SeriesKey("AAPL", DAILY.timeframe) == DAILY
