"""Coverage: which timestamps of a series have been answered, in which state and by which vendor."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import compress
from operator import attrgetter, itemgetter
from typing import Any, Literal

from .canonical import canonical
from .instant import HOUR_MS, iso, parse_iso
from .kind import Basis, Kind
from .reasons import FOLDED
from .span import Span, coalesce

State = Literal["final", "provisional", "empty", "suspect"]
Condition = Literal["available", "degraded", "pending", "missing"]
_NO_SPAN, _NO_KIND, _NO_BASIS = Span(0, 0), Kind(), Basis()
# Minimum fraction of a score that grave bars cost.
_LEAST_GRAVE = 0.1
STATES: tuple[State, ...] = ("final", "provisional", "empty", "suspect")
# Folding starts above this number of small stretches within one source, and folds up to this many
# into one.
_FEW, _MOST_FOLDED = 8, 256
_SMALL_MS = 6 * HOUR_MS


def less_grave(score: float, grave: int, rows: int) -> float:
    """Return the score of ``rows`` bars, reduced for the grave ones among them.

    It is reduced by the share of grave bars, but by at least a tenth.
    """
    return score * (1 - max(_LEAST_GRAVE, grave / rows)) if grave else score


@dataclass(frozen=True)
class Splice:
    """Result of comparing one vendor's bars with another's at the point where the two meet.

    Attributes:
        at: Stamp of the border, in milliseconds.
        other: Vendor on the other side.
        verdict: ``equal``; ``constant`` (an adjustment had been missed, and was corrected before
            the bars were stored); ``unchecked`` (there was too little to compare).
        ratio: Median ratio of the closes as fetched to those of the other vendor; 1 when unchecked.
        common: Number of bars compared.
        because: What was corrected and how, or why nothing was compared.
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
    """One stretch of a series that was requested and answered.

    Attributes:
        span: Stamps ``[start, end)`` that the answer covers.
        state: ``final``; ``provisional`` (closed, not settled); ``empty`` (no bars, with
            ``reason``, until ``expires``); ``suspect`` (fetched, but not to be trusted; not
            requested again before ``expires``).
        vendor, kind, basis, fetched_at: Where the answer came from.
        reason: Why the stretch is empty or suspect.
        expires: Time (UTC milliseconds) from which an empty or suspect stretch is requested again,
            or one that is provisional because nothing confirmed the clock; None for never.
        splices: Where these bars were matched to those of other vendors; a part of a stretch keeps
            those of the whole.
        parts: Components of a folded stretch, empty for any other. Each is a source, which is a
            stretch without span, kind and basis, with a flat list of the start and length of each
            of its stretches, counted from the start of the whole. The first source fills everything
            that the others do not.
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
        """The stretches that were folded into this one, ascending; otherwise only itself."""
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
        """Whether prices are not the vendor's own: an adjustment that it had missed was applied."""
        return any(splice.verdict == "constant" for splice in self.splices)

    def stands(self, now_ms: int) -> bool:
        """Return whether the stretch is still valid at ``now_ms``, that is, has not expired."""
        return self.expires is None or now_ms < self.expires

    def at(self, span: Span) -> Covered:
        """Return the same stretch with another span; the parts of a folded one are left out."""
        if span == self.span:
            return self
        values = self.__dict__.copy()
        values["span"], values["parts"] = span, ()
        return _with_values(values)

    def having(self, **changes: Any) -> Covered:
        """Return a copy with these fields changed, like `replace` but several times as fast."""
        return _with_values(self.__dict__ | changes)

    def clip(self, span: Span) -> Covered | None:
        """Return the part inside ``span``, or None."""
        start, end = self.span
        first, last = span
        if first <= start and end <= last:
            return self if start < end else None
        part = self.span.clip(span)
        return None if part.is_empty else self.at(part)

    def same_source(self, other: Covered) -> bool:
        """Return whether the two can be one entry: all but span and fetch time are equal."""
        mine, theirs = self.__dict__, other.__dict__
        for name in _OF_SOURCE:
            one, two = mine[name], theirs[name]
            if one is not two and one != two:
                return False
        return not self.parts

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping that is stored; defaults are left out."""
        plain: dict[str, Any] = {"span": list(self.span)}
        if self.state != "empty":
            plain |= {"kind": self.kind.to_json(), "basis": self.basis.to_json()}
        if self.parts:
            plain["parts"] = [[source._source_json(), list(at)] for source, at in self.parts]
        return plain | self._source_json()

    def _source_json(self) -> dict[str, Any]:
        """Return the stored form of a source: everything but the span, the kind and the basis."""
        values = ((field.name, getattr(self, field.name), field.default) for field in SOURCE)
        plain = {name: value for name, value, default in values if value != default}
        if self.splices:
            plain["splices"] = [splice.to_json() for splice in self.splices]
        return plain

    @cached_property
    def text(self) -> str:
        """Canonical JSON of :meth:`to_json`.

        Cached because each commit writes all stretches again.
        """
        return canonical(self.to_json())


_FIELDS = len(fields(Covered))
_new, _set = object.__new__, object.__setattr__


def _with_values(values: dict[str, Any]) -> Covered:
    """Return a stretch with these values; what was computed from earlier ones is dropped."""
    if len(values) > _FIELDS:
        values.pop("opened", None)
        values.pop("text", None)
    made = _new(Covered)
    _set(made, "__dict__", values)
    return made


# The fields of a source, in folded stretches and in the lists of a document.
SOURCE = tuple(f for f in fields(Covered) if f.name not in ("span", "kind", "basis", "parts"))
_told = attrgetter(*(f.name for f in SOURCE))
# What two stretches from one source share; what differs most often comes first.
_OF_SOURCE = ["reason", *(f.name for f in fields(Covered) if f.name not in ("span", "fetched_at"))]


_SPAN, _FIRST = attrgetter("span"), itemgetter(0)


class Coverage(tuple[Covered, ...]):
    """Ascending, disjoint stretches; anything outside them is missing.

    Many small stretches within one source, such as those of an answer with bad rows, may be folded
    (:meth:`folded`): iteration yields the folded stretch as one that is suspect as a whole. Methods
    that take a span (:meth:`within`, :meth:`held`, ...) return its parts.
    """

    __slots__ = ()

    @classmethod
    def joined(cls, ascending: Iterable[Covered]) -> Coverage:
        """Build a coverage from ascending, disjoint stretches.

        Adjoining ones of one source are joined.
        """
        return cls(_joined(ascending))

    @classmethod
    def chained(cls, parts: Iterable[Coverage]) -> Coverage:
        """Concatenate consecutive coverages, joining stretches where they meet."""
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
        """Return the stamps that need not be requested at ``now_ms``, coalesced.

        Provisional stretches are included: the fetch plan decides whether they are due. Outside
        ``span`` a folded stretch counts as a whole, even if parts of it have expired.
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

    def touching(self, span: Span) -> Coverage:
        """Return the stretches that share a stamp with ``span``, unclipped and unfolded."""
        if span.is_empty or not self:
            return Coverage()
        first, last = _touched(self, span)
        parts = self[first:last]
        if any(part.parts for part in parts):
            wholes = (whole.opened for whole in parts)
            return Coverage(p for whole in wholes for p in whole[slice(*_touched(whole, span))])
        return self if len(parts) == len(self) else Coverage(parts)

    def opened(self, span: Span | None = None) -> Coverage:
        """Return the coverage with the stretches that overlap ``span``, or all, unfolded."""
        if not any(part.parts for part in self):
            return self
        return Coverage(
            part
            for whole in self
            for part in (whole.opened if span is None or whole.span.overlaps(span) else (whole,))
        )

    def folded(self) -> Coverage:
        """Return the coverage with many small stretches within one source folded into one.

        This keeps the size of a document, and the cost of reading other days, independent of the
        number of bad rows or gaps in an answer. No information is lost.
        """
        joined: list[Covered] = []
        place = 0
        while place < len(self):
            run = self[place : _fold_end(self, place)]
            joined.append(_fold(run))
            place += len(run)
        return self if len(joined) == len(self) else Coverage(joined)

    def overlaid(self, newer: Iterable[Covered]) -> Coverage:
        """Return the coverage after ``newer`` answers, which replace older ones they overlap."""
        draft = CoverageDraft(self)
        draft.overlay(newer)
        return draft.coverage

    def without(self, spans: Iterable[Span]) -> Coverage:
        """Return the coverage without ``spans``, which then count as never answered."""
        draft = CoverageDraft(self)
        for span in spans:
            draft.put(span)
        return draft.coverage


