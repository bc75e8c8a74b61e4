"""The way of a request, and the weight of the package: printed for readers, not limited.

``python -m tests.contract.way`` asks each question against a local server and prints what it enters:
as a miss (nothing of the symbol is cached), as a hit from disk (another process on the same folder),
and again (the same question, once its answer is held in memory). The question for the running hour
queries its vendor each time: a refresh. The weight of each folder follows; only its sums by ring are
held by a test (``weight.json``).

Counted in every thread are own files (``model/`` is one), own functions (no comprehensions, no
bodies of modules), the code lines of these functions, and own frames between caller and transport,
those of a waiting caller added. Code lines hold a token that is neither comment nor docstring.
"""

from __future__ import annotations

import ast
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from tests.contract.public_types import generated
from tests.contract.source import PACKAGE, ROOT, Module, modules, targets

if TYPE_CHECKING:
    from src.data.data_manager import DataManager

Figures = dict[str, int]
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef

# Name, symbol that is asked for first so that nothing is loaded later, symbol, arguments.
QUESTIONS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    (
        "share, days over a split",
        "AAPL",
        "NVDA",
        {
            "timeframe": "1d",
            "start_date": "2024-04-02",
            "end_date": "2024-06-28",
            "adjustment": "split",
        },
    ),
    (
        "coin, ten days of hours",
        "ETHUSDT",
        "BTCUSDT",
        {"timeframe": "1h", "start_date": "2024-03-01", "end_date": "2024-03-10"},
    ),
    ("coin, last 50 hours", "ETHUSDT", "BTCUSDT", {"timeframe": "1h", "bars": 50}),
    (
        "coin, with the running hour",
        "ETHUSDT",
        "BTCUSDT",
        {"timeframe": "1h", "bars": 24, "include_forming": True},
    ),
    (
        "coin, 3h out of hours",
        "ETHUSDT",
        "BTCUSDT",
        {"timeframe": "3h", "start_date": "2024-03-01", "end_date": "2024-03-10"},
    ),
)
_RULES = """\
crypto: {{primary: binance, backup: []}}
stock_daily: {{primary: yahoo, backup: []}}
providers:
  binance: {{base_url: "{binance}", transport: http}}
  yahoo: {{base_url: "{yahoo}", transport: http}}
"""
_INLINE = ("<module>", "<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


class Way:
    """Own calls of all threads while ``entered`` runs."""

    def __init__(self) -> None:
        self._functions: dict[tuple[str, str, int], None] = {}
        self._frames = 0

    @property
    def files(self) -> list[str]:
        """The files that the last call entered, in order."""
        return list(dict.fromkeys(path for path, _, _ in self._functions))

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event != "call":
            return
        code = frame.f_code
        if path := own(code.co_filename):
            if code.co_name not in _INLINE:
                self._functions[path, code.co_qualname, code.co_firstlineno] = None
        elif code.co_name == "send" and code.co_filename.endswith("requests/adapters.py"):
            threads = {threading.get_ident(), threading.main_thread().ident}
            stacks = [f for thread, f in sys._current_frames().items() if thread in threads]
            self._frames = max(self._frames, sum(map(_depth, stacks)))

    def entered(self, call: Callable[[], object]) -> Figures:
        """Return what ``call`` enters."""
        self._functions, self._frames = {}, 0
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            call()
        finally:
            sys.setprofile(None)
            threading.setprofile(None)  # type: ignore[arg-type]
        files = self.files
        lengths = [lines_of(path) for path in files]
        return {
            "files": len({"model/" if p.startswith("core/model/") else p for p in files}),
            "functions": len(self._functions),
            "code lines": sum(_function_lines(path).get(n, 0) for path, _, n in self._functions),
            "longest file": max(map(len, lengths), default=0),
            "frames": self._frames,
        }


def own(path: str) -> str:
    """Return the path of a file of the package relative to it; empty for other files."""
    start = f"{PACKAGE}{os.sep}"
    return path[len(start) :] if path.startswith(start) else ""


def _depth(frame: FrameType | None) -> int:
    count = 0
    while frame is not None:
        count += bool(own(frame.f_code.co_filename)) and frame.f_code.co_name != "<module>"
        frame = frame.f_back
    return count


def code_lines(source: Module) -> frozenset[int]:
    """Return the numbers of the lines that hold code."""
    docstrings, strings = set[int](), set[int]()
    for node in source.nodes:
        if isinstance(node, ast.Constant | ast.JoinedStr):
            strings.update(range(node.lineno, (node.end_lineno or 0) + 1))
        elif isinstance(node, Documented) and ast.get_docstring(node, clean=False) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or 0) + 1))
    written = {
        n for n, line in enumerate(source.text.split("\n"), 1) if line.strip()[:1] not in ("", "#")
    }
    return frozenset((written | strings) - docstrings)


