"""The state of an alert: what it has seen, and the message that its channel has not accepted yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ...core.model.request.outcome import Outcome
from ...core.model.time.instant import HOUR_MS, MINUTE_MS, SECOND_MS

# An attempt that takes longer than this is assumed to be from a process that has ended.
LEASE_MS = 5 * MINUTE_MS
# Wait before a message is sent again that was refused, or that may have arrived.
_WAIT_MS = 15 * MINUTE_MS
# Longest wait that a channel can request. A later time was stored while the clock was wrong.
LONGEST_WAIT_MS = HOUR_MS


@dataclass(frozen=True)
class AlertState:
    """The state of an alert; it contains only JSON values.

    Attributes:
        serial: Number of writes so far, which each write compares.
        seen_ms: Opening time of the last bar that was evaluated; None if there was none.
        is_beyond: Whether the value was beyond the threshold on that bar; None if it is unknown.
        fired_ms: Closing time of the bar on which the alert last fired; None if it has never fired.
        problems: Times of the problems that were reported.
        ended: Reason why the alert has ended; empty while it is active.
        message, message_id: Message that its channel has not accepted yet; empty if there is none.
        due_ms: Time of the next attempt to send the message or, during an attempt, the time after which
            its process is assumed to have ended.
        is_sending: Whether an attempt is in progress.
        is_repeated: Whether an earlier attempt may have delivered the message.
    """

    serial: int = 0
    seen_ms: int | None = None
    is_beyond: bool | None = None
    fired_ms: int | None = None
    problems: Sequence[int] = ()
    ended: str = ""
    message: str = ""
    message_id: str = ""
    due_ms: int = 0
    is_sending: bool = False
    is_repeated: bool = False

    @property
    def phase(self) -> str:
        """``new``, ``armed``, ``waiting`` (until the value moves back), or why the alert has ended."""
        if self.ended or self.seen_ms is None:
            return self.ended or "new"
        return "waiting" if self.is_beyond else "armed"

    def claimed(self, now_ms: int) -> AlertState:
        """Return the state for an attempt to send the message.

        If an attempt is already in progress, its process has ended, so the message may have arrived.
        """
        is_repeated, due_ms = self.is_repeated or self.is_sending, now_ms + LEASE_MS
        claim = replace(self, is_sending=True, is_repeated=is_repeated, due_ms=due_ms)
        return replace(claim, serial=self.serial + 1)

    def settled(self, outcome: Outcome, now_ms: int) -> AlertState:
        """Return the state after an attempt: a message that was not accepted is sent again later."""
        after = replace(self, serial=self.serial + 1, is_sending=False, due_ms=0)
        if outcome.status == "sent":
            return replace(after, message="", message_id="", is_repeated=False)
        wait_ms = round(min(LONGEST_WAIT_MS, outcome.wait_s * SECOND_MS))
        wait_ms = wait_ms if outcome.status == "later" else max(wait_ms, _WAIT_MS)
        is_repeated = self.is_repeated or outcome.status == "unknown"
        return replace(after, is_repeated=is_repeated, due_ms=now_ms + wait_ms)
