"""Decides whether and when to query the same vendor again."""

from __future__ import annotations

from dataclasses import dataclass

from ...config.rules import Failover


@dataclass(frozen=True)
class RetryPolicy:
    """Decides how often to attempt a request and how long to wait in between; the policy itself never sleeps.

    The call's time limit (:class:`.Deadline`) limits the total time of all attempts.

    Attributes:
        attempts: Maximum number of times that a request is sent, including the first.
        first_s: Seconds to wait before the second attempt; later waits are longer if ``doubling``
            is True.
        cap_s: Longest wait, in seconds, that this library chooses itself; a vendor's
            ``Retry-After`` may be longer.
        doubling: Whether each wait is twice the previous one; otherwise all equal the first.
    """

    attempts: int = 3
    first_s: float = 0.5
    cap_s: float = 20.0
    doubling: bool = True

    @classmethod
    def of(cls, rules: Failover) -> RetryPolicy:
        """Return the retry policy that the rules define."""
        return cls(
            attempts=max(1, rules.max_retries),
            first_s=rules.retry_delay,
            doubling=rules.exponential_backoff,
        )

    def next_wait(
        self, error: BaseException, attempt: int, left_s: float, jitter: float
    ) -> float | None:
        """Return the seconds to wait before the next attempt; None means to give up.

        Args:
            error: Error of the last attempt; only errors marked ``retry`` are retried, and not if
                this machine's network is down.
            attempt: Number of attempts made so far, at least 1.
            left_s: Seconds left for another attempt, including the wait before it. No attempt is
                made if the wait would use them up.
            jitter: Random number in [0, 1) that spreads out the retries of many callers; the wait
                is shortest for 0.
        """
        is_passing = getattr(error, "retry", False) and not getattr(error, "is_own", False)
        if not is_passing or attempt >= self.attempts:
            return None
        wait = max(self.backoff(attempt, jitter), getattr(error, "retry_after", None) or 0.0)
        return wait if wait < left_s else None

    def backoff(self, attempt: int, jitter: float) -> float:
        """Return the seconds to wait after ``attempt`` attempts."""
        # The exponent is bounded because 2.0 ** 1024 would overflow a float.
        doubled = self.first_s * 2.0 ** (min(attempt - 1, 60) if self.doubling else 0)
        return min(self.cap_s, doubled) * (1 + jitter)
