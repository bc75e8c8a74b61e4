"""One query to one vendor and its outcome, alike for bars, actions and figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ...clock import Clock
from ...errors import FAILOVER_ERRORS, Attempt, CapabilityError, DataError, NoDataError
from ...model.span import Span
from ...net.deadline import current_call
from ...observability.logs import level_of

_LOG = logging.getLogger("onetape.routing")

R = TypeVar("R")


@dataclass(frozen=True)
class VendorReply(Generic[R]):
    """What came of a question: a value, or the error after which the next vendor is asked.

    Attributes:
        vendor: the vendor asked.
        span: the stretch asked for.
        value: what it answered; None with an error.
        error: why it did not answer; None where it did.
        seconds, requests: how long it took, and how many requests were sent for it.
    """

    vendor: str
    span: Span
    value: R | None = None
    error: DataError | None = None
    seconds: float = 0.0
    requests: int = 0

    def attempt(self, message: str = "", rows: int = 0, requests: int | None = None) -> Attempt:
        """Return the entry for the list of attempts.

        Args:
            message: said beside an answer; an error has its own words.
            rows: how many came.
            requests: how many it took by the answer's own count; None: as they were counted here.
        """
        error = self.error
        outcome = "ok" if error is None else type(error).__name__
        return Attempt(
            self.vendor,
            "empty" if isinstance(error, NoDataError) else outcome,
            message if error is None else str(error),
            self.seconds,
            *self.span,
            rows,
            self.requests if requests is None else requests,
            error,
        )

    def log_failure(self, query: object, log: logging.Logger = _LOG) -> None:
        """Log why there is no answer: what the vendor could never serve, or has not, is no news."""
        assert self.error is not None
        is_impossible = isinstance(self.error, CapabilityError) and not self.requests
        is_news = not (is_impossible or isinstance(self.error, NoDataError))
        level = level_of(self.error) if is_news else logging.DEBUG
        log.log(level, "%s could not supply %s: %s", self.vendor, query, self.error)


def ask(
    clock: Clock,
    vendor: str,
    span: Span,
    function: Callable[..., R],
    *arguments: object,
    side_attempts: Sequence[Attempt] = (),
) -> VendorReply[R]:
    """Return what ``function(*arguments)`` answers, which asks one vendor.

    Args:
        clock: measures.
        vendor: its name, for errors that name none.
        span: the stretch asked for.
        function, arguments: what is called.
        side_attempts: attempts of the running call that have requests of their own; their number may grow
            meanwhile.

    Returns:
        The value, or an error of ``FAILOVER_ERRORS``; all others are raised.
    """
    sent, started = _requests(side_attempts), clock.monotonic()
    value: R | None = None
    error: DataError | None = None
    try:
        value = function(*arguments)
    except FAILOVER_ERRORS as failure:
        failure.provider = failure.provider or vendor
        error = failure
    seconds = clock.monotonic() - started
    return VendorReply(vendor, span, value, error, seconds, _requests(side_attempts) - sent)


def _requests(side_attempts: Sequence[Attempt]) -> int:
    return current_call().requests - sum(attempt.requests for attempt in side_attempts)
