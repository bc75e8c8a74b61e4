"""Splits and dividends of one symbol, kept in ``actions.json``.

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
from ..prices.disputes import (
    ActionEvent,
    events_of,
    is_correction,
    is_repeated,
    split_events,
)
from ..vendors.registry import is_sample
from .format import json_document
from .layout import Layout
from .read.lru_cache import DocumentCache

# Up to version 0.1.0 it was written down that these were asked and told none when only their bars
# had been asked for, which come without. Those entries lack the key below.
_NOT_BELIEVED = frozenset({"alpaca", "polygon", "tiingo"})
_TOLD = "told"
_OURS = ("format", "symbol", "actions", "asked", "disagreements", "confirmed", "awaited", "samples")
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
        told: every vendor's last word about every action, by ex-date.
        asked: what was asked and answered.
        awaited: what was asked and will be published with the bars of those days, by vendor the latest.
        samples: what vendors of sample bars told; it counts for their own bars alone (:meth:`only`).
        extra: keys of other versions (renames, delisting), kept as they are.
    """

    told: tuple[Action, ...] = ()
    asked: tuple[Asked, ...] = ()
    awaited: tuple[Asked, ...] = ()
    samples: ActionBook | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def events(self) -> tuple[ActionEvent, ...]:
        """What was told, sorted into events; :mod:`..prices.disputes` has the rule."""
        return events_of(self.told, self._asked_for)

    @cached_property
    def actions(self) -> tuple[Action, ...]:
        """What counts, by ex-date; of one type and date there is one."""
        return tuple(sorted(e.action() for e in self.events if e.counts))

    @cached_property
    def splits(self) -> tuple[Action, ...]:
        """The splits that count, by ex-date; dividends are not looked at for it."""
        events = split_events(self.told, self._asked_for)
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
        named: tuple[Action | Asked, ...] = (*self.told, *self.asked, *self.awaited)
        if {one.source for one in named} <= {vendor}:
            return self
        told = tuple(action for action in self.told if action.source == vendor)
        asked, awaited = (
            tuple(a for a in spans if a.source == vendor) for spans in (self.asked, self.awaited)
        )
        return ActionBook(told, asked, awaited)

    def beside(self, vendor: str | None) -> ActionBook:
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
        return gaps(span, [asked.span for asked in (*self.asked, *awaited)])

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
        return [asked for asked in self.awaited if asked.fetched_at >= since_ms]

    def is_quiet(self, days: Span, *, settled: bool) -> bool:
        """Tell whether all ex-dates in ``days`` were asked for and no vendor told an action.

        ``settled``: asked for so late that one told late would be known by now.
        """
        if gaps(days, [asked.settled if settled else asked.span for asked in self.asked]):
            return False
        return not any(day_ms(action.ex_date) in days for action in self.told)

    def by(self, now_ms: int) -> ActionBook:
        """Return the book without what was asked by a clock that was ahead, if there is any.

        What happened between then and the time it showed was asked of no vendor.
        """
        sound = tuple(a for a in self.asked if a.fetched_at <= now_ms + DAY_MS)
        awaited = tuple(a for a in self.awaited if a.fetched_at <= now_ms)
        samples = self.samples and self.samples.by(now_ms)
        if samples is self.samples and (len(sound), len(awaited)) == (
            len(self.asked),
            len(self.awaited),
        ):
            return self
        return replace(self, asked=sound, awaited=awaited, samples=samples)

    def known_until(self, day: date) -> date:
        """Return the last ex-date up to which, behind ``day``, every one was asked for."""
        edge = day_ms(day) + DAY_MS
        for asked in sorted(a.span for a in self.asked):
            if asked.start <= edge < asked.end:
                edge = asked.end
        return date_of(edge - 1)

    def newest(self, day: date) -> date:
        """Return the last ex-date behind ``day`` that has none before it that is not known."""
        until = self.known_until(day)
        if not any(day < action.ex_date <= until for action in self.told):
            return day  # as nearly always: what counts need not be made out
        return max((a.ex_date for a in self.actions if day < a.ex_date <= until), default=day)

    def with_answer(self, actions: Sequence[Action], asked: Asked) -> ActionBook:
        """Return the book after an answer.

        A source that corrects itself is believed. An action that an answer lacks stays: vendors
        forget more often than companies take back. Several dividends of one day are one.
        """
        if is_sample(asked.source):
            return replace(self, samples=(self.samples or ActionBook())._after(actions, asked))
        return self._after(actions, asked)

    def _after(self, actions: Sequence[Action], asked: Asked) -> ActionBook:
        told = list(self.told)
        stamped = (
            replace(
                action,
                source=action.source or asked.source,
                fetched_at=action.fetched_at or asked.fetched_at,
            )
            for action in actions
        )
        for action in current(stamped):
            older = [entry for entry in told if is_correction(entry, action)]
            if not (len(older) == 1 and is_repeated(older[0], action)):
                told = [*(entry for entry in told if entry not in older), action]
        awaited = [
            a for a in self.awaited if a.source != asked.source or not a.span.overlaps(asked.span)
        ]
        entry = asked._replace(until=None)
        if asked.until is not None and asked.until < asked.span.end:
            start = max(asked.until, asked.span.start)
            entry = entry._replace(span=Span(asked.span.start, start))
            awaited.append(asked._replace(span=Span(start, asked.span.end), until=None))
        done = self.asked if entry.span.is_empty else _with_asked(self.asked, entry)
        left = (a for a in awaited if gaps(a.span, [part.span for part in done]))
        return replace(self, told=tuple(sorted(told)), asked=done, awaited=tuple(sorted(left)))

    def _asked_for(self, day: date) -> set[str]:
        """Return the vendors asked for ``day`` and the days around it, late enough to know."""
        around = Span(day_ms(day) - _MARGIN_MS, day_ms(day) + DAY_MS + _MARGIN_MS)
        return {
            source
            for source in {a.source for a in self.asked}
            if not gaps(around, [a.settled for a in self.asked if a.source == source])
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


def _joined(asked: Sequence[Asked], time: Callable[[Iterable[int]], int]) -> list[Asked]:
    return [
        Asked(span, asked[0].source, time(a.fetched_at for a in asked if a.span.overlaps(span)))
        for span in coalesce(a.span for a in asked)
    ]


def _rejoined(asked: Iterable[Asked]) -> list[Asked]:
    """Put together what one answer said of adjoining ex-dates."""
    whole: list[Asked] = []
    for part in sorted(asked):
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
        self, symbol: str, actions: Sequence[Action], asked: Asked, wait_s: float = math.inf
    ) -> ActionBook:
        """Add an answer, durably, and return the book; a damaged book is kept and begun anew.

        Another writer is waited for ``wait_s`` seconds, at most ``lock_timeout_s``.

        Raises:
            LockTimeoutError, StorageError, FormatVersionError: nothing was changed.
        """
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
            book = old.by(asked.fetched_at).with_answer(actions, asked)
            path = folder / "actions.json"
            if self._disk.stat(path) is None:
                # The process that made the folders may have been killed before they were durable.
                self._disk.sync_folder(folder.parent)
                self._disk.sync_folder(folder.parent.parent)
            if book != old:
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


