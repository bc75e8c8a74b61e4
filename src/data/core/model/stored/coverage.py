"""Coverage of a series: which timestamps have been answered, in which state and by which vendor.

An *entry* is a span of time with one state, vendor and fetch time throughout. The *source* of an
entry is the entry without its span. A *mark* is an entry that changes the coverage to which it is
applied.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any, Generic, Literal, NamedTuple, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ...runtime.once import cached_property
from ..identity.kind import Basis, Kind
from ..time.edges import Edges, distinct, edges_of, merged, spans_of
from ..time.instant import HOUR_MS, iso, parse_iso
from ..time.span import Span, coalesce
from ..words.canonical import canonical
from ..words.frozen import of_values
from .reasons import AHEAD, FOLDED, LOST, NEAR_SPLIT, SPOILT, UNEXPECTED, UNVOUCHED, Cause, cause_of

T = TypeVar("T")
K = TypeVar("K")
State = Literal["final", "provisional", "empty", "suspect"]
Condition = Literal["available", "degraded", "pending", "missing"]
_NO_SPAN, _NO_KIND, _NO_BASIS = Span(0, 0), Kind(), Basis()
# Minimum fraction of a score that grave bars cost.
_LEAST_GRAVE = 0.1
STATES: tuple[State, ...] = ("final", "provisional", "empty", "suspect")
# The states of spans with bars; all other states have none.
WITH_BARS: frozenset[State] = frozenset({"final", "provisional", "suspect"})
# Reasons for doubting stored bars, besides those that are a cause; all others concern rejected rows.
_OF_STORED_BARS = (UNEXPECTED, AHEAD, LOST, NEAR_SPLIT, SPOILT, UNVOUCHED)
# Folding starts above this number of small entries within one source, and folds up to this many
# into one.
_FEW_ENTRIES, _MOST_FOLDED = 8, 256
# Minimum number of entries to fold: two from the source, and more than a few others between them.
_FEWEST_FOLDED = _FEW_ENTRIES + 3
_SMALL_MS = 6 * HOUR_MS


def less_grave(score: float, grave: int, rows: int) -> float:
    """Return a quality score, lowered if ``grave`` of the ``rows`` bars are grave.

    A grave bar is almost certainly wrong. The score is reduced by the fraction of grave bars, but
    by at least a tenth.
    """
    return score * (1 - max(_LEAST_GRAVE, grave / rows)) if grave else score


@dataclass(frozen=True)
class Splice:
    """Result of comparing two vendors' bars at the point where one vendor takes over from the other.

    Attributes:
        at: Time of that point, in UTC milliseconds.
        other: Vendor on the other side of that point.
        verdict: ``equal``; ``constant`` (a missed adjustment was corrected before the bars were
            stored); ``unchecked`` (there was too little to compare).
        ratio: Median ratio of the fetched closes to the other vendor's closes; 1 if unchecked.
        common: Number of bars compared.
        because: Description of the correction, or the reason why nothing was compared.
    """

    at: int
    other: str
    verdict: str
    ratio: float = 1.0
    common: int = 0
    because: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored."""
        entry = {
            "at": self.at,
            "with": self.other,
            "verdict": self.verdict,
            "ratio": self.ratio,
            "common": self.common,
        }
        return entry | ({"because": self.because} if self.because else {})


