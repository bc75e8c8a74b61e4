"""Tests that each document of a series is read once, and only if it is a regular file."""

from __future__ import annotations

import contextlib
import gc
import gzip
import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache import lane_files as lane
from src.data.core.cache.format import documents, json_document
from src.data.core.cache.format.gzip_member import FAST_LIBRARY, file_id
from src.data.core.cache.store import BarStore, Commit, SeriesView
from src.data.core.disk.files import FileState
from src.data.core.model.identity.kind import Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.span import Span
from src.data.errors import FormatVersionError, StorageError
from tests.core.cache.bars import (
    DAILY,
    EVER,
    KIND,
    NOW,
    OLDER_CSV,
    at,
    index_of,
    lane_folder,
    make_older,
    mark,
    numbers,
    piece,
    same,
    store_in,
    write_older_year,
)
from tests.core.cache.crash import Quick
from tests.core.cache.disks import FailingDisk, RecordingDisk

META, DATA, SERIES = "2024.metadata.json", "2024.csv.gz", "series.json"
COMMITS: dict[str, Callable[[], list[Commit]]] = {
    "one answer": lambda: [Commit((piece(0, 9),))],
    "three years of one vendor": lambda: [Commit((piece(-500, 400),))],
    "two vendors side by side": lambda: [
        Commit((piece(0, 5),)), Commit((piece(5, 9, vendor="other"),)),
    ],
    "a hole": lambda: [Commit((piece(0, 5),)), Commit((piece(7, 9),))],
    "nothing in a year of its own": lambda: [
        Commit((piece(0, 9),), marks=(mark(-900, -800, "empty", reason="x", expires=NOW),)),
    ],
    "doubts and what is due": lambda: [
        Commit((piece(0, 9),), marks=(mark(3, 4, "suspect"), mark(8, 9, "provisional")),
               next_due=NOW),
    ],
    "adjusted closes": lambda: [Commit((piece(0, 9, adj=True),))],
    "nothing but what is empty": lambda: [Commit(marks=(mark(0, 9, "empty", reason="x"),))],
}  # fmt: skip


def filled(root: Path, what: str) -> BarStore:
    store = store_in(root, Quick())
    for commit in COMMITS[what]():
        store.commit(DAILY, commit)
    return store


def opened(disk: RecordingDisk) -> list[str]:
    return [step.path.name for step in disk.steps if step.name == "open"]


