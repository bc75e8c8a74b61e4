"""``onetape hosts``: attaches a cache folder to a store that many hosts share, or detaches it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..core.model.display.texts import duration
from ..errors import ConfigError
from .arguments import command, option
from .cached import manager_of
from .result import Line, Report
from .tables import counted, table

if TYPE_CHECKING:
    from ..core.hosts.folder import SharedFolder
    from ..core.hosts.state import HostState, SeriesState

EXAMPLES = ("hosts status", "hosts attach")
SENDS_REQUESTS = False

# States with exit code 0: a host that is behind fetches changes when it needs them.
_FINE = ("in step", "behind")
_EPILOG = "Store: ONETAPE_STORE, else store.url in the rules. Its password is never shown."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's sub-commands to its parser."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    status = actions.add_parser(
        "status", help="show whether this folder is up to date with the store"
    )
    attach = actions.add_parser(
        "attach", help="offer the bars of this folder to the store; can be interrupted and repeated"
    )
    detach = actions.add_parser("detach", help="make this folder a cache of one machine again")
    verify = actions.add_parser("verify", help="list the series that differ from the store")
    option(verify, "--deep", "compare the digest of every file, here and on the server")
    for action, work in (
        (status, _status),
        (attach, _attach),
        (detach, _detach),
        (verify, _verify),
    ):
        command(action, work)
        action.epilog = _EPILOG


def _hosts(args: argparse.Namespace) -> SharedFolder:
    """Return the part of this host in the shared store.

    Raises:
        ConfigError: No shared store is configured.
    """
    hosts: Any = manager_of(args).cache.store.hosts
    if not hasattr(hosts, "shared"):
        raise ConfigError(
            "no shared store is configured",
            hint="set ONETAPE_STORE, or store: {url: ...} in the rules",
        )
    return hosts  # type: ignore[no-any-return]


def _status(args: argparse.Namespace) -> Report:
    hosts = _hosts(args)  # first, because it says so if the extra is missing
    from ..core.hosts.state import host_state

    state = host_state(hosts)
    return Report(state.to_json(), _state_shown(state), ok=state.state in _FINE)


def _state_shown(state: HostState) -> list[Any]:
    lines: list[Any] = [Line(state.state, "bold")]
    if state.reason:
        lines.append(Line(f"  {state.reason}", "red"))
    if state.store:
        lines.append(Line(f"  store {state.store}, {counted(state.total, 'series')}"))
    lines += [Line(f"  {warning}", "yellow") for warning in state.warnings]
    lines.append(Line(f"  vendors' limits count the requests of {state.limits}"))
    return lines + _table(state.series) + _vendors(state)


def _vendors(state: HostState) -> list[Any]:
    """Return a table of vendors: the limits that all hosts together have used, or the pause."""
    rows = []
    for vendor in state.vendors:
        windows = vendor.used.items()
        used = [f"{n:g} in {duration(float(w.rstrip('s')))}" for w, n in windows]
        paused = f"{vendor.endpoint} for {duration(vendor.paused_s)}: {vendor.reason}".strip()
        rows.append({"vendor": vendor.vendor, "used": used, "paused": "" if used else paused})
    return [table(rows, "vendor used? paused?")] if rows else []


def _table(series: tuple[SeriesState, ...] | list[SeriesState]) -> list[Any]:
    rows = [{"series": str(one.series), "state": one.state, "behind": one.behind} for one in series]
    reasons = [Line(f"{one.series}: {one.reason}", "red") for one in series if one.reason]
    return [table(rows, "series state behind#"), *reasons] if rows else []


def _attach(args: argparse.Namespace) -> Report:
    hosts = _hosts(args)
    from ..core.hosts.state import attach, host_state

    done = dict(attach(hosts))
    state = host_state(hosts)
    left_out = {str(series): reason for series, reason in hosts.left_out.items()}
    document = {"symbols": done, "left_out": left_out} | state.to_json()
    series = counted(sum(done.values()), "series")
    lines = [Line(f"{counted(len(done), 'symbol')} attached, {series}", "bold")]
    for series, reason in left_out.items():
        lines.append(Line(f"  not all bars of {series} were offered: {reason}", "red"))
    if (before := hosts.notes.folder / "before").exists():
        lines.append(Line(f"  replaced files: {before}"))
    is_fine = state.state in _FINE and not left_out
    return Report(document, [*lines, *_state_shown(state)], ok=is_fine)


def _detach(args: argparse.Namespace) -> Report:
    from ..core.config.settings import load_settings
    from ..core.hosts.detached import detach

    folder = load_settings(getattr(args, "cache_dir", None)).cache_dir
    before = detach(folder)
    lines = [Line(f"{folder} is a cache of one machine", "bold")]
    if before is not None:
        lines.append(Line(f"  files that the store had replaced: {before}"))
    return Report({"folder": str(folder), "before": before and str(before)}, lines)


def _verify(args: argparse.Namespace) -> Report:
    hosts = _hosts(args)
    from ..core.hosts.state import verify

    # A series that is only behind does not differ from the state that it shows.
    differing = [lane for lane in verify(hosts, deep=args.deep) if lane.state != "behind"]
    document = {
        "ok": not differing,
        "deep": args.deep,
        "differ": [
            {"series": str(lane.series), "state": lane.state, "reason": lane.reason}
            for lane in differing
        ],
    }
    line = "every series matches the store" if not differing else f"{len(differing)} series differ"
    return Report(document, [Line(line, "bold"), *_table(differing)], ok=not differing)
