"""Coverage, actions, sessions, commits and quarantine as values, and as frames.

Times are UTC milliseconds here and naive UTC ``datetime64[ns]`` in frames. Frames are new with each
call: the caller may write into them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from .actions import Action, told_date
from .bars import Bar, BarTable
from .instant import SECOND_MS, day_ms, iso
from .kind import Basis
from .series import SeriesKey
from .span import Span

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Calculated",
    "CommitNotice",
    "ComparedBars",
    "CoverageSpan",
    "KnownAction",
    "LoggedCommit",
    "Quarantined",
    "SessionHours",
    "StoredColumns",
    "actions_frame",
    "coverage_frame",
    "sessions_frame",
]

_NAN = float("nan")


@dataclass(frozen=True)
class Calculated:
    """What came of bars that were calculated out of stored ones.

    Attributes:
        key: their series, whose lane names what they are made of.
        rows: how many there are now.
        written: how many of them were stored just now.
        gaps: stretches for which none could be made.
        lacking: why, of the first of these.
    """

    key: SeriesKey
    rows: int = 0
    written: int = 0
    gaps: int = 0
    lacking: str = ""

    def plus(self, rows: int, written: int, reasons: Sequence[str]) -> Calculated:
        """Return the same with one more stretch; ``reasons``: of its gaps."""
        return Calculated(
            self.key,
            self.rows + rows,
            self.written + written,
            self.gaps + len(reasons),
            self.lacking or next(iter(reasons), ""),
        )


@dataclass(frozen=True)
class KnownAction:
    """A split or a dividend, with the reports of all vendors.

    Attributes:
        action: the report that counts; where none does, the one that would.
        counts: whether it is applied to prices; not so where more vendors that should know it omit
            it than report it.
        is_settled: whether what counts has more vendors behind it than anything else.
        amount: of a dividend, cash per share as shares are today; NaN of a split.
        paid: of a dividend, cash per share as shares were on its ex-date; NaN of a split.
        currency: of a dividend's amounts: as its vendor tells it, else that of the share's prices;
            empty where neither is known, and of a split.
        pay_date: of a dividend, ISO; empty where no vendor that reports it tells one.
        others: vendor to its differing report, ``no split then`` where it should know it and
            reports none; empty where vendors agree.
    """

    action: Action
    counts: bool = True
    is_settled: bool = True
    amount: float = _NAN
    paid: float = _NAN
    currency: str = ""
    pay_date: str = ""
    others: Mapping[str, str] = field(default_factory=dict)

    @property
    def dispute(self) -> str:
        """The differing reports in one sentence; empty where vendors agree."""
        return "; ".join(f"{vendor}: {text}" for vendor, text in sorted(self.others.items()))

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping; numbers that there are none of are null."""
        is_split = self.action.type == "split"
        return {
            "ex_date": self.action.ex_date.isoformat(),
            "type": self.action.type,
            "ratio": float(self.action.ratio) if is_split and self.action.is_sound else None,
            "amount": None if is_split else self.amount,
            "paid": None if is_split else self.paid,
            "currency": self.currency or None,
            "pay_date": self.pay_date or None,
            "source": self.action.source,
            "dispute": self.dispute,
            "counts": self.counts,
        }


@dataclass(frozen=True)
class CoverageSpan:
    """One stretch of a series that was answered for.

    Attributes:
        span: open stamps ``[start, end)``; of daily and longer bars session dates at 00:00.
        state: ``final``; ``provisional`` (closed, may change); ``suspect`` (stored and doubted);
            ``empty`` (fetched, and the vendor had no bar).
        vendor: the vendor that supplied the bars, or had none; several are joined by commas.
        reason: of ``empty`` and ``suspect`` spans, why they are.
        basis: what the stored prices were adjusted for, as they were fetched.
        fetched_at: time of the request, UTC milliseconds; 0 where it is unknown.
        expires: from when the span no longer counts as answered for; None: never.
        next_due: from when a new request can change the span: when it expires, or when its bars
            have settled; None: never, as of now.
    """

    span: Span
    state: str
    vendor: str = ""
    reason: str = ""
    basis: Basis = Basis()
    fetched_at: int = 0
    expires: int | None = None
    next_due: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "state": self.state,
            "vendor": self.vendor,
            "reason": self.reason,
            "next_due": None if self.next_due is None else iso(self.next_due),
        }