def ours(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((lane_folder(root) / META).read_bytes())
    return document


def written(root: Path, document: dict[str, Any], name: str = META) -> None:
    (lane_folder(root) / name).write_bytes(json_document.dump(document))


@pytest.mark.parametrize("what", COMMITS)
def test_the_index_of_a_writer_equals_that_of_a_new_process(tmp_path: Path, what: str) -> None:
    writer = filled(tmp_path, what)
    other = store_in(tmp_path, Quick())
    assert other.view(DAILY) == writer.view(DAILY) != SeriesView(DAILY)
    states = index_of(writer).entry(writer.parts.lane(DAILY)).years(EVER)
    assert index_of(other).entry(other.parts.lane(DAILY)).years(EVER) == states
    assert other.stored_span(DAILY, EVER).coverage == writer.stored_span(DAILY, EVER).coverage


def test_a_view_covers_all_years(tmp_path: Path) -> None:
    store = filled(tmp_path, "three years of one vendor")
    store.commit(DAILY, Commit(marks=(mark(800, 900, "suspect"),)))  # a year without bars
    view = store_in(tmp_path, Quick()).view(DAILY)
    assert (view.first, view.last, view.rows, view.generation) == (at(-500), at(399), 900, 2)


def test_an_empty_span_has_no_years(tmp_path: Path) -> None:
    store = filled(tmp_path, "three years of one vendor")
    known = index_of(store).entry(store.parts.lane(DAILY))
    assert [*known.years(Span(at(3), at(3) + 1))] == [2024]
    assert known.years(Span(at(3), at(3))) == known.years(Span(at(9), at(3))) == {}


def test_a_view_reads_each_document_once_and_no_bars(tmp_path: Path) -> None:
    filled(tmp_path, "three years of one vendor")
    store = store_in(tmp_path, disk := RecordingDisk())
    store.view(DAILY)
    assert sorted(opened(disk)) == [
        "2022.metadata.json", "2023.metadata.json", META, "2025.metadata.json", "series.json",
    ]  # fmt: skip
    assert sum(step.name == "list" for step in disk.steps) == 1
    make_older(lane_folder(tmp_path))
    store.view(DAILY)
    disk.steps.clear()
    assert store.view(DAILY).rows == 900
    assert [step.name for step in disk.steps] == ["stat"]


def test_a_first_read_creates_few_objects_for_the_garbage_collector(tmp_path: Path) -> None:
    """A batch takes a third of its time for collections where each series is many containers."""
    keys = [SeriesKey(symbol, DAILY.timeframe) for symbol in ("AAPL", "MSFT", "IBM", "KO", "GE")]
    store = store_in(tmp_path, Quick(), columnar="map")
    for key in keys:
        store.commit(key, Commit((piece(-500, 400),)))
        store.read(key, EVER)
    if find_spec("isal"):  # otherwise imported once enough bytes of all tests were summed
        import_module(FAST_LIBRARY)
    other = store_in(tmp_path, columnar="map")
    other.read(keys[0], EVER)
    gc.collect()
    before = len(gc.get_objects())
    for key in keys[1:]:
        other.read(key, EVER)
    gc.collect()
    # Since Python 3.14, dicts of plain values are counted too.
    most = 70 if sys.version_info < (3, 14) else 85
    assert (len(gc.get_objects()) - before) / len(keys[1:]) < most


def fail(*_: object) -> None:
    raise AssertionError("that is known already")


def test_a_view_after_a_commit_of_the_same_store_reads_no_metadata(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled(tmp_path, "doubts and what is due")
    monkeypatch.setattr(lane, "load_meta", fail)
    monkeypatch.setattr(lane, "load_series", fail)
    assert (store.view(DAILY).rows, store.view(DAILY).next_due) == (9, NOW)


class Vanishing(Quick):
    """A disk on which another process clears a year just before its document is read."""

    def read_all(
        self, folder: str, names: Iterable[str]
    ) -> Sequence[tuple[bytes, FileState] | None]:
        for name in (META, DATA):
            (Path(folder) / name).unlink(missing_ok=True)
        return super().read_all(folder, names)


def test_a_document_removed_while_it_is_read_gives_an_empty_series(tmp_path: Path) -> None:
    filled(tmp_path, "one answer")
    assert store_in(tmp_path, Vanishing()).view(DAILY).rows == 0


ODD: dict[str, Callable[[dict[str, Any]], object]] = {
    "of another year": lambda d: d["onetape"].update(id=file_id(DAILY, 2023)),
    "of another series": lambda d: d["onetape"].update(
        id=file_id(SeriesKey("MSFT", DAILY.timeframe), 2024)
    ),
    "without its vendor": lambda d: d.pop("data_source"),
    "not ours": lambda d: d.pop("onetape"),
    "without its size": lambda d: d["onetape"].pop("size"),
    "with a size that is none": lambda d: d["onetape"].update(size="x"),
    "with columns that are none": lambda d: d["onetape"].update(columns=None),
    "with quality that is none": lambda d: d["onetape"].update(quality=7),
    "with a stretch that is none": lambda d: d["onetape"]["coverage"][0].update(span=[1]),
    "with a stretch that is a number": lambda d: d["onetape"].update(coverage=[7]),
    "with a stretch of nothing": lambda d: d["onetape"].update(coverage=[{}]),
    "with a basis that is none": lambda d: d["onetape"]["coverage"][0].update(basis=[]),
    "ours that is none": lambda d: d.update(onetape=[1]),
    "ours further inside": lambda d: d.update(data_quality={"a": 1, "onetape": d.pop("onetape")}),
}


@pytest.mark.parametrize("what", ODD)
def test_corrupt_metadata_are_found_and_repaired(tmp_path: Path, what: str) -> None:
    filled(tmp_path, "one answer")
    document = ours(tmp_path)
    ODD[what](document)
    written(tmp_path, document)
    with pytest.raises(json_document.DamagedError):
        documents.load_meta((lane_folder(tmp_path) / META).read_bytes(), file_id(DAILY, 2024))
    store = store_in(tmp_path, Quick())
    assert store.view(DAILY).rows == 9
    data = (lane_folder(tmp_path) / META).read_bytes()
    assert documents.load_meta(data, file_id(DAILY, 2024)).state.rows == 9, "repaired by reading"
    assert numbers(store.read(DAILY, EVER)[0]) == [*range(9)]


NEWER: dict[str, Callable[[dict[str, Any]], object]] = {
    "format": lambda d: d["onetape"].update(format=2),
    "need": lambda d: d["onetape"].update(need=["x"]),
    "state": lambda d: d["onetape"]["coverage"][0].update(state="hallowed"),
    "adjustment": lambda d: d["onetape"]["coverage"][0]["basis"].update(adjustment="odd"),
    "format, and no vendor": lambda d: (d["onetape"].update(format=2), d.pop("data_source")),
}


@pytest.mark.parametrize("what", NEWER)
def test_metadata_of_a_newer_version_are_refused_and_not_changed(tmp_path: Path, what: str) -> None:
    filled(tmp_path, "one answer")
    document = ours(tmp_path)
    NEWER[what](document)
    written(tmp_path, document)
    before = (lane_folder(tmp_path) / META).read_bytes()
    with pytest.raises(FormatVersionError):
        store_in(tmp_path, Quick()).view(DAILY)
    assert (lane_folder(tmp_path) / META).read_bytes() == before


def test_every_flipped_bit_of_the_metadata_is_detected(tmp_path: Path) -> None:
    filled(tmp_path, "one answer")
    data, identity = (lane_folder(tmp_path) / META).read_bytes(), file_id(DAILY, 2024)
    series = (lane_folder(tmp_path) / "series.json").read_bytes()
    for whole, load in (
        (data, lambda read: documents.load_meta(read, identity)),
        (series, lambda read: documents.load_series(read, DAILY)),
    ):
        assert load(whole) is not None
        for position in range(len(whole) - 1):
            flipped = bytearray(whole)
            flipped[position] ^= 1 << position % 8
            for changed in (bytes(flipped), whole[:position]):
                with pytest.raises(json_document.DamagedError):
                    load(changed)


def test_unknown_keys_of_another_version_are_kept(tmp_path: Path) -> None:
    filled(tmp_path, "doubts and what is due")
    before = store_in(tmp_path, Quick()).view(DAILY)
    document, series = ours(tmp_path), json.loads((lane_folder(tmp_path) / SERIES).read_bytes())
    document["onetape"] |= {"mood": {"of": ["them"]}, "need": []}
    document["onetape"]["coverage"][0]["colour"] = "red"
    written(tmp_path, document)
    written(tmp_path, series | {"mood": 7}, SERIES)
    store = store_in(tmp_path, Quick())
    assert store.view(DAILY) == before
    store.commit(DAILY, Commit((piece(9, 10),)))
    assert ours(tmp_path)["onetape"]["mood"] == {"of": ["them"]}
    assert ours(tmp_path)["onetape"]["need"] == []
    assert json.loads((lane_folder(tmp_path) / SERIES).read_bytes())["mood"] == 7


def test_a_reformatted_document_is_read_and_not_rewritten(tmp_path: Path) -> None:
    filled(tmp_path, "one answer")
    path = lane_folder(tmp_path) / META
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2), "ascii")
    assert store_in(tmp_path, Quick()).view(DAILY).rows == 9
    assert path.read_bytes().startswith(b"{\n"), "a sound document is not rewritten"


