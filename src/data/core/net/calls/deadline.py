"""The time limits of a user's call, and of each request made on its behalf.

Both are stored in the context in which a call runs. Code deep inside the call can therefore wait
without taking them as arguments, and nothing remains after Ctrl-C, because the values end with the
context.

======================================  =============================================================
To                                      use
======================================  =============================================================
run a user's call, with its time limit  :func:`run_call`, or :func:`call_time` around a block
run one request of a job                :func:`run_job`, whose limit is the time without a page
let a vendor use a share of a call      :func:`run_part`
run work in another thread for a call   :func:`run_within`, with the call's :class:`Deadline`
send one request, in real time          :func:`within`; :func:`left_s`, :func:`allowed_s` for its time
wait no longer than a call allows       :func:`current_deadline`, or only :func:`call_left_s`
end long calculations with the call     :func:`check_time`, if the caller set a limit
report longer waits                     :func:`run_reported`; :func:`note_wait` reports one
count the requests of a call            :func:`recorded_call`; inside it :func:`current_call`
skip vendors that are down              :func:`querying_once`; inside it :func:`down_for`
check a caller's ``timeout=``           :func:`seconds_of`
limit each request of a call            :data:`request_s`, set in the context of the call
======================================  =============================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from numbers import Real
from typing import NamedTuple, TypeVar

from ....errors import Attempt, ProviderTimeoutError, QueryError
from ...clock import Clock, SystemClock
from ...model.display.texts import duration, written

R = TypeVar("R")

# Seconds after its last page at which a call without its own time limit ends.
QUIET_S = 30.0
# Share of the remaining time that one vendor may use while another one can still be queried.
_VENDOR_SHARE = 2 / 3
_JOBS_HINT = "jobs: {timeout_s: ...} in the rules gives jobs more time"
# Shorter waits are not reported.
_LONG_WAIT_S = 5.0
# Sockets wait in real time, regardless of the clock that the limits use.
_CLOCK = SystemClock()


class Wait(NamedTuple):
    """A wait during a call.

    Attributes:
        vendor: Vendor that the call waits for.
        why: Reason for the wait, as a clause.
        until_s: End of the wait, in seconds on the call's monotonic clock.
    """

    vendor: str
    why: str
    until_s: float

    def text(self, now_s: float) -> str:
        """Describe the remaining wait; the result is empty if the wait has ended."""
        left_s = self.until_s - now_s
        return f"waits {duration(left_s)} for {self.vendor}: {self.why}" if left_s > 0 else ""


class MustWait(BaseException):
    """Raised when a call would have to wait but must not; see :attr:`Deadline.may_wait`.

    It is not an error: handlers for errors do not catch it, and it is neither counted nor reported.
    """


class Deadline:
    """The time at which a call ends. Thread-safe; all threads that work for the call share it.

    Args:
        clock: Clock that measures the time, and that requests, retries, limits and leases use to
            wait.
        timeout_s: Seconds from now after which the call ends in any case; None if it ends
            ``quiet_s`` seconds after its last page.
        quiet_s: Seconds without a page after which the call ends if ``timeout_s`` is None.
        outer: Deadline of the enclosing call, which this deadline cannot exceed.
        hint: Advice on how to get more time, for errors.
        may_wait: Whether the call may wait for a vendor or another caller. If not,
            :class:`MustWait` is raised as soon as it would have to wait, so that it uses only
            stored data.

    Attributes:
        pages: Number of pages received from vendors so far.
        waited_for: Description, for errors, of the last thing that the call waited for in vain; may
            be empty.
    """

    def __init__(
        self,
        clock: Clock,
        timeout_s: float | None = None,
        *,
        quiet_s: float = QUIET_S,
        outer: Deadline | None = None,
        hint: str = "pass timeout= in seconds to give a call more time",
        may_wait: bool = True,
    ) -> None:
        self.pages = 0
        self.may_wait: bool = may_wait and (outer is None or outer.may_wait)
        self.waited_for = ""
        self._clock = clock
        self._outer = outer
        self._hint = hint
        self._timeout_s, self._quiet_s = timeout_s, quiet_s
        self._end = clock.monotonic() + (quiet_s if timeout_s is None else timeout_s)
        self._listeners: tuple[Callable[[], object], ...] = ()

    @property
    def is_fixed(self) -> bool:
        """Whether the caller set a time limit; otherwise each page extends the call."""
        return self._timeout_s is not None

    def left_s(self) -> float:
        """Return the seconds left, or 0 if no time is left."""
        remaining = max(0.0, self._end - self._clock.monotonic())
        return remaining if self._outer is None else min(remaining, self._outer.left_s())

    @property
    def is_over(self) -> bool:
        """Whether the time has run out, so that no further waiting is allowed."""
        return self.left_s() <= 0

    @property
    def has_expired(self) -> bool:
        """Whether the caller's time limit has run out; a call without a limit never expires."""
        is_own = self.is_fixed and self._clock.monotonic() >= self._end
        return is_own or (self._outer is not None and self._outer.has_expired)

    @property
    def what(self) -> str:
        """A description of the call's time limit, for error messages."""
        if self._timeout_s is not None:
            return f"the time for this call ({duration(self._timeout_s)})"
        return f"the time allowed without a page from a vendor ({duration(self._quiet_s)})"

    def progress(self) -> None:
        """Record a page received by this call, or by the call whose result it waits for.

        If the caller set no time limit, the page extends the call.
        """
        self.pages += 1
        if self._outer is not None:
            self._outer.progress()
        if self._timeout_s is None:
            self._end = self._clock.monotonic() + self._quiet_s
        for listener in self._listeners:
            listener()

    @contextmanager
    def telling(self, listener: Callable[[], object]) -> Iterator[None]:
        """Call ``listener`` for every page that is received while the block runs."""
        self._listeners += (listener,)
        try:
            yield
        finally:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Exclude the block's duration from the call's time."""
        started = self._clock.monotonic()
        try:
            yield
        finally:
            self._prolong(self._clock.monotonic() - started)

    def _prolong(self, seconds: float) -> None:
        self._end += seconds
        if self._outer is not None:
            self._outer._prolong(seconds)

    def part(self) -> Deadline:
        """Return the deadline for querying a vendor after which another one can still be queried.

        The vendor gets two thirds of the call's remaining time, recomputed after each page.
        """
        return _Part(self._clock, self)

    def without_waiting(self) -> Deadline:
        """Return the deadline for the first part of the call, which must not wait.

        If the call has no time limit of its own, the work in this part can take any time; only
        waiting is ruled out.
        """
        return Deadline(self._clock, outer=self if self.is_fixed else None, may_wait=False)

    def end(self, waited_for: str) -> None:
        """Let the call's time end now; errors name ``waited_for`` as the reason."""
        self.waited_for, self._end = waited_for, self._clock.monotonic()

    def timeout_error(self, vendor: str) -> ProviderTimeoutError:
        """Return the error for a vendor that was skipped because no time is left."""
        reason = self.waited_for or (self._outer.waited_for if self._outer else "")
        waited = f"; {reason}" if reason else ""
        error = ProviderTimeoutError(
            f"{vendor} was skipped: {self.what} has run out{waited}",
            provider=vendor,
            hint=self._hint,
        )
        error.by_caller = True
        return error


