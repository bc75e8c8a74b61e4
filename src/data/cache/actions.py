"""Splits and dividends for one symbol, and its former names, stored in ``actions.json``.

They are applied when bars are read, so a wrong or a lost one changes prices: the document is
durable before it counts, a damaged one is an error and never an empty one, and what every vendor
told is kept, also where it does not count.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from typing import Any, NamedTuple

from ..disk.atomic import sweep, write_atomically
from ..disk.files import Disk
from ..errors import CorruptEntryError, FormatVersionError
from ..model.actions import Action, current
from ..model.instant import DAY_MS, date_of, day_ms
from ..model.span import Span, coalesce, gaps
from ..model.symbol_changes import SymbolChange
from ..prices.disputes import (
    ActionEvent,
    events_of,
    is_correction,
    is_repeated,
    split_events,
)
from ..vendors.registry import is_sample
from .format import json_document
from .format.documents import BookEntries, load_book_document
from .layout import Layout
from .read.lru_cache import DocumentCache

# Up to version 0.1.0 it was written down that these were asked and told none when only their bars
# had been asked for, which come without. Those entries lack the key below.
_NOT_BELIEVED = frozenset({"alpaca", "polygon", "tiingo"})
_TOLD = "told"
# Until then a vendor may tell an action late; what it does not tell means nothing.
_SETTLED_MS = 7 * DAY_MS
# Vendors differ by this much in the date of one action.
_MARGIN_MS = 4 * DAY_MS


class Asked(NamedTuple):
    """Ex-dates (stamps of session dates) for which a vendor was asked and answered.

    All of them were asked for at ``fetched_at`` or later, except those of which it is too late to
    matter: see :attr:`settled`. A vendor that tells actions with the bars of their days has told
    those before ``until`` alone.
    """

    span: Span
    source: str
    fetched_at: int
    until: int | None = None

    @property
    def settled(self) -> Span:
        """The ex-dates asked for so late that what was not told is not known to the vendor."""
        return self.span.clip(Span(self.span.start, self.fetched_at - _SETTLED_MS))


@dataclass(frozen=True)
class ActionBook:
    """What is known about the actions of a symbol.

    Attributes:
        reports: every vendor's last word about every action, by ex-date.
        answers: what was asked and answered.
        awaited: what was asked and will be published with the bars of those days, by vendor the latest.
        samples: reports of vendors of sample bars; they count for their own bars alone (:meth:`only`).
        changes: what the symbol named when, by date.
        extra: keys of other versions, kept as they are.
        has_unbelieved: whether the document has answers that nobody was asked for: see above.
    """

    reports: tuple[Action, ...] = ()
    answers: tuple[Asked, ...] = ()
    awaited: tuple[Asked, ...] = ()
    samples: ActionBook | None = None
    changes: tuple[SymbolChange, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    has_unbelieved: bool = field(default=False, compare=False)

    @cached_property
    def events(self) -> tuple[ActionEvent, ...]:
        """What was told, sorted into events; :mod:`..prices.disputes` has the rule."""
        return events_of(self.reports, self._asked_for)

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """What counts, by ex-date; of one type and date there is one."""
        return tuple(sorted(e.action() for e in self.events if e.counts))

    @cached_property
    def splits(self) -> tuple[Action, ...]:
        """The splits that count, by ex-date; dividends are not looked at for it."""
        events = split_events(self.reports, self._asked_for)
        return tuple(sorted(e.action() for e in events if e.counts))

    @cached_property
    def dividends(self) -> tuple[Action, ...]:
        """The dividends that count, by ex-date."""
        return tuple(a for a in self.actions if a.type == "dividend")

    @cached_property
    def disagreements(self) -> tuple[Action, ...]:
        """What vendors say otherwise, or of events that do not count, by ex-date."""
        words = (e.dissent(e.action()) if e.counts else e.reports for e in self.events)
        return tuple(sorted(action for dissents in words for action in dissents))

    @cached_property
    def disputed(self) -> tuple[ActionEvent, ...]:
        """Events about which a vendor says something else, or nothing, by ex-date."""
        return tuple(event for event in self.events if event.is_disputed)

    def of(self, vendor: str) -> tuple[Action, ...]:
        """Return what counts for the bars of ``vendor``: where others are divided, its own word."""
        if not self.disputed:
            return self.actions
        return tuple(sorted(e.action(vendor) for e in self.events if e.counts))

    def only(self, vendor: str) -> ActionBook:
        """Return what ``vendor`` told, and was asked for, as if there were no other."""
        if is_sample(vendor) and self.samples is not None:
            return self.samples.only(vendor)
        named: tuple[Action | Asked, ...] = (*self.reports, *self.answers, *self.awaited)
        if {one.source for one in named} <= {vendor}:
            return self
        # One object of each vendor: what is recognised by it, and sorts its events, does so once.
        if (kept := self._of_one.get(vendor)) is not None:
            return kept
        reports = tuple(action for action in self.reports if action.source == vendor)
        answers, awaited = (
            tuple(a for a in spans if a.source == vendor) for spans in (self.answers, self.awaited)
        )
        return self._of_one.setdefault(vendor, ActionBook(reports, answers, awaited))

    @cached_property
    def _of_one(self) -> dict[str, ActionBook]:
        return {}

    def for_bars_of(self, vendor: str | None) -> ActionBook:
        """Return what counts for bars of ``vendor``: of a sample its own word alone; None: of all."""
        return self.only(vendor) if vendor is not None and is_sample(vendor) else self

    def covers(self, span: Span, since_ms: int | None = None) -> bool:
        """Tell whether every ex-date in ``span`` was asked for, of any vendor.

        With ``since_ms`` those count too that are awaited since then: asking again tells nothing.
        """
        return not self.lacking(span, since_ms)

    def lacking(self, span: Span, since_ms: int | None = None) -> list[Span]:
        """Return the ex-dates in ``span`` that were asked of no vendor; see :meth:`covers`."""
        awaited = () if since_ms is None else self._awaited_since(since_ms)
        return gaps(span, [part.span for part in (*self.answers, *awaited)])

    def awaited_from(self, day: date, since_ms: int) -> date | None:
        """Return the first ex-date up to ``day`` that was asked for, and is not told of yet.

        None where ``day`` is known, or was not asked for since ``since_ms``.
        """
        span = Span(day_ms(day), day_ms(day) + DAY_MS)
        if self.covers(span):
            return None
        starts = [a.span.start for a in self._awaited_since(since_ms) if span.start in a.span]
        return date_of(min(starts)) if starts else None

    def _awaited_since(self, since_ms: int) -> list[Asked]:
        return [part for part in self.awaited if part.fetched_at >= since_ms]

    def is_quiet(self, days: Span, *, settled: bool) -> bool:
        """Tell whether all ex-dates in ``days`` were asked for and no vendor told an action.

        ``settled``: asked for so late that one told late would be known by now.
        """
        if gaps(days, [part.settled if settled else part.span for part in self.answers]):
            return False
        return not any(day_ms(action.ex_date) in days for action in self.reports)

    def by(self, now_ms: int) -> ActionBook:
        """Return the book without what was asked by a clock that was ahead, if there is any.

        What happened between then and the time it showed was asked of no vendor.
        """
        sound = tuple(a for a in self.answers if a.fetched_at <= now_ms + DAY_MS)
        awaited = tuple(a for a in self.awaited if a.fetched_at <= now_ms)
        samples = self.samples and self.samples.by(now_ms)
        if samples is self.samples and (len(sound), len(awaited)) == (
            len(self.answers),
            len(self.awaited),
        ):
            return self
        return replace(self, answers=sound, awaited=awaited, samples=samples)

    def known_until(self, day: date) -> date:
        """Return the last ex-date up to which, behind ``day``, every one was asked for."""
        edge = day_ms(day) + DAY_MS
        for span in sorted(a.span for a in self.answers):
            if span.start <= edge < span.end:
                edge = span.end
        return date_of(edge - 1)

    def newest(self, day: date) -> date:
        """Return the last ex-date behind ``day`` that has none before it that is not known."""
        until = self.known_until(day)
        if not any(day < action.ex_date <= until for action in self.reports):
            return day  # as nearly always: what counts need not be made out
        return max((a.ex_date for a in self.actions if day < a.ex_date <= until), default=day)

    def with_answer(self, actions: Sequence[Action], answer: Asked) -> ActionBook:
        """Return the book after an answer.

        A source that corrects itself is believed. An action that an answer lacks stays: vendors
        forget more often than companies take back. Several dividends of one day are one.
        """
        if is_sample(answer.source):
            return replace(self, samples=(self.samples or ActionBook())._after(actions, answer))
        return self._after(actions, answer)

    def without(self, source: str) -> ActionBook:
        """Return the book without what a vendor of samples told, and was asked for."""
        if self.samples is None:
            return self
        old = self.samples
        reports = tuple(action for action in old.reports if action.source != source)
        answers, awaited = (
            tuple(a for a in spans if a.source != source) for spans in (old.answers, old.awaited)
        )
        return replace(self, samples=ActionBook(reports, answers, awaited, extra=old.extra))

    def _after(self, actions: Sequence[Action], answer: Asked) -> ActionBook:
        reports = list(self.reports)
        stamped = (
            replace(
                action,
                source=action.source or answer.source,
                fetched_at=action.fetched_at or answer.fetched_at,
            )
            for action in actions
        )
        for action in current(stamped):
            older = [entry for entry in reports if is_correction(entry, action)]
            if len(older) == 1 and is_repeated(older[0], action):
                # A pay date is told later than the dividend itself.
                pay_date = action.pay_date or older[0].pay_date
                currency = action.currency or older[0].currency
                parts = action.parts or older[0].parts
                action = replace(older[0], pay_date=pay_date, currency=currency, parts=parts)
            reports = [*(entry for entry in reports if entry not in older), action]
        awaited = [
            a for a in self.awaited if a.source != answer.source or not a.span.overlaps(answer.span)
        ]
        entry = answer._replace(until=None)
        if answer.until is not None and answer.until < answer.span.end:
            start = max(answer.until, answer.span.start)
            entry = entry._replace(span=Span(answer.span.start, start))
            awaited.append(answer._replace(span=Span(start, answer.span.end), until=None))
        done = self.answers if entry.span.is_empty else _with_asked(self.answers, entry)
        left = (a for a in awaited if gaps(a.span, [part.span for part in done]))
        return replace(
            self, reports=tuple(sorted(reports)), answers=done, awaited=tuple(sorted(left))
        )

    def _asked_for(self, day: date) -> set[str]:
        """Return the vendors asked for ``day`` and the days around it, late enough to know."""
        around = Span(day_ms(day) - _MARGIN_MS, day_ms(day) + DAY_MS + _MARGIN_MS)
        return {
            source
            for source in {a.source for a in self.answers}
            if not gaps(around, [a.settled for a in self.answers if a.source == source])
        }


def _with_asked(old: tuple[Asked, ...], new: Asked) -> tuple[Asked, ...]:
    """Return the list with ``new``, one source's adjoining spans joined.

    Of settled spans the latest time holds, for those that were fresh the earliest: none may seem
    to have been asked for later than it was.
    """
    same = [a for a in (*old, new) if a.source == new.source]
    late = _joined([a._replace(span=a.settled) for a in same], max)
    left = [a._replace(span=s) for a in same for s in gaps(a.span, (done.span for done in late))]
    joined = _rejoined([*late, *_joined(left, min)])
    return tuple(sorted([*(a for a in old if a.source != new.source), *joined]))


def _joined(answers: Sequence[Asked], time: Callable[[Iterable[int]], int]) -> list[Asked]:
    return [
        Asked(span, answers[0].source, time(a.fetched_at for a in answers if a.span.overlaps(span)))
        for span in coalesce(a.span for a in answers)
    ]


def _rejoined(answers: Iterable[Asked]) -> list[Asked]:
    """Put together what one answer said of adjoining ex-dates."""
    whole: list[Asked] = []
    for part in sorted(answers):
        last = whole[-1] if whole else None
        if last and (last.span.end, last.fetched_at) == (part.span.start, part.fetched_at):
            part = part._replace(span=Span(whole.pop().span.start, part.span.end))
        whole.append(part)
    return whole


# --- on disk -------------------------------------------------------------------------------


class ActionStore:
    """The ``actions.json`` of every symbol. Thread-safe; writers take the symbol's lock.

    Args:
        layout, disk, memory: of the store.
        lock_timeout_s: how long to wait for another writer.
    """

    def __init__(
        self, layout: Layout, disk: Disk, memory: DocumentCache, *, lock_timeout_s: float
    ) -> None:
        self._layout = layout
        self._disk = disk
        self._memory = memory
        self._lock_timeout_s = lock_timeout_s

    def load(self, symbol: str) -> ActionBook:
        """Return the book of ``symbol``, an empty one where nothing was ever asked.

        Raises:
            CorruptEntryError: the document is damaged; actions must be fetched again.
            FormatVersionError: a newer version of this library wrote it.
        """
        path = self._layout.actions(symbol)
        try:
            book = self._memory.load(path, lambda data: load_book(data, symbol))
            return book or ActionBook()
        except json_document.DamagedError as exc:
            raise CorruptEntryError(
                f"the splits and dividends of {symbol} are damaged: {exc}",
                symbol=symbol,
                hint="they are fetched again with the next refresh; until then prices cannot be "
                "adjusted",
            ) from exc
        except FormatVersionError as exc:
            raise FormatVersionError(
                f"{symbol}: {exc.args[0]}", symbol=symbol, hint="update this library"
            ) from exc

    def add(
        self, symbol: str, actions: Sequence[Action], answer: Asked, wait_s: float = math.inf
    ) -> ActionBook:
        """Add an answer, durably, and return the book; a damaged book is kept and begun anew.

        Another writer is waited for ``wait_s`` seconds, at most ``lock_timeout_s``.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: nothing was changed.
        """
        return self._changed(
            symbol, lambda old: old.by(answer.fetched_at).with_answer(actions, answer), wait_s
        )

    def forget(self, symbol: str, source: str, wait_s: float = math.inf) -> ActionBook:
        """Forget what a vendor of samples told, durably, and return the book; waits as :meth:`add`.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: nothing was changed.
        """
        return self._changed(symbol, lambda old: old.without(source), wait_s)

    def record(self, symbol: str, changes: Sequence[SymbolChange]) -> bool:
        """Keep these changes of a symbol's name in place of those recorded, durably.

        One that is recorded alike keeps its time.

        Returns:
            Whether they were others.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: nothing was changed.
        """
        differed = False

        def changed(old: ActionBook) -> ActionBook:
            """Return the book with the changes."""
            nonlocal differed
            recorded = {replace(one, fetched_at=0): one for one in old.changes}
            new = tuple(sorted(recorded.get(replace(c, fetched_at=0), c) for c in changes))
            differed = new != old.changes
            return replace(old, changes=new)

        self._changed(symbol, changed, math.inf)
        return differed

    def _changed(
        self, symbol: str, change: Callable[[ActionBook], ActionBook], wait_s: float
    ) -> ActionBook:
        folder = self._layout.symbol(symbol)
        self._disk.make_folders(folder)
        with self._disk.lock(folder / ".lock", min(wait_s, self._lock_timeout_s)):
            sweep(self._disk, folder)
            sweep(self._disk, folder / "_quarantine")
            try:
                old = self.load(symbol)
            except CorruptEntryError:
                self._set_aside(symbol)
                old = ActionBook()
            book = change(old)
            path = folder / "actions.json"
            if self._disk.stat(path) is None:
                # The process that made the folders may have been killed before they were durable.
                self._disk.sync_folder(folder.parent)
                self._disk.sync_folder(folder.parent.parent)
            if book != old or _words(book) != _words(old):
                write_atomically(self._disk, path, dump_book(symbol, book))
                self._memory.forget(path)
            else:
                self._disk.sync_folder(folder)  # likewise for the name of what was found here
        return book

    def _set_aside(self, symbol: str) -> None:
        """Keep a damaged document in the symbol's quarantine."""
        path = self._layout.symbol(symbol) / "actions.json"
        content = self._disk.read(path)
        folder = path.parent / "_quarantine"
        self._disk.make_folders(folder)
        name = f"actions.{hashlib.sha256(content).hexdigest()[:16]}.json"
        write_atomically(self._disk, folder / name, content)


