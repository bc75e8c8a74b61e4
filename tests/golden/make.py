"""How the golden files were made. **Never run it over them**: see the note in this folder.

``python -m tests.golden.make <empty folder>`` writes the same cache again, by the library as it is
now; the tests do so and compare what is said in the files. Bars come from ``answers/*.csv``, which
were written down by hand; what else is stored stands below. Nothing depends on the machine: the
clock stands still, and only the compressor's output may differ from one zlib to the next.
"""

from __future__ import annotations

import csv
import gzip
import json
import shutil
import sys
from collections.abc import Callable, Iterable
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np

from src.data.core.cache.store import BarStore, Commit, CommitPiece
from src.data.core.clock import ManualClock
from src.data.core.model.identity.kind import Basis, Kind
from src.data.core.model.identity.series import SeriesKey
from src.data.core.model.market.actions import Action
from src.data.core.model.market.bars import BadRow, Bar, BarTable
from src.data.core.model.stored.coverage import Covered
from src.data.core.model.time.instant import DAY_MS, HOUR_MS, parse_iso
from src.data.core.model.time.span import Span
from src.data.core.model.time.timeframe import Timeframe
from tests.core.cache.crash import Recorder
from tests.core.cache.disks import Killed

ANSWERS = Path(__file__).with_name("answers")
NOW = parse_iso("2024-09-09T12:00:00")
HOURS = SeriesKey("BTCUSDT", Timeframe(1, "h"))
SPLIT = SeriesKey("AAPL", Timeframe(1, "d"))
RAW = SeriesKey("AAPL", Timeframe(1, "d"), ("raw",))
JOINED = SeriesKey("MSFT", Timeframe(1, "d"))
MONTHS = SeriesKey("BRK/B", Timeframe(1, "M"))
NOTHING = SeriesKey("NEWCO", Timeframe(1, "d"))
FOLDED = SeriesKey("ETHUSDT", Timeframe(1, "h"))
ALL_CODES = SeriesKey("CODES", Timeframe(1, "d"))
CRASHED = {name: SeriesKey(name.upper(), Timeframe(1, "d"))
           for name in ("pending-old", "pending-new", "torn", "ahead", "bent")}  # fmt: skip
COIN = Kind("24h", "clock", "binance", "USDT", "base")
SHARE = Kind(venue="consolidated", unit="USD", volume="shares")
COLUMNS = ("open", "high", "low", "close", "volume", "adj_close")


def answer(name: str) -> list[dict[str, str]]:
    """Return the rows of an answer as texts."""
    with (ANSWERS / f"{name}.csv").open(encoding="ascii", newline="") as file:
        return list(csv.DictReader(file))


def span(first: str, end: str) -> Span:
    return Span(parse_iso(first), parse_iso(end))


def table(rows: Iterable[dict[str, str]]) -> BarTable:
    held = list(rows)
    stamps = np.array([parse_iso(row["timestamp"]) for row in held], dtype=np.int64)
    values = [
        np.array([float(row[name] or "nan") for row in held])
        for name in COLUMNS if held and name in held[0]
    ]  # fmt: skip
    return BarTable(stamps, *values) if held else BarTable.empty()


def part(
    name: str, first: str, end: str, kind: Kind, basis: Basis,
    *, holes: tuple[Span, ...] = (), **changed: str,
) -> CommitPiece:  # fmt: skip
    """Return the rows of an answer from ``first`` to before ``end`` as one piece.

    Args:
        name: of the answer.
        first, end: the span.
        kind, basis: of the bars.
        holes: what was not answered.
        changed: cells that were different when the bars were first fetched, and ``state``.
    """
    wanted = span(first, end)
    rows = [row for row in answer(name) if parse_iso(row["timestamp"]) in wanted]
    state: Any = changed.pop("state", "final")
    vendor = changed.pop("vendor", rows[0]["vendor"] if rows else "acme")
    rows = [row | changed for row in rows]
    return CommitPiece(table(rows), wanted, vendor, wanted.end, kind, basis, state, holes)


State = Literal["final", "provisional", "empty", "suspect"]


def mark(first: str, end: str, state: State, reason: str = "", expires: str = "") -> Covered:
    """Return a mark; ``expires`` is an instant."""
    return Covered(
        span(first, end), state, "yahoo", SHARE, Basis("split"), parse_iso(end), reason,
        parse_iso(expires) if expires else None,
    )  # fmt: skip