class _Part(Deadline):
    """A deadline for one vendor, which may use only part of the call's remaining time."""

    def __init__(self, clock: Clock, call: Deadline) -> None:
        super().__init__(clock, quiet_s=_VENDOR_SHARE * call.left_s(), outer=call)
        self._whole = call

    def progress(self) -> None:
        """Extend the call, and recompute this vendor's share of its remaining time."""
        super().progress()
        self._end = self._clock.monotonic() + _VENDOR_SHARE * self._whole.left_s()

    def timeout_error(self, vendor: str) -> ProviderTimeoutError:
        """Return a timeout error that names the whole call's limit, the only one that callers know."""
        return self._whole.timeout_error(vendor)


_call: ContextVar[Deadline | None] = ContextVar("call_deadline", default=None)
_listener: ContextVar[Callable[[Wait], object] | None] = ContextVar("wait_listener", default=None)
_due: ContextVar[float] = ContextVar("due", default=math.inf)
# Maximum time for each request of a call, in seconds of real time, within the transport's own limit.
request_s: ContextVar[float] = ContextVar("request_s", default=math.inf)


def current_deadline(clock: Clock) -> Deadline:
    """Return the deadline of the current call, or a new one outside of a call."""
    return _call.get() or Deadline(clock)


def check_time(vendor: str) -> None:
    """Check, during work that does not query a vendor, that the caller's time limit has not expired.

    Args:
        vendor: Vendor whose answer is being processed, for the error.

    Raises:
        ProviderTimeoutError: The time limit has expired.
    """
    call = _call.get()
    if call is not None and call.has_expired:
        raise call.timeout_error(vendor)


