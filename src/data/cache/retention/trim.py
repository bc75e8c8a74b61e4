"""Side files that would grow for ever are kept short: logs of commits, and the quarantine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import CacheError
from ...model.instant import DAY_MS, parse_iso
from ...model.span import Span, gaps
from ..write.coverage_update import year_span

if TYPE_CHECKING:
    from ..write.series import SeriesFiles

# What lies in the quarantine of a series for less than so long stays, however much it is.
FRESH_MS = 90 * DAY_MS
MOST_QUARANTINED = 64 << 20

_KEPT_FILE = re.compile(r"([0-9]{4})\.[0-9a-f]{16}\.(csv\.gz|metadata\.json)")


@dataclass(frozen=True)
class Trimmed:
    """What was taken away: bytes of logs, and files and bytes out of quarantine."""

    log_bytes: int = 0
    files: int = 0
    file_bytes: int = 0

    def plus(self, other: Trimmed) -> Trimmed:
        """Return both together."""
        return Trimmed(
            self.log_bytes + other.log_bytes,
            self.files + other.files,
            self.file_bytes + other.file_bytes,
        )


# --- logs ----------------------------------------------------------------------------------


# --- quarantine ----------------------------------------------------------------------------


def trim_quarantine(lane: SeriesFiles, *, dry_run: bool = False) -> Trimmed:
    """Remove files that were kept long ago, the oldest first, until the rest is little enough.

    A file of bars goes only when every stamp of its year that is past is known again and trusted:
    else it may be the last place where some of them are. Rows that were not believed stay.
    """
    disk, folder = lane.disk, lane.paths.quarantine
    sizes = {name: found.size for name in disk.list(folder) if (found := disk.stat(folder / name))}
    excess = sum(sizes.values()) - MOST_QUARANTINED
    if excess <= 0:
        return Trimmed()
    done = Trimmed()
    for _, name in sorted(_may_go(lane, sizes)):
        if done.file_bytes >= excess:
            break
        note = f"{name}.json"
        for path in () if dry_run else (folder / name, folder / note):
            disk.remove(path)
        done = done.plus(Trimmed(0, 1, sizes[name] + sizes.get(note, 0)))
    return done


def _may_go(lane: SeriesFiles, names: Mapping[str, int]) -> Iterator[tuple[int, str]]:
    """Yield since when a file is kept, and its name, for those that may go."""
    now = lane.clock.now_ms()
    for name in names:
        match = _KEPT_FILE.fullmatch(name)
        since = _kept_since(lane, name) if match else None
        if match is None or since is None or since > now - FRESH_MS:
            continue
        if match[2] != "csv.gz" or _is_known_again(lane, int(match[1]), now):
            yield since, name


def _kept_since(lane: SeriesFiles, name: str) -> int | None:
    """Return when a file was put there, None where nothing tells."""
    note = lane.disk.read_if_exists(lane.paths.quarantine / f"{name}.json")
    try:
        return parse_iso(json.loads(note or b"null")["time"])
    except (ValueError, TypeError, KeyError):
        return None


def _is_known_again(lane: SeriesFiles, year: int, now_ms: int) -> bool:
    try:
        meta = lane.meta(year)
    except CacheError:
        return False
    whole = year_span(year)
    past = Span(whole.start, min(whole.end, now_ms))
    known = meta.state.coverage.opened() if meta else ()
    trusted = [part.span for part in known if part.state != "suspect"]
    return not gaps(past, trusted)