def hours(store: BarStore) -> None:
    """Appends to an intraday series across the end of a year, a hole, a provisional member."""
    raw = Basis("raw")
    four = span("2024-01-01T04:00", "2024-01-01T05:00")
    for piece in (
        part("BTCUSDT-1h", "2023-12-31T22:00", "2024-01-01T02:00", COIN, raw),
        part("BTCUSDT-1h", "2024-01-01T02:00", "2024-01-01T05:00", COIN, raw, holes=(four,)),
        part("BTCUSDT-1h", "2024-01-01T05:00", "2024-01-01T07:00", COIN, raw, state="provisional"),
    ):
        store.commit(HOURS, Commit((piece,), next_due=piece.span.end + HOUR_MS))


def split_basis(store: BarStore) -> None:
    """Adjusted days with ``as_of`` and ``adj_close``; a settled bar, a revision, doubts, empty spans."""
    adjusted, late = Basis("split", date(2024, 9, 4)), Basis("split")
    first = part("AAPL-1d", "2024-08-26", "2024-09-05", SHARE, adjusted)
    store.commit(SPLIT, Commit((_with(first, "2024-08-29", 229.789993),), kind=SHARE))
    five = part("AAPL-1d", "2024-09-05", "2024-09-06", SHARE, late, state="provisional")
    six = part("AAPL-1d", "2024-09-06", "2024-09-07", SHARE, late, state="provisional")
    store.commit(SPLIT, Commit((five,)))
    store.commit(SPLIT, Commit((six,), (mark("2024-09-05", "2024-09-06", "final"),)))
    revised = part("AAPL-1d", "2024-08-28", "2024-08-30", SHARE, adjusted)
    quality = {"score": 0.95, "validation_errors": ["one bar withdrawn"], "gaps": 1}
    store.commit(SPLIT, Commit((revised,), quality=quality))
    bad = BadRow(
        Bar(parse_iso("2024-09-09"), 1.0, 0.5, 2.0, float("nan"), 3.0), 'high < low, "odd"'
    )
    doubt = mark("2024-08-27", "2024-08-28", "suspect", "near a split", "2024-09-20")
    weekend = mark("2024-09-07", "2024-09-09", "empty", "no session", "2024-10-01")
    unlisted = mark("1975-01-01", "1980-12-12", "empty", "before the listing")
    store.commit(
        SPLIT,
        Commit((), (doubt, weekend, unlisted), (bad,), next_due=parse_iso("2024-09-09T20:00")),
    )
    asked = span("1980-12-12", "2024-09-10")
    store.add_actions("AAPL", ACTIONS, asked, "yahoo", NOW)


def _with(piece: CommitPiece, day: str, close: float) -> CommitPiece:
    """Return the first answer, which still had a bar that was withdrawn later, and an other close."""
    stamps = [*piece.table.stamps.tolist(), parse_iso(day)]
    rows = [list(row) for row in zip(*(v.tolist() for v in piece.table.values()), strict=True)]
    rows[2][3] = 226.490005
    rows.append([230.100006, 232.919998, 228.880005, close, 51906300.0, 228.5])
    order = np.argsort(np.array(stamps))
    columns = [np.array(column)[order] for column in zip(*rows, strict=True)]
    bars = BarTable(np.array(stamps, dtype=np.int64)[order], *columns)
    return CommitPiece(
        bars, piece.span, piece.vendor, piece.fetched_at, piece.kind, piece.basis, "final"
    )


ACTIONS = (
    Action(date(2020, 8, 31), "split", parse_iso("2020-08-31T13:30"), 4.0, 1.0),
    Action(date(2024, 8, 12), "dividend", parse_iso("2024-08-12T13:30"), amount=0.25, as_paid=True),
)


def others(store: BarStore) -> None:
    """A raw lane, a compacted file, months, a year of which only is known that it has no bars."""
    raw = part("AAPL-1d@raw", "2020-08-27", "2020-09-01", SHARE, Basis("raw", date(2020, 9, 8)))
    store.commit(RAW, Commit((raw,)))
    for row in answer("MSFT-1d"):
        start = parse_iso(row["timestamp"])
        friday = row["timestamp"] == "2024-03-08 00:00:00"
        wanted = Span(start, start + (3 if friday else 1) * DAY_MS)
        piece = CommitPiece(
            table([row]), wanted, "acme", wanted.end, SHARE, Basis("split"), "final"
        )
        store.commit(JOINED, Commit((piece,)))
    months = part("BRK%2FB-1mo", "2024-01-01", "2024-03-01", SHARE, Basis("raw"))
    store.commit(MONTHS, Commit((months,)))
    nobody = CommitPiece(BarTable.empty(), span("2024-01-01", "2024-02-01"), "acme", NOW, SHARE,
                   Basis("split"), "final")  # fmt: skip
    store.commit(NOTHING, Commit((nobody,)))


