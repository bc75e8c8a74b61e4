"""Checks once which parts work on this machine, including the files."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from .._version import __version__
from ..bars.refetchable import Refetchability
from ..bars.request import RequestParser, Wishes
from ..bars.selection.lanes import LaneFinder
from ..cache.facade.folder import configured_instrument
from ..cache.facade.listing import Catalog
from ..cache.layout import SHARED
from ..cache.maintenance import Maintenance
from ..cache.recovery.check import Inspection, waiting
from ..cache.retention.disk_usage import totals
from ..cache.retention.eviction import BYTES_IN_GB, Freeable
from ..cache.retention.inventory import Holdings, Size
from ..cache.retention.manager import RetentionLimits, RetentionManager
from ..cache.store import BarStore
from ..calendars.calendar import MarketCalendar, calendar_for
from ..clock import Clock, SystemClock
from ..config.donotshare import variable_of
from ..config.schema import LOOPBACK
from ..config.settings import shared_store
from ..config.survey import Survey, Where
from ..config.trust import host_of
from ..disk.files import Disk
from ..disk.mounts import network_file_system
from ..disk.scratch import free_bytes, readable_by_others, refusal_to_write
from ..errors import ConfigError, RulesError
from ..model.incident import incidents_of
from ..model.instant import DAY_MS, MINUTE_MS, date_of
from ..model.series import SeriesKey
from ..model.settings import Settings
from ..model.span import Span
from ..model.texts import counted, duration, proof_in_words
from ..net.reach import ReachResult, reach_all
from ..net.redact import host_port
from ..provider_selector import ProviderSelector
from ..runtime.resources import Memory, memory
from ..vendors.network import Network
from .extras import EXTRAS, extra_state, without_effect
from .perishable import perishable
from .status import (
    SeriesHealth,
    Watch,
    catalog_of,
    is_above_limit,
    is_little_memory,
    is_little_space,
    next_request,
)
from .vendors import describe_vendors, obstacle_of

__all__ = ["Check", "checkup"]

# Files that other users can read are counted only up to this number.
_FILES_NAMED = 10_000
# A smaller difference from vendors' clocks is ignored: HTTP dates are in whole seconds, and
# responses take time to arrive.
_CLOCK_OFF_MS = MINUTE_MS
# Holidays must be known this long in advance, because the time of the next bar depends on them.
_SOON_MS = 30 * DAY_MS
# Maximum time for reading files to check their digests, unless all files must be read.
GLANCE_S = 1.0
_SOURCES = {"argument": "the argument", "user cache folder": "the user's cache folder"}


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        section: ``installation``, ``places``, ``health``, ``configuration``, ``keys`` or
            ``vendors``.
        topic: Name of the thing that is checked.
        ok: True if everything is in order, False if there is a fault, None if neither applies.
        said: Finding as text.
        advice: Recommended action; empty if nothing needs to be done.
    """

    section: str
    topic: str
    ok: bool | None
    said: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the check as a JSON-serializable dictionary."""
        return asdict(self)


def checkup(
    cache_dir: Where = None,
    config_path: Where = None,
    *,
    network: bool = True,
    full: bool = False,
) -> list[Check]:
    """Check versions, extras, folders, rules, keys and vendors; nothing is changed.

    This includes the checks of ``doctor --watch`` (:class:`~.status.Watch`), and also reads files.
    An unusable configuration is reported as a finding, and everything else is checked without it.

    Args:
        cache_dir, config_path: See ``DataManager``.
        network: Whether to try to reach the vendors (one small request each).
        full: Whether to read every data file, however long that takes.
    """
    clock = SystemClock()
    try:
        watch = Watch(cache_dir, config_path, clock=clock, reach=reach_all if network else None)
    except ConfigError as error:
        return [*_installation(), Check("places", "home", False, *_text_and_hint(error))]
    survey, selector = watch.survey, watch.selector
    catalog = catalog_of(survey.settings.cache_dir, selector)
    holdings, vendors = catalog.holdings(), describe_vendors(selector)
    urls = {v["name"]: v["base_url"] for v in vendors if v["ready"] and _is_remote(v)}
    reached = watch.reached(urls)
    return [
        *_installation(),
        *(
            Check("installation", f"extra {extra}", *extra_state(selector, extra))
            for extra in EXTRAS
        ),
        *_locations(survey, selector, holdings.size.bytes),
        *_shared_store(survey.settings, selector, clock, network=network),
        _freshness(watch.series()),
        *_perishable_checks(catalog, holdings, selector, clock),
        *_vendor_days(watch.network),
        *_calendars(catalog, holdings, clock.now_ms()),
        *_files(catalog, holdings, clock, full=full),
        *_proof(holdings),
        _memory(memory()),
        *_configuration(survey, selector, {v["name"] for v in vendors if _is_under_keys(v)}),
        *_keys(vendors, selector),
        *_keys_to_this_machine(survey, vendors, selector),
        *_vendors(vendors, reached, selector),
        *_paused(watch.network, clock),
    ]


def _text_and_hint(error: ConfigError) -> tuple[str, str]:
    return str(error.args[0]), error.hint or ""


def _installation() -> Iterator[Check]:
    python = f"onetape {__version__} on Python {platform.python_version()}, {platform.system()}"
    yield Check("installation", "version", None, python)


# --- places ----------------------------------------------------------------------------------


def _locations(survey: Survey, selector: ProviderSelector, size: int) -> Iterator[Check]:
    settings = survey.settings
    source = settings.cache_dir_from
    came_from = f"from {_SOURCES.get(source, source)}"
    yield _folder("cache", settings.cache_dir, came_from, "DATA_CACHE_DIR")
    yield from _odd_name(settings.cache_dir)
    yield from _network_disk(settings.cache_dir)
    yield from _size(settings, selector, size)
    yield from _privacy(settings, is_wanted=selector.parsed_rules.cache.private)
    state, folder = "ONETAPE_STATE_DIR", settings.state_dir
    source = f"set by {state}" if variable_of(state, None) else "from the user's state folder"
    yield _folder("state", folder, source, state)
    if kind := network_file_system(folder):
        text = (
            f"limits and bans are on a network file system ({kind}); programs on two machines that "
            "use this folder may exceed them"
        )
        yield Check("places", "state disk", None, text, f"set {state} to a folder on a local disk")


def _shared_store(
    settings: Settings, selector: ProviderSelector, clock: Clock, *, network: bool
) -> Iterator[Check]:
    """Check the store that several hosts share; no request is sent if ``network`` is False."""
    topic, folder = "shared store", settings.cache_dir
    try:
        rules = shared_store(selector.parsed_rules)
    except ConfigError as error:
        yield Check("places", topic, False, *_text_and_hint(error))
        return
    if not rules.url:
        if (folder / SHARED).exists():
            text = "the cache folder is a copy of a shared store, which is not set here"
            yield Check("places", topic, False, text, "set ONETAPE_STORE")
        return
    if not network:
        yield Check("places", topic, None, "set; not contacted")
        return
    from ..hosts.connect import make_store_of

    try:
        make_store = make_store_of(rules)
    except ConfigError as error:
        yield Check("places", topic, False, *_text_and_hint(error))
        return
    from ..hosts.state import host_state

    state = host_state(make_store(folder, Disk(root=folder), clock))
    behind = sum(series.behind for series in state.series)
    text = (
        f"{state.state}: {state.reason}" if state.reason else f"{state.state}, {state.total} series"
    )
    if behind:
        text += f", {counted(behind, 'change')} of other hosts to apply"
    text += f"; vendors' limits count the requests of {state.limits}"
    ok = state.state in ("in step", "behind") and not state.warnings
    yield Check("places", topic, ok, text, "; ".join(state.warnings))


def _folder(topic: str, folder: Path, source: str, variable: str) -> Check:
    text = f"{folder} ({source})"
    if refusal := refusal_to_write(folder):
        advice = f"name another folder with {variable}, or make {folder} writable for this user"
        return Check("places", topic, False, f"{text} cannot be written: {refusal}", advice)
    free = free_bytes(folder)
    room = "" if free is None else f", {free / 1e9:,.0f} GB free"
    if free is not None and is_little_space(free):
        text, advice = f"{text}, only {free / 1e6:,.0f} MB free", "free up space on that disk"
        return Check("places", topic, False, text, advice)
    later = "" if folder.exists() else ", created when first needed"
    return Check("places", topic, True, text + room + later)


def _odd_name(folder: Path) -> Iterator[Check]:
    if os.name != "nt" and any(":" in part for part in folder.parts):
        text = f"{folder} contains a colon, like a Windows drive"
        advice = "on this system it is an ordinary folder name; set another with DATA_CACHE_DIR"
        yield Check("places", "cache name", None, text, advice)


def _privacy(settings: Settings, *, is_wanted: bool) -> Iterator[Check]:
    """Report files that other users of this machine can read.

    This is a fault only if ``cache.private`` is set (``is_wanted``).
    """
    folders = (settings.cache_dir, settings.state_dir)
    files = (path for folder in folders for path in readable_by_others(folder))
    readable = list(islice(files, _FILES_NAMED + 1 if is_wanted else 1))
    if not readable:
        if is_wanted:
            yield Check(
                "places", "privacy", True, "no file can be read by other users of this machine"
            )
        return
    if not is_wanted:
        text = f"other users of this machine can read the cache's files, such as {readable[0]}"
        advice = "with cache.private: true in the rules, only the owner can read new files"
        yield Check("places", "privacy", None, text, advice)
        return
    count = f"more than {_FILES_NAMED:,}" if len(readable) > _FILES_NAMED else f"{len(readable):,}"
    what = "file" if len(readable) == 1 else "files"
    text = f"other users of this machine can read {count} {what}, such as {readable[0]}"
    paths = shlex.join(str(folder) for folder in folders if folder.exists())
    advice = f"they were created before cache.private was set: chmod -R go= {paths}"
    yield Check("places", "privacy", False, text, advice)


def _network_disk(folder: Path) -> Iterator[Check]:
    if kind := network_file_system(folder):
        text = (
            f"the cache is on a network file system ({kind}): columns are read rather than "
            "mapped into memory"
        )
        advice = (
            "set DATA_CACHE_DIR to a folder on a local disk; cache.columnar: read turns "
            "this notice off"
        )
        yield Check("places", "cache disk", None, text, advice)


def _size(settings: Settings, selector: ProviderSelector, size: int) -> Iterator[Check]:
    folder, limit_gb = settings.cache_dir, settings.max_size_gb
    if not folder.is_dir():
        return
    limit = f" of {limit_gb:g} GB allowed" if limit_gb else ", no limit"
    is_over = is_above_limit(size, limit_gb)
    why = f": {_freeable_in_words(_freeable(folder, selector, SystemClock()))}" if is_over else ""
    advice = "run `onetape cache clean`, or raise CACHE_MAX_SIZE_GB" if is_over else ""
    yield Check(
        "places", "cache size", not is_over, f"{size / BYTES_IN_GB:,.3f} GB{limit}{why}", advice
    )


# --- health ------------------------------------------------------------------------------------


def _freshness(series: SeriesHealth) -> Check:
    """Report the number of stale series; this is not a fault, because they may no longer be needed."""
    text = f"{series.total:,} series: {series.fresh:,} fresh, {series.stale:,} behind"
    text += f", {series.at_rest:,} idle" if series.at_rest else ""
    text += f", {series.unread:,} not read" if series.unread else ""
    if not series.total:
        return Check("health", "freshness", None, "no series yet")
    if not series.stalest:
        return Check("health", "freshness", True, text)
    worst = series.stalest[0]
    bars = f"{worst.freshness.behind:,} bar{'' if worst.freshness.behind == 1 else 's'}"
    advice = "`onetape sync` updates them, `onetape doctor --watch` lists them"
    return Check("health", "freshness", None, f"{text}; {worst.key} lacks {bars}", advice)


def _perishable_checks(
    catalog: Catalog,
    holdings: Holdings,
    selector: ProviderSelector,
    clock: Clock,
) -> Iterator[Check]:
    """Report series whose missing bars or figures will soon be unavailable from every vendor."""
    lanes, parser = LaneFinder(selector, catalog.store), RequestParser(selector, clock)
    query = partial(parser.query, bounds=(None, None, None), wishes=Wishes())
    answering = partial(lanes.answering, query_of=query)
    listing, store = catalog.listing(holdings), catalog.store.preview()
    soon = perishable(listing, answering, selector, clock.now_ms(), store)
    if soon:
        series = soon[0]
        text = (
            f"{counted(len(soon), 'series')} will lose history, first {series}: the history at "
            f"{series.vendor} goes back"
        )
        text += f" {series.depth_days} days, and nothing is stored after {date_of(series.last_ms)}"
        commands = list(dict.fromkeys(f"`{series.command}`" for series in soon))
        more = f" and {len(commands) - 3:,} more like it" if len(commands) > 3 else ""
        advice = f"run {', '.join(commands[:3])}{more} now, and then every day"
        yield Check("health", "perishable", False, text, advice)


def _vendor_days(network: Network) -> Iterator[Check]:
    """Report sessions for which, as recent jobs found, a vendor lacks the bars of most of its symbols."""
    for incident in incidents_of(network.vendor_days()):
        advice = "`onetape gaps --all` checks again"
        yield Check("health", "vendor day", None, str(incident), advice)


def _calendars(catalog: Catalog, holdings: Holdings, now_ms: int) -> Iterator[Check]:
    """Report calendars that lack holidays for a period with stored bars, or for the near future."""
    reach: dict[MarketCalendar, Span] = {}
    for key, entry in catalog.listing(holdings):
        if entry is None or entry.first is None:
            continue
        calendar = calendar_for(configured_instrument(key.symbol))
        covered = reach.get(calendar, Span(now_ms, now_ms + _SOON_MS))
        reach[calendar] = Span(min(covered.start, entry.first), covered.end)
    for calendar, span in reach.items():
        if unknown := calendar.unrecorded(span):
            times = ", ".join(f"{date_of(s.start)} to {date_of(s.end - 1)}" for s in unknown)
            text = (
                f"the holidays of {calendar.name} are unknown from {times}: every weekday counts "
                "as a session there"
            )
            advice = (
                "a newer exchange_calendars may include them; until then a gap may be a holiday"
            )
            yield Check("health", "calendar", False, text, advice)


def _files(catalog: Catalog, holdings: Holdings, clock: Clock, *, full: bool) -> Iterator[Check]:
    """Report damage and lost commits.

    Unless ``full`` is set, no more files are read after ``GLANCE_S`` seconds.
    """
    parts = catalog.store.parts
    upkeep = Maintenance(parts, catalog, configured_instrument, clock)
    yield _integrity(holdings.size, upkeep.inspect(None if full else GLANCE_S, holdings))
    yield from _commits(waiting(parts, catalog.listing(holdings)))


def _integrity(size: Size, inspection: Inspection) -> Check:
    """Report the result of reading the files: good only if all were read and none is damaged."""
    bars = inspection.total - inspection.others
    text = f"{bars:,} bar file{'' if bars == 1 else 's'}"
    text += f" and {inspection.others:,} with tables and fundamentals" if inspection.others else ""
    if inspection.is_whole:
        text += ", all read" if inspection.total else ""
    else:
        text += f", {inspection.files:,} of them read in {GLANCE_S:g} s"
    text += f"; {size.without_metadata:,} without metadata" if size.without_metadata else ""
    aside = f"{size.quarantined:,} file{'' if size.quarantined == 1 else 's'} in quarantine"
    text += f", {aside if size.quarantined else 'nothing in quarantine'}"
    if damage := inspection.damage:
        more = f" and {len(damage) - 1:,} more" if len(damage) > 1 else ""
        advice = (
            "`onetape cache verify` lists it, `onetape cache repair` repairs what can be repaired"
        )
        return Check("health", "integrity", False, f"{text}; damaged: {damage[0]}{more}", advice)
    if size.quarantined:
        advice = "they are in the `_quarantine` folders, each with its reason"
        return Check("health", "integrity", None, text, advice)
    advice = "" if inspection.is_whole else "`onetape doctor --full` reads all of them"
    return Check("health", "integrity", inspection.ok, text, advice)


def _commits(years: list[tuple[SeriesKey, int]]) -> Iterator[Check]:
    """Report year files whose bars and metadata do not match, as after a power loss; a repair fixes them."""
    if years:
        (key, year), more = years[0], f" and {len(years) - 1:,} more" if len(years) > 1 else ""
        text = f"{key} {year}{more}: committed bars are missing from the metadata"
        yield Check("health", "commits", False, text, "`onetape cache repair` adds them")


def _proof(holdings: Holdings) -> Iterator[Check]:
    """Report how many bars a second vendor has confirmed, and the bars that one contradicts."""
    bars, confirmed, contradicted = totals(
        lane.entry for lane in holdings.lanes if not lane.key.is_sample
    )
    text = proof_in_words(bars, confirmed, contradicted)
    if contradicted:
        key = next(lane.key for lane in holdings.lanes if lane.entry.contradicted)
        advice = (
            f"`onetape cache info {key.symbol} {key.timeframe}` shows which bars and which vendors"
        )
        yield Check("health", "proof", False, f"{text}, first in {key}", advice)
    elif bars:
        advice = (
            "" if confirmed else "`onetape verify --sample 1%` compares a part of them each night"
        )
        yield Check("health", "proof", True if confirmed else None, text, advice)


def _memory(state: Memory) -> Check:
    used = "" if state.used is None else f"{state.used / 1e6:,.0f} MB used by this process"
    free = "" if state.free is None else f"{state.free / 1e9:,.1f} GB left on this machine"
    is_little = is_little_memory(state)
    text = ", ".join(filter(None, (used, free))) or "not reported by this system"
    return Check(
        "health", "memory", not is_little, text, "close other programs" if is_little else ""
    )


# --- configuration and keys ------------------------------------------------------------------


def _is_under_keys(vendor: Mapping[str, Any]) -> bool:
    """Return whether a vendor lacks only its keys, so that the section on keys already reports it."""
    return bool(vendor["lacks_key"] and vendor["keys"])


def _configuration(
    survey: Survey, selector: ProviderSelector, without_key: Set[str]
) -> Iterator[Check]:
    for error in survey.errors:
        yield from _mistakes(error)
    if not survey.errors:
        path = survey.rules_path
        text = f"{path}, merged over the packaged rules" if path else "the packaged rules"
        yield Check("configuration", "rules", True, text)
    for warning in survey.remarks:
        yield Check("configuration", "environment", False, warning, "correct the variable")
    for name in sorted(_routed_vendors(selector)):
        obstacle = obstacle_of(selector, name)
        if obstacle.reason and name not in without_key:
            text = f"the rules name {name}: {obstacle.reason}"
            yield Check("configuration", "rules", None, text, obstacle.advice)
    for name in without_effect(selector):
        text = f"transport: sdk has no effect on {name}: the vendor has only one transport"
        yield Check("configuration", "rules", None, text, "remove it")
    if Path(".env").is_file():
        text, advice = (
            "there is a .env file in this folder, and it is not loaded automatically",
            "set -a; . ./.env; set +a",
        )
        yield Check("configuration", ".env", None, text, f"export its variables first: {advice}")


def _mistakes(error: ConfigError) -> Iterator[Check]:
    """Yield a finding for each error in the rules file; the checks then use the packaged rules."""
    if not isinstance(error, RulesError):
        yield Check("configuration", "settings", False, *_text_and_hint(error))
        return
    head = str(error.args[0]).partition(":\n")[0]
    yield Check(
        "configuration",
        "rules",
        None if error.problems else False,  # each problem is a finding of its own
        head,
        "until the rules are corrected, every other command fails",
    )
    for problem in error.problems:
        yield Check("configuration", "rules", False, problem)


def _routed_vendors(selector: ProviderSelector) -> frozenset[str]:
    """Return the vendors named in the rules."""
    return frozenset(v for rule in selector.parsed_rules.rules.values() for v in rule.vendors)


def _keys(vendors: Sequence[Mapping[str, Any]], selector: ProviderSelector) -> Iterator[Check]:
    routed = _routed_vendors(selector)
    for vendor in vendors:
        by_state: dict[str, list[str]] = {}
        for variable, state in vendor["keys"].items():
            by_state.setdefault(state, []).append(variable)
        for state, variables in by_state.items():
            is_routed = vendor["name"] in routed
            yield _key(vendor, state, ", ".join(variables), is_routed=is_routed)


def _keys_to_this_machine(
    survey: Survey, vendors: Sequence[Mapping[str, Any]], selector: ProviderSelector
) -> Iterator[Check]:
    """Report vendors whose keys a rules file sends to a port on this machine.

    Rules files that the user named explicitly are trusted and not reported.
    """
    for vendor in vendors if survey.is_found else ():
        name, rules = vendor["name"], selector.parsed_rules.provider(vendor["name"])
        addresses = [a for a in (rules.base_url, rules.ws_url) if a and host_of(a) in LOOPBACK]
        variables = ", ".join(v for v, state in vendor["keys"].items() if state == "set")
        for address in addresses if variables else ():
            text = f"{variables} is sent to {host_port(address)}, as set in {survey.rules_path}"
            advice = (
                "if that address is not yours, remove it there; you did not pass this file, it was "
                "found automatically"
            )
            yield Check("keys", name, None, text, advice)


def _key(vendor: Mapping[str, Any], state: str, variables: str, *, is_routed: bool) -> Check:
    if state == "placeholder":
        text = f"{variables}: the value is a placeholder from the documentation, not a key"
        return Check("keys", vendor["name"], False, text, "set the real key, or unset the variable")
    if state == "set":
        return Check("keys", vendor["name"], True, f"{variables} set")
    if vendor["requires_api_key"]:
        text = f"{variables} not set" + (
            ": the vendor is in the rules, and is skipped" if is_routed else ""
        )
        return Check("keys", vendor["name"], None, text, "export the key")
    return Check("keys", vendor["name"], None, f"{variables} not set, and not needed")


# --- vendors ---------------------------------------------------------------------------------


def _vendors(
    vendors: Sequence[Mapping[str, Any]],
    reached: Mapping[str, ReachResult],
    selector: ProviderSelector,
) -> Iterator[Check]:
    routed = _routed_vendors(selector)
    cause = _shared_cause(reached, vendors)
    if cause:
        text = f"no vendor can be reached: {cause}"
        yield Check("vendors", "network", False, text, "check the network and its proxy")
    for vendor in vendors:
        name = vendor["name"]
        if cause and _is_on_the_web(vendor) and name in reached:
            yield Check("vendors", name, None, reached[name].refusal)
        elif not _is_under_keys(vendor):
            yield check_of_vendor(vendor, reached.get(name), is_routed=name in routed)
        for fault in vendor["faults"]:
            advice = "repair, update or uninstall that package"
            yield Check("vendors", name, False, fault, advice)
    yield _clock(reached)


def _shared_cause(reached: Mapping[str, ReachResult], vendors: Sequence[Mapping[str, Any]]) -> str:
    """Return the reason why the hosts of all of several vendors on the web cannot be reached.

    The result is empty if one can be reached, or if their reasons differ by more than their hosts.
    """
    hosts = {v["name"]: host_of(v["base_url"]) for v in vendors if _is_on_the_web(v)}
    refusals = {name: reached[name].refusal for name in hosts if name in reached}
    is_about_hosts = all(hosts[name] in text for name, text in refusals.items())
    causes = {text.replace(hosts[name], "") for name, text in refusals.items()}
    is_shared = len(refusals) > 1 and is_about_hosts and len(causes) == 1
    return next(iter(refusals.values())) if is_shared else ""


def _clock(reached: Mapping[str, ReachResult]) -> Check:
    """Compare the local clock with the closest of the dates in vendors' responses."""
    offsets = [answer.ahead_ms for answer in reached.values() if answer.ahead_ms is not None]
    if not offsets:
        text = "no vendor was contacted, so this machine's clock could not be checked"
        advice = "bars of the last day stay provisional until a vendor responds with a date"
        return Check("vendors", "clock", None, text, advice)
    ahead = min(offsets, key=abs)
    if abs(ahead) <= _CLOCK_OFF_MS:
        return Check("vendors", "clock", True, "agrees with the vendors' clocks")
    side = "ahead of" if ahead > 0 else "behind"
    text = f"this machine's clock is {duration(abs(ahead) / 1000)} {side} the vendors' clocks"
    return Check("vendors", "clock", False, text, "set the clock, for instance with NTP")


