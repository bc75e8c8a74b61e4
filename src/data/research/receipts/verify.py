"""Verifies a receipt: with the bars of this machine, or with those that vendors send now."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from itertools import combinations, product
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import errors
from ...core.bars.client import Wishes
from ...core.disk.scratch import scratch_folder
from ...core.model.answer.provenance import ATTRS_KEY
from ...core.model.answer.reads import StoredRead
from ...core.model.identity.kind import SESSIONS
from ...core.model.market.bars import BarTable, inside
from ...core.model.time.instant import date_of, iso, parse_iso
from ...core.model.time.span import Span
from ...core.model.time.timeframe import Timeframe
from ...data_manager import DataManager, get_data_manager
from ...errors import CorruptEntryError, DataError, FormatVersionError, QueryError
from .digests import (
    Grid,
    Paid,
    actions_text,
    digests_of,
    finest_of,
    grid_of,
    month_of,
    months_of,
    readings,
    sha256,
)
from .lines import (
    NOBODY,
    Series,
    actions_line,
    calendar_line,
    filing_lines,
    gaps_lines,
    known_actions,
    lane_word,
    macro_lines,
    members_line,
    vendor_word,
)
from .receipt import Line, Receipt, read_receipt

if TYPE_CHECKING:
    from ...core.model.identity.series import SeriesKey

# The states of a line, each with the exit code of the command; the best one first.
SAME, SAME_VALUES, REBASED, REVISED, OTHER_VENDOR, MISSING, CLOSED, UNREAD, CHANGED = (
    "same", "same values", "rebased", "revised", "other vendor", "missing", "closed", "unread", "changed",
)  # fmt: skip
CODES = {
    SAME: 0, SAME_VALUES: 0, REBASED: 1, REVISED: 1, OTHER_VENDOR: 1, MISSING: 3, CLOSED: 3, UNREAD: 3,
    CHANGED: 2,
}  # fmt: skip
_WORST_FIRST = (2, 1, 3, 0)
_PLACES = {state: place for place, state in enumerate(CODES)}
_NONE = b""
_REASONS = {
    "no_key": CLOSED, "plan": CLOSED, "region": CLOSED,
    "no_data": MISSING, "unknown_symbol": MISSING, "unsupported": MISSING,
}  # fmt: skip
_MOVED_DAYS, _MOST_CENTS = 7, 500
_SPLITS = [Fraction(ratio) for ratio in "2 3 4 5 7 10 20 3/2 5/4 1/2 1/5 1/10 1/20".split()]
_MOST_DAYS = 15_000
_LACKING = "not all splits and dividends are stored here"


@dataclass(frozen=True)
class Finding:
    """The result for one line of a receipt.

    Attributes:
        line: The line.
        state: ``same``, ``same values``, ``rebased``, ``revised``, ``other vendor``, ``missing``,
            ``closed``, ``unread`` or ``changed``.
        months: Months (``2019-03``) in which bars differ, if they are known.
        detail: What differs, or why nothing could be compared.
    """

    line: Line
    state: str
    months: tuple[str, ...] = ()
    detail: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the finding as a mapping for JSON."""
        of_line = {"kind": self.line.kind, "name": str(self.line), "line": self.line.text}
        of_state = {"state": self.state, "code": CODES[self.state]}
        return {**of_line, **of_state, "months": list(self.months), "detail": self.detail}


@dataclass(frozen=True)
class Findings:
    """The results for all lines of a receipt, the worst first; see :class:`Finding`."""

    findings: tuple[Finding, ...]

    @property
    def code(self) -> int:
        """The first of 2 (changed), 1 (differs), 3 (not compared) and 0 that any line has."""
        codes = {CODES[finding.state] for finding in self.findings}
        return next((code for code in _WORST_FIRST if code in codes), 3)

    def to_json(self) -> dict[str, Any]:
        """Return the results as a mapping for JSON."""
        return {"code": self.code, "lines": [finding.to_json() for finding in self.findings]}


