"""Decides which split or dividend counts if vendors report different ones.

Reports from several vendors concern one event if they have the same type, and either the same
ex-date, or the same value and dates at most four days apart, because some vendors use UTC dates and
some put an ex-date on a weekend. The dates may be two weeks apart if one vendor was queried for the
other's date and does not report it, because vendors report wrong dates more often than the same
value twice within two weeks; but not if a vendor reports the same amount twice within two weeks
around then, as funds that pay weekly do. Ratios count as the same value if they agree to one part in ten
thousand. Amounts are compared per share as of their ex-date, and count as the same value if they
differ by no more than the rounding of the coarser one.

Among the reports of one event, the value that most vendors report counts, with the date that most
vendors report. In a tie, the vendor of the adjusted bars decides for its own bars, and otherwise
the vendor that reported first. Among reports of the same value, the most precise one counts.

A vendor is *silent* about an event if it was queried for that time a week after it or later and did
not report it, although it does report actions of that type (which is assumed for splits, because
most shares have none). An event does not count if more vendors are silent about it than report it.
In a tie it counts, because vendors omit actions more often than they invent them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from operator import attrgetter

from ..model.market.actions import Action, ActionType, amount_on
from ..runtime.once import cached_property

_APART, _MOVED = timedelta(days=4), timedelta(days=14)
# Time around two payments of one amount within two weeks, in which a fund may pay it again.
_OFTEN = timedelta(days=42)
_SAME_RATIO = Fraction(1, 10_000)
# Digits of an amount beyond these are binary noise; amounts with fewer than two digits are precise
# to a cent.
_MOST_DIGITS, _LEAST_DIGITS = 6, 2
_SATURDAY = 5
# Number of latest events to compare a report with, which are sorted by ex-date. No more events of
# one type occur within a few days.
_MOST_NEAR = 8

_REPORT_ORDER = attrgetter("ex_date", "fetched_at", "source")
# Returns the vendors that were queried for an ex-date and answered.
Queried = Callable[[date], Iterable[str]]


@dataclass(frozen=True)
class _Word:
    """One vendor's report of an event; for a dividend, with the splits that its amount may reflect."""

    action: Action
    splits: tuple[Action, ...] = ()

    @cached_property
    def measure(self) -> tuple[Fraction, Fraction]:
        """The report's comparable value, and its maximum error due to rounding.

        Computed on demand, because most events have only one report and need no comparison.
        """
        if self.action.type == "split":
            return self.action.ratio, self.action.ratio * _SAME_RATIO
        return _amount(self.action, self.splits)

    def is_value(self, other: _Word) -> bool:
        """Return whether two reports have the same ratio or amount."""
        if self is other:
            return True
        if not (self.action.is_sound and other.action.is_sound):
            return self.action == other.action
        (value, slack), (other_value, their_slack) = self.measure, other.measure
        return abs(value - other_value) <= max(slack, their_slack)

    def is_date(self, other: _Word) -> bool:
        """Return whether two reports have the same date; a date on a weekend counts as the next Monday."""
        return _weekday(self.action.ex_date) == _weekday(other.action.ex_date)


