"""What hosts need from a place that all of them share: files of series, leases, counts and facts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol


class Head(NamedTuple):
    """The latest state of a series: the number of its changes, and a random token of the last one."""

    gen: int = 0
    token: bytes = b""


class FileBytes(NamedTuple):
    """A file of a series, with the bytes that replace everything from ``start`` on.

    Attributes:
        path: Path in the folder of the series.
        size, digest: Size and SHA-256 of the whole file.
        start: Position of the first byte of ``body``.
        body: The bytes from there to the end; None if the host has the whole file.
    """

    path: str
    size: int
    digest: bytes
    start: int = 0
    body: bytes | None = None


class StoredSeries(NamedTuple):
    """The files of a series, in the order in which they must be written.

    Attributes:
        head: Latest state.
        is_known: Whether the state that the host has seen is part of the series' history.
        files: All files. If the state is not known, each has all its bytes.
    """

    head: Head
    is_known: bool
    files: Sequence[FileBytes]


class SeriesName(NamedTuple):
    """An entry in the list of all series.

    Attributes:
        name: Symbol and lane, as their folders are named; the lane of splits and dividends is empty.
        head: Latest state.
        at_ms: Time of the last change by the server's clock, UTC milliseconds.
        has_bars: Whether there are files with bars.
        is_known: Whether the state that the host has seen is part of the series' history.
    """

    name: str
    head: Head
    at_ms: int
    has_bars: bool
    is_known: bool


class Granted(NamedTuple):
    """The result of a request for a lease.

    Attributes:
        owner: The present owner.
        pages: Number of pages that the owner has received.
        heads: Latest state of each requested series; None if the lease was not granted.
        days: The shared fact about days that vendors lack, with its age in seconds; None without one.
    """

    owner: str
    pages: int
    heads: Mapping[str, Head] | None = None
    days: tuple[Any, float] | None = None


class Seen(NamedTuple):
    """What a host has of a series.

    Attributes:
        head: State that its files show.
        odd: Paths of files that are not as in that state.
        bytes: Size of the series on the server, if known.
    """

    head: Head = Head()
    odd: Sequence[str] = ()
    bytes: int = 0


class SharedFiles(Protocol):
    """The files of all series, and what hosts agree on. Thread-safe.

    Every method raises :class:`.LogUnreachableError` if the server cannot be reached or accepts no
    changes, and :class:`.StorageError` if it rejects the request.
    """

    trips: int

    def heads(self, pairs: Collection[str]) -> dict[str, tuple[Head, int]]:
        """Return the latest state and size in bytes of all series of pairs of symbol and timeframe."""

    def chunks(self, seen: Mapping[str, Seen]) -> dict[str, StoredSeries]:
        """Return the files of series, with the bytes that were added after the states seen."""

    def push(
        self,
        name: str,
        seen: Head,
        changes: Sequence[FileBytes],
        gone: list[str] | None,
        owner: str,
        *,
        frees: bool,
    ) -> Head | None:
        """Change the files of a series whose state is ``seen``; return its new state.

        ``gone`` are the paths of removed files; None means all files that are not in ``changes``. The
        result is None if the state is another one. ``owner`` must hold the lease of the series, which
        ends with this change if ``frees`` is set.

        Raises:
            OvertakenError: Another owner holds the lease; it is final.
        """

    def lease(
        self,
        name: str,
        owner: str,
        seconds: float,
        *,
        pages: int = 0,
        patience_s: float = 0.0,
        about: Sequence[str] = (),
        is_new: bool = True,
    ) -> Granted:
        """Take a lease, extend it (``is_new`` is False), or free it (``seconds`` is 0)."""

    def take(
        self,
        account: str,
        ticket: str,
        units: float,
        windows: Sequence[tuple[float, float]],
        facts: Collection[str],
    ) -> tuple[Mapping[float, float], dict[str, tuple[Any, float]]]:
        """Count units of an account if its windows (length and limit) have room.

        Return the seconds to wait for each length, none of them positive if the units are counted,
        and the facts as in :meth:`facts`.
        """

    def settle(self, account: str, op: Sequence[Any]) -> None:
        """Send a change of an account's counts together with the next request."""

    def facts(
        self, names: Collection[str], values: Mapping[str, tuple[Any, float]]
    ) -> dict[str, tuple[Any, float]]:
        """Set facts (value, seconds until it expires); return the named ones (value, age in seconds)."""

    def names(self, seen: Mapping[str, Head]) -> list[SeriesName]:
        """Return every series, compared with the states that this host has seen."""