@dataclass(frozen=True)
class Covered:
    """One coverage entry of a series: a span that was requested and answered.

    Attributes:
        span: Half-open span ``[start, end)`` that the answer covers.
        state: ``final``; ``provisional`` (closed, not settled); ``empty`` (no bars, with
            ``reason``, until ``expires``); ``suspect`` (fetched, but not to be trusted; not
            requested again before ``expires``).
        vendor, kind, basis, fetched_at: Where the answer came from.
        reason: Reason why the entry is empty or suspect.
        expires: Time (UTC milliseconds) from which the entry is requested again if it is empty or
            suspect, or provisional because nothing confirmed the clock; None means never.
        splices: Comparisons with other vendors' bars at the times where those take over. If an
            entry is cut, each part keeps all comparisons.
        parts: Contents of a folded entry, which stores many small entries as one; otherwise empty.
            Each element is a source (an entry without span, kind and basis) with a flat list that
            gives the start and length of each of its entries; starts count from the start of the
            folded entry. The first source covers everything that the others do not.
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

    @property
    def opened(self) -> Sequence[Covered]:
        """The entries that were folded into this entry, in ascending order; just this entry if none were."""
        return Stretches.of(self.columns) if self.parts else (self,)

    @cached_property
    def columns(self) -> Columns:
        """The same entries as :attr:`opened`, as columns."""
        blocks = [np.array(edges, np.int64).reshape(-1, 2) for _, edges in self.parts[1:]]
        small = np.concatenate([_NO_EDGES, *blocks])
        lengths = [len(block) for block in blocks]
        codes = np.repeat(np.arange(1, len(blocks) + 1, dtype=np.int64), lengths)
        order = np.argsort(small[:, 0], kind="stable")
        starts = self.span.start + small[order, 0]
        ends = starts + small[order, 1]
        # The first source precedes each of the others, and follows the last one.
        pairs = np.column_stack(
            [np.append(self.span.start, ends), np.append(starts, self.span.end)]
        )
        between = np.arange(1, len(pairs), dtype=np.int64)
        edges = np.insert(pairs, between, np.column_stack([starts, ends]), axis=0)
        owners = np.insert(np.zeros(len(pairs), np.intp), between, codes[order])
        is_there = edges[:, 0] < edges[:, 1]
        sources = tuple(_open_source(self, source) for source, _ in self.parts)
        starts, ends = edges[is_there].T
        return Columns(starts, ends, owners[is_there], sources)

    @property
    def cause(self) -> Cause:
        """Cause of the doubt in ``reason``; empty if that is not a doubt."""
        return cause_of(self.reason)

    @property
    def is_of_rejected_row(self) -> bool:
        """Whether the vendor sent a row that cannot be a bar; ``reason`` says why."""
        is_doubted = self.cause or self.reason.startswith(_OF_STORED_BARS)
        return self.state == "suspect" and not is_doubted

    @property
    def is_rescaled(self) -> bool:
        """Whether the prices were rescaled to apply an adjustment that the vendor had missed."""
        return any(splice.verdict == "constant" for splice in self.splices)

    def is_valid(self, now_ms: int) -> bool:
        """Return whether the entry is still valid at ``now_ms``, i.e. has not expired."""
        return self.expires is None or now_ms < self.expires

    def at(self, span: Span) -> Covered:
        """Return a copy of the entry that covers ``span``, without folded parts."""
        if span == self.span:
            return self
        values = self.__dict__.copy()
        values["span"], values["parts"] = span, ()
        return _with_values(values)

    def having(self, **changes: Any) -> Covered:
        """Return a copy with these fields changed; several times faster than ``dataclasses.replace``."""
        return _with_values(self.__dict__ | changes)

    def clip(self, span: Span) -> Covered | None:
        """Return the part of the entry inside ``span``; None if the two do not overlap."""
        start, end = self.span
        first, last = span
        if first <= start and end <= last:
            return self if start < end else None
        overlap = self.span.clip(span)
        return None if overlap.is_empty else self.at(overlap)

    def same_source(self, other: Covered) -> bool:
        """Return whether two entries can be merged, i.e. differ at most in span and fetch time."""
        values, other_values = self.__dict__, other.__dict__
        for name in _OF_SOURCE:
            ours, theirs = values[name], other_values[name]
            if ours is not theirs and ours != theirs:
                return False
        return not self.parts

    def to_json(self) -> dict[str, Any]:
        """Return the JSON-compatible dictionary that is stored; defaults are left out."""
        entry: dict[str, Any] = {"span": list(self.span)}
        if self.state in WITH_BARS:
            entry |= {"kind": self.kind.to_json(), "basis": self.basis.to_json()}
        if self.parts:
            entry["parts"] = [[source._source_json(), list(edges)] for source, edges in self.parts]
        return entry | self._source_json()

    def _source_json(self) -> dict[str, Any]:
        """Return the stored form of a source: everything but the span, the kind and the basis."""
        values = ((field.name, getattr(self, field.name), field.default) for field in SOURCE)
        entry = {name: value for name, value, default in values if value != default}
        if self.splices:
            entry["splices"] = [splice.to_json() for splice in self.splices]
        return entry

    @cached_property
    def text(self) -> str:
        """Canonical JSON of :meth:`to_json`.

        Cached because each commit writes every entry again.
        """
        return canonical(self.to_json())


_FIELDS = tuple(field.name for field in fields(Covered))


def _with_values(values: dict[str, Any]) -> Covered:
    """Create an entry with these field values; cached properties are not carried over."""
    if len(values) > len(_FIELDS):
        values.pop("columns", None)
        values.pop("text", None)
    return of_values(Covered, values)


# The fields of a source, in folded entries and in the lists of a document.
SOURCE = tuple(f for f in fields(Covered) if f.name not in ("span", "kind", "basis", "parts"))
# Fields that are equal in two entries from one source, those that differ most often first.
_OF_SOURCE = ["reason", *(f.name for f in fields(Covered) if f.name not in ("span", "fetched_at"))]


class Columns(NamedTuple):
    """Coverage entries stored as columns, for thousands of small entries from a few sources.

    Attributes:
        starts, ends: Starts and ends of the entries' spans.
        codes: Index of each entry's source in ``sources``.
        sources: Distinct sources, i.e. entries without a span, which contain all other fields.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    codes: NDArray[np.intp]
    sources: tuple[Any, ...]

    @property
    def edges(self) -> Edges:
        """The spans of the entries as an array with one row (start, end) each."""
        return np.column_stack([self.starts, self.ends])

    def take(self, rows: NDArray[Any] | slice) -> Columns:
        """Return the entries selected by a mask, an array of positions or a slice."""
        starts, ends, codes, sources = (
            self.starts[rows],
            self.ends[rows],
            self.codes[rows],
            self.sources,
        )
        if len(codes) < len(sources):  # a few stretches do not need the sources of all
            present, codes = np.unique(codes, return_inverse=True)
            sources = tuple([sources[code] for code in present.tolist()])
        return Columns(starts, ends, codes, sources)

    def joined(self) -> Columns:
        """Join adjacent entries from the same source, and return the resulting entries.

        A joined entry has the latest of its parts' fetch times.
        """
        starts, ends, codes, sources = self
        classes = _classes(sources)[codes]
        is_new = np.append(True, (starts[1:] != ends[:-1]) | (classes[1:] != classes[:-1]))
        if len(starts) < 2 or is_new.all():
            return self
        firsts = np.flatnonzero(is_new)
        by_time = np.array([_time(source) for source in sources], np.int64).argsort(kind="stable")
        latest = np.maximum.reduceat(by_time.argsort()[codes], firsts)
        return Columns(
            starts[firsts], ends[np.append(firsts[1:], len(ends)) - 1], by_time[latest], sources
        )

    def by(self, key: Callable[[Any], K]) -> dict[K, NDArray[np.intp]]:
        """Group the entries by ``key(source)``; return the positions of the entries for each key.

        Keys are in order of first occurrence.
        """
        index: dict[K, int] = {}
        keys = [index.setdefault(key(source), len(index)) for source in self.sources]
        codes = np.array(keys, np.intp)[self.codes]
        order = codes.argsort(kind="stable")
        cuts = np.flatnonzero(np.diff(codes[order], prepend=-1))
        distinct = tuple(index)
        groups = sorted(np.split(order, cuts)[1:], key=lambda rows: int(rows[0]))
        return {distinct[codes[rows[0]]]: rows for rows in groups}

    @classmethod
    def chained(cls, parts: Sequence[Columns]) -> Columns:
        """Concatenate entries; a source that occurs in several parts is listed once."""
        index: dict[Any, int] = {}
        codes = [
            np.array([index.setdefault(source, len(index)) for source in part.sources], np.intp)[
                part.codes
            ]
            for part in parts
        ]
        none = np.empty(0, np.int64)
        return cls(
            np.concatenate([none, *(part.starts for part in parts)]),
            np.concatenate([none, *(part.ends for part in parts)]),
            np.concatenate([none, *codes]),
            tuple(index),
        )

    @classmethod
    def of_one(cls, source: Any, edges: Edges) -> Columns:
        """Return entries that all have the same source, one for each span."""
        starts, ends = edges.T
        codes = np.zeros(len(edges), np.intp)
        return cls(starts, ends, codes, (of_values(type(source), _values(source)),))

    @classmethod
    def of_items(cls, items: Iterable[Any]) -> Columns:
        """Return entries as columns; a folded entry is replaced by its parts."""
        parts: list[Columns] = []
        for is_folded, group in groupby(items, _is_folded):
            if is_folded:
                parts += (whole.columns for whole in group)
            else:
                entries, index = list(group), dict[Any, int]()
                sources = (of_values(type(entry), _values(entry)) for entry in entries)
                codes = np.array([index.setdefault(s, len(index)) for s in sources], np.intp)
                starts, ends = edges_of(entry.span for entry in entries).T
                parts.append(cls(starts, ends, codes, tuple(index)))
        return parts[0] if len(parts) == 1 else cls.chained(parts)


