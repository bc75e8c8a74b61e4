"""Whether bars may be built of a stream's minutes: whether they are those that the cache has."""

from __future__ import annotations

from dataclasses import replace

from ...bars.client import Wishes
from ...bars.stream_store import declared_kind, differences, kind_of_series
from ...calendars.calendar import calendar_for
from ...model.instrument import Instrument
from ...model.kind import Kind
from ...model.timeframe import Timeframe
from ...prices.conversions import obstacle
from ...wiring import Services

MINUTE = Timeframe(1, "m")


def hindrance(
    services: Services, vendor: str, kind: Kind, wanted: tuple[Instrument, Timeframe, str | None]
) -> str:
    """Return why no bars are built of the minutes that a vendor streams; empty where they are.

    Bars are built where the vendor serves them as well, so that history has the same ones, and of
    one kind with those: counted from the same, and their volume off the same tape. Days are not:
    the auctions are no part of the minutes.

    Args:
        services: routing and the store.
        vendor: canonical name.
        kind: of its minutes, in the hours that are given.
        wanted: whose bars, their length, and the pinned vendor if there is one.

    Raises:
        DataError: nobody serves such bars.
    """
    instrument, step, pinned = wanted
    if why := obstacle(MINUTE, step, calendar_for(instrument), anchor=kind.anchor or "session"):
        return f"no {step} bars are built of its minutes: {why}"
    own = declared_kind(services.selector, vendor, instrument, step)
    if own is None:
        return f"it serves no {step} bars that minutes could go on from"
    query = services.client.query(
        instrument.symbol, step.label, bars=1, wishes=Wishes(provider=pinned)
    )
    series = kind_of_series(services.selector, services.cache.store, query)
    # Hours and their anchor are brought to those of the series wherever that is exact.
    as_held = replace(own, session=kind.session, anchor=kind.anchor)
    for other, whose in ((as_held, "its"), (series, "the series has")):
        if differing := differences(kind, other):
            told = ", ".join(f"of {ours}, {whose} {step} bars of {at}" for ours, at in differing)
            return f"its minutes are {told}"
    return ""
