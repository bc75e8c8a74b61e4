"""The vendors for a series: which are queried and why, which are not, their health, the stored bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ....errors import DataError, QueryError, UnknownProviderError
from ...config.rules import Rule
from ...config.rules_file import packaged_rules
from ...model.request.explanation import Explanation, StoredSeries, VendorOption
from ...model.request.query import BarsQuery
from ..derive.sources import SourceTimeframes
from ..selection.candidates import Candidate
from ..selection.exclusions import differences, not_queried
from ..selection.lanes import LaneFinder
from ..selection.route import Route
from ..validity import lifetime_of
from .planned_lane import health_of
from .planner import RequestPlanner


def explain(planner: RequestPlanner, query: BarsQuery) -> Explanation:
    """Explain which vendors serve the series of ``query``, and why; no vendor is queried.

    Raises:
        CacheError: The store cannot be read.
    """
    rule, why_not = _rule(planner, query)
    route: Route | None = None
    try:
        route = planner.route(query)
    except DataError as error:
        why_not = str(error)
    return Explanation(
        query.instrument,
        query.timeframe,
        query.now_ms,
        rule=rule.name if rule else "",
        rule_from=_origin(planner, rule) if rule else "",
        named=rule.vendors if rule else (),
        ways=tuple(_ways(route, query)) if route else (),
        unasked={
            **not_queried(planner.selector, query, all_there=True),
            **(route.vendors.namesakes if route else {}),
        },
        stored=tuple(_stored_lanes(planner, query, route)),
        source=_source(planner, query, route),
        why_not=why_not,
    )


def _rule(planner: RequestPlanner, query: BarsQuery) -> tuple[Rule | None, str]:
    try:
        rule: Rule = planner.selector.rule_for(query.instrument, query.timeframe)
    except QueryError as error:
        return None, str(error)
    return rule, ""


def _origin(planner: RequestPlanner, rule: Rule) -> str:
    """Return the source of a rule: the packaged rules, or the path of the user's rules file."""
    if packaged_rules().rules.get(rule.name) == rule:
        return "the packaged rules"
    return str(planner.selector.config_path)


def _ways(route: Route, query: BarsQuery) -> Iterator[VendorOption]:
    for index, lane in enumerate(route.lanes):
        for candidate in lane.candidates:
            yield _way(candidate, query, differences(route.lanes[0], lane) if index else "")


def _way(candidate: Candidate, query: BarsQuery, substitute: str) -> VendorOption:
    depth = None
    if candidate.capabilities is not None:
        depth = candidate.capabilities.depth_days.get(query.timeframe.label)
    return VendorOption(
        candidate.name,
        health_of(candidate, query.timeframe, query),
        query.instrument.spelling(candidate.name),
        candidate.adjustment,
        depth,
        substitute,
    )


def _stored_lanes(
    planner: RequestPlanner, query: BarsQuery, route: Route | None
) -> Iterator[StoredSeries]:
    """Yield all stored lanes, starting with the one that answers the query."""
    keys = planner.store.lanes(query.instrument.symbol, query.timeframe)
    home = route.lane_name if route else ()
    for key in sorted(keys, key=lambda key: key.lane != home):
        view = planner.store.view(key)
        entries = view.coverage.opened()
        names = {name for entry in entries for name in entry.vendor.split(",") if name}
        yield StoredSeries(
            key.folder,
            view.rows,
            view.first,
            view.last,
            Counter(entry.state for entry in entries),
            tuple(sorted(names)),
            view.generation,
            view.next_due,
            lifetime_of(view),
        )


def _source(planner: RequestPlanner, query: BarsQuery, route: Route | None) -> str:
    """Return the timeframe from which the bars are built; empty if they are not derived."""
    sources = SourceTimeframes(planner.selector, LaneFinder(planner.selector, planner.store))
    try:
        source = sources.preferred(query) or (sources.best(query) if route is None else None)
    except UnknownProviderError:
        return ""
    return "" if source is None else str(source)