@dataclass(frozen=True)
class SessionHours:
    """One trading day of a market.

    Attributes:
        day: the session date, by which daily bars are named.
        open_ms, close_ms: ``[open, close)``; futures and currencies open the evening before.
        breaks: the pauses in between, such as lunch.
        is_early_close: whether it closes before the usual hour of that day.
        next_due: from when its daily bar does not change any more: the open of the next session of
            an exchange; two minutes behind the close of a market that goes on.
        holidays_known: False where the calendar has no holidays on record: then every weekday counts
            as a session, and this one may be a holiday.
    """

    day: date
    open_ms: int
    close_ms: int
    breaks: tuple[Span, ...] = ()
    is_early_close: bool = False
    next_due: int = 0
    holidays_known: bool = True


@dataclass(frozen=True)
class StoredColumns:
    """Bars of one series as they are stored, of one generation.

    Attributes:
        series: identity of the series.
        generation: number of the last commit to the series.
        table: the columns, ascending by stamp; their arrays cannot be written to.
        coverage: vendor and basis of every part of the stretch.
    """

    series: SeriesKey
    generation: int
    table: BarTable
    coverage: tuple[CoverageSpan, ...] = ()


@dataclass(frozen=True)
class LoggedCommit:
    """One commit to a series, out of its log.

    Attributes:
        generation: its number, by which ``version=`` asks for the series as it stood after it.
        at_ms: its time, UTC milliseconds; None where the log does not have it.
        vendor: source of the bars; several are joined by commas, empty of a deletion.
        span: the stretch that it changed; None where there is none.
        added, changed, removed: bars.
        years: the years of stamps that it touched.
        deleted: the call that deleted bars; empty where none did.
        is_recovered: whether recovery after a crash restored it.
        is_kept: whether the series can still be read as it was then.
        is_pinned: whether that is kept until it is unpinned.
    """

    generation: int
    at_ms: int | None
    vendor: str
    span: Span | None
    added: int
    changed: int
    removed: int
    years: tuple[int, ...] = ()
    deleted: str = ""
    is_recovered: bool = False
    is_kept: bool = True
    is_pinned: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "generation": self.generation,
            "at": None if self.at_ms is None else iso(self.at_ms),
            "vendor": self.vendor,
            "start": iso(self.span.start) if self.span else None,
            "end": iso(self.span.end) if self.span else None,
            "added": self.added,
            "changed": self.changed,
            "removed": self.removed,
            "deleted": self.deleted,
            "recovered": self.is_recovered,
            "kept": self.is_kept,
            "pinned": self.is_pinned,
        }


