"""What works on this machine and what does not, as plain values."""

from __future__ import annotations

import importlib.util
import os
import platform
import shlex
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from .._version import __version__
from ..cache.retention.eviction import BYTES_IN_GB
from ..clock import SystemClock
from ..config.survey import Survey, Where, survey
from ..disk.mounts import network_file_system
from ..disk.privacy import readable_by_others
from ..disk.scratch import free_bytes, refusal_to_write
from ..errors import ConfigError, RulesError
from ..model.instant import MINUTE_MS
from ..model.settings import Settings
from ..model.texts import duration
from ..net.reach import Reached, reach_all
from ..net.senders import Senders
from ..network import Network
from ..provider_selector import ProviderSelector
from ..vendors.registry import VENDORS
from .eviction_report import freeable_of, in_words
from .health import Check, catalogue_of, health
from .vendors import describe_vendors, lack, selector_of

__all__ = ["Check", "checkup"]

# Extra to the module that comes with it, and what it is good for.
EXTRAS = {
    **{name: (row.package, row.package_use) for name, row in VENDORS.items() if row.package},
    "live": ("websocket", "listens to the streams of vendors"),
    "backtrader": ("backtrader", "makes live feeds datas of Backtrader"),
    "parquet": ("pyarrow", "reads and writes Parquet files"),
    "fast": ("isal", "compresses and inflates long files in a tenth of the time"),
    "metrics": ("prometheus_client", "serves the counters of a program to Prometheus"),
    "demo": ("bokeh_sampledata", "real daily bars of 2000 to 2013, without a network"),
}
LITTLE_SPACE = 1e9
# Of files that others can read no more are counted.
_FILES_NAMED = 10_000
# Dates of HTTP are full seconds, and answers take their time.
_CLOCK_OFF_MS = MINUTE_MS
_SOURCES = {"argument": "the argument", "user cache folder": "the user's cache folder"}


def checkup(
    cache_dir: Where = None,
    config_path: Where = None,
    *,
    network: bool = True,
    full: bool = False,
) -> list[Check]:
    """Look at versions, extras, places, rules, keys and vendors; nothing is changed.

    A configuration that cannot be used is a finding: the rest is looked at without it.

    Args:
        cache_dir, config_path: as for the data manager.
        network: whether to knock at the vendors' doors (one small request each).
        full: whether to read every file of data, however long that takes.
    """
    try:
        found = survey(cache_dir, config_path)
    except ConfigError as error:
        return [*_installation(), Check("places", "home", False, *_words(error))]
    selector = selector_of(found.settings)
    catalogue = catalogue_of(found.settings.cache_dir, selector)
    held = catalogue.holdings()
    return [
        *_installation(),
        *_places(found, selector, held.size.bytes),
        *health(catalogue, selector, held, full=full),
        *_configuration(found, selector),
        *_keys(selector),
        *_vendors(selector, network=network),
        *_left_alone(found),
    ]


def _words(error: ConfigError) -> tuple[str, str]:
    return str(error.args[0]), error.hint or ""


def _left_alone(found: Survey) -> Iterator[Check]:
    """Say who is not asked just now: limits and bans hold for all processes, and over restarts."""
    clock = SystemClock()
    network = Network(Senders(clock, state_dir=found.settings.state_dir))
    for vendor, count in network.unknown_symbols().items():
        symbols = "a symbol" if count == 1 else f"{count} symbols"
        yield Check(
            "vendors",
            vendor,
            None,
            f"{symbols} not asked for: it does not know them",
            "each is asked for again within 6 h; a forced refresh asks at once",
        )
    for one in network.standing():
        minutes = max(1, round((one.until_ms - clock.now_ms()) / MINUTE_MS))
        what = f"{one.door} " if one.door else ""
        yield Check(
            "vendors",
            one.vendor,
            False,
            f"{what}not asked: {one.reason}",
            f"it is asked again in {minutes} min",
        )


def _installation() -> Iterator[Check]:
    python = f"onetape {__version__} on Python {platform.python_version()}, {platform.system()}"
    yield Check("installation", "version", None, python)
    for extra, (module, purpose) in EXTRAS.items():
        there = importlib.util.find_spec(module) is not None
        said = purpose if there else f"not installed: {purpose}"
        advice = "" if there else f'pip install "onetape[{extra}]"'
        yield Check("installation", f"extra {extra}", True if there else None, said, advice)


