"""Files of the first release open for ever: by this library, and without it."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import logging
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from src.data.core.cache.format.gzip_member import file_id, walk
from src.data.core.cache.store import BarStore, Commit
from src.data.core.model.identity.kind import Basis
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span, coalesce
from src.data.core.model.time.timeframe import Timeframe
from tests.core.cache.bars import EVER, no_temps, repaired, store_in
from tests.core.cache.crash import Quick
from tests.golden import make

HERE = Path(__file__).parent
LEGACY = {"LEGA-1d": SeriesKey("LEGA", Timeframe(1, "d")),
          "LEGB-1d": SeriesKey("LEGB", Timeframe(1, "d"))}  # fmt: skip
STORED = {
    "BTCUSDT-1h": make.HOURS, "AAPL-1d": make.SPLIT, "AAPL-1d@raw": make.RAW,
    "MSFT-1d": make.JOINED, "BRK%2FB-1mo": make.MONTHS,
}  # fmt: skip
FOLDERS = ("format-1", "format-1-crashed", "format-1-parts", "format-1-codes")
# The year files of our own that are whole.
FILES = sorted(
    path.relative_to(HERE).as_posix()
    for name in FOLDERS
    for path in (HERE / name).rglob("[12]*.csv.gz")
    if path.parent.parent.name not in ("LEGA", "LEGB", "TORN", "BENT", "1d", "1h")
)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of all golden files."""
    for name in FOLDERS:
        shutil.copytree(HERE / name, tmp_path / name)
    return tmp_path


def fresh(root: Path) -> BarStore:
    return store_in(root, Quick())


def bits(values: list[Any]) -> list[str]:
    """Return floats as texts that tell every bit, NaN as empty."""
    numbers = [math.nan if v in ("", None) else float(v) for v in values]
    return ["" if math.isnan(number) else number.hex() for number in numbers]


def read(root: Path, key: SeriesKey) -> list[list[str]]:
    """Return the bars of a series: stamp, values to the bit, state, vendor."""
    rows, coverage = fresh(root).read(key, EVER)
    columns = [values.tolist() for values in rows.values()]
    found = []
    for place, stamp in enumerate(rows.stamps.tolist()):
        (covered,) = [c for c in coverage if stamp in c.span]
        values = bits([column[place] for column in columns])
        found.append([str(stamp), *values, covered.state, covered.vendor])
    return found


def expected(name: str) -> list[list[str]]:
    return [
        [str(parse_iso(row["timestamp"])), *bits([row[c] for c in make.COLUMNS if c in row]),
         row["state"], row["vendor"]]
        for row in make.answer(name)
    ]  # fmt: skip


def contents(root: Path) -> dict[str, bytes]:
    files = (p for p in root.rglob("*") if p.is_file() and p.name != ".lock")
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def test_the_files_are_as_they_were() -> None:
    told = dict(
        reversed(line.split("  ", 1)) for line in (HERE / "SHA256SUMS").read_text().splitlines()
    )
    found = {
        f"{folder}/{name}": hashlib.sha256(data).hexdigest()
        for folder in FOLDERS
        for name, data in contents(HERE / folder).items()
    }
    assert found == told


@pytest.mark.parametrize("name", [*STORED, *LEGACY])
def test_exactly_the_stated_bars(root: Path, name: str) -> None:
    assert read(root / "format-1", {**STORED, **LEGACY}[name]) == expected(name)


def test_reading_the_golden_store_changes_no_file(root: Path) -> None:
    before = contents(root / "format-1")
    store = fresh(root / "format-1")
    assert set(store.keys()) >= {*STORED.values(), make.NOTHING}
    for key in set(store.keys()) - set(LEGACY.values()):  # these are converted
        assert store.view(key).exists
        store.read(key, EVER)
        repaired(store, key)
    assert contents(root / "format-1") == before


