"""The screen of ``onetape doctor --watch``: the state of everything, updated repeatedly."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..model.incident import incidents_of
from ..model.instant import iso
from ..model.texts import duration
from .output import console
from .report import OK, Report
from .tables import TextTable, counted, moment, size, styled

if TYPE_CHECKING:
    from rich.console import Console, Group

    from ..jobs.status import SeriesHealth, StaleSeries, StatusSnapshot, VendorState, Watch

# Default time between updates, in seconds.
_EVERY_S = 5.0
_MOST_INCIDENTS = 5


def run_watch(args: argparse.Namespace) -> Report | int:
    """Show the state of the installation repeatedly until Ctrl-C, or once with ``--json``.

    Returns:
        Exit code 0, even after Ctrl-C, which is the normal way to stop.
    """
    from ..jobs.status import Watch
    from ..net.reach import reach_all

    reach = None if args.no_network else reach_all
    watch = Watch(args.cache_dir, args.config, reach=reach)
    if args.json:
        return Report(watch.snapshot().to_json())
    try:
        _watch_forever(watch, args.every or _EVERY_S)
    except KeyboardInterrupt:
        pass  # the usual end
    return OK


def _watch_forever(watch: Watch, every_s: float) -> None:
    from rich.live import Live

    screen = console()
    live = Live(console=screen, auto_refresh=False, screen=False) if screen.is_terminal else None
    with live or nullcontext():
        while True:
            snapshot = watch.snapshot()
            if live is not None:
                live.update(whole(snapshot), refresh=True)
            else:
                _print_lines(screen, snapshot)
            watch.clock.sleep(every_s)


# --- a screen ----------------------------------------------------------------------------------


def whole(snapshot: StatusSnapshot) -> Group:
    """Return the content of the screen, with all parts of the state."""
    from rich.console import Group

    worries = [styled(f"✗ {worry}", "bold red") for worry in snapshot.worries()]
    vendors = [
        [
            vendor.name,
            _state(vendor),
            ", ".join(str(q) for q in vendor.quotas if q.length_s > 1) or "-",
        ]
        for vendor in snapshot.vendors
    ]
    # Problems come first, because a short terminal cuts off the end.
    verdict = worries or [styled("✓ no problems", "bold green")]
    return Group(
        styled(f"onetape at {moment(iso(snapshot.at_ms // 1000 * 1000))} UTC", "bold"),
        *verdict,
        *(styled(text, "yellow") for text in _incidents(snapshot)),
        "",
        TextTable(["vendor", "state", "left of its limits?"], vendors),
        "",
        *_machine(snapshot),
        "",
        *_series(snapshot.series),
        "",
        styled("Ctrl-C to stop", "dim"),
    )


def _incidents(snapshot: StatusSnapshot) -> list[str]:
    """Return the latest vendor incidents, one line each."""
    newest = incidents_of(snapshot.vendor_days)[::-1]
    more = len(newest) - _MOST_INCIDENTS
    lines = [f"incident: {incident}" for incident in newest[:_MOST_INCIDENTS]]
    return lines + ([f"and {counted(more, 'older incident')}"] if more > 0 else [])


def _state(vendor: VendorState) -> Any:
    if vendor.lack:
        return styled(vendor.lack, "dim")
    if vendor.pauses:
        return styled(f"paused until {moment(iso(vendor.pauses[0].until_ms))}", "bold red")
    if vendor.reached is None:
        return styled("ready", "green")
    if not vendor.reached.ok:
        return styled("cannot be reached", "bold red")
    return styled(f"ready, reached in {vendor.reached.seconds * 1000:.0f} ms", "green")


def _series(health: SeriesHealth) -> list[Any]:
    head: list[Any] = [styled(summary(health), "bold")]
    if health.stalest:
        columns = ["series", "newest final bar", "bars behind#", "market open since?"]
        head.append(TextTable(columns, [_stale_row(series) for series in health.stalest]))
    more = health.stale - len(health.stalest)
    return head + ([styled(f"and {more:,} more that are behind", "dim")] if more else [])


def _stale_row(series: StaleSeries) -> list[Any]:
    entry = series.to_json()
    age = duration(entry["age_s"]) if entry["age_s"] is not None else "-"
    name = f"{entry['symbol']} {entry['timeframe']}"
    return [name, moment(entry["newest"]), f"{entry['behind']:,}", age]


def summary(health: SeriesHealth) -> str:
    """Return one line with the numbers of fresh, stale and other series."""
    parts = [
        (health.fresh, "fresh"),
        (health.stale, "behind"),
        (health.at_rest, "idle"),
        (health.unread, "not read"),
    ]
    counts = ", ".join(f"{count:,} {what}" for count, what in parts if count)
    return f"{counted(health.total, 'series')}{': ' if counts else ''}{counts}"


def _machine(snapshot: StatusSnapshot) -> list[Any]:
    locations, memory = snapshot.locations, snapshot.memory
    fill, free = locations.fill, locations.free
    smaller = fill.compression_ratio
    ratio = f", {smaller:.1f} times smaller than plain text" if smaller else ""
    room = f", {size(free)} free" if free is not None else ""
    limit = f" of {locations.limit_gb:g} GB" if locations.limit_gb else ""
    quarantined = f", {counted(fill.quarantined, 'file')} in quarantine" if fill.quarantined else ""
    state = size(locations.state_bytes) if locations.state_bytes is not None else "nothing yet"
    lines = [
        (
            "cache",
            f"{size(fill.bytes)}{limit} in {counted(fill.files, 'file')}{ratio}{quarantined}{room}",
        ),
        ("state", f"{state} in {locations.state_file}"),
        ("memory", ", ".join(_memory(memory.used, memory.free))),
    ]
    return [f"{name:8}{text}" for name, text in lines]


def _memory(used: int | None, free: int | None) -> list[str]:
    parts = [f"{size(used)} used by this process"] if used is not None else []
    parts += [f"{size(free)} left on this machine"] if free is not None else []
    return parts or ["not reported by this system"]


# --- lines, if standard output is not a terminal -----------------------------------------------


def _print_lines(screen: Console, snapshot: StatusSnapshot) -> None:
    """Print a line for this update, followed by a line for each problem."""
    ready = sum(vendor.is_well for vendor in snapshot.vendors)
    paused = sum(bool(vendor.pauses) for vendor in snapshot.vendors)
    free, used = snapshot.locations.free, snapshot.memory.used
    parts = [
        iso(snapshot.at_ms),
        f"{counted(ready, 'vendor')} ready, {paused} paused",
        summary(snapshot.series),
        f"cache {size(snapshot.locations.fill.bytes)}",
        f"{size(free)} free" if free is not None else "",
        f"memory {size(used)}" if used is not None else "",
    ]
    screen.print(" · ".join(filter(None, parts)), soft_wrap=True)
    for series in snapshot.series.stalest:
        name, newest, behind, age = _stale_row(series)
        text = f"{behind} behind, newest {newest}, market open for {age}"
        screen.print(f"  {name}: {text}", soft_wrap=True)
    for worry in snapshot.worries():
        screen.print(f"  ✗ {worry}", soft_wrap=True)
    for text in _incidents(snapshot):
        screen.print(f"  {text}", soft_wrap=True)
    sys.stdout.flush()