def verify(
    path: str | os.PathLike[str],
    *,
    fetch: bool = False,
    offline: bool = False,
    manager: DataManager | None = None,
    progress: Callable[[int, int, Line], object] = lambda done, total, line: None,
) -> Findings:
    """Compare everything in a receipt with what this machine, or its vendors, have now.

    Args:
        path: The receipt; ``.months`` beside it, if there is one, shows which months differ.
        fetch: Whether everything is fetched into an empty temporary folder, so that nothing that is
            stored here counts.
        offline: Whether only stored bars are compared. By default, missing ones are fetched.
        manager: Data manager whose store and vendors are used; None means ``get_data_manager()``.
        progress: Called before each line with the number of finished lines, the number of all, and
            the line.

    Raises:
        QueryError: Both switches are set.
        StorageError: The file cannot be read.
    """
    if fetch and offline:
        raise QueryError("fetch and offline cannot be used together", hint="omit one of them")
    try:
        receipt = read_receipt(path)
    except (CorruptEntryError, FormatVersionError) as error:
        state = CHANGED if isinstance(error, CorruptEntryError) else UNREAD
        return Findings((Finding(Line.of("all none"), state, (), str(error)),))
    if fault := receipt.fault:
        return Findings((Finding(receipt.lines[-1], CHANGED, (), fault),))
    used = given = manager or get_data_manager()
    found, lines = list[Finding](), [x for x in receipt.lines[1:] if x.kind not in ("run", "terms")]
    with scratch_folder("onetape-verify-") as folder:
        if fetch:
            rules = given._services.settings.rules_path
            used = DataManager(folder, rules, clock=given.client.clock)
        check = _Check(receipt, used, given, offline=offline)
        for done, line in enumerate(lines):
            progress(done, len(lines), line)
            found.append(check.line(line))
    found.sort(key=lambda one: (_WORST_FIRST.index(CODES[one.state]), -_PLACES[one.state]))
    return Findings(tuple(found))


