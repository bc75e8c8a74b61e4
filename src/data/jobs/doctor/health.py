"""Checks which parts work on this machine, once or repeatedly; nothing is created or changed."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from ..._version import __version__
from ...core.bars.refetchable import Refetchability
from ...core.bars.request import RequestParser, Wishes
from ...core.bars.selection.lanes import LaneFinder
from ...core.cache.facade.folder import configured_instrument
from ...core.cache.facade.listing import Catalog
from ...core.cache.layout import SHARED
from ...core.cache.recovery.check import waiting
from ...core.cache.retention.disk_usage import Gauge
from ...core.cache.retention.eviction import BYTES_IN_GB
from ...core.cache.retention.inventory import Holdings
from ...core.cache.retention.manager import RetentionLimits, RetentionManager
from ...core.cache.store import BarStore
from ...core.cache.upkeep.maintenance import Maintenance
from ...core.calendars.calendar import MarketCalendar, calendar_for
from ...core.clock import Clock, SystemClock
from ...core.config.donotshare import variable_of
from ...core.config.rules_file import load_rules
from ...core.config.schema import LOOPBACK
from ...core.config.settings import shared_store
from ...core.config.survey import Where, survey
from ...core.config.trust import host_of
from ...core.disk.files import Disk
from ...core.disk.mounts import network_file_system
from ...core.disk.scratch import free_bytes, readable_by_others, refusal_to_write
from ...core.interface import ReachResult, reach_all
from ...core.model.display.texts import counted, duration, time_until
from ...core.model.request.settings import Settings
from ...core.model.stored.incident import incidents_of
from ...core.model.time.instant import DAY_MS, MINUTE_MS, SECOND_MS, date_of
from ...core.model.time.span import Span
from ...core.net.http.redact import host_port
from ...core.provider_selector import ProviderSelector
from ...core.registry import FAMILIES
from ...core.runtime.once import cached_property
from ...core.runtime.resources import memory
from ...core.wiring import Services, network_of
from ...errors import ConfigError, RulesError
from ..fill.freshness import SeriesHealth, series_health
from ..fill.perishable import perishable
from ..vendors.checks import LEVELS, Check, fault, note, ok
from ..vendors.extras import EXTRAS, GROUPS, extra_state, group_state, without_effect
from ..vendors.vendors import describe_vendors, is_on_the_web, is_remote, quotas_of, vendor_check

__all__ = ["Installation", "checkup", "worst_levels"]

Reach = Callable[[Mapping[str, str]], Mapping[str, ReachResult]]

# Free space and memory below these limits, in bytes, count as low.
_LITTLE_SPACE, _LITTLE_MEMORY = 1e9, 200e6
# Minimum time between two attempts to reach the vendors, in seconds.
_REACH_EVERY_S = 300.0
# Files that other users can read are counted only up to this number.
_FILES_NAMED = 10_000
# A smaller difference from vendors' clocks is ignored: HTTP dates are in whole seconds, and
# responses take time to arrive.
_CLOCK_OFF_MS = MINUTE_MS
# Holidays must be known this long in advance, because the time of the next bar depends on them.
_SOON_MS = 30 * DAY_MS
# Maximum time for reading files to check their digests, unless all files must be read.
GLANCE_S = 1.0
_MOST_STALE, _MOST_REASONS = 5, 3
_SOURCES = {"argument": "the argument", "user cache folder": "the user's cache folder"}


def checkup(
    cache_dir: Where = None,
    config_path: Where = None,
    *,
    network: bool = True,
    full: bool = False,
) -> list[Check]:
    """Check versions, extras, folders, rules, keys and vendors; nothing is changed.

    An unusable configuration is reported as a finding, and everything else is checked without it.

    Args:
        cache_dir, config_path: See ``DataManager``.
        network: Whether to try to reach the vendors (one small request each).
        full: Whether to read every data file, however long that takes.
    """
    reach = reach_all if network else None
    try:
        return Installation(cache_dir, config_path, reach=reach).checks(CHECKS, full=full)
    except ConfigError as error:
        return [_version(), fault("places home", *_text_and_hint(error))]


class Installation:
    """The parts of an installation that checks look at, again and again. Use from one thread only.

    Args:
        cache_dir, config_path: See ``DataManager``.
        clock: Clock to use instead of the system clock.
        reach: Function that tries to reach vendors; None means that no vendor is contacted.

    Raises:
        ConfigError: No home folder exists, so the locations are unknown.
    """

    def __init__(
        self,
        cache_dir: Where = None,
        config_path: Where = None,
        *,
        clock: Clock | None = None,
        reach: Reach | None = reach_all,
    ) -> None:
        self.survey, self.clock = survey(cache_dir, config_path), clock or SystemClock()
        self.settings: Settings = self.survey.settings
        self.reach, self._reached = reach, dict[str, ReachResult]()
        self._reached_s = -_REACH_EVERY_S
        self.network = network_of(self.settings, load_rules(self.settings.rules_path), self.clock)
        self.selector = ProviderSelector(settings=self.settings, make_sender=self.network.sender)
        folder, rules = self.settings.cache_dir, self.selector.parsed_rules
        self.store = BarStore(folder, Disk(root=folder, private=rules.cache.private), self.clock)
        self.catalog = Catalog(folder, self.store, self.store.parts.disk)
        self.gauge = Gauge(self.catalog.holdings, self.clock)

    def checks(self, wanted: tuple[Find, ...], *, full: bool = False) -> list[Check]:
        """Return the current results of some checks, such as ``CHECKS`` or ``WATCHED``."""
        look = _Look(self, full=full)
        return [check for find in wanted for check in find(look)]

    def shown(self, wanted: tuple[Find, ...]) -> list[Check]:
        """Return the current results of some checks; one that raises an exception is a fault."""
        look = _Look(self, full=False)
        return [check for find in wanted for check in _shown(find, look)]

    def reached(self, urls: Mapping[str, str]) -> Mapping[str, ReachResult]:
        """Return whether each vendor can be reached; the result may be up to five minutes old.

        Args:
            urls: Maps each vendor to its URL.
        """
        now = self.clock.monotonic()
        if self.reach is not None and now - self._reached_s >= _REACH_EVERY_S:
            self._reached_s, self._reached = now, dict(self.reach(urls))
        return self._reached


def worst_levels(services: Services) -> dict[str, int]:
    """Return the worst level of the checks ``COUNTED`` of each name: 0 ``ok``, 1 ``note``, 2 ``fault``.

    No vendor is contacted.
    """
    levels, folders = dict[str, int](), (services.settings.cache_dir, services.settings.rules_path)
    for check in Installation(*folders, clock=services.clock, reach=None).shown(COUNTED):
        levels[check.name] = max(levels.get(check.name, 0), LEVELS.index(check.level))
    return levels


class _Look:
    """The facts that several checks use, each computed at most once per look."""

    def __init__(self, place: Installation, *, full: bool) -> None:
        self.place, self.full, self.now_ms = place, full, place.clock.now_ms()
        self.settings, self.selector = place.settings, place.selector

    @cached_property
    def holdings(self) -> Holdings:
        return self.place.catalog.holdings()

    @cached_property
    def vendors(self) -> list[dict[str, Any]]:
        return describe_vendors(self.selector)

    @cached_property
    def reached(self) -> Mapping[str, ReachResult]:
        ready = (v for v in self.vendors if v["ready"] and is_remote(v))
        return self.place.reached({v["name"]: v["base_url"] for v in ready})

    @cached_property
    def series(self) -> SeriesHealth:
        return series_health(self.place.store, self.selector, self.place.clock)

    @cached_property
    def routed(self) -> frozenset[str]:
        """The vendors named in the rules."""
        rules = self.selector.parsed_rules.rules.values()
        return frozenset(vendor for rule in rules for vendor in rule.vendors)


Find = Callable[[_Look], Iterator[Check]]


def _shown(find: Find, look: _Look) -> Iterator[Check]:
    """Yield the results of a check; an exception is a result, too, so that the others are shown."""
    try:
        yield from find(look)
    except Exception as error:  # noqa: BLE001 - reported
        name = find.__name__.strip("_").replace("_", " ")
        text = f"this check failed: {type(error).__name__}: {error}"
        yield fault(f"health {name}", text, "`onetape doctor` repeats it")


def _text_and_hint(error: ConfigError) -> tuple[str, str]:
    return str(error.args[0]), error.hint or ""


# --- installation ----------------------------------------------------------------------------


def _version() -> Check:
    text = f"onetape {__version__} on Python {platform.python_version()}, {platform.system()}"
    return note("installation version", text)


def _installation(look: _Look) -> Iterator[Check]:
    yield _version()
    yield from (extra_state(look.selector, name) for name in EXTRAS)
    yield from map(group_state, GROUPS)


# --- places ----------------------------------------------------------------------------------


def _folders(look: _Look) -> Iterator[Check]:
    cache, state, variable = look.settings.cache_dir, look.settings.state_dir, "ONETAPE_STATE_DIR"
    source = look.settings.cache_dir_from
    yield _folder("cache", cache, f"from {_SOURCES.get(source, source)}", "DATA_CACHE_DIR")
    source = f"set by {variable}" if variable_of(variable, None) else "from the user's state folder"
    yield _folder("state", state, source, variable)


def _folder(topic: str, folder: Path, source: str, variable: str) -> Check:
    name, text = f"places {topic}", f"{folder} ({source})"
    if refusal := refusal_to_write(folder):
        remedy = f"name another folder with {variable}, or make {folder} writable for this user"
        return fault(name, f"{text} cannot be written: {refusal}", remedy)
    free = free_bytes(folder)
    if free is not None and free < _LITTLE_SPACE:
        text = f"{text}, only {free / 1e6:,.0f} MB free"
        return fault(name, text, "free up space on that disk")
    room = "" if free is None else f", {free / 1e9:,.0f} GB free"
    return ok(name, text + room + ("" if folder.exists() else ", created when first needed"))


def _odd_folders(look: _Look) -> Iterator[Check]:
    cache = look.settings.cache_dir
    if os.name != "nt" and any(":" in part for part in cache.parts):
        text = f"{cache} contains a colon, like a Windows drive"
        remedy = "on this system it is an ordinary folder name; set another with DATA_CACHE_DIR"
        yield note("places cache name", text, remedy)
    if kind := network_file_system(cache):
        text = f"the cache is on a network file system ({kind}): columns are read rather than "
        yield note(
            "places cache disk",
            f"{text}mapped into memory",
            "set DATA_CACHE_DIR to a folder on a local disk; cache.columnar: read turns this "
            "notice off",
        )
    if kind := network_file_system(look.settings.state_dir):
        text = f"limits and bans are on a network file system ({kind}); programs on two machines "
        yield note(
            "places state disk",
            f"{text}that use this folder may exceed them",
            "set ONETAPE_STATE_DIR to a folder on a local disk",
        )


def _privacy(look: _Look) -> Iterator[Check]:
    """Report files that other users can read; this is a fault only if ``cache.private`` is set."""
    name, is_wanted = "places privacy", look.selector.parsed_rules.cache.private
    folders = (look.settings.cache_dir, look.settings.state_dir)
    files = (path for folder in folders for path in readable_by_others(folder))
    readable = list(islice(files, _FILES_NAMED + 1 if is_wanted else 1))
    if not readable:
        if is_wanted:
            yield ok(name, "no file can be read by other users of this machine")
        return
    count = f"more than {_FILES_NAMED:,} files"
    count = count if len(readable) > _FILES_NAMED else counted(len(readable), "file")
    what = count if is_wanted else "the cache's files"
    text = f"other users of this machine can read {what}, such as {readable[0]}"
    if is_wanted:
        paths = shlex.join(str(folder) for folder in folders if folder.exists())
        yield fault(
            name, text, f"they were created before cache.private was set: chmod -R go= {paths}"
        )
    else:
        remedy = "with cache.private: true in the rules, only the owner can read new files"
        yield note(name, text, remedy)


def _size(look: _Look) -> Iterator[Check]:
    name, limit_gb = "places cache size", look.settings.max_size_gb
    if not look.settings.cache_dir.is_dir():
        return
    size = look.place.gauge.read().bytes
    limit = f" of {limit_gb:g} GB allowed" if limit_gb else ", no limit"
    text = f"{size / BYTES_IN_GB:,.3f} GB{limit}"
    if limit_gb and size > limit_gb * BYTES_IN_GB:
        remedy = "run `onetape cache clean`, or raise CACHE_MAX_SIZE_GB"
        yield fault(name, f"{text}: {_freeable(look)}", remedy)
    else:
        yield ok(name, text)


def _freeable(look: _Look) -> str:
    """Return how much of the cache could be deleted, and the reasons why the rest must stay."""
    limits = RetentionLimits(limit=lambda: 0, must_keep=Refetchability(look.selector))
    store, clock = look.place.store, look.place.clock
    freeable = RetentionManager(store, clock, limits).freeable(look.holdings)
    again = freeable.derived + freeable.bars
    text = f"{again / BYTES_IN_GB:,.3f} GB could be fetched again"
    reasons = [f"{reason} ({size / BYTES_IN_GB:,.3f} GB)" for reason, size in freeable.kept.items()]
    return text + ("; what must stay: " if reasons else "") + "; ".join(reasons[:_MOST_REASONS])


def _shared_store(look: _Look) -> Iterator[Check]:
    """Check the store that several hosts share; no request is sent without a network."""
    name, folder = "places shared store", look.settings.cache_dir
    try:
        rules = shared_store(look.selector.parsed_rules)
        if not rules.url:
            if (folder / SHARED).exists():
                text = "the cache folder is a copy of a shared store, which is not set here"
                yield fault(name, text, "set ONETAPE_STORE")
            return
        if look.place.reach is None:
            yield note(name, "set; not contacted")
            return
        from ...core.hosts.connect import make_store_of

        make_store = make_store_of(rules)
    except ConfigError as error:
        yield fault(name, *_text_and_hint(error))
        return
    from ...core.hosts.state import host_state

    state = host_state(make_store(folder, Disk(root=folder), look.place.clock).hosts)
    behind = sum(series.behind for series in state.series)
    text = f"{state.state}, {state.total} series"
    text = f"{state.state}: {state.reason}" if state.reason else text
    text += f", {counted(behind, 'change')} of other hosts to apply" if behind else ""
    text += f"; vendors' limits count the requests of {state.limits}"
    is_good = state.state in ("in step", "behind") and not state.warnings
    yield (ok if is_good else fault)(name, text, "; ".join(state.warnings))


# --- health ------------------------------------------------------------------------------------


def _freshness(look: _Look) -> Iterator[Check]:
    """Report the stale series; this is not a fault, because they may no longer be needed."""
    name, series = "health freshness", look.series
    text = f"{series.total:,} series: {series.fresh:,} fresh, {len(series.stale):,} behind"
    text += f", {series.at_rest:,} idle" if series.at_rest else ""
    text += f", {series.unread:,} not read" if series.unread else ""
    if not series.total:
        yield note(name, "no series yet")
    elif not series.stale:
        yield ok(name, text)
    else:
        worst = [f"{key} lacks {counted(f.behind, 'bar')}" for key, f in series.stale[:_MOST_STALE]]
        yield note(name, f"{text}; {', '.join(worst)}", "`onetape sync` updates them")


def _perishable(look: _Look) -> Iterator[Check]:
    """Report series whose missing bars or figures will soon be unavailable from every vendor."""
    selector, catalog = look.selector, look.place.catalog
    lanes, parser = LaneFinder(selector, catalog.store), RequestParser(selector, look.place.clock)
    query = partial(parser.query, bounds=(None, None, None), wishes=Wishes())
    answering = partial(lanes.answering, query_of=query)
    listing, store = catalog.listing(look.holdings), catalog.store.preview()
    if soon := perishable(listing, answering, selector, look.now_ms, store):
        series = soon[0]
        text = (
            f"{counted(len(soon), 'series')} will lose history, first {series}: the history at "
            f"{series.vendor} goes back"
        )
        text += f" {series.depth_days} days, and nothing is stored after {date_of(series.last_ms)}"
        commands = list(dict.fromkeys(f"`{series.command}`" for series in soon))
        more = f" and {len(commands) - 3:,} more like it" if len(commands) > 3 else ""
        remedy = f"run {', '.join(commands[:3])}{more} now, and then every day"
        yield fault("health perishable", text, remedy)


def _vendor_days(look: _Look) -> Iterator[Check]:
    """Report sessions for which, as recent jobs found, a vendor lacks the bars of most of its symbols."""
    for incident in incidents_of(look.place.network.vendor_days()):
        yield note("health vendor day", str(incident), "`onetape gaps --all` checks again")


def _calendars(look: _Look) -> Iterator[Check]:
    """Report calendars that lack holidays for a period with stored bars, or for the near future."""
    reach: dict[MarketCalendar, Span] = {}
    for key, entry in look.place.catalog.listing(look.holdings):
        if entry is None or entry.first is None:
            continue
        calendar = calendar_for(configured_instrument(key.symbol))
        covered = reach.get(calendar, Span(look.now_ms, look.now_ms + _SOON_MS))
        reach[calendar] = Span(min(covered.start, entry.first), covered.end)
    for calendar, span in reach.items():
        if unknown := calendar.unrecorded(span):
            times = ", ".join(f"{date_of(s.start)} to {date_of(s.end - 1)}" for s in unknown)
            yield fault(
                "health calendar",
                f"the holidays of {calendar.name} are unknown from {times}: every weekday counts "
                "as a session there",
                "a newer exchange_calendars may include them; until then a gap may be a holiday",
            )


def _files(look: _Look) -> Iterator[Check]:
    """Report damage and lost commits: good only if all files were read and none is damaged.

    Unless the look is full, no more files are read after ``GLANCE_S`` seconds.
    """
    catalog, size = look.place.catalog, look.holdings.size
    parts = catalog.store.parts
    upkeep = Maintenance(parts, catalog, look.place.clock)
    inspection = upkeep.inspect(None if look.full else GLANCE_S, look.holdings)
    text = counted(inspection.total - inspection.others, "bar file")
    text += f" and {inspection.others:,} with tables and fundamentals" if inspection.others else ""
    if not inspection.is_whole:
        text += f", {inspection.files:,} of them read in {GLANCE_S:g} s"
    elif inspection.total:
        text += ", all read"
    text += f"; {size.without_metadata:,} without metadata" if size.without_metadata else ""
    aside = f"{counted(size.quarantined, 'file')} in quarantine"
    text += f", {aside if size.quarantined else 'nothing in quarantine'}"
    name = "health integrity"
    if damage := inspection.damage:
        more = f" and {len(damage) - 1:,} more" if len(damage) > 1 else ""
        yield fault(
            name,
            f"{text}; damaged: {damage[0]}{more}",
            "`onetape cache verify` lists it, `onetape cache repair` repairs what can be repaired",
        )
    elif size.quarantined:
        remedy = "they are in the `_quarantine` folders, each with its reason"
        yield note(name, text, remedy)
    elif inspection.is_whole:
        yield ok(name, text)
    else:
        yield note(name, text, "`onetape doctor --full` reads all of them")
    # The bars and the metadata of these years do not match, as after a power loss.
    if years := waiting(parts, catalog.listing(look.holdings)):
        (key, year), more = years[0], f" and {len(years) - 1:,} more" if len(years) > 1 else ""
        text = f"{key} {year}{more}: committed bars are missing from the metadata"
        yield fault("health commits", text, "`onetape cache repair` adds them")


def _own_files(look: _Look) -> Iterator[Check]:
    """Report series that an earlier version cached from the user's own files."""
    keys = [lane.key for lane in look.holdings.lanes if lane.key.is_of_files]
    if keys:
        more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
        yield note(
            "health own files",
            f"{keys[0]}{more}: cached from your own files, which are now read when requested",
            "`onetape cache export` copies them, `onetape cache clean` removes those whose files exist",
        )


