"""Reasons for states and gaps: codes that are stored and compared, and the sentences users see.

A reason is a code, perhaps with free text before or after it. ``docs/format.md`` lists the codes;
they are stored in files and compared by programs, so they never change. Other reasons are plain
text, such as the fault of a row (:func:`~onetape.data.core.prices.bar_rule.faults_of`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Flag, auto
from functools import lru_cache, reduce
from operator import or_

from ..time.instant import date_of

# A row has a timestamp at which no bar of its timeframe can open. Used for the span that lacks a
# bar because of it and, as a prefix, for the row in the quarantine.
OFF_GRID = "off_grid"
OFF_GRID_ROW = f"{OFF_GRID}: "
# Prefix for a bar in the quarantine that its vendor no longer sends.
WITHDRAWN = "withdrawn by "
# A span in which no bar is expected, and the harmless gap in an answer that consists only of it.
CLOSED = "market closed"
UNASKED = f"{CLOSED}, not asked"
# Prefix for a span for which no vendor has bars; a span before a listing.
NO_BAR, BEFORE_FIRST = "the vendor has no bar", "before the first bar"
# Used instead if the calendar has no holidays on record, so that the market may have been closed.
HOLIDAYS_UNKNOWN = f"{NO_BAR}; holidays of that time are unknown, it may have been one"
# Spans for which vendors have no bars, and for which no received bar had to be rejected.
PLAINLY_NONE = frozenset({NO_BAR, HOLIDAYS_UNKNOWN})
# Prefix for a span whose bars come with a warning.
DOUBTFUL = "doubtful: "
# Prefixes for bars that are possible but almost certainly wrong, and for such bars after they were
# confirmed as final.
GRAVE, SETTLED = "grave: ", "settled: "
# Prefix for grave bars that stand out only in the whole series, not next to a few neighbours.
IN_WHOLE = f"{GRAVE}in the whole series: "
# A folded coverage entry, for readers that do not unfold it.
FOLDED = f"{DOUBTFUL}bars are lacking or not to be trusted here and there"
AFTER_LAST = "after the last bar"
# Prefix for a span after the end of data that do not come from a market, such as a user's files.
DATA_ENDS = "the data ends on "
UNPUBLISHED = "closed, not published yet"
DELETED = "deleted by another caller while it was read"
LOST = "the vendor does not have this bar any more"
FORMING = "forming"
SPOILT = "the vendor now sends something here that cannot be a bar"
# Prefix for bars that were fetched close to a split.
NEAR_SPLIT = "fetched within a week of the "
# Prefix for the slot of a row that a vendor sent and that is in no answer.
REJECTED = "a row that cannot be a bar: "
UNEXPECTED = "outside the sessions of the market's calendar"
UNVOUCHED = "by our own clock alone, which nothing vouches for"
AHEAD = "fetched at a time that has not come yet: the clock was wrong then, or is now"
BEHIND = (
    f"{DOUBTFUL}as of when prices are adjusted is not known, for this machine's clock is behind"
)
# Bars that are apparently missing because nothing traded; this is not a gap.
NO_TRADE = "no trade"
# Bars that were not requested, because the call allowed no request.
UNCACHED = "not cached, and offline"
# Bars that were expected from user code that supplied a frame, but are not in it.
NOT_SUPPLIED = "not among the bars handed in"
# A row whose prices are those of a final bar multiplied by a factor.
RESCALED = "the prices of a final bar times a factor of splits or units"
# Endings of reasons for doubt: about an answer, and about where two units of prices meet.
DID_NOT_COME = "expected bars did not come"
UNDECIDED = "; which of the two units is right cannot be told"

_SENTENCES = {
    OFF_GRID: "the vendor sent a row at a time at which no bar can open",
    OFF_GRID_ROW: "",
    CLOSED: "the market was closed",
    UNASKED: "the market was closed, and no vendor was queried",
    HOLIDAYS_UNKNOWN: f"{NO_BAR}; holidays at that time are unknown, so it may have been one",
    DOUBTFUL: "in doubt: ",
    GRAVE: "almost certainly wrong: ",
    IN_WHOLE: "almost certainly wrong, as the whole series shows: ",
    SETTLED: "unusual, but confirmed: ",
    FOLDED: "in doubt: some bars are missing or cannot be trusted",
    UNPUBLISHED: "closed, but not published yet",
    LOST: "the vendor no longer has this bar",
    FORMING: "the bar has not closed yet",
    SPOILT: "the vendor now sends a row here that cannot be a bar",
    UNVOUCHED: "only this machine's clock shows that these bars have closed",
    AHEAD: "fetched at a time that has not come yet: this machine's clock was wrong then, or is now",
    BEHIND: "in doubt: this machine's clock is behind, so how far prices are adjusted is unknown",
    NOT_SUPPLIED: "the program that supplied the other bars did not supply this one",
    RESCALED: "the prices are those of a final bar, multiplied by a split or unit factor",
}
# The reason for a bar built from shorter ones begins with the number of these that are missing. The
# longest matching code decides. Text may follow only after a space or a separator, so that a longer
# code from a newer version is left unchanged.
_ANY = "|".join(map(re.escape, sorted(_SENTENCES, key=len, reverse=True)))
_CODE = re.compile(rf"((?:\d+ of \d+ \S+ bars: )*)({_ANY})(?:(?<= )|\Z|(?=[:;]))")
# Reasons that this library writes without quoting a vendor or a file.
_OWN = "|".join(
    map(
        re.escape,
        (
            *(code for code in _SENTENCES if not code.endswith(": ")),
            *(NO_BAR, BEFORE_FIRST, AFTER_LAST, DELETED, UNEXPECTED, NO_TRADE, UNCACHED),
        ),
    )
)
_DATED = rf"{DATA_ENDS}[\d-]+|{REJECTED}[a-z ]+|{NEAR_SPLIT}split of [\d.:]+ on [\d-]+"
_IS_OWN = rf"(\d+ of \d+ \S+ bars: )*({_OWN}|{_DATED})(; ({_OWN}|{_DATED}))*"


class Cause(Flag):
    """Cause of a doubt about bars.

    It is stored in a reason, as its beginning or ending; see :func:`cause_of`.

    Attributes:
        DOUBTFUL: The answer as a whole, or the date of its price adjustment, is in doubt.
        LACKING: Expected bars are missing from the answer, so that the others are in doubt.
        GRAVE: The bars are almost certainly wrong.
        IN_WHOLE: Only the whole series proves that the bars are grave.
        ADJ_CLOSE: The bars are grave, because they contradict their own adjusted close.
        UNDECIDED: The bars are grave, because two units of prices meet, and either may be right.
        SETTLED: The bars were grave, and have been confirmed.
    """

    DOUBTFUL = auto()
    LACKING = auto()
    GRAVE = auto()
    IN_WHOLE = auto()
    ADJ_CLOSE = auto()
    UNDECIDED = auto()
    SETTLED = auto()


_BEGINNINGS = {
    DOUBTFUL: Cause.DOUBTFUL,
    GRAVE: Cause.GRAVE,
    IN_WHOLE: Cause.IN_WHOLE,
    f"{GRAVE}adjusted close: ": Cause.ADJ_CLOSE,
    SETTLED: Cause.SETTLED,
}
_ENDINGS = {DID_NOT_COME: Cause.LACKING, UNDECIDED: Cause.UNDECIDED}


@lru_cache(1024)
def cause_of(reason: str) -> Cause:
    """Return the cause of a doubt from the reason that is stored; empty if the reason is not a doubt."""
    causes = [cause for text, cause in _BEGINNINGS.items() if reason.startswith(text)]
    causes += [cause for text, cause in _ENDINGS.items() if causes and reason.endswith(text)]
    return reduce(or_, causes, Cause(0))


def data_ends(end_ms: int) -> str:
    """Return the reason for a span without bars after the end of data.

    Args:
        end_ms: First timestamp without a bar, directly after that of the last bar.
    """
    return f"{DATA_ENDS}{date_of(end_ms - 1)}"


def is_harmless_end(reason: str) -> bool:
    """Return whether a gap's reason is that the series has ended; symbol changes may precede it."""
    return reason.endswith(AFTER_LAST)


def why_ended(reasons: Iterable[str]) -> str:
    """Return why a series has ended, from the reasons for its gaps: a recorded change, if any."""
    ends = [reason.removesuffix(AFTER_LAST) for reason in reasons if is_harmless_end(reason)]
    return "".join(ends[-1:]).removesuffix("; ") or "the symbol has ended or been renamed"


def is_own(reason: str) -> bool:
    """Return whether a reason is certainly this library's own words; others may quote a vendor."""
    return re.fullmatch(_IS_OWN, reason) is not None


def sentence(reason: str) -> str:
    """Return a reason in the wording that users see; text without a code is returned unchanged."""
    match = _CODE.match(reason)
    return f"{match[1]}{_SENTENCES[match[2]]}{reason[match.end() :]}" if match else reason
