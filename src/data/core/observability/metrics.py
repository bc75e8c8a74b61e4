"""Counters of queries and answers: plain numbers in bounded memory, without a clock."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Iterable
from itertools import accumulate
from typing import Any

__all__ = ["EDGES", "Metrics", "Timings"]

# Upper bounds of the duration buckets, four per octave, from 8 us to 17 minutes. Each bound is 19 %
# larger than the previous one, which is also the maximum error of a quantile.
_QUARTERS = 4
EDGES = tuple(2.0 ** (quarter / _QUARTERS) for quarter in range(-68, 41))
_MOST_UNCOUNTED = 1024
_OF_QUALITY = ("incomplete", "gaps", "flagged", "validated", "below_minimum")
# Outcomes in which the vendor answered. A lack of data is an answer, not a failure.
_ANSWERED = frozenset({"ok", "NoDataError", "SymbolNotFoundError", "CapabilityError"})


class Timings:
    """A histogram of durations with fixed buckets. Not thread-safe: the owner must hold a lock."""

    __slots__ = ("_classes", "_longest", "_total")

    def __init__(self) -> None:
        self._classes = [0] * (len(EDGES) + 1)
        self._total = 0.0
        self._longest = 0.0

    def add(self, seconds: float) -> None:
        """Count one duration."""
        self._classes[bisect_left(EDGES, seconds)] += 1
        self._total += seconds
        if seconds > self._longest:
            self._longest = seconds

    def plus(self, other: Timings) -> Timings:
        """Return a histogram of the durations in both objects."""
        both = Timings()
        both._classes = [a + b for a, b in zip(self._classes, other._classes, strict=True)]
        both._total = self._total + other._total
        both._longest = max(self._longest, other._longest)
        return both

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self._classes)

    def quantile(self, share: float) -> float | None:
        """Return the ``share`` quantile of the durations.

        The result is None if no duration was counted.
        """
        count = self.count
        if not count:
            return None
        rank = max(1.0, share * count)
        index = next(i for i, below in enumerate(accumulate(self._classes)) if below >= rank)
        return min(EDGES[index], self._longest) if index < len(EDGES) else self._longest

    def to_json(self) -> dict[str, Any]:
        """Return ``count``, ``total``, ``p50``, ``p95``, ``max`` (seconds) and ``buckets``.

        ``buckets`` contains pairs of an upper bound in seconds and the number of durations up to
        that bound. There is one pair per octave, and the bounds are always the same.
        """
        below = list(accumulate(self._classes))
        octaves = range(0, len(EDGES), _QUARTERS)
        return {
            "count": below[-1],
            "total": self._total,
            "p50": self.quantile(0.5),
            "p95": self.quantile(0.95),
            "max": self._longest if below[-1] else None,
            "buckets": [[EDGES[octave], below[octave]] for octave in octaves],
        }


class _Vendor:
    """The counters of one vendor."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.seconds = Timings()
        self.bytes = 0
        self.waits: dict[str, list[float]] = {"limit": [0, 0.0], "retry": [0, 0.0]}
        self.pauses = 0
        self.held_back = 0
        self.score: float | None = None
        self.shapes: Counter[str] = Counter()
        self.shape_day: int | None = None

    def wait(self, why: str, seconds: float | None) -> None:
        """Count a wait, unless its duration is zero or None."""
        if seconds:
            self.waits[why][0] += 1
            self.waits[why][1] += seconds

    def to_json(self) -> dict[str, Any]:
        """Return the counters as a JSON-serializable mapping."""
        from ..model.request.shape import CHANGES  # only a miss has loaded it

        requests = self.outcomes.total()
        answered = sum(count for name, count in self.outcomes.items() if name in _ANSWERED)
        return {
            "requests": requests,
            "ok": self.outcomes["ok"],
            "success_rate": answered / requests if requests else None,
            "outcomes": dict(sorted(self.outcomes.items())),
            "seconds": self.seconds.to_json(),
            "bytes": self.bytes,
            "waits": {why: {"count": int(n), "seconds": s} for why, (n, s) in self.waits.items()},
            "pauses": self.pauses,
            "held_back": self.held_back,
            "quality_score": self.score,
            "shape_changes": {change: self.shapes[change] for change in CHANGES},
        }


