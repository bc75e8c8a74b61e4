"""The append protocol: one write and one sync make a commit.

The new members are written behind the last one and synced; that is the commit. The metadata
follow by an unsynced rename: they can be had again from the members.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ..errors import StorageError
from .lane import Lane
from .members import Member
from .year_meta import YearMeta, YearState

log = logging.getLogger(__name__)


def append(
    lane: Lane,
    year: int,
    *,
    before: YearState,
    meta: YearMeta,
    members: Sequence[Member],
    durable_meta: bool,
) -> None:
    """Add ``members`` to the file of ``year``; under the lane's lock only.

    Args:
        lane, year: the file.
        before: its state now, which has been compared with the file.
        meta: the document that shall be true afterwards.
        members: chained to the last member.
        durable_meta: whether the document must not be lost, because it takes trust away.

    Raises:
        StorageError: a step failed; the bars are in the file, or cut off again.
    """
    handle = lane.disk.open_write(lane.paths.data(year))
    try:
        try:
            lane.disk.write(handle, b"".join(m.raw for m in members), before.size)
            lane.disk.sync_data(handle)
        except BaseException:
            # What a failed sync left on the platter is unknown, and asking twice does not tell:
            # the next commit writes the file anew.
            lane.tainted.add((lane.key, year))
            try:
                lane.disk.truncate(handle, before.size)
            except StorageError as exc:
                log.warning("%s %s: a torn tail stays for now: %s", lane.key, year, exc)
            raise
    finally:
        lane.disk.close(handle)
    lane.write_meta(year, meta, durable=durable_meta)
