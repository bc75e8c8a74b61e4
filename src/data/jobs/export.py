"""Write what the cache holds to files for other programs; no vendor is asked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ..bars.answer.answer import Answer, provenance
from ..bars.answer.reader import FetchOutcome, Reader
from ..cache.layout import encode_lane, encode_symbol
from ..cache.store import BarStore
from ..calendars.ranges import resolve_range
from ..calendars.written_times import FIRST_DAY
from ..clock import Clock
from ..disk.atomic import export_csv, export_parquet
from ..disk.files import Disk
from ..errors import (
    DataError,
    KindMismatchError,
    MissingExtraError,
    QueryError,
    StorageError,
)
from ..model.frame import build_frame
from ..model.instant import iso
from ..model.instrument import Instrument
from ..model.kind import Adjustment, Kind
from ..model.provenance import ATTRS_KEY, freeze
from ..model.query import BarsQuery
from ..model.series import SeriesKey
from ..model.span import Span
from ..vendors.registry import is_sample
from ..wiring import Services, build

if TYPE_CHECKING:
    from ..provider_selector import ProviderSelector

__all__ = ["Exported", "Exporter", "Wanted", "export_series"]

Format = Literal["csv", "parquet"]


@dataclass(frozen=True)
class Wanted:
    """What is written.

    Attributes:
        start, end: as for the data manager; by default all that is stored.
        adjustment: ``raw``, ``split`` or ``all``; None: the prices as they are stored, whatever
            they were adjusted for.
        format: of the files.
    """

    start: Any = None
    end: Any = None
    adjustment: Adjustment | None = "split"
    format: Format = "csv"


@dataclass(frozen=True)
class Exported:
    """One file.

    Attributes:
        key: the series.
        path: the file; empty where none was written.
        rows: bars in it.
        first, last: their outermost stamps, as ISO texts.
        problem: why there is no file.
    """

    key: SeriesKey
    path: str = ""
    rows: int = 0
    first: str | None = None
    last: str | None = None
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        names = ("path", "rows", "first", "last", "problem")
        plain = {"symbol": self.key.symbol, "timeframe": self.key.timeframe.label}
        plain |= {"lane": self.key.lane_label}
        return plain | {name: getattr(self, name) for name in names}


def export_series(
    symbol: str,
    timeframe: str,
    path: str | Path,
    wanted: Wanted | None = None,
    *,
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
) -> Exported:
    """Write one series to ``path``, whole or not at all: the stored lane that answers by the rules.

    Args:
        symbol, timeframe: which series.
        path: the file; one of that name is replaced at one stroke.
        wanted: what of it, and how; by default all of it as CSV, adjusted for splits.
        cache_dir, config_path: as for the data manager.

    Raises:
        QueryError: an argument is wrong, or nothing of it is stored.
        KindMismatchError: the bars cannot be brought to that adjustment.
        MissingExtraError: Parquet was asked for, and no engine for it is installed.
        StorageError: the file cannot be written.
    """
    services = build(cache_dir, config_path)
    exporter = Exporter.of(services)
    query = services.client.query(symbol, timeframe, FIRST_DAY)
    lanes = services.client.lanes(query.instrument.symbol, query.timeframe)
    key = next(iter(services.client.answering(lanes)), services.client.series_of(query))
    return exporter.write(key, Path(path), wanted or Wanted())


class Exporter:
    """Writes series of one cache. Thread-safe; takes no lock.

    Args:
        store: where the bars are.
        selector: understands symbols.
        clock: the time.
    """

    def __init__(self, store: BarStore, selector: ProviderSelector, clock: Clock) -> None:
        self._store = store
        self._selector = selector
        self._clock = clock
        self._reader = Reader(store, clock)

    @classmethod
    def of(cls, services: Services) -> Exporter:
        """Return one that works with these services."""
        return cls(services.cache.store, services.selector, services.clock)

    def write_all(self, keys: Iterable[SeriesKey], folder: Path, wanted: Wanted) -> list[Exported]:
        """Write each series to a file of its own in ``folder``, which is made if need be.

        A series that cannot be written is reported with its reason, and the others go on.

        Raises:
            MissingExtraError: as :meth:`write`.
            StorageError: the folder cannot be made.
        """
        self._check_outside(folder)
        Disk().make_folders(folder)
        suffix = "parquet" if wanted.format == "parquet" else "csv"
        done: list[Exported] = []
        for key in keys:
            name = f"{encode_symbol(key.symbol)}-{encode_lane(key)}.{suffix}"
            try:
                done.append(self.write(key, folder / name, wanted))
            except (MissingExtraError, StorageError):
                raise
            except DataError as error:
                done.append(Exported(key, problem=str(error)))
        return done

    def write(self, key: SeriesKey, path: Path, wanted: Wanted) -> Exported:
        """Write one series; raises as :func:`export_series`."""
        self._check_outside(path)
        answer = self._answer(key, wanted)
        if not len(answer.table):
            raise QueryError(
                f"nothing is cached of {key} in that range",
                symbol=key.symbol,
                hint="`onetape cache list` shows what is",
            )
        frame = build_frame(answer.table, answer.coverage, ())
        frame.attrs[ATTRS_KEY] = freeze(provenance(answer))
        written = (export_parquet if wanted.format == "parquet" else export_csv)(frame, path)
        ends = [iso(int(answer.table.stamps[i])) for i in (0, -1)]
        return Exported(key, str(written), len(answer.table), ends[0], ends[1])

    def _answer(self, key: SeriesKey, wanted: Wanted) -> Answer:
        instrument, now = self._instrument(key, wanted), self._clock.now_ms()
        start = FIRST_DAY if wanted.start is None else wanted.start
        span, _ = resolve_range(instrument, key.timeframe, start, wanted.end, now)
        query = BarsQuery(
            instrument,
            key.timeframe,
            span,
            now,
            offline=True,
            # What a recording tells of splits counts for its own bars alone.
            provider=key.teller if is_sample(key.teller) else None,
            folder_lane=key.of_folder if is_sample(key.teller) else "",
            adjustment=wanted.adjustment or "split",
        )
        if wanted.adjustment is None:
            return self._as_stored(key, query, span)
        try:
            return self._reader.answer(query, key, span, FetchOutcome(), lenient=True)
        except KindMismatchError as error:
            error.hint = error.hint or (
                "fetch the range in that adjustment, or export the numbers as stored with --raw"
            )
            raise

    def _as_stored(self, key: SeriesKey, query: BarsQuery, span: Span) -> Answer:
        view, table, coverage, _ = self._store.stretch(key, span)
        facts = {
            "lane": key.folder,
            "generation": view.generation,
            "adjustment": "as stored",
            "asked_at": iso(query.now_ms),
        }
        return Answer(query, table, coverage, kind=view.kind or Kind(), facts=facts)

    def _instrument(self, key: SeriesKey, wanted: Wanted) -> Instrument:
        try:
            return self._selector.instrument(key.symbol).in_session(key.session)
        except QueryError:
            if wanted.adjustment is not None:
                raise
            # Bars of a symbol that is not understood can be written as they are stored.
            return Instrument(key.symbol, "crypto")

    def _check_outside(self, path: Path) -> None:
        """Refuse what would lie among the stored series."""
        root = self._store.root.resolve()
        place = path.expanduser().resolve()
        if root == place or root in place.parents:
            raise StorageError(
                f"{path} would lie in the cache folder", hint="name a place outside of it"
            )
