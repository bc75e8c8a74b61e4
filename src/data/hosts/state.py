"""The state of a host: whether its folder matches the shared log."""

from __future__ import annotations

import filecmp
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..cache.confirmations import CONFIRMED
from ..cache.format import json_document
from ..cache.layout import METADATA, Layout
from ..errors import (
    CacheError,
    CorruptEntryError,
    FormatVersionError,
    LogUnreachableError,
    OvertakenError,
)
from ..model.instant import iso
from ..model.series import SeriesKey
from .decisions import key_of, name_of
from .detached import detach as detach
from .entry import SeriesName
from .limits import SharedLimit, shared_limits
from .log import Log, LogPosition
from .notes import Note
from .snapshot_log import LogSize
from .store import SharedStore

# Times that a series which others change is compared with the log again.
_TRIES = 5
State = Literal[
    "alone", "not attached", "in step", "behind", "cut off", "astray", "lost tail", "corrupt"
]
# The standbys of the server that this user may see, and whether a commit waits for one of them.
_STANDBYS = """
select (select count(*) from pg_stat_replication), current_setting('synchronous_standby_names') <> ''"""


@dataclass(frozen=True)
class SeriesState:
    """The state of one series of a host.

    Attributes:
        series: Series.
        state: ``in step``; ``behind`` (other hosts have committed since; served until its bars are
            due); ``astray`` (local damage or eviction: the next read that needs new bars rebuilds
            the series); ``lost tail`` (the server was restored and has lost entries, which this
            host offers again); ``corrupt`` (found by a deep check: its entries on the server cannot
            be read).
        behind: Number of entries that the folder does not show yet.
        reason: Why the entries cannot be read.
    """

    series: SeriesKey
    state: State
    behind: int = 0
    reason: str = ""