class _Check:
    """The check of one receipt."""

    def __init__(
        self, receipt: Receipt, manager: DataManager, given: DataManager, *, offline: bool
    ) -> None:
        self._receipt, self._manager, self._client = receipt, manager, manager.client
        self._given, self._offline = given, offline
        self._at_ms = parse_iso(receipt.run.values["at"])
        # By symbol and vendor; the splits are those up to now.
        self._actions: dict[tuple[str, str], list[list[Paid]]] = {}
        self._splits: dict[tuple[str, str], list[Paid]] = {}
        # Those of which not all are stored.
        self._lacking = set[tuple[str, str]]()
        self._beside = {_owner_of(one): one for one in receipt.of_kind("actions")}
        # The state of all bars, and those that are the same.
        self._states: dict[tuple[str, str], list[str]] = defaultdict(list)
        self._bars: dict[tuple[str, str, str], list[tuple[Line, SeriesKey]]] = defaultdict(list)

    def line(self, line: Line) -> Finding:
        """Return the finding for a line; bars come before the splits and dividends for them."""
        found = self._finding(line)
        if line.kind == "bars":
            self._states[_owner_of(line)].append(found.state)
        return found

    def _finding(self, line: Line) -> Finding:
        compare = getattr(self, f"_of_{line.kind}", None)
        if compare is None:
            return Finding(line, UNREAD, (), "a kind of line of a later version")
        if line.digests == ("none",) and line.kind != "filing":
            return Finding(line, UNREAD, (), "too short for a digest")
        try:
            found: Finding = compare(line)
        except (DataError, ValueError, OverflowError) as error:
            state = _REASONS.get(getattr(error, "reason", ""), UNREAD)
            return Finding(line, state, (), str(error))
        return found

    @staticmethod
    def _of_all(line: Line) -> Finding:
        return Finding(line, SAME)

    # --- bars ------------------------------------------------------------------------------

    def _of_bars(self, line: Line) -> Finding:
        found = [(self._compared(line, key, faults), key) for key, faults in self._series(line)]
        if not found:
            return Finding(line, UNREAD, (), "no bars of this series are stored here")
        best, key = min(found, key=lambda pair: _PLACES[pair[0].state])
        if best.state in (SAME, SAME_VALUES):
            self._bars[_series_of(line)].append((line, key))
        return best

    def _series(self, line: Line) -> Iterator[tuple[SeriesKey, str]]:
        """Yield each stored series that may have the bars, and what failed when they were fetched."""
        symbol, timeframe = line.values["name"], Timeframe.parse(line.values["timeframe"])
        session = "extended" if line.values["lane"] == "extended" else "regular"
        if self._offline:
            lanes = self._client.lanes(symbol, timeframe)
            yield from ((key, "") for key in lanes if key.session == session)
            return
        refresh = self._manager is not self._given  # a store that hosts share is not empty
        wishes = Wishes(
            provider=line.values["vendor"], adjustment="raw", refresh=refresh, session=session
        )
        failed = dict[str, None]()
        for span in line.spans:
            bounds = iso(span.start), iso(max(span.start, span.end - 1))
            query = self._client.query(symbol, timeframe.label, *bounds, wishes=wishes)
            facts = self._client.get_provenance(query)
            tried = [a for a in facts["attempts"] if a["outcome"] not in ("ok", "empty")]
            failed |= dict.fromkeys(f"{a['outcome']}: {a['message']}" for a in tried)
        yield self._client.series_of(query), "; ".join(failed)

    def _compared(self, line: Line, key: SeriesKey, faults: str) -> Finding:
        """Return the finding for a line of bars and a stored series."""
        if (word := lane_word(self._client.instrument(key))) != line.values["lane"]:
            return Finding(line, UNREAD, (), f"its bars are {word!r}, not {line.values['lane']!r}")
        try:
            bars, mine, others = self._stored(line, key)
        except DataError as error:
            return Finding(line, UNREAD, (), str(error))
        state, months, detail = self._state(line, mine)
        rows = int(line.values["rows"])
        if not len(mine) and len(bars):
            state, months, _ = self._state(line, bars)
            equal = rows if state in (SAME, SAME_VALUES) else self._equal_rows(line, bars, months)
            text = f"of {others}: {equal} of {rows} rows are equal"
            return Finding(line, OTHER_VENDOR, months, text)
        if state == REVISED and len(mine) < rows and (faults or not len(mine)):
            outcome = getattr(errors, faults.partition(":")[0], None)
            why = UNREAD if self._offline else MISSING
            why = why if outcome is None else _REASONS.get(outcome.because, UNREAD)
            lacks = f"{rows - len(mine)} of {rows} rows are not there"
            return Finding(line, why, (), f"{lacks}: {faults}" if faults else lacks)
        return Finding(line, state, months, detail)

    def _stored(self, line: Line, key: SeriesKey) -> tuple[BarTable, BarTable, str]:
        """Return the stored bars in the ranges of a line as traded, those of its vendor, and the others."""
        found = self._client.read_again(StoredRead(key, line.spans, "raw"))
        entries = [(vendor_word(e.vendor), e.span) for e in found.coverage.opened() if e.vendor]
        vendor, stamps = line.values["vendor"], found.table.stamps
        mine = inside(stamps, [span for name, span in entries if name == vendor])
        others = sorted({name for name, _ in entries} - {vendor})
        return found.table, found.table.take(mine), ", ".join(others)

    def _state(self, line: Line, table: BarTable) -> tuple[str, tuple[str, ...], str]:
        """Return the state of a line of bars, the months that differ, and what differs."""
        grid, words = Grid.parse(line.values["grid"]), list[str]()
        beside = self._beside.get(_owner_of(line))
        joined = beside if beside and beside.digests == ("joined",) else None
        rows = int(line.values["rows"])
        is_whole = len(table) == rows
        lists = self._actions_of(joined) if joined and is_whole else [None]
        for reading, actions in product(readings(table, grid) if is_whole else (), lists):
            found = digests_of(reading, grid, actions)
            *equal, has_prices = (a == b for a, b in zip(found, line.digests, strict=False))
            if any(equal) or has_prices:
                splits = self._splits_with_fractions(line)
                if fault := _imprecision(line, grid, table, may_round=bool(splits)):
                    return UNREAD, (), fault
                if any(equal):
                    first = equal.index(True)
                    if found[first:] != line.digests[first:]:
                        return CHANGED, (), "its digests are not those of one series"
                    return SAME if equal[0] and reading is table else SAME_VALUES, (), ""
                # Of other splits, whole volumes are restored by rounding.
                if lost := [a for a in splits if a.value < 1 or grid.has_fractions]:
                    return SAME_VALUES, (), f"volumes differ: vendors round them for a {lost[0]}"
                words = ["prices are equal, volumes differ"]
        if joined and is_whole and _owner_of(line) in self._lacking:
            return UNREAD, (), f"part of its digest: {_LACKING}"
        then, now = self._receipt.months_of_line(line), _months_now(table, grid)
        known = {month: part for month, part in then.items() if any(part)}
        months = [
            m for m in sorted({*known, *now}) if then and known.get(m, _NONE) != now.get(m, _NONE)
        ]
        words += [] if is_whole else [f"{len(table) - rows:+d} rows"]
        if then and not months:
            words.append("no month with a digest of its own differs")
        if joined:
            words.append("splits and dividends are part of the digest")
        return REVISED, tuple(months), "; ".join(words)

    def _splits_with_fractions(self, line: Line) -> list[Paid]:
        """Return the known splits since the first bar of which vendors round volumes in today's shares."""
        if line.values["lane"] not in SESSIONS:
            return []
        self._actions_of(line)
        return [a for a in self._splits[_owner_of(line)] if a.value.denominator != 1]

    def _equal_rows(self, line: Line, table: BarTable, months: Sequence[str]) -> str:
        """Return how many rows are in months that are equal, as text; ``?`` if there are no months."""
        then = self._receipt.months_of_line(line)
        stamps = table.stamps.astype("datetime64[ms]").astype("datetime64[M]").astype(str)
        equal = [month for month, part in then.items() if any(part) and month not in months]
        return str(int(np.isin(stamps, equal).sum())) if then else "?"

    def _of_gaps(self, line: Line) -> Finding:
        name = _series_of(line)
        lines = [one for one in self._receipt.of_kind("bars") if _series_of(one) == name]
        expected = sum(one.values["vendor"] != NOBODY for one in lines)
        if not self._bars[name] or len(self._bars[name]) < expected:
            return Finding(line, UNREAD, (), "its bars are not the same")
        found = [
            Series(*name, one.values["vendor"], one.spans, self._stored(one, key)[1])
            for one, key in self._bars[name]
        ]
        now = gaps_lines(name, found, self._client.outline(self._bars[name][0][1]).grid)
        detail = "the calendar expects other bars: another version of it"
        return Finding(line, SAME) if now == [line] else Finding(line, REVISED, (), detail)

    # --- splits and dividends --------------------------------------------------------------

    def _actions_of(self, line: Line) -> list[list[Paid]]:
        """Return the lists of actions that may be meant: those used for the vendor's bars, and its own."""
        symbol, vendor = line.values["name"], line.values["vendor"]
        if (symbol, vendor) in self._actions:
            return self._actions[symbol, vendor]
        now_ms, found = self._client.clock.now_ms(), []
        days = date_of(line.spans[0].start), date_of(now_ms)
        if not self._offline:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                try:
                    known = self._client.get_actions(symbol, *days, provider=vendor)
                except (errors.NoProviderError, errors.CapabilityError):
                    known = self._client.get_actions(symbol, *days)
            found = [known.actions]
        else:
            found = [self._client.actions(symbol), self._client.actions(symbol, vendor)]
            if all(self._client.lacks_actions(symbol, line.spans[0], v) for v in (None, vendor)):
                self._lacking.add((symbol, vendor))
        spans = [Span(line.spans[0].start, ms) for ms in (self._at_ms, now_ms)]
        rows, later = ([known_actions(one, span) for one in found] for span in spans)
        self._actions[symbol, vendor] = rows
        self._splits[symbol, vendor] = [a for one in later for a in one if a.type == "split"]
        return rows

    def _of_actions(self, line: Line) -> Finding:
        owner = _owner_of(line)
        starts = [x.spans[0].start for x in self._receipt.of_kind("bars") if _owner_of(x) == owner]
        if not starts or date_of(min(starts)) != date_of(line.spans[0].start):
            return Finding(line, CHANGED, (), "it does not begin with the bars of its vendor")
        bars, lists = self._states[owner], self._actions_of(line)
        if line.digests == ("joined",):
            worst = max(bars, key=_PLACES.__getitem__, default=UNREAD)
            if worst not in (SAME, SAME_VALUES) or self._has_counts(line, lists):
                return Finding(line, worst, (), "part of the digest of the bars")
            return Finding(line, CHANGED, (), "it counts others than the bars' digest has")
        if any(sha256(actions_text(rows)) == line.digests[0] for rows in lists):
            if self._has_counts(line, lists):
                return Finding(line, SAME)
            return Finding(line, CHANGED, (), "it counts others than its digest has")
        if _owner_of(line) in self._lacking:
            return Finding(line, UNREAD, (), _LACKING)
        is_same = {*bars} <= {SAME, SAME_VALUES}
        return Finding(line, REBASED if is_same else REVISED, (), _what_changed(line, lists[0]))

    def _has_counts(self, line: Line, lists: Iterable[Sequence[Paid]]) -> bool:
        """Return whether a line is that of one of some lists of actions."""
        name, span = _owner_of(line), Span(line.spans[0].start, self._at_ms)
        return any(actions_line(*name, span, rows) == line for rows in lists)

    # --- what is beside the bars -----------------------------------------------------------

    def _online(self, line: Line, now: Callable[[], Iterable[Line]]) -> Finding:
        """Compare a line with those that a service makes now; it cannot be read without requests."""
        if self._offline:
            return Finding(line, UNREAD, (), "not stored here; needs a request")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            lines = list(now())
        same = [one for one in lines if one.identity == line.identity]
        if line in same:
            return Finding(line, SAME)
        return Finding(
            line, REVISED if same else MISSING, (), f"now {same[0].text[:80]}" if same else ""
        )

    def _of_members(self, line: Line) -> Finding:
        name, day = line.values["name"], line.values["day"]
        since, _, until = day.rpartition("..")
        found = self._given.universes.members(name, until, since=since or None)
        now = members_line(name, found, day)
        return (
            Finding(line, SAME)
            if now == line
            else Finding(line, REVISED, (), f"now {len(found)} members")
        )

    def _of_macro(self, line: Line) -> Finding:
        name, day = line.values["name"], line.values["day"]
        first, last = line.values["ranges"].split("..")

        def now() -> list[Line]:
            """Return the line with the day on which the newest of the values was published."""
            frame = self._manager.get_series(name, first, last, as_of=day)
            return macro_lines(name, frame, frame.attrs[ATTRS_KEY]["vintage"])

        return self._online(line, now)

    def _of_filing(self, line: Line) -> Finding:
        symbol, day = line.values["name"], date_of(parse_iso(line.values["at"]))

        def found() -> Iterator[Line]:
            """Yield the lines of the filings of that day, then of all with values."""
            around = day - timedelta(1), day + timedelta(1)
            yield from filing_lines(symbol, self._manager.announcements(symbol, *around))
            yield from filing_lines(symbol, self._manager.statement_lines(symbol))

        return self._online(line, found)

    def _of_calendar(self, line: Line) -> Finding:
        first, last = (date(int(year), 1, 1) for year in line.values["years"].split(".."))
        until = date_of(self._at_ms)
        now = calendar_line(line.values["name"], first, min(last, until), until)
        detail = "sessions differ: another version of the calendar"
        return Finding(line, SAME) if now == line else Finding(line, REVISED, (), detail)