def _memory(look: _Look) -> Iterator[Check]:
    state, name = memory(), "health memory"
    used = "" if state.used is None else f"{state.used / 1e6:,.0f} MB used by this process"
    free = "" if state.free is None else f"{state.free / 1e9:,.1f} GB left on this machine"
    text = ", ".join(filter(None, (used, free))) or "not reported by this system"
    if state.free is not None and state.free < _LITTLE_MEMORY:
        yield fault(name, text, "close other programs")
    else:
        yield ok(name, text)


# --- configuration and keys ------------------------------------------------------------------


def _configuration(look: _Look) -> Iterator[Check]:
    name, found = "configuration rules", look.place.survey
    for error in found.errors:
        yield from _mistakes(error)
    if not found.errors:
        path = found.rules_path
        yield ok(name, f"{path}, merged over the packaged rules" if path else "the packaged rules")
    for warning in found.remarks:
        yield fault("configuration environment", warning, "correct the variable")
    for vendor in look.vendors:
        if vendor["name"] in look.routed and not vendor["ready"] and not _is_under_keys(vendor):
            text = f"the rules name {vendor['name']}: {vendor['why_not']}"
            yield note(name, text, vendor["advice"])
    for vendor_name in without_effect(look.selector):
        text = f"transport: sdk has no effect on {vendor_name}: the vendor has only one transport"
        yield note(name, text, "remove it")
    if Path(".env").is_file():
        text = "there is a .env file in this folder, and it is not loaded automatically"
        remedy = "export its variables first: set -a; . ./.env; set +a"
        yield note("configuration .env", text, remedy)