_NO_EDGES = np.empty((0, 2), np.int64)


def _is_folded(entry: object) -> bool:
    return isinstance(entry, Covered) and bool(entry.parts)


def _values(source: object) -> dict[str, Any]:
    """Return the fields of an entry, with an empty span and without cached properties."""
    values = {**vars(source), "span": _NO_SPAN}
    return {name: values[name] for name in _FIELDS} if isinstance(source, Covered) else values


def _classes(sources: Sequence[Any]) -> NDArray[np.intp]:
    """Return a class id for each source; sources that differ only in fetch time share an id."""
    index: dict[Any, int] = {}
    timeless = (source.having(fetched_at=0) if _time(source) else source for source in sources)
    return np.array([index.setdefault(source, len(index)) for source in timeless], np.intp)


def _time(source: object) -> int:
    return getattr(source, "fetched_at", 0)


class Stretches(Sequence[T], Generic[T]):
    """Coverage entries in any order, held as objects or as columns.

    Each form is built from the other on demand. In this class, an entry without its span is called
    a source.
    """

    __slots__ = ("_columns", "_items")

    def __init__(self, items: Iterable[T] = ()) -> None:
        self._items: tuple[T, ...] | None = tuple(items)
        self._columns: Columns | None = None

    @classmethod
    def of(cls, columns: Columns) -> Self:
        """Create the object from entries that are stored as columns."""
        instance = cls.__new__(cls)
        instance._items, instance._columns = None, columns
        return instance

    @classmethod
    def chained(cls, parts: Iterable[Sequence[T]]) -> Self:
        """Concatenate several sequences of entries."""
        columns = [
            p.columns if isinstance(p, Stretches) else Columns.of_items(p) for p in parts if p
        ]
        return cls.of(Columns.chained(columns))

    @property
    def items(self) -> tuple[T, ...]:
        """The entries as objects."""
        if self._items is None:
            starts, ends, codes, sources = self.columns
            values = [_values(source) for source in sources]
            row_type = type(sources[0]) if sources else Covered
            self._items = tuple(
                [
                    of_values(row_type, values[code] | {"span": Span(start, end)})
                    for start, end, code in zip(
                        starts.tolist(), ends.tolist(), codes.tolist(), strict=True
                    )
                ]
            )
        return self._items

    @property
    def columns(self) -> Columns:
        """The entries as columns, with folded ones replaced by their parts."""
        if self._columns is None:
            self._columns = Columns.of_items(self.items)
        return self._columns

    @property
    def sources(self) -> Sequence[T]:
        """The distinct sources in order of first use or, if entries are held as objects, the entries."""
        if self._items is not None:
            return self._items
        _, _, codes, sources = self.columns
        firsts = np.unique(codes, return_index=True)[1]
        return [sources[code] for code in codes[np.sort(firsts)].tolist()]

    def only(self, test: Callable[[T], bool]) -> Self:
        """Return the entries whose source passes a test."""
        if self._items is not None:
            return type(self)([entry for entry in self._items if test(entry)])
        passes = np.array([test(source) for source in self.columns.sources], bool)
        return self if passes.all() else self.of(self.columns.take(passes[self.columns.codes]))

    def where(self, test: Callable[[T], bool]) -> Edges:
        """Return the spans of the entries whose source passes a test, as an array of one row per span."""
        if self._items is None:
            return self.only(test).columns.edges
        return edges_of(cast("Covered", entry).span for entry in self._items if test(entry))

    def __len__(self) -> int:
        return len(self.columns.starts if self._items is None else self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items if self._items is None else self._items)

    def __getitem__(self, at: Any) -> Any:
        if self._items is None and isinstance(at, slice):
            return self.of(self.columns.take(at)).items
        return self.items[at]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Stretches):
            return self.items == other.items
        return isinstance(other, list | tuple) and self.items == tuple(other)

    def __hash__(self) -> int:
        return hash(self.items)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.items!r})"


