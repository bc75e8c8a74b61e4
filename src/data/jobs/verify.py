"""Compare the cache with the vendors that it came from, or two vendors with each other.

Vendors are asked anew, and nothing that they send is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bars.client import Wishes
from ..calendars.calendar import calendar_for
from ..calendars.grid import BarGrid
from ..calendars.written_times import FIRST_DAY
from ..errors import DataError, QueryError
from ..model.kind import Basis
from ..model.query import BarsQuery
from ..net.deadline import run_call, seconds_of
from ..prices.differences import compare, differing_actions
from ..wiring import Services, build
from .compare import (
    NO_VOLUMES,
    Comparison,
    Refetcher,
    StoredBars,
    VendorAnswer,
    Verification,
    VerifiedSeries,
    kind_remarks,
    terms_between,
)

__all__ = ["VerifyQuestion", "verify", "verify_with"]

USUAL_BARS = 500


@dataclass(frozen=True)
class VerifyQuestion:
    """What is to be verified; see :func:`verify`."""

    symbol: str
    timeframe: str
    start: Any = None
    end: Any = None
    provider: str | None = None
    against: str | None = None
    whole: bool = False


def verify(
    symbol: str,
    timeframe: str,
    start: Any = None,
    end: Any = None,
    *,
    provider: str | None = None,
    against: str | None = None,
    whole: bool = False,
    timeout: float | None = None,
    cache_dir: str | Path | None = None,
    config_path: str | Path | None = None,
) -> Verification:
    """Compare what is cached with what its vendors send today, or two vendors; store nothing.

    Args:
        symbol, timeframe: which series; all of its lanes in the cache are compared.
        start, end: as for the data manager. Without a start: the last 500 bars.
        provider: of the cache only what this vendor supplied; with ``against`` the first vendor.
        against: the second vendor; the cache is left out.
        whole: without a start, everything that is cached.
        timeout: seconds after which no vendor is waited for any more; what was not compared by then
            says so in its ``error``. None: 30 s for each request, its repeats included.
        cache_dir, config_path: as for the data manager.

    Raises:
        QueryError: an argument is wrong, or nothing of it is cached.
        ConfigError: the configuration is wrong, or there is no such vendor.
    """
    seconds = seconds_of(timeout, symbol)
    question = VerifyQuestion(symbol, timeframe, start, end, provider, against, whole)
    services = build(cache_dir, config_path)
    if seconds is None:
        return verify_with(services, question)
    return run_call(services.clock, seconds, verify_with, services, question)


def verify_with(services: Services, question: VerifyQuestion) -> Verification:
    """Compare as :func:`verify` does, with services that are there already; raises the same."""
    if question.against is not None:
        return _two_vendors(services, question)
    start = question.start if question.start is not None else FIRST_DAY
    query = _query(services, question, (start, question.end, None), question.provider)
    most = USUAL_BARS if question.start is None and not question.whole else None
    comparisons = tuple(StoredBars(services, query, most).comparisons())
    if not comparisons:
        whose = f" from {query.provider}" if query.provider else ""
        raise QueryError(
            f"no bars of {query}{whose} are cached in that range",
            symbol=query.instrument.symbol,
            hint="fetch it first, or name two vendors: provider and against",
        )
    return Verification(VerifiedSeries(query.instrument, query.timeframe), comparisons)


def _query(
    services: Services, question: VerifyQuestion, bounds: tuple[Any, Any, Any], provider: str | None
) -> BarsQuery:
    return services.client.query(question.symbol, question.timeframe, *bounds, Wishes(provider))


def _two_vendors(services: Services, question: VerifyQuestion) -> Verification:
    """Compare what two vendors send now; the cache is neither read nor written."""
    if question.provider is None:
        raise QueryError(
            f"against {question.against!r} needs a vendor to be compared with it",
            hint="name provider",
        )
    if question.whole:
        raise QueryError("comparing two vendors needs a start", symbol=question.symbol)
    bounds = (question.start, question.end, None)
    first, second = (
        _query(services, question, bounds, v) for v in (question.provider, question.against)
    )
    one, other = first.provider or "", second.provider or ""
    if one == other:
        raise QueryError(f"{one} cannot be compared with itself", symbol=question.symbol)
    grid = BarGrid(calendar_for(first.instrument), first.timeframe)
    refetcher = Refetcher(services.selector, services.clock, first, grid)
    subject = VerifiedSeries(first.instrument, first.timeframe)
    try:
        goal = Basis("split", refetcher.today())
        ours = refetcher.ask(one, first.span, goal)
        theirs = refetcher.ask(other, first.span, goal, ours.actions)
    except DataError as error:
        failed = Comparison(one, other, "", first.span, error=str(error))
        return Verification(subject, (failed,))
    return Verification(subject, (_between((one, ours), (other, theirs), goal),))


def _between(
    one: tuple[str, VendorAnswer], other: tuple[str, VendorAnswer], goal: Basis
) -> Comparison:
    (name, ours), (rival, theirs) = one, other
    span = ours.span.clip(theirs.span)
    kinds = ours.kind, theirs.kind
    actions = [*ours.actions, *theirs.actions]
    terms = terms_between(*kinds, actions, adj_close=goal.as_of is not None)
    compared = compare(ours.table.within(span), theirs.table.within(span), terms)
    if ours.tells_actions and theirs.tells_actions:
        differing = differing_actions(ours.actions, theirs.actions, (name, rival), span)
        compared = compared.with_actions(differing)
    remarks = [*ours.remarks, *theirs.remarks, *kind_remarks(*kinds, name, rival)]
    if not terms.volume:
        remarks.append(NO_VOLUMES)
    return Comparison(
        name, rival, "", span, compared, goal, "", tuple(remarks), ours.requests + theirs.requests
    )
