"""Inspects a series' quarantined rows and files, and restores valid rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ...core.cache.store import Commit, CommitPiece
from ...core.model.identity.kind import Basis, Kind
from ...core.model.identity.series import SeriesKey
from ...core.model.market.bars import NAN, Bar, BarTable, among
from ...core.model.stored.coverage import WITH_BARS, Coverage
from ...core.model.stored.reasons import WITHDRAWN
from ...core.model.time.instant import iso
from ...core.model.time.span import Span, coalesce
from ...core.prices.adjustment import BasisPart, rebase
from ...core.prices.bar_rule import are_bars
from ...core.runtime.once import cached_property
from ...errors import KindMismatchError

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.wiring import Services

__all__ = ["QuarantineReport", "quarantine_report", "restore"]

_UNKNOWN = Basis("unknown")


@dataclass(frozen=True)
class QuarantineReport:
    """The quarantined rows and files of one series.

    Attributes:
        key: Series that the rows and files belong to.
        rows: Rejected bars as received, each with its defect, in order of arrival.
        files: Names of damaged files in the folder ``_quarantine``, each with the reason.
    """

    key: SeriesKey
    rows: tuple[tuple[Bar, str], ...]
    files: tuple[tuple[str, str], ...]

    @property
    def reasons(self) -> dict[str, int]:
        """Number of quarantined rows for each reason, the most frequent reason first."""
        return dict(Counter(reason.partition(":")[0] for _, reason in self.rows).most_common())

    def to_json(self, *, details: bool = False) -> dict[str, Any]:
        """Return JSON-serializable values; with ``details``, include every row and file."""
        entry: dict[str, Any] = {
            **self.key.entries,
            "rows": len(self.rows),
            "files": len(self.files),
            "reasons": self.reasons,
        }
        if not details:
            return entry
        rows = [
            {"timestamp": iso(bar.stamp_ms)}
            | {
                name: None if v != v else v
                for name, v in zip(bar._fields[1:], bar[1:], strict=True)
            }
            | {"reason": reason}
            for bar, reason in self.rows
        ]
        files = [{"file": name, "reason": reason} for name, reason in self.files]
        return entry | {"rows_kept": rows, "files_kept": files}


def quarantine_report(client: BarsClient, key: SeriesKey) -> QuarantineReport:
    """Return a series' quarantined rows and files, without repairing anything.

    Raises:
        StorageError: The store cannot be read.
    """
    quarantined = client.quarantined(key)
    return QuarantineReport(key, quarantined.rows, quarantined.files)


def restore(services: Services, key: SeriesKey) -> tuple[list[Bar], list[tuple[Bar, str]]]:
    """Restore withdrawn bars at times without a stored bar; return them, and the remaining rows.

    Withdrawn bars were once valid, but their vendor stopped sending them. All other quarantined
    rows were never valid, even if they look like bars (a row with ten times the stored bar's
    prices, for example). A restored bar counts as final, and its prices are adjusted like the bars
    around it: a stock's bar from before a split is converted with the stored splits and dividends,
    and stays quarantined if these are incomplete. A restored bar is requested again only by a
    refresh. Rows that are not restored are returned with the reason. Nothing is removed from the
    quarantine.

    Raises:
        CacheError: The store cannot be read or written.
        QueryError: No rule recognizes the symbol.
    """
    store = services.cache.store
    rows = {b.stamp_ms: (b, reason) for b, reason in services.client.quarantined(key).rows}
    ordered = [rows[stamp] for stamp in sorted(rows)]
    table = BarTable.from_bars([bar for bar, _ in ordered])
    if not ordered:
        return [], []
    span = Span(ordered[0][0].stamp_ms, ordered[-1][0].stamp_ms + 1)
    stored, coverage = store.read(key, span)
    is_bar, is_there = are_bars(table), among(table.stamps, stored.stamps)
    adjuster: _Adjuster | None = None
    done: list[Bar] = []
    refused: list[tuple[Bar, str]] = []
    pieces = []
    for (bar, reason), can_be, has in zip(ordered, is_bar, is_there, strict=True):
        if has or not can_be or not reason.startswith(WITHDRAWN):
            refused.append((bar, "another bar is stored at that time" if has else reason))
            continue
        vendor = reason.removeprefix(WITHDRAWN)
        # A span without bars has no adjustment; its vendors are those that reported it as empty.
        around = (
            entry for entry in coverage if entry.state in WITH_BARS and bar.stamp_ms in entry.span
        )
        nearby = next(around, None)
        adjuster = adjuster or _Adjuster(services, key, span)
        try:
            restored, basis = adjuster.adjusted(bar, vendor, nearby.basis if nearby else None)
        except KindMismatchError as error:
            refused.append((bar, str(error.args[0])))
            continue
        pieces.append(
            CommitPiece(
                restored,
                Span(bar.stamp_ms, bar.stamp_ms + 1),
                vendor,
                nearby.fetched_at if nearby else 0,
                store.view(key).kind or Kind(),
                basis,
                "final",
                keeps=True,
            )
        )
        done += _bars(restored)
    store.commit(key, Commit(tuple(pieces)))
    return done, refused


def _bars(table: BarTable) -> list[Bar]:
    columns = (values.tolist() for values in table.values())
    rows = zip(table.stamps.tolist(), *columns, strict=True)
    return [Bar._make((*row, NAN)[:7]) for row in rows]


class _Adjuster:
    """Converts bars that were removed from a series to the price adjustment of the series.

    A quarantined row does not record its adjustment, but earlier generations (stored versions) of
    the series that contain the bar do.
    """

    def __init__(self, services: Services, key: SeriesKey, span: Span) -> None:
        self._key, self._span, self._store = key, span, services.cache.store
        instrument = services.selector.instrument(key.symbol).in_session(key.session)
        self._is_share = instrument.asset_class == "stock"
        dated = [
            entry.basis for entry in self._store.view(key).coverage if entry.state in WITH_BARS
        ]
        self._newest = max(dated, key=lambda basis: basis.as_of or date.min, default=_UNKNOWN)
        book = self._store.actions(key.symbol).for_bars_of(key.action_key)
        self._book = book.by_date(instrument)

    @cached_property
    def _past_generations(self) -> list[tuple[BarTable, Coverage]]:
        """The earlier generations (stored versions) of the series that are kept, newest first."""
        kept = [commit["generation"] for commit in self._store.commits(self._key) if commit["kept"]]
        return [self._store.read_version(self._key, self._span, n) for n in reversed(kept)]

    def adjusted(self, bar: Bar, vendor: str, wanted: Basis | None) -> tuple[BarTable, Basis]:
        """Convert a bar to the basis (price adjustment) ``wanted``; None means the series' latest one.

        Raises:
            KindMismatchError: The stored data does not show how to convert the bar.
        """
        goal, table = wanted or self._newest, BarTable.from_bars([bar])
        if not self._is_share:
            return table, goal
        bar_basis, bar_span = self._bar_basis(bar), Span(bar.stamp_ms, bar.stamp_ms + 1)
        if bar_basis == goal:
            return table, goal
        if goal.adjustment == "unknown" or (goal.as_of or date.max) < (bar_basis.as_of or date.min):
            raise KindMismatchError(
                "the bars around it have an older adjustment, or an unknown one"
            )
        answered = [answer.span for answer in self._book.answers]
        rebased = rebase(
            table,
            [BasisPart(bar_span, bar_basis, vendor)],
            self._book.actions,
            goal.adjustment,
            as_of=goal.as_of,
            own=self._book.of,
            intraday=self._key.timeframe.is_intraday,
            timeframe=self._key.timeframe,
            fetched_dates=coalesce(answered),
        )
        return rebased, goal

    def _bar_basis(self, bar: Bar) -> Basis:
        """Return the basis (price adjustment) that the bar had when it was last stored, or ``unknown``."""
        for table, coverage in self._past_generations:
            for row in _bars(table.within(Span(bar.stamp_ms, bar.stamp_ms + 1))):
                entry = next((entry for entry in coverage if bar.stamp_ms in entry.span), None)
                if entry is not None and row[1:5] == bar[1:5]:
                    return entry.basis
        return _UNKNOWN
