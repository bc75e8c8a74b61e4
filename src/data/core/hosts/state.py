"""The state of a host: whether its folder matches the files that all hosts share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Literal

from ...errors import CacheError, LogUnreachableError
from ..model.identity.series import SeriesKey
from .decisions import key_of, name_of
from .detached import detach as detach
from .folder import SharedFolder
from .limits import fact_of
from .notes import Note
from .postgres import PAUSES, STATUS, USED, PostgresFiles
from .protocol import Head, Seen, SeriesName

State = Literal[
    "alone", "not attached", "in step", "behind", "cut off", "astray", "lost tail", "corrupt"
]

_OBSTACLES = "is a standby", "is read-only", "lets this user change nothing"


@dataclass(frozen=True)
class SeriesState:
    """The state of one series of a host.

    Attributes:
        series: Series.
        state: ``in step``; ``behind`` (other hosts have committed since; served until its bars are
            due); ``astray`` (local damage or eviction: the next request that needs new bars restores
            the files); ``lost tail`` (the server was restored and has lost changes, which this
            host offers again); ``corrupt`` (found by a deep check: its files on the server cannot
            be used).
        behind: Number of changes that the folder does not show yet.
        reason: Why the files cannot be used.
    """

    series: SeriesKey
    state: State
    behind: int = 0
    reason: str = ""


@dataclass(frozen=True)
class SharedLimit:
    """What all hosts know of a vendor's account, for reports.

    Attributes:
        vendor: Vendor, or one of its hosts that is counted separately.
        used: Maps the length of each window to the units spent in it, such as ``{"60s": 3}``.
        endpoint: Endpoint that is paused; empty if the whole vendor is, or none.
        paused_s: Seconds until it may be queried again; 0 if it is not paused.
        reason: Why it is paused.
    """

    vendor: str
    used: dict[str, float]
    endpoint: str = ""
    paused_s: float = 0.0
    reason: str = ""


@dataclass(frozen=True)
class HostState:
    """The state of a host.

    Attributes:
        state: ``alone`` (no shared store is configured), ``not attached`` (the folder has bars
            of its own), ``cut off`` (the server cannot be reached or accepts no changes: stored bars
            are served, and new ones are returned but not stored), or the worst state of any series.
        reason: Why the host is cut off or not attached.
        store: Identity of the store.
        series: The series that are not in step.
        total: Number of series in the store.
        warnings: Sentences about the server, such as a standby that may lose commits.
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
    limits: Literal["all hosts", "this host"] = "this host"
    vendors: tuple[SharedLimit, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON-serializable values."""
        return {
            "state": self.state,
            "reason": self.reason,
            "store": self.store,
            "series": self.total,
            "changes_behind": sum(lane.behind for lane in self.series),
            "not_in_step": [
                {"series": str(lane.series), "state": lane.state, "changes_behind": lane.behind}
                for lane in self.series
            ],
            "warnings": list(self.warnings),
            "limits": self.limits,
            "vendors": [asdict(vendor) for vendor in self.vendors],
        }


def host_state(hosts: object) -> HostState:
    """Return the state of a host of a store.

    Sends four read-only statements.
    """
    if not isinstance(hosts, SharedFolder):
        return HostState("alone")
    shared = hosts.shared
    try:
        [(*obstacles, is_risky)] = shared.report(STATUS)
        for is_there, what in zip(obstacles, _OBSTACLES, strict=True):
            if is_there:
                return HostState("cut off", f"the server of the shared store {what}")
        hosts.check_joined(join=False)
        # Before the heads are read, so that none of them is from before a commit of another process.
        noted = {name: hosts.notes.read(name) or Note() for name in hosts.notes.names()}
        listed = {
            row.name: row for row in shared.names({n: note.head for n, note in noted.items()})
        }
        vendors = tuple(_limits(shared))
    except LogUnreachableError as error:
        return HostState("cut off", str(error.args[0]))
    except CacheError as error:
        return HostState("not attached", str(error), limits="all hosts")
    warning = (
        "a standby is attached and synchronous_standby_names is empty: if the server fails, the "
        "commits of the last moments may be lost, and are offered again by the hosts that have them"
    )
    names = [name for name in dict.fromkeys((*listed, *noted)) if _is_lane(hosts, name)]
    series = tuple(_series_states(hosts, names, listed, noted))
    states = {one.state for one in series}
    order: tuple[State, ...] = ("lost tail", "astray", "behind")
    return HostState(
        next((state for state in order if state in states), "in step"),
        "",
        shared.store_id(),
        series,
        sum(name in listed for name in names),
        (warning,) if is_risky else (),
        "all hosts",
        vendors,
    )


def _is_lane(hosts: SharedFolder, name: str) -> bool:
    key = key_of(name)
    return key is not None and hosts.is_shared(key)


def _series_states(
    hosts: SharedFolder,
    names: Iterable[str],
    listed: dict[str, SeriesName],
    noted: dict[str, Note],
) -> Iterator[SeriesState]:
    """Yield the series that are not in step; ``noted`` has the notes as they were before the list."""
    for name in names:
        key, row, note = key_of(name), listed.get(name), noted.get(name)
        assert key is not None
        head = Head() if row is None else row.head
        behind = max(0, head.gen - (note.head.gen if note else 0))
        if note is not None and (row is None or not row.is_known or note.head.gen > head.gen):
            yield SeriesState(key, "lost tail")
        elif hosts.is_astray(key):
            yield SeriesState(key, "astray", behind)
        elif behind:
            yield SeriesState(key, "behind", behind)


def host_metrics(hosts: object) -> dict[str, Any]:
    """Return figures about a host for monitoring: its state, its lag, and the statements it has sent."""
    state = host_state(hosts)
    return {
        "state": state.state,
        "limits": state.limits,
        "series_behind": sum(lane.behind > 0 for lane in state.series),
        "changes_behind": sum(lane.behind for lane in state.series),
        "statements": hosts.shared.trips if isinstance(hosts, SharedFolder) else 0,
    }


def _limits(shared: PostgresFiles) -> Iterator[SharedLimit]:
    """Yield the units that all hosts have spent, and the pauses, by vendor."""
    used: dict[str, dict[str, float]] = {}
    for account, length, units in shared.report(USED):
        used.setdefault(account.rpartition(":")[0], {})[f"{length:g}s"] = units
    yield from (SharedLimit(vendor, counts) for vendor, counts in used.items())
    for name, value, age_s in shared.report(PAUSES):
        kind, account, *rest = name.split(" ", 2)
        fact = fact_of(kind, value, age_s, now_s=age_s)
        left_s = 0.0 if fact is None else fact.until_s - age_s
        if left_s > 0:
            reason = "it asked us to pause" if kind == "pause" else fact.reason
            vendor = account.rpartition(":")[0]
            yield SharedLimit(vendor, {}, "".join(rest), round(left_s, 1), reason)


def attach(hosts: SharedFolder) -> Iterator[tuple[str, int]]:
    """Offer a folder's series to the store; yield each symbol and its number of series that it has now.

    If the call is interrupted, the next one continues where it stopped. Files that are replaced by those
    of the store are kept in ``_hosts/before``.

    Raises:
        StorageError: The server cannot be reached, or the folder belongs to another store.
    """
    hosts.check_joined(is_attaching=True)
    series: dict[str, list[SeriesKey]] = {}
    for key in hosts.store.keys():
        if hosts.is_shared(key):
            series.setdefault(key.symbol, []).append(key)
    for symbol, keys in series.items():
        for key in keys:
            try:
                hosts.pull([(symbol, key.timeframe)])
            except LogUnreachableError:
                raise
            except CacheError as error:
                hosts.left_out[key] = str(error)
        yield symbol, sum(key not in hosts.left_out for key in keys)


def verify(hosts: SharedFolder, *, deep: bool = False) -> Iterator[SeriesState]:
    """Yield each series that differs from the store; with ``deep``, compare the digest of every file.

    Nothing is repaired: the next request that needs new bars restores the files.

    Raises:
        LogUnreachableError: The server cannot be reached, or no shared store is set.
    """
    state = host_state(hosts)
    if state.state in ("alone", "cut off", "not attached"):
        raise LogUnreachableError(state.reason or "no shared store is configured")
    yield from state.series
    known = {lane.series for lane in state.series}
    for name in hosts.notes.names() if deep else ():
        key, note = key_of(name), hosts.notes.read(name)
        if key is not None and note is not None and key not in known:
            for what, reason in _differences(hosts, key, note):
                yield SeriesState(key, what, 0, reason)


def _differences(
    hosts: SharedFolder, key: SeriesKey, note: Note
) -> Iterator[tuple[Literal["corrupt", "astray"], str]]:
    """Yield whether a series' files are wrong on the server or on this host, with a file's name."""
    stored = hosts.shared.chunks({name_of(key): Seen()}).get(name_of(key))
    if stored is None or stored.head != note.head:
        return  # it has changed meanwhile
    files = {
        file.path: file.digest.hex()
        for file in stored.files
        if file.body is not None and (file.start, file.size) == (0, len(file.body))
        if sha256(file.body).digest() == file.digest
    }
    digests = {path: file.digest for path, file in note.files.items()}
    paths = {file.path for file in stored.files} | {*digests}
    if wrong := [path for path in sorted(paths) if files.get(path, "") != digests.get(path)]:
        yield "corrupt", f"{wrong[0]} differs on the server"
    folder = hosts.store.parts.lane(key).paths.folder
    for path, digest in digests.items():
        if (
            sha256(hosts.store.parts.disk.read_if_exists(folder / path) or b"").hexdigest()
            != digest
        ):
            yield "astray", f"{path} differs in this folder"
            return