def stretches(items: Iterable[T]) -> Stretches[T]:
    """Return ``items`` as :class:`Stretches`, which is fast even with thousands of entries."""
    return items if isinstance(items, Stretches) else Stretches(items)


# Returns an entry's new source when a mark is applied: (old source or None, mark, has bars).
After = Callable[[Covered | None, Covered, bool], Covered | None]
HasBars = Callable[[Edges], NDArray[np.bool_]]
# A mark that removes an entry from the coverage.
FORGOTTEN = Covered(_NO_SPAN, "empty", "\0")


class Coverage(Stretches[Covered]):
    """Coverage of a series, as ascending, disjoint entries. Bars outside the entries are missing.

    Many small entries between entries from one source, as in an answer with bad rows, may be folded
    into one entry (:meth:`folded`). Iteration yields a folded entry as a single, suspect one;
    methods that take a span (:meth:`within`, :meth:`touching`, ...) return its parts.
    """

    __slots__ = ()

    @classmethod
    def joined(cls, ascending: Iterable[Covered]) -> Coverage:
        """Build a coverage from ascending, disjoint entries.

        Adjacent entries from the same source are joined.
        """
        return cls(_join_entries(ascending))

    @property
    def text(self) -> str:
        """Canonical JSON of the list of entries, as it is stored."""
        return "[" + ",".join([entry.text for entry in self]) + "]"

    @property
    def _is_opened(self) -> bool:
        """Whether no entry is folded."""
        return self._items is None or not any(map(_is_folded, self._items))

    def standing(self, now_ms: int, span: Span | None = None) -> list[Span]:
        """Return the merged spans that do not have to be requested again at ``now_ms``.

        Provisional entries are included: the fetch plan decides whether they are due. A folded
        entry outside ``span`` is included as a whole, even if parts of it have expired.
        """
        if self._items is None:
            return self.spans(lambda source: source.is_valid(now_ms))
        spans: list[Span] = []
        for whole in self._items:
            is_far = span is not None and not whole.span.overlaps(span)
            if whole.is_valid(now_ms) or (whole.parts and is_far):
                spans.append(whole.span)
            elif whole.parts:
                spans += Coverage.of(whole.columns).standing(now_ms)
        return coalesce(spans)

    def spans(self, test: Callable[[Covered], bool]) -> list[Span]:
        """Return the merged spans of the entries whose source passes a test."""
        if self._items is None:
            return spans_of(merged(self.where(test)))
        return coalesce(entry.span for entry in self._items if test(entry))

    def within(self, span: Span) -> Coverage:
        """Return the entries inside ``span``, clipped."""
        touching = self.touching(span)
        entries = touching._items
        if entries is None:
            starts, ends = np.clip(touching.columns[:2], *span)
            return Coverage.of(touching.columns._replace(starts=starts, ends=ends))
        if not entries or (
            span.start <= entries[0].span.start and entries[-1].span.end <= span.end
        ):
            return touching
        return Coverage(cut for entry in entries if (cut := entry.clip(span)) is not None)

    def touching(self, span: Span) -> Coverage:
        """Return the entries that overlap ``span``, unfolded but not clipped to the span."""
        if span.is_empty:
            return Coverage()
        entries = self
        if self._items is not None:
            first, last = _index_range(self._items, span)
            if last - first < len(self._items):
                entries = Coverage(self._items[first:last])
            if entries._is_opened:
                return entries
        starts, ends = entries.columns[:2]
        first = int(ends.searchsorted(span.start, "right"))
        last = int(starts.searchsorted(span.end))
        return Coverage.of(entries.columns.take(slice(first, last)))

    def opened(self, span: Span | None = None) -> Coverage:
        """Return the coverage, with folded entries that overlap ``span`` split into their parts.

        None splits all folded entries.
        """
        if self._is_opened:
            return self
        if span is None or all(whole.span.overlaps(span) for whole in self if whole.parts):
            return Coverage.of(self.columns)
        return Coverage(
            entry
            for whole in self
            for entry in (whole.opened if whole.span.overlaps(span) else (whole,))
        )

    def folded(self) -> Coverage:
        """Return the coverage, with runs of many small entries between entries from one source folded.

        As a result, the size of the stored document, and the cost of reading other days, do not
        depend on the number of bad rows or gaps in an answer. No information is lost.
        """
        if self._items is None:
            return Coverage(_fold_runs(self.columns))
        done: list[Covered] = []
        for is_folded, group in groupby(self._items, _is_folded):
            entries = list(group)
            is_short = is_folded or len(entries) < _FEWEST_FOLDED
            less = entries if is_short else _fold_runs(Columns.of_items(entries))
            done += entries if len(less) == len(entries) else less
        return self if len(done) == len(self) else Coverage(done)

    def overlaid(self, newer: Iterable[Covered]) -> Coverage:
        """Return the coverage after adding ``newer`` answers, which replace older ones.

        Only the parts of older answers that a newer one overlaps are replaced.
        """
        return self.revised(Stretches(newer), lambda _before, fresh, _has_bars: fresh)

    def without(self, spans: Iterable[Span]) -> Coverage:
        """Return the coverage without ``spans``, as if they had never been requested."""
        forgotten = Stretches[Covered].of(Columns.of_one(FORGOTTEN, edges_of(coalesce(spans))))
        return self.revised(forgotten, lambda _before, _gone, _has_bars: None)

    def revised(
        self, marks: Stretches[Covered], after: After, has_bars: HasBars | None = None
    ) -> Coverage:
        """Return the coverage after applying marks; later marks override earlier ones.

        Args:
            marks: Entries that change the coverage; they may be unsorted and may overlap.
            after: Function that returns the new source of an entry to which a mark is applied, or
                None to remove the entry.
            has_bars: Function that returns a mask of the spans that have bars; needed if the result
                of ``after`` depends on that.
        """
        coverage = self
        for run in _ascending(marks.columns) if marks else ():
            coverage = coverage._apply_run(run, after, has_bars)
        return coverage

    def _apply_run(self, marks: Columns, after: After, has_bars: HasBars | None) -> Coverage:
        """Return the coverage after applying ascending, disjoint marks; entries elsewhere are unchanged."""
        if self._items is None:
            return Coverage.of(_splice(self.columns, marks, after, has_bars))
        first, last = _index_range(self._items, Span(int(marks.starts[0]), int(marks.ends[-1])))
        touched = Columns.of_items(self._items[first:last]) if first < last else Columns.chained(())
        changed = Coverage.of(_revise(touched, marks, after, has_bars))
        if last - first == len(self._items):
            return changed
        before, behind = self._items[:first], self._items[last:]
        seams = [*_join_entries([*before[-1:], *changed, *behind[:1]])]
        return Coverage((*before[:-1], *seams, *behind[1:]))


