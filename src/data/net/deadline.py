"""The time that is left, for a whole call of a user and for one request made on its behalf.

Both are kept in the context that a call runs in, so that what waits below needs no argument for
them, and so that nothing of them is left when Ctrl-C strikes anywhere: what is set in a context
that is run ends with it, whatever happens.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from numbers import Real
from typing import NamedTuple, TypeVar

from ..clock import Clock, SystemClock
from ..errors import Attempt, ProviderTimeoutError, QueryError
from ..model.texts import duration, written

R = TypeVar("R")

# A call without a time of its own ends so long after its last page.
QUIET_S = 30.0
# Of what is left, one vendor may use this share while another one can still be asked.
_SHARE = 2 / 3
_OF_JOBS = "jobs: {timeout_s: ...} in the rules gives jobs more"
# Shorter waits are not told.
_LONG_WAIT_S = 5.0
# Sockets wait in real time, whatever clock the limits are kept by.
_CLOCK = SystemClock()


class Wait(NamedTuple):
    """What a call waits for.

    Attributes:
        vendor: that it waits for.
        why: the reason, as a clause.
        until_s: when it ends, on the monotonic clock of the call.
    """

    vendor: str
    why: str
    until_s: float

    def text(self, now_s: float) -> str:
        """Return what is left of it as one sentence; empty once it is over."""
        left_s = self.until_s - now_s
        return f"waits {duration(left_s)} for {self.vendor}: {self.why}" if left_s > 0 else ""


class MustWait(BaseException):
    """A call that may not wait has come to where it would; see :attr:`Deadline.may_wait`.

    No error: what catches errors lets it pass, and it is neither counted nor told.
    """


class Deadline:
    """When a call ends. Thread-safe; the threads that work for one call share it.

    Args:
        clock: measures; requests, retries, limits and leases wait on the same one.
        timeout_s: seconds from now at which the call ends, whatever comes; None: it ends
            ``quiet_s`` seconds after its last page.
        quiet_s: seconds without a page.
        outer: the deadline of the call inside of which this one runs; it ends no later.
        hint: what gives more time, for errors.
        may_wait: whether a vendor or another caller may be waited for at all. If not, the call ends
            with :class:`MustWait` where it would; until then it reads what is stored, and nothing
            else.

    Attributes:
        pages: answers of vendors taken so far.
        waited_for: what the call waited for last in vain, for its errors; empty for nothing.
    """

    def __init__(
        self,
        clock: Clock,
        timeout_s: float | None = None,
        *,
        quiet_s: float = QUIET_S,
        outer: Deadline | None = None,
        hint: str = "timeout= in seconds gives a call more",
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
        """Whether the caller said when it ends; else a page prolongs it."""
        return self._timeout_s is not None

    def left_s(self) -> float:
        """Return the seconds left, 0 when the call is over."""
        left = max(0.0, self._end - self._clock.monotonic())
        return left if self._outer is None else min(left, self._outer.left_s())

    @property
    def is_over(self) -> bool:
        """Whether nothing may be waited for any more."""
        return self.left_s() <= 0

    @property
    def has_expired(self) -> bool:
        """Whether the time that the caller set is over; a call without one never expires."""
        is_own = self.is_fixed and self._clock.monotonic() >= self._end
        return is_own or (self._outer is not None and self._outer.has_expired)

    @property
    def what(self) -> str:
        """The time that the call has, for its errors."""
        if self._timeout_s is not None:
            return f"the time of this call ({duration(self._timeout_s)})"
        return f"the time without a page from a vendor ({duration(self._quiet_s)})"

    def progress(self) -> None:
        """Note that a page was taken: by this call, or by the call that fetches what it waits for."""
        self.pages += 1
        if self._outer is not None:
            self._outer.progress()
        if self._timeout_s is None:
            self._end = self._clock.monotonic() + self._quiet_s
        for listener in self._listeners:
            listener()

    @contextmanager
    def telling(self, listener: Callable[[], object]) -> Iterator[None]:
        """Have ``listener`` called at every page while the block runs."""
        self._listeners += (listener,)
        try:
            yield
        finally:
            self._listeners = tuple(each for each in self._listeners if each is not listener)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Do not count the time that the block takes."""
        began = self._clock.monotonic()
        try:
            yield
        finally:
            self._prolong(self._clock.monotonic() - began)

    def _prolong(self, seconds: float) -> None:
        self._end += seconds
        if self._outer is not None:
            self._outer._prolong(seconds)

    def part(self) -> Deadline:
        """Return the deadline of one vendor where another can still be asked after it.

        It has two thirds of what is left, and of what is left after each page that it brings.
        """
        return _Part(self._clock, self)

    def without_waiting(self) -> Deadline:
        """Return the deadline of a first part of the call, in which it may not wait.

        Without a time of its own a call ends by its waits alone: what came before them is not cut.
        """
        return Deadline(self._clock, outer=self if self.is_fixed else None, may_wait=False)

    def end(self, waited_for: str) -> None:
        """End the call now, after it waited in vain."""
        self.waited_for, self._end = waited_for, self._clock.monotonic()

    def over(self, vendor: str) -> ProviderTimeoutError:
        """Return the error for a vendor that is not asked because the time is over."""
        why = self.waited_for or (self._outer.waited_for if self._outer else "")
        waited = f"; {why}" if why else ""
        error = ProviderTimeoutError(
            f"{vendor} was skipped: {self.what} is over{waited}",
            provider=vendor,
            hint=self._hint,
        )
        error.by_caller = True
        return error


