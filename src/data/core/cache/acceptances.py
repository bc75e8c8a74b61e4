"""Findings about stored bars that a user has accepted: the document ``confirmed.json`` of a lane.

The document is the user's own: no bar depends on it, and nothing else can restore it. Earlier
versions also stored the results of comparisons with second vendors in it (``stretches``); they are
ignored, and left out when the document is written again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as fields_of
from typing import TYPE_CHECKING, Any

from ..disk.atomic import write_atomically
from ..model.identity.series import SeriesKey
from .format import json_document
from .lane_files import LaneFiles
from .recovery import quarantine

if TYPE_CHECKING:
    from .write.write_guard import WriteGuard

log = logging.getLogger(__name__)

ACCEPTED = "confirmed.json"


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


class Acceptances:
    """The accepted findings of a store's series. Thread-safe, and safe across processes.

    Args:
        lane: Function that returns the files of a series.
        guard: Guard of the folder's write permission.
        lock_timeout_s: Maximum wait for another writer, in seconds.
    """

    def __init__(
        self, lane: Callable[[SeriesKey], LaneFiles], guard: WriteGuard, lock_timeout_s: float
    ) -> None:
        self._lane, self._guard, self._lock_timeout_s = lane, guard, lock_timeout_s

    def of(self, key: SeriesKey) -> list[Acceptance]:
        """Return the accepted findings of a series, in the order of acceptance; none if damaged.

        Raises:
            FormatVersionError: A newer version of this library wrote the document.
            StorageError: The document cannot be read.
        """
        return self._read(self._lane(key))

    def set(self, key: SeriesKey, finding: str, acceptance: Acceptance | None) -> None:
        """Durably replace the acceptance of a finding, or remove it if ``acceptance`` is None.

        A damaged document is kept in quarantine.

        Raises:
            FormatVersionError: A newer version of this library wrote the document.
            LockTimeoutError, StorageError: Nothing was changed.
        """
        lane = self._lane(key)
        with self._guard.writing(lane.paths.folder):
            if lane.disk.stat(lane.paths.folder) is None:  # deleted in the meantime
                return
            with lane.disk.lock(lane.paths.lock, self._lock_timeout_s):
                left = [old for old in self._read(lane, sets_aside=True) if old.id != finding]
                _write(lane, left + ([] if acceptance is None else [acceptance]))

    def _read(self, lane: LaneFiles, *, sets_aside: bool = False) -> list[Acceptance]:
        data = lane.disk.read_if_exists(lane.paths.folder / ACCEPTED)
        try:
            return [] if data is None else parsed(data, lane.key)
        except json_document.DamagedError as exc:
            log.warning("%s: %s cannot be read; its findings count: %s", lane.key, ACCEPTED, exc)
            if sets_aside and data is not None:
                quarantine.keep_bytes(lane, ACCEPTED, data, str(exc))
            return []


def parsed(data: bytes, key: SeriesKey) -> list[Acceptance]:
    """Parse the document of a series.

    Raises:
        DamagedError: The document is incomplete, or belongs to another series.
        FormatVersionError: A newer version of this library wrote the document.
    """
    try:
        document = json_document.load(data)
        json_document.check_format(
            {"format": json_document.FORMAT} | document,
            f"{key}: {ACCEPTED} has",
            symbol=key.symbol,
            hint="update this library; the file was left unchanged",
        )
        accepted = [_acceptance(entry) for entry in document.get("accepted", ())]
    except (KeyError, TypeError, AttributeError) as exc:
        raise json_document.DamagedError("the accepted findings cannot be read") from exc
    json_document.check_about(document, key.entries, "series")
    return accepted


def _acceptance(entry: Mapping[str, Any]) -> Acceptance:
    """Return a record of the document, without the fields of later versions."""
    names = {field.name for field in fields_of(Acceptance)}
    return Acceptance(**{name: entry[name] for name in names & entry.keys()})


def _write(lane: LaneFiles, accepted: list[Acceptance]) -> None:
    document = lane.key.entries | {"format": json_document.FORMAT, "stretches": []}
    if accepted:
        document["accepted"] = [asdict(entry) for entry in accepted]
    write_atomically(lane.disk, lane.paths.folder / ACCEPTED, json_document.dump(document))
