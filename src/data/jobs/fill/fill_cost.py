"""The cost of a job: the sum of the plans for all its series, by vendor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...core.bars.client import Wishes
from ...errors import DataError
from ..progress.cost import VendorCost, add
from ..progress.results import SeriesResult, reason_groups

if TYPE_CHECKING:
    from ...core.bars.client import BarsClient
    from ...core.model.stored.coverage import VendorDay
    from .fill_job import Job


def cost_of(client: BarsClient, job: Job, days: Sequence[VendorDay] = ()) -> dict[str, Any]:
    """Return the cost of calling ``fill`` for a job; no vendor is queried and nothing is written.

    Each series is planned separately; the totals take into account that the series share rate
    limits.

    Args:
        client: Client that plans the queries.
        job: Job that would be run.
        days: Sessions that vendors lack for most of their symbols.

    Returns:
        A JSON-serializable dictionary: ``dry_run``, ``series`` and ``held`` (how many of them are
        stored completely), ``requests`` and ``vendors`` (the cost of each), ``reasons`` (why series
        would stay incomplete), and ``incidents`` (sessions that are missing and that one of the
        series' vendors lacks).
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
    return {
        "dry_run": True,
        "series": len(job.series),
        "held": hits,
        "requests": sum(cost.requests for cost in vendors.values()),
        "vendors": {name: cost.to_json() for name, cost in vendors.items()},
        "reasons": [group.to_json() for group in reason_groups(lacking)],
        "incidents": [day.to_json() for day in incidents],
    }
