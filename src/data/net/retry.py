"""Decides whether and when to query the same vendor again."""

from __future__ import annotations

from dataclasses import dataclass

from ..config.rules import Failover


@dataclass(frozen=True)
class RetryPolicy:
    """Attempts and waits allowed for one request; a decision only, it never sleeps.

    The time that all of it may take is the call's (:class:`.Deadline`).

    Attributes:
        attempts: how often a request is sent at most, the first time included.
        first_s: wait before the second attempt; it doubles from there.
        cap_s: longest wait of our own choosing; a vendor's ``Retry-After`` may be longer.
        doubling: whether waits double; else all are as the first.
    """

    attempts: int = 3
    first_s: float = 0.5
    cap_s: float = 20.0
    doubling: bool = True

    @classmethod
    def of(cls, rules: Failover) -> RetryPolicy:
        """Return what the rules say about asking again."""
        return cls(
            attempts=max(1, rules.max_retries),
            first_s=rules.retry_delay,
            doubling=rules.exponential_backoff,
        )

    def next_wait(
        self, error: BaseException, attempt: int, left_s: float, jitter: float
    ) -> float | None:
        """Return the seconds to wait before asking again, or ``None`` to give up.

        Args:
            error: what the last attempt ended with; only errors marked ``retry`` are retried.
            attempt: how many attempts were made, at least 1.
            left_s: seconds that another attempt has, its wait included; one that would take as
                long or longer to begin is not begun.
            jitter: a random number in [0, 1) that spreads many callers; 0 waits shortest.
        """
        if not getattr(error, "retry", False) or attempt >= self.attempts:
            return None
        wait = max(self.backoff(attempt, jitter), getattr(error, "retry_after", None) or 0.0)
        return wait if wait < left_s else None

    def backoff(self, attempt: int, jitter: float) -> float:
        """Return the doubling wait after ``attempt`` attempts, in seconds."""
        # The exponent is bounded: 2.0 ** 1024 would overflow a float.
        doubled = self.first_s * 2.0 ** (min(attempt - 1, 60) if self.doubling else 0)
        return min(self.cap_s, doubled) * (1 + jitter)
