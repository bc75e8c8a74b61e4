"""Ask several vendors at once and wait for them as long as a lookup may take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ..clock import Clock, SystemClock
from ..errors import DataError, ProviderTimeoutError
from ..model.fundamentals import Snapshot
from ..net.background import BackgroundCall
from ..net.deadline import current_deadline
from ..vendors.foreign import call_foreign

Job = Callable[[], Snapshot]
Outcome = Snapshot | DataError
# Threads are waited for in real time, whatever clock the lookup is kept by.
_CLOCK = SystemClock()


def ask_all(jobs: Mapping[str, Job], clock: Clock, budget_s: float) -> dict[str, Outcome]:
    """Return what each job came to; together they take no longer than what they have.

    That is the time that the caller gave to the call, and ``budget_s`` seconds where it gave none.
    A vendor that takes longer counts as failed. Its thread goes on, so that what it says in the
    end can be kept, and keeps no process from ending.
    """
    deadline = current_deadline(clock)
    if deadline.is_over:
        return {vendor: deadline.over(vendor) for vendor in jobs}
    seconds = deadline.left_s()
    if not deadline.is_fixed:
        seconds = min(seconds, budget_s)
    until = _CLOCK.monotonic() + seconds
    begun = {vendor: _begun(vendor, job) for vendor, job in jobs.items()}
    outcomes = {}
    for vendor, call in begun.items():
        late = _late(vendor, seconds, deadline.is_fixed)
        outcomes[vendor] = call if isinstance(call, DataError) else _outcome(call, until, late)
    return outcomes


def _begun(vendor: str, job: Job) -> BackgroundCall[Snapshot] | DataError:
    ask = partial(call_foreign, job, vendor)
    try:
        return BackgroundCall(vendor, ask, name=f"onetape-fundamentals-{vendor}")
    except DataError as error:
        return error


def _outcome(call: BackgroundCall[Snapshot], until: float, late: DataError) -> Outcome:
    try:
        return call.result(max(0.0, until - _CLOCK.monotonic()), late)
    except DataError as error:
        return error


def _late(vendor: str, seconds: float, is_fixed: bool) -> ProviderTimeoutError:
    error = ProviderTimeoutError(
        f"{vendor} did not answer within the {seconds:.3g} s of a lookup",
        provider=vendor,
        hint="timeout= is the bound"
        if is_fixed
        else "error_handling.time_budget_seconds in fundamentals.json is the bound",
    )
    error.by_caller = is_fixed
    return error
