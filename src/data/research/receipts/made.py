"""Makes the receipt of a run from its record, or of a bundle that was built from the store."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ...core.calendars.calendar import ALWAYS_OPEN
from ...core.calendars.grid import BarGrid
from ...core.model.identity.kind import SESSIONS
from ...core.model.market.actions import amount_on, current
from ...core.model.market.bars import BarTable, among, concat
from ...core.model.time.instant import SECOND_MS, date_of, iso, parse_iso
from ...core.model.time.span import Span, coalesce
from ...core.registry import MADE_UP
from ...data_manager import get_data_manager
from ...errors import QueryError
from ..bundles.bundle import Bundle
from ..lineage.lineage import Lineages, lineage
from ..lineage.lineage_check import of_then
from ..lineage.run_records import RunRecord, SeriesRead
from ..settings.folder import bundles_folder
from .digests import FEWEST, Paid, grid_of, months_of
from .lines import (
    NOBODY,
    Series,
    actions_line,
    bars_line,
    calendar_line,
    gaps_lines,
    is_within,
    known_actions,
    lane_word,
    paid,
    run_line,
    terms_lines,
    vendor_word,
)
from .receipt import Line, Receipt, encoded, ranges

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...data_manager import DataManager

# A price of two versions of a bar is the same up to this relative difference.
_SAME = 1e-6
_MOST_NAMED = 5
# The vendors of lines that name none.
_VENDORS = {"macro": "fred", "filing": "sec"}


def make(
    run: str,
    path: str | os.PathLike[str] | None = None,
    *,
    folder: str | os.PathLike[str] | None = None,
    manager: DataManager | None = None,
) -> Receipt:
    """Return the receipt of a recorded run, or of a bundle.

    No bars are fetched; splits and dividends that are not stored are.

    Args:
        run: Id of a run (see :func:`onetape.bundles.lineage`), or name of a bundle that was built from
            the store.
        path: File to write it to, with ``.months`` beside it; None means that nothing is written.
        folder: Bundles folder; if None, the configured one.
        manager: Data manager whose store has the bars; None means ``get_data_manager()``.

    Raises:
        QueryError: There is no such run or bundle; the run has not ended; something was read and not
            recorded; bars of the run no longer exist, or it read two versions of one; the bundle
            differs from the store.
        StorageError: A file could not be read or written.
    """
    lineages = Lineages(folder, manager)
    try:
        record = lineages.get(run)
    except QueryError:
        record = _reads_of_bundle(run, folder, manager)
    receipt = receipt_of(lineages.client, record)
    if path is not None:
        receipt.write(path)
    return receipt


def _reads_of_bundle(
    name: str, folder: str | os.PathLike[str] | None, manager: DataManager | None
) -> RunRecord:
    """Return the reads that answer a bundle's request, after comparing it with the store.

    Raises:
        QueryError: There is no such run or bundle, or the bundle differs from the store.
    """
    try:
        bundle = Bundle(name, folder)
        found = bundle.exists()
    except QueryError:  # a run's id that is not the name of a bundle
        found = False
    if not found:
        raise QueryError(
            f"there is no run and no bundle {name!r} in {bundles_folder(folder)}",
            hint="`onetape bundle lineage list` and `onetape bundle list` list them",
        )
    lineages = Lineages(folder, manager)
    with lineage(folder=folder, manager=manager) as run:
        state, causes = bundle.state(manager or get_data_manager())
    record = lineages.get(run.id)
    lineages.forget(run.id)
    if state != "current":
        raise QueryError(
            f"bundle {name} is {state}, not equal to the store: {'; '.join(causes)}",
            hint=f"run `onetape bundle refresh {name}`",
        )
    return replace(record, run=name)


def receipt_of(client: BarsClient, record: RunRecord) -> Receipt:
    """Return the receipt of a recorded run; see :func:`make` for the errors.

    Args:
        client: Client that reads the stored bars.
        record: Record of the run.
    """
    if not record.ended:
        raise QueryError(
            f"run {record.run!r} has no recorded end", hint="make the receipt when it has ended"
        )
    if record.unrecorded:
        named = ", ".join(record.unrecorded[:_MOST_NAMED])
        raise QueryError(
            f"run {record.run!r} has no receipt: {named} was read in another thread, without a record",
            hint="start threads with contextvars.copy_context().run",
        )
    others = [Line.of(text) for text in record.others]
    if not record.reads and not others:
        raise QueryError(f"run {record.run!r} has no receipt: nothing was read")
    known_ms = max(map(_known_ms, record.reads), default=parse_iso(record.started))
    at_ms = -(-known_ms // SECOND_MS) * SECOND_MS
    lines, months = _lines_of_series(client, record.reads, at_ms)
    vendors = {line.values["vendor"] for line in lines if "vendor" in line.values} - {NOBODY}
    vendors |= {_VENDORS[line.kind] for line in others if line.kind in _VENDORS}
    receipt = Receipt.of([run_line(record.run, at_ms), *terms_lines(vendors), *lines, *others])
    none = {line.text: bytes(8 * len(line.months)) for line in receipt.of_kind("bars")}
    return replace(receipt, months=b"".join({**none, **months}[text] for text in none))


def _known_ms(read: SeriesRead) -> int:
    """Return the time by which everything in a read was known."""
    return read.asked_ms if read.opened_by_ms is None else read.opened_by_ms


def _lines_of_series(
    client: BarsClient, reads: Sequence[SeriesRead], at_ms: int
) -> tuple[list[Line], dict[str, bytes]]:
    """Return the lines of all series, and the months of each line of bars by its text."""
    groups: dict[tuple[str, str, str], list[SeriesRead]] = defaultdict(list)
    for read in sorted(reads, key=_known_ms):
        word = lane_word(client.instrument(read.key))
        groups[read.key.symbol, read.key.timeframe.label, word].append(read)
    _complete_actions(client, groups, at_ms)
    lines, bars, years = list[Line](), list[Series](), defaultdict[str, list[date]](list)
    for name, mine in groups.items():
        grid = client.outline(mine[0].key).grid
        found = _series_of(client, name, mine, grid)
        bars += found
        lines += [*gaps_lines(name, found, grid), *_forming(name, mine)]
        for one in found:
            years[grid.calendar.name] += map(date_of, one.table.stamps[[0, -1]].tolist())
    months: dict[str, bytes] = {}
    for symbol, vendor in sorted({(one.symbol, one.vendor) for one in bars}):
        its = [one for one in bars if (one.symbol, one.vendor) == (symbol, vendor)]
        span, joined = Span(min(one.spans[0].start for one in its), at_ms), None
        if its[0].lane in SESSIONS:
            actions = _actions(client, [r for r in reads if r.key.symbol == symbol], vendor, span)
            joined = actions if len(actions) < FEWEST else None
            lines.append(actions_line(symbol, vendor, span, actions))
        for one in its:
            line = bars_line(one, joined)
            lines.append(line)
            months[line.text] = b"".join(months_of(one.table, grid_of(one.table)))
    until = date_of(at_ms)
    calendars = [
        calendar_line(code, min(days), max(days), until)
        for code, days in years.items()
        if code != ALWAYS_OPEN
    ]
    return lines + calendars, months


def _complete_actions(
    client: BarsClient, groups: Mapping[tuple[str, str, str], Sequence[SeriesRead]], at_ms: int
) -> None:
    """Fetch the splits and dividends that are not stored, without which bars as traded are not known.

    Raises:
        DataError: They could not be fetched.
        QueryError: A share is made up.
    """
    for (symbol, _, word), reads in groups.items():
        starts = [read.spans[0].start for read in reads if read.pieces]
        pinned = {read.key.action_key for read in reads}
        for vendor in pinned if word in SESSIONS and starts else ():
            span = Span(min(starts), at_ms)
            if vendor in MADE_UP:
                raise QueryError(f"the run has no receipt: {symbol} from {vendor} is made up")
            if client.lacks_actions(symbol, span, vendor):
                client.get_actions(symbol, date_of(span.start), date_of(span.end), provider=vendor)


def _series_of(
    client: BarsClient, name: tuple[str, str, str], reads: Sequence[SeriesRead], grid: BarGrid
) -> list[Series]:
    """Return the bars of some reads of one series, apart by vendor.

    Raises:
        QueryError: Some bars no longer exist, or the reads have two versions of one.
    """
    pairs = [_as_traded(client, read) for read in reads if read.pieces]
    table = concat(table for table, _ in pairs)
    owners = np.concatenate([np.array([], object), *(owners for _, owners in pairs)])
    order = np.argsort(table.stamps, kind="stable")
    table, owners = table.take(order), owners[order]
    again = table.stamps[1:] == table.stamps[:-1]
    rows = np.column_stack(table.values()[:5])
    differ = ~np.isclose(rows[1:], rows[:-1], rtol=_SAME, atol=0, equal_nan=True).all(axis=1)
    if (again & differ).any():
        stamp = int(table.stamps[1:][again & differ][0])
        raise QueryError(
            f"the run has no receipt: it read two versions of {' '.join(name[:2])}, which differ at "
            f"{iso(stamp)}",
            hint="run it again: bars that no longer change have one version",
        )
    first = np.append(True, ~again)[: len(table)]
    table, owners = table.take(first), owners[first]
    spans = _joined((span for read in reads for span in read.spans), grid)
    place = np.searchsorted([span.start for span in spans], table.stamps, side="right")
    found = []
    for vendor in sorted(set(owners)):
        mine = owners == vendor
        part, runs = (
            table.take(mine),
            np.cumsum(~mine, dtype=np.int64)[mine] + len(table) * place[mine],
        )
        cuts = np.flatnonzero(np.diff(runs, prepend=-1, append=-1))
        pieces = [Span(int(part.stamps[a]), int(part.stamps[b - 1]) + 1) for a, b in pairwise(cuts)]
        found.append(Series(*name, vendor, pieces, part))
    return found


def _joined(spans: Iterable[Span], grid: BarGrid) -> list[Span]:
    """Return spans, joined if no bar is expected between them."""
    found = list[Span]()
    for span in coalesce(spans):
        if found and not len(grid.opens(Span(found[-1].end, span.start))):
            span = Span(found.pop().start, span.end)
        found.append(span)
    return found


def _as_traded(client: BarsClient, read: SeriesRead) -> tuple[BarTable, NDArray[np.object_]]:
    """Return the bars of a read, as traded, and the vendor of each.

    Raises:
        QueryError: They no longer exist.
    """
    then, _, why = of_then(client, read)
    if then is None:
        raise QueryError(
            f"the run has no receipt: {read.series} cannot be read as it was: {why}",
            hint="record runs with lineage(..., keep=...), so that their bars are kept",
        )
    # Only fully adjusted prices needed all splits and dividends at that time; otherwise today's are used.
    used = read.actions if read.adjustment == "all" else None
    used = used and replace(used, closes=used.closes or {})
    query = replace(read.stored(of_then=True), adjustment="raw", applied=used, opened_by_ms=None)
    table = client.read_again(query).table
    table = table.take(among(table.stamps, then.table.stamps))
    owners = np.full(len(table), "unknown", object)
    for entry in then.coverage.opened():
        inside = (table.stamps >= entry.span.start) & (table.stamps < entry.span.end)
        if entry.vendor:
            owners[inside] = vendor_word(entry.vendor)
    return table, owners


def _forming(name: tuple[str, str, str], reads: Iterable[SeriesRead]) -> list[Line]:
    """Return the line of bars that had not closed when they were read, which nobody can check."""
    stamps = sorted({bar.stamp_ms for read in reads for bar in read.unstored})
    spans = [Span(stamp, stamp + 1) for stamp in stamps]
    symbol, timeframe, _ = name
    where = f"{encoded(symbol)} {timeframe} forming {NOBODY} {ranges(spans)}"
    return [Line.of(f"bars {where} rows {len(stamps)} raw/0 none")] if stamps else []


def _actions(
    client: BarsClient, reads: Sequence[SeriesRead], vendor: str, span: Span
) -> list[Paid]:
    """Return the splits and dividends for a vendor's bars, from its first bar to the end of a span.

    They are those that fully adjusted prices had, from their first bar on; before that, and without
    such prices, those that are known now.
    """
    known = known_actions(client.actions(reads[0].key.symbol, reads[0].key.action_key), span)
    adjusted = [read for read in reads if read.adjustment == "all"]
    if not adjusted:
        return known
    first = date_of(min(read.spans[0].start for read in adjusted))
    lists = [current(used.own.get(vendor, used.rows)) for used in (r.actions for r in adjusted)]
    latest = {(action.ex_date, action.type): action for rows in lists for action in rows}
    splits = [action for action in latest.values() if action.type == "split"]
    then = [
        paid(a, amount_on(a, splits, None))
        for a in latest.values()
        if a.ex_date >= first and is_within(a, span)
    ]
    return sorted([*(a for a in known if a.day < first), *then])
