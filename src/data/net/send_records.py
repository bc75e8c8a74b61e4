"""Records of requests, held back from the hooks until their answers have been judged.

A sender sees a status and headers. That a body cannot be read, or that its rows cannot be bars, is
found later: by the parser, or by the checks of the whole answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from ..errors import (
    CircuitOpenError,
    DataError,
    KindMismatchError,
    NoDataError,
    ProviderError,
    QualityError,
    SpliceConflictError,
)
from ..model.shape import ShapeChange

# "Nothing there" is an answer; in a conflict of two vendors it is open which of them is wrong; and
# behind an open circuit nothing was asked.
_NO_FAULT = (NoDataError, SpliceConflictError, CircuitOpenError)
# Found in all rows together, whatever the page that they stood on.
_OF_ALL_PAGES = (QualityError, KindMismatchError)


@dataclass(frozen=True)
class SendRecord:
    """One attempt at one request, for hooks; it holds no secret.

    Attributes:
        vendor: the one that was asked.
        address: host and path.
        attempt: 1 for the first.
        outcome: ``ok`` or the name of the error class.
        seconds: time the attempt took, waiting for the limit included.
        status: HTTP status, 0 without an answer.
        size: decoded bytes received.
        wait_s: seconds until the next attempt; None when there is none.
        waited_s: the part of ``seconds`` that was spent waiting for the limit.
        pause_s: for how long this vendor is not asked now because it asked us to slow down.
        is_sent: False where our own limiter let nothing pass: the vendor was not asked.
        shape: how the answer differs from what its parser knows; None where it does not.
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
    """The answers to one question, in the thread that asked it.

    Attributes:
        vendor: canonical name of the vendor asked.
    """

    vendor: str
    _pending: list[tuple[Hook, SendRecord]] = field(default_factory=list)
    _is_last_answered: bool = False
    _counted: BaseException | None = None

    def add(self, hook: Hook, record: SendRecord) -> None:
        """Take the record of an attempt; a failed one is reported at once."""
        self._is_last_answered = record.outcome == "ok"
        if self._is_last_answered:
            self._pending.append((hook, record))
        else:
            hook(record)

    def note_shape(self, change: ShapeChange) -> None:
        """Note that the last answer has another shape than its parser knows."""
        if self._is_last_answered and self._pending:
            hook, record = self._pending[-1]
            self._pending[-1] = hook, replace(record, shape=change)

    def blame(self, error: BaseException) -> None:
        """Give ``error`` as the outcome of the answers that it is about.

        Those are all answers where rows were refused, else the last one. An error that an attempt
        ended with has been reported already.
        """
        if error is self._counted or not isinstance(error, ProviderError):
            return
        if isinstance(error, _NO_FAULT) or getattr(error, "is_no_fault", False):
            return
        self._counted = error
        count = len(self._pending)
        first = 0 if isinstance(error, _OF_ALL_PAGES) else count - self._is_last_answered
        for place in range(first, count):
            hook, record = self._pending[place]
            if record.outcome == "ok":
                outcome = type(error).__name__
                self._pending[place] = hook, replace(record, outcome=outcome)

    def report(self) -> None:
        """Hand all records to their hooks."""
        pending, self._pending = self._pending, []
        for hook, record in pending:
            hook(record)


_current: ContextVar[PendingRecords | None] = ContextVar("answers", default=None)


@contextmanager
def reporting(vendor: str) -> Iterator[PendingRecords]:
    """Report the answers that come in the block when it ends; an error in it is their outcome.

    A block inside a block for the same vendor belongs to the outer one.
    """
    outer = _current.get()
    if outer is not None and outer.vendor == vendor:
        with _blaming(outer):
            yield outer
        return
    answers = PendingRecords(vendor)
    token = _current.set(answers)
    try:
        with _blaming(answers):
            yield answers
    finally:
        _current.reset(token)
        answers.report()


def report(hook: Hook, record: SendRecord) -> None:
    """Hand ``record`` to ``hook``: now, or with the question that it belongs to."""
    answers = _current.get()
    if answers is None or answers.vendor != record.vendor:
        hook(record)
    else:
        answers.add(hook, record)


def note_shape(vendor: str, change: ShapeChange) -> None:
    """Note the shape of the last answer of ``vendor`` to the question of this moment, if there is one."""
    answers = _current.get()
    if answers is not None and answers.vendor == vendor:
        answers.note_shape(change)


@contextmanager
def _blaming(answers: PendingRecords) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        answers.blame(error)
        raise
