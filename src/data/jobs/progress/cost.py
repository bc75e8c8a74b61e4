"""The cost of plans: requests and seconds, totalled by vendor."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...core.model.request.health import REQUEST_S, Quota
from ...core.model.time.instant import DAY_MS, SECOND_MS

if TYPE_CHECKING:
    from ...core.model.request.plan import Plan

_DAY_S = DAY_MS // SECOND_MS


@dataclass
class VendorCost:
    """The requests that would be sent to one vendor.

    Attributes:
        requests: Number of requests.
        units: Part of the vendor's rate limits that these requests use, in the vendor's units.
        series: Number of series that the requests are for.
        quotas: Current state of each of the vendor's limits.
    """

    requests: int = 0
    units: int = 0
    series: int = 0
    quotas: tuple[Quota, ...] = ()

    def add(self, requests: int, units: int) -> None:
        """Add the cost of one more series."""
        self.requests += requests
        self.units += units
        self.series += 1

    @property
    def takes_s(self) -> float:
        """Seconds that the requests take, as determined by the vendor's tightest limit."""
        waits = [
            q.length_s * math.ceil((self.units - q.left) / q.limit)
            for q in self.quotas
            if q.limit and self.units > q.left
        ]
        return max([self.requests * REQUEST_S, *waits])

    @property
    def days(self) -> int:
        """Number of days on which the vendor would be queried."""
        return 1 + math.floor(self.takes_s / _DAY_S)

    def to_json(self) -> dict[str, Any]:
        """Return the cost as a JSON-compatible dictionary."""
        return {
            "requests": self.requests,
            "units": self.units,
            "series": self.series,
            "days": self.days,
            "takes_s": round(self.takes_s, 1),
            "limits": [quota.to_json() for quota in self.quotas],
        }


def takes_s(plans: Sequence[Plan], times: float) -> float:
    """Return the seconds it takes to carry out these plans ``times`` times.

    Vendors are queried in parallel.
    """
    vendors: dict[str, VendorCost] = {}
    for plan in plans:
        add(vendors, plan)
    for cost in vendors.values():
        cost.requests, cost.units = math.ceil(cost.requests * times), math.ceil(cost.units * times)
    return max((cost.takes_s for cost in vendors.values()), default=0.0)


def cost_at(vendors: dict[str, VendorCost], name: str, plan: Plan) -> VendorCost:
    """Return a vendor's entry in ``vendors``; a new entry starts with the limits in ``plan``."""
    if name not in vendors:
        quotas = {health.vendor: health.quotas for health in plan.health}
        vendors[name] = VendorCost(quotas=quotas.get(name, ()))
    return vendors[name]


def add(vendors: dict[str, VendorCost], plan: Plan) -> None:
    """Add the cost of a plan to the totals of its vendors."""
    for name, units in plan.units.items():
        requests = sum(step.requests for step in plan.steps if step.vendor == name)
        cost_at(vendors, name, plan).add(requests, units)
