"""Decides whether an endpoint may be tried: a circuit breaker without a clock of its own.

An endpoint is one thing that a vendor serves, such as ``bars/1d``. It is *closed* while it answers,
as a circuit is; *open* for a while after it failed: no caller asks; then *half-open*: exactly one
caller tries, and its outcome decides for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..errors import (
    AuthenticationError,
    CapabilityError,
    KindMismatchError,
    NoDataError,
    QualityError,
    RateLimitedError,
    RefusedError,
    ResponseFormatError,
    TransientError,
    UnsupportedError,
)
from .own_network import NO_CONNECTION

# A healthy endpoint is written down this often: an answer an hour costs nothing.
_NOTED_S = 3600.0

Outcome = Literal["answered", "says nothing", "failing", "unreadable", "refused", "locked out"]

# The first class that fits decides; whatever fits none says nothing about the vendor.
_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (RateLimitedError, "says nothing"),  # the limiter remembers it
    (TransientError, "failing"),
    (AuthenticationError, "locked out"),
    (RefusedError, "refused"),
    (ResponseFormatError, "unreadable"),
    (QualityError, "unreadable"),
    (CapabilityError, "says nothing"),  # mostly our own word: no vendor was asked
    (UnsupportedError, "answered"),
    (NoDataError, "answered"),
    (KindMismatchError, "answered"),
)


def outcome_of(error: BaseException | None) -> Outcome:
    """Return what the end of a call says about the vendor's health."""
    if error is None:
        return "answered"
    if getattr(error, "is_no_fault", False):
        return "says nothing"
    return next((outcome for kind, outcome in _OUTCOMES if isinstance(error, kind)), "says nothing")


@dataclass(frozen=True)
class BreakerTimings:
    """How much of one kind of failure is borne, and how long the endpoint then stays shut.

    Attributes:
        threshold: failures in a row that open the circuit.
        first_s: seconds until the first try; they double with every one that fails.
        cap_s: longest of them.
    """

    threshold: int
    first_s: float
    cap_s: float

    def cool_down(self, times: int) -> float:
        """Return the seconds to stay away after opening for the ``times``-th time in a row."""
        # The exponent is bounded: the cap is reached long before.
        return min(self.cap_s, self.first_s * 2.0 ** min(times - 1, 60))


@dataclass(frozen=True)
class Circuit:
    """What is known of one endpoint; times are seconds of one and the same clock.

    Attributes:
        failures: in a row.
        times: how often it was opened in a row.
        until_s: no caller asks before; 0 while closed.
        trial_until_s: one caller is trying and will have finished by then.
        answered_s: when it last answered, to the hour; 0 when never.
        reason: what the last failure was.
    """

    failures: int = 0
    times: int = 0
    until_s: float = 0.0
    trial_until_s: float = 0.0
    answered_s: float = 0.0
    reason: str = ""

    @property
    def is_closed(self) -> bool:
        """Whether all callers may ask."""
        return self.until_s == 0

    @property
    def is_unconnected(self) -> bool:
        """Whether the last failure was that no connection could be made."""
        return NO_CONNECTION in self.reason

    def shut_for(self, now_s: float) -> float:
        """Return the seconds until one caller may try, 0 when it may be asked now."""
        return 0.0 if self.is_closed else max(0.0, max(self.until_s, self.trial_until_s) - now_s)


@dataclass(frozen=True)
class CircuitPolicy:
    """When a circuit opens and how it closes again; decisions only.

    Attributes:
        failing: timeouts, broken connections, server errors.
        unreadable: answers that cannot be read, rows that cannot be bars.
        refused: not for this plan or region. An endpoint that answered within ``proof_s`` may have
            refused one symbol only: it takes ``refusals_in_doubt`` in a row.
        locked_out: the key itself is no good. Another key is another account, and another circuit.
        trial_s: how long one trial may take before the next one.
        proof_s: how long an answer proves that the endpoint is open to this account.
    """

    failing: BreakerTimings = BreakerTimings(5, 30.0, 300.0)
    unreadable: BreakerTimings = BreakerTimings(3, 300.0, 3600.0)
    refused: BreakerTimings = BreakerTimings(1, 900.0, 86_400.0)
    locked_out: BreakerTimings = BreakerTimings(1, 3600.0, 86_400.0)
    refusals_in_doubt: int = 3
    trial_s: float = 150.0
    proof_s: float = 86_400.0

    def enter(self, circuit: Circuit, now_s: float) -> Circuit:
        """Return the circuit with a trial under way; only where ``shut_for`` is 0."""
        return (
            circuit if circuit.is_closed else replace(circuit, trial_until_s=now_s + self.trial_s)
        )

    def leave(
        self, circuit: Circuit, outcome: Outcome, now_s: float, *, trial: bool, reason: str = ""
    ) -> Circuit:
        """Return the circuit after a call has ended; the very same where nothing changes.

        Args:
            circuit: as it is now, not as it was when the call began.
            outcome: of the call.
            now_s: when it ended.
            trial: whether it was the one that tried a half-open endpoint.
            reason: of a failure, in words.
        """
        if not circuit.is_closed and not trial:
            return circuit  # began before it was opened: the trial decides
        if outcome == "says nothing":
            return replace(circuit, trial_until_s=0.0) if trial else circuit
        if outcome == "answered":
            return self._answered(circuit, now_s)
        return self._failed(circuit, self._patience(circuit, outcome, now_s), now_s, reason)

    def blame(
        self, circuit: Circuit, before: Circuit, outcome: Outcome, now_s: float, reason: str = ""
    ) -> Circuit:
        """Return the circuit after an answer that was taken for good has turned out to be bad.

        What the answer had wiped out counts again: failures before it, and the trial it ended.

        Args:
            circuit: as it is now, the answer counted.
            before: as it was when the call began that brought the answer.
            outcome: what the answer was after all.
            now_s: when that was found.
            reason: in words.
        """
        if not circuit.is_closed or outcome in ("answered", "says nothing"):
            return circuit  # opened since: the next trial decides
        failures = max(before.failures, circuit.failures)
        counted = replace(before, failures=failures, answered_s=circuit.answered_s)
        return self._failed(counted, self._patience(circuit, outcome, now_s), now_s, reason)

    def _answered(self, circuit: Circuit, now_s: float) -> Circuit:
        is_fresh = circuit.answered_s > 0 and now_s - circuit.answered_s < _NOTED_S
        return Circuit(answered_s=circuit.answered_s if is_fresh else now_s)

    def _failed(
        self, circuit: Circuit, patience: BreakerTimings, now_s: float, reason: str
    ) -> Circuit:
        failures = circuit.failures + 1
        if circuit.is_closed and failures < patience.threshold:
            return replace(circuit, failures=failures, reason=reason)
        times = circuit.times + 1
        until_s = now_s + patience.cool_down(times)
        return Circuit(failures, times, until_s, 0.0, circuit.answered_s, reason)

    def _patience(self, circuit: Circuit, outcome: Outcome, now_s: float) -> BreakerTimings:
        if outcome == "failing":
            return self.failing
        if outcome == "unreadable":
            return self.unreadable
        if outcome == "locked out":
            return self.locked_out
        in_doubt = circuit.answered_s > 0 and now_s - circuit.answered_s < self.proof_s
        return replace(self.refused, threshold=self.refusals_in_doubt) if in_doubt else self.refused