def _words(book: ActionBook) -> list[tuple[str, str, tuple[float, ...]]]:
    """Return what makes no difference to prices, and is kept all the same."""
    reports = (*book.reports, *(book.samples.reports if book.samples else ()))
    return [(action.pay_date, action.currency, action.parts) for action in reports]


def dump_book(symbol: str, book: ActionBook) -> bytes:
    """Return the bytes of the document."""
    return json_document.dump(
        dict(book.extra)
        | {"format": json_document.FORMAT, "symbol": symbol}
        | _entries(book)
        | ({"changes": [one.to_json() for one in book.changes]} if book.changes else {})
        | ({"samples": _entries(book.samples)} if book.samples is not None else {})
    )


def _entries(book: ActionBook) -> dict[str, Any]:
    elsewhere = {*book.actions, *book.disagreements}
    confirmed = [action.to_json() for action in book.reports if action not in elsewhere]
    return (
        {
            "actions": [action.to_json() for action in book.actions],
            "asked": [_plain(a) | {_TOLD: True} for a in book.answers],
            "disagreements": [action.to_json() for action in book.disagreements],
        }
        | ({"awaited": [_plain(a) for a in book.awaited]} if book.awaited else {})
        | ({"confirmed": confirmed} if confirmed else {})
    )


def _plain(answer: Asked) -> dict[str, Any]:
    return {"span": list(answer.span), "source": answer.source, "fetched_at": answer.fetched_at}


def load_book(data: bytes, symbol: str) -> ActionBook:
    """Read the bytes of the document of ``symbol``.

    Raises:
        DamagedError: it is not whole, or of another symbol.
        FormatVersionError: a newer version of this library wrote it.
    """
    document, extra = load_book_document(data)
    if document.symbol != symbol:
        raise json_document.DamagedError(f"they belong to {document.symbol!r}")
    samples = None if document.samples is None else _book_of(document.samples)
    changes = tuple(sorted(document.changes))
    return replace(_book_of(document), samples=samples, changes=changes, extra=extra)


def _book_of(entries: BookEntries) -> ActionBook:
    believed = [a for a in entries.asked if a.told or a.source not in _NOT_BELIEVED]
    return ActionBook(
        reports=tuple(sorted([*entries.actions, *entries.disagreements, *entries.confirmed])),
        answers=tuple([Asked(a.span, a.source, a.fetched_at) for a in believed]),
        awaited=tuple([Asked(a.span, a.source, a.fetched_at) for a in entries.awaited]),
        has_unbelieved=len(believed) < len(entries.asked),
    )