@cache
def lines_of(path: str) -> frozenset[int]:
    """Return the code lines of a file of the package."""
    return code_lines(_module(path))


def _module(path: str) -> Module:
    return Module("", (PACKAGE / path).read_text(encoding="utf-8"))


@cache
def _function_lines(path: str) -> dict[int, int]:
    """Return the first line of each function of a file to its number of code lines."""
    lines, counts = lines_of(path), dict[int, int]()
    for node in _module(path).nodes:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            body = range(node.lineno, (node.end_lineno or 0) + 1)
            counts[first] = sum(n in lines for n in body)
    return counts


# Folders and files that have a ring of their own; all others are in ring A.
_RINGS: dict[str, str] = json.loads(Path(__file__).with_name("weight.json").read_text("utf-8"))[
    "rings"
]
CORE = ("bars", "cache", "calendars", "config", "model", "net", "prices", "symbols", "vendors")


@cache
def weight() -> Figures:
    """Return the code lines of each folder; what has a ring of its own counts apart, as do vendors'.

    A vendor's row in the registry counts as its folder.
    """
    lines = Counter[str]()
    for module in modules():
        code, free = code_lines(module), rows_of_vendors(module)
        folder = "vendors' folders" if _is_of_a_vendor(module) else _folder(module)
        lines[folder] += len(code - free)
        lines["vendors' folders"] += len(code & free)
    door = ROOT / "onetape"
    for path in (
        *door.glob("*.py"),
        *(door / "db").glob("*.py"),
        *(door / "_linked").rglob("*.py"),
    ):
        lines["onetape"] += public_lines(path.read_text("utf-8"))
    return dict(sorted(lines.items()))


def public_lines(text: str) -> int:
    """Return the number of code lines of a public module, without those that ``make lists`` writes."""
    return len(code_lines(Module("", text)) - generated(text))


def rows_of_vendors(module: Module) -> set[int]:
    """Return the numbers of the lines with the rows of the registry, if ``module`` is the registry."""
    tables = [node for node in module.nodes if isinstance(node, ast.Dict)]
    rows = (
        [row for table in tables for row in table.values] if module.name == "core.registry" else []
    )
    return {n for row in rows for n in range(row.lineno, (row.end_lineno or 0) + 1)}


def _folder(module: Module) -> str:
    """Return the longest path of a module that has a ring, else its room or its file in the root."""
    path = module.name.replace(".", "/")
    places = [path] if module.is_package else [f"{path}.py", path.rpartition("/")[0]]
    while "/" in places[-1]:
        places.append(places[-1].rpartition("/")[0])
    is_root = not module.is_package and "/" not in path
    return next((p for p in places if p in _RINGS), places[0] if is_root else module.top)


def ring_of(module: Module) -> str:
    """Return the ring of a module: A, B or C. Vendors' own folders belong to ring A."""
    return "A" if _is_of_a_vendor(module) else _RINGS.get(_folder(module), "A")


def is_core(module: Module) -> bool:
    """Return whether a module is of a core package; the folder of a vendor is not."""
    return module.top in CORE and not _is_of_a_vendor(module)


def _is_of_a_vendor(module: Module) -> bool:
    path = module.name.split(".")
    return (
        path[:2] == ["core", "vendors"] and len(path) > 2 and (PACKAGE.joinpath(*path[:3])).is_dir()
    )


