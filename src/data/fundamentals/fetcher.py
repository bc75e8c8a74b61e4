"""Ask several vendors at once and wait for them as long as a lookup may take."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping

from ..errors import DataError, ProviderTimeoutError
from ..model.fundamentals import Snapshot
from ..observability.logs import carried
from ..vendors.foreign import call_foreign

Job = Callable[[], Snapshot]
Outcome = Snapshot | DataError


def ask_all(jobs: Mapping[str, Job], budget_s: float) -> dict[str, Outcome]:
    """Return what each job came to; together they take no longer than ``budget_s`` seconds.

    A vendor that takes longer counts as failed. Its thread goes on, so that what it says in the
    end can be kept, and keeps no process from ending.
    """
    heard: dict[str, Outcome] = {}
    # Guards the answers, and wakes who waits for them.
    arrived = threading.Condition()

    def work(vendor: str) -> None:
        outcome: Outcome
        try:
            outcome = call_foreign(jobs[vendor], vendor)
        except DataError as exc:
            outcome = exc
        with arrived:
            heard[vendor] = outcome
            arrived.notify()

    for vendor in jobs:
        name = f"onetape-fundamentals-{vendor}"
        threading.Thread(target=carried(work), args=(vendor,), name=name, daemon=True).start()
    with arrived:
        arrived.wait_for(lambda: len(heard) == len(jobs), budget_s)
        return {vendor: heard.get(vendor) or _late(vendor, budget_s) for vendor in jobs}


def _late(vendor: str, budget_s: float) -> ProviderTimeoutError:
    return ProviderTimeoutError(
        f"{vendor} did not answer within the {budget_s:g} s of a lookup",
        provider=vendor,
        hint="error_handling.time_budget_seconds in fundamentals.json is the bound",
    )