def _ascending(marks: Columns) -> Iterator[Columns]:
    """Split marks (entries that change the coverage) into groups to apply one after another.

    Each group is ascending and disjoint. Marks with an empty span are omitted.
    """
    marks = marks.take(marks.starts < marks.ends)
    sorted_marks = marks.take(marks.starts.argsort(kind="stable"))
    if (sorted_marks.starts[1:] >= sorted_marks.ends[:-1]).all():  # their order makes no difference
        yield from [sorted_marks] if len(marks.starts) else ()
        return
    cuts = np.flatnonzero(marks.starts[1:] < marks.ends[:-1]) + 1
    for first, end in zip([0, *cuts.tolist()], [*cuts.tolist(), len(marks.starts)], strict=True):
        yield marks.take(slice(first, end))


def _splice(before: Columns, marks: Columns, after: After, has_bars: HasBars | None) -> Columns:
    """Return the entries of ``before`` once ``marks`` are applied; both are ascending and disjoint.

    Only the part of ``before`` that the marks touch is recomputed.
    """
    starts, ends, codes, sources = before
    # The entry on each side may be joined to its neighbour.
    first = max(int(ends.searchsorted(marks.starts[0], "right")) - 1, 0)
    last = int(starts.searchsorted(marks.ends[-1])) + 1
    changed = _revise(before.take(slice(first, last)), marks, after, has_bars)
    if first == 0 and last >= len(starts):
        return changed
    return Columns(
        np.concatenate([starts[:first], changed.starts, starts[last:]]),
        np.concatenate([ends[:first], changed.ends, ends[last:]]),
        np.concatenate([codes[:first], changed.codes + len(sources), codes[last:]]),
        (*sources, *changed.sources),
    )


