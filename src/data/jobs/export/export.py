"""Write cached data to files for other programs; no vendor is queried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.bars.answer.answer import Answer, joined, list_gaps, provenance
from ...core.bars.answer.reader import FetchOutcome, Reader, reasons, rejected_gaps
from ...core.bars.fetch.lane import real_gaps
from ...core.bars.series import UnfilledSpan
from ...core.bars.validity import lifetime_of
from ...core.cache.format.documents import about_series
from ...core.cache.layout import encode_lane, encode_symbol
from ...core.cache.store import BarStore
from ...core.calendars.grid import grid_for
from ...core.calendars.ranges import resolve_range
from ...core.calendars.written_times import FIRST_DAY
from ...core.clock import Clock
from ...core.disk.atomic import export_csv, export_parquet
from ...core.disk.files import Disk
from ...core.model.answer.frame import build_frame
from ...core.model.answer.provenance import ATTRS_KEY, freeze
from ...core.model.identity.instrument import Instrument
from ...core.model.identity.kind import Adjustment, Kind
from ...core.model.identity.series import SeriesKey
from ...core.model.request.query import BarsQuery
from ...core.model.stored.coverage import WITH_BARS
from ...core.model.stored.reasons import Cause
from ...core.model.time.instant import iso
from ...core.model.time.span import Span
from ...core.registry import is_sample
from ...core.wiring import Services, build
from ...errors import (
    CacheError,
    DataError,
    KindMismatchError,
    MissingExtraError,
    QueryError,
    StorageError,
)

if TYPE_CHECKING:
    from ...core.provider_selector import ProviderSelector

__all__ = ["ExportedFile", "Exporter", "ExportOptions", "export_series"]

Format = Literal["csv", "parquet"]


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes:
        start, end: Range, as for ``get_ohlcv``; by default everything stored, from the first bar
            to the last.
        adjustment: ``raw``, ``split`` or ``all``; None means prices as stored, whatever their
            adjustment.
        format: File format.
    """

    start: Any = None
    end: Any = None
    adjustment: Adjustment | None = "split"
    format: Format = "csv"


