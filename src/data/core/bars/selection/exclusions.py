"""The reasons for not querying a vendor: the rules, its capabilities, or a missing key."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any

from ....errors import DataError, MissingCredentialsError, NoProviderError, QueryError
from ...model.display.texts import NO_KEY, by_reason
from ...model.request.query import BarsQuery
from ...provider_selector import ProviderSelector
from ...vendors.factory import creation_error
from .candidates import candidates_of
from .route import LaneRoute, Route

SWITCHED_OFF = "the rules disable failover"
NOT_NEEDED = "not needed"


def not_queried(
    selector: ProviderSelector, query: BarsQuery, *, all_there: bool = False
) -> dict[str, str]:
    """Return the reason why each vendor that is left out is not queried for ``query``.

    No vendor is queried to find out.

    Args:
        selector: The rules and the vendors built from them.
        query: The query.
        all_there: Whether to include vendors that the rules do not name for the query.
    """
    vendors = named_for(selector, query)
    reasons = {}
    for name in dict.fromkeys([*vendors, *(selector.provider_names() if all_there else ())]):
        if reason := _reason(selector, query, name, vendors):
            reasons[name] = reason
    return reasons


def left_out(
    selector: Any,
    query: BarsQuery,
    route: Route | DataError,
    attempted: Container[str],
    errors: Mapping[str, DataError],
) -> dict[str, str]:
    """Return the reason why each vendor did not contribute to an answer. No vendor is queried.

    Args:
        selector: This library's selector, or a user's own, which does not have to support rules.
        query: The query.
        route: Route of the query, or the error if no vendor can supply the bars.
        attempted: Vendors that were queried.
        errors: Vendors that failed earlier in the call, with their errors.
    """
    vendors = named_for(selector, query) if hasattr(selector, "rule_for") else ()
    if not isinstance(vendors, tuple):  # a test double
        vendors = ()
    passed_over = dict(_excluded_vendors(query, route)) if isinstance(route, Route) else {}
    reasons = {}
    for name in dict.fromkeys([*vendors, *passed_over]):
        if name in attempted:
            continue
        if name in errors:
            reasons[name] = f"it failed earlier in this call: {errors[name]}"
        elif name in passed_over:
            reasons[name] = passed_over[name]
        else:
            reasons[name] = _reason(selector, query, name, vendors) or str(route)
    return reasons


def with_reasons(selector: Any, query: BarsQuery, error: NoProviderError) -> NoProviderError:
    """Return the error with the reason for each vendor that the rules name for ``query``."""
    reasons = left_out(selector, query, error, (), {})
    if not reasons:
        return error
    text = "; ".join(by_reason(reasons))
    are_keys = all(reason.startswith(NO_KEY) for reason in reasons.values())
    return NoProviderError(
        f"No suitable provider found for {query}: {text}",
        lacking=MissingCredentialsError(text) if are_keys else None,
        symbol=error.symbol,
        hint=error.hint,
    )


def _excluded_vendors(query: BarsQuery, route: Route) -> Iterator[tuple[str, str]]:
    """Yield each vendor that the route contains or rejects, with the reason for not querying it."""
    for lane in reversed(route.lanes):  # the first lane's reason is used
        reason = "offline=True allows no request" if query.offline else NOT_NEEDED
        if lane is not route.lanes[0] and not query.offline:
            reason = f"only in whole, as a substitute: {differences(route.lanes[0], lane)}"
        yield from ((candidate.name, reason) for candidate in lane.candidates)
    yield from route.vendors.rejected.items()


def differences(first: LaneRoute, other: LaneRoute) -> str:
    """Return an explanation of why the bars of two lanes cannot be mixed."""
    pairs = first.kind.differences(other.kind).values()
    reason = ", ".join(f"{other_value} instead of {own_value}" for own_value, other_value in pairs)
    return reason or f"{'@'.join(other.lane_name)} prices"


def named_for(selector: ProviderSelector, query: BarsQuery) -> tuple[str, ...]:
    """Return the pinned vendor, or else the vendors that the rules name, in order."""
    if query.provider is not None:
        return (query.provider,)
    try:
        return selector.rule_for(query.instrument, query.timeframe).vendors
    except QueryError:
        return ()


def not_named(query: BarsQuery) -> str:
    """Return the reason why a vendor that neither the rules nor the query names is not queried."""
    if query.provider is None:
        return "not in the rule for this"
    return f"{query.provider} is pinned"


def _reason(selector: ProviderSelector, query: BarsQuery, name: str, named: tuple[str, ...]) -> str:
    if name not in named:
        return not_named(query)
    try:
        candidates = {c.name: c for c in candidates_of(selector, query)}
    except DataError:
        candidates = {}
    if name in candidates:
        return candidates[name].refusal(query.instrument, query.timeframe)
    error = creation_error(selector, name)
    if error is None:
        return SWITCHED_OFF
    return f"{NO_KEY}{error.hint}" if isinstance(error, MissingCredentialsError) else str(error)
