"""The disk space that bars take."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from onetape.data.core.cache.facade.unified_cache import UnifiedCache
from onetape.data.core.cache.store import BarStore, Commit, CommitPiece
from onetape.data.core.model.answer.frame import build_frame
from onetape.data.core.model.identity.kind import Basis
from onetape.data.core.model.identity.series import SeriesKey
from onetape.data.core.model.market.bars import BarTable
from onetape.data.core.model.time.instant import DAY_MS, MINUTE_MS
from onetape.data.core.model.time.span import Span
from onetape.data.core.model.time.timeframe import Timeframe

from .harness import Figure, Report, Row
from .stage import COIN, FETCHED, YEAR, made_up

_NOTE = (
    "The table shows the size on the disk:\n\n"
    "- *MB*: in megabytes;\n"
    "- *plain CSV*: as a fraction of the same bars written by `to_csv`;\n"
    "- *values*: as a fraction of 48 bytes a bar, which HDF5 needs for a frame in its fixed "
    "format."
)
_SMALL = "plain CSV <= 0.40, values <= 0.46"
_MEMBERS = 64


def measure() -> Report:
    """Measure the files of a year of minutes: as written, appended to, and with its columns."""
    with TemporaryDirectory() as folder:
        store = BarStore(Path(folder), columnar="map")
        year, days = made_up(YEAR, MINUTE_MS), made_up(YEAR, DAY_MS)
        _commit(store, "1m", year.take(slice(0, -_MEMBERS)), YEAR.start)
        rows = [_row(store, "a year of minutes, gzip CSV", "1m", year, _SMALL)]
        for bar in range(len(year) - _MEMBERS, len(year)):
            _commit(store, "1m", year.take(slice(bar, bar + 1)), int(year.stamps[bar]))
        name = f"... after {_MEMBERS} bars, one at a time"
        rows.append(_row(store, name, "1m", year, _SMALL))
        _make_columns(store)
        name = "... with the columnar file"
        rows.append(_row(store, name, "1m", year, "plain CSV <= 1.5", columns=True))
        _commit(store, "1d", days, YEAR.start)
        rows.append(_row(store, "a year of days", "1d", days, "plain CSV <= 0.5"))
    return Report("Size", _NOTE, rows, less=("plain CSV", "values"))


def _row(
    store: BarStore, name: str, label: str, table: BarTable, goal: str, *, columns: bool = False
) -> Row:  # fmt: skip
    symbol = _key(label).symbol
    size = _bytes(store.root / "ohlcv" / symbol / label, ".csv.gz")
    if columns:
        size += _bytes(store.root / "_columnar" / symbol, ".bars")
    figures = {
        "MB": size / 1e6,
        "plain CSV": size / len(build_frame(table).to_csv().encode()),
        "values": size / (48 * len(table)),
    }
    return Row(name, {name: Figure.of([value]) for name, value in figures.items()}, goal)


def _bytes(folder: Path, ending: str) -> int:
    return sum(path.stat().st_size for path in folder.rglob(f"*{ending}"))


def _commit(store: BarStore, label: str, table: BarTable, start: int) -> None:
    step = _key(label).timeframe.step_ms or DAY_MS
    span = Span(start, int(table.stamps[-1]) + step)
    piece = CommitPiece(table, span, "sample", FETCHED, COIN, Basis("raw"), "final")
    store.commit(_key(label), Commit((piece,), kind=COIN))


def _key(label: str) -> SeriesKey:
    return SeriesKey("BTCUSDT", Timeframe.parse(label))


def _make_columns(store: BarStore) -> None:
    """Read the year, which creates the columnar file, and check that the statistics count it."""
    before = UnifiedCache(store.root).get_stats()["total_size_gb"]
    store.read(_key("1m"), YEAR)
    grown = (UnifiedCache(store.root).get_stats()["total_size_gb"] - before) * 2**30
    if round(grown) < _bytes(store.root / "_columnar", ".bars") or grown == 0:
        raise RuntimeError("the columnar file is not counted in the stats")


if __name__ == "__main__":
    print(measure())