class TestWhatIsKnown:
    def test_the_golden_hours_have_the_expected_coverage_and_holes(self, root: Path) -> None:
        view = fresh(root / "format-1").view(make.HOURS)
        assert [(c.span, c.state) for c in view.coverage] == [
            (make.span("2023-12-31T22:00", "2024-01-01T04:00"), "final"),
            (make.span("2024-01-01T05:00", "2024-01-01T07:00"), "provisional"),
        ]
        assert (view.kind, view.generation) == (make.COIN, 3)
        assert view.next_due == parse_iso("2024-01-01T08:00")

    def test_the_golden_days_have_the_expected_bases_suspect_and_empty_spans(
        self, root: Path
    ) -> None:
        store = fresh(root / "format-1")
        view = store.view(make.SPLIT)
        assert [(c.state, c.basis, c.reason) for c in view.coverage] == [
            ("empty", Basis(), "before the listing"),
            ("final", Basis("split", date(2024, 9, 4)), ""),
            ("suspect", Basis("split", date(2024, 9, 4)), "near a split"),
            ("final", Basis("split", date(2024, 9, 4)), ""),
            ("final", Basis("split"), ""),
            ("provisional", Basis("split"), ""),
            ("empty", Basis(), "no session"),
        ]
        assert view.coverage[0].span == make.span("1975-01-01", "1980-12-12")
        assert [c.expires for c in view.coverage if c.expires] == [
            parse_iso("2024-09-20"), parse_iso("2024-10-01"),
        ]  # fmt: skip
        assert view.next_due == parse_iso("2024-09-09T20:00")
        raw = store.view(make.RAW)
        assert raw.coverage[0].basis == Basis("raw", date(2020, 9, 8))

    def test_a_year_without_bars(self, root: Path) -> None:
        view = fresh(root / "format-1").view(make.NOTHING)
        assert [(c.span, c.state) for c in view.coverage] == [
            (make.span("2024-01-01", "2024-02-01"), "final")
        ]
        assert view.rows == 0

    def test_the_golden_split_and_dividend_are_read(self, root: Path) -> None:
        book = fresh(root / "format-1").actions("AAPL")
        (split,), (dividend,) = book.splits, book.dividends
        assert (split.ex_date, split.ratio) == (date(2020, 8, 31), 4)
        assert split.ex_at == parse_iso("2020-08-31T13:30")
        assert (dividend.ex_date, dividend.amount, dividend.as_paid) == (
            date(2024, 8, 12),
            0.25,
            True,
        )
        assert book.covers(make.span("1981-01-01", "2024-09-09"))

    def test_the_golden_bad_row_is_read_from_its_quarantine_file(self, root: Path) -> None:
        (bad,) = fresh(root / "format-1").suspects(make.SPLIT, EVER)
        assert (bad.bar.stamp_ms, bad.reason) == (parse_iso("2024-09-09"), 'high < low, "odd"')
        path = root / "format-1/ohlcv/AAPL/1d/_quarantine/2024.rows.csv.gz"
        rows = list(csv.reader(io.StringIO(gzip.decompress(path.read_bytes()).decode("utf-8"))))
        assert rows[1][0] == "2024-08-29 00:00:00"
        assert rows[1][-1] == "withdrawn by yahoo"

    def test_log_and_older_version(self, root: Path) -> None:
        folder = root / "format-1/ohlcv/AAPL/1d"
        log = [json.loads(line) for line in (folder / "2024.log").read_text().splitlines()]
        assert [(e["generation"], e["added"], e["changed"], e["removed"]) for e in log] == [
            (1, 7, 0, 0), (2, 1, 0, 0), (3, 1, 0, 0), (4, 0, 1, 1), (5, 0, 0, 0),
        ]  # fmt: skip
        older = gzip.decompress((folder / "_versions/2024.3.csv.gz").read_bytes())
        assert b"2024-08-29 00:00:00,230.100006," in older