def shape() -> Figures:
    """Return how many files, late imports, Protocols and doubled names the package has."""
    lines = [len(code_lines(module)) for module in modules()]
    names: dict[str, set[str]] = {}
    protocols = lazy = 0
    for module in modules():
        lazy += _lazy_imports(module)
        for node in module.nodes:
            if isinstance(node, ast.ClassDef):
                protocols += any(_name(base) == "Protocol" for base in node.bases)
                if not node.name.startswith("_"):
                    names.setdefault(node.name, set()).add(module.name)
    stems = [module.name.rpartition(".")[2] for module in modules()]
    return {
        "code lines": sum(lines),
        "files of more than ten code lines": sum(n > 10 for n in lines),
        "lazy imports of own modules": lazy,
        "modules named by a gerund": sum(stem.endswith("ing") for stem in stems),
        "protocols": protocols,
        "public class names in two modules": sum(len(where) > 1 for where in names.values()),
    }


def _lazy_imports(module: Module) -> int:
    """Return how many own modules are imported within functions, by name or by ``__getattr__``."""
    count = len(
        {item.line for target, item in targets(module) if item.function and target is not None}
    )
    for node in module.nodes:
        count += isinstance(node, ast.Call) and _name(node.func) in ("import_module", "__import__")
    names = [node.name for node in module.tree.body if isinstance(node, ast.FunctionDef)]
    return count + ("__getattr__" in names)


def _name(node: ast.expr) -> str:
    return str(getattr(node, "attr", getattr(node, "id", "")))


# --- the program -------------------------------------------------------------------------------


Counted = tuple[str, str, Figures, list[str]]


def _counted(root: Path, now_ms: int, is_stored: bool) -> Iterator[Counted]:
    from src.data.core.clock import ManualClock
    from src.data.core.disk.files import Disk
    from src.data.data_manager import DataManager

    if is_stored:
        # What is younger than a tick of the file system's clock is looked at again each time.
        Disk.now_ns = lambda _: time.time_ns() + 3_600 * 10**9  # type: ignore[method-assign]
    way = Way()
    for number, (name, warm, symbol, arguments) in enumerate(QUESTIONS):
        manager = DataManager(
            root / f"cache{number}", root / "rules.yaml", clock=ManualClock(now_ms)
        )
        call = partial(_ask, manager, symbol, arguments)
        _ask(manager, warm, arguments | _other_dates(arguments))
        if not is_stored:
            yield name, "miss", way.entered(call), way.files
        elif "include_forming" in arguments:
            yield name, "refresh", way.entered(call), way.files
        else:
            yield name, "disk", way.entered(call), way.files
            call()
            call()
            yield name, "again", way.entered(call), way.files


def _other_dates(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return dates inside the requested ones, so that these are read by the question itself."""
    days = {"start_date": timedelta(1), "end_date": -timedelta(1)}
    return {
        name: str(date.fromisoformat(arguments[name]) + shift)
        for name, shift in days.items()
        if name in arguments
    }


def _ask(manager: DataManager, symbol: str, arguments: dict[str, Any]) -> None:
    frame = manager.get_ohlcv(symbol, **arguments)
    assert len(frame) >= 10, f"{symbol}, {arguments}: {len(frame)} bars, {frame.attrs}"


def counted(folder: Path) -> Iterator[Counted]:
    """Ask every question in two processes, as a miss and as a hit: name, kind, figures, files entered."""
    from src.data.core.clock import ManualClock
    from src.data.core.model.time.instant import parse_iso
    from tests.vendor_server import VendorServer

    clock = ManualClock(parse_iso("2024-09-11T15:00:30"))
    with VendorServer(clock) as server:
        urls = {name: server.base_url(name) for name in ("binance", "yahoo")}
        (folder / "rules.yaml").write_text(_RULES.format(**urls))
        for step in ("miss", "stored"):
            here = [sys.executable, "-m", "tests.contract.way", str(folder), str(clock.now_ms())]
            printed = subprocess.run([*here, step], check=True, stdout=subprocess.PIPE)
            yield from json.loads(printed.stdout)


def _print_all(folder: Path) -> None:
    for name, kind, figures, _ in counted(folder):
        print(f"{kind:8} {name:28}", *(f"{n}: {count}" for n, count in figures.items()))
    print("weight ", weight())
    print("shape  ", shape())


if __name__ == "__main__":
    gc.disable()  # a short life among many syntax trees
    if sys.argv[1:]:
        root, now_ms, step = sys.argv[1:]
        print(json.dumps(list(_counted(Path(root), int(now_ms), step == "stored"))))
    else:
        with tempfile.TemporaryDirectory() as folder:
            _print_all(Path(folder))