# Of a day and a half these hours did not come, and these came as rows that are no bars.
MISSING, BAD = (2, 5, 8, 11, 14, 17, 20, 23, 26, 29), (4, 13, 22)


def hour(number: int) -> Span:
    """Return an hour of the day and a half."""
    start = parse_iso("2024-03-01") + number * HOUR_MS
    return Span(start, start + HOUR_MS)


def folded(store: BarStore) -> None:
    """An answer with many holes and bad rows: its coverage is one stretch that has ``parts``."""
    bounds, raw = ("2024-03-01", "2024-03-02T12:00"), Basis("raw")
    holes = tuple(hour(number) for number in sorted((*MISSING, *BAD)))
    answered = part("ETHUSDT-1h", *bounds, COIN, raw, holes=holes)
    asked, soon, later = (
        parse_iso(bounds[1]),
        parse_iso("2024-03-02T18:00"),
        parse_iso("2024-03-03T12:00"),
    )
    marks = [
        Covered(hour(n), "empty", "binance", fetched_at=asked, reason="the vendor has no bar",
                expires=soon)
        for n in MISSING
    ] + [
        Covered(hour(n), "suspect", "binance", COIN, raw, asked, "high < low", later) for n in BAD
    ]  # fmt: skip
    bars = [Bar(hour(n).start, 3340.0, 3330.5, 3350.25, 3345.0, 100.0 + n) for n in BAD]
    suspects = tuple(BadRow(bar, "high < low") for bar in bars)
    store.commit(FOLDED, Commit((answered,), tuple(marks), suspects, kind=COIN))


# Every code that a stretch of coverage can have as its reason, or in it: a day each.
CODES: tuple[tuple[str, State], ...] = (
    ("off_grid", "empty"), ("market closed", "empty"), ("the vendor has no bar", "empty"),
    ("the vendor has no bar; holidays of that time are unknown, it may have been one", "empty"),
    ("before the first bar", "empty"),
    ("the vendor does not have this bar any more", "suspect"),
    ("the vendor now sends something here that cannot be a bar", "suspect"),
    ("outside the sessions of the market's calendar", "suspect"),
    ("by our own clock alone, which nothing vouches for", "provisional"),
    ("fetched at a time that has not come yet: the clock was wrong then, or is now", "suspect"),
    ("doubtful: acme sent rows that contradict each other", "suspect"),
    ("doubtful: bars are lacking or not to be trusted here and there", "suspect"),
    ("doubtful: read from files on this machine that have changed since", "suspect"),
    ("doubtful: read from files on this machine by another layout than that of the rules",
     "suspect"),
    ("doubtful: as of when prices are adjusted is not known, for this machine's clock is behind",
     "suspect"),
    ("grave: high is 100 times its neighbours", "suspect"),
    ("grave: in the whole series: units: closes are 100 times those before", "suspect"),
    ("settled: high is 100 times its neighbours", "final"),
    ("not among the bars handed in", "empty"),
    ("doubtful: of acme 12 of 40 expected bars did not come", "suspect"),
    ("grave: 3 rows 100 times too large; which of the two units is right cannot be told",
     "suspect"),
)  # fmt: skip
OUT = ("off_grid: no 1d bar opens at 2024-05-01T01:00:00.789Z", "withdrawn by acme",
       "the prices of a final bar times a factor of splits or units")  # fmt: skip


def codes(store: BarStore) -> None:
    """Days that have every code as their reason, and rows of the quarantine that have theirs."""
    start = parse_iso("2024-05-01")
    days = [Span(start + n * DAY_MS, start + (n + 1) * DAY_MS) for n in range(len(CODES))]
    bars = [Bar(day.start, 10.0, 11.0, 9.0, 10.5, 100.0) for day in days]
    with_bars = [bar for bar, (_, state) in zip(bars, CODES, strict=True) if state != "empty"]
    stamps = np.array([bar.stamp_ms for bar in with_bars], dtype=np.int64)
    values = [np.array([bar[place] for bar in with_bars]) for place in range(1, 6)]
    answered = CommitPiece(BarTable(stamps, *values), Span(start, days[-1].end), "acme", NOW,
                           SHARE, Basis("split"), "final")  # fmt: skip
    marks = tuple(
        Covered(day, state, "acme", SHARE, Basis("split"), NOW, reason)
        for day, (reason, state) in zip(days, CODES, strict=True)
    )
    store.commit(ALL_CODES, Commit((answered,), marks, tuple(map(BadRow, bars, OUT))))