class TestParts:
    """One answer with many holes and bad rows, in a folder of its own."""

    def test_exactly_the_stated_bars(self, root: Path) -> None:
        assert read(root / "format-1-parts", make.FOLDED) == expected("ETHUSDT-1h")

    def test_an_older_reader_sees_one_span_of_a_folded_document(self, root: Path) -> None:
        (path,) = (root / "format-1-parts").rglob("2024.metadata.json")
        (stretch,) = json.loads(path.read_bytes())["onetape"]["coverage"]
        asked = make.span("2024-03-01", "2024-03-02T12:00")
        assert stretch["span"] == [asked.start, asked.end]
        # Who does not know `parts` asks for all of it again, when the first part of it is due.
        assert stretch["state"] == "suspect"
        assert stretch["expires"] == parse_iso("2024-03-02T18:00")
        assert len(stretch["parts"]) == 3

    def test_folded_coverage_opens_to_its_original_hours(self, root: Path) -> None:
        coverage = fresh(root / "format-1-parts").view(make.FOLDED).coverage
        (whole,) = coverage
        assert whole.span == make.span("2024-03-01", "2024-03-02T12:00")
        opened = coverage.opened()
        for number in range(36):
            (known,) = [c for c in opened if make.hour(number).start in c.span]
            told = (known.state, known.reason, known.expires)
            if number in make.MISSING:
                assert told == ("empty", "the vendor has no bar", parse_iso("2024-03-02T18:00"))
            elif number in make.BAD:
                assert told == ("suspect", "high < low", parse_iso("2024-03-03T12:00"))
            else:
                assert told == ("final", "", None)
                assert (known.vendor, known.kind, known.basis) == (
                    "binance", make.COIN, Basis("raw"),
                )  # fmt: skip

    def test_bad_rows_of_a_folded_document_are_read(self, root: Path) -> None:
        store = fresh(root / "format-1-parts")
        found = [bad.bar.stamp_ms for bad in store.suspects(make.FOLDED, EVER)]
        assert found == [make.hour(number).start for number in make.BAD]

    def test_the_member_lists_the_places(self, root: Path) -> None:
        (path,) = (root / "format-1-parts").rglob("2024.csv.gz")
        ((_, only),) = walk(path.read_bytes(), file_id(make.FOLDED, 2024))
        places = map(make.hour, (*make.MISSING, *make.BAD))
        assert list(only.header.holes) == coalesce(places)

    def test_without_metadata_the_bars_are_the_same_and_the_places_are_missing(
        self, root: Path
    ) -> None:
        for path in (root / "format-1-parts").rglob("*"):
            if path.suffix in (".log", ".json"):
                path.unlink()
        assert read(root / "format-1-parts", make.FOLDED) == expected("ETHUSDT-1h")
        coverage = fresh(root / "format-1-parts").view(make.FOLDED).coverage.opened()
        places = (*make.MISSING, *make.BAD)
        assert not any(make.hour(number).start in c.span for number in places for c in coverage)

    def test_a_folded_document_is_read_without_changes_and_can_be_appended_to(
        self, root: Path
    ) -> None:
        folder = root / "format-1-parts"
        before = contents(folder)
        store = fresh(folder)
        store.read(make.FOLDED, EVER)
        repaired(store, make.FOLDED)
        assert contents(folder) == before
        row = make.answer("ETHUSDT-1h")[0] | {"timestamp": "2024-03-02 12:00:00"}
        start = parse_iso("2024-03-02T12:00")
        more = make.CommitPiece(
            make.table([row]), Span(start, start + HOUR_MS), "binance", start + HOUR_MS, make.COIN,
            Basis("raw"), "final",
        )  # fmt: skip
        store.commit(make.FOLDED, Commit((more,)))
        assert read(folder, make.FOLDED)[:-1] == expected("ETHUSDT-1h")
        opened = fresh(folder).view(make.FOLDED).coverage.opened()
        assert sum(c.state == "empty" for c in opened) == len(make.MISSING)