@dataclass(frozen=True)
class ActionEvent:
    """A split or dividend, with all vendors' reports of it.

    Attributes:
        words: One report for each vendor, the earliest first.
        silent: Vendors that should have reported the event but did not.
    """

    words: tuple[_Word, ...]
    silent: tuple[str, ...] = ()

    @property
    def type(self) -> ActionType:
        """Type of the event: ``split`` or ``dividend``."""
        return self.words[0].action.type

    @property
    def reports(self) -> list[Action]:
        """All reports, earliest first."""
        return [word.action for word in self.words]

    @property
    def sources(self) -> set[str]:
        """The vendors that report the event."""
        return {word.action.source for word in self.words}

    @property
    def counts(self) -> bool:
        """Whether the event is applied to prices: it has at least as many reporters as silent vendors."""
        return len(self.silent) <= len(self.sources)

    @property
    def is_disputed(self) -> bool:
        """Whether any vendor reports the event differently or not at all."""
        return bool(self.silent) or bool(self.dissent(self.action()))

    @property
    def is_settled(self) -> bool:
        """Whether the report that counts is supported by more vendors than any alternative."""
        mine = self._word("")
        votes = self._votes(mine)
        rivals = [word for word in self.words if not (word.is_value(mine) and word.is_date(mine))]
        return len(self.silent) != len(self.sources) and all(self._votes(r) < votes for r in rivals)

    def action(self, vendor: str = "") -> Action:
        """Return the report to use for bars from ``vendor``; its own report is preferred in a tie."""
        return self._word(vendor).action

    def dissent(self, used: Action) -> list[Action]:
        """Return the reports that differ from ``used`` in value or date."""
        mine = next(word for word in self.words if word.action == used)
        return [w.action for w in self.words if not (w.is_value(mine) and w.is_date(mine))]

    def _word(self, vendor: str) -> _Word:
        if len(self.words) == 1:
            return self.words[0]

        def rank(index: int) -> tuple[tuple[int, int], bool, int]:
            """Rank a report by votes, then by whether the bars' vendor sent it, then by position."""
            word = self.words[index]
            return self._votes(word), word.action.source == vendor, -index

        leader = self.words[max(range(len(self.words)), key=rank)]
        like = [w for w in self.words if w.is_value(leader) and w.is_date(leader)]
        return min(like, key=lambda w: (w.action.ex_date.weekday() >= _SATURDAY, _coarseness(w)))

    def _votes(self, word: _Word) -> tuple[int, int]:
        """Return how many vendors report the same value, and how many report the same date."""
        sources = {w.action.source for w in self.words if w.is_value(word)}
        return len(sources), len({w.action.source for w in self.words if w.is_date(word)})


def split_events(
    actions: Iterable[Action], queried: Queried, answered: Queried = lambda _: ()
) -> list[ActionEvent]:
    """Group reports of splits into events in the same way as :func:`events_of`."""
    splits = [_Word(a) for a in sorted(actions, key=_REPORT_ORDER) if a.type == "split"]
    return [_event(group, queried, None) for group in _groups(splits, answered)]


def events_of(
    actions: Collection[Action], queried: Queried, answered: Queried = lambda _: ()
) -> tuple[ActionEvent, ...]:
    """Group reports into events, ordered by ex-date.

    Args:
        actions: Latest reports from every vendor.
        queried: Function that returns the vendors that were queried for an ex-date a week after it
            or later, even if they reported nothing.
        answered: Function that returns the vendors that were queried for an ex-date at any time.
    """
    words, events = sorted(actions, key=_REPORT_ORDER), split_events(actions, queried, answered)
    applied = tuple(a for e in events if e.counts and (a := e.action()).is_sound)
    dividends = [_Word(a, applied) for a in words if a.type == "dividend"]
    reporters = {word.action.source for word in dividends}
    events += [_event(group, queried, reporters) for group in _groups(dividends, answered)]
    return tuple(sorted(events, key=lambda e: (e.action().ex_date, e.action().type)))


def is_correction(old: Action, new: Action) -> bool:
    """Return whether ``new`` replaces an earlier report from the same vendor.

    A new report with the same ex-date replaces the old one. A split may even get a new date,
    because two splits never have the same ratio within a few days, whereas a fund may well pay the
    same amount twice.
    """
    if (old.source, old.type) != (new.source, new.type):
        return False
    if old.ex_date == new.ex_date:
        return True
    return old.type == "split" and _is_one(_Word(old), _Word(new))


def has_support(split: Action, reports: Iterable[Action]) -> bool:
    """Return whether another vendor reports the same split; for a dividend, return False."""
    word = _Word(split)
    others = (a for a in reports if a.type == split.type == "split" and a.source != split.source)
    return any(_is_one(word, other) and word.is_value(other) for other in map(_Word, others))


