"""Coverage: which timestamps of a series have been answered, in which state and by which vendor."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from operator import attrgetter, itemgetter
from typing import Any, Literal

from .canonical import canonical
from .instant import HOUR_MS, iso, parse_iso
from .kind import Basis, Kind
from .span import Span, coalesce

State = Literal["final", "provisional", "empty", "suspect"]
Condition = Literal["available", "degraded", "pending", "missing"]
_NO_SPAN, _NO_KIND, _NO_BASIS = Span(0, 0), Kind(), Basis()
# Begins the reason of what was sent under a stamp at which no bar of its timeframe can open: of the
# rows in the quarantine, and of the stretch that lacks a bar for it.
OFF_GRID = "off_grid"
# Begins the reason, in the quarantine, of a bar that its vendor does not send any more.
WITHDRAWN = "withdrawn by "
# The reason of a stretch in which no bar is expected, and of the harmless gap where none was asked for.
CLOSED = "market closed"
UNASKED = f"{CLOSED}, not asked"
# Begins the reason of a stretch that vendors have no bar for; the reason of one before a listing.
NO_BAR, BEFORE_FIRST = "the vendor has no bar", "before the first bar"
# The same where the calendar has no holidays on record: the market may have been closed.
HOLIDAYS_UNKNOWN = f"{NO_BAR}; holidays of that time are unknown, it may have been one"
# Reasons of stretches for which vendors have no bar, and sent none that did not fit.
PLAINLY_NONE = frozenset({NO_BAR, HOLIDAYS_UNKNOWN})
# Begins the reason of a stretch whose bars the user is warned of.
DOUBTFUL = "doubtful: "
# Begins the reason of bars that are possible and wrong nearly for certain; of such that are final after all.
GRAVE, SETTLED = "grave: ", "settled: "
# The same of bars that only their whole series proves wrong: judged beside a few neighbours they pass.
IN_WHOLE = f"{GRAVE}in the whole series: "
# Grave bars take at least this from a score.
_LEAST_GRAVE = 0.1
STATES: tuple[State, ...] = ("final", "provisional", "empty", "suspect")
# Of a stretch that is folded, for readers that do not open it.
FOLDED = "doubtful: bars are lacking or not to be trusted here and there"
# More small stretches than this among those of one source are folded, so many at most into one.
_FEW, _MOST_FOLDED = 8, 256
_SMALL_MS = 6 * HOUR_MS


def less_grave(score: float, grave: int, rows: int) -> float:
    """Return the score of ``rows`` bars of which so many are grave: their share less, a tenth at least."""
    return score * (1 - max(_LEAST_GRAVE, grave / rows)) if grave else score


@dataclass(frozen=True)
class Splice:
    """Result of comparing bars with those of another vendor where the two meet.

    Attributes:
        at: stamp of the border, in milliseconds.
        other: the vendor on its other side.
        verdict: ``equal``; ``constant`` (an adjustment was missed, and made good before the bars
            were stored); ``unchecked`` (there was too little to compare).
        ratio: median of the closes as fetched over those of the other vendor; 1 when unchecked.
        common: how many bars were compared.
        because: what was made good and how, or why nothing was compared.
    """

    at: int
    other: str
    verdict: str
    ratio: float = 1.0
    common: int = 0
    because: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored."""
        plain = {
            "at": self.at,
            "with": self.other,
            "verdict": self.verdict,
            "ratio": self.ratio,
            "common": self.common,
        }
        return plain | ({"because": self.because} if self.because else {})