class TestMembers:
    def test_each_golden_member_has_its_header_values(self) -> None:
        data = (HERE / "format-1/ohlcv/BTCUSDT/1h/2024.csv.gz").read_bytes()
        found = [m.header for _, m in walk(data, file_id(make.HOURS, 2024))]
        assert [(h.seq, h.rows, h.state) for h in found] == [
            (1, 2, "final"), (2, 2, "final"), (3, 2, "provisional"),
        ]  # fmt: skip
        assert found[1].holes == (make.span("2024-01-01T04:00", "2024-01-01T05:00"),)
        assert found[1].span == make.span("2024-01-01T02:00", "2024-01-01T05:00")
        assert found[0].spelled == {
            "symbol": "BTCUSDT", "timeframe": "1h", "lane": "", "year": 2024,
            "columns": ["open", "high", "low", "close", "volume"],
        }  # fmt: skip

    def test_a_compacted_golden_file_is_one_member(self) -> None:
        data = (HERE / "format-1/ohlcv/MSFT/1d/2024.csv.gz").read_bytes()
        ((_, only),) = walk(data, file_id(make.JOINED, 2024))
        assert only.header.span == make.span("2024-03-04", "2024-03-14")

    def test_golden_files_without_metadata_give_the_same_rows(self, root: Path) -> None:
        for path in (root / "format-1").rglob("*"):
            if path.suffix in (".log", ".json") and "LEGA" not in path.parts:
                path.unlink()
        for name, key in STORED.items():
            # Only metadata knew what was doubted later.
            right = [
                [*r[:-2], "final" if r[-2] == "suspect" else r[-2], r[-1]] for r in expected(name)
            ]
            assert read(root / "format-1", key) == right


@pytest.mark.parametrize("name", make.CRASHED)
def test_golden_files_of_a_crash_are_recovered(root: Path, name: str) -> None:
    crashed, key = root / "format-1-crashed", make.CRASHED[name]
    repaired(fresh(crashed), key)
    assert read(crashed, key) == expected(name)
    once = contents(crashed)
    repaired(fresh(crashed), key)
    assert contents(crashed) == once
    later = make.part("ahead", "2024-05-06", "2024-05-07", make.SHARE, Basis("split"))
    fresh(crashed).commit(key, Commit((later,)))
    assert read(crashed, key)[-1] == expected("ahead")[-1]
    assert no_temps(crashed)


@pytest.mark.parametrize("name", STORED)
def test_golden_files_can_be_appended_to(root: Path, name: str) -> None:
    key, store = STORED[name], fresh(root / "format-1")
    before = read(root / "format-1", key)
    kind = store.view(key).kind
    assert kind is not None
    row = make.answer(name)[0] | {"timestamp": "2020-12-01" if key == make.RAW else "2024-12-01"}
    day = parse_iso(row["timestamp"])
    added = make.CommitPiece(
        make.table([row]), Span(day, day + DAY_MS), "acme", day, kind, Basis("split"), "final"
    )
    store.commit(key, Commit((added,)))
    assert read(root / "format-1", key)[:-1] == before


@pytest.mark.parametrize("name", LEGACY)
def test_older_tools_files_are_taken_over(root: Path, name: str) -> None:
    key, year = LEGACY[name], make.answer(name)[0]["timestamp"][:4]
    row = make.answer(name)[0] | {"timestamp": f"{year}-12-03"}
    day = parse_iso(row["timestamp"])
    added = make.CommitPiece(
        make.table([row]), Span(day, day + DAY_MS), "acme", day, make.SHARE, Basis("split"), "final"
    )
    fresh(root / "format-1").commit(key, Commit((added,)))
    assert read(root / "format-1", key)[:-1] == expected(name)
    kept = root / f"format-1/ohlcv/{key.symbol}/1d/_legacy/{year}.csv.gz"
    (old,) = (HERE / "format-1").rglob(f"{key.symbol}/1d/{year}.csv.gz")
    assert kept.read_bytes() == old.read_bytes()


