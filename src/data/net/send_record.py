"""What one request took and came to, for counters and events."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SendRecord:
    """One attempt at one request, for hooks; it holds no secret.

    Attributes:
        vendor: who was asked.
        address: host and path.
        attempt: 1 for the first.
        outcome: ``ok`` or the name of the error class.
        seconds: time the attempt took, waiting for the limit included.
        status: HTTP status, 0 without an answer.
        size: decoded bytes received.
        wait_s: seconds until the next attempt; None when there is none.
        waited_s: the part of ``seconds`` that was spent waiting for the limit.
        pause_s: for how long nobody asks this vendor now because it asked us to slow down.
        is_sent: False where our own limiter let nothing pass: the vendor was not asked.
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