def _mistakes(error: ConfigError) -> Iterator[Check]:
    """Yield a finding for each error in the rules file; the checks then use the packaged rules."""
    if not isinstance(error, RulesError):
        yield fault("configuration settings", *_text_and_hint(error))
        return
    head = str(error.args[0]).partition(":\n")[0]
    remedy = "until the rules are corrected, every other command fails"
    # Each problem is a finding of its own.
    yield (note if error.problems else fault)("configuration rules", head, remedy)
    yield from (fault("configuration rules", problem) for problem in error.problems)


def _is_under_keys(vendor: Mapping[str, Any]) -> bool:
    """Return whether a vendor lacks only its keys, so that the section on keys already reports it."""
    return bool(vendor["lacks_key"] and vendor["keys"])


def _keys(look: _Look) -> Iterator[Check]:
    for vendor in look.vendors:
        name, by_state = f"keys {vendor['name']}", dict[str, list[str]]()
        for variable, state in vendor["keys"].items():
            by_state.setdefault(state, []).append(variable)
        for state, several in by_state.items():
            variables = ", ".join(several)
            if state == "placeholder":
                text = f"{variables}: the value is a placeholder from the documentation, not a key"
                yield fault(name, text, "set the real key, or unset the variable")
            elif state == "set":
                yield ok(name, f"{variables} set")
            elif vendor["requires_api_key"]:
                is_routed = vendor["name"] in look.routed
                skipped = ": the vendor is in the rules, and is skipped" if is_routed else ""
                yield note(name, f"{variables} not set{skipped}", "export the key")
            else:
                yield note(name, f"{variables} not set, and not needed")
    # The SEC serves no bars, so it is not one of the vendors above.
    sec = look.selector.downloader("sec")
    if sec is None:
        text = "SEC_CONTACT not set: statements and announcements from filings are off"
        yield note("keys sec", text, "set SEC_CONTACT to an address such as name@example.org")
        return
    try:
        _ = sec.contact
    except ConfigError as error:
        yield fault("keys sec", *_text_and_hint(error))
    else:
        yield ok("keys sec", "a contact address is set")


