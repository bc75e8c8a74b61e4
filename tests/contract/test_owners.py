"""Tests that each dependency has one owner, and that the pure layers do no input or output."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import cache

import pytest

from tests.contract.source import Module, expect_none, imports, modules

# Import root -> where it may be imported, as prefixes of dotted names.
OWNERS = {
    "requests": ("core.net.",),
    "socket": ("core.net.",),
    "ssl": ("core.net.",),
    "http": ("core.net.",),
    "urllib": (),  # but for its pure part, which reads addresses
    "urllib3": ("core.net.",),
    "tenacity": ("core.net.",),
    "sqlite3": (
        "core.disk.database",
        "core.disk.derived",
        "core.net.limits.state",
        "core.cache.retention.index",
        "research.",
    ),
    "curl_cffi": ("core.vendors.yahoo.carrier",),
    "yfinance": ("core.vendors.yahoo.carrier",),
    "binance": ("core.vendors.binance.carrier",),
    "alpaca": ("core.vendors.alpaca.carrier",),
    "ccxt": ("core.vendors.ccxt.carrier",),
    "ib_async": ("core.vendors.ibkr.carrier",),
    "talib": ("features.rolling",),
    "polars": (
        "core.model.answer.interchange",
        "research.",
    ),
    "duckdb": ("research.bundles.sql",),
    "pyarrow": (
        "core.model.answer.interchange",
        "core.cache.format.csv_rows",
        "core.vendors.local.carrier",
        "server.bars",
    ),
    "websocket": ("core.net.http.websocket",),
    "websockets": (),  # of vendors' packages alone, which load its deprecated part
    "h5py": ("research.bundles.hdf5",),
    "hdf5plugin": ("research.bundles.hdf5",),
    "tables": (),  # unpickles attributes; only tests write files with it
    "backtrader": ("feed.backtrader.feed", "features.backtrader_indicator"),
    "yaml": ("core.config",),
    "filelock": ("core.disk.",),
    "msgspec": (
        "core.cache.format.",
        "core.hosts.limits",
        "core.hosts.postgres",
        "research.lineage.lineage",
        "research.lineage.lineage_check",
        "research.lineage.lineage_export",
        "research.lineage.run_records",
        "research.bundles.bundle_records",
        "core.net.limits.account_row",
        "core.net.limits.quota",
    ),
    "exchange_calendars": ("core.calendars.library",),
    "rich": ("cli", "jobs.progress.bar"),
    "shtab": ("cli.setup",),
    "croniter": ("db.",),
    "matplotlib": ("show.charts.draw",),
    "redis": (),  # of programs alone, which give their clients
    "valkey": (),
    "sqlalchemy": ("db.",),
    "alembic": ("db.",),
    "psycopg": ("db.", "core.hosts."),
    "anyio": ("server.agents",),
    "mcp": ("server.agents",),
    "mcp_types": ("server.agents",),
    "starlette": ("server.",),
    "uvicorn": ("server.",),
    "prometheus_client": ("core.observability.prometheus",),
}
# Never imported where time, randomness, files and sockets arrive as arguments.
IMPURE = frozenset({
    "aiohttp", "asyncio", "concurrent", "ctypes", "fcntl", "filelock", "http", "io", "logging",
    "multiprocessing", "os", "random", "requests", "secrets", "shutil", "signal", "socket",
    "sqlite3", "ssl", "subprocess", "tempfile", "tenacity", "threading", "time", "urllib",
    "urllib3", "yaml",
})  # fmt: skip
# Pure parts of modules that are otherwise not: they compute and touch nothing.
PURE_PARTS = {"urllib.parse"}
CLOCK_CALLS = {"now", "utcnow", "today"}

WRITING_METHODS = {
    "write_text", "write_bytes", "touch", "mkdir", "makedirs", "unlink", "rmdir", "rename",
    "chmod", "symlink_to", "hardlink_to", "rmtree", "copyfile", "copytree", "move", "to_csv",
    "to_parquet", "to_pickle", "savez", "tofile", "NamedTemporaryFile", "TemporaryDirectory",
    "mkstemp", "mkdtemp", "fsync", "fdatasync", "ftruncate",
}  # fmt: skip
OS_WRITERS = {"replace", "remove", "link", "symlink", "truncate", "write", "removedirs", "utime"}
# One of these is in the text of whatever writes files, or computes what must be given.
WRITING_TEXTS = (
    "open(", ".replace(", *(f"{name}(" for name in WRITING_METHODS), *(f"os.{n}(" for n in OS_WRITERS),
)  # fmt: skip
IMPURE_TEXTS = ("open(", "print(", "input(", *(f"{name}(" for name in CLOCK_CALLS))


# Packages and modules that decide on what they are given; vendors' files are pure too, but for
# what carries their requests.
PURE = {
    "_version", "errors", "model", "calendars", "symbols", "prices", "core.config.rules",
    "core.net.limits.circuit_breaker", "core.net.limits.quota", "core.net.http.retry",
    "core.net.limits.steady", "core.net.limits.unknown_symbols",
    "core.fundamentals.point_in_time", "core.fundamentals.merge", "core.bars.freshness", "feed.continuation",
    "core.bars.answer.empty", "core.bars.answer.slots", "core.bars.ingest.judge",
    "db.universe.definition", "db.universe.files", "db.universe.filters", "db.universe.membership",
    "jobs.validation.gap_classes", "jobs.validation.repair", "jobs.validation.vendor_days",
    "core.hosts.decisions", "core.hosts.protocol",
    "core.hosts.schema", "features.functions", "features.rolling",
}  # fmt: skip


CARRIERS = ("carrier",)


def is_pure(source: Module) -> bool:
    is_declaring = source.is_vendor and not source.name.endswith(CARRIERS)
    return bool({source.top, source.name} & PURE) or is_declaring


def owner_violations(source: Module) -> list[str]:
    """Return imports of a library outside the part of the house that owns it."""
    return [
        f"{source.name}:{item.line} imports {item.foreign}, which belongs to {OWNERS[item.foreign]}"
        for item in imports(source)
        if item.foreign in OWNERS
        and not _is_pure_part(source, item.line)
        and not any(f"{source.name}.".startswith(owner) for owner in OWNERS[item.foreign])
    ]


def environment_violations(source: Module) -> list[str]:
    """Return reads of the environment outside ``config``."""
    if source.top == "config":
        return []
    names = {"environ", "environb", "getenv", "putenv"}
    if not _has_one(source, names):
        return []
    return [
        f"{source.name}:{node.lineno} touches the environment"
        for node in source.nodes
        if (isinstance(node, ast.Attribute) and node.attr in names)
        or (isinstance(node, ast.ImportFrom) and names & {a.name for a in node.names})
    ]


def purity_violations(source: Module) -> list[str]:
    """Return I/O, clocks, threads and dice in the floors that must know none."""
    if not is_pure(source):
        return []
    found = [
        f"{source.name}:{item.line} imports {item.foreign}"
        for item in imports(source)
        if item.foreign in IMPURE and not _is_pure_part(source, item.line)
    ]
    for call in _calls(source) if _has_one(source, IMPURE_TEXTS) else ():
        name = _called(call)
        if name in ("open", "print", "input") or (name in CLOCK_CALLS and _is_method(call)):
            found.append(f"{source.name}:{call.lineno} calls {name}()")
    return found


def _has_one(source: Module, texts: Iterable[str]) -> bool:
    return any(text in source.text for text in texts)


def _is_pure_part(source: Module, line: int) -> bool:
    for node in source.nodes:
        if isinstance(node, ast.ImportFrom) and node.lineno == line:
            return node.module in PURE_PARTS
    return False


def writing_violations(source: Module) -> list[str]:
    """Return everything outside ``disk`` that changes files."""
    if source.top == "disk" or not _has_one(source, WRITING_TEXTS):
        return []
    return [
        f"{source.name}:{call.lineno} writes files with {_called(call)}()"
        for call in _calls(source)
        if _writes(call)
    ]


def _writes(call: ast.Call) -> bool:
    name, owner = _called(call), _owner(call)
    if name in ("to_csv", "to_parquet", "to_pickle"):
        return bool(call.args or call.keywords)  # without a path they return text or bytes
    if name in WRITING_METHODS and (_is_method(call) or name != "move"):
        return True
    if owner == "os" and name in OS_WRITERS:
        return True
    if name == "replace" and _is_method(call):  # Path.replace has one argument, str.replace two
        return len(call.args) == 1 and not call.keywords
    return name == "open" and _opens_for_writing(call, owner)


def _opens_for_writing(call: ast.Call, owner: str) -> bool:
    if owner == "os":
        return any("O_RDONLY" not in ast.unparse(flag) for flag in call.args[1:2])
    position = 0 if _is_method(call) and owner not in ("gzip", "io", "bz2", "lzma") else 1
    modes = [k.value for k in call.keywords if k.arg == "mode"] or call.args[
        position : position + 1
    ]
    return any(
        not isinstance(mode, ast.Constant) or bool(set("wax+") & set(str(mode.value)))
        for mode in modes
    )


@cache
def _calls(source: Module) -> tuple[ast.Call, ...]:
    return tuple(node for node in source.nodes if isinstance(node, ast.Call))


def _called(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _owner(call: ast.Call) -> str:
    function = call.func
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return function.value.id
    return ""


def _is_method(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute)


def finality_violations(source: Module) -> list[str]:
    """Return where a module decides by itself what has settled: ``calendars.finality`` does."""
    if source.top == "calendars" or "settles" not in source.text:
        return []
    calls = [call for call in _calls(source) if _called(call) == "settles" and _is_method(call)]
    return [f"{source.name}:{call.lineno} asks the calendar what has settled" for call in calls]


CHECKS = (
    owner_violations,
    environment_violations,
    purity_violations,
    writing_violations,
    finality_violations,
)


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.__name__.removesuffix("_violations"))
def test_everything_stays_with_its_owner(check: Callable[[Module], list[str]]) -> None:
    expect_none([found for source in modules() for found in check(source)])


@pytest.mark.parametrize(
    "name, code",
    [
        ("core.cache.store", "import requests"),
        ("core.cache.store", "def f():\n    from requests.adapters import HTTPAdapter"),
        ("core.net.http.http", "import yaml"),
        ("core.net.limits", "import sqlite3"),
        ("core.cache.format.columnar", "import filelock"),
        ("core.net.http.http", "import yfinance"),
        ("core.bars.fetch.fetcher", "from tenacity import Retrying"),
        ("cli.doctor", "import os\nos.environ['HOME']"),
        ("core.net.http.http", "from os import getenv"),
        ("core.calendars.gaps", "import time"),
        ("core.calendars.gaps", "import datetime\ndatetime.datetime.now()"),
        ("core.calendars.gaps", "open('x')"),
        ("core.model.request.query", "from urllib.request import urlopen"),
        ("core.model.request.query", "import pandas as pd\npd.Timestamp.today()"),
        ("core.vendors.acme.bars", "import threading"),
        ("core.vendors.acme.bars", "import requests"),
        ("core.cache.format.csv_rows", "open(p, 'wb')"),
        ("core.cache.format.csv_rows", "path.open('a')"),
        ("core.cache.format.csv_rows", "path.open(mode)"),
        ("core.cache.format.csv_rows", "gzip.open(p, mode='wt')"),
        ("core.cache.format.csv_rows", "os.open(p, os.O_WRONLY)"),
        ("core.cache.format.csv_rows", "os.replace(a, b)"),
        ("core.cache.format.csv_rows", "path.replace(other)"),
        ("core.cache.format.csv_rows", "path.write_bytes(b'')"),
        ("core.cache.format.csv_rows", "path.unlink()"),
        ("core.cache.format.csv_rows", "shutil.rmtree(path)"),
        ("core.cache.format.csv_rows", "df.to_csv(path)"),
        ("jobs.doctor.health", "import socket"),
        ("feed.sources.poll", "from http.client import HTTPConnection"),
        ("core.vendors.yahoo.carrier", "import ssl"),
        ("jobs.doctor.health", "from urllib.request import urlopen"),
        ("core.net.http.http", "from urllib.request import urlopen"),
        ("core.bars.freshness", "grid.settles(stamps, 0) <= now"),
    ],
)
def test_the_owner_gate_refuses_code_outside_its_owner(name: str, code: str) -> None:
    assert [found for check in CHECKS for found in check(Module(name, code))] != []


@pytest.mark.parametrize(
    "name, code",
    [
        ("core.net.http.http", "import requests\nfrom urllib3.util import Retry"),
        ("core.vendors.yahoo.carrier", "def f():\n    import yfinance"),
        ("core.net.limits.state", "import sqlite3"),
        ("core.config.environment", "import os, yaml\nos.environ.get('X')"),
        ("core.disk.temp", "path.replace(other); open(p, 'wb'); os.fsync(fd)"),
        ("core.calendars.gaps", "from datetime import date\ndate(2024, 1, 2)"),
        ("core.calendars.gaps", "from urllib.parse import quote"),
        ("core.calendars.finality", "grid.settles(stamps, 0) <= now"),
        ("core.vendors.acme.bars", "'a-b'.replace('-', '')\nquery.now_ms"),
        (
            "core.cache.format.csv_rows",
            "open(p, 'rb'); path.open(); gzip.open(p); replace(value, a=1)",
        ),
        ("core.cache.format.csv_rows", "'a'.replace('b', 'c'); stamp.replace(hour=0); df.to_csv()"),
        ("core.cache.format.csv_rows", "os.open(p, os.O_RDONLY)"),
    ],
)
def test_the_gate_lets_pass(name: str, code: str) -> None:
    assert [found for check in CHECKS for found in check(Module(name, code))] == []
