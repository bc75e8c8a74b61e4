"""A series as it was: the log of its commits, and the bars after one of them."""

from __future__ import annotations

from typing import Any

from ..errors import QueryError
from ..model.bars import BarTable, concat
from ..model.coverage import Coverage
from ..model.span import Span
from .lane import Lane
from .ledger import after_members, year_span
from .members import file_id, walk
from .rewrite import versions
from .years import rows_of


def log_of(lane: Lane) -> list[dict[str, Any]]:
    """Return the logged commits of all years, oldest first, each with its ``year``."""
    entries = [entry | {"year": year} for year in lane.years() for entry in lane.log_entries(year)]
    return sorted(entries, key=lambda entry: (entry["generation"], entry["year"]))


def read_version(lane: Lane, span: Span, generation: int) -> tuple[BarTable, Coverage]:
    """Return the bars in ``span`` as they were right after commit ``generation``.

    The coverage is what the bars themselves say; what only metadata knew then is not kept.

    Raises:
        QueryError: that generation never was, or its bars are not kept any more.
    """
    newest = max((entry["generation"] for entry in log_of(lane)), default=0)
    if not 0 < generation <= newest:
        raise QueryError(
            f"{lane.key} has no version {generation}",
            symbol=lane.key.symbol,
            hint=f"versions 1 to {newest} were written" if newest else "nothing is stored",
        )
    tables: list[BarTable] = []
    coverage = Coverage()
    for year in lane.years():
        if year_span(year).overlaps(span):
            table, known = _year(lane, year, generation)
            tables.append(table.within(span))
            coverage = coverage.overlaid(known)
    return concat(tables), coverage.within(span)


def _year(lane: Lane, year: int, generation: int) -> tuple[BarTable, Coverage]:
    """Return the bars of one year: those of the oldest kept file that still has them all."""
    entries = [e for e in lane.log_entries(year) if e["generation"] <= generation]
    if not entries:
        return BarTable.empty(), Coverage()
    own = max(entry["generation"] for entry in entries)
    path = next((p for known, p in versions(lane, year) if known >= own), lane.paths.data(year))
    content = lane.disk.read_if_exists(path) or b""
    chain = [member for _, member in walk(content, file_id(lane.key, year))]
    columns = chain[0].columns if chain else ()
    members = [member for member in chain if member.header.seq <= own]
    # Compaction joins commits for good: the log tells whether what is left is the whole.
    if sum(m.header.rows for m in members) != sum(e["added"] - e["removed"] for e in entries):
        raise QueryError(
            f"the bars of {lane.key} {year} as of version {generation} are not kept any more",
            symbol=lane.key.symbol,
            hint="only versions before a revision, and those since the last compaction, are kept",
        )
    tables = [rows_of(m, columns, first=place == 0) for place, m in enumerate(members)]
    return concat(tables), after_members(Coverage(), (m.header for m in members))