def older(root: Path) -> None:
    """Write what other tools left: with a document beside it, and in the flat layout without."""
    places = (
        (root / "ohlcv/LEGA/1d", "LEGA-1d", 2019, "2019-01-04 00:00:00,10.0,10.2,9.8,10.1,900.0"),
        (root / "LEGB/1d", "LEGB-1d", 2018, "2018-06-06 00:00:00,20.0,20.2,19.8,20.1,90.0"),
    )
    for folder, name, year, last in places:
        folder.mkdir(parents=True)
        lines = ["timestamp,open,high,low,close,volume"]
        lines += [",".join([r["timestamp"], *(r[c] for c in COLUMNS[:5])]) for r in answer(name)]
        text = "\n".join([*lines, last, ""]).encode("ascii")
        (folder / f"{year}.csv.gz").write_bytes(gzip.compress(text, mtime=0))
    document = {"symbol": "LEGA", "timeframe": "1d", "year": 2019, "data_source": "yahoo",
                "created_at": "2019-01-05T00:00:00", "last_updated": "2019-01-05T00:00:00"}  # fmt: skip
    (places[0][0] / "2019.metadata.json").write_text(json.dumps(document, indent=2) + "\n")


# --- what a crash or a bad disk left --------------------------------------------------------


def crashed(root: Path) -> None:
    """Write series that were left half-done or damaged."""
    for key in CRASHED.values():
        days = Basis("split")
        store = _store(root)
        store.commit(key, Commit((part("ahead", "2024-05-01", "2024-05-03", SHARE, days),)))
        store.commit(key, Commit((part("ahead", "2024-05-03", "2024-05-06", SHARE, days),)))
    revision = Commit((part("pending-new", "2024-05-02", "2024-05-03", SHARE, Basis("split")),))
    for name, new in (("pending-old", False), ("pending-new", True)):
        _stopped(root, CRASHED[name], revision, is_new=new)
    more = Commit((part("ahead", "2024-05-06", "2024-05-07", SHARE, Basis("split")),))
    for name, bend in BENT.items():
        folder = root / "ohlcv" / CRASHED[name].symbol / "1d"
        before = {path: path.read_bytes() for path in folder.glob("2024.*")}
        _store(root).commit(CRASHED[name], more)
        data = folder / "2024.csv.gz"
        data.write_bytes(bend(data.read_bytes(), len(before[data])))
        for path, content in before.items():
            if path != data and name != "bent":
                path.write_bytes(content)


BENT: dict[str, Callable[[bytes, int], bytes]] = {
    "torn": lambda data, size: data[: size + (len(data) - size) // 2],
    "ahead": lambda data, size: data,
    "bent": lambda data, size: data[: size - 30] + bytes([data[size - 30] ^ 1]) + data[size - 29 :],
}


def _stopped(root: Path, key: SeriesKey, commit: Commit, *, is_new: bool) -> None:
    """Stop a revision just before, or just after, the new file takes the name."""
    folder = root / "ohlcv" / key.symbol
    spare = folder.with_name("spare")
    shutil.copytree(folder, spare)
    for calls in range(99):
        disk = Recorder()
        disk.dies_in = calls
        try:
            _store(root, disk).commit(key, commit)
        except Killed:
            renamed = [
                made.target.name
                for made in disk.disk_calls()
                if made.name == "replace" and made.target
            ]
        if renamed == ["2024.metadata.json", "2024.csv.gz"][: 1 + is_new]:
            shutil.rmtree(spare)
            for temp in folder.rglob("*.tmp"):
                temp.unlink()  # its name tells of the process
            return
        shutil.rmtree(folder)
        shutil.copytree(spare, folder)


def _store(root: Path, disk: Recorder | None = None) -> BarStore:
    return BarStore(root, disk or Recorder(), ManualClock(NOW))


def make(root: Path) -> None:
    """Write the folders ``format-1``, with ``-crashed``, ``-parts`` and ``-codes``."""
    store = _store(root / "format-1")
    for fill in (hours, split_basis, others):
        fill(store)
    older(root / "format-1")
    crashed(root / "format-1-crashed")
    folded(_store(root / "format-1-parts"))
    codes(_store(root / "format-1-codes"))
    for lock in root.rglob(".lock"):
        lock.unlink()


def main(arguments: list[str]) -> None:
    """Write them into the folder that is named, which must be empty."""
    target = Path(arguments[0])
    if target.exists() and any(target.iterdir()):
        sys.exit(f"{target} is not empty: golden files are never written again")
    make(target)


if __name__ == "__main__":
    main(sys.argv[1:])