@dataclass(frozen=True)
class Covered:
    """One stretch of a series that was asked and answered.

    Attributes:
        span: the stamps ``[start, end)`` answered for.
        state: ``final``; ``provisional`` (closed, not settled); ``empty`` (nothing there, with
            ``reason``, until ``expires``); ``suspect`` (asked, but not to be trusted; not asked
            again before ``expires``).
        vendor, kind, basis, fetched_at: where the answer came from.
        reason: why a stretch is empty or suspect.
        expires: UTC milliseconds from when a stretch is asked again: an empty or a suspect one, or
            one that is provisional because nothing vouched for the clock; None never.
        splices: where these bars were fitted to those of other vendors; a part of a stretch keeps
            those of the whole.
        parts: of a stretch that is folded what it is made of: a source, which is a stretch without
            span, kind and basis, with start and length of each stretch of it, flat, counted from
            the start of the whole; first the source that fills all that no other one does. Empty
            otherwise.
    """

    span: Span
    state: State
    vendor: str = ""
    kind: Kind = Kind()
    basis: Basis = Basis()
    fetched_at: int = 0
    reason: str = ""
    expires: int | None = None
    splices: tuple[Splice, ...] = ()
    parts: tuple[tuple[Covered, tuple[int, ...]], ...] = ()

    @cached_property
    def opened(self) -> tuple[Covered, ...]:
        """The stretches that a folded one is made of, ascending; else itself alone."""
        if not self.parts:
            return (self,)
        (common, _), *others = self.parts
        base, (begin, end) = _sourced(self, common), self.span
        small = [
            (begin + at, begin + at + length, source)
            for part, places in others
            for source in (_sourced(self, part),)
            for at, length in zip(places[::2], places[1::2], strict=True)
        ]
        small.sort(key=_FIRST)
        opened: list[Covered] = []
        for start, stop, source in small:
            if begin < start:
                opened.append(base.at(Span(begin, start)))
            opened.append(source.at(Span(start, stop)))
            begin = stop
        return (*opened, base.at(Span(begin, end))) if begin < end else tuple(opened)

    @property
    def is_rescaled(self) -> bool:
        """Whether these are not the vendor's own prices: an adjustment it had missed was applied."""
        return any(splice.verdict == "constant" for splice in self.splices)

    def stands(self, now_ms: int) -> bool:
        """Tell whether this still answers for its span at ``now_ms`` (an expired one does not)."""
        return self.expires is None or now_ms < self.expires

    def at(self, span: Span) -> Covered:
        """Return the same for another span; what a folded one is made of is left out."""
        return self if span == self.span else self.having(span=span, parts=())

    def having(self, **changes: Any) -> Covered:
        """Return the same with other values in these fields, as `replace` does, several times as fast."""
        values = {**self.__dict__, **changes}
        values.pop("opened", None)
        values.pop("text", None)
        made = object.__new__(Covered)
        object.__setattr__(made, "__dict__", values)
        return made

    def clip(self, span: Span) -> Covered | None:
        """Return the part inside ``span``, or None."""
        start, end = self.span
        first, last = span
        if first <= start and end <= last:
            return self if start < end else None
        part = self.span.clip(span)
        return None if part.is_empty else self.at(part)

    def same_source(self, other: Covered) -> bool:
        """Tell whether the two may be one entry (all alike but span and fetch time)."""
        return (
            self.reason == other.reason
            and self.state == other.state
            and _source(self) == _source(other)
            and not self.parts
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored; defaults are left out."""
        plain: dict[str, Any] = {"span": list(self.span)}
        if self.state != "empty":
            plain |= {"kind": self.kind.to_json(), "basis": self.basis.to_json()}
        if self.parts:
            plain["parts"] = [[source._source_json(), list(at)] for source, at in self.parts]
        return plain | self._source_json()

    def _source_json(self) -> dict[str, Any]:
        """Return what is stored of a source: all but the span, the kind and the basis."""
        values = ((field.name, getattr(self, field.name), field.default) for field in SOURCE)
        plain = {name: value for name, value, default in values if value != default}
        if self.splices:
            plain["splices"] = [splice.to_json() for splice in self.splices]
        return plain

    @cached_property
    def text(self) -> str:
        """Canonical JSON of :meth:`to_json`; cached, for each commit writes all stretches again."""
        return canonical(self.to_json())


# The fields of a source: of stretches that are folded, and as a document lists them.
SOURCE = tuple(f for f in fields(Covered) if f.name not in ("span", "kind", "basis", "parts"))
_told = attrgetter(*(f.name for f in SOURCE))
_source = attrgetter(*(f.name for f in fields(Covered) if f.name not in ("span", "fetched_at")))


_SPAN, _FIRST = attrgetter("span"), itemgetter(0)


class Coverage(tuple[Covered, ...]):
    """Ascending, disjoint stretches; what no stretch holds is missing.

    Where many small ones stand among those of one source, as of an answer with bad rows, they may
    be folded (:meth:`folded`): iterating gives such a stretch as one that is suspect as a whole.
    Methods that take a span (:meth:`within`, :meth:`held`, ...) return what it is made of.
    """

    __slots__ = ()

    @classmethod
    def joined(cls, ascending: Iterable[Covered]) -> Coverage:
        """Return ascending, disjoint stretches with adjoining ones of one source made one."""
        return cls(_joined(ascending))

    @classmethod
    def chained(cls, parts: Iterable[Coverage]) -> Coverage:
        """Return coverages that follow one another as one, joined where they meet."""
        chain: list[Covered] = []
        for part in parts:
            seam = len(chain)
            chain += part
            chain[max(0, seam - 1) : seam + 1] = _joined(chain[max(0, seam - 1) : seam + 1])
        return cls(chain)

    @property
    def text(self) -> str:
        """Canonical JSON of the stored mappings."""
        return "[" + ",".join([part.text for part in self]) + "]"

    def standing(self, now_ms: int, span: Span | None = None) -> list[Span]:
        """Return the stamps that need not be asked for at ``now_ms``, coalesced.

        Provisional stretches are among them: whether they are due is decided by the fetch plan.
        Outside of ``span`` a folded stretch counts whole, whatever has expired of it.
        """
        spans: list[Span] = []
        for whole in self:
            is_far = span is not None and not whole.span.overlaps(span)
            if whole.stands(now_ms) or (whole.parts and is_far):
                spans.append(whole.span)
            elif whole.parts:
                spans += (part.span for part in whole.opened if part.stands(now_ms))
        return coalesce(spans)

    def within(self, span: Span) -> Coverage:
        """Return the stretches inside ``span``, clipped."""
        touching = self.touching(span)
        if not touching or (
            span.start <= touching[0].span.start and touching[-1].span.end <= span.end
        ):
            return touching
        return Coverage(part for c in touching if (part := c.clip(span)) is not None)

    def within_each(self, ascending: Iterable[Span]) -> Iterator[Coverage]:
        """Yield what `within` returns for each of ascending, disjoint spans, in one pass."""
        opened, place = self.opened(), 0
        for span in ascending:
            place = _behind(opened, place, span.start)
            inside: list[Covered] = []
            while place < len(opened) and opened[place].span.start < span.end:
                if (part := opened[place].clip(span)) is not None:
                    inside.append(part)
                if opened[place].span.end > span.end:
                    break
                place += 1
            yield Coverage(inside)

    def touching(self, span: Span) -> Coverage:
        """Return the stretches that share a stamp with ``span``, whole; none of them is folded."""
        if span.is_empty or not self:
            return Coverage()
        first, last = _touched(self, span)
        parts = self[first:last]
        if any(part.parts for part in parts):
            wholes = (whole.opened for whole in parts)
            return Coverage(p for whole in wholes for p in whole[slice(*_touched(whole, span))])
        return self if len(parts) == len(self) else Coverage(parts)

    def opened(self, span: Span | None = None) -> Coverage:
        """Return the coverage with nothing folded that shares a stamp with ``span``, or at all."""
        if not any(part.parts for part in self):
            return self
        return Coverage(
            part
            for whole in self
            for part in (whole.opened if span is None or whole.span.overlaps(span) else (whole,))
        )

    def folded(self) -> Coverage:
        """Return the coverage with many small stretches among those of one source folded into one.

        So the size of a document does not grow with the number of bad rows or holes of an answer,
        nor does the work of a read of other days. No information is lost.
        """
        joined: list[Covered] = []
        place = 0
        while place < len(self):
            run = self[place : _fold_end(self, place)]
            joined.append(_fold(run))
            place += len(run)
        return self if len(joined) == len(self) else Coverage(joined)

    def overlaid(self, newer: Iterable[Covered]) -> Coverage:
        """Return the coverage after ``newer`` answers, which replace older ones where they overlap."""
        draft = CoverageDraft(self)
        draft.overlay(newer)
        return draft.coverage

    def without(self, spans: Iterable[Span]) -> Coverage:
        """Return the coverage without ``spans``, which count as never answered for."""
        draft = CoverageDraft(self)
        for span in spans:
            draft.put(span)
        return draft.coverage


class CoverageDraft:
    """A coverage while it is changed step by step: a step costs what it touches, not the whole.

    Args:
        coverage: The coverage before.
    """

    def __init__(self, coverage: Coverage) -> None:
        self._parts: list[Covered] = list(coverage)

    @property
    def coverage(self) -> Coverage:
        """The coverage after all steps so far."""
        return Coverage(self._parts)

    def within(self, span: Span) -> Coverage:
        """Return the stretches inside ``span``, clipped."""
        if span.is_empty:
            return Coverage()
        first, last = _touched(self._parts, span)
        return Coverage(self._parts[first:last]).within(span)

    def overlay(self, newer: Iterable[Covered]) -> None:
        """Replace what ``newer`` answers overlap; see `Coverage.overlaid`."""
        parts, spoken = self._parts, [fresh for fresh in newer if not fresh.span.is_empty]
        if not spoken:
            return
        for fresh in spoken:
            first, last = _touched(parts, fresh.span)
            beside = _beside(parts[first:last], fresh.span)
            parts[first:last] = sorted([*beside, fresh], key=_SPAN)
        # What lies further off has no new neighbours.
        start, end = min(c.span.start for c in spoken), max(c.span.end for c in spoken)
        first, last = _touched(parts, Span(start - 1, end + 1))
        parts[first:last] = _joined(parts[first:last])

    def revise(
        self, marks: Sequence[Covered], after: Callable[[Sequence[Covered], Covered], list[Covered]]
    ) -> None:
        """Overlay what ``after`` returns for each mark and the stretches inside it, in one pass.

        Args:
            marks: Ascending, disjoint marks.
            after: Called with the stretches that share a stamp with a mark, whole, and the mark.
                Returns stretches inside the mark, ascending and disjoint.
        """
        marks = [mark for mark in marks if not mark.span.is_empty]
        if not marks:
            return
        parts = self._parts
        place = first = max(0, bisect_right(parts, marks[0].span.start, key=_end) - 1)
        done: list[Covered] = []
        left: list[Covered] = []  # stretches before `place` that are not done yet, the last first
        cut = parts[first].span.start if first < len(parts) else marks[0].span.start
        for mark in marks:
            start, end = mark.span
            place, touched = self._taken(mark.span, place, left, cut, done)
            if touched and (begin := max(touched[0].span.start, cut)) < start:
                _append(done, touched[0].at(Span(begin, start)))
            for part in _overlaid(touched, after(touched, mark), mark.span):
                _append(done, part)
            cut = end
        if not left and place < len(parts):  # the neighbour that the last mark may adjoin
            left.append(parts[place])
            place += 1
        for part in reversed(left):
            _append(done, _from(part, cut))
        parts[first:place] = done

    def _taken(
        self, span: Span, place: int, left: list[Covered], cut: int, done: list[Covered]
    ) -> tuple[int, list[Covered]]:
        """Take the stretches up to the end of ``span`` out of ``left``, then from ``place`` on.

        One that reaches beyond the span remains.

        Args:
            span: The span of a mark.
            place: Where stretches that were not taken yet begin.
            left: Stretches before that place, the last first.
            cut: The end of the mark before.
            done: Receives the parts after ``cut`` of stretches that end before the span.

        Returns:
            The new place, and the stretches that share a stamp with the span, whole, none of them folded.
        """
        parts, touched = self._parts, list[Covered]()
        start, end = span
        while left or place < len(parts):
            if not left:
                if parts[place].span.end <= start:
                    behind = _behind(parts, place, start)
                    _append(done, parts[place])
                    done += parts[place + 1 : behind]
                    place = behind
                    continue
                left.append(parts[place])
                place += 1
            part = left[-1]
            if part.span.start >= end:
                break
            if part.span.end <= start:
                _append(done, _from(left.pop(), cut))
            elif part.parts:
                left[-1:] = reversed(part.opened)
            else:
                touched.append(part)
                if part.span.end > end:
                    break
                left.pop()
        return place, touched

    def put(self, span: Span, newer: Iterable[Covered] = ()) -> None:
        """Count ``span`` as never answered for, but for ``newer`` answers inside it."""
        if span.is_empty:
            return
        first, last = _touched(self._parts, span)
        beside = _beside(self._parts[first:last], span)
        self._parts[first:last] = sorted([*beside, *newer], key=_SPAN)
        first, last = _touched(self._parts, Span(span.start - 1, span.end + 1))
        self._parts[first:last] = _joined(self._parts[first:last])


def _touched(ascending: Sequence[Covered], span: Span) -> tuple[int, int]:
    """Return from where to where stretches share a stamp with ``span``, which is not empty."""
    first = bisect_right(ascending, span.start, key=_end)
    return first, bisect_left(ascending, span.end, lo=first, key=_start)


def _behind(ascending: Sequence[Covered], place: int, stamp: int) -> int:
    """Return the place of the first stretch that ends after ``stamp``, from ``place`` on."""
    for _ in range(2):  # it is nearly always one of the next
        if place == len(ascending) or ascending[place].span.end > stamp:
            return place
        place += 1
    return bisect_right(ascending, stamp, lo=place, key=_end)


def _start(part: Covered) -> int:
    return part.span.start


def _end(part: Covered) -> int:
    return part.span.end


def _from(part: Covered, stamp: int) -> Covered:
    """Return the part of a stretch from ``stamp`` on."""
    start, end = part.span
    return part if stamp <= start else part.at(Span(stamp, end))


def _overlaid(before: Sequence[Covered], newer: Sequence[Covered], span: Span) -> Sequence[Covered]:
    """Return the stretches of ``span`` after ``newer`` answers inside it.

    Args:
        before: Those that share a stamp with the span, whole, ascending.
        newer: Ascending, disjoint stretches in the span.
        span: The span.
    """
    if not before or (len(newer) == 1 and newer[0].span == span):
        return newer
    left = [part for whole in reversed(before) if (part := whole.clip(span)) is not None]
    after: list[Covered] = []
    for fresh in newer:
        start, end = fresh.span
        while left and left[-1].span.start < end:
            part = left.pop()
            if part.span.start < start:
                after.append(part.at(Span(part.span.start, min(part.span.end, start))))
            if part.span.end > end:
                left.append(part.at(Span(end, part.span.end)))
        after.append(fresh)
    return [*after, *reversed(left)]


def _append(ascending: list[Covered], part: Covered) -> None:
    """Add a stretch, which is joined to the one before it if that adjoins and is of its source."""
    if ascending and ascending[-1].span.end == part.span.start and ascending[-1].same_source(part):
        part = _as_one([ascending.pop(), part])
    ascending.append(part)


def _beside(touched: Iterable[Covered], span: Span) -> list[Covered]:
    """Return what is left beside ``span`` of stretches that share a stamp with it."""
    outer = (old for old in touched if old.span.start < span.start or span.end < old.span.end)
    return [left for old in outer for part in old.opened for left in _outside(part, span)]


def _outside(old: Covered, span: Span) -> list[Covered]:
    """Return what is left of ``old`` beside ``span``."""
    if not old.span.overlaps(span):
        return [old]
    parts = Span(old.span.start, span.start), Span(span.end, old.span.end)
    return [old.at(part) for part in parts if not part.is_empty]


@dataclass(frozen=True)
class VendorDay:
    """A session that a vendor lacks for most of its symbols, however many gaps: a part of an incident.

    Attributes:
        vendor, calendar, timeframe: whose, of which market, bars of which length.
        day: session date, ISO.
        span: the stamps of its bars, half-open, up to the next session.
        condition: ``pending`` (it closed less than a day ago), ``missing`` (whole for most symbols) or
            ``degraded`` (for most in part). Of every other day it is ``available``.
        symbols: of how many symbols it is known whether the vendor has it.
        lacking: of how many of them it has no bar of the session, or not all.
    """

    vendor: str
    calendar: str
    timeframe: str
    day: str
    span: Span
    condition: Condition
    symbols: int
    lacking: int

    def __str__(self) -> str:
        counts = f"{self.lacking} of {self.symbols} symbols"
        return f"{self.vendor} {self.day} {self.timeframe}: {self.condition} for {counts}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        plain = {**vars(self), "start": iso(self.span.start), "end": iso(self.span.end)}
        return {name: value for name, value in plain.items() if name != "span"}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> VendorDay:
        """Return what :meth:`to_json` made plain values of."""
        facts = {name: value for name, value in plain.items() if name not in ("start", "end")}
        return cls(**facts, span=Span(parse_iso(plain["start"]), parse_iso(plain["end"])))


# --- folding -------------------------------------------------------------------------------


def _fold_end(parts: Sequence[Covered], first: int) -> int:
    """Return behind which of ``parts`` the stretch ends that begins with ``first`` when folded.

    It begins and ends with parts of one source. That is the next one where there is nothing to
    fold.
    """
    base, end, small, seen = parts[first], first + 1, 0, 0
    if base.state == "empty" or not _may_fold(base, base):
        return end
    for place in range(first + 1, len(parts)):
        part = parts[place]
        if part.span.start != parts[place - 1].span.end:
            break
        if base.same_source(part):
            end, small = place + 1, seen
        elif (
            part.span.end - part.span.start > _SMALL_MS
            or not _may_fold(part, base)
            or seen == _MOST_FOLDED
        ):
            break
        else:
            seen += 1
    return end if small > _FEW else first + 1


def _may_fold(part: Covered, base: Covered) -> bool:
    """Tell whether a stretch may be told among those of ``base``.

    One that is asked again as soon as it has settled stays as it is, and so do bars of another kind
    or basis and those of older tools.
    """
    if part.parts or (part.state == "provisional" and part.expires is None):
        return False
    if part.state == "empty":
        return True
    is_known = part.basis.adjustment != "unknown"
    return is_known and (part.kind, part.basis) == (base.kind, base.basis)


def _fold(run: Sequence[Covered]) -> Covered:
    """Return stretches that adjoin, the first and the last of one source, as one."""
    base = run[0]
    if len(run) == 1:
        return base
    start = base.span.start
    latest = max(part.fetched_at for part in run if base.same_source(part))
    common = _source_of(replace(base, fetched_at=latest))
    sources: dict[tuple[Any, ...], tuple[Covered, list[int]]] = {_told(common): (common, [])}
    for part in run:
        if base.same_source(part):
            continue
        told = _told(part)
        if told not in sources:
            sources[told] = _source_of(part), []
        sources[told][1].extend((part.span.start - start, part.span.end - part.span.start))
    return replace(
        base,
        span=Span(start, run[-1].span.end),
        state="suspect",
        fetched_at=max(part.fetched_at for part in run),
        reason=FOLDED,
        expires=min((p.expires for p in run if p.expires is not None), default=None),
        splices=(),
        parts=tuple((source, tuple(places)) for source, places in sources.values()),
    )


def _source_of(part: Covered) -> Covered:
    """Return all of a stretch but its span, its kind and its basis."""
    return part.having(span=_NO_SPAN, kind=_NO_KIND, basis=_NO_BASIS)


def _sourced(whole: Covered, source: Covered) -> Covered:
    """Return a stretch of a folded one that is of this source."""
    if source.state == "empty":
        return source
    return source.having(kind=whole.kind, basis=whole.basis)


def _joined(ascending: Iterable[Covered]) -> Iterable[Covered]:
    """Join neighbours that adjoin and come from the same source; the later fetch time stays."""
    run: list[Covered] = []
    for item in ascending:
        if run and not (run[-1].span.end == item.span.start and run[-1].same_source(item)):
            yield _as_one(run)
            run = []
        run.append(item)
    if run:
        yield _as_one(run)


def _as_one(run: list[Covered]) -> Covered:
    if len(run) == 1:
        return run[0]
    span = Span(run[0].span.start, run[-1].span.end)
    return run[0].having(span=span, fetched_at=max([part.fetched_at for part in run]))
