"""The results of filling the cache: by series, by vendor, and similar failures grouped together."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ...core.model.stored.lifetime import NO_BARS_SINCE
from ...core.model.stored.reasons import UNASKED, Cause, cause_of, sentence, why_ended
from ...errors import AllProvidersFailedError

if TYPE_CHECKING:
    from ...errors import DataError

# Maximum number of series named in a group of similar failures.
_NAMED = 5
# Advice for each reason of failure, better than the hint of whichever series failed first.
_ADVICE = {
    "unknown_symbol": "correct the symbols in the list; `onetape search NAME` finds symbols",
    "no_vendor": (
        "name a vendor for them in the rules; `onetape providers --matrix` lists what vendors serve"
    ),
    "no_key": "set the vendor's key, then run `onetape doctor`",
    "plan": "use a plan that includes them, or name another vendor in the rules",
    "region": "name another vendor in the rules",
    "quota": "run it again later; `onetape doctor` shows when the limit allows more",
    "timeout": "run it again; `onetape doctor` shows whether the vendor responds",
    "outage": "run it again later; `onetape doctor` shows when the vendor is queried again",
    "no_data": "start later, or omit them: the vendor has no bars in this range",
}
_LACKS = "`onetape gaps {}` shows which bars are missing, and when vendors are queried again"
_WRONG = "`onetape validate {}` shows which bars are wrong, and how to repair them"
_DOUBTS = "`onetape fetch {}` says what is not certain"
# Begins the note on a series whose faults the user has accepted.
ACCEPTED = "accepted: "
# Note about a series that is not cached.
OWN_FILES = "read from your own files, which are read when requested and not cached"
_ENDED = "said once; record a rename with `onetape db symbols import`, or leave the symbol out"
_IN_DOUBT = (
    "no bar is missing, but something is not certain, such as the latest splits and dividends"
)
# Parts in which similar failures may differ: numbers, dates and quoted text.
_PARTICULAR = re.compile(r"\d[\d,.:TZ-]*|'[^']*'")


@dataclass(frozen=True)
class SeriesResult:
    """The result of one series.

    Attributes:
        rows: Number of bars that are now stored for the range.
        fetched: Number of those bars that were fetched in this run.
        complete: Whether nothing is missing.
        vendors: Vendors that the bars are from.
        gaps: Number of spans without bars.
        wrong: First reason for which bars are almost certainly wrong; empty if there are none.
        lacking: Reason why the answer is incomplete apart from wrong bars: its first gap, a note that
            a substitute answered, or a doubt about its bars.
        ended: Start of the time without bars, because the symbol has ended or been renamed; empty if
            the series goes on.
        note: Sentence about that end, if this run was the first to see it, or about faults that the
            user has accepted; otherwise empty.
        unanswered: Reason why the vendors did not answer for a part of the series, even if a
            substitute (another kind of bars) filled in; empty if they answered for all parts.
        score: Worst quality score of the bars fetched now; None if there were none.
        error: Message of the error that ended work on the series; empty if there was none.
        reason: One-word reason for the error, from ``onetape.REASONS``.
        failed_at: Vendor that failed first; empty if none was queried.
        next_step: Recommended action, if known.
    """

    symbol: str
    timeframe: str
    rows: int = 0
    fetched: int = 0
    complete: bool = True
    vendors: tuple[str, ...] = ()
    gaps: int = 0
    wrong: str = ""
    lacking: str = ""
    ended: str = ""
    note: str = ""
    unanswered: str = ""
    score: float | None = None
    error: str = ""
    reason: str = ""
    failed_at: str = ""
    next_step: str = ""

    @property
    def ok(self) -> bool:
        """Whether every request was answered; bars that no vendor has do not count as a failure."""
        return not self.error

    @property
    def name(self) -> str:
        """The name of the series in the form that older callers use, such as ``AAPL_1d``."""
        return f"{self.symbol}_{self.timeframe}"

    @property
    def why(self) -> str:
        """The reason why the series is not complete, or a note about its end; empty if neither."""
        if self.error or self.complete:
            return self.error or self.note
        return "; ".join(filter(None, (self.wrong, self.lacking)))

    def failed(self, error: str, reason: str = "", next_step: str = "") -> SeriesResult:
        """Return the result so far, marked as incomplete because of an error."""
        return replace(self, complete=False, error=error, reason=reason, next_step=next_step)

    def failed_by(self, error: DataError) -> SeriesResult:
        """Return the result so far, marked as incomplete because of ``error``."""
        attempts = error.attempts if isinstance(error, AllProvidersFailedError) else ()
        vendor = attempts[0].provider if attempts else error.provider or ""
        result = self.failed(str(error), error.reason, error.hint or "")
        return replace(result, failed_at=vendor)

    def plus(self, provenance: Mapping[str, Any]) -> SeriesResult:
        """Return the result after adding one more part of the series, given its provenance."""
        rows = provenance["rows"]
        score = provenance.get("quality", {}).get("score")
        unasked = sum(gap["reason"] == UNASKED for gap in provenance.get("gaps", ()))
        return replace(
            self,
            rows=self.rows + rows,
            fetched=self.fetched + round(rows * (1 - provenance.get("from_cache", 1.0))),
            complete=self.complete and bool(provenance.get("complete", True)),
            vendors=tuple(sorted({*self.vendors, *provenance.get("vendors", ())})),
            gaps=self.gaps + int(provenance.get("gaps_total", 0)) - unasked,
            wrong=self.wrong or _reason_wrong(provenance),
            lacking=self.lacking or _reason_lacking(provenance),
            ended=provenance.get("ended") or self.ended,
            note=self.note or _note_of_end(provenance),
            unanswered=self.unanswered or provenance.get("unanswered") or "",
            score=min((s for s in (self.score, score) if s is not None), default=None),
        )


def _reason_wrong(provenance: Mapping[str, Any]) -> str:
    """Return why bars are almost certainly wrong; empty if there are none."""
    problems = provenance.get("problems", ())
    return sentence(next((text for text in problems if Cause.GRAVE in cause_of(text)), ""))


def _note_of_end(provenance: Mapping[str, Any]) -> str:
    """Return a sentence about the end of the series, if the answer was the first to see it."""
    problems = (text for text in provenance.get("problems", ()) if text.startswith(NO_BARS_SINCE))
    why = why_ended(gap["reason"] for gap in provenance.get("gaps", ()))
    return next((f"{text}; {why}" for text in problems), "")


def _reason_lacking(provenance: Mapping[str, Any]) -> str:
    """Return why an answer without wrong bars is incomplete: a gap, a substitute, or a doubt."""
    gaps = provenance.get("gaps") or ()
    if first := next((gap for gap in gaps if gap["reason"] != UNASKED), None):
        return f"no bars {first['start']}..{first['end']}: {sentence(first['reason'])}"
    if substitute := provenance.get("substitute"):
        return f"answered by a substitute of a different kind: {substitute}"
    is_sure = provenance.get("complete", True) or not provenance["rows"]
    return "" if is_sure or _reason_wrong(provenance) else _IN_DOUBT


@dataclass
class BackfillReport:
    """The results of a job, one for each series, in the order of the work.

    Attributes:
        requests: Maps each vendor to the numbers of requests sent and answered during the job.
        symbols: Symbols that vendors were queried for, as spelled in the store.
    """

    results: list[SeriesResult] = field(default_factory=list)
    interrupted: bool = False
    requests: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    symbols: frozenset[str] = frozenset()

    def statistics(self, cache_stats: dict[str, Any]) -> dict[str, Any]:
        """Return the report as a JSON-compatible dictionary, with ``cache_stats`` included unchanged.

        The first four keys are for older callers.
        """
        good = [r for r in self.results if r.ok]
        failed = [r for r in self.results if not r.ok]
        return {
            "success": [r.name for r in good],
            "failed": [r.name for r in failed],
            "cache_stats": cache_stats,
            "data_quality": {
                r.name: {"score": r.score, "gaps": r.gaps, "rows": r.rows, "complete": r.complete}
                for r in good
            },
            "errors": {r.name: r.error for r in failed},
            "interrupted": self.interrupted,
            "results": [{**vars(r), "vendors": list(r.vendors)} for r in self.results],
            "reasons": [group.to_json() for group in reason_groups(self.results)],
            "requests": {name: dict(counts) for name, counts in self.requests.items()},
        }


@dataclass(frozen=True)
class ReasonGroup:
    """Series that are incomplete for the same reason, or that have ended.

    Attributes:
        why: Reason, as given for the first series of the group.
        series: Names of the series, in the order of the work.
        next_step: Recommended action.
        is_failure: Whether the series failed; if not, they only lack bars that no vendor has, or
            were first seen to have ended.
        noun: Word for the members of the group, if they are not series.
    """

    why: str
    series: Sequence[str]
    next_step: str = ""
    is_failure: bool = True
    noun: str = "series"

    def __str__(self) -> str:
        if len(self.series) == 1:
            return f"{self.series[0]}: {self.why}"
        named = ", ".join(self.series[:_NAMED])
        more = len(self.series) - _NAMED
        named += f" and {more:,} more" if more > 0 else ""
        return f"{len(self.series):,} {self.noun} ({named}): {self.why}"

    def to_json(self) -> dict[str, Any]:
        """Return the group as a JSON-compatible dictionary."""
        return {
            "why": self.why,
            "count": len(self.series),
            "series": list(self.series),
            "next_step": self.next_step,
            "failed": self.is_failure,
        }


def reason_groups(results: Iterable[SeriesResult]) -> list[ReasonGroup]:
    """Return the incomplete series, and those just seen to have ended, by reason, largest group first.

    Errors belong together if they have the same reason and vendor; other messages belong together
    if they differ only in symbols, timeframes, numbers and dates.
    """
    by_reason: dict[tuple[bool, str], tuple[SeriesResult, list[str]]] = {}
    for result in results:
        if reason := result.why:
            named = reason.replace(result.symbol, "*").replace(result.timeframe, "*")
            general = _PARTICULAR.sub("*", named)
            if result.failed_at:
                general = f"{result.reason} of {result.failed_at}"
            _, names = by_reason.setdefault((result.ok, general), (result, []))
            names.append(f"{result.symbol} {result.timeframe}".strip())
    groups = [
        ReasonGroup(first.why, names, _step(first), not first.ok)
        for first, names in _without_pauses(list(by_reason.values()))
    ]
    return sorted(groups, key=lambda group: -len(group.series))


def _without_pauses(
    groups: list[tuple[SeriesResult, list[str]]],
) -> Iterator[tuple[SeriesResult, list[str]]]:
    """Yield the groups, moving a paused vendor's series to the group of the failure that paused it."""
    causes = {
        first.failed_at: names
        for first, names in reversed(groups)
        if first.failed_at and not _is_paused(first)
    }
    for first, names in groups:
        if _is_paused(first) and first.failed_at in causes:
            causes[first.failed_at] += names
        else:
            yield first, names


def _is_paused(result: SeriesResult) -> bool:
    return f"{result.failed_at} is paused" in result.error


def _step(first: SeriesResult) -> str:
    """Return the advice for a group; ``first`` is the result of the group's first series."""
    if first.ok:
        if first.complete:
            return "" if first.note.startswith((ACCEPTED, OWN_FILES)) else _ENDED
        advice = _WRONG if first.wrong else _LACKS if first.gaps else _DOUBTS
        return advice.format(f"{first.symbol} {first.timeframe}")
    return _ADVICE.get(first.reason) or first.next_step


def requests_between(
    before: Mapping[str, tuple[int, int]], after: Mapping[str, tuple[int, int]]
) -> dict[str, dict[str, int]]:
    """Return, for each vendor, how many requests were sent and answered between two counts."""
    counted: dict[str, dict[str, int]] = {}
    for vendor, (sent, good) in after.items():
        sent_before, good_before = before.get(vendor, (0, 0))
        if sent > sent_before:
            counted[vendor] = {"sent": sent - sent_before, "answered": good - good_before}
    return counted