class CoverageDraft:
    """A coverage that is changed step by step; each step costs only what it touches.

    Args:
        coverage: Initial coverage.
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
        """Replace everything that ``newer`` answers overlap; see `Coverage.overlaid`."""
        parts, spoken = self._parts, [fresh for fresh in newer if not fresh.span.is_empty]
        if not spoken:
            return
        for fresh in spoken:
            first, last = _touched(parts, fresh.span)
            beside = _beside(parts[first:last], fresh.span)
            parts[first:last] = sorted([*beside, fresh], key=_SPAN)
        # Stretches further away have no new neighbours.
        start, end = min(c.span.start for c in spoken), max(c.span.end for c in spoken)
        first, last = _touched(parts, Span(start - 1, end + 1))
        parts[first:last] = _joined(parts[first:last])

    def revise(
        self, marks: Sequence[Covered], after: Callable[[Sequence[Covered], Covered], list[Covered]]
    ) -> None:
        """Overlay the results of ``after`` for each mark and the stretches inside it, in one pass.

        Args:
            marks: Ascending, disjoint marks.
            after: Called with the stretches that share a stamp with a mark, unclipped, and the
                mark. Returns stretches inside the mark, ascending and disjoint.
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
        """Take the stretches up to the end of ``span`` from ``left``, then from ``place`` on.

        A stretch that extends beyond the span stays in ``left``.

        Args:
            span: Span of a mark.
            place: Index of the first stretch that has not been taken yet.
            left: Untaken stretches before that index, the last first.
            cut: End of the previous mark.
            done: Receives the parts after ``cut`` of stretches that end before the span.

        Returns:
            The new index, and the stretches that share a stamp with the span, unclipped and
                unfolded.
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
        """Count ``span`` as never answered, except for ``newer`` answers inside it."""
        if span.is_empty:
            return
        first, last = _touched(self._parts, span)
        beside = _beside(self._parts[first:last], span)
        self._parts[first:last] = sorted([*beside, *newer], key=_SPAN)
        first, last = _touched(self._parts, Span(span.start - 1, span.end + 1))
        self._parts[first:last] = _joined(self._parts[first:last])


def _touched(ascending: Sequence[Covered], span: Span) -> tuple[int, int]:
    """Return the index range of the stretches that share a stamp with the non-empty ``span``."""
    first = bisect_right(ascending, span.start, key=_end)
    return first, bisect_left(ascending, span.end, lo=first, key=_start)


def _behind(ascending: Sequence[Covered], place: int, stamp: int) -> int:
    """Return the index of the first stretch, from ``place`` on, that ends after ``stamp``."""
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
    """Return the stretches in ``span`` after ``newer`` answers inside it.

    Args:
        before: Stretches that share a stamp with the span, unclipped, ascending.
        newer: Ascending, disjoint stretches inside the span.
        span: Span to return stretches for.
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
    """Append a stretch, joined to the one before it if the two adjoin and share a source."""
    if ascending and ascending[-1].span.end == part.span.start and ascending[-1].same_source(part):
        part = _as_one([ascending.pop(), part])
    ascending.append(part)


