"""The cost of filling the cache: the plans of all series, totalled by vendor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bars.client import Wishes
from ..errors import DataError
from ..model.health import REQUEST_S, Quota
from ..model.instant import DAY_MS, SECOND_MS
from .fill_report import SeriesResult, reason_groups

if TYPE_CHECKING:
    from ..bars.client import BarsClient
    from ..model.coverage import VendorDay
    from ..model.plan import Plan
    from .fill_job import Job

_DAY_S = DAY_MS // SECOND_MS


@dataclass
class VendorCost:
    """The requests that one vendor would be sent.

    Attributes:
        requests: Number of requests.
        units: Units of its limits that they use.
        series: Number of series.
        quotas: Current state of each of its limits.
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
        """Return the cost as plain values."""
        return {
            "requests": self.requests,
            "units": self.units,
            "series": self.series,
            "days": self.days,
            "takes_s": round(self.takes_s, 1),
            "limits": [quota.to_json() for quota in self.quotas],
        }


@dataclass(frozen=True)
class FillCost:
    """The cost of a job.

    Attributes:
        series: Number of series.
        held: Number of series that the store can answer.
        vendors: Maps each vendor to its cost.
        results: Results of the series that would be incomplete, with the reason.
        incidents: Missing sessions that a vendor of these series lacks.
    """

    series: int
    held: int
    vendors: Mapping[str, VendorCost]
    results: list[SeriesResult]
    incidents: Sequence[VendorDay] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the cost as plain values."""
        return {
            "dry_run": True,
            "series": self.series,
            "held": self.held,
            "requests": sum(cost.requests for cost in self.vendors.values()),
            "vendors": {name: cost.to_json() for name, cost in self.vendors.items()},
            "reasons": [group.to_json() for group in reason_groups(self.results)],
            "incidents": [day.to_json() for day in self.incidents],
        }


def cost_of(client: BarsClient, job: Job, days: Sequence[VendorDay] = ()) -> FillCost:
    """Return what ``fill`` would do; no vendor is queried and nothing is written.

    Each series is planned by itself; the totals take into account that series share limits.

    Args:
        client: Client that plans the queries.
        job: Job that would be run.
        days: Sessions that vendors lack for most of their symbols.
    """
    hits, vendors, lacking = 0, dict[str, VendorCost](), list[SeriesResult]()
    incidents: dict[VendorDay, None] = {}
    for one in job.series:
        result = SeriesResult(one.symbol, one.label)
        try:
            if one.problem:
                lacking.append(result.failed(one.problem, "bad_question"))
                continue
            bounds, wishes = (one.start or job.start, job.end), Wishes(session=one.session)
            query = client.query(one.symbol, one.timeframe, *bounds, wishes=wishes)
            plan = client.plan(query)
            hits += plan.is_hit
            _add(vendors, plan)
            market = query.instrument.calendar, query.timeframe.label
            incidents |= {
                day: None
                for day in days
                if day.vendor in plan.units and (day.calendar, day.timeframe) == market
                if any(segment.span.overlaps(day.span) for segment in plan.segments)
            }
            if not plan.is_possible:
                why = plan.lacking[0].reason if plan.lacking else plan.error
                lacking.append(result.failed(why))
        except DataError as error:
            lacking.append(result.failed_by(error))
    return FillCost(len(job.series), hits, vendors, lacking, list(incidents))


def takes_s(plans: Sequence[Plan], times: float) -> float:
    """Return the seconds that these plans take ``times`` over; vendors are queried in parallel."""
    vendors: dict[str, VendorCost] = {}
    for plan in plans:
        _add(vendors, plan)
    for cost in vendors.values():
        cost.requests, cost.units = math.ceil(cost.requests * times), math.ceil(cost.units * times)
    return max((cost.takes_s for cost in vendors.values()), default=0.0)


def cost_at(vendors: dict[str, VendorCost], name: str, plan: Plan) -> VendorCost:
    """Return the cost of a vendor so far, with its limits as recorded in a plan."""
    if name not in vendors:
        quotas = {health.vendor: health.quotas for health in plan.health}
        vendors[name] = VendorCost(quotas=quotas.get(name, ()))
    return vendors[name]


def _add(vendors: dict[str, VendorCost], plan: Plan) -> None:
    for name, units in plan.units.items():
        requests = sum(step.requests for step in plan.steps if step.vendor == name)
        cost_at(vendors, name, plan).add(requests, units)