@dataclass(frozen=True)
class ComparedBars:
    """A stretch of stored bars, and how it compared with what another vendor had.

    Attributes:
        span: stamps, half-open.
        vendor: which was asked.
        at_ms: when, UTC milliseconds.
        bars: how many there are.
        confirmed, contradicted: how many of them it has alike, and otherwise. It lacks the rest, or has
            them otherwise for a known or a slight reason.
        first: stamp of the first contradicted one.
        said: the differences, or why nothing was compared.
    """

    span: Span
    vendor: str
    at_ms: int
    bars: int
    confirmed: int = 0
    contradicted: int = 0
    first: int | None = None
    said: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the plain mapping."""
        return {
            "start": iso(self.span.start),
            "end": iso(self.span.end),
            "vendor": self.vendor,
            "at": iso(self.at_ms // SECOND_MS * SECOND_MS),
            "bars": self.bars,
            "confirmed": self.confirmed,
            "contradicted": self.contradicted,
            "first": None if self.first is None else iso(self.first),
            "said": self.said,
        }


@dataclass(frozen=True)
class CommitNotice:
    """A commit that has just been made durable.

    Attributes:
        series: the series that it changed.
        generation: its number.
        at_ms: its time, UTC milliseconds.
        vendor: source of the bars; several are joined by commas, empty where it is unknown.
        span: the stretch answered for; None where only metadata of the series changed.
        bars: how many were handed to the store, unchanged ones among them.
    """

    name: ClassVar[str] = "a commit"

    series: SeriesKey
    generation: int
    at_ms: int
    vendor: str
    span: Span | None
    bars: int


@dataclass(frozen=True)
class Quarantined:
    """Rejected bars and damaged files of a series, which are kept aside.

    Attributes:
        rows: bars as received, each with its defect; also bars that their vendor
            withdrew (``withdrawn by ...``). Of those sent for one stamp the last is the newest.
        files: names of damaged files and tails in the folder ``_quarantine`` of the series, each
            with the reason.
    """

    rows: tuple[tuple[Bar, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()


def actions_frame(actions: Iterable[KnownAction]) -> pd.DataFrame:
    """Return one row for each action that counts, by ex-date.

    Index ``ex_date`` (session dates at 00:00); columns ``type``, ``ratio`` (new shares for an old
    one; NaN of a dividend), ``amount`` and ``paid`` (NaN of a split), ``currency`` (empty of a split),
    ``pay_date`` (NaT where it is not told), ``source``, ``dispute``.
    """
    import pandas as pd

    rows = [one for one in actions if one.counts]
    is_split = [one.action.type == "split" and one.action.is_sound for one in rows]
    ratios = [
        float(one.action.ratio) if split else _NAN
        for one, split in zip(rows, is_split, strict=True)
    ]
    columns = {
        "type": _texts([one.action.type for one in rows]),
        "ratio": np.array(ratios, dtype=np.float64),
        "amount": np.array([one.amount for one in rows], dtype=np.float64),
        "paid": np.array([one.paid for one in rows], dtype=np.float64),
        "currency": _texts([one.currency for one in rows]),
        "pay_date": _times([_date_ms(one.pay_date) for one in rows]),
        "source": _texts([one.action.source for one in rows]),
        "dispute": _texts([one.dispute for one in rows]),
    }
    index = pd.DatetimeIndex(_times([day_ms(one.action.ex_date) for one in rows]), name="ex_date")
    return pd.DataFrame(columns, index=index)


def coverage_frame(parts: Iterable[tuple[SeriesKey, CoverageSpan]]) -> pd.DataFrame:
    """Return one row for each stretch, series by series.

    Columns ``lane`` (empty for the default one), ``start``, ``end``, ``state``, ``vendor``,
    ``reason``, ``next_due`` (NaT: never).
    """
    import pandas as pd

    rows = list(parts)
    return pd.DataFrame(
        {
            "lane": _texts([key.lane_label for key, _ in rows]),
            "start": _times([part.span.start for _, part in rows]),
            "end": _times([part.span.end for _, part in rows]),
            "state": _texts([part.state for _, part in rows]),
            "vendor": _texts([part.vendor for _, part in rows]),
            "reason": _texts([part.reason for _, part in rows]),
            "next_due": _times([part.next_due for _, part in rows]),
        }
    )


def sessions_frame(sessions: Iterable[SessionHours]) -> pd.DataFrame:
    """Return one row for each session.

    Index ``session`` (session dates at 00:00); columns ``open``, ``close``, ``early_close`` (bool),
    ``next_due``, ``holidays_known`` (bool).
    """
    import pandas as pd

    rows = list(sessions)
    index = pd.DatetimeIndex(_times([day_ms(one.day) for one in rows]), name="session")
    columns = {
        "open": _times([one.open_ms for one in rows]),
        "close": _times([one.close_ms for one in rows]),
        "early_close": np.array([one.is_early_close for one in rows], dtype=bool),
        "next_due": _times([one.next_due for one in rows]),
        "holidays_known": np.array([one.holidays_known for one in rows], dtype=bool),
    }
    return pd.DataFrame(columns, index=index)


def _times(values: list[int] | list[int | None]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Return UTC milliseconds as ``datetime64[ns]``; None is NaT."""
    times = ["NaT" if value is None else np.datetime64(value, "ms") for value in values]
    return np.array(times, dtype="M8[ms]").astype("M8[ns]")


def _date_ms(text: str) -> int | None:
    day = told_date(text)
    return day_ms(date.fromisoformat(day)) if day else None


def _texts(values: list[str]) -> Any:
    """Return texts as the extra columns of bars have them, also where there is none."""
    import pandas as pd

    return pd.Series(values, dtype="str").array
