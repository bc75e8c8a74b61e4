"""Judgements of stored bars by a second vendor or by the user: the document ``confirmed.json`` of a lane.

No bar depends on this document; its loss only costs requests, and findings must be accepted again.
A comparison applies to exactly the bars
that were compared. It contains a fingerprint of these bars, and names the last member of the year
file at that time, whose digest covers everything before it. The entry is valid while the file is
unchanged or was only appended to. After a rewrite, it becomes valid again once the bars have been
read and have the same fingerprint. A split that becomes known ends the entries for all bars before
it, because their adjusted prices depend on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..model.identity.series import SeriesKey
from ..model.market.bars import PRICES, BarTable, fingerprint_of
from ..model.time.instant import year_of
from ..model.time.span import Span, coalesce, touching
from .format import json_document
from .format.documents import YearState
from .format.gzip_member import PEEK_BYTES, peek_digest
from .lane_files import LaneFiles
from .layout import DATA

if TYPE_CHECKING:
    from .values import StoredSpan
    from .write.write_guard import WriteGuard

log = logging.getLogger(__name__)
R = TypeVar("R")

CONFIRMED = "confirmed.json"
# Number of digest digits that are written, the same number as in the members of year files.
_DIGEST_DIGITS = 16


@dataclass(frozen=True)
class Confirmation:
    """A span of stored bars, and the result of comparing it with another vendor's bars.

    Attributes:
        start, end: Bounds of the half-open span, within one year.
        bars: Fingerprint of the bars (timestamps, prices, volume).
        rows: Number of bars.
        head, head_at: First characters of the digest of the last gzip member in the year file, and
            that member's offset.
        vendor: Vendor that was queried.
        at: Time of the comparison, UTC milliseconds.
        confirmed, contradicted: Number of bars that the vendor's bars confirm, and number that they
            contradict. Other bars are missing from the vendor's answer, or differ for a known or
            minor reason.
        first: Timestamp of the first contradicted bar.
        said: Description of the differences, or the reason why nothing was compared.
    """

    start: int
    end: int
    bars: str
    rows: int
    head: str
    head_at: int
    vendor: str = ""
    at: int = 0
    confirmed: int = 0
    contradicted: int = 0
    first: int | None = None
    said: str = ""

    @property
    def span(self) -> Span:
        """The span from ``start`` to ``end``."""
        return Span(self.start, self.end)

    @property
    def is_whole(self) -> bool:
        """Whether every bar in the span is confirmed."""
        return self.confirmed == self.rows

    def is_valid(self, disk: Disk, folder: str | Path, states: Mapping[int, YearState]) -> bool:
        """Return whether the stored bars are still those that were compared, without reading bars.

        Args:
            disk: File system.
            folder: Folder of the lane.
            states: Committed states of the lane's years.
        """
        year = year_of(self.start)
        state = states.get(year)
        if state is None or state.head is None:
            return False
        if state.head[:_DIGEST_DIGITS] == self.head:
            return True
        if self.head_at >= state.head_at:  # nothing has been appended to the file since
            return False
        handle = disk.open_read(Path(folder, f"{year:04d}{DATA}"))
        if handle is None:
            return False
        try:
            member = disk.read_at(handle, self.head_at, PEEK_BYTES)
        finally:
            disk.close(handle)
        return len(member) == PEEK_BYTES and peek_digest(member)[:_DIGEST_DIGITS] == self.head


@dataclass(frozen=True)
class Acceptance:
    """A finding that a user has accepted.

    Attributes:
        id: Identifier of the finding.
        judged: Digest of the judged bars and actions at that time; the finding is accepted only
            while they have the same digest.
        at: Time of the acceptance, UTC milliseconds.
        by: User who accepted it.
        reason: Reason that the user gave; may be empty.
    """

    id: str
    judged: str
    at: int
    by: str
    reason: str = ""


class Judgements(NamedTuple):
    """The content of the document: comparisons, ascending, and accepted findings."""

    stretches: list[Confirmation]
    accepted: list[Acceptance]


class Comparisons:
    """The comparisons of a store's bars with second vendors' bars. Thread-safe, and safe across processes.

    Args:
        lane: Function that returns the files of a series.
        read: Function that returns the stored bars in a span of a series.
        guard: Guard of the folder's write permission.
        lock_timeout_s: Maximum wait for another writer, in seconds.
    """

    def __init__(
        self,
        lane: Callable[[SeriesKey], LaneFiles],
        read: Callable[[SeriesKey, Span], StoredSpan],
        guard: WriteGuard,
        lock_timeout_s: float,
    ) -> None:
        self._lane, self._read, self._guard = lane, read, guard
        self._lock_timeout_s = lock_timeout_s

    def entries(self, key: SeriesKey) -> list[tuple[Confirmation, bool]]:
        """Return the comparisons, each with whether it is still valid.

        Raises the same errors as :func:`load` and :meth:`.BarStore.view`.
        """
        lane = self._lane(key)
        entries = read(lane).stretches
        states, _ = lane.documents(lane.years() if entries else [])
        return [(entry, entry.is_valid(lane.disk, lane.paths.text, states)) for entry in entries]

    def to_confirm(self, key: SeriesKey, span: Span) -> Confirmation | None:
        """Return a new entry for a comparison of the bars in ``span``, which is within one year.

        The result is None if the span has no bars, or if a writer has changed them in the meantime.
        Raises the same errors as :meth:`.BarStore.view`.
        """
        lane, year = self._lane(key), year_of(span.start)
        before = lane.documents([year])[0].get(year)
        table = self._read(key, span).table
        if before is None or not len(table) or lane.documents([year])[0].get(year) != before:
            return None
        return Confirmation(*span, _fingerprint(table), len(table), **head_of(before))

    def renewed(self, key: SeriesKey, old: Confirmation) -> Confirmation | None:
        """Return a comparison updated to the current file; None if its bars have changed.

        Raises the same errors as :meth:`.BarStore.view`.
        """
        now = self.to_confirm(key, old.span)
        if now is None or now.bars != old.bars:
            return None
        return replace(old, head=now.head, head_at=now.head_at)

    def keep(self, key: SeriesKey, fresh: Sequence[Confirmation]) -> None:
        """Store entries durably, replacing older entries that they overlap.

        Raises:
            FormatVersionError: A newer version of this library wrote the document.
            LockTimeoutError, StorageError: Nothing was changed.
        """
        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            if lane.disk.stat(lane.paths.folder) is None:  # deleted in the meantime
                return
            with lane.disk.lock(lane.paths.lock, self._lock_timeout_s):
                spans = coalesce(confirmation.span for confirmation in fresh)
                known = read(lane)
                others = [old for old in known.stretches if not touching(spans, old.span)]
                _write(lane, Judgements([*others, *fresh], known.accepted))

    def accepted(self, key: SeriesKey) -> list[Acceptance]:
        """Return the accepted findings of a series; for errors, see :func:`load`."""
        return read(self._lane(key)).accepted

    def accept(self, key: SeriesKey, finding: str, acceptance: Acceptance | None) -> None:
        """Durably replace the acceptance of a finding, or remove it if ``acceptance`` is None.

        Raises the same errors as :meth:`keep`.
        """
        lane = self._lane(key)
        folder, disk = lane.paths.folder, lane.disk
        with self._guard.writing(folder), disk.lock(lane.paths.lock, self._lock_timeout_s):
            known = read(lane)
            left = [old for old in known.accepted if old.id != finding]
            left += [] if acceptance is None else [acceptance]
            _write(lane, known._replace(accepted=left))


def _fingerprint(table: BarTable) -> str:
    """Return the fingerprint of stored bars."""
    names = (*PRICES, "volume")
    return fingerprint_of(table.stamps, ((name, getattr(table, name)) for name in names))


def head_of(state: YearState) -> dict[str, Any]:
    """Return the digest and offset of a year's last gzip member, which identify the file."""
    return {"head": (state.head or "")[:_DIGEST_DIGITS], "head_at": state.head_at}