# --- places ----------------------------------------------------------------------------------


def _places(found: Survey, selector: ProviderSelector, size: int) -> Iterator[Check]:
    settings = found.settings
    source = settings.cache_dir_from
    yield _folder("cache", settings.cache_dir, f"from {_SOURCES.get(source, source)}")
    yield from _odd_name(settings.cache_dir)
    yield from _far_away(settings.cache_dir)
    yield from _size(settings, selector, size / BYTES_IN_GB)
    yield from _privacy(settings, is_wanted=selector.parsed_rules.cache.private)
    yield _folder("state", settings.state_dir, "ONETAPE_STATE_DIR sets it")


def _folder(topic: str, folder: Path, source: str) -> Check:
    said = f"{folder} ({source})"
    if refusal := refusal_to_write(folder):
        advice = f"choose another folder, or make {folder} writable for this user"
        return Check("places", topic, False, f"{said} cannot be written: {refusal}", advice)
    free = free_bytes(folder)
    room = "" if free is None else f", {free / 1e9:,.0f} GB free"
    if free is not None and free < LITTLE_SPACE:
        said, advice = f"{said}, only {free / 1e6:,.0f} MB free", "make room on that disk"
        return Check("places", topic, False, said, advice)
    later = "" if folder.exists() else ", made when it is first needed"
    return Check("places", topic, True, said + room + later)


def _odd_name(folder: Path) -> Iterator[Check]:
    if os.name != "nt" and any(":" in part for part in folder.parts):
        said = f"{folder} has a colon in it, like a drive of Windows"
        advice = "on this system that is an ordinary folder name; DATA_CACHE_DIR sets another"
        yield Check("places", "cache name", None, said, advice)


def _privacy(settings: Settings, *, is_wanted: bool) -> Iterator[Check]:
    """Say what other users of this machine can read; a fault only where it is not wanted."""
    folders = (settings.cache_dir, settings.state_dir)
    files = (path for folder in folders for path in readable_by_others(folder))
    found = list(islice(files, _FILES_NAMED + 1 if is_wanted else 1))
    if not found:
        if is_wanted:
            yield Check("places", "privacy", True, "no other user of this machine can read a file")
        return
    if not is_wanted:
        said = f"other users of this machine can read the cache's files, such as {found[0]}"
        advice = "cache.private: true in the rules makes new files their owner's alone"
        yield Check("places", "privacy", None, said, advice)
        return
    count = f"more than {_FILES_NAMED:,}" if len(found) > _FILES_NAMED else f"{len(found):,}"
    what = "file" if len(found) == 1 else "files"
    said = f"other users of this machine can read {count} {what}, such as {found[0]}"
    places = shlex.join(str(folder) for folder in folders if folder.exists())
    advice = f"they were made before cache.private was set: chmod -R go= {places}"
    yield Check("places", "privacy", False, said, advice)


def _far_away(folder: Path) -> Iterator[Check]:
    if kind := network_file_system(folder):
        said = f"a network file system ({kind}): columns are read and not mapped into memory"
        advice = (
            "DATA_CACHE_DIR names a folder on a disk of this machine; cache.columnar: read is quiet"
        )
        yield Check("places", "cache disk", None, said, advice)


def _size(settings: Settings, selector: ProviderSelector, held: float) -> Iterator[Check]:
    folder, limit_gb = settings.cache_dir, settings.max_size_gb
    if not folder.is_dir():
        return
    limit = f" of {limit_gb:g} GB allowed" if limit_gb else ", no limit"
    is_over = bool(limit_gb) and held > limit_gb
    why = f": {in_words(freeable_of(folder, selector, SystemClock()))}" if is_over else ""
    advice = "`onetape cache clean`, or raise CACHE_MAX_SIZE_GB" if is_over else ""
    yield Check("places", "cache size", not is_over, f"{held:,.3f} GB{limit}{why}", advice)


# --- health ------------------------------------------------------------------------------------


# --- configuration and keys ------------------------------------------------------------------