def check_of_vendor(
    vendor: Mapping[str, Any], reached: ReachResult | None, *, is_routed: bool
) -> Check:
    """Return the check for one vendor.

    Args:
        vendor: Description of the vendor from :func:`~.vendors.describe_vendors`.
        reached: Result of contacting the vendor's address; None if the network was not used.
        is_routed: Whether the rules name the vendor for any series.
    """
    name = vendor["name"]
    if not vendor["ready"]:
        return Check("vendors", name, None, f"not usable: {vendor['why_not']}", vendor["advice"])
    if reached is None:
        text = "usable; its network connection was not tested" if _is_remote(vendor) else "usable"
        return Check("vendors", name, True, text)
    if not reached.ok and vendor["gateway"]:
        # The package of this vendor may be installed for other reasons; a gateway is only needed if
        # a rule names the vendor.
        return Check(
            "vendors",
            name,
            False if is_routed else None,
            reached.refusal,
            (
                f"if you want its bars, start the gateway and log in; providers.{name} in the "
                "rules sets its host and port"
            ),
        )
    if not reached.ok:
        advice = f"check the network and its proxy, or set providers.{name}.base_url in the rules"
        return Check("vendors", name, False, reached.refusal, advice)
    return Check("vendors", name, True, f"reached in {reached.seconds * 1000:.0f} ms")