def load(data: bytes, key: SeriesKey) -> Judgements:
    """Parse the confirmations document of a series; the result is empty if it is damaged.

    Raises:
        FormatVersionError: A newer version of this library wrote the document.
    """
    try:
        return parsed(data, key)
    except json_document.DamagedError as exc:
        log.warning("%s: %s cannot be read; its bars are compared again: %s", key, CONFIRMED, exc)
        return Judgements([], [])


def parsed(data: bytes, key: SeriesKey) -> Judgements:
    """Parse the confirmations document of a series.

    Raises:
        DamagedError: The document is incomplete, or belongs to another series.
        FormatVersionError: A newer version of this library wrote the document.
    """
    try:
        document = json_document.load(data)
        json_document.check_format(
            {"format": json_document.FORMAT} | document,
            f"{key}: {CONFIRMED} has",
            symbol=key.symbol,
            hint="update this library; the file was left unchanged",
        )
        stretches = [_record(Confirmation, entry) for entry in document["stretches"]]
        accepted = [_record(Acceptance, entry) for entry in document.get("accepted", ())]
    except (KeyError, TypeError, AttributeError) as exc:
        raise json_document.DamagedError("the compared stretches cannot be read") from exc
    json_document.check_about(document, key.entries, "series")
    return Judgements(stretches, accepted)


def _record(kind: type[R], entry: Mapping[str, Any]) -> R:
    """Return a record of the document, without the fields of later versions."""
    names = {field.name for field in fields_of(kind)}  # type: ignore[arg-type]
    return kind(**{name: entry[name] for name in names & entry.keys()})


def read(lane: LaneFiles) -> Judgements:
    """Return the judgements of a lane; for errors, see :func:`load`."""
    data = lane.disk.read_if_exists(lane.paths.folder / CONFIRMED)
    return Judgements([], []) if data is None else load(data, lane.key)


def drop(lane: LaneFiles, until_ms: int, lock_timeout_s: float) -> None:
    """Durably drop the entries for bars before ``until_ms``; for errors, see :meth:`Comparisons.keep`."""
    if lane.disk.stat(lane.paths.folder / CONFIRMED) is None:
        return
    with lane.disk.lock(lane.paths.lock, lock_timeout_s):
        known = read(lane)
        left = [entry for entry in known.stretches if entry.start >= until_ms]
        if left != known.stretches:
            _write(lane, known._replace(stretches=left))


def _write(lane: LaneFiles, known: Judgements) -> None:
    entries = [asdict(entry) for entry in sorted(known.stretches, key=lambda entry: entry.start)]
    document = lane.key.entries | {"format": json_document.FORMAT, "stretches": entries}
    if known.accepted:
        document["accepted"] = [asdict(entry) for entry in known.accepted]
    write_atomically(lane.disk, lane.paths.folder / CONFIRMED, json_document.dump(document))


def tallied(standing: Iterable[Confirmation]) -> tuple[int, int, int]:
    """Return the numbers of confirmed and of contradicted bars, and the time of the last comparison."""
    confirmed = contradicted = at = 0
    for entry in standing:
        confirmed, contradicted = confirmed + entry.confirmed, contradicted + entry.contradicted
        at = max(at, entry.at)
    return confirmed, contradicted, at