def _keys_to_this_machine(look: _Look) -> Iterator[Check]:
    """Report vendors whose keys a rules file sends to a port on this machine.

    Rules files that the user named explicitly are trusted and not reported.
    """
    found = look.place.survey
    for vendor in look.vendors if found.is_found else ():
        rules = look.selector.parsed_rules.provider(vendor["name"])
        addresses = [a for a in (rules.base_url, rules.ws_url) if a and host_of(a) in LOOPBACK]
        variables = ", ".join(v for v, state in vendor["keys"].items() if state == "set")
        for address in addresses if variables else ():
            yield note(
                f"keys {vendor['name']}",
                f"{variables} is sent to {host_port(address)}, as set in {found.rules_path}",
                "if that address is not yours, remove it there; you did not pass this file, it was "
                "found automatically",
            )


# --- vendors ---------------------------------------------------------------------------------


def _vendors(look: _Look) -> Iterator[Check]:
    reached, cause = look.reached, _shared_cause(look)
    if cause:
        text = f"no vendor can be reached: {cause}"
        yield fault("vendors network", text, "check the network and its proxy")
    for vendor in look.vendors:
        name = vendor["name"]
        if cause and is_on_the_web(vendor) and name in reached:
            yield note(f"vendors {name}", reached[name].refusal)
        elif name not in FAMILIES and not _is_under_keys(vendor):
            quotas = quotas_of(look.selector, name, look.now_ms)
            yield vendor_check(vendor, reached.get(name), quotas, is_routed=name in look.routed)
        for text in vendor["faults"]:
            yield fault(f"vendors {name}", text, "repair, update or uninstall that package")


