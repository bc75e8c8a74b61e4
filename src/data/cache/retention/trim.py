"""Side files that would grow for ever are kept short: logs of commits, and the quarantine."""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...disk.atomic import write_atomically
from ...errors import CacheError
from ...model.instant import DAY_MS, parse_iso
from ...model.span import Span, gaps
from ..write.coverage_update import year_span

if TYPE_CHECKING:
    from ..write.series import SeriesFiles

# Some ten thousand commits; of these the newest stay one by one.
MOST_LOG_BYTES = 2 << 20
LATEST_ENTRIES = 5000
# What lies in the quarantine of a series for less than so long stays, however much it is.
FRESH_MS = 90 * DAY_MS
MOST_QUARANTINED = 64 << 20

_KEPT_FILE = re.compile(r"([0-9]{4})\.[0-9a-f]{16}\.(csv\.gz|metadata\.json)")
Entry = Mapping[str, Any]


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


def trim_log(lane: SeriesFiles, year: int, versions: Sequence[int]) -> int:
    """Make one entry of many old ones; under the lane's lock only. Return the bytes saved.

    Args:
        lane, year: whose log.
        versions: generations of older year files that are kept: each keeps an entry of its own.
    """
    # As lines: the entries of so long a log would take ten times the memory all at once.
    lines = lane.log_lines(year)
    if len(lines) <= LATEST_ENTRIES:
        return 0
    old = folded(entries_of(lines[:-LATEST_ENTRIES]), sorted(versions))
    shown = [json.dumps(entry, separators=(",", ":")).encode("ascii") for entry in old]
    short = b"".join(line + b"\n" for line in (*shown, *lines[-LATEST_ENTRIES:]))
    write_atomically(lane.disk, lane.paths.log(year), short, durable=False)
    return sum(map(len, lines)) + len(lines) - len(short)


def entries_of(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the commits that lines of a log tell; lines that cannot be read are left out."""
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("generation"), int):
            yield entry


def folded(entries: Iterable[Entry], versions: Sequence[int]) -> list[dict[str, Any]]:
    """Return one entry for all that lead up to a kept version, and one for those behind the last.

    Each tells with ``since`` from which generation on it stands for all up to its own.
    """
    groups: dict[int, Entry] = {}
    for entry in entries:
        place = bisect_left(versions, entry["generation"])
        groups[place] = _as_one((groups[place], entry)) if place in groups else entry
    return [dict(group) for _, group in sorted(groups.items())]


def _as_one(group: Sequence[Entry]) -> dict[str, Any]:
    spans = [entry["span"] for entry in group if entry.get("span")]
    touched = [e.get("touched", 0) for e in group if e["added"] or e["removed"] or e["changed"]]
    vendors = ",".join(str(entry.get("vendor") or "") for entry in group).split(",")
    counts = {name: sum(entry[name] for entry in group) for name in ("added", "changed", "removed")}
    return (
        dict(group[-1])
        | counts
        | {
            "since": min(entry.get("since", entry["generation"]) for entry in group),
            "vendor": ",".join(dict.fromkeys(filter(None, vendors))),
            "span": [min(s[0] for s in spans), max(s[1] for s in spans)] if spans else None,
            "touched": min((t for t in touched if t is not None), default=None),
        }
    )


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