def _imprecision(line: Line, grid: Grid, table: BarTable, *, may_round: bool) -> str:
    """Return why equal digests are no proof for a line: it is less precise than its bars allow."""
    finest, _ = finest_of(table)
    # The next coarser one is allowed, and noise of float32 changes it by one.
    if abs(grid.decimals - finest) > 1:
        return f"the grid {grid} hides differences; it must be raw/{finest}"
    if grid_of(table).has_fractions and not grid.has_fractions and not may_round:
        return f"the grid {grid} hides fractions of volumes; it must have exact-volume"
    edges = [ms for span in line.spans for ms in (span.start, span.end - 1)]
    return "" if np.isin(edges, table.stamps).all() else "its ranges are not from bar to bar"


def _owner_of(line: Line) -> tuple[str, str]:
    """Return symbol and vendor of a line."""
    return line.values["name"], line.values["vendor"]


def _series_of(line: Line) -> tuple[str, str, str]:
    """Return symbol, timeframe and lane of a line."""
    return line.values["name"], line.values["timeframe"], line.values["lane"]


def _months_now(table: BarTable, grid: Grid) -> dict[str, bytes]:
    """Return the eight bytes for each month of bars that has a digest."""
    first = month_of(int(table.stamps[0])) if len(table) else 0
    parts = enumerate(months_of(table, grid) if len(table) else ())
    return {str(np.datetime64(first + n, "M")): part for n, part in parts if any(part)}