def is_repeated(old: Action, new: Action) -> bool:
    """Return whether two reports are equal; amounts are first rounded to their significant digits."""
    if (old.ex_date, old.type, old.as_paid) != (new.ex_date, new.type, new.as_paid):
        return False
    if old.type == "split":
        return (old.numerator, old.denominator) == (new.numerator, new.denominator)
    return _round_amount(old.amount) == _round_amount(new.amount)


def _groups(words: Sequence[_Word], answered: Queried) -> list[list[_Word]]:
    groups: list[list[_Word]] = []
    for word in words:
        near = groups[: -_MOST_NEAR - 1 : -1]
        same = [g for g in near if any(_is_one(other, word) for other in g)]
        moved = [] if same else [g for g in near if _is_moved(g, word, answered)]
        if moved and not any(abs(word.action.ex_date - d) <= _OFTEN for d in _paid_often(words)):
            same = moved
        home = next(iter(same), None)
        if home is None:
            groups.append(home := [])
        home.append(word)
    return groups


def _paid_often(words: Sequence[_Word]) -> Iterator[date]:
    """Yield the ex-dates of dividends whose vendor reports the same amount in the two weeks before."""
    latest: dict[str, _Word] = {}
    for word in words:
        last = latest.get(word.action.source, word)
        is_soon = timedelta(0) < word.action.ex_date - last.action.ex_date <= _MOVED
        if is_soon and word.action.type == "dividend" and word.is_value(last):
            yield word.action.ex_date
        latest[word.action.source] = word


def _is_one(word: _Word, other: _Word) -> bool:
    if word.action.ex_date == other.action.ex_date:
        return True
    same_source = word.action.source == other.action.source and word.action.type == "dividend"
    near = abs(word.action.ex_date - other.action.ex_date) <= _APART
    return near and not same_source and word.is_value(other)


def _is_moved(group: Sequence[_Word], word: _Word, answered: Queried) -> bool:
    """Return whether a vendor, which is not in the group, reports its event at a later date."""
    source, day = word.action.source, word.action.ex_date
    return all(other.action.source != source for other in group) and any(
        day - other.action.ex_date <= _MOVED
        and word.is_value(other)
        and (source in answered(other.action.ex_date) or other.action.source in answered(day))
        for other in group
    )


def _event(words: Sequence[_Word], queried: Queried, reporters: set[str] | None) -> ActionEvent:
    """Return the event that ``words`` report.

    Only vendors in ``reporters`` (None means all) can count as not reporting it.
    """
    first_reported = sorted(words, key=lambda w: (w.action.fetched_at, w.action.source))
    vendors = set(queried(ActionEvent(tuple(first_reported)).action().ex_date))
    silent = vendors - {word.action.source for word in words}
    if reporters is not None:
        silent &= reporters
    return ActionEvent(tuple(first_reported), tuple(sorted(silent)))


def _amount(dividend: Action, splits: Sequence[Action]) -> tuple[Fraction, Fraction]:
    """Return a dividend's amount per share as of its ex-date, and its maximum rounding error."""
    if not dividend.is_sound:
        return Fraction(0), Fraction(0)
    value = amount_on(dividend, splits, None)
    rounded = _round_amount(dividend.amount)
    digits = max(-int(rounded.normalize().as_tuple().exponent), _LEAST_DIGITS)
    shares = value / Fraction(str(dividend.amount)) if dividend.amount else Fraction(1)
    return value, shares / (2 * 10**digits)


def _round_amount(amount: float) -> Decimal:
    return round(Decimal(str(amount)), _MOST_DIGITS)


def _coarseness(word: _Word) -> tuple[bool, Fraction]:
    """Return a sort key that puts more precise reports first.

    Ratios of whole numbers come before decimals, and more digits before fewer.
    """
    whole = all(float(n).is_integer() for n in (word.action.numerator, word.action.denominator))
    return not whole, word.measure[1] if word.action.type == "dividend" else Fraction(0)


def _weekday(day: date) -> date:
    """Return ``day`` itself or, if it is on a weekend, the following Monday."""
    return day + timedelta(days=max(0, 7 - day.weekday())) if day.weekday() >= _SATURDAY else day
