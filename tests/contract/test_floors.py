"""Tests that imports only go down the layers drawn in docs/architecture.md."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from src.data.core import interface
from tests.contract.source import ROOT, Module, expect_none, imports, module, modules, room, targets
from tests.contract.way import ring_of

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
    "fundamentals": 8, "macro": 8, "filings": 8, "provider_selector": 8, "own_loops": 8,
    "bars": 9,
    "interface": 10, "wiring": 10,
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

# Each folder, and the folders and modules of the root that it may import besides itself. The package
# root and what starts the command stand above all of them.
_CORE = frozenset({"errors", "core"})
_BELOW_THE_FACADE = _CORE | {"feed", "features", "jobs"}
_FACADE = _BELOW_THE_FACADE | {"data_manager"}
LAYERS = {
    "errors": frozenset[str](),
    "core": frozenset({"errors"}),
    "feed": _CORE,
    "features": _CORE,
    "jobs": _CORE | {"feed", "features"},
    "data_manager": _BELOW_THE_FACADE,
    "db": _FACADE,
    "show": _FACADE,
    "research": _FACADE | {"db"},
    "server": _FACADE | {"db", "show"},
    "cli": _FACADE | {"db", "show", "research", "server"},
    "doors": _FACADE | {"db", "show", "research", "server", "cli"},
}
ROOT_MODULES = {"", "__main__", "_version"}


def outside_the_layers(source: Module) -> set[tuple[str, str]]:
    """Return what ``source`` imports of folders that its own folder may not import."""
    folder = source.name.partition(".")[0]
    if folder in ROOT_MODULES:
        return set()
    allowed = {folder, *ROOT_MODULES, *LAYERS.get(folder, ())}
    return {(source.name, t) for t, _ in targets(source) if t.partition(".")[0] not in allowed}


def test_each_folder_imports_only_the_folders_of_its_row() -> None:
    assert {pair for m in modules() for pair in outside_the_layers(m)} == set()


def test_every_folder_has_a_row() -> None:
    assert {m.name.partition(".")[0] for m in modules()} == LAYERS.keys() | ROOT_MODULES


@pytest.mark.parametrize(
    "name, code",
    [
        ("errors", "from .core.model.words import caller"),
        ("core.cache.store", "from ...jobs.progress import events"),
        ("core.wiring", "def build():\n    from ..show.charts import draw"),
        ("feed.services", "from ..features import features"),
        ("feed.services", "if TYPE_CHECKING:\n    from ..data_manager import DataManager"),
        ("jobs.fill.populate", "from ...data_manager import DataManager"),
        ("data_manager", "from .db.universe import open_universes"),
        ("show.charts.draw", "from ...db import universe"),
        ("research.at", "from ..show.charts import draw"),
        ("server.pages", "from ..research.bundles import scan"),
        ("cli.fetch", "from ..doors.yf import ticker"),
        ("gadgets.nice", "from ..errors import DataError"),
    ],
)
def test_an_import_of_another_folder_is_found(name: str, code: str) -> None:
    assert len(outside_the_layers(Module(name, code))) == 1


# Where a ring imports a higher one (``weight.json``): the names of the root, the facade's methods, the
# composition root, for many hosts and macro series, and a recorded run, for its receipt.
COMPOSING = {"", "core.wiring", "data_manager", "research.lineage.lineage"}


def imports_of_higher_rings(source: Module) -> list[tuple[str, bool]]:
    """Return each import of a ring above that of ``source``, and whether it runs with the module itself."""
    own, known = ring_of(source), {m.name: m for m in modules()}
    checked = [n for n in source.nodes if isinstance(n, ast.If) and _is_for_types(n)]
    lines = {line for n in checked for line in range(n.lineno, (n.end_lineno or n.lineno) + 1)}
    return [
        (target, item.function is None and item.line not in lines)
        for target, item in targets(source)
        if target in known and ring_of(known[target]) > own
    ]


def _is_for_types(node: ast.If) -> bool:
    return isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def test_no_ring_imports_a_higher_one_but_on_use_where_it_composes_or_in_a_command() -> None:
    found = {m.name: imports_of_higher_rings(m) for m in modules() if m.name != "__main__"}
    assert [
        (name, t) for name, pairs in found.items() for t, is_at_once in pairs if is_at_once
    ] == []
    assert {name for name, pairs in found.items() if pairs and room(name) != "cli"} == COMPOSING
    assert {room(target) for target, _ in found["core.wiring"]} == {"hosts", "macro", "filings"}
    assert {room(t) for name, pairs in found.items() if room(name) == "cli" for t, _ in pairs} == {
        "research",
        "server",
    }


@pytest.mark.parametrize(
    "name, code, is_at_once",
    [
        ("core.bars.client", "from ...jobs.fill import populate", True),
        ("core.bars.client", "def f():\n    from ...jobs.fill import populate", False),
        ("core.bars.client", "if TYPE_CHECKING:\n    from ..macro.service import Macro", False),
        ("jobs.progress.bar", "from ..fill.populate import populate_cache", True),
        ("research.bundles.scan", "from ..at import ManagerAt", True),
    ],
)
def test_an_import_of_a_higher_ring_is_found(name: str, code: str, is_at_once: bool) -> None:
    assert [at_once for _, at_once in imports_of_higher_rings(Module(name, code))] == [is_at_once]


def test_an_import_of_the_same_or_a_lower_ring_is_no_fault() -> None:
    code = "from ...core.bars import client\nfrom ..progress import bar\nfrom ..run import runner"
    assert imports_of_higher_rings(Module("jobs.fill.populate", code)) == []


def floor_violations(source: Module) -> list[str]:
    """Return what in ``source`` imports upward, sideways, or by an older path."""
    if not source.name:
        return []
    if source.top not in FLOORS:
        return [f"{source.name}: `{source.top}` is on no floor; add it to FLOORS and to the docs"]
    found = []
    for target, item in targets(source):
        where = f"{source.name}:{item.line} imports {target or 'the package root'}"
        if not _is_allowed(source, target, item.names):
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


# What rings B and C, and all that is above the core, import of it: four interfaces ...
INTERFACES = {"core.bars.client", "core.interface", "core.provider_selector", "core.wiring"}
# ... and values, pure rules, and what they need of the machine.
VALUES = {
    "calendars", "clock", "config", "disk", "guesses", "members", "model", "observability", "parts",
    "prices", "registry", "runtime", "symbols",
}  # fmt: skip
# The exceptions: each module, and the inner modules of the core that it imports. The list is exact and only
# gets shorter. These look after the store and the vendors themselves, show what they return, keep what a
# stream has sent, or are those folders of the core that are in rings B and C.
BEHIND_THE_INTERFACES = {
    "cli.alerts": "net.http.webhook",
    "cli.cache_clean": "cache.retention.age",
    "cli.cache_maintenance": (
        "cache.layout cache.legacy.migrate cache.recovery.check cache.upkeep.compact "
        "cache.upkeep.other_data"
    ),
    "cli.cached": "cache.format.lane_entry cache.upkeep.other_data",
    "cli.hosts": "hosts.detached hosts.folder hosts.state",
    "core.filings.kept": "cache.format.gzip_member",
    "core.filings.service": (
        "net.calls.deadline net.limits.locks vendors.factory vendors.fundamentals_request "
        "vendors.sec.acceptance vendors.sec.answers vendors.sec.filings vendors.sec.former "
        "vendors.sec.fundamentals vendors.sec.identity vendors.sec.lines vendors.sec.statements"
    ),
    "core.hosts.connect": "cache.store net.limits.leases net.limits.state",
    "core.hosts.decisions": "cache.layout cache.values",
    "core.hosts.detached": "cache.layout",
    "core.hosts.folder": (
        "cache.actions cache.document_cache cache.format.json_document cache.lane_files cache.layout "
        "cache.store cache.values"
    ),
    "core.hosts.leases": "net.calls.deadline net.limits.leases",
    "core.hosts.limits": (
        "net.limits.account_row net.limits.circuit_breaker net.limits.quota net.limits.state "
        "net.limits.state_tables net.limits.unknown_symbols"
    ),
    "core.hosts.notes": "cache.format.json_document",
    "core.macro.history": "vendors.fred.series",
    "core.macro.service": (
        "cache.format.gzip_member net.calls.deadline net.limits.locks vendors.factory "
        "vendors.fred.series"
    ),
    "core.own_loops.limiters": "net.http.sender_pool net.limits.limiter net.limits.state vendors.factory",
    "core.own_loops.retry": "net.http.retry",
    "data_manager": "fundamentals.request hosts.state",
    "feed.backtrader.live": "vendors.binance.stream",
    "feed.file_data_feed": "vendors.local.bars",
    "feed.live_feeds": "bars.derive.sources bars.selection.lanes bars.stream_store net.http.websocket",
    "feed.services": "bars.observer vendors.factory vendors.ibkr.bars",
    "feed.streams.connection": "net.http.audit net.http.websocket net.limits.limiter",
    "jobs.doctor.health": (
        "bars.refetchable bars.request bars.selection.lanes cache.facade.folder cache.facade.listing "
        "cache.layout cache.recovery.check cache.retention.disk_usage cache.retention.eviction "
        "cache.retention.inventory cache.retention.manager cache.store cache.upkeep.maintenance "
        "hosts.connect hosts.state net.http.redact"
    ),
    "jobs.export.export": (
        "bars.answer.answer bars.answer.reader bars.fetch.lane bars.series bars.validity cache.layout "
        "cache.store"
    ),
    "jobs.fill.freshness": "bars.freshness cache.layout cache.store",
    "jobs.fill.perishable": "cache.beside.tables cache.format.lane_entry cache.store vendors.figures",
    "jobs.fill.populate": "cache.format.lane_entry cache.store",
    "jobs.fill.refresh_fundamentals": "fundamentals.merge fundamentals.request fundamentals.service",
    "jobs.run.nights": "cache.facade.summaries",
    "jobs.run.other_hosts": "cache.store",
    "jobs.run.runner": "net.limits.guarded_call",
    "jobs.validation.accepted": "cache.acceptances",
    "jobs.validation.quarantine": "cache.store",
    "jobs.validation.verify": (
        "bars.answer.reader bars.ingest.commit bars.selection.candidates cache.actions "
        "cache.legacy.reader cache.store"
    ),
    "jobs.vendors.extras": "net.http.sender_pool",
    "jobs.vendors.key_probe": "vendors.foreign vendors.session",
    "jobs.vendors.matrix": "vendors.factory",
    "jobs.vendors.vendors": "vendors.factory vendors.fundamentals_table",
    "research.filings.announcements": "filings.service",
    "research.filings.company": "filings.service",
    "research.filings.lines": "filings.service",
    "research.filings.splits": "filings.service",
    "research.loading.failover": "net.limits.circuit_breaker",
    "research.sources.adapters": "own_loops.limiters own_loops.retry",
}  # fmt: skip


def behind_the_interfaces(source: Module) -> set[str]:
    """Return the inner modules of the core that a module of rings B and C, or above its bars, imports."""
    folder = source.name.partition(".")[0]
    is_inner = folder == "core" and ring_of(source) == "A" and _floor(source.name) <= FLOORS["bars"]
    if is_inner or source.name in INTERFACES or folder in ROOT_MODULES:
        return set()
    inner = {target for target, _ in targets(source) if target.startswith("core.")} - INTERFACES
    return {name.removeprefix("core.") for name in inner if room(name) not in {*VALUES, source.top}}


def test_the_core_is_reached_by_its_interfaces_and_values_except_by_those_listed() -> None:
    found = {m.name: behind_the_interfaces(m) for m in modules()}
    listed = {name: set(inner.split()) for name, inner in BEHIND_THE_INTERFACES.items()}
    assert {name: inner for name, inner in found.items() if inner} == listed


@pytest.mark.parametrize(
    "name, code, inner",
    [
        ("show.new", "from ..core.cache.store import BarStore", {"cache.store"}),
        ("feed.new", "def f():\n    from ..core.net.calls import deadline", {"net.calls.deadline"}),
        ("jobs.new", "from ..core.bars.fetch.plan import FetchPlan", {"bars.fetch.plan"}),
        ("jobs.new", "from ..core.newfolder import thing", {"newfolder"}),
        ("data_manager", "from .core.vendors.base import is_ours", {"vendors.base"}),
        ("core.members", "from .bars.service import BarsService", {"bars.service"}),
        ("core.hosts.new", "from ..cache.store import BarStore", {"cache.store"}),
        ("core.hosts.new", "from .folder import SharedFolder", set()),
        ("core.bars.new", "from ..cache.store import BarStore", set()),
        ("core.wiring", "from .bars.service import BarsService", set()),
        ("show.new", "from ..core.interface import run_call", set()),
        ("show.new", "from ..core.bars.client import BarsClient", set()),
        ("show.new", "from ..core.model.time import span\nfrom ..errors import DataError", set()),
    ],
)
def test_an_import_behind_the_interfaces_is_found(name: str, code: str, inner: set[str]) -> None:
    assert behind_the_interfaces(Module(name, code)) == inner


def test_the_interface_has_the_names_that_are_imported_from_it() -> None:
    offered = {name for names in interface.HOMES.values() for name in names.split()}
    imported = {
        (name, source.name.partition(".")[0])
        for source in modules()
        for target, item in targets(source)
        if target == "core.interface"
        for name in item.names
    }
    assert {name for name, _ in imported} == offered
    assert all(hasattr(interface, name) for name in offered)


def test_importing_the_interface_loads_none_of_its_modules() -> None:
    code = (
        "import sys, onetape.data.core.interface as interface\n"
        "from onetape.data.core.interface import RetryPolicy\n"
        "print(*sorted(n for n in sys.modules if n.removeprefix('onetape.data.core.') in interface.HOMES))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, text=True, cwd=ROOT
    )
    assert ran.stdout.split() == ["onetape.data.core.net.http.retry"]


def test_another_name_is_not_in_the_interface() -> None:
    with pytest.raises(AttributeError, match=r"core\.interface' has no .* 'HttpTransport'"):
        _ = interface.HttpTransport


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


def test_no_file_imports_in_a_circle_or_itself() -> None:
    graph = {m.name: {target for target, _ in targets(m)} for m in modules()}
    assert circles(graph) == []


def test_no_folder_of_bars_imports_in_a_circle() -> None:
    graph = _folders("bars")
    assert {"answer", "ingest", "selection", "series"} <= graph.keys()
    assert circles(graph) == []


# Reads and writes repair, a migration too, and removal reads the listing. The list only shrinks.
_UPWARDS = {
    "acceptances": "recovery",
    "legacy": "recovery",
    "read": "recovery",
    "write": "recovery",
    "retention": "facade",
    "upkeep": "facade",
}


def test_no_folder_of_the_cache_imports_in_a_circle_except_by_those_listed() -> None:
    graph = _folders("cache")
    for folder, above in _UPWARDS.items():
        assert above in graph[folder], f"{folder} can be taken from the list"
        graph[folder].remove(above)
    assert circles(graph) == []


def _folders(package: str) -> dict[str, set[str]]:
    """Return the folders of a package of the core, and the files in none, with those that each imports."""
    graph: dict[str, set[str]] = {}
    for source in modules():
        if room(source.name) == package:
            inner = {_part(target) for target, _ in targets(source) if room(target) == package}
            graph.setdefault(_part(source.name), set()).update(inner - {_part(source.name)})
    return graph


def _part(name: str) -> str:
    """Return the folder of a file of a package of the core, or the file if it is in none."""
    return f"{name}.".split(".")[2]


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
        ("core.bars.fetch.plan", "from ...interface import RetryPolicy"),
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
        ("core.model.identity.series", "from ...registry import is_sample"),
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
    # Only programs call it without a store of the wiring's; a run's receipt is on trial.
    assert {n: p for n, p in others.items() if p} == {
        "core.cache.facade.folder": {"hosts"},
        "research.lineage.lineage": {"research"},
    }
    named = {getattr(node, kind, "") for node in facade.nodes for kind in ("id", "attr", "name")}
    assert "import_module" not in named