class TestOtherTools:
    """Whoever has only these files and no library of ours reads the same."""

    def wanted(self, path: str) -> list[list[str]]:
        """Return stamps and values of the answer that a year file belongs to."""
        *_, symbol, lane, file = path.split("/")
        name = f"{symbol}-{lane}" if symbol.upper() not in _CRASHED else symbol.lower()
        if name == "ahead":
            return [
                [r["timestamp"], *bits([r[c] for c in make.COLUMNS[:5]])] for r in make.answer(name)
            ]
        return [
            [r["timestamp"], *bits([r[c] for c in make.COLUMNS if c in r])]
            for r in make.answer(name) if r["timestamp"][:4] == file[:4]
        ]  # fmt: skip

    @pytest.mark.parametrize("path", FILES)
    def test_golden_files_are_read_by_gzip_and_csv(self, path: str) -> None:
        text = gzip.decompress((HERE / path).read_bytes())
        assert text.isascii()
        header, *rows = csv.reader(io.StringIO(text.decode("ascii")))
        assert header == ["timestamp", *make.COLUMNS][: len(header)]
        assert [[row[0], *bits(row[1:])] for row in rows] == self.wanted(path)
        # The shortest text of each number, and no other.
        assert all(cell in ("", repr(float(cell or "0"))) for row in rows for cell in row[1:])

    @pytest.mark.skipif(shutil.which("zcat") is None, reason="no zcat here")
    def test_golden_files_are_read_by_zcat(self) -> None:
        for path in FILES:
            done = subprocess.run(["zcat", HERE / path], capture_output=True, check=True)
            assert done.stdout == gzip.decompress((HERE / path).read_bytes())
            assert done.stderr == b""

    @pytest.mark.filterwarnings("ignore:The 'float_precision' argument")
    @pytest.mark.parametrize("path", FILES)
    def test_golden_files_are_read_by_pandas(self, path: str) -> None:
        import pandas as pd

        frame = pd.read_csv(HERE / path, float_precision="round_trip", parse_dates=["timestamp"])
        values = [bits(row) for row in frame.drop(columns="timestamp").to_numpy().tolist()]
        stamps = frame["timestamp"].dt.strftime("%Y-%m-%d %H:%M:%S").tolist()
        assert [[s, *v] for s, v in zip(stamps, values, strict=True)] == self.wanted(path)

    @pytest.mark.parametrize("path", FILES)
    def test_golden_files_are_read_by_pyarrow(self, path: str) -> None:
        csv_ = pytest.importorskip("pyarrow.csv")
        table = csv_.read_csv(HERE / path).to_pydict()
        stamps = [str(stamp) for stamp in table.pop("timestamp")]
        rows = [bits(list(row)) for row in zip(*table.values(), strict=True)]
        assert [[s, *v] for s, v in zip(stamps, rows, strict=True)] == self.wanted(path)

    def test_golden_files_are_read_by_duckdb(self) -> None:
        duckdb = pytest.importorskip("duckdb")
        for path in FILES:
            rows = duckdb.sql(f"select * from read_csv('{HERE / path}')").fetchall()
            assert [[str(row[0]), *bits(list(row[1:]))] for row in rows] == self.wanted(path)


_CRASHED = {key.symbol for key in make.CRASHED.values()}


