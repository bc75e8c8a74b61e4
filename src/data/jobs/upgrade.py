"""Finds cached data from earlier versions that this version cannot use unchanged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..bars.selection.lanes import LaneFinder
from ..cache.facade.listing import Catalog
from ..cache.retention.inventory import Holdings, StoredLane
from ..errors import DataError
from ..model.query import BarsQuery
from ..model.span import Span
from ..model.texts import listed
from ..provider_selector import ProviderSelector
from ..vendors.registry import is_of_files

_MOST_NAMED = 3


def upgrade(
    catalog: Catalog, holdings: Holdings, selector: ProviderSelector, now_ms: int
) -> tuple[str, str]:
    """Return a description of stored data that this version cannot use unchanged, and advice.

    Both are empty if this version uses all stored data. No vendor is queried, and no bar is read.

    Args:
        catalog, holdings: The stored series, and the content of the cache folder.
        selector: Selector with the rules to apply.
        now_ms: Current time, UTC milliseconds.
    """
    sentences, advice = list[str](), list[str]()
    outdated = [lane for lane in holdings.lanes if lane.is_outdated]
    if outdated:
        sentences.append(
            "stored bars from own files and recordings that do not name their folder are "
            f"not used: the files are read again ({_list_lanes(outdated)})"
        )
        advice.append("`onetape cache clean` removes the bars that are never read")
    if mixed := [lane for lane in outdated if not lane.key.is_outdated]:
        sentences.append(
            "vendors are queried for bars that own files or recordings had replaced "
            f"({_list_lanes(mixed)})"
        )
    if others := list(_of_another_kind(catalog, holdings, selector, now_ms)):
        sentences.append(
            "bars of a different kind than the first vendor's in the rules are used only "
            f"as a substitute, and that vendor is queried ({_list_lanes(others)})"
        )
    if symbols := _symbols_without_actions(catalog, holdings):
        sentences.append(
            "splits and dividends that were recorded as absent without a request are "
            f"requested ({_list_names(symbols)})"
        )
    if bare := [lane for lane in holdings.lanes if lane.entry.unjudged and _is_read(lane)]:
        sentences.append(
            "bars that were stored without being checked for near-certain errors are not "
            f"fetched again ({_list_lanes(bare)})"
        )
        advice.append("`onetape validate --all` checks them")
    if unproved := [lane for lane in bare if not lane.entry.compared_ms]:
        sentences.append(f"no second vendor has confirmed them ({_list_lanes(unproved)})")
        advice.append("`onetape verify --sample 1%` compares a part of them each night")
    return "; ".join(sentences), ", ".join(advice)


def _list_lanes(lanes: Sequence[StoredLane]) -> str:
    return _list_names([str(lane.key) for lane in lanes])


def _list_names(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return listed([*names[:_MOST_NAMED], *([f"{more:,} more"] if more > 0 else [])])


def _is_read(lane: StoredLane) -> bool:
    """Return whether a lane (one vendor's bars of one kind) has bars that can answer queries."""
    if lane.key.is_outdated or lane.key.made_of:
        return False
    return bool(lane.key.of_folder) or not all(map(is_of_files, lane.entry.vendors))


def _of_another_kind(
    catalog: Catalog, holdings: Holdings, selector: ProviderSelector, now_ms: int
) -> Iterator[StoredLane]:
    """Yield the default lanes with which earlier versions, but not this one, answered queries.

    Only the documents in ``holdings`` are used, because reading the store might repair it.
    """
    lanes = LaneFinder(selector, catalog.store)
    for lane in holdings.lanes:
        key, entry = lane.key, lane.entry
        if key.lane or entry.first is None or entry.last is None or not _is_read(lane):
            continue
        try:
            instrument, whole = selector.instrument(key.symbol), Span(entry.first, entry.last + 1)
            query = BarsQuery(instrument, key.timeframe, whole, now_ms)
            names = getattr(lanes.order(query.instrument, query.timeframe), "names", ())
            if names and names[0] in entry.vendors:
                continue
            first = lanes.first(query, entry.vendors)
        except DataError:
            continue  # the current rules do not determine the lane; other checks report that
        kinds = [source.kind for source in entry.sources if not is_of_files(source.vendor)]
        if first is not None and kinds and first.lane(kinds[0]):
            yield lane


def _symbols_without_actions(catalog: Catalog, holdings: Holdings) -> list[str]:
    """Return the symbols recorded as having no splits and dividends although none were requested."""
    symbols = dict.fromkeys(lane.key.symbol for lane in holdings.lanes if lane.entry.vendors)
    unqueried = []
    for symbol in symbols:
        try:
            if catalog.store.actions(symbol).has_untrusted:
                unqueried.append(symbol)
        except DataError:
            continue  # damaged documents are reported elsewhere
    return unqueried
