"""The measured precision of each cause of findings, and the severity that it allows.

``python -m tests.corpus --write`` measures it again and writes :data:`MEASURED`;
``docs/validation.md`` shows the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import NamedTuple

from .findings import Severity

# Minimum precision, at the lower end of its 95 % interval, for a severity above ``info``.
LEAST_PRECISION = 0.95
_Z = 1.959964


class Precision(NamedTuple):
    """The measured precision of the alarms raised for one cause.

    Attributes:
        right, raised: Number of correct alarms, and number of all alarms. Alarms are findings with
            severity ``warning`` or above, before the severity is limited.
        series: Number of series in which alarms were raised.
    """

    right: int
    raised: int
    series: int

    @property
    def lower(self) -> float:
        """The lower end of the two-sided 95% Wilson interval, or 0 if no alarm was raised."""
        if not self.raised:
            return 0.0
        n, share, z2 = self.raised, self.right / self.raised, _Z**2
        middle = share + z2 / (2 * n)
        return float(
            (middle - _Z * sqrt(share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
        )


# --- written by `python -m tests.corpus --write` ---
CORPUS = "c39fdeef36bbd86cb5718a6c770ebd6d34e64df5b67b9409f50d61965cdc00b1"
MEASURED: Mapping[str, Precision] = {
    "adj_close": Precision(157, 157, 6),
    "adj_close above close": Precision(178, 178, 23),
    "adj_close step": Precision(212, 212, 9),
    "beside days": Precision(127, 127, 18),
    "beyond days": Precision(96, 96, 16),
    "calendar": Precision(168, 168, 45),
    "closed day": Precision(108, 108, 27),
    "copied": Precision(339, 339, 42),
    "copied day": Precision(117, 117, 15),
    "dividend beside adj_close": Precision(178, 178, 6),
    "dividend beside price": Precision(180, 180, 8),
    "dividend by size": Precision(10, 24, 2),
    "dividend or adj_close": Precision(251, 256, 6),
    "dividend twice": Precision(96, 96, 8),
    "no volume": Precision(143, 143, 39),
    "order": Precision(103, 103, 48),
    "order by little": Precision(157, 157, 48),
    "outlier": Precision(270, 270, 47),
    "split by adj_close": Precision(370, 370, 24),
    "split by gap": Precision(174, 331, 30),
    "split by size": Precision(114, 114, 27),
    "split by volume": Precision(394, 397, 29),
    "split ignored": Precision(675, 683, 28),
    "split in part": Precision(152, 153, 28),
    "split in part by volume": Precision(126, 126, 26),
    "stale": Precision(99, 99, 45),
    "stale volume": Precision(87, 87, 44),
    "unit": Precision(540, 540, 66),
    "unit in doubt": Precision(191, 191, 48),
    "unit of a wick": Precision(9, 11, 10),
    "wick": Precision(119, 119, 30),
}
# --- end ---


def is_ground(cause: str) -> bool:
    """Return whether a suspected cause is reliable enough to call bars wrong.

    The result is False if the cause's precision was never measured.
    """
    measured = MEASURED.get(cause)
    return measured is not None and measured.lower >= LEAST_PRECISION


def allowed(cause: str, severity: Severity) -> Severity:
    """Return the severity allowed for a finding with this cause: ``info`` if it is too imprecise."""
    return severity if is_ground(cause) else "info"