def dump_book(symbol: str, book: ActionBook) -> bytes:
    """Return the bytes of the document."""
    return json_document.dump(
        dict(book.extra)
        | {"format": json_document.FORMAT, "symbol": symbol}
        | _entries(book)
        | ({"samples": _entries(book.samples)} if book.samples is not None else {})
    )


def _entries(book: ActionBook) -> dict[str, Any]:
    elsewhere = {*book.actions, *book.disagreements}
    confirmed = [action.to_json() for action in book.told if action not in elsewhere]
    return (
        {
            "actions": [action.to_json() for action in book.actions],
            "asked": [_plain(a) | {_TOLD: True} for a in book.asked],
            "disagreements": [action.to_json() for action in book.disagreements],
        }
        | ({"awaited": [_plain(a) for a in book.awaited]} if book.awaited else {})
        | ({"confirmed": confirmed} if confirmed else {})
    )


def _plain(asked: Asked) -> dict[str, Any]:
    return {"span": list(asked.span), "source": asked.source, "fetched_at": asked.fetched_at}


def load_book(data: bytes, symbol: str) -> ActionBook:
    """Read the bytes of the document of ``symbol``.

    Raises:
        DamagedError: it is not whole, or of another symbol.
        FormatVersionError: a newer version of this library wrote it.
    """
    plain = json_document.load(data)
    if plain.get("format") != json_document.FORMAT or plain.get("need"):
        raise FormatVersionError(f"actions.json has the unknown format {plain.get('format')!r}")
    if plain.get("symbol") != symbol:
        raise json_document.DamagedError(f"they belong to {plain.get('symbol')!r}")
    try:
        samples = _book_of(plain["samples"]) if "samples" in plain else None
        extra = {k: v for k, v in plain.items() if k not in _OURS}
        return replace(_book_of(plain), samples=samples, extra=extra)
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise json_document.DamagedError(f"it lacks required content: {exc!r}") from exc


def _book_of(plain: Mapping[str, Any]) -> ActionBook:
    told = [*plain["actions"], *plain["disagreements"], *plain.get("confirmed", ())]
    return ActionBook(
        told=tuple(sorted(Action.from_json(a) for a in told)),
        asked=tuple(
            Asked(Span(*a["span"]), a["source"], a["fetched_at"])
            for a in plain["asked"]
            if a.get(_TOLD) or a["source"] not in _NOT_BELIEVED
        ),
        awaited=tuple(
            Asked(Span(*a["span"]), a["source"], a["fetched_at"]) for a in plain.get("awaited", ())
        ),
    )