def _revise(before: Columns, marks: Columns, after: After, has_bars: HasBars | None) -> Columns:
    """Apply marks to coverage entries, and return the resulting entries.

    Both arguments and the result are ascending and disjoint. The edges of all spans cut the
    timeline into pieces, each with at most one old source and one mark. Few distinct pairs of
    source and mark occur, so ``after`` is called only once for each pair and each value of its last
    argument.
    """
    edges = distinct(np.concatenate([*before[:2], *marks[:2]]))
    starts, ends = edges[:-1], edges[1:]
    radix = len(marks.sources) + 1
    pairs, which = np.unique(
        _owners(before, starts) * radix + _owners(marks, starts), return_inverse=True
    )
    index: dict[Covered, int] = {}
    outcomes = np.full((2, len(pairs)), -1, np.int64)
    for at, (old, new) in enumerate(divmod(pair, radix) for pair in pairs.tolist()):
        source = before.sources[old - 1] if old else None
        for has in (0, 1):
            then = after(source, marks.sources[new - 1], bool(has)) if new else source
            if then is not None:
                outcomes[has, at] = index.setdefault(then, len(index))
    codes = outcomes[0][which]
    undecided = np.flatnonzero(codes != outcomes[1][which])
    if len(undecided) and has_bars is not None:
        is_held = has_bars(np.column_stack([starts[undecided], ends[undecided]]))
        codes[undecided[is_held]] = outcomes[1][which[undecided[is_held]]]
    is_kept = codes >= 0
    return Columns(starts[is_kept], ends[is_kept], codes[is_kept], tuple(index)).joined()