def _is_remote(vendor: Mapping[str, Any]) -> bool:
    return bool(vendor["gateway"]) or _is_on_the_web(vendor)


def _is_on_the_web(vendor: Mapping[str, Any]) -> bool:
    return str(vendor["base_url"]).startswith("http")


def _paused(network: Network, clock: Clock) -> Iterator[Check]:
    """Report paused vendors; pauses and bans apply to all processes and survive restarts."""
    for vendor, count in network.unknown_symbols().items():
        symbols = "a symbol" if count == 1 else f"{count} symbols"
        yield Check(
            "vendors",
            vendor,
            None,
            f"{symbols} skipped: unknown to this vendor",
            "each is retried within 6 h; a forced refresh retries immediately",
        )
    for pause in network.pauses():
        what = f"{pause.door} " if pause.door else ""
        yield Check(
            "vendors",
            pause.vendor,
            False,
            f"{what}paused: {pause.reason}",
            next_request(pause, clock.now_ms()),
        )


# --- data that could be deleted from a cache above its limit

_MOST_REASONS = 3


def _freeable(folder: Path, selector: ProviderSelector, clock: Clock) -> Freeable:
    """Return the data that could be deleted from a cache folder, and the reasons why the rest must stay.

    Args:
        folder: Folder of the cache.
        selector: Selector that determines which vendor could supply data again.
        clock: Source of the current time.
    """
    disk = Disk(root=folder, private=selector.parsed_rules.cache.private)
    store = BarStore(folder, disk, clock)
    limits = RetentionLimits(limit=lambda: 0, must_keep=Refetchability(selector))
    return RetentionManager(store, clock, limits, keeps=False).freeable()


def _freeable_in_words(freeable: Freeable) -> str:
    """Return a summary of ``freeable`` in one sentence."""
    again = freeable.derived + freeable.bars
    text = f"{again / BYTES_IN_GB:,.3f} GB could be fetched again"
    reasons = [f"{reason} ({size / BYTES_IN_GB:,.3f} GB)" for reason, size in freeable.kept.items()]
    if reasons:
        text += "; what must stay: " + "; ".join(reasons[:_MOST_REASONS])
    return text
