"""One query to one vendor, with its outcome; the same for bars, actions and figures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ....errors import FAILOVER_ERRORS, Attempt, CapabilityError, DataError, NoDataError
from ...clock import Clock
from ...model.time.span import Span
from ...net.calls.deadline import current_call
from ...observability.logs import level_of

_LOG = logging.getLogger("onetape.routing")

R = TypeVar("R")


@dataclass(frozen=True)
class VendorReply(Generic[R]):
    """The outcome of a query: a value, or the error after which the next vendor is queried.

    Attributes:
        vendor: Vendor that was queried.
        span: Span that was requested.
        value: Answer of the vendor; None if there is an error.
        error: Error that made the query fail; None if there is an answer.
        seconds, requests: Duration of the query, and number of requests sent.
    """

    vendor: str
    span: Span
    value: R | None = None
    error: DataError | None = None
    seconds: float = 0.0
    requests: int = 0

    def attempt(self, message: str = "", rows: int = 0, requests: int | None = None) -> Attempt:
        """Return this attempt's entry for the list of attempts.

        Args:
            message: Message for a successful attempt; an error has its own message.
            rows: Number of rows received.
            requests: Number of requests according to the answer; None means the number counted here.
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
        """Log the error, at debug level if the vendor has no data or does not serve such queries."""
        assert self.error is not None
        is_impossible = isinstance(self.error, CapabilityError) and not self.requests
        is_news = not (is_impossible or isinstance(self.error, NoDataError))
        level = level_of(self.error) if is_news else logging.DEBUG
        log.log(level, "%s could not supply %s: %s", self.vendor, query, self.error)


def query_vendor(
    clock: Clock,
    vendor: str,
    span: Span,
    function: Callable[..., R],
    *arguments: object,
    side_attempts: Sequence[Attempt] = (),
) -> VendorReply[R]:
    """Call ``function(*arguments)``, which queries one vendor, and return its reply.

    Args:
        clock: Clock that measures the duration.
        vendor: Name of the vendor, which is added to errors that do not name one.
        span: Span that is requested.
        function, arguments: Function to call, and its arguments.
        side_attempts: Attempts whose requests are counted separately; more may be added during the
            call.

    Returns:
        The value, or an error from ``FAILOVER_ERRORS``; all other errors are raised.
    """
    before, started = _requests(side_attempts), clock.monotonic()
    value: R | None = None
    error: DataError | None = None
    try:
        value = function(*arguments)
    except FAILOVER_ERRORS as failure:
        failure.provider = failure.provider or vendor
        error = failure
    seconds = clock.monotonic() - started
    return VendorReply(vendor, span, value, error, seconds, _requests(side_attempts) - before)


def _requests(side_attempts: Sequence[Attempt]) -> int:
    return current_call().requests - sum(attempt.requests for attempt in side_attempts)
