"""A circuit breaker, which decides whether an endpoint may be queried.

It has no clock of its own. An endpoint is one class of data that a vendor serves, such as
``bars/1d``. An endpoint's circuit is *closed* while the endpoint answers. After failures the
circuit is *open* for a while, and no caller sends requests. Then it is *half-open*: exactly one
caller makes a trial, and its outcome decides for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ....errors import (
    AuthenticationError,
    CapabilityError,
    EntitlementError,
    KindMismatchError,
    NoDataError,
    ProviderTimeoutError,
    QualityError,
    RateLimitedError,
    RefusedError,
    ResponseFormatError,
    TransientError,
    UnavailableError,
    UnsupportedError,
)
from .own_network import NO_CONNECTION

# Interval at which answers of a healthy endpoint are recorded; once an hour costs nothing.
_RECORDED_EVERY_S = 3600.0

Outcome = Literal["answered", "says nothing", "failing", "unreadable", "refused", "locked out"]

# The first matching class decides; an error that matches none says nothing about the vendor.
_OUTCOMES: tuple[tuple[type[BaseException], Outcome], ...] = (
    (RateLimitedError, "says nothing"),  # the limiter remembers it
    (TransientError, "failing"),
    (AuthenticationError, "locked out"),
    (RefusedError, "refused"),
    (ResponseFormatError, "unreadable"),
    (QualityError, "unreadable"),
    (CapabilityError, "says nothing"),  # usually decided without querying the vendor
    (UnsupportedError, "answered"),
    (NoDataError, "answered"),
    (KindMismatchError, "answered"),
)


def outcome_of(error: BaseException | None) -> Outcome:
    """Return how a call counts toward its circuit breaker.

    An error that is not the vendor's fault does not count; its outcome is ``says nothing``.
    """
    if error is None:
        return "answered"
    if getattr(error, "is_no_fault", False):
        return "says nothing"
    return next((outcome for cls, outcome in _OUTCOMES if isinstance(error, cls)), "says nothing")


@dataclass(frozen=True)
class BreakerTimings:
    """The number of failures of one kind that opens a circuit, and the time for which it stays open.

    Attributes:
        threshold: Number of failures in a row that opens the circuit.
        first_s: Seconds from the opening to the first trial; the wait doubles with every failed
            trial.
        cap_s: Longest wait in seconds.
    """

    threshold: int
    first_s: float
    cap_s: float

    def cool_down(self, times: int) -> float:
        """Return the seconds to wait after the circuit has opened ``times`` times in a row."""
        # The exponent is bounded, as the cap is reached long before.
        return min(self.cap_s, self.first_s * 2.0 ** min(times - 1, 60))


@dataclass(frozen=True)
class Circuit:
    """The state of one endpoint's circuit; all times are in seconds, measured on the same clock.

    Attributes:
        failures: Number of failures in a row.
        times: Number of times the circuit was opened in a row.
        until_s: Time until which no caller sends requests; 0 while the circuit is closed.
        trial_until_s: Time by which the trial in progress will have ended.
        answered_s: Time of the latest response, accurate to an hour; 0 if there was none.
        reason: Description of the last failure.
        symbols: Symbols, one per line, whose answers could not be read since the last good answer
            or since the circuit opened.
    """

    failures: int = 0
    times: int = 0
    until_s: float = 0.0
    trial_until_s: float = 0.0
    answered_s: float = 0.0
    reason: str = ""
    symbols: str = ""

    @property
    def is_closed(self) -> bool:
        """Whether all callers may send requests."""
        return self.until_s == 0

    @property
    def is_unconnected(self) -> bool:
        """Whether the last failure was a connection that could not be made."""
        return NO_CONNECTION in self.reason

    @property
    def is_outage(self) -> bool:
        """Whether the last failure was one that may have ended by now."""
        return self.reason.startswith((UnavailableError.__name__, ProviderTimeoutError.__name__))

    @property
    def is_endpoint_only(self) -> bool:
        """Whether the last failure implies nothing about the vendor's other endpoints."""
        return self.reason.startswith((EntitlementError.__name__, QualityError.__name__))

    def shut_for(self, now_s: float) -> float:
        """Return the seconds until one caller may make a trial, or 0 if requests are allowed now."""
        return 0.0 if self.is_closed else max(0.0, max(self.until_s, self.trial_until_s) - now_s)