def _shared_cause(look: _Look) -> str:
    """Return the reason why the hosts of all of several vendors on the web cannot be reached.

    The result is empty if one can be reached, or if their reasons differ by more than their hosts.
    """
    hosts = {v["name"]: host_of(v["base_url"]) for v in look.vendors if is_on_the_web(v)}
    refusals = {name: look.reached[name].refusal for name in hosts if name in look.reached}
    is_about_hosts = all(hosts[name] in text for name, text in refusals.items())
    causes = {text.replace(hosts[name], "") for name, text in refusals.items()}
    is_shared = len(refusals) > 1 and is_about_hosts and len(causes) == 1
    return next(iter(refusals.values())) if is_shared else ""


def _clock(look: _Look) -> Iterator[Check]:
    """Compare the local clock with the closest of the dates in vendors' responses."""
    offsets = [r.ahead_ms for r in look.reached.values() if r.ahead_ms is not None]
    ahead, name = min(offsets, key=abs, default=None), "vendors clock"
    if ahead is None:
        text = "no vendor was contacted, so this machine's clock could not be checked"
        remedy = "bars of the last day stay provisional until a vendor responds with a date"
        yield note(name, text, remedy)
    elif abs(ahead) <= _CLOCK_OFF_MS:
        yield ok(name, "agrees with the vendors' clocks")
    else:
        off = f"{duration(abs(ahead) / 1000)} {'ahead of' if ahead > 0 else 'behind'}"
        text = f"this machine's clock is {off} the vendors' clocks"
        yield fault(name, text, "set the clock, for instance with NTP")