def _beside(touched: Iterable[Covered], span: Span) -> list[Covered]:
    """Return the parts outside ``span`` of stretches that share a stamp with it."""
    outer = (old for old in touched if old.span.start < span.start or span.end < old.span.end)
    return [left for old in outer for part in old.opened for left in _outside(part, span)]


def _outside(old: Covered, span: Span) -> list[Covered]:
    """Return the parts of ``old`` outside ``span``."""
    if not old.span.overlaps(span):
        return [old]
    parts = Span(old.span.start, span.start), Span(span.end, old.span.end)
    return [old.at(part) for part in parts if not part.is_empty]


@dataclass(frozen=True)
class VendorDay:
    """A session that a vendor lacks for most of its symbols.

    It is part of an incident, and is one entry however many gaps it causes.

    Attributes:
        vendor, calendar, timeframe: Vendor, market calendar and bar length concerned.
        day: Session date, ISO.
        span: Stamps of the session's bars, half-open, up to the next session.
        condition: ``pending`` (it closed less than a day ago), ``missing`` (entirely, for most
            symbols) or ``degraded`` (partly, for most symbols). Every other day is ``available``.
        symbols: Number of symbols for which it is known whether the vendor has the session.
        lacking: Number of those with no bar or only some bars of the session.
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
        """Parse the plain values written by :meth:`to_json`."""
        facts = {name: value for name, value in plain.items() if name not in ("start", "end")}
        return cls(**facts, span=Span(parse_iso(plain["start"]), parse_iso(plain["end"])))


# --- folding -------------------------------------------------------------------------------


def _fold_end(parts: Sequence[Covered], first: int) -> int:
    """Return the index after the last of ``parts`` to fold into the stretch starting at ``first``.

    A folded stretch begins and ends with parts of one source. If there is nothing to fold, the
    result is the index after ``first``.
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
    """Return whether a stretch may be folded into those of ``base``.

    A stretch that is requested again as soon as it has settled stays as it is, as do bars of
    another kind or basis, and bars of unknown adjustment from older tools.
    """
    if part.parts or (part.state == "provisional" and part.expires is None):
        return False
    if part.state == "empty":
        return True
    is_known = part.basis.adjustment != "unknown"
    return is_known and (part.kind, part.basis) == (base.kind, base.basis)