def call_left_s() -> float:
    """Return the seconds left in the current call, or infinity outside of a call."""
    call = _call.get()
    return math.inf if call is None else call.left_s()


@contextmanager
def call_time(clock: Clock, timeout_s: float | None) -> Iterator[None]:
    """Make the block a call with its own time limit, or a part of the current call.

    Use this if the context ends with the caller; :func:`run_call` creates its own context.

    Args:
        clock: Clock that measures the time.
        timeout_s: Time limit in seconds; None if the call ends after a certain time without a page.
            Inside another call, the limit is at most the time that is left for that call.
    """
    outer = _call.get()
    if outer is not None and timeout_s is None:
        yield
        return
    token = _call.set(Deadline(clock, timeout_s, outer=outer))
    try:
        yield
    finally:
        _call.reset(token)


def run_call(
    clock: Clock, timeout_s: float | None, function: Callable[..., R], *arguments: object
) -> R:
    """Run ``function`` as a call, or as part of the current call, and return its result.

    Args:
        clock, timeout_s: See :func:`call_time`.
        function, arguments: Function to call, and its arguments.
    """
    return copy_context().run(_with_call_time, clock, timeout_s, function, arguments)


def _with_call_time(
    clock: Clock, timeout_s: float | None, function: Callable[..., R], arguments: tuple[object, ...]
) -> R:
    with call_time(clock, timeout_s):
        return function(*arguments)


def run_job(clock: Clock, quiet_s: float, function: Callable[..., R], *arguments: object) -> R:
    """Run ``function`` as a job, which ends ``quiet_s`` after its last page, and return its result."""
    deadline = Deadline(clock, quiet_s=quiet_s, hint=_JOBS_HINT)
    return copy_context().run(_with_deadline, deadline, function, arguments)


def run_within(deadline: Deadline, function: Callable[..., R], *arguments: object) -> R:
    """Run ``function`` as part of the call with this deadline, and return its result.

    Raises:
        MustWait: The function would have to wait, which is not allowed.
    """
    return copy_context().run(_with_deadline, deadline, function, arguments)


def run_reported(
    listener: Callable[[Wait], object], function: Callable[..., R], *arguments: object
) -> R:
    """Run ``function`` and return its result, calling ``listener`` before each longer wait in it."""
    return copy_context().run(_with_listener, listener, function, arguments)


def note_wait(clock: Clock, vendor: str, seconds: float, why: str) -> None:
    """Notify the listener, if there is one, of a longer wait for a vendor.

    Args:
        clock: Clock on which the wait is measured.
        vendor: Vendor that the call waits for.
        seconds: Length of the wait.
        why: Reason for the wait, as a clause.
    """
    listener = _listener.get()
    if listener is not None and seconds >= _LONG_WAIT_S:
        listener(Wait(vendor, why, clock.monotonic() + seconds))


def run_part(clock: Clock, has_others: bool, function: Callable[..., R], *arguments: object) -> R:
    """Run ``function``, which queries one vendor, within its share of the call's time.

    Args:
        clock: Clock that measures the time.
        has_others: Whether another vendor can be queried afterwards, so that some time must be left
            for it.
        function, arguments: Function to call, and its arguments.
    """
    if not has_others:
        return function(*arguments)
    part = current_deadline(clock).part()
    return copy_context().run(_with_deadline, part, function, arguments)


