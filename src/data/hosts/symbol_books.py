"""The splits, dividends and names of symbols in a folder that is a copy of the log."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from ..cache.actions import ActionBook, dump_book, load_book, set_aside
from ..cache.format.json_document import DamagedError
from ..cache.layout import Layout
from ..cache.read.document_cache import DocumentCache
from ..cache.write.write_guard import WriteGuard
from ..clock import Clock
from ..disk.atomic import write_atomically
from ..disk.files import Disk
from ..errors import CorruptEntryError
from . import book as books
from .decisions import overtaken
from .entry import (
    EntryValue,
    ReportedActions,
    SamplesForgotten,
    SeriesName,
    SymbolChanges,
    applying,
)
from .log import Log, LogEntry, LogPosition
from .notes import Note, Notes

log = logging.getLogger(__name__)

_TRIES = 20
# Times that a book which changes while it is read is read again.
_READS = 5


class _PastBook(NamedTuple):
    """A book after one of its entries, and the entries that were read with it.

    Attributes:
        history: Symbol, and the entry that its book in the folder shows.
        position: Entry.
        book: Book after it.
        ahead: Next entries.
    """

    history: tuple[str, LogPosition | None] = ("", None)
    position: LogPosition = LogPosition()
    book: ActionBook = ActionBook()
    ahead: Sequence[LogEntry] = ()


class SymbolBooks:
    """Reads the books of symbols, and brings them to their latest entries. Thread-safe.

    Args:
        log: The log.
        notes: Notes of the folder.
        layout, disk, document_cache, guard, clock: Parts of its store.
        lock_timeout_s: Maximum wait for another writer, in seconds.
        before_reported: Function called with the symbol, actions and answer of an entry before it is
            applied.
    """

    def __init__(
        self,
        log: Log,
        notes: Notes,
        layout: Layout,
        disk: Disk,
        document_cache: DocumentCache,
        guard: WriteGuard,
        clock: Clock,
        lock_timeout_s: float,
        before_reported: Callable[..., Any],
    ) -> None:
        self._log, self._notes, self._layout = log, notes, layout
        self._disk, self._guard, self._clock = disk, guard, clock
        self._document_cache = document_cache
        self._lock_timeout_s, self._before_reported = lock_timeout_s, before_reported
        self._past = _PastBook()

    def now(self, symbol: str) -> tuple[LogPosition, ActionBook]:
        """Return a symbol's book, and its position in the log."""
        for _ in range(_READS):
            stored = self._stored_book(symbol)
            if stored is not None:
                return stored[0].position, stored[1]
            self.update(symbol)
        raise overtaken(f"the splits of {symbol}", symbol)

    def at(self, symbol: str, seq: int) -> ActionBook:
        """Return a symbol's book after one of its entries."""
        stored = self._stored_book(symbol)
        if stored is not None and stored[0].position.seq == seq:
            return stored[1]
        # Entries are applied in order, so each begins where the one before has stopped, unless the server
        # has lost entries since, which the folder's own position shows.
        history = symbol, stored and stored[0].position
        past = self._past
        if past.history != history or past.position.seq > seq:
            past = _PastBook(history)
        while past.position.seq < seq:
            ahead = past.ahead or self._log.after(SeriesName(symbol), past.position)
            if not ahead:
                raise _lost_error(symbol)
            with applying(SeriesName(symbol), ahead[0].position.seq):
                book = books.apply_entry(past.book, ahead[0].value)
            past = _PastBook(history, ahead[0].position, book, ahead[1:])
        self._past = past
        return past.book

    def forget(self) -> None:
        """Forget the books of entries, which are then read again from the server."""
        self._past = _PastBook()

    def update(self, symbol: str) -> bool:
        """Bring a symbol's book to its latest entry; return whether it changed."""
        return self.pull(symbol, self._log.heads([(symbol, "")]).get(SeriesName(symbol)))

    def pull(self, symbol: str, head: LogPosition | None) -> bool:
        """Bring a symbol's book to its latest entry, which is ``head``; return whether it changed."""
        stored = self._stored_book(symbol)
        if stored is not None and stored[0].position == (head or LogPosition()):
            return False
        name, folder = SeriesName(symbol), self._layout.symbol(symbol)
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", self._lock_timeout_s):
            stored = self._stored_book(symbol)
            unattached = ActionBook() if stored else self._unattached_book(symbol)
            note, book = stored or (Note(), ActionBook(samples=unattached.samples))
            position, offered = note.position, list[EntryValue]()
            if stored is None and self._notes.read(self._notes.book(symbol)) is None:
                offered = list(books.rebuilding_entries(unattached))
            while True:
                entries = self._entries_after(name, position)
                if entries is None:  # the server lost them; vendors are queried again
                    book, position = ActionBook(samples=book.samples), LogPosition()
                    continue
                for entry in entries:
                    with applying(name, entry.position.seq):
                        if isinstance(entry.value, ReportedActions):
                            self._before_reported(symbol, entry.value.actions, entry.value.answer)
                        book, position = books.apply_entry(book, entry.value), entry.position
                if entries:
                    continue
                if not offered:
                    break
                # Repeated after an interruption: the same answer twice is one.
                if self._log.append(name, position, offered[0]) is not None:
                    del offered[0]
            self._keep(symbol, book, position)
        return True

    def _entries_after(self, name: SeriesName, position: LogPosition) -> Sequence[LogEntry] | None:
        """Return a book's next entries; None if the server has lost the one at ``position``."""
        entries = self._log.after(name, position)
        if entries is None and position == LogPosition():
            raise _lost_error(name.symbol)
        return entries

    def append(self, symbol: str, value: EntryValue) -> ActionBook:
        """Append an entry to a symbol's book, and apply it."""
        name = SeriesName(symbol)
        with self._guard.writing(self._layout.symbol(symbol)):
            for _ in range(_TRIES):
                position, _book = self.now(symbol)
                made = self._log.append(name, position, value)
                head = made and made.position
                self.pull(symbol, head or self._log.heads([(symbol, "")]).get(name))
                if made is not None:
                    return self.now(symbol)[1].up_to(self._clock.now_ms())
        raise overtaken(f"the splits of {symbol}", symbol)

    def change_names(self, symbol: str, value: SymbolChanges) -> bool:
        """Append the recorded changes of a symbol unless they are the same; return whether they differ."""
        self.update(symbol)
        before = self.now(symbol)[1].changes
        if books.apply_entry(ActionBook(changes=before), value).changes == before:
            return False
        self.append(symbol, value)
        return True

    def keep_sample(self, symbol: str, value: ReportedActions | SamplesForgotten) -> ActionBook:
        """Change what this host's copy of a symbol's book says about samples."""
        folder = self._layout.symbol(symbol)
        with self._guard.writing(folder):
            for _ in range(_READS):
                self.now(symbol)  # made anew if it is damaged
                self._disk.make_folders(folder)
                with self._disk.lock(folder / ".lock", self._lock_timeout_s):
                    if (stored := self._stored_book(symbol)) is not None:
                        book = books.apply_entry(stored[1], value)
                        self._keep(symbol, book, stored[0].position)
                        return book.up_to(self._clock.now_ms())
        raise overtaken(f"the splits of {symbol}", symbol)

    def _file(self, symbol: str) -> bytes | None:
        return self._disk.read_if_exists(self._layout.actions(symbol))

    def _stored_book(self, symbol: str) -> tuple[Note, ActionBook] | None:
        """Return the note and content of a symbol's book; None if they do not belong together."""
        note, data = self._notes.read(self._notes.book(symbol)), self._file(symbol)
        if note is None:
            return None if data is not None else (Note(), ActionBook())
        if note.digest != _digest(data):
            return None
        return note, ActionBook() if data is None else load_book(data, symbol)

    def _unattached_book(self, symbol: str) -> ActionBook:
        """Return a book that was stored without the log; empty if there is none.

        A damaged one is set aside.
        """
        data = self._file(symbol)
        try:
            return ActionBook() if data is None else load_book(data, symbol)
        except DamagedError as error:
            set_aside(self._disk, self._layout.symbol(symbol))
            log.warning("%s: the stored splits and dividends are damaged: %s", symbol, error)
            return ActionBook()

    def _keep(self, symbol: str, book: ActionBook, position: LogPosition) -> None:
        path, data = Path(self._layout.actions(symbol)), None
        if book == ActionBook():
            self._disk.remove(path)
        else:
            data = dump_book(symbol, book)
            write_atomically(self._disk, path, data)
        self._document_cache.forget(path)
        self._notes.keep(self._notes.book(symbol), Note(position, digest=_digest(data)))


def _lost_error(symbol: str) -> CorruptEntryError:
    return CorruptEntryError(
        f"the log has lost the splits and dividends of {symbol}", symbol=symbol
    )


def _digest(data: bytes | None) -> str:
    return "" if data is None else sha256(data).hexdigest()
