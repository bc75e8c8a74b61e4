"""The append protocol: one write and one sync make a commit.

The new members are written behind the last one and synced; that is the commit. The metadata
follow by an unsynced rename: they can be had again from the members.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...disk.atomic import NO_LINKS, link_or_copy, or_discarded, stage
from ...disk.files import errno_of
from ...errors import StorageError
from ...model.instant import DAY_MS, parse_iso
from ..format.gzip_member import Member
from ..format.year_document import YearMeta, YearState
from ..pins import needed, needs, pins_in
from .series import SeriesFiles

log = logging.getLogger(__name__)


def append(
    lane: SeriesFiles,
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


# --- the rewrite protocol: a year file replaced by another, with no moment in which neither counts


def rewrite(
    lane: SeriesFiles,
    year: int,
    *,
    meta: YearMeta,
    members: Sequence[Member],
    state: YearState,
    keep_version: bool,
) -> YearMeta:
    """Replace the data of ``year`` by ``members``; under the lane's lock only.

    Args:
        lane, year: the file.
        meta: what is committed now; its facts (vendor, quality, times) go into the new document.
        members: the whole new file.
        state: what the metadata shall say of it.
        keep_version: whether the old bars shall stay reachable in ``_versions``.

    Returns:
        The document as committed.

    Raises:
        StorageError: a step failed; the series is in its old state or in its new one.
    """
    data = lane.paths.data(year)
    temp = stage(lane.disk, data, b"".join(member.raw for member in members))
    with or_discarded(lane.disk, temp):
        is_pinned = needs(*_pinned(lane, year), versions(lane, year), meta.state.generation)
        if keep_version or is_pinned:
            keep(lane, year, meta.state.generation, is_pinned=is_pinned)
        lane.write_meta(year, replace(meta, pending=state), durable=True)
        lane.disk.replace(temp, data)
    lane.disk.sync_folder(lane.paths.folder)
    done = meta.settled(state)
    lane.write_meta(year, done, durable=True)
    lane.tainted.discard((lane.key, year))
    return done


# --- older versions ------------------------------------------------------------------------


def keep(lane: SeriesFiles, year: int, generation: int, *, is_pinned: bool = False) -> None:
    """Give the current file of ``year`` a second name, and drop those kept for long enough."""
    sweep_versions(lane, year)
    folder = lane.paths.versions
    if not (lane.retention.versions or is_pinned):
        _drop(lane, expired(lane, year))
        return
    lane.disk.make_folders(folder)
    data, second = lane.paths.data(year), folder / f"{year:04d}.{generation}.csv.gz"
    try:
        if is_pinned:
            link_or_copy(lane.disk, data, second)
        else:
            lane.disk.link(data, second)
    except StorageError as exc:
        if errno_of(exc) == errno.EEXIST:
            return
        if errno_of(exc) not in NO_LINKS:
            raise
        log.debug("%s %s: this file system keeps no older versions: %s", lane.key, year, exc)
    _drop(lane, expired(lane, year))


def expired(lane: SeriesFiles, year: int) -> list[Path]:
    """Return the older files of ``year`` that are more, or older, than is to be kept.

    Those that a pinned generation is read from are not among them.
    """
    found, retention = versions(lane, year), lane.retention
    pinned = needed(*_pinned(lane, year), found)
    found = [one for one in found if one[1] not in pinned]
    late = found[: max(0, len(found) - retention.versions)]
    if retention.days is not None:
        oldest = lane.clock.now_ms() - round(retention.days * DAY_MS)
        entries = lane.log_entries(year)
        late += [(g, p) for g, p in found if _replaced_ms(entries, g, oldest) < oldest]
    return [path for _, path in dict(late).items()]


def _pinned(lane: SeriesFiles, year: int) -> tuple[list[int], list[dict[str, Any]]]:
    """Return the pins of a series, with the log of a year where there are any."""
    pins = pins_in(lane.disk, lane.paths.versions)
    return pins, lane.log_entries(year) if pins else []


def _replaced_ms(entries: list[dict[str, Any]], generation: int, unknown: int) -> int:
    """Return when the file of that generation was replaced, ``unknown`` where nothing tells."""
    times = (str(e.get("time")) for e in entries if e["generation"] > generation)
    try:
        return min(map(parse_iso, times), default=unknown)
    except ValueError:
        return unknown


def _drop(lane: SeriesFiles, paths: list[Path]) -> None:
    for path in paths:
        lane.disk.remove(path)


def versions(lane: SeriesFiles, year: int) -> list[tuple[int, Path]]:
    """Return generation and path of the older files of ``year``, oldest first."""
    found = []
    for name in lane.disk.list(lane.paths.versions):
        parts = name.split(".")
        if len(parts) == 4 and parts[0] == f"{year:04d}" and parts[1].isdecimal():
            found.append((int(parts[1]), lane.paths.versions / name))
    return sorted(found)


def sweep_versions(lane: SeriesFiles, year: int) -> None:
    """Remove links to the current file: a rewrite died between linking and replacing."""
    current = lane.disk.stat(lane.paths.data(year))
    for _, path in versions(lane, year):
        state = lane.disk.stat(path)
        if current is not None and state is not None and state.inode == current.inode:
            lane.disk.remove(path)
