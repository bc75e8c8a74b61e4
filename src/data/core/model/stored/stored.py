"""Coverage, actions, sessions, commits and quarantine of stored series, as values and as frames.

Times are UTC milliseconds here and naive UTC ``datetime64[ns]`` in frames. Each call returns new
frames, which the caller may write to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..identity.kind import Basis
from ..identity.series import SeriesKey
from ..market.actions import Action, vendor_date
from ..market.bars import Bar, BarTable
from ..time.instant import day_ms, iso
from ..time.span import Span
from .reasons import Cause, cause_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Calculation",
    "CommitNotice",
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
class Calculation:
    """Result of calculating bars from stored ones.

    Attributes:
        key: Series of the calculated bars; its lane names the bars they were calculated from.
        rows: Number of calculated bars that are now stored.
        written: Number of bars stored by this calculation.
        gaps: Number of spans for which no bar could be built.
        lacking: Reason for the first such gap.
    """

    key: SeriesKey
    rows: int = 0
    written: int = 0
    gaps: int = 0
    lacking: str = ""

    def plus(self, rows: int, written: int, reasons: Sequence[str]) -> Calculation:
        """Return the totals after adding the result for one more span, with the reasons for its gaps."""
        return Calculation(
            self.key,
            self.rows + rows,
            self.written + written,
            self.gaps + len(reasons),
            self.lacking or next(iter(reasons), ""),
        )


@dataclass(frozen=True)
class KnownAction:
    """A split or a dividend, with every vendor's report of it.

    Attributes:
        action: Report that counts or, if the action is not applied, the report that would count.
        counts: Whether the action is applied to prices. It is not applied if, among the vendors
            that should know about it, more omit it than report it.
        is_settled: Whether more vendors support the report that counts than any other report.
        amount: Cash per share of a dividend, in terms of today's shares; NaN for a split.
        paid: Cash per share of a dividend, in terms of the shares on its ex-date; NaN for a split.
        currency: Currency of a dividend's amounts: the one its vendor reports, else that of the
            share's prices. Empty if neither is known, and for a split.
        pay_date: Pay date of a dividend (ISO); empty if no vendor that reports the dividend gives
            one.
        others: Maps each disagreeing vendor to its report, or to ``no split then`` if it should
            know about the action but does not report it. Empty if the vendors agree.
        gain_share: Part of a dividend that a vendor of this amount reports as a capital gain, 0 to 1.
        kind: ``split``, ``dividend`` or ``capital_gain``; empty before :attr:`by_kind`.
    """

    action: Action
    counts: bool = True
    is_settled: bool = True
    amount: float = _NAN
    paid: float = _NAN
    currency: str = ""
    pay_date: str = ""
    others: Mapping[str, str] = field(default_factory=dict)
    gain_share: Fraction = Fraction(0)
    kind: str = ""

    @property
    def by_kind(self) -> list[KnownAction]:
        """The action as one row for each kind: a dividend can be income, a capital gain, or both."""
        if not self.gain_share:
            return [replace(self, kind=self.action.type)]
        shares = {"dividend": 1 - self.gain_share, "capital_gain": self.gain_share}
        amount, paid = Fraction(str(self.amount)), Fraction(str(self.paid))
        return [
            replace(self, kind=kind, amount=float(amount * share), paid=float(paid * share))
            for kind, share in shares.items()
            if share
        ]

    @property
    def dispute(self) -> str:
        """The differing reports in one sentence; empty if the vendors agree."""
        return "; ".join(f"{vendor}: {text}" for vendor, text in sorted(self.others.items()))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary; numbers that do not apply are null."""
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
            "kind": self.kind or self.action.type,
        }


@dataclass(frozen=True)
class CoverageSpan:
    """A span of a series that was answered.

    Attributes:
        span: Open times of bars, ``[start, end)``; session dates at 00:00 UTC for daily and longer
            bars.
        state: ``final``; ``provisional`` (closed, may change); ``suspect`` (stored but doubtful);
            ``empty`` (fetched, and the vendor had no bar).
        vendor: Vendor that returned the bars, or reported that it had none; several vendors are
            joined by commas.
        reason: Reason why a span is ``empty`` or ``suspect``.
        basis: Adjustment of the stored prices, which are stored as fetched.
        fetched_at: Time of the request, UTC milliseconds; 0 if unknown.
        expires: Time from which the span no longer counts as answered; None means never.
        next_due: Time from which a new request can change the span, because it expires or its bars
            have settled; None if, as far as is known, no request can.
    """

    span: Span
    state: str
    vendor: str = ""
    reason: str = ""
    basis: Basis = Basis()
    fetched_at: int = 0
    expires: int | None = None
    next_due: int | None = None

    @property
    def cause(self) -> Cause:
        """Cause of the doubt in ``reason``; empty if that is not a doubt."""
        return cause_of(self.reason)

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
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
        day: Session date, which identifies daily bars.
        open_ms, close_ms: Times of the open and the close, UTC milliseconds; futures and currencies
            open on the previous evening.
        breaks: Pauses within the session, such as lunch.
        is_early_close: Whether the session closes earlier than usual for that day.
        next_due: Time from which the session's daily bar no longer changes: the open of the next
            session on an exchange, or two minutes after the close in a market that never closes.
        holidays_known: Whether the calendar has holidays on record. If not, every weekday counts as
            a session, and this one may be a holiday.
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
    """Stored bars of one series, from one generation.

    Attributes:
        series: Identity of the series.
        generation: Number of the latest commit to the series.
        table: Bars in ascending order; their arrays are read-only.
        coverage: Vendor and basis of every part of the bars' range.
    """

    series: SeriesKey
    generation: int
    table: BarTable
    coverage: tuple[CoverageSpan, ...] = ()