@dataclass(frozen=True)
class CircuitPolicy:
    """The policy that decides when a circuit opens and closes. It has no side effects.

    Attributes:
        failing: Tolerance for timeouts, broken connections and server errors.
        unreadable: Tolerance for responses that cannot be parsed, and rows that are not valid bars.
            Those for one symbol count once, because only its data may be at fault: a vendor that
            has changed its format fails for different symbols.
        refused: Tolerance for refusals because of the plan or region. An endpoint that answered
            within ``proof_s`` may have refused only one symbol, so ``refusals_in_doubt`` refusals
            in a row are needed instead.
        locked_out: Tolerance for an invalid key. A different key belongs to another account, which
            has its own circuit.
        refusals_in_doubt: Number of refusals in a row that opens the circuit if the endpoint
            answered recently.
        trial_s: Time after which a trial counts as ended and the next one may begin.
        proof_s: Time for which an answer proves that the endpoint is open to this account.
    """

    failing: BreakerTimings = BreakerTimings(5, 30.0, 300.0)
    unreadable: BreakerTimings = BreakerTimings(3, 300.0, 3600.0)
    refused: BreakerTimings = BreakerTimings(1, 900.0, 86_400.0)
    locked_out: BreakerTimings = BreakerTimings(1, 3600.0, 86_400.0)
    refusals_in_doubt: int = 3
    trial_s: float = 150.0
    proof_s: float = 86_400.0

    def enter(self, circuit: Circuit, now_s: float) -> Circuit:
        """Return the circuit with a trial in progress; call this only if ``shut_for`` returns 0."""
        return (
            circuit if circuit.is_closed else replace(circuit, trial_until_s=now_s + self.trial_s)
        )

    def nearly_open(self, circuit: Circuit) -> Circuit:
        """Return an open circuit as a closed one that the next failure opens again, for longer."""
        failures = self.failing.threshold - 1
        return replace(circuit, failures=failures, until_s=0.0, trial_until_s=0.0)

    def leave(
        self,
        circuit: Circuit,
        outcome: Outcome,
        now_s: float,
        *,
        trial: bool,
        reason: str = "",
        symbol: str = "",
    ) -> Circuit:
        """Return the circuit after a call has ended, or the same object if nothing changes.

        Args:
            circuit: Current circuit, which may have changed since the call began.
            outcome: Outcome of the call.
            now_s: Time when the call ended.
            trial: Whether this call was the trial of a half-open endpoint.
            reason: Description of the failure, if the call failed.
            symbol: Symbol that the call was about; empty if it was about none.
        """
        if not circuit.is_closed and not trial:
            return circuit  # it began before the circuit opened, so the trial decides
        if outcome == "says nothing":
            return replace(circuit, trial_until_s=0.0) if trial else circuit
        if outcome == "answered":
            is_fresh = circuit.answered_s > 0 and now_s - circuit.answered_s < _RECORDED_EVERY_S
            return Circuit(answered_s=circuit.answered_s if is_fresh else now_s)
        return self._after_failure(circuit, outcome, now_s, reason, symbol)

    def blame(
        self,
        circuit: Circuit,
        before: Circuit,
        outcome: Outcome,
        now_s: float,
        reason: str = "",
        symbol: str = "",
    ) -> Circuit:
        """Return the circuit after an answer that seemed good has turned out to be bad.

        The failures that the answer had erased count again, as does the trial that it ended.

        Args:
            circuit: Current circuit, in which the answer counts as good.
            before: Circuit when the call that returned the answer began.
            outcome: Actual outcome of the answer.
            now_s: Time when the answer turned out to be bad.
            reason: Description of the failure.
            symbol: Symbol that the call was about; empty if it was about none.
        """
        if not circuit.is_closed or outcome in ("answered", "says nothing"):
            return circuit  # the circuit has opened in the meantime, so the next trial decides
        failures = max(before.failures, circuit.failures)
        symbols = "\n".join(filter(None, (before.symbols, circuit.symbols)))
        answered_s = circuit.answered_s
        counted = replace(before, failures=failures, answered_s=answered_s, symbols=symbols)
        return self._after_failure(counted, outcome, now_s, reason, symbol)

    def _after_failure(
        self, circuit: Circuit, outcome: Outcome, now_s: float, reason: str, symbol: str
    ) -> Circuit:
        patience = self._patience(circuit, outcome, now_s)
        if outcome == "unreadable" and symbol:
            symbols = sorted({symbol, *circuit.symbols.split("\n")} - {""})
            if len(symbols) < patience.threshold:  # a trial is undecided, so the next caller tries
                return replace(circuit, trial_until_s=0.0, symbols="\n".join(symbols))
            failures = circuit.failures + len(symbols)
        else:
            failures = circuit.failures + 1
            if circuit.is_closed and failures < patience.threshold:
                return replace(circuit, failures=failures, reason=reason)
        times = circuit.times + 1
        # The next attempt may find the network repaired, so these pauses do not grow.
        until_s = now_s + patience.cool_down(1 if NO_CONNECTION in reason else times)
        return Circuit(failures, times, until_s, 0.0, circuit.answered_s, reason)

    def _patience(self, circuit: Circuit, outcome: Outcome, now_s: float) -> BreakerTimings:
        if outcome != "refused":
            others = {"failing": self.failing, "unreadable": self.unreadable}
            return others.get(outcome, self.locked_out)
        in_doubt = circuit.answered_s > 0 and now_s - circuit.answered_s < self.proof_s
        return replace(self.refused, threshold=self.refusals_in_doubt) if in_doubt else self.refused
