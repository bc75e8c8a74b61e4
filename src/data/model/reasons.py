"""Reasons: the codes that are stored or compared, and the sentences shown instead of them.

A reason is a code, or a code with free text before or after it, as ``docs/format.md`` lists them.
Codes are stored in files and compared by programs, so they never change. Other reasons are text,
such as the fault of a row (:func:`~src.data.prices.bar_rule.faults_of`).
"""

from __future__ import annotations

import re

# Data sent under a stamp at which no bar of its timeframe can open: for the stretch that lacks a
# bar because of it, and, as a prefix, for the rows in the quarantine.
OFF_GRID = "off_grid"
OFF_GRID_ROW = f"{OFF_GRID}: "
# Prefix, in the quarantine, for a bar that its vendor no longer sends.
WITHDRAWN = "withdrawn by "
# A stretch in which no bar is expected, and the harmless gap if none was requested.
CLOSED = "market closed"
UNASKED = f"{CLOSED}, not asked"
# Prefix for a stretch without bars at any vendor; a stretch before a listing.
NO_BAR, BEFORE_FIRST = "the vendor has no bar", "before the first bar"
# The same if the calendar has no holidays on record: the market may have been closed.
HOLIDAYS_UNKNOWN = f"{NO_BAR}; holidays of that time are unknown, it may have been one"
# Stretches for which vendors have no bar and sent none that had to be rejected.
PLAINLY_NONE = frozenset({NO_BAR, HOLIDAYS_UNKNOWN})
# Prefix for a stretch about whose bars the user is warned.
DOUBTFUL = "doubtful: "
# Prefix for bars that are possible but almost certainly wrong, and for such bars that turned out to
# be final.
GRAVE, SETTLED = "grave: ", "settled: "
# The same for bars that only the whole series proves wrong: next to a few neighbours they pass.
IN_WHOLE = f"{GRAVE}in the whole series: "
# A folded stretch, for readers that do not unfold it.
FOLDED = f"{DOUBTFUL}bars are lacking or not to be trusted here and there"
AFTER_LAST = "after the last bar"
UNPUBLISHED = "closed, not published yet"
DELETED = "deleted by another caller while it was read"
LOST = "the vendor does not have this bar any more"
FORMING = "forming"
SPOILT = "the vendor now sends something here that cannot be a bar"
UNEXPECTED = "outside the sessions of the market's calendar"
UNVOUCHED = "by our own clock alone, which nothing vouches for"
AHEAD = "fetched at a time that has not come yet: the clock was wrong then, or is now"
CHANGED = f"{DOUBTFUL}read from files on this machine that have changed since"
RELAID = f"{DOUBTFUL}read from files on this machine by another layout than that of the rules"
BEHIND = (
    f"{DOUBTFUL}as of when prices are adjusted is not known, for this machine's clock is behind"
)
# Bars that are missing for lack of trades, as far as is known: they are not a gap.
NO_TRADE = "no trade"
# Bars expected from a program that supplies a frame.
NOT_SUPPLIED = "not among the bars handed in"
# A row whose prices are those of a final bar times a factor.
RESCALED = "the prices of a final bar times a factor of splits or units"
# Ends of a doubt about an answer, and of one about the edges of two units.
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
    RELAID: "in doubt: read from files on this machine with a layout other than that in the rules",
    BEHIND: "in doubt: this machine's clock is behind, so how far prices are adjusted is unknown",
    NOT_SUPPLIED: "the program that supplied the other bars did not supply this one",
    RESCALED: "the prices are those of a final bar, multiplied by a split or unit factor",
}
# A bar made of others begins with how many of them are missing. The longest code decides; text
# follows a space or a separator, so that a longer code of a newer version stays as it is.
_ANY = "|".join(map(re.escape, sorted(_SENTENCES, key=len, reverse=True)))
_CODE = re.compile(rf"((?:\d+ of \d+ \S+ bars: )*)({_ANY})(?:(?<= )|\Z|(?=[:;]))")


def sentence(reason: str) -> str:
    """Return a reason as users read it; text without a code stays as it is."""
    found = _CODE.match(reason)
    return f"{found[1]}{_SENTENCES[found[2]]}{reason[found.end() :]}" if found else reason