@dataclass(frozen=True)
class HostState:
    """The state of a host.

    Attributes:
        state: ``alone`` (no shared store is configured), ``not attached`` (the folder has bars
            of its own), ``cut off`` (the server cannot be reached: stored bars are served, and new
            ones are returned but not stored), or the worst state of any series.
        reason: Why the host is cut off or not attached.
        store: Identity of the store.
        series: The series that are not in step.
        total: Number of series in the log.
        warnings: Sentences about the server, such as a standby that may lose commits.
        size: How large the log is.
        limits: What the vendors' limits count: the requests of ``all hosts``, or those of ``this
            host`` while it is alone or cut off.
        vendors: What all hosts have spent at vendors, and vendors that are paused for all.
    """

    state: State
    reason: str = ""
    store: str = ""
    series: tuple[SeriesState, ...] = ()
    total: int = 0
    warnings: tuple[str, ...] = field(default=())
    size: LogSize = LogSize()
    limits: Literal["all hosts", "this host"] = "this host"
    vendors: tuple[SharedLimit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON-serializable values."""
        return {
            "state": self.state,
            "reason": self.reason,
            "store": self.store,
            "series": self.total,
            "entries_behind": sum(lane.behind for lane in self.series),
            "not_in_step": [
                {"series": str(lane.series), "state": lane.state, "entries_behind": lane.behind}
                for lane in self.series
            ],
            "warnings": list(self.warnings),
            "log": {
                "entries": self.size.entries,
                "bytes": self.size.bytes,
                "oldest": _iso(self.size.oldest_ms),
                "pruned": self.size.pruned,
                "snapshots": self.size.snapshots,
                "snapshot_bytes": self.size.snapshot_bytes,
                "last_snapshot": _iso(self.size.snapshot_ms),
            },
            "limits": self.limits,
            "vendors": [
                {
                    "vendor": vendor.vendor,
                    "used": dict(vendor.used),
                    "endpoint": vendor.endpoint,
                    "paused_s": round(vendor.seconds, 1),
                    "reason": vendor.reason,
                }
                for vendor in self.vendors
            ],
        }


def _iso(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)


def host_state(store: object) -> HostState:
    """Return the state of a store's host.

    Sends four read-only statements.
    """
    if not isinstance(store, SharedStore):
        return HostState("alone")
    try:
        store.check_joined(join=False)
        notes, keys = store.notes, (k for s in store.notes.symbols() for k in store.notes.keys(s))
        # Before the heads are read, so that none of them is from before a commit of another process.
        before = {key: notes.read(notes.lane(key)) or Note() for key in keys}
        heads = store.shared.all_heads()
        warnings = _warnings(store.shared)
        size = store.snapshots.size()
        vendors = tuple(shared_limits(store.shared))
    except LogUnreachableError as error:
        return HostState("cut off", str(error.args[0]))
    except CacheError as error:
        return HostState("not attached", str(error), limits="all hosts")
    shown = {
        key: head
        for name, head in heads.items()
        if (key := key_of(name)) is not None and store.is_shared(key)
    }
    series = tuple(_series_states(store, dict.fromkeys([*shown, *before]), heads, before))
    states = {found_state.state for found_state in series}
    order: tuple[State, ...] = ("lost tail", "astray", "behind")
    state: State = next((found_state for found_state in order if found_state in states), "in step")
    return HostState(
        state,
        "",
        store.shared.store_id(),
        series,
        len(shown),
        warnings,
        size,
        "all hosts",
        vendors,
    )


def host_metrics(store: object) -> dict[str, Any]:
    """Return figures about a host for monitoring: its state, its lag, and the statements it has sent."""
    state = host_state(store)
    return {
        "state": state.state,
        "limits": state.limits,
        "series_behind": sum(lane.behind > 0 for lane in state.series),
        "entries_behind": sum(lane.behind for lane in state.series),
        "statements": store.shared.trips if isinstance(store, SharedStore) else 0,
    }


def _warnings(log: Log) -> tuple[str, ...]:
    """Return warnings about commits that may be lost with the server, as sentences."""
    [(standbys, is_synchronous)] = log.rows(_STANDBYS)
    if standbys and not is_synchronous:
        return (
            "a standby is attached and synchronous_standby_names is empty: if the server fails, the "
            "commits of the last moments may be lost, and are offered again by the hosts that have them",
        )
    return ()


def _series_states(
    store: SharedStore,
    keys: Iterable[SeriesKey],
    heads: Mapping[SeriesName, LogPosition],
    before: Mapping[SeriesKey, Note],
) -> Iterator[SeriesState]:
    """Yield the series that are not in step; ``before`` has the notes as they were before the heads."""
    for key in keys:
        head, seen = heads.get(name_of(key), LogPosition()), before.get(key, Note()).position
        is_astray = store.is_astray(key)
        note = store.notes.read(store.notes.lane(key))
        if note is None:
            is_new = not (is_astray and store.years(key))
            yield SeriesState(key, "behind" if is_new else "astray", head.seq if is_new else 0)
        elif seen.seq > head.seq or (seen.seq == head.seq and seen != head):
            yield SeriesState(key, "lost tail")
        elif is_astray:
            yield SeriesState(key, "astray", max(0, head.seq - note.position.seq))
        elif note.position.seq < head.seq:
            yield SeriesState(key, "behind", head.seq - note.position.seq)


def attach(store: SharedStore) -> Iterator[tuple[str, int]]:
    """Offer a folder's series to the log, symbol by symbol; yield each symbol and the number of its spans.

    If the call is interrupted, the next one continues where it stopped. The original files are kept
    in ``_hosts/before``.

    Raises:
        StorageError: The server cannot be reached, or the folder belongs to another store.
    """
    symbols = dict.fromkeys(key.symbol for key in store.attachable())
    store.check_joined(is_attaching=True)
    for symbol in symbols:
        yield symbol, store.attach(symbol)


def verify(store: SharedStore, *, deep: bool = False) -> Iterator[SeriesState]:
    """Yield each series that differs from the log; with ``deep``, compare its files byte by byte.

    A deep check builds every series from its entries in a separate folder, and goes on with the
    others if that is not possible. Nothing is repaired: a series that is astray is rebuilt by the
    next request that needs new bars.

    Raises:
        LogUnreachableError: The server cannot be reached, or no shared store is set.
        StorageError: The temporary folder cannot be written.
    """
    state = host_state(store)
    if state.state in ("alone", "cut off", "not attached"):
        raise LogUnreachableError(state.reason or "no shared store is configured")
    yield from state.series
    known = {lane.series for lane in state.series}
    for name in store.shared.all_heads() if deep else ():
        key = key_of(name)
        if key is None or not store.is_shared(key):
            continue
        try:
            is_same = _is_same(store, key, is_known=key in known)
        except (CorruptEntryError, FormatVersionError, OvertakenError) as error:
            yield SeriesState(key, "corrupt", reason=str(error))
        else:
            if not is_same:
                yield SeriesState(key, "astray")


def _is_same(store: SharedStore, key: SeriesKey, *, is_known: bool) -> bool:
    """Return whether a series is as the log makes it.

    Return True also if only its entries are of interest, because it is known to differ, and if it
    shows another entry than the one compared with, each time.
    """
    paths, wait_s, until = store.parts.lane(key).paths, store.parts.lock_timeout_s, None
    for _ in range(_TRIES):
        with store.rebuilt(key, until) as (scratch, seq):
            until = store.position(key)
            if is_known or not until:
                return True
            if until == seq:
                with store.parts.disk.lock(paths.lock, wait_s):
                    if store.position(key) == seq:
                        return _are_equal(paths.folder, Layout(scratch).lane(key).folder)
    return True


def _are_equal(mine: Path, theirs: Path) -> bool:
    names = [_file_names(folder) for folder in (mine, theirs)]
    return names[0] == names[1] and all(_are_same(mine / n, theirs / n) for n in names[0])


def _are_same(mine: Path, theirs: Path) -> bool:
    """Return whether two files of a series are equal, apart from a host's vendor rules."""
    if filecmp.cmp(mine, theirs, shallow=False):
        return True
    if not mine.name.endswith(METADATA):
        return False
    try:
        documents = [json_document.load(path.read_bytes()) for path in (mine, theirs)]
    except json_document.DamagedError:
        return False
    for document in documents:
        document.pop("provider_info", None)
    return documents[0] == documents[1]


def _file_names(folder: Path) -> list[str]:
    files = (p.name for p in folder.iterdir() if p.is_file()) if folder.is_dir() else ()
    return sorted(n for n in files if n.endswith((".csv.gz", ".json")) and n != CONFIRMED)