def _paused(look: _Look) -> Iterator[Check]:
    """Report paused vendors; pauses and bans apply to all processes and survive restarts."""
    for vendor, count in look.place.network.unknown_symbols().items():
        symbols = "a symbol" if count == 1 else f"{count} symbols"
        remedy = "each is retried within 6 h; a forced refresh retries immediately"
        yield note(f"vendors {vendor}", f"{symbols} skipped: unknown to this vendor", remedy)
    for pause in look.place.network.pauses():
        what = f"{pause.door} " if pause.door else ""
        left = time_until(max(0.0, (pause.until_ms - look.now_ms) / SECOND_MS), look.now_ms)
        remedy = f"next request possible in {left}"
        yield fault(f"vendors {pause.vendor}", f"{what}paused: {pause.reason}", remedy)


CHECKS: tuple[Find, ...] = (
    _installation, _folders, _odd_folders, _privacy, _size, _shared_store,
    _freshness, _perishable, _vendor_days, _calendars, _files, _own_files, _memory,
    _configuration, _keys, _keys_to_this_machine, _vendors, _clock, _paused,
)  # fmt: skip
# The checks of things that change by themselves, and take little time. Those that are also metrics
# create no downloader.
COUNTED: tuple[Find, ...] = (_folders, _size, _freshness, _vendor_days, _memory, _paused)
WATCHED: tuple[Find, ...] = (*COUNTED[:-1], _vendors, _paused)
# Those that a page on the installation shows, too.
SERVED: tuple[Find, ...] = (*WATCHED, _perishable)
