"""What is kept aside of a series: looked at, put back where it can be a bar, and deleted for good."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..cache.store import Commit, CommitPiece
from ..model.bars import Bar, BarTable, among
from ..model.coverage import OFF_GRID, WITHDRAWN
from ..model.instant import iso
from ..model.kind import Basis, Kind
from ..model.series import SeriesKey
from ..model.span import Span
from ..prices.bar_rule import are_bars

if TYPE_CHECKING:
    from ..bars.client import BarsClient
    from ..wiring import Services

__all__ = ["QuarantineReport", "quarantine_report", "restore"]


@dataclass(frozen=True)
class QuarantineReport:
    """What is kept aside of one series.

    Attributes:
        key: which series.
        rows: bars as received, each with its defect, in the order they came.
        files: names of damaged files in the folder ``_quarantine``, each with the reason.
    """

    key: SeriesKey
    rows: tuple[tuple[Bar, str], ...]
    files: tuple[tuple[str, str], ...]

    @property
    def reasons(self) -> dict[str, int]:
        """How many rows are there for which reason, the most frequent first."""
        return dict(Counter(reason.partition(":")[0] for _, reason in self.rows).most_common())

    def to_json(self, *, details: bool = False) -> dict[str, Any]:
        """Return plain values; with ``details`` every row and file."""
        plain: dict[str, Any] = {
            "symbol": self.key.symbol,
            "timeframe": self.key.timeframe.label,
            "lane": self.key.lane_label,
            "rows": len(self.rows),
            "files": len(self.files),
            "reasons": self.reasons,
        }
        if not details:
            return plain
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
        return plain | {"rows_kept": rows, "files_kept": files}


def quarantine_report(client: BarsClient, key: SeriesKey) -> QuarantineReport:
    """Return what is kept aside of a series; nothing is repaired for it.

    Raises:
        StorageError: the store cannot be read.
    """
    kept = client.quarantined(key)
    return QuarantineReport(key, kept.rows, kept.files)


def restore(services: Services, key: SeriesKey) -> tuple[list[Bar], list[tuple[Bar, str]]]:
    """Put back the rows that can be bars, where no bar is stored; return them, and what stays aside.

    These are bars that their vendor did not send any more: they were right once. Each counts as
    final, with the adjustment of the bars around it, and is asked for again by a refresh alone. What
    stays is given with the reason. Nothing leaves the quarantine by it.

    Raises:
        CacheError: the store cannot be read or written.
    """
    store = services.cache.store
    rows = {b.stamp_ms: (b, reason) for b, reason in services.client.quarantined(key).rows}
    ordered = [rows[stamp] for stamp in sorted(rows)]
    table = BarTable.from_bars([bar for bar, _ in ordered])
    if not ordered:
        return [], []
    stored, coverage = store.read(key, Span(ordered[0][0].stamp_ms, ordered[-1][0].stamp_ms + 1))
    is_bar, is_there = are_bars(table), among(table.stamps, stored.stamps)
    done: list[Bar] = []
    left: list[tuple[Bar, str]] = []
    pieces = []
    for (bar, reason), can_be, has in zip(ordered, is_bar, is_there, strict=True):
        if has or not can_be or reason.startswith(OFF_GRID):
            left.append((bar, "a bar is stored there" if has else reason))
            continue
        part = next((part for part in coverage if bar.stamp_ms in part.span), None)
        vendor = reason.removeprefix(WITHDRAWN) if part is None or not part.vendor else part.vendor
        pieces.append(
            CommitPiece(
                BarTable.from_bars([bar]),
                Span(bar.stamp_ms, bar.stamp_ms + 1),
                vendor,
                part.fetched_at if part else 0,
                store.view(key).kind or Kind(),
                part.basis if part else Basis(),
                "final",
                keeps=True,
            )
        )
        done.append(bar)
    store.commit(key, Commit(tuple(pieces)))
    return done, left