@pytest.mark.parametrize(
    "value", [b"[" * 100_000 + b"]" * 100_000, b"nothing"], ids=["deep", "no JSON"]
)
def test_metadata_with_a_valid_seal_and_bad_values_are_corrupt(value: bytes) -> None:
    text = b'{"data_source":"acme","onetape":%s}' % value
    seal = hashlib.sha256(text).hexdigest().encode("ascii")
    data = b'{"sha256": "' + seal + b'",' + text[1:] + b"\n"
    assert json_document.text_of(data) == text
    with pytest.raises(json_document.DamagedError):
        documents.load_meta(data, "x")
    with pytest.raises(json_document.DamagedError):
        documents.load_series(data, DAILY)


def test_a_text_that_looks_like_a_key_is_not_taken_for_one(tmp_path: Path) -> None:
    filled(tmp_path, "one answer")
    document = ours(tmp_path)
    document["data_source"] = ',"onetape":{"rows":7},'
    document["end_date"] = "{"
    written(tmp_path, document)
    assert store_in(tmp_path, Quick()).view(DAILY).rows == 9


def test_recently_changed_documents_are_read_again(tmp_path: Path) -> None:
    store = filled(tmp_path, "one answer")
    writer = store_in(tmp_path, Quick())
    for day in range(9, 14):
        writer.commit(DAILY, Commit((piece(day, day + 1),)))
        assert store.view(DAILY).rows == day + 1