def _configuration(found: Survey, selector: ProviderSelector) -> Iterator[Check]:
    for error in found.errors:
        yield from _mistakes(error)
    if not found.errors:
        own = found.rules_path
        said = f"{own} over the packaged ones" if own else "the packaged ones"
        yield Check("configuration", "rules", True, said)
    for remark in found.remarks:
        yield Check("configuration", "environment", False, remark, "correct the variable")
    for name in sorted({v for r in selector.parsed_rules.rules.values() for v in r.vendors}):
        lacking = lack(selector, name)
        if lacking.reason:
            said = f"the rules name {name}: {lacking.reason}"
            yield Check("configuration", "rules", None, said, lacking.advice)
    if Path(".env").is_file():
        said, advice = (
            "there is a file .env here, and no program loads it",
            "set -a; . ./.env; set +a",
        )
        yield Check("configuration", ".env", None, said, f"export it first: {advice}")


def _mistakes(error: ConfigError) -> Iterator[Check]:
    """Yield one finding for each mistake; the packaged rules stand alone meanwhile."""
    if not isinstance(error, RulesError):
        yield Check("configuration", "settings", False, *_words(error))
        return
    head = str(error.args[0]).partition(":\n")[0]
    yield Check("configuration", "rules", False, head, "until then every command but this refuses")
    for problem in error.problems:
        yield Check("configuration", "rules", False, problem)


def _keys(selector: ProviderSelector) -> Iterator[Check]:
    for vendor in describe_vendors(selector):
        by_state: dict[str, list[str]] = {}
        for variable, state in vendor["keys"].items():
            by_state.setdefault(state, []).append(variable)
        for state, variables in by_state.items():
            yield _key(vendor, state, ", ".join(variables))


def _key(vendor: dict[str, Any], state: str, variables: str) -> Check:
    if state == "placeholder":
        said = f"{variables}: a placeholder out of a document, not a key"
        return Check("keys", vendor["name"], False, said, "put the real key there, or unset it")
    if state == "set":
        return Check("keys", vendor["name"], True, f"{variables} set")
    if vendor["requires_api_key"]:
        return Check("keys", vendor["name"], None, f"{variables} not set", "export it")
    return Check("keys", vendor["name"], None, f"{variables} not set, and not needed")


# --- vendors ---------------------------------------------------------------------------------


def _vendors(selector: ProviderSelector, *, network: bool) -> Iterable[Check]:
    vendors = describe_vendors(selector)
    doors = {v["name"]: v["base_url"] for v in vendors if v["ready"] and _is_remote(v)}
    reached = reach_all(doors) if network else {}
    routed = {name for way in selector.parsed_rules.rules.values() for name in way.vendors}
    checks = [_vendor(v, reached.get(v["name"]), is_routed=v["name"] in routed) for v in vendors]
    return [*checks, _clock(reached)]


def _clock(reached: Mapping[str, Reached]) -> Check:
    """Compare our clock with the vendors' dates; the one that it is nearest to counts."""
    offsets = [one.ahead_ms for one in reached.values() if one.ahead_ms is not None]
    if not offsets:
        said = "no vendor was asked what time it is: nothing vouches for this machine's clock"
        advice = "bars of the last day stay provisional until a vendor that sends a date is asked"
        return Check("vendors", "clock", None, said, advice)
    ahead = min(offsets, key=abs)
    if abs(ahead) <= _CLOCK_OFF_MS:
        return Check("vendors", "clock", True, "as the vendors' clocks")
    side = "ahead of" if ahead > 0 else "behind"
    said = f"this machine's clock is {duration(abs(ahead) / 1000)} {side} the vendors' clocks"
    return Check("vendors", "clock", False, said, "set it, by NTP for instance")


def _vendor(vendor: dict[str, Any], reached: Reached | None, *, is_routed: bool) -> Check:
    name = vendor["name"]
    if not vendor["ready"]:
        return Check("vendors", name, None, f"not usable: {vendor['why_not']}", vendor["advice"])
    if reached is None:
        said = "usable, the network was not tried" if _is_remote(vendor) else "usable"
        return Check("vendors", name, True, said)
    if not reached.ok and vendor["gateway"]:
        # Its package comes with others: who does not route to it need not run one.
        return Check(
            "vendors",
            name,
            False if is_routed else None,
            reached.refusal,
            "start the gateway and log in, if you want its bars; "
            f"host and port of providers.{name} in the rules say where it is",
        )
    if not reached.ok:
        advice = f"check the network and its proxy, or set providers.{name}.base_url in the rules"
        return Check("vendors", name, False, reached.refusal, advice)
    return Check("vendors", name, True, f"reached in {reached.seconds * 1000:.0f} ms")


def _is_remote(vendor: dict[str, Any]) -> bool:
    return bool(vendor["gateway"]) or str(vendor["base_url"]).startswith("http")