@dataclass(frozen=True)
class ExportedFile:
    """One exported file.

    Attributes:
        key: Series that was exported.
        path: Path of the file; empty if none was written.
        rows: Number of bars in the file.
        first, last: First and last timestamp in the file, in ISO format.
        problem: Reason why no file was written; empty if one was.
        left_out: Maps each reason to the number of bars that were not written because of it.
        faults: Sentences about bars that are in doubt and gaps, which include rows that cannot be
            bars; empty if there are none.
    """

    key: SeriesKey
    path: str = ""
    rows: int = 0
    first: str | None = None
    last: str | None = None
    problem: str = ""
    left_out: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the export as a JSON-serializable dictionary."""
        names = ("path", "rows", "first", "last", "problem", "left_out", "faults")
        return about_series(self.key) | {name: getattr(self, name) for name in names}


def faults_of(answer: Answer) -> list[str]:
    """Return sentences about an export's gaps and bars in doubt; empty if there are none.

    Splits since the date of the prices are not a fault, because an export is a copy of that date.
    """
    doubts = reasons(answer.coverage, Cause.DOUBTFUL | Cause.GRAVE)
    return list(replace(answer, doubts=doubts, substitute=None).trouble)


def export_series(
    symbol: str,
    timeframe: str,
    path: str | Path,
    wanted: ExportOptions | None = None,
    *,
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
) -> ExportedFile:
    """Write the stored bars of one series to ``path``.

    If there are several lanes (bars from different sources), the one from which the rules would
    answer is written. Rows that cannot be bars are left out; they and other faults of the bars are
    listed in the result.

    Args:
        symbol, timeframe: Series to write.
        path: Path of the file; an existing file is replaced atomically.
        wanted: Options; by default the whole series as CSV, adjusted for splits.
        cache_dir, config_path: See ``DataManager``.

    Raises:
        QueryError: An argument is invalid.
        CacheError: Nothing is stored for the series.
        KindMismatchError: The bars cannot be converted to the requested adjustment.
        MissingExtraError: Parquet was requested, but no engine for it is installed.
        StorageError: The file cannot be written.
    """
    services = build(cache_dir, config_path)
    exporter = Exporter.of(services)
    query = services.client.query(symbol, timeframe, FIRST_DAY)
    lanes = services.client.lanes(query.instrument.symbol, query.timeframe)
    key = next(iter(services.client.answering(lanes)), services.client.series_of(query))
    return exporter.write(key, Path(path), wanted or ExportOptions())


class Exporter:
    """Writes series from one cache to files. Thread-safe; takes no lock.

    Args:
        store: Store of the bars.
        selector: Selector that resolves symbols.
        clock: Source of the current time.
    """

    def __init__(self, store: BarStore, selector: ProviderSelector, clock: Clock) -> None:
        self._store = store
        self._selector = selector
        self._clock = clock
        self._reader = Reader(store, clock)

    @classmethod
    def of(cls, services: Services) -> Exporter:
        """Return an exporter that uses an installation's services."""
        return cls(services.cache.store, services.selector, services.clock)

    def write_all(
        self, keys: Iterable[SeriesKey], folder: Path, wanted: ExportOptions
    ) -> list[ExportedFile]:
        """Write each series to a separate file in ``folder``, which is created if necessary.

        A series that cannot be written is reported with the reason, and the others are still
        written.

        Raises:
            MissingExtraError: See :meth:`write`.
            StorageError: The folder cannot be created.
        """
        self.check_outside(folder)
        Disk().make_folders(folder)
        suffix = "parquet" if wanted.format == "parquet" else "csv"
        done: list[ExportedFile] = []
        for key in keys:
            name = f"{encode_symbol(key.symbol)}-{encode_lane(key)}.{suffix}"
            try:
                done.append(self.write(key, folder / name, wanted))
            except (MissingExtraError, StorageError):
                raise
            except DataError as error:
                done.append(ExportedFile(key, problem=str(error)))
        return done

    def write(self, key: SeriesKey, path: Path, wanted: ExportOptions) -> ExportedFile:
        """Write one series to a file; for the errors, see :func:`export_series`."""
        self.check_outside(path)
        answer = self.stored(key, wanted)
        if not len(answer.table):
            raise CacheError(
                f"nothing is cached for {key} in that range",
                symbol=key.symbol,
                hint="`onetape cache list` shows what is cached",
            )
        frame = build_frame(answer.table, answer.coverage, ())
        frame.attrs[ATTRS_KEY] = freeze(provenance(answer))
        written = (export_parquet if wanted.format == "parquet" else export_csv)(frame, path)
        ends = [iso(int(answer.table.stamps[i])) for i in (0, -1)]
        of_bars = key, str(written), len(answer.table), ends[0], ends[1]
        return ExportedFile(*of_bars, faults=faults_of(answer))

    def stored(self, key: SeriesKey, wanted: ExportOptions) -> Answer:
        """Return the stored bars of a series, without the rows that cannot be bars.

        For the errors, see :func:`export_series`.
        """
        instrument, now_ms = self._instrument(key, wanted), self._clock.now_ms()
        start = FIRST_DAY if wanted.start is None else wanted.start
        span, _ = resolve_range(instrument, key.timeframe, start, wanted.end, now_ms)
        view = self._store.view(key)
        held = view.coverage.spans(lambda entry: entry.state in WITH_BARS)
        if held and span.overlaps(Span(held[0].start, held[-1].end)):
            first = held[0].start if wanted.start is None else span.start
            span = Span(first, min(held[-1].end, span.end) if wanted.end is None else span.end)
        query = BarsQuery(
            instrument,
            key.timeframe,
            span,
            now_ms,
            offline=True,
            # Splits in a recording apply only to bars of that recording.
            provider=key.action_key if is_sample(key.action_key) else None,
            folder_lane=key.of_folder if is_sample(key.action_key) else "",
            adjustment=wanted.adjustment or "split",
        )
        traded = lifetime_of(view).for_gaps(now_ms)
        unfilled = [UnfilledSpan(span.clip(traded), "not cached")]
        try:
            answer = (
                self._as_stored(key, query, span, unfilled)
                if wanted.adjustment is None
                else self._reader.answer(query, key, span, FetchOutcome(unfilled), "older")
            )
        except KindMismatchError as error:
            error.hint = error.hint or (
                "fetch the range in that adjustment, or export the numbers as stored with --raw"
            )
            raise
        kind = view.kind or Kind()
        grid = grid_for(instrument, key.timeframe, kind)
        return replace(answer, gaps=real_gaps(answer.gaps, span.end, grid, kind))

    def _as_stored(
        self, key: SeriesKey, query: BarsQuery, span: Span, unfilled: Sequence[UnfilledSpan]
    ) -> Answer:
        view, table, coverage = self._store.stored_span(key, span)
        traded = lifetime_of(view).for_gaps(query.now_ms)
        gaps = list_gaps(span, coverage, unfilled, query.now_ms, traded)
        gaps = joined(gaps, rejected_gaps(coverage, table))
        facts = {
            "lane": key.folder,
            "generation": view.generation,
            "adjustment": "as stored",
            "asked_at": iso(query.now_ms),
        }
        kind = view.kind or Kind()
        return Answer(query, table, coverage, gaps, kind, facts=facts)

    def _instrument(self, key: SeriesKey, wanted: ExportOptions) -> Instrument:
        try:
            return self._selector.instrument(key.symbol).in_session(key.session)
        except QueryError:
            if wanted.adjustment is not None:
                raise
            # Bars of an unknown symbol can be written as they are stored.
            return Instrument(key.symbol, "crypto")

    def check_outside(self, path: Path) -> None:
        """Reject a path inside the cache folder.

        Raises:
            StorageError: The path is inside the cache folder.
        """
        root = self._store.root.resolve()
        target = path.expanduser().resolve()
        if root == target or root in target.parents:
            raise StorageError(
                f"{path} is inside the cache folder", hint="choose a path outside it"
            )