def test_adjoining_spans_of_several_years_are_joined(tmp_path: Path) -> None:
    filled(tmp_path, "three years of one vendor")
    (one,) = store_in(tmp_path, Quick()).view(DAILY).coverage
    assert (one.span.start, one.span.end) == (at(-500), at(400))


def test_a_year_that_an_older_tool_writes_again_is_converted_again(tmp_path: Path) -> None:
    folder = lane_folder(tmp_path)
    write_older_year(folder)
    make_older(folder)
    store = store_in(tmp_path, Quick())
    assert store.view(DAILY).rows == 5
    lines = OLDER_CSV.splitlines(keepends=True)
    write_older_year(folder, "".join(lines[:-1]))
    assert store.view(DAILY).rows == 4
    kept = [gzip.decompress(path.read_bytes()).count(b"\n") for path in folder.glob("_legacy/*.gz")]
    assert sorted(kept) == [len(lines) - 1, len(lines)]


def test_the_kind_of_a_series_without_bars_is_read_from_its_document(tmp_path: Path) -> None:
    filled(tmp_path, "nothing but what is empty").commit(DAILY, Commit(kind=KIND))
    assert store_in(tmp_path, Quick()).view(DAILY).kind == KIND


def test_the_kind_of_a_series_with_a_lost_document_is_read_from_its_bars(tmp_path: Path) -> None:
    kind = Kind(session="extended", venue="consolidated")
    store = store_in(tmp_path, Quick())
    store.commit(DAILY, Commit((piece(3, 9, kind=kind),), marks=(mark(0, 3, "empty"),)))
    assert store.view(DAILY).kind == kind
    path = lane_folder(tmp_path) / "series.json"
    document = json.loads(path.read_bytes())
    del document["kind"]
    written(tmp_path, document, path.name)
    assert store_in(tmp_path, Quick()).view(DAILY).kind == kind
    path.unlink()
    assert store_in(tmp_path, Quick()).view(DAILY).kind == kind


@pytest.mark.parametrize("fails_at", range(1, 25))
def test_the_view_after_a_failed_commit_equals_that_of_a_new_process(
    tmp_path: Path, fails_at: int
) -> None:
    """The writer keeps its own documents in memory, except for a year during a rewrite."""
    disk = FailingDisk(0)
    store = store_in(tmp_path, disk)
    store.commit(DAILY, Commit((piece(0, 9),)))
    disk.left = fails_at
    with contextlib.suppress(StorageError):
        store.commit(DAILY, Commit((piece(3, 4, shift=1.0),)))
    own = store.view(DAILY)
    other = store_in(tmp_path)
    assert own == other.view(DAILY)
    assert same(store.read(DAILY, EVER)[0], other.read(DAILY, EVER)[0])