def _what_changed(line: Line, now: Sequence[Paid]) -> str:
    """Return which split or dividend was changed, if one change makes today's list that of the receipt."""
    for rows, text in _earlier(line, list(now)):
        if sha256(actions_text(rows)) == line.digests[0]:
            return text
    return "which ones is not known"


def _earlier(line: Line, now: list[Paid]) -> Iterator[tuple[list[Paid], str]]:
    """Yield lists that differ from today's by one change, with the change that was made since."""
    splits = sum(a.type == "split" for a in now) - int(line.values["splits"])
    dividends = len(now) - int(line.values["splits"]) - int(line.values["dividends"]) - splits
    added = max(0, splits) + max(0, dividends)
    for new in combinations(now, added if 0 < added <= 2 else 0):
        yield [a for a in now if a not in new], f"since then added: {', '.join(map(str, new))}"
    first, last = date_of(line.spans[0].start), date_of(line.spans[0].end)
    days = [last - timedelta(n) for n in range(min(_MOST_DAYS, (last - first).days + 1))]
    if (splits, dividends) == (0, 0):
        for at, action in enumerate(now):
            rest = now[:at] + now[at + 1 :]
            for step in range(-_MOVED_DAYS, _MOVED_DAYS + 1):
                day = action.day + timedelta(step)
                yield [*rest, action._replace(day=day)], f"moved since then from {day}: {action}"
            cents = range(1, _MOST_CENTS if action.type == "dividend" else 1)
            for value in (Fraction(cent, 100) for cent in cents):
                yield [*rest, action._replace(value=value)], f"another amount since then: {action}"
    values = {a.value for a in now if a.type == "dividend"} if splits == 0 else _SPLITS
    if min(splits, dividends) == -1 and max(splits, dividends) == 0:
        for value in values:
            for day in (day for day in days if day.weekday() < 5):
                gone = Paid(day, "split" if splits else "dividend", value)
                yield [*now, gone], f"taken back since then: {gone}"