class Metrics:
    """One data manager's counters. Thread-safe; a forked child counts from zero."""

    def __init__(self) -> None:
        # Guards all counters against threads that query and answer at the same time.
        self._lock = threading.Lock()
        self._clear()

    def reset(self) -> None:
        """Reset all counters to zero."""
        with self._lock:
            self._clear()

    def after_fork(self) -> None:
        """Reset all counters to zero, with a new lock."""
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._vendors: dict[str, _Vendor] = {}
        self._answers: deque[tuple[int, float, bool]] = deque()
        self._failed: Counter[str] = Counter()
        self._hits, self._misses = Timings(), Timings()
        self._rows = 0
        self._troubles: Counter[str] = Counter()
        self._events: Counter[str] = Counter()

    def attempted(
        self,
        vendor: str,
        outcome: str,
        seconds: float,
        size: int,
        *,
        limit_wait_s: float = 0.0,
        retry_wait_s: float | None = None,
        is_pause: bool = False,
    ) -> None:
        """Count one attempt at one request.

        Args:
            vendor, outcome: Vendor that was queried; ``ok`` or the name of the error class.
            seconds: Duration, without the wait for the rate limit.
            size: Number of bytes received, after decoding.
            limit_wait_s: Seconds waited before the attempt because of the rate limit.
            retry_wait_s: Seconds to wait after the attempt until the next one.
            is_pause: Whether the vendor requested a slower rate.
        """
        with self._lock:
            counts = self._vendors.get(vendor) or self._vendors.setdefault(vendor, _Vendor())
            counts.outcomes[outcome] += 1
            counts.seconds.add(seconds)
            counts.bytes += size
            counts.wait("limit", limit_wait_s)
            counts.wait("retry", retry_wait_s)
            counts.pauses += is_pause

    def held_back(self, vendor: str, waited_s: float) -> None:
        """Count one request that this library's rate limiter did not allow."""
        with self._lock:
            counts = self._vendors.setdefault(vendor, _Vendor())
            counts.held_back += 1
            counts.wait("limit", waited_s)

    def reshaped(self, vendor: str, changes: Iterable[str], day: int) -> bool:
        """Count one response with an unexpected shape; return True if it is the first of the day.

        Args:
            vendor: Vendor that was queried.
            changes: Kinds of differences: ``new``, ``missing``, ``retyped``.
            day: Number of the day.
        """
        with self._lock:
            counts = self._vendors.setdefault(vendor, _Vendor())
            counts.shapes.update(set(changes))
            is_first, counts.shape_day = counts.shape_day != day, day
            return is_first

    def answered(self, rows: int, seconds: float, is_hit: bool) -> None:
        """Count one answered call; ``is_hit`` means that no vendor had to be queried."""
        # An answer from the cache does not wait for the lock: such answers are added up later, a
        # thousand at once.
        self._answers.append((rows, seconds, is_hit))
        if len(self._answers) >= _MOST_UNCOUNTED:
            with self._lock:
                self._add_up()

    def _add_up(self) -> None:
        while self._answers:
            rows, seconds, is_hit = self._answers.popleft()
            self._rows += rows
            (self._hits if is_hit else self._misses).add(seconds)

    def failed(self, error: str) -> None:
        """Count one call that ended with an error; ``error`` is the name of its class."""
        with self._lock:
            self._failed[error] += 1

    def scored(self, vendor: str, score: float) -> None:
        """Record the score (0 to 1) of a vendor's latest answer."""
        with self._lock:
            self._vendors.setdefault(vendor, _Vendor()).score = score

    def troubled(self, gaps: int, flagged: int) -> None:
        """Record an incomplete or flawed response, with its numbers of gaps and of flagged rows."""
        with self._lock:
            self._troubles.update(incomplete=1, gaps=gaps, flagged=flagged)

    def validated(self, is_low: bool) -> None:
        """Count one validated series; ``is_low``: its quality is below the minimum in the rules."""
        with self._lock:
            self._troubles.update(validated=1, below_minimum=int(is_low))

    def count_event(self, event: str) -> None:
        """Count one event by its name."""
        with self._lock:
            self._events[event] += 1

    def snapshot(self) -> dict[str, Any]:
        """Return all counters as JSON values: ``vendors``, ``calls``, ``quality``, ``events``."""
        with self._lock:
            self._add_up()
            scores = {n: v.score for n, v in self._vendors.items() if v.score is not None}
            spent, hits = self._hits.plus(self._misses).to_json(), self._hits.to_json()
            return {
                "vendors": {name: v.to_json() for name, v in sorted(self._vendors.items())},
                "calls": {
                    "answers": spent["count"],
                    "failed": dict(sorted(self._failed.items())),
                    "hits": hits["count"],
                    "hit_rate": hits["count"] / spent["count"] if spent["count"] else None,
                    "rows": self._rows,
                    "rows_per_second": self._rows / spent["total"] if spent["total"] else None,
                    "seconds": spent,
                    "hit_seconds": hits,
                },
                "quality": {
                    "scores": scores,
                    **{name: self._troubles[name] for name in _OF_QUALITY},
                },
                "events": dict(sorted(self._events.items())),
            }
