"""State of a vendor at one moment: its remaining quota, and whether it is paused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..display.texts import duration, time_until
from ..time.instant import SECOND_MS, iso

# Duration of a normal request. An estimate that ignored it would include waits for limits that are
# never reached in practice.
REQUEST_S = 0.2
_PER = {1.0: "a second", 60.0: "a minute", 86_400.0: "a day", 2_678_400.0: "a month"}


@dataclass(frozen=True)
class Quota:
    """Usage of one request limit of a vendor.

    Attributes:
        length_s: Length of the window in seconds.
        limit: Units allowed in the window.
        used: Units that currently count against the limit.
    """

    length_s: float
    limit: float
    used: float

    @property
    def left(self) -> float:
        """The number of units that can be spent right now."""
        return max(0.0, self.limit - self.used)

    def __str__(self) -> str:
        per = _PER.get(self.length_s, f"in {duration(self.length_s)}")
        return f"{self.left:,.0f} of {self.limit:,.0f} {per}"

    def to_json(self) -> dict[str, float]:
        """Return a JSON-compatible dictionary."""
        return {"seconds": self.length_s, "limit": self.limit, "left": self.left}


@dataclass(frozen=True)
class Health:
    """State of a vendor's endpoint for one account: the remaining quota, and whether it is paused.

    Attributes:
        vendor: Canonical name of the vendor.
        until_ms: Time from which the vendor may be queried again (UTC milliseconds); 0 if it may be
            queried now.
        reason: Reason why the vendor is paused or, if it is not paused, its last failure.
        failures: Number of failures in a row.
        quotas: Usage of each of the vendor's limits, the shortest window first.
        wait_s: Seconds from the time of this report to ``until_ms``.
    """

    vendor: str
    until_ms: int = 0
    reason: str = ""
    failures: int = 0
    quotas: tuple[Quota, ...] = ()
    wait_s: float = 0.0

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.state, self.left]))

    @property
    def state(self) -> str:
        """A phrase, such as ``ready``, that describes whether the vendor may be queried."""
        if self.until_ms:
            until = time_until(self.wait_s, self.until_ms - round(self.wait_s * SECOND_MS))
            return f"paused after {self.reason}; next request possible in {until}"
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"failed {times}, last with {self.reason}" if self.failures else "ready"

    @property
    def left(self) -> str:
        """A phrase that describes the remaining units of the vendor's limits."""
        texts = [str(q) for q in self.quotas if q.length_s > 1]
        return f"{', '.join(texts or map(str, self.quotas))} left" if self.quotas else "no limit"

    def to_json(self) -> dict[str, Any]:
        """Return a JSON-compatible dictionary."""
        return {
            "vendor": self.vendor,
            "ready": not self.until_ms,
            "until": iso(self.until_ms) if self.until_ms else None,
            "reason": self.reason,
            "failures": self.failures,
            "quotas": [quota.to_json() for quota in self.quotas],
        }


def waiting(seconds: float) -> str:
    """Return a waiting time as a phrase: ``no wait``, ``about 3 minutes of waiting``."""
    return f"about {duration(seconds)} of waiting" if seconds >= 0.5 else "no wait"