class _Part(Deadline):
    """The time of one vendor: a share of what the call has left."""

    def __init__(self, clock: Clock, call: Deadline) -> None:
        super().__init__(clock, quiet_s=_SHARE * call.left_s(), outer=call)
        self._whole = call

    def progress(self) -> None:
        """Prolong the call as a page does, and this share by what the call has left then."""
        super().progress()
        self._end = self._clock.monotonic() + _SHARE * self._whole.left_s()

    def over(self, vendor: str) -> ProviderTimeoutError:
        """Return the error of the whole call: the caller's time is what it has set."""
        return self._whole.over(vendor)


_call: ContextVar[Deadline | None] = ContextVar("call_deadline", default=None)
_listener: ContextVar[Callable[[Wait], object] | None] = ContextVar("wait_listener", default=None)
_due: ContextVar[float] = ContextVar("due", default=math.inf)


def current_deadline(clock: Clock) -> Deadline:
    """Return the deadline of the call that this is part of; outside of one, a new one."""
    return _call.get() or Deadline(clock)


def check_time(vendor: str) -> None:
    """Check that the time which the caller set is not over, in work that queries no vendor.

    Args:
        vendor: Vendor whose answer is being worked on, for the error.

    Raises:
        ProviderTimeoutError: The time is over.
    """
    call = _call.get()
    if call is not None and call.has_expired:
        raise call.over(vendor)


def call_left_s() -> float:
    """Return the seconds left of the call that this is part of; outside of one there is no end."""
    call = _call.get()
    return math.inf if call is None else call.left_s()


def run_call(
    clock: Clock, timeout_s: float | None, function: Callable[..., R], *arguments: object
) -> R:
    """Return what ``function`` does as one call, or as part of the one that is running.

    Args:
        clock: measures.
        timeout_s: seconds that it has at most; None: it ends by the time without a page. Inside
            of another call it has no more than is left of that one.
        function, arguments: what is called.
    """
    outer = _call.get()
    if outer is not None and timeout_s is None:
        return function(*arguments)
    deadline = Deadline(clock, timeout_s, outer=outer)
    return copy_context().run(_with_deadline, deadline, function, arguments)


def run_job(clock: Clock, quiet_s: float, function: Callable[..., R], *arguments: object) -> R:
    """Return what ``function`` does as a part of a job: it ends ``quiet_s`` after its last page."""
    deadline = Deadline(clock, quiet_s=quiet_s, hint=_OF_JOBS)
    return copy_context().run(_with_deadline, deadline, function, arguments)


def run_within(deadline: Deadline, function: Callable[..., R], *arguments: object) -> R:
    """Return what ``function`` does as part of the call that ``deadline`` is of.

    Raises:
        MustWait: it would wait, and may not.
    """
    return copy_context().run(_with_deadline, deadline, function, arguments)


