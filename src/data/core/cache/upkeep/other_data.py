"""Checks and repairs everything in a cache folder other than bars: tables and fundamentals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ....errors import DataError, FormatVersionError, QueryError
from ...clock import Clock
from ...disk.files import Disk
from ...model.time.timeframe import Timeframe
from ..beside.fundamentals_folder import FOLDER as FUNDAMENTALS
from ..beside.fundamentals_folder import FundamentalsFolder
from ..beside.tables import TableStore
from ..recovery.check import Finding, Inspection
from ..recovery.quarantine import Damage

_REMEDY = "it goes into quarantine, and is fetched again if a vendor still has it"


@dataclass(frozen=True)
class OtherPart:
    """One table, or the fundamentals for one symbol.

    Attributes:
        symbol, timeframe: Series of the table. Fundamentals and unlistable folders have no
            timeframe.
        data_type: Name of the folder.
        files: Number of data files.
        damage: Function that reads the files and returns the damaged ones.
        set_aside: Function that moves damaged files to the quarantine.
    """

    symbol: str
    timeframe: str
    data_type: str
    files: int
    damage: Callable[[], list[Damage]]
    set_aside: Callable[[], None]

    @property
    def is_table(self) -> bool:
        """Whether this is a table, rather than fundamentals."""
        return self.data_type != FUNDAMENTALS

    def check(self) -> list[Finding]:
        """Return the defects; nothing is changed."""
        try:
            return [
                self._finding(f"{self.data_type} {damage.path.name}", damage.reason)
                for damage in self.damage()
            ]
        except FormatVersionError as exc:
            return [self._refusal_finding(str(exc.args[0]), "update this library")]
        except DataError as exc:
            return [self._refusal_finding(str(exc), "make the file readable, or remove it")]

    def repair(self) -> tuple[list[Finding], list[Finding]]:
        """Set damaged files aside; return the findings before and after."""
        findings = self.check()
        if not any(finding.cure != "none" for finding in findings):
            return findings, findings
        try:
            self.set_aside()
        except DataError as exc:
            return findings, [
                *findings,
                self._refusal_finding(str(exc), "try again when it can be written"),
            ]
        return findings, self.check()

    def _finding(self, where: str, what: str) -> Finding:
        return Finding(self.symbol, self.timeframe, "", where, what, _REMEDY, "drop")

    def _refusal_finding(self, what: str, remedy: str) -> Finding:
        return Finding(self.symbol, self.timeframe, "", self.data_type, what, remedy, "none")


@dataclass(frozen=True)
class OtherLog:
    """The changes to one table, or to the fundamentals for one symbol.

    Attributes:
        symbol, timeframe: Series of the table; fundamentals have no timeframe.
        data_type: Name of the folder.
        entries: Log entries, oldest first; see :meth:`TableStore.log` and
            :meth:`FundamentalsFolder.log`.
    """

    symbol: str
    timeframe: str
    data_type: str
    entries: list[dict[str, Any]]

    @property
    def is_table(self) -> bool:
        """Whether this log belongs to a table."""
        return self.data_type != FUNDAMENTALS


class OtherData:
    """Tables and fundamentals in one cache folder. Thread-safe, and safe alongside other processes.

    Args:
        root: Cache folder.
        disk, clock: File system, and source of the current time.
        data_types: Function that returns the names of the table folders.
    """

    def __init__(
        self, root: Path, disk: Disk, clock: Clock, data_types: Callable[[], list[str]]
    ) -> None:
        self._root = root
        self._disk = disk
        self._clock = clock
        self._data_types = data_types

    def parts(
        self, symbol: str | None = None, timeframe: Timeframe | None = None
    ) -> list[OtherPart]:
        """Return the stored tables and fundamentals, for one symbol and timeframe or for all."""
        parts = [part for name in self._data_types() for part in self._tables(name)]
        parts += self._fundamentals()
        label = timeframe.label if timeframe else None
        return [
            part
            for part in parts
            if symbol in (None, part.symbol) and label in (None, part.timeframe)
        ]

    def logs(self, symbol: str, timeframe: Timeframe | None = None) -> list[OtherLog]:
        """Return a symbol's logs, for one timeframe or for all, including logs of deleted data.

        Fundamentals have no timeframe, so they are included only if no timeframe is given.

        Raises:
            BadSymbolError: The symbol cannot name a folder.
            StorageError: A log cannot be read.
        """
        logs = []
        for name in self._disk.list(self._root):
            try:
                store = TableStore(self._root, name, self._disk, self._clock)
            except QueryError:  # not a folder of tables
                continue
            logs += [
                OtherLog(symbol, key.timeframe.label, name, store.log(key))
                for key in store.logged(symbol)
                if timeframe in (None, key.timeframe)
            ]
        if timeframe is None:
            folder = FundamentalsFolder(self._root, clock=self._clock, disk=self._disk)
            entries = folder.log(symbol)
            logs += [OtherLog(symbol, "", FUNDAMENTALS, entries)] if entries else []
        return logs

    def inspect(self, turn: int, has_time: Callable[[], bool]) -> Inspection:
        """Check at least one part, and more of them while time is left; nothing is changed.

        Args:
            turn: Any number; it selects the part to start with.
            has_time: Function that returns whether to continue.
        """
        parts = self.parts()
        first = turn % len(parts) if parts else 0
        findings: list[Finding] = []
        files, read = 0, 0
        for part in [*parts[first:], *parts[:first]]:
            if read and not has_time():
                break
            findings += part.check()
            files, read = files + part.files, read + 1
        total = sum(part.files for part in parts)
        return Inspection(tuple(findings), (), files, total, read == len(parts), total)

    def _tables(self, data_type: str) -> Iterator[OtherPart]:
        store = TableStore(self._root, data_type, self._disk, self._clock)
        try:
            for key in store.keys():
                yield OtherPart(
                    key.symbol,
                    key.timeframe.label,
                    data_type,
                    len(store.years(key)),
                    partial(store.damage, key),
                    partial(store.repair, key),
                )
        except DataError as exc:
            yield _unlisted_part(data_type, exc)

    def _fundamentals(self) -> Iterator[OtherPart]:
        folder = FundamentalsFolder(self._root, clock=self._clock, disk=self._disk)
        try:
            for name in folder.symbols():
                count = folder.get_cache_stats(name)["files"]
                if count:
                    damage, repair = partial(folder.damage, name), partial(folder.repair, name)
                    yield OtherPart(name, "", FUNDAMENTALS, count, damage, repair)
        except DataError as exc:
            yield _unlisted_part(FUNDAMENTALS, exc)


def _unlisted_part(data_type: str, error: DataError) -> OtherPart:
    """Return the entry for a data type whose folder cannot be listed; a check raises ``error``."""

    def refuse() -> list[Damage]:
        """Raise the stored error: the folder could not be listed."""
        raise error

    return OtherPart("", "", data_type, 0, refuse, lambda: None)