def _fold(run: Sequence[Covered]) -> Covered:
    """Fold adjoining stretches, of which the first and the last share a source, into one."""
    base = run[0]
    if len(run) == 1:
        return base
    start = base.span.start
    own = [base.same_source(part) for part in run]
    latest = max(part.fetched_at for part in compress(run, own))
    common = _source_of(replace(base, fetched_at=latest))
    sources: dict[tuple[Any, ...], tuple[Covered, list[int]]] = {_told(common): (common, [])}
    is_same = True
    for part, is_own in zip(run, own, strict=True):
        if is_own:
            is_same &= part.fetched_at == latest
            continue
        is_same &= part.state != "empty" or (part.kind, part.basis) == (_NO_KIND, _NO_BASIS)
        told = _told(part)
        if told not in sources:
            sources[told] = _source_of(part), []
        sources[told][1].extend((part.span.start - start, part.span.end - part.span.start))
    folded = base.having(
        span=Span(start, run[-1].span.end),
        state="suspect",
        fetched_at=max([part.fetched_at for part in run]),
        reason=FOLDED,
        expires=min([p.expires for p in run if p.expires is not None], default=None),
        splices=(),
        parts=tuple((source, tuple(places)) for source, places in sources.values()),
    )
    if is_same:  # it need not be unfolded again
        folded.__dict__["opened"] = tuple(run)
    return folded


def _source_of(part: Covered) -> Covered:
    """Return a stretch without its span, kind and basis."""
    return part.having(span=_NO_SPAN, kind=_NO_KIND, basis=_NO_BASIS)


def _sourced(whole: Covered, source: Covered) -> Covered:
    """Return the stretch of this source that belongs to a folded one, with its kind and basis."""
    if source.state == "empty":
        return source
    return source.having(kind=whole.kind, basis=whole.basis)


def _joined(ascending: Iterable[Covered]) -> Iterable[Covered]:
    """Join adjoining stretches from the same source; the latest fetch time is kept."""
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
