"""The package as syntax trees: what the gates read. Nothing here imports the package."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import pytest

Function = ast.FunctionDef | ast.AsyncFunctionDef
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "data"


@dataclass(frozen=True)
class Module:
    """One file of the package; ``name`` is dotted and relative to it (``core.net.http``)."""

    name: str
    text: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return _parsed(self.text)

    @property
    def nodes(self) -> tuple[ast.AST, ...]:
        """All of the tree, as :func:`ast.walk` yields it; a gate walks where the text may violate it."""
        return _walked(self.text)

    @property
    def top(self) -> str:
        """The room: the floor is told by it."""
        return room(self.name)

    @property
    def vendor(self) -> str | None:
        """The vendor whose folder this is in."""
        parts = self.name.split(".")
        return parts[2] if parts[:2] == ["core", "vendors"] and len(parts) == 4 else None

    @property
    def is_vendor(self) -> bool:
        return self.vendor is not None

    def resolve(self, level: int, target: str | None) -> str | None:
        """Return the package's own dotted name of a relative import; None when it is foreign."""
        if level == 0:
            return None
        parts = self.name.split(".") if self.name else []
        here = parts if self.is_package else parts[:-1]
        base = here[: len(here) - (level - 1)] if level > 1 else here
        return ".".join([*base, *([target] if target else [])])


def room(name: str) -> str:
    """Return the first part of a module's name, or the second one in the folders that only contain rooms."""
    parts = name.split(".")
    return parts[1] if parts[0] in ("core", "doors") and len(parts) > 1 else parts[0]


@dataclass(frozen=True)
class Import:
    """One import: ``target`` is relative to the package, ``foreign`` the root of another's."""

    target: str | None
    foreign: str | None
    names: tuple[str, ...]
    line: int
    function: str | None
    """Name of the innermost function around it, None at module level."""


@cache
def _parsed(text: str) -> ast.Module:
    return ast.parse(text)


@cache
def _walked(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(_parsed(text)))


@lru_cache(maxsize=1)
def vendors() -> frozenset[str]:
    """Return the vendors that have a folder."""
    return frozenset(p.parent.name for p in (PACKAGE / "core" / "vendors").glob("*/__init__.py"))


@lru_cache(maxsize=1)
def modules() -> tuple[Module, ...]:
    """Return every module of the package, in order of their names."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(name, path.read_text("utf-8"), is_package))
    return tuple(found)


def expect_none(violations: list[str]) -> None:
    """Fail with one line per violation."""
    if violations:
        pytest.fail("\n".join(violations), pytrace=False)


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(m.name for m in modules())


def module(name: str) -> Module:
    """Return one module by its relative dotted name."""
    return next(m for m in modules() if m.name == name)


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements inside ``node``, and the handlers and cases that hold some."""
    for field in ("body", "handlers", "orelse", "finalbody", "cases"):
        yield from getattr(node, field, ())


@cache
def imports(source: Module) -> tuple[Import, ...]:
    """Return all imports, those inside functions and under TYPE_CHECKING included."""
    found: list[Import] = []

    def walk(node: ast.AST, function: str | None) -> None:
        for child in _statements(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    root = alias.name.split(".")[0]
                    found.append(Import(None, root, (alias.name,), child.lineno, function))
            elif isinstance(child, ast.ImportFrom):
                names = tuple(alias.name for alias in child.names)
                target = source.resolve(child.level, child.module)
                home = None if child.level else (child.module or "").split(".")[0]
                found.append(Import(target, home, names, child.lineno, function))
            walk(child, child.name if isinstance(child, Function) else function)

    walk(source.tree, None)
    return tuple(found)


def targets(source: Module) -> list[tuple[str, Import]]:
    """Return the package's own modules that ``source`` imports, submodules told from names."""
    known = _names()
    found = []
    for item in imports(source):
        if item.target is None:
            continue
        for name in item.names:
            submodule = f"{item.target}.{name}" if item.target else name
            found.append((submodule if submodule in known else item.target, item))
    return found


def functions(tree: ast.AST) -> Iterator[Function]:
    """Yield every function and method, nested ones included."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def body_without_docstring(node: Function) -> list[ast.stmt]:
    """Return the statements behind the docstring."""
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


@lru_cache(maxsize=1)
def repository_files() -> tuple[Path, ...]:
    """Return the files git tracks or would track; without git everything but build products."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, check=True, text=True,
        ).stdout.split("\0")  # fmt: skip
        found = [ROOT / name for name in listed if name]
    except (OSError, subprocess.CalledProcessError):
        skipped = {".git", ".venv", "build", "dist", "__pycache__", "data-cache"}
        found = [p for p in ROOT.rglob("*") if not skipped & set(p.relative_to(ROOT).parts)]
    return tuple(sorted(p for p in found if p.is_file()))


@lru_cache(maxsize=1)
def text_files() -> tuple[tuple[str, str], ...]:
    """Return the relative name and the text of every file that is text."""
    found = []
    for path in repository_files():
        data = path.read_bytes()
        if b"\0" in data:
            continue
        with suppress(UnicodeDecodeError):
            found.append((path.relative_to(ROOT).as_posix(), data.decode("utf-8")))
    return tuple(found)
