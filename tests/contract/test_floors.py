"""Tests that imports only go down the layers drawn in docs/architecture.md."""

from __future__ import annotations

import ast
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.contract.source import Module, expect_none, imports, module, modules, room, targets

FLOORS = {
    "_version": 0, "registry": 0, "core": 0, "doors": 0,
    "errors": 0, "clock": 0, "runtime": 0,
    "disk": 1, "model": 1, "parts": 1,
    "calendars": 2, "guesses": 2, "symbols": 2,
    "config": 3, "prices": 3,
    "observability": 4, "cache": 4,
    "net": 5,
    "hosts": 6,
    "vendors": 7,
    "fundamentals": 8, "macro": 8, "provider_selector": 8, "own_loops": 8,
    "bars": 9,
    "wiring": 10,
    "members": 11, "features": 11,
    "feed": 12,
    "jobs": 13,
    "data_manager": 14,
    "db": 15, "show": 15, "yf": 15,
    "research": 16,
    "server": 17,
    "cli": 18,
    "compat": 19, "__main__": 19, "older_paths": 19,
}  # fmt: skip

# Documented names that moved up: the root of a package shows them without using them.
FACES = {("feed", "doors.compat.data_feed_factory")}


def floor_violations(source: Module) -> list[str]:
    """Return what in ``source`` imports upward, sideways, or by an older path."""
    if not source.name:
        return []
    if source.top not in FLOORS:
        return [f"{source.name}: `{source.top}` is on no floor; add it to FLOORS and to the docs"]
    found = []
    for target, item in targets(source):
        where = f"{source.name}:{item.line} imports {target or 'the package root'}"
        if (source.name, target) not in FACES and not _is_allowed(source, target, item.names):
            found.append(where)
    return found


def _is_allowed(source: Module, target: str, names: tuple[str, ...]) -> bool:
    if not target:  # `from . import __version__`
        return set(names) <= {"__version__"}
    if room(target) == source.top:
        return _is_allowed_inside(source, target)
    return _floor(target) < _floor(source.name)


def _floor(name: str) -> int:
    """Return the floor of a module's room."""
    return FLOORS.get(room(name), 99)


def _is_allowed_inside(source: Module, target: str) -> bool:
    """Inside one package modules may use each other, but vendors stand alone."""
    if source.is_vendor:
        return Module(target, "").vendor in (None, source.vendor)
    return True


def test_no_module_imports_from_a_higher_floor() -> None:
    expect_none([v for m in modules() for v in floor_violations(m)])


def test_imports_inside_the_package_are_relative() -> None:
    expect_none([v for m in modules() for v in absolute_self_imports(m)])


def absolute_self_imports(source: Module) -> list[str]:
    """Return absolute imports of this library; the root needs one, which serves its older name."""
    ours = ("src", "onetape") if source.name else ("src",)
    return [f"{source.name}:{i.line}" for i in imports(source) if i.foreign in ours]


# Above `bars` it is the client that is used. These look after the store and the vendors themselves, or
# keep what a stream has sent.
BELOW_THE_CLIENT = {
    "feed.services", "feed.live_feeds",
    "jobs.validation.confirm", "jobs.export.export", "jobs.fill.freshness", "jobs.doctor.health",
    "jobs.validation.verify", "core.wiring",
}  # fmt: skip


def client_violations(source: Module) -> list[str]:
    """Return what of ``bars`` but its client a module above it imports."""
    if FLOORS.get(source.top, 0) <= FLOORS["bars"] or source.name in BELOW_THE_CLIENT:
        return []
    return [
        f"{source.name}:{item.line} imports {target}; bars.client has what is needed above bars"
        for target, item in targets(source)
        if _is_below_the_client(target)
    ]


def _is_below_the_client(target: str) -> bool:
    return room(target) == "bars" and target not in ("core.bars", "core.bars.client")


def test_bars_are_reached_by_their_client() -> None:
    expect_none([v for m in modules() for v in client_violations(m)])
    below = {m.name for m in modules() for t, _ in targets(m) if _is_below_the_client(t)}
    assert below >= BELOW_THE_CLIENT, "what needs no more than the client stands here no longer"


MOST_FLOORS = 20


def test_packages_are_whole_on_few_floors() -> None:
    assert {name for name in FLOORS if "." in name} == set()
    assert sorted(set(FLOORS.values())) == list(range(MOST_FLOORS))


def test_every_module_has_a_floor() -> None:
    tops = {m.top for m in modules() if m.name}
    assert sorted(tops - FLOORS.keys()) == []


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """Return the files that import each other in circles, lazy imports and those for types too."""
    sorter = TopologicalSorter(graph)
    try:
        sorter.prepare()
    except CycleError as exc:
        return [exc.args[1]]
    return []