def run_heard(
    listener: Callable[[Wait], object], function: Callable[..., R], *arguments: object
) -> R:
    """Return what ``function`` does, with ``listener`` called before each longer wait in it."""
    return copy_context().run(_with_listener, listener, function, arguments)


def note_wait(clock: Clock, vendor: str, seconds: float, why: str) -> None:
    """Call the listener, if there is one, with a wait for a vendor that takes a while."""
    listener = _listener.get()
    if listener is not None and seconds >= _LONG_WAIT_S:
        listener(Wait(vendor, why, clock.monotonic() + seconds))


def run_part(clock: Clock, has_others: bool, function: Callable[..., R], *arguments: object) -> R:
    """Return what ``function`` does, which asks one vendor.

    Args:
        clock: measures.
        has_others: whether another vendor can be asked after it: some time is left for that.
        function, arguments: what is called.
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
    """Return what a caller passes as ``timeout=``, checked: seconds, or None for none.

    Raises:
        QueryError: it is no number, or not a finite one above 0.
    """
    if timeout is None:
        return None
    is_number = isinstance(timeout, Real) and not isinstance(timeout, bool)
    try:
        seconds = float(timeout) if is_number else 0.0  # type: ignore[arg-type]
    except OverflowError:  # of whole numbers beyond all floats
        seconds = math.inf
    if not 0 < seconds < math.inf:
        raise QueryError(
            f"timeout {written(timeout):.40} for {symbol!s:.40} is not a number of seconds above 0",
            symbol=symbol if isinstance(symbol, str) else None,
            hint="leave it out to wait as long as pages arrive",
        )
    return seconds


def _with_listener(
    listener: Callable[[Wait], object], function: Callable[..., R], arguments: tuple[object, ...]
) -> R:
    _listener.set(listener)
    return function(*arguments)


# --- what a call has sent -----------------------------------------------------------------------


@dataclass
class OneCall:
    """The state of one call; it stays in the thread of its caller.

    Attributes:
        requests: HTTP requests sent so far.
        answered_ms: the vendor's time at the last answer, in UTC milliseconds; None where it told none.
        late: vendors that did not answer in time, each with the host that was asked.
    """

    requests: int = 0
    answered_ms: int | None = None
    late: set[tuple[str, str]] = field(default_factory=set)


_one_call: ContextVar[OneCall | None] = ContextVar("one_call", default=None)


@contextmanager
def one_call() -> Iterator[OneCall]:
    """Let the block be one call, or go on with the one that it is part of."""
    if (running := _one_call.get()) is not None:
        yield running
        return
    call = OneCall()
    token = _one_call.set(call)
    try:
        yield call
    finally:
        _one_call.reset(token)


def current_call() -> OneCall:
    """Return the call that this is part of; outside of one, a call of its own."""
    return _one_call.get() or OneCall()


_down: ContextVar[dict[str, dict[str, Attempt]] | None] = ContextVar("down", default=None)


@contextmanager
def querying_once() -> Iterator[None]:
    """Let several calls in the block query no vendor again that was down for the same symbol."""
    outer = _down.get()
    token = _down.set({} if outer is None else outer)
    try:
        yield
    finally:
        _down.reset(token)


def down_for(symbol: str) -> dict[str, Attempt]:
    """Return the vendors that were down for a symbol in :func:`querying_once`, each as it failed."""
    known = _down.get()
    return {} if known is None else known.setdefault(symbol, {})


# --- one request, in real time -----------------------------------------------------------------


def within(seconds: float, function: Callable[..., R], *arguments: object) -> R:
    """Return what ``function`` does, which has ``seconds`` at most; less inside of another's time."""
    due = min(_due.get(), _CLOCK.monotonic() + seconds)
    return copy_context().run(_limited, due, function, arguments)


def _limited(due: float, function: Callable[..., R], arguments: tuple[object, ...]) -> R:
    _due.set(due)
    return function(*arguments)


def allowed_s(seconds: float) -> float:
    """Return the seconds that ``within(seconds, ...)`` would have now."""
    return max(0.0, min(seconds, _due.get() - _CLOCK.monotonic()))


def left_s() -> float:
    """Return the seconds left of a request.

    Raises:
        TimeoutError: there are none.
    """
    left = _due.get() - _CLOCK.monotonic()
    if left <= 0:
        raise TimeoutError("the time for this request is over")
    return left
