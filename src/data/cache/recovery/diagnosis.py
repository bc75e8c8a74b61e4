"""What is wrong with a year as it lies there, and what repairing it would do. Nothing is changed.

The cases, and their order, are those of :mod:`.recovery`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...errors import FormatVersionError
from ...model.bars import BarTable
from ...model.instant import SECOND_MS
from ...model.span import Span, coalesce, gaps
from ..format.gzip_member import file_id, is_ours
from ..format.json_document import DamagedError
from ..format.year_document import YearMeta, YearState
from ..read.year_file import MismatchError, rows_of
from ..write.coverage_update import year_span
from ..write.series import SeriesFiles
from .recover import recorded_state
from .salvage import Scan, salvage, scan

Cure = Literal["recover", "rebuild", "drop", "none"]
# So long after the last change of a file a writer may still be at it.
IN_FLIGHT_MS = 10 * SECOND_MS


@dataclass(frozen=True)
class Ailment:
    """One thing wrong with one file.

    Attributes:
        what: is wrong.
        remedy: what a repair does, or what the user can do.
        cure: how it is repaired; ``none`` where it cannot be.
        in_flight: whether a commit on its way looks the same.
    """

    what: str
    remedy: str
    cure: Cure = "recover"
    in_flight: bool = False


def diagnose(lane: SeriesFiles, year: int, *, is_locked: bool = False) -> Ailment | None:
    """Return what is wrong with a year, None when nothing is; a file of another tool is not ours.

    A commit that is on its way, or that came between, is told from damage by its youth; with the
    lane's lock there is none.
    """
    found = _diagnosed(lane, year)
    is_commit = found is not None and found.in_flight and not is_locked
    return None if is_commit and is_young(lane, year) else found


def is_young(lane: SeriesFiles, year: int) -> bool:
    """Tell whether a file of the year was changed so lately that a commit may be on its way."""
    now_ns = lane.disk.now_ns()
    states = (lane.disk.stat(path) for path in (lane.paths.data(year), lane.paths.metadata(year)))
    return any(s is not None and now_ns - s.mtime_ns < IN_FLIGHT_MS * 1_000_000 for s in states)


def _diagnosed(lane: SeriesFiles, year: int) -> Ailment | None:
    content = lane.disk.read_if_exists(lane.paths.data(year))
    damage, meta = "", None
    try:
        meta = lane.meta(year)
        if content is None:
            return _without_data(meta)
        if not is_ours(content) and (meta is None or not meta.state.size):
            return _of_another_tool(meta)
        seen = scan(content, file_id(lane.key, year))
    except DamagedError as exc:
        damage = str(exc)
        if content is None:
            return Ailment(
                f"the metadata are damaged ({exc}), and there are no bars",
                "the metadata are kept in quarantine",
            )
        if not is_ours(content):
            return None  # other tools seal nothing
        seen = scan(content, file_id(lane.key, year))
    except FormatVersionError as exc:
        return Ailment(str(exc.args[0]), "it is left as it is; update this library", "none")
    return _of_ours(lane, year, meta, seen, damage)


def _without_data(meta: YearMeta | None) -> Ailment | None:
    if meta is None or (not meta.state.size and meta.pending is None):
        return None
    if not meta.state.size:
        return Ailment("its first commit was not finished", "that is forgotten", in_flight=True)
    return Ailment(
        f"the data file is gone, and {_bars(meta.state.rows)} with it",
        "they count as missing, and are asked for again",
    )


def _of_another_tool(meta: YearMeta | None) -> Ailment | None:
    if meta is None:
        return None
    return Ailment(
        "another tool's file was not taken over to the end",
        "it is given back its own metadata",
        in_flight=True,
    )


def _of_ours(
    lane: SeriesFiles, year: int, meta: YearMeta | None, seen: Scan, damage: str
) -> Ailment | None:
    recorded = recorded_state(lane, meta, seen) if meta is not None else None
    if meta is not None and recorded is not None:
        if not seen.tail or not seen.goes_on():
            return _as_recorded(meta, recorded, seen) or _inside(lane, year, meta, seen)
    elif seen.is_whole:
        what = "the metadata are not those of the data" if meta else "there are no metadata"
        what = f"the metadata are damaged ({damage})" if damage else what
        return Ailment(
            what, f"they are made anew from the {_bars(_rows(seen))}", in_flight=not damage
        )
    return _damaged_inside(lane, year, meta, seen)


def _as_recorded(meta: YearMeta, recorded: tuple[YearState, int], seen: Scan) -> Ailment | None:
    """Say what stands behind the recorded state, or that a rewrite was not finished."""
    rows = sum(member.header.rows for member in seen.members[recorded[1] :])
    if rows:
        return Ailment(
            f"not in the metadata, and so not read: {_bars(rows)} that were committed",
            "they are taken in",
            in_flight=True,
        )
    if seen.tail:
        return Ailment(
            f"{len(seen.tail):,} bytes of a torn append stand behind the bars",
            "they are kept in quarantine, and cut off",
            in_flight=True,
        )
    if meta.pending is not None:
        is_new = recorded[0] is meta.pending
        said = "the new file is there and counts" if is_new else "the old file stays"
        return Ailment("a rewrite was not finished", said, in_flight=True)
    return None


def _damaged_inside(lane: SeriesFiles, year: int, meta: YearMeta | None, seen: Scan) -> Ailment:
    kept = sum(s.header.rows for s in salvage(seen, file_id(lane.key, year)))
    lost = meta.state.rows - kept if meta is not None else 0
    what = f"the data are damaged at byte {seen.end:,} of {len(seen.content):,}"
    remedy = f"the file is kept in quarantine, and {_bars(kept)} of it in its place"
    if lost > 0:
        remedy += f"; to be asked for again: {_bars(lost)}"
    return Ailment(what, remedy)


# --- bars against what is said of them -----------------------------------------------------


def _inside(lane: SeriesFiles, year: int, meta: YearMeta, seen: Scan) -> Ailment | None:
    """Look at every bar: whether it is where its member and the metadata say that bars are."""
    last: int | None = None
    known = coalesce(c.span for c in meta.state.coverage if c.state != "empty")
    outside = 0
    for place, member in enumerate(seen.members):
        try:
            table = rows_of(member, meta.state.columns, first=place == 0)
        except MismatchError as exc:
            return _beyond_repair(str(exc))
        problem = _misplaced(table, member.header.span, year_span(year), last)
        if problem:
            return _beyond_repair(problem)
        outside += len(table) - sum(len(table.within(span)) for span in known)
        last = int(table.stamps[-1]) if len(table) else last
    if outside:
        return Ailment(
            f"the metadata know nothing of {_bars(outside)} in the file",
            "the metadata are made anew from the bars",
            "rebuild",
        )
    return None


def _misplaced(table: BarTable, span: Span, year: Span, last: int | None) -> str:
    """Return how the bars of a member are not those that it announces; empty when they are."""
    stamps = table.stamps
    if not len(stamps):
        return ""
    if (np.diff(stamps) <= 0).any() or (last is not None and stamps[0] <= last):
        return "stamps do not ascend"
    if gaps(Span(int(stamps[0]), int(stamps[-1]) + 1), [span.clip(year)]):
        return "bars lie outside of what their member or year can hold"
    return ""


def _beyond_repair(what: str) -> Ailment:
    return Ailment(
        f"sound bytes say what cannot be: {what}",
        "this cannot be repaired; `onetape cache clear` and fetch it again",
        "none",
    )


def _rows(seen: Scan) -> int:
    return sum(member.header.rows for member in seen.members)


def _bars(count: int) -> str:
    return f"{count:,} bar" if count == 1 else f"{count:,} bars"