@dataclass(frozen=True)
class LoggedCommit:
    """One commit to a series, from its log.

    Attributes:
        generation: Number of the commit; pass it as ``version=`` to read the series as of this
            commit.
        at_ms: Time of the commit, UTC milliseconds; None if the log does not contain it.
        vendor: Source of the bars, with several vendors joined by commas; empty for a deletion.
        span: Span that the commit changed; None if it did not change any bars.
        added, changed, removed: Numbers of bars.
        years: Years of the bars that the commit changed.
        deleted: Call that deleted bars; empty if the commit did not delete any.
        is_recovered: Whether recovery restored the commit after a crash.
        is_kept: Whether the series can still be read as of this commit.
        is_pinned: Whether this state of the series is pinned, i.e. kept until it is unpinned.
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
        """Return a JSON-compatible dictionary."""
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
class CommitNotice:
    """A commit to a series that has just been made durable.

    Attributes:
        series: Series that was changed.
        generation: Number of the commit.
        at_ms: Time of the commit, UTC milliseconds.
        vendor: Source of the bars, with several vendors joined by commas; empty if unknown.
        span: Span that the commit covers; None if only the series' metadata changed.
        bars: Number of bars handed to the store, including unchanged ones.
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
    """A series' rejected bars and damaged files, which were set aside.

    Attributes:
        rows: Bars as received, each with its defect, and bars that their vendor withdrew
            (``withdrawn by ...``). If several have the same timestamp, the last one is the latest.
        files: Damaged files, and damaged ends of files, in the series' folder ``_quarantine``, each
            with its name and the reason.
    """

    rows: tuple[tuple[Bar, str], ...] = ()
    files: tuple[tuple[str, str], ...] = ()


def actions_frame(actions: Iterable[KnownAction]) -> pd.DataFrame:
    """Return a frame with one row per action that counts and kind, ordered by ex-date.

    Index ``ex_date`` (session dates at 00:00); columns ``type``, ``ratio`` (new shares per old
    share; NaN for a dividend), ``amount`` and ``paid`` (NaN for a split), ``currency`` (empty for a
    split), ``pay_date`` (NaT if unknown), ``source``, ``dispute``, ``kind``.
    """
    import pandas as pd

    rows = [row for action in actions if action.counts for row in action.by_kind]
    is_split = [row.action.type == "split" and row.action.is_sound for row in rows]
    ratios = [
        float(row.action.ratio) if split else _NAN
        for row, split in zip(rows, is_split, strict=True)
    ]
    columns = {
        "type": _texts([row.action.type for row in rows]),
        "ratio": np.array(ratios, dtype=np.float64),
        "amount": np.array([row.amount for row in rows], dtype=np.float64),
        "paid": np.array([row.paid for row in rows], dtype=np.float64),
        "currency": _texts([row.currency for row in rows]),
        "pay_date": _times([_date_ms(row.pay_date) for row in rows]),
        "source": _texts([row.action.source for row in rows]),
        "dispute": _texts([row.dispute for row in rows]),
        "kind": _texts([row.kind for row in rows]),
    }
    index = pd.DatetimeIndex(_times([day_ms(row.action.ex_date) for row in rows]), name="ex_date")
    return pd.DataFrame(columns, index=index)


def coverage_frame(parts: Iterable[tuple[SeriesKey, CoverageSpan]]) -> pd.DataFrame:
    """Return a frame with one row for each span, series by series.

    Columns ``lane`` (empty for the default one), ``start``, ``end``, ``state``, ``vendor``,
    ``reason``, ``next_due`` (NaT means never).
    """
    import pandas as pd

    rows = list(parts)
    return pd.DataFrame(
        {
            "lane": _texts([key.lane_label for key, _ in rows]),
            "start": _times([span.span.start for _, span in rows]),
            "end": _times([span.span.end for _, span in rows]),
            "state": _texts([span.state for _, span in rows]),
            "vendor": _texts([span.vendor for _, span in rows]),
            "reason": _texts([span.reason for _, span in rows]),
            "next_due": _times([span.next_due for _, span in rows]),
        }
    )


def sessions_frame(sessions: Iterable[SessionHours]) -> pd.DataFrame:
    """Return a frame with one row for each trading session.

    Index ``session`` (session dates at 00:00); columns ``open``, ``close``, ``early_close`` (bool),
    ``next_due``, ``holidays_known`` (bool).
    """
    import pandas as pd

    rows = list(sessions)
    index = pd.DatetimeIndex(_times([day_ms(hours.day) for hours in rows]), name="session")
    columns = {
        "open": _times([hours.open_ms for hours in rows]),
        "close": _times([hours.close_ms for hours in rows]),
        "early_close": np.array([hours.is_early_close for hours in rows], dtype=bool),
        "next_due": _times([hours.next_due for hours in rows]),
        "holidays_known": np.array([hours.holidays_known for hours in rows], dtype=bool),
    }
    return pd.DataFrame(columns, index=index)


def _times(values: list[int] | list[int | None]) -> np.ndarray[Any, np.dtype[np.datetime64]]:
    """Return UTC milliseconds as ``datetime64[ns]``; None becomes NaT."""
    times = ["NaT" if value is None else np.datetime64(value, "ms") for value in values]
    return np.array(times, dtype="M8[ms]").astype("M8[ns]")


def _date_ms(text: str) -> int | None:
    day = vendor_date(text)
    return day_ms(date.fromisoformat(day)) if day else None


def _texts(values: list[str]) -> Any:
    """Return strings in the dtype of the bars' extra columns, even if the list is empty."""
    import pandas as pd

    return pd.Series(values, dtype="str").array