def test_no_file_imports_in_a_circle() -> None:
    graph = {m.name: {target for target, _ in targets(m)} - {m.name} for m in modules()}
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) != []
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    "name, code",
    [
        ("core.model.time.span", "from ...calendars import gaps"),
        ("core.model.time.span", "from ...disk.files import Disk"),
        ("core.cache.store", "from ..net.http import HttpTransport"),
        ("core.net.http.http", "from ...vendors import base"),
        ("core.cache.store", "def read():\n    from ..wiring import build"),
        ("core.cache.store", "from ..wiring import build"),
        ("core.cache.facade.unified_cache", "def __init__(self):\n    from ...wiring import build"),
        ("core.calendars.finality", "if TYPE_CHECKING:\n    from ..config import rules"),
        ("core.vendors.acme.bars", "from ..tiingo.bars import B"),
        ("core.registry", "from .model.time.span import Span"),
        ("core.registry", "from .vendors.base import BaseDataDownloader"),
        ("core.provider_selector", "from .bars.fetch import plan"),
        ("jobs.fill.populate", "from ...data_manager import DataManager"),
        ("jobs.fill.populate", "from ... import DataManager"),
        ("data_manager", "from .cli import main"),
        ("cli.fetch", "from ..ohlcv_contract import REQUIRED_COLUMNS"),
        ("gadgets.nice", "import json"),
    ],
)  # fmt: skip
def test_the_floor_gate_refuses_an_import_upwards(name: str, code: str) -> None:
    assert floor_violations(Module(name, code)) != []


@pytest.mark.parametrize(
    "name, code",
    [
        (
            "core.calendars.gaps",
            "from ..model.time.span import Span\nfrom .calendar import sessions",
        ),
        ("core.calendars.calendar", "from .sessions import SESSIONS"),
        ("core.bars.fetch.plan", "from ..provider_selector import ProviderSelector"),
        ("core.calendars.finality", "from .gaps import find"),
        ("core.vendors.acme.bars", "from ..base import BaseDataDownloader"),
        ("core.model.identity.kind", "from ...registry import row_of"),
        ("core.net.http.http", "from ..limits.steady import Limiter\nimport requests"),
        ("cli.fetch", "from ..data_manager import DataManager\nfrom .. import __version__"),
    ],
)
def test_the_gate_lets_pass(name: str, code: str) -> None:
    assert floor_violations(Module(name, code)) == []


def test_an_absolute_import_of_ourselves_is_refused() -> None:
    assert absolute_self_imports(Module("x", "from src.data.errors import DataError")) == ["x:1"]
    assert absolute_self_imports(Module("x", "import onetape.data.errors")) == ["x:1"]


# What the facade loads of packages built above it, at one place, when it is first used.
ABOVE_THE_FACADE = {"db", "research.at", "show"}
# What those may use, so that they see bars as a user does: nothing of the store, of vendors, of the network.
OPEN_TO_THEM = {
    "", "_version", "core.bars.client", "calendars", "clock", "config", "data_manager", "disk",
    "errors", "jobs", "model", "observability", "parts", "prices", "runtime", "symbols",
}  # fmt: skip


def test_packages_above_the_facade_use_only_its_public_names() -> None:
    expect_none([
        f"{source.name}:{item.line} imports {target}"
        for source in modules()
        if {source.top, source.name} & ABOVE_THE_FACADE
        for target, item in targets(source)
        if not {target, room(target)} & {*OPEN_TO_THEM, source.top}
    ])  # fmt: skip


# The doors show what these compute, and import nothing below them but values.
OPEN_TO_THE_DOORS = {
    "",
    "core.bars.client",
    "show",
    "clock",
    "data_manager",
    "errors",
    "jobs",
    "model",
    "core.observability.prometheus",
    "server",
}


def test_the_doors_import_only_the_facade_the_client_the_jobs_and_values() -> None:
    expect_none([
        f"{source.name}:{item.line} imports {target}"
        for source in modules()
        if source.top == "server"
        for target, item in targets(source)
        if not {target, room(target)} & OPEN_TO_THE_DOORS
    ])  # fmt: skip


def loaded_parts(source: Module) -> set[str]:
    """Return the packages that a module looks up by name."""
    if "load_part" not in source.text:
        return set()
    calls = [node for node in source.nodes if isinstance(node, ast.Call)]
    named = [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "load_part"]
    return {
        room(ast.literal_eval(call.args[0]))
        for call in named
        if isinstance(call.args[0], ast.Constant)
    }


def test_the_facade_loads_packages_of_higher_floors_through_one_lookup() -> None:
    facade = module("data_manager")
    parts = loaded_parts(facade)
    above = {name for name in parts if FLOORS[name] > FLOORS["data_manager"]}
    assert above == {"db", "research", "show"}  # the store of frames of `research` keeps features
    assert parts - above == {"feed", "jobs"}
    others = {m.name: loaded_parts(m) for m in modules() if m.name != "data_manager"}
    # Only programs call it without a store of the wiring's.
    assert {n: p for n, p in others.items() if p} == {"core.cache.facade.folder": {"hosts"}}
    named = {getattr(node, kind, "") for node in facade.nodes for kind in ("id", "attr", "name")}
    assert "import_module" not in named