def _owners(columns: Columns, stamps: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return for each timestamp 1 plus the index of the source that covers it, or 0 if none does."""
    if not len(columns.starts):
        return np.zeros(len(stamps), np.intp)
    positions = columns.starts.searchsorted(stamps, "right") - 1
    is_inside = (positions >= 0) & (stamps < columns.ends[positions])
    return np.where(is_inside, columns.codes[positions] + 1, 0)


def _index_range(ascending: Sequence[Covered], span: Span) -> tuple[int, int]:
    """Return the index range of the entries that overlap the non-empty ``span``."""
    first = bisect_right(ascending, span.start, key=_end)
    return first, bisect_left(ascending, span.end, lo=first, key=_start)


def _start(entry: Covered) -> int:
    return entry.span.start


def _end(entry: Covered) -> int:
    return entry.span.end


@dataclass(frozen=True)
class VendorDay:
    """A session in which a vendor lacks bars for most of its symbols.

    The session is part of an incident, and counts as one item regardless of how many gaps it
    causes.

    Attributes:
        vendor, calendar, timeframe: Affected vendor, market calendar and bar length.
        day: Session date, ISO.
        span: Half-open span of the session's bars, up to the next session.
        condition: ``pending`` (the session closed less than a day ago), ``missing`` (no bars at all
            for most symbols) or ``degraded`` (only some bars for most symbols). Every other day is
            ``available``.
        symbols: Number of symbols for which it is known whether the vendor has bars for the
            session.
        lacking: Number of those symbols for which some or all bars of the session are missing.
    """

    vendor: str
    calendar: str
    timeframe: str
    day: str
    span: Span
    condition: Condition
    symbols: int
    lacking: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Vendor, calendar, timeframe and day, which identify the session at the vendor."""
        return self.vendor, self.calendar, self.timeframe, self.day

    def __str__(self) -> str:
        counts = f"{self.lacking} of {self.symbols} symbols"
        return f"{self.vendor} {self.day} {self.timeframe}: {self.condition} for {counts}"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        entry = {**vars(self), "start": iso(self.span.start), "end": iso(self.span.end)}
        return {name: value for name, value in entry.items() if name != "span"}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> VendorDay:
        """Parse the dictionary written by :meth:`to_json`."""
        facts = {name: value for name, value in entry.items() if name not in ("start", "end")}
        return cls(**facts, span=Span(parse_iso(entry["start"]), parse_iso(entry["end"])))


# --- folding -------------------------------------------------------------------------------


def _fold_runs(columns: Columns) -> list[Covered]:
    """Fold each run of small entries into one; runs are as long as possible.

    The first and the last entry of a run come from the same source.
    """
    classes = _classes(columns.sources)[columns.codes]
    limits = _limits(columns, classes)
    # The entries by class; keys count the entries of other classes before each one.
    order = classes.argsort(kind="stable")
    behind = classes[order].searchsorted(classes[order], "right").tolist()
    keys = (order - np.arange(len(order), dtype=np.int64)).tolist()
    ranks, positions = order.argsort().tolist(), order.tolist()
    folded: list[Covered] = []
    position = done = 0
    while position < len(positions):
        rank, end = ranks[position], position
        last = bisect_left(positions, limits[position], rank, behind[rank])
        last = bisect_right(keys, keys[rank] + _MOST_FOLDED, rank, last) - 1
        if last > rank and keys[last] - keys[rank] > _FEW_ENTRIES:
            end = positions[last] + 1
            folded += Stretches.of(columns.take(slice(done, position)))
            folded.append(_fold(columns.take(slice(position, end)), classes[position:end]))
            done = end
        position = max(end, position + 1)
    folded += Stretches.of(columns.take(slice(done, position)))
    return folded


def _limits(columns: Columns, classes: NDArray[np.intp]) -> list[int]:
    """Return for each entry the position of the next entry that must not be folded with it.

    If nothing may be folded into an entry, the position is its own. Entries are not folded if they
    are requested again as soon as they have settled, if their bars have a different kind or basis
    or come from older tools with an unknown adjustment, or if they are long and from another
    source.
    """
    starts, ends, codes, sources = columns
    count, none = len(starts), -1
    index: dict[tuple[Kind, Basis], int] = {}
    groups = np.array(
        [
            index.setdefault((source.kind, source.basis), len(index)) if _may_fold(source) else none
            for source in sources
        ],
        np.intp,
    )[codes]
    is_empty = np.array([source.state == "empty" for source in sources], bool)[codes]
    everywhere = np.arange(count, dtype=np.int64)
    gaps = np.append(np.flatnonzero(starts[1:] != ends[:-1]) + 1, count)
    long = np.append(np.flatnonzero(ends - starts > _SMALL_MS), count)
    next_long = long[long.searchsorted(everywhere)]
    is_own = np.append(classes, none)[next_long] == classes
    limits = np.minimum.reduce(
        [
            gaps[gaps.searchsorted(everywhere, "right")],
            _next_change(np.flatnonzero(~is_empty), groups, everywhere),
            np.where(is_own, _next_change(long[:-1], classes, next_long), next_long),
        ]
    )
    kept: list[int] = np.where(is_empty | (groups == none), everywhere, limits).tolist()
    return kept


def _next_change(
    positions: NDArray[np.intp], values: NDArray[np.intp], after: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Return for each position in ``after`` the next position at which the value changes.

    If the value never changes, the result is the number of values. Only the values at ``positions``
    are compared.
    """
    picked = values[positions]
    changes = np.append(positions[1:][picked[1:] != picked[:-1]], len(values))
    return changes[np.minimum(changes.searchsorted(after, "right"), len(changes) - 1)]


def _may_fold(source: Covered) -> bool:
    """Return whether an entry with bars can ever be folded into a larger one."""
    return (source.state, source.expires) != ("provisional", None) and (
        source.basis.adjustment != "unknown"
    )


def _fold(columns: Columns, classes: NDArray[np.intp]) -> Covered:
    """Fold adjacent entries into one; the first and the last entry have the same source.

    Entries with the same class number differ only in their fetch time.
    """
    starts, ends, codes, sources = columns
    same = classes == classes[0]
    present = [sources[code] for code in np.unique(codes)]
    latest = max(sources[code].fetched_at for code in np.unique(codes[same]))
    base: Covered = sources[codes[0]].having(fetched_at=latest)
    others = Columns(starts[~same] - starts[0], (ends - starts)[~same], codes[~same], sources)
    contents: dict[Covered, tuple[int, ...]] = {_source_of(base): ()}
    # Sources that differ only in their kind or basis are treated as one here.
    for source, rows in others.by(_source_of).items():
        contents[source] = tuple(others.edges[rows].ravel().tolist())
    folded = base.having(
        span=Span(int(starts[0]), int(ends[-1])),
        state="suspect",
        fetched_at=max(entry.fetched_at for entry in present),
        reason=FOLDED,
        expires=min([p.expires for p in present if p.expires is not None], default=None),
        splices=(),
        parts=tuple(contents.items()),
    )
    if all(
        (entry.kind, entry.basis) == (_NO_KIND, _NO_BASIS)
        if entry.state == "empty"
        else entry.fetched_at == latest or not entry.same_source(base)
        for entry in present
    ):  # so that it is not unfolded again
        folded.__dict__["columns"] = columns
    return folded


def _source_of(entry: Covered) -> Covered:
    """Return an entry's source, without kind and basis."""
    return entry.having(span=_NO_SPAN, kind=_NO_KIND, basis=_NO_BASIS)


def _open_source(whole: Covered, source: Covered) -> Covered:
    """Convert a source in a folded entry to an entry with the folded entry's kind and basis."""
    if source.state == "empty":
        return source
    return source.having(kind=whole.kind, basis=whole.basis)


def _join_entries(ascending: Iterable[Covered]) -> Iterable[Covered]:
    """Join adjacent entries from the same source; the latest fetch time is kept."""
    run: list[Covered] = []
    for entry in ascending:
        if run and not (run[-1].span.end == entry.span.start and run[-1].same_source(entry)):
            yield _merged_run(run)
            run = []
        run.append(entry)
    if run:
        yield _merged_run(run)


def _merged_run(run: list[Covered]) -> Covered:
    if len(run) == 1:
        return run[0]
    span = Span(run[0].span.start, run[-1].span.end)
    return run[0].having(span=span, fetched_at=max([entry.fetched_at for entry in run]))


def spread(
    mark: Covered, edges: Edges, expires: NDArray[Any], reasons: Sequence[str]
) -> Stretches[Covered]:
    """Return a copy of the entry ``mark`` for each span, with the expiry and reason for that span."""
    index: dict[tuple[str, int | None], int] = {}
    keys = zip(reasons, expires.tolist(), strict=True)
    codes = np.array([index.setdefault(key, len(index)) for key in keys], np.intp)
    sources = tuple(mark.having(reason=reason, expires=until) for reason, until in index)
    starts, ends = edges.T
    return Stretches.of(Columns(starts, ends, codes, sources))
