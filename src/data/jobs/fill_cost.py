"""The cost of a job: the sum of the plans for all its series, by vendor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..bars.client import Wishes
from ..errors import DataError
from ..progress.cost import VendorCost, add
from ..progress.results import SeriesResult, reason_groups

if TYPE_CHECKING:
    from ..bars.client import BarsClient
    from ..model.coverage import VendorDay
    from .fill_job import Job


@dataclass(frozen=True)
class FillCost:
    """The cost of a fill job: the requests that it would send, by vendor.

    Attributes:
        series: Number of series.
        held: Number of series that are already stored completely.
        vendors: Maps each vendor to its cost.
        results: Results for the series that would stay incomplete, with the reasons.
        incidents: Sessions that are missing in these series and that one of their vendors lacks.
    """

    series: int
    held: int
    vendors: Mapping[str, VendorCost]
    results: list[SeriesResult]
    incidents: Sequence[VendorDay] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the cost as a JSON-serializable dictionary."""
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
    """Return the cost of calling ``fill`` for a job; no vendor is queried and nothing is written.

    Each series is planned separately; the totals take into account that the series share rate
    limits.

    Args:
        client: Client that plans the queries.
        job: Job that would be run.
        days: Sessions that vendors lack for most of their symbols.
    """
    hits, vendors, lacking = 0, dict[str, VendorCost](), list[SeriesResult]()
    incidents: dict[VendorDay, None] = {}
    for series in job.series:
        result = SeriesResult(series.symbol, series.label)
        try:
            if series.problem:
                lacking.append(result.failed(series.problem, "bad_question"))
                continue
            bounds, wishes = (series.start or job.start, job.end), Wishes(session=series.session)
            query = client.query(series.symbol, series.timeframe, *bounds, wishes=wishes)
            plan = client.plan(query)
            hits += plan.is_hit
            add(vendors, plan)
            market = query.instrument.calendar, query.timeframe.label
            incidents |= {
                day: None
                for day in days
                if day.vendor in plan.units and (day.calendar, day.timeframe) == market
                if any(segment.span.overlaps(day.span) for segment in plan.segments)
            }
            if not plan.is_possible:
                reason = plan.lacking[0].reason if plan.lacking else plan.error
                lacking.append(result.failed(reason))
        except DataError as error:
            lacking.append(result.failed_by(error))
    return FillCost(len(job.series), hits, vendors, lacking, list(incidents))
