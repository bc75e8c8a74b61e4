"""Records of requests, which are passed to hooks only after their responses have been checked.

A sender checks only the status and the headers. Whether a body can be parsed, and whether its rows
are valid bars, is determined later by the parser and by the checks of the whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from ....errors import (
    CircuitOpenError,
    DataError,
    KindMismatchError,
    NoDataError,
    ProviderError,
    QualityError,
    SpliceConflictError,
)
from ...model.request.shape import ShapeChange

# Errors that are not the vendor's fault: "no data" is an answer, in a conflict between two vendors
# either may be wrong, and with an open circuit no request was sent.
_NOT_THE_VENDORS_FAULT = (NoDataError, SpliceConflictError, CircuitOpenError)
# Errors found in all rows together, which do not belong to a single page.
_ERRORS_OF_ALL_PAGES = (QualityError, KindMismatchError)


@dataclass(frozen=True)
class SendRecord:
    """A record of one attempt at a request, which is passed to hooks; it contains no secrets.

    Attributes:
        vendor: Vendor that was queried.
        address: Host and path of the request.
        attempt: Number of the attempt, 1 for the first.
        outcome: ``ok``, or the name of the error's class.
        seconds: Time that the attempt took, including the wait for the rate limit.
        status: HTTP status, or 0 if no response arrived.
        size: Size of the decoded body in bytes.
        wait_s: Seconds until the next attempt; None if this attempt was the last.
        waited_s: Part of ``seconds`` spent waiting for the rate limit.
        pause_s: Seconds for which the vendor will not be queried because it demanded a slower pace;
            None if it did not demand this.
        is_sent: False if this library's limiter blocked the request, so that the vendor was not
            queried.
        shape: Difference between the structure of the response and the structure that its parser
            expects; None if they agree.
    """

    vendor: str
    address: str
    attempt: int
    outcome: str
    seconds: float
    status: int = 0
    size: int = 0
    wait_s: float | None = None
    waited_s: float = 0.0
    pause_s: float | None = None
    is_sent: bool = True
    shape: ShapeChange | None = None


Hook = Callable[[SendRecord], None]


@dataclass
class PendingRecords:
    """The records of one query's responses, held back in the thread that makes the query.

    Attributes:
        vendor: Canonical name of the vendor that was queried.
    """

    vendor: str
    _pending: list[tuple[Hook, SendRecord]] = field(default_factory=list)
    _is_last_answered: bool = False
    _counted: BaseException | None = None

    def add(self, hook: Hook, record: SendRecord) -> None:
        """Hold back a successful attempt's record; pass a failed attempt's record to its hook immediately."""
        self._is_last_answered = record.outcome == "ok"
        if self._is_last_answered:
            self._pending.append((hook, record))
        else:
            hook(record)

    def note_shape(self, change: ShapeChange) -> None:
        """Record that the latest response has a structure unknown to its parser."""
        if self._is_last_answered and self._pending:
            hook, record = self._pending[-1]
            self._pending[-1] = hook, replace(record, shape=change)

    def blame(self, error: BaseException) -> None:
        """Record ``error`` as the outcome of the responses that it concerns.

        If rows were rejected, the error concerns all responses, otherwise only the last one. An
        error that ended an attempt is ignored, because it has already been reported.
        """
        if error is self._counted or not isinstance(error, ProviderError):
            return
        if isinstance(error, _NOT_THE_VENDORS_FAULT) or getattr(error, "is_no_fault", False):
            return
        self._counted = error
        count = len(self._pending)
        first = 0 if isinstance(error, _ERRORS_OF_ALL_PAGES) else count - self._is_last_answered
        for index in range(first, count):
            hook, record = self._pending[index]
            if record.outcome == "ok":
                outcome = type(error).__name__
                self._pending[index] = hook, replace(record, outcome=outcome)

    def report(self) -> None:
        """Pass all held-back records to their hooks."""
        pending, self._pending = self._pending, []
        for hook, record in pending:
            hook(record)


_current: ContextVar[PendingRecords | None] = ContextVar("answers", default=None)


@contextmanager
def reporting(vendor: str) -> Iterator[PendingRecords]:
    """Hold back the records of responses received in the block, and report them when it ends.

    An error raised in the block becomes the outcome of the responses that it concerns. A block
    nested in another one for the same vendor is part of the outer one.
    """
    outer = _current.get()
    if outer is not None and outer.vendor == vendor:
        with _blame_errors(outer):
            yield outer
        return
    answers = PendingRecords(vendor)
    token = _current.set(answers)
    try:
        with _blame_errors(answers):
            yield answers
    finally:
        _current.reset(token)
        answers.report()


def report(hook: Hook, record: SendRecord) -> None:
    """Pass ``record`` to ``hook`` when its query ends, or immediately if it does not belong to a query."""
    answers = _current.get()
    if answers is None or answers.vendor != record.vendor:
        hook(record)
    else:
        answers.add(hook, record)


def note_shape(vendor: str, change: ShapeChange) -> None:
    """Record in the current query, if any, that the vendor's latest response has an unexpected structure."""
    answers = _current.get()
    if answers is not None and answers.vendor == vendor:
        answers.note_shape(change)


@contextmanager
def _blame_errors(answers: PendingRecords) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        answers.blame(error)
        raise