def _with_deadline(
    deadline: Deadline, function: Callable[..., R], arguments: tuple[object, ...]
) -> R:
    _call.set(deadline)
    return function(*arguments)


def seconds_of(timeout: object, symbol: object) -> float | None:
    """Check a caller's ``timeout=`` argument; return it in seconds, or None for no limit.

    Raises:
        QueryError: The value is not a finite number above 0.
    """
    if timeout is None:
        return None
    is_number = isinstance(timeout, Real) and not isinstance(timeout, bool)
    try:
        seconds = float(timeout) if is_number else 0.0  # type: ignore[arg-type]
    except OverflowError:  # for integers larger than any float
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise QueryError(
            f"invalid timeout {written(timeout):.40} for {symbol!s:.40}; use a number of seconds above 0",
            symbol=symbol if isinstance(symbol, str) else None,
            hint="omit it to wait as long as pages keep arriving",
        )
    return seconds


def _with_listener(
    listener: Callable[[Wait], object], function: Callable[..., R], arguments: tuple[object, ...]
) -> R:
    _listener.set(listener)
    return function(*arguments)


# --- the requests sent by a call -----------------------------------------------------------------


@dataclass
class CallRecord:
    """Record of one call by a user, visible only in the caller's thread.

    Attributes:
        requests: Number of HTTP requests sent so far.
        answered_ms: Time of the latest response by the vendor's clock, in UTC milliseconds; None if
            the vendor sent none.
        late: Vendors that did not answer in time, each with the host that was queried; they are not
            queried again in this call.
    """

    requests: int = 0
    answered_ms: int | None = None
    late: set[tuple[str, str]] = field(default_factory=set)


_call_record: ContextVar[CallRecord | None] = ContextVar("call_record", default=None)


@contextmanager
def recorded_call() -> Iterator[CallRecord]:
    """Record the block as one call, or as part of the call that is already running."""
    if (running := _call_record.get()) is not None:
        yield running
        return
    call = CallRecord()
    token = _call_record.set(call)
    try:
        yield call
    finally:
        _call_record.reset(token)


def current_call() -> CallRecord:
    """Return the record of the current call, or a new one if no call is active."""
    return _call_record.get() or CallRecord()


_down: ContextVar[dict[str, dict[str, Attempt]] | None] = ContextVar("down", default=None)


@contextmanager
def querying_once() -> Iterator[None]:
    """Make calls in the block skip vendors that earlier calls in the block found down for the symbol."""
    outer = _down.get()
    token = _down.set({} if outer is None else outer)
    try:
        yield
    finally:
        _down.reset(token)


def down_for(symbol: str) -> dict[str, Attempt]:
    """Return the failed attempts to query vendors that are down for a symbol; see :func:`querying_once`.

    The attempts are keyed by vendor, and calls in the block add to them. Outside of such a block,
    the result is empty.
    """
    failures = _down.get()
    return {} if failures is None else failures.setdefault(symbol, {})


# --- one request, in real time -----------------------------------------------------------------


def within(seconds: float, function: Callable[..., R], *arguments: object) -> R:
    """Run ``function`` within ``seconds`` (or an earlier enclosing limit), and return its result."""
    due = min(_due.get(), _CLOCK.monotonic() + min(seconds, request_s.get()))
    return copy_context().run(_run_limited, due, function, arguments)


def _run_limited(due: float, function: Callable[..., R], arguments: tuple[object, ...]) -> R:
    _due.set(due)
    return function(*arguments)


def allowed_s(seconds: float) -> float:
    """Return how many seconds ``within(seconds, ...)`` would allow a function now."""
    return max(0.0, min(seconds, request_s.get(), _due.get() - _CLOCK.monotonic()))


def left_s() -> float:
    """Return the seconds left for the current request.

    Raises:
        TimeoutError: No time is left.
    """
    remaining = _due.get() - _CLOCK.monotonic()
    if remaining <= 0:
        raise TimeoutError("the time limit of this request has passed")
    return remaining