class TestTheManual:
    """``docs/format.md`` shows bytes and programs: they are these bytes, and the programs run."""

    TEXT = (HERE.parents[1] / "docs" / "format.md").read_text(encoding="utf-8")

    def test_the_bytes_shown_in_the_format_page_are_those_of_the_file(self) -> None:
        data = (HERE / "format-1/ohlcv/BTCUSDT/1h/2023.csv.gz").read_bytes()
        shown = re.findall(r"^([0-9a-f]{8}): ((?:[0-9a-f]{2,4} )+)", self.TEXT, re.MULTILINE)
        assert len(shown) > 10
        for offset, row in shown:
            at = int(offset, 16)
            assert bytes.fromhex(row) == data[at : at + 16]
        assert len(data) == 615
        assert hashlib.sha256(b"BTCUSDT|1h||2023").hexdigest().startswith("65d4f97e302f68e9")
        assert int.from_bytes(data[-4:], "little") == 168 == len(gzip.decompress(data))

    def test_the_program_that_verifies(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        (program,) = re.findall(r"```python\n(import hashlib.*?)```", self.TEXT, re.DOTALL)
        for path in FILES:
            monkeypatch.setattr(sys, "argv", ["-c", str(HERE / path)])
            exec(program, {})
            rows = sum(int(line.split()[0]) for line in capsys.readouterr().out.splitlines())
            assert rows == len(gzip.decompress((HERE / path).read_bytes()).splitlines()) - 1
        bent = tmp_path / "2024.csv.gz"
        bent.write_bytes((HERE / "format-1-crashed/ohlcv/BENT/1d/2024.csv.gz").read_bytes())
        monkeypatch.setattr(sys, "argv", ["-c", str(bent)])
        with pytest.raises(AssertionError, match="damaged at"):
            exec(program, {})

    @pytest.mark.parametrize("name", ["2024.metadata.json", "series.json", "../actions.json"])
    def test_documents_begin_with_the_documented_digest(self, name: str) -> None:
        data = (HERE / "format-1/ohlcv/AAPL/1d" / name).read_bytes()
        assert data.startswith(b'{"sha256": "')
        assert data[76:78] == b'",'
        text = b"{" + data[78:].removesuffix(b"\n")
        assert hashlib.sha256(text).hexdigest().encode() == data[12:76]


# --- today's writer says the same -----------------------------------------------------------

# What hangs on the compressor's output.
PACKED = ("sha256", "size", "head", "head_at", "size_bytes", "prev", "committed")
# What newer logs say besides, newer notes of what was asked for splits and dividends, and how many
# bars are of whom.
LATER = ("touched", "told", "bars")
# The score of a year was told as the reliability of a vendor of which none was known.
NO_GRADE = ("reliability",)
# Series whose newest bars are not of the vendor of most of them.
OF_SEVERAL = ("AHEAD", "TORN")


def said(path: Path) -> object:
    """Return what a file says, without what hangs on how well it was compressed."""
    data = path.read_bytes()
    if path.suffix == ".gz" and b"OT" in data[:20]:
        starts = [n for n in range(len(data)) if data[n : n + 4] == b"\x1f\x8b\x08\x04"]
        ends = [n + 16 + int.from_bytes(data[n + 14 : n + 16], "little") for n in starts]
        whole = [(n + 52, end) for n, end in zip(starts, ends, strict=True) if end < len(data)]
        return [_without_packed(json.loads(data[n:end])) for n, end in whole]
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".json":
        return _without_packed(json.loads(data))
    return [_without_packed(json.loads(line)) for line in data.splitlines()]


def _without_packed(plain: Any) -> Any:
    if isinstance(plain, dict):
        # A doubt may be dated before the fetch that it doubts: that one's clock may have been ahead.
        dated = ("fetched_at",) if plain.get("state") == "suspect" else ()
        # A year was said to be of the sender of its newest bars.
        of_whom = ("data_source", "provider_info") if plain.get("symbol") in OF_SEVERAL else ()
        left_out = (*PACKED, *LATER, *NO_GRADE, *dated, *of_whom)
        return {k: _without_packed(v) for k, v in plain.items() if k not in left_out}
    return [_without_packed(v) for v in plain] if isinstance(plain, list) else plain


def test_files_written_today_equal_the_golden_ones(tmp_path: Path) -> None:
    make.make(tmp_path)
    for folder in FOLDERS:
        names = contents(HERE / folder).keys()
        assert contents(tmp_path / folder).keys() == names
        for name in names:
            assert said(tmp_path / folder / name) == said(HERE / folder / name), name


def test_the_script_refuses_to_write_over_them() -> None:
    with pytest.raises(SystemExit, match="never written again"):
        make.main([str(HERE)])
